"""Commands of data stewards: draft a mapping, see what was refused, read it again, try the model on a file."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table as Grid

from shelfmark.cli.app import Env, Home, RunId, Set, app, console, load_settings, plain, start
from shelfmark.errors import UsageError
from shelfmark.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark.quality.rejects import Which

SHOWN = 100  # rows a person reads on a screen; all of them go to csv or json
CUT = 300  # characters of a record shown there

OfTable = Annotated[str | None, typer.Option("--table", help="Table the row was meant for, e.g. silver.products")]
OfSource = Annotated[str | None, typer.Option("--source", help="Source it came from, e.g. costco")]
OfRule = Annotated[str | None, typer.Option("--rule", help="Rule it broke, e.g. title_missing")]
OfRun = Annotated[str | None, typer.Option("--run", help="Id of the run that refused it")]


@app.command(rich_help_panel="Data stewards")
def init(
    file: Annotated[Path, typer.Argument(help="A file of an unknown feed")],
    out: Annotated[Path | None, typer.Option(help="Where to write the draft [default: the screen]")] = None,
) -> None:
    """Profile an unknown feed and draft its mapping, guesses marked as guesses."""
    from shelfmark.ingest import profile

    draft = profile.draft(file)
    if out is None:
        sys.stdout.write(draft)
        return
    if out.exists():
        raise UsageError(f"{out} is there already: remove it or choose another --out")
    out.write_text(draft)
    console.print(
        f"{out}: read it, correct the guesses, fill in the licence; then `shelfmark run ingest --sources {out.stem}`"
    )


@app.command(rich_help_panel="Data stewards")
def rejected(
    table: OfTable = None,
    rule: OfRule = None,
    source: OfSource = None,
    run: OfRun = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Also rows that were resolved or refused again since [default: what is open]")
    ] = False,
    format_: Annotated[str, typer.Option("--format", help="table, csv or json (a line a row)")] = "table",
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    at: Annotated[
        str | None,
        typer.Option(help="A commit, tag or `release` [default: main, so that runs that were not released are in it]"),
    ] = None,
) -> None:
    """Show what was refused: a summary by table, source and rule; with --table, --rule, --source or --run the rows.

    A row is open until a later run takes its record in: `shelfmark replay`, or an ingest with a corrected mapping.
    A row is `not taken in` when the run that refused it was not published, or stopped its source.
    """
    from shelfmark import query as reading
    from shelfmark.quality import rejects

    if format_ not in ("table", "csv", "json"):
        raise UsageError(f"--format {format_}: choose table, csv or json")
    which = _which(table, rule, source, run)
    loaded = load_settings(env, set_, home)
    lake, commit = reading.open_reader(loaded, at or "main")
    spark = start(loaded)
    everything = reading.read(spark, lake, commit, "silver.rejected")
    stated = rejects.with_state(
        everything.where(which.condition), everything, reading.read(spark, lake, commit, "gold.runs")
    )
    if not str(which) and not all_:
        _print(rejects.summary(stated), format_, f"at {commit[:10]}; rows: name a --source, --rule or --run", which)
        return
    if not all_:
        stated = rejects.unresolved(stated)
    columns = ("table", "source", "rule", "reason", "file", "record_number", "line", "key", "run_id", "state")
    rows = stated.select(*columns, "resolved_by", "payload").orderBy("table", "source", "rule", "file", "record_number")
    hint = "" if all_ else "; what was resolved since: --all"
    _print(rows if format_ == "table" else stated.select(*rows.columns), format_, f"at {commit[:10]}{hint}", which)


@app.command(rich_help_panel="Data stewards")
def replay(
    table: OfTable = None,
    rule: OfRule = None,
    source: OfSource = None,
    run: OfRun = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Map and judge, print what would pass, write nothing")
    ] = False,
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    run_id: RunId = None,
) -> None:
    """Read refused records again, after a mapping (conf/sources/*.yml) or a rule (expectations/*.json) was corrected.

    They are read from bronze, never from the feed, mapped by today's mapping and judged by today's rules. What passes
    becomes products, unless a newer record of the same key is there; what fails stays refused. Without filters: all.
    """
    from shelfmark import pipeline
    from shelfmark.ingest.replay import TABLE

    which = _which(table, rule, source, run)
    if table not in (None, TABLE):
        raise UsageError(f"--table {table}: only refused rows of {TABLE} come from bronze and can be read again")
    pipeline.replay(which, load_settings(env, set_, home), console, run_id, dry_run)


def _which(table: str | None, rule: str | None, source: str | None, run: str | None) -> Which:
    from shelfmark.quality.rejects import Which
    from shelfmark.run import run_date

    if table is not None and table not in TABLES:
        raise UsageError(f"no table {table!r}; there are: {', '.join(sorted(TABLES))}")
    return Which(table, source, rule, run, run_date(run) if run is not None else None)


def _print(rows: DataFrame, format_: str, note: str, which: Which) -> None:
    """Rows for a person, the first `SHOWN` of them; or all, streamed partition by partition."""
    if format_ == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(rows.columns)
        for row in rows.toLocalIterator():
            writer.writerow(["" if value is None else value for value in row])
        return
    if format_ == "json":
        for row in rows.toLocalIterator():
            sys.stdout.write(json.dumps(row.asDict(), default=str, ensure_ascii=False) + "\n")
        return
    found = rows.limit(SHOWN + 1).collect()
    if not found:
        meant = f" of {which}" if str(which) else ""
        console.print(f"no refused row{meant} {note}", highlight=False, markup=False, soft_wrap=True)
        return
    if "payload" in rows.columns:
        _print_records(found[:SHOWN])
    else:
        grid = Grid(*rows.columns, box=None)
        for row in found[:SHOWN]:
            grid.add_row(*(plain(f"{value:,}" if isinstance(value, int) else value) for value in row))
        console.print(grid)
    more = f", the first {SHOWN}; all of them: --format csv" if len(found) > SHOWN else ""
    console.print(f"{min(len(found), SHOWN)} rows {note}{more}", highlight=False, markup=False, soft_wrap=True)


def _print_records(rows: list) -> None:
    """A refused row is read, not compared: below each other, what it broke first."""
    from shelfmark.quality.docs import where

    for row in rows:
        key = f", key {row.key}" if row.key is not None else ""
        since = f" by {row.resolved_by}" if row.resolved_by else ""
        lines = [
            (f"{row.table}  {row.source or ''}  {row.rule}  ({row.state}{since})", "bold"),
            (f"  {row.reason or ''}", ""),
            (f"  {where(row.asDict())}{key}, run {row.run_id}", ""),
            (f"  {(row.payload or '')[:CUT]}{' ...' if len(row.payload or '') > CUT else ''}", "dim"),
        ]
        for line, style in lines:
            console.print(plain(line, style), soft_wrap=True, highlight=False)


@app.command(rich_help_panel="Data stewards")
def classify(
    file: Annotated[Path, typer.Argument(help="A CSV file with a title column")],
    out: Annotated[
        Path, typer.Option(help="CSV to write: the input's columns, then path, confidence, decision, reason")
    ],
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    title: Annotated[str, typer.Option(help="Name of the title column")] = "title",
    at: Annotated[
        str | None, typer.Option(help="Version of the lake whose champion to use [default: newest release]")
    ] = None,
) -> None:
    """Predict categories for any CSV with the champion model."""
    from shelfmark import classify as classifying

    loaded = load_settings(env, set_, home)
    count = classifying.classify(loaded, file, out, title, at)
    console.print(f"{out}: {count:,} rows", highlight=False)
