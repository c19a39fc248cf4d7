"""Class weights and offsets against the long tail: NumPy only, so that solvers on workers can use them."""

from __future__ import annotations

from typing import Literal

import numpy as np

How = Literal["none", "sqrt", "inverse", "effective"]


def class_weights(counts: np.ndarray, how: How = "none", beta: float = 0.999, cap: float = 10.0) -> np.ndarray:
    """Weight of a row of each category.

    counts: shape (categories,), training rows of each category. Returns float64 of the same shape.

    - `none`: 1 everywhere.
    - `sqrt`: proportional to 1 / sqrt(n), half way between the two beside it.
    - `inverse`: proportional to 1 / n, so that each category counts the same in sum.
    - `effective`: proportional to (1 - beta) / (1 - beta**n), the inverse of the effective number of samples (Cui, Jia,
      Lin, Song, Belongie: Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019, eq. 2). beta -> 1 is
      `inverse`, beta -> 0 is `none`; 1 / (1 - beta) is the count at which more rows stop lowering the weight.

    The weights are scaled so that their mean over rows, sum(n * w) / sum(n), is 1: the loss keeps its size, and the
    cost setting of a solver means the same with and without weights. No weight is above `cap`, and what the cap takes
    away is given to the others in proportion, so both hold at once. A category without rows is weighted as if it had
    one.

    Raises `ValueError` for a negative count, beta outside (0, 1), a cap below 1 (the mean could not be 1) or an
    unknown `how`.
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 1 or not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError("counts: one finite number of rows, 0 or more, per category")
    if not cap >= 1:
        raise ValueError(f"cap {cap}: a cap below 1 leaves no weights with mean 1")
    rows = np.maximum(counts, 1.0)
    if how == "none":
        return np.ones_like(counts)
    if how == "inverse":
        raw = 1.0 / rows
    elif how == "sqrt":
        raw = 1.0 / np.sqrt(rows)
    elif how == "effective":
        if not 0 < beta < 1:
            raise ValueError(f"beta {beta}: choose one between 0 and 1, e.g. 0.999")
        # expm1: for beta near 1 and few rows, 1 - beta**n loses its digits.
        raw = (1.0 - beta) / -np.expm1(rows * np.log(beta))
    else:
        raise ValueError(f"class weights {how!r}: choose none, sqrt, inverse or effective")
    if not counts.any():
        return np.ones_like(counts)
    return np.minimum(_scale(counts, raw, cap) * raw, cap)


def logit_offsets(counts: np.ndarray, tau: float) -> np.ndarray:
    """What is added to the scores of each category after training, float64[categories]: -tau * ln(share of its rows).

    Post-hoc logit adjustment (Menon et al. 2021, "Long-tail learning via logit adjustment", section 4.2) for scores that
    are log odds but for a factor, which is in `tau`; centred, so that the common size of scores stays. A category without
    rows counts as one with a row.
    """
    counts = np.maximum(np.asarray(counts, dtype=np.float64), 1.0)
    logs = np.log(counts / counts.sum())
    return -tau * (logs - logs.mean())


def _scale(counts: np.ndarray, raw: np.ndarray, cap: float) -> float:
    """The s for which min(s * raw, cap) has mean 1 over rows.

    With the k largest of `raw` at the cap, s = (N - cap * their rows) / sum(n * raw of the rest). k grows by one
    category at a time, and the first s that leaves the next one below the cap is the answer.
    """
    present = counts > 0
    order = np.argsort(-raw[present], kind="stable")
    n, raw = counts[present][order], raw[present][order]
    capped = np.concatenate([[0.0], np.cumsum(n)[:-1]])  # rows at the cap if k categories are, k = 0, 1, ...
    free = np.cumsum((n * raw)[::-1])[::-1]
    scales = (n.sum() - cap * capped) / free
    fits = scales * raw <= cap * (1 + 1e-12)
    # cap = 1 is the one case where every category ends at the cap: any scale that lifts them all there will do.
    return float(scales[np.argmax(fits)]) if fits.any() else cap / float(raw[-1])
