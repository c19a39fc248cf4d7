"""Rows of products to arrays, one way for training, batch prediction and serving. No Spark and no torch here.

Columns read, each may be absent or null in any row:

title, description  string
picture             binary: a picture file's bytes (JPEG, PNG, WebP, ...)
fields              list<struct<name string, value string>>, the facts of the text line (text/facts.py)

1. `compact` is what the training cache keeps: token ids without padding, picture bytes as they are, fields as numbers.
2. `batch` makes the arrays of a batch from it: padded ids, decoded pictures, and which modality is present where.
3. `arrays` is both at once, for prediction.

A text is lower-cased and cut at everything but letters, marks and digits. `ngrams`: ids of its words, then of its word pairs,
then of its character 3-5-grams (a space before and after each word), so that what a length limit cuts off matters least.
`words`: ids of its words in order, as a TextCNN wants them. Ids are hashes: 1 .. buckets, 0 is padding (Weinberger et al.
2009, "Feature Hashing for Large Scale Multitask Learning"). Any other name is that of a Hugging Face tokeniser, by name or
path: its ids, each 1 higher (extra `encoders`).
"""

from __future__ import annotations

import io
import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from PIL import Image, ImageOps

from shelfmark.errors import UsageError
from shelfmark.text.facts import NO_DIGIT, NUMBER
from shelfmark.text.kernel import FNV_OFFSET as OFFSET
from shelfmark.text.kernel import FNV_PRIME as PRIME

MODALITIES = ("title", "description", "picture", "fields")
TEXTS = ("title", "description")
FACTS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))
TYPES = {"title": pa.string(), "description": pa.string(), "picture": pa.binary(), "fields": FACTS}
COMPACT = {
    "title": pa.list_(pa.int32()),
    "description": pa.list_(pa.int32()),
    "picture": pa.binary(),
    "fields": pa.list_(pa.float32()),
}

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: makes (a, b) and (b, a) two pairs
CUT = r"[^\pL\pM\pN]+"
LONGEST_EDGE = 512  # a picture with a longer edge is kept smaller: a cache of camera pictures would not fit a disk


class Encoding(NamedTuple):
    """How rows become arrays: plain data, kept with every model.

    `title` and `description`: "ngrams", "words", or a tokeniser by name or path; `*_length`: ids of a text at the most;
    `buckets`: ids there are; `size`: edge of the square a picture is drawn into; `width`: columns of fields.
    """

    title: str = "ngrams"
    description: str = "ngrams"
    title_length: int = 192
    description_length: int = 384
    buckets: int = 1 << 17
    size: int = 64
    width: int = 256


@njit(cache=True, nogil=True, inline="always")
def _id(h, buckets):
    # Finaliser of MurmurHash3: FNV alone leaves its high bits poor on short texts; then Lemire's range without modulo.
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    h ^= h >> np.uint64(33)
    return np.int32(1 + (((h >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32)))


@njit(cache=True, nogil=True)
def _ids(offsets, data, valid, grams, limit, buckets):
    """offsets int32[n + 1], data uint8: words with single spaces between. Returns indptr int32[n + 1], ids int32."""
    n = valid.shape[0]
    indptr = np.zeros(n + 1, np.int32)
    out = np.empty(max(n * 32, 1024), np.int32)
    used = 0
    for i in range(n):
        start, end = offsets[i], offsets[i + 1]
        begin = used
        if valid[i] and end > start:
            if used + limit > out.shape[0]:
                more = np.empty(max(2 * out.shape[0], used + limit), np.int32)
                more[:used] = out[:used]
                out = more
            p, before, first = start, np.uint64(0), True
            pairs = np.empty(limit, np.int32)
            paired = 0
            while p < end and used - begin < limit:
                if data[p] == 0x20:
                    p += 1
                    continue
                h = OFFSET
                while p < end and data[p] != 0x20:
                    h = (h ^ np.uint64(data[p])) * PRIME
                    p += 1
                out[used] = _id(h, buckets)
                used += 1
                if not first and paired < limit:
                    pairs[paired] = _id((before * GOLDEN) ^ h, buckets)
                    paired += 1
                before, first = h, False
            if grams:
                for k in range(min(paired, limit - (used - begin))):
                    out[used] = pairs[k]
                    used += 1
                p = start
                while p < end and used - begin < limit:
                    # A gram starts at a code point or at the space before a word, and ends at the space after it at most.
                    if p == start or data[p - 1] == 0x20:
                        used = _grams(data, p, end, True, out, used, begin + limit, buckets)
                    if data[p] != 0x20 and (data[p] & 0xC0) != 0x80:
                        used = _grams(data, p, end, False, out, used, begin + limit, buckets)
                    p += 1
        indptr[i + 1] = used
    return indptr, out[:used].copy()


@njit(cache=True, nogil=True)
def _grams(data, p, end, led, out, used, limit, buckets):
    """The 3-, 4- and 5-grams that start at p, or at the space before it."""
    h = GOLDEN  # a seed of their own: the gram "shoe" is not the word
    length = 0
    if led:
        h = (h ^ np.uint64(0x20)) * PRIME
        length = 1
    while length < 5 and used < limit:
        over = p >= end or data[p] == 0x20
        if over:
            h = (h ^ np.uint64(0x20)) * PRIME
            length += 1
        else:
            h = (h ^ np.uint64(data[p])) * PRIME
            p += 1
            while p < end and (data[p] & 0xC0) == 0x80:  # 10xxxxxx continues a code point
                h = (h ^ np.uint64(data[p])) * PRIME
                p += 1
            length += 1
        if length >= 3:
            out[used] = _id(h, buckets)
            used += 1
        if over:
            break
    return used


def ids(texts: pa.Array, kind: str, limit: int, buckets: int) -> pa.ListArray:
    """Token ids of each text, list<int32> of `limit` at the most, null where there is no text or no word in it."""
    if kind not in ("ngrams", "words"):
        return _tokenised(texts, kind, limit)
    texts = pc.utf8_lower(texts.cast(pa.string()))
    texts = pc.utf8_trim(pc.replace_substring_regex(texts, CUT, " "), " ")
    texts = pa.concat_arrays([texts])  # at offset 0
    valid = pc.and_(pc.is_valid(texts), pc.fill_null(pc.not_equal(texts, ""), False)).to_numpy(zero_copy_only=False)
    offsets = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1) if len(texts) else np.zeros(1, np.int32)
    data = np.frombuffer(texts.buffers()[2] or b"\0", np.uint8) if len(texts) else np.zeros(1, np.uint8)
    if not len(data):
        data = np.zeros(1, np.uint8)
    indptr, found = _ids(offsets, data, valid, kind == "ngrams", limit, buckets)
    return _lists(indptr, pa.array(found), ~valid)


def _tokenised(texts: pa.Array, name: str, limit: int) -> pa.ListArray:
    missing = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(texts), ""), True).to_numpy(zero_copy_only=False)
    kept = texts.filter(pa.array(~missing)).to_pylist()
    read = _tokeniser(name)(kept, truncation=True, max_length=limit)["input_ids"] if kept else []
    found = [np.asarray(one, np.int32) + 1 for one in read]
    count = np.zeros(len(texts), np.int64)
    count[~missing] = [len(one) for one in found]
    indptr = np.concatenate([[0], np.cumsum(count)]).astype(np.int32)
    return _lists(indptr, pa.array(np.concatenate(found) if found else np.zeros(0, np.int32)), missing)


@lru_cache(maxsize=4)
def _tokeniser(name: str):
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise UsageError("a Hugging Face encoder needs the extra `encoders`: pip install shelfmark[encoders]") from None
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UsageError(f"the tokeniser {name}: {' '.join(str(error).split())[:300]}") from None


def _lists(indptr: np.ndarray, values: pa.Array, missing: np.ndarray) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(indptr), values, mask=pa.array(missing) if len(missing) else None)


def fields(facts: pa.Array, width: int) -> pa.ListArray:
    """Facts of a row as pairs of a column below `width` and an amount, list<float32>, null where there are none: see `spread`.

    A fact that is a number goes to a column of its name as sign * ln(1 + |value|); any other to one of its name and
    value as 1. Columns are hashes, as is the sign a fact is added with, so that two that meet cancel on average.
    """
    facts = pa.concat_arrays([facts.cast(FACTS)])
    count = pc.fill_null(pc.list_value_length(facts), 0).to_numpy(zero_copy_only=False)
    missing = count == 0
    flat = facts.flatten()
    names = pc.fill_null(pc.struct_field(flat, "name"), "")
    stated = pc.utf8_lower(pc.utf8_trim_whitespace(pc.fill_null(pc.struct_field(flat, "value"), "")))
    number = pc.match_substring_regex(stated, NUMBER)
    plain = pc.if_else(number, pc.replace_substring_regex(stated, NO_DIGIT, ""), "0")
    value = pc.cast(plain, pa.float64()).to_numpy(zero_copy_only=False)
    number = number.to_numpy(zero_copy_only=False)
    key = pc.if_else(pa.array(number), names, pc.binary_join_element_wise(names, stated, "\x1f"))
    hashed = _hashes(pa.concat_arrays([key]))
    column = ((hashed >> np.uint64(33)) % np.uint64(width)).astype(np.int64)
    sign = np.where(hashed & np.uint64(1), 1.0, -1.0)
    amount = np.where(number, np.sign(value) * np.log1p(np.abs(value)), 1.0) * sign
    pairs = np.stack([column, amount], 1).astype(np.float32).ravel()
    indptr = np.concatenate([[0], 2 * np.cumsum(count)]).astype(np.int32)
    return _lists(indptr, pa.array(pairs), missing)


def spread(pairs: pa.ListArray, width: int) -> np.ndarray:
    """`fields` as `width` numbers a row, float32 (n, width): most are 0, so a cache keeps the others."""
    count = pc.fill_null(pc.list_value_length(pairs), 0).to_numpy(zero_copy_only=False) // 2
    return _spread(count, pairs.flatten().to_numpy(zero_copy_only=False), width)


@njit(cache=True, nogil=True)
def _spread(count, pairs, width):
    out, at = np.zeros((len(count), width), np.float32), 0
    for i in range(len(count)):
        for _ in range(count[i]):
            out[i, int(pairs[at])] += pairs[at + 1]
            at += 2
    return out


def _hashes(texts: pa.Array) -> np.ndarray:
    if not len(texts):
        return np.zeros(0, np.uint64)
    offsets = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1)
    return _fnv(offsets, np.frombuffer(texts.buffers()[2] or b"\0", np.uint8))


@njit(cache=True, nogil=True)
def _fnv(offsets, data):
    out = np.empty(offsets.shape[0] - 1, np.uint64)
    for i in range(out.shape[0]):
        h = OFFSET
        for p in range(offsets[i], offsets[i + 1]):
            h = (h ^ np.uint64(data[p])) * PRIME
        h ^= h >> np.uint64(33)
        h *= np.uint64(0xFF51AFD7ED558CCD)
        out[i] = h ^ (h >> np.uint64(33))
    return out


def compact(rows: pa.Table | pa.RecordBatch, how: Encoding) -> pa.Table:
    """What the cache keeps of rows: columns `COMPACT`, null where a modality is missing.

    A picture that cannot be decoded is missing; one that is larger than `LONGEST_EDGE` is kept as a smaller JPEG.
    """
    out = {}
    for name in MODALITIES:
        if name not in rows.schema.names:
            out[name] = pa.nulls(rows.num_rows, COMPACT[name])
            continue
        column = rows.column(name)
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
        if pa.types.is_null(column.type):
            out[name] = pa.nulls(rows.num_rows, COMPACT[name])
        elif name in TEXTS:
            out[name] = ids(column, getattr(how, name), getattr(how, f"{name}_length"), how.buckets)
        elif name == "fields":
            out[name] = fields(column, how.width)
        else:
            out[name] = pa.array([_kept(one) for one in column.to_pylist()], pa.binary())
    return pa.table(out)


def _kept(data: bytes | None) -> bytes | None:
    if not data:
        return None
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if max(picture.size) <= LONGEST_EDGE:
                picture.load()  # a truncated one fails here, once, and not in every epoch
                return data
            picture.draft("RGB", (LONGEST_EDGE, LONGEST_EDGE))
            small = picture.convert("RGB")
            small.thumbnail((LONGEST_EDGE, LONGEST_EDGE))
            out = io.BytesIO()
            small.save(out, "JPEG", quality=90)
            return out.getvalue()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def pixels(data: bytes, size: int) -> np.ndarray:
    """A picture file's pixels, uint8 (size, size, 3): as large as fits, centred on white. A broken one: white."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.draft("RGB", (size, size))
            drawn = picture
            if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
                drawn = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
            return np.asarray(ImageOps.pad(drawn.convert("RGB"), (size, size), Image.Resampling.BILINEAR, "white"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return np.full((size, size, 3), 255, np.uint8)


def batch(rows: pa.Table, how: Encoding, modalities: tuple[str, ...] = MODALITIES, pool: Any = None) -> dict[str, Any]:
    """Arrays of rows that `compact` made.

    title, description: int32 (n, longest text of the batch, a multiple of 16), 0 behind the end; picture: uint8 (n, size,
    size, 3), white where missing; fields: float32 (n, width), 0 where missing; present: modality -> bool (n,). `pool`: an
    executor whose threads decode the pictures.
    """
    out: dict[str, Any] = {"present": {}}
    for name in modalities:
        column = rows.column(name)
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        present = pc.is_valid(column).to_numpy(zero_copy_only=False)
        out["present"][name] = present
        if name in TEXTS:
            out[name] = _padded(column)
        elif name == "fields":
            out[name] = spread(column, how.width)
        else:
            out[name] = np.full((len(column), how.size, how.size, 3), 255, np.uint8)
            at = np.flatnonzero(present)
            data = column.drop_null().to_pylist()
            drawn = (pool.map if pool else map)(pixels, data, [how.size] * len(data))
            for i, one in zip(at, drawn):
                out[name][i] = one
    return out


def _padded(column: pa.ListArray) -> np.ndarray:
    count = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    # Few shapes: what compiles or caches per shape is not driven to do so for every batch. One column at the least.
    longest = max(16, math.ceil(int(count.max(initial=1)) / 16) * 16)
    out = np.zeros((len(column), longest), np.int32)
    out[np.arange(longest) < count[:, None]] = column.flatten().to_numpy(zero_copy_only=False)
    return out


def arrays(rows: pa.Table | pa.RecordBatch, how: Encoding, pool: Any = None) -> dict[str, Any]:
    """`batch` of `compact`: what a model reads of rows."""
    return batch(compact(rows, how), how, pool=pool)
