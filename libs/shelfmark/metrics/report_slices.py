"""Sections of the run report that show where predictions are good: slices, depth, rare categories, coverage.

Each takes records of `findings` and gives HTML, or nothing where there is nothing to show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from shelfmark.metrics import findings, svg
from shelfmark.metrics.figures import percent
from shelfmark.metrics.findings import Curve, Level, Point, Slice
from shelfmark.metrics.page import MAX_BARS, count, details, figure, section, table

MAX_PANELS = 9  # of each kind of curve: three lines of three
SHOWN = 25  # values of a slice in its table: the others are in gold.slices

NAMES = {
    "region": "region",
    "language": "language",
    "source": "source",
    "brand": "brand",
    "brand_seen": "brand in training",
    "price": "price",
    "title_length": "words in title",
    "top_category": "top category",
}
"""Slices as people say them, in the order they are listed."""


def worst(slices: Sequence[Slice], min_support: int) -> str:
    """What is surely worse than the whole, with all slices below."""
    whole = next((one for one in slices if one.name == "all" and one.accuracy.value is not None), None)
    if whole is None:
        return ""
    found, looked_at = findings.worst(slices), findings.compared(slices)
    by_chance = 0.025 * len(looked_at)
    if found:
        shown = found[:MAX_BARS]
        rows = [
            (_said(one), one.accuracy.value, one.accuracy.low, one.accuracy.high,
             f"{percent(one.accuracy.value)}, n = {one.support:,}")
            for one in shown
        ]  # fmt: skip
        reference = (whole.accuracy.value, f"all {percent(whole.accuracy.value)}")
        caption = (
            f"{len(found)} of {len(looked_at)} slices with {findings.ENOUGH} or more rows, the worst first: even the upper end of "
            f"their 95 % interval lies below the accuracy of all. About {max(round(by_chance), 1)} would by chance alone."
        )
        if len(found) > len(shown):
            caption += f" The {len(shown)} worst are drawn."
        body = figure(svg.intervals(rows, percent, "Accuracy of the worst slices", reference), caption)
    else:
        body = (
            f"<p>None of the {len(looked_at)} slices with {findings.ENOUGH} or more rows is worse than the whole beyond "
            "what chance explains.</p>"
        )
    return section("Where it is worst", body + _tables(slices, min_support))


def _tables(slices: Sequence[Slice], min_support: int) -> str:
    head = ("", "rows", "accuracy", "95 % interval", "macro-F1", "95 % interval", "coverage", "accepted only", "calib. error",
            "of chance")  # fmt: skip
    order = list(NAMES)
    parts = []
    for name, mine in groupby(sorted(slices, key=lambda one: _place(one.name, order)), key=lambda one: one.name):
        if name not in NAMES:
            continue
        values = sorted(mine, key=lambda one: (-one.support, one.value))
        body = [
            (
                one.value,
                count(one.support),
                percent(one.accuracy.value) or "–",
                _interval(one.accuracy, percent),
                _three(one.macro_f1.value),
                _interval(one.macro_f1, _three),
                percent(one.coverage.value) or "–",
                percent(one.accuracy_accepted.value) or "–",
                _three(one.ece.value),
                _three(one.ece_by_chance.value),
            )
            for one in values[:SHOWN]
        ]
        title = f"By {NAMES[name]} ({len(values)})"
        more = f'<p class="small muted">{len(values) - SHOWN} more in gold.slices.</p>' if len(values) > SHOWN else ""
        parts.append(details(title, table(head, body, numbers=range(1, len(head)), dense=True) + more))
    if not parts:
        return ""
    return (
        "<h3>All slices</h3>"
        + "".join(parts)
        + f'<p class="small muted">Below {min_support} rows only their number is '
        "shown. (none): the record does not state it; (others): beyond the 50 largest. A calibration error means something "
        "where it is well above that of chance.</p>"
    )


def depth(levels: Sequence[Level], overall: Mapping[str, Point]) -> str:
    """How good the upper levels are, and how far off the errors are."""
    shown = [one for one in levels if one.macro_f1.value is not None]
    if not any(one.level.isdigit() for one in shown):
        return ""
    # Cut to the deepest level nothing is cut: that is the leaf, and one line for both is enough.
    shown = [one for one in shown if one.level == "leaf" or one.macro_f1 != shown[-1].macro_f1]
    rows = [
        (
            "the leaf itself" if one.level == "leaf" else f"level {one.level}",
            *(one.macro_f1.value, one.macro_f1.low, one.macro_f1.high),
            _three(one.macro_f1.value) + ("" if one.categories is None else f", {one.categories:,} categories"),
        )
        for one in shown
    ]
    said = [
        ("hierarchical precision", "hierarchical_precision", _three),
        ("hierarchical recall", "hierarchical_recall", _three),
        ("hierarchical F1", "hierarchical_f1", _three),
        ("edges from a wrong leaf to the true one", "tree_distance", "{:.2f}".format),
        ("truth is the likeliest category", "recall_at_1", percent),
        ("truth is among the 3 likeliest", "recall_at_3", percent),
        ("truth is among the 5 likeliest", "recall_at_5", percent),
    ]
    body = [
        (name, how(overall[metric].value), _interval(overall[metric], how), count(overall[metric].support))
        for name, metric, how in said
        if metric in overall and overall[metric].value is not None
    ]
    return section(
        "By depth of the taxonomy",
        figure(
            svg.intervals(rows, _three, "Macro-F1 by depth of the taxonomy", left=130, right=180),
            "Macro-F1 with truth and prediction cut to a level, level 1 being the roots. Bars: 95 % interval.",
        )
        + table(("", "figure", "95 % interval", "rows"), body, numbers=(1, 2, 3))
        + '<p class="small muted">Hierarchical figures compare truth and prediction each with all categories above it: a '
        "neighbouring leaf counts for more than one of another branch. Two edges lead to a sibling.</p>",
    )


def rare(overall: Mapping[str, Point], slices: Sequence[Slice]) -> str:
    """Rare categories and brands that training did not see."""
    parts = []
    thirds = [(name, overall.get(f"macro_f1_{name}"), overall.get(f"categories_{name}")) for name in
              ("head", "middle", "tail")]  # fmt: skip
    rows = [
        (name, f1.value, f1.low, f1.high, f"{_three(f1.value)}, {_categories(many)}, n = {f1.support:,}")
        for name, f1, many in thirds
        if f1 is not None and f1.value is not None
    ]
    if rows:
        picture = svg.intervals(rows, _three, "Macro-F1 of head, middle and tail", left=130, right=240)
        caption = "Macro-F1 of thirds of the categories by their training rows: head, the most; tail, the fewest."
        parts.append("<h3>Rare categories</h3>" + figure(picture, caption))
    brands = {one.value: one for one in slices if one.name == "brand_seen" and one.accuracy.value is not None}
    named = {"seen": "brand was in training", "unseen": "brand was not", "(none)": "no brand stated"}
    rows = [
        (said, one.value, one.low, one.high, f"{percent(one.value)}, n = {one.support:,}")
        for value, said in named.items()
        if value in brands
        for one in (brands[value].accuracy,)
    ]
    if "unseen" in brands:
        macro = ", ".join(
            f"{named[value]} {_three(brands[value].macro_f1.value)} ({_interval(brands[value].macro_f1, _three)})"
            for value in ("seen", "unseen")
            if value in brands and brands[value].macro_f1.low is not None
        )
        picture = svg.intervals(rows, percent, "Accuracy by whether the brand was in training", left=200)
        caption = "Accuracy on test products by whether their brand is on any training product."
        parts.append(
            "<h3>Brands never seen</h3>" + figure(picture, caption + (f" Macro-F1: {macro}." if macro else ""))
        )
    return section("What training saw little of", "".join(parts)) if parts else ""


def coverage(curves: Sequence[Curve]) -> str:
    """Accuracy of the surest predictions against how many they are."""
    whole = [one for one in curves if one.name == "all"]
    if not whole:
        return ""
    enough = [one for one in curves if one.points[0][2].support >= findings.ENOUGH]
    by_kind = {kind: [one for one in enough if one.name == kind][:MAX_PANELS] for kind in ("region", "top_category")}
    parts = [figure(
        svg.coverage([_panel(one) for one in [*whole, *by_kind["region"]]], "Accuracy against coverage, per region"),
        "From right to left only predictions with a higher confidence are accepted. Bands: 95 % interval; fewer than "
        f"{findings.ENOUGH} predictions are not drawn. Area: mean error over all coverages (AURC), and in brackets that of the "
        "best possible order of the same predictions.",
    )]  # fmt: skip
    if by_kind["top_category"]:
        picture = svg.coverage(
            [_panel(one) for one in by_kind["top_category"]], "Accuracy against coverage, per top category"
        )
        parts.append("<h3>Per top category</h3>" + figure(picture, "By the true category, those with the most rows."))
    marks = [point for point in whole[0].points if round(point[0], 4) in (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)]
    body = [
        (f"{threshold:g}", percent(share), percent(point.value) or "–", _interval(point, percent), count(point.support))
        for threshold, share, point in marks
    ]
    head = ("confidence of at least", "coverage", "accuracy", "95 % interval", "rows")
    parts.append(details("What a threshold would give", table(head, body, numbers=range(5))) if body else "")
    return section("Accuracy against coverage", "".join(parts))


def _panel(curve: Curve) -> tuple:
    points = [
        (share, point.value, point.low, point.high,
         f"confidence of {threshold:g} or more: {share:.1%} of the rows ({point.support:,}), {point.value:.1%} right")
        for threshold, share, point in curve.points
        if point.value is not None and (point.support >= findings.ENOUGH or share == 1)
    ]  # fmt: skip
    area = f"area {curve.aurc.value:.3f} ({curve.aurc_perfect.value:.3f})" if curve.aurc.value is not None else ""
    rows = curve.points[0][2].support
    return "all" if curve.name == "all" else curve.value, f"n = {rows:,}, {area}" if area else f"n = {rows:,}", points


def _said(one: Slice) -> str:
    return f"{NAMES.get(one.name, one.name)}: {one.value}"


def _place(name: str, order: list[str]) -> int:
    return order.index(name) if name in order else len(order)


def _categories(many: Point | None) -> str:
    return "" if many is None or many.value is None else f"{int(many.value):,} categories"


def _interval(point: Point, how) -> str:
    return "–" if point.low is None else f"{how(point.low)} to {how(point.high)}"


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
