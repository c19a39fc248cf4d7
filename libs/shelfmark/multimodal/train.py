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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shelfmark import answers
from shelfmark.config import Multimodal, Settings
from shelfmark.errors import DataRefused
from shelfmark.multimodal import data, encode
from shelfmark.multimodal.predict import READ, inputs
from shelfmark.text.steps import taxonomy_of

if TYPE_CHECKING:
    from shelfmark.multimodal import fusion

log = logging.getLogger(__name__)

SPACE_ROWS = 20_000  # training rows that the space of vectors and the prototypes are learnt of
FUSION_ROWS = 60_000  # training rows a rule learns from: more changes no digit that matters
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
    side; rules: macro_f1 and accuracy of each rule and modality; towers: best epoch of each), below_support, seconds, and
    `history`: modality -> its epochs. Raises `DataRefused` where no category has enough rows, `UsageError` for settings that
    cannot be, `ServiceError` where ranks die again and again.
    """
    how, started, seconds = settings.multimodal, time.perf_counter(), {}
    version, known = taxonomy_of(taxonomy)
    usable = rows.where(F.col("category_id").isNotNull() & (F.col("weight") > 0)).cache()
    learning = usable.where("side = 'train'")
    support = {row.category_id: row["count"] for row in learning.groupBy("category_id").count().collect()}
    learnt = [category for category, n in support.items() if n >= settings.text.min_support]
    below = sorted(set(support) - set(learnt))
    if not learnt:
        raise DataRefused(
            f"no category has {settings.text.min_support} training rows ({len(support)} categories): lower text.min_support "
            "or bring more labels"
        )
    targets = answers.targets_of(settings.decision, known)
    nodes, tree = answers.make_tree(learnt, known)
    order = [nodes[node]["id"] for node in tree.leaf]
    counts = np.array([support[category] for category in order])
    seconds["count"] = time.perf_counter() - started

    started = time.perf_counter()
    work = _work(Path(workdir), key, settings)
    how_encoded = encoding(how)
    parts = _cached(
        work / "cache", usable, images, order, how, how_encoded, int(counts.sum()), others, settings.text.facts
    )
    sides = {name: _side(usable, name, nodes, known, order, others, how) for name in ("tune", "calibrate")}
    asked = _side(learning, "train", nodes, known, order, others, how, FUSION_ROWS)
    seconds["encode"] = time.perf_counter() - started

    started = time.perf_counter()
    towers = Towers(work, parts, how, settings, counts, tree, rows.sparkSession)
    seen = {modality: towers.learn(modality) for modality in how.modalities}
    seen = {modality: found for modality, found in seen.items() if found is not None}
    if not seen:
        raise DataRefused(f"no training row has any of {', '.join(how.modalities)}: there is nothing to learn from")
    seconds["towers"] = time.perf_counter() - started

    started = time.perf_counter()
    made = _fused(seen, asked, sides, how, len(order))
    seconds["fusion"] = time.perf_counter() - started

    started = time.perf_counter()
    folder = Path(model_dir)
    fitted, measured = _written(
        folder,
        work / "cache",
        seen,
        made["rule"],
        sides,
        how_encoded,
        nodes,
        tree,
        version,
        settings,
        targets,
        counts,
        order,
    )
    seconds["calibrate"] = time.perf_counter() - started
    shutil.rmtree(work, ignore_errors=True)
    return {
        "categories": len(order),
        "training_rows": int(counts.sum()),
        "taxonomy_version": version,
        "checksum": answers.checksum(folder),
        "metrics": {**measured, **fitted, "fusion": made["rule"].name, "rules": made["figures"]}
        | {"towers": {name: found.best for name, found in seen.items()}},
        "below_support": [
            {"category_id": c, "path": known.get(c, (None, None))[0], "support": support[c]} for c in below
        ],
        "history": {name: found.history for name, found in seen.items()},
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


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
    told = json.dumps(
        [key, settings.multimodal.model_dump(), settings.text.min_support, settings.text.facts], sort_keys=True
    )
    name = hashlib.sha256(told.encode()).hexdigest()[:16]
    home.mkdir(parents=True, exist_ok=True)
    for other in home.iterdir():
        if other.name != name:
            shutil.rmtree(other, ignore_errors=True)
    return home / name


# -- the cache ----------------------------------------------------------------------------------------------------


def _cached(
    folder: Path,
    usable: DataFrame,
    images: DataFrame,
    order: list[str],
    how: Multimodal,
    how_encoded: encode.Encoding,
    n: int,
    others: DataFrame | None,
    facts: list[str],
) -> list[str]:
    """Write the cache, unless it is there; the names of its parts."""
    if data.whole(folder):
        log.info("examples were encoded before: %s", folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        data.create(folder, how_encoded)
        kept = usable.where("side IN ('train', 'tune', 'calibrate')")
        columns = ("_row", "_label", "_weight", "_part")
        numbered = inputs(_numbered(kept, order, others, how), images, columns, facts)
        # By the row's own number, so that the cache does not depend on how the table was partitioned. 64 groups a task.
        tasks = max(1, -(-n // (64 * how.group_rows)))
        spread = numbered.withColumn("_part", _part(how, n)).repartition(tasks, "_row").sortWithinPartitions("_row")
        writer = _writer(str(folder), how_encoded, how.group_rows)
        written = spread.mapInArrow(writer, WRITTEN).collect()
        data.seal(folder, [row.file for row in written])
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def _numbered(rows: DataFrame, order: list[str], others: DataFrame | None, how: Multimodal) -> DataFrame:
    """`rows` with _row, _label (list of category numbers, null where none is learnt), _weight, and _part for `_part`."""
    number = F.create_map(*(F.lit(one) for at, category in enumerate(order) for one in (category, at)))
    own = F.array(number[F.col("category_id")].cast("int"))
    if how.multi_label and others is not None:
        known = others.select("product_id", number[F.col("category_id")].cast("int").alias("_n")).where(
            "_n IS NOT NULL"
        )
        sets = known.groupBy("product_id").agg(F.sort_array(F.collect_set("_n")).alias("_all"))
        rows = rows.join(sets, "product_id", "left")
        own = F.coalesce(F.array_distinct(F.concat(own, F.coalesce("_all", F.array().cast("array<int>")))), own)
    label = F.filter(own, lambda one: one.isNotNull())
    return rows.withColumns(
        {
            "_row": F.xxhash64("product_id"),
            "_label": F.when(F.size(label) > 0, label),
            "_weight": F.col("weight").cast("float"),
            "_part": F.struct("side", "leak_group", "product_id"),
        }
    )


def _part(how: Multimodal, n: int):
    """The part of the cache a row is in: fold-<k>, fold-<k>-asked, tune-asked or calibrate-asked; what is not asked of a side
    beyond its sample is part of none (tune, calibrate)."""
    folds = max(1, how.folds)
    side, group = F.col("_part.side"), F.col("_part.leak_group")
    fold = F.concat(F.lit("fold-"), F.pmod(F.xxhash64(group, F.lit("multimodal")), F.lit(folds)))
    learns = F.when(_drawn(F.col("_part.product_id"), FUSION_ROWS, n), F.concat(fold, F.lit(f"-{ASKED}"))).otherwise(
        fold
    )
    return F.when(side == "train", learns).otherwise(side)


def _drawn(product, most: int, n: int):
    """About `most` of `n` products, the same in every run."""
    return F.pmod(F.xxhash64(product, F.lit("fusion")), F.lit(1 << 40)) / F.lit(float(1 << 40)) < F.lit(
        most / max(n, 1)
    )


def _writer(folder: str, how: encode.Encoding, group_rows: int) -> Callable:
    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        def named() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                names = ["row", "label", "weight", "part", *READ]
                yield pa.RecordBatch.from_arrays(batch.columns[: len(names)], names=names)

        yield from data.write(folder, named(), how, group_rows)

    return write


def _side(
    usable: DataFrame,
    side: str,
    nodes: list[dict],
    known: dict[str, tuple[str, str | None]],
    order: list[str],
    others: DataFrame | None,
    how: Multimodal,
    most: int = SIDE_ROWS,
) -> Side:
    """The rows of a side that are asked about, a bounded sample."""
    mine = usable.where(F.col("side") == side)
    n = mine.count()
    mine = mine.where(_drawn(F.col("product_id"), most, n))
    read = _numbered(mine, order, others, how).select(
        F.col("_row").alias("row"), F.col("_label").alias("label"), "category_id",
        F.coalesce("region", F.lit(answers.ANY)).alias("region"), F.xxhash64("leak_group").alias("leak"),
    )  # fmt: skip
    found = pa.Table.from_batches(read._collect_as_arrow(), schema=_schema()) if n else _schema().empty_table()
    spots = answers.spots(nodes, known)
    categories, label = found["category_id"].to_pylist(), found["label"].to_pylist()
    if how.multi_label:
        labels = np.zeros((len(label), len(order)), bool)
        for at, some in enumerate(label):
            labels[at, some or []] = True
    else:
        labels = np.array([some[0] if some else -1 for some in label], np.int64)
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


class Towers:
    """What all towers of a training share. A tower that is learnt already, by a run that was killed, is not learnt again."""

    def __init__(self, work, parts, how: Multimodal, settings: Settings, counts, tree: answers.Tree, spark):
        from shelfmark.multimodal import launcher, losses

        self.work, self.parts, self.how, self.spark = work, parts, how, spark
        self.launcher, self.ranks = launcher.plan(how.ranks, how.launcher, spark, how.lanes)
        distances = losses.tree_distances(tree.parent, tree.leaf) if how.loss == "hierarchical" else None
        self.loss = losses.describe(
            counts, how.loss, how.multi_label, how.reweight, how.logit_tau, beta=settings.text.beta,
            cap=settings.text.max_weight, distances=distances,
        )  # fmt: skip
        self.classes = len(counts)
        folds = sorted({name.removesuffix(f"-{ASKED}") for name in parts if name.startswith("fold-")})
        self.folds = folds if how.folds > 1 else []

    def learn(self, modality: str) -> Learnt | None:
        """A modality's towers; None where no training row has it."""
        learning = [name for name in self.parts if name.startswith("fold-")]
        if not _has(self.work / "cache", learning, modality):
            log.info("no training row has a %s: no tower", modality)
            return None
        said: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for fold in self.folds:
            own = [name for name in learning if name.removesuffix(f"-{ASKED}") != fold]
            about = f"{fold}-{ASKED}"
            if own and about in self.parts:
                said[about] = self._run(modality, fold, own, [about])["said"][about]
        sides = [name for name in ("tune", "calibrate") if name in self.parts]
        whole = self._run(modality, "all", learning, sides)
        return Learnt(Path(whole["folder"]), whole["history"], whole["best"], said | whole["said"])

    def _run(self, modality: str, name: str, parts: list[str], asked: list[str]) -> dict[str, Any]:
        from shelfmark.multimodal import launcher, loop

        out = self.work / "towers" / f"{modality}-{name}"
        description = _description(modality, self.classes, self.how)
        tune = ["tune"] if "tune" in self.parts else parts[:1]
        run = partial(
            _rank, out=str(out), cache=str(self.work / "cache"), parts=parts, tune=tune, asked=asked,
            description=description, loss=self.loss, plan=_plan(self.how, modality),
        )  # fmt: skip

        def say(entry: dict[str, Any]) -> None:
            log.info(
                "tower %s (%s) epoch %d: loss %.4f, macro-F1 %.4f on the tune side, %.0f rows/s",
                *(modality, name, entry["epoch"] + 1, entry["loss"], entry["macro_f1"], entry["rows_per_second"]),
            )

        with loop.watch(out, say):
            found = launcher.run(
                run, self.ranks, self.launcher, self.spark, self.how.threads, self.how.retries, log.warning
            )
        return found | {"said": {part: _answers(out, part) for part in asked}}


def _rank(group, out: str, cache: str, parts, tune, asked, description, loss, plan) -> dict[str, Any]:
    """What a rank does: learn, then answer of its share of the parts that are asked about."""
    from shelfmark.multimodal import loop, towers

    found = loop.train(group, out, cache, parts, tune, description, loss, plan)
    tower = towers.load(found["folder"], group.device)
    for part in asked:
        whole = data.open_cache(cache, [part])
        mine = whole._replace(groups=whole.groups[group.rank :: group.size])
        rows, said = loop.outputs(tower, mine, loss["multi_label"], group.device)
        path = Path(out) / f"answers-{part}-{group.rank}-of-{group.size}.npz"
        with open(path.with_name(f".{path.name}"), "wb") as file:
            np.savez(file, rows=rows, said=said.astype(np.float16))
        path.with_name(f".{path.name}").replace(path)
    group.barrier()
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

    if modality == "picture":
        more = {"pretrained": how.pretrained, "freeze_all_but": how.freeze_all_but}
        return towers.describe(modality, classes, model=how.picture_tower, **more)
    if modality == "fields":
        return towers.describe(modality, classes, width=how.fields_width)
    if how.text_tower in ("ngrams", "textcnn"):
        return towers.describe(modality, classes, how.text_tower, buckets=1 << how.hash_bits, sparse=how.sparse)
    more = {"freeze_all_but": how.freeze_all_but, "adapters": how.adapters}
    return towers.describe(modality, classes, "encoder", model=how.text_tower, **more)


def _plan(how: Multimodal, modality: str):
    from shelfmark.multimodal import loop

    told = {name: getattr(how, name) for name in loop.Plan._fields if name != "rate"}
    return loop.Plan(**told, rate=how.rates.get(modality))


# -- fusion -------------------------------------------------------------------------------------------------------


def outputs_of(seen: dict[str, Learnt], parts: list[str], rows: np.ndarray, classes: int) -> fusion.Outputs:
    """The towers' answers of rows, by their numbers: NaN where a row was not asked about or lacks the modality."""
    found = {}
    for name, tower in seen.items():
        out = np.full((len(rows), classes), np.nan, np.float32)
        for part in parts:
            if part not in tower.said:
                continue
            own, said = tower.said[part]
            order = np.argsort(own, kind="stable")
            at = np.searchsorted(own, rows, sorter=order).clip(0, max(len(own) - 1, 0))
            if len(own):
                hit = own[order[at]] == rows
                out[hit] = said[order[at[hit]]]
        found[name] = out
    return found


def _fused(
    seen: dict[str, Learnt], asked: Side, sides: dict[str, Side], how: Multimodal, classes: int
) -> dict[str, Any]:
    """The rule, and what each rule and modality reaches on the tune side."""
    from shelfmark.multimodal import fit_fusion, fusion

    kind = "multilabel" if how.multi_label else "multiclass"
    folds = [part for tower in seen.values() for part in tower.said if part.startswith("fold-")]
    # Without folds the rule learns on the tune side, on which its figures are then too good.
    side, parts = (asked, sorted(set(folds))) if folds else (sides["tune"], ["tune"])
    learning = outputs_of(seen, parts, side.row, classes)
    said_any = np.any([~np.isnan(values).any(1) for values in learning.values()], axis=0)
    learning = {name: values[said_any] for name, values in learning.items()}
    truth, group = side.labels[said_any], side.group[said_any]
    tune = outputs_of(seen, ["tune"], sides["tune"].row, classes)
    names = [how.fusion] if how.fusion != "auto" else [name for name in fusion.RULES if name != "early"]
    rules = {
        name: fit_fusion.fit(name, learning, truth, seed=how.seed, group=group, kind=kind, classes=classes)
        for name in names
    }
    figures = {name: _figures(fusion.apply(rule, tune), sides["tune"], kind) for name, rule in rules.items()}
    mean = fit_fusion.fit("mean", learning, truth, kind=kind, classes=classes)
    for name in seen:
        figures[name] = _figures(fusion.apply(mean, {name: tune[name]}), sides["tune"], kind)
    best = max(names, key=lambda name: figures[name].get("macro_f1", figures[name].get("micro_f1", 0)) or 0)
    log.info("rules of fusion on the tune side: %s; kept: %s", figures, best)
    return {"rule": rules[best], "figures": figures}


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
    seen,
    rule,
    sides: dict[str, Side],
    how_encoded,
    nodes,
    tree,
    version,
    settings,
    targets,
    counts,
    order,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write the model's files; what calibration found, and what the model reaches on the tune side."""
    from shelfmark.multimodal import model

    folder.mkdir(parents=True, exist_ok=True)
    for name, tower in seen.items():
        shutil.copytree(tower.folder, folder / name, dirs_exist_ok=True)

    def judged(name: str) -> model.Judged:
        side = sides[name]
        return model.Judged(outputs_of(seen, [name], side.row, len(order)), side.labels, side.nodes, side.region)

    _spaced(folder, cache, seen, settings.multimodal, len(order))
    about = {"support": {category: int(n) for category, n in zip(order, counts)}}
    about["settings"] = settings.multimodal.model_dump()
    fitted = model.write(
        folder, rule, how_encoded, nodes, tree, version, judged("calibrate"), settings.decision, targets, settings.text.facts,
        about,
    )  # fmt: skip
    key = answers.checksum(folder)
    return fitted, model.measure(model.load(str(folder), key), judged("tune"))


def _spaced(folder: Path, cache: Path, seen: dict[str, Learnt], how: Multimodal, classes: int) -> None:
    """Write the space of vectors and the prototypes of the categories (embeddings.py), learnt of a sample of training rows."""
    from shelfmark.multimodal import embeddings, loop, towers

    if how.multi_label:
        return  # a mean of products of several categories is the prototype of none
    parts = sorted(path.name for path in cache.iterdir() if path.name.endswith(ASKED))
    sample = data.open_cache(cache, parts) if parts else None
    if sample is None or not sample.rows:
        return
    sample = sample._replace(groups=sample.groups[:: -(-sample.rows // SPACE_ROWS)])
    features: dict[str, np.ndarray] = {}
    for name in seen:
        labels, features[name] = loop.features(towers.load(folder / name), sample)
    space = embeddings.learn(features, labels)
    embeddings.save(space, embeddings.prototypes(embeddings.vectors(space, features), labels, classes), folder)
