"""All that is measured of one model's predictions, by table: joined with the truth once, counted in a few passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shelfmark.metrics import classification, slices

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark import config


def evaluate(
    predictions: DataFrame,
    labels: DataFrame,
    splits: DataFrame,
    taxonomy: DataFrame,
    catalogue: DataFrame,
    settings: config.Metrics,
    side: str = "test",
) -> dict[str, DataFrame]:
    """Rows of gold.metrics, gold.slices and gold.curves, without run_id and run_date.

    `predictions`: gold.predictions of one model version; the others are the silver tables. What the figures are:
    `classification.evaluate` and `slices.evaluate`. Raises `UsageError` as the former does.
    """
    version = classification.version_of(predictions)
    rows = classification.judged(predictions, labels, splits, side, version).persist()
    try:
        metrics = classification.evaluate(predictions, labels, splits, taxonomy, settings, side, rows)
        found = slices.evaluate(rows, labels, splits, taxonomy, catalogue, version, settings, side)
    finally:
        rows.unpersist()
    return {
        "gold.metrics": metrics.unionByName(found.metrics),
        "gold.slices": found.slices,
        "gold.curves": found.curves,
    }


def together(measured: list[dict[str, DataFrame]]) -> dict[str, DataFrame]:
    """The rows of several models by table."""
    first, *others = measured
    for one in others:
        first = {name: rows.unionByName(one[name]) for name, rows in first.items()}
    return first
