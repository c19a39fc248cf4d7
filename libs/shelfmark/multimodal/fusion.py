"""From the outputs of towers to one probability a category: rules of fusion, applied in NumPy. No Spark, no torch here.

Outputs are a dict of modality -> float32[rows, classes]: log-probabilities (multi-class) or logits (multi-label), a row
of NaN where the product has nothing of that modality. A rule has parameters of its own for each set of modalities that a
row may have, so nothing is ever filled in: what is missing is as if there were no such tower.

mean      the mean of the probabilities, over the modalities a row has
max       the largest of them, per category; of one label, scaled to sum to 1
ridge     ridge regression of the true categories on all probabilities, a softmax of what it says
gated     the mean of the probabilities with weights that follow from how sure each tower is (Arevalo et al. 2017, "Gated
          Multimodal Units for Information Fusion", with gates on outputs)
policy    the learned policy: a small dense network over the towers' outputs, as a correction of what is known to work.
          It begins as the mean of the probabilities. Scores are
              sum over channels j of (scale_j * exp(tanh(gate_j(row))) + own_jc) * channel_jc + bias_c + dense_c
          where dense is a linear layer and a network of one hidden layer over all probabilities, and the channels are the
          towers' log-probabilities, that of their mean and that of their maximum: product of experts, mean and maximum are all
          points of it, and whatever is learnt has to beat them (fit_fusion.py). Several members' scores are averaged.
early     a dense network over the towers' features (not outputs), trained with modalities left out at random

A row of one modality alone gets that tower's word: by mean, max, ridge and gated as it is, by policy at a temperature.
A row of none gets the shares of the categories in training.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.errors import DataRefused

RULES = ("max", "mean", "ridge", "gated", "policy", "early")
KINDS = ("multiclass", "multilabel")
FORMAT = 1
FLOOR = -12.0  # of a log-probability: one tower that is sure of no must not outvote all others for ever
FILES = ("fusion.json", "fusion.npz")

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Rule:
    """A rule of fusion; plain data.

    modalities: in the order that parameters have them. prior: float32[classes], said of a row without any modality.
    parts: parameters by set of modalities, their names joined by "+"; a set without an entry is fused by the mean.
    about: what was measured while it was fitted.
    """

    name: str
    kind: str
    modalities: tuple[str, ...]
    prior: np.ndarray
    parts: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        return len(self.prior)


def apply(rule: Rule, outputs: Outputs) -> np.ndarray:
    """Probabilities float32[rows, classes]; of one label they sum to 1.

    outputs: of some of the rule's modalities at least; for `early` their features float32[rows, width]. Raises
    `ValueError` for a modality that the rule does not know, or shapes that differ.
    """
    there = present(rule, outputs)
    out = np.empty((len(there), rule.classes), np.float32)
    for held, rows in _patterns(there):
        names = [name for name, has in zip(rule.modalities, held) if has]
        out[rows] = _fused(rule, {name: outputs[name][rows] for name in names}, len(rows))
    return out


def present(rule: Rule, outputs: Outputs) -> np.ndarray:
    """Which modality each row has, bool[rows, modalities]: all of its numbers are numbers."""
    if unknown := outputs.keys() - set(rule.modalities):
        raise ValueError(f"the rule was learnt of {', '.join(rule.modalities)}, not of {', '.join(sorted(unknown))}")
    sizes = {len(values) for values in outputs.values()}
    if len(sizes) != 1:
        raise ValueError(f"outputs of different lengths: {sorted(sizes)}" if sizes else "no outputs of any modality")
    there = np.zeros((sizes.pop(), len(rule.modalities)), bool)
    for at, name in enumerate(rule.modalities):
        if name in outputs:
            if rule.name != "early" and outputs[name].shape[1] != rule.classes:
                raise ValueError(f"{name}: {outputs[name].shape[1]} classes, the rule has {rule.classes}")
            there[:, at] = ~np.isnan(outputs[name]).any(1)
    return there


def contributions(rule: Rule, outputs: Outputs, chosen: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """What each modality brought to the chosen category, float32[rows] in nats: its Shapley value (Shapley 1953, "A value
    for n-person games") of the log-probability, over all sets of the row's modalities. They sum to the log-probability
    less that of the prior, whatever the rule; 0 of a modality that the row does not have.

    chosen: category of each row; by default the most likely. Of m modalities the rule is applied 2^m times.
    """
    chosen = apply(rule, outputs).argmax(1) if chosen is None else np.asarray(chosen)
    rows, prior = np.arange(len(chosen)), rule.prior[chosen]

    def said(some: tuple[str, ...]) -> np.ndarray:
        return apply(rule, {name: outputs[name] for name in some})[rows, chosen] if some else prior

    found = shapley([name for name in rule.modalities if name in outputs], said)
    nothing = np.zeros(len(rows), np.float32)
    return {name: found.get(name, nothing) for name in rule.modalities}


def shapley(names: Sequence[str], chance: Callable[[tuple[str, ...]], np.ndarray]) -> dict[str, np.ndarray]:
    """What each of `names` brings to the logarithm of a probability, float32[rows]. chance: that probability, float32[rows], where
    only some of them speak; it is asked 2^n times."""
    names, found = list(names), {}
    for size in range(len(names) + 1):
        for some in itertools.combinations(names, size):
            found[frozenset(some)] = np.log(np.maximum(chance(some), np.exp(FLOOR)))
    out = {}
    for name in names:
        others = [one for one in names if one != name]
        total = np.zeros(len(found[frozenset()]))
        for some in (s for size in range(len(others) + 1) for s in itertools.combinations(others, size)):
            share = math.factorial(len(some)) * math.factorial(len(others) - len(some)) / math.factorial(len(names))
            total += share * (found[frozenset({*some, name})] - found[frozenset(some)])
        out[name] = total.astype(np.float32)
    return out


def save(rule: Rule, folder: Path | str) -> None:
    """Write fusion.json and fusion.npz; the same rule gives the same bytes."""
    folder = Path(folder)
    said = {"format": FORMAT, "name": rule.name, "kind": rule.kind, "modalities": rule.modalities, "about": rule.about}
    (folder / FILES[0]).write_text(json.dumps(said, sort_keys=True))
    arrays = {f"{of}/{name}": values for of, part in rule.parts.items() for name, values in part.items()}
    np.savez(folder / FILES[1], prior=rule.prior, **arrays)


def load(folder: Path | str) -> Rule:
    """The rule of a folder. Raises `DataRefused` where it is of another format."""
    folder = Path(folder)
    said = json.loads((folder / FILES[0]).read_text())
    if said["format"] != FORMAT:
        raise DataRefused(f"{folder}/{FILES[0]} has format {said['format']}, this version reads {FORMAT}: train again")
    parts: dict[str, dict[str, np.ndarray]] = {}
    with np.load(folder / FILES[1]) as arrays:
        prior = arrays["prior"]
        for key in set(arrays.files) - {"prior"}:
            of, _, name = key.rpartition("/")
            parts.setdefault(of, {})[name] = arrays[key]
    return Rule(said["name"], said["kind"], tuple(said["modalities"]), prior, parts, said["about"])


# -- what rules are made of: fit_fusion.py learns with the same functions -------------------------------------------


def key(names: Sequence[str]) -> str:
    return "+".join(names)


def chances(logs: np.ndarray, kind: str) -> np.ndarray:
    """Probabilities of log-probabilities or logits, float32 of the same shape."""
    logs = np.maximum(logs, FLOOR)
    return (np.exp(logs) if kind == "multiclass" else 1 / (1 + np.exp(-np.minimum(logs, -FLOOR)))).astype(np.float32)


def logs_of(chance: np.ndarray, kind: str) -> np.ndarray:
    """The inverse of `chances`, no number beyond the floor."""
    chance = np.maximum(chance, np.exp(FLOOR))
    if kind == "multiclass":
        return np.log(chance).astype(np.float32)
    return np.log(chance / np.maximum(1 - chance, np.exp(FLOOR))).astype(np.float32)


def channels(logs: np.ndarray, kind: str) -> np.ndarray:
    """What a policy weighs, float32[rows, modalities + 2, classes]: of `logs` [rows, modalities, classes] themselves, then
    that of the mean of the probabilities and that of their maximum. Of one modality, itself alone."""
    logs = np.clip(logs, FLOOR, -FLOOR)
    if logs.shape[1] == 1:
        return logs
    chance = chances(logs, kind)
    joined = np.stack([logs_of(chance.mean(1), kind), logs_of(chance.max(1), kind)], 1)
    return np.concatenate([logs, joined], 1)


def signs(chance: np.ndarray) -> np.ndarray:
    """What tells how far each tower can be trusted, float32[rows, 3 * modalities + pairs]: of `chance` [rows, modalities,
    classes] the largest, its lead over the next, the entropy (0 to 1), and of each two how far they overlap (the
    Bhattacharyya coefficient)."""
    m, classes = chance.shape[1:]
    top = np.partition(chance, max(classes - 2, 0), 2)[:, :, -2:] if classes > 1 else np.repeat(chance, 2, 2)
    share = chance / np.maximum(chance.sum(2, keepdims=True), 1e-12)
    entropy = -(share * np.log(np.maximum(share, 1e-12))).sum(2) / max(np.log(classes), 1e-12)
    root = np.sqrt(share)
    pairs = [(root[:, a] * root[:, b]).sum(1, keepdims=True) for a, b in itertools.combinations(range(m), 2)]
    return np.concatenate([top[:, :, 1], top[:, :, 1] - top[:, :, 0], entropy, *pairs], 1).astype(np.float32)


def policy_scores(lib, part: dict, channel, sign, chance):
    """Scores [rows, classes] of one member of a policy; `lib` is numpy or torch, so that what is learnt is what is applied.

    channel [rows, channels, classes] and sign of the functions of these names, chance [rows, modalities * classes].
    """
    scores = lib.einsum("nj,njc->nc", part["scale"] * lib.exp(lib.tanh(sign @ part["gate"])), channel)
    scores = scores + lib.einsum("jc,njc->nc", part["own"], channel) + part["bias"]
    hidden = chance @ part["in"] + part["in_bias"]
    return scores + (hidden * (hidden > 0)) @ part["out"] + chance @ part["linear"]


def gates(lib, part: dict, sign, there):
    """Weights [rows, modalities] of a gated sum, 0 where a row (`there` bool) has no such modality."""
    raw = sign @ part["gate"] + part["gate_bias"]
    raw = lib.exp(raw - lib.amax(raw, 1)[:, None]) * there
    return raw / raw.sum(1)[:, None]


def early_scores(lib, part: dict, features):
    """Scores [rows, classes] of the network over all features (0 for what is missing) and a flag for each modality."""
    hidden = features @ part["in"] + part["in_bias"]
    return (hidden * (hidden > 0)) @ part["out"] + part["bias"]


def spread_scores(scores: np.ndarray, kind: str) -> np.ndarray:
    """Probabilities of scores: softmax, or of each by itself the sigmoid."""
    if kind == "multilabel":
        return (1 / (1 + np.exp(-np.clip(scores, -40, 40)))).astype(np.float32)
    raised = np.exp(scores - scores.max(1, keepdims=True))
    return (raised / raised.sum(1, keepdims=True)).astype(np.float32)


def early_inputs(rule_modalities: Sequence[str], features: Outputs, part: dict, rows: int) -> np.ndarray:
    """Standardised features of all modalities side by side, 0 where missing, then a flag for each; float32."""
    columns, flags = [], []
    for name in rule_modalities:
        middle, width = part[f"mean:{name}"], part[f"width:{name}"]
        found = (features[name] - middle) / width if name in features else np.zeros((rows, len(middle)), np.float32)
        flags.append(np.full((rows, 1), float(name in features), np.float32))
        columns.append(found.astype(np.float32))
    return np.concatenate(columns + flags, 1)


def _fused(rule: Rule, outputs: Outputs, n: int) -> np.ndarray:
    """Probabilities of rows that all have just these modalities."""
    names = list(outputs)
    if not names:
        return np.broadcast_to(rule.prior, (n, rule.classes))
    if rule.name == "early":
        part = rule.parts["early"]
        return spread_scores(early_scores(np, part, early_inputs(rule.modalities, outputs, part, n)), rule.kind)
    logs = np.stack([outputs[name] for name in names], 1)
    chance = chances(logs, rule.kind)
    part = rule.parts.get(key(names))
    if rule.name == "policy" and part is not None:
        channel = channels(logs, rule.kind)
        if len(names) == 1:
            return spread_scores(part["scale"][0] * channel[:, 0] + part["bias"], rule.kind)
        given, members = (channel, signs(chance), chance.reshape(n, -1)), len(part["scale"])
        each = (policy_scores(np, {name: values[at] for name, values in part.items()}, *given) for at in range(members))
        return spread_scores(sum(each) / members, rule.kind)
    if len(names) == 1:
        return chance[:, 0] if rule.kind == "multilabel" else _normal(chance[:, 0])
    if rule.name == "ridge" and part is not None:
        scores = chance.reshape(n, -1) @ part["weight"] + part["bias"]
        return spread_scores(part["slope"] * scores + part["offset"], rule.kind)
    if rule.name == "gated" and part is not None:
        share = gates(np, part, signs(chance), np.ones((n, len(names)), bool))
        return _normalised(np.einsum("nm,nmc->nc", share, chance), rule.kind)
    return _normalised(chance.max(1) if rule.name == "max" else chance.mean(1), rule.kind)


def _normalised(chance: np.ndarray, kind: str) -> np.ndarray:
    return _normal(chance) if kind == "multiclass" else chance.astype(np.float32)


def _normal(chance: np.ndarray) -> np.ndarray:
    return (chance / chance.sum(1, keepdims=True)).astype(np.float32)


def _patterns(there: np.ndarray):
    """(which modalities, rows) of each combination that occurs; none for no rows."""
    codes = there @ (1 << np.arange(there.shape[1]))
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        yield there[rows[0]], rows
