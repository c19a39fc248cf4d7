"""The cut of a signature into bands against the curve it is chosen by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfmark import config
from shelfmark.dedup import bands
from shelfmark.errors import UsageError


def test_the_curve_is_that_of_the_book():
    """Table 3.10 of Mining of Massive Datasets: 20 bands of 5 rows."""
    table = {0.2: 0.006, 0.3: 0.047, 0.4: 0.186, 0.5: 0.470, 0.6: 0.802, 0.7: 0.975, 0.8: 0.9996}
    assert {s: bands.found(s, 20, 5) for s in table} == pytest.approx(table, abs=5e-4)


def test_the_default_is_sixteen_bands_of_eight():
    settings = config.Dedupe()
    assert bands.of(settings) == 16
    assert bands.found(0.8, 16, 8) == pytest.approx(0.947, abs=5e-4)
    assert bands.of(config.Dedupe(bands=32)) == 32


@given(st.sampled_from([16, 60, 64, 100, 128, 256]), st.floats(0.3, 0.95), st.floats(0.5, 0.99))
def test_the_best_cut_reaches_the_recall_and_no_cut_of_fewer_bands_does(hashes, similarity, recall):
    best = bands.best(hashes, similarity, recall)
    assert hashes % best == 0
    assert bands.found(similarity, best, hashes // best) >= recall
    fewer = [n for n in range(1, best) if hashes % n == 0]
    assert all(bands.found(similarity, n, hashes // n) < recall for n in fewer)


def test_what_no_cut_can_find_says_what_to_change():
    with pytest.raises(UsageError, match=r"16 hashes find .* similarity 0\.1 .* raise dedupe.hashes"):
        bands.best(16, 0.1, 0.94)


def test_more_bands_than_a_byte_counts_are_refused():
    with pytest.raises(UsageError, match="512 bands are more than 255"):
        bands.of(config.Dedupe(hashes=512, bands=512))
