"""What is a variant of what, without Spark."""

import itertools
import random

import pytest
from offers import near, offer

from shelfmark.dedup import survivors, variants

CARD = "SanDisk Ultra memory card"
SHIRT = "Zanzibar cotton shirt"


def found(*offers):
    """Sets of survivors that are variants of each other."""
    resolved = survivors.resolve(list(offers), near, 0.8)
    of = variants.variant_groups(resolved)
    assert set(of) <= {group.survivor.product_id for group in resolved}
    together = {}
    for key, name in of.items():
        together.setdefault(name, set()).add(key)
    assert all(name == min(keys) for name, keys in together.items())
    return sorted(map(sorted, together.values()))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"title": f"{CARD} 128 GB"}, {"title": f"{CARD} 256GB"}),
        ({"title": f"{SHIRT} red"}, {"title": f"{SHIRT} navy blue"}),
        ({"title": f"{SHIRT} size M"}, {"title": f"{SHIRT} XL"}),
        ({"title": f"{SHIRT} red M"}, {"title": f"{SHIRT} blue L"}),
        ({"title": SHIRT, "attributes": (("size", "40", None),)}, {"title": SHIRT, "attributes": (("size", "42", None),)}),
        ({"title": SHIRT, "attributes": (("weight", "300", "g"),)}, {"title": SHIRT, "attributes": (("weight", "1", "kg"),)}),
        ({"title": f"{CARD} 128 GB", "brand": "SanDisk"}, {"title": f"{CARD} 256 GB"}),
        ({"title": f"{SHIRT} long", "item_group": "7"}, {"title": f"{SHIRT} short", "item_group": "7"}),
    ],
)  # fmt: skip
def test_variants(one, other):
    assert found(offer("1", **one), offer("2", **other)) == [["1", "2"]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # Another model, edition, brand, wording; and what is alike in all that is compared, kept apart for its price.
        ({"title": "Galaxy S8 64 GB"}, {"title": "Galaxy S9 128 GB"}),
        ({"title": "iPhone 7 black"}, {"title": "iPhone 8 white"}),
        ({"title": f"{CARD} 128 GB"}, {"title": f"{CARD} Pro 256 GB"}),
        ({"title": f"{CARD} 128 GB", "brand": "SanDisk"}, {"title": f"{CARD} 256 GB", "brand": "Lexar"}),
        ({"title": f"{SHIRT} red long"}, {"title": f"{SHIRT} blue short"}),
        ({"title": SHIRT, "price": 5.0}, {"title": SHIRT, "price": 99.0, "source": "b"}),
        ({"title": f"{SHIRT} long", "item_group": "7"}, {"title": f"{SHIRT} short", "item_group": "7", "source": "b"}),
        ({"title": ""}, {"title": ""}),
    ],
)
def test_no_variants(one, other):
    assert found(offer("1", **one), offer("2", **other)) == []


def test_variants_are_the_same_in_any_order_and_never_one_product():
    offers = [
        offer(f"{i}", f"{SHIRT} {colour} {size}", "ab"[i % 2], price=9.0 + i % 2)
        for i, (colour, size) in enumerate(itertools.product(("red", "blue", "green"), ("S", "M", "XL")))
    ]
    assert found(*offers) == [sorted(one.product_id for one in offers)]
    for turn in range(5):
        random.Random(turn).shuffle(offers)
        assert found(*offers) == [sorted(one.product_id for one in offers)]


def test_two_lists_of_a_vendor_that_share_a_variant_are_one():
    one = offer("1", f"{SHIRT} long red", item_group="7")
    two = offer("2", f"{SHIRT} short red", item_group="7")
    three = offer("3", f"{SHIRT} short blue", "b")
    assert found(one, two, three) == [["1", "2", "3"]]
