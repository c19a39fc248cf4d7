"""Drafts of mappings for feeds nobody has seen before."""

import gzip
import json

import pytest
import yaml

from shelfmark.errors import UsageError
from shelfmark.ingest import mapping, profile
from shelfmark.ingest.formats import FileProblem
from shelfmark.ingest.normalise import compile_source


@pytest.fixture
def drafted(tmp_path):
    """The draft of a file, read back: refused until the licence is there, then a valid mapping."""

    def draft(path):
        text = profile.draft(path)
        target = tmp_path / "draft.yml"
        target.write_text(text)
        with pytest.raises(UsageError, match=r"draft.yml:4: licence: still to be filled in"):
            mapping.read(target)
        target.write_text(text.replace(mapping.FILL_IN, "ours"))
        return mapping.read(target), text

    return draft


@pytest.mark.real
def test_drafts_of_real_feeds(real_data, drafted):
    amazon, text = drafted(real_data / "catalogues/amazon_in.csv")
    assert amazon.key.parts[0].extract == "/dp/([A-Z0-9]{10})"
    assert [how.field for how in amazon.price.first_of] == ["discount_price", "actual_price"]
    assert (amazon.price.currency.constant, amazon.region.constant) == ("INR", "IN")
    assert [how.field for how in amazon.categories.levels] == ["main_category", "sub_category"]
    assert "first_of: [discount_price, actual_price]    # guess" in text
    assert "# discount_price   93.2%" in text

    food, _ = drafted(real_data / "catalogues/openfoodfacts.tsv")
    assert food.format.delimiter == "\t"
    assert food.key.content_hash[0].field == food.fields["title"].field == "product_name"
    assert len(food.categories.levels) == 3

    merchant, _ = drafted(real_data / "catalogues/merchant_es.xml")
    assert (merchant.format.kind, merchant.format.record) == ("xml", "item")
    assert (merchant.key.parts[0].field, merchant.fields["item_group"].field) == ("id", "item_group_id")
    assert (merchant.price.field, merchant.language.constant) == ("price", "es")

    shwapno, _ = drafted(real_data / "catalogues/shwapno/2026-07-31.json")
    assert (shwapno.format.kind, shwapno.price.field) == ("json", "current_price")
    assert shwapno.categories.field == "category_path"


def test_a_semicolon_file_in_a_windows_code_page(tmp_path, drafted):
    rows = "".join(f"{n};Käse Nr. {n} mit Kräutern und Öl;{n},99 €;Milch > Käse\n" for n in range(1, 40))
    path = tmp_path / "käse.csv"
    path.write_bytes(("Artikelnummer;Name;Preis;Category\n" + rows).encode("cp1252"))
    source, text = drafted(path)
    assert (source.format.delimiter, source.format.encoding) == (";", "cp1252")
    assert (source.key.parts[0].field, source.fields["title"].field) == ("Artikelnummer", "Name")
    assert (source.price.field, source.price.currency.constant) == ("Preis", "EUR")
    assert source.language.constant == "de"
    made = compile_source(source)({"Artikelnummer": "7", "Name": "Käse", "Preis": "7,99 €", "Category": "Milch > Käse"})
    assert (str(made.price), made.category_paths, made.reject_rule) == ("7.99", ["Milch > Käse"], None)
    assert "39 records" in text


def test_json_lines_nested_json_and_gzip(tmp_path, drafted):
    records = [
        {"sku": f"A{n}", "title": f"Blue mug number {n}", "price": n, "currency": "USD", "country": "US", "tags": None,
         "images": ["a.jpg"], "breadcrumbs": ["Home", "Mugs"], "specs": [{"name": "Size", "value": "330 ml"}]}
        for n in range(20)
    ]  # fmt: skip
    lines, nested = tmp_path / "a.jsonl.gz", tmp_path / "b.json"
    lines.write_bytes(gzip.compress("\n".join(map(json.dumps, records)).encode()))
    nested.write_text(json.dumps({"meta": {"n": 20}, "data": {"products": records}}, indent=1))
    for path, kind, items in ((lines, "jsonl", "item"), (nested, "json", "data.products.item")):
        source, _ = drafted(path)
        assert (source.format.kind, source.format.items) == (kind, items)
        assert (source.key.parts[0].field, source.region.field, source.price.currency.field) == (
            "sku",
            "country",
            "currency",
        )
        assert source.fields["image"].json_path == "[0]"
        assert (source.categories.field, source.categories.json_path) == ("breadcrumbs", "[]")
        assert [one.field for one in source.attribute_lists] == ["specs"]


def test_a_text_of_a_vendor_cannot_break_out_of_its_comment(tmp_path, drafted):
    path = tmp_path / "x.csv"
    path.write_text('"id: x","ti\ntle"\n' + "".join(f'{n},"Mug\nregion: US # {n}"\n' for n in range(5)))
    source, text = drafted(path)
    assert source.region.constant == "US"
    assert yaml.safe_load(text)["region"] == "US"
    assert {how.field for how in (*source.key.parts, *source.key.content_hash)} <= {"id: x", "ti\ntle"}


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "empty"), (b"id,name\n", "no readable record"), (None, "no such file")]
)
def test_what_is_no_feed_is_refused_in_one_line(tmp_path, content, says):
    path = tmp_path / "x.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=says) as refused:
        profile.draft(path)
    assert str(path) in str(refused.value)


def test_the_vendors_names_and_what_they_are_taken_for_are_listed(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("id,name,colour\n1,Mug,red\n2,Cup,\n")
    assert [line.split() for line in profile.draft(path).splitlines()[-3:]] == [
        ["#", "id", "100.0%", "2", "1", "|", "2"],
        ["#", "name", "100.0%", "2", "Mug", "|", "Cup"],
        ["#", "colour", "50.0%", "1", "red"],
    ]


def test_dumps_workbooks_archives_and_long_delimiters(tmp_path, drafted):
    import zipfile

    import xlsxwriter

    header = ["id", "name", "price", "category"]
    rows = [[str(n), f"Blue mug number {n}", f"${n}.99", "Kitchen > Mugs"] for n in range(1, 30)]
    tuples = ",".join("(" + ",".join(f"'{value}'" for value in row) + ")" for row in rows)

    dump = tmp_path / "dump.sql"
    columns = ", ".join(f"`{name}` varchar(99)" for name in header)
    log, ours = "INSERT INTO `log` VALUES ('x');\n", f"INSERT INTO `shop_items` VALUES {tuples};\n"
    dump.write_text(f"-- MySQL dump 10.13\nCREATE TABLE `shop_items` ({columns});\n{log}{ours}")
    source, _ = drafted(dump)
    assert (source.format.kind, source.format.table, source.format.dialect) == ("sql", "shop_items", None)
    assert (source.key.parts[0].field, source.fields["title"].field) == ("id", "name")

    dump.write_text(f"INSERT INTO products ({', '.join(header)}) VALUES {tuples};\n")
    source, _ = drafted(dump)  # nothing tells who wrote it
    assert (source.format.table, source.format.dialect) == ("products", "postgres")

    workbook = tmp_path / "list.xlsx"
    with xlsxwriter.Workbook(str(workbook)) as book:
        for name in ("Products", "Notes"):
            sheet = book.add_worksheet(name)
            for number, row in enumerate([header, *rows]):
                sheet.write_row(number, 0, row)
    source, _ = drafted(workbook)
    assert (source.format.kind, source.format.sheet, source.price.field) == ("excel", "Products", "price")

    lines = "\r\n".join("|+|".join(row) for row in [header, *rows]).encode("utf-16")
    archive = tmp_path / "feed.zip"
    for names, member in ((["a.txt"], None), (["a.txt", "b.txt"], "*.txt")):
        with zipfile.ZipFile(archive, "w") as packed:
            for name in names:
                packed.writestr(name, lines)
        source, text = drafted(archive)
        assert (source.format.kind, source.format.delimiter, source.format.member) == ("csv", "|+|", member)
        assert "files: feed.zip" in text

    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(FileProblem, match="cut off"):
        profile.draft(archive)
