"""How many more labels a category needs: learning curves from two sizes of the training set. NumPy only.

The error 1 - F1 of a classifier falls about as a power of the rows it learns from, error(n) = a * n ** -b (Hestness et al.
2017, "Deep Learning Scaling is Predictable, Empirically"; Cortes et al. 1993, "Learning Curves"). A category alone has too
few rows to tell its exponent, so b is one for all categories of a training: the one whose errors at both sizes agree
best, each category weighed by its rows. The level a is each category's own.
"""

from __future__ import annotations

import numpy as np

SLOPES = (0.02, 2.0)  # of b: labels always help a little, and never by more than their square
MOST = 100  # times the labels there are: beyond it, labels alone are not the answer


def f1(true: np.ndarray, said: np.ndarray, both: np.ndarray) -> np.ndarray:
    """F1 of counts, drawn towards a half by two rows, so that a category of three rows is not perfect or hopeless."""
    return (2 * np.asarray(both, float) + 1) / (np.asarray(true, float) + said + 2)


def slope(rows: np.ndarray, small: np.ndarray, large: np.ndarray, share: float) -> float:
    """The exponent b: `small`, `large` are F1 by category with `share` of the labels and with all, `rows` weigh them."""
    before, after = (np.maximum(1 - np.asarray(one, float), 1e-3) for one in (small, large))
    weight = np.asarray(rows, float)
    if not weight.sum():
        return SLOPES[0]
    fall = np.log((weight * before).sum() / (weight * after).sum()) / np.log(1 / share)
    return float(np.clip(fall, *SLOPES))


def more_labels(rows: np.ndarray, found: np.ndarray, target: float, b: float) -> np.ndarray:
    """Labels that each category with `rows` labels and F1 `found` lacks of F1 `target`, float64; NaN beyond `MOST` times."""
    rows, error = np.asarray(rows, float), np.maximum(1 - np.asarray(found, float), 1e-6)
    times = (error / (1 - target)) ** (1 / b)
    return np.where(times <= 1, 0.0, np.where(times <= MOST, np.ceil(np.round(rows * (times - 1), 6)), np.nan))
