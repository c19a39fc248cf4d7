"""How a signature is cut into bands: the S-curve of LSH, and the cut that finds enough with the fewest candidates.

Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shelfmark.errors import UsageError

if TYPE_CHECKING:
    from shelfmark.config import Dedupe


def found(similarity: float, bands: int, rows: int) -> float:
    """Probability that two texts of Jaccard `similarity` agree in all `rows` hashes of at least one of `bands` bands."""
    return 1 - (1 - similarity**rows) ** bands


def best(hashes: int, similarity: float, recall: float) -> int:
    """How many bands to cut `hashes` into: the fewest that find a pair at `similarity` with probability `recall`.

    Fewer bands have more rows, and the more rows, the steeper `found` and the fewer pairs below `similarity` are
    compared in vain. Pairs are confirmed by their exact similarity, so a needless candidate costs time and a missed
    one costs a pair: recall is what is asked for, not a balance of the two. All hashes are used, so only divisors are
    tried. Raises `UsageError` where even bands of one row find less.
    """
    for rows in range(hashes, 0, -1):
        if hashes % rows == 0 and found(similarity, hashes // rows, rows) >= recall:
            return hashes // rows
    raise UsageError(
        f"{hashes} hashes find a pair at similarity {similarity:g} with a probability below {recall:g} however they are "
        "cut; raise dedupe.hashes or dedupe.similarity, or lower dedupe.recall"
    )


MOST = 255
"""Bands at the most: the keys of a title are counted in a byte (`kernel.band_blobs`)."""


def of(settings: Dedupe) -> int:
    """The bands that `settings` ask for, or the best for its target; `UsageError` past `MOST`."""
    bands = settings.bands or best(settings.hashes, settings.similarity, settings.recall)
    if bands > MOST:
        raise UsageError(
            f"{bands} bands are more than {MOST}; lower dedupe.hashes or dedupe.bands, or raise dedupe.similarity"
        )
    return bands
