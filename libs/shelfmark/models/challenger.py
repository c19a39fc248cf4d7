"""The challenger: a trained version that is measured beside the champion, and what is decided on it.

1. `decide`: after a training, champion and challenger predict the labelled golden records of the test side; a task gives
   back counts per region, block of leak groups and category, which gate.py judges. No row comes to the driver.
2. `compare`, `promote`, `roll_back`, `shadow`, `publish`: what people ask for and decide.
3. `record`: each of these is a row of gold.model_decisions. Its `looks` counts the comparisons on the test side that a
   choice of the champion may have rested on. What `evaluate` measures of the champion chooses nothing and is none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from shelfmark.errors import UsageError
from shelfmark.labels import examples, persons
from shelfmark.metrics import classification
from shelfmark.models import champion, gate, lines
from shelfmark.tables import table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row

    from shelfmark.models.champion import Champion
    from shelfmark.run import Run

GATE = "gate"  # who decided, where no person did
CHANGES = ("promoted", "rolled_back")
"""Decisions that make a version the champion."""
BETWEEN_LINES = ("published", "not_published")
"""Decisions on whose champion predicts the catalogue."""


@dataclass(frozen=True)
class Request:
    """What a person asks of a line of models: compare, promote, rollback, shadow on a version, shadow off, or publish."""

    action: str
    model: str
    who: str
    why: str
    version: str | None = None
    other: str | None = None
    again: bool = False
    """Measure although the two were compared before."""


def parse(action: str, model: str, who: str, why: str, **named: Any) -> Request:
    """A request as a command line states it; `UsageError` without a person, or for more than a look without a reason."""
    if not why.strip() and action != "compare":
        raise UsageError("say why, for the record: --why '...'")
    if not who.strip():
        raise UsageError("say who decides: --by NAME (or set USER)")
    if who.strip() == GATE:
        raise UsageError(f"--by {who}: that is the gate's own name; say who decides")
    return Request(action, model, who.strip(), why.strip(), **named)


# -- after a training ---------------------------------------------------------------------------------------------


def decide(run: Run, model: str, trained: dict[str, Any]) -> None:
    """Bring a trained version to the lake, let the gate decide on it and, where it is promoted, on its line; record both."""
    decision = judge(run, champion.brought(run, model, trained))
    run.write("gold.models", champion.listed(run, model, trained, decision))
    made = [decision]
    if decision["decision"] == "promoted" and (between := contend(run, model)):
        made.append(between)
        if between["decision"] == "published":
            run.write("gold.models", champion.publishing(run.read("gold.models"), model).coalesce(1))
    record(run, *made)


def contend(run: Run, model: str) -> dict[str, Any] | None:
    """The gate's decision between the champion of a line and the one that predicts the catalogue; None where that is the line.

    Whoever predicts the catalogue stays unless the other is shown to be better: the lower bound of the difference lies
    above 0, and no region drops by more than `gate.max_region_drop`. Else two lines that are as good would take turns.
    """
    models = run.read("gold.models")
    line = champion.published_line(models)
    if line == model:
        return None
    version, other = champion.current(run, model), champion.current(run, line)
    if version.taxonomy_version != other.taxonomy_version:
        why = f"{line} is of taxonomy {other.taxonomy_version}, {model} of {version.taxonomy_version}: they cannot be compared"
        return _between(version, other, "not_published", why)
    measured = measure(run, version, other)
    verdict = gate.judge(measured, run.settings.gate.model_copy(update={"margin": 0.0}))
    published = verdict.passes and run.settings.gate.promote
    why = verdict.reason
    if verdict.passes and not published:
        why = f"it is better, and waits for a person, as gate.promote is false: {why}"
    made = _between(version, other, BETWEEN_LINES[not published], why)
    return made | _figures(run, other.version, measured, verdict) | {"margin": 0.0}


def _between(version: Champion, other: Champion, decision: str, why: str) -> dict[str, Any]:
    after = version if decision == "published" else other
    return _decision(version, decision, why, other.version) | {
        "champion": after.version,
        "reason": f"against {other.model}: {why}",
    }


def judge(run: Run, challenger: Champion) -> dict[str, Any]:
    """The gate's decision on a trained version, as `record` takes it.

    Promoted without a comparison are the first of a line, and one that follows a champion of another taxonomy or whose
    files cannot be read; kept without one are copies (`copy`): of the champion, or of what a person went back from.
    """
    model, known = challenger.model, run.read("gold.models").where(F.col("model") == challenger.model)
    row = known.where("champion").head()
    before = row.model_version if row else None
    if row is None:
        return _decision(challenger, "promoted", "the first of its line: there is no champion to compare it with")
    if row.taxonomy_version != challenger.taxonomy_version:
        why = (
            f"the champion is of taxonomy {row.taxonomy_version}, the labels are of {challenger.taxonomy_version}: it "
            "cannot be judged by them"
        )
        return _decision(challenger, "promoted", why, before)
    if row.checksum == challenger.checksum:
        why = "its files are the champion's, byte for byte: there is nothing to compare"
        return _decision(challenger, "kept", why, before) | {"copy": True}
    if back := _gone_back_from(run, known, challenger):
        why = f"its files are those of {back.champion_before}, from which {back.decided_by} went back: {back.reason}"
        return _decision(challenger, "kept", why, before) | {"copy": True}
    files = run.lake.local_copy(run.branch, row.path)
    if files is None:
        return _decision(challenger, "promoted", "the champion's files are not in the lake any more", before)
    if not lines.readable(model, files):
        why = "the champion was trained by another version of Shelfmark, whose models this one does not read"
        return _decision(challenger, "promoted", why, before)
    measured = measure(run, challenger, champion.current(run, model))
    verdict = gate.judge(measured, run.settings.gate)
    promoted = verdict.passes and run.settings.gate.promote
    why = verdict.reason
    if verdict.passes and not promoted:
        why = f"it passes, and waits for a person, as gate.promote is false: {why}"
    if not promoted and run.settings.gate.shadow:
        why = f"{why}; it predicts in shadow from now on"
    decision = "promoted" if promoted else "kept"
    return _decision(challenger, decision, why, before) | _figures(run, before, measured, verdict)


def _decision(version: Champion, decision: str, why: str, before: str | None = None) -> dict[str, Any]:
    return {
        "model": version.model,
        "model_version": version.version,
        "decision": decision,
        "decided_by": GATE,
        "reason": why,
        "champion_before": before,
        "champion": version.version if decision in CHANGES else before,
    }


def _gone_back_from(run: Run, known: DataFrame, challenger: Champion) -> Row | None:
    """The decision to go back from a version of the same files, unless that was promoted since."""
    copies = {row.model_version for row in known.where(F.col("checksum") == challenger.checksum).collect()}
    back = None
    for row in decisions(run, challenger.model):
        if row.decision == "rolled_back" and row.champion_before in copies:
            back = row
        if row.decision == "promoted" and row.model_version in copies:
            back = None
    return back


def _figures(run: Run, other: str, measured: gate.Measured | None, verdict: gate.Verdict) -> dict[str, Any]:
    """What was measured, as columns of gold.model_decisions."""
    if measured is None:
        return {}
    settings, worst = run.settings.gate, verdict.worst
    return {
        "compared_with": other,
        "macro_f1": measured.macro_f1,
        "compared_macro_f1": measured.compared_macro_f1,
        "difference": measured.difference,
        "difference_low": measured.low,
        "margin": settings.margin,
        "worst_region": worst.region if worst else None,
        "worst_region_drop": worst.drop if worst else None,
        "max_region_drop": settings.max_region_drop,
        "regions": [asdict(one) for one in measured.regions],
        "test_rows": measured.rows,
    }


# -- the test side ------------------------------------------------------------------------------------------------


def measure(run: Run, challenger: Champion, other: Champion) -> gate.Measured | None:
    """Both versions on the labelled golden records of the test side; None where there is none.

    Only these records are predicted. What comes to the driver are counts per region, block of leak groups and category.
    """
    words = persons.words(run.read("silver.reviews"), run.read("silver.duplicates"), run.read("silver.taxonomy"))
    labels = persons.first(run.read("silver.labels"), words)
    truth = classification.truth_of(labels, run.read("silver.splits"), "test", challenger.taxonomy_version).select(
        "product_id", "block", "truth"
    )
    read = run.read("silver.catalogue").select("product_id", *examples.READ)
    rows = read.join(truth, "product_id").persist()  # predicted twice
    counted = _said(run, rows, challenger, "said", "both").unionByName(
        _said(run, rows, other, "compared_said", "compared_both")
    )
    cells = counted.groupBy("region", "block", "category_id").agg(*(F.sum(name).alias(name) for name in gate.CELL))
    found = cells.toPandas()
    rows.unpersist()
    return gate.measure(
        found["region"].to_numpy(),
        found["block"].to_numpy(int),
        found["category_id"].to_numpy(),
        found[list(gate.CELL)].to_numpy(float),
        classification.BLOCKS,
        classification.ENOUGH_BLOCKS,
    )


def _said(run: Run, rows: DataFrame, version: Champion, said: str, both: str) -> DataFrame:
    """region, block, category_id and the counts `gate.CELL` of what one version says of `rows`; those of the other are 0.

    Rows truly of a category are counted once: with the challenger's.
    """
    keep = ("region", "block", "truth")
    answers = lines.predict(run, version, rows, 1, keep)
    answers = answers.select(*keep, F.col("top_k").getItem(0).getField("category_id").alias("leaf"))
    one, none, right = F.lit(1), F.lit(0), (F.col("leaf") == F.col("truth")).cast("int")
    true = one if said == gate.CELL[1] else none
    cell = F.explode(
        F.array(
            F.struct(F.col("truth").alias("category_id"), true.alias("true"), none.alias(said), none.alias(both)),
            F.struct(F.col("leaf").alias("category_id"), none.alias("true"), one.alias(said), right.alias(both)),
        )
    )
    counted = answers.select("region", "block", cell.alias("cell")).select("region", "block", "cell.*")
    counted = counted.where("category_id IS NOT NULL")
    return counted.select(
        "region", "block", "category_id",
        *(F.col(name) if name in counted.columns else F.lit(0).alias(name) for name in gate.CELL),
    )  # fmt: skip


# -- what people decide -------------------------------------------------------------------------------------------


def compare(run: Run, request: Request) -> dict[str, Any]:
    """Two versions on the test side: the figures recorded when they were compared last, else measured and recorded."""
    version, other = (champion.of_version(run, request.model, name) for name in (request.version, request.other))
    if version.version == other.version:
        raise UsageError(f"{version.version} and {version.version} are one version; name two")
    before = _champion_of(run, request.model)
    told = next(
        (
            row
            for row in reversed(decisions(run, request.model))
            if (row.model_version, row.compared_with) == (version.version, other.version)
        ),
        None,
    )
    if told is not None and not request.again:
        return told.asDict(recursive=True) | {"stored": True}
    for one in (version, other):
        _usable(run, one, "compared")
    measured = measure(run, version, other)
    if measured is None:
        raise UsageError("no golden record with a label is on the test side: there is nothing to compare them on")
    verdict = gate.judge(measured, run.settings.gate)
    why = f"{'would pass' if verdict.passes else 'would not pass'} the gate: {verdict.reason}"
    why = f"{request.why}; {why}" if request.why else why
    made = _decision(version, "compared", why, before) | {"decided_by": request.who}
    return made | _figures(run, other.version, measured, verdict)


def promote(run: Run, request: Request) -> dict[str, Any]:
    """Make a version the champion, whatever the gate said of it."""
    version = champion.of_version(run, request.model, request.version)
    before = _champion_of(run, request.model)
    if version.version == before:
        raise UsageError(f"{before} is the champion of {request.model!r} already")
    _usable(run, version, "promoted")
    run.write("gold.models", champion.crowned(run.read("gold.models"), request.model, version.version, run.started))
    return _decision(version, "promoted", request.why, before) | {"decided_by": request.who}


def roll_back(run: Run, request: Request) -> dict[str, Any]:
    """Make the champion before the present one the champion again."""
    line = line_of(run, request.model)
    if len(line) < 2:
        has = (
            f"the champion of {request.model!r} is its first: {line[0]}"
            if line
            else f"{request.model!r} has no champion"
        )
        raise UsageError(
            f"nothing to roll back to: {has}; `shelfmark models promote VERSION` makes any version the champion"
        )
    version = champion.of_version(run, request.model, line[-2])
    _usable(run, version, "gone back to")
    run.write("gold.models", champion.crowned(run.read("gold.models"), request.model, version.version, run.started))
    return _decision(version, "rolled_back", request.why, line[-1]) | {"decided_by": request.who}


def publish(run: Run, request: Request) -> dict[str, Any]:
    """Let the champion of a line predict the catalogue, whatever the gate said of it."""
    models = run.read("gold.models")
    line = champion.published_line(models)
    if line == request.model:
        raise UsageError(f"the champion of {line!r} predicts the catalogue already")
    version, other = champion.current(run, request.model), champion.current(run, line)
    _usable(run, version, "published")
    run.write("gold.models", champion.publishing(models, request.model).coalesce(1))
    return _between(version, other, "published", request.why) | {"decided_by": request.who}


def shadow(run: Run, request: Request) -> dict[str, Any]:
    """Let a version predict in shadow of the champion, in place of another that does; or none any more."""
    models, before = run.read("gold.models"), _champion_of(run, request.model)
    there = models.where((F.col("model") == request.model) & F.col("shadow")).head()
    if request.version is None:
        if there is None:
            raise UsageError(f"no version of {request.model!r} is in shadow")
        version, decision = champion.of_version(run, request.model, there.model_version), "shadow_off"
    else:
        version, decision = champion.of_version(run, request.model, request.version), "shadow_on"
        if version.version == before:
            raise UsageError(f"{before} is the champion of {request.model!r}: in shadow it would say the same again")
        if there is not None and there.model_version == version.version:
            raise UsageError(f"{version.version} is in shadow already")
        _usable(run, version, "put in shadow")
    wanted = version.version if decision == "shadow_on" else None
    run.write("gold.models", champion.shadowed(models, request.model, wanted))
    return _decision(version, decision, request.why, before) | {"decided_by": request.who}


def _champion_of(run: Run, model: str) -> str | None:
    row = run.read("gold.models").where((F.col("model") == model) & F.col("champion")).head()
    return row.model_version if row else None


def _usable(run: Run, version: Champion, what: str) -> None:
    """`UsageError` for a version whose categories are not in silver.taxonomy any more, or that cannot be read."""
    if not lines.readable(version.model, version.folder):
        raise UsageError(
            f"{version.version} cannot be {what}: another version of Shelfmark trained it, whose models this one does not read"
        )
    taxonomy = run.read("silver.taxonomy").select("taxonomy_version").distinct()
    versions = sorted(row.taxonomy_version for row in taxonomy.collect())
    if version.taxonomy_version not in versions:
        raise UsageError(
            f"{version.version} cannot be {what}: it predicts categories of taxonomy {version.taxonomy_version}, in force is "
            f"{', '.join(versions) or 'none'}"
        )


# -- the record ---------------------------------------------------------------------------------------------------


def decisions(run: Run, model: str) -> list[Row]:
    """The rows of gold.model_decisions of a line, in the order they were made: one a training, and what people decided."""
    rows = run.read("gold.model_decisions").where(F.col("model") == model)
    return rows.orderBy("decided_at", "run_id").collect()


def line_of(run: Run, model: str) -> list[str]:
    """The champions that a roll back can go along (`gate.crowned`), the present one last."""
    rows = run.read("gold.models").where(F.col("model") == model).select("model_version", "champion_since", "champion")
    rows = rows.collect()
    line = gate.crowned(
        [(row.model_version, row.champion_since) for row in rows],
        [(row.decision, row.model_version) for row in decisions(run, model)],
    )
    present = next((row.model_version for row in rows if row.champion), None)
    return line if present is None or line[-1:] == [present] else [*(one for one in line if one != present), present]


def record(run: Run, *made: dict[str, Any]) -> None:
    """Append decisions on a line to gold.model_decisions, their looks counted, and note them; one told from there is noted
    alone. The first is noted as `decision`, the one between lines as `publishing`."""
    fresh = [decision for decision in made if not decision.get("stored")]
    told = {"publishing" if decision["decision"] in BETWEEN_LINES else "decision": decision for decision in made}
    if fresh:
        earlier = decisions(run, fresh[0]["model"])
        looks = max((row.looks for row in earlier if row.run_id != run.run_id), default=0)
        stamp = {"lake_commit": run.base.id, "decided_at": run.started, "run_id": run.run_id, "run_date": run.run_date}
        contract, rows = table("gold.model_decisions"), []
        for decision in fresh:
            looks += decision.get("compared_with") is not None
            decision |= stamp | {"looks": looks}
            rows.append(tuple(decision.get(name) for name in contract.columns))
        written = run.spark.createDataFrame(rows, contract.ddl).coalesce(1)
        run.write("gold.model_decisions", written, replace=f"run_id = '{run.run_id}'")
    run.note(**{name: _noted(decision) for name, decision in told.items()})


def _noted(decision: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if name in ("run_date", "decided_at") else value for name, value in decision.items()}


def said(decision: dict[str, Any]) -> str:
    """A gate's decision in a sentence, with what can be done about it."""
    version, before = decision["model_version"], decision["champion_before"]
    if decision["decision"] in BETWEEN_LINES:
        line, does = decision["model"], "does" if decision["decision"] == "published" else "does not"
        return f"{line} {does} predict the catalogue, {decision['reason']}" + (
            "" if does == "does" else f". To let it: shelfmark models publish {line} --why ..."
        )
    if decision["decision"] == "promoted":
        return f"{decision['model']} {version} is the champion: {decision['reason']}"
    return (
        f"{decision['model']} {version} is kept, the champion stays {before}: {decision['reason']}. To promote it by hand: "
        f"shelfmark models promote {version} --why ..."
    )
