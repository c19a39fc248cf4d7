"""Intervals of macro-F1 and of differences between models, by a bootstrap over leak groups. NumPy only.

Rows of a leak group are alike, so they are drawn together: each draw gives every group a weight from a Poisson
distribution of mean 1 (the limit of drawing n of n groups with replacement; Chamandy et al. 2012, "Estimating
Uncertainty for Massive Data Streams"). A weight follows from a hash of group and draw alone. So parts of a table can be
counted anywhere and summed, and two models that are counted apart still see the same draws: their difference is paired.
"""

from __future__ import annotations

import numpy as np

from shelfmark.metrics import kernel

DRAWS = 1000
BLOCKS = 100
"""Random shares of the leak groups that a distributed count is kept by, see `of_blocks`."""
ENOUGH_BLOCKS = 20  # with rows in them: fewer show too little of how figures vary
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio
_MOST = 12  # P(a Poisson(1) number > 12) < 1e-10
_STEPS = np.cumsum([np.exp(-1) / np.prod(np.arange(1, k + 1, dtype=float)) for k in range(_MOST)])


def weights(group: np.ndarray, draw: int) -> np.ndarray:
    """Poisson(1) numbers, uint8[n], of 64-bit hashes of groups in one draw."""
    seed = mix(np.array([draw + 1], np.uint64) * _GOLDEN)
    mixed = mix(np.asarray(group, np.uint64) ^ seed)
    return np.searchsorted(_STEPS, mixed / 2.0**64, side="right").astype(np.uint8)


def counts(truth: np.ndarray, said: np.ndarray, group: np.ndarray, categories: int, draws: int = DRAWS) -> np.ndarray:
    """Weighted counts of each draw, float64[draws + 1, 3, categories]: true, said and both; draw 0 is the data itself.

    truth, said: category numbers (said may be -1: of none); group: uint64 hashes of leak groups. Counts of parts of a
    table add up.
    """
    truth, said = np.asarray(truth), np.asarray(said)
    named, hit = said >= 0, said == truth
    unique, place = np.unique(np.asarray(group, np.uint64), return_inverse=True)
    out = np.empty((draws + 1, 3, categories))
    for draw in range(draws + 1):
        weight = np.ones(len(truth)) if draw == 0 else weights(unique, draw)[place].astype(float)
        out[draw, 0] = np.bincount(truth, weight, categories)
        out[draw, 1] = np.bincount(said[named], weight[named], categories)
        out[draw, 2] = np.bincount(truth[hit], weight[hit], categories)
    return out


def macro_f1(counted: np.ndarray, categories: np.ndarray | None = None) -> np.ndarray:
    """Macro-F1 of each draw, float64[draws + 1], over `categories` (numbers; all by default) that have rows at all.

    The list of categories is that of the data, not of the draw: one that a draw leaves out has no F1 in it and is left
    out of that draw's mean.
    """
    true, said, both = (counted[:, i] if categories is None else counted[:, i, categories] for i in range(3))
    _, _, f1 = kernel.precision_recall_f1(true, said, both)
    shown = true > 0
    return np.where(shown, f1, 0).sum(1) / np.maximum(shown.sum(1), 1)


def of_blocks(blocks: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Weighted counts as `counts` gives them, from counts of blocks, [blocks, 3, categories]: each block a random share of
    the leak groups. The same draws for the same number of blocks and seed, so differences are paired.

    A hundred blocks are enough: the interval of a mean is then, by the t distribution, 1 % too narrow.
    """
    weight = np.random.default_rng(seed).poisson(1.0, (draws, len(blocks))).astype(float)
    weight = np.concatenate([np.ones((1, len(blocks))), weight])
    return (weight @ blocks.reshape(len(blocks), -1)).reshape(draws + 1, *blocks.shape[1:])


def weighted_f1(counted: np.ndarray) -> np.ndarray:
    """F1 of each draw weighted by true rows, float64[draws + 1]."""
    true, said, both = (counted[:, i] for i in range(3))
    _, _, f1 = kernel.precision_recall_f1(true, said, both)
    return (true * f1).sum(1) / np.maximum(true.sum(1), 1)


def accuracy(counted: np.ndarray) -> np.ndarray:
    """Accuracy of each draw, float64[draws + 1]."""
    return counted[:, 2].sum(1) / np.maximum(counted[:, 0].sum(1), 1)


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """(value, low, high) of figures of draws as `macro_f1` gives them: the data's own, and the percentile interval, moved
    so that the median draw lies on the value.

    Macro-F1 of draws is biased where categories are rare, up (some are left out of a draw) or down (F1 bends), and the
    value itself would lie at an end of the interval, or outside. Where draws are not biased this moves nothing.
    """
    tail = (1 - level) / 2
    low, middle, high = np.quantile(values[1:], [tail, 0.5, 1 - tail])
    moved = values[0] - middle
    return float(values[0]), float(low + moved), float(high + moved)


def mix(h: np.ndarray) -> np.ndarray:
    """Hashes of 64-bit numbers, uint64[n], by the finaliser of MurmurHash3: to draw folds by group, say."""
    h = h ^ (h >> np.uint64(33))
    h = h * np.uint64(0xFF51AFD7ED558CCD)
    h = h ^ (h >> np.uint64(33))
    h = h * np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))
