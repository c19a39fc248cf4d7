"""Near duplicates and components beside their peers, on the same texts.

    python benchmarks/dedup.py [--rows 1000000 4000000] [--only CASE ...] [--quick] [--json FILE]

The peers are no dependencies of ours: `pip install rensa==0.5.0 datasketch==2.0.0` before. Titles of the demo catalogue give
the size; recall is measured on real titles (SHELFMARK_REAL_DATA, else ../shared/data). Every case runs in a process of
its own; what compiles or starts Spark does a small round first. Ours is the whole job, Delta to Delta: read titles,
sign, find and confirm pairs, group them, write the groups; peers begin with the texts in memory, and need write nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from _table import line, parse, report
from pipeline import watch

from shelfmark import config, session
from shelfmark.dedup import bands, candidates, groups, kernel

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SETTINGS = config.Dedupe()
REAL = Path(os.environ.get("SHELFMARK_REAL_DATA") or Path(__file__).parents[2] / "shared" / "data")
MLLIB_ROWS = 20_000
RECALL_ROWS = 50_000
ROUNDS = 3  # of ours and of rensa's
SAMPLE_ROWS = 20_000  # of datasketch


def main() -> None:
    args = parse(__doc__, options)
    if args.case:
        print("RESULT " + json.dumps(CASES[args.case](*args.numbers)))
        return
    sizes = [50_000, 100_000] if args.quick else sorted(args.rows)
    small = 5 if args.quick else 1
    lines = []

    def wanted(name: str) -> bool:
        return not args.only or name in args.only

    ours = {}
    if wanted("ours") or wanted("rensa") or wanted("mllib") or wanted("recipe") or wanted("datasketch"):
        for rows in sizes:
            ours[rows] = run("ours", rows)
            lines.append(line(f"whole job, {rows:,} titles", "seconds", ours[rows]["seconds"]))
            lines.append(line(f"whole job, {rows:,} titles", "seconds, first time", ours[rows]["first"]))
            peak = ours[rows]["peak"] / 1e9
            goal = {"goal": "<= 12 GB", "holds": peak <= 12} if rows == sizes[-1] else {}
            lines.append(line(f"whole job, {rows:,} titles", "peak GB", peak, **goal))
    if wanted("slope"):
        steps = [sizes[0] // 4, *sizes]
        seconds = [ours[n]["seconds"] if n in ours else run("ours", n)["seconds"] for n in steps]
        slope = np.polyfit(np.log(steps), np.log(seconds), 1)[0]
        lines.append(
            line(f"{steps[0]:,} to {steps[-1]:,} titles", "slope, log-log", slope, goal="<= 1.1", holds=slope <= 1.1)
        )

    def against(name: str, rows: int, peer_rows: int, times: float, peer_name: str, *numbers: int) -> None:
        peer = run(name, peer_rows, *numbers)
        rates = rows / ours[rows]["seconds"], peer_rows / peer["seconds"]
        ratio = rates[0] / rates[1]
        work = f"{rows:,} titles" + (f" (peer: {peer_rows:,})" if peer_rows != rows else "")
        lines.append(line(work, "docs/s", rates[0], rates[1], peer_name, f">= {times}x", ratio >= times))

    if wanted("mllib"):
        # Its tables are bands of one row: two find what our 16 bands of eight find, among far more candidates.
        few = next(n for n in itertools.count(1) if bands.found(SETTINGS.similarity, n, 1) >= SETTINGS.recall)
        for tables in (few, bands.of(SETTINGS)):
            against("mllib", sizes[0], MLLIB_ROWS // small, 400, f"Spark MLlib MinHashLSH, {tables} tables", tables)
    if wanted("rensa"):
        for rows, times in zip(sizes, (3.5, 5)):
            against("rensa", rows, rows, times, "rensa, full set")
    if wanted("datasketch"):
        against("datasketch", sizes[0], SAMPLE_ROWS // small, 5, "datasketch")
    if wanted("recipe"):
        against("recipe", sizes[0], sizes[0], 20, "text-dedup recipe, plain PySpark")
    if wanted("recall"):
        found = run("recall", RECALL_ROWS // small)
        work = f"{RECALL_ROWS // small:,} real titles, J >= {SETTINGS.similarity:g}"
        lines.append(
            line(work, "pairs that are in one group", found["recall"], goal=">= 0.97", holds=found["recall"] >= 0.97)
        )
        lines.append(line(work, "texts known to repeat another", found["flagged"], found["rensa"], "rensa, full set"))
        lines.append(line(work, "precision", found["precision"], goal="1.0", holds=found["precision"] == 1))
    if wanted("components"):
        edges = 5_000_000 // small
        found = run("components", edges)
        ratio = found["peer"] / found["seconds"]
        lines.append(
            line(
                f"components of {edges:,} edges",
                "edges/s",
                edges / found["seconds"],
                edges / found["peer"],
                "scipy.sparse.csgraph",
                ">= 3x",
                ratio >= 3,
            )
        )
    if wanted("boilerplate"):
        rows = sizes[0]
        even, skewed = ours.get(rows) or run("ours", rows), run("boilerplate", rows)
        ratio = skewed["seconds"] / even["seconds"]
        lines.append(
            line(
                f"{rows:,} titles, half of them boilerplate",
                "seconds",
                skewed["seconds"],
                even["seconds"],
                "ours without",
                "<= 3x",  # in proportion to its pairs
                ratio <= 3,
            )
        )
        lines.append(
            line(
                f"{rows:,} titles, half of them boilerplate",
                "pairs a title",
                skewed["pairs"] / rows,
                goal="<= 4",  # two anchors a bucket, and few buckets with anchors of their own
                holds=skewed["pairs"] <= 4 * rows,
            )
        )
    sys.exit(report(lines, args.json))


def options(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 4_000_000])
    parser.add_argument("--only", nargs="+", choices=sorted({*CASES, "slope"}), help="these cases only")
    parser.add_argument("--case", choices=sorted(CASES), help=argparse.SUPPRESS)
    parser.add_argument("--numbers", type=int, nargs="+", help=argparse.SUPPRESS)


def run(case: str, *numbers: int) -> dict:
    """A case in a process of its own: its figures, and the peak memory in bytes of it and all its children."""
    command = [sys.executable, __file__, "--case", case, "--numbers", *map(str, numbers)]
    samples: list = []
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        threading.Thread(target=watch, args=(process.pid, samples), daemon=True).start()
        code = process.wait()
        out.seek(0)
        said = out.read()
    if code:
        sys.exit(f"case {case} ended with {code}:\n{said[-3000:]}")
    result = json.loads(next(row for row in said.splitlines() if row.startswith("RESULT ")).removeprefix("RESULT "))
    return {**result, "peak": max((size for _, size in samples), default=0.0)}


# -- texts --------------------------------------------------------------------------------------------------------


def demo_titles(rows: int) -> list[str]:
    """Titles of the demo catalogue, with its copies and near copies; made once a size."""
    from shelfmark.demo import records
    from shelfmark.demo.generate import CHUNK_ROWS

    kept = Path(tempfile.gettempdir(), "shelfmark-bench-titles", f"{rows}.arrow")
    if not kept.exists():
        titles: list[str] = []
        for chunk in range(-(-rows // CHUNK_ROWS)):
            count = min(CHUNK_ROWS, rows - chunk * CHUNK_ROWS)
            titles += records.make_chunk(7, chunk, chunk * CHUNK_ROWS, count, min(count, 1000)).title
        kept.parent.mkdir(exist_ok=True)
        with pa.OSFile(f"{kept}.part", "wb") as file, pa.ipc.new_file(file, pa.schema([("title", pa.string())])) as out:
            out.write_table(pa.table({"title": pa.array(titles, pa.string())}))
        os.replace(f"{kept}.part", kept)
    return pa.ipc.open_file(pa.memory_map(str(kept))).read_all()["title"].to_pylist()


def real_titles(rows: int) -> list[str]:
    """Distinct normalised titles of offers and of food, in a fixed mix."""
    import csv

    csv.field_size_limit(1 << 24)
    titles = []
    for file, column, delimiter in (
        ("dedup/pricerunner.csv", "product_title", ","),
        ("catalogues/openfoodfacts.tsv", "product_name", "\t"),
        ("catalogues/amazon_in.csv", "name", ","),
        ("images/fashion.csv", "title", ","),
    ):
        with open(REAL / file, newline="", encoding="utf-8", errors="replace") as stream:
            reader = csv.DictReader(stream, delimiter=delimiter)
            names = {name.strip().lower().replace(" ", "_"): name for name in reader.fieldnames}
            titles += [row[names[column]] or "" for row in reader]
    texts = sorted(set(kernel.normalise(pa.array(titles)).to_pylist()) - {""})
    return [texts[i] for i in np.random.default_rng(1).permutation(len(texts))[:rows]]


def table_of(spark, titles: list[str], path: Path) -> None:
    size = 250_000
    for start in range(0, len(titles), size):
        part = titles[start : start + size]
        ids = [f"{(start + i) * 0x9E3779B97F4A7C15 % (1 << 64):016x}" for i in range(len(part))]
        frame = spark.createDataFrame(pa.table({"product_id": ids, "title": part}).to_pandas())
        frame.write.format("delta").mode("append").save(str(path))


# -- ours ---------------------------------------------------------------------------------------------------------


@contextmanager
def sparks() -> Iterator[tuple[SparkSession, Path]]:
    """A session and a folder, both gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="shelfmark-bench-", ignore_cleanup_errors=True) as home:
        spark = session.start(config.load(home=home), "benchmark")
        try:
            yield spark, Path(home)
        finally:
            spark.stop()


def whole_job(spark: SparkSession, home: Path, titles: list[str]) -> tuple[dict, DataFrame]:
    """Seconds from the Delta table of titles to the Delta table of groups, and the titles' table.

    The first time in a session, after a small round, and the median of `ROUNDS` times: Java compiles as it goes, and
    what a scheduled job of several millions does is the second.
    """
    seconds = []
    for name, some, rounds in (("warm", titles[:20_000], 1), ("whole", titles, ROUNDS)):
        table_of(spark, some, home / name)
        for turn in range(rounds):
            begun = time.perf_counter()
            products = spark.read.format("delta").load(str(home / name))
            pairs = candidates.near_pairs(products, SETTINGS)
            groups.assign(products, pairs, "group").write.format("delta").save(str(home / f"{name}-groups-{turn}"))
            seconds.append(time.perf_counter() - begun)
    return {"first": seconds[1], "seconds": float(np.median(seconds[1:]))}, products


def ours(rows: int) -> dict:
    with sparks() as (spark, home):
        return whole_job(spark, home, demo_titles(rows))[0]


def boilerplate(rows: int) -> dict:
    """Half of the titles as they are, a quarter one text, a quarter that text with a number at its end."""
    one = "see description for details, please choose your size and colour before ordering, new with tags"
    titles = demo_titles(rows)[: rows // 2]
    titles += [one] * (rows // 4) + [f"{one} {i}" for i in range(rows - rows // 2 - rows // 4)]
    with sparks() as (spark, home):
        seconds, products = whole_job(spark, home, titles)
        return {**seconds, "pairs": candidates.near_pairs(products, SETTINGS).count()}


def recall(rows: int) -> dict:
    """Shares of what brute force finds: its pairs that are in one group, and its texts near an earlier one that are flagged.

    Flags are what rensa gives; ours are the texts that are not the first of their group. Precision is of confirmed pairs.
    """
    titles = real_titles(rows)
    truth = brute_force(titles)
    with sparks() as (spark, home):
        table_of(spark, titles, home / "titles")
        products = spark.read.format("delta").load(str(home / "titles"))
        pairs = candidates.near_pairs(products, SETTINGS).toPandas()
        ids = {row.product_id: row.title for row in products.collect()}
    place = {title: i for i, title in enumerate(titles)}
    mine = {tuple(sorted((place[ids[a]], place[ids[b]]))) for a, b in zip(pairs["left"], pairs["right"])}
    label, _ = kernel.union(len(titles), *np.array(sorted(mine), np.int64).T)
    together = sum(bool(label[a] == label[b]) for a, b in truth)
    later = {b for _, b in truth}
    flags = rensa_flags(titles)
    return {
        "recall": together / len(truth),
        "precision": len(mine & truth) / len(mine),
        "flagged": sum(bool(label[b] < b) for b in later) / len(later),
        "rensa": sum(flags[b] for b in later) / len(later),
    }


def brute_force(titles: list[str]) -> set[tuple[int, int]]:
    """All pairs (i, j), i < j, by exact Jaccard similarity: a sparse product of the 0/1 matrix of substrings, no kernel."""
    from scipy import sparse

    codes: dict[str, int] = {}
    sets = [{codes.setdefault(token, len(codes)) for token in tokens} for tokens in token_lists(titles)]
    bounds = np.cumsum([0, *map(len, sets)])
    columns = np.fromiter(itertools.chain.from_iterable(sets), np.int64, bounds[-1])
    matrix = sparse.csr_matrix((np.ones(len(columns), np.int32), columns, bounds), (len(sets), len(codes)))
    sizes, found = np.diff(bounds), set()
    for start in range(0, len(titles), 2_000):
        common = (matrix[start : start + 2_000] @ matrix.T).tocoo()
        i, j = common.row + start, common.col
        near = (i < j) & (common.data >= SETTINGS.similarity * (sizes[i] + sizes[j] - common.data) - 1e-9)
        found.update(zip(i[near].tolist(), j[near].tolist()))
    return found


def component_edges(edges: int) -> dict:
    """Ours, the kernel that a task runs, and SciPy's, each from two arrays of node numbers; the median of three."""
    from scipy import sparse
    from scipy.sparse import csgraph

    draw = np.random.default_rng(3)
    nodes = edges
    left, right = draw.integers(0, nodes, edges), draw.integers(0, nodes, edges)
    kernel.union(10, left[:5] % 10, right[:5] % 10)

    def scipys() -> np.ndarray:
        graph = sparse.coo_matrix((np.ones(edges, np.bool_), (left, right)), (nodes, nodes))
        return csgraph.connected_components(graph, directed=False)[1]

    seconds, peer = [], []
    for _ in range(3):
        begun = time.perf_counter()
        label, _ = kernel.union(nodes, left, right)
        seconds.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        theirs = scipys()
        peer.append(time.perf_counter() - begun)
    first = np.unique(theirs, return_index=True)[1]
    if not np.array_equal(first[theirs], label):
        raise AssertionError("the components differ")
    return {"seconds": float(np.median(seconds)), "peer": float(np.median(peer))}


# -- peers --------------------------------------------------------------------------------------------------------


def token_lists(titles: list[str]) -> list[list[str]]:
    size = SETTINGS.shingle
    return [[t[i : i + size] for i in range(max(1, len(t) - size + 1))] for t in titles]


def rensa_flags(titles: list[str]) -> list[bool]:
    """Full-set R-MinHash, as many hashes and bands as ours, in batches so that the shingles need not all be held."""
    from rensa import RMinHash, RMinHashLSH

    lsh = RMinHashLSH(threshold=SETTINGS.similarity, num_perm=SETTINGS.hashes, num_bands=bands.of(SETTINGS))
    flags: list[bool] = []
    for start in range(0, len(titles), 100_000):
        tokens = token_lists(titles[start : start + 100_000])
        matrix = RMinHash.digest_matrix_from_token_sets(tokens, SETTINGS.hashes, SETTINGS.seed)
        flags += lsh.insert_matrix_and_query_duplicate_flags(matrix, start)
    return flags


def rensa(rows: int) -> dict:
    titles = kernel.normalise(pa.array(demo_titles(rows))).to_pylist()
    rensa_flags(titles[:1000])
    seconds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        rensa_flags(titles)
        seconds.append(time.perf_counter() - begun)
    return {"seconds": float(np.median(seconds))}


def datasketch(rows: int) -> dict:
    from datasketch import MinHash, MinHashLSH

    titles = kernel.normalise(pa.array(demo_titles(rows))).to_pylist()
    wide = bands.of(SETTINGS)
    begun = time.perf_counter()
    lsh = MinHashLSH(num_perm=SETTINGS.hashes, params=(wide, SETTINGS.hashes // wide))
    tokens = [[token.encode() for token in some] for some in token_lists(titles)]
    for key, sketch in enumerate(MinHash.bulk(tokens, num_perm=SETTINGS.hashes)):
        lsh.query(sketch)
        lsh.insert(key, sketch)
    return {"seconds": time.perf_counter() - begun}


def mllib(rows: int, tables: int) -> dict:
    """approxSimilarityJoin over the sets of shingles."""
    from pyspark.ml.feature import CountVectorizer, MinHashLSH
    from pyspark.sql import functions as F

    titles = kernel.normalise(pa.array(demo_titles(rows))).to_pylist()
    with sparks() as (spark, _):
        for some in (titles[:500], titles):
            frame = spark.createDataFrame(
                list(zip(range(len(some)), token_lists(some))), "id long, tokens array<string>"
            )
            frame = frame.repartition(8).cache()
            frame.count()
            begun = time.perf_counter()
            vectors = CountVectorizer(inputCol="tokens", outputCol="set", binary=True).fit(frame).transform(frame)
            model = MinHashLSH(inputCol="set", outputCol="hashes", numHashTables=tables, seed=42).fit(vectors)
            joined = model.approxSimilarityJoin(vectors, vectors, 1 - SETTINGS.similarity)
            joined.where(F.col("datasetA.id") < F.col("datasetB.id")).count()
            seconds = time.perf_counter() - begun
        return {"seconds": seconds}


def recipe(rows: int) -> dict:
    """MinHash in a Python UDF, a row a band, buckets by groupBy, stars contracted by joins: the recipe everybody copies."""
    from pyspark.sql import functions as F

    titles = demo_titles(rows)
    wide = bands.of(SETTINGS)
    deep, size, prime = SETTINGS.hashes // wide, SETTINGS.shingle, np.uint64((1 << 61) - 1)
    draw = np.random.RandomState(SETTINGS.seed)
    a, b = (draw.randint(1, (1 << 61) - 1, SETTINGS.hashes, dtype=np.uint64) for _ in range(2))

    def keys(row):
        import hashlib
        import re

        text = re.sub(r"[\W_]+", " ", row.title.lower()).strip()
        tokens = {text[i : i + size].encode() for i in range(max(1, len(text) - size + 1))}
        hashed = np.array([int.from_bytes(hashlib.sha1(t).digest()[:4], "little") for t in tokens], np.uint64)
        values = (((hashed[:, None] * a) + b) % prime & np.uint64(0xFFFFFFFF)).astype(np.uint32).min(axis=0)
        return [(band, bytes(values[band * deep : (band + 1) * deep].byteswap().data), row.id) for band in range(wide)]

    def star(bucket):
        ids = list(bucket[1])
        smallest = min(ids)
        return [(smallest, one) for one in ids if one != smallest]

    with sparks() as (spark, home):
        for name, some in (("warm", titles[:5_000]), ("whole", titles)):
            path = str(home / name)
            ids = pa.table({"id": range(len(some)), "title": some}).to_pandas()
            spark.createDataFrame(ids).repartition(8).write.format("delta").save(path)
            begun = time.perf_counter()
            rows_of = spark.read.format("delta").load(path).rdd.flatMap(keys)
            edges = rows_of.map(lambda r: ((r[0], r[1]), r[2])).groupByKey().flatMap(star).distinct()
            edges = edges.toDF("u long, v long").localCheckpoint()
            while True:  # alternating large-star and small-star, as the recipe has them
                large = _star(edges, F, large=True)
                small = _star(large, F, large=False).localCheckpoint()
                same = small.exceptAll(edges).isEmpty() and edges.exceptAll(small).isEmpty()
                edges = small
                if same:
                    break
            table = spark.read.format("delta").load(path)
            grouped = table.join(edges.select(F.col("u").alias("id"), F.col("v").alias("group")), "id", "left")
            grouped.select("id", F.coalesce("group", "id").alias("group")).write.format("delta").save(f"{path}-groups")
            seconds = time.perf_counter() - begun
        return {"seconds": seconds}


def _star(edges, F, large: bool):
    """(u, v): v is the smallest that u is linked to."""
    if large:
        both = edges.union(edges.select(F.col("v").alias("u"), F.col("u").alias("v")))
    else:
        both = edges.select(F.greatest("u", "v").alias("u"), F.least("u", "v").alias("v"))
    near = both.groupBy("u").agg(F.collect_set("v").alias("all"))
    near = near.withColumn("m", F.least("u", F.array_min("all")))
    if large:
        spread = near.select(F.explode(F.filter("all", lambda x: x > F.col("u"))).alias("u"), F.col("m").alias("v"))
    else:
        spread = near.select(F.explode(F.array_union("all", F.array("u"))).alias("u"), F.col("m").alias("v"))
    return spread.where("u <> v").distinct()


CASES = {
    "ours": ours,
    "boilerplate": boilerplate,
    "recall": recall,
    "components": component_edges,
    "rensa": rensa,
    "datasketch": datasketch,
    "mllib": mllib,
    "recipe": recipe,
}

if __name__ == "__main__":
    main()
