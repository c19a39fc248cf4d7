"""What the job maintain gives on a table of products: files, bytes, and seconds of what readers and jobs do with it.

    python benchmarks/maintain.py [--rows 1000000] [--quick] [--json FILE]

silver.products of made-up rows, written at once and then merged twenty times with 1 % changed and 0.2 % new rows, as
ingest does. Measured as it lies, after `compact` (the job), and after a Z-order by product_id on top: one product by
its id, a region by a column, the whole table, and a merge of 1 %. Seconds are the best of three.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _table import line, parse, report
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from shelfmark import config, session, upkeep
from shelfmark.run import conform
from shelfmark.tables import table

REGIONS = ("DE", "ES", "IN", "MY", "US")
MERGES = 20


def main() -> None:
    args = parse(__doc__, options)
    rows = 50_000 if args.quick else args.rows
    root = Path(tempfile.mkdtemp(prefix="shelfmark-bench-"))
    spark = session.start(config.load(home=str(root)), "bench-maintain")
    lines = measure(spark, rows, root)
    spark.stop()
    shutil.rmtree(root, ignore_errors=True)
    sys.exit(report(lines, args.json))


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=1_000_000, help="products")


def measure(spark: SparkSession, rows: int, root: Path) -> list[dict]:
    lines = []
    made = str(root / "as-merged")
    write(products(spark, 0, rows, 0), made)
    for day in range(1, MERGES + 1):
        fresh = products(spark, rows + (day - 1) * rows // 500, rows // 500, day)
        merge(spark, made, products(spark, day * rows // 50, rows // 100, day).unionByName(fresh))
    states: dict[str, Callable[[str], None]] = {
        "as merged": lambda path: None,
        "compacted": lambda path: tidy(spark, path, ()),
        "Z-ordered by product_id": lambda path: tidy(spark, path, ("product_id",)),
    }
    first: dict[str, float] = {}
    for state, make in states.items():
        path = str(root / state.replace(" ", "-"))
        if path != made:
            shutil.copytree(made, path)
        began = time.perf_counter()
        make(path)
        took = time.perf_counter() - began
        of = upkeep.contents(spark, path)
        lines.append(line(f"{state}, {rows:,} rows", "seconds to make", round(took, 1)))
        lines.append(line(f"{state}, {rows:,} rows", "files", len(of.live)))
        lines.append(line(f"{state}, {rows:,} rows", "MB on disk", round(of.bytes / 1e6)))
        work = readings(spark, path, rows)
        for name, read in work.items():
            best = min(timed(read) for _ in range(3))
            peer = first.setdefault(name, best)
            lines.append(
                line(f"{state}: {name}", "seconds", round(best, 2), peer=round(peer, 2), peer_name="as merged")
            )
        best = timed(lambda p=path: merge(spark, p, products(spark, rows // 3, rows // 100, 99)))
        peer = first.setdefault("merge", best)
        lines.append(
            line(f"{state}: merge of 1 %", "seconds", round(best, 2), peer=round(peer, 2), peer_name="as merged")
        )
    return lines


def readings(spark: SparkSession, path: str, rows: int) -> dict[str, Callable[[], object]]:
    def load() -> DataFrame:
        return spark.read.format("delta").load(path)

    return {
        "one product by id": lambda: load().where(one(rows)).collect(),
        "a region's prices": lambda: load().where("region = 'IN'").agg(F.avg("price")).collect(),
        "whole table": lambda: load().write.format("noop").mode("overwrite").save(),
    }


def tidy(spark: SparkSession, path: str, zorder: tuple[str, ...]) -> None:
    upkeep.optimize(spark, path, zorder)
    upkeep.vacuum(spark, path)
    upkeep.shorten_log(spark, path)


def one(rows: int) -> str:
    return f"product_id = md5('{rows // 7}')"


def products(spark: SparkSession, start: int, count: int, day: int) -> DataFrame:
    """Made-up products numbered from `start`, of the width of real ones."""
    number = F.col("id").cast("string")
    words = [F.element_at(F.split(F.lit("red blue steel oak wool felt glass"), " "), (F.col("id") * k % 7 + 1).cast("int"))
             for k in (3, 5, 11)]  # fmt: skip
    return spark.range(start, start + count).select(
        F.md5(number).alias("product_id"),
        F.concat(F.lit("shop"), (F.col("id") % 4).cast("string")).alias("source"),
        number.alias("source_key"),
        F.element_at(F.array(*map(F.lit, REGIONS)), (F.col("id") % 5 + 1).cast("int")).alias("region"),
        F.concat_ws(" ", *words, F.lit("article"), number, F.lit(f"edition {day}")).alias("title"),
        F.concat_ws(" ", F.sha2(number, 512), F.sha2(F.reverse(number), 512)).alias("description"),
        (F.col("id") % 9999 / 100).alias("price"),
        F.lit("EUR").alias("currency"),
        F.md5(F.concat(number, F.lit(str(day)))).alias("content_hash"),
        F.lit(f"file{day}").alias("file_hash"),
        F.col("id").alias("record_number"),
    )


def write(frame: DataFrame, path: str) -> None:
    contract = table("silver.products")
    conform(frame, contract).write.format("delta").partitionBy(*contract.partitions).save(path)


def merge(spark: SparkSession, path: str, frame: DataFrame) -> None:
    rows = conform(frame, table("silver.products")).alias("s")
    target = DeltaTable.forPath(spark, path).alias("t")
    known = target.merge(rows, "t.product_id = s.product_id").whenMatchedUpdateAll("t.content_hash != s.content_hash")
    known.whenNotMatchedInsertAll().execute()


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
