"""Train a multimodal model: the recipe's verb. Spark encodes and deals the rows, ranks learn the towers, the driver fuses.

1. Rows per category are counted; categories below `text.min_support` are reported, not learnt.
2. The rows are encoded once into a cache (data.py): training rows dealt to `multimodal.folds` folds by leak group, the tune and
   calibrate sides. It lies in a work folder named by lake commit and settings, which ranks see too and a run that was
   killed finds again: neither rows are encoded twice, nor is a tower that was learnt learnt again.
3. For every modality, a tower learns from all folds but one and answers of that one, for each fold: what the rule learns
   from are answers about rows that the tower had not seen. Then it learns from all folds: that tower is kept.
4. The rule of fusion is learnt from these answers (fit_fusion.py), with `multimodal.fusion: auto` the best on the tune side.
5. The calibrate side gives curves and thresholds, the tune side the model's metrics, as for the text line.

Rows that come to the driver are towers' answers, a bounded sample of each side: `FUSION_ROWS`, `SIDE_ROWS`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shelfmark import answers
from shelfmark.config import Multimodal, Settings
from shelfmark.errors import DataRefused, UsageError
from shelfmark.labels import examples
from shelfmark.multimodal import data, encode
from shelfmark.multimodal.predict import READ, inputs
from shelfmark.text.steps import taxonomy_of

if TYPE_CHECKING:
    from pyspark.sql import Column, SparkSession

    from shelfmark.multimodal import fusion, loop

log = logging.getLogger(__name__)

FUSION_ROWS = 60_000  # training rows a rule learns from: more changes no digit that matters
SPACE_ROWS = 20_000  # training rows that the space of vectors and the prototypes are learnt of, and tune rows they are measured on
SIDE_ROWS = 50_000  # rows of the tune and the calibrate side at the most, as for the text line
ASKED = "asked"  # ending of the parts that a tower answers of
WRITTEN = "part string, file string, rows bigint"


class Side(NamedTuple):
    """Sampled rows of a side by row number: number of the category (-1: not learnt) or bool[rows, categories], its node (-1:
    unknown), region, hash of the leak group."""

    row: np.ndarray
    labels: np.ndarray
    nodes: np.ndarray
    region: np.ndarray
    group: np.ndarray


def pictured(rows: DataFrame, images: DataFrame) -> int:
    """Rows of `examples.labelled` whose picture is in silver.images: what `multimodal.train: auto` asks."""
    return rows.join(images.where("bytes IS NOT NULL").select("image_id"), "image_id", "left_semi").count()


def wanted(rows: DataFrame, images: DataFrame, how: Multimodal) -> str | None:
    """Why there is nothing to train by the settings, None where there is."""
    if how.train == "never":
        return "multimodal.train is never"
    if how.train == "auto":
        try:
            import torch  # noqa: F401
        except ImportError:
            return "torch is not installed: pip install shelfmark[multimodal]"
        if (found := pictured(rows, images)) < how.min_pictures:
            return f"{found:,} labelled golden records have a picture, multimodal.min_pictures is {how.min_pictures:,}"
    return None


def train(
    rows: DataFrame,
    images: DataFrame,
    taxonomy: DataFrame,
    settings: Settings,
    workdir: Path | str,
    model_dir: Path | str,
    key: str,
    others: DataFrame | None = None,
) -> dict[str, Any]:
    """Train on the training side of `rows`, calibrate and measure on the others; the model's files are written to `model_dir`.

    rows: as `examples.labelled`, of all sides. images: silver.images. taxonomy: one version. workdir: a folder that driver,
    executors and ranks see and that outlives a run that is killed; what earlier trainings left there is removed. key: of the
    tables' state, say the lake commit. others: product_id, category_id of all categories of a product, for
    `multimodal.multi_label`.

    Returns what text/train.py's `train` returns: categories, training_rows, taxonomy_version, checksum, metrics (of the tune
    side; rules: macro_f1 and accuracy of each rule and modality; history: the epochs of each tower), below_support, seconds.
    Raises `DataRefused` where no category has enough rows, `UsageError` for settings that
    cannot be, `ServiceError` where ranks die again and again.
    """
    if settings.multimodal.candidates and settings.multimodal.multi_label:
        raise UsageError(
            "multimodal.candidates is for one category a product: set it to 0, or multimodal.multi_label to false"
        )
    started, seconds = time.perf_counter(), {}

    def took(step: str) -> None:
        nonlocal started
        seconds[step], started = round(time.perf_counter() - started, 2), time.perf_counter()

    usable = rows.where(F.col("category_id").isNotNull() & (F.col("weight") > 0)).cache()
    told = _told(usable, taxonomy, settings, others)
    targets = answers.targets_of(settings.decision, told.known)
    took("count")
    work = _work(Path(workdir), key, settings)
    parts = _cached(work / "cache", usable, images, told)
    sides = {name: _side(usable, name, told, SIDE_ROWS) for name in ("tune", "calibrate")}
    asked = _side(usable, "train", told, FUSION_ROWS)
    took("encode")
    seen = _learnt(work, parts, told, rows.sparkSession)
    took("towers")
    rule, figures = _fused(seen, asked, sides, told)
    took("fusion")
    fitted, measured = _written(Path(model_dir), work / "cache", seen, rule, sides, targets, told)
    took("calibrate")
    shutil.rmtree(work, ignore_errors=True)
    return {
        "categories": len(told.order),
        "training_rows": int(told.counts.sum()),
        "taxonomy_version": told.version,
        "checksum": answers.checksum(model_dir),
        "metrics": {**measured, **fitted, "fusion": rule.name, "rules": figures}
        | {"history": {name: found.history for name, found in seen.items()}},
        "below_support": [
            {"category_id": one, "path": told.known.get(one, (None, None))[0], "support": n}
            for one, n in sorted(told.below.items())
        ],
        "seconds": seconds,
    }


class Told(NamedTuple):
    """What a training is told and has found out before it learns: the arguments of its steps."""

    settings: Settings
    version: str  # of the taxonomy
    known: dict[str, tuple[str, str | None]]  # the taxonomy: category_id -> (path, parent_id)
    nodes: list[dict[str, Any]]
    tree: answers.Tree
    counts: np.ndarray  # training rows of the learnt categories
    below: dict[str, int]  # categories with too few rows
    others: DataFrame | None

    @property
    def how(self) -> Multimodal:
        return self.settings.multimodal

    @property
    def order(self) -> list[str]:
        """The learnt categories by number."""
        return [self.nodes[node]["id"] for node in self.tree.leaf]

    @property
    def facts(self) -> list[str]:
        """Of `text.facts` what a tower of fields reads: a region's words are those of the title's tower."""
        return [fact for fact in self.settings.text.facts if fact != "region"]


def _told(usable: DataFrame, taxonomy: DataFrame, settings: Settings, others: DataFrame | None) -> Told:
    version, known = taxonomy_of(taxonomy)
    counted = usable.where("side = 'train'").groupBy("category_id").count().collect()
    support, least = {row.category_id: row["count"] for row in counted}, settings.text.min_support
    learnt = [category for category, n in support.items() if n >= least]
    if not learnt:
        raise DataRefused(
            f"no category has {least} training rows ({len(support)} categories): lower text.min_support or bring more labels"
        )
    nodes, tree = answers.make_tree(learnt, known)
    counts = np.array([support[nodes[node]["id"]] for node in tree.leaf])
    below = {category: n for category, n in support.items() if n < least}
    return Told(settings, version, known, nodes, tree, counts, below, others)


def encoding(how: Multimodal) -> encode.Encoding:
    """How rows become arrays, by the settings."""
    text = {"ngrams": "ngrams", "textcnn": "words"}.get(how.text_tower, how.text_tower)
    return encode.Encoding(
        title=text,
        description=text,
        title_length=how.title_length,
        description_length=how.description_length,
        buckets=1 << how.hash_bits,
        size=how.picture_size,
        width=how.fields_width,
    )


def _work(home: Path, key: str, settings: Settings) -> Path:
    """The folder of this training, by what it depends on; those of others are removed."""
    told = [data.FORMAT, key, settings.multimodal.model_dump(), settings.text.min_support, settings.text.facts]
    told = json.dumps(told, sort_keys=True)
    name = hashlib.sha256(told.encode()).hexdigest()[:16]
    home.mkdir(parents=True, exist_ok=True)
    for other in home.iterdir():
        if other.name != name:
            shutil.rmtree(other, ignore_errors=True)
    return home / name


# -- the cache ----------------------------------------------------------------------------------------------------


def _cached(folder: Path, usable: DataFrame, images: DataFrame, told: Told) -> list[str]:
    """Write the cache, unless it is there; the names of its parts."""
    if data.whole(folder):
        log.info("examples were encoded before: %s", folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        data.create(folder, encoding(told.how))
        kept = usable.where("side IN ('train', 'tune', 'calibrate')")
        keep = ("_row", "_label", "_weight", "_part")
        numbered = _numbered(kept, told).withColumn("_part", _part(told))
        # By the row's own number, so that the cache does not depend on how the table was partitioned. 64 groups a task.
        tasks = max(1, -(-int(told.counts.sum()) // (64 * told.how.group_rows)))
        spread = inputs(numbered, images, keep, told.facts).repartition(tasks, "_row").sortWithinPartitions("_row")
        written = spread.mapInArrow(_writer(str(folder), encoding(told.how), told.how.group_rows), WRITTEN).collect()
        data.seal(folder, [row.file for row in written])
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def _numbered(rows: DataFrame, told: Told) -> DataFrame:
    """`rows` with _row, _label (array of category numbers, null where none is learnt) and _weight."""
    number = F.create_map(*(F.lit(one) for at, category in enumerate(told.order) for one in (category, at)))
    label = F.array(number[F.col("category_id")].cast("int"))
    if told.how.multi_label and told.others is not None:
        every = told.others.groupBy("product_id").agg(F.sort_array(F.collect_set("category_id")).alias("_every"))
        rows = rows.join(every, "product_id", "left")
        listed = F.transform(F.coalesce("_every", F.array()), lambda one: number[one].cast("int"))
        label = F.array_distinct(F.concat(label, listed))
    label = F.filter(label, lambda one: one.isNotNull())
    return rows.withColumns(
        {
            "_row": F.xxhash64("product_id"),
            "_label": F.when(F.size(label) > 0, label),
            "_weight": F.col("weight").cast("float"),
        }
    )


def _part(told: Told) -> Column:
    """The part of the cache a row is in: fold-<k>, fold-<k>-asked (a sample, whose answers fusion learns from), tune, calibrate."""
    fold = F.pmod(F.xxhash64("leak_group", F.lit("multimodal")), F.lit(told.how.folds))
    fold = F.concat(F.lit("fold-"), fold)
    asked = F.concat(fold, F.lit(f"-{ASKED}"))
    sampled = _drawn(FUSION_ROWS, int(told.counts.sum()))
    return F.when(F.col("side") != "train", F.col("side")).when(sampled, asked).otherwise(fold)


def _drawn(most: int, n: int) -> Column:
    """About `most` of `n` products, the same in every run."""
    return examples.chance("fusion") < F.lit(most / max(n, 1))


def _writer(folder: str, how: encode.Encoding, group_rows: int) -> Callable:
    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        def named() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                names = ["row", "label", "weight", "part", *READ]
                yield pa.RecordBatch.from_arrays(batch.columns[: len(names)], names=names)

        yield from data.write(folder, named(), how, group_rows)

    return write


def _side(usable: DataFrame, side: str, told: Told, most: int) -> Side:
    """The rows of a side that are asked about, a bounded sample."""
    mine = usable.where(F.col("side") == side)
    n = int(told.counts.sum()) if side == "train" else mine.count()
    read = _numbered(mine.where(_drawn(most, n)), told).select(
        F.col("_row").alias("row"), F.col("_label").alias("label"), "category_id",
        F.coalesce("region", F.lit(answers.ANY)).alias("region"), F.xxhash64("leak_group").alias("leak"),
    )  # fmt: skip
    batches = read._collect_as_arrow() if n else []
    found = pa.Table.from_batches(batches) if batches else _schema().empty_table()
    categories, label = found["category_id"].to_pylist(), found["label"].to_pylist()
    if told.how.multi_label:
        labels = np.zeros((len(label), len(told.counts)), bool)
        for at, some in enumerate(label):
            labels[at, some or []] = True
    else:
        labels = np.array([some[0] if some else -1 for some in label], np.int64)
    spots = answers.spots(told.nodes, told.known)
    return Side(
        found["row"].to_numpy(),
        labels,
        np.array([spots.get(one, -1) for one in categories], np.int32),
        np.array(found["region"].to_pylist(), dtype=str),
        found["leak"].to_numpy().view(np.uint64),
    )


def _schema() -> pa.Schema:
    return pa.schema(
        [
            ("row", pa.int64()),
            ("label", pa.list_(pa.int32())),
            ("category_id", pa.string()),
            ("region", pa.string()),
            ("leak", pa.int64()),
        ]
    )


# -- towers -------------------------------------------------------------------------------------------------------


class Learnt(NamedTuple):
    """A tower that learnt from all folds: its folder, its epochs, the best of them; `said`: part -> (row numbers, answers)."""

    folder: Path
    history: list[dict[str, Any]]
    best: dict[str, Any]
    said: dict[str, tuple[np.ndarray, np.ndarray]]


class Tower(NamedTuple):
    """A tower to learn, as it travels to the ranks: its folder, parts it learns from and then answers of, description, plan."""

    modality: str
    out: str
    parts: list[str]
    asked: list[str]
    description: dict[str, Any]
    plan: loop.Plan


def _learnt(work: Path, parts: list[str], told: Told, spark: SparkSession) -> dict[str, Learnt]:
    """The towers of all modalities that training rows have. One gang of ranks learns one after the other: to start a gang
    takes as long as to learn a small tower. A tower that a killed run has learnt is not learnt again."""
    from shelfmark.multimodal import launcher, loop, losses

    how, tree, text = told.how, told.tree, told.settings.text
    launching, ranks = launcher.plan(how.ranks, how.launcher, spark, how.lanes)
    distances = losses.tree_distances(tree.parent, tree.leaf) if how.loss == "hierarchical" else None
    loss = losses.describe(
        told.counts, how.loss, how.multi_label, how.reweight, how.logit_tau, beta=text.beta, cap=text.max_weight,
        distances=distances,
    )  # fmt: skip
    learning = [name for name in parts if name.startswith("fold-")]
    there = [name for name in how.modalities if _has(work / "cache", learning, name)]
    if missing := sorted(set(how.modalities) - set(there)):
        log.info("no training row has a %s: no tower", " or ".join(missing))
    if not there:
        raise DataRefused(f"no training row has any of {', '.join(how.modalities)}: there is nothing to learn from")
    towers = [one for name in there for one in _towers(name, work / "towers", parts, told)]
    tune = ["tune"] if "tune" in parts else learning[:1]
    early = how.fusion == "early"
    ranked = partial(_rank, towers=towers, cache=str(work / "cache"), tune=tune, loss=loss, early=early)
    with ExitStack() as watched:
        for one in towers:
            watched.enter_context(loop.watch(one.out, partial(_progress, Path(one.out).name)))
        found = launcher.run(ranked, ranks, launching, spark, how.threads, how.retries, log.warning)
    learnt: dict[str, Learnt] = {}
    for one, made in zip(towers, found):
        said = {part: _answers(Path(one.out), part) for part in one.asked}
        before = learnt[one.modality].said if one.modality in learnt else {}
        learnt[one.modality] = Learnt(Path(made["folder"]), made["history"], made["best"], before | said)
    return learnt


def _towers(modality: str, home: Path, parts: list[str], told: Told) -> list[Tower]:
    """A tower for each fold, which learns from the others and answers of it; the last one learns from all. Some rules ask for no
    answers about folds."""
    from shelfmark.multimodal import fit_fusion

    learning = [name for name in parts if name.startswith("fold-")]
    folds = sorted({name.removesuffix(f"-{ASKED}") for name in learning})
    made = _description(modality, len(told.counts), told.how), _plan(told.how, modality)
    out = []
    for fold in folds if len(folds) > 1 and told.how.fusion not in fit_fusion.ON_TUNE else []:
        if f"{fold}-{ASKED}" in parts:
            own = [name for name in learning if name.removesuffix(f"-{ASKED}") != fold]
            out.append(Tower(modality, str(home / f"{modality}-{fold}"), own, [f"{fold}-{ASKED}"], *made))
    sides = [name for name in ("tune", "calibrate") if name in parts]
    return [*out, Tower(modality, str(home / f"{modality}-all"), learning, sides, *made)]


def _progress(name: str, entry: dict[str, Any]) -> None:
    log.info(
        "tower %s epoch %d: loss %.4f, macro-F1 %.4f on the tune side, %.0f rows/s",
        *(name, entry["epoch"] + 1, entry["loss"], entry["macro_f1"], entry["rows_per_second"]),
    )


def _rank(
    group, towers: list[Tower], cache: str, tune: list[str], loss: dict[str, Any], early: bool
) -> list[dict[str, Any]]:
    """What a rank does: learn each tower, then answer of its share of the parts that are asked about; early: by its features."""
    from shelfmark.multimodal import loop
    from shelfmark.multimodal.towers import load

    found = []
    for one in towers:
        made = loop.train(group, one.out, cache, one.parts, tune, one.description, loss, one.plan)
        tower = load(made["folder"], group.device)
        for part in one.asked:
            whole = data.open_cache(cache, [part])
            mine = whole._replace(groups=whole.groups[group.rank :: group.size])
            if early:
                rows, _, said = loop.features(tower, mine, group.device)
            else:
                rows, said = loop.outputs(tower, mine, loss["multi_label"], group.device)
            path = Path(one.out) / f"answers-{part}-{group.rank}-of-{group.size}.npz"
            with open(path.with_name(f".{path.name}"), "wb") as file:
                np.savez(file, rows=rows, said=said.astype(np.float16))
            path.with_name(f".{path.name}").replace(path)
        found.append(made)
    group.barrier()  # no answer is read before it is written
    return found


def _answers(out: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """All ranks' answers of a part: row numbers and float32[rows, classes]."""
    newest = max(out.glob(f"answers-{part}-*.npz"), key=lambda path: path.stat().st_mtime)
    size = newest.stem.rpartition("-")[2]
    shares = [np.load(path) for path in sorted(out.glob(f"answers-{part}-*-of-{size}.npz"))]
    return np.concatenate([one["rows"] for one in shares]), np.concatenate(
        [one["said"].astype(np.float32) for one in shares]
    )


def _has(cache: Path, parts: list[str], modality: str) -> bool:
    """Whether any row of some parts has a modality: told by the statistics of the files."""
    import pyarrow.parquet as pq

    column = modality if modality == "picture" else f"{modality}.list.element"
    for part in parts:
        for path in (cache / part).glob("[!.]*.parquet"):
            about = pq.read_metadata(path)
            at = {about.schema.column(i).path: i for i in range(about.num_columns)}[column]
            for group in range(about.num_row_groups):
                kept = about.row_group(group).column(at)
                if kept.statistics is None or kept.statistics.null_count < kept.num_values:
                    return True
    return False


def _description(modality: str, classes: int, how: Multimodal) -> dict[str, Any]:
    from shelfmark.multimodal import towers

    kind, more = None, {}
    if how.paired:
        more["paired"] = "sigmoid" if how.multi_label else "softmax"
    if modality == "picture":
        more |= {"model": how.picture_tower, "pretrained": how.pretrained, "freeze_all_but": how.freeze_all_but}
    elif modality == "fields":
        more |= {"width": how.fields_width}
    elif how.text_tower in ("ngrams", "textcnn"):
        kind, more = how.text_tower, more | {"buckets": 1 << how.hash_bits, "sparse": how.sparse}
    else:
        kind = "encoder"
        more |= {"model": how.text_tower, "freeze_all_but": how.freeze_all_but, "adapters": how.adapters}
    return towers.describe(modality, classes, kind, **more)


def _plan(how: Multimodal, modality: str):
    from shelfmark.multimodal import loop

    told = {name: getattr(how, name) for name in loop.Plan._fields if name != "rate"}
    return loop.Plan(**told, rate=how.rates.get(modality))


# -- fusion -------------------------------------------------------------------------------------------------------


def outputs_of(seen: dict[str, Learnt], parts: list[str], rows: np.ndarray, classes: int) -> fusion.Outputs:
    """The towers' answers of rows, by their numbers (for early fusion their features): NaN where a row was not asked about or lacks
    the modality."""
    found = {}
    for name, tower in seen.items():
        width = next((said.shape[1] for _, said in tower.said.values()), classes)
        out = np.full((len(rows), width), np.nan, np.float32)
        for part in parts:
            if part not in tower.said:
                continue
            own, said = tower.said[part]
            hit, at = _places(rows, own)
            out[hit] = said[at]
        found[name] = out
    return found


def _places(rows: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the numbers `rows` are among `own`, bool[rows], and where those are, int64."""
    if not len(own):
        return np.zeros(len(rows), bool), np.zeros(0, np.int64)
    order = np.argsort(own, kind="stable")
    at = order[np.searchsorted(own, rows, sorter=order).clip(0, len(own) - 1)]
    hit = own[at] == rows
    return hit, at[hit]


def _fused(
    seen: dict[str, Learnt], asked: Side, sides: dict[str, Side], told: Told
) -> tuple[fusion.Rule, dict[str, dict[str, float]]]:
    """The rule, and what each rule and each modality alone reaches on the tune side."""
    from shelfmark.multimodal import fit_fusion, fusion

    how, classes, kind = told.how, len(told.counts), "multilabel" if told.how.multi_label else "multiclass"
    folds = sorted({part for tower in seen.values() for part in tower.said if part.startswith("fold-")})
    # Without folds the rule learns on the tune side, on which its figures are then too good.
    side, parts = (asked, folds) if folds else (sides["tune"], ["tune"])
    learning = outputs_of(seen, parts, side.row, classes)
    some = np.any([~np.isnan(values).any(1) for values in learning.values()], axis=0)
    learning, truth = {name: values[some] for name, values in learning.items()}, side.labels[some]
    fitted = partial(fit_fusion.fit, outputs=learning, truth=truth, seed=how.seed, group=side.group[some], kind=kind,
                     dropout=how.modality_dropout, classes=classes)  # fmt: skip
    names = [how.fusion] if how.fusion != "auto" else fit_fusion.tried(classes)
    rules = {name: fitted(name) for name in names}
    if (
        kind == "multiclass"
    ):  # what is said of a row without anything is of the training rows, whatever the rule learnt from
        prior = ((told.counts + 0.5) / (told.counts.sum() + classes / 2)).astype(np.float32)
        rules = {name: replace(rule, prior=prior) for name, rule in rules.items()}
    tune = outputs_of(seen, ["tune"], sides["tune"].row, classes)
    alone = rules[how.fusion] if how.fusion == "early" else fitted("mean")
    figures = {name: _figures(fusion.apply(rule, tune), sides["tune"], kind) for name, rule in rules.items()}
    figures |= {name: _figures(fusion.apply(alone, {name: tune[name]}), sides["tune"], kind) for name in seen}
    best = max(names, key=lambda name: figures[name].get("macro_f1", figures[name].get("micro_f1")) or 0)
    log.info("rules of fusion on the tune side: %s; kept: %s", figures, best)
    return rules[best], figures


def _figures(chances: np.ndarray, side: Side, kind: str) -> dict[str, float]:
    from shelfmark.multimodal import model

    if not len(side.row):
        return {}
    if kind == "multilabel":
        return {"micro_f1": model.micro_f1(chances >= 0.5, side.labels)}
    said = chances.argmax(1)
    return {
        "macro_f1": model.macro_f1(side.labels, said, chances.shape[1]),
        "accuracy": float((said == side.labels).mean()),
    }


def _written(
    folder: Path,
    cache: Path,
    seen: dict[str, Learnt],
    rule: fusion.Rule,
    sides: dict[str, Side],
    targets: dict,
    told: Told,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write the model's files; what calibration found, and what the model reaches on the tune side."""
    from shelfmark.multimodal import embeddings, model

    folder.mkdir(parents=True, exist_ok=True)
    for name, tower in seen.items():
        shutil.copytree(tower.folder, folder / name, dirs_exist_ok=True)

    space = _spaced(folder, cache, seen, told)

    def judged(name: str) -> model.Judged:
        side = sides[name]
        found = outputs_of(seen, [name], side.row, len(told.counts))
        spaced = told.how.candidates and (folder / embeddings.FILE).exists()
        near = _vectors(folder, cache, name, seen, side.row) if spaced else ()
        return model.Judged(found, side.labels, side.nodes, side.region, *near, candidates=told.how.candidates)

    about = {"support": {category: int(n) for category, n in zip(told.order, told.counts)}}
    about |= {"candidates": told.how.candidates}
    fitted = model.write(
        folder, rule, encoding(told.how), told.nodes, told.tree, told.version, judged("calibrate"),
        told.settings.decision, targets, told.facts, about,
    )  # fmt: skip
    measured = model.measure(model.load(str(folder), answers.checksum(folder)), judged("tune"))
    return fitted, measured | {"candidate_recall": space}


RECALLED = (1, 10, 50)
"""Candidates by nearest prototype of which it is told how often the right category is among them."""


def _vectors(
    folder: Path, cache: Path, part: str, seen: dict[str, Learnt], rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(vectors of rows of a part by their numbers, prototypes of the categories), by the space that is written already."""
    from shelfmark.multimodal import embeddings, loop, towers

    space, prototypes = embeddings.load(folder)
    out = np.zeros((len(rows), prototypes.shape[1]), np.float32)
    if len(rows):
        some = data.open_cache(cache, [part])
        found = {name: loop.features(towers.load(folder / name), some) for name in seen}
        hit, at = _places(rows, next(iter(found.values())).row)
        out[hit] = embeddings.vectors(space, {name: one.values for name, one in found.items()})[at]
    return out, prototypes


def _spaced(folder: Path, cache: Path, seen: dict[str, Learnt], told: Told) -> dict[str, float]:
    """Write the space of vectors and the prototypes of the categories (embeddings.py), learnt of a sample of training rows. Gives the
    recall on the tune side by the number of candidates."""
    from shelfmark.multimodal import embeddings, loop, towers

    if told.how.multi_label:
        return {}  # a mean of products of several categories is the prototype of none
    parts = sorted(path.name for path in cache.iterdir() if path.name.endswith(ASKED))
    sample = data.open_cache(cache, parts) if parts else None
    if sample is None or not sample.rows:
        return {}
    sample = sample._replace(groups=sample.groups[:: -(-sample.rows // SPACE_ROWS)])
    features: dict[str, np.ndarray] = {}
    for name in seen:
        _, labels, features[name] = loop.features(towers.load(folder / name), sample)
    space = embeddings.learn(features, labels)
    made = embeddings.prototypes(embeddings.vectors(space, features), labels, len(told.counts))
    embeddings.save(space, made, folder)
    if not (cache / "tune").is_dir():
        return {}
    tune = data.open_cache(cache, ["tune"])
    tune = tune._replace(groups=tune.groups[:: max(1, -(-tune.rows // SPACE_ROWS))])
    features = {name: loop.features(towers.load(folder / name), tune) for name in seen}
    labels = next(iter(features.values())).label
    vectors = embeddings.vectors(space, {name: found.values for name, found in features.items()})
    near, _ = embeddings.nearest(vectors[labels >= 0], made, max(RECALLED), exact=True)
    return {str(k): embeddings.recall(near[:, :k], labels[labels >= 0]) for k in RECALLED if len(near)}
