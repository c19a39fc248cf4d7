"""Losses of a tower: the published formulas, weights of mean 1, and several labels a row."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shelfmark.multimodal import losses

LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3], [-1.0, 3.0, 0.0]])
LABELS = torch.tensor([0, 2, 0])
COUNTS = np.array([90, 9, 1])


def value(labels=LABELS, logits=LOGITS, **how):
    return losses.rows(logits, labels, losses.on(losses.describe(COUNTS, **how), "cpu"))


def test_cross_entropy_is_torchs():
    assert torch.allclose(value(), F.cross_entropy(LOGITS, LABELS, reduction="none"))


def test_class_weights_have_mean_one_over_rows_and_are_capped():
    for how in ("sqrt", "inverse", "effective", "balanced"):
        weights = losses.describe(COUNTS, reweight=how, cap=5.0)["weights"]
        assert (COUNTS * weights).sum() / COUNTS.sum() == pytest.approx(1)
        assert weights.max() <= 5
        assert torch.allclose(value(reweight=how, cap=5.0), value() * torch.tensor(weights)[LABELS])


def test_focal_as_published():
    own = LOGITS.softmax(1)[torch.arange(3), LABELS]
    assert torch.allclose(value(kind="focal", gamma=2.0), -((1 - own) ** 2) * own.log())
    assert torch.allclose(value(kind="focal", gamma=0.0), value())


def test_logit_adjustment_makes_a_common_category_say_more_to_be_right():
    shares = torch.tensor(COUNTS / COUNTS.sum(), dtype=torch.float32)
    assert torch.allclose(value(tau=1.0), F.cross_entropy(LOGITS + shares.log(), LABELS, reduction="none"), atol=1e-5)


def test_distances_in_the_tree():
    # 0 clothes (1 coats, 2 shirts), 3 shoes; 4 another root
    parent, leaf = np.array([-1, 0, 0, -1, -1]), np.array([1, 2, 3])
    assert losses.tree_distances(parent, leaf).tolist() == [[0, 2, 3], [2, 0, 3], [3, 3, 0]]


def test_a_hierarchical_loss_minds_a_near_mistake_less_than_a_far_one():
    distances = losses.tree_distances(np.array([-1, 0, 0, -1]), np.array([1, 2, 3]))
    how = {"kind": "hierarchical", "distances": distances, "sharpness": 4.0}
    near, far = torch.tensor([[0.0, 3.0, -3.0]]), torch.tensor([[0.0, -3.0, 3.0]])
    assert value(torch.tensor([0]), near, **how) < value(torch.tensor([0]), far, **how)
    assert torch.allclose(value(kind="hierarchical", distances=distances, sharpness=200.0), value(), atol=1e-5)
    with pytest.raises(ValueError, match="distances"):
        losses.describe(COUNTS, "hierarchical")


def test_several_labels_a_row():
    labels = torch.tensor([[0, 2], [1, -1], [-1, -1]])
    hot = losses.many_hot(labels, 3)
    assert hot.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    expected = F.binary_cross_entropy_with_logits(LOGITS, hot, reduction="none").sum(1)
    assert torch.allclose(value(labels, multi_label=True), expected)
    weighted = losses.describe(COUNTS, reweight="sqrt")["weights"]
    expected = F.binary_cross_entropy_with_logits(
        LOGITS, hot, torch.where(hot > 0, torch.tensor(weighted), 1.0), reduction="none"
    )
    assert torch.allclose(value(labels, multi_label=True, reweight="sqrt"), expected.sum(1))


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="choose cross_entropy"):
        losses.describe(COUNTS, "hinge")
