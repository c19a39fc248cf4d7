"""Facts as features: against a slow reference."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.text import facts

PAIRS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))
LEARNT = {
    "numbers": {"[price] inr": [10.0, 20.5, 300.0], "rating": [3.5]},
    "words": [["colour", "red"], ["[brand]", "acme"]],
}
PRICE, RATING, WORDS = 0, 6, 8  # first feature of each: two features a cut
VALUES = st.sampled_from(
    ["10", "10.0", "9.99", "20.5", "1000000", "-3", "red", "acme", "1e5", "", "1,5", "₹1,23,999", "$ 20.5"]
)
NAMES = st.sampled_from(["[price] inr", "rating", "colour", "[brand]", "unheard of"])


NUMBERS = {
    "10": 10,
    "10.0": 10,
    "9.99": 9.99,
    "20.5": 20.5,
    "1000000": 1e6,
    "-3": -3,
    "₹1,23,999": 123_999,
    "$ 20.5": 20.5,
}


def reference(row):
    out = []
    for fact in row or []:
        name, value = fact["name"], fact["value"]
        if name in LEARNT["numbers"]:
            x = NUMBERS.get(value)
            if x is not None:
                cuts = LEARNT["numbers"][name]
                first = {"[price] inr": PRICE, "rating": RATING}[name]
                out += [
                    (first + 2 * i + (x >= cut), facts.NUMBER_NORM / len(cuts) ** 0.5) for i, cut in enumerate(cuts)
                ]
        elif [name, value] in LEARNT["words"]:
            out.append((WORDS + LEARNT["words"].index([name, value]), facts.WORD_NORM))
    return sorted(out)


ROWS = st.lists(
    st.none() | st.lists(st.fixed_dictionaries({"name": NAMES, "value": VALUES}), max_size=5), min_size=1, max_size=6
)


@settings(deadline=None, max_examples=150)
@given(ROWS, st.integers(0, 2))
def test_features_are_those_of_the_reference(rows, at):
    encoder = facts.Encoder(LEARNT)
    ends, columns, values = encoder.rows(pa.array(rows, PAIRS).slice(at))
    assert len(ends) == len(rows[at:]) + 1
    for row, a, b in zip(rows[at:], ends, ends[1:]):
        found = sorted(zip(columns[a:b].tolist(), (values[a:b] / 65535).tolist()))
        assert [c for c, _ in found] == [c for c, _ in reference(row)]
        np.testing.assert_allclose([v for _, v in found], [v for _, v in reference(row)], atol=1e-5)


def test_features_have_names():
    encoder = facts.Encoder(LEARNT)
    names = encoder.names()
    assert len(names) == encoder.size == 10
    assert encoder.cuts == 8
    assert names[:2] == ["[price] inr < 10", "[price] inr >= 10"]
    assert names[-2:] == ["colour = red", "[brand] = acme"]


def test_no_facts_learnt_are_no_features():
    ends, columns, values = facts.Encoder(facts.NOTHING).rows(pa.array([[{"name": "a", "value": "1"}], []], PAIRS))
    assert ends.tolist() == [0, 0, 0]
    assert len(columns) == len(values) == 0


def test_numbers_come_before_the_texts_and_words_after_them():
    told = np.array([0, 2, 2, 3]), np.array([1, 4, 5], np.int32), np.array([7, 8, 9], np.uint16)
    texts = np.array([0, 1, 3, 3]), np.array([0, 0, 2], np.int32), np.array([1, 2, 3], np.uint16)
    ends, columns, values = facts.joined(told, texts, numbers=4, features=10)
    assert ends.tolist() == [0, 3, 5, 6]
    assert columns.tolist() == [1, 14, 4, 4, 6, 15]
    assert values.tolist() == [7, 8, 1, 2, 3, 9]
