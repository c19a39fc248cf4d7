"""Train the text classifier on the labelled golden records and make it the champion."""

from shelfmark.labels import examples
from shelfmark.run import Run
from shelfmark.text import champion, train

MODEL = "text"


def main(run: Run) -> None:
    rows = examples.labelled(run.read("silver.catalogue"), run.read("silver.labels"), run.read("silver.splits")).cache()
    trained = train.train(
        rows.where("side = 'train'"),
        rows.where("side = 'calibrate'"),
        rows.where("side = 'tune'"),
        run.read("silver.taxonomy"),
        run.settings,
        workdir=run.scratch("features"),
        model_dir=run.model_path(MODEL, run.run_id),
    )
    run.write("gold.models", champion.crown(run, MODEL, trained))
    run.note(**champion.notes(trained))


def after(run: Run) -> None:
    champion.mirror(run, MODEL)
