"""Decisions as they are written, and what follows from them; without Spark."""

import re

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.dedup import decisions
from shelfmark.dedup.decisions import Decision
from shelfmark.errors import UsageError
from shelfmark.ingest.normalise import product_id

A, B, C = ("a" * 32, "b" * 32, "c" * 32)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (f"{A},{B},maybe,x", "d.csv:2: verdict 'maybe': say same, different, withdrawn"),
        (f"{A},{B},same,", "d.csv:2: say why"),
        (f"{A},{A},same,x", "are one record"),
        (f"{A},nobody,same,x", "d.csv:2: 'nobody' is no product_id"),
        (f"{A},{B},,", "no row has a verdict"),
        (f"{A},{B},same,x\n{B},{A},different,y", "are decided twice, same and different"),
    ],
)
def test_a_file_that_is_wrong_is_told_by_its_line(tmp_path, row, says):
    file = tmp_path / "d.csv"
    file.write_text(f"left,right,verdict,reason\n{row}\n")
    with pytest.raises(UsageError, match=re.escape(says)):
        decisions.of_file(file, "ann")


def test_a_file_without_its_columns_or_that_is_not_there_is_told(tmp_path):
    (tmp_path / "d.csv").write_text("left,right\n")
    with pytest.raises(UsageError, match="no column reason, verdict; it has left, right"):
        decisions.of_file(tmp_path / "d.csv", "ann")
    with pytest.raises(UsageError, match="No such file"):
        decisions.of_file(tmp_path / "none.csv", "ann")


def test_pairs_are_put_in_order_and_rows_not_decided_are_left_out(tmp_path):
    file = tmp_path / "d.csv"
    file.write_text(f"left,right,verdict,reason,decided_by\n{B},{A},Same,x,bob\n{A},{C},,,\nshop:1,{A},different,y,\n")
    one, two = decisions.of_file(file, "ann")
    assert one == Decision(A, B, "same", "x", "bob")
    assert {two.left, two.right} == {A, product_id("shop", "1")}
    assert two.decided_by == "ann"


WORDS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.sampled_from(["same", "different"])), max_size=9)


@given(WORDS)
@settings(deadline=None)
def test_constraints_are_those_of_networkx(words):
    made = [Decision(f"p{min(a, b)}", f"p{max(a, b)}", verdict, "x", "ann") for a, b, verdict in words if a != b]
    graph = nx.Graph()
    graph.add_nodes_from(product for d in made for product in (d.left, d.right))
    graph.add_edges_from((d.left, d.right) for d in made if d.verdict == "same")
    one = {product: min(part) for part in nx.connected_components(graph) for product in part}
    found = decisions.constraints(made)
    assert {product: name for product, (name, _) in found.items()} == one
    for product, (name, apart) in found.items():
        differ = [d for d in made if d.verdict == "different" and name in (one[d.left], one[d.right])]
        others = {one[d.right] if one[d.left] == name else one[d.left] for d in differ}
        assert apart == others, product
    contradicted = any(d.verdict == "different" and one[d.left] == one[d.right] for d in made)
    if contradicted:
        with pytest.raises(UsageError, match="withdraw one of them"):
            decisions.refuse_contradictions(made)
    else:
        decisions.refuse_contradictions(made)
