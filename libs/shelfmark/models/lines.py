"""Lines of models: what each reads and how it predicts. Which line's predictions the catalogue has is `champion.published`.

text        title, brand, description and facts, by linear models (shelfmark.text)
multimodal  title, description, picture and facts, by towers and a rule of fusion (shelfmark.multimodal)
ensemble    what the champions of both say, weighed (shelfmark.ensemble)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark.config import Settings
    from shelfmark.mirror import Serving
    from shelfmark.models.champion import Champion
    from shelfmark.run import Run

TEXT, MULTIMODAL, ENSEMBLE = LINES = ("text", "multimodal", "ensemble")
KEPT = ("product_id", "group_id", "region")


def predict(run: Run, version: Champion, rows: DataFrame, top_k: int, keep: Sequence[str] = KEPT) -> DataFrame:
    """A prediction per row of `rows` by a version of any line: the columns `keep`, then those of text/predict.py's `ADDED` and
    what else the line says of itself. rows: golden records, or what `examples.READ` names of them."""
    if version.model == MULTIMODAL:
        from shelfmark.multimodal.predict import predict as multimodal

        return multimodal(rows, version.folder, run.read("silver.images"), top_k, keep, version.checksum)
    if version.model == ENSEMBLE:
        from shelfmark.ensemble.predict import predict as ensemble

        return ensemble(rows, version.folder, run.read("silver.images"), top_k, keep, version.checksum)
    from shelfmark.text.predict import predict as text

    return text(rows, version.folder, top_k, keep, version.checksum)


def readable(line: str, folder: str) -> bool:
    """Whether this Shelfmark reads the files of a version of the line; those of another one may be of another format."""
    if line == MULTIMODAL:
        from shelfmark.multimodal.model import readable as multimodal

        return multimodal(folder)
    if line == ENSEMBLE:
        from shelfmark.ensemble.model import readable as ensemble

        return ensemble(folder)
    from shelfmark.text.model import readable as text

    return text(folder)


def settings_of(settings: Settings, line: str) -> dict:
    """The section of the settings that a line is trained by, as gold.models keeps it."""
    return getattr(settings, line).model_dump()


def serving(line: str) -> Serving | None:
    """How MLflow serves a version of a line; None where it only keeps the files."""
    if line != MULTIMODAL:
        return None
    from shelfmark.multimodal.serving import MLFLOW

    return MLFLOW
