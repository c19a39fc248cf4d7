"""Feed readers: records as read, with positions; bad records rejected one by one; bad files refused as a whole."""

import codecs
import csv
import gzip
import io
import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shelfmark.ingest import counting, readers
from shelfmark.ingest.formats import FileProblem, Format
from shelfmark.ingest.readers import Split, header, read

CSV = Format(kind="csv")
ROWS = [{"id": "1", "name": "Größe 5 µm"}, {"id": "2", "name": "鍋"}]


@pytest.fixture
def feed(tmp_path):
    """Write a feed file from text or bytes and give its path."""

    def write(content, name="feed", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return str(path)

    return write


def records(path, fmt=CSV):
    """All records, after checking that the independent count agrees."""
    found = list(read(Split(path), fmt))
    assert counting.count(path, fmt) == len(found)
    assert [record.number for record in found] == list(range(1, len(found) + 1))
    return found


def fields(path, fmt=CSV):
    return [record.fields for record in records(path, fmt)]


def problems(path, fmt=CSV):
    """(line, rule or None) of each record."""
    return [(record.line, record.problem and record.problem.split(":")[0]) for record in records(path, fmt)]


def refused(path, fmt=CSV):
    """The sentence with which reader and counter both refuse a file."""
    with pytest.raises(FileProblem) as by_reader:
        list(read(Split(path), fmt))
    with pytest.raises(FileProblem) as by_counter:
        counting.count(path, fmt)
    assert path in str(by_reader.value)
    assert path in str(by_counter.value)
    return str(by_reader.value)


def parquet(rows):
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


XML_ROWS = "".join(f"<item><g:id>{r['id']}</g:id><g:name><![CDATA[{r['name']}]]></g:name></item>" for r in ROWS)
FORMATS = {
    "csv": (CSV, "id,name\n1,Größe 5 µm\n2,鍋\n".encode()),
    "tsv": (Format(kind="csv", delimiter="\t", quote=None), "id\tname\r\n1\tGröße 5 µm\r\n2\t鍋".encode()),
    "no header": (Format(kind="csv", header=False, columns=["id", "name"]), "1,Größe 5 µm\n2,鍋\n".encode()),
    "odd signs": (Format(kind="csv", delimiter="¦", quote="'"), "id¦name\n1¦'Größe 5 µm'\n2¦'鍋'\n".encode()),
    "jsonl": (Format(kind="jsonl"), "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()),
    "json": (Format(kind="json"), json.dumps(ROWS, indent=2).encode()),
    "json inside": (Format(kind="json", items="a.b.item"), json.dumps({"x": [1], "a": {"b": ROWS}}).encode()),
    "xml": (Format(kind="xml"), f"<rss xmlns:g='urn:g'><channel>{XML_ROWS}</channel></rss>".encode()),
    "parquet": (Format(kind="parquet"), parquet(ROWS)),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_plain_and_gzip(feed, kind, packed):
    fmt, content = FORMATS[kind]
    path = feed(gzip.compress(content) if packed else content)  # the name says nothing of gzip
    assert fields(path, fmt) == ROWS
    assert header(path, fmt) == ["id", "name"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_tells_the_encoding(feed, kind, mark, encoding):
    fmt, content = FORMATS[kind]
    path = feed(mark + content.decode().encode(encoding))
    assert fields(path, fmt) == ROWS
    assert fields(path, fmt.model_copy(update={"encoding": "cp1252"})) == ROWS


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_xml_with_a_byte_order_mark(feed, encoding):
    path = feed(f"<rss xmlns:g='urn:g'>{XML_ROWS}</rss>", encoding=encoding)
    assert fields(path, Format(kind="xml")) == ROWS


def test_configured_encodings(feed):
    text = "id,name\n1,Größe\n"
    for encoding in ("cp1252", "utf-16-le", "utf-16-be"):
        assert fields(feed(text, encoding=encoding), Format(kind="csv", encoding=encoding))[0]["name"] == "Größe"
    # The trail byte of the second character is that of the delimiter: no byte scan could tell them apart.
    sjis = Format(kind="csv", encoding="shift_jis", delimiter="|")
    assert fields(feed("id|name\n1|ポット\n", encoding="shift_jis"), sjis) == [{"id": "1", "name": "ポット"}]


def test_positions_of_records(feed):
    path = feed('id,name\n\n1,"a\nb"\n\n2,c\r\n3,"d ""e"""')
    assert [(r.number, r.line, r.fields) for r in records(path)] == [
        (1, 3, {"id": "1", "name": "a\nb"}),
        (2, 6, {"id": "2", "name": "c"}),
        (3, 7, {"id": "3", "name": 'd "e"'}),
    ]
    path = feed('[\n {"id": 1},\n {"id":\n 2}, {"id": 3}\n]')
    assert [r.line for r in records(path, Format(kind="json"))] == [2, 3, 4]
    path = feed("<r>\n<item>\n<a/>\n</item>\n\n<item/></r>")
    assert [r.line for r in records(path, Format(kind="xml"))] == [2, 6]
    path = feed('\n{"id": 1}\n \n{"id": 2}\n')
    assert [(r.number, r.line) for r in records(path, Format(kind="jsonl"))] == [(1, 2), (2, 4)]


def test_json_inside_csv_stays_text(feed):
    value = json.dumps({"name": 'a "b"', "sizes": [1, 2]})
    sink = io.StringIO()
    csv.writer(sink).writerows([["id", "specs"], ["1", value]])
    assert fields(feed(sink.getvalue())) == [{"id": "1", "specs": value}]


def test_names_of_columns_are_filled_and_differ(feed):
    path = feed("id,,price, price ,\n1,2,3,4,5\n")
    assert header(path, CSV) == ["id", "column_2", "price", "price_2", "column_5"]
    assert fields(path)[0]["price_2"] == "4"


def test_json_values_as_text(feed):
    line = '{"a": 100.0, "b": 100, "c": 1e5, "d": null, "e": true, "f": [1.50, {"g": "é"}], "g%s": "x"}'
    expected = {"a": "100.0", "b": "100", "d": None, "e": "true", "f": '[1.50,{"g":"é"}]', "g%s": "x"}
    for content, kind in ((line, "jsonl"), (f"[{line}]", "json")):
        (found,) = fields(feed(content), Format(kind=kind))
        assert float(found.pop("c")) == 1e5
        assert found == expected


def test_half_a_surrogate_pair_is_replaced(feed):
    path = feed('{"a": "x\\ud83d", "b": "\\ud83d\\ude00"}')
    (batch,) = readers.read_batches(Split(path), Format(kind="jsonl"))
    assert json.loads(batch["payload"][0].as_py()) == {"a": "x\ufffd", "b": "😀"}


def test_xml_values_as_text(feed):
    item = """<item id="7"><g:price currency="USD">5 &amp; 6</g:price><!-- no --><img>a</img><img>b</img><empty/>
      <ship><country>ES</country><price unit="EUR">3</price></ship></item>"""
    (found,) = fields(feed(f'<rss xmlns:g="urn:g"><x>1</x>{item}</rss>'), Format(kind="xml"))
    assert found == {
        "@id": "7",
        "price": "5 & 6",
        "price@currency": "USD",
        "img": '["a","b"]',
        "empty": "",
        "ship": '{"country":"ES","price":"3","price@unit":"EUR"}',
    }


LAUGHS = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
QUADRATIC = f'<!ENTITY q "{"x" * 50_000}">'


@pytest.mark.parametrize(
    ("document_type", "item"),
    [
        (f'<!ENTITY l0 "ha">{LAUGHS}', "<t>&l9;</t>"),
        (f'<!ENTITY l0 "ha">{LAUGHS}', '<t a="&l9;"/>'),
        (QUADRATIC, f"<t>{'&q;' * 20_000}</t>"),
        ('<!ENTITY f SYSTEM "file://{secret}">', "<t>&f;</t>"),
        ('<!ENTITY f SYSTEM "http://127.0.0.1:9/x">', "<t>&f;</t>"),
        ('<!ENTITY f PUBLIC "x" "file://{secret}">', "<t>x</t>"),
        ('<!ENTITY % p SYSTEM "file://{secret}"> %p;', "<t>x</t>"),
        ("<!ENTITY % p \"<!ENTITY f SYSTEM 'file://{secret}'>\"> %p;", "<t>&f;</t>"),
        ('<!ENTITY harmless "aaa">', "<t>x</t>"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_with_entities_is_refused_before_anything_expands(feed, tmp_path, document_type, item, encoding):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    head = f"<!DOCTYPE r [{document_type.replace('{secret}', str(secret))}]>"
    path = feed(f"{head}<r><item>{item}</item></r>", encoding=encoding)
    said = refused(path, Format(kind="xml"))
    assert "XML with entities of its own is refused" in said
    assert "\n" not in said


def test_xml_fetches_no_document_type_and_expands_no_attributes_of_it(feed, tmp_path):
    (tmp_path / "x.dtd").write_text('<!ENTITY f "secret">')
    outside = f'<!DOCTYPE r SYSTEM "file://{tmp_path}/x.dtd">'
    assert fields(feed(f"{outside}<r><item><t>x</t></item></r>"), Format(kind="xml")) == [{"t": "x"}]
    assert fields(feed(f"{outside}<r><item><t>&f;</t></item></r>"), Format(kind="xml")) == [{"t": "&f;"}]
    inside = f'<!DOCTYPE r [<!ELEMENT item ANY><!ATTLIST item a CDATA "{"x" * 1000}">]>'
    assert fields(feed(f"{inside}<r><item><t>x</t></item></r>"), Format(kind="xml")) == [{"t": "x"}]
    assert "no element in its first" in refused(feed("<!--" + "x" * (2 << 20) + "--><r/>"), Format(kind="xml"))


def test_parquet_values_as_text(feed):
    rows = [
        {"id": 7, "price": 1.5, "tags": ["a", "b"], "dims": {"w": 2}, "bytes": b"\xff\xd8", "none": None, "in": True}
    ]
    (found,) = fields(feed(parquet(rows)), Format(kind="parquet"))
    assert found == {
        "id": "7",
        "price": "1.5",
        "tags": '["a","b"]',
        "dims": '{"w":2}',
        "bytes": "/9g=",
        "none": None,
        "in": "true",
    }


# Bad records: rejected with a rule and their place, the others stay


def test_an_unclosed_quote_in_the_middle_costs_one_record(feed):
    lines = [f"{i},name {i}" for i in range(1, 1001)]
    lines[399] = '400,"name 400'
    found = records(feed("id,name\n" + "\n".join(lines) + "\n"))
    assert len(found) == 1000
    (bad,) = [record for record in found if record.problem]
    assert (bad.number, bad.line, bad.raw) == (400, 401, '400,"name 400')
    assert bad.problem.startswith("record_too_long: ")
    assert found[400].fields == {"id": "401", "name": "name 401"}


def test_an_unclosed_quote_before_quoted_records_costs_one_record(feed):
    # The next opening quote would close it, and the csv module would make one record of two without a word.
    path = feed('id,name,n\n1,"abc,5\n2,"def",6\n3,"ghi",7\n')
    assert problems(path) == [(2, "broken_record"), (3, None), (4, None)]


def test_a_record_over_several_lines_needs_the_right_number_of_fields(feed):
    path = feed('id,name\n1,",x\n2,",y\n3,z\n')
    assert problems(path) == [(2, "broken_record"), (3, "broken_record"), (4, None)]


def test_an_unclosed_quote_in_the_last_record(feed):
    assert problems(feed('id,name\n1,a\n2,"b\n')) == [(2, None), (3, "broken_record")]
    assert problems(feed('id,name\n1,"a\n2,b\n3,c')) == [(2, "broken_record"), (3, None), (4, None)]


@pytest.mark.parametrize(("lines", "rule"), [(3, None), (4, "record_too_long")])
def test_max_lines_is_the_longest_record_believed(feed, lines, rule):
    fmt = Format(kind="csv", max_lines=3)
    path = feed('id,name\n1,"' + "a\n" * (lines - 1) + 'a"\n2,b\n')
    assert problems(path, fmt)[0] == (2, rule)
    assert records(path, fmt)[-1].fields == {"id": "2", "name": "b"}


def test_quotes_need_their_line_where_multiline_is_false(feed):
    fmt = Format(kind="csv", multiline=False)
    assert problems(feed('id,name\n1,"a\nb"\n2,"c"\n'), fmt) == [(2, "broken_record"), (3, "broken_record"), (4, None)]


def test_sloppy_quotes_on_one_line_are_read_as_the_csv_module_reads_them(feed):
    assert fields(feed('id,name\n1,"10" cake\n2,15" screen\n')) == [
        {"id": "1", "name": "10 cake"},
        {"id": "2", "name": '15" screen'},
    ]


def test_broken_lines_are_rejected_alone(feed):
    path = feed("id,name\n1\n2,a,b\n3,c\0d\n4,e\rf\n5,g\n")
    assert problems(path) == [(n, "broken_record") for n in (2, 3, 4, 5)] + [(6, None)]
    path = feed('{"id": 1}\n{"id": 2\n[3]\n{"id": "\0"}\n' + "[" * 5000 + '\n{"id": 6}')
    bad = [(n, "broken_record") for n in (2, 3, 4, 5)]
    assert problems(path, Format(kind="jsonl")) == [(1, None), *bad, (6, None)]
    path = feed('[{"id": 1}, 2, ["a", {"id": 3}], null, {"id": 4}]')
    assert [rule for _, rule in problems(path, Format(kind="json"))] == [None, *["broken_record"] * 3, None]


BIG = "x" * (10 << 20)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("csv", f"id,name\n1,a\n2,{BIG}\n3,c\n"),
        ("csv", f'id,name\n1,a\n2,"\n{BIG}"\n3,c\n'),
        ("jsonl", f'{{"id":1}}\n{{"id":"{BIG}"}}\n{{"id":3}}'),
        ("json", f'[{{"id":1}},{{"id":"{BIG}"}},{{"id":3}}]'),
        ("xml", f"<r><item><id>1</id></item><item><id>{BIG[: 9 << 20]}</id></item><item/></r>"),
        ("parquet", parquet([{"id": "1"}, {"id": BIG}, {"id": "3"}])),
    ],
    ids=["csv", "csv-lines", "jsonl", "json", "xml", "parquet"],
)
def test_a_field_of_ten_megabytes(feed, kind, content):
    found = records(feed(content), Format(kind=kind))
    assert [record.problem and record.problem.split(":")[0] for record in found] == [None, "field_too_long", None]
    assert len(found[1].raw) <= readers.RAW_LIMIT


# Bad files: refused as a whole, by the reader and by the counter


def test_empty_files(feed):
    for kind in ("csv", "jsonl", "json", "xml", "parquet"):
        assert "empty" in refused(feed(b""), Format(kind=kind))
    for content in (b"\n\n", codecs.BOM_UTF8, gzip.compress(b"")):
        assert "empty: no header" in refused(feed(content))
        assert "empty" in refused(feed(content), Format(kind="jsonl"))
    assert "empty" in refused(feed(b"\n"), Format(kind="csv", header=False, columns=["a"]))


def test_a_header_alone_is_a_feed_without_records(feed):
    for content in ("id,name", "id,name\r\n", "\nid,name\n\n"):
        assert records(feed(content)) == []
        assert header(feed(content), CSV) == ["id", "name"]
    assert records(feed("[]"), Format(kind="json")) == []
    assert records(feed("<rss/>"), Format(kind="xml")) == []
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": pa.array([], pa.string())}), sink)
    assert records(feed(sink.getvalue()), Format(kind="parquet")) == []


def test_a_wrong_delimiter_shows_in_the_header(feed):
    assert header(feed("id;name\n1;a\n"), CSV) == ["id;name"]


def test_a_wrong_encoding_names_line_and_offset(feed):
    path = feed("id,name\n1,a\n2,Größe\n", encoding="cp1252")
    assert "line 3: byte 0xF6 at offset 16 is not valid utf-8; set `encoding`" in refused(path)
    assert "line 2" in refused(feed('{"a":1}\n{"a":"\xff"}', encoding="latin-1"), Format(kind="jsonl"))
    assert "UTF-16" in refused(feed("id,name\n1,a\n", encoding="utf-16-le"))
    cut = codecs.BOM_UTF16_LE + "id,name\n1,a\n".encode("utf-16-le")[:-1]
    assert "line 2" in refused(feed(cut))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "xml", "parquet"])
def test_a_truncated_gzip(feed, kind):
    fmt, content = FORMATS[kind]
    assert "cut off" in refused(feed(gzip.compress(content)[:-9]), fmt)
    packed = bytearray(gzip.compress(content))
    packed[-6] ^= 0xFF  # the checksum
    assert "damaged gzip" in refused(feed(bytes(packed)), fmt)


def test_xml_and_json_cut_in_the_middle(feed):
    path = feed(f"<rss xmlns:g='urn:g'>\n{XML_ROWS}\n<item><g:id>3")
    assert "line 3" in refused(path, Format(kind="xml"))
    path = feed('[\n{"id": 1},\n{"id": 2')
    assert "line 3" in refused(path, Format(kind="json"))
    assert "line 2" in refused(feed('[{"id": 1},\n{"id": tru}]'), Format(kind="json"))
    assert "no array at `items: products.item`" in refused(feed("[]"), Format(kind="json", items="products.item"))
    assert "not a whole Parquet file" in refused(feed(parquet(ROWS)[:-20]), Format(kind="parquet"))


def test_xml_with_a_text_beyond_the_limit_of_its_parser(feed):
    assert "limits" in refused(feed(f"<r><item/>\n<item><a>{BIG}</a></item></r>"), Format(kind="xml"))


def test_a_header_that_no_quote_closes(feed):
    assert "the header cannot be read" in refused(feed('id,"name\n1,a\n'))


def test_a_line_without_end(feed, monkeypatch):
    monkeypatch.setattr("shelfmark.ingest.formats.LINE_LIMIT", 1 << 20)
    assert "a line of more than" in refused(feed("id\n" + "x" * (3 << 20)))


def test_a_missing_file_and_a_folder(tmp_path):
    assert "no such file" in refused(str(tmp_path / "none.csv"))
    assert "cannot be read" in refused(str(tmp_path))


def test_no_permission_on_a_file(feed, tmp_path):
    path = feed("id\n1\n")
    os.chmod(path, 0)
    code = f"""
import os
from shelfmark.ingest import counting, readers  # imported before rights are given up
from shelfmark.ingest.formats import FileProblem, Format
if os.geteuid() == 0:
    os.setuid(65534)
for read in (lambda f: list(readers.read(readers.Split({path!r}), f)), lambda f: counting.count({path!r}, f)):
    try:
        read(Format(kind="csv"))
    except FileProblem as problem:
        assert "no permission" in str(problem), problem
    else:
        raise SystemExit("it was read")
"""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != folder.parent and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)  # only the file itself is closed
    subprocess.run([sys.executable, "-c", code], check=True)


# Pieces


@pytest.mark.parametrize("split_bytes", [64, 1000, 1 << 20])
def test_pieces_give_the_records_of_the_whole(feed, split_bytes):
    mark = codecs.BOM_UTF8
    rows = [f'{i},"{"é" * (i % 40)}"' + ("\n\r" if i % 7 == 0 else "\r" if i % 5 == 0 else "") for i in range(300)]
    flat = Format(kind="csv", multiline=False)
    jsonl = [json.dumps({"id": i, "t": "x" * (i % 50)}) + ("\n \t" if i % 9 == 0 else "") for i in range(300)]
    cases = [
        (mark + ("\nid,name\n" + "\n".join(rows)).encode(), flat),
        (("\n".join(rows) + "\n").encode(), Format(kind="csv", multiline=False, header=False, columns=["id", "name"])),
        ("\n".join(jsonl).encode(), Format(kind="jsonl")),
    ]
    for content, fmt in cases:
        path = feed(content)
        pieces = readers.splits(path, fmt, split_bytes)
        assert len(pieces) > 1 or split_bytes > len(content)
        found = [record for piece in pieces for record in read(piece, fmt)]
        assert found == records(path, fmt)
        assert len(found) == 300


def test_parquet_pieces_are_row_groups(feed, tmp_path):
    path = str(tmp_path / "feed.parquet")
    pq.write_table(pa.table({"id": list(range(100))}), path, row_group_size=10)
    fmt = Format(kind="parquet")
    pieces = readers.splits(path, fmt, 1)
    assert len(pieces) == 10
    assert [record for piece in pieces for record in read(piece, fmt)] == records(path, fmt)


def test_batches_are_bounded(feed):
    path = feed("id\n" + "1\n" * 25_000)
    sizes = [batch.num_rows for batch in readers.read_batches(Split(path), CSV)]
    assert sum(sizes) == 25_000
    assert max(sizes) <= readers.BATCH_ROWS


# Properties

TEXTS = st.text(st.sampled_from(list('ab,"\n\r\\;é鍋 \t')), max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=12), st.booleans())
def test_what_a_csv_writer_writes_is_read_back(tmp_path_factory, rows, quote_all):
    path = str(tmp_path_factory.getbasetemp() / "written.csv")
    with open(path, "w", newline="", encoding="utf-8") as sink:
        # The writer quotes a carriage return only where it ends lines with one, too.
        how = {"quoting": csv.QUOTE_ALL, "lineterminator": "\n"} if quote_all else {"lineterminator": "\r\n"}
        csv.writer(sink, **how).writerows([("a", "b", "c"), *rows])
    assert [tuple(row.values()) for row in fields(path)] == rows


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["a", ",", '"', "\n", "\r", "\\", "\r\n", '""', "a,b\n", "é"]), max_size=25),
    st.sampled_from([None, "\\"]),
    st.sampled_from(['"', None]),
    st.sampled_from([1, 2, 200]),
    st.sampled_from([1, 3, 1 << 20]),
)
def test_reader_and_counter_agree_on_any_text(tmp_path_factory, parts, escape, quote, max_lines, chunk):
    path = str(tmp_path_factory.getbasetemp() / "any.csv")
    with open(path, "w", newline="", encoding="utf-8") as sink:
        sink.write("x,y\n" + "".join(parts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shelfmark.ingest.formats.CHUNK_BYTES", chunk)  # borders fall everywhere
        records(path, Format(kind="csv", escape=escape, quote=quote, max_lines=max_lines))


SIGNS = ["|+|", "||", ".*", "[^", "\t\t", "¦¦", "::", "ab"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "cp1252", "utf-8"])
def test_a_delimiter_of_several_characters_in_any_encoding(feed, encoding):
    text = 'id|+|"na|+|me"|+|c\r\n1|+|"a|+|""b""\nc"|+|x|y+z\r\n2|+|é|+||\r\n3|+|too few\r\n'
    content = text.encode(encoding)
    if encoding == "utf-16-be":
        content = codecs.BOM_UTF16_BE + content
    path = feed(content)
    fmt = Format(kind="csv", delimiter="|+|", encoding=encoding)
    assert header(path, fmt) == ["id", "na|+|me", "c"]
    assert [(r.line, r.fields or r.raw) for r in records(path, fmt)] == [
        (2, {"id": "1", "na|+|me": 'a|+|"b"\nc', "c": "x|y+z"}),
        (4, {"id": "2", "na|+|me": "é", "c": "|"}),
        (5, "3|+|too few"),
    ]


def test_signs_that_stand_for_a_long_delimiter_may_be_in_the_text(feed):
    odd = "\ufdd0\ufdd1\ufdd10\ufdd11"
    fmt = Format(kind="csv", delimiter="|+|")
    assert fields(feed(f'a|+|b\n{odd}|+|"{odd}|+|"\n'), fmt) == [{"a": odd, "b": f"{odd}|+|"}]


@pytest.mark.parametrize("split_bytes", [64, 1000, 1 << 20])
def test_pieces_of_a_file_with_a_long_delimiter(feed, split_bytes):
    lines = [f'{n}|+|"x|+|{"é" * (n % 20)}"' for n in range(300)]
    fmt = Format(kind="csv", delimiter="|+|", multiline=False)
    for encoding, cut in (("utf-8", True), ("cp1252", True), ("utf-16", False)):
        fmt = fmt.model_copy(update={"encoding": encoding})
        path = feed("id|+|name\n" + "\n".join(lines) + "\n", encoding=encoding)
        pieces = readers.splits(path, fmt, split_bytes)
        assert (len(pieces) > 1) == (cut and split_bytes < 1 << 20)
        found = [record for piece in pieces for record in read(piece, fmt)]
        assert found == records(path, fmt)
        assert [r.fields["name"] for r in found] == [f"x|+|{'é' * (n % 20)}" for n in range(300)]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(*[st.text(st.sampled_from(list('|+".*[^\t¦:ab\n\ufdd0\ufdd1 ')), max_size=10)] * 2), max_size=8),
    st.sampled_from(SIGNS),
    st.sampled_from(["utf-8", "utf-16", "utf-16-le"]),
    st.sampled_from([1, 3, 1 << 20]),
)
def test_what_is_written_with_a_long_delimiter_is_read_back(tmp_path_factory, rows, sign, encoding, chunk):
    path = str(tmp_path_factory.getbasetemp() / "long.csv")
    write = lambda row: sign.join('"' + value.replace('"', '""') + '"' for value in row) + "\n"  # noqa: E731
    with open(path, "w", newline="", encoding=encoding) as sink:
        sink.write(f"x{sign}y\n" + "".join(map(write, rows)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shelfmark.ingest.formats.CHUNK_BYTES", chunk)
        found = fields(path, Format(kind="csv", delimiter=sign, encoding=encoding))
    assert [tuple(row.values()) for row in found] == rows


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a", "|", "+", "|+|", '"', "\n", "\r", "\\", "\\|+|", '""', "a|+|b\n", "é"]), max_size=25
    ),
    st.sampled_from([None, "\\"]),
    st.sampled_from(["|+|", "||", "+|"]),
    st.sampled_from([1, 2, 200]),
    st.sampled_from([1, 3, 1 << 20]),
)
def test_reader_and_counter_agree_on_any_text_with_a_long_delimiter(
    tmp_path_factory, parts, escape, sign, max_lines, chunk
):
    path = str(tmp_path_factory.getbasetemp() / "anylong.csv")
    with open(path, "w", newline="", encoding="utf-8") as sink:
        sink.write(f"x{sign}y\n" + "".join(parts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shelfmark.ingest.formats.CHUNK_BYTES", chunk)
        records(path, Format(kind="csv", escape=escape, delimiter=sign, max_lines=max_lines))


# Settings


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"quote": "''"}, "one character"),
        ({"delimiter": ""}, "1 to 20 characters"),
        ({"delimiter": "a\nb"}, "1 to 20 characters"),
        ({"delimiter": '|"|'}, "must differ"),
        ({"kind": "sql"}, "needs `table`"),
        ({"encoding": "latin-99"}, "unknown encoding"),
        ({"header": False}, "needs `columns`"),
        ({"columns": ["a"]}, "header: false"),
        ({"quote": ","}, "must differ"),
        ({"items": "products"}, "ends in `item`"),
        ({"separator": ";"}, "Extra inputs"),
    ],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(ValidationError, match=said):
        Format(**{"kind": "csv", **options})


# Real feeds

REAL = [
    ("catalogues/amazon_in.csv", Format(kind="csv"), 10_930),
    ("catalogues/openfoodfacts.tsv", Format(kind="csv", delimiter="\t", quote=None), 47_872),
    ("catalogues/lazada.csv", Format(kind="csv"), 1_000),
    ("catalogues/shein.csv", Format(kind="csv"), 1_000),
    ("catalogues/costco.csv", Format(kind="csv"), 1_757),
    ("catalogues/merchant_es.xml", Format(kind="xml"), 486),
    ("catalogues/shwapno/2026-06-30.json", Format(kind="json"), 3_430),
    ("catalogues/shwapno/2026-07-31.json", Format(kind="json"), 3_783),
    ("catalogues/shwapno/2026-08-01.json", Format(kind="json"), 3_865),
    ("images/fashion.csv", Format(kind="csv"), 35_073),
]


@pytest.mark.real
@pytest.mark.parametrize(("name", "fmt", "expected"), REAL, ids=[name for name, _, _ in REAL])
def test_real_feeds_are_read_whole(real_data, name, fmt, expected):
    path = str(real_data / name)
    batches = list(readers.read_batches(Split(path), fmt))
    assert sum(batch.num_rows for batch in batches) == expected
    assert counting.count(path, fmt) == expected
    assert all(batch["problem"].null_count == batch.num_rows for batch in batches)
