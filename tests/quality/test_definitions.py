"""Suite files are read with care: what is wrong is said with file and expectation, before Spark starts."""

import json

import pytest

from shelfmark import config
from shelfmark.errors import UsageError
from shelfmark.quality import definitions
from shelfmark.tables import TABLES

SHIPPED = sorted(path.stem for path in config.resource("expectations").glob("*.json"))
ROW_RULES = {
    "key_missing", "region_missing", "region_format", "title_missing", "title_no_letters", "title_placeholder",
    "title_too_long", "price_negative", "price_absurd", "price_high_below_low", "currency_format", "gtin_format",
    "language_format",
}  # fmt: skip


def expectation(**changes):
    return {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "price", "min_value": 0},
        "meta": {"sentence": "The price must not be negative."},
        "severity": "critical",
        **changes,
    }


@pytest.fixture
def load(tmp_path):
    def load_it(*expectations, **changes):
        file = tmp_path / "silver.products.json"
        file.write_text(json.dumps({"name": "silver.products", "expectations": expectations, **changes}))
        return definitions.load("silver.products", file)

    return load_it


def test_a_suite_keeps_file_order_and_its_row_rules(load):
    rule = {"sentence": "Not negative.", "action": "reject", "rule": "price_negative"}
    suite = load(expectation(severity="info"), expectation(meta=rule))
    assert [e.severity for e in suite.expectations] == ["info", "critical"]
    assert [(e.rule, e.columns) for e in suite.row_rules] == [("price_negative", ("price",))]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"type": "expect_column_values_to_be_nice"}, "unknown type 'expect_column_values_to_be_nice'"),
        ({"severity": "fatal"}, "severity 'fatal'"),
        ({"severity": None}, "severity None"),
        ({"meta": {}}, "meta.sentence is missing"),
        ({"meta": {"sentence": "  "}}, "meta.sentence is missing"),
        ({"kwargs": {"column": "prise", "min_value": 0}}, "no column 'prise'"),
        ({"kwargs": {"column": "price"}}, "min_value or kwargs.max_value is needed"),
        ({"kwargs": {"column": "price", "min_value": 5, "max_value": 1}}, "not below"),
        ({"kwargs": {"column": "price", "min_value": 0, "mostly": 1.5}}, "mostly is 1.5"),
        ({"kwargs": {"column": "price", "min_value": "cheap"}}, "min_value is 'cheap'"),
        ({"kwargs": {"column": "price", "min_value": "2026-02-30"}}, "min_value is '2026-02-30'"),
        ({"kwargs": {"column": "price", "min_valu": 0}}, "unknown kwargs.min_valu"),
        ({"kwargs": {"min_value": 0}}, "kwargs.column is missing"),
        ({"kwargs": []}, "`kwargs` and `meta` are objects"),
        ({"extra": 1}, "unknown key 'extra'"),
        ({"meta": {"sentence": "s", "action": "drop", "rule": "r"}}, "meta.action 'drop'"),
        ({"meta": {"sentence": "s", "action": "reject"}}, "meta.rule None"),
        ({"meta": {"sentence": "s", "action": "reject", "rule": "No Spaces"}}, "meta.rule 'No Spaces'"),
        (
            {
                "type": "expect_column_values_to_be_unique",
                "kwargs": {"column": "product_id"},
                "meta": {"sentence": "s", "action": "reject", "rule": "twice"},
            },
            "cannot judge a single row",
        ),
        (
            {
                "kwargs": {"column": "price", "min_value": 0, "mostly": 0.9},
                "meta": {"sentence": "s", "action": "reject", "rule": "r"},
            },
            "`mostly` has no meaning in a row rule",
        ),
    ],
)
def test_a_wrong_expectation_is_refused_by_file_and_number(load, changes, said):
    with pytest.raises(UsageError, match=r"silver\.products\.json: expectation 2") as refused:
        load(expectation(), expectation(**changes))
    assert said in str(refused.value)


def test_a_wrong_file_is_refused(load, tmp_path):
    with pytest.raises(UsageError, match=r"`name` is 'silver\.labels'"):
        load(name="silver.labels")
    with pytest.raises(UsageError, match="unknown key 'expectatons'"):
        load(expectatons=[])
    with pytest.raises(UsageError, match="two expectations have the id a"):
        load(expectation(id="a"), expectation(id="a"))
    broken = tmp_path / "broken.json"
    broken.write_text('{"name": ')
    with pytest.raises(UsageError, match=r"broken\.json: not readable as JSON"):
        definitions.load("silver.products", broken)
    with pytest.raises(UsageError, match="no suite"):
        definitions.load("silver.products", tmp_path / "none.json")
    with pytest.raises(UsageError, match=r"no table 'silver\.nothing'"):
        definitions.load("silver.nothing")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_suite_is_readable_and_every_sentence_is_one(name):
    suite = definitions.load(name)
    assert suite.expectations
    assert all(e.sentence[0].isupper() and e.sentence.endswith(".") and e.id for e in suite.expectations)


def test_every_table_has_a_suite():
    assert set(SHIPPED) == set(TABLES)


def test_products_have_the_row_rules_that_sources_are_promised():
    assert {e.rule for e in definitions.load("silver.products").row_rules} == ROW_RULES
