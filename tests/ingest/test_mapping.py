"""Mappings: what is refused and how it is said; what a record becomes; the eight real feeds."""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from shelfmark.errors import UsageError
from shelfmark.ingest import connections, mapping, readers
from shelfmark.ingest.mapping import FeedProblem
from shelfmark.ingest.normalise import compile_source, product_id

BASE = """description: a feed
licence: made for this test
files: feed.csv
format: {kind: csv}
key: id
region: IN
language: en
fields:
  title: name
"""
FEEDS = ("amazon_in", "openfoodfacts", "lazada", "shein", "costco", "merchant_es", "shwapno", "fashion")


@pytest.fixture
def source(tmp_path):
    def read(text=BASE, more=""):
        path = tmp_path / "shop.yml"
        path.write_text(text + more)
        return mapping.read(path)

    return read


@pytest.fixture
def product(source):
    def normalised(record, more="", text=BASE):
        values = {"id": "1", "name": "Mug", **record}
        as_read = {k: v if v is None or isinstance(v, str) else json.dumps(v) for k, v in values.items()}
        return compile_source(source(text, more))(as_read)

    return normalised


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("region: IN", "regoin: IN", 6, "regoin: unknown option"),
        ("region: IN", "region: India", 6, "region 'India': write it in capitals"),
        ("region: IN\n", "", 1, "region: is needed"),
        ("  title: name", "  titel: name", 9, "unknown field; `fields:` knows title, description"),
        ("  title: name", "  title: {feild: name}", 9, "fields.title.feild: unknown option"),
        ("  title: name", "  brand: name", 8, "a title is needed"),
        ("  title: name", "  title: {field: a, first_of: [b]}", 9, "here: field, first_of"),
        ("  title: name", "  title: {field: a, extract: '('}", 9, "not a regular expression"),
        ("  title: name", "  title: {field: a, json: '[x'}", 9, "not a JSON path"),
        ("  title: name", "  title: name\n  title: other", 10, "given twice, first on line 9"),
        ("  title: name", "  title: name\nbrand: maker", 10, "brand: unknown option; write it below `fields:`"),
        ("licence: made for this test\n", "", 1, "licence: is needed"),
        ("licence: made for this test", "licence: FILL IN the terms", 2, "still to be filled in"),
        ("{kind: csv}", "\n  kind: dbf", 5, "format.kind: Input should be 'csv', 'jsonl'"),
        ("{kind: csv}", "\n  kind: csv\n  delimter: ;", 6, "format.delimter: unknown option"),
        ("key: id", "key: {content_hash: []}", 5, "name the field or fields of the key"),
        ("language: en", "language: english", 7, "not a known ISO 639-1 code"),
        ("language: en", "language: {detect: [en, eo, ia]}", 7, "ia cannot be detected"),
        ("language: en", "price: {field: p, currency: RUPEES}\nlanguage: en", 7, "no ISO 4217 code; for a field write"),
        ("language: en", "price: {field: p, locale: xx_YY}\nlanguage: en", 7, "no known locale"),
        ("language: en", "categories:\n  labels: maybe\n  field: c\nlanguage: en", 8, "categories.labels"),
        ("language: en", "categories: {field: c, levels: [a]}\nlanguage: en", 7, "one of them"),
        ("language: en", "attribute_lists:\n  - field: a\n  - feild: b\nlanguage: en", 9, "unknown option"),
        ("region: IN", "region: [IN", 7, "not valid YAML"),
        ("language: en", "pictures: photos\nlanguage: en", 1, "`pictures` needs `image: <field>` below `fields`"),
        ("language: en", "pictures: {encoding: base32}\nlanguage: en", 7, "pictures.encoding"),
    ],
)
def test_a_wrong_option_is_refused_with_file_line_and_key(source, tmp_path, old, new, line, says):
    assert old in BASE
    with pytest.raises(UsageError) as refused:
        source(BASE.replace(old, new, 1))
    assert str(refused.value).startswith(f"{tmp_path / 'shop.yml'}:{line}: ")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_source_is_refused_with_the_known_ones(tmp_path):
    (tmp_path / "mine.yml").write_text(BASE)
    with pytest.raises(UsageError, match=r"unknown source 'yours'; known: amazon_in, .*mine"):
        mapping.load("yours", [tmp_path])
    assert [one.name for one in mapping.load_all(["mine", "amazon_in", "mine"], [tmp_path])] == ["mine", "amazon_in"]


def test_the_hash_follows_what_decides_how_a_record_is_read(source):
    base = source().hash
    same = ("# a comment\n" + BASE, BASE.replace("name", "{field: name}"), BASE.replace("made for", "given for"))
    assert [source(text).hash for text in same] == [base] * 3
    other = (BASE.replace("IN", "US"), BASE.replace("name", "title"), BASE + "missing: [x]\n")
    assert len({base, *(source(text).hash for text in other)}) == 4
    pictured = BASE + "  image: photo\n"
    places = (pictured, pictured + "pictures: a.tar!in\n", pictured + "pictures: {places: [a, b]}\n")
    hashes = {source(text).hash for text in places}
    assert len(hashes) == 1  # where pictures lie says nothing of how a record is read
    assert source(pictured + "pictures: {encoding: hex}\n").hash not in hashes


def test_vendor_fields_are_all_fields_read_but_optional_ones(source):
    more = "price: {first_of: [sale, {field: list, optional: true}], currency: {field: cur}}\nattributes: {size: sz}\n"
    read = source(more=more)
    assert read.vendor_fields() == {"id", "name", "sale", "cur", "sz"}
    assert read.vendor_fields(optional=True) - read.vendor_fields() == {"list"}


def test_a_file_without_a_mapped_field_stops_its_source(source):
    read = source(more="attributes: {size: sz}\n")
    mapping.check_header(read, "f.csv", ["id", "name", "sz", "more"])
    mapping.check_header(read, "f.csv", [])
    with pytest.raises(FeedProblem, match=r"f.csv: the mapping of shop reads sz, which the file does not have"):
        mapping.check_header(read, "f.csv", ["id", "name"])
    with pytest.raises(FeedProblem, match="is the delimiter ',' right"):
        mapping.check_header(read, "f.csv", ["id;name;sz"])
    sparse = source(BASE.replace("{kind: csv}", "{kind: jsonl}"), "attributes: {size: sz}\n")
    mapping.check_header(sparse, "f.jsonl", ["id", "name"])
    with pytest.raises(FeedProblem, match="reads name"):
        mapping.check_header(sparse, "f.jsonl", ["id"])


def test_a_value_is_found_by_field_first_of_join_json_extract_and_split(product):
    more = """  brand: {first_of: [maker, {field: specs, json: "[name=Brand].value"}]}
  description: {join: [{field: bullets, json: "[]"}, text], with: ". "}
  model_number: {field: link, extract: "model=(\\\\w+)"}
  image: {field: images, split: ";"}
attributes:
  tag: {field: tags, split: ","}
  made by: {constant: hand}
"""
    made = product(
        {
            "maker": " ",
            "specs": [{"name": "Brand", "value": "ACME"}],
            "bullets": ["Strong", "Light"],
            "text": "Blue",
            "link": "http://x/?model=ab12&x",
            "images": " a.jpg;b.jpg",
            "tags": "new, cheap",
        },
        more,
    )
    assert (made.brand, made.description, made.model_number, made.image) == ("ACME", "Strong. Blue", "AB12", "a.jpg")
    assert made.attributes == [("made by", "hand", None), ("tag", "cheap", None), ("tag", "new", None)]


def test_a_field_that_holds_a_picture_is_named_by_its_bytes(product):
    data = b"\xff\xd8picture"
    named = f"bytes:{hashlib.sha256(data).hexdigest()}"
    coded = base64.b64encode(data).decode()
    field = "  image: photo\npictures: {encoding: base64}\n"
    for written in (coded, f" {coded[:5]}\n{coded[5:]} ", f"data:image/jpeg;base64,{coded}"):
        assert product({"photo": written}, field).image == named
    for written in (data.hex(), data.hex().upper(), f"0x{data.hex()}", f"\\x{data.hex()}"):
        assert product({"photo": written}, field.replace("base64", "hex")).image == named
    broken = product({"photo": "no base64!"}, field).image
    assert broken.startswith("bytes:")
    assert broken != named
    assert product({"photo": " "}, field).image is None
    assert product({"photo": coded}, "  image: photo\n").image == coded


def test_attribute_lists_are_pairs_or_objects_renamed_and_skipped(product):
    more = """missing: [null text]
attribute_lists:
  - {field: specs, skip: [SKU], rename: {Warna: colour}}
  - {field: facts, json: data, name: k, value: v}
"""
    pairs = [{"name": "Warna", "value": "Biru"}, {"name": "SKU", "value": "9"}, {"name": "Size", "value": "21inci"}]
    made = product({"specs": pairs, "facts": {"data": {"Volume": "0,5 l", "Empty": None, "No": "null text"}}}, more)
    assert made.attributes == [("colour", "Biru", None), ("size", "533.4", "mm"), ("volume", "500", "ml")]
    assert product({"specs": "not json"}, more).problems == "json_unreadable"


def test_quantities_of_the_title_are_attributes_unless_switched_off(product):
    title = {"name": "Cola 6 x 330 ml"}
    assert product(title).attributes == [("title packs", "6", "pcs"), ("title volume", "1980", "ml")]
    assert product(title, "title_quantities: false\n").attributes == []


def test_keys_of_one_field_several_or_content(product):
    assert product({}).source_key == "1"
    assert product({}).product_id == product_id("shop", "1")
    several = BASE.replace("key: id", "key: [id, shop]")
    assert product({"shop": "x"}, text=several).source_key == "1|x"
    assert product({"shop": ""}, text=several).reject_rule == "key_missing"
    hashed = BASE.replace("key: id", "key: {content_hash: [name, text]}")
    same = [
        product({"text": t, "id": i}, text=hashed).source_key for t, i in (("a  b", "1"), ("a b ", "2"), ("ab", "1"))
    ]
    assert same[0] == same[1] != same[2]
    assert product({"name": ""}, text=hashed).reject_rule == "title_missing"


def test_region_by_field_map_and_default(product):
    text = BASE.replace("region: IN", "region: {field: shop, map: {de: DE}}")
    assert product({"shop": " de "}, text=text).region == "DE"
    assert product({"shop": "xx"}, text=text).reject_rule == "region_unknown"
    assert product({}, text=text.replace("}}", "}, default: FR}")).region == "FR"
    plain = BASE.replace("region: IN", "region: {field: shop}")
    assert product({"shop": "us"}, text=plain).region == "US"
    assert product({"shop": "usa!"}, text=plain).reject_rule == "region_unknown"


def test_language_stated_by_field_by_region_or_detected(product):
    def language(how, **record):
        made = product(record, text=BASE.replace("language: en", f"language: {how}"))
        return made.language, made.problems

    assert language("{field: lang}", lang="es-MX") == ("es", None)
    assert language("{field: lang}", lang="??") == (None, "language_unknown")
    assert language("{by_region: {IN: hi}}") == ("hi", None)
    assert language("{by_region: {US: en}}") == (None, "language_unknown")
    assert language("detect", name="Camiseta unisex para mujer de algodón") == ("es", None)
    assert language("detect", name="X 1") == (None, "language_unknown")
    assert language("{detect: [fr, en]}", name="X 1") == ("fr", None)


def test_price_fields_currency_fields_and_hints(product):
    def price(how, **record):
        made = product(record, f"price: {how}\n")
        return made.price, made.price_high, made.currency, made.reject_rule

    assert price("p", p="9,99 €") == (Decimal("9.99"), None, "EUR", None)
    assert price("{first_of: [sale, list], currency: INR}", sale="", list="₹1,23,999")[0] == 123999
    assert price("{field: p, currency: {field: c}}", p="5", c="usd")[2] == "USD"
    assert price("{field: p, currency: {field: c}}", p="5", c="??")[3] == "currency_unknown"
    assert price("{field: p, currency: {field: c}}", p="5")[3] == "currency_unknown"
    assert price("{field: p, currency: EUR, decimal: ','}", p="1.234")[0] == 1234
    assert price("{field: p, currency: EUR, locale: de_DE}", p="1.234")[0] == 1234
    assert price("{field: p, high: q, currency: EUR}", p="1", q="2")[:2] == (1, 2)
    assert price("{field: p, currency: EUR}", p="free")[3] == "price_unreadable"
    assert price("{field: p, currency: EUR}", p=" ") == (None, None, None, None)


def test_categories_by_levels_path_json_and_several(product):
    def paths(how, **record):
        made = product(record, f"categories: {how}\n")
        return made.category_paths, made.problems

    assert paths("{levels: [a, b]}", a="Home", b="Mugs") == (["Home > Mugs"], None)
    assert paths("{levels: [a, b], drop: [home]}", a="Home", b="Mugs") == (["Mugs"], None)
    assert paths("{levels: [a, b]}", a="", b="") == ([], None)
    assert paths("{levels: [a, b]}", a=">", b="-") == ([], "category_unreadable")
    assert paths("{field: c}", c="Home » Mugs") == (["Home > Mugs"], None)
    assert paths("{field: c}", c=" > > ") == ([], "category_unreadable")
    assert paths("{field: c, several: ;}", c="B > C; A;") == (["A", "B > C"], None)
    assert paths("{field: c, json: '[].name'}", c=[{"name": "A"}, {"name": "B"}]) == (["A > B"], None)
    assert paths("{field: c}", c=["A", "B"]) == (["A > B"], None)
    assert paths("{field: c}", c=["A > B", "C"]) == (["A > B", "C"], None)
    assert paths("{field: c}", c=[["A", "B"], ["C"]]) == (["A > B", "C"], None)
    assert paths("{field: c, json: '[]'}", c="[broken") == ([], "category_unreadable")


def test_time_stamps(product):
    def updated(how, value):
        made = product({"t": value}, f"updated_at: {how}\n")
        return made.source_updated_at, made.problems

    assert updated("t", "2026-01-02T03:04:05+02:00") == (datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC), None)
    assert updated("{field: t, format: '%d.%m.%Y'}", "31.12.2025") == (datetime(2025, 12, 31, tzinfo=UTC), None)
    assert updated("{field: t, format: unix_ms}", "1000")[0] == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert updated("t", "soon") == (None, "updated_at_unreadable")


def test_every_built_in_mapping_states_its_licence_and_ships_no_path_of_one_machine():
    for name in FEEDS:
        source = mapping.load(name)
        assert len(source.licence) > 20
        assert not any(pattern.startswith("/") for pattern in source.files)
    assert "Open Database Licence" in mapping.load("openfoodfacts").licence


DOCS = Path(__file__).parents[2] / "docs" / "sources.md"


def test_the_documented_mapping_loads_and_makes_a_product(tmp_path):
    (tmp_path / "acme.yml").write_text(re.search(r"```yaml\n(description:.*?)```", DOCS.read_text(), re.S)[1])
    one = compile_source(mapping.read(tmp_path / "acme.yml"))
    made = one(
        {
            "article_number": "7", "name": "Tasse 330 ml", "list_price": "1.234,50 €", "farbe": "N/A",
            "category_path": "Home > Tassen", "specs": '{"Werkstoff": "Ton", "SKU": "7"}', "changed": "31.12.2025 08:00",
        }
    )  # fmt: skip
    assert (made.reject_rule, made.problems) == (None, None)
    assert (made.price, made.category_paths) == (Decimal("1234.50"), ["Tassen"])
    assert made.attributes == [("material", "Ton", None), ("title volume", "330", "ml")]
    assert made.source_updated_at == datetime(2025, 12, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize("example", re.findall(r"^((?:key|region|language): .+?)(?: +#.*)?$", DOCS.read_text(), re.M))
def test_every_one_line_example_of_the_documentation_is_accepted(source, example):
    option = example.partition(":")[0]
    source("".join(f"{example}\n" if line.startswith(f"{option}:") else f"{line}\n" for line in BASE.splitlines()))


def test_every_option_is_documented():
    sections = [*vars(mapping).values(), *vars(connections).values()]
    models = [v for v in sections if isinstance(v, type) and issubclass(v, mapping.Option | connections.Section)]
    assert len(models) > 8
    options = {f.alias or n for model in (*models, mapping.Format) for n, f in model.model_fields.items()}
    # Only inside: what `key: sku` and `language: en` are short for, and the file's own name.
    options -= {"parts", "name"}
    text = DOCS.read_text()
    assert [one for one in sorted(options) if not re.search(rf"\b{one}\b", text)] == []


# Records, products, and what of them has a price, of every real feed.
REAL = {
    "amazon_in": (10_930, 9_898, 10_837),
    "openfoodfacts": (47_872, 47_871, 0),
    "lazada": (1_000, 1_000, 1_000),
    "shein": (1_000, 1_000, 1_000),
    "costco": (1_757, 1_486, 1_754),
    "merchant_es": (486, 486, 486),
    "shwapno": (3_430 + 3_783 + 3_865, 3_463, 11_078),
    "fashion": (35_073, 35_073, 0),
}


@pytest.mark.real
@pytest.mark.parametrize("name", FEEDS)
def test_every_record_of_the_real_feeds_becomes_a_product(real_data, name):
    source = mapping.load(name)
    one = compile_source(source)
    made, fields = [], set()
    for pattern in source.files:
        for path in sorted(real_data.glob(pattern)):
            mapping.check_header(source, str(path), readers.header(str(path), source.format))
            for record in readers.read(readers.Split(str(path)), source.format):
                fields.update(record.fields)
                made.append(one(record.fields))
    records, products, priced = REAL[name]
    assert len(made) == records
    assert {p.reject_rule for p in made} == {None}
    assert len({p.product_id for p in made}) == products
    assert sum(p.price is not None for p in made) == priced
    assert all(p.title and p.region and p.category_paths and p.language for p in made)
    assert source.vendor_fields() <= fields


@pytest.mark.real
def test_a_product_of_amazon_sits_in_several_categories(real_data):
    source = mapping.load("amazon_in")
    one = compile_source(source)
    paths = {}
    for record in readers.read(readers.Split(str(real_data / source.files[0])), source.format):
        made = one(record.fields)
        paths.setdefault(made.source_key, set()).update(made.category_paths)
    assert sum(len(one) > 1 for one in paths.values()) == 806
