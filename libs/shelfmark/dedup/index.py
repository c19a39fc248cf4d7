"""silver.lsh_index: what is known of every product to tell who could be its look-alike, without reading it again.

A product is its hash, that of its title, those of its identity values (`groups.IDENTITIES`), and the band keys of its
title: some 130 bytes, packed to arrays of `PRODUCTS` products a row, for JVM row handling is the cost of dedupe. A run
adds a segment: the products that are new or changed, and the hashes of those that are gone; these count no more in the
segments before. So the index is never sorted nor rewritten, and who shares a bucket with a few thousand new products is
found by one pass over it (`probe`), at the speed of reading it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from shelfmark.dedup import bands as cut
from shelfmark.dedup import groups, kernel, packed

if TYPE_CHECKING:
    from pyspark.broadcast import Broadcast
    from pyspark.sql import DataFrame, SparkSession

    from shelfmark.config import Dedupe

PRODUCTS = 16_384
"""Products of a row: 2 MB. Spark's Parquet reader takes up to 4,096 rows at once, which is more than a file of a shard has."""

LIMIT = 1_000_000
"""Products that a probe may find, an eighth of them in one task: what is brought to the driver, some 100 MB."""

STORED = "kind string, products int, product binary, title binary, identity binary, low binary, high binary"
_COLUMNS = ["source", "title", *groups.IDENTITIES]
_VALUES = [f"value_{i}" for i in range(len(groups.IDENTITIES))]
_FOUND = "kind string, blob binary"


class TooMany(Exception):
    """More products are found than `LIMIT` allows: to do all of them anew is no dearer."""


class Around(NamedTuple):
    """What of the products outside of a part counts for it.

    `buckets`: packed rows of kind "around" (key, title), for `shards` shards: the two smallest titles of others in each
    bucket of the part;
    `banned`: (keys, bitmap) of the identity values of the part that others have too, so that they are no evidence
    (`groups.MAX_TITLES`): who shares a value that is evidence is in one leak group, and so in one part.
    """

    buckets: DataFrame
    shards: int
    banned: Broadcast


@dataclass(frozen=True)
class Known:
    """Some products of the index, on the driver.

    `product`, `title` (uint64 n; a title of 0 is none) and `values` (uint64 n x identities; 0 is none) of each,
    and the band keys of titles: `keys` and `holders` (uint64 m), the title of each key.
    """

    product: np.ndarray
    title: np.ndarray
    values: np.ndarray
    keys: np.ndarray
    holders: np.ndarray


def rows(products: DataFrame, settings: Dedupe) -> DataFrame:
    """Rows of kind "products" of silver.lsh_index without segment and run: `products` as `STORED`.

    `products` needs product_id and the columns that `groups.leak_groups` needs.
    """
    from pyspark.sql import functions as F

    describe = describer(settings)

    def fill(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in packed.gather(batches, PRODUCTS):
            title, values, low, high = describe(table)
            product = table["product"].to_numpy().view(np.uint64)
            blobs = [one.tobytes() for one in (product, title, values, low, high)]
            arrays = [pa.array(["products"]), pa.array([len(product)], pa.int32()), *(pa.array([b]) for b in blobs)]
            yield pa.RecordBatch.from_arrays(arrays, [column.split()[0] for column in STORED.split(", ")])

    named = products.select(F.xxhash64("product_id").alias("product"), *_COLUMNS)
    return named.mapInArrow(fill, STORED)


def describer(settings: Dedupe) -> Callable[[pa.Table], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """A function from products to (title uint64 n, values uint64 n x identities, low uint32 n x bands, high uint8 n x bands).

    Zeros are of products without a title, or without the value.
    """
    size, words, hashes, seed = settings.shingle, settings.unit == "words", settings.hashes, settings.seed
    bands = cut.of(settings)

    def describe(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        buffers = kernel.text_buffers(kernel.normalise(table["title"]))
        told = np.diff(buffers[1]) > 0
        title = np.where(told, kernel.text_keys(*buffers), np.uint64(0))
        keys = kernel.band_keys(kernel.signatures(*buffers, size, *kernel.coefficients(hashes, seed), words), bands)
        keys[~told] = 0
        values = np.zeros((len(title), len(groups.IDENTITIES)), np.uint64)
        for i, name in enumerate(groups.IDENTITIES):
            value, places = groups.identity_keys(table, name)
            values[places, i] = value
        return title, values, *kernel.halves(keys)

    return describe


def gone_row(spark: SparkSession, product: np.ndarray) -> DataFrame:
    """The row of kind "gone": products (hashes) that count no more in earlier segments."""
    row = ("gone", len(product), bytearray(np.sort(product).tobytes()), None, None, None, None)
    return spark.createDataFrame([row], STORED)


class Gone(NamedTuple):
    """Products that are gone, sorted, and the newest segment that says so of each."""

    product: np.ndarray
    segment: np.ndarray


def gone(index: DataFrame) -> Gone:
    """All that the index says of products that are gone, on the driver: a small part of it (`incremental.WORN`)."""
    said = index.where("kind = 'gone'").select("segment", "product").collect()
    product = np.concatenate([np.empty(0, np.uint64), *(np.frombuffer(row.product, np.uint64) for row in said)])
    segment = np.repeat([row.segment for row in said], [len(row.product) // 8 for row in said]).astype(np.int32)
    order = np.lexsort((-segment, product))
    product, segment = product[order], segment[order]
    newest = np.ones(len(product), np.bool_)
    newest[1:] = product[1:] != product[:-1]
    return Gone(product[newest], segment[newest])


def known_of(tables: list[tuple[np.ndarray, ...]], bands: int) -> Known:
    """`Known` of (product, title, values, low, high) of several rows."""
    product, title, values, low, high = (np.concatenate(some) for some in zip(*tables))
    keys = kernel.whole_keys(low, high)
    holders = np.repeat(title, bands)
    return Known(product, title, values.reshape(-1, len(groups.IDENTITIES)), keys[holders > 0], holders[holders > 0])


def collected(stored: DataFrame) -> Known:
    """`rows` of few products, brought to the driver."""
    names = ("product", "title", "identity", "low", "high")
    types = (np.uint64, np.uint64, np.uint64, np.uint32, np.uint8)
    some = [tuple(np.frombuffer(row[name], of) for name, of in zip(names, types)) for row in stored.collect()]
    empty = tuple(np.empty(0, of) for of in types)
    bands = max((len(one[4]) // len(one[0]) for one in some), default=1)
    return known_of([empty, *some], bands)


def nothing() -> Known:
    """No products."""
    none = np.empty(0, np.uint64)
    return Known(none, none, np.empty((0, len(groups.IDENTITIES)), np.uint64), none, none)


def probe(
    index: DataFrame,
    gone: Gone,
    product: np.ndarray,
    title: np.ndarray | None = None,
    values: np.ndarray | None = None,
    keys: np.ndarray | None = None,
) -> Known:
    """The products of the index that are one of `product`, or have one of the titles, identity values or band keys.

    The keys of the result are those of `keys` that were found, with every title that has them; without `keys`, all keys
    of the products found. Raises `TooMany` past `LIMIT`.
    """
    spark = index.sparkSession
    wanted = spark.sparkContext.broadcast(
        {
            name: _sought(some)
            for name, some in (("product", product), ("title", title), ("values", values), ("keys", keys))
        }
    )
    least = spark.sparkContext.broadcast(gone)
    chunks = index.where("kind = 'products'").select("segment", "product", "title", "identity", "low", "high")
    room = LIMIT // 8  # of a task, so that a hundred of them do not bring more than a driver takes

    def look(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        found = 0
        for at, values, low, high in _chunks(batches, least.value):
            product, title, live = at
            sought, n = wanted.value, len(product)
            bands = len(low) // n
            hit = kernel.among(product, *sought["product"])
            if sought["title"]:
                hit |= kernel.among(title, *sought["title"])
            if sought["values"]:
                hit |= kernel.among(values, *sought["values"]).reshape(n, -1).any(axis=1)
            if sought["keys"]:
                places = kernel.bands_among(low, high, *sought["keys"])
                hit[places // bands] = True
                places = places[live[places // bands]]
            hit &= live
            if not sought["keys"]:
                places = (np.flatnonzero(hit)[:, None] * bands + np.arange(bands)).ravel()
            key = kernel.whole_keys(low[places], high[places])
            holder = title[places // bands]
            found += int(hit.sum())
            if found > room:
                yield _row("over", pa.table({"n": [found]}))
                return
            some = values.reshape(n, -1)[hit]
            records = {"product": product[hit], "title": title[hit], **{v: some[:, i] for i, v in enumerate(_VALUES)}}
            yield _row("record", pa.table(records))
            yield _row("key", pa.table({"key": key[holder > 0], "title": holder[holder > 0]}))

    tables: dict[str, list[pa.Table]] = {}
    for row in chunks.mapInArrow(look, _FOUND).where("blob IS NOT NULL").collect():
        tables.setdefault(row.kind, []).append(packed.unpack([row.blob]))
    if "over" in tables:
        raise TooMany
    records = {name: _column(tables.get("record", []), name) for name in ("product", "title", *_VALUES)}
    if len(records["product"]) > LIMIT:
        raise TooMany
    keys, holders = _distinct_pairs(*(_column(tables.get("key", []), name) for name in ("key", "title")))
    values = np.stack([records[name] for name in _VALUES], axis=1)
    return Known(records["product"], records["title"], values, keys, holders)


def around(index: DataFrame, gone: Gone, part: Known, inside: np.ndarray, shards: int) -> Around:
    """What counts for `part`, the products of a part as they are now, of those outside of it.

    `inside`: the products (hashes) of the part as the index has them. `shards`: those `candidates.near_pairs` is to use.
    """
    spark = index.sparkSession
    sought = spark.sparkContext.broadcast(
        {"inside": _sought(inside), "values": _sought(part.values[part.values > 0]), "keys": _sought(part.keys)}
    )
    least = spark.sparkContext.broadcast(gone)

    def look(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held: list[tuple[np.ndarray, np.ndarray]] = []
        banned: list[np.ndarray] = []
        for (product, title, live), values, low, high in _chunks(batches, least.value):
            wanted, n = sought.value, len(product)
            outside = live & ~kernel.among(product, *wanted["inside"])
            shared = kernel.among(values, *wanted["values"]) & np.repeat(outside, len(values) // n)
            banned.append(values[shared])
            places = kernel.bands_among(low, high, *wanted["keys"])
            bands = len(low) // n
            places = places[outside[places // bands] & (title[places // bands] > 0)]
            key = kernel.whole_keys(low[places], high[places])
            held.append((key, title[places // bands]))
        if not held:
            return
        values = np.unique(np.concatenate(banned))
        if len(values):
            yield packed.rows("value", [0], [values.tobytes()])
        key, title = _distinct_pairs(*(np.concatenate(some) for some in zip(*held)))
        third = np.zeros(len(key), np.bool_)
        third[2:] = key[2:] == key[:-2]
        key, title = key[~third], title[~third]
        yield from packed.pack("around", pa.table({"key": key, "title": title}), kernel.band_shards(key), shards)

    chunks = index.where("kind = 'products'").select("segment", "product", "title", "identity", "low", "high")
    # Two read it, and the index is large.
    seen = chunks.mapInArrow(look, packed.SCHEMA).localCheckpoint()
    shared = [np.frombuffer(row.blob, np.uint64) for row in seen.where("kind = 'value'").collect()]
    banned = np.concatenate([np.empty(0, np.uint64), *shared])
    return Around(seen.where("kind = 'around'"), shards, spark.sparkContext.broadcast(_sought(banned)))


def _chunks(batches: Iterator[pa.RecordBatch], gone: Gone) -> Iterator[tuple]:
    """((product, title, which of them count), values, low, high) of each row, its arrays flat."""
    bits = kernel.bitmap(gone.product)
    for batch in batches:
        for i in range(batch.num_rows):
            segment = batch.column("segment")[i].as_py()
            product, title, values = (_array(batch, name, i, np.uint64) for name in ("product", "title", "identity"))
            low, high = _array(batch, "low", i, np.uint32), _array(batch, "high", i, np.uint8)
            live = np.ones(len(product), np.bool_)
            left = np.flatnonzero(kernel.among(product, gone.product, bits))
            live[left] = gone.segment[np.searchsorted(gone.product, product[left])] <= segment
            yield (product, title, live), values, low, high


def _array(batch: pa.RecordBatch, name: str, i: int, of: type) -> np.ndarray:
    return np.frombuffer(batch.column(name)[i].as_buffer(), of)


def _sought(some: np.ndarray | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Sorted distinct hashes and their bitmap, for `kernel.among`; a missing value (0) is none."""
    if some is None:
        return None
    some = np.unique(some[some > 0])
    return some, kernel.bitmap(some)


def _distinct_pairs(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct pairs (one[i], other[i]), in order."""
    order = np.lexsort((other, one))
    one, other = one[order], other[order]
    new = np.ones(len(one), np.bool_)
    new[1:] = (one[1:] != one[:-1]) | (other[1:] != other[:-1])
    return one[new], other[new]


def _row(kind: str, table: pa.Table) -> pa.RecordBatch:
    blob = packed.blob(table) if table.num_rows else None
    return pa.RecordBatch.from_arrays([pa.array([kind]), pa.array([blob], pa.binary())], ["kind", "blob"])


def _column(tables: list[pa.Table], name: str) -> np.ndarray:
    return np.concatenate([np.empty(0, np.uint64), *(table[name].to_numpy() for table in tables)])
