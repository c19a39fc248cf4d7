"""Predict categories with a multimodal model on Spark: one stage straight from Arrow batches, pictures streamed in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shelfmark import answers
from shelfmark.errors import DataRefused
from shelfmark.multimodal import embeddings, model
from shelfmark.text import predict as text_predict
from shelfmark.text import stated

ADDED = text_predict.ADDED + ", contributions array<struct<modality:string,weight:double>>"
"""Columns of a prediction, as DDL: those of the text line, and what each modality brought."""
READ = ("title", "description", "picture", "fields")
ROWS = 1024  # of a batch that are answered at once: the arrays of their pictures take 12 MB at 64 pixels
DECODERS = 2  # threads that decode pictures while the task's own thread waits for them


def predict(
    df: DataFrame,
    model_dir: Path | str,
    pictures: DataFrame | None = None,
    top_k: int = 5,
    keep: Sequence[str] = ("product_id", "group_id", "region"),
    checksum: str | None = None,
    contributions: bool = True,
) -> DataFrame:
    """A prediction per row of `df`: the columns `keep`, then `ADDED`.

    df: the columns `keep` and what it has of title, description, region, image_id, and the columns facts are read from
    (`stated.columns`). pictures: silver.images, of which image_id and bytes are read; without it, or without an image_id, the
    picture is missing. checksum: as published in gold.models; `DataRefused` where the files are not those any more. A row
    with nothing to go by is for review, with the shares of the training rows as its best guess.
    """
    model.verify(model_dir, checksum)
    key = checksum or answers.checksum(model_dir)
    read = inputs(df, pictures, keep, model.read(model_dir)["facts"])
    schema = ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in read.schema[: len(keep)])
    return read.mapInArrow(_predictor(str(model_dir), key, len(keep), top_k, contributions), f"{schema}, {ADDED}")


def embed(
    df: DataFrame,
    model_dir: Path | str,
    pictures: DataFrame | None = None,
    keep: Sequence[str] = ("product_id", "group_id", "region"),
    checksum: str | None = None,
) -> DataFrame:
    """The vector of each row of `df` (arguments as of `predict`): the columns `keep`, then vector array<float> of unit length. Rows
    that have nothing to go by are left out. `DataRefused` where the model has no space of vectors."""
    model.verify(model_dir, checksum)
    if not (Path(model_dir) / embeddings.FILE).exists():
        raise DataRefused(f"the model in {model_dir} has no space of vectors: train again")
    key = checksum or answers.checksum(model_dir)
    read = inputs(df, pictures, keep, model.read(model_dir)["facts"])
    schema = ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in read.schema[: len(keep)])
    return read.mapInArrow(_embedder(str(model_dir), key, len(keep)), f"{schema}, vector array<float>")


def inputs(
    df: DataFrame, pictures: DataFrame | None = None, keep: Sequence[str] = (), facts: Sequence[str] = ()
) -> DataFrame:
    """The columns `keep`, then `READ` and region, each after an underscore: what `model.answer` reads of products, and training
    too. facts: of `text.facts`; those whose columns are missing are taken as not stated."""
    facts = [fact for fact in facts if set(stated.columns([fact])) <= set(df.columns)]
    nothing = F.lit(None).cast("string")
    columns = {
        "_title": F.col("title") if "title" in df.columns else nothing,
        "_description": F.col("description") if "description" in df.columns else nothing,
        "_fields": stated.stated(facts),
        "_region": F.col("region") if "region" in df.columns else F.lit(answers.ANY),
    }
    rows = df.withColumns(columns)
    if pictures is not None and "image_id" in df.columns:
        known = pictures.where(F.col("bytes").isNotNull())
        rows = rows.join(known.select("image_id", F.col("bytes").alias("_picture")), "image_id", "left")
    else:
        rows = rows.withColumn("_picture", F.lit(None).cast("binary"))
    return rows.select(*keep, *(f"_{name}" for name in READ), "_region")


def _predictor(folder: str, key: str, kept: int, top_k: int, contributions: bool) -> Callable:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for found, pool, rows, given in _pieces(batches, folder, key, kept):
            said = model.answer(found, given, top_k, pool, contributions)
            names = [*rows.schema.names[:kept], *said]
            yield pa.RecordBatch.from_arrays([*rows.columns[:kept], *said.values()], names=names)

    return run


def _embedder(folder: str, key: str, kept: int) -> Callable:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for found, pool, rows, given in _pieces(batches, folder, key, kept):
            made = model.vectors(found, given, pool)
            some = np.flatnonzero(made.any(1))
            ends = np.arange(0, made.shape[1] * len(some) + 1, made.shape[1], dtype=np.int32)
            lists = pa.ListArray.from_arrays(pa.array(ends), pa.array(made[some].ravel()))
            columns = [column.take(pa.array(some)) for column in rows.columns[:kept]]
            yield pa.RecordBatch.from_arrays([*columns, lists], names=[*rows.schema.names[:kept], "vector"])

    return run


def _pieces(batches: Iterator[pa.RecordBatch], folder: str, key: str, kept: int):
    """(model, decoders, rows, what `model.answer` reads of them), `ROWS` rows at a time."""
    for found, pool, rows in pieces(batches, lambda: model.load(folder, key)):
        yield found, pool, rows, pa.RecordBatch.from_arrays(rows.columns[kept:], names=[*READ, "region"])


def pieces(
    batches: Iterator[pa.RecordBatch], load: Callable[[], Any]
) -> Iterator[tuple[Any, Executor, pa.RecordBatch]]:
    """(what `load` gives, decoders of pictures, rows), `ROWS` rows at a time, with torch on one thread."""
    import torch

    torch.set_num_threads(1)  # Spark runs a task on each core
    found = load()
    with ThreadPoolExecutor(DECODERS) as pool:
        for batch in batches:
            for at in range(0, batch.num_rows, ROWS):
                yield found, pool, batch.slice(at, ROWS)
