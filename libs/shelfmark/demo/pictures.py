"""Small JPEGs that tell something about the category: same category, same kind of drawing, never the same picture.

Department -> pattern of the background; group of siblings -> main shape; category -> mark inside the shape, its count
and accent colour; the product's own colour fills the shape. Place, size, angle, brightness and grain are noise.
"""

from __future__ import annotations

import io
import math
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from shelfmark.demo import vocabulary as words
from shelfmark.demo.records import Records
from shelfmark.demo.universe import leaves

SIDE = 64
_QUALITY = 75
_GRAINS = 16
_SHAPES = 14


def _hue(number: int) -> tuple[int, int, int]:
    """Colours far from each other for neighbouring numbers: steps of the golden angle around the colour circle."""
    turn = number * 2.399963
    return tuple(int(140 + 90 * math.cos(turn + shift)) for shift in (0.0, 2.1, 4.2))


def _outline(shape: int, radius: float, angle: float, x: float, y: float) -> list[tuple[float, float]]:
    """Corners of the main shape: stars, polygons and bars of different proportions."""
    if shape < 6:  # polygons of 3 to 8 corners
        corners = [(radius, 2 * math.pi * k / (shape + 3)) for k in range(shape + 3)]
    elif shape < 10:  # stars of 4 to 7 points
        points = shape - 2
        corners = [(radius if k % 2 == 0 else radius * 0.45, math.pi * k / points) for k in range(2 * points)]
    else:  # boxes from flat to tall
        wide, high = ((1.0, 0.35), (0.35, 1.0), (1.0, 0.7), (0.6, 0.6))[shape - 10]
        corners = [(radius * math.hypot(wide, high), math.atan2(sy * high, sx * wide))
                   for sx, sy in ((1, 1), (-1, 1), (-1, -1), (1, -1))]  # fmt: skip
    return [(x + r * math.cos(a + angle), y + r * math.sin(a + angle)) for r, a in corners]


def _grains(rng: np.random.Generator) -> list[Image.Image]:
    """Grain to lay over pictures: grey noise around 128."""
    noise = np.clip(rng.normal(128, 22, (_GRAINS, SIDE, SIDE)), 0, 255).astype(np.uint8)
    return [Image.fromarray(one, "L").convert("RGB") for one in noise]


def draw(leaf_index: int, colour: int, noise: list[float], grain: Image.Image) -> bytes:
    """A JPEG of `SIDE` x `SIDE` for a product; `noise` is eight numbers in [0, 1) that make it its own."""
    leaf = leaves()[leaf_index]
    shade = 205 + int(45 * noise[0])
    picture = Image.new("RGB", (SIDE, SIDE), (shade, shade, shade - int(25 * noise[1])))
    canvas = ImageDraw.Draw(picture)
    pale = tuple((shade + value) // 2 for value in _hue(leaf.root + 40))
    pattern, step = leaf.root % 4, 8 + leaf.root // 4 * 4
    offset = int(noise[2] * step)
    for at in range(offset - SIDE, 2 * SIDE, step):
        if pattern == 0:
            canvas.line((0, at, SIDE, at), pale)
        elif pattern == 1:
            canvas.line((at, 0, at, SIDE), pale)
        elif pattern == 2:
            canvas.line((at, 0, at + SIDE, SIDE), pale)
        else:
            canvas.ellipse((at - 2, SIDE // 2 - at % SIDE, at + 5, SIDE // 2 - at % SIDE + 7), outline=pale)
    radius = 17 + 8 * noise[3]
    x, y = 26 + 12 * noise[4], 26 + 12 * noise[5]
    angle = (noise[6] - 0.5) * 0.7 + leaf.group * 0.4
    fill = words.COLOURS[colour][3] if colour >= 0 else _hue(int(noise[7] * 50))
    canvas.polygon(_outline(leaf.group % _SHAPES, radius, angle, x, y), fill=fill, outline=(60, 60, 60))
    accent = _hue(leaf.index)
    marks, kind = 1 + leaf.index % 4, leaf.index // 4 % 3
    for mark in range(marks):
        turn = angle + 2 * math.pi * mark / marks
        mx, my = x + radius * 0.42 * math.cos(turn), y + radius * 0.42 * math.sin(turn)
        if kind == 0:
            canvas.ellipse((mx - 3, my - 3, mx + 3, my + 3), fill=accent)
        elif kind == 1:
            canvas.rectangle((mx - 3, my - 3, mx + 3, my + 3), fill=accent)
        else:
            canvas.line((mx - 5, my - 5, mx + 5, my + 5), accent, 2)
    if leaf.audience:  # for whom: a bar along one edge
        edge = "mwk".index(leaf.audience)
        box = ((0, 0, SIDE, 3), (0, SIDE - 4, SIDE, SIDE), (0, 0, 3, SIDE))[edge]
        canvas.rectangle(box, fill=_hue(edge + 7))
    picture = Image.blend(picture, grain, 0.12)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def write_shard(records: Records, rows: list[int], folder: Path, chunk: int, seed: int, vendor: int) -> int:
    """Draw the pictures of `rows` into `<folder>/<chunk>.tar`, with `<chunk>.csv` (name,offset,bytes) beside it.

    Offset is where the JPEG starts in the tar file. Returns the number of pictures. A copy at another
    vendor has a picture of its own, drawn alike; a relisting may use its vendor's again.
    """
    rng = np.random.default_rng([seed, chunk, vendor, 1])
    grains = _grains(rng)
    noise = rng.random((len(rows), 8)).tolist()
    index = ["name,offset,bytes"]
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{chunk:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, i in enumerate(rows):
            if not records.key[i] or records.photo[i] >= 0:
                continue
            content = draw(records.leaf[i], records.colour[i], noise[number], grains[number % _GRAINS])
            member = tarfile.TarInfo(f"{records.key[i]}.jpg")
            member.size = len(content)
            index.append(f"{member.name},{tar.offset + tarfile.BLOCKSIZE},{len(content)}")
            tar.addfile(member, io.BytesIO(content))
    (folder / f"{chunk:05d}.csv").write_text("\n".join(index) + "\n")
    return len(index) - 1
