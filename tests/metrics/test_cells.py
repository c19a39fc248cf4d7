"""Counting by groups: against counting row by row, in any batches; figures of groups against formulas; no Spark."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.metrics import bootstrap, cells, curves, kernel, measures
from shelfmark.metrics.tree import Tree

PARENTS = {"root": None, "shoes": "root", "boots": "shoes", "socks": "root"}
TREE = Tree(PARENTS)
NAMES = st.sampled_from([*PARENTS, "unheard-of"])
ROWS = st.lists(
    st.tuples(
        NAMES,
        st.none() | NAMES,
        st.none() | st.floats(0, 1),
        st.sampled_from(kernel.DECISIONS),
        st.none() | st.integers(0, 7),
        st.integers(0, cells.BLOCKS - 1),
        st.booleans(),
        *[st.none() | st.integers(0, 9)] * 3,
        st.none() | NAMES,
        st.just("*"),
        st.sampled_from(["de", "en", "fr", None]),
    ),
    min_size=1,
    max_size=60,
)
COLUMNS = {
    "truth": pa.string(),
    "predicted": pa.string(),
    "confidence": pa.float64(),
    "decision": pa.string(),
    "rank": pa.int32(),
    "block": pa.int64(),
    "any_hit": pa.bool_(),
    "labels": pa.int32(),
    "labels_said": pa.int32(),
    "labels_both": pa.int32(),
    "decided": pa.string(),
    "all": pa.string(),
    "language": pa.string(),
}
GROUPS = cells.Groups(
    [("all", "*"), ("language", "en"), ("language", "de"), ("language", "(others)")],
    {"all": {None: 0}, "language": {"en": 1, "de": 2, None: 3}},
    frozenset(["all"]),
    frozenset(["all"]),
)


def batches(rows, size):
    for start in range(0, len(rows), size):
        columns = zip(*rows[start : start + size])
        yield pa.RecordBatch.from_arrays(
            [pa.array(c, t) for c, t in zip(columns, COLUMNS.values())], names=list(COLUMNS)
        )


def above(category):
    return [category, *(above(PARENTS[category]) if PARENTS.get(category) else [])]


def cell_by_cell(rows):
    """Cells of rows, one row after the other."""
    found = Counter()
    for truth, said, confidence, decision, rank, block, any_hit, *labels, decided, _, language in rows:
        sure, hit = confidence or 0.0, truth == said
        inside, step = min(int(sure * 15), 14), int(curves.step(np.array([sure]))[0])
        sums = {
            "rows": 1,
            "hits": hit,
            "hits_any": hit or any_hit,
            "decided": decision != "review",
            "decided_hits": decision != "review" and decided in above(truth),
            "squares": round((sure - hit) ** 2 * 1e6),
            **{name: n or 0 for name, n in zip(cells.LABELS, labels)},
            "accepted": decision == "accept",
            "accepted_hits": decision == "accept" and hit,
            **{f"at_{k}": bool(rank) and rank <= k for k in (1, 3, 5)},
            "errors": said is not None and not hit,
            "edges": len(set(above(truth)) ^ set(above(said))) if said is not None else 0,
            f"bin_rows_{inside:02d}": 1,
            f"bin_hits_{inside:02d}": hit,
            f"bin_confidence_{inside:02d}": round(sure * 1e6),
        }
        curve = {f"step_rows_{step:02d}": 1, f"step_hits_{step:02d}": hit}
        for group in (0, {"en": 1, "de": 2}.get(language, 3)):
            for name, n in (sums | (curve if group == 0 else {})).items():
                found[group, block, cells.SUM, cells.PLACE[name]] += int(n)
            both = truth if hit else None
            for kind, category in enumerate((truth, said, both)):
                if category is not None:
                    found[group, block, cells.CLASS + kind, TREE.key(category)] += 1
            if group == 0:
                true, also = set(above(truth)), set(above(said)) if said else set()
                for kind, names in enumerate((true, also, true & also)):
                    for name in names:
                        found[group, block, cells.NODE + kind, TREE.key(name)] += 1
    return {cell: n for cell, n in found.items() if n}


@settings(deadline=None)
@given(ROWS, st.integers(1, 20), st.integers(1, 40))
def test_cells_equal_counting_row_by_row_in_any_batches(rows, size, chunk):
    kept, cells.CHUNK = cells.CHUNK, chunk
    try:
        got = Counter()
        for part in cells.count(batches(rows, size), GROUPS, TREE):
            assert part.schema == cells.CELL
            for *cell, n in zip(*(column.to_pylist() for column in part.columns)):
                got[tuple(cell)] += n
    finally:
        cells.CHUNK = kept
    assert dict(got) == cell_by_cell(rows)


def test_no_rows_make_no_cells():
    assert list(cells.count([], GROUPS, TREE)) == []
    empty = pa.RecordBatch.from_arrays([pa.array([], t) for t in COLUMNS.values()], names=list(COLUMNS))
    assert list(cells.count([empty], GROUPS, TREE)) == []


def figures(rows, group=0, min_support=10, **options):
    (found,) = cells.count(batches(rows, len(rows)), GROUPS, TREE)
    mine = found.filter(pa.array(np.asarray(found.column("group")) == group))
    counted = measures.counts(*(mine.column(name).to_numpy() for name in ("block", "kind", "key", "n")))
    return list(measures.figures(counted, TREE, {}, min_support, **options))


def some(n, blocks=cells.BLOCKS, share=0.8, seed=0):
    """Rows of which each block's are all right or all wrong: as alike as rows of a leak group can be."""
    rng = np.random.default_rng(seed)
    right = rng.random(blocks) < share
    return [
        ("boots", "boots" if right[at % blocks] else "socks", 0.9, "accept", int(right[at % blocks]), at % blocks, False,
         1, 1, int(right[at % blocks]), "boots", "*", "en")
        for at in range(n)
    ]  # fmt: skip


def test_intervals_know_that_rows_of_a_leak_group_are_alike():
    accuracy = next(f for f in figures(some(5000), curved=False) if f.metric == "accuracy")
    low, high = kernel.wilson(accuracy.value * 5000, 5000)
    assert accuracy.low < accuracy.value < accuracy.high
    # As wide as that of a hundred rows, which is how much the 5,000 tell.
    alone = kernel.wilson(accuracy.value * 100, 100)
    assert (accuracy.high - accuracy.low) / (high - low) > 5
    assert (accuracy.high - accuracy.low) / (alone[1] - alone[0]) == pytest.approx(1, abs=0.25)


def test_figures_of_too_few_rows_or_blocks_say_so():
    few = figures(some(9), curved=True)
    assert {(f.value, f.low) for f in few} == {(None, None)}
    assert {f.support for f in few if f.metric == "accuracy"} == {9}
    crowded = figures(some(200, blocks=bootstrap.ENOUGH_BLOCKS - 1), curved=True)
    assert {f.low for f in crowded} == {None}
    assert next(f for f in crowded if f.metric == "accuracy").value is not None


def test_curves_fall_from_all_rows_to_the_surest():
    rng = np.random.default_rng(2)
    rows = []
    for at in range(2000):
        sure = float(rng.beta(4, 1))
        said = "boots" if rng.random() < sure else "socks"
        rows.append(
            (
                "boots",
                said,
                sure,
                "accept",
                int(said == "boots"),
                at % 100,
                False,
                1,
                1,
                int(said == "boots"),
                said,
                "*",
                "en",
            )
        )
    made = figures(rows, curved=True)
    curve = [f for f in made if f.metric == measures.CURVE]
    assert curve[0].support == 2000
    assert curve[0].value == next(f.value for f in made if f.metric == "accuracy")
    for point in curve:
        surest = [r for r in rows if r[2] >= point.threshold]
        assert point.support == len(surest)
        if len(surest) >= 10:
            assert point.value == pytest.approx(np.mean([r[0] == r[1] for r in surest]))
            assert point.low <= point.value <= point.high
    area = {f.metric: f for f in made if f.metric.startswith("aurc")}
    assert area["aurc_perfect"].value < area["aurc"].low < area["aurc"].value < area["aurc"].high < 1 - curve[0].value
