"""Quantities with units, in base units: `6 x 330 ml`, `1.5 kg`, `32"`, `12 fl oz, 15-count`, `Pack of 3`."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from shelfmark.ingest.prices import number

# Base unit <- unit: factor. Factors are exact by definition (international avoirdupois pound 1959, inch 25.4 mm, US
# customary gallon 231 cubic inches); the US fluid ounce, gallon, quart and pint are meant, as in most feeds that use
# them. Storage counts in thousands, as drives are sold. Ambiguous units are left out: `ton` of an air conditioner is
# power, `m` in capitals a size, `G` a mobile network.
_UNITS: dict[str, dict[str, str]] = {
    "g": {
        "1": "g|gm|gms|gr|grs|gram|grams|gramm|gramme|grammes|gramo|gramos|grammi|г|гр|গ্রাম",
        "0.001": "mg|milligram|milligrams|мг",
        "0.000001": "mcg|µg|μg|ug|microgram|micrograms",
        "1000": "kg|kgs|kilo|kilos|kilogram|kilograms|kilogramm|kilogramo|kilogramos|кг|কেজি",
        "28.349523125": "oz|ounce|ounces|onza|onzas|once|onces",
        "453.59237": "lb|lbs|pound|pounds|libra|libras",
    },
    "ml": {
        "1": "ml|mls|mililitro|mililitros|millilitre|millilitres|milliliter|milliliters|cc|мл|মিলি",
        "10": "cl",
        "100": "dl",
        "1000": "l|lt|ltr|ltrs|litre|litres|liter|liters|litro|litros|л|লিটার",
        "29.5735295625": "fl oz|fl. oz|fl.oz|floz|fluid ounce|fluid ounces",
        "3785.411784": "gal|gallon|gallons|galon|galones",
        "946.352946": "qt|qts|quart|quarts",
        "473.176473": "pt|pint|pints",
    },
    "mm": {
        "1": "mm|millimeter|millimeters|millimetre|millimetres|мм",
        "10": "cm|cms|centimeter|centimeters|centimetre|centimetres|centimetro|centimetros|см",
        "1000": "m|mtr|mtrs|meter|meters|metre|metres|metro|metros",
        "25.4": "inch|inches|inci|inc|pulgada|pulgadas|pouces|zoll|\"|''|′′|″|”",
        "304.8": "ft|feet|foot|pies",
        "914.4": "yd|yds|yard|yards",
    },
    "W": {"1": "w|watt|watts|wat|vatios", "1000": "kw|kilowatt|kilowatts"},
    "V": {"1": "v|volt|volts|voltios", "1000": "kv"},
    "mAh": {"1": "mah", "1000": "ah"},
    "Wh": {"1": "wh", "1000": "kwh"},
    "Hz": {"1": "hz", "1000": "khz", "1000000": "mhz", "1000000000": "ghz"},
    "GB": {"1": "gb|gigabyte|gigabytes", "0.001": "mb", "1000": "tb|terabyte|terabytes"},
    "MP": {"1": "mp|megapixel|megapixels"},
    "lm": {"1": "lm|lumen|lumens"},
    "pcs": {
        "1": "pcs|pc|pce|pces|piece|pieces|count|ct|cts|pieza|piezas|unidades|uds|stück|stk|pièces|szt|шт|tablets|"
        "capsules|servings|sheets|rolls|wipes|bags|sachets|buah|biji|keping"
    },
}
_FACTORS = {
    unit: (Decimal(factor), base)
    for base, factors in _UNITS.items()
    for factor, names in factors.items()
    for unit in names.split("|")
}
DIMENSIONS = {
    "g": "weight", "ml": "volume", "mm": "length", "W": "power", "V": "voltage", "mAh": "charge", "Wh": "energy",
    "Hz": "frequency", "GB": "storage", "MP": "resolution", "lm": "luminous flux", "pcs": "count",
}  # fmt: skip
"""Base unit -> what it measures; names the attributes read from titles (`title weight`)."""

_UNIT = "|".join(sorted((re.escape(unit).replace(r"\ ", r"\s?") for unit in _FACTORS), key=len, reverse=True))
# One separator only: `1,000` and `1.5`, never a list `1, 2, 3`. A fraction is `1/2` or, after NFKC, `1⁄2`.
_AMOUNT = r"(?:(?:\d{1,3}\s)?\d{1,2}[/⁄]\d{1,2}|\d{1,7}(?:[.,]\d{1,6})*)"
_QUANTITY = re.compile(
    rf"(?<![\w.,/⁄-])(?:(?P<times>\d{{1,4}})\s?[x×*]\s?)?(?P<amount>{_AMOUNT})\s?-?\s?(?P<unit>{_UNIT})(?![^\W_])"
    rf"(?:\s?[x×*]\s?(?P<after>\d{{1,4}})(?![\w.,])(?!\s?(?:{_UNIT})(?![^\W_])))?",
    re.I,
)
# `Pack of 6`, `6-pack`, `6 Pack`, `Set of 4`, `x24` at the end: how many of what was said before.
_PACK = re.compile(
    r"\b(?:pack|packs|set|box|case|bundle|caja|paquete|lot)\s+(?:of|de)\s+(?P<of>\d{1,4})\b"
    r"|(?<![\w.,])(?P<n>\d{1,4})\s?-?\s?(?:pack|packs|pk|pks|er-pack|er\spack)\b|(?<!\d)(?<!\d\s)\bx\s?(?P<x>\d{1,3})$",
    re.I,
)


_DIGIT = re.compile("[0-9]")
_SIDES = re.compile(rf"(?<![\w.,])((?:{_AMOUNT}\s?[x×*]\s?){{1,2}})$", re.I)
# Pieces that are packs of what is said before, as American shops write: `12 fl oz, 15-count`.
_COUNTS = ("count", "ct", "cts")


class Quantity(NamedTuple):
    """`count` packs of `amount` `unit` (a base unit); `total` is their product."""

    count: int
    amount: Decimal
    unit: str
    total: Decimal


def quantities(text: str) -> list[Quantity]:
    """All quantities of a cleaned text in base units, in their order; counts (`pcs`) last.

    A number of packs beside one weight or volume multiplies it: `6 x 330 ml`, `330 ml (Pack of 6)`, `12 fl oz,
    15-count` are one quantity with count and total. Pieces do not: `500 g, 20 pcs` weighs 500 g. Of `60 x 80 cm` both
    lengths come. Packs without an amount come as `pcs`.
    """
    if not _DIGIT.search(text):
        return []
    found: list[Quantity] = []
    pieces: list[Quantity] = []
    packs: list[int] = []
    ends = [0]
    for match in _QUANTITY.finditer(text):
        one = _quantity(text, match)
        if one is None:
            continue
        ends.append(match.end())
        if one.unit == "pcs":
            if match["unit"].lower() in _COUNTS:
                packs.append(int(one.total))
            else:
                pieces.append(one)
            continue
        if one.unit == "mm" and (sides := _SIDES.search(text, ends[-2], match.start("amount"))):
            factor = _FACTORS[_unit(match["unit"])][0]
            lengths = (_amount(side) for side in re.split(r"\s?[x×*]\s?", sides[1].rstrip(" x×*X")))
            found += [Quantity(1, side * factor, "mm", side * factor) for side in lengths if side is not None]
        found.append(one)
    # What a quantity has taken, as `x 6` in `330 ml x 6`, is not a pack of its own.
    packs += [int(m["of"] or m["n"] or m["x"]) for m in _PACK.finditer(text) if m.end() not in ends]
    amounts = [one for one in found if one.unit in ("g", "ml")]
    # Exactly one weight or volume and one way to count it: then they belong together. More is not decided here.
    if len(amounts) == 1 and amounts[0].count == 1 and len(packs) == 1 and packs[0] > 1:
        one = amounts[0]
        found[found.index(one)] = Quantity(packs[0], one.amount, one.unit, one.amount * packs[0])
        packs = []
    return found + pieces + [Quantity(1, Decimal(pack), "pcs", Decimal(pack)) for pack in packs if pack > 0]


@lru_cache(maxsize=65_536)
def quantity(text: str) -> Quantity | None:
    """The quantity that is the whole of an attribute's value (`15.6 Inci`, `500ml`); None where there is more to it."""
    text = text.strip()
    match = _QUANTITY.fullmatch(text)
    one = _quantity(text, match) if match else None
    return None if one is None or (one.unit == "mm" and match["times"]) else one


def plain(amount: Decimal) -> str:
    """A decimal as plain digits, at most six places: `330`, `0.5`, `396.24`."""
    text = f"{amount:.6f}"
    return text.rstrip("0").rstrip(".")


def _quantity(text: str, match: re.Match[str]) -> Quantity | None:
    written = match["unit"]
    unit = _unit(written)
    factor, base = _FACTORS[unit]
    glued = match.end("amount") == match.start("unit")
    if written == "G" and glued and len(match["amount"]) == 1:
        return None  # 5G: a network, not five grams
    if written in ("M", "A") or (written == "L" and glued and match["amount"] in ("2", "3", "4", "5", "6")):
        return None  # sizes: 2L, M
    if unit in ('"', "”", "''") and _opens_before(text, match.start(), written):
        return None  # the end of a quoted name: "Top 10"
    amount = _amount(match["amount"])
    if amount is None:
        return None
    # `60 x 80 cm` are two sides, not sixty lengths.
    count = 1 if base == "mm" else int(match["times"] or match["after"] or 1)
    if count < 1:
        return None
    amount = amount * factor
    return Quantity(count, amount, base, amount * count)


def _unit(written: str) -> str:
    unit = " ".join(written.lower().split())
    return unit if unit in _FACTORS else unit.replace(" ", "")


def _amount(text: str) -> Decimal | None:
    fraction = re.fullmatch(r"(?:(\d+)\s)?(\d+)[/⁄](\d+)", text)
    if fraction:
        whole, top, bottom = fraction.groups()
        return Decimal(whole or 0) + Decimal(top) / Decimal(bottom) if int(bottom) else None
    if text.isdigit():
        return Decimal(text)
    return _grouped(text)


def _grouped(text: str) -> Decimal | None:
    # Three digits after a comma are a group (`1,000 ml`), any other number of them decimals (`1,5 l`).
    if re.fullmatch(r"\d+\.\d+", text):
        return Decimal(text)
    if re.fullmatch(r"\d+,\d{1,2}", text):
        return Decimal(text.replace(",", "."))
    return number(text)


def _opens_before(text: str, position: int, mark: str) -> bool:
    """Whether a quotation mark before `position` is still open: one that does not follow a digit opens or closes."""
    opener = "“" if mark == "”" else mark
    marks = [at for at in range(position) if text.startswith(opener, at)]
    return sum(1 for at in marks if at == 0 or not text[at - 1].isdigit()) % 2 == 1
