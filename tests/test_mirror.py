"""The mirror into MLflow, on a real SQLite store."""

import os
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shelfmark import mirror
from shelfmark.errors import ServiceError, UsageError

PARAMS = {"text.cost": 1.0, "text.reweight": "none", "long": "x" * 7000}
METRICS = {"macro_f1/IN": 0.71, "macro_f1/*": 0.7, "macro_f1/TH": None, "nan": float("nan")}
TAGS = {"lake_commit": "c0ffee", "model_version": "text-1", "taxonomy_version": "derived-1"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store after one mirrored run: (tracking address, MLflow run id, model folder)."""
    home = tmp_path_factory.mktemp("home")
    model = home / "model-files"
    (model / "weights").mkdir(parents=True)
    (model / "model.json").write_text("{}")
    (model / "weights" / "0.bin").write_bytes(bytes(1000))
    uri = mirror.default_uri(home)
    return uri, mirror.mirror(uri, "run-1", PARAMS, METRICS, TAGS, model, run_name="train_text"), model


def client(uri):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def artifacts(uri, run):
    path = client(uri).get_run(run).info.artifact_uri.removeprefix("file://")
    return {str(p.relative_to(path)): p for p in Path(path).rglob("*") if p.is_file()}


def rows(uri, table):
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as db:
        return db.execute(f"select count(*) from {table}").fetchone()[0]


def test_a_run_arrives_with_parameters_metrics_tags_and_model(store):
    uri, run, _ = store
    found = client(uri).get_run(run)
    assert found.data.params["text.cost"] == "1.0"
    assert len(found.data.params["long"]) == 6000
    assert found.data.metrics == {"macro_f1/IN": 0.71, "macro_f1/all": 0.7}
    assert TAGS.items() <= found.data.tags.items()
    assert (found.info.status, found.info.run_name) == ("FINISHED", "train_text")
    assert set(artifacts(uri, run)) == {"model/model.json", "model/weights/0.bin"}


def test_epochs_of_a_training_are_a_metric_with_steps_written_once(tmp_path):
    uri, series = mirror.default_uri(tmp_path), {"title.loss": [2.0, 1.0, 0.5], "empty": []}
    for _ in range(2):
        run = mirror.mirror(uri, "run-1", {}, {}, TAGS, run_name="train_multimodal", series=series)
    assert [(one.step, one.value) for one in client(uri).get_metric_history(run, "title.loss")] == [
        (0, 2.0),
        (1, 1.0),
        (2, 0.5),
    ]
    assert set(client(uri).get_run(run).data.metrics) == {"title.loss"}


def test_the_same_run_again_is_one_run_and_no_more_points(store):
    uri, run, model = store
    before = rows(uri, "metrics"), rows(uri, "params"), rows(uri, "tags")
    again = mirror.mirror(uri, "run-1", PARAMS, METRICS, TAGS, model, run_name="train_text")
    assert again == run
    assert rows(uri, "runs") == 1
    assert (rows(uri, "metrics"), rows(uri, "params"), rows(uri, "tags")) == before


def test_a_new_value_is_seen_even_when_it_is_lower(store):
    uri, run, _ = store
    assert mirror.mirror(uri, "run-1", {}, {"macro_f1/IN": 0.5}, {}, run_name="train_text") == run
    assert client(uri).get_run(run).data.metrics["macro_f1/IN"] == 0.5


def test_a_run_that_was_cut_off_is_completed(store):
    uri, _, model = store
    opened = client(uri)
    # As a crash leaves it: made and half logged, never ended, its model not whole.
    place = opened.get_experiment_by_name(mirror.EXPERIMENT).experiment_id
    half = opened.create_run(place, tags={mirror.RUN_ID_TAG: "run-2", mirror.RUN_NAME_TAG: "run-2"})
    opened.log_param(half.info.run_id, "text.cost", "1.0")
    opened.log_artifact(half.info.run_id, str(model / "model.json"), mirror.MODEL_PATH)
    assert mirror.mirror(uri, "run-2", PARAMS, METRICS, TAGS, model) == half.info.run_id
    assert set(artifacts(uri, half.info.run_id)) == {"model/model.json", "model/weights/0.bin"}
    assert client(uri).get_run(half.info.run_id).info.status == "FINISHED"


def test_another_value_of_a_parameter_replaces_the_run(store):
    uri, _, _ = store
    first = mirror.mirror(uri, "run-3", {"cost": 1}, {}, {})
    second = mirror.mirror(uri, "run-3", {"cost": 2}, {}, {})
    assert first != second
    assert client(uri).get_run(first).info.lifecycle_stage == "deleted"
    assert mirror.mirror(uri, "run-3", {"cost": 2}, {}, {}) == second


def test_more_entries_than_a_request_may_hold(store):
    uri, _, _ = store
    many = mirror.mirror(uri, "run-4", {f"p{i}": i for i in range(250)}, {f"m{i}": i for i in range(2500)}, {})
    found = client(uri).get_run(many).data
    assert (len(found.params), len(found.metrics)) == (250, 2500)


def test_leaves_nothing_in_the_working_directory_and_says_nothing(tmp_path):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = f"from shelfmark import mirror; mirror.mirror(mirror.default_uri({str(home)!r}), 'r', {{'a': 1}}, {{'b': 2}}, {{}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(elsewhere.iterdir()) == []
    with sqlite3.connect(home / "mlflow.db") as db:
        places = [place for (place,) in db.execute("select artifact_location from experiments")]
    assert len(places) == 2
    assert all(place.startswith((home / "mlflow-artifacts").as_uri()) for place in places)


def test_importing_the_mirror_does_not_import_mlflow():
    code = "import sys, shelfmark.mirror; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_server_that_cannot_be_reached_is_named_without_its_secret(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "9")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    with pytest.raises(ServiceError) as caught:
        mirror.mirror(f"http://stew:p%40ss@127.0.0.1:{port}", "r", {}, {}, {})
    assert time.perf_counter() - started < 60
    assert caught.value.exit_code == 4
    assert f"http://***@127.0.0.1:{port}" in str(caught.value)
    assert "p%40ss" not in str(caught.value)
    assert "stew" not in str(caught.value)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "9"  # what the user set stays


def test_a_store_that_cannot_be_written_is_a_failed_service(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="run again to mirror it"):
        mirror.mirror(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}", "r", {}, {}, {})


def test_a_database_needs_an_artifact_root():
    with pytest.raises(UsageError, match="needs an artifact root") as caught:
        mirror.mirror("postgresql://stew:secret@db/mlflow", "r", {}, {}, {})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "uris", "expected"),
    [
        ("GET https://u:p@host/api", (), "GET https://***@host/api"),
        ("postgresql+psycopg2://u:p@ss@host:5432/db", (), "postgresql+psycopg2://***@host:5432/db"),
        ("https://token@host and http://host/a@b", (), "https://***@host and http://host/a@b"),
        ("bad password 'sesame'", ("mysql://u:sesame@h/d",), "bad password '***'"),
    ],
)
def test_redact(text, uris, expected):
    assert mirror.redact(text, *uris) == expected
