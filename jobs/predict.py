"""Predict the category of every golden record with the champion, and beside it with the challenger in shadow."""

from shelfmark.run import Run
from shelfmark.text import champion, predict, shadow

MODEL = "text"


def main(run: Run) -> None:
    model = champion.current(run, MODEL)
    predicted = predict.predict(
        run.read("silver.catalogue"), model.folder, run.settings.text.top_k, checksum=model.checksum
    )
    run.write(
        "gold.predictions",
        champion.signed(run, model, predicted),
        replace=f"run_date = '{run.run_date}' AND model = '{MODEL}'",
    )
    shadow.beside(run, MODEL)
