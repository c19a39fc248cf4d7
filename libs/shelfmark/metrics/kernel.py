"""Counting and formulas of the classification metrics: NumPy and Arrow, no Spark.

1. `count_batches` turns batches of judged predictions into counts per (region, category) and per region: the partial
   sums of one partition, small whatever the number of predictions.
2. `precision_recall_f1`, `wilson` and `mean_by` turn summed counts into figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

CLASS_COUNTS = ("true", "predicted", "correct")
"""Counts per (region, category): rows whose truth it is, rows predicted as it, rows where both hold."""

BINS = 15  # of confidence, of equal width: what ECE is usually computed with
MILLION = 1_000_000  # confidences are summed as whole millionths: the same sum in any order

REGION_COUNTS = (
    "rows",  # predictions, measured or not
    "accept",
    "roll_up",
    "review",
    "measured",  # predictions with a true category: the test side
    "hits",  # best leaf is the true category
    "hits_any",  # best leaf is one of the categories the product is listed in
    "accepted",  # measured predictions with decision accept
    "accepted_hits",
    "decided",  # measured predictions with decision accept or roll_up
    "decided_hits",  # the category decided on is the true one or above it
    "foreign",  # predictions of another model version, which must not be there
    "squares",  # sum of (confidence in the best leaf - whether it is right)^2, in millionths
    *(f"bin_{what}_{at:02d}" for at in range(BINS) for what in ("rows", "hits", "confidence")),
)
"""Counts per region. Bins hold the measured predictions by their confidence in the best leaf: rows, rows that are right,
and the sum of the confidences in millionths."""

DECISIONS = ("accept", "roll_up", "review")

PARTIAL = pa.schema(
    [
        ("region", pa.string()),
        ("category_id", pa.string()),
        *((name, pa.int64()) for name in CLASS_COUNTS + REGION_COUNTS),
    ]
)
"""One row per (region, category) with the class counts, and one per region (category null) with the region counts."""

Z95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution: two-sided 95 %


def wilson(successes, trials, z: float = Z95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson score interval of a proportion: arrays `(low, high)`, NaN where `trials` is 0.

    E. B. Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22. Unlike the
    normal approximation it stays inside 0..1 and is not empty at 0 % and 100 %.
    """
    successes, trials = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = successes / trials
        scale = 1 + z**2 / trials
        centre = (p + z**2 / (2 * trials)) / scale
        half = z / scale * np.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
        # p itself lies in the interval; rounding must not push an end past it (p = 0 gives low = 1e-17 otherwise).
        return np.clip(np.minimum(centre - half, p), 0, 1), np.clip(np.maximum(centre + half, p), 0, 1)


def precision_recall_f1(true, predicted, correct) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of classes from their counts (arrays of one shape).

    A figure with nothing to divide by is 0, as scikit-learn's `zero_division=0`; F1 = 2 correct / (true + predicted).
    """
    true, predicted, correct = (np.asarray(a, dtype=float) for a in (true, predicted, correct))
    return share(correct, predicted), share(correct, true), share(2 * correct, true + predicted)


def share(part, whole) -> np.ndarray:
    """part / whole, 0 where whole is 0."""
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole > 0)


def macro_weighted_f1(group, groups: int, true, f1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`(macro F1, weighted F1, categories)` of each group 0..groups-1, from classes that lie in groups.

    Both means run over the classes with at least one true row in the group (`categories` of them), as scikit-learn's
    `f1_score(labels=sorted(set(y_true)), zero_division=0)`. A class that is only ever predicted has no recall and is
    not averaged in: each of its rows is already counted as a miss of its true class.
    """
    group, true = np.asarray(group), np.asarray(true, dtype=float)
    present = (true > 0).astype(float)
    categories = np.bincount(group, present, groups)
    macro = share(np.bincount(group, present * f1, groups), categories)
    weighted = share(np.bincount(group, true * f1, groups), np.bincount(group, true, groups))
    return macro, weighted, categories.astype(np.int64)


def count_batches(batches: Iterable[pa.RecordBatch], parents: dict[str, str | None]) -> Iterator[pa.RecordBatch]:
    """Counts of one partition of judged predictions, as one batch of `PARTIAL`.

    Columns taken: region, decision, truth (null: not measured), predicted (best leaf), decided (category decided on),
    any_hit (boolean: best leaf is a listed category), foreign (boolean), confidence (in the best leaf, 0 to 1).
    `parents` maps a category to the one above it.
    """
    regions: dict[str, int] = {}
    categories: dict[str, int] = {}
    class_counts = np.zeros((len(CLASS_COUNTS), 4, 256), dtype=np.int64)
    region_counts = np.zeros((len(REGION_COUNTS), 4), dtype=np.int64)
    above: dict[str, frozenset[str]] = {}
    for batch in batches:
        region = codes(batch.column("region"), regions)
        region_counts = _grow(region_counts, (len(REGION_COUNTS), len(regions)))
        size = region_counts.shape[1]

        def tally(name: str, rows: np.ndarray, sums: np.ndarray | None = None, counts=region_counts, size=size) -> None:
            # Sums of whole numbers below 2**53 are exact in floats.
            counts[REGION_COUNTS.index(name)] += np.bincount(rows, sums, minlength=size).astype(np.int64)

        decision = batch.column("decision")
        is_decision = {name: flags(pc.equal(decision, name)) for name in DECISIONS}
        tally("rows", region)
        for name, mask in is_decision.items():
            tally(name, region[mask])

        tally("foreign", region[flags(batch.column("foreign"))])
        measured = flags(pc.is_valid(batch.column("truth")))
        if not measured.any():
            continue
        test = batch.filter(pa.array(measured))
        region = region[measured]
        truth = codes(test.column("truth"), categories)
        predicted = codes(test.column("predicted"), categories)
        decided = codes(test.column("decided"), categories)
        class_counts = _grow(class_counts, (len(CLASS_COUNTS), len(regions), len(categories)))
        width = class_counts.shape[2]
        hits = truth == predicted
        named = predicted >= 0  # a prediction without any leaf is a miss of its truth and nobody's false positive
        for at, rows, classes in (
            (0, region, truth),
            (1, region[named], predicted[named]),
            (2, region[hits], truth[hits]),
        ):
            class_counts[at] += np.bincount(rows * width + classes, minlength=class_counts[at].size).reshape(-1, width)

        accepted = is_decision["accept"][measured]
        settled = accepted | is_decision["roll_up"][measured]
        right = _is_above(truth, decided, categories, parents, above)
        tally("measured", region)
        tally("hits", region[hits])
        tally("hits_any", region[hits | flags(test.column("any_hit"))])
        tally("accepted", region[accepted])
        tally("accepted_hits", region[accepted & hits])
        tally("decided", region[settled])
        tally("decided_hits", region[settled & right])
        confidence = np.clip(test.column("confidence").fill_null(0.0).to_numpy(zero_copy_only=False), 0, 1)
        millionths = np.round(confidence * MILLION)
        tally("squares", region, np.round((confidence - hits) ** 2 * MILLION))
        bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
        for at in np.unique(bins):
            inside = bins == at
            tally(f"bin_rows_{at:02d}", region[inside])
            tally(f"bin_hits_{at:02d}", region[inside & hits])
            tally(f"bin_confidence_{at:02d}", region[inside], millionths[inside])
    yield _partial(regions, categories, class_counts, region_counts)


def _partial(regions, categories, class_counts, region_counts) -> pa.RecordBatch:
    """The non-zero counts as rows."""
    region_names, category_names = np.array(list(regions), dtype=object), np.array(list(categories), dtype=object)
    row, column = np.nonzero(class_counts[:2].any(axis=0))
    r = len(regions)
    columns = {
        "region": np.concatenate([region_names[row], region_names]),
        "category_id": np.concatenate([category_names[column], np.full(r, None)]),
    }
    for at, name in enumerate(CLASS_COUNTS):
        columns[name] = np.concatenate([class_counts[at][row, column], np.zeros(r, dtype=np.int64)])
    for at, name in enumerate(REGION_COUNTS):
        columns[name] = np.concatenate([np.zeros(len(row), dtype=np.int64), region_counts[at, :r]])
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[field.name], field.type, from_pandas=True) for field in PARTIAL], schema=PARTIAL
    )


def codes(column: pa.Array, known: dict[str, int]) -> np.ndarray:
    """Integer code of every text, -1 for null; texts not met before get the next codes in `known`."""
    encoded = column.dictionary_encode()
    lookup = np.array([known.setdefault(text, len(known)) for text in encoded.dictionary.to_pylist()], dtype=np.int64)
    # The last place answers -1, the code of null.
    return np.append(lookup, -1)[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]


def flags(column: pa.Array) -> np.ndarray:
    """A boolean column as bool[n], null as False."""
    return column.fill_null(False).to_numpy(zero_copy_only=False)


def _grow(counts: np.ndarray, needed: tuple[int, ...]) -> np.ndarray:
    """`counts` padded with zeros to hold `needed`, doubling so that growth costs little in all."""
    if all(have >= need for have, need in zip(counts.shape, needed)):
        return counts
    shape = [have if have >= need else max(need, 2 * have) for have, need in zip(counts.shape, needed)]
    return np.pad(counts, [(0, after - have) for have, after in zip(counts.shape, shape)])


def _is_above(truth, decided, categories, parents, above) -> np.ndarray:
    """Whether `decided` is `truth` or an ancestor of it, row by row; `above` keeps the ancestors found so far."""
    right = truth == decided
    rows = np.flatnonzero(~right & (decided >= 0))
    if not len(rows):
        return right
    names = list(categories)
    pairs, inverse = np.unique(np.stack([truth[rows], decided[rows]]), axis=1, return_inverse=True)
    verdict = np.empty(pairs.shape[1], dtype=bool)
    for at, (low, high) in enumerate(pairs.T):
        leaf = names[low]
        if leaf not in above:
            above[leaf] = frozenset(_ancestors(leaf, parents))
        verdict[at] = names[high] in above[leaf]
    right[rows] = verdict[inverse.ravel()]
    return right


def _ancestors(category: str, parents: dict[str, str | None]) -> Iterator[str]:
    seen = {category}  # a broken taxonomy may hold a cycle: stop, do not hang
    while (category := parents.get(category)) is not None and category not in seen:
        seen.add(category)
        yield category


def calibration_error(rows: np.ndarray, hits: np.ndarray, confidence: np.ndarray) -> float:
    """Expected calibration error of bins: the mean, over rows, of |share right - mean confidence| of their bin.

    rows, hits, confidence (a sum): one number a bin. Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using
    Bayesian Binning"; NaN where there are no rows.
    """
    return float(share(np.abs(hits - confidence).sum(-1), np.sum(rows)))


def calibration_error_by_chance(rows: np.ndarray, confidence: np.ndarray, draws: int = 1000) -> float:
    """The mean calibration error of models whose confidences are right, with as many rows in each bin.

    A small test side shows an error even then; what matters is by how much the error is above this.
    """
    rows = np.asarray(rows, dtype=np.int64)
    mean = np.clip(share(np.asarray(confidence, dtype=float), rows), 0, 1)
    hits = np.random.default_rng(0).binomial(rows, np.nan_to_num(mean), (draws, len(rows)))
    return float(share(np.abs(hits - confidence).sum(-1).mean(), rows.sum()))
