"""A run of a job: branch, recipe, checks, one publish.

1. A branch is made from main; the recipe reads tables there and writes tables through their contracts.
2. The suites of all written tables are validated on the branch.
3. All critical expectations hold: the tables, the evidence and the run record publish as one commit.
   One fails: the tables stay as they were, the branch stays for inspection, and a journal-only commit publishes the
   evidence; the run ends with `DataRefused`.
4. A run id that is published already is not run again; a job whose inputs did not change is skipped.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shelfmark import config, deltalog, failures, migrations
from shelfmark.errors import DataRefused, ShelfmarkError, UsageError
from shelfmark.lake import Commit, Conflict, Lake, Locked, NotFound, diff, open_lake
from shelfmark.quality import against, definitions, suites
from shelfmark.tables import Table, table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from shelfmark.config import Settings
    from shelfmark.quality.definitions import Suite

# Tables that only ever grow: what earlier runs added was checked then, so a run checks its own rows.
APPENDED = ("bronze.raw_products", "silver.rejected")
COMPARED_AT_ONCE = 2
JOURNALS = ("silver.rejected", "silver.check_results", "gold.runs")
RUN_ID = re.compile(r"(\d{4})(\d{2})(\d{2})[A-Za-z0-9_-]*")
# Settings that say where a run happens, not what it makes: a change of them is no reason to run a job again.
WHERE = {"env", "home", "data", "sources", "source_dirs", "spark", "notify", "mlflow_uri", "mlflow_artifacts", "lake"}
WHERE |= {"lakefs", "lock_wait", "retention", "accept", "accepted_by"}


def new_run_id() -> str:
    """A run id of now: UTC time and four random characters, so that two starts in one second differ."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def run_date(run_id: str) -> date:
    """The day a run id names; `UsageError` when it does not begin with one."""
    match = RUN_ID.fullmatch(run_id)
    try:
        return date(*map(int, match.groups()))
    except (AttributeError, ValueError):
        raise UsageError(f"run id {run_id!r}: begin it with the day, as 20260131-nightly") from None


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `status`: done, skipped (inputs unchanged), already (published before)."""

    job: str
    status: str
    commit: Commit | None
    seconds: float
    notes: dict[str, Any] = field(default_factory=dict)
    stopped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Since:
    """What differs from the job's last run that ended well: its commit, and `changed` of it."""

    last: Commit
    changed: list[str]


class Run:
    """What a recipe works with: tables of one branch, by contract."""

    def __init__(
        self, job: str, run_id: str, attempt: int, settings: Settings, spark: SparkSession, lake: Lake, suffix: str = ""
    ):
        self.job, self.run_id, self.attempt = job, run_id, attempt
        self.settings, self.spark, self.lake = settings, spark, lake
        self.run_date = run_date(run_id)
        self.branch = f"run-{job}-{run_id}-{attempt}{suffix}"
        self.base = lake.branch(self.branch)
        self.started = datetime.now(UTC)
        self.inputs: dict[str, str | None] = {}
        self.rows: dict[str, int] = {}
        self.notes: dict[str, Any] = {}
        self.stopped: dict[str, str] = {}
        self.written: list[str] = []
        self.models: list[str] = []
        self.accepted = against.accepted(settings.accept, settings.accepted_by)
        self.rewritten: dict[str, str] = {}
        self.unchanged: dict[str, str] = {}
        self.spared: tuple[str, ...] = ()
        self.since: Since | None = None
        self.parts: dict[str, DataFrame] = {}
        self._branching = threading.Lock()  # a recipe may write tables side by side
        self.log = logging.LoggerAdapter(logging.getLogger("shelfmark"), {"run_id": run_id, "job": job})

    # -- tables -------------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether the table exists at this branch."""
        return bool(self._paths(name))

    def read(self, name: str) -> DataFrame:
        """A table at this branch: own writes are seen; an empty frame with its columns where there is none yet."""
        contract = table(name)
        paths = self._paths(name)
        if not paths:
            return self.spark.createDataFrame([], contract.ddl)
        return load(self.spark, paths, contract)

    def write(self, name: str, df: DataFrame, replace: str | None = None, append: bool = False) -> None:
        """Write a table through its contract.

        The default overwrites it; `append` adds rows; `replace` is a SQL condition: exactly the rows that meet it
        are replaced by `df`.
        """
        from delta.tables import DeltaTable

        contract = table(name)
        path = self.write_path(name)
        exists = DeltaTable.isDeltaTable(self.spark, path)
        if exists:
            migrations.prepare(self.spark, path, contract, keep=append or bool(replace))
        writer = migrations.writer(conform(df, contract), contract, "append" if append else "overwrite")
        if replace and exists:
            writer = writer.option("replaceWhere", replace).option("mergeSchema", "true")
        else:
            writer = writer.option("mergeSchema" if append else "overwriteSchema", "true")
        writer.save(path)
        self.rows[name] = self.rows.get(name, 0) + _rows_written(self.spark, path)
        migrations.stamp(self.spark, path, contract)
        self.log.info("wrote %s rows=%d", name, self.rows[name])

    def merge(
        self,
        name: str,
        df: DataFrame,
        gone: str | None = None,
        unless: str | None = None,
        only: list[str] | None = None,
        within: str | None = None,
    ) -> None:
        """Insert rows with new keys and update rows with known keys (`t` is the table, `s` the new rows).

        `unless`: a condition under which a known row stays as it is; `only`: columns that an update may change;
        `gone`: a condition on `t`: such rows are deleted when their key is not among the new ones; `within`: a condition
        on `t` with literal partitions that all known rows lie in, so that the others are not read.
        """
        from delta.tables import DeltaTable

        contract = table(name)
        path = self.write_path(name)
        migrations.prepare(self.spark, path, contract)
        on = " AND ".join([*(f"t.{key} = s.{key}" for key in contract.keys), *filter(None, [within])])
        merge = DeltaTable.forPath(self.spark, path).alias("t").merge(conform(df, contract).alias("s"), on)
        merge = merge.withSchemaEvolution()
        update = {column: f"s.{column}" for column in only or contract.columns}
        merge = merge.whenMatchedUpdate(f"NOT ({unless})" if unless else None, update).whenNotMatchedInsertAll()
        if gone:
            merge = merge.whenNotMatchedBySourceDelete(gone)
        merge.execute()
        self.rows[name] = self.rows.get(name, 0) + _rows_written(self.spark, path)

    def swap(self, name: str, gone: DataFrame, df: DataFrame) -> None:
        """Delete the rows that have a key of `gone`, whose columns are some of the table's, then append `df`.

        For a small part of a large table: the rows that go are marked in deletion vectors, and no file that holds
        others beside them is written again; `maintain` does that when it compacts. The rows that come are the part of
        the table that this run's checks look at: `parts`, by name, to which a recipe may add parts of what it read.
        """
        from delta.tables import DeltaTable
        from pyspark.sql import functions as F

        contract = table(name)
        path = self.write_path(name)
        migrations.prepare(self.spark, path, contract)
        migrations.mark_deletions(self.spark, path)
        on = " AND ".join(f"t.{key} = s.{key}" for key in gone.columns)
        target = DeltaTable.forPath(self.spark, path).alias("t")
        target.merge(F.broadcast(gone).alias("s"), on).whenMatchedDelete().execute()
        migrations.writer(conform(df, contract), contract, "append").option("mergeSchema", "true").save(path)
        self.rows[name] = self.rows.get(name, 0) + _rows_written(self.spark, path)
        self.parts[name] = diff.added(self.spark, self.lake, self.base.id, self.branch, contract)
        self.log.info("wrote %s rows=%d", name, self.rows[name])

    def delete(self, name: str, condition: Column) -> None:
        """Delete the rows of a table that meet a condition."""
        from delta.tables import DeltaTable

        path = self.write_path(name)
        migrations.prepare(self.spark, path, table(name))
        DeltaTable.forPath(self.spark, path).delete(condition)

    def write_path(self, name: str) -> str:
        """Address to write a table on the branch, for verbs that need more than `write`, such as MERGE."""
        with self._branching:
            if name not in self.written:
                self.written.append(name)
            return self.lake.write_path(self.branch, self.folder(name))

    def rewrite_path(self, name: str, folder: str) -> str:
        """Address to rewrite a table's folder on the branch, also another job's: its lock is to be held, see `hold`."""
        self.rewritten[folder] = name
        return self.lake.write_path(self.branch, folder)

    def same(self, folder: str) -> None:
        """A rewritten folder has the rows it had: whoever read it before need not read it again."""
        before = self.lake.folders(self.base.id).get(folder) if self.base else None
        if before and self.rewritten[folder] not in self.written:
            self.unchanged[folder] = before

    def spare(self, *jobs: str) -> None:
        """What this run writes is no reason for these jobs to run again, though they own or read such tables."""
        self.spared = jobs

    def folder(self, name: str) -> str:
        """Folder this job writes a table in."""
        contract = table(name)
        return f"{contract.path}/{self.job}" if contract.writers else contract.path

    def model_path(self, model: str, version: str) -> str:
        """Folder to write the files of a model in, which driver and executors share; `put` then brings them to the lake."""
        return self.scratch(f"models/{model}/{version}")

    def put(self, folder: str, origin: str) -> None:
        """The files of a local directory as a folder of the branch; published with the tables."""
        self.lake.put(self.branch, folder, Path(origin))
        self.models.append(folder)

    def scratch(self, name: str) -> str:
        """Address for intermediate files: reachable by every worker, gone with the branch."""
        return self.lake.scratch_path(self.branch, name)

    def reject(self, rows: DataFrame) -> None:
        """Record refused rows: columns of silver.rejected without action, run_id and run_date."""
        from pyspark.sql import functions as F

        self._write_mine("silver.rejected", self.stamped(rows.withColumn("action", F.lit("reject"))), self._mine())

    def stamped(self, df: DataFrame) -> DataFrame:
        """`df` with this run's run_id and run_date."""
        from pyspark.sql import functions as F

        return df.withColumn("run_id", F.lit(self.run_id)).withColumn("run_date", F.lit(self.run_date))

    def stop_source(self, source: str, reason: str) -> None:
        """One source cannot be taken in: the others go on, and the run ends with exit code 3."""
        self.stopped[source] = reason
        self.log.error("source %s stopped: %s", source, reason)

    def note(self, **counts: Any) -> None:
        """Counts for the run record."""
        self.notes.update(counts)
        self.log.info(" ".join(f"{key}={value}" for key, value in counts.items()))

    # -- end of a run -------------------------------------------------------------------------------------------

    def _mine(self) -> str:
        return f"run_id = '{self.run_id}'"

    def _paths(self, name: str) -> list[str]:
        wanted, folders = table(name).folders, self.lake.folders(self.branch)
        base = self.lake.folders(self.base.id) if self.base else {}
        for folder in wanted:
            if name not in JOURNALS:
                self.inputs[folder] = base.get(folder)
        return [self.lake.read_path(self.branch, folder) for folder in wanted if folder in folders]

    def validate(self) -> list[suites.CheckResult]:
        """Results of the suites of all tables written, on the branch: of the tables alone, then against the last
        release and other tables, then of the journal rows that are going to be written."""
        named = {name: definitions.load(name) for name in self.written if definitions.exists(name)}
        checked = [(self._checked(name), suite) for name, suite in named.items()]
        mine = [suite for name, suite in named.items() if table(name).made_by(self.job)]
        # Side by side: on small tables both are the latency of many small Spark jobs.
        with ThreadPoolExecutor(1, "comparisons") as pool:
            compared = pool.submit(self._compare, mine)
            results = suites.validate_all(checked)
            results += compared.result()
        if not results:  # nothing was written: a run record is all there will be
            return []
        rows = {"silver.check_results": self._check_rows(results), "gold.runs": [self._record("done", None)]}
        journals = [(self._journal_frame(name, mine), definitions.load(name)) for name, mine in rows.items()]
        return results + suites.validate_all(journals)

    def _checked(self, name: str) -> DataFrame:
        """The rows of a table that this run answers for."""
        if name in self.parts and not self.parts[name].isEmpty():
            return self.parts[name]
        rows = self.read(name)
        return rows.where(self._mine()) if name in APPENDED else rows

    def _compare(self, compared: Iterable[Suite]) -> list[suites.CheckResult]:
        """Comparisons of tables that this job is the owner of: what a person erases, or maintenance rewrites, is no
        surprise. What the checks read is no input of the job."""
        inputs, release = dict(self.inputs), self.lake.release()
        if self.accepted:
            self.notes["accepted"] = self.accepted
        sides = against.Sides(
            has=self.has,
            batch=self.read,
            release=(lambda name: read_at(self.spark, self.lake, release.id, name)) if release else None,
            commit=release.id if release else None,
            run_id=self.run_id,
            run_date=self.run_date,
            sources=tuple(self.settings.sources),
            accepted=self.accepted,
        )
        part = replace(sides, batch=lambda name: self.parts[name] if name in self.parts else self.read(name))
        asked = []
        for suite in compared:
            apart = [e for e in suite.comparisons if e.by_part and suite.table in self.parts]
            rest = [e for e in suite.comparisons if e not in apart]
            asked += [(replace(suite, comparisons=tuple(some)), of) for some, of in ((apart, part), (rest, sides))]
        with ThreadPoolExecutor(COMPARED_AT_ONCE, "comparisons") as pool:
            results = list(pool.map(lambda one: against.compare(self.spark, *one), asked))
        self.inputs = inputs
        return list(itertools.chain.from_iterable(results))

    def journal(self, status: str, reason: str | None, results: list[suites.CheckResult]) -> None:
        """Write check results and the run record on the branch."""
        if results:
            self._append_journal("silver.check_results", self._check_rows(results), self._mine())
        self._append_journal(
            "gold.runs", [self._record(status, reason)], f"{self._mine()} AND attempt = {self.attempt}"
        )

    def _check_rows(self, results: list[suites.CheckResult]) -> list[dict[str, Any]]:
        return [asdict(result) for result in results]

    def _record(self, status: str, reason: str | None) -> dict[str, Any]:
        return {
            "job": self.job,
            "attempt": self.attempt,
            "status": status,
            "reason": reason,
            "input_commit": self.base.id if self.base else None,
            "config_hash": self.settings.hash,
            "code_version": code_version(),
            "rows": json.dumps(self.rows, sort_keys=True),
            "notes": json.dumps({**self.notes, "stopped": self.stopped}, sort_keys=True, default=str),
            "seconds": round((datetime.now(UTC) - self.started).total_seconds(), 3),
            "started_at": self.started,
        }

    def _append_journal(self, name: str, rows: list[dict[str, Any]], replace: str) -> None:
        self._write_mine(name, self._journal_frame(name, rows), replace)

    def _write_mine(self, name: str, df: DataFrame, replace: str) -> None:
        """Write rows of this run to a journal, in place of those that meet `replace`.

        Before the first write of a first attempt there are none, and to look for them takes longer than the write.
        """
        first = self.attempt == 1 and name not in self.written
        self.write(name, df, replace=None if first else replace, append=first)

    def _journal_frame(self, name: str, rows: list[dict[str, Any]]) -> DataFrame:
        contract = table(name)
        full = [{**row, "run_id": self.run_id, "run_date": self.run_date} for row in rows]
        tuples = [tuple(row.get(column) for column in contract.columns) for row in full]
        return self.spark.createDataFrame(tuples, contract.ddl).coalesce(1)

    def checks(self, results: list[suites.CheckResult]) -> dict[str, dict[str, Any]]:
        """Evidence for every folder written: what its suite said; a journal or a model passes without one."""
        evidence = {}
        for folder, name in self._touched().items():
            mine = [result for result in results if result.table == name]
            evidence[folder] = {
                "passed": not suites.refused(mine),
                "expectations": len(mine),
                "suite": mine[0].suite if mine else None,
            }
        return evidence

    def _touched(self) -> dict[str, str | None]:
        """Folder written on the branch -> its table; None for a model."""
        return dict.fromkeys(self.models) | {self.folder(name): name for name in self.written} | self.rewritten

    def metadata(self, status: str) -> dict[str, Any]:
        """What the commit says of this run."""
        return {
            "job": self.job,
            "run_id": self.run_id,
            "attempt": self.attempt,
            "status": status,
            "config_hash": self.settings.hash,
            "code_version": code_version(),
            "input_commit": self.base.id if self.base else None,
            "seconds": round((datetime.now(UTC) - self.started).total_seconds(), 3),
            "rows": {name: count for name, count in self.rows.items() if name not in JOURNALS},
            "notes": self.notes,
            "stopped": self.stopped,
        }


def conform(df: DataFrame, contract: Table) -> DataFrame:
    """Columns of the contract, in its order, types and comments; a nullable column `df` lacks becomes null.

    Raises `ValueError` for a column the contract does not know, or one it needs and `df` lacks: a bug of the job.
    """
    from pyspark.sql import functions as F

    unknown = set(df.columns) - set(contract.columns)
    missing = [f.name for f in contract.fields if not f.nullable and f.name not in df.columns]
    if unknown or missing:
        raise ValueError(f"{contract.name}: unknown columns {sorted(unknown)}, missing columns {missing}")
    return df.select(
        *(
            (F.col(f"`{f.name}`") if f.name in df.columns else F.lit(None))
            .cast(f.type)
            .alias(f.name, metadata={"comment": f.comment})
            for f in contract.fields
        )
    )


def load(spark: SparkSession, paths: list[str], contract: Table) -> DataFrame:
    """The union of Delta tables of one contract, each as today's contract has it, whatever version wrote it."""
    whole = migrations.read(spark, paths[0], contract)
    for path in paths[1:]:
        whole = whole.unionByName(migrations.read(spark, path, contract))
    return whole


def read_at(spark: SparkSession, lake: Lake, commit: str, name: str) -> DataFrame:
    """A table at a commit; an empty frame with its columns where it is not there yet."""
    contract = table(name)
    paths = [path for folder in contract.folders if (path := lake.read_path(commit, folder))]
    return load(spark, paths, contract) if paths else spark.createDataFrame([], contract.ddl)


def code_version() -> str:
    """Version of the installed package."""
    from importlib.metadata import version

    return version("shelfmark")


def execute(
    job: str,
    recipe: Callable[[Run], None],
    settings: Settings,
    spark: SparkSession,
    run_id: str,
    force: bool = False,
    always: bool = False,
    after: Callable[[Run], None] | None = None,
) -> Outcome:
    """Run a recipe under the protocol of this module.

    `force` runs it although its inputs did not change; `always` is for jobs whose inputs lie outside the lake.
    `after` is called once the run is published: it mirrors what the lake holds, so its failure is logged and no more.
    Raises `DataRefused` when a critical expectation fails, or after publishing when a source was stopped.
    """
    lake = open_lake(settings)
    # Two runs of a job do not work side by side: the second waits, then starts from what the first published.
    with lake.lock(f"job-{job}", f"{job} {run_id}", f"run-{job}-{run_id}-", wait=settings.lock_wait):
        try:
            return _execute(job, recipe, settings, spark, lake, run_id, force, always, after)
        except Exception as error:
            if known := failures.explain(error):
                raise known from None
            raise


def _execute(
    job: str,
    recipe: Callable[[Run], None],
    settings: Settings,
    spark: SparkSession,
    lake: Lake,
    run_id: str,
    force: bool,
    always: bool,
    after: Callable[[Run], None] | None,
) -> Outcome:
    began = time.monotonic()
    history = lake.log()
    mine = [c for c in history if c.metadata.get("job") == job]
    for commit in mine:
        if commit.metadata.get("run_id") == run_id and commit.metadata.get("status") in ("done", "skipped"):
            meta, seconds = commit.metadata, time.monotonic() - began
            return Outcome(job, "already", commit, seconds, meta.get("notes", {}), meta.get("stopped", {}))
    tries = [c.metadata.get("attempt", 1) for c in mine if c.metadata.get("run_id") == run_id]
    branches = lake.branches(f"run-{job}-{run_id}-")
    tries += [int(name.removesuffix("-journal").rsplit("-", 1)[1]) for name in branches]
    run = Run(job, run_id, max(tries, default=0) + 1, settings, spark, lake)
    run.log.info("started attempt=%d base=%s", run.attempt, run.base.id if run.base else "empty")
    fingerprint = recipe_fingerprint(settings)
    last = next((c for c in mine if c.metadata.get("status") == "done"), None)
    if last and not force and not always:
        run.since = Since(last, changed(lake, last, fingerprint))
    if run.since and not run.since.changed:
        run.journal("skipped", f"inputs as in {last.metadata['run_id']}", [])
        commit = lake.publish(run.branch, f"{job}: skipped", run.metadata("skipped"), run.checks([]))
        run.log.info("skipped: inputs as in run %s", last.metadata["run_id"])
        return Outcome(job, "skipped", commit, time.monotonic() - began, last.metadata.get("notes", {}))
    try:
        recipe(run)
        results = run.validate()
    except Exception as error:
        _record_failure(run, error)
        raise
    finally:
        spark.catalog.clearCache()
    broken = suites.refused(results)
    if broken or _all_stopped(run):
        reason = "; ".join(f"{r.table}: {r.sentence} ({r.observed})" for r in broken) or _stopped_text(run)
        _publish_evidence(run, "refused", reason, results)
        raise DataRefused(f"{job}: {reason}; the tables stay as they were, branch {run.branch} is kept for inspection")
    run.journal("done", _stopped_text(run) or None, results)
    metadata = {**run.metadata("done"), "inputs": run.inputs, "recipe": fingerprint}
    if run.unchanged:
        after_ = lake.folders(run.branch)
        metadata["same"] = {folder: [before, after_[folder]] for folder, before in run.unchanged.items()}
    if run.spared:
        before_, after_ = lake.folders(run.base.id) if run.base else {}, lake.folders(run.branch)
        written = {folder: [before_.get(folder), after_[folder]] for folder in run._touched()}
        metadata["spared"] = dict.fromkeys(run.spared, written)
    try:
        commit = lake.publish(run.branch, f"{job}: {_rows_text(run)}", metadata, run.checks(results))
    except Conflict as conflict:
        _record_failure(run, conflict)
        raise
    run.log.info("published commit=%s", commit.id)
    if after:
        _mirror(run, commit, after)
    return Outcome(job, "done", commit, time.monotonic() - began, run.notes, run.stopped)


def _mirror(run: Run, commit: Commit, after: Callable[[Run], None]) -> None:
    """Call `after` with a run that reads the published commit."""
    run.branch, run.base = commit.id, commit
    try:
        after(run)
    except Exception as error:
        run.notes["mirror_failed"] = f"{run.job}: the mirror failed, the tables are published all the same: {error}"
        run.log.error(run.notes["mirror_failed"])


def recipe_fingerprint(settings: Settings) -> str:
    """sha256 of all that decides a job's result beside its input tables: settings, mappings, suites, code version."""
    digest = hashlib.sha256(code_version().encode())
    digest.update(json.dumps(settings.model_dump(exclude=WHERE), sort_keys=True, default=str).encode())
    # conf/<env>.yml is in the settings already; what else is there says where a run happens.
    data = (config.resource(*parts) for parts in (("conf", "sources"), ("conf", "taxonomy"), ("expectations",)))
    files = [path for folder in data for path in folder.glob("*")]
    files += [path for package in ("shelfmark", "shelfmark.jobs") for path in _modules(package)]
    files += [path for folder in settings.source_dirs for path in Path(folder).glob("*.yml")]
    files += [path for folder in filter(None, [settings.taxonomy_maps]) for path in Path(folder).glob("*.csv")]
    files += [Path(path) for pattern in settings.taxonomy.split(",") for path in glob(pattern.strip())]
    for path in sorted(filter(Path.is_file, files), key=lambda path: (path.name, str(path))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _modules(package: str) -> list[Path]:
    """Python files of an installed package."""
    folders = importlib.import_module(package).__path__
    return [path for folder in folders for path in Path(folder).rglob("*.py")]


def changed(lake: Lake, last: Commit, fingerprint: str) -> list[str]:
    """What differs from a job's run `last`: inputs it read, its own tables, settings and code; empty when nothing does.

    A folder that was only rewritten with the rows it had (`Run.same`) does not differ, nor does one that another job
    wrote without a reason for this one (`Run.spare`).
    """
    try:
        now, then = lake.folders("main"), lake.folders(last.id)
    except NotFound:
        return [f"history: the tables of run {last.metadata['run_id']} are pruned"]
    inputs = last.metadata.get("inputs", {})
    own = {table(name).path for name in last.metadata.get("rows", {})}
    expected = {f: then.get(f) if _within(f, own) else seen for f, seen in inputs.items()}
    expected |= {f: seen for f, seen in then.items() if _within(f, own)}
    rows_of = origin(lake, last.metadata.get("job"))
    different = [f for f, seen in expected.items() if rows_of(f, now.get(f)) != rows_of(f, seen)]
    if last.metadata.get("recipe") != fingerprint:
        different.append("settings, mappings, suites or code")
    return different


def origin(lake: Lake, job: str | None = None) -> Callable[[str, str | None], str | None]:
    """(folder, fingerprint) -> the fingerprint under which the same rows were first written, by what `maintain` says.

    `job`: what runs wrote that spared this job counts as the same.
    """
    rewritten = {
        (folder, after): before
        for commit in lake.log()
        for told in (commit.metadata.get("same", {}), commit.metadata.get("spared", {}).get(job, {}))
        for folder, (before, after) in told.items()
    }

    def rows_of(folder: str, seen: str | None) -> str | None:
        while (folder, seen) in rewritten:
            seen = rewritten[folder, seen]
        return seen

    return rows_of


@contextmanager
def hold(lake: Lake, jobs: Iterable[str], who: str, wait: float, needed: bool = False) -> Iterator[tuple[str, ...]]:
    """Hold the locks of other jobs, whose tables are to be rewritten; yields those that are running and were not had.

    Waits `wait` seconds in all. `needed`: a job that runs still is `Locked` instead. Take them before the branch is
    made, so that what was published while waiting is on it.
    """
    until, busy = time.monotonic() + wait, []
    with ExitStack() as held:
        for job in jobs:
            try:
                left = max(until - time.monotonic(), 0)
                held.enter_context(lake.lock(f"job-{job}", who, wait=left))
            except Locked:
                if needed:
                    raise
                busy.append(job)
        yield tuple(busy)


def _within(folder: str, roots: set[str]) -> bool:
    return any(folder == root or folder.startswith(f"{root}/") for root in roots)


def _all_stopped(run: Run) -> bool:
    return bool(run.stopped) and set(run.stopped) >= set(run.settings.sources)


def _stopped_text(run: Run) -> str:
    return "; ".join(f"source {source} stopped: {reason}" for source, reason in run.stopped.items())


def _rows_text(run: Run) -> str:
    rows = [f"{name} {count}" for name, count in run.rows.items() if name not in JOURNALS]
    return ", ".join(rows) or "nothing new"


def _record_failure(run: Run, error: Exception) -> None:
    """Publish that the run failed; the failure itself is what the caller raises, so a second one is only logged."""
    error = failures.explain(error) or error
    reason = str(error) if isinstance(error, ShelfmarkError) else f"{type(error).__name__}: {error}"
    status = "refused" if isinstance(error, DataRefused) else "failed"
    try:
        _publish_evidence(run, status, reason[:2000], [])
    except Exception as second:
        run.log.error("the failure could not be recorded: %s", second)


def _publish_evidence(run: Run, status: str, reason: str, results: list[suites.CheckResult]) -> None:
    """The journal-only commit: run record, check results and rejected rows on a branch of their own."""
    journal = Run(run.job, run.run_id, run.attempt, run.settings, run.spark, run.lake, suffix="-journal")
    journal.started, journal.notes, journal.stopped, journal.rows = run.started, run.notes, run.stopped, dict(run.rows)
    if "silver.rejected" in run.written:
        path = run.lake.read_path(run.branch, run.folder("silver.rejected"))
        from pyspark.sql import functions as F

        rows = load(run.spark, [path], table("silver.rejected")).where(F.col("run_id") == run.run_id)
        journal._write_mine("silver.rejected", rows, journal._mine())
    journal.journal(status, reason, results)
    run.lake.publish(journal.branch, f"{run.job}: {status}", run.metadata(status), journal.checks([]))
    run.log.error("%s: %s", status, reason)


def _rows_written(spark: SparkSession, path: str) -> int:
    metrics = deltalog.last_metrics(spark, path)
    merged = [metrics.get(f"numTargetRows{kind}") for kind in ("Inserted", "Updated", "Deleted")]
    return sum(map(int, merged)) if all(merged) else int(metrics.get("numOutputRows", 0))
