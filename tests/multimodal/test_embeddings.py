"""Vectors of products: neighbours, prototypes of known and of new categories, two stages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfmark.multimodal import embeddings


def features(rows, categories, seed=0, noise=1.0, world=7):
    """Features of two towers: categories are directions of a 20-number space, the picture's blurred; strong nuisance beside."""
    centres = np.random.default_rng(world).normal(size=(categories, 20))
    mix = np.random.default_rng(world + 1).normal(size=(2, 30, 48))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, categories, rows)
    out = {}
    for at, (name, blur) in enumerate((("title", noise), ("picture", 2 * noise))):
        own = centres[labels] + rng.normal(0, blur, (rows, 20))
        nuisance = rng.normal(0, 4, (rows, 10))  # colour, brand: varies within every category
        out[name] = (np.concatenate([own, nuisance], 1) @ mix[at]).astype(np.float32)
    return out, labels


@pytest.fixture(scope="module")
def space():
    return embeddings.learn(*features(4_000, 60))


def missing(made, name, rows):
    changed = made[name].copy()
    changed[rows] = np.nan
    return made | {name: changed}


def test_vectors_have_unit_length_and_what_is_missing_is_nothing(space):
    made, _ = features(30, 60, 1)
    made = missing(missing(made, "picture", np.arange(0, 30, 2)), "title", np.arange(0, 30, 3))
    found = embeddings.vectors(space, made)
    nothing = np.arange(30) % 6 == 0
    np.testing.assert_allclose(np.linalg.norm(found[~nothing], axis=1), 1, rtol=1e-5)
    assert (found[nothing] == 0).all()
    alone = embeddings.vectors(space, {"title": made["title"]})
    np.testing.assert_allclose(found[2], alone[2], atol=1e-6)  # it has no picture


def test_neighbours_are_of_the_same_category_more_often_than_by_raw_features(space):
    made, labels = features(2_000, 60, 2)
    found = embeddings.vectors(space, made)
    raw = np.concatenate(list(made.values()), 1)
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    shares = []
    for vectors in (found, raw):
        numbers, cosines = embeddings.nearest(vectors[:300], vectors, 6)
        assert (numbers[:, 0] == np.arange(300)).mean() > 0.99  # nothing is as like a product as itself
        assert (np.diff(cosines, axis=1) <= 1e-6).all()
        shares.append((labels[numbers[:, 1:]] == labels[:300, None]).mean())
    assert shares[0] > shares[1] + 0.2, shares


def test_the_modality_that_knows_more_weighs_more(space):
    assert space.weight["title"] > space.weight["picture"]


def test_new_categories_by_five_examples_without_training():
    """The space has never seen categories 40 to 59."""
    made, labels = features(4_000, 60, 3)
    old = labels < 40
    space = embeddings.learn({name: values[old] for name, values in made.items()}, labels[old])
    vectors = embeddings.vectors(space, made)
    few = np.concatenate([np.flatnonzero(labels == one)[:5] for one in range(40, 60)])
    shown = np.concatenate([np.flatnonzero(old), few])
    centres = embeddings.prototypes(vectors[shown], labels[shown], 60)
    rest = np.setdiff1d(np.flatnonzero(~old), few)
    said = embeddings.nearest(vectors[rest], centres, 5)[0]
    assert (said[:, 0] == labels[rest]).mean() > 0.6
    assert embeddings.recall(said, labels[rest]) > 0.85
    assert (said[:, 0] < 40).mean() < 0.3  # few are taken for one of the old


def test_two_stages_choose_among_the_candidates():
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.ones(30), 50).astype(np.float32)
    numbers = np.argsort(rng.random((50, 30)), axis=1)[:, :7]
    found = embeddings.among(chances, numbers)
    np.testing.assert_array_equal(found[found > 0], chances[found > 0])
    assert ((found > 0).sum(1) == 7).all()
    best = np.take_along_axis(chances, numbers, 1).argmax(1)
    np.testing.assert_array_equal(found.argmax(1), np.take_along_axis(numbers, best[:, None], 1)[:, 0])


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 1_000))
def test_nearest_is_what_comparing_all_says(k, n, seed):
    rng = np.random.default_rng(seed)
    rows, queries = rng.normal(size=(n, 5)).astype(np.float32), rng.normal(size=(4, 5)).astype(np.float32)
    numbers, cosines = embeddings.nearest(queries, rows, k)
    wanted = -np.sort(-(queries @ rows.T), axis=1)[:, :k]
    assert numbers.shape == (4, min(k, n))
    np.testing.assert_allclose(cosines, wanted, rtol=1e-5)


def test_an_index_finds_nearly_all_of_many():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(embeddings.EXACT + 1_000, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    numbers, cosines = embeddings.nearest(rows[:200], rows, 10)
    wanted = np.argsort(-(rows[:200] @ rows.T), axis=1)[:, :10]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(numbers.tolist(), wanted.tolist())]) > 0.95
    np.testing.assert_allclose(cosines[:, 0], 1, atol=1e-3)


def test_saved_and_read(space, tmp_path):
    made, labels = features(40, 60, 4)
    centres = embeddings.prototypes(embeddings.vectors(space, made), labels, 60)
    embeddings.save(space, centres, tmp_path)
    read, prototypes = embeddings.load(tmp_path)
    np.testing.assert_array_equal(embeddings.vectors(read, made), embeddings.vectors(space, made))
    np.testing.assert_array_equal(prototypes, centres)
