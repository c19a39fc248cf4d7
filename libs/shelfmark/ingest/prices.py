"""Prices as vendors write them: `₹1,23,999`, `1.234,56 €`, `$9.99through-$19.99`, `22.0 USD`."""

from __future__ import annotations

import re
import unicodedata
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from typing import NamedTuple

from babel import Locale, UnknownLocaleError
from babel.core import get_global
from babel.numbers import get_currency_symbol, get_territory_currencies, list_currencies

CURRENCIES = frozenset(list_currencies())
"""ISO 4217 codes that babel knows, withdrawn ones included: old feeds hold them."""

# Signs that mean one currency wherever they stand; the dollar's and the like are looked up by region.
_SIGNS = {
    "€": "EUR", "₹": "INR", "₽": "RUB", "₺": "TRY", "₩": "KRW", "₫": "VND", "₴": "UAH", "₪": "ILS", "₦": "NGN",
    "₱": "PHP", "฿": "THB", "৳": "BDT", "₸": "KZT", "₼": "AZN", "₾": "GEL", "₡": "CRC", "₲": "PYG", "₵": "GHS",
    "₭": "LAK", "៛": "KHR", "₮": "MNT", "zł": "PLN", "zl": "PLN", "Kč": "CZK", "Kc": "CZK", "Ft": "HUF", "лв": "BGN",
    "руб": "RUB", "S$": "SGD", "US$": "USD", "U$": "USD", "A$": "AUD", "AU$": "AUD", "C$": "CAD", "CA$": "CAD",
    "HK$": "HKD", "NT$": "TWD", "NZ$": "NZD", "MX$": "MXN", "R$": "BRL", "RM": "MYR", "Rp": "IDR", "Tk": "BDT",
    "円": "JPY", "元": "CNY", "원": "KRW", "د.إ": "AED", "AED": "AED", "﷼": "IRR",
}  # fmt: skip
# Signs of several currencies, with the one meant when region and mapping say nothing.
_SHARED = {"$": "USD", "£": "GBP", "¥": "JPY", "kr": "SEK", "Rs": "INR", "Rs.": "INR", "R": "ZAR", "Fr": "CHF"}
_SHARED_FOR = {
    "$": {"USD", "SGD", "AUD", "CAD", "HKD", "NZD", "TWD", "MXN", "ARS", "CLP", "COP", "UYU", "BND", "JMD", "TTD"},
    "£": {"GBP", "EGP", "LBP", "GIP", "FKP", "SHP", "SYP", "SSP"},
    "¥": {"JPY", "CNY"},
    "kr": {"SEK", "NOK", "DKK", "ISK"},
    "Rs": {"INR", "PKR", "LKR", "NPR", "MUR", "SCR"},
    "Rs.": {"INR", "PKR", "LKR", "NPR", "MUR", "SCR"},
    "R": {"ZAR"},
    "Fr": {"CHF"},
}
_WORDS = "|".join(sorted(map(re.escape, {*_SIGNS, *_SHARED}), key=len, reverse=True))
# A sign of letters must not be a part of a word: `Rp` in `Rp25.000`, not in `Rpm`.
_SIGN = re.compile(rf"(?<![A-Za-z])(?:{_WORDS})(?![A-Za-z])")
_CODE = re.compile(r"(?<![A-Za-z])[A-Z]{3}(?![A-Za-z])")

_PLAIN = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,3})?")
# Digits with separators inside; a blank separates only groups of three.
_NUMBER = re.compile(r"(?:\d|(?<![\d.,])[.,](?=\d))(?:[\d.,'’٬٫]|[ \u00a0\u202f](?=\d{3}(?!\d)))*")
_RANGE = re.compile(r"^[^\d]*?(?:-|–|—|−|~|〜|～|to|through|bis|a|à|au|hasta|up to|until|s/d|sampai)[^\d]*$", re.I)
_LIMIT = Decimal(10) ** 16  # decimal(18,2) holds sixteen digits before the point
_CENT = Decimal("0.01")


class Price(NamedTuple):
    """A price read from a text. `problem` is None, `price_unreadable` or `price_ambiguous` (then `low` is a guess)."""

    low: Decimal | None
    high: Decimal | None
    currency: str | None
    problem: str | None


UNREADABLE = Price(None, None, None, "price_unreadable")


@lru_cache(maxsize=65_536)
def parse_price(text: str, region: str | None = None, currency: str | None = None, decimal: str | None = None) -> Price:
    """Read `text` as an amount or a range of amounts.

    `currency` is what the feed states (a code), used where the text has no sign or a shared one such as `$`; `region`
    decides a shared sign otherwise. `decimal` is the decimal separator where the feed is known to use one.

    One separator with three digits after it is ambiguous. A comma then groups (`1,234`) unless `decimal` says
    otherwise. A point is decimal in a bare number, as computers write it; beside a currency sign or code it is read as
    people of `region` write it (`Rp 25.000` is 25000 in ID).
    """
    text = text.strip()
    if decimal != "," and _PLAIN.fullmatch(text):
        amount = _decimal(text)
        return Price(amount, None, currency, None) if amount is not None else UNREADABLE
    text = _plain_digits(text)
    said = _currency(text, region, currency)
    hint = decimal or (decimal_separator(region) if region and (said[1] or _CODE.search(text)) else None)
    matches = list(_NUMBER.finditer(text))
    if not matches:
        return UNREADABLE._replace(currency=said[0])
    amounts = []
    for position, match in enumerate(matches):
        amount = _number(match.group(), hint)
        if amount is None:
            return UNREADABLE._replace(currency=said[0])
        start = matches[position - 1].end() if position else 0
        before = text[start : match.start()]
        amounts.append(
            -amount if _is_minus(before, first=not position) or _in_brackets(before, text, match) else amount
        )
    if len(amounts) == 1:
        return Price(amounts[0], None, said[0], None)
    between = text[matches[0].end() : matches[1].start()]
    if len(amounts) == 2 and _RANGE.match(_SIGN.sub("", _CODE.sub("", between)) or " "):
        low, high = sorted(amounts)
        return Price(low, high if high != low else None, said[0], None)
    return Price(amounts[0], None, said[0], "price_ambiguous")


def _is_minus(before: str, first: bool) -> bool:
    """Whether a minus stands before a number, a sign or code between them allowed: `-$5`, `$-5`, `AED -5`.

    Between two numbers one dash makes a range (`10 - 20`), a second one a negative end (`-10 - -3`).
    """
    before = _SIGN.sub("", _CODE.sub("", before)).strip()
    if first:
        return before in ("-", "−", "–")
    return bool(re.search(r"(?:[-−–~]|to)\s*[-−]$", before))


def _in_brackets(before: str, text: str, match: re.Match[str]) -> bool:
    """An accountant's minus: `($5.00)` and nothing else."""
    return _SIGN.sub("", _CODE.sub("", before)).strip() == "(" and text[match.end() :].strip() == ")"


@lru_cache(maxsize=512)
def decimal_separator(locale: str) -> str | None:
    """`.` or `,` of a locale (`de_DE`) or of a region's likely language (`ID`); None where neither is known."""
    try:
        if re.fullmatch("[A-Z]{2}", locale):
            likely = get_global("likely_subtags")
            # CLDR leaves out what it can derive: `und` alone is American English.
            locale = likely.get(f"und_{locale}") or ("en_US" if locale == "US" else "")
        separator = Locale.parse(locale.replace("-", "_")).number_symbols["latn"]["decimal"]
    except (ValueError, KeyError, TypeError, UnknownLocaleError):
        return None
    return separator if separator in (".", ",") else None


def _currency(text: str, region: str | None, stated: str | None) -> tuple[str | None, bool]:
    """(currency of the price, whether the text shows a sign of it)."""
    for match in _CODE.finditer(text):
        if match.group() in CURRENCIES:
            return match.group(), True
    match = _SIGN.search(text)
    if match is None:
        return stated, False
    sign = match.group()
    if sign in _SIGNS:
        return _SIGNS[sign], True
    possible = _SHARED_FOR[sign]
    if stated is not None:
        return stated, True
    local = region_currency(region) if region else None
    return (local if local in possible else _SHARED[sign]), True


@lru_cache(maxsize=512)
def region_currency(region: str) -> str | None:
    """The currency in use in a region today, e.g. MY -> MYR; None for what is no territory."""
    try:
        in_use = get_territory_currencies(region)
    except (KeyError, UnknownLocaleError):
        return None
    return in_use[0] if in_use else None


@lru_cache(maxsize=1024)
def currency_code(text: str, region: str | None = None) -> str | None:
    """ISO 4217 code that a currency field means: a code in any case, or a sign such as `$`; None where unknown."""
    text = text.strip()
    if text.upper() in CURRENCIES:
        return text.upper()
    code, shown = _currency(text, region, None)
    if shown:
        return code
    return next((one for one in CURRENCIES if get_currency_symbol(one, "en") == text), None) if text else None


def number(text: str, decimal: str | None = None) -> Decimal | None:
    """One number with its separators, e.g. `1,23,999`, `1.234,56`, `1 234,56`, `1'234.50`, `١٢٣٫٥`; else None."""
    text = _plain_digits(text.strip())
    match = _NUMBER.fullmatch(text.lstrip("-−"))
    if match is None:
        return None
    amount = _number(match.group(), decimal)
    return -amount if amount is not None and text[:1] in "-−" else amount


def _plain_digits(text: str) -> str:
    """Digits of any script as ASCII; the Arabic separators as comma and point; full-width forms plain."""
    if text.isascii():
        return text
    text = text.translate({0x066B: ".", 0x066C: ",", 0x2212: "-", 0xFF0C: ",", 0xFF0E: ".", 0xFF04: "$", 0xFFE5: "¥"})
    return "".join(str(unicodedata.decimal(char)) if not char.isascii() and char.isdecimal() else char for char in text)


def _number(token: str, hint: str | None) -> Decimal | None:
    token = re.sub(r"['’ \u00a0\u202f]", "", token)
    trailing = token[-1:] in ".,"
    token = token.rstrip(".,")
    commas, points = token.count(","), token.count(".")
    if commas and points:
        # The last one is the decimal separator, unless it repeats: `1,234.567.890` is nothing people write.
        last = max(token.rfind(","), token.rfind("."))
        separator = token[last]
        if token.count(separator) > 1:
            return None
        group = "," if separator == "." else "."
        return _decimal(token.replace(group, "").replace(separator, "."))
    separator = "," if commas else "."
    if commas + points == 0:
        return _decimal(token)
    if commas + points > 1:
        parts = token.split(separator)
        # Groups of three, or of two before the last three as in India. The first may be any length up to three.
        grouped = len(parts[-1]) == 3 and all(len(part) in (2, 3) for part in parts[1:]) and 1 <= len(parts[0]) <= 3
        return _decimal("".join(parts)) if grouped else None
    whole, fraction = token.split(separator)
    ambiguous = len(fraction) == 3 and 1 <= len(whole) <= 3 and not whole.startswith("0") and not trailing
    groups = separator != hint if hint else separator == ","
    if ambiguous and groups:
        return _decimal(whole + fraction)
    return _decimal(f"{whole or 0}.{fraction}")


def _decimal(text: str) -> Decimal | None:
    try:
        amount = Decimal(text)
        return amount.quantize(_CENT, ROUND_HALF_UP) if abs(amount) < _LIMIT else None
    except InvalidOperation:
        return None
