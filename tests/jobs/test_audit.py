"""The job audit on a lake of the demo: three tables for people, nothing else changed."""

import shutil

from shelfmark.lake import open_lake
from shelfmark.pipeline import _execute
from shelfmark.query import read


def test_audits_a_demo_lake(spark, demo_settings, demo_home, tmp_path):
    shutil.copytree(demo_home / "lake", tmp_path / "lake")
    settings = demo_settings.model_copy(update={"home": str(tmp_path)})
    lake = open_lake(settings)
    before = set(lake.folders(lake.head().id))
    done = _execute("audit", settings, spark, "20260102-audit", False)
    assert done.status == "done"
    commit = done.commit.id
    added = set(lake.folders(commit)) - before
    assert {"gold/label_issues", "gold/category_issues", "gold/category_needs"} <= added
    counts = {name: read(spark, lake, commit, f"gold.{name}").count() for name in ("label_issues", "category_needs")}
    assert done.notes["audited"] > counts["label_issues"] > 0
    categories = read(spark, lake, commit, "silver.labels").where("primary").select("category_id").distinct().count()
    assert 0 < counts["category_needs"] <= categories
    # Nothing changed since: it is not done again.
    assert _execute("audit", settings, spark, "20260103-audit", False).status == "skipped"
