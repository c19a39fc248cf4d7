"""The ensemble in the life of a lake: nothing to join at first, then a line of its own, predicted beside the others and published."""

import pytest

from shelfmark import config
from shelfmark.cli.app import app
from shelfmark.errors import DataRefused
from shelfmark.lake import open_lake
from shelfmark.pipeline import _execute
from shelfmark.query import read
from shelfmark.run import execute
from shelfmark.tables import table

pytest.importorskip("torch")

from small_model import LEAVES, TAXONOMY, products

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]

SIDES = ["train"] * 10 + ["tune", "calibrate", "calibrate"] + ["test"] * 5
SETTINGS = [
    "text.hash_bits=14", "text.facts=[]", "decision.min_accepted=30", "decision.roll_up_depth=1", "gate.min_region_rows=60",
    "multimodal.train=always", "multimodal.modalities=[title,picture]", "multimodal.picture_tower=test_resnet",
    "multimodal.picture_size=24", "multimodal.hash_bits=12", "multimodal.epochs=4", "multimodal.batch=64",
    "multimodal.group_rows=32", "multimodal.threads=1", "multimodal.lanes=4", "multimodal.launcher=in_process",
    "multimodal.fusion=mean",
]  # fmt: skip


def fill(run):
    """The tables that training reads: titles that tell the root and often the leaf, pictures that tell the other half."""
    make, contract = run.spark.createDataFrame, table("silver.images")
    tree = [("v1", c, path, c, parent, 2 if parent else 1) for c, (path, parent) in TAXONOMY.items()]
    columns = "taxonomy_version string, category_id string, path string, name string, parent_id string, depth int"
    run.write("silver.taxonomy", make(tree, columns))
    made, leaf = products(1_600, 3)
    rows = [(f"{at:032x}", LEAVES[leaf[at]], SIDES[at % len(SIDES)], one) for at, one in enumerate(made.to_pylist())]
    golden = [(p, one["region"], p, "shop", ["shop"], 1, one["title"], f"i-{p}") for p, _, _, one in rows]
    columns = (
        "group_id string, region string, product_id string, source string, sources array<string>, members int, title string, "
        "image_id string"
    )
    run.write("silver.catalogue", make(golden, columns).selectExpr("*", "'en' language"))
    pictures = make([(f"i-{p}", bytearray(one["picture"])) for p, _, _, one in rows], "image_id string, bytes binary")
    missing = [
        f"CAST(NULL AS {field.type}) {field.name}" for field in contract.fields if field.name not in pictures.columns
    ]
    run.write("silver.images", pictures.selectExpr("*", *missing).select(*contract.columns))
    labels = [(p, c, "v1", "source", "shop", True, 1.0, 1.0, run.started, run.run_id) for p, c, _, _ in rows]
    columns = (
        "product_id string, category_id string, taxonomy_version string, origin string, who string, primary boolean, "
        "weight double, inclusion_probability double, labelled_at timestamp, run_id string"
    )
    run.write("silver.labels", make(labels, columns))
    sides = [(p, p, side, 0, run.run_id) for p, _, side, _ in rows]
    run.write(
        "silver.splits", make(sides, "product_id string, leak_group string, side string, bucket int, run_id string")
    )


def test_from_nothing_to_join_to_the_predictions_of_the_catalogue(spark, tmp_path, capsys):
    home, day = str(tmp_path), iter(range(2, 28))

    def run(job, *more):
        settings = config.load(overrides=[*SETTINGS, *more], home=home)
        return _execute(job, settings, spark, f"202601{next(day):02d}-{job}", False)

    def rows(name, where="true"):
        lake = open_lake(config.load(overrides=SETTINGS, home=home))
        return read(spark, lake, lake.resolve("main").id, name).where(where).collect()

    execute("labels", fill, config.load(overrides=SETTINGS, home=home), spark, "20260101-data", always=True)
    run("train_text")
    assert run("train_ensemble").notes["skipped"] == "the line multimodal has no champion yet"
    with pytest.raises(DataRefused, match=r"ensemble\.train is always, but the line multimodal has no champion yet"):
        run("train_ensemble", "ensemble.train=always")
    assert run("train_multimodal").status == "done"
    assert run("train_ensemble", "ensemble.train=never").notes["skipped"] == "ensemble.train is never"

    told = run("train_ensemble")
    assert told.notes["decision"]["decision"] == "promoted"
    between = told.notes["publishing"]
    assert between["decision"] in ("published", "not_published")
    versions = {row.model: row for row in rows("gold.models", "champion")}
    assert set(versions) == {"text", "multimodal", "ensemble"}
    assert [one for one, row in versions.items() if row.published] != []
    assert f'"text": "{versions["text"].model_version}"' in versions["ensemble"].metrics
    assert run("train_text").status == "skipped"  # what the ensemble wrote is no reason to train its members again
    assert run("train_multimodal").status == "skipped"
    assert run("train_ensemble").status == "skipped"

    if between["decision"] == "not_published":
        app(
            ["models", "publish", "ensemble", "--why", "both know more", "--by", "ann", "--home", home],
            standalone_mode=False,
        )
    assert run("predict").status == "done"
    predicted = rows("gold.predictions")
    assert {row.model for row in predicted} == {"ensemble"}
    assert len(predicted) == 1_600
    assert {one.modality for row in predicted for one in row.contributions} == {"text", "title", "picture"}
    shadowed = rows("gold.shadow_predictions")
    assert {row.model for row in shadowed} == {"text", "multimodal"}
    truth = {row.product_id: row.category_id for row in rows("silver.labels")}
    tested = {row.product_id for row in rows("silver.splits", "side = 'test'")}
    right = {line: [] for line in versions}
    for row in [*predicted, *shadowed]:
        if row.product_id in tested:
            right[row.model].append(row.top_k[0].category_id == truth[row.product_id])
    accuracy = {line: sum(hits) / len(tested) for line, hits in right.items()}
    assert accuracy["ensemble"] > accuracy["text"] + 0.02
    assert accuracy["ensemble"] > accuracy["multimodal"] - 0.02
    capsys.readouterr()
    one = next(row for row in predicted if len(row.contributions) == 3)
    app(["explain", one.product_id, "--home", home], standalone_mode=False)
    told = capsys.readouterr().out
    assert f"in the catalogue, by ensemble {one.model_version}: {one.decision}, {one.category_path}" in told
    assert "what each brought to it: text " in told
    app(["models", "list", "--home", home], standalone_mode=False)
    assert versions["ensemble"].model_version in capsys.readouterr().out
