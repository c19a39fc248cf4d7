"""The command `shelfmark`: platform teams schedule it, analysts query with it, stewards look things up with it."""

from __future__ import annotations

import csv
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from shelfmark import config
from shelfmark.errors import ShelfmarkError, UsageError
from shelfmark.tables import JOBS, TABLES, table

if TYPE_CHECKING:
    from shelfmark.config import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Vendor feeds in, one trustworthy catalogue out.

    [bold]Platform teams[/]: `pipeline` runs everything, `run JOB` one job for a scheduler, `lake` shows and rolls back versions.
    Exit codes: 0 done, 1 a bug, 2 wrong usage or settings, 3 data refused by a check, 4 an outside service failed.

    [bold]Analysts[/]: `tables` says what there is, `sql` queries the newest release, or any version with --at.

    [bold]Data stewards[/]: `init` drafts the mapping of a new feed, `classify` tries the model on a file; a pipeline ends
    with links to the data docs and the run report.""",
)
lake_app = typer.Typer(no_args_is_help=True, help="Versions of the lake: history, one version, roll back.")
app.add_typer(lake_app, name="lake", rich_help_panel="Platform teams")
# In a pipe or a log there is no terminal to fit: tables are given room.
console = Console(width=None if sys.stdout.isatty() else 160)
errors = Console(stderr=True)

Home = Annotated[Path | None, typer.Option(help="Folder of the lake, models, reports and logs [default: .shelfmark]")]
Env = Annotated[
    str | None, typer.Option(help="Settings file conf/ENV.yml over conf/base.yml [default: $SHELFMARK_ENV or base]")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="One setting, e.g. text.reweight=inverse")
]
Sources = Annotated[str | None, typer.Option(help="Sources to take in, comma separated: names of conf/sources/*.yml")]
Data = Annotated[Path | None, typer.Option(help="Folder the sources' files are in")]
RunId = Annotated[str | None, typer.Option(help="Id of the run, begins with the day: 20260131-nightly [default: now]")]


def _settings(env: str | None, overrides: list[str] | None, home: Path | None, **values: Any) -> Settings:
    if sources := values.pop("sources", None):
        values["sources"] = [name.strip() for name in sources.split(",") if name.strip()]
    if data := values.pop("data", None):
        values["data"] = str(data)
    return config.load(env, overrides, home=str(home) if home else None, **values)


def _start(settings: Settings) -> Any:
    from shelfmark import session

    return session.start(settings)


# -- platform teams ---------------------------------------------------------------------------------------------


@app.command(rich_help_panel="Platform teams")
def pipeline(
    sources: Sources = None,
    data: Data = None,
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    from_: Annotated[str | None, typer.Option("--from", help=f"First job to run: {', '.join(JOBS)}")] = None,
    resume: Annotated[
        str | None, typer.Option(help="Run id of a pipeline that stopped: published jobs are not run again")
    ] = None,
    run_id: RunId = None,
    force: Annotated[bool, typer.Option(help="Run every job, also those whose inputs did not change")] = False,
) -> None:
    """Run all jobs in order in one Spark session, release, and print what came of it."""
    from shelfmark import pipeline as whole

    settings = _settings(env, set_, home, sources=sources, data=data)
    if resume and run_id and resume != run_id:
        raise UsageError("--resume RUN_ID names the run: leave --run-id away")
    code = whole.run(settings, console, run_id=resume or run_id, from_job=from_, force=force)
    raise typer.Exit(code)


@app.command(rich_help_panel="Platform teams")
def run(
    job: Annotated[str, typer.Argument(help=f"One of {', '.join(JOBS)}")],
    sources: Sources = None,
    data: Data = None,
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    run_id: RunId = None,
    force: Annotated[bool, typer.Option(help="Run it although its inputs did not change")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read settings and inputs, print what would be done")
    ] = False,
) -> None:
    """Run one job, as a cluster scheduler calls it."""
    from shelfmark import pipeline as whole

    settings = _settings(env, set_, home, sources=sources, data=data)
    if dry_run:
        whole.plan(job, settings, console)
        return
    raise typer.Exit(whole.run_job(job, settings, console, run_id=run_id, force=force))


@app.command(rich_help_panel="Platform teams")
def settings(env: Env = None, set_: Set = None) -> None:
    """Print every setting with its value and meaning."""
    loaded = config.load(env, set_)
    grid = Grid("setting", "value", "meaning", box=None)
    for name, value, meaning in config.describe(loaded):
        grid.add_row(name, value, meaning)
    console.print(grid)


@app.command(rich_help_panel="Platform teams")
def sample(
    rows: Annotated[int, typer.Option(min=100, help="Products to make")] = 20_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same catalogue")] = 7,
    out: Annotated[Path, typer.Option(help="Folder to write the feeds and truth/ into")] = Path(".shelfmark/demo"),
    pictures: Annotated[bool, typer.Option(help="Draw a picture for every product")] = True,
) -> None:
    """Write the demo catalogue: feeds of four vendors in five regions, with truth/ to measure against."""
    from shelfmark import demo

    summary = demo.generate(rows, seed, out, pictures=pictures)
    regions = ", ".join(f"{region} {count:,}" for region, count in summary["clean_by_region"].items())
    console.print(
        f"{out}: {summary['rows']:,} records of {len(summary['sources'])} vendors, {regions}", highlight=False
    )
    console.print(
        f"planted: {summary['dirty']:,} dirty rows, {summary['duplicate_records']:,} duplicates, "
        f"{summary['variant_records']:,} variants, {summary['categories']} categories; see {out}/truth",
        highlight=False,
        soft_wrap=True,
    )


@lake_app.command("log")
def lake_log(
    home: Home = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Commits to show, newest first")] = 20,
) -> None:
    """Show the history of main: commit, time, job, run id, rows."""
    lake = _open(home)
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
) -> None:
    """Show one version: what made it, and every table in it."""
    lake = _open(home)
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
    release: Annotated[bool, typer.Option(help="Also make it what readers get by default")] = True,
) -> None:
    """Go back to an earlier version: a new commit with its tables; nothing is deleted, so it can be undone."""
    from shelfmark.run import new_run_id

    lake = _open(home)
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


def _open(home: Path | None) -> Any:
    from shelfmark.query import open_reader

    lake, _ = open_reader(_settings(None, None, home).home, at="main")
    return lake


# -- analysts ---------------------------------------------------------------------------------------------------


@app.command(rich_help_panel="Analysts")
def sql(
    query: Annotated[str, typer.Argument(help="A select over tables by name: select * from silver.products limit 5")],
    home: Home = None,
    at: Annotated[str | None, typer.Option(help="A commit, tag or `main` [default: the newest release]")] = None,
    format_: Annotated[str, typer.Option("--format", help="table, csv or json (a line a row)")] = "table",
) -> None:
    """Query any table, at the newest release or as of any version."""
    from shelfmark import query as reading

    if format_ not in ("table", "csv", "json"):
        raise UsageError(f"--format {format_}: choose table, csv or json")
    loaded = _settings(None, None, home)
    lake, commit = reading.open_reader(loaded.home, at)
    frame = reading.query(_start(loaded), lake, commit, query)
    if format_ == "table":
        rows = frame.limit(201).collect()
        grid = Grid(*frame.columns)
        for row in rows[:200]:
            grid.add_row(*("" if value is None else str(value) for value in row))
        console.print(grid)
        more = "; more rows: --format csv gives all" if len(rows) > 200 else ""
        console.print(f"{min(len(rows), 200)} rows at {commit[:10]}{more}", highlight=False)
        return
    # Rows are streamed partition by partition: a large result does not have to fit the driver.
    if format_ == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(frame.columns)
        for row in frame.toLocalIterator():
            writer.writerow(["" if value is None else value for value in row])
    else:
        for row in frame.toLocalIterator():
            sys.stdout.write(json.dumps(row.asDict(recursive=True), default=str, ensure_ascii=False) + "\n")


@app.command(rich_help_panel="Analysts")
def tables(name: Annotated[str | None, typer.Argument(help="A table, e.g. silver.products")] = None) -> None:
    """Show the table contracts: grain, keys, partitions, owner, and what each column means."""
    if name is None:
        grid = Grid("table", "one row is", "keys", "owner", box=None)
        for contract in TABLES.values():
            grid.add_row(contract.name, contract.grain, ", ".join(contract.keys), contract.owner)
        console.print(grid)
        return
    try:
        contract = table(name)
    except KeyError as error:
        raise UsageError(error.args[0]) from None
    console.print(f"[bold]{contract.name}[/]: {contract.grain}")
    console.print(
        f"keys: {', '.join(contract.keys)}; partitions: {', '.join(contract.partitions) or '-'}; owner: {contract.owner}"
    )
    grid = Grid("column", "type", "meaning", box=None)
    for field in contract.fields:
        grid.add_row(field.name, field.type, field.comment)
    console.print(grid)


# -- data stewards ----------------------------------------------------------------------------------------------


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
def classify(
    file: Annotated[Path, typer.Argument(help="A CSV file with a title column")],
    out: Annotated[
        Path, typer.Option(help="CSV to write: the input's columns, then path, confidence, decision, reason")
    ],
    home: Home = None,
    title: Annotated[str, typer.Option(help="Name of the title column")] = "title",
    at: Annotated[
        str | None, typer.Option(help="Version of the lake whose champion to use [default: newest release]")
    ] = None,
) -> None:
    """Predict categories for any CSV with the champion model."""
    from shelfmark import classify as classifying

    loaded = _settings(None, None, home)
    count = classifying.classify(loaded, file, out, title, at)
    console.print(f"{out}: {count:,} rows", highlight=False)


# -- main -------------------------------------------------------------------------------------------------------


def main() -> None:
    """Entry point: errors a person can act on are one line, with the exit code of their kind."""
    logging.getLogger("py4j").setLevel(logging.ERROR)
    try:
        app(standalone_mode=False)
    except ShelfmarkError as error:
        errors.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except typer.Exit as exit_:
        sys.exit(exit_.exit_code)
    except Exception as error:
        if hasattr(error, "format_message"):  # click's own: wrong usage
            errors.print(f"error: {error.format_message()}; see --help", style="red", highlight=False, markup=False)
            sys.exit(2)
        if error.__class__.__name__ == "Abort":
            errors.print("stopped")
            sys.exit(130)
        raise


if __name__ == "__main__":
    main()
