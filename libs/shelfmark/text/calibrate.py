"""From scores to probabilities, and from probabilities to decisions. NumPy only.

Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks"): probabilities are softmax(scores / T)
with the one T that makes the calibrate side most likely. A threshold is the lowest of which the calibrate side shows, at
95 %, that what lies above it reaches the target accuracy: the lower bound of Clopper and Pearson (1934) reaches it, not
just the share that happened to be right.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv

TEMPERATURES = np.geomspace(0.05, 5.0, 96)  # steps of 5 %; below 0.05 a margin of 1 would be a certainty of 1 - 2e-9
LEVEL = 0.95  # how sure a threshold is that its target holds: one-sided
NEVER = 2.0  # a threshold that no probability reaches


def log_likelihood(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Sum over the rows of ln softmax(scores / T)[label], for each of `TEMPERATURES`.

    scores float32[rows, categories], labels int32[rows] (rows with -1 count nothing). Sums of parts add up.
    """
    kept = labels >= 0
    scores, labels = scores[kept].astype(np.float64), labels[kept]
    if not len(labels):
        return np.zeros(len(TEMPERATURES))
    scores -= scores.max(1, keepdims=True)
    own = scores[np.arange(len(labels)), labels]
    return np.array([(own / t - np.log(np.exp(scores / t).sum(1))).sum() for t in TEMPERATURES])


def best_temperature(likelihood: np.ndarray) -> float:
    """The most likely temperature; between grid points by a parabola through the best and its neighbours."""
    at = int(np.argmax(likelihood))
    if not likelihood.any():
        return 1.0  # nothing to fit on
    if 0 < at < len(TEMPERATURES) - 1:
        left, middle, right = likelihood[at - 1 : at + 2]
        curve = left - 2 * middle + right
        shift = 0.5 * (left - right) / curve if curve < 0 else 0.0
        return float(TEMPERATURES[at] * (TEMPERATURES[1] / TEMPERATURES[0]) ** shift)
    return float(TEMPERATURES[at])


def lower_bound(right: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The accuracy that `right` of `rows` show at `LEVEL`, one-sided and exact, float64."""
    right, rows = np.asarray(right, float), np.asarray(rows, float)
    bound = betaincinv(np.maximum(right, 1), rows - right + 1, 1 - LEVEL)
    return np.where(right > 0, bound, 0.0)


def accept_threshold(confidence: np.ndarray, correct: np.ndarray, target: float, enough: int) -> float:
    """The lowest confidence from which on the rows show (`lower_bound`) the target accuracy, `enough` of them at least."""
    order = np.argsort(-confidence, kind="stable")
    confidence, correct = confidence[order], correct[order]
    rows = np.arange(1, len(confidence) + 1)
    whole = np.append(confidence[1:] < confidence[:-1], True) if len(rows) else np.zeros(0, bool)  # ties stay together
    good = np.flatnonzero((lower_bound(np.cumsum(correct), rows) >= target) & (rows >= enough) & whole)
    return float(confidence[good[-1]]) if len(good) else NEVER


def roll_up_threshold(chances: np.ndarray, correct: np.ndarray, target: float, enough: int) -> float:
    """The lowest threshold at which the deepest ancestors that reach it show (`lower_bound`) the target accuracy.

    chances float32[rows, levels]: of the ancestors, deepest first, 0 where there is none; correct bool of the same
    shape. Rows are those that were not accepted; `enough` of them at least must reach the threshold.
    """
    if not chances.size:
        return NEVER
    for threshold in np.arange(0.50, 1.0, 0.01):  # below a half another branch may be likelier
        reached = chances >= threshold
        rows = np.flatnonzero(reached.any(1))
        if len(rows) < enough:
            return NEVER
        level = reached[rows].argmax(1)
        if lower_bound(correct[rows, level].sum(), len(rows)) >= target:
            return float(threshold)
    return NEVER
