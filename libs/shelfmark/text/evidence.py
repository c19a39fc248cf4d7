"""What spoke for a category and against another: the margin of a linear model taken apart, in words. No Spark here.

A score is a sum over features, so a feature adds value x (weight of the one - weight of the other) to the margin of one
category over another. Features are hashed n-grams, which nobody can read. They are brought back to what made them:

1. `occurrences` goes through the tokens as `kernel.ngrams` does, and says of every gram its column and its *piece*: a word
   (with all character grams within it), a phrase of two neighbours, or a pair further apart.
2. `margins` shares what a column adds among its occurrences, equally, and sums up the pieces; facts are pieces as they are.
3. `loudest` takes the pieces of a row that add most, for or against, and names them: `drill`, `cordless drill`,
   `vegan … cheese`, `brand: bosch` (of a text that is no title), `price = 12.99 INR`, `colour = red`.

All pieces of a row and the difference of the two biases sum up to the margin. Two columns that fell together by hashing are
one feature, as they are for the model: what it adds is then shared by pieces that have nothing to do with each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from shelfmark.text import kernel
from shelfmark.text.fit import grams, settings_of
from shelfmark.text.model import REVIEW, WEIGHTS, Answer, Model
from shelfmark.text.vector import WIDTH, prefetch

TOP = 5
"""Pieces kept of a row."""
AHEAD = 12  # features whose weights are asked for before they are used

WORD, PHRASE, PAIR, FACT = range(4)
TYPE = pa.list_(pa.struct([("feature", pa.string()), ("weight", pa.float64())]))


class Pieces(NamedTuple):
    """What rows are made of: row int64, kind int8, field int8, name uint64 (equal for equal pieces of a row), first and
    last int64 (tokens; of a fact its feature), weight float64 (what it adds to the margin)."""

    row: np.ndarray
    kind: np.ndarray
    field: np.ndarray
    name: np.ndarray
    first: np.ndarray
    last: np.ndarray
    weight: np.ndarray


@njit(cache=True, nogil=True)
def _occurrences(
    rows, tokens, text, bits, char_fields, limits, apart, columns, piece, row, kind, field_, name, first, last
):
    words = (1 << bits) // kernel.WORD_SHARE
    chars = (1 << bits) - words
    head = np.empty(kernel.PAIR_WORDS, np.uint64)
    head_token = np.empty(kernel.PAIR_WORDS, np.int64)
    longest = 0
    for t in range(len(tokens) - 1):
        longest = max(longest, tokens[t + 1] - tokens[t])
    line = np.empty(longest + 2, np.uint8)
    ends = np.zeros(len(rows), np.int64)
    used, made = 0, 0
    for i in range(len(rows) - 1):
        field, seen, heads = 0, 0, 0
        before, before_token = np.uint64(0), np.int64(-1)
        salt = kernel.FNV_OFFSET
        for t in range(rows[i], rows[i + 1]):
            a, b = tokens[t], tokens[t + 1]
            if b - a == 1 and 0 < text[a] <= kernel.FIELDS:
                field, seen, before_token = np.int64(text[a]), 0, np.int64(-1)
                salt = kernel.FNV_OFFSET ^ (np.uint64(field) * kernel.GOLDEN)
                continue
            if b == a or seen >= limits[field]:
                continue
            seen += 1
            h = salt
            for p in range(a, b):
                h = (h ^ np.uint64(text[p])) * kernel.FNV_PRIME
            start = used
            columns[used] = kernel._column(h, 0, words)
            used += 1
            if char_fields[field]:
                line[0] = kernel.SPACE
                line[1 : b - a + 1] = text[a:b]
                line[b - a + 1] = kernel.SPACE
                used = kernel._char_grams(line, b - a + 2, salt, words, chars, columns, used)
            piece[start:used] = made
            row[made], kind[made], field_[made], name[made], first[made], last[made] = i, WORD, field, h, t, t
            made += 1
            if before_token >= 0:
                both = (before * kernel.GOLDEN) ^ h
                columns[used], piece[used] = kernel._column(both, 0, words), made
                used += 1
                row[made], kind[made], field_[made], name[made] = i, PHRASE, field, both
                first[made], last[made] = before_token, t
                made += 1
            before, before_token = h, t
            if field == 0 and heads < kernel.PAIR_WORDS:
                head[heads], head_token[heads] = h, t
                heads += 1
        if apart:
            for p in range(heads):
                for q in range(p + 2, min(heads, p + apart + 1)):
                    low, high = min(head[p], head[q]), max(head[p], head[q])
                    both = (low * kernel.GOLDEN) ^ high
                    span = (1 << bits) // kernel.PAIR_SHARE
                    columns[used], piece[used] = kernel._column(both, 1 << bits, span), made
                    used += 1
                    row[made], kind[made], field_[made], name[made] = i, PAIR, 0, both
                    first[made], last[made] = head_token[p], head_token[q]
                    made += 1
        ends[i + 1] = used
    return ends, made


def occurrences(
    tokens: pa.Array, bits: int, char_fields: tuple[int, ...], limits: dict[int, int], apart: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Pieces]:
    """Every gram that `kernel.ngrams` counts, with the same arguments: indptr int64[n + 1], columns uint32, the number of
    its piece int64, and the pieces, whose weight is 0 as yet."""
    rows, offsets, text = kernel._buffers(tokens)
    words = int(rows[-1] - rows[0]) if len(rows) > 1 else 0
    size = int(offsets[rows[-1]] - offsets[rows[0]]) if words else 0
    paired = max(apart - 1, 0)
    most = (2 + paired) * words + (kernel.LONGEST - kernel.SHORTEST + 1) * (size + 2 * words) + 1
    pieces = (2 + paired) * words + 1
    with_chars = np.zeros(kernel.FIELDS + 1, np.bool_)
    with_chars[list(char_fields)] = True
    most_words = np.full(kernel.FIELDS + 1, np.iinfo(np.int64).max)
    for field, limit in limits.items():
        most_words[field] = limit
    columns, piece = np.empty(most, np.uint32), np.empty(most, np.int64)
    made = [np.empty(pieces, of) for of in (np.int64, np.int8, np.int8, np.uint64, np.int64, np.int64)]
    ends, n = _occurrences(rows, offsets, text, bits, with_chars, most_words, apart, columns, piece, *made)
    return ends, columns[: ends[-1]], piece[: ends[-1]], Pieces(*(array[:n] for array in made), np.zeros(n))


@njit(cache=True, nogil=True)
def _weight(feature, category, block, place, head, indptr, categories, values):
    """The weight of a feature for a category, which is at `place` of `block` of the head; 0 for category -1, which is none."""
    if category < 0:
        return np.float32(0)
    if feature < head.shape[1]:
        return head[block, feature, place]
    at = feature - head.shape[1]
    for e in range(indptr[at], indptr[at + 1]):
        if categories[e] == category:
            return values[e]
    return np.float32(0)


@njit(cache=True, nogil=True)
def _added(indptr, columns, row_values, one, other, edges, head, tails, categories, values):
    """What each feature of each row adds to the margin of `one` over `other`, float64[features in rows]."""
    out = np.empty(len(columns))
    flat, wide = head.reshape(head.size), head.shape[1]
    for i in range(len(indptr) - 1):
        a, b = one[i], other[i]
        block_a = np.searchsorted(edges, a, side="right") - 1
        block_b = max(np.searchsorted(edges, b, side="right") - 1, 0)
        place_a, place_b = a - edges[block_a], b - edges[block_b]
        for j in range(indptr[i], indptr[i + 1]):
            # Weights lie all over memory: ask for those of a later feature now.
            later = columns[min(j + 2 * AHEAD, indptr[i + 1] - 1)]
            if later >= wide:
                prefetch(tails, later - wide)
            ahead = columns[min(j + AHEAD, indptr[i + 1] - 1)]
            if ahead < wide:
                prefetch(flat, (block_a * wide + ahead) * WIDTH + place_a)
                prefetch(flat, (block_b * wide + ahead) * WIDTH + place_b)
            else:
                prefetch(categories, tails[ahead - wide])
                prefetch(values, tails[ahead - wide])
            weight = _weight(columns[j], a, block_a, place_a, head, tails, categories, values)
            weight -= _weight(columns[j], b, block_b, place_b, head, tails, categories, values)
            out[j] = weight * row_values[j] * kernel.SCALE
    return out


@njit(cache=True, nogil=True)
def _shared(indptr, features, added, ends, columns, piece, lookup, size, out):
    """Share what features add among the occurrences of their columns; summed up by piece in `out`."""
    of, times = np.zeros(size), np.zeros(size, np.int64)
    for i in range(len(indptr) - 1):
        for j in range(indptr[i], indptr[i + 1]):
            of[features[j]] = added[j]
        for o in range(ends[i], ends[i + 1]):
            if lookup[columns[o]] >= 0:
                times[lookup[columns[o]]] += 1
        for o in range(ends[i], ends[i + 1]):
            at = lookup[columns[o]]
            if at >= 0:
                out[piece[o]] += of[at] / times[at]
        for o in range(ends[i], ends[i + 1]):
            if lookup[columns[o]] >= 0:
                times[lookup[columns[o]]] = 0


def margins(model: Model, tokens: pa.Array, facts: pa.Array, one: np.ndarray, other: np.ndarray) -> Pieces:
    """The pieces of rows, each with what it adds to the margin of category `one[i]` over `other[i]` (-1: over none).

    tokens, facts: as `model.answer` takes them, without nulls. Equal pieces of a row come once.
    """
    lookup, idf = model.arrays["lookup"], model.arrays["idf"]
    weights = [model.arrays[name] for name in WEIGHTS if name != "bias"]
    one, other = np.asarray(one, np.int64), np.asarray(other, np.int64)
    cuts = model.facts.cuts

    indptr, features, values = kernel.weigh(*grams(tokens, model.text), lookup, idf)
    added = _added(indptr, features + np.int32(cuts), values, one, other, *weights)
    ends, columns, piece, made = occurrences(tokens, model.text.hash_bits, *settings_of(model.text))
    _shared(indptr, features, added, ends, columns, piece, lookup, len(idf), made.weight)

    indptr, features, values = model.facts.rows(facts)
    numbered = np.where(features < cuts, features, features + np.int32(len(idf))).astype(np.int32)
    n = len(features)
    # All cuts of a number are one fact: the first of them stands for it.
    starts = np.array([*model.facts.first.values(), cuts], np.int64)
    stands = np.where(features < cuts, starts[np.searchsorted(starts, features, side="right") - 1], features)
    stated = Pieces(
        np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)),
        np.full(n, FACT, np.int8),
        np.zeros(n, np.int8),
        stands.astype(np.uint64),
        stands.astype(np.int64),
        stands.astype(np.int64),
        _added(indptr, numbered, values, one, other, *weights),
    )
    return _once(Pieces(*(np.concatenate(both) for both in zip(made, stated))))


def _once(pieces: Pieces) -> Pieces:
    """Equal pieces of a row as one, where its first was. They must stand together: words are never equal to facts, so those of
    all rows may come first, then these."""
    kept, weight = _merged(pieces.row, pieces.kind, pieces.name, pieces.weight)
    return Pieces(*(array[kept] for array in pieces[:-1]), weight)


@njit(cache=True, nogil=True)
def _merged(row, kind, name, weight):
    kept, total = np.empty(len(row), np.int64), np.empty(len(row))
    made, start = 0, 0
    while start < len(row):
        end = start
        while end < len(row) and row[end] == row[start]:
            end += 1
        room = 8
        while room < 2 * (end - start):
            room *= 2
        places = np.full(room, -1, np.int64)  # of hashes, in `kept`
        for i in range(start, end):
            at = np.int64((name[i] * kernel.GOLDEN) >> np.uint64(32)) & (room - 1)
            while places[at] >= 0 and (name[kept[places[at]]] != name[i] or kind[kept[places[at]]] != kind[i]):
                at = (at + 1) & (room - 1)
            if places[at] < 0:
                places[at], kept[made], total[made] = made, i, 0
                made += 1
            total[places[at]] += weight[i]
        start = end
    return kept[:made], total[:made]


def loudest(pieces: Pieces, top: int) -> Pieces:
    """Of each row the `top` pieces that add most, for or against, the loudest first; those that add nothing are left out."""
    rows = int(pieces.row.max()) + 1 if len(pieces.row) else 0
    chosen = _loudest(pieces.row, pieces.name, pieces.weight, rows, top)
    return Pieces(*(array[chosen] for array in pieces))


@njit(cache=True, nogil=True)
def _loudest(row, name, weight, rows, top):
    found = np.full((rows, top), -1, np.int64)
    for i in range(len(row)):
        loud = abs(weight[i])
        if loud <= 1e-6:
            continue
        line, at = found[row[i]], top
        while at > 0:
            other = line[at - 1]
            if other >= 0 and (abs(weight[other]) > loud or (abs(weight[other]) == loud and name[other] <= name[i])):
                break
            at -= 1
        if at < top:
            for later in range(top - 1, at, -1):
                line[later] = line[later - 1]
            line[at] = i
    flat = found.reshape(found.size)
    return flat[flat >= 0]


def names(model: Model, pieces: Pieces, tokens: pa.Array, facts: pa.Array) -> pa.Array:
    """The pieces in words; tokens and facts as `margins` was given them."""
    stated = pieces.kind == FACT
    said = pa.nulls(len(stated), pa.string())
    if not stated.all():
        ends = [tokens.values.take(pa.array(at, mask=stated)) for at in (pieces.first, pieces.last)]
        between = pa.array([None, " ", " … "]).take(pa.array(pieces.kind, mask=stated | (pieces.kind == WORD)))
        said = pc.coalesce(pc.binary_join_element_wise(ends[0], ends[1], between), ends[0])
        fields = pa.array([None, *(f"{field}: " for field in model.text.fields[1:])], pa.string())
        fields = fields.take(pa.array(pieces.field))
        said = pc.coalesce(pc.binary_join_element_wise(fields, said, ""), said)
    if stated.any():
        told = np.flatnonzero(stated)
        said = pc.replace_with_mask(said, pa.array(stated), pa.array(_facts(model, pieces, told, facts)))
    return said


def _facts(model: Model, pieces: Pieces, told: np.ndarray, facts: pa.Array) -> list[str]:
    """The pieces at `told`, which are facts, in words."""
    cuts = model.facts.cuts
    feature, row = pieces.first[told], pieces.row[told]
    counted = np.unique(row[feature < cuts])
    values = dict(zip(counted.tolist(), facts.take(pa.array(counted)).to_pylist()))
    numbers = {first: name for name, first in model.facts.first.items()}
    named = np.unique(feature[feature >= cuts])
    words = dict(zip(named.tolist(), model.facts.words.take(pa.array(named - cuts)).to_pylist()))
    out = []
    for at, number in zip(row.tolist(), feature.tolist()):
        if number < cuts:
            name = numbers[number]
            out.append(_fact(name, next(fact["value"] for fact in values[at] if fact["name"] == name)))
        else:
            out.append(_fact(*words[number].split("\x1f", 1)))
    return out


def _fact(name: str, value: str) -> str:
    if name.startswith("[price]"):
        return f"price = {value} {name.removeprefix('[price]').strip()}".rstrip()
    return f"{name.strip('[]')} = {value}"


def column(model: Model, tokens: pa.Array, facts: pa.Array, said: Answer, top: int = TOP) -> pa.Array:
    """The `TYPE` column of a batch: of rows for review the loudest pieces for their best category over the next; else null."""
    rows = np.flatnonzero(said.decision == REVIEW)
    lengths = np.zeros(len(said.decision), np.int64)
    spoken, weight = pa.array([], pa.string()), np.empty(0)
    if len(rows):
        chosen = pa.array(rows)
        tokens, facts = whole(tokens.take(chosen)), whole(facts.take(chosen))
        other = said.number[rows, 1] if said.number.shape[1] > 1 else np.full(len(rows), -1)
        heard = loudest(margins(model, tokens, facts, said.number[rows, 0], other), top)
        spoken, weight = names(model, heard, tokens, facts), heard.weight
        lengths[rows] = np.bincount(heard.row, minlength=len(rows))
    told = pa.StructArray.from_arrays([spoken, pa.array(weight)], names=["feature", "weight"])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    missing = pa.array(said.decision != REVIEW)
    return pa.ListArray.from_arrays(pa.array(offsets), told, type=TYPE, mask=missing)


def whole(lists: pa.Array) -> pa.Array:
    """A list column in one piece and without nulls: a null has no entries."""
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    return lists.fill_null(pa.scalar([], lists.type)) if lists.null_count else lists
