"""Losses of one tower, multi-class and multi-label, for long tails and category trees.

A loss is plain data (`describe`): {kind, multi_label, gamma, weights, offsets, targets, shares}. `rows` gives one loss a row, so
that the caller weighs rows, leaves those out whose modality is missing, and takes the mean over the global batch.

- `cross_entropy`: softmax, or one sigmoid a category for several labels.
- `focal`: times (1 - p)**gamma of the true answer (Lin, Goyal, Girshick, He, Dollár: Focal Loss for Dense Object
  Detection, ICCV 2017, eq. 4).
- `hierarchical`: cross-entropy to soft targets exp(-beta * d) / sum, d the distance in the tree to the true category,
  scaled to 1 at the most (Bertinetto, Mueller, Tertikas, Samangooei, Lord: Making Better Mistakes, CVPR 2020, eq. 6).

Class weights come from labels/weights.py (`balanced` is its `effective`, the class-balanced loss of Cui et al. 2019): their
mean over rows is 1 and they are capped. Offsets adjust logits in training by tau * ln(share) (Menon et al. 2021, "Long-tail
learning via logit adjustment", eq. 10), so that nothing is added when predicting.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from shelfmark.labels.weights import class_weights, logit_offsets

KINDS = ("cross_entropy", "focal", "hierarchical")


def describe(
    counts: np.ndarray,
    kind: str = "cross_entropy",
    multi_label: bool = False,
    reweight: str = "none",
    tau: float = 0.0,
    gamma: float = 2.0,
    beta: float = 0.999,
    cap: float = 10.0,
    distances: np.ndarray | None = None,
    sharpness: float = 10.0,
    rows: int | None = None,
) -> dict[str, Any]:
    """A loss for categories with these training rows.

    counts: (categories,) training rows; reweight: none, sqrt, inverse, effective or balanced; distances: (categories,
    categories) edges between two in the tree (`tree_distances`), for `hierarchical`, whose beta is `sharpness` (the
    paper's range is 4 to 30: at 10, in a tree of three levels, the true category keeps nearly all of its target). rows: of
    training, where they have several labels each; by default as many as labels.

    Raises `ValueError` for an unknown kind, or where `hierarchical` lacks distances or has several labels a row.
    """
    if kind not in KINDS:
        raise ValueError(f"loss {kind!r}: choose {', '.join(KINDS)}")
    if kind == "hierarchical" and (distances is None or multi_label):
        raise ValueError("the hierarchical loss needs the distances of the tree, and one label a row")
    how = "effective" if reweight == "balanced" else reweight
    targets = None
    if kind == "hierarchical":
        d = np.asarray(distances, np.float64) / max(1.0, float(np.max(distances)))
        targets = np.exp(-sharpness * d)
        targets = (targets / targets.sum(1, keepdims=True)).astype(np.float32)
    return {
        "kind": kind,
        "multi_label": multi_label,
        "gamma": gamma,
        "weights": class_weights(counts, how, beta, cap).astype(np.float32),
        # Post-hoc adjustment subtracts tau * ln(share); in training the same is added.
        "offsets": -logit_offsets(counts, tau).astype(np.float32),
        "targets": targets,
        "shares": (np.asarray(counts) / max(rows or np.sum(counts), 1)).astype(np.float32),
    }


def tree_distances(parent: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    """Edges between any two categories, int32 (categories, categories).

    parent: int32 (nodes,), -1 for a root (two roots meet one edge above them); leaf: int32 (categories,), their nodes.
    """
    paths = []
    for node in leaf:
        path = []
        while node >= 0:
            path.append(int(node))
            node = parent[node]
        paths.append(path[::-1])
    deepest = max(map(len, paths))
    grid = np.full((len(paths), deepest), -1, np.int64)
    for i, path in enumerate(paths):
        grid[i, : len(path)] = path
    depth = np.array([len(path) for path in paths])
    shared = np.zeros((len(paths), len(paths)), np.int64)
    for level in range(deepest):
        shared += (grid[:, None, level] == grid[None, :, level]) & (grid[:, None, level] >= 0)
    return (depth[:, None] + depth[None, :] - 2 * shared).astype(np.int32)


def on(loss: dict[str, Any], device: torch.device | str) -> dict[str, Any]:
    """The same with its arrays as tensors of a device."""
    return {key: torch.as_tensor(v, device=device) if isinstance(v, np.ndarray) else v for key, v in loss.items()}


def many_hot(labels: torch.Tensor, categories: int) -> torch.Tensor:
    """labels int (n, k), -1 where a row has fewer -> float32 (n, categories) of 0 and 1."""
    out = torch.zeros(len(labels), categories + 1, device=labels.device)
    out.scatter_(1, torch.where(labels < 0, categories, labels).long(), 1.0)
    return out[:, :categories]


def rows(logits: torch.Tensor, labels: torch.Tensor, loss: dict[str, Any]) -> torch.Tensor:
    """Loss of each row, float32 (n,).

    logits: (n, categories), or (n, 2, categories) of a pair of towers, of which the first learns without weights and offsets;
    labels: int (n,) of one label, (n, k) with -1 behind the last of several; `loss` as `on` gives it.
    """
    if logits.ndim == 3:
        plain = loss | {"weights": torch.ones_like(loss["weights"]), "offsets": torch.zeros_like(loss["offsets"])}
        return (rows(logits[:, 0], labels, plain) + rows(logits[:, 1], labels, loss)) / 2
    logits = logits.float()  # half precision loses the tail of a softmax over thousands
    if loss["multi_label"]:
        return _many(logits, labels, loss)
    labels = labels.reshape(-1).long()
    logits = logits + loss["offsets"]
    said = F.log_softmax(logits, 1)
    own = said.gather(1, labels[:, None])[:, 0]
    if loss["kind"] == "hierarchical":
        each = -(loss["targets"][labels] * said).sum(1)
    elif loss["kind"] == "focal":
        each = -((1 - own.exp()).clamp_min(0) ** loss["gamma"]) * own
    else:
        each = -own
    return each * loss["weights"][labels]


def _many(logits: torch.Tensor, labels: torch.Tensor, loss: dict[str, Any]) -> torch.Tensor:
    """Sum over categories of the binary losses; a category's weight counts for its positives, as there are few of them."""
    target = many_hot(labels.reshape(len(labels), -1), logits.shape[1])
    logits = logits + loss["offsets"]
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if loss["kind"] == "focal":
        each = each * (1 - torch.exp(-each)) ** loss["gamma"]
    return (each * (1 + target * (loss["weights"] - 1))).sum(1)
