"""Labelled pairs and their offers from CSV files, and a scorer learnt from them. No Spark here.

Labelled pairs are few, thousands where a catalogue has millions of offers, so they are learnt from in memory.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from shelfmark.dedup import blocking, features, scorer
from shelfmark.errors import UsageError

TEXTS = (
    "product_id", "source", "region", "title", "description", "brand", "gtin", "model_number", "currency", "image_id", "picture",
)  # fmt: skip
"""Columns of a product file that are read, with price; product_id, source and title are needed. Others are ignored."""


def products(paths: list[Path]) -> pa.Table:
    """Offers of CSV files with a header; raises `UsageError` (file, line, column, what to do)."""
    columns: dict[str, list] = {name: [] for name in (*TEXTS, "price")}
    seen: dict[str, str] = {}
    for path in paths:
        for number, row in _rows(path, ("product_id", "source", "title")):
            key = row["product_id"]
            if not key:
                raise UsageError(
                    f"{path}, line {number}: no product_id; every offer needs one, the pairs name them by it"
                )
            if key in seen:
                raise UsageError(
                    f"{path}, line {number}: product_id {key!r} is in {seen[key]} already; make them unique"
                )
            seen[key] = f"{path}, line {number}"
            picture = row.get("picture") or ""
            if picture and (len(picture) != 16 or not set(picture.lower()) <= set("0123456789abcdef")):
                raise UsageError(
                    f"{path}, line {number}: picture {picture!r} is not a perceptual hash of 16 hex digits"
                )
            for name in TEXTS:
                columns[name].append(row.get(name) or None)
            columns["price"].append(_price(path, number, row.get("price") or ""))
    kinds = {name: pa.float64() if name == "price" else pa.string() for name in columns}
    return pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})


def _price(path: Path, number: int, text: str) -> float | None:
    if not text:
        return None
    try:
        price = float(text)
    except ValueError:
        price = np.nan
    if not np.isfinite(price):
        raise UsageError(f"{path}, line {number}: price {text!r} is not a number; write 1299.50, or leave it empty")
    return price


def pairs(path: Path, offers: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(left, right, match) of a CSV file with the columns left, right and, if some pairs are no match, match (1 or 0).

    left < right are rows of `offers`. match is None where the file has no such column: then it lists all that match.
    """
    place = {key: i for i, key in enumerate(offers["product_id"].to_pylist())}
    found: dict[tuple[int, int], tuple[bool, int]] = {}
    labelled = False
    for number, row in _rows(path, ("left", "right")):
        ends = []
        for side in ("left", "right"):
            if row[side] not in place:
                raise UsageError(f"{path}, line {number}: {side} {row[side]!r} is no product_id of the product files")
            ends.append(place[row[side]])
        if ends[0] == ends[1]:
            raise UsageError(f"{path}, line {number}: a pair of {row['left']!r} with itself; remove the line")
        labelled = "match" in row
        said = (row["match"] or "").strip().lower() if labelled else "1"
        if said not in ("1", "0", "true", "false"):
            raise UsageError(f"{path}, line {number}: match {said!r}; write 1 for one product, 0 for two")
        key, match = (min(ends), max(ends)), said in ("1", "true")
        before = found.setdefault(key, (match, number))
        if before[0] != match:
            raise UsageError(f"{path}, line {number}: the pair has another match in line {before[1]}; decide for one")
    if not found:
        raise UsageError(f"{path}: no pairs; write lines left,right[,match]")
    left, right = np.array(sorted(found), np.int64).T
    return left, right, np.array([found[key][0] for key in sorted(found)]) if labelled else None


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if missing := [name for name in needed if name not in (reader.fieldnames or [])]:
                raise UsageError(f"{path}: no column {missing[0]!r}; its first line must name {', '.join(needed)}")
            for row in reader:
                if None in row or None in row.values():
                    raise UsageError(
                        f"{path}, line {reader.line_num}: {len(reader.fieldnames)} columns are named, not as many stand there"
                    )
                yield reader.line_num, row
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: not a CSV file in UTF-8: {error}") from None


def train(
    product_files: list[Path], pair_file: Path, precision: float, recall: float, limit: int = blocking.LIMIT
) -> scorer.Model:
    """A scorer of the labelled pairs that are candidates (`blocking`).

    Where the file has a column match, only its pairs are learnt from; else it lists all that match, and every other
    candidate pair of the product files is no match.
    """
    offers = products(product_files)
    left, right, match = pairs(pair_file, offers)
    rarity = features.learn(offers)
    one, other, _ = blocking.candidates(offers, rarity, limit)
    n = offers.num_rows
    true = np.ones(len(left), np.bool_) if match is None else match
    if match is not None:
        kept = np.isin(one * n + other, left * n + right)
        one, other = one[kept], other[kept]
    y = np.isin(one * n + other, (left * n + right)[true])
    read = features.prepare(offers, rarity)
    x = np.concatenate(
        [features.pairs(read, one[part], read, other[part]) for part in scorer.batches(len(one))]
        or [np.empty((0, len(features.NAMES)), np.float32)]
    )
    cluster = scorer.clusters(n, left[true], right[true])
    return scorer.fit(x, y, one, other, rarity, cluster, precision, recall, int(true.sum()))
