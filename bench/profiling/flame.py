"""Stacks and how often each was seen, as a flame graph: an SVG without a script, and tables of who takes what."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Final

Stacks = Mapping[tuple[str, ...], int]
"""Functions from the outermost to the innermost → samples."""

WIDTH: Final = 1200
ROW_PX: Final = 17
NARROW: Final = 0.0008
"""A box of a smaller share of the width is left out."""
_CHARACTER_PX: Final = 6.6
_COLOURS: Final = ("#e4593b", "#e8743b", "#ec8f3b", "#efa63f", "#f2bb4d", "#e6c35c")
_HEAD: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
    'font-family="monospace" font-size="11">\n<rect width="100%" height="100%" fill="#fff"/>\n'
    '<text x="8" y="18" font-size="14" font-family="sans-serif">{title}</text>\n'
)


class Box:
    """A function called from the box below it: samples in it and in what it calls."""

    __slots__ = ("callees", "samples")

    def __init__(self) -> None:
        self.samples = 0
        self.callees: dict[str, Box] = {}


def parse(text: str) -> Stacks:
    """The lines of a file of stacks: functions with ``;`` between them, a space, a count."""
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        names, _, count = line.rpartition(" ")
        stacks[tuple(names.split(";"))] += int(count)
    return stacks


def below(stacks: Stacks, wanted: Callable[[str], bool]) -> Stacks:
    """Each stack from its first function that is ``wanted``, so that the way there takes no room."""
    cut: Counter[tuple[str, ...]] = Counter()
    for stack, count in stacks.items():
        first = next((at for at, name in enumerate(stack) if wanted(name)), max(0, len(stack) - 2))
        cut[stack[first:]] += count
    return cut


def tree(stacks: Stacks) -> Box:
    """Stacks that begin alike share boxes."""
    root = Box()
    for stack, count in stacks.items():
        box = root
        box.samples += count
        for name in stack:
            box = box.callees.setdefault(name, Box())
            box.samples += count
    return root


def self_times(stacks: Stacks) -> Counter[str]:
    """Function → samples in itself; lines, which end a stack, are no functions."""
    found: Counter[str] = Counter()
    for stack, count in stacks.items():
        found[next((name for name in reversed(stack) if not name.startswith("line ")), "nobody")] += count
    return found


def whole_times(stacks: Stacks) -> Counter[str]:
    """Function → samples in it or in what it calls, once a stack."""
    found: Counter[str] = Counter()
    for stack, count in stacks.items():
        for name in set(stack):
            if not name.startswith("line "):
                found[name] += count
    return found


def svg(title: str, stacks: Stacks) -> str:
    """Widths are shares of all samples; callers are below, the widest callee is left."""
    root = tree(stacks)
    if not root.samples:
        raise ValueError("no samples")
    parts: list[str] = []
    depth = _draw(root, root.samples, 0.0, 0, parts)
    height = 40 + ROW_PX * (depth + 1)
    lifted = f'<g transform="translate(0 {height - 8})">\n' + "\n".join(parts) + "\n</g>\n"
    head = _HEAD.format(width=WIDTH, height=height, title=escape(f"{title} ({root.samples} samples)"))
    return head + lifted + "</svg>\n"


def _draw(box: Box, total: int, x: float, depth: int, parts: list[str]) -> int:
    """The boxes above one; how deep they go."""
    deepest = depth
    for name, callee in sorted(box.callees.items(), key=lambda item: -item[1].samples):
        width = WIDTH * callee.samples / total
        if width >= WIDTH * NARROW:
            parts.append(_box(name, callee.samples / total, x, width, depth))
            deepest = max(deepest, _draw(callee, total, x, depth + 1, parts))
        x += width
    return deepest


def _box(name: str, share: float, x: float, width: float, depth: int) -> str:
    y = -ROW_PX * (depth + 1)
    colour = "#cfd8dc" if name.startswith("line ") else _COLOURS[sum(name.encode()) % len(_COLOURS)]
    short = name.rpartition(":")[2] if len(name) * _CHARACTER_PX > width else name
    fits = short[: int(width / _CHARACTER_PX)] if width > 3 * _CHARACTER_PX else ""
    return (
        f"<g><title>{escape(name)} {share:.1%}</title>"
        f'<rect x="{x:.1f}" y="{y}" width="{max(0.5, width - 0.5):.1f}" height="{ROW_PX - 1}" fill="{colour}"/>'
        f'<text x="{x + 3:.1f}" y="{y + 12}">{escape(fits)}</text></g>'
    )


def top(times: Counter[str], total: int, count: int) -> Iterable[tuple[str, float]]:
    """The largest shares."""
    return [(name, samples / total) for name, samples in times.most_common(count)]
