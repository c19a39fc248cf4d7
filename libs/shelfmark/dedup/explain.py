"""Why two records are one product or are not: the rules of `survivors.resolve`, said in words, and how a group hangs together."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from shelfmark import traits
from shelfmark.dedup import bands, conflicts, decisions, kernel, survivors
from shelfmark.dedup.survivors import FACTS, Offer

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark.config import Dedupe

MEMBERS = 1000
"""Records of a group that are looked at."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Two titles: exact Jaccard similarity, the shingles they share and have in all, the bands they share and the
    probability of sharing one at that similarity."""

    similarity: float
    shared: int
    shingles: int
    shared_bands: int
    bands: int
    probability: float


def likeness(one: str | None, other: str | None, settings: Dedupe) -> Likeness:
    """What LSH and the exact comparison make of two titles."""
    texts = kernel.text_buffers(kernel.normalise(pa.array([one, other], pa.string())))
    words, wide = settings.unit == "words", bands.of(settings)
    hashes, bounds = kernel.shingle_sets(*texts, settings.shingle, words)
    left, right = (set(hashes[bounds[i] : bounds[i + 1]].tolist()) for i in range(2))
    signature = kernel.signatures(*texts, settings.shingle, *kernel.coefficients(settings.hashes, settings.seed), words)
    keys = kernel.band_keys(signature, wide)
    similarity = len(left & right) / len(left | right) if left | right else 0.0
    return Likeness(
        similarity,
        len(left & right),
        len(left | right),
        int((keys[0] == keys[1]).sum()) if left and right else 0,
        wide,
        bands.found(similarity, wide, settings.hashes // wide),
    )


def against(a: Offer, b: Offer, similarity: float, threshold: float) -> list[str]:
    """What keeps two records apart, by the rules of `survivors.resolve`; empty where they would be one group if they were alone."""
    if a.one and a.one == b.one:
        return []
    if b.one in a.apart:
        return ["a steward said that they are different"]
    variants, doubts = _variants(a, b), []
    if a.link and a.link == b.link:
        if not survivors.same_gtin(a, b):
            doubts.append("the GTIN is not believed: the titles share no word, or one seller states other attributes")
        if not variants and not doubts:
            return []
    reasons = []
    if not a.title or not b.title:
        reasons.append("a record has no title")
    for name, of in (("figures", traits.numbers), ("edition words", traits.editions)):
        if of(a.title) != of(b.title):
            reasons.append(f"{name} differ: {_said(of(a.title))} and {_said(of(b.title))}")
    if a.model and b.model and a.model != b.model:
        reasons.append(f"model numbers differ: {a.model} and {b.model}")
    reasons += variants
    if a.gtin and b.gtin and a.gtin != b.gtin:
        reasons.append(f"GTINs differ: {a.gtin} and {b.gtin}")
    if similarity < threshold:
        reasons.append(f"similarity {similarity:.3f} is below {threshold:g}")
    if a.market == b.market and conflicts.price_conflict(a.price, b.price):
        reasons.append(f"prices are more than {conflicts.PRICE_RATIO:g} times apart: {a.price:g} and {b.price:g}")
    if conflicts.substituted(a.title, b.title):
        reasons.append("a word stands against another in the titles")
    if a.seller == b.seller:
        if a.listing != b.listing:
            reasons.append("one seller lists both, with another price, description, model number or attribute")
        elif a.facts < FACTS:
            reasons.append(f"one seller lists both, and states less than {FACTS} facts beside title and price")
        elif a.variants is not None and a.variants == b.variants:
            reasons.append("one seller lists them as variants of one item group")
    return [*doubts, *reasons] if reasons else []


def _variants(a: Offer, b: Offer) -> list[str]:
    reasons = []
    for name, one, other in (
        ("brands", a.brand, b.brand),
        ("colours", a.colours, b.colours),
        ("sizes", a.sizes, b.sizes),
    ):
        if one and other and one != other:
            reasons.append(f"{name} differ: {_said(one)} and {_said(other)}")
    ours, theirs = traits.quantities(a.attributes), traits.quantities(b.attributes)
    for name in sorted(ours.keys() & theirs.keys()):
        if ours[name] != theirs[name]:
            reasons.append(f"{name} differs: {ours[name]} and {theirs[name]}")
    return reasons


def _said(value) -> str:
    return str(value) if isinstance(value, str) else ", ".join(sorted(value)) or "none"


def offers(products: DataFrame, ids: list[str], settings: Dedupe, said: survivors.Constraints) -> list[Offer]:
    """Those of `ids` that are in `products`, as `survivors.resolve` sees them, every stated GTIN taken for a link."""
    rows = survivors.offered(products.where(products.product_id.isin(ids[:MEMBERS])), settings).collect()
    if not rows:
        return []
    records = [row.asDict(recursive=True) | {"link": row.gtin} for row in rows]
    return list(survivors.offers_of(pa.Table.from_pylist(records), list(range(len(records))), said))


def path(members: list[Offer], one: str, other: str, settings: Dedupe) -> list[tuple[str, str]]:
    """The shortest way from record `one` to `other`: (what links it to the one before, product_id), the first link empty.

    Links are titles at `settings.similarity` or above, an equal GTIN, and a steward's word. Empty where there is none.
    """
    texts = kernel.normalise(pa.array([member.title for member in members], pa.string()))
    sets = kernel.shingle_sets(*kernel.text_buffers(texts), settings.shingle, settings.unit == "words")
    every = np.arange(len(members))
    place = {member.product_id: i for i, member in enumerate(members)}
    came: dict[int, tuple[int, str]] = {place[one]: (-1, "")}
    waiting = deque(came)
    while waiting and place[other] not in came:
        i = waiting.popleft()
        scores = kernel.jaccard(*sets, np.full(len(members), i), every)
        for j, score in enumerate(scores.tolist()):
            link = _link(members[i], members[j], score, settings.similarity)
            if link and j not in came:
                came[j] = (i, link)
                waiting.append(j)
    steps, at = [], place[other]
    while at in came and at >= 0:
        steps.append((came[at][1], members[at].product_id))
        at = came[at][0]
    return steps[::-1]


def _link(a: Offer, b: Offer, score: float, threshold: float) -> str:
    links = ["steward"] if a.one == b.one else []
    links += ["GTIN"] if a.gtin and a.gtin == b.gtin else []
    links += [f"titles {score:.3f}"] if score >= threshold else []
    return ", ".join(links)


def decided(held: list[decisions.Decision], products: set[str]) -> list[decisions.Decision]:
    """The decisions that hold and name two of `products`."""
    return [one for one in held if one.left in products and one.right in products]
