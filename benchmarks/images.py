"""Pictures of the fashion feed: our job, from the archive to published tables, against a plain loop of Pillow.

    python benchmarks/images.py [--quick] [--json FILE]

Ours is `shelfmark run images` on a lake that has ingested the feed: every picture decoded, judged, hashed, stored, linked to
its products, tables checked and published; Spark runs already, as in a pipeline. Then once more, where nothing is new. The
peer does a part of that in one process: tarfile, Pillow, upright, RGB, at most 224 pixels, JPEG of quality 85, sha256, into
a list in memory. It needs the real feeds (SHELFMARK_REAL_DATA); --quick takes 5,000 of its 35,073 products.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from _table import line, parse, report
from PIL import Image, ImageOps

from shelfmark import config, session
from shelfmark.lake import open_lake
from shelfmark.pipeline import _execute
from shelfmark.query import read

GOAL = 2_000  # pictures a second on two cores
QUICK = 5_000
REAL = Path(os.environ.get("SHELFMARK_REAL_DATA") or Path(__file__).parents[2] / "shared" / "data")


def plain(archive: Path, most: int | None) -> int:
    """The peer: how many pictures it made."""
    made = []
    with tarfile.open(archive) as tar:
        for member in itertools.islice((one for one in tar if one.isfile()), most):
            data = tar.extractfile(member).read()
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
            image.thumbnail((224, 224))
            out = io.BytesIO()
            image.save(out, "JPEG", quality=85)
            made.append((hashlib.sha256(data).hexdigest(), out.getvalue()))
    return len(made)


def ours(settings: config.Settings, products: int) -> tuple[float, float]:
    """Seconds of the job, and of the job again."""
    spark = session.start(settings, "benchmark")
    _execute("ingest", settings, spark, "20260101-first", False)
    seconds = []
    for run_id in ("20260102-pictures", "20260103-again"):
        began = time.perf_counter()
        done = _execute("images", settings, spark, run_id, False)
        seconds.append(time.perf_counter() - began)
        print(f"{run_id}: {seconds[-1]:.1f} s, {done.notes['pictures']}", file=sys.stderr, flush=True)
    lake = open_lake(settings)
    links = read(spark, lake, lake.head().id, "silver.image_links")
    if links.where("image_id IS NOT NULL").count() != products:
        raise AssertionError(
            f"{links.where('image_id IS NOT NULL').count()} of {products} products are linked to a picture"
        )
    spark.stop()
    return tuple(seconds)


def main() -> int:
    args = parse(__doc__.splitlines()[0])
    folder = REAL / "images"
    if not folder.is_dir():
        sys.exit(f"no real feeds at {REAL}; set SHELFMARK_REAL_DATA")
    with tempfile.TemporaryDirectory() as root:
        here = Path(root, "images")
        here.mkdir()
        with open(folder / "fashion.csv") as feed:
            rows = list(itertools.islice(feed, QUICK + 1 if args.quick else None))
        (here / "fashion.csv").write_text("".join(rows))
        archive = here / "fashion_images.tar"
        archive.symlink_to(folder / archive.name)
        products = len(rows) - 1
        began = time.perf_counter()
        pictures = plain(archive, products)
        peer = time.perf_counter() - began
        settings = config.load(home=str(Path(root, "home")), data=root, sources=["fashion"])
        first, again = ours(settings, products)
    work = f"{products:,} products"
    bar = None if args.quick else f"at least {GOAL:,}"
    lines = [
        line(
            work, "pictures/s", products / first, pictures / peer, "Pillow, one process", bar,
            None if args.quick else products / first >= GOAL,
        ),
        line(work, "pictures/s, nothing new", products / again),
    ]  # fmt: skip
    return report(lines, args.json)


if __name__ == "__main__":
    sys.exit(main())
