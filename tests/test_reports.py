"""Data docs from a lake with a long history: only the run's own partitions are read, whatever came before."""

import shutil
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from shelfmark import config, reports
from shelfmark.lake import open_lake
from shelfmark.run import Run

pytestmark = pytest.mark.slow
NEWEST = "20260601-night"


def lake_of(spark, home, runs):
    """A lake whose journals hold `runs` earlier runs, a day each, and the newest: 20 refused rows and 10 checks a run."""
    settings = config.load(home=str(home))
    lake = open_lake(settings)
    days = [date(2026, 6, 1) - timedelta(days=n) for n in range(runs + 1)]
    ids = [f"{day:%Y%m%d}-night" for day in days]
    run = Run("ingest", NEWEST, 1, settings, spark, lake)
    run.write(
        "silver.rejected",
        spark.createDataFrame(
            [
                ("silver.products", "title_missing", "reject", "no text in name", "shop", "h", n, None, run_id, day)
                for run_id, day in zip(ids, days)
                for n in range(20)
            ],
            "table string, rule string, action string, reason string, source string, file_hash string, "
            "record_number long, resolved_by string, run_id string, run_date date",
        ).coalesce(1),
    )
    run.write(
        "silver.check_results",
        spark.createDataFrame(
            [
                ("silver.products", "silver.products", "x", "critical", True, f"Sentence {n}.", run_id, day)
                for run_id, day in zip(ids, days)
                for n in range(10)
            ],
            "table string, suite string, expectation string, severity string, success boolean, sentence string, "
            "run_id string, run_date date",
        ).coalesce(1),
    )
    run.write(
        "gold.runs",
        spark.createDataFrame(
            [("ingest", run_id, 1, "done", "{}", datetime.now(UTC), day) for run_id, day in zip(ids, days)],
            "job string, run_id string, attempt int, status string, notes string, started_at timestamp, run_date date",
        ).coalesce(1),
    )
    commit = lake.publish(run.branch, "history", {}, run.checks([]))
    return settings, lake, commit


def test_the_docs_of_a_run_read_nothing_of_the_runs_before_it(spark, tmp_path):
    settings, lake, commit = lake_of(spark, tmp_path, 100)
    for folder in ("silver/rejected/ingest", "silver/check_results/ingest", "gold/runs/ingest"):
        partitions = list(Path(lake.read_path(commit.id, folder)).glob("run_date=*"))
        assert len(partitions) == 101
        for partition in partitions:
            if partition.name != "run_date=2026-06-01":
                shutil.rmtree(partition)  # whoever reads it fails
    index = reports.data_docs(spark, lake, commit.id, settings, NEWEST)
    page = (index.parent / f"{NEWEST}.html").read_text()
    assert "Sentence 9." in page
    assert page.count('class="sample"') == 20


def test_a_hundred_past_runs_take_no_longer_than_one(spark, tmp_path):
    def seconds(runs):
        settings, lake, commit = lake_of(spark, tmp_path / str(runs), runs)
        took = []
        for _ in range(3):  # the first one warms up
            began = time.monotonic()
            reports.data_docs(spark, lake, commit.id, settings, NEWEST)
            took.append(time.monotonic() - began)
        return min(took)

    one, hundred = seconds(1), seconds(100)
    print(f"data docs: {one:.2f} s after 1 run, {hundred:.2f} s after 100")  # noqa: T201
    # A machine that is busy with something else may double either; a cost a run would be far beyond that.
    assert hundred < 2 * one + 1
