"""More rows of rare categories: copies of a title with a word dropped, a synonym in place of a word, or a typing error."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F

from shelfmark.words import SYNONYMS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

WEIGHT = 0.5
"""Of a copy, in terms of the row it is of: a copy is not a product that somebody sells."""


def augmented(rows: DataFrame, copies: int, below: int) -> DataFrame:
    """`rows` and, of categories with fewer than `below` of them, `copies` altered copies of each at half its weight.

    rows: product_id, category_id, weight, title and more, all of which a copy has too. Copies are drawn by product: the
    same in every run.
    """
    if not copies:
        return rows
    rare = rows.groupBy("category_id").count().where(F.col("count") < below).select("category_id")
    few = rows.join(F.broadcast(rare), "category_id").select(*rows.columns)
    return rows.unionByName(few.mapInArrow(_copier(copies), few.schema))


def _copier(copies: int) -> Callable:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            table = pa.Table.from_batches([batch])
            products, titles = (table[name].to_pylist() for name in ("product_id", "title"))
            for copy in range(copies):
                made = [altered(title or "", random.Random(f"{one} {copy}")) for one, title in zip(products, titles)]
                columns = {name: table[name] for name in table.column_names}
                columns["title"] = pa.array(made, pa.string())
                columns["weight"] = pa.array([WEIGHT * (one or 0) for one in table["weight"].to_pylist()], pa.float64())
                yield from pa.table(columns).to_batches()

    return run


def altered(title: str, draw: random.Random) -> str:
    """A title with one change, drawn among those that it allows; itself where it is a single short word."""
    words = title.split()
    ways: list[Callable[[list[str], random.Random], None]] = []
    if len(words) > 2:
        ways.append(_drop)
    if any(word.lower() in SYNONYMS for word in words):
        ways.append(_exchange)
    if any(len(word) > 3 for word in words):
        ways.append(_mistype)
    if ways:
        draw.choice(ways)(words, draw)
    return " ".join(words)


def _drop(words: list[str], draw: random.Random) -> None:
    del words[draw.randrange(len(words))]


def _exchange(words: list[str], draw: random.Random) -> None:
    at = draw.choice([i for i, word in enumerate(words) if word.lower() in SYNONYMS])
    words[at] = draw.choice(SYNONYMS[words[at].lower()])


def _mistype(words: list[str], draw: random.Random) -> None:
    """Two neighbouring letters change places, or one is lost."""
    at = draw.choice([i for i, word in enumerate(words) if len(word) > 3])
    word = words[at]
    i = draw.randrange(1, len(word) - 1)
    words[at] = word[:i] + word[i + 1 :] if draw.random() < 0.5 else word[:i] + word[i + 1] + word[i] + word[i + 2 :]
