"""The queries of docs/metrics.md run on the tables they name."""

import re
from pathlib import Path

import pytest

from shelfmark import tables

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
QUERIES = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_runs(spark, query):
    for name in ("gold.metrics", "gold.slices", "gold.curves"):
        view = name.replace(".", "_")
        spark.createDataFrame([], tables.table(name).ddl).createOrReplaceTempView(view)
        query = query.replace(name, view)
    assert spark.sql(query).collect() == []


def test_every_metric_is_explained():
    for name in ("gold.metrics", "gold.slices"):
        comment = next(field.comment for field in tables.table(name).fields if field.name == "metric")
        for metric in comment.partition(";")[0].split(", "):
            stem = re.sub(r"_(\d|head|middle|tail)$", "", metric)
            shown = metric in PAGE or f"`_{metric.rsplit('_', 1)[-1]}`" in PAGE or f"`{stem}_*`" in PAGE
            assert shown or metric.startswith(("bin_", "roll_up", "review")), metric
