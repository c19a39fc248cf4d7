"""Commands of the lake: history, one version, roll back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table as Grid

from shelfmark.cli.app import Env, Home, Set, console, lake_app, load_settings

if TYPE_CHECKING:
    from shelfmark.lake import Lake


@lake_app.command("log")
def lake_log(
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Commits to show, newest first")] = 20,
) -> None:
    """Show the history of main: commit, time, job, run id, rows."""
    lake = _open(env, set_, home)
    names: dict[str, list[str]] = {}
    for name, commit in lake.tags().items():
        names.setdefault(commit, []).append(name)
    grid = Grid("commit", "time (UTC)", "job", "run id", "status", "rows", "tags", box=None)
    for commit in lake.log()[:number]:
        meta = commit.metadata
        rows = ", ".join(f"{name} {count:,}" for name, count in meta.get("rows", {}).items())
        cells = (meta.get("job", ""), meta.get("run_id", ""), meta.get("status", ""), rows)
        grid.add_row(commit.id[:10], commit.time[:19], *cells, ", ".join(names.get(commit.id, [])))
    console.print(grid)


@lake_app.command("show")
def lake_show(
    ref: Annotated[str, typer.Argument(help="A commit (or its beginning), a tag, `main` or `release`")] = "release",
    home: Home = None,
    env: Env = None,
    set_: Set = None,
) -> None:
    """Show one version: what made it, and every table in it."""
    lake = _open(env, set_, home)
    commit = lake.resolve(ref)
    console.print(
        f"commit {commit.id}\nparent {commit.parent or '-'}\ntime   {commit.time}\n\n  {commit.message}\n",
        highlight=False,
    )
    for key, value in commit.metadata.items():
        if key not in ("inputs", "recipe"):
            shown = json.dumps(value, default=str) if isinstance(value, dict) else str(value)
            console.print(f"{key}: {shown}", soft_wrap=True, highlight=False, markup=False)
    console.print("\ntables and models:")
    for folder, address in lake.folders(commit.id).items():
        console.print(f"  {folder}  ({address})", soft_wrap=True, highlight=False)


@lake_app.command("rollback")
def lake_rollback(
    ref: Annotated[str, typer.Argument(help="The commit or tag whose tables and models are to be current again")],
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    release: Annotated[bool, typer.Option(help="Also make it what readers get by default")] = True,
) -> None:
    """Go back to an earlier version: a new commit with its tables; nothing is deleted, so it can be undone."""
    from shelfmark.run import new_run_id

    lake = _open(env, set_, home)
    wanted, run_id = lake.resolve(ref), new_run_id()
    metadata = {
        "job": "rollback",
        "run_id": run_id,
        "status": "done",
        "to": wanted.id,
        "who": os.environ.get("USER", ""),
    }
    commit = lake.rollback(wanted.id, f"roll back to {wanted.id[:10]}", metadata)
    if release:
        lake.tag(f"release-rollback-{run_id}", commit.id)
    console.print(f"main is now {commit.id[:10]}: the tables of {wanted.id[:10]} ({wanted.message})", highlight=False)


def _open(env: str | None, set_: list[str] | None, home: Path | None) -> Lake:
    from shelfmark.query import open_reader

    lake, _ = open_reader(load_settings(env, set_, home), at="main")
    return lake
