"""Commands of data stewards about categories: what to look at, what they say of it, and why the model said what it said."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table as Grid

from shelfmark.cli.app import Env, Home, RunId, Set, app, console, load_settings, plain, start
from shelfmark.errors import UsageError

At = Annotated[str | None, typer.Option(help="A commit, tag or `release` [default: main]")]

review_app = typer.Typer(no_args_is_help=True, help="Categories checked by people: a list to fill in, and back again.")
app.add_typer(review_app, name="review", rich_help_panel="Data stewards")


@review_app.command("export")
def export(
    out: Annotated[Path, typer.Option(help="CSV to write; it must not be there yet")],
    sample: Annotated[
        int, typer.Option(min=0, help="Golden records to draw at random, about so many; 0: no sample")
    ] = 0,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**31 - 1, help="Of the sample: one seed, and a larger sample contains a smaller one"),
    ] = 1,
    limit: Annotated[
        int | None, typer.Option(min=0, help="Rows beside the sample at the most, least sure first [default: all]")
    ] = None,
    region: Annotated[list[str] | None, typer.Option(help="Only this region; repeatable")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Only this source, but for the sample; repeatable")] = None,
    reason: Annotated[
        str | None, typer.Option(help="Only predictions whose reason holds this text, but for the sample")
    ] = None,
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    at: At = None,
) -> None:
    """Write what people are to check: predictions for review, labels in doubt, and a random sample.

    In the file, fill in a category (id or path) or a verdict: ok (the model is right), label (the source is right),
    out_of_scope (no category is right), withdrawn (what was said before holds no more). Then `shelfmark review import`.
    """
    from shelfmark import query
    from shelfmark.labels import listing

    settings = load_settings(env, set_, home)
    wanted = listing.Wanted(sample, seed, limit, region or (), source or (), reason)
    lake, commit = query.open_reader(settings, at or "main")
    listed = listing.export(partial(query.read, start(settings), lake, commit), wanted, out)
    parts = ", ".join(f"{count:,} for {why}" for why, count in listed.by.items() if count)
    _say(f"{out}: {listed.rows:,} products{f' ({parts})' if parts else ', nothing to check'}, at {commit[:10]}")
    if listed.design:
        share = f"{100 * listed.design.share:.3g} %"
        _say(
            f"the sample draws {share} of {listed.population:,} golden records, those that were checked before left out"
        )
    if listed.rows:
        _say("fill in category or verdict, from the top; then: shelfmark review import FILE --by NAME")


@review_app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A list of `shelfmark review export`, filled in, all of it or a part")],
    by: Annotated[str | None, typer.Option(help="Who checked it, where checked_by is empty [default: USER]")] = None,
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    run_id: RunId = None,
) -> None:
    """Record what people said; the next training learns from it, the next evaluation measures with the sample.

    Nothing is overwritten: the newest word on a product holds, and `withdrawn` undoes it. A row that cannot be taken in
    is told with its line and what to do; the others go in.
    """
    from shelfmark import pipeline
    from shelfmark.labels import reviews

    settings = load_settings(env, set_, home)
    given = reviews.of_file(file, by if by is not None else os.environ.get("USER", ""))
    pipeline.review(given, settings, console, run_id)


@app.command(rich_help_panel="Data stewards")
def explain(
    product: Annotated[str, typer.Argument(help="A product_id, or source:source_key")],
    top: Annotated[int, typer.Option(min=1, help="Words, phrases and facts shown, the loudest first")] = 15,
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    at: At = None,
) -> None:
    """Say why a product is in its category: the words, phrases and facts that spoke for it, and for the next one."""
    from shelfmark import query
    from shelfmark.dedup import decisions
    from shelfmark.models.champion import published
    from shelfmark.text import explain as why

    settings = load_settings(env, set_, home)
    wanted = decisions.product(product)
    lake, commit = query.open_reader(settings, at or "main")
    read = partial(query.read, start(settings), lake, commit)
    champion = published(read("gold.models"), "text")
    record = why.golden_record(read, wanted)
    folder = lake.local_copy(commit, champion.path)
    if folder is None:
        raise UsageError(f"the files of model {champion.model_version} are not at {commit[:10]}: name another --at")
    told = why.explain(read("silver.catalogue"), record, folder, champion.checksum, top)
    about = f"{record.title or '(no title)'}, {record.region}, {record.source}"
    _say(f"{record.product_id}: {about}")
    catalogued = why.in_catalogue(read("gold.predictions"), record)
    if catalogued is not None and catalogued.model != champion.model:
        _say(
            f"in the catalogue, by {catalogued.model} {catalogued.model_version}: {catalogued.decision}, "
            f"{catalogued.category_path}, confidence {catalogued.confidence:.3f}; {catalogued.reason}"
        )
        brought = ", ".join(f"{one.modality} {one.weight:+.2f}" for one in catalogued.contributions or ())
        _say(f"what each brought to it: {brought or 'nothing is known of it'}")
        _say(f"what the text line alone makes of its words ({champion.model}):")
    _say(f"{told.decision}: {told.category}, confidence {told.confidence:.3f}; model {champion.model_version}")
    _say(f"best: {told.best[0]}, {told.best[1]:.3f}")
    _say(f"next: {told.other[0]}, {told.other[1]:.3f}" if told.other else "the model knows one category only")
    grid = Grid("what speaks", "for the best, or (below 0) for the next")
    for name, weight in told.pieces:
        grid.add_row(plain(name), f"{weight:+.3f}", style="" if weight > 0 else "yellow")
    grid.add_section()
    for name, weight in (("all others", told.rest), ("the model's own leaning", told.bias), ("sum", told.margin)):
        grid.add_row(name, f"{weight:+.3f}")
    console.print(grid)


def _say(text: str) -> None:
    console.print(plain(text), soft_wrap=True)
