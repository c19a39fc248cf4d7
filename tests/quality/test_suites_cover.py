"""Every contract has a suite, and every suite says what the contract promises: keys, values that are listed, ranges."""

import re

import pytest

from shelfmark.quality import definitions
from shelfmark.tables import TABLES

# Listed in the comments of the contracts.
ENUMERATIONS = {
    ("silver.rejected", "action"): {"reject"},
    ("silver.check_results", "severity"): {"critical", "warning", "info"},
    ("silver.category_map", "origin"): {"derived", "file", "unmapped"},
    ("silver.labels", "origin"): {"source", "rule", "person", "model"},
    ("silver.duplicates", "relation"): {"single", "same"},
    ("silver.match_decisions", "verdict"): {"same", "different", "withdrawn"},
    ("silver.reviews", "verdict"): {"ok", "label", "other", "out_of_scope", "withdrawn"},
    ("silver.duplicate_events", "event"): {"joined", "split"},
    ("silver.splits", "side"): {"train", "tune", "calibrate", "test"},
    ("gold.model_decisions", "decision"): {
        "promoted", "kept", "rolled_back", "compared", "shadow_on", "shadow_off", "published", "not_published",
    },
    ("gold.predictions", "decision"): {"accept", "roll_up", "review"},
    ("gold.shadow_predictions", "decision"): {"accept", "roll_up", "review"},
    ("gold.metrics", "metric"): {
        "accuracy", "accuracy_any", "accuracy_accepted", "accuracy_decided", "macro_f1", "weighted_f1", "categories",
        "coverage", "roll_up_share", "review_share", "coverage_all", "precision", "recall", "f1", "ece", "ece_by_chance",
        "checked_accuracy", "checked_accuracy_accepted", "checked_accuracy_decided", "checked_share",
        "micro_f1_listed", "brier", *(f"bin_{what}_{at:02d}" for what in ("accuracy", "confidence") for at in range(15)),
        "hierarchical_precision", "hierarchical_recall", "hierarchical_f1", "tree_distance",
        *(f"recall_at_{k}" for k in (1, 3, 5)), "aurc", "aurc_perfect",
        *(f"{what}_{third}" for what in ("macro_f1", "categories") for third in ("head", "middle", "tail")),
    },
    ("gold.slices", "slice"): {"all", "region", "language", "source", "brand", "brand_seen", "price", "title_length", "top_category"},
    ("gold.slices", "metric"): {
        "accuracy", "accuracy_any", "accuracy_accepted", "accuracy_decided", "macro_f1", "weighted_f1", "categories",
        "coverage", "roll_up_share", "review_share", "ece", "ece_by_chance", "brier", "micro_f1_listed", "hierarchical_precision",
        "hierarchical_recall", "hierarchical_f1", "tree_distance", *(f"recall_at_{k}" for k in (1, 3, 5)), "aurc", "aurc_perfect",
        *(f"{what}_{third}" for what in ("macro_f1", "categories") for third in ("head", "middle", "tail")),
    },
    ("gold.curves", "slice"): {"all", "region", "language", "top_category"},
    ("gold.runs", "status"): {"done", "refused", "failed", "skipped"},
}  # fmt: skip
NUMBERS = ("int", "bigint", "double", "decimal", "date")


@pytest.fixture(scope="module", params=sorted(TABLES))
def covered(request):
    return TABLES[request.param], definitions.load(request.param)


def columns(suite, *types):
    return {e.kwargs["column"] for e in suite.expectations if e.type in types and e.severity == "critical"}


def test_a_column_that_is_never_null_is_checked_to_be_there(covered):
    contract, suite = covered
    promised = {field.name for field in contract.fields if not field.nullable}
    assert promised - columns(suite, "expect_column_values_to_not_be_null") == set()


def test_the_key_is_checked_to_be_unique(covered):
    contract, suite = covered
    unique = [set(e.columns) for e in suite.expectations if "unique" in e.type and e.severity == "critical"]
    # A raw record is known by its source as well: two sources may send one and the same file.
    assert any(set(contract.keys) <= key <= {*contract.keys, "source"} for key in unique)


def test_every_number_and_day_has_a_range(covered):
    contract, suite = covered
    bounded = columns(suite, "expect_column_values_to_be_between")
    assert {f.name for f in contract.fields if f.type.split("(")[0] in NUMBERS} - bounded == set()


@pytest.mark.parametrize(("table", "column"), sorted(ENUMERATIONS))
def test_listed_values_are_those_of_the_contracts_comment(table, column):
    values = ENUMERATIONS[table, column]
    comment = next(field.comment for field in TABLES[table].fields if field.name == column)
    assert {value for value in values if re.sub(r"_\d\d$", "_<bin>", value) in comment} == values
    sets = [
        set(e.kwargs["value_set"])
        for e in definitions.load(table).expectations
        if e.type == "expect_column_values_to_be_in_set" and e.kwargs["column"] == column and e.severity == "critical"
    ]
    assert values in sets


def test_every_expectation_has_a_sentence_of_its_own_and_an_id(covered):
    _, suite = covered
    everything = [*suite.expectations, *suite.comparisons]
    said = [(e.type, e.columns, e.sentence) for e in everything]
    assert len(set(said)) == len(said)
    assert all(e.id for e in everything)
    assert all(e.sentence[-1] in ".)" and "{" not in e.sentence for e in everything)


def test_what_may_be_life_warns_and_only_what_is_surely_broken_stops_a_run():
    stops = {f"{suite.table}:{e.check}" for suite in map(definitions.load, TABLES) for e in suite.comparisons
             if e.severity == "critical"}  # fmt: skip
    assert stops == {
        # Rows that refer to nothing, or that are missing: no steward would want them published.
        "bronze.raw_products:books", "silver.presence:products", "silver.category_map:taxonomy", "silver.labels:taxonomy",
        "silver.labels:products", "silver.leak_groups:products", "silver.duplicates:products", "silver.catalogue:duplicates",
        "silver.catalogue:members", "silver.catalogue:products", "silver.splits:products", "silver.splits:moved",
        "silver.images:links", "silver.image_links:products", "silver.image_links:images",
        "gold.models:taxonomy", "gold.model_decisions:models", "gold.shadow_predictions:models",
        "gold.predictions:catalogue", "gold.predictions:taxonomy", "gold.predictions:models",
        # Jumps that no assortment makes.
        "silver.products:volume", "silver.products:keys", "silver.products:lost_column", "silver.products:prices",
        "silver.products:currency", "silver.catalogue:volume", "silver.labels:volume", "gold.predictions:collapse",
    }  # fmt: skip
