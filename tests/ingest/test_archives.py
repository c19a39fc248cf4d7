"""Zip and gzip: members are files of the feed; what leads out of an archive or fills a disk is refused."""

import gzip
import io
import os
import stat
import struct
import zipfile
import zlib

import pytest

from shelfmark.ingest import archives, bronze, counting, formats, readers
from shelfmark.ingest.formats import FileProblem, Format, expanded
from shelfmark.ingest.readers import Split, read

CSV = Format(kind="csv")
ALL = Format(kind="csv", member="*.csv")


@pytest.fixture
def file(tmp_path):
    def write(content, name="feed.zip"):
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    return write


def archive(members, **options):
    """Bytes of a zip archive of {name or ZipInfo: content}."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, **options) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return sink.getvalue()


def records(path, fmt=CSV):
    found = list(read(Split(path), fmt))
    assert counting.count(path, fmt) == len(found)
    return [record.fields for record in found]


def refused(path, fmt=CSV):
    """What `expanded` says of an archive; else what reader, counter and fingerprint all say of its first member."""
    try:
        path = expanded([path], fmt)[0]
    except FileProblem as problem:
        return str(problem)
    said = []
    for work in (
        lambda: list(read(Split(path), fmt)),
        lambda: counting.count(path, fmt),
        lambda: bronze.fingerprint(path),
    ):
        with pytest.raises(FileProblem) as problem:
            work()
        said.append(str(problem.value))
    assert len(set(said)) == 1
    return said[0]


def test_members_are_files_of_the_feed(file):
    path = file(
        archive({"a/1.csv": "id\n1\n", "2.csv": "id\n2\n3\n", "read.me": "x", "__MACOSX/._1.csv": "x", ".h.csv": "x"})
    )
    assert expanded([path, "other.csv"][:1], ALL) == [f"{path}!2.csv", f"{path}!a/1.csv"]
    assert records(f"{path}!2.csv") == [{"id": "2"}, {"id": "3"}]
    assert records(f"{path}!a/1.csv") == [{"id": "1"}]
    assert expanded([path], Format(kind="csv", member="a/*")) == [f"{path}!a/1.csv"]
    assert "it holds 2.csv, a/1.csv, read.me" in refused(path, Format(kind="csv", member="*.tsv"))
    assert 'holds 2.csv, a/1.csv, read.me; say which to read, for example `member: "*.csv"`' in refused(path)


def test_the_only_member_needs_no_choice_and_plain_files_stay(file):
    path, plain = file(archive({"a.csv": "id\n1\n"})), file(b"id\n1\n", "plain!.csv")
    assert expanded([path, plain], CSV) == [f"{path}!a.csv", plain]
    assert records(plain) == [{"id": "1"}]
    assert bronze.fingerprint(f"{path}!a.csv") == bronze.fingerprint(plain)
    assert formats.size_of(f"{path}!a.csv") == 5
    assert "the zip archive is empty" in refused(file(archive({}), "none.zip"))
    assert "no longer has this member" in refused_open(f"{path}!b.csv")


def refused_open(path):
    with pytest.raises(FileProblem) as problem:
        records(path)
    return str(problem.value)


def test_any_kind_may_be_inside(file):
    from .test_readers import FORMATS, ROWS

    for fmt, content in FORMATS.values():
        path = file(archive({"feed": content}))
        (member,) = expanded([path], fmt)
        assert records(member, fmt) == ROWS
        assert readers.splits(member, fmt, 1 << 20)[0].path == member
    flat = Format(kind="csv", multiline=False)
    (member,) = expanded([file(archive({"feed": "id\n" + "1\n" * 1000}))], flat)
    assert readers.splits(member, flat, 100) == [Split(member)]  # not cut: an archive is read from its start


def test_an_archive_given_without_its_members_says_so(file):
    path = file(archive({"a.csv": "id\n1\n"}))
    assert "a zip archive; name it in `files:`" in refused_open(path)


@pytest.mark.parametrize(
    "name",
    [
        "../a.csv",
        "a/../../b.csv",
        "/etc/a.csv",
        "\\a.csv",
        "..\\a.csv",
        "C:\\a.csv",
        "c:a.csv",
        "a\nb.csv",
        "a\x1b[1m.csv",
    ],
)
def test_a_name_that_leads_out_refuses_the_whole_archive(file, name):
    path = file(archive({name: "id\n1\n", "good.csv": "id\n1\n"}))
    said = refused(path, ALL)
    assert "it is not read at all" in said
    assert "\n" not in said
    assert "it is not read at all" in refused_open(f"{path}!good.csv")


def test_links_and_repeated_names_are_refused(file):
    link = zipfile.ZipInfo("a.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "holds a link, 'a.csv'" in refused(file(archive({link: "/etc/passwd"})))
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as packed:
        packed.writestr("a.csv", "id\n1\n")
        with pytest.warns(UserWarning, match="Duplicate"):
            packed.writestr("a.csv", "id\n2\n")
    assert "holds the name 'a.csv' twice" in refused(file(sink.getvalue()))


def test_an_encrypted_member_is_refused(file):
    data = bytearray(archive({"a.csv": "id\n1\n"}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "the member is encrypted" in refused(file(bytes(data)))


def test_archives_in_archives_are_refused(file):
    inner = archive({"a.csv": "id\n1\n"})
    assert "an archive inside an archive" in refused_open(file(archive({"a.zip": inner})) + "!a.zip")
    assert "an archive inside an archive" in refused_open(file(archive({"a.gz": gzip.compress(b"id\n1\n")})) + "!a.gz")
    assert "an archive inside an archive" in refused_open(file(gzip.compress(inner)))
    assert "an archive inside an archive" in refused_open(file(gzip.compress(gzip.compress(b"id\n1\n"))))


def test_other_packers_are_named(file):
    import bz2
    import lzma

    assert "packed by bzip2" in refused_open(file(bz2.compress(b"id\n1\n")))
    assert "packed by xz" in refused_open(file(lzma.compress(b"id\n1\n")))
    path = file(archive({}))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as packed:
        packed.writestr("a.csv", "id\n1\n")
    assert "packed by method 12, not by deflate" in refused(path)


def test_an_archive_of_a_kind_that_cannot_be_read_is_not_called_damaged(file):
    data = bytearray(archive({"a.csv": b"id\n1\n"}))
    data[data.find(b"PK\x01\x02") + 6] = 99  # the version of the format that is needed
    said = refused(file(bytes(data)))
    assert "of a kind that cannot be read (zip file version 9.9); have it packed as plain zip" in said
    assert "damaged" not in said


def test_damaged_archives_are_refused(file):
    data = archive({"a.csv": b"id\n" + os.urandom(5000).hex().encode() + b"\n"})
    assert "cut off" in refused(file(data[:-30]))
    wrong = bytearray(data)
    wrong[2000] ^= 0xFF
    assert "damaged zip archive" in refused(file(bytes(wrong)))
    assert "cut off" in refused(file(b"PK\x03\x04" + b"x" * 100))


def bomb(size):
    """A csv of one endless line of zeros, deflated as far as it goes."""
    return gzip.compress(b"id\n" + b"0" * size)


def test_bombs_are_refused_while_they_unpack(file, monkeypatch):
    monkeypatch.setattr(archives, "RATIO_FROM", 1 << 20)
    zipped = archive({"a.csv": b"id\n" + b"0" * (8 << 20)})
    assert "more than 200 times its size" in refused(file(zipped))
    assert "more than 200 times its size" in refused_open(file(bomb(8 << 20)))
    # Text that packs as texts do is read, whatever its size.
    text = b"id,name\n" + b"".join(b"%d,%s\n" % (n, os.urandom(8).hex().encode()) for n in range(100_000))
    assert len(records(file(gzip.compress(text)))) == 100_000
    monkeypatch.setattr(archives, "MAX_RATIO", 10_000)
    monkeypatch.setattr(archives, "MAX_UNPACKED", 4 << 20)
    assert "unpacks to more than 4,194,304 bytes" in refused(file(zipped))
    assert "unpacks to more than 4,194,304 bytes" in refused_open(file(bomb(8 << 20)))


def test_sizes_claimed_by_headers_are_not_believed(file, monkeypatch):
    monkeypatch.setattr(archives, "RATIO_FROM", 1 << 20)
    data = bytearray(archive({"a.csv": b"id\n" + b"0" * (8 << 20)}))
    at = data.index(b"PK\x01\x02")
    for place, size in ((22, 100), (at + 24, 100)):  # says that it unpacks to 100 bytes
        struct.pack_into("<L", data, place, size)
    assert "damaged zip archive" in refused(file(bytes(data)))
    for place, size in ((22, 0xFFFFFFF0), (at + 24, 0xFFFFFFF0)):
        struct.pack_into("<L", data, place, size)
    assert "more than 200 times its size" in refused(file(bytes(data)))


def test_members_that_share_their_bytes_are_refused(file):
    """As in D. Fifield, A better zip bomb (2019): many names, one packed kernel."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    kernel = deflate.compress(b"0" * 1_000_000) + deflate.flush()
    check = zlib.crc32(b"0" * 1_000_000)
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, check, len(kernel), 1_000_000, 1, 0) + b"a" + kernel
    entries = b"".join(
        struct.pack(
            "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, check, len(kernel), 1_000_000, 6, 0, 0, 0, 0, 0, 0
        )
        + b"%02d.csv" % n
        for n in range(50)
    )
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 50, 50, len(entries), len(local), 0)
    assert "overlap" in refused(file(local + entries + end), ALL)


def test_a_huge_table_of_contents_is_refused_before_it_is_read(file, monkeypatch):
    path = file(archive({f"{n}.csv": "" for n in range(50)}))
    monkeypatch.setattr(archives, "MAX_MEMBERS", 49)
    assert "50 members, more than 49" in refused(path)
    monkeypatch.setattr(archives, "MAX_DIRECTORY", 100)
    assert "table of contents is larger than 100 bytes" in refused(path)


def test_nothing_is_written_anywhere(file, tmp_path):
    path = file(archive({"a/b.csv": "id\n1\n"}))
    before = sorted(tmp_path.rglob("*"))
    assert records(expanded([path], CSV)[0]) == [{"id": "1"}]
    assert sorted(tmp_path.rglob("*")) == before
