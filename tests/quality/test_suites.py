"""Whole suites in two phases: verdicts, details of what failed, and errors that name the expectation."""

import json
import time

import pytest
from pyspark.sql import functions as F

from shelfmark import config, tables
from shelfmark.errors import UsageError
from shelfmark.quality import definitions, fused, suites

SPLITS = "product_id string, leak_group string, side string, moved_from string, bucket int, run_id string"


def split(product, group=None, side="train", bucket=0):
    return (product * 32, (group or product) * 32, side, None, bucket, "r")


def by_sentence(results):
    return {result.sentence: result for result in results}


def test_a_table_that_holds_gives_one_result_an_expectation_in_file_order(spark):
    sides = ("train", "tune", "calibrate", "test")
    frame = spark.createDataFrame([split(p, side=s) for p, s in zip("abcd", sides)], SPLITS)
    results = suites.validate(frame, "silver.splits")
    suite = definitions.load("silver.splits")
    assert [(r.expectation, r.sentence) for r in results] == [(e.type, e.sentence) for e in suite.expectations]
    assert all(r.success for r in results)
    assert suites.refused(results) == []
    assert all(json.loads(r.observed)["rows"] == 4 for r in results)
    columns = set(tables.table("silver.check_results").columns)
    assert set(vars(results[0])) == columns - {"run_id", "run_date"}


def test_what_fails_comes_with_counts_and_examples(spark):
    rows = [split("a"), split("a"), split("b", "c"), split("c", side="test"), split("d", side="nowhere", bucket=99)]
    results = by_sentence(suites.validate(spark.createDataFrame(rows, SPLITS), "silver.splits"))
    once = results["Every product is on one side."]
    assert (once.success, once.severity, once.column) == (False, "critical", "product_id")
    assert json.loads(once.observed) == {"rows": 5, "broken": 2, "examples": ["a" * 32], "share": 0.4}
    side = json.loads(results["A side is train, tune, calibrate or test."].observed)
    assert (side["broken"], side["examples"]) == (1, ["nowhere"])
    leak = json.loads(results["No leak group lies on two sides: what is tested was never trained on."].observed)
    assert leak["broken"] == 1
    assert "c" * 32 in leak["examples"][0]
    warned = results["All four sides have products."]
    assert (warned.success, warned.severity) == (False, "warning")
    assert {r.sentence for r in suites.refused(list(results.values()))} == {
        "Every product is on one side.",
        "A side is train, tune, calibrate or test.",
        "A bucket is 0 to 15.",
        "No leak group lies on two sides: what is tested was never trained on.",
    }
    assert not spark.catalog.tableExists("tmp_view")


def _suite(tmp_path, *expectations):
    filled = [{"severity": "critical", "meta": {"sentence": "It holds."}, **e} for e in expectations]
    file = tmp_path / "silver.splits.json"
    file.write_text(json.dumps({"name": "silver.splits", "expectations": filled}))
    return definitions.load("silver.splits", file)


def test_mostly_allows_a_share_and_the_share_is_told_while_it_holds(spark, tmp_path):
    frame = spark.createDataFrame(
        [split(p, side=s) for p, s in zip("abcd", ("train", "train", "train", "test"))], SPLITS
    )
    in_set = {"type": "expect_column_values_to_be_in_set"}
    suite = _suite(
        tmp_path,
        {**in_set, "kwargs": {"column": "side", "value_set": ["train"], "mostly": 0.75}},
        {**in_set, "kwargs": {"column": "side", "value_set": ["train"], "mostly": 0.76}},
    )
    held, failed = suites.validate(frame, "silver.splits", suite)
    assert (held.success, failed.success) == (True, False)
    assert json.loads(held.observed) == {"rows": 4, "broken": 1, "share": 0.25}
    assert json.loads(failed.observed) == {"rows": 4, "broken": 1, "examples": ["test"], "share": 0.25}


def _not_asked():
    raise AssertionError("Great Expectations was asked")


def test_great_expectations_is_asked_only_where_a_verdict_does_not_say_what_is_wrong(spark, monkeypatch):
    monkeypatch.setattr(suites, "_context", _not_asked)
    sides = ("train", "tune", "calibrate", "test")
    frame = spark.createDataFrame([split(p, side=s) for p, s in zip("abcd", sides)], SPLITS)
    assert all(r.success for r in suites.validate(frame, "silver.splits"))
    with pytest.raises(AssertionError, match="was asked"):
        suites.validate(frame.where("side = 'tune'"), "silver.splits")


def test_several_tables_give_their_results_in_the_order_asked(spark, tmp_path):
    low = {"type": "expect_column_max_to_be_between", "kwargs": {"column": "bucket", "max_value": 3}}
    none = {"type": "expect_column_values_to_be_null", "kwargs": {"column": "moved_from"}}
    asked = [
        (spark.createDataFrame([split("a", bucket=bucket)] * rows, SPLITS), _suite(tmp_path, *expectations))
        for bucket, rows, expectations in ((7, 1, [none, low]), (2, 2, []), (3, 3, [low, none]))
    ]
    results = suites.validate_all(asked)
    assert [(r.expectation.split("_")[2], r.success) for r in results] == [
        ("values", True), ("max", False), ("max", True), ("values", True),
    ]  # fmt: skip
    assert [json.loads(r.observed) for r in results] == [
        {"rows": 1, "broken": 0, "share": 0.0},
        {"rows": 1, "value": 7},
        {"rows": 3, "value": 3},
        {"rows": 3, "broken": 0, "share": 0.0},
    ]
    assert suites.validate_all([]) == []


def test_a_verdict_that_great_expectations_does_not_share_is_an_error(spark, tmp_path, monkeypatch):
    frame = spark.createDataFrame([split("a")], SPLITS)
    suite = _suite(tmp_path, {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "side"}})
    wrong = fused.Judged(1, {0: fused.Verdict(False)})
    monkeypatch.setattr(fused, "judge", lambda tables: [wrong])
    with pytest.raises(RuntimeError, match=r"expectation 1 .*Great Expectations says it holds, the fused check"):
        suites.validate(frame, "silver.splits", suite)


@pytest.mark.parametrize(
    ("type_", "kwargs"),
    [
        ("expect_column_values_to_match_regex", {"column": "side", "regex": "([a-z"}),
        ("unexpected_rows_expectation", {"unexpected_rows_query": "SELECT nonsense FROM {batch}"}),
        ("expect_column_values_to_not_be_null", {"column": "moved_from"}),
    ],
    ids=["regex", "sql", "column the frame lacks"],
)
def test_what_cannot_be_evaluated_is_an_error_and_not_a_verdict(spark, tmp_path, type_, kwargs):
    frame = spark.createDataFrame([split("a")], SPLITS).drop("moved_from")
    good = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "side"}}
    suite = _suite(tmp_path, good, {"type": type_, "kwargs": kwargs})
    with pytest.raises(
        UsageError, match=rf"silver\.splits\.json: expectation 2 \({type_}\): it could not be evaluated"
    ):
        suites.validate(frame, "silver.splits", suite)


def test_shipped_suites_are_as_great_expectations_writes_them_and_stay_so(spark):
    import great_expectations as gx

    files = sorted(config.resource("expectations").glob("*.json"))
    before = {file: file.read_bytes() for file in files}
    for file, text in before.items():
        content = json.loads(text)
        suite = gx.ExpectationSuite(name=content["name"], id=content["id"], expectations=content["expectations"])
        written = suite.to_json_dict()
        assert written["expectations"] == content["expectations"], file
    empty = spark.createDataFrame([], tables.table("silver.category_map").ddl)
    assert all(r.success for r in suites.validate(empty, "silver.category_map"))
    assert {file: file.read_bytes() for file in files} == before


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in sorted(tables.TABLES) if suites.exists(n)])
def test_every_shipped_suite_can_be_evaluated_on_its_contract(spark, name):
    one = spark.range(1).select(
        *(F.lit(None).cast(f.type).alias(f.name) for f in tables.table(name).fields),
    )
    results = suites.validate(one, name)
    assert len(results) == len(definitions.load(name).expectations)


def test_nothing_is_sent_and_nothing_is_printed(spark, capfd):
    frame = spark.createDataFrame([split("a")], SPLITS)
    suites.validate(frame, "silver.splits")
    capfd.readouterr()
    began = time.process_time()
    suites.validate(frame, "silver.splits")
    assert time.process_time() - began < 1.5  # the context is made once; the rest is Spark's
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert suites._context().variables.analytics_enabled is False
