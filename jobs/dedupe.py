"""Find records that are one product and make golden records of them; find all that would leak across a split."""

from shelfmark.dedup import candidates, decisions, golden, groups, lifecycle, scored, survivors
from shelfmark.run import Run


def main(run: Run) -> None:
    products = run.read("silver.products")
    pairs = candidates.near_pairs(products, run.settings.dedupe).cache()
    scores = scored.scored_pairs(products, run.settings.dedupe)
    likely = scored.merging(scores)
    said = decisions.constraints(decisions.known(run.read("silver.match_decisions")))
    together = scored.together(pairs, likely, decisions.edges(products, said))
    run.write("silver.leak_groups", groups.leak_groups(products, together))
    found = survivors.duplicates(products, pairs, run.settings.dedupe, likely, said).cache()
    before, presence = run.read("silver.duplicates"), run.read("silver.presence")
    found, events = lifecycle.keep_ids(found, before, presence, run.run_id)
    run.write("silver.duplicate_events", run.stamped(events), replace=f"run_id = '{run.run_id}'")
    run.write("silver.duplicates", found)
    duplicates = run.read("silver.duplicates")
    run.write("silver.catalogue", golden.catalogue(products, duplicates, run.settings.dedupe.golden))
    largest = groups.group_sizes(run.read("silver.leak_groups")).head()
    run.note(
        duplicate_groups=duplicates.where("survivor AND group_size > 1").count(),
        largest_leak_group=largest.size if largest else 0,
        blocks_dropped=scored.dropped(scores),
    )
