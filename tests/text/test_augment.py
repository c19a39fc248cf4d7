"""Altered copies of titles of rare categories."""

import random

from shelfmark.text import augment
from shelfmark.words import SYNONYMS

ROWS = "product_id string, category_id string, weight double, title string, brand string"


def test_rare_categories_get_altered_copies_at_half_the_weight(spark):
    given = [(f"p{i}", "common", 1.0, f"steel kettle number {i}", None) for i in range(10)]
    given += [("r1", "rare", 0.8, "red felt beret", "Acme"), ("r2", "rare", 1.0, None, None)]
    rows = spark.createDataFrame(given, ROWS)
    assert augment.augmented(rows, 0, 5) is rows
    made = augment.augmented(rows, 3, 5).collect()
    assert [tuple(row) for row in made if row.category_id == "common"] == given[:10]
    copies = [row for row in made if row.product_id == "r1"]
    assert sorted(row.weight for row in copies) == [0.4, 0.4, 0.4, 0.8]
    assert {row.brand for row in copies} == {"Acme"}
    assert all(row.title != "red felt beret" for row in copies if row.weight == 0.4)
    assert [row.title for row in made if row.product_id == "r2"].count("") == 3
    again = augment.augmented(rows.repartition(3), 3, 5).collect()
    assert sorted(map(str, again)) == sorted(map(str, made))


def test_a_copy_has_one_change():
    seen = set()
    for i in range(200):
        title = "new sneakers for women"
        changed = augment.altered(title, random.Random(i))
        left, right = title.split(), changed.split()
        if len(right) == len(left) - 1:
            seen.add("drop")
            assert [word for word in left if word in right] == right
            continue
        (at,) = [i for i, (a, b) in enumerate(zip(left, right)) if a != b]
        exchanged = right[at] in SYNONYMS.get(left[at], ())
        seen.add("synonym" if exchanged else "typo")
        assert exchanged or abs(len(left[at]) - len(right[at])) <= 1
    assert seen == {"drop", "synonym", "typo"}
    assert augment.altered("tv", random.Random(0)) == "television"
    assert augment.altered("", random.Random(0)) == ""
    assert "trainers" in SYNONYMS["sneakers"]
