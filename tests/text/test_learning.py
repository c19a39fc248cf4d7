"""Learning curves on numbers whose answer is known."""

import numpy as np
import pytest

from shelfmark.text import learning


def test_finds_the_exponent_the_errors_fell_with():
    rows = np.array([50, 200, 1000])
    small = 1 - 0.9 * (rows / 3.0) ** -0.4
    large = 1 - 0.9 * rows**-0.4
    assert learning.slope(rows, small, large, 1 / 3) == pytest.approx(0.4)


def test_says_how_many_labels_are_lacking():
    rows = np.array([100, 100, 100, 100])
    error = np.array([0.1, 0.2, 0.4, 0.99])
    lacking = learning.more_labels(rows, 1 - error, 0.8, 0.5)
    # error = a n^-1/2: half the error takes four times the labels; from 0.99 it would take 24.5 times as many.
    assert lacking[:3].tolist() == [0, 0, 300]
    assert lacking[3] == 2351
    assert np.isnan(learning.more_labels(rows, 1 - error, 0.99, 0.2)[3])


def test_labels_that_do_not_help_are_no_answer():
    assert learning.slope(np.array([10]), np.array([0.5]), np.array([0.4]), 1 / 3) == learning.SLOPES[0]
    assert learning.slope(np.array([]), np.array([]), np.array([]), 1 / 3) == learning.SLOPES[0]
    assert np.isnan(learning.more_labels(np.array([10]), np.array([0.4]), 0.8, learning.SLOPES[0]))[0]


def test_few_rows_are_neither_perfect_nor_hopeless():
    assert learning.f1([2, 0, 1000], [2, 0, 1000], [2, 0, 1000]) == pytest.approx([5 / 6, 0.5, 2001 / 2002])
