"""Measure the newest predictions against the labels of the test side: by region and class, by slice, by confidence."""

from shelfmark.metrics import evaluation
from shelfmark.run import Run
from shelfmark.text import champion

MODEL = "text"


def main(run: Run) -> None:
    measured = evaluation.evaluate(
        champion.newest_predictions(run, MODEL),
        run.read("silver.labels"),
        run.read("silver.splits"),
        run.read("silver.taxonomy"),
        run.read("silver.catalogue"),
        run.settings.metrics,
    )
    for name, rows in measured.items():
        run.write(name, run.stamped(rows), replace=f"run_id = '{run.run_id}'")


def after(run: Run) -> None:
    champion.mirror_metrics(run, MODEL)
