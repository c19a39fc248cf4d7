"""Do what a person decided on a line of models: promote a version, go back to the champion before, compare two, shadow."""

from shelfmark.models import challenger, champion
from shelfmark.run import Run

ACTIONS = {
    "compare": challenger.compare,
    "promote": challenger.promote,
    "rollback": challenger.roll_back,
    "shadow": challenger.shadow,
    "publish": challenger.publish,
}


def main(run: Run, request: challenger.Request) -> None:
    decision = ACTIONS[request.action](run, request)
    challenger.record(run, decision)
    run.spare("train_text", "train_multimodal")


def after(run: Run) -> None:
    champion.mirror_decision(run)
