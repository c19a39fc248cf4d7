"""LocalLake: versions on a plain file system.

1. A commit is an immutable manifest `commits/<id>.json`: folder name -> directory below `data/`.
2. A branch is a base commit and the folders written on it. Writing a folder first hard-links the base's files into
   a directory of the branch: Delta only ever adds files, so the origin stays as it was.
3. Publishing takes a file lock, checks that each written folder is still what the branch started from, writes a
   manifest on top of the newest main and renames the pointer `refs/main` into place: readers see the old or the
   new state, never one between.
4. A reader leases a commit before it reads: the file of the lease comes first, then the look whether the commit is
   there. Pruning marks a commit as pruned first, then looks for leases, and takes the mark back where it finds one. In
   whatever order the two meet, a reader never reads files that are going. Directories that no kept commit and no
   branch names are deleted last; the manifest stays, so that the history still tells of the run.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from shelfmark.errors import UsageError
from shelfmark.lake import Commit, Conflict, Holder, Locked, NotFound, Pruned, require_passed
from shelfmark.lake.keeping import TTL, Heartbeat, dead, held_text, me, now

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NAME = re.compile(r"[A-Za-z0-9_-]+")  # what lakeFS allows in branches and tags as well
# What file systems answer that have no hard links, or no more of them for one file.
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSYS}
LOCK_SECONDS = 60  # a publish takes milliseconds: a lock held this long is a stuck process


class LocalLake:
    """A lake below one directory, shared by any number of processes of one file system."""

    def __init__(self, root: Path):
        self.root = Path(root).resolve()
        self._leases: dict[str, Heartbeat] = {}
        for name in ("commits", "refs/tags", "refs/branches", "data", "leases", "locks"):
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
        state = self._branch(branch)
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
        _link_tree(origin, target)

    def local_copy(self, ref: str, folder: str) -> str | None:
        return self.read_path(ref, folder)

    def publish(
        self, branch: str, message: str, metadata: dict[str, Any], checks: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Commit:
        state = self._branch(branch)
        require_passed(state["written"], checks or {})
        base = self._tables(state["base"])
        with self._lock():
            main = self.head()
            newest = self._tables(main.id if main else None)
            clash = sorted(f for f in state["written"] if newest.get(f) != base.get(f))
            if clash:
                raise Conflict(
                    f"{', '.join(clash)}: another run published since {branch} was started; nothing was changed, "
                    "run the job again from the new main"
                )
            commit = self._append(main, {**newest, **state["written"]}, message, metadata)
        self.drop(branch)
        return commit

    def connect(self, spark: SparkSession) -> None:
        """Spark reads a file system as it is."""

    def drop(self, branch: str) -> None:
        """Forget a branch: its pointer and scratch go, published folders stay where commits point at them."""
        self._branch_file(branch).unlink(missing_ok=True)
        shutil.rmtree(self.root / "data" / branch / "_scratch", ignore_errors=True)

    def tag(self, name: str, commit: str, move: bool = False) -> None:
        if not NAME.fullmatch(name):
            raise UsageError(f"tag {name!r}: only letters, digits, _ and - are allowed")
        wanted, path = self.resolve(commit).id, self.root / "refs" / "tags" / name
        if not move and path.exists() and (there := json.loads(path.read_text())["commit"]) != wanted:
            raise UsageError(f"tag {name} names {there[:10]} already: choose another name")
        _write(path, json.dumps({"commit": wanted, "time": now()}))

    def rollback(self, ref: str, message: str, metadata: dict[str, Any]) -> Commit:
        wanted = self.resolve(ref)
        with self._lock():
            return self._append(self.head(), self._tables(wanted.id), message, metadata)

    # -- leases, locks, pruning ---------------------------------------------------------------------------------

    def lease(self, ref: str) -> Commit:
        for _ in range(100):
            commit = self.resolve(ref)
            if commit.id in self._leases:
                return commit
            path = self.root / "leases" / f"{secrets.token_hex(8)}.json"
            _write(path, json.dumps({"commit": commit.id, **asdict(me("reader", ""))}))
            if not self._manifest(commit.id).get("pruned"):
                end = partial(path.unlink, missing_ok=True)
                self._leases[commit.id] = Heartbeat(beat=partial(os.utime, path), end=end)
                return commit
            path.unlink(missing_ok=True)
            if ref == commit.id:
                break
        raise NotFound(f"commit {commit.id[:10]} is past retention: its tables were pruned")

    @contextmanager
    def lock(self, name: str, who: str, branch: str = "", wait: float = 0) -> Iterator[None]:
        if not NAME.fullmatch(name):
            raise UsageError(f"lock {name!r}: only letters, digits, _ and - are allowed")
        path = self.root / "locks" / name
        lock = FileLock(path)  # the system gives it back when a process dies, however it dies
        try:
            lock.acquire(timeout=wait)
        except Timeout:
            raise Locked(f"{held_text(name, self.locks().get(name))}; wait for it to end, or run again later") from None
        try:
            _write(path.with_suffix(".json"), json.dumps(asdict(me(who, branch))))
            yield
        finally:
            path.with_suffix(".json").unlink(missing_ok=True)
            lock.release()

    def locks(self) -> dict[str, Holder]:
        held = {}
        for path in (self.root / "locks").glob("*.json"):
            lock = FileLock(path.with_suffix(""))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                with suppress(FileNotFoundError):  # given back just now
                    held[path.stem] = Holder(**json.loads(path.read_text()))
            else:
                lock.release()
        return held

    def prune(self, before: datetime, branches_before: datetime, dry: bool = False) -> Pruned:
        working = tuple(holder.branch for holder in self.locks().values() if holder.branch)
        with self._lock():
            branches = [
                path.stem
                for path in self._branch_files()
                if not path.stem.startswith(working)
                and datetime.fromtimestamp(path.stat().st_mtime, UTC) < branches_before
            ]
            tags = self.tags()
            old = {c.id for c in self.log() if datetime.fromisoformat(c.time) < before}
            old -= {commit.id for commit in (self.head(), self.release()) if commit}
            old -= {commit for name, commit in tags.items() if not name.startswith("release-")}
            old -= {self._branch(path.stem)["base"] for path in self._branch_files() if path.stem not in branches}
            old -= self._leased()
            going = {commit for commit in old if not self._manifest(commit).get("pruned")}
            if not dry:
                self._mark(going, pruned=True)
                saved = self._leased() & going  # a reader came while the marks were made
                self._mark(saved, pruned=False)
                going, old = going - saved, old - saved
            releases = sorted(name for name, commit in tags.items() if commit in old)
            if not dry:
                for name in releases:
                    (self.root / "refs" / "tags" / name).unlink()
                for name in branches:
                    self.drop(name)
            unused = self._unused(set(branches), going)
            size = sum(file.stat().st_size for file in _files(unused) if file.stat().st_nlink == 1)
            if not dry:
                for folder in unused:
                    shutil.rmtree(folder, ignore_errors=True)
        return Pruned(tuple(branches), tuple(releases), tuple(sorted(going)), size)

    def _leased(self) -> set[str]:
        """Commits under a lease; leases of dead processes are removed."""
        leased = set()
        for path in (self.root / "leases").glob("*.json"):
            try:
                about, silent = json.loads(path.read_text()), time.time() - path.stat().st_mtime
            except FileNotFoundError:  # given back just now
                continue
            if silent > TTL or dead(about["host"], about["pid"]):
                path.unlink(missing_ok=True)
            else:
                leased.add(about["commit"])
        return leased

    def _mark(self, commits: set[str], pruned: bool) -> None:
        for commit in commits:
            content = {**self._manifest(commit), "pruned": pruned}
            _write(self.root / "commits" / f"{commit}.json", json.dumps(content, indent=1, sort_keys=True))

    def _unused(self, dropped: set[str], pruned: set[str]) -> list[Path]:
        """Directories below data/ that no commit and no branch names, were `dropped` and `pruned` gone."""
        manifests = [
            json.loads(path.read_text()) | {"id": path.stem} for path in (self.root / "commits").glob("*.json")
        ]
        used = [set(m["folders"].values()) for m in manifests if not m.get("pruned") and m["id"] not in pruned]
        living = [path.stem for path in self._branch_files() if path.stem not in dropped]
        # All of a living branch: a folder that is being linked is not in its list yet.
        used += [{*self._branch(name)["written"].values(), f"data/{name}"} for name in living]
        named = {self.root / name for name in set().union(*used)}
        parents = {parent for path in named for parent in path.parents}
        return list(_outside(self.root / "data", named, parents))

    # -- files --------------------------------------------------------------------------------------------------

    def _branch_file(self, name: str) -> Path:
        return self.root / "refs" / "branches" / f"{name}.json"

    def _branch_files(self) -> list[Path]:
        return sorted((self.root / "refs" / "branches").glob("[!.]*.json"))

    def _branch(self, name: str) -> dict[str, Any]:
        return json.loads(self._branch_file(name).read_text())

    def _manifest(self, commit_id: str) -> dict[str, Any]:
        return json.loads((self.root / "commits" / f"{commit_id}.json").read_text())

    def _tables(self, commit_id: str | None) -> dict[str, str]:
        """Folder -> directory of a commit; `NotFound` where it was pruned."""
        content = self._manifest(commit_id) if commit_id else {"folders": {}}
        if content.get("pruned"):
            raise NotFound(f"commit {commit_id[:10]} is past retention: its tables were pruned")
        return content["folders"]

    def _commit(self, commit_id: str) -> Commit:
        content = self._manifest(commit_id)
        return Commit(commit_id, content["parent"], content["message"], content["time"], content["metadata"])

    def _append(self, main: Commit | None, folders: dict[str, str], message: str, metadata: dict[str, Any]) -> Commit:
        content = {
            "parent": main.id if main else None,
            "message": message,
            "time": now(),
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


def _write(path: Path, text: str) -> None:
    """Write a small file so that a reader, or a crash, sees the old or the new content."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _files(folders: list[Path]) -> Iterator[Path]:
    return (
        path for folder in folders for path in ([folder] if folder.is_file() else folder.rglob("*")) if path.is_file()
    )


def _outside(folder: Path, named: set[Path], parents: set[Path]) -> Iterator[Path]:
    """What lies below `folder` beside the directories `named` and their `parents`."""
    for child in folder.iterdir():
        if child in named:
            continue
        if child in parents:
            yield from _outside(child, named, parents)
        else:
            yield child


def _link_tree(origin: Path, target: Path) -> None:
    """Hard-link a folder; of Delta, `_last_checkpoint` is the one file Delta writes over, so it is copied.

    On a file system without hard links the files are copied, which takes time and room; the log says so once.
    """
    linking = True

    def link(source: str, destination: str) -> None:
        nonlocal linking
        if linking and "_last_checkpoint" not in os.path.basename(source):
            try:
                os.link(source, destination)
                return
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                linking = False
                _warn_of_copies(str(target))
        shutil.copy2(source, destination)

    shutil.copytree(origin, target, copy_function=link)


@lru_cache(maxsize=1)
def _warn_of_copies(where: str) -> None:
    logging.getLogger("shelfmark").warning(
        "the file system of %s has no hard links: each run copies the tables it writes, which is slower and takes their "
        "size again; put home on ext4, xfs or the like, or use lake: lakefs",
        where,
    )
