"""Products as arrays: one way for training, batch prediction and serving."""

import io
import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shelfmark.multimodal import encode
from shelfmark.multimodal.encode import Encoding

MASK = (1 << 64) - 1


def slow_id(h, buckets):
    h ^= h >> 33
    h = h * 0xFF51AFD7ED558CCD & MASK
    h ^= h >> 33
    h = h * 0xC4CEB9FE1A85EC53 & MASK
    h ^= h >> 33
    return 1 + ((h >> 32) * buckets >> 32)


def slow_fnv(data, seed=0xCBF29CE484222325):
    for byte in data:
        seed = (seed ^ byte) * 0x100000001B3 & MASK
    return seed


def slow_ids(text, grams, limit, buckets):
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    found = [slow_id(slow_fnv(word.encode()), buckets) for word in words]
    if grams:
        hashes = [slow_fnv(word.encode()) for word in words]
        found += [slow_id((a * 0x9E3779B97F4A7C15 & MASK) ^ b, buckets) for a, b in itertools.pairwise(hashes)]
        for word in words:
            padded = f" {word} "
            for start in range(len(padded) - 1):
                for length in (3, 4, 5):
                    if start + length <= len(padded):
                        gram = padded[start : start + length].encode()
                        found.append(slow_id(slow_fnv(gram, 0x9E3779B97F4A7C15), buckets))
    return found[:limit]


@settings(deadline=None)
@given(st.lists(st.text("abc é8-Z日", max_size=12), max_size=6), st.booleans(), st.integers(1, 40))
def test_ids_are_those_of_the_slow_way(texts, grams, limit):
    found = encode.ids(pa.array(texts, pa.string()), "ngrams" if grams else "words", limit, 1000).to_pylist()
    assert found == [slow_ids(text, grams, limit, 1000) or None for text in texts]


def test_ids_do_not_depend_on_where_a_column_was_cut():
    column = pa.array(["a red coat", None, "", "!!", "blue shoes"])
    assert encode.ids(column[2:], "ngrams", 50, 99).to_pylist() == encode.ids(column, "ngrams", 50, 99).to_pylist()[2:]


def test_what_is_cut_off_a_long_text_is_characters_not_words():
    short, long = (encode.ids(pa.array(["red wool coat"]), "ngrams", n, 1 << 17)[0].as_py() for n in (5, 99))
    words = encode.ids(pa.array(["red wool coat"]), "words", 99, 1 << 17)[0].as_py()
    assert short == long[:5]
    assert short[:3] == words
    assert len(long) > 20


def facts(*rows):
    return pa.array(
        [[{"name": n, "value": v} for n, v in row] if row is not None else None for row in rows], encode.FACTS
    )


def test_a_number_is_its_logarithm_and_a_word_is_one():
    (row,) = encode.spread(encode.fields(facts([("price", "₹1,023")]), 64), 64)
    assert np.abs(row[row != 0]) == pytest.approx([np.log(1024)])
    red, blue = encode.spread(encode.fields(facts([("colour", "Red")], [("colour", "blue")]), 64), 64)
    assert np.abs(red[red != 0]) == pytest.approx([1])
    assert np.flatnonzero(red) != np.flatnonzero(blue)


def test_a_product_without_facts_is_missing_and_a_fact_without_value_is_not():
    found = encode.fields(facts(None, [], [("colour", None)], [("colour", "red")]), 32)
    assert [one is None for one in found.to_pylist()] == [True, True, False, False]
    # In the narrowest table all facts meet: they are added up with their signs.
    met = encode.spread(encode.fields(facts([("a", "2"), ("b", "5"), ("c", "x")], None), 1), 1)
    alone = [encode.spread(encode.fields(facts([one]), 1), 1)[0, 0] for one in (("a", "2"), ("b", "5"), ("c", "x"))]
    np.testing.assert_allclose(met, [[sum(alone)], [0]], rtol=1e-6)


def picture(colour, size=(60, 80), kind="JPEG", mode="RGB"):
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, kind)
    return out.getvalue()


def test_a_picture_is_centred_on_white_and_transparency_is_white():
    drawn = encode.pixels(picture("red"), 64)
    assert drawn.shape == (64, 64, 3)
    assert drawn.dtype == np.uint8
    assert (drawn[32, 2] == 255).all()
    assert drawn[32, 32, 0] > 240
    assert drawn[32, 32, 1] < 20
    assert (encode.pixels(picture((255, 0, 0, 0), kind="PNG", mode="RGBA"), 64) == 255).all()


def test_a_broken_picture_is_missing_and_a_large_one_is_kept_small():
    rows = pa.table(
        {"picture": pa.array([picture("red"), b"no picture", picture("red")[:300], None, b""], pa.binary())}
    )
    assert encode.compact(rows, Encoding()).column("picture").is_valid().to_pylist() == [True] + [False] * 4
    large = (
        encode.compact(pa.table({"picture": [picture("red", (2000, 1000))]}), Encoding()).column("picture")[0].as_py()
    )
    assert Image.open(io.BytesIO(large)).size == (512, 256)


def test_arrays_of_rows_with_missing_modalities():
    how = Encoding(size=32, width=16)
    rows = pa.table(
        {
            "title": ["red coat", None],
            "picture": pa.array([None, picture("red")], pa.binary()),
            "fields": facts([("colour", "red")], None),
        }
    )
    made = encode.arrays(rows, how)
    assert {name: one.tolist() for name, one in made["present"].items()} == {
        "title": [True, False],
        "description": [False, False],
        "picture": [False, True],
        "fields": [True, False],
    }
    assert (made["title"][1] == 0).all()
    assert (made["picture"][0] == 255).all()
    assert (made["fields"][1] == 0).all()
    assert made["title"].dtype == np.int32
    assert made["fields"].dtype == np.float32
    assert made["title"].shape[1] % 16 == 0
    empty = encode.arrays(rows.slice(0, 0), how)
    assert {name: len(one) for name, one in empty.items() if name != "present"} == dict.fromkeys(encode.MODALITIES, 0)
