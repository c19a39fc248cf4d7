"""The whole pipeline over the demo catalogue without pictures: seconds, rows per second and peak memory of every job.

    python benchmarks/pipeline.py --rows 250000 1000000 [--quick] [--json FILE] [--keep DIR]

Every size runs in a process of its own on an empty lake. Memory is the proportional set size (shared pages counted once)
of the process and all its children, sampled every half second: Spark's JVM, the driver and the Python workers.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
from _table import line, parse, report

GOAL_SECONDS = 600  # a million products from feed to metrics
GOAL_BYTES = 10e9
GOAL_GROWTH = 1.1  # cost must grow no faster than rows x 1.1


def main() -> None:
    args = parse(__doc__, options)
    sizes = [10_000, 20_000] if args.quick else sorted(args.rows)
    root = args.keep or Path(tempfile.mkdtemp(prefix="shelfmark-bench-"))
    measured = {rows: measure(rows, root / str(rows)) for rows in sizes}
    lines = []
    for rows, (jobs, peak) in measured.items():
        for job, (seconds, memory) in jobs.items():
            work = f"{job}, {rows:,} rows"
            lines.append(line(work, "seconds", round(seconds, 1)))
            lines.append(line(work, "rows/s", round(rows / seconds)))
            lines.append(line(work, "peak GB", round(memory / 1e9, 2)))
        work, total = f"all jobs, {rows:,} rows", sum(seconds for seconds, _ in jobs.values())
        # Aims are for a million products; smaller sizes are shown without.
        aim = rows >= 1_000_000
        seconds_goal = f"<= {GOAL_SECONDS} s a million" if aim else None
        lines.append(
            line(
                work,
                "seconds",
                round(total, 1),
                goal=seconds_goal,
                holds=total <= GOAL_SECONDS * rows / 1e6 if aim else None,
            )
        )
        lines.append(
            line(
                work,
                "peak GB",
                round(peak / 1e9, 2),
                goal="<= 10 GB" if aim else None,
                holds=peak <= GOAL_BYTES if aim else None,
            )
        )
    if len(sizes) > 1:
        small, large = sizes[0], sizes[-1]
        cost = {rows: sum(seconds for seconds, _ in measured[rows][0].values()) for rows in (small, large)}
        growth = (cost[large] / cost[small]) / (large / small)
        lines.append(
            line(
                f"{small:,} to {large:,} rows",
                "growth of seconds / growth of rows",
                round(growth, 3),
                goal=f"<= {GOAL_GROWTH}",
                holds=growth <= GOAL_GROWTH,
            )
        )
    missed = report(lines, args.json)
    if not args.keep:
        shutil.rmtree(root, ignore_errors=True)
    sys.exit(missed)


def options(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 1_000_000])
    parser.add_argument("--keep", type=Path, help="keep feeds and lakes here")


def measure(rows: int, root: Path) -> tuple[dict[str, tuple[float, float]], float]:
    """({job: (seconds, peak bytes while it ran)}, peak bytes) of a pipeline over `rows` demo products."""
    command = [sys.executable, "-m", "shelfmark.cli"]
    demo, home = root / "demo", root / "home"
    run([*command, "sample", "--rows", str(rows), "--seed", "7", "--out", str(demo), "--no-pictures"], root)
    samples: list[tuple[datetime, float]] = []
    maps = ["--set", f"taxonomy={demo}/taxonomy.csv", "--set", f"taxonomy_maps={demo}/taxonomy"]
    pipeline = ["pipeline", "--env", "demo", "--home", str(home), "--data", str(demo), *maps]
    run([*command, *pipeline], root, samples)
    from shelfmark.lake.local import LocalLake

    jobs = {}
    for commit in reversed(LocalLake(home / "lake").log()):
        end = datetime.fromisoformat(commit.time)
        seconds = commit.metadata["seconds"]
        during = [size for at, size in samples if 0 <= (end - at).total_seconds() <= seconds]
        jobs[commit.metadata["job"]] = (seconds, max(during, default=0.0))
    return jobs, max(size for _, size in samples)


def run(command: list[str], root: Path, samples: list[tuple[datetime, float]] | None = None) -> None:
    """Run to the end, sampling memory; a failure ends the benchmark with the command's own output."""
    root.mkdir(parents=True, exist_ok=True)
    log = root / "log.txt"
    with open(log, "a") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        if samples is not None:
            threading.Thread(target=watch, args=(process.pid, samples), daemon=True).start()
        if process.wait():
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text()[-3000:]}")


def watch(pid: int, samples: list[tuple[datetime, float]]) -> None:
    """Sample the proportional set size of a process and its children until it ends."""
    try:
        root = psutil.Process(pid)
        while root.is_running() and root.status() != psutil.STATUS_ZOMBIE:
            total = 0.0
            for process in [root, *root.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            samples.append((datetime.now(UTC), total))
            time.sleep(0.5)
    except psutil.Error:
        return


if __name__ == "__main__":
    main()
