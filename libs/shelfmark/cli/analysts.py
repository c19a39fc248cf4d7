"""Commands of analysts: query any version, look up what a table means."""

from __future__ import annotations

import csv
import json
import sys
from typing import Annotated

import typer
from rich.table import Table as Grid

from shelfmark.cli.app import Env, Home, Set, app, console, load_settings, plain, start
from shelfmark.errors import UsageError
from shelfmark.tables import TABLES, table


@app.command(rich_help_panel="Analysts")
def sql(
    query: Annotated[str, typer.Argument(help="A select over tables by name: select * from silver.products limit 5")],
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    at: Annotated[str | None, typer.Option(help="A commit, tag or `main` [default: the newest release]")] = None,
    format_: Annotated[str, typer.Option("--format", help="table, csv or json (a line a row)")] = "table",
) -> None:
    """Query any table, at the newest release or as of any version."""
    from shelfmark import query as reading

    if format_ not in ("table", "csv", "json"):
        raise UsageError(f"--format {format_}: choose table, csv or json")
    loaded = load_settings(env, set_, home)
    lake, commit = reading.open_reader(loaded, at)
    frame = reading.query(start(loaded), lake, commit, query)
    if format_ == "table":
        rows = frame.limit(201).collect()
        grid = Grid(*frame.columns)
        for row in rows[:200]:
            grid.add_row(*map(plain, row))
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
def similar(
    product: Annotated[str, typer.Argument(help="A product_id, or source:source_key")],
    k: Annotated[int, typer.Option("-k", min=1, help="Products to show")] = 10,
    region: Annotated[str | None, typer.Option(help="Products of this region only")] = None,
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    at: Annotated[str | None, typer.Option(help="A commit, tag or `main` [default: the newest release]")] = None,
) -> None:
    """Show the products most like one, by what the multimodal model sees of title, description, picture and fields."""
    from shelfmark import query as reading
    from shelfmark.dedup import decisions
    from shelfmark.multimodal import similar as vectors

    loaded = load_settings(env, set_, home)
    lake, commit = reading.open_reader(loaded, at)
    spark = start(loaded)
    best = vectors.similar(reading.read(spark, lake, commit, "gold.embeddings"), decisions.product(product), k, region)
    catalogue = reading.read(spark, lake, commit, "silver.catalogue")
    known = catalogue.where(catalogue.product_id.isin([one.product_id for one in best]))
    titles = {
        (row.product_id, row.region): row.title for row in known.select("product_id", "region", "title").collect()
    }
    grid = Grid("similarity", "product_id", "region", "title")
    for one in best:
        shown = one.product_id, one.region, titles.get((one.product_id, one.region))
        grid.add_row(f"{one.similarity:.3f}", *map(plain, shown))
    console.print(grid)


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
