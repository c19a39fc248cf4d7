"""A review list as people fill it in, row by row; without Spark."""

import csv
import re

import pytest

from shelfmark.errors import UsageError
from shelfmark.ingest.normalise import product_id
from shelfmark.labels import listing, reviews, sample

A, B = "a" * 32, "b" * 32
CATEGORIES = reviews.Categories("v1", {"c1": "Home > Kettles", "c2": "Home > Toasters", "c3": "Wear"})
DRAWN = "seed=1 share=0.05 regions=*"


def given(tmp_path, *rows, columns=None):
    """A file of rows, each a dict of what is filled in."""
    file = tmp_path / "list.csv"
    with file.open("w", newline="") as target:
        writer = csv.DictWriter(target, columns or listing.COLUMNS)
        writer.writeheader()
        writer.writerows({"product_id": A, "model_category_id": "c1", "label_category_id": "c2", **row} for row in rows)
    return reviews.of_file(file, "ann")


def judged(tmp_path, *rows):
    words, refused = reviews.judge(given(tmp_path, *rows).rows, CATEGORIES, "ann")
    return [word for _, word in words], refused


@pytest.mark.parametrize(
    ("row", "verdict", "category"),
    [
        ({"verdict": "OK"}, "ok", "c1"),
        ({"verdict": "label"}, "label", "c2"),
        ({"category": "c3"}, "other", "c3"),
        ({"category": "Home > Toasters"}, "label", "c2"),
        ({"category": " home>KETTLES "}, "ok", "c1"),
        ({"category": "Wear", "verdict": "other"}, "other", "c3"),
        ({"category": "c1", "verdict": "other"}, "ok", "c1"),
        ({"verdict": "out of scope"}, "out_of_scope", None),
        ({"verdict": "withdrawn"}, "withdrawn", None),
    ],
)
def test_a_row_says_a_category_or_that_there_is_none(tmp_path, row, verdict, category):
    (word,), refused = judged(tmp_path, row)
    assert not refused
    assert (word.verdict, word.category_id, word.by) == (verdict, category, "ann")


@pytest.mark.parametrize(
    ("row", "rule", "says"),
    [
        ({"category": "Home > Kettels"}, "review_category_unknown", "did you mean Home > Kettles?"),
        ({"category": "xyz"}, "review_category_unknown", "categories are in silver.taxonomy"),
        ({"verdict": "yes"}, "review_verdict_unknown", "say ok, label, other, out_of_scope, withdrawn"),
        ({"verdict": "other"}, "review_category_missing", "say which"),
        ({"verdict": "ok", "model_category_id": ""}, "review_category_missing", "what the model's category was"),
        ({"verdict": "label", "label_category_id": ""}, "review_category_missing", "what the source's label was"),
        ({"verdict": "ok", "model_category_id": "gone"}, "review_category_unknown", "of today's taxonomy"),
        ({"verdict": "ok", "category": "c3"}, "review_contradiction", "another category is given"),
        ({"verdict": "out_of_scope", "category": "c3"}, "review_contradiction", "remove one of them"),
        ({"verdict": "ok", "product_id": "12"}, "review_product_unknown", "copy it from the list"),
        ({"verdict": "ok", "sample": "seed=1 share=0,05 regions=*"}, "review_sample_unreadable", "copy it"),
        ({"verdict": "ok", "sample": "seed=1 share=5.0 regions=*"}, "review_sample_unreadable", "copy it"),
    ],
)
def test_a_row_that_cannot_be_taken_in_says_why_and_the_others_go_in(tmp_path, row, rule, says):
    words, (refused,) = judged(tmp_path, {"product_id": B, "verdict": "ok"}, row)
    assert [word.product_id for word in words] == [B]
    assert (refused.rule, refused.row.number, refused.row.line) == (rule, 2, 3)
    assert says in refused.reason


def test_what_came_with_the_list_is_kept_and_who_checked_it(tmp_path):
    row = {"verdict": "ok", "why_listed": "sample, review", "model_version": "m1", "sample": DRAWN, "checked_by": "bob"}
    (word,), _ = judged(tmp_path, {**row, "note": " two\nlines ", "product_id": "shop:7"})
    assert word == reviews.Word(
        product_id("shop", "7"), "ok", "c1", "sample,review", "m1", "c1", sample.Design(1, 0.05), "bob", "two\nlines"
    )


def test_a_product_that_is_there_twice_must_say_the_same(tmp_path):
    words, refused = judged(tmp_path, {"verdict": "ok"}, {"category": "c1"}, {"category": "c3"})
    assert [(word.product_id, word.category_id) for word in words] == [(A, "c1")]
    assert [(one.rule, one.row.line) for one in refused] == [("review_twice", 4)]
    assert "line 2 says otherwise" in refused[0].reason


def test_a_file_that_is_none_is_refused_as_a_whole(tmp_path):
    with pytest.raises(UsageError, match=r"no row is filled in: give a category, or a verdict \(ok, label, other"):
        given(tmp_path, {}, {})
    (tmp_path / "other.csv").write_text("product_id,title\n")
    with pytest.raises(UsageError, match=r"no column category, verdict; it has product_id, title\. Lists are made by"):
        reviews.of_file(tmp_path / "other.csv", "ann")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UsageError, match="no column product_id, category, verdict; it is empty"):
        reviews.of_file(tmp_path / "empty.csv", "ann")
    with pytest.raises(UsageError, match="No such file"):
        reviews.of_file(tmp_path / "none.csv", "ann")
    (tmp_path / "latin.csv").write_bytes("product_id,category,verdict\nx,é,ok\n".encode("latin-1"))
    with pytest.raises(UsageError, match="not a CSV in UTF-8"):
        reviews.of_file(tmp_path / "latin.csv", "ann")
    with pytest.raises(UsageError, match=re.escape("list.csv:2: say who checked it")):
        reviews.of_file(_unsigned(tmp_path), "")


def _unsigned(tmp_path):
    given(tmp_path, {"verdict": "ok"})
    return tmp_path / "list.csv"


def test_rows_that_nobody_filled_in_are_counted_and_left_out(tmp_path):
    file = given(tmp_path, {}, {"verdict": "ok"}, {"note": "later"})
    assert (len(file.rows), file.empty, file.rows[0].line) == (1, 2, 3)


def test_vendor_text_is_no_formula_in_a_spreadsheet():
    assert listing._plain("=HYPERLINK(1)") == "'=HYPERLINK(1)"
    assert listing._plain("5 l can") == "5 l can"
