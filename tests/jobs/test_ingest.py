"""The ingest job on bad and changing feeds: what is refused, what stops, what is lost (nothing)."""

import csv
import gzip
import io
import json

import pytest
from rich.console import Console

from shelfmark import config, pipeline
from shelfmark.errors import DataRefused, UsageError
from shelfmark.lake import open_lake
from shelfmark.pipeline import _checked, _execute
from shelfmark.query import read

# A run of the job takes seconds, whatever the size of its feed.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]

MAPPING = """
description: a shop for tests
licence: made up, Apache-2.0
files: [{name}.csv]
format: {{kind: csv}}
key: id
region: US
language: en
updated_at: when
fields: {{title: name, gtin: ean}}
price: {{field: price, currency: USD}}
categories: {{field: category, separator: ">"}}
"""
HEADER = ["id", "name", "ean", "price", "category", "when"]
GOOD = [
    ["1", "Blue cotton shirt", "4006381333931", "$9.99", "Clothes > Shirts", "2026-01-01"],
    ["2", "Red wool scarf", "", "19.50", "Clothes > Scarves", "2026-01-01"],
]


@pytest.fixture
def shop(spark, tmp_path):
    return Shop(spark, tmp_path)


class Shop:
    """Feeds and mappings in a folder, and the lake they are taken into."""

    def __init__(self, spark, root):
        self.spark, self.root, self.day = spark, root, 0
        self.sources = []

    def feed(self, rows=GOOD, name="shop", header=HEADER, raw=None, mapping=MAPPING):
        (self.root / f"{name}.yml").write_text(mapping.format(name=name))
        if raw is None:
            text = io.StringIO()
            csv.writer(text).writerows([header, *rows])
            raw = text.getvalue().encode()
        (self.root / f"{name}.csv").write_bytes(raw)
        self.sources = sorted({*self.sources, name})

    @property
    def settings(self):
        return config.load(
            home=str(self.root / "home"), data=str(self.root), sources=self.sources, source_dirs=[str(self.root)]
        )

    def ingest(self):
        self.day += 1
        return _execute("ingest", self.settings, self.spark, f"202601{self.day:02d}-t", False)

    def counts(self):
        notes = self.ingest().notes
        return {k: notes[k] for k in ("read", "new", "changed", "unchanged", "rejected", "superseded") if notes[k]}

    def rows(self, name):
        lake = open_lake(self.settings)
        return read(self.spark, lake, lake.head().id, name).collect()

    def refused(self):
        return {(row.source, row.record_number): row.rule for row in self.rows("silver.rejected")}

    def tables(self):
        head = open_lake(self.settings).head()
        folders = open_lake(self.settings).folders("main") if head else {}
        return {
            f: d
            for f, d in folders.items()
            if not f.startswith(("gold/runs", "silver/rejected", "silver/check_results"))
        }


def test_every_bad_record_is_refused_under_its_rule_with_its_payload_and_place(shop):
    bad = [
        ["3", "", "", "1", "A", "2026-01-01"],
        ["", "No key at all", "", "1", "A", "2026-01-01"],
        ["5", "-----", "", "1", "A", "2026-01-01"],
        ["6", "Green hat", "", "-4.00", "A", "2026-01-01"],
        ["7", "Gold hat", "", "99999999999", "A", "2026-01-01"],
        ["8", "Grey hat", "", "call us", "A", "2026-01-01"],
        ["9", "x" * 1001, "", "1", "A", "2026-01-01"],
        ["10", "too", "few"],
    ]
    shop.feed([*GOOD, *bad])
    assert shop.counts() == {"read": 10, "new": 2, "rejected": 8}
    assert shop.refused() == {
        ("shop", 3): "title_missing",
        ("shop", 4): "key_missing",
        ("shop", 5): "title_no_letters",
        ("shop", 6): "price_negative",
        ("shop", 7): "price_absurd",
        ("shop", 8): "price_unreadable",
        ("shop", 9): "title_too_long",
        ("shop", 10): "broken_record",
    }
    row = next(row for row in shop.rows("silver.rejected") if row.rule == "price_negative")
    assert json.loads(row.payload)["price"] == "-4.00"
    assert (row.key, row.line, row.table, row.action) == ("6", 7, "silver.products", "reject")
    assert row.reason
    assert row.file.endswith("shop.csv")
    assert len(shop.rows("bronze.raw_products")) == 10


def test_what_cannot_be_used_is_noted_and_the_product_stays(shop):
    shop.feed([["1", "Blue cotton shirt", "4006381333932", "9.99", " > > ", "2026-01-01"]])
    assert shop.counts() == {"read": 1, "new": 1}
    (product,) = shop.rows("silver.products")
    assert (product.gtin, product.category_paths) == (None, [])
    assert set(product.problems.split(",")) == {"gtin_check_digit", "category_unreadable"}


def test_repeated_keys_are_superseded_and_categories_joined(shop):
    rows = [
        ["1", "Blue cotton shirt", "", "9.99", "Clothes > Shirts", "2026-01-01"],
        ["1", "Blue cotton shirt", "", "9.99", "Sale", "2026-01-01"],
        ["2", "Red scarf", "", "5", "A", "2026-01-02"],
        ["2", "Red scarf, old", "", "6", "B", "2026-01-01"],
    ]
    shop.feed(rows)
    assert shop.counts() == {"read": 4, "new": 2, "superseded": 2}
    found = {row.source_key: (row.title, row.category_paths) for row in shop.rows("silver.products")}
    assert found == {"1": ("Blue cotton shirt", ["Clothes > Shirts", "Sale"]), "2": ("Red scarf", ["A"])}


def test_a_changed_record_is_a_change_and_an_absent_one_stays(shop):
    shop.feed()
    assert shop.counts() == {"read": 2, "new": 2}
    shop.feed([["1", "Blue cotton shirt", "4006381333931", "$8.99", "Clothes > Shirts", "2026-01-02"]])
    assert shop.counts() == {"read": 1, "changed": 1}
    assert {row.source_key: str(row.price) for row in shop.rows("silver.products")} == {"1": "8.99", "2": "19.50"}
    seen = {row.first_run + " " + row.last_run for row in shop.rows("silver.presence")}
    assert seen == {"20260101-t 20260102-t", "20260101-t 20260101-t"}


@pytest.mark.nightly
def test_an_older_record_in_a_later_file_is_superseded(shop):
    shop.feed()
    shop.ingest()
    shop.feed([["1", "Blue shirt, last year", "", "5.00", "Clothes", "2025-01-01"]])
    assert shop.counts() == {"read": 1, "superseded": 1}
    assert {row.title for row in shop.rows("silver.products")} == {"Blue cotton shirt", "Red wool scarf"}


def test_the_same_file_adds_nothing(shop):
    shop.feed()
    shop.ingest()
    before = shop.tables()
    assert shop.counts() == {}
    assert shop.tables() == before


def test_a_corrected_mapping_reads_again_from_bronze_even_when_the_file_is_gone(shop):
    shop.feed([*GOOD, ["3", "Hat", "", "12", "A", "2026-01-01"]])
    shop.ingest()
    corrected = MAPPING.replace("key: id", "key: name").replace("USD", "EUR")
    (shop.root / "shop.yml").write_text(corrected.format(name="shop"))
    (shop.root / "shop.csv").write_text(",".join(HEADER) + "\n")
    notes = shop.ingest().notes
    assert (notes["read"], notes["new"]) == (3, 3)
    found = {row.source_key: row.currency for row in shop.rows("silver.products")}
    assert set(found) == {"Blue cotton shirt", "Red wool scarf", "Hat"}
    assert set(found.values()) == {"EUR"}
    assert len(shop.rows("bronze.raw_products")) == 3


@pytest.mark.nightly
def test_going_back_to_an_earlier_mapping_is_a_change_too_and_no_sighting(shop):
    shop.feed()
    shop.ingest()
    for currency in ("EUR", "USD"):
        (shop.root / "shop.yml").write_text(MAPPING.replace("USD", currency).format(name="shop"))
        assert shop.counts()["changed"] == 2
        assert {row.currency for row in shop.rows("silver.products")} == {currency}
        assert shop.counts() == {}
    assert len(shop.rows("bronze.files")) == 1
    assert {row.last_run for row in shop.rows("silver.presence")} == {"20260101-t"}


@pytest.mark.nightly
def test_two_sources_of_equal_bytes_have_books_of_their_own(shop):
    shop.feed(name="here")
    shop.feed(name="there")
    notes = shop.ingest().notes
    balanced = {"read": 2, "new": 2, "changed": 0, "unchanged": 0, "rejected": 0, "superseded": 0}
    assert notes["sources"] == {"here": balanced, "there": balanced}


@pytest.mark.nightly
def test_a_broken_source_beside_quiet_ones_does_not_refuse_the_run(shop):
    shop.feed(name="quiet")
    shop.ingest()
    shop.feed(name="broken", raw=b"")
    outcome = shop.ingest()
    assert (outcome.status, list(outcome.stopped)) == ("done", ["broken"])
    shop.feed([["1", "", "", "1", "A", "2026-01-01"]], name="broken")
    outcome = shop.ingest()
    assert (outcome.status, list(outcome.stopped)) == ("done", ["broken"])
    assert {row.source for row in shop.rows("bronze.raw_products")} == {"quiet"}


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "empty"),
        (b"id;name;ean;price;category;when\n1;a;;1;A;2026-01-01\n", "delimiter"),
        (b"id,name\n1,Shirt\n", "price"),
        (
            gzip.compress(b"id,name,ean,price,category,when\n1,Shirt,,1,A,2026-01-01\n" * 500)[:-20],
            "gzip|compressed|end",
        ),
        ("id,name,ean,price,category,when\n1,Größe,,1,A,2026-01-01\n".encode("latin-1"), "encoding|UTF-8|utf-8"),
    ],
    ids=["empty", "wrong delimiter", "missing field", "truncated gzip", "wrong encoding"],
)
def test_a_file_that_cannot_be_read_stops_its_source_and_the_others_publish(shop, raw, says):
    shop.feed(name="good")
    shop.feed(name="bad", raw=raw)
    outcome = shop.ingest()
    assert list(outcome.stopped) == ["bad"]
    assert "bad.csv" in outcome.stopped["bad"]
    import re

    assert re.search(says, outcome.stopped["bad"])
    assert {row.source for row in shop.rows("silver.products")} == {"good"}
    assert {row.source for row in shop.rows("bronze.files")} == {"good"}


@pytest.mark.nightly
def test_a_header_alone_is_a_file_of_no_records(shop):
    shop.feed(name="good")
    shop.feed([], name="void")
    outcome = shop.ingest()
    assert outcome.stopped == {}
    assert outcome.notes["sources"]["void"]["read"] == 0


def test_a_source_of_bad_rows_only_stops_and_leaves_no_trace_but_its_rejects(shop):
    shop.feed(name="good")
    shop.feed([["1", "", "", "1", "A", "2026-01-01"], ["2", "----", "", "1", "A", "2026-01-01"]], name="bad")
    outcome = shop.ingest()
    assert "all 2 records were refused" in outcome.stopped["bad"]
    assert shop.refused() == {("bad", 1): "title_missing", ("bad", 2): "title_no_letters"}
    assert {row.source for row in shop.rows("bronze.raw_products")} == {"good"}
    # Mended, the file is taken in: nothing says that it was seen before.
    shop.feed([["1", "Hat", "", "1", "A", "2026-01-01"], ["2", "----", "", "1", "A", "2026-01-01"]], name="bad")
    assert shop.counts() == {"read": 2, "new": 1, "rejected": 1}


def test_when_all_sources_are_bad_the_run_is_refused_and_tables_stay(shop):
    shop.feed()
    shop.ingest()
    before = shop.tables()
    shop.feed([["1", "", "", "1", "A", "2026-01-01"]])
    with pytest.raises(DataRefused, match="all 1 records were refused"):
        shop.ingest()
    assert shop.tables() == before
    assert shop.refused() == {("shop", 1): "title_missing"}
    assert {row.run_id: row.status for row in shop.rows("gold.runs")} == {"20260101-t": "done", "20260102-t": "refused"}


def test_an_unknown_source_or_missing_files_are_usage_errors(shop):
    shop.feed()
    shop.sources = ["nobody"]
    with pytest.raises(UsageError, match="unknown source 'nobody'"):
        _checked(shop.settings, None, ingests=True)
    shop.sources = ["shop"]
    (shop.root / "shop.csv").unlink()
    with pytest.raises(UsageError, match=r"shop\.csv"):
        _checked(shop.settings, None, ingests=True)


def test_a_stopped_source_ends_the_job_with_exit_code_3_after_publishing(shop):
    shop.feed(name="good")
    shop.feed(name="bad", raw=b"")
    with pytest.raises(DataRefused, match="source bad stopped") as caught:
        pipeline.run_job("ingest", shop.settings, Console(quiet=True), "20260101-t", force=False)
    assert caught.value.exit_code == 3
    assert {row.source for row in shop.rows("silver.products")} == {"good"}


def test_a_dump_a_workbook_and_an_archive_are_feeds_like_any_other(shop):
    """One record of each is broken, one key is repeated in the archive's second member; the books balance."""
    import zipfile

    import xlsxwriter

    def mapping(files, fmt):
        return MAPPING.replace("[{name}.csv]", files).replace("{{kind: csv}}", fmt)

    rows = ",\n".join("(" + ",".join(f"'{value}'" for value in row) + ")" for row in GOOD)
    dump = f"-- MySQL dump 10.13\nINSERT INTO `products` ({','.join(HEADER)}) VALUES {rows},\n('3','no price');\n"
    (shop.root / "nightly.sql").write_text(dump + "-- Dump completed on 2026-01-01\n")
    shop.feed(name="dump", mapping=mapping("nightly.sql", "{{kind: sql, table: products}}"))

    book = xlsxwriter.Workbook(str(shop.root / "list.xlsx"))
    sheet = book.add_worksheet("Products")
    for number, row in enumerate([HEADER, *GOOD, [], ["3", "Green hat", "", "5", "Clothes", "2026-01-01", "stray"]]):
        sheet.write_row(number, 0, row)
    book.close()
    shop.feed(name="book", mapping=mapping("list.xlsx", "{{kind: excel}}"))

    def member(rows):
        return "\r\n".join("|+|".join(row) for row in [HEADER, *rows]).encode("utf-16")

    with zipfile.ZipFile(shop.root / "feed.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a/1.txt", member([*GOOD, ["3", "too few"]]))
        packed.writestr("a/2.txt", member([["1", "Blue cotton shirt", "", "8.00", "Clothes > Shirts", "2026-01-02"]]))
        packed.writestr("read.me", "not for us")
    shop.feed(name="archive", mapping=mapping("feed.zip", '{{kind: csv, delimiter: "|+|", member: "*.txt"}}'))

    books = shop.ingest().notes["sources"]
    one_bad = {"read": 3, "new": 2, "changed": 0, "unchanged": 0, "rejected": 1, "superseded": 0}
    assert books == {"dump": one_bad, "book": one_bad, "archive": {**one_bad, "read": 4, "superseded": 1}}
    assert {(row.source, row.rule, row.line) for row in shop.rows("silver.rejected")} == {
        ("dump", "broken_record", 4),
        ("book", "broken_record", 5),
        ("archive", "broken_record", 4),
    }
    files = sorted((row.source, row.file.rpartition("/")[2], row.records_counted) for row in shop.rows("bronze.files"))
    assert files == [
        ("archive", "1.txt", 3),
        ("archive", "2.txt", 1),
        ("book", "list.xlsx", 3),
        ("dump", "nightly.sql", 3),
    ]
    prices = {(row.source, row.source_key): str(row.price) for row in shop.rows("silver.products")}
    assert prices["archive", "1"] == "8.00"
    assert prices["dump", "1"] == prices["book", "1"] == "9.99"
    assert shop.counts() == {}


def test_a_hostile_archive_stops_its_source_alone(shop):
    import zipfile

    with zipfile.ZipFile(shop.root / "feed.zip", "w") as packed:
        packed.writestr("../../evil.csv", ",".join(HEADER) + "\n")
    shop.feed(name="evil", mapping=MAPPING.replace("[{name}.csv]", "feed.zip"))
    shop.feed(name="good")
    outcome = shop.ingest()
    assert "leads out of it" in outcome.stopped["evil"]
    assert {row.source for row in shop.rows("silver.products")} == {"good"}
