"""The data docs: what a steward sees, safe against vendor text, and written once."""

import json
import time
from html.parser import HTMLParser

import pytest

from shelfmark.errors import UsageError
from shelfmark.quality import docs

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'


class Page(HTMLParser):
    """Tags and text of a page, as a browser would see them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data + " "


def check(
    table="silver.products", severity="critical", success=True, sentence="Every product has a title.", **observed
):
    return {
        "table": table,
        "suite": table,
        "expectation": "expect_column_values_to_not_be_null",
        "column": "title",
        "severity": severity,
        "success": success,
        "observed": json.dumps(observed or {"rows": 20000, "broken": 0, "share": 0.0}),
        "sentence": sentence,
    }


def run(run_id="20260131T020000-ab12", **changes):
    return {
        "run_id": run_id,
        "run_date": f"{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}",
        "checks": [
            check(),
            check(severity="warning", sentence="Prices are not zero.", success=False, rows=20000, broken=9),
        ],
        "rejects": [{"table": "silver.products", "source": "costco", "rule": "title_missing", "rows": 312}],
        "samples": [
            {
                "table": "silver.products",
                "source": "costco",
                "rule": "title_missing",
                "reason": "A product must have a title.",
                "file": "/feeds/costco.csv",
                "record_number": 1207,
                "line": 3311,
                "key": "k1",
                "payload": '{"Title": ""}',
            }
        ],
        "sources": [{"source": "costco", "records": 1560}],
        **changes,
    }


def read(folder, name="20260131T020000-ab12.html"):
    return (folder / name).read_text(encoding="utf-8")


def test_page_tells_what_failed_what_was_refused_and_where_the_record_stands(tmp_path):
    index = docs.build(tmp_path, [run()])
    text = " ".join(Page(read(tmp_path)).text.split())
    assert "1 of 2 checks hold" in text
    assert "Prices are not zero." in text
    assert "title missing A product must have a title. costco 312 20 %" in text
    assert "costco.csv, record 1,207, line 3,311" in text
    assert "20,000 rows looked at" in text
    assert "warnings 1 of 2 312" in " ".join(Page(index.read_text()).text.split())


def test_failed_critical_check_says_that_the_tables_stay_as_they_were(tmp_path):
    docs.build(tmp_path, [run(checks=[check(success=False, rows=10, broken=3, share=0.3, examples=["N/A"])])])
    text = " ".join(Page(read(tmp_path)).text.split())
    assert "1 critical check failed, so the tables stay as they were" in text
    assert "3 (30 %)" in text
    assert "N/A" in text
    assert "refused" in Page(read(tmp_path, "index.html")).text


@pytest.mark.parametrize("field", ["source", "reason", "file", "key", "payload"])
def test_vendor_text_is_shown_and_never_run(tmp_path, field):
    hostile = run()
    hostile["samples"][0][field] = HOSTILE
    hostile["rejects"][0]["source"] = hostile["samples"][0]["source"]
    docs.build(tmp_path, [hostile])
    page = Page(read(tmp_path))
    assert {"script", "img"}.isdisjoint(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "alert(" in page.text  # the steward sees what the vendor sent


def test_hostile_rule_names_run_ids_and_examples_are_only_text(tmp_path):
    hostile = run(
        run_id=f"20260131-{HOSTILE}/../../x",
        rejects=[{"table": "silver.products", "source": "a", "rule": HOSTILE, "rows": 1}],
        checks=[check(success=False, sentence=HOSTILE, rows=1, broken=1, examples=[HOSTILE])],
        reason=HOSTILE,
    )
    index = docs.build(tmp_path, [hostile])
    pages = [Page(p.read_text(encoding="utf-8")) for p in tmp_path.glob("*.html")]
    assert len(pages) == 2
    assert all({"script", "img"}.isdisjoint(page.tags) for page in pages)
    assert sorted(p.parent for p in tmp_path.rglob("*.html")) == [tmp_path, tmp_path]
    link = next(v for k, v in Page(index.read_text()).attributes if k == "href" and v.startswith("20260131"))
    assert (tmp_path / link).is_file()


def test_direction_marks_control_characters_and_half_characters_do_no_harm(tmp_path):
    odd = run()
    odd["samples"][0]["payload"] = "a\u202eevil\x00\x1b[31m\ud800"
    docs.build(tmp_path, [odd])
    assert not set("\u202e\x00\x1b") & set(read(tmp_path))


def test_pages_fetch_nothing(tmp_path):
    docs.build(tmp_path, [run()])
    for name in ("index.html", "20260131T020000-ab12.html"):
        page = Page(read(tmp_path, name))
        assert {"script", "link", "iframe"}.isdisjoint(page.tags)
        links = [value for key, value in page.attributes if key in ("src", "href")]
        assert links
        assert not [link for link in links if "//" in link]


def test_at_most_20_samples_of_a_rule_and_source_and_long_records_are_cut(tmp_path):
    many = run()
    many["samples"] = [{**many["samples"][0], "key": f"key-{i}", "payload": "x" * 100_000} for i in range(50)]
    docs.build(tmp_path, [many])
    text = read(tmp_path)
    assert text.count("key-") == 20
    assert "312 records, 20 of them here" in " ".join(Page(text).text.split())
    assert len(text) < 150_000


def test_index_lists_all_runs_newest_first_and_old_pages_are_not_written_again(tmp_path):
    docs.build(tmp_path, [run("20260129T020000-aaaa"), run("20260130T020000-bbbb")])
    old = tmp_path / "20260129T020000-aaaa.html"
    old.write_text("kept")
    index = docs.build(tmp_path, [run("20260131T020000-cccc")])
    links = [v for k, v in Page(index.read_text()).attributes if k == "href"]
    assert links == ["20260131T020000-cccc.html", "20260130T020000-bbbb.html", "20260129T020000-aaaa.html"]
    assert old.read_text() == "kept"


def test_a_run_built_again_replaces_its_page(tmp_path):
    docs.build(tmp_path, [run()])
    index = docs.build(tmp_path, [run(rejects=[], samples=[])])
    assert "No record was refused." in Page(read(tmp_path)).text
    assert index.read_text().count("20260131T020000-ab12.html") == 1


def test_spoilt_summary_is_left_out_and_the_rest_is_listed(tmp_path):
    (tmp_path / "20260101.json").write_text("{")
    (tmp_path / "other.json").write_text('{"a": 1}')
    assert "20260131T020000-ab12.html" in docs.build(tmp_path, [run()]).read_text()


def test_run_without_checks_or_refused_rows_has_a_page(tmp_path):
    docs.build(tmp_path, [{"run_id": "20260131", "run_date": "2026-01-31", "status": "failed", "reason": "disk full"}])
    text = Page(read(tmp_path, "20260131.html")).text
    assert "did not finish" in text
    assert "disk full" in text


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file"):
        docs.build(tmp_path / "file", [run()])


def test_hundred_past_runs_cost_no_more_than_their_lines_in_the_index(tmp_path):
    docs.build(tmp_path, [run(f"202501{day:02}T{hour:02}0000-aaaa") for day in range(1, 26) for hour in range(4)])
    began = time.process_time()
    docs.build(tmp_path, [run()])
    assert time.process_time() - began < 1.0
