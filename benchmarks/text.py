"""Text classifiers on real feeds, ours beside LinearSVC, XR-Linear and fastText.

    python benchmarks/text.py [--feeds amazon_in openfoodfacts fashion] [--only PEER ...] [--speed] [--quick] [--json FILE]

The feeds (../shared/data or SHELFMARK_REAL_DATA) are taken in and grouped by our own jobs; categories with 10 or more
products count. Five folds by leak group, so that no look-alike is on two sides; predictions of all folds are pooled.
Macro-F1 has its 95 % interval by a bootstrap over leak groups, and the difference to the best peer is paired. The tail is
the third of the categories with the fewest products. Peers read titles; ours is printed with titles alone and with every
field (price, attributes). Class weights are chosen inside each training fold, on a part of it that is then learnt from as
well.

Speed is measured on a million titles of the demo catalogue (--speed runs that alone, --rows N another size): its 416 kinds
of things by three groups of colours are 1,248 categories. Ours is the job's `train` and `predict` on Spark, Spark NLP and
calibration included; XR-Linear has its own features and is not calibrated.

Peers run in an environment of their own, set up once in .venv/peers from benchmarks/peers/requirements.lock.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from _table import line, parse, report
from rich.console import Console

from shelfmark import config, pipeline, session
from shelfmark.labels.weights import class_weights
from shelfmark.metrics import bootstrap
from shelfmark.text import calibrate, fit, model, stated
from shelfmark.text.facts import NOTHING
from shelfmark.text.train import TRIED

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import DataFrame

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("SHELFMARK_REAL_DATA") or ROOT.parent / "shared" / "data")
FEEDS = ("amazon_in", "openfoodfacts", "fashion")
PEERS = ("LinearSVC", "XR-Linear", "fastText")
TAILED = ("openfoodfacts", "fashion")  # amazon_in has a hundred rows of nearly every category
FOLDS = 5
MIN_ROWS = 10
WORDS = re.compile(r"[^\W_]+")  # the words of `pipeline.tokens`
CORES = 2


class Feed(NamedTuple):
    """Products of a feed: ids, titles, category numbers, folds, hashes of leak groups, and the table they are in; the path
    of each category."""

    name: str
    ids: list[str]
    titles: list[str]
    words: pa.Array
    labels: np.ndarray
    fold: np.ndarray
    group: np.ndarray
    facts: pa.Array
    table: DataFrame
    paths: list[str]

    @property
    def categories(self) -> int:
        return int(self.labels.max()) + 1


class Answers(NamedTuple):
    """Category numbers of all products, and what it took."""

    said: np.ndarray
    train: float
    predict: float
    peak: float


def main() -> int:
    args = parse(__doc__, options)
    if not args.speed and not DATA.is_dir():
        sys.exit(f"no real feeds at {DATA}; set SHELFMARK_REAL_DATA")
    lines = [] if args.speed else quality(args)
    if args.speed or set(args.feeds) == set(FEEDS):  # who names feeds wants those
        lines += speed(args.rows if not args.quick else 20_000, args.ours)
    return report(lines, args.json)


def quality(args) -> list[dict]:
    """The lines of the real feeds."""
    feeds = args.feeds[:1] if args.quick else args.feeds
    folds = range(1 if args.quick else FOLDS)
    named = [name for name in ("titles", "every field", *PEERS) if not args.only or name in args.only or name in OURS]
    with tempfile.TemporaryDirectory(prefix="shelfmark-bench-", ignore_cleanup_errors=True) as home:
        _, spark, table = taken_in(feeds, home)
        lines = []
        for name in feeds:
            feed = read(table, name)
            found = {}
            for who in named:
                found[who] = ours(feed, folds, who) if who in OURS else peer(feed, folds, who)
                say(feed, who, found[who], folds)
            lines += compared(feed, found, folds)
        spark.stop()
    return lines


def taken_in(feeds: list[str], home: str, options: dict[str, str] | None = None):
    """Settings, session (with options of Spark) and a reader of tables (name -> DataFrame) of a lake with the feeds, their
    groups and labels."""
    from shelfmark.query import open_reader
    from shelfmark.query import read as read_table

    overrides = [f"sources={json.dumps(list(feeds))}"]
    settings = config.load(home=home, data=str(DATA), overrides=overrides, spark={"options": options or {}})
    spark = session.start(settings, "benchmark")
    for job in ("ingest", "taxonomy", "dedupe", "labels"):
        if code := pipeline.run_job(job, settings, Console(stderr=True), "20260101-text", False):
            sys.exit(code)
    lake, commit = open_reader(settings, "main")
    return settings, spark, lambda name: read_table(spark, lake, commit, name)


OURS = ("titles", "every field")


def options(parser) -> None:
    import argparse

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--feeds", nargs="+", choices=FEEDS, default=list(FEEDS))
    parser.add_argument("--only", nargs="+", choices=PEERS, help="these peers only")
    parser.add_argument("--speed", action="store_true", help="the demo catalogue alone")
    parser.add_argument(
        "--ours", action="store_true", help="with --speed: without XR-Linear, which takes the most time"
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="titles of the demo catalogue")


def read(table: Callable[[str], DataFrame], name: str) -> Feed:
    """The labelled products of a source."""
    from pyspark.sql import functions as F

    products, labels, groups = (table(f"silver.{one}") for one in ("products", "labels", "leak_groups"))
    facts = stated.stated(config.Text().facts).alias("facts")
    rows = (
        products.where(F.col("source") == name)
        .select("product_id", "title", facts)
        .join(labels.where("primary AND origin = 'source'").select("product_id", "category_id"), "product_id")
        .join(groups.select("product_id", "leak_group"), "product_id")
        .withColumn("of_category", F.expr("count(*) over (partition by category_id)"))
        .where(f"of_category >= {MIN_ROWS}")
        .select("product_id", "title", "category_id", "facts", F.xxhash64("leak_group").alias("group"))
        .orderBy("product_id")
        .cache()
    )
    found = pa.Table.from_batches(rows._collect_as_arrow())
    titles = found["title"].to_pylist()
    group = found["group"].to_numpy().astype(np.uint64)
    categories, labels = np.unique(found["category_id"].to_numpy(), return_inverse=True)
    labels = labels.astype(np.int32)
    path = {row.category_id: row.path for row in table("silver.taxonomy").select("category_id", "path").collect()}
    return Feed(
        name=name,
        ids=found["product_id"].to_pylist(),
        titles=titles,
        words=pa.array([WORDS.findall(title.lower()) for title in titles], pa.list_(pa.string())),
        labels=labels,
        fold=(bootstrap.mix(group) % np.uint64(FOLDS)).astype(int),
        group=group,
        facts=found["facts"].combine_chunks(),
        table=rows,
        paths=[path[one] for one in categories],
    )


# -- ours ---------------------------------------------------------------------------------------------------------


def ours(feed: Feed, folds, who: str) -> Answers:
    """The job's own steps, as many at a time as there are cores, on titles or on every field."""
    said, seconds = np.full(len(feed.labels), -1), np.zeros(2)
    for k in folds:
        train, test = np.flatnonzero(feed.fold != k), np.flatnonzero(feed.fold == k)
        learnt = NOTHING if who == "titles" else learn_facts(feed, train)
        started = time.perf_counter()
        how = best_weights(feed, train, learnt)
        with tempfile.TemporaryDirectory() as folder:
            found = trained(feed, train, learnt, how, Path(folder))
            trained_at = time.perf_counter()
            said[test] = numbers(found, feed, test)
            seconds += trained_at - started, time.perf_counter() - trained_at
    return Answers(said, *seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)  # with Spark's driver


def learn_facts(feed: Feed, train: np.ndarray) -> dict:
    chosen = feed.table.sparkSession.createDataFrame([(feed.ids[i],) for i in train], "product_id string")
    return stated.learn(feed.table.join(chosen, "product_id"), config.Text().min_rows)


def best_weights(feed: Feed, train: np.ndarray, learnt: dict) -> str:
    """The class weights that do best on a tenth of the training rows, by leak group, as `text.reweight: auto`."""
    tune = bootstrap.mix(feed.group[train] ^ np.uint64(1)) % np.uint64(10) == 0
    macro = {}
    for how in TRIED:
        with tempfile.TemporaryDirectory() as folder:
            found = trained(feed, train[~tune], learnt, how, Path(folder))
            said = numbers(found, feed, train[tune])
        counted = bootstrap.counts(feed.labels[train[tune]], said, feed.group[train[tune]], feed.categories, 0)
        macro[how] = bootstrap.macro_f1(counted)[0]
    return max(TRIED, key=macro.get)


class More(NamedTuple):
    """Rows learnt from beside those of a feed: words, category numbers, weights, facts."""

    words: pa.Array
    labels: np.ndarray
    weights: np.ndarray
    facts: pa.Array


def trained(
    feed: Feed,
    rows: np.ndarray,
    learnt: dict,
    how: str,
    folder: Path,
    text: config.Text | None = None,
    more: More | None = None,
) -> model.Model:
    text, work, target = text or config.Text(), folder / "work", folder / "model"
    order = rows[np.random.default_rng(0).permutation(len(rows))]  # the job orders rows by a hash
    parts = np.array_split(order, max(1, len(order) // 16_384))

    def count(part: int) -> None:
        some = parts[part]
        at = pa.array(some)
        batch = More(feed.words.take(at), feed.labels[some], np.ones(len(some)), feed.facts.take(at))
        fit.count_grams(work, part, [batch], text, learnt)

    with ThreadPoolExecutor(CORES) as pool:

        def each(function, items):
            return list(pool.map(function, items))

        each(count, range(len(parts)))
        if more is not None:
            fit.count_grams(work, len(parts), [more], text, learnt)
            parts.append(more.labels)
        made = fit.prepare(work, target, range(len(parts)), sum(map(len, parts)), text, each, CORES, learnt)
        boost = class_weights(np.bincount(feed.labels[rows], minlength=feed.categories), how, cap=text.max_weight)
        features, groups = made["features"], branches(feed)
        fit.learn(work, target, range(len(parts)), features, feed.categories, text, boost, each, CORES, None, groups)
    names = [str(i) for i in range(feed.categories)]
    nodes, tree = model.make_tree(names, {name: (name.zfill(6), None) for name in names})
    never = {"region": model.ANY, "category": model.ANY, "name": model.ANY, "target": 0.95, "rows": 0}
    about = {"text": text.model_dump(), "facts": learnt, "taxonomy_version": "benchmark", "roll_up_depth": 1}
    about |= {"link": calibrate.Link(), "curves": {model.ANY: calibrate.Curve()}}
    about["scope"] = calibrate.EVERYTHING
    about["thresholds"] = [never | {"accept": calibrate.NEVER, "roll_up": calibrate.NEVER}]
    model.write(target, nodes, tree, about)
    return model.load(str(target), str(time.time_ns()))


def branches(feed: Feed) -> np.ndarray | None:
    """`model.branches` of the feed's categories, by their numbers."""
    above = {path: path.rpartition(" > ")[0] or None for path in feed.paths}
    for path in feed.paths:
        while (path := path.rpartition(" > ")[0]) and path not in above:
            above[path] = path.rpartition(" > ")[0] or None
    nodes, tree = model.make_tree(feed.paths, {path: (path, parent) for path, parent in above.items()})
    groups = model.branches(tree)
    if groups is None:
        return None
    of = {nodes[leaf]["id"]: group for leaf, group in zip(tree.leaf, groups)}
    return np.array([of[path] for path in feed.paths], np.int32)


def numbers(found: model.Model, feed: Feed, rows: np.ndarray) -> np.ndarray:
    at = pa.array(rows)
    return model.answer(found, feed.words.take(at), feed.facts.take(at), 1).number[:, 0]


# -- peers --------------------------------------------------------------------------------------------------------


def peer(feed: Feed, folds, who: str) -> Answers:
    said, seconds, peak = np.full(len(feed.labels), -1), np.zeros(2), 0
    for k in folds:
        train, test = np.flatnonzero(feed.fold != k), np.flatnonzero(feed.fold == k)
        said[test], took = ask_peer(who, feed.titles, feed.labels, train, test)
        seconds += took["train"], took["predict"]
        peak = max(peak, took["peak"])
    return Answers(said, *seconds, peak)


def ask_peer(who: str, titles: list[str], labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple:
    """Category numbers a peer gives the titles `test`, and what training on those of `train` and asking it took."""
    with tempfile.TemporaryDirectory() as folder:
        given = {"titles": [titles[i] for i in train], "labels": labels[train].tolist()}
        Path(folder, "train.json").write_text(json.dumps(given))
        Path(folder, "test.json").write_text(json.dumps({"titles": [titles[i] for i in test]}))
        command = [peers_python(), ROOT / "benchmarks/peers/classifiers.py", who, folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{who} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return np.load(Path(folder, "said.npy")), json.loads(Path(folder, "result.json").read_text())


def peers_python() -> Path:
    """Python of the peers' environment; made once."""
    home, lock = ROOT / ".venv" / "peers", ROOT / "benchmarks/peers/requirements.lock"
    python, ready = home / "bin/python", home / ".ready"
    if not ready.exists() or ready.stat().st_mtime < lock.stat().st_mtime:
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, home], check=True)
        install = [uv, "pip", "install", "-q", "--python", python, "--require-hashes", "--no-deps", "-r", lock]
        subprocess.run(install, check=True)
        ready.touch()
    return python


# -- speed --------------------------------------------------------------------------------------------------------


def speed(rows: int, alone: bool) -> list[dict]:
    """Training and prediction on the demo catalogue, ours beside XR-Linear."""
    from shelfmark.text.predict import predict
    from shelfmark.text.train import train

    titles, labels, groups = demo(rows)
    part = bootstrap.mix(groups) % np.uint64(20)  # of twenty: eighteen to learn from, one to calibrate, one to test
    sides = {
        "train": np.flatnonzero(part < 18),
        "calibrate": np.flatnonzero(part == 18),
        "test": np.flatnonzero(part == 19),
    }
    with tempfile.TemporaryDirectory(prefix="shelfmark-bench-", ignore_cleanup_errors=True) as home:
        settings = config.load(home=home, overrides=["text.facts=[]"])
        spark = session.start(settings, "benchmark")
        frames = {}
        for side, some in sides.items():
            table = pa.table(
                {
                    "product_id": [f"{i:08d}" for i in some],
                    "title": [titles[i] for i in some],
                    "category_id": [str(labels[i]) for i in some],
                    "weight": np.ones(len(some)),
                }
            )
            pa.parquet.write_table(table, f"{home}/{side}.parquet")
            frame = spark.read.parquet(f"{home}/{side}.parquet").repartition(8)
            frame.write.format("delta").save(f"{home}/{side}")
            frames[side] = spark.read.format("delta").load(f"{home}/{side}")
        tree = spark.createDataFrame(
            [("benchmark", str(i), str(i).zfill(5), None) for i in range(int(labels.max()) + 1)],
            "taxonomy_version string, category_id string, path string, parent_id string",
        )
        samples: list = []
        begin_watching(samples)
        started = time.perf_counter()
        made = train(
            frames["train"], frames["calibrate"], frames["calibrate"], tree, settings, f"{home}/work", f"{home}/model"
        )
        trained_s = time.perf_counter() - started
        print("seconds per step:", made["seconds"], file=sys.stderr)
        started = time.perf_counter()
        predict(frames["train"], f"{home}/model", 5, ["product_id"]).write.format("delta").save(f"{home}/said")
        predicted_s = time.perf_counter() - started
        peak = max(size for _, size in samples)
        found = predict(frames["test"], f"{home}/model", 1, ["product_id"]).selectExpr(
            "product_id", "top_k[0].category_id c"
        )
        said = {int(row.product_id): int(row.c) for row in found.collect()}
        classified = classifier_alone(f"{home}/model", titles)
        spark.stop()
    truth, group, categories = labels[sides["test"]], groups[sides["test"]], int(labels.max()) + 1

    def macro_f1(answers: np.ndarray) -> float:
        return bootstrap.macro_f1(bootstrap.counts(truth, answers, group, categories, 0))[0]

    work = f"demo, {len(sides['train']):,} rows, {categories:,} categories"
    written = len(sides["train"]) / predicted_s
    lines = [
        line(work, "prediction, Delta to Delta, rows/s", written, None, None, ">= 20,000", written >= 20_000),
        line(work, "classifier alone, rows/s", classified, None, None, ">= 100,000", classified >= 100_000),
    ]
    own = macro_f1(np.array([said[i] for i in sides["test"]]))
    if alone:
        return [
            line(work, "macro-F1", own),
            line(work, "training, s", trained_s),
            line(work, "peak GB", peak / 1e9),
            *lines,
        ]
    theirs, took = ask_peer("XR-Linear", titles, labels, sides["train"], sides["test"])
    peers, ratio = macro_f1(theirs), took["train"] / trained_s
    hourly = 3600 / trained_s, 3600 / took["train"]
    return [
        line(work, "macro-F1", own, peers, "XR-Linear", ">= peer", own >= peers),
        line(work, "trainings an hour", *hourly, "XR-Linear", ">= 2x", ratio >= 2),
        line(work, "training, s", trained_s, took["train"], "XR-Linear"),
        line(work, "peak GB, all processes", peak / 1e9, took["peak"] / 1e9, "XR-Linear"),
        *lines,
    ]


def demo(rows: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Titles, category numbers, and groups of records of one thing, as uint64."""
    from shelfmark.demo import records
    from shelfmark.demo.generate import CHUNK_ROWS

    titles, labels = [], []
    for chunk in range(-(-rows // CHUNK_ROWS)):
        count = min(CHUNK_ROWS, rows - chunk * CHUNK_ROWS)
        made = records.make_chunk(7, chunk, chunk * CHUNK_ROWS, count, min(count, 1000))
        titles += [title or "" for title in made.title]
        labels += [leaf * 3 + colour % 3 for leaf, colour in zip(made.leaf, made.colour)]
    labels = np.unique(labels, return_inverse=True)[1].astype(np.int32)
    # Not numpy's own: it gives each of a million titles the room of the longest.
    same = pd.factorize(pd.Series([" ".join(sorted(WORDS.findall(title.lower()))) for title in titles], dtype=object))[
        0
    ]
    return titles, labels, same.astype(np.uint64)


def begin_watching(samples: list) -> None:
    """Memory of this process and its children, Java among them, from now on."""
    import threading

    from pipeline import watch

    threading.Thread(target=watch, args=(os.getpid(), samples), daemon=True).start()


def classifier_alone(folder: str, titles: list[str]) -> float:
    """Rows a second of `model.answer` on tokens, on all cores."""
    found = model.load(folder, "alone")
    words = pa.array([WORDS.findall(title.lower()) for title in titles[:200_000]], pa.list_(pa.string()))
    facts = pa.array([[]] * len(words), pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())])))
    pieces = [(words.slice(at, 10_000), facts.slice(at, 10_000)) for at in range(0, len(words), 10_000)]
    model.answer(found, *pieces[0], 5)
    started = time.perf_counter()
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(lambda piece: model.answer(found, *piece, 5), pieces))
    return len(words) / (time.perf_counter() - started)


# -- figures ------------------------------------------------------------------------------------------------------


def say(feed: Feed, who: str, found: Answers, folds) -> None:
    seen = np.isin(feed.fold, list(folds))
    counted = bootstrap.counts(feed.labels[seen], found.said[seen], feed.group[seen], feed.categories, 0)
    print(f"{feed.name}: {who}: macro-F1 {bootstrap.macro_f1(counted)[0]:.4f}", file=sys.stderr, flush=True)


def compared(feed: Feed, found: dict[str, Answers], folds) -> list[dict]:
    """The lines of a feed: ours with titles and with every field beside the best peer, and each peer by itself."""
    seen = np.isin(feed.fold, list(folds))
    counts = {
        who: bootstrap.counts(feed.labels[seen], one.said[seen], feed.group[seen], feed.categories)
        for who, one in found.items()
    }
    support = np.bincount(feed.labels)
    tail = np.argsort(support, kind="stable")[: feed.categories // 3]
    peers = [who for who in found if who not in OURS]
    macro = {who: bootstrap.macro_f1(one) for who, one in counts.items()}
    low = {who: bootstrap.macro_f1(one, tail) for who, one in counts.items()}
    rows = int(seen.sum())
    work = f"{feed.name}, {rows:,} products, {feed.categories} categories"
    lines = []
    for metric, values, points in (("macro-F1", macro, 0.02), ("tail macro-F1", low, 0.05)):
        if metric != "macro-F1" and feed.name not in TAILED:
            continue
        best = max(peers, key=lambda who: values[who][0])
        for who in OURS:
            gain = bootstrap.interval(values[who] - values[best])
            needed = 0.1 * (1 - values[best][0]) if metric == "macro-F1" and values[best][0] > 0.9 else points
            goal = f">= peer + {needed:.4f}, lower bound > 0"
            holds = gain[0] >= needed and gain[1] > 0
            judged = who == "every field"  # peers read titles: the goal is for what ours can read
            named = f"{work}: {who}"
            lines.append(
                line(
                    named,
                    metric,
                    values[who][0],
                    values[best][0],
                    best,
                    goal if judged else None,
                    holds if judged else None,
                )
            )
            lines.append(line(named, f"{metric}, gain", gain[0]))
            lines.append(line(named, f"{metric}, gain: low end of 95 %", gain[1]))
    for who, one in found.items():
        named = f"{feed.name}: {who}"
        lines.append(line(named, "macro-F1", macro[who][0]))
        lines.append(line(named, "macro-F1, low end of 95 %", bootstrap.interval(macro[who])[1]))
        lines.append(line(named, "macro-F1, high end of 95 %", bootstrap.interval(macro[who])[2]))
        if feed.name in TAILED:
            lines.append(line(named, "tail macro-F1", low[who][0]))
        lines.append(line(named, "accuracy", bootstrap.accuracy(counts[who])[0]))
        lines.append(line(named, "training, s", one.train))
        lines.append(line(named, "prediction, rows/s", rows / one.predict))
        lines.append(line(named, "peak GB", one.peak / 1e9))
    return lines


if __name__ == "__main__":
    sys.exit(main())
