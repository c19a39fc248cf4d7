"""Pictures and titles learn from each other before they learn categories: an option, for catalogues with few labels.

A picture and the title of the same product shall be near, those of different products far: the symmetric InfoNCE loss over
a batch (Radford et al.: Learning Transferable Visual Models From Natural Language Supervision, ICML 2021, figure 3).
Negatives that are hard to tell, other red coats, count more the more they resemble: their weights are proportional to
exp(hardness * similarity) over the negatives of a row (Robinson, Chuang, Sra, Jegelka: Contrastive Learning with Hard
Negative Samples, ICLR 2021, eq. 4, without its correction for false negatives); hardness 0 is the plain loss.

What it leaves is a state dict of the picture network, which `multimodal.pretrained` names. No Spark here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from shelfmark.multimodal import data, loop, towers


class Pair(torch.nn.Module):
    """A title and a picture tower, each projected to one space."""

    modality = "picture"

    def __init__(self, title: dict[str, Any], picture: dict[str, Any], width: int):
        super().__init__()
        self.description = {"kind": "picture"}  # whose rate is taken
        self.title, self.picture = towers.build(title), towers.build(picture)
        self.title.head, self.picture.head = torch.nn.LazyLinear(width), torch.nn.LazyLinear(width)
        self.scale = torch.nn.Parameter(torch.tensor(1 / 0.07).log())  # of the paper, as is the bound below

    def forward(self, batch):
        near = self.scale.clamp(max=4.6).exp()
        return F.normalize(self.picture(batch), dim=1), F.normalize(self.title(batch), dim=1), near


def contrast(one: torch.Tensor, other: torch.Tensor, near: torch.Tensor, hardness: float) -> torch.Tensor:
    """The loss of a batch: one, other (n, d) of length 1, row i of both the same product; near: 1 / temperature."""
    n = len(one)
    similar = one @ other.T
    own = torch.eye(n, dtype=torch.bool, device=one.device)
    total = one.new_zeros(())
    for sides in (similar, similar.T):
        logits = near * sides
        if hardness and n > 1:
            # In logarithms: ln of the weights, of mean 1 over the negatives of a row, is added to what they weigh.
            weights = (hardness * sides.detach()).masked_fill(own, -torch.inf).log_softmax(1)
            logits = torch.where(own, logits, logits + weights + torch.tensor(float(n - 1)).log().to(logits))
        total = total + F.cross_entropy(logits, torch.arange(n, device=one.device))
    return total / 2


def pretrain(
    group: Any,
    out: Path | str,
    cache: Path | str,
    parts: list[str],
    title: dict[str, Any],
    picture: dict[str, Any],
    plan: loop.Plan = loop.DEFAULT,
    hardness: float = 1.0,
    width: int = 128,
) -> dict[str, Any]:
    """Train both on rows that have both; returns {losses: one an epoch, weights: the file `picture.pt` in `out`}.

    Negatives of a row are those of its rank, so unlike the loop of a tower this depends on the number of ranks.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    source = data.open_cache(cache, parts)
    torch.manual_seed(plan.seed)
    pair = Pair(title, picture, width).to(group.device)
    batches = _epoch(source, plan, 0, group)
    with torch.no_grad():
        pair.eval()(towers.tensors(next(batches), group.device))  # lazy layers take their shapes
    batches.close()
    optimisers = loop.make_optimisers(pair, plan)
    # `make_optimisers` knows the embeddings of text towers by the kind of the whole: here they are told.
    network, optimisers = group.wrap(pair, _with_tables(pair, optimisers, plan), plan.compression)
    steps = data.steps(source.rows, plan.batch)
    found = []
    for epoch in range(plan.epochs):
        pair.train()
        total = torch.zeros(2, dtype=torch.float64)
        for step, rows in enumerate(_epoch(source, plan, epoch, group)):
            torch.manual_seed(hash((plan.seed, epoch, step, group.rank)) & 0x7FFFFFFF)
            loop.set_rates(optimisers, loop.schedule(epoch * steps + step, plan.epochs * steps, plan.warm_up))
            rows = towers.tensors(rows, group.device)
            if plan.augment:
                rows["picture"] = towers.augment(rows["picture"], torch.Generator().manual_seed(torch.initial_seed()))
            with loop.autocast(group.device, plan.mixed_precision):
                one, other, near = network(rows)
            both = (rows["present"]["title"] & rows["present"]["picture"]).nonzero()[:, 0]
            # All weights take part, also where no row has both: ranks wait for each other's gradients.
            loss = contrast(one[both].float(), other[both].float(), near, hardness) if len(both) > 1 else one.sum() * 0
            (loss + 0 * (one.sum() + other.sum())).backward()
            with group.settle(optimisers):
                dense = [w for w in pair.parameters() if w.grad is not None and not w.grad.is_sparse]
                torch.nn.utils.clip_grad_norm_(dense, plan.clip)
                for optimiser in optimisers:
                    optimiser.step()
            network.zero_grad()
            total += torch.tensor([float(loss.detach()), 1.0])
        loop.same_buffers(group, pair)
        said, count = group.sum(total.numpy())
        found.append(float(said / max(count, 1)))
    if group.rank == 0:
        torch.save(pair.picture.network.state_dict(), out / ".picture.pt")
        os.replace(out / ".picture.pt", out / "picture.pt")
    group.barrier()
    return {"losses": found, "weights": str(out / "picture.pt")}


def _epoch(source, plan: loop.Plan, number: int, group):
    return data.epoch(
        *(source, plan.batch, plan.seed, number, group.rank, group.size, plan.lanes, plan.window),
        modalities=("title", "picture"),
    )


def _with_tables(pair: Pair, optimisers: list, plan: loop.Plan) -> list:
    tables = [m.weight for m in pair.modules() if isinstance(m, torch.nn.Embedding | torch.nn.EmbeddingBag)]
    for group in optimisers[0].param_groups:
        group["params"] = [w for w in group["params"] if not any(w is table for table in tables)]
    if tables:
        optimisers = [*optimisers, torch.optim.Adagrad(tables, lr=towers.SPARSE_RATE)]
        optimisers[-1].param_groups[0]["peak"] = towers.SPARSE_RATE
    return optimisers
