"""The gate: what passes, what does not, and why; on counts, without Spark."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from shelfmark.config import Gate
from shelfmark.models.gate import Measured, Region, crowned, judge, measure

BLOCKS = 100


def cells(region, block, truth, challenger, other):
    """Counts per region, block and category as Spark makes them, from rows."""
    keys = {}
    for r, b, t, c, o in zip(region, block, truth, challenger, other):
        keys.setdefault((r, b, t), np.zeros(5))[0] += 1
        keys.setdefault((r, b, c), np.zeros(5))[[1, 2]] += [1, c == t]
        keys.setdefault((r, b, o), np.zeros(5))[[3, 4]] += [1, o == t]
    regions, blocks, categories = zip(*keys)
    return np.array(regions, object), np.array(blocks), np.array(categories, object), np.array(list(keys.values()))


def rows(n=4000, right=0.8, champion=0.8, seed=0, regions=("IN", "US"), same=0.0):
    """Test rows of five categories: the challenger is right on a share `right`; `same`: share it answers as the champion."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 5, n)

    def says(share):
        return np.where(rng.random(n) < share, truth, (truth + rng.integers(1, 5, n)) % 5)

    other, new = says(champion), says(right)
    new = np.where(rng.random(n) < same, other, new)
    return (
        rng.choice(regions, n),
        rng.integers(0, BLOCKS, n),
        *(np.array([f"c{v}" for v in a]) for a in (truth, new, other)),
    )


def measured(*drawn):
    return measure(*cells(*drawn), BLOCKS, 20)


def test_figures_are_those_of_scikit_learn_overall_and_per_region():
    region, block, truth, new, other = rows(1500)
    found = measured(region, block, truth, new, other)
    assert found.rows == 1500
    assert found.macro_f1 == pytest.approx(f1_score(truth, new, average="macro"))
    assert found.compared_macro_f1 == pytest.approx(f1_score(truth, other, average="macro"))
    for one in found.regions:
        here = region == one.region
        assert one.rows == here.sum()
        assert one.macro_f1 == pytest.approx(f1_score(truth[here], new[here], average="macro"))
        assert one.drop == pytest.approx(f1_score(truth[here], other[here], average="macro") - one.macro_f1)


def test_a_category_that_no_row_is_truly_of_has_no_part_in_macro_f1():
    region, block, truth, new, other = rows(600)
    new = np.where(np.arange(600) % 10 == 0, "nothing is this", new)
    found = measured(region, block, truth, new, other)
    assert found.macro_f1 == pytest.approx(f1_score(truth, new, average="macro", labels=np.unique(truth)))


def test_the_same_answers_differ_by_nothing_and_pass():
    region, block, truth, new, _ = rows(400)
    found = measured(region, block, truth, new, new)
    assert (found.difference, found.low) == (0, 0)
    assert judge(found, Gate()).passes


def test_a_much_worse_challenger_does_not_pass_and_a_much_better_one_does():
    worse = judge(measured(*rows(right=0.7)), Gate())
    assert not worse.passes
    assert worse.reason.startswith("macro-F1 0.69")
    assert "(one-sided 95 %), 0.01 is let pass; in IN macro-F1 drops by 0." in worse.reason
    assert judge(measured(*rows(right=0.9)), Gate()).passes


def test_a_difference_within_the_margin_must_be_shown_not_only_measured():
    """The same small loss: shown on many rows that are mostly answered alike, not on few that are not."""
    few, many = measured(*rows(300, 0.8, seed=3)), measured(*rows(20_000, 0.79, same=0.9))
    assert few.low < -0.03 < few.difference
    assert not judge(few, Gate(margin=0.03)).passes
    assert many.difference < 0
    assert judge(many, Gate(margin=0.03)).passes


def test_one_in_twenty_challengers_that_lie_on_the_margin_passes():
    passed = 0
    for seed in range(80):
        region, block, truth, new, other = rows(600, 0.80, 0.84, seed=seed)
        passed += measured(region, block, truth, new, other).low > -0.04
    assert 1 <= passed <= 10


def test_a_region_that_drops_refuses_what_gains_overall():
    rng = np.random.default_rng(5)
    region, block, truth, _, other = rows(6000, champion=0.8, seed=5, regions=("IN", "US", "US", "US"))
    right = rng.random(6000) < np.where(region == "IN", 0.6, 0.95)
    new = np.where(right, truth, "c0")
    found = measured(region, block, truth, new, other)
    assert found.low > 0
    verdict = judge(found, Gate())
    assert not verdict.passes
    assert verdict.worst.region == "IN"
    assert verdict.reason.startswith("in IN macro-F1 drops by 0.")
    # With too few rows to be judged by itself the region speaks overall only.
    assert judge(found, Gate(min_region_rows=5000)).passes
    assert judge(found, Gate(min_region_rows=5000)).reason.endswith("no region has rows enough to judge")


def test_without_rows_or_with_few_leak_groups_nothing_is_shown_and_nothing_passes():
    empty = measure(*(np.array([], object),) * 3, np.zeros((0, 5)), BLOCKS, 20)
    assert empty is None
    assert "nothing shows that it is no worse" in judge(None, Gate()).reason
    region, block, truth, new, other = rows(400, right=1.0, champion=0.5)
    narrow = measured(region, block % 19, truth, new, other)
    assert narrow.low is None
    assert not judge(narrow, Gate()).passes
    assert "too few leak groups" in judge(narrow, Gate()).reason
    assert judge(measured(region, block % 20, truth, new, other), Gate()).passes


figure = st.floats(0, 1)
region = st.builds(Region, st.sampled_from(["IN", "US", "MY", "DE"]), st.integers(1, 600), figure, figure)


@settings(max_examples=200, deadline=None)
@given(
    st.builds(
        Measured, st.integers(1, 10_000), figure, figure, st.none() | st.floats(-1, 1), st.lists(region).map(tuple)
    ),
    st.builds(Gate, margin=st.floats(0, 0.5), max_region_drop=st.floats(0, 0.5), min_region_rows=st.integers(1, 600)),
)
def test_what_passes_is_not_inferior_overall_and_falls_in_no_region_of_enough_rows(found, gate):
    verdict = judge(found, gate)
    shown = found.low is not None and found.low > -gate.margin
    judged = [one for one in found.regions if one.rows >= gate.min_region_rows]
    held = all(one.drop <= gate.max_region_drop for one in judged)
    assert verdict.passes == (shown and held)
    assert verdict.reason
    assert (verdict.worst is None) == (not judged)
    if judged:
        assert verdict.worst.drop == max(one.drop for one in judged)


def test_a_roll_back_goes_back_along_the_champions_and_a_promotion_starts_from_there():
    known = [("a", 1), ("b", 2), ("c", 9), ("d", None)]  # a and b: crowned before decisions were kept
    assert crowned(known[:2], []) == ["a", "b"]
    made = [("kept", "d"), ("promoted", "c")]
    assert crowned(known, made) == ["a", "b", "c"]
    made.append(("rolled_back", "b"))
    assert crowned(known, made) == ["a", "b"]
    made.append(("rolled_back", "a"))
    assert crowned(known, made) == ["a"]
    made += [("compared", "c"), ("promoted", "c"), ("promoted", "d")]
    assert crowned(known, made) == ["a", "c", "d"]
    made.append(("promoted", "a"))  # by hand: what came before it does not change
    assert crowned(known, made) == ["c", "d", "a"]
    assert crowned([("a", 3), ("b", 2)], [("promoted", "a")]) == ["b", "a"]


@given(st.lists(st.sampled_from("abcd") | st.none(), max_size=12))
def test_the_last_champion_is_always_the_one_decided_on_last(steps):
    made, line = [], []
    for step in steps:
        if step is None and len(line) > 1:
            made.append(("rolled_back", line[-2]))
        elif step is not None and line[-1:] != [step]:
            made.append(("promoted", step))
        line = crowned([(v, 1) for d, v in made if d == "promoted"], made)
        assert len(set(line)) == len(line)
        if made:
            assert line[-1] == made[-1][1]
