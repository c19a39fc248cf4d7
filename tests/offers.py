"""Records as the rules of duplicates see them, made of what a test states."""

import numpy as np
import pyarrow as pa

from shelfmark.dedup import conflicts, kernel, survivors

TITLES: list[str] = []


def offer(key, title, source="a", **stated):
    """A record as `resolve` sees it; what is not given is not stated."""
    normal = kernel.normalise(pa.array([title]))[0].as_py()
    if normal not in TITLES:
        TITLES.append(normal)
    region = stated.get("region", "GB")
    attributes = tuple(stated.get("attributes", ()))
    price, description = stated.get("price"), stated.get("description")
    facts = 0 if price is None else len(attributes) + bool(description) + bool(stated.get("model"))
    complete = sum(bool(value) for value in stated.values())
    return survivors.Offer(
        product_id=key,
        seller=f"{source}|{region}",
        market=f"{region}|GBP",
        title=title,
        text=TITLES.index(normal),
        language=stated.get("language", "en"),
        brand=conflicts.brand(stated.get("brand")),
        gtin=stated.get("gtin"),
        link=stated.get("link", stated.get("gtin")),
        model=conflicts.model(stated.get("model")),
        price=price,
        attributes=attributes,
        rank=("gtin" not in stated, -complete, -len(description or ""), key),
        listing=hash((price, description, stated.get("model"), attributes)),
        facts=facts,
        variants=stated.get("item_group"),
    )


def near(text, others):
    sets = kernel.shingle_sets(*kernel.text_buffers(pa.array(TITLES)), 5)
    return kernel.jaccard(*sets, np.full(len(others), text, np.int64), np.array(others, np.int64))
