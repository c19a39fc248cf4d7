"""What the commands share: the application, its options, the console."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from shelfmark import config

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

    [bold]Data stewards[/]: `init` drafts the mapping of a new feed, `rejected` shows what was refused, `replay` reads it
    again, `review` lists categories to check and takes back what you say, `explain` tells why a product is in its category,
    `classify` tries the model on a file; a pipeline ends with links to the data docs and the run report.""",
)
lake_app = typer.Typer(
    no_args_is_help=True, help="Versions of the lake: history, differences, tags, roll back, pruning; a local server."
)
app.add_typer(lake_app, name="lake", rich_help_panel="Platform teams")
# In a pipe or a log there is no terminal to fit: tables are given room.
console = Console(width=None if sys.stdout.isatty() else 160)

Home = Annotated[Path | None, typer.Option(help="Folder of the lake, models, reports and logs [default: .shelfmark]")]
Env = Annotated[
    str | None, typer.Option(help="Settings file conf/ENV.yml over conf/base.yml [default: $SHELFMARK_ENV or base]")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="One setting, e.g. text.reweight=inverse")
]
Sources = Annotated[str | None, typer.Option(help="Sources to take in, comma separated: names of conf/sources/*.yml")]
Data = Annotated[Path | None, typer.Option(help="Folder the sources' files are in")]
Accept = Annotated[
    list[str] | None,
    typer.Option(metavar="TABLE:CHECK", help="A check that may fail in this one run, e.g. silver.products:volume"),
]
RunId = Annotated[str | None, typer.Option(help="Id of the run, begins with the day: 20260131-nightly [default: now]")]


def load_settings(env: str | None, overrides: list[str] | None, home: Path | None, **values: Any) -> Settings:
    """Settings of a command line; `sources` is a comma separated text."""
    if sources := values.pop("sources", None):
        values["sources"] = [name.strip() for name in sources.split(",") if name.strip()]
    if data := values.pop("data", None):
        values["data"] = str(data)
    values["accept"] = values.get("accept") or None
    return config.load(env, overrides, home=str(home) if home else None, **values)


def start(settings: Settings) -> Any:
    """The Spark session."""
    from shelfmark import session

    return session.start(settings)


def plain(value: object, style: str = "") -> Text:
    """Vendor text as it is: no markup of ours, no control characters of theirs."""
    from shelfmark.quality.docs import shown

    return Text("" if value is None else shown(str(value)).replace("\n", " "), style)
