"""What a product's picture reference means, and where its bytes lie. No Spark.

A reference (silver.products.image) is one of:

- `http://…` or `https://…`: an address;
- `bytes:<sha256>`: the record itself holds the picture, in the field that the mapping names;
- a path below one of the source's places (`pictures:` in its mapping; without it the data folder). A place is a folder,
  a tar archive, or `archive.tar!folder in it`. A path may itself lead into an archive below a folder:
  `photos/1.tar/a.jpg`, `photos/1.tar!a.jpg`.

A path never leaves its place, by `..` or by a link: `Refused`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path, PurePosixPath
from typing import BinaryIO

ARCHIVE = re.compile(r"(?i)^(.*?\.tar)(?:[!/](.*))?$", re.DOTALL)
CONTENT = "bytes:"
"""Begins the reference of a picture that the record itself holds."""

MAX_REFERENCE = 4096
"""Characters of a reference: Linux' longest path, and twice what browsers take of an address."""

BLOCK = 512  # of a tar archive, POSIX 1003.1
MAX_SAID = 1 << 20
"""Bytes that a header may have of its own, a long name for one: they are read into memory."""

_REGULAR = (b"0", b"\0", b"7")
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04")


class Refused(Exception):
    """Why a reference gives no bytes: `rule` (a key of `RULES`) and a sentence."""

    def __init__(self, rule: str, said: str):
        super().__init__(said)
        self.rule, self.said = rule, said


RULES = {
    "picture_missing": "there is no such file, or no such member of the archive",
    "picture_outside": "the path leads out of the source's places",
    "picture_reference": "the reference is neither a path, nor an http(s) address",
    "picture_too_large": "it has more bytes than images.max_mib",
    "picture_unreadable": "the file cannot be read, or the record's bytes cannot be decoded",
    "archive_unreadable": "the archive is missing, packed or damaged",
    "urls_off": "it is an address, and images.urls is off",
    "address_refused": "the address, or one it redirects to, is not public or not http(s)",
    "picture_unreachable": "the server does not answer, or with an error",
}
"""Why a reference has no bytes, by the rule of silver.rejected."""


@dataclass(frozen=True)
class Place:
    """Where pictures of a source are looked up: a folder, or an archive and the folder in it."""

    path: str
    inside: str | None = None

    @property
    def archive(self) -> bool:
        return self.inside is not None


def places(wanted: Sequence[str], data: str | Path) -> list[Place]:
    """The places that a mapping names, relative to the data folder; of a glob all it finds, sorted."""
    found: dict[Place, None] = {}
    for one in wanted or [""]:
        path, bang, inside = one.partition("!")
        whole = str(Path(data, path).absolute())
        for match in sorted(glob(whole)) if set("*?[") & set(path) else [whole]:
            archive = bool(bang) or (ARCHIVE.match(match) and match.lower().endswith(".tar"))
            found[Place(match, inside.strip("/") if archive else None)] = None
    return list(found)


def kind(reference: str) -> str:
    """`url`, `content` or `path`. Raises `Refused` for what is none of them."""
    if len(reference) > MAX_REFERENCE or any(ord(sign) < 32 for sign in reference):
        raise Refused("picture_reference", "longer than a path can be, or with control characters in it")
    if reference.startswith(CONTENT):
        return "content"
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", reference)
    if scheme is None:
        if re.match(r"(?i)(data|javascript|mailto):", reference):
            raise Refused("picture_reference", f"{reference[:40]!r} is neither a path nor an http(s) address")
        return "path"
    if scheme[1].lower() in ("http", "https"):
        return "url"
    raise Refused("picture_reference", f"{scheme[1].lower()}:// is not read; http and https are")


def inside(reference: str) -> PurePosixPath:
    """The path a reference names below a place. Raises `Refused` where it leads out of it or names nothing."""
    path = PurePosixPath(reference.replace("\\", "/").replace(".tar!", ".tar/").lstrip("/"))
    if ".." in path.parts:
        raise Refused("picture_outside", f"{reference[:200]} leads out of the source's places")
    if not path.parts:
        raise Refused("picture_reference", "it names no file")
    return path


def candidates(reference: str, among: Sequence[Place]) -> list[tuple[str, str | None]]:
    """(file, member or None) that a path may mean, the first place first. Raises `Refused` as `inside`."""
    path, found = inside(reference), []
    for place in among:
        if place.archive:
            found.append((place.path, "/".join(filter(None, [place.inside, str(path)]))))
            continue
        within = ARCHIVE.match(str(path))
        if within and within[2]:
            found.append((str(Path(place.path, within[1])), within[2]))
        else:
            found.append((str(Path(place.path, path)), None))
    return found


def file_of(path: str, root: str, max_bytes: int) -> tuple[int, str]:
    """(Bytes, version) of a plain file below `root`: the version changes with size and time. Raises `Refused`."""
    try:
        real = os.path.realpath(path)
        if not Path(real).is_relative_to(os.path.realpath(root)):
            raise Refused("picture_outside", f"{path} is a link that leads out of {root}")
        about = os.stat(real)
    except (OSError, ValueError) as error:
        raise Refused("picture_missing", f"no file {path} ({getattr(error, 'strerror', None) or error})") from None
    if not os.path.isfile(real):
        raise Refused("picture_missing", f"{path} is no file")
    check_size(about.st_size, max_bytes)
    return about.st_size, f"{about.st_size}.{about.st_mtime_ns}"


def check_size(size: int, max_bytes: int) -> None:
    """Raises `Refused` for more bytes than allowed."""
    if size > max_bytes:
        raise Refused("picture_too_large", f"{size:,} bytes, more than the {max_bytes:,} of images.max_mib")


# -- tar archives -------------------------------------------------------------------------------------------------


def version(archive: str) -> str:
    """What changes when an archive is written again: its size and time. Raises `Refused`."""
    try:
        about = os.stat(archive)
    except OSError as error:
        raise Refused("archive_unreadable", f"no archive {archive} ({error.strerror})") from None
    return f"{about.st_size}.{about.st_mtime_ns}"


def members(archive: str) -> Iterator[tuple[str, int, int]]:
    """(Name, offset, bytes) of the plain files of a tar archive (ustar, GNU or pax), in their order; `./` left out.

    Only headers are read. Links, devices and sparse files are no pictures. Raises `Refused` for what is no tar archive,
    or breaks off in a header; the members before it were given by then.
    """
    try:
        with open(archive, "rb", buffering=1 << 20) as stream:
            yield from _members(stream, archive)
    except OSError as error:
        raise Refused("archive_unreadable", f"{archive} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise Refused("archive_unreadable", f"{archive} has a damaged header ({error})") from None


def _members(stream: BinaryIO, archive: str) -> Iterator[tuple[str, int, int]]:
    at, said = 0, {}
    while True:
        header = stream.read(BLOCK)
        if not header or header.count(0) == BLOCK:
            return
        if len(header) < BLOCK or not _sound(header):
            packed = at == 0 and header.startswith(_PACKED)
            why = "is packed: unpack it to a plain tar archive" if packed else f"is damaged at byte {at:,}"
            raise Refused("archive_unreadable", f"{archive} {why}")
        type_, size = header[156:157], _number(header[124:136])
        at += BLOCK
        if type_ in (b"L", b"x"):
            if size > MAX_SAID:
                raise Refused("archive_unreadable", f"{archive} has a name of {size:,} bytes at byte {at:,}")
            text = stream.read(size)
            said = {"path": _text(text)} if type_ == b"L" else said | _pax(text)
            at += size
        elif type_ == b"g":
            at += size
        else:
            size = int(said.get("size", size))
            if type_ in _REGULAR:
                name = said.get("path") or _name(header)
                if not name.endswith("/") and "GNU.sparse.major" not in said:
                    yield name.removeprefix("./"), at, size
            at, said = at + size, {}
        at += -at % BLOCK
        stream.seek(at)


def _sound(header: bytes) -> bool:
    """Whether the header's checksum holds: of its bytes, its own eight taken as blanks."""
    try:
        return int(header[148:156].strip(b"\0 ") or b"0", 8) == sum(header) - sum(header[148:156]) + 256
    except ValueError:
        return False


def _number(field: bytes) -> int:
    """Octal digits; a number too large for them in base 256."""
    if field[0] & 0x80:
        return int.from_bytes(field, "big") & ((1 << 95) - 1)
    return int(field.strip(b"\0 ") or b"0", 8)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _name(header: bytes) -> str:
    name = _text(header[:100])
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _pax(text: bytes) -> dict[str, str]:
    """`<length> <key>=<value>\\n` records."""
    found, at = {}, 0
    while at < len(text):
        space = text.find(b" ", at)
        if space < 0 or not text[at:space].isdigit() or not (length := int(text[at:space])):
            break
        key, _, value = text[space + 1 : at + length - 1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += length
    return found


class Reader:
    """Bytes of places, one file kept open: neighbours in an archive follow each other."""

    def __init__(self) -> None:
        self._path, self._file = None, -1

    def read(self, path: str, offset: int, size: int) -> bytes:
        """`size` bytes of a file from `offset`, fewer where it ends. Raises `Refused`."""
        try:
            if path != self._path:
                self.close()
                self._file, self._path = os.open(path, os.O_RDONLY), path
            parts = []
            while size and (part := os.pread(self._file, size, offset)):
                parts.append(part)
                offset, size = offset + len(part), size - len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        except OSError as error:
            raise Refused("picture_unreadable", f"{path} cannot be read ({error.strerror})") from None

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._path, self._file = None, -1
