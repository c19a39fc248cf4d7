"""The job maintain: fewer files, the same rows, readable history, and nothing to do the second time."""

from datetime import date
from pathlib import Path

import pytest

from shelfmark import config, upkeep
from shelfmark.lake import diff, open_lake
from shelfmark.pipeline import _execute
from shelfmark.query import read
from shelfmark.run import execute
from shelfmark.upkeep import SEVERAL, SMALL, Contents

pytestmark = pytest.mark.usefixtures("unchecked")

PRESENCE = "product_id string, source string, region string, first_run string, last_run string, first_seen date, last_seen date"
TAXONOMY = "taxonomy_version string, category_id string, path string, name string, depth int"
DAY = date(2026, 1, 1)


def test_a_partition_is_crowded_when_it_has_several_small_files():
    small = {f"r=US/{n}": 10 for n in range(SEVERAL)} | {f"r=DE/{n}": 10 for n in range(SEVERAL - 1)}
    large = {f"r=FR/{n}": SMALL for n in range(9)}
    log = {"_delta_log/00000000000000000001.json": 5}
    of = Contents({**small, **large, **log, "r=DE/old": 3}, frozenset({**small, **large}))
    assert of.crowded == ["r=US"]
    assert of.stale == ["r=DE/old"]


def test_the_log_before_the_last_checkpoint_is_old():
    def name(number, kind="json"):
        return f"_delta_log/{number:020}.{kind}"

    names = [name(n) for n in range(13)] + [
        name(10, "checkpoint.parquet"),
        "_delta_log/_last_checkpoint",
        "part.parquet",
    ]
    assert upkeep.old_log(names) == [f"{n:020}.json" for n in range(10)]
    assert upkeep.old_log(names[:10]) == []


@pytest.fixture
def settings(tmp_path):
    return config.load(home=str(tmp_path), overrides=["lock_wait=0"])


def seen(spark, ids, by="20260101-a"):
    rows = [(i * 31 + end, "s", region, by, by, DAY, DAY) for i in ids for end, region in (("0", "US"), ("1", "D E"))]
    return spark.createDataFrame(rows, PRESENCE).coalesce(1)


def writes_presence(spark, settings, day, ids, **how):
    def recipe(run):
        run.write("silver.presence", seen(spark, ids), **how)

    return execute("ingest", recipe, settings, spark, f"202601{day:02d}-t", always=True).commit


def maintain(spark, settings, day):
    return _execute("maintain", settings, spark, f"202601{day:02d}-m", False)


def reads_presence(run):
    seen_by = str(run.read("silver.presence").count())
    rows = [("v1", "a", seen_by, seen_by, 1)]
    run.write("silver.taxonomy", run.spark.createDataFrame(rows, TAXONOMY))


def files(spark, settings, ref="main"):
    return upkeep.contents(spark, open_lake(settings).read_path(ref, "silver/presence"))


def count(spark, settings, ref):
    return read(spark, open_lake(settings), ref, "silver.presence").count()


def test_small_files_are_merged_old_commits_stay_readable_and_no_job_runs_again_for_it(spark, settings):
    first = writes_presence(spark, settings, 1, "ab")
    for day, more in ((2, "c"), (3, "d"), (4, "e")):
        last = writes_presence(spark, settings, day, more, append=True)
    reader = execute("taxonomy", reads_presence, settings, spark, "20260105-t")
    before = files(spark, settings)
    assert before.crowded == ["region=D%20E" if "region=D%20E" in before.crowded else "region=D E", "region=US"]

    done = maintain(spark, settings, 6)
    assert done.notes["compacted"]["silver/presence"]["files"] == [8, 2]
    after = files(spark, settings)
    assert len(after.live) == 2
    assert after.stale == []
    lake = open_lake(settings)
    assert lake.folders("main")["silver/presence"] != lake.folders(last.id)["silver/presence"]
    for table in diff.tables(spark, lake, reader.commit.id, done.commit.id):
        expected = (1, 0, 0) if table.table == "gold.runs" else (0, 0, 0)  # its own run record
        assert (table.added, table.removed, table.changed) == expected, table
    # VACUUM took files of the branch alone: every earlier commit is whole.
    assert [count(spark, settings, c) for c in (first.id, last.id, done.commit.id)] == [4, 10, 10]
    assert len(files(spark, settings, last.id).live) == 8
    assert execute("taxonomy", reads_presence, settings, spark, "20260107-t").status == "skipped"

    again = maintain(spark, settings, 8)
    assert again.notes["compacted"] == {}
    changed = diff.differing(lake, done.commit.id, again.commit.id)
    assert set(changed) <= {"gold.runs", "silver.check_results"}
    # Rows that do change are seen, through any number of compactions.
    writes_presence(spark, settings, 9, "f", append=True)
    assert execute("taxonomy", reads_presence, settings, spark, "20260110-t").status == "done"


def test_files_that_overwriting_left_are_vacuumed_and_a_long_log_is_cut(spark, settings):
    def recipe(run):
        for _ in range(12):
            run.write("silver.presence", seen(spark, "ab"))

    one = execute("ingest", recipe, settings, spark, "20260101-t", always=True)
    for day in (2, 3):
        writes_presence(spark, settings, day, "abc")
    before = files(spark, settings)
    assert len(before.stale) >= 24
    done = maintain(spark, settings, 4)
    figures = done.notes["compacted"]["silver/presence"]
    assert figures["unused"] == [len(before.stale), 0]
    assert figures["bytes"][1] < figures["bytes"][0] / 2
    assert count(spark, settings, "main") == 6
    assert count(spark, settings, one.commit.id) == 4


def test_a_log_of_many_versions_begins_at_its_last_checkpoint(spark, settings, monkeypatch):
    monkeypatch.setattr(upkeep, "LOG_FILES", 5)

    def recipe(run):
        for _ in range(12):
            run.write("silver.presence", seen(spark, "ab"))

    execute("ingest", recipe, settings, spark, "20260101-t", always=True)
    maintain(spark, settings, 2)
    path = Path(open_lake(settings).read_path("main", "silver/presence"))
    assert len(list((path / "_delta_log").glob("*.json"))) < 5
    assert count(spark, settings, "main") == 4
    writes_presence(spark, settings, 3, "c", append=True)
    assert count(spark, settings, "main") == 6


def test_tables_of_a_job_at_work_are_left_alone_and_named(spark, settings):
    for day, ids in enumerate("abcd", 1):
        last = writes_presence(spark, settings, day, ids, append=True)
    with open_lake(settings).lock("job-ingest", "ingest 20260105-t"):
        done = maintain(spark, settings, 5)
    assert "silver/presence" in done.notes["skipped_busy"]
    assert (
        open_lake(settings).folders("main")["silver/presence"]
        == open_lake(settings).folders(last.id)["silver/presence"]
    )
    assert maintain(spark, settings, 6).notes["compacted"]["silver/presence"]["files"] == [8, 2]


BRONZE = "source string, file_hash string, record_number bigint, payload string, ingest_date date, run_id string"
FILES = (
    "source string, file string, file_hash string, mapping_hash string, superseded bigint, run_id string, run_date date"
)
PRODUCTS = (
    "product_id string, source string, source_key string, region string, title string, content_hash string, "
    "file_hash string, record_number bigint"
)


@pytest.mark.nightly
def test_old_bronze_goes_unless_a_product_stands_on_it(spark, tmp_path, monkeypatch):
    monkeypatch.setattr("shelfmark.quality.definitions.exists", lambda name: False)  # its books are not whole
    settings = config.load(home=str(tmp_path), overrides=["retention.bronze_days=30"])
    old, new = date(2026, 1, 1), date(2026, 3, 1)

    def recipe(run):
        raw = [("s", "f1", 1, "{}", old, "r"), ("s", "f1", 2, "{}", old, "r"), ("s", "f2", 1, "{}", old, "r")]
        raw += [("s", "f2", 2, "{}", old, "r"), ("s", "f3", 1, "{}", old, "r"), ("s", "f4", 1, "{}", new, "r")]
        run.write("bronze.raw_products", spark.createDataFrame(raw, BRONZE))
        books = [("s", f, f, "m", int(f == "f2"), "r", old) for f in ("f1", "f2", "f3", "f4")]
        run.write("bronze.files", spark.createDataFrame(books, FILES))
        current = [
            ("a" * 32, "s", "1", "US", "Hat", "h" * 32, "f1", 1),
            ("b" * 32, "s", "2", "US", "Cap", "h" * 32, "f2", 2),
        ]
        run.write("silver.products", spark.createDataFrame(current, PRODUCTS))

    execute("ingest", recipe, settings, spark, "20260301-t", always=True)
    done = _execute("maintain", settings, spark, "20260310-m", False)
    # f1: the current record stays; f2: several records of one key, so all stay; f3: none is current; f4 is young.
    assert done.notes["bronze_records_retired"] == 2
    lake = open_lake(settings)
    kept = read(spark, lake, "main", "bronze.raw_products").select("file_hash", "record_number").collect()
    assert sorted(map(tuple, kept)) == [("f1", 1), ("f2", 1), ("f2", 2), ("f4", 1)]
    assert "bronze_records_retired" not in _execute("maintain", settings, spark, "20260311-m", False).notes
