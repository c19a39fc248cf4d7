"""Text classifier against TF-IDF (words 1-2, characters 2-5) + scikit-learn LinearSVC, on real titles.

    python benchmarks/text.py [--quick] [--json FILE] [--spark]

Five folds by normalised title, so that no title is on two sides; predictions of all folds are pooled; categories with
ten or more rows. Ours are the steps of the train_text job (hashing, vocabulary, solver, merged model) run one after
the other in this process; `--spark` (always on with --quick) also runs the job's own `train` and `predict` on Spark.
The feeds are read from ../shared/data or SHELFMARK_REAL_DATA.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from _table import line, parse, report
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import FeatureUnion
from sklearn.svm import LinearSVC

from shelfmark import config, session
from shelfmark.text import fit, model

DATA = Path(os.environ.get("SHELFMARK_REAL_DATA") or Path(__file__).parents[2] / "shared" / "data")
FOLDS = 5
MIN_ROWS = 10
BAR = 0.02  # macro-F1 may be this far below the peer's
WORDS = re.compile(r"[^\W_]+")  # the words of `pipeline.tokens`
PEER = "TF-IDF + LinearSVC"


def amazon_in() -> list[tuple[str, str]]:
    """(title, category): one row an ASIN; of several categories the first in the alphabet."""
    found: dict[str, tuple[str, str]] = {}
    for row in _csv("catalogues/amazon_in.csv"):
        asin = re.search(r"/dp/([A-Z0-9]{10})", row["link"])
        key, category = asin.group(1) if asin else row["link"], f"{row['main_category']} > {row['sub_category']}"
        if key not in found or category < found[key][1]:
            found[key] = (row["name"], category)
    return list(found.values())


def openfoodfacts() -> list[tuple[str, str]]:
    rows = _csv("catalogues/openfoodfacts.tsv", "\t")
    return [(r["product_name"], " > ".join(filter(None, (r[f"level_{i}"] for i in (1, 2, 3))))) for r in rows]


def fashion() -> list[tuple[str, str]]:
    return [(row["title"], row["category_path"]) for row in _csv("images/fashion.csv")]


def _csv(name: str, delimiter: str = ","):
    csv.field_size_limit(1 << 24)
    with (DATA / name).open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file, delimiter=delimiter)


def prepared(rows: list[tuple[str, str]], most: int | None) -> tuple[list[str], np.ndarray, np.ndarray, list[str]]:
    """Titles, category numbers, fold of each, category paths; categories with `MIN_ROWS` rows."""
    if most:
        rows = sorted(rows, key=lambda row: hashlib.sha256(row[0].encode()).digest())[:most]
    names, inverse, count = np.unique([c for _, c in rows], return_inverse=True, return_counts=True)
    rows = [row for row, n in zip(rows, count[inverse]) if n >= MIN_ROWS]
    titles = [title for title, _ in rows]
    names, labels = np.unique([c for _, c in rows], return_inverse=True)
    folds = np.array([int(hashlib.sha256(_leak_key(t).encode()).hexdigest()[:8], 16) % FOLDS for t in titles])
    return titles, labels, folds, names.tolist()


def _leak_key(title: str) -> str:
    return " ".join(WORDS.findall(title.lower()))


def ours(titles: list[str], labels: np.ndarray, test: list[str]) -> tuple[np.ndarray, float, float]:
    """Predictions for `test`, seconds of training, seconds of prediction; the job's steps in this process."""
    text = config.Text(max_rows_per_category=1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        work, target = Path(folder, "work"), Path(folder, "model")
        # Tokenising is not timed on either side here: the job's is Spark NLP, the peer's is part of its vectoriser.
        words = pa.array([WORDS.findall(title.lower()) for title in titles])
        order = np.random.default_rng(0).permutation(len(titles))  # the job orders rows by a hash
        started = time.perf_counter()
        parts = np.array_split(order, max(1, len(order) // 16_384))
        for part, rows in enumerate(parts):
            fit.count_grams(work, part, [(words.take(pa.array(rows)), labels[rows], np.ones(len(rows)))], text)
        categories = int(labels.max()) + 1
        fit.fit(work, target, range(len(parts)), len(titles), categories, text)
        trained = time.perf_counter()
        names = [str(i) for i in range(categories)]
        nodes, tree = model.make_tree(names, {name: (name.zfill(6), None) for name in names})
        about = {"text": text.model_dump(), "temperature": 1.0, "accept": 2.0, "roll_up": 2.0, "roll_up_depth": 1}
        model.write(target, nodes, tree, about | {"taxonomy_version": "benchmark"})
        said = model.answer(
            model.load(str(target), str(started)), pa.array([WORDS.findall(t.lower()) for t in test]), 1
        )
        return said.number[:, 0], trained - started, time.perf_counter() - trained


def peer(titles: list[str], labels: np.ndarray, test: list[str]) -> tuple[np.ndarray, float, float]:
    """The same of TF-IDF + LinearSVC; character grams within words, which score as across them and cost less."""
    started = time.perf_counter()
    union = FeatureUnion(
        [
            ("words", TfidfVectorizer(ngram_range=(1, 2))),
            ("characters", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5))),
        ]
    )
    svm = LinearSVC().fit(union.fit_transform(titles), labels)
    trained = time.perf_counter()
    said = svm.predict(union.transform(test))
    return said, trained - started, time.perf_counter() - trained


def compare(work: str, rows: list[tuple[str, str]], folds: int, most: int | None = None) -> list[dict]:
    """Lines of one feed: quality, seconds of training and rows/s of prediction, ours and the peer's."""
    titles, labels, fold, _ = prepared(rows, most)
    seconds = {"ours": np.zeros(2), "peer": np.zeros(2)}
    said = {"ours": np.zeros_like(labels), "peer": np.zeros_like(labels)}
    ours(titles[:200], np.unique(labels[:200], return_inverse=True)[1], titles[:10])  # compile before the clock starts
    for k in range(folds):
        train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        for name, function in (("ours", ours), ("peer", peer)):
            answers = function([titles[i] for i in train], labels[train], [titles[i] for i in test])
            said[name][test] = answers[0]
            seconds[name] += answers[1:]
        print(f"{work}: fold {k + 1} of {folds}", file=sys.stderr, flush=True)
    seen = fold < folds
    truth = labels[seen]
    f1 = {name: f1_score(truth, said[name][seen], average="macro") for name in said}
    right = {name: accuracy_score(truth, said[name][seen]) for name in said}
    rate = {name: len(truth) / seconds[name][1] for name in said}
    goal = f"at least peer - {BAR}"
    return [
        line(work, "macro-F1", f1["ours"], f1["peer"], PEER, goal, f1["ours"] >= f1["peer"] - BAR),
        line(work, "accuracy", right["ours"], right["peer"], PEER),
        line(work, "training, s", seconds["ours"][0], seconds["peer"][0], PEER),
        line(work, "prediction, rows/s", rate["ours"], rate["peer"], PEER),
    ]


def on_spark(work: str, rows: list[tuple[str, str]], most: int | None = None) -> list[dict]:
    """The job's own train and predict on Spark, fold 0 tested, against the peer on the same rows."""
    from shelfmark.text.predict import predict
    from shelfmark.text.train import train

    titles, labels, fold, names = prepared(rows, most)
    with tempfile.TemporaryDirectory() as home:
        settings = config.load(home=home, overrides=["text.max_rows_per_category=1000000", "text.min_support=1"])
        spark = session.start(settings, "benchmark")
        schema = "product_id string, title string, category_id string, weight double"
        sides = [
            spark.createDataFrame(
                [(f"{i:08d}", titles[i], str(labels[i]), 1.0) for i in np.flatnonzero(chosen)], schema
            ).repartition(2)
            for chosen in (fold != 0, fold == 0)
        ]
        tree = spark.createDataFrame(
            [("benchmark", str(i), name, None) for i, name in enumerate(names)],
            "taxonomy_version string, category_id string, path string, parent_id string",
        )
        started = time.perf_counter()
        # Calibration on the test fold changes confidences only, never which category comes first.
        train(sides[0], sides[1], sides[1], tree, settings, f"{home}/work", f"{home}/model")
        trained = time.perf_counter()
        found = predict(sides[1], f"{home}/model", 1, ["product_id"]).select("product_id", "top_k").collect()
        done = time.perf_counter()
        spark.stop()
    said = {int(r["product_id"]): int(r["top_k"][0]["category_id"]) for r in found}
    test = np.flatnonzero(fold == 0)
    theirs = peer([titles[i] for i in np.flatnonzero(fold != 0)], labels[fold != 0], [titles[i] for i in test])
    f1 = f1_score(labels[test], [said[i] for i in test], average="macro")
    peer_f1 = f1_score(labels[test], theirs[0], average="macro")
    goal = f"at least peer - {BAR}"
    return [
        line(f"{work} on Spark, a fold", "macro-F1", f1, peer_f1, PEER, goal, f1 >= peer_f1 - BAR),
        line(f"{work} on Spark, a fold", "training, s", trained - started, theirs[1], PEER),
        line(
            f"{work} on Spark, a fold", "prediction, rows/s", len(test) / (done - trained), len(test) / theirs[2], PEER
        ),
    ]


def main() -> int:
    args = parse(__doc__.splitlines()[0], lambda p: p.add_argument("--spark", action="store_true"))
    if not DATA.is_dir():
        sys.exit(f"no real feeds at {DATA}; set SHELFMARK_REAL_DATA")
    if args.quick:
        lines = compare("amazon_in, a fold", amazon_in(), 1) + on_spark("amazon_in", amazon_in())
    else:
        lines = []
        for feed in (amazon_in, openfoodfacts, fashion):
            lines += compare(feed.__name__, feed(), FOLDS)
        if args.spark:
            lines += on_spark("amazon_in", amazon_in())
    return report(lines, args.json)


if __name__ == "__main__":
    sys.exit(main())
