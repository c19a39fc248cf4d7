"""What every benchmark prints: a table for people, and JSON for `benchmarks` that check goals.

A line is {work, metric, ours, peer, peer_name, ratio, goal, holds}: `ratio` is ours / peer, `goal` the bar in words,
`holds` whether it was reached (null where there is no bar).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def line(
    work: str,
    metric: str,
    ours: float,
    peer: float | None = None,
    peer_name: str | None = None,
    goal: str | None = None,
    holds: bool | None = None,
) -> dict[str, Any]:
    """One measured figure beside its peer's."""
    ratio = ours / peer if peer else None
    return {
        "work": work,
        "metric": metric,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "ratio": ratio,
        "goal": goal,
        "holds": None if holds is None else bool(holds),
    }


def parse(description: str, add: Callable[[argparse.ArgumentParser], None] | None = None) -> argparse.Namespace:
    """The command line of a benchmark: [--quick] [--json FILE] and what `add` adds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a smaller case of the same work, about a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    if add:
        add(parser)
    return parser.parse_args()


def report(lines: list[dict[str, Any]], json_file: Path | None = None) -> int:
    """Print the table, write the JSON; returns 1 where a goal was missed, for `sys.exit`."""
    table = Table(title=None)
    for column in ("work", "metric", "ours", "peer", "peer name", "ours / peer", "goal", "holds"):
        right = column in ("ours", "peer", "ours / peer")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for entry in lines:
        holds = {None: "", True: "yes", False: "[bold red]no"}[entry["holds"]]
        table.add_row(
            entry["work"],
            entry["metric"],
            _number(entry["ours"]),
            _number(entry["peer"]),
            entry["peer_name"] or "",
            _number(entry["ratio"]),
            entry["goal"] or "",
            holds,
        )
    Console(width=140).print(table)
    if json_file:
        json_file.write_text(json.dumps(lines, indent=1) + "\n")
    return int(any(entry["holds"] is False for entry in lines))


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
