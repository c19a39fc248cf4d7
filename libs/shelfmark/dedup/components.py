"""Connected components of edges between products.

Each partition first keeps a spanning forest of its edges: at most one edge less than it has products. Then

- one task unites the forests: it holds every product that has any edge, about 200 bytes each, 2 GB for ten million
  products with a look-alike;
- of more than `ONE_TASK` products they are contracted in rounds over all shards, each of which holds the edges of its own
  products, the largest component's all at its smallest one (Kiveris et al. 2014, Connected components in MapReduce and
  beyond: large-star and small-star).

Nothing passes through the driver, and both give the same: for every product the smallest one of its component.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shelfmark.dedup import kernel, packed
from shelfmark.errors import ShelfmarkError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ONE_TASK = 20_000_000
"""Products whose edges one task may unite: 4 GB where each has a look-alike."""

ROUNDS = 50
"""Rounds grow with the logarithm of the longest path: 21 for a path of a million products, in order."""


def roots(edges: DataFrame, products: int, shards: int, flag: str | None = None) -> DataFrame:
    """Packed rows of kind "root" (product_id, root), sharded by product_id, of every product with an edge.

    `edges` are (left, right), in any order and repeated or not, between at most `products` products. `flag` names a
    boolean column of theirs: rows of the kind of that name (product_id) tell which products have an edge where it is true.
    """
    columns, through = ["left", "right", *([flag] if flag else [])], (flag,) if flag else ()
    forests = edges.select(*columns).mapInArrow(_forest(shards, flag), packed.SCHEMA)
    if products <= ONE_TASK:
        return packed.step(forests, _unite(shards), 1, through=through)
    forests = forests.localCheckpoint()
    ends = forests.where("kind = 'edge'").mapInArrow(_both_ends(shards), packed.SCHEMA)
    stars = packed.step(star_rounds(ends, shards), _open_stars(shards), shards)
    return stars.union(forests.where("kind <> 'edge'"))


def star_rounds(ends: DataFrame, shards: int) -> DataFrame:
    """Contract edges until each is one of a star: from the smallest product of a component to another of its.

    `ends` and the result are packed rows of kind "edge" (node, other), each edge given from both of its ends. Raises
    `ShelfmarkError` if that takes more than `ROUNDS` rounds.
    """
    for _ in range(ROUNDS):
        large = packed.step(ends, _contract(shards, large=True), shards)
        # Kept on the executors: without, every round would do those before it again.
        small = packed.step(large, _contract(shards, large=False), shards, through=("moved",)).localCheckpoint()
        ends = small.where("kind = 'edge'")
        if small.where("kind = 'moved'").isEmpty():
            return ends
    raise ShelfmarkError(
        f"connected components of the look-alikes are not found in {ROUNDS} rounds: their chains are longer than any that "
        "were measured; raise dedupe.similarity, or look for a value that links unlike products in a chain"
    )


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
    """Rows of kind "edge" (left, right), all for one shard, and of the kind `flag`."""

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
        for start in range(0, held.num_rows if held is not None else 0, packed.ROWS):
            part = held.slice(start, packed.ROWS)
            yield from packed.pack("edge", part, np.zeros(part.num_rows, np.uint64), 1)

    return forest


def _both_ends(shards: int):
    def both_ends(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for one in batch.column("blob"):
                rows = packed.unpack([one.as_buffer()])
                yield from _send(rows["left"], rows["right"], shards)
                yield from _send(rows["right"], rows["left"], shards)

    return both_ends


def _unite(shards: int):
    def unite(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        nodes, label, _ = _union(tables["edge"])
        yield from _roots(nodes, nodes.take(pa.array(label)), shards)

    return unite


def _contract(shards: int, large: bool):
    """One step of a round: `kernel.star`, and a row of kind "moved" where it made an edge that was not there.

    A small star needs an edge at its larger end only, a large one at both.
    """

    def contract(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        names, node, other = _coded(tables["edge"])
        smallest, linked, moved = kernel.star(node, other, large)
        if moved:
            yield packed.rows("moved", [0], [b""])
        smallest, linked = names.take(pa.array(smallest)), names.take(pa.array(linked))
        yield from _send(linked, smallest, shards)
        if not large:
            yield from _send(smallest, linked, shards)

    return contract


def _open_stars(shards: int):
    """Every product's root is the smallest of it and its neighbours."""

    def open_stars(tables: packed.Tables) -> Iterator[pa.RecordBatch]:
        names, node, other = _coded(tables["edge"])
        nodes, root = kernel.smallest(node, other)
        yield from _roots(names.take(pa.array(nodes)), names.take(pa.array(root)), shards)

    return open_stars


def _send(node: pa.Array, other: pa.Array, shards: int) -> Iterator[pa.RecordBatch]:
    """Edges (node, other) to the shard of `node`."""
    yield from _rows("edge", {"node": node, "other": other}, shards)


def _roots(nodes: pa.Array, found: pa.Array, shards: int) -> Iterator[pa.RecordBatch]:
    yield from _rows("root", {"product_id": nodes, "root": found}, shards)


def _rows(kind: str, columns: dict[str, pa.Array], shards: int) -> Iterator[pa.RecordBatch]:
    """Packed rows of columns of ids, sharded by the first one; cast in slices, for all may pass the 2 GB of `string`."""
    table = pa.table(columns)
    for start in range(0, table.num_rows, packed.ROWS):
        part = strings(table.slice(start, packed.ROWS))
        yield from packed.pack(kind, part, hash_ids(part.column(0)), shards)


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
