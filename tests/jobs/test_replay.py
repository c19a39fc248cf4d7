"""Refused records read again: what passes becomes products, newer records stay, the books balance after every step."""

import csv
import io
import json
import re
import shutil

import pytest
from rich.console import Console

from shelfmark import config, pipeline
from shelfmark.errors import UsageError
from shelfmark.lake import open_lake
from shelfmark.quality import rejects
from shelfmark.quality.rejects import Which
from shelfmark.query import read

# Runs of the ingest job take seconds, whatever the size of its feed.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]

MAPPING = """
description: a shop for tests
licence: made up, Apache-2.0
files: [{name}.csv]
format: {{kind: csv}}
key: id
region: US
language: en
fields: {{title: name}}
price: {{field: price, currency: USD}}
categories: {{field: category, separator: ">"}}
"""
HEADER = ["id", "name", "other_name", "price", "category"]
CORRECTED = MAPPING.replace("title: name", "title: {{first_of: [name, other_name]}}")
FEED = [
    ["1", "Blue shirt", "", "9.99", "Shirts"],
    ["2", "", "Red scarf", "19.50", "Scarves"],
    ["3", "", "", "5.00", "Hats"],
    ["4", "Green hat", "", "-4.00", "Hats"],
    ["5", "too", "few"],
]


class Shop:
    """A source whose title is sometimes in another field, and the lake it is taken into."""

    def __init__(self, spark, root):
        self.spark, self.root, self.day = spark, root, 0

    def feed(self, rows, name="shop", mapping=MAPPING):
        text = io.StringIO()
        csv.writer(text).writerows([HEADER, *rows])
        (self.root / f"{name}.csv").write_text(text.getvalue())
        self.map(mapping, name)

    def map(self, mapping, name="shop"):
        (self.root / f"{name}.yml").write_text(mapping.format(name=name))

    @property
    def settings(self):
        sources = sorted(path.stem for path in self.root.glob("*.yml"))
        return config.load(
            home=str(self.root / "home"), data=str(self.root), sources=sources, source_dirs=[str(self.root)]
        )

    def ingest(self):
        self.day += 1
        run_id = f"202601{self.day:02d}-t"
        notes = pipeline._execute("ingest", self.settings, self.spark, run_id, False).notes
        self.balanced()
        return {k: notes[k] for k in ("read", "new", "changed", "unchanged", "rejected", "superseded") if notes[k]}

    def replay(self, dry=False, run_id=None, **which):
        self.day += 1
        said = io.StringIO()
        run_id = run_id or f"202601{self.day:02d}-r"
        try:
            pipeline.replay(Which(**which), self.settings, Console(file=said, width=300), run_id, dry)
        finally:
            self.said = said.getvalue()
        self.balanced()
        if dry:
            return None
        notes = json.loads(next(row.notes for row in self.rows("gold.runs") if row.run_id == run_id))["replay"]
        return {k: notes[k] for k in ("read", "new", "changed", "unchanged", "rejected", "superseded") if notes[k]}

    def rows(self, name):
        lake = open_lake(self.settings)
        return read(self.spark, lake, lake.head().id, name).collect()

    def products(self, source):
        return sorted((row for row in self.rows("silver.products") if row.source == source), key=lambda r: r.source_key)

    def titles(self):
        return {row.source_key: row.title for row in self.rows("silver.products")}

    def stated(self):
        lake = open_lake(self.settings)
        rejected, runs = (read(self.spark, lake, lake.head().id, name) for name in ("silver.rejected", "gold.runs"))
        return rejects.with_state(rejected, rejected, runs).collect()

    def states(self):
        return sorted((row.record_number, row.rule, row.state) for row in self.stated())

    def balanced(self):
        """Every record of bronze is in one entry of its file's books, and what is rejected there is open, once."""
        raw = [(row.source, row.file_hash) for row in self.rows("bronze.raw_products")]
        open_ = [row for row in self.stated() if row.state == "open"]
        assert len({(row.source, row.file_hash, row.record_number) for row in open_}) == len(open_)
        files = self.rows("bronze.files")
        assert len({(row.source, row.file_hash) for row in files}) == len(files)
        for row in files:
            parts = row.new + row.changed + row.unchanged + row.rejected + row.superseded
            assert parts == row.records_counted == raw.count((row.source, row.file_hash))
            assert min(row.new, row.changed, row.unchanged, row.rejected, row.superseded) >= 0
            assert row.rejected == len([r for r in open_ if (r.source, r.file_hash) == (row.source, row.file_hash)])
        ids = [row.product_id for row in self.rows("silver.products")]
        assert len(ids) == len(set(ids))
        assert sorted(ids) == sorted(row.product_id for row in self.rows("silver.presence"))


@pytest.fixture
def shop(spark, tmp_path):
    return Shop(spark, tmp_path)


def test_books_balance_over_ingest_replay_replay_again_and_ingest_with_the_changed_mapping(shop):
    shop.feed(FEED)
    assert shop.ingest() == {"read": 5, "new": 1, "rejected": 4}
    shop.map(CORRECTED)
    with pytest.raises(UsageError, match="an ingest has that run id"):
        shop.replay(run_id="20260101-t")

    # A dry run says what would pass, and writes nothing.
    lake = open_lake(shop.settings)
    before = lake.folders("main")
    shop.replay(dry=True)
    assert "dry run, nothing is written" in shop.said
    assert "3 refused records read again: 1 pass (1 new), 2 stay refused" in shop.said
    assert lake.folders("main") == before
    assert lake.branches("run-") == []

    assert shop.replay(run_id="20260104-r") == {"read": 3, "new": 1, "rejected": 2}
    assert "1 could not be parsed" in shop.said
    assert "still refused: shop price_negative 1" in shop.said
    assert shop.titles() == {"1": "Blue shirt", "2": "Red scarf"}
    assert shop.states() == [
        (2, "title_missing", "resolved"),
        (3, "title_missing", "open"),
        (4, "price_negative", "open"),
        (5, "broken_record", "open"),
    ]
    assert {row.resolved_by for row in shop.stated() if row.state == "resolved"} == {"20260104-r"}
    assert_pages_show_what_was_resolved(shop.root / "home" / "docs")

    # A run id replays once; another one finds nothing that passes and did not before, and doubles nothing.
    before = lake.folders("main")
    shop.replay(run_id="20260104-r")
    assert "published before" in shop.said
    assert lake.folders("main") == before
    assert shop.replay() == {"read": 2, "rejected": 2}
    assert shop.titles() == {"1": "Blue shirt", "2": "Red scarf"}
    # The mapping changed since the file was taken in, so the next ingest maps all of it, and finds the same.
    assert shop.ingest() == {"read": 5, "unchanged": 2, "rejected": 3}
    assert shop.titles() == {"1": "Blue shirt", "2": "Red scarf"}
    assert shop.ingest() == {}


def assert_pages_show_what_was_resolved(docs):
    text = re.sub(r"<[^>]+>|\s+", " ", (docs / "20260101-t.html").read_text())
    assert re.search(r"1 resolved\s+by 20260104-r", text)
    assert re.search(r"4\s+records refused, 3 still open", text)
    page = re.sub(r"<[^>]+>|\s+", " ", (docs / "20260104-r.html").read_text())
    assert re.search(r"This run read refused records again\s+\(all\): 3 of them\.\s+1 pass now", page)
    index = re.sub(r"<[^>]+>|\s+", " ", (docs / "index.html").read_text())
    assert "3 open" in index
    assert "replay" in index


def test_an_ingest_with_a_corrected_mapping_resolves_what_it_takes_in(shop):
    shop.feed(FEED)
    shop.ingest()
    shop.map(CORRECTED)
    assert shop.ingest() == {"read": 5, "new": 1, "unchanged": 1, "rejected": 3}
    closed = {row.record_number: (row.state, row.resolved_by) for row in shop.stated() if row.run_id == "20260101-t"}
    assert closed[2] == ("resolved", "20260102-t")
    assert {closed[number] for number in (3, 4, 5)} == {("refused again", "20260102-t")}
    with pytest.raises(UsageError, match="nothing to replay: no refused record of run 20260101-t that is open"):
        pipeline.replay(Which(run_id="20260101-t"), shop.settings, Console(quiet=True), None, False)


@pytest.mark.nightly
def test_replay_gives_the_products_that_mapping_everything_again_gives(shop):
    """Three sources: one whose refused records are old, one whose are the newest, one with several of a product."""
    shop.feed([["1", "Blue shirt", "", "9.99", "A"], ["2", "", "Red scarf, old", "5.00", "A"]], name="older")
    shop.feed([["1", "Blue shirt", "", "9.99", "A"]], name="newest")
    several = [
        ["1", "Blue shirt", "", "9.99", "Shirts"],
        ["1", "", "Blue shirt, sale", "9.99", "Sale"],
        ["1", "Blue shirt", "", "9.99", "Cotton"],
        ["2", "", "Scarf", "1.00", "Scarves"],
        ["2", "", "Scarf", "1.00", "Wool"],
    ]
    shop.feed(several, name="several")
    assert shop.ingest() == {"read": 8, "new": 3, "rejected": 4, "superseded": 1}

    shop.feed([["1", "", "Blue shirt, refused", "8.00", "A"], ["2", "Red scarf", "", "6.00", "A"]], name="older")
    news = [["1", "", "Blue shirt, new", "8.00", "A"], ["2", "", "Hat", "1.00", "A"]]
    shop.feed(news, name="newest")
    shop.ingest()  # all records of the newest file are refused: its source is stopped, and the file not taken in
    # The same content again: the product keeps the place of its first record, and still this sighting is newer.
    shop.feed([["1", "Blue shirt", "", "9.99", "A"]], name="older")
    shop.feed([*news, ["3", "Cap", "", "1.00", "A"]], name="newest")
    assert shop.ingest() == {"read": 4, "new": 1, "unchanged": 1, "rejected": 2}
    assert {(row.state, row.run_id) for row in shop.stated() if row.source == "newest"} == {
        ("not taken in", "20260102-t"),
        ("open", "20260103-t"),
    }

    for name in ("older", "newest", "several"):
        shop.map(CORRECTED, name)
    before = shop.products("older")
    assert shop.replay() == {"read": 7, "new": 2, "changed": 1, "superseded": 4}
    # An old record never covers a newer one of its key; one that is the newest changes its product.
    assert shop.products("older") == before
    assert {row.state for row in shop.stated() if row.source == "older"} == {"resolved"}
    assert [row.title for row in shop.products("newest")] == ["Blue shirt, new", "Hat", "Cap"]
    assert [row.category_paths for row in shop.products("several")] == [
        ["Cotton", "Sale", "Shirts"],
        ["Scarves", "Wool"],
    ]
    # Who was seen when does not change by reading old records again.
    ids = {row.product_id for row in shop.products("newest")}
    seen = [row.last_run for row in shop.rows("silver.presence") if row.product_id in ids]
    assert sorted(seen) == ["20260101-t", "20260103-t", "20260104-r"]

    replayed = {name: shop.products(name) for name in ("older", "newest", "several")}
    # Files of 2, 2 and 1, of 1 and 3, and of 5 records; the file that was not taken in is not among them.
    assert shop.ingest() == {"read": 14, "unchanged": 7, "superseded": 7}
    columns = ("source_key", "title", "category_paths", "price", "content_hash", "record_number")
    for name, rows in replayed.items():
        assert [[row[c] for c in columns] for row in shop.products(name)] == [[row[c] for c in columns] for row in rows]


def test_a_corrected_rule_lets_records_in_and_only_those_that_are_asked_for(shop, monkeypatch):
    shop.feed(FEED)
    shop.feed([["1", "Hat", "", "-1.00", "A"], ["2", "Cap", "", "1.00", "A"]], name="other")
    shop.ingest()
    folder, real = shop.root / "expectations", config.resource
    shutil.copytree(real("expectations"), folder)
    suite = json.loads((folder / "silver.products.json").read_text())
    (rule,) = (e for e in suite["expectations"] if e["meta"].get("rule") == "price_negative")
    rule["kwargs"]["min_value"] = -10
    (folder / "silver.products.json").write_text(json.dumps(suite))
    monkeypatch.setattr(config, "resource", lambda *p: folder.joinpath(*p[1:]) if p[0] == "expectations" else real(*p))
    assert shop.replay(source="other", rule="price_negative") == {"read": 1, "new": 1}
    assert [row.state for row in shop.stated() if row.source == "shop"] == ["open"] * 4
    # A rule is no mapping: the next ingest has nothing to map again.
    assert shop.ingest() == {}


@pytest.mark.nightly
def test_a_record_that_breaks_another_rule_now_is_refused_anew_under_the_replay(shop):
    shop.feed([["1", "", "x", "-1.00", "A"], ["2", "Cap", "", "1.00", "A"]])
    shop.ingest()
    shop.map(CORRECTED)
    assert shop.replay() == {"read": 1, "rejected": 1}
    (old, new) = sorted(shop.stated(), key=lambda row: row.run_id)
    assert (old.rule, old.state, old.resolved_by) == ("title_missing", "refused again", "20260102-r")
    assert (new.rule, new.state, new.run_id) == ("price_negative", "open", "20260102-r")
    assert new.reason.endswith(": -1.00")
    assert json.loads(new.payload)["other_name"] == "x"


@pytest.mark.nightly
def test_sources_without_a_mapping_and_lakes_without_the_column_resolved_by_are_replayed_as_far_as_can_be(shop, spark):
    shop.feed(FEED)
    shop.feed([["1", "", "Hat", "1.00", "A"], ["2", "Cap", "", "1.00", "A"]], name="other")
    shop.ingest()
    path = open_lake(shop.settings).read_path("main", "silver/rejected/ingest")
    old = spark.read.format("delta").load(path).drop("resolved_by").localCheckpoint()
    old.write.format("delta").mode("overwrite").option("overwriteSchema", "true").partitionBy("run_date").save(path)
    assert "resolved_by" not in spark.read.format("delta").load(path).columns

    runs = len(shop.rows("gold.runs"))
    with pytest.raises(UsageError, match="nothing to replay: no refused record of source nobody that is open"):
        shop.replay(source="nobody")
    with pytest.raises(
        UsageError, match="nothing to replay: no refused record of rule broken_record that can be read again"
    ):
        shop.replay(rule="broken_record")
    assert re.search(r"1 could not be parsed", shop.said)
    assert len(shop.rows("gold.runs")) == runs

    shop.map(CORRECTED, "other")
    (shop.root / "shop.yml").unlink()
    assert shop.replay() == {"read": 1, "new": 1}
    assert "3 belong to a source whose mapping is gone" in shop.said
    with pytest.raises(UsageError, match="nothing to replay: no refused record that can be read again"):
        shop.replay()
