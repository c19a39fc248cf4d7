"""Training examples: golden records with their label and their side of the split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


READ = ("region", "title", "description", "brand", "language", "source", "price", "currency", "attributes")


def labelled(catalogue: DataFrame, labels: DataFrame, splits: DataFrame) -> DataFrame:
    """Golden records with a primary label: product_id, what a model reads (`READ`), category_id, weight, side, leak_group.

    Where several speak of one product, a person's word goes before a rule's, then a source's, then a model's. A label that
    was drawn (inclusion_probability below 1) measures, and is not learnt from: see persons.py.
    """
    rank = F.when(F.col("origin") == "person", 0).when(F.col("origin") == "rule", 1)
    rank = rank.when(F.col("origin") == "source", 2).otherwise(3)
    said = labels.where("primary AND coalesce(inclusion_probability, 1) = 1").select(
        "product_id", F.struct(rank.alias("rank"), "category_id", "weight").alias("said")
    )
    primary = said.groupBy("product_id").agg(F.min("said").alias("said"))
    rows = catalogue.select("product_id", *READ).join(
        primary.select("product_id", "said.category_id", "said.weight"), "product_id"
    )
    return rows.join(splits.select("product_id", "side", "leak_group"), "product_id")
