"""Category paths in any separator, as levels joined by ` > `."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from shelfmark.ingest.text import clean

SEPARATOR = " > "
# Strongest first: only one of them separates in a path, so `Bags | Cases > Covers` splits at `>` alone. A bare slash
# is a part of many names (`Bags/Luggage`); it separates between blanks, or where the path begins with it.
_AUTO = (r"\s*>+\s*", r"\s*[»›→]\s*", r"\s*::+\s*", r"\s*\|+\s*", r"\s+/\s+")
_SLASH = r"\s*/\s*"
_EDGES = " \t>»›→|/\\:;,.-–_"


def join_levels(levels: Iterable[str | None], drop: Iterable[str] = ()) -> str | None:
    """Levels, root first, as `A > B`; None where none has a letter or a digit.

    Levels are cleaned as titles are; empty ones and those of separators alone are left out; names in `drop` are left
    out at the top.
    """
    dropped = {name.casefold() for name in drop}
    path: list[str] = []
    for level in levels:
        name = clean(level)
        # A level of its own that holds our separator would be read as two.
        name = name and " / ".join(part.strip() for part in name.split(">") if part.strip()).strip(_EDGES)
        if not name or not any(char.isalnum() for char in name):
            continue
        if not path and name.casefold() in dropped:
            continue
        path.append(name)
    return SEPARATOR.join(path) or None


@lru_cache(maxsize=16_384)
def split_path(text: str, separator: str = "auto", drop: tuple[str, ...] = ()) -> str | None:
    """One path in the vendor's own separator as `A > B`; None where it holds nothing but separators.

    `auto` finds the separator: `>`, `»`, `›`, `→`, `::`, `|`, ` / `, or `/` in a path that begins with it.
    """
    if separator.isspace():  # tabs or line ends, which cleaning would turn into blanks
        return join_levels(text.split(separator), drop)
    text = clean(text) or ""
    if separator != "auto":
        # ` / ` with its blanks is not `/`: names such as `Bags/Luggage` stay whole.
        return join_levels(f" {text} ".split(separator), drop)
    pattern = next((one for one in _AUTO if re.search(one, text)), _SLASH if text.startswith("/") else None)
    return join_levels(re.split(pattern, text) if pattern else [text], drop)
