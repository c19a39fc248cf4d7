"""Adagrad of embedding tables on CPUs: only the rows that a batch touched are looked at, each once. numba beside torch.

torch's own Adagrad takes some six passes over sparse tensors, with a sort in the first: it was half of a step of an n-gram tower.
Here a row's gradients are summed where they are met, and then one pass moves it. The result is that of
`torch.optim.Adagrad` (Duchi, Hazan, Singer 2011, "Adaptive Subgradient Methods"), up to the order of sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit

from shelfmark.text.vector import prefetch

EPSILON = 1e-10  # as torch's


class SparseAdagrad(torch.optim.Optimizer):
    """Adagrad of 2-dimensional float32 weights on the CPU whose gradients are sparse. A gradient need not be coalesced."""

    def __init__(self, params: Any, lr: float = 0.01):
        super().__init__(params, {"lr": lr})
        self.slots: dict[int, np.ndarray] = {}

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Move the rows that have a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "sum" not in state:
                    state["sum"] = torch.zeros_like(weight)
                ids, values = parts(weight.grad)
                _step(weight.numpy(), state["sum"].numpy(), ids, values, np.float32(group["lr"]), self._slot(weight))

    def _slot(self, weight: torch.Tensor) -> np.ndarray:
        """Where the gradient of each row is summed, int32[rows]: -1, between steps of all."""
        if id(weight) not in self.slots:
            self.slots[id(weight)] = np.full(len(weight), -1, np.int32)
        return self.slots[id(weight)]

    def summed(self, weight: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The gradient of a weight, each row once: (ids int32[n], values float32[n, width]); none without a gradient."""
        if weight.grad is None:
            return np.zeros(0, np.int32), np.zeros((0, weight.shape[1]), np.float32)
        return _summed(*parts(weight.grad), self._slot(weight))


def parts(gradient: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(ids int64[n], values float32[n, width]) of a sparse gradient; a row may come several times."""
    return gradient._indices()[0].numpy(), gradient._values().numpy()


def joined(ids: np.ndarray, values: np.ndarray, rows: int) -> torch.Tensor:
    """The sparse gradient of such parts, of a table of so many rows."""
    places = torch.from_numpy(ids.astype(np.int64))[None]
    return torch.sparse_coo_tensor(places, torch.from_numpy(values), (rows, values.shape[1]), check_invariants=False)


@njit(cache=True, nogil=True, fastmath=True)
def _summed(ids, values, slot):
    rows, width = values.shape
    order, total, n = np.empty(rows, np.int32), np.empty((rows, width), np.float32), 0
    for i in range(rows):
        at = slot[ids[i]]
        if at < 0:
            slot[ids[i]], order[n] = n, ids[i]
            for k in range(width):
                total[n, k] = values[i, k]
            n += 1
        else:
            for k in range(width):
                total[at, k] += values[i, k]
    for i in range(n):
        slot[order[i]] = -1
    return order[:n], total[:n]


AHEAD = 8  # rows that are asked for before they are moved: each lies somewhere else in memory
LINE = 16  # float32 of a cache line


@njit(cache=True, nogil=True, fastmath=True)
def _step(weight, squares, ids, values, rate, slot):
    order, total = _summed(ids, values, slot)
    width = weight.shape[1]
    flat, flat_squares = weight.ravel(), squares.ravel()
    for i in range(len(order)):
        if i + AHEAD < len(order):
            start = np.int64(order[i + AHEAD]) * width
            for k in range(start, start + width, LINE):
                prefetch(flat, k)
                prefetch(flat_squares, k)
        at = order[i]
        for k in range(width):
            gradient = total[i, k]
            squares[at, k] += gradient * gradient
            weight[at, k] -= rate * gradient / (np.sqrt(squares[at, k]) + np.float32(EPSILON))
