"""Records that are one product made one: the best value of each field, where it is from, and where records disagree.

No Spark here: rows are an Arrow table, and values are taken from it by their place, so that long texts stay in Arrow.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shelfmark import traits
from shelfmark.dedup import conflicts, fields, packed

ROWS = 16_384  # records merged at a time: a few dozen MB with their descriptions

_TEXTS = pa.list_(pa.string())
_ATTRIBUTES = pa.list_(pa.struct({"name": pa.string(), "value": pa.string(), "unit": pa.string()}))
_PROVENANCE = pa.list_(pa.struct({"product_id": pa.string(), "source": pa.string(), "fields": _TEXTS}))
_VALUE = pa.struct({"value": pa.string(), "product_ids": _TEXTS, "sources": _TEXTS})
_CONFLICTS = pa.list_(pa.struct({"field": pa.string(), "values": pa.list_(_VALUE)}))

Group = Sequence[int]
"""Places of the records of one golden record, the first of an order first."""


def whole_groups(batches: Iterable[pa.RecordBatch], keys: tuple[str, ...]) -> Iterator[pa.Table]:
    """Rows sorted by `keys`, as tables none of which ends within a group of equal keys."""
    held = None
    for table in packed.gather(batches, ROWS):
        table = pa.concat_tables([held, table]).combine_chunks() if held is not None else table
        last = _starts(table, keys)[-1]
        if last:
            yield table.slice(0, last).combine_chunks()
        held = table.slice(last)
    if held is not None:
        yield held.combine_chunks()


def golden_records(rows: pa.Table, own: Sequence[str] = ()) -> pa.Table:
    """A golden record for each group of `rows`: columns of silver.catalogue but for content_hash.

    `rows` has whole groups: sorted by group_id, region and the order of records, with product_id, source, the business
    columns, and for each field of `own` (those with an order of their own) a column rank_<field>, whose smallest list
    comes first. A field is the first record's that states it, those of `fields.TOGETHER` are one record's;
    attributes are joined by name in the same way, category_paths is the sorted union.
    """
    starts = _starts(rows, ("group_id", "region"))
    bounds = np.append(starts, rows.num_rows).tolist()
    groups: list[Group] = [range(start, end) for start, end in itertools.pairwise(bounds)]
    ids, sources = rows["product_id"].to_pylist(), rows["source"].to_pylist()
    orders = {name: _ordered(groups, rows[f"rank_{name}"].to_pylist(), ids) for name in own}
    stated = _attributes(rows["attributes"])
    firsts = pa.array(starts)
    made: dict[str, Any] = {name: rows[name].take(firsts) for name in ("group_id", "region", "product_id", "source")}
    made["sources"] = pa.array([sorted({sources[i] for i in group}) for group in groups], _TEXTS)
    made["members"] = pa.array(np.diff(bounds), pa.int32())
    gave: list[dict[int, list[str]]] = [{} for _ in groups]
    chosen: dict[str, list[int | None]] = {}
    for name in fields.business():
        if name == "attributes":
            known = rows[name].is_valid().to_pylist()
            made[name] = pa.array(_joined(orders.get(name, groups), stated, known, gave), _ATTRIBUTES)
        elif name == "category_paths":
            made[name] = pa.array(_union(groups, rows[name].to_pylist(), gave), _TEXTS)
        else:
            first = fields.FIRST.get(name, name)
            if first not in chosen:
                known = rows[first].is_valid().to_pylist()
                chosen[first] = [next((i for i in group if known[i]), None) for group in orders.get(first, groups)]
            made[name] = rows[name].take(pa.array(chosen[first], pa.int64()))
            for place, given, known in zip(chosen[first], gave, made[name].is_valid().to_pylist()):
                if known:
                    given.setdefault(place, []).append(name)
    made["provenance"] = pa.array(
        [[(ids[i], sources[i], given[i]) for i in sorted(given)] for given in gave], _PROVENANCE
    )
    made["conflicts"] = pa.array(_conflicts(rows, groups, orders, stated), _CONFLICTS)
    return pa.table(made)


def _starts(table: pa.Table, keys: tuple[str, ...]) -> np.ndarray:
    """Places of the first rows of the groups of equal `keys`."""
    new = np.zeros(table.num_rows, bool)
    new[0] = True
    for key in keys:
        column = table[key]
        new[1:] |= pc.not_equal(column.slice(1), column.slice(0, len(column) - 1)).to_numpy()
    return np.flatnonzero(new)


def _ordered(groups: list[Group], ranks: list[list[int]], ids: list[str]) -> list[Group]:
    return [sorted(group, key=lambda i: (ranks[i], ids[i])) for group in groups]


def _attributes(column: pa.ChunkedArray) -> list[list[traits.Attribute]]:
    """Each record's attributes as tuples; far quicker than the dicts that to_pylist makes."""
    lists = column.combine_chunks()
    flat = lists.flatten()
    said = list(zip(*(flat.field(i).to_pylist() for i in range(3))))
    ends = np.cumsum(pc.fill_null(pc.list_value_length(lists), 0).to_numpy()).tolist()
    return [said[start:end] for start, end in zip([0, *ends], ends)]


def _joined(
    groups: list[Group], stated: list[list[traits.Attribute]], known: list[bool], gave: list[dict[int, list[str]]]
) -> Iterator[list[traits.Attribute] | None]:
    """The attributes of each group: a record adds those whose names the records before it do not state.

    No attributes are an empty list or null as its records have it, so that a record alone is as it was in a group.
    """
    for group, given in zip(groups, gave):
        joined: list[traits.Attribute] = []
        names_known: set[str] = set()
        for i in group:
            fresh = [attribute for attribute in stated[i] if attribute[0] not in names_known]
            if fresh:
                names = dict.fromkeys(name for name, _, _ in fresh)
                names_known |= set(names)
                joined += fresh
                given.setdefault(i, []).extend(f"attributes.{name}" for name in names)
        # None first, as Spark sorts.
        joined.sort(key=lambda a: [(part is not None, part or "") for part in a])
        yield joined if any(known[i] for i in group) else None


def _union(
    groups: list[Group], paths: list[list[str] | None], gave: list[dict[int, list[str]]]
) -> Iterator[list[str] | None]:
    for group, given in zip(groups, gave):
        for i in group:
            if paths[i]:
                given.setdefault(i, []).append("category_paths")
        united = sorted({path for i in group for path in paths[i] or ()})
        yield united if any(paths[i] is not None for i in group) else None


def _conflicts(
    rows: pa.Table, groups: list[Group], orders: dict[str, list[Group]], stated: list[list[traits.Attribute]]
) -> Iterator[list[tuple] | None]:
    """What the records of each group disagree on, as the column conflicts."""
    ids, sources = rows["product_id"].to_pylist(), rows["source"].to_pylist()
    prices = zip(*(rows[name].to_pylist() for name in ("price", "price_high", "currency")))
    told = {
        "brand": [(conflicts.brand(one), one) for one in rows["brand"].to_pylist()],
        "gtin": [(one, one) for one in rows["gtin"].to_pylist()],
        "model_number": [(conflicts.model(one), one) for one in rows["model_number"].to_pylist()],
        "price": [_price(*one) for one in prices],
    }

    def disagreement(field: str, said: Iterable[tuple[int, Hashable, str]]) -> Iterator[tuple]:
        places: dict[Hashable, list[int]] = {}
        texts = {}
        for place, value, text in said:
            if value:
                places.setdefault(value, []).append(place)
                texts.setdefault(value, text)
        if len(places) > 1:
            yield (
                field,
                [(texts[v], [ids[i] for i in some], sorted({sources[i] for i in some})) for v, some in places.items()],
            )

    for at in range(len(groups)):
        found: list[tuple] = []
        for name, said in told.items():
            found += disagreement(name, ((i, *said[i]) for i in orders.get(name, groups)[at]))
        by_name: dict[str, list[tuple[int, Hashable, str]]] = {}
        spelt: dict[str, str] = {}
        for i in orders.get("attributes", groups)[at]:
            for name, (spelling, value, text) in conflicts.stated(stated[i]).items():
                spelt.setdefault(name, spelling)
                by_name.setdefault(name, []).append((i, value, text))
        for name in sorted(by_name):
            found += disagreement(f"attributes.{spelt[name]}", by_name[name])
        yield found or None


def _price(low: Decimal | None, high: Decimal | None, currency: str | None) -> tuple[tuple | None, str]:
    """What of a price is compared, and how it reads."""
    if low is None:
        return None, ""
    amount = f"{low}" if high is None else f"{low}-{high}"
    return (low, low if high is None else high, currency), f"{amount} {currency or ''}".rstrip()
