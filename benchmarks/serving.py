"""A multimodal model behind `mlflow models serve`: latency of a request by the number of clients that ask at once.

    python benchmarks/serving.py [--clients 1 16] [--seconds 20] [--workers 1] [--quick] [--json FILE]

A request is one product: title, picture of 60 x 80 pixels, three fields. The model has towers of their default size and a
hundred categories; it has learnt next to nothing, which changes no time. p50 and p99 are of the time from sending a request
to its last byte, over HTTP on one connection a client; `in process` is the same call without HTTP.
"""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import requests
from _table import line, parse, report
from PIL import Image

from shelfmark import answers, config, mirror
from shelfmark.multimodal import encode, fit_fusion, fusion, model, serving, towers

CLASSES, ROWS = 100, 600
MODALITIES = ("title", "picture", "fields")


def options(parser) -> None:
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--seconds", type=float, default=20, help="that each number of clients asks for")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server")


def main() -> int:
    args = parse(__doc__, options)
    seconds = 4 if args.quick else args.seconds
    lines = []
    with tempfile.TemporaryDirectory(prefix="shelfmark-bench-", ignore_cleanup_errors=True) as home:
        rows = products(ROWS)
        folder = made(Path(home) / "model", rows)
        served = mirror.servable(folder, Path(home) / "mlflow", serving.MLFLOW)
        frames = [frame(rows.slice(at, 1)) for at in range(64)]
        alone = serving.Served(folder)
        took = timed(lambda at: alone.predict(frames[at % 64]), seconds)
        lines += told("in process", took, seconds)
        bodies = [body(one) for one in frames]
        with server(served, args.workers, Path(home) / "log") as address:
            ask(address, bodies, 1, 2.0)  # the first requests compile
            for clients in args.clients:
                took = ask(address, bodies, clients, seconds)
                lines += told(f"{clients} client{'s' * (clients > 1)}", took, seconds)
    return report(lines, args.json)


def told(what: str, took: np.ndarray, seconds: float) -> list[dict]:
    figures = {"p50 ms": np.quantile(took, 0.5), "p99 ms": np.quantile(took, 0.99), "requests/s": len(took) / seconds}
    return [line(what, name, float(value) * (1000 if "ms" in name else 1)) for name, value in figures.items()]


def products(n: int) -> pa.Table:
    draw = np.random.default_rng(7)
    words = ["".join(draw.choice(list("abcdefghiklmnoprstu"), draw.integers(3, 10))) for _ in range(2_000)]
    pictures = []
    for _ in range(64):
        small = draw.integers(0, 255, (6, 5, 3), np.uint8)
        out = io.BytesIO()
        Image.fromarray(small).resize((60, 80), Image.Resampling.BICUBIC).save(out, "JPEG")
        pictures.append(out.getvalue())
    facts = [[{"name": f"f{k}", "value": str(draw.integers(0, 50))} for k in range(3)] for _ in range(n)]
    return pa.table(
        {
            "title": [" ".join(draw.choice(words, draw.integers(6, 13))) for _ in range(n)],
            "picture": pa.array([pictures[at % 64] for at in range(n)], pa.binary()),
            "fields": pa.array(facts, pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))),
        }
    )


def made(folder: Path, rows: pa.Table) -> Path:
    """A model of default towers with new weights, a policy learnt on what they say of the rows."""
    encoding, names = encode.Encoding(), [f"c{at:03}" for at in range(CLASSES)]
    for name in MODALITIES:
        towers.save(towers.build(towers.describe(name, CLASSES)), folder / name)
    nodes, tree = answers.make_tree(names, {name: (name, None) for name in names})
    truth = np.random.default_rng(0).integers(0, CLASSES, rows.num_rows)
    decision, uniform = config.Decision(), np.full(CLASSES, 1 / CLASSES, np.float32)
    about = nodes, tree, "benchmark", None, decision, answers.targets_of(decision, {})
    model.write(folder, fusion.Rule("mean", "multiclass", MODALITIES, uniform), encoding, *about)
    said = model.outputs(model.load(str(folder), "first"), rows)
    model.write(folder, fit_fusion.fit("policy", said, truth), encoding, *about)
    return folder


def frame(rows: pa.Table) -> pd.DataFrame:
    one = rows.to_pylist()[0]
    fields = {fact["name"]: fact["value"] for fact in one["fields"]}
    return pd.DataFrame({"title": [one["title"]], "picture": [one["picture"]], "fields": [fields]}, dtype=object)


def body(one: pd.DataFrame) -> bytes:
    record = one.to_dict("records")[0]
    record["picture"] = base64.b64encode(record["picture"]).decode()
    return json.dumps({"dataframe_records": [record]}).encode()


def timed(call, seconds: float) -> np.ndarray:
    """Seconds that each call took, one after the other for so long; the first calls are left out."""
    for at in range(5):
        call(at)
    took, end = [], time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        call(len(took))
        took.append(time.perf_counter() - started)
    return np.array(took)


def ask(address: str, bodies: list[bytes], clients: int, seconds: float) -> np.ndarray:
    """Seconds that each request took of clients that ask at once, each anew as soon as it is answered."""
    found: list[np.ndarray] = []
    headers = {"Content-Type": "application/json"}

    def client(number: int) -> None:
        took, end = [], time.perf_counter() + seconds
        with requests.Session() as session:
            while (started := time.perf_counter()) < end:
                reply = session.post(address, bodies[(number + len(took)) % len(bodies)], headers=headers, timeout=120)
                reply.raise_for_status()
                took.append(time.perf_counter() - started)
        found.append(np.array(took))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if len(found) != clients:
        sys.exit(f"{clients - len(found)} of {clients} clients were refused")
    return np.concatenate(found)


class server:
    """`mlflow models serve` while this is open; gives the address of requests."""

    def __init__(self, folder: Path, workers: int, log: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local"]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [*command, "-h", "127.0.0.1", "-p", str(self.port), "-w", str(workers)],
                stdout=out, stderr=out, env=os.environ | mirror.CLIENT_DEFAULTS | {"PATH": path}, start_new_session=True,
            )  # fmt: skip
        self.log = log

    def __enter__(self) -> str:
        address = f"http://127.0.0.1:{self.port}"
        for _ in range(900):
            try:
                requests.get(f"{address}/ping", timeout=5)
                return f"{address}/invocations"
            except requests.RequestException:
                if self.process.poll() is not None:
                    sys.exit(f"the server ended:\n{self.log.read_text()[-3000:]}")
                time.sleep(0.2)
        sys.exit(f"the server did not start:\n{self.log.read_text()[-3000:]}")

    def __exit__(self, *_) -> None:
        os.killpg(self.process.pid, 15)
        self.process.wait(30)


if __name__ == "__main__":
    sys.exit(main())
