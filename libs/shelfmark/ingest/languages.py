"""Language of a title: by its script where that decides, else by py3langid among plausible languages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from babel import Locale

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

DEFAULT_LANGUAGES = (
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko", "ms", "nl",
    "no", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh",
)  # fmt: skip
"""Languages `detect` chooses among where the mapping names none: those of large retail markets. Fewer are surer."""

# Scripts that one of our languages writes alone. Kana come before Han: Japanese mixes both.
_SCRIPTS = (
    (re.compile("[\u3040-\u30ff]"), ("ja",)),
    (re.compile("[\uac00-\ud7a3]"), ("ko",)),
    (re.compile("[\u0e00-\u0e7f]"), ("th",)),
    (re.compile("[\u0980-\u09ff]"), ("bn",)),
    (re.compile("[\u0900-\u097f]"), ("hi", "mr", "ne")),
    (re.compile("[\u0370-\u03ff\u1f00-\u1fff]"), ("el",)),
    (re.compile("[\u0590-\u05ff]"), ("he",)),
    (re.compile("[\u4e00-\u9fff]"), ("zh", "ja")),
)
_LETTERS = re.compile(r"[^\W\d_]+")
# A share of letters over which a script decides; product titles mix in Latin brands and sizes.
_SHARE = 0.3
# Fewer letters than this say nothing: `Nike 42`.
_FEWEST_LETTERS = 8
# Of English food names taken for another language, nearly all had a confidence below this; of foreign ones few.
_SURE = 0.8


@cache
def _identifier(languages: tuple[str, ...]) -> LanguageIdentifier:
    # Half a second and 30 MB, only for those who detect.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(languages)
    return identifier


LANGUAGES = frozenset(code for code in Locale("en").languages if len(code) == 2)
"""ISO 639-1 codes that a mapping or a record may state."""


def undetectable(languages: Sequence[str]) -> set[str]:
    """Those of `languages` that the detector does not know."""
    unknown = set(languages) - set(DEFAULT_LANGUAGES)
    if unknown:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        unknown -= set(LanguageIdentifier.from_model_file(MODEL_FILE).labels)
    return unknown


def detect(title: str, languages: Sequence[str] = DEFAULT_LANGUAGES, home: str | None = None) -> str | None:
    """The language of a cleaned title among `languages`; `home` where the title is unclear.

    Titles are short and full of borrowed words (`Cappuccino mix coffee`), so that a guess below `_SURE` is more often
    wrong than right: then it is taken to be in the feed's usual language, or not known.
    """
    return _detect(title, tuple(languages)) or home


@lru_cache(maxsize=65_536)
def _detect(title: str, languages: tuple[str, ...]) -> str | None:
    letters = "".join(_LETTERS.findall(title))
    if not title.isascii():
        for script, candidates in _SCRIPTS:
            if len(script.findall(letters)) > _SHARE * len(letters):
                possible = [code for code in candidates if code in languages]
                if len(possible) == 1:
                    return possible[0]
                break
    if len(languages) == 1:
        return languages[0]
    if len(letters) < _FEWEST_LETTERS:
        return None
    # Numbers, codes and capitals carry no language; the letters in small are what the model was trained on.
    words = " ".join(_LETTERS.findall(title)).lower()
    code, confidence = _identifier(languages).classify(words)
    return code if confidence >= _SURE else None
