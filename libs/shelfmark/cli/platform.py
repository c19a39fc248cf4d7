"""Commands of platform teams: run the pipeline or a job, show settings, make the demo catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table as Grid

from shelfmark import config
from shelfmark.cli.app import Accept, Data, Env, Home, RunId, Set, Sources, app, console, load_settings
from shelfmark.errors import UsageError
from shelfmark.tables import JOBS


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
    accept: Accept = None,
) -> None:
    """Run all jobs in order in one Spark session, release, and print what came of it."""
    from shelfmark import pipeline as whole

    settings = load_settings(env, set_, home, sources=sources, data=data, accept=accept)
    if resume and run_id and resume != run_id:
        raise UsageError("--resume RUN_ID names the run: leave --run-id away")
    code = whole.run(settings, console, run_id=resume or run_id, from_job=from_, force=force)
    raise typer.Exit(code)


@app.command(rich_help_panel="Platform teams")
def run(
    job: Annotated[str, typer.Argument(help=f"One of {', '.join(JOBS)}, maintain, audit or embed")],
    sources: Sources = None,
    data: Data = None,
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    run_id: RunId = None,
    force: Annotated[bool, typer.Option(help="Run it although its inputs did not change")] = False,
    accept: Accept = None,
    branch: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="train_text: learn anew only what is below this category, keep the rest"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read settings and inputs, print what would be done")
    ] = False,
) -> None:
    """Run one job, as a cluster scheduler calls it."""
    from shelfmark import pipeline as whole

    if branch and job != "train_text":
        raise UsageError(f"--branch is for train_text, not for {job}")
    settings = load_settings(env, set_, home, sources=sources, data=data, accept=accept, branch=branch)
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
