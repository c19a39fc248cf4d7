"""Find records that are one product and make golden records of them; find all that would leak across a split."""

from shelfmark.dedup import candidates, decisions, golden, groups, incremental, lifecycle, scored, survivors
from shelfmark.run import Run


def main(run: Run) -> None:
    settings, mine = run.settings.dedupe, f"run_id = '{run.run_id}'"
    decided = decisions.held(run.read("silver.match_decisions"))
    said = decisions.constraints(decisions.known(decided))
    with incremental.part_of(run) as part:
        products, around = part.products, part.around
        pairs = candidates.near_pairs(products, settings, around).cache()
        scores = scored.scored_pairs(products, settings)
        likely = scored.merging(scores)
        together = scored.together(pairs, likely, decisions.edges(products, said))
        part.write("silver.leak_groups", groups.leak_groups(products, together, around))
        found = survivors.duplicates(products, pairs, settings, likely, said, around).cache()
        found, events = lifecycle.keep_ids(found, part.before, part.presence, run.run_id, part.names)
        part.write("silver.duplicates", found)
        part.write("silver.catalogue", golden.catalogue(products, part.grouped(found), settings.golden))
        run.write("silver.duplicate_events", run.stamped(events), replace=mine)
        part.remember()
    duplicates = run.read("silver.duplicates")
    if scores or run.has("silver.proposed_pairs"):
        run.write("silver.proposed_pairs", run.stamped(scored.proposed(scores, duplicates, decided)))
    run.note(
        duplicate_groups=duplicates.where("survivor AND group_size > 1").count(),
        largest_leak_group=part.largest_group(),
        blocks_dropped=scored.dropped(scores),
    )
