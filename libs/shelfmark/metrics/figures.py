"""Figures of regions and classes as small records: what the console summary and the run report are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

AGREEMENT = "agreement with source labels"
"""What every accuracy and F1 is until people have checked labels: the vendors' own categories are the truth."""

CHECKED = "accuracy, checked by people"
"""What the report is about once people have checked a random sample of all golden records."""


@dataclass(frozen=True)
class RegionFigures:
    """Figures of one region (`*`: all together); None below minimum support, where only `support` is shown.

    Shares and accuracies are 0 to 1; see `classification.evaluate` for what each of them is.
    """

    region: str
    support: int
    """Measured products: on the test side, with a label."""
    macro_f1: float | None = None
    coverage: float | None = None
    """Share of the measured predictions accepted."""
    accuracy: float | None = None
    predictions: int | None = None
    """All predictions of the region."""
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    accuracy_any: float | None = None
    accuracy_accepted: float | None = None
    accuracy_decided: float | None = None
    weighted_f1: float | None = None
    categories: int | None = None
    """Categories with at least one measured product."""
    roll_up_share: float | None = None
    review_share: float | None = None
    coverage_all: float | None = None
    """Share of all predictions accepted: higher, as the model was trained on most of them."""
    macro_f1_low: float | None = None
    macro_f1_high: float | None = None
    ece: float | None = None
    ece_by_chance: float | None = None
    brier: float | None = None
    checked_accuracy: float | None = None
    """By what people found of a random sample of the region's golden records: see `checked.evaluate`."""
    checked_low: float | None = None
    checked_high: float | None = None
    checked_rows: int | None = None
    """Golden records of the sample that were checked."""
    checked_drawn: int | None = None
    checked_accuracy_accepted: float | None = None
    checked_accuracy_decided: float | None = None
    bins: tuple[tuple[float, float, float, float, int], ...] = ()
    """Of the reliability diagram: confidence, share right, its interval's ends, rows."""


@dataclass(frozen=True)
class ClassFigures:
    """Figures of one category in one region; None below minimum support."""

    region: str
    category_id: str
    category_path: str | None
    support: int
    """Measured products whose true category it is."""
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None


@dataclass(frozen=True)
class JobFigures:
    """One job of the pipeline: `status` as in gold.runs (done, refused, failed, skipped)."""

    job: str
    seconds: float
    status: str = "done"
    reason: str | None = None


def region_figures(rows: Iterable[Mapping[str, Any]]) -> list[RegionFigures]:
    """Regions by name, `*` last, from gold.metrics rows of one run and model; those of single categories or
    upper levels are ignored.

    A row is a Spark Row or a dict with region, level, category_id, metric, value, support, low, high.
    """
    found: dict[str, dict[str, Any]] = {}
    bins: dict[str, dict[str, dict[str, tuple]]] = {}
    for row in rows:
        if row["category_id"] != "*" or row["level"] != "leaf":
            continue
        region = found.setdefault(row["region"], {"support": 0})
        metric = row["metric"]
        if metric == "accuracy":
            region |= {"support": row["support"], "accuracy_low": row["low"], "accuracy_high": row["high"]}
        if metric == "macro_f1":
            region |= {"macro_f1_low": row["low"], "macro_f1_high": row["high"]}
        if metric == "coverage_all":
            region["predictions"] = row["support"]
        if metric == "checked_accuracy":
            region |= {"checked_rows": row["support"], "checked_low": row["low"], "checked_high": row["high"]}
        if metric == "checked_share":
            region["checked_drawn"] = row["support"]
        if metric in RegionFigures.__dataclass_fields__:
            value = row["value"]
            region[metric] = int(value) if metric == "categories" and value is not None else value
        if metric.startswith("bin_"):
            of = bins.setdefault(row["region"], {}).setdefault(metric[-2:], {})
            of[metric[4:-3]] = (row["value"], row["low"], row["high"], row["support"])
    for name, of in bins.items():
        whole = [of[at] for at in sorted(of) if of[at].keys() == {"accuracy", "confidence"}]
        found[name]["bins"] = tuple(
            (one["confidence"][0], *one["accuracy"]) for one in whole if one["accuracy"][0] is not None
        )
    return [RegionFigures(name, **found[name]) for name in sorted(found, key=all_last)]


def heading(regions: Iterable[RegionFigures]) -> str:
    """What the figures are: `CHECKED` where people have checked a sample of all golden records, else `AGREEMENT`."""
    return CHECKED if any(row.region == "*" and row.checked_accuracy is not None for row in regions) else AGREEMENT


def class_figures(rows: Iterable[Mapping[str, Any]], region: str = "*") -> list[ClassFigures]:
    """Classes of one region, the largest support first, from gold.metrics rows of one run and model."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["region"] != region or row["category_id"] == "*":
            continue
        figure = found.setdefault(row["category_id"], {})
        if row["metric"] in ClassFigures.__dataclass_fields__:
            figure |= {"category_path": row["category_path"], "support": row["support"], row["metric"]: row["value"]}
    classes = [ClassFigures(region, category, **figure) for category, figure in found.items() if figure]
    return sorted(classes, key=lambda row: (-row.support, row.category_path or "", row.category_id))


def all_last(region: str) -> tuple[bool, str]:
    """Sort key of regions: by name, `*` at the end."""
    return region == "*", region


def region_name(region: str) -> str:
    """`*` as people say it."""
    return "all" if region == "*" else region


def percent(value: float | None) -> str | None:
    """`81.0 %`, `< 0.1 %` for what would round to nothing; None stays None."""
    if value is None:
        return None
    return "< 0.1 %" if 0 < value < 0.0005 else f"{100 * value:.1f} %"


def duration(seconds: float) -> str:
    """`8.3 s`, `2 min 05 s`, `1 h 02 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
