"""The training loop: it goes on where a killed run stopped, learns from what is there alone, and keeps the best tower."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from ranks import cache, training

from shelfmark.multimodal import data, encode, launcher, loop, losses, towers

GROUP = launcher.Group(threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return cache(tmp_path_factory.mktemp("cache") / "c")


def numbers(history):
    return [one[name] for one in history for name in ("loss", "tune_loss", "accuracy", "macro_f1", "micro_f1")]


def test_a_tower_learns_and_the_best_is_kept(folder, tmp_path):
    said = []
    with loop.watch(tmp_path, said.append, every=0.05):
        found = training(tmp_path, folder, {"epochs": 4})(GROUP)
    history = found["history"]
    assert history[0]["loss"] > history[-1]["loss"]
    assert found["best"]["macro_f1"] == max(one["macro_f1"] for one in history) > 0.6
    assert said == history
    # What the best tower says of the tune side has the figures that were told of it.
    tower, tune = towers.load(found["folder"]), data.open_cache(folder, ["tune"])
    row, answers = loop.outputs(tower, tune)
    label = {r: k for b in data.all_rows(tune) for r, k in zip(b["row"], b["label"][:, 0], strict=True)}
    there = ~np.isnan(answers[:, 0])
    right = answers.argmax(1)[there] == np.array([label[r] for r in row])[there]
    assert right.mean() == pytest.approx(found["best"]["accuracy"])
    assert np.exp(answers[there]).sum(1) == pytest.approx(1, abs=1e-5)


def test_rows_without_the_modality_say_nothing_and_change_nothing(folder, tmp_path):
    tune = data.open_cache(folder, ["tune"])
    missing = {r: not p for b in data.all_rows(tune) for r, p in zip(b["row"], b["present"]["title"], strict=True)}
    assert 0 < sum(missing.values()) < len(missing)
    tower = towers.build(towers.describe("title", 5, buckets=2000, dim=8, hidden=8))
    row, answers = loop.outputs(tower, tune)
    assert np.isnan(answers).all(1).tolist() == [missing[r] for r in row]
    goal = losses.on(losses.describe(np.full(5, 10)), "cpu")
    batch = next(data.all_rows(tune, 64))
    batch["present"]["title"][:] = False
    before = [one.clone() for one in tower.parameters()]
    optimisers = [torch.optim.SGD(tower.parameters(), lr=1.0)]
    seen = loop.descend(GROUP, tower, optimisers, batch, goal, loop.Plan())
    assert seen.tolist() == [0, 0]
    assert all(torch.equal(a, b) for a, b in zip(before, tower.parameters(), strict=True))


@pytest.mark.parametrize("sparse", [True, False])
def test_parts_of_a_batch_add_up_to_the_batch(folder, tmp_path, sparse):
    whole = training(tmp_path / "a", folder, {"epochs": 2}, sparse)(GROUP)
    parts = training(tmp_path / "b", folder, {"epochs": 2, "accumulate": 3}, sparse)(GROUP)
    assert numbers(parts["history"]) == pytest.approx(numbers(whole["history"]), rel=1e-3)


def test_sparse_and_dense_gradients_teach_the_same(folder, tmp_path):
    one, other = (training(tmp_path / str(sparse), folder, {"epochs": 2}, sparse)(GROUP) for sparse in (True, False))
    assert numbers(one["history"]) == pytest.approx(numbers(other["history"]), rel=1e-3)


def test_it_stops_when_epochs_bring_nothing_more(folder, tmp_path):
    history = training(tmp_path, folder, {"epochs": 40, "patience": 1})(GROUP)["history"]
    assert len(history) < 40
    assert history[-1]["macro_f1"] <= max(one["macro_f1"] for one in history[:-1])


def test_with_several_labels_it_goes_on_while_the_loss_falls(tmp_path):
    goal, tower = _several(tmp_path / "c", 32, 40)
    plan = loop.Plan(epochs=12, batch=64, patience=2, rate=5e-4)
    history = loop.train(GROUP, tmp_path / "run", tmp_path / "c", ["all"], ["all"], tower, goal, plan)["history"]
    assert [one["macro_f1"] for one in history[:3]] == [0, 0, 0]  # no category is more likely than not
    assert len(history) == 12


def test_other_settings_start_anew(folder, tmp_path):
    first = training(tmp_path, folder, {"epochs": 1})(GROUP)
    other = training(tmp_path, folder, {"epochs": 1, "rate": 1e-4})(GROUP)
    assert first["history"][0]["loss"] < other["history"][0]["loss"]


def test_the_rate_rises_then_falls_to_nothing():
    rates = [loop.schedule(step, 100, 0.1) for step in range(101)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rates[10] == pytest.approx(1)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_with_rows_per_rank_rates_grow_with_the_ranks():
    tower = towers.build(towers.describe("title", 5, buckets=50, dim=4, hidden=4))
    for plan, by in ((loop.Plan(), 1), (loop.Plan(rank_batch=32), 4)):
        one, many = (loop.make_optimisers(tower, plan, ranks) for ranks in (1, 4))
        assert [o.param_groups[0]["lr"] * by for o in one] == pytest.approx([o.param_groups[0]["lr"] for o in many])


def _several(folder, count=160, categories=4):
    """A cache of products with several of four categories; a loss that is told `count` rows a category, a tower."""
    how = encode.Encoding(buckets=500, title_length=32)
    data.create(folder, how)
    titles, labels = [], []
    for i in range(320):
        some = [k for k in range(4) if (i >> k) & 1]
        titles.append(" ".join(["red", "blue", "wool", "warm"][k] for k in some) or "plain")
        labels.append(some)
    rows = pa.RecordBatch.from_pydict(
        {"title": titles, "row": range(320), "label": pa.array(labels, pa.list_(pa.int32()))}
    )
    list(data.write(folder, [rows], how, 16))
    goal = losses.describe(np.full(categories, count), multi_label=True)
    return goal, towers.describe("title", categories, buckets=500, dim=16, hidden=16, dropout=0.0)


def test_towers_of_several_labels_begin_at_the_shares(tmp_path):
    goal, tower = _several(tmp_path / "c", 32, 40)
    plan = loop.Plan(epochs=1, batch=320, rate=1e-6)
    found = loop.train(GROUP, tmp_path / "run", tmp_path / "c", ["all"], ["all"], tower, goal, plan)
    assert found["best"]["tune_loss"] < 10  # from a half each it would be 40 * ln(2) = 27.7


def test_several_labels_a_row(tmp_path):
    goal, tower = _several(tmp_path / "c")
    plan = loop.Plan(epochs=8, batch=32, patience=8)
    found = loop.train(GROUP, tmp_path / "run", tmp_path / "c", ["all"], ["all"], tower, goal, plan)
    assert found["best"]["micro_f1"] > 0.95
    assert found["best"]["accuracy"] > 0.85
    said = loop.outputs(towers.load(found["folder"]), data.open_cache(tmp_path / "c"), multi_label=True)[1]
    assert (said.max(1) > 0).mean() > 0.8  # logits, not log-probabilities
    assert said.shape == (320, 4)


@pytest.mark.parametrize("several", [False, True])
def test_a_pair_learns_by_the_mean_of_two_losses_one_without_class_weights(several, tmp_path):
    _, tower = _several(tmp_path / "c")
    goal = losses.describe(np.array([200, 10, 40, 80]), reweight="inverse", multi_label=several)
    tower["paired"] = "sigmoid" if several else "softmax"
    plan = loop.Plan(epochs=3, batch=32, rate=0.05)
    found = loop.train(GROUP, tmp_path / "pair", tmp_path / "c", ["all"], ["all"], tower, goal, plan)
    pair = towers.load(found["folder"])
    assert found["best"]["micro_f1"] > 0.3
    batch = next(data.all_rows(data.open_cache(tmp_path / "c"), 64, modalities=("title",)))
    rows = towers.tensors(batch)
    labels = rows["label"] if several else rows["label"][:, 0].clamp_min(0)
    on = losses.on(goal, "cpu")
    plain = losses.on(losses.describe(np.array([200, 10, 40, 80]), multi_label=several), "cpu")
    own = losses.rows(pair.plain(rows), labels, plain), losses.rows(pair.weighted(rows), labels, on)
    both = losses.rows(pair.train()(rows), labels, on)
    assert torch.allclose(both, (own[0] + own[1]) / 2, rtol=1e-4)
    assert not torch.allclose(own[0], own[1], rtol=0.1)


DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from ranks import training
from shelfmark.multimodal import launcher
launcher.run(training({out!r}, {cache!r}, {{"epochs": 4}}), threads=1)
"""


@pytest.mark.slow
def test_a_killed_driver_goes_on_to_the_result_of_one_that_was_not(folder, tmp_path):
    whole = training(tmp_path / "whole", folder, {"epochs": 4})(GROUP)
    out = tmp_path / "killed"
    code = DRIVER.format(tests=str(Path(__file__).parents[1]), out=str(out), cache=str(folder))
    process = subprocess.Popen([sys.executable, "-c", code])
    while not (out / "progress.jsonl").exists() and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = torch.load(out / "last.pt", weights_only=True)
    assert (kept["epoch"], kept["step"]) < (4, 0)
    told = (out / "progress.jsonl").read_text().splitlines()
    found = training(out, folder, {"epochs": 4})(GROUP)
    assert numbers(found["history"]) == pytest.approx(numbers(whole["history"]), rel=1e-4)
    assert numbers(found["history"][: len(told)]) == numbers([json.loads(one) for one in told])


def _peak(folder, out):
    """Peak memory of a process that reads one epoch and trains on it, MiB."""
    code = (
        f"import sys, resource; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from ranks import cache, training\nfrom shelfmark.multimodal import launcher\n"
        f"plan = dict(epochs=1, batch=256, checkpoint_steps=0)\n"
        f"launcher.run(training({str(out)!r}, {str(folder)!r}, plan), threads=1)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("rows", [48_000, pytest.param(1_008_000, marks=pytest.mark.nightly)])
def test_memory_of_a_rank_does_not_grow_with_the_rows(tmp_path, rows):
    small = _peak(cache(tmp_path / "small", 9_600), tmp_path / "a")
    large = _peak(cache(tmp_path / "large", rows), tmp_path / "b")
    assert large < small * 1.15 + 20
