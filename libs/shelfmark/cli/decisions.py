"""Commands of data stewards about duplicates: what is proposed, and what they say of it."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table as Grid
from rich.text import Text

from shelfmark.cli.app import Env, Home, RunId, Set, console, load_settings, plain, start
from shelfmark.cli.dedupe import dedupe_app
from shelfmark.errors import UsageError

SHOWN = 50  # pairs a person reads on a screen; all of them go to csv
DESCRIBED = ("source", "title", "brand", "model_number", "gtin", "price")
"""What is said of each product of a proposed pair."""


@dedupe_app.command("proposed")
def proposed(
    format_: Annotated[str, typer.Option("--format", help="table or csv")] = "table",
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    at: Annotated[str | None, typer.Option(help="A commit, tag or `release` [default: main]")] = None,
) -> None:
    """Show the pairs that may be one product, the least certain first; as CSV to be filled in and given to `decide`.

    They come from the scorer (`dedupe.scorer.model`): between its two thresholds, or above both where a rule keeps
    the pair apart. A pair that was decided is not proposed again.
    """
    from pyspark.sql import functions as F

    from shelfmark import query as reading

    if format_ not in ("table", "csv"):
        raise UsageError(f"--format {format_}: choose table or csv")
    loaded = load_settings(env, set_, home)
    lake, commit = reading.open_reader(loaded, at or "main")
    spark = start(loaded)
    pairs = reading.read(spark, lake, commit, "silver.proposed_pairs")
    products = reading.read(spark, lake, commit, "silver.products")
    for side in ("left", "right"):
        facts = [F.col(name).alias(f"{side}_{name}") for name in DESCRIBED]
        pairs = pairs.join(
            products.select(F.col("product_id").alias(f"{side}_product_id"), *facts), f"{side}_product_id"
        )
    pairs = pairs.orderBy(F.abs(F.col("score") - 0.5), "left_product_id", "right_product_id")
    described = [f"{side}_{name}" for name in DESCRIBED for side in ("left", "right")]
    pairs = pairs.select(
        F.col("left_product_id").alias("left"),
        F.col("right_product_id").alias("right"),
        F.lit("").alias("verdict"),
        F.lit("").alias("reason"),
        F.round("score", 4).alias("score"),
        *described,
        F.array_join("reasons", "; ").alias("scorer"),
    )
    if format_ == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(pairs.columns)
        for row in pairs.toLocalIterator():
            writer.writerow(["" if value is None else value for value in row])
        return
    found = pairs.limit(SHOWN + 1).collect()
    if not found:
        console.print(
            "no pair is proposed" + ("" if loaded.dedupe.scorer.model else ": dedupe.scorer.model names no scorer"),
            highlight=False,
        )
        return
    grid = Grid(show_lines=True)
    for name in ("score", "left", "right", "scorer"):
        grid.add_column(name, overflow="fold")
    for row in found[:SHOWN]:
        sides = []
        for side in ("left", "right"):
            facts = [row[name] for name in (side, *(f"{side}_{fact}" for fact in DESCRIBED))]
            sides.append(Text("\n").join(plain(fact) for fact in facts if fact is not None))
        grid.add_row(f"{row.score:.3f}", *sides, Text("\n").join(map(plain, (row.scorer or "").split("; "))))
    console.print(grid)
    more = f"the first {SHOWN}; all of them: --format csv. " if found[SHOWN:] else ""
    console.print(
        f"{more}At {commit[:10]}. To decide: shelfmark dedupe decide LEFT RIGHT same|different --why ...",
        soft_wrap=True,
    )


@dedupe_app.command("decide")
def decide(
    left: Annotated[str | None, typer.Argument(help="A product_id, or source:source_key")] = None,
    right: Annotated[str | None, typer.Argument(help="The other product")] = None,
    verdict: Annotated[str | None, typer.Argument(help="same, different, or withdrawn")] = None,
    why: Annotated[str | None, typer.Option(help="The reason, kept in silver.match_decisions")] = None,
    by: Annotated[str | None, typer.Option(help="Who decided [default: USER]")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="CSV of decisions: left, right, verdict, reason, and decided_by if others decided"),
    ] = None,
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    run_id: RunId = None,
) -> None:
    """Say of two products that they are the same or different; the next dedupe keeps to it, whatever its rules say.

    Nothing is overwritten: the newest decision on a pair holds, and `withdrawn` leaves the pair to the rules again.
    """
    from shelfmark import pipeline
    from shelfmark.dedup import decisions

    settings = load_settings(env, set_, home)
    by = by or os.environ.get("USER", "")
    if file is not None:
        if left or right or verdict or why:
            raise UsageError("--file stands alone: its rows say which products, what and why")
        made = decisions.of_file(file, by)
    elif left and right and verdict:
        made = [decisions.parse(left, right, verdict, why or "", by)]
    else:
        raise UsageError(
            "name two products and a verdict, as `decide shop:1 shop:2 different --why 'other size'`, or a --file"
        )
    pipeline.decide(made, settings, console, run_id)
