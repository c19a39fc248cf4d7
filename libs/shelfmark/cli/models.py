"""Commands about versions of a model: list, compare, promote, roll back, predict in shadow."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as Grid

from shelfmark.cli.app import Env, Home, RunId, Set, app, console, load_settings, plain, start
from shelfmark.errors import UsageError

if TYPE_CHECKING:
    from shelfmark.config import Settings

models_app = typer.Typer(
    no_args_is_help=True, help="Versions of the model: which one predicts and why, and how to make it another."
)
app.add_typer(models_app, name="models", rich_help_panel="Platform teams")

DOCS = "docs/operations.md, looks"

Line = Annotated[str, typer.Option("--model", help="The line of models")]
Version = Annotated[str, typer.Argument(help="A version, or the beginning of one: see `shelfmark models list`")]
By = Annotated[str | None, typer.Option(help="Who decides [default: USER]")]
Why = Annotated[str, typer.Option(help="The reason, kept in gold.model_decisions")]


@models_app.command("list")
def models_list(
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    at: Annotated[str | None, typer.Option(help="A commit, tag or `release` [default: main]")] = None,
) -> None:
    """List the versions of each line, the newest first: when, rows, macro-F1, which predicts, and what was decided last."""
    from pyspark.sql import functions as F

    from shelfmark import query

    settings = load_settings(env, set_, home)
    lake, commit = query.open_reader(settings, at or "main")
    spark = start(settings)
    versions = query.read(spark, lake, commit, "gold.models").orderBy("model", F.desc("model_version")).collect()
    if not versions:
        console.print("no model yet: `shelfmark pipeline` trains one", highlight=False)
        return
    decisions = query.read(spark, lake, commit, "gold.model_decisions").orderBy("decided_at", "run_id").collect()
    newest = {(row.model, row.model_version): row for row in decisions if row.decision != "compared"}
    grid = Grid(
        "", "model", "version", "champion since", "rows", "categories", "tune macro-F1", "taxonomy", "decided", box=None
    )
    for row in versions:
        mark = "champion" if row.champion else "shadow" if row.shadow else ""
        mark = "published" if row.champion and row.published and len({one.model for one in versions}) > 1 else mark
        decided = newest.get((row.model, row.model_version))
        macro = json.loads(row.metrics or "{}").get("macro_f1")
        grid.add_row(
            mark,
            plain(row.model),
            plain(row.model_version),
            f"{row.champion_since:%Y-%m-%d %H:%M}" if row.champion_since else "",
            f"{row.training_rows or 0:,}",
            f"{row.categories or 0:,}",
            "" if macro is None else f"{macro:.4f}",
            plain(row.taxonomy_version),
            plain(f"{decided.decision} by {decided.decided_by}" if decided else ""),
            style="bold" if row.champion else None,
        )
    console.print(grid)
    looks = {row.model: row.looks for row in decisions}
    for model, count in sorted(looks.items()):
        many = f": many, see {DOCS}" if count >= settings.gate.many_looks else ""
        console.print(f"{model}: the test side was looked at {count:,} times{many}", highlight=False, markup=False)
    console.print(
        f"At {commit[:10]}. Why: shelfmark sql --at main 'select * from gold.model_decisions'", soft_wrap=True
    )


@models_app.command("compare")
def models_compare(
    one: Annotated[str, typer.Argument(metavar="A", help="The version that is there, say the champion")],
    other: Annotated[str, typer.Argument(metavar="B", help="The version that might take its place")],
    again: Annotated[
        bool, typer.Option("--again", help="Measure although they were compared before: one more look")
    ] = False,
    why: Why = "",
    by: By = None,
    model: Line = "text",
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    run_id: RunId = None,
) -> None:
    """Say how B does against A on the test side, and whether it would pass the gate. A look at the test side, and counted.

    What was compared before is told from gold.model_decisions: no look.
    """
    settings = load_settings(env, set_, home)
    told = _do(settings, run_id, "compare", model, why, by, version=other, other=one, again=again)
    _figures(told)
    if told.get("stored"):
        console.print(
            f"As recorded at {told['decided_at'][:16]} by run {told['run_id']}, no new look. --again measures by today's labels.",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    many = f": many, see {DOCS}" if told["looks"] >= settings.gate.many_looks else ""
    console.print(f"Looks at the test side of {model} so far: {told['looks']:,}{many}", highlight=False, markup=False)


@models_app.command("promote")
def models_promote(
    version: Version,
    why: Why = "",
    by: By = None,
    model: Line = "text",
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    run_id: RunId = None,
) -> None:
    """Make a version the champion, whatever the gate said of it; the next predict uses it."""
    _changed(_do(load_settings(env, set_, home), run_id, "promote", model, why, by, version=version))


@models_app.command("rollback")
def models_rollback(
    why: Why = "",
    by: By = None,
    model: Line = "text",
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    run_id: RunId = None,
) -> None:
    """Make the champion before the present one the champion again; tables stay as they are, the next predict uses it."""
    _changed(_do(load_settings(env, set_, home), run_id, "rollback", model, why, by))


@models_app.command("publish")
def models_publish(
    line: Annotated[str, typer.Argument(help="A line of models: text, multimodal or ensemble")],
    why: Why = "",
    by: By = None,
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    run_id: RunId = None,
) -> None:
    """Let the champion of a line predict the catalogue, whatever the gate said; the other line's predicts in shadow then."""
    told = _do(load_settings(env, set_, home), run_id, "publish", line, why, by)
    console.print(
        f"{line} {told['champion']} predicts the catalogue, after {told['champion_before']}, commit {told['commit'][:10]}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print("from the next predict on: shelfmark run predict, or the next pipeline", highlight=False)


@models_app.command("shadow")
def models_shadow(
    version: Annotated[str | None, typer.Argument(help="A version, or the beginning of one")] = None,
    off: Annotated[bool, typer.Option("--off", help="None predicts in shadow any more")] = False,
    why: Why = "",
    by: By = None,
    model: Line = "text",
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    run_id: RunId = None,
) -> None:
    """Let a version predict beside the champion, into gold.shadow_predictions, with a report of where they differ."""
    if bool(version) == off:
        raise UsageError("name a version, or --off")
    told = _do(load_settings(env, set_, home), run_id, "shadow", model, why, by, version=version)
    does = (
        "predicts in shadow from the next predict on"
        if told["decision"] == "shadow_on"
        else "is not in shadow any more"
    )
    console.print(f"{told['model_version']} {does}, commit {told['commit'][:10]}", highlight=False, soft_wrap=True)


def _do(
    settings: Settings, run_id: str | None, action: str, model: str, why: str, by: str | None, **named: Any
) -> Mapping[str, Any]:
    from shelfmark import pipeline
    from shelfmark.models import challenger

    request = challenger.parse(action, model, by or os.environ.get("USER", ""), why, **named)
    return pipeline.models(request, settings, console, run_id)


def _changed(told: Mapping[str, Any]) -> None:
    console.print(
        f"{told['champion']} is the champion, after {told['champion_before'] or 'none'}, commit {told['commit'][:10]}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print("the next predict uses it: shelfmark run predict, or the next pipeline", highlight=False)


def _figures(told: Mapping[str, Any]) -> None:
    grid = Grid("region", "rows", "macro-F1 of A", "macro-F1 of B", "difference", box=None)
    whole = ("all", told["test_rows"], told["compared_macro_f1"], told["macro_f1"])
    regions = [(r["region"], r["rows"], r["compared_macro_f1"], r["macro_f1"]) for r in told["regions"]]
    for region, rows, a, b in [*regions, whole]:
        grid.add_row(plain(region), f"{rows:,}", f"{a:.4f}", f"{b:.4f}", f"{b - a:+.4f}")
    console.print(
        f"A {told['compared_with']}, B {told['model_version']}", highlight=False, markup=False, soft_wrap=True
    )
    console.print(grid)
    console.print(f"B {told['reason']}", highlight=False, markup=False, soft_wrap=True)
