"""Train, tune, calibrate and test sides by leak group, stratified by category, stable over all later runs.

1. A leak group is placed as a whole. If any of its products has a side already, the group takes it: test before
   calibrate before tune before train, so what was kept back for judging is never learnt from.
2. Other groups are new. The stratum of a group is the category of its smallest labelled product; groups without a label
   are one stratum. What a stratum lacks of a side, in products, is its share less what old groups fill of it.
3. The new groups of a stratum stand in a line in the order of a seeded hash, each as long as it has products. The line
   begins with what is lacking of test, then calibrate, then tune; the rest is train. A group goes where its middle
   lies. So the shares of a stratum hold to within about a group, and a category of 5 groups or more has a test group
   (with a test share of 0.1: half a group rounds up).
4. A group longer than twice what any evaluation side lacks would distort that side: it goes to train.
5. Categories too small for rule 3 (4 groups or fewer) have one group in train, so that the category can be learnt, and
   the others of all such categories are drawn in one line.

A stratum of more than `CELL` new products is drawn in several lines by hash, so that no task sorts all of a category.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from shelfmark import config

SIDES = ("train", "tune", "calibrate", "test")
"""In order of precedence: of several old sides in one group, the last of these wins."""

LINE = ("test", "calibrate", "tune")
"""The evaluation sides in the order in which a line is cut."""

CELL = 50_000
"""New products of a line: sorted in well under a second, and long enough that rounding to groups does not show."""

_UNLABELLED, _SMALL = 0, 1  # stratum and line beside the hashes of categories

_EPSILON = 1e-5  # half a group of five is exactly what 0.1 of five lacks, also where rounding falls short of it


def assign(
    leak_groups: DataFrame, labels: DataFrame, previous: DataFrame | None, settings: config.Splits, run_id: str
) -> DataFrame:
    """silver.splits rows of all products: `product_id`, `leak_group`, `side`, `moved_from`, `bucket`, `run_id`.

    leak_groups: silver.leak_groups. labels: silver.labels, of which the primary ones count. previous: silver.splits as
    it is now, or None.

    A product keeps its side and its run_id for ever, but for this: in a group merged from several sides those of a
    lesser side move (rule 1), and `moved_from` says whence. A product that has left the catalogue keeps its row, so
    that it finds its side when it comes back. The draw depends on the seed, the ids, the labels and what was placed
    before, and on nothing else, such as row order or the number of partitions.
    """
    # Read three times below; the protocol of a run clears the cache at its end.
    placed = _in_groups(leak_groups, labels, previous, settings.seed).persist()
    drawn = placed.join(F.broadcast(_strata(placed, settings)), "stratum")
    new, first = F.col("old_rank").isNull(), F.col("group").eqNullSafe(F.col("first"))
    sides = (
        placed.where(~new)
        .withColumn("side", F.element_at(F.array(*map(F.lit, SIDES)), F.col("old_rank")))
        .unionByName(drawn.where(new & first).withColumn("side", F.lit("train")), allowMissingColumns=True)
        .unionByName(_draw(drawn.where(new & ~first)), allowMissingColumns=True)
    )
    stays = F.col("old_side").eqNullSafe(F.col("side"))
    return sides.select(
        "product_id",
        "leak_group",
        "side",
        F.when(stays, F.col("old_moved_from")).otherwise(F.col("old_side")).alias("moved_from"),
        "bucket",
        F.when(stays, F.col("old_run_id")).otherwise(F.lit(run_id)).alias("run_id"),
    )


def _in_groups(leak_groups: DataFrame, labels: DataFrame, previous: DataFrame | None, seed: int) -> DataFrame:
    """A row per product, with what its group is: `group` (its hash), `size`, `stratum`, `old_rank` (side by precedence).

    Groups and categories go by 64-bit hashes from here on: sorting long texts is what a split would cost most. Should
    two of them ever agree, the two groups share a side, or the two categories a line; neither leaks.
    """
    # A product has one primary label of the sources; should persons have spoken too, the least hash serves as stratum.
    label = labels.where("primary").groupBy("product_id").agg(F.min(F.xxhash64("category_id")).alias("label"))
    rows = leak_groups.select("product_id", "leak_group", "bucket")
    if previous is None:
        rows = rows.select(
            "*", *(F.lit(None).cast("string").alias(f"old_{x}") for x in ("side", "moved_from", "run_id"))
        )
    else:
        old = previous.select(
            "product_id",
            F.col("leak_group").alias("old_group"),
            F.col("bucket").alias("old_bucket"),
            *(F.col(x).alias(f"old_{x}") for x in ("side", "moved_from", "run_id")),
        )
        rows = rows.join(old, "product_id", "full").withColumns(
            {"leak_group": F.coalesce("leak_group", "old_group"), "bucket": F.coalesce("bucket", "old_bucket")}
        )
    group = Window.partitionBy("group")
    labelled = F.when(F.col("label").isNotNull(), F.struct("product_id", "label"))
    rank = F.coalesce(*(F.when(F.col("old_side") == side, rank) for rank, side in enumerate(SIDES, 1)))
    return (
        rows.join(label, "product_id", "left")
        .withColumn("group", F.xxhash64(F.lit(seed), "leak_group"))
        .select(
            "product_id",
            "leak_group",
            "bucket",
            "old_side",
            "old_moved_from",
            "old_run_id",
            "group",
            F.count("*").over(group).alias("size"),
            F.coalesce(F.min(labelled).over(group)["label"], F.lit(_UNLABELLED)).alias("stratum"),
            F.max(rank).over(group).alias("old_rank"),
        )
    )


def _strata(placed: DataFrame, settings: config.Splits) -> DataFrame:
    """A row per stratum: the `line` it is drawn in and its `cells`, `first`: the group that goes to train, and
    `lack_<side>`: products that a cell lacks of each evaluation side.
    """
    new = F.col("old_rank").isNull()
    counts = placed.groupBy("stratum").agg(
        F.count("*").alias("products"),
        F.round(F.sum(1 / F.col("size"))).alias("groups"),
        F.count_if(new).alias("new"),
        F.min(F.when(new, F.col("group"))).alias("first"),
        *(F.count_if(F.col("old_rank") == i).alias(f"in_{side}") for i, side in enumerate(SIDES, 1)),
    )
    # Of fewer groups than this not even half a group is lacking of test.
    small = F.col("groups") * settings.test < 0.5 - _EPSILON
    # The group that goes to train whatever the draw is no part of what is shared out.
    shared = F.when(small, F.col("products") * (1 - 1 / F.col("groups"))).otherwise(F.col("products"))
    line = Window.partitionBy("line")

    def lack(side: str) -> Column:
        share = F.sum("shared").over(line) * getattr(settings, side)
        # Rounded, so that the order in which fractions were summed cannot show in the draw.
        return F.round(F.greatest(share - F.sum(f"in_{side}").over(line), F.lit(0.0)) / F.col("cells"), 6)

    return (
        counts.withColumns({"line": F.when(small, _SMALL).otherwise(F.col("stratum")), "shared": shared})
        .withColumn("cells", F.ceil(F.greatest(F.sum("new").over(line), F.lit(1)) / CELL))
        .select(
            "stratum",
            "line",
            "cells",
            F.when(small & (F.col("in_train") == 0), F.col("first")).alias("first"),
            *(lack(side).alias(f"lack_{side}") for side in LINE),
        )
    )


def _draw(drawn: DataFrame) -> DataFrame:
    """`drawn` with `side`, by rules 3 and 4."""
    most = F.greatest(*(F.col(f"lack_{side}") for side in LINE))
    too_long = F.col("size") > 2 * most + _EPSILON
    # Those that fit into what is lacking of test come first, so that test is not passed over for one that does not.
    turn = F.when(too_long, 2).when(F.col("size") > 2 * F.col("lack_test") + _EPSILON, 1).otherwise(0)
    ordered = Window.partitionBy("line", "cell").orderBy("turn", "group")
    # All products of a group are peers in this order, so the running count ends with the group.
    middle = F.count("*").over(ordered) - F.col("size") / 2
    side = F.when(F.col("turn") == 2, "train")
    end = F.lit(_EPSILON)
    for name in LINE:
        end = end + F.col(f"lack_{name}")
        side = side.when(F.col("middle") <= end, name)
    return (
        drawn.withColumns({"turn": turn, "cell": F.pmod("group", "cells")})
        .withColumn("middle", middle)
        .withColumn("side", side.otherwise("train"))
    )
