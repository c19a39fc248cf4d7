"""What tells two look-alikes apart, on titles as vendors write them."""

import pytest

from shelfmark import traits
from shelfmark.dedup import conflicts


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Galaxy S8 64 GB", "galaxy s8 64gb"),
        ("Cola 6 x 330 ml", "Cola 6x33cl"),
        ("Reis 1 kg", "Reis 1000 g"),
        ("TV 55 Zoll", 'TV 55"'),
        ("Sony KD-55XE9005", "Sony KD55XE9005"),
        ("Waschmaschine 1,400 U/min", "Waschmaschine 1400rpm"),
        ("Bildschirm 5,5 inch", "Bildschirm 5.5 inch"),
        ("चाय २५० g", "चाय 250g"),
        ("Canon G1 X Mark II", "Canon G1 X Mark 2"),
    ],
)
def test_figures_written_in_two_ways_are_equal(one, other):
    assert traits.numbers(one) == traits.numbers(other) != ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("iPhone 8 128 GB", "iPhone 8 256 GB"),
        ("Trainers size 40", "Trainers size 42"),
        ("Alpha 7 II", "Alpha 7 III"),
        ("Milk 1 l", "Milk 2 l"),
        ("Fridge KGN36", "Fridge KGN39"),
        ("Batteries pack of 4", "Batteries pack of 4 + 4"),
        ("Galaxy S9", "Galaxy S9 64GB"),
    ],
)
def test_other_figures_are_other_figures(one, other):
    assert traits.numbers(one) != traits.numbers(other)


@pytest.mark.parametrize(
    ("title", "attributes", "expected"),
    [
        ("apple iphone 8 64 gb spacegrau", (), {"grey"}),
        ("Apple iPhone 8 64GB Space Grey", (), {"grey"}),
        ("T-Shirt dunkelblau", (), {"dark blue"}),
        ("T-shirt bleu foncé", (), {"dark blue"}),
        ("iPhone rose gold", (), {"rose gold"}),
        ("シャツ 黒", (), {"black"}),
        ("कमीज़ काला", (), {"black"}),
        ("Camisa negra y blanca", (), {"black", "white"}),
        ("Orange juice", (), set()),
        ("Fruit juice or tea", (), set()),
        ("Chair", (("colour", "Orange", None),), {"orange"}),
        ("Chair red", (("Farbe", "Hell Blau", None),), {"light blue"}),
        ("Dress", (("Color", "Sorbet", None),), {"sorbet"}),
        ("Oven stainless steel", (), {"inox"}),
    ],
)
def test_colours_have_one_name_in_every_language(title, attributes, expected):
    assert traits.colours(title, attributes) == expected


@pytest.mark.parametrize(
    ("title", "attributes", "expected"),
    [
        ("Shirt XL", (), {"xl"}),
        ("Shirt, M", (), {"m"}),
        ("Shirt (S)", (), {"s"}),
        ("Hemd Gr. L", (), {"l"}),
        ("Pull taille XXL", (), {"xxl"}),
        ("Levi's L shaped desk", (), set()),
        ("Cotton shirt, red M", (), {"m"}),
        ("HDMI cable 5 m", (), set()),
        ("Shirt", (("size", "Medium", None),), {"m"}),
        ("Shoe", (("Größe", "EU 42", None),), {"42"}),
        ("Phone", (("size", "128", "GB"),), {"128000mb"}),
    ],
)
def test_sizes_are_read_from_the_attribute_or_the_title(title, attributes, expected):
    assert traits.sizes(title, attributes) == expected


def test_words_that_stand_against_each_other_are_a_conflict():
    assert conflicts.substituted("Smeg fridge left hinge", "Smeg fridge right hinge")
    assert conflicts.substituted("Core i7 box", "Core i7 oem")
    # One says more, or spells it in another way: no conflict.
    assert not conflicts.substituted("Apple iPhone 8", "iPhone 8 sim free")
    assert not conflicts.substituted("Bosch washing machine", "Bosch washing machin")
    assert not conflicts.substituted("under counter fridge", "undercounter fridge")
    assert not conflicts.substituted("Philips headphone", "Philips headphones")
    assert not conflicts.substituted("Samsung Galaxy", "Samsugn Galaxy")
    # Colours are compared by name elsewhere, advertising says nothing.
    assert not conflicts.substituted("Sofa grau", "Sofa grey")
    assert not conflicts.substituted("Sofa - gift idea", "New: Sofa")


def test_editions_of_one_name():
    assert traits.editions("iPhone 8 Plus") == {"plus"} != traits.editions("iPhone 8")


def test_brands_and_models_are_compared_without_their_writing():
    assert conflicts.brand("Robert Bosch GmbH") == conflicts.brand("ROBERT BOSCH") == "robertbosch"
    assert conflicts.brand(None) is conflicts.brand(" - ") is None
    assert conflicts.model("KD-55XE 9005") == "kd55xe9005"


def test_quantities_are_compared_in_base_units():
    one = traits.quantities((("Weight", "1.5", "kg"), ("material", "oak", None)))
    assert one == traits.quantities((("weight", "1500", "g"),)) == {"weight": "1500g"}


def test_prices_more_than_a_factor_apart_are_a_conflict():
    assert conflicts.price_conflict(10.0, 51.0)
    assert not conflicts.price_conflict(10.0, 50.0)
    assert not conflicts.price_conflict(None, 50.0)
    assert not conflicts.price_conflict(0.0, 50.0)


def test_titles_are_unlike_only_if_they_share_no_word():
    assert conflicts.unlike("Garden hose 20 m", "Wireless mouse")
    assert not conflicts.unlike("Hose Gardena green", "Gardena Schlauch")
