"""Serving: a request is answered as the batch code answers its rows, in process and over HTTP."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from shelfmark import mirror
from shelfmark.errors import UsageError

pytest.importorskip("torch")

from small_model import products
from small_model import trained as make

from shelfmark.multimodal import model, serving


@pytest.fixture(scope="module")
def servable(tmp_path_factory):
    """The model as MLflow keeps it."""
    return mirror.servable(make()[0], tmp_path_factory.mktemp("served") / "model", serving.MLFLOW)


def request(rows):
    """Rows as a frame of a request."""
    facts = [{one["name"]: one["value"] for one in some} if some else None for some in rows["fields"].to_pylist()]
    columns = {name: rows[name].to_pylist() for name in ("title", "picture", "region")}
    return pd.DataFrame(columns | {"fields": facts}, dtype=object)


def batch(rows, top_k=serving.TOP_K):
    folder, checksum = make()
    return pa.table(model.answer(model.load(str(folder), checksum), rows, top_k)).select(serving.SAID).to_pylist()


def same(said, wanted):
    assert len(said) == len(wanted)
    for one, other in zip(said, wanted):
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-5)
        for name in ("category_id", "category_path", "decision", "reason"):
            assert one[name] == other[name]
        for name in ("top_k", "contributions"):
            assert len(one[name]) == len(other[name])
            for a, b in zip(one[name], other[name]):
                assert {k: pytest.approx(v, abs=1e-4) if isinstance(v, float) else v for k, v in b.items()} == a


def test_the_pyfunc_says_what_the_batch_code_says(servable):
    import mlflow

    loaded = mlflow.pyfunc.load_model(str(servable))
    rows, _ = products(40, 30)
    same(loaded.predict(request(rows)), batch(rows))
    assert [len(one["top_k"]) for one in loaded.predict(request(rows), params={"top_k": 2})] == [2] * 40


@pytest.mark.parametrize("missing", ["title", "picture", "fields", "region"])
def test_any_column_may_be_missing(servable, missing):
    import mlflow

    loaded = mlflow.pyfunc.load_model(str(servable))
    rows, _ = products(10, 31)
    same(loaded.predict(request(rows).drop(columns=missing)), batch(rows.drop_columns(missing)))
    only = request(rows)[[missing]]
    same(loaded.predict(only), batch(rows.select([missing])))


def test_what_cannot_be_read_is_named():
    with pytest.raises(UsageError, match="unknown column colour"):
        serving.arrow(pd.DataFrame({"colour": ["red"]}))
    with pytest.raises(UsageError, match="row 1: picture is text that is no base64"):
        serving.arrow(pd.DataFrame({"picture": [b"x", "!!"]}))
    with pytest.raises(UsageError, match="row 0: title is int, string is wanted"):
        serving.arrow(pd.DataFrame({"title": [1]}))


@pytest.mark.slow
def test_served_over_http(servable, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(servable), "--env-manager", "local"]
    environment = os.environ | mirror.CLIENT_DEFAULTS | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port), "-w", "1"],
            cwd=tmp_path, stdout=log, stderr=log, env=environment, start_new_session=True,
        )  # fmt: skip
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5)
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.2)
        rows, _ = products(5, 32)
        records = request(rows).to_dict("records")
        for one in records:
            one["picture"] = base64.b64encode(one["picture"]).decode()
        records.append({"title": "shoe summer"})
        body = json.dumps({"dataframe_records": records}).encode()
        post = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(post, timeout=60) as reply:
            said = json.load(reply)["predictions"]
        lone = pa.table({"title": ["shoe summer"]})
        same(said, batch(rows) + batch(lone))
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)
