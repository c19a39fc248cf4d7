"""Comparisons under the run protocol, with real Delta tables: a jump is refused with its evidence, or accepted by name."""

import json
from decimal import Decimal

import pytest

from shelfmark import config
from shelfmark.errors import DataRefused
from shelfmark.lake import open_lake
from shelfmark.query import read
from shelfmark.run import execute

pytestmark = pytest.mark.slow

PRODUCTS = (
    "product_id string, source string, source_key string, region string, title string, brand string, "
    "price decimal(18,2), currency string, language string, category_paths array<string>, content_hash string, run_id string"
)
LABELS = (
    "product_id string, category_id string, taxonomy_version string, origin string, who string, primary boolean, "
    "weight double, run_id string"
)


@pytest.fixture
def settings(tmp_path):
    return config.load(home=str(tmp_path), sources=["s"])


def takes_in(n, times=1):
    """A recipe that writes `n` products with prices `times` as high."""

    def recipe(run):
        rows = [
            (
                f"{i:032x}",
                "s",
                str(i),
                "US",
                f"Tea {i}",
                "b",
                Decimal(10 + i % 7) * times,
                "USD",
                "en",
                ["A > B"],
                f"h{i}",
                "r",
            )
            for i in range(n)
        ]
        run.write("silver.products", run.spark.createDataFrame(rows, PRODUCTS))

    return recipe


def ingest(spark, settings, run_id, recipe):
    return execute("ingest", recipe, settings, spark, run_id, always=True)


def release(settings, run_id):
    lake = open_lake(settings)
    lake.tag(f"release-{run_id}", lake.head().id)


def main(spark, settings, name):
    lake = open_lake(settings)
    return read(spark, lake, lake.head().id, name)


def test_a_jump_is_refused_with_evidence_that_a_person_understands_then_accepted_by_name(spark, settings, tmp_path):
    first = ingest(spark, settings, "20260101-a", takes_in(60))
    release(settings, "20260101-a")
    before = open_lake(settings).folders("main")["silver/products"]
    with pytest.raises(DataRefused, match=r"silver\.products: The median price .*--accept silver\.products:prices"):
        ingest(spark, settings, "20260102-b", takes_in(60, times=100))
    assert open_lake(settings).folders("main")["silver/products"] == before
    (refused,) = main(spark, settings, "gold.runs").where("status = 'refused'").collect()
    assert "a decimal comma read as a thousands separator" in refused.reason
    broken = main(spark, settings, "silver.check_results").where("run_id = '20260102-b' AND NOT success").collect()
    (price,) = [row for row in broken if row.severity == "critical"]
    observed = json.loads(price.observed)
    assert (price.table, observed["check"], observed["broken"]) == ("silver.products", "prices", 1)
    assert observed["release"] == first.commit.id
    example = json.loads(observed["examples"][0])
    assert (example["source"], example["region"], example["currency"]) == ("s", "US", "USD")
    assert example["times"] == pytest.approx(100, rel=0.13)

    accepting = config.load(home=str(tmp_path), sources=["s"], accept=["silver.products:prices"], accepted_by="ana")
    outcome = ingest(spark, accepting, "20260102-b", takes_in(60, times=100))
    assert outcome.status == "done"
    (record,) = main(spark, settings, "gold.runs").where("run_id = '20260102-b' AND status = 'done'").collect()
    assert json.loads(record.notes)["accepted"] == {"silver.products:prices": "ana"}
    said = main(spark, settings, "silver.check_results").where("run_id = '20260102-b' AND NOT success").collect()
    assert {row.severity for row in said} == {"warning"}
    assert "ana" in {json.loads(row.observed).get("accepted_by") for row in said}

    release(settings, "20260102-b")
    again = ingest(spark, settings, "20260103-c", takes_in(60, times=100))
    assert again.status == "done", "the new level is what the next run is compared with"


def test_what_is_compared_with_is_what_readers_have_not_the_newest_main(spark, settings):
    ingest(spark, settings, "20260101-a", takes_in(100))
    release(settings, "20260101-a")
    ingest(spark, settings, "20260102-b", takes_in(60))
    with pytest.raises(DataRefused, match="keeps at least 50%"):
        ingest(spark, settings, "20260103-c", takes_in(40))


def test_a_job_that_is_not_the_owner_may_take_rows_away(spark, settings):
    ingest(spark, settings, "20260101-a", takes_in(100))
    release(settings, "20260101-a")
    assert execute("erase", takes_in(10), settings, spark, "20260102-b", always=True).status == "done"


def test_tables_that_a_check_reads_are_no_inputs_of_the_job(spark, settings):
    def labels(run):
        run.write("silver.labels", run.spark.createDataFrame([], LABELS))

    ingest(spark, settings, "20260101-a", takes_in(3))
    outcome = execute("labels", labels, settings, spark, "20260101-a")
    assert set(outcome.commit.metadata["inputs"]) == {"silver/labels/labels", "silver/labels/review"}
    checked = main(spark, settings, "silver.check_results").where("table = 'silver.labels'").collect()
    observed = {o["check"]: o for o in (json.loads(row.observed) for row in checked) if "check" in o}
    assert observed["products"]["broken"] == 0
    assert observed["taxonomy"]["skipped"] == "silver.taxonomy is not there yet"


def test_the_journals_are_checked_before_they_are_written(spark, settings):
    def refuses(rule):
        def recipe(run):
            rows = [("silver.products", rule, "no title", "s", "{}")]
            run.reject(
                run.spark.createDataFrame(
                    rows, "table string, rule string, reason string, source string, payload string"
                )
            )

        return recipe

    ingest(spark, settings, "20260101-a", refuses("title_missing"))
    checked = main(spark, settings, "silver.check_results").collect()
    assert {row.table for row in checked} == {"silver.rejected", "silver.check_results", "gold.runs"}
    assert all(row.success for row in checked)
    with pytest.raises(DataRefused, match="A rule is named in small letters"):
        ingest(spark, settings, "20260102-b", refuses("Title missing!"))
    assert main(spark, settings, "silver.rejected").where("run_id = '20260102-b'").count() == 1, "the evidence is kept"
    ingest(spark, settings, "20260103-c", refuses("title_missing"))
