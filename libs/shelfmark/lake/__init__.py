"""The lake: versioned folders (Delta tables and model files) that are published together or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from shelfmark.errors import DataRefused, ServiceError, UsageError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from shelfmark.config import Settings


class Conflict(ServiceError):
    """Another run published the same table since this run's branch was made: run again."""


class Locked(ServiceError):
    """Another process holds the lock: the message says who."""


class NotFound(UsageError):
    """No such commit, tag or branch."""


@dataclass(frozen=True)
class Commit:
    """A version of all folders. `time` is ISO 8601 in UTC; `metadata` has job, run_id, rows and the like as text."""

    id: str
    parent: str | None
    message: str
    time: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: which run, on which branch, on which machine, since when (ISO 8601, UTC)."""

    who: str
    branch: str
    host: str
    pid: int
    since: str


@dataclass(frozen=True)
class Pruned:
    """What a prune removed (or, dry, would remove): names of branches and tags, ids of commits, bytes given back."""

    branches: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()
    bytes: int | None = None


class Lake(Protocol):
    """What a run needs of a lake. Folders are named by their path, e.g. `silver/products`, `models/text/v1`."""

    def head(self) -> Commit | None:
        """Newest commit of main; None in an empty lake."""

    def resolve(self, ref: str) -> Commit:
        """Commit of an id (or its unique beginning), a tag, `main` or `release` (newest); raises `NotFound`."""

    def release(self) -> Commit | None:
        """Commit of the newest release; None before the first."""

    def log(self) -> list[Commit]:
        """Commits of main, newest first. Commits past retention are still told of here."""

    def tags(self) -> dict[str, str]:
        """Tag -> commit id."""

    def folders(self, ref: str) -> dict[str, str]:
        """Folders of a commit or branch, each with a fingerprint that changes whenever its content does."""

    def branch(self, name: str) -> Commit | None:
        """Make a branch at main's head; a branch of that name is a `Conflict`. Returns its base."""

    def branches(self, prefix: str) -> list[str]:
        """Branches whose name starts so."""

    def read_path(self, ref: str, folder: str) -> str | None:
        """Address to read a folder at a commit or branch; None where it is not there."""

    def write_path(self, branch: str, folder: str) -> str:
        """Address to write a folder on a branch, its content as at the base; isolated until published."""

    def scratch_path(self, branch: str, folder: str) -> str:
        """Local path for intermediate files of a branch, on a file system driver and executors share; never published."""

    def put(self, branch: str, folder: str, origin: Path) -> None:
        """Write the files of the local directory `origin` (a model) as a folder of a branch, in place of what was there."""

    def local_copy(self, ref: str, folder: str) -> str | None:
        """Local directory with the plain files of a folder (a model); None where it is not there."""

    def publish(
        self, branch: str, message: str, metadata: dict[str, Any], checks: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Commit:
        """One commit with all folders written on the branch, on top of the newest main; raises `Conflict`.

        `checks`: for each written folder its evidence `{"passed": bool, "expectations": int, "suite": str | None}`;
        a folder without passed evidence is refused with `DataRefused`.
        """

    def drop(self, branch: str) -> None:
        """Forget a branch that is not needed any more."""

    def connect(self, spark: SparkSession) -> None:
        """Let a Spark session read and write this lake's addresses."""

    def tag(self, name: str, commit: str, move: bool = False) -> None:
        """Name a commit for ever; `UsageError` where the name is another commit's, unless it may `move`."""

    def rollback(self, ref: str, message: str, metadata: dict[str, Any]) -> Commit:
        """A new commit on main with the folders of an earlier one."""

    def lease(self, ref: str) -> Commit:
        """The commit of `ref`, kept from pruning until this process ends (or stops renewing the lease)."""

    def lock(self, name: str, who: str, branch: str = "", wait: float = 0) -> AbstractContextManager[None]:
        """Hold a lock that one process of all has; raises `Locked` naming the holder after `wait` seconds."""

    def locks(self) -> dict[str, Holder]:
        """Locks held now."""

    def prune(self, before: datetime, branches_before: datetime, dry: bool = False) -> Pruned:
        """Remove what is past retention: branches of dead runs made before `branches_before`; releases and commits
        older than `before`. The newest commit and release, named tags, commits under a lease and the bases of living
        branches stay."""


def require_passed(folders: Iterable[str], checks: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises `DataRefused` where a written folder has no passed evidence among `checks`."""
    lacking = sorted(folder for folder in folders if not checks.get(folder, {}).get("passed"))
    if lacking:
        raise DataRefused(f"{', '.join(lacking)}: no check says that it passed, so it is not published")


def open_lake(settings: Settings, make: bool = True) -> Lake:
    """The lake the settings name; without `make`, `NotFound` where it is not there yet."""
    if settings.lake == "lakefs":
        from shelfmark.lake.lakefs import LakeFSLake

        return LakeFSLake(settings, make=make)
    from shelfmark.lake.local import LocalLake

    root = Path(settings.home) / "lake"
    if not make and not (root / "refs" / "main").exists():
        home = Path(settings.home).resolve()
        raise NotFound(f"no lake in {home}: run `shelfmark pipeline` first, or name another --home")
    return LocalLake(root)
