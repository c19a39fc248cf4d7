"""How hard the demo catalogue is. Frozen before any model was tuned on it: change it and older figures mean nothing."""

import numpy as np
import pytest

from shelfmark.demo import records


def titles(seed: int, rows: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(titles, true leaves, group of variants and copies) of the clean records."""
    texts, leaves, groups = [], [], []
    for chunk in range(2):
        made = records.make_chunk(seed, chunk, chunk * rows // 2, rows // 2, 100)
        for i, rule in enumerate(made.rule):
            if rule is None:
                texts.append(" ".join(made.title[i].split()))
                leaves.append(made.leaf[i])
                groups.append(f"m{made.model[i]}" if made.model[i] >= 0 else f"i{made.item[i]}")
    return texts, np.array(leaves), np.unique(groups, return_inverse=True)[1]


@pytest.mark.slow
@pytest.mark.nightly
def test_a_strong_simple_classifier_is_right_in_70_to_85_percent():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics import f1_score
    from sklearn.pipeline import make_union
    from sklearn.svm import LinearSVC

    texts, leaves, groups = titles(seed=42, rows=20_000)
    test = (np.random.default_rng(0).random(groups.max() + 1) < 0.2)[groups]
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2),
    )
    train = features.fit_transform([text for text, held in zip(texts, test) if not held])
    # A loose tolerance costs nothing here and saves half of the minute that 416 binary problems take.
    model = LinearSVC(C=1.0, tol=0.1).fit(train, leaves[~test])
    guess = model.predict(features.transform([text for text, held in zip(texts, test) if held]))
    accuracy = (guess == leaves[test]).mean()
    known = np.flatnonzero(np.bincount(leaves) >= 10)
    macro = f1_score(leaves[test], guess, labels=known, average="macro", zero_division=0)
    assert 0.70 <= accuracy <= 0.85
    assert 0.50 <= macro <= 0.80
