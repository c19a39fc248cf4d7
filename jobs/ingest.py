"""Take vendor feeds in: every record as read in bronze, one clean product per key in silver, books that balance."""

from shelfmark.ingest import intake, suppressed
from shelfmark.run import Run

ALWAYS = True  # its inputs are files outside the lake: whether they are new is for the recipe to say


def main(run: Run) -> None:
    feeds = intake.feeds(run)
    if not feeds:
        return intake.nothing_new(run)
    intake.to_bronze(run, feeds)
    records = intake.normalised(run, feeds)
    feeds, read = intake.refuse(run, feeds, records)
    if not feeds:
        return intake.nothing_new(run)
    changes = intake.changes(run, feeds, records)
    intake.to_silver(run, feeds, read, changes)
    suppressed.empty(run, records)
    intake.balance(run, feeds, read, changes)
