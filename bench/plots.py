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
_TOP: Final = 64
_LEFT: Final = 70
_PLOT_HEIGHT: Final = 300

Points = Sequence[tuple[float, float]]


def bars(title: str, groups: Mapping[str, Mapping[str, float]], text: Callable[[float], str]) -> str:
    """Horizontal bars: for each group one of each series, with its value behind it."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    left = 24 + 7 * max(map(len, groups))
    longest = max(value for group in groups.values() for value in group.values()) or 1
    room = WIDTH - left - 90
    parts, y = [], _TOP
    for label, group in groups.items():
        middle = y + _BAR_PX * len(group) / 2 + 4
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
    return _svg(title, names, parts, y + 8)


def lines(
    title: str,
    series: Mapping[str, Points],
    *,
    x_label: str,
    y_label: str,
    x_ticks: Mapping[float, str] | None = None,
    log_x: bool = False,
    log_y: bool = False,
) -> str:
    """One line for each series. ``x_ticks`` are positions and their texts, else each x of a point is one."""
    points = [point for line in series.values() for point in line]
    ticks = x_ticks or {x: f"{x:,.0f}" for x, _ in points}
    x_at = _axis([x for x, _ in points], _LEFT, WIDTH - 30, logarithmic=log_x)
    y_ticks = _ticks([y for _, y in points], logarithmic=log_y)
    y_at = _axis(y_ticks, _TOP + _PLOT_HEIGHT, _TOP, logarithmic=log_y)
    bottom = _TOP + _PLOT_HEIGHT
    parts = []
    for value in y_ticks:
        y = y_at(value)
        parts.append(
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - 30}" y2="{y:.1f}" stroke="#ddd"/>'
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
        colour = _colour(list(series), name)
        places = [(x_at(x), y_at(y)) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(places) <= len(ticks):
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    return _svg(title, list(series), parts, bottom + 52)


def _svg(title: str, names: Sequence[str], parts: Sequence[str], height: int) -> str:
    legend, x = [], 16
    for name in names:
        legend.append(f'<rect x="{x}" y="34" width="11" height="11" fill="{_colour(names, name)}"/>')
        legend.append(f'<text x="{x + 16}" y="44">{escape(name)}</text>')
        x += 36 + 7 * len(name)
    head = _HEAD.format(width=WIDTH, height=height, title=escape(title))
    return head + "\n".join([*legend, *parts]) + "\n</svg>\n"


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
