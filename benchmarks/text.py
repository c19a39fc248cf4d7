"""Text classifiers on real feeds, ours beside LinearSVC, XR-Linear and fastText.

    python benchmarks/text.py [--feeds amazon_in openfoodfacts fashion] [--only ours PEER ...] [--quick] [--json FILE]

The feeds (../shared/data or SHELFMARK_REAL_DATA) are taken in and grouped by our own jobs; categories with 10 or more
products count. Five folds by leak group, so that no look-alike is on two sides; predictions of all folds are pooled.
Macro-F1 has its 95 % interval by a bootstrap over leak groups, and the difference to the best peer is paired. The tail is
the third of the categories with the fewest products. Peers read titles; ours is printed with titles alone and with every
field (price, attributes). Class weights are chosen inside each training fold, on a part of it that is then learnt from as
well. Peers run in an environment of their own, set up once in .venv/peers from benchmarks/peers/requirements.lock.
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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from _table import line, parse, report
from rich.console import Console

from shelfmark import config, pipeline, session
from shelfmark.labels.weights import class_weights
from shelfmark.metrics import bootstrap
from shelfmark.text import fit, model, stated
from shelfmark.text.facts import NOTHING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("SHELFMARK_REAL_DATA") or ROOT.parent / "shared" / "data")
FEEDS = ("amazon_in", "openfoodfacts", "fashion")
PEERS = ("LinearSVC", "XR-Linear", "fastText")
TAILED = ("openfoodfacts", "fashion")  # amazon_in has a hundred rows of nearly every category
FOLDS = 5
MIN_ROWS = 10
TRIED = ("none", "sqrt", "effective", "inverse")
WORDS = re.compile(r"[^\W_]+")  # the words of `pipeline.tokens`
CORES = 2


class Feed(NamedTuple):
    """Products of a feed: ids, titles, category numbers, folds, hashes of leak groups, and the table they are in."""

    name: str
    ids: list[str]
    titles: list[str]
    words: pa.Array
    labels: np.ndarray
    fold: np.ndarray
    group: np.ndarray
    facts: pa.Array
    table: DataFrame

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
    if not DATA.is_dir():
        sys.exit(f"no real feeds at {DATA}; set SHELFMARK_REAL_DATA")
    feeds = args.feeds[:1] if args.quick else args.feeds
    folds = range(1 if args.quick else FOLDS)
    named = [name for name in ("titles", "every field", *PEERS) if not args.only or name in args.only or name in OURS]
    with tempfile.TemporaryDirectory(prefix="shelfmark-bench-", ignore_cleanup_errors=True) as home:
        settings = config.load(home=home, data=str(DATA), overrides=[f"sources={json.dumps(list(feeds))}"])
        spark = session.start(settings, "benchmark")
        for job in ("ingest", "taxonomy", "dedupe", "labels"):
            if code := pipeline.run_job(job, settings, Console(stderr=True), "20260101-text", False):
                sys.exit(code)
        lines = []
        for name in feeds:
            feed = read(spark, settings, name)
            found = {}
            for who in named:
                found[who] = ours(feed, folds, who) if who in OURS else peer(feed, folds, who)
                say(feed, who, found[who], folds)
            lines += compared(feed, found, folds)
        spark.stop()
    return report(lines, args.json)


OURS = ("titles", "every field")


def options(parser) -> None:
    import argparse

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--feeds", nargs="+", choices=FEEDS, default=list(FEEDS))
    parser.add_argument("--only", nargs="+", choices=PEERS, help="these peers only")


def read(spark: SparkSession, settings: config.Settings, name: str) -> Feed:
    """The labelled products of a source."""
    from pyspark.sql import functions as F

    from shelfmark.query import open_reader
    from shelfmark.query import read as table

    lake, commit = open_reader(settings, "main")
    products, labels, groups = (
        table(spark, lake, commit, f"silver.{one}") for one in ("products", "labels", "leak_groups")
    )
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
    labels = np.unique(found["category_id"].to_numpy(), return_inverse=True)[1].astype(np.int32)
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


def trained(feed: Feed, rows: np.ndarray, learnt: dict, how: str, folder: Path) -> model.Model:
    text, work, target = config.Text(), folder / "work", folder / "model"
    order = rows[np.random.default_rng(0).permutation(len(rows))]  # the job orders rows by a hash
    parts = np.array_split(order, max(1, len(order) // 16_384))

    def count(part: int) -> None:
        some = parts[part]
        at = pa.array(some)
        batch = feed.words.take(at), feed.labels[some], np.ones(len(some)), feed.facts.take(at)
        fit.count_grams(work, part, [batch], text, learnt)

    with ThreadPoolExecutor(CORES) as pool:

        def each(function, items):
            return list(pool.map(function, items))

        each(count, range(len(parts)))
        made = fit.prepare(work, target, range(len(parts)), len(rows), text, each, CORES, learnt)
        boost = class_weights(np.bincount(feed.labels[rows], minlength=feed.categories), how, cap=text.max_weight)
        fit.learn(work, target, range(len(parts)), made["features"], feed.categories, text, boost, each, CORES)
    names = [str(i) for i in range(feed.categories)]
    nodes, tree = model.make_tree(names, {name: (name.zfill(6), None) for name in names})
    about = {"text": text.model_dump(), "temperature": 1.0, "accept": 2.0, "roll_up": 2.0, "roll_up_depth": 1}
    model.write(target, nodes, tree, about | {"taxonomy_version": "benchmark", "facts": learnt})
    return model.load(str(target), str(time.time_ns()))


def numbers(found: model.Model, feed: Feed, rows: np.ndarray) -> np.ndarray:
    at = pa.array(rows)
    return model.answer(found, feed.words.take(at), feed.facts.take(at), 1).number[:, 0]


# -- peers --------------------------------------------------------------------------------------------------------


def peer(feed: Feed, folds, who: str) -> Answers:
    said, seconds, peak = np.full(len(feed.labels), -1), np.zeros(2), 0
    for k in folds:
        train, test = np.flatnonzero(feed.fold != k), np.flatnonzero(feed.fold == k)
        with tempfile.TemporaryDirectory() as folder:
            given = {"titles": [feed.titles[i] for i in train], "labels": feed.labels[train].tolist()}
            Path(folder, "train.json").write_text(json.dumps(given))
            Path(folder, "test.json").write_text(json.dumps({"titles": [feed.titles[i] for i in test]}))
            run_peer(who, folder)
            said[test] = np.load(Path(folder, "said.npy"))
            took = json.loads(Path(folder, "result.json").read_text())
            seconds += took["train"], took["predict"]
            peak = max(peak, took["peak"])
    return Answers(said, *seconds, peak)


def run_peer(who: str, folder: str) -> None:
    done = subprocess.run(
        [peers_python(), ROOT / "benchmarks/peers/classifiers.py", who, folder], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{who} ended with {done.returncode}:\n{done.stderr[-3000:]}")


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
