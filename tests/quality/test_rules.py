"""Row rules: the right rule under its name, real titles left alone, and the same verdict as Great Expectations."""

import itertools
import json
import math
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from shelfmark.errors import UsageError
from shelfmark.quality import definitions, rules, suites
from shelfmark.quality.definitions import Expectation, Suite

COLUMNS = (
    "n int, source_key string, region string, title string, price decimal(18,2), price_high decimal(18,2), "
    "currency string, gtin string, language string"
)
GOOD = ("k1", "IN", "Kettle 1.7 l", Decimal("9.99"), None, "EUR", "04006381333931", "en")
FIELDS = ("source_key", "region", "title", "price", "price_high", "currency", "gtin", "language")


def product(**changes):
    return tuple(changes.get(name, value) for name, value in zip(FIELDS, GOOD))


CASES = [
    (product(), None),
    (product(price=None, currency=None, gtin=None, language=None), None),
    (product(price=Decimal(0)), None),
    (product(price=Decimal(10**9)), None),
    (product(price_high=Decimal("9.99")), None),
    (product(price=None, price_high=Decimal(5)), None),
    (product(title="Kettles " * 125), None),
    (product(title="電気ケトル"), None),
    (product(title="чайник"), None),
    (product(source_key=None), "key_missing"),
    (product(source_key=" \t\u00a0\u200b"), "key_missing"),
    (product(region=None), "region_missing"),
    (product(region=""), "region_missing"),
    (product(region="in"), "region_format"),
    (product(region="IN\n"), "region_format"),
    (product(title=None), "title_missing"),
    (product(title=""), "title_missing"),
    (product(title=" \u3000 "), "title_missing"),
    (product(title="12345 - 678 !!"), "title_no_letters"),
    (product(title="N/A"), "title_placeholder"),
    (product(title="x" * 1001), "title_too_long"),
    (product(price=Decimal("-0.01")), "price_negative"),
    (product(price=Decimal("1000000000.01")), "price_absurd"),
    (product(price_high=Decimal("1000000000.01")), "price_absurd"),
    (product(price_high=Decimal("9.98")), "price_high_below_low"),
    (product(currency="eur"), "currency_format"),
    (product(currency="EUR\n"), "currency_format"),
    (product(gtin="4006381333931"), "gtin_format"),
    (product(gtin="٠٤٠٠٦٣٨١٣٣٣٩٣١"), "gtin_format"),
    (product(language="eng"), "language_format"),
    # The first in file order names a row that breaks several.
    (product(source_key=None, title=None, price=Decimal(-1)), "key_missing"),
]
PLACEHOLDERS = [
    "N/A", "n/a", " na ", "[N/A]", "null", "NULL", "(null)", "None", "TBD", "tba", "to be announced", "test", "Test 1",
    "TEST123", "test product", "Test Product 42", "test product - do not buy", "Test item #7", "Product test", "dummy product",
    "Sample Product", "lorem ipsum dolor sit amet", "Lorem Ipsum", "placeholder", "Untitled", "untitled product 3",
    "unknown", "no title", "No name", "product name", "Product Title", "title", "xxx", "asdf", "undefined", "NaN", "nan",
    "#NAME?", "Testprodukt", "produit test", "producto de prueba", "SIN TÍTULO", "sin título", "テスト商品", "-- test --",
    "item", "Not available", "coming soon", "do not use", "delete me", "This is a test product", "k. A.",
]  # fmt: skip
# Titles a careless rule takes for placeholders; most are real ones from the feeds' kinds of goods.
NAMES = [
    "Test Drive Unlimited 2", "Pregnancy test", "Test tube rack", "Nan", "Naan", "NAN Optipro 1", "Null Bock Nutri T-Shirt",
    "None the Wiser CD", "Sample Size Perfume Set", "Untitled Unmastered LP", "Unknown Pleasures T-shirt", "Title Boxing Gloves",
    "Dummy", "Product 19 Cereal", "Placeholder cards for weddings", "Do Not Disturb door sign", "Name tag", "N.A. Beer", "XXL",
    "XXXL Hoodie", "A", "7up", "Item Pictures Frame", "TBC Pro Board", "Lorem", "Tester perfume", "Testo Spezial", "Contest",
    "The Unknown", "Demo Skateboard", "Articles of Faith", "Delete Key Mug", "Default Font Poster", "Nil Desperandum", "Nullo",
]  # fmt: skip


def flagged(spark, rows):
    frame = spark.createDataFrame([(i, *row) for i, row in enumerate(rows)], COLUMNS)
    found = rules.flag(frame, "silver.products").select("n", "broken").collect()
    return {row["n"]: row["broken"] for row in found}


def test_every_broken_row_is_named_by_its_rule_and_no_good_one_is(spark):
    rows = [row for row, _ in CASES] + [product(title=t) for t in (*PLACEHOLDERS, *NAMES)]
    wanted = [rule for _, rule in CASES] + ["title_placeholder"] * len(PLACEHOLDERS) + [None] * len(NAMES)
    found = flagged(spark, rows)
    wrong = {
        rows[n]: (found[n] and found[n]["rule"], rule)
        for n, rule in enumerate(wanted)
        if (found[n] and found[n]["rule"]) != rule
    }
    assert not wrong


def test_a_broken_row_carries_sentence_and_value(spark):
    rows = [product(price=Decimal(-5)), product(price_high=Decimal(1)), product(title="1" * 500), product(title=None)]
    found = flagged(spark, rows)
    assert found[0].asDict() == {
        "rule": "price_negative",
        "sentence": "The price must not be negative.",
        "value": "-5.00",
    }
    assert found[1]["value"] == "price_high 1.00, price 9.99"
    assert found[2]["value"] == "1" * 200
    assert found[3]["value"] is None


def test_a_table_without_row_rules_flags_nothing_and_a_missing_column_is_named(spark):
    frame = spark.createDataFrame([("a",)], "product_id string")
    assert rules.flag(frame, "silver.presence").where("broken IS NOT NULL").count() == 0
    with pytest.raises(UsageError, match="rule key_missing needs column 'source_key'"):
        rules.flag(frame, "silver.products")


@pytest.mark.parametrize("regex", [rules.LETTER, rules.BLANK])
def test_a_match_decided_by_the_first_byte_is_the_match_of_the_whole_expression(spark, regex):
    from pyspark.sql import functions as F

    points = [
        p for p in (*range(0x3000), *range(0xFE00, 0x10000), 0x1F600, 0x20000, 0xE0020) if not 0xD800 <= p < 0xE000
    ]
    texts = [(None,), ("",), *((chr(p) + rest,) for p in points for rest in ("", " ", "a", "\u00a0", "é"))]
    frame = spark.createDataFrame(texts, "s string")
    differ = frame.where(~rules._matches(F.col("s"), regex).eqNullSafe(F.col("s").rlike(regex)))
    assert differ.limit(5).collect() == []
    assert regex in {e.kwargs.get("regex") for e in definitions.load("silver.products").expectations}


# -- the same verdict as Great Expectations, row by row -------------------------------------------------------------

POOL = [None, "", "a", "EUR", "eur", "EUR\n", "É", "é", "ß", "日本", "0", "12", " ", "a.b", "\u0130"]
# Spark keeps no lone surrogates.
WORDS = st.one_of(st.sampled_from(POOL), st.text(st.characters(exclude_categories=["Cs"]), max_size=5))
WHOLE = st.one_of(st.none(), st.integers(-3, 3))
REAL = st.one_of(st.none(), st.sampled_from([-1.5, 0.0, -0.0, 1.0, 2.5, math.inf, -math.inf, math.nan]))
DAYS = st.one_of(st.none(), st.sampled_from([date(2026, 1, day) for day in (1, 2, 3)]))
TABLE = {"s": WORDS, "t": WORDS, "i": WHOLE, "j": WHOLE, "x": REAL, "d": DAYS, "e": DAYS}
DDL = "case int, s string, t string, i int, j int, x double, d date, e date"


def _c(name, **kwargs):
    return Expectation(f"expect_column_{name}", kwargs, "critical", "It holds.")


EVERY_FORM = [
    *(_c("values_to_not_be_null", column=c) for c in ("s", "i", "x", "d")),
    *(_c("values_to_be_null", column=c) for c in ("s", "i")),
    _c("values_to_be_between", column="i", min_value=-1, max_value=2),
    _c("values_to_be_between", column="i", min_value=0, strict_min=True),
    _c("values_to_be_between", column="x", min_value=-1.5, max_value=1.0, strict_min=True, strict_max=True),
    _c("values_to_be_between", column="x", max_value=2.5),
    _c("values_to_be_between", column="d", min_value="2026-01-02"),
    _c("values_to_be_between", column="d", max_value="2026-01-02", strict_max=True),
    _c("values_to_be_in_set", column="s", value_set=["a", "EUR", "日本"]),
    _c("values_to_be_in_set", column="i", value_set=[0, 1]),
    _c("values_to_not_be_in_set", column="s", value_set=["a", ""]),
    _c("values_to_not_be_in_set", column="i", value_set=[3]),
    _c("values_to_match_regex", column="s", regex=r"\A[A-Z]{3}\z"),
    _c("values_to_match_regex", column="s", regex=r"^[A-Z]{3}$"),
    _c("values_to_match_regex", column="s", regex=r"\p{L}"),
    _c("values_to_not_match_regex", column="s", regex=r"(?iu)é|i̇|EUR"),
    _c("values_to_match_regex_list", column="s", regex_list=["a", r"\d"]),
    _c("values_to_match_regex_list", column="s", regex_list=["a", r"\."], match_on="all"),
    _c("values_to_not_match_regex_list", column="s", regex_list=["^E", r"\s"]),
    _c("value_lengths_to_be_between", column="s", min_value=1, max_value=2),
    _c("value_lengths_to_be_between", column="s", max_value=0),
    _c("value_lengths_to_equal", column="s", value=2),
    _c("pair_values_a_to_be_greater_than_b", column_A="s", column_B="t"),
    _c("pair_values_a_to_be_greater_than_b", column_A="d", column_B="e", or_equal=True),
    *(
        _c("pair_values_a_to_be_greater_than_b", column_A="i", column_B="j", ignore_row_if=ignore, **options)
        for ignore in ("both_values_are_missing", "either_value_is_missing", "neither")
        for options in ({}, {"or_equal": True})
    ),
    *(
        _c("pair_values_to_be_equal", column_A="i", column_B="j", ignore_row_if=ignore)
        for ignore in ("both_values_are_missing", "either_value_is_missing", "neither")
    ),
]


LISTED = 200  # values Great Expectations lists at the most


def test_every_type_with_a_row_form_is_compared():
    assert {e.type for e in EVERY_FORM} == {name for name, kind in definitions.KINDS.items() if kind.row_form}


# The example is a batch of rows in one frame and one validation, because each costs a Spark job an expectation. No
# shrinking, for the same reason: the message names the expectation.
@pytest.mark.slow
@settings(
    max_examples=1, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], derandomize=True
)
@given(rows=st.lists(st.fixed_dictionaries(TABLE), min_size=60, max_size=120))
def test_rows_are_judged_as_great_expectations_judges_them(spark, rows):
    # Hypothesis begins with the plainest rows, all null; they would be the only ones.
    assume(all(len({row[c] for row in rows}) > 3 for c in TABLE))
    # Every pair of words, numbers and days stands in it whatever was drawn.
    pairs = itertools.zip_longest(itertools.product(POOL, POOL), itertools.product(range(-3, 4), [None, -1, 0, 3]))
    rows = rows + [
        {**row, "s": s, "t": t, **dict(zip("ij", whole or (None, None)))}
        for row, ((s, t), whole) in zip(itertools.cycle(rows), pairs)
    ]
    frame = (
        spark.createDataFrame([(n, *(row[c] for c in TABLE)) for n, row in enumerate(rows)], DDL).coalesce(1).cache()
    )
    suite = Suite("any", "any", "any.json", tuple(EVERY_FORM))
    _, ours = rules.tally(frame, suite.expectations)
    with suites._batch(frame) as batch:
        verdicts = suites._evaluate(batch, suite, list(range(len(EVERY_FORM))), "BOOLEAN_ONLY")
        failed = [p for p in verdicts if not verdicts[p]["success"]]
        asked = {"result_format": "BASIC", "partial_unexpected_count": len(rows)}
        theirs = suites._evaluate(batch, suite, failed, asked) if failed else {}
    frame.unpersist()
    for position, e in enumerate(EVERY_FORM):
        expected = theirs[position]["result"]["unexpected_count"] if position in theirs else 0
        assert ours[position] == expected, (e.type, e.kwargs)
    # Where Great Expectations lists the values, they are the values of the rows we flag.
    flags = frame.select(*(rules.breaks(EVERY_FORM[p]).alias(f"f{p}") for p in failed)).collect() if failed else []
    for p in failed:
        column = EVERY_FORM[p].kwargs.get("column")
        if not column or "null" in EVERY_FORM[p].type or ours[p] > LISTED:
            continue
        mine = [str(row[column]) for row, flag in zip(rows, flags) if flag[f"f{p}"]]
        assert sorted(mine) == sorted(map(str, theirs[p]["result"]["partial_unexpected_list"])), EVERY_FORM[p]


@pytest.mark.real
@pytest.mark.slow
def test_no_real_title_is_taken_for_a_placeholder(spark, real_data):
    from pyspark.sql import functions as F

    rule = next(e for e in definitions.load("silver.products").row_rules if e.rule == "title_placeholder")
    csv = {"header": True, "multiLine": True, "escape": '"'}
    titles = [
        spark.read.csv(str(real_data / "catalogues/amazon_in.csv"), **csv).select(F.col("name").alias("title")),
        spark.read.csv(str(real_data / "catalogues/openfoodfacts.tsv"), sep="\t", header=True, quote="").select(
            F.col("product_name").alias("title")
        ),
        spark.read.csv(str(real_data / "images/fashion.csv"), **csv).select("title"),
        spark.read.csv(str(real_data / "dedup/pricerunner.csv"), **csv).select(F.col("product_title").alias("title")),
    ]
    whole = titles[0].unionByName(titles[1]).unionByName(titles[2]).unionByName(titles[3])
    hit = [row.title for row in whole.where(rules.breaks(rule)).limit(20).collect()]
    assert whole.count() > 120_000
    assert hit == []


def test_suite_json_means_the_same_regex_to_java(spark):
    from pyspark.sql import functions as F

    texts = [
        regex
        for name in (p.stem for p in definitions.config.resource("expectations").glob("*.json"))
        for e in json.loads(json.dumps([x.kwargs for x in definitions.load(name).expectations]))
        for regex in [e.get("regex"), *e.get("regex_list", [])]
        if regex
    ]
    row = spark.range(1).select(*(F.lit("x").rlike(regex) for regex in texts)).head()
    assert len(row) == len(texts) > 10
