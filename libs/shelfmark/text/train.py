"""Train the text model on Spark: the steps of fit.py as tasks, then calibration.

1. Rows per category are counted; categories below `min_support` are reported, not learnt. What of the facts (price,
   attributes, ...) says something often enough is found in one pass (stated.py).
2. The rows are spread by product into parts of fixed size, in the order of a hash: the model does not depend on how
   the table was partitioned or how many executors there are.
3. Spark NLP makes words of them, a task per part hashes and counts n-grams and writes the part under `workdir`, a
   folder that driver and executors both see.
4. Document frequencies are summed over parts, parts are weighed, a task per block of sibling categories solves it,
   one task merges the blocks (fit.py). No row ever comes to the driver.
5. With `text.reweight: auto` step 4 is done for each of `TRIED`, and the best macro-F1 on the tune side is kept; with
   `text.logit_tau: auto` that of each of `TAUS` as well.
6. The calibrate side gives link, curves and thresholds (calibrate.py), the tune side the model's metrics.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shelfmark import answers
from shelfmark.config import Settings
from shelfmark.errors import DataRefused
from shelfmark.ingest.categories import SEPARATOR
from shelfmark.labels.weights import logit_offsets
from shelfmark.text import branch as branches
from shelfmark.text import calibrate as calibration
from shelfmark.text import fit, model, steps
from shelfmark.text.facts import Encoder

log = logging.getLogger(__name__)

CALIBRATION_ROWS = 50_000  # rows of curves and thresholds: more changes no digit that matters
LINK_ROWS = 10_000  # of them, rows the three numbers of the link are fitted on
TAUS = (
    0,
    0.01,
    0.02,
    0.04,
    0.08,
    0.12,
    0.16,
)  # logit adjustments of `logit_tau: auto`; scores are some two units apart
TRIED = ("none", "sqrt", "effective", "inverse")  # class weights of `reweight: auto`


class Side(NamedTuple):
    """Where a side of the split lies: its weighed parts below `work`."""

    work: Path
    parts: list[int]


def train(
    rows: DataFrame,
    calibrate: DataFrame,
    tune: DataFrame,
    taxonomy: DataFrame,
    settings: Settings,
    workdir: Path | str,
    model_dir: Path | str,
    branch: branches.Branch | None = None,
) -> dict[str, Any]:
    """Train on `rows`, calibrate on `calibrate`, measure on `tune`; the model's files are written to `model_dir`.

    rows, calibrate, tune: one row a product, columns product_id, category_id, weight, the texts of
    `settings.text.fields`, what `settings.text.facts` are read from (`stated.columns`) and, where regions are to have
    curves and thresholds of their own, region. taxonomy: category_id,
    path, parent_id, taxonomy_version of one version. workdir: scratch that driver and executors both see; emptied
    before and after. model_dir: made, must be empty. branch: what alone is learnt anew, and the model all else is of (branch.py).

    Returns what gold.models wants and more: categories, training_rows (after the cap), taxonomy_version, checksum,
    metrics (of the tune side: rows, accuracy, macro_f1, coverage, accepted_accuracy, and `before`, of the scores' softmax,
    and `after` calibration what `calibrate.quality` says; of calibration: link, curves (regions that have one),
    thresholds; reweight, logit_tau and, with `auto`, the macro-F1 of each that was tried; branch), below_support ([{category_id, path,
    support}]), features, weights, seconds per step.
    Raises `DataRefused` where no category has enough rows, or the taxonomy does not know one, `UsageError` where
    `decision.by_category` names one that it does not know.
    """
    work, folder = Path(workdir), Path(model_dir)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _train(rows, calibrate, tune, taxonomy, settings, work, folder, branch)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _train(
    rows, calibrate, tune, taxonomy, settings: Settings, work: Path, folder: Path, branch: branches.Branch | None
) -> dict[str, Any]:
    text, started, seconds = settings.text, time.perf_counter(), {}
    context = rows.sparkSession.sparkContext
    tasks = max(context.defaultParallelism, 1)
    version, known = steps.taxonomy_of(taxonomy)
    usable = F.col("category_id").isNotNull() & (F.col("weight") > 0)
    support = {r["category_id"]: r["count"] for r in rows.where(usable).groupBy("category_id").count().collect()}
    kept_model = branches.read(branch, known, text) if branch else None
    if kept_model:
        support = {c: n for c, n in support.items() if c in kept_model.below}
    learnt = [category for category, n in support.items() if n >= text.min_support]
    below = sorted(set(support) - set(learnt))
    if not learnt:
        where = f" below {branch.name!r}" if branch else ""
        raise DataRefused(
            f"no category{where} has {text.min_support} training rows ({len(support)} categories, {sum(support.values())} rows): "
            "lower text.min_support or bring more labels"
        )
    if len(learnt) > 1 << 16:
        raise DataRefused(f"{len(learnt)} categories have enough rows, a model holds 65536: raise text.min_support")
    facts = None
    if kept_model:
        support |= {category: kept_model.about["support"][category] for category in kept_model.outside}
        learnt += kept_model.outside
        facts = kept_model.about["facts"]
    targets = answers.targets_of(settings.decision, known)
    nodes, tree = model.make_tree(learnt, known)
    plan = steps.Plan(
        settings, context, work, folder, facts or steps.learn_facts(rows.where(usable), sum(support.values()), text), nodes,
        tree, answers.spots(nodes, known),
    )  # fmt: skip
    order = plan.order
    counts = np.array([support[category] for category in order])
    kept = np.minimum(counts, text.max_rows_per_category)
    share = {category: float(k / n) for category, k, n in zip(order, kept, counts)}
    seconds["count"] = time.perf_counter() - started

    started = time.perf_counter()
    parts = max(1, -(-int(kept.sum()) // steps.PART_ROWS))
    sampled = _sampled(rows.where(usable & F.col("category_id").isin(order)), share)
    named = _named(sampled, order, known, text.names)
    n_rows = sum(steps.write_parts(named, parts, work / "train", plan, order)) - (len(order) if text.names else 0)
    seconds["grams"] = time.perf_counter() - started
    log.info("text features of %d rows in %d parts", n_rows, parts)
    prepared = fit.prepare(
        work / "train", folder, range(parts), n_rows, text, plan.tasks, tasks, plan.learnt, branch and branch.folder
    )

    started = time.perf_counter()
    sides = [
        _side(side, plan, work / name, most)
        for name, side, most in (("calibrate", calibrate, CALIBRATION_ROWS), ("tune", tune, 4 * CALIBRATION_ROWS))
    ]
    seconds["sides"] = time.perf_counter() - started
    solve = partial(
        fit.learn, work / "train", parts=range(parts), features=prepared["features"], categories=len(order), text=text,
        each=plan.tasks, tasks=tasks, base=kept_model and kept_model.base(order, tree, nodes), branches=model.branches(tree),
    )  # fmt: skip
    result, chosen = _learn(plan, solve, kept, sides[1], kept_model)
    seconds |= prepared.pop("seconds") | result.pop("seconds")

    started = time.perf_counter()
    about = {
        "text": text.model_dump(),
        "facts": plan.learnt,
        "taxonomy_version": version,
        "training_rows": n_rows,
        "support": {category: int(n) for category, n in zip(order, counts)},
        "roll_up_depth": settings.decision.roll_up_depth,
        "logit_tau": chosen["logit_tau"],
    }
    fitted = _calibrate(plan, sides[0], about, targets)
    measured = _measure(plan, sides[1])
    seconds["calibrate"] = time.perf_counter() - started
    return {
        "categories": len(order),
        "training_rows": n_rows,
        "taxonomy_version": version,
        "checksum": model.checksum(folder),
        "metrics": {**measured, **fitted, **chosen} | ({"branch": known[kept_model.root][0]} if kept_model else {}),
        "below_support": [
            {"category_id": c, "path": known.get(c, (None, None))[0], "support": support[c]} for c in below
        ],
        **prepared,
        **result,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


def _learn(
    plan: steps.Plan, solve: Callable, counts: np.ndarray, tune: Side, kept: branches.Kept | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The weights, with the class weights and offsets of the settings or the best of those tried; what it took, and what
    was chosen. What is kept of a model has its offsets: a branch gets those of the same tau."""
    text = plan.settings.text
    if text.reweight != "auto" or not tune.parts:
        how = "sqrt" if text.reweight == "auto" else text.reweight
        result, chosen = solve(plan.folder, boost=steps.boost(counts, how, text)), {"reweight": how}
    else:
        results, macro = {}, {}
        for how in TRIED:
            results[how] = solve(plan.work / "tried" / how, boost=steps.boost(counts, how, text))
            macro[how] = _macro_f1s(plan, tune, plan.work / "tried" / how, counts, (0,))[0]
            log.info("class weights %s: macro-F1 %.4f on the tune side", how, macro[how])
        best = max(TRIED, key=macro.get)  # of equals the first, which weighs least
        for path in (plan.work / "tried" / best).iterdir():
            os.replace(path, plan.folder / path.name)
        result, chosen = results[best], {"reweight": best, "tried": macro}
    tau = kept.about.get("logit_tau", 0) if kept else text.logit_tau
    if tau == "auto":
        found = dict(zip(TAUS, _macro_f1s(plan, tune, plan.folder, counts, TAUS))) if tune.parts else {0: None}
        tau = max(found, key=found.get)
        log.info("logit adjustment: macro-F1 on the tune side by tau: %s", found)
        chosen["tried_tau"] = {str(one): value for one, value in found.items()}
    if tau:
        bias, offsets = np.load(plan.folder / "bias.npy"), logit_offsets(counts, tau)
        if kept:
            offsets[[category not in kept.below for category in plan.order]] = 0
        fit.save(plan.folder / "bias.npy", (bias + offsets).astype(np.float32))
    return result, chosen | {"logit_tau": tau}


def _macro_f1s(plan: steps.Plan, tune: Side, folder: Path, counts: np.ndarray, taus: tuple[float, ...]) -> list[float]:
    """Macro-F1 of the weights of a folder on the tune side, with the offsets of each of `taus`."""
    offsets = np.array([logit_offsets(counts, tau) for tau in taus], np.float32)
    step = partial(_confusions, work=tune.work, folder=folder, offsets=offsets)
    return [_macro_f1(total, len(counts)) or 0.0 for total in sum(plan.tasks(step, tune.parts))]


def _sampled(rows: DataFrame, share: dict[str, float]) -> DataFrame:
    """About `share[category]` of each category's rows, by the hash of the product."""
    capped = {category: part for category, part in share.items() if part < 1}
    if not capped:
        return rows
    spark = rows.sparkSession
    table = spark.createDataFrame(list(capped.items()), "category_id string, _share double")
    joined = rows.join(F.broadcast(table), "category_id", "left")
    return joined.where(F.col("_share").isNull() | (steps.chance() < F.col("_share"))).drop("_share")


def _named(rows: DataFrame, order: list[str], known: dict[str, tuple[str, str | None]], weight: float) -> DataFrame:
    """`rows` and the name of each learnt category, the last level of its path, as a title of it."""
    if not weight:
        return rows
    names = [(f"name of {one}", one, float(weight), known[one][0].split(SEPARATOR)[-1]) for one in order]
    fresh = rows.sparkSession.createDataFrame(
        names, "product_id string, category_id string, weight double, title string"
    )
    kept = [name for name in fresh.columns if name in rows.columns]
    return rows.unionByName(fresh.select(kept), allowMissingColumns=True)


def _side(rows: DataFrame, plan: steps.Plan, work: Path, most: int) -> Side:
    """Write a bounded sample of a side, `most` rows or so, as weighed parts labelled by node."""
    usable = rows.where(F.col("category_id").isNotNull())
    if "region" not in usable.columns:
        usable = usable.withColumn("region", F.lit(model.ANY))
    n = usable.count()
    if not n:
        return Side(work, [])
    sample = usable.where(steps.chance() < min(1.0, most / n)) if n > most else usable
    sample = sample.withColumn("weight", F.lit(1.0))
    parts = max(1, -(-min(n, most) // steps.PART_ROWS))
    categories = sorted(plan.spots)
    steps.write_parts(sample, parts, work, plan, categories, keep=("region",))
    own = {category: at for at, category in enumerate(plan.order)}
    truth = [own.get(c, -1) for c in categories] + [-1], [plan.spots[c] for c in categories] + [-1]
    cuts = Encoder(plan.learnt).cuts
    step = partial(_weigh_side, work=work, model_dir=plan.folder, truth=np.array(truth, np.int32), cuts=cuts)
    plan.tasks(step, list(range(parts)))
    return Side(work, list(range(parts)))


def _weigh_side(part: int, work: Path, model_dir: Path, truth: np.ndarray, cuts: int) -> None:
    """Weigh a part and look the truth of its rows up: `truth` has label and node by taxonomy number, -1 last."""
    fit.weigh_part(part, work, model_dir, cuts)
    folder = fit.part_folder(work, part)
    fit.save(folder / "truth.npy", truth[:, np.load(folder / "labels.npy")])


def _scored(part: int, work: Path, folder: Path) -> tuple[model.Scored, np.ndarray, np.ndarray]:
    """Scores of a part of a side, the number of each row's category (-1: not learnt), its node (-1: unknown)."""
    rows = fit.read_part(part, work)
    truth = np.load(fit.part_folder(work, part) / "truth.npy")
    return model.scored(model.read_weights(folder), rows.indptr, rows.columns, rows.values), truth[0], truth[1]


def _spread(part: int, work: Path, folder: Path, most: int) -> tuple[np.ndarray, np.ndarray]:
    """`calibrate.spread` of the first `most` rows of a part whose category was learnt, and that category's scores."""
    (scores, _), labels, _ = _scored(part, work, folder)
    some = np.flatnonzero(labels >= 0)[:most]
    return calibration.spread(scores[some]), scores[some, labels[some]]


def _guesses(
    part: int, work: Path, folder: Path, tree: model.Tree, evidence: np.ndarray, min_depth: int
) -> answers.Guess:
    (scores, fits), labels, nodes = _scored(part, work, folder)
    model.to_chances(scores, evidence)
    return answers.guesses(scores, fits, labels, nodes, steps.kept(part, work, "region"), tree, min_depth)


def _calibrate(
    plan: steps.Plan, side: Side, about: dict[str, Any], targets: dict[tuple[str, str], float]
) -> dict[str, Any]:
    """Fit link, curves, scope and thresholds on the calibrate side and write model.json with them."""
    where = {"work": side.work, "folder": plan.folder}
    link, guess = calibration.Link(), None
    if side.parts:
        step = partial(_spread, **where, most=-(-LINK_ROWS // len(side.parts)))
        link = calibration.fit_link(*map(np.concatenate, zip(*plan.tasks(step, side.parts))))
        min_depth = plan.settings.decision.roll_up_depth
        step = partial(_guesses, **where, tree=plan.tree, evidence=link.table(), min_depth=min_depth)
        guess = answers.Guess(*map(np.concatenate, zip(*plan.tasks(step, side.parts))))
    curves, scope, cells = answers.calibrated(guess, plan.settings.decision, targets, plan.nodes, plan.tree)
    about |= {"link": link, "curves": curves, "thresholds": cells, "scope": scope}
    model.write(plan.folder, plan.nodes, plan.tree, about)
    return {
        "link": link._asdict(),
        "curves": sorted(name for name, curve in curves.items() if curve.x),
        "thresholds": cells,
        "scope": scope,
    }


def _confusions(part: int, work: Path, folder: Path, offsets: np.ndarray) -> np.ndarray:
    """Per row of `offsets`, which are added to the scores, and category: rows predicted, true, both."""
    (scores, _), labels, _ = _scored(part, work, folder)
    found = []
    for some in offsets:
        said = model.best(scores + some, 1)[0][:, 0]
        counts = (said, labels[labels >= 0], said[said == labels])
        found.append(np.concatenate([np.bincount(one, minlength=offsets.shape[1]) for one in counts]))
    return np.array(found)


def _said(part: int, work: Path, folder: Path, checksum: str) -> tuple[np.ndarray, ...]:
    """Of each row: category number, truth, confidence before and after calibration, whether it is accepted."""
    found = model.load(str(folder), checksum)
    (scores, _), labels, _ = _scored(part, work, folder)
    top = scores.max(1)
    before = 1 / np.exp(scores - top[:, None], dtype=np.float64).sum(1)
    model.to_chances(scores, found.evidence)
    number, chance = (one[:, 0] for one in model.best(scores, 1))
    region = steps.kept(part, work, "region")
    after = calibration.confidences(found.curves, chance, region)
    sure = after >= found.thresholds.accept[found.thresholds.find(region, number)]
    return number, labels, before, after, sure


def _measure(plan: steps.Plan, side: Side) -> dict[str, Any]:
    """Accuracy and coverage over all rows of the tune side, macro-F1 over the learnt categories found there."""
    if not side.parts:
        return {"rows": 0}
    step = partial(_said, work=side.work, folder=plan.folder, checksum=model.checksum(plan.folder))
    said, truth, before, after, sure = map(np.concatenate, zip(*plan.tasks(step, side.parts)))
    right, categories = said == truth, len(plan.order)
    counts = (np.bincount(some, minlength=categories) for some in (said, truth[truth >= 0], said[right]))
    told = {"macro_f1": _macro_f1(np.concatenate(list(counts)), categories)}
    return told | answers.measured(right, before, after, sure)


def _macro_f1(total: np.ndarray, categories: int) -> float | None:
    """Mean F1 of the learnt categories that `_confusions` found rows of; None where there is none."""
    said, true, both = total[: 3 * categories].reshape(3, categories)
    shown = true > 0
    f1 = 2 * both[shown] / (said[shown] + true[shown])
    return float(f1.mean()) if len(f1) else None
