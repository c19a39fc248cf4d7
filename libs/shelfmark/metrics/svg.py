"""Small charts as inline SVG: offline, in the page's own fonts and colours, light and dark.

Each function takes plain lists and returns one `<svg>` text; every text in it is escaped here. Widths are in SVG units
of a 900 unit wide canvas that the page scales. A mark carries a `<title>`: browsers show it under the pointer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

WIDTH = 900
ROW = 26
"""Height of a row of a horizontal chart: a 13 unit text with as much air."""

PALETTE = {
    "accent": "var(--accent)",
    "ink": "var(--ink)",
    "soft": "var(--soft)",
    "line": "var(--line)",
    "good": "#3d8f62",
    "blue": "#4f8ac9",
    "grey": "#a9afba",
    "red": "#c6503f",
    "amber": "#d59f35",
}
"""Colours that hold on light and on dark paper."""


def dots(
    rows: Sequence[tuple[str, str]],
    panels: Sequence[tuple[str, Callable[[float], str], Sequence[tuple[float, float | None, float | None] | str]]],
    label: str,
) -> str:
    """Dot plot: one line per row, one 0..1 panel per figure.

    `rows` are (name, remark under the pointer); `panels` are (title, how a value is written, [(value, low, high) or a
    text shown instead]).
    """
    left, right, top, gap = 96, 22, 44, 52
    panel = (WIDTH - left - right - gap * (len(panels) - 1)) / len(panels)
    height = top + ROW * len(rows) + 12
    out = []
    for at, (title, said, values) in enumerate(panels):
        x0 = left + at * (panel + gap)
        out.append(_text(x0, 16, title, weight=600))
        for tick in (0, 0.25, 0.5, 0.75, 1):
            x = x0 + tick * panel
            out.append(_line(x, top - 8, x, height - 12, "line"))
            if tick in (0, 0.5, 1):
                out.append(
                    _text(
                        x,
                        34,
                        said(tick).replace(".0 %", " %").replace(".000", "").replace(".500", ".5"),
                        "soft",
                        11,
                        "middle",
                    )
                )
        for row, value in enumerate(values):
            y = top + ROW * row + ROW / 2
            if isinstance(value, str):
                out.append(_text(x0 + 4, y + 4, value, "soft", 12))
                continue
            centre, low, high = value
            whisker = ""
            if low is not None and high is not None:
                whisker = f", 95 % interval {said(low)} to {said(high)}"
                out.append(_line(x0 + low * panel, y, x0 + high * panel, y, "accent", 3, 0.35))
            x = x0 + centre * panel
            # The figure stands on the side with room for it, outside the whisker.
            near, far = (x0 + (low or centre) * panel, x0 + (high or centre) * panel)
            at_end = centre > 0.8
            out.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" style="fill:{PALETTE["accent"]}">'
                f"<title>{escape(f'{rows[row][0]}: {title} {said(centre)}{whisker}')}</title></circle>"
            )
            edge, side = (near - 9, "end") if at_end else (far + 9, "start")
            out.append(_text(edge, y + 4, said(centre), "ink", 12, side))
    for row, (name, remark) in enumerate(rows):
        out.append(_text(0, top + ROW * row + ROW / 2 + 4, shorten(name, 14), "ink", 13, title=remark))
    return _svg(height, out, label)


def bars(
    rows: Sequence[tuple[str, float, str]], label: str, colour: str = "accent", left: int = 430, title: str = ""
) -> str:
    """Horizontal bars: rows of (name, value, text at the bar's end), `left` units for the names."""
    top = 24 if title else 4
    height = top + ROW * len(rows) + 4
    most = max((value for _, value, _ in rows), default=0) or 1
    room = WIDTH - left - 90  # the text at the end of the longest bar
    out = [_text(left, 14, title, "soft", 11)] if title else []
    for at, (name, value, said) in enumerate(rows):
        y = top + ROW * at
        wide = max(room * value / most, 1)
        out.append(_text(left - 10, y + ROW / 2 + 4, shorten(name, int(left / 7.2)), "ink", 13, "end", title=name))
        out.append(
            f'<rect x="{left}" y="{y + 5}" width="{wide:.1f}" height="{ROW - 10}" rx="2" '
            f'style="fill:{PALETTE[colour]}"><title>{escape(f"{name}: {said}")}</title></rect>'
        )
        out.append(_text(left + wide + 8, y + ROW / 2 + 4, said, "soft", 12))
    return _svg(height, out, label)


def stacked(rows: Sequence[tuple[str, Sequence[int], str]], parts: Sequence[tuple[str, str]], label: str) -> str:
    """Shares of a whole: one bar of full width per row, rows of (name, counts, text at the right).

    `parts` are (name, colour) of the counts, in order; they make the legend above the bars.
    """
    left, right, top = 130, 110, 34
    height = top + ROW * len(rows) + 4
    out, x = [], float(left)
    for name, colour in parts:
        out.append(f'<rect x="{x}" y="6" width="12" height="12" rx="2" style="fill:{PALETTE[colour]}"/>')
        out.append(_text(x + 18, 16, name, "soft", 12))
        x += 36 + 7 * len(name)
    for at, (name, counts, said) in enumerate(rows):
        y, total = top + ROW * at, sum(counts)
        out.append(_text(left - 10, y + ROW / 2 + 4, shorten(name, 17), "ink", 13, "end", title=name))
        x = float(left)
        for (part, colour), count in zip(parts, counts):
            wide = (WIDTH - left - right) * count / total if total else 0
            if wide:
                out.append(
                    f'<rect x="{x:.2f}" y="{y + 4}" width="{wide:.2f}" height="{ROW - 8}" '
                    f'style="fill:{PALETTE[colour]}"><title>'
                    f"{escape(f'{name}: {count:,} {part} ({count / total:.1%})')}</title></rect>"
                )
            x += wide
        out.append(_text(WIDTH - right + 10, y + ROW / 2 + 4, said, "soft", 12))
    return _svg(height, out, label)


def scatter(
    points: Sequence[tuple[float, float, str]], x_name: str, y_name: str, label: str, split: float | None = None
) -> str:
    """Points (x >= 1 on a logarithmic axis, y 0..1, text under the pointer), with the median y of each doubling of x.

    `split` draws a dashed upright at that x.
    """
    left, right, top, bottom, height = 56, 16, 14, 46, 380
    wide, high = WIDTH - left - right, height - top - bottom
    most = max((x for x, _, _ in points), default=1)
    decades = max(math.log10(most) * 1.03, 1)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + wide * math.log10(max(x, 1)) / decades, top + high * (1 - y)

    out = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        y = at(1, tick)[1]
        out += [_line(left, y, WIDTH - right, y, "line"), _text(left - 8, y + 4, f"{tick:g}", "soft", 11, "end")]
    for tick in (m * 10**e for e in range(math.ceil(decades) + 1) for m in (1, 2, 5)):
        if math.log10(tick) <= decades:
            x = at(tick, 0)[0]
            out += [_line(x, top, x, top + high, "line", 1, 0.6)]
            out += [_text(x, top + high + 16, f"{tick:,}", "soft", 11, "middle")]
    if split and 1 < split <= 10**decades:
        x = at(split, 0)[0]
        out.append(_line(x, top, x, top + high, "soft", 1, 0.9, "4 3"))
    # Many points on small supports lie on one another: faint ones show where they crowd.
    faint = 0.75 if len(points) < 200 else 0.45 if len(points) < 1000 else 0.25
    for x, y, said in points:
        cx, cy = at(x, y)
        out.append(
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="4" style="fill:{PALETTE["accent"]};fill-opacity:{faint}">'
            f"<title>{escape(said)}</title></circle>"
        )
    steps = _medians(points)
    if len(steps) > 1:
        line = " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in steps)
        out.append(f'<polyline points="{line}" style="fill:none;stroke:{PALETTE["amber"]};stroke-width:2.5"/>')
        x, y = at(*steps[-1])
        under = y < top + 14  # no room above the line
        out.append(_text(min(x, WIDTH - right - 4), y + 20 if under else y - 10, "median", "amber", 12, "end", 600))
    out.append(_text(left + wide / 2, height - 8, x_name, "soft", 12, "middle"))
    out.append(_upright(top + high / 2, y_name))
    return _svg(height, out, label)


def reliability(bins: Sequence[tuple[float, float, float, float, int]], label: str) -> str:
    """Share right against confidence, both 0..1: points (confidence, share right, low, high, rows) with their intervals.

    On the dashed line a confidence means what it says; below it the model is too sure.
    """
    left, right, top, bottom, height = 56, 16, 14, 46, 360
    high = height - top - bottom
    wide = min(WIDTH - left - right, high * 1.6)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + wide * x, top + high * (1 - y)

    out = [_line(*at(0, 0), *at(1, 1), "soft", 1, 0.9, "4 3")]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = at(tick, tick)
        out += [_line(left, y, left + wide, y, "line"), _text(left - 8, y + 4, f"{tick:g}", "soft", 11, "end")]
        out.append(_text(x, top + high + 16, f"{tick:g}", "soft", 11, "middle"))
    for confidence, share, low, top_end, rows in bins:
        x, y = at(confidence, share)
        out.append(_line(x, at(0, low)[1], x, at(0, top_end)[1], "accent", 4, 0.3))
        said = f"{rows:,} predictions with confidence {confidence:.3f}: {share:.3f} right"
        out.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" style="fill:{PALETTE["accent"]}"><title>{escape(said)}</title></circle>'
        )
    out.append(_text(left + wide / 2, height - 8, "confidence in the best leaf", "soft", 12, "middle"))
    out.append(_upright(top + high / 2, "share right"))
    return _svg(height, out, label)


def intervals(
    rows: Sequence[tuple[str, float, float | None, float | None, str]],
    said: Callable[[float], str],
    label: str,
    reference: tuple[float, str] | None = None,
    left: int = 300,
    right: int = 150,
) -> str:
    """Dots with their intervals on one axis that shows no more than is needed, one line a row.

    rows: (name, value, low, high, text at the right); `left`, `right`: units for both; `reference`: a value that a dashed
    upright stands at, and its name.
    """
    top = 40
    height = top + ROW * len(rows) + 12
    ends = [end for _, value, low, high, _ in rows for end in (value, low, high) if end is not None]
    start, stop, tick = _axis([*ends, *((reference[0],) if reference else ())])
    wide = WIDTH - left - right

    def at(value: float) -> float:
        return left + wide * (value - start) / (stop - start)

    out = []
    for step in range(round((stop - start) / tick) + 1):
        x = at(start + step * tick)
        out.append(_line(x, top - 8, x, height - 12, "line"))
        out.append(_text(x, 26, _short(said(start + step * tick)), "soft", 11, "middle"))
    if reference:
        x = at(reference[0])
        out.append(_line(x, top - 8, x, height - 12, "soft", 1.5, 0.9, "4 3"))
        out.append(_text(x, 11, reference[1], "soft", 12, "middle", 600))
    for row, (name, value, low, high, text) in enumerate(rows):
        y = top + ROW * row + ROW / 2
        whisker = ""
        if low is not None and high is not None:
            whisker = f", 95 % interval {said(low)} to {said(high)}"
            out.append(_line(at(low), y, at(high), y, "accent", 3, 0.35))
        out.append(
            f'<circle cx="{at(value):.1f}" cy="{y:.1f}" r="5" style="fill:{PALETTE["accent"]}">'
            f"<title>{escape(f'{name}: {said(value)}{whisker}')}</title></circle>"
        )
        out.append(_text(left - 14, y + 4, shorten(name, int(left / 7.2)), "ink", 13, "end", title=name))
        out.append(_text(WIDTH - right + 16, y + 4, text, "soft", 12))
    return _svg(height, out, label)


def coverage(
    panels: Sequence[tuple[str, str, Sequence[tuple[float, float, float | None, float | None, str]]]],
    label: str,
    columns: int = 3,
) -> str:
    """Accuracy against coverage, one small panel a curve, all on the same axes so that they can be compared.

    panels: (title, remark under it, points (coverage, accuracy, low, high, text under the pointer) from all rows to the
    surest). The band is the 95 % interval.
    """
    left, gap, above, high, below = 56, 44, 48, 150, 36
    wide = (WIDTH - left - 16 - gap * (columns - 1)) / columns
    lines = -(-len(panels) // columns)
    floor, _, tick = _axis(
        [1.0, *(low if low is not None else y for _, _, points in panels for _, y, low, _, _ in points)]
    )
    out = []
    for number, (title, remark, points) in enumerate(panels):
        x0 = left + number % columns * (wide + gap)
        y0 = above + number // columns * (above + high + below)

        def at(x: float, y: float, x0=x0, y0=y0) -> str:
            return f"{x0 + wide * x:.1f},{y0 + high * (1 - (y - floor) / (1 - floor)):.1f}"

        out.append(_text(x0, y0 - 26, shorten(title, 32), "ink", 13, weight=600, title=title))
        out.append(_text(x0, y0 - 10, remark, "soft", 11))
        for step in range(round((1 - floor) / tick) + 1):
            value = floor + step * tick
            y = y0 + high * (1 - (value - floor) / (1 - floor))
            out.append(_line(x0, y, x0 + wide, y, "line"))
            if number % columns == 0:
                out.append(_text(x0 - 8, y + 4, f"{100 * value:.0f} %", "soft", 11, "end"))
        for share in (0, 0.5, 1):
            out.append(_text(x0 + wide * share, y0 + high + 16, f"{100 * share:.0f} %", "soft", 11, "middle"))
        known = [(x, low, top) for x, _, low, top, _ in points if low is not None and top is not None]
        if len(known) > 1:
            band = [at(x, low) for x, low, _ in known] + [at(x, top) for x, _, top in reversed(known)]
            out.append(f'<polygon points="{" ".join(band)}" style="fill:{PALETTE["accent"]};fill-opacity:.16"/>')
        line = " ".join(at(x, y) for x, y, *_ in points)
        out.append(f'<polyline points="{line}" style="fill:none;stroke:{PALETTE["accent"]};stroke-width:2"/>')
        for x, y, _, _, text in points:
            cx, cy = at(x, y).split(",")
            out.append(
                f'<circle cx="{cx}" cy="{cy}" r="{2.2 if len(points) > 1 else 4}" style="fill:{PALETTE["accent"]}">'
                f"<title>{escape(text)}</title></circle>"
            )
    height = lines * (above + high + below)
    out.append(_upright(above + high / 2, "accuracy"))
    out.append(_text(left + wide / 2, above + high + 32, "coverage", "soft", 12, "middle"))
    return _svg(height, out, label)


def matrix(
    rows: Sequence[str], columns: Sequence[str], counts: Sequence[Sequence[int]], label: str, colour: str = "red"
) -> str:
    """Counts of rows x columns, the larger the darker (by the square root, so that small ones are still seen)."""
    left, top = 130, 118
    cell = min((WIDTH - left - 70) / max(len(columns), 1), 92)
    height = top + ROW * len(rows) + 4
    most = max((count for row in counts for count in row), default=0) or 1
    out = []
    for at, name in enumerate(columns):
        x = left + cell * (at + 0.5)
        out.append(
            f'<text x="{x:.1f}" y="{top - 8}" transform="rotate(-32 {x:.1f} {top - 8})" '
            f'style="fill:{PALETTE["soft"]};font-size:12px">{escape(shorten(name, 26))}<title>{escape(name)}</title></text>'
        )
    for row, name in enumerate(rows):
        y = top + ROW * row
        out.append(_text(left - 10, y + ROW / 2 + 4, shorten(name, 17), "ink", 13, "end", title=name))
        for column, count in enumerate(counts[row]):
            x = left + cell * column
            shade = math.sqrt(count / most)
            style = f"fill:{PALETTE[colour]};fill-opacity:{0.08 + 0.82 * shade:.2f}" if count else "fill:var(--line)"
            said = escape(f"{name}, {columns[column]}: {count:,}")
            out.append(
                f'<rect x="{x + 1:.1f}" y="{y + 1}" width="{cell - 2:.1f}" height="{ROW - 2}" rx="2" style="{style}'
                f'{"" if count else ";fill-opacity:.35"}"><title>{said}</title></rect>'
            )
            if count:
                tone = "#fff" if shade > 0.6 else PALETTE["ink"]
                out.append(
                    f'<text x="{x + cell / 2:.1f}" y="{y + ROW / 2 + 4}" text-anchor="middle" pointer-events="none" '
                    f'style="fill:{tone};font-size:12px">{_compact(count)}</text>'
                )
    return _svg(height, out, label)


def shorten(text: str, length: int) -> str:
    """At most `length` characters; of a category path the last levels are kept, they tell most."""
    if len(text) <= length:
        return text
    levels = text.split(" > ")
    while len(levels) > 1:
        levels = levels[1:]
        short = "… > " + " > ".join(levels)
        if len(short) <= length:
            return short
    return text[: max(length - 1, 1)].rstrip() + "…"


def _axis(values: Sequence[float]) -> tuple[float, float, float]:
    """(start, end, distance of ticks): round numbers around the values, 3 to 7 ticks."""
    low, high = min(values), max(values)
    span = max(high - low, 0.01)
    tick = next(t for t in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if span / t <= 5)
    start = math.floor(low / tick + 1e-9) * tick
    return start, max(math.ceil(high / tick - 1e-9) * tick, start + tick), tick


def _short(text: str) -> str:
    """A figure as an axis shows it: `50 %`, `0.5`."""
    if text.endswith(".0 %"):
        return text.replace(".0 %", " %")
    return text.rstrip("0").rstrip(".") or "0" if "." in text and "%" not in text else text


def _medians(points) -> list[tuple[float, float]]:
    """(middle of the doubling, median y) of each doubling of x that holds at least three points."""
    bins: dict[int, list[float]] = {}
    for x, y, _ in points:
        bins.setdefault(int(math.log2(max(x, 1))), []).append(y)
    return [(2 ** (b + 0.5), sorted(ys)[len(ys) // 2]) for b, ys in sorted(bins.items()) if len(ys) >= 3]


def _compact(count: int) -> str:
    """`950`, `12.3k`, `1.2M`."""
    for size, unit in ((10**6, "M"), (10**4, "k")):
        if count >= size:
            return f"{count / (10**6 if unit == 'M' else 1000):.1f}{unit}"
    return f"{count:,}"


def _text(x, y, text, colour="ink", size=13, anchor="start", weight=400, title="") -> str:
    hint = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
        f'style="fill:{PALETTE[colour]};font-size:{size}px;font-weight:{weight}">{escape(text)}{hint}</text>'
    )


def _upright(y: float, text: str) -> str:
    """The name of an upright axis, with its middle at `y`."""
    return (
        f'<text x="14" y="{y}" transform="rotate(-90 14 {y})" text-anchor="middle" '
        f'style="fill:{PALETTE["soft"]};font-size:12px">{escape(text)}</text>'
    )


def _line(x1, y1, x2, y2, colour, width=1, opacity=1.0, dash="") -> str:
    dashes = f";stroke-dasharray:{dash}" if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'style="stroke:{PALETTE[colour]};stroke-width:{width};stroke-opacity:{opacity}{dashes}"/>'
    )


def _svg(height: float, parts: list[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}" '
        f'style="width:100%;background:none;font-variant-numeric:tabular-nums">{"".join(parts)}</svg>'
    )
