"""What a title and its attributes say of a product: figures, editions, colours, sizes, materials, quantities.

Plain Python on one title, in the languages of the feeds (words.py). Ingestion makes columns of it, deduplication evidence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache

from shelfmark import words

Attribute = tuple[str, str, str | None]
"""(name, value, unit) as in silver.products."""

_TOKEN = re.compile(r"""\d+(?:[.,/]\d+)+(?=\D|$)[^\W\d_]*|[^\W_]+(?:[-'./][^\W_]+)*|["″”%]""")
_QUANTITY = re.compile(r"""(\d+(?:[.,]\d+)*)([^\W\d_]*)$""")
DIGIT = re.compile(r"\d")
_TWO_DIGITS = re.compile(r"\d\d")
_RANGE = re.compile(r"\d+([-/.x]\d+)+[^\W\d_]+$")  # 20-30ml
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
    said = tokens(title)
    found = []
    for i, token in enumerate(said):
        if token.isalpha():
            if i and token in words.ROMAN:
                found.append(words.ROMAN[token])
            continue
        if not DIGIT.search(token):
            continue
        quantity = _QUANTITY.match(token)
        if quantity is None:
            # A code is written with and without its dashes (KD-55XE9005); a fraction or a range keeps them.
            found.append(re.sub(r"[-/.']", "", token) if any(c.isalpha() for c in token) else token)
            continue
        figure, suffix = quantity.groups()
        following = said[i + 1] if i + 1 < len(said) else ""
        if suffix:
            unit = words.ATTACHED.get(suffix)
            found.append(quantity_text(figure, unit) if unit else token)
        else:
            found.append(quantity_text(figure, words.SPACED.get(following)))
    return tuple(sorted(found))


@lru_cache(maxsize=65_536)
def editions(title: str) -> frozenset[str]:
    """The words of `words.EDITIONS` in the title."""
    return frozenset(words_of(title)) & words.EDITIONS


def colours(title: str, attributes: tuple[Attribute, ...] = ()) -> frozenset[str]:
    """Colours, by their English names: the colour attribute's where there is one, else the title's. May be empty."""
    said = [value for name, value, _ in attributes if name_of(name) in words.COLOUR_ATTRIBUTES and value]
    if said:
        known = frozenset().union(*(_colours(value, sure=False) for value in said))
        # A trade name ("sorbet", "ocean wave") is itself.
        return known or frozenset(value.lower().strip() for value in said)
    return _colours(title, sure=True)


@lru_cache(maxsize=65_536)
def _colours(text: str, sure: bool) -> frozenset[str]:
    said = words_of(text)
    found = set()
    for i, step, name in _found(said, words.COLOUR_OF):
        if not (sure and step == 1 and said[i] in words.UNSURE):
            before = said[i - 1] if i else ""
            after = said[i + step] if i + step < len(said) else ""
            shade = words.SHADES.get(before) or words.SHADES.get(after)
            found.add(f"{shade} {name}" if shade else name)
    return frozenset(found)


def _found(said: tuple[str, ...], names: dict[str, str]) -> Iterator[tuple[int, int, str]]:
    """Where a word, or two together, stand for something: (place, how many words, its name), two before one."""
    i = 0
    while i < len(said):
        two = " ".join(said[i : i + 2])
        step, name = (2, names[two]) if two in names else (1, names.get(said[i]))
        if name:
            yield i, step, name
        i += step


def sizes(title: str, attributes: tuple[Attribute, ...] = ()) -> frozenset[str]:
    """Clothing and shoe sizes (xs .. 5xl, 42, uk 8): the size attribute's, else the title's letters. May be empty."""
    said = [(value, unit) for name, value, unit in attributes if name_of(name) in words.SIZE_ATTRIBUTES and value]
    if said:
        return frozenset(_size(value, unit) for value, unit in said)
    return _title_sizes(title)


@lru_cache(maxsize=65_536)
def _title_sizes(title: str) -> frozenset[str]:
    lower = title.lower()
    found = {words.SIZES[word] for word in words_of(lower) if word in words.BARE_SIZES}
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


def model_code(title: str) -> str | None:
    """The longest word of letters and two digits or more in a row that is no quantity, in capitals: KD-55XE9005."""
    found = [one for one in tokens(title) if len(one) >= 5 and _TWO_DIGITS.search(one) and not _QUANTITY.match(one)]
    found = [one for one in found if any(c.isalpha() for c in one) and not _RANGE.match(one)]
    return max(found, key=len).upper() if found else None


@lru_cache(maxsize=65_536)
def materials(title: str, attributes: tuple[Attribute, ...] = ()) -> frozenset[str]:
    """Materials, by their English names: the material attribute's where there is one, else the title's. May be empty."""
    said = [value for name, value, _ in attributes if name_of(name) in words.MATERIAL_ATTRIBUTES and value]
    for text in said or [title]:
        if found := _materials(text):
            return found
    return frozenset(value.lower().strip() for value in said)


def _materials(text: str) -> frozenset[str]:
    return frozenset(name for _, _, name in _found(words_of(text), words.MATERIAL_OF))


def quantities(attributes: tuple[Attribute, ...]) -> dict[str, str]:
    """Attributes with a unit, as name -> value and unit: a weight, a capacity. Only equal names are compared."""
    return {name_of(name): quantity_text(value, words.UNITS.get(unit.lower(), (unit.lower(), "1"))) for name, value, unit in attributes
            if unit and value and _QUANTITY.match(value)}  # fmt: skip


@lru_cache(maxsize=65_536)
def tokens(text: str) -> tuple[str, ...]:
    text = text.lower()
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() and c > "9" else c for c in text)
    return tuple(_TOKEN.findall(_TIMES.sub(r"\1 x ", text)))


@lru_cache(maxsize=65_536)
def words_of(text: str) -> tuple[str, ...]:
    lower = text.lower()
    if lower.isascii():
        return tuple(re.findall(r"[a-z0-9]+", lower))
    # Marks belong to the word: the vowels of Brahmic scripts are marks, which \w leaves out.
    return tuple("".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in lower).split())


@lru_cache(maxsize=65_536)
def name_of(name: str) -> str:
    return name.lower().strip().replace(" ", "_")


def quantity_text(figure: str, unit: tuple[str, str] | None) -> str:
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
