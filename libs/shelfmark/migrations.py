"""Contract migrations: how a table that an earlier Shelfmark wrote becomes one of today's contract.

1. A Delta table carries the version of the contract it was written by in its property `PROPERTY`; none means 1.
2. Reading an older table, also of an old commit, applies `MIGRATIONS` step by step, lazily: history is never rewritten.
3. Adding rows to an older table first rewrites it on the run's branch, so that it publishes with the run or not at all.
4. A table of a newer contract than this code knows is refused.

A nullable column that is only added needs none of this: it is null in older tables.

To change a contract otherwise (rename, type, split of a column, key, partitions): raise `Table.version` in tables.py,
add the step here with its reason, and a test of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shelfmark import deltalog
from shelfmark.errors import UsageError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameWriter, SparkSession

    from shelfmark.tables import Table

PROPERTY = "shelfmark.contract_version"
MARKING = "delta.enableDeletionVectors"


@dataclass(frozen=True)
class Migration:
    """One step of one table: rows of version n to rows of version n + 1.

    `reads`: Spark type of each column that `apply` reads; those that an older table does not have yet are null.
    """

    why: str
    reads: dict[str, str]
    apply: Callable[[DataFrame], DataFrame]


MIGRATIONS: dict[tuple[str, int], Migration] = {
    ("silver.labels", 1): Migration(
        "a person may name the category that the source names: the key has the origin too", {}, lambda df: df
    ),
}
"""(table, version n) -> the step to n + 1. Every contract of version v has the steps 1 to v - 1 here."""


def stored(spark: SparkSession, path: str) -> int:
    """Contract version of the Delta table at `path`, from its log alone."""
    value = deltalog.table_property(spark, path, PROPERTY)
    return int(value) if value.isdigit() else 1


def stamp(spark: SparkSession, path: str, contract: Table) -> None:
    """Note on the Delta table at `path` that it is of today's contract; one of version 1 needs no note."""
    if stored(spark, path) != contract.version:
        _set_property(spark, path, PROPERTY, str(contract.version))


def mark_deletions(spark: SparkSession, path: str) -> None:
    """Let deletions of the Delta table at `path` be marked in deletion vectors from now on."""
    if deltalog.table_property(spark, path, MARKING) != "true":
        _set_property(spark, path, MARKING, "true")


def _set_property(spark: SparkSession, path: str, name: str, value: str) -> None:
    quoted = path.replace("`", "``")
    spark.sql(f"ALTER TABLE delta.`{quoted}` SET TBLPROPERTIES ('{name}' = '{value}')")


def current(df: DataFrame, contract: Table, version: int) -> DataFrame:
    """`df`, read from a table of `version`, with the columns of today's contract in its order.

    Raises `UsageError` for a table of a newer contract.
    """
    from pyspark.sql import functions as F

    _check(contract, version)
    for step in range(version, contract.version):
        migration = MIGRATIONS[contract.name, step]
        df = migration.apply(_with_columns(df, migration.reads))
    df = _with_columns(df, {field.name: field.type for field in contract.fields})
    return df.select(*(F.col(f"`{column}`") for column in contract.columns))


def read(spark: SparkSession, path: str, contract: Table) -> DataFrame:
    """The Delta table at `path` as today's contract has it."""
    return current(spark.read.format("delta").load(path), contract, stored(spark, path))


def prepare(spark: SparkSession, path: str, contract: Table, keep: bool = True) -> bool:
    """Make the Delta table at `path` one that rows of today's contract can be added to; whether it was rewritten.

    Without `keep` its rows are about to be overwritten: only a newer contract is refused.
    """
    version = stored(spark, path)
    _check(contract, version)
    if not keep or version == contract.version:
        return False
    rows = current(spark.read.format("delta").load(path), contract, version)
    writer(rows, contract, "overwrite").option("overwriteSchema", "true").save(path)
    stamp(spark, path, contract)
    return True


def writer(rows: DataFrame, contract: Table, mode: str) -> DataFrameWriter:
    """A Delta writer that lays files out as the contract says."""
    laid_out = rows.write.format("delta").mode(mode)
    if contract.partitions:
        laid_out = laid_out.partitionBy(*contract.partitions)
    return laid_out.option("optimizeWrite", "true") if contract.packed else laid_out


def _check(contract: Table, version: int) -> None:
    if version > contract.version:
        raise UsageError(
            f"{contract.name} has contract version {version}, this code knows {contract.version}: "
            "this lake was written by a newer Shelfmark; install that one or a later one"
        )


def _with_columns(df: DataFrame, wanted: dict[str, str]) -> DataFrame:
    """`df` with each wanted column (name -> Spark type) that it lacks as null."""
    from pyspark.sql import functions as F

    for name in (name for name in wanted if name not in df.columns):
        df = df.withColumn(name, F.lit(None).cast(wanted[name]))
    return df
