"""Comparisons with the last release and with other tables: each trips just beyond its threshold and not just inside."""

import json
from dataclasses import replace
from datetime import date

import pytest

from shelfmark import config
from shelfmark.errors import UsageError
from shelfmark.quality import against, definitions, suites
from shelfmark.quality.against import Sides
from shelfmark.tables import table

DAY, RUN = date(2026, 1, 2), "20260102-b"
EARLIER = "20260101-a"


def ids(n, start=0):
    return [f"{i:032x}" for i in range(start, start + n)]


def products(n, start=0, **columns):
    """Products of source `s` in US; a column may be a function of the product's number."""
    common = {"source": "s", "region": "US", "currency": "USD", "price": lambda i: 10 + i % 7, "brand": "b"}
    common |= {"category_paths": ["Food > Rice"], **columns}
    return [
        {"product_id": product_id, **{k: v(i) if callable(v) else v for k, v in common.items()}}
        for i, product_id in enumerate(ids(n, start), start)
    ]


def frame(spark, name, rows):
    contract = table(name)
    assert not rows or set().union(*rows) <= set(contract.columns)
    from pyspark.sql.types import StructType, _parse_datatype_string

    schema = _parse_datatype_string(contract.ddl)
    assert isinstance(schema, StructType)
    from decimal import Decimal

    decimals = {f.name for f in contract.fields if f.type.startswith("decimal")}
    tuples = [
        tuple(
            Decimal(str(row[c])) if c in decimals and row.get(c) is not None else row.get(c) for c in contract.columns
        )
        for row in rows
    ]
    return spark.createDataFrame(tuples, contract.ddl)


def results(spark, name, now, was=None, only=None, sources=("s",), accepted=None):
    """Results of a table's comparisons by check. now, was: {table: rows} on the branch and at the release, or rows."""
    now = now if isinstance(now, dict) else {name: now}
    was = {name: was} if isinstance(was, list) else was

    def side(tables):
        return lambda wanted: frame(spark, wanted, tables.get(wanted, []))

    suite = definitions.load(name)
    if only:
        suite = replace(suite, comparisons=tuple(e for e in suite.comparisons if e.check in only))
    sides = Sides(
        now.__contains__, side(now), side(was) if was is not None else None, "c0", RUN, DAY, sources, accepted or {}
    )
    return {json.loads(r.observed)["check"]: r for r in against.compare(spark, suite, sides)}


def failed(*args, **kwargs):
    """{check: its examples} of the checks that do not hold."""
    said = results(*args, **kwargs)
    return {
        check: list(map(json.loads, json.loads(r.observed)["examples"])) for check, r in said.items() if not r.success
    }


# -- silver.products ------------------------------------------------------------------------------------------------

HUNDRED = products(100)


def cents(i):
    return (10 + i % 7) * 100


def brands(n):
    return products(100, brand=lambda i: "b" if i < n else None)


def markets(n, of):
    return products(of, region=lambda i: "US" if i < n else "MY")


def dearer(times, after=0):
    return products(200, price=lambda i: (1 + i) * (times if i >= after else 1))


def in_euros(n):
    return products(100, currency=lambda i: "EUR" if i < n else "USD")


def toys(n):
    return products(200, category_paths=lambda i: ["Toys"] if i < n else ["Food > Tea"])


# What a source has now, what it had in the last release, the checks that see it.
SOURCES = {
    "more than half of the products gone": (products(49), HUNDRED, {"volume", "keys", "keys_some"}),
    "half of them gone": (products(50), HUNDRED, {"keys_some"}),
    "tiny, and nearly all gone": (products(9), products(49), set()),
    "as many, most by other keys": (products(100, 51), HUNDRED, {"keys", "keys_some"}),
    "as many, a tenth by other keys": (products(100, 10), HUNDRED, set()),
    "nearly twice as many": (products(361), products(200), {"growth"}),
    "many more": (products(360), products(200), set()),
    "small, and ten times as many": (products(199), products(20), set()),
    "a small market lost a fifth": (markets(119, 300), markets(150, 300), set()),
    "a market lost over a fifth": (markets(239, 600), markets(300, 600), {"growth"}),
    "a column came empty": (brands(5), brands(50), {"lost_column", "filled"}),
    "a column is nearly empty": (brands(6), brands(50), {"filled"}),
    "a column has less": (brands(31), brands(50), set()),
    "a column has much more": (brands(71), brands(50), {"filled"}),
    "tiny, and a column came empty": (products(49, brand=None), products(49), set()),
    "prices a hundred times as high": (products(30, price=cents), products(30), {"prices"}),
    "prices a tenth": (products(30, price=lambda i: (10 + i % 7) / 10), products(30), {"prices"}),
    "prices four times as high": (products(30, price=lambda i: (10 + i % 7) * 4), products(30), set()),
    "few prices, a hundred times as high": (products(29, price=cents), products(29), set()),
    "prices doubled": (dearer(2), dearer(1), {"price_shift"}),
    "prices a fifth higher": (dearer(1.2), dearer(1), set()),
    "two prices in five a hundred times as high": (dearer(100, after=120), dearer(1), {"price_shift"}),
    "most prices in other money": (in_euros(51), HUNDRED, {"currency"}),
    "half of the prices in other money": (in_euros(50), HUNDRED, set()),
    "categories moved": (toys(61), toys(0), {"categories"}),
    "some categories moved": (toys(60), toys(0), set()),
}


def of_source(number, source, rows):
    return [row | {"source": source, "product_id": f"{number:08x}{row['product_id'][8:]}"} for row in rows]


def test_products_against_the_last_release(spark):
    now, was = [], []
    for number, (source, (rows, before, _)) in enumerate(SOURCES.items()):
        now += of_source(number, source, rows)
        was += of_source(number, source, before)
    said = failed(spark, "silver.products", now, was, sources=tuple(SOURCES))
    seen_by = {
        source: {check for check, rows in said.items() if source in {r["source"] for r in rows}} for source in SOURCES
    }
    assert seen_by == {source: expected for source, (_, _, expected) in SOURCES.items()}


def test_a_person_understands_what_a_check_observed(spark):
    now = products(100, price=lambda i: (10 + i % 7) * 100, brand=None)
    said = failed(spark, "silver.products", now, HUNDRED)
    (price,) = said["prices"]
    assert (price["source"], price["region"], price["currency"]) == ("s", "US", "USD")
    assert (price["was_products"], price["now_products"]) == (100, 100)
    assert price["times"] == pytest.approx(100, rel=0.13)
    assert price["was_median"] == pytest.approx(13, rel=0.07)
    assert said["lost_column"] == [
        {"source": "s", "field": "brand", "was_filled": 1.0, "now_filled": 0.0, "products": 100}
    ]


def test_first_run_new_source_removed_source_and_a_subset_of_sources_do_not_fail(spark):
    other = products(100, 1000, source="t", region="MY", currency="MYR", price=500, category_paths=["X"])
    first = results(spark, "silver.products", HUNDRED)
    assert all(r.success for r in first.values())
    assert {json.loads(r.observed).get("skipped") for r in first.values()} == {
        "there is no release yet to compare with"
    }
    assert failed(spark, "silver.products", [*HUNDRED, *other], HUNDRED, sources=("s", "t")) == {}, "a new source"
    assert failed(spark, "silver.products", HUNDRED, [*HUNDRED, *other], sources=("s",)) == {}, "a removed source"
    assert failed(spark, "silver.products", [*HUNDRED, *other], [*HUNDRED, *other], sources=("t",)) == {}, "a subset"
    gone = failed(spark, "silver.products", HUNDRED, [*HUNDRED, *other], sources=("s", "t"))
    assert gone["volume"] == [{"source": "t", "was": 100, "now": 0, "change": -1.0}]
    assert failed(spark, "silver.products", HUNDRED, []) == {}, "a release without the table"


# -- other tables of ingest -----------------------------------------------------------------------------------------


def file(n, records, run=RUN, rejected=0, source="s"):
    return {"source": source, "file": f"{n}.csv", "file_hash": f"{n:064x}", "mapping_hash": "m", "records_read": records,
            "rejected": rejected, "run_id": run}  # fmt: skip


def test_feed_files_against_those_before(spark):
    fresh = {
        "short": (99, 0, {"feed_size"}),
        "just long enough": (100, 0, set()),
        "long": (900, 0, set()),
        "too long": (901, 0, {"feed_size"}),
        "empty": (0, 0, {"feed_size"}),
        "many refused": (200, 31, {"refusals"}),
        "some refused": (200, 29, set()),
    }
    before = [
        file(n, size, EARLIER, refused, name) for name in fresh for n, size, refused in ((1, 200, 0), (2, 300, 25))
    ]
    now = [file(3, records, RUN, refused, name) for name, (records, refused, _) in fresh.items()]
    said = failed(spark, "bronze.files", [*before, *now, file(3, 0, source="new")], before)
    assert {name: {check for check, rows in said.items() if name in {r["source"] for r in rows}} for name in fresh} == {
        name: expected for name, (_, _, expected) in fresh.items()
    }
    assert "new" not in {row["source"] for rows in said.values() for row in rows}


def test_bronze_holds_what_the_books_count(spark):
    raw = [{"source": "s", "file_hash": f"{1:064x}", "record_number": i, "run_id": RUN} for i in range(5)]
    books = {"bronze.raw_products": raw, "bronze.files": [file(1, 5)]}
    assert failed(spark, "bronze.raw_products", books) == {}
    (off,) = failed(spark, "bronze.raw_products", books | {"bronze.files": [file(1, 6)]})["books"]
    assert (off["in_books"], off["in_bronze"]) == (6, 5)
    assert set(failed(spark, "bronze.raw_products", books | {"bronze.files": []})) == {"books"}
    said = results(spark, "bronze.raw_products", {"bronze.raw_products": raw})["books"]
    assert (said.success, json.loads(said.observed)["skipped"]) == (True, "bronze.files is not there yet")


def seen(n, last, start=0, first=EARLIER):
    return [
        {"product_id": i, "source": "s", "region": "US", "first_run": first, "last_run": last} for i in ids(n, start)
    ]


def test_products_missing_from_a_feed(spark):
    feeds = {
        "cut off": (69, seen(100, "20260101-z"), True),
        "most of them there": (70, seen(100, "20260101-z"), False),
        "small": (10, seen(99, "20260101-z"), False),
        # One feed only so far: it cannot be told whether it is a snapshot or what has changed.
        "one feed": (10, seen(100, EARLIER), False),
        "sends what has changed": (10, [*seen(40, "20260101-z"), *seen(160, EARLIER, 40)], False),
    }
    now, was = [], []
    for number, (source, (still, rows, _)) in enumerate(feeds.items()):
        before = of_source(number, source, rows)
        was += before
        now += [row | {"last_run": RUN if i < still else row["last_run"]} for i, row in enumerate(before)]
    said = failed(spark, "silver.presence", now, was, only={"seen"})["seen"]
    assert {row["source"] for row in said} == {source for source, (_, _, expected) in feeds.items() if expected}
    assert (said[0]["was"], said[0]["still_there"], said[0]["share_gone"]) == (100, 69, 0.31)


def test_presence_and_products_are_of_the_same_products(spark):
    there = {"silver.presence": seen(5, RUN), "silver.products": products(5)}
    assert failed(spark, "silver.presence", there) == {}
    (few,) = failed(spark, "silver.presence", there | {"silver.presence": seen(4, RUN)})["products"]
    assert (few["seen"], few["products"], few["difference"]) == (4, 5, "1 too few")
    (other,) = failed(spark, "silver.presence", there | {"silver.presence": seen(5, RUN, 1)})["products"]
    assert other["difference"] == "as many, but not the same"


# -- taxonomy, labels, splits ---------------------------------------------------------------------------------------


def categories(n, version="v1", start=0):
    return [
        {"taxonomy_version": version, "category_id": f"c{i}", "path": f"C{i}", "depth": 1}
        for i in range(start, start + n)
    ]


def test_categories_that_are_gone(spark):
    assert failed(spark, "silver.taxonomy", categories(20, "v2", 4), categories(20)) == {}
    (gone,) = failed(spark, "silver.taxonomy", categories(20, "v2", 5), categories(20))["categories"]
    assert (gone["was"], gone["gone"], gone["now"], gone["example_gone"]) == (20, 5, 20, "C0")
    assert failed(spark, "silver.taxonomy", categories(1), categories(19)) == {}


def mapped(path, category, products=100, source="s"):
    return {"source": source, "source_path": path, "taxonomy_version": "v1", "category_id": category, "products": products,
            "origin": "file"}  # fmt: skip


def test_a_map_to_no_category_and_a_map_that_lost_its_source(spark):
    taxonomy = {"silver.taxonomy": categories(2)}
    was = [mapped("a", "c0", 80), mapped("b", "c1", 20)]
    assert failed(spark, "silver.category_map", taxonomy | {"silver.category_map": was}, was) == {}
    (broken,) = failed(
        spark, "silver.category_map", taxonomy | {"silver.category_map": [*was, mapped("d", "c9", 0)]}, was
    )["taxonomy"]
    assert broken == {"source": "s", "taxonomy_version": "v1", "paths": 1, "example": "d"}
    fewer = [mapped("a", "c0", 89), mapped("b", None, 11)]
    assert failed(spark, "silver.category_map", taxonomy | {"silver.category_map": fewer}, was).keys() == {"mapped"}
    inside = [mapped("a", "c0", 91), mapped("b", None, 9)]
    assert failed(spark, "silver.category_map", taxonomy | {"silver.category_map": inside}, was) == {}


def label(product_id, category="c0", version="v1", origin="source"):
    return {
        "product_id": product_id,
        "category_id": category,
        "taxonomy_version": version,
        "origin": origin,
        "who": "s",
    }


def test_labels_of_products_and_categories_that_are_not_there(spark):
    tables = {"silver.taxonomy": categories(2), "silver.products": products(60)}
    was = [label(i) for i in ids(60)]
    assert failed(spark, "silver.labels", tables | {"silver.labels": was[:30]}, was) == {}
    assert failed(spark, "silver.labels", tables | {"silver.labels": was[:29]}, was)["volume"] == [
        {"origin": "source", "was": 60, "now": 29, "change": -0.517}
    ]
    wrong = [
        *was,
        label(ids(1, 99)[0]),
        label(ids(1)[0], "c9"),
        label(ids(1)[0], "c1", "v0"),
        label("x", "c9", "v0", "person"),
    ]
    said = failed(spark, "silver.labels", tables | {"silver.labels": wrong}, was)
    assert said["products"] == [{"who": "s", "labels": 1, "example": ids(1, 99)[0]}]
    assert {(v["origin"], v["taxonomy_version"], v["example"]) for v in said["taxonomy"]} == {
        ("source", "v1", "c9"),
        ("source", "v0", "c1"),
    }
    assert set(said) == {"products", "taxonomy"}


def side(product_id, group, side):
    return {"product_id": product_id, "leak_group": group, "side": side}


def test_splits_cover_all_products_and_nothing_comes_back_from_test(spark):
    a, b, c = ids(3)
    groups = [{"product_id": a, "leak_group": a}, {"product_id": b, "leak_group": a}]
    good = [side(a, a, "test"), side(b, a, "test"), side(c, c, "train")]
    was = [side(a, a, "train"), side(b, a, "test"), side(c, c, "train")]
    assert failed(spark, "silver.splits", {"silver.splits": good, "silver.leak_groups": groups}, was) == {}
    back = [side(a, a, "train"), side(b, a, "train"), side(c, c, "train")]
    assert failed(spark, "silver.splits", {"silver.splits": back, "silver.leak_groups": groups}, was) == {
        "moved": [{"was": "test", "now": "train", "products": 1, "example": b}]
    }
    other = failed(spark, "silver.splits", {"silver.splits": [side(a, c, "test")], "silver.leak_groups": groups}, [])
    assert {v["problem"] for v in other["products"]} == {"no side", "side of another leak group"}


# -- dedupe ---------------------------------------------------------------------------------------------------------


def groups(n, leader, start=0):
    return [{"product_id": i, "leak_group": leader or i} for i in ids(n, start)]


def test_leak_groups_of_all_products_and_none_that_swallows_the_table(spark):
    one = ids(1)[0]
    for size, expected in ((200, {"largest"}), (199, set())):
        rows = [*groups(size, one), *groups(1000, None, size)]
        now = {"silver.leak_groups": rows, "silver.products": products(len(rows))}
        assert set(failed(spark, "silver.leak_groups", now)) == expected
    assert set(
        failed(spark, "silver.leak_groups", {"silver.leak_groups": groups(3, None), "silver.products": products(4)})
    ) == {"products"}


def duplicates(n, same):
    return [
        {
            "product_id": i,
            "region": "US",
            "group_id": ids(1)[0] if k < same else i,
            "relation": "same" if k < same else "single",
        }
        for k, i in enumerate(ids(n))
    ]


def test_a_market_that_merges_more_than_before(spark):
    now = [
        row | {"region": region} for region, same in (("A", 51), ("B", 50), ("C", 0)) for row in duplicates(200, same)
    ]
    was = [row | {"region": region} for region in "ABC" for row in duplicates(200, 20)]
    said = failed(spark, "silver.duplicates", now, was, only={"merged"})["merged"]
    assert [(row["region"], row["was_merged"], row["now_merged"]) for row in said] == [("A", 0.1, 0.255)]


def test_duplicates_of_products_that_are_not_there(spark):
    now = {"silver.duplicates": duplicates(5, 0), "silver.products": products(5, region=lambda i: "US" if i else "MY")}
    assert {v["region"] for v in failed(spark, "silver.duplicates", now)["products"]} == {"US", "MY"}


def golden(n, start=0, members=1):
    return [{"group_id": i, "region": "US", "product_id": i, "source": "s", "members": members} for i in ids(n, start)]


def test_golden_records_against_the_last_release(spark):
    regions = {
        "A": (49, 100, {"volume"}),
        "B": (50, 100, set()),
        "C": (139, 200, {"groups_gone"}),
        "D": (140, 200, set()),
    }
    now = [row | {"region": region} for region, (n, _, _) in regions.items() for row in golden(n)]
    was = [row | {"region": region} for region, (_, n, _) in regions.items() for row in golden(n)]
    said = failed(spark, "silver.catalogue", now, was, only={"volume", "groups_gone"})
    assert {
        region: {check for check, rows in said.items() if region in {r["region"] for r in rows}} for region in regions
    } == {region: expected for region, (_, _, expected) in regions.items()}


def test_golden_records_follow_from_the_duplicate_groups(spark):
    tables = {"silver.duplicates": duplicates(5, 2), "silver.products": products(5)}
    good = [golden(1, 0, 2)[0], *golden(3, 2)]
    assert failed(spark, "silver.catalogue", tables | {"silver.catalogue": good}) == {}
    (few,) = failed(spark, "silver.catalogue", tables | {"silver.catalogue": good[1:]})["duplicates"]
    assert few == {"region": "US", "golden_records": 3, "members": 3, "groups": 4, "products": 5}
    gone = failed(spark, "silver.catalogue", tables | {"silver.catalogue": good, "silver.products": products(4)})
    assert gone == {"products": [{"region": "US", "golden_records": 1, "example": ids(1, 4)[0]}]}


# -- models, predictions, metrics -----------------------------------------------------------------------------------


def model(line, version="m", f1=0.8, taxonomy="v1", champion=True, rows=200):
    return {"model": line, "model_version": version, "taxonomy_version": taxonomy, "champion": champion,
            "metrics": json.dumps({"macro_f1": f1, "rows": rows})}  # fmt: skip


def test_a_champion_of_another_taxonomy_or_much_worse_than_the_last(spark):
    now = [
        model("good", "b", 0.751),
        model("worse", "b", 0.749),
        model("hardly measured", "b", 0.1, rows=199),
        model("of another taxonomy", "b", 0.9, taxonomy="v0"),
        model("dethroned", "a", 0.1, taxonomy="v0", champion=False),
    ]
    was = [model(row["model"], "a") for row in now]
    said = failed(spark, "gold.models", {"gold.models": now, "silver.taxonomy": categories(2)}, was)
    assert said == {
        "quality": [{"model": "worse", "was": "a", "now": "b", "was_macro_f1": 0.8, "now_macro_f1": 0.749}],
        "taxonomy": [{"model": "of another taxonomy", "model_version": "b", "taxonomy_version": "v0"}],
    }


def predicted(n, category, run=RUN, day=DAY, decision="accept", version="m", start=0):
    return [
        {"product_id": p, "region": "US", "model": "text", "model_version": version, "run_id": run, "run_date": day,
         "taxonomy_version": "v1", "category_id": category(i) if callable(category) else category,
         "decision": decision(i) if callable(decision) else decision}
        for i, p in enumerate(ids(n, start), start)
    ]  # fmt: skip


TODAY = {
    "silver.taxonomy": categories(3),
    "gold.models": [model("text")],
    "silver.catalogue": golden(200),
}
YESTERDAY = predicted(200, "c0", EARLIER, date(2026, 1, 1))


def test_predictions_against_those_of_the_last_release(spark):
    def moved(n):
        return predicted(200, lambda i: "c1" if i < n else "c0")

    def to_review(n):
        return predicted(200, "c0", decision=lambda i: "review" if i < n else "accept")

    regions = {
        "A": (moved(121), {"collapse", "category_shift"}),
        "B": (moved(120), {"category_shift"}),
        "C": (moved(41), {"category_shift"}),
        "D": (moved(40), set()),
        "E": (to_review(41), {"decisions"}),
        "F": (to_review(40), set()),
    }
    now = [row | {"region": region} for region, (rows, _) in regions.items() for row in rows]
    was = [row | {"region": region} for region in regions for row in YESTERDAY]
    tables = TODAY | {"gold.predictions": [*was, *now]}
    said = failed(spark, "gold.predictions", tables, was, only={"collapse", "category_shift", "decisions"})
    assert {
        region: {check for check, rows in said.items() if region in {r["region"] for r in rows}} for region in regions
    } == {region: expected for region, (_, expected) in regions.items()}
    (worst,) = said["collapse"]
    assert (worst["moved"], worst["most_grown"], worst["most_shrunk"]) == (0.605, "C1", "C0")


def test_another_taxonomy_or_other_products_are_no_shift(spark):
    was = predicted(200, "old", EARLIER, date(2026, 1, 1))
    now = predicted(200, "c1")
    assert failed(spark, "gold.predictions", TODAY | {"gold.predictions": [*was, *now]}, was) == {}
    others = TODAY | {"silver.catalogue": golden(200, 200), "gold.predictions": predicted(200, "c1", start=200)}
    assert failed(spark, "gold.predictions", others, YESTERDAY) == {}


def test_predictions_refer_to_golden_records_categories_and_models(spark):
    said = failed(spark, "gold.predictions", TODAY | {"gold.predictions": predicted(199, "c0")})
    assert said["catalogue"][0]["difference"] == "1 too few"
    twice = TODAY | {"gold.predictions": predicted(200, lambda i: "c9" if i == 7 else "c0", version="lost")}
    said = failed(spark, "gold.predictions", twice)
    assert said == {
        "taxonomy": [{"region": "US", "taxonomy_version": "v1", "predictions": 1, "example": "c9"}],
        "models": [{"model": "text", "model_version": "lost", "predictions": 200}],
    }


def figure(region, value, low, high, run=RUN, day=DAY, support=30):
    return {"model": "text", "region": region, "level": "leaf", "category_id": "*", "metric": "accuracy", "value": value,
            "low": low, "high": high, "support": support, "run_id": run, "run_date": day}  # fmt: skip


def test_accuracy_against_the_last_release(spark):
    now = [
        figure("fell", 0.7, 0.6, 0.79),
        figure("may be chance", 0.7, 0.6, 0.81),
        figure("hardly measured", 0.5, 0.4, 0.6, support=29),
        figure("better", 0.99, 0.98, 1.0),
    ]
    was = [figure(row["region"], 0.9, 0.8, 0.95, EARLIER, date(2026, 1, 1)) for row in now]
    said = failed(spark, "gold.metrics", [*was, *now], was)
    assert [row["region"] for row in said["quality"]] == ["fell"]
    assert set(said) == {"quality"}


# -- how a check is written and told ---------------------------------------------------------------------------------


def test_examples_are_the_worst_and_few_and_all_are_counted(spark):
    was = [row for n in range(15) for row in products(50 + n, n * 100, source=f"s{n:02}")]
    said = results(
        spark, "silver.products", products(1), was, only={"volume"}, sources=tuple(f"s{n:02}" for n in range(15))
    )
    observed = json.loads(said["volume"].observed)
    assert observed["broken"] == 15
    assert len(observed["examples"]) == suites.EXAMPLES
    assert observed["release"] == "c0"
    assert observed["accept"] == "--accept silver.products:volume"


def test_an_accepted_check_is_told_as_a_warning_with_who_accepted_it(spark):
    said = results(spark, "silver.products", products(40), HUNDRED, accepted={"silver.products:volume": "ana"})
    volume, keys = said["volume"], said["keys"]
    assert (volume.success, volume.severity, json.loads(volume.observed)["accepted_by"]) == (False, "warning", "ana")
    assert (keys.success, keys.severity) == (False, "critical")
    assert [json.loads(r.observed)["check"] for r in suites.refused(list(said.values()))] == ["keys"]


def test_only_checks_that_there_are_can_be_accepted():
    assert against.accepted([], "ana") == {}
    assert against.accepted(["silver.products:volume"], "ana") == {"silver.products:volume": "ana"}
    assert against.accepted(["silver.products:volume"])["silver.products:volume"]
    with pytest.raises(
        UsageError, match=r"--accept silver\.products:volumes: there is no such check; .*silver\.products:volume"
    ):
        against.accepted(["silver.products:volumes"])


def test_a_check_cannot_be_accepted_for_ever(tmp_path, monkeypatch):
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "base.yml").write_text("accept: ['silver.products:volume']\n")
    monkeypatch.setattr(config, "resource", lambda *parts: tmp_path.joinpath(*parts))
    with pytest.raises(UsageError, match=r"base\.yml: accept: .*--accept TABLE:CHECK"):
        config.load()


def suite_of(tmp_path, query, views=None, **meta):
    content = {
        "name": "silver.splits",
        "meta": {"views": views or {}},
        "expectations": [
            {
                "type": "unexpected_rows_expectation",
                "kwargs": {"unexpected_rows_query": query},
                "severity": "critical",
                "meta": {"sentence": "At most {most:.0%}.", "check": "c", "thresholds": {"most": 0.5}} | meta,
            }
        ],
    }
    path = tmp_path / "silver.splits.json"
    path.write_text(json.dumps(content))
    return definitions.load("silver.splits", path)


def test_numbers_of_a_check_are_in_its_sentence(tmp_path):
    (e,) = suite_of(tmp_path, "SELECT * FROM {batch} WHERE 1 > {most}").comparisons
    assert (e.sentence, e.check) == ("At most 50%.", "c")


@pytest.mark.parametrize(
    ("query", "meta", "views", "said"),
    [
        ("SELECT * FROM {silver.nothing}", {}, {}, r"expectation 1 \(c\): \{silver.nothing\} is unknown"),
        ("SELECT {least} FROM {batch}", {}, {}, r"\{least\} is unknown"),
        ("SELECT * FROM {batch.x}", {}, {"x": "SELECT 1 FROM {release}"}, r"\{batch.x\} is unknown"),
        ("SELECT * FROM {x}", {}, {"x": "SELECT 1 FROM {y}"}, r"meta.views.x: \{y\} is unknown"),
        ("SELECT * FROM {batch}", {"check": "Big Jump"}, {}, "meta.check 'Big Jump'"),
        ("SELECT * FROM {batch}", {"thresholds": {"most": "half"}}, {}, "meta.thresholds"),
        ("SELECT * FROM {batch}", {"thresholds": {"least": 1}}, {}, "meta.sentence names 'most'"),
        ("SELECT * FROM {release}", {"check": None, "thresholds": {}}, {}, "or it needs a meta.check"),
        ("SELECT * FROM {batch}", {}, {"x": 1}, "meta.views"),
    ],
)
def test_a_check_that_is_written_wrong_is_told_before_spark_starts(tmp_path, query, meta, views, said):
    with pytest.raises(UsageError, match=rf"silver\.splits\.json.*{said}"):
        suite_of(tmp_path, query, views, **meta)


def test_sql_that_spark_refuses_names_file_and_check(spark, tmp_path):
    suite = suite_of(tmp_path, "SELECT nope FROM {batch}")
    sides = Sides(lambda name: True, lambda name: frame(spark, name, []), None, None, RUN, DAY)
    with pytest.raises(UsageError, match=r"silver\.splits\.json: check c: Spark refuses its SQL: .*nope"):
        against.compare(spark, suite, sides)
    suite = suite_of(tmp_path, "SELECT assert_true(false) FROM (SELECT count(*) FROM {batch})")
    with pytest.raises(UsageError, match=r"silver\.splits\.json: its checks could not be evaluated"):
        against.compare(spark, suite, sides)


def test_nothing_is_left_behind_in_the_session(spark):
    cached = set(spark.sparkContext._jsc.getPersistentRDDs())
    before = {row.viewName for row in spark.sql("SHOW VIEWS").collect()}
    failed(spark, "silver.products", HUNDRED, HUNDRED)
    assert {row.viewName for row in spark.sql("SHOW VIEWS").collect()} == before
    assert set(spark.sparkContext._jsc.getPersistentRDDs()) <= cached


def test_great_expectations_gives_the_same_verdict_once_the_names_are_filled_in(spark, tmp_path):
    """A check without views is SQL that Great Expectations could run: what is broken here is broken there."""
    rows = [side(i, i, "train") for i in ids(3)]
    was = frame(spark, "silver.splits", [side(i, i, "test" if n else "train") for n, i in enumerate(ids(3))])
    was.createOrReplaceTempView("released_splits")
    query = next(e for e in definitions.load("silver.splits").comparisons if e.check == "moved").kwargs[
        "unexpected_rows_query"
    ]
    path = tmp_path / "silver.splits.json"
    for released, holds in (("released_splits", False), ("(SELECT * FROM released_splits WHERE side = 'train')", True)):
        content = {
            "name": "silver.splits",
            "expectations": [
                {
                    "type": "unexpected_rows_expectation",
                    "kwargs": {"unexpected_rows_query": query.replace("{release}", released)},
                    "severity": "critical",
                    "meta": {"sentence": "Nothing comes back."},
                }
            ],
        }
        path.write_text(json.dumps(content))
        (theirs,) = suites.validate(
            frame(spark, "silver.splits", rows), "silver.splits", definitions.load("silver.splits", path)
        )
        now = {"silver.splits": rows}
        ours = results(spark, "silver.splits", now, [r.asDict() for r in spark.sql(f"SELECT * FROM {released}").collect()],
                       only={"moved"})["moved"]  # fmt: skip
        assert theirs.success == ours.success == holds
        assert json.loads(theirs.observed).get("broken", 0) == json.loads(ours.observed)["broken"]
    spark.catalog.dropTempView("released_splits")
