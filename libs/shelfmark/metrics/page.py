"""Pieces of a page of figures: sections, pictures with captions, tables. Every text is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import urlsplit

from markupsafe import Markup

MAX_BARS = 15
"""Rows of a bar chart: what fits a laptop's screen. Tables below hold the rest."""


def section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def figure(picture: str, caption: str) -> str:
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def details(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = (), dense: bool = False) -> str:
    """An HTML table; `numbers` are right-aligned columns, `dense` fits a dozen columns on a page."""
    right = set(numbers)
    tight = {"th": ' style="padding:.45rem .5rem;white-space:normal"', "td": ' style="padding:.45rem .5rem"'}

    def cell(tag: str, at: int, text) -> str:
        inner = text if isinstance(text, Markup) else escape(text or "")
        kind = ' class="num"' if at in right else ""
        return f"<{tag}{kind}{tight[tag] if dense else ''}>{inner}</{tag}>"

    top = "".join(cell("th", at, name) for at, name in enumerate(head))
    body = "".join(f"<tr>{''.join(cell('td', at, text) for at, text in enumerate(row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def long_table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    """The first rows open, the others behind a click."""
    first, rest = rows[:MAX_BARS], rows[MAX_BARS:]
    return table(head, first, numbers) + (details(f"{len(rest)} more", table(head, rest, numbers)) if rest else "")


def link(text: str, address: str) -> str:
    """A link; an address of any other scheme than these is shown as text only."""
    if urlsplit(address).scheme in ("", "http", "https", "file"):
        return f'<a href="{escape(address)}">{escape(text)}</a>'
    return f"{escape(text)} {escape(address)}"


def count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
