"""How a record is written down as read, the same for every reader: a JSON object of texts, or raw text and why."""

from __future__ import annotations

from collections.abc import Sequence
from json.encoder import encode_basestring as quoted

RAW_LIMIT = 10_000
"""Characters of raw text kept of a record that cannot be believed: enough to see what is wrong with it."""

Row = tuple[int, int | None, str, str | None]
"""record_number, line, payload, problem."""


def payload_template(names: Sequence[str]) -> str:
    """`'{"a":%s,"b":%s}'`: filled with quoted values it is a record's payload, several times faster than `json.dumps`."""
    return "{" + ",".join(quoted(name).replace("%", "%%") + ":%s" for name in names) + "}"


def as_object(fields: dict[str, str | None]) -> str:
    """The payload of a record."""
    return payload_template(list(fields)) % tuple(
        "null" if value is None else quoted(value) for value in fields.values()
    )


def too_long(fields: dict[str, str | None], limit: int) -> str | None:
    """The problem of a record with a field of more than `limit` characters, else None."""
    for name, value in fields.items():
        if value is not None and len(value) > limit:
            return f"field_too_long: field {name} has {len(value):,} characters, more than max_field {limit:,}"
    return None


def unique_names(names: Sequence[str]) -> list[str]:
    """Names that are filled and differ: an empty one is `column_<position>`, a second `price` is `price_2`."""
    found: dict[str, None] = {}
    for position, name in enumerate(names, 1):
        name = name.strip() or f"column_{position}"
        unique, copy = name, 1
        while unique in found:
            copy += 1
            unique = f"{name}_{copy}"
        found[unique] = None
    return list(found)
