"""Where figures were taken, and what the kernel knows of processes: CPU time and memory."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import trio

from bench import java
from trioquorum.compiled import BUILD

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_UTIME_FIELD: Final = 11  # counted after the command's closing parenthesis
REPOSITORY: Final = Path(__file__).parent.parent


def description(folder: Path) -> dict[str, Any]:
    """The machine, its load now, versions and commit; ``folder`` is where the servers keep their data."""
    found: dict[str, Any] = {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "kernel": platform.release(),
        "file_system": _output(["stat", "--file-system", "--format=%T", str(folder)]),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "trio": trio.__version__,
        "commit": commit(REPOSITORY),
        "build": BUILD,
        "command": sys.argv[1:],
    }
    if java.why_missing() is None:
        found |= java.versions()
    return found


def commit(checkout: Path) -> str:
    """The commit of a checkout, ``-dirty`` if files of it differ."""
    return _output(["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"])


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def cpu_s(pid: int) -> float:
    """User and system CPU seconds of all threads of a process so far, in steps of a kernel tick (10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_UTIME_FIELD]) + int(fields[_UTIME_FIELD + 1])) / _TICKS_PER_S


def rss_kib(pid: int) -> int:
    """``VmRSS``: resident memory, pages shared with others included."""
    return _kib(Path(f"/proc/{pid}/status"), "VmRSS:")


def pss_kib(pid: int) -> int:
    """``Pss``: resident memory, shared pages divided among those who share them."""
    return _kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")


def _kib(file: Path, key: str) -> int:
    for line in file.read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    raise ValueError(f"no {key} in {file}")
