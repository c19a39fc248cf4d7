"""What Delta's own Java says of a log is what its SQL says."""

import pytest
from delta.tables import DeltaTable

from shelfmark import deltalog


@pytest.fixture
def path(spark, tmp_path):
    """A table of three rows in a folder whose name SQL would have to quote."""
    where = str(tmp_path / "a table`s folder=x")
    spark.range(3).coalesce(1).write.format("delta").save(where)
    return where


def by_sql(spark, path, what):
    return spark.sql(what.format(f"delta.`{path.replace('`', '``')}`"))


def test_a_property_is_the_one_of_the_newest_commit(spark, path):
    assert deltalog.table_property(spark, path, "shelfmark.note") == ""
    for value in ("1", "it's 2"):
        by_sql(spark, path, "ALTER TABLE {} SET TBLPROPERTIES ('shelfmark.note' = '" + value.replace("'", "\\'") + "')")
        (row,) = by_sql(spark, path, "SHOW TBLPROPERTIES {} ('shelfmark.note')").collect()
        assert deltalog.table_property(spark, path, "shelfmark.note") == row["value"] == value


def test_a_folder_without_a_log_has_no_property(spark, tmp_path):
    assert deltalog.table_property(spark, str(tmp_path / "nowhere"), "shelfmark.note") == ""


def test_a_feature_is_there_once_it_is_switched_on(spark, path):
    assert not deltalog.has_feature(spark, path, "deletionVectors")
    by_sql(spark, path, "ALTER TABLE {} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    assert "deletionVectors" in by_sql(spark, path, "DESCRIBE DETAIL {}").head()["tableFeatures"]
    assert deltalog.has_feature(spark, path, "deletionVectors")


def test_what_commits_counted_is_what_the_history_says(spark, path):
    table = DeltaTable.forPath(spark, path).alias("t")

    def agrees():
        said = DeltaTable.forPath(spark, path).history(1).head()["operationMetrics"]
        assert deltalog.last_metrics(spark, path) == said
        return said

    assert agrees()["numOutputRows"] == "3"
    merge = table.merge(spark.range(2, 4).alias("s"), "t.id = s.id").whenMatchedUpdate(set={"id": "s.id + 10"})
    merge.whenNotMatchedInsertAll().execute()
    assert [agrees()[f"numTargetRows{kind}"] for kind in ("Inserted", "Updated", "Deleted")] == ["1", "1", "0"]
    table.delete("id = 0")
    assert agrees()["numDeletedRows"] == "1"
