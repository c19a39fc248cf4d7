"""Adagrad of embedding tables on CPUs: only the rows that a batch touched are looked at, each once. numba beside torch.

torch's own Adagrad takes some six passes over sparse tensors, with a sort in the first: it was half of a step of an n-gram tower.
Here a row's gradients are summed where they are met, and then one pass moves it. The result is that of
`torch.optim.Adagrad` (Duchi, Hazan, Singer 2011, "Adaptive Subgradient Methods"), up to the order of sums.

A mean of embeddings gives each of its rows the same gradient. `Bags` keeps it once, beside the ids: that is all the optimiser
needs, and all that ranks send each other, tens of times less than the rows.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit

from shelfmark.text.vector import prefetch

EPSILON = 1e-10  # as torch's


class Bags(torch.nn.EmbeddingBag):
    """Means of the embeddings of padded ids (n, length), 0 is padding: `torch.nn.EmbeddingBag` of mode mean.

    While `kept` is a list, the table gets no gradient: the ids and the means, which have theirs after the backward pass, are
    left there for `SparseAdagrad`.
    """

    kept: list[tuple[torch.Tensor, torch.Tensor]] | None = None

    def __init__(self, rows: int, width: int, sparse: bool = False):
        super().__init__(rows, width, mode="mean", padding_idx=0, sparse=sparse)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if self.kept is None or not torch.is_grad_enabled():
            return super().forward(ids)
        with torch.no_grad():
            means = super().forward(ids)
        self.kept.append((ids, means.requires_grad_()))
        return means


class Shares(NamedTuple):
    """What the means of some bags give their rows: lengths int32 (n,), ids int32 (sum of lengths,), and the gradient of each row of
    a bag, float32 (n, width)."""

    lengths: np.ndarray
    ids: np.ndarray
    gradients: np.ndarray


class SparseAdagrad(torch.optim.Optimizer):
    """Adagrad of 2-dimensional float32 weights on the CPU whose gradients are sparse. A gradient need not be coalesced."""

    def __init__(self, params: Any, lr: float = 0.01):
        super().__init__(params, {"lr": lr})
        self.slots: dict[int, np.ndarray] = {}
        self.bags: dict[int, Bags] = {}
        self.met: dict[int, Shares] = {}

    def keep_bags(self, network: torch.nn.Module) -> None:
        """From now on the bags of a network keep their gradients for this optimiser, where it moves their tables."""
        mine = {id(weight) for group in self.param_groups for weight in group["params"]}
        for one in network.modules():
            if isinstance(one, Bags) and id(one.weight) in mine:
                one.kept, self.bags[id(one.weight)] = [], one

    def shares(self, weight: torch.Tensor) -> Shares | None:
        """What a weight's bags kept since the last step, None where it has no such bags."""
        if id(weight) not in self.bags:
            return None
        kept = self.bags[id(weight)].kept
        found = [_shares(ids.numpy(), means.grad.numpy()) for ids, means in kept if means.grad is not None]
        kept.clear()
        if not found:
            return Shares(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros((0, weight.shape[1]), np.float32))
        return Shares(*found[0]) if len(found) == 1 else Shares(*map(np.concatenate, zip(*found)))

    def give(self, weight: torch.Tensor, shares: Shares) -> None:
        """The next step moves a weight by these, as by those of its own bags."""
        self.met[id(weight)] = shares

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Move the rows that have a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                shares = self.met.pop(id(weight), None) or self.shares(weight)
                if shares is None and weight.grad is None:
                    continue
                state = self.state[weight]
                if "sum" not in state:
                    state["sum"] = torch.zeros_like(weight)
                order, total = self.summed(weight, shares)
                _move(weight.numpy(), state["sum"].numpy(), order, total, np.float32(group["lr"]))

    def _slot(self, weight: torch.Tensor) -> np.ndarray:
        """Where the gradient of each row is summed, int32[rows]: -1, between steps of all."""
        if id(weight) not in self.slots:
            self.slots[id(weight)] = np.full(len(weight), -1, np.int32)
        return self.slots[id(weight)]

    def summed(self, weight: torch.Tensor, shares: Shares | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The gradient of a weight, or of shares, each row once: (ids int32[n], values float32[n, width]); none without one."""
        if shares is not None:
            of = np.repeat(np.arange(len(shares.lengths)), shares.lengths)
            return _summed(shares.ids, of, shares.gradients, self._slot(weight))
        if weight.grad is None:
            return np.zeros(0, np.int32), np.zeros((0, weight.shape[1]), np.float32)
        ids, values = parts(weight.grad)
        return _summed(ids, np.arange(len(ids)), values, self._slot(weight))


def parts(gradient: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(ids int64[n], values float32[n, width]) of a sparse gradient; a row may come several times."""
    return gradient._indices()[0].numpy(), gradient._values().numpy()


def joined(ids: np.ndarray, values: np.ndarray, rows: int) -> torch.Tensor:
    """The sparse gradient of such parts, of a table of so many rows."""
    places = torch.from_numpy(ids.astype(np.int64))[None]
    return torch.sparse_coo_tensor(places, torch.from_numpy(values), (rows, values.shape[1]), check_invariants=False)


def packed(shares: Shares) -> np.ndarray:
    """Shares as one array int32, which says itself where its parts end: what a rank sends."""
    head = np.array([len(shares.lengths), len(shares.ids)], np.int32)
    return np.concatenate([head, shares.lengths, shares.ids, shares.gradients.reshape(-1).view(np.int32)])


def unpacked(sent: np.ndarray, width: int) -> Shares:
    """The shares of all ranks, of what they sent one after the other; gradients are means over the ranks."""
    found, at = [], 0
    while at < len(sent):
        n, m = sent[at : at + 2]
        ends = np.cumsum([at + 2, n, m, n * width])
        lengths, ids, gradients = (sent[one:other] for one, other in itertools.pairwise(ends))
        found.append((lengths, ids, gradients.view(np.float32).reshape(n, width)))
        at = ends[-1]
    lengths, ids, gradients = map(np.concatenate, zip(*found))
    return Shares(lengths, ids, gradients / np.float32(len(found)))


@njit(cache=True, nogil=True, fastmath=True)
def _shares(padded, gradients):
    n, width = gradients.shape
    lengths, ids, shares = np.zeros(n, np.int32), np.empty(padded.size, np.int32), np.empty((n, width), np.float32)
    m = 0
    for i in range(n):
        start = m
        for j in range(padded.shape[1]):
            if padded[i, j] != 0:
                ids[m] = padded[i, j]
                m += 1
        lengths[i] = m - start
        share = np.float32(1) / np.float32(max(m - start, 1))
        for k in range(width):
            shares[i, k] = gradients[i, k] * share
    return lengths, ids[:m], shares


@njit(cache=True, nogil=True, fastmath=True)
def _summed(ids, of, values, slot):
    """Each id once, and the sum of its gradients: the i-th id has the row `of[i]` of values."""
    rows, width = len(ids), values.shape[1]
    order, total, n = np.empty(rows, np.int32), np.empty((rows, width), np.float32), 0
    for i in range(rows):
        at = slot[ids[i]]
        if at < 0:
            slot[ids[i]], order[n] = n, ids[i]
            for k in range(width):
                total[n, k] = values[of[i], k]
            n += 1
        else:
            for k in range(width):
                total[at, k] += values[of[i], k]
    for i in range(n):
        slot[order[i]] = -1
    return order[:n], total[:n]


AHEAD = 8  # rows that are asked for before they are moved: each lies somewhere else in memory
LINE = 16  # float32 of a cache line


@njit(cache=True, nogil=True, fastmath=True)
def _move(weight, squares, order, total, rate):
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
