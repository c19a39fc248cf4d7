"""The kernel of pictures: every problem has a picture that has it, and what is stored is upright, small and bare."""

import hashlib
import io
import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from shelfmark.images import decode
from shelfmark.images.decode import NEVER_NOTED, PROBLEMS, Rules, hashes, misnamed, picture

RULES = Rules(size=64, min_side=16)


def drawn(width=60, height=80, mode="RGB", seed=1, spots=4):
    """A picture of soft spots, as photographs have them."""
    small = np.random.default_rng(seed).integers(0, 256, (spots + 1, spots, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def coded(image, kind="JPEG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def shown(made):
    return Image.open(io.BytesIO(made.bytes))


def close(one, other):
    """Mean difference of two pictures of one size, in levels of 256."""
    return float(np.abs(np.asarray(one.convert("RGB"), int) - np.asarray(other.convert("RGB"), int)).mean())


def frames(kind, count=3):
    first, *rest = [drawn(seed=seed) for seed in range(count)]
    return coded(first, kind, save_all=True, append_images=rest, duration=100)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, data=b"", extra=b""):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


BAD = {
    "not_an_image": [b"", b"<html>not found</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>"],
    "truncated": [
        coded(drawn())[:700], coded(drawn())[:60], coded(drawn(), "PNG")[:-200], coded(drawn(), "GIF")[:300],
        coded(drawn(), "WEBP")[:80],
    ],
    "decompression_bomb": [
        png(30_000, 30_000), png(60_000, 60_000), coded(Image.new("1", (9000, 9000)), "PNG"),
        png(40, 40, bytes(41 * 40), chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80 << 20)))),
    ],
    "animated": [frames("GIF"), frames("WEBP"), frames("PNG"), frames("TIFF")],
    "too_small": [coded(drawn(15, 80)), coded(drawn(9, 9), "PNG")],
    "extreme_aspect": [coded(drawn(16, 129)), coded(drawn(640, 20), "PNG")],
    "blank": [
        coded(Image.new("RGB", (60, 80), "white")), coded(Image.new("L", (60, 80), 17), "GIF"),
        coded(Image.new("RGBA", (60, 80), (255, 0, 0, 0)), "PNG"), coded(Image.new("RGB", (60, 80), (200, 30, 60)), quality=20),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("problem", "data"),
    [(name, data) for name, some in BAD.items() for data in some],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_every_problem_is_told_and_refuses_the_picture(problem, data):
    made = picture(data, RULES)
    assert (made.problems, made.bytes) == ([problem], None)
    assert (made.image_id, made.original_bytes) == (hashlib.sha256(data).hexdigest(), len(data))


def test_every_problem_has_a_picture_here_or_is_for_others_to_say():
    assert set(PROBLEMS) - set(BAD) == {"wrong_extension", "placeholder"}


def test_a_bomb_is_not_decoded(monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    assert picture(png(30_000, 30_000), RULES).problems == ["decompression_bomb"]


@pytest.mark.parametrize("problem", sorted(set(BAD) - set(NEVER_NOTED)))
def test_a_noted_problem_is_told_and_the_picture_is_kept(problem):
    for data in BAD[problem]:
        made = picture(data, Rules(size=64, min_side=16, noted=(problem,)))
        assert made.problems == [problem]
        assert max(shown(made).size) <= 64


def test_names_that_say_another_format():
    assert misnamed("a/b.png", "JPEG")
    assert misnamed("http://shop/a.GIF?size=2", "WEBP")
    for name in ("a.jpeg", "a.JPG?x=.png", "a", "a.php", "a.jpg#x.png", "jpg"):
        assert not misnamed(name, "JPEG"), name
    assert not misnamed("a.png", None)


def test_a_small_bare_jpeg_is_kept_as_it_came():
    data = coded(drawn(60, 64))
    assert picture(data, RULES).bytes == data


def test_what_a_jpeg_carries_beside_its_picture_is_left_out():
    exif = Image.Exif()
    exif[0x010F] = "Zanzibar Cameras"
    data = coded(drawn(60, 64), exif=exif, comment=b"at home", icc_profile=b"profile")
    made = picture(data, RULES)
    assert made.bytes != data
    assert not set(shown(made).info) & set(decode.EMBEDDED)
    assert b"Zanzibar" not in made.bytes
    assert b"at home" not in made.bytes


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_stored_upright(turn, kind):
    """EXIF 2.3, tag 0x0112: the eight ways a picture can lie."""
    ways = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    upright = drawn(48, 64)
    lying = upright.transpose(ways[turn]) if turn > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = turn
    made = picture(coded(lying, kind, exif=exif), RULES)
    assert (made.width, made.height) == (48, 64)
    assert shown(made).size == (48, 64)
    assert close(shown(made), upright) < 6


@given(
    width=st.integers(16, 400),
    height=st.integers(16, 400),
    kind=st.sampled_from(["JPEG", "PNG", "WEBP"]),
    mode=st.sampled_from(["RGB", "L", "RGBA", "P", "CMYK", "LA", "1", "I;16"]),
)
@settings(max_examples=60, deadline=None)
def test_what_is_stored_is_an_rgb_jpeg_that_fits_and_looks_the_same(width, height, kind, mode):
    fitting = {
        "JPEG": ("RGB", "L", "CMYK"),
        "PNG": ("RGB", "L", "RGBA", "P", "LA", "1", "I;16"),
        "WEBP": ("RGB", "RGBA"),
    }
    assume(max(width, height) <= 3 * min(width, height))  # few pixels of many spots are another picture
    if mode not in fitting[kind]:
        mode = "RGB"
    plain = looks = drawn(width, height)
    if mode == "I;16":
        looks = plain.convert("L")
        image = Image.fromarray(np.asarray(plain.convert("L")).astype(np.uint16) * 257)
    else:
        looks = image = plain.convert(mode)
    made = picture(coded(image, kind), RULES)
    assert (made.problems, made.format, made.width, made.height) == ([], kind, width, height)
    stored = shown(made)
    assert (stored.format, stored.mode) == ("JPEG", "RGB") or (mode == "L" and stored.mode == "RGB")
    assert max(stored.size) == min(64, max(width, height))
    if mode != "1":  # black and white dots are another picture when they are made smaller
        assert close(stored, looks.convert("RGB").resize(stored.size, Image.Resampling.BOX)) < 30


@given(st.binary(max_size=300), st.integers(0, 2000), st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"]))
@settings(max_examples=80, deadline=None)
def test_no_bytes_whatever_raise(noise, at, kind):
    data = bytearray(coded(drawn(), kind))
    data[at % len(data) : at % len(data) + len(noise)] = noise
    made = picture(bytes(data), RULES)
    assert set(made.problems) <= set(PROBLEMS)
    assert (made.bytes is None) == bool(made.problems)


def test_hashes_are_those_of_the_transform_as_its_definition_says():
    """DCT-II by its sum, one coefficient at a time."""
    greys = [np.random.default_rng(seed).integers(0, 256, (32, 32), np.uint8) for seed in range(3)]
    wave = [[np.cos(np.pi * k * (2 * n + 1) / 64) for n in range(32)] for k in range(8)]
    for grey, found in zip(greys, hashes([grey.tobytes() for grey in greys])):
        low = [
            sum(wave[u][y] * wave[v][x] * float(grey[y, x]) for y in range(32) for x in range(32))
            for u in range(8)
            for v in range(8)
        ]
        bits = "".join("1" if value > np.median(low) else "0" for value in low)
        assert found == f"{int(bits, 2):016x}"
    assert hashes([None, greys[0].tobytes()]) == [None, hashes([greys[0].tobytes()])[0]]
    assert hashes([]) == []


def test_a_picture_made_smaller_or_coarser_has_nearly_the_same_hash_and_another_has_not():
    def bits(one, other):
        return (int(one, 16) ^ int(other, 16)).bit_count()

    def hashed(data):
        return hashes([picture(data, RULES).grey])[0]

    draw = random.Random(4)
    for _ in range(10):
        image = drawn(300, 400, seed=draw.randrange(10**6), spots=12)
        original = hashed(coded(image, quality=95))
        assert bits(original, hashed(coded(image.resize((150, 200)), quality=50))) <= 6
        assert bits(original, hashed(coded(image, "PNG"))) <= 4
        assert bits(original, hashed(coded(drawn(300, 400, seed=draw.randrange(10**6), spots=12)))) > 12


def by_pillow(data, rules):
    """What Pillow alone makes of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "_bare_size", lambda _: None)
        return picture(data, rules)


@given(
    st.integers(1, 64), st.integers(1, 64), st.integers(1, 100), st.sampled_from([0, 1, 2]), st.booleans(), st.booleans(),
    st.integers(0, 2**32), st.one_of(st.none(), st.integers(0, 3000)), st.one_of(st.none(), st.integers(0, 3000)),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_a_thumbnail_is_what_pillow_makes_of_it(wide, high, quality, sampling, progressive, optimized, seed, cut, flip):
    made = drawn(wide, high, seed=seed)
    data = bytearray(coded(made, quality=quality, subsampling=sampling, progressive=progressive, optimize=optimized))
    if flip is not None:  # damage
        data[flip % len(data)] ^= 1 << seed % 8
    data = bytes(data[:cut])
    one, other = picture(data, RULES), by_pillow(data, RULES)
    assert one == other
    assert one.grey == other.grey


@pytest.mark.parametrize(
    "beside",
    [
        {},
        {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"},
        {"comment": b"of a camera"},
        {"icc_profile": b"profile"},
        {"quality": 95, "restart_marker_blocks": 2},
    ],
)
def test_only_a_jpeg_with_nothing_beside_its_picture_is_taken_for_a_bare_one(beside):
    data = coded(drawn(50, 40), **beside)
    bare = not {"exif", "comment", "icc_profile"} & set(beside)
    assert decode._bare_size(data) == ((50, 40) if bare else None)
    assert decode._bare_size(coded(drawn(50, 40, "L"))) is None
    assert decode._bare_size(b"\xff\xd8\xff") is None
    made = picture(data, RULES)
    assert made == by_pillow(data, RULES)
    assert (made.bytes == data) == bare
