"""The local lakeFS server: how its program is found, what it keeps to itself, and that it comes back as it was."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from shelfmark.errors import ServiceError, UsageError
from shelfmark.lake import server

REAL_CACHE = server._built()
GO = next(filter(None, map(shutil.which, server.GO)), None)


# -- the program --------------------------------------------------------------------------------------------------


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def fake(path):
    return script(path, 'echo "lakefs version 0.0.1"')


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine without lakeFS, Go or a network: folders of its own, and a proxy that nobody answers at."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELFMARK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(server, "GO", ("go-of-this-test",))
    monkeypatch.setattr(sys, "exec_prefix", str(tmp_path / "env"))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_program_is_the_one_of_the_settings_then_of_path_then_what_was_kept(bare):
    built = fake(bare / "cache" / "bin" / f"lakefs-{server.VERSION}")
    assert server.binary() == built
    downloaded = fake(bare / ".lakefs" / "bin" / "lakefs")
    assert server.binary() == downloaded
    on_path = fake(bare / "bin" / "lakefs")
    assert server.binary() == on_path
    named = fake(bare / "mine" / "lakefs-server")
    assert server.binary(str(named)) == named
    assert server.binary("~/mine/lakefs-server") == named


@pytest.mark.parametrize("text", ["echo something else", "echo lakefs version 1; exit 3"])
def test_a_setting_that_names_no_lakefs_is_an_error_and_not_passed_over(bare, text):
    fake(bare / "bin" / "lakefs")
    wrong = script(bare / "mine" / "other", text)
    with pytest.raises(UsageError, match=r"lakefs\.server_binary .*other.*is no lakeFS server"):
        server.binary(str(wrong))
    with pytest.raises(UsageError, match=r"lakefs\.server_binary /nowhere/lakefs: no such program"):
        server.binary("/nowhere/lakefs")


def test_where_none_can_be_had_all_four_tries_are_named_with_their_reasons(bare):
    script(bare / "bin" / "lakefs", "echo a shell alias")
    lines = []
    began = time.monotonic()
    with pytest.raises(ServiceError) as caught:
        server.binary(say=lines.append)
    assert time.monotonic() - began < 30
    said = str(caught.value)
    for part in (
        "settings: lakefs.server_binary is empty",
        "is no lakeFS server: `--version` says 'a shell alias'",
        "Error downloading file",
        "Go: no Go toolchain on PATH",
        "put it on PATH or name it in lakefs.server_binary",
    ):
        assert part in said
    assert "\n" not in said
    assert lines == ["looking for the official lakeFS server (about 100 MB)"]


def test_a_build_that_fails_says_go_s_last_word_and_leaves_nothing(bare, monkeypatch):
    go = script(bare / "go", "echo one >&2; echo 'go.mod requires go >= 1.26.4' >&2; exit 1")
    monkeypatch.setattr(server, "GO", (str(go),))
    with pytest.raises(ServiceError, match=r"build: go\.mod requires go >= 1\.26\.4"):
        server.binary(say=[].append)
    assert [path.name for path in (bare / "cache" / "bin").iterdir() if not path.name.endswith(".lock")] == []


def test_processes_that_want_the_program_at_once_build_it_once(bare, monkeypatch):
    go = script(
        bare / "go",
        f"echo x >> {bare}/builds; sleep 1\n"
        'while [ "$1" != -o ]; do shift; done\n'
        'printf \'#!/bin/sh\\necho lakefs version 1\\n\' > "$2"; chmod +x "$2"',
    )
    monkeypatch.setattr(server, "GO", (str(go),))
    monkeypatch.setattr(server, "_download", lambda say: (_ for _ in ()).throw(ServiceError("no network")))
    lines = []
    with ThreadPoolExecutor(3) as pool:
        found = set(pool.map(lambda _: server.binary(say=lines.append), range(3)))
    assert found == {bare / "cache" / "bin" / f"lakefs-{server.VERSION}"}
    assert (bare / "builds").read_text() == "x\n"
    assert [line for line in lines if "about 3 minutes" in line] == lines


@pytest.mark.slow
@pytest.mark.skipif(not GO or not REAL_CACHE.exists(), reason="no Go toolchain that has built the server before")
def test_go_builds_the_real_server_from_what_go_sum_verifies(bare, monkeypatch):
    # Go's own caches stay: what is compiled already is linked again, which takes seconds instead of minutes.
    caches = subprocess.run([GO, "env", "GOCACHE", "GOMODCACHE"], capture_output=True, text=True, check=True, env=ENV)
    for name, folder in zip(("GOCACHE", "GOMODCACHE"), caches.stdout.split()):
        monkeypatch.setenv(name, folder)
    monkeypatch.setattr(server, "GO", (GO,))
    built = server._build([].append)
    said = subprocess.run([built, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.strip() == f"lakefs version {server.VERSION}"


ENV = dict(os.environ)


# -- a home's server ----------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, lakefs_program):
    yield tmp_path
    server.down(tmp_path, timeout=5)


def up(home, program):
    return server.up(home, str(program))


def call(home, method, path, **options):
    access = server.credentials(home)
    return requests.request(
        method, f"{access.endpoint}/api/v1{path}", auth=(access.access_key, access.secret_key), timeout=10, **options
    )


def test_a_server_that_went_down_comes_up_with_its_data_keys_and_port(home, lakefs_program):
    assert server.status(home) == server.State(False)
    assert server.down(home) is False
    first = up(home, lakefs_program)
    assert first.running
    assert first.started
    made = call(home, "POST", "/repositories", json={"name": "books", "storage_namespace": "local://books"})
    assert made.status_code == 201
    access = server.credentials(home)

    again = up(home, lakefs_program)
    assert (again.started, again.pid) == (False, first.pid)
    seen = server.status(home)
    assert (seen.running, seen.pid, seen.endpoint) == (True, first.pid, access.endpoint)

    assert server.down(home) is True
    assert server.down(home) is False
    assert server.status(home).running is False
    with pytest.raises(requests.ConnectionError):
        requests.get(access.endpoint, timeout=5)

    assert up(home, lakefs_program).started
    assert server.credentials(home) == access
    assert [repo["id"] for repo in call(home, "GET", "/repositories").json()["results"]] == ["books"]


def test_keys_are_for_their_owner_alone_and_nowhere_else(home, lakefs_program):
    os.umask(mask := os.umask(0))
    try:
        os.umask(0)
        seen, stop = set(), threading.Event()

        def watch():
            # Files are private from the moment they appear.
            while not stop.is_set():
                for path in (home / "lakefs").glob("*") if (home / "lakefs").is_dir() else []:
                    try:
                        seen.add((path.name, stat.S_IMODE(path.lstat().st_mode)))
                    except FileNotFoundError:
                        continue

        watcher = threading.Thread(target=watch)
        watcher.start()
        state = up(home, lakefs_program)
        stop.set()
        watcher.join()
    finally:
        os.umask(mask)
    folder = home / "lakefs"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    private = [(name, mode) for name, mode in seen if re.search(r"credentials|config|server", name)]
    assert {"credentials.json", "config.yml", "server.log", "server.pid"} <= {name for name, _ in private}
    assert {mode for _, mode in private} == {0o600}

    kept = json.loads((folder / "credentials.json").read_text())
    hidden = [kept[name] for name in ("secret_access_key", "encrypt_key", "signing_key")]
    assert len(set(hidden)) == 3
    where = (folder / "server.log").read_text()
    where += subprocess.run(["ps", "-o", "args=", "-p", str(state.pid)], capture_output=True, text=True).stdout
    where += repr(server.credentials(home)) + repr(state)
    if Path(f"/proc/{state.pid}/environ").exists():
        where += Path(f"/proc/{state.pid}/environ").read_text() + Path(f"/proc/{state.pid}/cmdline").read_text()
    assert "run" in where
    assert not [secret for secret in hidden if secret in where]


def test_the_server_listens_on_this_machine_alone_and_calls_nobody(home, lakefs_program):
    up(home, lakefs_program)
    config = (home / "lakefs" / "server.log").read_text()
    for setting in ("stats.enabled=false", 'security.audit_check_url=""', "check_latest_version=false"):
        assert setting in config
    port = int(server.endpoint(home).rsplit(":", 1)[1])
    with socket.socket() as other:
        # On 0.0.0.0 the server would answer at any address of the loopback network.
        assert other.connect_ex(("127.0.0.2", port)) != 0


def test_settings_of_a_client_in_the_environment_do_not_reach_the_server(home, lakefs_program, monkeypatch):
    monkeypatch.setenv("LAKEFS_LISTEN_ADDRESS", "0.0.0.0:1")
    monkeypatch.setenv("LAKEFS_DATABASE_TYPE", "postgres")
    monkeypatch.setenv("LAKEFS_INSTALLATION_SECRET_ACCESS_KEY", "planted")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert up(home, lakefs_program).started


def test_two_homes_side_by_side_have_servers_of_their_own(home, lakefs_program, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    try:
        with ThreadPoolExecutor(4) as pool:
            states = list(pool.map(lambda where: up(where, lakefs_program), (here, there, here, there)))
        assert sum(state.started for state in states) == 2
        assert len({state.endpoint for state in states}) == 2
        call(here, "POST", "/repositories", json={"name": "books", "storage_namespace": "local://books"})
        assert call(there, "GET", "/repositories").json()["results"] == []
        a, b = server.credentials(here), server.credentials(there)
        assert {a.access_key, a.secret_key}.isdisjoint({b.access_key, b.secret_key})
        server.down(here)
        assert server.status(there).running
    finally:
        server.down(here)
        server.down(there)


def test_the_server_outlives_the_process_that_started_it(home, lakefs_program):
    code = f"from shelfmark.lake import server; server.up({str(home)!r}, {str(lakefs_program)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, start_new_session=True)
    assert server.status(home).running
    assert call(home, "GET", "/repositories").status_code == 200


def test_the_pid_of_another_process_in_the_file_is_not_taken_for_the_server(home, lakefs_program):
    up(home, lakefs_program)
    server.down(home)
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            # As after a restart of the machine: the file stayed, the number went to somebody else.
            (home / "lakefs" / "server.pid").write_text(f"{other.pid}\n")
            assert server.status(home).running is False
            assert server.down(home) is False
            state = up(home, lakefs_program)
            assert state.started
            assert state.pid != other.pid
            assert other.poll() is None
        finally:
            other.kill()


def test_a_server_that_was_killed_comes_back_at_its_port(home, lakefs_program):
    first = up(home, lakefs_program)
    call(home, "POST", "/repositories", json={"name": "books", "storage_namespace": "local://books"})
    os.kill(first.pid, signal.SIGKILL)
    while server.status(home).running:
        time.sleep(0.01)
    second = up(home, lakefs_program)
    assert (second.started, second.moved, second.endpoint) == (True, False, first.endpoint)
    assert call(home, "GET", "/repositories").json()["results"]


def test_a_server_that_hangs_is_killed(home, lakefs_program):
    state = up(home, lakefs_program)
    os.kill(state.pid, signal.SIGSTOP)
    assert server.down(home, timeout=1) is True
    assert server.status(home).running is False


def test_a_port_that_another_program_took_is_left_to_it(home, lakefs_program):
    first = up(home, lakefs_program)
    server.down(home)
    port = int(first.endpoint.rsplit(":", 1)[1])
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        state = up(home, lakefs_program)
        assert state.moved
        assert state.endpoint == server.endpoint(home) != first.endpoint
    assert call(home, "GET", "/repositories").status_code == 200


def test_a_port_taken_between_the_look_and_the_start_is_tried_elsewhere(home, lakefs_program, monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        chosen = iter([taken])
        real, free = server._free_port, server._free
        monkeypatch.setattr(server, "_free_port", lambda: next(chosen, None) or real())
        looks = iter([True])  # the first look, before the other program came
        monkeypatch.setattr(server, "_free", lambda port: next(looks, False) or free(port))
        state = up(home, lakefs_program)
    assert state.started
    assert not state.endpoint.endswith(f":{taken}")


def test_a_program_that_ends_at_once_is_a_clear_line_with_the_end_of_its_log(tmp_path):
    broken = script(
        tmp_path / "lakefs",
        'if [ "$1" = --version ]; then echo lakefs version 1; exit; fi\n'
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i; done; echo 'disk on fire' >&2; exit 7",
    )
    with pytest.raises(ServiceError) as caught:
        server.up(tmp_path / "home", str(broken))
    first, *tail = str(caught.value).splitlines()
    assert first.startswith("the lakeFS server ended before it answered; the end of ")
    assert first.endswith("server.log:")
    assert tail[-2:] == ["  line 12", "  disk on fire"]
    assert "  line 1" not in tail
    assert server.status(tmp_path / "home").running is False


def test_a_program_that_never_answers_is_given_up_and_stopped(tmp_path):
    deaf = script(
        tmp_path / "lakefs",
        'if [ "$1" = --version ]; then echo lakefs version 1; exit; fi\necho starting; exec sleep 60',
    )
    with pytest.raises(ServiceError, match=r"does not answer[\s\S]*starting"):
        server.up(tmp_path / "home", str(deaf), timeout=1)
    assert server.status(tmp_path / "home").running is False


def test_lost_or_damaged_keys_are_said_and_never_made_anew_over_data(home, lakefs_program):
    with pytest.raises(UsageError, match="shelfmark lake up"):
        server.credentials(home)
    up(home, lakefs_program)
    server.down(home)
    kept = home / "lakefs" / "credentials.json"
    text = kept.read_text()
    kept.write_text("{")
    with pytest.raises(UsageError, match=r"credentials\.json is damaged"):
        up(home, lakefs_program)
    kept.unlink()
    with pytest.raises(UsageError, match=r"credentials\.json is gone: restore it"):
        up(home, lakefs_program)
    other = json.loads(text) | {"access_key_id": "AKIAOFANOTHER"}
    kept.write_text(json.dumps(other))
    with pytest.raises(ServiceError, match="does not know the keys"):
        up(home, lakefs_program)
    assert server.status(home).running is False
    kept.write_text(text)
    assert up(home, lakefs_program).started
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
