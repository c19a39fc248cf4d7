"""Training examples: golden records with their label and their side of the split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from datetime import date

    from pyspark.sql import Column, DataFrame


READ = (
    "region", "title", "description", "brand", "language", "source", "price", "currency", "attributes", "image_id",
)  # fmt: skip


def labelled(catalogue: DataFrame, labels: DataFrame, splits: DataFrame) -> DataFrame:
    """Golden records with a primary label: product_id, what a model reads (`READ`), category_id, weight,
    labelled_at, side, leak_group.

    Where several speak of one product, a person's word goes before a rule's, then a source's, then a model's. A label that
    was drawn (inclusion_probability below 1) measures, and is not learnt from: see persons.py.
    """
    rank = F.when(F.col("origin") == "person", 0).when(F.col("origin") == "rule", 1)
    rank = rank.when(F.col("origin") == "source", 2).otherwise(3)
    said = labels.where("primary AND coalesce(inclusion_probability, 1) = 1").select(
        "product_id", F.struct(rank.alias("rank"), "category_id", "weight", "labelled_at").alias("said")
    )
    primary = said.groupBy("product_id").agg(F.min("said").alias("said"))
    rows = catalogue.select("product_id", *READ).join(
        primary.select("product_id", "said.category_id", "said.weight", "said.labelled_at"), "product_id"
    )
    return rows.join(splits.select("product_id", "side", "leak_group"), "product_id")


def aged(rows: DataFrame, half_life: float | None, day: date) -> DataFrame:
    """`labelled` rows whose weight halves every `half_life` days since the label was given; as they are where that is None."""
    if half_life is None:
        return rows
    age = F.greatest(F.datediff(F.lit(day), F.col("labelled_at")), F.lit(0))
    return rows.withColumn("weight", F.col("weight") * F.pow(F.lit(0.5), F.coalesce(age, F.lit(0)) / F.lit(half_life)))


def trimmed(rows: DataFrame, issues: DataFrame, margin: float) -> DataFrame:
    """`labelled` rows less those whose label an audit contradicts by `margin` or more (gold.label_issues).

    A label that was corrected since is another one, and stays.
    """
    doubtful = issues.where(F.col("margin") >= margin).select("product_id", "category_id")
    return rows.join(doubtful, ["product_id", "category_id"], "left_anti")


def chance(of: str) -> Column:
    """A number in [0, 1) that is a product's own, another one for each `of`: every run draws the same products."""
    return F.pmod(F.xxhash64("product_id", F.lit(of)), F.lit(1 << 40)) / F.lit(float(1 << 40))
