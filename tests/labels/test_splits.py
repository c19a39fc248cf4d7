"""Splits: no leak group on two sides, shares by products, small categories, and sides that outlive later runs.

One Spark pass serves many random catalogues: each is a set of categories and ids of its own.
"""

from collections import Counter, defaultdict

import numpy as np
import pytest

from shelfmark.config import Splits
from shelfmark.labels import splits

SETTINGS = Splits()
GROUPS = "product_id string, leak_group string, bucket int"
LABELS = "product_id string, category_id string, `primary` boolean"
SPLITS = "product_id string, leak_group string, side string, moved_from string, bucket int, run_id string"


def assign(spark, groups, categories, previous=None, run_id="r1", settings=SETTINGS):
    """Rows of `splits.assign` by product: groups: leak group -> products; categories: product -> primary category."""
    members = [(product, group, len(group) % 16) for group, products in groups.items() for product in products]
    said = [(product, category, True) for product, category in categories.items()]
    before = previous and spark.createDataFrame([tuple(row) for row in previous.values()], SPLITS)
    result = splits.assign(
        spark.createDataFrame(members, GROUPS), spark.createDataFrame(said, LABELS), before, settings, run_id
    )
    rows = result.select(*SPLITS.replace(",", "").split()[::2]).collect()
    spark.catalog.clearCache()
    assert len(rows) == len({row.product_id for row in rows})
    return {row.product_id: row for row in rows}


def category(name, sizes):
    """Leak groups of the given sizes, all in one category; (groups, categories)."""
    groups = {f"{name}-{g:05d}-000": [f"{name}-{g:05d}-{i:03d}" for i in range(size)] for g, size in enumerate(sizes)}
    return groups, {product: name for products in groups.values() for product in products}


def by_category(rows, categories):
    counts = defaultdict(Counter)
    for product, row in rows.items():
        counts[categories.get(product)][row.side] += 1
    return counts


def assert_one_side_per_group(rows):
    sides = defaultdict(set)
    for row in rows.values():
        sides[row.leak_group].add(row.side)
    assert {group: found for group, found in sides.items() if len(found) > 1} == {}


@pytest.fixture(scope="module")
def catalogue():
    """Forty categories of 1 to 3,000 groups, sizes long-tailed, some with one giant group."""
    random = np.random.default_rng(5)
    groups, categories = {}, {}
    for number in range(40):
        count = int(3000 ** random.random())
        sizes = np.minimum(random.zipf(2.5, count), 30)
        if number % 7 == 0:
            sizes[0] = sizes.sum()
        more = category(f"c{number:02d}", sizes)
        groups |= more[0]
        categories |= more[1]
    return groups, categories


@pytest.fixture(scope="module")
def first_run(spark, catalogue):
    return assign(spark, *catalogue)


def test_every_product_has_one_side_and_no_group_has_two(catalogue, first_run):
    groups, _ = catalogue
    assert {product: row.leak_group for product, row in first_run.items()} == {
        product: group for group, products in groups.items() for product in products
    }
    assert_one_side_per_group(first_run)
    assert {(row.moved_from, row.run_id) for row in first_run.values()} == {(None, "r1")}
    assert all(row.bucket == len(row.leak_group) % 16 for row in first_run.values())


def test_shares_hold_by_products_within_every_category(catalogue, first_run):
    groups, categories = catalogue
    sizes = defaultdict(list)
    for products in groups.values():
        sizes[categories[products[0]]].append(len(products))
    counts = by_category(first_run, categories)
    checked = 0
    for name, found in counts.items():
        total = sum(sizes[name])
        # A group that is longer than twice a side's share goes to train; the others round a side by a group at most.
        longest = max([size for size in sizes[name] if size <= 0.2 * total], default=0)
        if len(sizes[name]) < 5 or max(sizes[name]) > 0.2 * total:
            continue
        checked += 1
        for side in ("test", "calibrate", "tune"):
            assert abs(found[side] - 0.1 * total) <= longest, (name, side, found, total)
    assert checked > 15


def test_a_giant_group_goes_to_train_and_the_rest_still_fills_the_other_sides(spark):
    groups, categories = category("g", [900] + [1] * 300)
    found = by_category(assign(spark, groups, categories), categories)["g"]
    assert found == {"train": 900, "test": 120, "calibrate": 120, "tune": 60}


def test_small_categories_can_be_learnt_and_from_five_groups_be_tested(spark):
    groups, categories = {}, {}
    for count in range(1, 12):
        for copy in range(30):
            more = category(f"n{count:02d}.{copy:02d}", [1] * count)
            groups |= more[0]
            categories |= more[1]
    counts = by_category(assign(spark, groups, categories), categories)
    assert all(found["train"] >= 1 for found in counts.values())
    assert all(found["test"] == 1 for name, found in counts.items() if int(name[1:3]) >= 5)
    small = [found for name, found in counts.items() if int(name[1:3]) < 5]
    total = sum((Counter(found) for found in small), Counter())
    # 120 categories keep a group each in train; of the other 180 groups a tenth is on each evaluation side.
    assert total == {"train": 120 + 126, "test": 18, "calibrate": 18, "tune": 18}


def test_the_draw_depends_on_seed_and_ids_only(spark, catalogue, first_run):
    groups, categories = catalogue
    turned = dict(sorted(groups.items(), reverse=True))
    again = assign(spark, turned, dict(reversed(categories.items())))
    assert {p: r.side for p, r in again.items()} == {p: r.side for p, r in first_run.items()}
    other = assign(spark, groups, categories, settings=Splits(seed=7))
    moved = sum(other[p].side != r.side for p, r in first_run.items())
    assert moved > 0.2 * len(first_run)


def test_a_large_category_is_drawn_in_parts_with_the_same_shares(spark, monkeypatch):
    monkeypatch.setattr(splits, "CELL", 500)
    groups, categories = category("big", [1] * 4_900)
    found = by_category(assign(spark, groups, categories), categories)["big"]
    for side in ("test", "calibrate", "tune"):
        assert abs(found[side] - 490) <= 10  # ten lines, each rounded to a group


def test_a_second_run_changes_nothing(spark, catalogue, first_run):
    assert assign(spark, *catalogue, previous=first_run, run_id="r2") == first_run


def test_sides_survive_merges_additions_and_relabelling(spark, catalogue, first_run):
    """Groups merge at random, products join old groups, new ones come, some leave, labels change."""
    random = np.random.default_rng(6)
    old_groups, categories = catalogue
    names = sorted(old_groups)
    groups, categories = {}, dict(categories)
    while names:
        merged = [
            names.pop(random.integers(len(names))) for _ in range(min(len(names), random.choice([1, 1, 1, 2, 3])))
        ]
        products = [product for name in merged for product in old_groups[name]]
        if random.random() < 0.1:
            products.append(products[0] + "-late")
        if random.random() < 0.05:
            products = products[1:] or products
        groups[min(products)] = products
    fresh = category("c05", [1] * 50)
    groups |= {f"x{name}": [f"x{product}" for product in products] for name, products in fresh[0].items()}
    categories |= {f"x{product}": name for product, name in fresh[1].items()}
    for product in list(categories)[::17]:
        categories[product] = "relabelled"
    second = assign(spark, groups, categories, previous=first_run, run_id="r2")

    assert set(second) == set(first_run) | {product for products in groups.values() for product in products}
    by_group = defaultdict(list)
    for group, products in groups.items():
        for product in products:
            by_group[group].append(product)
    order = ("train", "tune", "calibrate", "test")
    for group, products in by_group.items():
        before = [first_run[product].side for product in products if product in first_run]
        now = {second[product].side for product in products}
        assert len(now) == 1
        if before:
            assert now == {max(before, key=order.index)}, group
    for product, row in first_run.items():
        if second[product].side == row.side:
            assert (second[product].moved_from, second[product].run_id) == (row.moved_from, row.run_id)
        else:
            assert (second[product].moved_from, second[product].run_id) == (row.side, "r2")
    assert any(row.moved_from and row.side == "test" for row in second.values())
    assert set(first_run) - {product for products in groups.values() for product in products}  # some have left
    assert_one_side_per_group(second)

    # And it is over: the next run moves nothing and keeps what is recorded.
    assert assign(spark, groups, categories, previous=second, run_id="r3") == second


def test_a_product_that_left_finds_its_side_again(spark):
    groups, categories = category("c", [1] * 40)
    first = assign(spark, groups, categories)
    gone = next(product for product, row in first.items() if row.side == "test")
    fewer = {group: products for group, products in groups.items() if products != [gone]}
    second = assign(spark, fewer, categories, previous=first, run_id="r2")
    assert second == first
    # It comes back as one of a group that was in train meanwhile: the group is tested on from now on.
    kept = next(product for product, row in first.items() if row.side == "train")
    joined = {group: products for group, products in fewer.items() if products != [kept]}
    third = assign(spark, {**joined, min(gone, kept): [gone, kept]}, categories, previous=second, run_id="r3")
    assert (third[gone].side, third[gone].moved_from) == ("test", None)
    assert (third[kept].side, third[kept].moved_from, third[kept].run_id) == ("test", "train", "r3")


def test_a_category_that_grows_by_one_a_day_keeps_its_shares(spark):
    """Thirty categories grow from nothing over twelve runs; every day draws a group or two in each."""
    rows, groups, categories = None, {}, {}
    for day in range(12):
        for name in range(30):
            for extra in range(1 + (day + name) % 2):
                product = f"c{name:02d}-{day:02d}-{extra}"
                groups[product], categories[product] = [product], f"c{name:02d}"
        if day % 3 == 2 or day == 0:  # some days bring more
            rows = assign(spark, groups, categories, previous=rows, run_id=f"r{day}")
    counts = by_category(rows, categories)
    assert all(sum(found.values()) == 18 for found in counts.values())
    for side, share in (("test", 0.1), ("calibrate", 0.1), ("tune", 0.1), ("train", 0.7)):
        everywhere = sum(found[side] for found in counts.values())
        assert abs(everywhere / 540 - share) < 0.05, (side, everywhere)
        if side != "train":
            assert all(1 <= found[side] <= 3 for found in counts.values()), side


def test_unlabelled_products_are_split_too(spark):
    groups, _ = category("u", [1] * 200)
    found = Counter(row.side for row in assign(spark, groups, {}).values())
    assert found == {"train": 140, "tune": 20, "calibrate": 20, "test": 20}


def test_the_smallest_labelled_product_speaks_for_its_group(spark):
    """Ten groups whose smallest product is unlabelled and whose largest says b: they are ten of category a."""
    groups = {f"{g}0": [f"{g}0", f"{g}1", f"{g}2"] for g in "abcdefghij"}
    categories = {f"{g}1": "a" for g in "abcdefghij"} | {f"{g}2": f"b{g}" for g in "abcdefghij"}
    found = Counter(row.side for row in assign(spark, groups, categories).values())
    assert found == {"train": 21, "tune": 3, "calibrate": 3, "test": 3}


def test_shares_that_do_not_sum_to_one_are_refused():
    with pytest.raises(ValueError, match=r"must sum to 1, not 1\.1"):
        Splits(train=0.8)
