"""Measure the newest predictions against the labels of the test side: per region and class, per region, overall."""

from shelfmark.metrics import classification
from shelfmark.run import Run
from shelfmark.text import champion

MODEL = "text"


def main(run: Run) -> None:
    metrics = classification.evaluate(
        champion.newest_predictions(run, MODEL),
        run.read("silver.labels"),
        run.read("silver.splits"),
        run.read("silver.taxonomy"),
        run.settings.metrics,
    )
    run.write("gold.metrics", run.stamped(metrics), replace=f"run_id = '{run.run_id}'")


def after(run: Run) -> None:
    champion.mirror_metrics(run, MODEL)
