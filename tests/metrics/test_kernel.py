"""Counting and formulas, against the obvious way and scikit-learn; no Spark."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from shelfmark.metrics import kernel

PARENTS = {"root": None, "shoes": "root", "boots": "shoes", "socks": "root"}
NAMES = st.sampled_from(["root", "shoes", "boots", "socks", "unheard-of"])
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["IN", "TH", "US"]),
        st.sampled_from(kernel.DECISIONS),
        st.none() | NAMES,
        st.none() | NAMES,
        NAMES,
        st.booleans(),
        st.booleans(),
        st.none() | st.floats(0, 1),
    ),
    max_size=60,
)
COLUMNS = {
    "region": pa.string(),
    "decision": pa.string(),
    "truth": pa.string(),
    "predicted": pa.string(),
    "decided": pa.string(),
    "any_hit": pa.bool_(),
    "foreign": pa.bool_(),
    "confidence": pa.float64(),
}


def batches(rows, size):
    for start in range(0, len(rows), size):
        columns = zip(*rows[start : start + size])
        yield pa.RecordBatch.from_arrays(
            [pa.array(c, t) for c, t in zip(columns, COLUMNS.values())], names=list(COLUMNS)
        )


def ancestors(category):
    return [] if category is None else [category, *ancestors(PARENTS.get(category))]


@given(ROWS, st.integers(1, 20))
def test_counts_equal_counting_row_by_row(rows, size):
    expected = {}
    for region, decision, truth, predicted, decided, any_hit, foreign, confidence in rows:
        at = expected.setdefault((region, None), dict.fromkeys(kernel.CLASS_COUNTS + kernel.REGION_COUNTS, 0))
        at["rows"] += 1
        at[decision] += 1
        at["foreign"] += foreign
        if truth is None:
            continue
        hit = truth == predicted
        at["measured"] += 1
        at["hits"] += hit
        at["hits_any"] += hit or any_hit
        at["accepted"] += decision == "accept"
        at["accepted_hits"] += decision == "accept" and hit
        at["decided"] += decision != "review"
        at["decided_hits"] += decision != "review" and decided in ancestors(truth)
        sure = confidence or 0.0
        inside = min(int(sure * 15), 14)
        at["squares"] += round((sure - hit) ** 2 * 1e6)
        at[f"bin_rows_{inside:02d}"] += 1
        at[f"bin_hits_{inside:02d}"] += hit
        at[f"bin_confidence_{inside:02d}"] += round(sure * 1e6)
        for category, name in ((truth, "true"), (predicted, "predicted"), (truth if hit else None, "correct")):
            if category is not None:
                cell = dict.fromkeys(kernel.CLASS_COUNTS + kernel.REGION_COUNTS, 0)
                expected.setdefault((region, category), cell)[name] += 1

    (counted,) = kernel.count_batches(batches(rows, size), PARENTS)
    got = {(row.pop("region"), row.pop("category_id")): row for row in counted.to_pylist()}
    assert got == expected


def test_counts_hold_more_regions_and_categories_than_first_expected():
    rows = [(f"r{i % 30}", "accept", f"c{i}", f"c{i}", f"c{i}", True, False, 0.5) for i in range(3000)]
    (counted,) = kernel.count_batches(batches(rows, 700), {})
    assert sum(counted.column("correct").to_pylist()) == 3000
    assert counted.num_rows == 3000 + 30


def test_a_cycle_in_the_taxonomy_does_not_hang():
    rows = [("IN", "roll_up", "a", "b", "c", False, False, 0.5)]
    (counted,) = kernel.count_batches(batches(rows, 1), {"a": "b", "b": "a"})
    assert sum(counted.column("decided_hits").to_pylist()) == 0


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 8)), min_size=1, max_size=80))
def test_macro_and_weighted_f1_equal_scikit_learn_over_classes_present_in_truth(pairs):
    truth, predicted = np.array(pairs).T
    counts = np.stack([np.bincount(a, minlength=9) for a in (truth, predicted, truth[truth == predicted])])
    _, _, f1 = kernel.precision_recall_f1(*counts)
    macro, weighted, present = kernel.macro_weighted_f1(np.zeros(9, dtype=int), 1, counts[0], f1)
    labels = np.unique(truth)
    assert present[0] == len(labels)
    for got, average in ((macro[0], "macro"), (weighted[0], "weighted")):
        expected = f1_score(truth, predicted, labels=labels, average=average, zero_division=0)
        assert got == pytest.approx(expected, abs=1e-12)


def test_wilson_interval_of_known_cases():
    # 81 of 263: 25.5 % to 36.6 %, the worked example of Newcombe (1998), Statistics in Medicine 17, table I.
    low, high = kernel.wilson([81, 0, 10, 0], [263, 20, 10, 0])
    assert low[:3] == pytest.approx([0.2553, 0.0, 0.7225], abs=1e-4)
    assert high[:3] == pytest.approx([0.3662, 0.1611, 1.0], abs=1e-4)
    assert np.isnan(low[3])
    assert np.isnan(high[3])


def test_a_calibrated_model_shows_the_error_of_chance_and_one_that_is_not_shows_more():
    rng = np.random.default_rng(1)
    sure = rng.uniform(0.3, 1, 5000)
    bins = np.minimum((sure * kernel.BINS).astype(int), kernel.BINS - 1)

    def error(right):
        counts = (np.bincount(bins, w, kernel.BINS) for w in (None, right, sure))
        rows, hits, confidence = counts
        return kernel.calibration_error(rows, hits, confidence), kernel.calibration_error_by_chance(rows, confidence)

    found, by_chance = error(rng.random(5000) < sure)
    assert 0 < by_chance < 0.02
    assert found < by_chance + 0.01
    too_sure, _ = error(rng.random(5000) < sure - 0.1)
    assert too_sure == pytest.approx(0.1, abs=0.02)
