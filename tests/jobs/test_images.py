"""The images job: from files, archives, columns and addresses to pictures, links and refusals; only what changed is done."""

import base64
import http.server
import io
import json
import os
import tarfile
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image
from rich.console import Console

from shelfmark import config, erasure, pipeline
from shelfmark.ingest.normalise import product_id
from shelfmark.lake import open_lake
from shelfmark.pipeline import _execute
from shelfmark.query import read

pytestmark = pytest.mark.slow
unchecked = pytest.mark.usefixtures("unchecked")  # all but the first test, whose tables have every kind of row

MAPPING = """
description: a shop for tests
licence: made up, Apache-2.0
files: {files}
format: {{kind: {kind}}}
key: id
region: US
language: en
fields: {{title: name{image}}}
{pictures}
"""
WORDS = [
    "oak board",
    "wool scarf",
    "steel pan",
    "desk lamp",
    "cork mat",
    "silk tie",
    "toy train",
    "garden rake",
    "blue vase",
]


def drawn(seed, width=60, height=80):
    spots = np.random.default_rng(seed).integers(0, 256, (5, 4, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(spots).resize((width, height)).save(out, "JPEG")
    return out.getvalue()


class Shop:
    def __init__(self, spark, root):
        self.spark, self.root, self.day, self.sources, self.set = spark, root, 0, [], []

    def source(self, name, pictures="", image=True, kind="csv", files=None):
        text = MAPPING.format(
            files=files or f"{name}-*.csv", kind=kind, image=", image: photo" if image else "",
            pictures=f"pictures: {pictures}" if pictures else "",
        )  # fmt: skip
        (self.root / f"{name}.yml").write_text(text)
        self.sources.append(name)

    def feed(self, name, photos):
        """`photos`: key -> reference. Titles are all unlike."""
        rows = [f"{key},{WORDS[int(key) % 9]} {key},{photo}" for key, photo in photos.items()]
        (self.root / f"{name}.csv").write_text("\n".join(["id,name,photo", *rows]) + "\n")

    def picture(self, path, content):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(content)

    def tar(self, path, files):
        with tarfile.open(self.root / path, "w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    @property
    def settings(self):
        return config.load(
            overrides=self.set, home=str(self.root / "home"), data=str(self.root), sources=self.sources,
            source_dirs=[str(self.root)],
        )  # fmt: skip

    def run(self, *jobs):
        self.day += 1
        return [_execute(job, self.settings, self.spark, f"202601{self.day:02d}-t", False) for job in jobs][-1]

    def rows(self, name):
        lake = open_lake(self.settings)
        return read(self.spark, lake, lake.head().id, name).collect()

    def links(self):
        """Key -> (usable, problems) of every product with a picture."""
        keys = {row.product_id: row.source_key for row in self.rows("silver.products")}
        return {keys[row.product_id]: (row.usable, row.problems) for row in self.rows("silver.image_links")}

    def tables(self):
        folders = open_lake(self.settings).folders("main")
        return {f: d for f, d in folders.items() if not f.startswith("gold/runs")}

    def refused(self):
        """(Key, rule) of what is open."""
        rows = self.rows("silver.rejected")
        return sorted((r.key, r.rule) for r in rows if r.table == "silver.image_links" and r.resolved_by is None)


@pytest.fixture
def shop(spark, tmp_path):
    return Shop(spark, tmp_path)


@pytest.fixture
def server():
    """A server of pictures on 127.0.0.1: `paths` (path -> bytes, or a status) and what was `asked`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            made.asked.append(self.path)
            found = made.paths.get(self.path, 404)
            self.send_response(200 if isinstance(found, bytes) else found)
            self.end_headers()
            self.wfile.write(found if isinstance(found, bytes) else b"")

        def log_message(self, *_):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.paths, made.asked = {}, []
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_every_reference_ends_in_a_picture_or_a_reason_and_only_what_changed_is_done(shop, server):
    host = f"127.0.0.1:{server.server_address[1]}"
    shop.set = ["images.urls=true", f"images.allowed_hosts=[{host}]", "images.max_mib=1", "images.retries=0"]
    shop.source("shop", "[pictures, 'old.tar!in']")
    shop.source("net")
    shop.source("base", "{encoding: base64}", kind="parquet", files="base.parquet")
    for name, content in {
        "a.jpg": drawn(1), "sub/copy.jpg": drawn(1), "named.png": drawn(2), "white.jpg": drawn(3, 20, 20),
        "cut.jpg": drawn(4)[:500], "text.jpg": b"<html>", "huge.jpg": bytes(2 << 20), "b.jpg": drawn(5),
    }.items():  # fmt: skip
        shop.picture(f"pictures/{name}", content)
    shop.tar("old.tar", {"in/b.jpg": drawn(99), "in/t.jpg": drawn(6), "out.jpg": drawn(7)})
    shop.tar("pictures/more.tar", {"m.jpg": drawn(8, 600, 400)})
    shop.feed("shop-1", {
        "1": "a.jpg", "2": "sub/copy.jpg", "3": "named.png", "4": "white.jpg", "5": "cut.jpg", "6": "text.jpg",
        "7": "huge.jpg", "8": "b.jpg", "9": "/t.jpg", "10": "out.jpg", "11": "../shop.yml", "12": "more.tar/m.jpg",
        "13": "gone.tar!x.jpg", "14": "ftp://shop/a.jpg", "15": "",
    })  # fmt: skip
    server.paths = {"/20.jpg": drawn(20), "/22.jpg": 503}
    shop.feed("net-1", {
        "20": f"http://{host}/20.jpg", "21": f"http://{host}/21.jpg", "22": f"http://{host}/22.jpg",
        "23": "http://localhost/x.jpg",
    })  # fmt: skip
    columns = {
        "id": ["30", "31", "32"], "name": ["brass bell", "tin drum", "glass bead"],
        "photo": pa.array([drawn(30), drawn(1), b"\xff\xfe"], pa.binary()),
    }  # fmt: skip
    parquet.write_table(pa.table(columns), shop.root / "base.parquet")

    notes = shop.run("ingest", "images").notes["pictures"]
    good = {"1", "2", "8", "9", "12", "20", "30", "31"}
    bad = {"4": ["too_small"], "5": ["truncated"], "6": ["not_an_image"], "32": ["not_an_image"]}
    none = {
        "7": "picture_too_large", "10": "picture_missing", "11": "picture_outside", "13": "archive_unreadable",
        "14": "picture_reference", "21": "picture_missing", "22": "picture_unreachable", "23": "address_refused",
    }  # fmt: skip
    expected = {key: (True, []) for key in good} | {"3": (True, ["wrong_extension"])}
    expected |= {key: (False, problems) for key, problems in bad.items()} | {k: (False, [r]) for k, r in none.items()}
    assert shop.links() == expected
    assert shop.refused() == sorted(none.items())
    assert (notes["references"], notes["usable"], notes["without_bytes"], notes["read"]) == (21, 9, 8, 13)

    images = {row.image_id: row for row in shop.rows("silver.images")}
    products = {row.source_key: row for row in shop.rows("silver.products")}
    assert {key for key, row in products.items() if row.image_id} == good | {"3"}
    assert products["1"].image_id == products["2"].image_id == products["31"].image_id
    assert products["15"].image is None
    assert products["30"].image == f"bytes:{products['30'].image_id}"
    assert len(images) == 11
    assert {row.image_id for row in images.values() if row.bytes is None} & {
        p.image_id for p in products.values()
    } == set()
    assert images[products["8"].image_id].bytes == drawn(5)  # the first place that has it
    large = images[products["12"].image_id]
    assert (large.width, large.height, large.format, len(large.perceptual_hash)) == (600, 400, "JPEG", 16)
    assert max(Image.open(io.BytesIO(large.bytes)).size) == 224
    row = next(r for r in shop.rows("silver.rejected") if r.key == "21")
    assert (json.loads(row.payload), row.source, row.table) == (
        {"image": f"http://{host}/21.jpg"}, "net", "silver.image_links",
    )  # fmt: skip
    assert row.reason.startswith("picture_missing: ")
    assert row.file.endswith("net-1.csv")

    # The same again: no table is written, no picture asked for that is here.
    before, asked = shop.tables(), len(server.asked)
    assert shop.run("images").notes["pictures"]["read"] == 0
    assert shop.tables() == before
    assert sorted(server.asked[asked:]) == ["/21.jpg", "/22.jpg"]

    # A file is another, one is gone, one has come; an address answers now; a product shows another picture.
    shop.picture("pictures/a.jpg", drawn(11))
    os.unlink(shop.root / "pictures" / "sub" / "copy.jpg")
    shop.picture("pictures/out.jpg", drawn(7))
    server.paths["/22.jpg"] = drawn(22)
    shop.feed("shop-2", {"9": "b.jpg"})
    notes = shop.run("ingest", "images").notes["pictures"]
    assert (notes["read"], notes["references"]) == (3, 21)
    assert shop.links() == expected | {"10": (True, []), "22": (True, []), "2": (False, ["picture_missing"])}
    del none["10"], none["22"]
    assert shop.refused() == sorted((none | {"2": "picture_missing"}).items())
    after = {row.source_key: row.image_id for row in shop.rows("silver.products")}
    assert after["2"] is None
    assert after["9"] == after["8"] == products["8"].image_id
    assert after["31"] == products["1"].image_id != after["1"]
    stored = {row.image_id for row in shop.rows("silver.images")}
    assert stored == {row.image_id for row in shop.rows("silver.image_links") if row.image_id}
    assert products["9"].image_id not in stored

    # Smaller pictures are wanted: all are made anew.
    shop.set.append("images.size=32")
    assert shop.run("images").notes["pictures"]["read"] == 13
    sizes = [max(Image.open(io.BytesIO(row.bytes)).size) for row in shop.rows("silver.images") if row.bytes]
    assert set(sizes) == {32}
    assert shop.links() == expected | {"10": (True, []), "22": (True, []), "2": (False, ["picture_missing"])}


def sharing(shop, alike):
    """A shop of which products 1 to `alike` show one picture, 5 and 6 another; more than 3 titles make a placeholder."""
    shop.set = ["images.placeholder_titles=3"]
    shop.source("shop", "pictures")
    photos = {str(n): f"none{n}.jpg" for n in range(1, alike + 1)} | {"5": "x.jpg", "6": "y.jpg"}
    for name in photos.values():
        shop.picture(f"pictures/{name}", drawn(50 if name.startswith("none") else 60))
    shop.feed("shop-1", photos)


@unchecked
def test_products_that_share_a_picture_are_in_one_leak_group(shop):
    sharing(shop, 3)
    shop.run("ingest", "images", "dedupe")
    keys = {row.product_id: row.source_key for row in shop.rows("silver.products")}
    found = {}
    for row in shop.rows("silver.leak_groups"):
        found.setdefault(row.leak_group, set()).add(keys[row.product_id])
    assert sorted(map(sorted, found.values())) == [["1", "2", "3"], ["5", "6"]]


@unchecked
@pytest.mark.nightly
def test_a_picture_that_one_more_title_shows_is_a_placeholder_from_then_on(shop):
    sharing(shop, 3)
    shop.run("ingest", "images")
    assert {usable for usable, _ in shop.links().values()} == {True}
    shop.picture("pictures/none4.jpg", drawn(50))
    shop.feed("shop-2", {"4": "none4.jpg"})
    shop.run("ingest", "images")
    assert shop.links() == {str(n): (False, ["placeholder"]) for n in range(1, 5)} | {"5": (True, []), "6": (True, [])}
    (row,) = [row for row in shop.rows("silver.images") if row.problems]
    assert (row.problems, row.bytes) == (["placeholder"], None)
    # Nothing joins by it any more: dedupe reads silver.products.
    shown = {row.source_key: row.image_id for row in shop.rows("silver.products")}
    assert {key for key, image_id in shown.items() if image_id is None} == set(shown) - {"5", "6"}
    shop.run("images")
    assert {usable for key, (usable, _) in shop.links().items() if key < "5"} == {False}


@unchecked
@pytest.mark.nightly
def test_what_is_erased_takes_its_pictures_along_but_not_those_that_others_show(shop):
    shop.source("shop", "pictures")
    shop.source("coded", "{encoding: base64}")
    shop.picture("pictures/1.jpg", drawn(1))
    shop.feed("shop-1", {"1": "1.jpg", "2": "gone-2.jpg"})
    shop.feed("coded-1", {key: base64.b64encode(drawn(seed)).decode() for key, seed in (("3", 1), ("4", 4))})
    shop.run("ingest", "images")
    assert len(shop.rows("silver.images")) == 2
    gone = tuple(product_id(*one) for one in (("shop", "1"), ("shop", "2"), ("coded", "4")))
    request = erasure.Request(products=gone, why="asked to", who="tester")
    said = io.StringIO()
    pipeline.erase(request, shop.settings, Console(file=said, width=200), "20260105-e", False)
    assert "silver.images 1" in said.getvalue()
    (left,) = shop.rows("silver.images")
    (link,) = shop.rows("silver.image_links")
    assert (link.product_id, link.image_id) == (product_id("coded", "3"), left.image_id)
    assert "gone-2" not in str(shop.rows("silver.rejected"))
    shop.day = 5
    assert shop.run("images").notes["pictures"] == {
        "references": 1, "usable": 1, "without_bytes": 0, "read": 0, "new": 0, "problems": {},
    }  # fmt: skip


@unchecked
def test_where_no_product_names_a_picture_nothing_is_made_and_addresses_stay_unasked_by_default(shop, server):
    shop.source("plain", image=False)
    shop.feed("plain-1", {"1": "x"})
    assert shop.run("ingest", "images").notes["pictures"] == {"references": 0}
    assert not any(folder.startswith("silver/image") for folder in open_lake(shop.settings).folders("main"))
    shop.source("net")
    shop.feed("net-1", {"2": f"http://127.0.0.1:{server.server_address[1]}/2.jpg"})
    shop.run("ingest", "images")
    assert shop.refused() == [("2", "urls_off")]
    assert server.asked == []
