"""The training loop of one tower on one rank, and what a tower says of rows. No Spark here: ranks meet through `group`.

What lies in the folder of a training run, written by rank 0, each file renamed into place:

last.pt          weights, optimisers, (epoch, step) reached, history: a run that is started again goes on from here
best/            the tower of the epoch with the best macro-F1 on the tune side (towers.save)
progress.jsonl   a line an epoch: what the history holds, for people and MLflow while it runs

Dropout and augmentation are drawn anew from (seed, epoch, step, rank), so no state of a generator needs keeping. The
gradient is the mean over the global batch: a row without the modality counts as a row with loss 0.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from shelfmark.multimodal import data, losses, sparse, towers


class Plan(NamedTuple):
    """How a tower learns: the settings `multimodal.*` of these names."""

    epochs: int = 8
    patience: int = 3
    batch: int = 256
    rank_batch: int | None = None
    accumulate: int = 1
    rate: float | None = None
    warm_up: float = 0.1
    clip: float = 1.0
    weight_decay: float = 0.02
    augment: bool = True
    mixed_precision: bool = True
    compression: bool = False
    seed: int = 42
    lanes: int = 8
    window: int = 4
    checkpoint_steps: int = 500


DEFAULT = Plan()


def train(
    group: Any,
    out: Path | str,
    cache: Path | str,
    parts: list[str],
    tune: list[str],
    description: dict[str, Any],
    loss: dict[str, Any],
    plan: Plan = DEFAULT,
) -> dict[str, Any]:
    """Train a tower on parts of a cache; returns {history, best, folder}: an entry an epoch, the best one, the best tower.

    Started again on the same folder, it goes on where the last checkpoint was, on any number of ranks that divides the
    lanes; one that ended is not trained again. An entry has epoch, loss, tune_loss, macro_f1, micro_f1, accuracy,
    seconds, rows_per_second (of training, all ranks together).
    """
    out, device, modality = Path(out), group.device, description["modality"]
    out.mkdir(parents=True, exist_ok=True)
    batch = plan.rank_batch * group.size if plan.rank_batch else plan.batch
    source, judge = data.open_cache(cache, parts), data.open_cache(cache, tune)
    steps = data.steps(source.rows, batch)
    torch.manual_seed(plan.seed)
    tower = towers.build(description).to(device)
    if loss["multi_label"]:
        towers.begin_at(tower, loss["shares"])
    if device != "cpu":
        tower = tower.to(memory_format=torch.channels_last)
    optimisers = make_optimisers(tower, plan, group.size)
    state = resume(out, fingerprint(description, loss, plan._replace(checkpoint_steps=0), parts, source.rows))
    network, optimisers = group.wrap(tower, optimisers, plan.compression, plan.accumulate)
    restore(state, tower, optimisers)  # what Horovod wraps starts with an empty state
    goal = losses.on(loss, device)

    while state["epoch"] < plan.epochs and not state["done"]:
        epoch, started, seen = state["epoch"], time.monotonic(), 0
        tower.train()
        batches = data.epoch(
            *(source, batch, plan.seed, epoch, group.rank, group.size, plan.lanes, plan.window, state["step"]),
            modalities=(modality,),
        )
        for rows in batches:
            step = state["step"]
            torch.manual_seed(hash((plan.seed, epoch, step, group.rank)) & 0x7FFFFFFF)
            set_rates(optimisers, schedule(epoch * steps + step, plan.epochs * steps, plan.warm_up))
            state["sum"] += descend(group, network, optimisers, rows, goal, plan)
            state["step"], seen = step + 1, seen + len(rows["row"])
            if plan.checkpoint_steps and state["step"] % plan.checkpoint_steps == 0 and state["step"] < steps:
                checkpoint(out, group, state, tower, optimisers)

        seconds = time.monotonic() - started
        same_buffers(group, tower)
        total, rows = group.sum(state["sum"])
        entry = {"epoch": epoch, "loss": float(total / max(rows, 1))} | evaluate(group, tower, judge, goal)
        entry |= {"seconds": seconds, "rows_per_second": seen * group.size / seconds}
        state["history"].append(entry)
        if state["best"] is None or entry["macro_f1"] > state["best"]["macro_f1"]:
            state["best"] = entry
            if group.rank == 0:
                towers.save(tower, out / "best")
        state["done"] = epoch - _better(state["history"], loss["multi_label"]) >= plan.patience
        state |= {"epoch": epoch + 1, "step": 0, "sum": np.zeros(2)}
        checkpoint(out, group, state, tower, optimisers)
        if group.rank == 0:
            with open(out / "progress.jsonl", "a") as file:
                file.write(json.dumps(entry) + "\n")
    group.barrier()  # no rank reads the best tower before it is written
    return {"history": state["history"], "best": state["best"], "folder": str(out / "best")}


def _better(history: list[dict[str, Any]], multi_label: bool) -> int:
    """The last epoch that was better than all before. With several labels macro-F1 stays at 0 while no category is more likely
    than not: there an epoch with a lower loss is better as well."""
    best = max(history, key=lambda entry: entry["macro_f1"])["epoch"]
    return max(best, min(history, key=lambda entry: entry["tune_loss"])["epoch"]) if multi_label else best


def descend(group, network, optimisers, rows: dict[str, Any], goal, plan: Plan) -> np.ndarray:
    """One step of all ranks; returns this rank's (sum of losses, rows that have the modality)."""
    modality = getattr(network, "module", network).modality
    n, device = len(rows["row"]), group.device
    rows = towers.tensors(rows, device)
    if modality == "picture" and plan.augment:
        rows["picture"] = towers.augment(rows["picture"], torch.Generator().manual_seed(torch.initial_seed()))
    ends = [n * i // plan.accumulate for i in range(plan.accumulate + 1)]
    seen = np.zeros(2)
    for part, (start, end) in enumerate(itertools.pairwise(ends)):
        some = _slice(rows, start, end)
        with nullcontext() if part + 1 == plan.accumulate else group.local(network):
            with autocast(device, plan.mixed_precision):
                logits = network(some)
            here = some["present"][modality].float() * some["weight"] * (some["label"][:, 0] >= 0)
            each = losses.rows(logits, _labels(some["label"], goal), goal) * here
            (each.sum() / n).backward()
            seen += [float(each.detach().sum()), float(here.sum())]
    with group.settle(optimisers):
        # Sparse gradients have optimisers of their own, in which each row is scaled by what it has moved.
        dense = [w for w in network.parameters() if w.grad is not None and not w.grad.is_sparse]
        torch.nn.utils.clip_grad_norm_(dense, plan.clip)
        for one in optimisers:
            one.step()
    network.zero_grad()
    return seen


def make_optimisers(tower: torch.nn.Module, plan: Plan, ranks: int = 1) -> list[torch.optim.Optimizer]:
    """AdamW for dense weights, Adagrad for embeddings: it takes sparse gradients, and dense ones alike.

    Without a rate of the plan, the kind's own. With `rank_batch` the global batch grows with the ranks, and rates with it
    (Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.1).
    """
    kind = tower.description["kind"]
    scale = ranks if plan.rank_batch else 1
    rate = (plan.rate or towers.RATES[kind]) * scale
    tables = [m.weight for m in tower.modules() if isinstance(m, torch.nn.Embedding | torch.nn.EmbeddingBag)]
    tables = [w for w in tables if kind in ("ngrams", "textcnn") and w.requires_grad]
    others = [w for w in tower.parameters() if w.requires_grad and not any(w is table for table in tables)]
    decayed, free = [w for w in others if w.ndim > 1], [w for w in others if w.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": free, "weight_decay": 0.0}]
    made = [torch.optim.AdamW([one for one in groups if one["params"]], lr=rate)]
    if tables:
        # A sparse tensor is made of a gradient's own places: what torch would check, and warns that it does not, holds.
        torch.sparse.check_sparse_tensor_invariants.disable()
        own = tower.description["sparse"] and all(table.device.type == "cpu" for table in tables)
        adagrad = sparse.SparseAdagrad if own else torch.optim.Adagrad
        made.append(adagrad(tables, lr=towers.SPARSE_RATE * rate / towers.RATES[kind]))
    for optimiser in made:
        for one in optimiser.param_groups:
            one["peak"] = one["lr"]
    return made


def schedule(step: int, steps: int, warm_up: float) -> float:
    """Share of the peak rate: a straight rise, then a cosine to 0 (Loshchilov & Hutter: SGDR, ICLR 2017, eq. 5)."""
    rise = max(1, round(warm_up * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def set_rates(optimisers: list, share: float) -> None:
    for optimiser in optimisers:
        for one in optimiser.param_groups:
            one["lr"] = one["peak"] * share


def autocast(device: str, wanted: bool) -> Any:
    """bfloat16 on CUDA where the GPU has it: its range is float32's, so no loss needs scaling."""
    if device == "cpu" or not wanted or not torch.cuda.is_bf16_supported():
        return nullcontext()
    return torch.autocast("cuda", torch.bfloat16)


# -- judging and answering --------------------------------------------------------------------------------------------


@torch.no_grad()
def evaluate(group, tower, cache: data.Cache, goal: dict[str, Any]) -> dict[str, float]:
    """Figures on rows that have the modality: tune_loss, accuracy (the first label; several: all are right), and F1.

    Several labels are those with a probability of a half or more. Macro-F1 is over categories that have rows or are said.
    """
    classes = tower.description["classes"]
    cells, sums = np.zeros((3, classes)), np.zeros(3)  # true, said, both; loss, right, rows
    tower.eval()
    for rows in data.all_rows(cache, 512, group.rank, group.size, (tower.modality,)):
        rows = towers.tensors(rows, group.device)
        here = rows["present"][tower.modality] & (rows["label"][:, 0] >= 0)
        logits = tower(rows).float()
        each = losses.rows(logits, _labels(rows["label"], goal), goal)
        truth = losses.many_hot(rows["label"], classes)[here]
        if goal["multi_label"]:
            said = (logits[here] >= 0).float()
        else:
            said = torch.nn.functional.one_hot(logits[here].argmax(1), classes).float()
        right = (said == truth).all(1)
        cells += torch.stack([truth.sum(0), said.sum(0), (truth * said).sum(0)]).double().cpu().numpy()
        sums += [float(each[here].sum()), float(right.sum()), float(here.sum())]
    cells, sums = group.sum(cells), group.sum(sums)
    known = cells[:2].sum(0) > 0
    f1 = 2 * cells[2][known] / cells[:2].sum(0)[known]
    return {
        "tune_loss": float(sums[0] / max(sums[2], 1)),
        "accuracy": float(sums[1] / max(sums[2], 1)),
        "macro_f1": float(f1.mean()) if len(f1) else 0.0,
        "micro_f1": float(2 * cells[2].sum() / max(cells[:2].sum(), 1)),
    }


@torch.no_grad()
def answers(
    tower: torch.nn.Module, batches: Iterable[dict[str, Any]], multi_label: bool = False, device: str = "cpu"
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """(batch, what the tower says of it): float32 (n, classes) log-probabilities, or logits where there may be several
    labels; rows of NaN where the modality is missing."""
    tower.eval()
    for batch in batches:
        logits = tower(towers.tensors(batch, device)).float()
        said = (logits if multi_label else logits.log_softmax(1)).cpu().numpy()
        said[~batch["present"][tower.modality]] = np.nan
        yield batch, said


def outputs(
    tower: torch.nn.Module, cache: data.Cache, multi_label: bool = False, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """(row int64 (n,), `answers` float32 (n, classes)) of all rows of a cache: what fusion learns from."""
    found = list(answers(tower, data.all_rows(cache, modalities=(tower.modality,)), multi_label, device))
    if not found:
        return np.zeros(0, np.int64), np.zeros((0, tower.description["classes"]), np.float32)
    return np.concatenate([batch["row"] for batch, _ in found]), np.concatenate([said for _, said in found])


class Features(NamedTuple):
    """Of rows: number int64 (n,), first category number int64 (n,), -1 where none is learnt, features float32 (n, d), NaN where the
    modality is missing."""

    row: np.ndarray
    label: np.ndarray
    values: np.ndarray


@torch.inference_mode()
def features(tower: torch.nn.Module, cache: data.Cache, device: str = "cpu") -> Features:
    """The features of all rows of a cache."""
    tower.eval()
    rows, labels, found = [], [], []
    for batch in data.all_rows(cache, modalities=(tower.modality,)):
        made = tower.features(towers.tensors(batch, device)).float().cpu().numpy()
        made[~batch["present"][tower.modality]] = np.nan
        rows.append(batch["row"])
        labels.append(batch["label"].reshape(len(made), -1)[:, 0].astype(np.int64))
        found.append(made)
    if not found:
        return Features(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, tower.width), np.float32))
    return Features(*(np.concatenate(one) for one in (rows, labels, found)))


# -- checkpoints ------------------------------------------------------------------------------------------------------


def fingerprint(*things: Any) -> str:
    """Of what must be the same for a checkpoint to be gone on from."""
    plain = json.dumps(things, sort_keys=True, default=lambda v: v.tolist() if isinstance(v, np.ndarray) else str(v))
    return hashlib.sha256(plain.encode()).hexdigest()


def resume(out: Path, mark: str) -> dict[str, Any]:
    """The last checkpoint of a run with this fingerprint, else a start."""
    start = {"mark": mark, "epoch": 0, "step": 0, "sum": np.zeros(2), "history": [], "best": None, "done": False}
    if not (out / "last.pt").exists():
        return start
    kept = torch.load(out / "last.pt", map_location="cpu", weights_only=True)
    if kept["mark"] != mark:
        return start
    return kept | {"sum": np.array(kept["sum"])}


def restore(state: dict[str, Any], tower: torch.nn.Module, optimisers: list) -> None:
    """Take weights and optimisers out of a checkpoint, so that it does not hold a second copy of them."""
    if "weights" not in state:
        return
    tower.load_state_dict(state.pop("weights"))
    for one, kept in zip(optimisers, state.pop("optimisers")):
        one.load_state_dict(kept)


def checkpoint(out: Path, group, state: dict[str, Any], tower, optimisers: list) -> None:
    """Write last.pt, by rank 0: losses of the epoch so far are summed over the ranks first, so all ranks call this."""
    total = group.sum(state["sum"])
    state["sum"] = total if group.rank == 0 else np.zeros(2)
    if group.rank:
        return
    kept = {key: value for key, value in state.items() if key != "sum"}
    kept |= {
        "sum": total.tolist(),
        "weights": tower.state_dict(),
        "optimisers": [one.state_dict() for one in optimisers],
    }
    with open(out / ".last.pt", "wb") as file:
        torch.save(kept, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(out / ".last.pt", out / "last.pt")


def same_buffers(group, tower: torch.nn.Module) -> None:
    """Running means of batch normalisation: of all ranks, not each its own."""
    if group.size > 1:
        for buffer in tower.buffers():
            if buffer.is_floating_point():
                mean = group.sum(buffer.double().cpu().numpy()) / group.size
                buffer.copy_(torch.as_tensor(mean, dtype=buffer.dtype))


@contextmanager
def watch(out: Path | str, say: Callable[[dict[str, Any]], None], every: float = 1.0):
    """While this is open, `say(entry)` of each epoch that a run in `out` ends, wherever its ranks are."""
    path, stopped, seen = Path(out) / "progress.jsonl", threading.Event(), 0
    seen = path.stat().st_size if path.exists() else 0

    def told() -> None:
        nonlocal seen
        if path.exists():
            text = path.read_bytes()[seen:]
            whole = text[: text.rfind(b"\n") + 1]
            seen += len(whole)
            for one in whole.splitlines():
                say(json.loads(one))

    def work() -> None:
        while not stopped.wait(every):
            told()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        told()


def _labels(labels: torch.Tensor, goal: dict[str, Any]) -> torch.Tensor:
    return labels if goal["multi_label"] else labels[:, 0].clamp_min(0)


def _slice(rows: dict[str, Any], start: int, end: int) -> dict[str, Any]:
    return {k: _slice(v, start, end) if isinstance(v, dict) else v[start:end] for k, v in rows.items()}
