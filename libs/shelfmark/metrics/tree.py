"""A taxonomy as numbers, and how good predictions are when its tree is taken into account. NumPy only.

A category's *key* is its place among the sorted ids of the taxonomy. An id the taxonomy does not know has a key beyond
all of them, made of a hash of the id, and counts as a root without children: the same on every machine.

Counts come twice, by `classes` (rows whose truth or prediction is exactly the category) and by `nodes` (it or anything
below it). All formulas follow from the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from shelfmark.metrics import kernel

UNKNOWN = 1 << 60
"""Keys from here on are of categories that the taxonomy does not know."""


@dataclass(frozen=True)
class Tree:
    """Categories of one taxonomy version: `parents` maps each id to the one above it, None for a root."""

    parents: Mapping[str, str | None]
    ids: list[str] = field(init=False, repr=False)
    index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", sorted(self.parents))
        object.__setattr__(self, "index", {category: at for at, category in enumerate(self.ids)})

    def key(self, category: str) -> int:
        """Its key; from `UNKNOWN` on where the taxonomy does not know it."""
        known = self.index.get(category)
        if known is not None:
            return known
        return UNKNOWN | int.from_bytes(blake2b(category.encode(), digest_size=7).digest(), "big")

    def path(self, key: int) -> list[int]:
        """Keys from the root down to it. A cycle in a broken taxonomy ends where it would begin again."""
        if key >= UNKNOWN:
            return [key]
        above, category = [key], self.parents[self.ids[key]]
        while category in self.index and self.index[category] not in above:
            above.append(self.index[category])
            category = self.parents[category]
        return above[::-1]

    def depths(self, keys: Iterable[int]) -> np.ndarray:
        """Levels from the root down to each, int64[n]: 1 for a root."""
        return np.array([len(self.path(int(key))) for key in keys], dtype=np.int64)

    def paths(self, keys: Iterable[int]) -> np.ndarray:
        """`path` of each as a row of int64[n, levels], filled up with -1."""
        found = [self.path(int(key)) for key in keys]
        out = np.full((len(found), max(map(len, found), default=0)), -1, dtype=np.int64)
        for at, path in enumerate(found):
            out[at, : len(path)] = path
        return out


def shared(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Levels two paths have in common, int64[n]; truth, said: rows of `Tree.paths`, of one width."""
    return ((truth == said) & (truth >= 0)).sum(1)


def edges(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Edges between two categories through the lowest they have in common, int64[n]; rows of `Tree.paths`.

    Roots hang together in one root above them: between categories of two trees there is a way through it.
    """
    return (truth >= 0).sum(1) + (said >= 0).sum(1) - 2 * shared(truth, said)


def at_level(
    level: int, classes: np.ndarray, class_depth: np.ndarray, nodes: np.ndarray, node_depth: np.ndarray
) -> np.ndarray:
    """Counts of the classes that truth and prediction fall into when both are cut to `level`, [..., 3, categories].

    classes, nodes: counts (true, said, both) by category, [..., 3, n]; depths: int[n]. A category at the level stands
    for all below it; one above the level stands for itself.
    """
    return np.concatenate([nodes[..., node_depth == level], classes[..., class_depth < level]], axis=-1)


def hierarchical(nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hierarchical precision, recall and F1 of counts by node, [..., 3, nodes].

    Truth and prediction are each taken with all categories above them; precision is the share of predicted categories
    that are true, recall that of true ones that are predicted, over all rows together. Kiritchenko, Matwin and Famili
    2005, "Functional Annotation of Genes Using Hierarchical Text Categorization". The root above all roots, which every
    row shares, is left out, as there.
    """
    true, said, both = (nodes[..., at, :].sum(-1) for at in range(3))
    return kernel.precision_recall_f1(true, said, both)


def thirds(support: Mapping[int, int], ratio: float = 5.0) -> dict[int, int]:
    """Category key -> 0 (head), 1 (middle) or 2 (tail): thirds of the categories by their rows, the most first.

    Empty where there is no tail to speak of: fewer than nine categories, or the head's mean rows a category are less than
    `ratio` times the tail's.
    """
    ordered = sorted(support, key=lambda key: (-support[key], key))
    parts = np.array_split(np.array(ordered, dtype=np.int64), 3)
    if len(ordered) < 9:
        return {}
    head, tail = (np.mean([support[int(key)] for key in parts[at]]) for at in (0, 2))
    if head < ratio * tail:
        return {}
    return {int(key): at for at, part in enumerate(parts) for key in part}
