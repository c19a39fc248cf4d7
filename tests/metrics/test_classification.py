"""Metrics in Spark: against scikit-learn, and on the regions and rows that usually break them."""

import random

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from shelfmark import config, tables
from shelfmark.errors import UsageError
from shelfmark.metrics import classification, report

SETTINGS = config.Metrics(min_support=5)
TAXONOMY = {"shoes": None, "boots": "shoes", "trainers": "shoes", "socks": None, "wool": "socks"}


def frames(spark, products):
    """Tables of `products`: (product_id, region, side, [labels, primary first], best leaf, decided, decision)."""
    predictions, labels, splits = [], [], []
    for product, region, side, said, best, decided, decision in products:
        top_k = [(best, 0.9), ("socks", 0.1)] if best else []
        predictions.append((product, region, "text", "v1", "t1", decided, top_k, decision))
        splits.append((product, product, side))
        labels += [(product, category, "t1", "source", at == 0) for at, category in enumerate(said)]
    taxonomy = [("t1", c, p, c if p is None else f"{p} > {c}") for c, p in TAXONOMY.items()]
    return (
        spark.createDataFrame(
            predictions,
            "product_id string, region string, model string, model_version string, taxonomy_version string, "
            "category_id string, top_k array<struct<category_id:string,confidence:double>>, decision string",
        ),
        spark.createDataFrame(
            labels, "product_id string, category_id string, taxonomy_version string, origin string, primary boolean"
        ),
        spark.createDataFrame(splits, "product_id string, leak_group string, side string"),
        spark.createDataFrame(taxonomy, "taxonomy_version string, category_id string, parent_id string, path string"),
    )


def figures(frame):
    return {(row.region, row.category_id, row.metric): row for row in frame.collect()}


@pytest.fixture(scope="module")
def random_products():
    draw = random.Random(7)
    leaves = ["boots", "trainers", "wool", "socks"]
    products = []
    for at in range(1200):
        # Two regions of ordinary size and one with two rows, as a market of a real feed has.
        region = "TH" if at < 2 else draw.choice(["MY", "SG"])
        side = "test" if at < 2 else draw.choice(["train", "test", "test"])
        said = draw.sample(leaves, draw.choice([1, 1, 2]))
        # "unheard-of" is in no taxonomy; None is a prediction without any leaf.
        best = draw.choice([said[0], said[0], said[-1], *leaves, "unheard-of", None])
        decision = draw.choice(["accept", "roll_up", "review"])
        decided = TAXONOMY.get(best) or best if decision == "roll_up" else best
        products.append((f"p{at}", region, side, said, best, decided or "socks", decision))
    return products


def test_figures_equal_scikit_learn_per_region_and_overall(spark, random_products):
    inputs = frames(spark, random_products)
    got = figures(classification.evaluate(*inputs, SETTINGS))
    for region in ("MY", "SG", "*"):
        every = [p for p in random_products if region in (p[1], "*")]
        test = [p for p in every if p[2] == "test"]
        truth, predicted = [p[3][0] for p in test], [p[4] or "none" for p in test]
        present = sorted(set(truth))
        expected = {
            "accuracy": accuracy_score(truth, predicted),
            "accuracy_any": sum(p[4] in p[3] for p in test) / len(test),
            "macro_f1": f1_score(truth, predicted, labels=present, average="macro", zero_division=0),
            "weighted_f1": f1_score(truth, predicted, labels=present, average="weighted", zero_division=0),
            "categories": len(present),
            "coverage": sum(p[6] == "accept" for p in test) / len(test),
            "roll_up_share": sum(p[6] == "roll_up" for p in test) / len(test),
            "review_share": sum(p[6] == "review" for p in test) / len(test),
            "coverage_all": sum(p[6] == "accept" for p in every) / len(every),
        }
        accepted = [p for p in test if p[6] == "accept"]
        settled = [p for p in test if p[6] != "review"]
        expected["accuracy_accepted"] = sum(p[3][0] == p[4] for p in accepted) / len(accepted)
        expected["accuracy_decided"] = sum(p[5] in (p[3][0], TAXONOMY[p[3][0]]) for p in settled) / len(settled)
        sure = np.array([0.9 if p[4] else 0.0 for p in test])
        right = np.array([p[3][0] == p[4] for p in test])
        expected["brier"] = ((sure - right) ** 2).mean()
        expected["ece"] = sum(abs((right - sure)[sure == s].sum()) for s in (0.0, 0.9)) / len(test)
        expected["bin_accuracy_13"], expected["bin_confidence_13"] = right[sure == 0.9].mean(), 0.9
        for metric, value in expected.items():
            row = got[region, "*", metric]
            assert row.value == pytest.approx(value, abs=1e-12), (region, metric)
            assert row.side == ("all" if metric == "coverage_all" else "test")
            if metric in ("macro_f1", "weighted_f1"):
                assert row.low < value < row.high
                # About the width of a proportion's interval of as many rows: no leak group has two of them.
                assert 0.5 < (row.high - row.low) / (4 * (value * (1 - value) / len(test)) ** 0.5) < 2
        assert got[region, "*", "accuracy"].support == len(test)
        assert got[region, "*", "coverage_all"].support == len(every)
        assert got[region, "*", "accuracy"].low < expected["accuracy"] < got[region, "*", "accuracy"].high
        # Precision, recall, F1 and support of every class.
        each = precision_recall_fscore_support(truth, predicted, labels=present, zero_division=0)
        for at, category in enumerate(present):
            for metric, values in zip(("precision", "recall", "f1"), each):
                row = got[region, category, metric]
                assert row.value == pytest.approx(values[at], abs=1e-12)
                assert row.support == each[3][at]
                path = f"{TAXONOMY[category]} > {category}" if TAXONOMY[category] else category
                assert row.category_path == path
        # Predicted and in no taxonomy: nothing to measure, and it says so.
        assert (got[region, "unheard-of", "f1"].value, got[region, "unheard-of", "f1"].support) == (None, 0)

    # Two test rows are no measurement: n is shown, the figure is not.
    for metric in ("accuracy", "macro_f1", "categories", "coverage"):
        row = got["TH", "*", metric]
        assert (row.value, row.support, row.low, row.high) == (None, 2, None, None)

    fields = [f.name for f in tables.table("gold.metrics").fields if f.name not in ("run_id", "run_date")]
    frame = classification.evaluate(*inputs, SETTINGS)
    assert frame.columns == fields
    keys = ["model", "region", "level", "category_id", "metric"]
    assert frame.count() == frame.select(keys).distinct().count()


def test_confusions_are_the_most_frequent_mistakes_with_an_example(spark):
    products = [
        *((f"a{at}", "MY", "test", ["boots"], "trainers", "trainers", "accept") for at in range(6)),
        *((f"b{at}", "MY", "test", ["boots"], "boots", "boots", "accept") for at in range(2)),
        *((f"c{at}", "SG", "test", ["wool"], "boots", "boots", "review") for at in range(3)),
        *((f"d{at}", "SG", "test", ["wool", "socks"], "socks", "socks", "review") for at in range(9)),
        *((f"e{at}", "SG", "train", ["wool"], "trainers", "trainers", "review") for at in range(9)),
        ("f", "SG", "test", ["wool"], "unheard-of", "unheard-of", "review"),
    ]
    rows = classification.confusions(*frames(spark, products), top=3).collect()
    assert [tuple(row) for row in rows] == [
        ("MY", "boots", "shoes > boots", "trainers", "shoes > trainers", 6, 0.75, "a0"),
        ("SG", "wool", "socks > wool", "boots", "shoes > boots", 3, 3 / 13, "c0"),
        ("SG", "wool", "socks > wool", "unheard-of", None, 1, 1 / 13, "f"),
    ]
    assert report.confusion_rows(rows, {"f": "Warm socks"})[2] == report.Confusion(
        "SG", "socks > wool", "unheard-of", 1, 1 / 13, "f", "Warm socks"
    )


def test_what_a_model_or_a_rule_said_is_no_truth_and_other_versions_do_not_count(spark):
    predictions, labels, splits, taxonomy = frames(
        spark, [(f"p{at}", "MY", "test", ["boots"], "boots", "boots", "accept") for at in range(6)]
    )
    said = labels.collect()
    others = [(*row[:3], "model", True) for row in said[:1]] + [(*row[:2], "t0", "source", True) for row in said[1:2]]
    mixed = spark.createDataFrame(others + [tuple(row) for row in said[2:]], labels.schema)
    got = figures(classification.evaluate(predictions, mixed, splits, taxonomy, config.Metrics(min_support=1)))
    assert got["MY", "*", "accuracy"].support == 4
    assert got["MY", "*", "coverage_all"].support == 6


def test_an_empty_test_side_measures_nothing_and_says_so(spark):
    inputs = frames(spark, [("p", "MY", "train", ["boots"], "boots", "boots", "accept")])
    got = figures(classification.evaluate(*inputs, config.Metrics(min_support=1)))
    for region in ("MY", "*"):
        for metric in ("accuracy", "macro_f1", "weighted_f1", "accuracy_accepted"):
            assert (got[region, "*", metric].value, got[region, "*", metric].support) == (None, 0)
        assert (got[region, "*", "coverage_all"].value, got[region, "*", "coverage_all"].support) == (1.0, 1)
    assert not [key for key in got if key[1] != "*"]
    assert classification.confusions(*inputs).collect() == []


def test_no_predictions_or_two_model_versions_are_refused(spark):
    predictions, *others = frames(spark, [("p", "MY", "test", ["boots"], "boots", "boots", "accept")])
    with pytest.raises(UsageError, match="no predictions to evaluate"):
        classification.evaluate(predictions.limit(0), *others, SETTINGS)
    from pyspark.sql import functions as F

    two = predictions.union(predictions.withColumn("model_version", F.lit("v2")))
    with pytest.raises(UsageError, match="1 predictions are of another model"):
        classification.evaluate(two, *others, SETTINGS)
