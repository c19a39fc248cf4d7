"""Products and sources that were erased on request: a feed that brings them again does not bring them back.

silver.suppressed knows them by hashes alone. A suppressed source is stopped before it is read. A record of a suppressed
product is refused by the rule `erased`, without its payload and key, and its bronze record is emptied: the books of its
file still balance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shelfmark import upkeep
from shelfmark.tables import table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from shelfmark.run import Run

RULE = "erased"
ERASED = f"{RULE}: removed on request, see silver.erasures"
"""What a bronze record says instead of its payload; the text before the colon is the rule it is refused by."""


def key_hash(value: Column) -> Column:
    """What silver.suppressed knows a product_id, or a source's name, by."""
    from pyspark.sql import functions as F

    return F.sha2(F.concat(F.lit("erased:"), value), 256)


def sources(run: Run, names: list[str]) -> dict[str, str]:
    """The suppressed ones of some sources -> why they are not taken in."""
    from pyspark.sql import functions as F

    if not names or not run.has("silver.suppressed"):
        return {}
    asked = run.spark.createDataFrame([(name,) for name in names], "name string").withColumn(
        "key_hash", key_hash(F.col("name"))
    )
    found = run.read("silver.suppressed").where("scope = 'source'").join(F.broadcast(asked), "key_hash").collect()
    return {
        row.name: f"it was erased on request (erasure {row.erasure_id}, see silver.erasures): take it off the sources, or "
        f"lift the suppression with `shelfmark erase --lift {row.erasure_id}`"
        for row in found
    }


def refuse(run: Run, records: DataFrame) -> DataFrame:
    """`records` (product_id, rule, reason) with the rule `erased` on those of suppressed products, whatever else they broke."""
    from pyspark.sql import functions as F

    if not run.has("silver.suppressed"):
        return records
    keys = run.read("silver.suppressed").where("scope = 'product'").select(F.col("key_hash").alias("_suppressed"))
    marked = records.join(F.broadcast(keys.distinct()), key_hash(F.col("product_id")) == F.col("_suppressed"), "left")
    erased = F.col("_suppressed").isNotNull()
    marked = marked.withColumn("rule", F.when(erased, F.lit(RULE)).otherwise(F.col("rule")))
    return marked.withColumn("reason", F.when(erased, F.lit(ERASED)).otherwise(F.col("reason"))).drop("_suppressed")


def hidden(column: str) -> Column:
    """A column of refused records, null of erased ones."""
    from pyspark.sql import functions as F

    return F.when(F.col("rule") != RULE, F.col(column)).alias(column)


def empty(run: Run, records: DataFrame) -> None:
    """Take the payload of erased records out of bronze again, and leave no file behind that holds it."""
    from delta.tables import DeltaTable
    from pyspark.sql import functions as F

    if not run.has("silver.suppressed"):
        return
    erased = records.where(F.col("rule") == RULE).select("source", "file_hash", "record_number")
    raw = run.read("bronze.raw_products").where("payload IS NOT NULL")
    if not raw.join(erased, ["source", "file_hash", "record_number"], "left_semi").limit(1).count():
        return
    path = run.write_path("bronze.raw_products")
    same = " AND ".join(f"t.{key} = s.{key}" for key in ("source", *table("bronze.raw_products").keys))
    merge = DeltaTable.forPath(run.spark, path).alias("t").merge(erased.alias("s"), same)
    merge.whenMatchedUpdate(set={"payload": F.lit(None).cast("string"), "problem": F.lit(ERASED)}).execute()
    upkeep.leave_no_trace(run.spark, path, run.run_id)
