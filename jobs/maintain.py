"""Keep the lake quick and small: merge small files, remove what no version needs, retire old bronze; rows stay."""

from shelfmark import upkeep
from shelfmark.run import Run

ALWAYS = True  # its input is the whole lake: whether there is something to do is for the recipe to say
HOLDS = upkeep.held_by_others()  # no job writes a table while its files are merged


def main(run: Run, busy: tuple[str, ...] = ()) -> None:
    upkeep.retire_bronze(run, busy)
    done = {folder: upkeep.compact(run, folder) for folder in upkeep.folders(run, busy)}
    run.note(compacted={folder: figures for folder, figures in done.items() if figures})
