"""The steward's word on pairs of products: the same, or not. It overrides the rules at the next run, both ways.

1. `parse`, `of_file`: decisions from the command line or a CSV; `refuse_contradictions`: against all that hold.
2. `held`: of the decisions on a pair the newest holds; `withdrawn` undoes the one before.
3. `constraints`: what the rules have to keep: who is one with whom, and who is apart, also by way of others (A and B are
   the same, B and C are not: neither are A and C).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shelfmark.dedup import kernel
from shelfmark.errors import UsageError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark.run import Run

VERDICTS = ("same", "different", "withdrawn")
LIMIT = 1_000_000
"""Decisions that hold, which people make one by one; they are brought to the driver and to every executor."""

_PRODUCT_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Decision:
    """One word of a person on two products; `left` is the smaller product_id."""

    left: str
    right: str
    verdict: str
    reason: str
    decided_by: str


def parse(one: str, other: str, verdict: str, reason: str, decided_by: str, where: str = "") -> Decision:
    """A decision on two products, each a product_id or `source:source_key`; `UsageError` naming what is wrong, and `where`."""
    where = f"{where}: " if where else ""
    if verdict not in VERDICTS:
        raise UsageError(f"{where}verdict {verdict!r}: say {', '.join(VERDICTS)}")
    if not reason.strip():
        raise UsageError(f"{where}say why, for the record")
    if not decided_by.strip():
        raise UsageError(f"{where}say who decided (or set USER)")
    left, right = sorted((product(one, where), product(other, where)))
    if left == right:
        raise UsageError(f"{where}{one} and {other} are one record; a decision is on two")
    return Decision(left, right, verdict, reason.strip(), decided_by.strip())


def product(text: str, where: str = "") -> str:
    """The product_id of a product_id or `source:source_key`."""
    from shelfmark.ingest.normalise import product_id

    text = text.strip()
    source, colon, key = text.partition(":")
    if _PRODUCT_ID.fullmatch(text):
        return text
    if colon and re.fullmatch(r"\w+", source) and key:
        return product_id(source, key)
    raise UsageError(f"{where}{text[:60]!r} is no product_id (32 hex digits) and no source:source_key")


def of_file(path: Path, decided_by: str) -> list[Decision]:
    """Decisions of a CSV with the columns left, right, verdict, reason and, if others decided, decided_by.

    Rows without a verdict are pairs not decided yet, as `shelfmark dedupe proposed` writes them. Raises `UsageError`
    naming the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if missing := {"left", "right", "verdict", "reason"} - set(reader.fieldnames or ()):
                raise UsageError(
                    f"{path}: no column {', '.join(sorted(missing))}; it has {', '.join(reader.fieldnames or ())}"
                )
            found = [
                parse(
                    row["left"] or "",
                    row["right"] or "",
                    row["verdict"].strip().lower(),
                    row["reason"] or "",
                    row.get("decided_by") or decided_by,
                    f"{path}:{reader.line_num}",
                )
                for row in reader
                if (row["verdict"] or "").strip()
            ]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: not a CSV in UTF-8: {error}") from None
    if not found:
        raise UsageError(f"{path}: no row has a verdict; fill in {', '.join(VERDICTS)}")
    twice: dict[tuple[str, str], str] = {}
    for one in found:
        if twice.setdefault((one.left, one.right), one.verdict) != one.verdict:
            raise UsageError(
                f"{path}: {one.left} and {one.right} are decided twice, {twice[one.left, one.right]} and {one.verdict}"
            )
    return found


def held(decisions: DataFrame) -> DataFrame:
    """The decisions that hold: of each pair the newest of silver.match_decisions, where that is not `withdrawn`."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    newest = Window.partitionBy("left_product_id", "right_product_id").orderBy(F.desc("decided_at"), F.desc("run_id"))
    turn = decisions.withColumn("turn", F.row_number().over(newest))
    return turn.where("turn = 1 AND verdict <> 'withdrawn'").drop("turn")


def known(decided: DataFrame) -> list[Decision]:
    """The decisions that hold (`held`), here; `UsageError` past `LIMIT`."""
    rows = decided.limit(LIMIT + 1).collect()
    if len(rows) > LIMIT:
        raise UsageError(f"more than {LIMIT:,} decisions hold; withdraw those that the rules make too")
    return [Decision(r.left_product_id, r.right_product_id, r.verdict, r.reason, r.decided_by) for r in rows]


def refuse_contradictions(decisions: Iterable[Decision]) -> None:
    """`UsageError` where two products are decided to differ and are one by way of other decisions."""
    decisions = list(decisions)
    one = _one(decisions)
    for decision in decisions:
        if decision.verdict == "different" and one.get(decision.left, decision.left) == one.get(
            decision.right, decision.right
        ):
            raise UsageError(
                f"{decision.left} and {decision.right} are decided to be different (by {decision.decided_by}: "
                f"{decision.reason}), and the same by way of other decisions; withdraw one of them"
            )


def constraints(decisions: Iterable[Decision]) -> dict[str, tuple[str, frozenset[str]]]:
    """For every product decided on: (what it is one with: their smallest product_id, those it is apart from, named so)."""
    decisions = list(decisions)
    one = _one(decisions)
    apart: dict[str, set[str]] = {}
    for decision in decisions:
        if decision.verdict == "different":
            left, right = one.get(decision.left, decision.left), one.get(decision.right, decision.right)
            apart.setdefault(left, set()).add(right)
            apart.setdefault(right, set()).add(left)
    named = {product for decision in decisions for product in (decision.left, decision.right)}
    return {
        product: (one.get(product, product), frozenset(apart.get(one.get(product, product), ()))) for product in named
    }


def _one(decisions: list[Decision]) -> dict[str, str]:
    """For every product decided to be the same as another, the smallest product_id of all it is one with."""
    same = [decision for decision in decisions if decision.verdict == "same"]
    names = sorted({product for decision in same for product in (decision.left, decision.right)})
    place = {name: i for i, name in enumerate(names)}
    ends = np.array([(place[d.left], place[d.right]) for d in same], np.int64).reshape(-1, 2)
    label, _ = kernel.union(len(names), ends[:, 0].copy(), ends[:, 1].copy())
    return {name: names[label[i]] for i, name in enumerate(names)}


def edges(products: DataFrame, said: dict[str, tuple[str, frozenset[str]]]) -> DataFrame | None:
    """(left, right) between products decided to be the same, where both are in `products`; None without a decision."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    if not said:
        return None
    rows = [(product, one) for product, (one, _) in said.items()]
    named = products.sparkSession.createDataFrame(rows, "product_id string, one string")
    there = products.select("product_id").join(F.broadcast(named), "product_id")
    first = F.min("product_id").over(Window.partitionBy("one"))
    return there.select(first.alias("left"), F.col("product_id").alias("right")).where("left <> right")


def record(run: Run, made: list[Decision]) -> None:
    """Append to silver.match_decisions; `UsageError` where a product is not known, or decisions contradict each other."""

    before = {(d.left, d.right): d for d in known(held(run.read("silver.match_decisions")))}
    after = before | {(d.left, d.right): d for d in made}
    for one in made:
        if one.verdict == "withdrawn" and (one.left, one.right) not in before:
            raise UsageError(f"nothing to withdraw: no decision on {one.left} and {one.right} holds")
    refuse_contradictions(d for d in after.values() if d.verdict != "withdrawn")
    wanted = sorted({product for one in made for product in (one.left, one.right)})
    ids = run.spark.createDataFrame([(product,) for product in wanted], "product_id string")
    there = {
        row.product_id
        for row in run.read("silver.products").join(ids, "product_id", "left_semi").select("product_id").collect()
    }
    if unknown := [product for product in wanted if product not in there]:
        raise UsageError(
            f"no product {', '.join(unknown[:5])} in silver.products" + (" and others" if unknown[5:] else "")
        )
    rows = [(d.left, d.right, d.verdict, d.reason, d.decided_by, run.started) for d in made]
    columns = "left_product_id string, right_product_id string, verdict string, reason string, decided_by string, decided_at timestamp"
    frame = run.spark.createDataFrame(rows, columns).coalesce(1)
    run.write("silver.match_decisions", run.stamped(frame), replace=f"run_id = '{run.run_id}'")
    run.note(decided=len(made), withdrawn=sum(d.verdict == "withdrawn" for d in made))
