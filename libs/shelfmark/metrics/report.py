"""The run report: one offline HTML file that says how good the catalogue is, and what went wrong, with pictures.

`render(report)` makes the page of a `Report`, a record of small lists that the caller has collected with a limit
(the defaults below say which). `write` puts it into a file. All vendor text is escaped; nothing on the page is fetched
or run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from markupsafe import Markup

from shelfmark import style
from shelfmark.metrics import report_slices, svg
from shelfmark.metrics.figures import (
    AGREEMENT,
    CHECKED,
    ClassFigures,
    JobFigures,
    RegionFigures,
    all_last,
    duration,
    heading,
    percent,
    region_name,
)
from shelfmark.metrics.findings import Curve, Level, Point, Slice
from shelfmark.metrics.page import MAX_BARS
from shelfmark.metrics.page import count as _count
from shelfmark.metrics.page import details as _details
from shelfmark.metrics.page import figure as _figure
from shelfmark.metrics.page import link as _link
from shelfmark.metrics.page import long_table as _long_table
from shelfmark.metrics.page import section as _section
from shelfmark.metrics.page import table as _table

MAX_POINTS = 3000
"""Categories drawn in the scatter: a browser still moves it without effort, the file stays below a megabyte."""
MAX_ROWS = 50
"""Rows of a table; more belong into a query."""


@dataclass(frozen=True)
class Confusion:
    """A true leaf taken for another, as `classification.confusions` lists them."""

    region: str
    true_path: str
    predicted_path: str
    n: int
    share: float
    """Of the true category's measured rows in the region, 0 to 1."""
    product_id: str
    title: str | None = None
    """Title of that product, where the caller has looked it up."""


@dataclass(frozen=True)
class Rejection:
    """Records of one source that broke one rule (grouped from silver.rejected)."""

    source: str
    rule: str
    rows: int
    table: str = "silver.products"
    reason: str | None = None
    """One example of the reason, with the value that broke the rule."""


@dataclass(frozen=True)
class Books:
    """The books of one source: read = new + changed + unchanged + rejected + superseded (sums over bronze.files)."""

    source: str
    read: int
    new: int
    changed: int
    unchanged: int
    rejected: int
    superseded: int
    files: int = 1

    @property
    def balance(self) -> bool:
        return self.read == self.new + self.changed + self.unchanged + self.rejected + self.superseded


@dataclass(frozen=True)
class Unmapped:
    """A category path of a source that means no category yet (silver.category_map, origin unmapped)."""

    source: str
    source_path: str
    products: int


@dataclass(frozen=True)
class Report:
    """Everything the run report shows. Lists may be empty: their section then says so in a line, or is left out."""

    run_id: str
    created: str
    """When the report was made, as text for people, e.g. `2025-01-02 03:04 UTC`."""
    versions: list[tuple[str, str]] = field(default_factory=list)
    """(what, which): lake commit, model version, taxonomy version, code version, settings hash."""
    regions: list[RegionFigures] = field(default_factory=list)
    """`figures.region_figures` of the run's metrics, `*` among them."""
    classes: list[ClassFigures] = field(default_factory=list)
    """`figures.class_figures` for region `*`: one per category. More than MAX_POINTS are thinned out in the picture."""
    overall: Mapping[str, Point] = field(default_factory=dict)
    """`findings.overall`: every figure of all regions together."""
    levels: list[Level] = field(default_factory=list)
    """`findings.levels`: by depth of the taxonomy."""
    slices: list[Slice] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    """`findings.curves`, `all` the first."""
    confusions: list[Confusion] = field(default_factory=list)
    """The most frequent first; 50 are enough."""
    rejections: list[Rejection] = field(default_factory=list)
    """One per source and rule."""
    books: list[Books] = field(default_factory=list)
    """One per source."""
    jobs: list[JobFigures] = field(default_factory=list)
    """In the order they ran."""
    unmapped: list[Unmapped] = field(default_factory=list)
    """By products, the most first; 50 are enough."""
    unmapped_total: int | None = None
    """Unmapped paths in all, where `unmapped` is cut."""
    duplicate_groups: int | None = None
    """Groups of two or more records that are one product."""
    products: int | None = None
    """Products in silver.products."""
    min_support: int = 10
    """settings.metrics.min_support: below it figures are not shown."""
    links: list[tuple[str, str]] = field(default_factory=list)
    """(text, path or address): data docs, MLflow. Relative paths work where the page is moved with its folder."""
    notes: list[str] = field(default_factory=list)
    """Lines a reader must see first, e.g. a source that was stopped and why."""
    decisions: list[Mapping[str, Any]] = field(default_factory=list)
    """Rows of gold.model_decisions, the newest first; a dozen is enough."""
    many_looks: int = 20
    """settings.gate.many_looks: from so many looks at the test side on the page warns."""
    shadow: Mapping[str, Any] | None = None
    """What predict noted of a version in shadow: `shelfmark.models.shadow.agreement`, version and champion."""
    lines: list[tuple[str, list[RegionFigures]]] = field(default_factory=list)
    """Lines of models, the published one first, each with its figures by region; shown where there are two or more."""


def confusion_rows(rows: Iterable[Mapping[str, Any]], titles: Mapping[str, str] | None = None) -> list[Confusion]:
    """`classification.confusions` rows as records; `titles` by product_id where the caller has looked them up.

    A category that the taxonomy does not know is shown by its id.
    """
    return [
        Confusion(
            row["region"],
            row["true_path"] or row["true_id"],
            row["predicted_path"] or row["predicted_id"],
            row["n"],
            row["share"],
            row["product_id"],
            (titles or {}).get(row["product_id"]),
        )
        for row in rows
    ]


def write(report: Report, path: Path) -> Path:
    """Write the page to `path`, whole or not at all, and return it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(render(report), encoding="utf-8")
    return part.replace(path)


def render(report: Report) -> str:
    """The page as HTML text."""
    sections = (
        _head(report),
        _checked(report),
        _quality(report),
        report_slices.worst(report.slices, report.min_support),
        report_slices.depth(report.levels, report.overall),
        report_slices.rare(report.overall, report.slices),
        report_slices.coverage(report.curves),
        _calibration(report),
        _support(report),
        _confusions(report),
        _lines(report),
        _decisions(report),
        _shadow(report),
        _books(report),
        _rejections(report),
        _unmapped(report),
        _jobs(report),
        _versions(report),
    )
    return style.page(f"Run {report.run_id}: {heading(report.regions)}", "\n".join(part for part in sections if part))


def _head(report: Report) -> str:
    overall = next((row for row in report.regions if row.region == "*"), None)
    read, rejected = sum(b.read for b in report.books), sum(b.rejected for b in report.books)
    cards = []
    if overall:
        few = f"n = {overall.support}"
        interval = macro_interval = ""
        if overall.accuracy_low is not None:
            interval = f", {percent(overall.accuracy_low)} to {percent(overall.accuracy_high)} (95 %)"
        if overall.macro_f1_low is not None:
            macro_interval = f", {overall.macro_f1_low:.3f} to {overall.macro_f1_high:.3f} (95 %)"
        if overall.checked_accuracy is not None:
            known = f"{percent(overall.checked_low)} to {percent(overall.checked_high)} (95 %)"
            cards.append((percent(overall.checked_accuracy), f"{CHECKED}, {known}", "good"))
        cards += [
            (percent(overall.accuracy) or few, f"{AGREEMENT}{interval}" if cards else f"accuracy{interval}", "info"),
            (few if overall.macro_f1 is None else f"{overall.macro_f1:.3f}", f"macro-F1{macro_interval}", "info"),
            (percent(overall.coverage) or "–", "coverage: tested predictions accepted", "info"),
            (f"{overall.support:,}", "products measured", "info"),
        ]
    if report.books:
        share = f", {rejected / read:.1%}" if read else ""
        cards += [(f"{read:,}", "records read", ""), (f"{rejected:,}", f"records rejected{share}", "warn")]
    if report.products is not None:
        cards.append((f"{report.products:,}", "products", ""))
    if report.duplicate_groups is not None:
        cards.append((f"{report.duplicate_groups:,}", "groups of duplicates", ""))
    shown = "".join(
        f'<div class="card {state}"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name, state in cards
    )
    title = heading(report.regions)
    notes = "".join(f'<p><span class="pill warn">note</span> {escape(note)}</p>' for note in report.notes)
    nav = " · ".join(_link(text, address) for text, address in report.links)
    return (
        (f"<nav>{nav}</nav>" if nav else "")
        + f"<h1>{escape(title[0].upper() + title[1:])}</h1>"
        + f'<p class="lead">Run <span class="mono">{escape(report.run_id)}</span>, {escape(report.created)}. '
        + f"{_meaning(title)}</p>"
        + notes
        + (f'<div class="grid">{shown}</div>' if shown else "")
    )


def _meaning(title: str) -> str:
    if title == AGREEMENT:
        return (
            "Every accuracy and F1 on this page compares predictions with the categories the sources gave their own "
            "products. Nobody has checked those categories yet: where a source is wrong, so is the figure."
        )
    return (
        "People have checked a random sample of all golden records: the accuracy by it owes nothing to what the sources say. "
        "The other accuracies and F1 on this page compare predictions of the test side with people's categories where they "
        "gave one, else with those the sources gave: where a source is wrong, so is the figure."
    )


def _checked(report: Report) -> str:
    """What people found, per region; nothing where no sample was drawn."""
    rows = [r for r in sorted(report.regions, key=lambda row: all_last(row.region)) if r.checked_drawn]
    if not rows:
        return ""

    def interval(r: RegionFigures) -> str:
        return "–" if r.checked_low is None else f"{percent(r.checked_low)} to {percent(r.checked_high)}"

    head = ("region", "drawn", "checked", "accuracy", "95 % interval", "accepted only", "accepted or rolled up")
    body = [
        (
            region_name(r.region),
            _count(r.checked_drawn),
            _count(r.checked_rows),
            percent(r.checked_accuracy) or f"n = {r.checked_rows}",
            interval(r),
            *(percent(v) or "–" for v in (r.checked_accuracy_accepted, r.checked_accuracy_decided)),
        )
        for r in rows
    ]
    return _section(
        CHECKED[0].upper() + CHECKED[1:],
        _table(head, body, numbers=range(1, len(head)))
        + '<p class="small muted">Of all golden records, by a random sample: each checked record counts for as many as it was '
        "drawn from (Hájek), and no model learns from it. Records drawn and not checked yet are taken to be like the others. "
        "Accepted or rolled up: the category decided on is the right one, or above it.</p>",
    )


def _quality(report: Report) -> str:
    if not report.regions:
        return _section("Per region", '<p class="muted">Nothing was measured in this run.</p>')
    rows = sorted(report.regions, key=lambda row: all_last(row.region))
    names = [(region_name(r.region), f"{r.support:,} measured of {r.predictions or 0:,} predictions") for r in rows]

    def panel(title: str, said, value: str, low: str = "", high: str = "") -> tuple:
        return title, said, [_point(r, value, low, high) for r in rows]

    picture = svg.dots(
        names,
        [
            panel("accuracy", percent, "accuracy", "accuracy_low", "accuracy_high"),
            panel("macro-F1", "{:.3f}".format, "macro_f1", "macro_f1_low", "macro_f1_high"),
            panel("coverage", percent, "coverage"),
        ],
        "Accuracy, macro-F1 and coverage per region",
    )
    head = (
        "region",
        "predictions",
        "measured",
        "categories",
        "accuracy",
        "any listed",
        "accepted only",
        "macro-F1",
        "weighted F1",
        "coverage",
        "rolled up",
        "to review",
    )
    body = [
        (
            region_name(r.region),
            _count(r.predictions),
            _count(r.support),
            _count(r.categories),
            *(percent(v) or "–" for v in (r.accuracy, r.accuracy_any, r.accuracy_accepted)),
            *("–" if v is None else f"{v:.3f}" for v in (r.macro_f1, r.weighted_f1)),
            *(percent(v) or "–" for v in (r.coverage, r.roll_up_share, r.review_share)),
        )
        for r in rows
    ]
    return _section(
        "Per region",
        _figure(
            picture,
            "Bars behind the dots: 95 % interval (accuracy: Wilson; macro-F1: bootstrap over groups of look-alikes). All are "
            "measured on the test side.",
        )
        + _table(head, body, numbers=range(1, len(head)), dense=True)
        + f'<p class="small muted">Below {report.min_support} rows only n is shown. Accuracy: the best leaf is the '
        "product's primary category; any listed: it is one of the categories the product is listed in; accepted only: "
        "accuracy among predictions the model was sure of. Macro-F1 is the mean F1 of the categories that occur in the "
        "region's test side.</p>",
    )


def _calibration(report: Report) -> str:
    overall = next((row for row in report.regions if row.region == "*"), None)
    if overall is None or overall.ece is None or len(overall.bins) < 2:
        return ""
    rows = [r for r in sorted(report.regions, key=lambda row: all_last(row.region)) if r.ece is not None]
    body = [
        (region_name(r.region), _count(r.support), *(f"{v:.4f}" for v in (r.ece, r.ece_by_chance, r.brier)))
        for r in rows
    ]
    head = ("region", "measured", "calibration error", "of chance alone", "Brier score")
    return _section(
        "Does a confidence mean what it says?",
        _figure(
            svg.reliability(overall.bins, "Share right against confidence"),
            f"Predictions of the test side by their confidence, in bins with {report.min_support} or more. Bars: 95 % "
            "interval (Wilson). On the dashed line 0.8 means that four of five are right; below it the model is too sure.",
        )
        + _table(head, body, numbers=range(1, len(head)))
        + '<p class="small muted">Calibration error (ECE): the mean distance of share right and confidence over bins. Of '
        "chance alone: what a model with the same confidences shows that is calibrated; only what lies above it is the "
        "model's.</p>",
    )


def _support(report: Report) -> str:
    measured = [row for row in report.classes if row.f1 is not None and row.support > 0]
    if not measured:
        return ""
    hidden = [row for row in report.classes if row.f1 is None and row.support > 0]
    ordered = sorted(measured, key=lambda row: row.support)
    step = max(1, -(-len(ordered) // MAX_POINTS))
    drawn = ordered[::step]
    picture = svg.scatter(
        [(row.support, row.f1, f"{_name(row)}: F1 {row.f1:.3f}, n = {row.support:,}") for row in drawn],
        "support: measured products of the category (logarithmic)",
        "F1",
        "F1 of every category against its support",
        report.min_support,
    )
    caption = f"{len(drawn):,} of {len(ordered):,} categories" if step > 1 else f"{len(ordered):,} categories"
    if hidden:
        caption += (
            f"; {len(hidden):,} more have fewer than {report.min_support} measured products "
            f"({sum(row.support for row in hidden):,} in all) and no figure of their own"
        )
    weakest = sorted(measured, key=lambda row: (row.f1, -row.support))[:MAX_BARS]
    table = _table(
        ("category", "measured", "precision", "recall", "F1"),
        [
            (
                _name(row),
                _count(row.support),
                *("–" if v is None else f"{v:.3f}" for v in (row.precision, row.recall, row.f1)),
            )
            for row in weakest
        ],
        numbers=range(1, 5),
    )
    return _section(
        "Support against F1",
        _figure(picture, caption + ".") + "<h3>Weakest categories</h3>" + table,
    )


def _confusions(report: Report) -> str:
    if not report.confusions:
        return ""
    rows = sorted(report.confusions, key=lambda row: -row.n)
    picture = svg.bars(
        [
            (
                f"{svg.shorten(row.true_path, 34)} → {svg.shorten(row.predicted_path, 34)} ({row.region})",
                row.n,
                f"{row.n:,}  ({row.share:.0%})",
            )
            for row in rows[:MAX_BARS]
        ],
        "Most frequent confusions",
        "amber",
        left=560,
    )
    table = _table(
        ("region", "true category", "predicted as", "n", "share", "for example"),
        [
            (
                row.region,
                row.true_path,
                row.predicted_path,
                _count(row.n),
                percent(row.share),
                row.title or row.product_id,
            )
            for row in rows[:MAX_ROWS]
        ],
        numbers=(3, 4),
    )
    return _section(
        "Most confused categories",
        _figure(picture, "True category → what it was taken for, with the share of the true category's products.")
        + _details(f"The {min(len(rows), MAX_ROWS)} most frequent, with an example each", table),
    )


BOOK_PARTS = (("new", "good"), ("changed", "blue"), ("unchanged", "grey"), ("superseded", "amber"), ("rejected", "red"))


def _books(report: Report) -> str:
    if not report.books:
        return ""
    rows = sorted(report.books, key=lambda row: row.source)
    picture = svg.stacked(
        [(b.source, [getattr(b, name) for name, _ in BOOK_PARTS], f"{b.read:,} read") for b in rows],
        BOOK_PARTS,
        "What became of the records of each source",
    )
    head = ("source", "files", "read", *(name for name, _ in BOOK_PARTS), "books")
    body = [
        (
            b.source,
            *(_count(v) for v in (b.files, b.read, *(getattr(b, name) for name, _ in BOOK_PARTS))),
            Markup('<span class="pill good">balance</span>' if b.balance else '<span class="pill bad">off</span>'),
        )
        for b in rows
    ]
    return _section(
        "Books per source",
        _figure(picture, "Every record read is new, changed, unchanged, superseded or rejected.")
        + _table(head, body, numbers=range(1, 8)),
    )


def _rejections(report: Report) -> str:
    if not report.rejections:
        return _section("Rejected records", '<p class="muted">No record was rejected.</p>')
    counts: dict[tuple[str, str], int] = {}
    by_source: dict[str, int] = {}
    by_rule: dict[str, int] = {}
    for row in report.rejections:
        counts[row.source, row.rule] = counts.get((row.source, row.rule), 0) + row.rows
        by_source[row.source] = by_source.get(row.source, 0) + row.rows
        by_rule[row.rule] = by_rule.get(row.rule, 0) + row.rows
    sources = sorted(by_source, key=lambda name: -by_source[name])[:MAX_BARS]
    rules = sorted(by_rule, key=lambda name: -by_rule[name])[:MAX_BARS]
    picture = svg.matrix(
        sources, rules, [[counts.get((s, r), 0) for r in rules] for s in sources], "Rejected records by source and rule"
    )
    rows = sorted(report.rejections, key=lambda row: -row.rows)
    read = {b.source: b.read for b in report.books}
    body = [
        (
            r.source,
            r.table,
            r.rule,
            _count(r.rows),
            percent(r.rows / read[r.source]) if read.get(r.source) else "–",
            r.reason or "",
        )
        for r in rows[:MAX_ROWS]
    ]
    left_out = (
        f'<p class="small muted">{len(rows) - MAX_ROWS} more in silver.rejected.</p>' if len(rows) > MAX_ROWS else ""
    )
    return _section(
        "Rejected records",
        _figure(picture, "Records rejected, by source and by the first rule they broke.")
        + _long_table(("source", "table", "rule", "rows", "of read", "for example"), body, numbers=(3, 4))
        + left_out,
    )


def _unmapped(report: Report) -> str:
    if not report.unmapped:
        return ""
    total = report.unmapped_total or len(report.unmapped)
    rows = sorted(report.unmapped, key=lambda row: -row.products)
    body = [(row.source, row.source_path, _count(row.products)) for row in rows[:MAX_ROWS]]
    return _section(
        "Unmapped categories",
        f"<p>{total:,} category paths mean no category of the taxonomy yet; their products are predicted, not learnt "
        "from. Map the first ones in <code>conf/taxonomy/&lt;source&gt;.csv</code>.</p>"
        + _long_table(("source", "category path as the source gives it", "products"), body, numbers=(2,)),
    )


def _jobs(report: Report) -> str:
    if not report.jobs:
        return ""
    picture = svg.bars(
        [
            (job.job if job.status == "done" else f"{job.job} ({job.status})", job.seconds, duration(job.seconds))
            for job in report.jobs
        ],
        "Seconds per job",
        left=200,
    )
    reasons = "".join(
        f'<p><span class="pill {"bad" if job.status in ("failed", "refused") else "info"}">{escape(job.status)}</span> '
        f"{escape(job.job)}: {escape(job.reason)}</p>"
        for job in report.jobs
        if job.reason
    )
    total = sum(job.seconds for job in report.jobs)
    return _section("Seconds per job", _figure(picture, f"{duration(total)} in all.") + reasons)


def _lines(report: Report) -> str:
    if len(report.lines) < 2:
        return ""
    names = [name for name, _ in report.lines]
    head = ["region", "test rows"]
    for name in names:
        head += [f"{name}: macro-F1", f"{name}: accuracy", f"{name}: accepted"]
    found = {name: {row.region: row for row in rows} for name, rows in report.lines}
    body = []
    for row in report.lines[0][1]:
        line = [region_name(row.region), _count(row.support)]
        for name in names:
            own = found[name].get(row.region)
            values = (None, None, None) if own is None else (own.macro_f1, own.accuracy, own.coverage)
            line += ["–" if values[0] is None else f"{values[0]:.4f}", *(percent(value) or "–" for value in values[1:])]
        body.append(line)
    return _section(
        "Lines of models",
        f"<p>The champion of <b>{escape(names[0])}</b> predicts the catalogue; the others predict the same records, "
        "unpublished.</p>"
        + _table(head, body, numbers=range(1, len(head)), dense=True)
        + '<p class="small muted">On the test side, by source labels. Which line is published is decided by the gate, below.</p>',
    )


def _decisions(report: Report) -> str:
    if not report.decisions:
        return ""
    looks = max(row["looks"] for row in report.decisions)
    head = (
        "decided (UTC)",
        "line",
        "version",
        "decision",
        "by",
        "macro-F1",
        "beside",
        "difference, at least",
        "test rows",
        "why",
    )
    body = [
        (
            f"{row['decided_at']:%Y-%m-%d %H:%M}",
            row["model"],
            row["model_version"],
            row["decision"],
            row["decided_by"],
            *("–" if row[name] is None else f"{row[name]:.4f}" for name in ("macro_f1", "compared_macro_f1")),
            "–" if row["difference_low"] is None else f"{row['difference']:+.4f}, {row['difference_low']:+.4f}",
            _count(row["test_rows"]),
            row["reason"],
        )
        for row in report.decisions
    ]
    warning = ""
    if looks >= report.many_looks:
        warning = (
            f'<p><span class="pill warn">look</span> The test side has been looked at {looks:,} times to choose a champion. '
            "Of tests that should fail one in twenty passes: what was chosen by so many looks measures better than it is. "
            "New labels on the test side make it fresh.</p>"
        )
    return _section(
        "Which model predicts, and why",
        warning
        + _table(head, body, numbers=(5, 6, 8), dense=True)
        + '<p class="small muted">Macro-F1 on the test side, of the version and of the one measured beside it; the '
        "difference and its lower bound (one-sided 95 %, paired bootstrap over groups of look-alikes). Looks at the test "
        f"side so far: {looks:,}.</p>",
    )


def _shadow(report: Report) -> str:
    told = report.shadow
    if not told or "skipped" in told:
        return ""
    shares = ("same_leaf", "same_answer", "same_decision", "accepted", "shadow_accepted")
    head = ("region", "predictions", "same best leaf", "same answer", "same decision", "accepted", "accepted in shadow")
    body = [
        (region_name(row["region"]), _count(row["rows"]), *(percent(row[name]) or "–" for name in shares))
        for row in told["regions"]
    ]
    pairs = [(row["category"], row["shadow_category"], _count(row["rows"])) for row in told["differ"]]
    differ = _long_table(("best leaf of the champion", "in shadow", "predictions"), pairs, numbers=(2,))
    return _section(
        "In shadow",
        f'<p>Version <span class="mono">{escape(told["version"])}</span> predicts beside the champion '
        f'<span class="mono">{escape(told["champion"])}</span>, unpublished. No label is looked at here: this says where '
        "they differ, not who is right.</p>"
        + _table(head, body, numbers=range(1, len(head)))
        + (f"<h3>Where they differ most</h3>{differ}" if pairs else ""),
    )


def _versions(report: Report) -> str:
    rows = [("run", report.run_id), *report.versions]
    body = "".join(f'<tr><th>{escape(name)}</th><td class="mono">{escape(value)}</td></tr>' for name, value in rows)
    return _section(
        "Where these figures come from",
        f'<div class="scroll"><table>{body}</table></div>'
        '<p class="small muted">The same commit, model and taxonomy give the same figures again.</p>',
    )


def _point(row: RegionFigures, value: str, low: str, high: str):
    centre = getattr(row, value)
    if centre is None:
        return f"n = {row.support:,}"
    return centre, getattr(row, low, None) if low else None, getattr(row, high, None) if high else None


def _name(row: ClassFigures) -> str:
    return row.category_path or row.category_id
