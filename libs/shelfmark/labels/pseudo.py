"""Pseudo-labels: what the champion accepted among products nobody labelled, as more to learn from.

A model that learns from its own answers confirms itself, so there are guards:

- only what was *accepted*: the threshold is one that the calibrate side shows the target accuracy of;
- only products without a label of anybody, in leak groups of the training side: none is ever measured on, nor is a
  look-alike of one that is;
- of a category at most `share` times as many as its labelled rows, so that the common ones do not drown the rest;
- with a weight below 1, and dated by the day of the prediction, so that they age as labels do;
- they are no rows of silver.labels: the next champion's answers take their place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from shelfmark.labels.examples import READ, chance

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def accepted(
    catalogue: DataFrame, labels: DataFrame, splits: DataFrame, predictions: DataFrame, weight: float, share: float
) -> DataFrame:
    """Rows as `examples.labelled` gives them, of products without a label, by the champion's newest predictions.

    predictions: rows of gold.predictions of one model and day. weight: of each row, below 1. share: rows of a category at
    the most, in terms of its labelled rows of the training side.
    """
    said = predictions.where("decision = 'accept'").select(
        "product_id", "category_id", F.col("run_date").cast("timestamp").alias("labelled_at")
    )
    learning = splits.where("side = 'train'").select("product_id", "side", "leak_group")
    found = said.join(labels.select("product_id").distinct(), "product_id", "left_anti").join(learning, "product_id")
    known = (
        labels.where("primary").join(learning, "product_id").groupBy("category_id").agg(F.count("*").alias("_known"))
    )
    offered = found.groupBy("category_id").agg(F.count("*").alias("_offered"))
    kept = known.join(offered, "category_id").select(
        "category_id", (share * F.col("_known") / F.col("_offered")).alias("_kept")
    )
    # By the product's own number: no row has to be ranked.
    chosen = found.join(F.broadcast(kept), "category_id").where(chance("pseudo") < F.col("_kept")).drop("_kept")
    rows = catalogue.select("product_id", *READ).join(chosen, "product_id")
    return rows.withColumn("weight", F.lit(float(weight)))
