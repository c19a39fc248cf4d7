"""A small cache of learnable titles, and what tests send to ranks: closures, so that cloudpickle takes them by value."""

import numpy as np
import pyarrow as pa

WORDS = ["coat", "shoe", "lamp", "phone", "chair"]


def cache(folder, rows=480):
    """Titles that name their category, parts train and tune; returns the folder."""
    from shelfmark.multimodal import data
    from shelfmark.multimodal.encode import Encoding

    how = Encoding(buckets=2000, title_length=32, size=16, width=8)
    data.create(folder, how)
    draw = np.random.default_rng(5)

    def batches(block=240):
        for start in range(0, rows, block):
            labels = draw.integers(0, len(WORDS), block)
            # One title in five names another category: a loss that falls but stays away from 0.
            said = np.where(draw.random(block) < 0.2, draw.integers(0, len(WORDS), block), labels)
            titles = [f"{WORDS[k]} no {draw.integers(0, 50)}" for k in said]
            titles = [None if draw.random() < 0.1 else title for title in titles]
            part = ["tune" if draw.random() < 0.2 else "train" for _ in titles]
            yield pa.RecordBatch.from_pydict(
                {
                    "title": pa.array(titles, pa.string()),
                    "row": pa.array(range(start, start + block)),
                    "label": pa.array(labels, pa.int32()),
                    "part": part,
                }
            )

    files = [one["file"] for said in data.write(folder, batches(), how, 16) for one in said.to_pylist()]
    data.seal(folder, files)
    return folder


def training(out, folder, plan=None, sparse=True, **more):
    """A function of a group that trains a title tower: dropout 0, as its masks are drawn rank by rank."""
    out, folder, plan = str(out), str(folder), dict(plan or {})

    def train(group):
        import numpy as np
        import torch

        from shelfmark.multimodal import loop, losses, towers

        torch.set_num_threads(1)
        how = {"buckets": 2000, "dim": 16, "hidden": 16, "dropout": 0.0, "sparse": sparse}
        tower = towers.describe("title", 5, "ngrams", **how)
        goal = losses.describe(np.full(5, 80), reweight="sqrt", **more)
        steps = loop.Plan(**{"epochs": 3, "batch": 64, "window": 2, "checkpoint_steps": 2, **plan})
        return loop.train(group, out, folder, ["train"], ["tune"], tower, goal, steps)

    return train
