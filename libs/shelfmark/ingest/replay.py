"""The verbs of a replay: refused records read again from bronze, by today's mapping and today's rules.

1. What is asked for is looked up: open refused rows, and whether bronze still holds a record that a mapping can read.
2. Those records alone are mapped and judged again. What fails by the same rule stays as it is; what fails by another
   is refused anew, in a row of the replay.
3. What passes becomes what a new intake of the whole source would make of its key: all accepted records of a known key
   are mapped too, and the newest wins (`silver.current`). So an old refused record never covers a newer one of its key;
   it is superseded, or adds its category to a listing of the same file.
4. The books of the files are restated: what passed moves from rejected to new, changed, unchanged or superseded.

The register keeps the mapping hash a file was taken in by: where the mapping changed, the next ingest still maps the
whole source, and finds the replayed products unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark import StorageLevel
from pyspark.sql import functions as F

from shelfmark.errors import DataRefused, UsageError
from shelfmark.ingest import intake, mapping, silver
from shelfmark.quality import rejects
from shelfmark.quality.rejects import RECORD, Which
from shelfmark.tables import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import DataFrame

    from shelfmark.ingest.intake import Feed
    from shelfmark.run import Run

TABLE = "silver.products"
"""The one table whose rows come from bronze."""

BOOKS = ("new", "changed", "unchanged", "rejected", "superseded")

# Why a refused record cannot be read again, in words.
CANNOT = {
    "unreadable": "could not be parsed (the file is at fault, not the mapping): ask the vendor, or mend the file or "
    "`format:` of the mapping and take the file in as a new one",
    "gone": "are not in bronze any more (retention or erasure)",
    "unmapped": "belong to a source whose mapping is gone from conf/sources",
}


@dataclass(frozen=True)
class Plan:
    """What a replay would read again: open rows by source, and how many cannot be, by the keys of `CANNOT`."""

    sources: dict[str, int]
    cannot: dict[str, int]

    @property
    def records(self) -> int:
        return sum(self.sources.values())


def plan(read: Callable[[str], DataFrame], which: Which, source_dirs: Sequence[str]) -> Plan:
    """Count what can be read again and what cannot. `read` gives a table by its name; one pass over the rows."""
    rows = _found(read, which)
    counted = rows.groupBy("source", "state_in_bronze").agg(F.countDistinct(*RECORD).alias("n")).collect()
    sources: dict[str, int] = {}
    cannot = dict.fromkeys(CANNOT, 0)
    mapped = {name: _mapped(name, source_dirs) for name in {row.source for row in counted}}
    for row in counted:
        if row.state_in_bronze != "there":
            cannot[row.state_in_bronze] += row.n
        elif not mapped[row.source]:
            cannot["unmapped"] += row.n
        else:
            sources[row.source] = row.n
    return Plan(dict(sorted(sources.items())), {reason: n for reason, n in cannot.items() if n})


def refused(run: Run, which: Which, sources: Sequence[str]) -> DataFrame:
    """The open rows of silver.rejected that are read again: of `sources`, still in bronze and parsed there."""
    rows = _found(run.read, which).where("state_in_bronze = 'there'").where(F.col("source").isin(list(sources)))
    return rows.drop("state", "state_in_bronze").persist(StorageLevel.DISK_ONLY)


def feeds(run: Run, sources: Sequence[str]) -> list[Feed]:
    """The sources with today's mapping, and every file of theirs that was taken in."""
    register = run.read("bronze.files").where(F.col("source").isin(list(sources)))
    register = register.select("source", "file", "file_hash", "bytes", "sequence").collect()
    found = []
    for source in mapping.load_all(sources, run.settings.source_dirs):
        files = [row for row in register if row.source == source.name]
        files = [intake.FeedFile(r.file, r.file_hash, r.bytes, r.sequence, known=True) for r in files]
        found.append(intake.Feed(source, tuple(sorted(files, key=lambda file: file.sequence)), remapped=False))
    return found


def judged(run: Run, feeds: list[Feed], rows: DataFrame) -> DataFrame:
    """The refused records as today's mapping and rules see them, see `intake.normalised`."""
    return intake.normalised(run, feeds, only=rows)


def changes(run: Run, feeds: list[Feed], records: DataFrame) -> DataFrame:
    """The current record of every key for which a record passes now; see step 3 above.

    Columns of silver.products without run_id, then `replayed` (whether a replayed record is the current one; else an
    accepted one is newer), `known` (whether the product is), `same` (whether its content stays as it is) and `rule`.
    """
    passed = records.where("rule IS NULL").withColumn("replayed", F.lit(True))
    names = [feed.source.name for feed in feeds]
    products = run.read(TABLE).where(F.col("source").isin(names)).select("product_id", "content_hash")
    keys = passed.join(products, "product_id", "left_semi").select("product_id").distinct()
    keys = keys.persist(StorageLevel.DISK_ONLY)
    if keys.limit(1).count():
        # Bronze does not know keys before it is mapped, and products do not know their newest sighting.
        accepted = intake.normalised(run, feeds).join(keys, "product_id", "left_semi")
        still_refused = rejects.with_state(
            run.read("silver.rejected"), run.read("silver.rejected"), run.read("gold.runs")
        )
        still_refused = still_refused.where((F.col("state") == rejects.OPEN) & (F.col("table") == TABLE))
        accepted = accepted.join(still_refused.select(*RECORD).distinct(), [*RECORD], "left_anti")
        passed = passed.unionByName(accepted.withColumn("replayed", F.lit(False)))
    columns = [c for c in table(TABLE).columns if c not in ("content_hash", "run_id")]
    current = silver.current(passed).select(*columns, "replayed", "rule")
    current = current.withColumn("content_hash", silver.content_hash())
    before = products.withColumnRenamed("content_hash", "known_hash")
    current = current.join(before, "product_id", "left")
    current = current.withColumn("known", F.col("known_hash").isNotNull())
    current = current.withColumn("same", F.coalesce(F.col("known_hash") == F.col("content_hash"), F.lit(False)))
    return current.drop("known_hash").persist(StorageLevel.DISK_ONLY)


def to_silver(run: Run, changed: DataFrame) -> None:
    """Write the products that are new or changed. To read an old record again is no sighting of a known product."""
    # A newer record that today's rules would refuse was accepted in its day: its product is left as it is.
    good = changed.where("rule IS NULL")
    rows = good.where("NOT same").drop("replayed", "rule", "known", "same").withColumn("run_id", F.lit(run.run_id))
    if rows.limit(1).count():
        run.merge(TABLE, rows)
    seen = good.where("replayed").select("product_id", "source", "region")
    run.merge("silver.presence", intake.sighted(run, seen), only=["region"])


def to_rejected(run: Run, rows: DataFrame, records: DataFrame) -> None:
    """Mark the rows whose records pass or break another rule now; the latter are refused anew."""
    now = records.select(
        *RECORD,
        F.col("rule").alias("rule_now"),
        F.col("reason").alias("reason_now"),
        F.col("source_key").alias("key_now"),
    )
    again = rows.join(now, [*RECORD]).where("rule_now IS NULL OR rule_now != rule").persist(StorageLevel.DISK_ONLY)
    anew = again.where("rule_now IS NOT NULL").dropDuplicates([*RECORD])
    anew = anew.withColumn("rule", F.col("rule_now")).withColumn("reason", F.col("reason_now"))
    anew = anew.withColumn("key", F.coalesce("key_now", "key"))
    run.reject(anew.drop("rule_now", "reason_now", "key_now", "action", "run_id", "run_date", "resolved_by"))
    resolved = rejects.resolve(run, again.drop("rule_now", "reason_now", "key_now"))
    run.note(resolved=resolved)


def balance(run: Run, records: DataFrame, changed: DataFrame) -> None:
    """Restate the books of the files whose records pass now. Raises `DataRefused` when they do not balance."""
    counts = _counts(records, changed)
    if not run.has("bronze.files"):
        raise DataRefused("there are refused rows but no books: bronze.files is missing")
    moved = run.spark.createDataFrame(
        [(source, file, *(by[k] for k in BOOKS)) for (source, file), by in counts.items()],
        "source string, file_hash string, " + ", ".join(f"d_{name} long" for name in BOOKS),
    )
    books = run.read("bronze.files").join(F.broadcast(moved), ["source", "file_hash"])
    for name in BOOKS:
        books = books.withColumn(name, F.col(name) + F.col(f"d_{name}"))
    books = books.drop(*(f"d_{name}" for name in BOOKS)).persist()
    for row in books.collect():
        if row.rejected < 0 or row.records_counted != sum(row[name] for name in BOOKS):
            raise DataRefused(
                f"the books of {row.file} do not balance after the replay: {row.records_counted} records by count, but "
                + ", ".join(f"{row[name]} {name}" for name in BOOKS)
            )
    # Counted where it was written, not where it was decided.
    mine = run.read("silver.rejected").where(F.col("table") == TABLE)
    taken = mine.where(F.col("resolved_by") == run.run_id).join(
        mine.where(F.col("run_id") == run.run_id), [*RECORD], "left_anti"
    )
    taken, passed = taken.select(*RECORD).distinct().count(), sum(-by["rejected"] for by in counts.values())
    if taken != passed:
        raise DataRefused(f"the books do not balance: {passed} records pass, but {taken} refused rows were resolved")
    run.merge("bronze.files", books, only=list(BOOKS))


def tell(run: Run, which: Which, planned: Plan, records: DataFrame, changed: DataFrame) -> None:
    """Note what came of the replay, for the run record, the data docs and the console."""
    counts = _counts(records, changed)
    total = {name: sum(by[name] for by in counts.values()) for name in BOOKS if name != "rejected"}
    still = (
        records.where("rule IS NOT NULL").groupBy("source", "rule").count().orderBy(F.desc("count"), "source", "rule")
    )
    passed = sum(total.values())
    run.note(
        replay={
            "asked": str(which) or "all",
            "read": planned.records,
            "passed": passed,
            **total,
            "rejected": planned.records - passed,
            "still": [[row.source, row.rule, row["count"]] for row in still.limit(20).collect()],
            "cannot": planned.cannot,
        }
    )


def _counts(records: DataFrame, changed: DataFrame) -> dict[tuple[str, str], dict[str, int]]:
    """(source, file hash) -> how the books move: what passes leaves rejected, each record for one other entry."""
    passed = records.where("rule IS NULL").groupBy("source", "file_hash").count().collect()
    status = F.when(~F.col("known"), "new").when(F.col("same"), "unchanged").otherwise("changed")
    current = changed.where("replayed").groupBy("source", "file_hash", status.alias("status")).count().collect()
    counts = {}
    for row in passed:
        mine = {r.status: r["count"] for r in current if (r.source, r.file_hash) == (row.source, row.file_hash)}
        by = {name: mine.get(name, 0) for name in ("new", "changed", "unchanged")}
        by["superseded"] = row["count"] - sum(by.values())
        by["rejected"] = -row["count"]
        counts[row.source, row.file_hash] = by
    return counts


def _found(read: Callable[[str], DataFrame], which: Which) -> DataFrame:
    """Open rows that are meant, with `state_in_bronze`: there, unreadable or gone."""
    rejected = read("silver.rejected")
    rows = rejected.where(which.condition).where((F.col("table") == TABLE) & F.col("resolved_by").isNull())
    rows = rejects.with_state(rows, rejected, read("gold.runs")).where(F.col("state") == rejects.OPEN)
    raw = read("bronze.raw_products").select(*RECORD, "problem", F.lit(True).alias("there"))
    if which.source is not None:
        raw = raw.where(F.col("source") == which.source)
    state = F.when(F.col("there").isNull(), "gone").when(F.col("problem").isNotNull(), "unreadable").otherwise("there")
    return rows.join(raw, [*RECORD], "left").withColumn("state_in_bronze", state).drop("problem", "there")


def _mapped(source: str, source_dirs: Sequence[str]) -> bool:
    try:
        return bool(mapping.load(source, source_dirs))
    except UsageError as problem:
        if "unknown source" in str(problem):
            return False
        raise
