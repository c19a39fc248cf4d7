"""Figures of what people checked: against the same sums by hand, and where there is too little to say anything."""

import pytest
from pyspark.sql import functions as F

from shelfmark import config
from shelfmark.labels import sample
from shelfmark.labels.sample import Design
from shelfmark.metrics import checked, figures
from shelfmark.metrics.sampling import hajek

SETTINGS = config.Metrics(min_support=5)
PATHS = {"boots": "shoes > boots", "wool": "socks > wool", "shoes": "shoes"}


@pytest.fixture(scope="module")
def catalogue(spark):
    """600 golden records: of MY half is right, of SG nearly all; every third is rolled up, every fifth for review."""
    rows = []
    for at in range(600):
        region = "MY" if at % 3 == 0 else "SG"
        truth = "wool" if (at % 2 if region == "MY" else at % 20 == 0) else "boots"
        decision = "review" if at % 5 == 0 else "roll_up" if at % 3 == 1 else "accept"
        decided = "shoes" if decision == "roll_up" else "shoes > boots"
        rows.append((f"p{at}", f"g{at}", region, "text", "v1", decision, decided, [("boots", 0.9)], truth))
    columns = "product_id string, group_id string, region string, model string, model_version string, decision string, "
    columns += "category_path string, top_k array<struct<category_id:string,confidence:double>>, truth string"
    return spark.createDataFrame(rows, columns).cache()


def words(rows):
    path = F.when(F.col("truth") == "wool", PATHS["wool"]).otherwise(PATHS["boots"])
    return rows.select(
        "product_id", F.lit("other").alias("verdict"), F.col("truth").alias("category_id"), path.alias("path")
    )


def found(frame):
    return {(row.region, row.metric): row for row in frame.collect()}


def test_figures_are_the_weighed_sums_of_what_was_drawn_and_checked(catalogue):
    designs = [Design(1, 0.2), Design(1, 0.6, "MY")]
    got = found(checked.evaluate(catalogue.drop("truth"), words(catalogue), designs, SETTINGS))
    rows = catalogue.where(sample.drawn(designs)).collect()
    for region in ("MY", "SG", "*"):
        mine = [row for row in rows if region in (row.region, "*")]
        parts = {
            "accuracy": [(row, row.truth == "boots") for row in mine],
            "accuracy_accepted": [(row, row.truth == "boots") for row in mine if row.decision == "accept"],
            "accuracy_decided": [(row, row.truth == "boots") for row in mine if row.decision != "review"],
        }
        for name, judged in parts.items():
            p = [0.6 if row.region == "MY" else 0.2 for row, _ in judged]
            right = [bool(hit) for _, hit in judged]
            expected = hajek(
                len(p), sum(1 / x for x in p), sum(y / x for x, y in zip(p, right)),
                sum((1 - x) / x**2 for x in p), sum(y * (1 - x) / x**2 for x, y in zip(p, right)),
            )  # fmt: skip
            row = got[region, f"checked_{name}"]
            assert (row.value, row.low, row.high) == pytest.approx(expected), (region, name)
            assert (row.support, row.side, row.category_id) == (len(p), "checked", "*")
        assert (got[region, "checked_share"].value, got[region, "checked_share"].support) == (1, len(mine))
    # MY is drawn more often and is worse: unweighed it would pull all down. 0.5 x 200 + 0.95 x 400 of 600 are right.
    assert got["*", "checked_accuracy"].value == pytest.approx(0.8, abs=0.08)
    assert got["*", "checked_accuracy"].low < 0.8 < got["*", "checked_accuracy"].high
    assert got["MY", "checked_accuracy"].value < 0.65 < got["SG", "checked_accuracy"].value


def test_who_was_not_checked_is_counted_and_out_of_scope_is_a_mistake(catalogue):
    designs = [Design(3, 0.3)]
    some = words(catalogue.where("truth = 'boots' and region = 'SG'"))
    nowhere = some.withColumns({"verdict": F.lit("out_of_scope"), "category_id": F.lit(None).cast("string")})
    got = found(
        checked.evaluate(
            catalogue.drop("truth"), nowhere.withColumn("path", F.lit(None).cast("string")), designs, SETTINGS
        )
    )
    assert got["SG", "checked_accuracy"].value == 0
    assert got["SG", "checked_share"].value == pytest.approx(0.95, abs=0.05)
    my = got["MY", "checked_accuracy"]
    assert (my.value, my.support, my.low) == (None, 0, None)
    assert got["MY", "checked_share"].value == 0


def test_a_market_that_had_no_chance_has_no_figure_and_then_neither_have_all(catalogue):
    got = found(checked.evaluate(catalogue.drop("truth"), words(catalogue), [Design(1, 0.5, "SG")], SETTINGS))
    assert {region for region, _ in got} == {"SG"}
    assert checked.evaluate(catalogue.drop("truth"), words(catalogue), [], SETTINGS).count() == 0
    regions = figures.region_figures([row.asDict() for row in got.values()])
    assert figures.heading(regions) == figures.AGREEMENT
    everywhere = found(checked.evaluate(catalogue.drop("truth"), words(catalogue), [Design(1, 0.5)], SETTINGS))
    regions = figures.region_figures([row.asDict() for row in everywhere.values()])
    assert figures.heading(regions) == "accuracy, checked by people"
    assert regions[-1].checked_rows == everywhere["*", "checked_accuracy"].support
