"""All jobs in order, or one: settings first, then Spark, then the protocol of `run`, then what people look at."""

from __future__ import annotations

import http.client
import importlib
import json
import logging
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from shelfmark import erasure, session
from shelfmark.errors import DataRefused, ServiceError, ShelfmarkError, UsageError
from shelfmark.ingest import bronze, mapping
from shelfmark.ingest import replay as replaying
from shelfmark.lake import Lake, open_lake
from shelfmark.quality import against
from shelfmark.quality.rejects import Which
from shelfmark.query import open_reader, read
from shelfmark.run import Outcome, Run, changed, execute, hold, new_run_id, recipe_fingerprint, run_date
from shelfmark.tables import JOBS, WRITERS
from shelfmark.taxonomy import files

if TYPE_CHECKING:
    from rich.console import Console

    from shelfmark.config import Settings
    from shelfmark.dedup.decisions import Decision
    from shelfmark.labels.reviews import File
    from shelfmark.models import challenger

UPKEEP = ("maintain", "audit", "embed")  # run by themselves, `shelfmark run maintain`: no part of a pipeline

# Seconds a job takes at first, for the estimate of the time left until this lake has a history of its own.
FIRST_GUESS = {
    "ingest": 45,
    "images": 15,
    "taxonomy": 10,
    "dedupe": 30,
    "labels": 20,
    "train_text": 50,
    "train_multimodal": 90,
    "train_ensemble": 20,
    "predict": 20,
    "evaluate": 20,
}


def recipe(job: str) -> ModuleType:
    """The module of a job; `UsageError` for an unknown one."""
    if job not in (*JOBS, *UPKEEP):
        raise UsageError(f"no job {job!r}; there are: {', '.join((*JOBS, *UPKEEP))}")
    return importlib.import_module(f"shelfmark.jobs.{job}")


def run(settings: Settings, console: Console, run_id: str | None, from_job: str | None, force: bool) -> int:
    """Run the pipeline, make a release, write the reports, print the summary. Returns the exit code."""
    from shelfmark import reports

    if from_job and from_job not in JOBS:
        raise UsageError(f"--from {from_job}: choose one of {', '.join(JOBS)}")
    jobs = JOBS[JOBS.index(from_job) :] if from_job else JOBS
    run_id = _checked(settings, run_id, ingests="ingest" in jobs)
    lake = open_lake(settings)
    log_file = log_to(settings, run_id)
    console.print(f"run {run_id}: {len(jobs)} jobs, log in {log_file}", highlight=False, soft_wrap=True)
    outcomes: list[Outcome] = []
    current = "start"
    try:
        with _progress(console, jobs, _expected(lake)) as step:
            spark = session.start(settings)
            for job in jobs:
                current = job
                with step(job):
                    outcomes.append(_execute(job, settings, spark, run_id, force))
            current = "reports"
            with step("reports"):
                commit = lake.resolve("main")
                stopped = {source: why for outcome in outcomes for source, why in outcome.stopped.items()}
                written = reports.write(spark, lake, commit.id, settings, run_id, outcomes)
                lake.tag(f"release-{run_id}", commit.id, move=True)  # a resumed pipeline may end later
    except Exception as error:
        _notify(settings, current, run_id, error)
        _say_how_to_go_on(console, error, current, run_id)
        if isinstance(error, DataRefused):
            _data_docs(settings, console, run_id)
        raise
    reports.summary(console, commit.id, run_id, outcomes, written, settings)
    if stopped:
        problem = _stopped_sources(stopped, outcomes)
        _notify(settings, "ingest", run_id, problem)
        console.print(f"[red]the other sources are published, but[/] {problem}", highlight=False, soft_wrap=True)
        return problem.exit_code
    return 0


def run_job(job: str, settings: Settings, console: Console, run_id: str | None, force: bool) -> int:
    """Run one job as a scheduler does. Returns the exit code; a failure is raised after it was recorded."""
    from shelfmark import reports

    recipe(job)
    run_id = _checked(settings, run_id, ingests=job == "ingest")
    log_to(settings, run_id, screen=True)
    try:
        outcome = _execute(job, settings, session.start(settings), run_id, force)
    except Exception as error:
        _notify(settings, job, run_id, error)
        if isinstance(error, DataRefused):
            _data_docs(settings, console, run_id)
        raise
    commit = outcome.commit.id[:10] if outcome.commit else "-"
    console.print(f"{job} {outcome.status}: run {run_id}, commit {commit}, {outcome.seconds:.1f} s", highlight=False)
    for line in reports.told([outcome]):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if job == "ingest" and outcome.status == "done":
        _data_docs(settings, console, run_id)
    if outcome.stopped:
        problem = _stopped_sources(outcome.stopped, [outcome])
        _notify(settings, job, run_id, problem)
        raise problem
    return 0


def _stopped_sources(stopped: dict[str, str], outcomes: list[Outcome]) -> ShelfmarkError:
    """What to say of stopped sources: a service that failed where each of them did not answer, else refused data."""
    outages = {source for outcome in outcomes for source in outcome.notes.get("outages", ())}
    kind = ServiceError if outages >= stopped.keys() else DataRefused
    return kind("; ".join(f"source {source} stopped: {why}" for source, why in stopped.items()))


def replay(which: Which, settings: Settings, console: Console, run_id: str | None, dry: bool) -> None:
    """Read refused records again, publish, and say what came of it and what could not be read again.

    Raises `UsageError` when there is nothing to replay; then no run is recorded.
    """
    from shelfmark import reports

    run_id = run_id or f"{new_run_id()}-replay"
    run_date(run_id)
    lake, commit = open_reader(settings, "main")
    job = importlib.import_module("shelfmark.jobs.replay")
    mine = [c.metadata for c in lake.log() if (c.metadata.get("job"), c.metadata.get("run_id")) == (job.JOB, run_id)]
    published = next((meta for meta in mine if meta.get("status") == "done"), None)
    if published:
        if "replay" not in published["notes"]:
            raise UsageError(f"--run-id {run_id}: an ingest has that run id; choose another")
        console.print(f"replay {run_id} was published before; nothing is done again", highlight=False)
        reports.replayed(console, published["notes"]["replay"])
        return
    log_to(settings, run_id)
    spark = session.start(settings)
    found = replaying.plan(partial(read, spark, lake, commit), which, settings.source_dirs)
    if not found.records:
        reports.cannot_replay(console, found.cannot)
        meant = f" of {which}" if str(which) else ""
        kind = "that can be read again" if found.cannot else "that is open"
        raise UsageError(f"nothing to replay: no refused record{meant} {kind}; `shelfmark rejected` says what there is")
    if dry:
        trial = Run("replay", run_id, 1, settings, spark, lake)
        try:
            job.preview(trial, which, found)
        finally:
            lake.drop(trial.branch)
            spark.catalog.clearCache()
        console.print("dry run, nothing is written:", highlight=False)
        reports.replayed(console, trial.notes["replay"])
        return
    try:
        outcome = execute(
            job.JOB, partial(job.main, which=which, plan=found), settings, spark, run_id, force=True, always=True
        )
    except Exception as error:
        _notify(settings, "replay", run_id, error)
        raise
    docs = reports.data_docs(spark, lake, outcome.commit.id, settings, run_id)
    console.print(f"replay {run_id}, commit {outcome.commit.id[:10]}, {outcome.seconds:.1f} s", highlight=False)
    reports.replayed(console, outcome.notes["replay"])
    console.print(f"data docs: {docs.as_uri()}", soft_wrap=True, highlight=False)
    console.print("main has it now; readers get it with the next `shelfmark pipeline`", soft_wrap=True, highlight=False)


def erase(request: erasure.Request, settings: Settings, console: Console, run_id: str | None, dry: bool) -> None:
    """Remove products or a source from all tables, then from history if asked, and print what was done.

    All jobs' locks are held: nothing brings back meanwhile what is being erased. `Locked` where a job runs on.
    """
    run_id = run_id or new_run_id()
    run_date(run_id)
    job = importlib.import_module("shelfmark.jobs.erase")
    log_to(settings, run_id, screen=True)
    lake = open_lake(settings, make=False)
    spark = session.start(settings)
    if dry:
        found = erasure.preview(run_id, request, settings, spark, lake)
        console.print("would erase: " + _counts(found), highlight=False, soft_wrap=True)
        return
    with hold(lake, [w for w in WRITERS if w != "erase"], f"erase {run_id}", settings.lock_wait, needed=True):
        readers_follow = erasure.release_follows(lake)
        done = execute("erase", partial(job.main, request=request), settings, spark, run_id, always=True)
        console.print("erased: " + _counts(done.notes["erased"]), highlight=False, soft_wrap=True)
        if readers_follow and done.notes["erased"]:
            lake.tag(f"release-erase-{run_id}", done.commit.id)
        if request.history_before:
            forget = partial(job.history, request=request)
            past = execute("erase", forget, settings, spark, f"{run_id}-history", always=True)
            console.print(f"history: {past.notes['pruned']} commits removed", highlight=False)
            for commit in past.notes["remaining"]:
                console.print(f"still holds it: {commit}", highlight=False, soft_wrap=True)
    if not readers_follow:
        console.print(
            "the newest release is of before and still holds it: run the pipeline, then erase again with --history-before",
            highlight=False,
            soft_wrap=True,
        )


def lift(erasure_id: str, settings: Settings, console: Console, run_id: str | None) -> None:
    """Let what an erasure suppressed be taken in again."""
    run_id = run_id or new_run_id()
    log_to(settings, run_id, screen=True)
    main = partial(erasure.lift, erasure_id=erasure_id)
    done = execute("erase", main, settings, session.start(settings), run_id, always=True)
    console.print(f"lifted: {done.notes['lifted']} entries of erasure {erasure_id}", highlight=False)


def decide(made: list[Decision], settings: Settings, console: Console, run_id: str | None) -> None:
    """Record decisions of stewards and say what holds now."""
    run_id = run_id or f"{new_run_id()}-decide"
    log_to(settings, run_id)
    open_lake(settings, make=False)
    job = importlib.import_module("shelfmark.jobs.decide")
    done = execute("decide", partial(job.main, made=made), settings, session.start(settings), run_id, always=True)
    if done.status == "already":
        console.print(f"run {run_id} was published before; nothing is recorded again", highlight=False)
        return
    console.print(f"recorded: {done.notes['decided']} decisions, commit {done.commit.id[:10]}", highlight=False)
    console.print("the next dedupe keeps to them: shelfmark run dedupe, or the next pipeline", highlight=False)


def review(given: File, settings: Settings, console: Console, run_id: str | None) -> None:
    """Record what people said of categories, and say what went in and what did not, with the reasons."""
    from shelfmark import reports

    run_id = run_id or f"{new_run_id()}-review"
    log_to(settings, run_id)
    lake = open_lake(settings, make=False)
    job = importlib.import_module("shelfmark.jobs.review")
    spark = session.start(settings)
    try:
        done = execute("review", partial(job.main, given=given), settings, spark, run_id, always=True)
    except DataRefused:
        reports.refused_rows(console, read(spark, lake, lake.resolve("main").id, "silver.rejected"), run_id)
        raise
    if done.status == "already":
        console.print(f"run {run_id} was published before; nothing is recorded again", highlight=False)
        return
    reports.refused_rows(console, read(spark, lake, done.commit.id, "silver.rejected"), run_id)
    reports.reviewed(console, done.notes, done.commit.id)


def models(request: challenger.Request, settings: Settings, console: Console, run_id: str | None) -> dict[str, Any]:
    """Do what a person decided on a line of models, say what came of it, and return the decision.

    Where gold.models is written the training's lock is held, as that job owns it. `Locked` where it runs on.
    """
    run_id = run_id or f"{new_run_id()}-{request.action}"
    run_date(run_id)
    log_to(settings, run_id)
    lake = open_lake(settings, make=False)
    job = importlib.import_module("shelfmark.jobs.models")
    held = [] if request.action == "compare" else sorted({"train_text", f"train_{request.model}"})
    main = partial(job.main, request=request)
    with hold(lake, held, f"models {run_id}", settings.lock_wait, needed=True):
        done = execute("models", main, settings, session.start(settings), run_id, always=True, after=job.after)
    if done.status == "already":
        console.print(f"run {run_id} was published before; nothing is recorded again", highlight=False)
    for problem in filter(None, [done.notes.get("mirror_failed")]):
        console.print(problem, style="yellow", highlight=False, markup=False, soft_wrap=True)
    decision = done.notes["publishing" if request.action == "publish" else "decision"]
    return decision | {"commit": done.commit.id}


def _counts(rows: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in rows.items()) or "nothing"


def plan(job: str, settings: Settings, console: Console) -> None:
    """Print what `run JOB` would read and do; nothing is written and Spark is not started."""
    recipe(job)
    lake = open_lake(settings)
    head = lake.head()
    console.print(f"{job}: {recipe(job).__doc__.strip()}", highlight=False)
    console.print(
        f"lake {settings.home}, main at {head.id[:10] if head else '(empty)'}, env {settings.env}", highlight=False
    )
    if job == "ingest":
        for source in mapping.load_all(settings.sources, settings.source_dirs):
            if source.address:
                console.print(f"  {source.name}: would read {source.address}", highlight=False, soft_wrap=True)
            for path in bronze.files(source.files, settings.data):
                console.print(
                    f"  {source.name}: would read {path} ({Path(path).stat().st_size:,} bytes)", highlight=False
                )
        return
    last = next((c for c in lake.log() if c.metadata.get("job") == job and c.metadata.get("status") == "done"), None)
    if last is None:
        console.print("  never ran here: it would run")
        return
    different = changed(lake, last, recipe_fingerprint(settings))
    console.print(
        f"  last run {last.metadata['run_id']}; different since: {', '.join(different) or 'nothing'}", highlight=False
    )


def _checked(settings: Settings, run_id: str | None, ingests: bool) -> str:
    """A valid run id; all that can be wrong with settings and mappings is said before Spark starts."""
    run_id = run_id or new_run_id()
    run_date(run_id)
    against.accepted(settings.accept)
    lake = open_lake(settings)
    published = {
        (c.metadata.get("job"), c.metadata.get("run_id")) for c in lake.log() if c.metadata.get("status") == "done"
    }
    if ingests and ("ingest", run_id) not in published:
        if not settings.sources:
            raise UsageError("no sources: name them with --sources a,b or in the settings")
        head = lake.head()
        for source in mapping.load_all(settings.sources, settings.source_dirs):
            mapping.check_secrets(source)
            # Later a source's files may be gone: what was taken in is in bronze.
            if head is None or "bronze/files" not in lake.folders(head.id):
                bronze.files(source.files, settings.data)
    files.check(settings.taxonomy, files.find_maps(settings.sources, settings.taxonomy_maps))
    return run_id


def _execute(job: str, settings: Settings, spark, run_id: str, force: bool) -> Outcome:
    module = recipe(job)
    spark.sparkContext.setJobDescription(f"{job} {run_id}")
    always, after = getattr(module, "ALWAYS", False), getattr(module, "after", None)
    others = getattr(module, "HOLDS", ())
    with hold(open_lake(settings), others, f"{job} {run_id}", settings.lock_wait) as busy:
        main = partial(module.main, busy=busy) if others else module.main
        return execute(job, main, settings, spark, run_id, force=force, always=always, after=after)


def log_to(settings: Settings, run_id: str, screen: bool = False) -> Path:
    """Send the log, one line an event with run_id, to a file below home, and to standard error if wanted."""
    path = Path(settings.home).resolve() / "logs" / f"{run_id}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("shelfmark")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers.clear()
    handlers: list[logging.Handler] = [logging.FileHandler(path)]
    if screen:
        handlers.append(logging.StreamHandler())
    for handler in handlers:
        handler.setFormatter(_OneLine("%(asctime)s %(levelname)s run_id=%(run_id)s job=%(job)s %(message)s"))
        handler.addFilter(_defaults(run_id))
        logger.addHandler(handler)
    return path


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", " | ")


def _defaults(run_id: str):
    def fill(record: logging.LogRecord) -> bool:
        record.run_id = getattr(record, "run_id", run_id)
        record.job = getattr(record, "job", "-")
        return True

    return fill


def _expected(lake: Lake) -> dict[str, float]:
    """Seconds each job took last time, else a first guess."""
    expected = dict(FIRST_GUESS)
    for commit in reversed(lake.log()):
        if commit.metadata.get("status") == "done" and "seconds" in commit.metadata:
            expected[commit.metadata["job"]] = commit.metadata["seconds"]
    return expected


@contextmanager
def _progress(console: Console, jobs: tuple[str, ...], expected: dict[str, float]) -> Iterator:
    """Progress over jobs by their expected seconds; where there is no terminal, a line a job."""
    steps = [*jobs, "reports"]
    weights = {name: max(expected.get(name, 10.0), 1.0) for name in steps}
    total = sum(weights.values())
    bar = Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("starting", total=total)
    done = 0.0

    @contextmanager
    def step(name: str) -> Iterator[None]:
        nonlocal done
        bar.update(task, description=name, completed=done)
        stop = threading.Event()

        def advance() -> None:
            began = time.monotonic()
            while not stop.wait(0.5):
                # A job that takes longer than expected waits at 95 % rather than claim to be done.
                bar.update(task, completed=done + min(time.monotonic() - began, 0.95 * weights[name]))

        ticking = threading.Thread(target=advance, daemon=True)
        ticking.start()
        began = time.monotonic()
        try:
            yield
        finally:
            stop.set()
            ticking.join()
        done += weights[name]
        left = total - done
        place = f"[{steps.index(name) + 1}/{len(steps)}]"
        tail = f", about {left:.0f} s left" if left else ""
        console.print(f"{place} {name:<11} {time.monotonic() - began:6.1f} s{tail}", highlight=False, markup=False)

    with bar:
        yield step


def _say_how_to_go_on(console: Console, error: Exception, job: str, run_id: str) -> None:
    if isinstance(error, ShelfmarkError):
        console.print(
            f"{job} stopped run {run_id}; after mending: shelfmark pipeline --resume {run_id} …", highlight=False
        )


def _data_docs(settings: Settings, console: Console, run_id: str) -> None:
    """Write the data docs of a run that ends without the reports of a pipeline: a steward is to see what was refused."""
    from shelfmark import reports

    with _quiet():
        lake = open_lake(settings)
        docs = reports.data_docs(session.start(settings), lake, lake.resolve("main").id, settings, run_id)
        console.print(f"what was checked and refused: {docs.as_uri()}", soft_wrap=True, highlight=False)


def _notify(settings: Settings, job: str, run_id: str, error: Exception) -> None:
    """Tell the command and the webhook of the settings; their own failure is logged and changes nothing."""
    code = getattr(error, "exit_code", 1)
    reason = str(error)
    log = logging.getLogger("shelfmark")
    if settings.notify.command:
        try:
            subprocess.run([settings.notify.command, job, run_id, str(code), reason], timeout=60, check=True)
        except (OSError, subprocess.SubprocessError) as problem:
            log.error("notify.command failed: %s", problem)
    if settings.notify.webhook:
        body = json.dumps({"job": job, "run_id": run_id, "exit_code": code, "reason": reason}).encode()
        try:
            request = urllib.request.Request(settings.notify.webhook, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=30):
                pass
        except (OSError, ValueError, http.client.HTTPException) as problem:
            log.error("notify.webhook failed: %s", problem)


@contextmanager
def _quiet() -> Iterator[None]:
    """Reports about a failure must not hide the failure."""
    try:
        yield
    except Exception as error:
        logging.getLogger("shelfmark").error("report failed: %s", error)
