"""The estimate from a random sample, by simulation: unbiased, its interval covers; a list for review alone would mislead."""

import numpy as np
import pytest

from shelfmark.metrics import kernel
from shelfmark.metrics.sampling import hajek

# (golden records, share drawn, share right) of each part of a catalogue: a market, the predictions for review, ...
CASES = {
    "one share": [(4000, 0.05, 0.95), (1000, 0.05, 0.6)],
    "hard ones drawn more": [(4000, 0.02, 0.95), (1000, 0.1, 0.6)],
    "easy ones drawn more": [(4000, 0.1, 0.95), (1000, 0.02, 0.6)],
    "hard ones all": [(4000, 0.03, 0.95), (500, 1.0, 0.5)],
    "few mistakes": [(6000, 0.04, 0.985)],
    "half of a small market": [(300, 0.5, 0.9)],
}


def drawn(parts, draws, seed=0):
    """The true share right, and (estimate, low, high) of samples."""
    random = np.random.default_rng(seed)
    p = np.concatenate([np.full(n, share) for n, share, _ in parts])
    right = np.concatenate([np.arange(n) < round(n * of) for n, _, of in parts]).astype(float)
    found = []
    for _ in range(draws):
        mine = random.random(len(p)) < p
        w, y = 1 / p[mine], right[mine]
        spread = (1 - p[mine]) * w * w
        found.append(hajek(mine.sum(), w.sum(), (w * y).sum(), spread.sum(), (spread * y).sum()))
    return right.mean(), np.array(found)


@pytest.mark.parametrize("parts", CASES.values(), ids=CASES)
def test_it_is_unbiased_and_its_interval_covers(parts):
    truth, found = drawn(parts, 3000)
    mean, error = found[:, 0].mean(), found[:, 0].std() / np.sqrt(len(found))
    # A ratio is unbiased up to terms of 1 / n.
    assert mean == pytest.approx(truth, abs=4 * error + 0.002)
    covered = ((found[:, 1] <= truth) & (truth <= found[:, 2])).mean()
    assert 0.92 <= covered <= 0.98
    assert (found[:, 1] <= found[:, 0]).all()
    assert (found[:, 0] <= found[:, 2]).all()


def test_what_is_only_for_review_or_not_weighed_would_mislead():
    parts = CASES["hard ones all"]
    truth, found = drawn(parts, 300)
    assert truth == pytest.approx(0.9, abs=1e-9)
    assert found[:, 0].mean() == pytest.approx(truth, abs=0.005)
    # Of the list alone a half is right, of all checked rows unweighed about two in three.
    rows = np.array([n * share for n, share, _ in parts])
    unweighed = (rows * [of for *_, of in parts]).sum() / rows.sum()
    assert parts[1][2] == 0.5
    assert unweighed < truth - 0.2


def test_ends_of_the_interval_where_there_is_little_to_go_by():
    assert np.isnan(hajek(0, 0, 0, 0, 0)).all()
    assert hajek(20, 20, 15, 0, 0) == (0.75, 0.75, 0.75)  # all were checked: nothing is left to chance
    # All right of 30 drawn, one in ten: as Wilson's for as many rows, a little more as a tenth of all is known.
    share, low, high = hajek(30, 300, 300, 30 * 90, 30 * 90)
    assert (share, high) == (1, 1)
    assert low == pytest.approx(float(kernel.wilson(30, 30)[0]), abs=0.02)
