"""What every lake must do; each implementation runs these same tests. Files are written the way Spark does."""

import json
import os
import secrets
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyarrow import fs

from shelfmark import config
from shelfmark.errors import DataRefused, UsageError
from shelfmark.lake import Conflict, Locked, NotFound
from shelfmark.lake.lakefs import KEYS, LakeFSLake
from shelfmark.lake.local import LocalLake


@pytest.fixture(params=["local", "lakefs"])
def lake(request, tmp_path):
    return make(request.param, request, tmp_path, f"contract-{secrets.token_hex(6)}")


def make(kind, request, tmp_path, repository):
    """A lake, or another client of the same one."""
    if kind == "local":
        return LocalLake(tmp_path / "lake")
    server, environment = request.getfixturevalue("lakefs_server"), request.getfixturevalue("monkeypatch")
    for name, key in zip(KEYS, (server.access_key, server.secret_key)):
        environment.setenv(name, key)
    about = {"endpoint": server.endpoint, "repository": repository, "storage_namespace": f"local://{repository}"}
    return LakeFSLake(config.load(home=str(tmp_path), lake="lakefs", lakefs=about))


PASSED = {"passed": True, "expectations": 1, "suite": "a"}


class Checks(dict):
    """Passed evidence for whatever folder is asked for."""

    def get(self, folder, default=None):
        return PASSED

    def __bool__(self):
        return True


def files(lake, path):
    """The file system and the path of an address in a lake."""
    if "://" not in path:
        return fs.LocalFileSystem(), path
    scheme, _, host = lake.endpoint.partition("://")
    keys = {"access_key": lake._access_key, "secret_key": lake._secret_key}
    options = {"scheme": scheme, "endpoint_override": host, "region": "us-east-1", **keys}
    return fs.S3FileSystem(**options), path.removeprefix("s3a://")


def put(lake, branch, folder, text, name="part.txt"):
    system, path = files(lake, lake.write_path(branch, folder))
    if isinstance(system, fs.LocalFileSystem):
        # As Delta does: files are added or replaced, never changed in place.
        system.create_dir(path)
        Path(path, f".{name}").write_text(text)
        os.replace(Path(path, f".{name}"), Path(path, name))
        return
    with system.open_output_stream(f"{path}/{name}") as stream:
        stream.write(text.encode())


def get(lake, ref, folder, name="part.txt"):
    address = lake.read_path(ref, folder)
    if address is None:
        return None
    system, path = files(lake, address)
    with system.open_input_stream(f"{path}/{name}") as stream:
        return stream.read().decode()


def publish(lake, branch, **folders):
    lake.branch(branch)
    for folder, text in folders.items():
        put(lake, branch, folder, text)
    return lake.publish(branch, f"{branch} done", {"job": branch, "run_id": "20260101-a"}, Checks())


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
    commit = lake.publish("run-1", "both", {"job": "x"}, Checks())
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
    second = lake.publish("two", "second", {}, Checks())
    assert get(lake, first.id, "a") == "old"
    assert get(lake, second.id, "a") == "new"


def test_a_branch_keeps_the_files_of_its_base_and_adds_its_own(lake):
    publish(lake, "one", a="old")
    lake.branch("two")
    put(lake, "two", "a", "added", name="more.txt")
    assert get(lake, "two", "a") == "old"
    assert get(lake, "main", "a", "part.txt") == "old"
    with pytest.raises(FileNotFoundError):
        get(lake, "main", "a", "more.txt")


def test_two_runs_that_write_one_table_conflict_and_the_second_changes_nothing(lake):
    publish(lake, "zero", a="0", b="0")
    lake.branch("one")
    lake.branch("two")
    put(lake, "one", "a", "1")
    put(lake, "two", "a", "2")
    put(lake, "two", "b", "2")
    lake.publish("one", "first", {}, Checks())
    with pytest.raises(Conflict, match="run the job again"):
        lake.publish("two", "second", {}, Checks())
    assert get(lake, "main", "a") == "1"
    assert get(lake, "main", "b") == "0"


def test_two_runs_that_write_different_tables_both_publish(lake):
    lake.branch("one")
    lake.branch("two")
    put(lake, "one", "a", "1")
    put(lake, "two", "b", "2")
    lake.publish("one", "first", {}, Checks())
    lake.publish("two", "second", {}, Checks())
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
    assert lake.branches("run-") == ["run-1"]


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
    lake.publish("one", "done", {}, Checks())
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


# -- checks, files, tags ----------------------------------------------------------------------------------------


def test_a_folder_without_a_passed_check_is_not_published(lake):
    first = publish(lake, "one", a="1")
    for number, checks in enumerate([None, {}, {"a": {"passed": False, "expectations": 1, "suite": "a"}}]):
        lake.branch(f"try-{number}")
        put(lake, f"try-{number}", "a", "2")
        with pytest.raises(DataRefused, match=r"no check says that a passed|a: no check says"):
            lake.publish(f"try-{number}", "unchecked", {}, checks)
    assert lake.head() == first
    assert get(lake, "main", "a") == "1"


def test_files_of_a_model_are_published_and_found_again(lake, tmp_path):
    model = tmp_path / "model"
    (model / "deep").mkdir(parents=True)
    (model / "model.json").write_text("{}")
    (model / "deep" / "w.npy").write_bytes(b"\x00\x01")
    lake.branch("one")
    lake.put("one", "models/text/v1", model)
    commit = lake.publish("one", "a model", {}, Checks())
    copy = Path(lake.local_copy(commit.id, "models/text/v1"))
    assert sorted(p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file()) == [
        "deep/w.npy",
        "model.json",
    ]
    assert (copy / "deep" / "w.npy").read_bytes() == b"\x00\x01"
    assert lake.local_copy(commit.id, "models/text/v2") is None


def test_a_tag_is_not_moved_by_accident(lake):
    first = publish(lake, "one", a="1")
    second = publish(lake, "two", a="2")
    lake.tag("audit-2026", first.id)
    lake.tag("audit-2026", first.id)
    with pytest.raises(UsageError, match=r"names .* already"):
        lake.tag("audit-2026", second.id)
    assert lake.tags() == {"audit-2026": first.id}
    lake.tag("audit-2026", second.id, move=True)
    assert lake.resolve("audit-2026") == second


def test_a_late_attempt_of_a_driver_thought_dead_publishes_nothing(lake):
    publish(lake, "zero", a="0")
    lake.branch("run-job-20260101-a-1")
    put(lake, "run-job-20260101-a-1", "a", "late")
    done = publish(lake, "run-job-20260101-a-2", a="1")
    with pytest.raises(Conflict):
        lake.publish("run-job-20260101-a-1", "late", {}, Checks())
    assert lake.head() == done
    assert get(lake, "main", "a") == "1"


def test_a_branch_from_before_a_roll_back_conflicts(lake):
    first = publish(lake, "one", a="1")
    publish(lake, "two", a="2")
    lake.branch("three")
    put(lake, "three", "a", "3", name="more.txt")
    lake.rollback(first.id, "back", {"job": "rollback"})
    with pytest.raises(Conflict):
        lake.publish("three", "on a base that is gone", {}, Checks())
    assert get(lake, "main", "a") == "1"


# -- locks ------------------------------------------------------------------------------------------------------


def test_a_lock_has_one_holder_and_says_who(lake):
    with lake.lock("job-a", "run 1", "run-a-1"):
        (holder,) = lake.locks().values()
        assert (holder.who, holder.branch, holder.pid) == ("run 1", "run-a-1", os.getpid())
        with pytest.raises(Locked, match=r"job-a is held by run 1 \(process"), lake.lock("job-a", "run 2"):
            pass
        with lake.lock("job-b", "run 2"):
            assert set(lake.locks()) == {"job-a", "job-b"}
    assert lake.locks() == {}
    with lake.lock("job-a", "run 3"):
        assert lake.locks()["job-a"].who == "run 3"


def test_a_lock_is_waited_for(lake):
    order = []

    def other():
        with lake.lock("job-a", "second", wait=20):
            order.append("second")

    thread = threading.Thread(target=other)
    with lake.lock("job-a", "first"):
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


# -- pruning ----------------------------------------------------------------------------------------------------

LATER = timedelta(hours=1)


def test_prune_removes_branches_of_dead_runs_and_spares_working_ones(lake):
    publish(lake, "zero", a="0")
    for name in ("dead", "alive"):
        lake.branch(name)
        put(lake, name, "a", name)
    future = datetime.now(UTC) + LATER
    with lake.lock("job-a", "run", "alive"):
        assert lake.prune(future - 2 * LATER, future, dry=True).branches == ("dead",)
        assert lake.branches("") == sorted({"dead", "alive", *lake.branches("")})
        assert lake.prune(future - 2 * LATER, future).branches == ("dead",)
        assert "dead" not in lake.branches("")
        assert get(lake, "alive", "a") == "alive"
    assert lake.prune(future - 2 * LATER, future).branches == ("alive",)


def test_prune_keeps_the_newest_release_named_tags_and_the_history(lake):
    commits = [publish(lake, f"run-{n}", a=str(n)) for n in range(5)]
    for n in range(4):
        lake.tag(f"release-{n}", commits[n].id)
    lake.tag("audit", commits[1].id)
    future = datetime.now(UTC) + LATER
    pruned = lake.prune(future, future)
    assert "release-0" in pruned.tags
    assert "release-3" not in pruned.tags
    assert lake.release() == commits[3]
    assert get(lake, commits[3].id, "a") == "3"
    assert get(lake, "audit", "a") == "1"
    assert get(lake, "main", "a") == "4"
    assert [commit.metadata for commit in lake.log()] == [commit.metadata for commit in reversed(commits)]
    again = lake.prune(future, future)
    assert (again.branches, again.tags, again.commits) == ((), (), ())


def test_prune_spares_what_a_reader_has_leased(lake):
    first = publish(lake, "one", a="1")
    lake.tag("release-1", first.id)
    leased = lake.lease("release")
    lake.tag("release-2", publish(lake, "two", a="2").id)
    publish(lake, "three", a="3")
    future = datetime.now(UTC) + LATER
    assert first.id not in lake.prune(future, future).commits
    assert get(lake, leased.id, "a") == "1"


def test_prune_spares_the_base_of_a_living_branch(lake):
    publish(lake, "one", a="1", b="1")
    lake.branch("working")
    put(lake, "working", "a", "mine")
    publish(lake, "two", b="2")
    publish(lake, "three", b="3")
    now = datetime.now(UTC)
    lake.prune(now + LATER, now - LATER)
    assert get(lake, "working", "b") == "1"


def test_readers_of_the_newest_release_never_see_an_error_or_a_mix_while_releases_are_made_and_pruned(
    lake, request, tmp_path
):
    lake.tag("release-0", publish(lake, "run-0", a="0", b="0").id)
    reader = make(
        "local" if isinstance(lake, LocalLake) else "lakefs", request, tmp_path, getattr(lake, "repository", "")
    )
    over, seen, wrong = threading.Event(), set(), []

    def read():
        while not over.is_set():
            try:
                commit = reader.lease("release")
                pair = get(reader, commit.id, "a"), get(reader, commit.id, "b")
            except Exception as error:
                wrong.append(repr(error))
                return
            seen.add(pair)

    thread = threading.Thread(target=read)
    thread.start()
    for n in range(1, 21):
        lake.tag(f"release-{n}", publish(lake, f"run-{n}", a=str(n), b=str(n)).id)
        future = datetime.now(UTC) + LATER
        lake.prune(future, future)
    over.set()
    thread.join()
    assert wrong == []
    assert all(a == b for a, b in seen)
    assert len(seen) > 3
    assert get(lake, "release", "a") == "20"


# -- one lake or the other --------------------------------------------------------------------------------------


def test_prune_gives_room_back(tmp_path):
    lake = LocalLake(tmp_path / "lake")
    old = publish(lake, "one", a="x" * 10_000)
    publish(lake, "two", a="2")
    future = datetime.now(UTC) + LATER
    promised = lake.prune(future, future, dry=True)
    assert get(lake, old.id, "a")
    assert lake.prune(future, future) == promised
    assert promised.commits == (old.id,)
    assert promised.bytes >= 10_000
    assert sum(f.stat().st_size for f in (tmp_path / "lake" / "data").rglob("*") if f.is_file()) < 10_000
    with pytest.raises(NotFound, match="past retention"):
        lake.read_path(old.id, "a")
    with pytest.raises(NotFound, match="past retention"):
        lake.lease(old.id)
    with pytest.raises(NotFound, match="past retention"):
        lake.rollback(old.id, "back", {})


def test_a_file_system_without_hard_links_is_copied_on_and_the_log_says_so(tmp_path, monkeypatch, caplog):
    lake = LocalLake(tmp_path / "lake")
    publish(lake, "one", a="1")

    def refuse(source, destination):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    with caplog.at_level("WARNING", logger="shelfmark"):
        publish(lake, "two", a="2")
    assert "has no hard links" in caplog.text
    assert get(lake, "main", "a") == "2"


def test_main_is_protected_and_the_action_refuses_what_no_check_covers(lakefs_server, request, tmp_path):
    lake = make("lakefs", request, tmp_path, f"guard-{secrets.token_hex(6)}")
    publish(lake, "one", **{"silver/a": "1"})
    lake.branch("sneaky")
    system, _ = files(lake, "s3a://x")
    with system.open_output_stream(f"{lake.repository}/sneaky/silver/b/part.txt") as stream:
        stream.write(b"no marker")
    with pytest.raises(DataRefused, match=r"silver/.* was changed outside of a checked table"):
        lake.publish("sneaky", "sneaky", {}, Checks())

    def write_to_main():
        deadline = time.monotonic() + 15  # lakeFS keeps the rules of a repository in memory for some seconds
        while time.monotonic() < deadline:
            with system.open_output_stream(f"{lake.repository}/main/silver/a/part.txt") as stream:
                stream.write(b"direct")
            time.sleep(0.5)

    with pytest.raises(OSError, match=r"403|ACCESS_DENIED|Forbidden|denied"):
        write_to_main()
