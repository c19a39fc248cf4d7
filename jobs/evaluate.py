"""Measure the newest predictions against labels of the test side, by region, class, slice and confidence, and against people."""

from shelfmark.labels import persons, sample
from shelfmark.metrics import checked, evaluation
from shelfmark.run import Run
from shelfmark.text import champion

MODEL = "text"


def main(run: Run) -> None:
    predictions, reviews = champion.newest_predictions(run, MODEL), run.read("silver.reviews")
    taxonomy = run.read("silver.taxonomy")
    words = persons.words(reviews, run.read("silver.duplicates"), taxonomy)
    measured = evaluation.evaluate(
        predictions,
        persons.first(run.read("silver.labels"), words),
        run.read("silver.splits"),
        taxonomy,
        run.read("silver.catalogue"),
        run.settings.metrics,
    )
    by_people = checked.evaluate(predictions, words, sample.of(reviews), run.settings.metrics)
    measured["gold.metrics"] = measured["gold.metrics"].unionByName(by_people)
    for name, rows in measured.items():
        run.write(name, run.stamped(rows), replace=f"run_id = '{run.run_id}'")


def after(run: Run) -> None:
    champion.mirror_metrics(run, MODEL)
