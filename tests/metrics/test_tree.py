"""Figures that know the taxonomy's tree, against sets of ancestors counted row by row; no Spark."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from shelfmark.metrics import cells, measures, tree
from shelfmark.metrics.tree import Tree

# Leaves at three depths, a root that is a leaf, and an inner category that rows may be in themselves.
PARENTS = {"root": None, "shoes": "root", "boots": "shoes", "wellies": "boots", "trainers": "shoes", "socks": None}
PARENTS |= {"wool": "socks", "gift": None}
NAMES = [*PARENTS, "unheard-of"]
TREE = Tree(PARENTS)
ROWS = st.lists(st.tuples(st.sampled_from(NAMES), st.none() | st.sampled_from(NAMES)), min_size=1, max_size=60)


def above(category):
    """The category and those above it, root first."""
    return [*(above(PARENTS[category]) if PARENTS.get(category) else []), category]


def figures_of(rows, min_support=1, thirds=None, curved=False, parents=PARENTS, draws=20):
    """Figures of rows (truth, predicted or None), all in one group, a block a row."""
    import pyarrow as pa

    truth, said = zip(*rows)
    columns = {
        "truth": pa.array(truth, pa.string()),
        "predicted": pa.array(said, pa.string()),
        "any_hit": pa.array([False] * len(rows)),
        "labels": pa.array([1] * len(rows), pa.int32()),
        "labels_said": pa.array([int(s is not None) for _, s in rows], pa.int32()),
        "labels_both": pa.array([int(t == s) for t, s in rows], pa.int32()),
        "decided": pa.array(said, pa.string()),
        "confidence": pa.array(np.linspace(0, 1, len(rows)).tolist(), pa.float64()),
        "decision": pa.array(["accept"] * len(rows)),
        "rank": pa.array([int(t == s) for t, s in rows], pa.int64()),
        "block": pa.array([at % cells.BLOCKS for at in range(len(rows))], pa.int64()),
        "all": pa.array(["*"] * len(rows)),
    }
    groups = cells.Groups([("all", "*")], {"all": {None: 0}}, frozenset(["all"]), frozenset(["all"]))
    grown = Tree(parents)
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    (found,) = cells.count([batch], groups, grown)
    counted = measures.counts(*(found.column(at).to_numpy() for at in (1, 2, 3, 4)), draws=draws)
    made = measures.figures(counted, grown, thirds or {}, min_support, curved)
    return {(one.level, one.metric): one for one in made if one.metric != measures.CURVE}


@settings(deadline=None, max_examples=40)
@given(ROWS)
def test_hierarchical_figures_equal_sets_of_ancestors(rows):
    got = figures_of(rows)
    sets = [(set(above(truth)), set(above(said)) if said else set()) for truth, said in rows]
    both = sum(len(t & p) for t, p in sets)
    precision = both / max(sum(len(p) for _, p in sets), 1)
    recall = both / sum(len(t) for t, _ in sets)
    f1 = 2 * precision * recall / (precision + recall) if both else 0
    for name, value in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert got["leaf", f"hierarchical_{name}"].value == pytest.approx(value, abs=1e-12)
    # Edges up to the lowest common ancestor and down again: what is in one set alone.
    wrong = [len(t ^ p) for (t, p), (truth, said) in zip(sets, rows) if said and said != truth]
    assert got["leaf", "tree_distance"].support == len(wrong)
    assert got["leaf", "tree_distance"].value == (pytest.approx(np.mean(wrong)) if wrong else None)


@settings(deadline=None, max_examples=40)
@given(ROWS)
def test_figures_of_each_level_equal_scikit_learn_on_cut_paths(rows):
    got = figures_of(rows)
    for level in range(1, max(len(above(truth)) for truth, _ in rows) + 1):
        truth, said = ([" > ".join(above(c)[:level]) if c else "none" for c in column] for column in zip(*rows))
        labels = sorted(set(truth))
        macro = f1_score(truth, said, labels=labels, average="macro", zero_division=0)
        assert got[str(level), "macro_f1"].value == pytest.approx(macro, abs=1e-12)
        assert got[str(level), "accuracy"].value == pytest.approx(accuracy_score(truth, said), abs=1e-12)
        assert got[str(level), "categories"].value == len(labels)
    assert (str(level + 1), "macro_f1") not in got


def test_a_taxonomy_of_one_level_has_one_level_that_is_the_leaf():
    flat = {"a": None, "b": None}
    got = figures_of([("a", "a"), ("a", "b"), ("b", "b")], parents=flat)
    assert {level for level, _ in got} == {"1", "leaf"}
    assert got["1", "macro_f1"].value == got["leaf", "macro_f1"].value
    assert got["leaf", "tree_distance"].value == 2  # over the root above both


def test_one_category_alone():
    got = figures_of([("boots", "boots")] * 30)
    assert (got["leaf", "macro_f1"].value, got["3", "categories"].value) == (1, 1)
    assert (got["leaf", "tree_distance"].value, got["leaf", "tree_distance"].support) == (None, 0)
    # All of 30 right is not certainty: the interval is not the point that a bootstrap alone would give.
    assert got["leaf", "accuracy"].low == pytest.approx(0.886, abs=0.001)


def test_paths_edges_and_keys():
    keys = [TREE.key(name) for name in ("wellies", "trainers", "gift", "unheard-of")]
    paths = TREE.paths(keys)
    assert TREE.depths(keys).tolist() == [4, 3, 1, 1]
    assert [TREE.ids[key] for key in paths[0]] == ["root", "shoes", "boots", "wellies"]
    assert tree.edges(paths[:1], paths[1:2]).tolist() == [3]
    assert tree.edges(paths[:1], paths[2:3]).tolist() == [5]
    assert tree.edges(paths, paths).tolist() == [0, 0, 0, 0]
    assert keys[3] >= tree.UNKNOWN
    assert Tree({}).key("unheard-of") == keys[3]
    assert Tree({"a": "b", "b": "a"}).depths([0, 1]).tolist() == [2, 2]  # a cycle does not hang


def test_thirds_are_there_where_a_tail_is():
    even = dict.fromkeys(range(12), 100)
    assert tree.thirds(even) == {}
    tailed = {at: 200 - 17 * at for at in range(12)}  # 174.5 a category in the head, 38.5 in the tail
    assert tree.thirds(tailed) == {}
    tailed = {at: 200 - 18 * at for at in range(12)}  # 173 and 29
    found = tree.thirds(tailed)
    assert [found[at] for at in range(12)] == [0] * 4 + [1] * 4 + [2] * 4
    assert tree.thirds({at: 10 ** (3 - at) for at in range(3)}) == {}  # three categories have no tail


def test_macro_f1_of_the_thirds_is_that_of_their_categories():
    rng = np.random.default_rng(3)
    names = [f"c{at:02d}" for at in range(12)]
    truth = rng.choice(names, 400, p=np.arange(12, 0, -1) / 78)
    said = np.where(rng.random(400) < 0.6, truth, rng.choice([*names, "c99"], 400))
    parents = dict.fromkeys(names)
    # The last of the categories was never trained on.
    thirds = tree.thirds({at: 1000 // (at + 1) for at in range(11)})
    got = figures_of(list(zip(truth.tolist(), said.tolist())), parents=parents, thirds=thirds)
    for name, mine in (("head", names[:4]), ("middle", names[4:8]), ("tail", names[8:])):
        expected = f1_score(truth, said, labels=mine, average="macro", zero_division=0)
        assert got["leaf", f"macro_f1_{name}"].value == pytest.approx(expected)
        assert got["leaf", f"macro_f1_{name}"].support == np.isin(truth, mine).sum()
        assert got["leaf", f"categories_{name}"].value == len(mine)
    assert not any("tail" in metric for _, metric in figures_of([("boots", "boots")]))
