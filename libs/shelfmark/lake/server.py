"""A lakeFS server of one's own on 127.0.0.1: for trying it out and for the tests.

1. `binary` finds the server program, or fetches or builds it once.
2. `<home>/lakefs/` holds all of a server: `credentials.json` and `config.yml` (for their owner's eyes alone),
   `server.pid`, `server.log`, `metadata/` (branches, commits), `blocks/` (the objects) and `cache/`.
3. A running server holds a file lock on `server.pid` that it got from the process that started it. The lock says
   whether it runs, not the number in the file: a dead server's pid that another process has now is never taken for it.
4. The server is told by its settings to call nobody: no statistics, no audit, no look for a newer version.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from shelfmark.config import resource
from shelfmark.errors import ServiceError, ShelfmarkError, UsageError

VERSION = "1.84.0"  # what tools/lakefs/go.mod requires
GO = ("go", "/usr/local/go/bin/go")  # Go's own installer does not put it on PATH
# Below the ports that systems give to outgoing connections (from 32768 on Linux, 49152 elsewhere), so that a port
# that was kept is seldom taken when the server comes again.
PORTS = range(20_000, 30_000)
START_SECONDS = 60  # it takes 2 s on an idle machine
STOP_SECONDS = 35  # the server gives requests under way 30 s
LOG_BYTES = 10 << 20  # a longer log is put aside at the next start

# The download that the `lakefs` package offers, in a process of its own: it sets no time limit and prints.
# A silent network must not hold up the next way to come by the program.
DOWNLOAD = """
import socket, sys
socket.setdefaulttimeout(10)
from lakefs.__main__ import find_or_download_binary
sys.stderr.write(find_or_download_binary("lakefs"))
"""
DOWNLOAD_SECONDS = 300  # for about 100 MB


@dataclass(frozen=True)
class Access:
    """Where the local server answers, and with which keys."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True)
class State:
    """How a home's server is: `endpoint` is None before its first start, `pid` when it does not run.

    `started` is True when this call started it, `moved` when its port was taken by another program and it got a new one.
    """

    running: bool
    endpoint: str | None = None
    pid: int | None = None
    log: Path | None = None
    started: bool = False
    moved: bool = False


# -- the program --------------------------------------------------------------------------------------------------


def binary(configured: str | None = None, say: Callable[[str], None] | None = None) -> Path:
    """The lakeFS server program. In this order: `configured` (the setting lakefs.server_binary), PATH, the official
    download that the `lakefs` package offers, a build of tools/lakefs by a Go toolchain (once, into the cache).

    What was downloaded or built before is used before anything is fetched. `say` gets a line before long work.
    Raises `UsageError` for a setting that names no lakeFS, `ServiceError` with all that was tried.
    """
    say = say or _say
    if configured:
        path = shutil.which(os.path.expanduser(configured))
        wrong = _wrong(path) if path else "no such program"
        if wrong:
            raise UsageError(f"lakefs.server_binary {configured}: {wrong}; name a lakeFS server, or leave it empty")
        return Path(path).resolve()
    tried = ["settings: lakefs.server_binary is empty"]
    on_path = shutil.which("lakefs")
    wrong = _wrong(on_path) if on_path else "no lakefs there"
    if not wrong:
        return Path(on_path).resolve()
    tried.append(f"PATH: {wrong}")
    # Where the package's download puts it, then our own build.
    for kept in (Path(sys.exec_prefix, "bin", "lakefs"), Path.home() / ".lakefs" / "bin" / "lakefs", _built()):
        if kept.is_file() and not _wrong(kept):
            return kept
    for name, make in (("download", _download), ("Go", _build)):
        try:
            return make(say)
        except ServiceError as error:
            tried.append(f"{name}: {error}")
    raise ServiceError(
        f"no lakeFS server found ({'; '.join(tried)}): install lakeFS {VERSION} and put it on PATH or name it in "
        "lakefs.server_binary, or install Go 1.26.4 or newer"
    )


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _wrong(path: str | Path) -> str | None:
    """Why a program is no lakeFS server; None when it is one."""
    try:
        done = subprocess.run([str(path), "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path} cannot be run ({error})"
    if done.returncode or not done.stdout.lower().startswith("lakefs version"):
        return f"{path} is no lakeFS server: `--version` says {(done.stdout or done.stderr).strip()[:80]!r}"
    return None


def _built() -> Path:
    root = Path(os.environ.get("SHELFMARK_CACHE") or Path.home() / ".cache" / "shelfmark")
    return root / "bin" / f"lakefs-{VERSION}"


def _download(say: Callable[[str], None]) -> Path:
    say("looking for the official lakeFS server (about 100 MB)")
    try:
        done = subprocess.run(
            [sys.executable, "-c", DOWNLOAD],
            env={**os.environ, "PATH": ""},  # it would take any program there that is called lakefs
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ServiceError(f"it took longer than {DOWNLOAD_SECONDS} s") from None
    last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
    if done.returncode:
        raise ServiceError(last)
    if wrong := _wrong(last):
        raise ServiceError(wrong)
    return Path(last)


def _build(say: Callable[[str], None]) -> Path:
    """Build tools/lakefs once; processes that want it at the same time wait for the one that builds."""
    go = next(filter(None, map(shutil.which, GO)), None)
    if go is None:
        raise ServiceError("no Go toolchain on PATH")
    target = _built()
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f"{target.name}.lock")):
        if target.is_file() and not _wrong(target):
            return target
        say(f"building the lakeFS server {VERSION} with Go, once: this takes about 3 minutes")
        fresh = target.with_name(f".{target.name}.{os.getpid()}")
        version = f"-X github.com/treeverse/lakefs/pkg/version.Version={VERSION}"
        command = [go, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", f"-ldflags=-s -w {version}"]
        # Without cgo no C compiler is needed. go.sum has every module's checksum, so none is looked up elsewhere.
        done = subprocess.run(
            [*command, "-o", str(fresh), "."],
            cwd=resource("tools", "lakefs"),
            env={**os.environ, "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            fresh.unlink(missing_ok=True)
            raise ServiceError(f"{go} build: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
        os.replace(fresh, target)
    return target


# -- a home's server ----------------------------------------------------------------------------------------------


def up(
    home: str | Path,
    server_binary: str | None = None,
    timeout: float = START_SECONDS,
    say: Callable[[str], None] | None = None,
) -> State:
    """Start the server of `home` and wait until it answers; one that runs already is left as it is.

    Its credentials are made at the first start and kept, and so is its port, unless another program has taken it.
    Raises `ServiceError` with the end of the server's log.
    """
    folder = _folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with FileLock(folder / ".lock"):
        found = status(home)
        if found.running:
            _await_answer(folder, time.monotonic() + timeout)
            return found
        program = binary(server_binary, say)
        kept = _keys(folder)
        deadline = time.monotonic() + timeout
        for _ in range(3):
            # Between the look at a port and the server's use of it, another program may take it.
            port = kept["port"] if _free(kept["port"]) else _free_port()
            moved = port != kept["port"] and (folder / "metadata").exists()
            kept["port"] = port
            _write_private(folder / "credentials.json", json.dumps(kept, indent=1))
            _write_private(folder / "config.yml", yaml.safe_dump(_config(folder, kept)))
            begin = _start(folder, program)
            try:
                _await_answer(folder, deadline, begin)
                return State(True, _endpoint(kept), _pid(folder), folder / "server.log", started=True, moved=moved)
            except _PortTaken:
                continue
            except ShelfmarkError:
                _stop(folder, 0)
                raise
        raise ServiceError("three ports in a row were taken by other programs while the lakeFS server started")


def status(home: str | Path) -> State:
    """Whether the server of `home` runs, and where."""
    folder = _folder(home)
    if not (folder / "credentials.json").exists():
        return State(False)
    running = _running(folder)
    return State(running, _endpoint(_read(folder)), _pid(folder) if running else None, folder / "server.log")


def down(home: str | Path, timeout: float = STOP_SECONDS) -> bool:
    """Stop the server of `home`: SIGTERM, then SIGKILL after `timeout` seconds. False when none was running."""
    folder = _folder(home)
    if not folder.is_dir():
        return False
    with FileLock(folder / ".lock"):
        if not _running(folder):
            return False
        _stop(folder, timeout)
    return True


def credentials(home: str | Path) -> Access:
    """Address and keys of the local server of `home`; raises `UsageError` where none was ever started."""
    kept = _read(_folder(home))
    return Access(_endpoint(kept), kept["access_key_id"], kept["secret_access_key"])


def endpoint(home: str | Path) -> str:
    """Address of the local server of `home`."""
    return credentials(home).endpoint


# -- files --------------------------------------------------------------------------------------------------------


def _folder(home: str | Path) -> Path:
    return Path(home).resolve() / "lakefs"


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "credentials.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"no lakeFS server was started in {folder}: `shelfmark lake up` does it") from None
    except ValueError:
        raise UsageError(f"{path} is damaged: restore it, or remove {folder} with all it holds") from None


def _keys(folder: Path) -> dict[str, Any]:
    """Keys and port of a server, made where there are none yet."""
    if (folder / "credentials.json").exists():
        return _read(folder)
    if (folder / "metadata").exists():
        # The store knows the first keys it was given, and only those.
        raise UsageError(f"{folder}/credentials.json is gone: restore it, or remove {folder} with all it holds")
    return {
        "port": _free_port(),
        "access_key_id": "AKIA" + base64.b32encode(secrets.token_bytes(10)).decode(),
        "secret_access_key": secrets.token_urlsafe(30),
        "encrypt_key": secrets.token_urlsafe(30),
        "signing_key": secrets.token_urlsafe(30),
    }


def _endpoint(kept: dict[str, Any]) -> str:
    return f"http://127.0.0.1:{kept['port']}"


def _config(folder: Path, kept: dict[str, Any]) -> dict[str, Any]:
    """Settings of the server, as its documentation names them."""
    return {
        "listen_address": f"127.0.0.1:{kept['port']}",
        "database": {"type": "local", "local": {"path": str(folder / "metadata")}},
        "blockstore": {
            "type": "local",
            "local": {"path": str(folder / "blocks")},
            "signing": {"secret_key": kept["signing_key"]},
        },
        "committed": {"local_cache": {"dir": str(folder / "cache")}},
        "auth": {"encrypt": {"secret_key": kept["encrypt_key"]}},
        "installation": {
            "user_name": "shelfmark",
            "access_key_id": kept["access_key_id"],
            "secret_access_key": kept["secret_access_key"],
        },
        "logging": {"level": "INFO", "output": "-"},
        "stats": {"enabled": False},
        "email_subscription": {"enabled": False},
        "security": {"check_latest_version": False, "audit_check_url": ""},
    }


def _write_private(path: Path, text: str) -> None:
    """Write a file that nobody but its owner can read at any moment; a crash leaves the old or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


# -- the process --------------------------------------------------------------------------------------------------


class _PortTaken(ServiceError):
    """Another program took the port in between."""


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    for _ in range(100):
        if _free(port := secrets.choice(PORTS)):
            return port
    raise ServiceError(f"no free port between {PORTS.start} and {PORTS.stop - 1} on 127.0.0.1")


def _running(folder: Path) -> bool:
    try:
        with open(folder / "server.pid") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _pid(folder: Path) -> int | None:
    try:
        return int((folder / "server.pid").read_text())
    except (ValueError, FileNotFoundError):
        return None


def _start(folder: Path, program: Path) -> int:
    """Start the server apart from this process; returns where its part of the log begins."""
    log = folder / "server.log"
    if log.exists() and log.stat().st_size > LOG_BYTES:
        os.replace(log, folder / "server.log.1")
    # LAKEFS_... variables, such as a client's keys, would win over the settings file.
    env = {name: os.environ[name] for name in ("PATH", "TMPDIR", "TZ") if name in os.environ} | {"HOME": str(folder)}
    # The shell writes its own pid and then becomes the server: there is no moment at which a server runs unrecorded.
    script = 'echo $$ > server.pid && exec "$0" run --config config.yml'
    held = os.open(folder / "server.pid", os.O_RDWR | os.O_CREAT, 0o600)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        begin = os.fstat(output).st_size
        subprocess.Popen(
            ["/bin/sh", "-c", script, str(program)],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(held,),
            start_new_session=True,
        )
    finally:
        os.close(held)
        os.close(output)
    return begin


def _await_answer(folder: Path, deadline: float, begin: int | None = None) -> None:
    """Wait until the server answers to its keys. `begin`: where its part of the log begins, for what is said."""
    kept = _read(folder)
    while True:
        running = _running(folder)
        answer = _answer(kept) if running else None
        if answer == 200:
            return
        if answer == 401:
            raise ServiceError(
                f"the lakeFS server at {_endpoint(kept)} does not know the keys in {folder}/credentials.json: "
                f"restore that file, or remove {folder} with all it holds"
            )
        if not running:
            tail = _tail(folder, begin)
            kind = _PortTaken if "address already in use" in tail else ServiceError
            raise kind(f"the lakeFS server ended before it answered; the end of {folder}/server.log:\n{tail}")
        if time.monotonic() > deadline:
            raise ServiceError(
                f"the lakeFS server at {_endpoint(kept)} does not answer; the end of {folder}/server.log:\n"
                f"{_tail(folder, begin)}"
            )
        time.sleep(0.1)


def _answer(kept: dict[str, Any]) -> int | None:
    """HTTP status of a small request that needs the keys; None where nothing answers."""
    pair = base64.b64encode(f"{kept['access_key_id']}:{kept['secret_access_key']}".encode()).decode()
    request = urllib.request.Request(
        f"{_endpoint(kept)}/api/v1/repositories?amount=1", headers={"Authorization": f"Basic {pair}"}
    )
    # A proxy for the outside world has no business on 127.0.0.1.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=2) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def _tail(folder: Path, begin: int | None, lines: int = 8) -> str:
    with open(folder / "server.log", "rb") as file:
        file.seek(begin or 0)
        text = file.read().decode(errors="replace")
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:]) or "  (nothing)"


def _stop(folder: Path, timeout: float) -> None:
    for kind, seconds in ((signal.SIGTERM, timeout), (signal.SIGKILL, 10)):
        pid = _pid(folder)
        if not _running(folder) or pid is None:
            break
        if seconds:
            os.kill(pid, kind)
        until = time.monotonic() + seconds
        while _running(folder) and time.monotonic() < until:
            time.sleep(0.05)
    if _running(folder):
        raise ServiceError(f"the lakeFS server of {folder} (process {_pid(folder)}) does not end")
    (folder / "server.pid").unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        binary()
    except ShelfmarkError as reason:
        # Only what needs a lakeFS server does without.
        _say(f"note: {reason}")
