"""How well predictions agree with the labels on the test side: per region and class, per region, overall.

1. `judged` joins predictions with the truth of the test side: one shuffle of five narrow columns.
2. `evaluate` counts them in one pass (kernel.count_batches in `mapInArrow`): a partition gives back counts per
   (region, block, category), never rows. Spark sums the partials, NumPy makes figures of the sums. A block is a random
   hundredth of the leak groups: intervals of F1 are bootstrapped over blocks.
3. `confusions` lists the categories most often taken for one another.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from pyspark.sql import DataFrame, Row, Window
from pyspark.sql import functions as F

from shelfmark import config, tables
from shelfmark.errors import UsageError
from shelfmark.metrics import bootstrap, kernel

TRUTH_ORIGINS = ("source", "person")
"""Origins of labels that count as truth: what a rule or a model said is not measured against itself."""

ALL = "*"
"""Region or category that stands for all."""

BLOCKS, ENOUGH_BLOCKS = bootstrap.BLOCKS, bootstrap.ENOUGH_BLOCKS
DRAWS = 500
_OF = "\x1f"  # region, then this, then the block

PER_RUN = ("run_id", "run_date")
"""Columns of gold.metrics that the job adds."""

CONFUSIONS = (
    "region string, true_id string, true_path string, predicted_id string, predicted_path string, n bigint, "
    "share double, product_id string"
)


def evaluate(
    predictions: DataFrame,
    labels: DataFrame,
    splits: DataFrame,
    taxonomy: DataFrame,
    settings: config.Metrics,
    side: str = "test",
    rows: DataFrame | None = None,
) -> DataFrame:
    """gold.metrics rows of one model's predictions, without `run_id` and `run_date`.

    `predictions` (gold.predictions, one model version), `labels` (silver.labels), `splits` (silver.splits),
    `taxonomy` (silver.taxonomy, any versions), `rows` (what `judged` makes of them, where the caller has it). Measured are
    predictions whose product is on `side` and has a primary label of origin source or person; the predicted leaf is
    `top_k[0]`.

    Per region and for region `*`, with category `*` (support: rows behind the figure):

    - `accuracy`: predicted leaf is the primary label; `accuracy_any`: it is any label of the product;
    - `accuracy_accepted`: accuracy among decisions accept; `accuracy_decided`: among accept and roll_up, the category
      decided on is the primary label or above it;
    - `macro_f1`, `weighted_f1` over the classes with at least one true row in the region (see
      `kernel.macro_weighted_f1`), and `categories`, how many those are;
    - `coverage` (accepted), `roll_up_share`, `review_share`: shares of the decisions;
    - `ece`: expected calibration error of the confidence in the best leaf, in `kernel.BINS` bins, and `ece_by_chance`, what
      a model with the same confidences shows that is calibrated; `brier`: mean (confidence - right)^2;
      `bin_accuracy_<bin>`, `bin_confidence_<bin>`: share right and mean confidence of each bin with rows (support), the
      reliability diagram;
    - `coverage_all`: share accepted of all predictions, side `all`: those the model was trained on make it higher.

    Per region and class, and per class for region `*`: `precision`, `recall`, `f1`, support = true rows of the class.

    Figures with support below `settings.min_support` are null. Proportions measured on the test side carry their
    Wilson 95 % interval (that of precision runs over the rows predicted as the class), macro and weighted F1 a
    bootstrap 95 % interval over leak groups (none where the rows are of too few groups). A region without rows on the
    side has its rows with support 0 and null values. Raises `UsageError` when there is no prediction at all, or
    predictions of several model versions.
    """
    spark = predictions.sparkSession
    head = version_of(predictions)
    # The taxonomy is a dimension: its size does not grow with the products, so the driver may hold it.
    nodes = (
        taxonomy.where(F.col("taxonomy_version") == head.taxonomy_version)
        .select("category_id", "parent_id", "path")
        .collect()
    )
    parents = {node.category_id: node.parent_id for node in nodes}
    paths = {node.category_id: node.path for node in nodes}

    count = partial(_count, parents=parents)
    sums = [F.sum(name).alias(name) for name in kernel.CLASS_COUNTS + kernel.REGION_COUNTS]
    rows = judged(predictions, labels, splits, side, head) if rows is None else rows
    found = (
        rows.withColumn("region", F.concat_ws(_OF, "region", "block"))
        .drop("block")
        .mapInArrow(count, _ddl(kernel.PARTIAL))
        .groupBy("region", "category_id")
        .agg(*sums)
        .toPandas()
    )
    found[["region", "block"]] = found["region"].str.partition(_OF)[[0, 2]]
    summed = found.drop(columns="block").groupby(["region", "category_id"], dropna=False, as_index=False).sum()
    summed["category_id"] = summed["category_id"].astype(object).where(summed["category_id"].notna(), None)
    counted = [Row(**one) for one in summed.to_dict("records")]
    _one_version(counted, head)
    intervals = _intervals(found[found["category_id"].notna() & (found["block"] != "")])
    rows = [
        (head.model, head.model_version, region, "leaf", category, paths.get(category), *figure)
        for region, category, *figure in _figures(counted, settings.min_support, side, intervals)
    ]
    return spark.createDataFrame(rows, _metrics_ddl())


def version_of(predictions: DataFrame) -> Row:
    """model, model_version and taxonomy_version of predictions; `UsageError` where there are none."""
    head = predictions.select("model", "model_version", "taxonomy_version").head()
    if head is None:
        raise UsageError("no predictions to evaluate: gold.predictions has no row for this model; run predict first")
    return head


def judged(predictions: DataFrame, labels: DataFrame, splits: DataFrame, side: str, version) -> DataFrame:
    """Every prediction with what its product truly is, as `kernel.count_batches` takes it.

    Columns region, decision, truth (primary label; null where the product is not on `side` or has none), predicted
    (best leaf), decided (category decided on), any_hit (best leaf is a label of the product), foreign (prediction of
    another model version than `version`), confidence (in the best leaf), rank (of the truth in top_k, from 1; 0: not in
    it), labels (categories the product is listed in), labels_said (leaves in top_k with a confidence of a half or more),
    labels_both (of these the ones it is listed in), product_id, block (of its leak group, 0 to 99). Off `side`
    categories, labels, rank and block are null: nothing is carried
    along that is not counted.
    """
    truth = truth_of(labels, splits, side, version.taxonomy_version)
    best = F.col("top_k").getItem(0)
    measured = F.col("truth").isNotNull()
    foreign = (
        (F.col("model") != version.model)
        | (F.col("model_version") != version.model_version)
        | (F.col("taxonomy_version") != version.taxonomy_version)
    )
    return (
        predictions.select(
            "product_id",
            "region",
            "decision",
            best.getField("category_id").alias("best"),
            best.getField("confidence").alias("confidence"),
            F.col("top_k.category_id").alias("likeliest"),
            F.expr(
                "coalesce(array_distinct(transform(filter(top_k, one -> one.confidence >= 0.5 and one.category_id is not null), "
                "one -> one.category_id)), array())"
            ).alias("likely"),
            "category_id",
            foreign.alias("foreign"),
        )
        .join(truth, "product_id", "left")
        .select(
            "region",
            "decision",
            "truth",
            F.when(measured, F.col("best")).alias("predicted"),
            F.when(measured, F.col("category_id")).alias("decided"),
            F.array_contains("listed", F.col("best")).alias("any_hit"),
            "foreign",
            "confidence",
            F.expr("array_position(likeliest, truth)").alias("rank"),
            F.when(measured, F.size("listed")).alias("labels"),
            F.when(measured, F.size("likely")).alias("labels_said"),
            F.when(measured, F.size(F.array_intersect("likely", "listed"))).alias("labels_both"),
            "product_id",
            F.when(measured, F.col("block")).alias("block"),
        )
    )


def confusions(
    predictions: DataFrame,
    labels: DataFrame,
    splits: DataFrame,
    taxonomy: DataFrame,
    top: int = 50,
    side: str = "test",
) -> DataFrame:
    """The `top` most frequent confusions of a leaf with another, per region, the most frequent first.

    Columns region, true_id, true_path, predicted_id, predicted_path (null: category unknown to the taxonomy), n (rows
    on `side`), share (of the true category's rows in the region that were taken for the other, 0 to 1), product_id
    (one of those products, the smallest id, so that two runs name the same). A prediction that is another label of
    the same product is not a confusion. Empty where there is nothing to measure.
    """
    spark = predictions.sparkSession
    head = predictions.select("model", "model_version", "taxonomy_version").head()
    if head is None:
        return spark.createDataFrame([], CONFUSIONS)
    rows = judged(predictions, labels, splits, side, head).where("truth is not null and not foreign")
    wrong = F.col("predicted").isNotNull() & (F.col("predicted") != F.col("truth")) & ~F.col("any_hit")
    counts = rows.groupBy("region", "truth", F.when(wrong, F.col("predicted")).alias("predicted")).agg(
        F.count("*").alias("n"), F.min("product_id").alias("product_id")
    )
    total = F.sum("n").over(Window.partitionBy("region", "truth"))
    paths = taxonomy.where(F.col("taxonomy_version") == head.taxonomy_version)
    order = [F.desc("n"), "region", "true_id", "predicted_id"]
    return (
        counts.withColumn("share", F.col("n") / total)
        .where("predicted is not null")
        .withColumnsRenamed({"truth": "true_id", "predicted": "predicted_id"})
        .orderBy(*order)
        .limit(top)
        .join(paths.select(F.col("category_id").alias("true_id"), F.col("path").alias("true_path")), "true_id", "left")
        .join(
            paths.select(F.col("category_id").alias("predicted_id"), F.col("path").alias("predicted_path")),
            "predicted_id",
            "left",
        )
        .select("region", "true_id", "true_path", "predicted_id", "predicted_path", "n", "share", "product_id")
        .orderBy(*order)
    )


def truth_of(labels: DataFrame, splits: DataFrame, side: str, taxonomy_version: str) -> DataFrame:
    """product_id, truth (primary category), listed (all categories), block of the labelled products on `side`."""
    # One per product and origin; a person goes before a source.
    rank = F.when(F.col("origin") == "person", 0).otherwise(1)
    primary = F.min(F.when(F.col("primary"), F.struct(rank, "category_id")))["category_id"]
    block = F.pmod(F.xxhash64("leak_group"), F.lit(BLOCKS))
    return (
        labels.where((F.col("taxonomy_version") == taxonomy_version) & F.col("origin").isin(*TRUTH_ORIGINS))
        .select("product_id", "category_id", "primary", "origin")
        .join(splits.where(F.col("side") == side).select("product_id", block.alias("block")), "product_id")
        .groupBy("product_id", "block")
        .agg(primary.alias("truth"), F.collect_set("category_id").alias("listed"))
        .where("truth is not null")
    )


def _count(batches: Iterator, parents: dict[str, str | None]) -> Iterator:
    return kernel.count_batches(batches, parents)


def _intervals(cells) -> dict[tuple[str, str], tuple[float, float]]:
    """(region, metric) -> ends of the 95 % interval, for macro_f1 and weighted_f1, from counts per block."""
    out: dict[tuple[str, str], tuple[float, float]] = {}
    if not len(cells):
        return out
    block = cells["block"].astype(int).to_numpy()
    column = np.unique(cells["category_id"], return_inverse=True)[1]
    counts = cells[list(kernel.CLASS_COUNTS)].to_numpy(dtype=float)
    for region in [*sorted(cells["region"].unique()), ALL]:
        mine = (cells["region"] == region).to_numpy() if region != ALL else np.ones(len(cells), bool)
        if len(np.unique(block[mine & (counts[:, 0] > 0)])) < ENOUGH_BLOCKS:
            continue
        blocks = np.zeros((BLOCKS, len(kernel.CLASS_COUNTS), int(column.max()) + 1))
        for at in range(counts.shape[1]):
            np.add.at(blocks[:, at], (block[mine], column[mine]), counts[mine, at])
        drawn = bootstrap.of_blocks(blocks, DRAWS)
        for metric, values in (("macro_f1", _over_true(drawn)), ("weighted_f1", bootstrap.weighted_f1(drawn))):
            _, low, high = bootstrap.interval(values)
            out[region, metric] = max(low, 0.0), min(high, 1.0)
    return out


def _over_true(drawn: np.ndarray) -> np.ndarray:
    """Macro-F1 of each draw over the classes with a true row in the data, as `kernel.macro_weighted_f1`."""
    return bootstrap.macro_f1(drawn, np.flatnonzero(drawn[0, 0] > 0))


def _figures(counted: list, min_support: int, side: str, intervals: dict) -> Iterator[tuple]:
    """(region, category, metric, value, support, low, high, side) of all regions and of `*`, from summed counts."""
    regions = sorted({row.region for row in counted})
    code = {region: at for at, region in enumerate(regions)}
    totals = np.zeros((len(regions) + 1, len(kernel.REGION_COUNTS)), dtype=np.int64)
    cells = [row for row in counted if row.category_id is not None]
    for row in counted:
        if row.category_id is None:
            totals[code[row.region]] = [row[name] for name in kernel.REGION_COUNTS]
    totals[-1] = totals.sum(axis=0)

    categories = sorted({row.category_id for row in cells})
    place = {category: at for at, category in enumerate(categories)}
    region = np.array([code[row.region] for row in cells], dtype=np.int64)
    category = np.array([place[row.category_id] for row in cells], dtype=np.int64)
    counts = np.array([[row[name] for name in kernel.CLASS_COUNTS] for row in cells], dtype=np.int64).reshape(-1, 3)
    # Region `*` pools the counts of all regions; it is one more region from here on.
    pooled = np.stack([np.bincount(category, column, len(categories)) for column in counts.T], axis=1)
    region = np.append(region, np.full(len(categories), len(regions)))
    category = np.append(category, np.arange(len(categories)))
    counts = np.concatenate([counts, pooled.astype(np.int64)])
    names = [*regions, ALL]

    yield from _region_figures(names, totals, region, counts, min_support, side, intervals)
    yield from _class_figures(names, categories, region, category, counts, min_support, side)


def _region_figures(names, totals, region, counts, min_support, side, intervals) -> Iterator[tuple]:
    total = dict(zip(kernel.REGION_COUNTS, totals.T))
    true, predicted, correct = counts.T
    _, _, f1 = kernel.precision_recall_f1(true, predicted, correct)
    macro, weighted, present = kernel.macro_weighted_f1(region, len(names), true, f1)
    proportions = {
        "accuracy": ("hits", "measured"),
        "accuracy_any": ("hits_any", "measured"),
        "accuracy_accepted": ("accepted_hits", "accepted"),
        "accuracy_decided": ("decided_hits", "decided"),
        "coverage": ("accepted", "measured"),
        "roll_up_share": ("rolled", "measured"),
        "review_share": ("left", "measured"),
    }
    # On the measured side, as a model is surer of what it was trained on; over all predictions only as `coverage_all`.
    total["rolled"], total["left"] = total["decided"] - total["accepted"], total["measured"] - total["decided"]
    for at, name in enumerate(names):
        n = int(total["measured"][at])
        for metric, (hits, trials) in proportions.items():
            low, high = kernel.wilson(total[hits][at], total[trials][at])
            value = kernel.share(total[hits][at], total[trials][at])
            yield name, ALL, *_figure(metric, value, total[trials][at], min_support, low, high), side
        for metric, value in (("macro_f1", macro[at]), ("weighted_f1", weighted[at]), ("categories", present[at])):
            yield name, ALL, *_figure(metric, value, n, min_support, *intervals.get((name, metric), ())), side
        for metric, value, support, low, high in _calibration({key: values[at] for key, values in total.items()}):
            yield name, ALL, *_figure(metric, value, support, min_support, low, high), side
        rows = total["rows"][at]
        yield name, ALL, *_figure("coverage_all", kernel.share(total["accept"][at], rows), rows, min_support), "all"


def _calibration(total: dict[str, int]) -> Iterator[tuple]:
    """(metric, value, support, low, high) about the confidences of one region."""
    rows, hits, confidence = (
        np.array([total[f"bin_{what}_{at:02d}"] for at in range(kernel.BINS)], dtype=float)
        for what in ("rows", "hits", "confidence")
    )
    confidence /= kernel.MILLION
    n = int(total["measured"])
    yield "ece", kernel.calibration_error(rows, hits, confidence), n, None, None
    yield "ece_by_chance", kernel.calibration_error_by_chance(rows, confidence), n, None, None
    yield "brier", kernel.share(total["squares"] / kernel.MILLION, n), n, None, None
    low, high = kernel.wilson(hits, rows)
    for at in np.flatnonzero(rows):
        yield f"bin_accuracy_{at:02d}", hits[at] / rows[at], int(rows[at]), low[at], high[at]
        yield f"bin_confidence_{at:02d}", confidence[at] / rows[at], int(rows[at]), None, None


def _class_figures(names, categories, region, category, counts, min_support, side) -> Iterator[tuple]:
    true, predicted, correct = counts.T
    precision, recall, f1 = kernel.precision_recall_f1(true, predicted, correct)
    intervals = {"precision": kernel.wilson(correct, predicted), "recall": kernel.wilson(correct, true)}
    for at in range(len(counts)):
        where = names[region[at]], categories[category[at]]
        for metric, value in (("precision", precision[at]), ("recall", recall[at]), ("f1", f1[at])):
            low, high = (end[at] for end in intervals.get(metric, ([None] * len(counts),) * 2))
            yield *where, *_figure(metric, value, true[at], min_support, low, high), side


def _figure(metric, value, support, min_support, low=None, high=None) -> tuple:
    """(metric, value, support, low, high): nulls below minimum support."""
    if support < min_support:
        return metric, None, int(support), None, None
    ends = (None if end is None or np.isnan(end) else float(end) for end in (low, high))
    return metric, float(value), int(support), *ends


def _one_version(counted: list, version) -> None:
    foreign = sum(row.foreign for row in counted)
    if foreign:
        raise UsageError(
            f"{foreign} predictions are of another model, model version or taxonomy version than {version.model} "
            f"{version.model_version} ({version.taxonomy_version}): evaluate one model version at a time"
        )


def _metrics_ddl() -> str:
    fields = (field for field in tables.table("gold.metrics").fields if field.name not in PER_RUN)
    return ", ".join(f"`{field.name}` {field.type}" for field in fields)


def _ddl(schema) -> str:
    return ", ".join(f"{field.name} {'bigint' if field.type == 'int64' else 'string'}" for field in schema)
