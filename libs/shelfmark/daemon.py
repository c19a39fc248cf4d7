"""What executors start to fork their Python workers: PySpark's own daemon, with less to do and to wait for around a task.

A task of PySpark 3.5 costs 130 ms beside its work, a few here; where a job is many short tasks, that is most of it.

- `importlib.invalidate_caches()` at a task's start reads the directories of pyspark.zip and of Spark's core jar, both on
  Python's path, a dozen times. The package is taken from where pip installed it, if it is there.
- Java sends a task in several small packets, and (Nagle's algorithm) each only when the one before is acknowledged,
  which Linux puts off by 40 ms while it has nothing to send back. A worker acknowledges what it has read at once.
- At a task's end all objects are collected, those of imported modules too. What most tasks need is imported before
  the forks, once instead of once a worker, and frozen.
"""

from __future__ import annotations

import ctypes
import gc
import io
import os
import re
import socket
import stat
import sys
from importlib.machinery import PathFinder

ARCHIVES = re.compile(r"(pyspark\.zip|py4j-[^/]*-src\.zip|spark-core_[^/]*\.jar)$")
KEPT = 32 << 20


def without_archives(path: list[str]) -> list[str]:
    """`path` without Spark's archives, where the rest of it holds the packages they hold; else as it is."""
    rest = [entry for entry in path if not ARCHIVES.search(entry)]
    return rest if all(PathFinder.find_spec(name, rest) for name in ("pyspark", "py4j")) else path


class Acknowledging(io.RawIOBase):
    """Reads of a socket; of TCP on Linux, each is acknowledged at once."""

    def __init__(self, sock: socket.socket):
        self._sock = sock
        self._tcp = sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_QUICKACK")

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._sock.fileno()

    def readinto(self, buffer) -> int:
        count = self._sock.recv_into(buffer)
        if self._tcp:
            # Not kept by the system: it holds until the next answer.
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return count

    def close(self) -> None:
        if not self.closed:
            self._sock.close()
        super().close()


def keep_memory() -> None:
    """Have freed memory kept for the next task, up to `KEPT` bytes: a page that is new to a process costs as much as filling it.

    Does nothing where the C library is not glibc.
    """
    import pyarrow as pa

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    # Numbers of malloc.h. The second is how large a block may be to come from what is kept.
    mallopt(-1, KEPT)
    mallopt(-3, KEPT)
    pa.set_memory_pool(pa.system_memory_pool())


def main() -> None:
    sys.path[:] = without_archives(sys.path)
    for entry in set(sys.path_importer_cache) - set(sys.path):
        if ARCHIVES.search(entry):
            del sys.path_importer_cache[entry]

    import pandas  # noqa: F401
    import pyarrow.compute  # noqa: F401
    import pyspark.daemon
    import pyspark.sql.pandas.serializers

    from shelfmark.dedup import candidates, components, groups, survivors  # noqa: F401

    keep_memory()
    pyspark.daemon.os = _Os()
    gc.collect()
    gc.freeze()
    pyspark.daemon.manager()


class _Os:
    """`os` for PySpark's daemon: what it opens to read a socket is `Acknowledging`."""

    def __getattr__(self, name: str):
        return getattr(os, name)

    @staticmethod
    def fdopen(fd: int, mode: str = "r", buffering: int = -1):
        if mode != "rb" or not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return os.fdopen(fd, mode, buffering)
        return io.BufferedReader(Acknowledging(socket.socket(fileno=fd)), buffering)


if __name__ == "__main__":
    main()
