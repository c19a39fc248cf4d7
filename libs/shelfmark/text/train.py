"""Train the text model on Spark: the steps of fit.py as tasks, then calibration.

1. Rows per category are counted; categories below `min_support` are reported, not learnt.
2. The rows are spread by product into parts of fixed size, in the order of a hash: the model does not depend on how
   the table was partitioned or how many executors there are.
3. Spark NLP makes words of them, a task per part hashes and counts n-grams and writes the part under `workdir`, a
   folder that driver and executors both see.
4. Document frequencies are summed over parts, parts are weighed, a task per block of sibling categories solves it,
   one task merges the blocks (fit.py). No row ever comes to the driver.
5. The calibrate side gives temperature and thresholds, the tune side the model's metrics.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import SparkContext, TaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shelfmark.config import Settings, Text
from shelfmark.errors import DataRefused
from shelfmark.text import calibrate as calibration
from shelfmark.text import fit, model
from shelfmark.text.pipeline import tokens

log = logging.getLogger(__name__)

PART_ROWS = 16_384  # rows of a part: 20 MB of features, a task of a second; enough parts for many executors
CALIBRATION_ROWS = 50_000  # rows a temperature and two thresholds are fitted on: more changes no digit that matters


def train(
    rows: DataFrame,
    calibrate: DataFrame,
    tune: DataFrame,
    taxonomy: DataFrame,
    settings: Settings,
    workdir: Path | str,
    model_dir: Path | str,
) -> dict[str, Any]:
    """Train on `rows`, calibrate on `calibrate`, measure on `tune`; the model's files are written to `model_dir`.

    rows, calibrate, tune: one row a product, columns product_id, category_id, weight and the texts of
    `settings.text.fields`. taxonomy: category_id, path, parent_id, taxonomy_version of one version.
    workdir: scratch that driver and executors both see; emptied before and after. model_dir: made, must be empty.

    Returns what gold.models wants and more: categories, training_rows (after the cap), taxonomy_version, checksum,
    metrics (of the tune side: rows, accuracy, macro_f1, coverage, accepted_accuracy; of calibration: temperature,
    thresholds), below_support ([{category_id, path, support}]), features, weights, seconds per step.
    Raises `DataRefused` where no category has enough rows, or the taxonomy does not know one.
    """
    work, folder = Path(workdir), Path(model_dir)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _train(rows, calibrate, tune, taxonomy, settings, work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _train(rows, calibrate, tune, taxonomy, settings: Settings, work: Path, folder: Path) -> dict[str, Any]:
    text, started, seconds = settings.text, time.perf_counter(), {}
    context = rows.sparkSession.sparkContext
    tasks = max(context.defaultParallelism, 1)
    version, known = _taxonomy(taxonomy)
    usable = F.col("category_id").isNotNull() & (F.col("weight") > 0)
    support = {r["category_id"]: r["count"] for r in rows.where(usable).groupBy("category_id").count().collect()}
    learnt = [category for category, n in support.items() if n >= text.min_support]
    below = sorted(set(support) - set(learnt))
    if not learnt:
        raise DataRefused(
            f"no category has {text.min_support} training rows ({len(support)} categories, {sum(support.values())} rows): "
            "lower text.min_support or bring more labels"
        )
    if len(learnt) > 1 << 16:
        raise DataRefused(f"{len(learnt)} categories have enough rows, a model holds 65536: raise text.min_support")
    nodes, tree = model.make_tree(learnt, known)
    order = [nodes[node]["id"] for node in tree.leaf]
    counts = np.array([support[category] for category in order])
    kept = np.minimum(counts, text.max_rows_per_category)
    share = {category: float(k / n) for category, k, n in zip(order, kept, counts)}
    seconds["count"] = time.perf_counter() - started

    started = time.perf_counter()
    parts = max(1, -(-int(kept.sum()) // PART_ROWS))
    sampled = _sampled(rows.where(usable & F.col("category_id").isin(order)), share)
    n_rows = sum(_write_parts(sampled, parts, work / "train", text, order))
    seconds["grams"] = time.perf_counter() - started
    log.info("text features of %d rows in %d parts", n_rows, parts)

    result = fit.fit(
        work / "train", folder, range(parts), n_rows, len(order), text,
        _boost(kept, text), partial(_tasks, context), tasks,
    )  # fmt: skip
    seconds |= result.pop("seconds")

    started = time.perf_counter()
    about = {
        "text": text.model_dump(),
        "taxonomy_version": version,
        "training_rows": n_rows,
        "support": {category: int(n) for category, n in zip(order, counts)},
        "roll_up_depth": settings.decision.roll_up_depth,
    }
    spots = _spots(nodes, known)
    fitted = _calibrate(calibrate, settings, work, folder, nodes, tree, spots, about)
    seconds["calibrate"] = time.perf_counter() - started
    started = time.perf_counter()
    measured = _measure(tune, settings, work, folder, nodes, tree, spots)
    seconds["measure"] = time.perf_counter() - started
    return {
        "categories": len(order),
        "training_rows": n_rows,
        "taxonomy_version": version,
        "checksum": model.checksum(folder),
        "metrics": {**measured, **fitted},
        "below_support": [
            {"category_id": c, "path": known.get(c, (None, None))[0], "support": support[c]} for c in below
        ],
        **result,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


def _taxonomy(taxonomy: DataFrame) -> tuple[str, dict[str, tuple[str, str | None]]]:
    """A taxonomy is a dimension of thousands of rows: the one table that comes to the driver."""
    found = taxonomy.select("taxonomy_version", "category_id", "path", "parent_id").collect()
    versions = {r["taxonomy_version"] for r in found}
    if len(versions) != 1:
        raise DataRefused(f"the taxonomy to train on has {len(versions)} versions, one is needed: {sorted(versions)}")
    return versions.pop(), {r["category_id"]: (r["path"], r["parent_id"]) for r in found}


def _boost(counts: np.ndarray, text: Text) -> np.ndarray:
    if text.reweight == "none":
        return np.ones(len(counts), np.float32)
    from shelfmark.labels.weights import class_weights

    return np.asarray(class_weights(counts, text.reweight, text.beta, text.max_weight), np.float32)


def _chance():
    """A number in [0, 1) that is a product's own: the cap and the samples take the same rows in every run."""
    return F.pmod(F.xxhash64("product_id", F.lit("text")), F.lit(1 << 40)) / F.lit(float(1 << 40))


def _sampled(rows: DataFrame, share: dict[str, float]) -> DataFrame:
    """About `share[category]` of each category's rows, by the hash of the product."""
    capped = {category: part for category, part in share.items() if part < 1}
    if not capped:
        return rows
    spark = rows.sparkSession
    table = spark.createDataFrame(list(capped.items()), "category_id string, _share double")
    joined = rows.join(F.broadcast(table), "category_id", "left")
    return joined.where(F.col("_share").isNull() | (_chance() < F.col("_share"))).drop("_share")


def _write_parts(rows: DataFrame, parts: int, work: Path, text: Text, order: list[str]) -> list[int]:
    """Write the rows as parts 0 .. parts - 1 of counted n-grams; returns the rows of each.

    `order` numbers the categories; a category that is not in it gets -1.
    """
    spread = (
        rows.select("product_id", "category_id", F.col("weight").cast("float").alias("weight"), *text.fields)
        .repartition(parts, "product_id")
        .sortWithinPartitions(F.xxhash64("product_id"), "product_id", "category_id")
    )
    words = tokens(spread, text.fields).select("tokens", "category_id", "weight")
    written = words.mapInArrow(_part_writer(str(work), text, order), "part int, rows bigint").collect()
    # An empty partition may not have run at all: its part is written here.
    missing = set(range(parts)) - {r["part"] for r in written}
    for part in missing:
        fit.count_grams(work, part, [], text)
    return [r["rows"] for r in written]


def _part_writer(work: str, text: Text, order: list[str]) -> Callable:
    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        numbers = pa.array(order, pa.string())
        part = TaskContext.get().partitionId()

        def numbered():
            for batch in batches:
                labels = pc.fill_null(pc.index_in(batch.column("category_id"), value_set=numbers), -1)
                yield batch.column("tokens"), labels.to_numpy(False), batch.column("weight").to_numpy(False)

        rows = fit.count_grams(Path(work), part, numbered(), text)
        yield pa.record_batch({"part": pa.array([part], pa.int32()), "rows": pa.array([rows], pa.int64())})

    return write


def _tasks(context: SparkContext, function: Callable, items: list) -> list:
    """`fit.Each` on Spark: a task per item."""
    return context.parallelize(items, len(items)).map(function).collect() if items else []


def _spots(nodes: list[dict], known: dict[str, tuple[str, str | None]]) -> dict[str, int]:
    """Node of each category of the taxonomy: its own, or of its nearest ancestor that the model knows."""
    number = {node["id"]: at for at, node in enumerate(nodes)}
    spots = {}
    for category in known:
        node, steps = category, 0
        while node is not None and node not in number and steps < 100:  # deeper is a circle
            node, steps = known.get(node, (None, None))[1], steps + 1
        if node in number:
            spots[category] = number[node]
    return spots


def _side(
    rows: DataFrame, text: Text, work: Path, folder: Path, nodes, tree: model.Tree, spots, most: int
) -> list[int]:
    """Write a bounded sample of a side as weighed parts labelled by node; returns the parts with rows in them."""
    usable = rows.where(F.col("category_id").isNotNull())
    n = usable.count()
    if not n:
        return []
    sample = usable.where(_chance() < min(1.0, most / n)) if n > most else usable
    sample = sample.withColumn("weight", F.lit(1.0))
    parts = max(1, -(-min(n, most) // PART_ROWS))
    categories = sorted(spots)
    _write_parts(sample, parts, work, text, categories)
    number = {node: at for at, node in enumerate(tree.leaf.tolist())}
    own = {nodes[node]["id"]: at for node, at in number.items()}
    truth = np.array([[own.get(c, -1) for c in categories] + [-1], [spots[c] for c in categories] + [-1]], np.int32)
    step = partial(_weigh_side, work=work, model_dir=folder, truth=truth)
    _tasks(rows.sparkSession.sparkContext, step, list(range(parts)))
    return list(range(parts))


def _weigh_side(part: int, work: Path, model_dir: Path, truth: np.ndarray) -> None:
    """Weigh a part and look the truth of its rows up: `truth` has label and node by taxonomy number, -1 last."""
    fit.weigh_part(part, work, model_dir)
    folder = fit.part_folder(work, part)
    fit.save(folder / "truth.npy", truth[:, np.load(folder / "labels.npy")])


def _scored(part: int, work: Path, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of a part of a side, the number of each row's category (-1: not learnt), its node (-1: unknown)."""
    rows = fit.read_part(part, work)
    truth = np.load(fit.part_folder(work, part) / "truth.npy")
    return model.scores(model.read_weights(folder), rows.indptr, rows.columns, rows.values), truth[0], truth[1]


def _likelihood(part: int, work: Path, folder: Path) -> np.ndarray:
    scores, labels, _ = _scored(part, work, folder)
    return calibration.log_likelihood(scores, labels)


def _chances(part: int, work: Path, folder: Path, tree: model.Tree, temperature: float, min_depth: int) -> tuple:
    """Per row: confidence of the best category, whether it is right, and the same of its ancestors, deepest first."""
    scores, labels, nodes = _scored(part, work, folder)
    model.softmax(scores, np.float32(1 / temperature))
    number, chance = model.best(scores, 1)
    leaf = tree.leaf[number[:, 0]]
    sums = np.concatenate([np.zeros((len(scores), 1)), np.cumsum(scores, 1, dtype=np.float64)], 1)
    levels = int(tree.depth.max())
    chances, right = np.zeros((len(scores), levels), np.float32), np.zeros((len(scores), levels), bool)
    at, rows = tree.parent[leaf], np.arange(len(scores))
    for level in range(levels):
        there = (at >= 0) & (tree.depth[at] >= min_depth)
        spot = np.where(there, at, 0)
        chances[:, level] = np.where(there, sums[rows, tree.last[spot]] - sums[rows, tree.first[spot]], 0)
        right[:, level] = there & (nodes >= spot) & (nodes < tree.end[spot])
        at = np.where(there, tree.parent[spot], -1)
    return chance[:, 0], number[:, 0] == labels, chances, right


def _calibrate(rows, settings: Settings, work: Path, folder: Path, nodes, tree, spots, about) -> dict[str, Any]:
    """Fit temperature and thresholds on the calibrate side and write model.json with them."""
    context, depth = rows.sparkSession.sparkContext, settings.decision.roll_up_depth
    side = work / "calibrate"
    parts = _side(rows, settings.text, side, folder, nodes, tree, spots, CALIBRATION_ROWS)
    likelihood = sum(_tasks(context, partial(_likelihood, work=side, folder=folder), parts))
    temperature = calibration.best_temperature(np.asarray(likelihood) if parts else np.zeros(1))
    accept = roll_up = calibration.NEVER
    if parts:
        step = partial(_chances, work=side, folder=folder, tree=tree, temperature=temperature, min_depth=depth)
        confidence, right, chances, rights = map(np.concatenate, zip(*_tasks(context, step, parts)))
        target = settings.decision.target_accuracy
        accept = calibration.accept_threshold(confidence, right, target)
        rest = confidence < accept
        roll_up = calibration.roll_up_threshold(chances[rest], rights[rest], target)
    about |= {"temperature": temperature, "accept": accept, "roll_up": roll_up}
    model.write(folder, nodes, tree, about)
    return {"temperature": temperature, "accept_threshold": accept, "roll_up_threshold": roll_up}


def _confusion(part: int, work: Path, folder: Path, tree: model.Tree, temperature: float, accept: float) -> np.ndarray:
    """Per category: predicted, true, both; and the rows, right, accepted, accepted and right."""
    scores, labels, _ = _scored(part, work, folder)
    model.softmax(scores, np.float32(1 / temperature))
    number, chance = model.best(scores, 1)
    said, size = number[:, 0], len(tree.leaf)
    hit, sure = said == labels, chance[:, 0] >= accept
    counts = [np.bincount(a, minlength=size) for a in (said, labels[labels >= 0], said[hit])]
    return np.concatenate([*counts, [len(hit), hit.sum(), sure.sum(), (hit & sure).sum()]])


def _measure(rows, settings: Settings, work: Path, folder: Path, nodes, tree, spots) -> dict[str, Any]:
    """Accuracy and coverage over all rows of the tune side, macro-F1 over the learnt categories found there."""
    side, found = work / "tune", model.load(str(folder), str(time.time_ns()))
    parts = _side(rows, settings.text, side, folder, nodes, tree, spots, 4 * CALIBRATION_ROWS)
    if not parts:
        return {"rows": 0}
    step = partial(_confusion, work=side, folder=folder, tree=tree, temperature=found.temperature, accept=found.accept)
    total = sum(_tasks(rows.sparkSession.sparkContext, step, parts))
    size = len(tree.leaf)
    said, true, both, (n, right, sure, sure_right) = (
        total[:size],
        total[size : 2 * size],
        total[2 * size : -4],
        total[-4:],
    )
    shown = true > 0
    f1 = 2 * both[shown] / (said[shown] + true[shown])
    return {
        "rows": int(n),
        "accuracy": float(right / n),
        "macro_f1": float(f1.mean()) if len(f1) else None,
        "coverage": float(sure / n),
        "accepted_accuracy": float(sure_right / sure) if sure else None,
    }
