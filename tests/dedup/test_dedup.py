"""The room on Spark: pairs, leak groups, duplicates and golden records, against brute force and planted truth."""

import datetime
import hashlib
import html
import itertools
import random
from collections import Counter
from decimal import Decimal

import ftfy
import networkx as nx
import pytest

from shelfmark import config, tables
from shelfmark.dedup import groups as leak
from shelfmark.dedup.candidates import near_pairs
from shelfmark.dedup.golden import catalogue
from shelfmark.dedup.groups import group_sizes, leak_groups
from shelfmark.dedup.survivors import duplicates

PRODUCT = tables.table("silver.products")


def products(spark, rows):
    """A silver.products table of the given rows; what a row does not give is null."""
    base = dict.fromkeys(PRODUCT.columns) | {"source": "a", "region": "GB", "content_hash": "x"}
    full = []
    for row in rows:
        row = base | {"source_key": row["product_id"]} | row
        for name in ("price", "price_high"):
            row[name] = None if row[name] is None else Decimal(str(row[name])).quantize(Decimal("0.01"))
        full.append(tuple(row[name] for name in PRODUCT.columns))
    return spark.createDataFrame(full, PRODUCT.ddl)


def shingles(text):
    text = " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))} if text else set()


@pytest.fixture(scope="module", autouse=True)
def few_shards(spark):
    """Small tables: two tasks a shuffle instead of eight."""
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", 2)
    yield
    spark.conf.set("spark.sql.shuffle.partitions", before)


@pytest.fixture(scope="module")
def titled():
    """400 titles of few words: many near, many equal, some empty or short."""
    draw = random.Random(4)
    words = ["oak table", "pine chair", "garden", "classic", "large", "60 cm", "set of four", "white", "outdoor"]
    titles = [" ".join(draw.choices(words, k=draw.randint(3, 7))) for _ in range(330)]
    titles += draw.choices(titles, k=50) + ["Ab", "ab!", "", None, "日本語", "日本語"] + ["Oak  TABLE, garden"] * 14
    rows = [{"product_id": hashlib.md5(str(i).encode()).hexdigest(), "title": t} for i, t in enumerate(titles)]
    return rows


def test_pairs_are_exact_and_few_near_titles_are_missed(spark, titled):
    found = near_pairs(products(spark, titled), config.Dedupe()).collect()
    sets = {row["product_id"]: shingles(row["title"] or "") for row in titled}
    for pair in found:
        a, b = sets[pair.left], sets[pair.right]
        assert pair.left < pair.right
        assert pair.similarity == pytest.approx(len(a & b) / len(a | b))
        assert pair.similarity >= 0.8
    assert len({(pair.left, pair.right) for pair in found}) == len(found)
    graph = nx.Graph((pair.left, pair.right) for pair in found)
    reached = missed = 0
    for a, b in itertools.combinations(sets, 2):
        if sets[a] and len(sets[a] & sets[b]) / len(sets[a] | sets[b]) >= 0.8:
            same = a in graph and b in graph and nx.has_path(graph, a, b)
            reached, missed = reached + same, missed + (not same)
            assert same or sets[a] != sets[b], "equal titles are always together"
    assert reached > 100
    assert missed / (reached + missed) < 0.06  # P(candidate) is .947 at J = .8 and more above


@pytest.mark.parametrize(("unit", "size"), [("characters", 5), ("words", 2)])
def test_near_titles_of_scripts_without_spaces_are_found(spark, unit, size):
    """One title of each script, the same with another end, and one of the same characters that is another product."""
    scripts = {
        "ja": ("東芝製全自動洗濯機縦型八キロ白色静音設計省エネ運転", "全自動の炊飯器は静音設計"),
        "zh": ("华为智能手机全网通双卡双待大屏幕长续航官方旗舰正品", "智能手表全屏幕官方正品"),
        "th": ("เครื่องซักผ้าอัตโนมัติฝาบนขนาดแปดกิโลกรัมประหยัดพลังงาน", "เครื่องอบผ้าฝาหน้า"),
    }
    rows = []
    for script, (title, other) in scripts.items():
        for key, text in (("a", title), ("b", f"{title} 新"), ("c", f"{title}!"), ("d", other)):
            rows.append({"product_id": f"{script}-{key}", "title": text})
    settings = config.Dedupe(unit=unit, shingle=size)
    found = near_pairs(products(spark, rows), settings).collect()
    assert {(pair.left, pair.right) for pair in found} == {
        (f"{script}-a", f"{script}-{key}") for script in scripts for key in "bc"
    }
    assert all(pair.similarity == 1.0 for pair in found if pair.right.endswith("c"))


def test_the_same_result_for_any_partitions_and_order(spark, titled):
    mixed = random.Random(1).sample(titled, len(titled))
    frames = [products(spark, titled).repartition(1), products(spark, mixed).repartition(3)]
    results = []
    before = spark.conf.get("spark.sql.shuffle.partitions")
    try:
        for frame, shards in zip(frames, (1, 3)):
            spark.conf.set("spark.sql.shuffle.partitions", shards)
            pairs = near_pairs(frame, config.Dedupe()).persist()
            tables_ = (pairs, leak_groups(frame, pairs), duplicates(frame, pairs))
            results.append([sorted(map(tuple, table.collect())) for table in tables_])
            pairs.unpersist()
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)
    assert results[0] == results[1]


def test_leak_groups_are_the_components_of_every_shared_identity(spark):
    rows = [
        {"product_id": "p01", "title": "Blue chair"},
        {"product_id": "p02", "title": "blue CHAIR!", "source": "b"},
        {"product_id": "p03", "title": "Stuhl", "image": "x.jpg"},
        {"product_id": "p04", "title": "Sedia", "image": "x.jpg", "gtin": "00000000000017"},
        {"product_id": "p05", "title": "Chaise", "gtin": "00000000000017", "source": "b"},
        {"product_id": "p06", "title": "Lamp, red", "item_group": "g"},
        {"product_id": "p07", "title": "A light that is green", "item_group": "g"},
        {"product_id": "p08", "title": "Another vendor's group", "item_group": "g", "source": "b"},
        {"product_id": "p09", "title": "Alone"},
        {"product_id": "p10", "title": None},
        {"product_id": "p11", "title": None},
        {"product_id": "p12", "title": "Picture one", "image_id": "i"},
        {"product_id": "p13", "title": "Second picture", "image_id": "i", "image": ""},
        {"product_id": "p14", "title": "Third", "image": ""},
    ]
    frame = products(spark, rows)
    found = leak_groups(frame, near_pairs(frame, config.Dedupe())).persist()
    assert found.columns == tables.table("silver.leak_groups").columns
    groups = {row.product_id: row.leak_group for row in found.collect()}
    assert groups == {
        "p01": "p01", "p02": "p01", "p03": "p03", "p04": "p03", "p05": "p03", "p06": "p06", "p07": "p06",
        "p08": "p08", "p09": "p09", "p10": "p10", "p11": "p11", "p12": "p12", "p13": "p12", "p14": "p14",
    }  # fmt: skip
    assert found.where("bucket not between 0 and 15 or bucket <> pmod(hash(leak_group), 16)").count() == 0
    assert [tuple(row) for row in group_sizes(found).collect()] == [(3, 1), (2, 3), (1, 5)]
    found.unpersist()


def test_a_placeholder_is_no_identity_and_swallows_nothing(spark):
    """One picture and one GTIN on more titles than `MAX_TITLES`, one on as many as that."""
    many = leak.MAX_TITLES + 1
    nouns = ["".join(random.Random(i).choices("abcdefghijklmnopqrstuvwxyz", k=9)) for i in range(2 * many)]
    rows = [
        {"product_id": f"p{i:03d}", "title": noun, "image": "none.png", "gtin": "00000000000000"}
        for i, noun in enumerate(nouns[:many])
    ]
    rows += [{"product_id": f"q{i:03d}", "title": noun, "image": "one.png"} for i, noun in enumerate(nouns[many:-1])]
    frame = products(spark, rows)
    pairs = near_pairs(frame, config.Dedupe()).persist()
    sizes = [tuple(row) for row in group_sizes(leak_groups(frame, pairs)).collect()]
    assert sizes == [(leak.MAX_TITLES, 1), (1, many)]
    assert duplicates(frame, pairs).where("group_size > 1").count() == 0
    pairs.unpersist()


def test_a_title_on_many_records_does_not_blow_up(spark):
    """20,000 records of one title in one source: one leak group, no duplicates, and no quadratic work."""
    frame = spark.range(20_000).selectExpr("sha2(string(id), 256) as product_id", "id")
    base = products(spark, [{"product_id": "x", "title": "Puma Men's black T-shirt"}]).drop("product_id")
    frame = frame.crossJoin(base).withColumn("price", frame.id.cast("decimal(18,2)")).drop("id").persist()
    pairs = near_pairs(frame, config.Dedupe()).persist()
    assert pairs.count() == 19_999
    assert leak_groups(frame, pairs).select("leak_group").distinct().count() == 1
    assert duplicates(frame, pairs).where("group_size > 1").count() == 0
    pairs.unpersist()
    frame.unpersist()


def test_a_golden_record_is_the_survivors_with_what_others_state(spark):
    gtin, title = "00000000000017", "Bosch Serie 4 fridge freezer"
    blue = [("colour", "blue", None)]
    rows = [
        {"product_id": "p1", "title": title, "gtin": gtin, "price": 10, "currency": "GBP", "brand": "Bosch",
         "attributes": blue, "category_paths": ["B"], "description": "Short."},
        {"product_id": "p2", "title": "Fridge by Bosch", "gtin": gtin, "source": "b", "price": 12, "price_high": 15,
         "currency": "GBP", "image": "b.jpg", "attributes": [*blue, ("weight", "60000", "g")], "category_paths": ["A"]},
        {"product_id": "p3", "title": "Bosch Kühlschrank", "gtin": gtin, "source": "c", "region": "DE",
         "language": "de"},
        {"product_id": "p4", "title": "Something else"},
    ]  # fmt: skip
    frame = products(spark, rows)
    groups = duplicates(frame, near_pairs(frame, config.Dedupe())).persist()
    assert groups.columns == tables.table("silver.duplicates").columns
    told = {row.product_id: row for row in groups.collect()}
    assert {row.group_id for key, row in told.items() if key != "p4"} == {"p1"}
    assert [key for key, row in told.items() if row.survivor and row.group_size == 3] == ["p1"]
    assert told["p2"].matched_by == told["p3"].matched_by == told["p1"].matched_by == "gtin"
    assert 0 < told["p2"].similarity < 0.8
    assert tuple(told["p4"])[2:] == ("p4", True, "single", 1.0, None, 1, None)

    golden = catalogue(frame, groups)
    assert golden.columns == tables.table("silver.catalogue").columns
    found = {(row.group_id, row.region): row for row in golden.collect()}
    groups.unpersist()
    assert set(found) == {("p1", "GB"), ("p1", "DE"), ("p4", "GB")}
    one = found["p1", "GB"]
    assert (one.product_id, one.source, one.sources, one.members) == ("p1", "a", ["a", "b"], 2)
    assert (one.title, one.brand, one.image, one.description) == (title, "Bosch", "b.jpg", "Short.")
    # Price, its high end and its currency are one statement: p2's high end is not p1's.
    assert (one.price, one.price_high, one.currency) == (Decimal("10.00"), None, "GBP")
    assert [tuple(a) for a in one.attributes] == [("colour", "blue", None), ("weight", "60000", "g")]
    assert one.category_paths == ["A", "B"]
    german = found["p1", "DE"]
    assert (german.product_id, german.title, german.members) == ("p3", "Bosch Kühlschrank", 1)
    assert found["p4", "GB"].attributes is None
    assert len({row.content_hash for row in found.values()}) == 3
    assert [tuple(entry) for entry in one.provenance] == [
        (
            "p1",
            "a",
            ["title", "description", "brand", "gtin", "price", "currency", "attributes.colour", "category_paths"],
        ),
        ("p2", "b", ["attributes.weight", "category_paths", "image"]),
    ]
    assert [(c.field, [tuple(value) for value in c.values]) for c in one.conflicts] == [
        ("price", [("10.00 GBP", ["p1"], ["a"]), ("12.00-15.00 GBP", ["p2"], ["b"])])
    ]
    # A record that is alone says so in the same way.
    assert [tuple(entry) for entry in german.provenance] == [("p3", "c", ["title", "gtin", "language"])]
    assert [tuple(entry) for entry in found["p4", "GB"].provenance] == [("p4", "a", ["title"])]
    assert german.conflicts is found["p4", "GB"].conflicts is None


BOSCH = {"title": "Bosch Serie 4 fridge freezer", "gtin": "00000000000017"}
DAY = datetime.datetime(2025, 1, 1)
OFFERED = [
    {"product_id": "p1", **BOSCH, "source": "a", "brand": "Bosch", "price": 10, "currency": "GBP",
     "description": "The longest of all.", "image": "a.jpg", "source_updated_at": DAY},
    {"product_id": "p2", **BOSCH, "source": "b", "price": 11, "currency": "GBP", "price_high": 13,
     "description": "Short.", "source_updated_at": DAY + datetime.timedelta(days=2)},
    {"product_id": "p3", **BOSCH, "source": "c", "price": 12, "currency": "GBP", "description": "Longer.",
     "source_updated_at": DAY + datetime.timedelta(days=1)},
    {"product_id": "p4", **BOSCH, "source": "d", "language": "en"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("golden", "survivor", "price", "description"),
    [
        ({}, "p1", "p1", "p1"),
        ({"sources": ["c", "b"]}, "p3", "p3", "p3"),
        ({"sources": ["d"]}, "p4", "p1", "p1"),
        ({"order": ["recency"]}, "p2", "p2", "p2"),
        ({"fields": {"price": ["recency"]}}, "p1", "p2", "p1"),
        ({"field_sources": {"description": ["c"]}}, "p1", "p1", "p3"),
        ({"order": ["description"], "fields": {"price": ["source", "recency"]}, "sources": ["c"]}, "p1", "p3", "p1"),
    ],
)
def test_survivor_and_golden_record_follow_the_configured_order(spark, golden, survivor, price, description):
    frame = products(spark, OFFERED)
    settings = config.Dedupe(golden=golden)
    groups = duplicates(frame, near_pairs(frame, settings), settings).persist()
    assert {(row.group_id, row.group_size) for row in groups.collect()} == {(survivor, 4)}
    (record,) = catalogue(frame, groups, settings.golden).collect()
    groups.unpersist()
    offered = {row["product_id"]: row for row in OFFERED}
    assert record.product_id == survivor
    assert record.price == offered[price]["price"]
    assert (record.price_high or 0) == offered[price].get("price_high", 0)
    assert record.description == offered[description]["description"]
    giver = {name: entry.product_id for entry in record.provenance for name in entry.fields}
    assert {name: giver[name] for name in ("price", "currency", "description")} == {
        "price": price, "currency": price, "description": description,
    }  # fmt: skip
    (conflict,) = record.conflicts
    assert conflict.field == "price"
    assert {key for value in conflict.values for key in value.product_ids} == {"p1", "p2", "p3"}
    assert conflict.values[0].product_ids == [price]


def test_the_catalogue_is_the_same_for_any_partitions_and_order(spark):
    """Also where a task's groups do not end with its batches."""
    draw = random.Random(3)
    rows, members = [], []
    for i in range(300):
        group, key = f"g{draw.randint(0, 90)}", f"p{i:03d}"
        rows.append(
            {"product_id": key, "source": draw.choice("abc"), "region": draw.choice(["GB", "DE"]),
             "title": draw.choice([None, "A", "B"]), "price": draw.choice([None, 1, 2]), "currency": "GBP",
             "attributes": draw.choice([None, [("colour", "red", None)], [("weight", "5", "g"), ("colour", "blue", None)]]),
             "category_paths": draw.choice([None, [], ["A"], ["B"]]), "gtin": draw.choice([None, "00000000000017"]),
             "source_updated_at": draw.choice([None, DAY, datetime.datetime(1965, 5, 5)])}
        )  # fmt: skip
        members.append((key, group))
    sizes = Counter(group for _, group in members)
    groups = spark.createDataFrame(
        [(key, group, sizes[group]) for key, group in members], "product_id string, group_id string, group_size int"
    )
    settings = config.Golden(order=["source", "recency"], sources=["b"], fields={"price": ["completeness"]})
    results = []
    shards, batch = (
        spark.conf.get(name)
        for name in ("spark.sql.shuffle.partitions", "spark.sql.execution.arrow.maxRecordsPerBatch")
    )
    try:
        for parts, size, shuffled in ((1, 10_000, rows), (3, 7, draw.sample(rows, len(rows)))):
            spark.conf.set("spark.sql.shuffle.partitions", parts)
            spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", size)
            frame = products(spark, shuffled).repartition(parts)
            results.append(sorted(map(str, catalogue(frame, groups, settings).collect())))
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", shards)
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", batch)
    assert results[0] == results[1]
    assert len(results[0]) == len({(dict(members)[row["product_id"]], row["region"]) for row in rows})


def base_quantity(text):
    """`1,25 kg` -> ("1250", "g"); a text that is no quantity has no unit."""
    number, _, unit = text.partition(" ")
    base = {"kg": ("g", 1000), "g": ("g", 1), "W": ("W", 1), "GB": ("GB", 1), "ml": ("ml", 1), "l": ("ml", 1000),
            "cm": ("mm", 10), "V": ("V", 1), "pcs": ("pcs", 1)}  # fmt: skip
    if unit not in base:
        return text, None
    return format((Decimal(number.replace(",", ".")) * base[unit][1]).normalize(), "f"), base[unit][0]


def demo_rows(count):
    """Clean demo records as ingest leaves them, and per product_id (true item, whether planted, variant group)."""
    from shelfmark.demo import feeds
    from shelfmark.demo.records import make_chunk
    from shelfmark.demo.universe import REGIONS, VENDORS

    records = make_chunk(7, 0, 0, count, 10)
    rows, truth = [], {}
    for i, key in enumerate(records.key):
        if records.rule[i]:
            continue
        source, region = VENDORS[records.vendor[i]], REGIONS[records.region[i]]
        names = ("colour", "size", "material", "weight", "power")
        said = [(name, *base_quantity(text)) for name, text in zip(names, feeds._shared(records, i)) if text]
        product = hashlib.sha256(f"{source}|{key}".encode()).hexdigest()[:32]
        rows.append(
            {"product_id": product, "source": source, "region": region.code, "language": region.language,
             "title": " ".join(html.unescape(ftfy.fix_text(records.title[i])).split()),
             "description": records.description[i], "brand": records.brand[i], "price": records.price[i],
             "gtin": records.gtin[i] and records.gtin[i].zfill(14), "model_number": records.model_number[i],
             "currency": region.currency, "attributes": sorted(said), "category_paths": [],
             "item_group": feeds.group_key(records, i), "image": f"{key}.jpg",
             "source_updated_at": datetime.datetime(2025, 1, 1)}
        )  # fmt: skip
        distinct = (records.colour[i], records.size[i])
        truth[product] = (records.item[i], records.copied[i], records.model[i], distinct)
    return rows, truth


@pytest.mark.slow
def test_planted_duplicates_are_found_and_no_variants_merged(spark):
    rows, truth = demo_rows(12_000)
    frame = products(spark, rows).persist()
    pairs = near_pairs(frame, config.Dedupe()).persist()
    found_groups = duplicates(frame, pairs).persist()
    group = {row.product_id: row.group_id for row in found_groups.collect()}
    assert set(group) == set(truth)
    planted = {}
    for product, (item, copied, _, _) in truth.items():
        if copied:
            planted.setdefault(item, []).append(product)
    wanted = [pair for some in planted.values() for pair in itertools.combinations(some, 2)]
    found = sum(group[a] == group[b] for a, b in wanted)
    assert len(wanted) > 500
    assert found / len(wanted) >= 0.95
    # Variants of a model that differ in colour or size are never together.
    seen = {}
    for product, (_, _, model, distinct) in truth.items():
        if model >= 0:
            seen.setdefault((model, group[product]), set()).add(distinct)
    assert [key for key, kinds in seen.items() if len(kinds) > 1] == []
    # A duplicates group never crosses the sides of a split.
    leaks = {row.product_id: row.leak_group for row in leak_groups(frame, pairs).collect()}
    assert all(leaks[product] == leaks[survivor] for product, survivor in group.items())
    golden = catalogue(frame, found_groups)
    regions = {row["product_id"]: row["region"] for row in rows}
    assert golden.count() == len({(group[product], regions[product]) for product in group})
    found_groups.unpersist()
    pairs.unpersist()
    frame.unpersist()


@pytest.mark.slow
@pytest.mark.real
def test_duplicate_groups_of_real_offers_are_pure(spark, real_data):
    """35,311 offers of 306 shops by title alone: groups of two or more hold one product (purity >= 0.95)."""
    raw = spark.read.csv(str(real_data / "dedup" / "pricerunner.csv"), header=True)
    base = products(spark, [{"product_id": "x"}]).drop("product_id", "title", "source")
    offers = raw.selectExpr("product_id", "product_title as title", "vendor_id as source").crossJoin(base).persist()
    pairs = near_pairs(offers, config.Dedupe()).persist()
    found = duplicates(offers, pairs).where("group_size > 1").join(raw, "product_id").toPandas()
    pairs.unpersist()
    offers.unpersist()
    clusters = found.groupby(["group_id", "cluster_id"]).size()
    purity = clusters.groupby("group_id").max().sum() / len(found)
    # 3,689 of the 69,926 gold pairs have J >= 0.8: by similar titles no more can be found.
    recalled = int((clusters * (clusters - 1) // 2).sum())
    assert purity >= 0.95
    assert recalled >= 3200
