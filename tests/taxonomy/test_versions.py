"""Taxonomy versions on Spark: derived ones, files, and what the sources' paths mean in them."""

import csv
import re
from collections import Counter

import pytest

from shelfmark.errors import DataRefused, UsageError
from shelfmark.tables import table
from shelfmark.taxonomy import files, versions

PRODUCTS = "product_id string, source string, category_paths array<string>"


def products(spark, rows):
    return spark.createDataFrame([(f"{i:032x}", source, paths) for i, (source, paths) in enumerate(rows)], PRODUCTS)


def meanings(category_map):
    return {
        (row.source, row.source_path): (row.category_id, row.origin, row.products) for row in category_map.collect()
    }


@pytest.fixture(scope="module")
def shops(spark):
    rows = [
        ("east", ["Home > Pots"]),
        ("east", ["Home > Pots", "Sale"]),
        ("west", ["Kitchen > Cookware > Pots & Pans"]),
        ("west", ["home > POTS"]),
        ("west", None),
        ("quiet", ["Anything"]),
    ]
    return products(spark, rows).cache()


def test_a_derived_taxonomy_has_a_root_per_source_and_every_level_between(spark, shops):
    taxonomy = versions.derived(shops, label_sources=["east", "west"])
    assert taxonomy.columns == table("silver.taxonomy").columns
    rows = {row.path: row for row in taxonomy.collect()}
    assert set(rows) == {
        "east",
        "east > Home",
        "east > Home > Pots",
        "east > Sale",
        "west",
        "west > Kitchen",
        "west > Kitchen > Cookware",
        "west > Kitchen > Cookware > Pots & Pans",
        "west > home",
        "west > home > POTS",
    }
    for path, row in rows.items():
        above, separator, name = path.rpartition(" > ")
        assert row.category_id == files.node_id(path)
        assert row.parent_id == (files.node_id(above) if separator else None)
        assert (row.name, row.depth, row.names) == (name, path.count(" > ") + 1, [])
    assert versions.parents(taxonomy) == {row.category_id: row.parent_id for row in rows.values()}
    assert {tuple(row) for row in versions.paths(taxonomy).collect()} == {
        (row.category_id, row.path, row.parent_id) for row in rows.values()
    }


def test_a_derived_version_names_its_paths_not_the_products(spark, shops):
    first = versions.version(versions.derived(shops))
    assert re.fullmatch(r"derived-[0-9a-f]{12}", first)
    again = shops.union(shops).repartition(7)
    assert versions.version(versions.derived(again)) == first
    assert versions.version(versions.derived(shops.union(products(spark, [("east", ["New"])])))) != first


def test_without_a_map_every_path_means_itself(shops):
    found = meanings(versions.category_map(shops, versions.derived(shops)))
    assert found == {
        (source, path): (files.node_id(f"{source} > {path}"), "derived", count)
        for source, path, count in [
            ("east", "Home > Pots", 2),
            ("east", "Sale", 1),
            ("west", "Kitchen > Cookware > Pots & Pans", 1),
            ("west", "home > POTS", 1),
            ("quiet", "Anything", 1),
        ]
    }


def test_maps_join_sources_under_common_categories(shops, tmp_path):
    east, west = tmp_path / "east.csv", tmp_path / "west.csv"
    east.write_text("source_path,category_path\nHome > Pots,Cooking > Pots\nSale,\n")
    west.write_text(
        "source_path,category_path\nKitchen > Cookware > Pots & Pans,Cooking > Pots\nNot seen yet,Cooking\n"
    )
    maps, labelled = files.find_maps(["east", "west"], tmp_path), ["east", "west"]
    taxonomy = versions.derived(shops, maps, labelled)
    assert {row.path for row in taxonomy.collect()} == {
        "Cooking",
        "Cooking > Pots",
        "west",
        "west > home",
        "west > home > POTS",
    }
    pots = files.node_id("Cooking > Pots")
    category_map = versions.category_map(shops, taxonomy, maps, labelled)
    assert category_map.columns == table("silver.category_map").columns
    assert meanings(category_map) == {
        ("east", "Home > Pots"): (pots, "file", 2),
        ("east", "Sale"): (None, "unmapped", 1),
        ("west", "Kitchen > Cookware > Pots & Pans"): (pots, "file", 1),
        ("west", "home > POTS"): (files.node_id("west > home > POTS"), "derived", 1),
    }


def test_a_taxonomy_file_is_met_by_map_or_by_equal_path(spark, shops, tmp_path):
    (tmp_path / "t.csv").write_text("category_id,path,name_de\n1,Home > Pots,Töpfe\n2,Offers,\n")
    (tmp_path / "east.csv").write_text("source_path,category_id\nSale,2\n")
    taxonomy = versions.from_file(spark, str(tmp_path / "t.csv"))
    rows = {row.path: row for row in taxonomy.collect()}
    assert rows["Home > Pots"].names == [("de", "Töpfe")]
    assert rows["Home > Pots"].parent_id == rows["Home"].category_id == files.node_id("Home")
    category_map = versions.category_map(shops, taxonomy, {"east": tmp_path / "east.csv"})
    assert meanings(category_map) == {
        ("east", "Home > Pots"): ("1", "derived", 2),
        ("east", "Sale"): ("2", "file", 1),
        ("west", "home > POTS"): ("1", "derived", 1),
        ("west", "Kitchen > Cookware > Pots & Pans"): (None, "unmapped", 1),
        ("quiet", "Anything"): (None, "unmapped", 1),
    }
    more = category_map.union(versions.category_map(products(spark, [("big", ["X"])] * 9), taxonomy))
    assert [(row.source, row.products) for row in versions.unmapped(more).collect()] == [
        ("big", 9),
        ("quiet", 1),
        ("west", 1),
    ]


def test_maps_that_name_no_category_are_refused_with_file_and_line(spark, shops, tmp_path):
    (tmp_path / "t.csv").write_text("category_id,path\n1,Home\n")
    taxonomy = versions.from_file(spark, str(tmp_path / "t.csv"))
    path = tmp_path / "east.csv"
    for header, good, bad in (("category_id", "1", "77"), ("category_path", "home", "Home > Beds")):
        path.write_text(f"source_path,{header}\nSale,{good}\nHome > Pots,{bad}\n")
        with pytest.raises(UsageError, match=re.escape(f"{path}, line 3: the taxonomy has no category '{bad}'")):
            versions.category_map(shops, taxonomy, {"east": path})
    path.write_text("source_path,category_id\nSale,7\n")
    with pytest.raises(UsageError, match="line 2: category_id '7', but a derived taxonomy"):
        versions.derived(shops, {"east": path})
    path.write_text("source_path,category_path\nSale,Offers\nHome > Pots,offers\n")
    with pytest.raises(UsageError, match=r"line 3: 'offers' is spelled 'Offers' in .*line 2"):
        versions.derived(shops, {"east": path})


def test_no_categories_at_all_is_refused(spark, shops):
    with pytest.raises(DataRefused, match="no product of a source with labels has a category"):
        versions.derived(shops, label_sources=[])
    with pytest.raises(DataRefused, match="no categories"):
        versions.version(spark.createDataFrame([], table("silver.taxonomy").ddl))


@pytest.mark.real
def test_derived_taxonomies_of_real_feeds(spark, real_data):
    asins = {}
    with open(real_data / "catalogues" / "amazon_in.csv", newline="") as file:
        for row in csv.DictReader(file):
            if found := re.search(r"/dp/([A-Z0-9]{10})", row["link"]):
                asins.setdefault(found[1], set()).add(f"{row['main_category']} > {row['sub_category']}")
    assert sum(len(paths) > 1 for paths in asins.values()) == 806
    rows = [("amazon_in", sorted(paths)) for paths in asins.values()]
    with open(real_data / "catalogues" / "openfoodfacts.tsv", newline="") as file:
        # Of so many rows the distinct paths will do, one product each.
        food = {
            " > ".join(level for level in (row["level_1"], row["level_2"], row["level_3"]) if level)
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        }
    rows += [("openfoodfacts", [path]) for path in food]
    feeds = products(spark, rows)
    taxonomy = versions.derived(feeds)
    nodes = Counter((row.path.split(" > ")[0], row.depth) for row in taxonomy.collect())
    assert [nodes["amazon_in", depth] for depth in (1, 2, 3)] == [1, 20, 112]
    assert [nodes["openfoodfacts", depth] for depth in (1, 2, 3, 4)][:2] == [1, 27]
    found = versions.category_map(feeds, taxonomy).groupBy("source", "origin").count().collect()
    assert {tuple(row) for row in found} == {("amazon_in", "derived", 112), ("openfoodfacts", "derived", 294)}
