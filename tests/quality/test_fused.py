"""Verdicts of the fused pass: the same as Great Expectations' for every type it takes over, on awkward tables."""

import json
import math
import os
import time
from datetime import date, datetime
from decimal import Decimal
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from shelfmark.quality import definitions, fused, suites
from shelfmark.quality.definitions import Expectation, Suite
from shelfmark.quality.fused import Verdict

BIG = 2**53  # beyond it doubles miss whole numbers
TEXTS = [None, "", "a", "b", "EUR", "eur", "EUR\n", "É", "e\u0301", "日本", "😀", "a😀b", "0", " ", "a.b", "\x00"]
CELLS = {
    "s": ("string", st.one_of(st.sampled_from(TEXTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=4))),
    "t": ("string", st.sampled_from([None, "a", "b", "EUR", "日本"])),
    "i": ("int", st.one_of(st.none(), st.integers(-3, 3))),
    "j": ("int", st.one_of(st.none(), st.integers(-3, 3))),
    "l": ("bigint", st.sampled_from([None, 0, 1, BIG, BIG + 1, -BIG - 1, 2**63 - 1])),
    "y": ("tinyint", st.one_of(st.none(), st.integers(-128, 127))),
    "x": ("double", st.sampled_from([None, -1.5, 0.0, -0.0, 0.1, 0.2, 1.0, 2.5, math.inf, -math.inf, math.nan])),
    "w": ("double", st.one_of(st.none(), st.floats(-1e6, 1e6))),
    "f": ("float", st.sampled_from([None, 0.0, 0.5, 1.0, 3.0])),
    "p": ("decimal(18,2)", st.sampled_from([None, *map(Decimal, ("-0.01", "0.00", "0.10", "9.99", "9999999999999999.99"))])),
    "q": ("decimal(18,2)", st.sampled_from([None, *map(Decimal, ("0.00", "0.10", "9.99"))])),
    "d": ("date", st.sampled_from([None, *(date(2026, 1, day) for day in (1, 2, 3))])),
    "e": ("date", st.sampled_from([None, *(date(2026, 1, day) for day in (1, 2, 3))])),
    "m": ("timestamp", st.sampled_from([None, datetime(2026, 1, 1), datetime(2026, 1, 2), datetime(2026, 1, 2, 10, 0, 0, 5)])),
    "b": ("boolean", st.sampled_from([None, True, False])),
    "a": ("array<string>", st.sampled_from([None, [], ["a"], ["a", None]])),
}  # fmt: skip
COLUMNS = [*CELLS, "k"]
DDL = ", ".join(f"{name} {kind}" for name, (kind, _) in CELLS.items()) + ", k string"
ROW = st.tuples(*(cell for _, cell in CELLS.values()))
PRICED = ("min", "max", "mean", "sum")


def c(name, severity="critical", **kwargs):
    return Expectation(
        name if name.startswith(("expect", "unexp")) else f"expect_column_{name}", kwargs, severity, "It holds."
    )


ROW_FORMS = [
    *(c(f"values_to_{n}be_null", column=name) for n in ("", "not_") for name in COLUMNS),
    c("values_to_be_between", column="i", min_value=-1, max_value=2),
    c("values_to_be_between", column="i", min_value=-3.5, strict_min=True),
    c("values_to_be_between", column="y", max_value=100, strict_max=True),
    c("values_to_be_between", column="l", max_value=BIG),
    c("values_to_be_between", column="l", min_value=-BIG, max_value=BIG + 1),
    c("values_to_be_between", column="x", min_value=-1.5, max_value=1, strict_min=True, strict_max=True),
    c("values_to_be_between", column="x", min_value=0),
    c("values_to_be_between", column="x", max_value=2.5),
    c("values_to_be_between", column="f", min_value=0.5, max_value=1),
    c("values_to_be_between", column="p", min_value=0),
    c("values_to_be_between", column="p", min_value=0.1, max_value=9.99),
    c("values_to_be_between", column="p", max_value=10**16),
    c("values_to_be_between", column="p", max_value=9.99, strict_max=True),
    c("values_to_be_between", column="d", min_value="2026-01-02"),
    c("values_to_be_between", column="d", min_value="2026-01-01", max_value="2026-01-02", strict_max=True),
    c("values_to_be_between", column="m", max_value="2026-01-02"),
    c("values_to_be_between", column="m", min_value="2026-01-01", strict_min=True),
    c("values_to_be_in_set", column="s", value_set=["a", "EUR", "日本", "😀"]),
    c("values_to_be_in_set", column="i", value_set=[0, 1, 1]),
    c("values_to_be_in_set", column="l", value_set=[0, BIG]),
    c("values_to_be_in_set", column="y", value_set=[1, 1000]),
    c("values_to_be_in_set", column="x", value_set=[0, 0.1, 2.5]),
    c("values_to_be_in_set", column="x", value_set=[0, math.inf]),
    c("values_to_be_in_set", column="f", value_set=[0, 0.5]),
    c("values_to_be_in_set", column="p", value_set=[0, 1]),
    c("values_to_be_in_set", column="b", value_set=[True]),
    c("values_to_not_be_in_set", column="s", value_set=["a", ""]),
    c("values_to_not_be_in_set", column="i", value_set=[3]),
    c("values_to_not_be_in_set", column="x", value_set=[-0.0]),
    c("values_to_not_be_in_set", column="b", value_set=[False]),
    c("values_to_match_regex", column="s", regex=r"\A[A-Z]{3}\z"),
    c("values_to_match_regex", column="s", regex=r"^[A-Z]{3}$"),
    c("values_to_match_regex", column="s", regex=r"\p{L}"),
    c("values_to_match_regex", column="s", regex=r"\A.\z"),
    c("values_to_not_match_regex", column="s", regex=r"(?iu)é|EUR"),
    c("values_to_match_regex_list", column="s", regex_list=["(?i)eur", "A", r"\d"]),
    c("values_to_match_regex_list", column="s", regex_list=["a", r"\."], match_on="all"),
    c("values_to_not_match_regex_list", column="s", regex_list=["^E", r"\s", "😀"]),
    c("value_lengths_to_be_between", column="s", min_value=1, max_value=2),
    c("value_lengths_to_be_between", column="s", max_value=2.0, strict_max=True),
    c("value_lengths_to_equal", column="s", value=1),
    *(
        c("pair_values_a_to_be_greater_than_b", column_A=a, column_B=b, **options)
        for a, b in (("i", "j"), ("s", "t"), ("p", "q"), ("p", "i"), ("d", "e"), ("x", "w"))
        for options in ({}, {"or_equal": True, "ignore_row_if": "either_value_is_missing"})
    ),
    *(c("pair_values_to_be_equal", column_A="i", column_B="j", ignore_row_if=r) for r in ("neither", "either_value_is_missing")),
    c("pair_values_to_be_equal", column_A="x", column_B="x"),
    c("pair_values_to_be_equal", column_A="b", column_B="b"),
]  # fmt: skip
TABLE_FORMS = [
    *(c("values_to_be_unique", column=name) for name in "sxpdmbk"),
    c("expect_compound_columns_to_be_unique", column_list=["k", "s"]),
    c("expect_compound_columns_to_be_unique", column_list=["s", "t"]),
    c("expect_compound_columns_to_be_unique", column_list=["s", "t"], ignore_row_if="never"),
    c("expect_compound_columns_to_be_unique", column_list=["i", "d", "x"], ignore_row_if="any_value_is_missing"),
    c("expect_compound_columns_to_be_unique", column_list=["x", "k"], ignore_row_if="any_value_is_missing"),
    c("values_to_be_unique", column="i", mostly=0.1),
    c("distinct_values_to_be_in_set", column="t", value_set=["a", "b", "EUR", "日本"]),
    c("distinct_values_to_be_in_set", column="t", value_set=["a", "b"]),
    c("distinct_values_to_be_in_set", column="i", value_set=list(range(-3, 4))),
    c("distinct_values_to_contain_set", column="t", value_set=["a", "EUR"]),
    c("distinct_values_to_contain_set", column="t", value_set=["a", "a"]),
    c("distinct_values_to_contain_set", column="i", value_set=[-3, 3, 9]),
    c("distinct_values_to_contain_set", column="x", value_set=[0, 2.5]),
    c("distinct_values_to_contain_set", column="b", value_set=[True, False]),
    *(c("unique_value_count_to_be_between", column=name, min_value=1, max_value=7) for name in "silxpmb"),
    *(c("proportion_of_unique_values_to_be_between", column=n, min_value=0.5) for n in ("s", "i", "x", "k")),
    *(c("proportion_of_non_null_values_to_be_between", column=name, min_value=0.5, max_value=1) for name in COLUMNS),
    *(c(f"{n}_to_be_between", column=name, min_value=0) for n in PRICED for name in "ilxwfpq"),
    *(c(f"{n}_to_be_between", column="y", max_value=100) for n in PRICED if n != "mean"),
    *(c(f"{n}_to_be_between", column="d", min_value="2026-01-02", max_value="2026-01-03") for n in ("min", "max")),
    *(c(f"{n}_to_be_between", column="m", min_value="2026-01-01", max_value="2026-01-02") for n in ("min", "max")),
    c("max_to_be_between", column="m", max_value="2026-01-02", strict_max=True),
    c("min_to_be_between", column="m", min_value="2026-01-01", strict_min=True),
    c("expect_table_row_count_to_be_between", min_value=1),
    c("expect_table_row_count_to_be_between", max_value=3.0),
    c("unexpected_rows_expectation", unexpected_rows_query="SELECT * FROM {batch} WHERE i > 2"),
    c("unexpected_rows_expectation", unexpected_rows_query="SELECT s, count(*) AS n FROM {batch} GROUP BY s HAVING n > 1;\n"),
    c("unexpected_rows_expectation", unexpected_rows_query="SELECT x.k FROM {batch} x JOIN {batch} y ON x.k = y.t"),
    c("unexpected_rows_expectation", unexpected_rows_query="select s, i from {batch} where (i IS NULL) <> (s IS NULL) OR x > 1 ;"),
    c("unexpected_rows_expectation", unexpected_rows_query="SELECT * FROM {batch} WHERE s LIKE 'E%' LIMIT 0"),
    c("unexpected_rows_expectation", unexpected_rows_query="SELECT DISTINCT b FROM {batch} WHERE b"),
    c("unexpected_rows_expectation", unexpected_rows_query="SELECT count(*) AS n FROM {batch}"),
    c("unexpected_rows_expectation", unexpected_rows_query="SELECT i, i FROM {batch} WHERE s RLIKE '^a{{1}}$' ORDER BY d LIMIT 5"),
]  # fmt: skip


def frame_of(spark, rows):
    return spark.createDataFrame([(*row, f"k{n}") for n, row in enumerate(rows)], DDL).coalesce(1).cache()


def at_the_edge(e, verdict, looked_at):
    """The same expectation with its threshold where the table is: just met, and just missed."""
    if "column_A" in e.kwargs and e.kwargs["column_A"] != "i":
        return []  # jobs of their own there; one pair of columns is enough
    if (e.row_form or "unique" in e.type) and verdict.broken is not None and looked_at:
        share = (looked_at - verdict.broken) / looked_at
        tops = [share, *([math.nextafter(share, 2)] if share < 1 else [])]
        return [Expectation(e.type, {**e.kwargs, "mostly": m}, e.severity, e.sentence) for m in tops]
    if isinstance(verdict.value, int | float) and math.isfinite(verdict.value):
        bounds = [{"min_value": verdict.value}, {"max_value": verdict.value}]
        bounds += [{"min_value": verdict.value, "strict_min": True}, {"max_value": verdict.value, "strict_max": True}]
        about = {k: v for k, v in e.kwargs.items() if k == "column"}
        return [Expectation(e.type, about | b, e.severity, e.sentence) for b in bounds]
    return []


ALL = (*ROW_FORMS, *TABLE_FORMS)


def compare(frame, expectations=ALL):
    """Judge all forms and their edges both ways; returns the types compared, positions left alone, and the suite."""
    rows = frame.collect()
    suite = Suite("any", "any", "any.json", tuple(expectations))
    (first,) = fused.judge([(frame, suite)])
    assert first.rows == len(rows)
    edges = []
    for position, verdict in first.verdicts.items():
        e = suite.expectations[position]
        skip = all if e.kwargs.get("ignore_row_if", "all").startswith(("both", "all")) else any
        looked_at = sum(not skip(row[n] is None for n in e.columns) for row in rows) if e.columns else 0
        if e.type.endswith("_be_null") or e.kwargs.get("ignore_row_if") in ("neither", "never"):
            looked_at = len(rows)
        edges += at_the_edge(e, verdict, looked_at)
    suite = Suite("any", "any", "any.json", (*suite.expectations, *edges))
    (ours,) = fused.judge([(frame, suite)])
    positions = sorted(ours.verdicts)
    with suites._batch(frame) as batch:
        valued = [p for p in positions if ours.verdicts[p].value is not None]
        basic = suites._evaluate(batch, suite, valued, "BASIC")
        theirs = basic | suites._evaluate(batch, suite, [p for p in positions if p not in basic], "BOOLEAN_ONLY")
    wrong = [
        (suite.expectations[p].type, suite.expectations[p].kwargs, ours.verdicts[p], theirs[p]["success"])
        for p in positions
        if ours.verdicts[p].success != theirs[p]["success"]
    ]
    assert not wrong
    different = [
        (suite.expectations[p].type, suite.expectations[p].kwargs, ours.verdicts[p].value, said)
        for p in valued
        if not same(ours.verdicts[p].value, said := theirs[p]["result"]["observed_value"])
    ]
    assert not different
    unlike = [
        (suite.expectations[p].type, suite.expectations[p].kwargs, ours.verdicts[p], said)
        for p, said in told(frame, suite, [p for p in positions if ours.verdicts[p].broken and p < len(expectations)])
        if not alike(ours.verdicts[p], *said)
    ]
    assert not unlike
    keys = [e for e in suite.expectations if "unique" in e.type and "be_unique" in e.type]
    with mock.patch.object(fused, "FEW_KEYS", 1):
        (many,) = fused.judge([(frame, Suite("any", "any", "any.json", tuple(keys)))])
    told_before = [ours.verdicts[p] for p in positions if suite.expectations[p] in keys]
    assert [(v.success, v.broken) for _, v in sorted(many.verdicts.items())] == [
        (v.success, v.broken) for v in told_before
    ]
    return (
        {suite.expectations[p].type for p in positions},
        [p for p in range(len(suite.expectations)) if p not in positions],
        suite,
    )


def told(frame, suite, positions):
    """(position, (success, broken rows, all their values)) as Great Expectations tells them."""
    with suites._batch(frame) as batch:
        for p, found in suites._evaluate(batch, suite, positions, "COMPLETE").items():
            if suite.expectations[p].type == fused.SQL:
                values = found["result"]["details"]["unexpected_rows"]
                yield p, (found["success"], found["result"]["observed_value"], values)
            else:
                yield p, (found["success"], found["result"]["unexpected_count"], found["result"]["unexpected_list"])


def alike(ours, success, broken, values):
    """Whether a count is theirs, and the examples of what failed are of their values, as many as are kept."""
    shown, known = (
        [str(suites._short(value)).replace("-0.0", "0.0") for value in side] for side in (ours.examples, values)
    )
    if success or set(known) == {"None"}:
        return ours.broken == broken and set(shown) <= {"None"}
    # Of keys that repeat each is shown once, of rows each that there is room for.
    many = min(fused.EXAMPLES, len(set(known)) if len(set(shown)) == len(shown) else broken)
    return ours.broken == broken and set(shown) <= set(known) and len(shown) >= many


def same(ours, theirs):
    """Whether two values of an aggregate are one: Great Expectations adds in another order, and has of a moment its day."""
    if isinstance(ours, float):
        return math.isclose(ours, theirs, rel_tol=1e-9)
    return str(ours) == str(theirs) or (hasattr(theirs, "isoformat") and ours.startswith(theirs.isoformat()))


def test_every_type_a_suite_may_use_is_compared():
    assert {e.type for e in ALL} == set(definitions.KINDS)


@pytest.mark.parametrize(
    "left",
    [
        c("values_to_be_in_set", column="x", value_set=[math.nan]),
        c("values_to_be_in_set", column="s", value_set=["a", None]),
        c("values_to_be_in_set", column="s", value_set=["a", 1]),
        c("values_to_be_in_set", column="d", value_set=["2026-01-01"]),
        c("values_to_be_in_set", column="i", value_set=[True]),
        c("values_to_be_between", column="s", min_value=1),
        c("values_to_be_between", column="b", min_value=0),
        c("values_to_be_between", column="i", min_value="2026-01-01"),
        c("value_lengths_to_be_between", column="s", min_value=1.5),
        c("value_lengths_to_be_between", column="a", min_value=1),
        c("values_to_match_regex", column="i", regex="1"),
        c("pair_values_a_to_be_greater_than_b", column_A="s", column_B="i"),
        c("mean_to_be_between", column="y", min_value=1),
        c("sum_to_be_between", column="s", min_value=1),
        c("min_to_be_between", column="s", min_value=1),
        c("values_to_be_unique", column="a"),
        c("unique_value_count_to_be_between", column="i", min_value=1.5),
        c("values_to_not_be_null", column="S"),
        c("values_to_not_be_null", column="nowhere"),
        c("expect_table_row_count_to_be_between", min_value=0.5),
    ],
    ids=lambda e: f"{e.type.removeprefix('expect_column_')} {e.kwargs}",
)
def test_what_great_expectations_converts_in_ways_of_its_own_is_left_to_it(spark, left):
    assert not fused.takes(left, spark.createDataFrame([], DDL))


def test_a_floating_sum_on_its_bound_is_left_to_great_expectations_and_a_whole_one_is_not(spark):
    frame = spark.createDataFrame([(0.1, 1), (0.2, 2), (None, None)], "x double, i int").coalesce(1)
    sums = [c(f"{n}_to_be_between", column=name, min_value=v) for n, name, v in [
        ("sum", "x", 0.3), ("sum", "x", 0.2999), ("mean", "x", 0.15), ("mean", "x", 0.16), ("sum", "i", 3), ("mean", "i", 1.5),
    ]]  # fmt: skip
    (judged,) = fused.judge([(frame, Suite("any", "any", "any.json", tuple(sums)))])
    assert {p: v.success for p, v in judged.verdicts.items()} == {1: True, 3: False, 4: True, 5: True}


def test_one_expectation_that_spark_refuses_leaves_the_pass_to_great_expectations_but_not_the_other_jobs(spark):
    frame = spark.createDataFrame([("a",), ("b",)], "s string")
    suite = Suite("any", "any", "any.json", (
        c("values_to_match_regex", column="s", regex="([a"),
        c("values_to_not_be_null", column="s"),
        c("values_to_be_unique", column="s"),
        c("unexpected_rows_expectation", unexpected_rows_query="SELECT nothing FROM {batch}"),
        c("unexpected_rows_expectation", unexpected_rows_query="SELECT s FROM {batch} WHERE s = 'c' GROUP BY s"),
    ))  # fmt: skip
    (judged,) = fused.judge([(frame, suite)])
    assert judged.rows is None
    assert judged.verdicts == {2: Verdict(True, 0), 4: Verdict(True, 0)}
    assert not [row for row in spark.sql("SHOW VIEWS").collect() if row.viewName.startswith("checked_")]


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ("SELECT i, s FROM {batch} WHERE i > 1 AND s IS NULL;\n", (["i", "s"], "i > 1 AND s IS NULL")),
        ("select * from {batch} where new_s <> s", (["*"], "new_s <> s")),
        ("SELECT i FROM {batch} WHERE i IN (SELECT j FROM {batch})", None),
        ("SELECT i FROM {batch} WHERE i > 1 LIMIT 0", None),
        ("SELECT DISTINCT i FROM {batch} WHERE i > 1", None),
        ("SELECT nothing FROM {batch} WHERE i > 1", None),
        ("SELECT i FROM {batch} WHERE i > 1) OR (s IS NULL", None),
        ("SELECT i FROM {batch} x WHERE i > 1", None),
        ("SELECT i FROM {batch} WHERE s RLIKE '^a{{2}}$'", None),
        ("SELECT count(*) FROM {batch} WHERE i > 1", None),
    ],
)
def test_only_sql_that_filters_is_counted_in_the_pass(spark, query, parts):
    assert fused._filter(c(fused.SQL, unexpected_rows_query=query), spark.createDataFrame([], DDL)) == parts


@pytest.mark.parametrize("few", [1000, 1], ids=["few keys repeat", "many keys repeat"])
def test_what_failed_is_told_without_great_expectations(spark, monkeypatch, few):
    monkeypatch.setattr(fused, "FEW_KEYS", few)
    monkeypatch.setattr(suites, "_context", None)
    rows = [("a", 1), ("a", 2), ("b", 3), ("b", 4), ("c", None), (None, 5)]
    frame = spark.createDataFrame(rows, "s string, i int")
    suite = Suite("any", "any", "any.json", (
        c("values_to_be_unique", column="s"),
        c("values_to_be_unique", column="s", mostly=0.2),
        c("values_to_be_unique", column="s", mostly=0.21),
        c("expect_compound_columns_to_be_unique", column_list=["s", "i"]),
        c("values_to_be_between", column="i", max_value=4),
        c("values_to_not_be_null", column="i", mostly=0.9),
        c("values_to_be_null", column="s", mostly=0.5),
        c("unexpected_rows_expectation", unexpected_rows_query="SELECT i, s FROM {batch} WHERE s IS NULL AND i > 4"),
    ))  # fmt: skip
    (judged,) = fused.judge([(frame, suite)])
    found = [(v.success, v.broken, sorted(map(str, v.examples))) for _, v in sorted(judged.verdicts.items())]
    assert found == [
        (False, 4, ["a", "b"]), (True, 4, []), (False, 4, ["a", "b"]), (True, 0, []), (False, 1, ["5"]),
        (False, 1, []), (False, 5, ["a", "a", "b", "b", "c"]), (False, 1, ["{'i': 5, 's': None}"]),
    ]  # fmt: skip
    results = suites.validate_all([(frame, suite)])
    said = [(r.success, json.loads(r.observed)) for r in results]
    assert [(ok, o["broken"], sorted(o["examples"]) if "examples" in o else None) for ok, o in said] == [
        (False, 4, ["a", "b"]), (True, 4, None), (False, 4, ["a", "b"]), (True, 0, None), (False, 1, [5]), (False, 1, None),
        (False, 5, ["a", "b", "c"]), (False, 1, ['{"i": 5, "s": null}']),
    ]  # fmt: skip


def test_moments_that_python_cannot_show_are_shown(spark):
    late, early = "9999-12-31 23:59:59", "0001-01-01 00:00:00"
    frame = spark.createDataFrame([(late, 1), (early, 1)], "s string, i int").selectExpr(
        "timestamp(s) m", "date(s) d", "i"
    )
    suite = Suite("any", "any", "any.json", (
        c("values_to_be_between", column="m", min_value="1990-01-01", max_value="2030-01-01"),
        c("values_to_be_between", column="d", min_value="1990-01-01"),
        c("unexpected_rows_expectation", unexpected_rows_query="SELECT * FROM {batch} WHERE m > TIMESTAMP'2030-01-01'"),
    ))  # fmt: skip
    before = os.environ.get("TZ")
    try:
        for zone in ("Asia/Singapore", "America/New_York"):
            os.environ["TZ"] = zone
            time.tzset()
            (judged,) = fused.judge([(frame, suite)])
            assert [v.examples for _, v in sorted(judged.verdicts.items())] == [
                (late, early), (early[:10],), ({"m": late, "d": late[:10], "i": 1},),
            ]  # fmt: skip
    finally:
        os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
        time.tzset()


def test_where_examples_cannot_be_had_great_expectations_is_asked(spark, monkeypatch):
    def fails(*_):
        raise ValueError("no")

    monkeypatch.setattr(fused, "_examples", fails)
    frame = spark.createDataFrame([("a",), ("b",)], "s string")
    suite = Suite("any", "any", "any.json", (c("values_to_be_in_set", column="s", value_set=["a"]),))
    assert fused.judge([(frame, suite)])[0].verdicts == {}
    (result,) = suites.validate_all([(frame, suite)])
    assert (result.success, json.loads(result.observed)["examples"]) == (False, ["b"])


def test_columns_that_only_must_be_filled_are_counted_apart_where_delta_counts_their_nulls(spark):
    frame = spark.createDataFrame([("a", 1, None, None, None), (None, None, None, ["a"], "x")],
                                  "first_run string, n int, region string, list array<string>, s string")  # fmt: skip
    names = [*(c("values_to_not_be_null", column=n) for n in frame.columns), c("values_to_be_null", column="n")]
    suite = Suite("silver.presence", "silver.presence", "any.json", tuple(names))
    plan = dict(enumerate(names))
    assert {e.kwargs["column"] for e in fused._only_filled(frame, suite, plan).values()} == {"first_run", "s"}
    (judged,) = fused.judge([(frame, suite)])
    assert [v.broken for _, v in sorted(judged.verdicts.items())] == [1, 1, 2, 1, 1, 1]


def test_no_more_examples_are_read_than_are_kept(spark):
    frame = spark.range(1000)
    suite = Suite("any", "any", "any.json", (c("values_to_be_between", column="id", max_value=-1),))
    (judged,) = fused.judge([(frame, suite)])
    assert (judged.verdicts[0].broken, len(judged.verdicts[0].examples)) == (1000, fused.EXAMPLES)


# One table an example, all expectations in one validation: each costs Great Expectations a Spark job or three. No
# shrinking, for the same reason: the message names expectation and verdicts.
@pytest.mark.slow
@settings(
    max_examples=1, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], derandomize=True
)
@given(rows=st.lists(ROW, min_size=40, max_size=60))
def test_a_table_is_judged_as_great_expectations_judges_it(spark, rows):
    assume(len(set(map(str, rows))) > 30)  # hypothesis begins with the plainest rows, all null
    frame = frame_of(spark, rows)
    types, left, suite = compare(frame)
    frame.unpersist()
    # Nothing is left to Great Expectations without a reason: a floating sum on its bound.
    assert types == set(definitions.KINDS)
    assert {suite.expectations[p].type.removeprefix("expect_column_") for p in left} <= {
        "mean_to_be_between", "sum_to_be_between",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("rows", [[], [(None,) * len(CELLS)] * 3], ids=["empty", "all null"])
def test_an_empty_table_and_one_of_nulls_are_judged_as_great_expectations_judges_them(spark, rows):
    frame = frame_of(spark, rows)
    # One of each type, and all that Great Expectations counts together.
    compare(frame, [*{e.type: e for e in ALL}.values(), *(e for e in ROW_FORMS if "column" in e.kwargs)])
    frame.unpersist()
