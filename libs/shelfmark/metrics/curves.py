"""Accuracy against coverage: what is right among the predictions one is surest of. NumPy only.

Rows are counted by confidence in steps between round numbers, finer where models are sure of themselves, so that each
point of a curve is a threshold that somebody may set. Rows within a step count as equally sure.
"""

from __future__ import annotations

import numpy as np
from scipy.special import digamma

_GRID = ((0.0, 0.5, 0.05), (0.5, 0.9, 0.02), (0.9, 0.98, 0.005), (0.98, 0.999, 0.001))
EDGES = np.array(
    [round(low + step * at, 4) for low, high, step in _GRID for at in range(round((high - low) / step))]
    + [0.999, 0.9995, 0.9999]
)
"""Lower end of each step of confidence, rising from 0: round numbers."""

STEPS = len(EDGES)


def step(confidence: np.ndarray) -> np.ndarray:
    """The step each confidence (0 to 1) lies in, int64[n]."""
    return np.clip(np.searchsorted(EDGES, confidence, side="right") - 1, 0, STEPS - 1)


def accepted(counts: np.ndarray) -> np.ndarray:
    """Counts of steps, [..., steps], as counts of all rows from each step upwards."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


def aurc(rows: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Area under the risk-coverage curve, [...], of counts by step, [..., steps]: 0 is best; NaN without rows.

    The mean, over n = 1 .. all rows, of the share wrong among the n surest: Geifman and El-Yaniv 2017, "Selective
    Classification for Deep Neural Networks" (the curve); Geifman, Uziel and El-Yaniv 2019, "Bias-Reduced Uncertainty
    Estimation for Deep Neural Classifiers" (its area). Of rows equally sure the mean over all their orders is taken: the
    n-th of them has (errors before + its share of theirs) / n, whose sum is one of harmonic numbers.
    """
    rows, hits = np.asarray(rows, dtype=float)[..., ::-1], np.asarray(hits, dtype=float)[..., ::-1]
    wrong = rows - hits
    before = np.cumsum(rows, axis=-1) - rows
    wrong_before = np.cumsum(wrong, axis=-1) - wrong
    share = np.divide(wrong, rows, out=np.zeros_like(rows), where=rows > 0)
    # H(before + rows) - H(before), where H(n) = digamma(n + 1) + constant.
    harmonic = digamma(before + rows + 1) - digamma(before + 1)
    total = (wrong + (wrong_before - before * share) * harmonic).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / rows.sum(-1)


def perfect_aurc(rows: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """The `aurc` of the same rows in the best order, all that are right before all that are wrong: what no confidence
    can fall below. rows, hits: [...], in all."""
    rows, hits = np.asarray(rows, dtype=float), np.asarray(hits, dtype=float)
    return aurc(np.stack([rows - hits, hits], axis=-1), np.stack([np.zeros_like(hits), hits], axis=-1))
