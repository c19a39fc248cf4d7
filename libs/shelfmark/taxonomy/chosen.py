"""The taxonomy and the maps that the settings choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shelfmark.taxonomy import versions
from shelfmark.taxonomy.files import find_maps

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from shelfmark.config import Settings


def maps(settings: Settings, sources: list[str]) -> dict[str, str]:
    """source -> its map file: in the folder `taxonomy_maps` of the settings, else in conf/taxonomy."""
    return find_maps(sources, settings.taxonomy_maps)


def taxonomy(settings: Settings, products: DataFrame, maps: dict[str, str], labelling: list[str]) -> DataFrame:
    """silver.taxonomy rows: of the file the settings name, or derived from the paths of the sources in `labelling`."""
    if settings.taxonomy == "derived":
        return versions.derived(products, maps, labelling)
    return versions.from_file(products.sparkSession, settings.taxonomy)
