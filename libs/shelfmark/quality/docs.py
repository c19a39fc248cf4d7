"""Data docs: what was checked and what was refused, as pages a data steward reads without training.

One page a run, and an index of all runs, newest first: static HTML, offline, no script. A page is written once, with
a small JSON beside it that holds what the index needs; so a new run costs two pages however many came before.
Vendor text is hostile: templates escape everything, and the pages forbid scripts besides.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
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

log = logging.getLogger("shelfmark")

# A page must open at once on a laptop: this many examples of a rule and source, and this much of a refused record.
SAMPLES = 20
PAYLOAD = 2000
_ORDER = {"critical": 0, "warning": 1, "info": 2}
_STATES = {"critical": "bad", "warning": "warn", "info": "info"}
_WORDS = {"critical": "stops the run", "warning": "look at it", "info": "for information"}


def build(out_dir: str | Path, runs: Iterable[Mapping[str, Any]]) -> Path:
    """Write the page of each run given, and the index of all runs in `out_dir`. Returns the index.

    A run is a plain record:

    - `run_id`, `run_date` (ISO text or date); optional `status` (done, refused, failed), `reason`, `started_at`;
    - `checks`: rows of silver.check_results (table, expectation, column, severity, success, observed, sentence);
    - `rejects`: {table, source, rule, rows}: how many rows each rule refused;
    - `samples`: rows of silver.rejected (table, source, rule, reason, file, record_number, line, key, payload), of
      which 20 are shown for each table, source and rule;
    - optional `sources`: {source, records}: records read, so that refused rows show as a share.

    A run given again replaces its page. Raises `UsageError` when `out_dir` cannot be written.
    """
    out = Path(out_dir)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for run in runs:
            summary = _summary(run)
            title = f"Data check {summary['run_id']}"
            _write(out / summary["page"], style.page(title, _render("run", **_view(run, summary))))
            _write(out / f"{_file_name(summary['run_id'])}.json", json.dumps(summary, ensure_ascii=False))
        index = out / "index.html"
        _write(index, style.page("Data checks", _render("index", runs=_known(out))))
    except OSError as error:
        raise UsageError(f"data docs cannot be written to {out}: {error.strerror}; choose another folder") from None
    return index


def _summary(run: Mapping[str, Any]) -> dict[str, Any]:
    """What the index says of a run."""
    checks = run.get("checks", [])
    failed = Counter(check["severity"] for check in checks if not check["success"])
    rejects = Counter()
    for reject in run.get("rejects", []):
        rejects[reject["rule"]] += int(reject["rows"])
    return {
        "run_id": str(run["run_id"]),
        "run_date": str(run["run_date"]),
        "started_at": str(run.get("started_at") or ""),
        "status": run.get("status") or ("refused" if failed["critical"] else "done"),
        "checks": len(checks),
        "tables": len({check["table"] for check in checks}),
        "failed": {severity: failed[severity] for severity in _ORDER},
        "refused": sum(rejects.values()),
        "rules": [[_plain(rule), rows] for rule, rows in rejects.most_common(3)],
        "page": f"{_file_name(str(run['run_id']))}.html",
    }


def _known(out: Path) -> list[dict[str, Any]]:
    """The summaries beside the pages, newest first."""
    runs = []
    for file in out.glob("*.json"):
        try:
            summary = json.loads(file.read_text(encoding="utf-8"))
            summary["verdict"], summary["state"] = _verdict(summary)
            if (out / summary["page"]).is_file():
                runs.append(summary)
        except (ValueError, KeyError, TypeError):
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


def _view(run: Mapping[str, Any], summary: dict[str, Any]) -> dict[str, Any]:
    """All that the page of a run shows."""
    checks = [_check(check) for check in run.get("checks", [])]
    tables = []
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
    verdict, state = _verdict(summary)
    return {
        "run": summary,
        "reason": run.get("reason"),
        "verdict": verdict,
        "state": state,
        "attention": sorted((c for c in checks if not c["success"]), key=lambda c: _ORDER[c["severity"]]),
        "tables": tables,
        "refused": _refused(run),
        "held": sum(c["success"] for c in checks),
    }


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


def _refused(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Refused rows by table and rule, most first; by source within, with samples."""
    records = {s["source"]: s["records"] for s in run.get("sources", [])}
    samples: dict[tuple, list] = {}
    for sample in run.get("samples", []):
        mine = samples.setdefault((sample["table"], sample["rule"], sample.get("source")), [])
        if len(mine) < SAMPLES:
            mine.append({**sample, "payload": _cut(sample.get("payload")), "where": _where(sample)})
    rules: dict[tuple, dict] = {}
    for reject in run.get("rejects", []):
        key = (reject["table"], reject["rule"])
        rule = rules.setdefault(
            key, {"table": key[0], "rule": key[1], "words": _words(*key), "rows": 0, "sources": [], "samples": []}
        )
        source, rows = reject.get("source"), int(reject["rows"])
        rule["rows"] += rows
        read = records.get(source)
        rule["sources"].append({"source": source, "rows": rows, "share": rows / read if read else None})
        rule["samples"] += samples.get((*key, source), [])
    for rule in rules.values():
        rule["sources"].sort(key=lambda s: -s["rows"])
    return sorted(rules.values(), key=lambda rule: (-rule["rows"], rule["table"], rule["rule"]))


@lru_cache(maxsize=256)
def _words(table: str, rule: str) -> str | None:
    """The rule's sentence in the table's suite; None for rules of the readers, whose reasons speak for themselves."""
    try:
        suite = definitions.load(table)
    except UsageError:
        return None
    return next((e.sentence for e in suite.row_rules if e.rule == rule), None)


def _where(sample: Mapping[str, Any]) -> str:
    """Where a steward finds the record: file, record, line."""
    parts = [Path(str(sample["file"])).name] if sample.get("file") else []
    if sample.get("record_number") is not None:
        parts.append(f"record {sample['record_number']:,}")
    if sample.get("line") is not None:
        parts.append(f"line {sample['line']:,}")
    return ", ".join(parts)


def _cut(payload: Any) -> str:
    text = "" if payload is None else str(payload)
    return text if len(text) <= PAYLOAD else f"{text[:PAYLOAD]} ... ({len(text):,} characters)"


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


def _shown(value: Any) -> str:
    return str(value).translate(_HIDDEN)


_TEMPLATES = {
    "index": """
<h1>Data checks</h1>
<p class="lead">Every run checks the records it takes in and the tables it writes. Open a run to see what was checked,
what was refused, and why.</p>
{% if not runs %}<p>No run has been checked yet.</p>{% else %}
<div class="scroll"><table>
<thead><tr><th>Day</th><th>Run</th><th>Outcome</th><th class="num">Checks held</th><th class="num">Records refused</th>
<th>Refused most for</th></tr></thead>
<tbody>
{% for run in runs %}
<tr>
<td style="white-space:nowrap">{{ run.run_date }}</td>
<td class="small"><a href="{{ run.page }}">{{ run.run_id|shown }}</a></td>
<td><span class="pill {{ run.state }}">{{ run.verdict }}</span></td>
<td class="num">{{ run.checks - run.failed.values()|sum }} of {{ run.checks }}</td>
<td class="num">{{ run.refused|number }}<span class="bar"><i style="width:{{ run.width }}%"></i></span></td>
<td class="small">{% for rule, rows in run.rules %}{{ rule|shown }} ({{ rows|number }}){{ ", " if not loop.last }}\
{% else %}<span class="muted">nothing refused</span>{% endfor %}</td>
</tr>
{% endfor %}
</tbody></table></div>
{% endif %}
<footer>A record is refused when it breaks a rule of its own, such as a missing title; the rest of its feed goes on. A
critical check that fails stops the run: the tables stay as they were before it.</footer>
""",
    "run": """
{% macro samples(rows) %}
<div class="scroll"><table>
<thead><tr><th>Source</th><th>Where</th><th>Why</th><th>The record as read</th></tr></thead>
<tbody>
{% for s in rows %}
<tr>
<td>{{ (s.source or "")|shown }}</td>
<td class="small any"><bdi>{{ s.where|shown }}</bdi>{% if s.key %}<br><span class="muted">key <bdi class="mono">{{ s.key|shown }}</bdi></span>{% endif %}</td>
<td class="any"><bdi>{{ (s.reason or "")|shown }}</bdi></td>
<td class="any" style="width:42%"><details><summary class="mono"><bdi>{{ s.payload[:60]|shown }}{{ "..." if s.payload|length > 60 }}</bdi></summary>
<pre><bdi>{{ s.payload|shown }}</bdi></pre></details></td>
</tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}
<nav><a href="index.html">All data checks</a></nav>
<h1>Data check of {{ run.run_date }} <span class="pill {{ state }}" style="vertical-align:middle">{{ verdict }}</span></h1>
<p class="lead">Run <span class="mono">{{ run.run_id|shown }}</span>.
{% if run.failed.critical %}{{ run.failed.critical }} critical {{ "check" if run.failed.critical == 1 else "checks" }}
failed, so the tables stay as they were before this run.
{% elif run.status == "failed" or run.status == "refused" %}The run was not published: the tables stay as they were.
{% elif attention %}The tables were published; {{ attention|length }}
{{ "check" if attention|length == 1 else "checks" }} should be looked at.
{% elif run.checks %}Every check holds.
{% else %}No table was checked.{% endif %}</p>
{% if reason %}<p>{{ reason|shown }}</p>{% endif %}
<div class="grid">
<div class="card {{ "good" if held == run.checks else state }}"><b>{{ held }} of {{ run.checks }}</b><span>checks hold</span></div>
<div class="card {{ "bad" if run.failed.critical }}"><b>{{ run.failed.critical }}</b><span>critical checks failed</span></div>
<div class="card {{ "warn" if run.failed.warning }}"><b>{{ run.failed.warning }}</b><span>warnings</span></div>
<div class="card"><b>{{ run.tables }}</b><span>tables checked</span></div>
<div class="card {{ "warn" if run.refused }}"><b>{{ run.refused|number }}</b><span>records refused</span></div>
</div>

{% if attention %}
<h2 id="attention">What needs a look</h2>
<div class="scroll"><table>
<thead><tr><th></th><th>What should hold</th><th>Table</th><th class="num">Rows that break it</th><th>For example</th></tr></thead>
<tbody>
{% for c in attention %}
<tr>
<td><span class="pill {{ c.state }}">{{ c.weight }}</span></td>
<td>{{ c.sentence|shown }}</td>
<td><a href="#{{ c.table }}">{{ c.table }}</a>{% if c.column %}<br><span class="muted small">{{ c.column }}</span>{% endif %}</td>
<td class="num">{{ broken(c) }}</td>
<td class="small any">{% for example in c.examples[:5] %}<bdi class="mono">{{ example|shown }}</bdi>{{ "; " if not loop.last }}{% endfor %}</td>
</tr>
{% endfor %}
</tbody></table></div>
{% endif %}

<h2 id="refused">Records refused</h2>
{% if not refused %}<p>No record was refused.</p>{% else %}
<p>These records broke a rule of their own and were set aside; the others of their feed were taken in. The whole list is
in the table <span class="mono">silver.rejected</span>.</p>
<div class="scroll"><table>
<thead><tr><th>Rule</th><th>In words</th><th>Source</th><th class="num">Records</th><th class="num">Of those read</th></tr></thead>
<tbody>
{% for rule in refused %}{% for s in rule.sources %}
<tr>
<td>{% if loop.first %}<a href="#{{ rule.table }}-{{ rule.rule }}">{{ rule.rule|plain }}</a>{% endif %}</td>
<td>{% if loop.first %}{{ rule.words or "" }}{% endif %}</td>
<td>{{ (s.source or "")|shown }}</td><td class="num">{{ s.rows|number }}</td><td class="num">{{ s.share|share }}</td>
</tr>
{% endfor %}{% endfor %}
</tbody></table></div>
{% for rule in refused if rule.samples %}
<h3 id="{{ rule.table }}-{{ rule.rule }}">{{ rule.rule|plain|capitalize }} <span class="muted">{{ rule.rows|number }}
{{ "record" if rule.rows == 1 else "records" }}{% if rule.samples|length < rule.rows %}, {{ rule.samples|length }} of them here{% endif %}</span></h3>
{{ samples(rule.samples[:5]) }}
{% if rule.samples|length > 5 %}
<details><summary>{{ rule.samples|length - 5 }} more</summary>
{{ samples(rule.samples[5:]) }}
</details>
{% endif %}
{% endfor %}
{% endif %}

<h2 id="checked">What was checked</h2>
{% for t in tables %}
<details id="{{ t.name }}" {{ "open" if t.held < t.checks|length }}>
<summary><b>{{ t.name }}</b> <span class="pill {{ t.state }}">{{ t.held }} of {{ t.checks|length }} hold</span>
{% if t.rows is not none %}<span class="muted">{{ t.rows|number }} {{ "row" if t.rows == 1 else "rows" }} looked at</span>{% endif %}</summary>
<div class="scroll"><table>
<thead><tr><th></th><th>What should hold</th><th>Column</th><th>If it fails</th><th class="num">Rows that break it</th></tr></thead>
<tbody>
{% for c in t.checks %}
<tr>
<td><span class="pill {{ c.state }}">{{ "holds" if c.success else "fails" }}</span></td>
<td>{{ c.sentence|shown }}</td>
<td class="small">{{ c.column or "" }}</td>
<td class="small muted">{{ c.weight }}</td>
<td class="num">{{ broken(c) }}</td>
</tr>
{% endfor %}
</tbody></table></div>
</details>
{% endfor %}
<footer>&ldquo;Stops the run&rdquo;: while such a check fails, nothing of the run is published. &ldquo;Look at it&rdquo;: the run goes on, but
somebody should find out why. A check may allow some rows to break it and still hold, where its sentence says so.</footer>
""",  # noqa: E501
}


def _broken(check: Mapping[str, Any]) -> str:
    """How many rows break a check, or what was seen instead where rows cannot be told apart."""
    if check["broken"] is not None:
        share = f" ({_share(check['share'])})" if check["share"] else ""
        return f"{check['broken']:,}{share}"
    if check["value"] is not None:
        return f"found {_number(check['value'])}"
    return "none" if check["success"] else ""


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": _number, "share": _share, "shown": _shown, "plain": _plain}
    environment.globals["broken"] = _broken
    return environment


@lru_cache(maxsize=2)
def _template(name: str):
    return _environment().from_string(_TEMPLATES[name])


def _render(name: str, **view: Any) -> str:
    return _template(name).render(**view)
