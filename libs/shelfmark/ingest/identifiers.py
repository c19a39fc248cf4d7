"""Brands, model numbers and GTINs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from stdnum import ean, isbn

from shelfmark.ingest.text import clean

_MARKS = str.maketrans("", "", "®™©℠")
# Amazon's `Visit the LG Store`, and `Brand: LG`.
_STORE = re.compile(r"^visit the (.+?) store$", re.I)
_LABEL = re.compile(r"^(?:brand|marca|marque|marke|merek|jenama)\s*[:：]\s*", re.I)
_NO_BRAND = frozenset(
    {
        "no brand", "nobrand", "no-brand", "unbranded", "generic", "unknown", "not specified", "does not apply", "none",
        "n/a", "na", "null", "nan", "other", "others", "tidak ada merek", "tanpa merek", "tiada jenama", "sin marca",
        "sans marque", "ohne marke", "-", "--", ".",
    }
)  # fmt: skip
_NO_MODEL = frozenset(
    {
        "N/A", "NA", "NONE", "NULL", "NAN", "-", "--", ".", "UNKNOWN", "OTHER", "OTHERS", "DOESNOTAPPLY",
        "NOTAPPLICABLE", "TIDAKADA",
    }
)  # fmt: skip

# GS1 numbers that a shop gives out itself: equal ones in two feeds are different goods. GS1 General Specifications,
# "GS1 Prefix" table: 02, 04 and 2 are for restricted circulation (as EAN-13 written 02x, 04x, 2xx).
_RESTRICTED = re.compile("0[24]|2")
_GTIN_LENGTHS = (8, 12, 13, 14)


@lru_cache(maxsize=65_536)
def clean_brand(text: str) -> str | None:
    """The bare brand: without ®, ™, `Visit the … Store`, `Brand:`; None for `No Brand`, `Generic` and the like."""
    text = clean(text.translate(_MARKS)) or ""
    store = _STORE.match(text)
    if store:
        text = store.group(1)
    text = _LABEL.sub("", text).strip(" ,;:")
    return None if text.casefold() in _NO_BRAND else text or None


@lru_cache(maxsize=65_536)
def brand_key(brand: str) -> str:
    """What spellings of one brand share: letters and digits, case and accents aside. `L'Oréal`, `LOREAL` -> `loreal`."""
    plain = unicodedata.normalize("NFKD", brand.casefold())
    return "".join(char for char in plain if char.isalnum()) or brand.casefold()


def usual_spelling(counts: Mapping[str, int]) -> dict[str, str]:
    """Brand -> the most usual spelling of the same brand, from how often each spelling occurs.

    Ties go to the spelling that is not all in capitals or all in small letters, then to the first in code point order,
    so that the answer does not depend on the order of counting.
    """
    best: dict[str, tuple[tuple[int, bool, str], str]] = {}
    for brand, count in counts.items():
        rank = (-count, brand.isupper() or brand.islower(), brand)
        key = brand_key(brand)
        if key not in best or rank < best[key][0]:
            best[key] = (rank, brand)
    return {brand: best[brand_key(brand)][1] for brand in counts}


@lru_cache(maxsize=16_384)
def model_number(text: str) -> str | None:
    """A model or part number in capitals without spaces; None for placeholders and for texts over 64 characters."""
    text = "".join((clean(text) or "").upper().split()).strip(",;:")
    return None if text in _NO_MODEL or len(text) > 64 else text or None


def gtin(text: str) -> tuple[str | None, str | None]:
    """(14-digit GTIN or None, problem or None) of a GTIN-8, -12 (UPC), -13 (EAN), -14 or ISBN-10.

    Problems: `gtin_length`, `gtin_check_digit`, `gtin_restricted` (a number for use inside one shop).
    """
    digits = text.replace("-", "").replace(" ", "").strip()
    if digits.endswith(".0"):  # a number that went through a spreadsheet
        digits = digits[:-2]
    if not (digits.isascii() and digits.isdigit()):
        if len(digits) == 10 and digits[:9].isdigit() and digits[9] in "xX":
            return _from_isbn(digits.upper())
        cleaned = clean(text)
        if cleaned is None or cleaned.casefold() in _NO_BRAND:
            return None, None
        if cleaned != text:
            return gtin(cleaned)
        return None, "gtin_length"
    if not digits.strip("0"):
        return None, "gtin_length"
    if len(digits) == 10:
        return _from_isbn(digits)
    if len(digits) == 11:  # a UPC whose leading zero a spreadsheet took
        digits = "0" + digits
    if len(digits) not in _GTIN_LENGTHS:
        return None, "gtin_length"
    if ean.calc_check_digit(digits[:-1]) != digits[-1]:
        return None, "gtin_check_digit"
    padded = digits.zfill(14)
    # A GTIN-8 has prefixes of its own; of the others it is that of the 13 digits, after a GTIN-14's packing level.
    if len(digits) != 8 and _RESTRICTED.match(padded, 1):
        return None, "gtin_restricted"
    return padded, None


def _from_isbn(digits: str) -> tuple[str | None, str | None]:
    if not isbn.is_valid(digits):
        return None, "gtin_check_digit"
    return isbn.to_isbn13(digits).zfill(14), None
