"""The command line as people meet it: help, errors in one line, exit codes."""

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shelfmark import config, pipeline
from shelfmark.errors import DataRefused

COMMAND = Path(sys.executable).with_name("shelfmark")


def call(*arguments, cwd=None, env=None):
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )


def test_help_speaks_to_the_three_kinds_of_user():
    said = call("--help").stdout
    for words in ("Platform teams", "Analysts", "Data stewards", "Exit codes", "pipeline", "classify", "lake"):
        assert words in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pipeline"], "no sources: name them with --sources"),
        (["pipeline", "--sources", "nobody"], "unknown source 'nobody'; known: amazon_in"),
        (["pipeline", "--sources", "costco", "--data", "nowhere"], "nowhere"),
        (["pipeline", "--sources", "costco", "--from", "nothing"], "--from nothing: choose one of ingest"),
        (["pipeline", "--sources", "costco", "--set", "text.costs=1"], "text.costs: unknown key"),
        (["pipeline", "--accept", "silver.products:much"], "no such check; there are: bronze.files:feed_size"),
        (["pipeline", "--env", "mars"], "--env is one of base, demo"),
        (["pipeline", "--run-id", "tonight"], "begin it with the day"),
        (["run", "cook"], "no job 'cook'; there are: ingest"),
        (["tables", "silver.nothing"], "no table 'silver.nothing'"),
        (["sql", "select 1"], "run `shelfmark pipeline` first"),
        (["sql", "select 1", "--format", "xml"], "choose table, csv or json"),
        (["lake", "log"], "run `shelfmark pipeline` first"),
        (["init", "nothing.csv"], "nothing.csv"),
        (["classify", "nothing.csv", "--out", "out.csv"], "no file nothing.csv"),
        (["pipeline", "--nonsense"], "No such option: --nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_and_exit_code_2(tmp_path, arguments, says):
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_wrong_mapping_names_file_line_and_key_before_spark_starts(tmp_path):
    (tmp_path / "shop.yml").write_text(
        "description: x\nlicence: y\nfiles: [shop.csv]\nformat:\n  kind: csv\n  delimeter: ;\n"
    )
    done = call("pipeline", "--sources", "shop", "--set", "source_dirs=[.]", cwd=tmp_path)
    assert done.returncode == 2
    assert "shop.yml:6: format.delimeter: unknown option" in done.stderr


def test_tables_prints_the_contract():
    said = call("tables", "silver.products").stdout
    assert "product_id" in said
    assert "ISO 4217" in said


def test_init_drafts_a_mapping(tmp_path):
    (tmp_path / "offers.csv").write_text("sku;titel;preis\n1;Rote Schuhe;9,99\n2;Blaue Hose;19,50\n")
    done = call("init", "offers.csv", "--out", "offers.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    draft = (tmp_path / "offers.yml").read_text()
    assert "delimiter: ;" in draft.replace('"', "").replace("'", "")
    assert "# guess" in draft
    again = call("init", "offers.csv", "--out", "offers.yml", cwd=tmp_path)
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_a_dry_run_says_what_it_would_do_and_writes_no_table(tmp_path):
    (tmp_path / "shop.csv").write_text("id,name\n1,Hat\n")
    (tmp_path / "shop.yml").write_text(
        "description: x\nlicence: y\nfiles: [shop.csv]\nformat: {kind: csv}\nkey: id\nregion: US\nlanguage: en\n"
        "fields: {title: name}\n"
    )
    done = call(
        "run", "ingest", "--dry-run", "--sources", "shop", "--data", ".", "--set", "source_dirs=[.]", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "shop: would read shop.csv (14 bytes)" in done.stdout
    assert call("run", "dedupe", "--dry-run", cwd=tmp_path).stdout.strip().endswith("never ran here: it would run")
    assert not list((tmp_path / ".shelfmark").rglob("_delta_log"))


def test_a_failed_run_calls_the_command_and_the_webhook(tmp_path):
    got = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    script = tmp_path / "notify.sh"
    script.write_text(f'#!/bin/sh\nprintf "%s|%s|%s|%s" "$1" "$2" "$3" "$4" > {tmp_path}/said\n')
    script.chmod(0o755)
    hook = f"http://127.0.0.1:{server.server_port}/hook"
    settings = config.load(overrides=[f"notify.command={script}", f"notify.webhook={hook}"], home=str(tmp_path))
    pipeline._notify(settings, "ingest", "20260101-x", DataRefused("all rows were refused"))
    server.shutdown()
    assert (tmp_path / "said").read_text() == "ingest|20260101-x|3|all rows were refused"
    assert got == [{"job": "ingest", "run_id": "20260101-x", "exit_code": 3, "reason": "all rows were refused"}]


def test_a_notification_that_fails_hides_nothing(tmp_path):
    settings = config.load(
        overrides=["notify.command=/nowhere/notify", "notify.webhook=http://127.0.0.1:9/"], home=str(tmp_path)
    )
    pipeline._notify(settings, "ingest", "20260101-x", DataRefused("refused"))
