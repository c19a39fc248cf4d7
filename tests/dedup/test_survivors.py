"""Which look-alikes are one product: each rule of `resolve`, without Spark."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offers import near, offer

from shelfmark import config
from shelfmark.dedup import explain, survivors


def groups(*offers):
    """The groups of two or more, as sets of keys, and all offers in exactly one group."""
    found = survivors.resolve(list(offers), near, 0.8)
    keys = sorted(member.product_id for group in found for member in group.members)
    assert keys == sorted(one.product_id for one in offers)
    return sorted(sorted(member.product_id for member in group.members) for group in found if len(group.members) > 1)


RED, BLUE = (("colour", "red", None),), (("colour", "blau", None),)
LONG = "Bosch Serie 4 freestanding fridge freezer with frost free"


def test_equal_titles_of_two_sellers_are_one_product():
    assert groups(offer("1", "Sony WH-1000XM4 black", "a"), offer("2", "SONY WH-1000XM4, black", "b")) == [["1", "2"]]


def test_near_titles_of_two_sellers_are_one_product():
    assert groups(offer("1", LONG, "a"), offer("2", LONG + " new", "b")) == [["1", "2"]]
    assert groups(offer("1", LONG, "a"), offer("2", LONG + " and a lot of other words", "b")) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"title": LONG + " 60 cm"}, {"title": LONG + " 70 cm"}),
        ({"title": LONG + " white"}, {"title": LONG + " black"}),
        ({"attributes": RED}, {"attributes": BLUE}),
        ({"title": LONG + " size M"}, {"title": LONG + " size L"}),
        ({"title": LONG + " left"}, {"title": LONG + " right"}),
        ({"title": LONG + " plus"}, {"title": LONG}),
        ({"brand": "Bosch"}, {"brand": "Siemens"}),
        ({"model": "KGN-36"}, {"model": "KGN 39"}),
        ({"gtin": "00000000000017", "link": None}, {"gtin": "00000000000024", "link": None}),
        ({"attributes": (("capacity", "300", "l"),)}, {"attributes": (("Capacity", "350", "l"),)}),
        ({"price": 10.0}, {"price": 99.0}),
    ],
)
def test_what_speaks_against_it_keeps_near_titles_apart(one, other):
    one, other = {"title": LONG} | one, {"title": LONG} | other
    assert groups(offer("1", source="a", **one), offer("2", source="b", **other)) == []


def test_prices_of_two_markets_are_not_compared():
    assert groups(offer("1", LONG, "a", price=10.0), offer("2", LONG, "b", price=900.0, region="IN")) == [["1", "2"]]


def test_one_gtin_is_one_product_whatever_the_titles_languages():
    one = offer("1", "Gartenschlauch 20 m", "a", gtin="00000000000017", language="de", region="DE")
    assert groups(one, offer("2", "Garden hose", "b", gtin="00000000000017")) == [["1", "2"]]


@pytest.mark.parametrize(
    "other",
    [
        {"brand": "Siemens"},
        {"attributes": BLUE},
        {"title": "Wireless mouse"},
        {"source": "a", "attributes": (*RED, ("pattern", "dots", None))},
    ],
)
def test_a_gtin_is_not_believed_against_brand_colour_or_an_unlike_title(other):
    gtin = "00000000000017"
    first = offer("1", LONG, "a", gtin=gtin, brand="Bosch", attributes=(*RED, ("pattern", "plain", None)))
    second = offer("2", **({"title": LONG, "source": "b", "gtin": gtin} | other))
    assert groups(first, second) == []


def test_a_gtin_on_thousands_of_records_is_a_default():
    many = [offer(f"{i:04d}", "Thing", f"s{i}", gtin="00000000000017", price=10.0**i) for i in range(3)]
    assert groups(*many) == [["0000", "0001", "0002"]]
    many = [offer(f"{i:04d}", f"Thing {i}", "a", gtin="00000000000017") for i in range(survivors.MAX_RECORDS + 1)]
    assert groups(*many) == []


def test_one_seller_means_two_products_by_two_keys_unless_everything_agrees():
    said = {"price": 9.99, "description": "A long text.", "attributes": RED}
    assert groups(offer("1", LONG, **said), offer("2", LONG, **said)) == [["1", "2"]]
    assert groups(offer("1", LONG, **said), offer("2", LONG, **(said | {"price": 10.99}))) == []
    assert groups(offer("1", LONG, **said), offer("2", LONG, **(said | {"description": "Another."}))) == []
    # Nothing stated is no agreement: garments of one name and price.
    assert groups(offer("1", LONG), offer("2", LONG)) == []
    assert groups(offer("1", LONG, price=9.99), offer("2", LONG, price=9.99)) == []
    # The vendor says that they are variants.
    grouped = said | {"item_group": "g1"}
    assert groups(offer("1", LONG, **grouped), offer("2", LONG, **grouped)) == []


def test_a_title_one_seller_uses_for_several_products_proves_nothing_for_others():
    shirts = [offer(str(i), "Puma Men T-shirt", "a", price=10.0 + i) for i in range(3)]
    assert groups(*shirts, offer("9", "Puma Men T-shirt", "b", price=10.0)) == []


def test_a_record_without_a_colour_joins_none_of_several_colours():
    red, blue = offer("1", LONG, "a", attributes=RED), offer("2", LONG, "a", attributes=BLUE)
    silent = offer("3", LONG, "b")
    assert groups(red, blue, silent) == []
    assert groups(red, silent) == [["1", "3"]]


def test_a_chain_does_not_glue_its_ends():
    """Each title is near the next one; the ends are unlike, and only what is near the survivor stays with it."""
    words = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "kilo"]
    titles = [" ".join(words[i : i + 9]) for i in range(3)]
    chain = [offer(str(i), title, source, **said) for i, (title, source, said) in enumerate(
        zip(titles, "abc", ({}, {}, {"brand": "Acme", "description": "rich"})))]  # fmt: skip
    scores = [near(chain[0].text, [one.text])[0] for one in chain]
    assert scores[1] >= 0.7 > scores[2]
    found = survivors.resolve(chain, near, 0.7)
    together = [sorted(member.product_id for member in group.members) for group in found]
    assert sorted(together) == [["0"], ["1", "2"]]  # 2 is the richest, and 1 is near to it; 0 is not


def test_the_survivor_is_the_richest_record():
    poor, rich = offer("1", LONG, "a"), offer("2", LONG, "b", brand="Bosch", price=1.0)
    found = survivors.resolve([poor, rich], near, 0.8)
    assert [group.survivor.product_id for group in found] == ["2"]
    equal = survivors.resolve([offer("4", LONG, "a"), offer("3", LONG, "b")], near, 0.8)
    assert [group.survivor.product_id for group in equal] == ["3"]


WORDS = st.lists(
    st.sampled_from(["chair", "table", "oak", "small", "red", "blue", "2", "3", "pro"]), min_size=1, max_size=7
)
OFFERS = st.lists(
    st.fixed_dictionaries(
        {
            "title": WORDS.map(" ".join),
            "source": st.sampled_from("abc"),
            "brand": st.sampled_from([None, "Acme", "Bolt"]),
            "gtin": st.sampled_from([None, "00000000000017", "00000000000024"]),
            "attributes": st.sampled_from([(), RED, BLUE]),
            "price": st.sampled_from([None, 1.0, 2.0, 90.0]),
            "description": st.sampled_from([None, "text"]),
        }
    ),
    min_size=1,
    max_size=14,
)


@given(OFFERS, st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_groups_depend_on_no_order_and_hold_what_the_rules_promise(records, shuffle: random.Random):
    records = [{k: v for k, v in record.items() if v or k in ("title", "source")} for record in records]
    offers = [offer(f"{i:02d}", **record) for i, record in enumerate(records)]
    before = groups(*offers)
    shuffle.shuffle(offers)
    assert groups(*offers) == before
    for group in survivors.resolve(offers, near, 0.8):
        lead = group.survivor
        assert lead.rank == min(member.rank for member in group.members)
        for a in group.members:
            assert a is lead or near(lead.text, [a.text])[0] >= 0.8 or a.link == lead.link is not None
            for b in group.members:
                for field in ("brand", "gtin", "colours", "sizes"):
                    x, y = getattr(a, field), getattr(b, field)
                    assert not x or not y or x == y, field


def likely_groups(scores, *offers):
    found = survivors.resolve(list(offers), near, 0.8, scores)
    return sorted(sorted(member.product_id for member in group.members) for group in found if len(group.members) > 1)


def test_what_the_scorer_takes_for_one_product_is_one_in_other_words():
    one, other = offer("1", "Bosch fridge KGN36VL35G", "a"), offer("2", "kgn36vl35g serie 4 cooler", "b")
    assert likely_groups({("1", "2"): 0.99}, one, other) == [["1", "2"]]
    assert likely_groups({}, one, other) == []


def test_the_scorer_makes_no_chains():
    some = [offer("1", "Bosch KGN36", "a"), offer("2", "kgn36 fridge", "b"), offer("3", "a cooler kgn36", "c")]
    assert likely_groups({("1", "2"): 0.99, ("2", "3"): 0.98}, *some) == [["1", "2"]]
    assert likely_groups({("1", "2"): 0.99, ("2", "3"): 0.98, ("1", "3"): 0.97}, *some) == [["1", "2", "3"]]


def test_a_whole_group_joins_or_none_of_it_and_prices_keep_apart():
    twins = [offer("1", LONG, "a"), offer("2", LONG, "b")]
    assert likely_groups({("1", "3"): 0.99}, *twins, offer("3", "kgn36", "c")) == [["1", "2"]]
    both = {("1", "3"): 0.99, ("2", "3"): 0.99}
    assert likely_groups(both, *twins, offer("3", "kgn36", "c")) == [["1", "2", "3"]]
    apart = [offer("1", LONG, "a", price=10.0), offer("3", "kgn36", "c", price=90.0)]
    assert likely_groups({("1", "3"): 0.99}, *apart) == []


# -- rule 0: a steward's word ------------------------------------------------------------


def decided(key, title, said, source="a", **stated):
    one = offer(key, title, source, **stated)
    one.one, one.apart = said.get(key, (key, frozenset()))
    return one


def test_what_is_different_stays_apart_by_title_and_by_gtin():
    said = {"p1": ("p1", frozenset({"p2"})), "p2": ("p2", frozenset({"p1"}))}
    assert groups(decided("p1", LONG, said), decided("p2", LONG, said, "b")) == []
    gtin = {"gtin": "4006381333931"}
    assert groups(decided("p1", LONG, said, **gtin), decided("p2", LONG, said, "b", **gtin)) == []
    # Without a word they would be one.
    assert groups(decided("p1", LONG, {}, **gtin), decided("p2", LONG, {}, "b", **gtin)) == [["p1", "p2"]]


def test_what_is_the_same_is_one_against_all_rules_and_brings_its_look_alikes():
    said = {"p1": ("p1", frozenset()), "p2": ("p1", frozenset())}
    other = "Neff oven 60 cm"
    found = groups(decided("p1", LONG, said), decided("p2", other, said, "b"), decided("p3", LONG, said, "c"))
    assert found == [["p1", "p2", "p3"]]


def test_who_is_apart_from_one_is_apart_from_all_it_is_one_with():
    said = {
        "p1": ("p1", frozenset({"p3"})), "p2": ("p1", frozenset({"p3"})), "p3": ("p3", frozenset({"p1"})),
    }  # fmt: skip
    found = groups(decided("p1", "Neff oven", said), decided("p2", LONG, said, "b"), decided("p3", LONG, said, "c"))
    assert found == [["p1", "p2"]]


# -- why -----------------------------------------------------------------------------------------------------------

SAYINGS = st.fixed_dictionaries(
    {
        "title": st.sampled_from(
            ["Bosch oven serie 4 built in 60 cm white", "Bosch oven serie 4 built in 60 cm, white!", "", "Neff hob flat 60 cm",
             "Bosch oven serie 4 built in 80 cm white", "Bosch oven serie 4 built in 60 cm white left",
             "Bosch oven serie 4 built in 60 cm black", "Bosch stove serie 4 built in 60 cm white"]
        ),
        "source": st.sampled_from(["a", "b"]),
    },
    optional={
        "brand": st.sampled_from(["Bosch", "Neff"]),
        "gtin": st.sampled_from(["4006381333931", "4000000000006"]),
        "model": st.sampled_from(["X-1", "X2"]),
        "price": st.sampled_from([10.0, 12.0, 99.0]),
        "attributes": st.sampled_from([RED, BLUE, (("weight", "5", "kg"),), (*RED, ("weight", "6", "kg"))]),
        "description": st.sampled_from(["one", "two"]),
        "item_group": st.just("g"),
        "language": st.sampled_from(["en", "de"]),
    },
)  # fmt: skip


@given(SAYINGS, SAYINGS, st.sampled_from([{}, {"p1": ("p1", frozenset({"p2"})), "p2": ("p2", frozenset({"p1"}))},
                                          {"p1": ("p1", frozenset()), "p2": ("p1", frozenset())}]))  # fmt: skip
@settings(max_examples=600, deadline=None)
def test_two_records_are_apart_exactly_where_a_reason_is_given(one, other, said):
    a, b = (decided(key, record.pop("title"), said, **record) for key, record in (("p1", one), ("p2", other)))
    (score,) = near(a.text, [b.text]).tolist()
    reasons = explain.against(a, b, score, 0.8)
    assert (groups(a, b) == []) == bool(reasons), reasons


def test_reasons_are_in_words():
    a = offer("p1", "Memory card 128 GB fast", brand="Sandisk", price=10.0)
    b = offer("p2", "Memory card 256 GB fast", "b", brand="Kingston", price=99.0)
    assert explain.against(a, b, 0.9, 0.8) == [
        "figures differ: 128000mb and 256000mb",
        "brands differ: sandisk and kingston",
        "prices are more than 5 times apart: 10 and 99",
    ]


def test_the_way_through_a_group_is_the_shortest_and_says_what_links():
    members = [offer("p1", LONG), offer("p2", f"{LONG} x"), offer("p3", "Neff oven"), offer("p4", "Zanussi", gtin="1")]
    members[2].gtin = "1"
    said = {"p2": ("p2", frozenset()), "p3": ("p2", frozenset())}
    for member in members:
        member.one, member.apart = said.get(member.product_id, (member.product_id, frozenset()))
    found = explain.path(members, "p1", "p4", config.Dedupe())
    assert [product for _, product in found] == ["p1", "p2", "p3", "p4"]
    assert [link.split()[0] for link, _ in found[1:]] == ["titles", "steward", "GTIN"]
    assert explain.path(members[:1] + members[3:], "p1", "p4", config.Dedupe()) == []


def test_likeness_counts_shingles_and_bands():
    same = explain.likeness(LONG, LONG.upper(), config.Dedupe())
    assert (same.similarity, same.shared_bands, same.bands) == (1.0, 16, 16)
    assert same.probability == pytest.approx(1)
    none = explain.likeness("", None, config.Dedupe())
    assert (none.similarity, none.shared, none.shared_bands) == (0.0, 0, 0)
