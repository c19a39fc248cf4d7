"""A small student of a model: towers of a fraction of the size that learn the teacher's probabilities, not labels. No Spark here.

Soft targets say of every row which other categories it resembles (Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a
Neural Network"), and any product can be learnt from, labelled or not. The student is a model like any other: the
same folder, prediction and serving.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shelfmark import answers
from shelfmark.config import Decision
from shelfmark.multimodal import encode, fit_fusion, fusion, model

BUCKETS = 1 << 14
TEXT = {"buckets": BUCKETS, "dim": 32, "hidden": 64, "sparse": False}
SIZES: dict[str, dict[str, Any]] = {
    "title": TEXT,
    "description": TEXT,
    "picture": {"model": "resnet10t", "options": {"channels": [16, 24, 32, 48]}},
    "fields": {"hidden": 32},
}
"""What a student's towers have, `towers.describe` of each modality."""
HELD = 5  # one row in so many is not learnt from: the rule learns from what towers say of it
RATE, BATCH = 5e-3, 128


def distil(
    teacher: model.Model,
    rows: pa.Table,
    labels: np.ndarray,
    side: tuple[pa.Table, model.Judged],
    folder: Path | str,
    decision: Decision,
    targets: dict[tuple[str, str], float],
    modalities: Sequence[str] = ("title",),
    sizes: dict[str, dict[str, Any]] | None = None,
    epochs: int = 10,
    seed: int = 0,
    threads: int = 1,
) -> model.Model:
    """Learn a student of some `modalities` and write it to `folder`; returns it loaded.

    rows: as `model.answer` reads them; labels: their category numbers, -1 where there is none (such rows teach all the same).
    side: rows to calibrate on, and what is true of them (its outputs are not read). sizes: of towers, by default `SIZES`.
    Multi-class models only: `ValueError` for others.
    """
    from shelfmark.multimodal import towers

    if teacher.kind != "multiclass":
        raise ValueError("students of one label a product only")
    folder, sizes = Path(folder), sizes or SIZES
    texts = [sizes[name]["buckets"] for name in modalities if name in encode.TEXTS]
    how = teacher.encoding._replace(buckets=texts[0] if texts else teacher.encoding.buckets)
    wanted = fusion.apply(teacher.rule, model.outputs(teacher, rows))
    held = np.arange(rows.num_rows) % HELD == 0
    with fit_fusion.torch_threads(threads):
        for name in modalities:
            more = sizes[name] | ({"width": how.width} if name == "fields" else {})
            description = towers.describe(name, teacher.categories, **more)
            taught = rows.filter(pa.array(~held))
            towers.save(_taught(description, taught, wanted[~held], how, epochs, seed), folder / name)
    uniform = np.full(teacher.categories, 1 / teacher.categories, np.float32)
    about = how, teacher.nodes, teacher.tree, teacher.taxonomy_version
    mean = fusion.Rule("mean", "multiclass", tuple(modalities), uniform)
    model.write(folder, mean, *about, None, decision, targets, teacher.facts)
    student = model.load(str(folder), answers.checksum(folder))
    kept = rows.filter(pa.array(held))
    rule = fit_fusion.fit("policy", model.outputs(student, kept), labels[held], seed=seed, threads=threads)
    shown, true = side
    judged = true._replace(outputs=model.outputs(student, shown))
    model.write(folder, rule, *about, judged, decision, targets, teacher.facts)
    return model.load(str(folder), answers.checksum(folder))


def _taught(
    description: dict[str, Any], rows: pa.Table, wanted: np.ndarray, how: encode.Encoding, epochs: int, seed: int
):
    """A tower that learnt to say what the teacher says of rows that have its modality."""
    import torch

    from shelfmark.multimodal import towers

    torch.manual_seed(seed)
    tower, name = towers.build(description).train(), description["modality"]
    compact, rng = encode.compact(rows, how), np.random.default_rng(seed)
    there = np.flatnonzero(compact.column(name).is_valid().to_numpy(zero_copy_only=False))
    total = max(1, epochs * -(-len(there) // BATCH))
    steps = torch.optim.AdamW(tower.parameters(), lr=RATE, weight_decay=1e-4)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(steps, total)
    for _ in range(epochs):
        for some in np.array_split(rng.permutation(there), max(1, -(-len(there) // BATCH))):
            batch = encode.batch(compact.take(pa.array(some)), how, (name,))
            steps.zero_grad()
            said = torch.log_softmax(tower(towers.tensors({name: batch[name]})), 1)
            (-(torch.from_numpy(wanted[some]) * said).sum(1).mean()).backward()
            steps.step()
            rates.step()
    return tower.eval()


def compared(models: dict[str, tuple[Path, model.Model]], rows: pa.Table, labels: np.ndarray) -> list[dict[str, Any]]:
    """A line for each model: name, bytes of its files, rows per second (in this process, one after another), accuracy and
    macro_f1 on rows none of them learnt from."""
    lines = []
    for name, (folder, one) in models.items():
        model.answer(one, rows.slice(0, 8))  # the first call compiles
        started = time.perf_counter()
        said = fusion.apply(one.rule, model.outputs(one, rows)).argmax(1)
        seconds = time.perf_counter() - started
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        figures = {"accuracy": float((said == labels).mean()), "macro_f1": model.macro_f1(labels, said, one.categories)}
        lines.append({"name": name, "bytes": size, "rows_per_second": rows.num_rows / seconds} | figures)
    return lines
