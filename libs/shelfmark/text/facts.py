"""What a catalogue states about a product beside its texts: price, brand, source, attributes, as features.

A fact is a pair (name, value): ("[price] INR", "499.00"), ("colour", "red"). stated.py makes them of a table's rows and
learns, on Spark, which of them say something often enough; here they become features. No Spark here.

- a *number* (19 of 20 values of the name are numbers, in `MIN_ROWS` rows or more, more than two of them) is cut at its 5 %,
  10 %, ... 95 % quantiles. Its features are the cuts, each as "at least" or "below", so that neighbouring values share most
  of them: a thermometer. Measured on amazon_in with price, list price, rating and ratings: +2.4 points of macro-F1,
  against +0.9 with one feature a quantile.
- a *word* is any other name with a value that is stated in `text.min_rows` rows; the `WORDS` most frequent of a name.

A fact that is a number has L2 norm `NUMBER_NORM`, whatever its number of cuts; one that is a word `WORD_NORM`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MIN_ROWS = 100
CUTS = 20
WORDS = 2_000
NAMES = 200  # names learnt from: a feed with free attribute names has thousands, each on a handful of products
NUMBERS = 40  # of them numbers: with all their cuts they fit the dense head of a model with room for texts
NUMBER_NORM = 0.6
WORD_NORM = 0.2  # louder, words win accuracy on many rows and lose rare categories (fashion's tail: -1.9 points at 0.6)
NUMBER = r"^-?\p{Sc}?\s*([0-9]{1,15}|[0-9]{1,3}(,[0-9]{2,3}){1,5})(\.[0-9]+)?$"  # also as people write it: ₹1,23,999
NO_DIGIT = r"[^0-9.\-]"  # what goes before such a number is read
NOTHING = {"numbers": {}, "words": []}  # learnt where there are no facts

Sparse = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rows: indptr int64[n + 1], columns int32, values uint16 (x 65535)."""


class Encoder:
    """Facts to features, by what was learnt: `cuts` features of numbers, numbered from 0, then those of words."""

    def __init__(self, learnt: dict[str, Any]):
        self.numbers = {name: np.array(cuts) for name, cuts in sorted(learnt["numbers"].items())}
        self.first = {}
        at = 0
        for name, cuts in self.numbers.items():
            self.first[name] = at
            at += 2 * len(cuts)
        self.cuts = at  # features of numbers
        self.words = pa.array([f"{name}\x1f{value}" for name, value in learnt["words"]], pa.string())
        self.size = at + len(self.words)

    def names(self) -> list[str]:
        """Each feature in words, e.g. `[price] INR >= 499`, `colour = red`."""
        out = []
        for name, cuts in self.numbers.items():
            out += [f"{name} {sign} {cut:g}" for cut in cuts for sign in ("<", ">=")]
        return out + [one.replace("\x1f", " = ", 1) for one in self.words.to_pylist()]

    def rows(self, facts: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features of a column of facts (list of struct name, value): indptr int64[n + 1], columns int32, values uint16.

        Values are x 65535 as `kernel.weigh` gives them. Facts that were not learnt have no features.
        """
        if isinstance(facts, pa.ChunkedArray):
            facts = facts.combine_chunks()
        n = len(facts)
        row = pc.list_parent_indices(facts).to_numpy(zero_copy_only=False)
        flat = pc.list_flatten(facts)
        name, value = pc.struct_field(flat, "name"), pc.struct_field(flat, "value")
        owners, features, values = [], [], []
        coded = name.dictionary_encode()
        known = {text: code for code, text in enumerate(coded.dictionary.to_pylist())}
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        for text, cuts in self.numbers.items():
            if text not in known:
                continue
            places = np.flatnonzero(codes == known[text])
            said = value.take(pa.array(places))
            numeric = pc.match_substring_regex(said, NUMBER).fill_null(False)
            places = places[numeric.to_numpy(zero_copy_only=False)]
            digits = pc.replace_substring_regex(said.filter(numeric), NO_DIGIT, "")
            x = pc.cast(digits, pa.float64()).to_numpy()
            k = len(cuts)
            at_least = x[:, None] >= cuts[None, :]
            owners.append(np.repeat(row[places], k))
            features.append((self.first[text] + 2 * np.arange(k)[None, :] + at_least).ravel())
            values.append(np.full(k * len(places), NUMBER_NORM / np.sqrt(k)))
        if len(self.words) and len(flat):
            found = pc.index_in(pc.binary_join_element_wise(name, value, "\x1f"), value_set=self.words)
            hit = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
            owners.append(row[hit])
            features.append(self.cuts + found.take(pa.array(hit)).to_numpy(zero_copy_only=False))
            values.append(np.full(len(hit), WORD_NORM))
        owner = np.concatenate(owners) if owners else np.empty(0, np.int64)
        order = np.argsort(owner, kind="stable")
        feature = np.concatenate(features)[order] if owners else np.empty(0)
        weight = np.concatenate(values)[order] if owners else np.empty(0)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(owner.astype(np.int64), minlength=n))])
        return indptr.astype(np.int64), feature.astype(np.int32), np.round(weight * 65535).astype(np.uint16)


def joined(facts: Sparse, texts: Sparse, numbers: int, features: int) -> Sparse:
    """Rows with the features of both: `numbers` of the facts, `features` of the texts, then the words of the facts.

    Numbers stand on most rows, so they come before the frequent grams, in the dense head of the weights.
    """
    (ends, columns, values), (text_ends, text_columns, text_values) = facts, texts
    if not numbers and not len(columns):
        return texts
    lengths, text_lengths = np.diff(ends), np.diff(text_ends)
    indptr = np.concatenate([[0], np.cumsum(lengths + text_lengths)]).astype(np.int64)
    out = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.uint16)
    shifted = np.where(columns < numbers, columns, columns + features)
    for start, spans, whence, part in (
        (indptr[:-1], lengths, ends, (shifted, values)),
        (indptr[:-1] + lengths, text_lengths, text_ends, (text_columns + numbers, text_values)),
    ):
        at = np.repeat(start - whence[:-1], spans) + np.arange(whence[-1])
        for target, array in zip(out, part):
            target[at] = array
    return indptr, *out
