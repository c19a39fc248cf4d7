"""A whole multimodal model: what it answers of rows, whatever of them is missing."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shelfmark import answers
from shelfmark.errors import DataRefused
from shelfmark.tables import table

pytest.importorskip("torch")

from small_model import LEAVES, products
from small_model import trained as make

from shelfmark.multimodal import fusion, model


@pytest.fixture(scope="module")
def trained():
    return make()


@pytest.fixture(scope="module")
def loaded(trained):
    return model.load(str(trained[0]), trained[1])


def leaves(said):
    return pc.struct_field(pc.list_element(said["top_k"], 0), "category_id").to_pylist()


def share(said, leaf):
    return np.mean([one == LEAVES[at] for one, at in zip(leaves(said), leaf)])


def test_all_modalities_know_more_than_one(loaded):
    rows, leaf = products(600, 7)
    found = {
        "all": share(model.answer(loaded, rows), leaf),
        "title": share(model.answer(loaded, rows.select(["title"])), leaf),
        "picture": share(model.answer(loaded, rows.select(["picture"])), leaf),
    }
    assert found["all"] > 0.9, found
    assert found["title"] < 0.85, found  # half of the titles do not tell
    assert found["picture"] < 0.65, found  # boots and totes have one colour
    assert found["title"] > 0.6


def test_the_answer_is_columns_of_predictions(loaded):
    rows, _ = products(50, 8)
    said = model.answer(loaded, rows, top_k=3)
    assert list(said) == list(model.COLUMNS)
    assert {name: column.type for name, column in said.items()} == model.COLUMNS
    assert set(said) <= set(table("gold.predictions").columns)
    assert set(pc.list_value_length(said["top_k"]).to_pylist()) == {3}
    assert set(said["decision"].to_pylist()) <= set(answers.DECISIONS)
    assert model.answer(loaded, rows.slice(0, 0)).keys() == said.keys()


def test_a_row_is_answered_alike_in_any_company(loaded):
    rows, _ = products(300, 9)
    together = pa.table(model.answer(loaded, rows))
    alone = pa.concat_tables([pa.table(model.answer(loaded, rows.slice(at, 7))) for at in range(0, 300, 7)])
    for name in ("category_id", "decision", "reason"):
        assert together[name].to_pylist() == alone[name].to_pylist()
    np.testing.assert_allclose(together["confidence"], alone["confidence"], atol=1e-5)


def test_what_is_missing_is_null_absent_or_broken_alike(loaded):
    rows, _ = products(40, 10)
    absent = pa.table(model.answer(loaded, rows.select(["title", "region"])))
    for values in ([None] * 40, [b""] * 40, [b"no picture at all"] * 40):
        given = rows.select(["title", "region"]).append_column("picture", pa.array(values, pa.binary()))
        assert pa.table(model.answer(loaded, given)).equals(absent)


def test_nothing_to_go_by_is_for_review(loaded):
    rows = pa.table({"title": pa.array([None, "", "shoe leather"], pa.string())})
    said = model.answer(loaded, rows)
    assert said["decision"].to_pylist()[:2] == ["review", "review"]
    assert said["reason"].to_pylist()[:2] == [model.UNKNOWN] * 2
    assert said["reason"].to_pylist()[2] != model.UNKNOWN
    assert said["contributions"].to_pylist()[:2] == [[], []]


def test_contributions_name_what_a_row_has_and_sum_to_what_it_changed(loaded):
    rows, _ = products(60, 11)
    pictures = [None if at % 3 == 0 else one for at, one in enumerate(rows["picture"].to_pylist())]
    rows = rows.set_column(1, "picture", pa.array(pictures, pa.binary()))
    said = model.answer(loaded, rows)
    given = zip(said["contributions"].to_pylist(), pictures, rows["fields"].to_pylist())
    for told, picture, facts in given:
        wanted = ["title"] + ["picture"] * (picture is not None) + ["fields"] * (facts is not None)
        assert [one["modality"] for one in told] == wanted
    chances = fusion.apply(loaded.rule, model.outputs(loaded, rows))
    best = chances.argmax(1)
    changed = np.log(chances.max(1) / loaded.rule.prior[best])
    sums = [sum(one["weight"] for one in told) for told in said["contributions"].to_pylist()]
    np.testing.assert_allclose(sums, changed, atol=1e-3)
    assert model.answer(loaded, rows, contributions=False)["contributions"].null_count == 60


def test_a_picture_that_contradicts_its_text_is_for_review(loaded):
    """Words tell shoes from bags, colours the leaf: where words tell the leaf as well, a picture can be of another product."""
    rows, leaf = products(2_000, 21)
    own = model.answer(loaded, rows)
    outputs = model.seen(loaded, rows).outputs
    sure = outputs["title"].max(1) > np.log(0.9)  # the title says which leaf
    other = {
        "boots": "clutches",
        "clutches": "boots",
        "sandals": "totes",
        "totes": "sandals",
    }  # another leaf, another colour
    pictures = rows["picture"].to_pylist()
    of = {name: [pictures[at] for at in np.flatnonzero(leaf == number)] for number, name in enumerate(LEAVES)}
    wrong = [of[other[LEAVES[one]]][at % len(of[other[LEAVES[one]]])] for at, one in enumerate(leaf)]
    swapped = model.answer(loaded, rows.set_column(1, "picture", pa.array(wrong, pa.binary())))

    def flagged(said):
        reasons = np.array(said["reason"].to_pylist())
        return np.char.endswith(reasons, "contradicts its text")

    assert flagged(own).mean() < 0.03
    assert flagged(swapped)[sure].mean() > max(0.15, 8 * flagged(own)[sure].mean())
    assert {one for one, flag in zip(swapped["decision"].to_pylist(), flagged(swapped)) if flag} == {"review"}
    alone = model.answer(loaded, rows.select(["title"]))
    assert not flagged(alone).any()
    off = model.answer(replace(loaded, contradiction=model.NEVER), rows)
    assert not flagged(off).any()


def test_agreement_is_the_chance_that_both_mean_the_same():
    title, picture = np.log([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]), np.log([[0.2, 0.8], [0.5, 0.5], [0.3, 0.7]])
    found = model.agreement({"title": title, "picture": picture}, "multiclass")
    np.testing.assert_allclose(np.exp(found), [0.26, 0.5, 0.62], rtol=1e-5)
    title[0] = np.nan  # a row without a title is judged by its description
    found = model.agreement({"title": title, "description": np.log([[0.1, 0.9]] * 3), "picture": picture}, "multiclass")
    np.testing.assert_allclose(np.exp(found[0]), 0.74, rtol=1e-5)
    assert np.isnan(model.agreement({"title": title}, "multiclass")).all()
    assert np.isnan(model.agreement({"title": title, "picture": picture}, "multilabel")).all()


def test_what_is_accepted_reaches_the_target_and_a_stricter_region_accepts_less(loaded):
    rows, leaf = products(1_500, 12)
    said = model.answer(loaded, rows)
    sure = np.array(said["decision"].to_pylist()) == "accept"
    right = np.array([one == LEAVES[at] for one, at in zip(said["category_id"].to_pylist(), leaf)])
    region = np.array(rows["region"].to_pylist())
    assert right[sure].mean() > 0.9
    assert 0.1 < sure[region == "MY"].mean() < sure[region == "IN"].mean()
    assert {cell["region"]: cell["target"] for cell in loaded.rules.thresholds.cells} == {"*": 0.9, "MY": 0.99}


def test_measured_as_the_text_line_is(loaded):
    rows, leaf = products(800, 13)
    ids = [loaded.nodes[at]["id"] for at in loaded.tree.leaf]
    labels = np.array([ids.index(LEAVES[at]) for at in leaf])
    side = model.Judged(
        model.outputs(loaded, rows), labels, loaded.tree.leaf[labels], np.array(rows["region"].to_pylist())
    )
    told = model.measure(loaded, side)
    assert told["rows"] == 800
    assert told["accuracy"] == pytest.approx(share(model.answer(loaded, rows), leaf))
    assert told["macro_f1"] == pytest.approx(told["accuracy"], abs=0.05)
    assert told["after"]["ece"] < 0.1
    assert model.measure(loaded, model.Judged({}, labels[:0], labels[:0], labels[:0])) == {"rows": 0}


def test_files_that_changed_or_are_of_another_version_are_refused(trained, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(trained[0], folder)
    model.verify(folder, trained[1])
    (folder / "picture" / "weights.pt").write_bytes(b"other")
    with pytest.raises(DataRefused, match="its files were changed"):
        model.verify(folder, trained[1])
    with pytest.raises(DataRefused, match="no multimodal model in"):
        model.verify(tmp_path, None)
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(DataRefused, match="format 99"):
        model.load(str(folder), "another")


def test_several_labels_are_answered_without_roll_up(loaded, tmp_path):
    """Chances of several labels do not share out one, and the best of them is what is decided upon."""
    from shelfmark import config

    rng = np.random.default_rng(0)
    truth = rng.random((2_000, 4)) < 0.4
    logits = rng.normal(size=(2_000, 4)) + 4 * truth - 2
    rule = fusion.Rule("mean", "multilabel", ("title",), np.full(4, 0.4, np.float32))
    side = model.Judged({"title": logits.astype(np.float32)}, truth, np.zeros(2_000, np.int32), np.full(2_000, "IN"))
    decision = config.Decision(target_accuracy=0.95)
    told = model.write(
        tmp_path, rule, loaded.encoding, loaded.nodes, loaded.tree, "t-1", side, decision,
        answers.targets_of(decision, {}), about={"towers": []},
    )  # fmt: skip
    assert told["thresholds"][0]["accept"] < 1
    several = model.load(str(tmp_path), "several")
    measured = model.measure(several, side)
    assert measured["accepted_accuracy"] > 0.95
    assert measured["micro_f1"] > 0.9
    chances = fusion.apply(rule, side.outputs)
    said = answers.answered(
        chances, model.fit(chances), np.ones(2_000, bool), None, loaded.tree, several.rules, 4, True
    )
    assert set(said.decision.tolist()) <= {answers.ACCEPT, answers.REVIEW}
    assert (np.diff(said.chance, axis=1) <= 0).all()
    assert (said.chance[:, 1] > 0.5).mean() > 0.3  # a second label may be as sure as the first


def test_vectors_of_one_leaf_are_alike_and_a_missing_picture_leaves_one(loaded):
    rows, leaf = products(200, 14)
    made = model.vectors(loaded, rows)
    alike = made @ made.T
    same = leaf[:, None] == leaf[None, :]
    assert alike[same].mean() > alike[~same].mean() + 0.3
    alone = model.vectors(loaded, rows.select(["title"]))
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, rtol=1e-5)
    assert (model.vectors(loaded, pa.table({"title": pa.array([None], pa.string())})) == 0).all()


def test_two_stages_answer_of_the_candidates_alone(loaded):
    rows, leaf = products(200, 15)
    two = model.answer(replace(loaded, candidates=2), rows, top_k=4)
    kept = [[one["confidence"] > 0 for one in some] for some in two["top_k"].to_pylist()]
    assert {sum(some) for some in kept} == {2}
    assert share(two, leaf) > share(model.answer(loaded, rows), leaf) - 0.05


def test_candidates_count_in_what_a_side_of_the_split_shows(loaded):
    """Calibration and gold.models tell of the same chances as `answer`."""
    rows, leaf = products(200, 16)
    one = replace(loaded, candidates=1)
    region = np.asarray(rows["region"].to_pylist())
    near = model.vectors(loaded, rows), loaded.prototypes, 1
    order = [loaded.nodes[at]["id"] for at in loaded.tree.leaf]
    labels = np.array([order.index(LEAVES[at]) for at in leaf])
    side = model.Judged(model.outputs(loaded, rows), labels, loaded.tree.leaf[labels], region, *near)
    said = model.answer(one, rows)
    assert model.measure(one, side)["accuracy"] == pytest.approx(share(said, leaf))
    whole = side._replace(candidates=0)
    assert model.measure(loaded, whole)["accuracy"] == pytest.approx(share(model.answer(loaded, rows), leaf))
    assert ((side.chances(loaded.rule) > 0).sum(1) == 1).all()
