"""The look of every HTML page Shelfmark writes: data docs for stewards and the run report.

One file a page, offline: the style sheet is inlined, nothing is fetched. Classes to build with:

- layout: `main` is made by `page`; `section`; `.grid` (cards that wrap); `.two` (two columns on a wide screen);
- `.card` with `.card b` as the big number and `.card span` as its caption;
- words: `.lead` (one opening sentence), `.muted`, `.small`, `.mono`, `.num` (right-aligned figures in a table cell);
- states: `.pill` with `.good`, `.warn`, `.bad` or `.info`; the same four colour `.card`s and table rows (`tr.bad`);
- `table` in `.scroll` for wide tables, `td.any` for a cell of vendor text, which may break anywhere;
  `.bar` > `i` with an inline `style="width:42%"` for a share in a cell;
- `table.cards`: on a narrow screen each row becomes a card, each cell named by its `data-label`;
- `figure` + `figcaption` for pictures; `details` + `summary` for what most readers skip.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape

CSS = """
:root {
  --paper: #fbfaf7; --card: #ffffff; --ink: #1f2328; --soft: #5c6470; --line: #e4e1da; --accent: #2f5d8a;
  --good: #2e7d4f; --good-soft: #e7f3ec; --warn: #9a6700; --warn-soft: #fdf3d8;
  --bad: #b3261e; --bad-soft: #fbe9e7; --info: #2f5d8a; --info-soft: #e6eef6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181c; --card: #1e2126; --ink: #e6e6e3; --soft: #a0a6b0; --line: #33373e; --accent: #8ab4de;
    --good: #7cc79b; --good-soft: #1d3327; --warn: #e0b85c; --warn-soft: #3a2f14;
    --bad: #f1948a; --bad-soft: #40211e; --info: #8ab4de; --info-soft: #1d2c3b;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.25; font-weight: 600; letter-spacing: -.01em; margin: 0 0 .35rem; }
h2 { font-size: 1.2rem; font-weight: 600; margin: 2.6rem 0 .6rem; }
h3 { font-size: 1rem; font-weight: 600; margin: 1.5rem 0 .4rem; }
p { margin: .4rem 0 .8rem; max-width: 46rem; }
a { color: var(--accent); text-decoration: none; }
a:hover, a:focus { text-decoration: underline; }
nav { font-size: .9rem; margin-bottom: 1.2rem; color: var(--soft); }
.lead { font-size: 1.06rem; color: var(--soft); }
.muted { color: var(--soft); }
.small { font-size: .86rem; }
.mono, code, pre { font-family: ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .86em; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1.2rem; }
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem;
  border-top: 3px solid var(--line);
}
.card b { display: block; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.3; }
.card span { color: var(--soft); font-size: .86rem; }
.card.good { border-top-color: var(--good); } .card.warn { border-top-color: var(--warn); }
.card.bad { border-top-color: var(--bad); } .card.info { border-top-color: var(--info); }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; margin: .6rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .5rem .8rem; border-bottom: 1px solid var(--line); }
th { font-weight: 600; font-size: .82rem; color: var(--soft); white-space: nowrap; }
tr:last-child > td { border-bottom: 0; }
td { overflow-wrap: break-word; }
td.any, td.any * { overflow-wrap: anywhere; }
td > details { margin: 0; }
.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.bad > td { background: var(--bad-soft); } tr.warn > td { background: var(--warn-soft); }
.pill {
  display: inline-block; padding: .05rem .55rem; border-radius: 1rem; font-size: .8rem; font-weight: 600; white-space: nowrap;
  color: var(--soft); background: var(--line);
}
.pill.good { color: var(--good); background: var(--good-soft); } .pill.warn { color: var(--warn); background: var(--warn-soft); }
.pill.bad { color: var(--bad); background: var(--bad-soft); } .pill.info { color: var(--info); background: var(--info-soft); }
.bar { display: block; height: .5rem; background: var(--line); border-radius: 4px; overflow: hidden; min-width: 5rem; }
.bar > i { display: block; height: 100%; background: var(--accent); }
.bar.good > i { background: var(--good); } .bar.warn > i { background: var(--warn); } .bar.bad > i { background: var(--bad); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
figure { margin: 1rem 0; } figure img, figure svg { max-width: 100%; height: auto; background: #fff; }
figcaption { color: var(--soft); font-size: .88rem; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--accent); }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft); font-size: .86rem; }
tr.bad .pill.bad { background: var(--card); }
[hidden] { display: none !important; }
.bar-of-tools { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; align-items: center; margin: 1rem 0 .4rem; font-size: .92rem; }
.bar-of-tools input[type=search] { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; padding: .3rem .6rem; width: 19rem; max-width: 100%; }
.do { background: var(--card); border: 1px solid var(--line); border-left: 3px solid var(--accent); border-radius: 8px;
  padding: .6rem 1rem; margin: .6rem 0; }
.do p { margin: .2rem 0; } .do pre { border: 0; padding: .1rem 0; margin: .2rem 0; background: none; }
@media (max-width: 46rem) {
  main { padding: 1.2rem .9rem 3rem; }
  table.cards thead { display: none; }
  table.cards tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line); }
  table.cards td { display: block; border: 0; padding: .15rem .9rem; text-align: left; white-space: normal; width: auto !important; }
  table.cards td[data-label]::before { content: attr(data-label) " "; color: var(--soft); font-size: .82rem; }
  table.cards tr.bad { background: var(--bad-soft); }
  table.cards td:empty { display: none; }
}
@media print { body { background: #fff; } .card, .scroll { break-inside: avoid; } details > * { display: block; } }
"""
"""The style sheet: light typography on paper, a dark set of colours where the reader's system asks for it."""


def page(title: str, body: str, script: str = "") -> str:
    """A whole offline HTML5 page. `title` is text and is escaped here; `body` is HTML that its maker has escaped.

    `script` is the one script that may run on it, told from any other by its hash; without it none may.
    """
    allowed = f"; script-src 'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" if script else ""
    script = f"<script>{script}</script>\n" if script else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # No other script, no fetch: vendor text on the page can do nothing even if an escape were missed.
        '<meta http-equiv="Content-Security-Policy" '
        f"content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:{allowed}\">\n"
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n{script}</body>\n</html>\n"
    )
