"""The data docs: what a steward sees, safe against vendor text, and written once."""

import base64
import hashlib
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

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


def listed(index):
    """Pages of the runs in the table of an index, each once, in its order."""
    table = index.read_text(encoding="utf-8").partition('id="runs"')[2]
    return list(dict.fromkeys(v.partition("#")[0] for k, v in Page(table).attributes if k == "href" and v[:1] == "2"))


def read(folder, name="20260131T020000-ab12.html"):
    return (folder / name).read_text(encoding="utf-8")


def test_page_tells_what_failed_what_was_refused_and_where_the_record_stands(tmp_path):
    index = docs.build(tmp_path, [run()])
    text = " ".join(Page(read(tmp_path)).text.split())
    assert "1 of 2 checks hold" in text
    assert "Prices are not zero." in text
    assert "title missing A product must have a title. costco 312 20 % open" in text
    assert "costco.csv, record 1,207, line 3,311" in text
    assert "20,000 rows looked at" in text
    listed = " ".join(Page(index.read_text()).text.split())
    assert "20260131T020000-ab12 warnings look at it silver.products : Prices are not zero. 9 break it" in listed
    assert "1 of 2 checks hold, 1 table silver.products : 1 of 2 hold, 20,000 rows 312 312 open" in listed
    assert "title missing in costco (312)" in listed


def test_failed_critical_check_says_that_the_tables_stay_as_they_were(tmp_path):
    docs.build(tmp_path, [run(checks=[check(success=False, rows=10, broken=3, share=0.3, examples=["N/A"])])])
    text = " ".join(Page(read(tmp_path)).text.split())
    assert "1 critical check failed, so the tables stay as they were" in text
    assert "3 (30 %) break it" in text
    assert "N/A" in text
    assert "refused" in Page(read(tmp_path, "index.html")).text


@pytest.mark.parametrize("field", ["source", "reason", "file", "key", "payload"])
def test_vendor_text_is_shown_and_never_run(tmp_path, field):
    hostile = run()
    hostile["samples"][0][field] = HOSTILE
    hostile["rejects"][0]["source"] = hostile["samples"][0]["source"]
    docs.build(tmp_path, [hostile])
    page = Page(read(tmp_path))
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
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
    assert len(pages) == 3
    assert all(page.tags.count("script") == 1 and "img" not in page.tags for page in pages)
    assert sorted(p.parent for p in tmp_path.rglob("*.html")) == [tmp_path] * 3
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
        assert {"link", "iframe", "object", "form"}.isdisjoint(page.tags)
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
    assert listed(index) == ["20260131T020000-cccc.html", "20260130T020000-bbbb.html", "20260129T020000-aaaa.html"]
    assert old.read_text() == "kept"


def test_a_run_built_again_replaces_its_page(tmp_path):
    docs.build(tmp_path, [run()])
    index = docs.build(tmp_path, [run(rejects=[], samples=[])])
    assert "No record was refused." in Page(read(tmp_path)).text
    assert listed(index) == ["20260131T020000-ab12.html"]


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


def test_only_the_one_script_may_run_and_the_page_names_its_hash(tmp_path):
    docs.build(tmp_path, [run()])
    page = read(tmp_path)
    script = re.search(r"<script>(.*?)</script>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page


def test_what_was_resolved_since_is_told_of_by_rule_sample_and_run(tmp_path):
    by = "20260201T090000-cd34-replay"
    since = run()
    since["rejects"] = [
        {**since["rejects"][0], "rows": 300, "resolved_by": by, "refused again": 20},
        {**since["rejects"][0], "rows": 12},
    ]
    since["samples"][0] |= {"state": "resolved", "resolved_by": by}
    index = docs.build(tmp_path, [since])
    text = " ".join(Page(read(tmp_path)).text.split())
    assert f"280 resolved 20 refused again by {by} , 12 open" in text
    assert "312 records refused, 12 still open" in text
    assert "costco resolved costco.csv, record 1,207" in text
    assert "312 12 open" in " ".join(Page(index.read_text()).text.split())


def test_an_earlier_run_without_a_new_page_still_tells_the_index_what_was_resolved(tmp_path):
    docs.build(tmp_path, [run()])
    for _ in range(2):  # told again, it counts once
        resolved = {"20260131T020000-ab12": {"20260201-r": 312}, "20250101-unknown": {"20260201-r": 5}}
        index = docs.build(tmp_path, [run("20260201-r", rejects=[], samples=[])], resolved)
    assert "312 none open" in " ".join(Page(index.read_text()).text.split())


def test_what_to_do_names_the_mapping_the_rule_and_the_commands(tmp_path):
    told = run(mappings={"costco": "feeds/costco.yml"}, home="/srv/a lake", env="prod")
    docs.build(tmp_path, [told])
    text = " ".join(Page(read(tmp_path)).text.split())
    assert "Then correct the mapping: feeds/costco.yml." in text
    assert "rule title_missing in expectations/silver.products.json" in text
    end = "--home '/srv/a lake' --env prod"
    assert f"shelfmark rejected --run 20260131T020000-ab12 --rule title_missing --source costco {end}" in text
    assert f"shelfmark replay --rule title_missing --source costco --dry-run {end}" in text
    # Of a run that was not published nothing is in bronze: it is run again instead.
    docs.build(tmp_path, [{**told, "status": "refused"}])
    text = " ".join(Page(read(tmp_path)).text.split())
    assert "shelfmark replay" not in text
    assert f"shelfmark pipeline --resume 20260131T020000-ab12 {end}" in text


def test_what_the_reader_could_not_parse_is_for_the_vendor_not_for_a_replay(tmp_path):
    docs.build(
        tmp_path, [run(rejects=[{"table": "silver.products", "source": "a", "rule": "broken_record", "rows": 2}])]
    )
    text = " ".join(Page(read(tmp_path)).text.split())
    assert "A record can be read in the format of its file." in text
    assert "The file is broken at these places" in text
    assert "shelfmark replay" not in text


def test_what_was_erased_on_request_is_no_fault_of_a_file_or_a_mapping(tmp_path):
    docs.build(tmp_path, [run(rejects=[{"table": "silver.products", "source": "a", "rule": "erased", "rows": 2}])])
    text = " ".join(Page(read(tmp_path)).text.split())
    assert "What was erased on request is not taken in again." in text
    assert "shelfmark erase --lift ERASURE" in text
    assert "The file is broken" not in text
    assert "correct the mapping" not in text
    assert "shelfmark replay" not in text


def test_every_rule_that_the_page_about_sources_lists_has_a_sentence():
    page = Path(__file__).parents[2] / "docs" / "sources.md"
    table = page.read_text().split("## What happens to bad records")[1].split("Row rules")[0]
    listed = {
        rule
        for row in table.splitlines()
        if row.startswith("| `")
        for rule in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert len(listed) > 7
    assert listed <= set(docs._IN_WORDS)


def test_the_index_shows_the_newest_hundred_and_a_page_a_month_shows_all(tmp_path):
    docs.build(tmp_path, [run(f"2025{month:02}{day:02}T020000-aaaa") for month in (1, 2, 3) for day in range(1, 29)])
    index = docs.build(tmp_path, [run(f"202504{day:02}T020000-aaaa") for day in range(1, 29)])
    assert len(listed(index)) == 100
    assert listed(index)[0] == "20250428T020000-aaaa.html"
    assert len(listed(tmp_path / "month-2025-01.html")) == 28
    assert "The newest 100 runs of 112" in " ".join(Page(index.read_text()).text.split())
    assert "month-2025-01.html" in index.read_text()


def test_a_thousand_past_runs_cost_no_more_than_a_hundred(tmp_path, monkeypatch):
    docs.build(tmp_path, [run(f"202501{day:02}T{hour:02}0000-aaaa") for day in range(1, 26) for hour in range(4)])
    summary = next(tmp_path.glob("*.json")).read_text()
    for number in range(1000):
        (tmp_path / f"2024{1 + number % 12:02}{1 + number % 28:02}T{number:06}-old.json").write_text(summary)

    opened = []
    real = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, *a, **k: (opened.append(path.suffix), real(path, *a, **k))[1])
    began = time.process_time()
    index = docs.build(tmp_path, [run()])
    assert time.process_time() - began < 1.0
    assert opened.count(".json") == docs.NEWEST + 1  # of the index, and of the run's own month
    assert len(listed(index)) == docs.NEWEST
