"""Titles and pictures that learn from each other."""

import io

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from PIL import Image

from shelfmark.multimodal import data, encode, launcher, loop, pretrain, towers

COLOURS = ["red", "green", "blue", "black", "white", "yellow", "purple", "orange"]


def test_the_plain_loss_is_the_published_one_and_a_harder_negative_counts_more():
    torch.manual_seed(2)
    one, other = F.normalize(torch.randn(6, 4), dim=1), F.normalize(torch.randn(6, 4), dim=1)
    near, same = torch.tensor(5.0), torch.arange(6)
    plain = (F.cross_entropy(5 * one @ other.T, same) + F.cross_entropy(5 * other @ one.T, same)) / 2
    assert torch.allclose(pretrain.contrast(one, other, near, 0.0), plain)
    assert torch.allclose(pretrain.contrast(one, other, near, 1e-6), plain, atol=1e-5)
    assert pretrain.contrast(one, other, near, 2.0) > plain


def test_a_picture_network_learns_colours_from_titles_and_is_started_from(tmp_path):
    how = encode.Encoding(size=16, buckets=500, title_length=16)
    draw = np.random.default_rng(3)
    rows = {"title": [], "picture": [], "row": [], "label": []}
    for i in range(256):
        out = io.BytesIO()
        Image.new("RGB", (16, 16), COLOURS[i % 8]).save(out, "PNG")
        rows["title"].append(f"{COLOURS[i % 8]} thing {draw.integers(0, 9)}" if i % 10 else None)
        rows["picture"].append(out.getvalue())
        rows["row"].append(i)
        rows["label"].append(i % 8)
    data.create(tmp_path / "c", how)
    list(data.write(tmp_path / "c", [pa.RecordBatch.from_pydict(rows)], how, 8))
    title = towers.describe("title", 8, buckets=500, dim=8, hidden=16)
    picture = towers.describe("picture", 8, options={"channels": [8, 8, 8, 8]})
    plan = loop.Plan(epochs=6, batch=32, augment=False)
    found = pretrain.pretrain(
        launcher.Group(threads=1), tmp_path / "p", tmp_path / "c", ["all"], title, picture, plan, 0.5, 16
    )
    assert found["losses"][-1] < found["losses"][0] - 0.5
    tower = towers.build({**picture, "pretrained": found["weights"]})
    kept = torch.load(found["weights"], weights_only=True)
    assert all(torch.equal(kept[name], one) for name, one in tower.network.state_dict().items())
