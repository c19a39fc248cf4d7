"""LakeFSLake: versions in a lakeFS repository, through its SDK and its S3 gateway. The only module that imports lakefs.

1. A commit is a commit of main, a branch a branch; Spark reads and writes `s3a://<repository>/<ref>/<folder>`.
2. Each written folder has a marker `_folders/<folder>`: a small object that names the branch that wrote it. Its ETag is the
   folder's fingerprint, one listing tells all folders of a ref, and two branches that write one folder change one
   object, so that lakeFS itself refuses the second merge, however their files are named. Beside it `_checks/<folder>`
   says, for the same branch, what the folder's checks said.
3. Publishing commits the branch and squash-merges it: one commit on main, whose metadata is the run's. main is protected
   against anything but merges, and the pre-merge action `ACTION` refuses one that changes a folder without passed checks.
   It guards against mistakes, not against somebody who may write to the repository: it is read from the branch merged.
4. What is no version of the tables lies on a branch that is never committed (`META`): locks, leases, the order of the
   releases, and who made which branch. An object there is claimed by an upload that fails where it exists.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import lakefs_sdk
import urllib3
from lakefs.client import Client
from lakefs_sdk import models
from lakefs_sdk.exceptions import ApiException

from shelfmark.errors import DataRefused, ServiceError, UsageError
from shelfmark.lake import Commit, Conflict, Holder, Locked, NotFound, Pruned, server
from shelfmark.lake.keeping import TTL, Heartbeat, dead, held_text, me, now

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from shelfmark.config import Settings

NAME = re.compile(r"[A-Za-z0-9_-]+")
COMMIT = re.compile(r"[0-9a-f]{6,64}")
MAIN, META, EMPTY = "main", "shelfmark-meta", "shelfmark-empty"
MARKERS, EVIDENCE = "_folders/", "_checks/"
KEYS = ("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY")
"""Environment variables with the keys, the names lakeFS' own tools read."""

# Seconds between tries of a request that got no answer, or 5xx: a server that is started again is back within them.
WAITS = (0.2, 0.5, 1, 2, 4, 8)
TIMEOUT = (5, 120)  # seconds to connect, to answer; a merge of a large branch is the longest request
MERGE_TRIES = 40  # merges that met another merge on its way; each then waits some hundred ms
PAGE = 1000  # most entries lakeFS lists at once

# Spark's side. Markers are kept: S3A would else delete those of all parents at every file it writes.
S3A = {
    "path.style.access": "true",
    "directory.marker.retention": "keep",
    "change.detection.mode": "none",
    "attempts.maximum": "4",
    "retry.limit": "4",
    "retry.interval": "500ms",
    "connection.establish.timeout": "5000",
    "connection.timeout": "60000",
    "fast.upload.buffer": "bytebuffer",
}

ACTION = """\
name: shelfmark checks
description: A merge to main needs a passed check of every folder that it changes.
on:
  pre-merge:
    branches:
      - main
hooks:
  - id: checks_passed
    type: lua
    properties:
      script: |
        local lakefs = require("lakefs")
        local json = require("encoding/json")
        local repo, source = action.repository_id, action.source_ref
        local function changes(prefix, delimiter, visit)
          local after, more = "", true
          while more do
            local code, page = lakefs.diff_refs(repo, action.branch_id, source, after, prefix, delimiter, 1000)
            if code ~= 200 then
              error("the changes could not be listed: " .. tostring(code))
            end
            for _, one in pairs(page.results) do
              visit(one)
            end
            more, after = page.pagination.has_more, page.pagination.next_offset
          end
        end
        local passed = {}
        changes("_folders/", "", function(one)
          local folder = string.sub(one.path, 10)
          if one.type == "removed" then
            passed[folder] = true
            return
          end
          local code, body = lakefs.get_object(repo, source, one.path)
          local found, evidence = lakefs.get_object(repo, source, "_checks/" .. folder)
          local said = nil
          if code == 200 and found == 200 then
            said = json.unmarshal(evidence)
          end
          if said == nil or said.branch ~= json.unmarshal(body).branch or said.checks == nil or said.checks.passed ~= true then
            error("no check says that " .. folder .. " passed")
          end
          passed[folder] = true
        end)
        local function covered(path)
          local below = false
          for folder, _ in pairs(passed) do
            if string.sub(path, 1, #folder + 1) == folder .. "/" then
              return true, false
            end
            below = below or string.sub(folder, 1, #path) == path
          end
          return false, below
        end
        local function look(prefix)
          changes(prefix, "/", function(one)
            if one.path ~= "_folders/" and one.path ~= "_checks/" then
              local yes, below = covered(one.path)
              if not yes and below then
                look(one.path)
              elseif not yes then
                error(one.path .. " was changed outside of a checked table")
              end
            end
          end)
        end
        look("")
"""


class LakeFSLake:
    """A lake in one lakeFS repository, shared by any number of machines."""

    def __init__(self, settings: Settings, make: bool = True):
        self.endpoint, self._access_key, self._secret_key = access(settings)
        self.repository = settings.lakefs.repository
        self.home = Path(settings.home).resolve()
        self._client = Client(host=self.endpoint, username=self._access_key, password=self._secret_key)
        self._marked: dict[str, set[str]] = {}
        self._known: dict[str, Any] = {}
        self._leases: dict[str, Heartbeat] = {}
        namespace = settings.lakefs.storage_namespace
        if namespace is None and settings.lakefs.endpoint is None:
            namespace = f"local://{self.repository}"
        self._open(namespace, make)

    # -- commits ------------------------------------------------------------------------------------------------

    def head(self) -> Commit | None:
        commit_id = self._call(self._sdk.branches_api.get_branch, self.repository, MAIN).commit_id
        return None if commit_id == self._empty else self._commit(commit_id)

    def resolve(self, ref: str) -> Commit:
        if ref == MAIN:
            found = self.head()
        elif ref == "release":
            found = self.release()
        else:
            found = self._named(ref) if NAME.fullmatch(ref) else None
        if found is None:
            raise NotFound(
                f"no commit, tag or release {ref!r} in lakeFS repository {self.repository}: `shelfmark lake log` lists "
                "what there is"
            )
        return found

    def _named(self, ref: str) -> Commit | None:
        tag = None if ref == EMPTY else self._found(self._sdk.tags_api.get_tag, self.repository, ref)
        if tag:
            return self._commit(tag.commit_id)
        if not COMMIT.fullmatch(ref):
            return None
        commit = self._found(self._sdk.commits_api.get_commit, self.repository, ref)
        return self._as_commit(commit) if commit and "shelfmark" in (commit.metadata or {}) else None

    def release(self) -> Commit | None:
        newest = next(self._list(META, "releases/", amount=1), None)
        return self._commit(json.loads(self._get(META, newest.path))["commit"]) if newest else None

    def log(self) -> list[Commit]:
        commits = []
        after = ""
        while True:
            page = self._call(
                self._sdk.refs_api.log_commits, self.repository, MAIN, after=after, amount=PAGE, first_parent=True
            )
            commits += [self._as_commit(c) for c in page.results if "shelfmark" in (c.metadata or {})]
            if not page.pagination.has_more:
                return commits
            after = page.pagination.next_offset

    def tags(self) -> dict[str, str]:
        found, after = {}, ""
        while True:
            page = self._call(self._sdk.tags_api.list_tags, self.repository, after=after, amount=PAGE)
            found |= {tag.id: tag.commit_id for tag in page.results if tag.id != EMPTY}
            if not page.pagination.has_more:
                return found
            after = page.pagination.next_offset

    def folders(self, ref: str) -> dict[str, str]:
        commit = ref if len(ref) == 64 and COMMIT.fullmatch(ref) else None
        if ref in (MAIN, "release"):
            commit = ref = self.resolve(ref).id
        if commit and commit in self._known:
            return self._known[commit]
        found = {one.path.removeprefix(MARKERS): one.checksum for one in self._list(ref, MARKERS)}
        if commit:
            self._known[commit] = found
        return found

    # -- branches -----------------------------------------------------------------------------------------------

    def branch(self, name: str) -> Commit | None:
        if not NAME.fullmatch(name):
            raise UsageError(f"branch {name!r}: only letters, digits, _ and - are allowed")
        nonce = secrets.token_hex(8)
        base = self._call(self._sdk.branches_api.get_branch, self.repository, MAIN).commit_id
        record = json.dumps({"base": base, "time": now(), "nonce": nonce})
        if not self._claim(f"branches/{name}", record, nonce):
            raise Conflict(f"branch {name} exists already: another attempt of this run is or was at work")
        creation = models.BranchCreation(name=name, source=base)
        try:
            self._call(self._sdk.branches_api.create_branch, self.repository, creation)
        except _Status as answer:
            # The claim is ours, so a branch of the name is what a try without an answer made.
            if answer.status != 409:
                raise
        return None if base == self._empty else self._commit(base)

    def branches(self, prefix: str) -> list[str]:
        found, after = [], ""
        while True:
            page = self._call(
                self._sdk.branches_api.list_branches, self.repository, prefix=prefix, after=after, amount=PAGE
            )
            found += [branch.id for branch in page.results]
            if not page.pagination.has_more:
                return sorted(found)
            after = page.pagination.next_offset

    def read_path(self, ref: str, folder: str) -> str | None:
        if ref in (MAIN, "release"):
            ref = self.resolve(ref).id
        return f"s3a://{self.repository}/{ref}/{folder}" if folder in self.folders(ref) else None

    def write_path(self, branch: str, folder: str) -> str:
        if folder not in self._marked.setdefault(branch, set()):
            self._put(branch, MARKERS + folder, json.dumps({"branch": branch}))
            self._marked[branch].add(folder)
        return f"s3a://{self.repository}/{branch}/{folder}"

    def scratch_path(self, branch: str, folder: str) -> str:
        path = self._scratch(branch) / folder
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)

    def put(self, branch: str, folder: str, origin: Path) -> None:
        self.write_path(branch, folder)
        self._delete(branch, [one.path for one in self._list(branch, f"{folder}/")])
        for path in sorted(p for p in origin.rglob("*") if p.is_file()):
            self._put(branch, f"{folder}/{path.relative_to(origin).as_posix()}", path.read_bytes())

    def local_copy(self, ref: str, folder: str) -> str | None:
        """The files are fetched once below home, which driver and executors share, and kept by their fingerprint."""
        if ref in (MAIN, "release"):
            ref = self.resolve(ref).id
        fingerprint = self.folders(ref).get(folder)
        if fingerprint is None:
            return None
        target = self.home / "cache" / "lakefs" / re.sub(r"\W", "", fingerprint)
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent) as made:
                for one in self._list(ref, f"{folder}/"):
                    path = Path(made, "files", one.path.removeprefix(f"{folder}/"))
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(self._get(ref, one.path))
                try:
                    os.replace(Path(made, "files"), target)
                except OSError:
                    if not target.is_dir():  # else another process was quicker
                        raise
        return str(target)

    def publish(
        self, branch: str, message: str, metadata: dict[str, Any], checks: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Commit:
        for folder in self._written(branch):
            about = {"branch": branch, "checks": (checks or {}).get(folder)}
            self._put(branch, EVIDENCE + folder, json.dumps(about, sort_keys=True))
        self._call(
            self._sdk.commits_api.commit,
            self.repository,
            branch,
            models.CommitCreation(message=message, metadata=_flat(metadata, branch), allow_empty=True),
        )
        commit = self._merge(branch, message, metadata)
        self.drop(branch)
        return commit

    def drop(self, branch: str) -> None:
        self._found(self._sdk.branches_api.delete_branch, self.repository, branch)
        self._delete(META, [f"branches/{branch}"])
        shutil.rmtree(self._scratch(branch), ignore_errors=True)
        self._marked.pop(branch, None)

    def tag(self, name: str, commit: str, move: bool = False) -> None:
        if not NAME.fullmatch(name):
            raise UsageError(f"tag {name!r}: only letters, digits, _ and - are allowed")
        wanted = self.resolve(commit).id
        there = self._found(self._sdk.tags_api.get_tag, self.repository, name)
        if there and there.commit_id != wanted:
            if not move:
                raise UsageError(f"tag {name} names {there.commit_id[:10]} already: choose another name")
            self._found(self._sdk.tags_api.delete_tag, self.repository, name)
            there = None
        if there is None:
            try:
                self._call(self._sdk.tags_api.create_tag, self.repository, models.TagCreation(id=name, ref=wanted))
            except _Status as answer:
                if answer.status != 409:
                    raise
        if name.startswith("release-"):
            # The newest first in the order of names, so that one listing of one entry finds it.
            place = f"{10**17 - time.time_ns() // 100:018d}"
            self._put(META, f"releases/{place}-{name}", json.dumps({"tag": name, "commit": wanted, "time": now()}))

    def rollback(self, ref: str, message: str, metadata: dict[str, Any]) -> Commit:
        """A branch gets the earlier commit's whole tree as its next commit, and is merged like any other."""
        wanted = self.resolve(ref)
        tree = self._call(self._sdk.commits_api.get_commit, self.repository, wanted.id).meta_range_id
        branch = f"rollback-{secrets.token_hex(6)}"
        self.branch(branch)
        creation = models.CommitCreation(message=message, metadata=_flat(metadata, branch), allow_empty=True)
        self._call(self._sdk.commits_api.commit, self.repository, branch, creation, source_metarange=tree)
        commit = self._merge(branch, message, metadata)
        self.drop(branch)
        return commit

    def connect(self, spark: SparkSession) -> None:
        """S3A options for this repository alone, set on the running session: keys are on no command line so."""
        options = {
            **S3A,
            "endpoint": self.endpoint,
            "connection.ssl.enabled": str(self.endpoint.startswith("https")).lower(),
            "aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
            "access.key": self._access_key,
            "secret.key": self._secret_key,
        }
        hadoop = spark.sparkContext._jsc.hadoopConfiguration()
        for name, value in options.items():
            hadoop.set(f"fs.s3a.bucket.{self.repository}.{name}", value)

    # -- leases, locks, pruning ---------------------------------------------------------------------------------

    def lease(self, ref: str) -> Commit:
        """A commit of main is never taken away by `prune`; the lease keeps its release from being forgotten."""
        commit = self.resolve(ref)
        if commit.id in self._leases:
            return commit
        path = f"leases/{commit.id}/{secrets.token_hex(8)}"

        def renew() -> None:
            self._put(META, path, json.dumps({**asdict(me("reader", "")), "until": time.time() + TTL}))

        renew()
        self._leases[commit.id] = Heartbeat(beat=renew, end=lambda: self._delete(META, [path], tries=1))
        return commit

    @contextmanager
    def lock(self, name: str, who: str, branch: str = "", wait: float = 0) -> Iterator[None]:
        """A lock's holders are numbered; whoever claims the next number has it, when the holder before has let go."""
        if not NAME.fullmatch(name):
            raise UsageError(f"lock {name!r}: only letters, digits, _ and - are allowed")
        holder, nonce, over = me(who, branch), secrets.token_hex(8), time.monotonic() + wait

        def text(until: float) -> str:
            return json.dumps({"holder": asdict(holder), "until": until, "nonce": nonce})

        while True:
            number, before = self._newest_holder(name)
            if not _holds(before):
                path = f"locks/{name}/{number + 1:012d}"
                if self._claim(path, text(time.time() + TTL), nonce):
                    break
                continue
            if time.monotonic() >= over:
                said = held_text(name, Holder(**before["holder"]))
                raise Locked(f"{said}; wait for it to end, or run again later")
            time.sleep(min(1.0, max(0.05, over - time.monotonic())))
        # Earlier numbers are of no use: the newest tells who holds it.
        self._delete(META, [one.path for one in self._list(META, f"locks/{name}/") if one.path < path])
        beat = Heartbeat(
            beat=lambda: self._put(META, path, text(time.time() + TTL)), end=lambda: self._put(META, path, text(0))
        )
        try:
            yield
        finally:
            beat.stop()

    def locks(self) -> dict[str, Holder]:
        held: dict[str, Holder] = {}
        for name in {one.path.split("/")[1] for one in self._list(META, "locks/")}:
            _, newest = self._newest_holder(name)
            if _holds(newest):
                held[name] = Holder(**newest["holder"])
        return held

    def prune(self, before: datetime, branches_before: datetime, dry: bool = False) -> Pruned:
        """Commits stay in lakeFS' own history; what names them goes, and lakeFS' garbage collection is told how long
        to keep the files of commits that no branch and no tag has as its head (docs/operations.md).

        So `commits` are those whose release was forgotten, and `bytes` is not known here.
        """
        working = tuple(holder.branch for holder in self.locks().values() if holder.branch)
        branches = []
        for one in self._list(META, "branches/"):
            about, name = json.loads(self._get(META, one.path)), one.path.removeprefix("branches/")
            if not name.startswith(working) and datetime.fromisoformat(about["time"]) < branches_before:
                branches.append(name)
        leased = self._leased()
        keep = {c.id for c in (self.head(), self.release()) if c} | leased
        releases = {path: json.loads(self._get(META, path)) for path in (o.path for o in self._list(META, "releases/"))}
        going = {
            path: about
            for path, about in releases.items()
            if about["commit"] not in keep and datetime.fromisoformat(self._commit(about["commit"]).time) < before
        }
        tags = sorted({about["tag"] for about in going.values()})
        commits = sorted({about["commit"] for about in going.values()})
        if not dry:
            for tag in tags:
                self._found(self._sdk.tags_api.delete_tag, self.repository, tag)
            self._delete(META, list(going))
            for name in branches:
                self.drop(name)
            self._set_collection(before)
            shutil.rmtree(self.home / "cache" / "lakefs", ignore_errors=True)
        return Pruned(tuple(sorted(branches)), tuple(tags), tuple(commits), None)

    def _leased(self) -> set[str]:
        leased = set()
        for one in self._list(META, "leases/"):
            about = self._get(META, one.path, missing=True)
            if about is None or (said := json.loads(about))["until"] < time.time() or dead(said["host"], said["pid"]):
                self._delete(META, [one.path])
            else:
                leased.add(one.path.split("/")[1])
        return leased

    def _set_collection(self, before: datetime) -> None:
        days = max(1, (datetime.now(UTC) - before).days)
        rules = models.GarbageCollectionRules(default_retention_days=days, branches=[])
        self._call(self._sdk.repositories_api.set_gc_rules, self.repository, rules)

    def _newest_holder(self, name: str) -> tuple[int, dict[str, Any] | None]:
        while True:
            newest = max((one.path for one in self._list(META, f"locks/{name}/")), default=None)
            if newest is None:
                return 0, None
            text = self._get(META, newest, missing=True)
            if text is not None:  # else tidied up since it was listed
                return int(newest.rsplit("/", 1)[1]), json.loads(text)

    # -- the repository -----------------------------------------------------------------------------------------

    def _open(self, namespace: str | None, make: bool) -> None:
        """Find the repository, or make it: the action and an empty commit on main, META, then the protection."""
        if self._found(self._sdk.repositories_api.get_repository, self.repository) is None:
            if not make:
                raise NotFound(
                    f"no lakeFS repository {self.repository} at {self.endpoint}: run `shelfmark pipeline` first, or name "
                    "another with lakefs.repository"
                )
            if namespace is None:
                raise UsageError(
                    f"lakeFS at {self.endpoint} has no repository {self.repository}; to make it, say where it keeps its "
                    "data: lakefs.storage_namespace, e.g. s3://bucket/lake"
                )
            creation = models.RepositoryCreation(name=self.repository, storage_namespace=namespace, default_branch=MAIN)
            self._made(self._sdk.repositories_api.create_repository, creation)
        empty = self._found(self._sdk.tags_api.get_tag, self.repository, EMPTY)
        self._empty = empty.commit_id if empty else self._set_up()

    def _set_up(self) -> str:
        """The last step is the tag: a set-up that was cut short is done again, and each step bears it."""
        rule = models.BranchProtectionRule(pattern=MAIN)
        self._call(self._sdk.repositories_api.set_branch_protection_rules, self.repository, [])
        self._put(MAIN, "_lakefs_actions/shelfmark.yaml", ACTION)
        creation = models.CommitCreation(message="an empty lake, with the checks a merge must pass", allow_empty=True)
        self._call(self._sdk.commits_api.commit, self.repository, MAIN, creation)
        self._call(self._sdk.repositories_api.set_branch_protection_rules, self.repository, [rule])
        self._made(self._sdk.branches_api.create_branch, self.repository, models.BranchCreation(name=META, source=MAIN))
        head = self._call(self._sdk.branches_api.get_branch, self.repository, MAIN).commit_id
        self._made(self._sdk.tags_api.create_tag, self.repository, models.TagCreation(id=EMPTY, ref=head))
        return self._call(self._sdk.tags_api.get_tag, self.repository, EMPTY).commit_id

    def _written(self, branch: str) -> list[str]:
        """Folders whose marker the branch changed since its base."""
        base = json.loads(self._get(META, f"branches/{branch}"))["base"]
        before = self.folders(base)
        return [folder for folder, seen in self.folders(branch).items() if before.get(folder) != seen]

    def _merge(self, branch: str, message: str, metadata: dict[str, Any]) -> Commit:
        """Squash-merge a committed branch into main, once, whatever becomes of the answers."""
        merge = models.Merge(message=message, metadata=_flat(metadata, branch), squash_merge=True, allow_empty=True)
        for _ in range(MERGE_TRIES):
            try:
                done = self._call(self._sdk.refs_api.merge_into_branch, self.repository, branch, MAIN, merge, tries=1)
                return self._commit(done.reference)
            except _Status as answer:
                if answer.status == 412 or "hook" in answer.text.lower():
                    raise DataRefused(f"lakeFS refused to merge {branch}: {_hook(answer.text)}") from None
                if answer.status == 409 and "conflict" in answer.text.lower():
                    raise Conflict(
                        f"another run published since {branch} was started ({answer.text}); nothing was changed, run the "
                        "job again from the new main"
                    ) from None
                if answer.status not in (409, 423, 429) and answer.status < 500:
                    raise
                last: ServiceError = answer
            except ServiceError as silent:
                last = silent
            if landed := self._landed(branch):
                return landed
            time.sleep(0.1 + secrets.randbelow(400) / 1000)
            if not isinstance(last, _Status):
                self._call(
                    self._sdk.branches_api.get_branch, self.repository, MAIN
                )  # waits for the server, or gives up
        raise Conflict(f"{branch} could not be merged beside the others that are merging: {last}; run the job again")

    def _landed(self, branch: str) -> Commit | None:
        """The commit of main that a merge of `branch` made, though its answer was lost."""
        return next((c for c in self.log()[:100] if self._branch_of.get(c.id) == branch), None)

    def _commit(self, commit_id: str) -> Commit:
        key = f"commit {commit_id}"
        if key not in self._known:
            self._known[key] = self._as_commit(self._call(self._sdk.commits_api.get_commit, self.repository, commit_id))
        return self._known[key]

    def _as_commit(self, commit: models.Commit) -> Commit:
        parent = commit.parents[0] if commit.parents and commit.parents[0] != self._empty else None
        about = json.loads(commit.metadata["shelfmark"])
        self._branch_of[commit.id] = about["branch"]
        return Commit(commit.id, parent, commit.message, about["time"], about["metadata"])

    @property
    def _branch_of(self) -> dict[str, str]:
        return self._known.setdefault("branch of commit", {})

    def _scratch(self, branch: str) -> Path:
        return self.home / "scratch" / branch

    # -- requests -----------------------------------------------------------------------------------------------

    @property
    def _sdk(self) -> lakefs_sdk.client.LakeFSClient:
        return self._client.sdk_client

    def _list(self, ref: str, prefix: str, amount: int | None = None) -> Iterator[models.ObjectStats]:
        after = ""
        while True:
            page = self._call(
                self._sdk.objects_api.list_objects,
                self.repository,
                ref,
                prefix=prefix,
                after=after,
                amount=amount or PAGE,
                user_metadata=False,
            )
            yield from page.results
            if amount or not page.pagination.has_more:
                return
            after = page.pagination.next_offset

    def _get(self, ref: str, path: str, missing: bool = False) -> bytes | None:
        ask = self._found if missing else self._call
        return ask(self._sdk.objects_api.get_object, self.repository, ref, path)

    def _put(self, branch: str, path: str, content: str | bytes) -> None:
        data = content.encode() if isinstance(content, str) else content
        self._call(self._sdk.objects_api.upload_object, self.repository, branch, path, content=data)

    def _claim(self, path: str, content: str, nonce: str) -> bool:
        """Make an object of META that nobody has; whether it is ours, also when the answer to our upload was lost."""
        upload = self._sdk.objects_api.upload_object
        try:
            self._call(upload, self.repository, META, path, if_none_match="*", content=content.encode())
        except _Status as answer:
            if answer.status != 412:
                raise
            there = self._get(META, path, missing=True)
            return there is not None and json.loads(there).get("nonce") == nonce
        return True

    def _delete(self, branch: str, paths: list[str], tries: int | None = None) -> None:
        for start in range(0, len(paths), PAGE):
            some = models.PathList(paths=paths[start : start + PAGE])
            self._call(self._sdk.objects_api.delete_objects, self.repository, branch, some, tries=tries)

    def _found(self, function: Callable, *args: Any, **kwargs: Any) -> Any:
        """The answer, or None where lakeFS says that there is no such thing."""
        try:
            return self._call(function, *args, **kwargs)
        except _Status as answer:
            if answer.status != 404:
                raise
            return None

    def _made(self, function: Callable, *args: Any) -> None:
        """Make a thing; that it is there already is as good."""
        try:
            self._call(function, *args)
        except _Status as answer:
            if answer.status != 409:
                raise

    def _call(self, function: Callable, *args: Any, tries: int | None = None, **kwargs: Any) -> Any:
        """One request, tried again where no answer came or the server was at fault. Raises `_Status`, `ServiceError`."""
        tries = tries or len(WAITS) + 1
        for attempt in range(tries):
            try:
                return function(*args, _request_timeout=TIMEOUT, **kwargs)
            except ApiException as error:
                problem: ServiceError = _Status(error.status or 0, _said(error), self.endpoint)
                again = error.status is None or error.status >= 500 or error.status == 429
            except (urllib3.exceptions.HTTPError, OSError) as error:
                problem, again = self._silent(error), True
            if not again or attempt + 1 == tries:
                raise problem from None
            logging.getLogger("shelfmark").warning("%s; trying again in %.1f s", problem, WAITS[attempt])
            time.sleep(WAITS[attempt])
        raise AssertionError("unreachable")

    def _silent(self, error: Exception) -> ServiceError:
        why = " ".join(str(getattr(error, "reason", None) or error).split())[:200]
        return ServiceError(
            f"lakeFS at {self.endpoint} does not answer ({type(error).__name__}: {why}): see that it runs "
            "(`shelfmark lake status`), then run again with the same run id"
        )


class _Status(ServiceError):
    """An answer of lakeFS that is an error."""

    def __init__(self, status: int, text: str, endpoint: str):
        hint = {
            401: f"; it refuses the keys: check {KEYS[0]} and {KEYS[1]} in the environment, then run again",
            403: "; its user may not do this: docs/operations.md lists the permissions a run needs",
        }.get(status, "")
        super().__init__(f"lakeFS at {endpoint} answered {status} ({text}){hint}")
        self.status, self.text = status, text


def access(settings: Settings) -> tuple[str, str, str]:
    """(endpoint, access key, secret key): of the settings and the environment, else of the local server of `home`."""
    if settings.lakefs.endpoint is None:
        local = server.credentials(settings.home)
        return local.endpoint, local.access_key, local.secret_key
    keys = [os.environ.get(name, "") for name in KEYS]
    if not all(keys):
        raise UsageError(
            f"lakefs.endpoint is {settings.lakefs.endpoint}: set {KEYS[0]} and {KEYS[1]} in the environment"
        )
    parts = urlsplit(settings.lakefs.endpoint)
    return f"{parts.scheme}://{parts.netloc}", *keys


def _flat(metadata: Mapping[str, Any], branch: str) -> dict[str, str]:
    """Metadata of a commit: lakeFS keeps texts, so all of it is one JSON text, and what people look for is beside it."""
    plain = {key: str(metadata[key]) for key in ("job", "run_id", "status", "attempt") if key in metadata}
    about = {"metadata": metadata, "branch": branch, "time": now()}
    return {**plain, "shelfmark": json.dumps(about, sort_keys=True, default=str)}


def _holds(said: dict[str, Any] | None) -> bool:
    """Whether a lock's newest holder still has it."""
    return said is not None and said["until"] > time.time() and not dead(said["holder"]["host"], said["holder"]["pid"])


def _said(error: ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])[:500]
    except (TypeError, ValueError, KeyError):
        return str(error.reason or "no answer")


def _hook(text: str) -> str:
    """What the action said, without lakeFS' and Lua's words around it."""
    found = re.search(r"(no check says that \S+ passed|\S+ was changed outside of a checked table)", text)
    return found[1] if found else text
