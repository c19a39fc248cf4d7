"""One-vs-rest L2-loss linear SVM by dual coordinate descent, a group of categories at a time. No Spark here.

For each category, with y = +1 on its rows and -1 on all others, the solver minimises

    1/2 |w|^2 + sum_i C_i max(0, 1 - y_i w.x_i)^2

one dual variable at a time (Hsieh et al. 2008, "A Dual Coordinate Descent Method for Large-scale Linear SVM"), with
the shrinking and the stopping rule of LIBLINEAR. What is ours is the order of the loops: a row is read once for
`GROUP` categories, whose weights of a column lie side by side. The categories stay independent of each other (each
result is that of a solver of its own), yet one pass over the data serves all of them with vector instructions.
The constant 1 is a column of every row (the bias, regularised as LIBLINEAR does).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

from shelfmark.text.kernel import SCALE
from shelfmark.text.vector import WIDTH as GROUP
from shelfmark.text.vector import gather, scatter


class Rows(NamedTuple):
    """A part of the training rows: sparse features, category number (-1: of none) and weight (trust) of each."""

    indptr: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


@njit(cache=True, nogil=True)
def _square_norms(indptr, values, used):
    out = np.empty(len(used), np.float32)
    for at in range(len(out)):
        i = used[at]
        total = np.float32(1.0)  # the bias column
        for j in range(indptr[i], indptr[i + 1]):
            value = np.float32(values[j]) * SCALE
            total += value * value
        out[at] = total
    return out


@njit(cache=True, nogil=True, fastmath={"contract"})
def _pass(
    order,
    used,
    indptr,
    columns,
    values,
    labels,
    weights,
    norms,
    first,
    cost,
    positive,
    live,
    alpha,
    active,
    w,
    bias,
    limit,
    high,
    low,
):
    """One pass over the `used` rows of a part; updates alpha, active, w, bias, high and low in place.

    order: places in `used`, as are the rows of norms, alpha and active.
    """
    score = np.empty(GROUP, np.float32)
    step = np.empty(GROUP, np.float32)
    for at in order:
        i = used[at]
        on = active[at] & live
        if on == 0 or weights[i] <= 0:
            continue
        start, end = indptr[i], indptr[i + 1]
        for k in range(GROUP):
            score[k] = bias[k]
            step[k] = np.float32(0)
        gather(w, columns, values, start, end, SCALE, score)
        own = labels[i] - first
        moved = False
        for k in range(GROUP):
            if not (on >> np.uint32(k)) & np.uint32(1):
                continue
            y = np.float32(1) if k == own else np.float32(-1)
            c = cost * weights[i]
            if k == own:
                c *= positive[k]
            diagonal = np.float32(0.5) / c
            a = alpha[at, k]
            gradient = y * score[k] - np.float32(1) + diagonal * a
            projected = gradient
            if a == 0:
                if gradient > limit[k]:
                    active[at] &= ~(np.uint32(1) << np.uint32(k))
                    continue
                projected = min(gradient, np.float32(0))
            high[k] = max(high[k], projected)
            low[k] = min(low[k], projected)
            if abs(projected) > np.float32(1e-12):
                new = max(a - gradient / (norms[at] + diagonal), np.float32(0))
                step[k] = (new - a) * y
                alpha[at, k] = new
                moved = True
        if moved:
            for k in range(GROUP):
                bias[k] += step[k]
            scatter(w, columns, values, start, end, SCALE, step)


def solve(
    parts: Sequence[Rows],
    width: int,
    first: int,
    categories: int,
    cost: float = 1.0,
    positive: np.ndarray | None = None,
    epochs: int = 20,
    tolerance: float = 0.1,
    used: Sequence[np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights of the categories first .. first + categories - 1, at most GROUP of them.

    parts: training rows, `width` columns; cost: C of a row, times its weight, times `positive[k]` (float32
    [categories], class weights) where the row is of the category itself, as LIBLINEAR's -wi does; used: of each part, the
    rows to learn from (int32; all by default).
    Every pass visits the rows in a new order, drawn from a fixed seed: equal input gives equal weights.
    Returns w float32[width, categories], bias float32[categories], passes int64[categories].
    """
    if not 0 < categories <= GROUP:
        raise ValueError(f"{categories} categories: a group has 1 to {GROUP}")
    if used is None:
        used = [np.arange(len(part.labels), dtype=np.int32) for part in parts]
    rows = [len(some) for some in used]
    starts = np.concatenate([[0], np.cumsum(rows)])
    norms = [_square_norms(part.indptr, part.values, some) for part, some in zip(parts, used)]
    w, bias = np.zeros((width, GROUP), np.float32), np.zeros(GROUP, np.float32)
    alpha = np.zeros((int(starts[-1]), GROUP), np.float32)
    full = np.uint32(0xFFFFFFFF)
    active = np.full(int(starts[-1]), full, np.uint32)
    boost = np.ones(GROUP, np.float32)
    if positive is not None:
        boost[:categories] = positive
    live = np.uint32((1 << categories) - 1)
    limit = np.full(GROUP, np.inf, np.float32)
    whole = np.ones(GROUP, bool)  # nothing is shrunk away for the category in this pass
    passes = np.zeros(GROUP, np.int64)
    for epoch in range(epochs):
        high, low = np.full(GROUP, -np.inf, np.float32), np.full(GROUP, np.inf, np.float32)
        # A new random order in every pass (Hsieh et al. 2008, section 3.2): the toy problem of the tests needs 46
        # passes, and 4,400 in one fixed order. It depends on nothing but pass and part, so a category's weights are
        # the same whatever is solved beside it.
        for p in np.random.default_rng(epoch).permutation(len(parts)):
            order = np.random.default_rng((epoch, p)).permutation(rows[p]).astype(np.int32)
            at = slice(int(starts[p]), int(starts[p + 1]))
            _pass(
                order,
                used[p],
                *parts[p],
                norms[p],
                first,
                np.float32(cost),
                boost,
                live,
                alpha[at],
                active[at],
                w,
                bias,
                limit,
                high,
                low,
            )
        for k in range(categories):
            if not int(live) >> k & 1:
                continue
            passes[k] += 1
            if high[k] - low[k] <= tolerance:
                if whole[k]:
                    live = np.uint32(int(live) & ~(1 << k))
                else:  # converged on the rows left: look at all of them once more
                    active |= np.uint32(1 << k)
                    limit[k], whole[k] = np.inf, True
            else:
                limit[k] = high[k] if high[k] > 0 else np.inf
                whole[k] = not np.isfinite(limit[k])
        if live == 0:
            break
    return w[:, :categories], bias[:categories], passes[:categories]
