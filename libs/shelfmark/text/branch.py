"""Retrain one branch of the taxonomy: weights of the categories below it are learnt anew, all others stay.

One-vs-rest weights of a category depend on no other category's, so what is outside the branch can be taken from the
champion as it is, with its features (hashed columns, their IDF, what was learnt of facts); words that are new since then
become features behind them, which only the branch has weights of. Rows of all categories are
learnt from: those outside are what the branch has to be told apart from. Link, curves and thresholds are fitted anew, as
for any model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shelfmark import answers
from shelfmark.config import Text
from shelfmark.errors import DataRefused, UsageError
from shelfmark.text import fit, model

SHAPING = ("fields", "facts", "hash_bits", "pairs")
"""Settings that say what the features are: a model with others has nothing that could be kept."""


class Branch(NamedTuple):
    """A category, by path or id, and the model that is kept outside of it: its folder and its checksum as published."""

    name: str
    folder: Path
    checksum: str | None = None


class Kept(NamedTuple):
    """What a branch's training takes from the model before: its model.json, and the ids of the branch."""

    branch: Branch
    about: dict[str, Any]
    root: str
    below: frozenset[str]

    @property
    def outside(self) -> list[str]:
        """The learnt categories outside the branch, by the numbers they have in the model."""
        return [one for one in self.categories if one not in self.below]

    @property
    def categories(self) -> list[str]:
        """All learnt categories of the model by their number."""
        return [self.about["nodes"][node]["id"] for node in self.about["tree"]["leaf"]]

    def base(self, order: list[str], tree: model.Tree, nodes: list[dict[str, Any]]) -> fit.Base:
        """As the solver wants it, `order` being the categories by their new number."""
        number = {category: at for at, category in enumerate(self.categories)}
        old = np.array([number.get(category, -1) for category in order], np.int32)
        at = next(at for at, node in enumerate(nodes) if node["id"] == self.root)
        return fit.Base(self.branch.folder, old, int(tree.first[at]), int(tree.last[at]), self.about["facts"])


def read(branch: Branch, known: dict[str, tuple[str, str | None]], text: Text) -> Kept:
    """What is kept of a model. known: category_id -> (path, parent_id) of the taxonomy to train on.

    Raises `UsageError` where the taxonomy has no such category, or the model's features are not those of the settings;
    `DataRefused` where it has categories outside the branch that the taxonomy no longer has.
    """
    root = answers.named(branch.name, known, "--branch")
    model.verify(branch.folder, branch.checksum)
    if not model.readable(branch.folder):
        raise UsageError("--branch: the champion was trained by another version of Shelfmark: train all")
    about = json.loads((branch.folder / "model.json").read_text())
    was = Text(**about["text"])
    if changed := [name for name in SHAPING if getattr(was, name) != getattr(text, name)]:
        raise UsageError(
            f"--branch: the champion was trained with other features ({', '.join(f'text.{name}' for name in changed)}): "
            "train all, or take its settings"
        )
    earlier = {node["id"]: (node["path"], node["parent"]) for node in about["nodes"]}
    below = frozenset(one for tree in (known, earlier) for one in tree if root in _up(one, tree))
    kept = Kept(branch, about, root, below)
    if gone := [one for one in kept.outside if one not in known]:
        raise DataRefused(
            f"--branch: {len(gone)} categories of the champion outside {known[root][0]!r} are not in the taxonomy any more, "
            f"e.g. {earlier[gone[0]][0]!r}: train all"
        )
    return kept


def _up(category: str, known: dict[str, tuple[str, str | None]]) -> list[str]:
    found: list[str] = []
    at: str | None = category
    while at is not None and at not in found:
        found.append(at)
        at = known.get(at, (None, None))[1]
    return found
