"""Which record comes first: of a group that is one product, and for a field of its golden record.

An order is a list of criteria (`dedupe.golden` in the settings), each of which says that some records come before
others; the first that tells two records apart decides, and the smallest product_id where none does. So an order is
total, and depends neither on rows nor on partitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column

COMPLETE = ("title", "description", "brand", "gtin", "model_number", "price", "image", "item_group", "language")
"""What counts for completeness, one point each; attributes and category_paths count one point when not empty."""


def rank(criteria: Sequence[str], sources: Sequence[str] = ()) -> Column:
    """array<bigint>: a record's place by each criterion, smaller is first; product_id is to decide after it.

    source: its place in `sources`, others alike after them; gtin: with one before without; completeness: the most
    complete (`completeness`); recency: the newest source_updated_at, none last; description: the longest.
    """
    from pyspark.sql import functions as F

    places = [F.when(F.col("source") == name, place) for place, name in enumerate(sources)]
    columns = {
        "source": F.coalesce(*places, F.lit(len(sources))),
        "gtin": F.col("gtin").isNull(),
        "completeness": -completeness(),
        "recency": F.coalesce(-F.unix_micros("source_updated_at"), F.lit(2**63 - 1)),
        "description": -F.coalesce(F.length("description"), F.lit(0)),
    }
    return F.array(*(columns[name].cast("bigint") for name in criteria))


def completeness() -> Column:
    """How many of `COMPLETE`, attributes and category_paths a product has: 0 to 11."""
    from pyspark.sql import functions as F

    known = [F.col(name).isNotNull().cast("int") for name in COMPLETE]
    known += [(F.coalesce(F.size(name), F.lit(0)) > 0).cast("int") for name in ("attributes", "category_paths")]
    return sum(known[1:], known[0])
