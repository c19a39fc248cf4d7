"""Pseudo-labels, and what keeps a model from confirming itself by them."""

from datetime import date, datetime

import pytest

from shelfmark.labels import examples, pseudo

CATALOGUE = "product_id string, " + ", ".join(
    f"{name} {'array<struct<name:string,value:string,unit:string>>' if name == 'attributes' else 'string'}"
    for name in examples.READ
)


@pytest.fixture(scope="module")
def lake(spark):
    products = [f"a{i}" for i in range(40)] + [f"u{i}" for i in range(60)] + ["test", "unsure"]
    catalogue = spark.createDataFrame([(one, *[None] * len(examples.READ)) for one in products], CATALOGUE)
    known = [(f"a{i}", "common" if i < 30 else "rare", True) for i in range(40)]
    labels = spark.createDataFrame(known, "product_id string, category_id string, primary boolean")
    sides = [(one, "test" if one == "test" else "train", one) for one in products]
    splits = spark.createDataFrame(sides, "product_id string, side string, leak_group string")
    said = [(one, "rare" if one[-1] in "02468" else "common", "accept") for one in products if one != "unsure"]
    said += [("unsure", "common", "review")]
    predictions = spark.createDataFrame(
        [(*one, date(2026, 3, 1)) for one in said],
        "product_id string, category_id string, decision string, run_date date",
    )
    return catalogue, labels, splits, predictions


def found(lake, share, weight=0.3):
    return pseudo.accepted(*lake, weight, share).collect()


def test_only_what_was_accepted_of_products_without_a_label_on_the_training_side(lake):
    rows = found(lake, 100)
    assert {row.product_id for row in rows} == {f"u{i}" for i in range(60)}
    assert {row.weight for row in rows} == {0.3}
    assert {row.labelled_at for row in rows} == {datetime(2026, 3, 1)}
    assert {row.category_id for row in rows if row.product_id == "u2"} == {"rare"}


def test_a_category_gets_about_as_many_as_it_has_labels(lake):
    rows = found(lake, 1)
    of = {name: sum(row.category_id == name for row in rows) for name in ("common", "rare")}
    assert of["common"] == 30  # all that were offered
    assert 2 <= of["rare"] <= 19  # ten of thirty, by each product's own chance
    assert rows == found(lake, 1)


def test_rows_are_those_that_examples_are(spark, lake):
    catalogue, labels, splits, _ = lake
    said = labels.selectExpr("*", "'source' AS origin", "1D AS weight", "timestamp'2026-01-01' AS labelled_at")
    said = said.selectExpr("*", "1D AS inclusion_probability")
    assert set(pseudo.accepted(*lake, 0.3, 1).columns) == set(examples.labelled(catalogue, said, splits).columns)
