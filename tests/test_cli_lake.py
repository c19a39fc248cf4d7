"""The commands of the lake as people meet them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shelfmark.cli import app
from shelfmark.errors import ShelfmarkError, UsageError
from shelfmark.lake.local import LocalLake

runner = CliRunner()


def call(home, *arguments):
    done = runner.invoke(app, [*arguments, "--home", str(home)])
    if isinstance(done.exception, ShelfmarkError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def home(tmp_path):
    lake = LocalLake(tmp_path / "lake")
    for number in range(3):
        lake.branch(f"b{number}")
        Path(lake.write_path(f"b{number}", "models/text/v1")).mkdir(parents=True, exist_ok=True)
        about = {"job": "ingest", "run_id": f"2026010{number + 1}-t", "status": "done"}
        lake.publish(f"b{number}", f"run {number}", about, {"models/text/v1": {"passed": True}})
    return tmp_path


def commits(home):
    return [commit.id for commit in LocalLake(home / "lake").log()]


def test_a_tag_names_a_version_for_ever(home):
    newest, middle, _ = commits(home)
    assert "run 1" in call(home, "lake", "tag", "audit-2026", middle[:8])
    assert middle[:10] in call(home, "lake", "tags")
    assert "audit-2026" in call(home, "lake", "log")
    with pytest.raises(UsageError, match="audit-2026"):
        call(home, "lake", "tag", "audit-2026", newest)
    with pytest.raises(UsageError, match="the lake's own"):
        call(home, "lake", "tag", "release-mine", newest)
    with pytest.raises(UsageError, match=r"no (release|commit)"):
        call(home, "lake", "tag", "before-any-release")


def test_pruning_is_tried_dry_then_done_and_log_marks_what_is_gone(home):
    newest, middle, oldest = commits(home)
    call(home, "lake", "tag", "audit", middle)
    dry = call(home, "lake", "prune", "--older-than", "0", "--dry-run")
    assert "would remove: 1 commits" in dry
    assert oldest[:10] in dry
    assert "pruned" not in call(home, "lake", "log")
    assert "removed: 1 commits" in call(home, "lake", "prune", "--older-than", "0")
    lines = {line.split()[0]: line for line in call(home, "lake", "log").splitlines()[1:] if line.strip()}
    assert "pruned" in lines[oldest[:10]]
    assert "pruned" not in lines[middle[:10]] + lines[newest[:10]]
    assert "removed: 0 commits" in call(home, "lake", "prune", "--older-than", "0")


def test_pruning_keeps_what_the_settings_say(home):
    assert "removed: 0 commits, 0 releases (older than 90 days), 0 branches (older than 7 days)" in call(
        home, "lake", "prune"
    )
    assert datetime.now(UTC) - timedelta(days=1) < datetime.fromisoformat(LocalLake(home / "lake").log()[-1].time)


def test_versions_without_differing_rows_say_so_and_start_no_spark(home):
    newest, middle, _ = commits(home)
    said = call(home, "lake", "diff", middle, newest)
    assert "no rows differ" in said
    assert "models/text/v1: changed" in said
    assert "models" not in call(home, "lake", "diff", newest, newest)
    with pytest.raises(UsageError, match=r"no table .silver\.nothing"):
        call(home, "lake", "diff", middle, newest, "--table", "silver.nothing")


def test_status_tells_the_newest_commit_and_who_holds_locks(home):
    with LocalLake(home / "lake").lock("job-ingest", "ingest 20260101-t"):
        said = call(home, "lake", "status")
    assert f"main: {commits(home)[0][:10]}" in said
    assert "release: none yet" in said
    assert "job-ingest: held by ingest 20260101-t" in said
    assert "held by" not in call(home, "lake", "status")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "say what to erase"),
        (["--source", "a", "--products", "b:1", "--why", "x"], "one of them"),
        (["--source", "a"], "say why"),
        (["--source", "a'b", "--why", "x"], "not the name of a source"),
        (["--products", "nonsense", "--why", "x"], "no product_id"),
        (["--source", "a", "--why", "x", "--history-before", "soon"], "2026-01-31, or `all`"),
        (["--lift", "e", "--source", "a"], "stands alone"),
    ],
)
def test_a_wrong_erasure_is_said_before_anything_starts(home, arguments, says):
    with pytest.raises(UsageError, match=says):
        call(home, "erase", *arguments)
