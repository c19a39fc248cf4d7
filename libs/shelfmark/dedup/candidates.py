"""Near-duplicate titles by MinHash LSH, confirmed by exact Jaccard similarity.

1. Sign: every title normalised (`kernel.normalise`), its band keys sent to the shard of the band key, the title
   itself to the shard of its own hash. Titles are known by a 64-bit hash, so equal titles are one from here on.
2. Bucket: titles with an equal band key are candidates, as star edges to the bucket's two smallest.
3. Fetch: a candidate collects the text of its left title; the text of its right one moves to where they meet.
4. Confirm: a candidate stays if the exact Jaccard similarity of the shingles reaches the threshold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shelfmark.dedup import bands as cut
from shelfmark.dedup import kernel, packed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark.config import Dedupe
    from shelfmark.dedup.index import Around

PAIRS = "left string, right string, similarity double"


def near_pairs(products: DataFrame, settings: Dedupe, around: Around | None = None) -> DataFrame:
    """Pairs of products whose titles are near duplicates: (left, right, similarity), left < right.

    `products` needs product_id and title. The smallest product_id stands for all products of one normalised title:
    it is paired with each of them (similarity 1.0), and near titles are paired through theirs; so the number of
    pairs grows with the products even where 100,000 titles are equal. Products without a title are in no pair.
    Where `products` are a part of all, it is whole leak groups, and `around` holds who stands in their buckets beside
    them (`index.around`): it draws the same stars as all would.
    A pair of distinct titles is found with probability 1 - (1 - J**r)**b, and never below `settings.similarity`.
    """
    size, words, similarity = settings.shingle, settings.unit == "words", settings.similarity
    hashes, bands, seed = settings.hashes, cut.of(settings), settings.seed
    shards = around.shards if around is not None else packed.shards_of(products)

    def sign(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        a, b = kernel.coefficients(hashes, seed)
        for table in packed.gather(batches):
            texts = kernel.normalise(table["title"])
            keys = kernel.text_keys(*kernel.text_buffers(texts))
            table = pa.table({"title": keys, "product_id": table["product_id"], "text": texts})
            table = table.filter(pc.not_equal(texts, ""))
            keys = table["title"].to_numpy()
            yield from packed.pack("title", table, keys, shards)
            once = _first(keys)
            buffers = kernel.text_buffers(_one(table["text"].take(pa.array(once))))
            signature = kernel.signatures(*buffers, size, a, b, words)
            blobs, bounds = kernel.band_blobs(kernel.band_keys(signature, bands), keys[once], shards)
            yield from packed.raw("bands", blobs, bounds)

    def bucket(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        if "bands" in tables:
            left, right = _edges(kernel.bands_of(tables["bands"]), tables.get("around"))
            left, right, _ = kernel.tally(left, right)
            yield from packed.pack("candidate", pa.table({"left": left, "right": right}), left, shards)
            wanted = _distinct(right)
            yield from packed.pack("wanted", pa.table({"title": wanted}), wanted, shards)

    def fetch(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        if "title" not in tables:
            return
        titles = tables["title"]
        every = titles["title"].to_numpy()
        first = _representatives(titles)
        keys = every[first]
        # Same title: each product with the smallest one.
        others = np.setdiff1d(np.arange(len(every)), first, assume_unique=True)
        stands = first[np.searchsorted(keys, every[others])]
        ids = titles["product_id"]
        same = _pairs(ids.take(pa.array(stands)), ids.take(pa.array(others)))
        yield from packed.pack("pair", same, every[others], shards)
        if "wanted" in tables:
            wanted = _distinct(tables["wanted"]["title"].to_numpy())
            rights = titles.take(pa.array(first[np.searchsorted(keys, wanted)]))
            yield from packed.pack("right", rights, wanted, shards)
        if "candidate" not in tables:
            return
        left, right, _ = kernel.tally(*(column.to_numpy() for column in tables["candidate"].columns))
        lefts = titles.take(pa.array(first[np.searchsorted(keys, left)]))
        halves = pa.table({"right": right, "left_id": lefts["product_id"], "left_text": lefts["text"]})
        yield from packed.pack("half", halves, right, shards)

    def confirm(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        if "pair" in tables:
            yield from tables["pair"].to_batches(packed.ROWS)
        if "half" not in tables:
            return
        halves, rights = tables["half"], tables["right"]
        order = np.argsort(rights["title"].to_numpy())
        keys = rights["title"].to_numpy()[order]
        for start in range(0, halves.num_rows, packed.ROWS):
            part = halves.slice(start, packed.ROWS)
            found = pa.array(order[np.searchsorted(keys, part["right"].to_numpy())])
            texts = (part["left_text"], rights["text"].take(found))
            buffers = [buffer for some in texts for buffer in kernel.text_buffers(_one(some))]
            score = kernel.similarities(*buffers, size, words)
            near = _pairs(part["left_id"], rights["product_id"].take(found), score)
            yield from near.filter(pc.greater_equal(near["similarity"], similarity)).to_batches()

    signed = products.select("product_id", "title").mapInArrow(sign, packed.SCHEMA)
    if around is not None:
        signed = signed.union(around.buckets)
    candidates = packed.step(signed, bucket, shards, through=("title",), raws=("bands",))
    halves = packed.step(candidates, fetch, shards)
    return packed.step(halves, confirm, shards, PAIRS)


def _edges(bands: tuple[np.ndarray, ...], around: pa.Table | None) -> tuple[np.ndarray, np.ndarray]:
    """`kernel.star_edges` of the titles at hand, with those `around` (key, title) as anchors that get no edge."""
    if around is None:
        return kernel.star_edges(*bands)
    low, high, owner, members = bands
    keys, others = around["key"].to_numpy(), around["title"].to_numpy()
    left, right = kernel.star_edges(
        *(np.append(some, more) for some, more in zip((low, high), kernel.halves(keys))),
        np.append(owner, np.arange(len(members), len(members) + len(others), dtype=owner.dtype)),
        np.append(members, others),
    )
    others = _distinct(others)
    bits = kernel.bitmap(others)
    mine = ~(kernel.among(left, others, bits) | kernel.among(right, others, bits))
    return left[mine], right[mine]


def _one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _distinct(keys: np.ndarray) -> np.ndarray:
    """The distinct keys, sorted: np.unique hashes them, which takes three times as long."""
    keys = np.sort(keys)
    return keys[_new(keys)]


def _first(keys: np.ndarray) -> np.ndarray:
    """A place of each distinct key, in the order of the keys."""
    order = np.argsort(keys)
    return order[_new(keys[order])]


def _new(keys: np.ndarray) -> np.ndarray:
    """Which of sorted keys differ from the one before."""
    new = np.ones(len(keys), np.bool_)
    new[1:] = keys[1:] != keys[:-1]
    return new


def _representatives(titles: pa.Table) -> np.ndarray:
    """The place of one record of each title key, the one with the smallest product_id; in the order of the keys."""
    keys = titles["title"].to_numpy()
    order = np.argsort(keys)
    new = _new(keys[order])
    if new.all():
        return order
    # Only records of a repeated title are compared by their ids.
    repeated = ~new
    repeated[:-1] |= ~new[1:]
    places = order[repeated]
    rows = titles.select(["title", "product_id"]).take(pa.array(places))
    order[repeated] = places[pc.sort_indices(rows, [("title", "ascending"), ("product_id", "ascending")]).to_numpy()]
    return order[new]


def _pairs(one: pa.Array, other: pa.Array, similarity: np.ndarray | None = None) -> pa.Table:
    """Rows (left, right, similarity), left < right; pairs of a product with itself dropped."""
    swap = pc.greater(one, other)
    left, right = pc.if_else(swap, other, one), pc.if_else(swap, one, other)
    score = np.ones(len(left)) if similarity is None else similarity
    pairs = pa.table({"left": left, "right": right, "similarity": score}).filter(pc.not_equal(left, right))
    return pairs.cast(pa.schema([("left", pa.string()), ("right", pa.string()), ("similarity", pa.float64())]))
