"""Vectors of products and categories: what is like what, and candidates among thousands of categories. No Spark, no torch.

A vector joins the features of the towers that a product has something for. Features of a modality are brought to `WIDTH`
numbers in which products of one category lie as close as can be: principal components first, then whitening by the
covariance within categories (as linear discriminant analysis does; Fisher 1936), shrunk, so that few examples will do. Each
modality has unit length, is weighted by how well it alone finds the right category, and the whole has unit length again:
similarity is a cosine over the modalities that both have, and a missing one is zeros.

A *prototype* is the mean direction of a category's vectors (Snell, Swersky, Zemel 2017, "Prototypical Networks for Few-shot
Learning"). It needs a handful of examples and no training: a new category is one more row. Two-stage prediction takes the
nearest prototypes as candidates and lets the head choose among them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

WIDTH = 64
SHRINK = 0.1  # of the covariance within categories, towards the same variance in all directions
EXACT = (
    8_192  # vectors that are compared with all: 10,000 of 192 numbers take 1 ms a query, by BLAS and by usearch alike
)
EXPANSION = 256  # candidates that an index keeps while it searches: more find more, and take longer
STEP = 4_096  # queries at a time
FILE = "space.npz"

Features = dict[str, np.ndarray]


class Space(NamedTuple):
    """What makes vectors of features, by modality: middle float32[features], turn float32[features, `WIDTH` at most] and
    weight, the share of the squared length."""

    middle: dict[str, np.ndarray]
    turn: dict[str, np.ndarray]
    weight: dict[str, float]

    @property
    def width(self) -> int:
        return sum(turn.shape[1] for turn in self.turn.values())


def learn(features: Features, labels: np.ndarray, width: int = WIDTH) -> Space:
    """A space from features float32[rows, ...] of each modality, rows of NaN where it is missing, and category numbers
    (-1: unknown, of use for the components alone)."""
    middle, turn, weight = {}, {}, {}
    for name, values in features.items():
        there = ~np.isnan(values).any(1)
        some, own = values[there].astype(np.float64), labels[there]
        if len(some) < 2:
            continue
        middle[name] = some.mean(0).astype(np.float32)
        some = some - middle[name]
        spread, axes = np.linalg.eigh(some.T @ some / len(some))
        axes = axes[:, spread > 1e-9 * max(spread.max(), 1e-30)][:, ::-1][:, :width]
        some = some @ axes
        found = np.flatnonzero(own >= 0)
        numbers, place = np.unique(own[found], return_inverse=True)
        within = some
        if len(numbers) and len(found) > len(numbers):
            means = np.zeros((len(numbers), some.shape[1]))
            np.add.at(means, place, some[found])
            within = some[found] - (means / np.bincount(place)[:, None])[place]
        covariance = within.T @ within / max(len(within), 1)
        size = np.trace(covariance) / len(covariance)
        covariance = (1 - SHRINK) * covariance + SHRINK * max(size, 1e-12) * np.eye(len(covariance))
        values_, vectors_ = np.linalg.eigh(covariance)
        turn[name] = (axes @ (vectors_ / np.sqrt(values_)) @ vectors_.T).astype(np.float32)
        weight[name] = 1.0
    alone = Space(middle, turn, weight)
    for name in turn:  # what a modality alone knows, so that a weak one does not outvote a strong one
        weight[name] = _found(vectors(alone, {name: features[name]}), labels)
    return alone


def _found(made: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose nearest prototype, made of the other half of the rows, is their own; 0.01 at least."""
    rows = np.flatnonzero((labels >= 0) & (made != 0).any(1))
    if len(rows) < 4 or len(np.unique(labels[rows])) < 2:
        return 1.0
    halves, right, n = (rows[::2], rows[1::2]), 0, 0
    for some, others in (halves, halves[::-1]):
        centres = prototypes(made[some], labels[some], int(labels.max()) + 1)
        said = nearest(made[others], centres, 1)[0][:, 0]
        right, n = right + (said == labels[others]).sum(), n + len(others)
    return float(max(right / n, 0.01))


def vectors(space: Space, features: Features) -> np.ndarray:
    """Vectors of unit length, float32[rows, space.width]; zeros of a row without any modality."""
    n = len(next(iter(features.values())))
    out, at = np.zeros((n, space.width), np.float32), 0
    for name, turn in space.turn.items():
        if name in features:
            made = np.nan_to_num((features[name] - space.middle[name]) @ turn)
            out[:, at : at + turn.shape[1]] = np.sqrt(space.weight[name]) * _unit(made)
        at += turn.shape[1]
    return _unit(out)


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-12).astype(np.float32)


def prototypes(made: np.ndarray, labels: np.ndarray, categories: int) -> np.ndarray:
    """The mean direction of each category's vectors, float32[categories, width]; zeros of a category without examples."""
    out = np.zeros((categories, made.shape[1]), np.float32)
    known = labels >= 0
    np.add.at(out, labels[known], made[known])
    return _unit(out)


def nearest(queries: np.ndarray, among: np.ndarray, k: int, exact: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar rows of `among` for each query, most similar first: (numbers int64, cosines float32), [queries, k].

    Up to `EXACT` rows all are compared; above, an index (HNSW: Malkov & Yashunin 2018, "Efficient and Robust Approximate Nearest
    Neighbor Search") is built, which misses some. exact: all are compared, for few queries at a time.
    """
    k = min(k, len(among))
    if len(among) > EXACT and not exact:
        from usearch.index import Index

        index = Index(
            ndim=among.shape[1], metric="ip", dtype="f32", expansion_add=EXPANSION, expansion_search=EXPANSION
        )
        index.add(np.arange(len(among)), among, threads=1)
        found = index.search(queries, k, threads=1)
        numbers = np.asarray(found.keys).reshape(len(queries), k).astype(np.int64)
        return numbers, (1 - np.asarray(found.distances).reshape(len(queries), k)).astype(np.float32)
    numbers, cosines = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    for at in range(0, len(queries), STEP):
        alike = queries[at : at + STEP] @ among.T
        some = (
            np.argpartition(-alike, k - 1, axis=1)[:, :k] if k < len(among) else np.tile(np.arange(k), (len(alike), 1))
        )
        order = np.argsort(-np.take_along_axis(alike, some, 1), axis=1, kind="stable")
        numbers[at : at + STEP] = np.take_along_axis(some, order, 1)
        cosines[at : at + STEP] = np.take_along_axis(alike, numbers[at : at + STEP], 1)
    return numbers, cosines


def recall(numbers: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose category is among their candidates."""
    return float((numbers == labels[:, None]).any(1).mean())


def among(chances: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Two-stage chances: the head's, of the candidates `numbers` of each row alone; float32, 0 elsewhere. They are not shared out
    anew: a row whose likeliest category is no candidate is as doubtful as the head finds the others."""
    out = np.zeros_like(chances)
    np.put_along_axis(out, numbers, np.maximum(np.take_along_axis(chances, numbers, 1), 1e-12), 1)
    return out


def save(space: Space, centres: np.ndarray, folder: Path | str) -> None:
    """Write space.npz: the space, and the prototypes of the categories by number."""
    arrays = {f"middle/{name}": values for name, values in space.middle.items()}
    arrays |= {f"turn/{name}": values for name, values in space.turn.items()}
    names = np.array(list(space.turn))
    np.savez(
        Path(folder) / FILE,
        names=names,
        weights=np.array([space.weight[n] for n in names]),
        prototypes=centres,
        **arrays,
    )


def load(folder: Path | str) -> tuple[Space, np.ndarray]:
    """(space, prototypes) of a model's folder."""
    with np.load(Path(folder) / FILE) as file:
        names = [str(name) for name in file["names"]]
        middle, turn = ({name: file[f"{kind}/{name}"] for name in names} for kind in ("middle", "turn"))
        return Space(middle, turn, dict(zip(names, file["weights"].tolist()))), file["prototypes"]
