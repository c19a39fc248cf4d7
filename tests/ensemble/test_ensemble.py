"""An ensemble of a text model and a multimodal one, both trained for real: weights, decisions, what is missing, what is told."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from shelfmark import answers, config
from shelfmark.errors import DataRefused
from shelfmark.models import members as joinable
from shelfmark.models.champion import Champion
from shelfmark.tables import table

pytest.importorskip("torch")

from small_model import LEAVES, TAXONOMY, products

from shelfmark.ensemble import model, predict
from shelfmark.ensemble import train as joining
from shelfmark.multimodal import train as pictured
from shelfmark.text import train as worded

pytestmark = pytest.mark.slow

SIDES = {"train": 900, "tune": 300, "calibrate": 500, "test": 400}
SETTINGS = config.Settings(
    text=config.Text(facts=[], hash_bits=14),
    multimodal=config.Multimodal(
        train="always", modalities=["title", "picture"], picture_tower="test_resnet", picture_size=24, hash_bits=12, epochs=4,
        batch=64, group_rows=32, threads=1, lanes=4, launcher="in_process", fusion="mean", folds=1,
    ),
    decision={"min_accepted": 100, "target_accuracy": 0.9, "roll_up_depth": 1},
)  # fmt: skip


@pytest.fixture(scope="module")
def tables(spark):
    """(labelled rows of all sides, pictures, taxonomy)."""
    rows, pictures = [], {}
    for seed, (side, n) in enumerate(SIDES.items()):
        made, leaf = products(n, seed)
        for at, one in enumerate(made.to_pylist()):
            image = f"{side}-{at}" if at % 6 else None  # every sixth has no picture
            if image:
                pictures[image] = one["picture"]
            title = None if side == "test" and at % 11 == 0 else one["title"]
            rows.append((f"{side}-{at}", LEAVES[leaf[at]], 1.0, side, f"g-{side}-{at}", title, one["region"], image))
    ddl = (
        "product_id string, category_id string, weight double, side string, leak_group string, title string, region string, "
        "image_id string"
    )
    tree = [("t-1", category, path, parent) for category, (path, parent) in TAXONOMY.items()]
    return (
        spark.createDataFrame(rows, ddl).withColumns({}).cache(),
        spark.createDataFrame(list(pictures.items()), "image_id string, bytes binary").cache(),
        spark.createDataFrame(
            tree, "taxonomy_version string, category_id string, path string, parent_id string"
        ).cache(),
    )


@pytest.fixture(scope="module")
def members(tables, tmp_path_factory):
    """The champions that are joined. The text model has not learnt clutches: only the other one knows them."""
    rows, images, taxonomy = tables
    home = tmp_path_factory.mktemp("members")
    sides = [rows.where(f"side = '{side}'") for side in ("train", "calibrate", "tune")]
    sides[0] = sides[0].where("category_id != 'clutches'")
    text = worded.train(*sides, taxonomy, SETTINGS, str(home / "features"), str(home / "text"))
    multimodal = pictured.train(rows, images, taxonomy, SETTINGS, home / "work", home / "multimodal", "commit-1")
    return [
        Champion(line, f"{line}-1", str(home / line), told["checksum"], "t-1", {}, told["metrics"])
        for line, told in (("text", text), ("multimodal", multimodal))
    ]


@pytest.fixture(scope="module")
def joined(tables, members, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble") / "model"
    return folder, joining.train(*tables, SETTINGS, *members, folder)


def said(tables, joined, **more):
    rows, images, _ = tables
    asked = rows.where("side = 'test'").withColumnRenamed("category_id", "truth")
    folder, told = joined
    return predict.predict(asked, folder, images, 2, ("product_id", "truth"), told["checksum"], **more)


def test_the_weight_that_is_best_on_the_tune_side_is_kept(joined, members):
    _, told = joined
    metrics = told["metrics"]
    tried = {(one["pool"], one["weight"]): one["macro_f1"] for one in metrics["tried"]}
    assert set(tried) == set(joining.TRIED)
    assert metrics["macro_f1"] == max(tried.values()) == tried[metrics["pool"], metrics["weight"]]
    assert tried["linear", 0.0] < metrics["macro_f1"] > tried["linear", 1.0]
    # All by itself, the multimodal champion has what it was measured to when it was trained.
    assert tried["linear", 0.0] == pytest.approx(members[1].metrics["macro_f1"], abs=1e-6)
    assert metrics["members"] == {"text": "text-1", "multimodal": "multimodal-1"}
    assert (told["categories"], told["training_rows"]) == (4, SIDES["train"])


def test_it_keeps_to_the_contract_and_to_its_target(tables, joined):
    found = said(tables, joined)
    contract = {field.name: field.type for field in table("gold.predictions").fields}
    for name, kind in found.drop("truth").dtypes:
        assert contract[name] == kind, name
    rows = found.collect()
    right = [row.top_k[0].category_id == row.truth for row in rows]
    assert len(rows) == SIDES["test"]
    assert np.mean(right) > 0.8
    assert {row.truth for row, hit in zip(rows, right) if hit} == set(LEAVES)  # also what one member alone knows
    accepted = [hit for row, hit in zip(rows, right) if row.decision == "accept"]
    assert len(accepted) > 100
    assert np.mean(accepted) > 0.85


def test_what_each_brought_sums_to_what_they_changed(tables, joined):
    folder, told = joined
    prior = model.load(str(folder), told["checksum"])
    chances = prior.multimodal.rule.prior
    shares = {prior.nodes[prior.tree.leaf[at]]["id"]: share for at, share in zip(prior.multimodal_at, chances)}
    for row in said(tables, joined).join(tables[0].select("product_id", "title", "image_id"), "product_id").collect():
        wanted = [name for name, has in (("text", row.title), ("title", row.title), ("picture", row.image_id)) if has]
        assert [one.modality for one in row.contributions] == wanted
        if not wanted:
            assert (row.decision, row.reason) == ("review", model.UNKNOWN)
        elif prior.rules.curves[answers.ANY].x == ():
            changed = np.log(row.top_k[0].confidence / shares[row.top_k[0].category_id])
            assert sum(one.weight for one in row.contributions) == pytest.approx(changed, abs=0.02)
        assert row.evidence is None or row.decision == "review"


def test_contributions_of_a_batch_sum_exactly(tables, joined):
    folder, told = joined
    rows, images, _ = tables

    def summed(found, kept, rows, pool):
        import pyarrow as pa

        given = model.said(found, rows, pool)
        chances = model.pooled(*given[:4], found.pool, found.weight)
        best = chances.argmax(1)
        prior = np.zeros(found.categories, np.float32)
        prior[found.multimodal_at] = found.multimodal.rule.prior
        changed = np.log(chances.max(1)) - np.log(np.maximum(prior[best], 1e-5))
        weights = model._contributions(found, given, best).to_pylist()
        sums = np.array([sum(one["weight"] for one in some) for some in weights])
        known = given.worded | given.pictured
        return pa.record_batch({"off": pa.array(np.abs(sums - changed)[known].astype(np.float64))})

    asked = rows.where("side = 'test'")
    off = predict.mapped(asked, images, str(folder), told["checksum"], ["product_id"], summed, only="off double")
    found = [row.off for row in off.collect()]
    assert len(found) > 300
    assert max(found) < 0.01


def test_one_member_alone_speaks_where_the_other_has_nothing():
    text, other = np.array([[0.9, 0.1], [0.5, 0.5], [0.6, 0.4]], np.float32), np.array([[0.2, 0.8]] * 3, np.float32)
    worded, shown = np.array([True, False, True]), np.array([True, True, False])
    for pool in model.POOLS:
        found = model.pooled(text, other, worded, shown, pool, 0.5)
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
        np.testing.assert_allclose(found[1:], [[0.2, 0.8], [0.6, 0.4]], rtol=1e-6)
    # By hand: the root of .9 * .2 and of .1 * .8, scaled.
    np.testing.assert_allclose(model.pooled(text, other, worded, shown, "logarithmic", 0.5)[0], [0.6, 0.4], atol=1e-5)
    np.testing.assert_allclose(model.pooled(text, other, worded, shown, "linear", 0.25)[0], [0.375, 0.625], atol=1e-6)


def test_files_that_were_changed_or_are_of_another_version_are_refused(tables, joined, tmp_path):
    folder, _ = joined
    rows, images, _ = tables
    with pytest.raises(DataRefused, match="its files were changed"):
        predict.predict(rows, folder, images, checksum="0" * 64)
    with pytest.raises(DataRefused, match=r"no ensemble in .*: run train_ensemble"):
        predict.predict(rows, tmp_path, images)
    assert model.readable(folder)
    assert not model.readable(tmp_path)
    about = json.loads((folder / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(about | {"format": 0}))
    with pytest.raises(DataRefused, match="has format 0, this version reads"):
        model.load(str(tmp_path))


def test_without_rows_of_a_side_nothing_is_ever_accepted(tables, members, tmp_path):
    rows, images, taxonomy = tables
    told = joining.train(rows.where("side = 'train'"), images, taxonomy, SETTINGS, *members, tmp_path / "model")
    assert told["metrics"]["rows"] == 0
    assert (told["metrics"]["pool"], told["metrics"]["weight"]) == ("linear", 0.5)  # nothing to choose by
    found = said(tables, (tmp_path / "model", told)).select("decision").distinct().collect()
    assert {row.decision for row in found} == {"review"}


def test_a_member_that_knows_the_tune_side_is_weighed_on_another(members):
    multimodal = members[1]
    assert not joining._knows_tune(multimodal)  # the mean learns nothing
    for metrics, settings, knows in (
        ({"fusion": "early"}, {"folds": 2}, True),
        ({"fusion": "policy"}, {"folds": 1}, True),
        ({"fusion": "policy"}, {"folds": 2}, False),
        ({"fusion": "max"}, {"folds": 1}, False),
    ):
        assert joining._knows_tune(replace(multimodal, metrics=metrics, settings=settings)) == knows


class Taxonomies:
    """Of a run, what says which taxonomy is in force."""

    def __init__(self, taxonomy):
        self.taxonomy = taxonomy

    def read(self, name):
        assert name == "silver.taxonomy"
        return self.taxonomy


def test_champions_that_cannot_be_joined_are_named_with_the_reason(tables, members, tmp_path):
    run, (text, multimodal) = Taxonomies(tables[2]), members

    def against(text=text, multimodal=multimodal):
        return joinable._against(run, {"text": text, "multimodal": multimodal})

    assert against() is None
    said = against(multimodal=replace(multimodal, settings={"multi_label": True}))
    assert said == "the multimodal champion gives several categories a product"
    for line, one in (("text", text), ("multimodal", multimodal)):
        said = against(**{line: replace(one, taxonomy_version="t-0")})
        assert said == f"the champion of {line} is of taxonomy t-0, which is not in force"
        folder = tmp_path / line
        shutil.copytree(one.folder, folder)
        about = json.loads((folder / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps(about | {"format": 0}))
        said = against(**{line: replace(one, folder=str(folder))})
        assert said == f"another version of Shelfmark trained the champion of {line}"
    assert joinable._against(run, {"multimodal": multimodal}) == "the line text has no champion yet"


def test_a_member_that_fuses_features_and_chooses_among_candidates_is_joined_as_well(tables, members, tmp_path):
    rows, images, taxonomy = tables
    how = SETTINGS.multimodal.model_copy(update={"fusion": "early", "candidates": 2, "epochs": 2})
    settings = SETTINGS.model_copy(update={"multimodal": how})
    told = pictured.train(rows, images, taxonomy, settings, tmp_path / "work", tmp_path / "early", "commit-1")
    early = Champion("multimodal", "early-1", str(tmp_path / "early"), told["checksum"], "t-1", {}, told["metrics"])
    made = joining.train(*tables, settings, members[0], early, tmp_path / "model")
    assert made["metrics"]["macro_f1"] >= max(one["macro_f1"] for one in made["metrics"]["tried"])
    found = said(tables, (tmp_path / "model", made)).collect()
    assert len(found) == SIDES["test"]
    assert np.mean([row.top_k[0].category_id == row.truth for row in found]) > 0.75
    assert all(np.isfinite(one.weight) for row in found for one in row.contributions)
    assert {row.truth for row in found if row.top_k[0].category_id == row.truth} == set(LEAVES)


def test_the_same_champions_give_the_same_files(tables, joined, members, tmp_path):
    again = joining.train(*tables, SETTINGS, *(replace(one) for one in members), tmp_path / "model")
    assert again["checksum"] == joined[1]["checksum"]
