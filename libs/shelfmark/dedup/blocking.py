"""Which pairs of offers are worth a look when their titles share few shingles. No Spark here; `scored` runs it there.

Every offer has keys, and offers of different sellers with an equal key are a candidate pair:

- terms: the `TERMS` rarest terms of its title and model number, one by one;
- two terms: each two of the `TWO` rarest ("iphone" and "64gb" are common, both together are not);
- codes: words with a digit, and two neighbours of which one has a digit written as one ("mdr ex55" is "mdrex55"), whole,
  and their first and last `CODE` characters: shops leave the end of a model number away, or put a colour there;
- identifiers: GTIN, brand with model number, the picture, and a quarter of its perceptual hash, which two hashes
  that differ in three bits or fewer share.

All pairs are never compared: a block of more than the limit of offers is dropped, and counted. So an offer has at most
keys x limit candidates; on real offers it is about 10 to 50. What a dropped block loses, its offers' rarer keys find.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
from numba import njit

from shelfmark.dedup import conflicts, features, kernel

TERMS = 12
TWO = 8
CODE = 6
LONGEST_CODE = 20
"""Two neighbours written as one are a code up to here; longer ones are words with a figure behind them."""

LIMIT = 100
"""Offers of a block. On real offers 100 finds 0.87 to 1.00 of the pairs of one product, with 10 to 50 candidates an
offer; 200 finds 0.01 more with twice the candidates."""

_SHIFT, _GOLDEN = np.uint64(7), np.uint64(0x9E3779B97F4A7C15)


def keys(offers: pa.Table, rarity: features.Rarity) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(key uint64, offer int64, pair bool) of all keys of `offers`; keys of two terms have half the limit of a block.

    Two rare terms together are rarer than one, so that a large block of them is boilerplate.
    """
    texts = features._texts(offers)
    models = [conflicts.model(one) for one in features._column(offers, "model_number").to_pylist()]
    brands = [conflicts.brand(one) for one in features._column(offers, "brand").to_pylist()]
    gtins = features._column(offers, "gtin").to_pylist()
    images = features._column(offers, "image_id").to_pylist()
    pictures = features._column(offers, "picture").to_pylist()
    terms, bounds = features._hashed(
        [
            {*features._terms(title, normal), *([model] if model else [])}
            for title, normal, model in zip(texts.title, texts.normal, models)
        ]
    )
    found = _term_keys(terms, bounds, rarity.terms[features._bucket(terms)], TERMS, TWO)
    said: list[str] = []
    owner: list[int] = []
    for i, (normal, brand, model, gtin, image, picture) in enumerate(
        zip(texts.normal, brands, models, gtins, images, pictures)
    ):
        # Marked, so that a code that is a term too does not count twice in its block.
        mine = {f"code\x1f{code}" for code in codes(normal, model)}
        if gtin:
            mine.add(f"gtin\x1f{gtin}")
        if brand and model:
            mine.add(f"model\x1f{brand}\x1f{model}")
        if image:
            mine.add(f"image\x1f{image}")
        if picture:
            mine |= {f"{place}\x1f{picture[place : place + 4]}" for place in range(0, len(picture), 4)}
        said += mine
        owner += [i] * len(mine)
    others = kernel.text_keys(*kernel.text_buffers(pa.array(said, pa.string())))
    return (
        np.concatenate([found[0], others]),
        np.concatenate([found[1], np.array(owner, np.int64)]),
        np.concatenate([found[2], np.zeros(len(owner), np.bool_)]),
    )


def codes(normal: str, model: str | None = None) -> set[str]:
    """The codes of a normalised title and a model number, and their beginnings and ends (`CODE` characters)."""
    said = normal.split()
    digits = [any(map(str.isdigit, word)) for word in said]
    found = [word for word, has in zip(said, digits) if has and len(word) > 3]
    found += [
        one + other
        for (one, other), (a, b) in zip(pairwise(said), pairwise(digits))
        if (a or b) and 3 < len(one) + len(other) <= LONGEST_CODE
    ]
    found += [model] if model and len(model) > 3 else []
    return {part for code in found for part in (code, code[:CODE], code[-CODE:])}


@njit(cache=True, nogil=True)
def _term_keys(terms, bounds, weight, ones, twos):
    n = len(bounds) - 1
    room = n * (ones + twos * (twos - 1) // 2)
    key = np.empty(room, np.uint64)
    owner = np.empty(room, np.int64)
    pair = np.empty(room, np.bool_)
    k = 0
    for i in range(n):
        start = bounds[i]
        # Of equal weight the smaller hash first, which is their order: the same for every batch.
        order = np.argsort(-weight[start : bounds[i + 1]].astype(np.int64), kind="mergesort")
        for p in range(min(ones, len(order))):
            one = terms[start + order[p]]
            key[k], owner[k], pair[k] = one, i, False
            k += 1
            for q in range(p + 1, min(twos, len(order))):
                other = terms[start + order[q]]
                low, high = min(one, other), max(one, other)
                key[k], owner[k], pair[k] = low * _GOLDEN ^ (high >> _SHIFT), i, True
                k += 1
    return key[:k], owner[:k], pair[:k]


@njit(cache=True, nogil=True)
def _expand(key, owner, pair, seller, limit, count_only, left, right):
    """Pairs of each run of equal keys (sorted), of different sellers; (how many, blocks dropped)."""
    n = len(key)
    found = dropped = start = 0
    while start < n:
        end = start + 1
        while end < n and key[end] == key[start]:
            end += 1
        if end - start > (limit // 2 if pair[start] else limit):
            dropped += 1
        else:
            for p in range(start, end):
                for q in range(p + 1, end):
                    one, other = owner[p], owner[q]
                    if one != other and seller[p] != seller[q]:
                        if not count_only:
                            left[found] = min(one, other)
                            right[found] = max(one, other)
                        found += 1
        start = end
    return found, dropped


def expand(
    key: np.ndarray, owner: np.ndarray, pair: np.ndarray, seller: np.ndarray, limit: int = LIMIT
) -> tuple[np.ndarray, np.ndarray, int]:
    """(left, right, blocks dropped): distinct pairs of owners (uint64) with an equal key, of different sellers."""
    order = np.lexsort((owner, key))
    key, owner, pair, seller = key[order], owner[order], pair[order], seller[order]
    empty = np.empty(0, owner.dtype)
    n, dropped = _expand(key, owner, pair, seller, limit, True, empty, empty)
    left, right = np.empty(n, owner.dtype), np.empty(n, owner.dtype)
    _expand(key, owner, pair, seller, limit, False, left, right)
    return *distinct(left, right), dropped


def distinct(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((right, left))
    left, right = left[order], right[order]
    new = np.ones(len(left), np.bool_)
    new[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    return left[new], right[new]


def candidates(offers: pa.Table, rarity: features.Rarity, limit: int = LIMIT) -> tuple[np.ndarray, np.ndarray, int]:
    """(left, right, blocks dropped): the candidate pairs of `offers` as row numbers; the rules of the job, in memory.

    `offers` has the columns of `features.prepare`, and `source` (and `region`), which make a seller.
    """
    key, owner, pair = keys(offers, rarity)
    left, right, dropped = expand(key, owner, pair, sellers(offers)[owner], limit)
    return left, right, dropped


def sellers(offers: pa.Table) -> np.ndarray:
    """A hash (uint64) of source and region of each offer: within one seller nothing is compared (see `survivors`)."""
    source = features._column(offers, "source").to_pylist()
    region = features._column(offers, "region").to_pylist()
    texts = pa.array([f"{one}\x1f{other}" for one, other in zip(source, region)], pa.string())
    return kernel.text_keys(*kernel.text_buffers(texts))
