"""Zip archives and packed streams that may be hostile: nothing is unpacked to a path, nothing without a limit.

Names inside an archive are only ever compared, never used as paths on this machine; an archive that holds a name which
would lead elsewhere is refused whole, because who writes such a name means harm. Sizes are counted while bytes are
unpacked: what an archive's headers claim is not believed.

What is refused raises `Refused` with a sentence; the caller knows the file's name.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import BinaryIO

SEPARATOR = "!"
"""Between an archive and its member in the name of a feed file: `feed.zip!products.csv`."""

ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
"""First bytes of a zip archive, and of one without members."""

MAX_UNPACKED = 256 << 30
"""Bytes a file may unpack to: ten times the largest product feeds known, and far less than a bomb's petabytes."""

MAX_RATIO = 200
"""Bytes unpacked for one packed byte. Feeds of text pack 5 to 50 times; deflate itself ends at 1,032."""

RATIO_FROM = 128 << 20
"""Bytes from which the ratio counts: less does no harm, and small files of one repeated line pack well."""

MAX_MEMBERS = 10_000
"""Members of an archive: a feed in daily files has hundreds."""

MAX_DIRECTORY = 16 << 20
"""Bytes of an archive's table of contents, which is read into memory: 1,600 for each of `MAX_MEMBERS`."""

_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""Those that unpack into a bounded buffer; bzip2 and LZMA in Python's zipfile unpack a whole block at once."""


class Refused(Exception):
    """Why an archive or packed file is not read, for people."""


class Bounded(io.RawIOBase):
    """What `unpacked` gives, until it is more than the limits allow. `packed()`: packed bytes used up so far."""

    def __init__(self, unpacked: BinaryIO, packed: Callable[[], int]) -> None:
        self._unpacked, self._packed, self._given = unpacked, packed, 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:
        data = self._unpacked.read(len(target))
        target[: len(data)] = data
        self._given += len(data)
        if self._given > MAX_UNPACKED:
            raise Refused(f"it unpacks to more than {MAX_UNPACKED:,} bytes; have its sender divide it")
        if self._given > RATIO_FROM and self._given > MAX_RATIO * max(self._packed(), 1):
            raise Refused(
                f"it unpacks to more than {MAX_RATIO} times its size, as an archive made to fill disks does; "
                "if you trust its sender, unpack it yourself"
            )
        return len(data)


def parted(path: str) -> tuple[str, str | None]:
    """(File on disk, member or None) of a feed file's name. A `!` in the name of a file that exists is part of it."""
    at = -1
    if SEPARATOR in path and not os.path.lexists(path):
        while (at := path.find(SEPARATOR, at + 1)) >= 0:
            if os.path.isfile(path[:at]):
                return path[:at], path[at + 1 :]
    return path, None


def chosen(raw: BinaryIO, pattern: str | None) -> list[str]:
    """Names of the members that `pattern` takes, in order; without one the only member. Raises `Refused`.

    A pattern is compared with the whole name and with its last part. Folders, hidden members and what macOS adds
    (`__MACOSX/`) are passed over.
    """
    held = sorted(n for n in names(raw) if not n.startswith("__MACOSX/") and not _last(n).startswith("."))
    some = ", ".join(held[:5]) + (f" and {len(held) - 5} more" if len(held) > 5 else "")
    if not held:
        raise Refused("the zip archive is empty")
    if pattern is None:
        if len(held) > 1:
            raise Refused(f'the zip archive holds {some}; say which to read, for example `member: "*.csv"`')
        return held
    taken = [name for name in held if fnmatchcase(name, pattern) or fnmatchcase(_last(name), pattern)]
    if not taken:
        raise Refused(f"no member of the zip archive is like `member: {pattern}`; it holds {some}")
    return taken


def names(raw: BinaryIO) -> list[str]:
    """Names of all members that are files. Raises `Refused`."""
    with _opened(raw) as (archive, _):
        return [info.orig_filename for info in archive.infolist() if not info.is_dir()]


def is_workbook(raw: BinaryIO) -> bool:
    """Whether the zip archive is itself a spreadsheet (xlsx, xlsb, ods). Raises `Refused`."""
    held = {*names(raw)}
    return bool(held & {"xl/workbook.xml", "xl/workbook.bin"}) or {"mimetype", "content.xml"} <= held


def size_claimed(raw: BinaryIO, member: str) -> int:
    """Bytes the member says it unpacks to: good for planning, not for trust. Raises `Refused`."""
    with _opened(raw) as (archive, _):
        return _info(archive, member).file_size


@contextmanager
def open_member(raw: BinaryIO, member: str) -> Iterator[BinaryIO]:
    """Unpacked bytes of a member, bounded. Raises `Refused`, also while the caller reads."""
    with _opened(raw) as (archive, counted):
        info = _info(archive, member)
        if info.flag_bits & 0x41:
            raise Refused("the member is encrypted; have its sender send it without a password")
        if info.compress_type not in _METHODS:
            raise Refused(
                f"the member is packed by method {info.compress_type}, not by deflate; have it packed as plain zip"
            )
        with archive.open(info) as unpacked:
            before = counted.given
            yield io.BufferedReader(Bounded(unpacked, lambda: counted.given - before), 1 << 20)


class _Counted:
    """A file as `zipfile` reads it, which counts the bytes it gives."""

    def __init__(self, raw: BinaryIO) -> None:
        self.seek, self.tell, self.seekable, self._read, self.given = raw.seek, raw.tell, raw.seekable, raw.read, 0

    def read(self, size: int = -1) -> bytes:
        data = self._read(size)
        self.given += len(data)
        return data


@contextmanager
def _opened(raw: BinaryIO) -> Iterator[tuple[zipfile.ZipFile, _Counted]]:
    """The archive, after its table of contents was found harmless."""
    size = raw.seek(0, os.SEEK_END)
    if _directory_bytes(raw, size) > MAX_DIRECTORY:
        raise Refused(f"the zip archive's table of contents is larger than {MAX_DIRECTORY:,} bytes")
    counted = _Counted(raw)
    try:
        with zipfile.ZipFile(counted) as archive:
            _check_names(archive.infolist())
            # Members that share their packed bytes make a small file huge without a high ratio of any one of them.
            if sum(info.compress_size for info in archive.infolist()) > size:
                raise Refused("members of the zip archive overlap, as in an archive made to fill disks")
            yield archive, counted
    except NotImplementedError as error:
        # A newer version of the format, or patched data. The file is whole: to fetch it again would help nobody.
        raise Refused(
            f"the zip archive is of a kind that cannot be read ({error}); have it packed as plain zip"
        ) from None
    except (zipfile.BadZipFile, struct.error) as error:
        raise Refused(f"damaged zip archive ({error}); fetch it again") from None


def _directory_bytes(raw: BinaryIO, size: int) -> int:
    """Length of the table of contents as the archive's last record says; zipfile reads exactly as much."""
    start = max(0, size - (1 << 16) - 22)
    raw.seek(start)
    tail = raw.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise Refused("the zip archive is cut off before its end, or damaged; fetch it again")
    length = struct.unpack_from("<L", tail, at + 12)[0]
    if at >= 20 and tail[at - 20 : at - 16] == b"PK\x06\x07":  # zip64
        raw.seek(min(struct.unpack_from("<Q", tail, at - 12)[0], size))
        record = raw.read(56)
        length = struct.unpack_from("<Q", record, 40)[0] if len(record) == 56 else length
    return length


def _check_names(infos: list[zipfile.ZipInfo]) -> None:
    if len(infos) > MAX_MEMBERS:
        raise Refused(f"the zip archive has {len(infos):,} members, more than {MAX_MEMBERS:,}")
    seen = set()
    for info in infos:
        name = info.orig_filename
        parts = re.split(r"[/\\]", name)
        if name.startswith(("/", "\\")) or ".." in parts or re.match("[A-Za-z]:", name):
            raise Refused(f"the zip archive holds the name {name!r}, which leads out of it; it is not read at all")
        if not name or not name.isprintable():
            raise Refused(f"the zip archive holds the name {name!r}, with control characters; it is not read at all")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise Refused(f"the zip archive holds a link, {name!r}; it is not read at all")
        if name in seen:
            raise Refused(f"the zip archive holds the name {name!r} twice; it is not read at all")
        seen.add(name)


def _info(archive: zipfile.ZipFile, member: str) -> zipfile.ZipInfo:
    found = next((info for info in archive.infolist() if info.orig_filename == member), None)
    if found is None:
        raise Refused("the zip archive no longer has this member")
    return found


def _last(name: str) -> str:
    return re.split(r"[/\\]", name)[-1]
