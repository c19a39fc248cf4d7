"""Record what people said of the categories of products; the next training learns from it."""

from shelfmark.labels import reviews
from shelfmark.run import Run


def main(run: Run, given: reviews.File) -> None:
    reviews.record(run, given)
