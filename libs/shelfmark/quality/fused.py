"""Verdicts of whole suites without Great Expectations: one pass over a table for nearly all of its expectations.

1. One aggregate counts the broken rows of every expectation that judges rows, and takes every minimum, mean, sum.
   SQL that only filters is counted there too. Columns of which it would read no more than that they are filled have a
   job of their own: Delta knows from its log which files have nulls, and reads those.
2. Uniqueness: all keys of a table are grouped by a 64-bit hash, in one job. Hashes that are all different prove keys
   that are all different; equal ones prove nothing, so the keys behind them are compared.
3. Numbers of distinct values: one job. Other SQL that must return no row: one job for all queries of the table.
4. Examples of what broke, a job for each expectation that failed, which reads no further than it finds enough.

The jobs of all tables of a run go to Spark together: small ones are latency, not work.

A verdict given here, its count and its examples are what Great Expectations says of the same rows (a property test holds
this for every type and for the column types named below). Where that is not certain there is no verdict here, and Great Expectations
judges: a column type or a bound it converts in ways of its own, a floating sum so near its bound that the order of
adding decides, an expression that Spark refuses.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any

from shelfmark.quality import rules
from shelfmark.quality.definitions import Expectation, Suite

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

log = logging.getLogger("shelfmark")

SQL = "unexpected_rows_expectation"
# Spark jobs in flight: enough to hide the latency of small ones.
JOBS_AT_ONCE = 4
# Keys that repeat, or their hashes: few enough to list.
FEW_KEYS = 1000
# Examples kept of a failed expectation: enough for a person to recognise what is wrong.
EXAMPLES = 10
# Relative error allowed to a floating sum: what adding a billion numbers in another order may change, and more.
ROUNDING = 1e-9
# Whole numbers up to here are exact as doubles, so their sum does not depend on the order.
EXACT = 2**53

_AVERAGED = {"integer", "long", "float", "double", "decimal"}  # others Great Expectations refuses to average
_NUMBERS = {"byte", "short", *_AVERAGED}
_WHOLE = {"byte", "short", "integer", "long"}
_DAYS = {"date", "timestamp"}
_PLAIN = {*_NUMBERS, *_DAYS, "string", "boolean"}
_REAL = {"float", "double"}
_MIN, _MAX = "expect_column_min_to_be_between", "expect_column_max_to_be_between"
_MEAN, _SUM = "expect_column_mean_to_be_between", "expect_column_sum_to_be_between"
_FILLED = "expect_column_proportion_of_non_null_values_to_be_between"
_DISTINCT = "expect_column_unique_value_count_to_be_between"
_DISTINCT_SHARE = "expect_column_proportion_of_unique_values_to_be_between"
_ONLY_THESE = "expect_column_distinct_values_to_be_in_set"
_ALL_THESE = "expect_column_distinct_values_to_contain_set"
_UNIQUE, _UNIQUE_TOGETHER = "expect_column_values_to_be_unique", "expect_compound_columns_to_be_unique"
_ROWS = "expect_table_row_count_to_be_between"
_NOT_NULL = "expect_column_values_to_not_be_null"
_NULLS = (_NOT_NULL, "expect_column_values_to_be_null")

_TEXT = "unexpected_rows_query"
# A word or sign of more than a plain condition: another clause or table, a placeholder, an alias, a comment.
_MORE = re.compile(
    r"\b(select|from|group|having|order|sort|cluster|distribute|limit|offset|window|over|union|intersect|except|minus"
    r"|lateral|pivot|unpivot|rand|uuid|explode)\b|[{}]|--|/\*|;",
    re.IGNORECASE,
)

_views = itertools.count()


@dataclass(frozen=True)
class Verdict:
    """Whether an expectation holds; `broken` rows where rows can break it, `value` of an aggregate.

    `examples` of broken values where it failed: a tuple of a pair's, a dict of several columns'.
    """

    success: bool
    broken: int | None = None
    value: Any = None
    examples: tuple[Any, ...] = ()

    @property
    def says_all(self) -> bool:
        """Whether nothing is left to ask: it holds, or what broke it is counted, or is its value."""
        return self.success or self.broken is not None or self.value is not None


@dataclass
class Judged:
    """A table's number of rows (None where the pass failed) and verdicts by the expectation's position.

    A position without a verdict is Great Expectations' to judge.
    """

    rows: int | None = None
    verdicts: dict[int, Verdict] = field(default_factory=dict)


def judge(tables: Sequence[tuple[DataFrame, Suite]]) -> list[Judged]:
    """Judge the suites of several frames, their Spark jobs side by side; results in the order given.

    The frames are read several times, a few columns each. Nothing is cached; collected are a row a job, examples, and
    `FEW_KEYS` repeated keys at the most.
    """
    plans = [{p: e for p, e in enumerate(suite.expectations) if takes(e, df)} for df, suite in tables]
    with ThreadPoolExecutor(JOBS_AT_ONCE, "checks") as pool:
        started = [
            [pool.submit(_attempt, job, df, plan) for job in (_aggregate, _missing, _count_distinct, _unique, _query)]
            for (df, _), plan in zip(tables, plans)
        ]
        judged, looks = [], []
        for (df, _), plan, jobs in zip(tables, plans, started):
            one, missing, distinct, unique, sql = (job.result() for job in jobs)
            table = _verdicts(plan, one and one | (missing or {}), distinct, unique, sql)
            judged.append(table)
            for position, job, *more in _second_looks(plan, table, one, unique):
                looks.append((table, position, pool.submit(_attempt, job, df, plan[position], *more)))
        for table, position, look in looks:
            if (verdict := look.result()) is not None:
                table.verdicts[position] = verdict
    return judged


def takes(e: Expectation, df: DataFrame) -> bool:
    """Whether this expectation may be judged here: its columns, values and bounds are of kinds that are compared the
    same way in Great Expectations. It does not look at any row."""
    types = {f.name: f.dataType.typeName() for f in df.schema.fields}
    kinds = {types.get(name) for name in e.columns}
    if e.type == SQL:
        return True
    if None in kinds or not all(name.replace("_", "a").isalnum() for name in e.columns):
        return False
    values = e.kwargs.get("value_set", ())
    bounds = [v for v in map(e.kwargs.get, ("min_value", "max_value")) if v is not None]
    match e.type.removeprefix("expect_column_"):
        case "values_to_not_be_null" | "values_to_be_null":
            return True
        case "proportion_of_non_null_values_to_be_between":
            return _all(bounds, int, float)
        case "values_to_be_between" | "min_to_be_between" | "max_to_be_between":
            return (kinds <= _NUMBERS and _all(bounds, int, float)) or (kinds <= _DAYS and _all(bounds, str))
        case "values_to_be_in_set" | "values_to_not_be_in_set":
            return _comparable(kinds, values)
        case "distinct_values_to_be_in_set" | "distinct_values_to_contain_set":
            return _comparable(kinds, values)
        case "values_to_match_regex" | "values_to_not_match_regex":
            return kinds == {"string"}
        case "values_to_match_regex_list" | "values_to_not_match_regex_list":
            return kinds == {"string"}
        case "value_lengths_to_be_between":
            return kinds == {"string"} and all(map(_whole, bounds))
        case "value_lengths_to_equal":
            return kinds == {"string"}
        case "pair_values_a_to_be_greater_than_b" | "pair_values_to_be_equal":
            return kinds <= _NUMBERS or (len(kinds) == 1 and kinds <= _PLAIN)
        case "mean_to_be_between":
            return kinds <= _AVERAGED and _all(bounds, int, float)
        case "sum_to_be_between":
            return kinds <= _NUMBERS and _all(bounds, int, float)
        case "values_to_be_unique":
            return kinds <= _PLAIN
        case "unique_value_count_to_be_between":
            return kinds <= _PLAIN and all(map(_whole, bounds))
        case "proportion_of_unique_values_to_be_between":
            return kinds <= _PLAIN and _all(bounds, int, float)
    return (e.type == _UNIQUE_TOGETHER and kinds <= _PLAIN) or (e.type == _ROWS and all(map(_whole, bounds)))


def _all(values: Sequence[Any], *kinds: type) -> bool:
    """Whether all are of these kinds; NaN, which becomes null on its way through Great Expectations, is of none."""
    return all(isinstance(v, kinds) and not isinstance(v, bool) and v == v for v in values)


def _whole(value: Any) -> bool:
    return _all([value], int) or (_all([value], float) and value.is_integer())


def _comparable(kinds: set[str | None], values: Sequence[Any]) -> bool:
    """Whether the values of a set are of the column's kind, so that Spark compares them without a guess."""
    if kinds <= _NUMBERS:
        return _all(values, int) or (kinds <= _REAL and _all(values, int, float))
    return (kinds == {"string"} and _all(values, str)) or (
        kinds == {"boolean"} and all(isinstance(v, bool) for v in values)
    )


# -- the jobs -------------------------------------------------------------------------------------------------------


def _attempt(job: Callable[..., Any], *arguments: Any) -> Any:
    """What a job found, None where Spark refuses or fails: Great Expectations then says of which expectation."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        return job(*arguments)
    except (PySparkException, Py4JError, UnicodeEncodeError) as error:  # a text may hold half a surrogate pair
        reason = " ".join(str(error).split())[:200]
        log.warning("checks are left to Great Expectations, because Spark refused them together: %s", reason)
        return None


def _aggregate(df: DataFrame, plan: dict[int, Expectation]) -> dict[str, Any]:
    """{name: value} of the one pass: `rows`, and what `_aggregates` names for each expectation."""
    from pyspark.sql import functions as F

    wanted, apart = {"rows": F.count(F.lit(1))}, _only_filled(plan)
    for position, e in plan.items():
        if position not in apart:
            wanted |= _aggregates(position, e, df)
    found = df.agg(*(column.alias(name) for name, column in wanted.items())).head()
    return dict(zip(wanted, found))


def _aggregates(position: int, e: Expectation, df: DataFrame) -> dict[str, Column]:
    """The aggregates an expectation needs, by name; two that need the same one share the name."""
    from pyspark.sql import functions as F

    name = e.kwargs.get("column")
    column = F.col(f"`{name}`") if name else None
    if e.row_form:
        wanted = {f"broken {position}": F.count(F.when(rules.breaks(e), 1))}
        if _mostly(e) < 1 and "column_A" in e.kwargs:
            wanted[f"looked at {position}"] = F.count(F.when(rules.looked_at(e), 1))
        elif _mostly(e) < 1 and e.type not in _NULLS:
            wanted[f"filled {name}"] = F.count(column)
        return wanted
    if e.type == _ONLY_THESE:
        return {f"broken {position}": F.count(F.when(~column.isin(e.kwargs["value_set"]), 1))}
    if e.type == SQL:
        filters = _filter(e, df)
        return {f"broken {position}": F.count(F.when(F.expr(filters[1]), 1))} if filters else {}
    if e.type in (_FILLED, _DISTINCT_SHARE):
        return {f"filled {name}": F.count(column)}
    if e.type in (_UNIQUE, _UNIQUE_TOGETHER) and _mostly(e) < 1:
        return {f"looked at {position}": F.count(F.when(_has_key(e), 1))}
    if e.type in (_MIN, _MAX):
        return {f"{e.type} {name}": F.min(column) if e.type == _MIN else F.max(column)}
    if e.type in (_MEAN, _SUM):
        wanted = {f"{e.type} {name}": F.mean(column) if e.type == _MEAN else F.sum(column)}
        kind = df.schema[name].dataType.typeName()
        if kind in _REAL or (kind in _WHOLE and e.type == _MEAN):
            sizes = "whole sizes" if kind in _WHOLE else "sizes"
            wanted |= {f"{sizes} {name}": F.sum(F.abs(column.cast("double"))), f"filled {name}": F.count(column)}
        return wanted
    return {}


def _only_filled(plan: dict[int, Expectation]) -> list[int]:
    """Positions of columns that must be filled in every row and that no other expectation reads."""
    read = Counter(name for e in plan.values() for name in e.columns)
    texts = " ".join(e.kwargs[_TEXT] for e in plan.values() if e.type == SQL)
    return [
        p
        for p, e in plan.items()
        if e.type == _NOT_NULL and _mostly(e) == 1 and read[e.columns[0]] == 1 and e.columns[0] not in texts
    ]


def _missing(df: DataFrame, plan: dict[int, Expectation]) -> dict[str, int]:
    """{name: number of nulls} of the columns that `_only_filled` names."""
    from pyspark.sql import functions as F

    nulls = {f"broken {p}": F.col(f"`{plan[p].kwargs['column']}`").isNull() for p in _only_filled(plan)}
    if not nulls:
        return {}
    some = df.where(reduce(lambda a, b: a | b, nulls.values()))
    return dict(zip(nulls, some.agg(*(F.count(F.when(null, 1)) for null in nulls.values())).head()))


def _count_distinct(df: DataFrame, plan: dict[int, Expectation]) -> dict[str, int]:
    """{name: number of distinct values}; apart from the pass, which it would slow down by expanding every row."""
    from pyspark.sql import functions as F

    wanted = {}
    for position, e in plan.items():
        if e.type in (_DISTINCT, _DISTINCT_SHARE):
            wanted[f"distinct {e.kwargs['column']}"] = F.count_distinct(F.col(f"`{e.kwargs['column']}`"))
        elif e.type == _ALL_THESE:
            column = F.col(f"`{e.kwargs['column']}`")
            wanted[f"found {position}"] = F.count_distinct(F.when(column.isin(e.kwargs["value_set"]), column))
    return dict(zip(wanted, df.agg(*wanted.values()).head())) if wanted else {}


def _unique(df: DataFrame, plan: dict[int, Expectation]) -> dict[int, list[int] | None]:
    """{position: hashes that keys of a uniqueness expectation share}, empty where all differ, None where many repeat."""
    from pyspark.sql import functions as F

    keys = {p: e for p, e in plan.items() if e.type in (_UNIQUE, _UNIQUE_TOGETHER)}
    if not keys:
        return {}
    hashes = [df.where(_has_key(e)).select(F.lit(p).alias("position"), _hash(e).alias("hash")) for p, e in keys.items()]
    if len(hashes) == 1:
        groups = hashes[0].groupBy("hash").count().withColumn("position", F.lit(next(iter(keys))))
    else:
        groups = reduce(lambda a, b: a.union(b), hashes).groupBy("position", "hash").count()
    twice = groups.where("count > 1").select("position", "hash")
    listed = twice.orderBy("position", "hash").limit(FEW_KEYS + 1).collect()
    found: dict[int, list[int] | None] = {p: [] for p in keys}
    if len(listed) > FEW_KEYS:
        return found | {row["position"]: None for row in twice.select("position").distinct().collect()}
    for row in listed:
        found[row["position"]].append(row["hash"])
    return found


def _has_key(e: Expectation) -> Column:
    """Rows that a uniqueness expectation looks at."""
    from pyspark.sql import functions as F

    missing = [F.col(f"`{name}`").isNull() for name in e.columns]
    match e.kwargs.get("ignore_row_if", "all_values_are_missing"):
        case "all_values_are_missing":
            return ~reduce(lambda a, b: a & b, missing)
        case "any_value_is_missing":
            return ~reduce(lambda a, b: a | b, missing)
    return F.lit(True)


def _hash(e: Expectation) -> Column:
    """xxhash64 of a key; that skips nulls, so their places are hashed too."""
    from pyspark.sql import functions as F

    columns = [F.col(f"`{name}`") for name in e.columns]
    places = [column.isNull() for column in columns] if len(columns) > 1 else []
    return F.xxhash64(*columns, *places)


def _query(df: DataFrame, plan: dict[int, Expectation]) -> dict[int, bool]:
    """{position: whether its SQL returns no row}, of the queries that Spark can analyse."""
    from pyspark.errors import PySparkException
    from pyspark.sql import functions as F

    queries = {p: e.kwargs[_TEXT] for p, e in plan.items() if e.type == SQL and not _filter(e, df)}
    if not queries:
        return {}
    view, found = f"checked_{next(_views)}", {}
    df.createOrReplaceTempView(view)
    try:
        for position, query in queries.items():
            try:
                # As Great Expectations fills it in.
                rows = df.sparkSession.sql(query.rstrip("; \t\r\n\v\f").format(batch=view))
                found[position] = rows.select(F.lit(position).alias("position")).limit(1)
            except (PySparkException, KeyError, IndexError, ValueError, AttributeError):
                continue
        if not found:
            return {}
        # Planned while the view is there.
        some = reduce(lambda a, b: a.union(b), found.values()).collect()
    finally:
        df.sparkSession.catalog.dropTempView(view)
    return {position: position not in {row["position"] for row in some} for position in found}


def _filter(e: Expectation, df: DataFrame) -> tuple[list[str], str] | None:
    """The columns and the condition of SQL that only filters the table's rows; None where it does more."""
    match = re.fullmatch(r"\s*SELECT\s([\w\s,*]+)\sFROM\s+\{batch\}\s+WHERE\s(.*?)[;\s]*", e.kwargs[_TEXT], re.I | re.S)
    if not match or _MORE.search(match.group(2)):
        return None
    named = [name.strip() for name in match.group(1).split(",")]
    return (named, f"({match.group(2)})") if {*named} <= {"*", *df.columns} else None


def _second_looks(
    plan: dict[int, Expectation],
    judged: Judged,
    one: dict[str, Any] | None,
    unique: dict[int, list[int] | None] | None,
) -> Iterator[tuple[Any, ...]]:
    """(position, job, its arguments after frame and expectation) of what the first jobs leave open."""
    for position, e in plan.items():
        verdict = judged.verdicts.get(position)
        if verdict and not verdict.success and verdict.broken and e.type != _NOT_NULL:
            yield position, _examples, verdict
        elif unique and unique.get(position, []) != [] and (one or _mostly(e) == 1):
            yield position, _repeated, unique[position], (one or {}).get(f"looked at {position}")


def _examples(df: DataFrame, e: Expectation, verdict: Verdict) -> Verdict:
    """The verdict with values that broke it."""
    from pyspark.sql import functions as F

    if e.type == SQL:
        named, condition = _filter(e, df)
        rows = df.where(F.expr(condition)).select(*named).head(EXAMPLES)
        return replace(verdict, examples=tuple(row.asDict() for row in rows))
    rows = df.where(rules.breaks(e)).select(*(F.col(f"`{name}`") for name in e.columns)).head(EXAMPLES)
    return replace(verdict, examples=tuple(row[0] if len(row) == 1 else tuple(row) for row in rows))


def _repeated(df: DataFrame, e: Expectation, hashes: list[int] | None, looked_at: int | None) -> Verdict:
    """The verdict on keys by comparing themselves: those behind `hashes`, or all where too many repeat."""
    from pyspark.sql import functions as F

    keys = df.where(_has_key(e) if hashes is None else _has_key(e) & _hash(e).isin(hashes))
    groups = keys.groupBy(*(F.col(f"`{name}`") for name in e.columns)).agg(F.count(F.lit(1)).alias("rows"))
    twice = groups.where("rows > 1")
    listed = twice.head(FEW_KEYS + 1)
    few = len(listed) <= FEW_KEYS
    broken = sum(row[-1] for row in listed) if few else twice.agg(F.sum("rows")).head()[0]
    success = (looked_at - broken) / looked_at >= _mostly(e) if looked_at else not broken
    values = [dict(zip(e.columns, row)) if len(e.columns) > 1 else row[0] for row in listed[:EXAMPLES]]
    return Verdict(success, broken, examples=() if success else tuple(values))


# -- verdicts -------------------------------------------------------------------------------------------------------


def _verdicts(
    plan: dict[int, Expectation],
    one: dict[str, Any] | None,
    distinct: dict[str, int] | None,
    unique: dict[int, list[int] | None] | None,
    sql: dict[int, bool] | None,
) -> Judged:
    judged = Judged(one["rows"] if one else None)
    for position, e in plan.items():
        if e.type == SQL and sql and position in sql:
            judged.verdicts[position] = Verdict(sql[position], 0 if sql[position] else None)
        elif e.type in (_UNIQUE, _UNIQUE_TOGETHER):
            if unique and unique[position] == []:
                judged.verdicts[position] = Verdict(True, 0)
        elif one is not None:
            verdict = _verdict(position, e, one, distinct)
            if verdict is not None:
                judged.verdicts[position] = verdict
    return judged


def _verdict(position: int, e: Expectation, one: dict[str, Any], distinct: dict[str, int] | None) -> Verdict | None:
    rows, name = one["rows"], e.kwargs.get("column")
    if e.row_form:
        broken = one.get(f"broken {position}")
        if broken is None:
            return None
        looked_at = rows
        if _mostly(e) < 1 and e.type not in _NULLS:
            looked_at = one[f"looked at {position}" if "column_A" in e.kwargs else f"filled {name}"]
        # As Great Expectations divides; a table without values to look at holds.
        return Verdict(looked_at == 0 or (looked_at - broken) / looked_at >= _mostly(e), broken)
    if e.type == _ONLY_THESE:
        return Verdict(one[f"broken {position}"] == 0)
    if e.type == SQL:
        broken = one.get(f"broken {position}")
        return None if broken is None else Verdict(broken == 0, broken)
    if e.type == _ROWS:
        return _within(rows, e.kwargs, int)
    if e.type == _FILLED:
        return _within(one[f"filled {name}"] / rows if rows else 0, e.kwargs)
    if e.type in (_MIN, _MAX):
        return _within(one[f"{e.type} {name}"], e.kwargs)
    if e.type in (_MEAN, _SUM):
        return _within(one[f"{e.type} {name}"], e.kwargs, slack=_slack(e, one))
    if distinct is None:
        return None
    if e.type == _ALL_THESE:
        return Verdict(distinct[f"found {position}"] == len(e.kwargs["value_set"]))
    number = distinct[f"distinct {name}"]
    if e.type == _DISTINCT:
        return _within(number, e.kwargs, int)
    return _within(number / one[f"filled {name}"] if one[f"filled {name}"] else 0, e.kwargs)


def _mostly(e: Expectation) -> float:
    return e.kwargs.get("mostly", 1)


def _slack(e: Expectation, one: dict[str, Any]) -> float:
    """How far from the true one a mean or sum may be by the order of adding; 0 for what is added exactly."""
    name = e.kwargs["column"]
    whole, sizes = one.get(f"whole sizes {name}") or 0, one.get(f"sizes {name}") or 0
    if whole >= EXACT and e.type == _MEAN:
        sizes = whole
    return ROUNDING * (sizes / one[f"filled {name}"] if e.type == _MEAN and sizes else sizes)


def _within(value: Any, kwargs: dict, as_: Callable[[Any], Any] = float, slack: float = 0) -> Verdict | None:
    """The verdict on an aggregate's value, as Great Expectations compares it; None within `slack` of a bound.

    It has decimals as floats, bounds as `as_` has them, and of a moment only its day once a bound is a day.
    """
    if isinstance(value, Decimal):
        value = float(value)
    if value is None or value != value:  # NaN
        return Verdict(False)
    shown = value.isoformat() if isinstance(value, date) else value
    if isinstance(value, datetime):
        value = value.date()
    low, high = (
        date.fromisoformat(v) if isinstance(v, str) else v if v is None else as_(v)
        for v in map(kwargs.get, ("min_value", "max_value"))
    )
    if slack and any(not abs(value - bound) > slack for bound in (low, high) if bound is not None):
        return None
    above = low is None or (value > low if kwargs.get("strict_min") else value >= low)
    below = high is None or (value < high if kwargs.get("strict_max") else value <= high)
    return Verdict(above and below, value=shown)
