"""Read refused records again from bronze by today's mapping and rules: what passes becomes products, books restated."""

from shelfmark.ingest import replay
from shelfmark.quality.rejects import Which
from shelfmark.run import Run

JOB = "ingest"  # it writes the tables of that job, so it runs under its name


def main(run: Run, which: Which, plan: replay.Plan) -> None:
    rows = replay.refused(run, which, list(plan.sources))
    feeds = replay.feeds(run, list(plan.sources))
    records = replay.judged(run, feeds, rows)
    changes = replay.changes(run, feeds, records)
    replay.to_silver(run, changes)
    replay.to_rejected(run, rows, records)
    replay.balance(run, records, changes)
    replay.tell(run, which, plan, records, changes)


def preview(run: Run, which: Which, plan: replay.Plan) -> None:
    """What would come of it: nothing is written."""
    feeds = replay.feeds(run, list(plan.sources))
    records = replay.judged(run, feeds, replay.refused(run, which, list(plan.sources)))
    replay.tell(run, which, plan, records, replay.changes(run, feeds, records))
