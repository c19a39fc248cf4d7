"""What every lake must do; each implementation runs these same tests."""

import json
import os
import threading
from pathlib import Path

import pytest

from shelfmark.errors import UsageError
from shelfmark.lake import Conflict, NotFound
from shelfmark.lake.local import LocalLake


@pytest.fixture(params=["local"])
def lake(request, tmp_path):
    return LocalLake(tmp_path / "lake")


def put(lake, branch, folder, text, name="part.txt"):
    path = Path(lake.write_path(branch, folder))
    path.mkdir(parents=True, exist_ok=True)
    # As Delta does: files are added or replaced, never changed in place.
    (path / f".{name}").write_text(text)
    os.replace(path / f".{name}", path / name)


def get(lake, ref, folder, name="part.txt"):
    path = lake.read_path(ref, folder)
    return Path(path, name).read_text() if path else None


def publish(lake, branch, **folders):
    lake.branch(branch)
    for folder, text in folders.items():
        put(lake, branch, folder, text)
    return lake.publish(branch, f"{branch} done", {"job": branch, "run_id": "20260101-a"})


def test_an_empty_lake_has_no_head_and_no_release(lake):
    assert lake.head() is None
    assert lake.release() is None
    assert lake.log() == []
    with pytest.raises(NotFound, match="no commit"):
        lake.resolve("release")


def test_tables_written_on_a_branch_appear_together_at_publish(lake):
    lake.branch("run-1")
    put(lake, "run-1", "silver/a", "1")
    put(lake, "run-1", "silver/b", "2")
    assert lake.head() is None
    commit = lake.publish("run-1", "both", {"job": "x"})
    assert lake.head() == commit
    assert get(lake, "main", "silver/a") == "1"
    assert get(lake, "main", "silver/b") == "2"
    assert lake.branches("run-") == []


def test_a_reader_of_a_commit_sees_it_unchanged_while_others_write(lake):
    first = publish(lake, "one", a="old")
    lake.branch("two")
    put(lake, "two", "a", "new")
    assert get(lake, first.id, "a") == "old"
    assert get(lake, "two", "a") == "new"
    second = lake.publish("two", "second", {})
    assert get(lake, first.id, "a") == "old"
    assert get(lake, second.id, "a") == "new"


def test_a_branch_keeps_the_files_of_its_base_and_adds_its_own(lake):
    publish(lake, "one", a="old")
    lake.branch("two")
    put(lake, "two", "a", "added", name="more.txt")
    assert get(lake, "two", "a") == "old"
    assert get(lake, "main", "a", "part.txt") == "old"
    assert not Path(lake.read_path("main", "a"), "more.txt").exists()


def test_two_runs_that_write_one_table_conflict_and_the_second_changes_nothing(lake):
    publish(lake, "zero", a="0", b="0")
    lake.branch("one")
    lake.branch("two")
    put(lake, "one", "a", "1")
    put(lake, "two", "a", "2")
    put(lake, "two", "b", "2")
    lake.publish("one", "first", {})
    with pytest.raises(Conflict, match="run the job again"):
        lake.publish("two", "second", {})
    assert get(lake, "main", "a") == "1"
    assert get(lake, "main", "b") == "0"


def test_two_runs_that_write_different_tables_both_publish(lake):
    lake.branch("one")
    lake.branch("two")
    put(lake, "one", "a", "1")
    put(lake, "two", "b", "2")
    lake.publish("one", "first", {})
    lake.publish("two", "second", {})
    assert get(lake, "main", "a") == "1"
    assert get(lake, "main", "b") == "2"


def test_publishing_from_many_threads_loses_nothing(lake):
    def work(number):
        publish(lake, f"run-{number}", **{f"t{number}": str(number)})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [get(lake, "main", f"t{n}") for n in range(12)] == [str(n) for n in range(12)]
    assert len(lake.log()) == 12


def test_a_branch_name_is_taken_once(lake):
    lake.branch("run-1")
    with pytest.raises(Conflict, match="another attempt"):
        lake.branch("run-1")


@pytest.mark.parametrize("name", ["a/b", "", "..", "a b", "ä"])
def test_names_are_those_lakefs_allows_too(lake, name):
    with pytest.raises(UsageError):
        lake.branch(name)
    publish(lake, "one", a="1")
    with pytest.raises(UsageError):
        lake.tag(name, "main")


def test_history_has_messages_and_metadata_newest_first(lake):
    publish(lake, "one", a="1")
    publish(lake, "two", a="2")
    log = lake.log()
    assert [commit.message for commit in log] == ["two done", "one done"]
    assert log[0].parent == log[1].id
    assert log[1].metadata["run_id"] == "20260101-a"


def test_commits_are_found_by_id_beginning_tag_and_name(lake):
    first = publish(lake, "one", a="1")
    lake.tag("release-one", first.id)
    second = publish(lake, "two", a="2")
    assert lake.resolve(first.id[:8]) == first
    assert lake.resolve("release-one") == first
    assert lake.resolve("release") == first
    assert lake.resolve("main") == second
    for unknown in ("ffffff", "release-none", "../main", ""):
        with pytest.raises(NotFound):
            lake.resolve(unknown)


def test_the_newest_release_is_the_one_tagged_last(lake):
    first = publish(lake, "one", a="1")
    second = publish(lake, "two", a="2")
    lake.tag("release-z", second.id)
    lake.tag("release-a", first.id)
    assert lake.release() == first


def test_roll_back_is_a_new_commit_with_the_old_tables(lake):
    first = publish(lake, "one", a="1")
    publish(lake, "two", a="2", b="2")
    back = lake.rollback(first.id, "back", {"job": "rollback"})
    assert get(lake, "main", "a") == "1"
    assert get(lake, "main", "b") is None
    assert len(lake.log()) == 3
    assert lake.resolve("main") == back


def test_scratch_is_never_published_and_goes_with_the_branch(lake):
    lake.branch("one")
    scratch = Path(lake.scratch_path("one", "x"))
    scratch.mkdir(parents=True)
    put(lake, "one", "a", "1")
    lake.publish("one", "done", {})
    assert list(lake.folders("main")) == ["a"]
    assert not scratch.exists()


def test_a_torn_write_of_the_pointer_cannot_be_seen(tmp_path):
    lake = LocalLake(tmp_path / "lake")
    commit = publish(lake, "one", a="1")
    # What a driver killed between the manifest and the pointer leaves behind: a manifest nothing points at.
    orphan = {"parent": commit.id, "message": "", "time": "", "metadata": {}, "folders": {"a": "nowhere"}}
    (tmp_path / "lake" / "commits" / "ffff.json").write_text(json.dumps(orphan))
    (tmp_path / "lake" / "refs" / ".main.99").write_text("ffff")
    assert LocalLake(tmp_path / "lake").head() == commit
    assert get(lake, "main", "a") == "1"
