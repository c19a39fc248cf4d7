"""The ingest job on real feeds: exact counts over three days of one grocery, and books that balance."""

import json
import shutil
from datetime import date

import pytest

from shelfmark import config
from shelfmark.lake import open_lake
from shelfmark.pipeline import _execute
from shelfmark.query import read

pytestmark = [pytest.mark.real, pytest.mark.slow]

DAYS = ("2026-06-30", "2026-07-31", "2026-08-01")
COUNTS = {
    "2026-06-30": {"read": 3430, "new": 3430, "changed": 0, "unchanged": 0, "rejected": 0, "superseded": 0},
    "2026-07-31": {"read": 3783, "new": 33, "changed": 21, "unchanged": 3321, "rejected": 0, "superseded": 408},
    "2026-08-01": {"read": 3865, "new": 0, "changed": 0, "unchanged": 3446, "rejected": 0, "superseded": 419},
}
# Vendor fields that the mapping turns into columns of the product, its categories aside.
MAPPED = ("name", "image", "current_price", "unit", "unit_type")


def by_hand(days):
    """What the counts must be, worked out from the JSON with dictionaries: the last record of an id is current, its
    categories are those of all records of that id in the file."""
    known = {}
    for day, records in days.items():
        current, categories = {}, {}
        for record in records:
            current[record["id"]] = [record.get(name) for name in MAPPED]
            categories.setdefault(record["id"], set()).add(record["category_path"])
        counts = {
            "read": len(records),
            "new": 0,
            "changed": 0,
            "unchanged": 0,
            "rejected": 0,
            "superseded": len(records) - len(current),
        }
        for key, fields in current.items():
            now = (fields, sorted(categories[key]))
            kind = "new" if key not in known else "unchanged" if known[key] == now else "changed"
            counts[kind] += 1
            known[key] = now
        yield day, counts


@pytest.fixture(scope="module")
def three_days(spark, real_data, tmp_path_factory):
    """Notes of each day's ingest, and the settings: the files arrive one a day."""
    root = tmp_path_factory.mktemp("shwapno")
    folder = root / "feeds" / "catalogues" / "shwapno"
    folder.mkdir(parents=True)
    settings = config.load(home=str(root / "home"), data=str(root / "feeds"), sources=["shwapno"])
    notes = {}
    for day in DAYS:
        shutil.copy(real_data / "catalogues" / "shwapno" / f"{day}.json", folder)
        run_id = day.replace("-", "") + "-day"
        notes[day] = _execute("ingest", settings, spark, run_id, False).notes
        lake = open_lake(settings)
        lake.tag(f"release-{run_id}", lake.head().id)
    return settings, notes


def test_three_days_of_one_grocery_give_the_exact_counts(three_days, real_data):
    _, notes = three_days
    days = {day: json.loads((real_data / "catalogues" / "shwapno" / f"{day}.json").read_text()) for day in DAYS}
    for day, counts in by_hand(days):
        assert {name: notes[day][name] for name in counts} == counts == COUNTS[day]


def test_three_real_days_trip_no_comparison_with_the_day_before(spark, three_days):
    settings, _ = three_days
    lake = open_lake(settings)
    compared = read(spark, lake, lake.head().id, "silver.check_results").where("observed LIKE '%\"check\":%'").collect()
    assert len({row.sentence for row in compared if "skipped" not in row.observed}) >= 14
    assert [(row.run_id, row.table, row.observed) for row in compared if not row.success] == []


def test_the_same_files_again_add_nothing_and_the_absent_stay(spark, three_days):
    settings, _ = three_days
    before = open_lake(settings).folders("main")
    outcome = _execute("ingest", settings, spark, "20260802-again", False)
    assert outcome.notes["read"] == 0
    after = open_lake(settings).folders("main")
    assert {folder for folder in after if after[folder] != before.get(folder)} == {"gold/runs/ingest"}
    lake = open_lake(settings)
    presence = read(spark, lake, lake.head().id, "silver.presence")
    # Keys of the first day that no later file has: still products, last seen on the first day.
    gone = presence.where(presence.last_seen == date(2026, 6, 30)).count()
    assert read(spark, lake, lake.head().id, "silver.products").count() == 3463
    assert gone == 17
    assert presence.where(presence.last_run == "20260801-day").count() == 3446


@pytest.mark.nightly
def test_all_eight_real_feeds_are_taken_in_with_books_that_balance(spark, real_data, tmp_path):
    sources = ["amazon_in", "openfoodfacts", "lazada", "shein", "costco", "merchant_es", "shwapno", "fashion"]
    settings = config.load(home=str(tmp_path), data=str(real_data), sources=sources)
    notes = _execute("ingest", settings, spark, "20260101-all", False).notes
    read_by = {source: books["read"] for source, books in notes["sources"].items()}
    assert read_by == {
        "amazon_in": 10_930,
        "openfoodfacts": 47_872,
        "lazada": 1_000,
        "shein": 1_000,
        "costco": 1_757,
        "merchant_es": 486,
        "shwapno": 3_430 + 3_783 + 3_865,
        "fashion": 35_073,
    }
    for books in notes["sources"].values():
        assert books["read"] == sum(books[k] for k in ("new", "changed", "unchanged", "rejected", "superseded"))
    lake = open_lake(settings)
    products = read(spark, lake, lake.head().id, "silver.products")
    assert products.count() == notes["new"]
    several = products.where("source = 'amazon_in' AND size(category_paths) > 1").count()
    assert several == 806
