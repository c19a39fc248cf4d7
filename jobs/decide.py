"""Record what a steward said of pairs of products; the next dedupe keeps to it."""

from shelfmark.dedup import decisions
from shelfmark.run import Run


def main(run: Run, made: list[decisions.Decision]) -> None:
    decisions.record(run, made)
