"""How a feed's files are written, and what readers and counters share: opening, gzip, text encoding, file problems.

Nothing here knows records: the readers (`readers`) and the independent counter (`counting`) agree through the rules
that `readers` documents, not through code.
"""

from __future__ import annotations

import codecs
import gzip
import os
import shutil
import tempfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from shelfmark.errors import DataRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    kind: Literal["csv", "jsonl", "json", "xml", "parquet"] = Field(description="csv also reads any delimited text")
    encoding: str | None = Field(None, description="text encoding; empty: byte order mark, else UTF-8")
    delimiter: str = Field(",", description="csv: between fields, one character")
    quote: str | None = Field('"', description="csv: around fields; null: no quoting")
    escape: str | None = Field(None, description="csv: before a quote inside a field; null: a doubled quote")
    header: bool = Field(True, description="csv: the first line names the fields")
    columns: list[str] | None = Field(None, description="csv: field names where there is no header")
    multiline: bool = Field(True, description="csv: quoted fields may hold line breaks; false allows byte ranges")
    max_lines: int = Field(200, ge=1, description="csv: a record of more lines is rejected, not believed")
    max_field: int = Field(1_000_000, ge=1, description="characters of a field; a longer one rejects its record")
    items: str = Field("item", description="json: where the array is, as ijson writes it: `item`, `products.item`")
    record: str = Field("item", description="xml: name of a record's element, without namespace")

    @field_validator("delimiter", "quote", "escape")
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
            signs = [sign for sign in (self.delimiter, self.quote, self.escape) if sign is not None]
            if len(set(signs)) < len(signs):
                raise ValueError("delimiter, quote and escape must differ")
        return self


@contextmanager
def open_raw(path: str) -> Iterator[BinaryIO]:
    """Bytes of a file as it lies there. Raises `FileProblem`: not there, no permission, a folder, a failing disk."""
    try:
        with open(path, "rb", buffering=1 << 20) as raw:
            yield raw
    except FileNotFoundError:
        raise file_problem(path, "no such file") from None
    except PermissionError:
        raise file_problem(path, f"no permission to read it as user {os.geteuid()}; change its owner or mode") from None
    except OSError as error:
        raise file_problem(path, f"cannot be read: {error.strerror or error}") from None


@contextmanager
def open_feed(path: str, start: int = 0) -> Iterator[BinaryIO]:
    """Bytes of a file from `start`, unpacked where it is gzip (told by its first bytes, not by its name).

    Raises `FileProblem`, also while the caller reads, for what `open_raw` finds and for a truncated or damaged gzip.
    """
    with open_raw(path) as raw:
        magic = raw.read(2)
        raw.seek(start)
        if magic != GZIP_MAGIC:
            yield raw
            return
        try:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield unpacked
        except EOFError:
            raise file_problem(path, "the gzip file is cut off before its end; fetch it again") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise file_problem(path, f"damaged gzip ({error}); fetch it again") from None


def is_gzip(path: str) -> bool:
    """Whether the file starts with the gzip magic bytes. Raises `FileProblem`."""
    with open_feed(path) as stream:
        return isinstance(stream, gzip.GzipFile)


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
        if is_gzip(path):
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
