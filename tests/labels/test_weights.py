"""Class weights: mean 1 over rows, capped, and the published formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfmark.labels.weights import class_weights, logit_offsets


def mean_over_rows(counts, weights):
    return (np.asarray(counts) * weights).sum() / np.sum(counts)


def test_none_is_one_everywhere():
    assert class_weights(np.array([3, 0, 900])).tolist() == [1.0, 1.0, 1.0]


def test_inverse_gives_each_category_the_same_sum():
    counts = np.array([10, 20, 70])
    weights = class_weights(counts, "inverse", cap=100)
    assert counts * weights == pytest.approx([100 / 3] * 3)


def test_effective_number_as_published():
    # Cui et al. 2019: E_n = (1 - beta**n) / (1 - beta); the weights are in proportion to 1 / E_n.
    counts = np.array([1, 10, 1000])
    weights = class_weights(counts, "effective", beta=0.99, cap=1000)
    effective = (1 - 0.99**counts) / (1 - 0.99)
    assert weights / weights[0] == pytest.approx((1 / effective) / (1 / effective[0]))


def test_beta_spans_from_no_weights_to_inverse():
    counts = np.array([5, 50, 500])
    assert class_weights(counts, "effective", beta=1e-9, cap=99) == pytest.approx([1, 1, 1])
    inverse = class_weights(counts, "inverse", cap=99)
    assert class_weights(counts, "effective", beta=1 - 1e-9, cap=99) == pytest.approx(inverse, rel=1e-5)


def test_what_the_cap_takes_goes_to_the_others():
    counts = np.array([1, 1000, 9000])
    weights = class_weights(counts, "inverse", cap=5.0)
    assert weights[0] == 5.0
    assert weights[1] / weights[2] == pytest.approx(9.0)
    assert mean_over_rows(counts, weights) == pytest.approx(1.0)


def test_a_category_without_rows_is_weighted_as_one_with_a_single_row():
    weights = class_weights(np.array([0, 1, 99]), "inverse", cap=1000)
    assert weights[0] == weights[1]
    assert class_weights(np.array([0, 0]), "inverse").tolist() == [1.0, 1.0]
    assert class_weights(np.array([]), "inverse").size == 0


@given(
    st.lists(st.integers(0, 10**7), min_size=1, max_size=40).filter(any),
    st.sampled_from(["inverse", "effective"]),
    st.floats(1, 1000),
)
def test_mean_is_one_cap_holds_and_rarer_never_weighs_less(counts, how, cap):
    counts = np.array(counts)
    weights = class_weights(counts, how, 0.999, cap)
    assert mean_over_rows(counts, weights) == pytest.approx(1.0, rel=1e-6)
    assert (weights <= cap).all()
    assert (weights > 0).all()
    assert (np.diff(weights[np.argsort(counts, kind="stable")]) <= 1e-9).all()


@pytest.mark.parametrize(
    ("counts", "how", "beta", "cap", "word"),
    [
        ([-1, 2], "inverse", 0.9, 10, "counts"),
        ([1, 2], "inverse", 0.9, 0.5, "cap"),
        ([1, 2], "effective", 1.0, 10, "beta"),
        ([1, 2], "focal", 0.9, 10, "focal"),
    ],
)
def test_what_cannot_be_weighted_is_refused(counts, how, beta, cap, word):
    with pytest.raises(ValueError, match=word):
        class_weights(np.array(counts), how, beta, cap)


def test_logit_offsets_raise_the_rare_by_the_log_of_their_share():
    counts = np.array([10, 100, 1000])
    offsets = logit_offsets(counts, 0.5)
    assert offsets[0] - offsets[1] == pytest.approx(0.5 * np.log(10))
    assert offsets.sum() == pytest.approx(0)
    assert not logit_offsets(counts, 0).any()
    assert np.isfinite(logit_offsets(np.array([0, 5]), 1)).all()
