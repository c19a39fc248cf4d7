"""Cleaning of product texts."""

from __future__ import annotations

import html
import re
import unicodedata

import ftfy
from ftfy.badness import is_bad

# Only names of real HTML elements: `<10 cm>` and `<New>` in a title are words, not tags.
_ELEMENTS = (
    "a|abbr|address|article|aside|b|big|blockquote|body|br|button|caption|center|cite|code|col|colgroup|dd|del|details|"
    "div|dl|dt|em|embed|figcaption|figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|label|li|"
    "link|main|meta|nav|noscript|object|ol|option|p|param|picture|pre|s|section|select|small|source|span|strike|strong|"
    "sub|summary|sup|svg|table|tbody|td|textarea|tfoot|th|thead|tr|u|ul|video"
)
_TAG = re.compile(rf"</?(?:{_ELEMENTS})(?:\s[^<>]*)?/?>|<!--.*?-->|<!\[CDATA\[|\]\]>|<!doctype[^>]*>", re.I | re.S)
_UNSEEN_BLOCK = re.compile(r"<(script|style)\b.*?</\1\s*>", re.I | re.S)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# One character of UTF-8 read in another encoding makes two or more beyond ASCII, or one before what was a no-break
# space: this cheap look spares most accented texts the long one of ftfy.
_MAYBE_MOJIBAKE = re.compile("[^\x00-\x7f]{2}|[\xc2\xc3]")
# Control characters, bidirectional marks, zero-width space, byte order mark, soft hyphen, halves of surrogate pairs:
# nothing a reader sees. The zero-width joiners U+200C and U+200D stay: Indic and Persian words are spelled with them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def clean(text: str | None) -> str | None:
    """`text` as a person would write it, or None where nothing is left.

    Mojibake is repaired (`cafÃ©` -> `café`), entities decoded (also doubly encoded ones), HTML tags and invisible
    characters dropped, compatibility forms unified (Unicode NFKC), white space collapsed to single spaces.
    """
    if not text:
        return None
    if text.isascii():
        # Most texts of a feed are plain: isprintable() is false for line breaks, tabs and control characters.
        if "&" not in text and "<" not in text:
            if text.isprintable():
                return (" ".join(text.split()) if "  " in text or text[0] == " " or text[-1] == " " else text) or None
            return " ".join(_UNSEEN.sub("", text).split()) or None
    elif _MAYBE_MOJIBAKE.search(text) and is_bad(text):
        text = ftfy.fix_encoding(text)
    if "&" in text or "<" in text:
        text = decode_html(text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(_UNSEEN.sub("", text).split()) or None


def decode_html(text: str) -> str:
    """Entities decoded and tags replaced by a space. Twice at the most: `&amp;lt;b&amp;gt;` is met in real feeds."""
    for _ in range(2):
        if "<" in text:
            text = _TAG.sub(" ", _UNSEEN_BLOCK.sub(" ", text))
        if "&" not in text or not _ENTITY.search(text):
            break
        text = _ENTITY.sub(lambda match: html.unescape(match.group()), text)
    return _TAG.sub(" ", text) if "<" in text else text
