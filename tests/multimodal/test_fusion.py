"""Rules of fusion on outputs whose best mix is known."""

import numpy as np
import pytest

from shelfmark.errors import DataRefused
from shelfmark.multimodal import fit_fusion, fusion

pytest.importorskip("torch")

CLASSES = 12


def towers(rows, seed=0, sharpness=(2.0, 1.2, 0.6), classes=CLASSES, names=("title", "picture", "description")):
    """Log-probabilities of towers that see the truth through noise of their own, and the truth."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, classes + 1)
    truth = rng.choice(classes, rows, p=shares / shares.sum())
    outputs = {}
    for name, sharp in zip(names, sharpness):
        scores = rng.normal(size=(rows, classes)) + sharp * np.eye(classes)[truth]
        outputs[name] = (scores - np.log(np.exp(scores).sum(1, keepdims=True))).astype(np.float32)
    return outputs, truth


def several(rows, seed=0, classes=CLASSES):
    """Logits of two towers, the second of which knows nothing of the even classes, and up to three labels a row."""
    rng = np.random.default_rng(seed)
    truth = rng.random((rows, classes)) < 0.2
    sharp = np.array([np.full(classes, 1.5), np.where(np.arange(classes) % 2, 4.0, 0.0)])
    logits = rng.normal(size=(2, rows, classes)) + sharp[:, None] * (2 * truth - 1) - 0.5
    return {"title": logits[0].astype(np.float32), "picture": logits[1].astype(np.float32)}, truth


def accuracy(rule, outputs, truth):
    return (fusion.apply(rule, outputs).argmax(1) == truth).mean()


def without(outputs, name, rows):
    """The outputs, those of a modality missing in some rows."""
    changed = outputs[name].copy()
    changed[rows] = np.nan
    return outputs | {name: changed}


@pytest.fixture(scope="module")
def learnt():
    """Every rule of late fusion, learnt on the same 3,000 rows, a third of them without a picture."""
    outputs, truth = towers(3_000)
    outputs = without(outputs, "picture", np.arange(0, 3_000, 3))
    return {name: fit_fusion.fit(name, outputs, truth) for name in fusion.RULES if name != "early"}


@pytest.mark.parametrize("name", ["max", "mean", "ridge", "gated", "policy"])
def test_probabilities_whatever_is_missing(learnt, name):
    outputs, _ = towers(64, seed=1)
    for at, missing in enumerate(outputs):
        outputs = without(outputs, missing, np.arange(at, 64, 2 + at))
    said = fusion.apply(learnt[name], outputs)
    np.testing.assert_allclose(said.sum(1), 1, rtol=1e-5)
    assert (said >= 0).all()
    nothing = np.isnan(np.stack(list(outputs.values()))).any(2).all(0)
    assert nothing.any()
    np.testing.assert_array_equal(said[nothing], np.broadcast_to(learnt[name].prior, (nothing.sum(), CLASSES)))
    left_out = {one: values for one, values in outputs.items() if one != "picture"}
    all_missing = without(outputs, "picture", np.arange(64))
    np.testing.assert_array_equal(fusion.apply(learnt[name], left_out), fusion.apply(learnt[name], all_missing))


@pytest.mark.parametrize("name", ["max", "mean", "ridge", "gated", "policy"])
def test_one_modality_alone_is_that_towers_word(learnt, name):
    outputs, _ = towers(500, seed=2)
    said = fusion.apply(learnt[name], {"title": outputs["title"]})
    np.testing.assert_array_equal(said.argmax(1), outputs["title"].argmax(1))


def test_mean_and_max_are_those_of_probabilities(learnt):
    outputs, _ = towers(50, seed=3)
    chance = np.exp(np.stack(list(outputs.values())))
    np.testing.assert_allclose(fusion.apply(learnt["mean"], outputs), chance.mean(0), rtol=1e-4)
    top = chance.max(0)
    np.testing.assert_allclose(fusion.apply(learnt["max"], outputs), top / top.sum(1, keepdims=True), rtol=1e-4)


def test_the_policy_is_above_what_it_could_have_been(learnt):
    outputs, truth = towers(20_000, seed=4)
    found = {name: accuracy(rule, outputs, truth) for name, rule in learnt.items()}
    best_tower = max((values.argmax(1) == truth).mean() for values in outputs.values())
    assert found["policy"] > max(found["mean"], found["max"], best_tower) + 0.01, found
    assert found["policy"] > found["ridge"] - 0.005, found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_few_rows_and_many_classes_leave_the_policy_no_worse_than_the_mean(seed):
    outputs, truth = towers(600, seed, classes=80)
    test, said = towers(20_000, seed + 100, classes=80)
    policy, mean = (fit_fusion.fit(name, outputs, truth, seed=seed) for name in ("policy", "mean"))
    assert accuracy(policy, test, said) > accuracy(mean, test, said) - 0.003


def test_too_few_rows_teach_nothing():
    outputs, truth = towers(fit_fusion.ENOUGH - 1)
    policy, mean = (fit_fusion.fit(name, outputs, truth) for name in ("policy", "mean"))
    np.testing.assert_allclose(fusion.apply(policy, outputs), fusion.apply(mean, outputs))


def test_a_policy_begins_as_the_mean():
    outputs, _ = towers(40, seed=5)
    width, names = len(outputs), list(outputs)
    signs = fusion.signs(np.exp(np.stack(list(outputs.values()), 1)))
    nothing = {
        "scale": np.array([0] * width + [1, 0]),
        "gate": np.zeros((signs.shape[1], width + 2)),
        "own": np.zeros((width + 2, CLASSES)),
        "bias": np.zeros(CLASSES),
        "in": np.ones((width * CLASSES, 4)),
        "in_bias": np.zeros(4),
        "out": np.zeros((4, CLASSES)),
        "linear": np.zeros((width * CLASSES, CLASSES)),
    }
    nothing = {name: values[None] for name, values in nothing.items()}
    prior = np.full(CLASSES, 1 / CLASSES, np.float32)
    policy = fusion.Rule("policy", "multiclass", tuple(names), prior, {fusion.key(names): nothing})
    mean = fusion.Rule("mean", "multiclass", tuple(names), prior)
    np.testing.assert_allclose(fusion.apply(policy, outputs), fusion.apply(mean, outputs), rtol=1e-4, atol=1e-6)


def test_what_is_applied_is_what_was_learnt(learnt):
    import torch

    outputs, _ = towers(100, seed=6)
    logs = np.stack(list(outputs.values()), 1)
    chance = fusion.chances(logs, "multiclass")
    given = fusion.channels(logs, "multiclass"), fusion.signs(chance), chance.reshape(100, -1)
    part = learnt["policy"].parts["title+picture+description"]
    assert len(part["scale"]) == fit_fusion.MEMBERS
    part = {name: values[1] for name, values in part.items()}
    tensors = {name: torch.from_numpy(values) for name, values in part.items()}
    by_torch = fusion.policy_scores(torch, tensors, *map(torch.from_numpy, given)).numpy()
    np.testing.assert_allclose(fusion.policy_scores(np, part, *given), by_torch, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["mean", "policy"])
def test_contributions_sum_to_what_the_modalities_changed(learnt, name):
    outputs, _ = towers(200, seed=7)
    outputs = without(outputs, "picture", np.arange(100))
    rule, said = learnt[name], fusion.apply(learnt[name], outputs)
    found = fusion.contributions(rule, outputs)
    chosen = said.argmax(1)
    changed = np.log(said[np.arange(200), chosen] / rule.prior[chosen])
    np.testing.assert_allclose(sum(found.values()), changed, atol=1e-3)
    assert (found["picture"][:100] == 0).all()
    assert found["title"].mean() > found["description"].mean()  # the sharper tower says more


def test_early_fusion_says_what_the_rows_it_learns_from_lack():
    rng = np.random.default_rng(2)
    features = {"title": rng.normal(size=(400, 5)).astype(np.float32), "picture": np.full((400, 3), np.nan, np.float32)}
    truth = rng.integers(0, 4, 400)
    with pytest.raises(DataRefused, match="400 rows with a learnt category, none with a picture: set multimodal"):
        fit_fusion.fit("early", features, truth, classes=4)
    with pytest.raises(DataRefused, match="0 rows with a learnt category, none with a title"):
        fit_fusion.fit("early", {"title": features["title"]}, np.full(400, -1), classes=4)


@pytest.mark.parametrize("name", ["ridge", "gated", "policy"])
def test_a_saved_rule_says_the_same_and_is_the_same_bytes(learnt, name, tmp_path):
    outputs, _ = towers(50, seed=8)
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        fusion.save(learnt[name], folder)
    read = fusion.load(tmp_path / "a")
    np.testing.assert_array_equal(fusion.apply(read, outputs), fusion.apply(learnt[name], outputs))
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in fusion.FILES)
    (tmp_path / "a" / fusion.FILES[0]).write_text('{"format": 0}')
    with pytest.raises(DataRefused, match="format 0"):
        fusion.load(tmp_path / "a")


@pytest.mark.slow
def test_the_same_seed_learns_the_same(learnt):
    outputs, truth = towers(800, seed=9)
    one, other = (fit_fusion.fit("policy", outputs, truth, seed=3) for _ in range(2))
    for of, part in one.parts.items():
        for name, values in part.items():
            np.testing.assert_array_equal(values, other.parts[of][name])


@pytest.mark.parametrize("name", ["ridge", "gated", "policy"])
def test_several_labels(name):
    outputs, truth = several(4_000)
    test, said = several(4_000, seed=1)
    rule, mean = (fit_fusion.fit(one, outputs, truth, kind="multilabel") for one in (name, "mean"))
    found = {one.name: fit_fusion.quality(fusion.apply(one, test), said, "multilabel") for one in (rule, mean)}
    chance = fusion.apply(rule, test)
    assert chance.min() >= 0
    assert chance.max() <= 1
    assert found[name] > found["mean"] + (0.02 if name == "policy" else 0), found
    alone = fusion.apply(rule, {"title": test["title"]})
    assert fit_fusion.quality(alone, said, "multilabel") > 0.6


def test_early_fusion_of_features_with_one_missing():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 3_000)
    features = {
        "title": (np.eye(8)[truth] + rng.normal(0, 0.6, (3_000, 8))).astype(np.float32),
        "picture": (np.eye(5)[truth] * 3 + rng.normal(0, 1.2, (3_000, 5)) + 7).astype(np.float32),
    }
    features = without(features, "picture", np.arange(0, 3_000, 4))
    learn = {name: values[:2_000] for name, values in features.items()}
    rule = fit_fusion.fit("early", learn, truth[:2_000], classes=4)
    said = fusion.apply(rule, {name: values[2_000:] for name, values in features.items()}).argmax(1) == truth[2_000:]
    alone = fusion.apply(rule, {"title": features["title"][2_000:]}).argmax(1) == truth[2_000:]
    assert said.mean() > alone.mean() + 0.05
    assert alone.mean() > 0.6


@pytest.mark.slow
def test_weights_of_rows_move_what_is_learnt():
    outputs, truth = towers(3_000, seed=10, sharpness=(1.0, 1.0, 1.0))
    rare = truth >= 6
    plain, raised = (
        fit_fusion.fit("policy", outputs, truth, weights=weights) for weights in (None, np.where(rare, 5.0, 0.5))
    )
    test, said = towers(10_000, seed=11, sharpness=(1.0, 1.0, 1.0))
    mine = said >= 6
    found = [(fusion.apply(rule, test).argmax(1)[mine] == said[mine]).mean() for rule in (plain, raised)]
    assert found[1] > found[0]


def test_what_cannot_be_fused_is_named(learnt):
    outputs, truth = towers(10)
    with pytest.raises(ValueError, match="no rule 'vote'"):
        fit_fusion.fit("vote", outputs, truth)
    with pytest.raises(ValueError, match="not of sound"):
        fusion.apply(learnt["mean"], {"sound": outputs["title"]})
    with pytest.raises(ValueError, match="title: 3 classes, the rule has 12"):
        fusion.apply(learnt["mean"], {"title": outputs["title"][:, :3]})
    with pytest.raises(ValueError, match="different lengths"):
        fusion.apply(learnt["mean"], {"title": outputs["title"], "picture": outputs["picture"][:4]})
