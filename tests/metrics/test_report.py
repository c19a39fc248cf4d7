"""The run report: complete, offline, and safe against what vendors write."""

import re
from dataclasses import replace
from datetime import datetime

import pytest
from lxml import html

from shelfmark.metrics import report, svg
from shelfmark.metrics.figures import ClassFigures, JobFigures, RegionFigures, class_figures, percent, region_figures
from shelfmark.metrics.report import Books, Confusion, Rejection, Report, Unmapped

EVIL = "<script>alert('x')</script> & \"quoted\" <b>"


@pytest.fixture(scope="module")
def full():
    return Report(
        run_id="r-1",
        created="2025-01-02 03:04 UTC",
        versions=[("lake commit", "c0ffee"), ("model version", EVIL)],
        regions=[
            RegionFigures("*", 902, 0.7, 0.81, 0.78, 9020, 0.75, 0.81, 0.8, 0.95, 0.9, 0.77, 40, 0.1, 0.09),
            RegionFigures(EVIL, 900, 0.7, 0.81, 0.78, 9000, 0.75, 0.81, 0.8, 0.95, 0.9, 0.77, 40, 0.1, 0.09),
            RegionFigures("TH", 2, predictions=20),
        ],
        classes=[
            ClassFigures("*", "a", f"Shoes > {EVIL}", 500, 0.9, 0.8, 0.847),
            ClassFigures("*", "b", None, 12, 0.1, 0.1, 0.1),
            ClassFigures("*", "c", "Socks", 3),
        ],
        confusions=[Confusion("IN", EVIL, "Socks", 31, 0.4, "p1", EVIL)],
        rejections=[Rejection("lazada", EVIL, 1234, reason=EVIL), Rejection("costco", "title_present", 1)],
        books=[Books("lazada", 10, 5, 1, 1, 2, 1), Books(EVIL, 11, 5, 1, 1, 2, 1)],
        jobs=[JobFigures("ingest", 61.0), JobFigures("predict", 1.0, "failed", EVIL)],
        unmapped=[Unmapped("shein", EVIL, 77)],
        unmapped_total=5,
        links=[("data docs", "quality/index.html"), ("evil", "javascript:alert(1)")],
        notes=[EVIL],
    )


def text_of(page):
    return " ".join(html.fromstring(page).text_content().split())


def test_every_part_is_on_the_page(full):
    page = report.render(full)
    text = text_of(page)
    assert html.fromstring(page).findtext(".//h1") == "Agreement with source labels"
    for expected in (
        "Nobody has checked those categories yet",
        "r-1",
        "c0ffee",
        "78.0 %",
        "75.0 % to 81.0 %",
        "n = 2",
        "1 more have fewer than 10 measured products (3 in all)",
        "1 min 01 s",
        "5 category paths mean no category",
        "predict (failed)",
        "1,234",
    ):
        assert expected in text
    # One picture each: regions, support against F1, confusions, books, rejections, seconds.
    assert [e.get("aria-label") for e in html.fromstring(page).iter("svg")] == [
        "Accuracy, macro-F1 and coverage per region",
        "F1 of every category against its support",
        "Most frequent confusions",
        "What became of the records of each source",
        "Rejected records by source and rule",
        "Seconds per job",
    ]
    assert [e.text for e in html.fromstring(page).xpath("//span[contains(@class,'pill')]")].count("balance") == 1
    assert "off" in text  # the books of the other source do not balance, and the page says so


def test_vendor_text_stays_text_and_nothing_is_fetched(full):
    page = report.render(full)
    tree = html.fromstring(page)
    assert not list(tree.iter("script", "img", "link", "iframe"))
    assert not tree.xpath("//section//b")  # no tag of a vendor came through
    assert [a.get("href") for a in tree.iter("a")] == ["quality/index.html"]
    assert not re.search(r"(src|href)=\"https?:|url\(|@import", page)
    assert text_of(page).count("alert('x')") > 10
    assert not tree.xpath("//@*[starts-with(name(), 'on')]")


def test_an_empty_run_still_has_a_page(tmp_path):
    path = report.write(Report("r-0", "today"), tmp_path / "new" / "report.html")
    text = text_of(path.read_text("utf-8"))
    assert "Nothing was measured in this run." in text
    assert "No record was rejected." in text
    assert list(path.parent.iterdir()) == [path]


def test_many_categories_and_rules_are_thinned_out_and_say_so(full):
    many = Report(
        "r",
        "today",
        classes=[ClassFigures("*", f"c{i}", f"C {i}", i + 1, 0.5, 0.5, 0.5) for i in range(7000)],
        rejections=[Rejection(f"s{i % 30}", f"rule {i}", i + 1) for i in range(90)],
    )
    page = report.render(many)
    assert "of 7,000 categories" in page
    assert page.count("<circle") <= report.MAX_POINTS
    assert "40 more in silver.rejected" in page


def test_figures_are_read_from_metric_rows():
    def row(region, category, metric, value, support, low=None, high=None, level="leaf"):
        return {
            "region": region,
            "level": level,
            "category_id": category,
            "category_path": None if category == "*" else f"path of {category}",
            "metric": metric,
            "value": value,
            "support": support,
            "low": low,
            "high": high,
        }

    rows = [
        row("*", "*", "accuracy", 0.8, 100, 0.7, 0.9),
        row("*", "*", "accuracy", 0.9, 100, 0.8, 0.95, level="1"),
        row("*", "*", "categories", 7.0, 100),
        row("*", "*", "coverage", 0.5, 100),
        row("*", "*", "coverage_all", 0.6, 1000),
        row("*", "*", "a_later_metric", 0.5, 1000),
        row("*", "*", "macro_f1", 0.6, 100, 0.55, 0.65),
        row("*", "*", "ece", 0.02, 100),
        row("*", "*", "bin_accuracy_13", 0.9, 80, 0.8, 0.95),
        row("*", "*", "bin_confidence_13", 0.91, 80),
        row("*", "*", "bin_accuracy_02", None, 3),
        row("*", "*", "bin_confidence_02", None, 3),
        row("IN", "*", "accuracy", None, 2),
        row("*", "c1", "f1", 0.3, 11),
        row("*", "c1", "recall", 0.4, 11),
        row("*", "c2", "f1", None, 40),
        row("IN", "c1", "f1", 0.9, 5),
    ]
    india, everywhere = region_figures(rows)
    assert india == RegionFigures("IN", 2)
    assert (everywhere.region, everywhere.support, everywhere.predictions) == ("*", 100, 1000)
    assert (everywhere.accuracy, everywhere.accuracy_low, everywhere.accuracy_high) == (0.8, 0.7, 0.9)
    assert (everywhere.categories, everywhere.coverage) == (7, 0.5)
    assert (everywhere.macro_f1_low, everywhere.macro_f1_high, everywhere.ece) == (0.55, 0.65, 0.02)
    assert everywhere.bins == ((0.91, 0.9, 0.8, 0.95, 80),)  # the bin of three rows shows nothing
    assert class_figures(rows) == [
        ClassFigures("*", "c2", "path of c2", 40),
        ClassFigures("*", "c1", "path of c1", 11, recall=0.4, f1=0.3),
    ]


def test_long_names_keep_their_last_levels():
    assert svg.shorten("Apparel > Women > Shoes > Boots", 20) == "… > Shoes > Boots"
    assert svg.shorten("a" * 30, 10) == "a" * 9 + "…"
    assert svg.shorten("short", 10) == "short"
    assert [percent(v) for v in (0.0, 0.0001, 0.5, None)] == ["0.0 %", "< 0.1 %", "50.0 %", None]


def test_confidences_are_drawn_against_what_was_right():
    bins = ((0.5, 0.4, 0.3, 0.5, 90), (0.9, 0.7, 0.6, 0.8, 200))
    sure = RegionFigures("*", 290, accuracy=0.6, ece=0.17, ece_by_chance=0.02, brier=0.2, bins=bins)
    page = report.render(Report("run-1", "2026-01-01", regions=[sure], min_support=10))
    assert "Does a confidence mean what it says?" in page
    assert "200 predictions with confidence 0.900: 0.700 right" in page
    assert "0.1700" in page
    blind = report.render(
        Report("run-1", "2026-01-01", regions=[RegionFigures("*", 290, accuracy=0.6)], min_support=10)
    )
    assert "Does a confidence mean" not in blind


def test_what_people_checked_is_the_heading_and_has_a_table(full):
    checked = {"checked_accuracy": 0.871, "checked_low": 0.82, "checked_high": 0.91, "checked_rows": 196}
    regions = [replace(full.regions[0], checked_drawn=203, **checked), *full.regions[1:2]]
    regions.append(RegionFigures("TH", 2, predictions=20, checked_rows=1, checked_drawn=2))
    page = report.render(replace(full, regions=regions))
    assert html.fromstring(page).findtext(".//h1") == "Accuracy, checked by people"
    text = text_of(page)
    assert "Nobody has checked" not in text
    for expected in ("87.1 %", "82.0 % to 91.0 %", "203", "196", "n = 1", "agreement with source labels, 75.0 %"):
        assert expected in text
    # Of one market alone it is no figure of the catalogue.
    only = [full.regions[0], replace(full.regions[1], checked_drawn=203, **checked)]
    page = report.render(replace(full, regions=only))
    assert html.fromstring(page).findtext(".//h1") == "Agreement with source labels"
    assert "82.0 % to 91.0 %" in text_of(page)


def decided(**told):
    row = {"decided_at": datetime(2026, 1, 3, 4, 5), "model": "text", "model_version": "v2", "decision": "kept", "decided_by": "gate",
           "macro_f1": 0.7, "compared_macro_f1": 0.75, "difference": -0.05, "difference_low": -0.08, "test_rows": 1200,
           "looks": 3, "reason": f"worse {EVIL}"}  # fmt: skip
    return row | told


def test_decisions_on_models_are_told_and_many_looks_are_warned_of():
    first = decided(model_version="v1", decision="promoted", reason="the first", looks=0) | dict.fromkeys(
        ("macro_f1", "compared_macro_f1", "difference", "difference_low", "test_rows")
    )
    text = text_of(report.render(Report("r", "today", decisions=[decided(), first], many_looks=4)))
    assert "Which model predicts, and why" in text
    assert "2026-01-03 04:05textv2keptgate" in text
    assert "0.7000" in text
    assert "-0.0500, -0.0800" in text
    assert "alert('x')" in text
    assert "Looks at the test side so far: 3." in text
    assert "has been looked at" not in text
    many = text_of(report.render(Report("r", "today", decisions=[decided(looks=1200), first], many_looks=4)))
    assert "The test side has been looked at 1,200 times" in many
    assert "Which model" not in text_of(report.render(Report("r", "today")))


def test_lines_of_models_stand_side_by_side_the_published_one_first():
    def figures(macro):
        return [
            RegionFigures(region, 400, macro_f1=macro, accuracy=macro + 0.1, coverage=0.5) for region in ("IN", "*")
        ]

    lines = [("multimodal", figures(0.7)), ("text", [figures(0.6)[1]])]
    text = text_of(report.render(Report("r", "today", lines=lines)))
    assert "Lines of models" in text
    assert "champion of multimodal predicts the catalogue" in text
    assert "0.700080.0 %50.0 %–––" in text  # of the text line nothing was measured in India
    assert "0.600070.0 %" in text
    assert "Lines of models" not in text_of(report.render(Report("r", "today", lines=lines[:1])))


def test_a_model_in_shadow_is_told_of_with_where_it_differs():
    shares = {"same_leaf": 0.9, "same_decision": 0.95, "same_answer": 0.875, "accepted": 0.8, "shadow_accepted": 0.7}
    told = {"version": "v2", "champion": "v1", "regions": [{"region": r, "rows": 1000} | shares for r in ("IN", "*")],
            "differ": [{"category": "Shoes", "shadow_category": EVIL, "rows": 40}]}  # fmt: skip
    text = text_of(report.render(Report("r", "today", shadow=told)))
    assert "Version v2 predicts beside the champion v1" in text
    assert "87.5 %" in text
    assert "not who is right" in text
    assert "Where they differ most" in text
    for nothing in (None, {"version": "v2", "skipped": "taxonomy v1 is not in force"}):
        assert "In shadow" not in text_of(report.render(Report("r", "today", shadow=nothing)))
