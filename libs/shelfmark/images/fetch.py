"""Pictures by http(s), from addresses that vendors wrote and that are therefore not trusted. No Spark.

1. A host's name is resolved once, and every address it has must be public: private, loopback, link-local, reserved and
   multicast ones are refused, also inside an IPv6 address. The connection goes to the address that was checked, so that a
   name cannot mean another one a moment later. `Limits.allowed` names hosts that may be at such an address all the same.
2. Redirects are followed by hand, each checked as the first; https never leads to http. No proxy of the environment is
   used: it would connect to what was not checked. No credentials, cookies or ~/.netrc are sent.
3. A picture is whole within `Limits.seconds`, headers and redirects included, and has at most `Limits.bytes`: more is not
   read. It is asked for unpacked, so that nothing grows in memory.
4. What may pass (no connection, cut off, 408, 425, 429, 5xx) is tried again, with waits that double, with jitter, and are
   never shorter than the server's Retry-After. A host that failed so `GIVE_UP` times in a row is not asked again.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import ipaddress
import random
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urljoin, urlsplit

from shelfmark.images.places import Refused

REDIRECTS = 3
GIVE_UP = 8
"""Failures in a row, retries not counted, after which a host is left alone for the rest of the task."""

BACKOFF_SECONDS = 0.5
"""Wait before the second try; it doubles from try to try."""

MAX_WAIT_SECONDS = 30.0
"""A server that asks for a longer wait is asked by the next run."""

PASSING = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
"""Statuses of failures that may pass."""

HEADERS = {"User-Agent": "shelfmark", "Accept": "image/*", "Accept-Encoding": "identity", "Connection": "close"}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SAFE = "/%:=&?~#+!$,;'@()*[]"


@dataclass(frozen=True)
class Limits:
    """Bounds of fetching: settings `images`. `allowed`: hosts, or host:port, that need not be public."""

    bytes: int = 20 << 20
    seconds: float = 20.0
    retries: int = 2
    connections: int = 8
    allowed: tuple[str, ...] = ()


class _Passing(Exception):
    """A failure that may pass; `wait`: seconds the server asks for."""

    def __init__(self, said: str, wait: float = 0.0):
        super().__init__(said)
        self.wait = wait


def fetch_all(urls: Iterable[str], limits: Limits) -> Iterator[tuple[str, bytes | Refused]]:
    """(Address, its bytes or why there are none) of each, in order; `limits.connections` at a time."""
    failed: Counter[str] = Counter()
    lock = threading.Lock()

    def one(url: str) -> bytes | Refused:
        host = _host(url)
        if failed[host] >= GIVE_UP:
            return Refused("picture_unreachable", f"{host} failed {GIVE_UP} times in a row: not asked in this run")
        try:
            data = fetch(url, limits)
        except Refused as refused:
            with lock:
                # A server that answers 404 is there.
                failed[host] = failed[host] + 1 if getattr(refused, "passing", False) else 0
            return refused
        with lock:
            failed[host] = 0
        return data

    urls = iter(urls)
    with ThreadPoolExecutor(limits.connections, "pictures") as pool:
        waiting: list[tuple[str, object]] = []
        for url in urls:
            waiting.append((url, pool.submit(one, url)))
            if len(waiting) >= 2 * limits.connections:  # so many pictures at the most wait in memory to be decoded
                url, future = waiting.pop(0)
                yield url, future.result()
        for url, future in waiting:
            yield url, future.result()


def fetch(url: str, limits: Limits, sleep: Callable[[float], None] = time.sleep) -> bytes:
    """The bytes of one picture. Raises `Refused`; with `passing` true where it may come another time."""
    for attempt in range(limits.retries + 1):
        try:
            return _followed(url, limits)
        except _Passing as problem:
            said, wait = str(problem), problem.wait
            if wait > MAX_WAIT_SECONDS:
                break
        if attempt < limits.retries:
            sleep(max(wait, min(BACKOFF_SECONDS * 2**attempt * random.uniform(0.5, 1.5), MAX_WAIT_SECONDS)))
    refused = Refused("picture_unreachable", f"{_bare(url)}: {said}, after {attempt + 1} tries")
    refused.passing = True
    raise refused


def _followed(url: str, limits: Limits) -> bytes:
    deadline = time.monotonic() + limits.seconds
    for _ in range(REDIRECTS + 1):
        status, reason, headers, body = _ask(url, limits, deadline)
        if status in (301, 302, 303, 307, 308) and headers.get("Location"):
            target = urljoin(url, headers["Location"])
            if url.lower().startswith("https:") and not target.lower().startswith("https:"):
                raise Refused("address_refused", f"{_bare(url)} redirects from https to {_bare(target)}")
            url = target
            continue
        if status in PASSING:
            raise _Passing(f"the server answers {status} {reason}", _retry_after(headers))
        if status in (404, 410):
            raise Refused("picture_missing", f"{_bare(url)}: the server answers {status} {reason}")
        if status != 200:
            raise Refused("picture_unreachable", f"{_bare(url)}: the server answers {status} {reason}")
        return body
    raise Refused("picture_unreachable", f"{_bare(url)} redirects more than {REDIRECTS} times")


def _ask(url: str, limits: Limits, deadline: float) -> tuple[int, str, http.client.HTTPMessage, bytes]:
    """(Status, reason, headers, body) of one request; no body but that of a picture is read."""
    scheme, host, port, target = _parts(url)
    addresses = checked_addresses(host, port, limits.allowed)
    try:
        with contextlib.ExitStack() as closing:
            connection = _connected(addresses, port, deadline)
            closing.callback(connection.close)
            if scheme == "https":
                connection.settimeout(_left(deadline))
                connection = _tls().wrap_socket(connection, server_hostname=host)
                closing.callback(connection.close)
            asking = http.client.HTTPConnection(host, port)
            asking.sock = _Bounded(connection, deadline)
            default = {"http": 80, "https": 443}[scheme]
            named = f"[{host}]" if ":" in host else host
            asking.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
            asking.putheader("Host", named if port == default else f"{named}:{port}")
            for name, value in HEADERS.items():
                asking.putheader(name, value)
            asking.endheaders()
            answer = asking.getresponse()
            body = _body(answer, url, limits.bytes) if answer.status == 200 else b""
            return answer.status, answer.reason, answer.headers, body
    except (OSError, http.client.HTTPException, EOFError) as error:
        if isinstance(error, ssl.SSLCertVerificationError):
            raise Refused("picture_unreachable", f"{_bare(url)}: its certificate: {error.verify_message}") from None
        late = isinstance(error, TimeoutError)
        raise _Passing("no whole answer in time" if late else f"the connection failed or was cut ({error})") from None


def _connected(addresses: list[str], port: int, deadline: float) -> socket.socket:
    """A connection to the first address that answers; half of what time is left for each but the last."""
    for number, address in enumerate(addresses, 1):
        last = number == len(addresses)
        try:
            return socket.create_connection((address, port), timeout=_left(deadline) / (1 if last else 2))
        except OSError:
            if last:
                raise
    raise OSError("no address")


def _body(answer: http.client.HTTPResponse, url: str, limit: int) -> bytes:
    said = answer.headers.get("Content-Length", "")
    if said.isdigit() and int(said) > limit:
        raise Refused("picture_too_large", f"{_bare(url)}: {int(said):,} bytes, more than the {limit:,} allowed")
    body = answer.read(limit + 1)
    if len(body) > limit:
        raise Refused("picture_too_large", f"{_bare(url)}: more than the {limit:,} bytes allowed")
    if said.isdigit() and len(body) < int(said):
        raise _Passing(f"the connection was cut after {len(body):,} of {int(said):,} bytes")
    return body


class _Bounded:
    """A connected socket that is read until a deadline, however slowly its bytes drip: what http.client needs of one."""

    def __init__(self, connection: socket.socket, deadline: float):
        self._connection, self._deadline = connection, deadline

    def sendall(self, data: bytes) -> None:
        self._connection.settimeout(_left(self._deadline))
        self._connection.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Raw(self._connection, self._deadline), 1 << 16)

    def close(self) -> None:
        """http.client is done with its side; the answer may still be read, and who opened the socket closes it."""


class _Raw(io.RawIOBase):
    def __init__(self, connection: socket.socket, deadline: float):
        self._connection, self._deadline = connection, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, into: memoryview) -> int:
        self._connection.settimeout(_left(self._deadline))
        return self._connection.recv_into(into)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no time left")
    return left


@lru_cache(1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


# -- addresses ----------------------------------------------------------------------------------------------------


def _parts(url: str) -> tuple[str, str, int, str]:
    """(Scheme, host, port, target of the request) of an address. Raises `Refused`."""
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme.lower(), parts.hostname or ""
        port = parts.port or {"http": 80, "https": 443}.get(scheme, 0)
        host = host if ":" in host else host.encode("idna").decode()
    except (ValueError, UnicodeError):
        raise Refused("picture_reference", f"{_bare(url)[:200]} is no address that can be asked") from None
    if scheme not in ("http", "https"):
        raise Refused("address_refused", f"{scheme or 'no scheme'}: http and https are followed, nothing else")
    if not host or any(ord(sign) <= 32 or ord(sign) == 127 for sign in host):
        raise Refused("picture_reference", f"{_bare(url)[:200]} names no host")
    if parts.username is not None or parts.password is not None:
        raise Refused("address_refused", f"an address at {host} with a user's name in it")
    target = quote(parts.path or "/", safe=_SAFE)
    if parts.query:
        target += "?" + quote(parts.query, safe=_SAFE)
    return scheme, host, port, target


def checked_addresses(host: str, port: int, allowed: Iterable[str] = ()) -> list[str]:
    """The IP addresses to connect to. Raises `Refused` where any of the host's addresses is not public, and `_Passing`
    where its name has none now."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _Passing(f"the name {host} has no address ({getattr(error, 'strerror', None) or error})") from None
    addresses = list(dict.fromkeys(entry[4][0] for entry in found))
    named = f"[{host}]" if ":" in host else host
    if not {host, f"{named}:{port}"} & {one.lower() for one in allowed}:
        for address in addresses:
            if not public(address):
                raise Refused("address_refused", f"{host} is at {address}, which is not public (images.allowed_hosts)")
    return addresses


def public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also the IPv4 address that an IPv6 one carries."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if ip.version == 6:
        if ip in _NAT64:
            return public(str(ipaddress.ip_address(int(ip) & 0xFFFFFFFF)))
        carried = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if any(one is not None and not public(str(one)) for one in carried):
            return False
        if ip.ipv4_mapped is not None:
            return True
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _bare(url: str) -> str:
    """An address without what may be secret in it: its query and a user's name."""
    bare = url.partition("?")[0]
    scheme, marks, rest = bare.partition("://")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    return f"{scheme}{marks}{rest[len(user) + 1 :]}" if at else bare


def _retry_after(headers: http.client.HTTPMessage) -> float:
    """Seconds of the header Retry-After; a date counts as none: servers of pictures send seconds."""
    text = headers.get("Retry-After", "").strip()
    return float(text) if text.isdigit() else 0.0
