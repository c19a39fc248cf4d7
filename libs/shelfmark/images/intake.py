"""The verbs of the images job: which pictures are wanted, where they lie, what they are.

1. Every reference that a product has is placed (`places`): a file, a member of an archive, an address, a record's own
   field. Archives are read by an index of their members: one task passes an archive's headers, many its bytes.
2. A reference whose bytes were taken in before and are the same by its version (size and time of the file, place in the
   archive, settings) is not read again. An address is not asked again once it gave a picture.
3. The others are decoded (`decode`), one pass from bytes to rows, in tasks of neighbouring bytes; addresses in tasks by
   host, so that `images.connections` bounds what one host is asked at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import functions as F

from shelfmark.images import fetch, places, tasks
from shelfmark.images.decode import Rules
from shelfmark.images.places import Place, Refused
from shelfmark.images.tasks import KNOWN, MEMBERS, PLACED, TAKEN
from shelfmark.ingest import mapping
from shelfmark.ingest.normalise import image_text, picture_bytes

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from shelfmark.config import Images
    from shelfmark.ingest.mapping import Source
    from shelfmark.run import Run

REFERENCE = ("source", "reference")
IMAGES, LINKS, PRODUCTS = "silver.images", "silver.image_links", "silver.products"

NEIGHBOURS = 256 << 10
"""Bytes of an archive that go to one task together: some hundred small pictures, which one read-ahead brings."""

TASKS_PER_CORE = 4


@dataclass(frozen=True)
class Wanted:
    """`products`: those that name a picture (product_id, source, source_key, region, content_hash, title, reference,
    image_id, file_hash, record_number); `sources`: their mappings by name."""

    products: DataFrame
    sources: dict[str, Source]


def wanted(run: Run) -> Wanted | None:
    """The products that name a picture; None where none does and none ever did."""
    products = run.read(PRODUCTS).where("image IS NOT NULL")
    names = sorted(row.source for row in products.select("source").distinct().collect())
    if not names and not run.has(LINKS):
        return None
    found = mapping.load_all(names, run.settings.source_dirs)
    columns = ("product_id", "source", "source_key", "region", "content_hash", "title", "image_id", "file_hash")
    products = products.select(*columns, "record_number", F.col("image").alias("reference"))
    return Wanted(products, {source.name: source for source in found})


def nothing(run: Run) -> None:
    """Note that no product names a picture."""
    run.note(pictures={"references": 0})


def rules_of(settings: Images) -> Rules:
    """How pictures are made and judged, by the settings."""
    named = {name: getattr(settings, name) for name in ("size", "quality", "min_side", "max_aspect", "max_pixels")}
    return Rules(**named, noted=tuple(settings.noted))


def made_as(settings: Images) -> str:
    """Fingerprint of the settings that decide what is stored of a picture."""
    decided = settings.model_dump(
        include={"size", "quality", "min_side", "max_aspect", "max_pixels", "noted", "placeholder_titles"}
    )
    return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:8]


def placed(run: Run, asked: Wanted) -> DataFrame:
    """Each reference once: columns of `PLACED`.

    `file`, `offset` and `size` say where its bytes lie (null of an address and of what a record holds); `version` changes
    when they do. Where there are none, `rule` (of `places.RULES`) and `said` tell why.
    """
    settings, data = run.settings.images, run.settings.data
    among = {name: places.places(source.pictures.places, data) for name, source in asked.sources.items()}
    urls, limit, how = settings.urls, settings.max_mib << 20, made_as(settings)
    refs = asked.products.select(*REFERENCE).distinct()

    def place(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = []
            for source, reference in zip(*(column.to_pylist() for column in batch.columns)):
                rows += tasks.placed(source, reference, among[source], urls, limit, how)
            yield tasks.as_batch(rows, tasks.PLACED_OR_NOT)

    found = refs.mapInArrow(place, tasks.PLACED_OR_NOT)
    archives = _archives(refs, among)
    if not archives:
        return found.drop("member", "rank")
    index = _members(run, archives, how).persist(StorageLevel.DISK_ONLY)
    broken = index.where("member IS NULL").select("file", F.col("rule").alias("_rule"), F.col("said").alias("_said"))
    # Of members of one name the last counts, as for who unpacks the archive.
    last = F.max(F.struct(*(F.col(name).alias(f"_{name}") for name in ("offset", "size", "version")))).alias("last")
    index = index.where("member IS NOT NULL").groupBy("file", "member").agg(last).select("file", "member", "last.*")
    # An index may be large, which Spark cannot know: it is not sent whole to every task.
    rows = found.join(index.hint("shuffle_hash"), ["file", "member"], "left").join(F.broadcast(broken), "file", "left")
    there = F.col("_offset").isNotNull()
    missing = F.col("member").isNotNull() & ~there
    large = F.col("_size") > limit
    rule = (
        F.when(missing, F.coalesce("_rule", F.lit("picture_missing")))
        .when(large, "picture_too_large")
        .otherwise(F.col("rule"))
    )
    said = (
        F.when(missing, F.coalesce("_said", F.concat(F.lit("no member "), "member", F.lit(" in "), "file")))
        .when(large, F.concat("_size", F.lit(f" bytes, more than the {limit} of images.max_mib")))
        .otherwise(F.col("said"))
    )
    rows = rows.select(
        *REFERENCE, "file", F.coalesce("_offset", "offset").alias("offset"), F.coalesce("_size", "size").alias("size"),
        F.coalesce("_version", "version").alias("version"), rule.alias("rule"), said.alias("said"), "rank",
    )  # fmt: skip
    if all(len(some) == 1 for some in among.values()):
        return rows.drop("rank")
    rest = F.struct(F.col("rule").isNotNull(), "rank", "file", "offset", "size", "version", "rule", "said")
    return rows.groupBy(*REFERENCE).agg(F.min(rest).alias("first")).select(*REFERENCE, "first.*").drop("rank", "col1")


def _archives(refs: DataFrame, among: dict[str, list[Place]]) -> list[str]:
    """The archives that are places, or that references into folders name."""
    found = {place.path for some in among.values() for place in some if place.archive}
    if any(not place.archive for some in among.values() for place in some):
        named = F.regexp_extract("reference", r"(?i)^(.*?\.tar)[!/]", 1)
        for row in refs.select("source", named.alias("name")).where("name != ''").distinct().collect():
            try:
                found |= {file for file, member in places.candidates(f"{row.name}/x", among[row.source]) if member}
            except Refused:
                continue
    return sorted(found)


def _members(run: Run, archives: list[str], how: str) -> DataFrame:
    """Columns of `MEMBERS`: the plain files of all archives, and a row without a member for an archive that is broken."""

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from tasks.chunks(tasks.members_of(archives[number], how), MEMBERS)

    parts = min(len(archives), TASKS_PER_CORE * run.spark.sparkContext.defaultParallelism)
    return run.spark.range(0, len(archives), 1, parts).mapInArrow(read, MEMBERS)


def taken(run: Run, asked: Wanted, located: DataFrame) -> DataFrame:
    """Each reference with what became of it, columns of `TAKEN`; kept on disk.

    `new`: its bytes were read in this run, and the columns of silver.images are there. Else `image_id` and `problems`
    are those of before, or there is none and `rule` says why.
    """
    links, settings = run.read(LINKS), run.settings.images
    rows = located
    if run.has(LINKS):
        before = links.where("image_id IS NOT NULL").groupBy(*REFERENCE, "version")
        before = before.agg(F.first("image_id").alias("image_id"), F.first("problems").alias("problems"))
        rows = rows.join(before, [*REFERENCE, "version"], "left")
    else:
        rows = rows.select("*", *(F.lit(None).cast(t).alias(n) for n, t in tasks.columns(KNOWN)))
    rows = rows.select(*(name for name, _ in tasks.columns(f"{PLACED}, {KNOWN}")))
    fresh = F.col("rule").isNull() & F.col("image_id").isNull()
    parts = TASKS_PER_CORE * run.spark.sparkContext.defaultParallelism
    together = F.xxhash64("file", F.floor(F.col("offset") / NEIGHBOURS))
    limits = fetch.Limits(
        settings.max_mib << 20, settings.timeout_seconds, settings.retries, settings.connections,
        tuple(settings.allowed_hosts),
    )  # fmt: skip
    work = tasks.decoder(rules_of(settings), limits)
    coded = any(source.pictures.encoding for source in asked.sources.values())
    of_record = F.col("reference").startswith(places.CONTENT) & fresh & F.lit(coded)
    of_host = F.col("reference").rlike("(?i)^https?://") & fresh
    read = rows.where(~of_record & ~of_host).repartition(parts, together).sortWithinPartitions("file", "offset")
    read = read.withColumn("content", F.lit(None).cast("binary"))
    if settings.urls:
        host = F.lower(F.regexp_extract("reference", "^[^:]+://([^/?#]+)", 1))
        asking = rows.where(of_host).repartition(parts, host).withColumn("content", F.lit(None).cast("binary"))
        read = read.union(asking)
    if coded:
        read = read.unionByName(_of_records(run, asked, rows.where(of_record)))
    return read.mapInArrow(work, TAKEN).persist(StorageLevel.DISK_ONLY)


def _of_records(run: Run, asked: Wanted, rows: DataFrame) -> DataFrame:
    """`rows` with `content`: the picture's bytes out of a record in bronze that has them; null where they are unreadable."""
    fields = {
        name: (image_text(source), source.pictures.encoding)
        for name, source in asked.sources.items()
        if source.pictures.encoding
    }
    record = F.min(F.struct("file_hash", "record_number")).alias("record")
    held = asked.products.join(rows.select(*REFERENCE), [*REFERENCE], "left_semi").groupBy(*REFERENCE).agg(record)
    held = held.select(*REFERENCE, "record.*")
    raw = run.read("bronze.raw_products").select("source", "file_hash", "record_number", "payload")
    raw = raw.where(F.col("source").isin(list(fields)))
    found = held.join(raw, ["source", "file_hash", "record_number"]).select(*REFERENCE, "payload")
    schema = "source string, reference string, content binary"

    def unpack(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            made = []
            for source, reference, payload in zip(*(column.to_pylist() for column in batch.columns)):
                get, encoding = fields[source]
                text = get(json.loads(payload)) if payload else None
                made.append((source, reference, picture_bytes(text, encoding) if text else None))
            yield tasks.as_batch(made, schema)

    return rows.join(found.mapInArrow(unpack, schema), [*REFERENCE], "left")


def new_pictures(run: Run, known: DataFrame, flagged: Iterable[str]) -> DataFrame:
    """Rows of silver.images of the pictures read in this run, each once. `flagged`: image_ids of placeholders."""
    noted = run.settings.images.noted
    flags = F.col("image_id").isin(list(flagged))
    of_bytes = F.array_remove("problems", "wrong_extension")
    problems = F.when(flags, F.array_union(of_bytes, F.array(F.lit("placeholder")))).otherwise(of_bytes)
    kept = F.when(flags & F.lit("placeholder" not in noted), F.lit(None)).otherwise(F.col("bytes"))
    rows = known.where("new").select(
        "image_id", kept.alias("bytes"), "format", "width", "height", "perceptual_hash", problems.alias("problems"),
        "original_bytes", F.lit(made_as(run.settings.images)).alias("made_as"), _shard().alias("shard"),
        F.lit(run.run_id).alias("run_id"),
    )  # fmt: skip
    return rows.repartition("shard").mapInArrow(tasks.once, rows.schema)


def _shard() -> Column:
    return F.conv(F.substring("image_id", 1, 1), 16, 10).cast("int")
