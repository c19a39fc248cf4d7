"""Normalising functions, shown on texts of real feeds."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfmark.ingest import normalise
from shelfmark.ingest.categories import join_levels, split_path
from shelfmark.ingest.identifiers import brand_key, clean_brand, gtin, model_number, usual_spelling
from shelfmark.ingest.jsonpath import follow, parse_path
from shelfmark.ingest.languages import detect
from shelfmark.ingest.prices import currency_code, decimal_separator, number, parse_price, region_currency
from shelfmark.ingest.quantities import plain, quantities, quantity
from shelfmark.ingest.text import clean


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("cafÃ©", "café"),
        ("â€œHelloâ€\x9d", "“Hello”"),
        ("Ð¡Ñ\x83Ð¿", "Суп"),
        ("Salam de vară", "Salam de vară"),
        ("Crème brûlée", "Crème brûlée"),
        ("&quot;Party Pack&quot; Franks", '"Party Pack" Franks'),
        ("Sweet &amp; Salty", "Sweet & Salty"),
        ("&amp;lt;b&amp;gt;bold&amp;lt;/b&amp;gt;", "bold"),
        ("<p>Soft<br/>cake</p>", "Soft cake"),
        ("<style>p {color: red}</style>Mug<script>alert(1)</script>", "Mug"),
        ("AT&T <New> 5", "AT&T <New> 5"),
        ("Size <10 cm> & a < b", "Size <10 cm> & a < b"),
        ("  two   blanks \n\t and lines ", "two blanks and lines"),
        ("Red\u200b Mug\ufeff\x07", "Red Mug"),
        ("Ｆｕｌｌ ① ﬁne", "Full 1 fine"),
        ("\u0995\u09cd\u200d\u09b7", "\u0995\u09cd\u200d\u09b7"),
        ("half \ud83d pair", "half pair"),
        ("<p> </p>", None),
        (" \u200b\n", None),
        ("", None),
        (None, None),
    ],
)
def test_texts_come_out_as_a_person_would_write_them(raw, expected):
    assert clean(raw) == expected


@given(st.text(max_size=60))
def test_a_cleaned_text_has_no_space_to_spare_and_only_characters_that_show(text):
    cleaned = clean(text)
    if cleaned is not None:
        assert cleaned == " ".join(cleaned.split())
        assert not any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in cleaned)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="&<"), max_size=60))
def test_the_short_way_for_plain_texts_changes_nothing_but_blanks(text):
    assert clean(text) == (" ".join(text.split()) or None)


@pytest.mark.parametrize(
    ("text", "region", "low", "high", "currency"),
    [
        ("₹1,23,999", "IN", "123999", None, "INR"),
        ("₹689.40", "IN", "689.40", None, "INR"),
        ("$56.99 ", "US", "56.99", None, "USD"),
        ("$9.99through-$19.99", "US", "9.99", "19.99", "USD"),
        ("$1,299.00 - $1,499.00", "US", "1299", "1499", "USD"),
        ("22.0 USD", "ES", "22", None, "USD"),
        ("5.936000000000000e+01", "MY", "59.36", None, None),
        ("1.234,56 €", "DE", "1234.56", None, "EUR"),
        ("1 234,56", "FR", "1234.56", None, None),
        ("1\u202f234,56\u00a0€", "FR", "1234.56", None, "EUR"),
        ("CHF 1'234.50", "CH", "1234.50", None, "CHF"),
        ("Rp 25.000", "ID", "25000", None, "IDR"),
        ("Rp1.250.000", "ID", "1250000", None, "IDR"),
        ("€ 12,-", "DE", "12", None, "EUR"),
        ("Rs. 500/-", "IN", "500", None, "INR"),
        ("S$ 12.90", "SG", "12.90", None, "SGD"),
        ("$12.90", "SG", "12.90", None, "SGD"),
        ("12.90 kr", "NO", "12.90", None, "NOK"),
        ("١٢٣٫٥", None, "123.50", None, None),
        ("₹ १,२३४", "IN", "1234", None, "INR"),
        ("৳১২০", "BD", "120", None, "BDT"),
        ("¥1,299", "JP", "1299", None, "JPY"),
        ("10 – 20 EUR", None, "10", "20", "EUR"),
        ("20 to 10 EUR", None, "10", "20", "EUR"),
        ("5.00-5.00", None, "5", None, None),
        (".99", None, "0.99", None, None),
        ("-5.00", None, "-5", None, None),
        ("$-5.00", "US", "-5", None, "USD"),
        ("($5.00)", "US", "-5", None, "USD"),
        ("0", None, "0", None, None),
        ("19.999", "DE", "20.00", None, None),
        ("19.999 €", "DE", "19999", None, "EUR"),
    ],
)
def test_prices_as_vendors_write_them(text, region, low, high, currency):
    price = parse_price(text, region)
    assert price.problem is None
    assert price.low == Decimal(low)
    assert price.high == (Decimal(high) if high else None)
    assert price.currency == currency


@pytest.mark.parametrize("text", ["ask us", "N/A", "$", "-", "1e40", "1,2,3,4", "99999999999999999.00"])
def test_a_text_without_one_amount_is_unreadable(text):
    assert parse_price(text).problem == "price_unreadable"


def test_two_amounts_that_are_no_range_are_noted_and_the_first_is_taken():
    assert parse_price("₹999 ₹1,299")[0::3] == (Decimal(999), "price_ambiguous")


def test_what_the_mapping_states_decides_a_shared_sign_and_an_ambiguous_separator():
    assert parse_price("$5", None, "MXN").currency == "MXN"
    assert parse_price("€5", None, "USD").currency == "EUR"
    assert parse_price("1.234", None, None, ",").low == 1234
    assert parse_price("1,234", None, None, ",").low == Decimal("1.23")
    assert parse_price("1,234").low == 1234


@given(
    st.decimals(min_value=0, max_value=10**9, places=2),
    st.sampled_from([("{:,.2f}", None), ("${:,.2f}", None), ("{:.2f} USD", None), ("de", ",")]),
)
def test_any_amount_written_with_its_separators_is_read_back(amount, style):
    form, decimal = style
    text = f"{amount:,.2f}".translate(str.maketrans(",.", ".,")) if form == "de" else form.format(amount)
    assert parse_price(text, None, None, decimal).low == amount


def test_numbers_locales_and_currencies():
    assert number("1,23,999") == 123999
    assert number("12a") is None
    assert [decimal_separator(one) for one in ("de_DE", "ID", "US", "IN", "XX")] == [",", ",", ".", ".", None]
    assert [region_currency(one) for one in ("MY", "BD", "WW")] == ["MYR", "BDT", None]
    assert [currency_code(one, "SG") for one in ("usd", " EUR ", "$", "€", "XYZ")] == ["USD", "EUR", "SGD", "EUR", None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Cola 6 x 330 ml", [(6, "330", "ml", "1980")]),
        ("Cola 330ml x 6", [(6, "330", "ml", "1980")]),
        ("Cola 330 ml (Pack of 6)", [(6, "330", "ml", "1980")]),
        ("Poppi Prebiotic Soda, Variety Pack, 12 fl oz, 15-count", [(15, "354.882355", "ml", "5323.235321")]),
        ("Shrimp Chips with Garlic and Butter 16 oz 2-pack", [(2, "453.59237", "g", "907.18474")]),
        ("Refined Olive Oil, 3 Liter, 2-count", [(2, "3000", "ml", "6000")]),
        ("Peanut Butter Cake, 6.8 lbs (14 Servings)", [(1, "3084.428116", "g", "3084.428116"), (1, "14", "pcs", "14")]),
        ("Mama Hot & Spicy Flavour Noodles 496gm", [(1, "496", "g", "496")]),
        ("Telapiya Fresh 1.5Kg", [(1, "1500", "g", "1500")]),
        ("1,5 l Wasser", [(1, "1500", "ml", "1500")]),
        ("1,000 ml", [(1, "1000", "ml", "1000")]),
        ("1 1/2 lb beef", [(1, "680.388555", "g", "680.388555")]),
        (
            "HP 15.6 Inch 16GB RAM 1TB SSD",
            [(1, "396.24", "mm", "396.24"), (1, "16", "GB", "16"), (1, "1000", "GB", "1000")],
        ),
        ('TCL 32" Full HD', [(1, "812.8", "mm", "812.8")]),
        ("Shelf 60 x 80 cm", [(1, "600", "mm", "600"), (1, "800", "mm", "800")]),
        ("USB Cable 240W 48V", [(1, "240", "W", "240"), (1, "48", "V", "48")]),
        ("Foil 30 cm x 5 m", [(1, "300", "mm", "300"), (1, "5000", "mm", "5000")]),
        ("Pack of 12 eggs", [(1, "12", "pcs", "12")]),
        # Not quantities: a network, tons of cooling, `in` as a word, a quoted name, sizes, a range.
        ("Samsung 5G", []),
        ("LG 1.5 Ton 5 Star 5 in 1", []),
        ('Camiseta "Error 404" Talla 2XL', []),
        ("2L", []),
        ("100-240 V", []),
        ("Nike 42", []),
    ],
)
def test_quantities_in_base_units(text, expected):
    assert [(q.count, plain(q.amount), q.unit, plain(q.total)) for q in quantities(text)] == expected


def test_an_attributes_value_is_a_quantity_only_as_a_whole():
    assert (plain(quantity("15.6 Inci").total), quantity("15.6 Inci").unit) == ("396.24", "mm")
    assert plain(quantity("6x330ml").total) == "1980"
    assert [quantity(text) for text in ("16 - 19 inci", "3cm*10m", "8GB & Ke Atas", "XL", "60 x 80 cm")] == [None] * 5


@given(
    st.integers(1, 99),
    st.decimals(min_value=Decimal("0.01"), max_value=9999, places=2),
    st.sampled_from([("ml", "ml", 1), ("g", "g", 1), ("kg", "g", 1000), ("cl", "ml", 10)]),
)
def test_count_times_amount_is_the_total(count, amount, unit):
    name, base, factor = unit
    (found,) = quantities(f"Thing {count} x {amount} {name}")
    assert found == (count, amount * factor, base, amount * factor * count)


def test_the_bare_brand():
    assert clean_brand("Visit the LG Store") == "LG"
    assert clean_brand("Brand: Nestlé®") == "Nestlé"
    assert clean_brand(" simplehuman™ ") == "simplehuman"
    assert clean_brand("Trademark") == "Trademark"
    assert [clean_brand(text) for text in ("No Brand", "Generic", "N/A", " - ")] == [None] * 4


def test_the_usual_spelling_of_a_brand():
    counts = {"NIKE": 3, "Nike": 3, "nike": 1, "L'Oréal": 5, "LOREAL": 9, "Puma": 1}
    expected = {"NIKE": "Nike", "Nike": "Nike", "nike": "Nike", "L'Oréal": "LOREAL", "LOREAL": "LOREAL", "Puma": "Puma"}
    assert usual_spelling(counts) == expected
    assert usual_spelling(dict(reversed(counts.items()))) == expected
    assert brand_key("***") != brand_key("---")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4006381333931", ("04006381333931", None)),
        ("0196188254004", ("00196188254004", None)),  # lazada's Gtin of a printer
        ("196188254004", ("00196188254004", None)),
        ("96385074", ("00000096385074", None)),
        ("0-306-40615-2", ("09780306406157", None)),
        ("080442957X", ("09780804429573", None)),
        ("4006381333931.0", ("04006381333931", None)),
        ("４００６３８１３３３９３１", ("04006381333931", None)),
        ("4006381333932", (None, "gtin_check_digit")),
        ("0306406153", (None, "gtin_check_digit")),
        ("8.9E+12", (None, "gtin_length")),
        ("12345", (None, "gtin_length")),
        ("0000000000000", (None, "gtin_length")),
        ("2000000000008", (None, "gtin_restricted")),
        ("N/A", (None, None)),
    ],
)
def test_gtins_are_checked_and_padded(text, expected):
    assert gtin(text) == expected


@given(st.integers(10**11, 10**12 - 1).map(str), st.integers(0, 9))
def test_any_wrong_check_digit_is_found(body, digit):
    weighted = sum(int(c) * (3 if i % 2 else 1) for i, c in enumerate(body))
    right = (10 - weighted % 10) % 10
    found, problem = gtin(f"{body}{digit}")
    assert (problem == "gtin_check_digit") == (digit != right)
    assert found is None or found == f"0{body}{digit}"


def test_model_numbers():
    assert model_number(" 7wq07b ") == "7WQ07B"
    assert model_number("Galaxy S24") == "GALAXYS24"
    assert [model_number(text) for text in ("N/A", "-", "x" * 65)] == [None] * 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ropa Urbana > Camisetas", "Ropa Urbana > Camisetas"),
        ("Home &gt; Kitchen>Cups", "Home > Kitchen > Cups"),
        ("Home » Kitchen", "Home > Kitchen"),
        ("Home::Kitchen", "Home > Kitchen"),
        ("Home | Kitchen", "Home > Kitchen"),
        ("Home / Kitchen", "Home > Kitchen"),
        ("/Home/Kitchen/", "Home > Kitchen"),
        ("Bags/Luggage > Men | Women", "Bags/Luggage > Men | Women"),
        ("A > > B >", "A > B"),
        (" > > ", None),
        ("///", None),
        ("- | -", None),
    ],
)
def test_category_paths_in_any_separator(text, expected):
    assert split_path(text) == expected


def test_levels_are_joined_cleaned_and_the_root_dropped():
    assert join_levels(["Home", " TVs &amp; Audio ", None, "4K"], drop=["home"]) == "TVs & Audio > 4K"
    assert join_levels(["A > B", "C"]) == "A / B > C"
    assert join_levels([None, " - "]) is None
    assert split_path("a;b; c", ";") == "a > b > c"
    assert split_path("Bags/Luggage / Men &amp; Women / ", " / ") == "Bags/Luggage > Men & Women"
    assert split_path("a b\nc", "\n") == "a b > c"


def test_language_by_script_by_words_and_not_by_a_few_letters():
    assert detect("Camiseta unisex para mujer de algodón", ["en", "es"]) == "es"
    assert detect("Roasted garlic hummus with pine nuts", ["en", "es"]) == "en"
    assert detect("เสื้อยืด ผู้ชาย Nike") == "th"
    assert detect("ラーメン 塩味 しょうゆ") == "ja"
    assert detect("Nike 42") is None
    assert detect("Nike 42", home="en") == "en"
    assert detect("Triple melon lemonade", ["en", "fr", "it"], home="en") == "en"  # fr, with a confidence of a half


def test_json_paths():
    content = {"offers": [{"name": "Gtin", "value": "1"}, {"name": "x", "value": None}], "a": {"b": 2}}
    assert follow(content, parse_path("offers[name=Gtin].value")) == ["1"]
    assert follow(content, parse_path("offers[].name")) == ["Gtin", "x"]
    assert follow(content, parse_path("offers[-1].name")) == ["x"]
    assert follow(content, parse_path("offers[].value")) == ["1"]
    assert follow(content, parse_path("a.b")) == [2]
    assert follow("text", parse_path("[0]")) == []
    with pytest.raises(ValueError, match=r"\[x"):
        parse_path("a[x")


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Leinenhemd dunkelblau, Größe XL", ("dark blue", "xl", None, None, None, None)),
        ("Men's Cotton Shirt (Red, M)", ("red", "m", "cotton", None, None, None)),
        ("Wasserkocher Edelstahl 1,7 Liter WK-3412X", (None, None, "stainless steel", 1700.0, "ml", "WK-3412X")),
        ("Orange juice 6 x 330 ml", (None, None, None, 1980.0, "ml", None)),
        ("iPhone 12 128 GB", (None, None, None, 128.0, "GB", None)),
        ("3-in-1 brush", (None, None, None, None, None, None)),
    ],
)
def test_traits_are_read_from_titles(title, expected):
    product = normalise.Product(title=title)
    normalise._extract_traits(product)
    found = (product.colour, product.size, product.material, product.amount, product.amount_unit, product.model_code)
    assert found == expected


def test_what_an_attribute_states_goes_before_the_title():
    product = normalise.Product(title="Red shirt", attributes=[("farbe", "Grün", None), ("material", "Seide", None)])
    normalise._extract_traits(product)
    assert (product.colour, product.material) == ("green", "silk")
