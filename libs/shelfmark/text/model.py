"""A trained text model: a folder of memory-mapped arrays, and scoring with it in numba. No Spark here.

model.json        settings, what was learnt of facts, categories, tree, taxonomy version; of calibrate.py link, curves, thresholds
lookup.npy        int32[kernel.width(hash_bits)]: hashed column -> feature number, -1 for none
idf.npy           float32[features]
edges.npy         int32[blocks + 1]; block b has the categories edges[b] .. edges[b + 1] - 1
head.npy          float32[blocks, H, 32]: all weights of the H most frequent features (fit.HEAD of them at most)
indptr.npy        int64[features - H + 1]; weights of feature H + f are the entries indptr[f] .. indptr[f + 1] of
categories.npy    uint16: category numbers, and
values.npy        float32: their weights
bias.npy          float32[categories]
router_*.npy      the same of a classifier whose "categories" are the blocks, where there are many (more than fit.ROUTED), and
                  a row meets only the weights of the few it scores highest (fit.ROUTES); else branches of the taxonomy. Its
                  best score is part of what tells whether a product fits anywhere. None where there is nothing to group.

A row's frequent features meet dense weights, block by block, with vector instructions; its rare ones meet only the
weights that were kept. All dense, 350 categories would take a gigabyte; all sparse, five times the time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

from shelfmark import answers

# What a text model shares with all others is part of it for those who work with one.
from shelfmark.answers import (  # noqa: F401
    ACCEPT,
    ANY,
    DECISIONS,
    REVIEW,
    ROLL_UP,
    Answer,
    Thresholds,
    Tree,
    best,
    checksum,
    decide,
    make_tree,
)
from shelfmark.config import Text
from shelfmark.text import calibrate, kernel
from shelfmark.text.facts import Encoder, joined
from shelfmark.text.fit import ROUTED, ROUTES, grams, load_array
from shelfmark.text.vector import WIDTH, gather, prefetch

WEIGHTS = ("edges", "head", "indptr", "categories", "values", "bias")
FORMAT = 4  # of the folder; a reader refuses another


@dataclass(frozen=True)
class Model:
    """A loaded model; `nodes` are {id, path, parent} in the tree's order."""

    nodes: list[dict[str, Any]]
    tree: Tree
    text: Text
    evidence: np.ndarray
    """Of scores from calibrate.LOW to HIGH: `calibrate.Link.table`."""
    curves: dict[str, calibrate.Curve]
    """Of confidences, by region; "*" for all others."""
    thresholds: Thresholds
    scope: float
    """`Scored.fit` below which a product fits no category: `calibrate.scope_threshold`."""
    roll_up_depth: int
    taxonomy_version: str
    arrays: dict[str, np.ndarray]
    facts: Encoder

    @property
    def categories(self) -> int:
        return len(self.tree.leaf)


def write(folder: Path, nodes: list[dict[str, Any]], tree: Tree, about: dict[str, Any]) -> None:
    """Write model.json beside the arrays; `about` has text, facts, link, curves, thresholds, taxonomy_version, ..."""
    content = {
        "format": FORMAT,
        **about,
        "nodes": nodes,
        "tree": {name: array.tolist() for name, array in tree._asdict().items()},
    }
    (folder / "model.json").write_text(json.dumps(content, ensure_ascii=False, sort_keys=True))


def verify(folder: Path | str, expected: str | None) -> None:
    """Raises `DataRefused` where the folder is no model, or its checksum is not the one published."""
    answers.verify(folder, expected, "text model", "train_text")


def readable(folder: Path | str) -> bool:
    """Whether the model of a folder is of the format that this version reads."""
    return json.loads((Path(folder) / "model.json").read_text()).get("format") == FORMAT


@lru_cache(maxsize=2)  # the champion and, while a release moves, the one before
def load(folder: str, key: str = "") -> Model:
    """The model of a folder, memory-mapped, once per process; `key` (its checksum) tells versions of a path apart."""
    path = Path(folder)
    about = answers.described(path, FORMAT)
    tree = Tree(**{name: np.array(values, np.int32) for name, values in about["tree"].items()})
    return Model(
        nodes=about["nodes"],
        tree=tree,
        text=Text(**about["text"]),
        evidence=calibrate.Link(*about["link"]).table(),
        curves={region: calibrate.Curve(*curve) for region, curve in about["curves"].items()},
        thresholds=Thresholds.of(about["thresholds"], about["nodes"], tree),
        scope=about["scope"],
        roll_up_depth=about["roll_up_depth"],
        taxonomy_version=about["taxonomy_version"],
        arrays=read_weights(path) | {name: load_array(path / f"{name}.npy") for name in ("lookup", "idf")},
        facts=Encoder(about["facts"]),
    )


AHEAD = 4  # features whose weights are asked for before they are used


@njit(cache=True, nogil=True)
def _scores(rows, columns, row_values, edges, head, indptr, categories, values, bias, routes, out):
    first_tail = head.shape[1]
    # The head's features of each row first, then the tail's.
    ends = np.empty(len(rows) - 1, np.int64)
    sorted_columns, sorted_values = np.empty_like(columns), np.empty_like(row_values)
    for i in range(len(rows) - 1):
        low, high = rows[i], rows[i + 1]
        for j in range(rows[i], rows[i + 1]):
            if columns[j] < first_tail:
                sorted_columns[low], sorted_values[low] = columns[j], row_values[j]
                low += 1
            else:
                high -= 1
                sorted_columns[high], sorted_values[high] = columns[j], row_values[j]
        ends[i] = low
    total = np.empty(WIDTH, np.float32)
    for b in range(len(edges) - 1):
        first, last, weights = edges[b], edges[b + 1], head[b]
        for i in range(len(rows) - 1):
            if len(routes):
                routed = False
                for r in range(routes.shape[1]):
                    routed |= routes[i, r] == b
                if not routed:
                    out[i, first:last] = calibrate.LOW
                    continue
            total[:] = 0
            gather(weights, sorted_columns, sorted_values, rows[i], ends[i], kernel.SCALE, total)
            for k in range(first, last):
                out[i, k] = bias[k] + total[k - first]
    wanted = np.ones(out.shape[1], np.bool_)  # categories of the row's blocks
    for i in range(len(rows) - 1):
        if len(routes):
            wanted[:] = False
            for r in range(routes.shape[1]):
                wanted[edges[routes[i, r]] : edges[routes[i, r] + 1]] = True
        last = rows[i + 1]
        for j in range(ends[i], last):
            # Each feature's weights lie somewhere else in memory: ask for those of the next ones now.
            if j + 2 * AHEAD < last:
                prefetch(indptr, np.int64(sorted_columns[j + 2 * AHEAD]) - first_tail)
            if j + AHEAD < last:
                start = indptr[sorted_columns[j + AHEAD] - first_tail]
                prefetch(categories, start)
                prefetch(values, start)
                prefetch(values, start + 16)
            value = np.float32(sorted_values[j]) * kernel.SCALE
            at = sorted_columns[j] - first_tail
            for e in range(indptr[at], indptr[at + 1]):
                if wanted[categories[e]]:
                    out[i, categories[e]] += value * values[e]


NO_ROUTES = np.empty((0, 0), np.uint16)
ROUTER_SHARE = np.float32(1.5)
"""Of the router's best score in `Scored.fit`. Told from known products (amazon_in, AUROC): those of held-out main categories
.863 with it, .829 without; of held-out leaves .737, .721."""
BRANCHES, MOST_BRANCHES = 8, 256


class Scored(NamedTuple):
    """Scores float32[rows, categories], and how well the best of all fits float32[rows]: compare it with `Model.scope`."""

    scores: np.ndarray
    fit: np.ndarray


def scored(arrays: dict[str, np.ndarray], indptr: np.ndarray, columns: np.ndarray, values: np.ndarray) -> Scored:
    """Scores w.x + bias of weighed rows; `arrays` as `read_weights` gives them.

    With many blocks, categories of others than the row's few likeliest have `calibrate.LOW`, or near it.
    """
    router = {name: arrays[f"router_{name}"] for name in WEIGHTS if f"router_{name}" in arrays}
    routes, above = NO_ROUTES, np.float32(0)
    if router:
        found = scores(router, indptr, columns, values)
        above = ROUTER_SHARE * found.max(1)
        if len(arrays["edges"]) - 1 > ROUTED:
            routes = _routes(found)
    out = np.empty((len(indptr) - 1, len(arrays["bias"])), np.float32)
    _scores(indptr, columns, values, *(arrays[name] for name in WEIGHTS), routes, out)
    return Scored(out, out.max(1) + above)


def scores(arrays: dict[str, np.ndarray], indptr: np.ndarray, columns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`scored` without the fit."""
    return scored(arrays, indptr, columns, values).scores


def branches(tree: Tree) -> np.ndarray | None:
    """Groups of the categories, int32[categories]: the first level of the tree with `BRANCHES` branches or more, or the one
    with the most; None where that would be each category by itself, or all together."""
    chosen = None
    for level in range(1, int(tree.depth.max()) + 1):
        node = tree.leaf.copy()
        while (deep := tree.depth[node] > level).any():
            node[deep] = tree.parent[node[deep]]
        found, group = np.unique(node, return_inverse=True)
        if len(found) > MOST_BRANCHES or len(found) == len(tree.leaf):
            break
        if len(found) > 1:
            chosen = group.astype(np.int32)
        if len(found) >= BRANCHES:
            break
    return chosen


def best_blocks(
    router: dict[str, np.ndarray], indptr: np.ndarray, columns: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """The blocks a router scores highest for each row, uint16[rows, ROUTES]; `router` by the names of `WEIGHTS`."""
    return _routes(scores(router, indptr, columns, values))


def _routes(found: np.ndarray) -> np.ndarray:
    return best(found, min(ROUTES, found.shape[1]))[0].astype(np.uint16)


def read_weights(folder: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays `scored` needs, memory-mapped; of its router alone with the prefix `router_`."""
    names = {name: f"{prefix}{name}" for name in WEIGHTS}
    if not prefix and (folder / "router_bias.npy").exists():
        names |= {f"router_{name}": f"router_{name}" for name in WEIGHTS}
    return {name: load_array(folder / f"{file}.npy") for name, file in names.items()}


@njit(cache=True, nogil=True)
def _to_chances(scores, table, low, step):
    top = np.float32(len(table) - 1)
    for i in range(scores.shape[0]):
        total = np.float32(0)
        for k in range(scores.shape[1]):
            if scores[i, k] <= low:  # most are of blocks that were not looked at
                scores[i, k] = table[0]
                total += table[0]
                continue
            at = min(max((scores[i, k] - low) / step, np.float32(0)), top)
            below = min(int(at), len(table) - 2)
            value = table[below] + (at - below) * (table[below + 1] - table[below])
            scores[i, k] = value
            total += value
        total = 1 / total
        for k in range(scores.shape[1]):
            scores[i, k] *= total


def to_chances(scores: np.ndarray, evidence: np.ndarray) -> None:
    """Scores float32[rows, categories] become each category's share of the row's evidence (`calibrate.Link.table`), in place."""
    _to_chances(scores, evidence, calibrate.LOW, (calibrate.HIGH - calibrate.LOW) / np.float32(calibrate.STEPS))


def answer(model: Model, tokens: pa.Array, facts: pa.Array, top_k: int, region: pa.Array | None = None) -> Answer:
    """Predict the rows of a column of tokens (`pipeline.tokens` of the model's fields), one of facts (facts.py) and one
    of regions."""
    # Scores of 4 M floats (16 MB) at a time stay near the cache, whatever the number of categories.
    step = max(1, (1 << 22) // max(model.categories, 1))
    if len(tokens) > step:
        pieces = [
            answer(
                model,
                tokens.slice(at, step),
                facts.slice(at, step),
                top_k,
                region.slice(at, step) if region is not None else None,
            )
            for at in range(0, len(tokens), step)
        ]
        return Answer(*(np.concatenate(columns) for columns in zip(*pieces)))
    said = chances(model, tokens, facts)
    rules = answers.Rules(model.thresholds, model.curves, model.scope, model.roll_up_depth)
    return answers.answered(*said, region, model.tree, rules, top_k)


class Chances(NamedTuple):
    """Probabilities float32[rows, categories] before any curve, how well the best fits float32[rows], whether a word is known."""

    chances: np.ndarray
    fit: np.ndarray
    known: np.ndarray


def chances(model: Model, tokens: pa.Array, facts: pa.Array) -> Chances:
    """What `answer` decides upon; all rows at once."""
    idf = model.arrays["idf"]
    texts = kernel.weigh(*grams(tokens, model.text), model.arrays["lookup"], idf)
    rows = joined(model.facts.rows(facts), texts, model.facts.cuts, len(idf))
    found, fit = scored(model.arrays, *rows)
    to_chances(found, model.evidence)
    return Chances(found, fit, np.diff(texts[0]) > 0)
