"""Leak groups: products that must stay on one side of a split, as connected components.

1. Edges: near pairs, and a star for every identity value (picture, GTIN, item group) that several products share.
2. Each partition keeps a spanning forest of its edges: at most one edge less than it has products.
3. One task unites the forests. It holds every product that has any edge: about 200 bytes each, so 2 GB for ten
   million products with a look-alike; beyond that the forests would have to be contracted in rounds (Kiveris et al.
   2014, Connected components in MapReduce and beyond). Nothing passes through the driver.
4. Every product learns its component in the shard of its product_id.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shelfmark.dedup import kernel, packed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

MAX_TITLES = 50
"""An identity value on more than this many different titles is none: a placeholder picture, a default GTIN. One
product rarely has more than a dozen titles, a group of variants (colours x sizes) a few dozen."""

BUCKETS = 16
IDENTITIES = ("image_id", "image", "gtin", "item_group")


def leak_groups(products: DataFrame, pairs: DataFrame) -> DataFrame:
    """silver.leak_groups (product_id, leak_group, bucket): everything that would leak across a split, generously.

    Together are the near pairs (`candidates.near_pairs`: same title, or J above the threshold), and products that
    share picture (image_id, the address in `image`, or its path within a source), GTIN, or item_group of one source;
    values on more than `MAX_TITLES` titles are ignored. As duplicates are made of near pairs and GTINs under the same
    rule, a duplicates group is always within one leak group. leak_group is the smallest product_id; bucket its Spark
    hash modulo 16.

    `products` needs product_id, source, title, gtin, item_group, image and image_id.
    """
    from pyspark.sql import functions as F

    edges = pairs.select("left", "right").unionByName(identity_edges(products, IDENTITIES))
    return assign(products, edges, "leak_group").withColumn(
        "bucket", F.expr(f"pmod(hash(leak_group), {BUCKETS})").cast("int")
    )


def group_sizes(groups: DataFrame, column: str = "leak_group") -> DataFrame:
    """(size bigint, groups bigint), largest size first: how many groups have how many products.

    A giant component, which swallows the data and makes a split impossible, shows in the first row.
    """
    sizes = groups.groupBy(column).count().withColumnRenamed("count", "size")
    return sizes.groupBy("size").count().withColumnRenamed("count", "groups").orderBy("size", ascending=False)


def identity_edges(products: DataFrame, identities: tuple[str, ...]) -> DataFrame:
    """(left, right): the smallest product of each identity value with the others; `MAX_TITLES` as in `leak_groups`."""
    shards = packed.shuffle_shards(products)
    wanted = ["product_id", "source", "title", *identities]

    def spread(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in packed.gather(batches):
            titles = kernel.text_keys(*kernel.text_buffers(kernel.normalise(table["title"])))
            for name in identities:
                stated = table[name].cast(pa.string())
                known = pc.fill_null(pc.not_equal(stated, ""), False)
                if not pc.any(known).as_py():
                    continue
                value, scope = stated.filter(known), pa.scalar("")
                if name == "item_group":  # a vendor's own: the same text of another vendor means nothing
                    scope = table["source"].cast(pa.string()).filter(known)
                elif name == "image":  # and so is a path; an address is everybody's
                    source = table["source"].cast(pa.string()).filter(known)
                    scope = pc.if_else(pc.match_substring(value, "//"), "", source)
                value = pc.binary_join_element_wise(name, scope, value, "\x1e").combine_chunks()
                value = kernel.text_keys(*kernel.text_buffers(value))
                rows = pa.table(
                    {
                        "value": value,
                        "title": pa.array(titles).filter(known.combine_chunks()),
                        "product_id": table["product_id"].filter(known),
                    }
                )
                yield from packed.pack("identity", rows, value, shards)

    def link(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        found = tables["identity"]
        found = found.take(pc.sort_indices(found, [("value", "ascending"), ("product_id", "ascending")]))
        left = kernel.identity_stars(found["value"].to_numpy(), found["title"].to_numpy(), MAX_TITLES)
        some = np.flatnonzero(left >= 0)
        ids = found["product_id"]
        rows = pa.table({"left": ids.take(pa.array(left[some])), "right": ids.take(pa.array(some))})
        yield from _strings(rows).to_batches(packed.ROWS)

    spreads = products.select(*wanted).mapInArrow(spread, packed.SCHEMA)
    return packed.step(spreads, link, shards, "left string, right string")


def components(edges: DataFrame) -> DataFrame:
    """(product_id, root): for every product with an edge (left, right) the smallest product of its component."""
    return roots(edges, 1).mapInArrow(_open_roots, "product_id string, root string")


def assign(products: DataFrame, edges: DataFrame, column: str) -> DataFrame:
    """(product_id, `column`): the smallest product_id of each product's component; its own where it has no edge."""
    shards = packed.shuffle_shards(products)

    def ids(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in packed.gather(batches):
            yield from packed.pack("product", table, hash_ids(table["product_id"]), shards)

    def label(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        if "product" not in tables:
            return
        ids = tables["product"]["product_id"]
        rows = pa.table({"product_id": ids, column: pc.fill_null(lookup(ids, tables.get("root")), ids)})
        yield from _strings(rows).to_batches(packed.ROWS)

    every = products.select("product_id").mapInArrow(ids, packed.SCHEMA)
    return packed.step(every.union(roots(edges, shards)), label, shards, f"product_id string, {column} string")


def hash_ids(ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """64-bit hash (uint64) of each id."""
    ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    return kernel.text_keys(*kernel.text_buffers(ids))


def lookup(ids: pa.ChunkedArray, roots: pa.Table | None) -> pa.ChunkedArray | pa.Array:
    """The root of each id, null where `roots` (product_id, root) has none."""
    if roots is None:
        return pa.nulls(len(ids), pa.string())
    return roots["root"].take(pc.index_in(ids, value_set=roots["product_id"].combine_chunks()))


def roots(edges: DataFrame, shards: int, flag: str | None = None) -> DataFrame:
    """Packed rows of kind "root" (product_id, root), sharded by product_id, of every product with an edge.

    `flag` names a boolean column of `edges`: rows of the kind of that name (product_id) tell which products have an
    edge where it is true.
    """

    def forest(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held = None
        # Folded every million edges: a partition's memory is its products, not its edges.
        for table in packed.gather(batches, 1_000_000):
            if flag:
                marked = table.filter(table[flag])
                ids = pa.chunked_array([*marked["left"].chunks, *marked["right"].chunks], pa.string()).unique()
                yield from packed.pack(flag, pa.table({"product_id": ids}), hash_ids(ids), shards)
            table = table.select(["left", "right"])
            held = table if held is None else pa.concat_tables([held, table])
            _, _, kept = _union(held)
            held = held.filter(pa.array(kept)).combine_chunks()
        if held is not None and held.num_rows:
            for start in range(0, held.num_rows, packed.ROWS):
                part = held.slice(start, packed.ROWS)
                yield from packed.pack("edge", part, np.zeros(part.num_rows, np.uint64), 1)

    def unite(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        nodes, label, _ = _union(tables["edge"])
        keys = hash_ids(nodes)
        for start in range(0, len(nodes), packed.ROWS):
            rows = slice(start, start + packed.ROWS)
            table = pa.table({"product_id": nodes[rows], "root": nodes.take(pa.array(label[rows]))})
            yield from packed.pack("root", _strings(table), keys[rows], shards)

    columns = ["left", "right", *([flag] if flag else [])]
    forests = edges.select(*columns).mapInArrow(forest, packed.SCHEMA)
    return packed.step(forests, unite, 1, through=(flag,) if flag else ())


def _union(edges: pa.Table) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """(sorted product ids, the place of the smallest id of each one's component, which edges span it)."""
    rows = edges.num_rows
    both = pa.chunked_array([*edges["left"].chunks, *edges["right"].chunks], pa.string())
    coded = both.cast(pa.large_string()).combine_chunks().dictionary_encode()  # may pass the 2 GB of `string`
    order = pc.sort_indices(coded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    codes = rank[coded.indices.to_numpy()]
    label, kept = kernel.union(len(order), codes[:rows], codes[rows:])
    return coded.dictionary.take(pa.array(order)), label, kept


def _open_roots(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for one in batch.column("blob"):
            yield from _strings(packed.unpack([one.as_buffer()])).to_batches()


def _strings(table: pa.Table) -> pa.Table:
    """Every column as `string`, which is what Spark's Arrow reader knows."""
    return table.cast(pa.schema([(name, pa.string()) for name in table.column_names]))
