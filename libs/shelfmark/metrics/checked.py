"""How often predictions are right, by what people found of a random sample of golden records: no source's word counts.

Population: the golden records that the predictions are of. Sample: those that designs drew (labels/sample.py). Of each that
was checked the person's category is the truth, whatever it was listed for. Drawn products train no model, so the estimate
holds for every model that is made later, not only for the one that people looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from pyspark.sql import functions as F

from shelfmark.labels import sample
from shelfmark.metrics import sampling
from shelfmark.metrics.classification import ALL, _figure, _metrics_ddl

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark import config

OF = ("accuracy", "accuracy_accepted", "accuracy_decided")
SUMS = ("rows", "whole", "right", "spread", "spread_right")
SIDE = "checked"


def evaluate(
    predictions: DataFrame, words: DataFrame, designs: list[sample.Design], settings: config.Metrics
) -> DataFrame:
    """gold.metrics rows of one model's predictions, without `run_id` and `run_date`; none where no sample was drawn.

    predictions: gold.predictions of one model version; words: `persons.words`; designs: `sample.of`. Per region that
    every record had a chance in, and for region `*` if that is so in all of them, side `checked`:

    - `checked_accuracy`: share of the golden records whose best leaf is what people say (support: records checked);
    - `checked_accuracy_accepted`: of those accepted; `checked_accuracy_decided`: of those accepted or rolled up, the
      category decided on is what people say, or above it;
    - `checked_share`: of the records drawn (support) the share that was checked. Those that were not are taken to be like
      those that were; that is so if they were checked in the order of the list, from the top.

    A record that people found to be in no category is one that the model is wrong about. Figures of fewer than
    `settings.min_support` records are null; intervals are those of `sampling.hajek`.
    """
    spark = predictions.sparkSession
    head = predictions.select("model", "model_version").head() if designs else None
    if head is None:
        return spark.createDataFrame([], _metrics_ddl())
    counted = _counted(predictions, words, designs).collect()  # a row a region
    rows = [
        (head.model, head.model_version, region, "leaf", ALL, None, *figure, SIDE)
        for region, *figure in _figures(counted, settings.min_support)
    ]
    return spark.createDataFrame(rows, _metrics_ddl())


def _counted(predictions: DataFrame, words: DataFrame, designs: list[sample.Design]) -> DataFrame:
    """A row a region: records without a chance, drawn, checked, and the sums of `sampling.hajek` for each of `OF`."""
    judged = (
        predictions.select(
            "product_id",
            "region",
            "decision",
            F.col("top_k")[0]["category_id"].alias("best"),
            F.col("category_path").alias("decided"),
            sample.probability(designs).alias("p"),
            sample.drawn(designs).alias("drawn"),
        )
        .join(words.select("product_id", "verdict", F.col("category_id").alias("truth"), "path"), "product_id", "left")
        .withColumn("checked", F.col("drawn") & F.col("verdict").isNotNull())
    )
    hit = F.coalesce(F.col("best") == F.col("truth"), F.lit(False))
    above = F.coalesce(F.startswith(F.concat("path", F.lit(" > ")), F.concat("decided", F.lit(" > "))), F.lit(False))
    accepted, decided = F.col("decision") == "accept", F.col("decision") != "review"
    parts = dict(zip(OF, ((F.lit(True), hit), (accepted, hit), (decided, above))))
    weight, spread = 1 / F.col("p"), (1 - F.col("p")) / (F.col("p") * F.col("p"))
    sums = []
    for name, (part, right) in parts.items():
        mine = F.col("checked") & part
        for what, value, which in (
            ("rows", F.lit(1.0), mine),
            ("whole", weight, mine),
            ("right", weight, mine & right),
            ("spread", spread, mine),
            ("spread_right", spread, mine & right),
        ):
            sums.append(F.sum(F.when(which, value).otherwise(0.0)).alias(f"{name}_{what}"))
    return judged.groupBy("region").agg(
        F.count_if(F.col("p") <= 0).alias("without"),
        F.count_if("drawn").alias("drawn"),
        F.count_if("checked").alias("checked"),
        *sums,
    )


def _figures(counted: list, min_support: int) -> Iterator[tuple]:
    """(region, metric, value, support, low, high) of each region that is covered, and of all together."""
    regions = [(row.region, [row]) for row in sorted(counted, key=lambda row: row.region)]
    for region, rows in [*regions, (ALL, counted)]:
        if any(row.without for row in rows):
            continue
        for name in OF:
            sums = [sum(row[f"{name}_{what}"] for row in rows) for what in SUMS]
            share, low, high = sampling.hajek(*sums)
            yield region, *_figure(f"checked_{name}", share, int(sums[0]), min_support, low, high)
        drawn, checked = (sum(row[what] for row in rows) for what in ("drawn", "checked"))
        yield region, *_figure("checked_share", checked / drawn if drawn else np.nan, drawn, min_support)
