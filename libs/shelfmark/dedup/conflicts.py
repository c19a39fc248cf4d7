"""Evidence that two look-alike products are not one: numbers, model, colour, size, unit, brand, wording, price.

On real offers similar titles are mostly variants (a fifth of the pairs with J >= 0.8 are one product), so similarity
only proposes. Everything here is plain Python on one title or two; words are in the languages of the feeds.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache

from shelfmark.dedup import words

Attribute = tuple[str, str, str | None]
"""(name, value, unit) as in silver.products."""

PRICE_RATIO = 5.0
"""Prices of one product in one market seldom differ by more than a factor of 2; by 5 it is a case against a single
piece, a spare part against the machine, or a price without its decimal point."""

_TOKEN = re.compile(r"""\d+(?:[.,/]\d+)+(?=\D|$)[^\W\d_]*|[^\W_]+(?:[-'./][^\W_]+)*|["″”%]""")
_QUANTITY = re.compile(r"""(\d+(?:[.,]\d+)*)([^\W\d_]*)$""")
_DIGIT = re.compile(r"\d")
_TIMES = re.compile(r"(\d)\s*[x×*]\s*(?=\d)")

_SIZE_WORD = re.compile(
    rf"(?:\b(?:{'|'.join(words.SIZE_NAMES)})\b[\s.:]*|[(,/\-–|]\s*)([a-z0-9]{{1,4}})\s*(?:[),/|]|$)"
)

# A letter that ends a title is a size, unless it is the unit of a figure: "cotton shirt red m", but "cable 5 m".
_LAST_LETTER = re.compile(r"[^\W\d_][^\w]*\s([sml])\W*$")


@lru_cache(maxsize=65_536)
def numbers(title: str) -> tuple[str, ...]:
    """The title's figures as a sorted multiset: quantities in base units, model codes, roman numerals from ii.

    "Galaxy S8 64 GB" and "galaxy s8 64gb" give ("64000mb", "s8"); 5,5 is 5.5, and 1,400 is 1400.
    """
    tokens = _tokens(title)
    found = []
    for i, token in enumerate(tokens):
        if token.isalpha():
            if i and token in words.ROMAN:
                found.append(words.ROMAN[token])
            continue
        if not _DIGIT.search(token):
            continue
        quantity = _QUANTITY.match(token)
        if quantity is None:
            # A code is written with and without its dashes (KD-55XE9005); a fraction or a range keeps them.
            found.append(re.sub(r"[-/.']", "", token) if any(c.isalpha() for c in token) else token)
            continue
        figure, suffix = quantity.groups()
        following = tokens[i + 1] if i + 1 < len(tokens) else ""
        if suffix:
            unit = words.ATTACHED.get(suffix)
            found.append(_quantity(figure, unit) if unit else token)
        else:
            found.append(_quantity(figure, words.SPACED.get(following)))
    return tuple(sorted(found))


@lru_cache(maxsize=65_536)
def editions(title: str) -> frozenset[str]:
    """The words of `words.EDITIONS` in the title."""
    return frozenset(_words(title)) & words.EDITIONS


def colours(title: str, attributes: tuple[Attribute, ...] = ()) -> frozenset[str]:
    """Colours, by their English names: the colour attribute's where there is one, else the title's. May be empty."""
    said = [value for name, value, _ in attributes if _name(name) in words.COLOUR_ATTRIBUTES and value]
    if said:
        known = frozenset().union(*(_colours(value, sure=False) for value in said))
        # A trade name ("sorbet", "ocean wave") is itself.
        return known or frozenset(value.lower().strip() for value in said)
    return _colours(title, sure=True)


@lru_cache(maxsize=65_536)
def _colours(text: str, sure: bool) -> frozenset[str]:
    said = _words(text)
    found = set()
    i = 0
    while i < len(said):
        two = " ".join(said[i : i + 2])
        step, name = (2, words.COLOUR_OF[two]) if two in words.COLOUR_OF else (1, words.COLOUR_OF.get(said[i]))
        if name and not (sure and step == 1 and said[i] in words.UNSURE):
            before = said[i - 1] if i else ""
            after = said[i + step] if i + step < len(said) else ""
            shade = words.SHADES.get(before) or words.SHADES.get(after)
            found.add(f"{shade} {name}" if shade else name)
        i += step
    return frozenset(found)


def sizes(title: str, attributes: tuple[Attribute, ...] = ()) -> frozenset[str]:
    """Clothing and shoe sizes (xs .. 5xl, 42, uk 8): the size attribute's, else the title's letters. May be empty."""
    said = [(value, unit) for name, value, unit in attributes if _name(name) in words.SIZE_ATTRIBUTES and value]
    if said:
        return frozenset(_size(value, unit) for value, unit in said)
    return _title_sizes(title)


@lru_cache(maxsize=65_536)
def _title_sizes(title: str) -> frozenset[str]:
    lower = title.lower()
    found = {words.SIZES[word] for word in _words(lower) if word in words.BARE_SIZES}
    found |= {words.SIZES[match[1]] for match in _SIZE_WORD.finditer(lower) if match[1] in words.SIZES}
    if last := _LAST_LETTER.search(lower):
        found.add(words.SIZES[last[1]])
    return frozenset(found)


def _size(value: str, unit: str | None) -> str:
    text = " ".join(f"{value} {unit or ''}".lower().split())
    if text in words.SIZES:
        return words.SIZES[text]
    figures = numbers(text)
    return " ".join(figures) if figures and len(text) < 16 else text


def quantities(attributes: tuple[Attribute, ...]) -> dict[str, str]:
    """Attributes with a unit, as name -> value and unit: a weight, a capacity. Only equal names are compared."""
    return {_name(name): _quantity(value, words.UNITS.get(unit.lower(), (unit.lower(), "1"))) for name, value, unit in attributes
            if unit and value and _QUANTITY.match(value)}  # fmt: skip


def stated(attributes: Iterable[Attribute]) -> dict[str, tuple[str, frozenset[str], str]]:
    """What a record says by attribute name: name -> (name as it has it, what is compared, values as it has them).

    Names are compared without case, colours by their English names, sizes and quantities in one spelling, other values
    without case. A name that stands several times, with a value each, is one statement.
    """
    said: dict[str, list[Attribute]] = {}
    for attribute in attributes:
        if attribute[1]:
            said.setdefault(_name(attribute[0]), []).append(attribute)
    return {
        name: (some[0][0], _compared(name, tuple(some)), ", ".join(" ".join(filter(None, one[1:])) for one in some))
        for name, some in said.items()
    }


@lru_cache(maxsize=65_536)
def _compared(name: str, said: tuple[Attribute, ...]) -> frozenset[str]:
    if name in words.COLOUR_ATTRIBUTES:
        return colours("", said)
    if name in words.SIZE_ATTRIBUTES:
        return sizes("", said)
    return frozenset(
        quantities((one,)).get(name) or " ".join(f"{one[1]} {one[2] or ''}".lower().split()) for one in said
    )


@lru_cache(maxsize=65_536)
def brand(name: str | None) -> str | None:
    """The brand without case, punctuation and legal form: "Bosch GmbH" is "bosch"."""
    said = [word for word in _words(name or "") if word not in words.LEGAL]
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
        for word in _words(title)
        if word not in words.FILLERS and word not in words.COLOUR_OF and word not in words.SHADES and word not in words.UNITS
        and (word.isalpha() or not _DIGIT.search(word))
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
    shared = set(_words(one)) & set(_words(other))
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


@lru_cache(maxsize=65_536)
def _tokens(text: str) -> tuple[str, ...]:
    text = text.lower()
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() and c > "9" else c for c in text)
    return tuple(_TOKEN.findall(_TIMES.sub(r"\1 x ", text)))


@lru_cache(maxsize=65_536)
def _words(text: str) -> tuple[str, ...]:
    lower = text.lower()
    if lower.isascii():
        return tuple(re.findall(r"[a-z0-9]+", lower))
    # Marks belong to the word: the vowels of Brahmic scripts are marks, which \w leaves out.
    return tuple("".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in lower).split())


@lru_cache(maxsize=65_536)
def _name(name: str) -> str:
    return name.lower().strip().replace(" ", "_")


def _quantity(figure: str, unit: tuple[str, str] | None) -> str:
    figure = figure.replace("/", ".")
    if "," in figure:
        head, _, tail = figure.rpartition(",")
        figure = head.replace(",", "").replace(".", "") + ("" if len(tail) == 3 else ".") + tail
    if figure.count(".") > 1:
        figure = figure.replace(".", "")
    try:
        value = Decimal(figure) * Decimal(unit[1] if unit else "1")
    except ArithmeticError:
        return figure
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text + (unit[0] if unit else "")
