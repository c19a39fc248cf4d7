"""What people look at after a run: data docs for stewards, the run report, the summary on the console.

All of it is made from the lake's own tables at one commit; what comes to the driver are counts and a bounded number
of samples.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import Window
from pyspark.sql import functions as F

from shelfmark import mirror
from shelfmark.demo import truth
from shelfmark.images import links
from shelfmark.ingest import mapping, replay
from shelfmark.labels import persons
from shelfmark.metrics import classification, figures, findings, report
from shelfmark.metrics import summary as console_summary
from shelfmark.models import challenger, champion, shadow
from shelfmark.quality import docs, rejects
from shelfmark.query import read
from shelfmark.run import Outcome, run_date
from shelfmark.taxonomy import versions

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from rich.console import Console

    from shelfmark.config import Settings
    from shelfmark.lake import Lake

REFRESHED = 50  # earlier pages written again at the most, when a run resolves what they show
LISTED = 50  # confusions and unmapped paths shown
DECIDED = 12  # decisions on models shown


@dataclass(frozen=True)
class At:
    """Tables of one commit."""

    spark: SparkSession
    lake: Lake
    commit: str

    def read(self, name: str) -> DataFrame:
        return read(self.spark, self.lake, self.commit, name)


def write(
    spark: SparkSession, lake: Lake, commit: str, settings: Settings, run_id: str, outcomes: list[Outcome]
) -> dict[str, Any]:
    """Write data docs and run report of a pipeline; returns figures and links for `summary`."""
    at = At(spark, lake, commit)
    home = Path(settings.home).resolve()
    model = champion.predicting(at.read("gold.models"))
    metrics = _newest_metrics(at, model, run_id)
    sliced, points = (_same_run(at, name, metrics) for name in ("gold.slices", "gold.curves"))
    slices = findings.slices(sliced)
    regions = figures.region_figures(metrics)
    unmapped = versions.unmapped(at.read("silver.category_map"))
    groups = at.read("silver.duplicates").where("survivor AND group_size > 1").count()
    books = _books(outcomes)
    page = report.Report(
        run_id=run_id,
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        versions=[
            ("lake commit", commit),
            ("model", f"{model.model} {model.model_version}" if model else "none"),
            ("taxonomy", model.taxonomy_version if model else "none"),
            ("settings", settings.hash[:12]),
        ],
        regions=regions,
        classes=figures.class_figures(metrics),
        overall=findings.overall(metrics),
        levels=findings.levels(metrics),
        slices=slices,
        curves=findings.curves(points, slices),
        confusions=_confusions(at, model),
        rejections=_rejections(at, run_id),
        books=books,
        jobs=_jobs(outcomes),
        unmapped=[report.Unmapped(r.source, r.source_path, r.products) for r in unmapped.limit(LISTED).collect()],
        unmapped_total=unmapped.count(),
        duplicate_groups=groups,
        products=at.read("silver.products").count(),
        min_support=settings.metrics.min_support,
        notes=_notes(outcomes),
        decisions=_decisions(at),
        lines=_lines(at, model, run_id),
        many_looks=settings.gate.many_looks,
        shadow=next((o.notes.get("shadow") for o in outcomes if o.job == "predict"), None),
        links=[("data docs", "../docs/index.html")],
    )
    links = [
        ("run report", report.write(page, home / "reports" / f"{run_id}.html").as_uri()),
        ("data docs", data_docs(spark, lake, commit, settings, run_id).as_uri()),
        ("MLflow", _mlflow_line(settings)),
    ]
    return {
        "links": links,
        "report": page,
        "model": model,
        "truth": _against_truth(at, settings, model),
    }


def summary(
    console: Console,
    commit: str,
    run_id: str,
    outcomes: list[Outcome],
    written: Mapping[str, Any],
    settings: Settings,
) -> None:
    """Print the end of a pipeline: books, figures per region, seconds per job, where to look next."""
    page, model = written["report"], written["model"]
    books = {k: sum(getattr(b, k) for b in page.books) for k in ("read", "new", "changed", "unchanged")}
    rejected, superseded = (sum(getattr(b, k) for b in page.books) for k in ("rejected", "superseded"))
    console_summary.summary(
        console,
        console_summary.Summary(
            run_id=run_id,
            read=books["read"],
            accepted=books["new"] + books["changed"] + books["unchanged"],
            rejected=rejected,
            superseded=superseded,
            products=page.products,
            duplicate_groups=page.duplicate_groups,
            categories=model.categories if model else None,
            regions=page.regions,
            jobs=page.jobs,
            links=written["links"],
            commit=commit[:10],
            model_version=model.model_version if model else None,
            taxonomy_version=model.taxonomy_version if model else None,
            notes=page.notes,
        ),
    )
    if written["truth"]:
        _print_truth(console, written["truth"])
    console.print("\nnext:", highlight=False)
    where = "" if settings.home == ".shelfmark" else f" --home {settings.home}"
    where += " --set lake=lakefs" if settings.lake == "lakefs" else ""
    for command in (
        f'shelfmark sql{where} "select decision, count(*) n from gold.predictions group by 1"',
        f"shelfmark tables          shelfmark lake log{where}",
    ):
        console.print(f"  {command}", highlight=False, soft_wrap=True, markup=False)


def replayed(console: Console, came: Mapping[str, Any]) -> None:
    """Print what came of a replay; `came`: its note, see `ingest.replay.tell`."""
    parts = ", ".join(f"{came[name]:,} {name}" for name in ("new", "changed", "unchanged", "superseded") if came[name])
    console.print(
        f"  {came['read']:,} refused records read again: {came['passed']:,} pass{f' ({parts})' if parts else ''}, "
        f"{came['rejected']:,} stay refused",
        highlight=False,
        soft_wrap=True,
    )
    for source, rule, rows in came["still"]:
        console.print(f"  still refused: {source} {rule} {rows:,}", highlight=False, markup=False)
    cannot_replay(console, came["cannot"])


def cannot_replay(console: Console, cannot: Mapping[str, int]) -> None:
    """Print how many refused records cannot be read again, and why."""
    for why, rows in cannot.items():
        console.print(f"  {rows:,} {replay.CANNOT[why]}", highlight=False, markup=False, soft_wrap=True)


def reviewed(console: Console, came: Mapping[str, Any], commit: str) -> None:
    """Print what came of an import of reviews; `came`: its notes, see `labels.reviews.record`."""
    parts = [f"{came['recorded']:,} recorded"]
    parts += [f"{came[name]:,} {text}" for name, text in REVIEWED.items() if came[name]]
    console.print(f"{', '.join(parts)}; commit {commit[:10]}", highlight=False, soft_wrap=True)
    if came["recorded"]:
        console.print("the next pipeline learns from them and measures with the sample", highlight=False)


REVIEWED = {
    "drawn": "of the sample",
    "withdrawn": "withdrawn",
    "unchanged": "known before",
    "refused": "refused",
    "not_filled_in": "not filled in",
}


def refused_rows(console: Console, rejected: DataFrame, run_id: str) -> None:
    """Print the rows that a run refused by their line, the first `LISTED`; all of them are in silver.rejected."""
    mine = rejected.where((F.col("run_date") == run_date(run_id)) & (F.col("run_id") == run_id))
    rows = mine.orderBy("line", "record_number").limit(LISTED + 1).collect()
    for row in rows[:LISTED]:
        text = docs.shown(f"refused: line {row.line}, {row.key or 'no product'}: {row.reason}")
        console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)
    if rows[LISTED:]:
        console.print(f"the first {LISTED}; all of them: shelfmark rejected --run {run_id}", highlight=False)


def data_docs(spark: SparkSession, lake: Lake, commit: str, settings: Settings, run_id: str) -> Path:
    """Write the data docs page of a run, and again those of earlier runs whose refused rows it resolved; then the index.

    Only the partitions of these runs are read, and of many earlier runs the pages of the newest `REFRESHED` are written
    again: the index knows what was resolved of all of them. Returns the index.
    """
    at = At(spark, lake, commit)
    pages = _docs_records(at, settings, [run_id])
    notes = pages[0]["notes"]
    resolved = notes.get("resolved", {})
    again = sorted(set(resolved) - {run_id}, reverse=True)[:REFRESHED]
    if again:
        pages += [page for page in _docs_records(at, settings, again) if page["records"]]
    closed = {earlier: {run_id: rows} for earlier, rows in resolved.items() if earlier not in again}
    return docs.build(Path(settings.home).resolve() / "docs", pages, closed)


def _docs_records(at: At, settings: Settings, run_ids: list[str]) -> list[dict[str, Any]]:
    """What the data docs show of runs, as `docs.build` takes it; a handful of Spark jobs for all of them."""
    days = rejects.days_of(run_ids)
    mine = F.col("run_date").isin(days) & F.col("run_id").isin(run_ids)
    runs = [row.asDict() for row in at.read("gold.runs").where(mine).orderBy("started_at").collect()]
    everything = at.read("silver.rejected")
    refused = everything.where(mine)
    resolvers = refused.where("resolved_by IS NOT NULL").select("resolved_by").distinct().collect()
    later = rejects.days_of([row.resolved_by for row in resolvers])
    where = everything.where(F.col("run_date").isin(later)) if later else everything.limit(0)
    stated = rejects.with_state(refused, where, at.read("gold.runs").where(mine)).persist()
    by = ("run_id", "table", "source", "rule")
    again = F.count(F.when(F.col("state") == rejects.AGAIN, 1)).alias(rejects.AGAIN)
    counts = stated.groupBy(*by, "resolved_by").agg(F.count("*").alias("rows"), again).collect()
    # What is open is shown first.
    place = Window.partitionBy(*by).orderBy(F.col("resolved_by").isNotNull(), "file", "record_number")
    samples = stated.withColumn("place", F.row_number().over(place)).where(F.col("place") <= docs.SAMPLES)
    # A record can be as large as its vendor likes; what the page cuts off does not come to the driver.
    samples = samples.withColumn("length", F.length("payload"))
    samples = samples.withColumn("payload", F.substring("payload", 1, docs.PAYLOAD)).drop("place").collect()
    stated.unpersist()
    checks = at.read("silver.check_results").where(mine).collect()
    books = at.read("bronze.files").where(F.col("run_id").isin(run_ids))
    books = books.groupBy("run_id", "source").agg(F.sum("records_read").alias("records")).collect()

    def of(rows: list, run_id: str) -> list[dict[str, Any]]:
        return [row.asDict() for row in rows if row.run_id == run_id]

    pages = []
    for run_id in run_ids:
        records = [row for row in runs if row["run_id"] == run_id]
        # An attempt that failed and was made good by a later one of its job is history.
        bad = [r for r in records if not _made_good(records, r)]
        worst = next((r for s in ("failed", "refused") for r in bad if r["status"] == s), None)
        last = worst or (records[-1] if records else {})
        ingest = next((r for r in records if r["job"] == "ingest" and r["status"] == "done"), {})
        sources = sorted({row.source for row in counts if row.source and row.run_id == run_id})
        pages.append(
            {
                "run_id": run_id,
                "run_date": run_date(run_id).isoformat(),
                "status": last.get("status", "done") if worst else "done",
                "reason": last.get("reason"),
                "started_at": records[0]["started_at"] if records else None,
                "records": records,
                "notes": json.loads(ingest.get("notes") or "{}"),
                "checks": of(checks, run_id),
                "rejects": of(counts, run_id),
                "samples": of(samples, run_id),
                "sources": of(books, run_id),
                "mappings": {source: mapping.where(source, settings.source_dirs) for source in sources},
                "home": settings.home,
                "env": settings.env,
            }
        )
    return pages


def _made_good(records: list[dict[str, Any]], attempt: dict[str, Any]) -> bool:
    later = (r for r in records if r["job"] == attempt["job"] and r["attempt"] > attempt["attempt"])
    return any(record["status"] == "done" for record in later)


def _newest_metrics(at: At, model: Any, run_id: str) -> list:
    """Metrics of this run, else of the newest day, without those of single classes in single regions."""
    if model is None:
        return []
    mine = at.read("gold.metrics").where(
        (F.col("model") == model.model) & (F.col("model_version") == model.model_version)
    )
    newest = mine.agg(F.max(F.struct(F.col("run_id") == run_id, "run_date", "run_id"))).head()[0]
    if newest is None:
        return []
    shown = (F.col("region") == "*") | (F.col("category_id") == "*")
    return mine.where((F.col("run_id") == newest.run_id) & shown).collect()


def _same_run(at: At, name: str, metrics: list) -> list:
    """Rows of another table of figures that were measured with `metrics`; some thousands at the most."""
    if not metrics:
        return []
    one = metrics[0]
    mine = (F.col("run_date") == one.run_date) & (F.col("run_id") == one.run_id)
    return at.read(name).where(mine & (F.col("model") == one.model)).collect()


def _confusions(at: At, model: Any) -> list[report.Confusion]:
    if model is None:
        return []
    mine = _predictions(at, model)
    taxonomy = at.read("silver.taxonomy")
    words = persons.words(at.read("silver.reviews"), at.read("silver.duplicates"), taxonomy)
    labels = persons.first(at.read("silver.labels"), words)
    rows = classification.confusions(mine, labels, at.read("silver.splits"), taxonomy, top=LISTED).collect()
    titles = at.read("silver.products").where(F.col("product_id").isin([row.product_id for row in rows]))
    return report.confusion_rows(
        rows, {row.product_id: row.title for row in titles.select("product_id", "title").collect()}
    )


def _predictions(at: At, model: Any) -> DataFrame:
    """The champion's predictions of the newest day."""
    mine = at.read("gold.predictions").where(
        (F.col("model") == model.model) & (F.col("model_version") == model.model_version)
    )
    return mine.where(F.col("run_date") == mine.agg(F.max("run_date")).head()[0])


def _lines(at: At, published: Any, run_id: str) -> list[tuple[str, list[figures.RegionFigures]]]:
    """Each line's figures by region, the published line first."""
    if published is None:
        return []
    champions = at.read("gold.models").where("champion").orderBy("model").collect()
    if len(champions) < 2:
        return []
    champions.sort(key=lambda row: row.model != published.model)
    return [(row.model, figures.region_figures(_newest_metrics(at, row, run_id))) for row in champions]


def _decisions(at: At) -> list[dict[str, Any]]:
    """The newest decisions on models of all lines, the newest first."""
    decided = at.read("gold.model_decisions").orderBy(F.desc("decided_at"), F.desc("run_id"), "model")
    rows = decided.limit(DECIDED).collect()
    return [row.asDict(recursive=True) for row in rows]


def _rejections(at: At, run_id: str) -> list[report.Rejection]:
    mine = (F.col("run_date") == run_date(run_id)) & (F.col("run_id") == run_id)  # the day prunes partitions
    mine = at.read("silver.rejected").where(mine)
    counts = mine.groupBy("table", "source", "rule").agg(F.count("*").alias("rows"), F.min("reason").alias("reason"))
    return [report.Rejection(r.source, r.rule, r.rows, r.table, r.reason) for r in counts.collect()]


def _books(outcomes: list[Outcome]) -> list[report.Books]:
    sources = next((o.notes.get("sources", {}) for o in outcomes if o.job == "ingest"), {})
    return [report.Books(source, **books) for source, books in sorted(sources.items())]


def _jobs(outcomes: list[Outcome]) -> list[figures.JobFigures]:
    return [figures.JobFigures(o.job, o.seconds, o.status, _why(o)) for o in outcomes]


def _why(outcome: Outcome) -> str | None:
    return {"skipped": "its inputs did not change", "already": "this run id published it before"}.get(outcome.status)


def told(outcomes: list[Outcome]) -> list[str]:
    """What became of pictures and of a trained model, and how one in shadow agrees, where these jobs ran."""
    ran = {outcome.job: outcome.notes for outcome in outcomes if outcome.status in ("done", "already")}
    taken = ran.get("images", {}).get("pictures", {})
    lines = [links.said(taken)] if taken.get("references") else []
    for job in ("train_text", "train_multimodal", "train_ensemble"):
        decision, between = (ran.get(job, {}).get(name) for name in ("decision", "publishing"))
        lines += [challenger.said(decision)] if decision and decision["champion_before"] else []
        lines += [challenger.said(between)] if between else []
    shadowed = ran.get("predict", {}).get("shadow")
    return lines + ([shadow.said(shadowed)] if shadowed else [])


def _notes(outcomes: list[Outcome]) -> list[str]:
    notes = [f"source {source} stopped: {why}" for o in outcomes for source, why in o.stopped.items()]
    notes += [o.notes["mirror_failed"] for o in outcomes if "mirror_failed" in o.notes]
    ingest = next((o for o in outcomes if o.job == "ingest" and o.status == "done"), None)
    if ingest and not ingest.notes.get("read"):
        notes.append("nothing new: every file was taken in with this mapping before")
    return notes + told(outcomes)


def _mlflow_line(settings: Settings) -> str:
    uri = settings.mlflow_uri or mirror.default_uri(settings.home)
    return f"mlflow ui --backend-store-uri {mirror.redact(uri, uri)}"


def _against_truth(at: At, settings: Settings, model: Any) -> dict[str, Any] | None:
    """How the tables compare with truth/ of a generated demo catalogue; None where the data are not one."""
    folder = Path(settings.data) / "truth"
    if not os.path.exists(folder / "summary.json"):
        return None
    found = truth.check(
        at.spark, folder, *(at.read(name) for name in ("silver.products", "silver.rejected", "silver.duplicates"))
    )
    if model and settings.taxonomy != "derived":
        test = at.read("silver.splits").where("side = 'test'").select("product_id")
        tested = _predictions(at, model).join(test, "product_id")
        found["accuracy on the test side"] = truth.accuracy(at.spark, folder, at.read("silver.products"), tested)
    return found


def _print_truth(console: Console, found: Mapping[str, Any]) -> None:
    console.print("\n[bold]Against truth/ of the demo catalogue[/]")
    for name, value in found.items():
        if name in ("holds", "dirty_by_rule"):
            continue
        if isinstance(value, Mapping):
            shown = ", ".join(f"{k} {v:.3f}" for k, v in sorted(value.items()))
        else:
            shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        console.print(f"  {name.replace('_', ' '):<28} {shown}", highlight=False, markup=False)
    for promise, holds in found["holds"].items():
        console.print(f"  {'holds ' if holds else 'BROKEN'}  {promise}", highlight=False, markup=False)
