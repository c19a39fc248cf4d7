"""The daemon of Python workers leaves Spark's archives off the path where pip's packages are, and only there."""

import sys
from collections.abc import Iterator

import pyarrow as pa

from shelfmark import daemon

SPARK = [
    "/spark/python/lib/pyspark.zip",
    "/spark/python/lib/py4j-0.10.9.7-src.zip",
    "/spark/jars/spark-core_2.12-3.5.9.jar",
]


def test_archives_leave_the_path_where_packages_are_installed():
    assert daemon.without_archives([*SPARK, *sys.path]) == sys.path


def test_archives_stay_where_nothing_else_holds_pyspark():
    assert daemon.without_archives(SPARK) == SPARK


def test_workers_run_the_installed_packages_and_read_no_archive(spark):
    def look(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import gc

        import pyspark

        for _ in batches:
            pass
        # Python's own zip (python311.zip) is on every path and is no file.
        archives = [entry for entry, finder in sys.path_importer_cache.items() if "zip" in type(finder).__name__]
        yield pa.RecordBatch.from_pydict(
            {"home": [pyspark.__file__], "archives": [archives], "frozen": [gc.get_freeze_count()]}
        )

    row = spark.range(1).mapInArrow(look, "home string, archives array<string>, frozen long").first()
    assert ".zip" not in row.home
    assert row.archives == []
    assert row.frozen > 50_000  # what the daemon imported: no collection at a task's end looks at it
