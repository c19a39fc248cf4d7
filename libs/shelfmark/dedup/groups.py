"""Leak groups: products that must stay on one side of a split, as connected components.

1. Edges: near pairs, and a star for every identity value (picture, GTIN, item group) that several products share.
2. The components of the edges (`components`); nothing passes through the driver.
3. Every product learns its component in the shard of its product_id.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shelfmark.dedup import components, kernel, packed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark.dedup.index import Around

MAX_TITLES = 50
"""An identity value on more than this many different titles is none: a placeholder picture, a default GTIN. One
product rarely has more than a dozen titles, a group of variants (colours x sizes) a few dozen."""

BUCKETS = 16
IDENTITIES = ("image_id", "image", "gtin", "item_group")


def leak_groups(products: DataFrame, pairs: DataFrame, around: Around | None = None) -> DataFrame:
    """silver.leak_groups (product_id, leak_group, bucket): everything that would leak across a split, generously.

    Together are the near pairs (`candidates.near_pairs`: same title, or J above the threshold), and products that
    share picture (image_id, the address in `image`, or its path within a source), GTIN, or item_group of one source;
    values on more than `MAX_TITLES` titles are ignored. As duplicates are made of near pairs and GTINs under the same
    rule, a duplicates group is always within one leak group. leak_group is the smallest product_id; bucket its Spark
    hash modulo 16.

    `products` needs product_id, source, title, gtin, item_group, image and image_id; where they are a part of all, it is
    whole leak groups, and `around` what of the others counts (`index.around`).
    """
    from pyspark.sql import functions as F

    edges = pairs.select("left", "right").unionByName(identity_edges(products, IDENTITIES, around))
    return assign(products, edges, "leak_group").withColumn(
        "bucket", F.expr(f"pmod(hash(leak_group), {BUCKETS})").cast("int")
    )


def group_sizes(groups: DataFrame, column: str = "leak_group") -> DataFrame:
    """(size bigint, groups bigint), largest size first: how many groups have how many products.

    A giant component, which swallows the data and makes a split impossible, shows in the first row.
    """
    sizes = groups.groupBy(column).count().withColumnRenamed("count", "size")
    return sizes.groupBy("size").count().withColumnRenamed("count", "groups").orderBy("size", ascending=False)


def identity_edges(products: DataFrame, identities: tuple[str, ...], around: Around | None = None) -> DataFrame:
    """(left, right): the smallest product of each identity value with the others; `MAX_TITLES` as in `leak_groups`."""
    shards = packed.shards_of(products)
    banned = around and around.banned
    wanted = ["product_id", "source", "title", *identities]

    def spread(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in packed.gather(batches):
            titles = kernel.text_keys(*kernel.text_buffers(kernel.normalise(table["title"])))
            for name in identities:
                value, places = identity_keys(table, name)
                if banned is not None:
                    real = ~kernel.among(value, *banned.value)
                    value, places = value[real], places[real]
                if len(value):
                    ids = table["product_id"].take(pa.array(places))
                    rows = pa.table({"value": value, "title": titles[places], "product_id": ids})
                    yield from packed.pack("identity", rows, value, shards)

    def link(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        found = tables["identity"]
        found = found.take(pc.sort_indices(found, [("value", "ascending"), ("product_id", "ascending")]))
        left = kernel.identity_stars(found["value"].to_numpy(), found["title"].to_numpy(), MAX_TITLES)
        some = np.flatnonzero(left >= 0)
        ids = found["product_id"]
        rows = pa.table({"left": ids.take(pa.array(left[some])), "right": ids.take(pa.array(some))})
        yield from components.strings(rows).to_batches(packed.ROWS)

    spreads = products.select(*wanted).mapInArrow(spread, packed.SCHEMA)
    return packed.step(spreads, link, shards, "left string, right string")


def identity_keys(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A 64-bit hash (uint64) of each value stated in column `name` of `IDENTITIES`, and in which rows it is (int64)."""
    stated = table[name].cast(pa.string())
    known = pc.fill_null(pc.not_equal(stated, ""), False)
    places = np.flatnonzero(known.to_numpy())
    if not len(places):
        return np.empty(0, np.uint64), places
    value, scope = stated.filter(known), pa.scalar("")
    if name == "item_group":  # a vendor's own: the same text of another vendor means nothing
        scope = table["source"].cast(pa.string()).filter(known)
    elif name == "image":  # and so is a path; an address is everybody's
        source = table["source"].cast(pa.string()).filter(known)
        scope = pc.if_else(pc.match_substring(value, "//"), "", source)
    value = pc.binary_join_element_wise(name, scope, value, "\x1e").combine_chunks()
    return kernel.text_keys(*kernel.text_buffers(value)), places


def assign(products: DataFrame, edges: DataFrame, column: str) -> DataFrame:
    """(product_id, `column`): the smallest product_id of each product's component; its own where it has no edge."""
    shards = packed.shards_of(products)

    def ids(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in packed.gather(batches):
            yield from packed.pack("product", table, components.hash_ids(table["product_id"]), shards)

    def label(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        if "product" not in tables:
            return
        ids = tables["product"]["product_id"]
        rows = pa.table({"product_id": ids, column: pc.fill_null(components.lookup(ids, tables.get("root")), ids)})
        yield from components.strings(rows).to_batches(packed.ROWS)

    every = products.select("product_id").mapInArrow(ids, packed.SCHEMA)
    return packed.step(
        every.union(components.roots(edges, packed.count(products), shards)),
        label,
        shards,
        f"product_id string, {column} string",
    )
