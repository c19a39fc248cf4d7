"""On a GPU: the same tower learns as on a CPU, in half precision, and answers alike. `make test-gpu` runs these."""

import numpy as np
import pytest
import torch
from ranks import cache, training

from shelfmark.multimodal import data, launcher, loop, towers

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


class OnCPU(launcher.Group):
    """A rank alone that leaves the GPU alone."""

    def __init__(self):
        super().__init__()
        self.device = "cpu"


def test_a_tower_learns_on_a_gpu_as_on_a_cpu(tmp_path):
    folder = cache(tmp_path / "c")
    here = training(tmp_path / "gpu", folder)(launcher.Group())
    there = training(tmp_path / "cpu", folder)(OnCPU())
    for a, b in zip(here["history"], there["history"], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=0.03)
        assert a["macro_f1"] == pytest.approx(b["macro_f1"], abs=0.05)


def test_a_gpu_and_a_cpu_answer_alike(tmp_path):
    folder = cache(tmp_path / "c")
    found = training(tmp_path / "gpu", folder)(launcher.Group())
    tune = data.open_cache(folder, ["tune"])
    answers = [loop.outputs(towers.load(found["folder"], where), tune, device=where)[1] for where in ("cuda", "cpu")]
    np.testing.assert_allclose(*answers, atol=1e-3)


def test_a_picture_tower_runs_channels_last_in_half_precision():
    tower = towers.build(towers.describe("picture", 5)).to("cuda").to(memory_format=torch.channels_last)
    pixels = torch.randint(0, 255, (8, 64, 64, 3), dtype=torch.uint8, device="cuda")
    with loop.autocast("cuda:0", True):
        logits = tower({"picture": pixels})
    assert logits.dtype in (torch.bfloat16, torch.float32)  # the latter where the GPU has no bfloat16
    logits.float().sum().backward()
    assert all(torch.isfinite(one.grad).all() for one in tower.parameters())
