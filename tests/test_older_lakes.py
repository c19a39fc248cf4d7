"""A lake that an earlier Shelfmark wrote: opened, read, written on and rolled back to by today's code."""

import io
import shutil
import tarfile
from pathlib import Path

import pytest
from rich.console import Console

from shelfmark import config, erasure, pipeline
from shelfmark.lake import diff, open_lake
from shelfmark.pipeline import _execute
from shelfmark.query import query, read
from shelfmark.tables import TABLES

pytestmark = pytest.mark.usefixtures("unchecked")

LAKES = sorted((Path(__file__).parent / "lakes").glob("*.tar.gz"))
FIRST, SECOND, LABELS = "20260101-first", "20260102-second", "labels"


@pytest.fixture(params=LAKES, ids=lambda path: path.name.partition(".")[0])
def settings(request, tmp_path):
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path / "home", filter="data")
    shutil.move(tmp_path / "home" / "feeds", tmp_path / "feeds")
    feeds = str(tmp_path / "feeds")
    return config.load(home=str(tmp_path / "home"), data=feeds, sources=["market", "shop"], source_dirs=[feeds])


def titles(spark, settings, ref="main"):
    lake = open_lake(settings)
    rows = read(spark, lake, lake.resolve(ref).id, "silver.products").select("source", "source_key", "price").collect()
    return {(row.source, row.source_key): float(row.price) for row in rows}


def commit_of(settings, job, run_id):
    log = open_lake(settings).log()
    return next(c for c in log if (c.metadata["job"], c.metadata["run_id"]) == (job, run_id))


@pytest.mark.slow
def test_every_table_is_read_at_every_version(spark, settings):
    lake = open_lake(settings)
    assert [c.metadata["status"] for c in lake.log()] == ["done"] * 7
    for name, contract in TABLES.items():
        frame = read(spark, lake, lake.head().id, name)
        assert frame.columns == contract.columns
        frame.collect()
    assert titles(spark, settings, "release-20260102-second")["shop", "2"] == 17.5
    before = commit_of(settings, "dedupe", FIRST)
    assert titles(spark, settings, before.id)["shop", "2"] == 19.5
    counted = "select table, count(*) n from silver.rejected group by 1"
    assert query(spark, lake, before.id, counted).collect() == [("silver.products", 2)]
    changed = {d.table: (d.added, d.removed, d.changed) for d in diff.tables(spark, lake, before.id, "main")}
    assert changed["silver.products"] == (1, 0, 1)


@pytest.mark.slow
def test_jobs_go_on_from_it_and_it_can_be_rolled_back_to(spark, settings):
    lake, release = open_lake(settings), "release-20260102-second"
    feed = Path(settings.data) / "shop-3.csv"
    feed.write_text(
        "id,name,ean,maker,price,category,when\n"
        "7,Oak cutting board,,Grain,22.00,Kitchen > Boards,2026-01-03\n"
        "8,Grey linen apron,,Weaver,15.00,Kitchen > Aprons,2026-01-03\n"
    )
    notes = _execute("ingest", settings, spark, "20260103-third", False).notes
    assert {k: notes[k] for k in ("new", "changed")} == {"new": 1, "changed": 1}
    assert _execute("dedupe", settings, spark, "20260103-third", False).status == "done"
    after = titles(spark, settings)
    assert (after["shop", "7"], after["shop", "8"]) == (22.0, 15.0)
    assert len(after) == len(titles(spark, settings, release)) + 1
    catalogue = read(spark, lake, lake.head().id, "silver.catalogue")
    assert catalogue.where("title = 'Grey linen apron'").count() == 1
    # The same files again are known by what the older code noted of them.
    assert _execute("ingest", settings, spark, "20260104-fourth", False).notes["read"] == 0

    lake.rollback(lake.resolve(release).id, "back", {"job": "rollback", "run_id": "x", "status": "done"})
    assert titles(spark, settings) == titles(spark, settings, release)
    assert _execute("ingest", settings, spark, "20260105-fifth", False).notes["new"] == 1


@pytest.mark.slow
@pytest.mark.nightly
def test_a_product_is_erased_from_it(spark, settings):
    """What is left of its group gets a golden record with the columns of today."""
    lake = open_lake(settings)
    groups = read(spark, lake, lake.head().id, "silver.duplicates").where("group_size = 2").collect()
    gone, stays = sorted(row.product_id for row in groups)
    request = erasure.Request(products=(gone,), why="asked to", who="tester")
    pipeline.erase(request, settings, Console(file=io.StringIO(), width=200), "20260106-erase", False)
    catalogue = {row.product_id: row for row in read(spark, lake, lake.head().id, "silver.catalogue").collect()}
    assert gone not in catalogue
    assert [entry.product_id for entry in catalogue[stays].provenance] == [stays]
    assert [row.provenance for key, row in catalogue.items() if key != stays] == [None] * (len(catalogue) - 1)
