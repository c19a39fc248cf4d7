"""Two executors that share no memory give the same tables as one local process."""

import subprocess
import sys
from pathlib import Path

import pytest
from faults import SHORT_LIVED

from shelfmark.query import open_reader, read

COMMAND = Path(sys.executable).with_name("shelfmark")
TABLES = (
    "silver.products",
    "silver.presence",
    "silver.taxonomy",
    "silver.category_map",
    "silver.labels",
    "silver.leak_groups",
    "silver.duplicates",
    "silver.catalogue",
    "silver.splits",
    "silver.rejected",
    "gold.predictions",
    "gold.metrics",
    "gold.slices",
    "gold.curves",
)
# Times and ids of commits belong to a run, not to its result.
OF_A_RUN = {"labelled_at", "lake_commit", "run_id", "first_run", "last_run"}


def business(spark, home, name):
    """Rows of a table as sorted text, floats to six digits."""
    lake, commit = open_reader(home)
    frame = read(spark, lake, commit, name)
    columns = [column for column in sorted(frame.columns) if column not in OF_A_RUN]
    return sorted(repr([_rounded(value) for value in row]) for row in frame.select(*columns).collect())


def _rounded(value):
    if isinstance(value, float):
        return round(value, 6) + 0.0
    if isinstance(value, (list, tuple)):
        return [_rounded(part) for part in value]
    return value


@pytest.mark.slow
@pytest.mark.nightly
def test_local_cluster_gives_the_same_tables(spark, demo_feeds, demo_home, tmp_path):
    maps = (f"taxonomy={demo_feeds}/taxonomy.csv", f"taxonomy_maps={demo_feeds}/taxonomy", "metrics.min_support=3")
    # Other partitions too: the result depends on neither.
    settings = ("spark.master=local-cluster[2,1,2048]", "spark.shuffle_partitions=2", SHORT_LIVED, *maps)
    command = [
        COMMAND,
        "pipeline",
        "--env",
        "demo",
        "--data",
        demo_feeds,
        "--home",
        tmp_path,
        "--run-id",
        "20260101-demo",
    ]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in TABLES:
        here, there = business(spark, demo_home, name), business(spark, tmp_path, name)
        assert here == there, f"{name}: {[pair for pair in zip(here, there) if pair[0] != pair[1]][:2]}"
