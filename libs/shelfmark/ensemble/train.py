"""Make an ensemble of two champions: weights by the tune side, curves and thresholds by the calibrate side. On Spark.

1. The files of both are copied: a version of the ensemble is whole whatever becomes of theirs.
2. Tasks let both answer of the rows of the tune side (of the calibrate side where a rule of fusion was learnt on the former) and
   give back the best category by each of `TRIED`; the one with the best macro-F1 is kept, of equals that with the best accuracy.
3. The calibrate side gives curves and thresholds, as for any line; the tune side the metrics.

What comes to the driver of a row is a few numbers, of `ensemble.rows` rows of a side at the most.
"""

from __future__ import annotations

import json
import pickle
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from shelfmark import answers
from shelfmark.ensemble import model
from shelfmark.ensemble.predict import mapped
from shelfmark.labels import examples
from shelfmark.multimodal import fit_fusion
from shelfmark.multimodal import model as pictured
from shelfmark.text.steps import taxonomy_of

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from pyspark.sql import DataFrame

    from shelfmark.config import Settings
    from shelfmark.models.champion import Champion

WEIGHTS = tuple(round(0.1 * at, 1) for at in range(11))
TRIED = [(pool, weight) for pool in model.POOLS for weight in WEIGHTS if pool == "linear" or 0 < weight < 1]
"""Pools and weights of the text model; at 0 and 1 they are the same."""


def train(
    rows: DataFrame,
    images: DataFrame,
    taxonomy: DataFrame,
    settings: Settings,
    text: Champion,
    multimodal: Champion,
    model_dir: Path | str,
) -> dict[str, Any]:
    """Make the ensemble of two champions; its files are written to `model_dir`.

    rows: as `examples.labelled`; of the sides tune and calibrate. images: silver.images. taxonomy: one version, that of the
    champions. Returns what text/train.py's `train` returns; its metrics say also pool, weight, what each of `TRIED` reached
    and the versions of the members.
    """
    started, folder = time.perf_counter(), Path(model_dir)
    for member in (text, multimodal):
        shutil.copytree(member.folder, folder / member.model, dirs_exist_ok=True)
    version, known = taxonomy_of(taxonomy)
    learnt = set().union(*(_learnt(folder / member) for member in model.MEMBERS))
    nodes, tree = answers.make_tree(sorted(learnt), known)
    members = {one.model: one.version for one in (text, multimodal)}
    about = {"nodes": nodes, "tree": tree, "taxonomy_version": version, "members": members} | tried_as("linear", 0.5)
    model.write(folder, about)
    usable = rows.where("category_id IS NOT NULL AND weight > 0").cache()
    asked = Asked(
        usable, images, folder, {nodes[node]["id"]: at for at, node in enumerate(tree.leaf)}, settings.ensemble.rows
    )

    side = "calibrate" if _knows_tune(multimodal) else "tune"
    number, *best = asked.of(side, _best_of_each, len(TRIED))
    tried = [tried_as(*one) | _figures(number, said, len(learnt)) for one, said in zip(TRIED, best)]
    # Of equals, and where there is nothing to choose by, the weight nearest to a half.
    chosen = max(tried, key=lambda one: (one["macro_f1"] or 0, one["accuracy"] or 0, -abs(one["weight"] - 0.5)))
    about |= {name: chosen[name] for name in ("pool", "weight")}
    model.write(folder, about)

    depth, spots = settings.decision.roll_up_depth, answers.spots(nodes, known)
    _, *guess = asked.of("calibrate", partial(_guessed, spots=spots, depth=depth), len(answers.Guess._fields))
    guess = answers.Guess(*guess) if len(guess[0]) else None
    targets = answers.targets_of(settings.decision, known)
    curves, scope, cells = answers.calibrated(guess, settings.decision, targets, nodes, tree)
    about |= {"curves": curves, "scope": scope, "thresholds": cells, "roll_up_depth": depth}
    model.write(folder, about)

    metrics = _measured(*asked.of("tune", _decided, 4), len(learnt)) | {"tried": tried, "members": members}
    metrics |= {name: chosen[name] for name in ("pool", "weight")} | {"thresholds": cells, "scope": scope}
    training = usable.where("side = 'train'").count()
    usable.unpersist()
    return {
        "categories": len(learnt),
        "training_rows": training,
        "taxonomy_version": version,
        "checksum": answers.checksum(folder),
        "metrics": metrics,
        "below_support": [],
        "seconds": {"all": round(time.perf_counter() - started, 2)},
    }


def _knows_tune(multimodal: Champion) -> bool:
    """Whether the rule of fusion was learnt on the tune side: weighed there, such a member would look better than it is."""
    fused, alone = multimodal.metrics.get("fusion"), multimodal.settings.get("folds") == 1
    return fused == "early" or (alone and fused not in fit_fusion.PLAIN)


def tried_as(pool: str, weight: float) -> dict[str, Any]:
    return {"pool": pool, "weight": weight}


def _learnt(folder: Path) -> set[str]:
    about = json.loads((folder / "model.json").read_text())
    return {about["nodes"][node]["id"] for node in about["tree"]["leaf"]}


class Asked(NamedTuple):
    """Whom to ask of what: rows of all sides, silver.images, the ensemble's folder, numbers of its categories, rows of a side at
    the most."""

    rows: DataFrame
    images: DataFrame
    folder: Path
    numbers: dict[str, int]
    most: int

    def of(self, side: str, what: Callable[..., list[np.ndarray]], width: int) -> list[np.ndarray]:
        """The number of the true category of each row of a side (-1: not learnt), then what `what` (ensemble, what the members said,
        ids of the true categories, their numbers, region names) gives of them, `width` arrays; empty ones where there is no row."""
        mine = self.rows.where(F.col("side") == side)
        n = mine.count()
        sample = mine.where(examples.chance("ensemble") < F.lit(self.most / max(n, 1))) if n > self.most else mine
        numbers, key = self.numbers, answers.checksum(self.folder)

        def asked(found: model.Model, kept: pa.RecordBatch, rows: model.Rows, pool: Executor) -> pa.RecordBatch:
            categories = kept.column(0).to_pylist()
            true = np.array([numbers.get(one, -1) for one in categories], np.int64)
            region = np.asarray(pictured.region_of(rows.others).fill_null(answers.ANY)).astype(str)
            given = [true, *what(found, model.said(found, rows, pool), categories, true, region)]
            return pa.record_batch({"given": pa.array([pickle.dumps(given)], pa.binary())})

        told = mapped(sample, self.images, str(self.folder), key, ["category_id"], asked, only="given binary").collect()
        parts = [pickle.loads(row.given) for row in told]
        if not parts:
            return [np.zeros(0, np.int64)] * (1 + width)
        return [np.concatenate(one) for one in zip(*parts)]


def _best_of_each(found: model.Model, said: model.Said, *_) -> list[np.ndarray]:
    """The best category by each of `TRIED`."""
    return [answers.best(model.pooled(*said[:4], *one), 1)[0][:, 0] for one in TRIED]


def _guessed(found: model.Model, said: model.Said, categories, true, region, spots, depth) -> list[np.ndarray]:
    """What calibration wants: the fields of `answers.Guess`."""
    nodes = np.array([spots.get(one, -1) for one in categories], np.int32)
    chances = model.pooled(*said[:4], found.pool, found.weight)
    return list(answers.guesses(chances, said.fit, true, nodes, region, found.tree, depth))


def _decided(found: model.Model, said: model.Said, categories, true, region) -> list[np.ndarray]:
    """Best category, its probability before and after calibration, whether it is accepted."""
    chances = model.pooled(*said[:4], found.pool, found.weight)
    known, before = said.worded | said.pictured, chances.max(1)
    made = answers.answered(
        chances, said.fit, known, pa.array(region.tolist(), pa.string()), found.tree, found.rules, 1,
        contradicts=said.made.contradicts,
    )  # fmt: skip
    return [made.number[:, 0], before, made.chance[:, 0], made.decision == answers.ACCEPT]


def _figures(true: np.ndarray, said: np.ndarray, categories: int) -> dict[str, float | None]:
    if not len(true):
        return {"accuracy": None, "macro_f1": None}
    return {"accuracy": float((said == true).mean()), "macro_f1": pictured.macro_f1(true, said, categories)}


def _measured(true, said, before, after, sure, categories: int) -> dict[str, Any]:
    """Figures of the tune side, as gold.models has them of any line."""
    if not len(true):
        return {"rows": 0}
    return _figures(true, said, categories) | answers.measured(said == true, before, after, sure)
