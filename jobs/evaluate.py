"""Measure the newest predictions against the labels of the test side, and against what people said of a random sample."""

from shelfmark.labels import persons, sample
from shelfmark.metrics import checked, classification
from shelfmark.run import Run
from shelfmark.text import champion

MODEL = "text"


def main(run: Run) -> None:
    predictions, reviews = champion.newest_predictions(run, MODEL), run.read("silver.reviews")
    taxonomy = run.read("silver.taxonomy")
    words = persons.words(reviews, run.read("silver.duplicates"), taxonomy)
    metrics = classification.evaluate(
        predictions,
        persons.first(run.read("silver.labels"), words),
        run.read("silver.splits"),
        taxonomy,
        run.settings.metrics,
    )
    by_people = checked.evaluate(predictions, words, sample.of(reviews), run.settings.metrics)
    run.write("gold.metrics", run.stamped(metrics.unionByName(by_people)), replace=f"run_id = '{run.run_id}'")


def after(run: Run) -> None:
    champion.mirror_metrics(run, MODEL)
