"""Embedding tables on CPUs: means of their rows, and Adagrad of the rows that a batch touched, each once. numba beside torch.

What such a table costs is waiting for rows that lie anywhere in memory, so each is asked for a few rows ahead. torch's means of
embeddings do not (in a training step they took six times as long), and its Adagrad takes some six passes over sparse tensors, with
a sort in the first. Here places of a row's gradients are collected first, then each row is moved by their sum. The result is that of
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
        graded = torch.is_grad_enabled() and self.weight.requires_grad
        ours = self.weight.device.type == "cpu" and self.weight.dtype == torch.float32
        if not ours or (graded and self.kept is None):
            return super().forward(ids)
        padded = ids.numpy()
        if padded.size and not 0 <= padded.min() <= padded.max() < len(self.weight):
            raise IndexError(f"ids from {padded.min()} to {padded.max()} in a table of {len(self.weight)} rows")
        means = torch.from_numpy(_means(self.weight.detach().numpy(), padded))
        if graded:
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
                slot, rate = self._slot(weight), np.float32(group["lr"])
                _move(weight.numpy(), state["sum"].numpy(), *_places(weight, shares), slot, rate)

    def _slot(self, weight: torch.Tensor) -> np.ndarray:
        """Where the gradient of each row is summed, int32[rows]: -1, between steps of all."""
        if id(weight) not in self.slots:
            self.slots[id(weight)] = np.full(len(weight), -1, np.int32)
        return self.slots[id(weight)]

    def summed(self, weight: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The gradient of a weight, each row once: (ids int32[n], values float32[n, width]); none without one."""
        if weight.grad is None:
            return np.zeros(0, np.int32), np.zeros((0, weight.shape[1]), np.float32)
        return _summed(*parts(weight.grad), self._slot(weight))


def _places(weight: torch.Tensor, shares: Shares | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, of, values) of shares, else of the weight's gradient: the i-th id has the row `of[i]` of values."""
    if shares is not None:
        return shares.ids, np.repeat(np.arange(len(shares.lengths)), shares.lengths), shares.gradients
    ids, values = parts(weight.grad)
    return ids, np.arange(len(ids)), values


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
def _summed(ids, values, slot):
    """Each id once, and the sum of its gradients."""
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


AHEAD = 8  # rows that are asked for before they are read: each lies somewhere else in memory
LINE = 16  # float32 of a cache line

# numba makes vector instructions of a loop over rows that are views of their own, where no index may be negative (uint32) and a
# division by 0 need not be looked for (error_model): 4 times as fast from the cache, twice from memory.
_vectors = njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@_vectors
def _ask(flat, row, width):
    start = np.int64(row) * width
    for k in range(start, start + width, LINE):
        prefetch(flat, k)


@_vectors
def _add(total, row):
    for k in range(len(total)):
        total[k] += row[k]


@_vectors
def _means(weight, padded):
    n, length = padded.shape
    width = weight.shape[1]
    flat, ids, means = weight.ravel(), padded.ravel(), np.zeros((n, width), np.float32)
    for i in range(n):
        mean, met = means[i], 0
        for at in range(i * length, (i + 1) * length):
            if at + AHEAD < len(ids):
                _ask(flat, ids[at + AHEAD], width)
            if ids[at] != 0:
                met += 1
                _add(mean, weight[np.uint32(ids[at])])
        mean *= np.float32(1) / np.float32(max(met, 1))
    return means


@_vectors
def _move(weight, squares, ids, of, values, slot, rate):
    m, width, n = len(ids), weight.shape[1], 0
    order, ends = np.empty(m, np.int32), np.zeros(m + 1, np.int32)
    for i in range(m):
        at = slot[ids[i]]
        if at < 0:
            at, slot[ids[i]], order[n] = n, n, ids[i]
            n += 1
        ends[at + 1] += 1
    for at in range(n):
        ends[at + 1] += ends[at]
    met = np.empty(m, np.int32)
    for i in range(m):
        at = slot[ids[i]]
        met[ends[at]] = of[i]
        ends[at] += 1  # from where the row's begin to where they end
    flat, flat_squares, start = weight.ravel(), squares.ravel(), 0
    total, step = np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(n):
        if row + AHEAD < n:
            _ask(flat, order[row + AHEAD], width)
            _ask(flat_squares, order[row + AHEAD], width)
        at = np.uint32(order[row])
        slot[at] = -1
        total[:] = 0
        for i in range(start, ends[row]):
            _add(total, values[np.uint32(met[i])])
        start = ends[row]
        _adagrad(weight[at], squares[at], total, step, rate)


@_vectors
def _adagrad(weight, squares, gradient, step, rate):
    for k in range(len(weight)):
        squares[k] += gradient[k] * gradient[k]
    for k in range(len(weight)):
        step[k] = gradient[k] / (np.sqrt(squares[k]) + np.float32(EPSILON))
    for k in range(len(weight)):
        weight[k] -= rate * step[k]
