"""Changes of a contract: older tables are read as today's, rewritten before rows are added, newer ones refused."""

from dataclasses import replace

import pytest
from pyspark.sql import functions as F

from shelfmark import config, migrations, tables
from shelfmark.errors import UsageError
from shelfmark.lake import open_lake
from shelfmark.migrations import MIGRATIONS, PROPERTY, Migration
from shelfmark.query import query, read
from shelfmark.run import execute
from shelfmark.tables import TABLES, Field, table

pytestmark = pytest.mark.usefixtures("unchecked")

NAME = "silver.taxonomy"
OLD = "taxonomy_version string, category_id string, path string, name string, parent_id string, depth int"
ROWS = [("v1", "a", "A", "A", None, 1), ("v1", "b", "A > B", "B", "a", 2)]
NEW = OLD.replace("depth int", "level bigint").replace("name string", "label string")


def test_every_contract_has_all_its_steps():
    for contract in TABLES.values():
        for version in range(1, contract.version):
            assert MIGRATIONS[contract.name, version].why
    assert all(version < TABLES[name].version for name, version in MIGRATIONS)


@pytest.fixture
def settings(tmp_path):
    return config.load(home=str(tmp_path))


@pytest.fixture
def second(monkeypatch):
    """Version 2 of a contract: a column renamed, one renamed and of another type."""

    def change():
        changed = {"depth": ("level", "bigint"), "name": ("label", "string")}
        fields = tuple(
            replace(f, name=changed[f.name][0], type=changed[f.name][1]) if f.name in changed else f
            for f in table(NAME).fields
        )
        fields = (*fields, Field("colour", "string", "a nullable column that came along"))
        monkeypatch.setitem(tables.TABLES, NAME, replace(table(NAME), fields=fields, version=2))

        def step(df):
            return (
                df.withColumnRenamed("name", "label").withColumn("level", F.col("depth").cast("bigint")).drop("depth")
            )

        monkeypatch.setitem(
            MIGRATIONS, (NAME, 1), Migration("clearer names, deep trees", {"name": "string", "depth": "int"}, step)
        )
        # The suite speaks of the columns of version 1.
        monkeypatch.setattr("shelfmark.quality.definitions.exists", lambda name: False)

    return change


def write(spark, settings, day, rows, schema, **how):
    def recipe(run):
        run.write(NAME, spark.createDataFrame(rows, schema), **how)

    return execute("taxonomy", recipe, settings, spark, f"202601{day:02d}-t", always=True).commit


def levels(spark, settings, ref="main"):
    lake = open_lake(settings)
    return {row.label: row.level for row in read(spark, lake, lake.resolve(ref).id, NAME).collect()}


def path(settings, ref="main"):
    return open_lake(settings).read_path(ref, "silver/taxonomy")


def test_an_older_table_is_read_as_todays_contract_and_not_written(spark, settings, second):
    commit = write(spark, settings, 1, ROWS, OLD)
    second()
    assert levels(spark, settings) == {"A": 1, "B": 2}
    frame = query(spark, open_lake(settings), commit.id, f"select level, colour from {NAME} where label = 'B'")
    assert frame.dtypes == [("level", "bigint"), ("colour", "string")]
    assert frame.head().level == 2
    assert migrations.stored(spark, path(settings)) == 1


@pytest.mark.parametrize(
    "how",
    ["append", "merge", *(pytest.param(how, marks=pytest.mark.nightly) for how in ("replace", "overwrite", "delete"))],
)
def test_adding_to_an_older_table_rewrites_it_in_the_same_publish(spark, settings, second, how):
    first = write(spark, settings, 1, ROWS, OLD)
    second()
    more = spark.createDataFrame([("v2", "c", "C", "C", None, 7)], NEW)

    def recipe(run):
        match how:
            case "merge":
                run.merge(NAME, more)
            case "delete":
                run.delete(NAME, F.col("level") == 2)
            case "overwrite":
                run.write(NAME, more)
            case "append":
                run.write(NAME, more, append=True)
            case "replace":
                run.write(NAME, more, replace="taxonomy_version = 'v2'")

    execute("taxonomy", recipe, settings, spark, "20260102-t", always=True)
    expected = {"delete": {"A": 1}, "overwrite": {"C": 7}}.get(how, {"A": 1, "B": 2, "C": 7})
    assert levels(spark, settings) == expected
    assert migrations.stored(spark, path(settings)) == 2
    assert "depth" not in spark.read.format("delta").load(path(settings)).columns
    # History is not rewritten, and is read by today's contract all the same.
    assert migrations.stored(spark, path(settings, first.id)) == 1
    assert levels(spark, settings, first.id) == {"A": 1, "B": 2}
    # A table of today's version is not rewritten again.
    before = open_lake(settings).folders("main")["silver/taxonomy"]
    assert not migrations.prepare(spark, path(settings), table(NAME))
    assert open_lake(settings).folders("main")["silver/taxonomy"] == before


def test_a_run_that_fails_leaves_the_older_table_as_it_was(spark, settings, second):
    write(spark, settings, 1, ROWS, OLD)
    second()

    def crashes(run):
        run.write(NAME, spark.createDataFrame([("v2", "c", "C", "C", None, 7)], NEW), append=True)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        execute("taxonomy", crashes, settings, spark, "20260102-t", always=True)
    assert migrations.stored(spark, path(settings)) == 1
    assert levels(spark, settings) == {"A": 1, "B": 2}


@pytest.mark.parametrize("how", [{}, {"append": True}, {"replace": "taxonomy_version = 'v1'"}])
def test_a_table_that_a_newer_code_wrote_is_refused(spark, settings, second, how, monkeypatch):
    today = table(NAME)
    second()
    write(spark, settings, 1, [("v1", "a", "A", "A", None, 1)], NEW)
    monkeypatch.setitem(tables.TABLES, NAME, today)
    with pytest.raises(UsageError, match="written by a newer Shelfmark"):
        read(spark, open_lake(settings), open_lake(settings).head().id, NAME)
    with pytest.raises(UsageError, match="written by a newer Shelfmark"):
        write(spark, settings, 2, ROWS, OLD, **how)


def test_a_step_may_read_a_column_that_older_tables_do_not_have(spark, settings, monkeypatch):
    write(spark, settings, 1, ROWS, OLD)
    contract = replace(table(NAME), version=2)
    step = Migration(
        "names in a list", {"names": "array<struct<locale:string,name:string>>"}, lambda df: df.where("names IS NULL")
    )
    monkeypatch.setitem(tables.TABLES, NAME, contract)
    monkeypatch.setitem(MIGRATIONS, (NAME, 1), step)
    assert read(spark, open_lake(settings), open_lake(settings).head().id, NAME).count() == 2


def test_the_property_is_one_that_delta_keeps_on_overwriting(spark, settings, second):
    second()
    write(spark, settings, 1, [("v1", "a", "A", "A", None, 1)], NEW)
    write(spark, settings, 2, [("v1", "b", "B", "B", None, 2)], NEW)
    assert migrations.stored(spark, path(settings)) == 2
    assert PROPERTY == "shelfmark.contract_version"
