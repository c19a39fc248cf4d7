"""Row rules: the row forms of expectations as Spark expressions, so that one pass rejects rows by the suite's file.

Every type whose `Kind.row_form` is true in definitions.py has an expression here that is true for exactly the rows
Great Expectations counts as unexpected (a property test holds this). Types without a row form (uniqueness,
aggregates, row counts, SQL) speak of the whole table: `suites.validate` evaluates them.

Null values as there: a null passes everything but not_be_null; a pair follows its `ignore_row_if`.
Regular expressions are Java's (Spark `rlike`: found anywhere unless anchored). Write `\\A...\\z`, because `$` also
matches before a final line break, and `(?iu)` to ignore case beyond ASCII.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import reduce
from typing import TYPE_CHECKING

from shelfmark.quality import definitions
from shelfmark.quality.definitions import Expectation, Suite

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# A value is shown to a person, who needs its beginning; the whole row is kept in silver.rejected.
SHOWN = 200
# A text with a letter in any script, and one without anything to see, as the suites write them.
LETTER, BLANK = r"\p{L}", r"\A[\s\p{Z}\p{C}]*\z"


def flag(df: DataFrame, table_name: str, suite: Suite | None = None) -> DataFrame:
    """`df` with a column `broken` struct<rule:string, sentence:string, value:string>, null where no rule is broken.

    The first broken rule in file order counts. `value` is what broke it, at most 200 characters; null where the value
    is missing. One expression without a shuffle: it costs one pass over the rule's columns.
    Raises `UsageError` when the suite is wrong or `df` lacks a column that a rule needs.
    """
    from pyspark.sql import functions as F

    suite = suite or definitions.load(table_name)
    kind = "struct<rule:string,sentence:string,value:string>"
    broken = None
    for rule in suite.row_rules:
        _need_columns(df, rule, suite)
        said = F.struct(
            F.lit(rule.rule).alias("rule"), F.lit(rule.sentence).alias("sentence"), _value(rule).alias("value")
        ).cast(kind)
        broken = F.when(breaks(rule), said) if broken is None else broken.when(breaks(rule), said)
    return df.withColumn("broken", F.lit(None).cast(kind) if broken is None else broken)


def tally(df: DataFrame, expectations: Iterable[Expectation]) -> tuple[int, list[int]]:
    """Rows of `df`, and how many of them break each expectation: one job. All must have a row form."""
    from pyspark.sql import functions as F

    counts = [F.count(F.when(breaks(e), 1)) for e in expectations]
    if not counts:
        return df.count(), []  # Delta answers a bare count from its log
    rows, *broken = df.agg(F.count(F.lit(1)), *counts).head()
    return rows, broken


def breaks(e: Expectation) -> Column:
    """A boolean column: true for a row that breaks the expectation, else false or null (which a filter drops).

    Raises `ValueError` for a type without a row form.
    """
    from pyspark.sql import functions as F

    kwargs = e.kwargs
    if "column_A" in kwargs:
        return _pair_breaks(e)
    column = F.col(f"`{kwargs['column']}`")
    match e.type.removeprefix("expect_column_"):
        case "values_to_not_be_null":
            return column.isNull()
        case "values_to_be_null":
            return column.isNotNull()
        case "values_to_be_between":
            holds = _within(column, kwargs, float)
        case "values_to_be_in_set":
            holds = column.isin(kwargs["value_set"])
        case "values_to_not_be_in_set":
            holds = ~column.isin(kwargs["value_set"])
        case "values_to_match_regex":
            holds = _matches(column, kwargs["regex"])
        case "values_to_not_match_regex":
            holds = ~_matches(column, kwargs["regex"])
        case "values_to_match_regex_list":
            if kwargs.get("match_on", "any") == "any":
                # One expression, as there: a flag or group of one reaches the next.
                holds = _matches(column, "|".join(kwargs["regex_list"]))
            else:
                holds = reduce(lambda a, b: a & b, [_matches(column, regex) for regex in kwargs["regex_list"]])
        case "values_to_not_match_regex_list":
            holds = reduce(lambda a, b: a & b, [~_matches(column, regex) for regex in kwargs["regex_list"]])
        case "value_lengths_to_be_between":
            holds = _within(F.length(column), kwargs, int)
        case "value_lengths_to_equal":
            holds = F.length(column) == F.lit(kwargs["value"])
        case _:
            raise ValueError(f"{e.type} cannot judge a single row")
    return column.isNotNull() & ~holds


def _matches(column: Column, regex: str) -> Column:
    """`column.rlike(regex)`; the two that every text column has are mostly decided by the first byte, at a tenth of
    the cost (Spark compares text by its UTF-8 bytes)."""
    if regex == LETTER:
        return ((column >= "A") & (column < "[")) | ((column >= "a") & (column < "{")) | column.rlike(regex)
    if regex == BLANK:
        return ~((column >= "!") & (column < "\x7f")) & column.rlike(regex)
    return column.rlike(regex)


def _within(column: Column, kwargs: dict, number: type) -> Column:
    from pyspark.sql import functions as F

    # A bound given as text is a date; a number is what Great Expectations makes of it (so decimals compare as doubles).
    low, high = (
        date.fromisoformat(v) if isinstance(v, str) else v if v is None else number(v)
        for v in map(kwargs.get, ("min_value", "max_value"))
    )
    bounds = []
    if low is not None:
        bounds.append(column > F.lit(low) if kwargs.get("strict_min") else column >= F.lit(low))
    if high is not None:
        bounds.append(column < F.lit(high) if kwargs.get("strict_max") else column <= F.lit(high))
    return reduce(lambda a, b: a & b, bounds)


def _pair_breaks(e: Expectation) -> Column:
    from pyspark.sql import functions as F

    a, b = F.col(f"`{e.kwargs['column_A']}`"), F.col(f"`{e.kwargs['column_B']}`")
    if e.type == "expect_column_pair_values_to_be_equal":
        holds = a.eqNullSafe(b)
    elif e.kwargs.get("or_equal"):
        holds = (a >= b) | a.eqNullSafe(b)
    else:
        holds = a > b
    return looked_at(e) & ~holds


def looked_at(e: Expectation) -> Column:
    """A boolean column: whether an expectation of a pair of columns judges the row, by its `ignore_row_if`."""
    from pyspark.sql import functions as F

    a, b = F.col(f"`{e.kwargs['column_A']}`"), F.col(f"`{e.kwargs['column_B']}`")
    match e.kwargs.get("ignore_row_if", "both_values_are_missing"):
        case "both_values_are_missing":
            return ~(a.isNull() & b.isNull())
        case "either_value_is_missing":
            return ~(a.isNull() | b.isNull())
    return F.lit(True)


def _value(e: Expectation) -> Column:
    """The values of the expectation's columns as text for a person."""
    from pyspark.sql import functions as F

    texts = [F.col(f"`{name}`").cast("string") for name in e.columns]
    if len(texts) == 1:
        return F.substring(texts[0], 1, SHOWN)
    named = [
        F.concat(F.lit(f"{name} "), F.coalesce(F.substring(text, 1, SHOWN), F.lit("(empty)")))
        for name, text in zip(e.columns, texts)
    ]
    return F.concat_ws(", ", *named)


def _need_columns(df: DataFrame, e: Expectation, suite: Suite) -> None:
    from shelfmark.errors import UsageError

    missing = [name for name in e.columns if name not in df.columns]
    if missing:
        raise UsageError(f"{suite.path}: rule {e.rule} needs column {missing[0]!r}, which the rows do not have")
