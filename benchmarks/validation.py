"""Validation of silver.products by its suite: ours against Great Expectations' defaults, on generated tables.

    python benchmarks/validation.py [--quick] [--json FILE]

Every way evaluates the same expectations (expectations/silver.products.json) on the same Delta table of 1 M and 3 M
rows, once where all hold and once where a few do not; their verdicts must be the same. The peers:

- Great Expectations: its defaults for a Spark dataframe asset (the frame persisted, result format SUMMARY);
- Great Expectations, two-phase: verdicts alone without persisting, then only what failed again with its examples.

A first case is a table of 2,000 rows, where every Spark job is latency. Each way has run on it before its clock starts.
The ways take turns, three times; figures are medians.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil
from _table import line, parse, report

from shelfmark import config, session
from shelfmark.quality import definitions, suites
from shelfmark.run import conform
from shelfmark.tables import table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

NAME = "silver.products"
DEFAULTS, TWO_PHASE = "Great Expectations", "Great Expectations, two-phase"
ROUNDS = 3
GOAL = 4  # times faster than Great Expectations' defaults, on 1 M rows and more
WORDS = ["kettle", "steel", "cotton", "summer", "dress", "phone", "case", "cover", "black", "blue", "lamp", "garden"]


def products(spark: SparkSession, rows: int, flawed: bool) -> DataFrame:
    """Rows like silver.products: all hold, or five of the suite's expectations fail."""
    from pyspark.sql import functions as F

    def pick(values: list[str], salt: int) -> Any:
        return F.element_at(F.array(*map(F.lit, values)), (F.pmod(F.hash("id", F.lit(salt)), F.lit(len(values))) + 1))

    def one_in(n: int) -> Any:
        return (F.col("id") % n == 7) & F.lit(flawed)

    key = F.when(one_in(100_000), F.lit(7)).otherwise(F.col("id")).cast("string")
    cents = F.pmod(F.hash("id"), F.lit(100_000))
    title = F.concat_ws(" ", *(pick(WORDS, salt) for salt in range(8)), F.col("id").cast("string"))
    columns = {
        "product_id": F.md5(key),
        "source": pick(["amazon_in", "lazada", "costco"], 20),
        "source_key": F.col("id").cast("string"),
        "region": pick(["IN", "SG", "US", "DE"], 21),
        "title": F.when(one_in(10_000), F.lit("Test product")).otherwise(title),
        "description": F.concat_ws(" ", *(pick(WORDS, salt) for salt in range(30, 50))),
        "brand": F.when(F.col("id") % 3 > 0, pick(["Acme", "Prestige", "Nike", "Sony"], 22)),
        "gtin": F.when(F.col("id") % 2 == 0, F.lpad(F.col("id").cast("string"), 14, "0")),
        "price": F.when(one_in(1_000), F.lit(-1)).when(F.col("id") % 10 > 0, (cents + 1) / 100).cast("decimal(18,2)"),
        "currency": F.when((F.col("id") % 10 > 0) & ~one_in(5_000), F.lit("EUR")),
        "category_paths": F.array(F.concat(F.lit("Home > "), pick(WORDS, 23))),
        "language": F.when((F.col("id") % 20 > 0) & ~one_in(8), F.lit("en")),
        "content_hash": F.sha2(F.col("id").cast("string"), 256),
        "run_id": F.lit("benchmark"),
    }
    return conform(spark.range(rows, numPartitions=8).select(*(c.alias(n) for n, c in columns.items())), table(NAME))


def ours(df: DataFrame) -> list[bool]:
    return [result.success for result in suites.validate(df, NAME)]


def defaults(df: DataFrame) -> list[bool]:
    """What a person gets who follows the documentation of Great Expectations for a Spark dataframe."""
    suite, context = definitions.load(NAME), suites._context()
    source = context.data_sources.add_spark("benchmark")
    batch = (
        source.add_dataframe_asset("products").add_batch_definition_whole_dataframe("all").get_batch({"dataframe": df})
    )
    try:
        found = suites._evaluate(batch, suite, list(range(len(suite.expectations))), "SUMMARY")
    finally:
        context.data_sources.delete("benchmark")
        df.unpersist()
    return [found[position]["success"] for position in sorted(found)]


def two_phase(df: DataFrame) -> list[bool]:
    suite = definitions.load(NAME)
    with suites._batch(df) as batch:
        found = suites._evaluate(batch, suite, list(range(len(suite.expectations))), "BOOLEAN_ONLY")
    failed = [position for position in found if not found[position]["success"]]
    if failed:
        suites._ask(df, suite, failed)
    return [found[position]["success"] for position in sorted(found)]


def timed(spark: SparkSession, way: Callable[[DataFrame], list[bool]], df: DataFrame) -> tuple[list[bool], dict]:
    """Verdicts, and {metric: value}. Processor seconds are those of Spark and Python: the work, whatever else runs."""
    jobs = spark.sparkContext._jsc.sc().dagScheduler().numTotalJobs
    before, used, began = jobs(), _processor(), time.perf_counter()
    verdicts = way(df)
    seconds = time.perf_counter() - began
    return verdicts, {"seconds": seconds, "processor seconds": _processor() - used, "Spark jobs": jobs() - before}


def _processor() -> float:
    me = psutil.Process()
    return sum(times.user + times.system for times in (p.cpu_times() for p in (me, *me.children(recursive=True))))


def compare(spark: SparkSession, work: str, path: str, ways: dict[str, Callable], goal: int | None) -> list[dict]:
    """Lines of a table: what ours takes beside each peer; all must give the same verdicts."""
    spark.read.format("delta").load(path).write.format("noop").mode("overwrite").save()  # read once for all
    turns: dict[str, list] = {name: [] for name in ways}
    for name, way in [*ways.items()] * ROUNDS:
        turns[name].append(timed(spark, way, spark.read.format("delta").load(path)))
        said = ", ".join(f"{value:.1f} {metric}" for metric, value in turns[name][-1][1].items())
        print(f"{work}: {name} {said}", file=sys.stderr, flush=True)
    verdicts = turns["ours"][0][0]
    for name, took in turns.items():
        if any(said != verdicts for said, _ in took):
            raise AssertionError(f"{work}: {name} gives other verdicts: {took}, ours {turns['ours']}")
    measured = {
        name: {metric: median(figures[metric] for _, figures in took) for metric in took[0][1]}
        for name, took in turns.items()
    }
    mine = measured.pop("ours")
    lines = []
    for name, figures in measured.items():
        for metric, value in figures.items():
            bar = goal if name == DEFAULTS and metric == "seconds" else None
            words = f"at most 1/{bar} of peer" if bar else None
            lines.append(
                line(work, metric, mine[metric], value, name, words, mine[metric] * bar <= value if bar else None)
            )
    failing = verdicts.count(False)
    if (failing > 0) != work.endswith("fail"):
        raise AssertionError(f"{work}: {failing} of {len(verdicts)} expectations fail")
    return lines


def main() -> int:
    args = parse(__doc__.splitlines()[0])
    sizes = [200_000] if args.quick else [1_000_000, 3_000_000]
    ways = {DEFAULTS: defaults, TWO_PHASE: two_phase, "ours": ours}
    lines = []
    with tempfile.TemporaryDirectory() as home:
        spark = session.start(config.load(home=home, overrides=["spark.driver_memory=3g"]), "benchmark")
        write = partial(_write, spark, home)
        small = {flawed: write(2_000, flawed) for flawed in (False, True)}
        for path in small.values():
            for way in ways.values():
                way(spark.read.format("delta").load(path))
        for flawed in (False, True):
            fate = "a few fail" if flawed else "all hold"
            lines += compare(spark, f"2,000 rows, {fate}", small[flawed], ways, None)
        for rows in sizes:
            for flawed in (False, True):
                fate = "a few fail" if flawed else "all hold"
                lines += compare(
                    spark, f"{rows:,} rows, {fate}", write(rows, flawed), ways, None if args.quick else GOAL
                )
        spark.stop()
    return report(lines, args.json)


def _write(spark: SparkSession, home: str, rows: int, flawed: bool) -> str:
    path = f"{home}/products-{rows}-{flawed}"
    products(spark, rows, flawed).write.format("delta").partitionBy(*table(NAME).partitions).save(path)
    return path


if __name__ == "__main__":
    sys.exit(main())
