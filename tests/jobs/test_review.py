"""Categories checked by people: a list goes out, comes back filled in, trains and measures; what cannot be taken in says why."""

import csv
import io
import random
from datetime import date
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F
from rich.console import Console

from shelfmark import config, migrations, pipeline
from shelfmark.cli.app import app, console
from shelfmark.errors import DataRefused, UsageError
from shelfmark.ingest.normalise import product_id
from shelfmark.labels import listing, reviews, sample
from shelfmark.lake import open_lake
from shelfmark.query import read
from shelfmark.run import Run, conform, execute
from shelfmark.tables import table
from shelfmark.text import calibrate, fit, model
from shelfmark.text.facts import NOTHING
from shelfmark.text.predict import predict

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]

MAPPING = """
description: a shop for tests
licence: made up, Apache-2.0
files: [{name}.csv]
format: {{kind: csv}}
key: id
region: {region}
language: en
fields: {{title: name}}
categories: {{field: group, labels: {labels}}}
"""
WORDS = {
    "Kitchen > Kettles": ["kettle", "boiler", "cordless", "spout", "whistle", "litre", "stove", "limescale"],
    "Kitchen > Toasters": ["toaster", "slice", "bread", "crumb", "browning", "bagel", "defrost", "slot"],
    "Bath > Towels": ["towel", "cotton", "soft", "absorbent", "terry", "guest", "sauna", "fringe"],
    "Shoes > Sandals": ["sandal", "strap", "summer", "buckle", "leather", "beach", "footbed", "toe"],
}
ROOTS = {path.split(" > ")[0] for path in WORDS}
CATEGORIES = {path: f"c{at}" for at, path in enumerate([*sorted(ROOTS), *WORDS])}
SIDES = ("train", "train", "train", "train", "train", "train", "tune", "calibrate", "calibrate", "test")
FACTS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))


def offers():
    """(source, key, region, title, group): words of a category, or, of every sixth, two of it and two of another one.

    The first two records of the shop are one product.
    """
    draw = random.Random(1)
    made = []
    for source, region, rows in (("shop", "US", 360), ("other", "MY", 60)):
        for i in range(rows):
            group, other = draw.sample(list(WORDS), 2)
            mixed = draw.sample(WORDS[group], 2) + draw.sample(WORDS[other], 2)
            words = mixed if i % 6 == 3 else draw.sample(WORDS[group], 5)
            draw.shuffle(words)
            made.append((source, str(i), region, " ".join(words), group))
    made[1] = ("shop", "1", *made[0][2:])
    return made


TRUTH = {product_id(source, key): group for source, key, _, _, group in offers()}
TWINS = [product_id("shop", "0"), product_id("shop", "1")]


class Lake:
    """A lake with a catalogue, its labels, a model and its predictions, written as the jobs write them."""

    def __init__(self, spark, root):
        self.spark, self.day = spark, 1
        for name, region, labels in (("shop", "US", "true"), ("other", "MY", "false")):
            (root / f"{name}.yml").write_text(MAPPING.format(name=name, region=region, labels=labels))
        self.settings = config.load(
            home=str(root / "home"), data=str(root), sources=["shop", "other"], source_dirs=[str(root)],
            text={"hash_bits": 14, "facts": ["source"]}, decision={"min_accepted": 5, "target_accuracy": 0.8},
            metrics={"min_support": 3},
        )  # fmt: skip
        # One write a table: what `Run.write` does beside that is tested elsewhere, and takes longer.
        run = Run("labels", "20260101-made", 1, self.settings, spark, open_lake(self.settings))
        products = [(product_id(source, key), *rest) for source, key, *rest in offers()]
        everything = {
            "silver.products": [
                {"product_id": product, "source": source, "source_key": key, "region": region, "title": title,
                 "category_paths": [group], "content_hash": "h"}
                for (source, key, *_), (product, region, title, group) in zip(offers(), products)
            ],
            "silver.taxonomy": [
                {"taxonomy_version": "t1", "category_id": category, "path": path, "name": path.split(" > ")[-1],
                 "parent_id": CATEGORIES.get(path.split(" > ")[0]) if " > " in path else None,
                 "depth": path.count(" > ") + 1}
                for path, category in CATEGORIES.items()
            ],
            "silver.category_map": [
                {"source": "shop", "source_path": path, "taxonomy_version": "t1", "category_id": CATEGORIES[path],
                 "origin": "file", "products": 90}
                for path in WORDS
            ],
            "silver.duplicates": [
                {"product_id": product, "region": region, "group_id": TWINS[0] if product in TWINS else product,
                 "survivor": product != TWINS[1], "relation": "same" if product in TWINS else "single",
                 "group_size": 2 if product in TWINS else 1}
                for product, region, *_ in products
            ],
            "silver.leak_groups": [
                {"product_id": product, "leak_group": product, "bucket": 0} for product, *_ in products
            ],
            "silver.catalogue": [
                {"group_id": product, "region": region, "product_id": product, "title": title, "source": source}
                for (source, *_), (product, region, title, _) in zip(offers(), products) if product != TWINS[1]
            ],
            "silver.labels": [
                {"product_id": product, "category_id": CATEGORIES[group], "taxonomy_version": "t1", "origin": "source",
                 "who": "shop", "primary": True, "weight": 1.0, "inclusion_probability": 1.0, "run_id": "20260101-made"}
                for product, region, _, group in products if region == "US"
            ],
            "gold.label_issues": [
                {"product_id": product_id("shop", "4"), "region": "US", "category_id": "c3", "suggested_id": "c4",
                 "suggested_path": "Kitchen > Toasters", "margin": 1.0, "given_confidence": 0.1,
                 "suggested_confidence": 0.9, "run_id": "r", "run_date": date(2026, 1, 1)}
            ],
            "silver.splits": [
                {"product_id": product, "leak_group": product, "side": SIDES[at % 10], "bucket": 0, "run_id": "r"}
                for at, (product, *_) in enumerate(products)
            ],
        }  # fmt: skip
        for name, rows in everything.items():
            contract = table(name)
            tuples = [tuple(row.get(column) for column in contract.columns) for row in rows]
            frame = spark.createDataFrame(tuples, contract.ddl).coalesce(1)
            migrations.writer(conform(frame, contract), contract, "overwrite").save(run.write_path(name))
        migrations.stamp(spark, run.write_path("silver.labels"), table("silver.labels"))
        folder = self.model(root, [(title, group) for _, region, title, group in products if region == "US"])
        run.put("models/text/made", str(folder))
        checksum = model.checksum(folder)
        contract = table("gold.models")
        row = {
            "model": "text", "model_version": "made", "path": "models/text/made", "checksum": checksum,
            "taxonomy_version": "t1", "settings": "{}", "metrics": "{}", "champion": True, "run_id": "20260101-made",
        }  # fmt: skip
        run.write("gold.models", spark.createDataFrame([tuple(row.get(c) for c in contract.columns)], contract.ddl))
        predicted = predict(run.read("silver.catalogue").coalesce(2), folder, checksum=checksum)
        for column, value in (("model", "text"), ("model_version", "made"), ("taxonomy_version", "t1")):
            predicted = predicted.withColumn(column, F.lit(value))
        run.write("gold.predictions", run.stamped(predicted))
        run.lake.publish(run.branch, "made", {"job": "labels", "run_id": "made", "status": "done"}, run.checks([]))

    def model(self, root, examples):
        """A model of the titles, trained here; what it is less sure of than 0.6 is for review."""
        text = config.Text(hash_bits=14, facts=[])
        nodes, tree = model.make_tree([CATEGORIES[path] for path in WORDS], {
            category: (path, CATEGORIES[path.split(" > ")[0]] if " > " in path else None)
            for path, category in CATEGORIES.items()
        })  # fmt: skip
        number = {nodes[node]["path"]: at for at, node in enumerate(tree.leaf)}
        work, folder, n = root / "work", root / "model", len(examples)
        tokens = pa.array([title.split() for title, _ in examples], pa.list_(pa.string()))
        labels = np.array([number[group] for _, group in examples])
        fit.count_grams(work, 0, [(tokens, labels, np.ones(n), pa.array([[]] * n, FACTS))], text)
        made = fit.prepare(work, folder, [0], n, text)
        fit.learn(work, folder, [0], made["features"], len(number), text)
        cell = {"region": "*", "category": "*", "name": "*", "accept": 0.6, "roll_up": calibrate.NEVER}
        about = {
            "text": text.model_dump(),
            "facts": NOTHING,
            "link": [3.0, 0.0, 1.0],
            "curves": {"*": [[], []]},
            "scope": -9.0,
        }
        about |= {"thresholds": [cell], "roll_up_depth": 2, "taxonomy_version": "t1"}
        model.write(folder, nodes, tree, about)
        return folder

    def run(self, job):
        main = pipeline.recipe(job).main
        return execute(job, main, self.settings, self.spark, f"202601{self.day:02d}-t", force=True)

    def read(self, name):
        lake = open_lake(self.settings)
        return read(self.spark, lake, lake.resolve("main").id, name)

    def export(self, out, **wanted):
        listed = listing.export(self.read, listing.Wanted(**wanted), out)
        return listed, list(csv.DictReader(out.open()))

    def give(self, file, rows, by="ann", run_id=None):
        """Import rows of a list, and what was printed."""
        with file.open("w", newline="") as target:
            writer = csv.DictWriter(target, listing.COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        self.day += 1
        said = io.StringIO()
        try:
            pipeline.review(
                reviews.of_file(file, by),
                self.settings,
                Console(file=said, width=300),
                run_id or f"202601{self.day:02d}-r",
            )
        finally:
            self.printed = said.getvalue()
        return self.printed


@pytest.fixture(scope="module")
def lake(spark, tmp_path_factory):
    return Lake(spark, tmp_path_factory.mktemp("reviewed"))


def said(capsys, *arguments):
    width, console.width = console.width, 200
    try:
        app([*map(str, arguments)], standalone_mode=False)
    finally:
        console.width = width
    return capsys.readouterr().out


def test_predictions_for_review_come_with_their_evidence_and_others_with_none(lake):
    rows = lake.read("gold.predictions").collect()
    assert {"accept", "review"} <= {row.decision for row in rows}
    titles = {row.product_id: row.title for row in lake.read("silver.catalogue").collect()}
    for row in rows:
        if row.decision != "review":
            assert row.evidence is None
            continue
        assert 0 < len(row.evidence) <= 5
        words = {word for e in row.evidence for word in e.feature.split() if word != "…"}
        assert words <= set(titles[row.product_id].lower().split())


def test_explain_takes_the_margin_apart(lake, capsys):
    text = said(capsys, "explain", "shop:2", "--home", lake.settings.home)
    row = lake.read("gold.predictions").where(f"product_id = '{product_id('shop', '2')}'").head()
    assert f"{row.decision}: {row.category_path}, confidence {row.confidence:.3f}" in text
    rows = [line.strip("│┃ ").split("│") for line in text.splitlines() if line.startswith("│")]
    amounts = {name.strip(): float(amount) for name, amount in rows}
    assert amounts.pop("sum") == pytest.approx(sum(amounts.values()), abs=0.02)
    assert any(name.split()[0] in chain(*WORDS.values()) for name in amounts)
    # A record that the golden record is not called after is explained by way of it.
    assert TWINS[0] in said(capsys, "explain", TWINS[1], "--home", lake.settings.home)
    for arguments, says in ((["0" * 32], "no product 0000"), (["nothing"], "is no product_id")):
        with pytest.raises(UsageError, match=says):
            said(capsys, "explain", *arguments, "--home", lake.settings.home)


def test_a_list_has_the_sample_first_then_what_is_least_sure(lake, tmp_path):
    predictions = {row.product_id: row for row in lake.read("gold.predictions").collect()}
    listed, rows = lake.export(tmp_path / "a.csv", sample=100)
    drawn = [row for row in rows if "sample" in row["why_listed"]]
    assert rows[: len(drawn)] == drawn
    assert 60 <= len(drawn) <= 140
    share = min(1.0, 100 / len(predictions))
    assert {row["sample"] for row in drawn} == {str(sample.Design(1, share))}
    assert {float(row["inclusion_probability"]) for row in drawn} == {share}
    rest = rows[len(drawn) :]
    doubted = product_id("shop", "4")
    assert {row["product_id"] for row in rows if "label_issue" in row["why_listed"]} == {doubted}
    assert {row["suggested_category"] for row in rows if row["product_id"] == doubted} == {"Kitchen > Toasters"}
    others = [row for row in rest if row["product_id"] != doubted]
    assert {(row["why_listed"], row["inclusion_probability"], row["sample"]) for row in others} == {("review", "1", "")}
    sure = [float(row["model_confidence"]) for row in rest]
    assert sure == sorted(sure)
    asked = {row["product_id"] for row in rows if "review" in row["why_listed"]}
    assert asked == {product for product, row in predictions.items() if row.decision == "review"}
    assert (listed.rows, listed.by["sample"], listed.by["review"]) == (len(rows), len(drawn), len(asked))
    for row in rows:
        assert row["title"]
        assert row["model_category"] in WORDS
        assert bool(row["label"]) == (row["source"] == "shop")
        assert bool(row["evidence"]) == (row["decision"] == "review")
        assert (row["category"], row["verdict"]) == ("", "")
    _, few = lake.export(tmp_path / "b.csv", limit=2, regions=["MY"], sources=["other"])
    assert [row["region"] for row in few] == ["MY", "MY"]
    assert lake.export(tmp_path / "c.csv", reason="no word of the text is known")[1] == []
    with pytest.raises(UsageError, match=r"c\.csv is there already"):
        lake.export(tmp_path / "c.csv")
    with pytest.raises(UsageError, match="--region TH: no predictions there; there are: MY, US"):
        lake.export(tmp_path / "d.csv", regions=["TH"])


def test_what_people_say_is_recorded_once_corrected_and_withdrawn(lake, tmp_path):
    _, rows = lake.export(tmp_path / "list.csv")
    one, two, three, four = rows[:4]
    one["verdict"], two["verdict"], three["category"] = "ok", "out_of_scope", "Bath > Towels"
    four |= {"category": "Bath > Towel", "checked_by": "bob"}
    text = lake.give(
        tmp_path / "first.csv",
        [*rows, {"product_id": "0" * 32, "verdict": "ok", "model_category_id": one["model_category_id"]}],
    )
    assert "3 recorded, 2 refused" in text
    assert "refused: line 5" in text
    assert "did you mean Bath > Towels?" in text
    assert "no product 00000000000000000000000000000000 in silver.products" in text
    refused = {row.rule: row for row in lake.read("silver.rejected").where("table = 'silver.reviews'").collect()}
    assert set(refused) == {"review_category_unknown", "review_product_unknown"}
    assert refused["review_category_unknown"].key == four["product_id"]
    assert '"checked_by": "bob"' in refused["review_category_unknown"].payload
    labels = {
        r.product_id: (r.category_id, r.who) for r in lake.read("silver.labels").where("origin = 'person'").collect()
    }
    paths = {r.path: r.category_id for r in lake.read("silver.taxonomy").collect()}
    assert labels == {
        one["product_id"]: (one["model_category_id"], "ann"),
        three["product_id"]: (paths["Bath > Towels"], "ann"),
    }
    # The same file again changes nothing; a corrected row settles what was refused.
    words = lake.read("silver.reviews").count()
    four["category"] = paths["Bath > Towels"]
    text = lake.give(tmp_path / "first.csv", rows)
    assert "1 recorded, 3 known before" in text
    assert lake.read("silver.reviews").count() == words + 1
    states = {r.rule: r.resolved_by for r in lake.read("silver.rejected").where("table = 'silver.reviews'").collect()}
    assert states["review_category_unknown"] is not None
    assert states["review_product_unknown"] is None
    # The newest word holds, and a word can be taken back.
    another = next(path for path in WORDS if path != one["model_category"])
    again = [
        {**one, "verdict": "", "category": another},
        {**three, "category": "", "verdict": "withdrawn"},
    ]
    assert "2 recorded, 1 withdrawn" in lake.give(tmp_path / "second.csv", again)
    labels = {r.product_id: r.category_id for r in lake.read("silver.labels").where("origin = 'person'").collect()}
    assert labels == {
        one["product_id"]: paths[another],
        four["product_id"]: paths["Bath > Towels"],
    }
    # Who has been spoken of is not asked for again; who was taken back is.
    _, left = lake.export(tmp_path / "left.csv")
    spoken = {one["product_id"], two["product_id"], four["product_id"]}
    assert {row["product_id"] for row in rows} - {row["product_id"] for row in left} == spoken


def test_where_no_row_can_be_taken_in_nothing_is_recorded_and_the_reasons_are_kept(lake, tmp_path):
    before = lake.read("silver.reviews").count()
    row = {"product_id": product_id("shop", "3"), "verdict": "withdrawn"}
    with pytest.raises(
        DataRefused, match="no row can be taken in; the first, line 2: nothing was said of this product"
    ):
        lake.give(tmp_path / "none.csv", [row])
    assert "refused: line 2" in lake.printed
    assert lake.read("silver.reviews").count() == before
    assert lake.read("silver.rejected").where("rule = 'review_nothing_to_withdraw'").count() == 1
    text = lake.give(tmp_path / "none.csv", [{**row, "verdict": "out_of_scope"}], run_id="20260102-r")
    assert "run 20260102-r was published before; nothing is recorded again" in text
    assert lake.read("silver.reviews").count() == before


@pytest.mark.nightly
def test_what_was_chosen_trains_what_was_drawn_measures_and_both_survive_the_next_run(lake, tmp_path):
    _, rows = lake.export(tmp_path / "list.csv", sample=200, seed=5)
    drawn = [row for row in rows if row["sample"]]
    for row in drawn:
        row["category"] = TRUTH[row["product_id"]]
    other = {"product_id": TWINS[1], "category": "Bath > Towels"}
    assert f"{len(drawn) + 1} recorded, {len(drawn)} of the sample" in lake.give(
        tmp_path / "sample.csv", [*drawn, other]
    )
    before = {r.product_id: r.category_id for r in lake.read("silver.labels").where("origin = 'person'").collect()}
    for job in ("labels", "train_text", "predict", "evaluate"):
        assert lake.run(job).status == "done", job
    labels = lake.read("silver.labels").where("origin = 'person'").collect()
    assert {r.product_id: r.category_id for r in labels} == before
    assert {r.product_id for r in labels if r.inclusion_probability < 1} == {row["product_id"] for row in drawn}
    metrics = lake.read("gold.metrics")
    newest = max(r.run_id for r in metrics.select("run_id").distinct().collect())
    got = {(r.region, r.metric): r for r in metrics.where(f"side = 'checked' and run_id = '{newest}'").collect()}
    assert {region for region, _ in got} == {"*", "MY", "US"}
    # The share of all golden records whose predicted category is the one they were made of.
    predicted = {r.product_id: r for r in lake.read("gold.predictions").where(f"run_id = '{newest}'").collect()}
    right = [CATEGORIES[TRUTH[product]] == r.top_k[0].category_id for product, r in predicted.items()]
    figure = got["*", "checked_accuracy"]
    assert figure.low <= sum(right) / len(right) <= figure.high
    assert figure.support >= 0.9 * len(drawn)
    # A version was trained with them; whether it became the champion is for the gate to say.
    assert lake.read("gold.models").where(f"model_version = '{newest}'").count() == 1
