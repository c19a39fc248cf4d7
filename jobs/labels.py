"""Collect who says which category a product is in, and put every leak group on one side of the split."""

from shelfmark.labels import sources, splits, votes
from shelfmark.run import Run


def main(run: Run) -> None:
    products = run.read("silver.products")
    labelling = sources.of(products, run.settings).labelling
    category_map, taxonomy = run.read("silver.category_map"), run.read("silver.taxonomy")
    before = run.read("silver.labels") if run.has("silver.labels") else None
    said = votes.votes(products, category_map, taxonomy, labelling, before, run.run_id, run.started)
    run.write("silver.labels", said, replace="origin = 'source'")
    before = run.read("silver.splits") if run.has("silver.splits") else None
    sides = splits.assign(
        run.read("silver.leak_groups"), run.read("silver.labels"), before, run.settings.splits, run.run_id
    )
    run.write("silver.splits", sides)
