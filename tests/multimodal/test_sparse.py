"""Adagrad of embedding tables: what torch's own does, whatever a gradient looks like."""

import copy

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from shelfmark.multimodal.sparse import Bags, Shares, SparseAdagrad, joined, packed, parts, unpacked

ROWS, WIDTH = 50, 8


def table(seed=0):
    return torch.nn.Parameter(torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(seed)))


def gradient(ids, seed):
    values = np.random.default_rng(seed).normal(size=(len(ids), WIDTH)).astype(np.float32)
    return joined(np.array(ids, np.int32), values, ROWS)


def test_it_moves_rows_as_torch_does():
    ours, theirs = table(), table()
    one, other = SparseAdagrad([ours], lr=0.1), torch.optim.Adagrad([theirs], lr=0.1)
    for step, ids in enumerate(([3, 7, 3, 49, 0], [7, 7, 7], [], [1, 2, 3])):
        for weight, optimiser in ((ours, one), (theirs, other)):
            weight.grad = gradient(ids, step)
            optimiser.step()
        torch.testing.assert_close(ours.data, theirs.data, rtol=1e-5, atol=1e-6)
    assert torch.equal(ours.data[10:40], table().data[10:40])  # what no batch touched stays
    torch.testing.assert_close(one.state[ours]["sum"], other.state[theirs]["sum"], rtol=1e-5, atol=1e-6)


def test_a_rate_of_zero_moves_nothing_and_no_gradient_is_no_step():
    weight = table()
    optimiser = SparseAdagrad([weight], lr=0.1)
    optimiser.step()
    assert not optimiser.state[weight]
    optimiser.param_groups[0]["lr"] = 0.0
    weight.grad = gradient([1, 1], 5)
    optimiser.step()
    assert torch.equal(weight.data, table().data)


def test_the_gradient_is_sent_with_each_row_once():
    weight = table()
    optimiser = SparseAdagrad([weight])
    assert [len(one) for one in optimiser.summed(weight)] == [0, 0]
    weight.grad = gradient([9, 4, 9, 9], 6)
    ids, values = optimiser.summed(weight)
    assert ids.tolist() == [9, 4]
    again, _ = optimiser.summed(weight)  # nothing is left of the first time
    assert again.tolist() == [9, 4]
    whole = weight.grad.to_dense().numpy()
    np.testing.assert_allclose(values, whole[[9, 4]], rtol=1e-5, atol=1e-6)
    sent, _ = parts(joined(ids, values, ROWS))
    assert sent.tolist() == [9, 4]


def test_it_goes_on_from_its_state():
    weight, kept = table(), table()
    one, other = SparseAdagrad([weight], lr=0.1), SparseAdagrad([kept], lr=0.1)
    weight.grad = gradient([2, 5], 1)
    one.step()
    kept.data.copy_(weight.data)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for of, optimiser in ((weight, one), (kept, other)):
        of.grad = gradient([5, 6], 2)
        optimiser.step()
    assert torch.equal(weight.data, kept.data)


IDS = torch.tensor([[3, 7, 3, 0], [49, 0, 0, 0], [0, 0, 0, 0], [1, 2, 7, 9]], dtype=torch.int32)


def bags(kept=True):
    module = Bags(ROWS, WIDTH, sparse=True)
    module.weight.data.copy_(table().data)
    optimiser = SparseAdagrad([module.weight], lr=0.1)
    if kept:
        optimiser.keep_bags(module)
    return module, optimiser


def backward(module, ids, seed):
    """A loss of which each mean has a gradient of its own."""
    pull = torch.randn(len(ids), WIDTH, generator=torch.Generator().manual_seed(seed))
    (module(ids) * pull).sum().backward()


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
@pytest.mark.parametrize("width", [1, 8, 64, 100])
def test_means_are_those_of_torch(width, kind):
    torch.manual_seed(1)
    ours, theirs = Bags(ROWS, width), torch.nn.EmbeddingBag(ROWS, width, mode="mean", padding_idx=0)
    theirs.load_state_dict(ours.state_dict())
    for n, length in ((0, 5), (1, 1), (7, 30), (3, 200)):
        ids = torch.randint(0, ROWS, (n, length), dtype=kind)
        ids[1:2] = 0  # nothing but padding
        with torch.no_grad():
            torch.testing.assert_close(ours(ids), theirs(ids))
    every_second = torch.randint(0, ROWS, (8, 12), dtype=kind)[::2, ::2]
    with torch.inference_mode():
        torch.testing.assert_close(ours(every_second), theirs(every_second))


@pytest.mark.parametrize("wrong", [-1, ROWS])
def test_an_id_that_is_no_row_is_refused_and_never_read(wrong):
    with pytest.raises(IndexError, match=f"in a table of {ROWS} rows"):
        bags()[0](torch.tensor([[1, wrong]]))


def test_bags_that_keep_their_gradients_move_as_those_of_torch():
    (ours, one), (theirs, other) = bags(), bags(kept=False)
    for step in range(3):
        for module, optimiser in ((ours, one), (theirs, other)):
            backward(module, IDS, step)
            backward(module, IDS[:2].flip(0), step + 10)  # a batch in parts
            optimiser.step()
            module.zero_grad()
        assert ours.weight.grad is None
        torch.testing.assert_close(ours.weight.data, theirs.weight.data, rtol=1e-5, atol=1e-6)
    assert torch.equal(ours.weight.data[10:40], table().data[10:40])
    assert ours.kept == []


def test_bags_keep_nothing_where_no_gradient_is_asked_for():
    module, optimiser = bags()
    with torch.no_grad():
        module(IDS)
    assert module.kept == []
    before = module.weight.data.clone()
    optimiser.step()
    assert torch.equal(module.weight.data, before)


def test_what_ranks_send_of_their_bags_moves_all_alike():
    """Also where one rank has none; the gradient is the mean over the ranks."""
    (whole, one), (parted, other) = bags(), bags()
    sent = []
    for ids, seed in ((IDS, 1), (IDS[:0], 2), (IDS[1:3], 3)):
        backward(parted, ids, seed)
        sent.append(packed(other.shares(parted.weight)))
        pull = torch.randn(len(ids), WIDTH, generator=torch.Generator().manual_seed(seed))
        (whole(ids) * pull / 3).sum().backward()
    one.step()
    other.give(parted.weight, unpacked(np.concatenate(sent), WIDTH))
    other.step()
    torch.testing.assert_close(whole.weight.data, parted.weight.data, rtol=1e-5, atol=1e-6)
    empty = other.shares(parted.weight)
    assert [len(part) for part in empty] == [0, 0, 0]
    assert [len(part) for part in unpacked(packed(empty), WIDTH)] == [0, 0, 0]
    assert isinstance(empty, Shares)
