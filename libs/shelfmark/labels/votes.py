"""Labels: which products are said to be in which categories, and the one category of each to train on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from shelfmark.taxonomy.versions import version

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def from_sources(
    products: DataFrame,
    category_map: DataFrame,
    taxonomy: DataFrame,
    label_sources: Iterable[str],
    run_id: str,
    now: datetime,
) -> DataFrame:
    """silver.labels rows of origin `source`: every (product, category) that a source's own category paths say.

    products: `product_id`, `source`, `category_paths`. category_map and taxonomy: their tables, of one and the same
    version. label_sources: the sources whose mapping says that their categories are labels; others give none.

    `primary` marks the training target of a product: its deepest category; of equally deep ones that with the fewest
    products, which says the most; then the smallest category_id. All categories of a product stay as labels.
    """
    return votes(products, category_map, taxonomy, label_sources, None, run_id, now)


def votes(
    products: DataFrame,
    category_map: DataFrame,
    taxonomy: DataFrame,
    label_sources: Iterable[str],
    previous: DataFrame | None,
    run_id: str,
    now: datetime,
) -> DataFrame:
    """The new content of the partition origin = `source` of silver.labels; arguments as in `from_sources`.

    The rule: the partition holds what the sources say now. A label that was there before (in `previous`: the table, or
    None) keeps its run_id and labelled_at, whatever taxonomy version it was said in, as derived ids outlive a version.
    A label that its source no longer gives, or that a corrected map no longer makes, goes: a wrong label that stayed
    would be counted as a right answer for ever. Earlier commits of the lake keep it. Labels of other origins (persons,
    rules, models) are appended to partitions of their own, which this function neither reads nor returns.
    """
    named = version(taxonomy)
    meant = category_map.where(
        F.col("category_id").isNotNull()
        & F.col("source").isin(list(label_sources))
        & (F.col("taxonomy_version") == named)
    )
    ranks = _ranks(meant, taxonomy)
    meaning = meant.join(F.broadcast(ranks), "category_id").select("source", "source_path", "rank")
    said = (
        products.select("product_id", "source", F.explode("category_paths").alias("source_path"))
        .join(F.broadcast(meaning), ["source", "source_path"])
        .select("product_id", "rank", "source", *_nothing(run_id="string", labelled_at="timestamp"))
    )
    if previous is not None:
        # A union and one shuffle by product, where a join would take two; the rank stands for the long category_id.
        before = previous.where("origin = 'source'").join(F.broadcast(ranks), "category_id")
        said = said.union(before.select("product_id", "rank", *_nothing(source="string"), "run_id", "labelled_at"))
    return (
        said.repartition("product_id")  # both groupings below are within a product
        .groupBy("product_id", "rank")
        .agg(*(F.min(column).alias(column) for column in ("source", "run_id", "labelled_at")))
        .where("source IS NOT NULL")
        .withColumn("best", F.min("rank").over(Window.partitionBy("product_id")))
        .join(F.broadcast(ranks), "rank")
        .select(
            "product_id",
            "category_id",
            F.lit(named).alias("taxonomy_version"),
            F.lit("source").alias("origin"),
            F.col("source").alias("who"),
            (F.col("rank") == F.col("best")).alias("primary"),
            F.lit(1.0).alias("weight"),
            F.lit(1.0).alias("inclusion_probability"),
            F.coalesce("labelled_at", F.lit(now)).alias("labelled_at"),
            F.coalesce("run_id", F.lit(run_id)).alias("run_id"),
        )
    )


def _ranks(meant: DataFrame, taxonomy: DataFrame) -> DataFrame:
    """`category_id`, `rank`: 1 for the category that is primary before all others, no two alike."""
    # A product with two paths of one category counts twice here; that is exact enough to say which is rarer.
    counts = meant.groupBy("category_id").agg(F.sum("products").alias("products"))
    ordered = Window.orderBy(F.desc("depth"), "products", "category_id")  # one task: there are few categories
    return counts.join(F.broadcast(taxonomy.select("category_id", "depth")), "category_id").select(
        "category_id", F.row_number().over(ordered).alias("rank")
    )


def _nothing(**columns: str) -> list[Column]:
    return [F.lit(None).cast(kind).alias(name) for name, kind in columns.items()]
