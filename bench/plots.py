"""Plots as SVG: bars, and lines on plain or logarithmic axes. One file each, no script, no font but the reader's."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Final

COLOURS: Final = ("#2f6fb5", "#d9822b", "#4a9d5b", "#9b59b6", "#7f8c8d")
WIDTH: Final = 760
_HEAD: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
    'font-family="sans-serif" font-size="12" fill="#222">\n<rect width="100%" height="100%" fill="#fff"/>\n'
    '<text x="16" y="24" font-size="15" font-weight="bold">{title}</text>\n'
)
_BAR_PX: Final = 16
_TOP: Final = 76
_RIGHT: Final = 40
_LEGEND_PX: Final = 18
DASHES: Final = ("", "7 4", "2 3", "10 3 2 3")
"""Of the lines that have the same colour."""
_LEFT: Final = 70
_PLOT_HEIGHT: Final = 300

Points = Sequence[tuple[float, float]]
Stroke = tuple[str, str]
"""Colour and dashes."""


def bars(title: str, groups: Mapping[str, Mapping[str, float]], text: Callable[[float], str]) -> str:
    """Horizontal bars: for each group one of each series, with its value behind it. Each group has its own scale."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    left = 24 + 7 * max(map(len, groups))
    room = WIDTH - left - 90
    parts, y = [], _TOP
    for label, group in groups.items():
        middle = y + _BAR_PX * len(group) / 2 + 4
        longest = max(group.values()) or 1
        parts.append(f'<text x="{left - 8}" y="{middle:.0f}" text-anchor="end">{escape(label)}</text>')
        for name, value in group.items():
            width = max(1.0, room * value / longest)
            colour = _colour(names, name)
            parts.append(
                f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{_BAR_PX - 2}" fill="{colour}"/>'
                f'<text x="{left + width + 6:.1f}" y="{y + _BAR_PX - 5}">{escape(text(value))}</text>'
            )
            y += _BAR_PX
        y += _BAR_PX // 2
    return _svg(title, {name: (_colour(names, name), "") for name in names}, parts, y + 8)


def lines(
    title: str,
    series: Mapping[str, Points],
    *,
    x_label: str,
    y_label: str,
    x_ticks: Mapping[float, str] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    groups: Mapping[str, str] | None = None,
) -> str:
    """One line for each series. ``x_ticks`` are positions and their texts, else each x of a point is one.

    Series of one of the ``groups`` have its colour, and differ by their dashes; else each has a colour of its own.
    """
    strokes = _strokes(groups or {name: name for name in series})
    points = [point for line in series.values() for point in line]
    ticks = x_ticks or {x: f"{x:,.0f}" for x, _ in points}
    x_at = _axis([x for x, _ in points], _LEFT, WIDTH - _RIGHT, logarithmic=log_x)
    y_ticks = _ticks([y for _, y in points], logarithmic=log_y)
    y_at = _axis(y_ticks, _TOP + _PLOT_HEIGHT, _TOP, logarithmic=log_y)
    bottom = _TOP + _PLOT_HEIGHT
    parts = []
    for value in y_ticks:
        y = y_at(value)
        parts.append(
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>'
        )
    for value, label in ticks.items():
        x = x_at(value)
        parts.append(
            f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}" stroke="#888"/>'
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{escape(label)}</text>'
        )
    parts.append(f'<text x="{(WIDTH + _LEFT) / 2:.0f}" y="{bottom + 38}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text x="16" y="{_TOP - 10}">{escape(y_label)}</text>')
    for name, line in series.items():
        colour, dashes = strokes[name]
        places = [(x_at(x), y_at(y)) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" {_stroke(colour, dashes)}/>')
        if len(places) <= len(ticks):
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    return _svg(title, strokes, parts, bottom + 52)


def _strokes(groups: Mapping[str, str]) -> dict[str, Stroke]:
    colours = list(dict.fromkeys(groups.values()))
    used: dict[str, int] = {}
    found = {}
    for name, group in groups.items():
        number = used[group] = used.get(group, -1) + 1
        found[name] = (_colour(colours, group), DASHES[number % len(DASHES)])
    return found


def _stroke(colour: str, dashes: str) -> str:
    return f'stroke="{colour}" stroke-width="2"' + (f' stroke-dasharray="{dashes}"' if dashes else "")


def _svg(title: str, strokes: Mapping[str, Stroke], parts: Sequence[str], height: int) -> str:
    """What ``parts`` draw is moved down by the rows of the legend behind the first."""
    legend, x, y = [], 16, 40
    for name, (colour, dashes) in strokes.items():
        width = 44 + 7 * len(name)
        if x > 16 and x + width > WIDTH:
            x, y = 16, y + _LEGEND_PX
        legend.append(f'<line x1="{x}" y1="{y}" x2="{x + 22}" y2="{y}" {_stroke(colour, dashes)}/>')
        legend.append(f'<text x="{x + 27}" y="{y + 4}">{escape(name)}</text>')
        x += width
    down = y - 40
    head = _HEAD.format(width=WIDTH, height=height + down, title=escape(title))
    body = [*legend, f'<g transform="translate(0 {down})">', *parts, "</g>"]
    return head + "\n".join(body) + "\n</svg>\n"


def _colour(names: Sequence[str], name: str) -> str:
    return COLOURS[list(names).index(name) % len(COLOURS)]


def _axis(values: Sequence[float], start: float, end: float, *, logarithmic: bool) -> Callable[[float], float]:
    """From a value to its place in pixels."""
    scale = math.log10 if logarithmic else float
    low, high = scale(min(values)), scale(max(values))
    width = high - low or 1
    return lambda value: start + (end - start) * (scale(value) - low) / width


def _ticks(values: Sequence[float], *, logarithmic: bool) -> list[float]:
    """Round values that hold all others between them."""
    low, high = min(values), max(values)
    if logarithmic:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return [10.0**power for power in range(first, max(last, first + 1) + 1)]
    step = 10 ** math.floor(math.log10(high or 1))
    if high / step < 2:
        step /= 5
    elif high / step < 5:
        step /= 2
    return [step * number for number in range(math.ceil(high / step - 1e-9) + 1)]


def _short(value: float) -> str:
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
