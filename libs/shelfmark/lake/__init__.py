"""The lake: versioned folders (Delta tables and model files) that are published together or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from shelfmark.errors import ServiceError, UsageError

if TYPE_CHECKING:
    from shelfmark.config import Settings


class Conflict(ServiceError):
    """Another run published the same table since this run's branch was made: run again."""


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


class Lake(Protocol):
    """What a run needs of a lake. Folders are named by their path, e.g. `silver/products`, `models/text/v1`."""

    def head(self) -> Commit | None:
        """Newest commit of main; None in an empty lake."""

    def resolve(self, ref: str) -> Commit:
        """Commit of an id (or its unique beginning), a tag, `main` or `release` (newest); raises `NotFound`."""

    def release(self) -> Commit | None:
        """Commit of the newest release; None before the first."""

    def log(self) -> list[Commit]:
        """Commits of main, newest first."""

    def folders(self, ref: str) -> dict[str, str]:
        """Folders of a commit or branch, each with a fingerprint that changes whenever its content does."""

    def branch(self, name: str) -> Commit | None:
        """Make a branch at main's head; a branch of that name is an error. Returns its base."""

    def branches(self, prefix: str) -> list[str]:
        """Branches whose name starts so."""

    def read_path(self, ref: str, folder: str) -> str | None:
        """Address to read a folder at a commit or branch; None where it is not there."""

    def write_path(self, branch: str, folder: str) -> str:
        """Address to write a folder on a branch, its content as at the base; isolated until published."""

    def scratch_path(self, branch: str, folder: str) -> str:
        """Address for intermediate files of a branch: never published."""

    def publish(self, branch: str, message: str, metadata: dict[str, Any]) -> Commit:
        """One commit with all folders written on the branch, on top of the newest main; raises `Conflict`."""

    def drop(self, branch: str) -> None:
        """Forget a branch that is not needed any more."""

    def tag(self, name: str, commit: str) -> None:
        """Name a commit for ever."""

    def rollback(self, ref: str, message: str, metadata: dict[str, Any]) -> Commit:
        """A new commit on main with the folders of an earlier one."""


def open_lake(settings: Settings) -> Lake:
    """The lake the settings name, made where it is not there yet."""
    from shelfmark.lake.local import LocalLake

    return LocalLake(Path(settings.home) / "lake")
