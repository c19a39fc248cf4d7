"""Find labels that are likely wrong and categories that the labels themselves confuse, by models that did not see them.

1. Rows are dealt to `FOLDS` folds by leak group. A model of the other folds scores each row: its *margin* is the score of
   the best other category less that of the given one.
2. Rows with a margin of `CLEAN` or more are left out and all is learnt again: wrong labels do not vouch for each other
   any more (in the spirit of confident learning, Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in
   Dataset Labels"). The margins of this second round are the result.
3. A model of one fold alone scores the others: how often categories are right with a quarter of the labels, which is
   what learning curves are drawn from (learning.py).

The models are softer than those that predict (`COST`), so that a few wrong rows move them less.

Measured with 20 % of the labels moved to a sibling category, average precision of finding them (benchmarks/decisions.py
prints it anew): one round at cost 1 gives 0.683 (amazon_in), 0.944 (fashion), 0.893 (openfoodfacts), the two rounds 0.74, 0.96
and 0.94.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from shelfmark.errors import DataRefused
from shelfmark.text import calibrate as calibration
from shelfmark.text import fit, model, steps

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark.config import Settings

FOLDS = 4
COST = 0.2  # of the SVM: a fifth of the default
CLEAN = 0.3  # margin from which on a row is left out of the second round
LINK_ROWS = 10_000  # rows that probabilities are fitted on
SAID = (
    "product_id string, category_id string, best_id string, suggested_id string, margin double, "
    "given_confidence double, suggested_confidence double, quarter_id string"
)
"""Columns of `audit`, as DDL."""


class Fold(NamedTuple):
    """A fold: its parts, and folders of the model that has not seen it and of the one that has seen nothing else."""

    parts: list[int]
    others: list[int]
    unseen: Path
    alone: Path


def audit(rows: DataFrame, taxonomy: DataFrame, settings: Settings, workdir: Path | str) -> DataFrame:
    """What models that did not see a row say of its label; columns of `SAID`, a row per row of `rows` that is learnt from.

    rows: one row a product, as `train.train` takes them, and leak_group. taxonomy: of one version. workdir: scratch that
    driver and executors both see, emptied before; the result is read from there, so it goes after the result is used.

    best_id: the category that scores highest; suggested_id: the best but the given one; margin: its score less that of
    category_id, above 0 where the label looks wrong; *_confidence: probabilities of both; quarter_id: the best category
    by a model of a quarter of the labels. Rows of categories with fewer than `text.min_support` rows are not in it.
    Raises `DataRefused` where there are fewer than two categories with enough rows, or fewer than two folds.
    """
    work, text = Path(workdir), settings.text.model_copy(update={"cost": COST})
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    context = rows.sparkSession.sparkContext
    tasks = max(context.defaultParallelism, 1)
    _, known = steps.taxonomy_of(taxonomy)
    fold = F.pmod(F.xxhash64("leak_group", F.lit("audit")), F.lit(FOLDS))
    usable = rows.where(F.col("category_id").isNotNull() & (F.col("weight") > 0)).withColumn("_fold", fold)
    counted = usable.groupBy("category_id", "_fold").count().collect()
    support: dict[str, int] = {}
    for row in counted:
        support[row["category_id"]] = support.get(row["category_id"], 0) + row["count"]
    learnt = {category for category, n in support.items() if n >= text.min_support}
    sizes = [sum(r["count"] for r in counted if r["_fold"] == k and r["category_id"] in learnt) for k in range(FOLDS)]
    if len(learnt) < 2 or np.count_nonzero(sizes) < 2:
        raise DataRefused(
            f"{len(learnt)} categories have {text.min_support} labelled products or more, in {np.count_nonzero(sizes)} folds "
            "of leak groups: an audit compares categories and holds products back, so it needs two of each"
        )
    nodes, tree = model.make_tree(sorted(learnt), known)
    told = settings.model_copy(update={"text": text})
    plan = steps.Plan(
        told, context, work, work / "model", steps.learn_facts(usable, sum(sizes), text), nodes, tree, {}
    )  # fmt: skip
    order, folds = plan.order, []
    for k, size in enumerate(sizes):
        parts = max(1, -(-size // steps.PART_ROWS))
        first = folds[-1].parts[-1] + 1 if folds else 0
        mine = usable.where((F.col("_fold") == k) & F.col("category_id").isin(order))
        steps.write_parts(mine, parts, work, plan, order, keep=("product_id",), first=first)
        folds.append(Fold(list(range(first, first + parts)), [], work / f"unseen-{k}", work / f"alone-{k}"))
    every = [part for one in folds for part in one.parts]
    folds = [one._replace(others=[part for part in every if part not in one.parts]) for one in folds]
    prepared = fit.prepare(work, plan.folder, every, sum(sizes), text, plan.tasks, tasks, plan.learnt)

    def learn(parts: list[int], target: Path) -> None:
        fit.learn(work, target, parts, prepared["features"], len(order), text, None, plan.tasks, tasks)

    for one in folds:
        learn(one.parts, one.alone)
        learn(one.others, one.unseen)
    own = {part: one for one in folds for part in one.parts}
    plan.tasks(partial(_clean, work=work, folds=own), every)
    for one in folds:
        learn(one.others, one.unseen)
    most = -(-LINK_ROWS // len(every))
    spreads = plan.tasks(partial(_spread, work=work, folds=own, most=most), every)
    link = calibration.fit_link(*map(np.concatenate, zip(*spreads)))
    spark = rows.sparkSession
    numbered = spark.createDataFrame([(part,) for part in every], "part int").repartition(len(every), "part")
    say = _sayer(str(work), own, order, link)
    numbered.mapInArrow(say, SAID).write.parquet(str(work / "said"))
    return spark.read.parquet(str(work / "said"))


def _pieces(part: int, work: Path, folder: Path) -> Iterator[tuple[slice, np.ndarray]]:
    """Scores of the rows of a part, some thousand rows at a time: (their places, float32[rows, categories])."""
    rows, arrays = fit.read_part(part, work), model.read_weights(folder)
    step = max(1, (1 << 22) // max(len(arrays["bias"]), 1))
    for at in range(0, len(rows.labels), step):
        some = slice(at, min(at + step, len(rows.labels)))
        yield some, model.scores(arrays, rows.indptr[some.start : some.stop + 1], rows.columns, rows.values)


def _margins(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best category but the given one, and its score less that of the given one."""
    own = scores[np.arange(len(labels)), labels]
    others = scores.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    other = others.argmax(1)
    return other, others[np.arange(len(labels)), other] - own


def _clean(part: int, work: Path, folds: dict[int, Fold]) -> None:
    """Weight 0 for the rows of a part whose label the model that has not seen them contradicts by `CLEAN`."""
    rows = fit.read_part(part, work)
    weights = np.array(rows.weights)
    for some, scores in _pieces(part, work, folds[part].unseen):
        weights[some][_margins(scores, rows.labels[some])[1] >= CLEAN] = 0
    fit.save(fit.part_folder(work, part) / "weights.npy", weights)


def _spread(part: int, work: Path, folds: dict[int, Fold], most: int) -> tuple[np.ndarray, np.ndarray]:
    labels = fit.read_part(part, work).labels
    spreads, own = [np.empty((0, calibration.STEPS + 1), np.float32)], [np.empty(0, np.float32)]
    for some, scores in _pieces(part, work, folds[part].unseen):
        if some.start >= most:
            break
        spreads.append(calibration.spread(scores))
        own.append(scores[np.arange(len(scores)), labels[some]])
    return np.concatenate(spreads), np.concatenate(own)


def _sayer(work: str, folds: dict[int, Fold], order: list[str], link: calibration.Link) -> Callable:
    def say(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        names, table = pa.array(order, pa.string()), link.table()
        for batch in batches:
            for part in batch.column(0).to_pylist():
                labels, products = fit.read_part(part, Path(work)).labels, steps.kept(part, Path(work), "product_id")
                quarters = [scores.argmax(1) for _, scores in _pieces(part, Path(work), folds[part].alone)]
                for (some, scores), quarter in zip(_pieces(part, Path(work), folds[part].unseen), quarters):
                    given, rows = labels[some], np.arange(len(scores))
                    other, margin = _margins(scores, given)
                    best = np.where(margin > 0, other, given)
                    model.to_chances(scores, table)
                    columns = [
                        pa.array(products[some], pa.string()),
                        names.take(pa.array(given)),
                        names.take(pa.array(best)),
                        names.take(pa.array(other)),
                        *(
                            pa.array(one.astype(np.float64))
                            for one in (margin, scores[rows, given], scores[rows, other])
                        ),
                        names.take(pa.array(quarter)),
                    ]
                    yield pa.RecordBatch.from_arrays(columns, names=[one.split()[0] for one in SAID.split(", ")])

    return say
