"""How probable it is that two offers are one product: learnt from labelled pairs, kept as plain JSON, applied in numba.

The model is boosted trees (scikit-learn's HistGradientBoosting): features that are missing need no guess, and evidence
counts in combination (a low price ratio means something where the codes agree, nothing where they differ), which a
weighted sum cannot say. scikit-learn is needed for training only. What is saved are the trees as arrays of numbers in
JSON, so that loading a model runs no code, unlike a pickle; every bound of them is checked; and training compares the
saved form with scikit-learn's own scores before it hands it out.

Scores are probabilities: Platt's scaling (a logistic regression on the score) fitted on out-of-fold scores. Two
thresholds, chosen on the same scores: from `merge` on, the pairs are right with a precision that was asked for; from
`propose` on, a share of the true pairs that was asked for is found. Folds are drawn by cluster: a pair is scored by a
model that saw neither of its products.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from shelfmark.dedup import features, kernel
from shelfmark.errors import UsageError

FORMAT = 1
"""Of the JSON file; a reader refuses another."""

FOLDS = 5
TREES = {
    "max_iter": 150,
    "max_leaf_nodes": 15,
    "learning_rate": 0.06,
    "l2_regularization": 5.0,
    "min_samples_leaf": 30,
    "max_features": 0.3,
    "early_stopping": False,
    "random_state": 0,
}
"""Small, damped trees on a third of the features each: labels are few (a thousand true pairs), features overlap."""

NEGATIVES = 100_000
"""Pairs of two products that are learnt from at the most, drawn at random and weighted up to all of them: beyond that
they cost time and change no score."""

FEWEST = 20
"""True pairs without which nothing is learnt that would hold for others."""

ARRAYS = {
    "feature": np.int16, "threshold": np.float64, "missing_left": np.bool_, "left": np.int32, "right": np.int32, "value": np.float64,
}  # fmt: skip
"""A node: goes left if its feature is at most the threshold, or missing and missing_left; left < 0 is a leaf of `value`."""


@dataclass(frozen=True)
class Model:
    """A scorer. `nodes` are `ARRAYS` of all trees, `roots` int32[trees] where each begins."""

    rarity: features.Rarity
    nodes: dict[str, np.ndarray]
    roots: np.ndarray
    base: float
    slope: float
    shift: float
    merge: float
    propose: float
    trained: dict[str, Any]

    def raw(self, x: np.ndarray) -> np.ndarray:
        """float64[n]: the sum of the trees for the features of n pairs, before calibration."""
        return _sum(np.ascontiguousarray(x, np.float32), *(self.nodes[name] for name in ARRAYS), self.roots, self.base)

    def score(self, x: np.ndarray) -> np.ndarray:
        """float64[n]: the probability that each pair is one product; `x` from `features.pairs`."""
        return _sigmoid(self.slope * self.raw(x) + self.shift)

    def decided(self, x: np.ndarray, top: int = 3) -> list[list[str]]:
        """For each pair the names of the features that moved its score most, each with + (for) or - (against).

        A feature's share is what the score changes at the nodes that ask for it: the mean of the subtree that was taken
        less the mean of the node (Saabas 2014), summed over the trees.
        """
        shares = np.zeros((len(x), len(features.NAMES)))
        _shares(np.ascontiguousarray(x, np.float32), *(self.nodes[name] for name in ARRAYS), self.roots, shares)
        order = np.argsort(-np.abs(shares), axis=1)[:, :top]
        return [
            [f"{features.NAMES[f]}{'+' if row[f] > 0 else '-'}" for f in some if row[f]]
            for row, some in zip(shares, order)
        ]


@njit(cache=True, nogil=True)
def _sum(x, feature, threshold, missing_left, left, right, value, roots, base):
    out = np.full(len(x), base)
    for i in range(len(x)):
        for t in range(len(roots)):
            node = roots[t]
            while left[node] >= 0:
                v = x[i, feature[node]]
                down = missing_left[node] if np.isnan(v) else v <= threshold[node]
                node = left[node] if down else right[node]
            out[i] += value[node]
    return out


@njit(cache=True, nogil=True)
def _shares(x, feature, threshold, missing_left, left, right, value, roots, out):
    for i in range(len(x)):
        for t in range(len(roots)):
            node = roots[t]
            while left[node] >= 0:
                v = x[i, feature[node]]
                down = missing_left[node] if np.isnan(v) else v <= threshold[node]
                following = left[node] if down else right[node]
                out[i, feature[node]] += value[following] - value[node]
                node = following


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(z, -500, 500)))


# -- training -----------------------------------------------------------------------------------------------------


def clusters(n: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """int64[n]: the cluster of each offer, the connected component of the true pairs (left, right)."""
    if not len(left):
        return np.arange(n)
    return kernel.union(n, np.asarray(left, np.int64), np.asarray(right, np.int64))[0]


def fold_of(cluster: np.ndarray, folds: int = FOLDS, seed: int = 0) -> np.ndarray:
    """int64[n]: a fold for each offer, whole clusters together, drawn at random."""
    _, place = np.unique(cluster, return_inverse=True)
    return np.random.default_rng(seed).integers(0, folds, place.max() + 1)[place]


def out_of_fold(x: np.ndarray, y: np.ndarray, left: np.ndarray, right: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """float64[n]: the raw score of each pair by a model that saw neither of its two offers, nor any of their clusters.

    A pair across folds a and b needs a model without a and b, so that k folds take k (k + 1) / 2 models.
    """
    one, other = fold[left], fold[right]
    scores = np.zeros(len(y))
    for a, b in combinations_with_replacement(range(int(fold.max()) + 1), 2):
        held = ((one == a) & (other == b)) | ((one == b) & (other == a))
        if held.any():
            seen = ~np.isin(one, (a, b)) & ~np.isin(other, (a, b))
            scores[held] = _fitted(x[seen], y[seen]).raw(x[held])
    return scores


def fit(
    x: np.ndarray,
    y: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    rarity: features.Rarity,
    cluster: np.ndarray,
    precision: float = 0.97,
    recall: float = 0.95,
    true_pairs: int | None = None,
) -> Model:
    """A calibrated model with its two thresholds.

    `x` are the features of candidate pairs of offers (left, right), `y` whether each is one product, `cluster` the
    product of each offer (`clusters`). merge is the lowest score from which on pairs have at least `precision`; propose
    the highest with at least `recall` of the true candidate pairs above it, and never above merge. `true_pairs` are all
    that there are, those that blocking lost too; for the figures in `trained`.
    Raises `UsageError` where there is too little to learn from.
    """
    y = np.asarray(y, np.bool_)
    if y.sum() < FEWEST or (~y).sum() < FEWEST:
        raise UsageError(
            f"{int(y.sum())} candidate pairs are one product and {int((~y).sum())} are not; at least {FEWEST} of both are "
            "needed to learn from: give more labelled pairs, or a product file with more of the offers they name"
        )
    raw = out_of_fold(x, y, left, right, fold_of(cluster))
    slope, shift = _platt(raw, y)
    scores = _sigmoid(slope * raw + shift)
    merge = _lowest(scores, y, precision)
    propose = min(_highest(scores, y, recall), merge)
    total = true_pairs or int(y.sum())
    above = scores >= merge
    trained = {
        "pairs": len(y),
        "true_pairs": total,
        "true_pairs_that_are_candidates": int(y.sum()),
        "precision_asked": precision,
        "recall_asked": recall,
        "precision_at_merge": float(y[above].mean()) if above.any() else None,
        "recall_at_merge": float(y[above].sum() / total),
        "recall_at_propose": float(y[scores >= propose].sum() / total),
        "precision_at_propose": float(y[scores >= propose].mean()),
        "folds": FOLDS,
    }
    return replace(
        _fitted(x, y), rarity=rarity, slope=slope, shift=shift, merge=merge, propose=propose, trained=trained
    )


def _fitted(x: np.ndarray, y: np.ndarray) -> Model:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    random = np.random.default_rng(0)
    true, false = np.flatnonzero(y), np.flatnonzero(~y)
    weight = max(1.0, len(false) / NEGATIVES)
    if weight > 1:
        false = np.sort(random.choice(false, NEGATIVES, replace=False))
    rows = np.concatenate([true, false])
    part, label = x[rows], y[rows]
    # A column that nobody states cannot be cut into bins; as a constant no tree asks for it.
    part = np.where(np.isnan(part).all(0), np.float32(0), part)
    learner = HistGradientBoostingClassifier(**TREES)
    # One thread: OpenMP's threads spin while they wait, and with another busy process beside they wait for ever (25 x).
    with threadpool_limits(1):
        learner.fit(part, label, sample_weight=np.where(label, 1.0, weight))
        sample = part[:: max(1, len(part) // 2000)]
        expected = learner.decision_function(sample)
    model = _exported(learner)
    if not np.allclose(model.raw(sample), expected, atol=1e-6):
        raise AssertionError("the trees as they are saved do not score as scikit-learn's do: its layout changed")
    return model


def _exported(learner: Any) -> Model:
    """The trees of a fitted learner as arrays; its layout is scikit-learn's own affair, so `_fitted` compares scores."""
    trees = [one[0].nodes for one in learner._predictors]
    roots = np.cumsum([0, *map(len, trees)])[:-1].astype(np.int32)
    nodes = np.concatenate(trees)
    shift = np.repeat(roots.astype(np.int64), [len(tree) for tree in trees])
    leaf = nodes["is_leaf"].astype(np.bool_)
    left, right = nodes["left"] + shift, nodes["right"] + shift
    # scikit-learn shrinks the values of leaves only; the mean of a subtree, for `Model.decided`, is made of them.
    value, count = nodes["value"].copy(), nodes["count"].astype(np.float64)
    for node in np.flatnonzero(~leaf)[::-1]:
        one, other = left[node], right[node]
        value[node] = (count[one] * value[one] + count[other] * value[other]) / (count[one] + count[other])
    arrays = {
        "feature": np.where(leaf, 0, nodes["feature_idx"]),
        "threshold": np.where(leaf, 0.0, nodes["num_threshold"]),
        "missing_left": nodes["missing_go_to_left"].astype(np.bool_) & ~leaf,
        "left": np.where(leaf, -1, left),
        "right": np.where(leaf, -1, right),
        "value": value,
    }
    return Model(
        rarity=features.Rarity(np.zeros(0, np.uint8), np.zeros(0, np.uint8)),
        nodes={name: np.ascontiguousarray(arrays[name].astype(kind)) for name, kind in ARRAYS.items()},
        roots=roots,
        base=float(np.ravel(learner._baseline_prediction)[0]),
        slope=1.0,
        shift=0.0,
        merge=1.0,
        propose=1.0,
        trained={},
    )


def _platt(raw: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and shift of Platt's scaling, by Newton's method, with his smoothed targets (Platt 1999)."""
    true, n = int(y.sum()), len(y)
    target = np.where(y, (true + 1) / (true + 2), 1 / (n - true + 2))
    design = np.stack([raw, np.ones(n)], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(50):
        p = _sigmoid(design @ weights)
        step = np.linalg.solve(design.T @ (design * (p * (1 - p))[:, None]) + 1e-6 * np.eye(2), design.T @ (p - target))
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    if weights[0] <= 0:  # scores without any order: what is probable must not become improbable
        return 1.0, 0.0
    return float(weights[0]), float(weights[1])


def _lowest(scores: np.ndarray, y: np.ndarray, precision: float) -> float:
    """The lowest score from which on the pairs have at least `precision`; above 1 where none does: nothing merges."""
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(y[order]) / np.arange(1, len(y) + 1)
    ends = np.append(scores[order][1:] != scores[order][:-1], True)  # equal scores are taken together
    good = np.flatnonzero((right >= precision) & ends)
    return float(scores[order][good[-1]]) if len(good) else 2.0


def _highest(scores: np.ndarray, y: np.ndarray, recall: float) -> float:
    true = np.sort(scores[y])[::-1]
    return float(true[min(len(true), int(np.ceil(recall * len(true)))) - 1])


def assign(scores: np.ndarray, left: np.ndarray, right: np.ndarray, seller: np.ndarray) -> np.ndarray:
    """bool[n]: the pairs that are the best of both their offers with the other's seller.

    A seller gives one key to one product (`survivors.resolve`, rule 3), so an offer has one match with each seller at
    the most. `left`, `right` are places in `seller`.
    """
    return _best(scores, left, seller[right]) & _best(scores, right, seller[left])


def grouped(scores: np.ndarray, left: np.ndarray, right: np.ndarray, seller: np.ndarray) -> np.ndarray:
    """int64[n]: the group of each of the n offers of `seller`, by its leader's place; pairs of score -inf bind nothing.

    From the surest pair on: two offers without a group make one, the first of them leads; another joins only by a pair
    with the leader, and where nobody of its seller is. So no chains: every member is one product with the leader.
    """
    group = np.arange(len(seller))
    alone = np.ones(len(seller), np.bool_)
    sellers: dict[int, set[int]] = {}
    some = np.flatnonzero(np.isfinite(scores))
    for place in some[np.lexsort((right[some], left[some], -scores[some]))].tolist():
        one, other = int(left[place]), int(right[place])
        if alone[one] and alone[other]:
            group[other] = one
            alone[one] = alone[other] = False
            sellers[one] = {int(seller[one]), int(seller[other])}
            continue
        lead, new = (one, other) if alone[other] else (other, one)
        if alone[new] and group[lead] == lead and int(seller[new]) not in sellers[lead]:
            group[new] = lead
            alone[new] = False
            sellers[lead].add(int(seller[new]))
    return group


def _best(scores: np.ndarray, offer: np.ndarray, seller: np.ndarray) -> np.ndarray:
    order = np.lexsort((-scores, seller, offer))
    first = np.ones(len(order), np.bool_)
    first[1:] = (offer[order][1:] != offer[order][:-1]) | (seller[order][1:] != seller[order][:-1])
    best = np.empty(len(order), np.bool_)
    best[order] = first
    return best


def thresholds(model: Model, merge: float | None, propose: float | None) -> tuple[float, float]:
    """(merge, propose) in force: what settings say, else the model's; raises `UsageError` where propose is above merge.

    A model of which no score was sure enough has merge above 1: its pairs are only proposed.
    """
    upper = model.merge if merge is None else merge
    lower = model.propose if propose is None else propose
    if lower > upper:
        raise UsageError(
            f"dedupe.scorer: pairs would be proposed from {lower:g} on and merged from {upper:g} on; set "
            "dedupe.scorer.propose and dedupe.scorer.merge in this order"
        )
    return upper, lower


# -- the file -----------------------------------------------------------------------------------------------------


def save(model: Model, path: Path) -> None:
    """Write a model as JSON: numbers and texts only."""
    content = {
        "format": FORMAT,
        "features": list(features.NAMES),
        "buckets": features.BUCKETS,
        "merge": model.merge,
        "propose": model.propose,
        "slope": model.slope,
        "shift": model.shift,
        "base": model.base,
        "trained": model.trained,
        "roots": model.roots.tolist(),
        "nodes": {name: model.nodes[name].tolist() for name in ARRAYS},
        "rarity": {name: _packed(getattr(model.rarity, name)) for name in ("terms", "grams")},
    }
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content))
    part.replace(path)


def load(path: Path) -> Model:
    """Read a model; raises `UsageError` (file, key, what to do) where it is not one that `save` wrote."""
    try:
        content = json.loads(Path(path).read_text())
    except OSError as error:
        raise UsageError(
            f"{path}: no scorer model can be read: {error.strerror}; make one by `shelfmark dedupe train`"
        ) from None
    except ValueError:
        raise UsageError(f"{path}: not JSON; a scorer model is made by `shelfmark dedupe train`") from None
    try:
        return _checked(content)
    except (_Wrong, KeyError, TypeError, ValueError, OverflowError, AttributeError, zlib.error) as error:
        said = f"no key {error}" if isinstance(error, KeyError) else error
        raise UsageError(f"{path}: {said}; train the model again by `shelfmark dedupe train`") from None


class _Wrong(Exception):
    pass


def _checked(content: Any) -> Model:
    if not isinstance(content, dict):
        raise _Wrong("not a scorer model")
    if content.get("format") != FORMAT:
        raise _Wrong(f"format: {content.get('format')!r}, this version reads {FORMAT}")
    if content["features"] != list(features.NAMES) or content["buckets"] != features.BUCKETS:
        raise _Wrong("features: made with others than this version has")
    nodes = {name: np.array(content["nodes"][name], kind) for name, kind in ARRAYS.items()}
    roots = np.array(content["roots"], np.int32)
    n = len(nodes["left"])
    if any(array.shape != (n,) for array in nodes.values()) or roots.ndim != 1:
        raise _Wrong("nodes: arrays of different lengths")
    inner, at = nodes["left"] >= 0, np.arange(n)
    # Compiled code reads these without looking: every place must exist, and children behind parents end every walk.
    children = np.concatenate([nodes["left"][inner], nodes["right"][inner]])
    if (
        (children >= n).any()
        or (children <= np.concatenate([at[inner]] * 2)).any()
        or (roots < 0).any()
        or (roots >= n).any()
        or (nodes["feature"] < 0).any()
        or (nodes["feature"] >= len(features.NAMES)).any()
    ):
        raise _Wrong("nodes: a node or a feature that does not exist")
    numbers = {name: float(content[name]) for name in ("merge", "propose", "slope", "shift", "base")}
    if not all(np.isfinite(value) for value in numbers.values()) or not np.isfinite(nodes["value"]).all():
        raise _Wrong("a number that is not finite")
    if not 0 <= numbers["propose"] <= numbers["merge"]:
        raise _Wrong("propose: above merge")
    rarity = features.Rarity(*(_unpacked(content["rarity"][name], name) for name in ("terms", "grams")))
    return Model(rarity=rarity, nodes=nodes, roots=roots, trained=content["trained"], **numbers)


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode()


def _unpacked(text: str, name: str) -> np.ndarray:
    # As much as it must be and not a byte more: a small file cannot fill the memory.
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(base64.b64decode(text, validate=True), features.BUCKETS + 1)
    if len(data) != features.BUCKETS:
        raise _Wrong(f"rarity.{name}: not {features.BUCKETS} bytes")
    return np.frombuffer(data, np.uint8)


def batches(n: int, size: int = 262_144) -> Iterator[slice]:
    """Parts of n pairs whose features take some 40 MB each."""
    for start in range(0, n, size):
        yield slice(start, min(n, start + size))
