"""The members of an ensemble: the champions of two lines, where they can be joined."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shelfmark.errors import DataRefused
from shelfmark.models import champion, lines

if TYPE_CHECKING:
    from shelfmark.models.champion import Champion
    from shelfmark.run import Run


class Members(NamedTuple):
    """Champions to join; or why there is nothing to join."""

    text: Champion | None
    multimodal: Champion | None
    why: str | None = None


def of(run: Run) -> Members:
    """The champions of text and multimodal. `DataRefused` where `ensemble.train` is always and they cannot be joined."""
    how = run.settings.ensemble.train
    if how == "never":
        return Members(None, None, "ensemble.train is never")
    models, found, why = run.read("gold.models"), {}, None
    for line in (lines.TEXT, lines.MULTIMODAL):
        if champion.predicting(models, line) is not None:
            try:
                found[line] = champion.current(run, line)
            except DataRefused as gone:  # its files
                why = why or str(gone)
    if why := why or _against(run, found):
        if how == "always":
            raise DataRefused(f"ensemble.train is always, but {why}")
        return Members(None, None, why)
    return Members(found[lines.TEXT], found[lines.MULTIMODAL])


def _against(run: Run, found: dict[str, Champion]) -> str | None:
    """Why champions by line cannot be joined."""
    for line in (lines.TEXT, lines.MULTIMODAL):
        if line not in found:
            return f"the line {line} has no champion yet"
        if not lines.readable(line, found[line].folder):
            return f"another version of Shelfmark trained the champion of {line}"
    if found[lines.MULTIMODAL].settings.get("multi_label"):
        return "the multimodal champion gives several categories a product"
    versions = {
        row.taxonomy_version for row in run.read("silver.taxonomy").select("taxonomy_version").distinct().collect()
    }
    for line, version in found.items():
        if version.taxonomy_version not in versions:
            return f"the champion of {line} is of taxonomy {version.taxonomy_version}, which is not in force"
    return None
