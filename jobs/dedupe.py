"""Find records that are one product and make golden records of them; find all that would leak across a split."""

from shelfmark.dedup import candidates, decisions, golden, groups, lifecycle, scored, survivors
from shelfmark.run import Run


def main(run: Run) -> None:
    settings, mine = run.settings.dedupe, f"run_id = '{run.run_id}'"
    products, decided = run.read("silver.products"), decisions.held(run.read("silver.match_decisions"))
    said = decisions.constraints(decisions.known(decided))
    pairs = candidates.near_pairs(products, settings).cache()
    scores = scored.scored_pairs(products, settings)
    likely = scored.merging(scores)
    run.write(
        "silver.leak_groups",
        groups.leak_groups(products, scored.together(pairs, likely, decisions.edges(products, said))),
    )
    found = survivors.duplicates(products, pairs, settings, likely, said).cache()
    before, presence = run.read("silver.duplicates"), run.read("silver.presence")
    found, events = lifecycle.keep_ids(found, before, presence, run.run_id)
    run.write("silver.duplicate_events", run.stamped(events), replace=mine)
    run.write("silver.duplicates", found)
    duplicates = run.read("silver.duplicates")
    run.write("silver.catalogue", golden.catalogue(products, duplicates, settings.golden))
    if scores or run.has("silver.proposed_pairs"):
        run.write("silver.proposed_pairs", run.stamped(scored.proposed(scores, duplicates, decided)))
    largest = groups.group_sizes(run.read("silver.leak_groups")).head()
    run.note(
        duplicate_groups=duplicates.where("survivor AND group_size > 1").count(),
        largest_leak_group=largest.size if largest else 0,
        blocks_dropped=scored.dropped(scores),
    )
