"""Suites evaluated in two phases; the only module that imports Great Expectations.

1. `fused` gives the verdicts, in a few Spark jobs for all expectations of all tables, with counts and examples of what
   failed.
2. Great Expectations judges what `fused` cannot, and says what is wrong where that knows no more than that something is.
   It must give the same verdict; where it does not, one of the two is wrong and the run stops.

Where it has nothing to judge, Great Expectations is not even imported. Its context is ephemeral, so that nothing is
written, and lives as long as the process.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from shelfmark.errors import UsageError
from shelfmark.quality import fused
from shelfmark.quality.definitions import Expectation, Suite, exists, load
from shelfmark.quality.fused import EXAMPLES, SQL, Judged

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["CheckResult", "Expectation", "Suite", "exists", "load", "refused", "validate", "validate_all"]

# Characters of an example.
EXAMPLE_LENGTH = 200

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
    """Evaluate the suite of a table on `df`, in the suite's order; see `validate_all`."""
    return validate_all([(df, suite or load(table_name))])


def validate_all(tables: Sequence[tuple[DataFrame, Suite]]) -> list[CheckResult]:
    """Evaluate the suites of several frames: results of the first in its suite's order, then those of the next.

    A frame is read several times, a few columns each: pass one read from Delta, or a persisted one.
    Raises `UsageError` naming file and expectation where Great Expectations refuses or cannot evaluate one, and
    `RuntimeError` where it judges otherwise than `fused` did.
    """
    tables = [(df, suite) for df, suite in tables if suite.expectations]
    judged = fused.judge(tables)
    return [result for (df, suite), first in zip(tables, judged) for result in _results(df, suite, first)]


def _results(df: DataFrame, suite: Suite, first: Judged) -> list[CheckResult]:
    asked = [p for p in range(len(suite.expectations)) if not (p in first.verdicts and first.verdicts[p].says_all)]
    details = _ask(df, suite, asked) if asked else {}
    rows = df.count() if first.rows is None else first.rows
    results = []
    for position, e in enumerate(suite.expectations):
        verdict, detail = first.verdicts.get(position), details.get(position)
        if verdict and detail and verdict.success != detail["success"]:
            raise RuntimeError(
                f"{_where(suite, position)}: Great Expectations says it {'holds' if detail['success'] else 'fails'}, the "
                f"fused check says otherwise ({verdict.broken} of {rows} rows, value {verdict.value}): one of them is wrong"
            )
        observed: dict[str, Any] = {"rows": rows}
        if verdict and verdict.broken is not None:
            observed["broken"] = verdict.broken
        if verdict and verdict.value is not None:
            observed["value"] = verdict.value
        if verdict:
            observed |= _shown(verdict.examples)
        if detail:
            observed |= _details(detail)
        if "broken" in observed:
            observed["share"] = round(observed["broken"] / rows, 6) if rows else 0.0
        results.append(
            CheckResult(
                table=suite.table,
                suite=suite.name,
                expectation=e.type,
                column=", ".join(e.columns) or None,
                severity=e.severity,
                success=bool(detail["success"] if detail else verdict.success),
                observed=json.dumps(observed, ensure_ascii=False, default=str),
                sentence=e.sentence,
            )
        )
    return results


def _ask(df: DataFrame, suite: Suite, positions: list[int]) -> dict[int, dict[str, Any]]:
    details = {}
    with _one_at_a_time, _batch(df) as batch:
        # BASIC gives counts and examples, but of SQL the rows only come with COMPLETE (200 at the most).
        for result_format in ("BASIC", "COMPLETE"):
            mine = [p for p in positions if (suite.expectations[p].type == SQL) == (result_format == "COMPLETE")]
            asked = {"result_format": result_format, "partial_unexpected_count": EXAMPLES}
            details |= _evaluate(batch, suite, mine, asked) if mine else {}
    return details


def refused(results: list[CheckResult]) -> list[CheckResult]:
    """The results that stop a run: critical expectations that do not hold."""
    return [result for result in results if result.severity == "critical" and not result.success]


def _details(found_there: dict[str, Any]) -> dict[str, Any]:
    """What a result adds: broken rows of a row expectation, value of an aggregate, and examples where it failed."""
    result = found_there["result"]
    found: dict[str, Any] = {}
    if result.get("unexpected_count") is not None:
        found["broken"] = result["unexpected_count"]
    rows = (result.get("details") or {}).get("unexpected_rows")
    if rows is not None:
        found["broken"] = result["observed_value"]
    elif result.get("observed_value") is not None:
        found["value"] = result["observed_value"]
    return found if found_there["success"] else found | _shown(result.get("partial_unexpected_list") or rows or [])


def _shown(values: Sequence[Any]) -> dict[str, list[Any]]:
    """{"examples": different ones of the values, fit for a page}; nothing where there are none to see."""
    examples = [_short(value) for value in values[:EXAMPLES]]
    return {"examples": list(dict.fromkeys(examples))} if any(example is not None for example in examples) else {}


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
