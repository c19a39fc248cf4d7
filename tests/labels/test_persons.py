"""What people said, on small frames: the newest word holds, on all records of a product; samples that anyone can check."""

from datetime import datetime

import pytest
from pyspark.sql import functions as F

from shelfmark.labels import examples, persons, sample
from shelfmark.labels.sample import Design
from shelfmark.tables import table

TAXONOMY = [("t2", "boots", "Shoes > Boots"), ("t2", "socks", "Socks")]


def said(spark, *words):
    """silver.reviews of words (product, verdict, category, day[, share])."""
    contract = table("silver.reviews")
    rows = []
    for product, verdict, category, day, *share in words:
        row = {
            "product_id": product, "verdict": verdict, "category_id": category, "reviewed_by": "ann",
            "taxonomy_version": "t1" if category else None, "inclusion_probability": share[0] if share else 1.0,
            "sample_seed": 1 if share else None, "sample_regions": "*" if share else None,
            "reviewed_at": datetime(2026, 1, day), "run_id": f"r{day}", "run_date": datetime(2026, 1, day).date(),
        }  # fmt: skip
        rows.append(tuple(row.get(column) for column in contract.columns))
    return spark.createDataFrame(rows, contract.ddl)


def frames(spark, groups):
    duplicates = spark.createDataFrame(
        [(p, g) for g, ps in groups.items() for p in ps], "product_id string, group_id string"
    )
    return duplicates, spark.createDataFrame(TAXONOMY, "taxonomy_version string, category_id string, path string")


def spoken(spark, reviews, groups):
    rows = persons.words(reviews, *frames(spark, groups)).collect()
    return {r.product_id: (r.verdict, r.category_id, r.inclusion_probability) for r in rows}


def test_the_newest_word_holds_for_all_records_of_a_product(spark):
    reviews = said(
        spark,
        ("a", "ok", "boots", 1), ("a", "other", "socks", 2),  # corrected
        ("b", "ok", "boots", 1), ("b", "withdrawn", None, 2),  # taken back
        ("c", "out_of_scope", None, 1),
        ("d", "ok", "gone", 1),  # a category that the taxonomy does not have any more
        ("e", "ok", "boots", 1), ("f", "other", "socks", 2),  # two records of one product: the newest word of both
        ("g", "ok", "boots", 1, 0.1), ("g", "other", "socks", 2),  # drawn once: kept for measuring
    )  # fmt: skip
    groups = {"a": ["a", "a2"], "b": ["b"], "c": ["c", "c2"], "d": ["d"], "e": ["e", "f", "f2"], "h": ["h"]}
    assert spoken(spark, reviews, groups) == {
        "a": ("other", "socks", 1.0), "a2": ("other", "socks", 1.0),
        "c": ("out_of_scope", None, 1.0), "c2": ("out_of_scope", None, 1.0),
        "e": ("other", "socks", 1.0), "f": ("other", "socks", 1.0), "f2": ("other", "socks", 1.0),
        "g": ("other", "socks", 0.1),  # dedupe does not know it yet
    }  # fmt: skip
    held = persons.labels(persons.held(reviews)).collect()
    assert {(r.product_id, r.category_id, r.origin, r.who, r.primary, r.weight) for r in held} == {
        (product, category, "person", "ann", True, 1.0)
        for product, category in (("a", "socks"), ("d", "gone"), ("e", "boots"), ("f", "socks"), ("g", "socks"))
    }


def test_people_go_first_and_what_was_drawn_is_not_learnt_from(spark):
    contract = table("silver.labels")
    at = datetime(2026, 1, 1)
    labels = spark.createDataFrame(
        [(p, "boots", "t2", "source", "shop", True, 1.0, 1.0, at, "r") for p in "abcd"]
        + [("a", "socks", "t1", "person", "ann", True, 1.0, 1.0, at, "r")],
        contract.ddl,
    )
    reviews = said(spark, ("a", "other", "socks", 1), ("b", "out_of_scope", None, 1), ("c", "other", "socks", 1, 0.1))
    words = persons.words(reviews, *frames(spark, {}))
    truth = {(r.product_id, r.category_id, r.taxonomy_version) for r in persons.first(labels, words).collect()}
    assert truth == {("a", "socks", "t2"), ("c", "socks", "t2"), ("d", "boots", "t2")}
    learnt = {(r.product_id, r.category_id) for r in persons.first(labels, persons.teaching(words)).collect()}
    assert learnt == {("a", "socks"), ("c", "boots"), ("d", "boots")}
    # Whoever gives silver.labels as it is learns from no drawn row either.
    catalogue = spark.createDataFrame([(p,) for p in "abcd"], "product_id string")
    for column in examples.READ:
        catalogue = catalogue.withColumn(column, F.lit(None).cast("string"))
    splits = catalogue.select("product_id", F.lit("train").alias("side"), F.col("product_id").alias("leak_group"))
    rows = examples.labelled(catalogue, persons.first(labels, words), splits).collect()
    assert {(r.product_id, r.category_id) for r in rows} == {("a", "socks"), ("d", "boots")}


@pytest.fixture(scope="module")
def golden(spark):
    rows = spark.range(20_000).select(
        F.concat(F.lit("p"), "id").alias("product_id"),
        F.concat(F.lit("g"), "id").alias("group_id"),
        F.when(F.col("id") % 4 == 0, "MY").otherwise("SG").alias("region"),
    )
    return rows.cache()


def test_a_sample_has_its_share_does_not_depend_on_partitions_and_grows(golden):
    def drawn(*designs, rows=golden):
        return {r.group_id for r in rows.where(sample.drawn(designs)).collect()}

    small, large = drawn(Design(1, 0.05)), drawn(Design(1, 0.2))
    assert len(small) == pytest.approx(1000, abs=4 * 31)
    assert len(large) == pytest.approx(4000, abs=4 * 57)
    assert small < large
    assert drawn(Design(1, 0.05), rows=golden.repartition(7, "region")) == small
    # A golden record keeps its number when its survivor changes.
    assert drawn(Design(1, 0.05), rows=golden.withColumn("product_id", F.lit("x"))) == small
    assert len(small & drawn(Design(2, 0.05))) < 100
    only = golden.where(sample.drawn([Design(1, 0.2, "MY")])).select("region").distinct().collect()
    assert [row.region for row in only] == ["MY"]
    assert golden.where(sample.drawn([])).isEmpty()


def test_the_probability_of_several_samples_is_how_often_records_come_into_them(golden):
    designs = [Design(1, 0.1), Design(1, 0.05), Design(1, 0.3, "MY"), Design(2, 0.2, "MY,TH")]
    expected = {"SG": 0.1, "MY": 1 - 0.7 * 0.8}
    found = golden.groupBy("region").agg(
        F.avg(sample.drawn(designs).cast("int")).alias("share"),
        F.min(sample.probability(designs)).alias("low"),
        F.max(sample.probability(designs)).alias("high"),
    )
    for row in found.collect():
        assert row.low == row.high == pytest.approx(expected[row.region])
        assert row.share == pytest.approx(expected[row.region], abs=0.03)


@pytest.mark.parametrize(
    "design", [Design(1, 0.05), Design(7, 1 / 3, "MY,SG"), Design(2**31 - 1, 1.0), Design(0, 2e-05)]
)
def test_a_design_is_read_as_it_was_written(design):
    assert sample.parse(f" {design} ") == design


@pytest.mark.parametrize(
    "text",
    ["", "seed=1", "seed=1 share=0 regions=*", "seed=1 share=1.5 regions=*", "seed=99999999999 share=0.5 regions=*"],
)
def test_what_is_no_design_is_none(text):
    assert sample.parse(text) is None
