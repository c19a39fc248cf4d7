"""Levels, slices and curves as small records: what the sections of the run report about them are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shelfmark.metrics.figures import all_last

ENOUGH = 50
"""Rows from which on a slice is looked at as a finding."""


@dataclass(frozen=True)
class Point:
    """A figure with its 95 % interval; None below minimum support, ends None where there is no interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    support: int = 0


@dataclass(frozen=True)
class Level:
    """Figures with truth and prediction cut to one level of the taxonomy (1: roots), or whole: `leaf`."""

    level: str
    macro_f1: Point
    accuracy: Point
    categories: int | None


@dataclass(frozen=True)
class Slice:
    """Figures of the rows that have one value in common, see `slices.SLICES`."""

    name: str
    value: str
    accuracy: Point
    macro_f1: Point = Point()
    coverage: Point = Point()
    accuracy_accepted: Point = Point()
    ece: Point = Point()
    ece_by_chance: Point = Point()
    aurc: Point = Point()
    aurc_perfect: Point = Point()

    @property
    def support(self) -> int:
        return self.accuracy.support


@dataclass(frozen=True)
class Curve:
    """An accuracy-coverage curve: points (threshold, coverage, accuracy with its interval and rows), all rows first."""

    name: str
    value: str
    points: tuple[tuple[float, float, Point], ...]
    aurc: Point = Point()
    aurc_perfect: Point = Point()


def overall(rows: Iterable[Mapping[str, Any]]) -> dict[str, Point]:
    """metric -> figure of all regions together at level `leaf`, from gold.metrics rows of one run and model."""
    return {
        row["metric"]: _point(row) for row in rows if (row["region"], row["category_id"]) == ("*", "*") and _leaf(row)
    }


def levels(rows: Iterable[Mapping[str, Any]]) -> list[Level]:
    """Levels from the roots down, then `leaf`, of all regions together; from gold.metrics rows of one run and model."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if (row["region"], row["category_id"]) == ("*", "*"):
            found.setdefault(row["level"], {})[row["metric"]] = row
    made = [
        Level(
            level,
            *(_point(of.get(metric)) for metric in ("macro_f1", "accuracy")),
            int(of["categories"]["value"]) if of.get("categories") and of["categories"]["value"] is not None else None,
        )
        for level, of in found.items()
    ]
    return sorted(made, key=lambda one: (not one.level.isdigit(), int(one.level) if one.level.isdigit() else 0))


def slices(rows: Iterable[Mapping[str, Any]]) -> list[Slice]:
    """Slices by name, the largest values first, from gold.slices rows of one run and model."""
    found: dict[tuple[str, str], dict[str, Point]] = {}
    for row in rows:
        if row["metric"] in Slice.__dataclass_fields__:
            found.setdefault((row["slice"], row["slice_value"]), {})[row["metric"]] = _point(row)
    made = [Slice(*key, **of) for key, of in found.items() if "accuracy" in of]
    return sorted(made, key=lambda one: (one.name, -one.support, one.value))


def curves(rows: Iterable[Mapping[str, Any]], of: Iterable[Slice] = ()) -> list[Curve]:
    """Curves, `all` first, then regions, then top categories by rows; from gold.curves rows of one run and model.

    of: the slices, which know the areas."""
    known = {(one.name, one.value): one for one in of}
    found: dict[tuple[str, str], list[tuple[float, float, Point]]] = {}
    for row in rows:
        point = Point(row["accuracy"], row["low"], row["high"], row["support"])
        found.setdefault((row["slice"], row["slice_value"]), []).append((row["threshold"], row["coverage"], point))
    made = []
    for key, points in found.items():
        area = known.get(key)
        areas = (area.aurc, area.aurc_perfect) if area else ()
        made.append(Curve(*key, tuple(sorted(points, key=lambda point: point[0])), *areas))
    return sorted(made, key=lambda one: (*all_last(one.name), -one.points[0][2].support, one.value))


def compared(found: Iterable[Slice]) -> list[Slice]:
    """Slices that are compared with all rows: those with `ENOUGH` rows and an interval of accuracy."""
    return [one for one in found if one.name != "all" and one.support >= ENOUGH and one.accuracy.high is not None]


def worst(found: Iterable[Slice]) -> list[Slice]:
    """Slices surely worse than all rows together, the worst first: the upper end of the interval of accuracy lies below
    the accuracy of all, and by how much is the order. A small slice with a low figure that may be chance is not here."""
    found = list(found)
    all_rows = next((one.accuracy.value for one in found if one.name == "all"), None)
    if all_rows is None:
        return []
    below = [one for one in compared(found) if one.accuracy.high < all_rows]
    return sorted(below, key=lambda one: (one.accuracy.high, -one.support, one.name, one.value))


def _leaf(row: Mapping[str, Any]) -> bool:
    return row["level"] == "leaf"


def _point(row: Mapping[str, Any] | None) -> Point:
    return Point() if row is None else Point(row["value"], row["low"], row["high"], row["support"])
