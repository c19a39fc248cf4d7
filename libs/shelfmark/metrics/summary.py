"""What a pipeline prints at its end: the books, the figures per region, the seconds per job, where to look next."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from shelfmark.metrics.figures import (
    AGREEMENT,
    CHECKED,
    JobFigures,
    RegionFigures,
    all_last,
    duration,
    percent,
    region_name,
)


@dataclass(frozen=True)
class Summary:
    """Everything the console summary shows. Counts are records or rows; None is shown as a dash."""

    run_id: str
    read: int | None = None
    accepted: int | None = None
    """Records that became or confirmed a product: new + changed + unchanged."""
    rejected: int | None = None
    superseded: int | None = None
    products: int | None = None
    duplicate_groups: int | None = None
    """Groups of two or more records that are one product."""
    categories: int | None = None
    """Categories the model can predict."""
    regions: list[RegionFigures] = field(default_factory=list)
    jobs: list[JobFigures] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    """(what it is, address or path), e.g. ("run report", "file:///…/report.html")."""
    commit: str | None = None
    model_version: str | None = None
    taxonomy_version: str | None = None
    notes: list[str] = field(default_factory=list)
    """Lines a reader must see, e.g. a source that was stopped and why."""


def summary(console: Console, data: Summary) -> None:
    """Print `data`: tables on a terminal and in a log file alike, readable at 80 columns.

    Links stand on lines of their own and are never cut or wrapped by rich, so that they stay clickable.
    """
    seconds = sum(job.seconds for job in data.jobs)
    failed = [job for job in data.jobs if job.status in ("failed", "refused")]
    state = "[bold red]stopped[/]" if failed else "[bold green]done[/]"
    console.print()
    console.print(f"[bold]Shelfmark[/] run [bold]{escape(data.run_id)}[/] {state} in {duration(seconds)}")
    console.print(_books(data))
    if data.regions:
        console.print()
        console.print(_regions(data.regions))
        if by_people := _by_people(data.regions):
            console.print(Text(by_people, style="bold"))
    if data.jobs:
        console.print(_jobs(data.jobs))
    for note in data.notes:
        console.print(Text("! " + note, style="yellow"))
    versions = {"lake commit": data.commit, "model": data.model_version, "taxonomy": data.taxonomy_version}
    stated = [f"{name} {value}" for name, value in versions.items() if value]
    if stated:
        console.print(Text(", ".join(stated), style="dim"))
    width = max((len(name) for name, _ in data.links), default=0)
    for name, address in data.links:
        console.print(f"{name:<{width}}  {address}", markup=False, highlight=False, soft_wrap=True)


def _books(data: Summary) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    rows = (
        ("records read", data.read, ""),
        ("accepted", data.accepted, _share(data.accepted, data.read)),
        ("rejected", data.rejected, _share(data.rejected, data.read)),
        ("superseded", data.superseded, "a newer or merged record of the same key"),
        ("products", data.products, ""),
        ("duplicate groups", data.duplicate_groups, "two or more records that are one product"),
        ("categories", data.categories, "the model can predict"),
    )
    for name, value, remark in rows:
        table.add_row(name, _count(value), remark)
    return table


def _regions(regions: list[RegionFigures]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=f"Per region: {AGREEMENT}", title_justify="left", title_style="bold")
    table.add_column("region")
    checked = any(row.checked_drawn for row in regions)
    for name in ("predictions", "coverage", "tested", "accuracy", "macro-F1", *(["checked"] if checked else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for row in sorted(regions, key=lambda row: all_last(row.region)):
        few = f"n = {row.support}"
        figure = (percent(row.accuracy) or few, few if row.macro_f1 is None else f"{row.macro_f1:.3f}")
        table.add_row(
            escape(region_name(row.region)),
            _count(row.predictions),
            percent(row.coverage) or "–",
            _count(row.support),
            *figure,
            *([percent(row.checked_accuracy) or f"n = {row.checked_rows or 0}"] if checked else []),
        )
    return table


def _by_people(regions: list[RegionFigures]) -> str | None:
    """One line about the sample that people checked; None where there is none of all regions."""
    overall = next((row for row in regions if row.region == "*" and row.checked_accuracy is not None), None)
    if overall is None:
        return None
    ends = f"{percent(overall.checked_low)} to {percent(overall.checked_high)}, 95 %"
    of = f"{overall.checked_rows:,} of {overall.checked_drawn:,} drawn"
    return f"{CHECKED}: {percent(overall.checked_accuracy)} ({ends}; {of})"


def _jobs(jobs: list[JobFigures]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Seconds per job", title_justify="left", title_style="bold")
    table.add_column("job", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("status", overflow="fold")
    colour = {"done": "green", "skipped": "dim", "failed": "red", "refused": "red"}
    for job in jobs:
        status = Text(job.status, style=colour.get(job.status, ""))
        if job.reason:
            status.append(f": {job.reason}", style="default")
        table.add_row(escape(job.job), f"{job.seconds:.1f}", status)
    return table


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _share(part: int | None, whole: int | None) -> str:
    return percent(part / whole) if part is not None and whole else ""
