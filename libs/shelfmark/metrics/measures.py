"""Figures of one group of rows from its cells (`cells.CELL`): NumPy, no Spark.

Every figure is made of the counts of the group's blocks, and made again of weighted blocks: its 95 % interval, see
`bootstrap`. Rows are told apart by `metric`; those of accuracy-coverage curves, `CURVE`, carry a threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from shelfmark.metrics import bootstrap, cells, curves, kernel, tree

DRAWS = 500
LEAF = "leaf"
CURVE = "curve"
THIRDS = ("head", "middle", "tail")


class Figure(NamedTuple):
    """`value`, `low` and `high` are None below minimum support; `low` and `high` where there is no interval."""

    level: str
    metric: str
    value: float | None
    support: int
    low: float | None = None
    high: float | None = None
    threshold: float | None = None


class Counts(NamedTuple):
    """Counts of a group, for the data itself (draw 0) and for each draw of weighted blocks."""

    sums: np.ndarray
    """float64[draws + 1, len(cells.SUMS)]"""
    classes: np.ndarray
    """float64[draws + 1, 3, categories]: true, said and both, of exactly the category"""
    class_keys: np.ndarray
    nodes: np.ndarray
    """The same of the category or anything below it; no nodes where they were not counted."""
    node_keys: np.ndarray
    enough: bool
    """Whether enough blocks have rows for an interval."""

    def of(self, name: str) -> np.ndarray:
        """Of each draw, float64[draws + 1]."""
        return self.sums[:, cells.PLACE[name]]

    def run(self, first: str, size: int) -> np.ndarray:
        """Sums that lie side by side, float64[draws + 1, size]."""
        return self.sums[:, cells.PLACE[first] : cells.PLACE[first] + size]


def counts(block: np.ndarray, kind: np.ndarray, key: np.ndarray, n: np.ndarray, draws: int = DRAWS) -> Counts:
    """Cells of one group as `Counts`: columns block, kind, key and n of `cells.CELL`."""
    sums = np.zeros((cells.BLOCKS, len(cells.SUMS)))
    mine = kind == cells.SUM
    np.add.at(sums, (block[mine], key[mine]), n[mine])
    enough = bool((sums[:, cells.PLACE["rows"]] > 0).sum() >= bootstrap.ENOUGH_BLOCKS)
    draws = draws if enough else 0
    found = []
    for first in (cells.CLASS, cells.NODE):
        mine = (kind >= first) & (kind < first + 3)
        keys, place = np.unique(key[mine], return_inverse=True)
        dense = np.zeros((cells.BLOCKS, 3, len(keys)))
        np.add.at(dense, (block[mine], kind[mine] - first, place), n[mine])
        found += [bootstrap.of_blocks(dense, draws), keys]
    return Counts(bootstrap.of_blocks(sums, draws), *found, enough)


def figures(
    counted: Counts, taxonomy: tree.Tree, thirds: Mapping[int, int], min_support: int, curved: bool
) -> Iterator[Figure]:
    """All figures of a group: of its rows; of its tree, where nodes were counted; its curve, where it is `curved`.

    thirds: category key -> 0, 1 or 2, as `tree.thirds`; a category that is not in it was never trained on: tail. Empty:
    there is no tail. Figures with support below `min_support` are None.
    """
    total = int(counted.of("rows")[0])
    if total == 0:
        return
    yield from (_shown(figure, min_support) for figure in _of_rows(counted, total))
    if len(counted.node_keys):
        yield from (_shown(figure, min_support) for figure in _of_tree(counted, taxonomy, total))
        yield from (_shown(figure, min_support) for figure in _of_thirds(counted, thirds))
    if curved:
        yield from (_shown(figure, min_support) for figure in _of_confidence(counted, total))


def _of_rows(counted: Counts, total: int) -> Iterator[Figure]:
    rows, accepted, decided = (counted.of(name) for name in ("rows", "accepted", "decided"))
    for metric, part, whole in (
        ("accuracy", "hits", rows),
        ("accuracy_any", "hits_any", rows),
        ("accuracy_accepted", "accepted_hits", accepted),
        ("accuracy_decided", "decided_hits", decided),
        *((f"recall_at_{k}", f"at_{k}", rows) for k in cells.RANKS),
        ("coverage", "accepted", rows),
    ):
        yield _proportion(counted, LEAF, metric, counted.of(part), whole)
    yield _proportion(counted, LEAF, "roll_up_share", decided - accepted, rows)
    yield _proportion(counted, LEAF, "review_share", rows - decided, rows)
    yield _drawn(counted, LEAF, "macro_f1", _macro(counted.classes), total)
    yield _drawn(counted, LEAF, "weighted_f1", bootstrap.weighted_f1(counted.classes), total)
    labels, said, both = (counted.of(name) for name in cells.LABELS)
    yield _drawn(counted, LEAF, "micro_f1_listed", kernel.share(2 * both, labels + said), total)
    yield Figure(LEAF, "categories", float((counted.classes[0, 0] > 0).sum()), total)
    yield _drawn(counted, LEAF, "brier", kernel.share(counted.of("squares") / kernel.MILLION, rows), total)
    bins = [counted.run(f"bin_{what}_00", kernel.BINS)[0] for what in ("rows", "hits", "confidence")]
    bins[2] = bins[2] / kernel.MILLION
    yield Figure(LEAF, "ece", kernel.calibration_error(*bins), total)
    yield Figure(LEAF, "ece_by_chance", kernel.calibration_error_by_chance(bins[0], bins[2]), total)


def _of_tree(counted: Counts, taxonomy: tree.Tree, total: int) -> Iterator[Figure]:
    class_depth, node_depth = taxonomy.depths(counted.class_keys), taxonomy.depths(counted.node_keys)
    there = counted.classes[0, 0] > 0
    for level in range(1, int(class_depth[there].max()) + 1):
        cut = tree.at_level(level, counted.classes, class_depth, counted.nodes, node_depth)
        right = cut[:, 2].sum(-1)
        yield _proportion(counted, str(level), "accuracy", right, counted.of("rows"))
        yield _drawn(counted, str(level), "macro_f1", _macro(cut), total)
        yield Figure(str(level), "categories", float((cut[0, 0] > 0).sum()), total)
    for name, drawn in zip(("precision", "recall", "f1"), tree.hierarchical(counted.nodes)):
        yield _drawn(counted, LEAF, f"hierarchical_{name}", drawn, total)
    errors = counted.of("errors")
    distance = kernel.share(counted.of("edges"), errors)
    yield _drawn(counted, LEAF, "tree_distance", distance, int(errors[0]), most=None)


def _of_thirds(counted: Counts, thirds: Mapping[int, int]) -> Iterator[Figure]:
    if not thirds:
        return
    third = np.array([thirds.get(int(key), 2) for key in counted.class_keys])
    for at, name in enumerate(THIRDS):
        mine = counted.classes[:, :, third == at]
        yield _drawn(counted, LEAF, f"macro_f1_{name}", _macro(mine), int(mine[0, 0].sum()))
        yield Figure(LEAF, f"categories_{name}", float((mine[0, 0] > 0).sum()), int(mine[0, 0].sum()))


def _of_confidence(counted: Counts, total: int) -> Iterator[Figure]:
    rows, hits = (counted.run(f"step_{what}_00", curves.STEPS) for what in ("rows", "hits"))
    yield _drawn(counted, LEAF, "aurc", curves.aurc(rows, hits), total)
    perfect = float(curves.perfect_aurc(rows[0].sum(), hits[0].sum()))
    yield Figure(LEAF, "aurc_perfect", perfect, total)
    surest, right = curves.accepted(rows), curves.accepted(hits)
    for step in np.flatnonzero(rows[0]):
        point = _proportion(counted, LEAF, CURVE, right[:, step], surest[:, step])
        yield point._replace(threshold=float(curves.EDGES[step]))


def _macro(counted: np.ndarray) -> np.ndarray:
    """Macro-F1 of each draw over the categories with a true row in the data."""
    return bootstrap.macro_f1(counted, np.flatnonzero(counted[0, 0] > 0))


def _proportion(counted: Counts, level: str, metric: str, part: np.ndarray, whole: np.ndarray) -> Figure:
    """A share of rows. Its interval is the wider of the bootstrap's, which knows that rows of a leak group are alike,
    and Wilson's, which does not end at 1 because all of a few rows were right."""
    figure = _drawn(counted, level, metric, kernel.share(part, whole), int(whole[0]))
    if figure.low is None:
        return figure
    low, high = kernel.wilson(part[0], whole[0])
    return figure._replace(low=float(min(figure.low, low)), high=float(max(figure.high, high)))


def _drawn(counted: Counts, level: str, metric: str, drawn: np.ndarray, support: int, most: float | None = 1) -> Figure:
    """A figure and its interval from its values in all draws, within 0 and `most`."""
    if support == 0 or not counted.enough:
        return Figure(level, metric, float(drawn[0]), support)
    value, low, high = bootstrap.interval(np.nan_to_num(drawn))
    return Figure(level, metric, value, support, float(max(low, 0.0)), float(np.clip(high, 0, most)))


def _shown(figure: Figure, min_support: int) -> Figure:
    """Below minimum support only the support is shown; of no rows at all nothing is."""
    if figure.support >= max(min_support, 1):
        return figure
    return figure._replace(value=None, low=None, high=None)
