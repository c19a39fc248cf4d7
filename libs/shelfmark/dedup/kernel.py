"""Shingles, MinHash, exact Jaccard and connected components on NumPy arrays; no Spark here.

A text is a row of a UTF-8 buffer with offsets, straight from an Arrow string array (`text_buffers`).

The maths (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3): two texts agree in one
MinHash with probability J, their Jaccard similarity, so in a whole band of r hashes with J**r, and in at least one of
b bands with 1 - (1 - J**r)**b (see `bands`). With b = 16 bands of r = 8 that is .947 at J = .8, .61 at .7 and .06 at .5.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

_M1 = np.uint64(0xFF51AFD7ED558CCD)  # the two multipliers of MurmurHash3's 64-bit finaliser
_M2 = np.uint64(0xC4CEB9FE1A85EC53)
_S33 = np.uint64(33)
_S32 = np.uint64(32)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads consecutive numbers


def normalise(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Texts as the similarity sees them: lower case, every run of anything but letters, marks and digits one space.

    Marks stay: Hindi and other Brahmic vowels are marks. Null becomes the empty text.
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    lower = pc.utf8_lower(pc.fill_null(texts.cast(pa.string()), ""))
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(lower, pattern=r"[^\pL\pN\pM]+", replacement=" "))


def text_buffers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 bytes, int64 offsets of length n + 1) of a string array without nulls, without a copy of the bytes."""
    texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64, len(texts) + 1, texts.offset * 8) if offsets else np.zeros(1, np.int64)
    return np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8), bounds


def coefficients(hashes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Odd multipliers a and increments b (uint32) of the hash family h -> a*h + b modulo 2**32.

    The shingle hashes are well mixed already, so the missing modulo by a prime biases nothing (measured).
    """
    random = np.random.default_rng(seed)
    a = random.integers(0, 2**32, hashes, dtype=np.uint32) | np.uint32(1)
    return a, random.integers(0, 2**32, hashes, dtype=np.uint32)


@njit(cache=True, nogil=True, inline="always")
def _mix(h):
    h ^= h >> _S33
    h *= _M1
    h ^= h >> _S33
    h *= _M2
    h ^= h >> _S33
    return h


@njit(cache=True, nogil=True)
def text_keys(data, offsets):
    """64-bit hash of each text's bytes (uint64, n). Two of 100 million texts collide with probability 3e-4."""
    n = len(offsets) - 1
    keys = np.empty(n, np.uint64)
    for i in range(n):
        h = _GOLDEN
        for p in range(offsets[i], offsets[i + 1]):
            h = (h ^ np.uint64(data[p])) * np.uint64(0x100000001B3)  # FNV-1a's prime
        keys[i] = _mix(h ^ np.uint64(offsets[i + 1] - offsets[i]))
    return keys


@njit(cache=True, nogil=True)
def _codepoints(data, start, stop, into):
    """Decode UTF-8 bytes start..stop into `into`; how many code points there are."""
    n = 0
    p = start
    while p < stop:
        c = np.uint32(data[p])
        if c < 0x80:
            size = 1
        elif c < 0xE0:
            c &= np.uint32(0x1F)
            size = 2
        elif c < 0xF0:
            c &= np.uint32(0x0F)
            size = 3
        else:
            c &= np.uint32(0x07)
            size = 4
        for q in range(p + 1, min(p + size, stop)):
            c = (c << np.uint32(6)) | np.uint32(data[q] & 0x3F)
        into[n] = c
        n += 1
        p += size
    return n


@njit(cache=True, nogil=True, inline="always")
def _stands_alone(code):
    """Whether a code point is of a script written without spaces: each is then a word of its own."""
    return (
        0x0E00 <= code <= 0x0EFF  # Thai, Lao
        or 0x1000 <= code <= 0x109F  # Myanmar
        or 0x1780 <= code <= 0x17FF  # Khmer
        or 0x3040 <= code <= 0x30FF  # Hiragana, Katakana
        or 0x3400 <= code <= 0x9FFF  # Han
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x3FFFF
    )


@njit(cache=True, nogil=True)
def _words(codes, n):
    """Replace the code points of a normalised text by a 32-bit hash of each word, in place; how many there are."""
    count = 0
    h = _GOLDEN
    inside = False
    for i in range(n):
        code = codes[i]
        alone = _stands_alone(code)
        if inside and (alone or code == 0x20):
            codes[count] = np.uint32(_mix(h) >> _S32)
            count += 1
            h = _GOLDEN
            inside = False
        if alone:
            codes[count] = code
            count += 1
        elif code != 0x20:
            h = (h ^ np.uint64(code)) * _M1
            h ^= h >> _S32
            inside = True
    if inside:
        codes[count] = np.uint32(_mix(h) >> _S32)
        count += 1
    return count


@njit(cache=True, nogil=True)
def _units(data, start, stop, words, into):
    """What shingles are windows of, code points or words, into `into`; how many there are."""
    n = _codepoints(data, start, stop, into)
    return _words(into, n) if words else n


@njit(cache=True, nogil=True)
def _shingles(codes, n, size, into):
    """Hash every window of `size` units; a text shorter than that is one shingle itself. Returns how many."""
    if n == 0:
        return 0
    width = min(size, n)
    count = n - width + 1
    for i in range(count):
        h = np.uint64(width)
        for j in range(i, i + width):
            h = (h ^ np.uint64(codes[j])) * _M1
            h ^= h >> _S32
        into[i] = np.uint32(_mix(h) >> _S32)
    return count


@njit(cache=True, nogil=True)
def _longest(offsets):
    longest = 1
    for i in range(len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    return longest


@njit(cache=True, nogil=True)
def _insertion_sort(values, n):
    """In place; for a title's few dozen shingles three times as fast as np.sort."""
    for i in range(1, n):
        x = values[i]
        j = i
        while j > 0 and values[j - 1] > x:
            values[j] = values[j - 1]
            j -= 1
        values[j] = x


@njit(cache=True, nogil=True)
def shingle_sets(data, offsets, size, words=False):
    """The sets of shingles of `size` code points, or `words`.

    Returns (hashes uint32, bounds int64 n + 1): the sorted distinct shingle hashes of text i are hashes[bounds[i]:bounds[i+1]].
    """
    n = len(offsets) - 1
    longest = _longest(offsets)
    codes = np.empty(longest, np.uint32)
    one = np.empty(longest, np.uint32)
    total = 0
    for i in range(n):
        total += offsets[i + 1] - offsets[i]
    hashes = np.empty(total, np.uint32)
    bounds = np.zeros(n + 1, np.int64)
    at = 0
    for i in range(n):
        count = _shingles(codes, _units(data, offsets[i], offsets[i + 1], words, codes), size, one)
        if count > 256:
            one[:count] = np.sort(one[:count])
        else:
            _insertion_sort(one, count)
        for j in range(count):
            if j == 0 or one[j] != one[j - 1]:
                hashes[at] = one[j]
                at += 1
        bounds[i + 1] = at
    return hashes[:at].copy(), bounds


@njit(cache=True, nogil=True)
def _jaccard(hashes, i, i_end, j, j_end):
    sizes = (i_end - i) + (j_end - j)
    if sizes == 0:
        return 0.0  # two empty texts say nothing about each other
    common = 0
    while i < i_end and j < j_end:
        x, y = hashes[i], hashes[j]
        common += x == y
        i += x <= y
        j += y <= x
    return common / (sizes - common)


@njit(cache=True, nogil=True)
def jaccard(hashes, bounds, left, right):
    """Exact Jaccard similarity (float64) of the sets left[k] and right[k] of `shingle_sets`; 0 for two empty ones."""
    result = np.empty(len(left), np.float64)
    for k in range(len(left)):
        a, b = left[k], right[k]
        result[k] = _jaccard(hashes, bounds[a], bounds[a + 1], bounds[b], bounds[b + 1])
    return result


@njit(cache=True, nogil=True)
def signatures(data, offsets, size, a, b, words=False):
    """MinHash signatures (uint32, n x K) of the texts' shingles of `size` code points, or `words`; an empty text's is all ones."""
    n = len(offsets) - 1
    longest = _longest(offsets)
    codes = np.empty(longest, np.uint32)
    one = np.empty(longest, np.uint32)
    result = np.empty((n, len(a)), np.uint32)
    for i in range(n):
        count = _shingles(codes, _units(data, offsets[i], offsets[i + 1], words, codes), size, one)
        row = result[i]
        row[:] = np.uint32(0xFFFFFFFF)
        for j in range(count):
            h = one[j]
            for k in range(len(a)):  # the compiler turns this loop into vector instructions
                value = np.uint32(a[k] * h + b[k])  # Numba widens the product to 64 bits
                row[k] = value if value < row[k] else row[k]
    return result


@njit(cache=True, nogil=True)
def band_keys(signature, bands):
    """A 64-bit key (uint64, n x bands) of each band of K // bands signature values; bands never share keys."""
    n, width = signature.shape[0], signature.shape[1] // bands
    keys = np.empty((n, bands), np.uint64)
    for i in range(n):
        for band in range(bands):
            h = _mix(np.uint64(band + 1) * _GOLDEN)
            for k in range(band * width, (band + 1) * width):
                h = (h ^ np.uint64(signature[i, k])) * _M1
                h ^= h >> _S32
            keys[i, band] = _mix(h)
    return keys


@njit(cache=True, nogil=True)
def star_edges(keys, members):
    """Edges (left, right) inside every bucket of equal `keys` (sorted): to its smallest member and to its second.

    A star has size - 1 edges where all pairs have size**2 / 2. A false smallest member would lose the others, hence
    the second anchor; the other bands draw other anchors too. Members may repeat.
    """
    n = len(keys)
    left = np.empty(2 * n, members.dtype)
    right = np.empty(2 * n, members.dtype)
    at = 0
    start = 0
    while start < n:
        stop = start + 1
        while stop < n and keys[stop] == keys[start]:
            stop += 1
        if stop - start > 1:
            first = members[start]
            for i in range(start + 1, stop):
                first = min(first, members[i])
            second = first
            for i in range(start, stop):
                if members[i] != first and (second == first or members[i] < second):
                    second = members[i]
            for i in range(start, stop):
                x = members[i]
                if x != first:
                    left[at], right[at] = first, x
                    at += 1
                    if x != second:
                        left[at], right[at] = second, x
                        at += 1
        start = stop
    return left[:at].copy(), right[:at].copy()


@njit(cache=True, nogil=True)
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]  # path halving (Tarjan, van Leeuwen 1984)
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def union(n, left, right):
    """Connected components of the edges (left[k], right[k]) between nodes 0..n-1.

    Returns (label int64 n: the smallest node of the component, kept bool: the edges of a spanning forest).
    """
    parent = np.arange(n)
    kept = np.zeros(len(left), np.bool_)
    for k in range(len(left)):
        a, b = _root(parent, left[k]), _root(parent, right[k])
        if a != b:
            kept[k] = True
            parent[max(a, b)] = min(a, b)
    for i in range(n):
        parent[i] = _root(parent, i)
    return parent, kept


@njit(cache=True, nogil=True)
def star(node, other, large):
    """Large-star or small-star (Kiveris et al. 2014) of the edges node[k] - other[k].

    Large, with each edge given from both ends: links every larger neighbour of a node to the smallest of the node and
    its neighbours. Small, with each edge given from its larger end: links a node and its other neighbours to the smallest
    of these. Returns (smallest, linked, moved): the new edges, distinct for each node, and whether any is new.
    """
    order = np.argsort(node, kind="mergesort")
    left = np.empty(len(node), np.int64)
    right = np.empty(len(node), np.int64)
    at = 0
    moved = False
    start = 0
    while start < len(order):
        u = node[order[start]]
        stop = start
        while stop < len(order) and node[order[stop]] == u:
            stop += 1
        near = np.sort(other[order[start:stop]])
        smallest = min(u, near[0])
        if not large:
            left[at], right[at] = smallest, u
            at += 1
        last = u if large else smallest
        for v in near:
            if v > last:
                left[at], right[at] = smallest, v
                at += 1
                moved = moved or smallest != u
                last = v
        start = stop
    return left[:at].copy(), right[:at].copy(), moved


@njit(cache=True, nogil=True)
def smallest(node, other):
    """(the distinct nodes, for each the smallest of it and its neighbours) of edges node[k] - other[k]."""
    order = np.argsort(node, kind="mergesort")
    nodes = np.empty(len(node), np.int64)
    least = np.empty(len(node), np.int64)
    at = -1
    for k in order:
        if at < 0 or nodes[at] != node[k]:
            at += 1
            nodes[at] = least[at] = node[k]
        least[at] = min(least[at], other[k])
    return nodes[: at + 1].copy(), least[: at + 1].copy()


@njit(cache=True, nogil=True)
def identity_stars(values, titles, limit):
    """For each record (sorted by value) the place of the first one with its value, or -1.

    -1 for that first one itself, and for all records of a value on more than `limit` different titles.
    """
    n = len(values)
    first = np.full(n, -1, np.int64)
    start = 0
    while start < n:
        stop = start + 1
        while stop < n and values[stop] == values[start]:
            stop += 1
        if stop - start > 1:
            ordered = np.sort(titles[start:stop])
            different = 1
            for i in range(1, len(ordered)):
                different += ordered[i] != ordered[i - 1]
            if different <= limit:
                first[start + 1 : stop] = start
        start = stop
    return first
