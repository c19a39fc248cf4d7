"""A steward's word: recorded by a command, kept to by the next dedupe, undone by another; groups keep their ids through it."""

import csv
import io

import pytest
from rich.console import Console

from shelfmark import config, pipeline
from shelfmark.cli.app import app
from shelfmark.dedup import decisions, labelled, scorer
from shelfmark.errors import UsageError
from shelfmark.ingest.normalise import product_id
from shelfmark.lake import open_lake
from shelfmark.pipeline import _execute
from shelfmark.query import read

pytestmark = pytest.mark.usefixtures("unchecked")

MAPPING = """
description: a shop for tests
licence: made up, Apache-2.0
files: [{name}-*.csv]
format: {{kind: csv}}
key: id
region: US
language: en
fields: {{title: name, gtin: ean}}
price: {{field: price, currency: USD}}
"""
FEEDS = {
    "shop": "id,name,ean,price\n1,Zanzibar cotton shirt,4006381333931,9.99\n2,Memory card 128 GB fast,,19.50\n3,Oak board,,24.00\n",
    "other": "id,name,ean,price\na,Shirt of cotton Zanzibar,4006381333931,9.50\nb,Memory card 256 GB fast,,21.00\n",
}
SHIRT, CARD, BOARD = (product_id("shop", key) for key in "123")
SHIRT2, CARD2 = (product_id("other", key) for key in "ab")


class Lake:
    def __init__(self, spark, root, feeds=FEEDS, **dedupe):
        self.spark, self.day = spark, 1
        for name, rows in feeds.items():
            (root / f"{name}.yml").write_text(MAPPING.format(name=name))
            (root / f"{name}-1.csv").write_text(rows)
        self.settings = config.load(
            home=str(root / "home"), data=str(root), sources=list(feeds), source_dirs=[str(root)], dedupe=dedupe
        )
        for job in ("ingest", "dedupe"):
            _execute(job, self.settings, spark, "20260101-t", False)

    def decide(self, *made):
        self.day += 1
        parsed = [decisions.parse(one, other, verdict, why, "ann") for one, other, verdict, why in made]
        pipeline.decide(parsed, self.settings, Console(file=io.StringIO()), f"202601{self.day:02d}-d")

    def groups(self):
        """{group_id: products} after a dedupe."""
        self.day += 1
        _execute("dedupe", self.settings, self.spark, f"202601{self.day:02d}-t", False)
        found = {}
        for row in self.rows("silver.duplicates"):
            found.setdefault(row.group_id, set()).add(row.product_id)
        return found

    def rows(self, name):
        lake = open_lake(self.settings)
        return read(self.spark, lake, lake.resolve("main").id, name).collect()


@pytest.fixture(scope="module")
def lake(spark, tmp_path_factory):
    return Lake(spark, tmp_path_factory.mktemp("decided"))


def test_a_steward_parts_and_joins_what_the_rules_would_not_and_takes_it_back(lake, capsys):
    (first,) = [row.group_id for row in lake.rows("silver.duplicates") if row.product_id == SHIRT]
    assert {row.product_id for row in lake.rows("silver.duplicates") if row.group_id == first} == {SHIRT, SHIRT2}
    lake.decide((SHIRT, "other:a", "different", "sold apart"), ("shop:2", CARD2, "same", "the label is wrong"))
    groups = lake.groups()
    # Of the cards, both named after themselves on one day, the smaller id stays.
    assert groups[min(CARD, CARD2)] == {CARD, CARD2}
    assert {SHIRT} in groups.values()
    assert {SHIRT2} in groups.values()
    assert first in groups
    told = {(row.product_id, row.event, row.from_group_id) for row in lake.rows("silver.duplicate_events")}
    left = SHIRT2 if groups[first] == {SHIRT} else SHIRT
    assert told == {(left, "split", first), (max(CARD, CARD2), "joined", max(CARD, CARD2))}
    matched = {row.product_id: row.matched_by for row in lake.rows("silver.duplicates")}
    assert matched[CARD] == matched[CARD2] == "steward"
    golden = [row for row in lake.rows("silver.catalogue") if row.group_id == min(CARD, CARD2)]
    assert [row.members for row in golden] == [2]

    lake.decide((SHIRT, SHIRT2, "withdrawn", "was a mistake"))
    assert lake.groups()[first] == {SHIRT, SHIRT2}
    said = [(row.verdict, row.decided_by, row.reason) for row in lake.rows("silver.match_decisions")]
    assert sorted(said) == [
        ("different", "ann", "sold apart"), ("same", "ann", "the label is wrong"), ("withdrawn", "ann", "was a mistake"),
    ]  # fmt: skip


def test_what_cannot_be_is_refused_and_nothing_is_recorded(lake):
    before = len(lake.rows("silver.match_decisions"))
    with pytest.raises(UsageError, match=f"no product {'0' * 32} in silver.products"):
        lake.decide((SHIRT, "0" * 32, "same", "x"))
    with pytest.raises(UsageError, match="nothing to withdraw"):
        lake.decide((SHIRT, BOARD, "withdrawn", "x"))
    with pytest.raises(
        UsageError, match=r"decided to be different \(by ann: x\), and the same by way of other decisions"
    ):
        lake.decide((SHIRT, BOARD, "same", "x"), (BOARD, CARD, "same", "x"), (CARD, SHIRT, "different", "x"))
    assert len(lake.rows("silver.match_decisions")) == before


def test_proposals_of_a_lake_without_a_scorer_say_so(lake, capsys):
    arguments = ["dedupe", "proposed", "--home", lake.settings.home]
    app(arguments, standalone_mode=False)
    assert "no pair is proposed: dedupe.scorer.model names no scorer" in " ".join(capsys.readouterr().out.split())
    app([*arguments, "--format", "csv"], standalone_mode=False)
    assert capsys.readouterr().out.startswith("left,right,verdict,reason,score,left_source,right_source,left_title")


def test_explain_and_show_say_why(lake, capsys):
    def said(*arguments):
        app(["dedupe", *arguments, "--home", lake.settings.home], standalone_mode=False)
        return " ".join(capsys.readouterr().out.split())

    shirts = said("explain", "shop:1", SHIRT2)
    assert "Zanzibar cotton shirt" in shirts
    assert "they are in one group" in shirts
    assert f"{SHIRT} --(GTIN)--> {SHIRT2}" in shirts
    assert "nothing speaks against them" in shirts
    cards = said("explain", "shop:2", "other:b")
    assert "a steward's word that holds: same, by ann: the label is wrong" in cards
    assert f"{CARD} --(steward" in cards
    apart = said("explain", "shop:2", "shop:3")
    assert "they are in different groups" in apart
    assert "figures differ: 128000mb and none" in apart
    assert "similarity 0.0" in apart
    group = said("show", "other:b")
    assert f"group {min(CARD, CARD2)}" in group
    assert (
        "price is stated in several ways: 19.50 USD (shop); 21.00 USD (other)" in group or "21.00 USD (other)" in group
    )
    assert f"joined: {max(CARD, CARD2)} from {max(CARD, CARD2)} to {min(CARD, CARD2)}" in group
    for arguments, says in (
        (["explain", "shop:1", "shop:99"], "no product shop:99 in silver.products at"),
        (["explain", "shop:1", SHIRT], "are one record; name two"),
        (["show", "0" * 32], "no group and no product"),
        (["show", "nothing"], "is no product_id"),
    ):
        with pytest.raises(UsageError, match=says):
            said(*arguments)


@pytest.fixture(scope="module")
def proposing(spark, tmp_path_factory):
    """A lake of two shops that name 60 appliances in other words, and a scorer that proposes and merges nothing."""
    root = tmp_path_factory.mktemp("proposed")
    kinds = ("fridge freezer", "washing machine", "microwave oven")
    ours = [(f"{i}", f"Bosch {kinds[i % 3]} kx{i * 37:05d}w white", 100 + i) for i in range(60)]
    theirs = [(f"{i}", f"kx{i * 37:05d}w silent {kinds[i % 3]}", 104 + i) for i in range(60)]
    feeds = {}
    with open(root / "offers.csv", "w") as file:
        file.write("product_id,source,title,price\n")
        for name, rows in (("shop", ours), ("other", theirs)):
            feeds[name] = "id,name,ean,price\n" + "".join(f"{key},{title},,{price}\n" for key, title, price in rows)
            file.writelines(f"{product_id(name, key)},{name},{title},{price}\n" for key, title, price in rows)
    pairs = [f"{product_id('shop', str(i))},{product_id('other', str(i))}" for i in range(60)]
    (root / "pairs.csv").write_text("left,right\n" + "\n".join(pairs) + "\n")
    scorer.save(labelled.train([root / "offers.csv"], root / "pairs.csv", 0.95, 0.95), root / "model.json")
    return Lake(spark, root, feeds, scorer={"model": str(root / "model.json"), "propose": 0.2, "merge": 1.0})


@pytest.mark.nightly
def test_proposed_pairs_go_to_a_csv_and_come_back_as_decisions(proposing, tmp_path, capsys):
    rows = proposing.rows("silver.proposed_pairs")
    assert len(rows) >= 50
    where = [
        "--home",
        proposing.settings.home,
        "--set",
        f"dedupe.scorer.model={proposing.settings.dedupe.scorer.model}",
    ]
    app(["dedupe", "proposed", *where], standalone_mode=False)
    assert "To decide: shelfmark dedupe decide" in " ".join(capsys.readouterr().out.split())
    app(["dedupe", "proposed", *where, "--format", "csv"], standalone_mode=False)
    listed = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {(row["left"], row["right"]) for row in listed} == {
        (row.left_product_id, row.right_product_id) for row in rows
    }
    doubts = [abs(float(row["score"]) - 0.5) for row in listed]
    assert doubts == sorted(doubts)
    assert all("kx" in row["left_title"] and row["scorer"] for row in listed)

    for row, verdict in zip(listed, ("same", "different")):
        row |= {"verdict": verdict, "reason": "looked at both"}
    with open(tmp_path / "decided.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, listed[0])
        writer.writeheader()
        writer.writerows(listed)
    app(["dedupe", "decide", "--file", str(tmp_path / "decided.csv"), "--by", "ann", *where], standalone_mode=False)
    assert "recorded: 2 decisions" in capsys.readouterr().out
    groups = proposing.groups()
    assert {listed[0]["left"], listed[0]["right"]} in groups.values()
    assert {listed[1]["left"]} in groups.values()
    left = {(row.left_product_id, row.right_product_id) for row in proposing.rows("silver.proposed_pairs")}
    assert left == {(row["left"], row["right"]) for row in listed[2:]}
