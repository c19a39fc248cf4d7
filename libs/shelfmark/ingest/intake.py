"""The verbs of the ingest job: which files are new, bronze, normalised records, changes, books.

Every input record ends in exactly one of: new, changed, unchanged (silver.products), rejected (silver.rejected) or
superseded (a newer or merged record of the same key). The count they must add up to comes from `counting`, which
shares no code with the readers that fill bronze.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pyspark import StorageLevel
from pyspark.sql import functions as F

from shelfmark.errors import DataRefused, ServiceError, UsageError
from shelfmark.ingest import api, bronze, counting, jdbc, mapping, readers, silver, suppressed
from shelfmark.ingest.formats import expanded
from shelfmark.quality import rejects, rules
from shelfmark.tables import table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark.ingest.mapping import Source
    from shelfmark.run import Run


RECORDS_A_TASK = 50_000
"""Records of a first load that are worth a task of their own; smaller loads are deduplicated and written by fewer."""

Counts = dict[tuple[str, str], tuple[int, int]]
"""(source, file hash) -> (records, refused)."""


@dataclass(frozen=True)
class FeedFile:
    """A file of a source. `known`: its records are in bronze already and are only mapped again.

    An extraction of a database or an API is a file as well: `path` is then its address and `landed` where the pages of
    an API lie. `watermark`: what a database was read up to; `reread`: nothing in it is beyond the watermark before.
    """

    path: str
    file_hash: str
    bytes: int
    sequence: int
    known: bool
    counted: int | None = None
    watermark: str | None = None
    reread: bool = False
    landed: str | None = None
    extraction: jdbc.Extraction | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Feed:
    """A source and its files to take in. `remapped`: its mapping changed, so all of bronze is mapped again."""

    source: Source
    files: tuple[FeedFile, ...]
    remapped: bool

    @property
    def hashes(self) -> list[str]:
        return [file.file_hash for file in self.files]

    @property
    def extractions(self) -> list[jdbc.Extraction]:
        return [file.extraction for file in self.files if file.extraction is not None]


def feeds(run: Run) -> list[Feed]:
    """Sources that have something to take in; a source whose files cannot be read is stopped, the others go on.

    A source that does not answer is stopped as well; where it leaves nothing to do, `ServiceError` is raised.
    """
    sources = mapping.load_all(run.settings.sources, run.settings.source_dirs)
    # One row a file ever taken in: thousands at the most.
    register = run.read("bronze.files")
    register = register.select("source", "file", "file_hash", "mapping_hash", "bytes", "sequence", "watermark")
    register = register.where(F.col("source").isin([s.name for s in sources])).collect()
    erased = suppressed.sources(run, [source.name for source in sources])
    found, outages = [], []
    for source in sources:
        if source.name in erased:
            run.stop_source(source.name, erased[source.name])
            continue
        try:
            feed = _feed(run, source, [row for row in register if row.source == source.name])
        except (readers.FileProblem, mapping.FeedProblem, ServiceError) as problem:
            run.stop_source(source.name, str(problem))
            outages += [source.name] if isinstance(problem, ServiceError) else []
            continue
        except BaseException:
            _close(found)
            raise
        if feed.files:
            found.append(feed)
            run.log.info("source %s: %d files to take in", source.name, len(feed.files))
        else:
            run.log.info("source %s: nothing new, every file was taken in with this mapping before", source.name)
    if outages:
        if len(outages) == len(sources):
            raise ServiceError("; ".join(run.stopped[name] for name in outages))
        run.note(outages=outages)
    return found


def _feed(run: Run, source: Source, register: list) -> Feed:
    remapped = any(row.mapping_hash != source.hash for row in register)
    if source.database is not None:
        files = _rows_of_a_database(run, source, register)
    elif source.api is not None:
        files = _pages_of_an_api(run, source, register)
    else:
        files = _new_files(run, source, register)
    if remapped:
        again = {row.file_hash: row for row in register}.values()
        known = [FeedFile(r.file, r.file_hash, r.bytes, r.sequence, known=True, watermark=r.watermark) for r in again]
        files = known + files
    for file in files:
        if file.counted == 0:
            run.log.warning("source %s: %s holds no records", source.name, file.path)
    return Feed(source, tuple(sorted(files, key=lambda file: file.sequence)), remapped)


def _new_files(run: Run, source: Source, register: list) -> list[FeedFile]:
    """The files that were not taken in before, counted."""
    known = {row.file_hash for row in register}
    fresh: dict[str, FeedFile] = {}
    sequence = _last_sequence(register)
    for path in _files(run, source, register):
        file_hash, size = bronze.fingerprint(path)
        if file_hash in known or file_hash in fresh:
            continue
        mapping.check_header(source, path, readers.header(path, source.format))
        sequence += 1
        fresh[file_hash] = FeedFile(path, file_hash, size, sequence, known=False)
    counts = bronze.count_all(run.spark, [file.path for file in fresh.values()], source.format) if fresh else {}
    return [replace(file, counted=counts[file.path]) for file in fresh.values()]


def _rows_of_a_database(run: Run, source: Source, register: list) -> list[FeedFile]:
    """One extraction: rows at or beyond the watermark that was published last; none where they are the same again."""
    address = jdbc.address(source.database, run.settings.data)
    marks = [row for row in register if row.file == address and row.watermark is not None]
    since = max(marks, key=lambda row: row.sequence).watermark if marks else None
    landing = api.landing(run.settings.home, source.name)
    found = jdbc.extract(run.spark, source.database, source.name, run.settings.data, landing, since)
    try:
        mapping.check_header(source, address, found.names)
        file_hash = _extraction_hash(source, address, found.content, register)
    except BaseException:
        found.close()
        raise
    if file_hash is None:
        found.close()
        return []
    return [
        FeedFile(
            address, file_hash, found.bytes, _last_sequence(register) + 1, known=False, counted=found.counted,
            watermark=found.watermark, reread=since is not None and not found.fresh, extraction=found,
        )
    ]  # fmt: skip


def _pages_of_an_api(run: Run, source: Source, register: list) -> list[FeedFile]:
    """One extraction: all pages in one file; none where they are the same again."""
    folder = api.landing(run.settings.home, source.name)
    path = api.fetch(source.api, source.name, folder, run.run_id, run.log.info)
    digest, size = bronze.fingerprint(path)
    file_hash = _extraction_hash(source, source.api.url, digest, register)
    if file_hash is None:
        return []
    mapping.check_header(source, source.api.url, readers.header(path, source.format))
    # The pages are on this machine's disk already: a Spark job for one file would cost more than it saves.
    counted = counting.count(path, source.format)
    sequence = _last_sequence(register) + 1
    return [FeedFile(source.api.url, file_hash, size, sequence, known=False, counted=counted, landed=path)]


def _extraction_hash(source: Source, address: str, content: str, register: list) -> str | None:
    """sha256 of an extraction and of all before it from there; None where the last one held the same.

    A file that is delivered again is the same file; a price that goes back to what it was is a change. So the content
    alone does not identify an extraction.
    """

    def chained(earlier: str) -> str:
        return hashlib.sha256("\0".join((source.name, address, content, earlier)).encode()).hexdigest()

    before = {row.file_hash: row.sequence for row in register if row.file == address}
    *_, last_but_one, last = ("", "", *sorted(before, key=before.get))
    return None if last and chained(last_but_one) == last else chained(last)


def _last_sequence(register: list) -> int:
    return max((row.sequence for row in register), default=0)


def _close(feeds: Iterable[Feed]) -> None:
    """Let go what databases hold for reading."""
    for feed in feeds:
        for extraction in feed.extractions:
            extraction.close()


def _files(run: Run, source: Source, register: list) -> list[str]:
    """The source's files, of a zip archive its members.

    None where they are gone but were taken in before: a mapping is corrected from bronze.
    """
    try:
        found = bronze.files(source.files, run.settings.data)
    except UsageError:
        if register:
            return []
        raise
    return expanded(found, source.format)


def to_bronze(run: Run, feeds: list[Feed]) -> None:
    """Append every record of the new files to bronze.raw_products as read."""
    try:
        frames = [frame for feed in feeds for frame in _raw_products(run, feed)]
        if frames:
            rows = _union(frames).withColumn("ingest_date", F.lit(run.run_date)).withColumn("run_id", F.lit(run.run_id))
            run.write("bronze.raw_products", rows, append=True)
    except Exception as error:
        # What changed or broke since it was counted: the task's own words, not Spark's traceback around them.
        extractions = [extraction for feed in feeds for extraction in feed.extractions]
        raise bronze.file_problem_of(error) or jdbc.problem_of(error, extractions) or error from None
    finally:
        _close(feeds)


def _raw_products(run: Run, feed: Feed) -> list[DataFrame]:
    """Records of the new files of a feed as read."""
    name, split_bytes = feed.source.name, run.settings.ingest.split_mib << 20
    fresh = [file for file in feed.files if not file.known]
    frames = [jdbc.raw_products(run.spark, f.extraction, name, f.file_hash) for f in fresh if f.extraction is not None]
    tasks = [(file.landed or file.path, file.file_hash) for file in fresh if file.extraction is None]
    if tasks:
        rows = bronze.raw_products(run.spark, tasks, feed.source.format, name, split_bytes=split_bytes)
        # Pages are known by the address they came from, not by where they lay for a while.
        landed = [file for file in fresh if file.landed]
        frames.append(rows.withColumn("file", F.lit(landed[0].path)) if landed else rows)
    return frames


def normalised(run: Run, feeds: list[Feed], only: DataFrame | None = None) -> DataFrame:
    """One row a record: silver.products columns, where it came from, and `rule`, `reason` where it is refused.

    `only`: source, file_hash and record_number of the records wanted; without it all of the feeds' files.
    """
    frames = []
    for feed in feeds:
        order = run.spark.createDataFrame(
            [(f.file_hash, f.sequence) for f in feed.files], "file_hash string, sequence long"
        )
        raw = run.read("bronze.raw_products").where(F.col("source") == feed.source.name)
        if only is not None:
            raw = raw.join(only.select(*rejects.RECORD), [*rejects.RECORD], "left_semi")
        frames.append(silver.candidates(raw.join(F.broadcast(order), "file_hash"), feed.source))
    flagged = rules.flag(_union(frames), "silver.products")
    records = flagged.withColumn("rule", F.coalesce("reject_rule", "broken.rule")).withColumn(
        "reason",
        F.coalesce("reject_reason", F.concat_ws(": ", F.regexp_replace("broken.sentence", "\\.$", ""), "broken.value")),
    )
    records = suppressed.refuse(run, records)
    return records.drop("broken", "reject_rule", "reject_reason").persist(StorageLevel.DISK_ONLY)


def refuse(run: Run, feeds: list[Feed], records: DataFrame) -> tuple[list[Feed], Counts]:
    """Move refused records to silver.rejected; stop the sources of which nothing is left.

    Returns the feeds that go on, and for each (source, file hash) (records, refused). Raises `DataRefused` when every
    source of the run is stopped.
    """
    counted = (
        records.groupBy("source", "file_hash").agg(F.count("*").alias("n"), F.count("rule").alias("refused")).collect()
    )
    raw = run.read("bronze.raw_products").select("source", "file_hash", "record_number", "payload")
    broken = records.where("rule IS NOT NULL").drop("payload").alias("r")
    run.reject(
        broken.join(raw.alias("raw"), ["source", "file_hash", "record_number"]).select(
            F.lit("silver.products").alias("table"),
            "rule",
            "reason",
            "source",
            "file",
            "file_hash",
            "record_number",
            "line",
            suppressed.hidden("source_key").alias("key"),
            suppressed.hidden("payload"),
        )
    )
    going = []
    for feed in feeds:
        mine = [row for row in counted if row.source == feed.source.name]
        total, refused = sum(row.n for row in mine), sum(row.refused for row in mine)
        # Bad rows that a database shows again, and nothing new, are no news.
        again = all(file.reread for file in feed.files)
        if total and refused == total and not again:
            run.stop_source(feed.source.name, f"all {total} records were refused, see silver.rejected of this run")
        else:
            going.append(feed)
    if set(run.stopped) >= set(run.settings.sources):
        raise DataRefused("; ".join(f"{name}: {reason}" for name, reason in run.stopped.items()))
    stopped = [feed.source.name for feed in feeds if feed not in going]
    if stopped:
        run.delete("bronze.raw_products", F.col("source").isin(stopped) & (F.col("run_id") == run.run_id))
    resolved = _judged_again(run, going)
    if resolved:
        run.note(resolved=resolved)
    return going, {(row.source, row.file_hash): (row.n, row.refused) for row in counted}


def _judged_again(run: Run, feeds: list[Feed]) -> dict[str, int]:
    """Close what earlier runs refused of files taken in here: each record is accepted, or refused in a new row."""
    if run.base is None or run.folder("silver.rejected") not in run.lake.folders(run.base.id):
        return {}
    files = [(feed.source.name, file.file_hash) for feed in feeds for file in feed.files]
    mine = run.spark.createDataFrame(files, "source string, file_hash string")
    rows = run.read("silver.rejected").where("table = 'silver.products'")
    return rejects.resolve(run, rows.join(F.broadcast(mine), ["source", "file_hash"], "left_semi"))


def changes(run: Run, feeds: list[Feed], records: DataFrame) -> DataFrame:
    """The current record of every key in the feeds, with `status`: new, changed, unchanged or superseded.

    `records` counts the input records folded into the row. A record older by its own time stamp than the known
    product is superseded.
    """
    names = [feed.source.name for feed in feeds]
    current = silver.current(records.where("rule IS NULL").where(F.col("source").isin(names)))
    columns = [c for c in table("silver.products").columns if c not in ("content_hash", "run_id")]
    current = current.select(*columns, "records").withColumn("content_hash", silver.content_hash())
    if not run.has("silver.products"):
        return current.withColumn("status", F.lit("new")).persist(StorageLevel.DISK_ONLY)
    known = run.read("silver.products").where(F.col("source").isin(names))
    known = known.select(
        "product_id", F.col("content_hash").alias("known_hash"), F.col("source_updated_at").alias("known_at")
    )
    remapped = F.col("source").isin([feed.source.name for feed in feeds if feed.remapped])
    status = (
        F.when(F.col("known_hash").isNull(), "new")
        .when(~remapped & (F.col("source_updated_at") < F.col("known_at")), "superseded")
        .when(F.col("known_hash") == F.col("content_hash"), "unchanged")
        .otherwise("changed")
    )
    joined = current.join(known, "product_id", "left").withColumn("status", status)
    return joined.drop("known_hash", "known_at").persist(StorageLevel.DISK_ONLY)


def sighted(run: Run, products: DataFrame) -> DataFrame:
    """Products with the columns of silver.presence that say that this run saw them, for the first and the last time."""
    seen = products.withColumn("first_run", F.lit(run.run_id)).withColumn("first_seen", F.lit(run.run_date))
    return seen.withColumn("last_run", F.lit(run.run_id)).withColumn("last_seen", F.lit(run.run_date))


def to_silver(run: Run, feeds: list[Feed], read: Counts, changed: DataFrame) -> None:
    """Write new and changed products, and who was seen today. A remapped source loses the keys it no longer has."""
    remapped = [feed.source.name for feed in feeds if feed.remapped]
    fresh = changed.where(F.col("status").isin("new", "changed"))
    products = fresh.drop("status", "records").withColumn("run_id", F.lit(run.run_id))
    seen = changed.where("status != 'superseded'").select("product_id", "source", "region", "file_hash")
    seen = sighted(run, seen)
    if not run.has("silver.products"):
        # Every task writes a file into each region: of a small catalogue they would be many and tiny.
        tasks = max(1, sum(records for records, _ in read.values()) // RECORDS_A_TASK)
        run.write("silver.products", products.coalesce(tasks))
        run.write("silver.presence", seen.drop("file_hash"))
        return
    if remapped or fresh.limit(1).count():
        # On a remap the unchanged rows take part too: what is not among them is gone from the source.
        whole = (
            changed.where("status != 'superseded'").drop("status", "records").withColumn("run_id", F.lit(run.run_id))
        )
        rows = whole if remapped else products
        run.merge("silver.products", rows, gone=_of_sources(remapped), unless="t.content_hash = s.content_hash")
    if remapped:
        # Reading old records by a new mapping is no sighting: known keys keep the day they were last seen.
        run.merge("silver.presence", seen.drop("file_hash"), gone=_of_sources(remapped), only=["region"])
    fresh_hashes = [file.file_hash for feed in feeds for file in feed.files if not file.known]
    seen = seen.where(F.col("file_hash").isin(fresh_hashes)).drop("file_hash")
    run.merge("silver.presence", seen, only=["region", "last_run", "last_seen"])


def balance(run: Run, feeds: list[Feed], read: Counts, changed: DataFrame) -> None:
    """Write the books of every file to bronze.files; a remapped source's earlier books are replaced by them.

    Raises `DataRefused` when they do not balance.
    """
    status = {}
    for row in changed.groupBy("source", "file_hash", "status").count().collect():
        status[row.source, row.file_hash, row.status] = row["count"]
    folded = changed.agg(F.sum("records")).head()[0] or 0
    rows, totals = [], dict.fromkeys(("read", "new", "changed", "unchanged", "rejected", "superseded"), 0)
    by_source: dict[str, dict[str, int]] = {}
    for feed in feeds:
        mine = by_source.setdefault(feed.source.name, dict.fromkeys(totals, 0))
        for file in feed.files:
            name = feed.source.name
            records, refused = read.get((name, file.file_hash), (0, 0))
            counted = records if file.counted is None else file.counted
            new, changed_, unchanged = (
                status.get((name, file.file_hash, s), 0) for s in ("new", "changed", "unchanged")
            )
            superseded = records - refused - new - changed_ - unchanged
            if counted != new + changed_ + unchanged + refused + superseded:
                raise DataRefused(
                    f"the books do not balance: {file.path} holds {counted} records by count, but {records} were read "
                    f"({new} new, {changed_} changed, {unchanged} unchanged, {refused} rejected, {superseded} superseded); "
                    "the reader lost or made up records: check the format options of the source"
                )
            books = (counted, new, changed_, unchanged, refused, superseded)
            for key, value in zip(totals, books):
                totals[key] += value
                mine[key] += value
            about = (name, file.path, file.file_hash, feed.source.hash, file.bytes, file.sequence)
            rows.append((*about, counted, records, *books[1:], file.watermark, run.run_id, run.run_date))
    if folded != totals["read"] - totals["rejected"]:
        raise DataRefused(
            f"the books do not balance: {totals['read'] - totals['rejected']} accepted records, but {folded} are "
            "folded into products: records were lost while keys were merged"
        )
    # The register names the mapping in force, so that going back to an earlier mapping is a change as well.
    remapped = [feed.source.name for feed in feeds if feed.remapped]
    if remapped:
        run.delete("bronze.files", F.col("source").isin(remapped))
    run.write("bronze.files", run.spark.createDataFrame(rows, table("bronze.files").ddl).coalesce(1), append=True)
    run.note(**totals, sources=by_source)


def nothing_new(run: Run) -> None:
    """Note that no file was taken in."""
    run.note(read=0, new=0, changed=0, unchanged=0, rejected=0, superseded=0)


def _of_sources(names: list[str]) -> str | None:
    quoted = ", ".join(f"'{name}'" for name in names)
    return f"t.source IN ({quoted})" if names else None


def _union(frames: list[DataFrame]) -> DataFrame:
    whole = frames[0]
    for frame in frames[1:]:
        whole = whole.unionByName(frame)
    return whole
