"""What the kernel knows of processes: CPU time and memory."""

import os
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_UTIME_FIELD: Final = 11  # counted after the command's closing parenthesis


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
