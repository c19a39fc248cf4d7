"""A multimodal model as MLflow serves it: rows of a request through `model.answer`, the code of the batch job. No Spark here.

`mlflow models serve` and `mlflow.pyfunc.load_model` find `_load_pyfunc` by the model's `loader_module`; nothing of MLflow is
needed here. Columns of a request, each may be missing or null:

title, description, region  text
picture                     bytes of a picture file (in JSON: base64)
fields                      the facts of a product: {name: value}, names as training knew them ("colour", "[brand]", ...)

Columns of the answer: category_id, category_path, confidence, decision, reason, top_k ([{category_id, confidence}]),
contributions ([{modality, weight}]).
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from shelfmark import answers, mirror
from shelfmark.errors import UsageError
from shelfmark.multimodal import model

INPUTS = {"title": "string", "description": "string", "picture": "binary", "fields": "map", "region": "string"}
SAID = ("category_id", "category_path", "confidence", "decision", "reason", "top_k", "contributions")
TOP_K = 5
MLFLOW = mirror.Serving(__name__, INPUTS, TOP_K)


class Served:
    """What MLflow calls: `predict` of a frame."""

    def __init__(self, folder: Path, top_k: int = TOP_K):
        import torch

        # Requests run on threads of their own: of one request each, more threads would wait for one another.
        torch.set_num_threads(1)
        model.verify(folder, None)
        self.model = model.load(str(folder), answers.checksum(folder))
        self.top_k = top_k

    def predict(self, frame: pd.DataFrame, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """One answer per row; `UsageError` for a column or value that cannot be read. params: top_k."""
        top_k = int((params or {}).get("top_k", self.top_k))
        if top_k < 1:
            raise UsageError(f"top_k {top_k}: ask for 1 or more")
        said = model.answer(self.model, arrow(frame), top_k)
        return pa.table({name: said[name] for name in SAID}).to_pylist()


def _load_pyfunc(path: str) -> Served:
    return Served(Path(path))


def arrow(frame: pd.DataFrame) -> pa.RecordBatch:
    """The rows of a request as `model.answer` reads them. Raises `UsageError` with column and row of what is no such value."""
    if unknown := set(map(str, frame.columns)) - INPUTS.keys():
        raise UsageError(f"unknown column {', '.join(sorted(unknown))}: a request has {', '.join(INPUTS)}")
    made = {
        name: [_value(name, kind, at, one) for at, one in enumerate(frame[name])]
        for name, kind in INPUTS.items()
        if name in frame
    }
    types = {
        "title": pa.string(),
        "description": pa.string(),
        "picture": pa.binary(),
        "fields": pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())])),
        "region": pa.string(),
    }
    arrays = {name: pa.array(values, types[name]) for name, values in made.items()}
    # A request without any column still has rows to answer.
    arrays = arrays or {"title": pa.nulls(len(frame), pa.string())}
    return pa.RecordBatch.from_pydict(arrays)


def _value(name: str, kind: str, at: int, one: Any) -> Any:
    if one is None or (isinstance(one, float) and one != one):
        return None
    if kind == "string" and isinstance(one, str):
        return one
    if kind == "binary" and isinstance(one, (bytes, bytearray)):
        return bytes(one)
    if kind == "binary" and isinstance(one, str):
        try:
            return base64.b64decode(one, validate=True)
        except binascii.Error as error:
            raise UsageError(f"row {at}: {name} is text that is no base64: {error}") from None
    if kind == "map" and isinstance(one, dict):
        # As `stated.stated` makes them: no spaces around, lower case, nothing empty.
        facts = [(str(key), str(value).strip().lower()) for key, value in one.items() if value is not None]
        return [{"name": key, "value": value} for key, value in facts if value]
    raise UsageError(f"row {at}: {name} is {type(one).__name__}, {kind} is wanted")
