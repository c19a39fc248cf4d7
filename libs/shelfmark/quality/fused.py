"""Verdicts of whole suites without Great Expectations: one pass over a table for nearly all of its expectations.

1. One aggregate counts the broken rows of every expectation that judges rows, and takes every minimum, mean, sum.
   SQL that only filters is counted there too. Columns of which it would read no more than that they are filled have a
   job of their own: Delta knows from its log which files have nulls, and reads those.
2. Uniqueness: all keys of a table are grouped by a 64-bit hash, in one job. Hashes that are all different prove keys
   that are all different; equal ones prove nothing, so the keys behind them are compared.
3. Numbers of distinct values: one job. Other SQL that must return no row: one job for all queries of the table.
4. Examples of what broke: a job for each expectation that failed, which stops where it has enough; one for all that
   few rows break.

The jobs of all tables of a run go to Spark together: small ones are latency, not work.

A verdict given here and its count are what Great Expectations says of the same rows, and the examples are of its values,
keys that repeat each once (a property test holds this for every type and for the column types named below). Where that
is not certain there is no verdict here, and Great Expectations judges: a column type or a bound it converts in ways of
its own, a floating sum so near its bound that the order of adding decides, an expression that Spark refuses.
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
from shelfmark.tables import TABLES

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

# A column of our own; no table has one of this name.
_ROWS_OF_KEY = "rows_of_one_key"

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

    The frames are read several times, a few columns each. Nothing is cached; collected are a row a job, and of each
    expectation that failed its examples, or `FEW_KEYS` repeated keys and hashes at the most.
    """
    plans = [{p: e for p, e in enumerate(suite.expectations) if takes(e, df)} for df, suite in tables]
    with ThreadPoolExecutor(JOBS_AT_ONCE, "checks") as pool:
        started = []
        for (df, suite), plan in zip(tables, plans):
            apart = _only_filled(df, suite, plan)
            rest = {p: e for p, e in plan.items() if p not in apart}
            jobs = (_aggregate, rest), (_missing, apart), (_count_distinct, plan), (_unique, plan), (_query, plan)
            started.append([pool.submit(_attempt, job, df, mine) for job, mine in jobs])
        judged, looks = [], []
        for (df, _), plan, jobs in zip(tables, plans, started):
            one, missing, distinct, unique, sql = (job.result() for job in jobs)
            table = _verdicts(plan, one and one | (missing or {}), distinct, unique, sql)
            judged.append(table)
            for positions, job, *more in _second_looks(plan, table, one, unique):
                mine = {p: plan[p] for p in positions}
                looks.append((table, mine, pool.submit(_attempt, job, df, mine, *more)))
        for table, mine, look in looks:
            verdicts = look.result()
            for position in mine:
                if verdicts is None:
                    table.verdicts.pop(position, None)
                else:
                    table.verdicts[position] = verdicts[position]
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
    except (PySparkException, Py4JError, ValueError, OverflowError) as error:
        # The last two: half a surrogate pair in a text, a moment that Python's clock cannot show.
        reason = " ".join(str(error).split())[:200]
        log.warning("checks are left to Great Expectations, because Spark refused them together: %s", reason)
        return None


def _aggregate(df: DataFrame, plan: dict[int, Expectation]) -> dict[str, Any]:
    """{name: value} of the one pass: `rows`, and what `_aggregates` names for each expectation."""
    from pyspark.sql import functions as F

    wanted = {"rows": F.count(F.lit(1))}
    for position, e in plan.items():
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


def _only_filled(df: DataFrame, suite: Suite, plan: dict[int, Expectation]) -> dict[int, Expectation]:
    """The expectations that a column is filled in every row, of columns that no other one reads and that Delta counts
    the nulls of: plain ones, which the table is not partitioned by."""
    read = Counter(name for e in plan.values() for name in e.columns)
    texts = " ".join(e.kwargs[_TEXT] for e in plan.values() if e.type == SQL)
    counted = {f.name for f in df.schema.fields if f.dataType.typeName() in _PLAIN}
    if suite.table in TABLES:
        counted -= {*TABLES[suite.table].partitions}
    return {
        p: e
        for p, e in plan.items()
        if e.type == _NOT_NULL and _mostly(e) == 1 and read[name := e.columns[0]] == 1
        if name in counted and name not in texts
    }  # fmt: skip


def _missing(df: DataFrame, plan: dict[int, Expectation]) -> dict[str, int]:
    """{name: number of nulls} of the columns of `_only_filled`. Delta knows which files have nulls, and reads those."""
    from pyspark.sql import functions as F

    nulls = {f"broken {p}": F.col(f"`{e.kwargs['column']}`").isNull() for p, e in plan.items()}
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
    from pyspark.errors import PySparkException
    from pyspark.sql import functions as F

    match = re.fullmatch(r"\s*SELECT\s([\w\s,*]+)\sFROM\s+\{batch\}\s+WHERE\s(.*?)[;\s]*", e.kwargs[_TEXT], re.I | re.S)
    if not match or _MORE.search(match.group(2)):
        return None
    named, condition = [name.strip() for name in match.group(1).split(",")], match.group(2)
    if not {*named} <= {"*", *df.columns}:
        return None
    try:
        F.expr(condition)
    except PySparkException:
        return None  # it does not stand alone
    return named, condition


def _second_looks(
    plan: dict[int, Expectation],
    judged: Judged,
    one: dict[str, Any] | None,
    unique: dict[int, list[int] | None] | None,
) -> Iterator[tuple[Any, ...]]:
    """(positions, job, its arguments after frame and expectations) of what the first jobs leave open."""
    failed = {p: v for p, v in judged.verdicts.items() if not v.success and v.broken and plan[p].type != _NOT_NULL}
    few = [p for p, verdict in failed.items() if verdict.broken < EXAMPLES]
    many = [p for p in failed if p not in few]
    # To find all of a few rows a job reads the whole table: once for all of them. Others stop early.
    for positions in filter(None, [few, *([p] for p in many)]):
        yield positions, _examples, {p: failed[p] for p in positions}
    for p, hashes in (unique or {}).items():
        if hashes != [] and (one or _mostly(plan[p]) == 1):
            yield [p], _repeated, hashes, (one or {}).get(f"looked at {p}")


def _examples(df: DataFrame, failed: dict[int, Expectation], verdicts: dict[int, Verdict]) -> dict[int, Verdict]:
    """The verdicts with values that broke each: ten of a single one, all of several."""
    from pyspark.sql import functions as F

    breaks, values = [], []
    for p, e in failed.items():
        filters = _filter(e, df) if e.type == SQL else None
        breaks.append(F.expr(filters[1]) if filters else rules.breaks(e))
        named = [n for name in filters[0] for n in (df.columns if name == "*" else [name])] if filters else e.columns
        values.append(F.when(breaks[-1], F.struct(*(_seen(df, name) for name in named))).alias(f"{p}"))
    rows = df.where(reduce(lambda a, b: a | b, breaks)).select(*values)
    found = rows.head(EXAMPLES if len(failed) == 1 else sum(verdict.broken for verdict in verdicts.values()))
    told = {}
    for p, e in failed.items():
        mine = [row[f"{p}"] for row in found if row[f"{p}"] is not None]
        shown = (row.asDict() if e.type == SQL else row[0] if len(row) == 1 else tuple(row) for row in mine)
        told[p] = replace(verdicts[p], examples=tuple(shown))
    return told


def _seen(df: DataFrame, name: str) -> Column:
    """A column as it is shown: Python has no year 10000, and would have moments in its own time zone."""
    from pyspark.sql import functions as F

    column = F.col(f"`{name}`")
    return (column.cast("string") if df.schema[name].dataType.typeName() in _DAYS else column).alias(name)


def _repeated(
    df: DataFrame, failed: dict[int, Expectation], hashes: list[int] | None, looked_at: int | None
) -> dict[int, Verdict]:
    """The verdict on keys by comparing themselves: those behind `hashes`, or all where too many repeat."""
    from pyspark.sql import functions as F

    ((position, e),) = failed.items()
    keys = df.where(_has_key(e) if hashes is None else _has_key(e) & _hash(e).isin(hashes))
    groups = keys.groupBy(*(F.col(f"`{name}`") for name in e.columns)).agg(F.count(F.lit(1)).alias(_ROWS_OF_KEY))
    twice = groups.where(F.col(f"`{_ROWS_OF_KEY}`") > 1).select(*(_seen(df, name) for name in e.columns), _ROWS_OF_KEY)
    listed = twice.head(FEW_KEYS + 1)
    few = len(listed) <= FEW_KEYS
    broken = sum(row[-1] for row in listed) if few else twice.agg(F.sum(_ROWS_OF_KEY)).head()[0]
    success = (looked_at - broken) / looked_at >= _mostly(e) if looked_at else not broken
    values = [dict(zip(e.columns, row)) if len(e.columns) > 1 else row[0] for row in listed[:EXAMPLES]]
    return {position: Verdict(success, broken, examples=() if success else tuple(values))}


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
