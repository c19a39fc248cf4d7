"""The margin of a linear model taken apart: the grams are the kernel's, the pieces sum up to the margin, and they can be read."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.config import Text
from shelfmark.text import calibrate, evidence, fit, kernel, model
from shelfmark.text.facts import Encoder

FACTS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))
# Bytes 1 and 2 alone are tokens that start another field.
WORD = st.one_of(st.sampled_from(["\x01", "\x02", "ab", "abc", "drill"]), st.text("abé日", min_size=1, max_size=5))
ROWS = st.lists(st.lists(WORD, max_size=9), max_size=4)


@given(ROWS, st.sampled_from([(), (0,), (0, 1)]), st.sampled_from([{}, {2: 2}]), st.integers(0, 5))
@settings(deadline=None, max_examples=150)
def test_the_grams_are_those_of_the_kernel_and_belong_to_pieces_of_their_row(rows, chars, limits, apart):
    tokens = pa.array(rows, pa.list_(pa.string()))
    indptr, columns, counts = kernel.ngrams(tokens, 12, chars, limits, apart)
    ends, found, piece, pieces = evidence.occurrences(tokens, 12, chars, limits, apart)
    for i in range(len(rows)):
        own = slice(ends[i], ends[i + 1])
        counted = dict(zip(columns[indptr[i] : indptr[i + 1]].tolist(), counts[indptr[i] : indptr[i + 1]].tolist()))
        assert Counter(found[own].tolist()) == counted
        assert set(pieces.row[piece[own]]) <= {i}


def small(seed, fields=("title", "brand"), head=40, categories=5):
    """A model of random weights over the grams of some titles; half of its features are of the sparse tail."""
    draw = np.random.default_rng(seed)
    text = Text(fields=list(fields), hash_bits=12, pairs=4)
    titles = pa.array([["ab", "abc", "drill", "é日", "\x01", "ab", "bosch"], ["drill", "drill", "abc"]])
    _, columns, _ = fit.grams(titles, text)
    lookup, idf = kernel.vocabulary(kernel.document_frequency(columns, 12), 2, 1)
    learnt = {
        "numbers": {"[price] INR": [5.0, 10.0], "volt": [12.0]},
        "words": [["[brand]", "bosch"], ["colour", "red"]],
    }
    encoder = Encoder(learnt)
    features = len(idf) + encoder.size
    weights = draw.normal(size=(features, categories)).astype(np.float32)
    weights[head:][np.abs(weights[head:]) < 0.3] = 0
    tails, kept, values = fit.sparse_columns(weights[head:], 0, 0.1)
    padded = np.zeros((1, head, 32), np.float32)
    padded[0, :, :categories] = weights[:head]
    arrays = {
        "lookup": lookup, "idf": idf, "edges": np.array([0, categories], np.int32), "head": padded, "indptr": tails,
        "categories": kept, "values": values, "bias": draw.normal(size=categories).astype(np.float32),
    }  # fmt: skip
    paths = {f"c{n}": (f"c{n}", None) for n in range(categories)}
    nodes, tree = model.make_tree(list(paths), paths)
    cell = {"region": "*", "category": "*", "name": "*", "accept": calibrate.NEVER, "roll_up": calibrate.NEVER}
    return model.Model(
        nodes=nodes,
        tree=tree,
        text=text,
        evidence=calibrate.Link().table(),
        curves={"*": calibrate.Curve()},
        thresholds=model.Thresholds.of([cell], nodes, tree),
        scope=-9.0,
        roll_up_depth=1,
        taxonomy_version="t",
        arrays=arrays,
        facts=encoder,
    )


STATED = st.lists(
    st.sampled_from([("[price] INR", "7.00"), ("volt", "18"), ("colour", "red"), ("[brand]", "bosch"), ("size", "m")]),
    max_size=4,
    unique_by=lambda fact: fact[0],
)


OF_TWO = WORD.filter(lambda word: word != "\x02")  # a model of two fields meets no third


@given(st.lists(st.tuples(st.lists(OF_TWO, max_size=9), STATED), min_size=1, max_size=4), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_pieces_and_biases_sum_up_to_the_margin(rows, seed):
    of = small(seed)
    tokens = pa.array([words for words, _ in rows], pa.list_(pa.string()))
    facts = pa.array([[{"name": n, "value": v} for n, v in stated] for _, stated in rows], FACTS)
    texts = kernel.weigh(*fit.grams(tokens, of.text), of.arrays["lookup"], of.arrays["idf"])
    joined = model.joined(of.facts.rows(facts), texts, of.facts.cuts, len(of.arrays["idf"]))
    scores = model.scores(of.arrays, *joined)
    one, other = np.arange(len(rows)) % 5, (np.arange(len(rows)) + 2) % 5
    pieces = evidence.margins(of, tokens, facts, one, other)
    at = np.arange(len(rows))
    bias = of.arrays["bias"][one] - of.arrays["bias"][other]
    summed = np.bincount(pieces.row, pieces.weight, len(rows)) + bias
    assert summed == pytest.approx(scores[at, one] - scores[at, other], abs=1e-3)
    said = evidence.names(of, pieces, tokens, facts).to_pylist()
    assert len(set(zip(pieces.row.tolist(), pieces.kind.tolist(), said))) == len(said)  # equal pieces come once
    loud = evidence.loudest(pieces, 2)
    heard = [(row, -abs(weight), name) for row, name, weight in zip(pieces.row, pieces.name, pieces.weight)]
    heard = sorted(piece for piece in heard if piece[1] < -1e-6)
    wanted = [piece for row in at for piece in [p for p in heard if p[0] == row][:2]]
    assert [(row, -abs(w), name) for row, name, w in zip(loud.row, loud.name, loud.weight)] == wanted
    alone = evidence.margins(of, tokens, facts, one, np.full(len(rows), -1))
    assert np.bincount(alone.row, alone.weight, len(rows)) + of.arrays["bias"][one] == pytest.approx(
        scores[at, one], abs=1e-3
    )


def test_pieces_are_said_in_words_the_loudest_first_for_rows_that_are_for_review():
    of = small(1)
    tokens = pa.array([["ab"], ["drill", "ab", "abc", "\x01", "bosch"], None], pa.list_(pa.string()))
    stated = [{"name": "[price] INR", "value": "7.00"}, {"name": "colour", "value": "red"}]
    facts = pa.array([[], stated, None], FACTS)
    pieces = evidence.margins(of, evidence.whole(tokens), evidence.whole(facts), np.zeros(3, int), np.ones(3, int))
    mine = [name for name, row in zip(evidence.names(of, pieces, tokens, facts).to_pylist(), pieces.row) if row == 1]
    assert set(mine) == {
        "drill", "ab", "abc", "brand: bosch", "drill ab", "ab abc", "drill … abc", "price = 7.00 INR", "colour = red",
    }  # fmt: skip
    # A model that reads titles alone.
    titles = replace(of, text=of.text.model_copy(update={"fields": ["title"]}))
    first = evidence.Pieces(*(array[pieces.field == 0] for array in pieces))
    assert evidence.names(titles, first, tokens, facts) == evidence.names(of, first, tokens, facts)
    said = model.answer(of, evidence.whole(tokens), evidence.whole(facts), 2)
    assert set(said.decision) == {model.REVIEW}
    said = said._replace(decision=np.array([model.ACCEPT, model.REVIEW, model.REVIEW], np.int8))
    told = evidence.column(of, tokens, facts, said, 3)
    assert told.type == evidence.TYPE
    accepted, review, nothing = told.to_pylist()
    assert (accepted, nothing) == (None, [])
    assert len(review) == 3
    sizes = [abs(piece["weight"]) for piece in review]
    assert sizes == sorted(sizes, reverse=True)
    assert {piece["feature"] for piece in review} <= set(mine)
    assert evidence.column(
        of, tokens.slice(1, 1), facts.slice(1, 1), model.Answer(*(a[1:2] for a in said)), 3
    ).to_pylist() == [review]
    assert (
        evidence.column(of, tokens.slice(0, 0), facts.slice(0, 0), model.Answer(*(a[:0] for a in said))).to_pylist()
        == []
    )
