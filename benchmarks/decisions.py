"""What the text model decides on real feeds: are its confidences right, do thresholds keep their promise, what does roll-up
save, and does the audit find wrong labels.

    python benchmarks/decisions.py [--feeds amazon_in openfoodfacts fashion] [--target 0.95] [--quick] [--json FILE]

The feeds (../shared/data or SHELFMARK_REAL_DATA) are taken in and grouped by our own jobs. Five folds by leak group: the
job's own `train` learns from three, calibrates on one, and `predict` answers the last; answers of all folds are pooled
(--quick: one fold). Compared with: softmax of the same scores (for calibration), and the parent of the leaf below a
threshold, at an equal share of rolled-up products (for roll-up).

Out of scope (amazon_in): a quarter of the main categories, or of the leaves, is held out of training; the area under the ROC
curve tells how well products of the others are told from theirs, mean of five draws, beside the energy (log-sum-exp of the
decision function) of scikit-learn's LinearSVC on titles.

Calibration once more, on one fold, beside vector scaling: softmax of the same scores, a slope and an offset for each category,
fitted on the calibrate fold (Guo et al. 2017, "On Calibration of Modern Neural Networks").

For the audit 20 % of the labels are moved to a sibling category, one that has the same parent. Products that their feed
lists in several categories are set aside. One fold is then learnt from with the labels moved, by ours, by ours without
what an audit of the training rows contradicts (text.trim), and by LinearSVC: how far does macro-F1 on the clean labels
of the fold fall?
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from _table import line, parse, report
from ablation import scored
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from scipy.stats import binomtest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC
from text import DATA, FOLDS, MIN_ROWS, Feed, learn_facts, numbers, options, read, taken_in, trained

from shelfmark.metrics import bootstrap
from shelfmark.text import calibrate
from shelfmark.text.audit import audit
from shelfmark.text.predict import predict
from shelfmark.text.train import train

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark.config import Settings

FOUND = {"amazon_in": 0.70, "fashion": 0.95, "openfoodfacts": 0.94}
"""Average precision that the audit is to reach."""
MOVED, DRAWS, TRIM = 0.2, 5, 0.5


def main() -> int:
    args = parse(__doc__, asked)
    if not DATA.is_dir():
        sys.exit(f"no real feeds at {DATA}; set SHELFMARK_REAL_DATA")
    feeds = args.feeds[:1] if args.quick else args.feeds
    lines = []
    with tempfile.TemporaryDirectory(prefix="shelfmark-bench-", ignore_cleanup_errors=True) as home:
        settings, spark, table = taken_in(feeds, home)
        decision = settings.decision.model_copy(update={"target_accuracy": args.target})
        settings = settings.model_copy(update={"decision": decision})
        taxonomy = table("silver.taxonomy").cache()
        for name in feeds:
            rows = labelled(table, name).cache()
            lines += decided(name, rows, taxonomy, settings, Path(home), 1 if args.quick else FOLDS)
            if args.decisions:
                continue
            feed = read(table, name)
            lines += vectored(feed)
            lines += audited(name, rows, taxonomy, settings, Path(home))
            lines += shaken(feed, rows, taxonomy, settings, Path(home))
            if name == "amazon_in":
                lines += scoped(feed, 1 if args.quick else DRAWS)
            rows.unpersist()
        spark.stop()
    return report(lines, args.json)


def asked(parser) -> None:
    options(parser)
    parser.add_argument("--target", type=float, default=0.95, help="accuracy that is asked of what is accepted")
    parser.add_argument("--decisions", action="store_true", help="decisions alone: no audit, nothing out of scope")


def labelled(table, name: str) -> DataFrame:
    """The labelled products of a source, of categories with `MIN_ROWS` of them: what a model reads, fold, listings."""
    from pyspark.sql import functions as F

    labels = table("silver.labels").where("origin = 'source'")
    listed = labels.groupBy("product_id").agg(F.count("*").alias("listed"))
    rows = (
        table("silver.products")
        .where(F.col("source") == name)
        .join(labels.where("primary").select("product_id", "category_id", "weight"), "product_id")
        .join(table("silver.leak_groups").select("product_id", "leak_group"), "product_id")
        .join(listed, "product_id")
        .withColumn("_of", F.expr("count(*) over (partition by category_id)"))
        .where(f"_of >= {MIN_ROWS}")
        .drop("_of")
    )
    return rows.withColumn("fold", F.pmod(F.xxhash64("leak_group", F.lit("decisions")), F.lit(FOLDS)))


def decided(name: str, rows: DataFrame, taxonomy: DataFrame, settings: Settings, home: Path, folds: int) -> list[dict]:
    pooled, raw = [], []
    for k in range(folds):
        aside = (k + 1) % FOLDS
        calibrating = rows.where(f"fold = {aside}")
        made = train(
            rows.where(f"fold not in ({k}, {aside})"),
            calibrating,
            rows.where(f"fold = {k}"),
            taxonomy,
            settings,
            home / "work",
            home / name / f"model-{k}",
        )
        raw.append(made["metrics"])
        asked = rows.where(f"fold = {k}").withColumnRenamed("category_id", "truth")
        said = predict(asked, home / name / f"model-{k}", 1, ("product_id", "truth"))
        pooled.append(said.selectExpr(*ASKED).toPandas())
        print(f"{name}: fold {k + 1} of {folds}", file=sys.stderr, flush=True)
    said = pd.concat(pooled)
    parents = {row.category_id: row.parent_id for row in taxonomy.select("category_id", "parent_id").collect()}
    right = (said.leaf == said.truth).to_numpy()
    after = calibrate.quality(said.confident.to_numpy(), right)
    accepted, rolled = said[said.decision == "accept"], said[said.decision == "roll_up"]
    hits = int((accepted.leaf == accepted.truth).sum())
    p = (
        binomtest(hits, len(accepted), settings.decision.target_accuracy, alternative="less").pvalue
        if len(accepted)
        else 1
    )
    above = {category: _above(category, parents) for category in set(said.truth) | set(said.decided) | set(said.leaf)}
    wrong = sum(one.decided not in above[one.truth] for one in rolled.itertuples())
    # The peer: of all that is not accepted, the surest leaves' parents, as many.
    rest = said[said.decision != "accept"]
    rest = rest[[parents.get(leaf) is not None for leaf in rest.leaf]]
    peer = rest.sort_values("confident", ascending=False, kind="stable").head(len(rolled))
    peer_wrong = sum(parents[one.leaf] not in above[one.truth] for one in peer.itertuples())
    depth = np.mean([len(above[one.decided]) for one in rolled.itertuples()]) if len(rolled) else float("nan")
    peer_depth = np.mean([len(above[one.leaf]) - 1 for one in peer.itertuples()]) if len(peer) else float("nan")
    work = f"{name}, {len(said):,} products"
    softmax = {key: float(np.mean([one["before"][key] for one in raw])) for key in ("ece", "aurc")}
    excess = after["ece"] - after["ece_by_chance"]
    return [
        line(work, "calibration error above chance", excess, None, None, "<= 0.01", excess <= 0.01),
        line(work, "calibration error", after["ece"], softmax["ece"], "softmax"),
        line(work, "area under risk-coverage", after["aurc"], softmax["aurc"], "softmax"),
        line(work, "accepted, share", len(accepted) / len(said)),
        line(work, "accepted, accuracy", hits / max(len(accepted), 1)),
        line(work, "p that it is the target or more", p, None, None, ">= 0.05", p >= 0.05),
        line(work, "rolled up, share", len(rolled) / len(said)),
        line(work, "rolled up, errors", wrong, peer_wrong, "parent of the leaf", "< peer", wrong < peer_wrong),
        line(work, "rolled up, mean depth kept", depth, peer_depth, "parent of the leaf"),
    ]


ASKED = (
    "category_id AS decided",
    "decision",
    "top_k[0].category_id AS leaf",
    "top_k[0].confidence AS confident",
    "truth",
)


def _above(category: str, parents: dict[str, str | None]) -> list[str]:
    found = []
    while category is not None and category not in found:
        found.append(category)
        category = parents.get(category)
    return found


def scoped(feed: Feed, draws: int) -> list[dict]:
    """AUROC of the fit of products of categories that were learnt, against those that were held out."""
    mains = np.array([" > ".join(path.split(" > ")[:2]) for path in feed.paths])
    train, test = np.flatnonzero(feed.fold != 0), np.flatnonzero(feed.fold == 0)
    learnt, lines = learn_facts(feed, train), []
    for what, groups, goal in (("main categories", mains, 0.87), ("leaves", np.array(feed.paths), 0.72)):
        found = []
        for draw in range(draws):
            names = np.unique(groups)
            out = np.isin(groups, np.random.default_rng(draw).permutation(names)[: len(names) // 4])
            known, new = ~out[feed.labels], np.cumsum(~out) - 1
            told = feed._replace(
                labels=np.where(known, new[feed.labels], -1).astype(np.int32),
                paths=[path for path, away in zip(feed.paths, out) if not away],
            )
            learning = train[known[train]]
            with tempfile.TemporaryDirectory() as folder:
                ours = scored(trained(told, learning, learnt, "sqrt", Path(folder)), told, test).fit
            found.append([roc_auc_score(known[test], one) for one in (ours, energy(told, learning, test))])
        ours, peer = np.mean(found, axis=0)
        work = f"{feed.name}, a quarter of the {what} held out, {draws} draws"
        lines.append(line(work, "out of scope, AUROC", ours, peer, "LinearSVC's energy", f">= {goal}", ours >= goal))
        lines.append(line(work, "out of scope, gain", ours - peer, None, None, ">= 0.04", ours - peer >= 0.04))
    return lines


def energy(feed: Feed, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    found = linear(feed.titles, feed.labels, train)
    return logsumexp(found.decision_function([feed.titles[i] for i in test]), axis=1)


def linear(titles: list[str], labels: np.ndarray, train: np.ndarray):
    """scikit-learn's LinearSVC on titles, trained."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    chars = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    model = make_pipeline(make_union(words, chars), LinearSVC())
    return model.fit([titles[i] for i in train], labels[train])


def vectored(feed: Feed) -> list[dict]:
    """Calibration error and risk-coverage on fold 0: link and curve beside vector scaling, both fitted on fold 1."""
    rows, own, test = (np.flatnonzero(some) for some in (feed.fold > 1, feed.fold == 1, feed.fold == 0))
    with tempfile.TemporaryDirectory() as folder:
        found = trained(feed, rows, learn_facts(feed, rows), "sqrt", Path(folder))
        fitting, asked = (scored(found, feed, some).scores for some in (own, test))
    truth = feed.labels[own]
    table = calibrate.fit_link(calibrate.spread(fitting), fitting[np.arange(len(own)), truth]).table()

    def linked(scores: np.ndarray) -> np.ndarray:
        share = calibrate.evidence(scores, table)
        return share / share.sum(1, keepdims=True)

    slopes, offsets = vector_scaling(fitting, truth)
    made = {}
    for name, chances in (
        ("link and curve", linked),
        ("vector scaling", lambda scores: softmax(scores * slopes + offsets, axis=1)),
    ):
        before, after = chances(fitting), chances(asked)
        curve = calibrate.LINE
        if name == "link and curve":
            curve = calibrate.best_curve(before.max(1), before.argmax(1) == truth)
        right = after.argmax(1) == feed.labels[test]
        made[name] = calibrate.quality(curve(after.max(1)), right) | {"accuracy": float(right.mean())}
    work = f"{feed.name}, one fold, {len(test):,} products"
    ours, peer = made.values()
    names = {"ece": "calibration error", "aurc": "area under risk-coverage", "accuracy": "accuracy of the best"}
    return [line(work, what, ours[key], peer[key], "vector scaling") for key, what in names.items()]


def vector_scaling(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and offset of each category that make the truth likeliest, held near one slope for all by a small penalty."""
    n, k = scores.shape
    hot = np.zeros((n, k))
    hot[np.arange(n), truth] = 1

    def cost(at: np.ndarray) -> tuple[float, np.ndarray]:
        common, slopes, offsets = at[0], at[1 : k + 1], at[k + 1 :]
        z = scores * (common + slopes) + offsets
        total = logsumexp(z, axis=1)
        off = (np.exp(z - total[:, None]) - hot) / n
        by_slope = (off * scores).sum(0)
        penalty = 1e-3 * (slopes @ slopes + offsets @ offsets) / k
        gradient = np.concatenate([[by_slope.sum()], by_slope + 2e-3 * slopes / k, off.sum(0) + 2e-3 * offsets / k])
        return float((total - z[np.arange(n), truth]).mean() + penalty), gradient

    found = minimize(cost, np.concatenate([[5.0], np.zeros(2 * k)]), jac=True, method="L-BFGS-B").x
    return found[0] + found[1 : k + 1], found[k + 1 :]


def mislabelled(rows: DataFrame, taxonomy: DataFrame) -> pd.DataFrame:
    """product_id, category_id, listed, and `noisy`, the category with `MOVED` of them moved to a sibling; `moved`."""
    found = rows.select("product_id", "category_id", "listed").toPandas().sort_values("product_id")
    parents = {row.category_id: row.parent_id for row in taxonomy.select("category_id", "parent_id").collect()}
    categories = sorted(set(found.category_id))
    siblings = {
        one: [other for other in categories if other != one and parents[other] == parents[one]] for one in categories
    }
    draw = np.random.default_rng(0)
    moved = np.array([bool(siblings[one]) for one in found.category_id]) & (draw.random(len(found)) < MOVED)
    found["noisy"] = [draw.choice(siblings[one]) if move else one for one, move in zip(found.category_id, moved)]
    found["moved"] = moved
    return found


def margins(rows: DataFrame, noisy: pd.DataFrame, taxonomy, settings: Settings, home: Path) -> pd.DataFrame:
    """product_id and margin: the audit of `rows` with the labels `noisy`."""
    table = rows.sparkSession.createDataFrame(noisy[["product_id", "noisy"]])
    moved = rows.join(table, "product_id").drop("category_id").withColumnRenamed("noisy", "category_id")
    return audit(moved, taxonomy, settings, home / "audit").select("product_id", "margin").toPandas()


def shaken(feed: Feed, rows: DataFrame, taxonomy: DataFrame, settings: Settings, home: Path) -> list[dict]:
    """Macro-F1 of fold 0 with the training labels as they are, and with some of them moved."""
    noisy = mislabelled(rows, taxonomy).set_index("product_id").loc[feed.ids]
    number = dict(zip(noisy.category_id, feed.labels))
    moved = np.array([number[one] for one in noisy.noisy], np.int32)
    train, test = np.flatnonzero(feed.fold != 0), np.flatnonzero(feed.fold == 0)
    learnt = learn_facts(feed, train)
    learning = noisy.iloc[train].reset_index()
    said = margins(rows, learning, taxonomy, settings, home).set_index("product_id").margin
    kept = train[said.reindex([feed.ids[i] for i in train]).fillna(-1).to_numpy() < TRIM]

    def ours(labels: np.ndarray, some: np.ndarray) -> float:
        with tempfile.TemporaryDirectory() as folder:
            found = trained(feed._replace(labels=labels), some, learnt, "sqrt", Path(folder))
            return macro_f1(numbers(found, feed, test))

    def peer(labels: np.ndarray) -> float:
        return macro_f1(linear(feed.titles, labels, train).predict([feed.titles[i] for i in test]))

    def macro_f1(answers: np.ndarray) -> float:
        counted = bootstrap.counts(feed.labels[test], answers, feed.group[test], feed.categories, 0)
        return float(bootstrap.macro_f1(counted)[0])

    clean, clean_peer = ours(feed.labels, train), peer(feed.labels)
    work = f"{feed.name}, one fold, {MOVED:.0%} of the training labels moved"
    fall, trimmed, other = clean - ours(moved, train), clean - ours(moved, kept), clean_peer - peer(moved)
    print(f"{work}: {clean:.4f} -{fall:.4f} -{trimmed:.4f}; {clean_peer:.4f} -{other:.4f}", file=sys.stderr, flush=True)
    return [
        line(work, "macro-F1 with labels as they are", clean, clean_peer, "LinearSVC"),
        line(work, "macro-F1 lost", fall, other, "LinearSVC", "< peer", fall < other),
        line(work, f"macro-F1 lost, text.trim {TRIM:g}", trimmed, other, "LinearSVC", "< peer", trimmed < other),
    ]


def audited(name: str, rows: DataFrame, taxonomy: DataFrame, settings: Settings, home: Path) -> list[dict]:
    found = mislabelled(rows, taxonomy)
    judged = found.merge(margins(rows, found, taxonomy, settings, home), on="product_id")
    judged = judged[judged.listed == 1]
    precision = average_precision_score(judged.moved, judged.margin)
    goal = FOUND[name]
    work = f"{name}, {len(judged):,} products, {judged.moved.mean():.1%} mislabelled"
    return [line(work, "average precision of the audit", precision, None, None, f">= {goal}", precision >= goal)]


if __name__ == "__main__":
    sys.exit(main())
