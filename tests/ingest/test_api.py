"""A paged JSON API as a source, against a real server on 127.0.0.1 that fails in every way it can."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from shelfmark import config
from shelfmark.errors import ServiceError, UsageError
from shelfmark.ingest import api, counting, mapping, readers
from shelfmark.ingest.connections import Api
from shelfmark.ingest.formats import Format
from shelfmark.ingest.mapping import FeedProblem
from shelfmark.lake import open_lake
from shelfmark.pipeline import _execute
from shelfmark.query import read

MAPPING = """
description: a vendor's API
licence: made up, Apache-2.0
api: {api}
key: id
region: US
language: en
fields: {{title: name}}
price: {{field: price, currency: USD}}
"""
SECRET = "Bearer planted-Secret-5"


class Server:
    """Products in pages of three at /products; `troubles`: what the next requests get instead."""

    def __init__(self):
        self.items = [{"id": n, "name": f"Hat of size {n}", "price": 9.90} for n in range(1, 9)]
        self.requests, self.troubles = [], []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                parts = urlsplit(self.path)
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                server.requests.append((parts.path, asked, self.headers.get("Authorization"), time.monotonic()))
                trouble = server.troubles.pop(0) if server.troubles else None
                if callable(trouble):
                    return trouble(self)
                status, headers, body = trouble or server.answer(parts.path, asked)
                self.send(status, headers, body)

            def send(self, status, headers, body):
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *about):
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, path, asked):
        size = 3
        if path == "/page":
            start = (int(asked.get("page", 1)) - 1) * size
            return 200, {}, {"data": {"products": self.items[start : start + size]}}
        if path == "/offset":
            start, size = int(asked["offset"]), min(int(asked["limit"]), size)
            return 200, {}, self.items[start : start + size]
        if path == "/cursor":
            start = int(asked.get("after", 0))
            following = start + size if start + size < len(self.items) else None
            return 200, {}, {"items": self.items[start : start + size], "meta": {"next": following}}
        start = int(asked.get("start", 0))
        more = start + size < len(self.items)
        if path == "/link":
            return (
                200,
                {"Link": f'<{path}?start={start + size}>; rel="next"'} if more else {},
                self.items[start:][:size],
            )
        following = f"{self.url}{path}?start={start + size}" if more else ""
        return 200, {}, {"results": self.items[start:][:size], "next": following}


@pytest.fixture
def server():
    started = Server()
    yield started
    started.http.shutdown()
    started.http.server_close()


STYLES = {
    "page": {"items": "data.products", "page": {"style": "page", "parameter": "page"}},
    "offset": {"page": {"style": "offset", "parameter": "offset", "size": 100, "size_parameter": "limit"}},
    "cursor": {"items": "items", "page": {"style": "cursor", "parameter": "after", "next": "meta.next"}},
    "link": {"page": {"style": "link-header"}},
    "next": {"items": "results", "page": {"style": "next-url", "next": "next"}},
}


@pytest.fixture
def fetch(server, tmp_path, monkeypatch):
    """The records of all pages, by the reader and by the counter, of one run."""
    monkeypatch.setattr(api, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setenv("SHOP_API_TOKEN", SECRET)

    def fetched(path="/page", run_id="20260101-t", **options):
        given = {
            "url": server.url + path, "rate_limit_per_second": 1000, "timeout_seconds": 5, "retries": 3,
            **STYLES.get(path.strip("/"), {}), **options,
        }  # fmt: skip
        section = Api(**given)
        file = api.fetch(section, "shop", tmp_path / "landing", run_id, lambda *about: None)
        fmt = Format(kind="json", items=section.json_path)
        records = [record.fields for record in readers.read(readers.Split(file), fmt)]
        assert counting.count(file, fmt) == len(records)
        return records

    return fetched


@pytest.mark.parametrize("style", STYLES)
def test_every_style_of_paging_gives_every_record_once(fetch, server, style):
    records = fetch(f"/{style}")
    assert [record["id"] for record in records] == [str(n) for n in range(1, 9)]
    assert records[0] == {"id": "1", "name": "Hat of size 1", "price": "9.9"}
    assert {path for path, *_ in server.requests} == {f"/{style}"}


def test_a_single_page_and_parameters_of_every_page(fetch, server):
    assert len(fetch("/link", page={"style": "single"}, params={"status": "active", "in_stock": True})) == 3
    fetch("/cursor", params={"lang": "en"}, run_id="20260102-t")
    assert server.requests[0][1] == {"status": "active", "in_stock": "true"}
    assert [asked for _, asked, *_ in server.requests[1:]] == [
        {"lang": "en"}, {"lang": "en", "after": "3"}, {"lang": "en", "after": "6"}
    ]  # fmt: skip


def _cut(handler):
    """Half a body."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"data":')


def _closed(handler):
    """No answer at all."""
    handler.close_connection = True


def _slow(handler):
    time.sleep(0.5)
    _closed(handler)


@pytest.mark.parametrize(
    "trouble",
    [
        (500, {}, b"oops"),
        (429, {}, b""),
        (503, {"Retry-After": "0"}, b""),
        (200, {"Content-Type": "text/html"}, b"<html>We are mending things</html>"),
        (200, {}, b'{"data": {"products": [{"id": NaN}]}}'),
        _cut,
        _closed,
        _slow,
    ],
    ids=["500", "429", "503", "html", "NaN", "cut", "closed", "slow"],
)
def test_a_failure_that_passes_costs_a_wait_and_no_record(fetch, server, trouble):
    server.troubles = [None, trouble, trouble]
    assert len(fetch(timeout_seconds=0.3)) == 8
    assert [asked["page"] for _, asked, *_ in server.requests] == ["1", "2", "2", "2", "3", "4"]


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ((500, {}, b"oops"), "answers 500"),
        ((200, {"Content-Type": "text/html"}, b"<html>mending"), "the body is no JSON .text/html.*begins '<html>mending'"),
        (_cut, "the connection failed or was cut"),
        (_slow, "no answer in time"),
    ],
)  # fmt: skip
def test_a_failure_that_stays_is_one_line_with_the_page_and_the_tries(fetch, server, trouble, says):
    server.troubles = [None, *[trouble] * 4]
    with pytest.raises(ServiceError, match=says) as caught:
        fetch(timeout_seconds=0.3)
    said = str(caught.value)
    assert f"{server.url}/page?page=2" in said
    assert "after 4 tries" in said
    assert "\n" not in said
    assert len(server.requests) == 5


def test_the_wait_a_server_asks_for_is_kept_unless_it_is_too_long(fetch, server):
    server.troubles = [(429, {"Retry-After": "1"}, b"")]
    fetch()
    assert server.requests[1][3] - server.requests[0][3] >= 1
    server.troubles = [(503, {"Retry-After": "3600"}, b"")]
    with pytest.raises(ServiceError, match="asks to wait 3,600 s"):
        fetch(run_id="20260102-t")
    assert len(server.requests) == 6


def test_requests_keep_their_rate(fetch, server):
    # Seen from here: when a busy machine lets the server see a request says little.
    began = time.monotonic()
    fetch(rate_limit_per_second=10)
    assert time.monotonic() - began >= (len(server.requests) - 1) / 10
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("trouble", "kind", "says"),
    [
        ((401, {}, b""), UsageError, "answers 401 Unauthorized: it does not accept the credentials .SHOP_API_TOKEN"),
        ((404, {}, b""), UsageError, "answers 404 Not Found; correct `api`"),
        ((200, {}, {"error": "quota", "code": 7}), FeedProblem, "no array at items: data.products; it has error, code"),
        ((200, {}, {"data": {"products": {}}}), FeedProblem, "no array at items: data.products"),
        ((302, {"Location": "file:///etc/passwd"}, b""), UsageError, "redirects to file:///etc/passwd; only http"),
    ],
)  # fmt: skip
def test_what_will_not_pass_is_said_at_once(fetch, server, trouble, kind, says):
    server.troubles = [trouble]
    with pytest.raises(kind, match=says) as caught:
        fetch(headers_env={"Authorization": "SHOP_API_TOKEN"})
    assert len(server.requests) == 1
    assert "planted-Secret" not in str(caught.value)


def test_pages_in_a_circle_and_pages_without_end_are_found(fetch, server):
    server.answer = lambda path, asked: (200, {}, {"items": [{"id": 1}], "meta": {"next": len(server.requests) % 3}})
    with pytest.raises(FeedProblem, match=r"after=1: the next page was asked for before|go round in a circle"):
        fetch("/cursor")
    assert len(server.requests) <= 6
    server.answer = lambda path, asked: (200, {}, {"data": {"products": [{"id": 1}]}})
    with pytest.raises(FeedProblem, match="the same page as the one before; does the API know the parameter"):
        fetch("/page")
    server.answer = lambda path, asked: (200, {}, {"data": {"products": [{"id": len(server.requests)}]}})
    with pytest.raises(FeedProblem, match="has more than 5 pages"):
        fetch("/page", page={"style": "page", "parameter": "page", "max_pages": 5}, run_id="20260102-t")


def test_a_run_that_broke_off_goes_on_with_the_next_page(fetch, server):
    server.troubles = [None, None, *[(500, {}, b"")] * 4]
    with pytest.raises(ServiceError):
        fetch("/cursor")
    server.requests.clear()
    assert [record["id"] for record in fetch("/cursor", run_id="20260102-t")] == [str(n) for n in range(1, 9)]
    assert [asked for _, asked, *_ in server.requests] == [{"after": "6"}]
    # The same run has its pages; another one fetches today's.
    assert len(fetch("/cursor", run_id="20260102-t")) == 8
    assert len(server.requests) == 1
    server.items[0]["name"] = "Another hat"
    assert fetch("/cursor", run_id="20260103-t")[0]["name"] == "Another hat"


def test_a_page_or_line_that_was_being_written_is_fetched_again(fetch, server, tmp_path):
    server.troubles = [None, None, *[(500, {}, b"")] * 4]
    with pytest.raises(ServiceError):
        fetch("/cursor")
    journal = tmp_path / "landing" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    (tmp_path / "landing" / "page-000003.json.part").write_bytes(b'{"items": [')
    server.requests.clear()
    assert len(fetch("/cursor")) == 8
    assert [asked for _, asked, *_ in server.requests] == [{"after": "3"}, {"after": "6"}]
    # Old pages and pages of other words in the mapping are not mixed with new ones.
    server.requests.clear()
    server.troubles = [None, (500, {}, b"")]
    with pytest.raises(ServiceError):
        fetch("/cursor", run_id="20260102-t", retries=0)
    assert len(fetch("/cursor", run_id="20260102-t", params={"lang": "de"})) == 8
    assert len(server.requests) == 2 + 3


def test_the_secret_goes_to_the_api_alone_and_into_no_file(fetch, server, tmp_path):
    other = Server()
    try:
        server.troubles = [
            lambda handler: handler.send(307, {"Location": "/page?page=1"}, b""),
            lambda handler: handler.send(307, {"Location": f"{other.url}/page?page=1"}, b""),
        ]
        assert len(fetch(headers_env={"Authorization": "SHOP_API_TOKEN"})) == 8
        assert {authorization for _, _, authorization, _ in server.requests} == {SECRET}
        assert [authorization for _, _, authorization, _ in other.requests] == [None]
        for file in tmp_path.rglob("*"):
            assert file.is_dir() or b"planted-Secret" not in file.read_bytes()
        # A next page elsewhere is none of the API's.
        server.answer = lambda path, asked: (200, {}, {"results": [{"id": 1}], "next": f"{other.url}/x?token=1"})
        with pytest.raises(FeedProblem, match="the next page is at another place"):
            fetch("/next", headers_env={"Authorization": "SHOP_API_TOKEN"}, run_id="20260102-t")
    finally:
        other.http.shutdown()
        other.http.server_close()


@pytest.mark.parametrize("value", ["line\nbreak-planted", "ümlaut-planted", " planted"])
def test_a_secret_that_no_header_can_hold_is_not_repeated(fetch, monkeypatch, value):
    monkeypatch.setenv("SHOP_API_TOKEN", value)
    with pytest.raises(UsageError, match="SHOP_API_TOKEN holds what no header can") as caught:
        fetch(headers_env={"Authorization": "SHOP_API_TOKEN"})
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("{url: 'https://x.org/a', headers: {Authorization: Hunter2x}}", "Authorization: no secret in a mapping"),
        ("{url: 'https://x.org/a', headers_env: {Authorization: Hunter2x}}", "name an environment variable"),
        ("{url: 'https://x.org/a', params: {api_key: Hunter2x}}", "api_key: no secret in a mapping"),
        ("{url: 'https://x.org/a?access_token=Hunter2x'}", "no secret in the address"),
        ("{url: 'https://me:Hunter2x@x.org/a'}", "no secret in the address"),
        ("{url: 'file:///etc/passwd'}", "begins with https"),
        ("{url: 'https://x.org/a', page: {style: cursor, parameter: after}}", "style cursor needs `next`"),
        ("{url: 'https://x.org/a', page: {style: page}}", "style page needs `parameter`"),
        ("{url: 'https://x.org/a', page: {style: offset, parameter: o, size: 5}}", "size and size_parameter together"),
        ("{url: 'https://x.org/a', items: a.item.b}", "a key named `item`"),
        ("{url: 'https://x.org/a', item: a}", "unknown option"),
    ],
)  # fmt: skip
def test_a_wrong_api_section_is_one_line_that_repeats_no_secret(tmp_path, options, says):
    path = tmp_path / "shop.yml"
    path.write_text(MAPPING.format(api=options))
    with pytest.raises(UsageError, match=says) as caught:
        mapping.read(path)
    assert "Hunter2x" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_days_of_an_api_with_balanced_books(spark, server, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setenv("SHOP_API_TOKEN", SECRET)
    section = {
        "url": f"{server.url}/page", **STYLES["page"], "headers_env": {"Authorization": "SHOP_API_TOKEN"},
        "rate_limit_per_second": 1000, "retries": 1,
    }  # fmt: skip
    (tmp_path / "shop.yml").write_text(MAPPING.format(api=json.dumps(section)))
    home = str(tmp_path / "home")
    settings = config.load(home=home, data=str(tmp_path), sources=["shop"], source_dirs=[str(tmp_path)])

    def counts(day):
        notes = _execute("ingest", settings, spark, f"202601{day:02d}-t", False).notes
        return {k: notes[k] for k in ("read", "new", "changed", "unchanged", "rejected", "superseded") if notes[k]}

    def rows(name):
        lake = open_lake(settings)
        return read(spark, lake, lake.head().id, name).collect()

    # The service fails on the second page; the same run id then goes on with it.
    server.troubles = [None, (500, {}, b""), (500, {}, b"")]
    with pytest.raises(ServiceError, match="page=2: the server answers 500"):
        counts(1)
    server.requests.clear()
    assert counts(1) == {"read": 8, "new": 8}
    assert [asked["page"] for _, asked, *_ in server.requests] == ["2", "3", "4"]
    server.items = [*server.items[1:], {"id": 9, "name": "", "price": 1}, {"id": 10, "name": "Scarf", "price": 2}]
    server.items[0]["price"] = 8
    assert counts(2) == {"read": 9, "new": 1, "changed": 1, "unchanged": 6, "rejected": 1}
    assert counts(3) == {}
    files = sorted(rows("bronze.files"), key=lambda row: row.sequence)
    assert [(f.file, f.records_counted, f.records_read) for f in files] == [
        (section["url"], 8, 8),
        (section["url"], 9, 9),
    ]
    assert {row.file for row in rows("bronze.raw_products")} == {section["url"]}
    for file in (tmp_path / "home").rglob("*"):
        assert file.is_dir() or b"planted-Secret" not in file.read_bytes()
