"""Golden records: one per duplicate group and region, the best of what its records state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shelfmark.dedup.survivors import completeness
from shelfmark.tables import table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

TOGETHER = (("title", "language"), ("price", "price_high", "currency"), ("image", "image_id"))
"""Fields that are one statement: taken from one record, which is the first that states the first field."""

BROADCAST = 1_000_000
"""Records in groups of several that are sent to every executor: at some 150 bytes each they take 150 MB there."""


def catalogue(products: DataFrame, duplicates: DataFrame) -> DataFrame:
    """silver.catalogue: a golden record per (group_id, region).

    The region's survivor is the group's survivor where the region has it, else the best of the region's records in
    the same order (`survivors.duplicates`). Every field is the survivor's; one it does not state is the next record's
    in that order that does, fields of `TOGETHER` from one record; attributes are joined by name in the same way;
    category_paths is the sorted union. content_hash is a sha256 of the business columns as JSON.

    Hand in `duplicates` as written, not as a plan: it is counted here, to choose how to join.
    """
    from pyspark.sql import functions as F

    wanted = table("silver.catalogue").columns
    business = wanted[wanted.index("members") + 1 : wanted.index("content_hash")]
    listed = products.select("product_id", "region", "source", *business)
    grouped_ids = duplicates.where("group_size > 1 OR group_id <> product_id").select("product_id", "group_id")
    if grouped_ids.count() <= BROADCAST:
        # Most records are alone: the wide rows of the others are all that has to move.
        grouped_ids = F.broadcast(grouped_ids)
    hashed = F.sha2(F.to_json(F.struct(*business)), 256).alias("content_hash")
    alone = listed.join(grouped_ids, "product_id", "left_anti").select(
        F.col("product_id").alias("group_id"),
        "region",
        "product_id",
        "source",
        F.array("source").alias("sources"),
        F.lit(1).alias("members"),
        *business,
    )
    rank = F.struct(
        F.col("gtin").isNull().alias("without_gtin"),
        (-completeness()).alias("completeness"),
        (-F.coalesce(F.length("description"), F.lit(0))).alias("description_length"),
        F.col("product_id").alias("rank_id"),
    )
    record = F.struct(rank.alias("rank"), "product_id", "source", *business)
    grouped = (
        listed.join(grouped_ids, "product_id")
        .groupBy("group_id", "region")
        .agg(F.sort_array(F.collect_list(record)).alias("records"))
    )
    several = grouped.select(
        "group_id",
        "region",
        F.col("records")[0]["product_id"].alias("product_id"),
        F.col("records")[0]["source"].alias("source"),
        F.array_sort(F.array_distinct("records.source")).alias("sources"),
        F.size("records").alias("members"),
        *(_best(name).alias(name) for name in business),
    )
    return alone.unionByName(several).select(*wanted[:-1], hashed)


def _best(name: str) -> Column:
    from pyspark.sql import functions as F

    if name == "category_paths":
        paths = F.expr("flatten(transform(records, r -> coalesce(r.category_paths, array())))")
        return F.when(F.size(paths) > 0, F.array_sort(F.array_distinct(paths)))
    if name == "attributes":
        # Each record adds the attributes whose names the records before it do not state.
        joined = F.expr(
            "array_sort(aggregate(records, cast(array() as array<struct<name:string,value:string,unit:string>>), "
            "(known, r) -> concat(known, filter(coalesce(r.attributes, array()), "
            "a -> not exists(known, k -> k.name = a.name)))))"
        )
        return F.when(F.size(joined) > 0, joined)
    head = next((fields[0] for fields in TOGETHER if name in fields), name)
    return F.expr(f"filter(records, r -> r.{head} is not null)[0].{name}")
