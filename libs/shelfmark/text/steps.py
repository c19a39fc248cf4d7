"""What training and the audit of labels share: rows as parts of counted n-grams and facts, written by tasks on Spark.

A part is a folder (fit.py) below a work folder that driver and executors both see; a row's place in it is that of a hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import SparkContext, TaskContext
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from shelfmark.config import Settings, Text
from shelfmark.errors import DataRefused
from shelfmark.labels import examples
from shelfmark.labels.weights import class_weights
from shelfmark.text import fit, model, stated
from shelfmark.text.facts import NOTHING
from shelfmark.text.pipeline import tokens

PART_ROWS = 16_384  # rows of a part: 20 MB of features, a task of a second; enough parts for many executors
FACT_ROWS = 200_000  # rows that facts are learnt from: a quantile is then known to 0.1 %


class Plan(NamedTuple):
    """What a training is told and has found out before it learns: the arguments of its steps."""

    settings: Settings
    context: SparkContext
    work: Path
    folder: Path  # of the model
    learnt: dict[str, Any]  # of the facts
    nodes: list[dict[str, Any]]
    tree: model.Tree
    spots: dict[str, int]  # node of every category of the taxonomy

    @property
    def order(self) -> list[str]:
        """The learnt categories by number."""
        return [self.nodes[node]["id"] for node in self.tree.leaf]

    def tasks(self, function: Callable, items: list) -> list:
        """`fit.Each` on Spark: a task per item."""
        return self.context.parallelize(items, len(items)).map(function).collect() if items else []


def learn_facts(rows: DataFrame, n: int, text: Text) -> dict[str, Any]:
    """What is learnt of the facts of `n` training rows, from a bounded sample."""
    if not text.facts:
        return NOTHING
    sample = rows.where(chance() < FACT_ROWS / n) if n > FACT_ROWS else rows
    return stated.learn(sample.select(stated.stated(text.facts).alias("facts")), text.min_rows)


def taxonomy_of(taxonomy: DataFrame) -> tuple[str, dict[str, tuple[str, str | None]]]:
    """A taxonomy is a dimension of thousands of rows: the one table that comes to the driver."""
    found = taxonomy.select("taxonomy_version", "category_id", "path", "parent_id").collect()
    versions = {r["taxonomy_version"] for r in found}
    if len(versions) != 1:
        raise DataRefused(f"the taxonomy to train on has {len(versions)} versions, one is needed: {sorted(versions)}")
    return versions.pop(), {r["category_id"]: (r["path"], r["parent_id"]) for r in found}


def boost(counts: np.ndarray, how: str, text: Text) -> np.ndarray:
    """Class weights float32 of categories with so many rows."""
    return np.asarray(class_weights(counts, how, text.beta, text.max_weight), np.float32)


def chance() -> Column:
    """A number in [0, 1) that is a product's own: the cap and the samples take the same rows in every run."""
    return examples.chance("text")


def write_parts(
    rows: DataFrame,
    parts: int,
    work: Path,
    plan: Plan,
    order: list[str],
    keep: Sequence[str] = (),
    first: int = 0,
) -> list[int]:
    """Write the rows as parts first .. first + parts - 1 of counted n-grams and facts; returns the rows of each.

    `order` numbers the categories; a category that is not in it gets -1. keep: text columns of `rows` to write as they
    are beside, for `kept`.
    """
    text = plan.settings.text
    trust, facts = F.col("weight").cast("float").alias("weight"), stated.stated(text.facts).alias("facts")
    some = {f"_{name}": F.col(name) for name in keep}
    spread = (
        rows.withColumns(some)
        .select("product_id", "category_id", trust, facts, *text.fields, *some)
        .repartition(parts, "product_id")
        .sortWithinPartitions(F.xxhash64("product_id"), "product_id", "category_id", *text.fields)
    )
    words = tokens(spread, text.fields).select("tokens", "category_id", "weight", "facts", *some)
    writer = _part_writer(str(work), text, plan.learnt, order, keep, first)
    written = words.mapInArrow(writer, "part int, rows bigint").collect()
    # An empty partition may not have run at all: its part is written here.
    for part in set(range(first, first + parts)) - {r["part"] for r in written}:
        _write_part(work, part, [], text, plan.learnt, order, keep)
    return [r["rows"] for r in written]


def _part_writer(work: str, text: Text, learnt: dict[str, Any], order: list[str], keep, first: int) -> Callable:
    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        part = first + TaskContext.get().partitionId()
        rows = _write_part(Path(work), part, batches, text, learnt, order, keep)
        yield pa.record_batch({"part": pa.array([part], pa.int32()), "rows": pa.array([rows], pa.int64())})

    return write


def _write_part(work: Path, part: int, batches, text: Text, learnt: dict[str, Any], order: list[str], keep) -> int:
    numbers, columns = pa.array(order, pa.string()), [[] for _ in keep]

    def numbered():
        for batch in batches:
            words, category, weight, facts, *others = batch.columns
            for column, values in zip(columns, others):
                column.append(np.asarray(values.fill_null("")).astype(str))
            labels = pc.fill_null(pc.index_in(category, value_set=numbers), -1)
            yield words, labels.to_numpy(False), weight.to_numpy(False), facts

    rows = fit.count_grams(work, part, numbered(), text, learnt)
    for name, column in zip(keep, columns):
        found = np.concatenate(column) if column else np.empty(0, "U1")
        fit.save(fit.part_folder(work, part) / f"kept_{name}.npy", found)
    return rows


def kept(part: int, work: Path, name: str) -> np.ndarray:
    """A column that was kept of the rows of a part, texts."""
    return np.load(fit.part_folder(work, part) / f"kept_{name}.npy")
