"""The fixed world of the demo catalogue: categories, brands, regions, vendors. It never depends on the seed.

A seed draws products in this world, so two catalogues of different seeds share their taxonomy and can be compared.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np

from shelfmark.demo import vocabulary as words

_WORLD = 20_250_101
"""Seed of the world itself: brands, category shares. Frozen: another number is another benchmark."""


@dataclass(frozen=True)
class Region:
    """A market: `noun` is the column of regional nouns, `share` its part of the records; None: `SMALL` records."""

    code: str
    language: str
    currency: str
    rate: float
    share: float | None


REGIONS = (
    Region("US", "en", "USD", 1.0, 0.36),
    Region("GB", "en", "GBP", 0.8, 0.26),
    Region("DE", "de", "EUR", 0.95, 0.21),
    Region("FR", "fr", "EUR", 0.95, 0.17),
    Region("IN", "en", "INR", 84.0, None),
)
SMALL = 200
"""Records of the region that is too small to learn from."""

VENDORS = ("demo_outfitter", "demo_bazaar", "demo_kontor", "demo_galerie")
VENDOR_SHARES = np.array(
    # Part of each region's records that a vendor sells.
    [(0.30, 0.50, 0.05, 0.15), (0.50, 0.30, 0.08, 0.12), (0.15, 0.25, 0.50, 0.10), (0.15, 0.25, 0.10, 0.50),
     (0.40, 0.40, 0.10, 0.10)]
)  # fmt: skip


@dataclass(frozen=True)
class Leaf:
    """A category products are in.

    `levels` are its names root first in en, en-US, de, fr; `nouns` and `hypernyms` are per region in the order of
    `REGIONS`, the first noun names the category. `group` numbers the siblings that share hypernyms and brands.
    """

    index: int
    category_id: str
    levels: tuple[tuple[str, ...], ...]
    nouns: tuple[tuple[str, ...], ...]
    hypernyms: tuple[tuple[str, ...], ...]
    kit: str
    low: float
    high: float
    audience: str
    group: int
    root: int

    @property
    def path(self) -> str:
        return " > ".join(self.levels[0])


LOCALES = ("en", "en_US", "de", "fr")
_COLUMN = {"US": 1, "GB": 0, "DE": 2, "FR": 3, "IN": 0}


def category_id(path: str) -> str:
    """Id of a category: the first 32 hex digits of sha256 of its English path."""
    return hashlib.sha256(path.encode()).hexdigest()[:32]


def _regional(text: str) -> tuple[str, str, str]:
    """`a^b^c` -> British, American, Indian English."""
    parts = text.split("^")
    return parts[0], parts[1] if len(parts) > 1 else parts[0], parts[2] if len(parts) > 2 else parts[0]


def _cells(text: str) -> tuple[str, str, str, str, str]:
    """`en | de | fr` -> GB, US, IN, de, fr."""
    english, german, french = (part.strip() for part in text.split("|"))
    return (*(", ".join(_regional(one)[i] for one in english.split(", ")) for i in range(3)), german, french)


def _plural(noun: str) -> str:
    head, mark, tail = noun.partition("+")
    if not mark:
        return noun
    ending, _, rest = tail.partition(" ")
    return f"{head}{ending} {rest}" if rest else head + ending


def _singular(noun: str) -> str:
    head, mark, tail = noun.partition("+")
    rest = tail.partition(" ")[2]
    return f"{head} {rest}" if mark and rest else head


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@cache
def leaves() -> tuple[Leaf, ...]:
    """All leaf categories, in the order of the vocabulary."""
    found: list[Leaf] = []
    root: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    kit, low, high, audiences, hyper = "", 0.0, 0.0, "-", ()
    roots = groups = -1
    for line in words.TAXONOMY.strip().splitlines():
        if line.startswith("## "):
            names, spec = line[3:].split("::")
            kit, price, audiences = spec.split()
            low, high = map(float, price.split("-"))
            group, groups = _cells(names), groups + 1
        elif line.startswith(":: "):
            hyper = _cells(line[3:])
        elif line.startswith("# "):
            root, roots = _cells(line[2:]), roots + 1
        else:
            cells = _cells(line)
            nouns = [tuple(_singular(noun) for noun in cell.split(", ")) for cell in cells]
            generic = [tuple(cell.split(", ")) for cell in hyper]
            for audience in audiences:
                levels = []
                for cell, language in ((0, 0), (1, 0), (3, 1), (4, 2)):
                    who = (words.AUDIENCES[audience][0][language],) if audience != "-" else ()
                    leaf = _capital(_plural(cells[cell].split(", ")[0]))
                    levels.append((root[cell], *who, group[cell], leaf))
                # Cells are GB, US, IN, de, fr; regions are US, GB, DE, FR, IN.
                by_region = tuple(nouns[i] for i in (1, 0, 3, 4, 2))
                hypernyms = tuple(generic[i] for i in (1, 0, 3, 4, 2))
                identity = category_id(" > ".join(levels[0]))
                found.append(
                    Leaf(len(found), identity, tuple(levels), by_region, hypernyms, kit, low, high,
                         audience.strip("-"), groups, roots)
                )  # fmt: skip
    return tuple(found)


def nodes() -> list[tuple[str, str, tuple[str, ...]]]:
    """(category_id, path, names in `LOCALES`) of every category, parents before children."""
    seen: dict[str, tuple[str, str, tuple[str, ...]]] = {}
    for leaf in leaves():
        for depth in range(1, len(leaf.levels[0]) + 1):
            path = " > ".join(leaf.levels[0][:depth])
            names = tuple(levels[depth - 1] for levels in leaf.levels)
            seen.setdefault(path, (category_id(path), path, names))
    return list(seen.values())


# --- what vendors call categories -----------------------------------------------------------------------------------

# The bazaar files its goods under departments of its own.
_DEPARTMENTS = {
    "Clothing": "apparel", "Shoes": "footwear", "Bags and accessories": "luggage-and-more", "Kitchen": "kitchen-dining",
    "Home": "home-living", "Furniture": "furnishings", "Electronics": "tech", "Sports": "active-life",
    "Toys and baby": "kids-and-toys", "Beauty and health": "beauty-wellness", "Groceries": "pantry-and-fresh",
    "DIY and garden": "tools-yard", "Pets": "pet-shop", "Office": "office-supply", "Car": "automotive",
    "Music": "music-makers",
}  # fmt: skip
OUTLET = "Outlet"


def _slug(text: str) -> str:
    return "-".join("".join(char if char.isalnum() else " " for char in text.lower()).split())


@cache
def vendor_levels(vendor: int) -> tuple[tuple[str, ...], ...]:
    """Per leaf, the levels of the path that the vendor files it under, in its own words and order."""
    paths = []
    for leaf in leaves():
        english, american, german, french = leaf.levels
        if vendor == 0:  # British, the audience is the department
            paths.append((english[1], english[0], *english[2:]) if leaf.audience else english)
        elif vendor == 1:  # American slugs
            department = _DEPARTMENTS[english[0]]
            paths.append((department, *map(_slug, american[1:])))
        elif vendor == 2:  # German, the audience comes last
            paths.append((german[0], *german[2:], german[1]) if leaf.audience else german)
        else:  # French, three levels always
            paths.append((french[0], french[2], f"{french[3]} {french[1].lower()}") if leaf.audience else french)
    return tuple(paths)


def vendor_map(vendor: int) -> list[tuple[str, str]]:
    """(source_path, category_id) of every path the vendor uses; several paths may mean one category."""
    rows = [(" > ".join(levels), leaf.category_id) for leaf, levels in zip(leaves(), vendor_levels(vendor))]
    if vendor == 0:
        rows += [(" > ".join((OUTLET, *levels)), leaf.category_id) for leaf, levels in zip(leaves(), vendor_levels(0))]
    return rows


# --- shares ---------------------------------------------------------------------------------------------------------

_SKEW, _HEAD = 0.95, 3.0
"""Zipf with a blunt head: share of rank r is 1 / (r + head)**skew. At 20,000 rows the tail has about ten rows each."""


@cache
def category_shares() -> np.ndarray:
    """(regions, leaves) cumulative shares of the categories in each region; rows end in 1."""
    rng = np.random.default_rng(_WORLD)
    all_leaves = leaves()
    rank = rng.permutation(len(all_leaves))
    base = 1.0 / (rank + _HEAD) ** _SKEW
    roots = np.array([leaf.root for leaf in all_leaves])
    # Markets differ by a factor of about two in a department, and by a third in a single category.
    by_root = np.exp(rng.normal(0, 0.7, (len(REGIONS), roots.max() + 1)))[:, roots]
    by_leaf = np.exp(rng.normal(0, 0.3, (len(REGIONS), len(all_leaves))))
    shares = base * by_root * by_leaf
    return np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1)


# --- invented names -------------------------------------------------------------------------------------------------

_ONSETS = (*"bcdfghjklmnprstvwyz", "br", "ch", "dr", "fl", "gl", "kl", "pr", "qu", "sk", "st", "tr")
_VOWELS = (*"aeiou", "ae", "ei", "ia", "ou")
_CODAS = ("", "l", "m", "n", "nd", "r", "rk", "s", "x")
SYLLABLES = tuple(onset + vowel + coda for onset in _ONSETS for vowel in _VOWELS for coda in _CODAS)
"""2,430 syllables: six million names of two, fourteen thousand million of three, so that two products hardly ever
share a series name and near-equal titles stay rare at millions of rows."""

BRANDS_OF_GROUP = 40
BRANDS_OF_LEAF = 14


@cache
def brands() -> tuple[str, ...]:
    """Invented brand names; group g owns `BRANDS_OF_GROUP` from g * BRANDS_OF_GROUP on."""
    rng = np.random.default_rng(_WORLD + 1)
    count = (leaves()[-1].group + 1) * BRANDS_OF_GROUP
    names: dict[str, None] = {}
    while len(names) < count:
        first, second = rng.integers(len(SYLLABLES), size=2)
        name = (SYLLABLES[first] + SYLLABLES[second]).capitalize()
        if 5 <= len(name) <= 9:
            names[name] = None
    return tuple(names)


@cache
def leaf_brands() -> np.ndarray:
    """(leaves, BRANDS_OF_LEAF) brand numbers, the most sold first: siblings share brands, so a brand hints at most."""
    rng = np.random.default_rng(_WORLD + 2)
    return np.array([
        leaf.group * BRANDS_OF_GROUP + rng.permutation(BRANDS_OF_GROUP)[:BRANDS_OF_LEAF] for leaf in leaves()
    ])  # fmt: skip


@cache
def brand_shares() -> np.ndarray:
    """Cumulative shares of a leaf's brands: Zipf with skew 1."""
    shares = 1.0 / np.arange(1, BRANDS_OF_LEAF + 1)
    return np.cumsum(shares / shares.sum())
