"""The products most like one, of gold.embeddings: all vectors are compared, a task a partition, and only the best come back.

A million vectors of 192 numbers are a second's reading; an index of them would have to be kept in step with every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shelfmark.errors import UsageError


class Alike(NamedTuple):
    """A golden record and the cosine of its vector and the one asked for."""

    product_id: str
    region: str
    similarity: float


def similar(vectors: DataFrame, product: str, k: int = 10, region: str | None = None) -> list[Alike]:
    """The `k` golden records most like a product's, itself left out, most alike first; of a region where one is named.

    vectors: gold.embeddings of one model version. Raises `UsageError` where the product has no vector.
    """
    own = vectors.where(F.col("product_id") == product).orderBy("region").select("region", "vector").head()
    if own is None:
        raise UsageError(
            f"{product} has no vector: the job embed has not seen it, or it is a duplicate of another record "
            "(`shelfmark dedupe show` tells of which)"
        )
    rows = vectors.where(F.col("product_id") != product)
    rows = rows.where(F.col("region") == region) if region else rows
    found = rows.select("product_id", "region", "vector").mapInArrow(
        _best(np.array(own.vector, np.float32), k), "product_id string, region string, similarity double"
    )
    best = sorted(found.collect(), key=lambda row: (-row.similarity, row.product_id, row.region))[:k]
    return [Alike(row.product_id, row.region, row.similarity) for row in best]


def _best(vector: np.ndarray, k: int) -> Callable:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            made = batch.column(2).flatten().to_numpy(zero_copy_only=False).reshape(-1, len(vector))
            alike = made @ vector
            some = np.argsort(-alike, kind="stable")[:k]
            kept = [column.take(pa.array(some)) for column in batch.columns[:2]]
            names = ["product_id", "region", "similarity"]
            yield pa.RecordBatch.from_arrays([*kept, pa.array(alike[some].astype(np.float64))], names=names)

    return run
