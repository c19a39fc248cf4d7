"""Shingles, MinHash, exact Jaccard and connected components on NumPy arrays; no Spark here.

A text is a row of a UTF-8 buffer with offsets, straight from an Arrow string array (`text_buffers`).

The maths (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3): two texts agree in one
MinHash with probability J, their Jaccard similarity, so in a whole band of r hashes with J**r, and in at least one of
b bands with 1 - (1 - J**r)**b (see `bands`). With b = 16 bands of r = 8 that is .947 at J = .8, .61 at .7 and .06 at .5.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

_M1 = np.uint64(0xFF51AFD7ED558CCD)  # the two multipliers of MurmurHash3's 64-bit finaliser
_M2 = np.uint64(0xC4CEB9FE1A85EC53)
_S33 = np.uint64(33)
_S32 = np.uint64(32)
_S5 = np.uint64(5)
_MASK5 = np.uint64(31)
_LOW = np.uint64(0xFFFFFFFF)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads consecutive numbers


@lru_cache(maxsize=1)
def alphabet() -> np.ndarray:
    """What `normalise` makes of every code point (uint32): its lower case, or a space of all but letters, marks and digits."""
    # No characters are the halves of surrogate pairs; planes 4 to 13 are empty, 15 and 16 for private use.
    codes = np.r_[0:0xD800, 0xE000:0x40000, 0xE0000:0xE1000].astype("<u4")
    lower = pc.utf8_lower(pa.array(list(codes.tobytes().decode("utf-32-le"))))
    kept = pc.match_substring_regex(lower, r"^[\pL\pN\pM]").to_numpy(zero_copy_only=False)
    table = np.full(0x110000, 0x20, np.uint32)
    table[codes] = np.where(kept, np.frombuffer("".join(lower.to_pylist()).encode("utf-32-le"), "<u4"), 0x20)
    return table


def normalise(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Texts as the similarity sees them: lower case, every run of anything but letters, marks and digits one space.

    Marks stay: Hindi and other Brahmic vowels are marks. Null becomes the empty text.
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    data, offsets = _normalised(*text_buffers(pc.fill_null(texts.cast(pa.string()), "")), alphabet())
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(texts), buffers).cast(pa.string())


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
def _normalised(data, offsets, table):
    """(UTF-8 bytes, offsets) of the texts by `alphabet`, runs of spaces one, none at the ends."""
    n = len(offsets) - 1
    into = np.empty((offsets[n] - offsets[0]) // 2 * 3 + 3, np.uint8)  # a lower case may take three bytes for two
    bounds = np.zeros(n + 1, np.int64)
    at = 0
    for i in range(n):
        start = at
        space = False
        p = offsets[i]
        while p < offsets[i + 1]:
            c = np.uint32(data[p])
            size = 1
            if c >= 0xF0:
                size = 4
                c &= np.uint32(0x07)
            elif c >= 0xE0:
                size = 3
                c &= np.uint32(0x0F)
            elif c >= 0x80:
                size = 2
                c &= np.uint32(0x1F)
            for q in range(p + 1, p + size):
                c = (c << np.uint32(6)) | np.uint32(data[q] & 0x3F)
            p += size
            c = table[c]
            if c == 0x20:
                space = True
                continue
            if space and at > start:
                into[at] = 0x20
                at += 1
            space = False
            if c < 0x80:
                into[at] = c
                at += 1
                continue
            size = 2 if c < 0x800 else 3 if c < 0x10000 else 4
            for q in range(size - 1, 0, -1):
                into[at + q] = 0x80 | (c & np.uint32(0x3F))
                c >>= np.uint32(6)
            into[at] = np.uint32(0xF00 >> size) & np.uint32(0xFF) | c
            at += size
        bounds[i + 1] = at
    return into[:at].copy(), bounds


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
    """Hash every window of `size` units; a text shorter than that is one shingle itself. Returns how many.

    A polynomial in the units modulo 2**64, so that the next window's follows from the last (Karp, Rabin 1987), mixed.
    """
    if n == 0:
        return 0
    width = min(size, n)
    oldest = np.uint64(1)
    h = np.uint64(0)
    for j in range(width):
        h = h * _M1 + np.uint64(codes[j])
        if j:
            oldest *= _M1
    salt = np.uint64(width) * _GOLDEN
    into[0] = np.uint32(_mix(h ^ salt) >> _S32)
    for i in range(1, n - width + 1):
        h = (h - np.uint64(codes[i - 1]) * oldest) * _M1 + np.uint64(codes[i + width - 1])
        into[i] = np.uint32(_mix(h ^ salt) >> _S32)
    return n - width + 1


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
def similarities(data, offsets, other_data, other_offsets, size, words=False):
    """Exact Jaccard similarity (float64) of the shingles of text i of one buffer and text i of the other; 0 for two empty ones."""
    n = len(offsets) - 1
    longest = max(_longest(offsets), _longest(other_offsets))
    codes = np.empty(longest, np.uint32)
    one = np.empty(longest, np.uint32)
    other = np.empty(longest, np.uint32)
    room = 16
    while room < 4 * longest:
        room *= 2
    # A hash table of the union; a slot is of this pair if its stamp says so, and the lower bit that it is of both.
    slots = np.empty(room, np.uint32)
    stamps = np.zeros(room, np.int64)
    result = np.empty(n, np.float64)
    for i in range(n):
        m = _shingles(codes, _units(data, offsets[i], offsets[i + 1], words, codes), size, one)
        k = _shingles(codes, _units(other_data, other_offsets[i], other_offsets[i + 1], words, codes), size, other)
        used = 16
        while used < 2 * (m + k):
            used *= 2
        mask = used - 1
        mine = 2 * (i + 1)
        union = 0
        common = 0
        for j in range(m):
            slot = one[j] & mask
            while stamps[slot] == mine and slots[slot] != one[j]:
                slot = (slot + 1) & mask
            if stamps[slot] != mine:
                stamps[slot] = mine
                slots[slot] = one[j]
                union += 1
        for j in range(k):
            slot = other[j] & mask
            while stamps[slot] >= mine and slots[slot] != other[j]:
                slot = (slot + 1) & mask
            if stamps[slot] < mine:
                stamps[slot] = mine + 1  # of the other alone, counted once
                slots[slot] = other[j]
                union += 1
            elif stamps[slot] == mine:
                stamps[slot] = mine + 1
                common += 1
        result[i] = common / union if union else 0.0
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
def shard_order(keys, shards):
    """(places int64 of the keys in the order of their shards, bounds int64 shards + 1): a stable counting sort.

    The shard of a 64-bit hash is that of its upper 31 bits; the lower ones may order the keys within it.
    """
    bounds = np.zeros(shards + 1, np.int64)
    for key in keys:
        bounds[np.int64(key >> _S33) % shards + 1] += 1
    for shard in range(shards):
        bounds[shard + 1] += bounds[shard]
    at = bounds[:-1].copy()
    order = np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        shard = np.int64(keys[i] >> _S33) % shards
        order[at[shard]] = i
        at[shard] += 1
    return order, bounds


@njit(cache=True, nogil=True)
def band_keys(signature, bands):
    """A 40-bit key (uint64, n x bands) of each band of K // bands signature values; bands never share keys.

    40 bits make a hundredth of a candidate a text by chance where there are 100 million texts of 16 bands.
    """
    n, width = signature.shape[0], signature.shape[1] // bands
    keys = np.empty((n, bands), np.uint64)
    for i in range(n):
        for band in range(bands):
            h = _mix(np.uint64(band + 1) * _GOLDEN)
            for k in range(band * width, (band + 1) * width):
                h = (h ^ np.uint64(signature[i, k])) * _M1
                h ^= h >> _S32
            keys[i, band] = _mix(h) >> np.uint64(24)
    return keys


def halves(keys):
    """The low 32 bits (uint32) and the high 8 (uint8) of `band_keys`, as they are stored and sorted."""
    return keys.astype(np.uint32), (keys >> _S32).astype(np.uint8)


def whole_keys(low, high):
    """The `band_keys` (uint64) of their `halves`."""
    return low.astype(np.uint64) | high.astype(np.uint64) << _S32


def band_shards(keys):
    """Hashes (uint64) by which `packed.pack` brings rows to the shards that `band_blobs` sends the `band_keys` to."""
    return keys * _GOLDEN


@njit(cache=True, nogil=True)
def band_blobs(keys, members, shards):
    """The `band_keys` (n x bands) of each member, for the shards of the keys: (bytes uint8, bounds int64 shards + 1).

    The blob of a shard, a multiple of 8 bytes: how many members it has (int64) and how many keys (int64), the members
    (uint64), the low 32 bits of the keys (uint32), how many keys are of each member (uint8), the high 8 bits (uint8).
    A member is written once for all its keys there, and no byte is copied again on its way to Arrow.
    """
    n, bands = keys.shape
    owners = np.zeros(shards, np.int64)
    rows = np.zeros(shards, np.int64)
    last = np.full(shards, -1, np.int64)
    of = np.empty(n * bands, np.int32)
    for i in range(n):
        for band in range(bands):
            shard = np.int64(keys[i, band] * _GOLDEN >> _S33) % shards
            of[i * bands + band] = shard
            owners[shard] += last[shard] != i
            last[shard] = i
            rows[shard] += 1
    bounds = np.zeros(shards + 1, np.int64)
    for shard in range(shards):
        bounds[shard + 1] = bounds[shard] + (16 + 9 * owners[shard] + 5 * rows[shard] + 7) // 8 * 8 * (rows[shard] > 0)
    blob = np.zeros(bounds[-1], np.uint8)
    longs, ints = blob.view(np.uint64), blob.view(np.uint32)
    # Where the next member, low bits, count and high bits of each shard go.
    member_at = bounds[:-1] // 8 + 2
    low_at = (bounds[:-1] + 16 + 8 * owners) // 4
    count_at = bounds[:-1] + 16 + 8 * owners + 4 * rows - 1
    high_at = bounds[:-1] + 16 + 9 * owners + 4 * rows
    for shard in range(shards):
        if rows[shard]:
            longs[bounds[shard] // 8] = owners[shard]
            longs[bounds[shard] // 8 + 1] = rows[shard]
    last[:] = -1
    for i in range(n):
        for band in range(bands):
            shard = of[i * bands + band]
            if last[shard] != i:
                last[shard] = i
                longs[member_at[shard]] = members[i]
                member_at[shard] += 1
                count_at[shard] += 1
            blob[count_at[shard]] += 1
            ints[low_at[shard]] = np.uint32(keys[i, band] & _LOW)
            low_at[shard] += 1
            blob[high_at[shard]] = np.uint8(keys[i, band] >> _S32)
            high_at[shard] += 1
    return blob, bounds


def bands_of(blobs):
    """What `band_blobs` wrote into some blobs: (low uint32, high uint8, owner uint32: the place of each key's member, members)."""
    parts = []
    for blob in blobs:
        owners, rows = np.frombuffer(blob, np.int64, 2).tolist()
        at = 16 + 8 * owners
        members = np.frombuffer(blob, np.uint64, owners, 16)
        low = np.frombuffer(blob, np.uint32, rows, at)
        counts = np.frombuffer(blob, np.uint8, owners, at + 4 * rows)
        high = np.frombuffer(blob, np.uint8, rows, at + 4 * rows + owners)
        parts.append((low, high, counts, members))
    low, high, counts, members = (np.concatenate(some) for some in zip(*parts))
    return low, high, np.repeat(np.arange(len(members), dtype=np.uint32), counts), members


def star_edges(low, high, owner, members):
    """Edges (left, right) inside every bucket of equal keys (as `bands_of` gives them): to its smallest member and its second.

    A star has size - 1 edges where all pairs have size**2 / 2. A false smallest member would lose the others, hence
    the second anchor; the other bands draw other anchors too. Members may repeat, and so may edges of several buckets.
    """
    # NumPy sorts whole numbers with vector instructions, ten times as fast as it sorts places by their keys.
    order = _with_places(low)
    order.sort()
    return _star_edges(order, high, owner, members)


@njit(cache=True, nogil=True)
def _with_places(low):
    """Key and place in one number."""
    order = np.empty(len(low), np.uint64)
    for i in range(len(low)):
        order[i] = np.uint64(low[i]) << _S32 | np.uint64(i)
    return order


@njit(cache=True, nogil=True)
def _star_edges(order, high, owner, members):
    n = len(order)
    room = 0
    for i in range(1, n):
        room += order[i] >> _S32 == order[i - 1] >> _S32
    left = np.empty(2 * room, members.dtype)
    right = np.empty(2 * room, members.dtype)
    at = 0
    start = 0
    while start < n:
        stop = start + 1
        while stop < n and order[stop] >> _S32 == order[start] >> _S32:
            stop += 1
        if stop - start == 2:  # most buckets: no arrays for them
            i, j = order[start] & _LOW, order[start + 1] & _LOW
            if high[i] == high[j]:
                x, y = members[owner[i]], members[owner[j]]
                if x != y:
                    left[at], right[at] = min(x, y), max(x, y)
                    at += 1
        elif stop - start > 2:
            bucket = order[start:stop] & _LOW
            tops = high[bucket]
            if (tops == tops[0]).all():
                at = _star(members[owner[bucket]], left, right, at)
            else:
                for top in np.unique(tops):
                    at = _star(members[owner[bucket[tops == top]]], left, right, at)
        start = stop
    return left[:at].copy(), right[:at].copy()


@njit(cache=True, nogil=True)
def _star(bucket, left, right, at):
    """Write the edges of one bucket to left[at:] and right[at:]; where they end."""
    first = bucket[0]
    for x in bucket:
        first = min(first, x)
    second = first
    for x in bucket:
        if x != first and (second == first or x < second):
            second = x
    for x in bucket:
        if x != first:
            left[at], right[at] = first, x
            at += 1
            if x != second:
                left[at], right[at] = second, x
                at += 1
    return at


@njit(cache=True, nogil=True)
def bitmap(keys):
    """A bitmap of the low 32 bits of the hashes `keys`: all but 2 % of those that are not among them are told at one look."""
    size = 64
    while size < 64 * len(keys) and size < 1 << 31:
        size *= 2
    bits = np.zeros(size // 32, np.uint32)
    for key in keys:
        place = key & np.uint64(size - 1)
        bits[place >> _S5] |= np.uint32(1) << np.uint32(place & _MASK5)
    return bits


@njit(cache=True, nogil=True)
def _is_in(key, wanted):
    """Whether `key` is one of the sorted `wanted`."""
    low, high = 0, len(wanted)
    while low < high:
        middle = (low + high) // 2
        if wanted[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low < len(wanted) and wanted[low] == key


@njit(cache=True, nogil=True)
def among(keys, wanted, bits):
    """Whether each hash (uint64) is one of `wanted`, sorted, whose `bitmap` is `bits`."""
    found = np.zeros(len(keys), np.bool_)
    mask = np.uint32(32 * len(bits) - 1)
    for i in range(len(keys)):
        place = np.uint32(keys[i]) & mask
        if bits[place >> np.uint32(5)] >> (place & np.uint32(31)) & np.uint32(1):
            found[i] = _is_in(keys[i], wanted)
    return found


@njit(cache=True, nogil=True)
def bands_among(low, high, wanted, bits):
    """Places of the `band_keys`, given by their low 32 and high 8 bits, that are among `wanted` (as in `among`)."""
    found = np.zeros(len(low), np.bool_)
    mask = np.uint32(32 * len(bits) - 1)
    for i in range(len(low)):
        place = low[i] & mask
        if bits[place >> np.uint32(5)] >> (place & np.uint32(31)) & np.uint32(1):
            found[i] = _is_in(np.uint64(low[i]) | np.uint64(high[i]) << _S32, wanted)
    return np.flatnonzero(found)


@njit(cache=True, nogil=True)
def tally(left, right):
    """The distinct pairs (left[k], right[k]) of uint64 and how often each occurs: (left, right, count int32)."""
    size = 16
    while size < 2 * len(left):
        size *= 2
    slots = np.full(size, -1, np.int64)
    first = np.empty(len(left), np.int64)
    count = np.zeros(len(left), np.int32)
    at = 0
    for k in range(len(left)):
        slot = np.int64(_mix(left[k] ^ _mix(right[k] + _GOLDEN)) & np.uint64(size - 1))
        while slots[slot] >= 0 and (left[first[slots[slot]]] != left[k] or right[first[slots[slot]]] != right[k]):
            slot = (slot + 1) & (size - 1)
        if slots[slot] < 0:
            slots[slot] = at
            first[at] = k
            at += 1
        count[slots[slot]] += 1
    return left[first[:at]], right[first[:at]], count[:at].copy()


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
