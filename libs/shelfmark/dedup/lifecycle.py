"""Groups keep their ids from run to run, and what happens to them is told.

A product alone is a group too, whose id is its product_id; so an id is as old as the product it is named after. When
groups are made anew:

1. The id of a group goes on where its survivor is now; where that product is gone, to where most of its members are.
2. Of several ids that arrive in one new group the oldest stays, and the others end: groups were joined.
3. Members of a group that are now elsewhere than its id were split from it. A new group that no id goes to is named
   after its survivor, or, where that product's id lives on elsewhere, after a hash of it and the run.

Products that were alone and still are, nearly all, take no part in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def keep_ids(
    found: DataFrame, before: DataFrame, presence: DataFrame, run_id: str, names: DataFrame | None = None
) -> tuple[DataFrame, DataFrame]:
    """(silver.duplicates with the ids of `before` where they go on, the products whose group has another id than before).

    `found` and `before` have the columns of silver.duplicates, `found` with groups named after their survivors; it is
    read several times. `presence` needs product_id and first_seen. The second frame has product_id, event, group_id and
    from_group_id, as silver.duplicate_events: `joined` where the group it was in is no more, `split` where it goes on.
    Where `found` is a part of all, `names` (group_id) are those of its products that name a group outside of it.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    if before.isEmpty() and (names is None or names.isEmpty()):
        return found, found.limit(0).selectExpr("product_id", "'' AS event", "group_id", "'' AS from_group_id")
    together = found.where("group_size > 1").select("product_id")
    known = before.where("group_size > 1 OR group_id <> product_id")
    # Products that an id names take part too: their own may be another's.
    concerned = together.union(known.select("product_id")).union(known.select("group_id"))
    concerned = (concerned if names is None else concerned.union(names)).distinct()
    now = found.select("product_id", F.col("group_id").alias("place"))
    was = before.select("product_id", F.col("group_id").alias("id"), F.col("survivor").alias("led"))
    moves = concerned.join(now, "product_id").join(was, "product_id", "left").localCheckpoint()

    arrived = moves.where("id IS NOT NULL").groupBy("id", "place")
    arrived = arrived.agg(F.max("led").alias("led"), F.count("*").alias("members"))
    goes_to = Window.partitionBy("id").orderBy(F.desc("led"), F.desc("members"), "place")
    claims = arrived.withColumn("turn", F.row_number().over(goes_to)).where("turn = 1").drop("led", "turn")
    age = presence.groupBy(F.col("product_id").alias("id")).agg(F.min("first_seen").alias("first_seen"))
    # Of an id named after a product that is gone, or with a hash, nothing says how old it is.
    oldest = Window.partitionBy("place").orderBy(F.asc_nulls_last("first_seen"), F.desc("members"), "id")
    claims = claims.join(age, "id", "left").withColumn("turn", F.row_number().over(oldest)).localCheckpoint()

    kept = claims.where("turn = 1").select("place", F.col("id").alias("kept"))
    taken = kept.select(F.col("kept").alias("place"))
    taken = (taken if names is None else taken.union(names)).distinct().withColumn("taken", F.lit(True))
    fresh = F.substring(F.sha2(F.concat_ws("\x1f", "place", F.lit(run_id)), 256), 1, 32)
    name = F.coalesce("kept", F.when(F.col("taken"), fresh), "place").alias("name")
    places = moves.select("place").distinct()
    named = places.join(kept, "place", "left").join(taken, "place", "left").select("place", name).localCheckpoint()

    renamed = named.where("name <> place").withColumnRenamed("place", "group_id")
    groups = found.join(renamed, "group_id", "left").withColumn("group_id", F.coalesce("name", "group_id"))
    ended = claims.where("turn > 1").select("id", F.lit("joined").alias("event"))
    events = moves.join(named, "place").where("name <> id").join(ended, "id", "left")
    events = events.select(
        "product_id",
        F.coalesce("event", F.lit("split")).alias("event"),
        F.col("name").alias("group_id"),
        F.col("id").alias("from_group_id"),
    )
    return groups.select(*found.columns), events
