"""Measure the newest predictions against labels of the test side, by region, class, slice and confidence, and against people."""

from functools import partial

from shelfmark.labels import persons, sample
from shelfmark.metrics import checked, evaluation
from shelfmark.models import champion
from shelfmark.run import Run


def main(run: Run) -> None:
    reviews, taxonomy, settings = run.read("silver.reviews"), run.read("silver.taxonomy"), run.settings.metrics
    words = persons.words(reviews, run.read("silver.duplicates"), taxonomy)
    measure = partial(
        evaluation.evaluate,
        labels=persons.first(run.read("silver.labels"), words),
        splits=run.read("silver.splits"),
        taxonomy=taxonomy,
        catalogue=run.read("silver.catalogue"),
        settings=settings,
    )
    lines = [champion.newest_predictions(run, version.model) for version in champion.of_lines(run)]
    measured = evaluation.together([measure(predictions) for predictions in lines])
    for predictions in lines:
        by_people = checked.evaluate(predictions, words, sample.of(reviews), settings)
        measured["gold.metrics"] = measured["gold.metrics"].unionByName(by_people)
    for name, rows in measured.items():
        run.write(name, run.stamped(rows), replace=f"run_id = '{run.run_id}'")


def after(run: Run) -> None:
    champion.mirror_metrics(run)
