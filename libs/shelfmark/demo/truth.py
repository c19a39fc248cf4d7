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

    truth = load(spark, truth_dir, "categories").select("source", "source_key")
    dirty = load(spark, truth_dir, "dirty")
    sources = truth.select("source").distinct()
    ours = products.join(F.broadcast(sources), "source", "left_semi")
    known = ours.select("source", "source_key", "product_id")
    # A feed's path depends on where the catalogue lies: its last two parts do not.
    refused = (
        rejected.where(F.col("table") == "silver.products")
        .join(F.broadcast(sources), "source", "left_semi")
        .select("source", F.regexp_extract("file", r"([^/]+/[^/]+)$", 1).alias("file"), "record_number", "rule")
        .dropDuplicates(["source", "file", "record_number"])
    )

    planted = dirty.count()
    by_rule = (
        dirty.join(refused.withColumnRenamed("rule", "got"), ["source", "file", "record_number"], "left")
        .groupBy("rule")
        .agg(F.count("*").alias("planted"), F.sum(F.expr("int(coalesce(got = rule, false))")).alias("right"))
        .collect()  # one row a rule
    )
    right = sum(row.right for row in by_rule)
    position = ["source", "file", "record_number"]
    clean_rejected = refused.join(dirty.select(*position), position, "left_anti").count()
    here = ours.count()
    missing = truth.join(known, ["source", "source_key"], "left_anti").count()

    grouped = known.join(duplicates.select("product_id", "group_id"), "product_id")
    same = _pairs(load(spark, truth_dir, "duplicates"), grouped, "truth_group", "a.gtin = 'yes' AND b.gtin = 'yes'")
    found = same.groupBy("flag").agg(F.count("*").alias("n"), F.sum("together").alias("together")).collect()
    pairs, together = {row.flag: row.n for row in found}, {row.flag: row.together for row in found}
    variants = _pairs(load(spark, truth_dir, "variants"), grouped, "item_group", "a.item != b.item").where("flag")
    merged = variants.agg(F.sum("together")).head()[0] or 0
    made = grouped.groupBy("group_id").agg(F.count("*").alias("n")).agg(F.sum(F.expr("n * (n - 1) / 2"))).head()[0] or 0

    result = {
        "records_planted": truth.count() + planted,
        "records_accounted": here + refused.count(),
        "duplicate_pairs": sum(pairs.values()),
        "duplicate_recall": _share(sum(together.values()), sum(pairs.values())),
        "duplicate_recall_gtin": _share(together.get(True, 0), pairs.get(True, 0)),
        "duplicate_recall_title": _share(together.get(False, 0), pairs.get(False, 0)),
        "duplicate_precision": _share(sum(together.values()), made),
        "variants_merged": int(merged),
        "dirty": planted,
        "dirty_right_rule": right,
        "dirty_share": _share(right, planted),
        "dirty_by_rule": {row.rule: (row.planted, row.right) for row in sorted(by_rule, key=lambda row: row.rule)},
        "clean_rejected": clean_rejected,
        "clean_missing": missing,
    }
    result["holds"] = {
        f"recall of planted duplicates >= {RECALL}": result["duplicate_recall"] >= RECALL,
        "no planted variants merged": merged == 0,
        "every planted dirty record refused under its rule": right == planted,
        "no clean record refused": clean_rejected == 0,
        "every record accounted for": missing == 0 and result["records_planted"] == result["records_accounted"],
    }
    return result


def accuracy(
    spark: SparkSession, truth_dir: str | Path, products: DataFrame, predictions: DataFrame
) -> dict[str, float]:
    """Share of gold.predictions whose category is the true one, by region and for all (`*`).

    The taxonomy must be the catalogue's own taxonomy.csv. Feed labels are wrong here and there and missing for some:
    this is what agreement with source labels cannot show.
    """
    from pyspark.sql import functions as F

    truth = load(spark, truth_dir, "categories").select("source", "source_key", F.col("category_id").alias("truth"))
    known = products.select("source", "source_key", "product_id").join(truth, ["source", "source_key"])
    right = F.avg((F.col("category_id") == F.col("truth")).cast("double"))
    rows = predictions.join(known, "product_id").rollup("region").agg(right.alias("share")).collect()  # a row a region
    return {row.region or "*": row.share for row in rows if row.share is not None}


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else 1.0


def _pairs(truth: DataFrame, grouped: DataFrame, group: str, flag: str) -> DataFrame:
    """(flag, together) of every pair of records in one true group; `together` is 1 where they share a group_id.

    A record that is not in the lake has no group_id, so its pairs are not together.
    """
    from pyspark.sql import functions as F

    records = truth.join(grouped, ["source", "source_key"], "left")
    a, b = records.alias("a"), records.alias("b")
    ordered = F.expr("(a.source, a.source_key) < (b.source, b.source_key)")
    joined = a.join(b, (F.col(f"a.{group}") == F.col(f"b.{group}")) & ordered)
    together = F.expr("int(coalesce(a.group_id = b.group_id, false)) AS together")
    return joined.select(F.expr(flag).alias("flag"), together)
