"""A small multimodal model, trained for real: words tell the root, colours of pictures the leaf."""

import atexit
import functools
import io
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

TAXONOMY = {
    "shoes": ("Shoes", None),
    "boots": ("Shoes > Boots", "shoes"),
    "sandals": ("Shoes > Sandals", "shoes"),
    "bags": ("Bags", None),
    "totes": ("Bags > Totes", "bags"),
    "clutches": ("Bags > Clutches", "bags"),
}
LEAVES = ("boots", "sandals", "totes", "clutches")
COLOURS = {"boots": (200, 40, 40), "sandals": (40, 60, 200), "totes": (200, 40, 40), "clutches": (40, 60, 200)}
WORDS = {"boots": "shoe leather", "sandals": "shoe summer", "totes": "bag canvas", "clutches": "bag evening"}


def products(n, seed):
    """Rows as `model.answer` reads them, and the leaf of each. A title names the root always, its leaf in half of the rows."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    leaf = rng.integers(0, len(LEAVES), n)
    titles, pictures, facts = [], [], []
    for at in leaf:
        name = LEAVES[at]
        root, own = WORDS[name].split()
        titles.append(f"{root} {own if rng.random() < 0.5 else 'new'} {rng.integers(100, 999)}")
        colour = np.clip(np.array(COLOURS[name]) + rng.normal(0, 25, 3), 0, 255)
        pixels = np.clip(colour + rng.normal(0, 20, (24, 24, 3)), 0, 255).astype(np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG")
        pictures.append(out.getvalue())
        facts.append([{"name": "material", "value": WORDS[name].split()[1]}] if rng.random() < 0.2 else None)
    pairs = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))
    rows = pa.table(
        {
            "title": titles,
            "picture": pa.array(pictures, pa.binary()),
            "fields": pa.array(facts, pairs),
            "region": rng.choice(["IN", "MY"], n).tolist(),
        }
    )
    return rows, leaf


def learnt_tower(name, rows, leaf, encoding, **more):
    """A tower after a few steps on all rows that have its modality."""
    import torch

    from shelfmark.multimodal import encode, towers

    torch.manual_seed(0)
    tower = towers.build(towers.describe(name, len(LEAVES), **more))
    arrays = encode.arrays(rows, encoding)
    there = np.flatnonzero(arrays["present"][name])
    batch, truth = towers.tensors({name: arrays[name][there]}), torch.from_numpy(leaf[there])
    steps = torch.optim.Adam(tower.parameters(), lr=5e-3)
    tower.train()
    for _ in range(25):
        steps.zero_grad()
        torch.nn.functional.cross_entropy(tower(batch), truth).backward()
        steps.step()
    return tower.eval()


@functools.cache
def trained():
    """(folder of a model, its checksum); a policy over title, picture and fields. Trained once for all tests."""
    import torch

    from shelfmark import answers, config
    from shelfmark.multimodal import embeddings, encode, fit_fusion, fusion, model, towers

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    home = tempfile.mkdtemp(prefix="shelfmark-model-")
    atexit.register(shutil.rmtree, home, True)
    folder = Path(home) / "model"
    encoding = encode.Encoding(buckets=4096, size=24, width=32)
    rows, leaf = products(400, 0)
    made = {
        "title": learnt_tower("title", rows, leaf, encoding, buckets=4096, dim=16, hidden=16, sparse=False),
        "picture": learnt_tower("picture", rows, leaf, encoding, model="test_resnet"),
        "fields": learnt_tower("fields", rows, leaf, encoding, width=32, hidden=16),
    }
    for name, tower in made.items():
        towers.save(tower, folder / name)
    nodes, tree = answers.make_tree(list(LEAVES), TAXONOMY)
    number = np.array([[nodes[at]["id"] for at in tree.leaf].index(name) for name in LEAVES])
    # The towers' categories are those of LEAVES: their heads are put in the tree's order.
    for name, tower in made.items():
        order = torch.from_numpy(np.argsort(number))
        head = tower.head[-1]
        with torch.no_grad():
            head.weight.copy_(head.weight[order])
            head.bias.copy_(head.bias[order])
        towers.save(tower, folder / name)
    bare = model.Model("multiclass", nodes, tree, encoding, made, None, None, "t-1", (), None)
    names = tuple(made)

    def outputs(rows):
        rule = fusion.Rule("mean", "multiclass", names, np.full(4, 0.25, np.float32))
        return model.outputs(replace(bare, rule=rule), rows)

    fused, fused_leaf = products(1_200, 1)
    rule = fit_fusion.fit("policy", outputs(fused), number[fused_leaf])
    side, side_leaf = products(1_000, 2)
    labels = number[side_leaf]
    judged = model.Judged(outputs(side), labels, tree.leaf[labels], np.asarray(side["region"].to_pylist()))
    decision = config.Decision(min_accepted=100, target_accuracy=0.9, by_region={"MY": 0.99}, roll_up_depth=1)
    targets = answers.targets_of(decision, TAXONOMY)
    features = model.seen(replace(bare, rule=rule), fused).features
    space = embeddings.learn(features, number[fused_leaf], 8)
    embeddings.save(space, embeddings.prototypes(embeddings.vectors(space, features), number[fused_leaf], 4), folder)
    model.write(folder, rule, encoding, nodes, tree, "t-1", judged, decision, targets, ("attributes",))
    torch.set_num_threads(before)
    return folder, answers.checksum(folder)
