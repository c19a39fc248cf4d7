"""Taxonomy versions and what the category paths of the sources mean in them.

A taxonomy comes from a file, or is derived from the sources themselves: one root per source, until a map joins sources
under common categories. Both are versions named by their content, so the same categories are the same version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from shelfmark.errors import DataRefused
from shelfmark.tables import table
from shelfmark.taxonomy import files
from shelfmark.taxonomy.files import SEPARATOR, MapLine

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from shelfmark.config import Settings


def of(
    settings: Settings, products: DataFrame, maps: Mapping[str, str] | None, label_sources: Iterable[str] | None
) -> DataFrame:
    """silver.taxonomy rows of the taxonomy that `settings.taxonomy` names: `derived` from `products`, or a file."""
    if settings.taxonomy == "derived":
        return derived(products, maps, label_sources)
    return from_file(products.sparkSession, settings.taxonomy)


def map_files(sources: Iterable[str], settings: Settings) -> dict[str, str]:
    """source -> its map file, for the sources that have one in `settings.taxonomy_maps`, else in conf/taxonomy."""
    return files.find_maps(sources, settings.taxonomy_maps)


def from_file(spark: SparkSession, path: str) -> DataFrame:
    """silver.taxonomy rows of a taxonomy file; formats and errors as in `files.read_taxonomy`."""
    taxonomy = files.read_taxonomy(path)
    rows = [
        (taxonomy.version, c.category_id, c.path, c.name, c.parent_id, c.depth, list(c.names))
        for c in taxonomy.categories
    ]
    return spark.createDataFrame(rows, table("silver.taxonomy").ddl)


def derived(
    products: DataFrame, maps: Mapping[str, str] | None = None, label_sources: Iterable[str] | None = None
) -> DataFrame:
    """silver.taxonomy rows made of the sources' own category paths.

    products: `source`, `category_paths`. maps: source -> path of its map file; a mapped path becomes the category the
    map names, below a root of its own and not below the source. label_sources: only these sources make categories;
    None: all do.

    The root of a source is its name (depth 1); the id is sha256(source, NUL, path) cut to 32 hex characters; the
    version is `derived-` and a hash of the sorted paths. The result is persisted: it is small, and read again and again.
    Raises `DataRefused` where no product has a category, `UsageError` for a map that cannot be used.
    """
    spark = products.sparkSession
    lines = _lines(maps)
    files.check_targets(lines)
    targets = spark.createDataFrame(sorted({(x.category_path,) for x in lines if x.category_path}), "path string")
    own = (
        source_paths(products, label_sources)
        .join(F.broadcast(_map_frame(spark, lines)), ["source", "source_path"], "left_anti")
        .select(F.concat_ws(SEPARATOR, "source", "source_path").alias("path"))
    )
    parts = F.split("path", SEPARATOR)
    above = F.transform(
        F.sequence(F.lit(1), F.size("parts")), lambda depth: F.concat_ws(SEPARATOR, F.slice("parts", F.lit(1), depth))
    )
    nodes = own.union(targets).select(parts.alias("parts")).select(F.explode(above).alias("path")).distinct().persist()
    digest = F.sha2(F.concat_ws("\n", F.sort_array(F.collect_list("path"))), 256)
    whole = nodes.agg(F.count("*").alias("categories"), digest.alias("digest")).first()
    if not whole["categories"]:
        raise DataRefused(
            "taxonomy: no product of a source with labels has a category, so none can be derived; "
            "name a taxonomy file, or take in a source with categories"
        )
    parent = F.when(F.size(parts) > 1, F.concat_ws(SEPARATOR, F.slice(parts, F.lit(1), F.size(parts) - 1)))
    return nodes.select(
        F.lit(f"derived-{whole['digest'][:12]}").alias("taxonomy_version"),
        _node_id(F.col("path")).alias("category_id"),
        "path",
        F.element_at(parts, -1).alias("name"),
        F.when(parent.isNotNull(), _node_id(parent)).alias("parent_id"),
        F.size(parts).alias("depth"),
        F.array().cast("array<struct<locale:string,name:string>>").alias("names"),
    )


def version(taxonomy: DataFrame) -> str:
    """The one version of `taxonomy`; `DataRefused` where it is empty, `ValueError` where it holds several."""
    found = [row[0] for row in taxonomy.select("taxonomy_version").distinct().limit(2).collect()]
    if not found:
        raise DataRefused("the taxonomy has no categories; run the taxonomy job on a catalogue with categories")
    if len(found) > 1:
        raise ValueError(f"one taxonomy version is needed, but there are several: {', '.join(sorted(found))}, ...")
    return found[0]


def source_paths(products: DataFrame, label_sources: Iterable[str] | None = None) -> DataFrame:
    """`source`, `source_path`, `products`: each distinct category path of a source and how many products carry it.

    Persisted, for it is small and made of all products: the next call with the same products finds it.
    """
    if label_sources is not None:
        products = products.where(F.col("source").isin(list(label_sources)))
    return (
        products.select("source", F.explode("category_paths").alias("source_path"))
        .groupBy("source", "source_path")
        .agg(F.count("*").alias("products"))
        .persist()
    )


def category_map(
    products: DataFrame,
    taxonomy: DataFrame,
    maps: Mapping[str, str] | None = None,
    label_sources: Iterable[str] | None = None,
) -> DataFrame:
    """silver.category_map rows: what each category path of each source means in `taxonomy` (one version).

    A path is looked up in the map file of its source (origin `file`), else it means itself (`derived`): its own node of
    a derived taxonomy, or the category of a taxonomy file with the same path, upper and lower case alike. Else it is
    `unmapped`, as is one that its map names without a category. label_sources: only these sources; None: all.

    Raises `UsageError` with file and line for a map that names a category the taxonomy does not have.
    """
    spark = products.sparkSession
    lines = _lines(maps)
    named = version(taxonomy)
    ids = taxonomy.select(F.col("category_id").alias("id"), F.lower("path").alias("lower_path"))
    # Two derived nodes may differ in case only; they are found by id, so any fixed choice between them serves here.
    by_path = ids.groupBy("lower_path").agg(F.min("id").alias("id_by_path"))
    if lines:
        _check_known(_map_frame(spark, lines), ids, by_path)
    mapped = _map_frame(spark, lines).withColumn("in_map", F.lit(True))
    own_path = F.concat_ws(SEPARATOR, "source", "source_path")
    meant = F.coalesce("category_path", F.when(F.col("in_map").isNull(), F.col("source_path")))
    wanted = F.coalesce(
        "map_id", _node_id(F.col("category_path")), F.when(F.col("in_map").isNull(), _node_id(own_path))
    )
    found = F.coalesce("id", "id_by_path")
    return (
        source_paths(products, label_sources)
        .join(F.broadcast(mapped), ["source", "source_path"], "left")
        .withColumns({"wanted": wanted, "lower_path": F.lower(meant)})
        .join(F.broadcast(ids.select("id")), F.col("wanted") == F.col("id"), "left")
        .join(F.broadcast(by_path), "lower_path", "left")
        .select(
            "source",
            "source_path",
            F.lit(named).alias("taxonomy_version"),
            found.alias("category_id"),
            F.when(found.isNull(), "unmapped").when(F.col("in_map"), "file").otherwise("derived").alias("origin"),
            "products",
        )
    )


def unmapped(category_map: DataFrame) -> DataFrame:
    """Rows of `category_map` without a category, those of most products first."""
    return category_map.where(F.col("category_id").isNull()).orderBy(F.desc("products"), "source", "source_path")


def paths(taxonomy: DataFrame) -> DataFrame:
    """`category_id`, `path`, `parent_id` of a taxonomy version."""
    return taxonomy.select("category_id", "path", "parent_id")


def parents(taxonomy: DataFrame) -> dict[str, str | None]:
    """category_id -> parent_id of a taxonomy version, for `files.ancestors`; a taxonomy fits the driver's memory."""
    return {row[0]: row[1] for row in taxonomy.select("category_id", "parent_id").collect()}


# -- maps ---------------------------------------------------------------------------------------------------------


def _lines(maps: Mapping[str, str] | None) -> list[MapLine]:
    return [line for source, file in sorted((maps or {}).items()) for line in files.read_map(source, file)]


def _map_frame(spark: SparkSession, lines: list[MapLine]) -> DataFrame:
    rows = [(x.source, x.source_path, x.category_id, x.category_path, x.where) for x in lines]
    ddl = "source string, source_path string, map_id string, category_path string, place string"
    return spark.createDataFrame(rows, ddl)


def _check_known(mapped: DataFrame, ids: DataFrame, by_path: DataFrame) -> None:
    unknown = (
        mapped.where("map_id IS NOT NULL OR category_path IS NOT NULL")
        .withColumn("lower_path", F.lower("category_path"))
        .join(F.broadcast(ids.select("id")), F.col("map_id") == F.col("id"), "left")
        .join(F.broadcast(by_path), "lower_path", "left")
        .where("id IS NULL AND id_by_path IS NULL")
        .select("place", F.coalesce("map_id", "category_path").alias("category"))
        .limit(1)
        .collect()
    )
    if unknown:
        files.unknown_category(*unknown[0])


def _node_id(path: Column) -> Column:
    """`files.node_id` as a column; null for null."""
    root = F.substring_index(path, SEPARATOR, 1)
    below = F.when(F.instr(path, SEPARATOR) > 0, path.substr(F.length(root) + len(SEPARATOR) + 1, F.length(path)))
    return F.substring(F.sha2(F.concat(root, F.lit("\0"), F.coalesce(below, F.lit(""))), 256), 1, 32)
