"""Features: the kernels against slow, obvious references."""

import math
from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.text import kernel

MASK = (1 << 64) - 1
BITS = 14
FNV, PRIME, GOLDEN = 0xCBF29CE484222325, 0x100000001B3, 0x9E3779B97F4A7C15


def fnv(data: bytes, salt: int) -> int:
    h = salt
    for byte in data:
        h = (h ^ byte) * PRIME & MASK
    return h


def column(h: int, low: int, span: int) -> int:
    h ^= h >> 33
    h = h * 0xFF51AFD7ED558CCD & MASK
    h ^= h >> 33
    h = h * 0xC4CEB9FE1A85EC53 & MASK
    h ^= h >> 33
    return low + ((h >> 32) * span >> 32)


def reference(tokens, char_fields=(0,), limits=None, apart=0):
    """Counts of hashed columns of one row, in Python's own terms."""
    words = (1 << BITS) // 4
    chars = (1 << BITS) - words
    parts = [(0, [])]
    for token in tokens or []:
        if len(token.encode()) == 1 and 1 <= ord(token) <= 7:
            parts.append((ord(token), []))
        elif token:
            parts[-1][1].append(token)
    out: Counter = Counter()
    for field, kept in parts:
        kept = kept[: (limits or {}).get(field, len(kept))]
        salt = FNV ^ (field * GOLDEN & MASK)
        hashes = [fnv(word.encode(), salt) for word in kept]
        out.update(column(h, 0, words) for h in hashes)
        out.update(column((a * GOLDEN & MASK) ^ b, 0, words) for a, b in pairwise(hashes))
        if field in char_fields:
            # Each word with its two spaces; the space between two words belongs to both.
            for word in kept:
                padded = f" {word} "
                for n in range(2, 6):
                    grams = [padded[i : i + n] for i in range(len(padded) - n + 1)]
                    out.update(column(fnv(g.encode(), salt), words, chars) for g in grams)
    head = [fnv(word.encode(), FNV) for word in parts[0][1][: (limits or {}).get(0)]][:16]
    for i, j in combinations(range(len(head)), 2):
        if 2 <= j - i <= apart:
            a, b = sorted((head[i], head[j]))
            out[column((a * GOLDEN & MASK) ^ b, 1 << BITS, 1 << BITS - 1)] += 1
    return out


WORD = st.text(st.sampled_from("abz09éßø日本ไท한🙂"), min_size=1, max_size=7)
MARK = st.sampled_from(["\x01", "\x02", "\x07"])
ROWS = st.lists(st.none() | st.lists(st.one_of(WORD, WORD, WORD, MARK), max_size=9), max_size=8)


def counted(rows, char_fields=(0,), limits=None, apart=0):
    array = pa.array(rows, pa.list_(pa.string()))
    indptr, columns, counts = kernel.ngrams(array, BITS, char_fields, limits, apart)
    return [dict(zip(columns[a:b].tolist(), counts[a:b].tolist())) for a, b in pairwise(indptr)]


@settings(deadline=None, max_examples=150)
@given(ROWS)
def test_ngrams_are_those_of_the_reference(rows):
    assert counted(rows) == [dict(reference(row)) for row in rows]


@settings(deadline=None, max_examples=50)
@given(ROWS)
def test_fields_have_grams_of_their_own(rows):
    assert counted(rows, (0, 1), {1: 2}) == [dict(reference(row, (0, 1), {1: 2})) for row in rows]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(st.one_of(WORD, WORD, WORD, MARK), max_size=24), max_size=4), st.sampled_from([2, 4, 15]))
def test_pairs_are_those_of_the_reference_whatever_the_order_of_the_words(rows, apart):
    assert counted(rows, apart=apart) == [dict(reference(row, apart=apart)) for row in rows]


def test_a_pair_is_one_whatever_the_order_of_its_words():
    one, other = ({c for c in got if c >= 1 << BITS} for got in counted([["a", "x", "b"], ["b", "y", "a"]], apart=2))
    assert len(one) == 1
    assert one == other


@settings(deadline=None, max_examples=50)
@given(ROWS, st.integers(0, 3))
def test_a_slice_of_a_batch_is_read_from_its_start(rows, at):
    array = pa.array(rows, pa.list_(pa.string())).slice(at)
    indptr, columns, _ = kernel.ngrams(array, BITS)
    other = kernel.ngrams(pa.array(rows[at:], pa.list_(pa.string())), BITS)
    np.testing.assert_array_equal(indptr, other[0])
    np.testing.assert_array_equal(columns, other[1])


def test_large_strings_give_the_same_as_small_ones():
    small = pa.array([["red", "shoe"], [], ["ไทย"]])
    large = small.cast(pa.large_list(pa.large_string()))
    for a, b in zip(kernel.ngrams(small, BITS), kernel.ngrams(large, BITS)):
        np.testing.assert_array_equal(a, b)


def test_counts_stop_at_255():
    _, _, counts = kernel.ngrams(pa.array([["a"] * 1000]), BITS)
    assert counts.max() == 255


def test_columns_of_different_grams_are_spread():
    words = [[f"w{i}"] for i in range(2000)]
    _, columns, _ = kernel.ngrams(pa.array(words), 20, char_fields=())
    # 2000 balls in 2**18 boxes: about 8 meet
    assert len(set(columns.tolist())) > 1980


def test_vocabulary_numbers_columns_by_falling_frequency():
    lookup, idf = kernel.vocabulary(np.array([3, 0, 1, 9, 3]), rows=9, min_rows=2)
    assert lookup.tolist() == [1, -1, -1, 0, 2]
    np.testing.assert_allclose(idf, [math.log(10 / 10) + 1, math.log(10 / 4) + 1, math.log(10 / 4) + 1], rtol=1e-6)


def _pairs(words, apart=3):
    return [" ".join(sorted((a, b))) for i, a in enumerate(words) for b in words[i + 2 : i + apart + 1]]


def test_weights_are_those_of_three_tfidf_vectorisers():
    pytest.importorskip("sklearn")
    from sklearn.feature_extraction.text import TfidfVectorizer

    titles = ["red shoe red", "blue shoe for men", "red kettle", "shoe lace", "kettle for tea and tea and tea"]
    tokens = [t.split() for t in titles]
    indptr, columns, counts = kernel.ngrams(
        pa.array(tokens), 24, apart=3
    )  # wide enough that these grams do not collide
    lookup, idf = kernel.vocabulary(kernel.document_frequency(columns, 24), len(titles), 1)
    ends, _, values = kernel.weigh(indptr, columns, counts, lookup, idf)
    options = {"sublinear_tf": True, "token_pattern": r"\S+"}
    theirs = [
        TfidfVectorizer(ngram_range=(1, 2), **options).fit_transform(titles),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True).fit_transform(titles),
        TfidfVectorizer(analyzer=_pairs, sublinear_tf=True).fit_transform(tokens) * kernel.PAIR_NORM,
    ]
    for i in range(len(titles)):
        expected = np.sort(np.concatenate([matrix[i].data for matrix in theirs]))
        np.testing.assert_allclose(np.sort(values[ends[i] : ends[i + 1]] / 65535), expected, atol=1e-5)


def test_unknown_columns_are_left_out():
    lookup, idf = np.full(kernel.width(BITS), -1, np.int32), np.zeros(0, np.float32)
    ends, columns, values = kernel.weigh(*kernel.ngrams(pa.array([["red"]]), BITS), lookup, idf)
    assert ends.tolist() == [0, 0]
    assert len(columns) == len(values) == 0
