"""Other classifiers that Spark offers, on the same titles and folds as ours: Word2Vec with logistic regression, ClassifierDL.

    python benchmarks/classifiers.py [--feeds amazon_in openfoodfacts fashion] [--quick] [--json FILE]

Both stand on word vectors that Spark NLP's Word2Vec learns from the training titles themselves (100 numbers, 5 passes), averaged
over a title. Spark ML's logistic regression takes all categories; Spark NLP's ClassifierDL, a small network, takes at most
100 classes, so it is asked for the first level of the taxonomy only, where ours is beside it.

One fold of five by leak group. Ours is the default model with titles alone. ClassifierDL needs TensorFlow's jars, which are no part
of the set-up: they are resolved once, by the Ivy that Spark brings, from benchmarks/peers/classifierdl.xml into .venv/peers.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyspark
from _table import line, parse, report
from text import DATA, ROOT, Feed, numbers, options, read, taken_in, trained

from shelfmark import session
from shelfmark.metrics import bootstrap
from shelfmark.text.facts import NOTHING

VECTOR, PASSES = 100, 5


def main() -> int:
    args = parse(__doc__, options)
    if not DATA.is_dir():
        sys.exit(f"no real feeds at {DATA}; set SHELFMARK_REAL_DATA")
    lines = []
    feeds = args.feeds[:1] if args.quick else args.feeds
    with tempfile.TemporaryDirectory(prefix="shelfmark-bench-", ignore_cleanup_errors=True) as home:
        classes = {"spark.driver.extraClassPath": f"{session.resolve_jars()}/*:{tensorflow()}/*"}
        _, spark, table = taken_in(feeds, home, classes)
        for name in feeds:
            lines += compared(read(table, name))
        spark.stop()
    return report(lines, args.json)


def tensorflow() -> Path:
    """Folder of TensorFlow's jars."""
    folder = ROOT / ".venv" / "peers" / "classifierdl"
    if not (folder / ".complete").exists():
        (ivy,) = Path(pyspark.__file__).parent.glob("jars/ivy-*.jar")
        java = Path(session.java_home(), "bin", "java")
        told = ["-ivy", ROOT / "benchmarks/peers/classifierdl.xml", "-cache", folder / "cache"]
        subprocess.run(
            [java, "-jar", ivy, *told, "-retrieve", folder / "[artifact]-[revision](-[classifier]).[ext]"], check=True
        )
        (folder / ".complete").touch()
    return folder


def compared(feed: Feed) -> list[dict]:
    train, test = np.flatnonzero(feed.fold != 0), np.flatnonzero(feed.fold == 0)
    tops = np.unique([" > ".join(path.split(" > ")[:2]) for path in feed.paths], return_inverse=True)[1].astype(
        np.int32
    )
    upper = feed._replace(labels=tops[feed.labels])
    lines = []
    for one, what, other in ((feed, "all levels", logistic), (upper, "first level", network)):
        work = f"{feed.name}, {what}, {one.categories} categories"
        if one.categories < 2:
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            own = numbers(trained(one, train, NOTHING, "sqrt", Path(folder)), one, test)
        own_s, started = time.perf_counter() - started, time.perf_counter()
        said = other(one, train, test)
        took = time.perf_counter() - started
        macro = [
            bootstrap.macro_f1(bootstrap.counts(one.labels[test], some, one.group[test], one.categories, 0))[0]
            for some in (own, said)
        ]
        lines.append(line(work, "macro-F1", *macro, other.__doc__))
        lines.append(
            line(work, "accuracy", *(float((some == one.labels[test]).mean()) for some in (own, said)), other.__doc__)
        )
        lines.append(line(work, "training and asking, s", own_s, took, other.__doc__))
        print(f"{work}: {macro}", file=sys.stderr, flush=True)
    return lines


def embedded(feed: Feed, train: np.ndarray, test: np.ndarray):
    """Rows (i, label, vectors as Spark NLP's annotation) of the training and the test titles."""
    from pyspark.ml import Pipeline
    from sparknlp.annotator import RegexTokenizer, SentenceEmbeddings, Word2VecApproach
    from sparknlp.base import DocumentAssembler

    spark = feed.table.sparkSession
    learnt, asked = (
        spark.createDataFrame(
            [(int(i), int(feed.labels[i]), " ".join(feed.words[int(i)].as_py()) or "-") for i in some],
            "i int, label int, text string",
        ).repartition(4)
        for some in (train, test)
    )
    vectors = Word2VecApproach().setInputCols(["tokens"]).setOutputCol("vectors")
    stages = [
        DocumentAssembler().setInputCol("text").setOutputCol("document"),
        RegexTokenizer().setInputCols(["document"]).setOutputCol("tokens").setPattern(" +"),
        vectors.setVectorSize(VECTOR).setMaxIter(PASSES).setMinCount(2).setSeed(7),
        SentenceEmbeddings().setInputCols(["document", "vectors"]).setOutputCol("title").setPoolingStrategy("AVERAGE"),
    ]
    made = Pipeline(stages=stages).fit(learnt)
    return made.transform(learnt), made.transform(asked)


def logistic(feed: Feed, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Word2Vec + logistic regression"""
    from pyspark.ml.classification import LogisticRegression
    from pyspark.ml.functions import array_to_vector

    def rows(df):
        return (
            df.selectExpr("i", "double(label) AS label", "title[0].embeddings AS e")
            .where("size(e) > 0")
            .select("i", "label", array_to_vector("e").alias("features"))
        )

    learnt, asked = map(rows, embedded(feed, train, test))
    found = LogisticRegression(maxIter=100, regParam=1e-5).fit(learnt.cache())
    return _said(found.transform(asked).selectExpr("i", "int(prediction) AS said"), feed, test)


def network(feed: Feed, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Word2Vec + ClassifierDL"""
    from sparknlp.annotator import ClassifierDLApproach

    learnt, asked = (
        df.selectExpr("i", "string(label) AS label", "document", "title") for df in embedded(feed, train, test)
    )
    approach = ClassifierDLApproach().setInputCols(["title"]).setOutputCol("said").setLabelColumn("label")
    found = approach.setMaxEpochs(20).setBatchSize(64).setLr(0.005).setRandomSeed(7).fit(learnt)
    return _said(found.transform(asked).selectExpr("i", "int(said[0].result) AS said"), feed, test)


def _said(df, feed: Feed, test: np.ndarray) -> np.ndarray:
    said = {row.i: row.said for row in df.collect()}
    return np.array([-1 if said.get(int(i)) is None else said[int(i)] for i in test])


if __name__ == "__main__":
    sys.exit(main())
