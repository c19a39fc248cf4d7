"""The whole pipeline over a small demo catalogue: figures true against truth/, a second run, what people look at."""

import csv
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from shelfmark import classify, config, pipeline
from shelfmark.demo import truth
from shelfmark.lake import open_lake
from shelfmark.query import open_reader, query, read
from shelfmark.tables import TABLES

pytestmark = pytest.mark.slow


class Lake:
    """The released tables of a home."""

    def __init__(self, spark, home, at=None):
        self.spark = spark
        self.lake, self.commit = open_reader(home, at)

    def read(self, name):
        return read(self.spark, self.lake, self.commit, name)

    def sql(self, text):
        return query(self.spark, self.lake, self.commit, text).collect()


# What erasures and stewards write, which no pipeline does, what a scorer proposes and a model in shadow predicts; a first
# run tells of no change, and these feeds have no pictures, so that there is no multimodal model either.
EMPTY = {
    "silver.erasures",
    "silver.suppressed",
    "silver.match_decisions",
    "silver.reviews",
    "silver.proposed_pairs",
    "silver.duplicate_events",
    "gold.shadow_predictions",
    "gold.label_issues",
    "gold.category_issues",
    "gold.category_needs",
    "silver.images",
    "silver.image_links",
    "gold.embeddings",
}


@pytest.fixture(scope="module")
def lake(spark, demo_home):
    return Lake(spark, demo_home)


def test_the_tables_are_true_against_what_was_planted(spark, lake, demo_feeds):
    names = ("silver.products", "silver.rejected", "silver.duplicates")
    found = truth.check(spark, demo_feeds / "truth", *map(lake.read, names))
    assert found["holds"]
    assert all(found["holds"].values()), found


def test_every_table_has_rows_and_the_columns_of_its_contract(lake):
    for name, contract in TABLES.items():
        frame = lake.read(name)
        assert frame.columns == contract.columns, name
        assert (frame.head() is None) == (name in EMPTY), name


def test_no_leak_group_sits_on_two_sides(lake):
    assert lake.sql("select leak_group from silver.splits group by 1 having count(distinct side) > 1") == []
    unlike = (
        "select 1 from silver.splits s join silver.leak_groups g using (product_id) where s.leak_group != g.leak_group"
    )
    assert lake.sql(unlike) == []


def test_every_golden_record_is_predicted_once_with_what_made_it(lake):
    rows = lake.sql("""
        select count(*) n, count(distinct p.product_id, p.region) keys, count(c.group_id) golden,
               count(distinct model_version) models, count_if(confidence not between 0 and 1) wrong,
               count_if(lake_commit is null or size(top_k) = 0) unsigned
        from gold.predictions p left join silver.catalogue c on c.product_id = p.product_id and c.region = p.region""")[
        0
    ]
    total = lake.read("silver.catalogue").count()
    assert (rows.n, rows.keys, rows.golden, rows.models, rows.wrong, rows.unsigned) == (total, total, total, 1, 0, 0)


def test_metrics_are_there_for_every_region_and_class_and_follow_from_the_predictions(lake, demo_settings):
    counted = lake.sql("""
        with truth as (select product_id, category_id from silver.labels where primary),
        test as (select p.region, p.top_k[0].category_id = t.category_id hit
                 from gold.predictions p join truth t using (product_id) join silver.splits s using (product_id)
                 where s.side = 'test')
        select coalesce(region, '*') region, avg(double(hit)) accuracy, count(*) n from test group by rollup (region)""")
    leaf = "select * from gold.metrics where metric = 'accuracy' and category_id = '*' and level = 'leaf'"
    said = {r.region: r for r in lake.sql(leaf)}
    for row in counted:
        assert said[row.region].support == row.n
        if row.n >= demo_settings.metrics.min_support:
            assert said[row.region].value == pytest.approx(row.accuracy)
        else:
            assert said[row.region].value is None
    assert {r.metric for r in lake.sql("select distinct metric from gold.metrics where category_id != '*'")} == {
        "precision",
        "recall",
        "f1",
    }


def test_every_table_was_checked_and_refers_to_what_is_there(lake):
    checked = {row.table for row in lake.sql("select distinct table from silver.check_results")}
    assert checked == set(TABLES) - EMPTY | {"silver.duplicate_events"}
    failed = "select table, observed from silver.check_results where not success and observed like '%\"check\":%'"
    assert lake.sql(failed) == []


def test_the_books_balance(lake):
    off = lake.sql(
        "select * from bronze.files where records_counted != new + changed + unchanged + rejected + superseded "
        "or records_read != records_counted"
    )
    assert off == []


def test_the_summary_says_what_the_tables_say(demo_home, lake):
    text = (demo_home / "console.txt").read_text()
    assert re.search(r"records read\s+2,000", text)
    assert re.search(rf"products\s+{lake.read('silver.products').count():,}", text)
    assert "agreement with source labels" in text
    assert "BROKEN" not in text
    for link in re.findall(r"file://(\S+)", text):
        assert Path(link).is_file(), link
    assert len(re.findall(r"holds ", text)) >= 5


def test_the_reports_open_offline(demo_home):
    pages = [*(demo_home / "reports").glob("*.html"), *(demo_home / "docs").glob("*.html")]
    assert len(pages) >= 3
    for page in pages:
        html = page.read_text()
        assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", html), page


def test_mlflow_mirrors_parameters_metrics_commit_and_model(demo_home, lake):
    import sqlite3

    database = sqlite3.connect(demo_home / "mlflow.db")
    tags = {value for (value,) in database.execute("select value from tags where key = 'lake_commit'")}
    commits = {commit.id for commit in lake.lake.log()}
    assert tags
    assert tags <= commits
    metrics = {key for (key,) in database.execute("select distinct key from metrics")}
    assert {"tune.accuracy", "test.all.macro_f1"} <= metrics
    (uri,) = next(
        iter(database.execute("select artifact_uri from runs join tags using (run_uuid) where value = 'train_text'"))
    )
    assert (Path(uri.removeprefix("file://")) / "model" / "model.json").is_file()
    assert not Path("mlruns").exists()


def test_classify_keeps_order_and_columns_and_gives_reasons(spark, demo_home, tmp_path):
    offers = tmp_path / "offers.csv"
    offers.write_text('nr;title\n1;"Red leather boots; size 42"\n2;xyzzy\n3;Cotton shirt blue\nbroken\n')
    out = tmp_path / "out.csv"
    assert classify.classify(config.load(home=str(demo_home)), offers, out, "title", None) == 4
    rows = list(csv.DictReader(out.open()))
    assert [row["nr"] for row in rows[:3]] == ["1", "2", "3"]
    assert rows[0]["title"] == "Red leather boots; size 42"
    assert all(row["decision"] in ("accept", "roll_up", "review") and row["decision_reason"] for row in rows[:3])
    assert rows[3]["decision"] == "refused"
    assert "broken_record" in rows[3]["decision_reason"]


def test_a_second_pipeline_changes_nothing_but_run_records(spark, demo_home, demo_settings):
    before = open_lake(demo_settings).folders("main")
    said = io.StringIO()
    assert pipeline.run(demo_settings, Console(file=said, width=120), "20260102-again", None, force=False) == 0
    after = open_lake(demo_settings).folders("main")
    assert all(folder.startswith("gold/runs/") for folder in after if after[folder] != before.get(folder))
    assert "nothing new" in said.getvalue()
    assert said.getvalue().count("its inputs did not change") == 8


def test_a_resumed_pipeline_runs_only_what_is_missing(spark, demo_settings):
    lake = open_lake(demo_settings)
    said = io.StringIO()
    assert pipeline.run(demo_settings, Console(file=said, width=120), "20260101-demo", None, force=False) == 0
    assert said.getvalue().count("this run id published it before") == 10
    assert len([commit for commit in lake.log() if commit.metadata["run_id"] == "20260101-demo"]) == 10
