"""The tri-modal late-fusion study's table, on products with several categories and on real ones with one.

    python benchmarks/fusion_study.py [--only demo fashion] [--threads N] [--quick] [--json FILE]

The study (Wirojwatanakul & Wangperawong 2019, "Multi-Label Product Categorization Using Multi-Modal Fusion Models": 119,073
Amazon products, 122 categories, about 3 labels a product) gives micro-F1 of three towers, of three fixed rules of fusion and of
learned policies over pairs and all three. Each part learns the same ten: TextCNNs of titles and descriptions, a picture tower,
max, mean, ridge, policies, fitted on answers of towers that had not seen the row. It prints

- micro-F1 beside the study's, with 95 % intervals (a bootstrap over leak groups);
- of each pair of the ten, which is ahead: there, here, and whether they agree (paired bootstrap);
- the categories that a tower or the policy is most wrong about, with the F1 of all.

demo        products of the demo catalogue that have all three modalities; a product's labels are the categories it is listed in,
            by any vendor, and those above them, as the study flattened its tree: the most frequent 122 are kept
fashion     the real set (../shared/data or SHELFMARK_REAL_DATA) as far as it goes: one category a product, and colour and
            usage in place of a description

--quick: three tenths of the products.
"""

from __future__ import annotations

import itertools
import os
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import _fashion
import numpy as np
from _table import line, parse, report

from shelfmark.demo import pictures, records, universe
from shelfmark.metrics import bootstrap, kernel
from shelfmark.multimodal import encode, fit_fusion, fusion, loop

TOWERS = ("description", "title", "picture")
KINDS = {"description": "textcnn", "title": "textcnn", "picture": "picture"}
# Small batches at a higher rate: with far fewer products than the study has, an epoch is few steps.
PLANS = {
    "textcnn": loop.DEFAULT._replace(batch=64, rate=5e-3),
    "picture": loop.DEFAULT._replace(batch=128),
}


class Row(NamedTuple):
    """A row of the study's table: the towers it hears, the rule that joins them, micro-F1 there in percent."""

    name: str
    towers: tuple[str, ...]
    rule: str
    study: float


ROWS = (
    Row("description", ("description",), "mean", 77.0),
    Row("title", ("title",), "mean", 82.7),
    Row("picture", ("picture",), "mean", 61.0),
    Row("max of all", TOWERS, "max", 78.8),
    Row("mean of all", TOWERS, "mean", 81.7),
    Row("ridge of all", TOWERS, "ridge", 83.0),
    Row("policy of picture + description", ("picture", "description"), "policy", 82.0),
    Row("policy of picture + title", ("picture", "title"), "policy", 85.0),
    Row("policy of description + title", ("description", "title"), "policy", 87.0),
    Row("policy of all", TOWERS, "policy", 88.2),
)
CATEGORIES = 122  # of the study
LENGTHS = {"title_length": 57, "description_length": 300}  # words, of the study
WORST, SEEN = 5, 20  # categories shown of each row, with so many products of the test side at the least

PRODUCTS = {"demo": 12_000, "fashion": 0.5}  # a share of the real ones
QUICK = 0.3  # of them
EPOCHS = 8
SIZE = 32  # edge of a picture: learning from 64 x 64 takes four times as long
SEED, CHUNK = 7, 20_000  # of the demo catalogue


class Set(NamedTuple):
    """Products to rebuild the table on; the tower about which their order tells nothing, and why; what they are, in words."""

    products: _fashion.Products
    odd: str
    why: str
    about: list[str]


def options(parser) -> None:
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0: one a core; 1 where others work")
    parser.add_argument(
        "--only", nargs="+", choices=PRODUCTS, default=list(PRODUCTS), metavar="NAME", help="some parts"
    )


def main() -> int:
    args = parse(__doc__, options)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    lines, said = [], []
    for name in args.only:
        share = QUICK if args.quick else 1.0
        with tempfile.TemporaryDirectory(prefix="shelfmark-bench-", ignore_cleanup_errors=True) as home:
            one = {"demo": demo, "fashion": fashion}[name](Path(home), share)
            found, words = rebuilt(name, one, Path(home), args.threads or os.cpu_count() or 1)
        lines += found
        said += ["", *words]
    missed = report(lines, args.json)
    print("\n".join(said))
    return missed


# -- products -----------------------------------------------------------------------------------------------------


def demo(home: Path, share: float) -> Set:
    """A product is an item that some vendor lists and describes. Its text and picture are those of a listing, its labels of all."""
    most = int(PRODUCTS["demo"] * share)
    found, departments = [], None
    for chunk in itertools.count():
        listings = records.make_chunk(SEED, chunk, chunk * CHUNK, CHUNK, 0)
        departments = departments or _departments(listings)
        own = list(_items(listings, departments))
        files = _drawn(listings, [at for at, *_ in own], home, chunk)
        for at, description, labels in own:
            found.append((listings.title[at], description, labels, files[listings.key[at]], _leak(listings, at)))
        if len(found) >= most:
            break
    found = found[:most]
    support = Counter(label for one in found for label in one[2])
    kept = sorted(label for label, _ in support.most_common(CATEGORIES))
    number = {label: at for at, label in enumerate(kept)}
    labels = np.zeros((most, len(kept)), bool)
    for at, one in enumerate(found):
        labels[at, [number[label] for label in one[2] if label in number]] = True
    there = labels.any(1)
    leaf = {leaf.levels[0] for leaf in universe.leaves()}
    listed = np.array([sum(label in leaf for label in one[2]) for one in found])[there]
    some, labels = [found[at] for at in np.flatnonzero(there)], labels[there]
    titles, descriptions, _, files, group = zip(*some)
    group = bootstrap.mix(np.array(group, np.uint64))
    products = _fashion.Products(
        list(titles), [], list(descriptions), list(files), labels, group, _fashion.parted(group),
        [" > ".join(label) for label in kept],
    )  # fmt: skip
    about = [
        f"{len(some):,} generated products of {', '.join(sorted(departments))}; {len(kept)} categories, "
        f"{labels.sum(1).mean():.2f} labels a product",
        f"labels are the levels of the paths a product is listed under, as few ({int((listed > 1).sum()):,}) are listed under "
        f"two leaf categories; {records.LABEL_WRONG:.0%} of the listings are under a wrong one",
    ]
    return Set(products, "picture", "the pictures are drawn from the category itself", about)


def _departments(listings: records.Records) -> set[str]:
    """Whole departments, those with the most products first, until there are as many categories as the study has."""
    leaves = universe.leaves()
    nodes: dict[str, set] = {}
    for leaf in leaves:
        nodes.setdefault(leaf.levels[0][0], set()).update(_levels(leaf))
    kept, count = set(), 0
    for name, _ in Counter(leaves[at].levels[0][0] for at in listings.leaf).most_common():
        if count >= CATEGORIES:
            break
        kept.add(name)
        count += len(nodes[name])
    return kept


def _levels(leaf: universe.Leaf) -> list[tuple[str, ...]]:
    path = leaf.levels[0]
    return [path[:depth] for depth in range(1, len(path) + 1)]


def _items(listings: records.Records, departments: set[str]) -> Iterator[tuple[int, str, set[tuple[str, ...]]]]:
    """(listing with a picture of its own, description, labels) of each item of the departments."""
    leaves = universe.leaves()
    of: dict[int, list[int]] = {}
    for at, item in enumerate(listings.item):
        if not listings.rule[at]:
            of.setdefault(item, []).append(at)
    for own in of.values():
        at = next((one for one in own if listings.photo[one] < 0), None)
        description = next((listings.description[one] for one in own if listings.description[one]), None)
        listed = [leaves[listings.label[one]] for one in own if listings.label[one] >= 0]
        labels = {level for leaf in listed if leaf.levels[0][0] in departments for level in _levels(leaf)}
        if at is not None and description and labels:
            yield at, description, labels


def _drawn(listings: records.Records, rows: list[int], home: Path, chunk: int) -> dict[str, bytes]:
    """Picture files of listings by key."""
    pictures.write_shard(listings, rows, home / "pictures", chunk, SEED, 0)
    with tarfile.open(home / "pictures" / f"{chunk:05d}.tar") as archive:
        return {Path(one.name).stem: archive.extractfile(one).read() for one in archive}


def _leak(listings: records.Records, at: int) -> int:
    """Variants of a model share a description and most of a title."""
    return 2 * listings.model[at] + 1 if listings.model[at] >= 0 else 2 * listings.item[at]


def fashion(home: Path, share: float) -> Set:
    products = _fashion.read(PRODUCTS["fashion"] * share)
    kinds = len(set(products.descriptions))
    words = np.mean([len(text.split()) for text in products.descriptions])
    telling = np.mean([
        len(_fashion.WORD.findall(title)) > len(_fashion.WORD.findall(bare))
        for title, bare in zip(products.titles, products.stripped)
    ])  # fmt: skip
    about = [
        f"{len(products.titles):,} real products in {len(products.paths)} categories, one a product: micro-F1 is accuracy",
        f"{telling:.0%} of the titles have a word of their category's name in them",
    ]
    why = f"colour and usage are no description: {kinds:,} different ones, of {words:.1f} words"
    return Set(products, "description", why, about)


# -- the table ----------------------------------------------------------------------------------------------------


def rebuilt(name: str, one: Set, home: Path, threads: int) -> tuple[list[dict], list[str]]:
    """Lines of the table, and what it says in words."""
    products, started = one.products, time.monotonic()

    def told(what: str) -> None:
        print(f"{name}, {time.monotonic() - started:.0f} s: {what}", file=sys.stderr, flush=True)

    how = encode.Encoding(title="words", description="words", size=SIZE, **LENGTHS)
    cache = _fashion.cached(products, home / "cache", how=how)
    outputs = {}
    for tower in TOWERS:
        # No class weights: micro-F1 counts labels, rare or not, alike.
        outputs[tower] = _fashion.learn(
            products, cache, tower, home / tower, EPOCHS, threads=threads, tower=KINDS[tower],
            plan=PLANS[KINDS[tower]], reweight="none",
        ).said  # fmt: skip
        told(f"{tower} tower")
    said = {}
    for row in ROWS:
        said[row.name] = _said(products, {tower: outputs[tower] for tower in row.towers}, row.rule, threads)
        told(row.name)
    figures = _figures(products, said)
    work = f"{name}, {len(products.titles):,} products, {len(products.paths)} categories"
    lines = []
    for row in ROWS:
        value, low, high = bootstrap.interval(figures[row.name])
        lines.append(line(work, f"{row.name}: micro-F1 [{low:.1f}, {high:.1f}]", value, row.study, "the study"))
    pairs = _order(one, figures)
    total = sum(map(len, pairs.values()))
    told_of = total - len(pairs["cannot tell"])
    lines.append(line(work, "pairs in the study's order", len(pairs["agrees"]), told_of, "pairs the data can tell"))
    words = [f"{name}: {'; '.join(one.about)}.", _cut(figures)]
    for verdict, own in pairs.items():
        words += [
            f"{len(own)} of {total} pairs: {HEADS[verdict]}{f', as {one.why}' * (verdict == 'cannot tell')}.",
            *own,
        ]
    return lines, [*words, *_worst(products, said)]


def _said(products: _fashion.Products, outputs: dict[str, np.ndarray], rule: str, threads: int) -> np.ndarray:
    """What a rule, learnt on the folds, says of the test side, bool[rows, categories]."""
    learning, test = np.flatnonzero(np.isin(products.part, _fashion.PARTS[:2])), products.of("test")
    fitted = fit_fusion.fit(
        rule, {name: values[learning] for name, values in outputs.items()}, products.labels[learning],
        group=products.group[learning], kind="multilabel" if products.several else "multiclass",
        classes=len(products.paths), sets=[tuple(outputs)], threads=threads, reweight="none",
    )  # fmt: skip
    chance = fusion.apply(fitted, {name: values[test] for name, values in outputs.items()})
    return chance >= 0.5 if products.several else np.eye(len(products.paths), dtype=bool)[chance.argmax(1)]


def _figures(products: _fashion.Products, said: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Micro-F1 in percent of each row and draw, float64[draws + 1]; draw 0 is the data itself."""
    test = products.of("test")
    groups, place = np.unique(products.group[test], return_inverse=True)
    weight = np.stack([np.ones(len(groups)), *(bootstrap.weights(groups, at) for at in range(1, bootstrap.DRAWS + 1))])
    true, out = products.hot[test], {}
    for name, own in said.items():
        sums = [np.bincount(place, some.sum(1), len(groups)) for some in (true, own, true & own)]
        true_rows, said_rows, both = (weight @ one for one in sums)
        out[name] = 200 * both / np.maximum(true_rows + said_rows, 1)
    return out


HEADS = {
    "agrees": "the order is the study's",
    "disagrees": "the order is the other way round",
    "open": "too close to tell",
    "cannot tell": "the data cannot tell",
}


def _order(one: Set, figures: dict[str, np.ndarray]) -> dict[str, list[str]]:
    """By verdict a line for each pair of rows: who is ahead in the study and here. A pair cannot be told where one of its rows
    stands or falls with the odd tower: that tower alone, or with one other."""
    lines: dict[str, list[str]] = {verdict: [] for verdict in HEADS}
    for first, second in itertools.combinations(sorted(ROWS, key=lambda row: -row.study), 2):
        gain, low, high = bootstrap.interval(figures[first.name] - figures[second.name])
        verdict = "agrees" if low > 0 else "disagrees" if high < 0 else "open"
        ours = {"agrees": "yes", "disagrees": "no", "open": "open"}[verdict]
        if any(one.odd in row.towers and len(row.towers) < len(TOWERS) for row in (first, second)):
            verdict = "cannot tell"
        lines[verdict].append(
            f"  {first.name} > {second.name}: study yes ({first.study - second.study:+.1f}), "
            f"ours {ours} ({gain:+.1f} [{low:+.1f}, {high:+.1f}])"
        )
    return lines


def _cut(figures: dict[str, np.ndarray]) -> str:
    """What the policy of all takes off 1 - F1 of the best tower, here and in the study."""
    study = {row.name: row.study for row in ROWS}
    fused = ROWS[-1].name
    ours, theirs = (max(TOWERS, key=of.get) for of in ({name: figures[name][0] for name in TOWERS}, study))
    cut, low, high = bootstrap.interval(100 - 100 * (100 - figures[fused]) / (100 - figures[ours]))
    there = 100 - 100 * (100 - study[fused]) / (100 - study[theirs])
    return (
        f"{fused} cuts 100 - micro-F1 of the best tower by {cut:.0f} % [{low:.0f}, {high:.0f}] ({ours}), "
        f"in the study by {there:.0f} % ({theirs})."
    )


def _worst(products: _fashion.Products, said: dict[str, np.ndarray]) -> list[str]:
    """F1 of the categories that a tower or the policy of all is most wrong about."""
    true = products.hot[products.of("test")]
    shown = (*TOWERS, ROWS[-1].name)
    f1 = {}
    for name in shown:
        sums = (some.sum(0).astype(float) for some in (true, said[name], true & said[name]))
        f1[name] = 100 * kernel.precision_recall_f1(*sums)[2]
    seen = np.flatnonzero(true.sum(0) >= SEEN)
    worst = {name: seen[np.argsort(values[seen], kind="stable")[:WORST]] for name, values in f1.items()}
    out = [
        f"The {WORST} categories with the lowest F1 by each, before and after fusion, of {len(seen)} with {SEEN} products of "
        f"the test side or more; F1 of {', '.join(shown)}:"
    ]
    for at in sorted(set(np.concatenate(list(worst.values()))), key=lambda at: f1[shown[-1]][at]):
        by = ", ".join(name for name in shown if at in worst[name])
        row = " ".join(f"{f1[name][at]:5.1f}" for name in shown)
        out.append(f"  {row}  {products.paths[at]} ({int(true[:, at].sum()):,} products; worst by {by})")
    return out


if __name__ == "__main__":
    sys.exit(main())
