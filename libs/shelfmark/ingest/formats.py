"""How a feed's files are written, and what readers and counters share: opening, unpacking, encoding, file problems.

Nothing here knows records: the readers (`readers`) and the independent counter (`counting`) agree through the rules
that `readers` documents, not through code.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import shutil
import tempfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from lxml import etree
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from shelfmark.errors import DataRefused
from shelfmark.ingest import archives

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GZIP_MAGIC = b"\x1f\x8b"
HEAD_BYTES = 1 << 16
"""Bytes looked at to tell encoding and line ends: a page of feed, and one read."""

CHUNK_BYTES = 1 << 20
"""Bytes decoded at a time: thousands of records, so that the work per piece is small beside the work per record."""

LINE_LIMIT = 64 << 20
"""Characters of a line beyond which a file is not the text it should be; it bounds the memory of reading lines."""

XML_TEXT_LIMIT = 10_000_000
"""Bytes of one text of an XML file, libxml2's XML_MAX_TEXT_LENGTH. Its switch `huge_tree` would lift this limit and
with it those against a small file that grows to gigabytes in memory."""

# Longest marks first: UTF-32-LE begins with the mark of UTF-16-LE.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


PROLOG_LIMIT = 1 << 20
"""Bytes of an XML file before its first element: a document type is a page at the most."""

_OTHER_PACKED = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}
"""First bytes of files that people pack in other ways."""

OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""First bytes of an xls workbook, and of an xlsx with a password."""

NAMED_KINDS = ("csv", "parquet", "sql", "excel")
"""Kinds whose files name all their fields up front."""


class FileProblem(DataRefused):
    """A feed file that cannot be read to its end: one line with file, place, what is wrong and what to do."""


def file_problem(path: str, what: str, line: int | None = None) -> FileProblem:
    """`FileProblem` with the file (and line) in front, on one line so that it survives a Spark stack trace."""
    place = path if line is None else f"{path}: line {line}"
    return FileProblem(" ".join(f"{place}: {what}".split()))


def broken_xml(path: str, error: Exception) -> FileProblem:
    """`FileProblem` for lxml's `XMLSyntaxError`."""
    if "limit exceeded" in str(error):
        what = f"more than the XML parser's limits allow ({error.msg}); have its sender leave it out"
    else:
        what = f"the XML is broken or cut off here ({error.msg}); fetch the file again or have its sender mend it"
    return file_problem(path, what, error.lineno)


class Format(BaseModel):
    """The `format:` section of conf/sources/<name>.yml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["csv", "jsonl", "json", "xml", "parquet", "sql", "excel"] = Field(
        description="csv also reads any delimited text"
    )
    member: str | None = Field(None, min_length=1, description="zip: glob of the members to read; empty: the only one")
    encoding: str | None = Field(None, description="text encoding; empty: byte order mark, else UTF-8")
    delimiter: str = Field(",", description="csv: between fields, one character or several, taken literally")
    quote: str | None = Field('"', description="csv: around fields; null: no quoting")
    escape: str | None = Field(None, description="csv: before a quote inside a field; null: a doubled quote")
    header: bool = Field(True, description="csv: the first line names the fields")
    columns: list[str] | None = Field(None, description="csv, sql: field names where the file does not say them")
    multiline: bool = Field(True, description="csv: quoted fields may hold line breaks; false allows byte ranges")
    max_lines: int = Field(200, ge=1, description="csv: a record of more lines is rejected, not believed")
    max_field: int = Field(1_000_000, ge=1, description="characters of a field; a longer one rejects its record")
    items: str = Field("item", description="json: where the array is, as ijson writes it: `item`, `products.item`")
    record: str = Field("item", description="xml: name of a record's element, without namespace")
    table: str | None = Field(None, min_length=1, description="sql: the table to read, `products` or `shop.products`")
    dialect: Literal["mysql", "postgres"] | None = Field(None, description="sql: who wrote the dump; empty: told by it")
    sheet: str | None = Field(None, min_length=1, description="excel: name of the sheet; empty: the only visible one")
    header_row: int = Field(1, ge=1, description="excel: the row that names the fields, as the sheet numbers it")

    @field_validator("delimiter")
    @classmethod
    def _some_characters(cls, value: str) -> str:
        if not 1 <= len(value) <= 20 or set(value) & set("\r\n\0"):
            raise ValueError(
                f'{value!r} is not 1 to 20 characters of one line (a tab is written "\\t" in double quotes)'
            )
        return value

    @field_validator("quote", "escape")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 1 or value in "\r\n\0"):
            raise ValueError(f'{value!r} is not one character (a tab is written "\\t" in double quotes)')
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                codecs.lookup(value)
                "".encode(value)
            except (LookupError, ValueError):
                raise ValueError(f"unknown encoding {value!r}; for example utf-8, cp1252, utf-16") from None
        return value

    @field_validator("items")
    @classmethod
    def _items_end_in_an_array(cls, value: str) -> str:
        parts = value.split(".")
        if parts[-1] != "item" or "" in parts:
            raise ValueError(f"{value!r}: a path of keys that ends in `item`, such as `item` or `products.item`")
        return value

    @model_validator(mode="after")
    def _csv_options(self) -> Format:
        if self.kind == "csv":
            if self.header and self.columns is not None:
                raise ValueError("`columns` is for files without a header: set `header: false` too")
            if not self.header and not self.columns:
                raise ValueError("`header: false` needs `columns`, the names of the fields in order")
            signs = [sign for sign in (self.quote, self.escape) if sign is not None]
            if len(set(signs)) < len(signs) or set(signs) & set(self.delimiter):
                raise ValueError("delimiter, quote and escape must differ")
        if self.kind == "sql" and self.table is None:
            raise ValueError("kind sql needs `table`, the table of the dump to read")
        return self


def expanded(paths: Sequence[str], fmt: Format) -> list[str]:
    """`paths` with each zip archive replaced by its members that `fmt.member` takes, as `feed.zip!member.csv`.

    A workbook is no archive here, although it is one. Raises `FileProblem`.
    """
    found = []
    for path in paths:
        with open_raw(path) as raw:
            if not raw.peek(4).startswith(archives.ZIP_MAGICS) or (fmt.kind == "excel" and archives.is_workbook(raw)):
                found.append(path)
            else:
                found += [f"{path}{archives.SEPARATOR}{name}" for name in archives.chosen(raw, fmt.member)]
    return found


@contextmanager
def open_raw(path: str) -> Iterator[BinaryIO]:
    """Bytes of a file as it lies there, or of a member of a zip archive, unpacked.

    Raises `FileProblem`: not there, no permission, a folder, a failing disk; an archive that is damaged or refused.
    """
    file, member = archives.parted(path)
    try:
        with open(file, "rb", buffering=1 << 20) as raw:
            if member is None:
                yield raw
                return
            try:
                with archives.open_member(raw, member) as stream:
                    yield stream
            except (EOFError, zlib.error) as error:
                raise archives.Refused(f"damaged zip archive ({error}); fetch it again") from None
    except archives.Refused as refused:
        raise file_problem(path, str(refused)) from None
    except FileNotFoundError:
        raise file_problem(path, "no such file") from None
    except PermissionError:
        raise file_problem(path, f"no permission to read it as user {os.geteuid()}; change its owner or mode") from None
    except OSError as error:
        raise file_problem(path, f"cannot be read: {error.strerror or error}") from None


@contextmanager
def open_feed(path: str, start: int = 0) -> Iterator[BinaryIO]:
    """Bytes of a file from `start`, unpacked where it is gzip (told by its first bytes, not by its name).

    Raises `FileProblem`, also while the caller reads, for what `open_raw` finds, for a truncated or damaged gzip, one
    beyond the limits of `archives`, an archive inside an archive, and one packed in a way that is not read.
    """
    with _unpacked(path, start) as stream:
        head = stream.peek(8) if start == 0 else b""
        if head.startswith(OLE_MAGIC) or (head.startswith(archives.ZIP_MAGICS) and _holds_workbook(path)):
            raise file_problem(path, "an Excel workbook; set `kind: excel`")
        if head.startswith((GZIP_MAGIC, *archives.ZIP_MAGICS)):
            raise file_problem(path, _nested(path))
        yield stream


@contextmanager
def _unpacked(path: str, start: int = 0) -> Iterator[BinaryIO]:
    """`open_feed` without a look at what is inside the gzip."""
    with open_raw(path) as raw:
        head = raw.peek(8)
        way = next((way for magic, way in _OTHER_PACKED.items() if head.startswith(magic)), None)
        if way is not None:
            raise file_problem(path, f"packed by {way}, which is not read; have it sent plain, as gzip or as zip")
        if start:
            raw.seek(start)
        if not head.startswith(GZIP_MAGIC):
            yield raw
            return
        if archives.parted(path)[1] is not None:
            raise file_problem(path, _nested(path))
        try:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield io.BufferedReader(archives.Bounded(unpacked, raw.tell), 1 << 20)
        except EOFError:
            raise file_problem(path, "the gzip file is cut off before its end; fetch it again") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise file_problem(path, f"damaged gzip ({error}); fetch it again") from None


def _nested(path: str) -> str:
    with open_raw(path) as raw:
        if archives.parted(path)[1] is None and raw.peek(4).startswith(archives.ZIP_MAGICS):
            return "a zip archive; name it in `files:` and say in `member:` what to read of it"
    return "an archive inside an archive, which is not unpacked; have its sender pack it once"


def _holds_workbook(path: str) -> bool:
    """Whether the file itself, not what a gzip holds, is a workbook."""
    with open_raw(path) as raw:
        try:
            return raw.peek(4).startswith(archives.ZIP_MAGICS) and raw.seekable() and archives.is_workbook(raw)
        except archives.Refused:
            return False


def is_packed(path: str) -> bool:
    """Whether the file is gzip or a member of an archive, so that it is only read from its start. Raises
    `FileProblem`."""
    with open_raw(path) as raw:
        return archives.parted(path)[1] is not None or raw.peek(2).startswith(GZIP_MAGIC)


def size_of(path: str) -> int:
    """Bytes of the file as it lies there; of a member what its archive claims. Raises `FileProblem`."""
    file, member = archives.parted(path)
    with open_raw(file) as raw:
        return raw.seek(0, os.SEEK_END) if member is None else archives.size_claimed(raw, member)


def whole_file(path: str, limit: int) -> bytes:
    """All unpacked bytes of a file that its parser takes in one piece. Raises `FileProblem`, also beyond `limit`."""
    with _unpacked(path) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise file_problem(path, f"larger than {limit:,} bytes, which is too much to be read in one piece")
    return data


HARDENED = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False}
"""Options of every XML parser here. A feed is data: nothing is expanded and nothing fetched, even if `check_prolog`
overlooked it."""


def xml_encoding(path: str, fmt: Format) -> str | None:
    """The encoding to tell an XML parser, None where the file tells it, after a look at how the file begins.

    Raises `FileProblem` for an empty file, and for what `check_prolog` refuses.
    """
    with open_feed(path) as stream:
        head = stream.peek(1)
        if not head:
            raise file_problem(path, "empty: no XML")
        encoding = None if encoding_of(path, head, fmt)[1] else fmt.encoding
        check_prolog(path, stream, encoding)
    return encoding


def check_prolog(path: str, stream: BinaryIO, encoding: str | None = None) -> None:
    """Whether an XML file declares nothing that expands: raises `FileProblem` where its document type has entities.

    No vendor needs them, and they are how a small file grows to gigabytes or asks for other files. `stream` is read
    up to the first element. Broken XML passes: its parser says it better.
    """
    parser = etree.XMLPullParser(events=("start",), encoding=encoding, **HARDENED)
    read, tree = 0, None
    try:
        while tree is None and read <= PROLOG_LIMIT and (data := stream.read(1 << 12)):
            parser.feed(data)
            read += len(data)
            tree = next((element.getroottree() for _, element in parser.read_events()), None)
    except etree.XMLSyntaxError as error:
        if "entit" in str(error).lower():
            raise file_problem(path, _entities(error.msg), error.lineno) from None
        return
    if tree is None and read > PROLOG_LIMIT:
        raise file_problem(path, f"no element in its first {PROLOG_LIMIT:,} bytes: no XML feed")
    dtd = tree.docinfo.internalDTD if tree is not None else None
    names = [str(entity.name) for entity in dtd.iterentities()] if dtd is not None else []
    if names:
        raise file_problem(path, _entities(f"its document type declares {', '.join(names[:3])}"))


def _entities(why: str) -> str:
    return f"XML with entities of its own is refused ({why}): they can pull in files or fill the memory; have them left out"


def encoding_of(path: str, head: bytes, fmt: Format) -> tuple[str, int]:
    """(Codec name, length of the byte order mark) of a text file from its first bytes.

    A byte order mark wins over `fmt.encoding`: no text of another encoding starts with one. Raises `FileProblem`
    where the bytes cannot be the text they should be.
    """
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec, len(mark)
    codec = codecs.lookup(fmt.encoding or "utf-8").name
    # Without a mark Python's utf-16 and utf-32 take the machine's byte order: make it visible and steady.
    codec = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}.get(codec, codec)
    # A tenth of zero bytes is no single-byte text; a stray one is a broken record, not a broken file.
    if not codec.startswith(("utf-16", "utf-32")) and head.count(0) * 10 > len(head):
        what = "full of zero bytes: UTF-16 without a byte order mark, or no text at all; if it is text, set `encoding`"
        raise file_problem(path, f"{what}, for example to utf-16-le")
    return codec, 0


_MYSQL = re.compile(rb"-- (?:MySQL|MariaDB) dump|/\*(?:M?!\d)|\bENGINE\s*=|\bINTO\s+`|\bTABLE\s+`|_binary '", re.I)
_POSTGRES = re.compile(
    rb"PostgreSQL database dump|\bFROM\s+stdin;|standard_conforming_strings|pg_catalog|\bINTO\s+\"|\bTABLE\s+\"|'::\w|"
    rb"\bPRAGMA\s|SET search_path",
    re.I,
)


def sql_dialect(path: str, fmt: Format) -> str:
    """`mysql` or `postgres`: `fmt.dialect`, else told by what only one of them writes in the first `HEAD_BYTES`.

    It decides what a backslash in a text means. SQLite writes standard SQL, as PostgreSQL does. Raises `FileProblem`
    where nothing tells, for an empty file, and for a PostgreSQL dump with the escapes of its versions before 9.1.
    """
    with open_feed(path) as stream:
        head = _head(stream)
    codec, mark = encoding_of(path, head, fmt)
    if not one_byte_signs(codec):
        head = head[mark:].decode(codec, "replace").encode()
    if not head.strip():
        raise file_problem(path, "empty: no SQL")
    if re.search(rb"standard_conforming_strings\s*=\s*'?off", head, re.I):
        what = "written with standard_conforming_strings off, whose escapes are not read"
        raise file_problem(path, f"{what}; dump it again by a pg_dump of today")
    if fmt.dialect is not None:
        return fmt.dialect
    found = {name for name, signs in (("mysql", _MYSQL), ("postgres", _POSTGRES)) if signs.search(head)}
    if len(found) != 1:
        raise file_problem(path, "nothing tells whether MySQL or PostgreSQL wrote this dump; set `dialect`")
    return found.pop()


def one_byte_signs(codec: str) -> bool:
    """Whether an ASCII byte always means its ASCII character, so that bytes can be scanned without decoding."""
    return codec in ("utf-8", "ascii") or codec.startswith(("iso8859", "cp125", "koi8"))


def text_chunks(path: str, fmt: Format, start: int = 0, end: int | None = None, line: int = 1) -> Iterator[str]:
    """Decoded text of a file (of its bytes `start` to `end`) in pieces of about `CHUNK_BYTES`, without its mark.

    `line` is the line at `start`, for messages. A file whose lines end in bare carriage returns (old Macintosh text:
    one, and no newline, in its first `HEAD_BYTES`) gives newlines instead. Raises `FileProblem`, as for bytes that
    are not the encoding's.
    """
    with open_feed(path) as stream:
        head = _head(stream)
    codec, mark = encoding_of(path, head, fmt)
    decoder = codecs.getincrementaldecoder(codec)("strict")
    sample = codecs.getincrementaldecoder(codec)("replace").decode(head[mark:])
    bare_returns = "\r" in sample[:-1] and "\n" not in sample
    with open_feed(path, start) as stream:
        at = start
        if start == 0 and mark:
            at = len(stream.read(mark))
        last, unbroken = False, 0
        while not last:
            wanted = CHUNK_BYTES if end is None else min(CHUNK_BYTES, end - at)
            data = stream.read(wanted) if wanted > 0 else b""
            last = not data
            waiting = len(decoder.getstate()[0])
            try:
                text = decoder.decode(data, final=last)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].decode(codec, "replace").count("\r" if bare_returns else "\n")
                place = at - waiting + error.start
                byte = f"byte 0x{error.object[error.start]:02X}" if error.start < len(error.object) else "the end"
                what = f"{byte} at offset {place} is not valid {codec}; set `encoding` to the file's own"
                raise file_problem(path, f"{what}, for example cp1252, utf-16 or latin-1", line) from None
            at += len(data)
            if bare_returns:
                text = text.replace("\r", "\n")
            line += text.count("\n")
            unbroken = len(text) - 1 - text.rfind("\n") if "\n" in text else unbroken + len(text)
            if unbroken > LINE_LIMIT and fmt.kind in ("csv", "jsonl"):
                raise file_problem(path, f"a line of more than {LINE_LIMIT:,} characters; is `kind` right?", line)
            if text:
                yield text


def _head(stream: BinaryIO) -> bytes:
    """The first `HEAD_BYTES` of a stream, fewer only at its end."""
    parts, size = [], 0
    while size < HEAD_BYTES and (part := stream.read(HEAD_BYTES - size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


@contextmanager
def open_parquet(path: str) -> Iterator[pq.ParquetFile]:
    """The open file; one that is packed with gzip is unpacked to a temporary file, as Parquet is read from its end."""
    try:
        if is_packed(path):
            with tempfile.TemporaryFile() as whole:
                with open_feed(path) as stream:
                    shutil.copyfileobj(stream, whole, 1 << 20)
                whole.seek(0)
                with pq.ParquetFile(whole) as file:
                    yield file
        else:
            with open_feed(path) as stream:
                if not stream.peek(1):
                    raise file_problem(path, "empty: no Parquet")
            with pq.ParquetFile(path) as file:
                yield file
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise file_problem(path, f"not a whole Parquet file ({reason}); fetch it again") from None
