"""`shelfmark classify`: categories for any CSV with a title column, by the champion model."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from shelfmark import session
from shelfmark.errors import UsageError
from shelfmark.ingest import bronze, profile, readers
from shelfmark.ingest.formats import Format
from shelfmark.models import champion, lines
from shelfmark.query import open_reader, read
from shelfmark.text import predict

if TYPE_CHECKING:
    from shelfmark.config import Settings

ADDED = ("category_path", "confidence", "decision", "decision_reason")


def classify(settings: Settings, file: Path, out: Path, title: str, at: str | None) -> int:
    """Write `out`: the columns of `file`, then category_path, confidence, decision, decision_reason; returns the rows.

    A record that cannot be read is written with the decision `refused` and the reason. Rows keep the order of the
    file and are streamed. Raises `UsageError` for a missing file or column, `DataRefused` where there is no champion.
    """
    if not file.is_file():
        raise UsageError(f"no file {file}")
    if not out.resolve().parent.is_dir():
        raise UsageError(f"no folder {out.resolve().parent} to write {out.name} into")
    fmt = Format(**profile.sniff(file))
    if fmt.kind != "csv":
        raise UsageError(f"{file}: reads as {fmt.kind}; classify takes delimited text with a header")
    header = readers.header(str(file), fmt)
    if "'" in title:
        raise UsageError(f"--title {title}: a column name with an apostrophe cannot be read; rename it in the file")
    if title not in header:
        raise UsageError(f"{file}: no column {title!r}; it has {', '.join(header)}: name the title with --title")
    lake, commit = open_reader(settings, at)
    spark = session.start(settings)
    model = champion.published(read(spark, lake, commit, "gold.models"), lines.TEXT)
    bronze.count_all(spark, [str(file)], fmt)  # reads the file to its end: a broken one is refused before any output
    raw = bronze.raw_products(spark, [(str(file), "")], fmt, "classify")
    texts = [field for field in ("title", "brand", "description") if field == title or field in header]
    rows = raw.select(
        F.col("record_number").cast("string").alias("product_id"),
        F.lit("").alias("group_id"),
        F.lit("").alias("region"),
        "payload",
        "problem",
        F.get_json_object("payload", f"$['{title}']").alias("title"),
        *(F.get_json_object("payload", f"$['{name}']").alias(name) for name in texts if name != "title"),
        *(F.lit(None).cast("string").alias(name) for name in ("brand", "description") if name not in texts),
    )
    folder = lake.local_copy(commit, model.path)
    found = predict.predict(
        rows, folder, top_k=1, keep=("product_id", "payload", "problem"), checksum=model.checksum, told=0
    )
    temporary = out.with_name(f".{out.name}.part")
    count = 0
    with open(temporary, "w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow([*header, *ADDED])
        for row in found.sort(F.col("product_id").cast("long")).toLocalIterator():
            count += 1
            if row.problem is not None:
                writer.writerow([row.payload, *[""] * (len(header) - 1), "", "", "refused", row.problem])
                continue
            fields = json.loads(row.payload)
            said = [row.category_path, f"{row.confidence:.4f}", row.decision, row.reason]
            writer.writerow([*(fields.get(name) or "" for name in header), *said])
    os.replace(temporary, out)
    return count
