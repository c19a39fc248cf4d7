"""Records of one table of an SQL dump, read in a stream: MySQL's and PostgreSQL's `INSERT`, PostgreSQL's `COPY`.

What a record is (`counting_sql` follows the same definition with code of its own):

- A dump is a row of statements, each up to its `;` outside of texts, comments and PostgreSQL's `$tag$` texts. What
  stands in comments (MySQL's `/*! */` too) and between `DELIMITER` lines (the bodies of routines) is passed over.
- Of `INSERT INTO <the table> ... VALUES (...), (...);` each **tuple** is a record. It is believed if its texts and
  brackets close, a comma, bracket, blank or cast follows each text, and a comma and the next tuple, `;`, or `ON`, `AS`
  or `RETURNING` follow the tuple. Otherwise a stray quote is the likelier story: **what lies before the next
  `), (` or `);` at the end of a line is one (rejected) record and reading resumes behind it**.
- Of `COPY <the table> ... FROM stdin;` each **line** up to `\\.` is a record.

Not in memory at once is more than a tuple, a line of COPY or another single text of the dump; of `LINE_LIMIT` at the
most, the largest packet MySQL takes by default. A believed record is rejected (`broken_record`) that has not as many
values as its statement has columns, or a value that is no literal or no text in the file's encoding.
"""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

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
from shelfmark.ingest.records import RAW_LIMIT, Row, payload_template, quoted, too_long, unique_names

HEAD_LIMIT = 1 << 18
"""Characters in which a statement says what it is: 4,096 columns, the most MySQL has, with names of 62 characters."""

TAIL_CHARS = 16
"""Characters that tell what follows a tuple: `RETURNING` and some."""

SHOWN = 12
"""Tables named in a message."""


def rows(path: str, fmt: Format) -> Iterator[Row]:
    """Records of `fmt.table`. Raises `FileProblem`: a statement that does not end, no such table, two tables of the
    name, an `INSERT` of our table that is no list of values."""
    dialect, text = sql_dialect(path, fmt), _Text(path, fmt)
    definition, number = None, 0
    for kind, listed in _of_table(text, dialect, fmt):
        if kind == "CREATE":
            definition = _skip(text, dialect)
            continue
        names, nameless = _names(listed, definition, fmt, dialect)
        read = _copied if kind == "COPY" else _inserted
        for line, payload, problem in read(text, dialect, names, fmt.max_field):
            number += 1
            if problem or nameless:
                payload, problem = payload[:RAW_LIMIT], problem or nameless
            yield number, line, payload, problem


def columns(path: str, fmt: Format) -> list[str]:
    """Field names of `fmt.table`: of its CREATE TABLE, else of its first statement with data. Raises `FileProblem`."""
    dialect, text = sql_dialect(path, fmt), _Text(path, fmt)
    definition = None
    for kind, listed in _of_table(text, dialect, fmt):
        if kind == "CREATE":
            definition = _skip(text, dialect)
        names, nameless = _names(listed, definition, fmt, dialect)
        if names:
            return names
        if kind != "CREATE":
            raise file_problem(path, f"{nameless.partition(': ')[2]}; list them in `columns`", text.line())
    return []


def tables(path: str, fmt: Format, enough: Callable[[str], object]) -> list[str]:
    """Names of the tables with data in a dump, up to the first that is `enough`. Raises `FileProblem`."""
    dialect, text = sql_dialect(path, fmt), _Text(path, fmt)
    found: dict[str, None] = {}
    for kind, name in (one[:2] for one in _statements(text, dialect)):
        _pass_over(text, kind, dialect)
        if kind != "CREATE":
            found[name[-1]] = None
            if enough(name[-1]):
                break
    return list(found)


# Statements


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


# Blanks and words are ASCII's (re.ASCII), and any other character may be of a name: as a scanner of bytes sees them.
_WORD = r"[\w\x80-\U0010ffff]"
_NAME = r'(?:`(?:[^`]|``)*+`|"(?:[^"]|"")*+"|[\w$\x80-\U0010ffff]++)'
_TABLE = rf"({_NAME}(?:\s*+\.\s*+{_NAME})*+)"
_COLUMNS = rf"(\((?:\s*+{_NAME}\s*+,?)*+\))?"
_NAMES = _compiled(_NAME)
_INSERT = _compiled(
    r"(?i:INSERT|REPLACE)\b(?:\s++(?i:LOW_PRIORITY|DELAYED|HIGH_PRIORITY|IGNORE|OR\s++\w++)\b)*+(?:\s++(?i:INTO)\b)?"
    rf"\s*+{_TABLE}\s*+{_COLUMNS}\s*+(?i:OVERRIDING\s++(?:SYSTEM|USER)\s++VALUE\s++)?(?i:(VALUES?)\s*+(?=\())?"
)
_COPY = _compiled(rf"(?i:COPY)\s++{_TABLE}\s*+{_COLUMNS}\s*+(?i:FROM\s++STDIN)\b([^;\n]*+);[ \t\r]*+\n")
_CREATE = _compiled(
    r"(?i:CREATE)\s++(?:(?i:GLOBAL|LOCAL|TEMPORARY|TEMP|UNLOGGED|OR|REPLACE)\s++)*+(?i:TABLE)\s++"
    rf"(?:(?i:IF\s++NOT\s++EXISTS)\s++)?{_TABLE}\s*+\("
)
_DATABASE = _compiled(rf"(?i:USE)\s++({_NAME})\s*+;|\\c(?:onnect)?[ \t]++({_NAME})[ \t\r]*+\n")
_DELIMITER = _compiled(r"(?i:DELIMITER)[ \t]++[^\n]*+\n")
_DELIMITER_BACK = _compiled(r"(?im)^[ \t]*+DELIMITER[ \t]++;[ \t\r]*+\n")
_BLANK = _compiled(r"(?:\s++|--[^\n]*+\n|#[^\n]*+\n|/\*[\s\S]*?\*/|;)*+")

# Texts. Each needs the character behind it, so that a quote at the end of a piece is not taken for the last one.
_BACKSLASHED = r"'[^'\\]*+(?:(?:\\[\s\S]|'')[^'\\]*+)*+'"
_STANDARD = r"'[^']*+(?:''[^']*+)*+'"
_TEXT_OF = {
    "mysql": rf'(?:{_BACKSLASHED}|"[^"\\]*+(?:(?:\\[\s\S]|"")[^"\\]*+)*+")(?=[\s\S])',
    "postgres": rf'(?:(?<=[eE]){_BACKSLASHED}|(?<![eE]){_STANDARD}|"[^"]*+(?:""[^"]*+)*+")(?=[\s\S])',
}
_COMMENT = r"--[^\n]*+\n|/\*[\s\S]*?\*/|-(?=[^-])|/(?=[^*])"
_SKIP = {
    # A single sign counts only when what follows tells that no comment and no $tag$ starts with it.
    "mysql": _compiled(rf"(?:[^'\"`;#/-]++|{_TEXT_OF['mysql']}|`[^`]*+`|#[^\n]*+\n|{_COMMENT})*+"),
    "postgres": _compiled(
        rf"(?:[^'\";$/-]++|{_TEXT_OF['postgres']}|\$(?P<tag>{_WORD}*+)\$[\s\S]*?\$(?P=tag)\$|\$(?={_WORD}*+[^\w$\x80-\U0010ffff])|{_COMMENT})*+"
    ),
}
_TOKEN = {name: _compiled(rf"""[^'"(),;]++|[(),;]|{text}""") for name, text in _TEXT_OF.items()}
_BOUNDARY = _compiled(r"\)\s*+(?:,\s*+(?=\()|;[ \t\r]*+\n)")
_AFTER = _compiled(r"\s*+(?:,\s*+)?")
_TAIL = _compiled(r"\s*+(?:,\s*+(?=\()|;|(?=(?i:ON|AS|RETURNING)(?!" + _WORD + ")))")
_BLANKS = " \t\n\r\f\v"
_UNUSUAL = re.compile("[\0\ud800-\udfff]")
_BAD = re.compile("[\ud800-\udfff]")


class _Text:
    """The piece of a dump that is looked at: `text[at:]` is still to be read, one character before it is kept."""

    def __init__(self, path: str, fmt: Format) -> None:
        self.path, self.text, self.at, self.last, self.dirty = path, "", 0, False, False
        self._pieces, self._line, self._counted = _decoded(path, fmt), 1, 0
        self.begun = 1  # line of the statement

    def more(self) -> bool:
        """Read on, as much as is waiting, so that nothing is looked at often; False where the dump has ended."""
        if self.last:
            return False
        waiting = len(self.text) - self.at
        if waiting > formats.LINE_LIMIT:
            what = f"a row or statement of more than {formats.LINE_LIMIT:,} characters, or a quote never closed"
            raise file_problem(self.path, what, self.line())
        keep = max(0, self.at - 1)
        self.line()
        parts, size = [self.text[keep:]], 0
        while size < max(waiting, formats.CHUNK_BYTES):
            piece = next(self._pieces, None)
            if piece is None:
                self.last = True
                # What is at the end of the dump is at the end of a line.
                parts.append("\n")
                break
            parts.append(piece)
            size += len(piece)
        self.text, self.at, self._counted = "".join(parts), self.at - keep, self.at - keep
        # Most dumps have neither zero bytes nor bytes that are not the encoding's, which came in as half surrogates.
        self.dirty = _UNUSUAL.search(self.text) is not None
        return True

    def line(self, at: int | None = None) -> int:
        """The line at `at` (else where reading is); never asked for a place before the last one."""
        at = self.at if at is None else at
        self._line += self.text.count("\n", self._counted, at)
        self._counted = at
        return self._line


def _decoded(path: str, fmt: Format) -> Iterator[str]:
    """The dump in pieces; a byte that is not the encoding's becomes half a surrogate pair, as binary values hold any."""
    with open_feed(path) as stream:
        head = stream.read(HEAD_BYTES)
    codec, mark = encoding_of(path, head, fmt)
    if not one_byte_signs(codec):
        yield from text_chunks(path, fmt)
        return
    decoder = codecs.getincrementaldecoder(codec)("surrogateescape")
    with open_feed(path) as stream:
        stream.read(mark)
        while data := stream.read(formats.CHUNK_BYTES):
            yield decoder.decode(data)
        yield decoder.decode(b"", True)


def _of_table(text: _Text, dialect: str, fmt: Format) -> Iterator[tuple[str, str | None]]:
    """(Kind, column list) of the statements of `fmt.table`, as `_statements` gives them."""
    wanted = [part.casefold() for part in fmt.table.split(".")]
    met: dict[tuple[str, ...], None] = {}
    others: dict[str, None] = {}
    for kind, name, listed, values in _statements(text, dialect):
        if [part.casefold() for part in name[-len(wanted) :]] != wanted:
            others[name[-1]] = None
            _pass_over(text, kind, dialect)
            continue
        met[name] = None
        if len(met) > 1:
            both = " and ".join(".".join(filter(None, one)) for one in met)
            what = f"`table: {fmt.table}` is both {both}; write it with its schema"
            raise file_problem(text.path, what, text.begun)
        if kind == "INSERT" and not values:
            what = "an INSERT of the table that is no list of VALUES, which is not read; dump the table itself"
            raise file_problem(text.path, what, text.begun)
        if kind == "COPY" and values:
            what = f"COPY with options ({values}), which is not read; dump the table without them"
            raise file_problem(text.path, what, text.begun)
        yield kind, listed
    if not met:
        some = ", ".join([*others][:SHOWN]) or "none"
        raise file_problem(text.path, f"no `table: {fmt.table}` in the dump; its tables: {some}")


def _names(
    listed: str | None, definition: str | None, fmt: Format, dialect: str
) -> tuple[list[str] | None, str | None]:
    """(Column names, why there are none) of a statement: those it lists, else the mapping's, else CREATE TABLE's."""
    if listed:
        return unique_names([_unquoted(name) for name in _NAMES.findall(listed)]), None
    if fmt.columns:
        return unique_names(fmt.columns), None
    if definition is None:
        return None, "broken_record: the statement names no columns, and there is no CREATE TABLE before it"
    if names := _columns_of(definition, dialect):
        return unique_names(names), None
    return None, "broken_record: the statement names no columns, and the CREATE TABLE is not understood"


@lru_cache(maxsize=8)
def _columns_of(definition: str, dialect: str) -> list[str]:
    """Columns of a CREATE TABLE in their order; none where sqlglot does not understand it."""
    import sqlglot
    from sqlglot import exp

    try:
        statement = sqlglot.parse_one(definition, dialect=dialect)
    except (sqlglot.errors.SqlglotError, RecursionError):
        return []
    if not isinstance(statement, exp.Create) or not isinstance(statement.this, exp.Schema):
        return []
    return [column.name for column in statement.this.expressions if isinstance(column, exp.ColumnDef)]


def _statements(text: _Text, dialect: str) -> Iterator[tuple[str, tuple[str, ...], str | None, str | None]]:
    """(Kind, full name, column list, VALUES or COPY's options) of each INSERT, COPY and CREATE TABLE.

    The text is then at its first tuple, its first line or its beginning: whoever takes the statement reads on from
    there to its end, or calls `_pass_over`.
    """
    database = ""
    while _skip_blank(text):
        text.begun = text.line()
        if found := _COPY.match(text.text, text.at):
            text.at = found.end()
            yield "COPY", _full_name(found[1], database, dialect), found[2], found[3].strip()
        elif found := _INSERT.match(text.text, text.at):
            text.at = found.end()
            yield "INSERT", _full_name(found[1], database, dialect), found[2], found[3]
        elif found := _CREATE.match(text.text, text.at):
            yield "CREATE", _full_name(found[1], database, dialect), None, None
        elif found := _DATABASE.match(text.text, text.at):
            database = _unquoted(found[1] or found[2])
            text.at = found.end()
        elif found := _DELIMITER.match(text.text, text.at):
            text.at = found.end()
            while not (found := _DELIMITER_BACK.search(text.text, text.at)):
                if not text.more():
                    raise file_problem(text.path, "DELIMITER is not set back to ; before the end", text.line())
            text.at = found.end()
        elif text.text[text.at] == "\\":  # a command of psql
            while (end := text.text.find("\n", text.at)) < 0 and text.more():
                pass
            text.at = end + 1
        else:
            _skip(text, dialect)


def _skip_blank(text: _Text) -> bool:
    """Go to the next statement, with enough of it to tell what it is; False where there is none."""
    while True:
        text.at = _BLANK.match(text.text, text.at).end()
        if len(text.text) - text.at >= HEAD_LIMIT and not text.text.startswith(("--", "#", "/*"), text.at):
            return True
        if not text.more():
            if text.text.startswith("/*", text.at):
                raise file_problem(text.path, "the dump ends inside a comment: it is cut off", text.line())
            return text.at < len(text.text)


def _skip(text: _Text, dialect: str) -> str:
    """Go behind the statement's `;`. Gives its beginning, of `HEAD_LIMIT` characters at the most."""
    begin, line = text.text[text.at : text.at + HEAD_LIMIT], text.line()
    passed = 0
    while True:
        end = _SKIP[dialect].match(text.text, text.at).end()
        passed += end - text.at
        text.at = end
        if end < len(text.text) and text.text[end] == ";":
            text.at += 1
            return begin[:passed]
        if not text.more():
            raise file_problem(
                text.path, "the dump ends inside this statement: it is cut off, or a quote stays open", line
            )


def _pass_over(text: _Text, kind: str, dialect: str) -> None:
    if kind == "COPY":
        for _ in _copy_lines(text):
            pass
    else:
        _skip(text, dialect)


def _full_name(name: str, database: str, dialect: str) -> tuple[str, ...]:
    parts = tuple(_unquoted(part) for part in _NAMES.findall(name))
    return parts if dialect == "mysql" and len(parts) > 1 else (database, *parts)


def _unquoted(name: str) -> str:
    sign = name[0]
    return name[1:-1].replace(sign * 2, sign) if sign in '`"' else name


# Tuples of INSERT

_NUMBER = r"[-+]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?"
_LITERAL = {
    "mysql": rf"NULL|{_NUMBER}|0x[0-9A-Fa-f]*+|0b[01]++|(?i:TRUE|FALSE|NULL)|(?:_\w++\s?+|[xXbBnN])?+{_BACKSLASHED}",
    "postgres": rf"NULL|{_NUMBER}|(?i:TRUE|FALSE|NULL)|(?:[eE]{_BACKSLASHED}|[bBxXnN]?+{_STANDARD})",
}


@lru_cache(maxsize=64)
def _tuple_of(width: int, dialect: str) -> re.Pattern[str]:
    """A tuple of `width` literals and the comma or `;` behind it: what nearly every tuple is, in one match."""
    literals = r"\s*+,\s*+".join([f"({_LITERAL[dialect]})"] * width)
    return _compiled(rf"\(\s*+{literals}\s*+\)\s*+(?:(;)|,\s*+(?=\())")


def _inserted(
    text: _Text, dialect: str, names: Sequence[str] | None, max_field: int
) -> Iterator[tuple[int, str, str | None]]:
    """(Line, payload, problem) of the tuples of an INSERT, up to behind its end."""
    template, value = payload_template(names or ()), _VALUE[dialect]
    fast = _tuple_of(len(names), dialect).match if names else lambda text, at: None
    ended = False
    while not ended:
        found = fast(text.text, text.at)
        line = text.line()
        if found:
            row, (*literals, semicolon) = found[0], found.groups()
            text.at, ended = found.end(), semicolon is not None
            if len(row) <= max_field and not (text.dirty and _UNUSUAL.search(row)):
                try:
                    if "\\" in row or "''" in row:
                        texts = [
                            quoted(v[1:-1]) if v[0] == "'" and "\\" not in v and "''" not in v else value(v)
                            for v in literals
                        ]
                    else:
                        texts = [quoted(v[1:-1]) if v[0] == "'" else value(v) for v in literals]
                    yield line, template % tuple(texts), None
                    continue
                except _NoText:
                    pass
            raw, why = row.rstrip(" \t\r\n,;"), None
        else:
            raw, literals, why, ended = _any_tuple(text, dialect)
        if why is None and names is not None and len(literals) != len(names):
            why = f"broken_record: {len(literals)} values, the statement has {len(names)} columns"
        yield line, *((raw, why) if why or names is None else _careful(raw, literals, names, dialect, max_field))


def _any_tuple(text: _Text, dialect: str) -> tuple[str, list[str], str | None, bool]:
    """(Raw text, values as written, why it is not believed, whether the statement ends behind it) of a tuple.

    Goes to the next tuple, the end of the statement, or what follows its tuples (`ON DUPLICATE KEY ...`), to whose
    end it goes as well.
    """
    while True:
        start = text.at
        values, at, why = _lexed(text.text, start, dialect)
        if why is None:
            end = _AFTER.match(text.text, at).end() if at >= 0 else len(text.text)
            if len(text.text) - end < TAIL_CHARS and text.more():
                continue
            if at < 0:
                why = "a quote or a bracket is never closed"
            elif found := _TAIL.match(text.text, at):
                raw, text.at, sign = text.text[start:at], found.end(), found[0].strip()
                if not sign:
                    _skip(text, dialect)
                return raw, values, None, sign != ","
            else:
                why = "what follows its bracket is no comma and tuple, and no ;"
        while not (found := _BOUNDARY.search(text.text, text.at + 1)):
            if not text.more():
                what = f"the dump ends inside this row ({why}): it is cut off, or a quote stays open"
                raise file_problem(text.path, what, text.line())
        raw = text.text[text.at : found.start() + 1]
        text.at = found.end()
        return raw, [], f"broken_record: {why}", ";" in found[0]


def _lexed(text: str, start: int, dialect: str) -> tuple[list[str], int, str | None]:
    """(Values as written, place behind the tuple, why not) of the tuple at `start`; place -1 where `text` ends first."""
    token, depth, at, begin, values = _TOKEN[dialect], 0, start, start + 1, []
    while found := token.match(text, at):
        sign, at = text[at], found.end()
        if sign == "(":
            depth += 1
        elif sign == ")":
            depth -= 1
            if depth == 0:
                return [*values, text[begin : at - 1].strip()], at, None
        elif sign == "," and depth == 1:
            values.append(text[begin : at - 1].strip())
            begin = at
        elif sign == ";":
            return values, at, "a ; stands inside it"
        elif sign in "'\"" and not (text[at] in ",):" or text[at] in _BLANKS):
            return values, at, f"a text is followed by {text[at : at + 10]!r}: a quote inside it?"
    return values, -1, None


# Values


class _NoText(Exception):
    """Why a value has no text."""


_MYSQL_ESCAPE = _compiled(r"\\([\s\S])|''|\"\"")
_MYSQL_MEANS = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": "\\%", "_": "\\_"}
_POSTGRES_ESCAPE = _compiled(
    r"\\(?:(?P<octal>[0-7]{1,3})|x(?P<hex>[0-9A-Fa-f]{1,2})|u(?P<u>[0-9A-Fa-f]{4})|U(?P<U>[0-9A-Fa-f]{8})"
    r"|(?P<sign>[\s\S]))|''"
)
_POSTGRES_MEANS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _mysql_text(inside: str, quote: str = "'") -> str:
    def meant(found: re.Match[str]) -> str:
        if found[1] is None:
            return quote if found[0][0] == quote else found[0]
        return _MYSQL_MEANS.get(found[1], found[1])

    return _MYSQL_ESCAPE.sub(meant, inside)


_COPY_ESCAPE = _compiled(r"\\(?:(?P<octal>[0-7]{1,3})|x(?P<hex>[0-9A-Fa-f]{1,2})|(?P<sign>[\s\S]))")


def _postgres_text(inside: str, escapes: re.Pattern[str] = _POSTGRES_ESCAPE) -> str:
    """Escapes of E'' and of COPY: octal and hexadecimal ones are bytes, which together may be a character."""

    def meant(found: re.Match[str]) -> str:
        if found[0] == "''":
            return "'"
        if sign := found["sign"]:
            return _POSTGRES_MEANS.get(sign, sign)
        if found["octal"] or found["hex"]:
            byte = int(found["octal"], 8) & 255 if found["octal"] else int(found["hex"], 16)
        else:
            return chr(min(int(found["u"] or found["U"], 16), 0x10FFFF))
        return chr(byte if byte < 128 else 0xDC00 + byte)

    text = escapes.sub(meant, inside)
    return text if not _BAD.search(text) else text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _text_of(literal: str, dialect: str) -> str | None:
    """What a literal means. Raises `_NoText`."""
    sign = literal[:1]
    if sign == "'":
        return _sound(_mysql_text(literal[1:-1]) if dialect == "mysql" else literal[1:-1].replace("''", "'"))
    if sign == '"' and dialect == "mysql":
        return _sound(_mysql_text(literal[1:-1], '"'))
    if literal.upper() == "NULL":
        return None
    if literal[:2] in ("0b", "0B"):
        return literal[2:]
    if literal[:2] in ("0x", "0X"):
        return _of_bytes(_unhexed(literal[2:]))
    at = literal.find("'")
    if at < 0:
        return literal.lower() if sign.isalpha() else literal
    prefix, inside = literal[:at].strip().lower(), literal[at + 1 : -1]
    if prefix == "x":
        return _of_bytes(_unhexed(inside))
    if prefix == "b":
        return inside
    if prefix == "_binary":
        return _of_bytes(_mysql_text(inside).encode("utf-8", "surrogateescape"))
    if prefix == "e":
        return _sound(_postgres_text(inside))
    return _sound(_mysql_text(inside) if dialect == "mysql" else inside.replace("''", "'"))


def _sound(text: str) -> str:
    if "\0" in text:
        raise _NoText("zero bytes")
    if found := _BAD.search(text):
        byte = ord(found[0]) - 0xDC00
        raise _NoText(f"byte 0x{byte:02X} that is not valid in its encoding; set `encoding`, or leave the column out")
    return text


def _of_bytes(data: bytes) -> str:
    """Bytes as the text they are in UTF-8, else as base64."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    return base64.b64encode(data).decode() if "\0" in text else text


def _unhexed(digits: str) -> bytes:
    try:
        return bytes.fromhex("0" * (len(digits) % 2) + digits)
    except ValueError:
        raise _NoText("a hexadecimal value with other signs") from None


def _quoted_value(dialect: str) -> Callable[[str], str]:
    """Literal -> JSON text. Raises `_NoText`."""

    def value(literal: str) -> str:
        sign = literal[0]
        if sign == "N" and literal == "NULL":
            return "null"
        if sign.isdigit() and literal[1:2] not in ("x", "X", "b", "B"):
            return f'"{literal}"'
        text = _text_of(literal, dialect)
        return "null" if text is None else quoted(text)

    return value


_VALUE = {dialect: _quoted_value(dialect) for dialect in _LITERAL}
_ONE_LITERAL = {
    "mysql": _compiled(rf'{_LITERAL["mysql"]}|"[^"\\]*+(?:(?:\\[\s\S]|"")[^"\\]*+)*+"'),
    "postgres": _compiled(_LITERAL["postgres"]),
}
_CAST = _compiled(r"\s*+(?:::\s*+[\w .()\[\]\"]++)++$")


def _careful(
    raw: str, literals: Sequence[str], names: Sequence[str], dialect: str, max_field: int
) -> tuple[str, str | None]:
    """(Payload, problem) of a tuple of which something is unusual."""
    fields = {}
    for name, literal in zip(names, literals):
        literal = _CAST.sub("", literal) if dialect == "postgres" else literal
        if not _ONE_LITERAL[dialect].fullmatch(literal):
            return raw, f"broken_record: column {name} holds no plain value but {literal[:40]!r}"
        try:
            fields[name] = _text_of(literal, dialect)
        except _NoText as why:
            return raw, f"broken_record: column {name} holds {why}"
    if problem := too_long(fields, max_field):
        return raw, problem
    return payload_template(names) % tuple("null" if v is None else quoted(v) for v in fields.values()), None


# Lines of COPY


def _copy_lines(text: _Text) -> Iterator[tuple[int, list[str]]]:
    """(First line, lines without their ends) of a COPY, up to behind its `\\.`."""
    while True:
        cut = text.text.rfind("\n", text.at) + 1
        if cut > text.at:
            block = text.text[text.at : cut]
            if found := _COPY_END.search(block):
                block = block[: found.end(1)]
                cut = text.at + found.end()
            line = text.line()
            text.at = cut
            if block:
                yield line, block[:-1].split("\n")
            if found:
                return
        if not text.more():
            raise file_problem(text.path, "the dump ends before the `\\.` of a COPY: it is cut off", text.line())


_COPY_END = _compiled(r"(\A|\n)\\\.\r?\n")


def _copied(
    text: _Text, dialect: str, names: Sequence[str] | None, max_field: int
) -> Iterator[tuple[int, str, str | None]]:
    """(Line, payload, problem) of the lines of a COPY, up to behind its end."""
    template, width = payload_template(names or ()), len(names or ())
    for first, lines in _copy_lines(text):
        for line, row in enumerate(lines, first):
            row = row.removesuffix("\r")
            values = row.split("\t")
            if len(values) != width:
                yield line, row, f"broken_record: {len(values)} values, the COPY has {width} columns"
            elif len(row) > max_field or (text.dirty and _UNUSUAL.search(row)):
                yield line, *_careful_line(row, values, names, max_field)
            elif "\\" not in row:
                yield line, template % tuple(map(quoted, values)), None
            else:
                try:
                    texts = ["null" if v == "\\N" else quoted(_unescaped(v)) for v in values]
                    yield line, template % tuple(texts), None
                except _NoText:
                    yield line, *_careful_line(row, values, names, max_field)


def _unescaped(value: str) -> str:
    if "\\" not in value:
        return value
    return _sound(_postgres_text(value, _COPY_ESCAPE))


def _careful_line(row: str, values: Sequence[str], names: Sequence[str], max_field: int) -> tuple[str, str | None]:
    fields = {}
    for name, value in zip(names, values):
        try:
            fields[name] = None if value == "\\N" else _sound(_postgres_text(value, _COPY_ESCAPE))
        except _NoText as why:
            return row, f"broken_record: column {name} holds {why}"
    if problem := too_long(fields, max_field):
        return row, problem
    return payload_template(names) % tuple("null" if v is None else quoted(v) for v in fields.values()), None
