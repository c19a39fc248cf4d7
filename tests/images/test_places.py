"""What a reference means, where its bytes lie, and that none leads out of its place."""

import io
import os
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.images import places
from shelfmark.images.places import Place, Reader, Refused, candidates, file_of, kind, members


def tar(path, files, **options):
    with tarfile.open(path, "w", **options) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return str(path)


def refused(rule, call, *arguments):
    with pytest.raises(Refused) as found:
        call(*arguments)
    assert found.value.rule == rule
    assert rule in places.RULES
    assert found.value.said


def test_kinds_of_references():
    assert [kind(one) for one in ("a/b.jpg", "HTTPS://shop/a.jpg", "http://[::1]/a", "bytes:ab", "C:\\a.jpg")] == [
        "path", "url", "url", "content", "path",
    ]  # fmt: skip
    for strange in (
        "ftp://shop/a.jpg",
        "file:///etc/passwd",
        "s3://b/a.jpg",
        "data:image/png;base64,AA",
        "a\0b",
        "x" * 5000,
    ):
        refused("picture_reference", kind, strange)


def test_a_path_is_looked_up_in_every_place_in_order():
    among = [Place("/data/new"), Place("/data/old.tar", "shop"), Place("/data/all.tar", "")]
    assert candidates("/a/1.jpg", among) == [
        ("/data/new/a/1.jpg", None), ("/data/old.tar", "shop/a/1.jpg"), ("/data/all.tar", "a/1.jpg"),
    ]  # fmt: skip
    folder = [Place("/data")]
    for written in ("p/0.tar/a/1.jpg", "p/0.tar!a/1.jpg", "p\\0.tar\\a\\1.jpg", "./p/0.tar/a/1.jpg"):
        assert candidates(written, folder) == [("/data/p/0.tar", "a/1.jpg")], written


@pytest.mark.parametrize("path", ["../a.jpg", "a/../../b.jpg", "/../etc/passwd", "..\\a.jpg", "p/0.tar!../a.jpg"])
def test_a_path_that_leads_out_is_refused(path):
    refused("picture_outside", candidates, path, [Place("/data"), Place("/data/a.tar", "x")])


def test_a_reference_without_a_name_is_refused():
    for nothing in ("/", ".", "./"):
        refused("picture_reference", candidates, nothing, [Place("/data")])


def test_places_are_folders_archives_and_globs(tmp_path):
    for name in ("b.tar", "a.tar"):
        tar(tmp_path / name, [("x", b"1")])
    assert places.places([], tmp_path) == [Place(str(tmp_path))]
    assert places.places(["*.tar!shop/"], tmp_path) == [Place(str(tmp_path / n), "shop") for n in ("a.tar", "b.tar")]
    assert places.places(["pictures", "c.TAR"], tmp_path) == [
        Place(str(tmp_path / "pictures")), Place(str(tmp_path / "c.TAR"), ""),
    ]  # fmt: skip


def test_a_file_is_found_within_its_place_only(tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    (root / "a.jpg").write_bytes(b"12345")
    (tmp_path / "secret").write_bytes(b"x")
    os.symlink(tmp_path / "secret", root / "link.jpg")
    os.symlink(root / "a.jpg", root / "inner.jpg")
    size, version = file_of(str(root / "a.jpg"), str(root), 5)
    assert size == 5
    assert file_of(str(root / "inner.jpg"), str(root), 5)[0] == 5
    refused("picture_outside", file_of, str(root / "link.jpg"), str(root), 5)
    refused("picture_missing", file_of, str(root / "b.jpg"), str(root), 5)
    refused("picture_missing", file_of, str(root), str(root), 5)
    refused("picture_missing", file_of, str(root / ("x" * 300)), str(root), 5)
    refused("picture_too_large", file_of, str(root / "a.jpg"), str(root), 4)
    os.utime(root / "a.jpg", (1, 1))
    assert file_of(str(root / "a.jpg"), str(root), 5)[1] != version


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=90).filter(
    lambda name: name not in (".", "..")
)


@given(
    st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=4).map("/".join), st.binary(max_size=1500)), max_size=12),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
@settings(max_examples=60, deadline=None)
def test_the_index_is_what_tarfile_reads(tmp_path_factory, files, form):
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    try:
        tar(path, files, format=form)
    except ValueError:  # a name that ustar has no room for
        return
    with tarfile.open(path) as archive:
        expected = [(m.name.removeprefix("./"), m.offset_data, m.size) for m in archive if m.isfile()]
    assert list(members(str(path))) == expected
    reader = Reader()
    contents = [content for name, content in files if not name.endswith("/")]
    assert [reader.read(str(path), offset, size) for _, offset, size in expected] == contents[: len(expected)]
    reader.close()


def test_links_folders_and_devices_are_no_pictures(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, type_ in (
            ("d", tarfile.DIRTYPE),
            ("l", tarfile.SYMTYPE),
            ("h", tarfile.LNKTYPE),
            ("f", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = type_, "/etc/passwd"
            archive.addfile(member)
        member = tarfile.TarInfo("./a.jpg")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    assert [name for name, _, _ in members(str(path))] == ["a.jpg"]


def test_an_archive_that_breaks_off_or_is_packed_says_so_after_what_it_gave(tmp_path):
    path = tmp_path / "a.tar"
    tar(path, [("1", b"x" * 600), ("2", b"y" * 600)])
    whole = path.read_bytes()
    path.write_bytes(whole[:1536] + b"garbage".ljust(512, b"!") + whole[2048:])
    found = []
    with pytest.raises(Refused, match="damaged at byte 1,536") as why:
        found.extend(name for name, _, _ in _gathered(members(str(path)), found))
    assert why.value.rule == "archive_unreadable"
    assert [name for name, _, _ in found] == ["1"]
    path.write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(Refused, match="packed"):
        list(members(str(path)))
    refused("archive_unreadable", places.version, str(tmp_path / "none.tar"))
    refused("archive_unreadable", lambda: list(members(str(tmp_path / "none.tar"))))


def _gathered(rows, into):
    for row in rows:
        into.append(row)
    return []


def test_a_member_that_breaks_off_is_as_short_as_it_is(tmp_path):
    path = tmp_path / "a.tar"
    tar(path, [("1", b"x" * 600)])
    path.write_bytes(path.read_bytes()[:800])
    assert [(offset, size) for _, offset, size in members(str(path))] == [(512, 600)]
    reader = Reader()
    assert reader.read(str(path), 512, 600) == b"x" * 288
    refused("picture_unreadable", reader.read, str(tmp_path / "none"), 0, 5)


def test_headers_that_mean_harm_are_refused(tmp_path):
    path = tmp_path / "a.tar"

    def header(change):
        member = tarfile.TarInfo("a.jpg")
        block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
        for at, field in change.items():
            block[at : at + len(field)] = field
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:512]) + 256)
        path.write_bytes(block + bytes(1024))
        return list(members(str(path)))

    assert header({}) == [("a.jpg", 512, 0)]
    for change in (
        {124: b"99999999999\0"},
        {156: b"L", 124: b"77777777777\0"},
        {156: b"x", 124: b"\x80" + b"\xff" * 11},
    ):
        with pytest.raises(Refused) as why:
            header(change)
        assert why.value.rule == "archive_unreadable"
    assert header({124: b"\x80" + bytes(6) + b"\x01" + bytes(4)}) == [("a.jpg", 512, 1 << 32)]
