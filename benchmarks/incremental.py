"""A daily run of dedupe beside a run over all, on the demo catalogue: the same tables, in a fraction of the time.

    python benchmarks/incremental.py [--rows 2000000 8000000] [--new 10000] [--quick] [--json FILE] [--keep DIR]

Feeds are taken in and grouped; then files with the new products arrive and are taken in. What is compared is the whole
job, from its start to its published commit, checks included: the daily run, and then the same with --force, which does all
products anew, in one session after a first run over all. Both leave tables; they must be equal, row by row.

A catalogue of more than two million is that of two million, and copies of it in other letters, so that a copy has the
look-alikes of its original, and none beside.
"""

from __future__ import annotations

import argparse
import shutil
import string
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from _table import line, parse, report
from pipeline import run
from rich.console import Console

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from shelfmark.config import Settings

FEED = 2_000_000  # products of the feeds at the most: to take in more takes longer than all the rest
GOALS = {2_000_000: 3, 8_000_000: 6}
TABLES = ("silver.leak_groups", "silver.duplicates", "silver.catalogue")
DAYS = ("20260101-first", "20260102-daily", "20260102-whole")


def main() -> None:
    args = parse(__doc__, options)
    sizes = [50_000] if args.quick else sorted(args.rows)
    root = args.keep or Path(tempfile.mkdtemp(prefix="shelfmark-bench-"))
    lines = []
    for rows in sizes:
        new = args.new if not args.quick else 1_000
        daily, whole, differ = measure(rows, new, root / str(rows))
        work, goal = f"{new:,} new to {rows:,} products", GOALS.get(rows)
        lines.append(line(work, "rows that differ", differ, goal="0", holds=differ == 0))
        holds = whole / daily >= goal if goal else None
        # Throughput, so that more is better as in the other tables.
        lines.append(
            line(work, "runs an hour", 3600 / daily, 3600 / whole, "ours, --force", goal and f">= {goal}x", holds)
        )
        lines.append(line(work, "seconds", daily))
    missed = report(lines, args.json)
    if not args.keep:
        shutil.rmtree(root, ignore_errors=True)
    sys.exit(missed)


def options(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000_000, 8_000_000])
    parser.add_argument("--new", type=int, default=10_000, help="products that arrive")
    parser.add_argument("--keep", type=Path, help="keep feeds and lakes here")


def measure(rows: int, new: int, root: Path) -> tuple[float, float, int]:
    """(seconds of the daily run, seconds of the run over all, rows in which their tables differ)."""
    from shelfmark import config, pipeline, session
    from shelfmark.demo.generate import CHUNK_ROWS, write_chunk
    from shelfmark.lake.local import LocalLake

    demo, home = root / "demo", root / "home"
    feed = min(rows, FEED)
    sample = [sys.executable, "-m", "shelfmark.cli", "sample", "--rows", str(feed), "--seed", "7", "--no-pictures"]
    run([*sample, "--out", str(demo)], root)
    maps = {"taxonomy": str(demo / "taxonomy.csv"), "taxonomy_maps": str(demo / "taxonomy")}
    settings = config.load(env="demo", home=str(home), data=str(demo), **maps)
    spark = session.start(settings, "benchmark")

    def job(name: str, run_id: str, force: bool = False) -> float:
        if code := pipeline.run_job(name, settings, Console(), run_id, force):
            sys.exit(code)
        log = LocalLake(home / "lake").log()
        mine = (c.metadata for c in log if (c.metadata["job"], c.metadata["run_id"]) == (name, run_id))
        return next(mine)["seconds"]

    job("ingest", DAYS[0])
    if rows > feed:
        multiply(spark, settings, -(-rows // feed))
    job("dedupe", DAYS[0])
    write_chunk((str(demo), 7, -(-feed // CHUNK_ROWS), feed, new, new // 100, False))
    job("ingest", DAYS[1])
    daily = job("dedupe", DAYS[1])
    whole = job("dedupe", DAYS[2], force=True)
    differ = differing(spark, home)
    spark.stop()
    return daily, whole, differ


def multiply(spark: SparkSession, settings: Settings, times: int) -> None:
    """Add copies of all products to the lake: letters, digits of the GTIN, pictures and keys exchanged for others."""
    from pyspark.sql import functions as F

    from shelfmark.run import Run, execute

    letters, digits = string.ascii_lowercase, string.digits

    def turned(text: str, by: int) -> str:
        return text[by:] + text[:by]

    def copies(run: Run) -> None:
        for name in ("silver.products", "silver.presence"):
            original = run.read(name)
            for turn in range(1, times):
                copy = original
                for column in ("product_id", "content_hash"):
                    if column in copy.columns:
                        copy = copy.withColumn(column, F.md5(F.concat(column, F.lit(f"-{turn}"))))
                for column in ("source_key", "image", "image_id", "item_group"):
                    if column in copy.columns:
                        copy = copy.withColumn(column, F.concat(column, F.lit(f"-{turn}")))
                if "title" in copy.columns:
                    both = letters + letters.upper()
                    other = turned(letters, 5 * turn) + turned(letters.upper(), 5 * turn)
                    copy = copy.withColumn("title", F.translate("title", both, other))
                    copy = copy.withColumn("gtin", F.translate("gtin", digits, turned(digits, turn)))
                run.write(name, copy, append=True)

    execute("ingest", copies, settings, spark, "20260101-copies", always=True)


def differing(spark: SparkSession, home: Path) -> int:
    """Rows in which the tables of the daily run and of the whole one differ."""
    from shelfmark.lake import diff
    from shelfmark.lake.local import LocalLake

    lake = LocalLake(home / "lake")
    commits = {c.metadata["run_id"]: c for c in lake.log() if c.metadata["job"] == "dedupe"}
    daily, whole = (commits[day] for day in DAYS[1:])
    if daily.metadata["notes"]["scope"] != "changed":
        sys.exit(f"the daily run did all products: {daily.metadata['notes']['scope_because']}")
    found = [d for name in TABLES for d in diff.tables(spark, lake, daily.id, whole.id, name)]
    return sum(d.added + d.removed + d.changed for d in found)


if __name__ == "__main__":
    main()
