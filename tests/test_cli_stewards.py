"""`shelfmark rejected` and `shelfmark replay` as people meet them: wrong options, an empty lake, what is printed."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shelfmark import config, pipeline
from shelfmark.cli.app import app, console

pytestmark = pytest.mark.usefixtures("unchecked")

COMMAND = Path(sys.executable).with_name("shelfmark")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rejected"], "run `shelfmark pipeline` first"),
        (["rejected", "--format", "xml"], "--format xml: choose table, csv or json"),
        (["rejected", "--table", "silver.nothing"], "no table 'silver.nothing'; there are: bronze.files"),
        (["rejected", "--run", "tonight"], "begin it with the day"),
        (["rejected", "--rows"], "No such option: --rows"),
        (["replay"], "run `shelfmark pipeline` first"),
        (["replay", "--dry-run"], "run `shelfmark pipeline` first"),
        (["replay", "--table", "silver.labels"], "only refused rows of silver.products come from bronze"),
        (["replay", "--run", "tonight"], "begin it with the day"),
        (["replay", "--run-id", "tonight"], "begin it with the day"),
        (["replay", "--set", "text.costs=1"], "text.costs: unknown key"),
        (["review", "export", "--out", "list.csv"], "run `shelfmark pipeline` first"),
        (["review", "import", "nothing.csv"], "nothing.csv: No such file"),
        (["explain", "shop:1"], "run `shelfmark pipeline` first"),
        (["explain", "nobody"], "is no product_id"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_and_an_empty_lake_are_one_line_and_exit_code_2(tmp_path, arguments, says):
    done = subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ
    )
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / ".shelfmark").exists()


HOSTILE = "[red]\x1b[m[/] '=x"


@pytest.fixture(scope="module")
def home(spark, tmp_path_factory):
    """A lake after an ingest with five refused records, one of them hostile to terminals and to our own markup."""
    root = tmp_path_factory.mktemp("rejected")
    rows = [
        ["1", "Hat", "1.00"],
        *([str(n), "", "2.00"] for n in range(2, 5)),
        ["[red]\x1b[m[/]", "Cap", HOSTILE],
        ["6", "-----", "1"],
    ]
    text = io.StringIO()
    csv.writer(text).writerows([["id", "name", "price"], *rows])
    (root / "shop.csv").write_text(text.getvalue())
    (root / "shop.yml").write_text(
        "description: x\nlicence: y\nfiles: [shop.csv]\nformat: {kind: csv}\nkey: id\nregion: US\nlanguage: en\n"
        "fields: {title: name}\nprice: {field: price, currency: USD}\n"
    )
    settings = config.load(
        home=str(root / "home"), data=str(root), sources=["shop"], source_dirs=[str(root)]
    )  # fmt: skip
    pipeline._execute("ingest", settings, spark, "20260101-t", False)
    return root / "home"


def said(capsys, *arguments):
    width, console.width = console.width, 200
    try:
        app([*map(str, arguments)], standalone_mode=False)
    finally:
        console.width = width
    return capsys.readouterr().out


@pytest.mark.slow
def test_without_filters_a_summary_and_with_them_the_rows(home, capsys):
    lines = [line.split() for line in said(capsys, "rejected", "--home", home).splitlines()]
    assert ["silver.products", "shop", "title_missing", "3", "0", "0", "0"] in lines
    assert ["silver.products", "shop", "price_unreadable", "1", "0", "0", "0"] in lines
    text = said(capsys, "rejected", "--home", home, "--rule", "title_missing")
    assert text.count("title_missing  (open)") == 3
    assert "shop.csv, record 2, line 3, key 2, run 20260101-t" in text
    assert "3 rows at" in text
    assert "no refused row of rule nothing" in said(capsys, "rejected", "--home", home, "--rule", "nothing")
    assert "price_unreadable" in said(capsys, "rejected", "--home", home, "--run", "20260101-t")


@pytest.mark.slow
def test_vendor_text_is_no_markup_and_no_escape_code(home, capsys):
    text = said(capsys, "rejected", "--home", home, "--rule", "price_unreadable")
    assert "key [red]" in text
    assert "\x1b" not in text
    text = said(
        capsys, "sql", "select key from silver.rejected where rule = 'price_unreadable'", "--home", home, "--at", "main"
    )
    assert "[red]" in text
    assert "[/]" in text
    assert "\x1b" not in text


@pytest.mark.slow
def test_csv_and_json_hold_every_row_with_reason_place_key_and_payload(home, capsys):
    rows = list(
        csv.DictReader(io.StringIO(said(capsys, "rejected", "--home", home, "--source", "shop", "--format", "csv")))
    )
    assert len(rows) == 5
    assert all(row["reason"] and row["file"].endswith("shop.csv") and row["state"] == "open" for row in rows)
    assert json.loads(next(row for row in rows if row["rule"] == "price_unreadable")["payload"])["price"] == HOSTILE
    lines = said(capsys, "rejected", "--home", home, "--all", "--format", "json").splitlines()
    assert sorted(json.loads(line)["record_number"] for line in lines) == [2, 3, 4, 5, 6]


@pytest.mark.slow
def test_a_summary_as_csv_has_a_column_a_state(home, capsys):
    rows = list(csv.DictReader(io.StringIO(said(capsys, "rejected", "--home", home, "--format", "csv"))))
    assert {row["rule"]: row["open"] for row in rows} == {
        "title_missing": "3",
        "price_unreadable": "1",
        "title_no_letters": "1",
    }
    assert set(rows[0]) == {"table", "source", "rule", "open", "resolved", "refused again", "not taken in"}
