"""Candidate pairs: found by terms, codes and identifiers, never all pairs."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.dedup import blocking, features


def offers(*rows):
    names = ("title", "source", "brand", "model_number", "gtin", "image_id", "picture")
    return pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names})


def found(*rows, limit=blocking.LIMIT):
    shelf = offers(*({"source": str(i), **row} for i, row in enumerate(rows)))
    left, right, dropped = blocking.candidates(shelf, features.learn(shelf), limit)
    return list(zip(left.tolist(), right.tolist())), dropped


def test_one_rare_term_a_code_or_an_identifier_makes_a_candidate():
    assert found({"title": "Serie 4 KGN36"}, {"title": "fridge kgn36"})[0] == [(0, 1)]
    assert found({"title": "Sony MDR-EX55BK"}, {"title": "earbuds mdr ex55/blk"})[0] == [(0, 1)]
    assert found({"title": "eins", "gtin": "17"}, {"title": "two", "gtin": "17"})[0] == [(0, 1)]
    assert found({"title": "eins", "image_id": "a"}, {"title": "two", "image_id": "a"})[0] == [(0, 1)]
    same = {"brand": "Bosch", "model_number": "7"}
    assert found({"title": "eins", **same}, {"title": "two", **same})[0] == [(0, 1)]
    assert found({"title": "eins"}, {"title": "two"})[0] == []


def test_pictures_whose_hashes_differ_in_three_bits_are_candidates():
    assert found({"title": "eins", "picture": "0123456789abcdef"}, {"title": "two", "picture": "0023446789abcdee"})[
        0
    ] == [(0, 1)]


def test_offers_of_one_seller_are_no_candidates():
    assert found({"title": "fridge kgn36", "source": "a"}, {"title": "fridge kgn36", "source": "a"})[0] == []


def test_a_block_over_the_limit_is_dropped_and_counted():
    pairs, dropped = found(*[{"title": "freezer"}] * 11, limit=10)
    assert (pairs, dropped) == ([], 1)
    assert len(found(*[{"title": "freezer"}] * 10, limit=10)[0]) == 45


def test_two_common_terms_together_make_a_candidate():
    rows = [{"title": f"{one} {other}"} for one in ("apple", "pear", "plum") for other in ("jam", "juice", "tart")] * 2
    assert (0, 9) in found(*rows, limit=5)[0]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=40),
    st.integers(2, 9),
)
def test_expand_is_all_pairs_of_small_blocks(rows, limit):
    key, owner, seller = (np.array(column, np.uint64) for column in zip(*sorted({*rows})))
    left, right, dropped = blocking.expand(key, owner, np.zeros(len(key), np.bool_), seller, limit)
    expected, over = set(), 0
    for one in set(key.tolist()):
        block = [(o, s) for k, o, s in zip(key.tolist(), owner.tolist(), seller.tolist()) if k == one]
        over += len(block) > limit
        if len(block) <= limit:
            expected |= {(a, b) for a, s in block for b, t in block if a < b and s != t}
    assert set(zip(left.tolist(), right.tolist())) == expected
    assert len(left) == len(expected)
    assert dropped == over
