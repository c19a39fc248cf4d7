"""Features of a pair of offers: what each says, what is missing, what bars a pair whatever its score."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.dedup import features

TEXTS = ("title", "description", "brand", "gtin", "model_number", "currency", "image_id", "picture")
KIND = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string()), ("unit", pa.string())]))


def table(*rows):
    columns = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in TEXTS}
    attributes = [[dict(zip(("name", "value", "unit"), one)) for one in row.get("attributes", ())] for row in rows]
    return pa.table(
        {
            **columns,
            "price": pa.array([row.get("price") for row in rows], pa.float64()),
            "attributes": pa.array(attributes, KIND),
        }
    )


def compared(one, other):
    """The features of two offers by name."""
    both = table(one, other)
    read = features.prepare(both, features.learn(both))
    return dict(zip(features.NAMES, features.pairs(read, np.array([0]), read, np.array([1]))[0].tolist()))


def titles(one, other):
    return compared({"title": one}, {"title": other})


def barred(one, other):
    x = compared(one, other)
    return bool(features.barred(np.array([list(x.values())], np.float32))[0])


def test_what_nobody_states_is_missing_not_zero():
    found = titles("bosch fridge", "bosch fridge")
    for name in ("price", "brand", "model", "gtin", "picture", "code_found", "colour", "size", "description_cosine"):
        assert np.isnan(found[name])
    assert found["title_cosine"] == pytest.approx(1)


def test_a_price_of_zero_and_prices_of_two_currencies_say_nothing():
    title = {"title": "fridge"}
    assert np.isnan(compared({**title, "price": 0.0}, {**title, "price": 3.0})["price"])
    euro, pound = {**title, "price": 1.0, "currency": "EUR"}, {**title, "price": 2.0, "currency": "GBP"}
    assert np.isnan(compared(euro, pound)["price"])
    assert compared(euro, {**pound, "currency": "EUR"})["price"] == pytest.approx(np.log(2))


def test_a_rare_term_in_common_weighs_more_than_a_common_one():
    shelf = table(
        {"title": "freezer kgn36"}, {"title": "kgn36 cooler"}, {"title": "freezer cold"}, *[{"title": "freezer"}] * 50
    )
    read = features.prepare(shelf, features.learn(shelf))
    x = features.pairs(read, np.array([0, 0]), read, np.array([1, 2]))
    assert x[0, features.NAMES.index("title_cosine")] > x[1, features.NAMES.index("title_cosine")]


def test_a_code_is_found_however_it_is_written():
    found = titles("Sony earbuds MDR-EX55BK", "earbuds black mdr ex55bk by sony")
    assert found["code_found"] == 1
    assert found["code_length"] == len("mdrex55bk")
    assert titles("Electrolux EL6985B", "Electrolux EL6985A")["code_prefix"] == pytest.approx(6 / 7)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Galaxy S8 128 GB", "Samsung Galaxy S8 256GB black"),
        ("running shoe size 40", "running shoe, size 42"),
        ("iphone 7 black", "apple iphone 8"),
        ("washing machine 8 kg", "washing machine 9kg"),
        ("shirt XL", "shirt XXL"),
    ],
)
def test_numbers_that_conflict_keep_a_pair_apart(one, other):
    assert barred({"title": one}, {"title": other})
    assert barred({"title": other}, {"title": one})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Galaxy S8 64 GB", "galaxy s8 64gb"),
        ("Galaxy S8 64 GB", "galaxy s8"),
        ("camera 14.7 megapixel", "camera 14 MP"),
        ("graphics card 1 GB", "graphics card 1024 MB"),
        ("Samsung 46 LCD Series 7", "Samsung 7 Series LCD 46"),
    ],
)
def test_numbers_that_one_title_rounds_leaves_out_or_orders_otherwise_bar_nothing(one, other):
    assert not barred({"title": one}, {"title": other})


def test_other_gtins_sizes_and_quantities_bar_a_pair():
    title = {"title": "garden hose"}
    assert barred({**title, "gtin": "1"}, {**title, "gtin": "2"})
    assert not barred({**title, "gtin": "1"}, {**title, "gtin": "1"})
    assert barred({**title, "attributes": [("length", "20", "m")]}, {**title, "attributes": [("length", "30", "m")]})
    assert barred({**title, "attributes": [("size", "40", None)]}, {**title, "attributes": [("size", "42", None)]})


def test_pictures_differ_by_bits_of_their_hashes():
    title = {"title": "hose"}
    assert compared({**title, "picture": "00000000000000ff"}, {**title, "picture": "000000000000000f"})["picture"] == 4
    assert compared({**title, "image_id": "a"}, {**title, "image_id": "a"})["picture"] == 0
    assert np.isnan(compared({**title, "image_id": "a"}, {**title, "image_id": "b"})["picture"])


TERMS = ["bosch", "64gb", "kgn36", "ケース", "red", "XL", "12", "kg", "8", "iphone", "plus"]
WORDS = st.lists(st.sampled_from(TERMS), max_size=6).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(WORDS, WORDS, st.sampled_from([None, 1.0, 7.5]))
def test_the_sides_of_a_pair_can_be_swapped_and_an_offer_equals_itself(one, other, price):
    shelf = table({"title": one, "price": price}, {"title": other, "price": 2.0})
    read = features.prepare(shelf, features.learn(shelf))
    ends = np.array([0]), np.array([1])
    there, back = features.pairs(read, ends[0], read, ends[1]), features.pairs(read, ends[1], read, ends[0])
    np.testing.assert_array_equal(there, back)
    assert not features.barred(features.pairs(read, ends[0], read, ends[0]))[0]
