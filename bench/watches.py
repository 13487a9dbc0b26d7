"""The tables of watches by themselves, without sockets: bytes a watch takes, and the time to tell of one change."""

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench.report import number, table
from bench.results import Lines
from trioquorum.tree.acl import OPEN_ACL, Identity
from trioquorum.tree.watches import WatchTables

SHAPES: Final = ((1_000, 1_000), (1, 1_000_000), (10_000, 1))
"""Connections, and paths that each of them watches."""


class Ear:
    """A connection that counts what it is told."""

    __slots__ = ("auth", "told")

    def __init__(self) -> None:
        self.auth: Sequence[Identity] = ()
        self.told = 0

    def notify(self, event_type: int, path: str, zxid: int) -> None:
        self.told += 1


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(connections: int, paths: int) -> dict[str, Any]:
    """Fill a table, tell all who watch one path of its change, give up the rest; in this process, for once only."""
    tables, ears = WatchTables(), [Ear() for _ in range(connections)]
    requests = [b"/service/region/node-%07d" % number for number in range(paths)]
    gc.collect()
    before, began = _resident_bytes(), time.perf_counter()
    for ear in ears:
        for request in requests:
            tables.add_data(request.decode(), ear)  # Each request brings a text of its own.
    added_s, grown = time.perf_counter() - began, _resident_bytes() - before
    began = time.perf_counter()
    tables.changed(requests[0].decode(), 1, OPEN_ACL)
    told_s = time.perf_counter() - began
    began = time.perf_counter()
    for ear in ears:
        tables.remove_watcher(ear)
    return {
        "connections": connections,
        "paths": paths,
        "bytes_per_watch": grown / (connections * paths),
        "add_us": added_s / (connections * paths) * 1e6,
        "told": sum(ear.told for ear in ears),
        "tell_all_ms": told_s * 1e3,
        "close_all_ms": (time.perf_counter() - began) * 1e3,
    }


def run(lines: Lines) -> list[dict[str, Any]]:
    """Each shape in a process of its own, since memory that was given back may not look so."""
    found = []
    for shape in SHAPES:
        command = [sys.executable, "-m", "bench.watches", *map(str, shape)]
        record = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        lines.add(record)
        found.append(record)
    return found


def summary(found: list[dict[str, Any]]) -> str:
    """A row for each shape."""
    head = ["connections × paths", "bytes a watch", "µs to add one", "told of one change", "ms for that", "ms to close"]
    return table(
        head,
        [
            [
                f"{it['connections']:,} × {it['paths']:,}",
                *(number(it[name]) for name in ("bytes_per_watch", "add_us", "told", "tell_all_ms", "close_all_ms")),
            ]
            for it in found
        ],
    )


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
