"""Why a golden record is in its category: predicted again by the champion, and the margin over the runner-up taken apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from shelfmark.errors import UsageError
from shelfmark.text import evidence, model, stated
from shelfmark.text.pipeline import tokens

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row

FACTS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))


@dataclass(frozen=True)
class Explained:
    """The best leaf and the next one, and what speaks: (piece, what it adds to the margin), the loudest first.

    margin = sum of `pieces` + `rest` (of all pieces that are not shown) + `bias` (the model's own leaning); the difference of
    two scores. What becomes of scores is said in calibrate.py: a higher score is always a higher confidence.
    """

    record: Row
    best: tuple[str, float]
    other: tuple[str, float] | None
    decision: str
    category: str
    confidence: float
    pieces: list[tuple[str, float]]
    rest: float
    bias: float
    margin: float


def golden_record(read: Callable[[str], DataFrame], product: str) -> Row:
    """The row of silver.catalogue that a product is in: by its id, or by way of its duplicate group; else `UsageError`."""
    catalogue = read("silver.catalogue")
    found = catalogue.where(F.col("product_id") == product).head()
    if found is None:
        member = read("silver.duplicates").where(F.col("product_id") == product).select("group_id", "region")
        found = catalogue.join(member, ["group_id", "region"]).select(*catalogue.columns).head()
    if found is None:
        raise UsageError(f"no product {product} in silver.catalogue: `shelfmark run dedupe` makes golden records")
    return found


def in_catalogue(predictions: DataFrame, record: Row) -> Row | None:
    """The newest row of gold.predictions of a golden record; None where nothing is predicted yet."""
    mine = predictions.where((F.col("product_id") == record.product_id) & (F.col("region") == record.region))
    return mine.orderBy(F.desc("run_date")).head()


def explain(catalogue: DataFrame, record: Row, folder: str, checksum: str, top: int) -> Explained:
    """Predict `record`, a row of `catalogue`, with the model in `folder`, and say what spoke; `top` pieces are named."""
    model.verify(folder, checksum)
    found = model.load(folder, checksum)
    text = found.text
    facts = [fact for fact in text.facts if set(stated.columns([fact])) <= set(catalogue.columns)]
    mine = catalogue.where((F.col("product_id") == record.product_id) & (F.col("region") == record.region))
    row = tokens(mine.withColumn("_facts", stated.stated(facts)), text.fields).select("tokens", "_facts").head()
    words = pa.array([row.tokens], pa.list_(pa.string()))
    said = pa.array([[fact.asDict() for fact in row._facts]], FACTS)
    answer = model.answer(found, words, said, 2, pa.array([record.region]))
    numbers, chances = answer.number[0], answer.chance[0]
    one, other = int(numbers[0]), int(numbers[1]) if len(numbers) > 1 else -1
    pieces = evidence.margins(found, words, said, np.array([one]), np.array([other]))
    loud = evidence.loudest(pieces, top)
    named = list(zip(evidence.names(found, loud, words, said).to_pylist(), loud.weight.tolist()))
    bias = found.arrays["bias"]
    leaning = float(bias[one]) - (float(bias[other]) if other >= 0 else 0.0)
    paths = [found.nodes[found.tree.leaf[number]]["path"] for number in numbers]
    return Explained(
        record,
        (paths[0], float(chances[0])),
        (paths[1], float(chances[1])) if other >= 0 else None,
        model.DECISIONS[answer.decision[0]],
        found.nodes[answer.node[0]]["path"],
        float(answer.confidence[0]),
        named,
        float(pieces.weight.sum() - loud.weight.sum()),
        leaning,
        float(pieces.weight.sum()) + leaning,
    )
