"""Take the pictures of products in: decoded once, judged, stored at training size, linked to the products that show them."""

from shelfmark.images import intake, links
from shelfmark.run import Run

ALWAYS = True  # its inputs are files and addresses outside the lake: whether they are new is for the recipe to say


def main(run: Run) -> None:
    wanted = intake.wanted(run)
    if wanted is None:
        return intake.nothing(run)
    taken = intake.taken(run, wanted, intake.placed(run, wanted))
    found = links.of_products(run, wanted, taken)
    links.to_images(run, taken, found)
    links.to_links(run, found)
    links.to_rejected(run, found)
    links.to_products(run, found)
    links.tell(run, found)
