"""Intervals by a bootstrap over leak groups."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from shelfmark.metrics import bootstrap


def _rows(seed=0, n=2000, categories=7):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, categories, n)
    said = np.where(rng.random(n) < 0.7, truth, rng.integers(0, categories, n))
    return truth, said, rng.integers(0, n // 4, n).astype(np.uint64)


def test_the_figures_of_the_data_are_those_of_scikit_learn():
    truth, said, group = _rows()
    counted = bootstrap.counts(truth, said, group, 7, draws=2)
    assert bootstrap.macro_f1(counted)[0] == pytest.approx(f1_score(truth, said, average="macro"))
    assert bootstrap.accuracy(counted)[0] == pytest.approx(accuracy_score(truth, said))
    some = f1_score(truth, said, average="macro", labels=[1, 4])
    assert bootstrap.macro_f1(counted, np.array([1, 4]))[0] == pytest.approx(some)


def test_weights_are_poisson_of_mean_one_and_differ_from_draw_to_draw():
    groups = np.arange(200_000, dtype=np.uint64)
    first, second = (bootstrap.weights(groups, draw).astype(float) for draw in (1, 2))
    assert first.mean() == pytest.approx(1, abs=0.01)
    assert first.var() == pytest.approx(1, abs=0.02)
    assert (first == 0).mean() == pytest.approx(np.exp(-1), abs=0.005)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.01


def test_parts_of_a_table_add_up_to_the_whole():
    truth, said, group = _rows()
    whole = bootstrap.counts(truth, said, group, 7, draws=20)
    parts = [bootstrap.counts(truth[at], said[at], group[at], 7, draws=20) for at in np.array_split(np.arange(2000), 3)]
    np.testing.assert_allclose(sum(parts), whole)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Accuracy .7 + .3/7 of groups of four equal rows: intervals that took rows for independent would miss twice as often."""
    rng, held = np.random.default_rng(5), 0
    expected = 0.7 + 0.3 / 7
    for _ in range(100):
        truth = np.repeat(rng.integers(0, 7, 150), 4)
        right = np.repeat(rng.random(150) < expected, 4)
        said = np.where(right, truth, (truth + 1) % 7)
        counted = bootstrap.counts(truth, said, np.repeat(np.arange(150), 4), 7, draws=200)
        _, low, high = bootstrap.interval(bootstrap.accuracy(counted))
        held += low <= expected <= high
    assert 88 <= held <= 100


def test_the_difference_of_two_models_is_paired():
    """A model that is right where the other is, and on one row in fifty more, is better beyond doubt."""
    truth, said, group = _rows(n=4000)
    better = np.where(np.arange(4000) % 50 == 0, truth, said)
    one, other = (bootstrap.macro_f1(bootstrap.counts(truth, s, group, 7, draws=200)) for s in (said, better))
    assert bootstrap.interval(other - one)[1] > 0
    assert bootstrap.interval(other)[1] < bootstrap.interval(one)[2]  # their own intervals overlap


def test_the_interval_of_many_rare_categories_lies_around_the_figure():
    """400 categories of three rows: the macro-F1 of nearly all draws lies on one side of the data's."""
    rng = np.random.default_rng(2)
    truth = np.repeat(np.arange(400), 3)
    said = np.where(rng.random(1200) < 0.6, truth, rng.integers(0, 400, 1200))
    drawn = bootstrap.macro_f1(bootstrap.counts(truth, said, np.arange(1200), 400, draws=300))
    assert np.mean(drawn[1:] < drawn[0]) > 0.9
    value, low, high = bootstrap.interval(drawn)
    assert 0.8 < (high - value) / (value - low) < 1.25
