"""Workbooks: rows as a person sees them, counted by the XML; broken, protected and hostile ones refused."""

import datetime as dt
import gzip
import io
import zipfile
from pathlib import Path

import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.ingest import counting, counting_excel, excel, readers
from shelfmark.ingest.formats import FileProblem, Format
from shelfmark.ingest.readers import Split, header, read

EXCEL = Format(kind="excel")
WORKBOOKS = Path(__file__).parent / "workbooks"


@pytest.fixture
def file(tmp_path):
    def write(content, name="feed"):
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    return write


def workbook(rows, sheets=("Products",), hidden=(), merge=None, options=None):
    """Bytes of an xlsx with `rows` in its first sheet; None is no cell."""
    sink = io.BytesIO()
    book = xlsxwriter.Workbook(sink, {"in_memory": True, **(options or {})})
    day, moment = book.add_format({"num_format": "yyyy-mm-dd"}), book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
    for name in sheets:
        sheet = book.add_worksheet(name)
        if name in hidden:
            sheet.hide()
        for r, row in enumerate(rows if name == sheets[0] else []):
            for c, value in enumerate(row):
                if isinstance(value, dt.date):
                    sheet.write_datetime(r, c, value, moment if isinstance(value, dt.datetime) else day)
                elif isinstance(value, str):
                    sheet.write_string(r, c, value)
                elif value is not None:
                    sheet.write(r, c, value)
        if merge and name == sheets[0]:
            sheet.merge_range(*merge)
    book.close()
    return sink.getvalue()


CELL = '<table:table-cell office:value-type="{}" {}><text:p>{}</text:p></table:table-cell>'


def ods(rows, head="", style=""):
    """Bytes of a small OpenDocument sheet; `rows` are XML."""
    sink = io.BytesIO()
    spaces = " ".join(
        f'xmlns:{n}="urn:oasis:names:tc:opendocument:xmlns:{n}:1.0"' for n in ("office", "table", "text", "style")
    )
    with zipfile.ZipFile(sink, "w") as book:
        book.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        book.writestr("META-INF/manifest.xml", '<manifest xmlns="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>')
        book.writestr(
            "content.xml",
            f'<?xml version="1.0"?>{head}<office:document-content {spaces}><office:automatic-styles>{style}'
            f'</office:automatic-styles><office:body><office:spreadsheet>{rows}</office:spreadsheet></office:body>'
            "</office:document-content>",
        )  # fmt: skip
    return sink.getvalue()


def records(path, fmt=EXCEL):
    found = list(read(Split(path), fmt))
    assert counting.count(path, fmt) == len(found)
    return found


def refused(path, fmt=EXCEL):
    said = []
    for work in (lambda: list(read(Split(path), fmt)), lambda: counting.count(path, fmt)):
        with pytest.raises(FileProblem) as problem:
            work()
        assert path in str(problem.value)
        said.append(str(problem.value))
    return said[0]


def changed(data, part, change):
    """The workbook with one part of it changed."""
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if name == part else old.read(name))
    return sink.getvalue()


SHEET = "xl/worksheets/sheet1.xml"


def test_cells_are_texts_as_a_person_sees_them(file):
    rows = [
        ["gtin", "share", "day", "moment", "ok", "code", "blank"],
        [4006381333931, 0.1 + 0.2, dt.date(2026, 1, 2), dt.datetime(2026, 1, 2, 3, 4, 5), True, "007", None],
        [],
        [-1.5, 12, dt.date(1999, 12, 31), dt.datetime(2026, 1, 2), False, " x ", "  "],
    ]
    found = records(file(workbook(rows)))
    assert [(r.number, r.line, tuple(r.fields.values())) for r in found] == [
        (1, 2, ("4006381333931", "0.3", "2026-01-02", "2026-01-02T03:04:05", "true", "007", None)),
        (2, 4, ("-1.5", "12", "1999-12-31", "2026-01-02", "false", " x ", "  ")),
    ]


def test_rows_without_a_value_are_no_records(file):
    path = file(workbook([["id"], [None], ["  "], [1], [""], [2], [None]]))
    assert [r.line for r in records(path)] == [4, 6]
    errors = changed(
        workbook([["id"], [1], [2]]), SHEET, lambda x: x.replace(b'<c r="A2"><v>1</v>', b'<c r="A2" t="e"><v>#N/A</v>')
    )
    assert [r.line for r in records(file(errors))] == [3]


def test_the_header_may_stand_below_a_title(file):
    path = file(workbook([["Our products"], [None], [None, "id", "name"], [None, 1, "a"]]))
    with pytest.raises(FileProblem, match="cell A3 of the header is blank"):
        header(path, Format(kind="excel", header_row=3))
    path = file(workbook([["Our products"], [None], ["id", "name"], [1, "a"]]))
    fmt = Format(kind="excel", header_row=3)
    assert header(path, fmt) == ["id", "name"]
    assert [(r.line, r.fields) for r in records(path, fmt)] == [(4, {"id": "1", "name": "a"})]
    with pytest.raises(FileProblem, match="row 2 of the sheet names no fields; set `header_row`"):
        header(path, Format(kind="excel", header_row=2))


def test_merged_cells_in_the_header_are_said(file):
    path = file(workbook([["id", None, None, "price"], [1, "a", "b", 2]], merge=(0, 1, 0, 2, "name")))
    with pytest.raises(FileProblem, match=r"cell C1 of the header is blank \(part of merged cells\?\)"):
        header(path, EXCEL)


def test_a_value_beyond_the_header_rejects_its_record(file):
    found = records(file(workbook([["id", "name"], [1, "a"], [2, "b", None, "stray"]])))
    assert [r.problem for r in found] == [None, "broken_record: cell D3 is beyond the header's 2 columns"]
    assert "stray" in found[1].raw


def test_the_sheet_is_the_only_visible_one_or_named(file):
    rows = [["id"], [1]]
    assert len(records(file(workbook(rows, ("A", "B"), hidden=("B",))))) == 1
    path = file(workbook(rows, ("A", "B")))
    assert "2 visible sheets (A, B); say which: `sheet: NAME`" in refused(path)
    assert len(records(path, Format(kind="excel", sheet="A"))) == 1
    assert "no sheet 'C' in the workbook; its sheets: A, B" in refused(path, Format(kind="excel", sheet="C"))


def test_ods(file):
    hidden = (
        '<style:style style:name="h" style:family="table"><style:table-properties table:display="false"/></style:style>'
    )
    text, number = (lambda v: CELL.format("string", "", v)), (lambda v: CELL.format("float", f'office:value="{v}"', v))
    repeated = '<table:table-row table:number-rows-repeated="{}">{}</table:table-row>'
    blank = '<table:table-cell table:number-columns-repeated="{}"/>'
    rows = (
        '<table:table table:name="Notes" table:style-name="h"><table:table-row/></table:table>'
        '<table:table table:name="Products">'
        f"<table:table-row>{text('id')}{text('name')}</table:table-row>"
        f"<table:table-row>{number('1')}{text('Größe')}</table:table-row>"
        f"{repeated.format(3, blank.format(2))}{repeated.format(2, number('2.5') + text('鍋'))}"
        f"{repeated.format(1_048_000, blank.format(16_384))}</table:table>"
    )
    found = records(file(ods(rows, style=hidden)))
    assert [(r.line, tuple(r.fields.values())) for r in found] == [
        (2, ("1", "Größe")),
        (6, ("2.5", "鍋")),
        (7, ("2.5", "鍋")),
    ]
    wide = "<table:table-cell table:number-columns-repeated='16000' office"
    bomb = rows.replace('repeated="2">', 'repeated="1000000">').replace("<table:table-cell office", wide)
    path = file(ods(bomb))
    with pytest.raises(FileProblem, match=r"reaches to cell .*, more than 33,554,432 cells"):
        list(read(Split(path), Format(kind="excel", sheet="Products")))


def test_xls_and_gzip(file):
    data = (WORKBOOKS / "old.xls").read_bytes()
    for content in (data, gzip.compress(data)):
        found = records(file(content))
        assert [(r.line, tuple(r.fields.values())) for r in found] == [
            (2, ("1", "Größe", "2026-01-01", "true")),
            (4, ("2", "鍋", "2026-01-02", "false")),
        ]


def test_workbooks_that_cannot_be_read(file):
    assert "protected by a password" in refused(str(WORKBOOKS / "password.xlsx"))
    data = workbook([["id"], *([n] for n in range(1000))])
    assert "damaged" in refused(file(data[:-100])) or "cut off" in refused(file(data[:-100]))
    assert "sheet1.xml of the workbook is broken" in refused(file(changed(data, SHEET, lambda x: x[:900])))
    assert "broken" in refused(file(changed(data, SHEET, lambda x: x.replace(b'r="7"', b'r="seven"'))))
    assert "no workbook" in refused(file(b"id,name\n1,a\n"))
    assert "empty" in refused(file(b""))
    old = (WORKBOOKS / "old.xls").read_bytes()
    assert "broken" in refused(file(old[:3000]))
    path = file(workbook([[None]]))
    with pytest.raises(FileProblem, match="empty: row 1 of the sheet names no fields"):
        list(read(Split(path), EXCEL))


def test_a_workbook_given_as_another_kind_says_so(file):
    for data in (workbook([["id"], [1]]), (WORKBOOKS / "old.xls").read_bytes()):
        for fmt in (Format(kind="csv"), Format(kind="xml")):
            assert "an Excel workbook; set `kind: excel`" in refused(file(data), fmt)


LAUGHS = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize("part", [SHEET, "xl/workbook.xml", "xl/sharedStrings.xml", "xl/styles.xml"])
def test_entities_in_any_part_of_a_workbook_are_refused(file, part):
    data = workbook([["id"], ["x"]])
    hostile = changed(data, part, lambda x: x.replace(b"?>", b"?>" + LAUGHS, 1).replace(b">x<", b">&b;<"))
    assert "XML with entities of its own is refused" in refused(file(hostile))
    outside = changed(
        data, part, lambda x: x.replace(b"?>", b'?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>', 1)
    )
    assert "XML with entities of its own is refused" in refused(file(outside))


def test_two_cells_in_the_corners_of_a_sheet_do_not_fill_the_memory(file):
    far = changed(
        workbook([["id"], [1], [2]]),
        SHEET,
        lambda x: x.replace(b'<row r="3" spans="1:1"><c r="A3"', b'<row r="1048576"><c r="XFD1048576"'),
    )
    path = file(far)
    with pytest.raises(FileProblem, match="reaches to cell XFD1048576, more than 33,554,432 cells"):
        list(read(Split(path), EXCEL))


def test_a_workbook_that_unpacks_to_too_much(file, monkeypatch):
    monkeypatch.setattr(excel, "UNPACKED_LIMIT", 10_000)
    path = file(changed(workbook([["id"], [1]]), "xl/theme/theme1.xml", lambda x: x + b" " * 100_000))
    assert "unpacks to more than 10,000 bytes" in refused(path)
    monkeypatch.setattr(excel, "PACKED_LIMIT", 1000)
    assert "larger than 1,000 bytes" in refused(path)


CELLS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**14), 10**14)
    | st.floats(-1e9, 1e9).map(lambda x: round(x, 4))
    | st.text(st.sampled_from(list("ab<&>\"' \n\té鍋🧺_x000D_")), max_size=8)
    | st.dates(dt.date(1950, 1, 1), dt.date(2100, 1, 1))
)


def shown(value):
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value == int(value) else f"{value:.15g}"
    return value.isoformat() if isinstance(value, dt.date) else str(value)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=6), st.booleans())
def test_what_a_workbook_holds_is_read_back(tmp_path_factory, rows, constant_memory):
    path = tmp_path_factory.getbasetemp() / "written.xlsx"
    # With constant memory texts stand in the cells themselves, else in a shared table.
    path.write_bytes(workbook([["a", "b", "c"], *rows], options={"constant_memory": constant_memory}))
    expected = [[shown(value) for value in row] for row in rows]
    expected = [row for row in expected if any(value and not value.isspace() for value in row)]
    assert [list(record.fields.values()) for record in records(str(path))] == expected


def test_the_scan_needs_no_places_of_cells():
    data = changed(
        workbook([["id", "x"], [1, 2], [3, 4]]), SHEET, lambda x: __import__("re").sub(rb' r="[A-Z]*\d+"', b"", x)
    )
    assert counting_excel.scan("x", data, EXCEL) == counting_excel.Extent(2, 3, 2)


def test_splits_are_one_piece(file):
    path = file(workbook([["id"], [1]]))
    assert readers.splits(path, EXCEL, 1) == [Split(path)]
