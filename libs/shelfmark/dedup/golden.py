"""Golden records: one per duplicate group and region, the best of what its records state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from shelfmark.dedup import fields, merging, precedence
from shelfmark.tables import table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from shelfmark.config import Golden

BROADCAST = 1_000_000
"""Records in groups of several that are sent to every executor: at some 150 bytes each they take 150 MB there."""


def catalogue(products: DataFrame, duplicates: DataFrame, settings: Golden | None = None) -> DataFrame:
    """silver.catalogue: a golden record per (group_id, region).

    The region's survivor is the group's survivor where the region has it, else the first of the region's records in
    the same order (`settings`, `precedence.rank`). Every field is the first record's that states it, by the field's own
    order where it has one, else by that one; fields of `fields.TOGETHER` are one record's; attributes are joined by
    name in the same way; category_paths is the sorted union. provenance says which records gave what, conflicts on what
    they disagree (`merging.golden_records`). content_hash is a sha256 of the business columns as JSON.

    Hand in `duplicates` as written, not as a plan: it is counted here, to choose how to join.
    """
    from pyspark.sql import functions as F

    from shelfmark.config import Golden

    settings = settings or Golden()
    contract, business = table("silver.catalogue"), fields.business()
    listed = products.select("product_id", "region", "source", "source_updated_at", *business)
    grouped_ids = duplicates.where("group_size > 1 OR group_id <> product_id").select("product_id", "group_id")
    if grouped_ids.count() <= BROADCAST:
        # Most records are alone: the wide rows of the others are all that has to move.
        grouped_ids = F.broadcast(grouped_ids)
    alone = listed.join(grouped_ids, "product_id", "left_anti").select(
        F.col("product_id").alias("group_id"),
        "region",
        "product_id",
        "source",
        F.array("source").alias("sources"),
        F.lit(1).alias("members"),
        *business,
        F.array(F.struct("product_id", "source", _stated(business).alias("fields"))).alias("provenance"),
        F.lit(None).alias("conflicts"),
    )
    own = tuple(name for name in business if settings.order_of(name) != settings.order_of(""))
    ranks = {f"rank_{name}": precedence.rank(*settings.order_of(name)) for name in own}
    grouped = listed.join(grouped_ids, "product_id").select(
        "group_id",
        "region",
        "product_id",
        "source",
        *business,
        precedence.rank(settings.order, settings.sources).alias("rank"),
        *(rank.alias(name) for name, rank in ranks.items()),
    )

    def merge(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows in merging.whole_groups(batches, ("group_id", "region")):
            yield from merging.golden_records(rows, own).to_batches()

    made = [field for field in contract.fields if field.name != "content_hash"]
    several = (
        grouped.repartition("group_id", "region")
        .sortWithinPartitions("group_id", "region", "rank", "product_id")
        .drop("rank")
        .mapInArrow(merge, ", ".join(f"{field.name} {field.type}" for field in made))
    )
    hashed = F.sha2(F.to_json(F.struct(*business)), 256).alias("content_hash")
    return alone.unionByName(several).withColumn("content_hash", hashed).select(*contract.columns)


def _stated(business: list[str]) -> Column:
    """What a record that is alone gives: the names of its fields that are not null, as in provenance."""
    from pyspark.sql import functions as F

    said = []
    for name in business:
        if name == "attributes":
            names = F.array_distinct(F.transform("attributes", lambda one: F.concat(F.lit("attributes."), one["name"])))
            said.append(F.coalesce(names, F.array()))
        else:
            known = F.size(name) > 0 if name == "category_paths" else F.col(name).isNotNull()
            said.append(F.array(F.when(known, F.lit(name))))
    return F.array_compact(F.concat(*said))
