"""The demo catalogue: deterministic, readable, messy in the ways it says, and true to its truth."""

import csv
import hashlib
import io
import json
import re
import tarfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from stdnum import ean

from shelfmark.demo import feeds, generate, records, universe
from shelfmark.errors import UsageError
from shelfmark.ingest import categories, mapping, normalise, readers

ROWS, SEED = 2_000, 11
FORMATTED_BY_SUITE = {"title_no_letters", "title_placeholder", "title_too_long", "price_negative", "price_absurd"}
"""Rules of expectations/silver.products.json; all others are broken while a record is read or normalised."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(Folder, summary) of a small catalogue with pictures."""
    folder = tmp_path_factory.mktemp("demo") / "catalogue"
    return folder, generate(ROWS, SEED, folder, processes=1)


def rows_of(folder: Path, name: str) -> list[dict]:
    with (folder / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def products_of(folder: Path):
    """(source, file below the folder, record, product or None) of every record, through the real readers."""
    for name in universe.VENDORS:
        source = mapping.load(name)
        to_product = normalise.compile_source(source)
        for path in sorted(folder.glob(source.files[0])):
            mapping.check_header(source, str(path), readers.header(str(path), source.format))
            for record in readers.read(readers.Split(str(path)), source.format):
                product = None if record.problem else to_product(record.fields)
                yield name, str(path.relative_to(folder)), record, product


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_gives_the_same_bytes_whatever_the_number_of_processes(made, tmp_path):
    folder, summary = made
    assert generate(ROWS, SEED, tmp_path / "again", processes=2) == summary
    assert digests(tmp_path / "again") == digests(folder)


def test_another_seed_gives_other_products_in_the_same_taxonomy(made, tmp_path):
    folder, _ = made
    generate(200, SEED + 1, tmp_path / "other", pictures=False, processes=1)
    assert (tmp_path / "other/taxonomy.csv").read_bytes() == (folder / "taxonomy.csv").read_bytes()
    titles = {r["name"] for r in rows_of(folder, "demo_outfitter/products-00000.csv")}
    assert not titles & {
        r["name"] for r in rows_of(tmp_path / "other", "demo_outfitter/products-00000.csv") if r["maker"]
    }


def test_taxonomy_is_deep_wide_and_named_in_every_language(made):
    folder, _ = made
    nodes = rows_of(folder, "taxonomy.csv")
    ids = {node["category_id"] for node in nodes}
    paths = {node["path"] for node in nodes}
    leaves = universe.leaves()
    assert len(leaves) >= 300
    assert {len(leaf.levels[0]) for leaf in leaves} == {3, 4}
    assert len(ids) == len(paths) == len(nodes)
    assert all(node["path"].rpartition(" > ")[0] in paths | {""} for node in nodes)
    assert all(node[f"name_{locale}"] for node in nodes for locale in universe.LOCALES)
    assert all(node["path"].split(" > ")[-1] == node["name_en"] for node in nodes)
    american = {node["name_en"]: node["name_en_US"] for node in nodes}
    assert american["Trainers"] == "Sneakers"


@pytest.mark.parametrize("vendor", range(4))
def test_every_vendor_has_own_words_for_every_category(vendor):
    mapped = universe.vendor_map(vendor)
    assert {identity for _, identity in mapped} == {leaf.category_id for leaf in universe.leaves()}
    assert len({path for path, _ in mapped}) == len(mapped)
    canonical = {leaf.path for leaf in universe.leaves()}
    own = {path for path, _ in mapped}
    others = {path: identity for other in range(4) if other != vendor for path, identity in universe.vendor_map(other)}
    # A few names are the same in two languages, such as Sports > Fitness > Kettlebells; then they mean the same.
    assert all((path, others[path]) in mapped for path in own & set(others))
    assert len(own & set(others)) <= 3
    # The outfitter is British and keeps canonical names where no audience comes first.
    assert vendor == 0 or len(own & canonical) <= 3
    # The path as normalising gives it is the path in the map.
    assert all(categories.join_levels(levels) == " > ".join(levels) for levels in universe.vendor_levels(vendor))


def test_category_shares_have_a_long_tail_that_differs_by_region():
    shares = np.diff(universe.category_shares(), axis=1, prepend=0)
    assert np.allclose(shares.sum(axis=1), 1)
    for one in shares:
        assert np.sort(one)[::-1][: len(one) // 10].sum() > 0.4  # a tenth of the categories has most of the goods
        assert one.min() > 0
    tops = [set(np.argsort(one)[-20:].tolist()) for one in shares]
    assert all(a != b for i, a in enumerate(tops) for b in tops[i + 1 :])


def test_counts_of_the_summary_are_the_counts_of_the_files(made):
    folder, summary = made
    read = Counter(source for source, *_ in products_of(folder))
    assert sum(read.values()) == ROWS == summary["rows"] == summary["clean"] + summary["dirty"]
    assert read == summary["sources"]
    truth = rows_of(folder, "truth/categories.csv")
    assert len(truth) == summary["clean"]
    assert Counter(row["region"] for row in truth) == summary["clean_by_region"]
    assert summary["clean_by_region"]["IN"] == 200
    assert all(count > 100 for count in summary["clean_by_region"].values())
    assert len({(row["source"], row["source_key"]) for row in truth}) == len(truth)
    assert Counter(row["rule"] for row in rows_of(folder, "truth/dirty.csv")) == summary["dirty_by_rule"]
    assert all(summary["dirty_by_rule"][rule] for rule in records.RULES)
    assert 0.02 <= summary["dirty"] / ROWS <= 0.05


def test_dirty_records_are_where_truth_says_and_no_clean_record_is_refused(made):
    folder, _ = made
    dirty = {(r["source"], r["file"], int(r["record_number"])): r for r in rows_of(folder, "truth/dirty.csv")}
    truth = {(r["source"], r["source_key"]): r for r in rows_of(folder, "truth/categories.csv")}
    maps = {
        name: {r["source_path"]: r["category_id"] for r in rows_of(folder, f"taxonomy/{name}.csv")}
        for name in universe.VENDORS
    }
    labels = Counter()
    for source, file, record, product in products_of(folder):
        planted = dirty.pop((source, file, record.number), None)
        if record.problem:
            assert planted
            assert record.problem.startswith(planted["rule"] + ":")
            continue
        if planted and planted["rule"] in FORMATTED_BY_SUITE:
            assert product.reject_rule is None
            title, price = product.title, product.price
            assert {
                "title_no_letters": not any(char.isalpha() for char in title),
                "title_placeholder": title.lower() in ("n/a", "test product")
                or title.lower().startswith("lorem ipsum"),
                "title_too_long": len(title) > 1000,
                "price_negative": price < 0,
                "price_absurd": price > 1_000_000_000,
            }[planted["rule"]]
            continue
        assert product.reject_rule == (planted and planted["rule"])
        if planted:
            assert (product.source_key or "") == planted["key"]
            continue
        assert product.problems is None
        true = truth.pop((source, product.source_key))
        assert product.region == true["region"]
        assert 0 < product.price < 1_000_000
        assert product.currency == next(r.currency for r in universe.REGIONS if r.code == product.region)
        assert 5 <= len(product.title) <= 300
        assert any(char.isalpha() for char in product.title)
        label = [maps[source][path] for path in product.category_paths]
        labels[true["label"]] += 1
        assert {
            "right": label == [true["category_id"]],
            "wrong": len(label) == 1 and label != [true["category_id"]],
            "missing": not label,
        }[true["label"]]
    assert not dirty
    assert not truth
    total = sum(labels.values())
    assert 0.01 < labels["missing"] / total < 0.035
    assert 0.015 < labels["wrong"] / total < 0.045


def test_prices_are_written_as_people_of_the_region_write_them(made):
    us, gb, de, fr, india = range(5)
    assert feeds.price_text(1234.56, None, gb) == "£1,234.56"
    assert feeds.price_text(1234.56, None, de) == "1.234,56 €"
    assert feeds.price_text(1234.56, None, fr) == "1\u202f234,56 €"
    assert feeds.price_text(123999.0, None, india) == "₹1,23,999"
    assert feeds.price_text(-9.5, None, us) == "-$9.50"
    assert feeds.price_text(9.99, 19.99, us) == "$9.99 - $19.99"
    folder, _ = made
    shown = {
        r["market"]: r["price"] for r in rows_of(folder, "demo_outfitter/products-00000.csv") if r["currency"] != "XYZ"
    }
    assert "€" in shown["de"]
    assert "₹" in shown["in"]


def test_gtins_are_valid_and_belong_to_one_product(made):
    folder, _ = made
    gtins = defaultdict(set)
    true = {(r["source"], r["source_key"]): r["truth_group"] for r in rows_of(folder, "truth/duplicates.csv")}
    for source, _, _, product in products_of(folder):
        if product is not None and product.gtin and product.source_key:
            assert ean.is_valid(product.gtin[1:])
            assert product.gtin.startswith("0952")
            gtins[product.gtin].add(true.get((source, product.source_key), product.product_id))
    assert len(gtins) > ROWS // 3
    assert all(len(owners) == 1 for owners in gtins.values())


def test_planted_duplicates_are_the_same_product_and_say_nothing_against_it(made):
    folder, summary = made
    products = {(s, p.source_key): p for s, _, _, p in products_of(folder) if p is not None and p.source_key}
    groups = defaultdict(list)
    for row in rows_of(folder, "truth/duplicates.csv"):
        groups[row["truth_group"]].append((row["source"], products[row["source"], row["source_key"]], row["gtin"]))
    assert len(groups) == summary["duplicate_groups"]
    assert all(2 <= len(group) <= 3 for group in groups.values())
    by_title, near, within = 0, 0, 0
    for group in groups.values():
        for field in ("brand", "gtin", "model_number"):
            assert len({getattr(p, field) for _, p, _ in group} - {None}) <= 1
        within += len({source for source, _, _ in group}) == 1
        codes = [frozenset(re.findall(r"[A-Z]{2}-\d{3,4}", p.title.upper())) for _, p, _ in group]
        one_market = len({p.region for _, p, _ in group}) == 1
        if one_market:
            assert len(set(codes)) == 1
            for name in ("colour", "size"):
                assert len({a for _, p, _ in group for a in p.attributes if a[0] == name}) <= 1
        if len(group) == 2 and "no" in [gtin for _, _, gtin in group]:
            by_title += 1
            near += records.jaccard(group[0][1].title, group[1][1].title) >= 0.8
    assert within > len(groups) / 4
    assert by_title > len(groups) / 4
    assert near / by_title > 0.97


def test_variants_differ_in_size_or_colour_and_in_nothing_else(made):
    folder, summary = made
    products = {(s, p.source_key): p for s, _, _, p in products_of(folder) if p is not None and p.source_key}
    groups = defaultdict(lambda: defaultdict(list))
    for row in rows_of(folder, "truth/variants.csv"):
        product = products[row["source"], row["source_key"]]
        groups[row["item_group"]][row["item"]].append((product, row))
    assert len(groups) == summary["variant_groups"]
    several = [items for items in groups.values() if len(items) > 1]
    assert len(several) > 100
    for items in several:
        firsts = [copies[0] for copies in items.values()]
        looks = {(row["colour"], row["size"]) for _, row in firsts}
        assert len(looks) == len(items)
        assert min(len({row["colour"] for _, row in firsts}), len({row["size"] for _, row in firsts})) == 1
        assert len({product.gtin for product, _ in firsts if product.gtin}) == sum(bool(p.gtin) for p, _ in firsts)


def test_pictures_are_small_jpegs_found_by_their_index(made):
    folder, summary = made
    names = Counter()
    for source, _, _, product in products_of(folder):
        if product is not None and product.image and product.source_key:
            shard, _, member = product.image.rpartition("/")
            names[source, shard, member] += 1
    shards = {(source, shard) for source, shard, _ in names}
    members = 0
    for source, shard in shards:
        path = folder / source / shard
        index = rows_of(folder, f"{source}/{shard.removesuffix('.tar')}.csv")
        listed = {(source, shard, row["name"]) for row in index}
        assert {name for name in names if name[:2] == (source, shard)} <= listed
        content = path.read_bytes()
        with tarfile.open(path) as tar:
            assert tar.getnames() == [row["name"] for row in index]
        for row in index[:20]:
            start = int(row["offset"])
            picture = Image.open(io.BytesIO(content[start : start + int(row["bytes"])]))
            assert (picture.format, picture.size) == ("JPEG", (64, 64))
        members += len(index)
    assert members == summary["pictures"]


def test_pictures_of_a_category_are_more_alike_than_pictures_of_others():
    from shelfmark.demo import pictures

    rng = np.random.default_rng(3)
    grains = pictures._grains(rng)
    chosen = [universe.leaves()[i * 41] for i in range(10)]
    vectors, owners = [], []
    for leaf in chosen:
        for copy in range(12):
            content = pictures.draw(leaf.index, 3, rng.random(8).tolist(), grains[copy])
            image = Image.open(io.BytesIO(content)).convert("RGB").resize((16, 16))
            vectors.append(np.asarray(image, float).ravel())
            owners.append(leaf.index)
    vectors, owners = np.array(vectors), np.array(owners)
    distance = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    right = (owners[distance.argmin(axis=1)] == owners).mean()
    assert right > 0.6  # a guess is right once in ten
    assert len({vector.tobytes() for vector in vectors}) == len(vectors)


def test_chance_titles_are_not_near_duplicates():
    """Only planted records make edges of J >= 0.8, else a graph over a million titles would clot together."""
    import pyarrow as pa

    from shelfmark.dedup import kernel

    chunk = records.make_chunk(5, 0, 0, 20_000, 100)
    clean = [i for i, rule in enumerate(chunk.rule) if rule is None]
    texts = kernel.normalise(pa.array([chunk.title[i] for i in clean]))
    data, offsets = kernel.text_buffers(texts)
    keys = kernel.band_keys(kernel.signatures(data, offsets, 5, *kernel.coefficients(128, 1)), 16)
    blobs, _ = kernel.band_blobs(keys, np.arange(len(clean), dtype=np.uint64), 1)
    left, right = (side.astype(np.int64) for side in kernel.star_edges(*kernel.bands_of([blobs])))
    near = kernel.jaccard(*kernel.shingle_sets(data, offsets, 5), left, right) >= 0.8
    model = np.array([chunk.model[i] for i in clean])
    item = np.array([chunk.item[i] for i in clean])
    left, right = left[near], right[near]
    planted = (item[left] == item[right]) | ((model[left] >= 0) & (model[left] == model[right]))
    assert planted.sum() > 1000
    strangers = {(a, b) for a, b in zip(left[~planted].tolist(), right[~planted].tolist())}
    assert len(strangers) < len(clean) / 1000
    label, _ = kernel.union(len(clean), left, right)
    assert np.bincount(label).max() < 30


def test_messy_titles_are_clean_again_after_cleaning():
    from shelfmark.ingest.text import clean

    title = "Größe café – Brüvel Tarn, blau"
    cleaned = {records._messy(title, kind) != title and clean(records._messy(title, kind)) for kind in range(4)}
    assert cleaned == {title}
    assert clean(records._messy("Brand Tarn blue", 4)) == "BRAND TARN BLUE"


def test_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match=r"mine\.txt"):
        generate(100, 1, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(("rows", "seed", "processes"), [(10, 1, 1), (100, -1, 1), (100, 1, 0)])
def test_impossible_arguments_are_refused(tmp_path, rows, seed, processes):
    with pytest.raises(UsageError):
        generate(rows, seed, tmp_path / "out", processes=processes)


def test_an_earlier_catalogue_is_replaced(tmp_path):
    generate(1_000, 1, tmp_path / "c", pictures=False, processes=1)
    generate(100, 1, tmp_path / "c", pictures=False, processes=1)
    assert len(list((tmp_path / "c/demo_bazaar").iterdir())) == 1
    assert json.loads((tmp_path / "c/truth/summary.json").read_text())["rows"] == 100
    assert not list((tmp_path / "c").rglob("*.part"))
    assert pq.read_table(tmp_path / "c/demo_galerie/part-00000.parquet").num_rows > 0


def test_taxonomy_and_maps_are_read_by_the_taxonomy_room(made):
    from shelfmark.taxonomy import files

    folder, _ = made
    read = {one.category_id: one for one in files.read_taxonomy(str(folder / "taxonomy.csv")).categories}
    assert {leaf.category_id: leaf.path for leaf in universe.leaves()}.items() <= {
        k: c.path for k, c in read.items()
    }.items()
    assert len(read) == len(universe.nodes())  # nothing is missing between a leaf and its root
    for source in universe.VENDORS:
        lines = files.read_map(source, folder / "taxonomy" / f"{source}.csv")
        assert {line.category_id for line in lines} == {leaf.category_id for leaf in universe.leaves()}
