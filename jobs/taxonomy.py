"""Say which categories there are, and which of them each source's own category paths mean."""

from shelfmark.labels import sources
from shelfmark.run import Run
from shelfmark.taxonomy import versions


def main(run: Run) -> None:
    products = run.read("silver.products")
    known = sources.of(products, run.settings)
    maps = versions.map_files(known.names, run.settings)
    taxonomy = versions.of(run.settings, products, maps, known.labelling)
    run.write("silver.taxonomy", taxonomy)
    run.write("silver.category_map", versions.category_map(products, taxonomy, maps, known.labelling))
    run.note(unmapped_paths=versions.unmapped(run.read("silver.category_map")).count())
