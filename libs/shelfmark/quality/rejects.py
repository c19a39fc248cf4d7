"""Refused rows and what became of them: silver.rejected as stewards ask for it.

A refused record has one of four states:

- open: the books of its file count it as rejected;
- resolved: a later run (`resolved_by`) judged it again and took it in;
- refused again: a later run (`resolved_by`) judged it again and refused it, for which it has a row of its own;
- not taken in: the run that refused it was not published, or stopped its whole source, so no book counts it.

A reader who asks for `resolved_by IS NULL` meets every record at most once for each intake of its file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from shelfmark.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from shelfmark.run import Run

OPEN, RESOLVED, AGAIN, NOT_TAKEN_IN = "open", "resolved", "refused again", "not taken in"
STATES = (OPEN, RESOLVED, AGAIN, NOT_TAKEN_IN)
RECORD = ("source", "file_hash", "record_number")
"""What tells a feed's record from all others."""


@dataclass(frozen=True)
class Which:
    """Which refused rows are meant; None is any. `run_id`: the run that refused them, `run_date` its day."""

    table: str | None = None
    source: str | None = None
    rule: str | None = None
    run_id: str | None = None
    run_date: date | None = None

    @property
    def condition(self) -> Column:
        """True for the rows meant; the day of the run prunes partitions."""
        condition = F.lit(True)
        for column in ("table", "source", "rule", "run_id", "run_date"):
            if (value := getattr(self, column)) is not None:
                condition &= F.col(column) == F.lit(value)
        return condition

    def __str__(self) -> str:
        named = (("table", self.table), ("source", self.source), ("rule", self.rule), ("run", self.run_id))
        return ", ".join(f"{name} {value}" for name, value in named if value is not None)


def with_state(rows: DataFrame, rejected: DataFrame, runs: DataFrame) -> DataFrame:
    """`rows` of silver.rejected with `state`, one of `STATES`.

    `rejected`: silver.rejected with at least the rows of the runs that `resolved_by` names; `runs`: gold.runs.
    """
    owners = F.create_map(*(F.lit(text) for table in TABLES.values() for text in (table.name, table.owner)))
    stopped = F.map_keys(F.from_json(F.get_json_object("notes", "$.stopped"), "map<string,string>"))
    published = runs.where("status = 'done'").select("job", "run_id", stopped.alias("stopped"))
    published = published.dropDuplicates(["job", "run_id"]).alias("p")
    mine = rows.alias("r")
    unresolved = mine.where("resolved_by IS NULL").join(
        F.broadcast(published),
        (F.col("p.run_id") == F.col("r.run_id")) & (F.col("p.job") == owners[F.col("r.table")]),
        "left",
    )
    # A source that was stopped has rows in a published run and nothing else there.
    known = F.col("p.run_id").isNotNull() & ~F.coalesce(F.array_contains("p.stopped", F.col("r.source")), F.lit(False))
    unresolved = unresolved.select("r.*", F.when(known, OPEN).otherwise(NOT_TAKEN_IN).alias("state"))
    again = rejected.select("table", *RECORD, F.col("run_id").alias("resolved_by")).withColumn("again", F.lit(True))
    closed = rows.where("resolved_by IS NOT NULL").join(again, ["table", *RECORD, "resolved_by"], "left")
    closed = closed.withColumn("state", F.when(F.col("again"), AGAIN).otherwise(RESOLVED)).drop("again")
    return unresolved.unionByName(closed.select(*unresolved.columns))


def unresolved(stated: DataFrame) -> DataFrame:
    """What nobody has settled yet."""
    return stated.where(F.col("state").isin(OPEN, NOT_TAKEN_IN))


def summary(stated: DataFrame) -> DataFrame:
    """By table, source and rule: how many rows are in each state, most unresolved first."""
    counts = [F.count(F.when(F.col("state") == state, 1)).alias(state) for state in STATES]
    grouped = stated.groupBy("table", "source", "rule").agg(*counts)
    return grouped.orderBy(F.desc(OPEN), F.desc(NOT_TAKEN_IN), "table", "source", "rule")


def resolve(run: Run, rows: DataFrame) -> dict[str, int]:
    """Mark refused rows of earlier runs as judged again by this one; returns how many, by the run that refused them.

    `rows`: columns of silver.rejected; those of this run and those resolved before are left alone.
    """
    mine = rows.where("resolved_by IS NULL").where(F.col("run_id") != run.run_id).persist()
    counted = mine.groupBy("run_id", "run_date").count().collect()
    if counted:
        days = ", ".join(f"DATE'{day}'" for day in sorted({row.run_date for row in counted}))
        marked = mine.withColumn("resolved_by", F.lit(run.run_id))
        run.merge("silver.rejected", marked, only=["resolved_by"], within=f"t.run_date IN ({days})")
    return {row.run_id: row["count"] for row in sorted(counted, key=lambda row: row.run_id)}


def days_of(runs: list[str]) -> list[date]:
    """The days that run ids begin with, each once."""
    return sorted({datetime.strptime(run_id[:8], "%Y%m%d").date() for run_id in runs})


def resolved_in(notes: str | None) -> dict[str, int]:
    """Of the notes of a run record: how many rows of which earlier runs it judged again."""
    return json.loads(notes or "{}").get("resolved", {})
