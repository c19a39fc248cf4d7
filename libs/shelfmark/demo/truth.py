"""Hold a lake made from the demo catalogue against the truth that was written with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from shelfmark.demo.generate import TRUTH
from shelfmark.errors import UsageError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

RECALL = 0.95
"""Share of planted duplicate pairs that must be found."""


def load(spark: SparkSession, truth_dir: str | Path, name: str) -> DataFrame:
    """truth/<name>.csv, columns as in `generate.TRUTH`, all text but record_number. Raises `UsageError`."""
    path = Path(truth_dir) / f"{name}.csv"
    if not path.is_file():
        raise UsageError(f"no {path}: give the truth folder of a demo catalogue (shelfmark sample)")
    types = {"record_number": "bigint"}
    ddl = ", ".join(f"{column} {types.get(column, 'string')}" for column in TRUTH[name])
    return spark.read.csv(str(path.absolute()), schema=ddl, header=True, enforceSchema=False)


def check(
    spark: SparkSession, truth_dir: str | Path, products: DataFrame, rejected: DataFrame, duplicates: DataFrame
) -> dict[str, Any]:
    """Compare silver.products, silver.rejected and silver.duplicates with the truth.

    Gives counts and shares:

    - records_planted, records_accounted: in the feeds; in products or rejected.
    - duplicate_pairs, duplicate_recall (also _gtin: the GTIN is on both sides; _title: it is not): planted pairs, and
      the share of them that has one group_id. duplicate_precision: share of all pairs of one group_id that are planted.
    - variants_merged: pairs of one item group and different items that have one group_id.
    - dirty, dirty_right_rule, dirty_share: planted dirty records, how many were refused under the planted rule.
      dirty_by_rule: rule -> (planted, refused under it).
    - clean_rejected, clean_missing: good records that were refused; that are in neither table.
    - holds: name of each promise -> whether it is kept.
    """
    from pyspark.sql import functions as F

    records = load(spark, truth_dir, "categories").select("source", "source_key")
    sources = records.select("source").distinct()
    ours = products.join(F.broadcast(sources), "source", "left_semi").select("source", "source_key", "product_id")
    grouped = ours.join(duplicates.select("product_id", "group_id"), "product_id", "left")
    for name, columns in (("duplicates", ("truth_group", "gtin")), ("variants", ("item_group", "item"))):
        records = records.join(
            load(spark, truth_dir, name).select("source", "source_key", *columns), ["source", "source_key"], "left"
        )
    records = records.join(grouped, ["source", "source_key"], "left").cache()
    here = records.agg(F.count("*").alias("clean"), F.sum(F.expr("int(product_id IS NULL)")).alias("missing")).head()

    # Pairs are counted by group: n records that belong together make n * (n - 1) / 2.
    planted_pairs, planted_gtin = _pairs(records.where("truth_group IS NOT NULL"), "truth_group")
    together, together_gtin = _pairs(
        records.where("truth_group IS NOT NULL AND group_id IS NOT NULL"), "truth_group", "group_id"
    )
    items = records.where("item_group IS NOT NULL AND group_id IS NOT NULL").groupBy("item_group", "group_id", "item")
    merged = (
        items.count()
        .groupBy("item_group", "group_id")
        .agg(F.expr("(sum(count) * sum(count) - sum(count * count)) / 2").alias("pairs"))
    )
    variants_merged = int(merged.agg(F.sum("pairs")).head()[0] or 0)
    made = grouped.groupBy("group_id").agg(F.count("*").alias("n"))
    made = made.agg(
        F.sum("n").alias("products"), F.sum(F.expr("if(group_id IS NULL, 0, n * (n - 1) / 2)")).alias("pairs")
    )
    made = made.head()
    records.unpersist()

    # A feed's path depends on where the catalogue lies: its last two parts do not.
    refused = (
        rejected.where(F.col("table") == "silver.products")
        .join(F.broadcast(sources), "source", "left_semi")
        .select("source", F.regexp_extract("file", r"([^/]+/[^/]+)$", 1).alias("file"), "record_number", "rule")
        .withColumnRenamed("rule", "got")
        .dropDuplicates(["source", "file", "record_number"])
    )
    by_rule = (
        load(spark, truth_dir, "dirty")
        .drop("key")
        .join(refused, ["source", "file", "record_number"], "full")
        .groupBy("rule")
        .agg(
            F.count("*").alias("planted"),
            F.count("got").alias("refused"),
            F.sum(F.expr("int(coalesce(got = rule, false))")).alias("right"),
        )
        .collect()  # one row a rule
    )
    clean_rejected = sum(row.planted for row in by_rule if row.rule is None)
    refused_all = sum(row.refused for row in by_rule)
    by_rule = sorted((row for row in by_rule if row.rule is not None), key=lambda row: row.rule)
    planted, right = sum(row.planted for row in by_rule), sum(row.right for row in by_rule)

    result = {
        "records_planted": here.clean + planted,
        "records_accounted": (made.products or 0) + refused_all,
        "duplicate_pairs": planted_pairs,
        "duplicate_recall": _share(together, planted_pairs),
        "duplicate_recall_gtin": _share(together_gtin, planted_gtin),
        "duplicate_recall_title": _share(together - together_gtin, planted_pairs - planted_gtin),
        "duplicate_precision": _share(together, made.pairs or 0),
        "variants_merged": variants_merged,
        "dirty": planted,
        "dirty_right_rule": right,
        "dirty_share": _share(right, planted),
        "dirty_by_rule": {row.rule: (row.planted, row.right) for row in by_rule},
        "clean_rejected": clean_rejected,
        "clean_missing": here.missing or 0,
    }
    result["holds"] = {
        f"recall of planted duplicates >= {RECALL}": result["duplicate_recall"] >= RECALL,
        "no planted variants merged": variants_merged == 0,
        "every planted dirty record refused under its rule": right == planted,
        "no clean record refused": clean_rejected == 0,
        "every record accounted for": not here.missing and result["records_planted"] == result["records_accounted"],
    }
    return result


def accuracy(
    spark: SparkSession, truth_dir: str | Path, products: DataFrame, predictions: DataFrame
) -> dict[str, float]:
    """Share of gold.predictions whose best leaf is the true category, by region and for all (`*`).

    The taxonomy must be the catalogue's own taxonomy.csv. Feed labels are wrong here and there and missing for some:
    this is what agreement with source labels cannot show.
    """
    from pyspark.sql import functions as F

    truth = load(spark, truth_dir, "categories").select("source", "source_key", F.col("category_id").alias("truth"))
    known = products.select("source", "source_key", "product_id").join(truth, ["source", "source_key"])
    right = F.avg((F.col("top_k")[0]["category_id"] == F.col("truth")).cast("double"))
    rows = predictions.join(known, "product_id").rollup("region").agg(right.alias("share")).collect()  # a row a region
    return {row.region or "*": row.share for row in rows if row.share is not None}


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else 1.0


def _pairs(records: DataFrame, *groups: str) -> tuple[int, int]:
    """Pairs of records with equal `groups`: all of them, and those with a GTIN on both sides."""
    from pyspark.sql import functions as F

    counted = records.groupBy(*groups).agg(F.count("*").alias("n"), F.sum(F.expr("int(gtin = 'yes')")).alias("g"))
    row = counted.agg(F.sum(F.expr("n * (n - 1) / 2")), F.sum(F.expr("g * (g - 1) / 2"))).head()
    return int(row[0] or 0), int(row[1] or 0)
