"""Train towers over title, description, picture and facts, and fuse them; the gate decides, also on which line predicts."""

from shelfmark.labels import examples, persons
from shelfmark.models import challenger, champion
from shelfmark.multimodal import train
from shelfmark.run import Run

MODEL = "multimodal"


def main(run: Run) -> None:
    run.spare("train_text")
    words = persons.words(run.read("silver.reviews"), run.read("silver.duplicates"), run.read("silver.taxonomy"))
    labels = persons.first(run.read("silver.labels"), persons.teaching(words))
    rows = examples.labelled(run.read("silver.catalogue"), labels, run.read("silver.splits")).cache()
    images = run.read("silver.images")
    if why := train.wanted(rows, images, run.settings.multimodal):
        return run.note(skipped=why)
    trained = train.train(
        rows,
        images,
        run.read("silver.taxonomy"),
        run.settings,
        workdir=champion.workdir(run, MODEL),
        model_dir=run.model_path(MODEL, run.run_id),
        key=run.base.id,
        others=labels,
    )
    run.note(**champion.notes(trained))
    challenger.decide(run, MODEL, trained)


def after(run: Run) -> None:
    champion.mirror_decision(run, MODEL)
