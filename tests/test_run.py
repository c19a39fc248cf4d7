"""The run protocol, with real Delta tables and real suites: publish, refuse, rerun, skip, fail."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from pyarrow import parquet

from shelfmark import config, tables, upkeep
from shelfmark.errors import DataRefused, UsageError
from shelfmark.lake import open_lake
from shelfmark.query import query, read
from shelfmark.run import conform, execute, new_run_id, run_date
from shelfmark.tables import Field, table

TAXONOMY = "taxonomy_version string, category_id string, path string, name string, parent_id string, depth int"
GOOD = [("v1", "a", "A", "A", None, 1), ("v1", "b", "A > B", "B", "a", 2)]
BAD = [("v1", "a", "A", "A", None, 1), ("v1", None, "A > B", "B", "a", 2)]


@pytest.fixture
def settings(tmp_path):
    return config.load(home=str(tmp_path))


def writes(rows, name="silver.taxonomy", schema=TAXONOMY):
    def recipe(run):
        run.read("silver.products")
        run.write(name, run.spark.createDataFrame(rows, schema))

    return recipe


def rows(spark, settings, name, ref="main"):
    lake = open_lake(settings)
    return read(spark, lake, lake.resolve(ref).id, name).collect()


@pytest.mark.slow
def test_a_run_publishes_tables_evidence_and_record_in_one_commit(spark, settings):
    outcome = execute("taxonomy", writes(GOOD), settings, spark, "20260102-a")
    assert outcome.status == "done"
    assert [commit.id for commit in open_lake(settings).log()] == [outcome.commit.id]
    assert outcome.commit.metadata["rows"] == {"silver.taxonomy": 2}
    assert sorted(row.path for row in rows(spark, settings, "silver.taxonomy")) == ["A", "A > B"]
    (record,) = rows(spark, settings, "gold.runs")
    assert (record.job, record.run_id, record.status, record.run_date) == (
        "taxonomy",
        "20260102-a",
        "done",
        date(2026, 1, 2),
    )
    assert json.loads(record.rows)["silver.taxonomy"] == 2
    checks = rows(spark, settings, "silver.check_results")
    assert checks
    assert all(check.success and check.run_id == "20260102-a" and check.sentence for check in checks)


@pytest.fixture(scope="module")
def published(spark, tmp_path_factory):
    """A lake of one run and its commit, for tests that only read."""
    settings = config.load(home=str(tmp_path_factory.mktemp("published")))
    return open_lake(settings), execute("taxonomy", writes(GOOD), settings, spark, "20260102-a").commit.id


def test_delta_columns_carry_the_contract_comments(spark, published):
    frame = read(spark, *published, "silver.taxonomy")
    assert {f.name: f.metadata.get("comment") for f in frame.schema} == {
        f.name: f.comment for f in table("silver.taxonomy").fields
    }


@pytest.mark.slow
def test_a_refused_run_leaves_tables_as_they_were_and_publishes_the_evidence(spark, settings):
    execute("taxonomy", writes(GOOD), settings, spark, "20260102-a")
    before = open_lake(settings).folders("main")["silver/taxonomy"]
    with pytest.raises(DataRefused, match=r"silver\.taxonomy"):
        execute("taxonomy", writes(BAD), settings, spark, "20260103-b", force=True)
    lake = open_lake(settings)
    assert lake.folders("main")["silver/taxonomy"] == before
    assert lake.branches("run-taxonomy-20260103-b") == ["run-taxonomy-20260103-b-1"]
    records = {row.run_id: row for row in rows(spark, settings, "gold.runs")}
    assert records["20260103-b"].status == "refused"
    assert any(not check.success for check in rows(spark, settings, "silver.check_results"))


@pytest.mark.slow
def test_a_refused_run_id_may_be_run_again(spark, settings):
    with pytest.raises(DataRefused):
        execute("taxonomy", writes(BAD), settings, spark, "20260103-b")
    outcome = execute("taxonomy", writes(GOOD), settings, spark, "20260103-b")
    assert outcome.status == "done"
    assert outcome.commit.metadata["attempt"] == 2
    assert len(rows(spark, settings, "silver.taxonomy")) == 2


def test_a_published_run_id_is_not_run_again(spark, settings):
    first = execute("taxonomy", writes(GOOD), settings, spark, "20260102-a")
    again = execute(
        "taxonomy", writes([*GOOD, ("v1", "c", "C", "C", None, 1)]), settings, spark, "20260102-a", force=True
    )
    assert again.status == "already"
    assert again.commit.id == first.commit.id
    assert len(rows(spark, settings, "silver.taxonomy")) == 2


@pytest.mark.slow
def test_a_job_whose_inputs_did_not_change_is_skipped_and_recorded(spark, settings):
    execute("taxonomy", writes(GOOD), settings, spark, "20260102-a")
    second = execute("taxonomy", writes(BAD), settings, spark, "20260103-b")
    assert second.status == "skipped"
    assert {row.run_id: row.status for row in rows(spark, settings, "gold.runs")} == {
        "20260102-a": "done",
        "20260103-b": "skipped",
    }


@pytest.mark.slow
def test_a_changed_setting_or_input_runs_the_job_again(spark, settings, tmp_path):
    execute("taxonomy", writes(GOOD), settings, spark, "20260102-a")
    other = config.load(overrides=["text.cost=3"], home=str(tmp_path))
    assert execute("taxonomy", writes(GOOD), other, spark, "20260103-b").status == "done"
    elsewhere = config.load(overrides=["text.cost=3", "spark.shuffle_partitions=4"], home=str(tmp_path))
    assert execute("taxonomy", writes(GOOD), elsewhere, spark, "20260104-c").status == "skipped"


@pytest.mark.slow
def test_a_crash_publishes_nothing_but_its_record(spark, settings):
    def crashes(run):
        run.write("silver.taxonomy", run.spark.createDataFrame(GOOD, TAXONOMY))
        raise ZeroDivisionError("half-way")

    with pytest.raises(ZeroDivisionError):
        execute("taxonomy", crashes, settings, spark, "20260102-a")
    (record,) = rows(spark, settings, "gold.runs")
    assert record.status == "failed"
    assert "half-way" in record.reason
    assert "silver/taxonomy" not in open_lake(settings).folders("main")
    assert execute("taxonomy", writes(GOOD), settings, spark, "20260102-a").status == "done"


@pytest.mark.slow
def test_merge_updates_inserts_and_deletes_by_key(spark, settings):
    schema = "product_id string, source string, region string, first_run string, last_run string, first_seen date, last_seen date"
    day = date(2026, 1, 1)

    def seen(run, ids, by):
        return run.spark.createDataFrame([(i * 32, "s", "US", by, by, day, day) for i in ids], schema)

    def first(run):
        run.write("silver.presence", seen(run, "abc", "20260101-a"))

    def second(run):
        run.merge(
            "silver.presence", seen(run, "bd", "20260102-b"), gone=f"t.product_id = '{'a' * 32}'", only=["last_run"]
        )

    execute("ingest", first, settings, spark, "20260101-a", always=True)
    outcome = execute("ingest", second, settings, spark, "20260102-b", always=True)
    found = {
        row.product_id[0]: (row.first_run[-1], row.last_run[-1]) for row in rows(spark, settings, "silver.presence")
    }
    assert found == {"b": ("a", "b"), "c": ("a", "a"), "d": ("b", "b")}
    assert outcome.commit.metadata["rows"] == {"silver.presence": 3}


@pytest.mark.slow
def test_swapped_rows_leave_files_as_they_are_and_only_what_came_is_checked(spark, settings):
    schema = "product_id string, source string, region string, first_run string, last_run string, first_seen date, last_seen date"
    day = date(2026, 1, 1)
    found = {}

    def seen(run, ids):
        rows = [(i * 32, "s", "US", run.run_id, run.run_id, day, day) for i in ids]
        return run.spark.createDataFrame(rows, schema).coalesce(1)

    def ids(frame):
        return "".join(sorted(row.product_id[0] for row in frame.collect()))

    def data_files(path):
        return {file for file in Path(path).rglob("*.parquet") if "_delta_log" not in file.parts}

    def first(run):
        run.write("silver.presence", seen(run, "abcd"))

    def swap(run):
        path = run.write_path("silver.presence")
        before = data_files(path)
        gone = run.spark.createDataFrame([("a" * 32,), ("b" * 32,), ("9" * 32,)], "product_id string")
        run.swap("silver.presence", gone, seen(run, "be"))
        assert before < data_files(path)
        found.update(checked=ids(run.parts["silver.presence"]), now=ids(run.read("silver.presence")))

    def erase(run):
        # What is only marked as deleted is still in the file, until no trace is to be left.
        path = run.write_path("silver.presence")
        upkeep.leave_no_trace(run.spark, path, run.run_id)
        assert not upkeep.has_marked(run.spark, path)
        found["files"] = "".join(sorted(
            one[0] for file in data_files(path) for one in parquet.read_table(file, columns=["product_id"])[0].to_pylist()
        ))  # fmt: skip

    for day_, recipe in enumerate((first, swap, erase), 1):
        execute("ingest", recipe, settings, spark, f"2026010{day_}-t", always=True)
    assert found == {"checked": "be", "now": "bcde", "files": "bcde"}


def test_a_column_that_is_not_in_the_contract_is_refused(spark):
    frame = spark.createDataFrame([("v", 1)], "taxonomy_version string, colour int")
    with pytest.raises(ValueError, match=r"unknown columns \['colour'\], missing columns \['category_id', 'path'"):
        conform(frame, table("silver.taxonomy"))


def test_the_day_of_a_run_comes_from_its_id():
    assert run_date("20260131-nightly") == date(2026, 1, 31)
    assert run_date(new_run_id())
    for wrong in ("nightly", "20261331", "20260131 x", "20260131/x"):
        with pytest.raises(UsageError, match="begin it with the day"):
            run_date(wrong)


@pytest.mark.slow
def test_sql_reads_any_version_by_contract_names(spark, settings):
    first = execute("taxonomy", writes(GOOD), settings, spark, "20260102-a").commit
    second = execute("taxonomy", writes(GOOD[:1]), settings, spark, "20260103-b", force=True).commit
    lake = open_lake(settings)
    count = "select count(*) n from silver.taxonomy t join SILVER.Taxonomy u using (category_id)"
    assert query(spark, lake, first.id, count).head().n == 2
    assert query(spark, lake, second.id, count).head().n == 1
    assert query(spark, lake, second.id, "select * from gold.metrics").columns == table("gold.metrics").columns


def test_names_of_tables_in_texts_are_left_as_they_are(spark, published):
    text = "select count(*) n from silver.check_results where table = 'silver.taxonomy'"
    assert query(spark, *published, text).head().n > 0


@pytest.mark.slow
def test_a_column_added_to_a_contract_is_null_in_older_tables(spark, settings, monkeypatch):
    execute("taxonomy", writes(GOOD), settings, spark, "20260102-a")
    contract = table("silver.taxonomy")
    wider = replace(contract, fields=(*contract.fields, Field("colour", "string", "a column of a later version")))
    monkeypatch.setitem(tables.TABLES, "silver.taxonomy", wider)
    assert [row.colour for row in rows(spark, settings, "silver.taxonomy")] == [None, None]

    def adds(run):
        fresh = run.spark.createDataFrame([("v1", "c", "C", "C", None, 1, "red")], TAXONOMY + ", colour string")
        run.merge("silver.taxonomy", fresh)

    execute("taxonomy", adds, settings, spark, "20260103-b", force=True)
    assert {row.category_id: row.colour for row in rows(spark, settings, "silver.taxonomy")} == {
        "a": None,
        "b": None,
        "c": "red",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("select * from silver.produts", "shelfmark tables"),
        ("select nope from silver.taxonomy", "nope"),
        ("selec 1", "only select"),
        ("drop table silver.products", "only select"),
    ],
)
def test_a_wrong_query_is_one_line(spark, published, text, says):
    with pytest.raises(UsageError, match=says) as caught:
        query(spark, *published, text)
    assert "\n" not in str(caught.value)


def test_nothing_is_left_behind_in_the_working_folder(published):
    assert not Path("spark-warehouse").exists()
    assert not Path("metastore_db").exists()
