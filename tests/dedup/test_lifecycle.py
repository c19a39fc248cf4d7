"""Group ids from run to run, against a slow reference and on the cases that have a name."""

import datetime
import random

from shelfmark import tables
from shelfmark.dedup import lifecycle

FIRST = datetime.date(2026, 1, 1)


def table(spark, groups):
    """silver.duplicates of groups {id: [survivor, member, ...]}."""
    rows = [
        (
            product,
            "GB",
            name,
            product == members[0],
            "same" if members[1:] else "single",
            None,
            None,
            len(members),
            None,
        )
        for name, members in groups.items()
        for product in members
    ]
    return spark.createDataFrame(rows, tables.table("silver.duplicates").ddl)


def presence(spark, days):
    return spark.createDataFrame(
        [(product, FIRST + datetime.timedelta(day)) for product, day in days.items()],
        "product_id string, first_seen date",
    )


def kept(spark, before, now, days=None):
    """(groups {id: members}, events {product: (event, group_id, from_group_id)}) of lists of members, survivors first."""
    days = days or {}
    every = {product for members in (*before.values(), *now) for product in members}
    found, events = lifecycle.keep_ids(
        table(spark, {members[0]: members for members in now}),
        table(spark, before),
        presence(spark, {product: days.get(product, 0) for product in every}),
        "20260102",
    )
    groups = {}
    for row in sorted(found.collect(), key=lambda row: not row.survivor):
        groups.setdefault(row.group_id, []).append(row.product_id)
    told = {row.product_id: (row.event, row.group_id, row.from_group_id) for row in events.collect()}
    return groups, told


def test_a_group_keeps_its_id_when_another_record_becomes_its_survivor(spark):
    groups, told = kept(spark, {"a": ["a", "b"]}, [["b", "a"]])
    assert groups == {"a": ["b", "a"]}
    assert told == {}


def test_a_new_record_that_leads_a_group_does_not_rename_it(spark):
    groups, told = kept(spark, {"b": ["b"], "x": ["x"]}, [["a", "b"], ["x"]])
    assert groups == {"b": ["a", "b"], "x": ["x"]}
    assert told == {}


def test_of_joined_groups_the_older_id_stays_and_who_changed_is_told(spark):
    groups, told = kept(spark, {"a": ["a", "b"], "c": ["c", "d"]}, [["a", "b", "c", "d"]], {"a": 5, "c": 2})
    assert groups == {"c": ["a", "b", "c", "d"]}
    assert told == {"a": ("joined", "c", "a"), "b": ("joined", "c", "a")}


def test_a_split_leaves_the_id_with_the_survivor(spark):
    groups, told = kept(spark, {"a": ["b", "a", "c"]}, [["a", "c"], ["b"]])
    new = next(name for name in groups if name != "a")
    # Product a is named by the id that stays with b, so that a's own group needs another.
    assert groups["a"] == ["b"]
    assert groups[new] == ["a", "c"]
    assert len(new) == 32
    assert told == {"a": ("split", new, "a"), "c": ("split", new, "a")}


def test_a_group_outside_of_the_part_keeps_the_name_of_a_product_of_it(spark):
    # A group elsewhere is called a: so a, which comes back, needs another name.
    names = spark.createDataFrame([("a",)], "group_id string")
    found, events = lifecycle.keep_ids(
        table(spark, {"a": ["a"], "x": ["x"]}), table(spark, {"x": ["x"]}), presence(spark, {"x": 0}), "20260102", names
    )
    called = {row.product_id: row.group_id for row in found.collect()}
    assert called["x"] == "x"
    assert len(called["a"]) == 32
    assert events.collect() == []


def test_where_the_survivor_is_gone_the_id_stays_with_most_members(spark):
    groups, told = kept(spark, {"a": ["a", "b", "c", "d"]}, [["b"], ["c", "d"]])
    assert groups == {"a": ["c", "d"], "b": ["b"]}
    assert told == {"b": ("split", "b", "a")}


def test_a_product_that_comes_back_does_not_take_the_id_its_group_has_kept(spark):
    groups, told = kept(spark, {"a": ["b", "c"]}, [["b", "c"], ["a"]])
    assert groups["a"] == ["b", "c"]
    assert len(groups) == 2
    assert told == {}


def reference(before, now, days):
    """The rules of the module, one by one."""
    place = {product: members[0] for members in now for product in members}
    claims = {}
    for name, members in before.items():
        here = [product for product in members if product in place]
        if not here:
            continue
        led = place.get(members[0])
        sizes = {spot: sum(place[product] == spot for product in here) for spot in {place[product] for product in here}}
        spot = led or min(sizes, key=lambda spot: (-sizes[spot], spot))
        claims.setdefault(spot, []).append((days[name], -sizes[spot], name))
    return {spot: min(arrived)[2] for spot, arrived in claims.items()}


def parts(draw, products):
    """The products in up to four groups, each with its survivor first."""
    groups = {}
    for product in draw.sample(products, len(products)):
        groups.setdefault(draw.randrange(4), []).append(product)
    return list(groups.values())


def test_ids_are_those_of_the_rules_and_every_change_is_told(spark):
    """A hundred catalogues of six products that have nothing to do with each other, in one run."""
    draw = random.Random(8)
    before, now, days = {}, [], {}
    for number in range(100):
        products = [f"{number:02d}{letter}" for letter in "abcdef"]
        days |= dict(zip(products, draw.sample(range(6), 6)))
        before |= {min(members): sorted(members) for members in parts(draw, products)}
        now += parts(draw, products)
    groups, told = kept(spark, before, now, days)
    expected = reference(before, now, days)
    assert sorted(map(sorted, groups.values())) == sorted(map(sorted, now))
    where = {product: name for name, members in groups.items() for product in members}
    for members in now:
        if members[0] in expected:
            assert where[members[0]] == expected[members[0]]
    was = {product: name for name, members in before.items() for product in members}
    assert {p: (n, f) for p, (_, n, f) in told.items()} == {p: (where[p], was[p]) for p in days if where[p] != was[p]}
    assert {f for e, _, f in told.values() if e == "joined"} == set(was.values()) - set(where.values())
    assert {event for event, _, _ in told.values()} == {"joined", "split"}


def test_a_second_run_of_the_same_data_changes_nothing(spark):
    groups, told = kept(spark, {"a": ["b", "a"], "c": ["c"]}, [["b", "a"], ["c"]])
    assert groups == {"a": ["b", "a"], "c": ["c"]}
    assert told == {}
