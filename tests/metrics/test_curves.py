"""Accuracy-coverage curves, against ordering rows one by one; no Spark."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.metrics import curves


def slow_aurc(confidence, right):
    """Mean risk among the n surest, n = 1 .. all; rows of one step in any order: the mean over many."""
    rng, areas = np.random.default_rng(0), []
    for _ in range(400):
        order = np.lexsort((rng.random(len(right)), -curves.step(confidence)))
        wrong = ~right[order]
        areas.append((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())
    return np.mean(areas), np.std(areas) / 20


def counted(confidence, right):
    step = curves.step(confidence)
    return np.bincount(step, minlength=curves.STEPS), np.bincount(step, right, curves.STEPS)


def test_the_area_is_that_of_rows_one_by_one():
    rng = np.random.default_rng(1)
    confidence = rng.beta(4, 1, 300)
    right = rng.random(300) < confidence
    expected, error = slow_aurc(confidence, right)
    assert curves.aurc(*counted(confidence, right)) == pytest.approx(expected, abs=5 * error + 1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, curves.STEPS - 1), st.booleans()), min_size=1, max_size=50))
def test_of_rows_in_steps_of_their_own_the_area_is_exact(rows):
    """One row a step: nothing is equally sure, so there is one order."""
    at = dict(rows)
    order = sorted(at, reverse=True)
    wrong = np.array([not at[step] for step in order])
    expected = (np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean()
    counts = np.zeros((2, curves.STEPS))
    for step, right in at.items():
        counts[0, step], counts[1, step] = 1, right
    assert curves.aurc(*counts) == pytest.approx(expected, abs=1e-9)
    best = np.sort(wrong)
    perfect = (np.cumsum(best) / np.arange(1, len(best) + 1)).mean()
    assert curves.perfect_aurc(counts[0].sum(), counts[1].sum()) == pytest.approx(perfect, abs=1e-9)


def test_a_confidence_that_says_nothing_has_the_error_rate_as_its_area():
    assert curves.aurc(*counted(np.full(1000, 0.7), np.arange(1000) < 800)) == pytest.approx(0.2)
    assert np.isnan(curves.aurc(np.zeros(curves.STEPS), np.zeros(curves.STEPS)))
    assert curves.perfect_aurc(100, 100) == 0


def test_thresholds_are_round_and_rows_lie_at_or_above_theirs():
    assert np.all(np.diff(curves.EDGES) > 0)
    assert {0.5, 0.9, 0.95, 0.99, 0.999} <= set(curves.EDGES.tolist())
    confidence = np.array([0.0, 0.9, 0.8999999, 1.0, 0.9999])
    assert curves.EDGES[curves.step(confidence)].tolist() == [0.0, 0.9, 0.88, 0.9999, 0.9999]
    rows, _ = counted(confidence, np.ones(5, bool))
    assert curves.accepted(rows)[curves.step(np.array([0.9]))[0]] == 3
