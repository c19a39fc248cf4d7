"""Erasing: gone from every table, every file and the history asked for; on record; not brought back by a feed."""

import io
import json
from datetime import UTC, datetime

import pyarrow.parquet as parquet
import pytest
from rich.console import Console

from shelfmark import config, erasure, pipeline
from shelfmark.errors import UsageError
from shelfmark.ingest.normalise import product_id
from shelfmark.lake import NotFound, open_lake
from shelfmark.lake.diff import table_of
from shelfmark.pipeline import _execute
from shelfmark.query import read
from shelfmark.run import execute
from shelfmark.tables import TABLES

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
categories: {{field: category, separator: ">"}}
"""
HEADER = "id,name,ean,price,category\n"
GTIN = "4006381333931"


@pytest.fixture
def shop(spark, tmp_path):
    return Shop(spark, tmp_path)


class Shop:
    def __init__(self, spark, root):
        self.spark, self.root, self.day = spark, root, 0
        for name in ("shop", "other"):
            (root / f"{name}.yml").write_text(MAPPING.format(name=name))
        feeds = {
            "shop-1": f"1,Zanzibar cotton shirt,{GTIN},9.99,Clothes > Shirts\n2,Red wool scarf,,19.50,Clothes > Scarves\n"
            "3,Zanzibar broken,,-1.00,Clothes > Hats\n",
            "other-1": f"a,Shirt of cotton Zanzibar,{GTIN},9.50,Clothes > Shirts\nb,Oak board,,24.00,Kitchen > Boards\n",
        }
        for name, text in feeds.items():
            self.feed(name, text)
        self.settings = config.load(
            home=str(root / "home"), data=str(root), sources=["shop", "other"], source_dirs=[str(root)]
        )

    def feed(self, name, rows):
        (self.root / f"{name}.csv").write_text(HEADER + rows)

    def jobs(self, *jobs, sources=None):
        self.day += 1
        settings = self.settings.model_copy(update={"sources": sources or self.settings.sources})
        return [_execute(job, settings, self.spark, f"202601{self.day:02d}-t", False) for job in jobs]

    def erase(self, dry=False, **what):
        self.day += 1
        request = erasure.Request(why="asked to", who="tester", **what)
        screen = io.StringIO()
        pipeline.erase(request, self.settings, Console(file=screen, width=200), f"202601{self.day:02d}-e", dry)
        return screen.getvalue()

    def rows(self, name, ref="main"):
        lake = open_lake(self.settings)
        return read(self.spark, lake, lake.resolve(ref).id, name).collect()

    def text_of_main(self, names=TABLES):
        """Everything main's tables say."""
        return "".join(str(row.asDict()) for name in names for row in self.rows(name))

    def bytes_of(self, ref):
        """All files of the folders of a version, Delta's logs included, with Parquet pages read."""
        lake, found = open_lake(self.settings), ""
        for folder in lake.folders(ref):
            path = lake.read_path(ref, folder)
            if table_of(folder):
                files = [p for p in pipeline.Path(path).rglob("*.parquet") if "_delta_log" not in p.parts]
                found += "".join(str(parquet.ParquetFile(f).read().to_pylist()) for f in files)
                logs = pipeline.Path(path, "_delta_log").glob("*")
                found += "".join(p.read_text(errors="replace") for p in logs if p.suffix == ".json")
        return found


def test_products_are_named_by_id_or_by_source_and_key(tmp_path):
    ids = "0" * 32
    assert erasure.parse(f"{ids}, shop:1") == (ids, product_id("shop", "1"))
    (tmp_path / "ids").write_text(f"shop:a:b\n\n{ids}\n{ids}\n")
    assert erasure.parse(str(tmp_path / "ids")) == (product_id("shop", "a:b"), ids)
    with pytest.raises(UsageError, match=r"item 2: 'nonsense' is no product_id"):
        erasure.parse(f"{ids},nonsense")
    with pytest.raises(UsageError, match="names no product"):
        erasure.parse(",")


@pytest.mark.slow
def test_products_are_erased_everywhere_but_where_a_tag_keeps_them_and_a_feed_does_not_bring_them_back(shop):
    first = shop.jobs("ingest", "taxonomy", "dedupe", "labels")[0].commit
    open_lake(shop.settings).tag("audit", first.id)
    gone = (product_id("shop", "1"), product_id("shop", "3"))
    (group,) = [row for row in shop.rows("silver.duplicates") if row.group_size == 2 and row.survivor]
    assert "Zanzibar cotton" in shop.text_of_main()
    dry = shop.erase(dry=True, products=gone)
    assert "bronze.raw_products 2" in dry
    assert "Zanzibar cotton" in shop.text_of_main()

    (shop.root / "home" / "landing" / "other").mkdir(parents=True)
    said = shop.erase(products=gone, history_before=datetime.now(UTC))
    assert "silver.products 1" in said
    assert f"still holds it: {first.id[:10]} (tag audit)" in said
    assert not (shop.root / "home" / "landing").exists()
    text = shop.text_of_main(
        set(TABLES) - {"silver.duplicates", "silver.catalogue", "silver.leak_groups", "silver.splits"}
    )
    assert "Zanzibar cotton" not in text
    assert "Zanzibar broken" not in text
    assert not any(one in text for one in gone)
    assert "Zanzibar cotton" not in shop.bytes_of("main")
    assert "Zanzibar broken" not in shop.bytes_of("main")
    # The books' records stay, emptied; the other shirt is a product of its own now, with its golden record.
    bronze = {(r.source, r.record_number): (r.payload is None, r.problem) for r in shop.rows("bronze.raw_products")}
    assert [key for key, (empty, problem) in bronze.items() if empty and problem.startswith("erased")] == [
        ("shop", 1),
        ("shop", 3),
    ]
    other = product_id("other", "a")
    assert [(r.group_id, r.survivor, r.relation) for r in shop.rows("silver.duplicates") if r.product_id == other] == [
        (other, True, "single")
    ]
    assert [r.title for r in shop.rows("silver.catalogue") if r.group_id in (other, group.group_id)] == [
        "Shirt of cotton Zanzibar"
    ]
    assert not any(one in str((r.provenance, r.conflicts)) for one in gone for r in shop.rows("silver.catalogue"))
    assert {r.product_id for r in shop.rows("silver.splits")}.isdisjoint(gone)
    (record,) = shop.rows("silver.erasures")
    assert (record.scope, record.products, record.why, record.who) == ("products", 2, "asked to", "tester")
    assert json.loads(record.rows)["silver.products"] == 1
    assert record.remaining == [f"{first.id[:10]} (tag audit)"]
    assert not any(one in str(record.asDict()) + str(shop.rows("silver.suppressed")) for one in gone)

    # Once more: nothing to do, nothing recorded.
    assert "erased: nothing" in shop.erase(products=gone)
    assert len(shop.rows("silver.erasures")) == 1

    # A feed that brings it back, and a corrected mapping that reads bronze again: both are refused, the books balance.
    shop.feed("shop-2", f"1,Zanzibar cotton shirt,{GTIN},8.88,Clothes > Shirts\n4,Blue hat,,5.00,Clothes > Hats\n")
    (shop.root / "shop.yml").write_text(MAPPING.format(name="shop") + "missing: [nothing]\n")
    (ingested,) = shop.jobs("ingest")
    counts = {k: ingested.notes[k] for k in ("read", "new", "unchanged", "rejected")}
    assert counts == {"read": 5, "new": 1, "unchanged": 1, "rejected": 3}
    refused = [r for r in shop.rows("silver.rejected") if r.rule == "erased" and r.run_id.startswith("20260105")]
    assert sorted((r.payload, r.key, r.record_number) for r in refused) == [(None, None, n) for n in (1, 1, 3)]
    assert "Zanzibar cotton" not in shop.text_of_main()
    assert "Zanzibar cotton" not in shop.bytes_of("main")


@pytest.mark.slow
@pytest.mark.nightly
def test_a_source_is_erased_with_its_history_and_not_taken_in_until_lifted(shop):
    first = shop.jobs("ingest", "dedupe")[1].commit
    open_lake(shop.settings).tag("release-first", first.id)
    for name in ("shop", "other"):
        (shop.root / "home" / "landing" / name).mkdir(parents=True)
    said = shop.erase(source="shop", history_before=datetime.now(UTC))
    lake = open_lake(shop.settings)
    assert "bronze.raw_products 3" in said
    assert "still holds it" not in said
    assert [path.name for path in (shop.root / "home" / "landing").iterdir()] == ["other"]
    with pytest.raises(NotFound):
        lake.folders(first.id)
    with pytest.raises(NotFound):
        lake.resolve("release-first")
    assert lake.release().metadata["job"] == "erase"
    assert {r.source for r in shop.rows("silver.products")} == {"other"}
    assert {r.source for r in shop.rows("bronze.files")} == {"other"}
    assert {r.source for r in shop.rows("silver.catalogue")} == {"other"}
    everything = "".join(
        p.read_bytes().decode("latin-1") for p in (shop.root / "home" / "lake").rglob("*") if p.is_file()
    )
    assert "Red wool scarf" not in everything
    (record,) = shop.rows("silver.erasures")
    assert first.id in record.commits
    assert record.remaining == []

    shop.feed("shop-9", "9,Felt hat,,5.00,Clothes > Hats\n")
    (ingested,) = shop.jobs("ingest")
    assert "erased on request" in ingested.stopped["shop"]
    pipeline.lift(record.erasure_id, shop.settings, Console(file=io.StringIO()), "20260120-lift")
    (ingested,) = shop.jobs("ingest")
    assert ingested.stopped == {}
    assert ingested.notes["sources"]["shop"]["new"] == 3


def test_an_erasure_waits_for_no_job_that_runs_on(spark, shop):
    shop.settings = shop.settings.model_copy(update={"lock_wait": 0})
    execute("taxonomy", lambda run: None, shop.settings, spark, "20260101-t", always=True)
    from shelfmark.lake import Locked

    with open_lake(shop.settings).lock("job-ingest", "ingest 20260101-t"), pytest.raises(Locked, match="ingest"):
        shop.erase(source="shop")
