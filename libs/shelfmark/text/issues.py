"""Tables of what an audit (audit.py) found: labels that look wrong, categories the labels confuse, categories that lack labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pyspark.sql import Window
from pyspark.sql import functions as F

from shelfmark.text import learning
from shelfmark.text.audit import FOLDS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

EXAMPLES = 3
PAIRS = 500  # pairs of categories listed, those whose settling gains most first
ENOUGH = 3  # rows of a pair that must be confused, or listed in both, or look-alikes labelled apart
TOGETHER = 0.05  # share of the smaller category's products, listed in both, from which on both are to be allowed
ALIKE = 0.25  # share of each category taken for the other from which on they are one


def label_issues(said: DataFrame, labels: DataFrame, catalogue: DataFrame, taxonomy: DataFrame) -> DataFrame:
    """gold.label_issues without run_id and run_date: labels whose product another category fits better.

    said: of `audit.audit`; labels: silver.labels; catalogue: silver.catalogue; taxonomy: of one version. A category that the
    product is listed in as well is no issue, nor is a label that a person has set.
    """
    listed = labels.groupBy("product_id").agg(
        F.collect_set("category_id").alias("listed"),
        F.max(F.col("origin") == "person").alias("by_person"),
        F.min(F.when(F.col("primary"), F.struct("origin", "who"))).alias("by"),
    )
    doubtful = (
        said.where("margin > 0")
        .join(listed, "product_id")
        .where(~F.col("by_person") & ~F.array_contains("listed", F.col("suggested_id")))
    )
    return (
        doubtful.join(catalogue.select("product_id", "region", "title"), "product_id")
        .join(_paths(taxonomy, "category_id", "category_path"), "category_id", "left")
        .join(_paths(taxonomy, "suggested_id", "suggested_path"), "suggested_id", "left")
        .select(
            "product_id", "region", "title", "category_id", "category_path", F.col("by.origin").alias("origin"),
            F.col("by.who").alias("who"), "suggested_id", "suggested_path", "margin", "given_confidence",
            "suggested_confidence",
        )
    )  # fmt: skip


def category_issues(
    said: DataFrame, labels: DataFrame, groups: DataFrame, catalogue: DataFrame, taxonomy: DataFrame
) -> DataFrame:
    """gold.category_issues without run_id and run_date: pairs of categories that the labels themselves confuse.

    groups: silver.leak_groups. The counts per category, at most the square of the categories, come to the driver.
    """
    confused = said.groupBy("category_id", F.col("best_id").alias("other_id")).count().toPandas()
    names = sorted(set(confused.category_id) | set(confused.other_id))
    number = {name: at for at, name in enumerate(names)}
    given, best = (confused[column].map(number).to_numpy() for column in ("category_id", "other_id"))
    n = confused["count"].to_numpy()
    size = len(names)
    true, taken = np.bincount(given, n, size), np.bincount(best, n, size)
    both = np.bincount(given[given == best], n[given == best], size)
    pairs: dict[tuple[int, int], np.ndarray] = {}  # confused left for right, right for left, listed in both, alike

    def count(left: int, right: int, column: int, rows: int) -> None:
        if left > right:
            left, right, column = right, left, 1 - column if column < 2 else column
        pairs.setdefault((left, right), np.zeros(4, np.int64))[column] += rows

    for a, b, rows in zip(given, best, n):
        if a != b:
            count(int(a), int(b), 0, int(rows))
    known = said.select("product_id", "category_id")
    together = labels.select("product_id", "category_id").distinct()
    apart = known.join(groups, "product_id").select(F.col("leak_group").alias("product_id"), "category_id").distinct()
    for column, listing in ((2, together), (3, apart)):
        for row in _pairs(listing).collect():
            if row.left_id in number and row.right_id in number:
                count(number[row.left_id], number[row.right_id], column, row["count"])
    found = []
    for (left, right), (forth, back, listed, alike) in pairs.items():
        if max(min(forth, back), listed, alike) < ENOUGH and forth + back < 2 * ENOUGH:
            continue
        gains = {
            "merge": _merged(true, taken, both, left, right, forth + back),
            "allow_both": _allowed(true, taken, both, left, right, forth, back),
        }
        smaller = min(true[left], true[right])
        if listed >= max(ENOUGH, TOGETHER * smaller):
            action = "allow_both"
        elif forth >= ALIKE * true[left] and back >= ALIKE * true[right]:
            action = "merge"
        else:
            action = "redefine"
        gain = gains["merge"] if action == "merge" else gains["allow_both"]
        rows = (int(true[left]), int(true[right]), int(forth), int(back), int(listed), int(alike))
        found.append((names[left], names[right], *rows, action, float(gain)))
    found.sort(key=lambda row: (-row[-1], row[0], row[1]))
    columns = (
        "left_id string, right_id string, left_rows bigint, right_rows bigint, left_as_right bigint, "
        "right_as_left bigint, listed_in_both bigint, alike_apart bigint, action string, gain double"
    )
    table = said.sparkSession.createDataFrame(found[:PAIRS], columns)
    return (
        table.join(_examples(said, catalogue), ["left_id", "right_id"], "left")
        .join(_paths(taxonomy, "left_id", "left_path"), "left_id", "left")
        .join(_paths(taxonomy, "right_id", "right_path"), "right_id", "left")
        .select(
            "left_id", "left_path", "right_id", "right_path", "left_rows", "right_rows", "left_as_right",
            "right_as_left", "listed_in_both", "alike_apart", "action", "gain", "examples",
        )
    )  # fmt: skip


def category_needs(said: DataFrame, taxonomy: DataFrame, target: float) -> DataFrame:
    """gold.category_needs without run_id and run_date: per category, F1 and the labels it lacks of F1 `target`."""
    counts = {}
    for column in ("best_id", "quarter_id"):
        right = F.col("category_id") == F.col(column)
        true = said.groupBy("category_id").agg(F.count("*").alias("true"), F.sum(right.cast("bigint")).alias("both"))
        taken = said.groupBy(F.col(column).alias("category_id")).agg(F.count("*").alias("taken"))
        counts[column] = (
            true.join(taken, "category_id", "left").fillna(0).toPandas().set_index("category_id").sort_index()
        )
    rows = counts["best_id"]["true"].to_numpy()
    large, small = (learning.f1(*(one[c].to_numpy() for c in ("true", "taken", "both"))) for one in counts.values())
    # Each model learnt from all folds but one, or from one.
    exponent = learning.slope(rows, small, large, 1 / (FOLDS - 1))
    more = learning.more_labels(rows, large, target, exponent)
    table = [
        (category, int(n), float(now), float(before), float(target), None if np.isnan(lack) else int(lack))
        for category, n, now, before, lack in zip(counts["best_id"].index, rows, large, small, more)
    ]
    columns = "category_id string, labels bigint, f1 double, f1_of_a_third double, target_f1 double, more_labels bigint"
    needs = said.sparkSession.createDataFrame(table, columns)
    return needs.join(_paths(taxonomy, "category_id", "category_path"), "category_id", "left").select(
        "category_id", "category_path", "labels", "f1", "f1_of_a_third", "target_f1", "more_labels"
    )


def _paths(taxonomy: DataFrame, key: str, path: str) -> DataFrame:
    return F.broadcast(taxonomy.select(F.col("category_id").alias(key), F.col("path").alias(path)))


def _pairs(listing: DataFrame) -> DataFrame:
    """How often two categories stand with one key (product_id); keys with more than ten are no evidence for a pair."""
    sets = listing.groupBy("product_id").agg(F.sort_array(F.collect_set("category_id")).alias("all"))
    some = sets.where(F.size("all").between(2, 10)).withColumn("left_id", F.explode("all"))
    return (
        some.select("left_id", F.explode("all").alias("right_id"))
        .where("left_id < right_id")
        .groupBy("left_id", "right_id")
        .count()
        .where(F.col("count") >= ENOUGH)
    )


def _examples(said: DataFrame, catalogue: DataFrame) -> DataFrame:
    """Per pair, some products that were taken for the other, the surest mistakes first."""
    smaller, larger = F.least("category_id", "best_id"), F.greatest("category_id", "best_id")
    taken = said.where("margin > 0").select(
        smaller.alias("left_id"), larger.alias("right_id"), "product_id", "category_id", "margin"
    )
    order = Window.partitionBy("left_id", "right_id").orderBy(F.desc("margin"), "product_id")
    few = taken.withColumn("rank", F.row_number().over(order)).where(f"rank <= {EXAMPLES}")
    named = few.join(catalogue.select("product_id", "title"), "product_id", "left")
    listed = named.groupBy("left_id", "right_id").agg(
        F.sort_array(F.collect_list(F.struct("rank", "product_id", "title", "category_id"))).alias("all")
    )
    shown = (
        "transform(all, e -> named_struct('product_id', e.product_id, 'title', e.title, 'category_id', e.category_id))"
    )
    return listed.select("left_id", "right_id", F.expr(shown).alias("examples"))


def _f1(true, taken, both):
    return 2 * both / np.maximum(true + taken, 1)


def _merged(true, taken, both, left: int, right: int, confused: int) -> float:
    """What macro-F1 gains if the two are one category."""
    f1 = _f1(true, taken, both)
    one = _f1(*(counts[left] + counts[right] + more for counts, more in ((true, 0), (taken, 0), (both, confused))))
    shown = true > 0
    after = (f1[shown].sum() - f1[left] - f1[right] + one) / max(shown.sum() - 1, 1)
    return after - f1[shown].mean()


def _allowed(true, taken, both, left: int, right: int, forth: int, back: int) -> float:
    """What macro-F1 gains if none of the two is taken for the other, or both are right where they are."""
    # A confused row counts as said of its own category, not of the other.
    own = ((left, forth, back), (right, back, forth))
    f1 = _f1(true, taken, both)
    gain = sum(_f1(true[at], taken[at] + out - came, both[at] + out) - f1[at] for at, out, came in own)
    return gain / max((true > 0).sum(), 1)
