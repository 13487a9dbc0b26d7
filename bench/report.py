"""What all benchmarks print: the machine, JSON lines, medians, and a table of ratios."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import trio

from bench import java

_REPOSITORY: Final = Path(__file__).parent.parent


class Lines:
    """JSON lines, to a file or to standard output."""

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def add(self, **record: Any) -> None:
        """One object, one line."""
        line = json.dumps(record)
        if self._file is None:
            print(line, flush=True)
            return
        with self._file.open("a") as out:
            out.write(line + "\n")


def machine(folder: Path) -> dict[str, Any]:
    """Where the figures were taken; ``folder`` is where the servers keep their data."""
    found: dict[str, Any] = {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "kernel": platform.release(),
        "file_system": _output(["stat", "--file-system", "--format=%T", str(folder)]),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "trio": trio.__version__,
        "commit": _commit(),
        "command": sys.argv[1:],
    }
    if java.why_missing() is None:
        found |= java.versions()
    return found


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    return _output(["git", "-C", str(_REPOSITORY), "describe", "--always", "--dirty", "--abbrev=12"])


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def spread(values: Sequence[float]) -> str:
    """Lowest and highest, to show how noisy the machine was."""
    return f"{number(min(values))}–{number(max(values))}"


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}"


def ratio(ours: float, theirs: float) -> str:
    """Ours as a multiple of Java's."""
    return f"{ours / theirs:.2f}×" if theirs else "–"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [_line(head, widths), _line(["-" * width for width in widths], widths)]
    lines += [_line(row, widths) for row in rows]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
