"""The champion: the one model of a line that predictions are made with, named by gold.models and kept in the lake."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from shelfmark import mirror as mlflow_mirror
from shelfmark.errors import DataRefused
from shelfmark.tables import table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark.run import Run


@dataclass(frozen=True)
class Champion:
    """A row of gold.models and where its files can be read."""

    model: str
    version: str
    folder: str
    checksum: str
    taxonomy_version: str
    settings: dict[str, Any]
    metrics: dict[str, Any]


def crown(run: Run, model: str, trained: dict[str, Any]) -> DataFrame:
    """Bring the trained model's files to the lake; gold.models with it as the champion of its line, earlier ones listed."""
    run.put(f"models/{model}/{run.run_id}", run.model_path(model, run.run_id))
    row = {
        "model": model,
        "model_version": run.run_id,
        "path": f"models/{model}/{run.run_id}",
        "checksum": trained["checksum"],
        "taxonomy_version": trained["taxonomy_version"],
        "lake_commit": run.base.id,
        "categories": trained["categories"],
        "training_rows": trained["training_rows"],
        "settings": json.dumps(run.settings.text.model_dump(), sort_keys=True),
        "metrics": json.dumps(trained["metrics"], sort_keys=True),
        "champion": True,
        "champion_since": run.started,
        "run_id": run.run_id,
    }
    contract = table("gold.models")
    fresh = run.spark.createDataFrame([tuple(row[name] for name in contract.columns)], contract.ddl)
    earlier = run.read("gold.models").where((F.col("model") != model) | (F.col("model_version") != run.run_id))
    dethroned = earlier.withColumn("champion", F.col("champion") & (F.col("model") != model))
    return dethroned.unionByName(fresh).coalesce(1)


def notes(trained: dict[str, Any]) -> dict[str, Any]:
    """What the run record says of a training: sizes, metrics, seconds per step, categories too small to learn."""
    below = sorted(trained["below_support"], key=lambda one: (-one["support"], one["category_id"]))
    return {
        "categories": trained["categories"],
        "training_rows": trained["training_rows"],
        "tune": trained["metrics"],
        "seconds_per_step": trained["seconds"],
        "below_support": len(below),
        "below_support_first": below[:20],
    }


def current(run: Run, model: str) -> Champion:
    """The champion of a line; `DataRefused` when there is none yet."""
    row = run.read("gold.models").where((F.col("model") == model) & F.col("champion")).head()
    folder = run.lake.local_copy(run.branch, row.path) if row else None
    if folder is None:
        raise DataRefused(f"no champion of {model!r} yet: run the job train_{model} first")
    return Champion(
        model,
        row.model_version,
        folder,
        row.checksum,
        row.taxonomy_version,
        json.loads(row.settings),
        json.loads(row.metrics),
    )


def signed(run: Run, model: Champion, predicted: DataFrame) -> DataFrame:
    """Predictions with what made them: model version, taxonomy version, lake commit, run."""
    made = {
        "model": model.model,
        "model_version": model.version,
        "taxonomy_version": model.taxonomy_version,
        "lake_commit": run.base.id,
    }
    for name, value in made.items():
        predicted = predicted.withColumn(name, F.lit(value))
    return run.stamped(predicted)


def newest_predictions(run: Run, model: str) -> DataFrame:
    """The champion's predictions of the newest day."""
    version = current(run, model).version
    mine = run.read("gold.predictions").where((F.col("model") == model) & (F.col("model_version") == version))
    return mine.where(F.col("run_date") == mine.agg(F.max("run_date")).head()[0])


def mirror(run: Run, model: str) -> None:
    """Show a published training in MLflow: parameters, tune metrics, lake commit and the model's files."""
    champion = current(run, model)
    mlflow_mirror.mirror(
        run.settings.mlflow_uri or mlflow_mirror.default_uri(run.settings.home),
        run.run_id,
        params={f"text.{name}": value for name, value in champion.settings.items()},
        metrics={f"tune.{name}": value for name, value in _numbers(champion.metrics)},
        tags=_tags(run, champion),
        artifact_root=run.settings.mlflow_artifacts,
        model_dir=Path(champion.folder),
        run_name=run.job,
    )


def mirror_metrics(run: Run, model: str) -> None:
    """Show the published test metrics, overall and per region, in MLflow."""
    champion = current(run, model)
    mine = (F.col("run_id") == run.run_id) & (F.col("category_id") == "*") & ~F.col("metric").startswith("bin_")
    rows = run.read("gold.metrics").where(mine).collect()
    metrics = {
        f"{row.side}.{'all' if row.region == '*' else row.region}.{row.metric}"
        + ("" if row.level == "leaf" else f".level_{row.level}"): row.value
        for row in rows
    }
    mlflow_mirror.mirror(
        run.settings.mlflow_uri or mlflow_mirror.default_uri(run.settings.home),
        run.run_id,
        params={"metrics.min_support": run.settings.metrics.min_support},
        metrics=metrics,
        tags=_tags(run, champion),
        artifact_root=run.settings.mlflow_artifacts,
        run_name=run.job,
    )


def _tags(run: Run, champion: Champion) -> dict[str, str]:
    return {
        "lake_commit": run.base.id,
        "model_version": champion.version,
        "taxonomy_version": champion.taxonomy_version,
        "job": run.job,
    }


def _numbers(values: dict[str, Any]) -> list[tuple[str, float]]:
    return [(name, float(value)) for name, value in values.items() if isinstance(value, (int, float))]
