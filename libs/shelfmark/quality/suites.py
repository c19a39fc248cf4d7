"""Suites evaluated by Great Expectations: the only module that imports it.

Great Expectations judges; its context is ephemeral, so that nothing is written, and lives as long as the process.
Evaluating every detail costs it a Spark job an expectation; a verdict alone costs a few jobs a suite. So a suite is
evaluated for verdicts first, and only what failed is asked again for examples.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from shelfmark.errors import UsageError
from shelfmark.quality import rules
from shelfmark.quality.definitions import Expectation, Suite, exists, load

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["CheckResult", "Expectation", "Suite", "exists", "load", "refused", "validate"]

# Examples kept of a failed expectation, and characters of each: enough for a person to recognise what is wrong.
EXAMPLES = 10
EXAMPLE_LENGTH = 200
SQL = "unexpected_rows_expectation"

_names = itertools.count()
_one_at_a_time = threading.RLock()


@dataclass(frozen=True)
class CheckResult:
    """An expectation evaluated: the columns of silver.check_results without run_id and run_date.

    `observed` is a JSON object: `rows` looked at, `broken` rows and their `share` where rows can be judged, `value`
    of an aggregate, `examples` of broken values where it failed.
    """

    table: str
    suite: str
    expectation: str
    column: str | None
    severity: str
    success: bool
    observed: str
    sentence: str


def validate(df: DataFrame, table_name: str, suite: Suite | None = None) -> list[CheckResult]:
    """Evaluate the suite of a table on `df`, in the suite's order.

    `df` is read several times, a few columns each: pass a frame read from Delta, or a persisted one.
    Raises `UsageError` naming file and expectation where Great Expectations refuses or cannot evaluate one.
    """
    suite = suite or load(table_name)
    if not suite.expectations:
        return []
    positions = list(range(len(suite.expectations)))
    with _one_at_a_time, _batch(df) as batch:
        verdicts = _evaluate(batch, suite, positions, "BOOLEAN_ONLY")
        rows, broken = _tally(df, suite, verdicts)
        failed = [position for position in positions if not verdicts[position]["success"]]
        details = {}
        if failed:
            # BASIC gives counts and examples, but of SQL the rows only come with COMPLETE (200 at the most).
            for result_format in ("BASIC", "COMPLETE"):
                mine = [p for p in failed if (suite.expectations[p].type == SQL) == (result_format == "COMPLETE")]
                asked = {"result_format": result_format, "partial_unexpected_count": EXAMPLES}
                details |= _evaluate(batch, suite, mine, asked) if mine else {}
    results = []
    for position, e in enumerate(suite.expectations):
        observed = {"rows": rows}
        if position in broken:
            observed["broken"] = broken[position]
        if position in details:
            observed |= _details(details[position]["result"])
        if "broken" in observed:
            observed["share"] = round(observed["broken"] / rows, 6) if rows else 0.0
        results.append(
            CheckResult(
                table=suite.table,
                suite=suite.name,
                expectation=e.type,
                column=", ".join(e.columns) or None,
                severity=e.severity,
                success=bool(verdicts[position]["success"]),
                observed=json.dumps(observed, ensure_ascii=False, default=str),
                sentence=e.sentence,
            )
        )
    return results


def refused(results: list[CheckResult]) -> list[CheckResult]:
    """The results that stop a run: critical expectations that do not hold."""
    return [result for result in results if result.severity == "critical" and not result.success]


def _tally(df: DataFrame, suite: Suite, verdicts: dict[int, dict[str, Any]]) -> tuple[int, dict[int, int]]:
    """Rows of `df`, and broken rows by position, of the expectations that hold and judge rows.

    One that holds for all rows has none; only of one that allows some (`mostly`) they must be counted.
    """
    held = [(p, e) for p, e in enumerate(suite.expectations) if e.row_form and verdicts[p]["success"]]
    counted = [(p, e) for p, e in held if e.kwargs.get("mostly", 1) < 1]
    rows, broken = rules.tally(df, [e for _, e in counted])
    return rows, {p: 0 for p, _ in held} | {p: n for (p, _), n in zip(counted, broken)}


def _details(result: dict[str, Any]) -> dict[str, Any]:
    """What a BASIC result adds: broken rows and examples of a row expectation, the value of an aggregate."""
    found: dict[str, Any] = {}
    if result.get("unexpected_count") is not None:
        found["broken"] = result["unexpected_count"]
    rows = (result.get("details") or {}).get("unexpected_rows")
    if rows is not None:
        found["broken"] = result["observed_value"]
    elif result.get("observed_value") is not None:
        found["value"] = result["observed_value"]
    values = result.get("partial_unexpected_list") or rows or []
    examples = [_short(value) for value in values[:EXAMPLES]]
    if any(example is not None for example in examples):
        found["examples"] = list(dict.fromkeys(examples))
    return found


def _short(value: Any) -> Any:
    """An example fit for a page: text cut, everything that JSON has no word for as text."""
    if isinstance(value, dict):
        return json.dumps({key: _short(item) for key, item in value.items()}, ensure_ascii=False, default=str)
    if isinstance(value, list | tuple):
        return ", ".join(str(_short(item)) for item in value)[:EXAMPLE_LENGTH]
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)[:EXAMPLE_LENGTH]


@lru_cache(maxsize=1)
def _context() -> Any:
    """The ephemeral context of this process: no files, no statistics sent, no progress bars, a quiet log."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    # The import sends every Python warning of the process to the log; that is not its choice to make.
    logging.captureWarnings(False)
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

    # Without its own docs site, for which it would make a temporary folder.
    stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    context = gx.get_context(project_config=DataContextConfig(store_backend_defaults=stores), mode="ephemeral")
    context.variables.analytics_enabled = False
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    return context


@contextmanager
def _batch(df: DataFrame) -> Iterator[Any]:
    """`df` as a batch of Great Expectations, forgotten afterwards."""
    context = _context()
    name = f"frame-{next(_names)}"
    # persist=False: the frame is Delta, and caching all its columns costs more than reading the few that are asked.
    source = context.data_sources.add_spark(name, persist=False)
    definition = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    try:
        yield definition.get_batch({"dataframe": df})
    finally:
        context.data_sources.delete(name)
        # Its SQL expectations leave this view behind.
        df.sparkSession.catalog.dropTempView("tmp_view")


def _evaluate(batch: Any, suite: Suite, positions: list[int], result_format: Any) -> dict[int, dict[str, Any]]:
    """{position: {success, result}} of the expectations at `positions`."""
    import great_expectations as gx

    expectations = []
    for position in positions:
        e = suite.expectations[position]
        # Its place is the id: results come back in another order, and two expectations may differ in nothing else.
        raw = {"type": e.type, "kwargs": dict(e.kwargs), "severity": e.severity, "meta": {"position": position}}
        try:
            built = gx.ExpectationSuite(name=suite.name, expectations=[raw])
        except Exception as error:
            raise UsageError(f"{_where(suite, position)}: Great Expectations refuses it: {_one_line(error)}") from None
        expectations.append(built.expectations[0].configuration.to_json_dict())
    validated = batch.validate(
        gx.ExpectationSuite(name=suite.name, expectations=expectations), result_format=result_format
    )
    found = {}
    for result in validated.results:
        position = result.expectation_config.meta["position"]
        problem = _exception(result.exception_info)
        if problem:
            raise UsageError(f"{_where(suite, position)}: it could not be evaluated: {problem}")
        found[position] = {"success": result.success, "result": dict(result.result or {})}
    missing = [position for position in positions if position not in found]
    if missing:
        raise UsageError(f"{_where(suite, missing[0])}: Great Expectations gave no result for it")
    return found


def _exception(info: Any) -> str | None:
    """The message of an exception Great Expectations caught: its info is one record, or one per metric."""
    if not info:
        return None
    records = [info] if "raised_exception" in info else [v for v in info.values() if isinstance(v, dict)]
    return next((_one_line(r.get("exception_message")) for r in records if r.get("raised_exception")), None)


def _one_line(error: Any) -> str:
    return " ".join(str(error).split())[:500]


def _where(suite: Suite, position: int) -> str:
    return f"{suite.path}: expectation {position + 1} ({suite.expectations[position].type})"
