"""What speaks for and against two offers being one product, as numbers a model can learn from. No Spark here.

An offer is read once (`prepare`): its words and character runs as sorted hashes with weights, its codes, figures and
stated values. A pair is then a walk along sorted arrays (`pairs`), compiled, some hundred thousand a second and core.

Rarity is what tells offers of one shelf apart: "freezer" is in thousands of titles, "kgn36vl35g" in ten. The weight
of a term is its inverse document frequency, ln((1 + n) / (1 + df)), from a table of hashed terms that a model learns
with its other parts (`Rarity`): bounded in size, and the same for the offers of training and those of a job.

What is not stated is NaN, never zero: a missing price is no equal price. Trees learn what missing means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from shelfmark import traits, words
from shelfmark.dedup import conflicts, kernel

FEATURES = {
    "title_cosine": "cosine of the titles' terms, weighted by rarity",
    "title_overlap": "weight of the shared terms over that of the lighter title: 1 where one title holds the other",
    "title_weight": "weight of the lighter title: how much it says at all",
    "rarest_shared": "weight of the rarest term that both titles have; 0 where they share none",
    "rarest_alone_less": "weight of the rarest term that only one title has, of the title where it is less",
    "rarest_alone_more": "the same of the title where it is more",
    "alone_less": "share of the weight of a title that the other has not, of the title where it is less",
    "alone_more": "the same of the title where it is more",
    "grams_cosine": "cosine of the titles' runs of four characters without spaces, weighted by rarity",
    "grams_overlap": "weight of the shared runs over that of the lighter title",
    "common_run": "the longest common substring of the titles without spaces, over the shorter title",
    "common_length": "its length in bytes",
    "code_found": "share of an offer's codes (kgn36vl35g, 0601-19c2) found in the other, where it is more; by length",
    "code_missed": "the same where it is less; NaN where only one has codes",
    "code_length": "length of the longest code of one found in the other",
    "code_prefix": "the longest common beginning of two codes over the longer: el6985b and el6985a have 6 of 7",
    "figures_shared": "figures that both titles have; quantities in base units; one behind a word counts again with it",
    "figures_alone_less": "figures that only one title has, of the title where they are fewer: more than 0 is a swap",
    "figures_alone_more": "the same of the title where they are more",
    "units_agree": "units in which both titles state a value and agree; the word before a bare figure is its unit",
    "units_differ": "units in which both titles state values and none is equal: 128 GB against 256 GB",
    "editions": "edition words (plus, mini, pro) that only one title has",
    "colour": "1: a colour in common, 0: none",
    "size": "1: a size in common, 0: none",
    "quantities": "attributes with unit and equal name: the share that agree",
    "model": "1: equal model numbers, 0: others",
    "model_found": "1: the model number of one is in the text of the other, 0: of neither; NaN where neither states one",
    "brand": "1: equal brands, or one begins with the other, 0: others",
    "brand_found": "1: the brand of one is in the title of the other; NaN where neither states one",
    "price": "the larger price over the smaller as a natural logarithm; NaN in two currencies",
    "description_cosine": "cosine of the descriptions' terms, weighted by rarity",
    "text_cosine": "the same of title, brand, model number and description together",
    "title_in_text": "share of the weight of one title that the whole text of the other has, where it is more",
    "title_out_text": "the same where it is less",
    "gtin": "1: equal GTINs, 0: others",
    "picture": "bits of 64 in which the perceptual hashes of the pictures differ; 0 for one picture",
}
"""Every feature of a pair, and what it means. The order is the order of the columns of `pairs`."""

NAMES = tuple(FEATURES)

COLUMNS = (
    "title", "description", "brand", "gtin", "model_number", "price", "currency", "attributes", "image_id", "picture",
)  # fmt: skip
"""What `prepare` reads of an offer; a column that is absent is stated by nobody."""

BUCKETS = 1 << 18
"""Terms are counted by 18 bits of their hash: 256 KB, and of 100,000 different words a third share a count. A shared
count makes a rare word look less rare, never a common one rare."""

LONGEST = 96
"""Bytes of a title that the longest common run is sought in: its cost is their product."""

DESCRIPTION = 1200
"""Characters of a description that are read: what is behind them repeats the vendor's terms."""

GRAM = 4


@dataclass(frozen=True)
class Rarity:
    """Weights of terms and of character runs by their hash: `terms`, `grams` uint8[BUCKETS], in steps of `STEP`."""

    terms: np.ndarray
    grams: np.ndarray

    STEP = 1 / 16  # ln of 100 million offers is 18.4, and 16 a unit keep it in a byte


def learn(offers: pa.Table) -> Rarity:
    """The rarity of terms among `offers`, which need the columns that `prepare` reads; no labels are looked at."""
    n = offers.num_rows
    texts = _texts(offers)
    heads, _ = _hashed([_terms(title, normal) for title, normal in zip(texts.title, texts.normal)])
    rest, _ = _hashed([_prose(text) for text in texts.description])
    grams, _ = _grams(texts.normal)
    # Counted apart: a description names what a title of the same shelf would not.
    terms = np.bincount(_bucket(heads), minlength=BUCKETS) + np.bincount(_bucket(rest), minlength=BUCKETS)
    return Rarity(_weights(terms, n), _weights(np.bincount(_gram_bucket(grams), minlength=BUCKETS), n))


def _weights(counts: np.ndarray, n: int) -> np.ndarray:
    rarity = np.log((1 + n) / (1 + np.minimum(counts, n)))
    return np.clip(np.rint(rarity / Rarity.STEP), 1, 255).astype(np.uint8)  # at least 1: shared words are no nothing


def _bucket(keys: np.ndarray) -> np.ndarray:
    return (keys >> np.uint64(64 - 18)).astype(np.int64)


def _gram_bucket(keys: np.ndarray) -> np.ndarray:
    return (keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - 18)).astype(np.int64)


@dataclass(frozen=True)
class Offers:
    """What `pairs` needs of n offers: for each kind of set its sorted hashes, bounds (int64, n + 1) and weights."""

    terms: np.ndarray
    terms_at: np.ndarray
    terms_weight: np.ndarray
    text: np.ndarray
    text_at: np.ndarray
    text_weight: np.ndarray
    prose: np.ndarray
    prose_at: np.ndarray
    prose_weight: np.ndarray
    grams: np.ndarray
    grams_at: np.ndarray
    grams_weight: np.ndarray
    figures: np.ndarray
    figures_at: np.ndarray
    units: np.ndarray  # of each figure; 0 is none
    bare: np.ndarray  # each without the word before it
    values: np.ndarray  # of those with a unit
    editions: np.ndarray
    editions_at: np.ndarray
    colours: np.ndarray
    colours_at: np.ndarray
    sizes: np.ndarray
    sizes_at: np.ndarray
    quantities: np.ndarray  # hash of name and value
    quantities_at: np.ndarray
    quantity_names: np.ndarray
    squeezed: np.ndarray  # bytes of the title without spaces
    squeezed_at: np.ndarray
    everything: np.ndarray  # bytes of title, model number and brand without spaces
    everything_at: np.ndarray
    codes: np.ndarray  # bytes of all codes
    codes_at: np.ndarray  # bounds of each code
    offer_codes: np.ndarray  # bounds of each offer's codes
    model: np.ndarray  # bytes
    model_at: np.ndarray
    brand: np.ndarray  # bytes
    brand_at: np.ndarray
    price: np.ndarray
    currency: np.ndarray
    gtin: np.ndarray  # 0 is none
    picture: np.ndarray
    pictured: np.ndarray
    image: np.ndarray  # 0 is none

    def __len__(self) -> int:
        return len(self.price)


@dataclass(frozen=True)
class _Texts:
    title: list[str]
    normal: list[str]
    description: list[str]


def _texts(offers: pa.Table) -> _Texts:
    title = pc.fill_null(_column(offers, "title"), "")
    description = pc.utf8_slice_codeunits(kernel.normalise(_column(offers, "description")), 0, DESCRIPTION)
    return _Texts(title.to_pylist(), kernel.normalise(title).to_pylist(), description.to_pylist())


def _column(offers: pa.Table, name: str, kind: pa.DataType | None = None) -> pa.Array:
    kind = kind or pa.string()
    if name not in offers.column_names:
        return pa.nulls(offers.num_rows, kind)
    column = offers[name].cast(kind)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def prepare(offers: pa.Table, rarity: Rarity) -> Offers:
    """Read `offers` (`COLUMNS`; those of silver.products, and `picture`, 16 hexadecimal digits) for `pairs`."""
    texts = _texts(offers)
    n = offers.num_rows
    brands = [conflicts.brand(one) for one in _column(offers, "brand").to_pylist()]
    models = [conflicts.model(one) for one in _column(offers, "model_number").to_pylist()]
    if "attributes" in offers.column_names:
        attributes = [
            tuple((one["name"], one["value"], one["unit"]) for one in some or ())
            for some in offers["attributes"].to_pylist()
        ]
    else:
        attributes = [()] * n
    terms = [_terms(title, normal) for title, normal in zip(texts.title, texts.normal)]
    prose = [_prose(text) for text in texts.description]
    whole = [
        {*some, *more, *filter(None, (brand, model))} for some, more, brand, model in zip(terms, prose, brands, models)
    ]
    figures = [_figures(title) for title in texts.title]
    quantities = [traits.quantities(some) for some in attributes]
    codes = [_codes(title, model) for title, model in zip(texts.title, models)]
    squeezed = [text.replace(" ", "") for text in texts.normal]
    everything = [f"{text} {model or ''} {brand or ''}" for text, model, brand in zip(squeezed, models, brands)]
    flat_codes, codes_at = _bytes([code for some in codes for code in some])

    def weighed(name: str, sets: list) -> dict[str, np.ndarray]:
        keys, bounds = _hashed(sets)
        return {
            name: keys,
            f"{name}_at": bounds,
            f"{name}_weight": rarity.terms[_bucket(keys)] * np.float32(Rarity.STEP),
        }

    def plain(name: str, sets: list) -> dict[str, np.ndarray]:
        keys, bounds = _hashed(sets)
        return {name: keys, f"{name}_at": bounds}

    def raw(name: str, some: list[str]) -> dict[str, np.ndarray]:
        data, bounds = _bytes(some)
        return {name: data, f"{name}_at": bounds}

    grams, grams_at = _grams(texts.normal)
    named, names_at, name_keys = _quantity_arrays(quantities)
    picture, pictured = _pictures(_column(offers, "picture"))
    price = _column(offers, "price", pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
    return Offers(
        **weighed("terms", terms),
        **weighed("text", whole),
        **weighed("prose", prose),
        grams=grams,
        grams_at=grams_at,
        grams_weight=rarity.grams[_gram_bucket(grams)] * np.float32(Rarity.STEP),
        **_figure_arrays(figures),
        **plain("editions", [traits.editions(title) for title in texts.title]),
        **plain("colours", [traits.colours(title, some) for title, some in zip(texts.title, attributes)]),
        **plain("sizes", [traits.sizes(title, some) for title, some in zip(texts.title, attributes)]),
        quantities=named,
        quantities_at=names_at,
        quantity_names=name_keys,
        **raw("squeezed", squeezed),
        **raw("everything", everything),
        codes=flat_codes,
        codes_at=codes_at,
        offer_codes=np.cumsum([0, *map(len, codes)]).astype(np.int64),
        **raw("model", [one or "" for one in models]),
        **raw("brand", [one or "" for one in brands]),
        price=np.where(price > 0, price, np.nan),  # a price of 0 is how some feeds say that they have none
        currency=_keys(_column(offers, "currency")),
        gtin=_keys(_column(offers, "gtin")),
        picture=picture,
        pictured=pictured,
        image=_keys(_column(offers, "image_id")),
    )


def _keys(column: pa.Array) -> np.ndarray:
    """64-bit hash of each text, 0 where there is none."""
    text = pc.fill_null(column, "")
    keys = kernel.text_keys(*kernel.text_buffers(text))
    keys[pc.equal(text, "").to_numpy(zero_copy_only=False)] = 0
    return keys


def _pictures(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    said = column.to_pylist()
    known = np.array([bool(one) for one in said], np.bool_)
    return np.array([int(one, 16) if one else 0 for one in said], np.uint64), known


def _hashed(sets: Iterable[Iterable[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct 64-bit hashes of each set of texts, and the bounds of the sets."""
    lists = [list(set(some)) for some in sets]
    bounds = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    flat = pa.array([text for some in lists for text in some], pa.string())
    keys = kernel.text_keys(*kernel.text_buffers(flat))
    owner = np.repeat(np.arange(len(lists)), np.diff(bounds))
    return keys[np.lexsort((keys, owner))], bounds


def _bytes(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    data, bounds = kernel.text_buffers(pa.array(texts, pa.string()))
    return np.ascontiguousarray(data), np.ascontiguousarray(bounds)


def _grams(normal: list[str]) -> tuple[np.ndarray, np.ndarray]:
    squeezed = pc.replace_substring(pa.array(normal, pa.string()), " ", "")
    hashes, bounds = kernel.shingle_sets(*kernel.text_buffers(squeezed), GRAM)
    return hashes, bounds.astype(np.int64)


@lru_cache(maxsize=65_536)
def _terms(title: str, normal: str) -> tuple[str, ...]:
    """Words without a digit as they are, figures and codes as `traits.numbers` has them: "64 GB" is "64gb"."""
    return (*(word for word in normal.split() if not any(map(str.isdigit, word))), *traits.numbers(title))


def _prose(text: str) -> set[str]:
    return set(text.split())


_FIGURE = re.compile(r"([\d.]+)(\D*)$")
_BARE = re.compile(r"\d+(?:[.,]\d+)*")
_CODE = re.compile(r"[^\W_]+(?:[-/.][^\W_]+)*")


def _figures(title: str) -> list[tuple[str, str, str, float]]:
    """(figure as compared, unit, bare figure, value) of each quantity; a code is a figure of its own kind.

    The value is that of a quantity with a unit, for figures that are rounded; NaN of others, which are equal or not.
    """
    found = []
    for one in traits.numbers(title):
        match = _FIGURE.match(one)
        if match and match[2]:
            found.append((one, match[2], one, _value(match[1])))
        else:
            found.append((one, "code", one, np.nan))
    # A bare figure is of the kind that the word before it says: size 40 against size 42, iphone 7 against iphone 8.
    tokens = traits.tokens(title)
    for i, (before, token) in enumerate(pairwise(tokens)):
        following = tokens[i + 2] if i + 2 < len(tokens) else ""
        if before.isalpha() and _BARE.fullmatch(token) and following not in words.SPACED:
            figure = traits.quantity_text(token, None)
            found.append((f"{before} {figure}", f"after {before}", figure, np.nan))
    return found


def _value(figure: str) -> float:
    try:
        return float(figure)
    except ValueError:
        return np.nan


def _codes(title: str, model: str | None) -> list[str]:
    """Model numbers by their looks: letters and digits together, or five digits and more; quantities are none."""
    found = set() if model is None or len(model) < 3 else {model}
    for token in _CODE.findall(title.lower()):
        code = re.sub(r"[\W_]", "", token)
        digits = sum(map(str.isdigit, code))
        if not digits or len(code) < 4 or (digits == len(code) and digits < 5):
            continue
        quantity = re.match(r"\d+([^\W\d_]+)$", code)
        if quantity and quantity[1] in words.ATTACHED:
            continue
        found.add(code)
    return sorted(found)


def _figure_arrays(figures: list[list[tuple[str, str, str, float]]]) -> dict[str, np.ndarray]:
    lists = [sorted(set(some)) for some in figures]
    bounds = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    flat = [one for some in lists for one in some]
    keys, units, bare = (_keys(pa.array([one[place] for one in flat], pa.string())) for place in range(3))
    units[units == _keys(pa.array(["code"]))[0]] = 0
    order = np.lexsort((keys, np.repeat(np.arange(len(lists)), np.diff(bounds))))
    values = np.array([one[3] for one in flat], np.float64)
    return {
        "figures": keys[order],
        "figures_at": bounds,
        "units": units[order],
        "bare": bare[order],
        "values": values[order],
    }


def _quantity_arrays(quantities: list[dict[str, str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    bounds = np.cumsum([0, *map(len, quantities)]).astype(np.int64)
    values = _keys(pa.array([f"{name}\x1f{value}" for some in quantities for name, value in some.items()], pa.string()))
    names = _keys(pa.array([name for some in quantities for name in some], pa.string()))
    order = np.lexsort((names, np.repeat(np.arange(len(quantities)), np.diff(bounds))))
    return values[order], bounds, names[order]


def pairs(left: Offers, i: np.ndarray, right: Offers, j: np.ndarray) -> np.ndarray:
    """float32[len(i), len(NAMES)]: the features of the pairs (left[i], right[j]); the same if the sides are swapped."""
    out = np.full((len(i), len(NAMES)), np.nan, np.float32)
    _pairs(_arrays(left), np.asarray(i, np.int64), _arrays(right), np.asarray(j, np.int64), out)
    return out


def barred(x: np.ndarray) -> np.ndarray:
    """bool[n]: pairs that are two products whatever their score: `x` are their features.

    Both titles state a quantity in one unit, or a figure behind one word, and none is equal (128 GB and 256 GB, size 40
    and size 42); or sizes, GTINs or quantities of equal name differ. What only one states bars nothing.
    """
    at = NAMES.index
    return (
        (x[:, at("units_differ")] > 0)
        | (x[:, at("size")] == 0)
        | (x[:, at("gtin")] == 0)
        | (x[:, at("quantities")] < 1)
    )


def _arrays(offers: Offers) -> tuple:
    return tuple(getattr(offers, field.name) for field in fields(offers))


@njit(cache=True, nogil=True)
def _shared(a, i, i_end, aw, b, j, j_end, bw):
    """(dot product, total of a, total of b, squares of a and b, shared of a, rarest shared, rarest alone of a, of b)."""
    dot = total_a = total_b = square_a = square_b = shared = rarest = alone_a = alone_b = 0.0
    while i < i_end or j < j_end:
        if j == j_end or (i < i_end and a[i] < b[j]):
            w = aw[i]
            total_a += w
            square_a += w * w
            alone_a = max(alone_a, w)
            i += 1
        elif i == i_end or b[j] < a[i]:
            w = bw[j]
            total_b += w
            square_b += w * w
            alone_b = max(alone_b, w)
            j += 1
        else:
            w = aw[i]
            total_a += w
            total_b += w
            square_a += w * w
            square_b += w * w
            dot += w * w
            shared += w
            rarest = max(rarest, w)
            i += 1
            j += 1
    return dot, total_a, total_b, square_a, square_b, shared, rarest, alone_a, alone_b


@njit(cache=True, nogil=True)
def _common(a, i, i_end, b, j, j_end):
    n = 0
    while i < i_end and j < j_end:
        if a[i] < b[j]:
            i += 1
        elif b[j] < a[i]:
            j += 1
        else:
            n += 1
            i += 1
            j += 1
    return n


@njit(cache=True, nogil=True)
def _within(text, start, end, word, at, to):
    """Whether the bytes word[at:to] are in text[start:end]."""
    n = to - at
    for p in range(start, end - n + 1):
        q = 0
        while q < n and text[p + q] == word[at + q]:
            q += 1
        if q == n:
            return True
    return False


@njit(cache=True, nogil=True)
def _prefix(a, i, i_end, b, j, j_end):
    n = 0
    while i + n < i_end and j + n < j_end and a[i + n] == b[j + n]:
        n += 1
    return n


@njit(cache=True, nogil=True)
def _run(a, i, i_end, b, j, j_end, row):
    """Length of the longest common substring; `row` is room for LONGEST + 1 numbers."""
    i_end, j_end = min(i_end, i + LONGEST), min(j_end, j + LONGEST)
    row[:] = 0
    best = 0
    for p in range(i, i_end):
        before = 0
        for q in range(j, j_end):
            kept = row[q - j + 1]
            if a[p] == b[q]:
                row[q - j + 1] = before + 1
                best = max(best, before + 1)
            else:
                row[q - j + 1] = 0
            before = kept
    return best


@njit(cache=True, nogil=True)
def _found(codes, codes_at, first, last, text, start, end):
    """(bytes of the codes, bytes of those in the text, longest of these)."""
    total = hit = longest = 0
    for c in range(first, last):
        n = codes_at[c + 1] - codes_at[c]
        total += n
        if _within(text, start, end, codes, codes_at[c], codes_at[c + 1]):
            hit += n
            longest = max(longest, n)
    return total, hit, longest


@njit(cache=True, nogil=True)
def _alike(one, other):
    """Whether one quantity is the other rounded (14.7 and 14 MP), or differs by 2.4 %: a GB of 1000 or of 1024 MB."""
    if np.floor(one) == other or np.rint(one) == other or np.floor(other) == one or np.rint(other) == one:
        return True
    return abs(one - other) <= 0.0241 * min(one, other)


@njit(cache=True, nogil=True)
def _units(a, ua, bare_a, va, i, i_end, b, ub, bare_b, vb, j, j_end):
    """(units that agree, units that differ) of those both state.

    A figure behind a word differs only if each title lacks the other's figure altogether: "Samsung 46 Series 7" and
    "Samsung 7 Series 46" say the same.
    """
    agree = differ = 0
    for p in range(i, i_end):
        unit = ua[p]
        if unit == 0:
            continue
        seen = False
        for q in range(i, p):
            seen = seen or ua[q] == unit
        if seen:
            continue
        stated = equal = elsewhere = False
        for q in range(j, j_end):
            if ub[q] == unit:
                stated = True
                for r in range(i, i_end):
                    if ua[r] == unit:
                        equal = equal or a[r] == b[q] or _alike(va[r], vb[q])
                    elsewhere = elsewhere or bare_a[r] == bare_b[q]
        if stated:
            for r in range(i, i_end):
                if ua[r] == unit:
                    for q in range(j, j_end):
                        elsewhere = elsewhere or bare_a[r] == bare_b[q]
        if equal:
            agree += 1
        elif stated and not elsewhere:
            differ += 1
    return agree, differ


@njit(cache=True, nogil=True)
def _bits(value):
    n = 0
    while value:
        value &= value - np.uint64(1)
        n += 1
    return n


@njit(cache=True, nogil=True)
def _ratio(part, whole):
    return part / whole if whole > 0 else 0.0


@njit(cache=True, nogil=True)
def _pairs(a, left, b, right, out):
    (a_terms, a_terms_at, a_terms_w, a_text, a_text_at, a_text_w, a_prose, a_prose_at, a_prose_w, a_grams, a_grams_at, a_grams_w,
     a_fig, a_fig_at, a_units, a_bare, a_val, a_ed, a_ed_at, a_col, a_col_at, a_size, a_size_at, a_q, a_q_at, a_qn, a_sq, a_sq_at,
     a_all, a_all_at, a_codes, a_codes_at, a_own, a_model, a_model_at, a_brand, a_brand_at, a_price, a_cur, a_gtin, a_pic, a_has,
     a_img) = a  # fmt: skip
    (b_terms, b_terms_at, b_terms_w, b_text, b_text_at, b_text_w, b_prose, b_prose_at, b_prose_w, b_grams, b_grams_at, b_grams_w,
     b_fig, b_fig_at, b_units, b_bare, b_val, b_ed, b_ed_at, b_col, b_col_at, b_size, b_size_at, b_q, b_q_at, b_qn, b_sq, b_sq_at,
     b_all, b_all_at, b_codes, b_codes_at, b_own, b_model, b_model_at, b_brand, b_brand_at, b_price, b_cur, b_gtin, b_pic, b_has,
     b_img) = b  # fmt: skip
    row = np.zeros(LONGEST + 1, np.int64)
    for k in range(len(left)):
        i, j = left[k], right[k]
        f = out[k]
        dot, ta, tb, sa, sb, shared, rarest, alone_a, alone_b = _shared(
            a_terms, a_terms_at[i], a_terms_at[i + 1], a_terms_w, b_terms, b_terms_at[j], b_terms_at[j + 1], b_terms_w
        )
        if ta > 0 and tb > 0:
            f[0] = _ratio(dot, np.sqrt(sa * sb))
            f[1] = _ratio(shared, min(ta, tb))
            f[2] = min(ta, tb)
            f[3] = rarest
            f[4] = min(alone_a, alone_b)
            f[5] = max(alone_a, alone_b)
            f[6] = min(1 - shared / ta, 1 - shared / tb)
            f[7] = max(1 - shared / ta, 1 - shared / tb)
            dot, ta, tb, sa, sb, shared, rarest, alone_a, alone_b = _shared(
                a_grams, a_grams_at[i], a_grams_at[i + 1], a_grams_w,
                b_grams, b_grams_at[j], b_grams_at[j + 1], b_grams_w,
            )  # fmt: skip
            f[8] = _ratio(dot, np.sqrt(sa * sb))
            f[9] = _ratio(shared, min(ta, tb))
            common = _run(a_sq, a_sq_at[i], a_sq_at[i + 1], b_sq, b_sq_at[j], b_sq_at[j + 1], row)
            shorter = min(a_sq_at[i + 1] - a_sq_at[i], b_sq_at[j + 1] - b_sq_at[j], LONGEST)
            f[10] = _ratio(common, shorter)
            f[11] = common
        total_a, hit_a, long_a = _found(
            a_codes, a_codes_at, a_own[i], a_own[i + 1], b_all, b_all_at[j], b_all_at[j + 1]
        )
        total_b, hit_b, long_b = _found(
            b_codes, b_codes_at, b_own[j], b_own[j + 1], a_all, a_all_at[i], a_all_at[i + 1]
        )
        if total_a > 0 or total_b > 0:
            share_a, share_b = _ratio(hit_a, total_a), _ratio(hit_b, total_b)
            f[12] = max(share_a, share_b)
            f[14] = max(long_a, long_b)
            if total_a > 0 and total_b > 0:
                f[13] = min(share_a, share_b)
                best = 0.0
                for c in range(a_own[i], a_own[i + 1]):
                    for d in range(b_own[j], b_own[j + 1]):
                        n = _prefix(
                            a_codes, a_codes_at[c], a_codes_at[c + 1], b_codes, b_codes_at[d], b_codes_at[d + 1]
                        )
                        longer = max(a_codes_at[c + 1] - a_codes_at[c], b_codes_at[d + 1] - b_codes_at[d])
                        best = max(best, n / longer)
                f[15] = best
        of_a, of_b = a_fig_at[i + 1] - a_fig_at[i], b_fig_at[j + 1] - b_fig_at[j]
        both = _common(a_fig, a_fig_at[i], a_fig_at[i + 1], b_fig, b_fig_at[j], b_fig_at[j + 1])
        f[16] = both
        f[17] = min(of_a, of_b) - both
        f[18] = max(of_a, of_b) - both
        agree, differ = _units(
            a_fig, a_units, a_bare, a_val, a_fig_at[i], a_fig_at[i + 1],
            b_fig, b_units, b_bare, b_val, b_fig_at[j], b_fig_at[j + 1],
        )  # fmt: skip
        f[19] = agree
        f[20] = differ
        both = _common(a_ed, a_ed_at[i], a_ed_at[i + 1], b_ed, b_ed_at[j], b_ed_at[j + 1])
        f[21] = a_ed_at[i + 1] - a_ed_at[i] + b_ed_at[j + 1] - b_ed_at[j] - 2 * both
        if a_col_at[i + 1] > a_col_at[i] and b_col_at[j + 1] > b_col_at[j]:
            f[22] = min(1, _common(a_col, a_col_at[i], a_col_at[i + 1], b_col, b_col_at[j], b_col_at[j + 1]))
        if a_size_at[i + 1] > a_size_at[i] and b_size_at[j + 1] > b_size_at[j]:
            f[23] = min(1, _common(a_size, a_size_at[i], a_size_at[i + 1], b_size, b_size_at[j], b_size_at[j + 1]))
        p, q, named, same = a_q_at[i], b_q_at[j], 0, 0
        while p < a_q_at[i + 1] and q < b_q_at[j + 1]:
            if a_qn[p] < b_qn[q]:
                p += 1
            elif b_qn[q] < a_qn[p]:
                q += 1
            else:
                named += 1
                same += a_q[p] == b_q[q]
                p += 1
                q += 1
        if named > 0:
            f[24] = same / named
        len_a, len_b = a_model_at[i + 1] - a_model_at[i], b_model_at[j + 1] - b_model_at[j]
        if len_a > 0 and len_b > 0:
            n = _prefix(a_model, a_model_at[i], a_model_at[i + 1], b_model, b_model_at[j], b_model_at[j + 1])
            f[25] = 1.0 if n == len_a and n == len_b else 0.0
        if len_a > 0 or len_b > 0:
            there = len_a > 2 and _within(
                b_all, b_all_at[j], b_all_at[j + 1], a_model, a_model_at[i], a_model_at[i + 1]
            )
            here = len_b > 2 and _within(a_all, a_all_at[i], a_all_at[i + 1], b_model, b_model_at[j], b_model_at[j + 1])
            f[26] = 1.0 if there or here else 0.0
        len_a, len_b = a_brand_at[i + 1] - a_brand_at[i], b_brand_at[j + 1] - b_brand_at[j]
        if len_a > 0 and len_b > 0:
            n = _prefix(a_brand, a_brand_at[i], a_brand_at[i + 1], b_brand, b_brand_at[j], b_brand_at[j + 1])
            f[27] = 1.0 if n == min(len_a, len_b) else 0.0
        if len_a > 0 or len_b > 0:
            there = len_a > 0 and _within(b_sq, b_sq_at[j], b_sq_at[j + 1], a_brand, a_brand_at[i], a_brand_at[i + 1])
            here = len_b > 0 and _within(a_sq, a_sq_at[i], a_sq_at[i + 1], b_brand, b_brand_at[j], b_brand_at[j + 1])
            f[28] = 1.0 if there or here else 0.0
        if a_cur[i] == b_cur[j] or a_cur[i] == 0 or b_cur[j] == 0:
            f[29] = abs(np.log(a_price[i] / b_price[j]))  # NaN where one is not stated
        if a_prose_at[i + 1] > a_prose_at[i] and b_prose_at[j + 1] > b_prose_at[j]:
            dot, ta, tb, sa, sb, shared, rarest, alone_a, alone_b = _shared(
                a_prose, a_prose_at[i], a_prose_at[i + 1], a_prose_w,
                b_prose, b_prose_at[j], b_prose_at[j + 1], b_prose_w,
            )  # fmt: skip
            f[30] = _ratio(dot, np.sqrt(sa * sb))
        dot, ta, tb, sa, sb, shared, rarest, alone_a, alone_b = _shared(
            a_text, a_text_at[i], a_text_at[i + 1], a_text_w, b_text, b_text_at[j], b_text_at[j + 1], b_text_w
        )
        f[31] = _ratio(dot, np.sqrt(sa * sb))
        whole_a, whole_b = ta, tb
        dot, ta, tb, sa, sb, shared, rarest, alone_a, alone_b = _shared(
            a_terms, a_terms_at[i], a_terms_at[i + 1], a_terms_w, b_text, b_text_at[j], b_text_at[j + 1], b_text_w
        )
        there = _ratio(shared, ta)
        dot, ta, tb, sa, sb, shared, rarest, alone_a, alone_b = _shared(
            a_text, a_text_at[i], a_text_at[i + 1], a_text_w, b_terms, b_terms_at[j], b_terms_at[j + 1], b_terms_w
        )
        here = _ratio(shared, tb)
        if whole_a > 0 and whole_b > 0:
            f[32] = max(there, here)
            f[33] = min(there, here)
        if a_gtin[i] != 0 and b_gtin[j] != 0:
            f[34] = 1.0 if a_gtin[i] == b_gtin[j] else 0.0
        if a_img[i] != 0 and a_img[i] == b_img[j]:
            f[35] = 0
        elif a_has[i] and b_has[j]:
            f[35] = _bits(a_pic[i] ^ b_pic[j])
