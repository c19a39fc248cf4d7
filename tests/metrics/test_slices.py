"""Slices, levels and curves in Spark: against NumPy and scikit-learn on the same rows, however they are partitioned."""

import random

import numpy as np
import pytest
from sklearn.metrics import f1_score

from shelfmark import config, tables
from shelfmark.errors import UsageError
from shelfmark.metrics import evaluation, slices

SETTINGS = config.Metrics(min_support=5)
TAXONOMY = {"shoes": None, "boots": "shoes", "trainers": "shoes", "clogs": "shoes", "socks": None, "wool": "socks"}
TAXONOMY |= {"hats": None, "caps": "hats", "berets": "hats", "hoods": "hats", "ties": None}
LEAVES = ["boots", "trainers", "wool", "clogs", "socks", "caps", "berets", "hoods", "ties"]
PRODUCT = "product_id string, region string, side string, truth string, best string, second string, confidence double, "
PRODUCT += "decision string, brand string, language string, source string, title string, price double, currency string"
NAMES = [part.split()[0] for part in PRODUCT.split(", ")]


def frames(spark, products):
    """The six tables `evaluation.evaluate` takes, of products as dicts with `NAMES`."""
    rows = spark.createDataFrame([tuple(p[name] for name in NAMES) for p in products], PRODUCT)
    top = "array(named_struct('category_id', best, 'confidence', confidence), named_struct('category_id', second, "
    top += "'confidence', 1 - confidence)) as top_k"
    version = "'text' as model, 'v1' as model_version, 't1' as taxonomy_version"
    predictions = rows.selectExpr("product_id", "region", version.split(", ")[0], *version.split(", ")[1:],
                                  "best as category_id", top, "decision")  # fmt: skip
    labels = rows.selectExpr(
        "product_id", "truth as category_id", "'t1' as taxonomy_version", "'source' as origin", "true as primary",
        "1D as weight", "1D as inclusion_probability", "timestamp'2026-01-01' as labelled_at",
    )  # fmt: skip
    splits = rows.selectExpr("product_id", "product_id as leak_group", "side")
    catalogue = rows.selectExpr(
        "product_id", "region", "brand", "language", "source", "title", "null as description",
        "cast(price as decimal(18,2)) as price", "currency", "null as attributes", "cast(null as string) as image_id",
    )  # fmt: skip
    nodes = [("t1", c, p, c if p is None else f"{p} > {c}") for c, p in TAXONOMY.items()]
    taxonomy = spark.createDataFrame(
        nodes, "taxonomy_version string, category_id string, parent_id string, path string"
    )
    return predictions, labels, splits, taxonomy, catalogue


def product(at, **other):
    plain = {"region": "MY", "side": "test", "truth": "boots", "best": "boots", "second": "socks", "confidence": 0.9,
             "decision": "accept", "brand": "Bata", "language": "en", "source": "shop", "title": "Black boots",
             "price": 10.0, "currency": "MYR"}  # fmt: skip
    return {"product_id": f"p{at}", **plain, **other}


@pytest.fixture(scope="module")
def products():
    draw = random.Random(7)
    made = []
    for at in range(1500):
        side = draw.choice(["train", "test", "test"])
        # On the train side the first categories have nearly all rows, on the test side all have as many.
        truth = LEAVES[min(int(draw.expovariate(1 / 1.5)), 8)] if side == "train" else draw.choice(LEAVES)
        brand = draw.choice([*(f"Brand {n:02d}" for n in range(60)), "BRAND 01 ", None])
        if brand and brand.strip()[-1] == "7":
            side = "test"  # one brand in ten is never trained on
        made.append(
            product(
                at,
                region=draw.choice(["MY", "SG"]),
                side=side,
                truth=truth,
                # "unheard-of" is in no taxonomy; None is a prediction without any leaf.
                best=draw.choice([truth, truth, truth, *LEAVES, "unheard-of", None]),
                second=draw.choice([truth, "boots"]),
                confidence=round(draw.random(), 3),
                decision=draw.choice(["accept", "roll_up", "review"]),
                brand=brand,
                language=draw.choice(["en", "en", "ms", None]),
                title=" ".join(["word"] * draw.randint(1, 20)),
                price=draw.choice([None, 0.0, draw.lognormvariate(3, 1), draw.lognormvariate(3, 1)]),
                currency=draw.choice(["MYR", "MYR", "MYR", "SGD", None]),
            )
        )
    return made


@pytest.fixture(scope="module")
def inputs(spark, products):
    return frames(spark, products)


@pytest.fixture(scope="module")
def measured(inputs):
    found = evaluation.evaluate(*inputs, SETTINGS)
    return {name: frame.collect() for name, frame in found.items()}


@pytest.fixture(scope="module")
def sliced(measured):
    return {(r.slice, r.slice_value, r.metric): r for r in measured["gold.slices"]}


def of(products, **wanted):
    return [p for p in products if p["side"] == "test" and all(p[name] == value for name, value in wanted.items())]


def hits(rows):
    return np.array([p["truth"] == p["best"] for p in rows])


def test_figures_of_a_slice_equal_those_of_its_rows_alone(products, sliced):
    slices_of = [("all", "*", {}), ("region", "SG", {"region": "SG"}), ("language", "ms", {"language": "ms"}),
                 ("language", "(none)", {"language": None}), ("source", "shop", {})]  # fmt: skip
    for name, value, wanted in slices_of:
        rows = of(products, **wanted)
        truth, said = [p["truth"] for p in rows], [p["best"] or "none" for p in rows]
        accepted = [p for p in rows if p["decision"] == "accept"]
        sure = np.array([p["confidence"] for p in rows])
        bins = np.minimum((sure * 15).astype(int), 14)
        # Leaves with a confidence of a half or more; each product is listed in one category.
        likely = [[p["best"]] * (p["confidence"] >= 0.5) + [p["second"]] * (1 - p["confidence"] >= 0.5) for p in rows]
        likely = [{one for one in some if one} for some in likely]
        found = sum(p["truth"] in some for p, some in zip(rows, likely))
        expected = {
            "micro_f1_listed": 2 * found / (len(rows) + sum(map(len, likely))),
            "accuracy": hits(rows).mean(),
            "coverage": len(accepted) / len(rows),
            "review_share": sum(p["decision"] == "review" for p in rows) / len(rows),
            "brier": np.mean((hits(rows) - sure) ** 2),
            "weighted_f1": f1_score(truth, said, labels=sorted(set(truth)), average="weighted", zero_division=0),
            "recall_at_3": np.mean([p["truth"] in (p["best"], p["second"]) for p in rows]),
            "categories": len(set(truth)),
            "accuracy_accepted": hits(accepted).mean(),
            "macro_f1": f1_score(truth, said, labels=sorted(set(truth)), average="macro", zero_division=0),
            "ece": sum(abs((hits(rows) - sure)[bins == at].sum()) for at in set(bins)) / len(rows),
        }
        for metric, figure in expected.items():
            got = sliced[name, value, metric]
            assert got.value == pytest.approx(figure, abs=1e-9), (name, value, metric)
            assert got.support == (len(accepted) if metric == "accuracy_accepted" else len(rows))
            assert metric in ("ece", "categories") or got.low <= got.value <= got.high


def test_a_region_has_the_same_figures_in_both_tables(measured):
    """They are counted apart: over all predictions, and over the test side."""
    whole = {(r.region, r.metric): r for r in measured["gold.metrics"] if (r.level, r.category_id) == ("leaf", "*")}
    same = [r for r in measured["gold.slices"] if r.slice in ("all", "region")]
    assert {r.metric for r in same} >= slices.MADE
    for row in same:
        other = whole[row.slice_value, row.metric]
        assert (row.value, row.support) == (pytest.approx(other.value, abs=1e-6), other.support), row


def test_every_measured_row_is_in_one_value_of_every_slice(products, measured):
    total = len(of(products))
    for name in slices.SLICES:
        mine = [r for r in measured["gold.slices"] if r.slice == name and r.metric == "accuracy"]
        assert sum(r.support for r in mine) == total, name
        assert len(mine) <= slices.LARGEST + 2
    # 62 brands: the largest by themselves, the rest together.
    assert "(others)" in {r.slice_value for r in measured["gold.slices"] if r.slice == "brand"}


def test_brands_that_training_did_not_see_are_told_apart(products, sliced):
    trained = {p["brand"].strip().lower() for p in products if p["side"] == "train" and p["brand"]}
    unseen = [p for p in of(products) if p["brand"] and p["brand"].strip().lower() not in trained]
    assert unseen
    assert all(p["brand"][-1] == "7" for p in unseen)
    assert sliced["brand_seen", "unseen", "accuracy"].support == len(unseen)
    assert sliced["brand_seen", "unseen", "accuracy"].value == pytest.approx(hits(unseen).mean())
    assert sliced["brand_seen", "(none)", "accuracy"].support == len(of(products, brand=None))


def test_price_bands_are_of_one_currency_and_about_equal(products, measured):
    mine = {r.slice_value: r.support for r in measured["gold.slices"] if r.slice == "price" and r.metric == "accuracy"}
    ringgit = {value: n for value, n in mine.items() if value.startswith("MYR ")}
    assert len(ringgit) == 5
    assert max(ringgit.values()) < 1.5 * min(ringgit.values())
    priced = [p for p in of(products) if p["price"] and round(p["price"], 2) > 0 and p["currency"]]
    assert mine["(none)"] == len(of(products)) - len(priced)
    for value, n in ringgit.items():
        amount = value.removeprefix("MYR ")
        low, high = (0, float(amount[1:])) if amount[0] == "<" else (float(amount.rstrip("+").split("-")[0]), np.inf)
        if "-" in amount:
            high = float(amount.split("-")[1])
        inside = [p for p in priced if p["currency"] == "MYR" and low <= round(p["price"], 2) < high]
        assert len(inside) == n, value


def test_bands_of_few_rows_are_few():
    assert slices.bands({"INR 1000": 20, "INR 99000": 20, "(none)": 3}) == {
        "(none)": "(none)",
        "INR 1000": "INR any",
        "INR 99000": "INR any",
    }
    assert slices.bands({"INR 1000": 60, "INR 99000": 60}) == {"INR 1000": "INR <990", "INR 99000": "INR 990+"}
    assert set(slices.bands({"INR 1000": 900}).values()) == {"INR any"}  # all alike
    many = {f"C{at:02d} 1000": 100 - at for at in range(12)}
    assert len(slices.bands(many)) == slices.CURRENCIES


def test_levels_ranks_and_areas_are_in_gold_metrics(products, measured):
    got = {(r.region, r.level, r.metric): r for r in measured["gold.metrics"] if r.category_id == "*"}
    for region in ("MY", "SG", "*"):
        rows = of(products, **({} if region == "*" else {"region": region}))
        root = lambda c: (TAXONOMY.get(c) or c) if c else "none"  # noqa: E731
        truth, said = [root(p["truth"]) for p in rows], [root(p["best"]) for p in rows]
        macro = f1_score(truth, said, labels=sorted(set(truth)), average="macro", zero_division=0)
        assert got[region, "1", "macro_f1"].value == pytest.approx(macro)
        assert got[region, "2", "macro_f1"].value == pytest.approx(got[region, "leaf", "macro_f1"].value)
        for k, among in ((1, ("best",)), (3, ("best", "second")), (5, ("best", "second"))):
            found = np.mean([p["truth"] in [p[name] for name in among] for p in rows])
            assert got[region, "leaf", f"recall_at_{k}"].value == pytest.approx(found)
        assert got[region, "leaf", "aurc_perfect"].value < got[region, "leaf", "aurc"].value
        distance = got[region, "leaf", "tree_distance"]
        assert distance.support == sum(bool(p["best"]) and p["best"] != p["truth"] for p in rows)
        assert 1 <= distance.low <= distance.value <= distance.high


def test_rows_are_those_of_the_contracts(inputs, measured):
    for name, rows in measured.items():
        contract = tables.table(name)
        assert list(rows[0].asDict()) == [c for c in contract.columns if c not in slices.PER_RUN], name
        keys = [key for key in contract.keys if key != "run_id"]
        assert len({tuple(row[key] for key in keys) for row in rows}) == len(rows), name
    curve = [r for r in measured["gold.curves"] if r.slice == "all"]
    assert curve[0].coverage == 1
    assert {r.slice for r in measured["gold.curves"]} == slices.CURVED


def test_partitions_do_not_matter(inputs, measured):
    found = evaluation.evaluate(*(frame.repartition(5) for frame in inputs), SETTINGS)
    for name, frame in found.items():
        key = tables.table(name).keys[:-1]
        one, other = (
            sorted(rows, key=lambda r, key=key: [str(r[k]) for k in key]) for rows in (measured[name], frame.collect())
        )
        assert [tuple(r[k] for k in key) for r in one] == [tuple(r[k] for k in key) for r in other]
        for a, b in zip(one, other):
            assert a.support == b.support
            for column in ("value", "accuracy", "low", "high"):
                if column in a and a[column] is not None:
                    assert a[column] == pytest.approx(b[column], abs=1e-9)


def test_the_tail_is_that_of_training(products, measured):
    trained = [p["truth"] for p in products if p["side"] == "train"]
    ordered = sorted(LEAVES, key=lambda c: (-trained.count(c), c))
    got = {r.metric: r for r in measured["gold.metrics"] if (r.region, r.level, r.category_id) == ("*", "leaf", "*")}
    test = of(products)
    truth, said = [p["truth"] for p in test], [p["best"] or "none" for p in test]
    for name, mine in (("head", ordered[:3]), ("middle", ordered[3:6]), ("tail", ordered[6:])):
        expected = f1_score(truth, said, labels=mine, average="macro", zero_division=0)
        assert got[f"macro_f1_{name}"].value == pytest.approx(expected)
        assert got[f"macro_f1_{name}"].support == sum(truth.count(category) for category in mine)


def test_no_test_rows_one_category_and_categories_unknown_to_the_taxonomy(spark):
    nothing = frames(spark, [product(at, side="train") for at in range(9)])
    found = evaluation.evaluate(*nothing, SETTINGS)
    assert [frame.count() for name, frame in found.items() if name != "gold.metrics"] == [0, 0]
    assert found["gold.metrics"].where("metric like 'aurc%' or level != 'leaf'").count() == 0

    # One category, which no taxonomy knows; nothing was trained on, so every brand is unseen.
    strange = frames(spark, [product(at, truth="gone", best="gone") for at in range(40)])
    got = {(r.slice, r.metric): r for r in evaluation.evaluate(*strange, SETTINGS)["gold.slices"].collect()}
    assert (got["all", "macro_f1"].value, got["all", "aurc"].value) == (1, 0)
    assert got["top_category", "accuracy"].slice_value == "(none)"
    assert got["brand_seen", "accuracy"].slice_value == "unseen"


def test_no_predictions_are_refused(spark, inputs):
    predictions, *others = inputs
    with pytest.raises(UsageError, match="no predictions to evaluate"):
        evaluation.evaluate(predictions.limit(0), *others, SETTINGS)
