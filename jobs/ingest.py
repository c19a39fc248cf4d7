"""Take vendor feeds in: every record as read in bronze, one clean product per key in silver, books that balance."""

from shelfmark.ingest import intake
from shelfmark.run import Run

ALWAYS = True  # its inputs are files outside the lake: whether they are new is for the recipe to say


def main(run: Run) -> None:
    feeds = intake.feeds(run)
    if not feeds:
        return run.note(read=0, new=0, changed=0, unchanged=0, rejected=0, superseded=0)
    intake.to_bronze(run, feeds)
    records = intake.normalised(run, feeds)
    feeds, read = intake.refuse(run, feeds, records)
    changes = intake.changes(run, feeds, records)
    intake.to_silver(run, feeds, changes)
    intake.balance(run, feeds, read, changes)
