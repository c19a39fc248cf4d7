"""Learn a rule of fusion (fusion.py) on outputs that towers gave of rows they had not learnt from. No Spark here.

A learned policy that starts from nothing needs more rows than are ever held out: on 20,000 it was below the plain mean. So

1. It starts at the mean of the probabilities, and the few numbers that say how to mix mean, maximum and product are fitted
   first, by L-BFGS: a convex problem with a number a channel.
2. Gates, weights of each class and modality and the network start at 0, are learnt together from there with decay, on
   batches, while the loss on held-out leak groups falls; the best step is kept, which may be the start.
3. This is done `MEMBERS` times, each with another fifth of the leak groups held out, and the members' scores are averaged: every
   row is learnt from.
4. How far to go from the start to there, and how much of what was learnt of a category to keep by the rows it was learnt of,
   n / (n + k), is chosen for all members at once on what each held out, by accuracy plus macro-F1 (micro-F1 for several
   labels): 0 is a step, so what was learnt has to be of use. Chosen by each member for itself, from a fifth in which a rare
   category has a row or two, it cost the rare ones more than it brought the others.

Each set of two modalities or more has a policy of its own, learnt from all rows that have them: a missing picture meets a
policy that never heard of pictures.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from shelfmark.errors import DataRefused
from shelfmark.labels.weights import How, class_weights
from shelfmark.metrics import bootstrap
from shelfmark.multimodal import fusion

log = logging.getLogger(__name__)

HELD = 5  # one leak group in so many is held out to stop by
PLAIN = ("max", "mean")
"""Rules that learn nothing."""
ON_TUNE = (*PLAIN, "early")
"""Rules that need no answers about folds: the features of two folds' towers are two languages, so `early` learns on the tune side."""
MANY = 250  # categories above which `tried` leaves the policy out: with 4 modalities 416 take ten minutes on two cores
MEMBERS = 3  # of a policy: each has another fifth held out, and learns from what the others stop by; their scores are averaged
ENOUGH = 300  # rows of a set of modalities that something is learnt from; below that they are fused by the mean
MOST = 1 << 27  # numbers of outputs that a rule is learnt from: half a gigabyte; more rows are sampled
HIDDEN = 64
BATCH, EPOCHS, PATIENCE = 256, 40, 5
RATE = 1e-3
DECAY = {"gate": 1e-2, "own": 1e-2, "bias": 1e-2, "in": 1e-4, "in_bias": 0.0, "out": 1e-2, "linear": 1e-2}
DROPOUT = 0.3  # of a modality, in early fusion
STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the way from the start of a policy to its end
SUPPORTS = (0.0, 3.0, 10.0, 30.0)  # k: rows of a category at which half of what was learnt of it is kept
BY_CLASS = ("own", "bias", "out", "linear")  # what a policy learns of each category: its last axis
RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class Sample(NamedTuple):
    """Rows to learn from: logs float32[rows, modalities, classes]; truth int64[rows] or float32[rows, classes]; weight
    float32[rows]; folds int[rows], the leak groups' fifths: the rows of fold 0 are those held out."""

    logs: np.ndarray
    truth: np.ndarray
    weight: np.ndarray
    folds: np.ndarray

    @property
    def held(self) -> np.ndarray:
        return self.folds == 0


def tried(classes: int) -> list[str]:
    """The rules that `multimodal.fusion: auto` chooses among."""
    return [name for name in fusion.RULES if name != "early" and (name != "policy" or classes <= MANY)]


def fit(
    name: str,
    outputs: fusion.Outputs,
    truth: np.ndarray,
    weights: np.ndarray | None = None,
    seed: int = 0,
    group: np.ndarray | None = None,
    kind: str = "multiclass",
    classes: int | None = None,
    sets: list[tuple[str, ...]] | None = None,
    threads: int = 1,
    reweight: How = "sqrt",
    dropout: float = DROPOUT,
) -> fusion.Rule:
    """A rule learnt of towers' outputs of rows that the towers did not learn from.

    outputs: see fusion.py; for `early` the towers' features, float32[rows, width] (then `classes` must be told). truth:
    category number of each row (-1: not learnt, left out), or bool[rows, classes] for several labels. weights: of rows.
    group: uint64 hashes of leak groups, so that what is held out is not look-alikes of what is learnt; by default each
    row is its own. sets: of modalities that get parameters of their own; by default all. threads: of torch; two on a busy
    machine wait for each other most of the time. reweight: class weights of a policy of one label, on top of `weights`: on
    fashion `sqrt` costs 0.0004 of accuracy and brings 0.008 of macro-F1. dropout: chance that `early` learns a row without one of
    its modalities.

    Raises `ValueError` for an unknown rule or kind, or shapes that differ.
    """
    if name not in fusion.RULES:
        raise ValueError(f"no rule {name!r}: {', '.join(fusion.RULES)}")
    if kind not in fusion.KINDS:
        raise ValueError(f"no kind {kind!r}: {', '.join(fusion.KINDS)}")
    modalities, truth = tuple(outputs), np.asarray(truth)
    n = len(truth)
    if classes is None:
        classes = truth.shape[1] if kind == "multilabel" else next(iter(outputs.values())).shape[1]
    weights = np.ones(n, np.float32) if weights is None else np.asarray(weights, np.float32)
    group = np.arange(n, dtype=np.uint64) if group is None else np.asarray(group, np.uint64)
    known = (truth >= 0 if kind == "multiclass" else np.ones(n, bool)) & (weights > 0)
    prior = _prior(truth[known], classes, kind)
    rule = fusion.Rule(name, kind, modalities, prior)
    if name in PLAIN:
        return rule
    there = fusion.present(rule, outputs)
    folds = (bootstrap.mix(group ^ np.uint64(seed + 0x5EED)) % np.uint64(HELD)).astype(np.int64)
    held = folds == 0
    if name == "early":
        with torch_threads(threads):
            return _early(rule, outputs, truth, weights, held, known, there, seed, dropout)
    if name == "policy" and kind == "multiclass":
        boost = class_weights(np.bincount(truth[known], minlength=classes), reweight).astype(np.float32)
        weights = np.where(known, weights * boost[np.maximum(truth, 0)], weights)
    parts, about = {}, {}
    if sets is None:
        sets = [some for size in range(1, len(modalities) + 1) for some in itertools.combinations(modalities, size)]
    for some in sets:
        if len(some) == 1 and name != "policy":
            continue
        rows = np.flatnonzero(known & there[:, [modalities.index(one) for one in some]].all(1))
        rows = _thinned(rows, MOST // (classes * (len(some) + 2)), seed)
        if len(rows) < ENOUGH or not 0 < held[rows].sum() < len(rows):
            about[fusion.key(some)] = {"rows": len(rows)}
            continue
        logs = np.stack([outputs[one][rows] for one in some], 1).astype(np.float32)
        target = truth[rows].astype(np.int64 if kind == "multiclass" else np.float32)
        sample = Sample(logs, target, weights[rows], folds[rows])
        with torch_threads(threads):
            part, told = {"ridge": _ridge, "gated": _gated, "policy": _policy}[name](sample, kind, seed)
        parts[fusion.key(some)], about[fusion.key(some)] = part, {"rows": len(rows)} | told
        log.info("fusion %s of %s: %s", name, fusion.key(some), told)
    return fusion.Rule(name, kind, modalities, prior, parts, about)


@contextmanager
def torch_threads(number: int = 1) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _prior(truth: np.ndarray, classes: int, kind: str) -> np.ndarray:
    """Shares of the categories, as if each had half a row more."""
    counts = np.bincount(truth, minlength=classes) if kind == "multiclass" else truth.sum(0)
    total = counts.sum() + classes / 2 if kind == "multiclass" else len(truth) + 1
    return ((counts + 0.5) / total).astype(np.float32)


def _thinned(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def quality(chance: np.ndarray, truth: np.ndarray, kind: str) -> float:
    """Accuracy plus macro-F1 over the categories there are; of several labels, micro-F1 at a probability of a half."""
    if kind == "multilabel":
        said, true = chance >= 0.5, truth > 0
        return float(2 * (said & true).sum() / max(said.sum() + true.sum(), 1))
    counted = bootstrap.counts(truth, chance.argmax(1), np.zeros(len(truth), np.uint64), chance.shape[1], 0)
    return float(bootstrap.accuracy(counted)[0] + bootstrap.macro_f1(counted)[0])


# -- the policy ---------------------------------------------------------------------------------------------------


def _policy(sample: Sample, kind: str, seed: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    import torch

    torch.manual_seed(seed)
    modalities = sample.logs.shape[1]
    channel = fusion.channels(sample.logs, kind)
    chance = fusion.chances(sample.logs, kind)
    if modalities == 1:
        return _tempered(torch, channel, sample, kind)
    given = [torch.from_numpy(some) for some in (channel, fusion.signs(chance), chance.reshape(len(chance), -1))]
    truth, weight = torch.from_numpy(sample.truth), torch.from_numpy(sample.weight)
    members = []
    for member in range(min(MEMBERS, sample.folds.max() + 1)):
        learn, held = (np.flatnonzero(some) for some in (sample.folds != member, sample.folds == member))
        if len(learn) and len(held):
            members.append(_member(torch, given, truth, weight, learn, held, kind, seed + member))
    true = truth[np.concatenate([one.held for one in members])].numpy()
    scored = {}
    for step, support in itertools.product(STEPS, SUPPORTS):
        said = torch.cat([_scores(torch, one.at(step, support), given, one.held) for one in members])
        scored[step, support] = quality(fusion.spread_scores(said.numpy(), kind), true, kind)
    chosen = max(scored, key=scored.get)  # of equals the shortest way
    parts = [{name: one.numpy().astype(np.float32) for name, one in member.at(*chosen).items()} for member in members]
    told = {"step": chosen[0], "support": chosen[1], "members": [one.told for one in members]}
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}, told


class Member(NamedTuple):
    """Of a policy: where it started, what it learnt, rows of each category that it learnt from, rows that it held out."""

    start: dict[str, Any]
    end: dict[str, Any]
    rows: Any
    held: np.ndarray
    told: dict[str, Any]

    def at(self, step: float, support: float) -> dict[str, Any]:
        """A part of the way from start to end; of a category n / (n + support) of what was learnt of it."""
        # Scores are no line in these numbers, but a way from start to end all the same.
        way = {name: self.start[name] + step * (self.end[name] - self.start[name]) for name in self.start}
        way["in"], way["in_bias"] = self.end["in"], self.end["in_bias"]
        if support:
            way |= {name: way[name] * (self.rows / (self.rows + support)) for name in BY_CLASS}
        return way


def _member(torch, given, truth, weight, learn, held, kind: str, seed: int) -> Member:
    """A member of a policy: learnt on the rows `learn`, stopped by the rows `held`."""
    (channels, classes), inputs, signs = given[0].shape[1:], given[2].shape[1], given[1].shape[1]
    part = {
        "scale": torch.tensor([0.0] * (channels - 2) + [1.0, 0.0]),  # the mean of the probabilities
        "gate": torch.zeros(signs, channels),
        "own": torch.zeros(channels, classes),
        "bias": torch.zeros(classes),
        "in": torch.randn(inputs, HIDDEN) * (channels - 2) ** -0.5,
        "in_bias": torch.zeros(HIDDEN),
        "out": torch.zeros(HIDDEN, classes),
        "linear": torch.zeros(inputs, classes),
    }
    mixed = _mixed(torch, given[0][learn], truth[learn], weight[learn], kind)
    mean_loss = _held_loss(torch, part, given, truth, weight, held, kind)
    start = part | {"scale": mixed}
    start_loss = _held_loss(torch, start, given, truth, weight, held, kind)
    if start_loss > mean_loss:
        start, start_loss = part, mean_loss
    end, end_loss, epochs = _descend(torch, start, given, truth, weight, learn, held, kind, seed)
    told = {"held": len(held), "loss_mean": mean_loss, "loss_start": start_loss, "loss": end_loss, "epochs": epochs}
    own = truth[learn]
    rows = torch.bincount(own, minlength=classes).float() if kind == "multiclass" else (own > 0).sum(0).float()
    return Member(start, end, rows, held, told | {"scale": mixed.tolist()})


def _scores(torch, part, given, rows):
    with torch.no_grad():
        some = [
            fusion.policy_scores(torch, part, *(one[at] for one in given))
            for at in np.array_split(rows, len(rows) // 8192 + 1)
        ]
    return torch.cat(some)


def _loss(torch, scores, truth, kind: str):
    """Per row; of several labels the sum over categories."""
    if kind == "multiclass":
        return torch.nn.functional.cross_entropy(scores, truth, reduction="none")
    return torch.nn.functional.binary_cross_entropy_with_logits(scores, truth, reduction="none").sum(1)


def _held_loss(torch, part, given, truth, weight, rows, kind: str) -> float:
    loss = _loss(torch, _scores(torch, part, given, rows), truth[rows], kind)
    return float((loss * weight[rows]).sum() / weight[rows].sum())


def _mixed(torch, channel, truth, weight, kind: str):
    """The likeliest weight of each channel, from that of the mean alone."""
    channels = channel.shape[1]
    scale = torch.zeros(channels)
    scale[-2 if channels > 1 else 0] = 1
    scale.requires_grad_()
    descent = torch.optim.LBFGS([scale], max_iter=30, line_search_fn="strong_wolfe")

    def closure():
        descent.zero_grad()
        scores = torch.einsum("j,njc->nc", scale, channel)
        loss = (_loss(torch, scores, truth, kind) * weight).sum() / weight.sum()
        loss.backward()
        return loss

    descent.step(closure)
    return scale.detach()


def _tempered(torch, channel, sample: Sample, kind: str):
    """One tower's temperature; of several labels an offset for each would be the tower's own business."""
    truth, weight = torch.from_numpy(sample.truth), torch.from_numpy(sample.weight)
    scale = _mixed(torch, torch.from_numpy(channel), truth, weight, kind).clamp(0.05, 20)
    part = {"scale": scale.numpy().astype(np.float32), "bias": np.zeros(channel.shape[2], np.float32)}
    return part, {"scale": scale.tolist()}


def _descend(torch, start, given, truth, weight, learn, held, kind: str, seed: int):
    """From `start` by AdamW on batches until the held-out loss has not fallen for `PATIENCE` epochs: (the best parameters,
    their loss, their epoch)."""
    part = {name: values.clone().requires_grad_() for name, values in start.items()}
    groups = [{"params": [part[name]], "weight_decay": DECAY.get(name, 0.0)} for name in part if name != "scale"]
    steps = torch.optim.AdamW(groups, lr=RATE)
    best, least, when = start, _held_loss(torch, start, given, truth, weight, held, kind), 0
    rng = np.random.default_rng(seed)
    for epoch in range(1, EPOCHS + 1):
        order = torch.from_numpy(learn[rng.permutation(len(learn))])
        for some in order.split(BATCH):
            steps.zero_grad()
            scores = fusion.policy_scores(torch, part, *(one[some] for one in given))
            loss = (_loss(torch, scores, truth[some], kind) * weight[some]).sum() / weight[some].sum()
            loss.backward()
            steps.step()
        now = {name: values.detach().clone() for name, values in part.items()}
        found = _held_loss(torch, now, given, truth, weight, held, kind)
        if found < least:
            best, least, when = now, found, epoch
        if epoch - when >= PATIENCE:
            break
    return best, least, when


# -- ridge and gates ----------------------------------------------------------------------------------------------


def _ridge(sample: Sample, kind: str, seed: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Ridge regression of the true categories on all probabilities, centred; the penalty that is best on the held-out part,
    then all rows with it. What it says is made a probability by a slope that is fitted there too."""
    import torch

    chance = fusion.chances(sample.logs, kind).reshape(len(sample.logs), -1).astype(np.float64)
    classes = sample.logs.shape[2]
    wanted = sample.truth if kind == "multilabel" else np.eye(classes, dtype=np.float32)[sample.truth]
    learn, held = ~sample.held, sample.held

    def solved(rows: np.ndarray) -> Callable[[float], tuple[np.ndarray, np.ndarray]]:
        weight = sample.weight[rows, None].astype(np.float64)
        middle = (chance[rows] * weight).sum(0) / weight.sum(), (wanted[rows] * weight).sum(0) / weight.sum()
        centred = (chance[rows] - middle[0]) * np.sqrt(weight)
        values, vectors = np.linalg.eigh(centred.T @ centred)
        turned = vectors.T @ (centred.T @ ((wanted[rows] - middle[1]) * np.sqrt(weight)))

        def at(penalty: float) -> tuple[np.ndarray, np.ndarray]:
            found = vectors @ (turned / (np.maximum(values, 0)[:, None] + penalty))
            return found, middle[1] - middle[0] @ found

        return at

    tried, of = {}, solved(learn)
    for penalty in RIDGES:
        found, bias = of(penalty)
        tried[penalty] = quality(chance[held] @ found + bias, sample.truth[held], kind)
    penalty = max(tried, key=tried.get)
    found, bias = of(penalty)
    scores = torch.from_numpy((chance[held] @ found + bias).astype(np.float32))
    slope, offset = torch.ones(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    descent = torch.optim.LBFGS([slope, offset], max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        descent.zero_grad()
        said = slope * scores + (offset if kind == "multilabel" else 0.0)
        loss = (
            _loss(torch, said, torch.from_numpy(sample.truth[held]), kind) * torch.from_numpy(sample.weight[held])
        ).mean()
        loss.backward()
        return loss

    descent.step(closure)
    found, bias = solved(np.ones(len(chance), bool))(penalty)
    part = {"weight": found, "bias": bias, "slope": slope.detach().numpy()[0], "offset": offset.detach().numpy()[0]}
    return {name: np.asarray(values, np.float32) for name, values in part.items()}, {"penalty": penalty}


def _gated(sample: Sample, kind: str, seed: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Gates that are likeliest, from equal ones, by L-BFGS with a little decay."""
    import torch

    chance = fusion.chances(sample.logs, kind)
    sign, towers = torch.from_numpy(fusion.signs(chance)), torch.from_numpy(chance)
    truth, weight = torch.from_numpy(sample.truth), torch.from_numpy(sample.weight)
    gate = torch.zeros(sign.shape[1], chance.shape[1], requires_grad=True)
    bias = torch.zeros(chance.shape[1], requires_grad=True)
    descent = torch.optim.LBFGS([gate, bias], max_iter=100, line_search_fn="strong_wolfe")
    there = torch.ones(1, chance.shape[1])

    def closure():
        descent.zero_grad()
        share = fusion.gates(torch, {"gate": gate, "gate_bias": bias}, sign, there)
        said = torch.einsum("nm,nmc->nc", share, towers).clamp(float(np.exp(fusion.FLOOR)), 1 - 1e-6)
        if kind == "multiclass":
            loss = torch.nn.functional.nll_loss((said / said.sum(1, keepdim=True)).log(), truth, reduction="none")
        else:
            loss = torch.nn.functional.binary_cross_entropy(said, truth, reduction="none").sum(1)
        loss = (loss * weight).sum() / weight.sum() + 1e-4 * (gate**2).sum()
        loss.backward()
        return loss

    descent.step(closure)
    part = {"gate": gate.detach().numpy(), "gate_bias": bias.detach().numpy()}
    return {name: values.astype(np.float32) for name, values in part.items()}, {"loss": float(closure().detach())}


# -- early fusion -------------------------------------------------------------------------------------------------


def _early(rule, features, truth, weights, held, known, there, seed: int, dropout: float) -> fusion.Rule:
    """A dense network over all features, each modality of a row left out by chance while it learns."""
    import torch

    lacking = [name for at, name in enumerate(rule.modalities) if not (there[:, at] & known).any()]
    if lacking or not (known & held).any() or not (known & ~held).any():
        none = f", none with a {' or a '.join(lacking)}" if lacking else ""
        raise DataRefused(
            f"early fusion learns on the tune side, which has {int(known.sum()):,} rows with a learnt category{none}: set "
            "multimodal.fusion to auto or mean, or bring more labels"
        )
    torch.manual_seed(seed)
    classes, kind = rule.classes, rule.kind
    part: dict[str, np.ndarray] = {}
    for at, name in enumerate(rule.modalities):
        some = features[name][there[:, at]]
        part[f"mean:{name}"], part[f"width:{name}"] = some.mean(0), some.std(0) + 1e-3
    filled = [
        np.where(there[:, [at]], (features[name] - part[f"mean:{name}"]) / part[f"width:{name}"], 0)
        for at, name in enumerate(rule.modalities)
    ]
    widths = [one.shape[1] for one in filled]
    given = torch.from_numpy(np.concatenate([*filled, there], 1).astype(np.float32))
    target = torch.from_numpy(truth.astype(np.int64 if kind == "multiclass" else np.float32))
    weight = torch.from_numpy(weights)
    hidden = 4 * HIDDEN
    net = {
        "in": torch.randn(given.shape[1], hidden) * (2 / given.shape[1]) ** 0.5,
        "in_bias": torch.zeros(hidden),
        "out": torch.zeros(hidden, classes),
        "bias": torch.from_numpy(fusion.logs_of(rule.prior, kind)),
    }
    net = {name: values.requires_grad_() for name, values in net.items()}
    steps = torch.optim.AdamW(net.values(), lr=RATE / 2, weight_decay=1e-3)
    learn, stop = (np.flatnonzero(known & some) for some in (~held, held))
    rng, least, when, best = np.random.default_rng(seed), np.inf, 0, net
    for epoch in range(1, EPOCHS + 1):
        for some in torch.from_numpy(learn[rng.permutation(len(learn))]).split(BATCH):
            kept = _dropped(rng, there[some.numpy()], dropout)
            mask = np.concatenate([*(np.repeat(kept[:, [at]], w, 1) for at, w in enumerate(widths)), kept], 1)
            inputs = given[some] * torch.from_numpy(mask.astype(np.float32))
            steps.zero_grad()
            hidden_in = torch.nn.functional.dropout(inputs, 0.1)
            loss = _loss(torch, fusion.early_scores(torch, net, hidden_in), target[some], kind)
            ((loss * weight[some]).sum() / weight[some].sum()).backward()
            steps.step()
        with torch.no_grad():
            loss = _loss(torch, fusion.early_scores(torch, net, given[stop]), target[stop], kind)
        found = float((loss * weight[stop]).sum() / weight[stop].sum())
        if found < least:
            best, least, when = {name: values.detach().clone() for name, values in net.items()}, found, epoch
        if epoch - when >= PATIENCE:
            break
    part |= {name: values.detach().numpy() for name, values in best.items()}
    part = {name: np.asarray(values, np.float32) for name, values in part.items()}
    return fusion.Rule(rule.name, kind, rule.modalities, rule.prior, {"early": part}, {"loss": least, "epochs": when})


def _dropped(rng: np.random.Generator, there: np.ndarray, chance: float) -> np.ndarray:
    """Which modalities rows keep, each left out by chance; a row that would have none keeps what it has."""
    kept = there & (rng.random(there.shape) >= chance)
    return np.where(kept.any(1, keepdims=True), kept, there)
