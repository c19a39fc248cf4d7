"""Variants of one product: groups of a block that are told apart by a capacity, a colour or a size alone.

They are never one product, but a shopper takes them for one page. Two groups are variants of each other if

- their survivors' titles say the same words, codes, figures without a unit and editions, no two brands are stated, and
  what differs is a quantity with a unit, a colour or a size: 128 GB and 256 GB, red and blue, M and XL; or
- a vendor itself lists records of both under one item_group.

Figures without a unit have to be equal: most tell models and generations apart (a seventh and an eighth edition).
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

from shelfmark import traits, words
from shelfmark.dedup import conflicts

if TYPE_CHECKING:
    from shelfmark.dedup.survivors import Group, Offer

_OF_SIZES = frozenset((*words.SIZES, *words.SIZE_NAMES))
_MEASURE = re.compile(r"[\d.]+[^\W\d_]+")


def variant_groups(found: list[Group]) -> dict[str, str]:
    """{product_id of a survivor: variant_group_id} of the groups of a block that have variants; it is the smallest of them."""
    if len(found) < 2:
        return {}
    home = {group.survivor.product_id: group.survivor.product_id for group in found}

    def root(name: str) -> str:
        while home[name] != name:
            name = home[name]
        return name

    for some in _alike(found):
        first, *others = sorted({root(group.survivor.product_id) for group in some})
        home.update(dict.fromkeys(others, first))
    roots = {name: root(name) for name in home}
    several = {name for name, first in roots.items() if name != first}
    several |= {roots[name] for name in several}
    return {name: first for name, first in roots.items() if name in several}


def _alike(found: list[Group]) -> Iterator[list[Group]]:
    """Groups that are variants of each other."""
    listed: dict[tuple[str, str], list[Group]] = {}
    worded: dict[Hashable, list[Group]] = {}
    for group in found:
        for key in {(offer.seller, offer.variants) for offer in group.members if offer.variants}:
            listed.setdefault(key, []).append(group)
        if group.survivor.title:
            worded.setdefault(_wording(group.survivor.title), []).append(group)
    yield from (some for some in listed.values() if len(some) > 1)
    for some in worded.values():
        if len(some) < 2 or len({_differing(group.survivor) for group in some}) < 2:
            continue
        brands = {brand for brand in map(_brand, some) if brand}
        if len(brands) < 2:
            yield some
        else:
            yield from (alike for one in brands if len(alike := [group for group in some if _brand(group) == one]) > 1)


def _wording(title: str) -> Hashable:
    """What has to be equal: words, codes and figures without a unit, editions."""
    said = tuple(sorted(word for word in conflicts.wording(title) if word not in _OF_SIZES))
    figures = tuple(one for one in traits.numbers(title) if not _MEASURE.fullmatch(one) and one not in _OF_SIZES)
    return said, figures, traits.editions(title) - _OF_SIZES


def _differing(offer: Offer) -> Hashable:
    """What may differ: quantities with a unit, colours, sizes."""
    measures = tuple(one for one in traits.numbers(offer.title) if _MEASURE.fullmatch(one))
    return measures, offer.colours, offer.sizes, frozenset(traits.quantities(offer.attributes).items())


def _brand(group: Group) -> str | None:
    return next((offer.brand for offer in group.members if offer.brand), None)
