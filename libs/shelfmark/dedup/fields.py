"""The fields of a golden record: which there are, which are one statement, which may have an order of their own.

No Spark here: settings are checked with it.
"""

from __future__ import annotations

from shelfmark.tables import table

TOGETHER = (("title", "language"), ("price", "price_high", "currency"), ("image", "image_id"))
"""Fields that are one statement: taken from one record, which is the first that states the first field."""

FIRST = {name: fields[0] for fields in TOGETHER for name in fields}
"""Field -> the first field of its statement, for those of `TOGETHER`."""


def business() -> list[str]:
    """The business columns of silver.catalogue, in their order."""
    columns = table("silver.catalogue").columns
    return columns[columns.index("members") + 1 : columns.index("content_hash")]


def refusal(field: str) -> str | None:
    """Why a field has no order of its own; None where it may have one."""
    if field not in business():
        own = [name for name in business() if refusal(name) is None]
        return f"no field {field!r}: fields are {', '.join(own)}"
    if field == "category_paths":
        return "category_paths are those of all records: they have no order"
    if FIRST.get(field, field) != field:
        return f"{field} is taken together with {FIRST[field]}: set {FIRST[field]}"
    return None
