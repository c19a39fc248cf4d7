"""The champion: the one version of a line that predictions are made with, named by gold.models; all are kept in the lake.

Each line (lines.py) has a champion. One line is *published*: what its champion says is in gold.predictions; what those of the
others say is in gold.shadow_predictions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from shelfmark import mirror as mlflow_mirror
from shelfmark.errors import DataRefused, UsageError
from shelfmark.labels import pseudo
from shelfmark.models import lines
from shelfmark.tables import table
from shelfmark.text.branch import Branch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pyspark.sql import Column, DataFrame, Row

    from shelfmark.run import Run


@dataclass(frozen=True)
class Champion:
    """A version of a model, champion or not: a row of gold.models and where its files can be read."""

    model: str
    version: str
    folder: str
    checksum: str
    taxonomy_version: str
    settings: dict[str, Any]
    metrics: dict[str, Any]


def brought(run: Run, model: str, trained: dict[str, Any]) -> Champion:
    """Bring the trained model's files to the lake: a version as good as any, until it is decided on."""
    version, folder = run.run_id, run.model_path(model, run.run_id)
    run.put(f"models/{model}/{version}", folder)
    settings = lines.settings_of(run.settings, model)
    return Champion(
        model, version, folder, trained["checksum"], trained["taxonomy_version"], settings, trained["metrics"]
    )


def listed(run: Run, model: str, trained: dict[str, Any], decision: Mapping[str, Any]) -> DataFrame:
    """gold.models with the trained model, its line's champion and the one in shadow as the decision says."""
    row = {
        "model": model,
        "model_version": run.run_id,
        "path": f"models/{model}/{run.run_id}",
        "checksum": trained["checksum"],
        "taxonomy_version": trained["taxonomy_version"],
        "lake_commit": run.base.id,
        "categories": trained["categories"],
        "training_rows": trained["training_rows"],
        "settings": json.dumps(lines.settings_of(run.settings, model), sort_keys=True),
        "metrics": json.dumps(trained["metrics"], sort_keys=True),
        "champion": False,
        "run_id": run.run_id,
        "shadow": False,
    }
    contract = table("gold.models")
    fresh = run.spark.createDataFrame([tuple(row.get(name) for name in contract.columns)], contract.ddl)
    earlier = run.read("gold.models").where((F.col("model") != model) | (F.col("model_version") != run.run_id))
    rows = publishing(earlier.unionByName(fresh), published_line(earlier) or model)
    if decision["decision"] == "promoted":
        rows = crowned(rows, model, run.run_id, run.started)
    elif run.settings.gate.shadow and not decision.get("copy"):
        rows = shadowed(rows, model, run.run_id)
    return rows.coalesce(1)


def crowned(models: DataFrame, model: str, version: str, when: datetime) -> DataFrame:
    """gold.models with a version as the one champion of its line; it is not in shadow any more."""
    line, this = F.col("model") == model, F.col("model_version") == version
    return models.withColumns(
        {
            "champion": F.when(line, this).otherwise(F.col("champion")),
            "champion_since": F.when(line & this, F.lit(when)).otherwise(F.col("champion_since")),
            "shadow": F.when(line & this, False).otherwise(F.col("shadow")),
        }
    )


def shadowed(models: DataFrame, model: str, version: str | None) -> DataFrame:
    """gold.models with a version as the one in shadow of its line; None: with none there."""
    this = F.lit(False) if version is None else F.col("model_version") == version
    return models.withColumn("shadow", F.when(F.col("model") == model, this).otherwise(F.col("shadow")))


def publishing(models: DataFrame, line: str) -> DataFrame:
    """gold.models with a line as the published one."""
    return models.withColumn("published", F.col("model") == line)


def workdir(run: Run, model: str) -> Path:
    """Where a training keeps what outlives a run that is killed."""
    return Path(run.settings.multimodal.work or Path(run.settings.home).resolve() / "work") / model


def branch(run: Run, model: str) -> Branch | None:
    """The one branch this run is to learn anew (`--branch`), all else being the champion's; None: all is learnt."""
    if run.settings.branch is None:
        return None
    known = current(run, model)
    return Branch(run.settings.branch, Path(known.folder), known.checksum)


def accepted_unlabelled(run: Run, model: str, labels: DataFrame) -> DataFrame:
    """What the champion accepted of products without a label (pseudo.py); none where nothing was predicted yet."""
    settings, champions = run.settings.text, _first(run, model, F.col("champion"))
    newest = _newest(run, model, champions.model_version if champions else None)
    told = run.read("silver.catalogue"), labels, run.read("silver.splits"), newest
    return pseudo.accepted(*told, settings.pseudo_weight, settings.pseudo_share)


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
    row = _first(run, model, F.col("champion"))
    found = _of(run, row)
    if found is None:
        gone = f"the files of {model!r} {row.model_version} are not in the lake any more" if row else None
        raise DataRefused(f"{gone or f'no champion of {model!r} yet'}: run the job train_{model} first")
    return found


def published_line(models: DataFrame) -> str | None:
    """The line whose champion makes the catalogue's predictions; None before there is any model.

    A lake of a time when there was one line has no mark.
    """
    row = models.orderBy(F.col("published").desc_nulls_last(), F.desc("model")).select("model").head()
    return row.model if row else None


def published(models: DataFrame, line: str | None = None) -> Row:
    """The row of gold.models, as a reader sees it at a version, of the champion that predicts the catalogue, or of that of
    another line; `DataRefused` where there is none."""
    row = predicting(models, line)
    if row is None:
        raise DataRefused("no champion model yet: run `shelfmark pipeline` first, or name another version with --at")
    return row


def predicting(models: DataFrame, line: str | None = None) -> Row | None:
    """`published`, or None where there is none."""
    return models.where(F.col("champion") & (F.col("model") == (line or published_line(models)))).head()


def of_lines(run: Run) -> list[Champion]:
    """The champion of the published line, then those of the others, but of ones that another version of Shelfmark trained and this one
    does not read; `DataRefused` where there is none yet."""
    models = run.read("gold.models")
    first = published_line(models) or lines.TEXT
    others = {row.model for row in models.where("champion").select("model").collect()} - {first}
    published, *rest = [current(run, line) for line in (first, *sorted(others))]
    readable = [one for one in rest if lines.readable(one.model, one.folder)]
    if missing := [one.model for one in rest if one not in readable]:
        run.note(
            not_read={"lines": missing, "why": "another version of Shelfmark trained their champions: train them again"}
        )
    return [published, *readable]


def in_shadow(run: Run, model: str) -> Champion | None:
    """The version that predicts in shadow of the champion; None where none does."""
    return _of(run, _first(run, model, F.col("shadow") & ~F.col("champion")))


def of_version(run: Run, model: str, version: str) -> Champion:
    """A version by its name, or by the beginning of it that only one has; `UsageError` otherwise."""
    rows = run.read("gold.models").where((F.col("model") == model) & F.col("model_version").startswith(version))
    rows = rows.orderBy("model_version").collect()
    exact = [row for row in rows if row.model_version == version] or rows
    if len(exact) != 1:
        those = ", ".join(row.model_version for row in exact[:5])
        said = f"{version!r} may be {those}" if exact else f"no version {version!r}"
        raise UsageError(f"{said} of {model!r}; `shelfmark models list` shows what there is")
    found = _of(run, exact[0])
    if found is None:
        raise UsageError(f"the files of {model!r} {exact[0].model_version} are not in the lake any more")
    return found


def _first(run: Run, model: str, condition: Column) -> Row | None:
    return run.read("gold.models").where((F.col("model") == model) & condition).head()


def _of(run: Run, row: Row | None) -> Champion | None:
    """A row of gold.models, its files at hand; None without them."""
    folder = run.lake.local_copy(run.branch, row.path) if row else None
    if folder is None:
        return None
    return Champion(
        row.model,
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


def keep(run: Run, version: Champion, predicted: DataFrame, published: bool) -> None:
    """Write a champion's predictions of today: into gold.predictions, which has one line's a day, or where shadows are."""
    name, today = "gold.predictions", f"run_date = '{run.run_date}'"
    if not published:
        name, today = "gold.shadow_predictions", f"{today} AND model = '{version.model}'"
    run.write(name, signed(run, version, predicted), replace=today)


def newest_predictions(run: Run, model: str) -> DataFrame:
    """The predictions of a line's champion, of the newest day, wherever they are."""
    return _newest(run, model, current(run, model).version)


def _newest(run: Run, model: str, version: str | None) -> DataFrame:
    """Of the newest day there is: a line that was published since, or is not any more, has days in both tables."""
    both = run.read("gold.predictions").withColumn("_published", F.lit(True))
    both = both.unionByName(run.read("gold.shadow_predictions").withColumn("_published", F.lit(False)))
    mine = both.where((F.col("model") == model) & (F.col("model_version") == version))
    day, published = mine.agg(F.max(F.struct("run_date", "_published")).alias("at")).select("at.*").head()
    return mine.where((F.col("run_date") == day) & (F.col("_published") == published)).drop("_published")


DECIDED = ("promoted", "kept", "rolled_back", "shadow_on", "shadow_off")
"""Decisions that say what a version is from then on."""


def mirror_decision(run: Run, model: str | None = None) -> None:
    """Show in MLflow the version (of a line) this run decided on, and the one whose place it took: parameters, tune metrics, lake
    commit, files, and as tags the newest decision on each."""
    mine = (F.col("run_id") == run.run_id) & (F.col("model") == model if model else F.lit(True))
    row = run.read("gold.model_decisions").where(mine & F.col("decision").isin(*DECIDED)).head()
    if row is None:
        return
    versions = [row.model_version, row.champion_before if row.champion != row.champion_before else None]
    for name in filter(None, versions):
        version = _of(run, _first(run, row.model, F.col("model_version") == name))
        if version is None:
            continue
        mlflow_mirror.mirror(
            run.settings.mlflow_uri or mlflow_mirror.default_uri(run.settings.home),
            version.version,
            params={f"{version.model}.{name}": value for name, value in version.settings.items()},
            metrics={f"tune.{name}": value for name, value in _numbers(version.metrics)},
            tags=_tags(run, version, f"train_{version.model}", version.version == run.run_id) | _decided(run, version),
            artifact_root=run.settings.mlflow_artifacts,
            series=_epochs(version.metrics),
            model_dir=Path(version.folder),
            run_name=f"train_{version.model}",
            serving=lines.serving(version.model),
        )


def mirror_metrics(run: Run) -> None:
    """Show the test metrics of each line's champion, overall and per region, in MLflow: a run a line."""
    for number, champion in enumerate(of_lines(run)):
        _mirror_metrics(run, champion, run.run_id if not number else f"{run.run_id}-{champion.model}")


def _mirror_metrics(run: Run, champion: Champion, key: str) -> None:
    mine = (F.col("run_id") == run.run_id) & (F.col("category_id") == "*") & ~F.col("metric").startswith("bin_")
    rows = run.read("gold.metrics").where(mine & (F.col("model") == champion.model)).collect()
    metrics = {
        f"{row.side}.{'all' if row.region == '*' else row.region}.{row.metric}"
        + ("" if row.level == "leaf" else f".level_{row.level}"): row.value
        for row in rows
    }
    mlflow_mirror.mirror(
        run.settings.mlflow_uri or mlflow_mirror.default_uri(run.settings.home),
        key,
        params={"metrics.min_support": run.settings.metrics.min_support},
        metrics=metrics,
        tags=_tags(run, champion, run.job),
        artifact_root=run.settings.mlflow_artifacts,
        run_name=run.job,
    )


def _tags(run: Run, version: Champion, job: str, fresh: bool = True) -> dict[str, str]:
    tags = {"model_version": version.version, "taxonomy_version": version.taxonomy_version, "job": job}
    return tags | ({"lake_commit": run.base.id} if fresh else {})  # an earlier version keeps the commit it came with


def _decided(run: Run, version: Champion) -> dict[str, str]:
    """Whether it is the champion, and the newest decision on it, as tags."""
    mine = (F.col("model") == version.model) & (F.col("model_version") == version.version)
    champion = run.read("gold.models").where(mine & F.col("champion")).head() is not None
    row = run.read("gold.model_decisions").where(mine & (F.col("decision") != "compared"))
    row = row.orderBy(F.desc("decided_at")).drop("model", "model_version", "regions", "run_id", "run_date").head()
    # What this decision has no figure for must not keep that of the one before.
    told = {
        f"decision.{name}": "-" if value is None else str(value)
        for name, value in (row.asDict() if row else {}).items()
    }
    return {"champion": str(champion).lower()} | told


def _epochs(metrics: Mapping[str, Any]) -> dict[str, list[float]]:
    """Of each tower of a multimodal model its figures by epoch."""
    shown = ("loss", "tune_loss", "macro_f1", "accuracy", "rows_per_second")
    told = {(tower, name): epochs for tower, epochs in metrics.get("history", {}).items() for name in shown}
    return {f"{tower}.{name}": [one[name] for one in epochs] for (tower, name), epochs in told.items()}


def _numbers(values: dict[str, Any]) -> list[tuple[str, float]]:
    return [(name, float(value)) for name, value in values.items() if isinstance(value, (int, float))]
