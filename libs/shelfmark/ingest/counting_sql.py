"""Count the records of a table in an SQL dump without the code that reads them.

It follows the definition of a record in `sqldump`, over bytes and with state machines (numba) where that one uses
regular expressions over text. Whatever stops the reader on its way is found here as well, and one thing more: a dump
that begins as mysqldump or pg_dump begin and does not end as they end is cut off, even where it ends with a statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numba
import numpy as np

from shelfmark.ingest import formats
from shelfmark.ingest.formats import (
    HEAD_BYTES,
    Format,
    encoding_of,
    file_problem,
    one_byte_signs,
    open_feed,
    sql_dialect,
    text_chunks,
)

LOOK_AHEAD = 1 << 18
"""Bytes of a statement looked at to tell what it is, as far as the reader looks."""

_SIGNED = {
    b"-- MySQL dump": b"-- Dump completed",
    b"-- MariaDB dump": b"-- Dump completed",
    b"-- PostgreSQL database dump": b"-- PostgreSQL database dump complete",
}
"""First and last words of whole dumps."""

_TOKEN = re.compile(rb'\s*(`(?:``|[^`])+`|"(?:""|[^"])+"|[\w$\x80-\xff]+|[^\s\w])')
_MODIFIERS = {
    b"INSERT": {b"LOW_PRIORITY", b"DELAYED", b"HIGH_PRIORITY", b"IGNORE", b"INTO"},
    b"REPLACE": {b"LOW_PRIORITY", b"DELAYED", b"INTO"},
    b"CREATE": {b"GLOBAL", b"LOCAL", b"TEMPORARY", b"TEMP", b"UNLOGGED", b"OR", b"REPLACE"},
}
_OTHER, _INSERT, _COPY, _CREATE, _DATABASE, _COMMAND, _DELIMITER = range(7)


class _Bytes:
    """What is looked at of a dump, from a byte before `at` on; `codes` are the same bytes for the state machines."""

    def __init__(self, path: str, fmt: Format) -> None:
        self.path, self.at, self.last, self.line, self.tail = path, 0, False, 1, b""
        self._pieces = _pieces(path, fmt)
        self._set(b"")

    def _set(self, data: bytes) -> None:
        self.data, self.codes = data, np.frombuffer(data, np.uint8)

    def more(self) -> bool:
        waiting = len(self.data) - self.at
        if self.last:
            return False
        self.limit(waiting)
        keep = max(0, self.at - 1)
        self.line += self.data.count(b"\n", 0, keep)
        parts, size = [self.data[keep:]], 0
        while size < max(waiting, formats.CHUNK_BYTES) and not self.last:
            piece = next(self._pieces, None)
            self.last = piece is None
            parts.append(piece or b"\n")
            size += len(parts[-1])
        self._set(b"".join(parts))
        self.at -= keep
        self.tail = self.data[-4096:]
        return True

    def limit(self, size: int) -> None:
        if size > formats.LINE_LIMIT:
            self.refuse(f"a row or statement of more than {formats.LINE_LIMIT:,} bytes, or a quote never closed")

    def refuse(self, what: str, line: int | None = None) -> None:
        raise file_problem(self.path, what, self.here() if line is None else line)

    def here(self) -> int:
        return self.line + self.data.count(b"\n", 0, self.at)


def _pieces(path: str, fmt: Format) -> Iterator[bytes]:
    with open_feed(path) as stream:
        codec, mark = encoding_of(path, stream.read(HEAD_BYTES), fmt)
    if not one_byte_signs(codec):
        yield from (text.encode() for text in text_chunks(path, fmt))
        return
    with open_feed(path) as stream:
        stream.read(mark)
        while data := stream.read(formats.CHUNK_BYTES):
            yield data


def count_sql(path: str, fmt: Format) -> int:
    """Records of `fmt.table` in a dump. Raises `FileProblem` where it cannot be read to its end."""
    mysql = sql_dialect(path, fmt) == "mysql"
    wanted = [part.casefold() for part in fmt.table.split(".")]
    dump = _Bytes(path, fmt)
    dump.more()
    signed = next((words for words in _SIGNED if dump.data[:4096].lstrip().startswith((words, b"--\n" + words))), None)
    records, database, met = 0, "", set()
    while _next_statement(dump):
        kind, name, end, readable = _told(dump.data[dump.at : dump.at + LOOK_AHEAD])
        full = tuple(name) if mysql and len(name) > 1 else (database, *name)
        ours = bool(name) and [part.casefold() for part in full[-len(wanted) :]] == wanted
        if ours and kind in (_INSERT, _COPY, _CREATE):
            met.add(full)
            if len(met) > 1:
                dump.refuse(f"`table: {fmt.table}` is two tables of the dump; write it with its schema")
            if not readable:
                dump.refuse(f"a statement of the table {fmt.table} that is no list of VALUES and no plain COPY")
        if kind == _DATABASE:
            database = name[0]
        if kind in (_DATABASE, _COPY, _DELIMITER) or (kind == _INSERT and ours):
            dump.at += end
        elif kind == _COMMAND:
            while (end := dump.data.find(b"\n", dump.at)) < 0 and dump.more():
                pass
            dump.at = end + 1
        if kind == _COPY:
            found = _copied_lines(dump)
            records += found if ours else 0
        elif kind == _DELIMITER:
            _to_delimiter_back(dump)
        elif kind == _INSERT and ours:
            records += _tuples(dump, mysql)
        elif kind in (_OTHER, _INSERT, _CREATE):
            _to_semicolon(dump, mysql)
    if not met:
        raise file_problem(path, f"no `table: {fmt.table}` in the dump")
    if signed is not None and _SIGNED[signed] not in dump.tail:
        words = _SIGNED[signed].decode()
        raise file_problem(path, f"the dump is cut off: its last words, `{words}`, are missing; fetch it again")
    return records


def _told(head: bytes) -> tuple[int, list[str], int, bool]:
    """(Kind, parts of the table's name, where its rows start, whether they can be read) of the statement `head`."""
    if head.startswith(b"\\"):
        first, end = head.partition(b"\n")[0], head.find(b"\n") + 1 or len(head)
        found = re.match(rb"\\c(?:onnect)?[ \t]+(.*)", first)
        part = _TOKEN.match(found[1].strip()) if found else None
        if part and part.end() == len(found[1].strip()) and part[1][:1] not in b"-'":
            return _DATABASE, [_plain(part[1])], end, True
        return _COMMAND, [], end, True
    tokens, at, ends = [], 0, []

    def token(index: int) -> bytes:
        nonlocal at
        while len(tokens) <= index:
            found = _TOKEN.match(head, at)
            if found is None:
                return b""
            at = found.end()
            tokens.append(found[1])
            ends.append(at)
        return tokens[index]

    word, i = token(0).upper(), 1
    if word == b"DELIMITER":
        return _DELIMITER, [], head.find(b"\n") + 1 or len(head), True
    if word == b"USE" and token(2) == b";":
        return _DATABASE, [_plain(token(1))], ends[2], True
    if word in (b"INSERT", b"REPLACE"):
        while (now := token(i).upper()) in _MODIFIERS[b"INSERT"] or now == b"OR":
            i += 2 if now == b"OR" else 1
    elif word == b"CREATE":
        while token(i).upper() in _MODIFIERS[b"CREATE"]:
            i += 1
        if token(i).upper() != b"TABLE":
            return _OTHER, [], 0, True
        i += 4 if [token(i + n).upper() for n in (1, 2, 3)] == [b"IF", b"NOT", b"EXISTS"] else 1
    elif word != b"COPY":
        return _OTHER, [], 0, True
    name = [token(i)]
    while token(i + 1) == b"." and token(i + 2):
        name.append(token(i + 2))
        i += 2
    i += 1
    parts = [_plain(part) for part in name]
    if word == b"CREATE":
        return (_CREATE, parts, 0, True) if token(i) == b"(" else (_OTHER, [], 0, True)
    if token(i) == b"(":
        while (now := token(i)) and now != b")":
            i += 1
        i += 1
    if word == b"COPY":
        if [token(i).upper(), token(i + 1).upper()] != [b"FROM", b"STDIN"]:
            return _OTHER, [], 0, True
        found = re.compile(rb"([^;\n]*);[ \t\r]*\n").match(head, ends[i + 1])
        return (_COPY, parts, found.end(), not found[1].strip()) if found else (_OTHER, [], 0, True)
    if token(i).upper() == b"OVERRIDING":
        i += 3
    readable = token(i).upper() in (b"VALUES", b"VALUE") and token(i + 1) == b"("
    return _INSERT, parts, ends[i + 1] - 1 if readable else 0, readable


def _plain(part: bytes) -> str:
    sign = part[:1]
    return (part[1:-1].replace(sign * 2, sign) if sign in (b"`", b'"') else part).decode("utf-8", "surrogateescape")


def _next_statement(dump: _Bytes) -> bool:
    while True:
        at, inside = _blank(dump.codes, dump.at)
        dump.at = at
        if not inside and len(dump.data) - at >= LOOK_AHEAD:
            return True
        if not dump.more():
            if inside:
                dump.refuse("the dump ends inside a comment: it is cut off")
            return at < len(dump.data)


def _to_semicolon(dump: _Bytes, mysql: bool) -> None:
    line = dump.here()
    while True:
        dump.at, found, longest = _skipped(dump.codes, dump.at, mysql)
        dump.limit(longest)
        if found:
            dump.at += 1
            return
        if not dump.more():
            dump.refuse("the dump ends inside this statement: it is cut off, or a quote stays open", line)


def _tuples(dump: _Bytes, mysql: bool) -> int:
    records = 0
    while True:
        found, dump.at, status, longest = _rows(dump.codes, dump.at, mysql, dump.last)
        dump.limit(longest)
        records += found
        if status == _AFTERWORDS:
            _to_semicolon(dump, mysql)
        if status in (_ENDED, _AFTERWORDS):
            return records
        if not dump.more() and status == _CUT:
            dump.refuse("the dump ends inside this row: it is cut off, or a quote stays open")


def _copied_lines(dump: _Bytes) -> int:
    records = 0
    while True:
        end = dump.data.find(b"\n", dump.at)
        if end < 0:
            if not dump.more():
                dump.refuse("the dump ends before the `\\.` of a COPY: it is cut off")
            continue
        # All whole lines at once, up to the one that ends the COPY.
        last = dump.data.rfind(b"\n") + 1
        stop = -1 if dump.data.startswith((b"\\.\n", b"\\.\r\n"), dump.at) else None
        if stop is None:
            found = [at for at in (dump.data.find(one, dump.at, last) for one in (b"\n\\.\n", b"\n\\.\r\n")) if at >= 0]
            stop = min(found, default=None)
        if stop is None:
            records += dump.data.count(b"\n", dump.at, last)
            dump.at = last
        else:
            records += dump.data.count(b"\n", dump.at, stop + 1) if stop >= 0 else 0
            dump.at = dump.data.index(b"\n", dump.at if stop < 0 else stop + 1) + 1
            return records


def _to_delimiter_back(dump: _Bytes) -> None:
    while True:
        found = re.compile(rb"^[ \t]*DELIMITER[ \t]+;[ \t\r]*\n", re.I | re.M).search(dump.data, dump.at)
        if found:
            dump.at = found.end()
            return
        if not dump.more():
            dump.refuse("DELIMITER is not set back to ; before the end")


# State machines. Each stops before what `codes` do not hold whole, so that it goes on there when they hold more.

_MORE, _ENDED, _AFTERWORDS, _CUT = range(4)
_NEWLINE, _QUOTE, _DOUBLE, _BACKSLASH = 10, 39, 34, 92
_OPEN, _CLOSE, _COMMA, _SEMICOLON, _COLON, _DASH, _SLASH, _STAR, _HASH, _BACKTICK, _DOLLAR = (
    40, 41, 44, 59, 58, 45, 47, 42, 35, 96, 36,
)  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _is_blank(c):  # pragma: no cover (compiled)
    return c == 32 or 9 <= c <= 13


@numba.njit(cache=True, nogil=True)
def _is_word(c):  # pragma: no cover (compiled)
    return 48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122 or c == 95 or c >= 128


@numba.njit(cache=True, nogil=True)
def _after(codes, at, first, second):  # pragma: no cover (compiled)
    """Place behind the next `first` (followed by `second`, if that is no -1); -1 if there is none."""
    for i in range(at, len(codes)):
        if codes[i] == first:
            if second < 0:
                return i + 1
            if i + 1 < len(codes) and codes[i + 1] == second:
                return i + 2
    return -1


@numba.njit(cache=True, nogil=True)
def _after_text(codes, at, mysql):  # pragma: no cover (compiled)
    """Place behind the text whose quote is at `at`; -1 if it is not whole with the byte behind it."""
    quote = codes[at]
    escapes = mysql or (quote == _QUOTE and at > 0 and (codes[at - 1] == 69 or codes[at - 1] == 101))
    i = at + 1
    while i + 1 < len(codes):
        c = codes[i]
        if escapes and c == _BACKSLASH:
            i += 2
        elif c != quote:
            i += 1
        elif codes[i + 1] == quote:
            i += 2
        else:
            return i + 1
    return -1


@numba.njit(cache=True, nogil=True)
def _blank(codes, at):  # pragma: no cover (compiled)
    """(Where the next statement starts, whether that is a comment that is not whole)."""
    size = len(codes)
    while at < size:
        c = codes[at]
        end = at + 1
        if c == _HASH or (c == _DASH and at + 1 < size and codes[at + 1] == _DASH):
            end = _after(codes, at, _NEWLINE, -1)
        elif c == _SLASH and at + 1 < size and codes[at + 1] == _STAR:
            end = _after(codes, at + 2, _STAR, _SLASH)
        elif not _is_blank(c) and c != _SEMICOLON:
            return at, False
        if end < 0:
            return at, True
        at = end
    return at, False


@numba.njit(cache=True, nogil=True)
def _after_dollars(codes, at):  # pragma: no cover (compiled)
    """Place behind the `$tag$ ... $tag$` at `at`, or behind a dollar that opens none; -1 if it is not whole."""
    size = len(codes)
    end = at + 1
    while end < size and _is_word(codes[end]):
        end += 1
    if end >= size:
        return -1
    if codes[end] != _DOLLAR:
        return at + 1
    length = end + 1 - at
    for i in range(end + 1, size - length + 1):
        same = True
        for k in range(length):
            if codes[i + k] != codes[at + k]:
                same = False
                break
        if same:
            return i + length
    return -1


@numba.njit(cache=True, nogil=True)
def _skipped(codes, at, mysql):  # pragma: no cover (compiled)
    """(Place reached, whether a `;` is there, longest text or comment)."""
    size = len(codes)
    longest = 0
    while at < size:
        c = codes[at]
        end = at + 1
        if c == _SEMICOLON:
            return at, True, longest
        if c in (_QUOTE, _DOUBLE):
            end = _after_text(codes, at, mysql)
        elif c == _BACKTICK and mysql:
            end = _after(codes, at + 1, _BACKTICK, -1)
        elif c == _HASH and mysql:
            end = _after(codes, at, _NEWLINE, -1)
        elif c == _DOLLAR and not mysql:
            end = _after_dollars(codes, at)
        elif c in (_DASH, _SLASH):
            if at + 1 >= size:
                end = -1
            elif c == _DASH and codes[at + 1] == _DASH:
                end = _after(codes, at, _NEWLINE, -1)
            elif c == _SLASH and codes[at + 1] == _STAR:
                end = _after(codes, at + 2, _STAR, _SLASH)
        if end < 0:
            break
        longest = max(longest, end - at)
        at = end
    return at, False, longest


@numba.njit(cache=True, nogil=True)
def _after_blanks(codes, at):  # pragma: no cover (compiled)
    while at < len(codes) and _is_blank(codes[at]):
        at += 1
    return at


@numba.njit(cache=True, nogil=True)
def _says(codes, at, word):  # pragma: no cover (compiled)
    """Whether the ASCII capitals `word`, in any case, stand at `at` as a whole word."""
    for i in range(len(word)):
        if at + i >= len(codes) or codes[at + i] & 0xDF != word[i]:
            return False
    end = at + len(word)
    return end >= len(codes) or not (_is_word(codes[end]))


_ON, _AS, _RETURNING = (np.frombuffer(word, np.uint8) for word in (b"ON", b"AS", b"RETURNING"))


@numba.njit(cache=True, nogil=True)
def _tuple_end(codes, start, mysql):  # pragma: no cover (compiled)
    """Place behind the tuple at `start`; -1 if it is not whole, -2 if it is not believed."""
    depth = 0
    at = start
    while at < len(codes):
        c = codes[at]
        at += 1
        if c == _OPEN:
            depth += 1
        elif c == _CLOSE:
            depth -= 1
            if depth == 0:
                return at
        elif c == _SEMICOLON:
            return -2
        elif c in (_QUOTE, _DOUBLE):
            at = _after_text(codes, at - 1, mysql)
            if at < 0:
                return -1
            c = codes[at]
            if not (c in (_COMMA, _CLOSE, _COLON) or _is_blank(c)):
                return -2
    return -1


@numba.njit(cache=True, nogil=True)
def _rows(codes, at, mysql, last):  # pragma: no cover (compiled)
    """(Tuples from `at`, place reached, what is there, longest tuple)."""
    size = len(codes)
    records = 0
    longest = 0
    while True:
        start = at
        end = _tuple_end(codes, start, mysql)
        if end == -1 and not last:
            return records, start, _MORE, longest
        status = _CUT
        if end >= 0:
            sign = _after_blanks(codes, end)
            following = _after_blanks(codes, sign + 1) if sign < size and codes[sign] == _COMMA else sign
            if size - following < 16 and not last:
                return records, start, _MORE, longest
            if sign < size and codes[sign] == _SEMICOLON:
                status, at = _ENDED, sign + 1
            elif following > sign and following < size and codes[following] == _OPEN:
                status, at = _MORE, following
            elif _says(codes, sign, _ON) or _says(codes, sign, _AS) or _says(codes, sign, _RETURNING):
                status, at = _AFTERWORDS, sign
        i = start + 1
        while status == _CUT and i < size:
            if codes[i] == _CLOSE:
                sign = _after_blanks(codes, i + 1)
                if sign < size and codes[sign] == _COMMA:
                    following = _after_blanks(codes, sign + 1)
                    if following < size and codes[following] == _OPEN:
                        status, at, end = _MORE, following, i + 1
                elif sign < size and codes[sign] == _SEMICOLON:
                    following = sign + 1
                    while following < size and (codes[following] in (32, 9, 13)):
                        following += 1
                    if following < size and codes[following] == _NEWLINE:
                        status, at, end = _ENDED, following + 1, i + 1
            i += 1
        if status == _CUT:
            return records, start, _CUT if last else _MORE, longest
        records += 1
        longest = max(longest, end - start)
        if status != _MORE:
            return records, at, status, longest
