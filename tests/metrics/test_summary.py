"""The console summary: complete, readable in 80 columns, and plain where nobody looks at a terminal."""

import io
from dataclasses import replace

from rich.console import Console

from shelfmark.metrics.figures import JobFigures, RegionFigures, duration
from shelfmark.metrics.summary import Summary, summary

DATA = Summary(
    run_id="20250102T030405-ab12",
    read=20_000,
    accepted=19_000,
    rejected=700,
    superseded=300,
    products=19_000,
    duplicate_groups=412,
    categories=312,
    regions=[
        RegionFigures("*", 1902, macro_f1=0.7123, coverage=0.81, accuracy=0.78, predictions=19_000),
        RegionFigures("TH", 2, predictions=2),
        RegionFigures("IN", 1900, macro_f1=0.7142, coverage=0.81, accuracy=0.781, predictions=18_998),
    ],
    jobs=[JobFigures("ingest", 12.34), JobFigures("taxonomy", 1.0, "skipped", "nothing [new] to do")],
    links=[("run report", "file:///home/someone/a/rather/long/path/" + "x" * 80 + "/report.html")],
    commit="c0ffee",
    model_version="text-1",
    taxonomy_version="derived-1",
    notes=["source [shein] was stopped: file ends in the middle"],
)


def printed(data, **options):
    out = io.StringIO()
    summary(Console(file=out, width=80, **options), data)
    return out.getvalue()


def test_shows_books_regions_jobs_and_links_in_80_columns_without_colour_codes():
    text = printed(DATA)
    assert "\x1b" not in text
    lines = {line.strip().split("  ")[0]: line for line in text.splitlines()}
    assert "20,000" in lines["records read"]
    assert "700" in lines["rejected"]
    assert "3.5 %" in lines["rejected"]
    assert "412" in lines["duplicate groups"]
    assert "agreement with source labels" in text
    assert "0.714" in lines["IN"]
    assert "81.0 %" in lines["IN"]
    # Two test rows: n, never a figure.
    assert lines["TH"].count("n = 2") == 2
    assert "nothing [new] to do" in text
    assert "! source [shein] was stopped" in text
    assert "c0ffee" in text
    # A link is whole on its line; everything else fits.
    assert DATA.links[0][1] in text
    assert all(len(line) <= 80 for line in text.splitlines() if "file://" not in line)
    # All regions together come last.
    assert text.index("\n  IN ") < text.index("\n  all ")


def test_a_terminal_gets_colours_and_an_early_stop_is_said():
    stopped = Summary(run_id="r", jobs=[JobFigures("ingest", 3.0, "failed", "disk full")])
    text = printed(stopped, force_terminal=True)
    assert "\x1b[" in text
    assert "stopped" in text
    assert "disk full" in text
    assert "stopped" not in printed(Summary(run_id="r", jobs=[JobFigures("ingest", 3.0)]))


def test_duration():
    assert [duration(s) for s in (8.34, 59.96, 125, 3720)] == ["8.3 s", "60.0 s", "2 min 05 s", "1 h 02 min"]


def test_says_what_people_checked():
    regions = [replace(DATA.regions[0], checked_accuracy=0.871, checked_low=0.82, checked_high=0.91, checked_rows=196,
                       checked_drawn=203), *DATA.regions[1:]]  # fmt: skip
    text = printed(replace(DATA, regions=regions))
    said = " ".join(text.split())
    assert "accuracy, checked by people: 87.1 % (82.0 % to 91.0 %, 95 %; 196 of 203 drawn)" in said
    assert all(len(line) <= 80 for line in text.splitlines() if "file://" not in line)
    assert "checked" not in printed(DATA)
