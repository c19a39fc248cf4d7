"""Train and predict on Spark, end to end, on a small made-up catalogue."""

import itertools
import json
import random
import shutil

import numpy as np
import pyarrow as pa
import pytest

from shelfmark import config
from shelfmark.errors import DataRefused, UsageError
from shelfmark.text import model
from shelfmark.text.branch import Branch
from shelfmark.text.predict import predict
from shelfmark.text.train import train

WORDS = {
    "home > kitchen > kettles": ["kettle", "wasserkocher", "litre", "steel", "boil", "cordless"],
    "home > kitchen > toasters": ["toaster", "slice", "bread", "steel", "crumb", "browning"],
    "home > bath > towels": ["towel", "handtuch", "cotton", "soft", "bath", "absorbent"],
    "wear > shoes > sneakers": ["sneaker", "trainers", "running", "sole", "mesh", "lace"],
    "wear > shoes > sandals": ["sandal", "strap", "summer", "sole", "leather", "buckle"],
    "wear > tops > shirts": ["shirt", "cotton", "sleeve", "collar", "button", "slim"],
}
NOISE = ["new", "sale", "blue", "red", "2023", "original", "pack", "for", "men", "women", "best"]
PRODUCT = "product_id string, category_id string, weight double, title string, brand string, region string"
FACTS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))
RARE = "wear > hats > berets"


def catalogue(rows, seed):
    """Titles of two words of their category and two that say nothing; one row of a category without support."""
    draw = random.Random(seed)
    made = []
    for i in range(rows):
        path = draw.choice(list(WORDS))
        title = draw.sample(WORDS[path], 2) + draw.sample(NOISE, 2)
        draw.shuffle(title)
        made.append((f"{seed}-{i:05d}", path, 1.0, " ".join(title).title(), draw.choice(["Acme", None]), "US"))
    made.append((f"{seed}-rare", RARE, 1.0, "felt beret", None, "US"))
    return made


def taxonomy():
    nodes = {}
    for path in [*WORDS, RARE]:
        levels = path.split(" > ")
        for depth in range(1, len(levels) + 1):
            nodes[" > ".join(levels[:depth])] = " > ".join(levels[: depth - 1]) or None
    return [("v1", path, path, parent) for path, parent in nodes.items()]


@pytest.fixture(scope="module")
def sides(spark):
    return {
        name: spark.createDataFrame(catalogue(rows, seed), PRODUCT)
        for seed, (name, rows) in enumerate({"rows": 1400, "calibrate": 400, "tune": 300}.items())
    }


def trained(spark, sides, folder, decision=None, branch=None, **text):
    settings = config.Settings(
        text=config.Text(**{"hash_bits": 16, "facts": [], **text}), decision=decision or config.Decision()
    )
    tree = spark.createDataFrame(
        taxonomy(), "taxonomy_version string, category_id string, path string, parent_id string"
    )
    return train(
        sides["rows"], sides["calibrate"], sides["tune"], tree, settings, folder / "work", folder / "model", branch
    )  # fmt: skip


@pytest.fixture(scope="module")
def first(spark, sides, tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    return folder, trained(spark, sides, folder)


def test_learns_the_categories_and_says_how_well(first):
    folder, result = first
    assert result["categories"] == len(WORDS)
    assert result["training_rows"] == 1400
    assert result["metrics"]["accuracy"] > 0.97
    assert result["metrics"]["macro_f1"] > 0.97
    assert result["metrics"]["accepted_accuracy"] >= 0.95
    assert result["checksum"] == model.checksum(folder / "model")
    assert not (folder / "work").exists()


def test_says_what_calibration_brought(first):
    metrics = first[1]["metrics"]
    assert set(metrics["after"]) == set(metrics["before"]) == {"ece", "ece_by_chance", "brier", "aurc"}
    assert metrics["after"]["ece"] < metrics["before"]["ece"]
    assert [cell["target"] for cell in metrics["thresholds"]] == [0.95]


def test_regions_and_branches_have_targets_of_their_own(spark, sides, tmp_path):
    tops = "wear > tops > shirts"
    decision = config.Decision(
        by_region={"US": 0.9, "IN": 0.99}, by_category={"wear > tops": 0.8, tops: 0.97, RARE: 0.9}
    )
    result = trained(spark, sides, tmp_path, decision=decision)
    cells = {(one["region"], one["category"]): one for one in result["metrics"]["thresholds"]}
    assert set(cells) == {(r, c) for r in ("*", "US", "IN") for c in ("*", "wear > tops", tops)}  # RARE is not learnt
    assert cells["US", "*"]["target"] == 0.9
    assert cells["US", tops]["target"] == 0.97
    assert cells["IN", tops]["target"] == 0.99
    # All rows are of US; a shirt's are those of the deeper branch, and too few to accept on.
    assert cells["US", "*"]["rows"] + cells["US", tops]["rows"] == 401
    assert cells["US", tops]["accept"] > 1 >= cells["US", "*"]["accept"]
    said = predict(sides["tune"], tmp_path / "model", keep=("product_id",))
    reasons = {
        row.reason for row in said.where(f"top_k[0].category_id = '{tops}'").select("reason").distinct().collect()
    }
    few = "fits no category: out of scope"
    assert reasons - {few} == {f"no confidence is high enough to accept in US and {tops}"}
    with pytest.raises(UsageError, match="no category 'wear > top'; the nearest is 'wear > tops'"):
        trained(spark, sides, tmp_path, decision=config.Decision(by_category={"wear > top": 0.9}))


def test_logit_adjustment_raises_rare_categories(spark, first, tmp_path):
    common = [(f"c{i}", "a", 1.0, "plain thing", None, "US") for i in range(90)]
    rows = common + [(f"r{i}", "b", 1.0, "plain thing", None, "US") for i in range(45)]
    frame = spark.createDataFrame(rows, PRODUCT)
    tree = spark.createDataFrame(
        [("v1", one, one, None) for one in "ab"],
        "taxonomy_version string, category_id string, path string, parent_id string",
    )
    for tau, expected in ((0, "a"), (2.0, "b")):
        text = config.Text(hash_bits=16, facts=[], reweight="none", logit_tau=tau)
        train(frame, frame, frame, tree, config.Settings(text=text), tmp_path / "work", tmp_path / f"{tau}")
        assert predict(frame, tmp_path / f"{tau}", 1, ("product_id",)).head().top_k[0].category_id == expected


def test_reports_the_categories_below_support(first):
    assert first[1]["below_support"] == [{"category_id": RARE, "path": RARE, "support": 1}]


def test_the_model_does_not_depend_on_partitions(spark, sides, first, tmp_path):
    again = {name: df.repartition(5) for name, df in sides.items()}
    result = trained(spark, again, tmp_path)
    assert result["checksum"] == first[1]["checksum"]


def test_predicts_the_same_on_spark_and_directly(spark, sides, first):
    folder, _ = first
    rows = sides["tune"].limit(200)
    said = predict(rows, folder / "model", top_k=3, keep=("product_id", "region", "title")).collect()
    assert len(said) == 200
    found = model.load(str(folder / "model"))
    words = pa.array([r["title"].lower().split() for r in said])
    direct = model.answer(found, words, pa.array([[]] * 200, FACTS), 3)
    assert [r["category_id"] for r in said] == [found.nodes[n]["id"] for n in direct.node]
    np.testing.assert_allclose([r["confidence"] for r in said], direct.confidence, rtol=1e-6)
    for row, number, decision in zip(said, direct.number, direct.decision):
        assert [best["category_id"] for best in row["top_k"]] == [found.nodes[found.tree.leaf[n]]["id"] for n in number]
        assert row["decision"] == model.DECISIONS[decision]
        assert row["category_path"] == row["category_id"]


def test_facts_decide_where_titles_do_not(spark, tmp_path):
    """Two categories of one and the same words: a cheap one in red, and one that is dear or blue."""
    draw = random.Random(3)

    def offers(n, seed):
        made = []
        for i in range(n):
            price, colour = draw.uniform(1, 100), draw.choice(["red", "Blue "])
            path = "wear > shoes > sandals" if price < 50 and colour == "red" else "wear > shoes > sneakers"
            attributes = [("colour", colour, None), ("weight", f"{draw.randint(1, 9)},000", "g")]
            made.append((f"{seed}-{i}", path, 1.0, "shoe", price, "EUR", "shop", attributes))
        return spark.createDataFrame(
            made,
            "product_id string, category_id string, weight double, title string, price double, currency string, "
            "source string, attributes array<struct<name:string,value:string,unit:string>>",
        )

    sides = {"rows": offers(1200, "a"), "calibrate": offers(400, "b"), "tune": offers(400, "c")}
    facts = ["price", "source", "attributes"]
    with_facts = trained(spark, sides, tmp_path / "with", facts=facts)
    without = trained(spark, sides, tmp_path / "without")
    assert with_facts["metrics"]["accuracy"] > 0.9 > without["metrics"]["accuracy"]
    spread = {name: df.repartition(7) for name, df in sides.items()}
    assert trained(spark, spread, tmp_path / "again", facts=facts)["checksum"] == with_facts["checksum"]
    learnt = json.loads((tmp_path / "with" / "model" / "model.json").read_text())["facts"]
    assert set(learnt["numbers"]) == {"[price] EUR", "weight g"}
    assert sorted(map(tuple, learnt["words"])) == [("[source]", "shop"), ("colour", "blue"), ("colour", "red")]
    said = predict(sides["tune"], tmp_path / "with" / "model", keep=("product_id",))
    truth = sides["tune"].select("product_id", "category_id").withColumnRenamed("category_id", "truth")
    assert said.join(truth, "product_id").where("top_k[0].category_id = truth").count() > 0.9 * 400
    # Without the columns nothing is stated: it predicts all the same.
    assert (
        predict(sides["tune"].select("product_id", "title"), tmp_path / "with" / "model", keep=("product_id",)).count()
        == 400
    )


def test_a_region_has_a_head_of_its_own(spark, tmp_path):
    """A jumper is a pullover in one region and a dress in the other, a blouse the other way round."""
    draw = random.Random(5)
    meant = {"GB": {"jumper": "wear > tops > shirts", "blouse": "wear > shoes > sandals"}}
    meant["US"] = dict(zip(meant["GB"], reversed(meant["GB"].values())))

    def offers(n, seed):
        made = []
        for i in range(n):
            region, word = draw.choice(["GB", "US", "GB"]), draw.choice(["jumper", "blouse"])
            made.append((f"{seed}-{i}", meant[region][word], 1.0, f"{draw.choice(NOISE)} {word}".title(), None, region))
        return spark.createDataFrame([*made, (f"{seed}-none", RARE, 1.0, None, None, None)], PRODUCT)

    sides = {"rows": offers(900, "a"), "calibrate": offers(400, "b"), "tune": offers(300, "c")}
    heads = trained(spark, sides, tmp_path / "heads", facts=["region"])
    common = trained(spark, sides, tmp_path / "common")
    assert heads["metrics"]["accuracy"] > 0.95 > 0.75 > common["metrics"]["accuracy"]
    learnt = json.loads((tmp_path / "heads" / "model" / "model.json").read_text())["facts"]["words"]
    assert {("[region]", "gb"), ("[in GB]", "jumper"), ("[in US]", "jumper")} <= set(map(tuple, learnt))


def test_auto_keeps_the_class_weights_that_do_best_on_the_tune_side(spark, sides, tmp_path):
    result = trained(spark, sides, tmp_path, reweight="auto", logit_tau="auto")
    tried = result["metrics"]["tried"]
    assert set(tried) == {"none", "sqrt", "effective", "inverse"}
    assert result["metrics"]["reweight"] == max(tried, key=tried.get)
    adjusted = result["metrics"]["tried_tau"]
    assert adjusted["0"] == tried[result["metrics"]["reweight"]]
    assert result["metrics"]["macro_f1"] == max(adjusted.values()) == adjusted[str(result["metrics"]["logit_tau"])]
    assert predict(sides["tune"], tmp_path / "model", keep=("product_id",), checksum=result["checksum"]).count() == 301


def test_a_text_without_a_known_word_is_for_review(spark, first):
    odd = spark.createDataFrame(
        [("a", None), ("b", ""), ("c", "?? !!"), ("d", "ժզթ")], "product_id string, title string"
    )
    said = predict(odd, first[0] / "model", keep=("product_id",)).collect()
    assert [(r["decision"], r["reason"]) for r in said] == [("review", "no word of the text is known")] * 4


def test_a_product_that_fits_no_category_is_for_review_and_says_so(spark, sides, tmp_path):
    """Garden tools, in the words that kettles and shoes share: nothing speaks for a category."""
    result = trained(spark, sides, tmp_path, decision=config.Decision(out_of_scope=0.02))
    odd = spark.createDataFrame(
        [(f"o{i}", f"{a} rake {b}") for i, (a, b) in enumerate(itertools.combinations(NOISE, 2))],
        "product_id string, title string",
    )
    said = predict(odd, tmp_path / "model", keep=("product_id",)).toPandas()
    assert (said.reason == "fits no category: out of scope").mean() > 0.9
    assert (said.decision[said.reason == "fits no category: out of scope"] == "review").all()
    known = (
        predict(sides["tune"], tmp_path / "model", keep=("product_id",)).where("reason like '%out of scope'").count()
    )
    assert known < 0.08 * 301
    assert -2.5 < result["metrics"]["scope"] < 2.5  # a score and one and a half of the router's


def test_a_changed_model_is_refused(spark, sides, first, tmp_path):
    folder, result = first
    shutil.copytree(folder / "model", tmp_path / "model")
    bias = np.load(tmp_path / "model" / "bias.npy")
    np.save(tmp_path / "model" / "bias.npy", bias + 1)
    with pytest.raises(DataRefused, match="checksum"):
        predict(sides["tune"], tmp_path / "model", checksum=result["checksum"])


def test_a_missing_model_is_refused(sides, tmp_path):
    with pytest.raises(DataRefused, match="no text model"):
        predict(sides["tune"], tmp_path)


def test_no_category_with_support_is_refused(spark, sides, tmp_path):
    with pytest.raises(DataRefused, match="no category has"):
        trained(spark, sides, tmp_path, min_support=5000)


def test_the_cap_and_brands(spark, sides, tmp_path):
    result = trained(spark, sides, tmp_path, max_rows_per_category=60, fields=["title", "brand"])
    assert 0.7 * 360 < result["training_rows"] < 1.3 * 360
    assert result["metrics"]["accuracy"] > 0.9
    about = json.loads((tmp_path / "model" / "model.json").read_text())
    assert sum(about["support"].values()) == 1400  # support is what there was, before the cap
    said = predict(sides["tune"], tmp_path / "model", keep=("product_id",), checksum=result["checksum"])
    assert said.where("decision = 'accept'").count() > 200


def test_a_branch_is_learnt_anew_and_all_else_stays(spark, sides, first, tmp_path):
    folder, _ = first

    # Sandals are renamed to clogs: the labels and words below "wear > shoes" changed, those of towels are nonsense now.
    def shifted(df):
        category = "CASE category_id WHEN 'wear > shoes > sandals' THEN 'wear > shoes > clogs' ELSE category_id END"
        title = "IF(category_id = 'wear > shoes > sandals', replace(lower(title), 'sandal', 'clog'), title)"
        title = f"IF(category_id = 'home > bath > towels', 'kettle ' || title, {title})"
        return df.selectExpr(
            "product_id", f"{category} AS category_id", "weight", f"{title} AS title", "brand", "region"
        )

    changed = {name: shifted(df) for name, df in sides.items()}
    nodes = [*taxonomy(), ("v1", "wear > shoes > clogs", "wear > shoes > clogs", "wear > shoes")]
    nodes = [(*node[:2], *node[2:]) for node in nodes if node[1] != "wear > shoes > sandals"]
    tree = spark.createDataFrame(nodes, "taxonomy_version string, category_id string, path string, parent_id string")
    settings = config.Settings(text=config.Text(hash_bits=16, facts=[]))
    part = Branch("wear > shoes", folder / "model", first[1]["checksum"])
    said = [
        changed["rows"],
        changed["calibrate"],
        changed["tune"],
        tree,
        settings,
        tmp_path / "work",
        tmp_path / "model",
    ]
    result = train(*said, branch=part)
    assert result["metrics"]["branch"] == "wear > shoes"
    before, after = (model.load(str(one)) for one in (folder / "model", tmp_path / "model"))
    known = len(before.arrays["idf"])
    assert np.array_equal(before.arrays["idf"], after.arrays["idf"][:known])
    assert len(after.arrays["idf"]) > known  # clogs are new
    of = {n: {found.nodes[leaf]["id"]: dense(found)[:, at] for at, leaf in enumerate(found.tree.leaf)}
          for n, found in (("before", before), ("after", after))}  # fmt: skip
    assert set(of["after"]) == {*WORDS, "wear > shoes > clogs"} - {"wear > shoes > sandals"}
    for category in set(of["after"]) & set(of["before"]):
        kept = of["after"][category][[*range(known), -1]]
        same = np.array_equal(of["before"][category], kept) and not of["after"][category][known:-1].any()
        assert same == (not category.startswith("wear > shoes")), category
    asked = spark.createDataFrame([("1", "Summer Clog Strap")], "product_id string, title string")
    assert predict(asked, tmp_path / "model", keep=("product_id",)).head().category_id == "wear > shoes > clogs"


def dense(found):
    """All weights of a model, [features, categories], the bias last."""
    arrays = found.arrays
    head = np.concatenate(
        [block[:, : last - start] for block, (start, last) in zip(arrays["head"], itertools.pairwise(arrays["edges"]))],
        1,
    )
    tail = np.zeros((len(arrays["indptr"]) - 1, head.shape[1]), np.float32)
    rows = np.repeat(np.arange(len(tail)), np.diff(arrays["indptr"]))
    tail[rows, arrays["categories"]] = arrays["values"]
    return np.concatenate([head, tail, arrays["bias"][None]])


def test_a_branch_that_cannot_be_learnt_alone_is_refused(spark, sides, first, tmp_path):
    folder, _ = first
    part = Branch("wear > shoes", folder / "model")
    with pytest.raises(UsageError, match=r"other features \(text\.pairs\): train all"):
        trained(spark, sides, tmp_path, branch=part, pairs=0)
    with pytest.raises(
        UsageError, match="--branch: the taxonomy has no category 'wear > shoe'; the nearest is 'wear > shoes'"
    ):
        trained(spark, sides, tmp_path, branch=part._replace(name="wear > shoe"))
    with pytest.raises(DataRefused, match="no category below 'wear > hats' has 2 training rows"):
        trained(spark, sides, tmp_path, branch=part._replace(name="wear > hats"))
    with pytest.raises(DataRefused, match="files were changed after training"):
        trained(spark, sides, tmp_path, branch=part._replace(checksum="0" * 64))
    fewer = [node for node in taxonomy() if "bath" not in node[1]]
    tree = spark.createDataFrame(fewer, "taxonomy_version string, category_id string, path string, parent_id string")
    settings = config.Settings(text=config.Text(hash_bits=16, facts=[]))
    without = [df.where("category_id not like '%bath%'") for df in sides.values()]
    with pytest.raises(
        DataRefused, match="1 categories of the champion outside 'wear > shoes' are not in the taxonomy"
    ):
        train(*without, tree, settings, tmp_path / "work", tmp_path / "gone", branch=part)


def test_branches_are_the_first_level_with_enough_of_them(first):
    folder, _ = first
    found = model.load(str(folder / "model"))
    groups = {}
    for leaf, group in zip(found.tree.leaf, model.branches(found.tree)):
        groups.setdefault(group, set()).add(found.nodes[leaf]["path"].rpartition(" > ")[0])
    assert sorted(map(tuple, groups.values())) == [
        ("home > bath",), ("home > kitchen",), ("wear > shoes",), ("wear > tops",)
    ]  # fmt: skip
    assert len(found.arrays["router_bias"]) == 4

    # Ten roots are enough; a flat taxonomy has no branches, and neither has a single root with its leaves.
    def tree(paths):
        known = {path: (path, path.rpartition(" > ")[0] or None) for path in paths}
        return model.make_tree([path for path in paths if path.count(" > ") == 1], known)[1]

    roots = [f"r{i}" for i in range(10)]
    leaves = [f"{root} > {leaf}" for root in roots for leaf in "abc"]
    assert model.branches(tree(roots + leaves)).max() == 9
    assert model.branches(tree(["r", "r > a", "r > b"])) is None
    flat = model.make_tree(list("abc"), {one: (one, None) for one in "abc"})[1]
    assert model.branches(flat) is None


def test_names_of_categories_are_learnt_from_as_titles(spark, sides, tmp_path):
    # A berets' row is no row of "berets": only the name says that word.
    unsaid = {name: df.where("category_id != 'wear > hats > berets'") for name, df in sides.items()}
    rows = spark.createDataFrame(
        [("b1", RARE, 1.0, "felt cap", None, "US"), ("b2", RARE, 1.0, "wool cap", None, "US")], PRODUCT
    )
    unsaid["rows"] = unsaid["rows"].unionByName(rows)
    asked = spark.createDataFrame([("1", "Berets")], "product_id string, title string")
    said = []
    for weight in (0.0, 1.0):
        result = trained(spark, unsaid, tmp_path / f"{weight}", names=weight)
        assert result["training_rows"] == 1402
        (row,) = predict(asked, tmp_path / f"{weight}" / "model", 1, keep=("product_id",)).collect()
        said.append(row.top_k[0].category_id)
    assert said[0] != RARE
    assert said[1] == RARE
