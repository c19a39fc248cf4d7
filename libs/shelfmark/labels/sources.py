"""Which sources the products come from, and whose categories are labels to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shelfmark.ingest import mapping

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark.config import Settings


@dataclass(frozen=True)
class Sources:
    """`names`: all sources, sorted; `labelling`: those whose mapping says that their categories are labels."""

    names: list[str]
    labelling: list[str]


def of(products: DataFrame, settings: Settings) -> Sources:
    """The sources of `products` (column source); `UsageError` for one whose mapping is not there any more."""
    names = sorted(row.source for row in products.select("source").distinct().collect())
    found = mapping.load_all(names, settings.source_dirs)
    return Sources(names, [source.name for source in found if source.labels])
