"""Records that are one product made one, without Spark: best values, where they are from, where records disagree."""

import itertools
import random
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.dedup import conflicts, fields, merging
from shelfmark.tables import table

TYPES = {
    "price": pa.decimal128(18, 2),
    "price_high": pa.decimal128(18, 2),
    "attributes": merging._ATTRIBUTES,
    "category_paths": pa.list_(pa.string()),
}
PLACE = ("group_id", "region", "product_id", "source")


def rows(records, **ranks):
    """Records as golden_records wants them, in the given order; ranks by field: product_id -> rank."""
    base = dict.fromkeys(fields.business()) | {"group_id": "g", "region": "GB", "source": "a"}
    records = [base | record for record in records]
    columns = {
        name: pa.chunked_array([pa.array([record[name] for record in records], TYPES.get(name, pa.string()))])
        for name in (*PLACE, *fields.business())
    }
    for name, rank in ranks.items():
        columns[f"rank_{name}"] = pa.array([[rank[record["product_id"]]] for record in records], pa.list_(pa.int64()))
    return pa.table(columns)


def merged(*records, **ranks):
    return merging.golden_records(rows(records, **ranks), tuple(ranks)).to_pylist()


def one(*records, **ranks):
    (made,) = merged(*records, **ranks)
    return made


def given_by(made):
    """product_id -> the fields it gave."""
    return {entry["product_id"]: entry["fields"] for entry in made["provenance"]}


def disagreements(made):
    """field -> [(value, product_ids)]"""
    return {c["field"]: [(v["value"], v["product_ids"]) for v in c["values"]] for c in made["conflicts"] or ()}


def attribute(name, value, unit=None):
    return {"name": name, "value": value, "unit": unit}


def test_the_columns_are_those_of_the_contract():
    made = merging.golden_records(rows([{"product_id": "p1"}]))
    assert made.column_names == [name for name in table("silver.catalogue").columns if name != "content_hash"]


def test_every_field_is_the_first_records_that_states_it_and_says_so():
    made = one(
        {"product_id": "p1", "title": "Drill", "price": Decimal("10.00"), "currency": "GBP"},
        {"product_id": "p2", "source": "b", "title": "Bohrer", "language": "de", "description": "A long text.",
         "price": Decimal("12.00"), "price_high": Decimal("15.00"), "currency": "GBP"},
    )  # fmt: skip
    assert (made["product_id"], made["source"], made["sources"], made["members"]) == ("p1", "a", ["a", "b"], 2)
    # A title and its language are one statement, as are a price, its high end and its currency.
    assert (made["title"], made["language"], made["description"]) == ("Drill", None, "A long text.")
    assert (made["price"], made["price_high"], made["currency"]) == (Decimal("10.00"), None, "GBP")
    assert given_by(made) == {"p1": ["title", "price", "currency"], "p2": ["description"]}
    assert [entry["source"] for entry in made["provenance"]] == ["a", "b"]


def test_attributes_are_joined_by_name_and_paths_are_all_records():
    made = one(
        {"product_id": "p1", "attributes": [attribute("colour", "red"), attribute("colour", "blue")],
         "category_paths": ["B"]},
        {"product_id": "p2", "attributes": [attribute("colour", "green"), attribute("weight", "5", "g")],
         "category_paths": ["A", "B"]},
        {"product_id": "p3", "attributes": [], "category_paths": None},
    )  # fmt: skip
    said = [(a["name"], a["value"], a["unit"]) for a in made["attributes"]]
    assert said == [("colour", "blue", None), ("colour", "red", None), ("weight", "5", "g")]
    assert made["category_paths"] == ["A", "B"]
    assert given_by(made) == {
        "p1": ["attributes.colour", "category_paths"],
        "p2": ["attributes.weight", "category_paths"],
    }


def test_a_field_has_its_own_order_and_its_statement_with_it():
    price = {"price": Decimal("10.00"), "price_high": Decimal("12.00"), "currency": "GBP"}
    first = {"product_id": "p1", "title": "Drill", "attributes": [attribute("colour", "red")], **price}
    second = {"product_id": "p2", "title": "Bohrer", "price": Decimal("9.00"), "currency": "GBP",
              "attributes": [attribute("colour", "blue")]}  # fmt: skip
    made = one(first, second, price={"p1": 1, "p2": 0}, attributes={"p1": 1, "p2": 0})
    assert (made["product_id"], made["title"]) == ("p1", "Drill")
    assert (made["price"], made["price_high"]) == (Decimal("9.00"), None)
    assert made["attributes"] == [attribute("colour", "blue")]
    assert given_by(made) == {"p1": ["title"], "p2": ["price", "currency", "attributes.colour"]}
    # The golden record's value comes first among those that disagree.
    assert disagreements(made)["price"] == [("9.00 GBP", ["p2"]), ("10.00-12.00 GBP", ["p1"])]
    assert disagreements(made)["attributes.colour"] == [("blue", ["p2"]), ("red", ["p1"])]


def test_what_an_order_does_not_tell_apart_the_smallest_product_id_does():
    records = [{"product_id": "p2", "brand": "B"}, {"product_id": "p1", "brand": "A"}]
    assert one(*records, brand={"p1": 0, "p2": 0})["brand"] == "A"


def test_each_value_of_a_conflict_names_all_who_state_it():
    made = one(
        {"product_id": "p1", "source": "a", "price": Decimal("1.00"), "currency": "GBP"},
        {"product_id": "p2", "source": "b", "price": Decimal("2.00"), "currency": "GBP"},
        {"product_id": "p3", "source": "a", "price": Decimal("1.00"), "currency": "GBP"},
        {"product_id": "p4", "source": "c"},
    )
    (entry,) = made["conflicts"]
    assert entry["values"] == [
        {"value": "1.00 GBP", "product_ids": ["p1", "p3"], "sources": ["a"]},
        {"value": "2.00 GBP", "product_ids": ["p2"], "sources": ["b"]},
    ]


@pytest.mark.parametrize(
    ("one_says", "other_says", "field"),
    [
        ({"brand": "Bosch"}, {"brand": "Siemens"}, "brand"),
        ({"brand": "Bosch GmbH"}, {"brand": "BOSCH"}, None),
        ({"gtin": "00000000000017"}, {"gtin": "00000000000024"}, "gtin"),
        ({"model_number": "KGN-36"}, {"model_number": "KGN 39"}, "model_number"),
        ({"model_number": "KGN-36"}, {"model_number": "KGN 36"}, None),
        ({"price": Decimal("1"), "currency": "GBP"}, {"price": Decimal("1"), "currency": "EUR"}, "price"),
        ({"price": Decimal("1"), "currency": "GBP"}, {"price": Decimal("1.00"), "currency": "GBP"}, None),
        ({"price": Decimal("1"), "currency": "GBP"}, {"currency": "EUR"}, None),
        ({"attributes": [attribute("Farbe", "rot")]}, {"attributes": [attribute("farbe", "red")]}, None),
        ({"attributes": [attribute("colour", "red")]}, {"attributes": [attribute("Colour", "blue")]}, "attributes.colour"),
        ({"attributes": [attribute("size", "M")]}, {"attributes": [attribute("size", "medium")]}, None),
        ({"attributes": [attribute("weight", "1", "kg")]}, {"attributes": [attribute("weight", "1000", "g")]}, None),
        ({"attributes": [attribute("weight", "1", "kg")]}, {"attributes": [attribute("weight", "1", "g")]},
         "attributes.weight"),
        ({"attributes": [attribute("material", "Solid  oak")]}, {"attributes": [attribute("material", "solid oak")]},
         None),
        ({"attributes": [attribute("colour", "red")]}, {"attributes": [attribute("material", "oak")]}, None),
        # What may well be said in several ways is no conflict.
        ({"title": "Drill", "description": "Long.", "image": "a.jpg", "item_group": "1", "category_paths": ["A"]},
         {"title": "Bohrer", "description": "Kurz.", "image": "b.jpg", "item_group": "2", "category_paths": ["B"]},
         None),
    ],
)  # fmt: skip
def test_what_is_a_conflict_and_what_only_another_spelling(one_says, other_says, field):
    made = one({"product_id": "p1"} | one_says, {"product_id": "p2"} | other_says)
    assert list(disagreements(made)) == ([field] if field else [])
    assert (made["conflicts"] is None) == (field is None)


TEXT = st.sampled_from([None, "A", "B", "b"])
MONEY = st.sampled_from([None, Decimal("1.00"), Decimal("2.00")])
ATTRIBUTES = st.lists(
    st.builds(attribute, st.sampled_from(["colour", "weight", "Colour"]), st.sampled_from(["1", "2", "red", "rot"]),
              st.sampled_from([None, "g"])),
    max_size=3,
)  # fmt: skip
RECORD = st.fixed_dictionaries(
    {name: TEXT for name in fields.business() if name not in TYPES}
    | {
        "price": MONEY,
        "price_high": MONEY,
        "attributes": st.one_of(st.none(), ATTRIBUTES),
        "category_paths": st.sampled_from([None, [], ["A"], ["B", "C"]]),
        "source": st.sampled_from("abc"),
        "region": st.sampled_from(["GB", "DE"]),
        "group_id": st.sampled_from(["g1", "g2"]),
        "rank": st.integers(0, 2),
        "own": st.integers(0, 2),
    }
)


def as_rows(records):
    """The records sorted as Spark does, with an order of its own for price and attributes."""
    records = sorted(records, key=lambda r: (r["group_id"], r["region"], r["rank"], r["product_id"]))
    own = {record["product_id"]: record["own"] for record in records}
    return rows([{k: v for k, v in r.items() if k not in ("rank", "own")} for r in records], price=own, attributes=own)


@given(st.lists(RECORD, min_size=1, max_size=9), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_provenance_and_conflicts_are_true_and_whole(records, shuffle: random.Random):
    records = [record | {"product_id": f"p{i}"} for i, record in enumerate(records)]
    made = merging.golden_records(as_rows(records), ("price", "attributes")).to_pylist()
    # In any order, and in batches of any size.
    shuffle.shuffle(records)
    batches = as_rows(records).to_batches(max_chunksize=shuffle.randint(1, 4))
    parts = [merging.golden_records(part, ("price", "attributes")) for part in _small(batches)]
    assert [record for part in parts for record in part.to_pylist()] == made

    groups = {}
    for record in records:
        groups.setdefault((record["group_id"], record["region"]), {})[record["product_id"]] = record
    assert [(one["group_id"], one["region"]) for one in made] == sorted(groups)
    for golden in made:
        members = groups[golden["group_id"], golden["region"]]
        assert golden["product_id"] == min(members, key=lambda key: (members[key]["rank"], key))
        _check_provenance(golden, members)
        _check_conflicts(golden, members)


def _small(batches):
    """whole_groups with as few rows as it can hold."""
    before, merging.ROWS = merging.ROWS, 1
    try:
        yield from merging.whole_groups(iter(batches), ("group_id", "region"))
    finally:
        merging.ROWS = before


def _check_provenance(golden, members):
    by = given_by(golden)
    assert set(by) <= set(members)
    assert all(entry["source"] == members[entry["product_id"]]["source"] for entry in golden["provenance"])
    givers = {}
    for key, names in by.items():
        for name in names:
            givers.setdefault(name, []).append(key)
    stated = {name for name in fields.business() if golden[name] not in (None, [])} - {"attributes"}
    assert {name for name in givers if not name.startswith("attributes.")} == stated
    for name in stated - {"category_paths"}:
        (key,) = givers[name]
        assert golden[name] == members[key][name]
        # Nobody who states the field, or the first of its statement, comes before.
        head = fields.FIRST.get(name, name)
        place = "own" if head == "price" else "rank"
        able = [k for k, record in members.items() if record[head] is not None]
        assert key == min(able, key=lambda k: (members[k][place], k))
    for statement in fields.TOGETHER:
        assert len({givers[name][0] for name in statement if name in givers}) <= 1
    for name, said in itertools.groupby(golden["attributes"] or (), key=lambda a: a["name"]):
        (key,) = givers[f"attributes.{name}"]
        assert sorted(map(str, said)) == sorted(str(a) for a in members[key]["attributes"] if a["name"] == name)
    paths = {path for key in givers.get("category_paths", ()) for path in members[key]["category_paths"]}
    assert paths == set(golden["category_paths"] or ())
    assert set(givers.get("category_paths", ())) == {k for k, r in members.items() if r["category_paths"]}


def _check_conflicts(golden, members):
    """A slow, obvious reference: two records that state a field otherwise are in two values of one conflict."""

    def says(record):
        said = {"brand": conflicts.brand(record["brand"]), "gtin": record["gtin"]}
        said["model_number"] = conflicts.model(record["model_number"])
        if record["price"] is not None:
            said["price"] = (record["price"], record["price_high"] or record["price"], record["currency"])
        said |= {f"attributes.{name}": v for name, (_, v, _) in conflicts.stated(
            (a["name"], a["value"], a["unit"]) for a in record["attributes"] or ()).items()}  # fmt: skip
        return {name: value for name, value in said.items() if value}

    told = {key: says(record) for key, record in members.items()}
    found = {field.lower(): values for field, values in disagreements(golden).items()}
    for field in set().union(*told.values()):
        values = {key: said[field] for key, said in told.items() if field in said}
        assert (field in found) == (len(set(values.values())) > 1)
        if field in found:
            assert sorted(key for _, keys in found[field] for key in keys) == sorted(values)
            assert all(len({values[key] for key in keys}) == 1 for _, keys in found[field])
            assert len(found[field]) == len(set(values.values()))
    assert set(found) <= set().union(*told.values())
