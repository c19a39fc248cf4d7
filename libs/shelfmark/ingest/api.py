"""Pages of an HTTP JSON API, fetched one after the other into one file.

1. Each page is written to the landing folder as it came, then a line of the journal says what comes next. A run that
   was killed or broke off goes on after the last line of the journal; a new run begins with the first page.
2. A page that fails in a way that may pass (no connection, cut off, 408, 425, 429, 5xx, a body that is no JSON) is
   asked for again: waits double, with jitter, and are never shorter than the server's Retry-After.
3. All pages become one file, an array of them, which readers and counter treat as any JSON file.

Secrets are headers from the environment. They go to the origin of the mapping's address alone, not where it redirects.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from filelock import FileLock, Timeout

from shelfmark.errors import ServiceError, UsageError
from shelfmark.ingest.connections import Api, secret, without
from shelfmark.ingest.mapping import FeedProblem

BACKOFF_SECONDS = 1.0
"""Wait before the second try; it doubles from try to try."""

PAGE_BYTES = 32 << 20
"""A larger page is refused: it is held in memory, and a page is a few hundred records."""

REDIRECTS = 5
TIMEOUTS_A_PAGE = 10
"""A page must be whole within this many times the timeout, so that a server that drips does not hold the run."""

PASSING = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
"""Statuses of failures that may pass."""

_HEADER = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


class _Passing(Exception):
    """A failure that may pass; `wait`: seconds the server asks for."""

    def __init__(self, said: str, wait: float = 0.0):
        super().__init__(said)
        self.wait = wait


def landing(home: str | Path, source: str = "") -> Path:
    """Folder below home where a source's pages or snapshots lie for a while; without a source, those of all."""
    return Path(home).resolve() / "landing" / source


def fetch(api: Api, source: str, folder: Path, run_id: str, say: Callable[..., None]) -> str:
    """All pages of an API as one JSON file, an array of pages, in `folder`; its path.

    Raises `ServiceError` (no answer, too busy, no JSON), `UsageError` (credentials, address), `FeedProblem` (no records
    where the mapping says, pages without end).
    """
    secrets = {header: _header(variable, source) for header, variable in api.headers_env.items()}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            return _fetch(api, source, folder, run_id, secrets, say)
    except Timeout:
        raise ServiceError(f"source {source}: another run is fetching {api.url}; run again when it is done") from None


def _fetch(api: Api, source: str, folder: Path, run_id: str, secrets: dict[str, str], say: Callable[..., None]) -> str:
    journal = _Journal(folder, api, run_id)
    if journal.lines:
        say("source %s: going on after page %d of %s", source, len(journal.lines), api.url)
    client = _Client(api, source, secrets)
    asked = journal.lines[-1]["next"] if journal.lines else _first(api)
    while asked is not None:
        number = len(journal.lines) + 1
        if number > api.page.max_pages:
            raise FeedProblem(
                f"source {source}: {api.url} has more than {api.page.max_pages:,} pages; raise `page.max_pages` if it should"
            )
        page, text, links = client.page(asked)
        items = _follow(page, api.items)
        if not isinstance(items, list):
            has = f"it has {', '.join(map(str, list(page)[:12]))}" if isinstance(page, dict) else "it is an array"
            what = f"no array at items: {api.items}" if api.items else "the page is no array"
            raise FeedProblem(f"source {source}: {_shown(asked)}: {what}; {has}; correct `items` in the mapping")
        body = text.encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(body).hexdigest()[:16]
        following = _next(api, source, asked, page, items, links)
        journal.refuse_loops(source, asked, following, digest, len(items))
        _write(folder / _page_name(number), [body])
        journal.add({"digest": digest, "items": len(items), "next": following})
        if number % 100 == 0:
            say("source %s: %d pages fetched", source, number)
        asked = following
    say("source %s: %d pages of %s", source, len(journal.lines), api.url)
    return _joined(folder, len(journal.lines), run_id)


class _Journal:
    """Which pages lie in the folder, and what comes next: a line of JSON each, after a first line about the whole."""

    def __init__(self, folder: Path, api: Api, run_id: str):
        self.path, self.lines = folder / "journal.jsonl", []
        asked = api.model_dump(mode="json", include={"url", "items", "params", "page", "headers"})
        request = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        about, lines = self._read()
        complete = bool(lines) and lines[-1]["next"] is None
        young = about is not None and time.time() - about["began"] < api.resume_hours * 3600
        # A whole set of pages is used again by the run that fetched it alone: another one wants today's.
        if about and about["request"] == request and (about["run_id"] == run_id if complete else young):
            self.lines = lines
            self._begin({**about, "run_id": run_id})
            return
        for old in (*folder.glob("page-*.json"), *folder.glob("pages-*.json"), *folder.glob("*.part")):
            old.unlink(missing_ok=True)
        self._begin({"request": request, "run_id": run_id, "began": time.time()})

    def _read(self) -> tuple[dict | None, list[dict]]:
        """(First line, others); a line that was being written when the run died is left out."""
        found = []
        if self.path.is_file():
            for line in self.path.read_text("utf-8", "replace").splitlines():
                try:
                    found.append(json.loads(line))
                except ValueError:
                    break
        pages = found[1:]
        whole = [n for n in range(len(pages)) if (self.path.parent / _page_name(n + 1)).is_file()]
        return (found[0], pages) if found and len(whole) == len(pages) else (None, [])

    def _begin(self, about: dict) -> None:
        texts = (json.dumps(line).encode() + b"\n" for line in (about, *self.lines))
        _write(self.path, texts)

    def add(self, line: dict) -> None:
        self.lines.append(line)
        with open(self.path, "ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def refuse_loops(self, source: str, asked: dict, following: dict | None, digest: str, items: int) -> None:
        """Pages that lead back to one that was asked for, or a server that gives the same page whatever is asked."""
        before = [line["next"] for line in self.lines]
        if following is not None and (following == asked or following in before):
            raise FeedProblem(
                f"source {source}: {_shown(asked)}: the next page was asked for before ({_shown(following)}): the pages "
                "go round in a circle; have the API's keeper mend it, or correct `page` in the mapping"
            )
        if items and self.lines and self.lines[-1]["digest"] == digest:
            raise FeedProblem(
                f"source {source}: {_shown(asked)}: the same page as the one before; does the API know the parameter of "
                "`page` in the mapping?"
            )


class _Client:
    """A connection to one API: its headers, its pace."""

    def __init__(self, api: Api, source: str, secrets: dict[str, str]):
        self.api, self.source, self.secrets = api, source, secrets
        self.session = requests.Session()
        # Proxies of the environment are used; without an `auth` of its own requests would send what ~/.netrc has.
        self.session.auth = lambda request: request
        self.session.headers.update({"Accept": "application/json", "User-Agent": "shelfmark", **api.headers})
        self.earliest = 0.0

    def page(self, asked: dict) -> tuple[Any, str, dict]:
        """(Document, its text, links of its header) of a page, tried as often as the mapping allows."""
        for attempt in range(self.api.retries + 1):
            try:
                return self._page(asked)
            except _Passing as problem:
                said = without(str(problem), [*self.secrets.values()])
                wait = BACKOFF_SECONDS * 2**attempt * random.uniform(0.5, 1.5)
                wait = max(problem.wait, min(wait, self.api.max_wait_seconds))
                where = f"source {self.source}: {_shown(asked)}: {said}"
                if problem.wait > self.api.max_wait_seconds:
                    raise ServiceError(
                        f"{where}; it asks to wait {problem.wait:,.0f} s, longer than max_wait_seconds; run again then"
                    ) from None
            if attempt < self.api.retries:
                time.sleep(wait)
        raise ServiceError(f"{where}, after {self.api.retries + 1} tries; run again, it goes on with this page")

    def _page(self, asked: dict) -> tuple[Any, str, dict]:
        response, body = self._answer(asked)
        status = response.status_code
        if status in PASSING:
            raise _Passing(f"the server answers {status} {response.reason}", _retry_after(response))
        where = f"source {self.source}: {_shown(asked)}: the server answers {status} {response.reason}"
        if status in (401, 403, 407):
            named = ", ".join(self.api.headers_env.values()) or "none is named in `headers_env`"
            raise UsageError(f"{where}: it does not accept the credentials ({named})")
        if status != 200:
            raise UsageError(f"{where}; correct `api` in the mapping")
        kind = response.headers.get("Content-Type", "no content type")
        try:
            text = body.decode(_codec(response))
            return json.loads(text, parse_constant=_no_number), text, response.links
        except (ValueError, RecursionError) as error:
            begin = body[:60].decode("utf-8", "replace")
            raise _Passing(f"the body is no JSON ({kind}; {error}; it begins {begin!r})") from None

    def _answer(self, asked: dict) -> tuple[requests.Response, bytes]:
        """The answer of a page and its body, redirects followed."""
        url, params, secrets = asked["url"], asked["params"], self.secrets
        for _ in range(REDIRECTS + 1):
            self._pace()
            if _origin(url) != _origin(self.api.url):
                secrets = {}
            try:
                with self.session.get(
                    url, params=params, headers=secrets, timeout=self.api.timeout_seconds, stream=True,
                    allow_redirects=False,
                ) as response:  # fmt: skip
                    if not response.is_redirect:
                        return response, self._body(response)
                    target = urljoin(response.url, response.headers["Location"])
            except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError):
                raise UsageError(f"source {self.source}: {_shown(asked)}: not an address that can be asked") from None
            except (requests.RequestException, OSError) as error:
                raise _Passing(_reason(error)) from None
            if urlsplit(target).scheme not in ("http", "https") or (
                url.startswith("https:") > target.startswith("https:")
            ):
                raise UsageError(
                    f"source {self.source}: {_shown(asked)}: redirects to {_bare(target)}; only http and https are "
                    "followed, and https never to http"
                )
            url, params = target, None
        raise UsageError(f"source {self.source}: {_shown(asked)}: redirected more than {REDIRECTS} times")

    def _body(self, response: requests.Response) -> bytes:
        parts, size = [], 0
        deadline = time.monotonic() + TIMEOUTS_A_PAGE * self.api.timeout_seconds
        for part in response.iter_content(1 << 16):
            parts.append(part)
            size += len(part)
            if size > PAGE_BYTES:
                raise FeedProblem(
                    f"source {self.source}: {_bare(response.url)}: a page of more than {PAGE_BYTES >> 20} MiB; ask for "
                    "fewer records a page"
                )
            if time.monotonic() > deadline:
                raise _Passing(f"not whole after {TIMEOUTS_A_PAGE * self.api.timeout_seconds:g} s")
        return b"".join(parts)

    def _pace(self) -> None:
        now = time.monotonic()
        if now < self.earliest:
            time.sleep(self.earliest - now)
        self.earliest = max(now, self.earliest) + 1 / self.api.rate_limit_per_second


# The way from page to page


def _first(api: Api) -> dict:
    page, params = api.page, {name: _parameter(value) for name, value in api.params.items()}
    if page.size_parameter:
        params[page.size_parameter] = str(page.size)
    if page.style in ("page", "offset"):
        first = page.first if page.first is not None else (1 if page.style == "page" else 0)
        params[page.parameter] = str(first)
    return {"url": api.url, "params": params}


def _next(api: Api, source: str, asked: dict, page: Any, items: list, links: dict) -> dict | None:
    """What to ask for after a page; None after the last. Pages by number and offset end with an empty one."""
    how = api.page
    if how.style == "single":
        return None
    if how.style in ("page", "offset"):
        step = 1 if how.style == "page" else len(items)
        value = str(int(asked["params"][how.parameter]) + step)
        return {"url": api.url, "params": {**asked["params"], how.parameter: value}} if items else None
    value = links.get("next", {}).get("url") if how.style == "link-header" else _follow(page, how.next)
    if value is None or value is False or value == "":
        return None
    if how.style == "cursor":
        if isinstance(value, dict | list):
            raise FeedProblem(f"source {source}: {_shown(asked)}: next: {how.next} is no text or number")
        following = {"url": api.url, "params": {**_first(api)["params"], how.parameter: _parameter(value)}}
        # Some servers repeat the last cursor with an empty page.
        return None if not items and following == asked else following
    url = urljoin(asked["url"], str(value))
    if _origin(url) != _origin(api.url):
        raise FeedProblem(
            f"source {source}: {_shown(asked)}: the next page is at another place, {_bare(url)}; only pages of "
            f"{_bare(api.url)} are followed"
        )
    return {"url": url, "params": {}}


def _follow(page: Any, keys: str) -> Any:
    for key in filter(None, keys.split(".")):
        page = page.get(key) if isinstance(page, dict) else None
    return page


def _parameter(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


# Texts and files


def _header(variable: str, source: str) -> str:
    value = secret(variable, source)
    if not _HEADER.fullmatch(value):
        raise UsageError(f"source {source}: {variable} holds what no header can: a line break, or no ASCII")
    return value


def _shown(asked: dict) -> str:
    """The address of a page, for people."""
    prepared = requests.Request("GET", asked["url"], params=asked["params"]).prepare()
    return prepared.url


def _bare(url: str) -> str:
    return url.partition("?")[0]


def _codec(response: requests.Response) -> str:
    named = re.search(r"charset=[\"']?([\w-]+)", response.headers.get("Content-Type", ""))
    try:
        codec = codecs.lookup(named.group(1)).name if named else "utf-8"
    except LookupError:
        codec = "utf-8"
    return "utf-8-sig" if codec == "utf-8" else codec


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    cause = re.sub(r"^.*?(?:\bobject at 0x[0-9a-f]+>[:,]? ?)", "", str(error))
    return f"the connection failed or was cut ({cause.strip(chr(39) + ')(')[:200]})"


def _retry_after(response: requests.Response) -> float:
    """Seconds of the header Retry-After, a number or a date; 0 without one."""
    text = response.headers.get("Retry-After", "")
    if text.strip().isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _page_name(number: int) -> str:
    return f"page-{number:06d}.json"


def _joined(folder: Path, pages: int, run_id: str) -> str:
    """All pages as one array in a file of this run."""
    path = folder / f"pages-{run_id}.json"

    def pieces() -> Iterator[bytes]:
        for number in range(1, pages + 1):
            yield b"[\n" if number == 1 else b",\n"
            with open(folder / _page_name(number), "rb") as page:
                while piece := page.read(1 << 20):
                    yield piece
        yield b"\n]\n"

    _write(path, pieces())
    return str(path)


def _write(path: Path, pieces: Any) -> None:
    """Write a file at once: whoever looks sees all of it or the one before."""
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
