"""Text features in numba: token lists to sparse TF-IDF rows, straight from Arrow buffers. No Spark here.

1. `ngrams`: word 1-2-grams, character 2-5-grams and pairs of words further apart, hashed into columns, counted per row.
2. `vocabulary`: the hashed columns seen often enough, numbered by falling document frequency, and their IDF.
3. `weigh`: sublinear TF x IDF; word grams and character grams are each scaled to L2 norm 1, as a union of two
   TF-IDF vectorisers does, so that two hundred character grams do not drown eight words; pairs to `PAIR_NORM`.

A pair is what a linear model cannot see in two words: "vegan ... cheese" is neither vegan in general nor cheese.

Hashing instead of a dictionary keeps workers independent: no pass to agree on names (Weinberger et al. 2009, "Feature
Hashing for Large Scale Multitask Learning"). Rows are sparse as everywhere: `indptr` int64[n + 1], columns, values.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import njit

FNV_OFFSET = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bit: offset and prime as published
FNV_PRIME = np.uint64(0x100000001B3)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: makes (a, b) and (b, a) two bigrams
SPACE = np.uint8(0x20)  # between words, before the first and after the last
SHORTEST, LONGEST = 2, 5  # characters of a gram
FIELDS = 7  # a token of the single byte 1..7 says that the tokens after it are of that field
PAIR_SHARE = 2  # pairs have half as many columns beside those of the grams
WORD_SHARE = 4  # a quarter of the columns is for word grams, the rest for the (more) character grams
PAIR_WORDS = 16  # words of a text that are paired: its head says what the thing is
PAIR_NORM = 0.5  # L2 norm of a row's pairs; at 1 long titles suffer (amazon_in: -0.9 points of macro-F1)
SCALE = np.float32(1 / 65535)  # values are at most 1 and kept as uint16: error 8e-6, half the bytes of float32


@njit(cache=True, nogil=True, inline="always")
def _mix(h):
    """Finaliser of MurmurHash3, 64 bit: FNV alone leaves its high bits poor on short texts."""
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@njit(cache=True, nogil=True, inline="always")
def _column(h, low, span):
    """Hash -> column in [low, low + span), without modulo (Lemire 2019)."""
    return np.uint32(low + (((_mix(h) >> np.uint64(32)) * np.uint64(span)) >> np.uint64(32)))


@njit(cache=True, nogil=True)
def _char_grams(text, size, salt, low, span, out, used):
    """Write the column of every character gram of text[:size] to out[used:]; returns the new `used`.

    text is UTF-8: " word word ", each space the end of one word and the start of the next.
    """
    for p in range(size):
        if (text[p] & 0xC0) == 0x80:  # 10xxxxxx continues a code point and never starts one
            continue
        h = salt
        end, length = p, 0
        while end < size and length < LONGEST:
            h = (h ^ np.uint64(text[end])) * FNV_PRIME
            end += 1
            while end < size and (text[end] & 0xC0) == 0x80:
                h = (h ^ np.uint64(text[end])) * FNV_PRIME
                end += 1
            length += 1
            if length >= SHORTEST:
                out[used] = _column(h, low, span)
                used += 1
                if text[end - 1] == SPACE:  # the word's end: grams do not cross words
                    break
    return used


@njit(cache=True, nogil=True)
def _pairs(hashes, n, apart, low, span, out, used):
    """Write the column of every unordered pair of the words hashes[:n] that are 2 to `apart` words apart."""
    for i in range(n):
        for j in range(i + 2, min(n, i + apart + 1)):
            a, b = min(hashes[i], hashes[j]), max(hashes[i], hashes[j])
            out[used] = _column((a * GOLDEN) ^ b, low, span)
            used += 1
    return used


@njit(cache=True, nogil=True)
def _count(columns, counts, start, end, row, slot, stamp):
    """Count equal entries of columns[start:end] and keep the first of each, in place; returns the new end.

    `slot` and `stamp` are an open-addressing table; a stamp of another row means an empty place.
    """
    mask = np.uint32(len(slot) - 1)
    used = start
    for j in range(start, end):
        column = columns[j]
        at = (column * np.uint32(0x9E3779B1)) & mask
        found = False
        while stamp[at] == row:
            if columns[slot[at]] == column:
                if counts[slot[at]] < 255:
                    counts[slot[at]] += np.uint8(1)
                found = True
                break
            at = (at + np.uint32(1)) & mask
        if not found:
            stamp[at], slot[at] = row, used
            columns[used], counts[used] = column, np.uint8(1)
            used += 1
    return used


@njit(cache=True, nogil=True)
def _ngrams(rows, tokens, text, bits, char_fields, limits, apart, columns, counts, slot, stamp, line):
    words = (1 << bits) // WORD_SHARE
    chars = (1 << bits) - words
    first = np.empty(PAIR_WORDS, np.uint64)  # hashes of the first words of field 0
    indptr = np.zeros(len(rows), np.int64)
    used = 0
    for i in range(len(rows) - 1):
        start = used
        field, seen, size = 0, 0, 0
        before, has_before = np.uint64(0), False
        salt = FNV_OFFSET
        head = 0
        for t in range(rows[i], rows[i + 1]):
            a, b = tokens[t], tokens[t + 1]
            if b - a == 1 and 0 < text[a] <= FIELDS:
                used = _char_grams(line, size, salt, words, chars, columns, used)
                field, seen, size, has_before = np.int64(text[a]), 0, 0, False
                salt = FNV_OFFSET ^ (np.uint64(field) * GOLDEN)
                continue
            if b == a or seen >= limits[field]:
                continue
            seen += 1
            h = salt
            for p in range(a, b):
                h = (h ^ np.uint64(text[p])) * FNV_PRIME
            columns[used] = _column(h, 0, words)
            used += 1
            if has_before:
                columns[used] = _column((before * GOLDEN) ^ h, 0, words)
                used += 1
            before, has_before = h, True
            if field == 0 and head < PAIR_WORDS:
                first[head] = h
                head += 1
            if char_fields[field]:
                if size == 0:
                    line[0] = SPACE
                    size = 1
                for p in range(a, b):
                    line[size] = text[p]
                    size += 1
                line[size] = SPACE
                size += 1
        used = _char_grams(line, size, salt, words, chars, columns, used)
        if apart:
            used = _pairs(first, head, apart, 1 << bits, (1 << bits) // PAIR_SHARE, columns, used)
        used = _count(columns, counts, start, used, i + 1, slot, stamp)
        indptr[i + 1] = used
    return indptr


def ngrams(
    tokens: pa.Array,
    bits: int,
    char_fields: tuple[int, ...] = (0,),
    limits: dict[int, int] | None = None,
    apart: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the hashed n-grams of each row.

    tokens: list<string> array, lower case; null and empty rows have no features. A token of one byte 1..7 starts
    that field (none before: field 0); fields have grams of their own. char_fields: fields whose words also give
    character grams; limits: words taken of a field at the most; apart: words of field 0 up to so many places from each
    other are paired (0: none), whatever their order.
    Returns indptr int64[n + 1], columns uint32 (in order of first appearance), counts uint8 (255 stands for more).
    Columns below 2**bits / 4 are word 1-2-grams, up to 2**bits character 2-5-grams within words, and from there to
    `width` pairs.
    """
    rows, offsets, text = _buffers(tokens)
    n_tokens = int(rows[-1] - rows[0]) if len(rows) > 1 else 0
    n_bytes = int(offsets[rows[-1]] - offsets[rows[0]]) if n_tokens else 0
    per_start = LONGEST - SHORTEST + 1
    # Each byte and each space starts at most four grams, each token ends a word and a bigram.
    paired = max(apart - 1, 0)
    most = (2 + paired) * n_tokens + per_start * (n_bytes + 2 * n_tokens) + 1
    longest, widest = 1, 1
    if n_tokens:
        sizes, lengths = offsets[rows[1:]] - offsets[rows[:-1]], np.diff(rows)
        longest = int(((2 + paired) * lengths + per_start * (sizes + 2 * lengths)).max())
        widest = int((sizes + 2 * lengths).max())
    table = 1 << max(6, (2 * longest).bit_length())
    columns, counts = np.empty(most, np.uint32), np.empty(most, np.uint8)
    with_chars = np.zeros(FIELDS + 1, np.bool_)
    with_chars[list(char_fields)] = True
    most_words = np.full(FIELDS + 1, np.iinfo(np.int64).max)
    for field, limit in (limits or {}).items():
        most_words[field] = limit
    slot, stamp = np.empty(table, np.int64), np.zeros(table, np.int32)
    line = np.empty(widest, np.uint8)
    indptr = _ngrams(rows, offsets, text, bits, with_chars, most_words, apart, columns, counts, slot, stamp, line)
    used = indptr[-1]
    return indptr, columns[:used].copy(), counts[:used].copy()


def _buffers(tokens: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row offsets into tokens, token offsets into bytes, the bytes; int64, honouring slices and nulls."""
    if isinstance(tokens, pa.ChunkedArray):
        tokens = tokens.combine_chunks()
    if tokens.null_count:
        empty = pa.scalar([], tokens.type)
        tokens = tokens.fill_null(empty)
    values = tokens.values
    if values.null_count:
        values = values.fill_null("")
    rows = np.asarray(tokens.offsets).astype(np.int64)
    wide = pa.types.is_large_string(values.type)
    _, offsets, text = values.buffers()
    width = np.int64 if wide else np.int32
    if offsets is None or len(values) == 0:
        return np.zeros(len(tokens) + 1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.uint8)
    ends = np.frombuffer(offsets, width)[values.offset : values.offset + len(values) + 1].astype(np.int64)
    data = np.frombuffer(text, np.uint8) if text is not None and text.size else np.zeros(1, np.uint8)
    return rows, ends, data


def width(bits: int) -> int:
    """How many columns `ngrams` hashes into."""
    return (1 << bits) + (1 << bits) // PAIR_SHARE


def document_frequency(columns: np.ndarray, bits: int) -> np.ndarray:
    """Rows in which each hashed column appears, int64[width(bits)]; partial sums of parts add up."""
    return np.bincount(columns, minlength=width(bits))


def vocabulary(
    frequency: np.ndarray, rows: int, min_rows: int, before: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The columns that are learnt from, numbered by falling document frequency.

    before: lookup and idf of a model that keeps its numbers and weights; what was not learnt from then comes behind.
    Returns lookup int32[width(bits)] (-1: not learnt from) and idf float32[learnt], the smoothed
    ln((1 + n) / (1 + df)) + 1 of scikit-learn. Frequent columns get neighbouring numbers: their weights share pages.
    """
    lookup, idf = before or (np.full(len(frequency), -1, np.int32), np.empty(0, np.float32))
    known = np.flatnonzero((frequency >= min_rows) & (lookup < 0))
    order = known[np.argsort(-frequency[known], kind="stable")]
    lookup = lookup.copy()
    lookup[order] = np.arange(len(idf), len(idf) + len(order), dtype=np.int32)
    fresh = np.log((1 + rows) / (1 + frequency[order])) + 1
    return lookup, np.concatenate([idf, fresh.astype(np.float32)])


@njit(cache=True, nogil=True)
def _weigh(indptr, columns, counts, damped, lookup, idf, words, grams, out_indptr, out_columns, out_values):
    used = 0
    for i in range(len(indptr) - 1):
        word_norm, char_norm, pair_norm = 0.0, 0.0, 0.0
        for j in range(indptr[i], indptr[i + 1]):
            at = lookup[columns[j]]
            if at < 0:
                continue
            value = damped[counts[j]] * idf[at]
            if columns[j] < words:
                word_norm += value * value
            elif columns[j] < grams:
                char_norm += value * value
            else:
                pair_norm += value * value
        word_norm = 65535.0 / np.sqrt(word_norm) if word_norm > 0 else 0.0
        char_norm = 65535.0 / np.sqrt(char_norm) if char_norm > 0 else 0.0
        pair_norm = PAIR_NORM * 65535.0 / np.sqrt(pair_norm) if pair_norm > 0 else 0.0
        for j in range(indptr[i], indptr[i + 1]):
            at = lookup[columns[j]]
            if at < 0:
                continue
            value = damped[counts[j]] * idf[at]
            value *= word_norm if columns[j] < words else char_norm if columns[j] < grams else pair_norm
            out_columns[used] = at
            out_values[used] = np.uint16(value + 0.5)
            used += 1
        out_indptr[i + 1] = used
    return used


def weigh(
    indptr: np.ndarray, columns: np.ndarray, counts: np.ndarray, lookup: np.ndarray, idf: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(1 + ln tf) x idf of the known columns; word grams and character grams each of L2 norm 1, pairs of `PAIR_NORM`.

    Returns indptr int64[n + 1], columns int32 (numbers of `vocabulary`), values uint16 (value x 65535).
    """
    out_columns, out_values = np.empty(len(columns), np.int32), np.empty(len(columns), np.uint16)
    out_indptr = np.zeros(len(indptr), np.int64)
    grams = len(lookup) * PAIR_SHARE // (PAIR_SHARE + 1)
    words = grams // WORD_SHARE
    damped = np.concatenate([[0.0], 1 + np.log(np.arange(1, 256))])
    used = _weigh(indptr, columns, counts, damped, lookup, idf, words, grams, out_indptr, out_columns, out_values)
    return out_indptr, out_columns[:used].copy(), out_values[:used].copy()
