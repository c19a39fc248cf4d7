"""From scores to probabilities, and from probabilities to decisions. NumPy only.

Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks"): probabilities are softmax(scores / T)
with the one T that makes the calibrate side most likely. Thresholds are the lowest that reach the target accuracy there.
"""

from __future__ import annotations

import numpy as np

TEMPERATURES = np.geomspace(0.05, 5.0, 96)  # steps of 5 %; below 0.05 a margin of 1 would be a certainty of 1 - 2e-9
ENOUGH = 100  # rows behind a threshold: an accuracy of 0.95 is then known to +-0.04
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


def accept_threshold(confidence: np.ndarray, correct: np.ndarray, target: float) -> float:
    """The lowest confidence at which the rows at or above it reach the target accuracy, `ENOUGH` of them at least."""
    order = np.argsort(-confidence, kind="stable")
    confidence, correct = confidence[order], correct[order]
    rows = np.arange(1, len(confidence) + 1)
    whole = np.append(confidence[1:] < confidence[:-1], True) if len(rows) else np.zeros(0, bool)  # ties stay together
    good = np.flatnonzero((np.cumsum(correct) / rows >= target) & (rows >= ENOUGH) & whole)
    return float(confidence[good[-1]]) if len(good) else NEVER


def roll_up_threshold(chances: np.ndarray, correct: np.ndarray, target: float) -> float:
    """The lowest threshold at which the deepest ancestors that reach it are right often enough.

    chances float32[rows, levels]: of the ancestors, deepest first, 0 where there is none; correct bool of the same
    shape. Rows are those that were not accepted.
    """
    if not chances.size:
        return NEVER
    for threshold in np.arange(0.50, 1.0, 0.01):  # below a half another branch may be likelier
        reached = chances >= threshold
        rows = np.flatnonzero(reached.any(1))
        if len(rows) < ENOUGH:
            return NEVER
        level = reached[rows].argmax(1)
        if correct[rows, level].mean() >= target:
            return float(threshold)
    return NEVER
