"""Proportions of a population from a random sample of known probabilities, with their intervals. NumPy only.

Each row of the sample counts for 1 / p of its kind, where p is the probability with which it was drawn. The share of the
rows that are right is then estimated by sum(y / p) / sum(1 / p): Hájek 1971, the ratio form of Horvitz and Thompson 1952.
It needs no population size, and holds for a part of the population (those accepted) as for all of it.
"""

from __future__ import annotations

import numpy as np

from shelfmark.metrics import kernel


def hajek(rows: float, whole: float, right: float, spread: float, spread_right: float) -> tuple[float, float, float]:
    """(share right, low, high) with a 95 % interval, from sums over the rows of a sample; NaN without rows.

    rows: how many; whole, right: sums of 1 / p over all and over those that are right; spread, spread_right: sums of
    (1 - p) / p**2 over all and over those that are right.

    The variance is that of the linearised ratio under Poisson sampling, sum((1 - p) (y - Y)**2 / p**2) / whole**2
    (Särndal, Swensson, Wretman 1992, 5.6), times n / (n - 1). The interval is Wilson's for as many rows of a simple random
    sample as would have that variance (Korn and Graubard 1998), because that of the normal distribution is empty where
    all rows are right. Where every row was certain to be drawn the share is known, and the interval is that point.
    """
    if not rows or not whole:
        return np.nan, np.nan, np.nan
    share = right / whole
    if spread <= 0:
        return share, share, share
    alike = whole**2 / spread  # rows of a simple random sample, were right and wrong ones drawn alike
    variance = (spread_right * (1 - 2 * share) + share**2 * spread) / whole**2 * rows / max(rows - 1, 1)
    # By chance a handful of errors may have nearly no weight: then what they show of the variance is not believed.
    effective = min(share * (1 - share) / variance, 4 * alike) if variance > 0 else alike
    low, high = kernel.wilson(share * effective, effective)
    return float(share), float(low), float(high)
