"""What changed between two versions of the lake: rows added, removed and changed, table by table.

1. Folders of equal fingerprint are not opened.
2. A Delta file never changes, so a file that both snapshots have holds nothing that differs: only files that are in
   one and not in the other are read.
3. Rows are compared by the contract's key and `content_hash`, or a hash of the business columns where a table has
   none. A row that was only moved to another file is equal on both sides and not counted.

Rows of one key are compared as a multiset: `n` rows that one side has and the other has not are changes as far as they
pair up, then additions or removals. One shuffle of (key, hash), and no join that many rows of one key could blow up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from shelfmark import deltalog, migrations
from shelfmark.tables import TABLES, Table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from shelfmark.lake import Lake

TECHNICAL = ("run_id", "run_date", "attempt", "lake_commit", "labelled_at", "champion_since", "seconds", "started_at")
"""Columns that say when and by which run a row was written: no reason to call it changed (as keys they count)."""


@dataclass(frozen=True)
class TableDiff:
    """Rows that differ in one table; `read` of the `files` of both versions were opened."""

    table: str
    added: int
    removed: int
    changed: int
    read: int
    files: int
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class Sample:
    """A row that differs: its key, and column -> (before, after); before is None of an added, after of a removed row."""

    kind: str
    key: dict[str, Any]
    values: dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Side:
    """A table's folder at one version: where it is, its contract version, its schema, its files by relative path."""

    root: str
    version: int
    schema: Any
    files: dict[str, str]
    whole: bool


def differing(lake: Lake, before: str, after: str) -> dict[str, list[str]]:
    """Table (or folder of a model) -> its folders whose fingerprints differ between two commits."""
    old, new = lake.folders(before), lake.folders(after)
    found: dict[str, list[str]] = {}
    for folder in sorted(old.keys() | new.keys()):
        if old.get(folder) != new.get(folder):
            found.setdefault(table_of(folder) or folder, []).append(folder)
    return found


def table_of(folder: str) -> str | None:
    """Name of the table that a folder is, or is a writer's part of; None for models."""
    name = ".".join(folder.split("/")[:2])
    return name if name in TABLES else None


def tables(
    spark: SparkSession, lake: Lake, before: str, after: str, only: str | None = None, rows: int = 0
) -> Iterator[TableDiff]:
    """The differences of every table whose fingerprint differs, in the contracts' order; `rows` samples of each."""
    found = differing(lake, before, after)
    for name in (name for name in TABLES if name in found and only in (None, name)):
        yield table(spark, lake, before, after, TABLES[name], found[name], rows)


def table(
    spark: SparkSession, lake: Lake, before: str, after: str, contract: Table, folders: list[str], rows: int = 0
) -> TableDiff:
    """The differences of one table, in the folders named."""
    old, new, read, files = None, None, 0, 0
    for folder in folders:
        sides, (one, other), shared = _apart(spark, lake, before, after, folder)
        old = _union(old, _rows(spark, sides[0], one - shared, contract))
        new = _union(new, _rows(spark, sides[1], other - shared, contract))
        read, files = read + len(one - shared) + len(other - shared), files + len(one | other)
    empty = spark.createDataFrame([], contract.ddl)
    old, new = old if old is not None else empty, new if new is not None else empty
    if not read:
        return TableDiff(contract.name, 0, 0, 0, 0, files)
    keys = _compared(old, new, contract)
    added, removed, changed = keys.agg(*(_sum(kind) for kind in ("added", "removed", "changed"))).head()
    samples = _samples(old, new, keys, contract, rows) if rows else []
    return TableDiff(contract.name, added or 0, removed or 0, changed or 0, read, files, samples)


def replaced(
    spark: SparkSession, lake: Lake, before: str, after: str, contract: Table
) -> tuple[DataFrame | None, DataFrame | None]:
    """(rows of `before`, rows of `after`) in files of a table of one owner that only one of the two versions has.

    What they hold beside may be equal: a file is written again for one row of it. None where there is no such file.
    """
    sides, (one, other), shared = _apart(spark, lake, before, after, contract.path)
    return _rows(spark, sides[0], one - shared, contract), _rows(spark, sides[1], other - shared, contract)


def added(spark: SparkSession, lake: Lake, before: str, after: str, contract: Table) -> DataFrame:
    """Rows in files of a table of one owner that came after `before`; none of them may be marked as deleted."""
    sides = [side(spark, lake.read_path(ref, contract.path)) for ref in (before, after)]
    fresh = set(sides[1].files) - set(sides[0].files)
    rows = _rows(spark, replace(sides[1], whole=False), fresh, contract)
    return rows if rows is not None else spark.createDataFrame([], contract.ddl)


def _apart(
    spark: SparkSession, lake: Lake, before: str, after: str, folder: str
) -> tuple[list[Side | None], tuple[set[str], set[str]], set[str]]:
    """(both sides of a folder, their files, the files that both have and of which they see the same rows)."""
    sides = [side(spark, lake.read_path(ref, folder)) for ref in (before, after)]
    one, other = (set(s.files) if s else set() for s in sides)
    # A file of rows that carry another contract version reads otherwise.
    same = all(s and not s.whole for s in sides) and sides[0].version == sides[1].version
    return sides, (one, other), one & other if same else set()


def side(spark: SparkSession, root: str | None) -> Side | None:
    """A Delta folder at a version; None where it is not there. Reads its log alone."""
    if root is None:
        return None
    frame = spark.read.format("delta").load(root)
    named = {relative(root, path): path for path in frame.inputFiles()}
    # With deletion vectors two snapshots can share a file of which they see different rows.
    marked = deltalog.has_feature(spark, root, "deletionVectors")
    return Side(root, migrations.stored(spark, root), frame.schema, named, marked)


def relative(root: str, path: str) -> str:
    """Path of a data file below its table's folder: what is equal of a shared file in any version of any lake."""
    plain = path.split("://", 1)[-1] if "://" in path else path.removeprefix("file:")
    base = root.split("://", 1)[-1].rstrip("/")
    plain = "/" + plain.lstrip("/") if base.startswith("/") else plain
    if not plain.startswith(base + "/"):
        raise ValueError(f"{path} is not below {root}")
    return plain[len(base) + 1 :]


def _rows(spark: SparkSession, of: Side | None, names: set[str], contract: Table) -> DataFrame | None:
    """Rows of some files of a version, as today's contract has them."""
    if of is None or not names:
        return None
    if of.whole:
        return migrations.read(spark, of.root, contract)
    # Partition columns are in the directories' names; `basePath` says where those begin. No name is a pattern.
    reader = spark.read.schema(of.schema).option("basePath", of.root).option("__globPaths__", "false")
    frame = reader.parquet(*(of.files[name] for name in sorted(names)))
    return migrations.current(frame, contract, of.version)


def _compared(old: DataFrame, new: DataFrame, contract: Table) -> DataFrame:
    """A row for each key that differs: the key, and how many of its rows are added, removed, changed."""
    from pyspark.sql import functions as F

    hashed = [F.col(f"`{key}`") for key in contract.keys] + [_content(contract).alias("_hash")]
    both = old.select(*hashed, F.lit(-1).alias("_n")).unionByName(new.select(*hashed, F.lit(1).alias("_n")))
    names = [f"`{key}`" for key in contract.keys]
    several = both.groupBy(*names, "_hash").agg(F.sum("_n").alias("_n")).where("_n != 0")
    plus, minus = (F.sum(F.greatest(F.col("_n") * sign, F.lit(0))) for sign in (1, -1))
    counted = several.groupBy(*names).agg(plus.alias("_plus"), minus.alias("_minus"))
    changed = F.least("_plus", "_minus")
    return counted.select(
        *names,
        (F.col("_plus") - changed).alias("_added"),
        (F.col("_minus") - changed).alias("_removed"),
        changed.alias("_changed"),
    )


def _content(contract: Table) -> Column:
    """What makes two rows of one key differ: a content_hash, else a hash of the business columns.

    They are hashed as JSON: a hash of columns passes over nulls, so that (null, 'a') would equal ('a', null).
    """
    from pyspark.sql import functions as F

    if "content_hash" in contract.columns:
        return F.xxhash64("content_hash")
    business = [c for c in contract.columns if c not in contract.keys and c not in TECHNICAL]
    return F.xxhash64(F.to_json(F.struct(*(F.col(f"`{c}`") for c in business)))) if business else F.lit(0)


def _samples(old: DataFrame, new: DataFrame, keys: DataFrame, contract: Table, rows: int) -> list[Sample]:
    """Up to `rows` keys that differ, and what is in them; a few rows, so they come to the driver."""
    from pyspark.sql import functions as F

    names = [f"`{key}`" for key in contract.keys]
    few = keys.orderBy(*names).limit(rows).select(*names)
    few = old.sparkSession.createDataFrame(few.collect(), few.schema)
    sides = []
    for frame in (old, new):
        same = [frame[f"`{key}`"].eqNullSafe(few[f"`{key}`"]) for key in contract.keys]
        found = frame.join(F.broadcast(few), on=_all(same), how="left_semi").limit(10 * rows).collect()
        by_key: dict[tuple, dict[str, Any]] = {}
        for row in found:
            by_key.setdefault(tuple(row[key] for key in contract.keys), row.asDict(recursive=True))
        sides.append(by_key)
    before, after = sides
    samples = []
    for row in few.collect():
        key = tuple(row)
        one, other = before.get(key), after.get(key)
        kind = "added" if one is None else "removed" if other is None else "changed"
        columns = [c for c in contract.columns if c not in contract.keys]
        pairs = {c: (one and one[c], other and other[c]) for c in columns}
        values = {c: pair for c, pair in pairs.items() if pair[0] != pair[1]}
        samples.append(Sample(kind, dict(zip(contract.keys, key)), values))
    return samples


def _all(conditions: list[Column]) -> Column:
    whole = conditions[0]
    for condition in conditions[1:]:
        whole = whole & condition
    return whole


def _sum(kind: str) -> Column:
    from pyspark.sql import functions as F

    return F.sum(f"_{kind}")


def _union(frame: DataFrame | None, other: DataFrame | None) -> DataFrame | None:
    if frame is None or other is None:
        return frame if other is None else other
    return frame.unionByName(other)
