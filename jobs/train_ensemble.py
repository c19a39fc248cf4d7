"""Weigh what the champions of text and pictures say against each other; the gate decides whether both together predict."""

from shelfmark.ensemble import train
from shelfmark.labels import examples, persons
from shelfmark.models import challenger, champion, members
from shelfmark.run import Run

MODEL = "ensemble"


def main(run: Run) -> None:
    run.spare("train_text", "train_multimodal")
    found = members.of(run)
    if found.why:
        return run.note(skipped=found.why)
    words = persons.words(run.read("silver.reviews"), run.read("silver.duplicates"), run.read("silver.taxonomy"))
    labels = persons.first(run.read("silver.labels"), persons.teaching(words))
    rows = examples.labelled(run.read("silver.catalogue"), labels, run.read("silver.splits"))
    trained = train.train(
        rows,
        run.read("silver.images"),
        run.read("silver.taxonomy"),
        run.settings,
        text=found.text,
        multimodal=found.multimodal,
        model_dir=run.model_path(MODEL, run.run_id),
    )
    run.note(**champion.notes(trained))
    challenger.decide(run, MODEL, trained)


def after(run: Run) -> None:
    champion.mirror_decision(run, MODEL)
