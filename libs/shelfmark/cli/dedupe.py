"""Commands about duplicates: train the scorer of pairs on labelled ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shelfmark.cli.app import app, console
from shelfmark.errors import UsageError

dedupe_app = typer.Typer(
    no_args_is_help=True, help="Duplicates: train the scorer that finds one product in other words."
)
app.add_typer(dedupe_app, name="dedupe", rich_help_panel="Platform teams")


@dedupe_app.callback()
def _commands() -> None:
    """Duplicates: train the scorer that finds one product in other words."""


@dedupe_app.command("train")
def dedupe_train(
    pairs: Annotated[
        Path, typer.Option(help="CSV with left, right (product_ids) and, if some are no match, match (1 or 0)")
    ],
    products: Annotated[
        list[Path], typer.Option(help="CSV of offers: product_id, source, title, and what else is known; repeatable")
    ],
    out: Annotated[Path, typer.Option(help="File of the model, JSON")],
    precision: Annotated[
        float, typer.Option(min=0.5, max=0.9999, help="Precision that pairs must have to merge")
    ] = 0.97,
    recall: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of true candidates proposed or merged")
    ] = 0.95,
) -> None:
    """Learn a scorer from labelled pairs and write its model with the two thresholds chosen out of fold."""
    from shelfmark.dedup import labelled, scorer

    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: no folder {out.parent}; make it first")
    model = labelled.train(products, pairs, precision, recall)
    scorer.save(model, out)
    for name, value in model.trained.items():
        console.print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}", highlight=False)
    if model.merge > 1:
        console.print(f"merge: no score reaches precision {precision:g}; pairs are only proposed", highlight=False)
    console.print(
        f"merge from {model.merge:.4f}, propose from {model.propose:.4f}: {out}", highlight=False, soft_wrap=True
    )
