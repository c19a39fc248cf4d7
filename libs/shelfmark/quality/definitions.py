"""Suite files: expectations/<table>.json, read with care and without any engine.

A suite is JSON as Great Expectations writes it. These keys of an expectation's `meta` are ours:

- `sentence` (required): the expectation in words, for the person who reads the report;
- `action: "reject"` with `rule: <name>`: a row rule. A row that breaks it goes to silver.rejected under that name
  instead of stopping the run; `shelfmark.quality.rules` evaluates it;
- `check: <name>` makes an `unexpected_rows_expectation` a comparison with the last release or with other tables:
  `shelfmark.quality.against` says what its SQL may name and evaluates it. `thresholds` are numbers that SQL and
  sentence name in braces. With `by_part: true` it is asked of the rows that a run swapped in (`Run.swap`), where the
  run did: for what holds of a whole table that held before, once it holds of the part that changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from shelfmark import config
from shelfmark.errors import UsageError
from shelfmark.tables import TABLES

SEVERITIES = ("critical", "warning", "info")
ASKED = ("run_id", "run_date", "sources")
"""What the SQL of a check may ask of the run: its id and day as literals, and a view of the sources in its settings."""
NAMED = re.compile(r"\{([a-z][a-z0-9_.]*)\}")


@dataclass(frozen=True)
class Kind:
    """An expectation type: which kwargs it takes and whether single rows can be judged by it."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    row_form: bool = False


_BOUNDS = ("min_value", "max_value", "strict_min", "strict_max")
_MOSTLY = ("mostly",)
_AGGREGATE = Kind(("column",), _BOUNDS)
_PAIR = ("column_A", "column_B")
_PAIR_OPTIONS = ("ignore_row_if", "mostly")

KINDS: dict[str, Kind] = {
    # Row forms: each has its Spark expression in rules.py, and the same meaning there as in Great Expectations.
    "expect_column_values_to_not_be_null": Kind(("column",), _MOSTLY, True),
    "expect_column_values_to_be_null": Kind(("column",), _MOSTLY, True),
    "expect_column_values_to_be_between": Kind(("column",), (*_BOUNDS, *_MOSTLY), True),
    "expect_column_values_to_be_in_set": Kind(("column", "value_set"), _MOSTLY, True),
    "expect_column_values_to_not_be_in_set": Kind(("column", "value_set"), _MOSTLY, True),
    "expect_column_values_to_match_regex": Kind(("column", "regex"), _MOSTLY, True),
    "expect_column_values_to_not_match_regex": Kind(("column", "regex"), _MOSTLY, True),
    "expect_column_values_to_match_regex_list": Kind(("column", "regex_list"), ("match_on", "mostly"), True),
    "expect_column_values_to_not_match_regex_list": Kind(("column", "regex_list"), _MOSTLY, True),
    "expect_column_value_lengths_to_be_between": Kind(("column",), (*_BOUNDS, *_MOSTLY), True),
    "expect_column_value_lengths_to_equal": Kind(("column", "value"), _MOSTLY, True),
    "expect_column_pair_values_a_to_be_greater_than_b": Kind(_PAIR, ("or_equal", *_PAIR_OPTIONS), True),
    "expect_column_pair_values_to_be_equal": Kind(_PAIR, _PAIR_OPTIONS, True),
    # No row form: one row alone cannot break these, so they are validated for the whole table only.
    "expect_column_values_to_be_unique": Kind(("column",), _MOSTLY),
    "expect_compound_columns_to_be_unique": Kind(("column_list",), ("ignore_row_if", "mostly")),
    "expect_column_distinct_values_to_be_in_set": Kind(("column", "value_set")),
    "expect_column_distinct_values_to_contain_set": Kind(("column", "value_set")),
    "expect_column_unique_value_count_to_be_between": _AGGREGATE,
    "expect_column_proportion_of_unique_values_to_be_between": _AGGREGATE,
    "expect_column_proportion_of_non_null_values_to_be_between": _AGGREGATE,
    "expect_column_min_to_be_between": _AGGREGATE,
    "expect_column_max_to_be_between": _AGGREGATE,
    "expect_column_mean_to_be_between": _AGGREGATE,
    "expect_column_sum_to_be_between": _AGGREGATE,
    "expect_table_row_count_to_be_between": Kind((), ("min_value", "max_value", "strict_min", "strict_max")),
    "unexpected_rows_expectation": Kind(("unexpected_rows_query",)),
}
"""Expectation types a suite may use; unexpected_rows_expectation is SQL over `{batch}` that must return no row."""


@dataclass(frozen=True)
class Expectation:
    """One expectation of a suite. `rule` is the row rule's name, None where it rejects no rows; `check` the name of a
    comparison, None where the table alone decides."""

    type: str
    kwargs: dict[str, Any]
    severity: str
    sentence: str
    id: str | None = None
    rule: str | None = None
    check: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns it speaks of; empty for a whole-table expectation."""
        named = [self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs]
        return (*named, *self.kwargs.get("column_list", ()))

    @property
    def by_part(self) -> bool:
        """Whether it holds of a whole table that held before, once it holds of a part that was swapped (`Run.swap`)."""
        return bool(self.meta.get("by_part"))

    @property
    def row_form(self) -> bool:
        """Whether single rows can be judged by it."""
        return KINDS[self.type].row_form


@dataclass(frozen=True)
class Suite:
    """The expectations of a table in file order; `name` is the file's stem.

    `comparisons` need more than the table itself, see `against`; `views` are the SQL texts they share, by name.
    """

    name: str
    table: str
    path: str
    expectations: tuple[Expectation, ...]
    comparisons: tuple[Expectation, ...] = ()
    views: dict[str, str] = field(default_factory=dict)

    @property
    def row_rules(self) -> tuple[Expectation, ...]:
        """The expectations that reject rows, in file order."""
        return tuple(e for e in self.expectations if e.rule)


def exists(table: str) -> bool:
    """Whether there is a suite for the table."""
    return config.resource("expectations", f"{table}.json").is_file()


def load(table: str, path: Path | str | None = None) -> Suite:
    """The suite of a table, from expectations/<table>.json or the file given.

    Raises `UsageError` naming file, expectation and key for: no file, no JSON, an unknown type or key, a column that
    the table's contract does not have, a bad severity, a missing sentence, or a row rule that cannot judge rows.
    """
    file = Path(path) if path else config.resource("expectations", f"{table}.json")
    if table not in TABLES:
        raise UsageError(f"{file}: there is no table {table!r}; there are: {', '.join(sorted(TABLES))}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no suite {file}: write one, or leave {table} unchecked") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: not readable as JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("expectations"), list):
        raise UsageError(f"{file}: an object with `name` and a list `expectations` is needed")
    unknown = set(content) - {"name", "id", "expectations", "meta", "notes", "suite_parameters"}
    if unknown:
        raise UsageError(f"{file}: unknown key {sorted(unknown)[0]!r}")
    if content.get("name") != table:
        raise UsageError(f"{file}: `name` is {content.get('name')!r}; the suite of this table is named {table!r}")
    columns = set(TABLES[table].columns)
    expectations = tuple(
        _expectation(item, columns, f"{file}: expectation {number}")
        for number, item in enumerate(content["expectations"], start=1)
    )
    views = _views(content.get("meta") or {}, file)
    _check_comparisons(expectations, views, file)
    ids = [e.id for e in expectations if e.id]
    twice = next((i for i in ids if ids.count(i) > 1), None)
    if twice:
        raise UsageError(f"{file}: two expectations have the id {twice}; give one a new id")
    alone = tuple(e for e in expectations if not e.check)
    return Suite(file.stem, table, str(file), alone, tuple(e for e in expectations if e.check), views)


def _expectation(item: Any, columns: set[str], where: str) -> Expectation:
    if not isinstance(item, dict):
        raise UsageError(f"{where}: an object is needed, this is {item!r}")
    name = item.get("type")
    kind = KINDS.get(name)
    if kind is None:
        raise UsageError(f"{where}: unknown type {name!r}; known are {', '.join(sorted(KINDS))}")
    where = f"{where} ({name})"
    unknown = set(item) - {"type", "kwargs", "meta", "severity", "id", "description", "notes"}
    if unknown:
        raise UsageError(f"{where}: unknown key {sorted(unknown)[0]!r}")
    kwargs, meta = item.get("kwargs", {}), item.get("meta") or {}
    if not isinstance(kwargs, dict) or not isinstance(meta, dict):
        raise UsageError(f"{where}: `kwargs` and `meta` are objects")
    severity = item.get("severity")
    if severity not in SEVERITIES:
        raise UsageError(f"{where}: severity {severity!r}; it is one of {', '.join(SEVERITIES)}")
    sentence = meta.get("sentence")
    if not isinstance(sentence, str) or not sentence.strip():
        raise UsageError(f"{where}: meta.sentence is missing; say in words what must hold, for the data steward")
    _check_kwargs(kind, kwargs, columns, where)
    check, sentence = _check_name(name, meta, where), _filled(sentence, meta, where)
    return Expectation(name, kwargs, severity, sentence, item.get("id"), _rule(kind, kwargs, meta, where), check, meta)


def _check_name(type_: str, meta: dict, where: str) -> str | None:
    check = meta.get("check")
    if check is None:
        return None
    if type_ != "unexpected_rows_expectation":
        raise UsageError(f"{where}: meta.check: only an unexpected_rows_expectation can compare with other tables")
    if not isinstance(check, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", check):
        raise UsageError(f"{where}: meta.check {check!r}; name the check in lower case letters, digits and _")
    return check


def _filled(sentence: str, meta: dict, where: str) -> str:
    """The sentence with its thresholds, so that the number that decides is the number that people read."""
    thresholds = meta.get("thresholds", {})
    if not isinstance(thresholds, dict) or not all(map(_number, thresholds.values())):
        raise UsageError(f"{where}: meta.thresholds {thresholds!r}; it is an object of numbers by name")
    if not thresholds:
        return sentence
    try:
        return sentence.format(**thresholds)
    except (KeyError, ValueError, IndexError) as error:
        raise UsageError(f"{where}: meta.sentence names {error}, which meta.thresholds does not have") from None


def _views(meta: dict, file: Path) -> dict[str, str]:
    views = meta.get("views", {})
    if not isinstance(views, dict) or not all(isinstance(sql, str) for sql in views.values()):
        raise UsageError(f"{file}: meta.views {views!r}; it is an object of SQL texts by name")
    return views


def _check_comparisons(expectations: tuple[Expectation, ...], views: dict[str, str], file: Path) -> None:
    """Every name in braces is known, and every check of the table has a name of its own."""
    names = [e.check for e in expectations if e.check]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError(f"{file}: two expectations have the meta.check {twice!r}; give one a new name")
    known = {"batch", "release", *ASKED, *TABLES}
    pairs: set[str] = set()
    singles: set[str] = set()
    texts = []
    for name, sql in views.items():  # one may be made of those before it
        texts.append((f"meta.views.{name}", sql, {"table", *(f"table.{before}" for before in pairs), *singles}))
        made_twice = any(n.split(".")[0] == "table" for n in named(sql))
        (pairs if made_twice else singles).add(name)
    known_by_checks = known | singles | {f"{side}.{name}" for side in ("batch", "release") for name in pairs}
    for number, e in enumerate(expectations, start=1):
        if e.check:
            own = known_by_checks | set(e.meta.get("thresholds", {}))
            texts.append((f"expectation {number} ({e.check})", e.kwargs["unexpected_rows_query"], own))
        elif e.type == "unexpected_rows_expectation" and set(named(e.kwargs["unexpected_rows_query"])) != {"batch"}:
            raise UsageError(f"{file}: expectation {number}: its SQL reads {{batch}} alone, or it needs a meta.check")
    for where, sql, own in texts:
        unknown = [name for name in named(sql) if name not in known | own]
        if unknown:
            raise UsageError(
                f"{file}: {where}: {{{unknown[0]}}} is unknown; there are: {', '.join(sorted(known | own))}"
            )


def named(sql: str) -> list[str]:
    """Names in braces in the SQL of a check, in order."""
    return NAMED.findall(sql)


def _rule(kind: Kind, kwargs: dict, meta: dict, where: str) -> str | None:
    action, rule = meta.get("action"), meta.get("rule")
    if action is None and rule is None:
        return None
    if action != "reject":
        raise UsageError(f"{where}: meta.action {action!r}; a row rule says action: reject")
    if not isinstance(rule, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", rule):
        raise UsageError(f"{where}: meta.rule {rule!r}; name the rule in lower case letters, digits and _")
    if not kind.row_form:
        rows = ", ".join(sorted(name for name, known in KINDS.items() if known.row_form))
        raise UsageError(f"{where}: it cannot judge a single row, so it cannot reject one; types that can: {rows}")
    if kwargs.get("mostly", 1) != 1:
        raise UsageError(f"{where}: `mostly` has no meaning in a row rule: every row that breaks it is rejected")
    return rule


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bound(value: Any) -> bool:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        try:
            return bool(date.fromisoformat(value))
        except ValueError:
            return False
    return value is None or _number(value)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) and v for v in value)


# What a kwarg may be, in words and as a test.
_VALUES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "min_value": ("a number or a date such as 2026-01-31", _bound),
    "max_value": ("a number or a date such as 2026-01-31", _bound),
    "strict_min": ("true or false", lambda v: isinstance(v, bool)),
    "strict_max": ("true or false", lambda v: isinstance(v, bool)),
    "or_equal": ("true or false", lambda v: isinstance(v, bool)),
    "mostly": ("a number from 0 to 1", lambda v: _number(v) and 0 <= v <= 1),
    "value": ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    "value_set": ("a list with at least one value", lambda v: isinstance(v, list) and bool(v)),
    "regex": ("a regular expression", lambda v: isinstance(v, str) and bool(v)),
    "regex_list": ("a list of regular expressions", _texts),
    "match_on": ("any or all", lambda v: v in ("any", "all")),
    "column_list": ("a list of two or more columns", lambda v: _texts(v) and len(v) > 1),
    "unexpected_rows_query": ("SQL that reads {batch}", lambda v: isinstance(v, str) and bool(named(v))),
}
_IGNORE = {
    "column_A": ("both_values_are_missing", "either_value_is_missing", "neither"),
    "column_list": ("all_values_are_missing", "any_value_is_missing", "never"),
}


def _check_kwargs(kind: Kind, kwargs: dict, columns: set[str], where: str) -> None:
    missing = [key for key in kind.required if key not in kwargs]
    unknown = sorted(set(kwargs) - {*kind.required, *kind.optional})
    if missing or unknown:
        problem = f"kwargs.{missing[0]} is missing" if missing else f"unknown kwargs.{unknown[0]}"
        takes = ", ".join((*kind.required, *kind.optional))
        raise UsageError(f"{where}: {problem}; it takes {takes}")
    for key, value in kwargs.items():
        words, holds = _VALUES.get(key, ("", None))
        if holds and not holds(value):
            raise UsageError(f"{where}: kwargs.{key} is {value!r}; it must be {words}")
        if key in ("column", "column_A", "column_B", "column_list"):
            for column in value if isinstance(value, list) else [value]:
                if column not in columns:
                    raise UsageError(f"{where}: kwargs.{key}: the table has no column {column!r}")
        if key == "ignore_row_if":
            allowed = next(words for domain, words in _IGNORE.items() if domain in kind.required)
            if value not in allowed:
                raise UsageError(f"{where}: kwargs.ignore_row_if is {value!r}; it is one of {', '.join(allowed)}")
    if "min_value" in kind.optional:
        low, high = kwargs.get("min_value"), kwargs.get("max_value")
        if low is None and high is None:
            raise UsageError(f"{where}: kwargs.min_value or kwargs.max_value is needed")
        if low is not None and high is not None and (isinstance(low, str) != isinstance(high, str) or low > high):
            raise UsageError(f"{where}: kwargs.min_value {low!r} is not below kwargs.max_value {high!r}")
