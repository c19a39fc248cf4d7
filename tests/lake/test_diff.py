"""What differs between two versions: counted exactly, by reading only the files that one of them alone has."""

from datetime import date
from pathlib import Path

import pytest

from shelfmark import config
from shelfmark.lake import diff, open_lake
from shelfmark.run import execute

PRESENCE = "product_id string, source string, region string, first_run string, last_run string, first_seen date, last_seen date"
LABELS = (
    "product_id string, category_id string, taxonomy_version string, origin string, who string, `primary` boolean, "
    "weight double, run_id string"
)
DAY = date(2026, 1, 1)


@pytest.fixture
def settings(tmp_path):
    return config.load(home=str(tmp_path))


def seen(ids, region="US", by="20260101-a"):
    return [(i * 32, "s", region, by, by, DAY, DAY) for i in ids]


def run(spark, settings, day, recipe, job="ingest"):
    return execute(job, recipe, settings, spark, f"202601{day:02d}-t", always=True).commit.id


def only(spark, settings, one, other, name, rows=0):
    found = {d.table: d for d in diff.tables(spark, open_lake(settings), one, other, rows=rows)}
    return found.get(name)


def counts(result):
    return result.added, result.removed, result.changed


def test_rows_added_removed_and_changed_are_counted_and_rows_that_only_moved_are_not(spark, settings):
    rows = [*seen("abcd"), *seen("ef", "DE")]
    one = run(spark, settings, 1, lambda r: r.write("silver.presence", spark.createDataFrame(rows, PRESENCE)))
    # All rows of US are written to other files; of them b changes, c goes, g comes.
    us = [*seen("ad"), *seen("b", by="20260102-b"), *seen("9")]
    other = run(
        spark,
        settings,
        2,
        lambda r: r.write("silver.presence", spark.createDataFrame(us, PRESENCE), replace="region = 'US'"),
    )
    result = only(spark, settings, one, other, "silver.presence", rows=5)
    assert counts(result) == (1, 1, 1)
    assert {(s.kind, s.key["product_id"][0]) for s in result.samples} == {
        ("added", "9"),
        ("removed", "c"),
        ("changed", "b"),
    }
    (changed,) = [s for s in result.samples if s.kind == "changed"]
    assert changed.values["last_run"] == ("20260101-a", "20260102-b")
    assert "region" not in changed.values
    back = only(spark, settings, other, one, "silver.presence")
    assert counts(back) == (1, 1, 1)
    assert only(spark, settings, one, one, "silver.presence") is None


def test_files_that_both_versions_have_are_not_read(spark, settings):
    rows = [*seen("abcd"), *seen("ef", "D E/%")]
    one = run(spark, settings, 1, lambda r: r.write("silver.presence", spark.createDataFrame(rows, PRESENCE)))
    more = spark.createDataFrame(seen("9", "D E/%"), PRESENCE)
    other = run(spark, settings, 2, lambda r: r.write("silver.presence", more, append=True))
    lake = open_lake(settings)
    spoiled = 0
    sides = [diff.side(spark, lake.read_path(ref, "silver/presence")) for ref in (one, other)]
    for name in set(sides[0].files) & set(sides[1].files):
        for at in sides:
            Path(at.files[name].removeprefix("file:")).write_bytes(b"not parquet")
        spoiled += 1
    assert spoiled >= 2
    result = only(spark, settings, one, other, "silver.presence", rows=3)
    assert counts(result) == (1, 0, 0)
    assert (result.read, result.files) == (1, spoiled + 1)
    # The partition's name was escaped in its directory, and is itself again in the row.
    assert result.samples[0].values["region"] == (None, "D E/%")


def test_tables_without_a_content_hash_are_compared_by_their_business_columns(spark, settings):
    rows = [
        ("a" * 32, "c1", "v", "source", "s", True, 1.0, "r1"),
        ("b" * 32, "c1", "v", "source", None, True, 1.0, "r1"),
    ]
    later = [
        ("a" * 32, "c1", "v", "source", "s", True, 1.0, "r2"),
        ("b" * 32, "c1", "v", "source", None, True, 0.5, "r2"),
    ]
    write = lambda these: lambda r: r.write("silver.labels", spark.createDataFrame(these, LABELS))  # noqa: E731
    one = run(spark, settings, 1, write(rows), job="labels")
    other = run(spark, settings, 2, write(later), job="labels")
    result = only(spark, settings, one, other, "silver.labels", rows=5)
    assert counts(result) == (0, 0, 1)  # another run_id alone is no change
    assert result.samples[0].values["weight"] == (1.0, 0.5)


def test_several_rows_of_one_key_are_compared_as_they_are(spark, settings, monkeypatch):
    monkeypatch.setattr("shelfmark.quality.definitions.exists", lambda name: False)  # a suite would refuse them
    one = run(spark, settings, 1, lambda r: r.write("silver.presence", spark.createDataFrame(seen("aab"), PRESENCE)))
    other = run(spark, settings, 2, lambda r: r.write("silver.presence", spark.createDataFrame(seen("ab"), PRESENCE)))
    assert counts(only(spark, settings, one, other, "silver.presence")) == (0, 1, 0)


def test_a_table_that_one_version_does_not_have_is_all_added_or_removed(spark, settings):
    one = run(spark, settings, 1, lambda r: r.write("silver.presence", spark.createDataFrame(seen("a"), PRESENCE)))
    rows = [("a" * 32, "c1", "v", "source", "s", True, 1.0, "r1")]
    other = run(
        spark, settings, 2, lambda r: r.write("silver.labels", spark.createDataFrame(rows, LABELS)), job="labels"
    )
    assert counts(only(spark, settings, one, other, "silver.labels")) == (1, 0, 0)
    assert counts(only(spark, settings, other, one, "silver.labels")) == (0, 1, 0)
    assert only(spark, settings, one, other, "silver.presence") is None


@pytest.mark.parametrize(
    ("root", "path", "name"),
    [
        ("/home/x/t", "file:/home/x/t/region=US/part.parquet", "region=US/part.parquet"),
        ("/home/x/t", "file:///home/x/t/part.parquet", "part.parquet"),
        ("s3a://repo/main/silver/t", "s3a://repo/main/silver/t/r=%2520/p.parquet", "r=%2520/p.parquet"),
    ],
)
def test_a_files_name_is_its_path_below_the_table(root, path, name):
    assert diff.relative(root, path) == name
