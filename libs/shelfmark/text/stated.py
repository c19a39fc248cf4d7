"""What a catalogue states about a product beside its texts, made on Spark: see facts.py for what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from shelfmark.text.facts import CUTS, MIN_ROWS, NAMES, NO_DIGIT, NUMBER, NUMBERS, WORDS

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

PAIRS = "array<struct<name:string,value:string>>"
BETWEEN_WORDS = r"[^\p{L}\p{M}\p{N}]+"
READ = {
    "price": ("price", "currency"),
    "attributes": ("attributes",),
    "brand": ("brand",),
    "source": ("source",),
    "region": ("region", "title"),
}
"""The columns of silver.catalogue that a fact of `text.facts` is read from."""


def columns(facts: Sequence[str]) -> list[str]:
    """The columns that the facts are read from, each once."""
    return list(dict.fromkeys(column for fact in facts for column in READ[fact]))


def stated(facts: Sequence[str]) -> Column:
    """The facts of a row: array of (name, value) in lower case, without nulls and empty values.

    A name in square brackets is not an attribute's: no vendor's attribute "price" is mistaken for the price.
    `region` states the region, and each word of the title as one of that region: a region's own head on top of what all
    regions share (Daume 2007, "Frustratingly Easy Domain Adaptation").
    """

    def one(name: Column | str, value: Column) -> Column:
        named = F.lit(name) if isinstance(name, str) else name
        return F.struct(named.alias("name"), F.lower(F.trim(value)).alias("value"))

    made = {
        "price": lambda: F.array(
            one(F.concat_ws(" ", F.lit("[price]"), "currency"), F.col("price").cast("string")),
        ),
        "brand": lambda: F.array(one("[brand]", F.col("brand"))),
        "source": lambda: F.array(one("[source]", F.col("source"))),
        "region": lambda: F.when(
            F.col("region").isNotNull(),
            F.concat(
                F.array(one("[region]", F.col("region"))),
                F.transform(
                    F.array_distinct(F.split(F.coalesce(F.lower("title"), F.lit("")), BETWEEN_WORDS)),
                    lambda word: one(F.concat(F.lit("[in "), F.col("region"), F.lit("]")), word),
                ),
            ),
        ).otherwise(F.array().cast(PAIRS)),
        "attributes": lambda: F.coalesce(
            F.transform(
                "attributes", lambda a: one(F.lower(F.trim(F.concat_ws(" ", a["name"], a["unit"]))), a["value"])
            ),
            F.array().cast(PAIRS),
        ),
    }
    if not facts:
        return F.array().cast(PAIRS)
    every = F.concat(*(made[fact]() for fact in facts))
    return F.filter(every, lambda fact: fact["value"].isNotNull() & (fact["value"] != "")).cast(PAIRS)


def learn(rows: DataFrame, min_rows: int) -> dict[str, Any]:
    """What is learnt of the facts of training `rows` (column `facts` as `stated` makes it): quantiles and words of at most
    some 200,000 rows are those of millions, so give it a sample. Exact, so the same however the table is partitioned.

    Returns {"numbers": {name: [cuts]}, "words": [[name, value], ...]}, JSON as it is; bounded by `NAMES` and `WORDS`.
    """
    told = rows.select(F.explode("facts").alias("fact")).select("fact.name", "fact.value").cache()
    number = F.when(F.col("value").rlike(NUMBER), F.regexp_replace("value", NO_DIGIT, "").cast("double"))
    shares = F.array(*(F.lit(i / CUTS) for i in range(1, CUTS)))
    names = (
        told.groupBy("name")
        .agg(
            F.count("*").alias("n"),
            F.count(number).alias("numbers"),
            F.percentile(number, shares).alias("cuts"),
        )
        .where(F.col("n") >= min_rows)
        .orderBy(F.desc("n"), "name")
        .limit(NAMES)
        .collect()
    )
    numbers = {}
    for row in names:
        cuts = sorted(set(row.cuts or []))
        if row.n >= MIN_ROWS and row.numbers >= 0.95 * row.n and len(cuts) > 2:
            numbers[row.name] = cuts
        if len(numbers) == NUMBERS:
            break
    worded = [row.name for row in names if row.name not in numbers]
    counts = told.where(F.col("name").isin(worded)).groupBy("name", "value").count().where(F.col("count") >= min_rows)
    found = counts.orderBy(F.desc("count"), "name", "value").limit(WORDS * len(worded)).collect()
    told.unpersist()
    kept: dict[str, int] = {}
    words = []
    for row in found:
        kept[row["name"]] = kept.get(row["name"], 0) + 1
        if kept[row["name"]] <= WORDS:
            words.append([row["name"], row["value"]])
    return {"numbers": numbers, "words": words}
