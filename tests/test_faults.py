"""The faults that other tests rely on are what they say: proxied traffic is untouched, faults and kills hit their mark."""

import importlib
import os
import signal
import socket
import threading
import time
from urllib.parse import urlsplit

import faults
import lakefs
import pyarrow.fs
import pytest
import requests
from lakefs.client import Client

from shelfmark.lake import server
from shelfmark.lake.local import LocalLake

LARGE = os.urandom(1 << 20) * 20


@pytest.fixture
def proxy(lakefs_server):
    with faults.Proxy(lakefs_server.endpoint) as running:
        yield running


@pytest.fixture
def books(lakefs_server, tmp_path):
    """Name of a repository of this test's own."""
    name = f"books-{time.monotonic_ns()}"
    client = Client(host=lakefs_server.endpoint, username=lakefs_server.access_key, password=lakefs_server.secret_key)
    lakefs.Repository(name, client=client).create(storage_namespace=f"local://{name}")
    return name


@pytest.fixture
def call(lakefs_server, proxy):
    """Requests through the proxy, over one kept connection; `direct=True` goes past it."""
    session = requests.Session()
    session.auth = (lakefs_server.access_key, lakefs_server.secret_key)

    def send(method, path, direct=False, **options):
        base = lakefs_server.endpoint if direct else proxy.endpoint
        return session.request(method, f"{base}/api/v1/repositories/{path}", **{"timeout": 30, **options})

    yield send
    session.close()


def put(call, books, name, data, **options):
    return call("POST", f"{books}/branches/main/objects?path={name}", data=data, **options)


def get(call, books, name, **options):
    return call("GET", f"{books}/refs/main/objects?path={name}", **options)


def s3(lakefs_server, proxy):
    return pyarrow.fs.S3FileSystem(
        access_key=lakefs_server.access_key,
        secret_key=lakefs_server.secret_key,
        endpoint_override=proxy.endpoint.removeprefix("http://"),
        scheme="http",
        region="us-east-1",
    )


# -- what no rule takes -------------------------------------------------------------------------------------------


def test_requests_pass_untouched_over_one_kept_connection(proxy, call, books):
    assert put(call, books, "large", LARGE).status_code == 201
    assert get(call, books, "large").content == LARGE
    assert put(call, books, "chunked", (piece for piece in (b"a" * 100_000, b"b", b"c" * 70_000))).status_code == 201
    assert get(call, books, "chunked").content == b"a" * 100_000 + b"b" + b"c" * 70_000
    head = call("HEAD", f"{books}/refs/main/objects?path=large")
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(LARGE)), b"")
    assert get(call, books, "none").status_code == 404
    assert put(call, books, "empty", b"").status_code == 201
    assert get(call, books, "empty").content == b""
    assert call("DELETE", f"{books}/branches/main/objects?path=empty").status_code == 204
    assert [(method, taken) for method, _, taken in proxy.requests] == [
        *[("POST", False), ("GET", False)] * 2,
        ("HEAD", False),
        ("GET", False),
        ("POST", False),
        ("GET", False),
        ("DELETE", False),
    ]
    assert len(proxy._open) == 2  # one pair


def test_the_sdk_works_through_the_proxy(lakefs_server, proxy, books):
    client = Client(host=proxy.endpoint, username=lakefs_server.access_key, password=lakefs_server.secret_key)
    branch = lakefs.Repository(books, client=client).branch("work").create("main")
    branch.object("a/b.txt").upload(data=b"hello", mode="wb")
    branch.commit("one file", metadata={"job": "x"})
    branch.merge_into("main")
    main = lakefs.Repository(books, client=client).branch("main")
    assert main.object("a/b.txt").reader(mode="rb").read() == b"hello"
    assert {"POST", "GET"} <= {method for method, _, _ in proxy.requests}


def test_signatures_of_the_s3_gateway_hold_through_the_proxy(lakefs_server, proxy, books):
    files = s3(lakefs_server, proxy)
    with files.open_output_stream(f"{books}/main/t/large.bin") as out:
        out.write(LARGE)
    with files.open_input_stream(f"{books}/main/t/large.bin") as file:
        assert file.read() == LARGE
    assert [info.base_name for info in files.get_file_info(pyarrow.fs.FileSelector(f"{books}/main/t"))] == ["large.bin"]
    assert "HEAD" in {method for method, _, _ in proxy.requests}


def test_a_client_that_waits_for_100_continue_gets_it_from_the_server(lakefs_server, proxy, books):
    address = urlsplit(proxy.endpoint)
    authorization = (
        requests.Request("POST", proxy.endpoint, auth=(lakefs_server.access_key, lakefs_server.secret_key))
        .prepare()
        .headers["Authorization"]
    )
    with socket.create_connection((address.hostname, address.port), timeout=10) as client:
        client.sendall(
            f"POST /api/v1/repositories/{books}/branches/main/objects?path=w HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: {authorization}\r\nContent-Type: application/octet-stream\r\n"
            "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"later")
        assert client.recv(1000).startswith(b"HTTP/1.1 201 ")


def test_many_connections_at_once_do_not_mix(call, proxy, lakefs_server, books):
    auth = (lakefs_server.access_key, lakefs_server.secret_key)
    wrong = []

    def work(number):
        data = str(number).encode() * 50_000
        base = f"{proxy.endpoint}/api/v1/repositories/{books}"
        requests.post(f"{base}/branches/main/objects?path=n{number}", data=data, auth=auth, timeout=60)
        if requests.get(f"{base}/refs/main/objects?path=n{number}", auth=auth, timeout=60).content != data:
            wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(proxy.requests) == 32


# -- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "heard", "done"),
    [
        (faults.cut_before, requests.ConnectionError, False),
        (faults.cut_after, requests.ConnectionError, True),
        (faults.cut_midway, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError), True),
        (faults.status(500), 500, False),
        (faults.status(503), 503, False),
        (faults.status(500, after=True), 500, True),
    ],
    ids=["cut before", "cut after", "cut midway", "500", "503", "500 after"],
)
def test_a_fault_hits_its_request_alone_and_what_the_server_did_is_as_said(proxy, call, books, fault, heard, done):
    rule = proxy.on("POST", r"path=spoilt$", fault)
    assert put(call, books, "fine", b"1").status_code == 201
    data = b"x" * 300_000
    if isinstance(heard, int):
        answer = put(call, books, "spoilt", data)
        assert answer.status_code == heard
        assert answer.json() == {"message": "a fault of the test"}
    else:
        with pytest.raises(heard):
            put(call, books, "spoilt", data)
    assert rule.hits == 1
    stored = get(call, books, "spoilt", direct=True)
    assert (stored.status_code, stored.content == data) == ((200, True) if done else (404, False))
    assert put(call, books, "spoilt", data).status_code == 201
    assert [path.rsplit("=", 1)[1] for _, path, taken in proxy.requests if taken] == ["spoilt"]


def test_an_answer_that_is_cut_midway_is_never_taken_for_a_whole_one(proxy, call, books):
    put(call, books, "large", LARGE)
    proxy.on("GET", "path=large", faults.cut_midway)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        get(call, books, "large")
    proxy.on("HEAD", "path=large", faults.cut_midway)
    with pytest.raises(requests.ConnectionError):
        call("HEAD", f"{books}/refs/main/objects?path=large")


def test_a_delayed_answer_comes_late_and_whole(proxy, call, books):
    put(call, books, "large", LARGE)
    proxy.on("GET", "path=large", faults.delay(1.5))
    began = time.monotonic()
    assert get(call, books, "large").content == LARGE
    assert 1.5 <= time.monotonic() - began < 10
    proxy.on("GET", "path=large", faults.delay(60))
    with pytest.raises(requests.ReadTimeout):
        get(call, books, "large", timeout=0.5)


def test_rules_count_skipped_and_spoilt_requests(proxy, call, books):
    rule = proxy.on("*", "path=n", faults.status(503), skip=1, times=2)
    assert [put(call, books, f"n{i}", b"1").status_code for i in range(5)] == [201, 503, 503, 201, 201]
    assert (rule.seen, rule.hits) == (5, 2)
    proxy.on("POST", "path=n", faults.status(500), times=None)
    assert {put(call, books, f"n{i}", b"1").status_code for i in range(5)} == {500}
    proxy.clear()
    assert put(call, books, "n", b"1").status_code == 201


@pytest.mark.parametrize(("code", "word"), [(500, "InternalError"), (503, "SlowDown")])
def test_errors_of_the_s3_gateway_are_worded_as_s3_does(proxy, books, code, word):
    proxy.on("*", f"^/{books}/", faults.status(code))
    answer = requests.get(f"{proxy.endpoint}/{books}/main/none", timeout=10)
    assert answer.status_code == code
    assert f"<Code>{word}</Code>" in answer.text


def test_an_action_is_called_before_or_after_the_server_did_it(proxy, call, books):
    seen = []

    def look(name):
        return lambda: seen.append(get(call, books, name, direct=True).status_code)

    proxy.on("POST", "path=a", faults.calling(look("a")))
    proxy.on("POST", "path=b", faults.calling(look("b"), after=True))
    assert put(call, books, "a", b"1").status_code == put(call, books, "b", b"1").status_code == 201
    assert seen == [404, 200]


def test_a_server_that_is_killed_is_gone_through_the_proxy_too_and_comes_back(lakefs_program, tmp_path):
    state = server.up(tmp_path, str(lakefs_program))
    access = server.credentials(tmp_path)
    try:
        with faults.Proxy(access.endpoint) as proxy, requests.Session() as session:
            session.auth = (access.access_key, access.secret_key)
            url = f"{proxy.endpoint}/api/v1/repositories"
            assert session.get(url, timeout=10).status_code == 200
            os.kill(state.pid, signal.SIGKILL)
            while server.status(tmp_path).running:
                time.sleep(0.01)
            with pytest.raises(requests.ConnectionError):
                session.get(url, timeout=10)
            server.up(tmp_path, str(lakefs_program))
            assert session.get(url, timeout=10).status_code == 200
    finally:
        server.down(tmp_path)


# -- drivers ------------------------------------------------------------------------------------------------------

PUBLISH = """
import sys
from pathlib import Path
from shelfmark.lake.local import LocalLake
lake = LocalLake(Path(sys.argv[1]))
for run in sys.argv[2:]:
    lake.branch(run)
    Path(lake.write_path(run, "silver/a")).mkdir(parents=True, exist_ok=True)
    Path(lake.write_path(run, "silver/a"), run).write_text(run)
    lake.publish(run, run, {"job": run}, {"silver/a": {"passed": True}})
"""
LAKE = "shelfmark.lake.local:LocalLake"


@pytest.mark.parametrize(
    ("point", "published", "branches"),
    [
        (None, ["b", "a"], []),
        (faults.Point("before the branch", f"{LAKE}.branch"), [], []),
        (faults.Point("after the branch", f"{LAKE}.branch", when="after"), [], ["a"]),
        (faults.Point("before the second", f"{LAKE}.publish", nth=2), ["a"], ["b"]),
        (faults.Point("before b", f"{LAKE}.publish", match="'b'"), ["a"], ["b"]),
        (faults.Point("before main moves", "os:replace", match="/refs/main"), [], ["a"]),
        (faults.Point("after main moved", "os:replace", match="/refs/main", when="after"), ["a"], ["a"]),
        (faults.Point("before the drop", f"{LAKE}.drop"), ["a"], ["a"]),
    ],
    ids=str,
)
def test_a_driver_dies_at_its_point_and_not_a_step_further(tmp_path, point, published, branches):
    driver = faults.drive(PUBLISH, tmp_path, tmp_path / "lake", "a", "b", point=point)
    assert driver.process.returncode == (-signal.SIGKILL if point else 0)
    lake = LocalLake(tmp_path / "lake")
    assert [commit.message for commit in lake.log()] == published
    assert lake.branches("") == branches


def test_a_point_that_is_never_reached_is_an_error_and_so_is_a_driver_that_fails(tmp_path):
    with pytest.raises(AssertionError, match="never came to 'the third'"):
        faults.drive(PUBLISH, tmp_path, tmp_path / "lake", "a", point=faults.Point("the third", f"{LAKE}.drop", nth=3))
    with pytest.raises(AssertionError, match=r"failed with 1[\s\S]*ZeroDivisionError"):
        faults.drive("1 / 0", tmp_path)
    with pytest.raises(AssertionError, match="did not end in 1 s"):
        faults.drive("import time; time.sleep(60)", tmp_path, timeout=1)


@pytest.mark.parametrize(("when", "stored"), [("before", 404), ("after", 200)])
def test_a_driver_dies_at_a_request_before_or_after_the_server_did_it(
    lakefs_server, proxy, call, books, tmp_path, when, stored
):
    script = """
import os, requests, sys
auth = os.environ["KEY"], os.environ["SECRET"]
for name in "abc":
    requests.post(f"{sys.argv[1]}/branches/main/objects?path={name}", data=b"1", auth=auth, timeout=30)
"""
    point = faults.Point("at b", request=("POST", "path=[bc]$"), when=when)
    env = {"KEY": lakefs_server.access_key, "SECRET": lakefs_server.secret_key}
    base = f"{proxy.endpoint}/api/v1/repositories/{books}"
    faults.drive(script, tmp_path, base, point=point, proxy=proxy, env=env)
    assert [get(call, books, name, direct=True).status_code for name in "abc"] == [200, stored, 404]
    faults.drive(script, tmp_path, base, proxy=proxy, env=env)
    assert get(call, books, "c", direct=True).status_code == 200


@pytest.mark.parametrize("kind", ["local", "lakefs"])
def test_the_points_of_a_run_name_functions_that_are_there(kind):
    points = faults.kill_points(kind)
    assert len(points) == len({point.name for point in points}) >= 14
    if kind == "lakefs":
        pytest.importorskip("shelfmark.lake.lakefs")
    for point in (point for point in points if point.call):
        module, _, path = point.call.partition(":")
        found = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        assert callable(found), point


JOB = """
import sys
from shelfmark import config, session
from shelfmark.run import execute
settings = config.load(home=sys.argv[1])
spark = session.start(settings)
TREE = "taxonomy_version string, category_id string, path string, name string, parent_id string, depth int"
rows = [("v1", f"c{i}", f"C{i}", f"C{i}", None, 1) for i in range(300)]
execute("taxonomy", lambda run: run.write("silver.taxonomy", spark.createDataFrame(rows, TREE)), settings, spark, "20260101-a")
"""


@pytest.mark.slow
def test_a_driver_dies_within_a_write_with_some_files_there_and_no_commit_and_java_dies_with_it(tmp_path):
    (point,) = [point for point in faults.kill_points("local") if point.name == "while the first table is written"]
    driver = faults.drive(JOB, tmp_path, tmp_path / "home", point=point)
    written = tmp_path / "home" / "lake" / "data" / "run-taxonomy-20260101-a-1" / "silver" / "taxonomy"
    assert list(written.rglob("*.parquet"))
    assert not list(written.glob("_delta_log/*.json"))
    assert LocalLake(tmp_path / "home" / "lake").head() is None
    assert driver.alive() == []
    faults.drive(JOB, tmp_path, tmp_path / "home")
    assert LocalLake(tmp_path / "home" / "lake").head().metadata["rows"] == {"silver.taxonomy": 300}
