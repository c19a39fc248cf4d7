"""Counting of measured predictions by groups of rows: NumPy and Arrow, no Spark.

A group is a value of a slice: language `en`, brand `Bosch`. A row lies in one group of every slice. What is counted of
it becomes cells (group, block, kind, key, n): a few numbers for each group, block of leak groups and category, however
many rows there are. Cells of parts of a table add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shelfmark.metrics import bootstrap, curves, kernel, tree

BLOCKS = bootstrap.BLOCKS

CLASS, NODE, SUM = 0, 3, 6
"""Kinds of cells: CLASS + 0, 1, 2 count rows whose truth is the category `key`, rows predicted as it, rows where both
hold; NODE + 0, 1, 2 the same for it or anything below it; SUM holds the count `SUMS[key]`."""

RANKS = (1, 3, 5)
"""Of recall@k: the truth is among the k likeliest categories."""

LABELS = ("labels", "labels_said", "labels_both")
"""Categories a product is listed in, leaves said with a confidence of a half or more, and those that are both."""

SUMS = (
    "rows",
    "hits",  # the best leaf is the truth
    "hits_any",  # or one of the categories the product is listed in
    "accepted",
    "accepted_hits",
    "decided",  # accepted or rolled up
    "decided_hits",  # the category decided on is the truth or above it
    *(f"at_{k}" for k in RANKS),
    "errors",  # the best leaf is another than the truth
    "edges",  # in the tree between the two, of all errors
    "squares",  # (confidence - right)^2 in millionths
    *LABELS,
    *(f"bin_{what}_{at:02d}" for what in ("rows", "hits", "confidence") for at in range(kernel.BINS)),
    *(f"step_{what}_{at:02d}" for what in ("rows", "hits") for at in range(curves.STEPS)),
)
"""Sums of a group and block. Bins are those of the calibration error, with confidences in millionths; steps those of the
accuracy-coverage curve."""

PLACE = {name: at for at, name in enumerate(SUMS)}

CELL = pa.schema([(name, pa.int64()) for name in ("group", "block", "kind", "key", "n")])

CHUNK = 100_000  # rows counted at once: enough for NumPy, and some 20 MB


@dataclass(frozen=True)
class Groups:
    """The groups that are counted.

    `names`: (slice, value) of each group by its number; `of`: slice -> value as the rows have it -> number, with None
    for all values that are not named. Several values may be one group. `treed`: slices that nodes of the tree are
    counted for; `curved`: those with an accuracy-coverage curve.
    """

    names: list[tuple[str, str]]
    of: Mapping[str, Mapping[str | None, int]]
    treed: frozenset[str] = frozenset()
    curved: frozenset[str] = frozenset()


def count(batches: Iterable[pa.RecordBatch], groups: Groups, taxonomy: tree.Tree) -> Iterator[pa.RecordBatch]:
    """Cells of measured predictions, as batches of `CELL`.

    Columns taken: truth (never null), predicted (best leaf, may be null), any_hit (boolean: it is a listed category), `LABELS`,
    confidence (in it, 0 to 1), decision, decided (category decided on), rank (of the truth among the likeliest, from 1; 0 or
    null: it is not among them), block, and one text column for each slice.
    """
    for chunk in _chunks(batches):
        yield _count(chunk, groups, taxonomy)


def _chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows:
            held.append(batch)
        if sum(one.num_rows for one in held) >= CHUNK:
            yield pa.Table.from_batches(held).combine_chunks()
            held = []
    if held:
        yield pa.Table.from_batches(held).combine_chunks()


def _count(rows: pa.Table, groups: Groups, taxonomy: tree.Tree) -> pa.RecordBatch:
    column = {name: rows.column(name).combine_chunks() for name in rows.column_names}
    categories: dict[str, int] = {}
    truth, said, decided = (kernel.codes(column[name], categories) for name in ("truth", "predicted", "decided"))
    key = np.array([taxonomy.key(category) for category in categories], dtype=np.int64)
    paths = taxonomy.paths(key)
    paths = np.concatenate([paths, np.full((1, paths.shape[1]), -1)])  # the last row is of code -1: no prediction
    named, hits = said >= 0, said == truth
    above = (decided >= 0) & (paths[truth] == key[decided][:, None]).any(1)
    everywhere = _sums(column, paths[truth], paths[said], named, hits, above)
    curve = _steps(column["confidence"], hits)
    block = column["block"].to_numpy(zero_copy_only=False).astype(np.int64)
    found: list[tuple[np.ndarray, ...]] = []
    for name, of in groups.of.items():
        cell, at = np.unique(_groups(column[name], of) * BLOCKS + block, return_inverse=True)

        def by_key(kind: int, mine: np.ndarray, keys: np.ndarray, cell=cell, at=at) -> None:
            """Rows `mine` (a mask) count for their `keys`."""
            unique, place = np.unique(keys, return_inverse=True)
            both, n = np.unique(at[mine] * len(unique) + place, return_counts=True)
            found.append((cell[both // max(len(unique), 1)], kind, unique[both % max(len(unique), 1)], n))

        for kind, mine, codes in ((0, truth >= 0, truth), (1, named, said), (2, hits, truth)):
            by_key(CLASS + kind, mine, key[codes[mine]])
        for level in range(paths.shape[1] if name in groups.treed else 0):
            true, also = paths[truth, level], paths[said, level]
            same = (true == also) & (true >= 0)
            for kind, mine, keys in ((0, true >= 0, true), (1, also >= 0, also), (2, same, true)):
                by_key(NODE + kind, mine, keys[mine])
        for first, size, place, weight in [*everywhere, *(curve if name in groups.curved else ())]:
            # Whole numbers below 2**53 are summed exactly in floats.
            summed = np.bincount(at * size + place, weight, len(cell) * size).astype(np.int64)
            (some,) = np.nonzero(summed)
            found.append((cell[some // size], SUM, PLACE[first] + some % size, summed[some]))
    return _batch(found)


def _sums(column: dict[str, pa.Array], truth, said, named, hits, above) -> list[tuple]:
    """What is summed of every row: (first of its `SUMS`, how many there are, which of them a row is in, what it adds);
    truth, said: paths in the tree; above: whether what was decided is the truth or above it."""
    rank = column["rank"].fill_null(0).to_numpy(zero_copy_only=False)
    accepted, rolled = (kernel.flags(pc.equal(column["decision"], what)) for what in ("accept", "roll_up"))
    wrong = named & ~hits
    sure = _confidence(column["confidence"])
    bins = np.minimum((sure * kernel.BINS).astype(int), kernel.BINS - 1)
    flat = {
        "rows": None,
        "hits": hits,
        "hits_any": hits | kernel.flags(column["any_hit"]),
        "accepted": accepted,
        "accepted_hits": accepted & hits,
        "decided": accepted | rolled,
        "decided_hits": (accepted | rolled) & above,
        **{f"at_{k}": (rank >= 1) & (rank <= k) for k in RANKS},
        "errors": wrong,
        "edges": np.where(wrong, tree.edges(truth, said), 0),
        "squares": np.round((sure - hits) ** 2 * kernel.MILLION),
        **{name: column[name].fill_null(0).to_numpy(zero_copy_only=False) for name in LABELS},
    }
    binned = {"bin_rows_00": None, "bin_hits_00": hits, "bin_confidence_00": np.round(sure * kernel.MILLION)}
    return [(name, 1, 0, weight) for name, weight in flat.items()] + [
        (name, kernel.BINS, bins, weight) for name, weight in binned.items()
    ]


def _steps(confidence: pa.Array, hits: np.ndarray) -> list[tuple]:
    step = curves.step(_confidence(confidence))
    return [("step_rows_00", curves.STEPS, step, None), ("step_hits_00", curves.STEPS, step, hits)]


def _confidence(column: pa.Array) -> np.ndarray:
    return np.clip(column.fill_null(0.0).to_numpy(zero_copy_only=False), 0, 1)


def _groups(column: pa.Array, of: Mapping[str | None, int]) -> np.ndarray:
    """The number of the group each row lies in."""
    encoded = column.dictionary_encode()
    lookup = [of.get(value, of[None]) for value in encoded.dictionary.to_pylist()]
    return np.array([*lookup, of[None]], dtype=np.int64)[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]


def _batch(found: list[tuple]) -> pa.RecordBatch:
    cell, kind, key, n = (
        np.concatenate([np.broadcast_to(one[at], len(one[0])) for one in found]).astype(np.int64) for at in range(4)
    )
    columns = (cell // BLOCKS, cell % BLOCKS, kind, key, n)
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=CELL)
