"""Taxonomy files and maps: what is read, what is added, and what is refused with file and line."""

import hashlib

import pytest

from shelfmark.errors import UsageError
from shelfmark.taxonomy.files import ancestors, check, find_maps, node_id, read_map, read_taxonomy


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return write


def table(taxonomy):
    return {c.path: (c.category_id, c.parent_id, c.depth, c.name) for c in taxonomy.categories}


def test_a_table_of_paths_with_names_by_locale(write):
    path = write(
        "t.csv",
        "category_id,path,name_fr,name_de,note\n"
        "1,Home,Maison,Haus,\n"
        '2,"Home >  Pots, Pans ",Casseroles,,"kept by hand\nsince May"\n'
        "\n"
        "3,Home>Pots\u00a0and lids,,,\n",
    )
    taxonomy = read_taxonomy(path)
    assert table(taxonomy) == {
        "Home": ("1", None, 1, "Home"),
        "Home > Pots, Pans": ("2", "1", 2, "Pots, Pans"),
        "Home > Pots and lids": ("3", "1", 2, "Pots and lids"),
    }
    names = {c.path: c.names for c in taxonomy.categories}
    assert names["Home"] == (("de", "Haus"), ("fr", "Maison"))
    assert names["Home > Pots, Pans"] == (("fr", "Casseroles"),)


def test_a_tab_in_the_header_makes_it_tab_separated(write):
    assert table(read_taxonomy(write("t.tsv", "category_id\tpath\n9\tA, B > C\n")))["A, B > C"][:2] == (
        "9",
        node_id("A, B"),
    )


def test_missing_levels_are_added_once_with_derived_ids(write):
    taxonomy = read_taxonomy(write("t.csv", "category_id,path\n1,A > B > C > D\n2,A > B > E\n"))
    root, middle, low = node_id("A"), node_id("A > B"), node_id("A > B > C")
    assert table(taxonomy) == {
        "A": (root, None, 1, "A"),
        "A > B": (middle, root, 2, "B"),
        "A > B > C": (low, middle, 3, "C"),
        "A > B > C > D": ("1", low, 4, "D"),
        "A > B > E": ("2", middle, 3, "E"),
    }


def test_the_id_of_a_derived_category_is_the_hash_of_source_and_path():
    assert node_id("shop > Home > Pots") == hashlib.sha256(b"shop\0Home > Pots").hexdigest()[:32]
    assert node_id("shop") == hashlib.sha256(b"shop\0").hexdigest()[:32]


def test_categories_that_name_their_parents_in_any_order(write):
    text = "category_id,parent_id,name,name_de\nc,b,Mugs,Tassen\nb,a,Cups,\na,,Home,\n"
    assert table(read_taxonomy(write("t.csv", text))) == {
        "Home": ("a", None, 1, "Home"),
        "Home > Cups": ("b", "a", 2, "Cups"),
        "Home > Cups > Mugs": ("c", "b", 3, "Mugs"),
    }


def test_shopify_text_in_three_languages(write):
    write("s_en.txt", "# a comment\n\ngid://s/T/a   : Home\ngid://s/T/a-1 : Home > Pots\n")
    write("s_de.txt", "# a comment\ngid://s/T/a   : Haus\ngid://s/T/a-0 : Haus > Alt\n")
    path = write("s_ja.txt", "gid://s/T/a : 家\ngid://s/T/a-1 : 家 > 鍋\n").replace("_ja", "_??")
    taxonomy = read_taxonomy(path)
    assert table(taxonomy) == {
        "Home": ("gid://s/T/a", None, 1, "Home"),
        "Home > Pots": ("gid://s/T/a-1", "gid://s/T/a", 2, "Pots"),
    }
    assert [c.names for c in taxonomy.categories] == [
        (("de", "Haus"), ("en", "Home"), ("ja", "家")),
        (("en", "Pots"), ("ja", "鍋")),
    ]


def test_the_language_may_be_the_folder(write):
    files = [write(f"{x}/categories.txt", f"gid://s/a : {name}\n") for x, name in (("fr", "Maison"), ("pt-BR", "Casa"))]
    (category,) = read_taxonomy(",".join(files)).categories
    assert category.path == "Maison"
    assert category.names == (("fr", "Maison"), ("pt-BR", "Casa"))


def test_the_version_follows_the_content_not_the_name(write):
    text = "category_id,path\n1,A\n"
    one, same = read_taxonomy(write("a.csv", text)), read_taxonomy(write("b.csv", text))
    assert one.version == same.version
    assert one.version.startswith("file-")
    assert read_taxonomy(write("a.csv", text + "2,B\n")).version != one.version


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "empty"),
        ("id,path\n1,A\n", 1, "category_id,path"),
        ("category_id,path,path\n", 1, "'path' is there twice"),
        ("category_id,path\n", None, "no categories"),
        ("category_id,path\n1,A\n2,B\n1,C\n", 4, "'1' is given in line 2 already"),
        ("category_id,path\n1,A > B\n2,a > b\n", 3, "given in line 2 already"),
        ("category_id,path\n1,A\n2,A >  > B\n", 3, "empty level"),
        ("category_id,path\n1,A\n2,>\n", 3, "empty level"),
        ("category_id,path\n1,\n", 2, "empty level"),
        ("category_id,path\n ,A\n", 2, "category_id is empty"),
        ("category_id,path\n1,A\n2,B, C\n", 3, "3 fields where the header has 2"),
        ('category_id,path\n1,A\n2,"B\n3,C\n', 3, "not a readable table"),
        (f"category_id,path\n{node_id('A')},Z\n1,A > B\n", 3, "'A' is missing"),
        ("category_id,parent_id,name\na,b,A\nb,c,B\nc,a,C\n", 2, "a cycle: a -> b -> c -> a"),
        ("category_id,parent_id,name\nx,,X\na,a,A\n", 3, "a cycle: a -> a"),
        ("category_id,parent_id,name\na,zz,A\n", 2, "'zz' is no category_id"),
        ("category_id,parent_id,name\na,,A > B\n", 2, "holds no `>`"),
        ("category_id,parent_id,name\na,,A\na,,B\n", 3, "given in line 2 already"),
        ("gid://s/a : A\nsomething else\n", 2, "not of the form"),
        ("# c\n\ngid://s/a : A\ngid://s/b : A > \n", 4, "empty level"),
        ("# c\ngid://s/a : A\ngid://s/a : B\n", 3, "given in line 2 already"),
        (b"category_id,path\n1,A\n2,caf\xe9\n", 3, "not UTF-8"),
    ],
)
def test_what_is_wrong_is_refused_with_file_and_line(write, text, line, words):
    path = write("bad.csv", text)
    with pytest.raises(UsageError) as caught:
        read_taxonomy(path)
    message = str(caught.value)
    assert words in message
    assert message.startswith(f"{path}, line {line}: " if line else f"{path}: ")


def test_files_that_are_not_there_or_do_not_belong_together(write, tmp_path):
    with pytest.raises(UsageError, match="no file nowhere"):
        read_taxonomy("nowhere.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        read_taxonomy(str(tmp_path))
    one, two = write("a.csv", "category_id,path\n1,A\n"), write("b.csv", "category_id,path\n1,A\n")
    with pytest.raises(UsageError, match="name one file"):
        read_taxonomy(f"{one},{two}")
    one, two = write("s_de.txt", "gid://s/a : A\n"), write("x/s_de.txt", "gid://s/a : B\n")
    with pytest.raises(UsageError, match="in de already"):
        read_taxonomy(f"{one},{two}")


def test_a_map_of_ids_and_one_of_paths(write):
    one, two = read_map("shop", write("shop.csv", "source_path,category_id,note\nA>B,7,\nSale,,no category\n"))
    assert (one.source_path, one.category_id, one.category_path) == ("A > B", "7", None)
    assert (two.source_path, two.category_id, two.category_path) == ("Sale", None, None)
    assert two.where.endswith("shop.csv, line 3")
    (line,) = read_map("shop", write("p.csv", "category_path,source_path\nX > Y,A\n"))
    assert (line.source_path, line.category_path) == ("A", "X > Y")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("path,category_id\nA,1\n", 1, "write source_path,category_id"),
        ("source_path,category_id,category_path\nA,1,B\n", 1, "write source_path,category_id"),
        ("source_path,category_id\nA,1\nB,2\nA,3\n", 4, "'A' is mapped in line 2 already"),
        ("source_path,category_id\nA > > B,1\n", 2, "empty level"),
        ("source_path,category_path\nA,B >\n", 2, "empty level"),
    ],
)
def test_a_wrong_map_is_refused_with_file_and_line(write, text, line, words):
    path = write("shop.csv", text)
    with pytest.raises(UsageError) as caught:
        read_map("shop", path)
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert words in str(caught.value)


def test_maps_are_found_by_the_names_of_the_sources(write, tmp_path):
    path = write("maps/shop.csv", "source_path,category_id\n")
    assert find_maps(["shop", "other"], tmp_path / "maps") == {"shop": path}
    assert find_maps(["no such source"]) == {}
    with pytest.raises(UsageError, match="no folder"):
        find_maps(["shop"], tmp_path / "nowhere")


def test_taxonomy_and_maps_can_be_checked_before_spark_starts(write):
    taxonomy = write("t.csv", "category_id,path\n1,Home > Pots\n")
    check(taxonomy, {"shop": write("good.csv", "source_path,category_path\nA,home\nB,\nC,Home > Pots\n")})
    check("derived", {"shop": write("good.csv", "source_path,category_path\nA,Anything > New\n")})
    for name, text in (("id.csv", "source_path,category_id\nA,2\n"), ("p.csv", "source_path,category_path\nA,Pots\n")):
        with pytest.raises(UsageError, match=f"{name}, line 2: the taxonomy has no category"):
            check(taxonomy, {"shop": write(name, text)})
    with pytest.raises(UsageError, match="a derived taxonomy has no ids"):
        check("derived", {"shop": write("id.csv", "source_path,category_id\nA,2\n")})


def test_ancestors_from_parent_to_root():
    parents = {"leaf": "middle", "middle": "root", "root": None}
    assert ancestors(parents, "leaf") == ["middle", "root"]
    assert ancestors(parents, "root") == []


@pytest.mark.real
def test_the_shopify_taxonomy_with_german_and_french_names(real_data):
    files = ",".join(str(real_data / "taxonomy" / f"shopify_{locale}.txt") for locale in ("de", "en", "fr"))
    categories = read_taxonomy(files).categories
    by_id = {c.category_id: c for c in categories}
    assert len(categories) == len(by_id) == 10_595
    assert max(c.depth for c in categories) == 8
    assert sum(c.parent_id is None for c in categories) == 26
    assert all(by_id[c.parent_id].depth == c.depth - 1 for c in categories if c.parent_id)
    # The French and German files are of an older state: fifty categories they list are gone.
    assert sum(len(c.names) == 3 for c in categories) == 10_315
    live = by_id["gid://shopify/TaxonomyCategory/ap-1"]
    assert live.path == "Animals & Pet Supplies > Live Animals"
    assert live.names == (("de", "Lebende Tiere"), ("en", "Live Animals"), ("fr", "Animaux vivants"))


@pytest.mark.real
def test_the_harmonized_system_names_parents_not_paths(real_data, tmp_path):
    """A real table in the parent form, its columns renamed: 6,940 codes below 22 sections."""
    import csv

    out = tmp_path / "hs.csv"
    with open(real_data / "taxonomy" / "harmonized-system.csv", newline="") as source, open(out, "w") as target:
        writer = csv.writer(target)
        writer.writerow(["category_id", "parent_id", "name"])
        for row in csv.DictReader(source):
            parent = "" if row["parent"] == "TOTAL" else row["parent"]
            writer.writerow([row["hscode"], parent, f"{row['hscode']} {row['description']}".replace(">", "over")])
    categories = read_taxonomy(str(out)).categories
    assert len(categories) == 6_940
    assert {c.depth for c in categories} == {1, 2, 3}
