"""Which offers are one product, in other words: the rule, the scorer and its peers on four labelled sets.

    python benchmarks/matching.py [--sets NAME ...] [--only CASE ...] [--quick] [--json FILE]

The sets are read from SHELFMARK_REAL_DATA, else ../shared/data. splink is no dependency of ours; its case is skipped
where it is absent: `pip install --target DIR --no-deps splink==5.0.0 duckdb`, then PYTHONPATH=...:DIR.

Gold. pricerunner: two offers of one cluster_id (69,926 pairs; no shop is twice in a cluster). abt_buy, amazon_google and
walmart_amazon: the pairs of gtclean.csv, by id, one left with one right offer; whatever it does not list is no match.
The universe of every system is all pairs of offers of different shops, and recall counts the gold pairs that its blocking
lost. What is printed is pair precision, recall and F1 of the final answer.

The scorer is judged out of fold: five folds by product (the component of the gold pairs), a pair is scored by a model
that saw neither of its two products, and the threshold that decides a fold is the best of the others. Weights of rare
words are counted on all offers: they use no labels, and TF-IDF and splink count them so too. The peers have the
threshold that is best on the very pairs they are judged by. Everyone's answer is taken as it is (threshold alone), and
once more with an offer's best match in each shop only (`scorer.assign`); for the peers the better of the two stands.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from _table import line, parse, report

from shelfmark import config, session
from shelfmark.dedup import blocking, candidates, features, scorer, survivors

REAL = Path(os.environ.get("SHELFMARK_REAL_DATA") or Path(__file__).parents[2] / "shared" / "data")
SETS = ("abt_buy", "amazon_google", "walmart_amazon", "pricerunner")
CASES = ("rule", "scorer", "tfidf", "splink")
QUICK_CLUSTERS = 2500
"""Of pricerunner in a quick run; the other sets are left out but abt_buy."""


class Set(NamedTuple):
    """Offers, the gold pairs as places in them (left < right), and the seller of each."""

    offers: pa.Table
    left: np.ndarray
    right: np.ndarray
    seller: np.ndarray

    @property
    def universe(self) -> int:
        """How many pairs of offers of different shops there are."""
        n = self.offers.num_rows
        _, of_one = np.unique(self.seller, return_counts=True)
        return (n * (n - 1) - int((of_one * (of_one - 1)).sum())) // 2

    def keys(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.minimum(left, right) * self.offers.num_rows + np.maximum(left, right)

    def true(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.isin(self.keys(left, right), self.keys(self.left, self.right))


class Answer(NamedTuple):
    precision: float
    recall: float
    f1: float


def main() -> None:
    args = parse(__doc__, options)
    if not (REAL / "dedup").is_dir():
        sys.exit(f"no labelled sets at {REAL / 'dedup'}; set SHELFMARK_REAL_DATA")
    lines = []
    wanted = args.only or CASES
    for name in ["abt_buy", "pricerunner"] if args.quick else args.sets:
        data = load(name, args.quick)
        print(f"{name}: {data.offers.num_rows:,} offers, {len(data.left):,} gold pairs", flush=True)
        peers: dict[str, Answer] = {}
        for case, function in (("tfidf", tfidf), ("splink", splink), ("rule", rule)):
            if case in wanted and (found := timed(case, function, data)):
                peers.update(found)
        if "rule" in wanted:
            answer, purity = peers.pop("rule"), peers.pop("purity")
            goal = {"goal": ">= 0.95", "holds": purity >= 0.95} if name == "pricerunner" else {}
            lines.append(line(name, "rule: group purity", purity, **goal))
            lines += [line(name, f"rule: {metric}", getattr(answer, metric)) for metric in Answer._fields]
            peers["the rule alone"] = answer
        if "scorer" in wanted:
            mine, others = timed("scorer", scored, data)
            lines += [line(name, f"scorer: {metric}", value) for metric, value in others.items()]
            lines += [line(name, f"scorer: {metric}", getattr(mine, metric)) for metric in ("precision", "recall")]
            for peer, answer in peers.items():
                lines.append(line(name, "F1", mine.f1, answer.f1, peer, "> 1x", mine.f1 > answer.f1))
        else:
            lines += [line(name, f"F1 of {peer}", answer.f1) for peer, answer in peers.items()]
    sys.exit(report(lines, args.json))


def options(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS, help="these sets only")
    parser.add_argument("--only", nargs="+", choices=CASES, help="these cases only")


def timed(case: str, function, data: Set):
    begun = time.perf_counter()
    result = function(data)
    print(f"  {case}: {time.perf_counter() - begun:.0f} s", flush=True)
    return result


# -- the sets -----------------------------------------------------------------------------------------------------


def load(name: str, quick: bool = False) -> Set:
    return pricerunner(quick) if name == "pricerunner" else two_shops(name)


def pricerunner(quick: bool) -> Set:
    with open(REAL / "dedup" / "pricerunner.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if quick:
        kept = np.random.default_rng(0).permutation(sorted({int(row["cluster_id"]) for row in rows}))[:QUICK_CLUSTERS]
        rows = [row for row in rows if int(row["cluster_id"]) in set(kept.tolist())]
    offers = table([{"title": row["product_title"], "source": row["vendor_id"]} for row in rows])
    of: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        of.setdefault(row["cluster_id"], []).append(place)
    gold = np.array([(a, b) for some in of.values() for i, a in enumerate(some) for b in some[i + 1 :]])
    return Set(offers, gold[:, 0], gold[:, 1], blocking.sellers(offers))


FILES = {
    "abt_buy": ("|", "abtclean", "buyclean", {"name": "title", "description": "description"}),
    "amazon_google": (
        "#", "amazonclean", "gpclean", {"title": "title", "description": "description", "manufacturer": "brand"},
    ),
    "walmart_amazon": ("|", "walmartclean", "amazonclean", {"title": "title", "modelno": "model_number", "brand": "brand"}),
}  # fmt: skip


def two_shops(name: str) -> Set:
    delimiter, *files, columns = FILES[name]
    rows, place = [], {}
    for file in files:
        for row in read(name, file, delimiter):
            place[file, row["id"]] = len(rows)
            price = re.match(r"[\d.,]+", row["price"])
            stated = {ours: row[theirs] or None for theirs, ours in columns.items()}
            # Of all prices of the three sets, a handful are in pounds and marked so.
            currency = "GBP" if "gbp" in row["price"] else "USD"
            value = float(price[0].replace(",", "")) if price else None
            rows.append({**stated, "price": value, "currency": currency, "source": file})
    offers = table(rows)
    gold = [(place[files[0], row["D1"]], place[files[1], row["D2"]]) for row in read(name, "gtclean", delimiter)]
    return Set(offers, *np.array(gold).T, blocking.sellers(offers))


def read(name: str, file: str, delimiter: str) -> list[dict[str, str]]:
    with open(REAL / "dedup" / name / f"{file}.csv", newline="", encoding="utf-8", errors="replace") as stream:
        return list(csv.DictReader(stream, delimiter=delimiter))


def table(rows: list[dict]) -> pa.Table:
    texts = ("title", "description", "brand", "model_number", "currency", "source")
    columns = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in texts}
    return pa.table({**columns, "price": pa.array([row.get("price") for row in rows], pa.float64())})


# -- judging ------------------------------------------------------------------------------------------------------


def judged(data: Set, left: np.ndarray, right: np.ndarray) -> Answer:
    found = int(data.true(left, right).sum())
    precision, recall = found / max(1, len(left)), found / len(data.left)
    return Answer(precision, recall, 2 * found / (len(left) + len(data.left)))


def threshold(y: np.ndarray, scores: np.ndarray, gold: int) -> tuple[float, float]:
    """(F1, threshold) that is best for scored pairs of which y are true, of `gold` there are."""
    if not len(y):
        return 0.0, np.inf
    order = np.argsort(-scores, kind="stable")
    f1 = 2 * np.cumsum(y[order]) / (np.arange(1, len(y) + 1) + gold)
    f1[:-1][scores[order][:-1] == scores[order][1:]] = 0  # equal scores are taken together
    best = int(np.argmax(f1))
    return float(f1[best]), float(scores[order][best])


def best(data: Set, left: np.ndarray, right: np.ndarray, scores: np.ndarray) -> Answer:
    """A peer's answer: its best threshold on these very pairs, with or without `scorer.assign`."""
    y, answers = data.true(left, right), []
    for kept in (np.ones(len(y), np.bool_), scorer.assign(scores, left, right, data.seller)):
        _, least = threshold(y[kept], scores[kept], len(data.left))
        taken = kept & (scores >= least)
        answers.append(judged(data, left[taken], right[taken]))
    print(f"    F1 by threshold {answers[0].f1:.3f}, best match only {answers[1].f1:.3f}", flush=True)
    return max(answers, key=lambda answer: answer.f1)


# -- ours ---------------------------------------------------------------------------------------------------------


def scored(data: Set) -> tuple[Answer, dict[str, float]]:
    """The scorer's answer out of fold, and what its blocking and its groups are like."""
    rarity = features.learn(data.offers)
    left, right, _ = blocking.candidates(data.offers, rarity)
    read_once = features.prepare(data.offers, rarity)
    x = features.pairs(read_once, left, read_once, right)
    y = data.true(left, right)
    fold = scorer.fold_of(scorer.clusters(data.offers.num_rows, data.left, data.right))
    raw = scorer.out_of_fold(x, y, left, right, fold)
    raw[features.barred(x)] = -np.inf
    kept = scorer.assign(raw, left, right, data.seller) & np.isfinite(raw)
    taken, alone = np.zeros(len(y), np.bool_), np.zeros(len(y), np.bool_)
    lowest = np.full(len(y), np.inf)
    for one in range(scorer.FOLDS):
        # The pairs of a fold are decided by the threshold that is best on pairs without it; pairs of two folds by
        # that of the left offer's.
        mine = fold[left] == one
        others = ~mine & (fold[right] != one)
        gold = int((fold[data.left] != one).sum())
        for chosen, among in ((taken, kept), (alone, np.isfinite(raw))):
            _, least = threshold(y[others & among], raw[others & among], gold)
            chosen[mine & among & (raw >= least)] = True
            if chosen is taken:
                lowest[mine] = least
    label = scorer.grouped(np.where(raw >= lowest, raw, -np.inf), left, right, data.seller)
    answer = judged(data, left[taken], right[taken])
    inside = pairs_within(label)
    groups = judged(data, *inside)
    cluster = scorer.clusters(data.offers.num_rows, data.left, data.right)
    return answer, {
        "candidate recall": float(y.sum() / len(data.left)),
        "reduction ratio": 1 - len(left) / data.universe,
        "candidates an offer": len(left) / data.offers.num_rows,
        "F1 by threshold alone": judged(data, left[alone], right[alone]).f1,
        "group purity": purity_of(label, cluster),
        "F1 of groups": groups.f1,
    }


def pairs_within(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))
    found = [np.empty((0, 2), np.int64)]
    for start, end in zip(starts, np.append(starts[1:], len(order))):
        i, j = np.triu_indices(end - start, 1)
        found.append(np.stack([order[start:end][i], order[start:end][j]], axis=1))
    return tuple(np.concatenate(found).T)


def purity_of(label: np.ndarray, cluster: np.ndarray) -> float:
    """Share of the offers in groups of two or more that are of their group's commonest product."""
    of: dict[int, list[int]] = {}
    for group, product in zip(label.tolist(), cluster.tolist()):
        of.setdefault(group, []).append(product)
    some = [members for members in of.values() if len(members) > 1]
    return sum(max(map(one.count, set(one))) for one in some) / max(1, sum(map(len, some)))


def rule(data: Set) -> dict:
    """The default rule as the job applies it: near titles, GTINs, `survivors.resolve`."""
    from pyspark.sql import functions as F

    with tempfile.TemporaryDirectory(prefix="shelfmark-bench-", ignore_cleanup_errors=True) as home:
        spark = session.start(config.load(home=home), "benchmark")
        try:
            n = data.offers.num_rows
            ids = pa.array([f"{i:08d}" for i in range(n)])
            frame = spark.createDataFrame(data.offers.append_column("product_id", ids).to_pandas())
            text = {
                name: F.lit(None).cast("string") for name in ("gtin", "language", "item_group", "image", "image_id")
            }
            attributes = F.array().cast("array<struct<name:string,value:string,unit:string>>")
            frame = frame.withColumns({**text, "region": F.lit("X"), "attributes": attributes})
            frame = frame.withColumns({name: F.expr(f"nullif({name}, 'NaN')") for name in ("brand", "description")})
            frame = frame.withColumn("price", F.expr("nullif(price, double('NaN'))"))
            frame = frame.withColumn("category_paths", F.array().cast("array<string>")).cache()
            pairs = candidates.near_pairs(frame, config.Dedupe()).cache()
            found = survivors.duplicates(frame, pairs, config.Dedupe()).select("product_id", "group_id").toPandas()
        finally:
            spark.stop()
    label = np.zeros(n, np.int64)
    label[found["product_id"].astype(int)] = found["group_id"].astype(int)
    cluster = scorer.clusters(n, data.left, data.right)
    left, right = pairs_within(label)
    return {"rule": judged(data, left, right), "purity": purity_of(label, cluster)}


# -- peers --------------------------------------------------------------------------------------------------------


def tfidf(data: Set) -> dict[str, Answer]:
    """Cosine of TF-IDF vectors of the titles, of words and of characters; every pair is compared, none is lost."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    titles = data.offers["title"].to_pylist()
    answers = []
    for analyser, sizes in (("word", (1, 1)), ("char_wb", (2, 4))):
        pattern = {"token_pattern": r"\w+"} if analyser == "word" else {}
        vectors = TfidfVectorizer(analyzer=analyser, ngram_range=sizes, dtype=np.float32, **pattern)
        matrix = vectors.fit_transform(titles).tocsr()
        other = matrix.T.tocsr()
        parts = []
        for start in range(0, len(titles), 500):
            near = (matrix[start : start + 500] @ other).tocoo()
            i, j = near.row + start, near.col
            # Below 0.2 the precision of all four sets is under 0.05: no best threshold is there.
            some = (i < j) & (near.data >= 0.2) & (data.seller[i] != data.seller[j])
            parts.append((i[some], j[some], near.data[some]))
        left, right, cosine = (np.concatenate(some) for some in zip(*parts))
        answers.append(best(data, left.astype(np.int64), right.astype(np.int64), cosine.astype(np.float64)))
    return {"TF-IDF cosine, its best": max(answers, key=lambda answer: answer.f1)}


def splink(data: Set) -> dict[str, Answer] | None:
    """splink 5 on DuckDB, unsupervised, on our candidates: it is spared a blocking that is worse than ours."""
    try:
        import splink.comparison_level_library as level
        import splink.comparison_library as compare
        from splink import Linker, SettingsCreator, block_on
        from splink.internals.duckdb.database_api import DuckDBAPI
    except ImportError as error:
        print(f"  splink is skipped: {error}; see the head of this file for how to install it beside us")
        return None
    offers, n = data.offers, data.offers.num_rows
    rarity = features.learn(offers)
    key, owner, pair = blocking.keys(offers, rarity)
    order = np.lexsort((owner, key))
    _, which, counts = np.unique(key, return_inverse=True, return_counts=True)
    limit = np.where(pair, blocking.LIMIT // 2, blocking.LIMIT)
    good = order[((counts[which] > 1) & (counts[which] <= limit))[order]]
    blocks: list[list[int]] = [[] for _ in range(n)]
    for offer, place in zip(owner[good].tolist(), which[good].tolist()):
        blocks[offer].append(place)
    texts = features._texts(offers)
    terms = [sorted(set(features._terms(title, normal))) for title, normal in zip(texts.title, texts.normal)]
    document: dict[str, int] = {}
    for some in terms:
        for term in some:
            document[term] = document.get(term, 0) + 1
    frame = pa.table(
        {
            "unique_id": np.arange(n),
            "seller": data.seller.astype(str),
            "title": texts.normal,
            "terms": terms,
            "rare": [[term for term in some if document[term] <= max(10, n // 500)] for some in terms],
            "codes": [sorted(features._codes(title, None)) for title in texts.title],
            "blocks": blocks,
            # For the training by EM, which takes no arrays: the rarest term that is shared at all, and the longest code.
            "rarest": [
                min((t for t in some if document[t] > 1), key=lambda t: (document[t], t), default=None)
                for some in terms
            ],
            "code": [max(features._codes(title, None), key=len, default=None) for title in texts.title],
            "start": [normal[:12] for normal in texts.normal],
            "brand": [one.lower() if one else None for one in offers["brand"].to_pylist()],
            "model_number": [
                re.sub(r"\W", "", one.lower()) if one else None for one in offers["model_number"].to_pylist()
            ],
            "price": [price if price else None for price in offers["price"].to_pylist()],
        }
    )
    share = "len(list_intersect(terms_l, terms_r)) / greatest(least(len(terms_l), len(terms_r)), 1)"
    words = compare.CustomComparison(
        output_column_name="words",
        comparison_levels=[
            level.NullLevel("title"),
            *(level.CustomLevel(f"{share} >= {at}", f"share {at}") for at in (0.99, 0.8, 0.65, 0.5, 0.35, 0.2)),
            level.ElseLevel(),
        ],
    )
    comparisons = [
        words,
        compare.ArrayIntersectAtSizes("rare", [3, 2, 1]),
        compare.ArrayIntersectAtSizes("codes", [1]),
        compare.JaroWinklerAtThresholds("title", [0.95, 0.88, 0.8, 0.7]),
    ]
    stated = {name: frame[name].null_count < n for name in ("brand", "model_number", "price")}
    if stated["brand"]:
        comparisons.append(compare.JaroWinklerAtThresholds("brand", [0.92, 0.8]))
    if stated["model_number"]:
        comparisons.append(compare.JaroWinklerAtThresholds("model_number", [0.95, 0.85]))
    if stated["price"]:
        comparisons.append(
            compare.CustomComparison(
                output_column_name="price",
                comparison_levels=[
                    level.NullLevel("price"),
                    *(level.PercentageDifferenceLevel("price", at) for at in (0.02, 0.1, 0.25, 0.5)),
                    level.ElseLevel(),
                ],
            )
        )
    settings = SettingsCreator(
        link_type="dedupe_only",
        comparisons=comparisons,
        blocking_rules_to_generate_predictions=[block_on("blocks", arrays_to_explode=["blocks"])],
        probability_two_random_records_match=len(data.left) / data.universe,  # the truth, as a gift
        retain_matching_columns=False,
        additional_columns_to_retain=["seller"],
    )
    api = DuckDBAPI()
    linker = Linker(api.register(frame), settings, log_level=40)
    linker.training.estimate_u_using_random_sampling(max_pairs=1_000_000, seed=1)
    for column in ("rarest", "code", "start"):
        linker.training.estimate_parameters_using_expectation_maximisation(block_on(column), max_pairs=1_000_000)
    found = linker.inference.predict(threshold_match_weight=-20)
    rows = api._execute_sql_against_backend(
        f"select unique_id_l, unique_id_r, match_weight from {found.physical_name} where seller_l <> seller_r"
    ).fetchnumpy()
    left, right = (np.asarray(rows[name], np.int64) for name in ("unique_id_l", "unique_id_r"))
    return {"splink, its best": best(data, left, right, np.asarray(rows["match_weight"], np.float64))}


if __name__ == "__main__":
    main()
