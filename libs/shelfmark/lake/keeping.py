"""What both lakes need to hold something for as long as a process lives: a heartbeat, and who it is that holds."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from shelfmark.lake import Holder

TTL = (
    120  # seconds without a heartbeat after which a holder counts as dead; a pause of the JVM or a slow disk is shorter
)
BEAT = 30  # seconds between heartbeats: three may fail


def now() -> str:
    """This moment, ISO 8601 in UTC with microseconds, so that the order of texts is the order of times."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def me(who: str, branch: str) -> Holder:
    """This process as a holder."""
    return Holder(who, branch, socket.gethostname(), os.getpid(), now())


def dead(host: str, pid: int) -> bool:
    """Whether a process is known to be gone: only of this machine's processes can that be told."""
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def held_text(name: str, holder: Holder | None) -> str:
    """Who holds a lock, as a sentence."""
    if holder is None:
        return f"{name} is held by another process"
    return f"{name} is held by {holder.who} (process {holder.pid} on {holder.host}, since {holder.since[:19]} UTC)"


class Heartbeat:
    """Calls `beat` every `BEAT` seconds in the background until `stop`, and `end` once, at `stop` or at exit."""

    def __init__(self, beat: Callable[[], None], end: Callable[[], None]):
        self._beat, self._end = beat, end
        self._over = threading.Event()
        self._pid = os.getpid()
        threading.Thread(target=self._run, daemon=True).start()
        atexit.register(self.stop)

    def _run(self) -> None:
        while not self._over.wait(BEAT):
            try:
                self._beat()
            except Exception as error:  # the next beat may succeed; what is held past its time is lost, not wrong
                logging.getLogger("shelfmark").warning("a heartbeat failed: %s", error)

    def stop(self) -> None:
        """End it; what fails in ending is only logged, because the time to live ends it anyway."""
        if self._over.is_set() or os.getpid() != self._pid:
            return
        self._over.set()
        atexit.unregister(self.stop)
        try:
            self._end()
        except Exception as error:
            logging.getLogger("shelfmark").debug("what was held ends by itself in %d s: %s", TTL, error)
