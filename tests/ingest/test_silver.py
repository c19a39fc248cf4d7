"""From bronze to current products, in Spark."""

import json
from decimal import Decimal

import pytest
from pyspark.sql import functions as F

from shelfmark.ingest import mapping, silver
from shelfmark.tables import table

MAPPING = """
description: a test feed
licence: made for this test
files: x.csv
format: {kind: csv}
key: id
region: {field: shop, map: {de: DE, fr: FR}}
language: en
updated_at: updated
missing: ["N/A"]
fields: {title: name, brand: brand, gtin: ean}
price: {field: price, currency: EUR}
categories: {field: category, separator: ">"}
attributes: {size: size}
"""

BRONZE = (
    "source string, file string, file_hash string, record_number bigint, line bigint, payload string, problem string, "
    "sequence bigint"
)
GOOD = {"id": "1", "shop": "de", "name": "Red mug", "price": "4,50", "category": "Home > Mugs", "size": "330 ml"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("sources") / "shop.yml"
    path.write_text(MAPPING)
    return mapping.read(path)


@pytest.fixture(scope="module")
def candidates(spark, source):
    def made(*records, files=None):
        """One bronze row for each record: a dict, or a reader's problem as text. `files`: sequence of each."""
        rows = []
        for number, record in enumerate(records, 1):
            sequence = files[number - 1] if files else 1
            good = isinstance(record, dict)
            payload = json.dumps({**GOOD, **record}) if good else "raw, text"
            place = (f"day{sequence}.csv", f"hash{sequence}", number, number + 1)
            rows.append(("shop", *place, payload, None if good else record, sequence))
        return silver.candidates(spark.createDataFrame(rows, BRONZE), source)

    return made


def test_a_good_record_fills_every_column_of_the_contract(candidates):
    rows = candidates({"ean": "4006381333931", "brand": "Brand: ACME®", "updated": "2026-01-02T03:04:05+01:00"})
    contract = table("silver.products")
    made = {field.name: field.dataType.simpleString() for field in rows.schema}
    expected = {f.name: f.type for f in contract.fields if f.name not in ("content_hash", "run_id")}
    assert {name: made[name] for name in expected} == expected
    assert set(made) - set(expected) == {"file", "line", "sequence", "reject_rule", "reject_reason"}
    (row,) = rows.collect()
    assert (row.source, row.source_key, row.region, row.title) == ("shop", "1", "DE", "Red mug")
    assert (row.price, row.currency, row.brand, row.gtin) == (Decimal("4.50"), "EUR", "ACME", "04006381333931")
    assert [tuple(one) for one in row.attributes] == [("size", "330", "ml")]
    assert row.category_paths == ["Home > Mugs"]
    assert row.reject_rule is None
    assert (row.file, row.file_hash, row.record_number, row.line, row.sequence) == ("day1.csv", "hash1", 1, 2, 1)
    assert rows.select(F.date_format("source_updated_at", "yyyy-MM-dd HH:mm:ss")).head()[0] == "2026-01-02 02:04:05"


def test_each_broken_record_carries_its_first_rule_and_a_reason_that_shows_the_value(candidates):
    rows = candidates(
        {"id": " "},
        {"id": "N/A"},
        {"shop": "xx"},
        {"name": "<p> </p>"},
        {"price": "ask us"},
        {"price": "1e40"},
        "broken_record: 3 fields, the header has 7",
        {"price": "-4.50"},
        {"price": None},
    ).orderBy("record_number")
    found = rows.collect()
    assert [row.reject_rule for row in found] == [
        "key_missing", "key_missing", "region_unknown", "title_missing", "price_unreadable", "price_unreadable",
        "broken_record", None, None,
    ]  # fmt: skip
    assert found[4].reject_reason == "price_unreadable: no price in price: 'ask us'"
    assert found[6].reject_reason == "broken_record: 3 fields, the header has 7"
    assert found[7].price == Decimal("-4.50"), "a negative price is for the row rules to judge"
    assert found[8].price is None


def test_half_a_surrogate_pair_in_a_field_does_not_stop_the_batch(candidates):
    rows = candidates({"name": "Mug \ud83d red", "id": "\ud83d1"}, {}).collect()
    assert [row.title for row in rows] == ["Mug red", "Red mug"]


def test_records_that_differ_only_in_category_are_one_product_with_all_paths(candidates):
    rows = silver.current(candidates({}, {"category": "Gifts > Mugs"}, {"category": " > "}, {"id": "2"})).collect()
    by_key = {row.source_key: row for row in rows}
    assert by_key["1"].category_paths == ["Gifts > Mugs", "Home > Mugs"]
    assert (by_key["1"].records, by_key["2"].records) == (3, 1)
    assert by_key["1"].record_number == 3


def test_the_last_record_of_the_last_file_wins_and_an_earlier_file_lends_no_category(candidates):
    rows = silver.current(
        candidates(
            {"category": "Old > Mugs"}, {"price": "5"}, {"price": "6", "category": "New > Mugs"}, files=[1, 2, 2]
        )
    )
    (row,) = rows.collect()
    assert (row.price, row.sequence, row.records) == (Decimal("6.00"), 2, 3)
    assert row.category_paths == ["Home > Mugs", "New > Mugs"]


def test_a_records_own_time_stamp_goes_before_file_order(candidates):
    old, new = "2026-01-01 10:00:00", "2026-03-01 10:00:00"
    (row,) = silver.current(
        candidates(
            {"updated": new, "price": "7", "category": "A > New"},
            {"updated": old, "price": "5", "category": "A > Old"},
            {"price": "9", "category": "A > None"},
            files=[1, 1, 2],
        )
    ).collect()
    assert row.price == Decimal("7.00")
    assert row.category_paths == ["A > New"], "an older listing of the same file is an older state of the product"


def test_content_hash_changes_with_the_product_and_not_with_its_place(candidates):
    def hashes(*records, files=None):
        rows = silver.current(candidates(*records, files=files)).withColumn("h", silver.content_hash())
        return [row.h for row in rows.orderBy("source_key").collect()]

    (base,) = hashes({})
    assert len(base) == 32
    assert hashes({}, {"updated": "2026-01-01"}, files=[1, 2]) == [base]
    assert hashes({"category": "B > C"}, {}) == hashes({}, {"category": "B > C"})
    variants = [
        {"name": "Blue mug"},
        {"price": "5"},
        {"category": "B"},
        {"size": "1 l"},
        {"shop": "fr"},
        {"brand": "B"},
    ]
    assert len({base, *(hashes(one)[0] for one in variants)}) == 1 + len(variants)


def test_the_same_key_in_two_sources_is_two_products(spark, source):
    other = source.model_copy(update={"name": "other"})
    bronze = spark.createDataFrame([("x", "f", "h", 1, 1, json.dumps(GOOD), None, 1)], BRONZE)
    ids = {silver.candidates(bronze, one).head().product_id for one in (source, other)}
    assert len(ids) == 2
