"""Remove given products, or all of a source, from every table; then from history, if asked."""

from shelfmark import erasure
from shelfmark.run import Run


def main(run: Run, request: erasure.Request) -> None:
    ids = erasure.targets(run, request)
    groups = erasure.touched_groups(run, ids)
    rows = erasure.apply(run, list(erasure.steps(run, request, ids)))
    mended = erasure.mend(run, groups) if rows else 0
    erasure.clear(run, request)
    erasure.record(run, request, ids, rows)
    run.note(products_regrouped=mended)


def history(run: Run, request: erasure.Request) -> None:
    erasure.forget(run, request)
