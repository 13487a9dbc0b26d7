"""What others notice of a snapshot of a million znodes: the longest that it holds the event loop, and its memory."""

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import trio

from bench.micro.tree import TIME_MS
from bench.report import number, table
from bench.results import Lines
from trioquorum.events import Events
from trioquorum.limits import Limits
from trioquorum.storage.compression import Method
from trioquorum.storage.database import Database
from trioquorum.storage.disk import RealDisk
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import Op
from trioquorum.wire.txn import CreateTxn, DeleteTxn, SetDataTxn, Txn, TxnHeader

SHAPES: Final[tuple[tuple[int, int, Method], ...]] = (
    (1_000, 1_000, ""),
    (1, 1_000_000, ""),
    (1, 1_000_000, "snappy"),
    (1, 1_000_000, "gz"),
)
"""Parents, children of each, and by what the file is compressed."""

VALUE_BYTES: Final = 100
BEFORE_S: Final = 2.0
TICK_S: Final = 0.001
WRITES_PER_BURST: Final = 6
BURST_S: Final = 0.002
MEMORY_EVERY: Final = 20
SESSION: Final = 1 << 56


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Watch(trio.abc.Instrument):
    """How long each task holds the loop at the longest, and how late a task is that wants to run every millisecond."""

    def __init__(self) -> None:
        self._began = self._began_cpu = 0.0
        self.begin()

    def begin(self) -> None:
        """Forget what was before."""
        self.longest_s: dict[str, float] = {}
        self.longest_cpu_s: dict[str, float] = {}
        self.late_s: list[float] = []
        self.peak_bytes = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began, self._began_cpu = time.perf_counter(), time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took_s, took_cpu_s = time.perf_counter() - self._began, time.thread_time() - self._began_cpu
        name = task.name
        self.longest_s[name] = max(took_s, self.longest_s.get(name, 0.0))
        self.longest_cpu_s[name] = max(took_cpu_s, self.longest_cpu_s.get(name, 0.0))

    async def tick(self) -> None:
        """Ask for a turn every millisecond."""
        for number_ in count():
            due = time.perf_counter() + TICK_S
            await trio.sleep(TICK_S)
            self.late_s.append(time.perf_counter() - due)
            if number_ % MEMORY_EVERY == 0:
                self.peak_bytes = max(self.peak_bytes, _resident_bytes())

    def told(self, task: str) -> dict[str, float]:
        """Milliseconds: the longest step of one task by the clock and in CPU time, and how late the ticks were."""
        late = sorted(self.late_s)
        return {
            "hold_ms": 1e3 * self.longest_s.get(task, 0.0),
            "hold_cpu_ms": 1e3 * self.longest_cpu_s.get(task, 0.0),
            "late_p99_ms": 1e3 * late[len(late) * 99 // 100],
            "late_max_ms": 1e3 * late[-1],
        }


class Load:
    """Writes of all kinds to one server's database, some thousand a second, next to what is being written."""

    def __init__(self, db: Database, parents: int) -> None:
        self._db = db
        self._paths = [f"/p{parent}" for parent in range(parents)]
        self.writes = 0

    async def run(self) -> None:
        """Until cancelled."""
        for round_ in count():
            parent = self._paths[round_ % len(self._paths)]
            for name in range(WRITES_PER_BURST // 3):
                path = f"{parent}/during-{round_}-{name}"
                self._write(Op.CREATE, CreateTxn(path, bytes(VALUE_BYTES), None, False, -1))
                self._write(Op.SET_DATA, SetDataTxn(f"{parent}/n{(7919 * round_ + name) % 1000}", b"new", 1))
                self._write(Op.DELETE, DeleteTxn(f"{parent}/n{1000 + round_}" if len(self._paths) == 1 else path))
            await self._db.log.wait_room()
            await trio.sleep(BURST_S)

    def _write(self, kind: int, record: Record) -> None:
        self.writes += 1
        txn = Txn(TxnHeader(SESSION, 0, self._db.last_zxid + 1, TIME_MS, kind), record)
        payload = txn.encode()
        self._db.append([(txn.header.zxid, payload)])
        self._db.apply(txn)


def fill(tree: DataTree, parents: int, children: int) -> None:
    """As creates leave them, each with data of its own."""
    zxids = count(1)
    for parent in range(parents):
        tree.create(f"/p{parent}", b"", None, 0, -1, next(zxids), TIME_MS)
        for name in range(children):
            zxid = next(zxids)
            tree.create(f"/p{parent}/n{name}", b"%0*d" % (VALUE_BYTES, zxid), None, 0, -1, zxid, TIME_MS)
    tree.last_zxid = next(zxids)


async def _measure(folder: Path, parents: int, children: int, compression: Method) -> dict[str, Any]:
    watch = Watch()
    with RealDisk(folder) as disk:
        db = await Database.load(disk, disk, Limits(), Events(), slow_flush_ms=0, compression=compression)
        empty = _resident_bytes()
        fill(db.tree, parents, children)
        db.log.last_appended = db.tree.last_zxid
        gc.collect()
        full = _resident_bytes()
        load = Load(db, parents)
        async with trio.open_nursery() as nursery:
            await nursery.start(db.log.run)
            trio.lowlevel.add_instrument(watch)
            nursery.start_soon(watch.tick)
            nursery.start_soon(load.run)
            await trio.sleep(BEFORE_S)
            before = watch.told("nobody")
            resident, writes = _resident_bytes(), load.writes
            watch.begin()
            began = time.perf_counter()
            await db.take_snapshot()
            seconds = time.perf_counter() - began
            during = watch.told(trio.lowlevel.current_task().name)
            peak, writes = watch.peak_bytes, load.writes - writes
            nursery.cancel_scope.cancel()
    size = max(file.stat().st_size for file in folder.glob("snapshot.*"))
    return {
        "parents": parents,
        "children": children,
        "compression": compression,
        "tree_mib": (full - empty) / (1 << 20),
        "seconds": seconds,
        "size_mib": size / (1 << 20),
        "more_mib": (peak - resident) / (1 << 20),
        "writes_per_s": writes / seconds,
        **during,
        "before_late_p99_ms": before["late_p99_ms"],
        "before_late_max_ms": before["late_max_ms"],
    }


def measure(folder: Path, parents: int, children: int, compression: Method) -> dict[str, Any]:
    """Fill a tree, write to it for a while, then take a snapshot too; in this process, for once only."""
    return trio.run(_measure, folder, parents, children, compression)


def run(lines: Lines, scratch: Path, shapes: Sequence[tuple[int, int, Method]] = SHAPES) -> list[dict[str, Any]]:
    """Each shape in a process of its own."""
    found = []
    for number_, shape in enumerate(shapes):
        command = [sys.executable, "-m", "bench.snapshots", str(scratch / str(number_)), *map(str, shape)]
        record = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        lines.add(record)
        found.append(record)
    return found


def summary(found: list[dict[str, Any]]) -> str:
    """A row for each shape."""
    columns = {
        "tree_mib": "tree, MiB",
        "seconds": "s",
        "size_mib": "file, MiB",
        "more_mib": "more memory, MiB",
        "writes_per_s": "writes/s beside it",
        "hold_ms": "longest hold, ms",
        "hold_cpu_ms": "in CPU time, ms",
        "late_p99_ms": "ticks late, p99, ms",
        "late_max_ms": "most, ms",
        "before_late_p99_ms": "p99 before, ms",
        "before_late_max_ms": "most before, ms",
    }
    rows = [
        [
            f"{it['parents']:,} × {it['children']:,}" + (f" {it['compression']}" if it["compression"] else ""),
            *(number(it[name]) for name in columns),
        ]
        for it in found
    ]
    return table(["parents × children", *columns.values()], rows)


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))  # type: ignore[arg-type]
