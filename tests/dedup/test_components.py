"""Components by one task and by rounds against networkx."""

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.dedup import components, kernel, packed
from shelfmark.errors import ShelfmarkError

EDGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda e: e[0] != e[1]), max_size=60)


@given(EDGES)
@settings(max_examples=200, deadline=None)
def test_rounds_of_large_and_small_star_end_in_the_components_of_networkx(edges):
    """The kernels alone, as one shard."""
    left, right = (np.array([e[k] for e in edges], np.int64) for k in (0, 1))
    for _ in range(components.ROUNDS):
        node, other = np.concatenate([left, right]), np.concatenate([right, left])
        left, right, large = kernel.star(node, other, True)
        left, right, small = kernel.star(right, left, False)
        if not (large or small):
            break
    assert (large, small) == (False, False)
    nodes, root = kernel.smallest(np.concatenate([left, right]), np.concatenate([right, left]))
    expected = {n: min(c) for c in nx.connected_components(nx.Graph(edges)) for n in c}
    assert dict(zip(nodes.tolist(), root.tolist())) == expected


@pytest.fixture(scope="module")
def graph():
    """A path (the worst case of rounds), a star, a clique, and random edges; ids whose order says nothing of the shape."""
    draw = np.random.default_rng(6)
    pairs = [(f"p{n}", f"p{n + 1}") for n in range(300)]
    pairs += [("s0", f"s{n}") for n in range(1, 200)]
    pairs += [(f"c{a}", f"c{b}") for a in range(20) for b in range(a)]
    pairs += [(f"r{a}", f"r{b}") for a, b in draw.integers(0, 400, (350, 2)) if a != b]
    names = sorted({name for pair in pairs for name in pair})
    new = {name: f"{place:05x}" for name, place in zip(names, draw.permutation(len(names)))}
    return [(new[a], new[b]) for a, b in pairs]


@pytest.mark.parametrize("shards", [1, 3])
def test_one_task_and_rounds_over_shards_give_the_smallest_product_of_every_component(spark, graph, shards):
    expected = {n: min(c) for c in nx.connected_components(nx.Graph(graph)) for n in c}
    edges = spark.createDataFrame([(a, b, a < b) for a, b in graph], "left string, right string, marked boolean")
    marked = {name for a, b in graph if a < b for name in (a, b)}
    for products in (len(expected), components.ONE_TASK + 1):
        found = components.roots(edges.repartition(2), products, shards, "marked").collect()
        tables = {
            kind: packed.unpack([pa.py_buffer(bytes(row.blob)) for row in found if row.kind == kind])
            for kind in ("root", "marked")
        }
        rows = tables["root"].to_pylist()
        assert {row["product_id"]: row["root"] for row in rows} == expected
        assert len(rows) == len(expected)
        assert set(tables["marked"]["product_id"].to_pylist()) == marked


def test_no_edges_are_no_components(spark):
    edges = spark.createDataFrame([], "left string, right string")
    for products in (0, components.ONE_TASK + 1):
        assert components.roots(edges, products, 2).collect() == []


def test_chains_too_long_for_the_rounds_end_with_what_to_do(spark, monkeypatch):
    monkeypatch.setattr(components, "ROUNDS", 1)
    edges = spark.createDataFrame([(f"p{n}", f"p{n + 1}") for n in range(9)], "left string, right string")
    with pytest.raises(ShelfmarkError, match=r"not found in 1 rounds.*raise dedupe\.similarity"):
        components.roots(edges, components.ONE_TASK + 1, 2)
