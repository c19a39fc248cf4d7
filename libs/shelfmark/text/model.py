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

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

from shelfmark.config import Text
from shelfmark.errors import DataRefused
from shelfmark.text import calibrate, kernel
from shelfmark.text.facts import Encoder, joined
from shelfmark.text.fit import ROUTED, ROUTES, grams, load_array
from shelfmark.text.vector import WIDTH, gather, prefetch

ACCEPT, ROLL_UP, REVIEW = 0, 1, 2
DECISIONS = ("accept", "roll_up", "review")
WEIGHTS = ("edges", "head", "indptr", "categories", "values", "bias")
FORMAT = 4  # of the folder; a reader refuses another


class Tree(NamedTuple):
    """The learnt categories and all their ancestors, in depth-first order; nodes are numbered by it.

    parent int32 (-1: root), depth int32 (1: root), end int32: nodes [n, end[n]) are n and all below it;
    first, last int32: its learnt categories are [first[n], last[n]); leaf int32[categories]: node of a category.
    """

    parent: np.ndarray
    depth: np.ndarray
    end: np.ndarray
    first: np.ndarray
    last: np.ndarray
    leaf: np.ndarray


ANY = "*"
"""Region or category that stands for all that have nothing of their own."""


class Thresholds(NamedTuple):
    """What is accepted and rolled up from which confidence, by cell: a region and a branch of the tree.

    cells: {region, category, target, rows, accept, roll_up}, `ANY` for all others; accept, roll_up: float32[cells]
    (`calibrate.NEVER`: nothing); regions: name -> row of `cell`; branch: int32[categories], column of `cell` of a
    category; cell: int32[regions, branches].
    """

    cells: list[dict[str, Any]]
    accept: np.ndarray
    roll_up: np.ndarray
    regions: dict[str, int]
    branch: np.ndarray
    cell: np.ndarray

    @classmethod
    def of(cls, cells: list[dict[str, Any]], nodes: list[dict[str, Any]], tree: Tree) -> Thresholds:
        """`cells` laid out for look-up; each pair of their regions and categories must be there once."""
        regions = {name: at for at, name in enumerate(sorted({one["region"] for one in cells} | {ANY}))}
        number = {node["id"]: at for at, node in enumerate(nodes)}
        branches = sorted(
            {one["category"] for one in cells} - {ANY}, key=lambda c: number[c]
        )  # a parent before its own
        column = {ANY: 0} | {name: at + 1 for at, name in enumerate(branches)}
        branch = np.zeros(len(tree.leaf), np.int32)
        for name in branches:
            branch[tree.first[number[name]] : tree.last[number[name]]] = column[name]
        cell = np.zeros((len(regions), len(column)), np.int32)
        for at, one in enumerate(cells):
            cell[regions[one["region"]], column[one["category"]]] = at
        values = (np.array([one[name] for one in cells], np.float32) for name in ("accept", "roll_up"))
        return cls(cells, *values, regions, branch, cell)

    def find(self, region: np.ndarray, category: np.ndarray) -> np.ndarray:
        """The cell of each row, int32: `region` names, `category` numbers of the best categories."""
        names, place = np.unique(region, return_inverse=True)
        row = np.array([self.regions.get(name, self.regions[ANY]) for name in names], np.int32)
        return self.cell[row[place.ravel()], self.branch[category]]


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


def make_tree(learnt: list[str], taxonomy: dict[str, tuple[str, str | None]]) -> tuple[list[dict[str, Any]], Tree]:
    """Nodes and tree of the learnt category ids; their order in `Tree.leaf` numbers the categories.

    taxonomy: category_id -> (path, parent_id). Raises `DataRefused` for an id it does not know, or a circle in it.
    """
    wanted: dict[str, str | None] = {}
    for category in learnt:
        seen = set()
        node: str | None = category
        while node is not None and node not in wanted:
            if node not in taxonomy:
                raise DataRefused(
                    f"category {node} is not in the taxonomy: labels and taxonomy are of different versions; "
                    "run the taxonomy and labels jobs again"
                )
            if node in seen:
                raise DataRefused(f"category {node} is its own ancestor in the taxonomy: correct its parent")
            seen.add(node)
            node = taxonomy[node][1]
        node = category
        while node is not None and node not in wanted:
            wanted[node] = taxonomy[node][1]
            node = taxonomy[node][1]
    below: dict[str | None, list[str]] = {}
    for node, above in wanted.items():
        below.setdefault(above, []).append(node)
    for children in below.values():
        children.sort(key=lambda c: (taxonomy[c][0], c), reverse=True)
    is_learnt = set(learnt)
    nodes, parent, depth, first, last, end, leaf = [], [], [], [], [], [], []
    number: dict[str, int] = {}
    stack = list(below.get(None, []))
    while stack:
        node = stack.pop()
        above = wanted[node]
        at = number[node] = len(nodes)
        up = -1 if above is None else number[above]
        nodes.append({"id": node, "path": taxonomy[node][0], "parent": above})
        parent.append(up)
        depth.append(1 if up < 0 else depth[up] + 1)
        first.append(len(leaf))
        if node in is_learnt:
            leaf.append(at)
        last.append(len(leaf))
        end.append(at + 1)
        stack += below.get(node, [])
    for at in range(len(nodes) - 1, -1, -1):
        if parent[at] >= 0:
            last[parent[at]] = max(last[parent[at]], last[at])
            end[parent[at]] = max(end[parent[at]], end[at])
    return nodes, Tree(*(np.array(a, np.int32) for a in (parent, depth, end, first, last, leaf)))


def write(folder: Path, nodes: list[dict[str, Any]], tree: Tree, about: dict[str, Any]) -> None:
    """Write model.json beside the arrays; `about` has text, facts, link, curves, thresholds, taxonomy_version, ..."""
    content = {
        "format": FORMAT,
        **about,
        "nodes": nodes,
        "tree": {name: array.tolist() for name, array in tree._asdict().items()},
    }
    (folder / "model.json").write_text(json.dumps(content, ensure_ascii=False, sort_keys=True))


def checksum(folder: Path | str) -> str:
    """sha256 over the names and contents of the folder's files."""
    total = hashlib.sha256()
    for path in sorted(p for p in Path(folder).iterdir() if p.is_file() and not p.name.startswith(".")):
        with path.open("rb") as file:
            total.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def verify(folder: Path | str, expected: str | None) -> None:
    """Raises `DataRefused` where the folder is no model, or its checksum is not the one published."""
    folder = Path(folder)
    if not (folder / "model.json").is_file():
        raise DataRefused(f"no text model in {folder}: run train_text, or roll the lake back to a commit that has one")
    if expected is not None and (found := checksum(folder)) != expected:
        raise DataRefused(
            f"the model in {folder} has checksum {found[:12]}…, published was {expected[:12]}…: its files were changed "
            "after training; roll the lake back or train again"
        )


def readable(folder: Path | str) -> bool:
    """Whether the model of a folder is of the format that this version reads."""
    return json.loads((Path(folder) / "model.json").read_text()).get("format") == FORMAT


@lru_cache(maxsize=2)  # the champion and, while a release moves, the one before
def load(folder: str, key: str = "") -> Model:
    """The model of a folder, memory-mapped, once per process; `key` (its checksum) tells versions of a path apart."""
    path = Path(folder)
    about = json.loads((path / "model.json").read_text())
    if about.get("format") != FORMAT:
        raise DataRefused(
            f"{path}/model.json has format {about.get('format')}, this version reads {FORMAT}: train again"
        )
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


@njit(cache=True, nogil=True)
def best(chances, k):
    """The k most likely categories of each row, most likely first; the lower number first where they tie."""
    n, width = chances.shape
    number, chance = np.zeros((n, k), np.int32), np.full((n, k), np.float32(-np.inf))
    for i in range(n):
        for c in range(width):
            p = chances[i, c]
            if p <= chance[i, k - 1]:
                continue
            at = k - 1
            while at > 0 and chance[i, at - 1] < p:
                chance[i, at], number[i, at] = chance[i, at - 1], number[i, at - 1]
                at -= 1
            chance[i, at], number[i, at] = p, c
    return number, chance


@njit(cache=True, nogil=True)
def decide(chances, top, confidence, known, accept, roll_up, parent, depth, first, last, leaf, min_depth):
    """What to do with each row: (decision int8, node int32, confidence float32).

    top: its most likely category; confidence: in that, what a curve made of its chance, the others share the rest.
    Accept it where that reaches the row's `accept`; else the deepest ancestor, not above `min_depth`, whose categories'
    chances sum to its `roll_up`; else, and where it is not `known` (a feature of it, and that it is in scope), review.
    """
    n = len(top)
    decision, node, said = np.empty(n, np.int8), np.empty(n, np.int32), np.empty(n, np.float32)
    for i in range(n):
        decision[i], node[i], said[i] = REVIEW, leaf[top[i]], confidence[i]
        if not known[i]:
            continue
        if confidence[i] >= accept[i]:
            decision[i] = ACCEPT
            continue
        rest = np.float32(1) - chances[i, top[i]]
        share = (np.float32(1) - confidence[i]) / rest if rest > 0 else np.float32(0)
        up = parent[node[i]]
        while up >= 0 and depth[up] >= min_depth:
            others = np.float32(0)
            for c in range(first[up], last[up]):
                if c != top[i]:
                    others += chances[i, c]
            total = confidence[i] + others * share
            if total >= roll_up[i]:
                decision[i], node[i], said[i] = ROLL_UP, up, min(total, np.float32(1))
                break
            up = parent[up]
    return decision, node, said


class Answer(NamedTuple):
    """Predictions of rows: decision int8, node int32, confidence float32, numbers and chances [rows, k], whether a feature
    was known and whether it fits a category (`Model.scope`), and the cell of `Thresholds`."""

    decision: np.ndarray
    node: np.ndarray
    confidence: np.ndarray
    number: np.ndarray
    chance: np.ndarray
    known: np.ndarray
    fits: np.ndarray
    cell: np.ndarray


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
    idf = model.arrays["idf"]
    texts = kernel.weigh(*grams(tokens, model.text), model.arrays["lookup"], idf)
    rows = joined(model.facts.rows(facts), texts, model.facts.cuts, len(idf))
    chances, fit = scored(model.arrays, *rows)
    fits = fit >= np.float32(model.scope)
    to_chances(chances, model.evidence)
    number, chance = best(chances, min(top_k, model.categories))
    known = np.diff(texts[0]) > 0
    where = np.full(len(known), ANY) if region is None else np.asarray(region.fill_null(ANY)).astype(str)
    top = number[:, 0]
    confidence = calibrate.confidences(model.curves, chance[:, 0], where)
    cell = model.thresholds.find(where, top)
    tree = model.tree
    made = decide(
        chances, top, confidence, known & fits, model.thresholds.accept[cell], model.thresholds.roll_up[cell],
        tree.parent, tree.depth, tree.first, tree.last, tree.leaf, model.roll_up_depth,
    )  # fmt: skip
    # What a curve takes from the best it gives to the others, in their proportion, none above the best.
    rest = np.maximum(1 - chance[:, 0], np.finfo(np.float32).tiny)
    chance[:, 1:] = np.minimum(chance[:, 1:] * ((1 - confidence) / rest)[:, None], confidence[:, None])
    chance[:, 0] = confidence
    return Answer(*made, number, chance, known, fits, cell)
