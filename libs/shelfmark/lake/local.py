"""LocalLake: versions on a plain file system.

1. A commit is an immutable manifest `commits/<id>.json`: folder name -> directory below `data/`.
2. A branch is a base commit and the folders written on it. Writing a folder first hard-links the base's files into
   a directory of the branch: Delta only ever adds files, so the origin stays as it was.
3. Publishing takes a file lock, checks that each written folder is still what the branch started from, writes a
   manifest on top of the newest main and renames the pointer `refs/main` into place: readers see the old or the
   new state, never one between.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from shelfmark.errors import UsageError
from shelfmark.lake import Commit, Conflict, NotFound

NAME = re.compile(r"[A-Za-z0-9_-]+")  # what lakeFS allows in branches and tags as well
LOCK_SECONDS = 60  # a publish takes milliseconds: a lock held this long is a stuck process


class LocalLake:
    """A lake below one directory, shared by any number of processes of one file system."""

    def __init__(self, root: Path):
        self.root = Path(root).resolve()
        for name in ("commits", "refs/tags", "refs/branches", "data"):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    # -- commits ------------------------------------------------------------------------------------------------

    def head(self) -> Commit | None:
        pointer = self.root / "refs" / "main"
        return self._commit(pointer.read_text().strip()) if pointer.exists() else None

    def resolve(self, ref: str) -> Commit:
        if ref == "main":
            found = self.head()
        elif ref == "release":
            found = self.release()
        elif (tag := self.root / "refs" / "tags" / ref).is_file() and NAME.fullmatch(ref):
            found = self._commit(json.loads(tag.read_text())["commit"])
        else:
            ids = [
                p.stem for p in (self.root / "commits").glob("*.json") if NAME.fullmatch(ref) and p.stem.startswith(ref)
            ]
            if len(ids) > 1:
                raise NotFound(f"{ref} is the beginning of {len(ids)} commits: write more of it")
            found = self._commit(ids[0]) if ids else None
        if found is None:
            raise NotFound(
                f"no commit, tag or release {ref!r} in {self.root}: `shelfmark lake log` lists what there is"
            )
        return found

    def release(self) -> Commit | None:
        tags = [json.loads(path.read_text()) for path in (self.root / "refs" / "tags").glob("release-*")]
        return self._commit(max(tags, key=lambda tag: tag["time"])["commit"]) if tags else None

    def log(self) -> list[Commit]:
        commits, current = [], self.head()
        while current:
            commits.append(current)
            current = self._commit(current.parent) if current.parent else None
        return commits

    def tags(self) -> dict[str, str]:
        """Tag -> commit id."""
        paths = (self.root / "refs" / "tags").iterdir()
        return {path.name: json.loads(path.read_text())["commit"] for path in paths if not path.name.startswith(".")}

    def folders(self, ref: str) -> dict[str, str]:
        branch = self._branch_file(ref)
        if branch.exists():
            state = json.loads(branch.read_text())
            return {**self._tables(state["base"]), **state["written"]}
        return self._tables(self.resolve(ref).id)

    # -- branches -----------------------------------------------------------------------------------------------

    def branch(self, name: str) -> Commit | None:
        if not NAME.fullmatch(name):
            raise UsageError(f"branch {name!r}: only letters, digits, _ and - are allowed")
        base = self.head()
        state = {"base": base.id if base else None, "written": {}}
        try:
            with open(self._branch_file(name), "x") as file:
                json.dump(state, file)
        except FileExistsError:
            raise Conflict(f"branch {name} exists already: another attempt of this run is or was at work") from None
        return base

    def branches(self, prefix: str) -> list[str]:
        files = (self.root / "refs" / "branches").glob(f"{prefix}*.json")
        return sorted(path.stem for path in files)

    def read_path(self, ref: str, folder: str) -> str | None:
        directory = self.folders(ref).get(folder)
        return str(self.root / directory) if directory else None

    def write_path(self, branch: str, folder: str) -> str:
        state = json.loads(self._branch_file(branch).read_text())
        if folder not in state["written"]:
            directory = f"data/{branch}/{folder}"
            target = self.root / directory
            shutil.rmtree(target, ignore_errors=True)
            origin = self._tables(state["base"]).get(folder)
            if origin:
                _link_tree(self.root / origin, target)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
            state["written"][folder] = directory
            _write(self._branch_file(branch), json.dumps(state))
        return str(self.root / state["written"][folder])

    def scratch_path(self, branch: str, folder: str) -> str:
        path = self.root / "data" / branch / "_scratch" / folder
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)

    def put(self, branch: str, folder: str, origin: Path) -> None:
        target = Path(self.write_path(branch, folder))
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(origin, target)

    def local_copy(self, ref: str, folder: str) -> str | None:
        return self.read_path(ref, folder)

    def lease(self, ref: str) -> Commit:
        return self.resolve(ref)

    def publish(
        self, branch: str, message: str, metadata: dict[str, Any], checks: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Commit:
        state = json.loads(self._branch_file(branch).read_text())
        base = self._tables(state["base"])
        with self._lock():
            main = self.head()
            now = self._tables(main.id if main else None)
            clash = sorted(f for f in state["written"] if now.get(f) != base.get(f))
            if clash:
                raise Conflict(
                    f"{', '.join(clash)}: another run published since {branch} was started; nothing was changed, "
                    "run the job again from the new main"
                )
            commit = self._append(main, {**now, **state["written"]}, message, metadata)
        self.drop(branch)
        return commit

    def drop(self, branch: str) -> None:
        """Forget a branch: its pointer and scratch go, published folders stay where commits point at them."""
        self._branch_file(branch).unlink(missing_ok=True)
        shutil.rmtree(self.root / "data" / branch / "_scratch", ignore_errors=True)

    def tag(self, name: str, commit: str) -> None:
        if not NAME.fullmatch(name):
            raise UsageError(f"tag {name!r}: only letters, digits, _ and - are allowed")
        content = {"commit": self.resolve(commit).id, "time": _now()}
        _write(self.root / "refs" / "tags" / name, json.dumps(content))

    def rollback(self, ref: str, message: str, metadata: dict[str, Any]) -> Commit:
        wanted = self.resolve(ref)
        with self._lock():
            return self._append(self.head(), self._tables(wanted.id), message, metadata)

    # -- files --------------------------------------------------------------------------------------------------

    def _branch_file(self, name: str) -> Path:
        return self.root / "refs" / "branches" / f"{name}.json"

    def _manifest(self, commit_id: str) -> dict[str, Any]:
        return json.loads((self.root / "commits" / f"{commit_id}.json").read_text())

    def _tables(self, commit_id: str | None) -> dict[str, str]:
        return self._manifest(commit_id)["folders"] if commit_id else {}

    def _commit(self, commit_id: str) -> Commit:
        content = self._manifest(commit_id)
        return Commit(commit_id, content["parent"], content["message"], content["time"], content["metadata"])

    def _append(self, main: Commit | None, folders: dict[str, str], message: str, metadata: dict[str, Any]) -> Commit:
        content = {
            "parent": main.id if main else None,
            "message": message,
            "time": _now(),
            "metadata": metadata,
            "folders": dict(sorted(folders.items())),
        }
        text = json.dumps(content, indent=1, sort_keys=True)
        commit_id = hashlib.sha256(text.encode()).hexdigest()[:20]
        _write(self.root / "commits" / f"{commit_id}.json", text)
        _write(self.root / "refs" / "main", commit_id)
        return self._commit(commit_id)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        lock = FileLock(self.root / "refs" / ".lock")
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            raise Conflict(f"{lock.lock_file} is held for over {LOCK_SECONDS} s by another process") from None
        try:
            yield
        finally:
            lock.release()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _write(path: Path, text: str) -> None:
    """Write a small file so that a reader, or a crash, sees the old or the new content."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _link_tree(origin: Path, target: Path) -> None:
    """Hard-link a Delta folder; `_last_checkpoint` is the one file Delta writes over, so it is copied."""

    def link(source: str, destination: str) -> None:
        if "_last_checkpoint" in os.path.basename(source):
            shutil.copy2(source, destination)
        else:
            os.link(source, destination)

    shutil.copytree(origin, target, copy_function=link)
