"""Near-duplicate titles by MinHash LSH, confirmed by exact Jaccard similarity.

1. Sign: every title normalised (`kernel.normalise`), its band keys sent to the shard of the band key, the title
   itself to the shard of its own hash. Titles are known by a 64-bit hash, so equal titles are one from here on.
2. Bucket: titles with an equal band key are candidates, as star edges to the bucket's two smallest.
3. Confirm: a candidate collects the text of its left title, then of its right one, and stays if the exact Jaccard
   similarity of their shingles reaches the threshold.
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

PAIRS = "left string, right string, similarity double"


def near_pairs(products: DataFrame, settings: Dedupe) -> DataFrame:
    """Pairs of products whose titles are near duplicates: (left, right, similarity), left < right.

    `products` needs product_id and title. The smallest product_id stands for all products of one normalised title:
    it is paired with each of them (similarity 1.0), and near titles are paired through theirs; so the number of
    pairs grows with the products even where 100,000 titles are equal. Products without a title are in no pair.
    A pair of distinct titles is found with probability 1 - (1 - J**r)**b, and never below `settings.similarity`.
    """
    size, words, similarity = settings.shingle, settings.unit == "words", settings.similarity
    hashes, bands, seed = settings.hashes, cut.of(settings), settings.seed
    shards = packed.shuffle_shards(products)

    def sign(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        a, b = kernel.coefficients(hashes, seed)
        for table in packed.gather(batches):
            texts = kernel.normalise(table["title"])
            keys = kernel.text_keys(*kernel.text_buffers(texts))
            some = pc.not_equal(texts, "")
            table = pa.table({"title": keys, "product_id": table["product_id"], "text": texts}).filter(some)
            keys = table["title"].to_numpy()
            yield from packed.pack("title", table, keys, shards)
            _, first = np.unique(keys, return_index=True)
            once = table.take(pa.array(first))
            signature = kernel.signatures(*kernel.text_buffers(_one(once["text"])), size, a, b, words)
            band = kernel.band_keys(signature, bands).ravel()
            title = np.repeat(once["title"].to_numpy(), bands)
            yield from packed.pack("band", pa.table({"band": band, "title": title}), band, shards)

    def bucket(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        if "band" in tables:
            band, title = tables["band"]["band"].to_numpy(), tables["band"]["title"].to_numpy()
            order = np.argsort(band)
            left, right = kernel.star_edges(band[order], title[order])
            left, right = _distinct(left, right)
            yield from packed.pack("candidate", pa.table({"left": left, "right": right}), left, shards)

    def confirm_left(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        if "candidate" not in tables:
            return
        titles = _representatives(tables["title"])
        left, right = _distinct(tables["candidate"]["left"].to_numpy(), tables["candidate"]["right"].to_numpy())
        found = pa.array(np.searchsorted(titles["title"].to_numpy(), left))
        halves = pa.table(
            {"right": right, "left_id": titles["product_id"].take(found), "left_text": titles["text"].take(found)}
        )
        yield from packed.pack("half", halves, right, shards)

    def confirm_right(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        titles = _representatives(tables["title"])
        keys = titles["title"].to_numpy()
        # Same title: each product with the smallest one.
        at = np.searchsorted(keys, tables["title"]["title"].to_numpy())
        same = _pairs(titles["product_id"].take(pa.array(at)), tables["title"]["product_id"])
        yield from same.to_batches(packed.ROWS)
        if "half" not in tables:
            return
        halves = tables["half"]
        for start in range(0, halves.num_rows, packed.ROWS):
            part = halves.slice(start, packed.ROWS)
            found = pa.array(np.searchsorted(keys, part["right"].to_numpy()))
            texts = pa.chunked_array([_one(part["left_text"]), _one(titles["text"].take(found))])
            index = np.arange(part.num_rows)
            sets = kernel.shingle_sets(*kernel.text_buffers(_one(texts)), size, words)
            score = kernel.jaccard(*sets, index, index + part.num_rows)
            near = _pairs(part["left_id"], titles["product_id"].take(found), score)
            yield from near.filter(pc.greater_equal(near["similarity"], similarity)).to_batches()

    signed = products.select("product_id", "title").mapInArrow(sign, packed.SCHEMA)
    candidates = packed.step(signed, bucket, shards, through=("title",))
    halves = packed.step(candidates, confirm_left, shards, through=("+title",))
    return packed.step(halves, confirm_right, shards, PAIRS)


def _one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _distinct(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((right, left))
    left, right = left[order], right[order]
    new = np.ones(len(left), np.bool_)
    new[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    return left[new], right[new]


def _representatives(titles: pa.Table) -> pa.Table:
    """One record per title key, the one with the smallest product_id, sorted by key."""
    order = pc.sort_indices(titles, [("title", "ascending"), ("product_id", "ascending")])
    titles = titles.take(order)
    keys = titles["title"].to_numpy()
    new = np.ones(len(keys), np.bool_)
    new[1:] = keys[1:] != keys[:-1]
    return titles.filter(pa.array(new)).combine_chunks()


def _pairs(one: pa.Array, other: pa.Array, similarity: np.ndarray | None = None) -> pa.Table:
    """Rows (left, right, similarity), left < right; pairs of a product with itself dropped."""
    swap = pc.greater(one, other)
    left, right = pc.if_else(swap, other, one), pc.if_else(swap, one, other)
    score = np.ones(len(left)) if similarity is None else similarity
    pairs = pa.table({"left": left, "right": right, "similarity": score}).filter(pc.not_equal(left, right))
    return pairs.cast(pa.schema([("left", pa.string()), ("right", pa.string()), ("similarity", pa.float64())]))
