"""From scores to probabilities, and from probabilities to decisions. No Spark here.

1. The *link*: a category with score s has the evidence g(s) = sigmoid(slope * s + offset) ** power, its probability is
   its share of the row's evidence. Scores of one-vs-rest machines are each a verdict of their own, near -1 for "none of
   mine"; softmax knows only differences and lets a thousand such verdicts add up to doubt. The three numbers are those
   that make the calibrate side most likely. g is kept as a table over scores, so that prediction looks it up.
2. The *curve*: a rising function from the probability of the best category to how often it is right, by isotonic regression
   (Zadrozny & Elkan 2002, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates"). A region has
   a curve of its own where it has enough rows, and where that is likelier on rows it was not fitted on.
3. The *scope*: how well the best fits (`model.Scored`) tells a product that fits no category; its share of the evidence does not, as
   some category always has most of it.
4. A *threshold* is the lowest confidence of which the calibrate side shows, at 95 %, that what lies above it reaches the
   target accuracy: the lower bound of Clopper and Pearson (1934) reaches it, not just the share that happened to be right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.optimize import minimize
from scipy.special import betaincinv
from sklearn.isotonic import IsotonicRegression

from shelfmark.metrics import kernel as figures

LOW, HIGH, STEPS = np.float32(-4), np.float32(5), 384  # scores of an SVM lie around its margins, -1 and 1
SLOPES, OFFSETS, POWERS = (0.2, 60.0), (-10.0, 60.0), (0.05, 20.0)
FOLDS = 5  # to choose between curves
CURVE_ROWS = 300  # rows that a curve rests on
REGION_ROWS = 1_000  # rows of a region for a curve of its own
TIE = 0.01  # of a curve that is the line itself, so that it rises everywhere: no two confidences become one
LEVEL = 0.95  # how sure a threshold is that its target holds: one-sided
NEVER = 2.0  # a threshold that no probability reaches
EVERYTHING = -40.0  # a scope that every score lies in


class Link(NamedTuple):
    """Evidence sigmoid(slope * score + offset) ** power."""

    slope: float = 10.0
    offset: float = 5.0
    power: float = 1.0

    def table(self) -> np.ndarray:
        """Evidence at the `STEPS` + 1 scores from `LOW` to `HIGH`, float32; 1 at most."""
        scores = np.linspace(LOW, HIGH, STEPS + 1)
        found = np.exp(-self.power * np.logaddexp(0, -(self.slope * scores + self.offset)))
        return np.maximum(found, 1e-30).astype(np.float32)  # so that no row's evidence is nothing


class Curve(NamedTuple):
    """A rising function by its corners; straight between them, level outside. Empty: what goes in comes out."""

    x: Sequence[float] = ()
    y: Sequence[float] = ()

    def __call__(self, chance: np.ndarray) -> np.ndarray:
        if not len(self.x):
            return np.asarray(chance)
        return ((1 - TIE) * np.interp(chance, self.x, self.y) + TIE * np.asarray(chance)).astype(np.float32)


LINE = Curve()


@njit(cache=True, nogil=True)
def _spread(scores, low, step, out):
    for i in range(scores.shape[0]):
        for k in range(scores.shape[1]):
            at = min(max((scores[i, k] - low) / step, np.float32(0)), np.float32(out.shape[1] - 1))
            below = min(int(at), out.shape[1] - 2)
            part = at - below
            out[i, below] += 1 - part
            out[i, below + 1] += part


def spread(scores: np.ndarray) -> np.ndarray:
    """Each row's scores as shares of the table's entries, float32[rows, STEPS + 1]: times `Link.table`, the row's evidence.

    Small whatever the number of categories, so a link can be fitted without the scores.
    """
    out = np.zeros((len(scores), STEPS + 1), np.float32)
    _spread(scores, LOW, (HIGH - LOW) / np.float32(STEPS), out)
    return out


def evidence(scores: np.ndarray, table: np.ndarray) -> np.ndarray:
    """What the table of a link says of scores, of any shape."""
    return np.interp(scores, np.linspace(LOW, HIGH, STEPS + 1), table)


def fit_link(spreads: np.ndarray, own: np.ndarray) -> Link:
    """The likeliest link: `spreads` of rows (`spread`), `own` the scores of their true categories."""
    if not len(own):
        return Link()
    bounds = (SLOPES, OFFSETS, POWERS)

    def unlikely(values: np.ndarray) -> float:
        if any(not low <= value <= high for value, (low, high) in zip(values, bounds)):
            return np.inf
        table = Link(*values).table()
        total = np.maximum(spreads @ table, np.finfo(np.float32).tiny)
        return float(np.log(total).mean() - np.log(np.maximum(evidence(own, table), 1e-30)).mean())

    starts = [Link(), Link(slope=5.0, offset=0.0, power=2.0)]
    options = {"maxiter": 300, "xatol": 1e-3, "fatol": 1e-6}
    found = [minimize(unlikely, start, method="Nelder-Mead", options=options) for start in starts]
    return Link(*map(float, min(found, key=lambda one: one.fun).x))


def fit_curve(chance: np.ndarray, right: np.ndarray) -> Curve:
    """How often the best category is right at each chance: isotonic, its steps joined by lines through their middles."""
    if len(chance) < CURVE_ROWS:
        return Curve()
    order = np.argsort(chance, kind="stable")
    chance, right = np.asarray(chance, float)[order], np.asarray(right, float)[order]
    steps = IsotonicRegression().fit_transform(chance, right)
    starts = np.flatnonzero(np.append(True, np.diff(steps) > 0))
    sizes = np.diff(np.append(starts, len(steps)))
    # A step of errors alone, or of none, would be a certainty: as if half a row more had been of the other kind.
    hits, middles = np.add.reduceat(right, starts), np.add.reduceat(chance, starts) / sizes
    shares = np.clip(hits / sizes, 0.5 / (sizes + 1), (sizes + 0.5) / (sizes + 1))
    return Curve(middles.tolist(), np.maximum.accumulate(shares).tolist())


def log_loss(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Per row, -ln of the probability that was given to what came."""
    said = np.clip(np.where(right, confidence, 1 - np.asarray(confidence, float)), 1e-6, 1)
    return -np.log(said)


def best_curve(chance: np.ndarray, right: np.ndarray, other: Curve = LINE) -> Curve:
    """A curve fitted on the rows, or `other` where that is likelier on rows that were not fitted on."""
    if len(chance) < CURVE_ROWS:
        return other
    fold = np.arange(len(chance)) % FOLDS
    loss = np.empty(len(chance))
    for k in range(FOLDS):
        some = fold == k
        loss[some] = log_loss(fit_curve(chance[~some], right[~some])(chance[some]), right[some])
    return fit_curve(chance, right) if loss.mean() < log_loss(other(chance), right).mean() else other


def fit_curves(chance: np.ndarray, right: np.ndarray, region: np.ndarray) -> dict[str, Curve]:
    """The curve of all rows, "*", and those of regions (names, one a row) that differ from it for certain enough."""
    curves = {"*": best_curve(chance, right)}
    for name in np.unique(region):
        mine = region == name
        if name not in ("", "*") and mine.sum() >= REGION_ROWS:
            own = best_curve(chance[mine], right[mine], curves["*"])
            if own is not curves["*"]:
                curves[str(name)] = own
    return curves


def confidences(curves: dict[str, Curve], chance: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Confidences float32 of chances, by the curve of each row's region (names) or "*"."""
    out = np.array(curves["*"](chance), np.float32)
    for name in curves.keys() & set(np.unique(region).tolist()):
        mine = region == name
        out[mine] = curves[name](np.asarray(chance)[mine])
    return out


def quality(confidence: np.ndarray, right: np.ndarray, bins: int = figures.BINS) -> dict[str, float]:
    """ece, ece_by_chance, brier, and aurc: the mean error over all coverages, the surest first (Geifman & El-Yaniv 2017,
    "Selective Classification for Deep Neural Networks")."""
    if not len(right):
        return {}
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    at = np.minimum((confidence * bins).astype(int), bins - 1)
    rows, hits, sums = (np.bincount(at, of, bins) for of in (None, right, confidence))
    errors = np.cumsum(1 - right[np.argsort(-confidence, kind="stable")]) / np.arange(1, len(right) + 1)
    return {
        "ece": figures.calibration_error(rows, hits, sums),
        "ece_by_chance": figures.calibration_error_by_chance(rows, sums),
        "brier": float(np.mean((confidence - right) ** 2)),
        "aurc": float(errors.mean()),
    }


def scope_threshold(top: np.ndarray, share: float) -> float:
    """The fit that `share` of the rows lie below: a product that fits no category better is out of scope.

    top: `model.Scored.fit` of rows whose category was learnt, `CURVE_ROWS` of them at least; else no score is too low.
    """
    return float(np.quantile(top, share)) if len(top) >= CURVE_ROWS and share > 0 else EVERYTHING


def lower_bound(right: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The accuracy that `right` of `rows` show at `LEVEL`, one-sided and exact, float64."""
    right, rows = np.asarray(right, float), np.asarray(rows, float)
    bound = betaincinv(np.maximum(right, 1), rows - right + 1, 1 - LEVEL)
    return np.where(right > 0, bound, 0.0)


def accept_threshold(confidence: np.ndarray, correct: np.ndarray, target: float, enough: int) -> float:
    """The lowest confidence from which on the rows show (`lower_bound`) the target accuracy, `enough` of them at least."""
    order = np.argsort(-confidence, kind="stable")
    confidence, correct = confidence[order], correct[order]
    rows = np.arange(1, len(confidence) + 1)
    whole = np.append(confidence[1:] < confidence[:-1], True) if len(rows) else np.zeros(0, bool)  # ties stay together
    good = np.flatnonzero((lower_bound(np.cumsum(correct), rows) >= target) & (rows >= enough) & whole)
    return float(confidence[good[-1]]) if len(good) else NEVER


def roll_up_threshold(chances: np.ndarray, correct: np.ndarray, target: float, enough: int) -> float:
    """The lowest threshold at which the deepest ancestors that reach it show (`lower_bound`) the target accuracy.

    chances float32[rows, levels]: of the ancestors, deepest first, 0 where there is none; correct bool of the same
    shape. Rows are those that were not accepted; `enough` of them at least must reach the threshold.
    """
    if not chances.size:
        return NEVER
    for threshold in np.arange(0.50, 1.0, 0.01):  # below a half another branch may be likelier
        reached = chances >= threshold
        rows = np.flatnonzero(reached.any(1))
        if len(rows) < enough:
            return NEVER
        level = reached[rows].argmax(1)
        if lower_bound(correct[rows, level].sum(), len(rows)) >= target:
            return float(threshold)
    return NEVER
