"""Pictures by http from a real server on 127.0.0.1, which has to be allowed: what is bounded, followed and refused."""

import http.server
import socket
import threading
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfmark.images import fetch
from shelfmark.images.fetch import Limits, checked_addresses, fetch_all, public
from shelfmark.images.places import RULES, Refused


class Server(http.server.ThreadingHTTPServer):
    """Answers as `paths` says: a path -> a function of the handler. Remembers what was asked, how often, how many at once."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths, self.asked, self.now, self.most = {}, [], 0, 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def host(self):
        return f"127.0.0.1:{self.server_address[1]}"

    def url(self, path):
        return f"http://{self.host}{path}"

    def handle_error(self, request, client_address):
        pass  # a client that hangs up is what some tests are about


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        with server.lock:
            server.asked.append((self.path, dict(self.headers)))
            server.now += 1
            server.most = max(server.most, server.now)
        self.answered = False
        try:
            server.paths.get(self.path.partition("?")[0], lambda h: h.send_error(404))(self)
        finally:
            self.about_to_answer()

    def about_to_answer(self):
        """Not at work any more: who has read the answer may ask again before this handler returns."""
        with self.server.lock:
            self.server.now -= not self.answered
            self.answered = True

    def log_message(self, *_):
        pass


def answer(body=b"picture", status=200, wait=0.0, **headers):
    def give(handler):
        time.sleep(wait)
        handler.about_to_answer()
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return give


@pytest.fixture
def server():
    made = Server()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def limits(server):
    return Limits(bytes=1000, seconds=2.0, retries=2, connections=3, allowed=(server.host,))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fetch, "BACKOFF_SECONDS", 0.01)


def refused(rule, url, limits):
    with pytest.raises(Refused) as found:
        fetch.fetch(url, limits)
    assert found.value.rule == rule
    assert rule in RULES
    return found.value


def test_a_picture_comes_as_it_is_asked_for_plainly(server, limits):
    server.paths["/a%20b/%C3%A9.jpg"] = answer(b"\xff\xd8picture")
    assert fetch.fetch(server.url("/a b/é.jpg?w=1&q=x y#part"), limits) == b"\xff\xd8picture"
    ((path, headers),) = server.asked
    assert path == "/a%20b/%C3%A9.jpg?w=1&q=x%20y"
    assert headers["Host"] == server.host
    assert headers["Accept-Encoding"] == "identity"
    assert not {"Cookie", "Authorization", "Referer"} & set(headers)


def test_a_host_that_is_not_public_is_not_asked_unless_allowed(server, limits):
    server.paths["/a"] = answer()
    for allowed in ((), ("127.0.0.2",), ("127.0.0.1:1",), ("localhost",)):
        bare = Limits(seconds=2.0, allowed=allowed)
        assert "not public" in refused("address_refused", server.url("/a"), bare).said
    assert server.asked == []
    assert fetch.fetch(server.url("/a"), Limits(allowed=("127.0.0.1",))) == b"picture"


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "[::1]", "[::]", "[fe80::1]", "[fc00::1]",
        "[::ffff:127.0.0.1]", "[::ffff:a00:1]", "[64:ff9b::a00:1]", "[2002:7f00:1::]", "[ff02::1]",
    ],
)  # fmt: skip
def test_addresses_of_private_networks_are_refused_however_they_are_written(host):
    assert refused("address_refused", f"http://{host}:9/a.jpg", Limits(seconds=0.5, retries=0)).rule


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_by_itself_and_inside_an_ipv6_one(ip):
    assert public(str(ip)) == public(f"::ffff:{ip}") == public(f"64:ff9b::{ip}")
    assert public(str(ip)) == (ip.is_global and not ip.is_multicast and not ip.is_reserved)


def test_public_addresses_are_public():
    for address in ("93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"):
        assert public(address), address
    assert not public("no address")


def test_the_connection_goes_to_the_address_that_was_checked(server, monkeypatch):
    """A name that means another address a moment later is asked for once."""
    real, calls = socket.getaddrinfo, []

    def resolve(host, port, *rest, **named):
        if host == "pictures.test":
            calls.append(host)
            host = "127.0.0.1" if len(calls) == 1 else "10.0.0.1"
        return real(host, port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    server.paths["/a"] = answer()
    port = server.server_address[1]
    assert fetch.fetch(f"http://pictures.test:{port}/a", Limits(allowed=("pictures.test",), retries=0)) == b"picture"
    assert calls == ["pictures.test"]
    assert server.asked[0][1]["Host"] == f"pictures.test:{port}"


def test_a_name_with_a_public_and_a_private_address_is_refused(monkeypatch):
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(Refused, match=r"10\.0\.0\.1"):
        checked_addresses("shop.test", 80)


def test_redirects_are_followed_and_each_is_checked(server, limits):
    server.paths["/old"] = answer(b"", 302, Location="/new?x=1")
    server.paths["/new"] = answer(b"moved")
    assert fetch.fetch(server.url("/old"), limits) == b"moved"
    for target in ("http://169.254.169.254/latest", "http://localhost:1/", "file:///etc/passwd", "ftp://shop/a.jpg"):
        server.paths["/out"] = answer(b"", 307, Location=target)
        refused("address_refused", server.url("/out"), limits)
    server.paths["/round"] = answer(b"", 301, Location="/round")
    assert "more than 3 times" in refused("picture_unreachable", server.url("/round"), limits).said


def test_no_proxy_of_the_environment_and_no_netrc(server, limits, monkeypatch, tmp_path):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    server.paths["/a"] = answer()
    assert fetch.fetch(server.url("/a"), limits) == b"picture"
    assert "Authorization" not in server.asked[0][1]


@pytest.mark.parametrize("url", ["http://user:pw@shop.test/a.jpg", "http://user@127.0.0.1/a"])
def test_an_address_with_credentials_is_refused_without_repeating_them(url):
    said = refused("address_refused", url, Limits()).said
    assert "pw" not in said


@pytest.mark.parametrize("url", ["http://", "http:///a.jpg", "http://a b/", "http://[::1/", "http://x:99999/"])
def test_what_is_no_address_is_refused(url):
    refused("picture_reference", url, Limits(retries=0))


def test_too_many_bytes_are_not_read(server, limits):
    server.paths["/said"] = answer(b"x" * 1001)
    server.paths["/unsaid"] = lambda handler: _endless(handler, b"x" * 500)
    server.paths["/just"] = answer(b"x" * 1000)
    assert len(fetch.fetch(server.url("/just"), limits)) == 1000
    refused("picture_too_large", server.url("/said"), limits)
    refused("picture_too_large", server.url("/unsaid"), limits)
    assert len(server.asked) == 3


def _endless(handler, piece, wait=0.0, times=200):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(times):
        handler.wfile.write(piece)
        handler.wfile.flush()
        time.sleep(wait)


def test_a_server_that_drips_or_is_silent_is_left_in_time(server):
    limits = Limits(seconds=0.6, retries=0, allowed=(server.host,))
    server.paths["/body"] = lambda handler: _endless(handler, b"x", 0.05)
    server.paths["/silent"] = answer(wait=3)

    def headers(handler):
        for _ in range(100):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n" if _ == 0 else b"X: y\r\n")
            handler.wfile.flush()
            time.sleep(0.05)

    server.paths["/headers"] = headers
    for path in ("/body", "/silent", "/headers"):
        began = time.monotonic()
        assert "in time" in refused("picture_unreachable", server.url(path), limits).said
        assert time.monotonic() - began < 1.5, path


def test_what_may_pass_is_tried_again_and_what_cannot_is_not(server, limits):
    for status in (500, 503, 429, 408):
        tries = []

        def twice(handler, status=status, tries=tries):
            tries.append(1)
            (answer(b"", status) if len(tries) < 3 else answer(b"at last"))(handler)

        server.paths["/a"] = twice
        assert fetch.fetch(server.url("/a"), limits) == b"at last"
        assert len(tries) == 3
    server.asked.clear()
    server.paths["/b"] = answer(b"", 503)
    assert "503" in refused("picture_unreachable", server.url("/b"), limits).said
    assert len(server.asked) == 3
    server.asked.clear()
    for status, rule in (
        (404, "picture_missing"),
        (410, "picture_missing"),
        (403, "picture_unreachable"),
        (204, "picture_unreachable"),
    ):
        server.paths["/c"] = answer(b"", status)
        refused(rule, server.url("/c"), limits)
    assert len(server.asked) == 4


def test_waits_double_and_are_as_long_as_the_server_asks(server, limits, monkeypatch):
    monkeypatch.setattr(fetch, "BACKOFF_SECONDS", 1.0)
    waits = []
    server.paths["/a"] = answer(b"", 503)
    with pytest.raises(Refused):
        fetch.fetch(server.url("/a"), Limits(retries=3, allowed=(server.host,)), waits.append)
    assert [0.5 * 2**n <= wait <= 1.5 * 2**n for n, wait in enumerate(waits)] == [True] * 3
    server.paths["/a"] = answer(b"", 429, Retry_After="7")
    with pytest.raises(Refused):
        fetch.fetch(server.url("/a"), Limits(retries=1, allowed=(server.host,)), waits.append)
    assert waits[3] == 7
    server.paths["/a"] = answer(b"", 429, Retry_After="3600")
    server.asked.clear()
    refused("picture_unreachable", server.url("/a"), limits)
    assert len(server.asked) == 1


def test_a_cut_connection_is_no_whole_picture(server, limits):
    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "900")
        handler.end_headers()
        handler.wfile.write(b"x" * 100)

    server.paths["/a"] = cut
    assert "3 tries" in refused("picture_unreachable", server.url("/a"), limits).said


def test_nothing_listens(limits):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    refused("picture_unreachable", f"http://127.0.0.1:{port}/a", Limits(retries=0, seconds=1, allowed=("127.0.0.1",)))


def test_many_come_in_order_and_no_more_at_a_time_than_allowed(server, limits):
    paths = [f"/{number}" for number in range(20)]
    for path in paths:
        server.paths[path] = answer(path.encode(), wait=0.03)
    server.paths["/3"] = answer(b"", 404)
    found = list(fetch_all(map(server.url, paths), limits))
    assert [url for url, _ in found] == [server.url(path) for path in paths]
    assert [data for _, data in found if isinstance(data, bytes)] == [p.encode() for p in paths if p != "/3"]
    assert found[3][1].rule == "picture_missing"
    assert server.most == limits.connections


def test_a_host_that_fails_again_and_again_is_left_alone(server):
    limits = Limits(retries=0, connections=1, allowed=(server.host,))
    paths = [f"/{number}" for number in range(30)]
    for path in paths:
        server.paths[path] = answer(b"", 503)
    found = list(fetch_all(map(server.url, paths), limits))
    assert {data.rule for _, data in found} == {"picture_unreachable"}
    assert len(server.asked) == fetch.GIVE_UP
    assert "not asked in this run" in found[-1][1].said


def test_what_may_be_secret_in_an_address_is_not_told(server, limits):
    server.paths["/a"] = answer(b"", 403)
    assert "token" not in refused("picture_unreachable", server.url("/a?token=" + quote("s3cret")), limits).said
