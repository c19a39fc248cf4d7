"""Training on Spark, end to end: folds, towers, fusion, calibration; a run that was killed goes on; ranks of Horovod."""

import json
import os

import pytest

from shelfmark import config
from shelfmark.errors import DataRefused

pytest.importorskip("torch")

from small_model import LEAVES, TAXONOMY, products

from shelfmark.multimodal import loop, predict, train

pytestmark = pytest.mark.slow

SIDES = {"train": 900, "tune": 250, "calibrate": 400, "test": 250}
SMALL = {
    "train": "always", "modalities": ["title", "picture", "fields"], "picture_tower": "test_resnet", "picture_size": 24,
    "hash_bits": 12, "fields_width": 32, "epochs": 4, "batch": 64, "group_rows": 32, "threads": 1, "lanes": 4,
    "launcher": "in_process",
}  # fmt: skip


@pytest.fixture(scope="module")
def tables(spark):
    """(labelled rows of all sides, pictures, taxonomy)."""
    rows, pictures = [], {}
    for seed, (side, n) in enumerate(SIDES.items()):
        made, leaf = products(n, seed)
        for at, one in enumerate(made.to_pylist()):
            image = f"{side}-{at}" if at % 6 else None  # every sixth has no picture
            pictures[image] = one["picture"]
            facts = [{**fact, "unit": None} for fact in one["fields"] or ()]
            category = LEAVES[leaf[at]] if at else "rare"
            rows.append(
                (f"{side}-{at}", category, 1.0, side, f"g-{side}-{at // 2}", one["title"], one["region"], image, facts)
            )
    del pictures[None]
    ddl = (
        "product_id string, category_id string, weight double, side string, leak_group string, title string, region string, "
        "image_id string, attributes array<struct<name:string,value:string,unit:string>>"
    )
    tree = [
        ("t-1", category, path, parent) for category, (path, parent) in (TAXONOMY | {"rare": ("Rare", None)}).items()
    ]
    return (
        spark.createDataFrame(rows, ddl).cache(),
        spark.createDataFrame(list(pictures.items()), "image_id string, bytes binary").cache(),
        spark.createDataFrame(
            tree, "taxonomy_version string, category_id string, path string, parent_id string"
        ).cache(),
    )


def trained(tables, folder, **multimodal):
    decision = {"min_accepted": 100, "target_accuracy": 0.9, "roll_up_depth": 1}
    settings = config.Settings(
        text=config.Text(facts=["attributes"]), multimodal=config.Multimodal(**SMALL | multimodal), decision=decision
    )
    return train.train(*tables, settings, folder / "work", folder / "model", "commit-1")


@pytest.fixture(scope="module")
def first(tables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("multimodal")
    return folder, trained(tables, folder)


def test_fusion_is_better_than_any_modality_and_all_is_told(first):
    folder, told = first
    rules = told["metrics"]["rules"]
    assert set(rules) == {"max", "mean", "ridge", "gated", "policy", "title", "picture", "fields"}
    alone = max(rules[name]["accuracy"] for name in ("title", "picture", "fields"))
    assert rules[told["metrics"]["fusion"]]["accuracy"] > alone + 0.05
    assert told["metrics"]["accuracy"] > 0.85
    assert told["categories"] == 4
    assert told["metrics"]["candidate_recall"]["1"] > 0.6 < told["metrics"]["candidate_recall"]["10"] == 1.0
    assert [(one["category_id"], one["support"]) for one in told["below_support"]] == [("rare", 1)]
    assert (
        set(told["metrics"]["history"])
        == {"title", "picture", "fields"}
        == {path.name for path in (folder / "model").iterdir() if path.is_dir()}
    )
    assert not any((folder / "work").iterdir())  # what it worked in is gone


def test_it_predicts_on_spark_what_it_was_measured_to(tables, first):
    folder, told = first
    rows, images, _ = tables
    asked = rows.where("side = 'test' AND category_id != 'rare'").withColumnRenamed("category_id", "truth")
    said = predict.predict(asked, folder / "model", images, 1, ("product_id", "truth"), told["checksum"]).collect()
    right = [row.top_k[0].category_id == row.truth for row in said]
    assert len(right) == SIDES["test"] - 1
    assert sum(right) / len(right) > told["metrics"]["accuracy"] - 0.08
    accepted = [one for one, row in zip(right, said) if row.decision == "accept"]
    assert len(accepted) > 50
    assert sum(accepted) / len(accepted) > 0.85


def test_a_killed_training_encodes_nothing_again_and_ends_alike(tables, first, tmp_path, monkeypatch):
    real, calls = loop.train, []

    def dies(group, out, *arguments):
        calls.append(os.path.basename(out))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(group, out, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train", dies)
        with pytest.raises(KeyboardInterrupt):
            trained(tables, tmp_path)
    assert calls == ["title-fold-0", "title-fold-1", "title-all"]
    (work,) = (tmp_path / "work").iterdir()
    cached = {path: path.stat().st_mtime_ns for path in (work / "cache").rglob("*.parquet")}
    seen = []

    def told(group, out, *arguments):
        found = real(group, out, *arguments)
        seen.append({path: path.stat().st_mtime_ns for path in (work / "cache").rglob("*.parquet")})
        return found

    monkeypatch.setattr(loop, "train", told)
    again = trained(tables, tmp_path)
    assert all(one == cached for one in seen)
    assert again["checksum"] == first[1]["checksum"]


def test_early_fusion_joins_features_and_bears_a_missing_picture(tables, tmp_path):
    told = trained(tables, tmp_path, fusion="early", modality_dropout=0.3)
    rules = told["metrics"]["rules"]
    assert set(rules) == {"early", "title", "picture", "fields"}
    assert rules["early"]["accuracy"] > max(rules[name]["accuracy"] for name in ("title", "picture"))
    assert told["metrics"]["fusion"] == "early"
    rows, images, _ = tables
    asked = rows.where("side = 'test' AND category_id != 'rare'").withColumnRenamed("category_id", "truth")
    for pictures, least in ((images, 0.75), (None, 0.55)):
        said = predict.predict(asked, tmp_path / "model", pictures, 1, ("truth",), told["checksum"]).collect()
        assert sum(row.top_k[0].category_id == row.truth for row in said) / len(said) > least


def test_pairs_of_towers_predict_what_they_were_measured_to(tables, tmp_path):
    told = trained(tables, tmp_path, paired=True, modalities=["title", "fields"], folds=1, fusion="mean")
    rows, images, _ = tables
    asked = rows.where("side = 'test' AND category_id != 'rare'").withColumnRenamed("category_id", "truth")
    said = predict.predict(asked, tmp_path / "model", images, 1, ("truth",), told["checksum"]).collect()
    right = [row.top_k[0].category_id == row.truth for row in said]
    assert sum(right) / len(right) > told["metrics"]["accuracy"] - 0.1 > 0.4
    for name in ("title", "fields"):
        described = json.loads((tmp_path / "model" / name / "tower.json").read_text())
        assert described["paired"] == "softmax"


def test_several_labels_a_product(spark, tables, tmp_path):
    rows, images, taxonomy = tables
    more = rows.select("product_id", "category_id").unionByName(
        rows.where("category_id = 'boots'").selectExpr("product_id", "'sandals' AS category_id")
    )
    how = config.Multimodal(
        **SMALL
        | {"multi_label": True, "modalities": ["title", "picture"], "folds": 1, "fusion": "mean", "paired": True}
    )
    settings = config.Settings(text=config.Text(facts=[]), multimodal=how)
    told = train.train(rows, images, taxonomy, settings, tmp_path / "work", tmp_path / "model", "commit-1", more)
    assert told["metrics"]["micro_f1"] > 0.7
    asked = rows.where("side = 'test' AND category_id = 'boots'")
    said = predict.predict(asked, tmp_path / "model", images, 2, ("product_id",)).collect()
    both = [{one.category_id for one in row.top_k} == {"boots", "sandals"} for row in said]
    assert sum(both) > 0.6 * len(both)


def test_what_there_is_nothing_to_learn_from_is_said(tables, tmp_path):
    rows, images, taxonomy = tables
    how = config.Multimodal(train="auto", min_pictures=100_000)
    assert "have a picture, multimodal.min_pictures is 100,000" in train.wanted(rows, images, how)
    assert train.wanted(rows, images, config.Multimodal(train="auto", min_pictures=100)) is None
    with pytest.raises(DataRefused, match="no category has 2 training rows"):
        trained((rows.where("category_id = 'rare'"), images, taxonomy), tmp_path)
    with pytest.raises(DataRefused, match="no training row has any of description"):
        trained(tables, tmp_path, modalities=["description"])
