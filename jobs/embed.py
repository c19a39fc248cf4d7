"""The vector of every golden record, by the multimodal champion: what `shelfmark similar` compares."""

from shelfmark.models import champion
from shelfmark.multimodal import predict
from shelfmark.run import Run

MODEL = "multimodal"


def main(run: Run) -> None:
    model = champion.current(run, MODEL)
    vectors = predict.embed(
        run.read("silver.catalogue"), model.folder, run.read("silver.images"), checksum=model.checksum
    )
    signed = champion.signed(run, model, vectors).drop("taxonomy_version")
    run.write("gold.embeddings", signed, replace=f"model = '{MODEL}'")
