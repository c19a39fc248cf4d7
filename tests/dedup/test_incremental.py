"""A daily run does what changed, and leaves the tables that a run over all would leave."""

import hashlib
import random
from collections import Counter
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F
from rich.console import Console

from shelfmark import config, pipeline, tables
from shelfmark.dedup import decisions, groups, incremental, index, kernel
from shelfmark.lake import open_lake
from shelfmark.pipeline import _execute
from shelfmark.query import read
from shelfmark.run import Since, execute

pytestmark = pytest.mark.usefixtures("unchecked")

# -- who is touched: plain arrays, against all edges of all products --------------------------------------------------


def known(products, keys_of):
    """`index.Known` of {product: (title, values)}."""
    names = sorted(products)
    values = np.array([products[name][1] for name in names], np.uint64).reshape(len(names), 2)
    pairs = sorted({(key, title) for title, _ in products.values() if title for key in keys_of[title]})
    keys, holders = np.array(pairs, np.uint64).reshape(-1, 2).T
    title = np.array([products[name][0] for name in names], np.uint64)
    return index.Known(np.array(names, np.uint64), title, values, keys.copy(), holders.copy())


def edges(products, keys_of):
    """All that may link two products: candidate edges of titles, one title, one identity value on few titles."""
    every = known(products, keys_of)
    of_title, of_value = {}, {}
    for name, (title, values) in products.items():
        if title:
            of_title.setdefault(title, set()).add(name)
        for value in filter(None, values):
            of_value.setdefault(value, set()).add(name)
    found = {frozenset(some) for some in of_title.values()}
    found |= {frozenset(some) for some in of_value.values() if len({products[p][0] for p in some}) <= groups.MAX_TITLES}
    for one, other in zip(*incremental._edges(every.keys, every.holders)):
        found.add(frozenset(of_title[int(one)] | of_title[int(other)]))
    return found


def components(products, keys_of):
    """The leak groups of all products, as sets."""
    of = {name: {name} for name in products}
    for some in edges(products, keys_of):
        one = set().union(*(of[name] for name in some))
        of |= dict.fromkeys(one, one)
    return {frozenset(some) for some in of.values()}


catalogues = st.dictionaries(
    st.integers(1, 30), st.tuples(st.integers(0, 12), st.tuples(st.integers(0, 4), st.integers(0, 0))), max_size=25
)


@settings(max_examples=300, deadline=None)
@given(
    before=catalogues,
    after=catalogues,
    buckets=st.lists(st.frozensets(st.integers(100, 115), min_size=1, max_size=3), min_size=12, max_size=12),
    limit=st.sampled_from([2, 50]),
)
def test_leak_groups_that_nobody_concerned_is_in_stay_as_they_are(before, after, buckets, limit):
    keys_of = dict(enumerate(buckets, 1))
    left = np.array(sorted(p for p in before if before[p] != after.get(p)), np.uint64)
    fresh = {p: said for p, said in after.items() if before.get(p) != said}
    added, removed = known(fresh, keys_of), known({int(p): before[int(p)] for p in left}, keys_of)
    maybe = np.setxor1d(incremental._real(added.title), incremental._real(removed.title))
    held = np.isin(added.holders, maybe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "MAX_TITLES", limit)
        # The whole index in place of a probe: what is asked of it is tested below.
        found = incremental.affected(
            known(before, keys_of), added, left, maybe, (added.keys[held], added.holders[held])
        )
        was, now = components(before, keys_of), components(after, keys_of)
    concerned = {int(p) for p in found} | {int(p) for p in left}
    stay = {some for some in was if not some & concerned}
    assert stay <= now
    assert not set().union(*stay) & fresh.keys()


def test_a_title_that_is_no_anchor_touches_the_anchors_alone():
    bucket = np.full(1000, 7, np.uint64), np.arange(10, 1010, dtype=np.uint64)
    new = np.array([7], np.uint64), np.array([5000], np.uint64)
    ends = incremental.changed_ends(*bucket, *new, coming=new[1], going=np.empty(0, np.uint64))
    assert ends.tolist() == [10, 11, 5000]
    smallest = new[0], np.array([1], np.uint64)
    ends = incremental.changed_ends(*bucket, *smallest, coming=smallest[1], going=np.empty(0, np.uint64))
    assert len(ends) == 1001


# -- the index ---------------------------------------------------------------------------------------------------------

TITLES = ["Zanzibar cotton shirt in red", "Zanzibar cotton shirt in blue", "Oak board of the old mill", None]


def listed(spark, titles):
    rows = [(f"p{i}", "shop", title, f"i{i}", None, "g", None) for i, title in enumerate(titles)]
    names = (
        "product_id string, source string, title string, image_id string, image string, gtin string, item_group string"
    )
    return spark.createDataFrame(rows, names)


def stored(spark, titles, segment=0):
    return index.rows(listed(spark, titles), config.Dedupe()).withColumn("segment", F.lit(segment))


def hashes(spark, *ids):
    return incremental._hashes(spark.createDataFrame([(one,) for one in ids], "product_id string"))


def test_a_probe_finds_products_by_all_that_they_may_share(spark):
    every = stored(spark, TITLES)
    all_ = index.collected(every.drop("segment"))
    assert len(all_.product) == 4
    assert (all_.title > 0).tolist() == [True, True, True, False]
    assert len(set(all_.keys.tolist())) == len(all_.keys) - len(set(all_.keys[all_.holders == all_.title[0]]) & set(
        all_.keys[all_.holders == all_.title[1]]
    ))  # fmt: skip
    none = index.gone(every)
    nothing = np.empty(0, np.uint64)
    (board,) = hashes(spark, "p2")
    found = index.probe(every, none, np.array([board]))
    assert found.product.tolist() == [board]
    assert set(found.holders.tolist()) == {all_.title[2]}
    shirts = index.probe(every, none, nothing, keys=all_.keys[all_.holders == all_.title[0]])
    assert set(shirts.title.tolist()) == {all_.title[0], all_.title[1]}
    assert set(shirts.keys.tolist()) == set(all_.keys[all_.holders == all_.title[0]].tolist())
    assert len(index.probe(every, none, nothing, values=all_.values[:1]).product) == 4  # the GTIN
    assert len(index.probe(every, none, nothing, title=all_.title).product) == 3


def test_what_is_gone_counts_no_more_until_it_comes_back(spark):
    (shirt,) = hashes(spark, "p0")
    left = index.gone_row(spark, np.array([shirt])).withColumn("segment", F.lit(1))
    every = stored(spark, TITLES).unionByName(left)
    gone = index.gone(every)
    assert len(index.probe(every, gone, np.array([shirt])).product) == 0
    back = every.unionByName(stored(spark, ["Zanzibar shirt of cotton"], segment=2))
    found = index.probe(back, index.gone(back), np.array([shirt]))
    assert len(found.product) == 1
    assert found.title[0] == kernel.text_keys(*kernel.text_buffers(pa.array(["zanzibar shirt of cotton"])))[0]


def test_a_probe_that_would_bring_too_much_says_so(spark, monkeypatch):
    every = stored(spark, TITLES)
    monkeypatch.setattr(index, "LIMIT", 2)
    with pytest.raises(index.TooMany):
        index.probe(every, index.gone(every), hashes(spark, "p0", "p1", "p2"))


# -- the job -----------------------------------------------------------------------------------------------------------

WORDS = [a + b for a in ("bra", "kel", "mon", "tir", "vos", "lup") for b in ("dan", "fil", "gor", "hem", "kas", "nut")]
PLACEHOLDER = "http://shop/placeholder.png"  # on about `groups.MAX_TITLES` titles: it comes and goes as evidence


def product(draw, number):
    title = random.Random(draw.randrange(120)).choices(WORDS, k=6)
    if draw.random() < 0.6:
        title[draw.randrange(6)] = draw.choice(WORDS)
    picture = PLACEHOLDER if draw.random() < 0.25 else f"http://shop/{draw.randrange(300)}.png"
    return {
        "product_id": hashlib.md5(str(number).encode()).hexdigest(),
        "source": draw.choice(["shop", "other"]),
        "source_key": str(number),
        "region": draw.choice(["US", "GB"]),
        "title": " ".join(title),
        "gtin": f"{draw.randrange(60):014d}" if draw.random() < 0.2 else None,
        "image": picture if draw.random() < 0.6 else None,
        "price": Decimal(draw.randrange(5, 12)),
        "currency": "USD",
        "category_paths": [],
        "content_hash": hashlib.md5(str(draw.random()).encode()).hexdigest(),
    }


def take_in(settings, spark, run_id, rows, gone=()):
    """Bring silver.products and silver.presence to a state, as an ingest would."""

    def recipe(run):
        run.validate = list  # the products are made up
        contract = tables.table("silver.products")
        made = spark.createDataFrame([tuple(row.get(c) for c in contract.columns) for row in rows], contract.ddl)
        day, by = F.lit(run.run_date), F.lit(run.run_id)
        seen = {"first_run": by, "last_run": by, "first_seen": day, "last_seen": day}
        seen = made.select("product_id", "source", "region", *(value.alias(name) for name, value in seen.items()))
        for name, df in (("silver.products", made), ("silver.presence", seen)):
            if run.has(name):
                run.merge(name, df, only=["last_run", "last_seen"] if name == "silver.presence" else None)
                run.delete(name, F.col("product_id").isin(list(gone)))
            else:
                run.write(name, df)

    execute("ingest", recipe, settings, spark, run_id, always=True)


def rows_of(spark, settings, name):
    lake = open_lake(settings)
    return read(spark, lake, lake.resolve("main").id, name).collect()


def state(spark, settings):
    """What a dedupe left, groups called by their survivors: those of a lake with a history are called otherwise."""
    rows = {name: rows_of(spark, settings, f"silver.{name}") for name in ("leak_groups", "duplicates", "catalogue")}
    lead = {row.group_id: row.product_id for row in rows["duplicates"] if row.survivor}

    def named(row):
        said = row.asDict(recursive=True)
        return said | {"group_id": lead[row.group_id]} if "group_id" in said else said

    return {name: sorted(repr(named(row)) for row in some) for name, some in rows.items()}


@pytest.mark.slow
@pytest.mark.parametrize("days", [2, pytest.param(5, marks=pytest.mark.nightly)])
def test_days_of_changes_leave_what_one_run_over_all_leaves(spark, tmp_path, monkeypatch, days):
    monkeypatch.setattr(incremental, "FEW", 0)
    draw = random.Random(5)
    daily, whole = (config.load(home=str(tmp_path / name)) for name in ("daily", "whole"))
    stock = {one["product_id"]: one for one in (product(draw, i) for i in range(250))}
    said = []

    def day(number, rows, gone=()):
        stock.update((one["product_id"], one) for one in rows)
        for one in gone:
            del stock[one]
        take_in(daily, spark, f"2026010{number}-i", rows, gone)
        outcome = _execute("dedupe", daily, spark, f"2026010{number}-d", False)
        return outcome.notes["scope"], outcome.notes["scope_because"].partition(" products changed")[0]

    def some(number):
        """New products, others changed, others gone."""
        gone, changed = np.split(np.array(draw.sample(sorted(stock), 9)), [4])
        rows = [product(draw, 1000 * number + i) for i in range(8)]
        return rows + [product(draw, int(stock[one]["source_key"])) for one in changed], gone.tolist()

    assert day(1, list(stock.values())) == ("all", "the first run, or forced")
    # A steward's word touches its groups too; the index is made anew, and used the next day.
    said.append(decisions.parse(*draw.sample(sorted(stock), 2), "same", "looked at both", "ann"))
    pipeline.decide(said, daily, Console(quiet=True), "20260102-w")
    monkeypatch.setattr(incremental, "WORN", 0)
    assert day(2, *some(2)) == ("changed", "17")
    if days > 2:
        monkeypatch.setattr(incremental, "WORN", 0.2)
        assert day(3, *some(3)) == ("changed", "17")
        sizes = Counter(row.leak_group for row in rows_of(spark, daily, "silver.leak_groups"))
        alone = next(name for name, size in sizes.items() if size == 1)
        assert day(4, [], [alone]) == ("changed", "1")
        assert day(5, [next(iter(stock.values()))]) == ("changed", "0")  # seen again, as it was
    take_in(whole, spark, "20260105-i", list(stock.values()))
    pipeline.decide(said, whole, Console(quiet=True), "20260105-w")
    _execute("dedupe", whole, spark, "20260105-d", False)
    assert state(spark, daily) == state(spark, whole)
    assert _execute("dedupe", daily, spark, "20260106-d", False).status == "skipped"


def test_what_cannot_be_told_from_the_run_before_is_done_anew_and_says_why():
    class Run:
        since, settings = None, config.Settings()

        def has(self, name):
            return False

    run = Run()
    assert incremental._obstacle(run) == "the first run, or forced"
    run.since = Since(None, ["silver/products", "silver/duplicates"])
    assert incremental._obstacle(run) == "changed: silver/duplicates"
    run.since = Since(None, ["silver/products"])
    assert incremental._obstacle(run) == "no silver.lsh_index yet"
    run.settings = config.Settings(dedupe={"scorer": {"model": "model.json"}})
    assert incremental._obstacle(run) == "a scorer compares all"
