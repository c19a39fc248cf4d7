"""The solver against scikit-learn's LinearSVC (LIBLINEAR), and the steps around it."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.svm import LinearSVC

from shelfmark import config
from shelfmark.text import calibrate, fit, model
from shelfmark.text.solver import GROUP, Rows, solve


def problem(seed, rows=300, width=60, categories=5, noise=0.1):
    """Sparse rows whose category shows in a few columns; values in sixteenths of a bit, as the kernel keeps them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, categories, rows).astype(np.int32)
    dense = rng.random((rows, width)) * (rng.random((rows, width)) < 0.15)
    for i, label in enumerate(labels):
        dense[i, (label * 3 + rng.integers(0, 3)) % width] += 0.8
    labels = np.where(rng.random(rows) < noise, rng.integers(0, categories, rows), labels).astype(np.int32)
    dense /= np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-9)
    matrix = sparse.csr_matrix(dense)
    matrix.data = np.round(matrix.data * 65535)
    return matrix, labels


def as_rows(matrix, labels, weights=None):
    weights = np.ones(len(labels), np.float32) if weights is None else weights.astype(np.float32)
    return Rows(
        matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data.astype(np.uint16), labels, weights
    )


@pytest.mark.parametrize("cost", [0.1, 1.0, 10.0])
def test_weights_are_those_of_liblinear(cost):
    matrix, labels = problem(1)
    weights, bias, passes = solve(
        [as_rows(matrix, labels)], matrix.shape[1], 0, 5, cost=cost, epochs=3000, tolerance=1e-4
    )
    peer = LinearSVC(C=cost, tol=1e-6, max_iter=100_000).fit(matrix / 65535, labels)
    np.testing.assert_allclose(weights.T, peer.coef_, atol=2e-3)
    np.testing.assert_allclose(bias, peer.intercept_, atol=2e-3)
    assert (passes < 3000).all()


def test_row_and_class_weights_are_those_of_liblinear():
    matrix, labels = problem(2, categories=3)
    trust = np.random.default_rng(0).uniform(0.2, 1.0, len(labels))
    boost = np.array([1.0, 4.0, 2.0], np.float32)
    weights, bias, _ = solve(
        [as_rows(matrix, labels, trust)], matrix.shape[1], 0, 3, positive=boost, epochs=3000, tolerance=1e-4
    )
    for k in range(3):
        own = labels == k
        peer = LinearSVC(tol=1e-6, max_iter=100_000).fit(
            matrix / 65535, own, sample_weight=np.where(own, trust * boost[k], trust)
        )
        np.testing.assert_allclose(weights[:, k], peer.coef_[0], atol=2e-3)
        np.testing.assert_allclose(bias[k], peer.intercept_[0], atol=2e-3)


def test_a_row_without_weight_teaches_nothing():
    matrix, labels = problem(3)
    trust = np.ones(len(labels))
    trust[::2] = 0
    half = as_rows(matrix[1::2], labels[1::2])
    with_dead_rows = solve([as_rows(matrix, labels, trust)], matrix.shape[1], 0, 5, epochs=500, tolerance=1e-4)
    without = solve([half], matrix.shape[1], 0, 5, epochs=500, tolerance=1e-4)
    np.testing.assert_allclose(with_dead_rows[0], without[0], atol=1e-3)


def test_categories_do_not_depend_on_those_solved_beside_them():
    matrix, labels = problem(4, categories=7)
    rows = [as_rows(matrix, labels)]
    together, bias, _ = solve(rows, matrix.shape[1], 0, 7)
    for first, count in ((0, 1), (2, 3), (6, 1)):
        alone, alone_bias, _ = solve(rows, matrix.shape[1], first, count)
        np.testing.assert_array_equal(alone, together[:, first : first + count])
        np.testing.assert_array_equal(alone_bias, bias[first : first + count])


def test_a_category_of_one_row_and_empty_rows_are_no_problem():
    matrix, labels = problem(5)
    labels[:] = 0
    labels[7] = 1
    matrix = sparse.vstack([matrix, sparse.csr_matrix((1, matrix.shape[1]))]).tocsr()
    labels = np.append(labels, np.int32(-1))
    weights, bias, _ = solve([as_rows(matrix, labels)], matrix.shape[1], 0, 2, epochs=1000, tolerance=1e-3)
    scores = (matrix @ weights) / 65535 + bias
    assert scores[:, 1].argmax() == 7
    assert np.isfinite(weights).all()


def test_a_group_has_a_limit():
    matrix, labels = problem(6)
    with pytest.raises(ValueError, match="a group has"):
        solve([as_rows(matrix, labels)], matrix.shape[1], 0, GROUP + 1)


@pytest.mark.parametrize("categories", [1, 2, 31, 32, 33, 350])
@pytest.mark.parametrize("tasks", [1, 2, 16])
def test_blocks_cover_the_categories_once(categories, tasks):
    blocks = fit.category_blocks(categories, tasks)
    assert [a for a, _ in blocks] == [0, *(b for _, b in blocks[:-1])]
    assert blocks[-1][1] == categories
    assert max(b - a for a, b in blocks) <= GROUP


def test_merged_blocks_score_as_the_dense_weights(tmp_path):
    rng = np.random.default_rng(7)
    dense = rng.normal(size=(50, 70)).astype(np.float32) * (rng.random((50, 70)) < 0.3)
    bias = rng.normal(size=70).astype(np.float32)
    blocks = [(0, 30), (30, 60), (60, 70)]
    for first, last in blocks:
        tail = fit.sparse_columns(dense[20:, first:last], first, 0.05)
        fit.save_block(tmp_path / "blocks", first, (*tail, dense[:20, first:last], bias[first:last]))
    (tmp_path / "model").mkdir()
    kept = fit.merge_blocks(blocks, tmp_path / "blocks", tmp_path / "model")
    assert kept == (np.abs(dense[20:]) >= 0.05).sum()
    rows = sparse.random(20, 50, 0.2, "csr", random_state=1)
    rows.data = np.round(rows.data * 65535)
    scores = model.scores(
        model.read_weights(tmp_path / "model"),
        rows.indptr.astype(np.int64),
        rows.indices.astype(np.int32),
        rows.data.astype(np.uint16),
    )
    pruned = np.where((np.abs(dense) >= 0.05) | (np.arange(50) < 20)[:, None], dense, 0)
    np.testing.assert_allclose(scores, (rows / 65535) @ pruned + bias, atol=1e-4)


def test_rows_that_are_not_used_do_not_count():
    matrix, labels = problem(3)
    half = np.arange(0, 300, 2)
    apart = as_rows(matrix[half], labels[half])
    of_all = solve(
        [as_rows(matrix, labels)], matrix.shape[1], 0, 5, epochs=500, tolerance=1e-4, used=[half.astype(np.int32)]
    )
    alone = solve([apart], matrix.shape[1], 0, 5, epochs=500, tolerance=1e-4)
    for one, other in zip(of_all, alone):
        np.testing.assert_array_equal(one, other)


def test_a_router_changes_few_answers_and_learns_from_fewer_rows(tmp_path, monkeypatch):
    """320 categories, ten blocks: answers with the four likeliest blocks of a row are those with all."""
    rng = np.random.default_rng(0)
    categories, rows = 320, 6_000
    labels = (np.arange(rows) % categories).astype(np.int32)
    rng.shuffle(labels)
    # Two columns of the category, one of its block, and noise.
    columns = np.stack(
        [labels, 400 + labels, 800 + labels // 32, rng.integers(900, 2000, rows), rng.integers(900, 2000, rows)]
    )
    dropped = rng.random(columns.shape) < np.array([[0.3], [0.3], [0.2], [0], [0]])
    columns = np.where(dropped, rng.integers(900, 2000, columns.shape), columns)
    matrix = sparse.csr_matrix(
        (np.full(columns.size, 29_000.0), columns.T.ravel(), np.arange(0, 5 * rows + 1, 5)), (rows, 2000)
    )
    matrix.sum_duplicates()
    text = config.Text(prune=0.0)

    def answers(name):
        work = tmp_path / name
        for part, some in enumerate(np.array_split(np.arange(rows // 2), 2)):
            given = as_rows(matrix[some], labels[some])
            for field, array in given._asdict().items():
                fit.save(fit.part_folder(work, part) / f"{field}.npy", array)
        made = fit.learn(work, work / "model", range(2), 2000, categories, text)
        test = as_rows(matrix[rows // 2 :], labels[rows // 2 :])
        found = model.scores(model.read_weights(work / "model"), test.indptr, test.columns, test.values)
        return found, made["seconds"]

    routed, seconds = answers("routed")
    assert "route" in seconds
    said = [np.load(fit.part_folder(tmp_path / "routed", part) / "routes.npy") for part in range(2)]
    assert all(one.shape == (rows // 4, fit.ROUTES) and one.max() < 10 for one in said)
    monkeypatch.setattr(fit, "ROUTED", 1 << 30)
    whole, seconds = answers("whole")
    assert "route" not in seconds
    assert (routed <= calibrate.LOW).mean() > 0.5  # six blocks of ten are not looked at
    truth = labels[rows // 2 :]
    assert (whole.argmax(1) == truth).mean() > 0.8
    assert (routed.argmax(1) == whole.argmax(1)).mean() > 0.95  # a tenth of the rows has nothing of its category
    assert (routed.argmax(1) == truth).mean() > (whole.argmax(1) == truth).mean() - 0.02
