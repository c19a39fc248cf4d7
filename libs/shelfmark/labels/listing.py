"""What people are asked to look at, as a CSV to be filled in: predictions for review, a random sample, labels in doubt."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from shelfmark.errors import DataRefused, UsageError
from shelfmark.labels import persons, sample
from shelfmark.models.champion import published

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row

REVIEW, SAMPLE, LABEL_ISSUE = "review", "sample", "label_issue"
WHY = (SAMPLE, REVIEW, LABEL_ISSUE)

SHOWN = (
    *("product_id", "region", "source", "title", "brand", "price", "currency"),
    *("model_category", "model_confidence", "other_categories", "evidence", "decision", "decided_category", "reason"),
    *("label", "suggested_category", "why_listed", "inclusion_probability"),
)
ASKED = ("category", "verdict", "checked_by", "note")
CARRIED = ("model_category_id", "label_category_id", "model_version", "sample")
COLUMNS = (*SHOWN, *ASKED, *CARRIED)
"""Columns of the CSV: what a person reads, what a person fills in, and what comes back with it."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run instead of showing it


@dataclass(frozen=True)
class Wanted:
    """What is to be listed. `sample`: golden records to draw, about; `limit`: rows of the other lists, the least sure first;
    None: all. `regions` bound everything, `sources` and `reason` (a part of the prediction's reason) the other lists."""

    sample: int = 0
    seed: int = 1
    limit: int | None = None
    regions: Sequence[str] = ()
    sources: Sequence[str] = ()
    reason: str | None = None


@dataclass(frozen=True)
class Listed:
    """What was listed: rows in all and by `WHY` (a row may be of several), the design of the sample, what it draws from."""

    rows: int
    by: dict[str, int]
    design: sample.Design | None
    population: int


def export(read: Callable[[str], DataFrame], wanted: Wanted, out: Path) -> Listed:
    """Write the list of the champion's newest predictions to `out`, in a stream, whole or not at all.

    Products that people have spoken of already are left out. The sample comes first, in the order of its numbers: whoever
    checks the first half of it has checked a random sample half the size. read: a table by its name. Raises `UsageError`
    for a file that is there already or a region without predictions, `DataRefused` where nothing is predicted yet.
    """
    if out.exists():
        raise UsageError(f"{out} is there already, and somebody may have filled it in: choose another --out")
    if not out.resolve().parent.is_dir():
        raise UsageError(f"no folder {out.resolve().parent} to write {out.name} into")
    predictions = newest(read)
    there = {row.region: row["count"] for row in predictions.groupBy("region").count().collect()}
    if unknown := sorted(set(wanted.regions) - set(there)):
        raise UsageError(f"--region {unknown[0]}: no predictions there; there are: {', '.join(sorted(there))}")
    population = sum(n for region, n in there.items() if region in (wanted.regions or there))
    design = None
    if wanted.sample:
        share = min(1.0, wanted.sample / population)
        design = sample.Design(wanted.seed, share, ",".join(sorted(set(wanted.regions))) or sample.ALL)
    rows = _rows(read, predictions, wanted, design)
    paths = {row.category_id: row.path for row in read("silver.taxonomy").select("category_id", "path").collect()}
    part = out.with_name(f".{out.name}.part")
    by, count = dict.fromkeys(WHY, 0), 0
    with part.open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(COLUMNS)
        for row in rows.toLocalIterator():
            count += 1
            for why in row.why:
                by[why] += 1
            line = _line(row, paths, design)
            writer.writerow([line.get(column, "") for column in COLUMNS])
    os.replace(part, out)
    return Listed(count, by, design, population)


def newest(read: Callable[[str], DataFrame]) -> DataFrame:
    """The champion's predictions of the newest day; `DataRefused` where there are none."""
    model = published(read("gold.models"))
    mine = (F.col("model") == model.model) & (F.col("model_version") == model.model_version)
    predictions = read("gold.predictions").where(mine)
    day = predictions.agg(F.max("run_date")).head()[0]
    if day is None:
        raise DataRefused(f"model {model.model_version} has predicted nothing yet: shelfmark run predict")
    return predictions.where(F.col("run_date") == day)


def _rows(read, predictions: DataFrame, wanted: Wanted, design: sample.Design | None) -> DataFrame:
    """The listed predictions with their golden record, `why`, `number` (of the sample) and the source's `label_id`."""
    spoken = persons.words(read("silver.reviews"), read("silver.duplicates"), read("silver.taxonomy"))
    # Empty where `shelfmark run audit` never ran.
    issues = read("gold.label_issues").select("product_id", "suggested_path", F.lit(True).alias("issue"))
    if wanted.regions:
        predictions = predictions.where(F.col("region").isin(list(wanted.regions)))
    found = predictions.join(spoken.select("product_id"), "product_id", "left_anti")
    found = (
        found.join(issues, "product_id", "left")
        .withColumns(
            {
                "drawn": sample.drawn([design]) if design else F.lit(False),
                "number": sample.number(design.seed) if design else F.lit(0.0),
                "doubtful": F.col("decision") == "review",
                "issue": F.coalesce("issue", F.lit(False)),
            }
        )
        .where("drawn OR doubtful OR issue")
    )
    golden = read("silver.catalogue").select(
        "group_id", "region", "source", "title", "brand", F.col("price").cast("string").alias("price"), "currency"
    )
    found = found.join(golden, ["group_id", "region"], "left")
    asked = F.lit(True)
    if wanted.sources:
        asked &= F.col("source").isin(list(wanted.sources))
    if wanted.reason:
        asked &= F.contains(F.lower("reason"), F.lit(wanted.reason.lower()))
    found = found.withColumns({"doubtful": F.col("doubtful") & asked, "issue": F.col("issue") & asked})
    if wanted.limit is not None:
        others = found.where("NOT drawn AND (doubtful OR issue)")
        found = found.where("drawn").union(others.orderBy("confidence", "product_id").limit(wanted.limit))
    flags = zip(("drawn", "doubtful", "issue"), WHY)
    why = F.filter(F.array(*(F.when(F.col(flag), F.lit(name)) for flag, name in flags)), lambda one: one.isNotNull())
    labels = read("silver.labels").where("origin = 'source' AND primary")
    labels = labels.select("product_id", F.col("category_id").alias("label_id"))
    found = found.withColumn("why", why).where(F.size("why") > 0).join(labels, "product_id", "left")
    return found.orderBy(F.when(F.col("drawn"), F.col("number")).asc_nulls_last(), "confidence", "product_id")


def _line(row: Row, paths: dict[str, str], design: sample.Design | None) -> dict[str, Any]:
    best, *others = row.top_k or [None]
    drawn = SAMPLE in row.why
    line = {
        **{name: _plain(row[name]) for name in ("source", "title", "brand", "price", "currency", "decision", "reason")},
        "product_id": row.product_id,
        "region": row.region,
        "model_category": paths.get(best.category_id, best.category_id) if best else "",
        "model_category_id": best.category_id if best else "",
        "model_confidence": f"{best.confidence:.4f}" if best else "",
        "other_categories": "; ".join(f"{paths.get(o.category_id, o.category_id)} {o.confidence:.3f}" for o in others),
        "evidence": _plain("; ".join(f"{e.feature} {e.weight:+.2f}" for e in row.evidence or ())),
        "decided_category": row.category_path,
        "label": paths.get(row.label_id, "") if row.label_id else "",
        "suggested_category": row.suggested_path,
        "label_category_id": row.label_id if row.label_id in paths else "",
        "model_version": row.model_version,
        "why_listed": ", ".join(row.why),
        "inclusion_probability": repr(design.share) if drawn else "1",
        "sample": str(design) if drawn else "",
    }
    return {name: "" if value is None else value for name, value in line.items()}


def _plain(text: str | None) -> str | None:
    """Vendor text for a spreadsheet: text, never a formula."""
    return f"'{text}" if text and text.startswith(_FORMULA) else text
