"""Where predictions are good and where they are not: figures by slice, by depth of the taxonomy, by confidence.

1. `faceted` joins the judged rows of the test side with what the catalogue says of them: a few narrow columns.
2. `grouped` decides which values of a slice stand for themselves: the largest, so that their number is bounded; prices
   are put into bands.
3. `evaluate` counts the rows in one pass (`cells.count` in `mapInArrow`), sums the cells, and makes the figures of each
   group where its cells lie (`measures.figures`). What comes back are figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from shelfmark import tables
from shelfmark.labels import examples
from shelfmark.metrics import cells, measures, tree

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import Column, DataFrame, Row

    from shelfmark import config

ALL = "all"
SLICES = (ALL, "region", "language", "source", "brand", "brand_seen", "price", "title_length", "top_category")
"""What rows are told apart by. `all` has the one value `*`."""

TREED = frozenset((ALL, "region", "language"))
CURVED = frozenset((ALL, "region", "language", "top_category"))

NONE, OTHERS = "(none)", "(others)"
"""Value of rows that state nothing, and of those whose value is not among the largest of its slice."""

LARGEST = 50
"""Values of a slice that stand for themselves, those with the most rows: a report, and a driver, bear no more."""

TITLE_LENGTHS = ((1, "1-3"), (4, "4-6"), (7, "7-10"), (11, "11-15"), (16, "16+"))
"""Words of a title, from the first number on; in scripts without spaces a title is one word."""

BANDS = 5  # of the prices in a currency, with about as many rows in each
BAND_ROWS = 50  # that a band has at least, or there are fewer bands
CURRENCIES = 10  # that are cut into bands, those with the most rows
GRID = 20_000  # prices of two digits, over all currencies: some hundreds a currency

PER_RUN = ("run_id", "run_date")
FIGURE = (
    "group int, level string, metric string, value double, support bigint, low double, high double, threshold double"
)


class Found(NamedTuple):
    """Rows of gold.metrics (beyond those of `classification.evaluate`), gold.slices and gold.curves, without run."""

    metrics: DataFrame
    slices: DataFrame
    curves: DataFrame


def evaluate(
    rows: DataFrame,
    labels: DataFrame,
    splits: DataFrame,
    taxonomy: DataFrame,
    catalogue: DataFrame,
    version: Row,
    settings: config.Metrics,
    side: str = "test",
) -> Found:
    """Figures of one model's judged predictions.

    `rows`: `classification.judged` of the predictions on `side`; `labels`, `splits`, `taxonomy`, `catalogue`: the silver
    tables; `version`: model, model_version and taxonomy_version of the predictions.

    gold.slices: for each value of `SLICES` with rows, the figures of rows as `classification.evaluate` has them for a
    region, and recall_at_1, _3 and _5 (truth among the likeliest); for `TREED` slices hierarchical precision, recall and F1,
    tree_distance, and where there is a tail, macro_f1 and categories of head, middle and tail: thirds of the categories by
    training rows (by test rows where none are known); for `CURVED` slices aurc and aurc_perfect, and in gold.curves their
    curves.

    gold.metrics, per region and for `*`: those of these figures that `classification.evaluate` does not make, and accuracy,
    macro_f1 and categories of each level of the taxonomy.

    Figures below `settings.min_support` rows are null. Intervals are at 95 %, see `measures`. Empty where no row is measured.
    """
    spark = rows.sparkSession
    # The taxonomy is a dimension: its size does not grow with the products, so the driver may hold it.
    mine = taxonomy.where(F.col("taxonomy_version") == version.taxonomy_version)
    nodes = mine.select("category_id", "parent_id", "path").collect()
    grown = tree.Tree({node.category_id: node.parent_id for node in nodes})
    known = labels.where(F.col("taxonomy_version") == version.taxonomy_version)
    learnt = trained(catalogue, known, splits).persist()
    measured = faceted(rows, catalogue, learnt, top_categories(spark, grown, nodes)).persist()
    try:
        groups = grouped(measured)
        thirds = tree.thirds(_supports(learnt, measured, grown))
        count = partial(_count, groups=groups, taxonomy=grown)
        judge = partial(_judge, groups=groups, taxonomy=grown, thirds=thirds, min_support=settings.min_support)
        found = (
            measured.mapInArrow(count, ", ".join(f"{name} bigint" for name in cells.CELL.names))
            .groupBy("group", "block", "kind", "key")
            .agg(F.sum("n").alias("n"))
            .groupBy("group")
            .applyInPandas(judge, FIGURE)
            .collect()
        )
    finally:
        learnt.unpersist()
        measured.unpersist()
    return _tables(spark, found, groups, version, side)


def trained(catalogue: DataFrame, labels: DataFrame, splits: DataFrame) -> DataFrame:
    """What models are trained on, counted: category_id, brand (as `_brand`; null where none is stated), n."""
    rows = examples.labelled(catalogue, labels, splits).where("side = 'train'")
    return rows.groupBy("category_id", _brand().alias("brand")).agg(F.count("*").alias("n"))


def faceted(rows: DataFrame, catalogue: DataFrame, learnt: DataFrame, tops: DataFrame) -> DataFrame:
    """Measured rows as `cells.count` takes them, with one text column for each of `SLICES`.

    price: `<currency> <price in hundredths, cut to its first two digits>`: `grouped` makes bands of it.
    """
    cents = (F.col("price") * 100).cast("bigint")
    digit = F.pow(F.lit(10.0), F.greatest(F.length(cents.cast("string")) - 2, F.lit(0))).cast("bigint")
    words = F.size(F.split(F.trim("title"), r"\s+"))
    length = F.when(F.trim("title") == "", None)
    for least, name in reversed(TITLE_LENGTHS):
        length = length.when(words >= least, name)
    facts = catalogue.select(
        "product_id",
        "language",
        "source",
        "brand",
        _brand().alias("_brand"),
        F.concat_ws(" ", "currency", cents - cents % digit).alias("_price"),
        (F.col("currency").isNotNull() & (cents > 0)).alias("_priced"),
        length.alias("title_length"),
    )
    seen = learnt.where("brand is not null").select(F.col("brand").alias("_brand"), F.lit(True).alias("_seen"))
    told = F.when(F.col("_brand").isNull(), None).when(F.col("_seen"), "seen").otherwise("unseen")
    measured = rows.where("truth is not null and not foreign").join(facts, "product_id", "left")
    measured = measured.join(seen.distinct(), "_brand", "left").join(F.broadcast(tops), "truth", "left")
    named = {ALL: F.lit("*"), "brand_seen": told, "price": F.when(F.col("_priced"), F.col("_price"))}
    return measured.select(
        "truth",
        "predicted",
        "any_hit",
        *cells.LABELS,
        "confidence",
        "decision",
        "decided",
        "rank",
        "block",
        *(F.coalesce(named.get(name, F.col(name)), F.lit(NONE)).alias(name) for name in SLICES),
    )


def top_categories(spark, grown: tree.Tree, nodes: list) -> DataFrame:
    """truth, top_category: each category's root by its path."""
    paths = {node.category_id: node.path for node in nodes}
    tops = [(category, paths[grown.ids[grown.path(at)[0]]]) for at, category in enumerate(grown.ids)]
    return spark.createDataFrame(tops, "truth string, top_category string")


def grouped(measured: DataFrame) -> cells.Groups:
    """The groups of `faceted` rows: of each slice its largest values, `OTHERS`, and bands of the prices of a currency."""
    pairs = F.explode(F.array(*(F.struct(F.lit(name).alias("slice"), F.col(name).alias("value")) for name in SLICES)))
    counted = measured.select(pairs.alias("pair")).groupBy("pair.slice", "pair.value").agg(F.count("*").alias("n"))
    place = F.row_number().over(Window.partitionBy("slice").orderBy(F.desc("n"), "value"))
    most = F.when(F.col("slice") == "price", GRID).otherwise(LARGEST)
    kept = (F.col("place") <= most) | (F.col("value") == NONE)
    found = counted.withColumn("place", place).where(kept).collect()
    names: list[tuple[str, str]] = []
    of: dict[str, dict[str | None, int]] = {}
    for name in SLICES:
        values = {row.value: row.n for row in sorted(found, key=lambda r: r.place) if row.slice == name}
        label = bands(values) if name == "price" else {value: value for value in values}
        number: dict[str, int] = {}
        for shown in [*label.values(), OTHERS]:
            if shown not in number:
                number[shown] = len(names)
                names.append((name, shown))
        of[name] = {None: number[OTHERS], **{value: number[shown] for value, shown in label.items()}}
    return cells.Groups(names, of, TREED, CURVED)


def bands(prices: Mapping[str, int]) -> dict[str, str]:
    """Price as `faceted` gives it -> the name of its band, such as `EUR 10-25`: at least 10, below 25.

    prices: rows of each. Bands of a currency hold about as many rows each; there are fewer where rows are few or many prices
    alike. Currencies beyond the `CURRENCIES` largest are `OTHERS`.
    """
    by_currency: dict[str, list[tuple[int, int]]] = {}
    for price, n in prices.items():
        if price != NONE:
            currency, cents = price.rsplit(" ", 1)
            by_currency.setdefault(currency, []).append((int(cents), n))
    found = {NONE: NONE} if NONE in prices else {}
    rows = {currency: sum(n for _, n in points) for currency, points in by_currency.items()}
    for currency in sorted(rows, key=lambda one: (-rows[one], one))[:CURRENCIES]:
        cents, n = np.array(sorted(by_currency[currency])).T
        parts = int(np.clip(rows[currency] // BAND_ROWS, 1, BANDS))
        # Below an end lie as many parts of the rows as its number says, or the few more of equal price.
        after = np.searchsorted(np.cumsum(n), rows[currency] * np.arange(1, parts) / parts) + 1
        ends = np.unique(cents[after[after < len(cents)]])
        for one in cents:
            at = int(np.searchsorted(ends, one, side="right"))
            low, high = (int(ends[at - 1]) if at else None), (int(ends[at]) if at < len(ends) else None)
            found[f"{currency} {one}"] = _band(currency, low, high)
    return found


def _band(currency: str, low: int | None, high: int | None) -> str:
    """Ends in hundredths; None: open."""
    if low is None and high is None:
        return f"{currency} any"
    if low is None:
        return f"{currency} <{_amount(high)}"
    return f"{currency} {_amount(low)}+" if high is None else f"{currency} {_amount(low)}-{_amount(high)}"


def _amount(cents: int) -> str:
    return f"{cents // 100}" if cents % 100 == 0 else f"{cents / 100:.2f}"


def _brand() -> Column:
    """A brand as brands are compared: case and spaces aside; null where none is stated."""
    return F.nullif(F.lower(F.trim("brand")), F.lit(""))


def _supports(learnt: DataFrame, measured: DataFrame, grown: tree.Tree) -> dict[int, int]:
    """Category key -> rows trained on; rows of the test side where nothing is known to be trained on."""
    counted = learnt.groupBy("category_id").agg(F.sum("n").alias("n")).collect()
    if not counted:
        counted = measured.groupBy(F.col("truth").alias("category_id")).agg(F.count("*").alias("n")).collect()
    return {grown.key(row.category_id): row.n for row in counted}


def _count(batches: Iterator, groups: cells.Groups, taxonomy: tree.Tree) -> Iterator:
    return cells.count(batches, groups, taxonomy)


def _judge(
    found: pd.DataFrame,
    groups: cells.Groups,
    taxonomy: tree.Tree,
    thirds: Mapping[int, int],
    min_support: int,
) -> pd.DataFrame:
    import pandas as pd

    group = int(found["group"].iloc[0])
    counted = measures.counts(*(found[name].to_numpy() for name in ("block", "kind", "key", "n")))
    curved = groups.names[group][0] in groups.curved
    made = [(group, *figure) for figure in measures.figures(counted, taxonomy, thirds, min_support, curved)]
    return pd.DataFrame(made, columns=["group", *measures.Figure._fields])


MADE = frozenset((
    *("accuracy", "accuracy_any", "accuracy_accepted", "accuracy_decided", "macro_f1", "weighted_f1", "categories"),
    *("coverage", "roll_up_share", "review_share", "ece", "ece_by_chance", "brier"),
))  # fmt: skip
"""Figures of regions at level `leaf` that `classification.evaluate` makes."""


def _tables(spark, found: list, groups: cells.Groups, version: Row, side: str) -> Found:
    """Figures as rows of their tables. gold.metrics has the figures of regions that `classification` does not make."""
    model = version.model, version.model_version
    total = {row.group: row.support for row in found if row.metric == "accuracy" and row.level == measures.LEAF}
    metrics, slices, points = [], [], []
    for row in sorted(found, key=lambda r: (r.group, r.level, r.metric, r.threshold or 0)):
        name, value = groups.names[row.group]
        figure = row.value, row.support, row.low, row.high, side
        if row.metric == measures.CURVE:
            if row.value is not None:
                coverage = row.support / total[row.group]
                points.append((*model, name, value, row.threshold, coverage, *figure))
            continue
        leaf = row.level == measures.LEAF
        if leaf:
            slices.append((*model, name, value, row.metric, *figure))
        if name in (ALL, "region") and not (leaf and row.metric in MADE):
            metrics.append((*model, value, row.level, "*", None, row.metric, *figure))
    return Found(*(
        spark.createDataFrame(rows, _ddl(table))
        for rows, table in ((metrics, "gold.metrics"), (slices, "gold.slices"), (points, "gold.curves"))
    ))  # fmt: skip


def _ddl(name: str) -> str:
    fields = (field for field in tables.table(name).fields if field.name not in PER_RUN)
    return ", ".join(f"`{field.name}` {field.type}" for field in fields)
