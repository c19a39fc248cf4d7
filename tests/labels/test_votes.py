"""Labels of the sources: all categories kept, one to train on, unchanged rows untouched."""

import csv
import re
from collections import Counter
from datetime import datetime

import pytest

from shelfmark.labels import votes
from shelfmark.tables import table
from shelfmark.taxonomy.files import node_id

PRODUCTS = "product_id string, source string, category_paths array<string>"
FIRST, SECOND = datetime(2026, 1, 1), datetime(2026, 1, 2)


def say(spark, rows, label_sources=("shop",), previous=None, run_id="r1", now=FIRST, maps=None):
    """Rows of votes by (product, category). `maps`: (source, path) -> category path; other paths mean themselves."""
    paths = Counter((source, path) for _, source, listed in rows for path in listed or ())
    meant = {key: (maps or {}).get(key, " > ".join(key)) for key in paths}
    version = f"v{len(meant)}"
    taxonomy = [
        (version, node_id(path), path, "", None, path.count(" > ") + 1, []) for path in set(meant.values()) - {None}
    ]
    category_map = [(*key, version, meant[key] and node_id(meant[key]), "", count) for key, count in paths.items()]
    before = previous and spark.createDataFrame([tuple(r) for r in previous.values()], table("silver.labels").ddl)
    labels = votes.votes(
        spark.createDataFrame(rows, PRODUCTS),
        spark.createDataFrame(category_map, table("silver.category_map").ddl),
        spark.createDataFrame(taxonomy, table("silver.taxonomy").ddl),
        list(label_sources),
        before,
        run_id,
        now,
    )
    assert labels.columns == table("silver.labels").columns
    found = labels.collect()
    assert len(found) == len({(row.product_id, row.category_id) for row in found})
    return {(row.product_id, row.category_id): row for row in found}


def primaries(rows):
    found = {}
    for (product, category), row in rows.items():
        if row.primary:
            assert product not in found
            found[product] = category
    return found


CATALOGUE = [
    ("p1", "shop", ["A > B"]),
    ("p2", "shop", ["A > B", "A > B > C"]),  # the deeper one
    ("p3", "shop", ["A > B", "A > D"]),  # equally deep: the rarer one
    ("p4", "shop", ["A > E", "A > F"]),  # equally deep and rare: the smaller id
    ("p5", "other", ["A > B"]),  # its categories are not labels
    ("p6", "shop", None),
    ("p7", "shop", []),
]
B, C, D, E, F = (node_id(f"shop > A > {x}") for x in ("B", "B > C", "D", "E", "F"))


def test_every_category_is_kept_and_one_is_primary(spark):
    rows = say(spark, CATALOGUE)
    assert set(rows) == {("p1", B), ("p2", B), ("p2", C), ("p3", B), ("p3", D), ("p4", E), ("p4", F)}
    assert primaries(rows) == {"p1": B, "p2": C, "p3": D, "p4": min(E, F)}
    row = rows["p1", B]
    assert (row.origin, row.who, row.weight, row.inclusion_probability) == ("source", "shop", 1.0, 1.0)
    assert (row.run_id, row.labelled_at) == ("r1", FIRST)
    turned = say(spark, [(p, s, paths and paths[::-1]) for p, s, paths in reversed(CATALOGUE)])
    assert turned == rows


def test_a_second_run_leaves_what_did_not_change(spark):
    """p1 moves, p3 loses its primary, p8 is new (so the derived taxonomy is a new version); the rest stays."""
    first = say(spark, CATALOGUE)
    assert say(spark, CATALOGUE, previous=first, run_id="r2", now=SECOND) == first
    changed = [("p1", "shop", ["A > D"]), ("p3", "shop", ["A > B"]), ("p8", "shop", ["G"])]
    rows = {row[0]: row for row in CATALOGUE} | {row[0]: row for row in changed}
    second = say(spark, list(rows.values()), previous=first, run_id="r2", now=SECOND)
    new = {("p1", D), ("p8", node_id("shop > G"))}
    assert set(second) == set(first) - {("p1", B), ("p3", D)} | new
    assert {key for key, row in second.items() if (row.run_id, row.labelled_at) == ("r2", SECOND)} == new
    assert {row.run_id for key, row in second.items() if key not in new} == {"r1"}
    assert primaries(second) == {"p1": D, "p2": C, "p3": B, "p4": min(E, F), "p8": node_id("shop > G")}
    assert len({row.taxonomy_version for row in second.values()}) == 1
    assert second["p2", C].taxonomy_version != first["p2", C].taxonomy_version


def test_two_paths_of_one_category_are_one_label_and_unmapped_ones_none(spark):
    maps = {("shop", "A > B"): "Common", ("shop", "A > D"): "Common", ("shop", "A > E"): None}
    rows = say(spark, CATALOGUE, maps=maps)
    common = node_id("Common")
    assert set(rows) == {("p1", common), ("p2", common), ("p2", C), ("p3", common), ("p4", F)}
    assert primaries(rows) == {"p1": common, "p2": C, "p3": common, "p4": F}


def test_labels_of_persons_are_neither_read_nor_returned(spark):
    first = say(spark, CATALOGUE)
    person = {key: row for key, row in first.items() if key == ("p1", B)}
    values = {**person["p1", B].asDict(), "origin": "person", "run_id": "by hand"}
    corrected = {**first, ("p1", D): type(person["p1", B])(**values)}
    again = say(spark, CATALOGUE, previous=corrected, run_id="r2", now=SECOND)
    assert again == first


def test_without_labelling_sources_there_are_no_labels(spark):
    assert say(spark, CATALOGUE, label_sources=[]) == {}


@pytest.mark.real
def test_amazon_products_in_several_categories_keep_them_all(spark, real_data):
    asins = {}
    with open(real_data / "catalogues" / "amazon_in.csv", newline="") as file:
        for row in csv.DictReader(file):
            if found := re.search(r"/dp/([A-Z0-9]{10})", row["link"]):
                asins.setdefault(found[1], set()).add(f"{row['main_category']} > {row['sub_category']}")
    rows = say(spark, [(asin, "shop", sorted(paths)) for asin, paths in asins.items()])
    listed = {}
    for product, _ in rows:
        listed[product] = listed.get(product, 0) + 1
    assert listed == {asin: len(paths) for asin, paths in asins.items()}
    assert sum(count > 1 for count in listed.values()) == 806
    assert set(primaries(rows)) == set(asins)
