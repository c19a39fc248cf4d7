"""Count a feed's records without the parsers that read them, so that the books have a second witness.

It follows the definition of a record in `readers` with state machines over characters (numba): no csv module, no
JSON parser, and no XML parser does the counting. A file is passed to its end, so whatever stops a reader on the way
(`FileProblem`: cut off, damaged, not in its encoding) is found here, before a record of it is written anywhere:
where a format's grammar asks for more than counting does (XML, JSON, Parquet), its parser runs over the file too and
keeps nothing.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import ijson
import numba
import numpy as np
from lxml import etree

from shelfmark.ingest import excel
from shelfmark.ingest.counting_sql import count_sql
from shelfmark.ingest.formats import (
    CHUNK_BYTES,
    HARDENED,
    XML_TEXT_LIMIT,
    Format,
    broken_xml,
    encoding_of,
    file_problem,
    open_feed,
    open_parquet,
    text_chunks,
    xml_encoding,
)

DEPTH_LIMIT = 1 << 14
"""Levels of JSON nesting followed; no feed comes near."""


def count(path: str, fmt: Format) -> int:
    """Records of a file, broken ones included, headers not. Raises `FileProblem` where it cannot be read to its end."""
    return _COUNTERS[fmt.kind](path, fmt)


def _codes(path: str, fmt: Format, signs: str = "") -> Iterator[np.ndarray]:
    """The text as arrays of UTF-8 bytes, or of code points where one of the `signs` to look for is not ASCII."""
    for text in text_chunks(path, fmt):
        if signs.isascii():
            yield np.frombuffer(text.encode(), np.uint8)
        else:
            yield np.frombuffer(text.encode("utf-32-le"), np.uint32)


# csv

_NEWLINE, _RETURN, _SPACE, _TAB = 10, 13, 32, 9
_START, _PLAIN, _QUOTED, _CLOSED, _AFTER_RETURN, _CARRIED = range(6)


def _count_csv(path: str, fmt: Format) -> int:
    signs = [fmt.delimiter, fmt.quote, fmt.escape]
    delimiter = np.array([ord(sign) for sign in fmt.delimiter], np.int64)
    quote, escape = (-1 if sign is None else ord(sign) for sign in signs[1:])
    limit = fmt.max_lines if fmt.multiline else 1
    width = len(fmt.columns) if fmt.columns else -1
    records, waiting = 0, None

    def pass_over(codes: np.ndarray, last: bool, most: int) -> tuple[int, int, int, bool]:
        return _csv_records(codes, last, delimiter, quote, escape, width, limit, most)

    for codes in _with_last(_codes(path, fmt, "".join(sign or "" for sign in signs))):
        last = codes is None
        codes = waiting if last else codes if waiting is None or not len(waiting) else np.concatenate([waiting, codes])
        if codes is None:
            break
        if width < 0:
            found, end, fields, believed = pass_over(codes, last, 1)
            if found:
                if not believed:
                    raise file_problem(path, "the header cannot be read: a quote is not closed or closes in a field", 1)
                width = fields
            codes = codes[end:]
        if width >= 0:
            found, end, _, _ = pass_over(codes, last, -1)
            records += found
            codes = codes[end:]
        waiting = codes
    if width < 0 or (fmt.columns and not records):
        raise file_problem(path, "empty: no header" if fmt.header else "empty: no records")
    return records


def _with_last(pieces: Iterator[np.ndarray]) -> Iterator[np.ndarray | None]:
    yield from pieces
    yield None


@numba.njit(cache=True, nogil=True)
def _at_delimiter(codes, at, delimiter, last):  # pragma: no cover (compiled)
    """1 where the delimiter starts at `at`, 0 where not, -1 where `codes` end before that is told."""
    for i in range(len(delimiter)):
        if at + i >= len(codes):
            return 0 if last else -1
        if codes[at + i] != delimiter[i]:
            return 0
    return 1


@numba.njit(cache=True, nogil=True)
def _csv_records(codes, last, delimiter, quote, escape, width, limit, most):  # pragma: no cover (compiled)
    """Records in `codes` until `most` (-1: all): (how many, where the first unfinished one starts, fields, believed).

    `width` -1: any number of fields. The last two speak of the last record. A record over several lines that is not
    believed counts as one and its second line is looked at again, as the definition of a record says.
    """
    size = len(codes)
    records = 0
    fields = 0
    believed = True
    start = 0
    while start < size and records != most:
        state = _START
        fields = 1
        lines = 1
        wrong = False
        second = -1  # where the second line starts
        empty = True  # nothing but returns so far
        at = start
        ended = False
        while at < size:
            c = codes[at]
            at += 1
            if state == _QUOTED:
                if c == escape:
                    if at == size:
                        break
                    c = codes[at]
                    at += 1
                elif c == quote:
                    state = _CLOSED
                    continue
                if c == _NEWLINE:
                    if second < 0:
                        second = at
                    lines += 1
                    if lines > limit:
                        wrong = True
                        break
                continue
            if c == _NEWLINE:
                ended = True
                break
            if wrong:
                continue
            if c == _RETURN:
                state = _AFTER_RETURN
                continue
            if state == _AFTER_RETURN:
                wrong = True
                empty = False
                if second >= 0:
                    break
                continue
            empty = False
            delimits = 0
            if c == delimiter[0]:
                delimits = 1 if len(delimiter) == 1 else _at_delimiter(codes, at - 1, delimiter, last)
                if delimits < 0:
                    break
                at += (len(delimiter) - 1) * delimits
            if state == _CLOSED:
                if c == quote:
                    state = _QUOTED
                elif delimits:
                    fields += 1
                    state = _START
                else:
                    wrong = True
                    if second >= 0:
                        break
            elif delimits:
                fields += 1
                state = _START
            elif state == _START and c == quote:
                state = _QUOTED
            elif c == escape:
                if at == size:
                    at += 1  # the escaped character is not here yet: not ended
                    break
                # An escaped line end carries the field over to the next line, which must be there.
                state = _CARRIED if codes[at] == _NEWLINE else _PLAIN
                if codes[at] == _NEWLINE:
                    if second < 0:
                        second = at + 1
                    lines += 1
                    if lines > limit:
                        wrong = True
                        break
                at += 1
            else:
                state = _PLAIN
        believed = not wrong
        if not ended and not (wrong and second >= 0):
            if not last:
                return records, start, fields, believed
            if state in (_QUOTED, _CARRIED) or at > size:
                believed = False  # open at the end of the file
        if second >= 0 and (not believed or (width >= 0 and fields != width)):
            believed = False
            records += 1
            start = second
            continue
        if not empty:
            records += 1
        start = min(at, size)
    return records, start, fields, believed


# jsonl


def _count_jsonl(path: str, fmt: Format) -> int:
    records, filled = 0, False
    for codes in _codes(path, fmt):
        found, filled = _filled_lines(codes, filled)
        records += found
    if not records + filled:
        raise file_problem(path, "empty: no records")
    return records + filled


@numba.njit(cache=True, nogil=True)
def _filled_lines(codes, filled):  # pragma: no cover (compiled)
    """(Lines ended in `codes` that hold more than blanks, whether the unfinished one does)."""
    records = 0
    for c in codes:
        if c == _NEWLINE:
            records += filled
            filled = False
        elif c > _SPACE or (c != _SPACE and c != _TAB and c != _RETURN):
            filled = True
    return records, filled


# json

_DEPTH, _TEXT, _ESCAPED, _CHAIN, _VALUE, _KEY, _MATCH, _ITEMS, _FOUND = range(9)


def _count_json(path: str, fmt: Format) -> int:
    parts = fmt.items.split(".")
    names = [b"" if part == "item" else part.encode() for part in parts]
    keys = np.frombuffer(b"".join(names), np.uint8)
    bounds = np.cumsum([0, *map(len, names)])
    state = np.zeros(9, np.int64)
    state[_VALUE] = 1
    kinds = np.zeros(DEPTH_LIMIT, np.uint8)
    seen = False
    for codes in _codes(path, fmt):
        _json_items(codes, keys, bounds, state, kinds)
        seen = seen or bool((codes > _SPACE).any())
    if not seen:
        raise file_problem(path, "empty: no JSON")
    _check_json(path, fmt)
    if not state[_FOUND]:
        raise file_problem(path, f"no array at `items: {fmt.items}`")
    return int(state[_ITEMS])


@numba.njit(cache=True, nogil=True)
def _json_items(codes, keys, bounds, state, kinds):  # pragma: no cover (compiled)
    """Count the items of the array at a path, brackets and quotes alone telling the structure.

    The path's parts are `keys[bounds[i]:bounds[i + 1]]`, an empty one an array's items. `state[_CHAIN]` is how many
    of the open brackets lie on the path; `kinds[d]` is the bracket that opened level d.
    """
    depth, text, escaped, chain = state[_DEPTH], state[_TEXT], state[_ESCAPED], state[_CHAIN]
    value, key, match, items = state[_VALUE], state[_KEY], state[_MATCH], state[_ITEMS]
    parts = len(bounds) - 1
    for c in codes:
        if text:
            if escaped:
                escaped = 0
                match = -1
            elif c == 92:  # backslash
                escaped = 1
            elif c == 34:  # quote
                text = 0
                if key and match >= 0 and match != bounds[depth] - bounds[depth - 1]:
                    match = -1
            elif key and match >= 0:
                begin = bounds[depth - 1]
                match = match + 1 if match < bounds[depth] - begin and keys[begin + match] == c else -1
            continue
        if c <= _SPACE:
            continue
        if value and c != 93 and c != 125:
            # A value starts: is it on the path, and is it an item?
            value = 0
            on_path = False
            if depth == 0:
                on_path = True
            elif depth == chain and depth <= parts:
                array = bounds[depth] == bounds[depth - 1]
                on_path = (kinds[depth] == 91) if array else (kinds[depth] == 123 and match >= 0)
                if on_path and depth == parts:
                    items += 1
                    on_path = False
            if c == 91 or c == 123:
                depth += 1
                if depth < len(kinds):
                    kinds[depth] = c
                if on_path:
                    chain = depth
                    if depth == parts and c == 91:
                        state[_FOUND] = 1
                value = 1 if c == 91 else 0
                key = 1 if c == 123 and depth == chain and depth <= parts else 0
                match = 0 if key and bounds[depth] != bounds[depth - 1] else -1
            elif c == 34:
                text = 1
                key = 0
        elif c == 34:
            text = 1  # a key
            key = 1 if depth == chain and 0 < depth <= parts else 0
            match = 0 if key and bounds[depth] != bounds[depth - 1] else -1
        elif c == 58:  # colon
            value = 1
        elif c == 44:  # comma
            value = 1 if depth < len(kinds) and kinds[depth] == 91 else 0
        elif c == 93 or c == 125:
            depth -= 1
            value = 0
            chain = min(chain, depth)
    state[_DEPTH], state[_TEXT], state[_ESCAPED], state[_CHAIN] = depth, text, escaped, chain
    state[_VALUE], state[_KEY], state[_MATCH], state[_ITEMS] = value, key, match, items


def _check_json(path: str, fmt: Format) -> None:
    """Raise `FileProblem` where the text is not JSON: its parser runs over it and nothing is kept."""
    for by_line in (False, True):  # whole pieces first; line by line only to say where it broke
        parser = ijson.basic_parse_coro(events := ijson.sendable_list(), use_float=True)
        line = 1
        try:
            for text in text_chunks(path, fmt):
                for part in io.StringIO(text, newline="\n") if by_line else (text,):
                    parser.send(part.encode())
                    events.clear()
                    line += part.count("\n")
            parser.close()
            return
        except (ijson.JSONError, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0]
    what = f"the JSON is broken or cut off here ({reason}); fetch the file again or have its sender mend it"
    raise file_problem(path, what, line)


# xml

_OUT, _OPEN, _NAME, _TAG, _ATTRIBUTE, _END_NAME, _BANG, _COMMENT, _CDATA, _INSTRUCTION, _DOCTYPE = range(11)


def _count_xml(path: str, fmt: Format) -> int:
    _check_xml(path, fmt)
    name = np.frombuffer(fmt.record.encode(), np.uint8)
    state = np.zeros(10, np.int64)
    for codes in _xml_codes(path, fmt):
        _xml_records(codes, name, state)
        if state[9] > XML_TEXT_LIMIT:
            what = f"record {state[7]} holds a text of more than {XML_TEXT_LIMIT:,} bytes, the limit of the XML parser"
            raise file_problem(path, f"{what}; have its sender leave it out")
    return int(state[7])


def _xml_codes(path: str, fmt: Format) -> Iterator[np.ndarray]:
    with open_feed(path) as stream:
        head = stream.peek(1)
        codec, mark = encoding_of(path, head, fmt)
    if codec.startswith(("utf-16", "utf-32")):
        yield from _codes(path, fmt)
        return
    # Every other encoding that XML feeds use keeps markup in ASCII bytes; the check has decoded the text.
    with open_feed(path) as stream:
        while data := stream.read(CHUNK_BYTES):
            yield np.frombuffer(data, np.uint8)[mark:]
            mark = 0


@numba.njit(cache=True, nogil=True)
def _xml_records(codes, name, state):  # pragma: no cover (compiled)
    """Count start tags of `name` that are in no element of that name, outside comments, CDATA and instructions.

    `match`: characters of the name that matched, -1 another name. `run`: closing characters in a row; `inside`:
    characters since a comment or CDATA section began. `depth`: open elements of the name. `sign`: the attribute's
    quote; in a document type how many brackets are open. `length`: characters since the last tag; `longest` of them.
    """
    place, match, run, inside, before, depth, sign, records, length, longest = state
    size = len(name)
    for c in codes:
        length += 1
        if place == _OUT:
            if c == 60:  # <
                place = _OPEN
        elif place == _OPEN:
            match, run, inside, sign = 0, 0, 0, 0
            if c == 33:  # !
                place = _BANG
            elif c == 63:  # ?
                place = _INSTRUCTION
            else:
                place = _END_NAME if c == 47 else _NAME  # /
                match = 0 if c == 47 else 1 if c == name[0] else -1
                longest = max(longest, length)
        elif place in (_NAME, _END_NAME):
            if c == 58:  # colon: that was a prefix
                match = 0
            elif c == 62 or c == 47 or c <= _SPACE:  # > / blank
                if match != size:
                    match = -1
                elif place == _NAME:
                    records += depth == 0
                    depth += 1
                else:
                    depth -= 1
                    match = -1
                place = _OUT if c == 62 else _TAG
                length = 0
            elif 0 <= match < size and c == name[match]:
                match += 1
            else:
                match = -1
        elif place == _TAG:
            if c == 34 or c == 39:
                place = _ATTRIBUTE
                sign = c
            elif c == 62:
                if before == 47 and match == size:
                    depth -= 1  # <item/>
                place = _OUT
                length = 0
        elif place == _ATTRIBUTE:
            if c == sign:
                place = _TAG
        elif place == _BANG:
            place = _COMMENT if c == 45 else _CDATA if c == 91 else _DOCTYPE
        elif place == _COMMENT:
            # `<!-` is behind; the next dash opens too, so `<!--->` is not closed and `<!---->` is.
            if c == 62 and run >= 2 and inside >= 3:
                place = _OUT
            run = run + 1 if c == 45 else 0
            inside += 1
        elif place == _CDATA:
            if c == 62 and run >= 2:
                place = _OUT
            run = run + 1 if c == 93 else 0
        elif place == _INSTRUCTION:
            if c == 62 and before == 63:
                place = _OUT
        elif c == 91:
            sign += 1
        elif c == 93:
            sign -= 1
        elif c == 62 and sign <= 0:
            place = _OUT
        before = c
    state[:] = (place, match, run, inside, before, depth, sign, records, length, longest)


class _Nothing:
    """A parser target that keeps nothing: the grammar is checked at the parser's own speed."""

    def close(self) -> None:
        return None


def _check_xml(path: str, fmt: Format) -> None:
    encoding = xml_encoding(path, fmt)
    with open_feed(path) as stream:
        parser = etree.XMLParser(target=_Nothing(), encoding=encoding, **HARDENED)
        try:
            while data := stream.read(CHUNK_BYTES):
                parser.feed(data)
            parser.close()
        except etree.XMLSyntaxError as error:
            raise broken_xml(path, error) from None


# parquet


def _count_parquet(path: str, fmt: Format) -> int:
    with open_parquet(path) as file:
        for group in range(file.metadata.num_row_groups):
            # Reading every page finds the damaged one; the count is the metadata's.
            for _ in file.iter_batches(batch_size=10_000, row_groups=[group]):
                pass
        return file.metadata.num_rows


_COUNTERS = {
    "csv": _count_csv,
    "jsonl": _count_jsonl,
    "json": _count_json,
    "xml": _count_xml,
    "parquet": _count_parquet,
    "excel": excel.count,
    "sql": count_sql,
}
