"""Count the rows of a sheet without the library that reads it: by its XML (xlsx, ods), streamed out of the workbook.

It follows the definition of a record in `excel`: a row below the header with at least one cell that holds more than
blanks; a cell with an error such as `#N/A` holds nothing. The scan also tells how far the cells reach before that
library sets out a table of that size in memory, and refuses XML with entities in any part of the workbook.

The binary formats have no such witness: xls and xlsb are counted by the library itself, in a pass of its own.
"""

from __future__ import annotations

import io
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from lxml import etree

from shelfmark.ingest import archives
from shelfmark.ingest.formats import HARDENED, Format, check_prolog, file_problem

_MAIN = "{*}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


@dataclass(frozen=True)
class Extent:
    """Rows with a value below the header, and the last row and column to set out in memory, from 1; 0 if none."""

    records: int
    last_row: int
    last_column: int


@dataclass(frozen=True)
class Sheet:
    """A sheet as the workbook lists it; `part` is its file in the archive, of ods the sheet's own place."""

    name: str
    visible: bool
    part: str


def scan(path: str, data: bytes, fmt: Format) -> Extent:
    """The extent of the sheet that `fmt` names. Raises `FileProblem`: no such sheet, broken or refused XML."""
    with _zip(path, data) as raw:
        names = archives.names(raw)
    try:
        if "content.xml" in names:
            return _ods_extent(path, data, chosen(path, _ods_sheets(path, data), fmt), fmt.header_row)
        sheet = chosen(path, _xlsx_sheets(path, data), fmt)
        blanks = _blank_strings(path, data) if "xl/sharedStrings.xml" in names else frozenset()
        return _xlsx_extent(path, data, sheet, fmt.header_row, blanks)
    except ValueError as error:
        raise file_problem(path, f"the workbook is broken ({error}); have it saved again") from None


def sheets(path: str, data: bytes) -> list[Sheet]:
    """The sheets of an xlsx or ods. Raises `FileProblem`."""
    with _zip(path, data) as raw:
        names = archives.names(raw)
    return (_ods_sheets if "content.xml" in names else _xlsx_sheets)(path, data)


def chosen(path: str, sheets: list[Sheet], fmt: Format) -> Sheet:
    """The sheet `fmt.sheet`, else the only visible one. Raises `FileProblem` naming the sheets there are."""
    shown = [sheet for sheet in sheets if sheet.visible]
    some = ", ".join(sheet.name for sheet in (shown or sheets)[:10]) or "none"
    if fmt.sheet is not None:
        found = next((sheet for sheet in sheets if sheet.name == fmt.sheet), None)
        if found is None:
            raise file_problem(path, f"no sheet {fmt.sheet!r} in the workbook; its sheets: {some}")
        return found
    if len(shown) != 1:
        raise file_problem(path, f"the workbook has {len(shown)} visible sheets ({some}); say which: `sheet: NAME`")
    return shown[0]


@contextmanager
def _zip(path: str, data: bytes) -> Iterator[BinaryIO]:
    try:
        yield io.BytesIO(data)
    except archives.Refused as refused:
        raise file_problem(path, str(refused)) from None


@contextmanager
def _part(path: str, data: bytes, part: str) -> Iterator[BinaryIO]:
    with _zip(path, data) as raw, archives.open_member(raw, part) as stream:
        yield stream


def _elements(path: str, data: bytes, part: str, tags: list[str], events: tuple[str, ...] = ("end",)):
    """(Event, element) of the tags in an XML part, whose tree never grows. Nothing is expanded, nothing fetched."""
    with _part(path, data, part) as stream:
        tree = etree.iterparse(
            stream,
            events=events,
            tag=[_MAIN + tag for tag in tags],
            **HARDENED,
            remove_comments=True,
            remove_pis=True,
        )
        try:
            for event, element in tree:
                yield event, element
                if event == "end":
                    element.clear()
                    while element.getprevious() is not None:
                        del element.getparent()[0]
        except etree.XMLSyntaxError as error:
            raise file_problem(path, f"{part} of the workbook is broken ({error.msg}); have it saved again") from None


def check_parts(path: str, data: bytes, limit: int) -> None:
    """Whether the workbook unpacks to `limit` bytes at the most and none of its XML has entities. Raises
    `FileProblem`."""
    total = 0
    with _zip(path, data) as raw:
        parts = archives.names(raw)
    for part in parts:
        if part.endswith((".xml", ".rels", ".vml")):
            with _part(path, data, part) as stream:
                check_prolog(f"{path}: {part}", stream)
        with _part(path, data, part) as stream:
            while piece := stream.read(1 << 20):
                total += len(piece)
                if total > limit:
                    what = f"the workbook unpacks to more than {limit:,} bytes; have it sent as csv"
                    raise file_problem(path, what)


# xlsx


def _xlsx_sheets(path: str, data: bytes) -> list[Sheet]:
    parts = {}
    for _, relation in _elements(path, data, "xl/_rels/workbook.xml.rels", ["Relationship"]):
        target = relation.get("Target", "")
        absolute = target[1:] if target.startswith("/") else posixpath.normpath(posixpath.join("xl", target))
        if relation.get("Type", "").endswith("/worksheet"):
            parts[relation.get("Id")] = absolute
    found = []
    for _, sheet in _elements(path, data, "xl/workbook.xml", ["sheet"]):
        strict = next((value for name, value in sheet.attrib.items() if name.endswith("}id")), None)
        part = parts.get(sheet.get(_RELATION) or strict)
        if part is not None:  # a chart or macro sheet is none
            found.append(Sheet(sheet.get("name", ""), sheet.get("state", "visible") == "visible", part))
    return found


def _blank_strings(path: str, data: bytes) -> frozenset[int]:
    """Places of the shared strings that hold nothing but blanks."""
    blank = set()
    for i, (_, item) in enumerate(_elements(path, data, "xl/sharedStrings.xml", ["si"])):
        if not _shown_text(item).strip():
            blank.add(i)
    return frozenset(blank)


def _shown_text(item) -> str:
    """The text of a string item, without the reading aids (`rPh`) of East Asian scripts."""
    return "".join(
        t.text or "" for t in item.iter(_MAIN + "t") if not any(up.tag.endswith("}rPh") for up in t.iterancestors())
    )


def _xlsx_extent(path: str, data: bytes, sheet: Sheet, header: int, blanks: frozenset[int]) -> Extent:
    records = last_row = last_column = row = 0
    for _, element in _elements(path, data, sheet.part, ["row"]):
        row = int(element.get("r") or row + 1)
        column, filled = 0, False
        for cell in element.iterchildren(_MAIN + "c"):
            place = re.match("[A-Z]+", cell.get("r") or "")
            column = _column(place[0]) if place else column + 1
            kept, empty = _xlsx_value(cell, blanks)
            if kept:
                last_row, last_column = max(last_row, row), max(last_column, column)
            filled = filled or not empty
        records += filled and row > header
    return Extent(records, last_row, last_column)


def _xlsx_value(cell, blanks: frozenset[int]) -> tuple[bool, bool]:
    """(Whether the cell takes a place in a table, whether it shows nothing)."""
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        text = "".join(_shown_text(item) for item in cell.iterchildren(_MAIN + "is"))
        return True, not text.strip()
    value = cell.findtext(_MAIN + "v")
    if value is None or value == "":
        return False, True
    if kind == "s":
        return True, int(value) in blanks
    return True, kind == "e" or not value.strip()


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


# ods


def _ods_sheets(path: str, data: bytes) -> list[Sheet]:
    hidden = set()
    found = []
    for event, element in _elements(
        path, data, "content.xml", ["style", "table-properties", "table"], ("start", "end")
    ):
        tag = etree.QName(element).localname
        if event == "start" and tag == "table" and not _inside_table(element):
            name = _ods(element, "name") or ""
            found.append(Sheet(name, _ods(element, "style-name") not in hidden, name))
        elif event == "start" and tag == "table-properties" and _ods(element, "display") == "false":
            hidden.add(_ods(element.getparent(), "name"))
    return found


def _inside_table(element) -> bool:
    return any(etree.QName(up).localname == "table" for up in element.iterancestors())


def _ods(element, name: str) -> str | None:
    return next((value for key, value in element.attrib.items() if key.endswith("}" + name)), None)


def _ods_extent(path: str, data: bytes, sheet: Sheet, header: int) -> Extent:
    """Rows of `sheet`; its reach is that of the largest sheet, as the library sets them all out when it opens."""
    records = row = last_row = last_column = 0
    largest = (0, 0)
    current = None
    for event, element in _elements(path, data, "content.xml", ["table", "table-row"], ("start", "end")):
        tag = etree.QName(element).localname
        if tag == "table" and not _inside_table(element):
            current = _ods(element, "name") if event == "start" else None
            row = last_row = last_column = 0
        if tag != "table-row" or event != "end":
            continue
        times = int(_ods(element, "number-rows-repeated") or 1)
        column, filled = 0, False
        for cell in element:
            if etree.QName(cell).localname not in ("table-cell", "covered-table-cell"):
                continue
            column += int(_ods(cell, "number-columns-repeated") or 1)
            kind = _ods(cell, "value-type")
            text = "".join("".join(line.itertext()) for line in cell if etree.QName(line).localname == "p")
            if kind is not None or text:
                last_row, last_column = row + times, max(last_column, column)
                filled = filled or kind not in (None, "string") or bool(text.strip())
        largest = max(largest, (last_row, last_column), key=lambda reach: reach[0] * reach[1])
        if filled and current == sheet.name:
            records += max(0, row + times - max(row, header))
        row += times
    return Extent(records, *largest)
