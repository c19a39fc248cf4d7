"""The scorer on Spark finds what it finds in memory, and nothing without a model."""

import numpy as np
import pytest
from pyspark.sql import functions as F

from shelfmark import config
from shelfmark.dedup import blocking, candidates, features, groups, labelled, scored, scorer, survivors
from shelfmark.errors import UsageError


@pytest.fixture(scope="module")
def offers(tmp_path_factory):
    """150 products of two shops in other words, a model of them and their table."""
    folder = tmp_path_factory.mktemp("scored")
    kinds = ("fridge freezer", "washing machine", "microwave oven")
    rows = [f"a{i},a,Bosch {kinds[i % 3]} kx{i * 37:05d}w white {i % 5 + 5} kg,{100 + i}" for i in range(150)]
    rows += [f"b{i},b,kx{i * 37:05d}w silent {kinds[i % 3]},{104 + i}" for i in range(150)]
    rows += ["c0,c,kx00000w silent fridge freezer 9 kg,104"]
    (folder / "p.csv").write_text("product_id,source,title,price\n" + "\n".join(rows) + "\n")
    (folder / "l.csv").write_text("left,right\n" + "\n".join(f"a{i},b{i}" for i in range(150)) + "\n")
    model = labelled.train([folder / "p.csv"], folder / "l.csv", 0.95, 0.95)
    scorer.save(model, folder / "m.json")
    return labelled.products([folder / "p.csv"]), model, folder / "m.json"


@pytest.mark.slow
@pytest.mark.parametrize("partitions", [1, 5])
def test_spark_scores_the_same_pairs_as_memory(spark, offers, partitions):
    table, model, path = offers
    frame = spark.createDataFrame(table.select(["product_id", "source", "region", "title", "price"]).to_pandas())
    frame = frame.withColumn("region", frame.region.cast("string")).repartition(partitions)
    settings = config.Dedupe(scorer={"model": str(path), "propose": 0.2, "merge": 0.9})
    found = scored.scored_pairs(frame, settings)
    rows = found.pairs.collect()
    left, right, _ = blocking.candidates(table, model.rarity)
    read = features.prepare(table, model.rarity)
    x = features.pairs(read, left, read, right)
    good = (model.score(x) >= 0.2) & ~features.barred(x)
    ids = np.array(table["product_id"].to_pylist())
    expected = {tuple(sorted(pair)) for pair in zip(ids[left[good]], ids[right[good]])}
    assert len(rows) == len(expected) >= 140
    assert {(row.left, row.right) for row in rows} == expected
    # 5 kg in one title and 9 kg in the other: never proposed, whatever the score.
    assert ("a0", "c0") not in expected
    assert all(row.score >= 0.2 and row.reasons for row in rows)
    assert (found.merge, found.propose) == (0.9, 0.2)


@pytest.mark.slow
def test_scored_pairs_are_one_product_in_the_duplicates(spark, offers):
    table, _, path = offers
    frame = spark.createDataFrame(table.select(["product_id", "source", "title", "price"]).to_pandas())
    nothing = (
        "region",
        "description",
        "language",
        "brand",
        "gtin",
        "model_number",
        "currency",
        "item_group",
        "image",
        "image_id",
    )
    frame = frame.withColumns({name: F.lit(None).cast("string") for name in nothing}).withColumns(
        {
            "region": F.lit("GB"),
            "attributes": F.array().cast("array<struct<name:string,value:string,unit:string>>"),
            "category_paths": F.array().cast("array<string>"),
        }
    )
    settings = config.Dedupe(scorer={"model": str(path)})
    likely = scored.merging(scored.scored_pairs(frame, settings))
    pairs = candidates.near_pairs(frame, settings)
    rows = survivors.duplicates(frame, pairs, settings, likely).collect()
    assert sorted(row.product_id for row in rows) == sorted(table["product_id"].to_pylist())
    together = [row for row in rows if row.group_size > 1]
    assert len(together) >= 250
    assert all("scorer" in row.matched_by for row in together)
    leaks = {
        row.product_id: row.leak_group for row in groups.leak_groups(frame, scored.together(pairs, likely)).collect()
    }
    assert all(leaks[row.product_id] == leaks[row.group_id] for row in rows)
    alone = survivors.duplicates(frame, pairs, settings).where("group_size > 1").count()
    assert alone < 20


def test_without_a_model_nothing_is_scored():
    assert scored.scored_pairs(None, config.Dedupe()) is None


def test_thresholds_out_of_order_are_refused(offers):
    with pytest.raises(UsageError, match=r"dedupe\.scorer\.propose"):
        scorer.thresholds(offers[1], 0.1, 0.2)
    with pytest.raises(ValueError, match="above merge"):
        config.Scorer(merge=0.1, propose=0.2)
