"""Connected components of edges between products.

Each partition first keeps a spanning forest of its edges: at most one edge less than it has products. Then

- one task unites the forests; it holds every product that has any edge, about 200 bytes each, 2 GB for ten million
  products with a look-alike;
- past `ONE_TASK` edges `star_rounds` contracts them in rounds over all shards, each of which holds the edges of its
  own products (Kiveris et al. 2014, Connected components in MapReduce and beyond: large-star and small-star).

Nothing passes through the driver, and both give the same: for every product the smallest one of its component.
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

ONE_TASK = 100_000_000
"""Edges that one task may unite."""

ROUNDS = 50
"""Rounds take the logarithm of the longest path, squared at the worst; a path of a million products takes about 20."""


def roots(edges: DataFrame, shards: int, flag: str | None = None, one_task: int = ONE_TASK) -> DataFrame:
    """Packed rows of kind "root" (product_id, root), sharded by product_id, of every product with an edge.

    `edges` are (left, right), in any order and repeated or not. `flag` names a boolean column of theirs: rows of the
    kind of that name (product_id) tell which products have an edge where it is true. The forests are made at once and
    kept on the executors, for their size decides how they are united.
    """
    from pyspark.sql import functions as F

    columns = ["left", "right", *([flag] if flag else [])]
    through = (flag,) if flag else ()
    forests = edges.select(*columns).mapInArrow(_forest(shards, flag), packed.SCHEMA).localCheckpoint()
    spanning = forests.where("kind = 'spanning'").agg(F.sum("shard")).head()[0] or 0
    forests = forests.where("kind <> 'spanning'")
    if spanning <= one_task:
        return packed.step(forests, _unite(shards), 1, through=through)
    forests = forests.mapInArrow(_both_ends(shards), packed.SCHEMA)
    return packed.step(star_rounds(forests, shards, through), _open_stars(shards), shards, through=through)


def star_rounds(forests: DataFrame, shards: int, through: tuple[str, ...] = ()) -> DataFrame:
    """Contract edges until each is one of a star: from the smallest product of a component to another of its.

    `forests` are packed rows of kind "edge" (node, other), each edge at the shard of either end. Raises RuntimeError
    if that takes more than `ROUNDS` rounds.
    """
    state = forests
    for _ in range(ROUNDS):
        large = packed.step(state, _large_star(shards), shards, through=through)
        # Kept on the executors: without, every round would do those before it again.
        state = packed.step(large, _small_star(shards), shards, through=(*through, "moved")).localCheckpoint()
        if state.where("kind = 'moved'").isEmpty():
            return state
        state = state.where("kind <> 'moved'")
    raise RuntimeError(f"connected components are not found after {ROUNDS} rounds")


def hash_ids(ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """64-bit hash (uint64) of each id."""
    ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    return kernel.text_keys(*kernel.text_buffers(ids))


def lookup(ids: pa.ChunkedArray, roots: pa.Table | None) -> pa.ChunkedArray | pa.Array:
    """The root of each id, null where `roots` (product_id, root) has none."""
    if roots is None:
        return pa.nulls(len(ids), pa.string())
    return roots["root"].take(pc.index_in(ids, value_set=roots["product_id"].combine_chunks()))


def strings(table: pa.Table) -> pa.Table:
    """Every column as `string`, which is what Spark's Arrow reader knows."""
    return table.cast(pa.schema([(name, pa.string()) for name in table.column_names]))


def _forest(shards: int, flag: str | None):
    """Rows of the kinds "edge" (left, right), all for one shard, and "spanning", whose `shard` is their number."""

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
        if held is None:
            return
        yield packed.rows("spanning", [held.num_rows], [b""])
        for start in range(0, held.num_rows, packed.ROWS):
            part = held.slice(start, packed.ROWS)
            yield from packed.pack("edge", part, np.zeros(part.num_rows, np.uint64), 1)

    return forest


def _both_ends(shards: int):
    def both_ends(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            edge = pc.equal(batch.column("kind"), "edge")
            yield packed.where(batch, pc.invert(edge))
            for one in batch.filter(edge).column("blob"):
                rows = packed.unpack([one.as_buffer()])
                yield from _send(rows["left"], rows["right"], shards)
                yield from _send(rows["right"], rows["left"], shards)

    return both_ends


def _unite(shards: int):
    def unite(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        if "edge" not in tables:
            return
        nodes, label, _ = _union(tables["edge"])
        yield from _roots(nodes, nodes.take(pa.array(label)), shards)

    return unite


def _large_star(shards: int):
    """Link every larger neighbour of a product to the smallest of them all; each new edge to the shard of its larger end."""

    def large_star(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        if "edge" not in tables:
            return
        names, node, other = _coded(tables["edge"])
        left, right, moved = kernel.large_star(node, other)
        if moved:
            yield packed.rows("moved", [0], [b""])
        yield from _send(names.take(pa.array(right)), names.take(pa.array(left)), shards)

    return large_star


def _small_star(shards: int):
    """Link a product and its smaller neighbours to the smallest of them; each new edge to the shards of both ends."""

    def small_star(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        if "edge" not in tables:
            return
        names, node, other = _coded(tables["edge"])
        left, right, moved = kernel.small_star(node, other)
        if moved:
            yield packed.rows("moved", [0], [b""])
        one, another = names.take(pa.array(left)), names.take(pa.array(right))
        yield from _send(one, another, shards)
        yield from _send(another, one, shards)

    return small_star


def _open_stars(shards: int):
    """Every product whose smallest neighbour is smaller has that for a root; the others are their own."""

    def open_stars(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        if "edge" not in tables:
            return
        names, node, other = _coded(tables["edge"])
        nodes, root = kernel.smallest(node, other)
        yield from _roots(names.take(pa.array(nodes)), names.take(pa.array(root)), shards)

    return open_stars


def _send(node: pa.Array, other: pa.Array, shards: int) -> Iterator[pa.RecordBatch]:
    """Edges (node, other) to the shard of `node`."""
    rows = strings(pa.table({"node": node, "other": other}))
    for start in range(0, rows.num_rows, packed.ROWS):
        part = rows.slice(start, packed.ROWS)
        yield from packed.pack("edge", part, hash_ids(part["node"]), shards)


def _roots(nodes: pa.Array, found: pa.Array, shards: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(nodes), packed.ROWS):
        part = strings(
            pa.table({"product_id": nodes[start : start + packed.ROWS], "root": found[start : start + packed.ROWS]})
        )
        yield from packed.pack("root", part, hash_ids(part["product_id"]), shards)


def _coded(edges: pa.Table) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """(sorted distinct ids, the places of the first column's, the places of the second's)."""
    one, other = edges.columns
    both = pa.chunked_array([*one.chunks, *other.chunks], pa.string())
    coded = both.cast(pa.large_string()).combine_chunks().dictionary_encode()  # may pass the 2 GB of `string`
    order = pc.sort_indices(coded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    codes = rank[coded.indices.to_numpy()]
    return coded.dictionary.take(pa.array(order)), codes[: edges.num_rows], codes[edges.num_rows :]


def _union(edges: pa.Table) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """(sorted product ids, the place of the smallest id of each one's component, which edges span it)."""
    names, left, right = _coded(edges)
    label, kept = kernel.union(len(names), left, right)
    return names, label, kept
