"""Commands of the lake: history, one version, what differs, names for versions, roll back, pruning, a local server."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as Grid

from shelfmark.cli.app import Env, Home, RunId, Set, app, console, lake_app, load_settings, start
from shelfmark.errors import ServiceError, UsageError
from shelfmark.tables import TABLES

if TYPE_CHECKING:
    from shelfmark.config import Settings
    from shelfmark.lake import Lake
    from shelfmark.lake.diff import Sample
    from shelfmark.lake.server import State

SHOWN = 60  # characters of a value that a sample shows


@lake_app.command("log")
def lake_log(
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Commits to show, newest first")] = 20,
) -> None:
    """Show the history of main: commit, time, job, run id, rows, tags. Pruned commits are told of, but gone."""
    from shelfmark.lake import NotFound

    lake = _open(load_settings(env, set_, home))
    names: dict[str, list[str]] = {}
    for name, commit in lake.tags().items():
        names.setdefault(commit, []).append(name)
    grid = Grid("commit", "time (UTC)", "job", "run id", "status", "rows", "tags", box=None)
    for commit in lake.log()[:number]:
        meta = commit.metadata
        rows = ", ".join(f"{name} {count:,}" for name, count in meta.get("rows", {}).items())
        try:
            lake.folders(commit.id)
            status, style = meta.get("status", ""), None
        except NotFound:
            status, style = "pruned", "dim"
        cells = (meta.get("job", ""), meta.get("run_id", ""), status, rows)
        tags = ", ".join(sorted(names.get(commit.id, [])))
        grid.add_row(commit.id[:10], commit.time[:19], *cells, tags, style=style)
    console.print(grid)


@lake_app.command("diff")
def lake_diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A commit (or its beginning), a tag, `main` or `release`")],
    after: Annotated[str, typer.Argument(metavar="B", help="The version to compare it with")] = "main",
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    table: Annotated[str | None, typer.Option(help="Only this table, e.g. silver.products")] = None,
    rows: Annotated[int, typer.Option(min=0, help="Rows of each table to show that differ")] = 0,
) -> None:
    """Say what changed from version A to version B: rows added, removed and changed, table by table."""
    from shelfmark.lake import diff

    if table is not None and table not in TABLES:
        raise UsageError(f"no table {table!r}; there are: {', '.join(sorted(TABLES))}")
    settings = load_settings(env, set_, home)
    lake = _open(settings)
    one, other = lake.lease(before).id, lake.lease(after).id
    found = diff.differing(lake, one, other)
    grid = Grid("table", "added", "removed", "changed", "files read", box=None)
    samples: list[tuple[str, list[Sample]]] = []
    if found.keys() & ({table} if table else TABLES.keys()):
        for result in diff.tables(start(settings), lake, one, other, table, rows):
            counts = (f"{count:,}" for count in (result.added, result.removed, result.changed))
            grid.add_row(result.table, *counts, f"{result.read:,} of {result.files:,}")
            samples.append((result.table, result.samples))
        console.print(grid)
    else:
        console.print(f"no rows differ between {one[:10]} and {other[:10]}", highlight=False)
    for folder in (folder for folder in found if folder not in TABLES and table is None):
        kind = "changed" if all(folder in lake.folders(ref) for ref in (one, other)) else "added or removed"
        console.print(f"{folder}: {kind}", highlight=False)
    for name, rows_of in samples:
        for sample in rows_of:
            _print_sample(name, sample)


@lake_app.command("tag")
def lake_tag(
    name: Annotated[str, typer.Argument(help="Name for the version, e.g. audit-2026: letters, digits, _ and -")],
    ref: Annotated[str, typer.Argument(help="A commit (or its beginning), a tag, `main` or `release`")] = "release",
    home: Home = None,
    env: Env = None,
    set_: Set = None,
) -> None:
    """Name a version for ever: it can be read and compared by this name, and is never pruned."""
    if name.startswith("release") or name == "main":
        raise UsageError(
            f"tag {name!r}: names that begin with `release`, and `main`, are the lake's own; choose another"
        )
    lake = _open(load_settings(env, set_, home))
    commit = lake.resolve(ref)
    lake.tag(name, commit.id)
    console.print(f"{name}: {commit.id[:10]} ({commit.message})", highlight=False)


@lake_app.command("tags")
def lake_tags(home: Home = None, env: Env = None, set_: Set = None) -> None:
    """List tags and releases with the commits they name."""
    lake = _open(load_settings(env, set_, home))
    grid = Grid("tag", "commit", "time (UTC)", "message", box=None)
    named = [(name, lake.resolve(commit)) for name, commit in lake.tags().items()]
    for name, commit in sorted(named, key=lambda pair: (pair[1].time, pair[0]), reverse=True):
        grid.add_row(name, commit.id[:10], commit.time[:19], commit.message)
    console.print(grid)


@lake_app.command("prune")
def lake_prune(
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    older_than: Annotated[
        int | None, typer.Option(min=0, metavar="DAYS", help="Days to keep [default: the settings retention.*]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing")] = False,
) -> None:
    """Remove commits, releases and branches of dead runs that are past retention; try --dry-run first.

    The newest commit and release, tags, versions that are being read and what living runs work on stay.
    """
    settings = load_settings(env, set_, home)
    lake, now = _open(settings), datetime.now(UTC)
    kept, inspected = settings.retention.history_days, settings.retention.branches_days
    if older_than is not None:
        kept, inspected = older_than, min(older_than, inspected)
    gone = lake.prune(now - timedelta(days=kept), now - timedelta(days=inspected), dry=dry_run)
    for kind, names in (("release", gone.tags), ("branch", gone.branches)):
        for name in names:
            console.print(f"{kind} {name}", highlight=False)
    for commit in gone.commits:
        console.print(f"commit {commit[:10]}", highlight=False)
    back = "" if gone.bytes is None else f", {gone.bytes / 1e6:,.1f} MB"
    console.print(
        f"{'would remove' if dry_run else 'removed'}: {len(gone.commits)} commits, {len(gone.tags)} releases (older than "
        f"{kept} days), {len(gone.branches)} branches (older than {inspected} days){back}",
        highlight=False,
        soft_wrap=True,
    )


@lake_app.command("show")
def lake_show(
    ref: Annotated[str, typer.Argument(help="A commit (or its beginning), a tag, `main` or `release`")] = "release",
    home: Home = None,
    env: Env = None,
    set_: Set = None,
) -> None:
    """Show one version: what made it, and every table in it."""
    lake = _open(load_settings(env, set_, home))
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

    lake = _open(load_settings(env, set_, home))
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


@lake_app.command("up")
def lake_up(home: Home = None, env: Env = None, set_: Set = None) -> None:
    """Start a lakeFS server of your own on 127.0.0.1, for `lake: lakefs` without an endpoint; it keeps its data below home."""
    from shelfmark.lake import server

    settings = load_settings(env, set_, home)
    if settings.lakefs.endpoint:
        raise UsageError(f"lakefs.endpoint names {settings.lakefs.endpoint}: that server is not ours to start")
    state = server.up(
        settings.home, settings.lakefs.server_binary, say=lambda line: console.print(line, highlight=False)
    )
    if state.moved:
        console.print("its port was taken by another program: it has a new one", highlight=False)
    console.print(_server_line("started" if state.started else "runs already", state), highlight=False, soft_wrap=True)


@lake_app.command("status")
def lake_status(home: Home = None, env: Env = None, set_: Set = None) -> None:
    """Say where the lake is, its newest commit and release, who holds locks, and whether the local server runs."""
    from shelfmark.lake import NotFound, server

    settings = load_settings(env, set_, home)
    state = server.status(settings.home)
    if settings.lakefs.endpoint:
        console.print(f"server: {settings.lakefs.endpoint}", highlight=False)
    elif settings.lake == "lakefs" or state.endpoint:
        said = "runs" if state.running else "does not run (start it with `shelfmark lake up`)"
        console.print(_server_line(said, state), highlight=False, soft_wrap=True)
        if settings.lake == "lakefs" and not state.running:
            raise typer.Exit(ServiceError.exit_code)
    try:
        lake = _open(settings)
    except NotFound as nothing:
        console.print(str(nothing), highlight=False, soft_wrap=True)
        return
    for name, commit in (("main", lake.head()), ("release", lake.release())):
        told = f"{commit.id[:10]}  {commit.time[:19]}  {commit.message}" if commit else "none yet"
        console.print(f"{name}: {told}", highlight=False, soft_wrap=True)
    for name, holder in sorted(lake.locks().items()):
        console.print(
            f"{name}: held by {holder.who}, process {holder.pid} on {holder.host}, since {holder.since[:19]}",
            highlight=False,
            soft_wrap=True,
        )


@lake_app.command("down")
def lake_down(home: Home = None, env: Env = None, set_: Set = None) -> None:
    """Stop the local lakeFS server; its data stays."""
    from shelfmark.lake import server

    stopped = server.down(load_settings(env, set_, home).home)
    console.print("stopped" if stopped else "it was not running", highlight=False)


@app.command(rich_help_panel="Platform teams")
def erase(
    source: Annotated[str | None, typer.Option(help="Erase all of this source")] = None,
    products: Annotated[
        str | None,
        typer.Option(metavar="FILE|IDS", help="Erase these: product_id or source:source_key, a line (or comma) each"),
    ] = None,
    history_before: Annotated[
        str | None,
        typer.Option(metavar="DATE|all", help="Also prune commits older than this day (UTC), or all that may go"),
    ] = None,
    why: Annotated[str | None, typer.Option(help="The reason, kept in silver.erasures")] = None,
    lift: Annotated[
        str | None, typer.Option(metavar="ERASURE", help="Let what an erasure suppressed be taken in again")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would go; erase nothing")] = False,
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    run_id: RunId = None,
) -> None:
    """Remove products, or all of a source, everywhere, bronze included; feeds do not bring them back."""
    from shelfmark import erasure, pipeline

    settings = load_settings(env, set_, home)
    if lift:
        if source or products or history_before:
            raise UsageError("--lift stands alone: it only lets later feeds bring the products again")
        pipeline.lift(lift, settings, console, run_id)
        return
    if (source is None) == (products is None):
        raise UsageError("say what to erase: --source S, or --products FILE or ids; one of them")
    if source is not None and not re.fullmatch(r"\w+", source):
        raise UsageError(f"--source {source!r}: not the name of a source")
    if not (why and why.strip()):
        raise UsageError("say why, for the record: --why 'vendor withdrew its licence'")
    request = erasure.Request(
        why.strip(),
        os.environ.get("USER", ""),
        source,
        erasure.parse(products) if products else (),
        _moment(history_before) if history_before else None,
    )
    pipeline.erase(request, settings, console, run_id, dry_run)


def _moment(text: str) -> datetime:
    """The beginning of a day in UTC; now for `all`."""
    if text == "all":
        return datetime.now(UTC)
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        raise UsageError(f"--history-before {text}: write a day as 2026-01-31, or `all`") from None


def _print_sample(name: str, sample: Sample) -> None:
    sign = {"added": "+", "removed": "-", "changed": "~"}[sample.kind]
    key = ", ".join(f"{column}={_short(value)}" for column, value in sample.key.items())
    console.print(f"{sign} {name} {key}", highlight=False, markup=False, soft_wrap=True)
    for column, (old, new) in sample.values.items():
        shown = {"+": _short(new), "-": _short(old), "~": f"{_short(old)} -> {_short(new)}"}[sign]
        console.print(f"    {column}: {shown}", highlight=False, markup=False, soft_wrap=True)


def _server_line(said: str, state: State) -> str:
    about = f"{state.endpoint}, process {state.pid}, log {state.log}" if state.running else f"log {state.log}"
    return f"server {said}: {about}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _open(settings: Settings) -> Lake:
    from shelfmark.lake import open_lake

    return open_lake(settings, make=False)
