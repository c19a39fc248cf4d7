"""What each part of the text model brings: the default beside itself with one thing changed.

    python benchmarks/ablation.py [--feeds amazon_in openfoodfacts fashion] [--folds N] [--only NAME ...] [--quick] [--json FILE]

The feeds (../shared/data or SHELFMARK_REAL_DATA) are taken in and grouped by our own jobs. Folds by leak group (two of five
by default); their predictions are pooled. A line is a change: macro-F1 with it, beside the default's; gain and its 95 %
interval are paired, by a bootstrap over leak groups.
"""

from __future__ import annotations

import random
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import text as benchmark
from _table import line, parse, report
from text import DATA, FEEDS, FOLDS, Feed, More, learn_facts, numbers, read, taken_in, trained

from shelfmark import config, traits
from shelfmark.labels.weights import logit_offsets
from shelfmark.metrics import bootstrap
from shelfmark.text import augment, calibrate, kernel, model
from shelfmark.text.facts import NOTHING, joined
from shelfmark.text.fit import grams

if TYPE_CHECKING:
    from collections.abc import Callable

NO_FACTS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))


class Change(NamedTuple):
    """One thing changed: what the words and facts of the feed become, settings, rows beside, offsets of scores."""

    feed: Callable[[Feed], Feed] = lambda feed: feed
    text: dict = {}  # noqa: RUF012 (never changed)
    how: str = "sqrt"
    facts: bool = True
    more: Callable[[Feed, np.ndarray], More] | None = None
    tau: float = 0


def main() -> int:
    args = parse(__doc__, options)
    if not DATA.is_dir():
        sys.exit(f"no real feeds at {DATA}; set SHELFMARK_REAL_DATA")
    lines = []
    with tempfile.TemporaryDirectory(prefix="shelfmark-bench-", ignore_cleanup_errors=True) as home:
        _, spark, table = taken_in(args.feeds, home)
        for name in args.feeds[:1] if args.quick else args.feeds:
            feed, folds = read(table, name), range(1 if args.quick else args.folds)
            lines += compared(feed, folds, args.only)
            if not args.only:
                lines += pseudo_labelled(feed, folds)
        spark.stop()
    return report(lines, args.json)


def options(parser) -> None:
    import argparse

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--feeds", nargs="+", choices=FEEDS, default=list(FEEDS))
    parser.add_argument("--folds", type=int, default=2, choices=range(1, FOLDS + 1))
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), help="these changes only")


def compared(feed: Feed, folds: range, only: list[str] | None) -> list[dict]:
    seen = np.isin(feed.fold, list(folds))

    def counted(change: Change) -> np.ndarray:
        said = answers(feed, folds, change)
        return bootstrap.counts(feed.labels[seen], said[seen], feed.group[seen], feed.categories)

    default = counted(Change())
    base, right = bootstrap.macro_f1(default), bootstrap.accuracy(default)
    work = f"{feed.name}, {int(seen.sum()):,} products"
    lines = [line(work, "macro-F1, default", base[0])]
    tail = np.argsort(np.bincount(feed.labels), kind="stable")[: feed.categories // 3]
    for name in only or CHANGES:
        found = counted(CHANGES[name])
        macro = bootstrap.macro_f1(found)
        gain, low, high = bootstrap.interval(macro - base)
        lines.append(line(work, f"{name}: macro-F1", macro[0], base[0], "default"))
        lines.append(line(work, f"{name}: gain", gain))
        lines.append(line(work, f"{name}: gain, low end of 95 %", low))
        lines.append(line(work, f"{name}: gain, high end of 95 %", high))
        lines.append(line(work, f"{name}: gain of accuracy", bootstrap.accuracy(found)[0] - right[0]))
        rare = bootstrap.macro_f1(found, tail)[0] - bootstrap.macro_f1(default, tail)[0]
        lines.append(line(work, f"{name}: gain of the tail", rare))
        print(
            f"{feed.name}: {name}: {gain:+.4f} [{low:+.4f}, {high:+.4f}] tail {rare:+.4f}", file=sys.stderr, flush=True
        )
    return lines


def pseudo_labelled(feed: Feed, folds: range) -> list[dict]:
    """Half of the training labels hidden: without them, and with what the model of the rest accepts of them."""
    said = {name: np.full(len(feed.labels), -1) for name in ("half", "pseudo")}
    right, rows, labelled = 0, 0, 0
    for k in folds:
        train, test = np.flatnonzero(feed.fold != k), np.flatnonzero(feed.fold == k)
        draw = bootstrap.mix(feed.group[train] ^ np.uint64(3)) % np.uint64(20)
        known, tune, hidden = train[draw < 9], train[draw == 9], train[draw > 9]
        learnt = learn_facts(feed, known)
        with tempfile.TemporaryDirectory() as folder:
            found = trained(feed, known, learnt, "sqrt", Path(folder))
            said["half"][test] = numbers(found, feed, test)
            sure, hit = (scored(found, feed, some).scores for some in (hidden, tune))
        threshold = calibrate.accept_threshold(hit.max(1), hit.argmax(1) == feed.labels[tune], 0.95, 50)
        taken = np.flatnonzero(sure.max(1) >= threshold)
        own, guess = hidden[taken], sure[taken].argmax(1)
        # At most as many of a category as are labelled, the surest first.
        order = np.argsort(-sure[taken].max(1), kind="stable")
        place = np.empty(len(order), int)
        for category in np.unique(guess):
            mine = order[guess[order] == category]
            place[mine] = np.arange(len(mine))
        kept = place < np.bincount(feed.labels[known], minlength=feed.categories)[guess]
        own, guess = own[kept], guess[kept].astype(np.int32)
        right, rows = right + int((guess == feed.labels[own]).sum()), rows + len(own)
        labelled += len(known)
        more = More(feed.words.take(pa.array(own)), guess, np.full(len(own), 0.3), feed.facts.take(pa.array(own)))
        with tempfile.TemporaryDirectory() as folder:
            said["pseudo"][test] = numbers(trained(feed, known, learnt, "sqrt", Path(folder), None, more), feed, test)
    seen = np.isin(feed.fold, list(folds))
    half, pseudo = (
        bootstrap.macro_f1(bootstrap.counts(feed.labels[seen], one[seen], feed.group[seen], feed.categories))
        for one in said.values()
    )
    gain, low, high = bootstrap.interval(pseudo - half)
    work = f"{feed.name}, {int(seen.sum()):,} products, 45 % of the labels"
    print(f"{work}: {half[0]:.4f}, pseudo-labels {gain:+.4f} [{low:+.4f}, {high:+.4f}]", file=sys.stderr, flush=True)
    return [
        line(work, "pseudo-labels: macro-F1", pseudo[0], half[0], "without"),
        line(work, "pseudo-labels: gain", gain),
        line(work, "pseudo-labels: gain, low end of 95 %", low),
        line(work, "pseudo-labels: gain, high end of 95 %", high),
        line(work, "pseudo-labels, in terms of the labels", rows / labelled),
        line(work, "pseudo-labels, right", right / max(rows, 1)),
    ]


def answers(feed: Feed, folds: range, change: Change) -> np.ndarray:
    """Category numbers of the products of the folds."""
    feed, said = change.feed(feed), np.full(len(feed.labels), -1)
    settings = config.Text(**change.text)
    for k in folds:
        train, test = np.flatnonzero(feed.fold != k), np.flatnonzero(feed.fold == k)
        learnt = learn_facts(feed, train) if change.facts else NOTHING
        more = change.more(feed, train) if change.more else None
        with tempfile.TemporaryDirectory() as folder:
            found = trained(feed, train, learnt, change.how, Path(folder), settings, more)
            if change.tau:
                scores = scored(found, feed, test).scores
                counts = np.bincount(feed.labels[train], minlength=feed.categories)
                said[test] = (scores + logit_offsets(counts, change.tau).astype(np.float32)).argmax(1)
            else:
                said[test] = numbers(found, feed, test)
    return said


def scored(found: model.Model, feed: Feed, rows: np.ndarray) -> model.Scored:
    at = pa.array(rows)
    idf = found.arrays["idf"]
    texts = kernel.weigh(*grams(feed.words.take(at), found.text), found.arrays["lookup"], idf)
    return model.scored(found.arrays, *joined(found.facts.rows(feed.facts.take(at)), texts, found.facts.cuts, len(idf)))


# -- words --------------------------------------------------------------------------------------------------------


def reworded(feed: Feed, annotator: str) -> Feed:
    """The words as an annotator of Spark NLP leaves them: its stop words are gone, or stems are in their place."""
    from pyspark.ml import Pipeline
    from pyspark.sql import functions as F
    from sparknlp.annotator import RegexTokenizer, Stemmer, StopWordsCleaner
    from sparknlp.base import DocumentAssembler

    spark = feed.table.sparkSession
    rows = spark.createDataFrame(
        list(enumerate(" ".join(words) for words in feed.words.to_pylist())), "i int, _text string"
    )
    last = {"stop words": StopWordsCleaner(), "stems": Stemmer()}[annotator]
    stages = [
        DocumentAssembler().setInputCol("_text").setOutputCol("_document"),
        RegexTokenizer().setInputCols(["_document"]).setOutputCol("_tokens").setPattern(" +"),
        last.setInputCols(["_tokens"]).setOutputCol("_out"),
    ]
    made = Pipeline(stages=stages).fit(rows).transform(rows).select("i", F.col("_out.result").alias("words"))
    words = {row.i: row.words for row in made.collect()}
    return feed._replace(words=pa.array([words[i] for i in range(len(feed.words))], pa.list_(pa.string())))


def with_traits(feed: Feed) -> Feed:
    """Colour, size, material and model code of the title as facts."""
    made = []
    for facts, title in zip(feed.facts.to_pylist(), feed.titles):
        found = {"colour": traits.colours(title), "size": traits.sizes(title), "material": traits.materials(title)}
        more = [{"name": f"[{name}]", "value": one} for name, some in found.items() for one in sorted(some)]
        made.append((facts or []) + more)
    spark = feed.table.sparkSession
    facts = pa.array(made, NO_FACTS)
    rows = spark.createDataFrame(
        [(i, one) for i, one in zip(feed.ids, made)], "product_id string, f array<struct<name:string,value:string>>"
    )
    table = feed.table.drop("facts").join(rows.withColumnRenamed("f", "facts"), "product_id").cache()
    return feed._replace(facts=facts, table=table)


# -- rows beside --------------------------------------------------------------------------------------------------


def _more(words: list[list[str]], labels: list[int], weight: float) -> More:
    return More(
        pa.array(words, pa.list_(pa.string())),
        np.array(labels, np.int32),
        np.full(len(labels), weight),
        pa.array([[]] * len(labels), NO_FACTS),
    )


def category_names(feed: Feed, train: np.ndarray, weight: float = 1.0) -> More:
    """The name of each category as a title of it."""
    words = [benchmark.WORDS.findall(path.split(" > ")[-1].lower()) for path in feed.paths]
    return _more(words, list(range(feed.categories)), weight)


def copies(feed: Feed, train: np.ndarray, each: int = 3, below: int = 50) -> More:
    """Altered copies of the titles of rare categories, as `text.augment`."""
    counts = np.bincount(feed.labels[train], minlength=feed.categories)
    words, labels = [], []
    for i in train[counts[feed.labels[train]] < below]:
        for copy in range(each):
            changed = augment.altered(feed.titles[i], random.Random(f"{feed.ids[i]} {copy}"))
            words.append(benchmark.WORDS.findall(changed.lower()))
            labels.append(int(feed.labels[i]))
    return _more(words, labels, augment.WEIGHT)


CHANGES = {
    "titles alone": Change(facts=False),
    "no pairs of words": Change(text={"pairs": 0}),
    "class weights: none": Change(how="none"),
    "class weights: effective": Change(how="effective"),
    "class weights: inverse": Change(how="inverse"),
    "rare weights from 0.02 on": Change(text={"prune": 0.02}),
    "rare weights from 0.15 on": Change(text={"prune": 0.15}),
    "logit adjustment, tau 0.02": Change(tau=0.02),
    "logit adjustment, tau 0.05": Change(tau=0.05),
    "logit adjustment, tau 0.1": Change(tau=0.1),
    "traits of titles as facts": Change(feed=with_traits),
    "Spark NLP: no stop words": Change(feed=partial(reworded, annotator="stop words")),
    "Spark NLP: stems": Change(feed=partial(reworded, annotator="stems")),
    "category names as titles": Change(more=category_names),
    "category names, weight 3": Change(more=partial(category_names, weight=3.0)),
    "altered copies of rare titles": Change(more=copies),
}


if __name__ == "__main__":
    sys.exit(main())
