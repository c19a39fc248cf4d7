"""The verbs of the job maintain: few large files, sorted where it pays; nothing kept that no version needs.

A run works on its branch's own folders (hard links in the local lake, objects of the branch in lakeFS), and history is
the lake's: every commit has the files it needs in a folder of its own. So VACUUM may take everything the branch's
newest state of a table does not use, at once, and the log may begin at its last checkpoint: older commits are not
touched, and prune gives back what no commit uses any more.

Rows stay what they are. The commit says so (`Run.same`), and no job runs again because its input was compacted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from shelfmark.errors import DataRefused
from shelfmark.lake.diff import relative, table_of
from shelfmark.tables import WRITERS, table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from shelfmark.run import Run

TARGET = 128 << 20
"""Bytes a file is compacted to: Spark's own size of a scan's piece, so that a file is a task."""

SMALL = TARGET // 4
"""A file below this is worth to be merged with others; larger ones are not written again for a few more rows."""

SEVERAL = 4
"""Small files of a partition from which on it is compacted: a merge a day leaves one or two a partition."""

LOG_FILES = 20
"""Log files before the last checkpoint from which on they are removed."""

LOG = "_delta_log"
MARKS = ".bin"
"""Files of deletion vectors: the log alone knows which of them are used."""


@dataclass(frozen=True)
class Contents:
    """A Delta folder on the branch: size of each file by relative path, and which of them are the table's now."""

    sizes: dict[str, int]
    live: frozenset[str]

    @property
    def crowded(self) -> list[str]:
        """Partitions with `SEVERAL` small files or more."""
        small = Counter(str(PurePosixPath(name).parent) for name in self.live if self.sizes.get(name, 0) < SMALL)
        return sorted(partition for partition, count in small.items() if count >= SEVERAL)

    @property
    def stale(self) -> list[str]:
        """Data files that the table does not use any more."""
        data = (name for name in self.sizes if not name.startswith(f"{LOG}/") and not name.endswith(MARKS))
        return sorted(name for name in data if name not in self.live)

    @property
    def bytes(self) -> int:
        return sum(self.sizes.values())


def folders(run: Run, busy: Iterable[str] = ()) -> list[str]:
    """Folders of tables at the branch, without those that a job of `busy` writes."""
    at_base = run.lake.folders(run.base.id) if run.base else {}
    skipped, found = [], []
    for folder in sorted(at_base):
        name = table_of(folder)
        if name is None:
            continue  # a model: its files are read whole
        owner = folder.removeprefix(f"{table(name).path}/") if table(name).writers else table(name).owner
        if owner == run.job:
            continue  # this run's own journal is written at its end
        (skipped if owner in busy else found).append(folder)
    if skipped:
        run.note(skipped_busy=skipped)
    return found


def compact(run: Run, folder: str) -> dict[str, list[int]] | None:
    """Merge small files, vacuum and shorten the log of a folder, each where it is worth it.

    Returns before and after of: files of the table, files it does not use, old log files, bytes of all; None where
    nothing was to do.
    """
    spark, name = run.spark, table_of(folder)
    path = run.lake.read_path(run.branch, folder)
    before = contents(spark, path)
    crowded, stale, log = before.crowded, before.stale, old_log(before.sizes)
    if not crowded and not stale and len(log) < LOG_FILES:
        return None
    rows = _rows(spark, path)
    path = run.rewrite_path(name, folder)
    if crowded:
        optimize(spark, path)
        stale = contents(spark, path).stale
    if stale:
        vacuum(spark, path)
    if len(log) >= LOG_FILES:
        shorten_log(spark, path)
    after = contents(spark, path)
    if _rows(spark, path) != rows:
        raise DataRefused(f"{folder}: {rows} rows before, {_rows(spark, path)} after compaction; nothing is published")
    run.same(folder)
    return {
        "files": [len(before.live), len(after.live)],
        "unused": [len(before.stale), len(after.stale)],
        "log": [len(log), len(old_log(after.sizes))],
        "bytes": [before.bytes, after.bytes],
    }


def retire_bronze(run: Run, busy: Iterable[str] = ()) -> None:
    """Delete bronze records read more than `retention.bronze_days` ago that no product stands on.

    A record stays when it is a product's current one (silver.products names its file and number), so that a corrected
    mapping finds every product again. Of a file whose books count superseded records (several records of one key make
    one product together) all stay as long as one of them is current.
    """
    from pyspark.sql import functions as F

    days = run.settings.retention.bronze_days
    if days is None or "ingest" in busy or not run.has("bronze.raw_products"):
        return
    before = run.run_date - timedelta(days=days)
    raw = run.read("bronze.raw_products").where(F.col("ingest_date") < F.lit(before))
    current = run.read("silver.products").select("file_hash", "record_number").distinct()
    piled = run.read("bronze.files").where("superseded > 0").select("file_hash")
    whole = current.join(piled, "file_hash", "left_semi").select("file_hash").distinct()
    kept = raw.join(whole, "file_hash", "left_semi").unionByName(
        raw.join(whole, "file_hash", "left_anti").join(current, ["file_hash", "record_number"], "left_semi")
    )
    gone = raw.count() - kept.count()
    if gone:
        run.write("bronze.raw_products", kept.select(*raw.columns), replace=f"ingest_date < '{before}'")
        run.note(bronze_records_retired=gone)


# -- one Delta folder ---------------------------------------------------------------------------------------------


def contents(spark: SparkSession, path: str) -> Contents:
    """What lies in a Delta folder, by one listing and the table's log."""
    live = frozenset(relative(path, file) for file in spark.read.format("delta").load(path).inputFiles())
    return Contents({relative(path, name): size for name, size in _listed(spark, path)}, live)


def old_log(sizes: Iterable[str]) -> list[str]:
    """Log files of versions before the last checkpoint: reading the newest state needs none of them."""
    names = [PurePosixPath(name).name for name in sizes if name.startswith(f"{LOG}/") and name.count("/") == 1]
    numbered = {name: int(name[:20]) for name in names if name[:20].isdigit()}
    checkpoints = [number for name, number in numbered.items() if ".checkpoint" in name]
    return sorted(name for name, number in numbered.items() if checkpoints and number < max(checkpoints))


def optimize(spark: SparkSession, path: str, zorder: tuple[str, ...] = ()) -> None:
    """Merge the small files of each partition; with `zorder`, write all its files again, sorted by these columns."""
    from delta.tables import DeltaTable

    sizes = {
        "spark.databricks.delta.optimize.minFileSize": str(SMALL),
        "spark.databricks.delta.optimize.maxFileSize": str(TARGET),
    }
    with options(spark, sizes):
        builder = DeltaTable.forPath(spark, path).optimize()
        builder.executeZOrderBy(*zorder) if zorder else builder.executeCompaction()


def vacuum(spark: SparkSession, path: str) -> None:
    """Remove the files that the table's newest state does not use; only ever on a branch, see the head of this module."""
    from delta.tables import DeltaTable

    settings = {
        "spark.databricks.delta.retentionDurationCheck.enabled": "false",
        # Delta lists a folder in as many tasks as this says; by Spark's default they are 10,000, half a minute of nothing.
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": str(4 * spark.sparkContext.defaultParallelism),
    }
    with options(spark, settings):
        DeltaTable.forPath(spark, path).vacuum(0)


def shorten_log(spark: SparkSession, path: str) -> None:
    """Write a checkpoint of the newest version and remove the log before it. History is the lake's, not the log's."""
    log = spark._jvm.org.apache.spark.sql.delta.DeltaLog.forTable(spark._jsparkSession, path)
    log.checkpoint()
    for name in old_log(relative(path, name) for name, _ in _listed(spark, path)):
        file = spark._jvm.org.apache.hadoop.fs.Path(f"{path}/{LOG}/{name}")
        file.getFileSystem(_hadoop(spark)).delete(file, False)


def has_marked(spark: SparkSession, path: str) -> bool:
    """Whether files of a Delta folder may hold rows that are only marked as deleted."""
    return any(name.endswith(MARKS) for name, _ in _listed(spark, path))


def leave_no_trace(spark: SparkSession, path: str, run_id: str) -> None:
    """Remove all files and log entries of a table but those of its newest state.

    Files that are not used any more hold rows that were erased, others may hold rows that are only marked as deleted,
    and Delta's log quotes the least and greatest values of files. So the log begins anew with an entry that quotes nothing.
    """
    quoted = path.replace("`", "``")
    if has_marked(spark, path):
        spark.sql(f"REORG TABLE delta.`{quoted}` APPLY (PURGE)")
    spark.sql(f"ALTER TABLE delta.`{quoted}` SET TBLPROPERTIES ('shelfmark.erased' = '{run_id}')")
    vacuum(spark, path)
    shorten_log(spark, path)


@contextmanager
def options(spark: SparkSession, values: dict[str, str]) -> Iterator[None]:
    """Session options for a while."""
    before = {key: spark.conf.get(key, None) for key in values}
    for key, value in values.items():
        spark.conf.set(key, value)
    try:
        yield
    finally:
        for key, value in before.items():
            spark.conf.unset(key) if value is None else spark.conf.set(key, value)


def _listed(spark: SparkSession, path: str) -> Iterator[tuple[str, int]]:
    """(path, bytes) of every file below a folder, by the file system Spark writes it with."""
    root = spark._jvm.org.apache.hadoop.fs.Path(path)
    files = root.getFileSystem(_hadoop(spark)).listFiles(root, True)
    while files.hasNext():
        status = files.next()
        name = status.getPath().toString()
        if not PurePosixPath(name).name.startswith("."):  # checksums that the local file system keeps
            yield name, status.getLen()


def _hadoop(spark: SparkSession):
    """Settings of the file systems, those of this session included."""
    return spark._jsparkSession.sessionState().newHadoopConf()


def _rows(spark: SparkSession, path: str) -> int:
    return spark.read.format("delta").load(path).count()  # answered from the log


def held_by_others() -> tuple[str, ...]:
    """Jobs whose tables are worked on, and which must not run meanwhile."""
    return tuple(job for job in WRITERS if job != "maintain")


def of_table(run: Run, name: str) -> list[str]:
    """Folders of a table at the branch."""
    there = run.lake.folders(run.branch)
    return [folder for folder in table(name).folders if folder in there]


def of_branch(run: Run, folder: str) -> DataFrame:
    """A folder of a table at the branch, as its contract has it."""
    from shelfmark.run import load

    return load(run.spark, [run.lake.read_path(run.branch, folder)], table(table_of(folder)))
