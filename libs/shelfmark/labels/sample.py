"""Random samples of golden records, and the probability with which each record came into them.

Every golden record has, for every seed, a number in [0, 1) that is its own: a hash of seed, group and region (the group
keeps its id when its survivor changes). A design (seed, regions, share) draws the records of its regions whose number is
below its share; so the expected size of a sample is share x records (Poisson sampling with permanent random numbers;
Ohlsson 1995, "Coordination of samples using permanent random numbers").

- A draw needs no order and no count, and does not depend on partitions: each record is judged alone.
- Of one seed, a larger sample contains a smaller one: who draws 500 after 200 checks 300 more.
- The probability that a record is in any of several samples follows from the designs alone, for every record, drawn or
  not, known then or new: 1 - product over seeds of (1 - the largest share of the seed's designs that cover its region).
  So a record is in the sample by what it is, not by what somebody wrote into a file; who was drawn and not checked is seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import mul, or_
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

ALL = "*"
LIMIT = 10_000
"""Designs read: people make them, one an export."""

_TEXT = re.compile(r"seed=(\d{1,10}) share=(\d(?:\.\d+)?(?:e-\d+)?) regions=(\*|[^,\s]+(?:,[^,\s]+)*)")


@dataclass(frozen=True)
class Design:
    """A sample: `share` of the golden records of `regions` (comma separated, `*`: all), by the numbers of `seed`."""

    seed: int
    share: float
    regions: str = ALL

    def __str__(self) -> str:
        return f"seed={self.seed} share={self.share!r} regions={self.regions}"


def parse(text: str) -> Design | None:
    """The design that `str` wrote; None where it is not one."""
    found = _TEXT.fullmatch(text.strip())
    if not found or not 0 < float(found[2]) <= 1 or int(found[1]) >= 1 << 31:
        return None
    return Design(int(found[1]), float(found[2]), found[3])


def number(seed: int) -> Column:
    """The number of a golden record (columns group_id, product_id, region), in [0, 1)."""
    own = F.xxhash64(F.lit(seed).cast("bigint"), F.coalesce("group_id", "product_id"), "region")
    return F.shiftrightunsigned(own, 11) / F.lit(float(1 << 53))


def drawn(designs: Iterable[Design]) -> Column:
    """Whether a golden record is in the sample of any of the designs."""
    return reduce(or_, (number(seed) < share for seed, share in _shares(designs)), F.lit(False))


def probability(designs: Iterable[Design]) -> Column:
    """The probability of that; 0 where no design covers the record's region."""
    return F.lit(1.0) - reduce(mul, (F.lit(1.0) - share for _, share in _shares(designs)), F.lit(1.0))


def of(reviews: DataFrame) -> list[Design]:
    """The designs that products of silver.reviews were drawn by."""
    rows = reviews.where("sample_seed IS NOT NULL")
    rows = rows.groupBy("sample_seed", "sample_regions").agg(F.max("inclusion_probability").alias("share"))
    return [Design(r.sample_seed, r.share, r.sample_regions) for r in rows.limit(LIMIT).collect()]


def _shares(designs: Iterable[Design]) -> Sequence[tuple[int, Column]]:
    """Seed -> the largest share of its designs, by the record's region."""
    by_seed: dict[int, list[Design]] = {}
    for design in sorted(designs, key=lambda one: (one.seed, one.regions, one.share)):
        by_seed.setdefault(design.seed, []).append(design)
    found = []
    for seed, mine in by_seed.items():
        shares = [F.lit(0.0)]
        for design in mine:
            covered = F.lit(True) if design.regions == ALL else F.col("region").isin(design.regions.split(","))
            shares.append(F.when(covered, F.lit(design.share)).otherwise(F.lit(0.0)))
        found.append((seed, F.greatest(*shares)))
    return found
