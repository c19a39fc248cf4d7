"""Commands that answer why: two records side by side, and a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table as Grid

from shelfmark.cli.app import Env, Home, Set, console, load_settings, plain, start
from shelfmark.cli.dedupe import dedupe_app
from shelfmark.errors import UsageError

if TYPE_CHECKING:
    from pyspark.sql import Row

At = Annotated[str | None, typer.Option(help="A commit, tag or `release` [default: main]")]
FIELDS = (
    "source",
    "source_key",
    "region",
    "title",
    "brand",
    "gtin",
    "model_number",
    "price",
    "currency",
    "item_group",
    "image",
)
EVENTS = 20  # of a group, the newest


@dedupe_app.command("explain")
def explain(
    one: Annotated[str, typer.Argument(help="A product_id, or source:source_key")],
    other: Annotated[str, typer.Argument(help="The other product")],
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    at: At = None,
) -> None:
    """Say why two products are one or are not: side by side, similarity, bands, the way through the group, the rules."""
    from shelfmark.dedup import decisions
    from shelfmark.dedup import explain as why

    settings = load_settings(env, set_, home)
    ids = [decisions.product(one), decisions.product(other)]
    if ids[0] == ids[1]:
        raise UsageError(f"{one} and {other} are one record; name two")
    read, commit = _reader(settings, at)
    products, groups = read("silver.products"), read("silver.duplicates")
    records = {row.product_id: row for row in products.where(products.product_id.isin(ids)).collect()}
    for name, product in zip((one, other), ids):
        if product not in records:
            raise UsageError(f"no product {name} in silver.products at {commit[:10]}")
    held = decisions.known(decisions.held(read("silver.match_decisions")))
    said = decisions.constraints(held)
    places = {row.product_id: row for row in groups.where(groups.product_id.isin(ids)).collect()}
    _side_by_side([records[product] for product in ids], [places.get(product) for product in ids])

    like = why.likeness(*(records[product].title for product in ids), settings.dedupe)
    threshold = settings.dedupe.similarity
    _say(
        f"similarity of the titles: {like.similarity:.3f} ({like.shared} of {like.shingles} shingles; near from {threshold:g}). "
        f"They share {like.shared_bands} of {like.bands} bands; at that similarity they share one with probability "
        f"{like.probability:.3f}"
    )
    for decision in why.decided(held, set(ids)):
        _say(f"a steward's word that holds: {decision.verdict}, by {decision.decided_by}: {decision.reason}")
    together = all(places.get(product) for product in ids) and len({places[product].group_id for product in ids}) == 1
    a, b = sorted(why.offers(products, ids, settings.dedupe, said), key=lambda offer: ids.index(offer.product_id))
    reasons = why.against(a, b, like.similarity, threshold)
    if together:
        group = places[ids[0]].group_id
        _say(f"they are in one group: {group}")
        members = [row.product_id for row in groups.where(groups.group_id == group).limit(why.MEMBERS).collect()]
        offers = why.offers(products, list(dict.fromkeys([*ids, *members])), settings.dedupe, said)
        steps = why.path(offers, *ids, settings.dedupe)
        if steps:
            _say(
                "the way through the group: "
                + " ".join(f"--({link})--> {name}" if link else name for link, name in steps)
            )
        else:
            _say("no chain of near titles, GTINs and decisions links them: they came together by the scorer")
    else:
        _say(
            "they are in different groups"
            if len(places) == 2
            else "not both are in silver.duplicates: run `shelfmark run dedupe`"
        )
    if reasons:
        _say("what speaks against them as a pair" + (", and was outweighed" if together else "") + ":")
        for reason in reasons:
            _say(f"  - {reason}")
    elif together:
        _say("nothing speaks against them")
    else:
        _say(
            "nothing speaks against them as a pair: another record of their look-alikes does (a group's members must all agree; "
            "a title that a seller uses for several products proves nothing), or dedupe has not run since"
        )


@dedupe_app.command("show")
def show(
    group: Annotated[str, typer.Argument(help="A group_id, or a product of the group")],
    home: Home = None,
    env: Env = None,
    set_: Set = None,
    at: At = None,
) -> None:
    """Show a group: its records, the survivor first, what they disagree on, and what happened to it."""
    from shelfmark.dedup import decisions
    from shelfmark.dedup import explain as why

    settings = load_settings(env, set_, home)
    wanted = decisions.product(group)
    read, commit = _reader(settings, at)
    groups = read("silver.duplicates")
    known = (
        groups.where((groups.group_id == wanted) | (groups.product_id == wanted))
        .select("group_id", "product_id")
        .collect()
    )
    if not known:
        raise UsageError(f"no group and no product {group} in silver.duplicates at {commit[:10]}")
    # An id may be a group's that its product has left.
    name = wanted if any(row.group_id == wanted for row in known) else known[0].group_id
    members = groups.where(groups.group_id == name).drop("region").join(read("silver.products"), "product_id")
    rows = members.orderBy("survivor", "similarity", ascending=False).limit(why.MEMBERS).collect()
    grid = Grid(title=f"group {name}")
    columns = (
        "product_id",
        "source",
        "source_key",
        "region",
        "title",
        "brand",
        "price",
        "currency",
        "similarity",
        "matched_by",
    )
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(plain(f"{row[c]:.3f}" if c == "similarity" and row[c] is not None else row[c]) for c in columns))
    console.print(grid)
    if rows and rows[0].group_size > len(rows):
        _say(f"the first {len(rows):,} of {rows[0].group_size:,} records")
    catalogue = read("silver.catalogue")
    for golden in catalogue.where(catalogue.group_id == name).select("region", "conflicts").collect():
        for conflict in golden.conflicts or ():
            values = "; ".join(f"{value.value} ({', '.join(value.sources)})" for value in conflict["values"])
            _say(f"{golden.region}: {conflict.field} is stated in several ways: {values}")
    events = read("silver.duplicate_events")
    told = events.where((events.group_id == name) | (events.from_group_id == name))
    for row in told.orderBy("run_date", "run_id", "product_id", ascending=False).limit(EVENTS).collect():
        _say(f"{row.run_date} {row.event}: {row.product_id} from {row.from_group_id} to {row.group_id}")


def _reader(settings, at: str | None):
    """(a function that reads a table by name, the commit it reads at)."""
    from functools import partial

    from shelfmark import query

    lake, commit = query.open_reader(settings, at or "main")
    return partial(query.read, start(settings), lake, commit), commit


def _side_by_side(records: list[Row], places: list[Row | None]) -> None:
    grid = Grid("", *(record.product_id for record in records))
    rows = [(name, [record[name] for record in records]) for name in FIELDS]
    names = sorted({a.name for record in records for a in record.attributes or ()})
    stated = [{a.name: f"{a.value} {a.unit or ''}".strip() for a in record.attributes or ()} for record in records]
    rows += [(f"attributes.{name}", [one.get(name) for one in stated]) for name in names]
    rows += [
        (name, [place[name] if place else None for place in places]) for name in ("group_id", "survivor", "matched_by")
    ]
    for name, values in rows:
        if any(value is not None for value in values):
            # What both state and differ in is marked.
            style = "yellow" if None not in values and values[0] != values[1] else ""
            grid.add_row(name, *(plain(value, style) for value in values))
    console.print(grid)


def _say(text: str) -> None:
    console.print(plain(text), soft_wrap=True)
