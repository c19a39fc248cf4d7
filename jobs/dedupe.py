"""Find records that are one product and make golden records of them; find all that would leak across a split."""

from shelfmark.dedup import candidates, golden, groups, scored, survivors
from shelfmark.run import Run


def main(run: Run) -> None:
    products = run.read("silver.products")
    pairs = candidates.near_pairs(products, run.settings.dedupe).cache()
    found = scored.scored_pairs(products, run.settings.dedupe)
    likely = scored.merging(found)
    run.write("silver.leak_groups", groups.leak_groups(products, scored.together(pairs, likely)))
    run.write("silver.duplicates", survivors.duplicates(products, pairs, run.settings.dedupe, likely))
    duplicates = run.read("silver.duplicates")
    run.write("silver.catalogue", golden.catalogue(products, duplicates))
    largest = groups.group_sizes(run.read("silver.leak_groups")).head()
    run.note(
        duplicate_groups=duplicates.where("survivor AND group_size > 1").count(),
        largest_leak_group=largest.size if largest else 0,
        blocks_dropped=scored.dropped(found),
    )
