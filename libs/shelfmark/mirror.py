"""The door to MLflow: parameters, metrics and the model of a run, mirrored for people and for serving.

The lake is the source of truth; what stands here can be made again from it, so mirroring may be repeated: a run is
found by its tag and updated, never doubled. MLflow is imported on first use only (it takes seconds) and sends no usage
data.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from shelfmark.errors import ServiceError, UsageError

RUN_ID_TAG = "shelfmark.run_id"
RUN_NAME_TAG = "shelfmark.run_name"
MODEL_TAG = "shelfmark.model_files"
"""Digest of the model files last logged: written after them, so a half-logged model is logged again."""

EXPERIMENT = "shelfmark"
MODEL_PATH = "model"
"""Artifact folder of the model's files."""

# Limits of MLflow's REST API and stores (mlflow.utils.validation): longer requests and values are refused.
BATCH = {"params": 100, "metrics": 1000, "tags": 100}
PARAM_LENGTH, TAG_LENGTH = 6000, 5000

# Set where the user has not set them. Tracking servers answer in a second or not at all, and MLflow's own defaults wait
# for minutes before they say so; no usage data; no links printed between our lines.
CLIENT_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
NOISY = ("alembic", "mlflow", "urllib3")


class Serving(NamedTuple):
    """How MLflow serves a model: the module whose `_load_pyfunc` loads its files, the columns of a request (name -> string,
    binary or map of text; none is required), and how many categories are answered by default."""

    loader: str
    inputs: Mapping[str, str]
    top_k: int = 5


def default_uri(home: str | Path) -> str:
    """The embedded default: an SQLite store below `home`."""
    return f"sqlite:///{Path(home).resolve() / 'mlflow.db'}"


def mirror(
    tracking_uri: str,
    run_id: str,
    params: Mapping[str, object],
    metrics: Mapping[str, float | None],
    tags: Mapping[str, object],
    model_dir: Path | None = None,
    artifact_root: str | Path | None = None,
    run_name: str | None = None,
    experiment: str = EXPERIMENT,
    serving: Serving | None = None,
    series: Mapping[str, Sequence[float]] | None = None,
) -> str:
    """Mirror one run of a job into MLflow and return MLflow's run id.

    `run_id` and `run_name` (e.g. the job; default: the run id) identify the run: the same two again update it. What is
    equal is not written twice; MLflow does not let a parameter change, so a run with another value of a parameter is
    replaced (deleted, still to be seen in MLflow's bin). Metrics that are None or NaN are left out. `series` are metrics
    with a value a step, 0, 1, ...: epochs of a training. `tags` say where the figures
    come from: lake commit, model version, taxonomy version. The files of `model_dir` become the artifact folder
    `model`; with `serving` one that `mlflow models serve` and `mlflow.pyfunc.load_model` can use.

    `artifact_root` (folder or URI) is where a new experiment keeps artifacts; default for a database: the folder
    `mlflow-artifacts` beside an SQLite file; for a server: whatever the server decides. Nothing is ever written to
    the working directory.

    Raises `ServiceError` when the store fails or cannot be reached; the message names the address without its secret.
    """
    tracking_uri = os.fspath(tracking_uri)
    try:
        with _quiet():
            return _mirror(
                tracking_uri,
                run_id,
                run_name or run_id,
                {_name(key): _text(value, PARAM_LENGTH) for key, value in params.items()},
                {_name(key): float(value) for key, value in metrics.items() if _is_number(value)},
                {_name(key): _text(value, TAG_LENGTH) for key, value in tags.items()},
                Path(model_dir) if model_dir else None,
                artifact_root,
                experiment,
                serving,
                {_name(key): [float(value) for value in values] for key, values in (series or {}).items() if values},
            )
    except UsageError:
        raise
    except Exception as error:  # MLflow, SQLAlchemy, requests and object stores have no common base
        reason = redact(" ".join(str(error).split()), tracking_uri)[:500]
        raise ServiceError(
            f"MLflow at {redact(tracking_uri)} failed for run {run_id}: {type(error).__name__}: {reason}. "
            "The lake is not affected; check the address (mlflow_uri) and run again to mirror it"
        ) from None


def servable(model_dir: Path | str, out: Path | str, serving: Serving) -> Path:
    """Write `out` (must not be there): the model's files with what MLflow needs to load and serve them; returns it.

    The serving environment needs this package, of the version that trained.
    """
    with _quiet():
        _defaults()
        from mlflow import pyfunc
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
        from mlflow.types.schema import AnyType

        # MLflow's own reading of binary and map columns fails where a row has none: they come as they are.
        kinds = {"string": DataType.string, "binary": AnyType(), "map": AnyType()}
        inputs = Schema([ColSpec(kinds[kind], name, required=False) for name, kind in serving.inputs.items()])
        params = ParamSchema([ParamSpec("top_k", DataType.integer, serving.top_k)])
        pyfunc.save_model(
            path=str(out),
            loader_module=serving.loader,
            data_path=str(model_dir),
            signature=ModelSignature(inputs=inputs, params=params),
            pip_requirements=[f"shelfmark=={version('shelfmark')}"],
        )
    return Path(out)


def redact(text: str, *uris: str) -> str:
    """`text` without the user and password of any address in it; `uris` are addresses whose secret may stand alone."""
    for uri in uris:
        for secret in _secrets(uri):
            text = text.replace(secret, "***")
    # Greedy up to the last @ before a slash, quote or space: a password may hold an @ itself.
    return re.sub(r"([a-zA-Z][\w+.-]*://)[^\s/'\"]+@", r"\1***@", text)


def _mirror(
    tracking_uri, run_id, run_name, params, metrics, tags, model_dir, artifact_root, experiment, serving, series
) -> str:
    client = _client(tracking_uri, artifact_root)
    from mlflow.entities import Metric, Param, RunTag

    place = _experiment(client, experiment, _location(tracking_uri, artifact_root, experiment))
    run = _find(client, place, run_id, run_name, params)
    if run is None:
        identity = {RUN_ID_TAG: run_id, RUN_NAME_TAG: run_name}
        run = client.create_run(place, tags=identity | tags, run_name=run_name)
    # Of two values with one time stamp MLflow shows the larger, so a changed metric needs a later one.
    now, mlflow_id = int(time.time() * 1000), run.info.run_id
    new = {
        "params": [Param(k, v) for k, v in params.items() if k not in run.data.params],
        "metrics": [Metric(k, v, now, 0) for k, v in metrics.items() if run.data.metrics.get(k) != v],
        "tags": [RunTag(k, v) for k, v in tags.items() if run.data.tags.get(k) != v],
    }
    for key, values in series.items():
        if run.data.metrics.get(key) != values[-1]:
            new["metrics"] += [Metric(key, value, now, step) for step, value in enumerate(values)]
    for kind, entries in new.items():
        for start in range(0, len(entries), BATCH[kind]):
            client.log_batch(mlflow_id, **{kind: entries[start : start + BATCH[kind]]})
    if model_dir is not None:
        digest = _digest(model_dir)
        if run.data.tags.get(MODEL_TAG) != digest:
            with tempfile.TemporaryDirectory(prefix="shelfmark-mlflow-") as made:
                folder = servable(model_dir, Path(made, MODEL_PATH), serving) if serving else model_dir
                client.log_artifacts(mlflow_id, str(folder), MODEL_PATH)
            client.set_tag(mlflow_id, MODEL_TAG, digest)
    client.set_terminated(mlflow_id, "FINISHED")
    return mlflow_id


def _client(tracking_uri: str, artifact_root):
    """A client whose database store has an explicit artifact root too.

    A database store makes MLflow's own experiment `Default` when it is new and gives it `./mlruns` of the working
    directory unless this variable names a place.
    """
    _defaults()
    from mlflow import MlflowClient

    location = _location(tracking_uri, artifact_root, "")
    variable = "_MLFLOW_SERVER_ARTIFACT_ROOT"
    before = os.environ.get(variable)
    if location is not None and before is None:
        os.environ[variable] = location
    try:
        if tracking_uri.startswith("sqlite:///"):
            Path(tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=tracking_uri)
        client.search_experiments(max_results=1)  # opens the store
        return client
    finally:
        if before is None:
            os.environ.pop(variable, None)


def _defaults() -> None:
    """Import MLflow with what it reads from the environment then, and only its errors logged."""
    for key, value in CLIENT_DEFAULTS.items():
        os.environ.setdefault(key, value)
    import mlflow  # noqa: F401 - which sets levels of its own

    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)


def _location(tracking_uri: str, artifact_root: str | Path | None, experiment: str) -> str | None:
    """Absolute artifact URI of an experiment; None: the server decides."""
    if artifact_root is None:
        if tracking_uri.startswith("sqlite:///"):
            artifact_root = Path(tracking_uri.removeprefix("sqlite:///")).parent / "mlflow-artifacts"
        elif re.match(r"https?://|databricks", tracking_uri):
            return None
        else:
            raise UsageError(
                f"MLflow at {redact(tracking_uri)}: a database store needs an artifact root, a folder or address "
                "for the models' files"
            )
    if "://" not in str(artifact_root):
        artifact_root = Path(artifact_root).resolve().as_uri()
    return f"{str(artifact_root).rstrip('/')}/{experiment}".rstrip("/")


def _experiment(client, name: str, location: str | None) -> str:
    """Id of the experiment, made or restored where it is not there."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.create_experiment(name, artifact_location=location)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def _find(client, place: str, run_id: str, run_name: str, params: Mapping[str, str]):
    """The run mirrored before, whole or half; None where there is none, or one whose parameters differ."""
    quoted = [(tag, value.replace("'", "")) for tag, value in ((RUN_ID_TAG, run_id), (RUN_NAME_TAG, run_name))]
    wanted = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in quoted)
    # Two at once may have made it twice: the oldest stays, the others go.
    found, *others = client.search_runs([place], wanted, order_by=["attributes.start_time ASC"]) or [None]
    if found is not None and any(found.data.params.get(key, value) != value for key, value in params.items()):
        found, others = None, [found, *others]
    for other in others:
        client.delete_run(other.info.run_id)
    return found


def _digest(folder: Path) -> str:
    """Digest of the names, sizes and contents of all files below `folder`."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow's migrations and hints are of no use to our users: only errors get through."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _secrets(uri: str) -> list[str]:
    """`user:password` and the password of an address, as they stand in it."""
    match = re.match(r"[a-zA-Z][\w+.-]*://([^\s/]+)@", uri)
    if not match:
        return []
    _, _, password = match[1].partition(":")
    return [match[1], *([password] if password else [])]


def _is_number(value) -> bool:
    return value is not None and not math.isnan(float(value))


def _name(key: str) -> str:
    """A key MLflow accepts: letters, digits, `_-./ :`; region `*` becomes `all`. At most 250 characters."""
    return re.sub(r"[^\w\-./: ]", "_", str(key).replace("*", "all"))[:250]


def _text(value: object, limit: int) -> str:
    text = str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
