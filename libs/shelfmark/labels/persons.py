"""What people said of the categories of products, and of which golden records they said it.

silver.reviews keeps every word for ever; nothing in it is changed.

1. `held`: of a product the newest word holds; `withdrawn` undoes the one before.
2. `labels`: the words that name a category, as the rows of silver.labels with origin person.
3. `words`: what holds, of every product that it is true of: all records of a duplicate group are one product, so a word on
   one of them is a word on all, whichever of them the golden record is called after.
4. `first`: labels in which people go before everybody else.

A product that was drawn in a sample measures models, for as long as they are trained without its label. So its label is
kept out of training (`teaching`): then the drawn products are to every model what those that were not drawn are to it, and
how it does on them says how it does on all (sample.py). What people chose to look at trains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from shelfmark.tables import table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

VERDICTS = ("ok", "label", "other", "out_of_scope", "withdrawn")
"""As the contract of silver.reviews explains them."""


def held(reviews: DataFrame) -> DataFrame:
    """The words that hold: of each product the newest of silver.reviews, where that is not `withdrawn`.

    `inclusion_probability` is the least of all words on the product: what was drawn once is kept for measuring.
    """
    product = Window.partitionBy("product_id")
    newest = product.orderBy(F.desc("reviewed_at"), F.desc("run_id"))
    turn = reviews.withColumns(
        {
            "turn": F.row_number().over(newest),
            "inclusion_probability": F.min("inclusion_probability").over(product),
        }
    )
    return turn.where("turn = 1 AND verdict <> 'withdrawn'").drop("turn")


def labels(holding: DataFrame) -> DataFrame:
    """silver.labels rows of the words that name a category; `holding` as `held` gives it."""
    return holding.where("category_id IS NOT NULL").select(
        "product_id",
        "category_id",
        "taxonomy_version",
        F.lit("person").alias("origin"),
        F.col("reviewed_by").alias("who"),
        F.lit(True).alias("primary"),
        F.lit(1.0).alias("weight"),
        "inclusion_probability",
        F.col("reviewed_at").alias("labelled_at"),
        "run_id",
    )


def words(reviews: DataFrame, duplicates: DataFrame, taxonomy: DataFrame) -> DataFrame:
    """A row per product that people spoke of, by name or by way of another record of its duplicate group.

    reviews, duplicates, taxonomy: silver.reviews, silver.duplicates, silver.taxonomy (of one version). Columns
    product_id, verdict, category_id, path and taxonomy_version (null for out_of_scope), inclusion_probability,
    reviewed_by, reviewed_at, run_id. Of words on several records of a group the newest holds. A word that names a category
    which the taxonomy does not have any more says nothing; category ids outlive a version.
    """
    nodes = taxonomy.select("category_id", "path", "taxonomy_version")
    said = held(reviews).drop("taxonomy_version").join(F.broadcast(nodes), "category_id", "left")
    said = said.where("path IS NOT NULL OR verdict = 'out_of_scope'")
    groups = duplicates.select("product_id", "group_id")
    said = said.join(groups, "product_id", "left").withColumn("group_id", F.coalesce("group_id", "product_id"))
    group = Window.partitionBy("group_id")
    newest = group.orderBy(F.desc("reviewed_at"), F.desc("run_id"), "product_id")
    said = said.withColumns(
        {
            "turn": F.row_number().over(newest),
            "inclusion_probability": F.min("inclusion_probability").over(group),
        }
    ).where("turn = 1")
    told = ("verdict", "category_id", "path", "taxonomy_version", "inclusion_probability", "reviewed_by", "reviewed_at")
    told = (*told, "run_id")
    # A product that dedupe does not know yet is a group of its own.
    members = said.join(groups.withColumnRenamed("product_id", "member"), "group_id", "left")
    return members.select(F.coalesce("member", "product_id").alias("product_id"), *told)


def teaching(said: DataFrame) -> DataFrame:
    """Of `words` those that models learn from: on products that people chose to look at, not on those that were drawn."""
    return said.where("inclusion_probability = 1")


def first(labelled: DataFrame, said: DataFrame) -> DataFrame:
    """silver.labels with one change: of products that people spoke of (`words`) only their word, or none, is left.

    Products that are out of scope have no label at all. Labels of persons come from `said` alone.
    """
    others = labelled.where("origin <> 'person'").join(said.select("product_id"), "product_id", "left_anti")
    return others.unionByName(labels(said).select(*table("silver.labels").columns))
