"""What the text model decides on real feeds: are its confidences right, do thresholds keep their promise, what does roll-up
save, and does the audit find wrong labels.

    python benchmarks/decisions.py [--feeds amazon_in openfoodfacts fashion] [--quick] [--json FILE]

The feeds (../shared/data or SHELFMARK_REAL_DATA) are taken in and grouped by our own jobs. Five folds by leak group: the
job's own `train` learns from three, calibrates on one, and `predict` answers the last; answers of all folds are pooled
(--quick: one fold). Compared with: softmax of the same scores (for calibration), and the parent of the leaf below a
threshold, at an equal share of rolled-up products (for roll-up).

For the audit 20 % of the labels are moved to a sibling category, one that has the same parent. Products that their feed
lists in several categories are set aside.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from _table import line, parse, report
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score
from text import DATA, FOLDS, MIN_ROWS, options, taken_in

from shelfmark.text import calibrate
from shelfmark.text.audit import audit
from shelfmark.text.predict import predict
from shelfmark.text.train import train

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark.config import Settings

FOUND = {"amazon_in": 0.70, "fashion": 0.95, "openfoodfacts": 0.94}
"""Average precision that the audit is to reach."""
MOVED = 0.2


def main() -> int:
    args = parse(__doc__, options)
    if not DATA.is_dir():
        sys.exit(f"no real feeds at {DATA}; set SHELFMARK_REAL_DATA")
    feeds = args.feeds[:1] if args.quick else args.feeds
    lines = []
    with tempfile.TemporaryDirectory(prefix="shelfmark-bench-", ignore_cleanup_errors=True) as home:
        settings, spark, table = taken_in(feeds, home)
        taxonomy = table("silver.taxonomy").cache()
        for name in feeds:
            rows = labelled(table, name).cache()
            lines += decided(name, rows, taxonomy, settings, Path(home), 1 if args.quick else FOLDS)
            lines += audited(name, rows, taxonomy, settings, Path(home))
            rows.unpersist()
        spark.stop()
    return report(lines, args.json)


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


def audited(name: str, rows: DataFrame, taxonomy: DataFrame, settings: Settings, home: Path) -> list[dict]:
    found = rows.select("product_id", "category_id", "leak_group", "listed").toPandas().sort_values("product_id")
    parents = {row.category_id: row.parent_id for row in taxonomy.select("category_id", "parent_id").collect()}
    categories = sorted(set(found.category_id))
    siblings = {
        one: [other for other in categories if other != one and parents[other] == parents[one]] for one in categories
    }
    draw = np.random.default_rng(0)
    moved = np.array([bool(siblings[one]) for one in found.category_id]) & (draw.random(len(found)) < MOVED)
    found["noisy"] = [draw.choice(siblings[one]) if move else one for one, move in zip(found.category_id, moved)]
    table = rows.sparkSession.createDataFrame(found[["product_id", "noisy"]])
    noisy = rows.join(table, "product_id").drop("category_id").withColumnRenamed("noisy", "category_id")
    said = audit(noisy, taxonomy, settings, home / "audit").select("product_id", "margin").toPandas()
    found["moved"] = moved
    judged = found.merge(said, on="product_id")
    judged = judged[judged.listed == 1]
    precision = average_precision_score(judged.moved, judged.margin)
    goal = FOUND[name]
    work = f"{name}, {len(judged):,} products, {judged.moved.mean():.1%} mislabelled"
    return [line(work, "average precision of the audit", precision, None, None, f">= {goal}", precision >= goal)]


if __name__ == "__main__":
    sys.exit(main())
