"""One text classifier that others use, trained and asked once, in a process and an environment of its own.

    .venv/peers/bin/python benchmarks/peers/classifiers.py NAME FOLDER

FOLDER holds train.json {titles, labels}, test.json {titles}; what comes back lies there as said.npy (numbers of
categories, int32, best first) and result.json {train, predict: seconds, peak: bytes}. Titles are read before the clock
starts; features are part of training and of prediction, on all cores where the peer can use them.
"""

import json
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WORDS = re.compile(r"[^\W_]+")
THREADS = 2


def linear_svc(titles, labels):
    """TF-IDF of words 1-2 and characters 2-5 with scikit-learn's LinearSVC; grams within words score as across them."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    words = TfidfVectorizer(ngram_range=(1, 2))
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5))
    model = make_pipeline(make_union(words, characters), LinearSVC()).fit(titles, labels)
    return model.predict


def xr_linear(titles, labels):
    """libpecos' XR-Linear with its own TF-IDF (words 1-2, characters 2-5) and clusters of labels by its PIFA."""
    from pecos.utils.featurization.text.vectorizers import Vectorizer
    from pecos.xmc import Indexer, LabelEmbeddingFactory
    from pecos.xmc.xlinear.model import XLinearModel
    from scipy import sparse

    parts = [
        {"analyzer": "word", "ngram_range": [1, 2], "max_df_ratio": 1.0, "min_df_cnt": 1, "norm": "l2"},
        {"analyzer": "char_wb", "ngram_range": [2, 5], "max_df_ratio": 1.0, "min_df_cnt": 1, "norm": "l2"},
    ]
    config = {"type": "tfidf", "kwargs": {"base_vect_configs": parts}}
    texts = [" ".join(WORDS.findall(title.lower())) for title in titles]
    vectorizer = Vectorizer.train(texts, config)
    x = vectorizer.predict(texts, threads=THREADS).astype(np.float32)
    y = sparse.csr_matrix((np.ones(len(labels), np.float32), (np.arange(len(labels)), labels)))
    chain = Indexer.gen(LabelEmbeddingFactory.create(y, x, method="pifa"), seed=0, threads=THREADS)
    model = XLinearModel.train(x, y, C=chain, threads=THREADS)

    def predict(titles):
        x = vectorizer.predict([" ".join(WORDS.findall(title.lower())) for title in titles], threads=THREADS)
        found = model.predict(x.astype(np.float32), only_topk=1, beam_size=10, threads=THREADS)
        said = np.zeros(len(titles), np.int32)
        said[np.diff(found.indptr) > 0] = found.indices
        return said

    return predict


def fast_text(titles, labels):
    """fastText with bigrams and subwords of 2 to 5 letters, a step of 0.5, and more passes than by default; no grid tried."""
    import fasttext

    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        for title, label in zip(titles, labels):
            file.write(f"__label__{label} {' '.join(WORDS.findall(title.lower()))}\n")
        file.flush()
        epochs = 25 if len(titles) < 200_000 else 5
        model = fasttext.train_supervised(
            file.name,
            lr=0.5,
            epoch=epochs,
            wordNgrams=2,
            minn=2,
            maxn=5,
            dim=100,
            bucket=1_000_000,
            thread=THREADS,
            verbose=0,
        )

    def predict(titles):
        found = model.predict([" ".join(WORDS.findall(title.lower())) for title in titles])[0]
        return np.array([int(one[0].removeprefix("__label__")) if one else 0 for one in found], np.int32)

    return predict


PEERS = {"LinearSVC": linear_svc, "XR-Linear": xr_linear, "fastText": fast_text}


def main(name, folder):
    folder = Path(folder)
    train = json.loads((folder / "train.json").read_text())
    test = json.loads((folder / "test.json").read_text())
    labels = np.array(train["labels"], np.int32)
    started = time.perf_counter()
    predict = PEERS[name](train["titles"], labels)
    trained = time.perf_counter()
    said = predict(test["titles"])
    done = time.perf_counter()
    np.save(folder / "said.npy", np.asarray(said, np.int32))
    # Not getrusage: its figure begins with that of the process we were forked from.
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)) * 1024
    (folder / "result.json").write_text(
        json.dumps({"train": trained - started, "predict": done - trained, "peak": peak})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
