"""The independent count: against the parsers it does not use, on texts made to mislead a scanner."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from shelfmark.ingest import counting, formats
from shelfmark.ingest.formats import FileProblem, Format


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("counting") / "feed"


def count(path, content, chunk=1 << 20, **options):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "CHUNK_BYTES", chunk)
        patch.setattr(counting, "CHUNK_BYTES", chunk)
        return counting.count(str(path), Format(**options))


CHUNKS = st.sampled_from([1, 2, 7, 1 << 20])  # borders of chunks fall everywhere


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1,2\n3,4", 2),
        ("a,b\n\n1,2\n\r\n\n3,4\n\n", 2),
        ('a,b\n1,"x\ny\n\nz"\n', 1),
        ('a,b\n1,"x ""\n"""\n2,"\n"\n', 2),
        ('a,b\n1,15" screen\n2,b\n', 2),
        ('a,b\n1,"open\n2,b\n3,c\n', 3),
        ('a,b\n1,"open\n2,"b"\n3,c\n', 3),
        ('a,b\n1,"x\ny",too many\n', 2),
        ('"a\nb",c\n1,2\n', 1),
        ("a,b\r1,2\r3,4\r", 2),
    ],
)
def test_csv(path, text, expected):
    assert count(path, text, kind="csv") == expected
    assert count(path, text, chunk=1, kind="csv") == expected
    assert count(path, gzip.compress(text.encode()), kind="csv") == expected
    assert count(path, text.encode("utf-16"), kind="csv") == expected


def test_csv_options(path):
    assert count(path, "1;'x\n'\n2;\n", kind="csv", delimiter=";", quote="'", header=False, columns=["a", "b"]) == 2
    assert count(path, 'a\tb\n1\t"x\n2\t"y\n', kind="csv", delimiter="\t", quote=None) == 2
    assert count(path, 'a,b\n1,"x \\"\n"\n', kind="csv", escape="\\") == 1
    assert count(path, 'a,b\n1,"x\ny"\n', kind="csv", multiline=False) == 2
    assert count(path, "a¦b\n1¦§x\ny§\n", kind="csv", delimiter="¦", quote="§") == 1


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(['{"a":1}', "\n", "\r\n", " ", "\t", "é", "\u2028", "\x0c"]), min_size=1), CHUNKS)
def test_jsonl_counts_lines_that_hold_something(path, parts, chunk):
    text = '{"a":1}\n' + "".join(parts)
    expected = sum(1 for line in text.split("\n") if line.strip(" \t\r"))
    assert count(path, text, chunk, kind="jsonl") == expected


VALUES = st.recursive(
    st.sampled_from([1, -1.5, True, None, "", 'x"[{', "\\", "item", "],", "products"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["products", "product", 'prod"ucts', "a", "b"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(VALUES, max_size=4), VALUES, VALUES, st.sampled_from([None, 1]), CHUNKS)
def test_json_counts_the_items_of_its_array(path, items, before, after, indent, chunk):
    assert count(path, json.dumps(items, indent=indent), chunk, kind="json") == len(items)
    feed = {"z": before, "a": {"y": before, "products": items, "x": after}, "products": after}
    assert count(path, json.dumps(feed, indent=indent), chunk, kind="json", items="a.products.item") == len(items)


MARKUP = [
    "t",
    "<![CDATA[<item>]]]]>",
    "<!--<item>-->",
    "<!---->",
    "<!-- - -->",
    "<?pi <item>?>",
    "&lt;",
    "]]&gt;",
    "\n",
]
NODES = st.recursive(
    st.sampled_from(MARKUP),
    lambda inner: st.builds(
        lambda name, attributes, below, blank: (
            f"<{name}{attributes}>{''.join(below)}</{name}{blank}>" if below is not None else f"<{name}{attributes}/>"
        ),
        st.sampled_from(["item", "g:item", "items", "it", "x"]),
        st.sampled_from(["", " a='>'", ' b="/"', " a='\"<!--'".replace("<", "&lt;"), "\n"]),
        st.none() | st.lists(inner, max_size=3),
        st.sampled_from(["", " "]),
    ),
    max_leaves=15,
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(NODES, max_size=4), st.sampled_from(["", '<?xml version="1.0"?><!DOCTYPE r [<!ELEMENT r ANY>]>']), CHUNKS
)
def test_xml_counts_the_outermost_records(path, nodes, head, chunk):
    text = f"{head}<r xmlns:g='urn:g'>{''.join(nodes)}</r>"
    tree = etree.fromstring(text.encode())
    records = tree.xpath("//*[local-name()='item'][not(ancestor::*[local-name()='item'])]")
    assert count(path, text, chunk, kind="xml") == len(records)


def test_xml_in_utf_16(path):
    text = '<?xml version="1.0" encoding="utf-16"?><r><item>é</item><item/></r>'
    assert count(path, text.encode("utf-16"), kind="xml") == 2


@pytest.mark.parametrize("content", ["<r><item></r>", "<r><item>&nope;</item></r>", "<r><item a=1/></r>"])
def test_xml_that_no_reader_could_read_to_its_end(path, content):
    with pytest.raises(FileProblem, match="line 1: the XML is broken"):
        count(path, content, kind="xml")
