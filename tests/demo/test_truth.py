"""The promises about the demo catalogue, through the real readers, rules and dedupe."""

import dataclasses

import pytest

from shelfmark import config
from shelfmark.demo import generate, truth, universe
from shelfmark.errors import UsageError
from shelfmark.ingest import mapping, normalise, readers
from shelfmark.tables import table

pytestmark = pytest.mark.slow  # a Spark session and a whole dedupe


@pytest.fixture(scope="module")
def lake(spark, tmp_path_factory):
    """(Truth folder, products, rejected, duplicates) of 2,000 records."""
    from pyspark.sql import functions as F

    from shelfmark.dedup.candidates import near_pairs
    from shelfmark.dedup.survivors import duplicates
    from shelfmark.quality import rules

    folder = tmp_path_factory.mktemp("truth") / "catalogue"
    generate(2_000, 5, folder, pictures=False, processes=1)
    wanted = [field for field in table("silver.products").fields if field.name not in ("content_hash", "run_id")]
    ddl = ", ".join(f"`{field.name}` {field.type}" for field in wanted) + ", file string, reject_rule string"
    rows = []
    for name in universe.VENDORS:
        source = mapping.load(name)
        to_product = normalise.compile_source(source)
        for path in sorted(folder.glob(source.files[0])):
            for record in readers.read(readers.Split(str(path)), source.format):
                if record.problem:
                    made = {"reject_rule": record.problem.split(":")[0]}
                else:
                    product = to_product(record.fields)
                    made = {f.name: getattr(product, f.name) for f in dataclasses.fields(product)}
                made |= {"source": name, "record_number": record.number, "file": str(path)}
                rows.append([made.get(name) for name in [*(f.name for f in wanted), "file", "reject_rule"]])
    flagged = rules.flag(spark.createDataFrame(rows, ddl), "silver.products")
    flagged = flagged.withColumn("rule", F.coalesce("reject_rule", "broken.rule")).cache()
    products = flagged.where("rule IS NULL").drop("broken", "reject_rule", "rule", "file")
    rejected = flagged.where("rule IS NOT NULL").select(
        F.lit("silver.products").alias("table"), "source", "file", "record_number", "rule"
    )
    settings = config.Dedupe()
    groups = duplicates(products, near_pairs(products, settings), settings).cache()
    assert groups.count() == products.count()
    yield folder / "truth", products, rejected, groups
    flagged.unpersist()
    groups.unpersist()


def test_every_promise_holds_on_a_faithful_lake(spark, lake):
    result = truth.check(spark, *lake)
    assert all(result["holds"].values()), result
    assert result["duplicate_recall_title"] > 0.85
    assert result["duplicate_precision"] > 0.98
    assert result["records_planted"] == 2_000
    assert len(result["dirty_by_rule"]) == 11
    assert all(planted == right for planted, right in result["dirty_by_rule"].values())


def test_a_broken_lake_is_told_from_a_faithful_one(spark, lake):
    from pyspark.sql import functions as F

    folder, products, rejected, groups = lake
    lost = products.where("source != 'demo_kontor'")
    blind = rejected.where("rule != 'title_too_long'").withColumn(
        "rule", F.regexp_replace("rule", "price_negative", "price_absurd")
    )
    merged = groups.withColumn("group_id", F.lit("one"))
    result = truth.check(spark, folder, lost, blind, merged)
    assert result["variants_merged"] > 100
    assert result["duplicate_precision"] < 0.1
    assert result["clean_missing"] > 100
    assert result["dirty_by_rule"]["title_too_long"][1] == 0
    assert result["dirty_by_rule"]["price_negative"][1] == 0
    assert result["records_accounted"] < result["records_planted"]
    assert not any(held for name, held in result["holds"].items() if name not in ("no clean record refused",))
    alone = truth.check(spark, folder, products, rejected, groups.withColumn("group_id", F.col("product_id")))
    assert alone["duplicate_recall"] == 0
    assert alone["variants_merged"] == 0


def test_accuracy_is_measured_against_the_true_category(spark, lake):
    from pyspark.sql import functions as F

    folder, products, *_ = lake
    right = truth.load(spark, folder, "categories").join(
        products.select("source", "source_key", "product_id"), ["source", "source_key"]
    )
    predictions = right.select(
        "product_id",
        "region",
        F.array(
            F.struct(F.when(F.col("region") == "DE", "no").otherwise(F.col("category_id")).alias("category_id"))
        ).alias("top_k"),
    )
    shares = truth.accuracy(spark, folder, products, predictions)
    assert shares["DE"] == 0
    assert shares["US"] == shares["IN"] == 1
    assert 0.6 < shares["*"] < 1


def test_a_folder_without_truth_is_said(spark, tmp_path):
    with pytest.raises(UsageError, match="categories"):
        truth.load(spark, tmp_path, "categories")
