"""Temperature, thresholds and decisions on numbers whose answer is known."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from shelfmark.errors import DataRefused
from shelfmark.text import calibrate, model


def drawn(temperature, rows=20_000, categories=6, seed=0):
    """Scores and labels drawn from softmax(scores / temperature): perfectly calibrated at that temperature."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(scale=0.6, size=(rows, categories)).astype(np.float32)
    chances = scores.copy()
    model.softmax(chances, np.float32(1 / temperature))
    labels = (rng.random((rows, 1)) > np.cumsum(chances, 1)).sum(1).clip(0, categories - 1)
    return scores, labels.astype(np.int32), chances


@pytest.mark.parametrize("temperature", [0.12, 0.3, 1.0])
def test_finds_the_temperature_the_labels_were_drawn_at(temperature):
    scores, labels, _ = drawn(temperature)
    found = calibrate.best_temperature(calibrate.log_likelihood(scores, labels))
    assert found == pytest.approx(temperature, rel=0.05)


def test_likelihoods_of_parts_add_up():
    scores, labels, _ = drawn(0.3, rows=500)
    labels[::7] = -1
    whole = calibrate.log_likelihood(scores, labels)
    parts = calibrate.log_likelihood(scores[:100], labels[:100]) + calibrate.log_likelihood(scores[100:], labels[100:])
    np.testing.assert_allclose(whole, parts)


def test_nothing_to_fit_on_leaves_scores_as_they_are():
    empty = calibrate.log_likelihood(np.zeros((3, 2), np.float32), np.full(3, -1, np.int32))
    assert calibrate.best_temperature(empty) == 1.0


def test_accepts_from_the_lowest_confidence_that_shows_the_target():
    confidence = np.linspace(1, 0, 1000)
    right = np.arange(1000) < 400
    threshold = calibrate.accept_threshold(confidence, right, 0.8, 100)
    taken = int((confidence >= threshold).sum())
    # 400 of 500 are 0.8, and show no more than 0.768: the binomial tail at the bound is 5 %.
    assert binom.sf(399, taken, 0.8) <= 0.05 < binom.sf(399, taken + 1, 0.8)
    assert 480 < taken < 490


def test_the_bound_is_that_of_clopper_and_pearson():
    for right, rows in ((0, 10), (1, 10), (9, 10), (10, 10), (285, 300), (951, 1000)):
        bound = float(calibrate.lower_bound(right, rows))
        assert bound == pytest.approx(binomtest(right, rows, alternative="greater").proportion_ci(0.95).low)


def test_accepted_rows_of_new_data_reach_the_target():
    """A threshold may miss its target on other data once in twenty draws: of 40 draws it missed 6 or fewer (P = 0.986)."""
    missed, shares = 0, []
    for seed in range(40):
        _, labels, chances = drawn(0.3, rows=22_000, seed=seed)
        confidence, right = chances.max(1), chances.argmax(1) == labels
        threshold = calibrate.accept_threshold(confidence[:2_000], right[:2_000], 0.9, 100)
        fresh = confidence[2_000:] >= threshold
        shares.append(fresh.mean())
        missed += fresh.any() and right[2_000:][fresh].mean() < 0.9
    assert missed <= 6
    assert np.mean(shares) > 0.1


def test_too_few_rows_accept_nothing():
    assert calibrate.accept_threshold(np.ones(99), np.ones(99, bool), 0.95, 100) == calibrate.NEVER
    assert calibrate.accept_threshold(np.ones(100), np.ones(100, bool), 0.95, 100) == 1.0
    assert calibrate.accept_threshold(np.empty(0), np.empty(0, bool), 0.95, 100) == calibrate.NEVER
    assert calibrate.roll_up_threshold(np.ones((99, 2)), np.ones((99, 2), bool), 0.95, 100) == calibrate.NEVER


def test_equal_confidences_are_taken_or_left_together():
    confidence = np.array([0.9] * 200 + [0.8] * 200)
    right = np.array([True] * 200 + [True] * 100 + [False] * 100)
    assert calibrate.accept_threshold(confidence, right, 0.95, 100) == pytest.approx(0.9)


def test_roll_up_takes_the_deepest_level_that_reaches_the_threshold():
    chances = np.tile(np.array([[0.55, 0.95]], np.float32), (300, 1))
    right = np.zeros((300, 2), bool)
    right[:150, 0] = True
    right[:, 1] = True
    # At 0.55 and below the wrong half of the deeper level is taken.
    assert 0.55 < calibrate.roll_up_threshold(chances, right, 0.95, 100) <= 0.95


TAXONOMY = {
    "home": ("home", None),
    "kettle": ("home > kettle", "home"),
    "wear": ("wear", None),
    "shoe": ("wear > shoe", "wear"),
    "boot": ("wear > shoe > boot", "shoe"),
    "sandal": ("wear > shoe > sandal", "shoe"),
    "hat": ("wear > hat", "wear"),
}


def test_the_tree_is_depth_first_and_knows_what_is_below():
    nodes, tree = model.make_tree(["sandal", "shoe", "kettle", "boot"], TAXONOMY)
    ids = [node["id"] for node in nodes]
    assert ids == ["home", "kettle", "wear", "shoe", "boot", "sandal"]
    assert [ids[n] for n in tree.leaf] == ["kettle", "shoe", "boot", "sandal"]
    assert tree.parent.tolist() == [-1, 0, -1, 2, 3, 3]
    assert tree.depth.tolist() == [1, 2, 1, 2, 3, 3]
    assert tree.end.tolist() == [2, 2, 6, 6, 5, 6]
    spans = {ids[n]: (int(tree.first[n]), int(tree.last[n])) for n in range(6)}
    assert spans == {"home": (0, 1), "kettle": (0, 1), "wear": (1, 4), "shoe": (1, 4), "boot": (2, 3), "sandal": (3, 4)}


def test_a_tree_that_is_none_is_refused():
    with pytest.raises(DataRefused, match="its own ancestor"):
        model.make_tree(["a"], {"a": ("a", "b"), "b": ("b", "a")})
    with pytest.raises(DataRefused, match="not in the taxonomy"):
        model.make_tree(["x"], TAXONOMY)


def test_decides_accept_roll_up_or_review():
    _, tree = model.make_tree(["kettle", "boot", "sandal", "hat"], TAXONOMY)  # order: kettle, hat, boot, sandal
    chances = np.array(
        [
            [0.02, 0.02, 0.94, 0.02],  # sure
            [0.05, 0.05, 0.50, 0.40],  # boot or sandal: a shoe
            [0.05, 0.45, 0.30, 0.20],  # hat or shoe: only wear would do
            [0.40, 0.20, 0.20, 0.20],  # anything
            [0.97, 0.01, 0.01, 0.01],  # sure, but no word was known
        ],
        np.float32,
    )
    top, _ = model.best(chances, 2)
    known = np.array([True] * 4 + [False])

    def said(min_depth):
        decision, node, confidence = model.decide(
            chances, top[:, 0], known, tree.parent, tree.depth, tree.first, tree.last, tree.leaf,
            np.float32(0.9), np.float32(0.85), min_depth,
        )  # fmt: skip
        return [(model.DECISIONS[d], int(n), round(float(c), 2)) for d, n, c in zip(decision, node, confidence)]

    nodes, _ = model.make_tree(["kettle", "boot", "sandal", "hat"], TAXONOMY)
    at = {node["id"]: i for i, node in enumerate(nodes)}
    assert said(2) == [
        ("accept", at["boot"], 0.94),
        ("roll_up", at["shoe"], 0.90),
        ("review", at["hat"], 0.45),
        ("review", at["kettle"], 0.40),
        ("review", at["kettle"], 0.97),
    ]
    assert said(1)[2] == ("roll_up", at["wear"], 0.95)


def test_best_are_in_order_and_ties_keep_the_lower_number():
    number, chance = model.best(np.array([[0.2, 0.4, 0.2, 0.1, 0.1]], np.float32), 3)
    assert number.tolist() == [[1, 0, 2]]
    np.testing.assert_allclose(chance, [[0.4, 0.2, 0.2]], rtol=1e-6)
