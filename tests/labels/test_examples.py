"""What is learnt from: weights that fade, labels that an audit contradicts."""

from datetime import date, datetime

import pytest

from shelfmark.labels import examples

ROWS = "product_id string, category_id string, weight double, labelled_at timestamp"


@pytest.fixture(scope="module")
def rows(spark):
    given = [
        ("new", "a", 1.0, datetime(2026, 3, 1)),
        ("old", "a", 0.5, datetime(2025, 12, 1)),  # 90 days before
        ("ahead", "b", 1.0, datetime(2026, 5, 1)),
        ("unknown", "b", 1.0, None),
    ]
    return spark.createDataFrame(given, ROWS)


def test_weights_halve_in_the_half_life(rows):
    found = {row.product_id: row.weight for row in examples.aged(rows, 90, date(2026, 3, 1)).collect()}
    assert found == pytest.approx({"new": 1.0, "old": 0.25, "ahead": 1.0, "unknown": 1.0})
    assert examples.aged(rows, None, date(2026, 3, 1)) is rows


def test_contradicted_labels_are_left_out_until_they_are_corrected(spark, rows):
    issues = spark.createDataFrame(
        [("new", "a", 0.9), ("old", "a", 0.2), ("ahead", "was wrong", 0.9)],
        "product_id string, category_id string, margin double",
    )
    assert sorted(row.product_id for row in examples.trimmed(rows, issues, 0.5).collect()) == [
        "ahead",
        "old",
        "unknown",
    ]
