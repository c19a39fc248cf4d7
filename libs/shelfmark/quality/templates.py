# ruff: noqa: E501
"""The pages of the data docs as Jinja templates; `docs` renders them with everything escaped."""

TEMPLATES = {
    "index": """
{% macro failures(run) %}
{% for t in run.tables %}{% for c in t.failed %}
<li><span class="pill {{ c.state }}">{{ c.weight }}</span> <span class="mono">{{ t.name }}</span>: {{ c.sentence|shown }}\
{% if c.found %} <b>{{ c.found }}</b>{% endif %}</li>
{% endfor %}{% endfor %}
{% endmacro %}
{% if month %}
<nav><a href="index.html">All data checks</a></nav>
<h1>Data checks of {{ month }}</h1>
{% else %}
<h1>Data checks</h1>
<p class="lead">Every run checks the records it takes in and the tables it writes. Open a run to see what was checked,
what was refused, why, and what to do about it.</p>
{% endif %}
{% if not runs %}<p>No run has been checked yet.</p>{% else %}
{% if newest %}
<h2>The newest run <span class="pill {{ newest.state }}">{{ newest.verdict }}</span></h2>
<p><a href="{{ newest.page }}">{{ newest.run_id|shown }}</a>, {{ newest.run_date }}:
{{ newest.checks - newest.failed.values()|sum }} of {{ newest.checks }} checks hold{{ "." if not newest.failed.values()|sum else ", these do not:" }}</p>
{% if newest.failed.values()|sum %}<ul>{{ failures(newest) }}</ul>{% endif %}
{% if newest.reason %}<p class="any">{{ newest.reason|shown }}</p>{% endif %}
{% if newest.refused %}
<p>{{ newest.refused|number }} {{ "record was" if newest.refused == 1 else "records were" }} refused\
{% if newest.open < newest.refused %}, {{ newest.open|number }} of them still open{% endif %}:
{% for source, rule, rows in newest.rules %}{{ rule|plain|shown }}{{ " in " ~ source|shown if source }} ({{ rows|number }}){{ ", " if not loop.last }}{% endfor %}.
<a href="{{ newest.page }}#refused">Which, and what to do</a></p>
{% endif %}
{% endif %}
<h2>{{ "Runs" if newest else "" }}</h2>
<div class="bar-of-tools">
<span>Show <label><input type="radio" name="show" id="show-all" checked> all</label>
<label><input type="radio" name="show" id="show-look"> what needs a look</label>
<label><input type="radio" name="show" id="show-open"> with open refused records</label></span>
<span data-search="#runs > tbody > tr" hidden><input type="search" aria-label="Search runs" placeholder="search: day, table, source, rule"> <output class="muted"></output></span>
</div>
<style>body:has(#show-look:checked) tr[data-state=good], body:has(#show-open:checked) tr[data-open="0"] { display: none !important; }</style>
<div class="scroll"><table class="cards" id="runs">
<thead><tr><th>Day, run</th><th>Outcome</th><th>What was checked</th><th class="num">Records refused</th><th>Refused most for</th></tr></thead>
<tbody>
{% for run in runs %}
<tr data-state="{{ run.state }}" data-open="{{ run.open }}"{% if run.state == "bad" %} class="bad"{% endif %}>
<td style="min-width:11rem"><b style="white-space:nowrap">{{ run.run_date }}</b><br><a class="small" href="{{ run.page }}">{{ run.run_id|shown }}</a></td>
<td><span class="pill {{ run.state }}">{{ run.verdict }}</span>{% if run.replay %}<br><span class="small muted">replay</span>{% endif %}</td>
<td>{% if run.failed.values()|sum %}<ul style="margin:0;padding-left:1.1rem">{{ failures(run) }}</ul>{% endif %}
{% if run.checks %}<details><summary class="small">{{ run.checks - run.failed.values()|sum }} of {{ run.checks }} checks hold, {{ run.tables|length }} {{ "table" if run.tables|length == 1 else "tables" }}</summary>
<ul class="small" style="margin:.2rem 0;padding-left:1.1rem">
{% for t in run.tables %}<li><a href="{{ run.page }}#{{ t.name }}">{{ t.name }}</a>: {{ t.held }} of {{ t.checks }} hold{% if t.rows is not none %}, {{ t.rows|number }} {{ "row" if t.rows == 1 else "rows" }}{% endif %}</li>
{% endfor %}</ul></details>{% else %}<span class="small muted">no table</span>{% endif %}</td>
<td class="num" data-label="refused">{{ run.refused|number }}{% if run.refused %}<br><span class="small muted">{{ run.open|number ~ " open" if run.open else "none open" }}</span><span class="bar"><i style="width:{{ run.width }}%"></i></span>{% endif %}</td>
<td class="small">{% for source, rule, rows in run.rules[:3] %}{{ rule|plain|shown }}{{ " in " ~ source|shown if source }} ({{ rows|number }}){{ ", " if not loop.last }}\
{% else %}<span class="muted">nothing refused</span>{% endfor %}</td>
</tr>
{% endfor %}
</tbody></table></div>
{% endif %}
{% if total > runs|length %}<p>The newest {{ runs|length }} runs of {{ total|number }}. All of a month:
{% for one in months %}<a href="month-{{ one }}.html">{{ one }}</a>{{ ", " if not loop.last }}{% endfor %}</p>{% endif %}
<footer>A record is refused when it breaks a rule of its own, such as a missing title; the rest of its feed goes on. A
critical check that fails stops the run: the tables stay as they were before it. A refused record is open until a later run
takes it in. The whole list: <span class="mono">shelfmark rejected</span>.</footer>
""",
    "run": """
{% macro samples(rows) %}
<div class="scroll"><table class="cards">
<thead><tr><th>Source</th><th>Where</th><th>Why</th><th>The record as read</th></tr></thead>
<tbody>
{% for s in rows %}
<tr class="sample">
<td>{{ (s.source or "")|shown }}{% if s.state %}<br><span class="pill {{ "good" if s.state == "resolved" else "warn" }}">{{ s.state }}</span>{% endif %}</td>
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
{% if reason %}<p class="any">{{ reason|shown }}</p>{% endif %}
{% if replay %}
<div class="do"><p><b>This run read refused records again</b> ({{ replay.asked|shown }}): {{ replay.read|number }} of them.
{{ replay.passed|number }} pass now ({{ replay.new|number }} new products, {{ replay.changed|number }} changed,
{{ replay.unchanged|number }} unchanged, {{ replay.superseded|number }} superseded by a newer record of the same key);
{{ replay.rejected|number }} stay refused{{ ":" if replay.still else "." }}
{% for source, rule, rows in replay.still %}{{ rule|plain|shown }} in {{ source|shown }} ({{ rows|number }}){{ ", " if not loop.last else "." }}{% endfor %}</p></div>
{% endif %}
<div class="grid">
<div class="card {{ "good" if held == run.checks else state }}"><b>{{ held }} of {{ run.checks }}</b><span>checks hold</span></div>
<div class="card {{ "bad" if run.failed.critical }}"><b>{{ run.failed.critical }}</b><span>critical checks failed</span></div>
<div class="card {{ "warn" if run.failed.warning }}"><b>{{ run.failed.warning }}</b><span>warnings</span></div>
<div class="card"><b>{{ run.tables|length }}</b><span>tables checked</span></div>
<div class="card {{ "warn" if open else "good" if run.refused }}"><b>{{ run.refused|number }}</b><span>records refused{% if open < run.refused %}, {{ open|number }} still open{% endif %}</span></div>
</div>

{% if attention %}
<h2 id="attention">What needs a look</h2>
<div class="scroll"><table class="cards">
<thead><tr><th></th><th>What should hold</th><th>Table</th><th class="num">What was found</th><th>For example</th></tr></thead>
<tbody>
{% for c in attention %}
<tr>
<td><span class="pill {{ c.state }}">{{ c.weight }}</span></td>
<td>{{ c.sentence|shown }}</td>
<td><a href="#{{ c.table }}">{{ c.table }}</a>{% if c.column %}<br><span class="muted small">{{ c.column }}</span>{% endif %}</td>
<td class="num" data-label="found">{{ c|found }}</td>
<td class="small any">{% for example in c.examples[:5] %}<bdi class="mono">{{ example|shown }}</bdi>{{ "; " if not loop.last }}{% endfor %}</td>
</tr>
{% endfor %}
</tbody></table></div>
<div class="do"><p><b>What to do.</b> Look at the rows that break it, then mend the feed or the mapping; where the check itself is wrong, change it in
{% for name in attention|map(attribute="table")|unique %}<span class="mono">expectations/{{ name }}.json</span>{{ ", " if not loop.last }}{% endfor %}.</p>
<pre>{{ command("sql", "select * from silver.check_results where not success and run_id = '" ~ (run.run_id|shown) ~ "'", "--at", "main") }}
{% if not published %}{{ command("pipeline", "--resume", run.run_id)|shown }}{% endif %}</pre></div>
{% endif %}

<h2 id="refused">Records refused</h2>
{% if not refused %}<p>No record was refused.</p>{% else %}
<p>These records broke a rule of their own and were set aside; the others of their feed were taken in. The whole list:
<span class="mono">{{ command("rejected", "--run", run.run_id, "--format", "csv")|shown }}</span></p>
<div class="scroll"><table class="cards">
<thead><tr><th>Rule</th><th>In words</th><th>Source</th><th class="num">Records</th><th class="num">Of those read</th><th>Since then</th></tr></thead>
<tbody>
{% for rule in refused %}{% for s in rule.sources %}
<tr>
<td>{% if loop.first %}<a href="#{{ rule.table }}-{{ rule.rule }}">{{ rule.rule|plain }}</a>{% endif %}</td>
<td>{% if loop.first %}{{ rule.words or "" }}{% endif %}</td>
<td>{{ (s.source or "")|shown }}</td><td class="num" data-label="records">{{ s.rows|number }}</td><td class="num" data-label="of those read">{{ s.share|share }}</td>
<td class="small">{% if s.by %}{% if s.resolved %}<span class="pill good">{{ s.resolved|number }} resolved</span> {% endif %}{% if s.again %}<span class="pill warn">{{ s.again|number }} refused again</span> {% endif %}\
<span class="muted">by {{ s.by[0]|shown }}{{ " and others" if s.by|length > 1 }}</span>{% endif %}{% if s.open and s.by %}, {{ s.open|number }} open{% elif s.open %}open{% endif %}</td>
</tr>
{% endfor %}{% endfor %}
</tbody></table></div>
{% if samples_shown %}<div class="bar-of-tools"><span data-search="tr.sample" hidden><input type="search" aria-label="Search the samples" placeholder="search the {{ samples_shown }} samples"> <output class="muted"></output></span></div>{% endif %}
{% for rule in refused %}
<h3 id="{{ rule.table }}-{{ rule.rule }}">{{ rule.rule|plain|capitalize }} <span class="muted">{{ rule.rows|number }}
{{ "record" if rule.rows == 1 else "records" }}{% if rule.samples and rule.samples|length < rule.rows %}, {{ rule.samples|length }} of them here{% endif %}{% if rule.open < rule.rows %}, {{ rule.open|number ~ " still open" if rule.open else "none open" }}{% endif %}</span></h3>
{% if rule.words %}<p>{{ rule.words }}</p>{% endif %}
{% if rule.samples %}
{{ samples(rule.samples[:5]) }}
{% if rule.samples|length > 5 %}
<details><summary>{{ rule.samples|length - 5 }} more</summary>
{{ samples(rule.samples[5:]) }}
</details>
{% endif %}
{% endif %}
{% if rule.open %}
<div class="do"><p><b>What to do.</b></p>
{% for sentence in rule.next.sentences %}<p>{{ sentence|shown }}</p>{% endfor %}
<pre>{% for command, why in rule.next.commands %}{{ command|shown }}  <span class="muted"># {{ why }}</span>
{% endfor %}</pre></div>
{% endif %}
{% endfor %}
{% endif %}

<h2 id="checked">What was checked</h2>
{% if not tables %}<p>No table was checked.</p>{% endif %}
{% for t in tables %}
<details id="{{ t.name }}" {{ "open" if t.held < t.checks|length }}>
<summary><b>{{ t.name }}</b> <span class="pill {{ t.state }}">{{ t.held }} of {{ t.checks|length }} hold</span>
{% if t.rows is not none %}<span class="muted">{{ t.rows|number }} {{ "row" if t.rows == 1 else "rows" }} looked at</span>{% endif %}</summary>
<div class="scroll"><table class="cards">
<thead><tr><th></th><th>What should hold</th><th>Column</th><th>If it fails</th><th class="num">What was found</th></tr></thead>
<tbody>
{% for c in t.checks %}
<tr>
<td><span class="pill {{ c.state }}">{{ "holds" if c.success else "fails" }}</span></td>
<td>{{ c.sentence|shown }}</td>
<td class="small">{{ c.column or "" }}</td>
<td class="small muted">{{ c.weight }}</td>
<td class="num" data-label="found">{{ c|found }}</td>
</tr>
{% endfor %}
</tbody></table></div>
</details>
{% endfor %}
<footer>&ldquo;Stops the run&rdquo;: while such a check fails, nothing of the run is published. &ldquo;Look at it&rdquo;: the run goes on, but
somebody should find out why. A check may allow some rows to break it and still hold, where its sentence says so.</footer>
""",
}
