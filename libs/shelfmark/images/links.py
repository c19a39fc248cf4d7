"""What became of each product's picture: silver.image_links, silver.images, image_id of silver.products, refusals.

Every product that names a picture has one link. It leads to a row of silver.images (whose `problems` say why a picture
is not used), or it has no bytes, and silver.rejected says why. Only what changed is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from shelfmark.images import intake
from shelfmark.images.intake import IMAGES, LINKS, PRODUCTS, REFERENCE
from shelfmark.quality import rejects

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row

    from shelfmark.images.intake import Wanted
    from shelfmark.run import Run

PLACEHOLDER = "placeholder"
FEW = 0.3
"""Share of a table's rows below which those that changed are put into it; above, it is written whole."""


@dataclass(frozen=True)
class Links:
    """`rows`: the links of all products, columns of silver.image_links and what `said`, `source_key`, ... the verbs below
    need, with `change` (new, changed, same), `refused` (a refusal to be written), `closes` (it was refused, and its link is another
    now) and `moved` (its product is to show another picture); `gone`: product_id of links that are no more; `flagged`: image_ids
    of all placeholders, `newly` those that were none before; `read`: references whose bytes were read, `new` the pictures they
    gave; `tally`: how many rows are alike in `TALLIED`; `left`: how many are gone."""

    rows: DataFrame
    gone: DataFrame
    flagged: tuple[str, ...]
    newly: tuple[str, ...]
    read: int
    new: int
    tally: list[Row]
    left: int

    @property
    def differ(self) -> int:
        return self.count(lambda row: row.change != "same") + self.left

    def count(self, wanted: Callable[[Row], bool] = lambda row: True) -> int:
        """How many links are wanted; gone ones are not asked about."""
        return sum(row["rows"] for row in self.tally if wanted(row))


TALLIED = ("change", "usable", "without", "problems", "refused", "closes", "moved")


def of_products(run: Run, asked: Wanted, taken: DataFrame) -> Links:
    """The link of every product that names a picture, compared with the one it had."""
    settings = run.settings.images
    outcome = taken.select(*REFERENCE, "version", "rule", "said", F.col("image_id").alias("picture"), "problems", "new")
    products = asked.products.withColumnRenamed("image_id", "image_id_now")
    rows = products.join(outcome, [*REFERENCE]).localCheckpoint()

    before = run.read(LINKS)
    # Once a placeholder, always one, under the settings that said so.
    had = F.array_contains("problems", PLACEHOLDER) & F.col("version").startswith(intake.made_as(settings))
    had = before.where(had).select("image_id").distinct()
    known = {row.image_id for row in had.collect()} if run.has(LINKS) else set()
    titles = F.size(F.collect_set(F.xxhash64(F.lower(F.trim("title")))))
    references = F.size(F.collect_set(F.when(F.col("new"), F.xxhash64(*REFERENCE))))
    shown = rows.where("picture IS NOT NULL").groupBy("picture")
    shown = shown.agg(titles.alias("titles"), references.alias("references"))
    seen = shown.agg(
        F.collect_list(F.when(F.col("titles") > settings.placeholder_titles, F.col("picture"))).alias("many"),
        F.sum("references").alias("read"),
        F.count_if(F.col("references") > 0).alias("new"),
    ).head()
    many = set(seen.many)
    flagged = known | many

    old = F.col("picture").isin(sorted(flagged))
    problems = F.coalesce("problems", F.array(F.col("rule")))
    problems = F.array_except(problems, F.array(F.lit(PLACEHOLDER)))
    problems = F.when(old, F.array_union(problems, F.array(F.lit(PLACEHOLDER)))).otherwise(problems)
    noted = F.array(*map(F.lit, settings.noted)) if settings.noted else F.array().cast("array<string>")
    rows = rows.withColumn("problems", problems).withColumn("image_id", F.col("picture")).drop("picture", "new")
    usable = F.col("image_id").isNotNull() & (F.size(F.array_except("problems", noted)) == 0)
    rows = rows.withColumn("usable", usable).withColumn("run_id", F.lit(run.run_id))
    compared = ("reference", "image_id", "usable", "problems", "version")
    if run.has(LINKS):
        then = before.select("product_id", F.struct(*compared).alias("before"))
        rows = rows.join(then, "product_id", "left")
        same = F.struct(*compared).eqNullSafe(F.col("before"))
        change = F.when(F.col("before").isNull(), "new").when(same, "same").otherwise("changed")
        rows = rows.withColumn("change", change)
        closes = "change = 'changed' AND before.image_id IS NULL AND before IS NOT NULL"
    else:
        rows, closes = rows.withColumn("change", F.lit("new")), "false"
    rows = rows.withColumns(
        {
            "refused": F.expr("image_id IS NULL AND change != 'same'"),
            "closes": F.expr(closes),
            "moved": F.expr("NOT if(usable, image_id, NULL) <=> image_id_now"),
        }
    )
    gone = rows.where("false").select("product_id")
    if run.has(LINKS):
        # Kept as they are now: the table that they are compared with is about to be another.
        rows = rows.drop("before").localCheckpoint()
        gone = before.join(rows, "product_id", "left_anti").select("product_id").localCheckpoint()
    tally = rows.withColumn("without", F.expr("image_id IS NULL")).groupBy(*TALLIED).agg(F.count("*").alias("rows"))
    left = gone.count() if run.has(LINKS) else 0
    found = rows, gone, tuple(sorted(flagged)), tuple(sorted(many - known)), seen.read or 0, seen.new
    return Links(*found, tally.collect(), left)


def to_images(run: Run, taken: DataFrame, links: Links) -> None:
    """Write the pictures that were read, those that turned out to be placeholders anew, and drop what no link leads to."""
    fresh = intake.new_pictures(run, taken, links.flagged)
    if not run.has(IMAGES):
        if links.read:
            run.write(IMAGES, fresh)
        return
    if not links.differ:
        return
    there = run.read(IMAGES)
    of_today = there.where(F.col("made_as") == intake.made_as(run.settings.images)).select("image_id")
    fresh = fresh.join(of_today, "image_id", "left_anti")
    flagged = there.where(F.col("image_id").isin(list(links.newly)))
    again = flagged.join(fresh.select("image_id"), "image_id", "left_anti").withColumn("run_id", F.lit(run.run_id))
    again = again.withColumn("problems", F.array_union("problems", F.array(F.lit(PLACEHOLDER))))
    if PLACEHOLDER not in run.settings.images.noted:
        again = again.withColumn("bytes", F.lit(None).cast("binary"))
    # Kept as they are now: the table they come from in part is about to lose them.
    rows = fresh.unionByName(again).localCheckpoint()
    used = links.rows.where("image_id IS NOT NULL").select("image_id")
    unused = there.select("image_id").join(used, "image_id", "left_anti")
    leaving = there.select("image_id").join(rows.select("image_id"), "image_id", "left_semi").union(unused)
    leaving = leaving.distinct().localCheckpoint()
    if rows.limit(1).count() or leaving.limit(1).count():
        run.swap(IMAGES, leaving, rows)


def to_links(run: Run, links: Links) -> None:
    """Write silver.image_links where a link differs."""
    if not links.differ:
        return
    columns = ("product_id", "source", "reference", "image_id", "usable", "problems", "version", "run_id")
    total = links.count() + links.left
    if not run.has(LINKS):
        run.write(LINKS, links.rows.select(*columns).coalesce(_files(total)))
        return
    changed = links.rows.where("change != 'same'").select(*columns)
    if links.differ > FEW * total:
        same = run.read(LINKS).join(links.rows.where("change = 'same'"), "product_id", "left_semi")
        run.write(LINKS, same.unionByName(changed).localCheckpoint())
        return
    run.swap(LINKS, changed.select("product_id").union(links.gone), changed)


def to_products(run: Run, links: Links) -> None:
    """Set image_id of the products whose usable picture is another than it was."""
    moved = links.count(lambda row: row.moved)
    if not moved:
        return
    rows = links.rows.where("moved").withColumn("image_id", F.when(F.col("usable"), F.col("image_id")))
    products = run.read(PRODUCTS)
    if moved > FEW * products.count():
        # As a merge would leave it, which takes three times as long to find the rows that it changes.
        now = F.struct("image_id").alias("now")
        whole = products.join(rows.select("product_id", now), "product_id", "left")
        image_id = F.when(F.col("now").isNotNull(), F.col("now.image_id")).otherwise(F.col("image_id"))
        whole = whole.withColumn("image_id", image_id).select(products.columns)
        run.write(PRODUCTS, run.spark.sql("SELECT /*+ REBALANCE(region) */ * FROM {whole}", whole=whole))
        return
    rows = rows.select("product_id", "source", "source_key", "region", "content_hash", "image_id")
    run.merge(PRODUCTS, rows, only=["image_id"])


def to_rejected(run: Run, links: Links) -> None:
    """Refuse what gave no bytes, once, with the reason; close the refusals of products whose link is another now."""
    if not links.differ:
        return
    refused = links.rows.where("refused")
    if links.count(lambda row: row.refused):
        files = run.read("bronze.files").select("source", "file_hash", "file").dropDuplicates(["source", "file_hash"])
        run.reject(
            refused.join(F.broadcast(files), ["source", "file_hash"], "left").select(
                F.lit(LINKS).alias("table"),
                F.col("problems")[0].alias("rule"),
                F.concat_ws(": ", F.col("problems")[0], "said").alias("reason"),
                "source",
                "file",
                "file_hash",
                "record_number",
                F.col("source_key").alias("key"),
                F.to_json(F.struct(F.substring("reference", 1, 4096).alias("image"))).alias("payload"),
            )
        )
    closed = links.rows.where("closes").select("product_id").union(links.gone)
    if links.left or links.count(lambda row: row.closes):
        product_id = F.expr("substring(sha2(concat(source, chr(0), key), 256), 1, 32)")
        mine = run.read("silver.rejected").where((F.col("table") == LINKS) & F.col("resolved_by").isNull())
        mine = mine.withColumn("product_id", product_id).join(closed, "product_id", "left_semi").drop("product_id")
        if resolved := rejects.resolve(run, mine.localCheckpoint()):
            run.note(resolved=resolved)


def tell(run: Run, links: Links) -> None:
    """Note what came of the pictures, for the run record and the console."""
    refused: Counter[str] = Counter()
    for row in links.tally:
        refused.update({problem: row["rows"] for problem in row.problems if not row.usable})
    run.note(
        pictures={
            "references": links.count(),
            "usable": links.count(lambda row: row.usable),
            "without_bytes": links.count(lambda row: row.without),
            "read": links.read,
            "new": links.new,
            "problems": dict(sorted(refused.items())),
        }
    )


def said(pictures: dict[str, Any]) -> str:
    """The note of `tell` as a line for people."""
    read = f"{pictures['read']:,} read" if pictures["read"] else "none new"
    line = f"pictures: {pictures['usable']:,} of {pictures['references']:,} products have one that can be used, {read}"
    problems = ", ".join(f"{name} {count:,}" for name, count in pictures["problems"].items())
    return f"{line}; {problems}" if problems else line


def _files(rows: int) -> int:
    """Files of a narrow table, a million rows each."""
    return max(1, rows // 1_000_000)
