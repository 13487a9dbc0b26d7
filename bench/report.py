"""Results as people read them: a page in Markdown with tables, and plots next to it."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench import plots
from bench.results import FIGURES, Results, percentile_ms, ratio_of_medians, ratios
from bench.workload import Workload

GENERATOR_BOUND: Final = 0.9
"""A star marks rates at which the generator took more than this share of a core: it may have been the limit."""
OURS: Final = "trioquorum"
JAVA: Final = "java"
HOW_TO_READ: Final = (
    "Medians of rounds in which contestants took turns; a ratio whose range by round is wide decides nothing. It is "
    "of the sessions in which both were measured. A star: the generator may have been the limit."
)
SHARES: Final = {0.5: "50 %", 0.9: "90 %", 0.99: "99 %", 0.999: "99.9 %", 0.9999: "99.99 %"}
_CURVE_POINTS: Final = 80


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}"


def spread(values: Sequence[float]) -> str:
    """Lowest and highest, to show how noisy the machine was."""
    return f"{number(min(values))}–{number(max(values))}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [_line(head, widths), _line(["-" * width for width in widths], widths)]
    lines += [_line(row, widths) for row in rows]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


# -- tables ------------------------------------------------------------------------------------------------------------


def goals(results: Results) -> str:
    """Every figure with a goal: medians, their ratio, the ratios by round, and whether the goal is met."""
    rows = []
    for name, workload in results.workloads().items():
        for figure, goal in workload.goals.items():
            reached = ratio_of_medians(results, name, figure, OURS, JAVA)
            if reached is None:
                continue
            up = FIGURES[figure].better > 0
            passed = [bound for bound in (goal.bound, goal.aim) if (reached >= bound if up else reached <= bound)]
            sign = "≥" if up else "≤"
            rows.append(
                [
                    name,
                    FIGURES[figure].label,
                    _median(results, name, OURS, figure),
                    _median(results, name, JAVA, figure),
                    f"{reached:.2f}",
                    spread(ratios(results, name, figure, OURS, JAVA)),
                    f"{sign} {goal.bound:g} ({goal.aim:g})",
                    ("no", "yes", "aim")[len(passed)],
                ]
            )
    head = ["workload", "figure", "ours", "Java", "ours ÷ Java", "by round", "goal (aim)", "met"]
    return table(head, rows) if rows else ""


def overview(results: Results) -> str:
    """Every figure of every workload, the median for each contestant, and the ratios of the first to all others."""
    contestants = results.contestants()
    first, others = contestants[0], contestants[1:]
    rows = []
    for name in results.workloads():
        for figure in results.figures(name):
            row = [name, FIGURES[figure].label]
            row += [_median(results, name, contestant, figure) for contestant in contestants]
            for other in others:
                ratio = ratio_of_medians(results, name, figure, first, other)
                by_round = ratios(results, name, figure, first, other)
                row += ["–" if ratio is None else f"{ratio:.2f}", spread(by_round) if by_round else "–"]
            rows.append(row)
    extra = [cell for other in others for cell in (f"{first} ÷ {other}", "by round")]
    return table(["workload", "figure", *contestants, *extra], rows)


def _median(results: Results, workload: str, contestant: str, figure: str) -> str:
    value = results.median(workload, contestant, figure)
    if value is None:
        return "–"
    shares = results.values(workload, contestant, "generator_share")
    limited = figure == "rate_per_s" and shares and statistics.median(shares) > GENERATOR_BOUND
    return number(value) + ("*" if limited else "")


def _machine(machine: dict[str, Any]) -> str:
    known = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items() if name != "command")
    command = " ".join(machine.get("command", ()))
    return f"- `python -m bench {command}`: {known}"


# -- plots -------------------------------------------------------------------------------------------------------------


def throughput_plot(results: Results) -> str | None:
    """Operations a second of every plain load."""
    groups: dict[str, dict[str, float]] = {}
    for name, workload in results.workloads().items():
        if workload.measure == "load" and not workload.scales and workload.clients * workload.depth > 1:
            rates = {it: results.median(name, it, "rate_per_s") for it in results.contestants()}
            groups[name] = {contestant: rate for contestant, rate in rates.items() if rate}
    groups = {name: group for name, group in groups.items() if group}
    title = "Operations a second, each workload on a scale of its own"
    return plots.bars(title, groups, lambda rate: f"{rate:,.0f}") if groups else None


def latency_plot(results: Results, name: str) -> str | None:
    """How many of the requests took how long, all rounds together."""
    series = {}
    for contestant in results.contestants():
        merged: dict[float, int] = {}
        for run in results.of(name, contestant):
            for micros, count in run.latency_us:
                merged[micros] = merged.get(micros, 0) + count
        if merged:
            series[contestant] = _curve(sorted(merged.items()))
    if not series:
        return None
    ticks = {_position(share): text for share, text in SHARES.items()}
    return plots.lines(
        f"{name}: latency",
        series,
        x_label="share of the requests that took no longer",
        y_label="ms",
        x_ticks=ticks,
        log_y=True,
    )


def _position(share: float) -> float:
    """Each further nine is as wide as the one before."""
    return -math.log10(1 - share)


def _curve(histogram: list[tuple[float, int]]) -> list[tuple[float, float]]:
    """From the median as far as there are requests enough to say."""
    requests = sum(count for _, count in histogram)
    last = max(_position(0.5) + 0.1, min(_position(0.9999), math.log10(requests)))
    steps = [_position(0.5) + (last - _position(0.5)) * step / _CURVE_POINTS for step in range(_CURVE_POINTS + 1)]
    return [(x, max(0.001, percentile_ms(histogram, 1 - 10**-x))) for x in steps]


def scaling_plot(results: Results, field: str) -> str | None:
    """Operations a second along a field of workloads, a line for each mix and contestant."""
    series: dict[str, list[tuple[float, float]]] = {}
    groups: dict[str, str] = {}
    for name, workload in results.workloads().items():
        if workload.scales != field:
            continue
        for contestant in results.contestants():
            rate = results.median(name, contestant, "rate_per_s")
            if rate is not None:
                line = f"{contestant} {workload.label}"
                groups[line] = contestant
                series.setdefault(line, []).append((getattr(workload, field), rate))
    if not series:
        return None
    what = field.replace("_", " ")
    return plots.lines(
        f"Operations a second by {what}",
        {line: sorted(points) for line, points in series.items()},
        x_label=what,
        y_label="operations/s",
        log_x=True,
        log_y=True,
        groups=groups,
    )


def _plots(results: Results) -> dict[str, str]:
    """File name → SVG."""
    found: dict[str, str | None] = {"throughput.svg": throughput_plot(results)}
    for name, workload in results.workloads().items():
        if workload.measure == "half" or workload.clients * workload.depth == 1:
            found[f"latency-{name}.svg"] = latency_plot(results, name)
    for field in ("clients", "peers", "value_bytes", "znodes", "idle_sessions"):
        found[f"scaling-{field}.svg"] = scaling_plot(results, field)
    return {name: svg for name, svg in found.items() if svg is not None}


def write(results: Results, folder: Path) -> list[Path]:
    """The page and its plots; the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = _plots(results)
    loads = [run.load_average for run in results.runs]
    met = goals(results)
    notes = {run.contestant: run.note for run in results.runs if run.note}
    parts = [
        "# Figures",
        "\n".join(map(_machine, results.machines)),
        f"Load average of the machine while runs ended: {spread(loads)}. {HOW_TO_READ}",
        *(
            ["What others do otherwise:", "\n".join(f"- {who}: {note}." for who, note in notes.items())]
            if notes
            else []
        ),
        *(["## Goals", met] if met else []),
        *(f"![{name.removesuffix('.svg')}]({name})" for name in drawn),
        "## Everything",
        overview(results),
    ]
    for name, svg in drawn.items():
        (folder / name).write_text(svg)
    page = folder / "README.md"
    page.write_text("\n\n".join(parts) + "\n")
    return [page, *(folder / name for name in drawn)]


def describe(name: str, workload: Workload) -> list[str]:
    """A row of the list of workloads."""
    shape = f"{workload.clients}×{workload.depth}" if workload.measure in ("load", "half") else f"{workload.clients}"
    mix = workload.label if workload.measure in ("load", "half") else "–"
    goal = ", ".join(f"{figure} {goal.bound:g} ({goal.aim:g})" for figure, goal in workload.goals.items())
    return [name, workload.measure, mix, shape, str(workload.peers), goal or "–"]
