"""What the log of a Delta table says, asked of Delta in its own Java.

The same by SQL (SHOW TBLPROPERTIES, DESCRIBE DETAIL, history) is planned, compiled and run as a query; a run asks a
hundred times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def table_property(spark: SparkSession, path: str, name: str) -> str:
    """A property of the Delta table at `path`, "" where it has none of that name."""
    found = _now(spark, path)[1].metadata().configuration().get(name)
    return found.get() if found.isDefined() else ""


def has_feature(spark: SparkSession, path: str, name: str) -> bool:
    """Whether who reads or writes the Delta table at `path` must know a feature, such as deletionVectors."""
    return _now(spark, path)[1].protocol().readerAndWriterFeatureNames().contains(name)


def last_metrics(spark: SparkSession, path: str) -> dict[str, str]:
    """What the newest commit of the Delta table at `path` counted, as its history says it."""
    log, newest = _now(spark, path)
    delta = spark._jvm.org.apache.spark.sql.delta
    file = delta.util.FileNames.unsafeDeltaFile(log.logPath(), newest.version())
    about = delta.DeltaHistoryManager.getCommitInfoOpt(log.store(), file, log.newDeltaHadoopConf())
    counted = about.get().operationMetrics() if about.isDefined() else about
    if not counted.isDefined():
        return {}
    pairs = counted.get().iterator()
    found = {}
    while pairs.hasNext():
        pair = pairs.next()
        found[pair._1()] = pair._2()
    return found


def _now(spark: SparkSession, path: str) -> tuple[Any, Any]:
    """(log, newest snapshot) of the table at `path`, as far as it is written at this moment."""
    both = spark._jvm.org.apache.spark.sql.delta.DeltaLog.forTableWithSnapshot(spark._jsparkSession, path)
    return both._1(), both._2()
