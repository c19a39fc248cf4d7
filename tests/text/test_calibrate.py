"""Link, curves, thresholds and decisions on numbers whose answer is known."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from shelfmark.errors import DataRefused
from shelfmark.text import calibrate, model


def drawn(link, rows=20_000, categories=6, seed=0):
    """Scores and labels drawn from the link's probabilities: perfectly calibrated with it."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(-0.6, 0.5, size=(rows, categories)).astype(np.float32)
    chances = scores.copy()
    model.to_chances(chances, link.table())
    labels = (rng.random((rows, 1)) > np.cumsum(chances, 1)).sum(1).clip(0, categories - 1)
    return scores, labels.astype(np.int32), chances


LINK = calibrate.Link(6.0, 2.0, 1.0)


@pytest.mark.parametrize("link", [LINK, calibrate.Link(3.0, 0.0, 2.0)])
def test_finds_the_link_the_labels_were_drawn_with(link):
    """Two links may say nearly the same of the scores there are: what counts is the probabilities."""
    scores, labels, chances = drawn(link, rows=4_000)
    own = scores[np.arange(len(labels)), labels]
    found = scores.copy()
    model.to_chances(found, calibrate.fit_link(calibrate.spread(scores), own).table())
    assert np.abs(found - chances).mean() < 0.02


def test_the_spread_of_a_row_stands_for_its_scores():
    scores = np.random.default_rng(0).normal(-0.5, 1.5, (50, 700)).astype(np.float32)  # some beyond the table's ends
    table = LINK.table()
    np.testing.assert_allclose(calibrate.spread(scores) @ table, calibrate.evidence(scores, table).sum(1), rtol=1e-4)


def test_nothing_to_fit_on_leaves_the_link_there_is():
    assert calibrate.fit_link(np.empty((0, calibrate.STEPS + 1)), np.empty(0)) == calibrate.Link()


def bent(rows, seed, bend):
    """Confidences, and whether they are right with a chance that is `bend` of the confidence."""
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.05, 0.99, rows).astype(np.float32)
    return chance, rng.random(rows) < bend(chance)


def test_a_curve_makes_confidences_what_they_say():
    chance, right = bent(20_000, 0, lambda c: c**2)
    fresh, hit = bent(20_000, 1, lambda c: c**2)
    curve = calibrate.best_curve(chance, right)
    after = calibrate.quality(curve(fresh), hit)
    assert calibrate.quality(fresh, hit)["ece"] > 0.1
    assert after["ece"] < after["ece_by_chance"] + 0.01
    assert (np.diff(curve(np.linspace(0, 1, 200))) > 0).all()  # no two confidences become one


def test_a_curve_that_helps_no_new_row_is_not_kept():
    kept = [calibrate.best_curve(*bent(400, seed, lambda c: c)).x for seed in range(20)]
    assert sum(map(bool, kept)) < 5
    assert calibrate.best_curve(np.ones(10), np.ones(10, bool)) == calibrate.Curve()


def test_a_region_has_a_curve_of_its_own_where_it_differs():
    parts = [bent(4_000, 0, lambda c: c), bent(4_000, 1, lambda c: c**2), bent(200, 2, lambda c: c**3)]
    region = np.repeat(["MY", "IN", "SG"], [len(chance) for chance, _ in parts])
    curves = calibrate.fit_curves(*map(np.concatenate, zip(*parts)), region)
    assert set(curves) == {"*", "IN"} or set(curves) == {"*", "IN", "MY"}  # of SG there are too few rows
    fresh, hit = bent(4_000, 3, lambda c: c**2)
    said = calibrate.confidences(curves, fresh, np.full(4_000, "IN"))
    assert calibrate.quality(said, hit)["ece"] < 0.03
    np.testing.assert_array_equal(calibrate.confidences(curves, fresh, np.full(4_000, "SG")), curves["*"](fresh))


def test_the_area_under_the_risk_coverage_curve():
    # Errors at coverages 1/4 .. 4/4, the surest first: 0, 0, 1/3, 2/4.
    said = calibrate.quality(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, False]))
    assert said["aurc"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert calibrate.quality(np.empty(0), np.empty(0)) == {}


def test_scope_is_where_few_products_lie_below():
    top = np.linspace(-1, 1, 1001)
    assert calibrate.scope_threshold(top, 0.05) == pytest.approx(-0.9)
    for none in (calibrate.scope_threshold(top, 0), calibrate.scope_threshold(top[:10], 0.05)):
        assert none < calibrate.LOW


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
        _, labels, chances = drawn(calibrate.Link(15.0, 6.0, 1.0), rows=22_000, seed=seed)
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
            chances, top[:, 0], chances.max(1), known, np.full(5, 0.9, np.float32), np.full(5, 0.85, np.float32),
            tree.parent, tree.depth, tree.first, tree.last, tree.leaf, min_depth,
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


def test_what_a_curve_takes_from_the_best_the_others_share():
    _, tree = model.make_tree(["kettle", "boot", "sandal", "hat"], TAXONOMY)  # order: kettle, hat, boot, sandal
    chances = np.array([[0.1, 0.1, 0.6, 0.2]], np.float32)
    _, _, confidence = model.decide(
        chances, np.array([2]), np.array([0.4], np.float32), np.ones(1, bool), np.full(1, 0.9, np.float32),
        np.full(1, 0.5, np.float32), tree.parent, tree.depth, tree.first, tree.last, tree.leaf, 2,
    )  # fmt: skip
    assert confidence[0] == pytest.approx(0.4 + 0.6 * 0.2 / 0.4)  # boot, and sandal's half of what is left


def test_thresholds_by_region_and_branch():
    nodes, tree = model.make_tree(["kettle", "boot", "sandal", "hat"], TAXONOMY)  # order: kettle, hat, boot, sandal
    cells = [
        {"region": region, "category": category, "accept": at / 10, "roll_up": 0.5}
        for at, (region, category) in enumerate(itertools.product(["*", "IN"], ["*", "shoe", "wear"]))
    ]
    found = model.Thresholds.of(cells, nodes, tree)
    said = found.find(np.array(["MY", "MY", "MY", "IN", "IN", "IN"]), np.array([0, 1, 2, 0, 1, 3]))
    names = [(cells[at]["region"], cells[at]["category"]) for at in said]
    assert names == [("*", "*"), ("*", "wear"), ("*", "shoe"), ("IN", "*"), ("IN", "wear"), ("IN", "shoe")]
    np.testing.assert_allclose(found.accept[said], [0.0, 0.2, 0.1, 0.3, 0.5, 0.4], rtol=1e-6)


def test_best_are_in_order_and_ties_keep_the_lower_number():
    number, chance = model.best(np.array([[0.2, 0.4, 0.2, 0.1, 0.1]], np.float32), 3)
    assert number.tolist() == [[1, 0, 2]]
    np.testing.assert_allclose(chance, [[0.4, 0.2, 0.2]], rtol=1e-6)
