"""An ensemble: a text model and a multimodal one, and the weights of what they say. No Spark here.

model.json     pool, weight, categories, tree, taxonomy version; of text/calibrate.py curves, thresholds, scope
text/          the text model, as it was trained
multimodal/    the multimodal model

Each says probabilities of the categories it has learnt, 0 of those that only the other has. They are pooled:

linear         weight * text + (1 - weight) * multimodal
logarithmic    text ** weight * multimodal ** (1 - weight), scaled to sum to 1 (Genest & Zidek 1986, "Combining Probability
               Distributions")

A row that one of them has nothing to go by has the other's word.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from shelfmark import answers
from shelfmark.config import Text
from shelfmark.multimodal import fusion
from shelfmark.multimodal import model as pictured
from shelfmark.text import calibrate, evidence
from shelfmark.text import model as worded

FORMAT = 1  # of the folder; a reader refuses another
TEXT, MULTIMODAL = MEMBERS = ("text", "multimodal")
POOLS = ("linear", "logarithmic")
FLOOR = 1e-6  # of a probability in the logarithmic pool: what one member rules out the other may still say
UNKNOWN = "no word of the text is known, and it has no picture or field to go by"
COLUMNS = pictured.COLUMNS
"""What `answer` says, columns of gold.predictions."""


@dataclass(frozen=True)
class Model:
    """A loaded ensemble; `nodes` are {id, path, parent} in the tree's order; text_at, multimodal_at: number of each of a member's
    categories."""

    text: worded.Model
    multimodal: pictured.Model
    pool: str
    weight: float
    nodes: list[dict[str, Any]]
    tree: answers.Tree
    text_at: np.ndarray
    multimodal_at: np.ndarray
    rules: answers.Rules
    names: answers.Names
    taxonomy_version: str

    @property
    def categories(self) -> int:
        return len(self.tree.leaf)


def write(folder: Path | str, about: dict[str, Any]) -> None:
    """Write model.json beside the members; `about` has pool, weight, nodes, tree, taxonomy_version and, once they are known,
    curves, thresholds, scope, roll_up_depth."""
    content = {
        "format": FORMAT,
        **about,
        "tree": {name: array.tolist() for name, array in about["tree"]._asdict().items()},
    }
    (Path(folder) / "model.json").write_text(json.dumps(content, ensure_ascii=False, sort_keys=True))


def readable(folder: Path | str) -> bool:
    """Whether this version of Shelfmark reads the ensemble of a folder, and both its members."""
    folder = Path(folder)
    try:
        members = worded.readable(folder / TEXT) and pictured.readable(folder / MULTIMODAL)
    except (OSError, ValueError):
        return False
    return members and answers.readable(folder, FORMAT)


def verify(folder: Path | str, expected: str | None) -> None:
    """`answers.verify` of an ensemble."""
    answers.verify(folder, expected, "ensemble", "train_ensemble")


def reads(folder: Path | str, key: str) -> tuple[Text, list[str]]:
    """(settings of the text model, facts that the multimodal one reads): what to bring to them. Without torch, and without towers."""
    return worded.load(str(Path(folder) / TEXT), key).text, pictured.read(Path(folder) / MULTIMODAL)["facts"]


@lru_cache(maxsize=2)  # the champion and, while a release moves, the one before
def load(folder: str, key: str = "") -> Model:
    """The ensemble of a folder, once per process; `key` (its checksum) tells versions of a path apart. Raises `DataRefused` where
    it is of another format."""
    path = Path(folder)
    about = answers.described(path, FORMAT)
    text, multimodal = worded.load(str(path / TEXT), key), pictured.load(str(path / MULTIMODAL), key)
    tree = answers.Tree(**{name: np.array(values, np.int32) for name, values in about["tree"].items()})
    thresholds = answers.Thresholds.of(about.get("thresholds", EVERYTHING), about["nodes"], tree)
    curves = {region: calibrate.Curve(*curve) for region, curve in about.get("curves", {answers.ANY: ([], [])}).items()}
    return Model(
        text=text,
        multimodal=multimodal,
        pool=about["pool"],
        weight=about["weight"],
        nodes=about["nodes"],
        tree=tree,
        text_at=_numbers(text, about["nodes"], tree),
        multimodal_at=_numbers(multimodal, about["nodes"], tree),
        rules=answers.Rules(
            thresholds, curves, about.get("scope", calibrate.EVERYTHING), about.get("roll_up_depth", 2)
        ),
        names=answers.Names(about["nodes"], tree, thresholds, UNKNOWN),
        taxonomy_version=about["taxonomy_version"],
    )


EVERYTHING = [
    {"region": answers.ANY, "category": answers.ANY, "name": answers.ANY, "target": 1.0, "rows": 0}
    | {"accept": calibrate.NEVER, "roll_up": calibrate.NEVER}
]
"""Thresholds of an ensemble that was not calibrated yet."""


def _numbers(member: worded.Model | pictured.Model, nodes: list[dict[str, Any]], tree: answers.Tree) -> np.ndarray:
    """The ensemble's number of each of a member's categories, int32."""
    number = {nodes[node]["id"]: at for at, node in enumerate(tree.leaf)}
    return np.array([number[member.nodes[node]["id"]] for node in member.tree.leaf], np.int32)


class Rows(NamedTuple):
    """What both members read of rows: tokens and facts of the text model's pipeline, and what `multimodal.model.answer` reads."""

    tokens: pa.Array
    facts: pa.Array
    others: pa.RecordBatch


class Said(NamedTuple):
    """What the members say of rows: probabilities float32[rows, categories] in the ensemble's numbers, whether a row has
    something for the text model and for the multimodal one bool[rows], how well the best fits float32[rows]; `made`: what the
    multimodal one makes of them."""

    text: np.ndarray
    multimodal: np.ndarray
    worded: np.ndarray
    pictured: np.ndarray
    fit: np.ndarray
    made: pictured.Made


def said(model: Model, rows: Rows, pool: Any = None) -> Said:
    """The members' answers. How well a row fits is told by the text model, which has learnt to (docs/text.md), and where it knows no
    word by the other; each as the distance from its own bar."""
    one = worded.chances(model.text, rows.tokens, rows.facts)
    other = pictured.made_of(model.multimodal, rows.others, pool)
    own = pictured.fit(other.chances) - np.float32(model.multimodal.rules.scope)
    fit = np.where(one.known, one.fit - np.float32(model.text.scope), own).astype(np.float32)
    return Said(
        _spread(one.chances, model.text_at, model.categories),
        _spread(other.chances, model.multimodal_at, model.categories),
        one.known,
        other.there.any(1),
        fit,
        other,
    )


def _spread(chances: np.ndarray, at: np.ndarray, categories: int) -> np.ndarray:
    out = np.zeros((len(chances), categories), np.float32)
    out[:, at] = chances
    return out


def pooled(
    text: np.ndarray, multimodal: np.ndarray, worded: np.ndarray, pictured: np.ndarray, pool: str, weight: float
) -> np.ndarray:
    """Probabilities float32[rows, categories] of both members' ones, by a pool and the weight of the text model; worded, pictured:
    rows that they have something to go by."""
    if pool == "linear":
        joined = np.float32(weight) * text + np.float32(1 - weight) * multimodal
    else:
        logs = (np.log(np.maximum(one, np.float32(FLOOR))) for one in (text, multimodal))
        joined = np.exp(sum(np.float32(share) * one for share, one in zip((weight, 1 - weight), logs)))
        joined /= joined.sum(1, keepdims=True)
    joined = np.where(pictured[:, None], joined, text)
    return np.where(worded[:, None], joined, multimodal)


def answer(model: Model, rows: Rows, top_k: int = 5, pool: Any = None, told: int = evidence.TOP) -> dict[str, pa.Array]:
    """Columns `COLUMNS` of rows. contributions: of the text model, by that name, and of each modality of the other (Shapley
    values of ln of the best category's probability). told: pieces of evidence of rows for review, by the text model."""
    if not len(rows.tokens):
        return {name: pa.array([], kind) for name, kind in COLUMNS.items()}
    found = said(model, rows, pool)
    chances = pooled(*found[:4], model.pool, model.weight)
    known, region = found.worded | found.pictured, pictured.region_of(rows.others)
    made = answers.answered(
        chances, found.fit, known, region, model.tree, model.rules, top_k, contradicts=found.made.contradicts
    )
    return model.names.columns(made) | {
        "evidence": _evidence(model, rows, made, told) if told else pa.nulls(len(known), evidence.TYPE),
        "contributions": _contributions(model, found, made.number[:, 0]),
    }


def _evidence(model: Model, rows: Rows, made: answers.Answer, told: int) -> pa.Array:
    """What the text model has to say for the ensemble's best category, over the next that it knows."""
    own = np.full(model.categories, -1, np.int32)
    own[model.text_at] = np.arange(len(model.text_at), dtype=np.int32)
    number = own[made.number[:, :2]]
    # Of a category that only the other member has learnt the text model has nothing to say.
    silent = number[:, 0] < 0
    decision = np.where(silent, answers.ACCEPT, made.decision)
    return evidence.column(model.text, rows.tokens, rows.facts, made._replace(number=number, decision=decision), told)


def _contributions(model: Model, found: Said, chosen: np.ndarray) -> pa.Array:
    """Shapley values of the text model and of the modalities of the other."""
    rule, at = model.multimodal.rule, np.arange(len(chosen))
    prior = _spread(rule.prior[None], model.multimodal_at, model.categories)[0][chosen]

    def chance(some: tuple[str, ...]) -> np.ndarray:
        others = [name for name in some if name != TEXT]
        alone, own = prior, np.zeros(len(chosen), bool)
        if others:
            said = fusion.apply(rule, {name: found.made.outputs[name] for name in others})
            own = found.made.there[:, [rule.modalities.index(name) for name in others]].any(1)
            whole = _spread(said, model.multimodal_at, model.categories)
            alone = whole[at, chosen]
        if TEXT not in some:
            return alone
        both = found.text
        if others:
            both = pooled(found.text, whole, found.worded, own, model.pool, model.weight)
        return np.where(found.worded, both[at, chosen], alone)

    weights = fusion.shapley([TEXT, *(name for name in rule.modalities if name in found.made.outputs)], chance)
    nothing = np.zeros(len(chosen), np.float32)
    names = [TEXT, *rule.modalities]
    there = np.concatenate([found.worded[:, None], found.made.there], 1)
    return pictured.contributions_column({name: weights.get(name, nothing) for name in names}, there)
