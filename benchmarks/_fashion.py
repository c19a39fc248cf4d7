"""Products as examples for towers, those of the real fashion set first of all, and towers' answers about them: what
multimodal.py and fusion_study.py share."""

from __future__ import annotations

import csv
import os
import re
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from shelfmark.metrics import bootstrap
from shelfmark.multimodal import data, encode, launcher, loop, losses, towers

DATA = Path(os.environ.get("SHELFMARK_REAL_DATA") or Path(__file__).parents[2] / "shared" / "data")
MIN_ROWS = 10  # products of a category
SHARES = (0.3, 0.6, 0.7)  # fold 0, fold 1, tune; the rest is the test side
PARTS = ("fold-0", "fold-1", "tune", "test")
EPOCHS = {"title": 5, "stripped": 5, "description": 4, "picture": 8, "fields": 5}
WORD = re.compile(r"[^\W_]+")


class Products(NamedTuple):
    """Rows by number: texts, picture files, category numbers (or bool[rows, categories] where a product has several), hashes of
    leak groups (equal title or picture), part; the paths of the categories."""

    titles: list[str]
    stripped: list[str]
    descriptions: list[str]
    pictures: list[bytes | None]
    labels: np.ndarray
    group: np.ndarray
    part: np.ndarray
    paths: list[str]

    def of(self, part: str) -> np.ndarray:
        return np.flatnonzero(self.part == part)

    @property
    def several(self) -> bool:
        return self.labels.ndim == 2

    @property
    def hot(self) -> np.ndarray:
        """bool[rows, categories] of one label or several."""
        return self.labels if self.several else np.eye(len(self.paths), dtype=bool)[self.labels]


def read(share: float = 1.0) -> Products:
    """The products of categories with `MIN_ROWS` of them; `share` of the leak groups for a smaller case of the same work."""
    with open(DATA / "images" / "fashion.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with tarfile.open(DATA / "images" / "fashion_images.tar") as archive:
        files = {Path(one.name).name: archive.extractfile(one).read() for one in archive if one.isfile()}
    keys: dict[Any, int] = {}
    pairs = [
        (at, keys.setdefault(key, len(keys)))
        for at, row in enumerate(rows)
        for key in (row["title"].lower(), files.get(row["image"]))
        if key
    ]
    group = _joined(pairs, len(rows), len(keys))
    kept = bootstrap.mix(group ^ np.uint64(11)) / 2.0**64 < share
    names, label = np.unique([row["category_path"] for row in rows], return_inverse=True)
    few = np.bincount(label[kept], minlength=len(names)) < MIN_ROWS
    kept &= ~few[label]
    paths, labels = np.unique(label[kept], return_inverse=True)
    some = [rows[at] for at in np.flatnonzero(kept)]
    return Products(
        titles=[row["title"] for row in some],
        stripped=[stripped(row["title"], row["category_path"]) for row in some],
        descriptions=[f"{row['colour']} {row['usage']}".strip() for row in some],
        pictures=[files.get(row["image"]) for row in some],
        labels=labels,
        group=group[kept],
        part=parted(group[kept]),
        paths=[str(names[at]) for at in paths],
    )


def parted(group: np.ndarray) -> np.ndarray:
    """The part of each row, by its leak group."""
    draw = bootstrap.mix(group ^ np.uint64(3)) / 2.0**64
    return np.array(PARTS)[np.searchsorted(SHARES, draw, side="right")]


def _joined(pairs: list[tuple[int, int]], rows: int, keys: int) -> np.ndarray:
    """A hash of the connected component of each row: rows that share a key, directly or by way of others."""
    left, right = np.array(pairs).T
    graph = coo_matrix((np.ones(len(left)), (left, rows + right)), shape=(rows + keys, rows + keys))
    found = connected_components(graph, directed=False)[1][:rows]
    return bootstrap.mix(found.astype(np.uint64) + np.uint64(1))


def stripped(title: str, path: str) -> str:
    """A title without the words of its category's levels, in the singular or plural."""
    own = {word.lower().rstrip("s") for word in WORD.findall(path)}
    return " ".join(word for word in WORD.findall(title) if word.lower().rstrip("s") not in own)


def cached(products: Products, folder: Path, title: str = "titles", how: encode.Encoding | None = None) -> Path:
    """The cache of the products, by part; `title`: titles, or stripped."""
    how = how or encode.Encoding()
    data.create(folder, how)
    hot = products.labels
    labels = [np.flatnonzero(row).astype(np.int32) for row in hot] if products.several else hot.astype(np.int32)
    columns = {
        "title": pa.array(getattr(products, title)),
        "description": pa.array(products.descriptions),
        "picture": pa.array(products.pictures, pa.binary()),
        "label": pa.array(labels),
        "row": pa.array(np.arange(len(products.titles))),
        "part": pa.array(products.part.astype(str)),
    }
    batches = pa.table(columns).to_batches(max_chunksize=1024)
    files = [one["file"] for said in data.write(folder, batches, how, 128) for one in said.to_pylist()]
    data.seal(folder, files)
    return folder


class Answers(NamedTuple):
    """What the towers of a modality say of all rows, float32[rows, categories] (NaN: nothing; logits where a product has several
    categories): of the folds a tower that had not seen the row, of tune and test one that learnt from both folds. Seconds an
    epoch of that one, and its folder."""

    said: np.ndarray
    seconds: float
    folder: str


def learn(
    products: Products,
    cache: Path,
    modality: str,
    home: Path,
    epochs: int | None = None,
    folds: bool = True,
    threads: int = 0,
    tower: str | None = None,
    plan: loop.Plan = loop.DEFAULT,
    paired: bool = False,
    **loss: Any,
) -> Answers:
    """Towers of a modality, of the kind `tower`, in this process; paired: each beside one without class weights. plan: of its
    epochs `epochs` tells. loss: of `losses.describe`, by default class weights `sqrt`."""
    counts = products.hot[np.isin(products.part, PARTS[:2])].sum(0)
    rows = int(np.isin(products.part, PARTS[:2]).sum())
    goal = losses.describe(counts, rows=rows, **{"reweight": "sqrt", "multi_label": products.several, **loss})
    more = {"paired": "sigmoid" if products.several else "softmax"} if paired else {}
    description = towers.describe(modality, len(counts), tower, **more)
    plan = plan._replace(epochs=epochs or EPOCHS[modality], checkpoint_steps=0)
    said = np.full((len(products.titles), len(counts)), np.nan, np.float32)
    runs = [("fold-1", ["fold-0"]), ("fold-0", ["fold-1"])] if folds else []
    for learning, asked in [*runs, ("both", ["tune", "test"])]:
        own = ["fold-0", "fold-1"] if learning == "both" else [learning]
        group = launcher.Group(threads=threads)
        made = loop.train(group, home / learning, cache, own, ["tune"], description, goal, plan)
        learnt = towers.load(made["folder"])
        for part in asked:
            row, answers = loop.outputs(learnt, data.open_cache(cache, [part]), goal["multi_label"])
            said[row] = answers
    return Answers(said, float(np.mean([entry["seconds"] for entry in made["history"]])), made["folder"])


def counted(products: Products, said: np.ndarray) -> np.ndarray:
    """`bootstrap.counts` of category numbers said of the test side."""
    test = products.of("test")
    return bootstrap.counts(products.labels[test], said, products.group[test], len(products.paths))


def tail(products: Products) -> np.ndarray:
    """The third of the categories with the fewest products."""
    return np.argsort(np.bincount(products.labels, minlength=len(products.paths)), kind="stable")[
        : len(products.paths) // 3
    ]
