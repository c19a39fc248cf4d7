"""Predict categories with an ensemble on Spark: Spark NLP, then one stage straight from Arrow batches, pictures streamed in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from shelfmark import answers
from shelfmark.ensemble import model
from shelfmark.multimodal import predict as pictured
from shelfmark.text import evidence, stated
from shelfmark.text.pipeline import tokens

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ADDED = pictured.ADDED
"""Columns of a prediction, as DDL: those of the multimodal line."""
READ = ("tokens", "_facts")


def predict(
    df: DataFrame,
    model_dir: Path | str,
    pictures: DataFrame | None = None,
    top_k: int = 5,
    keep: Sequence[str] = ("product_id", "group_id", "region"),
    checksum: str | None = None,
    told: int = evidence.TOP,
) -> DataFrame:
    """A prediction per row of `df`: the columns `keep`, then `ADDED`.

    df: the columns `keep`, and what text/predict.py and multimodal/predict.py read. pictures: silver.images. checksum: as published
    in gold.models; `DataRefused` where the files are not those any more. told: pieces of evidence of a row for review.
    """
    model.verify(model_dir, checksum)
    key = checksum or answers.checksum(model_dir)

    def answered(found: model.Model, kept: pa.RecordBatch, rows: model.Rows, pool: Executor) -> pa.RecordBatch:
        said = model.answer(found, rows, top_k, pool, told)
        return pa.RecordBatch.from_arrays([*kept.columns, *said.values()], names=[*kept.schema.names, *said])

    return mapped(df, pictures, str(model_dir), key, keep, answered, ADDED)


def mapped(
    df: DataFrame,
    pictures: DataFrame | None,
    folder: str,
    key: str,
    keep: Sequence[str],
    what: Callable[[model.Model, pa.RecordBatch, model.Rows, Executor], pa.RecordBatch],
    added: str | None = None,
    only: str | None = None,
) -> DataFrame:
    """`what` (ensemble, the columns `keep`, what the members read, decoders of pictures) of rows, some hundred at a time. added: DDL
    of what it adds to the columns `keep`, or `only`: of all it gives."""
    read = inputs(df, pictures, keep, folder, key)
    schema = only or ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in read.schema[: len(keep)])
    at = len(keep)

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for found, pool, rows in pictured.pieces(batches, lambda: model.load(folder, key)):
            kept = pa.RecordBatch.from_arrays(rows.columns[:at], names=rows.schema.names[:at])
            words, facts, *others = rows.columns[at:]
            others = pa.RecordBatch.from_arrays(others, names=[*pictured.READ, "region"])
            yield what(found, kept, model.Rows(words, facts, others), pool)

    return read.mapInArrow(run, schema if only else f"{schema}, {added}")


def inputs(df: DataFrame, pictures: DataFrame | None, keep: Sequence[str], folder: str, key: str) -> DataFrame:
    """The columns `keep`, then `READ`, then what multimodal/predict.py's `inputs` gives."""
    text, facts = model.reads(folder, key)
    stating = [fact for fact in text.facts if set(stated.columns([fact])) <= set(df.columns)]
    rows = tokens(df.withColumn("_facts", stated.stated(stating)), text.fields)
    return pictured.inputs(rows, pictures, (*keep, *READ), facts)
