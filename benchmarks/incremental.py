"""A daily run of dedupe beside a run over all, on the demo catalogue: the same tables, in a fraction of the time.

    python benchmarks/incremental.py [--rows 2000000 8000000] [--new 10000] [--quick] [--json FILE] [--keep DIR]

Feeds of so many products are taken in and grouped; then files with the new ones arrive and are taken in. What is compared
is the job as it is scheduled, from its own process to its published commit: the daily run, and then the same
with --force, which does all products anew. Both leave tables; they must be equal, row by row.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from _table import line, parse, report
from pipeline import run

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
    from shelfmark.demo.generate import CHUNK_ROWS, write_chunk
    from shelfmark.lake.local import LocalLake

    shelfmark = [sys.executable, "-m", "shelfmark.cli"]
    demo, home = root / "demo", root / "home"
    run([*shelfmark, "sample", "--rows", str(rows), "--seed", "7", "--out", str(demo), "--no-pictures"], root)

    def job(name: str, run_id: str, *more: str) -> float:
        places = ["--env", "demo", "--home", str(home), "--data", str(demo)]
        places += ["--set", f"taxonomy={demo}/taxonomy.csv", "--set", f"taxonomy_maps={demo}/taxonomy"]
        run([*shelfmark, "run", name, *places, "--run-id", run_id, *more], root)
        log = LocalLake(home / "lake").log()
        return next(c.metadata["seconds"] for c in log if c.metadata["job"] == name and c.metadata["run_id"] == run_id)

    job("ingest", DAYS[0])
    job("dedupe", DAYS[0])
    write_chunk((str(demo), 7, -(-rows // CHUNK_ROWS), rows, new, new // 100, False))
    job("ingest", DAYS[1])
    daily = job("dedupe", DAYS[1])
    whole = job("dedupe", DAYS[2], "--force")
    return daily, whole, differing(home)


def differing(home: Path) -> int:
    """Rows in which the tables of the daily run and of the whole one differ."""
    from shelfmark import config, session
    from shelfmark.lake import diff
    from shelfmark.lake.local import LocalLake

    lake = LocalLake(home / "lake")
    commits = {c.metadata["run_id"]: c for c in lake.log() if c.metadata["job"] == "dedupe"}
    daily, whole = (commits[day] for day in DAYS[1:])
    if daily.metadata["notes"]["scope"] != "changed":
        sys.exit(f"the daily run did all products: {daily.metadata['notes']['scope_because']}")
    spark = session.start(config.load(home=str(home)), "benchmark")
    found = [d for name in TABLES for d in diff.tables(spark, lake, daily.id, whole.id, name)]
    spark.stop()
    return sum(d.added + d.removed + d.changed for d in found)


if __name__ == "__main__":
    main()
