"""The gate: may a challenger take the champion's place? From counts of both on the same test rows. NumPy only.

1. `measure` makes figures of counts per region, block of leak groups and category. Both models see the same draws of the
   bootstrap, so what they have in common, above all the luck of the test side, cancels in the difference.
2. `judge` asks two things. Overall the challenger must be shown not to be worse than the margin allows: a non-inferiority
   test, one-sided, at `LEVEL` (the lower bound of the difference in macro-F1 lies above -margin). And in no region of
   enough rows may its macro-F1 lie further below the champion's than `max_region_drop`.
3. `crowned` tells from the decisions which champion came after which; a roll back goes back along it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from shelfmark.config import Gate
from shelfmark.metrics import bootstrap

LEVEL = 0.95
DRAWS = 1000
CELL = ("true", "said", "both", "compared_said", "compared_both")
"""Columns of `counts`: rows truly of the category; rows the challenger said to be of it, and of these the right ones; the
same two of the model it is compared with."""
TRUE = 0
CHALLENGER, COMPARED = [0, 1, 2], [0, 3, 4]
_AT_ONCE = 100  # draws whose counts are held at a time: 12 MB for 5,000 categories


@dataclass(frozen=True)
class Region:
    """Both models on the test rows of one region; macro-F1 over the categories that are true of a row there."""

    region: str
    rows: int
    macro_f1: float
    """Of the challenger."""
    compared_macro_f1: float
    """Of the model it is compared with."""

    @property
    def drop(self) -> float:
        """How far the challenger lies below."""
        return self.compared_macro_f1 - self.macro_f1


@dataclass(frozen=True)
class Measured:
    """Both models on the same test rows. `low`: lower bound of the difference; None where too few leak groups show it."""

    rows: int
    macro_f1: float
    compared_macro_f1: float
    low: float | None
    regions: tuple[Region, ...]

    @property
    def difference(self) -> float:
        """Macro-F1 of the challenger less that of the model it is compared with."""
        return self.macro_f1 - self.compared_macro_f1


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger passes, why, and the region of enough rows where it lies lowest (None: there is no such)."""

    passes: bool
    reason: str
    worst: Region | None = None


def measure(
    region: np.ndarray, block: np.ndarray, category: np.ndarray, counts: np.ndarray, blocks: int, enough: int
) -> Measured | None:
    """Figures of cells, one a region, block and category; None without a row.

    region, category: any values that sort; block: int, 0 to `blocks` - 1; counts: float[cells, 5], see `CELL`; enough:
    blocks with rows below which no bound is given.
    """
    counts = np.asarray(counts, float)
    true = counts[:, TRUE]
    if not true.sum():
        return None
    # A category without a true row has no part in macro-F1.
    column, shown = _numbered(category, true)
    known = column >= 0
    region, block, column, counts = region[known], np.asarray(block)[known], column[known], counts[known]
    whole = _blocks(block, column, counts, blocks, shown)
    value, low, _ = bootstrap.interval(_differences(whole), 2 * LEVEL - 1)
    with_rows = int((whole[:, TRUE].sum(1) > 0).sum())
    one, other = (_macro(whole[:, at].sum(0)) for at in (CHALLENGER, COMPARED))
    return Measured(
        rows=int(true.sum()),
        macro_f1=one,
        compared_macro_f1=other,
        low=min(low, value) if with_rows >= enough else None,
        regions=tuple(_region(name, column[region == name], counts[region == name]) for name in np.unique(region)),
    )


def judge(measured: Measured | None, gate: Gate) -> Verdict:
    """Whether the challenger may be promoted, and why (not)."""
    if measured is None:
        return Verdict(False, "no golden record with a label is on the test side: nothing shows that it is no worse")
    judged = [one for one in measured.regions if one.rows >= gate.min_region_rows]
    worst = max(judged, key=lambda one: one.drop, default=None)
    figures = f"macro-F1 {measured.macro_f1:.4f} against {measured.compared_macro_f1:.4f}"
    if measured.low is None:
        return Verdict(
            False, f"{figures}, but the {measured.rows:,} test rows are of too few leak groups to show that it is no worse",
            worst,
        )  # fmt: skip
    against = []
    if not measured.low > -gate.margin:
        asked = f"{gate.margin:g} is let pass" if gate.margin else "and it has to be shown to be better"
        against.append(f"{figures}: that it is worse by {-measured.low:.4f} is not ruled out (one-sided 95 %), {asked}")
    fallen = [one for one in sorted(judged, key=lambda one: -one.drop) if one.drop > gate.max_region_drop]
    against += [
        f"in {one.region} macro-F1 drops by {one.drop:.4f}, from {one.compared_macro_f1:.4f} to {one.macro_f1:.4f} "
        f"({one.rows:,} rows), {gate.max_region_drop:g} is let pass"
        for one in fallen
    ]
    if against:
        return Verdict(False, "; ".join(against), worst)
    where = (
        f"; no region drops by more than {max(worst.drop, 0):.4f}" if worst else "; no region has rows enough to judge"
    )
    bound = f"at worst {max(-measured.low, 0):.4f} less (one-sided 95 %), {gate.margin:g} is let pass"
    if not gate.margin:
        bound = f"better by {measured.low:.4f} at least (one-sided 95 %)"
    return Verdict(True, f"{figures}, {bound}{where}", worst)


def crowned(known: Iterable[tuple[str, object]], decisions: Iterable[tuple[str, str]]) -> list[str]:
    """The champions that a roll back can go along, the present one last.

    known: (version, champion since) of all versions of a line, the time None for one that never was champion.
    decisions: (decision, version) in the order they were made. A champion that no decision promoted is of before
    decisions were kept; such are ordered by their names, which begin with the day, as every training made one.
    """
    decisions = [one for one in decisions if one[0] in ("promoted", "rolled_back")]
    first = {version: decision for decision, version in reversed(decisions)}
    line = sorted(version for version, since in known if since is not None and first.get(version) != "promoted")
    for decision, version in decisions:
        if decision == "promoted":
            line = [*(one for one in line if one != version), version]
        elif version in line:
            line = line[: line.index(version) + 1]
    return line


def _numbered(category: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, int]:
    """Number of each cell's category among those with a true row (-1: of none of them), and how many these are."""
    names, place = np.unique(category, return_inverse=True)
    there = np.bincount(place, true, len(names)) > 0
    number = np.where(there, np.cumsum(there) - 1, -1)
    return number[place], int(there.sum())


def _blocks(block: np.ndarray, column: np.ndarray, counts: np.ndarray, blocks: int, shown: int) -> np.ndarray:
    """Counts as float[blocks, 5, categories]."""
    out = np.zeros((blocks, counts.shape[1], shown))
    for at in range(counts.shape[1]):
        np.add.at(out[:, at], (block, column), counts[:, at])
    return out


def _differences(whole: np.ndarray) -> np.ndarray:
    """The difference in macro-F1 of the data, then of each draw."""
    found = []
    for seed in range(DRAWS // _AT_ONCE):
        one, other = (
            bootstrap.macro_f1(bootstrap.of_blocks(whole[:, at], _AT_ONCE, seed)) for at in (CHALLENGER, COMPARED)
        )
        found.append((one - other)[bool(seed) :])  # each has the data itself first
    return np.concatenate(found)


def _region(name: str, column: np.ndarray, counts: np.ndarray) -> Region:
    summed = np.stack([np.bincount(column, one) for one in counts.T])
    return Region(str(name), int(summed[TRUE].sum()), *(_macro(summed[at]) for at in (CHALLENGER, COMPARED)))


def _macro(counted: np.ndarray) -> float:
    """Macro-F1 of counts, [3, categories]."""
    return float(bootstrap.macro_f1(counted[None])[0])
