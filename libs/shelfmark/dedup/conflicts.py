"""Evidence that two look-alike products are not one: numbers, model, colour, size, unit, brand, wording, price.

On real offers similar titles are mostly variants (a fifth of the pairs with J >= 0.8 are one product), so similarity
only proposes. Everything here is plain Python on one title or two; words are in the languages of the feeds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from shelfmark import traits, words

PRICE_RATIO = 5.0
"""Prices of one product in one market seldom differ by more than a factor of 2; by 5 it is a case against a single
piece, a spare part against the machine, or a price without its decimal point."""


def stated(attributes: Iterable[traits.Attribute]) -> dict[str, tuple[str, frozenset[str], str]]:
    """What a record says by attribute name: name -> (name as it has it, what is compared, values as it has them).

    Names are compared without case, colours by their English names, sizes and quantities in one spelling, other values
    without case. A name that stands several times, with a value each, is one statement.
    """
    said: dict[str, list[traits.Attribute]] = {}
    for attribute in attributes:
        if attribute[1]:
            said.setdefault(traits.name_of(attribute[0]), []).append(attribute)
    return {
        name: (some[0][0], _compared(name, tuple(some)), ", ".join(" ".join(filter(None, one[1:])) for one in some))
        for name, some in said.items()
    }


@lru_cache(maxsize=65_536)
def _compared(name: str, said: tuple[traits.Attribute, ...]) -> frozenset[str]:
    if name in words.COLOUR_ATTRIBUTES:
        return traits.colours("", said)
    if name in words.SIZE_ATTRIBUTES:
        return traits.sizes("", said)
    return frozenset(
        traits.quantities((one,)).get(name) or " ".join(f"{one[1]} {one[2] or ''}".lower().split()) for one in said
    )


@lru_cache(maxsize=65_536)
def brand(name: str | None) -> str | None:
    """The brand without case, punctuation and legal form: "Bosch GmbH" is "bosch"."""
    said = [word for word in traits.words_of(name or "") if word not in words.LEGAL]
    return "".join(said) or None


def model(number: str | None) -> str | None:
    """The model number without punctuation and case."""
    return "".join(c for c in (number or "").lower() if c.isalnum()) or None


def price_conflict(one: float | None, other: float | None) -> bool:
    """Whether two prices of one market and currency are too far apart for one product; unknown prices never are."""
    return bool(one and other) and max(one, other) > PRICE_RATIO * min(one, other)


@lru_cache(maxsize=65_536)
def wording(title: str) -> tuple[str, ...]:
    """The words that are neither figures, units, colours nor fillers: those are compared elsewhere or say nothing."""
    return tuple(
        word
        for word in traits.words_of(title)
        if word not in words.FILLERS and word not in words.COLOUR_OF and word not in words.SHADES and word not in words.UNITS
        and (word.isalpha() or not traits.DIGIT.search(word))
    )  # fmt: skip


def substituted(one: str, other: str) -> bool:
    """Whether each title says something where the other says something else: "left hinge" against "right hinge".

    Words that only one title has are no conflict, nor is another spelling: one letter more, less or changed in a
    word of five or more, a shortened word, or words joined.
    """
    a, b = Counter(wording(one)), Counter(wording(other))
    left, right = list((a - b).elements()), list((b - a).elements())
    if not left or not right or "".join(left) == "".join(right):
        return False
    few, many = sorted((left, right), key=len)
    return not all(any(_spelling(word, rival) for rival in many) for word in few)


def unlike(one: str, other: str) -> bool:
    """Whether two titles share no word of three or more letters and no figure: then even a GTIN is not believed."""
    shared = set(traits.words_of(one)) & set(traits.words_of(other))
    return not any(len(word) > 2 or word.isdigit() for word in shared)


def _spelling(a: str, b: str) -> bool:
    if a == b:
        return True
    short, long = sorted((a, b), key=len)
    if len(short) >= 4 and long.startswith(short):
        return True
    if len(short) < 5 or len(long) - len(short) > 1:
        return False
    at = next((i for i, (x, y) in enumerate(zip(short, long)) if x != y), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :]
    return short[at + 1 :] == long[at + 1 :] or (
        short[at : at + 2] == long[at : at + 2][::-1] and short[at + 2 :] == long[at + 2 :]
    )
