"""The steps of training, each a plain function over files of a work folder; no Spark here.

A step is a task: it reads parts written before it, and writes files nobody else writes, whole or not at all. `prepare`
and `learn` put them in order and leave to `each` where they run: in this process (`in_process`), or as Spark tasks (train.py).

1. `count_grams`: tokens to hashed n-gram counts, a part of the rows per task.
2. `count_columns`: in how many rows each hashed column appears, summed over parts.
3. `weigh_part`: counts to TF-IDF of the columns that are learnt from, and beside them the facts (facts.py).
4. A *router* is learnt first: a classifier of groups of categories, the blocks where there are many, else branches of the
   taxonomy. Its best score helps to tell what fits nowhere (`model.in_scope`). With many blocks `route_part` notes the few
   that it thinks of for each row.
5. `solve_block`: the weights of a block of sibling categories, from the rows of its own and those that are routed to it,
   its hard negatives; memory-mapped: tasks of one machine share them through the page cache.
6. `merge_blocks`: the blocks as one sparse matrix, column by column, as prediction reads it.

Routing is XR-Linear's recipe in one step (Yu et al. 2022, "PECOS", section 4: matcher and ranker, hard negatives of the
matcher) with blocks of the taxonomy in place of clusters.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

from shelfmark.config import Text
from shelfmark.text import kernel
from shelfmark.text.facts import NOTHING, Encoder, joined
from shelfmark.text.solver import GROUP, Rows, solve

Each = Callable[[Callable[[Any], Any], Sequence[Any]], list]
"""Calls a function once per item, anywhere, and gives the results in the items' order."""

CHAR_FIELDS = {"title", "brand"}  # fields with character grams; a description would bring thousands a row
HEAD = 8192
"""The most frequent features, three quarters of what a row has, keep all their weights, dense: a block of them is 1 MB
and stays in the L2 cache. The others, the tail, keep the weights above `text.prune`, sparse."""
COUNTED = ("counted_indptr", "counted_columns", "counts", "fact_indptr", "fact_columns", "fact_values")
COUNTED_KINDS = (np.int64, np.uint32, np.uint8, np.int64, np.int32, np.uint16)
BLOCK = ("indptr", "categories", "values", "head", "bias")
ROUTED = 8  # blocks, a quarter of a thousand categories, from which on a router pays
ROUTER_COST = 0.3  # of the cost of a category: what fits nowhere scores lower then (AUROC .857 in place of .850)
ROUTER_ROWS = 250  # rows of a category that the router learns from
ROUTES = 4  # blocks looked at for a row; of 36 the right one is among them for 99.2 % (demo), among 10 for 99.5 %
DESCRIPTION_WORDS = 60  # words read of a description: its head says what the thing is


def in_process(function: Callable[[Any], Any], items: Sequence[Any]) -> list:
    """Run the steps here, one after the other."""
    return [function(item) for item in items]


def grams(tokens: pa.Array, text: Text) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`kernel.ngrams` of a token column of `text.fields`, as the settings say."""
    return kernel.ngrams(tokens, text.hash_bits, *settings_of(text))


def settings_of(text: Text) -> tuple[tuple[int, ...], dict[int, int], int]:
    """What the settings say to `kernel.ngrams`: char_fields, limits, apart."""
    chars = tuple(i for i, name in enumerate(text.fields) if name in CHAR_FIELDS)
    limits = {i: DESCRIPTION_WORDS for i, name in enumerate(text.fields) if name not in CHAR_FIELDS}
    return chars, limits, text.pairs


def count_grams(
    work: Path,
    part: int,
    batches: Iterable[tuple[pa.Array, np.ndarray, np.ndarray, pa.Array]],
    text: Text,
    learnt: dict[str, Any] = NOTHING,
) -> int:
    """Write part `part` of the rows from (tokens, labels, weights, facts) batches; returns its rows.

    Labels are category numbers (-1: none of the learnt), weights the trust in them; `learnt` is of facts.py.
    """
    encoder = Encoder(learnt)
    counted, encoded, labels, weights = [], [], [], []
    for tokens, label, weight, facts in batches:
        counted.append(grams(tokens, text))
        encoded.append(encoder.rows(facts))
        labels.append(np.asarray(label, np.int32))
        weights.append(np.asarray(weight, np.float32))
    folder = part_folder(work, part)
    save(folder / "labels.npy", _joined(labels, np.int32))
    save(folder / "weights.npy", _joined(weights, np.float32))
    for name, kind, array in zip(COUNTED, COUNTED_KINDS, (*_stacked(counted), *_stacked(encoded))):
        save(folder / f"{name}.npy", array.astype(kind, copy=False))
    return sum(map(len, labels))


def _stacked(rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    """Sparse rows one after the other."""
    used = np.cumsum([0, *(ends[-1] for ends, _, _ in rows)])
    ends = np.concatenate([[0], *(ends[1:] + before for before, (ends, _, _) in zip(used, rows))])
    return ends, *(np.concatenate(some) if some else np.empty(0) for some in (list(zip(*rows))[1:] or ([], [])))


def count_columns(parts: Sequence[int], work: Path, bits: int) -> Path:
    """Sum over `parts` of the rows each hashed column appears in; returns the file of int64[kernel.width(bits)]."""
    total = np.zeros(kernel.width(bits), np.int64)
    for part in parts:
        total += kernel.document_frequency(load_array(part_folder(work, part) / "counted_columns.npy"), bits)
    path = work / f"frequency-{parts[0]:06d}.npy"
    save(path, total)
    return path


def weigh_part(part: int, work: Path, model: Path, cuts: int = 0) -> None:
    """Write the rows of a part, TF-IDF of its counts and its facts, and drop the counts; cuts: `Encoder.cuts`."""
    folder = part_folder(work, part)
    raw = [folder / f"{name}.npy" for name in COUNTED]
    if not all(path.exists() for path in raw) and (folder / "values.npy").exists():
        return  # a second attempt of the task
    idf = load_array(model / "idf.npy")
    texts = kernel.weigh(*map(load_array, raw[:3]), load_array(model / "lookup.npy"), idf)
    rows = joined(tuple(map(load_array, raw[3:])), texts, cuts, len(idf))
    for name, array in zip(("indptr", "columns", "values"), rows):
        save(folder / f"{name}.npy", array)
    for path in raw:
        path.unlink()


def read_part(part: int, work: Path) -> Rows:
    """A weighed part, memory-mapped."""
    folder = part_folder(work, part)
    return Rows(*(load_array(folder / f"{name}.npy") for name in Rows._fields))


def solve_block(
    block: tuple[int, int],
    work: Path,
    parts: Sequence[int],
    width: int,
    text: Text,
    boost: np.ndarray,
    of: np.ndarray | None = None,
    edges: np.ndarray | None = None,
) -> dict[str, Any]:
    """Solve the categories [first, last) and write their weights column by column; returns what it took.

    of: int32[categories], where what is solved for is not the category itself but, by its number, a block of it (the
    router). edges: of the blocks, where rows were routed (`route_part`): only those of this block are learnt from.
    Of the tail, weights below `text.prune` in size are left out: the trace of rows that only just touch the margin. Where
    rows are routed, below twice that: a thousand categories have more such traces. (54,000 titles of the demo, 1,128
    categories: macro-F1 .534 with all, .534 at 0.05, .539 at 0.1, at a fifth of the weights.)
    """
    first, last = block
    started = time.process_time()
    rows = [read_part(part, work) for part in parts]
    used = None
    if of is not None:
        used = _sampled(rows, len(of))
        rows = [one._replace(labels=np.where(one.labels >= 0, of[one.labels], -1).astype(np.int32)) for one in rows]
    if edges is not None:
        own = int(np.searchsorted(edges, first))
        routes = [load_array(part_folder(work, part) / "routes.npy") for part in parts]
        used = [
            np.flatnonzero((said == own).any(1) | ((one.labels >= first) & (one.labels < last))).astype(np.int32)
            for one, said in zip(rows, routes)
        ]
    weights, bias, passes = solve(
        rows, width, first, last - first, text.cost, boost[first:last], text.epochs, text.tolerance, used
    )
    solved = time.process_time()
    arrays = sparse_columns(weights[HEAD:], first, text.prune * (1 if edges is None else 2))
    save_block(work / ("blocks" if of is None else "router"), first, (*arrays, weights[:HEAD], bias))
    return {
        "first": first,
        "passes": passes.tolist(),
        "solve_seconds": solved - started,
        "kept": len(arrays[-1]),
        "seconds": time.process_time() - started,
    }


def _sampled(rows: Sequence[Rows], categories: int) -> list[np.ndarray]:
    """Places in each part of some `ROUTER_ROWS` rows of every category: groups need no more, and rare categories keep all."""
    counts = sum(np.bincount(one.labels[one.labels >= 0], minlength=categories) for one in rows)
    share = np.append(ROUTER_ROWS / np.maximum(counts, 1), 0)  # the last is of rows of no category
    draws = (np.random.default_rng(part).random(len(one.labels)) for part, one in enumerate(rows))
    return [np.flatnonzero(draw < share[one.labels]).astype(np.int32) for one, draw in zip(rows, draws)]


def save_block(folder: Path, first: int, arrays: Sequence[np.ndarray]) -> None:
    """Write below `folder` indptr, categories, values of the tail, the dense head [columns, categories] and bias of a block."""
    *tail, head, bias = arrays
    wide = np.zeros((len(head), GROUP), np.float32)
    wide[:, : head.shape[1]] = head
    for name, array in zip(BLOCK, (*tail, wide, bias)):
        save(folder / f"{first:06d}" / f"{name}.npy", array)


@njit(cache=True, nogil=True)
def _sparse(weights, first, smallest, indptr, categories, values):
    used = 0
    for i in range(weights.shape[0]):
        for k in range(weights.shape[1]):
            if abs(weights[i, k]) >= smallest:
                if len(values):
                    categories[used] = first + k
                    values[used] = weights[i, k]
                used += 1
        indptr[i + 1] = used
    return used


def sparse_columns(weights: np.ndarray, first: int, smallest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of `weights` [columns, categories] without what is smaller than `smallest`.

    Returns indptr int64[columns + 1], categories uint16 (numbered from `first`), values float32.
    """
    indptr = np.zeros(len(weights) + 1, np.int64)
    smallest = np.float32(max(smallest, np.finfo(np.float32).tiny))  # zeros never stay
    used = _sparse(weights, first, smallest, indptr, np.empty(0, np.uint16), np.empty(0, np.float32))
    categories, values = np.empty(used, np.uint16), np.empty(used, np.float32)
    if used:
        _sparse(weights, first, smallest, indptr, categories, values)
    return indptr, categories, values


@njit(cache=True, nogil=True)
def _place(indptr, categories, values, fill, out_categories, out_values):
    for i in range(len(indptr) - 1):
        at = fill[i]
        for j in range(indptr[i], indptr[i + 1]):
            out_categories[at] = categories[j]
            out_values[at] = values[j]
            at += 1
        fill[i] = at


def merge_blocks(blocks: Sequence[tuple[int, int]], solved: Path, model: Path, prefix: str = "") -> int:
    """Join the blocks solved to the arrays of the model (see model.py); returns the weights kept of the tail.

    The output is memory-mapped and a block is read at a time, so memory stays small whatever the model's size.
    """
    folders = [solved / f"{first:06d}" for first, _ in sorted(blocks)]
    indptr = load_array(folders[0] / "indptr.npy").astype(np.int64)
    for folder in folders[1:]:
        indptr += load_array(folder / "indptr.npy")
    size = int(indptr[-1])
    out = {}
    for name, kind in (("categories", np.uint16), ("values", np.float32)):
        path = model / f"{prefix}{name}.npy"
        if size:
            out[name] = np.lib.format.open_memmap(path, "w+", kind, (size,))
        else:
            np.save(path, np.empty(0, kind))
    fill = indptr[:-1].copy()
    if size:
        for folder in folders:
            _place(*(load_array(folder / f"{n}.npy") for n in ("indptr", "categories", "values")), fill, *out.values())
        for array in out.values():
            array.flush()
    save(model / f"{prefix}indptr.npy", indptr)
    heads = [load_array(folder / "head.npy") for folder in folders]
    head = np.lib.format.open_memmap(model / f"{prefix}head.npy", "w+", np.float32, (len(heads), *heads[0].shape))
    for at, array in enumerate(heads):
        head[at] = array
    head.flush()
    save(model / f"{prefix}edges.npy", np.array([0, *(last for _, last in sorted(blocks))], np.int32))
    save(model / f"{prefix}bias.npy", np.concatenate([load_array(folder / "bias.npy") for folder in folders]))
    return size


@njit(cache=True, nogil=True)
def _add_tail(indptr, categories, values, column, out):
    for i in range(len(indptr) - 1):
        for j in range(indptr[i], indptr[i + 1]):
            if column[categories[j]] >= 0:
                out[i, column[categories[j]]] = values[j]


def copy_block(block: tuple[int, int], work: Path, base: Base, features: int) -> None:
    """Write the categories [first, last) with the weights they have in the model `base`, as `solve_block` would.

    Of the `features` those of the base have their numbers, but that new ones of texts, which get no weight, come before
    the words of facts.
    """
    first, last = block
    names = ("edges", "head", "indptr", "categories", "values", "bias", "idf")
    edges, head, indptr, categories, values, bias, idf = (load_array(base.folder / f"{name}.npy") for name in names)
    numbers = base.old[first:last]
    column = np.full(len(bias), -1, np.int32)
    column[numbers] = np.arange(len(numbers))
    weights = np.zeros((head.shape[1] + len(indptr) - 1, len(numbers)), np.float32)
    for k, (b, number) in enumerate(zip(np.searchsorted(edges, numbers, "right") - 1, numbers)):
        weights[: head.shape[1], k] = head[b, :, number - edges[b]]
    _add_tail(indptr, categories, values, column, weights[head.shape[1] :])
    if features > len(weights):
        fresh, end = np.zeros((features - len(weights), len(numbers)), np.float32), Encoder(base.facts).cuts + len(idf)
        weights = np.concatenate([weights[:end], fresh, weights[end:]])
    arrays = sparse_columns(weights[HEAD:], first, 0)
    save_block(work / "blocks", first, (*arrays, weights[:HEAD], bias[numbers]))


def route_part(part: int, work: Path, model: Path) -> None:
    """Write routes.npy of a part: the blocks that the router of `model` thinks of for each row, uint16[rows, ROUTES]."""
    from shelfmark.text.model import best_blocks, read_weights

    rows = read_part(part, work)
    routes = best_blocks(read_weights(model, "router_"), rows.indptr, rows.columns, rows.values)
    save(part_folder(work, part) / "routes.npy", routes)


def category_blocks(categories: int, tasks: int, cuts: Sequence[int] = ()) -> list[tuple[int, int]]:
    """Cut the categories, neighbours in the tree, into blocks of at most GROUP; about `tasks` of them or more.

    Siblings share their hard negatives, so a block of them skips the rows of other branches after the first pass.
    No block reaches over one of the `cuts`.
    """
    if inner := sorted({cut for cut in cuts if 0 < cut < categories}):
        pieces = list(pairwise((0, *inner, categories)))
        return [(low + a, low + b) for low, high in pieces for a, b in category_blocks(high - low, tasks)]
    blocks = max(-(-categories // GROUP), 1)
    blocks = -(-blocks // tasks) * tasks if blocks > tasks else blocks
    edges = np.linspace(0, categories, min(blocks, categories) + 1).round().astype(int)
    return [(int(a), int(b)) for a, b in pairwise(edges) if b > a]


def prepare(
    work: Path,
    model: Path,
    parts: Sequence[int],
    rows: int,
    text: Text,
    each: Each = in_process,
    tasks: int = 1,
    learnt: dict[str, Any] = NOTHING,
    base: Path | None = None,
) -> dict[str, Any]:
    """Steps 2 and 3 over counted parts: writes lookup and idf to `model`; returns features and seconds per step.

    tasks: tasks that run at one time; learnt: of the facts, as they were counted with; base: folder of a model whose
    features keep their numbers and IDF, those it has not come behind them.
    """
    clock, encoder = _Clock(), Encoder(learnt)
    model.mkdir(parents=True, exist_ok=True)
    bundles = [list(parts[i::tasks]) for i in range(min(tasks, len(parts)))]
    frequency = np.zeros(kernel.width(text.hash_bits), np.int64)
    for path in each(partial(count_columns, work=work, bits=text.hash_bits), bundles):
        frequency += np.load(path)
    before = base and (np.load(base / "lookup.npy"), np.load(base / "idf.npy"))
    lookup, idf = kernel.vocabulary(frequency, rows, text.min_rows if rows > SMALL else 1, before)
    save(model / "lookup.npy", lookup)
    save(model / "idf.npy", idf)
    clock("vocabulary")
    each(partial(weigh_part, work=work, model=model, cuts=encoder.cuts), list(parts))
    clock("weigh")
    return {"features": len(idf) + encoder.size, "seconds": clock.seconds}


class Base(NamedTuple):
    """A model whose weights are kept but for a branch: its folder, the number each category has in it (int32[categories],
    -1: not there), the branch, categories [first, last), which is learnt anew, and what was learnt of facts."""

    folder: Path
    old: np.ndarray
    first: int
    last: int
    facts: dict[str, Any] = NOTHING


def learn(
    work: Path,
    model: Path,
    parts: Sequence[int],
    features: int,
    categories: int,
    text: Text,
    boost: np.ndarray | None = None,
    each: Each = in_process,
    tasks: int = 1,
    base: Base | None = None,
    branches: np.ndarray | None = None,
) -> dict[str, Any]:
    """Steps 4 to 6 over weighed parts: writes the weights to `model`; returns counts and seconds per step.

    boost: class weights float32[categories]; tasks: tasks that run at one time; base: what is not learnt anew; branches:
    int32[categories], the group of each for the router where there are too few blocks to route; None: no router then.
    """
    clock = _Clock()
    model.mkdir(parents=True, exist_ok=True)
    boost = np.ones(categories, np.float32) if boost is None else np.asarray(boost, np.float32)
    blocks = category_blocks(categories, tasks, (base.first, base.last) if base else ())
    fresh = [block for block in blocks if base is None or base.first <= block[0] < base.last]
    told = {"work": work, "parts": list(parts), "width": max(features, 1), "text": text}
    routed, edges = len(blocks) > ROUTED, None
    if routed:
        edges = np.array([0, *(last for _, last in blocks)], np.int32)
        branches = np.repeat(np.arange(len(blocks), dtype=np.int32), np.diff(edges))
    if branches is not None:
        groups = int(branches.max()) + 1
        routers = category_blocks(groups, 1)
        softer = told | {"text": text.model_copy(update={"cost": ROUTER_COST * text.cost})}
        each(partial(solve_block, **softer, boost=np.ones(groups, np.float32), of=branches), routers)
        each(partial(merge_blocks, solved=work / "router", model=model, prefix="router_"), [routers])
        if routed:
            each(partial(route_part, work=work, model=model), list(parts))
        clock("route")
    solved = each(partial(solve_block, **told, boost=boost, edges=edges), fresh)
    clock("solve")
    if base is not None:
        others = [block for block in blocks if block not in fresh]
        each(partial(copy_block, work=work, base=base, features=features), others)
    kept = each(partial(merge_blocks, solved=work / "blocks", model=model), [blocks])[0]
    clock("merge")
    return {
        "weights": kept,
        "passes": float(np.mean(np.concatenate([s["passes"] for s in solved]))),
        "solve_cpu_seconds": round(sum(s["seconds"] for s in solved), 2),
        "seconds": clock.seconds,
    }


SMALL = 1000  # training rows below which a column seen once is learnt from as well: there is nothing to save


class _Clock:
    """Wall seconds between calls, by name."""

    def __init__(self):
        self.seconds, self._last = {}, time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._last = round(now - self._last, 3), now


def part_folder(work: Path, part: int) -> Path:
    """Folder of a part below a work folder."""
    return Path(work) / "parts" / f"{part:06d}"


def _joined(arrays: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.empty(0, kind)


def load_array(path: Path) -> np.ndarray:
    """An array file, memory-mapped where that saves anything, as a plain (read-only) array numba can take."""
    array = np.load(path, mmap_mode="r") if path.stat().st_size > 4096 else np.load(path)
    return array.view(np.ndarray)


def save(path: Path, array: np.ndarray) -> None:
    """Write whole or not at all: a task may run twice at one time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with temporary.open("wb") as file:
        np.save(file, array)
    os.replace(temporary, path)
