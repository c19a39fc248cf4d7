"""One chunk of the demo catalogue as columns: what is sold, who sells it, what is wrong with it.

A chunk depends on (seed, chunk number, its size) alone, so any number of processes makes the same catalogue.

1. Draw models: region, category, brand, series name, model number, how the title is written.
2. Draw the model's items: one, or variants that differ in colour or size only; each has its own GTIN.
3. Copy some items: the same product again at the same vendor under another key, or at another vendor.
4. Make a few records dirty, one rule each, and many messy: mojibake, entities, capitals, ranges stay good records.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from shelfmark.demo import vocabulary as words
from shelfmark.demo.universe import (
    BRANDS_OF_LEAF,
    REGIONS,
    SYLLABLES,
    VENDOR_SHARES,
    VENDORS,
    brand_shares,
    brands,
    category_shares,
    leaf_brands,
    leaves,
)

# How a title names its category. Frozen: with these shares TF-IDF + LinearSVC reaches what tests/demo asserts.
NAMED, SYNONYM, HYPERNYM, BARE, TRAP = range(5)
MODE_SHARES = (0.34, 0.22, 0.20, 0.12, 0.12)
AUDIENCE_NAMED = 0.6
"""Share of titles that say for whom, where the category depends on it."""

DUPLICATES = 0.08
DIRTY = 0.03
VARIANTS = (0.74, 0.13, 0.08, 0.05)
"""Share of models with 1, 2, 3, 4 items."""
LABEL_WRONG, LABEL_MISSING = 0.029, 0.02
GTIN_KNOWN = 0.7

RULES = (
    "broken_record", "key_missing", "title_missing", "title_no_letters", "title_placeholder", "title_too_long",
    "price_negative", "price_absurd", "price_unreadable", "currency_unknown", "region_unknown",
)  # fmt: skip
"""The rule that refuses each kind of planted dirty record."""
CANNOT = {
    "broken_record": ("demo_kontor", "demo_galerie"),  # it would break the whole XML or Parquet file
    "price_unreadable": ("demo_galerie",),  # its price is a number
    "currency_unknown": ("demo_kontor",),  # its currency is the sign in the price
}
"""Kinds of dirt that a vendor's format cannot hold."""

_GTIN_SPACE = 10**9
_GTIN_STEP = 387_420_489  # 3**18, coprime to 10**9: numbers never repeat, and neighbours do not look alike
_LANGUAGE = tuple(words.LANGUAGES.index(region.language) for region in REGIONS)
_GREY = {"US": "gray"}
_SIZE_WORD = {"en": "size ", "de": "Gr. ", "fr": "taille "}
_BARE_SIZES = frozenset(("cloth", "shoe", "bag", "acc", "jewel", "outdoor", "baby", "pet"))
_MODEL_LETTERS = "ABCDEFGHKLMNPRSTUVWXZ"


@dataclass
class Records:
    """Columns of a chunk, one entry a record, in catalogue order. None is an absent value.

    `item` is the true product, `model` its item group (-1 for a single), `label` the leaf the vendor files it under
    (-1: none), `label_state` right, wrong or missing, `rule` the rule a dirty record breaks, `photo` the record whose
    picture it uses (-1: its own).
    """

    vendor: list[int] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    region: list[int] = field(default_factory=list)
    leaf: list[int] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    label_state: list[str] = field(default_factory=list)
    title: list[str] = field(default_factory=list)
    description: list[str | None] = field(default_factory=list)
    brand: list[str | None] = field(default_factory=list)
    gtin: list[str | None] = field(default_factory=list)
    model_number: list[str | None] = field(default_factory=list)
    price: list[float] = field(default_factory=list)
    price_high: list[float | None] = field(default_factory=list)
    colour: list[int] = field(default_factory=list)
    size: list[str | None] = field(default_factory=list)
    material: list[int] = field(default_factory=list)
    weight: list[int] = field(default_factory=list)
    power: list[int] = field(default_factory=list)
    item: list[int] = field(default_factory=list)
    model: list[int] = field(default_factory=list)
    grouped: list[bool] = field(default_factory=list)
    copied: list[bool] = field(default_factory=list)
    rule: list[str | None] = field(default_factory=list)
    updated: list[int] = field(default_factory=list)
    photo: list[int] = field(default_factory=list)


def check_digit(digits: str) -> int:
    """GS1 check digit: weights 3 and 1 from the right, up to the next ten (GS1 General Specifications, 7.9)."""
    total = sum(int(digit) * (3 if position % 2 == 0 else 1) for position, digit in enumerate(reversed(digits)))
    return -total % 10


def make_gtin(item: int, seed: int) -> str:
    """GTIN-13 of an item, prefix 952: GS1 keeps it for examples, so none is anybody's real product."""
    digits = f"952{(item * _GTIN_STEP + seed * 7919) % _GTIN_SPACE:09d}"
    return f"{digits}{check_digit(digits)}"


def colour_name(colour: int, region: int) -> str:
    name = words.COLOURS[colour][_LANGUAGE[region]]
    return _GREY.get(REGIONS[region].code, name) if name == "grey" else name


def material_name(kit: str, material: int, region: int) -> str:
    return words.KITS[kit][2][material][_LANGUAGE[region]]


def sizes_of(leaf) -> tuple[str, ...]:
    if leaf.audience == "k" and leaf.kit in ("cloth", "shoe"):
        return words.KID_SIZES if leaf.kit == "cloth" else words.KID_SHOES
    return words.KITS[leaf.kit][0]


def _regions(rng: np.random.Generator, sizes: np.ndarray, small: int) -> tuple[np.ndarray, np.ndarray]:
    """Region and size of each model: the first models fill the small region with exactly `small` items."""
    ends = np.cumsum(sizes)
    last = int(np.searchsorted(ends, small))
    if small:
        sizes[last] -= ends[last] - small
    shares = np.array([region.share or 0 for region in REGIONS])
    region = np.searchsorted(np.cumsum(shares / shares.sum())[:-1], rng.random(len(sizes)), side="right")
    if small:
        region[: last + 1] = next(i for i, one in enumerate(REGIONS) if one.share is None)
    return region, sizes


def _title(leaf, region: int, mode: int, parts: dict, template: int, named_for: bool) -> str:
    """The part of a title that all variants of a model share."""
    language = REGIONS[region].language
    column = _LANGUAGE[region]
    if mode == BARE:
        noun = ""
    elif mode == HYPERNYM:
        noun = leaf.hypernyms[region][parts["pick"] % len(leaf.hypernyms[region])]
    elif mode == SYNONYM:
        noun = leaf.nouns[region][-1]
    else:
        noun = leaf.nouns[region][0]
    if mode == TRAP:
        other = leaves()[parts["other"]].nouns[region][0]
        short = leaf.nouns[region][-1] if parts["pick"] % 2 else leaf.hypernyms[region][0]
        noun = f"{short} {words.WITH[language]} {other}"
    elif named_for and noun and leaf.audience:
        short, long = words.AUDIENCES[leaf.audience][1][column], words.AUDIENCES[leaf.audience][2][column]
        in_front = language == "en" and parts["pick"] % 3
        noun = f"{short} {noun}" if in_front else f"{noun} {short if parts['pick'] % 3 else long}"
    brand, series, number = parts["brand"], parts["series"], parts["number"]
    adjective = words.ADJECTIVES[language][parts["adjective"] % len(words.ADJECTIVES[language])]
    if mode == BARE:
        number = number or parts["spare"]
    if template == 0:
        pieces = (brand, series, number, noun, adjective if parts["wordy"] else "")
    elif template == 1:
        pieces = (brand, series, adjective if parts["wordy"] else "", noun, number)
    elif template == 2:
        pieces = (noun, brand, series, number)
    elif template == 3:
        pieces = (series, noun, number)
    else:
        pieces = (brand, noun, series, adjective if parts["wordy"] else "", number)
    title = " ".join(piece for piece in pieces if piece)
    return title[:1].upper() + title[1:]


def _tail(leaf, region: int, colour: int, size: str | None, with_colour: bool, with_size: bool, comma: bool) -> str:
    pieces = []
    if with_colour and colour >= 0:
        pieces.append(colour_name(colour, region))
    if with_size and size is not None:
        word = _SIZE_WORD[REGIONS[region].language] if leaf.kit in _BARE_SIZES else ""
        pieces.append(word + size)
    glue = ", " if comma else " "
    return "".join(glue + piece for piece in pieces)


def jaccard(one: str, other: str, size: int = 5) -> float:
    """Jaccard similarity of the character shingles of two titles: small letters, one space between words, no signs."""
    sets = []
    for text in (one, other):
        text = re.sub(r"[\W_]+", " ", text.lower()).strip()
        sets.append({text[i : i + size] for i in range(max(1, len(text) - size + 1))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def _retitled(title: str, extra: str, kind: int) -> str:
    """The same title as another person would type it; no number, colour, size, brand or model is touched."""
    if kind == 0:
        changed = f"{title} - {extra}"
    elif kind == 1:
        changed = title.replace(", ", " ")
    elif kind == 2:
        changed = title.replace(",", " -")
    elif kind == 3:
        changed = f"{extra.capitalize()}: {title}"
    elif kind == 4:
        changed = title.upper() if "ß" not in title else title
    else:
        changed = title
    return changed if jaccard(title, changed) >= 0.82 else title


def _messy(title: str, kind: int) -> str:
    """A title as a careless feed holds it; cleaning gives the same words back."""
    if kind == 0:
        return "  " + title.replace(" ", "  ", 2) + " "
    if kind == 1:
        return title.replace(" ", "\u00a0", 1) + "\t"
    if kind == 2:
        return html.escape(title.replace(" - ", " – ")).encode("ascii", "xmlcharrefreplace").decode()
    if kind == 3:
        try:
            return title.encode("utf-8").decode("cp1252")
        except UnicodeDecodeError:
            return title
    return title if "ß" in title else title.upper()


def make_chunk(seed: int, chunk: int, start: int, count: int, small: int) -> Records:
    """Records `start` to `start + count` of the catalogue; `small` of them are of the small region."""
    rng = np.random.default_rng([seed, chunk])
    copies = int(count * DUPLICATES)
    originals = count - copies
    sizes = rng.choice(len(VARIANTS), size=originals, p=VARIANTS) + 1
    region_of, sizes = _regions(rng, sizes, small)
    ends = np.cumsum(sizes)
    models = int(np.searchsorted(ends, originals)) + 1
    sizes = sizes[:models].copy()
    sizes[-1] -= ends[models - 1] - originals
    region_of = region_of[:models]

    records = Records()
    _draw_originals(records, rng, seed, start, models, sizes, region_of)
    exact = _draw_copies(records, rng, seed, originals, copies)
    _spoil(records, rng, originals, count, exact)
    # Catalogue order mixes originals, copies and dirt.
    order = rng.permutation(len(records.key))
    place = np.argsort(order).tolist()
    records.photo = [place[owner] if owner >= 0 else -1 for owner in records.photo]
    order = order.tolist()
    for name, column in vars(records).items():
        setattr(records, name, [column[i] for i in order])
    _key(records, start)
    return records


def _draw_originals(
    records: Records,
    rng: np.random.Generator,
    seed: int,
    start: int,
    models: int,
    sizes: np.ndarray,
    region_of: np.ndarray,
) -> None:
    all_leaves, all_brands = leaves(), brands()
    leaf_of = np.empty(models, np.int64)
    vendor_of = np.empty(models, np.int64)
    uniform, vendor_draw = rng.random(models), rng.random(models)
    for region in range(len(REGIONS)):
        mine = region_of == region
        leaf_of[mine] = np.searchsorted(category_shares()[region][:-1], uniform[mine], side="right")
        vendor_of[mine] = np.searchsorted(np.cumsum(VENDOR_SHARES[region])[:-1], vendor_draw[mine], side="right")
    rank = np.searchsorted(brand_shares()[:-1], rng.random(models), side="right")
    assert rank.max(initial=0) < BRANDS_OF_LEAF
    brand_of = leaf_brands()[leaf_of, rank].tolist()
    mode = rng.choice(len(MODE_SHARES), size=models, p=MODE_SHARES).tolist()
    template = rng.choice(5, size=models, p=(0.34, 0.2, 0.16, 0.1, 0.2)).tolist()
    syllable = rng.integers(len(SYLLABLES), size=(models, 3)).tolist()
    long_series = (rng.random(models) < 0.4).tolist()
    number = rng.integers(100, 9999, size=models).tolist()
    letters = rng.integers(len(_MODEL_LETTERS), size=(models, 3)).tolist()
    flags = (rng.random((models, 6)) < (0.45, 0.35, AUDIENCE_NAMED, 0.45, 0.6, 0.3)).tolist()
    picks = rng.integers(1 << 30, size=(models, 4)).tolist()
    other = np.searchsorted(category_shares()[0][:-1], rng.random(models), side="right").tolist()
    price_at = rng.beta(1.3, 3.0, size=models).tolist()
    draws = rng.random((models, 4)).tolist()
    sentences = rng.integers(12, size=(models, 4)).tolist()
    count_of_sentences = rng.integers(0, 4, size=models).tolist()
    total = int(sizes.sum())
    known = (rng.random((total, 3)) < (GTIN_KNOWN, 0.93, 0.9)).tolist()
    updated = rng.integers(0, 365 * 24, size=total).tolist()

    item = 0
    cents = (0.99, 0.95, 0.5, 0.0, 0.9)
    for model, (leaf_index, region, vendor, size_count) in enumerate(
        zip(leaf_of.tolist(), region_of.tolist(), vendor_of.tolist(), sizes.tolist())
    ):
        leaf = all_leaves[leaf_index]
        language = REGIONS[region].language
        wordy, has_number, named_for, tail_colour, tail_size, _ = flags[model]
        one, two, three = letters[model]
        code = f"{_MODEL_LETTERS[one]}{_MODEL_LETTERS[two]}-{number[model]}{_MODEL_LETTERS[three] if one % 2 else ''}"
        first, second, third = syllable[model]
        series = SYLLABLES[first] + SYLLABLES[second] + (SYLLABLES[third] if long_series[model] else "")
        brand = all_brands[brand_of[model]]
        parts = {
            "brand": brand, "series": series.capitalize(), "number": code if has_number else "", "spare": code,
            "pick": picks[model][0], "adjective": picks[model][1], "other": other[model], "wordy": wordy,
        }  # fmt: skip
        numbered = has_number or mode[model] == BARE
        core = _title(leaf, region, mode[model], parts, template[model], named_for)
        kit_sizes, coloured, materials, powered, (light, heavy) = words.KITS[leaf.kit]
        kit_sizes = sizes_of(leaf)
        chance = draws[model]
        colour0 = picks[model][2] % len(words.COLOURS) if chance[0] < coloured else -1
        size0 = picks[model][3] % len(kit_sizes) if kit_sizes and chance[1] < 0.85 else -1
        material = picks[model][2] // 97 % len(materials) if materials and chance[2] < 0.75 else -1
        power = 50 * (1 + picks[model][3] // 89 % 44) if chance[3] < powered else 0
        weight = int(light + (heavy - light) * chance[0] * chance[2])
        weight = weight // 10 * 10 if weight >= 1000 else weight
        amount = (leaf.low + (leaf.high - leaf.low) * price_at[model]) * REGIONS[region].rate
        price = max(0.5, float(int(amount)) + cents[picks[model][1] % 5])
        description = None
        if count_of_sentences[model]:
            book, adjectives = words.SENTENCES[language], words.ADJECTIVES[language]
            # Half the descriptions say what it is, the others only praise it.
            noun = leaf.nouns[region][0] if picks[model][0] % 2 else leaf.hypernyms[region][0]
            values = {
                "b": brand, "s": parts["series"], "n": noun,
                "a": adjectives[picks[model][1] // 7 % len(adjectives)],
                "z": adjectives[picks[model][2] // 11 % len(adjectives)],
            }  # fmt: skip
            chosen = dict.fromkeys(sentences[model][: count_of_sentences[model]])
            description = " ".join(book[i] for i in chosen).format_map(values)
        # Variants differ in one thing: size or colour, whichever has enough values. It is in the title as a rule.
        several = size_count > 1
        by_size = several and len(kit_sizes) >= size_count and (colour0 < 0 or picks[model][0] % 3 != 0)
        by_colour = several and not by_size
        if by_size and size0 < 0:
            size0 = picks[model][3] % len(kit_sizes)
        if by_colour and colour0 < 0:
            colour0 = picks[model][2] % len(words.COLOURS)
        always = several and picks[model][0] % 16 != 0
        for variant in range(size_count):
            colour = (colour0 + variant) % len(words.COLOURS) if by_colour else colour0
            size = kit_sizes[(size0 + (variant if by_size else 0)) % len(kit_sizes)] if size0 >= 0 else None
            has_gtin, has_brand, has_group = known[item]
            records.vendor.append(vendor)
            records.key.append("")
            records.region.append(region)
            records.leaf.append(leaf_index)
            records.title.append(
                core + _tail(leaf, region, colour, size, tail_colour or (by_colour and always),
                             tail_size or (by_size and always), picks[model][1] % 2 == 0)
            )  # fmt: skip
            records.description.append(description)
            records.brand.append(brand if has_brand else None)
            records.gtin.append(make_gtin(start + item, seed) if has_gtin else None)
            records.model_number.append(code if numbered and picks[model][3] % 4 else None)
            records.price.append(price)
            records.price_high.append(None)
            records.colour.append(colour)
            records.size.append(size)
            records.material.append(material)
            records.weight.append(weight if chance[1] < 0.6 else 0)
            records.power.append(power)
            records.item.append(start + item)
            records.model.append(start + model if several else -1)
            records.grouped.append(several and has_group)
            records.copied.append(False)
            records.rule.append(None)
            records.updated.append(updated[item])
            records.photo.append(-1)
            item += 1


def _draw_copies(records: Records, rng: np.random.Generator, seed: int, originals: int, copies: int) -> set[int]:
    """Append planted duplicates; returns the records that must stay to the letter as they are.

    Half of the copies have their original's GTIN beside them, on both sides. The others must be found by their title:
    at another vendor it is nearly the same; at the same vendor the whole listing is the same but for its key, as
    nothing else tells a listing made twice from two products. No copy differs in number, colour, size, brand or model.
    """
    exact: set[int] = set()
    with_gtin_already: set[int] = set()
    small = next(i for i, region in enumerate(REGIONS) if region.share is None)
    pool = [i for i in rng.permutation(originals).tolist() if records.region[i] != small]
    # One in fifteen is a third record of a product that has a duplicate already.
    fresh = copies - copies // 15
    chosen = pool[:fresh] + pool[: copies - fresh]
    uses = Counter(records.title[:originals])
    draw = rng.random((copies, 5)).tolist()
    pick = rng.integers(1 << 30, size=(copies, 3)).tolist()
    abroad = {0: 1, 1: 0, 2: 3, 3: 2}
    for at, (source, chance, picks) in enumerate(zip(chosen, draw, pick)):
        again = records.copied[source]
        records.copied[source] = True
        # A title that variants share names none of them: only a GTIN could tell which one is copied.
        with_gtin = chance[0] < 0.5 or source in with_gtin_already or uses[records.title[source]] > 1
        if with_gtin:
            with_gtin_already.add(source)
            if records.gtin[source] is None:
                records.gtin[source] = make_gtin(records.item[source], seed)
        across = chance[1] < 0.5
        if not across and not with_gtin:
            across = again or records.model[source] >= 0 or records.description[source] is None
        relisted = not across and not with_gtin
        if relisted:
            records.gtin[source] = None
        copy = {name: column[source] for name, column in vars(records).items() if name not in ("label", "label_state")}
        region, language = copy["region"], REGIONS[copy["region"]].language
        extra = words.EXTRAS[language][picks[1] % len(words.EXTRAS[language])]
        copy["updated"] = (copy["updated"] + 24 * (1 + at % 60)) % (365 * 24)
        copy["gtin"] = copy["gtin"] if with_gtin else None
        if not across:
            # Most relistings use the vendor's photograph again.
            copy["photo"] = source if relisted or chance[4] < 0.5 else -1
        if relisted:
            exact |= {source, len(records.key)}
        else:
            copy["grouped"] = False
            copy["brand"] = copy["brand"] if picks[1] % 6 else None
        if with_gtin and across and chance[2] < 0.15:
            # Sold abroad: same product and GTIN, its name kept, the noun in the language of the market.
            copy["region"] = abroad[region]
            copy["title"] = _abroad(records, source, copy["region"])
            copy["description"] = None
            copy["price"] = max(0.5, round(copy["price"] * REGIONS[copy["region"]].rate / REGIONS[region].rate, 2))
        elif with_gtin and chance[2] < 0.55:
            copy["title"] = f"{extra.capitalize()}! {copy['title']}" if picks[2] % 2 else f"{copy['title']} | {extra}"
        elif across and not again and not with_gtin and copy["model"] < 0:
            copy["title"] = _retitled(copy["title"], extra, picks[2] % 8)
        if across:
            copy["vendor"] = (copy["vendor"] + 1 + picks[0] % (len(VENDORS) - 1)) % len(VENDORS)
            if copy["region"] == region:
                copy["price"] = max(0.5, round(copy["price"] * (0.9 + 0.2 * chance[3]), 2))
                copy["description"] = None if chance[4] < 0.5 else copy["description"]
        for name, value in copy.items():
            getattr(records, name).append(value)
    return exact


def _abroad(records: Records, source: int, region: int) -> str:
    """A title for another market: the noun of that market behind what the product is called everywhere."""
    leaf = leaves()[records.leaf[source]]
    brand = records.brand[source]
    proper = [word for word in records.title[source].replace(",", " ").split() if word[:1].isupper()]
    name = " ".join(dict.fromkeys(([brand] if brand else []) + proper[:3]))
    return f"{name} {leaf.nouns[region][0]}" + _tail(
        leaf, region, records.colour[source], records.size[source], True, True, True
    )


def _spoil(records: Records, rng: np.random.Generator, originals: int, count: int, exact: set[int]) -> None:
    """Labels that are wrong or missing, messy writing, price ranges; then dirty records, one rule each."""
    small = next(i for i, region in enumerate(REGIONS) if region.share is None)
    all_leaves = leaves()
    by_group: dict[int, list[int]] = {}
    for leaf in all_leaves:
        by_group.setdefault(leaf.group, []).append(leaf.index)
    draw = rng.random((count, 4)).tolist()
    pick = rng.integers(1 << 30, size=count).tolist()
    for i, (chance, number) in enumerate(zip(draw, pick)):
        leaf = records.leaf[i]
        if chance[0] < LABEL_MISSING:
            label, state = -1, "missing"
        elif chance[0] < LABEL_MISSING + LABEL_WRONG:
            # Vendors mostly slip to a sibling category.
            others = by_group[all_leaves[leaf].group] if number % 10 < 7 else range(len(all_leaves))
            label = others[number % len(others)]
            label = label if label != leaf else (leaf + 1) % len(all_leaves)
            state = "wrong"
        else:
            label, state = leaf, "right"
        records.label.append(label)
        records.label_state.append(state)
        if i in exact:
            continue
        if chance[1] < 0.09:
            records.title[i] = _messy(records.title[i], number % 5)
        if chance[2] < 0.01 and records.description[i]:
            records.description[i] = _messy(records.description[i], number % 4)
        if chance[3] < 0.015:
            records.price_high[i] = records.price[i] + 1 + number % 20

    # Dirt falls on singles without a duplicate, so that what is planted elsewhere stays whole.
    clean = [
        i for i in rng.permutation(originals).tolist()
        if not records.copied[i] and records.model[i] < 0 and records.region[i] != small
    ]  # fmt: skip
    wanted = int(count * DIRTY)
    turn = 0
    for i in clean[:wanted]:
        vendor = VENDORS[records.vendor[i]]
        # The next rule in turn that this vendor's format can hold.
        rule = next(
            rule for rule in (RULES[(turn + step) % len(RULES)] for step in range(len(RULES)))
            if vendor not in CANNOT.get(rule, ())
        )  # fmt: skip
        turn = (RULES.index(rule) + 1) % len(RULES)
        records.rule[i] = rule
        records.price_high[i] = None
        number = pick[i]
        if rule == "title_missing":
            records.title[i] = ("", "   ", "\t")[number % 3]
        elif rule == "title_no_letters":
            records.title[i] = ("-----", "12345", "***", "0000 / 00", "?!?", "...")[number % 6]
        elif rule == "title_placeholder":
            records.title[i] = _PLACEHOLDERS[number % len(_PLACEHOLDERS)]
        elif rule == "title_too_long":
            records.title[i] = " ".join([records.title[i]] * (1 + (1100 + number % 1500) // len(records.title[i])))
        elif rule == "price_negative":
            records.price[i] = -records.price[i]
        elif rule == "price_absurd":
            records.price[i] = float(2_000_000_000 + number % 7_000_000_000) + 0.99


_PLACEHOLDERS = (
    "N/A", "n/a", "test product", "Test Product", "TEST PRODUCT", "lorem ipsum dolor sit amet", "Lorem ipsum",
)  # fmt: skip

_KEY_STEP = 2_654_435_761  # odd, so multiplying modulo 2**32 never repeats
_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def _key(records: Records, start: int) -> None:
    """Each vendor's own kind of key: a running number scrambled, so that neighbours do not have neighbouring keys."""
    for i, vendor in enumerate(records.vendor):
        number = (start + i + 1) * _KEY_STEP % (1 << 32)
        if records.rule[i] == "key_missing":
            records.key[i] = ""
        elif vendor == 0:
            records.key[i] = f"OF-{number:010d}"
        elif vendor == 1:
            records.key[i] = "B" + "".join(_BASE32[number >> shift & 31] for shift in (30, 25, 20, 15, 10, 5, 0))
        elif vendor == 2:
            records.key[i] = f"{number:010d}"
        else:
            records.key[i] = f"REF{number:08X}"
