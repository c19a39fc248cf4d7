"""Answers of a model, whatever made its probabilities: the tree of its categories, thresholds, decisions. No Spark here.

A line of models (text, multimodal) brings probabilities of the learnt categories and how well the best one fits. What is made
of them is the same for all: a curve makes the best one's a confidence, a threshold of its region and branch accepts it, rolls
it up to an ancestor or leaves it for review (text/calibrate.py has the mathematics).
"""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

from shelfmark.config import Decision
from shelfmark.errors import DataRefused, UsageError
from shelfmark.text import calibrate

ACCEPT, ROLL_UP, REVIEW = 0, 1, 2
DECISIONS = ("accept", "roll_up", "review")
ANY = "*"
"""Region or category that stands for all that have nothing of their own."""


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


def named(name: str, known: dict[str, tuple[str, str | None]], where: str) -> str:
    """The id of a category that a person wrote as path or id; `UsageError` where the taxonomy has none such."""
    ids = {path: category for category, (path, _) in known.items()} | {category: category for category in known}
    if name not in ids:
        near = difflib.get_close_matches(name, ids, 1, 0.0)
        raise UsageError(
            f"{where}: the taxonomy has no category {name!r}{f'; the nearest is {near[0]!r}' if near else ''}: write its "
            "path, levels joined by ' > '"
        )
    return ids[name]


def spots(nodes: list[dict], known: dict[str, tuple[str, str | None]]) -> dict[str, int]:
    """Node of each category of the taxonomy: its own, or of its nearest ancestor that the model knows."""
    number = {node["id"]: at for at, node in enumerate(nodes)}
    found = {}
    for category in known:
        node, steps = category, 0
        while node is not None and node not in number and steps < 100:  # deeper is a circle
            node, steps = known.get(node, (None, None))[1], steps + 1
        if node in number:
            found[category] = number[node]
    return found


def targets_of(decision: Decision, known: dict[str, tuple[str, str | None]]) -> dict[tuple[str, str], float]:
    """The target accuracy of each pair of a region and a category, `ANY` for all others.

    Of a region's target and a category's the stricter holds.
    """
    branches = {named(name, known, "decision.by_category"): target for name, target in decision.by_category.items()}
    regions: dict[str, float | None] = {ANY: None, **decision.by_region}
    found = {}
    for region, of_region in regions.items():
        for category, of_category in {ANY: None, **branches}.items():
            own = [target for target in (of_region, of_category) if target is not None]
            found[region, category] = max(own, default=decision.target_accuracy)
    return found


class Guess(NamedTuple):
    """Of the best category of rows: number, how well it fits, chance, whether it is right, whether the true one was learnt,
    the row's region; and of its ancestors, deepest first, chances and whether they are right, [rows, levels].
    """

    number: np.ndarray
    fit: np.ndarray
    chance: np.ndarray
    right: np.ndarray
    learnt: np.ndarray
    region: np.ndarray
    chances: np.ndarray
    rights: np.ndarray


def guesses(
    chances: np.ndarray,
    fit: np.ndarray,
    labels: np.ndarray,
    nodes: np.ndarray,
    region: np.ndarray,
    tree: Tree,
    min_depth: int,
) -> Guess:
    """What calibration wants of rows: chances float32[rows, categories], how well the best fits float32[rows], truth as
    number of the category (-1: not learnt) and as node (-1: unknown), region names; ancestors down to `min_depth`."""
    number, chance = best(chances, 1)
    leaf = tree.leaf[number[:, 0]]
    sums = np.concatenate([np.zeros((len(chances), 1)), np.cumsum(chances, 1, dtype=np.float64)], 1)
    levels = int(tree.depth.max())
    above, right = np.zeros((len(chances), levels), np.float32), np.zeros((len(chances), levels), bool)
    at, rows = tree.parent[leaf], np.arange(len(chances))
    for level in range(levels):
        there = (at >= 0) & (tree.depth[at] >= min_depth)
        spot = np.where(there, at, 0)
        above[:, level] = np.where(there, sums[rows, tree.last[spot]] - sums[rows, tree.first[spot]], 0)
        right[:, level] = there & (nodes >= spot) & (nodes < tree.end[spot])
        at = np.where(there, tree.parent[spot], -1)
    return Guess(number[:, 0], fit, chance[:, 0], number[:, 0] == labels, labels >= 0, region, above, right)


class Calibrated(NamedTuple):
    """curves by region, the scope, the cells of `Thresholds`."""

    curves: dict[str, calibrate.Curve]
    scope: float
    cells: list[dict[str, Any]]


def calibrated(
    guess: Guess | None,
    decision: Decision,
    targets: dict[tuple[str, str], float],
    nodes: list[dict[str, Any]],
    tree: Tree,
) -> Calibrated:
    """Curves, scope and thresholds that the calibrate side shows; without rows (None) nothing is ever accepted."""
    ids = {node["id"]: node["path"] for node in nodes}
    cells = [
        {"region": region, "category": category, "name": ids.get(category, ANY), "target": target, "rows": 0}
        | {"accept": calibrate.NEVER, "roll_up": calibrate.NEVER}
        for (region, category), target in targets.items()
        if category in ids or category == ANY  # nothing is learnt of the others
    ]
    if guess is None:
        return Calibrated({ANY: calibrate.Curve()}, calibrate.EVERYTHING, cells)
    curves = calibrate.fit_curves(guess.chance, guess.right, guess.region)
    scope = calibrate.scope_threshold(guess.fit[guess.learnt], decision.out_of_scope)
    confidence = calibrate.confidences(curves, guess.chance, guess.region)
    share = (1 - confidence) / np.maximum(1 - guess.chance, np.finfo(np.float32).tiny)
    above = guess.chances > 0
    chances = np.where(above, confidence[:, None] + (guess.chances - guess.chance[:, None]) * share[:, None], 0)
    found = Thresholds.of(cells, nodes, tree).find(guess.region, guess.number)
    for at, cell in enumerate(cells):
        mine = np.flatnonzero(found == at)
        target, enough = cell["target"], decision.min_accepted
        cell["rows"] = len(mine)
        cell["accept"] = calibrate.accept_threshold(confidence[mine], guess.right[mine], target, enough)
        rest = mine[confidence[mine] < cell["accept"]]
        cell["roll_up"] = calibrate.roll_up_threshold(chances[rest], guess.rights[rest], target, enough)
    return Calibrated(curves, scope, cells)


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
    was known and whether it fits a category (`Rules.scope`), the cell of `Thresholds`, whether what is known of it contradicts
    itself."""

    decision: np.ndarray
    node: np.ndarray
    confidence: np.ndarray
    number: np.ndarray
    chance: np.ndarray
    known: np.ndarray
    fits: np.ndarray
    cell: np.ndarray
    contradicts: np.ndarray


class Rules(NamedTuple):
    """What turns chances into decisions: `Thresholds`, curves by region ("*" for all others), the fit below which a product is
    out of scope, the highest level a roll-up may reach."""

    thresholds: Thresholds
    curves: dict[str, calibrate.Curve]
    scope: float
    roll_up_depth: int


def answered(
    chances: np.ndarray,
    fit: np.ndarray,
    known: np.ndarray,
    region: pa.Array | None,
    tree: Tree,
    rules: Rules,
    top_k: int,
    several: bool = False,
    contradicts: np.ndarray | None = None,
) -> Answer:
    """Decide upon rows: chances float32[rows, categories], how well the best fits float32[rows], whether there is anything to
    go by bool[rows], region names (None: all are `ANY`). several: a product has several labels, so that chances do not share
    out one; nothing is rolled up then, as an ancestor would stand for one label and not for the others. contradicts: rows
    that are for review whatever their confidence (None: none)."""
    contradicts = np.zeros(len(known), bool) if contradicts is None else contradicts
    fits = fit >= np.float32(rules.scope)
    number, chance = best(chances, min(top_k, chances.shape[1]))
    where = np.full(len(known), ANY) if region is None else np.asarray(region.fill_null(ANY)).astype(str)
    top = number[:, 0]
    confidence = calibrate.confidences(rules.curves, chance[:, 0], where)
    cell = rules.thresholds.find(where, top)
    roll_up = np.full(len(top), calibrate.NEVER, np.float32) if several else rules.thresholds.roll_up[cell]
    made = decide(
        chances, top, confidence, known & fits & ~contradicts, rules.thresholds.accept[cell], roll_up,
        tree.parent, tree.depth, tree.first, tree.last, tree.leaf, rules.roll_up_depth,
    )  # fmt: skip
    if several:
        others = calibrate.confidences(rules.curves, chance.ravel(), np.repeat(where, chance.shape[1]))
        chance[:] = np.minimum(others.reshape(chance.shape), confidence[:, None])
        return Answer(*made, number, chance, known, fits, cell, contradicts)
    # What a curve takes from the best it gives to the others, in their proportion, none above the best.
    rest = np.maximum(1 - chance[:, 0], np.finfo(np.float32).tiny)
    chance[:, 1:] = np.minimum(chance[:, 1:] * ((1 - confidence) / rest)[:, None], confidence[:, None])
    chance[:, 0] = confidence
    return Answer(*made, number, chance, known, fits, cell, contradicts)


def measured(right: np.ndarray, before: np.ndarray, after: np.ndarray, sure: np.ndarray) -> dict[str, Any]:
    """What gold.models tells of any line's answers of labelled rows: rows, accuracy, coverage, accepted_accuracy, and of the best
    category's probability `before` and `after` calibration what `calibrate.quality` says. sure: rows that are accepted."""
    return {
        "rows": len(right),
        "accuracy": float(right.mean()),
        "coverage": float(sure.mean()),
        "accepted_accuracy": float(right[sure].mean()) if sure.any() else None,
        "before": calibrate.quality(before, right),
        "after": calibrate.quality(after, right),
    }


class Names:
    """The texts of a model's answers, made once: a batch only points into them."""

    def __init__(
        self,
        nodes: list[dict[str, Any]],
        tree: Tree,
        thresholds: Thresholds,
        unknown: str = "no word of the text is known",
    ):
        self.ids = pa.array([node["id"] for node in nodes], pa.string())
        self.paths = pa.array([node["path"] for node in nodes], pa.string())
        self.leaves = self.ids.take(pa.array(tree.leaf))
        self.decisions = pa.array(DECISIONS)
        self.reasons = pa.array([reason for cell in thresholds.cells for reason in _reasons(cell, unknown)])

    def columns(self, said: Answer) -> dict[str, pa.Array]:
        node = pa.array(said.node)
        n, k = said.number.shape
        best = pa.StructArray.from_arrays(
            [self.leaves.take(pa.array(said.number.ravel())), pa.array(said.chance.ravel().astype(np.float64))],
            names=["category_id", "confidence"],
        )
        why = np.where(said.contradicts, WHY.index("contradicts"), said.decision)
        why = np.where(said.fits, why, WHY.index("out_of_scope"))
        reason = len(WHY) * said.cell + np.where(said.known, why, WHY.index("unknown"))
        return {
            "category_id": self.ids.take(node),
            "category_path": self.paths.take(node),
            "confidence": pa.array(said.confidence.astype(np.float64)),
            "top_k": pa.ListArray.from_arrays(pa.array(np.arange(0, n * k + 1, k, dtype=np.int32)), best),
            "decision": self.decisions.take(pa.array(said.decision)),
            "reason": self.reasons.take(pa.array(reason)),
        }


WHY = (*DECISIONS, "contradicts", "out_of_scope", "unknown")


def _reasons(cell: dict[str, Any], unknown: str) -> list[str]:
    """Why a row of a cell of thresholds is decided upon as it is, in the order of `WHY`."""
    accept, roll_up = (f"{cell[name]:.3f}" if cell[name] <= 1 else None for name in ("accept", "roll_up"))
    own = [cell[name] for name in ("region", "name") if cell[name] != ANY]
    where = f" in {' and '.join(own)}" if own else ""
    doubt = f"confidence below {accept}{where}" if accept else f"no confidence is high enough to accept{where}"
    return [
        f"confidence at least {accept}{where}",
        f"{doubt}, its branch reaches {roll_up}",
        f"{doubt}, nor does a branch reach {roll_up}" if roll_up else doubt,
        "its picture contradicts its text",
        "fits no category: out of scope",
        unknown,
    ]


def checksum(folder: Path | str) -> str:
    """sha256 over the names and contents of all files below the folder, but hidden ones."""
    folder, total = Path(folder), hashlib.sha256()
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    for name in sorted(name for name in names if not any(part.startswith(".") for part in name.split("/"))):
        with names[name].open("rb") as file:
            total.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def readable(folder: Path | str, form: int) -> bool:
    """Whether a folder has a model.json of this format."""
    try:
        return json.loads((Path(folder) / "model.json").read_text()).get("format") == form
    except (OSError, ValueError):
        return False


def described(folder: Path | str, form: int) -> dict[str, Any]:
    """model.json of a folder. Raises `DataRefused` where it is of another format than `form`."""
    about = json.loads((Path(folder) / "model.json").read_text())
    if about.get("format") != form:
        raise DataRefused(
            f"{folder}/model.json has format {about.get('format')}, this version reads {form}: train again"
        )
    return about


def verify(folder: Path | str, expected: str | None, what: str, job: str) -> None:
    """Raises `DataRefused` where the folder has no model (`what` there should be, and the job that makes one), or its checksum is
    not the one published."""
    if not (Path(folder) / "model.json").is_file():
        raise DataRefused(f"no {what} in {folder}: run {job}, or roll the lake back to a commit that has one")
    unchanged(folder, expected)


def unchanged(folder: Path | str, expected: str | None) -> None:
    """Raises `DataRefused` where the model's files are not those of the published checksum (None: whatever they are)."""
    if expected is not None and (found := checksum(folder)) != expected:
        raise DataRefused(
            f"the model in {folder} has checksum {found[:12]}…, published was {expected[:12]}…: its files were changed "
            "after training; roll the lake back or train again"
        )
