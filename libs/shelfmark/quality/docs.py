"""Data docs: what was checked and what was refused, as pages a data steward reads without training.

One page a run, and an index of the newest runs, newest first; a page a month lists all of its runs. Static HTML, offline.
A page is written once, with a small JSON beside it that holds what the index needs; so a new run costs three pages however
many came before. Vendor text is hostile: templates escape everything, and the pages allow no script but the one here,
which filters their rows; without scripts everything is there to read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from shelfmark import style
from shelfmark.errors import UsageError
from shelfmark.quality import definitions
from shelfmark.quality.templates import TEMPLATES

log = logging.getLogger("shelfmark")

# A page must open at once on a laptop: this many examples of a rule and source, and this much of a refused record.
SAMPLES = 20
PAYLOAD = 2000
NEWEST = 100
"""Runs on the index; it reads so many summaries and no more."""
SENTENCES = 5  # failed checks of a table, told on the index
_ORDER = {"critical": 0, "warning": 1, "info": 2}
_STATES = {"critical": "bad", "warning": "warn", "info": "info"}
_WORDS = {"critical": "stops the run", "warning": "look at it", "info": "for information"}
_MAPPING_RULES = {
    "key_missing": "the source's key",
    "region_unknown": "the market",
    "title_missing": "the title",
    "price_unreadable": "the price",
    "currency_unknown": "the currency of the price",
}
"""Rules of `ingest.normalise`, and what the mapping did not find."""

_IN_WORDS = {
    "broken_record": "A record can be read in the format of its file.",
    "record_too_long": "A record is not longer than the format allows.",
    "field_too_long": "A field is not longer than the format allows.",
    "key_missing": "A record has a value for the key of its source.",
    "region_unknown": "A record's market is one that the mapping knows.",
    "title_missing": "A product has a title.",
    "price_unreadable": "A text given as a price has a number in it, of 16 digits at the most.",
    "currency_unknown": "A product with a price has a currency.",
    "erased": "What was erased on request is not taken in again.",
}
"""Sentences of the rules that are in no suite."""

SCRIPT = """
document.querySelectorAll("[data-search]").forEach(function (box) {
  var input = box.querySelector("input"), count = box.querySelector("output");
  var rows = document.querySelectorAll(box.dataset.search);
  box.hidden = false;
  input.addEventListener("input", function () {
    var words = input.value.toLowerCase().split(/\\s+/).filter(Boolean), shown = 0;
    rows.forEach(function (row) {
      var text = row.textContent.toLowerCase();
      var found = words.every(function (word) { return text.indexOf(word) >= 0; });
      row.hidden = !found;
      shown += found;
      if (found && words.length && row.closest("details")) { row.closest("details").open = true; }
    });
    count.textContent = words.length ? shown + " of " + rows.length : "";
  });
});
"""
"""Hides the rows that do not hold all the words of a search box."""


def build(
    out_dir: str | Path,
    runs: Iterable[Mapping[str, Any]],
    resolved: Mapping[str, Mapping[str, int]] | None = None,
) -> Path:
    """Write the page of each run given, and the index of all runs in `out_dir`. Returns the index.

    A run is a plain record:

    - `run_id`, `run_date` (ISO text or date); optional `status` (done, refused, failed), `reason`, `started_at`;
    - `checks`: rows of silver.check_results (table, expectation, column, severity, success, observed, sentence);
    - `rejects`: {table, source, rule, rows}: how many rows each rule refused; optional `resolved_by`, the run that
      judged these rows again, and `refused again`, how many of them it refused;
    - `samples`: rows of silver.rejected (table, source, rule, reason, file, record_number, line, key, payload), of
      which 20 are shown for each table, source and rule; optional `state`, `resolved_by` and `length` of the payload;
    - optional `sources`: {source, records}: records read, so that refused rows show as a share;
    - optional `notes`: of the run record; `mappings`: source -> file; `home`, `env`: for the commands to go on with.

    `resolved`: of other runs, how many of their refused rows which run judged again, for the index.
    A run given again replaces its page. Raises `UsageError` when `out_dir` cannot be written.
    """
    out = Path(out_dir)
    try:
        out.mkdir(parents=True, exist_ok=True)
        months = set()
        for run in runs:
            summary = _summary(run)
            title = f"Data check {summary['run_id']}"
            _write(out / summary["page"], style.page(title, _render("run", **_view(run, summary)), SCRIPT))
            _write(out / f"{_file_name(summary['run_id'])}.json", json.dumps(summary, ensure_ascii=False))
            months.add(summary["run_date"][:7])
        for run_id, by in (resolved or {}).items():
            months |= _resolved(out / f"{_file_name(run_id)}.json", by)
        names = sorted((file.name for file in out.glob("*.json")), reverse=True)
        for month in months:
            mine = _known(out, [name for name in names if name.startswith(month.replace("-", ""))])
            body = _render("index", runs=mine, month=month, months=[], newest=None, total=len(mine))
            _write(out / f"month-{month}.html", style.page(f"Data checks of {month}", body, SCRIPT))
        index = out / "index.html"
        known = _known(out, names[:NEWEST])
        pages = sorted((page.stem.removeprefix("month-") for page in out.glob("month-*.html")), reverse=True)
        newest = known[0] if known else None
        body = _render("index", runs=known, month=None, months=pages, newest=newest, total=len(names))
        _write(index, style.page("Data checks", body, SCRIPT))
    except OSError as error:
        raise UsageError(f"data docs cannot be written to {out}: {error.strerror}; choose another folder") from None
    return index


def _summary(run: Mapping[str, Any]) -> dict[str, Any]:
    """What the index says of a run: small, however much was checked and refused."""
    checks = run.get("checks", [])
    failed = Counter(check["severity"] for check in checks if not check["success"])
    rejects, closed = Counter(), Counter()
    for reject in run.get("rejects", []):
        rejects[reject.get("source") or "", reject["rule"]] += int(reject["rows"])
        if reject.get("resolved_by"):
            closed[reject["resolved_by"]] += int(reject["rows"])
    tables = [
        {
            "name": table["name"],
            "rows": table["rows"],
            "held": table["held"],
            "checks": len(table["checks"]),
            "state": table["state"],
            "failed": [
                {"weight": c["weight"], "state": c["state"], "sentence": _cut(c["sentence"], 300), "found": _broken(c)}
                for c in table["checks"]
                if not c["success"]
            ][:SENTENCES],
        }
        for table in _tables(checks)
    ]
    return {
        "run_id": str(run["run_id"]),
        "run_date": str(run["run_date"]),
        "started_at": str(run.get("started_at") or ""),
        "status": run.get("status") or ("refused" if failed["critical"] else "done"),
        "reason": _cut(run.get("reason"), 500),
        "checks": len(checks),
        "tables": tables,
        "failed": {severity: failed[severity] for severity in _ORDER},
        "refused": sum(rejects.values()),
        "closed": dict(closed),
        "rules": [[source, rule, rows] for (source, rule), rows in rejects.most_common(5)],
        "replay": (run.get("notes") or {}).get("replay"),
        "page": f"{_file_name(str(run['run_id']))}.html",
    }


def _resolved(file: Path, by: Mapping[str, int]) -> set[str]:
    """Tell a run's summary what was resolved of it; the month it is of, none where the run has no page."""
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
        summary["closed"] = {**summary.get("closed", {}), **by}
        month = summary["run_date"][:7]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return set()
    _write(file, json.dumps(summary, ensure_ascii=False))
    return {month}


def _known(out: Path, names: Iterable[str]) -> list[dict[str, Any]]:
    """The summaries of these names beside their pages, newest first."""
    runs = []
    for file in (out / name for name in names):
        try:
            summary = json.loads(file.read_text(encoding="utf-8"))
            summary["verdict"], summary["state"] = _verdict(summary)
            summary["open"] = max(summary["refused"] - sum(summary["closed"].values()), 0)
            if (out / summary["page"]).is_file():
                runs.append(summary)
        except (ValueError, KeyError, TypeError, AttributeError):
            log.warning("data docs: %s is not a summary of a run and is left out of the index", file)
    runs.sort(key=lambda run: (run["run_date"], run["started_at"], run["run_id"]), reverse=True)
    most = max((run["refused"] for run in runs), default=0)
    for run in runs:
        run["width"] = round(100 * run["refused"] / most, 1) if most else 0
    return runs


def _verdict(summary: Mapping[str, Any]) -> tuple[str, str]:
    """(words, state) for a run as a whole."""
    if summary["status"] == "refused":
        return "refused", "bad"
    if summary["status"] == "failed":
        return "did not finish", "bad"
    if summary["failed"]["critical"]:
        return "critical checks failed", "bad"
    if summary["failed"]["warning"]:
        return "warnings", "warn"
    return "published", "good"


def _tables(checks: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The checks by table, failed ones first."""
    tables = []
    checks = [_check(check) for check in checks]
    for name, mine in groupby(sorted(checks, key=lambda c: c["table"]), key=lambda c: c["table"]):
        # Stable: failed ones first, in order of severity, then as the suite's file has them.
        mine = sorted(mine, key=lambda c: (c["success"], _ORDER[c["severity"]] if not c["success"] else 0))
        failed = [c for c in mine if not c["success"]]
        tables.append(
            {
                "name": name,
                "rows": max((c["rows"] for c in mine if c["rows"] is not None), default=None),
                "checks": mine,
                "held": len(mine) - len(failed),
                "state": _STATES[failed[0]["severity"]] if failed else "good",
            }
        )
    return tables


def _view(run: Mapping[str, Any], summary: dict[str, Any]) -> dict[str, Any]:
    """All that the page of a run shows."""
    tables = _tables(run.get("checks", []))
    checks = [check for table in tables for check in table["checks"]]
    verdict, state = _verdict(summary)
    home, env = run.get("home") or ".shelfmark", run.get("env") or "base"
    where = ("" if home == ".shelfmark" else f" --home {shlex.quote(home)}") + (
        "" if env == "base" else f" --env {env}"
    )
    published = summary["status"] == "done"
    refused = _refused(run, where, published)
    return {
        "run": summary,
        "reason": run.get("reason"),
        "verdict": verdict,
        "state": state,
        "attention": sorted((c for c in checks if not c["success"]), key=lambda c: _ORDER[c["severity"]]),
        "tables": tables,
        "refused": refused,
        "open": max(summary["refused"] - sum(summary["closed"].values()), 0),
        "samples_shown": sum(len(rule["samples"]) for rule in refused),
        "held": sum(c["success"] for c in checks),
        "published": published,
        "replay": (run.get("notes") or {}).get("replay"),
        "command": _command(where),
    }


def _command(where: str):
    """A function that writes a command of ours for a steward to copy."""

    def command(name: str, *options: Any) -> str:
        words = (_quoted(str(option)) for option in options if option is not None)
        return " ".join(("shelfmark", name, *words)) + where

    return command


def _quoted(word: str) -> str:
    """A word as a person would write it for a shell: SQL, which has single quotes, in double ones."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


def _check(check: Mapping[str, Any]) -> dict[str, Any]:
    observed = check.get("observed")
    try:
        observed = json.loads(observed) if isinstance(observed, str) else observed
    except ValueError:
        observed = None
    observed = observed if isinstance(observed, dict) else {}
    severity = check["severity"] if check["severity"] in _ORDER else "critical"
    return {
        "table": check["table"],
        "column": check.get("column"),
        "sentence": check.get("sentence") or check.get("expectation"),
        "expectation": check.get("expectation"),
        "severity": severity,
        "state": "good" if check["success"] else _STATES[severity],
        "weight": _WORDS[severity],
        "success": bool(check["success"]),
        "rows": observed.get("rows"),
        "broken": observed.get("broken"),
        "share": observed.get("share"),
        "value": observed.get("value"),
        "examples": observed.get("examples") or [],
    }


def _refused(run: Mapping[str, Any], where_to: str, published: bool) -> list[dict[str, Any]]:
    """Refused rows by table and rule, most first; by source within, with samples and what to do next."""
    records = {s["source"]: s["records"] for s in run.get("sources", [])}
    samples: dict[tuple, list] = {}
    for sample in run.get("samples", []):
        mine = samples.setdefault((sample["table"], sample["rule"], sample.get("source")), [])
        if len(mine) < SAMPLES:
            payload = _cut(sample.get("payload"), PAYLOAD, sample.get("length"))
            state = sample.get("state") if sample.get("resolved_by") else None
            mine.append({**sample, "payload": payload, "where": where(sample), "state": state})
    rules: dict[tuple, dict] = {}
    for reject in run.get("rejects", []):
        key = (reject["table"], reject["rule"])
        rule = rules.setdefault(
            key,
            {
                "table": key[0],
                "rule": key[1],
                "words": _words(*key) or _IN_WORDS.get(key[1]),
                "rows": 0,
                "sources": {},
                "samples": [],
            },
        )
        source, rows = reject.get("source"), int(reject["rows"])
        rule["rows"] += rows
        new = source not in rule["sources"]
        mine = rule["sources"].setdefault(
            source, {"source": source, "rows": 0, "resolved": 0, "again": 0, "open": 0, "by": []}
        )
        mine["rows"] += rows
        if reject.get("resolved_by"):
            again = int(reject.get("refused again") or 0)
            mine["again"] += again
            mine["resolved"] += rows - again
            mine["by"].append(reject["resolved_by"])
        else:
            mine["open"] += rows
        if new:
            rule["samples"] += samples.get((*key, source), [])
    for rule in rules.values():
        rule["sources"] = sorted(rule["sources"].values(), key=lambda s: -s["rows"])
        for source in rule["sources"]:
            read = records.get(source["source"])
            source["share"] = source["rows"] / read if read else None
        rule["open"] = sum(source["open"] for source in rule["sources"])
        rule["next"] = _next(rule, run, where_to, published)
    return sorted(rules.values(), key=lambda rule: (-rule["rows"], rule["table"], rule["rule"]))


def _next(rule: Mapping[str, Any], run: Mapping[str, Any], where_to: str, published: bool) -> dict[str, Any]:
    """What a steward does about a rule that refused rows: sentences, and commands to copy."""
    command = _command(where_to)
    mappings = run.get("mappings") or {}
    named = [s for s in rule["sources"] if s["source"] and s["open"]] or rule["sources"]
    names = [s["source"] for s in named[:5]]
    files = [mappings.get(name) or f"conf/sources/{name}.yml" for name in names if name]
    suite = f"expectations/{rule['table']}.json"
    which = [("--rule", rule["rule"], *(("--source", name) if name else ())) for name in names]
    commands = [(command("rejected", "--run", run["run_id"], *one), "all of them") for one in which]
    sentences = []
    in_suite = _words(rule["table"], rule["rule"]) is not None
    from_mapping = _MAPPING_RULES.get(rule["rule"])
    if in_suite or from_mapping:
        what = f" and {from_mapping} is there under another name or in another form" if from_mapping else ""
        sentences.append(
            f"Are the records right{what}? Then correct the mapping: {', '.join(files) or 'of the source'}."
        )
        if in_suite:
            sentences.append(f"Is the rule too strict? Then change it, or take it out: rule {rule['rule']} in {suite}.")
        sentences.append("Are the records wrong? Then they stay refused: send the list to the vendor.")
        if published and rule["table"] == "silver.products":
            sentences.append("After a correction have them read again, first to see what would pass, then in earnest:")
            commands += [(command("replay", *one, "--dry-run"), "what would pass") for one in which]
            commands += [(command("replay", *one), "read them again") for one in which]
        elif not published:
            sentences.append(
                "After a correction run it again: this run was not published, so its feeds are taken in then."
            )
            commands.append((command("pipeline", "--resume", run["run_id"]), "run it again"))
    elif rule["rule"] == "erased":
        sentences.append(
            "They were erased on request, so there is nothing to correct. silver.erasures says when, why and by whom; to take "
            "them in again, lift that erasure and ask the source for a new feed:"
        )
        commands.append((command("erase", "--lift", "ERASURE"), "take them in again"))
    else:
        sentences.append(
            "The file is broken at these places, so there is nothing to map: send the list to the vendor and take in the "
            "mended file. Only where other records are cut wrongly too, correct the section format of "
            f"{', '.join(files) or 'the mapping'}."
        )
    return {"sentences": sentences, "commands": commands}


@lru_cache(maxsize=256)
def _words(table: str, rule: str) -> str | None:
    """The rule's sentence in the table's suite; None for rules that are in none."""
    try:
        suite = definitions.load(table)
    except UsageError:
        return None
    return next((e.sentence for e in suite.row_rules if e.rule == rule), None)


def where(sample: Mapping[str, Any]) -> str:
    """Where a steward finds a refused record: file, record, line."""
    parts = [Path(str(sample["file"])).name] if sample.get("file") else []
    if sample.get("record_number") is not None:
        parts.append(f"record {sample['record_number']:,}")
    if sample.get("line") is not None:
        parts.append(f"line {sample['line']:,}")
    return ", ".join(parts)


def _cut(text: Any, limit: int = PAYLOAD, length: int | None = None) -> str:
    """A text of at most `limit` characters that says how long it was; `length` where only its beginning is here."""
    text = "" if text is None else str(text)
    length = max(len(text), length or 0)
    return text if length <= limit else f"{text[:limit]} ... ({length:,} characters)"


def _plain(rule: str) -> str:
    return str(rule).replace("_", " ")


def _file_name(run_id: str) -> str:
    """A safe file name that differs for different run ids."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", run_id)
    # `index` would be taken for the index itself.
    return safe if safe == run_id and safe != "index" else f"{safe}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def _write(path: Path, text: str) -> None:
    """Write and rename, so that a reader never meets half a page."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _share(value: float | None) -> str:
    """A share in per cent; small ones are not rounded to nothing."""
    if value is None:
        return ""
    percent = 100 * value
    if 0 < percent < 0.1:
        return "under 0.1 %"
    return f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"


# Characters that would break a page's text or hide in it: controls, and marks that turn the direction of what follows.
_HIDDEN = dict.fromkeys(
    [*range(9), 11, 12, *range(14, 32), 127, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd"
)


def shown(value: Any) -> str:
    """Text without the characters that hide in it or act on a terminal."""
    return str(value).translate(_HIDDEN)


def _broken(check: Mapping[str, Any]) -> str:
    """How many rows break a check, or what was seen instead where rows cannot be told apart."""
    if check["broken"] == 0:
        return "none"
    if check["broken"] is not None:
        share = f" ({_share(check['share'])})" if check["share"] else ""
        return f"{check['broken']:,}{share} {'breaks' if check['broken'] == 1 else 'break'} it"
    if check["value"] is not None:
        return f"found {_number(check['value'])}"
    return "none" if check["success"] else ""


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": _number, "share": _share, "shown": shown, "plain": _plain, "found": _broken}
    return environment


@lru_cache(maxsize=3)
def _template(name: str):
    return _environment().from_string(TEMPLATES[name])


def _render(name: str, **view: Any) -> str:
    return _template(name).render(**view)
