"""Towers: from one modality of a batch to logits of the categories.

A tower is described by plain data, `{"kind", "modality", "classes", ...}` (`describe`), built by `build` and saved as
`<folder>/tower.json` + `<folder>/weights.pt`. `features(batch)` gives (n, d), `forward(batch)` logits (n, classes). With `paired`
any kind is two of its kind (`Pair`).

- `ngrams`: mean of the embeddings of hashed words, word pairs and character n-grams (encode.py), a hidden layer; as fastText
  (Joulin, Grave, Bojanowski, Mikolov: Bag of Tricks for Efficient Text Classification, EACL 2017) with one layer more.
- `textcnn`: embeddings of words in order, a convolution of kernel 5 with 200 filters, max over time, dense (Kim:
  Convolutional Neural Networks for Sentence Classification, EMNLP 2014; the shapes are those of the tri-modal late-fusion
  study on Amazon products: 57 words of a title, 300 of a description).
- `picture`: any timm model by name.
- `fields`: two dense layers.
- `encoder`: any Hugging Face encoder by name or path, mean of its last layer; reads the ids of its own tokeniser, each 1 higher
  (`Encoding.title` names it). transformers and peft are imported when one is built (extra `encoders`).
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from shelfmark.errors import UsageError
from shelfmark.multimodal.sparse import Bags

# Means and deviations of ImageNet's pixels, which timm's pretrained models expect; as good as any for others.
MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
RATES = {"ngrams": 4e-3, "textcnn": 1e-3, "picture": 2e-3, "fields": 2e-3, "encoder": 5e-5}
"""Learning rate of a kind's dense weights (AdamW)."""
SPARSE_RATE = 0.08
"""Learning rate of sparse embeddings (Adagrad): each row moves as its own gradients say, seen often or seldom."""

SMALL = [32, 64, 128, 256]
"""Channels of the default picture tower: half a ResNet-10's, 1.3 M weights, 1.7 times as fast on a CPU."""


def describe(modality: str, classes: int, kind: str | None = None, **more: Any) -> dict[str, Any]:
    """A tower as plain data, with the defaults of its kind; `more` replaces them. Raises `UsageError` for an unknown key."""
    kind = kind or {"picture": "picture", "fields": "fields"}.get(modality, "ngrams")
    known = {
        "ngrams": {"buckets": 1 << 17, "dim": 64, "hidden": 192, "dropout": 0.3, "sparse": True},
        "textcnn": {
            "buckets": 1 << 17,
            "dim": 64,
            "filters": 200,
            "kernel": 5,
            "hidden": 192,
            "dropout": 0.4,
            "sparse": True,
        },
        "picture": {"model": "resnet10t", "options": {}, "pretrained": None, "freeze_all_but": None, "dropout": 0.1},
        "fields": {"width": 256, "hidden": 128, "dropout": 0.2},
        "encoder": {"model": None, "config": None, "freeze_all_but": None, "adapters": 0, "dropout": 0.1},
    }
    if kind not in known:
        raise UsageError(f"tower {kind!r}: choose {', '.join(known)}")
    own = {**known[kind], "paired": None}
    if unknown := sorted(set(more) - set(own)):
        raise UsageError(f"a tower of kind {kind} has no {', '.join(unknown)}: it has {', '.join(own)}")
    if kind == "picture" and more.get("model", "resnet10t") == "resnet10t" and more.get("pretrained") != "hub":
        # The hub has weights of the whole; half of it starts from nothing, or from a file of such a half.
        more = {"options": {"channels": SMALL}, **more}
    return {"kind": kind, "modality": modality, "classes": int(classes), **own, **more}


def build(description: dict[str, Any]) -> nn.Module:
    """The tower, with new weights. Raises `UsageError` where its model or weights cannot be had."""
    kinds = {"ngrams": NGrams, "textcnn": TextCNN, "picture": Picture, "fields": Fields, "encoder": Encoder}
    if description.get("paired"):
        return Pair(description)
    return kinds[description["kind"]](description)


def save(tower: nn.Module, folder: Path | str) -> None:
    """Write `tower.json` and `weights.pt`, each renamed into place."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(tower.description, indent=1, sort_keys=True)
    for name, write in (
        ("weights.pt", lambda path: torch.save(tower.state_dict(), path)),
        ("tower.json", lambda path: path.write_text(text)),
    ):
        write(folder / f".{name}")
        os.replace(folder / f".{name}", folder / name)


def load(folder: Path | str, device: str = "cpu") -> nn.Module:
    """A saved tower, ready to predict. Only tensors are read of its weights: a file that holds code is refused."""
    folder = Path(folder)
    # What it started from is in its weights: nothing is fetched.
    description = json.loads((folder / "tower.json").read_text())
    tower = build({**description, "pretrained": None} if "pretrained" in description else description)
    tower.description = description
    tower.load_state_dict(torch.load(folder / "weights.pt", map_location=device, weights_only=True))
    return tower.to(device).eval()


def tensors(batch: dict[str, Any], device: torch.device | str = "cpu") -> dict[str, Any]:
    """A batch of encode.py with its arrays as tensors of a device; texts stay texts."""
    out = {}
    for name, value in batch.items():
        if isinstance(value, dict):
            out[name] = tensors(value, device)
        elif isinstance(value, np.ndarray):
            # Arrow's arrays are for reading; a tensor of one would be warned of, though none is written to.
            value = np.ascontiguousarray(value) if value.flags.writeable else value.copy()
            out[name] = torch.from_numpy(value).to(device, non_blocking=True)
        else:
            out[name] = value
    return out


class Tower(nn.Module):
    """What all towers have: a description, and a head on their features."""

    def __init__(self, description: dict[str, Any], width: int):
        super().__init__()
        self.description, self.modality = description, description["modality"]
        self.head = nn.Sequential(nn.Dropout(description["dropout"]), nn.Linear(width, description["classes"]))

    @property
    def width(self) -> int:
        """Of its features."""
        return self.head[-1].in_features

    def features(self, batch: dict[str, Any]) -> torch.Tensor:
        raise NotImplementedError

    def said(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of features, (n, classes); a pair that learns has (n, 2, classes)."""
        return self.head(features)

    def forward(self, batch: dict[str, Any]) -> torch.Tensor:
        return self.said(self.features(batch))


class Pair(Tower):
    """Two towers of one description: one learns without class weights, the other with them, and what they say is the mean of their
    probabilities (`paired`: softmax, or sigmoid where a product has several categories).

    The first knows what is likely, the second does not overlook what is rare: their mean raises the tail for a fraction of the
    accuracy that class weights cost by themselves.
    """

    def __init__(self, description):
        nn.Module.__init__(self)
        self.plain, self.weighted = (build({**description, "paired": None}) for _ in range(2))
        self.description = {**self.plain.description, "paired": description["paired"]}
        self.modality = description["modality"]

    @property
    def width(self):
        return self.plain.width + self.weighted.width

    def features(self, batch):
        return torch.cat([self.plain.features(batch), self.weighted.features(batch)], 1)

    def said(self, features):
        both = features.split([self.plain.width, self.weighted.width], 1)
        one, other = (tower.said(own).float() for tower, own in zip((self.plain, self.weighted), both))
        if self.training:
            return torch.stack([one, other], 1)
        if self.description["paired"] == "sigmoid":
            return torch.logit((one.sigmoid() + other.sigmoid()) / 2, eps=1e-7)
        return torch.logaddexp(one.log_softmax(1), other.log_softmax(1)) - math.log(2)


class NGrams(Tower):
    def __init__(self, description):
        hidden, dim = description["hidden"], description["dim"]
        super().__init__(description, hidden)
        self.embedding = Bags(description["buckets"] + 1, dim, sparse=description["sparse"])
        nn.init.normal_(self.embedding.weight, std=0.1)
        with torch.no_grad():
            self.embedding.weight[0] = 0
        self.dense = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.GELU())

    def features(self, batch):
        return self.dense(self.embedding(batch[self.modality]))


class TextCNN(Tower):
    def __init__(self, description):
        super().__init__(description, description["hidden"])
        self.embedding = nn.Embedding(
            description["buckets"] + 1, description["dim"], padding_idx=0, sparse=description["sparse"]
        )
        kernel = description["kernel"]
        self.convolution = nn.Conv1d(description["dim"], description["filters"], kernel, padding=kernel // 2)
        self.dense = nn.Sequential(nn.Linear(description["filters"], description["hidden"]), nn.ReLU())

    def features(self, batch):
        ids = batch[self.modality]
        found = self.convolution(self.embedding(ids).transpose(1, 2))
        # Padding is no word: without this the maximum depends on how long the batch's longest text is.
        found = found.masked_fill((ids == 0)[:, None, :], -1e4).amax(2).relu()
        return self.dense(found)


class Fields(Tower):
    def __init__(self, description):
        hidden = description["hidden"]
        super().__init__(description, hidden)
        self.dense = nn.Sequential(
            nn.Linear(description["width"], hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()
        )

    def features(self, batch):
        return self.dense(batch["fields"])


class Picture(Tower):
    def __init__(self, description):
        network = _timm(description)
        super().__init__(description, network.num_features)
        self.network = network
        if description["freeze_all_but"] is not None:
            freeze(self.network, description["freeze_all_but"])

    def features(self, batch):
        pixels = batch["picture"].permute(0, 3, 1, 2).float()
        mean, deviation = (torch.tensor(v, device=pixels.device)[None, :, None, None] for v in (MEAN, DEVIATION))
        pixels = (pixels - mean) / deviation
        if pixels.is_cuda:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        return self.network(pixels)


def _timm(description: dict[str, Any]) -> nn.Module:
    import timm

    start, name = description["pretrained"], description["model"]
    try:
        network = timm.create_model(name, pretrained=start == "hub", num_classes=0, **description["options"])
    except Exception as error:
        raise UsageError(f"the picture tower {name}: {' '.join(str(error).split())[:300]}") from None
    if start not in (None, "hub"):
        if not Path(start).is_file():
            raise UsageError(f"multimodal.pretrained: no file {start}")
        state = torch.load(start, map_location="cpu", weights_only=True)
        own = {key: v for key, v in state.items() if key in network.state_dict()}
        if not own:
            raise UsageError(f"multimodal.pretrained: {start} holds no weights of {name}")
        network.load_state_dict(own, strict=False)  # the head it was trained with is of no use here
    return network


def freeze(network: nn.Module, keep: int) -> None:
    """Only the last `keep` layers learn. A layer is a module that holds weights itself, in the order of definition."""
    layers = [one for one in network.modules() if any(True for _ in one.parameters(recurse=False))]
    for one in layers[: max(0, len(layers) - keep)]:
        for weight in one.parameters(recurse=False):
            weight.requires_grad_(False)


class Encoder(Tower):
    def __init__(self, description):
        try:
            from transformers import AutoConfig, AutoModel
        except ImportError:
            raise UsageError(
                "a Hugging Face encoder needs the extra `encoders`: pip install shelfmark[encoders]"
            ) from None
        name = description["model"]
        try:
            # A described configuration is that of a saved tower: its weights follow, none are fetched.
            if description["config"]:
                network = AutoModel.from_config(AutoConfig.for_model(**description["config"]))
            else:
                network = AutoModel.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise UsageError(f"the encoder {name}: {' '.join(str(error).split())[:300]}") from None
        super().__init__({**description, "config": network.config.to_dict()}, network.config.hidden_size)
        if description["freeze_all_but"] is not None:
            freeze(network, description["freeze_all_but"])
        if description["adapters"]:
            try:
                from peft import LoraConfig, get_peft_model
            except ImportError:
                raise UsageError("adapters need the extra `encoders`: pip install shelfmark[encoders]") from None
            rank = description["adapters"]
            network = get_peft_model(network, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))
        self.network = network

    def features(self, batch):
        ids = batch[self.modality].long()
        mask = ids > 0
        last = self.network(input_ids=(ids - 1).clamp_min(0), attention_mask=mask.long()).last_hidden_state
        mask = mask[..., None].float()
        return (last * mask).sum(1) / mask.sum(1).clamp_min(1)


def begin_at(tower: Tower, shares: np.ndarray) -> None:
    """Of several labels: what is said before anything is learnt is about the share of the rows that have the category (as Lin et
    al. 2017, "Focal Loss for Dense Object Detection", section 3.3). From a half each, the first epochs teach only that few have it."""
    if isinstance(tower, Pair):
        begin_at(tower.plain, shares)
        begin_at(tower.weighted, shares)
        return
    shares = np.clip(shares, 1e-3, 0.5)
    with torch.no_grad():
        tower.head[-1].bias.copy_(torch.as_tensor(np.log(shares / (1 - shares))))


def augment(pixels: torch.Tensor, draw: torch.Generator, shift: int = 4) -> torch.Tensor:
    """Pictures uint8 (n, h, w, 3) mirrored by chance and shifted by up to `shift` pixels, white where they left."""
    n, h, w, _ = pixels.shape
    mirrored = torch.rand(n, generator=draw) < 0.5
    by = torch.randint(-shift, shift + 1, (2, n), generator=draw)
    mirrored, by = mirrored.to(pixels.device), by.to(pixels.device)
    rows = torch.arange(h, device=pixels.device)[None] + by[0][:, None]
    columns = torch.arange(w, device=pixels.device)[None] + by[1][:, None]
    columns = torch.where(mirrored[:, None], w - 1 - columns, columns)
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None, :]
    rows, columns = rows.clamp(0, h - 1), columns.clamp(0, w - 1)
    moved = pixels[torch.arange(n, device=pixels.device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return torch.where(inside[..., None], moved, torch.full_like(moved, 255))
