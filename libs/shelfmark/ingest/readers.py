"""Streaming readers of feed files: every record as read, with its position, in bounded memory.

What a record is (the independent counter in `counting` follows the same definition with code of its own):

- A file's lines end in `\\n` (or `\\r\\n`), or in bare `\\r` where its first page has no `\\n`.
- **jsonl**: a line that holds more than blanks. **json**: an item of the array at `items`. **xml**: an element named
  `record` that is not inside another one. **parquet**: a row.
- **csv**: lines without a character are no records. A record of one line is a record whatever is wrong with it. A
  record that spans several lines through quotes is believed only if all quotes close within `max_lines` lines, no
  text follows a closing quote, and it has as many fields as the header. Otherwise a stray quote is the likelier
  story: its **first line alone is a (rejected) record and reading resumes on the next line**, so that no good record
  after it is lost. `multiline: false` is the same with one line.

A record that cannot be believed is given with `problem`, "<rule>: <sentence>", and its raw text cut to `RAW_LIMIT`:

- `broken_record`: not JSON, not as many fields as the header, zero bytes, a stray quote, an item that is no object.
- `record_too_long`: a quote still open after `max_lines` lines.
- `field_too_long`: a field of more than `max_field` characters.

A file that cannot be read to its end raises `FileProblem`.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import ijson
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lxml import etree

from shelfmark.ingest import excel, sqldump
from shelfmark.ingest.formats import (
    CHUNK_BYTES,
    HARDENED,
    HEAD_BYTES,
    FileProblem,
    Format,
    broken_xml,
    encoding_of,
    file_problem,
    is_packed,
    one_byte_signs,
    open_feed,
    open_parquet,
    text_chunks,
    xml_encoding,
)
from shelfmark.ingest.records import RAW_LIMIT, Row, as_object, payload_template, quoted, too_long, unique_names

__all__ = ["BATCH_SCHEMA", "FileProblem", "Record", "Split", "header", "read", "read_batches", "splits"]

BATCH_ROWS = 10_000
"""Records in an Arrow batch at the most: what Spark itself takes."""

BATCH_CHARS = 8 << 20
"""Characters of payload after which a batch is closed: 32 MiB at the most, as UTF-8 has up to 4 bytes each."""

HEADER_RECORDS = 100
"""Records looked at for field names where a format has no header."""

BATCH_SCHEMA = pa.schema(
    [
        pa.field("record_number", pa.int64(), False),
        pa.field("line", pa.int64()),
        pa.field("payload", pa.string()),
        pa.field("problem", pa.string()),
    ]
)
"""Columns of `read_batches`, as in bronze.raw_products."""

# The module's limit of 131,072 characters would end a file; `max_field` rejects the record instead.
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class Record:
    """A record as read. `number` and `line` count from 1; `fields` is None and `raw` text where there is a problem."""

    number: int
    line: int | None
    fields: dict[str, str | None] | None
    problem: str | None
    raw: str | None


@dataclass(frozen=True)
class Split:
    """A piece of a file that one task reads.

    `start` and `end` are bytes of a line-oriented file, row groups of a Parquet file, 0 and None for a whole file.
    `first_record` and `first_line` are the positions at `start`.
    """

    path: str
    start: int = 0
    end: int | None = None
    first_record: int = 1
    first_line: int = 1


def splits(path: str, fmt: Format, split_bytes: int) -> list[Split]:
    """The pieces of a file of about `split_bytes`, in order, with exact positions.

    Pieces of jsonl and of csv with `multiline: false` start at the start of a line, so a plain file is passed once to
    count lines; Parquet is cut by row groups. Compressed, quoted multi-line, JSON array and XML files are one piece.
    Raises `FileProblem`.
    """
    if fmt.kind == "parquet":
        return _row_group_splits(path, split_bytes)
    if fmt.kind == "jsonl" or (fmt.kind == "csv" and not fmt.multiline):
        return _line_splits(path, fmt, split_bytes)
    return [Split(path)]


def read_batches(split: Split, fmt: Format) -> Iterator[pa.RecordBatch]:
    """Records of a piece as Arrow batches of `BATCH_SCHEMA`, bounded by `BATCH_ROWS` and `BATCH_CHARS`.

    `payload` is a JSON object of texts (null where the feed has null), or raw text where `problem` is set. Raises
    `FileProblem` when it comes to what cannot be read; batches before that were given already.
    """
    for block in _READERS[fmt.kind](split, fmt):
        yield from _batches(block)


def read(split: Split, fmt: Format) -> Iterator[Record]:
    """Records of a piece one by one, as `read_batches` gives them. Raises `FileProblem`."""
    for block in _READERS[fmt.kind](split, fmt):
        problems = block.problems or (None,) * len(block.payloads)
        for number, line, payload, problem in zip(block.numbers, block.lines, block.payloads, problems):
            if problem is None:
                yield Record(number, line, json.loads(payload), None, None)
            else:
                yield Record(number, line, None, problem, payload)


def header(path: str, fmt: Format) -> list[str]:
    """Field names of a file: the header of a csv, the schema of a Parquet file, else those of its first records.

    Raises `FileProblem`.
    """
    if fmt.kind == "csv":
        return _csv_names(path, fmt)
    if fmt.kind == "excel":
        return excel.columns(path, fmt)
    if fmt.kind == "sql":
        return sqldump.columns(path, fmt)
    if fmt.kind == "parquet":
        with open_parquet(path) as file:
            return unique_names(file.schema_arrow.names)
    records = islice(read(Split(path), fmt), HEADER_RECORDS)
    return list(dict.fromkeys(name for record in records for name in record.fields or ()))


# Blocks: what a reader gives, a few thousand records as columns


@dataclass
class Block:
    """Columns of some records; `problems` None means none of them has one."""

    numbers: Sequence[int]
    lines: Sequence[int | None]
    payloads: list[str]
    problems: list[str | None] | None


def _batches(block: Block) -> Iterator[pa.RecordBatch]:
    count = len(block.payloads)
    step = BATCH_ROWS
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))
        payloads = block.payloads[part]
        try:
            texts = pa.array(payloads, pa.string())
        except UnicodeEncodeError:
            # JSON may escape half a surrogate pair, which is no character and has no UTF-8.
            texts = pa.array([_whole(payload) for payload in payloads], pa.string())
        problems = pa.nulls(len(payloads), pa.string())
        if block.problems is not None:
            problems = pa.array([p and _whole(p) for p in block.problems[part]], pa.string())
        yield pa.RecordBatch.from_arrays(
            [_integers(block.numbers[part]), _integers(block.lines[part]), texts, problems], schema=BATCH_SCHEMA
        )


def _integers(values: Sequence[int | None]) -> pa.Array:
    if isinstance(values, range):
        return pa.array(np.arange(values.start, values.stop, dtype=np.int64))
    return pa.array(values, pa.int64())


def _whole(text: str) -> str:
    """Text with halves of surrogate pairs joined, or replaced by U+FFFD where the other half is missing."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _gathered(rows: Iterator[Row]) -> Iterator[Block]:
    """Rows of a format that has no natural blocks, gathered into bounded ones."""
    numbers, lines, payloads, problems, chars = [], [], [], [], 0
    for number, line, payload, problem in rows:
        numbers.append(number)
        lines.append(line)
        payloads.append(payload)
        problems.append(problem)
        chars += len(payload)
        if len(payloads) >= BATCH_ROWS or chars >= BATCH_CHARS:
            yield Block(numbers, lines, payloads, problems if any(problems) else None)
            numbers, lines, payloads, problems, chars = [], [], [], [], 0
    if payloads:
        yield Block(numbers, lines, payloads, problems if any(problems) else None)


# Lines


def _lines(split: Split, fmt: Format) -> Iterator[tuple[list[str], bool]]:
    """(Lines with their ends, whether they are the last); the last list may be empty."""
    waiting = []
    for text in text_chunks(split.path, fmt, split.start, split.end, split.first_line):
        cut = text.rfind("\n") + 1
        if cut:
            waiting.append(text[:cut])
            # StringIO splits at newlines only; str.splitlines would also at form feeds and U+2028.
            lines = list(io.StringIO("".join(waiting), newline="\n"))
            yield lines, False
            waiting = []
        waiting.append(text[cut:])
    rest = "".join(waiting)
    yield ([rest] if rest else []), True


def _line_splits(path: str, fmt: Format, split_bytes: int) -> list[Split]:
    with open_feed(path) as stream:
        head = stream.read(HEAD_BYTES)
        codec, mark = encoding_of(path, head, fmt)
        size = 0 if is_packed(path) else stream.seek(0, os.SEEK_END)
        if size <= split_bytes or not one_byte_signs(codec) or b"\n" not in head:
            return [Split(path)]
        starts = [0]
        for wanted in range(split_bytes, size, split_bytes):
            if wanted > starts[-1]:
                stream.seek(wanted - 1)
                stream.readline()
                if starts[-1] < stream.tell() < size:
                    starts.append(stream.tell())
        blank = re.compile(rb"\n\r*(?=\n)" if fmt.kind == "csv" else rb"\n[ \t\r]*(?=\n)")
        records, line = (0 if fmt.kind == "csv" and fmt.header else 1), 1
        found = []
        stream.seek(mark)
        for start, end in zip(starts, [*starts[1:], size]):
            # The header takes a line of the first piece and gives no record.
            found.append(Split(path, start, end, max(records, 1), line))
            while stream.tell() < end and end < size:
                piece = b"\n" + stream.read(min(CHUNK_BYTES, end - stream.tell()))
                if not piece.endswith(b"\n"):
                    piece += stream.readline()
                lines = piece.count(b"\n") - 1
                line += lines
                records += lines - sum(1 for _ in blank.finditer(piece))
    return found


# csv

_DELIMITER, _ESCAPED = "\ufdd0", "\ufdd1"
"""Stand for a delimiter of several characters, as the csv module takes one: Unicode keeps them out of all texts.

Should a text hold them all the same, they are written as `_ESCAPED` and a digit while it is parsed.
"""


def _csv_texts(split: Split, fmt: Format) -> Iterator[tuple[list[str], bool]]:
    """`_lines`, with a delimiter of several characters replaced by `_DELIMITER`."""
    if len(fmt.delimiter) == 1:
        yield from _lines(split, fmt)
        return
    sign = re.compile((re.escape(fmt.escape) + r"[\s\S]|" if fmt.escape else "") + re.escape(fmt.delimiter))
    for lines, last in _lines(split, fmt):
        for i, line in enumerate(lines):
            if _DELIMITER in line or _ESCAPED in line:
                line = line.replace(_ESCAPED, _ESCAPED + "0").replace(_DELIMITER, _ESCAPED + "1")
            if fmt.escape and fmt.escape in line:
                # What is escaped starts no delimiter.
                lines[i] = sign.sub(lambda m: _DELIMITER if m[0] == fmt.delimiter else m[0], line)
            else:
                lines[i] = line.replace(fmt.delimiter, _DELIMITER)
        yield lines, last


def _restored(text: str, delimiter: str) -> str:
    """A text out of `_csv_texts` as it was in the file."""
    if len(delimiter) > 1 and (_DELIMITER in text or _ESCAPED in text):
        return text.replace(_DELIMITER, delimiter).replace(_ESCAPED + "1", _DELIMITER).replace(_ESCAPED + "0", _ESCAPED)
    return text


def _csv_blocks(split: Split, fmt: Format) -> Iterator[Block]:
    escaped = quoted(fmt.delimiter)[1:-1]
    for block in _csv_parsed(split, fmt):
        if len(fmt.delimiter) > 1:
            problems = block.problems or [None] * len(block.payloads)
            block.payloads = [
                _restored(text, fmt.delimiter)[:RAW_LIMIT] if problem else _restored(text, escaped)
                for text, problem in zip(block.payloads, problems)
            ]
        yield block


def _csv_parsed(split: Split, fmt: Format) -> Iterator[Block]:
    names = _csv_names(split.path, fmt) if split.start else (fmt.columns and unique_names(fmt.columns))
    number, line, waiting, straight, lines = split.first_record, split.first_line, [], True, []
    for block, last in _csv_texts(split, fmt):
        if last and block and not block[-1].endswith("\n"):
            # After an escaped line end the csv module takes the end of a line for its end only with a newline.
            block[-1] += "\n"
        lines = waiting + block if waiting else block
        if names is None:
            names, first = _csv_header(split.path, lines, last, fmt)
            if names is None:
                waiting = lines
                continue
            lines = lines[first:]
            line += first
        width, template = len(names), payload_template(names)
        payloads = _straight(lines, width, template, fmt) if straight else None
        if payloads is not None:
            yield Block(range(number, number + len(lines)), range(line, line + len(lines)), payloads, None)
            number += len(lines)
            line += len(lines)
            waiting = []
            continue
        found, end = Block([], [], [], []), 0
        for start, end, row, why in _csv_records(lines, last, width, fmt):
            if row == []:
                continue
            problem = why or _csv_problem(row, names, lines, start, end, fmt)
            found.numbers.append(number)
            found.lines.append(line + start)
            found.problems.append(problem)
            found.payloads.append(
                "".join(lines[start:end])[:RAW_LIMIT].rstrip("\r\n") if problem else template % tuple(map(quoted, row))
            )
            number += 1
        # Where most records span lines the straight way is work for nothing.
        straight = end < 2 * len(found.payloads)
        if found.payloads:
            yield found
        line += end
        waiting = lines[end:]
    if names is None or (fmt.columns and number == 1 and split.end is None):
        raise file_problem(split.path, "empty: no header" if fmt.header else "empty: no records")


def _straight(lines: list[str], width: int, template: str, fmt: Format) -> list[str] | None:
    """Payloads of lines that are all records without any problem; None where they are not."""
    try:
        rows = list(csv.reader(lines, strict=True, **_dialect(fmt)))
    except csv.Error:
        return None
    # As many rows as lines: none spans two. One width: no blank line, none broken.
    if len(rows) != len(lines) or set(map(len, rows)) - {width} or max(map(len, lines), default=0) > fmt.max_field:
        return None
    payloads = [template % tuple(map(quoted, row)) for row in rows]
    return None if any("\\u0000" in payload for payload in payloads) else payloads


def _csv_records(
    lines: list[str], last: bool, width: int | None, fmt: Format
) -> Iterator[tuple[int, int, list[str] | None, str | None]]:
    """(Start, end, fields, why not) of records in `lines`; fields [] for a blank line.

    A record that the end of `lines` cuts off is left for the next call unless they are the `last`.
    """
    limit = fmt.max_lines if fmt.multiline else 1
    start = base = 0
    reader = csv.reader(lines, strict=True, **_dialect(fmt))
    while start < len(lines):
        row, why, still_open = None, None, False
        try:
            row = next(reader)
        except csv.Error as error:
            still_open = str(error) == "unexpected end of data"
        span = base + reader.line_num - start
        if row is not None:
            if span == 1 or (span <= limit and (width is None or len(row) == width)):
                yield start, start + span, row, None
                start += span
                continue
            if span <= limit:
                why = (
                    f"broken_record: a quote takes in {span} lines and gives {len(row)} fields, the header has {width}"
                )
        elif still_open and span < limit and not last:
            return
        elif span == 1 and not still_open:
            row, why = _csv_line(lines[start], fmt)
            if width is None:  # of a header every sign counts
                why = why or "text follows a closing quote"
        elif still_open and span <= limit:
            why = "broken_record: a quote opens and is never closed"
        elif span <= limit:
            why = f"broken_record: a quote closes in the middle of a field {span - 1} lines on"
        if span > limit:
            row = None
            if fmt.multiline:
                why = f"record_too_long: a quote opens and is not closed within max_lines {limit}"
            else:
                why = "broken_record: a quote is not closed on its line, and `multiline` is false"
        elif why:
            row = None
        yield start, start + 1, row, why
        start += 1
        if span > 1:
            reader, base = csv.reader(islice(lines, start, None), strict=True, **_dialect(fmt)), start


def _csv_line(line: str, fmt: Format) -> tuple[list[str] | None, str | None]:
    """Fields of one line with text behind a closing quote: taken as the csv module takes it, if the line is whole."""
    reader = csv.reader([line, ""], **_dialect(fmt))
    try:
        row = next(reader)
    except csv.Error:
        return None, "broken_record: a carriage return inside a field without quotes"
    if reader.line_num > 1:
        return None, "broken_record: text follows a closing quote, and another quote is not closed"
    return row, None


def _csv_problem(row: list[str], names: list[str], lines: list[str], start: int, end: int, fmt: Format) -> str | None:
    if len(row) != len(names):
        return f"broken_record: {len(row)} fields, the header has {len(names)}"
    if any("\0" in line for line in lines[start:end]):
        return "broken_record: zero bytes"
    if sum(map(len, lines[start:end])) > fmt.max_field:
        return too_long(dict(zip(names, row)), fmt.max_field)
    return None


def _csv_header(path: str, lines: list[str], last: bool, fmt: Format) -> tuple[list[str] | None, int]:
    """(Field names, lines they take); None where `lines` do not hold the whole header yet."""
    for start, end, row, why in _csv_records(lines, last, None, fmt):
        if why:
            raise file_problem(
                path, f"the header cannot be read ({why}); are `quote` and `delimiter` right?", start + 1
            )
        if row:
            return unique_names([_restored(name, fmt.delimiter) for name in row]), end
    return None, 0


def _csv_names(path: str, fmt: Format) -> list[str]:
    if fmt.columns:
        return unique_names(fmt.columns)
    waiting = []
    for block, last in _csv_texts(Split(path), fmt):
        waiting += block
        if last and waiting:
            waiting[-1] += "\n"
        names, _ = _csv_header(path, waiting, last, fmt)
        if names is not None:
            return names
    raise file_problem(path, "empty: no header")


def _dialect(fmt: Format) -> dict[str, Any]:
    return {
        "delimiter": fmt.delimiter if len(fmt.delimiter) == 1 else _DELIMITER,
        "quotechar": fmt.quote or '"',
        "quoting": csv.QUOTE_MINIMAL if fmt.quote else csv.QUOTE_NONE,
        "escapechar": fmt.escape,
        "doublequote": True,
    }


# jsonl and json

_AS_TEXT = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str).decode
"""Numbers as written: `100.0` stays `100.0`."""


class _Number(str):
    """A number as written, told apart from a text when a nested value is written again."""


_AS_WRITTEN = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=str).decode


def _compact(value: Any) -> str:
    """A JSON value as compact JSON text, numbers as written."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{quoted(key)}:{_compact(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_compact, value)) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)  # int and Decimal


def _as_field(value: Any) -> str | None:
    """A JSON value as a field's text: a text as it is, null as None, anything else as compact JSON."""
    return value if value is None or isinstance(value, str) else _compact(value)


def _jsonl_blocks(split: Split, fmt: Format) -> Iterator[Block]:
    number, line = split.first_record, split.first_line
    templates: dict[tuple[str, ...], str] = {}
    for lines, _ in _lines(split, fmt):
        found = Block([], [], [], [])
        for text in lines:
            text = text.strip(" \t\r\n")
            if text:
                payload, problem = _jsonl_line(text, fmt, templates)
                found.numbers.append(number)
                found.lines.append(line)
                found.payloads.append(payload)
                found.problems.append(problem)
                number += 1
            line += 1
        if found.payloads:
            yield found
    if number == 1 and split.end is None:
        raise file_problem(split.path, "empty: no records")


def _jsonl_line(text: str, fmt: Format, templates: dict[tuple[str, ...], str]) -> tuple[str, str | None]:
    """(Payload, problem) of a line. `templates` keeps the payload's shape by field names: most lines share one."""
    try:
        record = _AS_TEXT(text)
        if record.__class__ is not dict:
            return text[:RAW_LIMIT], "broken_record: a JSON value that is not an object"
        if any(value.__class__ is dict or value.__class__ is list for value in record.values()):
            record = {name: _as_field(value) for name, value in _AS_WRITTEN(text).items()}
    except json.JSONDecodeError as error:
        return text[:RAW_LIMIT], f"broken_record: not JSON: {error.msg} at character {error.pos + 1}"
    except RecursionError:
        return text[:RAW_LIMIT], "broken_record: JSON nested too deeply"
    names = tuple(record)
    template = templates.get(names)
    if template is None:
        if len(templates) > 1000:  # a feed whose records all differ must not fill the memory
            templates.clear()
        template = templates[names] = payload_template(names)
    if len(text) > fmt.max_field and (problem := too_long({n: _as_field(v) for n, v in record.items()}, fmt.max_field)):
        return text[:RAW_LIMIT], problem
    values = record.values()
    return template % tuple([quoted(v) if v.__class__ is str else _literal(v) for v in values]), None


def _literal(value: Any) -> str:
    text = _as_field(value)
    return "null" if text is None else quoted(text)


def _json_blocks(split: Split, fmt: Format) -> Iterator[Block]:
    return _gathered(_json_rows(split, fmt))


def _json_rows(split: Split, fmt: Format) -> Iterator[Row]:
    """Items of the array at `items`. The parser is fed line by line: where an item starts is the line being fed."""
    events = ijson.sendable_list()
    parser = ijson.parse_coro(events)
    container = fmt.items.rpartition(".")[0]
    in_array = found_array = False
    number, line, started = 0, 1, 1
    depth, key, fields, builder = 0, "", {}, None
    at_start = True
    for text in text_chunks(split.path, fmt):
        for piece in io.StringIO(text, newline="\n"):
            at_start = at_start and not piece.strip()
            _send(parser, piece.encode(), split.path, line)
            for prefix, event, value in events:
                if depth:
                    if builder is not None:
                        builder.event(event, value)
                    if event == "start_map" or event == "start_array":
                        depth += 1
                        if builder is None:
                            builder = ijson.ObjectBuilder()
                            builder.event(event, value)
                    elif event == "end_map" or event == "end_array":
                        depth -= 1
                        if depth == 1:
                            fields[key] = _compact(builder.value)
                            builder = None
                        elif depth == 0:
                            number += 1
                            problem = too_long(fields, fmt.max_field)
                            payload = as_object(fields)
                            yield number, started, payload[:RAW_LIMIT] if problem else payload, problem
                    elif builder is None:
                        if event == "map_key":
                            key = value
                        else:
                            fields[key] = _as_field(value)
                elif in_array and prefix == fmt.items:
                    # An item that is no object: its scalar, or the brackets of an array whose content is passed over.
                    if event == "start_map":
                        depth, fields, started = 1, {}, line
                    elif event != "end_array":
                        number += 1
                        text_of = "[...]" if event == "start_array" else _compact(value)
                        yield number, line, text_of[:RAW_LIMIT], "broken_record: an array item that is not an object"
                elif prefix == container and event in ("start_array", "end_array"):
                    in_array = event == "start_array"
                    found_array = True
            events.clear()
            line += piece.endswith("\n")
    if at_start:
        raise file_problem(split.path, "empty: no JSON")
    _send(parser, None, split.path, line)
    if not found_array:
        raise file_problem(split.path, f"no array at `items: {fmt.items}`")


def _send(parser: Any, piece: bytes | None, path: str, line: int) -> None:
    try:
        if piece is None:
            parser.close()
        else:
            parser.send(piece)
    except ijson.IncompleteJSONError as error:
        reason = str(error).splitlines()[0] if str(error) else "incomplete"
        what = f"the JSON is broken or cut off here ({reason}); fetch the file again or have its sender mend it"
        raise file_problem(path, what, line) from None
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise file_problem(path, f"the JSON is broken here ({str(error).splitlines()[0]})", line) from None


# xml


def _xml_blocks(split: Split, fmt: Format) -> Iterator[Block]:
    return _gathered(_xml_rows(split, fmt))


def _xml_rows(split: Split, fmt: Format) -> Iterator[Row]:
    number = depth = 0
    encoding = xml_encoding(split.path, fmt)
    with open_feed(split.path) as stream:
        tree = etree.iterparse(
            stream,
            events=("start", "end"),
            tag="{*}" + fmt.record,
            encoding=encoding,
            **HARDENED,
            remove_comments=True,
            remove_pis=True,
        )
        try:
            for event, element in tree:
                depth += 1 if event == "start" else -1
                if event == "start" and depth == 1:
                    line = element.sourceline
                if event == "end" and depth == 0:
                    number += 1
                    fields = _xml_fields(element)
                    problem = too_long(fields, fmt.max_field)
                    payload = as_object(fields)
                    yield number, line, payload[:RAW_LIMIT] if problem else payload, problem
                    _forget(element)
        except etree.XMLSyntaxError as error:
            raise broken_xml(split.path, error) from None


def _forget(element: Any) -> None:
    """Drop a read record and all that came before it, so that the tree never grows."""
    element.clear()
    for node in (element, *element.iterancestors()):
        while node.getprevious() is not None:
            del node.getparent()[0]


def _xml_fields(element: Any) -> dict[str, str | None]:
    return {name: _as_field(value) for name, value in _xml_children(element).items()}


def _xml_children(element: Any) -> dict[str, Any]:
    """Attributes as `@name`, children by local name, their attributes as `child@name`; a repeated name is a list."""
    found: dict[str, list[Any]] = {}
    for name, value in element.attrib.items():
        found.setdefault("@" + _local(name), []).append(value)
    has_children = False
    for child in element:
        if isinstance(child.tag, str):
            has_children = True
            name = _local(child.tag)
            nested = any(isinstance(below.tag, str) for below in child)
            inner = _xml_children(child) if nested else _xml_text(child)
            found.setdefault(name, []).append(inner)
            for attribute, value in child.attrib.items():
                if not nested:
                    found.setdefault(f"{name}@{_local(attribute)}", []).append(value)
    text = _xml_text(element).strip()
    if text or not (has_children or found):
        found["#text"] = [text]
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _xml_text(element: Any) -> str:
    """The element's own text; an entity that was not expanded stays `&name;`."""
    if not len(element):
        return element.text or ""
    parts = [element.text or ""]
    for child in element:
        if not isinstance(child.tag, str):
            parts.append(child.text or "")
        parts.append(child.tail or "")
    return "".join(parts)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


# parquet


def _row_group_splits(path: str, split_bytes: int) -> list[Split]:
    with open_parquet(path) as file:
        metadata = file.metadata
        packed = is_packed(path)
        found, start, size, first, record = [], 0, 0, 1, 1
        for group in range(metadata.num_row_groups):
            size += metadata.row_group(group).total_byte_size
            record += metadata.row_group(group).num_rows
            if (size >= split_bytes and not packed) or group + 1 == metadata.num_row_groups:
                found.append(Split(path, start, group + 1, first))
                start, size, first = group + 1, 0, record
    return found or [Split(path, 0, 0)]


def _parquet_blocks(split: Split, fmt: Format) -> Iterator[Block]:
    with open_parquet(split.path) as file:
        names = unique_names(file.schema_arrow.names)
        template = payload_template(names)
        number = split.first_record
        end = file.metadata.num_row_groups if split.end is None else split.end
        for group in range(split.start, end):
            about = file.metadata.row_group(group)
            rows = max(1, min(BATCH_ROWS, BATCH_CHARS * max(about.num_rows, 1) // max(about.total_byte_size, 1)))
            for batch in file.iter_batches(batch_size=rows, row_groups=[group]):
                columns = [_column_texts(column) for column in batch.columns]
                payloads, problems, wrong = [], [], False
                longest = max((len(text) for column in columns for text in column if text is not None), default=0)
                for values in zip(*columns) if columns else [()] * batch.num_rows:
                    payload = template % tuple(["null" if value is None else quoted(value) for value in values])
                    problem = too_long(dict(zip(names, values)), fmt.max_field) if longest > fmt.max_field else None
                    wrong = wrong or problem is not None
                    payloads.append(payload[:RAW_LIMIT] if problem else payload)
                    problems.append(problem)
                numbers = range(number, number + batch.num_rows)
                yield Block(numbers, [None] * batch.num_rows, payloads, problems if wrong else None)
                number += batch.num_rows


def _column_texts(column: pa.Array) -> list[str | None]:
    """A column as texts: scalars as Arrow writes them, lists and structs as compact JSON, other bytes as base64."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_nested(kind):
        return [value if value is None else _nested_text(value) for value in column.to_pylist()]
    try:
        return pc.cast(column, pa.string()).to_pylist()
    except pa.ArrowInvalid:
        return [value if value is None else base64.b64encode(value).decode() for value in column.to_pylist()]
    except pa.ArrowNotImplementedError:
        return [value if value is None else str(value) for value in column.to_pylist()]


def _nested_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


_READERS: dict[str, Callable[[Split, Format], Iterator[Block]]] = {
    "csv": _csv_blocks,
    "jsonl": _jsonl_blocks,
    "json": _json_blocks,
    "xml": _xml_blocks,
    "parquet": _parquet_blocks,
    "excel": lambda split, fmt: _gathered(excel.rows(split.path, fmt)),
    "sql": lambda split, fmt: _gathered(sqldump.rows(split.path, fmt)),
}
