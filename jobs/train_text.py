"""Train the text classifier on the labelled golden records; it becomes the champion of its line if it passes the gate."""

from shelfmark.labels import examples, persons
from shelfmark.models import challenger, champion
from shelfmark.run import Run
from shelfmark.text import augment, train

MODEL = "text"


def main(run: Run) -> None:
    words = persons.words(run.read("silver.reviews"), run.read("silver.duplicates"), run.read("silver.taxonomy"))
    labels = persons.first(run.read("silver.labels"), persons.teaching(words))
    rows = examples.labelled(run.read("silver.catalogue"), labels, run.read("silver.splits")).cache()
    learning = examples.aged(rows.where("side = 'train'"), run.settings.text.half_life_days, run.run_date)
    if run.settings.text.trim is not None:
        learning = examples.trimmed(learning, run.read("gold.label_issues"), run.settings.text.trim)
    if run.settings.text.pseudo_weight:
        accepted = champion.accepted_unlabelled(run, MODEL, labels).cache()
        run.note(pseudo_labels=accepted.count())
        learning = learning.unionByName(examples.aged(accepted, run.settings.text.half_life_days, run.run_date))
    learning = augment.augmented(learning, run.settings.text.augment, run.settings.text.augment_below)
    trained = train.train(
        learning,
        rows.where("side = 'calibrate'"),
        rows.where("side = 'tune'"),
        run.read("silver.taxonomy"),
        run.settings,
        workdir=run.scratch("features"),
        model_dir=run.model_path(MODEL, run.run_id),
        branch=champion.branch(run, MODEL),
    )
    run.note(**champion.notes(trained))
    challenger.decide(run, MODEL, trained)
    run.spare("train_multimodal")


def after(run: Run) -> None:
    champion.mirror_decision(run, MODEL)
