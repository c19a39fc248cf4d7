"""Commands of data stewards: draft a mapping, try the model on a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from shelfmark.cli.app import Env, Home, Set, app, console, load_settings
from shelfmark.errors import UsageError


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
