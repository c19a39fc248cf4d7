"""What is a finding and what is noise; the sections of the run report that show slices, depth and coverage."""

import pytest
from lxml import html

from shelfmark.metrics import findings, report, svg
from shelfmark.metrics.findings import Curve, Level, Point, Slice

EVIL = "<script>alert('x')</script>"
WHOLE = Slice("all", "*", Point(0.9, 0.89, 0.91, 9000), Point(0.8, 0.78, 0.82, 9000))


def test_worst_is_what_lies_below_the_whole_with_its_whole_interval():
    slices = [
        WHOLE,
        Slice("brand", "surely bad", Point(0.7, 0.6, 0.78, 300)),
        Slice("brand", "surely a little worse", Point(0.85, 0.82, 0.88, 3000)),
        Slice("language", "low by chance", Point(0.6, 0.35, 0.91, 60)),
        Slice("language", "few rows", Point(0.1, 0.05, 0.2, 49)),
        Slice("source", "of few leak groups", Point(0.2, None, None, 400)),
        Slice("source", "not measured", Point(None, None, None, 3)),
        Slice("region", "good", Point(0.95, 0.93, 0.97, 900)),
    ]
    assert [one.value for one in findings.worst(slices)] == ["surely bad", "surely a little worse"]
    assert len(findings.compared(slices)) == 4
    assert findings.worst(slices[1:]) == []  # nothing to compare with


def test_records_are_read_from_rows():
    def metric(level, name, value, region="*", category="*"):
        return {"region": region, "category_id": category, "level": level, "metric": name, "value": value, "support": 80,
                "low": None, "high": None}  # fmt: skip

    rows = [
        *(metric(level, "macro_f1", value) for level, value in (("leaf", 0.5), ("10", 0.6), ("2", 0.7))),
        metric("2", "categories", 7.0),
        metric("2", "macro_f1", 0.1, region="IN"),
        metric("leaf", "f1", 0.1, category="c1"),
    ]
    assert [(one.level, one.macro_f1.value, one.categories) for one in findings.levels(rows)] == [
        ("2", 0.7, 7),
        ("10", 0.6, None),
        ("leaf", 0.5, None),
    ]
    assert findings.overall(rows) == {"macro_f1": Point(0.5, None, None, 80)}
    sliced = [
        {"slice": "all", "slice_value": "*", "metric": name, "value": 0.5, "support": 80, "low": 0.4, "high": 0.6}
        for name in ("accuracy", "aurc", "a_later_metric")
    ]
    (whole,) = findings.slices(sliced)
    assert (whole.accuracy, whole.aurc.value, whole.support) == (Point(0.5, 0.4, 0.6, 80), 0.5, 80)
    points = [
        {"slice": name, "slice_value": name, "threshold": threshold, "coverage": 1 - threshold, "accuracy": 0.9,
         "support": support, "low": None, "high": None}
        for name, support in (("top_category", 9), ("all", 9), ("region", 5), ("region", 5))
        for threshold in (0.5, 0.0)
    ]  # fmt: skip
    assert [one.name for one in findings.curves(points, [whole])] == ["all", "region", "top_category"]


@pytest.fixture(scope="module")
def page():
    point = Point(0.8, 0.7, 0.85, 700)
    curve = tuple((at / 10, 1 - at / 10, Point(0.8 + at / 50, 0.75, 0.99, 700 - 70 * at)) for at in range(10))
    return report.render(
        report.Report(
            "r-1",
            "today",
            overall={f"hierarchical_{name}": point for name in ("precision", "recall", "f1")}
            | {"tree_distance": Point(3.25, 3.0, 3.5, 90), "recall_at_5": Point(0.99, None, None, 700)}
            | {f"macro_f1_{name}": point for name in ("head", "middle", "tail")},
            levels=[Level("1", point, point, 7), Level("leaf", Point(0.6, None, None, 700), point, None)],
            slices=[
                WHOLE,
                Slice("brand", EVIL, Point(0.7, 0.6, 0.78, 300)),
                Slice("brand_seen", "seen", point, point),
                Slice("brand_seen", "unseen", Point(0.6, 0.5, 0.7, 60), point),
                *(Slice("source", f"s{at}", Point(0.95, 0.94, 0.96, 500)) for at in range(40)),
            ],
            curves=[Curve("all", "*", curve, point, Point(0.01)), Curve("region", EVIL, curve)],
        )
    )


def test_every_section_is_on_the_page_and_offline(page):
    tree = html.fromstring(page)
    text = " ".join(tree.text_content().split())
    for expected in (
        "Where it is worst",
        "3 of 43 slices with 50 or more rows",
        "all 90.0 %",
        "By source (40)",
        "15 more in gold.slices.",
        "By depth of the taxonomy",
        "3.25",
        "3.00 to 3.50",
        "What training saw little of",
        "brand was not",
        "area 0.800 (0.010)",
        "confidence of 0.5 or more: 50.0% of the rows (350), 90.0% right",
    ):
        assert expected in text
    assert {e.get("aria-label") for e in tree.iter("svg")} >= {
        "Accuracy of the worst slices",
        "Macro-F1 by depth of the taxonomy",
        "Macro-F1 of head, middle and tail",
        "Accuracy by whether the brand was in training",
        "Accuracy against coverage, per region",
    }
    assert not list(tree.iter("script", "img", "link", "iframe"))
    assert "alert('x')" in text


def test_marks_lie_inside_the_picture(page):
    for picture in html.fromstring(page).iter("svg"):
        _, _, wide, high = map(float, picture.get("viewbox", picture.get("viewBox")).split())
        for mark in picture.iter("circle"):
            assert 0 <= float(mark.get("cx")) <= wide
            assert 0 <= float(mark.get("cy")) <= high


def test_nothing_worse_than_chance_says_so_and_nothing_measured_says_nothing():
    good = report.render(report.Report("r", "t", slices=[WHOLE, Slice("brand", "b", Point(0.9, 0.8, 0.95, 90))]))
    assert "None of the 1 slices with 50 or more rows is worse" in good
    few = report.render(report.Report("r", "t", slices=[Slice("all", "*", Point(support=3))], levels=[]))
    assert "Where it is worst" not in few
    assert "By depth" not in few


@pytest.mark.parametrize("values", [[0.5], [0.0, 1.0], [0.811, 0.812], [2.1, 7.9], [1.0, 1.0]])
def test_axes_hold_their_values_between_few_round_ticks(values):
    start, stop, tick = svg._axis(values)
    assert start <= min(values) + 1e-9
    assert stop >= max(values) - 1e-9
    assert 1 <= round((stop - start) / tick) <= 7
