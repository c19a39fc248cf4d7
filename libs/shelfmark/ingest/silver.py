"""From bronze records to current products: `candidates` (one row a record), `current` (one row a product)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

from shelfmark.ingest.normalise import Product, compile_source
from shelfmark.tables import table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from shelfmark.ingest.mapping import Source

PLACE = ("file", "file_hash", "record_number", "line", "sequence")
"""Where a record came from: carried from bronze to every candidate."""

BUSINESS = (
    "region", "title", "description", "brand", "gtin", "model_number", "price", "price_high", "currency", "attributes",
    "category_paths", "language", "item_group", "image",
)  # fmt: skip
"""Columns whose change makes a product changed; times, positions and notes are not among them."""

TRAITS = ("colour", "size", "material", "amount", "amount_unit", "model_code")
"""Columns read out of the business columns: no change of their own."""

_MADE = (
    "product_id",
    "source_key",
    *BUSINESS,
    *TRAITS,
    "problems",
    "source_updated_at",
    "reject_rule",
    "reject_reason",
)
_ATTRIBUTE = pa.struct([("name", pa.string()), ("value", pa.string()), ("unit", pa.string())])
_ARROW = {
    "amount": pa.float64(),
    "price": pa.decimal128(18, 2),
    "price_high": pa.decimal128(18, 2),
    "source_updated_at": pa.timestamp("us", tz="UTC"),
}


def candidates(bronze: DataFrame, source: Source) -> DataFrame:
    """One row for each bronze record of `source`: silver.products as the record alone would make it.

    `bronze`: columns of bronze.raw_products and `sequence` (bigint, order in which its file was taken in).

    Returns the columns of silver.products without content_hash and run_id, then file, line, sequence, reject_rule and
    reject_reason. The last two are null for a good record. A record the reader could not believe keeps the reader's
    rule (the text before ': '); otherwise the rules are those of `normalise.compile_source`.
    """
    columns = [column for column in table("silver.products").columns if column not in ("content_hash", "run_id")]
    types = {field.name: field.type for field in table("silver.products").fields}
    types |= {"file": "string", "line": "bigint", "sequence": "bigint"}
    types |= {"reject_rule": "string", "reject_reason": "string"}
    names = [*columns, "file", "line", "sequence", "reject_rule", "reject_reason"]
    schema = ", ".join(f"`{name}` {types[name]}" for name in names)
    rows = bronze.select(*PLACE, "payload", "problem")

    def normalise(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        one = compile_source(source)
        for batch in batches:
            yield normalise_batch(batch, one, source.name, names)

    return rows.mapInArrow(normalise, schema)


def normalise_batch(
    batch: pa.RecordBatch, one: Callable[[dict[str, Any]], Product], source: str, names: Iterable[str]
) -> pa.RecordBatch:
    """The Arrow batch of columns `names` for a batch of `PLACE`, payload and problem; `one` makes a record's product."""
    payloads = batch.column(batch.schema.get_field_index("payload")).to_pylist()
    problems = batch.column(batch.schema.get_field_index("problem")).to_pylist()
    products = [
        one(json.loads(payload)) if problem is None else _unbelieved(problem)
        for payload, problem in zip(payloads, problems)
    ]
    made = {"source": pa.array([source] * len(products), pa.string()), "image_id": pa.nulls(len(products), pa.string())}
    for name in PLACE:
        made[name] = batch.column(batch.schema.get_field_index(name))
    for name in _MADE:
        made[name] = _column(name, [getattr(product, name) for product in products])
    return pa.RecordBatch.from_arrays([made[name] for name in names], names=list(names))


def current(candidates: DataFrame) -> DataFrame:
    """One row for each product_id: the newest record, with the category paths of all records it stands for.

    Newest: by `source_updated_at` (records without one are older than any with one), then the last by (sequence,
    record_number). `category_paths` is the sorted union over the records of the product in the newest record's file
    that have the same time stamp: within one intake, records of one key are listings of one product in several
    categories. Earlier files and older time stamps do not add theirs, so that a product can leave a category.

    Adds `records` (bigint): how many input records the row stands for. One shuffle by product_id.
    """
    newest_first = Window.partitionBy("product_id").orderBy(
        F.col("source_updated_at").desc_nulls_last(), F.col("sequence").desc(), F.col("record_number").desc()
    )
    of_product = newest_first.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    listing = F.struct("sequence", "source_updated_at", "category_paths")
    ranked = (
        candidates.withColumn("_rank", F.row_number().over(newest_first))
        .withColumn("records", F.count("*").over(of_product))
        # A set, so that a key that is one value by mistake does not pile its records up in memory.
        .withColumn("_listings", F.collect_set(listing).over(of_product))
        .where("_rank = 1")
    )
    together = F.filter(
        "_listings",
        lambda one: (one.sequence == F.col("sequence")) & one.source_updated_at.eqNullSafe(F.col("source_updated_at")),
    )
    union = F.array_sort(F.array_distinct(F.flatten(F.transform(together, lambda one: one.category_paths))))
    paths = F.when(F.col("records") == 1, F.col("category_paths")).otherwise(union)
    return ranked.withColumn("category_paths", paths).drop("_rank", "_listings")


def content_hash() -> Column:
    """32 hex digits of sha256 over the columns `BUSINESS`: equal means unchanged. Wants the final category_paths."""
    return F.substring(F.sha2(F.to_json(F.struct(*BUSINESS)), 256), 1, 32)


def _unbelieved(problem: str) -> Product:
    return Product(reject_rule=problem.partition(": ")[0], reject_reason=problem)


def _column(name: str, values: list[Any]) -> pa.Array:
    if name == "category_paths":
        return _lists(values, lambda flat: _strings(flat))
    if name == "attributes":
        return _lists(values, _structs)
    if name in _ARROW:
        return pa.array(values, _ARROW[name])
    return _strings(values)


def _strings(values: list[str | None]) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:  # half of a surrogate pair, as broken JSON escapes bring it
        return pa.array(
            [value and value.encode("utf-8", "replace").decode() for value in values],
            pa.string(),
        )


def _structs(flat: list[tuple]) -> pa.Array:
    columns = zip(*flat) if flat else ((), (), ())
    return pa.StructArray.from_arrays([_strings(list(column)) for column in columns], fields=list(_ATTRIBUTE))


def _lists(values: list[list], flat_array: Callable[[list], pa.Array]) -> pa.Array:
    offsets, flat = [0], []
    for value in values:
        flat += value
        offsets.append(len(flat))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat_array(flat))
