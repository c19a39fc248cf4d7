"""Checks that compare a table with the last release, and with other tables of the same branch.

Row rules and aggregates see one table at one moment. What they cannot see: half a feed that is missing, a column that
came empty, prices a hundred times as high, keys that are all new, predictions of products that are gone. Such a check is
an `unexpected_rows_expectation` with a name (`meta.check`) in the suite of a table; its SQL returns one row a violation,
and those rows are what people read. It may name in braces:

- `{batch}`: the table on the branch; `{release}`: the same table at the newest release, an empty one where the release
  lacks it; `{silver.catalogue}`: any other table on the branch;
- a view of the suite (`meta.views`): SQL that is evaluated once for all its checks. One over `{table}`, or over another
  view of it, `{table.NAME}`, makes two views: `{batch.NAME}` and `{release.NAME}`. Any other is `{NAME}`;
- `{run_id}`, `{run_date}`: literals of this run; `{sources}`: a view of the sources in its settings, column `source`;
- the numbers of the check's `meta.thresholds`.

1. A check that names the release holds where there is none yet, and one that names another table where that is not
   there yet; nothing is read for it.
2. The views are cached, and all checks of a table go to Spark as one job that returns a few rows of each.
3. A failed check that a person accepted for this run (`--accept TABLE:CHECK`) stays failed in silver.check_results,
   with who accepted it, as a warning: it does not stop the run.

Great Expectations evaluates the same SQL once the names are filled in; that it gives the same verdict is tested.
"""

from __future__ import annotations

import getpass
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any

from shelfmark import failures
from shelfmark.errors import UsageError
from shelfmark.quality import definitions
from shelfmark.quality.definitions import NAMED, Expectation, Suite, named
from shelfmark.quality.suites import EXAMPLE_LENGTH, EXAMPLES, CheckResult
from shelfmark.tables import TABLES

if TYPE_CHECKING:
    from datetime import date

    from pyspark.sql import DataFrame, SparkSession

_names = itertools.count()


@dataclass(frozen=True)
class Sides:
    """What the SQL of checks may name.

    `has` and `batch` tell whether a table is on the branch, and give it; `release` gives it at the newest release.
    `release` and `commit` (the release's id) are None before the first. `accepted`: {"table:check": who} of this run.
    """

    has: Callable[[str], bool]
    batch: Callable[[str], DataFrame]
    release: Callable[[str], DataFrame] | None
    commit: str | None
    run_id: str
    run_date: date
    sources: tuple[str, ...] = ()
    accepted: Mapping[str, str] = field(default_factory=dict)


def names() -> list[str]:
    """Every check there is, as `table:check`, in alphabetical order."""
    suites = (definitions.load(table) for table in sorted(TABLES) if definitions.exists(table))
    return sorted(f"{suite.table}:{e.check}" for suite in suites for e in suite.comparisons)


def accepted(wanted: Iterable[str], by: str | None = None) -> dict[str, str]:
    """{check: who accepts it} of the checks a person accepts for one run; `UsageError` for one that is not there."""
    wanted = list(dict.fromkeys(wanted))
    known = names() if wanted else []
    unknown = next((name for name in wanted if name not in known), None)
    if unknown:
        raise UsageError(f"--accept {unknown}: there is no such check; there are: {', '.join(known)}")
    return dict.fromkeys(wanted, by or _user()) if wanted else {}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "unknown"


def compare(spark: SparkSession, suite: Suite, sides: Sides) -> list[CheckResult]:
    """Evaluate the comparisons of a suite, in its order.

    `observed` is a JSON object: `broken` rows its SQL returned, the first of them as `examples`, the `release` compared
    with, `accept` (what to run with where it is right all the same) or `accepted_by`; `skipped` says why nothing was
    compared. Raises `UsageError` naming file and check where Spark refuses the SQL.
    """
    if not suite.comparisons:
        return []
    skipped = {e.check: why for e in suite.comparisons if (why := _why_skipped(e, suite, sides))}
    asked = [e for e in suite.comparisons if e.check not in skipped]
    found = _evaluate(spark, suite, asked, sides) if asked else {}
    return [_result(suite, e, found.get(e.check), skipped.get(e.check), sides) for e in suite.comparisons]


def _why_skipped(e: Expectation, suite: Suite, sides: Sides) -> str | None:
    if not sides.release and _names_release(e, suite):
        return "there is no release yet to compare with"
    tables = (name for name in _all_named(e, suite) if name in TABLES)
    return next((f"{name} is not there yet" for name in tables if not sides.has(name)), None)


def _names_release(e: Expectation, suite: Suite) -> bool:
    return any(name.split(".")[0] == "release" for name in _all_named(e, suite))


def _all_named(e: Expectation, suite: Suite) -> list[str]:
    """Names in braces in the SQL of a check and of the views it names."""
    wanted = named(e.kwargs["unexpected_rows_query"])
    for name in wanted:  # grows while views name more
        wanted += [inner for inner in named(suite.views.get(name, "")) if inner not in wanted]
    return wanted


def _evaluate(
    spark: SparkSession, suite: Suite, checks: list[Expectation], sides: Sides
) -> dict[str, tuple[int, list[str]]]:
    """{check: (rows its SQL returns, the first of them as JSON)}."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.sql import functions as F

    prefix = f"against_{next(_names)}"
    made: dict[str, str] = {}
    cached: list[DataFrame] = []

    def view(frame: DataFrame) -> str:
        name = f"{prefix}_{len(made)}"
        frame.createOrReplaceTempView(name)
        return name

    def filled(sql: str, literals: Mapping[str, Any], table: str | None = None) -> str:
        def one(match) -> str:
            name = match[1]
            if name.split(".")[0] == "table":
                return place(table + name.removeprefix("table"))
            return str(literals[name]) if name in literals else place(name)

        return NAMED.sub(one, sql)

    def place(name: str) -> str:
        if name in made:
            return made[name]
        side, _, rest = name.partition(".")
        if name == "run_id":
            made[name] = f"'{sides.run_id}'"
        elif name == "run_date":
            made[name] = f"DATE'{sides.run_date.isoformat()}'"
        elif name == "sources":
            made[name] = view(spark.createDataFrame([(s,) for s in sides.sources], "source string"))
        elif name == "batch":
            made[name] = view(sides.batch(suite.table))
        elif name == "release":
            made[name] = view(sides.release(suite.table))
        elif name in TABLES:
            made[name] = view(sides.batch(name))
        else:
            text = suite.views[rest if side in ("batch", "release") else name]
            # Narrow aggregates: in one partition, what is made of them needs no shuffle, and a check is one small task.
            frame = spark.sql(filled(text, {}, side)).coalesce(1).persist()
            cached.append(frame)
            made[name] = view(frame)
        return made[name]

    try:
        frames = {}
        for e in checks:
            try:
                sql = filled(e.kwargs["unexpected_rows_query"], e.meta.get("thresholds", {}))
                frames[e.check] = spark.sql(sql)
            except PySparkException as error:
                raise UsageError(f"{suite.path}: check {e.check}: Spark refuses its SQL: {_one_line(error)}") from None
        some = [_rows(frame, check).limit(EXAMPLES + 1) for check, frame in frames.items()]
        try:
            rows = reduce(lambda a, b: a.unionAll(b), some).collect()
            found = {check: [row.violation for row in rows if row.check == check] for check in frames}
            many = [check for check, violations in found.items() if len(violations) > EXAMPLES]
            counts = {check: len(violations) for check, violations in found.items()}
            counts |= {check: frames[check].select(F.lit(1)).count() for check in many}
        except (PySparkException, Py4JError) as error:
            wrong = UsageError(f"{suite.path}: its checks could not be evaluated: {_one_line(error)}")
            raise failures.explain(error) or wrong from None
        return {check: (counts[check], found[check][:EXAMPLES]) for check in frames}
    finally:
        for frame in cached:
            frame.unpersist()
        for number in range(len(made) + 1):
            spark.catalog.dropTempView(f"{prefix}_{number}")


def _rows(frame: DataFrame, check: str) -> DataFrame:
    """Violations as JSON texts; a column that is null is told of as well."""
    from pyspark.sql import functions as F

    columns = [
        F.substring(frame[f"`{f.name}`"], 1, EXAMPLE_LENGTH).alias(f.name)
        if f.dataType.typeName() == "string"
        else frame[f"`{f.name}`"]
        for f in frame.schema.fields
    ]
    violation = F.to_json(F.struct(*columns), {"ignoreNullFields": "false"})
    return frame.select(F.lit(check).alias("check"), violation.alias("violation"))


def _result(
    suite: Suite, e: Expectation, found: tuple[int, list[str]] | None, skipped: str | None, sides: Sides
) -> CheckResult:
    name = f"{suite.table}:{e.check}"
    severity = e.severity
    observed: dict[str, Any] = {"check": e.check}
    if found is None:
        observed["skipped"] = skipped
    else:
        observed["broken"] = found[0]
        if _names_release(e, suite):
            observed["release"] = sides.commit
    broken = bool(found and found[0])
    if broken:
        observed["examples"] = found[1]
        if name in sides.accepted:
            severity = "warning" if severity == "critical" else severity
            observed["accepted_by"] = sides.accepted[name]
        elif severity == "critical":
            observed["accept"] = f"--accept {name}"
    return CheckResult(
        table=suite.table,
        suite=suite.name,
        expectation=e.type,
        column=None,
        severity=severity,
        success=not broken,
        observed=json.dumps(observed, ensure_ascii=False, default=str),
        sentence=e.sentence,
    )


def _one_line(error: Any) -> str:
    return " ".join(str(error).split())[:500]
