"""Labels that look wrong and categories that are confused, found on Spark in a small catalogue with planted faults."""

import random

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from shelfmark import config
from shelfmark.errors import DataRefused
from shelfmark.tables import table
from shelfmark.text import issues
from shelfmark.text.audit import audit

WORDS = {
    "home > kettles": ["kettle", "litre", "steel", "boil", "cordless"],
    "home > toasters": ["toaster", "slice", "bread", "crumb", "browning"],
    "wear > sneakers": ["sneaker", "running", "sole", "mesh", "lace"],
    "wear > trainers": ["sneaker", "running", "sole", "mesh", "lace"],  # the same things by another name
    "wear > sandals": ["sandal", "strap", "summer", "leather", "buckle"],
    "wear > slippers": ["slipper", "felt", "warm", "house", "soft"],
}
SIBLINGS = {
    "home > kettles": "home > toasters",
    "home > toasters": "home > kettles",
    "wear > sandals": "wear > slippers",
}
NOISE = ["new", "sale", "blue", "red", "original", "pack", "men", "women"]


@pytest.fixture(scope="module")
def lake(spark):
    """Tables of 1,200 products: a tenth of some categories mislabelled, some sandals listed as slippers too."""
    draw = random.Random(5)
    rows, labels, planted = [], [], set()
    for i in range(1200):
        product, path = f"p{i:04d}", draw.choice(list(WORDS))
        title = " ".join([*draw.sample(WORDS[path], 2), *draw.sample(NOISE, 2)])
        group = product
        if path in ("wear > sneakers", "wear > trainers") and i % 9 == 0:
            title, group = "sneaker mesh red sale", "look-alikes"
        said = path
        if path in SIBLINGS and draw.random() < 0.1:
            said = SIBLINGS[path]
            planted.add(product)
        rows.append((product, said, 1.0, title, group, "US"))
        labels.append((product, said, "source", "shop", True))
        if path == "wear > sandals" and i % 4 == 0 and product not in planted:
            labels.append((product, "wear > slippers", "source", "shop", False))
    nodes = {path: path.split(" > ")[0] for path in WORDS} | {"home": None, "wear": None}
    return {
        "rows": spark.createDataFrame(
            rows, "product_id string, category_id string, weight double, title string, leak_group string, region string"
        ).cache(),
        "labels": spark.createDataFrame(
            labels, "product_id string, category_id string, origin string, who string, primary boolean"
        ),
        "taxonomy": spark.createDataFrame(
            [("v1", node, node, above) for node, above in nodes.items()],
            "taxonomy_version string, category_id string, path string, parent_id string",
        ),
        "planted": planted,
    }


SETTINGS = config.Settings(text=config.Text(hash_bits=16, facts=[]))


@pytest.fixture(scope="module")
def said(lake, tmp_path_factory):
    return audit(lake["rows"], lake["taxonomy"], SETTINGS, tmp_path_factory.mktemp("audit") / "work").cache()


def test_finds_the_labels_that_were_planted(lake, said):
    found = said.where("category_id not in ('wear > sneakers', 'wear > trainers')").toPandas()
    assert said.count() == 1200
    assert average_precision_score(found.product_id.isin(lake["planted"]), found.margin) > 0.95
    assert found.given_confidence.between(0, 1).all()
    wrong = found[found.product_id.isin(lake["planted"])]
    assert (wrong.suggested_confidence > wrong.given_confidence).mean() > 0.9


def test_does_not_depend_on_partitions(lake, said, tmp_path):
    again = audit(lake["rows"].repartition(5), lake["taxonomy"], SETTINGS, tmp_path / "work").toPandas()
    first = said.toPandas()
    assert (
        first.sort_values("product_id")
        .reset_index(drop=True)
        .equals(again.sort_values("product_id").reset_index(drop=True))
    )


def test_issues_are_none_that_a_person_or_another_listing_speaks_for(spark, lake, said):
    person = sorted(lake["planted"])[0]
    labels = lake["labels"].unionByName(
        spark.createDataFrame([(person, "home > kettles", "person", "ann", True)], lake["labels"].schema)
    )
    catalogue = lake["rows"].select("product_id", "region", "title")
    found = issues.label_issues(said, labels, catalogue, lake["taxonomy"]).toPandas()
    assert set(found.columns) == set(table("gold.label_issues").columns) - {"run_id", "run_date"}
    assert person not in set(found.product_id)
    listed = {tuple(row) for row in labels.select("product_id", "category_id").collect()}
    assert not listed & set(zip(found.product_id, found.suggested_id))
    assert len(lake["planted"] & set(found.product_id)) > 0.8 * len(lake["planted"])
    assert set(found.origin) == {"source"}
    assert (found.margin > 0).all()


def test_pairs_of_categories_are_named_with_what_to_do(lake, said):
    groups = lake["rows"].select("product_id", "leak_group")
    catalogue = lake["rows"].select("product_id", "title")
    found = issues.category_issues(said, lake["labels"], groups, catalogue, lake["taxonomy"]).toPandas()
    assert set(found.columns) == set(table("gold.category_issues").columns) - {"run_id", "run_date"}
    pairs = {(row.left_id, row.right_id): row for row in found.itertuples()}
    same = pairs["wear > sneakers", "wear > trainers"]
    assert same.action == "merge"
    assert same.gain == found.gain.max() > 0.05
    assert same.alike_apart == 0  # one leak group alone is a chance
    both = pairs["wear > sandals", "wear > slippers"]
    assert both.action == "allow_both"
    assert both.listed_in_both > 20
    assert all(len(examples) <= issues.EXAMPLES for examples in found.examples.dropna())
    assert {one["category_id"] for one in same.examples} <= {"wear > sneakers", "wear > trainers"}


def test_the_gain_of_merging_is_that_of_the_merged_labels(lake, said):
    from sklearn.metrics import f1_score

    groups = lake["rows"].select("product_id", "leak_group")
    found = issues.category_issues(
        said, lake["labels"], groups, lake["rows"].select("product_id", "title"), lake["taxonomy"]
    ).toPandas()
    one = found[found.action == "merge"].iloc[0]
    rows = said.toPandas()

    def macro(rows):
        return f1_score(rows.category_id, rows.best_id, average="macro")

    merged = rows.replace({column: {one.right_id: one.left_id} for column in ("category_id", "best_id")})
    assert one.gain == pytest.approx(macro(merged) - macro(rows))


def test_a_category_that_is_told_well_lacks_no_labels(lake, said):
    found = issues.category_needs(said, lake["taxonomy"], 0.8).toPandas().set_index("category_id")
    assert set(found.reset_index().columns) == set(table("gold.category_needs").columns) - {"run_id", "run_date"}
    assert found.more_labels["home > kettles"] == 0
    confused = found.more_labels["wear > sneakers"]
    assert np.isnan(confused) or confused > 100  # the words are the same: labels do not help
    assert found.labels.sum() == 1200


def test_too_little_to_compare_is_refused(spark, lake, tmp_path):
    few = lake["rows"].where("category_id = 'home > kettles'")
    with pytest.raises(DataRefused, match="1 categories have"):
        audit(few, lake["taxonomy"], SETTINGS, tmp_path / "work")
