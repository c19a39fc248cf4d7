"""A trained multimodal model: a folder of towers, a rule of fusion and what turns probabilities into decisions. No Spark.

model.json            kind, encoding, categories, tree, taxonomy version; of text/calibrate.py curves, thresholds, scope
<modality>/           each tower's description and weights (towers.py)
fusion.json, .npz     the rule (fusion.py), learnt on outputs of rows that the towers had not learnt from
space.npz             vectors of products and prototypes of categories (embeddings.py); may be absent

`answer` is all there is to predicting: batch job, serving and tests call it with Arrow rows, any column of which may be
missing or null. A tower sees only the rows that have its modality.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from shelfmark import answers
from shelfmark.config import Decision
from shelfmark.errors import DataRefused
from shelfmark.multimodal import embeddings, encode, fusion
from shelfmark.text import calibrate
from shelfmark.text.evidence import TYPE as EVIDENCE

FORMAT = 1  # of the folder; a reader refuses another
ROWS = 256  # that a tower sees at a time: pictures of a batch take 3 MB at 64 pixels
NEVER = -1e9  # an agreement that no row is below; JSON knows no infinity
UNKNOWN = "it has no text, picture or field to go by"
CONTRIBUTIONS = pa.list_(pa.struct([("modality", pa.string()), ("weight", pa.float64())]))
COLUMNS = {
    "category_id": pa.string(),
    "category_path": pa.string(),
    "confidence": pa.float64(),
    "top_k": pa.list_(pa.struct([("category_id", pa.string()), ("confidence", pa.float64())])),
    "decision": pa.string(),
    "reason": pa.string(),
    "evidence": EVIDENCE,
    "contributions": CONTRIBUTIONS,
}
"""What `answer` says, columns of gold.predictions."""


@dataclass(frozen=True)
class Model:
    """A loaded model; `nodes` are {id, path, parent} in the tree's order, `towers` modules of torch by modality."""

    kind: str
    nodes: list[dict[str, Any]]
    tree: answers.Tree
    encoding: encode.Encoding
    towers: dict[str, Any]
    rule: fusion.Rule
    rules: answers.Rules
    taxonomy_version: str
    facts: tuple[str, ...]
    names: answers.Names
    space: embeddings.Space | None = None
    prototypes: np.ndarray | None = None
    candidates: int = 0
    """Categories by nearest prototype that the head chooses among; 0: all."""
    contradiction: float = NEVER
    """`agreement` below which a picture contradicts its text."""

    @property
    def categories(self) -> int:
        return len(self.tree.leaf)


class Judged(NamedTuple):
    """Rows of a side of the split: outputs (fusion.py), labels int64[rows] (-1: not learnt) or bool[rows, categories], nodes
    int32[rows] of the true category (-1: unknown), region names; vectors float32[rows, width] and prototypes where the head chooses
    among the nearest `candidates`."""

    outputs: fusion.Outputs
    labels: np.ndarray
    nodes: np.ndarray
    region: np.ndarray
    vectors: np.ndarray | None = None
    prototypes: np.ndarray | None = None
    candidates: int = 0

    def chances(self, rule: fusion.Rule) -> np.ndarray:
        """Probabilities float32[rows, categories] by a rule, of the candidates alone where there are some."""
        chances = fusion.apply(rule, self.outputs)
        if not self.candidates or self.vectors is None:
            return chances
        return narrowed(chances, self.vectors, self.prototypes, self.candidates)


def narrowed(chances: np.ndarray, vectors: np.ndarray, prototypes: np.ndarray, candidates: int) -> np.ndarray:
    """`embeddings.among` the nearest candidates, of rows that have a vector; the others keep all."""
    chances, some = chances.copy(), np.flatnonzero(vectors.any(1))
    near, _ = embeddings.nearest(vectors[some], prototypes, candidates, exact=True)
    chances[some] = embeddings.among(chances[some], near)
    return chances


def write(
    folder: Path | str,
    rule: fusion.Rule,
    encoding: encode.Encoding,
    nodes: list[dict[str, Any]],
    tree: answers.Tree,
    taxonomy_version: str,
    side: Judged | None,
    decision: Decision,
    targets: dict[tuple[str, str], float],
    facts: Sequence[str] = (),
    about: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Calibrate on `side` (rows that neither towers nor rule learnt from) and write model.json and the rule; the towers are
    there already. targets: `answers.targets_of`. facts: of `text.facts`, what `fields` were read from. Returns curves (regions
    that have one), thresholds and scope."""
    folder, guess = Path(folder), None
    if side is not None and len(side.nodes):
        chances = side.chances(rule)
        labels = side.labels if rule.kind == "multiclass" else _best_true(chances, side.labels)
        nodes_of = side.nodes if rule.kind == "multiclass" else _nodes(labels, tree)
        guess = answers.guesses(chances, fit(chances), labels, nodes_of, side.region, tree, decision.roll_up_depth)
    curves, scope, cells = answers.calibrated(guess, decision, targets, nodes, tree)
    content = {
        "format": FORMAT,
        "kind": rule.kind,
        "encoding": encoding._asdict(),
        "towers": list(rule.modalities),
        "curves": curves,
        "thresholds": cells,
        "scope": scope,
        "contradiction": contradiction_threshold(rule, side, decision.contradicts),
        "roll_up_depth": decision.roll_up_depth,
        "taxonomy_version": taxonomy_version,
        "facts": list(facts),
        "nodes": nodes,
        "tree": {name: array.tolist() for name, array in tree._asdict().items()},
        **(about or {}),
    }
    fusion.save(rule, folder)
    (folder / "model.json").write_text(json.dumps(content, ensure_ascii=False, sort_keys=True))
    return {"curves": sorted(name for name, curve in curves.items() if curve.x), "thresholds": cells, "scope": scope}


def measure(model: Model, side: Judged) -> dict[str, Any]:
    """What gold.models tells of a model, of rows it learnt nothing from: rows, accuracy, macro_f1 (of several labels
    micro_f1), coverage, accepted_accuracy, and `before` and `after` calibration what `calibrate.quality` says."""
    if not len(side.nodes):
        return {"rows": 0}
    chances = side.chances(model.rule)
    several = model.kind == "multilabel"
    labels = _best_true(chances, side.labels) if several else side.labels
    region = pa.array(side.region.tolist(), pa.string())
    said = answers.answered(
        chances, fit(chances), np.ones(len(chances), bool), region, model.tree, model.rules, 1, several
    )
    right, sure = said.number[:, 0] == labels, said.decision == answers.ACCEPT
    if several:
        told = {"micro_f1": micro_f1(chances >= 0.5, side.labels)}
    else:
        told = {"macro_f1": macro_f1(labels, said.number[:, 0], chances.shape[1])}
    return told | answers.measured(right, chances.max(1), said.chance[:, 0], sure)


def macro_f1(labels: np.ndarray, said: np.ndarray, categories: int) -> float | None:
    """Mean F1 of the learnt categories that have rows; a row of a category that was not learnt (-1) counts against what was
    said of it. None where there is none."""
    true = np.bincount(labels[labels >= 0], minlength=categories)
    given, both = (np.bincount(some, minlength=categories) for some in (said, labels[said == labels]))
    shown = true > 0
    return float((2 * both[shown] / (given[shown] + true[shown])).mean()) if shown.any() else None


def micro_f1(said: np.ndarray, true: np.ndarray) -> float:
    return float(2 * (said & true).sum() / max(said.sum() + true.sum(), 1))


def _best_true(chances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of rows with several labels the one that is likeliest best: the best category of all where it is one of them, -1 for
    rows without a label."""
    best = np.where(labels, chances, -1).argmax(1)
    return np.where(labels.any(1), best, -1)


def _nodes(labels: np.ndarray, tree: answers.Tree) -> np.ndarray:
    return np.where(labels >= 0, tree.leaf[labels], -1)


def fit(chances: np.ndarray) -> np.ndarray:
    """How well the best category fits, float32[rows]: ln of its probability (Hendrycks & Gimpel 2017, "A Baseline for Detecting
    Misclassified and Out-of-Distribution Examples"). What is below the labelled products' lowest is out of scope."""
    return np.log(np.maximum(chances.max(1), 1e-30)).astype(np.float32)


def readable(folder: Path | str) -> bool:
    """Whether this version of Shelfmark reads the model of a folder."""
    return answers.readable(folder, FORMAT)


def verify(folder: Path | str, expected: str | None) -> None:
    """`answers.verify` of a multimodal model."""
    answers.verify(folder, expected, "multimodal model", "train_multimodal")


def read(folder: Path | str) -> dict[str, Any]:
    """model.json. Raises `DataRefused` where it is of another format."""
    return answers.described(folder, FORMAT)


@lru_cache(maxsize=2)  # the champion and, while a release moves, the one before
def load(folder: str, key: str = "", device: str = "cpu") -> Model:
    """The model of a folder, once per process; `key` (its checksum) tells versions of a path apart. Raises `DataRefused` where
    it is of another format."""
    from shelfmark.multimodal import towers

    path, about = Path(folder), read(folder)
    tree = answers.Tree(**{name: np.array(values, np.int32) for name, values in about["tree"].items()})
    thresholds = answers.Thresholds.of(about["thresholds"], about["nodes"], tree)
    curves = {region: calibrate.Curve(*curve) for region, curve in about["curves"].items()}
    space, prototypes = embeddings.load(path) if (path / embeddings.FILE).exists() else (None, None)
    return Model(
        kind=about["kind"],
        nodes=about["nodes"],
        tree=tree,
        encoding=encode.Encoding(**about["encoding"]),
        towers={name: towers.load(path / name, device) for name in about["towers"]},
        rule=fusion.load(path),
        rules=answers.Rules(thresholds, curves, about["scope"], about["roll_up_depth"]),
        taxonomy_version=about["taxonomy_version"],
        facts=tuple(about["facts"]),
        names=answers.Names(about["nodes"], tree, thresholds, UNKNOWN),
        space=space,
        prototypes=prototypes,
        candidates=about.get("candidates", 0),
        contradiction=about.get("contradiction", NEVER),
    )


class Seen(NamedTuple):
    """What towers make of rows, by modality, NaN where a tower has nothing to see: features float32[rows, width] and outputs
    (fusion.py) float32[rows, categories]."""

    features: dict[str, np.ndarray]
    outputs: fusion.Outputs


def seen(model: Model, rows: pa.RecordBatch | pa.Table, pool: Any = None) -> Seen:
    """Rows through all towers, `ROWS` at a time."""
    parts = []
    for at in range(0, rows.num_rows, ROWS):
        arrays = encode.arrays(rows.slice(at, ROWS), model.encoding, pool)
        parts.append([_through(model.kind, tower, arrays, name) for name, tower in model.towers.items()])
    made = [[np.concatenate(one) for one in zip(*of)] for of in zip(*parts)]
    return Seen(*({name: one[which] for name, one in zip(model.towers, made)} for which in (0, 1)))


def outputs(model: Model, rows: pa.RecordBatch | pa.Table, pool: Any = None) -> fusion.Outputs:
    """What the rule of the model reads of rows: the towers' outputs, or for early fusion their features."""
    found = seen(model, rows, pool)
    return found.features if model.rule.name == "early" else found.outputs


def _through(kind: str, tower: Any, arrays: dict[str, Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    import torch

    from shelfmark.multimodal import towers

    there = np.flatnonzero(arrays["present"][name])
    # One row that stands for none gives the widths of what a tower makes.
    some = there if len(there) else np.zeros(1, np.int64)
    with torch.inference_mode():
        given = towers.tensors({name: arrays[name][some]}, next(tower.parameters()).device)
        features = tower.features(given)
        said = tower.said(features).float()
        if kind == "multiclass":
            said = torch.log_softmax(said, 1)
    out = []
    for made in (features.float().cpu().numpy(), said.cpu().numpy()):
        whole = np.full((len(arrays["present"][name]), made.shape[1]), np.nan, np.float32)
        whole[there] = made[: len(there)]
        out.append(whole)
    return out[0], out[1]


def vectors(model: Model, rows: pa.RecordBatch | pa.Table, pool: Any = None) -> np.ndarray:
    """Vectors of unit length, float32[rows, width] (embeddings.py); zeros of a row that no tower has anything to see of. Raises
    `DataRefused` where the model has no space."""
    if model.space is None:
        raise DataRefused("this model has no space of vectors: it was trained without one; train again")
    if not rows.num_rows:
        return np.zeros((0, model.space.width), np.float32)
    return embeddings.vectors(model.space, seen(model, rows, pool).features)


def answer(
    model: Model,
    rows: pa.RecordBatch | pa.Table,
    top_k: int = 5,
    pool: Any = None,
    contributions: bool = True,
) -> dict[str, pa.Array]:
    """Columns `COLUMNS` of rows: title, description (string), picture (binary), fields (list of struct name, value), region
    (string; thresholds and curves of its own), each of which may be absent, or null in any row.

    contributions: what each modality of a row brought to its best category (`fusion.contributions`), in nats; null where it
    is not asked for. pool: an executor that decodes pictures.
    """
    if not rows.num_rows:
        return {name: pa.array([], kind) for name, kind in COLUMNS.items()}
    made = made_of(model, rows, pool)
    known, region, several = made.there.any(1), region_of(rows), model.kind == "multilabel"
    said = answers.answered(
        made.chances, fit(made.chances), known, region, model.tree, model.rules, top_k, several, made.contradicts
    )
    told = pa.nulls(rows.num_rows, CONTRIBUTIONS)
    if contributions:
        told = contributions_column(fusion.contributions(model.rule, made.outputs, said.number[:, 0]), made.there)
    return model.names.columns(said) | {"evidence": pa.nulls(rows.num_rows, EVIDENCE), "contributions": told}


class Made(NamedTuple):
    """What a model makes of rows before it decides: what its rule reads, probabilities float32[rows, categories], which of the
    rule's modalities each row has bool[rows, modalities], and whether its picture contradicts its text bool[rows]."""

    outputs: fusion.Outputs
    chances: np.ndarray
    there: np.ndarray
    contradicts: np.ndarray


def made_of(model: Model, rows: pa.RecordBatch | pa.Table, pool: Any = None) -> Made:
    """`answer` without its decisions; of the same rows."""
    found = seen(model, rows, pool)
    read = found.features if model.rule.name == "early" else found.outputs
    chances = fusion.apply(model.rule, read)
    if model.candidates and model.space is not None:
        vectors = embeddings.vectors(model.space, found.features)
        chances = narrowed(chances, vectors, model.prototypes, model.candidates)
    with np.errstate(invalid="ignore"):  # where there is no picture, or no text, nothing is below
        contradicts = agreement(found.outputs, model.kind) < model.contradiction
    return Made(read, chances, fusion.present(model.rule, read), contradicts)


def agreement(outputs: fusion.Outputs, kind: str) -> np.ndarray:
    """How far the picture's tower and the title's (without a title the description's) say the same, float32[rows]: of one label
    ln of the probability that two draws, one from each, are the same category. NaN where one of them has nothing to say."""
    names = [name for name in encode.TEXTS if name in outputs]
    n = len(next(iter(outputs.values()))) if outputs else 0
    if "picture" not in outputs or not names or kind != "multiclass":
        return np.full(n, np.nan, np.float32)
    text = outputs[names[0]]
    for name in names[1:]:
        text = np.where(np.isnan(text).any(1, keepdims=True), outputs[name], text)
    same = fusion.chances(outputs["picture"], kind) * fusion.chances(text, kind)
    return np.log(same.sum(1)).astype(np.float32)


def contradiction_threshold(rule: fusion.Rule, side: Judged | None, share: float) -> float:
    """The agreement that `share` of labelled products are below; `NEVER` where nothing shows it."""
    if side is None or rule.name == "early" or not share:
        return NEVER
    found = agreement(side.outputs, rule.kind)
    found = found[~np.isnan(found) & (side.nodes >= 0)]
    return float(np.quantile(found, share)) if len(found) >= 1 / share else NEVER


def region_of(rows: pa.RecordBatch | pa.Table) -> pa.Array | None:
    """The regions of rows; None where they have no such column."""
    if "region" not in rows.schema.names:
        return None
    column = rows.column("region").cast(pa.string())
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def contributions_column(weights: dict[str, np.ndarray], there: np.ndarray) -> pa.Array:
    """Column `CONTRIBUTIONS`: of each row the modalities it has (`there` bool[rows, modalities], in the order of `weights`), and
    what they brought."""
    names = pa.array(list(weights), pa.string())
    row, at = np.nonzero(there)
    weight = np.stack(list(weights.values()), 1)[row, at]
    pairs = pa.StructArray.from_arrays(
        [names.take(pa.array(at)), pa.array(weight.astype(np.float64))], fields=list(CONTRIBUTIONS.value_type)
    )
    ends = np.concatenate([[0], np.cumsum(there.sum(1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pairs)
