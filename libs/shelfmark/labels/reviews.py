"""A filled-in review list comes back: what each row says is judged by itself, recorded, or refused with the reason.

1. `of_file` reads the CSV; what is wrong with the file as a whole is told before Spark starts.
2. `judge` makes a word of each filled-in row, or says why it cannot; no Spark.
3. `record` appends the words to silver.reviews, makes the labels of persons anew, and writes refused rows to silver.rejected.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shelfmark.dedup.decisions import product as product_of
from shelfmark.errors import DataRefused, UsageError
from shelfmark.labels import sample
from shelfmark.labels.persons import VERDICTS
from shelfmark.tables import table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark.run import Run

NEEDED = ("product_id", "category", "verdict")
LIMIT = 200_000
"""Rows of a file, which people fill in one by one; they are read on the driver."""
KEPT = ("product_id", "category", "verdict", "checked_by", "note")
"""What a refused row keeps in silver.rejected: what a person wrote, nothing of the product."""
SEPARATOR = " > "
TABLE = "silver.reviews"


@dataclass(frozen=True, slots=True)
class Filled:
    """A row that somebody filled in: its columns by name, its number (from 1) and the line it ends on."""

    number: int
    line: int
    columns: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.columns.get(name, "")


@dataclass(frozen=True)
class File:
    """A review list that came back; `by`: who checked the rows that do not say it themselves."""

    path: str
    hash: str
    by: str
    rows: tuple[Filled, ...]
    empty: int
    """Rows that nobody filled in."""


@dataclass(frozen=True, slots=True)
class Word:
    """What a row says, as silver.reviews has it; see its contract."""

    product_id: str
    verdict: str
    category_id: str | None
    listed_for: str | None
    model_version: str | None
    model_category_id: str | None
    design: sample.Design | None
    by: str
    note: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is not taken in: the rule it broke, and the reason in words, with what to do."""

    row: Filled
    rule: str
    reason: str


class Categories:
    """The categories of the current taxonomy by id and by path."""

    def __init__(self, version: str, paths: Mapping[str, str]):
        self.version, self.paths = version, paths
        self.by_path = {path: category for category, path in paths.items()}
        loose: dict[str, list[str]] = {}
        for path, category in self.by_path.items():
            loose.setdefault(path.lower(), []).append(category)
        self.loose = {path: ids[0] for path, ids in loose.items() if len(ids) == 1}

    def find(self, text: str) -> str | None:
        """The id of a category given by id or path; spaces around `>` and, where that is clear, capitals do not matter."""
        if text in self.paths:
            return text
        path = SEPARATOR.join(part.strip() for part in text.split(">"))
        return self.by_path.get(path) or self.loose.get(path.lower())

    def near(self, text: str) -> str | None:
        """The path most like an unknown one, if any is."""
        found = difflib.get_close_matches(text.lower(), [path.lower() for path in self.by_path], 1, 0.6)
        return next((path for path in self.by_path if path.lower() == found[0]), None) if found else None


def of_file(path: Path, by: str) -> File:
    """The filled-in rows of a review list; `UsageError` for a file that is none, or that nobody filled in."""
    rows, empty = [], 0
    try:
        raw = path.read_bytes()
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            header = reader.fieldnames or ()
            if missing := [name for name in NEEDED if name not in header]:
                has = f"it has {', '.join(header)}" if header else "it is empty"
                raise UsageError(
                    f"{path}: no column {', '.join(missing)}; {has}. Lists are made by `shelfmark review export`"
                )
            for number, row in enumerate(reader, 1):
                columns = {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}
                if not columns["category"] and not columns["verdict"]:
                    empty += 1
                    continue
                rows.append(Filled(number, reader.line_num, columns))
                if len(rows) > LIMIT:
                    raise UsageError(f"{path}: more than {LIMIT:,} rows are filled in: import it in parts")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: not a CSV in UTF-8: {error}") from None
    if not rows:
        raise UsageError(f"{path}: no row is filled in: give a category, or a verdict ({', '.join(VERDICTS)})")
    if not by.strip() and (nobody := next((row for row in rows if not row["checked_by"]), None)):
        raise UsageError(f"{path}:{nobody.line}: say who checked it: in the column checked_by, or with --by")
    return File(str(path), hashlib.sha256(raw).hexdigest(), by.strip(), tuple(rows), empty)


def judge(rows: Iterable[Filled], categories: Categories, by: str) -> tuple[list[tuple[Filled, Word]], list[Refused]]:
    """What rows say, each with its row, and the rows that say nothing that can be recorded.

    Whether there is such a product, and a word to withdraw, is for the lake to say: see `record`.
    """
    words: dict[str, tuple[Filled, Word]] = {}
    refused = []
    for row in rows:
        try:
            word = _word(row, categories, by)
            before = words.get(word.product_id)
            if before and (before[1].verdict, before[1].category_id) != (word.verdict, word.category_id):
                raise _No("review_twice", f"line {before[0].line} says otherwise of the same product: keep one of them")
            words.setdefault(word.product_id, (row, word))
        except _No as no:
            refused.append(Refused(row, no.rule, str(no)))
    return list(words.values()), refused


class _No(Exception):
    def __init__(self, rule: str, reason: str):
        super().__init__(reason)
        self.rule = rule


def _word(row: Filled, categories: Categories, by: str) -> Word:
    try:
        product = product_of(row["product_id"])
    except UsageError as error:
        raise _No("review_product_unknown", f"{error}: copy it from the list") from None
    verdict, design = row["verdict"].lower().replace(" ", "_"), None
    if verdict and verdict not in VERDICTS:
        raise _No(
            "review_verdict_unknown", f"verdict {row['verdict'][:40]!r}: say {', '.join(VERDICTS)}, or a category"
        )
    if row["sample"] and (design := sample.parse(row["sample"])) is None:
        raise _No("review_sample_unreadable", f"sample {row['sample'][:60]!r} was changed: copy it from the list")
    verdict, category = _said(row, verdict, categories)
    return Word(
        product,
        verdict,
        category,
        ",".join(why.strip() for why in row["why_listed"].split(",") if why.strip()) or None,
        row["model_version"] or None,
        row["model_category_id"] or None,
        design,
        row["checked_by"] or by,
        row["note"] or None,
    )


def _said(row: Filled, verdict: str, categories: Categories) -> tuple[str, str | None]:
    """(verdict, category_id) of a row."""
    shown = {"ok": row["model_category_id"], "label": row["label_category_id"]}
    if not row["category"]:
        if verdict in ("out_of_scope", "withdrawn"):
            return verdict, None
        if verdict == "other":
            raise _No("review_category_missing", "the verdict is other: say which, in the column category")
        if not shown[verdict]:
            whose = "the model's category" if verdict == "ok" else "the source's label"
            raise _No("review_category_missing", f"the row does not say what {whose} was: fill in the category")
        if shown[verdict] not in categories.paths:
            raise _No(
                "review_category_unknown", f"{shown[verdict]} is no category of today's taxonomy: fill in another"
            )
        return verdict, shown[verdict]
    if verdict in ("out_of_scope", "withdrawn"):
        raise _No("review_contradiction", f"the verdict is {verdict}, and a category is given: remove one of them")
    category = categories.find(row["category"])
    if category is None:
        near = categories.near(row["category"])
        hint = f"; did you mean {near}?" if near else "; categories are in silver.taxonomy"
        raise _No("review_category_unknown", f"no category {row['category'][:100]!r} in the taxonomy{hint}")
    if verdict in shown and category != shown[verdict]:
        raise _No(
            "review_contradiction", f"the verdict is {verdict}, and another category is given: remove one of them"
        )
    return next((name for name, one in shown.items() if one == category), "other"), category


def record(run: Run, given: File) -> None:
    """Record what a file says; `DataRefused` where none of its rows can be taken in, and the rows say why."""
    categories = _categories(run)
    said, refused = judge(given.rows, categories, given.by)
    ids = run.spark.createDataFrame([(word.product_id,) for _, word in said], "product_id string")
    there = _ids(run.read("silver.products"), ids)
    before = _before(run, ids)
    fresh, unchanged = [], []
    for row, word in said:
        last = before.get(word.product_id)
        if word.product_id not in there:
            reason = f"no product {row['product_id']} in silver.products: it was erased, or the id was changed"
            refused.append(Refused(row, "review_product_unknown", reason))
        elif word.verdict == "withdrawn" and last is None:
            refused.append(Refused(row, "review_nothing_to_withdraw", "nothing was said of this product: leave it out"))
        elif last == (word.verdict, word.category_id, word.by):
            unchanged.append(row)
        else:
            fresh.append((row, word))
    _reject(run, given, refused, [*(row for row, _ in fresh), *unchanged])
    run.note(
        recorded=len(fresh),
        unchanged=len(unchanged),
        withdrawn=sum(word.verdict == "withdrawn" for _, word in fresh),
        drawn=sum(word.design is not None for _, word in fresh),
        refused=len(refused),
        not_filled_in=given.empty,
    )
    if not fresh and not unchanged:
        first = min(refused, key=lambda one: one.row.number)
        raise DataRefused(f"{given.path}: no row can be taken in; the first, line {first.row.line}: {first.reason}")
    if fresh:
        _append(run, [word for _, word in fresh], categories.version)


def _categories(run: Run) -> Categories:
    """A taxonomy is a dimension of thousands of rows: it may come to the driver."""
    rows = run.read("silver.taxonomy").select("taxonomy_version", "category_id", "path").collect()
    if not rows:
        raise UsageError("no taxonomy yet: run `shelfmark pipeline` first")
    return Categories(rows[0].taxonomy_version, {row.category_id: row.path for row in rows})


def _ids(products: DataFrame, ids: DataFrame) -> set[str]:
    return {row.product_id for row in products.join(ids, "product_id", "left_semi").select("product_id").collect()}


def _before(run: Run, ids: DataFrame) -> dict[str, tuple[str, str | None, str]]:
    """What holds of the products of a file: (verdict, category_id, who)."""
    from shelfmark.labels import persons

    mine = run.read(TABLE).join(ids, "product_id", "left_semi")
    return {row.product_id: (row.verdict, row.category_id, row.reviewed_by) for row in persons.held(mine).collect()}


def _append(run: Run, words: list[Word], version: str) -> None:
    from shelfmark.labels import persons

    rows = [
        {
            **{name: getattr(word, name) for name in Word.__slots__ if name not in ("design", "by")},
            "taxonomy_version": version if word.category_id else None,
            "inclusion_probability": word.design.share if word.design else 1.0,
            "sample_seed": word.design.seed if word.design else None,
            "sample_regions": word.design.regions if word.design else None,
            "reviewed_by": word.by,
            "reviewed_at": run.started,
            "run_id": run.run_id,
            "run_date": run.run_date,
        }
        for word in words
    ]
    contract = table(TABLE)
    frame = run.spark.createDataFrame([tuple(row[c] for c in contract.columns) for row in rows], contract.ddl)
    run.write(TABLE, frame.coalesce(1), replace=f"run_id = '{run.run_id}'")
    # The labels of persons are what holds of all words: a later one replaces an earlier one.
    run.write("silver.labels", persons.labels(persons.held(run.read(TABLE))))


def _reject(run: Run, given: File, refused: list[Refused], taken: list[Filled]) -> None:
    """Write refused rows, and mark those of earlier files that are settled now: taken in, or judged again."""
    from pyspark.sql import functions as F

    from shelfmark.quality import rejects

    if refused:
        rows = [
            (
                TABLE,
                one.rule,
                one.reason,
                one.row["source"] or "-",
                given.path,
                given.hash,
                one.row.number,
                one.row.line,
                one.row["product_id"],
                json.dumps({name: one.row[name] for name in KEPT if one.row[name]}, ensure_ascii=False),
            )
            for one in refused
        ]
        columns = "table string, rule string, reason string, source string, file string, file_hash string"
        columns += ", record_number bigint, line bigint, key string, payload string"
        run.reject(run.spark.createDataFrame(rows, columns).coalesce(1))
    keys = run.spark.createDataFrame([(row["product_id"],) for row in taken], "key string").distinct()
    earlier = run.read("silver.rejected").where((F.col("table") == TABLE) & F.col("resolved_by").isNull())
    again = earlier.where(F.col("file_hash") == given.hash)
    settled = earlier.where(F.col("file_hash") != given.hash).join(keys, "key", "left_semi")
    run.note(resolved=rejects.resolve(run, again.unionByName(settled.select(*again.columns))))
