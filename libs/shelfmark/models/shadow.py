"""A challenger in shadow: it predicts what the champion predicts, into a table of its own, and the two are compared.

No label is looked at: this says where they differ, not who is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from shelfmark.models import champion, lines

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from shelfmark.models.champion import Champion
    from shelfmark.run import Run

PAIRS = 30  # of categories, told in the run's notes: what a person reads


def beside(run: Run, published: Champion, others: list[Champion]) -> None:
    """Let the version in shadow of the published line predict the catalogue as well, and note how far it agrees.

    Where none is in shadow, how far the champion of another line agrees, which has predicted; nothing where there is none.
    """
    version = champion.in_shadow(run, published.model)
    if version is None:
        if others:
            _tell(run, published, others[0])
        return
    taxonomy = run.read("silver.taxonomy")
    why = None if lines.readable(version.model, version.folder) else "another version of Shelfmark trained it"
    if taxonomy.where(F.col("taxonomy_version") == version.taxonomy_version).head() is None:
        why = f"taxonomy {version.taxonomy_version} is not in force"
    if why:
        run.note(shadow={"version": version.version, "skipped": why})
        return
    predicted = lines.predict(run, version, run.read("silver.catalogue"), run.settings.text.top_k)
    champion.keep(run, version, predicted, published=False)
    _tell(run, published, version)


def _tell(run: Run, published: Champion, version: Champion) -> None:
    """Note how far what a version said today agrees with what was published."""
    today = F.col("run_date") == F.lit(run.run_date)
    said, shadowed = (
        run.read(name).where(today & (F.col("model") == one.model) & (F.col("model_version") == one.version))
        for name, one in (("gold.predictions", published), ("gold.shadow_predictions", version))
    )
    told = {"version": version.version, "champion": published.version, "line": version.model}
    run.note(shadow=told | agreement(said, shadowed, run.read("silver.taxonomy")))


def agreement(published: DataFrame, shadowed: DataFrame, taxonomy: DataFrame, most: int = PAIRS) -> dict[str, Any]:
    """How far two sets of predictions of the same golden records (columns of gold.predictions) say the same.

    regions: for each and for `*`: rows, same_leaf (the best leaf is the same), same_decision (accept, roll_up or
    review), same_answer (decision and category decided on), accepted and shadow_accepted; all but rows are shares, 0 to
    1. differ: the `most` pairs of best leaves that differ most often: category and shadow_category (paths), rows. No
    product is named: the run's notes outlive its erasure.
    """
    keys = ["product_id", "region"]
    both = _answers(published, "").join(_answers(shadowed, "shadow_"), keys).cache()
    same = {
        "same_leaf": F.col("leaf").eqNullSafe(F.col("shadow_leaf")),
        "same_decision": F.col("decision") == F.col("shadow_decision"),
        "same_answer": (F.col("decision") == F.col("shadow_decision"))
        & F.col("category_id").eqNullSafe(F.col("shadow_category_id")),
        "accepted": F.col("decision") == "accept",
        "shadow_accepted": F.col("shadow_decision") == "accept",
    }
    counts = [_counted(condition).alias(name) for name, condition in same.items()]
    rows = [row.asDict() for row in both.groupBy("region").agg(F.count("*").alias("rows"), *counts).collect()]
    everywhere = {"region": "*"} | {name: sum(row[name] for row in rows) for name in ("rows", *same)}
    pairs = both.where(~same["same_leaf"]).groupBy("leaf", "shadow_leaf")
    pairs = pairs.agg(F.count("*").alias("rows")).orderBy(F.desc("rows"), "leaf", "shadow_leaf").limit(most).collect()
    both.unpersist()
    named = {leaf for row in pairs for leaf in (row.leaf, row.shadow_leaf)}
    paths = taxonomy.where(F.col("category_id").isin(*named)).select("category_id", "path").distinct().collect()
    path = {row.category_id: row.path for row in paths} if named else {}
    return {
        "regions": [
            {"region": row["region"], "rows": row["rows"]} | {name: row[name] / row["rows"] for name in same}
            for row in [*sorted(rows, key=lambda row: row["region"]), everywhere]
            if row["rows"]
        ],
        "differ": [
            {
                "category": path.get(row.leaf, row.leaf),
                "shadow_category": path.get(row.shadow_leaf, row.shadow_leaf),
                "rows": row.rows,
            }
            for row in pairs
        ],
    }


def said(told: dict[str, Any]) -> str:
    """What a run's note of the shadow says, in a sentence."""
    if "skipped" in told:
        return f"{told['version']} did not predict in shadow: {told['skipped']}"
    whole = told["regions"][-1]
    return (
        f"in shadow {told['line']} {told['version']} names the leaf of the champion for {whole['same_leaf']:.1%} of "
        f"{whole['rows']:,} golden records, and decides alike for {whole['same_decision']:.1%}"
    )


def _answers(predictions: DataFrame, prefix: str) -> DataFrame:
    leaf = F.col("top_k").getItem(0).getField("category_id")
    return predictions.select(
        "product_id", "region", leaf.alias(f"{prefix}leaf"),
        *(F.col(name).alias(f"{prefix}{name}") for name in ("category_id", "decision")),
    )  # fmt: skip


def _counted(condition: Column) -> Column:
    return F.count(F.when(condition, 1))
