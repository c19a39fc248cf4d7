"""Predict the category of every golden record with the champion; beside it with those of other lines, and the one in shadow."""

from shelfmark.models import champion, lines, shadow
from shelfmark.run import Run


def main(run: Run) -> None:
    published, *others = champion.of_lines(run)
    for version in (published, *others):
        predicted = lines.predict(run, version, run.read("silver.catalogue"), run.settings.text.top_k)
        champion.keep(run, version, predicted, version is published)
    shadow.beside(run, published, others)
