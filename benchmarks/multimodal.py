"""Models over text and pictures: what fusion brings on real products, how fast towers train and how fast they are fed.

    python benchmarks/multimodal.py [--device cpu|cuda] [--only NAME ...] [--threads N] [--home DIR] [--quick] [--json FILE]

On the real fashion set (../shared/data or SHELFMARK_REAL_DATA; title, picture, colour and usage as the description; one
split by equal title or picture, 95 % intervals by a paired bootstrap over its groups; --quick: a fifth of the products):

quality     accuracy, macro-F1 and that of the tail (the third of the categories with the fewest products) of each modality, of
            pairs and all by each rule of fusion; with the picture missing; with the category's own words taken from titles;
            pictures of other products that are said to contradict their title; nearest prototypes, also of new categories;
            students; seconds an epoch
weights     titles, whole and without their category's words, with class weights of every kind and without, and a pair of towers,
            one of each: means over three seeds, as a tower's own luck is larger than what is asked about

Speeds, on products made here (titles of 6 to 12 words, pictures of 60 x 80 pixels as JPEG, three facts):

ranks       training rows/s of two Horovod ranks on Spark beside one rank in process with as many threads, the same global batch
embedding   a training step of a 50,000 x 128 embedding on two Horovod ranks: sparse gradients beside dense ones
input       rows/s of the input pipeline alone (Parquet, decoding, batches) beside training of the same modality
loop        training rows/s beside a plain PyTorch loop on the same tower and batches, which are in memory already
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _fashion
import numpy as np
import pyarrow as pa
from _table import line, parse, report
from PIL import Image

from shelfmark import answers, config, session
from shelfmark.metrics import bootstrap
from shelfmark.multimodal import (
    data,
    embeddings,
    encode,
    fit_fusion,
    fusion,
    launcher,
    loop,
    losses,
    model,
    students,
    towers,
)  # fmt: skip

CLASSES, BATCH, TURNS = 100, 256, 2
MODALITIES = ("title", "picture", "fields")
PARTS = ("quality", "weights", "ranks", "embedding", "input", "loop")
ROWS = {"title": 40_960, "picture": 4_096, "fields": 40_960}  # of an epoch that is measured: half a minute at the most


def options(parser) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where towers train")
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="torch threads of `quality` and `weights`; 0: one a core; 1 where others work",
    )
    parser.add_argument("--home", help="folder to keep towers in: one that was learnt there is not learnt again")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="NAME", help="some of the parts")


def main() -> int:
    args = parse(__doc__, options)
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before the first use of CUDA, here and in ranks
    elif not launcher.torch.cuda.is_available():
        sys.exit("no CUDA device here")
    rows = {name: n // 4 if args.quick else n for name, n in ROWS.items()}
    lines, spark = [], None
    with tempfile.TemporaryDirectory(prefix="shelfmark-bench-", ignore_cleanup_errors=True) as home:
        caches = {name: made(Path(home) / name, n, name) for name, n in rows.items()}
        alone = {}
        if set(args.only) - {"quality", "weights"}:
            alone = {name: trained(caches[name], name, Path(home) / "alone") for name in MODALITIES}
        for name, figure in alone.items():
            print(f"{name}: {figure:,.0f} rows/s in process", file=sys.stderr, flush=True)
        if "quality" in args.only:
            lines += quality(0.2 if args.quick else 1.0, Path(args.home or home), args.threads)
        if "weights" in args.only:
            lines += weights(0.2 if args.quick else 1.0, Path(args.home or home), args.threads)
        if {"ranks", "embedding"} & set(args.only) and launcher.horovod_built():
            spark = session.start(config.load(home=home), "multimodal")
        if "ranks" in args.only and spark:
            lines += ranks(caches, spark, Path(home))
        if "embedding" in args.only and spark:
            lines += embedding(spark, 10 if args.quick else 40)
        if "input" in args.only:
            lines += fed(caches, alone)
        if "loop" in args.only:
            lines += beside_plain(caches, alone, args.device)
        if spark:
            spark.stop()
    return report(lines, args.json)


# -- quality ------------------------------------------------------------------------------------------------------

RULES = ("max", "mean", "ridge", "gated", "policy")
WEIGHTS = {  # of a title tower
    "none": {"reweight": "none"},
    "sqrt": {"reweight": "sqrt"},
    "inverse": {"reweight": "inverse"},
    "balanced": {"reweight": "balanced"},
    "focal": {"reweight": "none", "kind": "focal"},
    "logit adjustment, tau 0.25": {"reweight": "none", "tau": 0.25},
    "logit adjustment, tau 0.5": {"reweight": "none", "tau": 0.5},
    "logit adjustment, tau 1": {"reweight": "none", "tau": 1.0},
    "a pair, none and sqrt": {"reweight": "sqrt", "paired": True},
    "a pair, none and none": {"reweight": "none", "paired": True},
}
SEEDS = (42, 7, 1)


def quality(share: float, home: Path, threads: int) -> list[dict]:
    products = _fashion.read(share)
    work = f"fashion, {len(products.titles):,} products, {len(products.paths)} categories"
    whole = _fashion.cached(products, home / "fashion")
    bare = _fashion.cached(products, home / "stripped", "stripped")
    said, lines = {}, []
    for name, cache in (("title", whole), ("picture", whole), ("description", whole), ("stripped", bare)):
        modality = "title" if name == "stripped" else name
        found = _fashion.learn(products, cache, modality, home / "towers" / name, threads=threads)
        said[name] = found.said
        lines.append(line(work, f"{name}: seconds an epoch", found.seconds))
        print(f"{name}: {found.seconds:.0f} s an epoch", file=sys.stderr, flush=True)
    figures = {name: _counted(products, {name: said[name]}, None, threads) for name in said}
    for some in (("title", "picture"), ("title", "description"), ("picture", "description"),
                 ("title", "picture", "description"), ("stripped", "picture"), ("stripped", "picture", "description")):  # fmt: skip
        for rule in RULES:
            figures[f"{rule} of {' + '.join(some)}"] = _counted(
                products, {name: said[name] for name in some}, rule, threads
            )
    for name, (counts, _) in figures.items():
        lines += _told(products, work, name, counts)
    lines += _goals(products, work, figures)
    for some in (("title", "picture"), ("title", "picture", "description")):
        outputs = {name: said[name] for name in some}
        left, _ = _counted(products, outputs, "policy", threads, "picture")
        text, _ = figures["title" if len(some) == 2 else "policy of title + description"]
        gain, low, high = bootstrap.interval(bootstrap.accuracy(left) - bootstrap.accuracy(text))
        what = f"policy of {' + '.join(some)}, the picture missing: accuracy, gain [{low:+.4f}, {high:+.4f}]"
        lines.append(line(work, what, gain, None, "text alone", ">= -0.005", gain >= -0.005))
    lines += _contradicting(products, work, said)
    lines += _alike(products, work, whole, home / "towers")
    lines += _new_categories(products, work, home / "held", threads)
    lines += _students(products, work, said, home, threads)
    return lines


def weights(share: float, home: Path, threads: int) -> list[dict]:
    products, lines = _fashion.read(share), []
    work = f"fashion, {len(products.titles):,} products, {len(products.paths)} categories"
    for name, titles in (("title", "titles"), ("stripped", "stripped")):
        cache = _fashion.cached(products, home / ("fashion" if name == "title" else name), titles)
        lines += _weighted(products, work, name, cache, home / "weights" / name, threads)
    return lines


def _contradicting(products, work: str, said: dict[str, np.ndarray]) -> list[dict]:
    """Pictures that are another product's, of another category: how many are below the bar of half a percent of the tune side."""
    tune, test = products.of("tune"), products.of("test")

    def agreement(rows: np.ndarray, pictures: np.ndarray) -> np.ndarray:
        return model.agreement({"title": said["title"][rows], "picture": said["picture"][pictures]}, "multiclass")

    bar = np.nanquantile(agreement(tune, tune), 0.005)
    other = np.random.default_rng(1).permutation(test)
    wrong = products.labels[other] != products.labels[test]
    found = float((agreement(test, other)[wrong] < bar).mean())
    flagged = float((agreement(test, test) < bar).mean())
    what = "share said to contradict its title: a picture of another category's product"
    return [line(work, what, found, flagged, "the product's own picture")]


def _counted(products, outputs: dict[str, np.ndarray], rule: str | None, threads: int, without: str | None = None):
    """(bootstrap counts of the test side, figures of the tune side) of a rule learnt on the folds; None: of one modality."""
    learning = np.flatnonzero(np.isin(products.part, _fashion.PARTS[:2]))
    fitted = fit_fusion.fit(
        rule or "mean", {name: values[learning] for name, values in outputs.items()}, products.labels[learning],
        group=products.group[learning], classes=len(products.paths), threads=threads or os.cpu_count() or 1,
    )  # fmt: skip
    asked = {name: values for name, values in outputs.items() if name != without}
    tune, test = products.of("tune"), products.of("test")
    chosen = fusion.apply(fitted, {name: values[tune] for name, values in asked.items()}).argmax(1)
    answers = fusion.apply(fitted, {name: values[test] for name, values in asked.items()}).argmax(1)
    print(f"{rule} of {', '.join(asked)}: {np.mean(answers == products.labels[test]):.4f}", file=sys.stderr, flush=True)
    told = {
        "accuracy": float(np.mean(chosen == products.labels[tune])),
        "macro-F1": model.macro_f1(products.labels[tune], chosen, len(products.paths)),
    }
    return _fashion.counted(products, answers), told


def _told(products, work: str, name: str, counts: np.ndarray) -> list[dict]:
    rare = _fashion.tail(products)
    out = []
    for metric, values in (
        ("accuracy (micro-F1)", bootstrap.accuracy(counts)),
        ("macro-F1", bootstrap.macro_f1(counts)),
        ("tail macro-F1", bootstrap.macro_f1(counts, rare)),
    ):
        value, low, high = bootstrap.interval(values)
        out.append(line(work, f"{name}: {metric} [{low:.4f}, {high:.4f}]", value))
    return out


def _cut(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """By what share 1 - figure of `one` is below that of `other`, with its interval."""
    return bootstrap.interval(1 - (1 - one) / np.maximum(1 - other, 1e-9))


def _goals(products, work: str, figures: dict) -> list[dict]:
    def best(names, metric: str) -> str:
        """By what the tune side says of the metric that is asked about."""
        return max(names, key=lambda name: figures[name][1][metric])

    fused = best((name for name in figures if " of " in name and "stripped" not in name), "accuracy")
    alone = best(("title", "picture", "description"), "accuracy")
    cut, low, high = _cut(*(bootstrap.accuracy(figures[name][0]) for name in (fused, alone)))
    what = f"1 - accuracy cut, {fused} [{low:.3f}, {high:.3f}]"
    lines = [line(work, what, cut, None, alone, ">= 0.15, low > 0", cut >= 0.15 and low > 0)]
    fused = best((name for name in figures if " of stripped" in name), "macro-F1")
    alone = best(("stripped", "picture", "description"), "macro-F1")
    cut, low, high = _cut(*(bootstrap.macro_f1(figures[name][0]) for name in (fused, alone)))
    what = f"category words removed: 1 - macro-F1 cut, {fused} [{low:.3f}, {high:.3f}]"
    lines.append(line(work, what, cut, None, alone, ">= 0.25, low > 0", cut >= 0.25 and low > 0))
    for some in ("title + picture", "title + picture + description"):
        policy = figures[f"policy of {some}"][0]
        for rule in ("max", "mean", "ridge"):
            other = figures[f"{rule} of {some}"][0]
            for metric, of in (("accuracy", bootstrap.accuracy), ("macro-F1", bootstrap.macro_f1)):
                gain, low, high = bootstrap.interval(of(policy) - of(other))
                what = f"policy of {some}: {metric}, gain [{low:+.4f}, {high:+.4f}]"
                lines.append(line(work, what, gain, None, rule, "> 0", gain > 0))
    return lines


def _alike(products, work: str, cache: Path, home: Path) -> list[dict]:
    """How often the right category is among those with the nearest prototypes: what two stages start from."""
    features, labels = _features(cache, {name: home / name / "both" / "best" for name in ("title", "picture")})
    space = embeddings.learn({name: of["train"] for name, of in features.items()}, labels["train"])
    made = {part: embeddings.vectors(space, {name: of[part] for name, of in features.items()}) for part in labels}
    prototypes = embeddings.prototypes(made["train"], labels["train"], len(products.paths))
    near, _ = embeddings.nearest(made["test"], prototypes, 50)
    found = {k: embeddings.recall(near[:, :k], labels["test"]) for k in (1, 10, 50)}
    return [line(work, f"nearest prototypes of title and picture: recall@{k}", value) for k, value in found.items()]


def _features(cache: Path, folders: dict[str, Path], held: tuple[str, ...] = ()):
    """(features, category numbers) of the folds together as `train`, of test and of the parts `held`."""
    parts = {"train": ["fold-0", "fold-1"], "test": ["test"], **{name: [name] for name in held}}
    found = {
        name: {part: loop.features(towers.load(folder), data.open_cache(cache, of)) for part, of in parts.items()}
        for name, folder in folders.items()
    }
    labels = {part: one.label for part, one in next(iter(found.values())).items()}
    return {name: {part: one.values for part, one in of.items()} for name, of in found.items()}, labels


HELD, EXAMPLES = 10, 5


def _new_categories(products, work: str, home: Path, threads: int) -> list[dict]:
    """Categories that no tower has learnt get a prototype of a few examples; told is how often their other products find it among the
    prototypes of all categories."""
    draw = np.random.default_rng(4)
    counts = np.bincount(products.labels, minlength=len(products.paths))
    held = draw.choice(np.flatnonzero(counts >= 10 * EXAMPLES), HELD, replace=False)
    mine = np.isin(products.labels, held)
    parted = products._replace(part=np.where(mine, "held", products.part))
    cache = _fashion.cached(parted, home / "cache")
    learnt = _fashion.learn(parted, cache, "title", home / "title", folds=False, threads=threads)
    features, labels = _features(cache, {"title": Path(learnt.folder)}, ("held",))
    space = embeddings.learn({"title": features["title"]["train"]}, labels["train"])
    made = {part: embeddings.vectors(space, {"title": of}) for part, of in features["title"].items()}
    examples = np.concatenate([draw.permutation(np.flatnonzero(labels["held"] == one))[:EXAMPLES] for one in held])
    known = np.concatenate([made["train"], made["held"][examples]])
    own = np.concatenate([labels["train"], labels["held"][examples]])
    prototypes = embeddings.prototypes(known, own, len(products.paths))
    others = np.setdiff1d(np.arange(len(labels["held"])), examples)
    near, _ = embeddings.nearest(made["held"][others], prototypes, 5)
    what = (
        f"{HELD} categories held out, {EXAMPLES} examples each: their products by nearest prototype of a title, recall@"
    )
    return [line(work, f"{what}{k}", embeddings.recall(near[:, :k], labels["held"][others])) for k in (1, 5)]


def _students(products, work: str, said: dict[str, np.ndarray], home: Path, threads: int) -> list[dict]:
    """A model of title and picture, and students of it that learn its probabilities: size, speed and what they lose."""
    names, learning = ("title", "picture"), np.flatnonzero(np.isin(products.part, _fashion.PARTS[:2]))
    rule = fit_fusion.fit(
        "mean", {name: said[name][learning] for name in names}, products.labels[learning], classes=len(products.paths)
    )
    folder, decision = home / "teacher", config.Decision()
    for name in names:
        shutil.copytree(home / "towers" / name / "both" / "best", folder / name, dirs_exist_ok=True)
    # Numbers of categories are those of their paths, which lie in the order of the tree.
    nodes, tree = answers.make_tree(products.paths, {path: (path, None) for path in products.paths})
    order = [products.paths.index(nodes[at]["id"]) for at in tree.leaf]
    if order != sorted(order):
        raise AssertionError("the tree has the categories in another order than the towers")
    targets = answers.targets_of(decision, {})
    model.write(folder, rule, encode.Encoding(), nodes, tree, "fashion", None, decision, targets)
    teacher = model.load(str(folder), "teacher")

    def rows(of: np.ndarray) -> pa.Table:
        pictures = pa.array([products.pictures[at] for at in of], pa.binary())
        return pa.table({"title": [products.titles[at] for at in of], "picture": pictures})

    tune, test = products.of("tune"), products.of("test")
    true = products.labels[tune]
    side = rows(tune), model.Judged({}, true, tree.leaf[true], np.full(len(tune), answers.ANY))
    models = {"teacher, mean of title and picture": (folder, teacher)}
    for some in (("title",), names):
        out, name = home / f"student-{len(some)}", f"student of {' and '.join(some)}"
        told = rows(learning), products.labels[learning], side, out, decision, targets, some
        models[name] = out, students.distil(teacher, *told, threads=threads or 1)
    lines = []
    for one in students.compared(models, rows(test), products.labels[test]):
        what = {"MB": one["bytes"] / 1e6, "rows/s": one["rows_per_second"]} | {
            n: one[n] for n in ("accuracy", "macro_f1")
        }
        lines += [line(work, f"{one['name']}: {name}", value) for name, value in what.items()]
    return lines


def _weighted(products, work: str, of: str, cache: Path, home: Path, threads: int) -> list[dict]:
    """Class weights and their like, on the tower of titles, whole or without their category's words."""
    rare, lines, found = _fashion.tail(products), [], {}
    tune, test = products.of("tune"), products.of("test")

    def figures(said: np.ndarray, rows: np.ndarray, draws: int) -> np.ndarray:
        """Accuracy and tail macro-F1, of the rows and of each draw of the bootstrap."""
        counts = bootstrap.counts(products.labels[rows], said[rows], products.group[rows], len(products.paths), draws)
        return np.stack([bootstrap.accuracy(counts), bootstrap.macro_f1(counts, rare)])

    for name, how in WEIGHTS.items():
        sides = []
        for seed in SEEDS:
            plan, out = loop.DEFAULT._replace(seed=seed), home / f"{name}-{seed}"
            learnt = _fashion.learn(products, cache, "title", out, folds=False, threads=threads, plan=plan, **how)
            said = learnt.said.argmax(1)
            sides.append((figures(said, tune, 0), figures(said, test, bootstrap.DRAWS)))
        found[name] = tuple(np.mean(one, axis=0) for one in zip(*sides))
        for metric, values in zip(("accuracy", "tail macro-F1"), found[name][1]):
            value, low, high = bootstrap.interval(values)
            lines.append(line(work, f"{of}, class weights {name}: {metric} [{low:.4f}, {high:.4f}]", value))
        print(f"{of}, {name}: {found[name][1][:, 0]}", file=sys.stderr, flush=True)
    # Of those that cost no more than may be lost on the tune side, what does best by its tail there.
    others = [name for name in found if not name.endswith("none")]
    cheap = [name for name in others if found[name][0][0, 0] >= found["none"][0][0, 0] - 0.005]
    best = max(cheap or others, key=lambda name: found[name][0][1, 0])
    for against in ("none", "a pair, none and none"):
        gain, low, high = bootstrap.interval(found[best][1][1] - found[against][1][1])
        lost, least, most = bootstrap.interval(found[against][1][0] - found[best][1][0])
        aims = (">= 0.05", gain >= 0.05), ("<= 0.005", lost <= 0.005)
        more, less = aims if against == "none" else ((), ())
        what = f"{of}: tail macro-F1, gain of {best} [{low:+.4f}, {high:+.4f}]"
        lines.append(line(work, what, gain, None, against, *more))
        what = f"{of}: accuracy lost by {best} [{least:+.4f}, {most:+.4f}]"
        lines.append(line(work, what, lost, None, against, *less))
    return lines


# -- speeds -------------------------------------------------------------------------------------------------------


def made(folder: Path, rows: int, modality: str) -> Path:
    """A cache of generated products with this modality."""
    draw = np.random.default_rng(7)
    words = ["".join(draw.choice(list("abcdefghiklmnoprstu"), draw.integers(3, 10))) for _ in range(20_000)]
    pictures = [_picture(draw) for _ in range(200)]
    how = encode.Encoding()
    data.create(folder, how)

    def batches():
        for start in range(0, rows, 1024):
            n = min(1024, rows - start)
            columns: dict[str, Any] = {
                "row": pa.array(range(start, start + n)),
                "label": pa.array(draw.integers(0, CLASSES, n)),
            }
            if modality == "title":
                columns["title"] = [" ".join(draw.choice(words, draw.integers(6, 13))) for _ in range(n)]
            elif modality == "picture":
                columns["picture"] = pa.array([pictures[k] for k in draw.integers(0, 200, n)], pa.binary())
            else:
                facts = [[{"name": f"f{k}", "value": str(draw.integers(0, 90))} for k in range(3)] for _ in range(n)]
                columns["fields"] = pa.array(facts, encode.FACTS)
            yield pa.RecordBatch.from_pydict(columns)

    files = [
        one["file"] for said in data.write(folder, batches(), how, min(256, rows // 16)) for one in said.to_pylist()
    ]
    data.seal(folder, files)
    return folder


def _picture(draw: np.random.Generator) -> bytes:
    coarse = Image.fromarray(draw.integers(0, 255, (10, 8, 3), dtype=np.uint8)).resize((60, 80))
    out = io.BytesIO()
    coarse.save(out, "JPEG", quality=90)
    return out.getvalue()


def tower(modality: str) -> dict[str, Any]:
    return towers.describe(modality, CLASSES)


def trained(cache: Path, modality: str, out: Path, ranks: int = 1, spark: Any = None) -> float:
    """Training rows/s of the second epoch, all ranks together: the first one warms caches up."""
    goal = losses.describe(np.full(CLASSES, 10), reweight="sqrt")
    description, folder, to = tower(modality), str(cache), str(out / f"{modality}-{ranks}")

    def train(group):
        from shelfmark.multimodal import loop

        plan = loop.Plan(epochs=2, batch=BATCH, checkpoint_steps=0)
        return loop.train(group, to, folder, ["all"], ["all"], description, goal, plan)

    found = launcher.run(train, ranks, "horovod" if ranks > 1 else "in_process", spark)
    return found["history"][-1]["rows_per_second"]


def ranks(caches: dict[str, Path], spark: Any, home: Path) -> list[dict]:
    """Turn and turn about, the best of each: a machine that others use as well is not as fast from one minute to the next."""
    lines = []
    for name in ("title", "picture"):
        one = two = 0.0
        for turn in range(TURNS):
            one = max(one, trained(caches[name], name, home / f"one-{turn}"))
            two = max(two, trained(caches[name], name, home / f"two-{turn}", 2, spark))
        work = f"training of a {name} tower, global batch {BATCH}"
        lines.append(line(work, "rows/s, 2 Horovod ranks", two, one, "in process", ">= 0.9 x", two >= 0.9 * one))
    return lines


def embedding(spark: Any, steps: int) -> list[dict]:
    """Milliseconds of a step: backward pass, gradients over both ranks, optimiser."""

    def measure(sparse: bool) -> float:
        def work(group):
            import time

            import torch

            torch.set_num_threads(1)
            torch.manual_seed(group.rank)
            torch.sparse.check_sparse_tensor_invariants.disable()  # silently, as by default
            network = torch.nn.EmbeddingBag(50_000, 128, sparse=sparse, mode="mean")
            network, optimisers = group.wrap(network, [torch.optim.Adagrad(network.parameters(), lr=0.01)])
            took = []
            for _ in range(steps + 5):
                ids = torch.randint(0, 50_000, (64, 16))
                started = time.perf_counter()
                network(ids).pow(2).mean().backward()
                with group.settle(optimisers):
                    optimisers[0].step()
                network.zero_grad()
                took.append(time.perf_counter() - started)
            return 1000 * float(np.median(took[5:]))

        return launcher.run(work, 2, "horovod", spark)

    sparse, dense = measure(True), measure(False)
    work = "50,000 x 128 embedding, 2 Horovod ranks, 64 rows of 16 ids each"
    return [line(work, "ms a step, sparse", sparse, dense, "dense", "<= 1/3", dense >= 3 * sparse)]


def fed(caches: dict[str, Path], alone: dict[str, float]) -> list[dict]:
    lines = []
    for name in MODALITIES:
        cache = data.open_cache(caches[name])
        figure = 0.0
        for epoch in range(2):  # the first one warms the disk's cache up, as in training
            started, rows = time.perf_counter(), 0
            for batch in data.epoch(cache, BATCH, 7, epoch, modalities=(name,)):
                rows += len(batch["row"])
            figure = rows / (time.perf_counter() - started)
        lines.append(
            line(
                f"input of a {name} tower",
                "rows/s",
                figure,
                alone[name],
                "training",
                ">= 5 x",
                figure >= 5 * alone[name],
            )
        )
    return lines


def beside_plain(caches: dict[str, Path], alone: dict[str, float], device: str) -> list[dict]:
    """The peer: the same tower and optimisers in the shortest loop there is, on batches that lie in memory."""
    import torch

    lines = []
    for name in MODALITIES:
        cache = data.open_cache(caches[name])
        batches = [towers.tensors(one) for one, _ in zip(data.epoch(cache, BATCH, 7, 0, modalities=(name,)), range(40))]
        network = towers.build(tower(name)).to(device).train()
        optimisers = loop.make_optimisers(network, loop.DEFAULT)
        for _ in range(2):
            started, rows = time.perf_counter(), 0
            for batch in batches:
                batch = towers.tensors(batch, device) if device == "cpu" else _moved(batch, device)
                loss = torch.nn.functional.cross_entropy(network(batch), batch["label"][:, 0].long())
                loss.backward()
                for one in optimisers:
                    one.step()
                network.zero_grad()
                rows += len(batch["row"])
            if device != "cpu":
                torch.cuda.synchronize()
            peer = rows / (time.perf_counter() - started)
        lines.append(line(f"training of a {name} tower, {device}", "rows/s", alone[name], peer, "plain PyTorch loop"))
    return lines


def _moved(batch: dict[str, Any], device: str) -> dict[str, Any]:
    return {k: _moved(v, device) if isinstance(v, dict) else v.to(device) for k, v in batch.items()}


if __name__ == "__main__":
    sys.exit(main())
