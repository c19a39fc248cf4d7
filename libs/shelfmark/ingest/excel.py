"""Rows of a sheet of a workbook (xlsx, xls, xlsb, ods), by python-calamine, as a person sees them.

What a record is (`counting_excel` follows the same definition by code of its own): a row below the header row of which
at least one cell holds more than blanks. A row's number is the one the sheet shows. Whole numbers have no `.0`, others
the 15 digits Excel shows; dates and times are ISO 8601; truth is `true` and `false`; an empty cell and one with an error
(`#N/A`) have no value. A record with a value to the right of the header is rejected (`broken_record`).

A sheet is in memory whole, as the library reads it: `CELLS` cells at the most, which is looked up before in xlsx and
ods; an xls cannot hold more, and an xlsb is taken as it is.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterator
from typing import Any

from shelfmark.ingest import archives, counting_excel
from shelfmark.ingest.formats import OLE_MAGIC, FileProblem, Format, file_problem, whole_file
from shelfmark.ingest.records import RAW_LIMIT, Row, payload_template, quoted, too_long, unique_names

PACKED_LIMIT = 256 << 20
"""Bytes of a workbook: a full sheet of a million rows and twenty columns has about 100 MB."""

UNPACKED_LIMIT = 2 << 30
"""Bytes its parts unpack to: the same sheet has about 1 GB of XML."""

CELLS = 32 << 20
"""Cells from the first to the last that holds something: a full sheet of 32 columns, 1 GB in the library's memory."""


def rows(path: str, fmt: Format) -> Iterator[Row]:
    """Records of the sheet. Raises `FileProblem`."""
    lines = _lines(path, fmt)
    names = _header(path, fmt, lines)
    template, number = payload_template(names), 0
    for line, cells in lines:
        texts = [text(cell) for cell in cells]
        if not any(one and not one.isspace() for one in texts):
            continue
        number += 1
        beyond = next((i for i, one in enumerate(texts[len(names) :], len(names)) if one), None)
        texts = texts[: len(names)] + [None] * (len(names) - len(texts))
        payload = template % tuple(["null" if one is None else quoted(one) for one in texts])
        problem = too_long(dict(zip(names, texts)), fmt.max_field) if len(payload) > fmt.max_field else None
        if beyond is not None:
            problem = f"broken_record: cell {letters(beyond + 1)}{line} is beyond the header's {len(names)} columns"
            payload = payload[:-1] + f",{quoted(letters(beyond + 1))}:{quoted(text(cells[beyond]))}}}"
        yield number, line, payload[:RAW_LIMIT] if problem else payload, problem


def columns(path: str, fmt: Format) -> list[str]:
    """Field names in the header row. Raises `FileProblem`."""
    return _header(path, fmt, _lines(path, fmt))


def sheets(path: str) -> list[str]:
    """Names of the visible sheets. Raises `FileProblem`."""
    data = whole_file(path, PACKED_LIMIT)
    if _is_xml(path, data):
        counting_excel.check_parts(path, data, UNPACKED_LIMIT)
        found = counting_excel.sheets(path, data)
    else:
        found = _worksheets(_opened(path, data))
    return [sheet.name for sheet in found if sheet.visible]


def count(path: str, fmt: Format) -> int:
    """Records of the sheet, for `counting`: by its XML where it has one, else by the library. Raises `FileProblem`."""
    data = whole_file(path, PACKED_LIMIT)
    if _is_xml(path, data):
        counting_excel.check_parts(path, data, UNPACKED_LIMIT)
        return counting_excel.scan(path, data, fmt).records
    filled = (n for n, cells in _lines(path, fmt) if any(one and not one.isspace() for one in map(text, cells)))
    return sum(number > fmt.header_row for number in filled)


def _lines(path: str, fmt: Format) -> Iterator[tuple[int, list[Any]]]:
    """(Row number, cells) from the header row on."""
    data = whole_file(path, PACKED_LIMIT)
    if _is_xml(path, data):
        # Before the library opens it: of an ods it sets out every sheet at once.
        counting_excel.check_parts(path, data, UNPACKED_LIMIT)
        extent = counting_excel.scan(path, data, fmt)
        if extent.last_row * extent.last_column > CELLS:
            place = f"{letters(extent.last_column)}{extent.last_row}"
            what = f"the sheet reaches to cell {place}, more than {CELLS:,} cells; clear the cells beyond the table"
            raise file_problem(path, what)
    elif data.startswith(archives.ZIP_MAGICS):
        counting_excel.check_parts(path, data, UNPACKED_LIMIT)
    book = _opened(path, data)
    sheet = counting_excel.chosen(path, _worksheets(book), fmt)
    with _library(path):
        table = book.get_sheet_by_name(sheet.name)
        first = table.start[0] if table.start else 0
        for number, cells in enumerate(table.to_python(skip_empty_area=True), first + 1):
            left = table.start[1]
            if number >= fmt.header_row:
                yield number, [None] * left + cells


def _header(path: str, fmt: Format, lines: Iterator[tuple[int, list[Any]]]) -> list[str]:
    number, cells = next(lines, (0, []))
    names = [(text(cell) or "").strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    if number != fmt.header_row or not names:
        raise file_problem(path, f"empty: row {fmt.header_row} of the sheet names no fields; set `header_row`")
    if "" in names:
        place = f"{letters(names.index('') + 1)}{number}"
        what = f"cell {place} of the header is blank (part of merged cells?)"
        raise file_problem(path, f"{what}; give each column a name in a row of its own, and set `header_row`")
    return unique_names(names)


def text(cell: Any) -> str | None:
    """A cell's value as a person sees it; None where it has none."""
    if cell is None or cell == "":
        return None
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        # Excel keeps and shows 15 digits: 0.1 + 0.2 is 0.3. Beyond them a whole number has no more digits than it has.
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e21 else format(cell, ".15g")
    if isinstance(cell, dt.datetime):
        midnight = cell.time() == dt.time()
        return cell.date().isoformat() if midnight else cell.isoformat(timespec="auto")
    if isinstance(cell, dt.timedelta):
        seconds = round(cell.total_seconds())
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return cell.isoformat() if isinstance(cell, dt.date | dt.time) else str(cell)


def letters(column: int) -> str:
    """`AB` of 28, as a sheet names its columns."""
    name = ""
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(65 + rest) + name
    return name


def _is_xml(path: str, data: bytes) -> bool:
    """Whether the workbook keeps its sheets as XML (xlsx, ods). Raises `FileProblem` where it is none at all."""
    if data.startswith(OLE_MAGIC):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise file_problem(path, "the workbook is protected by a password; have it sent without one")
        return False
    if not data.startswith(archives.ZIP_MAGICS):
        raise file_problem(path, "empty: no workbook" if not data else "no workbook (xlsx, xls, xlsb, ods)")
    try:
        names = archives.names(io.BytesIO(data))
    except archives.Refused as refused:
        raise file_problem(path, f"{refused}") from None
    if {"content.xml", "mimetype"} <= {*names}:
        if b"manifest:encryption-data" in _member(data, "META-INF/manifest.xml", names):
            raise file_problem(path, "the workbook is protected by a password; have it sent without one")
        return True
    if "xl/workbook.bin" in names:
        return False
    if "xl/workbook.xml" not in names:
        raise file_problem(path, "a zip archive, but no workbook (xlsx, xlsb, ods)")
    return True


def _member(data: bytes, name: str, names: list[str]) -> bytes:
    if name not in names:
        return b""
    with archives.open_member(io.BytesIO(data), name) as stream:
        return stream.read(1 << 20)


def _opened(path: str, data: bytes) -> Any:
    from python_calamine import CalamineWorkbook

    with _library(path):
        return CalamineWorkbook.from_filelike(io.BytesIO(data))


def _worksheets(book: Any) -> list[counting_excel.Sheet]:
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    return [
        counting_excel.Sheet(sheet.name, sheet.visible == SheetVisibleEnum.Visible, sheet.name)
        for sheet in book.sheets_metadata
        if sheet.typ == SheetTypeEnum.WorkSheet
    ]


class _library:
    """Turns the library's exceptions, and the panics of its Rust, into `FileProblem`."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from python_calamine import CalamineError, PasswordError

        if isinstance(error, PasswordError):
            raise file_problem(self.path, "the workbook is protected by a password; have it sent without one") from None
        panic = kind is not None and kind.__name__ == "PanicException"
        if (isinstance(error, CalamineError | OSError) and not isinstance(error, FileProblem)) or panic:
            raise file_problem(self.path, f"the workbook is broken ({error}); have it saved again") from None
