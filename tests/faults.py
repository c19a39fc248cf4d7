"""Faults for tests: a proxy that spoils answers of the lakeFS server, and drivers that are killed at a named point.

Nothing here is known to the product: the proxy stands between it and the server, and a driver's own functions are
wrapped from outside, in the child process, before the job begins.

    with Proxy(server.endpoint) as proxy:
        proxy.on("POST", "/merge/", cut_after)            # the server merges, nobody hears of it
        ...                                               # work against proxy.endpoint

    ended = drive(SCRIPT, home, point=point)              # a process of its own, killed at the point
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

# A setting of sessions that live for a minute or two: Java's second compiler costs them more than it gives.
_ONE_COMPILER = "-XX:TieredStopAtLevel=1"
SHORT_LIVED = f"spark.options={{spark.driver.defaultJavaOptions: {_ONE_COMPILER}, spark.executor.defaultJavaOptions: {_ONE_COMPILER}}}"

PIECE = 1 << 16


# -- the proxy ----------------------------------------------------------------------------------------------------


@dataclass
class Exchange:
    """A request on its way, for a fault to act on. `path` is as the client wrote it, with its query."""

    proxy: Proxy
    method: str
    path: str
    client: Wire
    forward: Callable[[], Iterator[bytes]]  # sends the request on; gives the answer in pieces
    drain: Callable[[], None]  # reads what the client still sends, and forgets it


Fault = Callable[[Exchange], bool]
"""Deals with an exchange; whether the client's connection may be used again."""


def delay(seconds: float) -> Fault:
    """The server does it, and its answer comes late."""

    def late(exchange: Exchange) -> bool:
        answer = exchange.forward()
        first = next(answer, b"")
        exchange.proxy.closing.wait(seconds)
        exchange.client.send(first)
        for piece in answer:
            exchange.client.send(piece)
        return True

    return late


def cut_before(exchange: Exchange) -> bool:
    """The connection breaks before the server hears of the request."""
    exchange.client.reset()
    return False


def cut_after(exchange: Exchange) -> bool:
    """The server does it, and the connection breaks before its answer arrives."""
    for _ in exchange.forward():
        pass
    exchange.client.reset()
    return False


def cut_midway(exchange: Exchange) -> bool:
    """The connection ends in the middle of the answer: of its body, or of its first line where it has no body."""
    answer = b"".join(exchange.forward())
    head = answer.find(b"\r\n\r\n") + 4
    # Clients take a head that ends after some fields for a whole one, so it is not cut there.
    exchange.client.send(answer[: (head + len(answer)) // 2 if len(answer) > head else len(b"HTTP/1.")])
    return False


def status(code: int, after: bool = False) -> Fault:
    """An error for an answer, as the API or the S3 gateway words it. `after`: the server did it all the same."""

    def fail(exchange: Exchange) -> bool:
        if after:
            for _ in exchange.forward():
                pass
        else:
            exchange.drain()
        if exchange.path.startswith("/api/"):
            kind, body = "application/json", json.dumps({"message": "a fault of the test"})
        else:
            name = "SlowDown" if code == 503 else "InternalError"
            kind, body = "application/xml", f"<Error><Code>{name}</Code><Message>a fault of the test</Message></Error>"
        body = "" if exchange.method == "HEAD" else body
        exchange.client.send(
            f"HTTP/1.1 {code} Fault\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            f"Connection: close\r\n\r\n{body}".encode()
        )
        return False

    return fail


def calling(action: Callable[[], Any], after: bool = False) -> Fault:
    """Calls `action` before the request goes on, or `after` the server did it and before its answer goes on."""

    def act(exchange: Exchange) -> bool:
        if after:
            answer = list(exchange.forward())
            action()
        else:
            action()
            answer = exchange.forward()
        for piece in answer:
            exchange.client.send(piece)
        return True

    return act


@dataclass
class Rule:
    """A fault for requests whose method is `method` (`*`: any) and whose path and query `path` is found in.

    The first `skip` of them pass, then `times` get the fault (None: all), then they pass again. `hits` counts faults.
    """

    method: str
    path: str
    fault: Fault
    skip: int = 0
    times: int | None = 1
    seen: int = 0
    hits: int = 0

    def takes(self, method: str, path: str) -> bool:
        if self.method not in ("*", method) or not re.search(self.path, path):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True


class Proxy:
    """An HTTP/1.1 proxy on 127.0.0.1 in front of one server; what no rule takes passes byte for byte.

    Heads are sent on as they came, so that signatures over Host and other headers hold. `requests` lists what came:
    (method, path, whether a rule took it).
    """

    def __init__(self, upstream: str):
        parts = urlsplit(upstream)
        self.upstream = (parts.hostname, parts.port)
        self.rules: list[Rule] = []
        self.requests: list[tuple[str, str, bool]] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Proxy:
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: Any) -> None:
        self.closing.set()
        # A thread in accept() or recv() wakes at a shutdown, not at a close.
        with self._lock:
            sockets = [self._listener, *self._open]
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def on(self, method: str, path: str, fault: Fault, skip: int = 0, times: int | None = 1) -> Rule:
        """Add a rule; of several that match a request the first that takes it counts."""
        rule = Rule(method, path, fault, skip, times)
        with self._lock:
            self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """No more faults."""
        with self._lock:
            self.rules.clear()

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self._spawn(self._serve, accepted)

    def _track(self, each: socket.socket) -> socket.socket:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open.add(each)
        return each

    def _serve(self, accepted: socket.socket) -> None:
        """All requests of one connection, over one connection to the server."""
        client, server = Wire(self._track(accepted)), None
        try:
            server = Wire(self._track(socket.create_connection(self.upstream, timeout=600)))
            # A server that goes away while nothing is asked closes its side: so does the proxy.
            while client.waits_beside(server) and (head := client.head()):
                if not self._exchange(client, server, head):
                    return
        except OSError:
            # Either side is gone: for the other that is a broken connection, as without a proxy.
            client.reset()
        finally:
            for wire in filter(None, (client, server)):
                wire.socket.close()
                with self._lock:
                    self._open.discard(wire.socket)

    def _exchange(self, client: Wire, server: Wire, head: bytes) -> bool:
        method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        fields = _fields(head)
        waits = fields.get("expect", "").lower() == "100-continue"
        again = [fields.get("connection", "").lower() != "close"]

        def forward() -> Iterator[bytes]:
            server.send(head)
            if not waits:
                for piece in client.body(fields):
                    server.send(piece)
            sent = not waits
            while True:
                answer = server.head()
                if not answer:
                    raise ConnectionResetError("the server went away")
                code = int(answer.split(b" ", 2)[1])
                if code >= 200:
                    break
                client.send(answer)
                if code == 100 and not sent:
                    for piece in client.body(fields):
                        server.send(piece)
                    sent = True
            theirs = _fields(answer)
            framed = "content-length" in theirs or "chunked" in theirs.get("transfer-encoding", "")
            bodiless = method == "HEAD" or code in (204, 304)
            if not sent or theirs.get("connection", "").lower() == "close" or not (framed or bodiless):
                again[0] = False
            yield answer
            if not bodiless:
                yield from server.body(theirs) if framed else server.rest()

        def drain() -> None:
            if not waits:
                for _ in client.body(fields):
                    pass

        with self._lock:
            rule = next((rule for rule in self.rules if rule.takes(method, path)), None)
            self.requests.append((method, path, rule is not None))
        if rule:
            return rule.fault(Exchange(self, method, path, client, forward, drain)) and again[0]
        for piece in forward():
            client.send(piece)
        return again[0]


class Wire:
    """One side of a connection, read by heads, lines and bodies."""

    def __init__(self, each: socket.socket):
        self.socket, self.buffer = each, b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reset(self) -> None:
        """Let the close that follows be a broken connection, not an end in order."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def waits_beside(self, other: Wire) -> bool:
        """Wait for the next bytes; False when the other side ends first."""
        if self.buffer:
            return True
        ready, _, _ = select.select([self.socket, other.socket], [], [])
        return other.socket not in ready

    def head(self) -> bytes | None:
        """Up to the empty line; None where the connection ends."""
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            if not self._more():
                return None
        return self._take(end + 4)

    def body(self, fields: dict[str, str]) -> Iterator[bytes]:
        """What follows a head, its framing included."""
        if "chunked" in fields.get("transfer-encoding", "").lower():
            size = None
            while size != 0:
                line = self._line()
                size = int(line.split(b";")[0], 16)
                yield line
                if size:
                    yield from self._exactly(size + 2)
            while line != b"\r\n":
                line = self._line()
                yield line
        else:
            yield from self._exactly(int(fields.get("content-length", 0)))

    def rest(self) -> Iterator[bytes]:
        """Up to the end of the connection."""
        while self.buffer or self._more():
            yield self._take(len(self.buffer))

    def _line(self) -> bytes:
        while (end := self.buffer.find(b"\r\n")) < 0:
            self._need()
        return self._take(end + 2)

    def _exactly(self, count: int) -> Iterator[bytes]:
        while count:
            if not self.buffer:
                self._need()
            piece = self._take(min(count, len(self.buffer)))
            count -= len(piece)
            yield piece

    def _take(self, count: int) -> bytes:
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def _more(self) -> bool:
        data = self.socket.recv(PIECE)
        self.buffer += data
        return bool(data)

    def _need(self) -> None:
        if not self._more():
            raise ConnectionResetError("ended in the middle")


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


# -- drivers that are killed --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """A moment of a run at which its driver is killed: at a call within it, or at a request that it makes.

    `call` is `module:function` or `module:Class.function`. `when`: `before` the call, `after` it, or `within` it, for
    a call that returns a DataFrame: some of its rows have been worked on when a task of it kills.
    `request` is (method, regular expression for the path), for drivers that speak through a `Proxy`: `before` it
    reaches the server, or `after` the server did it and before the driver hears of it.
    Of several calls or requests the `nth` counts whose arguments, or path, `match` is found in.
    """

    name: str
    call: str | None = None
    request: tuple[str, str] | None = None
    when: str = "before"
    nth: int = 1
    match: str = ""

    def __str__(self) -> str:
        return self.name


def kill_points(kind: str) -> list[Point]:
    """Points of a run of a job that writes two tables with `Run.write`, for the lake `local` or `lakefs`."""
    lake = {"local": "shelfmark.lake.local:LocalLake", "lakefs": "shelfmark.lake.lakefs:LakeFSLake"}[kind]
    common = [
        Point("before the branch is made", f"{lake}.branch"),
        Point("after the branch is made", f"{lake}.branch", when="after"),
        Point("before the first table is written", "shelfmark.run:Run.write"),
        Point("while the first table is written", "shelfmark.run:conform", when="within"),
        Point("after the first table's commit to its log", "shelfmark.run:_rows_written"),
        Point("while the second table is written", "shelfmark.run:conform", when="within", nth=2),
        Point("before the checks", "shelfmark.run:Run.validate"),
        Point("before the run record", "shelfmark.run:Run.journal"),
        Point("before publishing", f"{lake}.publish"),
        Point("after publishing", f"{lake}.publish", when="after"),
    ]
    if kind == "local":
        return [
            *common,
            Point("while publishing, before the manifest is there", "os:replace", match="/commits/"),
            Point("while publishing, before main moves", "os:replace", match="/refs/main"),
            Point("while publishing, after main moved", "os:replace", match="/refs/main", when="after"),
            Point("before the branch is dropped", f"{lake}.drop"),
        ]
    # POST only: the same addresses are read with GET.
    commit, merge = ("POST", r"/branches/[^/]+/commits"), ("POST", r"/refs/[^/]+/merge/")
    log = ("PUT", r"/_delta_log/\d+\.json")
    return [
        *common,
        Point("before the first table's log entry is stored", request=log),
        Point("after the first table's log entry is stored, unheard", request=log, when="after"),
        Point("before the commit", request=commit),
        Point("after the commit, unheard", request=commit, when="after"),
        Point("before the merge", request=merge),
        Point("after the merge, unheard", request=merge, when="after"),
    ]


@dataclass
class Driver:
    """A Python process of its own session, so that all of it, Java included, dies at one moment."""

    process: subprocess.Popen
    log: Path
    killed: bool = field(default=False)

    def kill(self) -> None:
        """SIGKILL to the driver and its Java, as when the machine's memory ran out."""
        self.killed = True
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def wait(self, timeout: float = 300) -> int:
        """Exit code, once Java is gone too; a driver that takes longer than `timeout` seconds is killed, an error."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
            raise AssertionError(f"the driver did not end in {timeout} s:\n{self.output()}") from None
        until = time.monotonic() + 30
        while self.alive() and time.monotonic() < until:
            time.sleep(0.02)
        return code

    def alive(self) -> list[int]:
        """Processes of the driver's group that still run."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if os.getpgid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
        return found

    def output(self, lines: int = 60) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def start(
    script: str, folder: Path, *args: Any, point: Point | None = None, env: dict[str, str] | None = None
) -> Driver:
    """Start `script` (Python text; its sys.argv[1:] are `args`) in `folder`, armed with a point that is a call."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    armed = json.dumps(asdict(point)) if point and point.call else "null"
    prelude = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import faults; faults.arm({armed!r}); "
        f"exec(compile({script!r}, 'driver', 'exec'))"
    )
    log = Path(folder) / f"driver-{time.monotonic_ns()}.log"
    with open(log, "w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", prelude, *map(str, args)],
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Driver(process, log)


def drive(
    script: str,
    folder: Path,
    *args: Any,
    point: Point | None = None,
    proxy: Proxy | None = None,
    env: dict[str, str] | None = None,
    timeout: float = 300,
) -> Driver:
    """Run a driver to its end, which is its death at `point` where one is given.

    A driver that ends without having come to its point is an `AssertionError`, and so is one that fails with none.
    """
    driver = None
    rule = None
    started = threading.Event()
    if point and point.request:
        if proxy is None:
            raise ValueError(f"{point.name}: a point that is a request needs a proxy")

        def kill(exchange: Exchange) -> bool:
            if point.when == "after":
                for _ in exchange.forward():
                    pass
            started.wait(10)
            driver.kill()
            return False

        method, path = point.request
        rule = proxy.on(method, path, kill, skip=point.nth - 1)
    driver = start(script, folder, *args, point=point, env=env)
    started.set()
    try:
        code = driver.wait(timeout)
    finally:
        if rule:
            proxy.rules.remove(rule)
    if point and code != -signal.SIGKILL:
        raise AssertionError(f"the driver ended with {code} and never came to {point.name!r}:\n{driver.output()}")
    if not point and code:
        raise AssertionError(f"the driver failed with {code}:\n{driver.output()}")
    return driver


# -- within the driver --------------------------------------------------------------------------------------------


def die() -> None:
    """Kill this process's whole session at once; nothing is cleaned up."""
    os.killpg(os.getpgid(0), signal.SIGKILL)
    time.sleep(60)


def arm(text: str) -> None:
    """In the driver: wrap the call of a point (JSON) so that it kills."""
    point = json.loads(text)
    if point is None:
        return
    module, _, path = point["call"].partition(":")
    holder = __import__(module, fromlist=["_"])
    *outer, name = path.split(".")
    for part in outer:
        holder = getattr(holder, part)
    real, lock, seen = getattr(holder, name), threading.Lock(), [0]

    def wrapped(*args: Any, **options: Any) -> Any:
        with lock:
            mine = bool(re.search(point["match"], repr((args, options))))
            seen[0] += mine
            now = mine and seen[0] == point["nth"]
        if now and point["when"] == "before":
            die()
        result = real(*args, **options)
        if now and point["when"] == "after":
            die()
        return deadly(result) if now else result

    setattr(holder, name, wrapped)


def deadly(frame: Any) -> Any:
    """A DataFrame of the same rows whose last task kills the driver after half of its first batch."""
    parted = frame.repartition(3)
    session = os.getpgid(0)

    def kill(batches: Iterator[Any]) -> Iterator[Any]:
        # Defined here so that it travels to the worker by value: a worker does not know this module.
        import os
        import signal
        import time

        from pyspark import TaskContext

        last = TaskContext.get().partitionId() == 2
        for batch in batches:
            yield batch.slice(0, batch.num_rows // 2) if last else batch
            if last:
                break
        if last:
            time.sleep(1)  # the other tasks get their files written
            os.killpg(session, signal.SIGKILL)
            time.sleep(60)

    return parted.mapInArrow(kill, frame.schema)
