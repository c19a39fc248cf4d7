"""The kernel of pictures: bytes -> a small upright JPEG, its perceptual hash, and what is wrong with it. No Spark.

1. The header is read: format, size, frames. What it alone condemns (a bomb, an animation) is never decoded.
2. A JPEG is decoded at 1/2, 1/4 or 1/8 where that is still more than `Rules.size`; then it is turned as its EXIF says,
   laid on white where it is transparent, and made to fit a square of `Rules.size`; a small picture is never made larger.
3. A JPEG that needs none of this is stored as it came, so that it loses nothing. Such a one is decoded by libjpeg-turbo at
   once (simplejpeg): what Pillow does around that takes longer than to decode a thumbnail.

`PROBLEMS` names what can be wrong. A picture with a problem that `Rules.noted` does not list is refused: it has no bytes.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

PROBLEMS = {
    "not_an_image": "its bytes are no picture in a format that is read",
    "truncated": "its data end early or are damaged",
    "decompression_bomb": "it unpacks to more pixels than images.max_pixels",
    "animated": "it has several frames",
    "too_small": "a side is shorter than images.min_side",
    "extreme_aspect": "one side is more than images.max_aspect times the other",
    "blank": "it shows a single colour",
    "wrong_extension": "its name says another format than its bytes",
    "placeholder": "products of more than images.placeholder_titles titles show the same picture",
}
"""What can be wrong with a picture, and what it means; `placeholder` is for who sees all products to say."""

NEVER_NOTED = ("not_an_image", "truncated", "decompression_bomb")
"""Problems that leave nothing to store."""

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
"""What is read. A fixed list: Pillow also knows formats that start other programs (EPS) or fetch what they name."""

EXTENSIONS = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif", "pjpeg"), "PNG": ("png", "apng"), "GIF": ("gif",), "WEBP": ("webp",),
    "BMP": ("bmp", "dib"), "TIFF": ("tif", "tiff"), "AVIF": ("avif", "avifs"),
}  # fmt: skip
"""Endings of names by format. A name with another ending, or none, says nothing of the format."""

FORMAT_OF = {ending: name for name, endings in EXTENSIONS.items() for ending in endings}

SAME = 6
"""Levels of 256 within which a channel counts as one colour: what JPEG makes of a plain area differs by 3 at the most."""

HASHED = 32  # side of the grey picture a hash is made of
EMBEDDED = ("exif", "icc_profile", "xmp", "comment", "photoshop", "mp")
"""What a JPEG may carry beside its picture; a stored one carries none of it."""

# Segments of a JPEG that has a picture and nothing beside it: JFIF's header, tables, and where its rows begin.
_JFIF, _TABLES, _BASELINE, _SCAN = 0xE0, (0xDB, 0xC4, 0xDD), (0xC0, 0xC1, 0xC2), 0xDA
_MAGICS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Rules:
    """How pictures are made and judged: settings `images`, see config.py. `noted`: problems that refuse no picture."""

    size: int = 224
    quality: int = 85
    min_side: int = 32
    max_aspect: float = 8.0
    max_pixels: int = 50_000_000
    noted: tuple[str, ...] = ("wrong_extension",)


@dataclass(frozen=True)
class Picture:
    """A picture of silver.images. `width` and `height`: of the original, upright; `bytes`: the JPEG, None if refused."""

    image_id: str
    original_bytes: int
    bytes: bytes | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    problems: list[str] = field(default_factory=list)
    grey: bytes | None = field(default=None, repr=False, compare=False)


def picture(data: bytes, rules: Rules) -> Picture:
    """Decode one picture. Never raises for what the bytes hold. `grey`: 32 x 32 grey levels to hash, None if not decoded."""
    known = {"image_id": hashlib.sha256(data).hexdigest(), "original_bytes": len(data)}
    if (size := _bare_size(data)) and (made := _thumbnail(data, size, rules, known)):
        return made
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged EXIF and large sizes: both are judged here
        try:
            image = Image.open(io.BytesIO(data), formats=_readable())
        except Exception as error:
            begun = data.startswith(_MAGICS) or data[8:12] == b"WEBP" or data[4:8] == b"ftyp"
            return Picture(**known, problems=[_damage(error) if begun else "not_an_image"])
        try:
            return _decoded(image, data, rules, known)
        except Exception as error:
            width, height = image.size
            return Picture(**known, format=_format(image), width=width, height=height, problems=[_damage(error)])


def _bare_size(data: bytes) -> tuple[int, int] | None:
    """(Width, height) of a JPEG in three colours with no profile, EXIF, comment or the like; None of anything else."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    at, size = 2, None
    while at + 10 <= len(data) and data[at] == 0xFF:
        kind, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if kind == _SCAN:
            return size
        if kind in _BASELINE and size is None and data[at + 4] == 8 and data[at + 9] == 3:
            size = data[at + 7] << 8 | data[at + 8], data[at + 5] << 8 | data[at + 6]
        elif kind not in _TABLES and not (kind == _JFIF and data[at + 4 : at + 9] == b"JFIF\0"):
            return None
        at += 2 + length
    return None


def _thumbnail(data: bytes, size: tuple[int, int], rules: Rules, known: dict) -> Picture | None:
    """A bare JPEG that nothing condemns and that is small enough to be stored as it came; None is for Pillow to say."""
    if max(size) > rules.size or _bomb(*size, rules) or _misshapen(*size, rules):
        return None
    try:
        pixels = simplejpeg.decode_jpeg(data, strict=True)
    except Exception:
        return None
    shown = Image.fromarray(pixels)
    if shown.size != size or _blank(shown):
        return None
    return Picture(**known, format="JPEG", width=size[0], height=size[1], grey=_grey(shown), bytes=data)


def _bomb(width: int, height: int, rules: Rules) -> bool:
    return width * height > rules.max_pixels


def _misshapen(width: int, height: int, rules: Rules) -> list[str]:
    """What is wrong with a picture of this size."""
    problems = []
    if min(width, height) < rules.min_side:
        problems.append("too_small")
    if max(width, height) > rules.max_aspect * min(width, height):
        problems.append("extreme_aspect")
    return problems


def _blank(shown: Image.Image) -> bool:
    """Whether an RGB picture shows a single colour."""
    return all(high - low <= SAME for low, high in shown.getextrema())


def _grey(shown: Image.Image) -> bytes:
    return shown.convert("L").resize((HASHED, HASHED), Image.Resampling.LANCZOS).tobytes()


def _decoded(image: Image.Image, data: bytes, rules: Rules, known: dict) -> Picture:
    (width, height), format_ = image.size, _format(image)
    known = {**known, "format": format_, "width": width, "height": height}
    if _bomb(width, height, rules):
        return Picture(**known, problems=["decompression_bomb"])
    problems = ["animated"] if format_ != "JPEG" and getattr(image, "is_animated", False) else []
    problems += _misshapen(width, height, rules)
    if _refused(problems, rules):
        return Picture(**known, problems=problems)

    small = max(width, height) <= rules.size
    if format_ == "JPEG" and not small:
        image.thumbnail((rules.size, rules.size), Image.Resampling.BICUBIC, reducing_gap=2.0)
    image.load()
    turned = _orientation(image) > 1
    if turned:
        image = ImageOps.exif_transpose(image)
        if known["width"] != known["height"] and _swapped(image, width, height):
            known["width"], known["height"] = height, width
    plain = image.mode == "RGB" and not turned and "transparency" not in image.info
    shown = image if plain else _on_white(image)
    if format_ != "JPEG" and not small:
        shown.thumbnail((rules.size, rules.size), Image.Resampling.BICUBIC)
    if _blank(shown):
        problems.append("blank")
    grey = _grey(shown)
    if _refused(problems, rules):
        return Picture(**known, problems=problems, grey=grey)
    as_it_came = format_ == "JPEG" and small and plain and not any(key in image.info for key in EMBEDDED)
    return Picture(**known, problems=problems, grey=grey, bytes=data if as_it_came else _jpeg(shown, rules.quality))


def _damage(error: Exception) -> str:
    """Which problem an error of Pillow is: its limits of pixels and of a PNG's packed texts, or damaged data."""
    bomb = isinstance(error, Image.DecompressionBombError) or "data too large" in str(error)
    return "decompression_bomb" if bomb else "truncated"


def _format(image: Image.Image) -> str:
    """The format; the JPEG of a camera with a second one behind it (MPO) is a JPEG."""
    return "JPEG" if image.format == "MPO" else image.format


def _refused(problems: Sequence[str], rules: Rules) -> bool:
    return any(problem not in rules.noted for problem in problems)


def _orientation(image: Image.Image) -> int:
    if image.format == "JPEG" and "exif" not in image.info:
        return 1  # to ask Pillow for the EXIF of a picture without any costs as much as to decode a small one
    try:
        turn = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF is no reason to refuse a picture that can be seen
        return 1
    return turn if isinstance(turn, int) and 1 < turn < 9 else 1


def _swapped(image: Image.Image, width: int, height: int) -> bool:
    """Whether a turned picture lies the other way than the original of that size."""
    return (image.width > image.height) != (width > height)


def _on_white(image: Image.Image) -> Image.Image:
    """The picture in RGB, on white where it is transparent."""
    if image.mode.startswith("I;16") or image.mode == "I":
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        return ground
    return image.convert("RGB")


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    bare = image.copy() if image.info else image
    bare.info = {}
    bare.save(out, "JPEG", quality=quality)
    return out.getvalue()


def misnamed(name: str, format_: str | None) -> bool:
    """Whether a file name or address ends like another format's than that of its bytes."""
    ending = PurePosixPath(name.partition("?")[0].partition("#")[0]).suffix.lower().lstrip(".")
    return format_ is not None and FORMAT_OF.get(ending, format_) != format_


def hashes(greys: Sequence[bytes | None]) -> list[str | None]:
    """Perceptual hash of each grey picture (32 x 32 levels, row by row) as 16 hexadecimal digits; None for none.

    pHash: the 8 x 8 lowest frequencies of the two-dimensional cosine transform (DCT-II), each one bit: above their
    median or not. Pictures that look alike differ in few bits. C. Zauner, "Implementation and Benchmarking of Perceptual
    Image Hash Functions" (2010), as the library imagehash computes it.
    """
    some = [place for place, grey in enumerate(greys) if grey is not None]
    found: list[str | None] = [None] * len(greys)
    if some:
        base = _cosines()
        levels = np.frombuffer(b"".join(greys[place] for place in some), np.uint8).reshape(-1, HASHED, HASHED)
        low = base @ levels.astype(np.float64) @ base.T
        low = low.reshape(len(some), 64)
        bits = low > np.median(low, axis=1, keepdims=True)
        packed = np.packbits(bits, axis=1)
        for place, row in zip(some, packed):
            found[place] = row.tobytes().hex()
    return found


@lru_cache(1)
def _readable() -> tuple[str, ...]:
    """Those of `FORMATS` that this build of Pillow knows."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@lru_cache(1)
def _cosines() -> np.ndarray:
    """float64[8, 32]: the first 8 rows of the DCT-II matrix of 32 points, unscaled: only an order is asked of it."""
    k, n = np.arange(8)[:, None], np.arange(HASHED)[None, :]
    return 2 * np.cos(np.pi * k * (2 * n + 1) / (2 * HASHED))
