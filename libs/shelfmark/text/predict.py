"""Predict categories with a trained model: Spark NLP, then one numba stage straight from Arrow batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shelfmark.answers import Names
from shelfmark.text import evidence, model, stated
from shelfmark.text.pipeline import tokens

ADDED = (
    "category_id string, category_path string, confidence double, "
    "top_k array<struct<category_id:string,confidence:double>>, decision string, reason string, "
    "evidence array<struct<feature:string,weight:double>>"
)
"""Columns of a prediction, as DDL."""


def predict(
    df: DataFrame,
    model_dir: Path | str,
    top_k: int = 5,
    keep: Sequence[str] = ("product_id", "group_id", "region"),
    checksum: str | None = None,
    told: int = evidence.TOP,
) -> DataFrame:
    """A prediction per row of `df`: the columns `keep`, then `ADDED`.

    df: the columns `keep`, the texts the model reads (title, and brand or description where it was trained with them),
    what it can of `stated.columns` (facts whose columns are missing are taken as not stated) and, where regions are to
    have thresholds and curves of their own, region. top_k: leaf categories
    kept, most likely first. checksum: as published in gold.models; `DataRefused` where the files are not those any
    more. A row without a known word is for review, with the shares of the training rows as its best guess. told: words,
    phrases and facts kept as evidence of a row that is for review, 0: none.
    """
    model.verify(model_dir, checksum)
    key = checksum or model.checksum(model_dir)
    text = model.load(str(model_dir), key).text
    stating = [fact for fact in text.facts if set(stated.columns([fact])) <= set(df.columns)]
    facts = df.withColumn("_facts", stated.stated(stating))
    facts = facts.withColumn("_region", F.col("region") if "region" in df.columns else F.lit(model.ANY))
    words = tokens(facts, text.fields).select(*keep, "tokens", "_facts", "_region")
    schema = ", ".join(f"`{f.name}` {f.dataType.simpleString()}" for f in words.schema[:-3])
    return words.mapInArrow(_predictor(str(model_dir), key, top_k, told), f"{schema}, {ADDED}")


def _predictor(folder: str, key: str, top_k: int, told: int) -> Callable:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        found = model.load(folder, key)
        names = Names(found.nodes, found.tree, found.thresholds)
        for batch in batches:
            if not batch.num_rows:
                continue
            *kept, words, facts, region = batch.columns
            said = model.answer(found, words, facts, top_k, region)
            why = evidence.column(found, words, facts, said, told) if told else pa.nulls(len(words), evidence.TYPE)
            made = names.columns(said) | {"evidence": why}
            fields = batch.schema.names[:-3] + list(made)
            yield pa.RecordBatch.from_arrays(kept + list(made.values()), names=fields)

    return run
