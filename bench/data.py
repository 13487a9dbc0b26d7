"""One data directory under both servers: restart, memory, a snapshot while clients write, and replay of a log."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from bench import generate, machine
from bench.generate import Job
from bench.lifecycle import IDLE_S, Make, until_served
from bench.loads import Figures, Histogram
from bench.micro.tree import TIME_MS
from bench.results import percentile_ms
from bench.servers import ZooKeepers
from bench.snapshots import SESSION, VALUE_BYTES, fill
from bench.workload import Workload
from trioquorum.events import Events
from trioquorum.storage.disk import RealDisk
from trioquorum.storage.names import LOG, file_name
from trioquorum.storage.snapshots import write_snapshot
from trioquorum.storage.txn_log import TxnLog
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.ops import Op
from trioquorum.wire.txn import CreateTxn, Txn, TxnHeader

CHILDREN: Final = 1_000
BATCH: Final = 1_000
CHUNK_BYTES: Final = 256 << 10
SNAP_COUNT: Final = 3_000
"""A snapshot begins behind half as many writes to so many."""

RATE_PER_S: Final = 500.0
SNAPSHOT_TIMEOUT_S: Final = 60.0
TAKEN: Final = re.compile(r"Snapshot taken in (\d+) ms|snapshot_taken\b.*?\bduration_ms\W+(\d+)")


def run(make: Make, folder: Path, workload: Workload, prepared: Path) -> tuple[Figures, Histogram]:
    """The figures, and how long pings took while a snapshot was written. ``prepared``: see ``prepare``."""
    figures, pings = _snapshot(make, folder / "snapshot", workload, prepared / "snapshot")
    empty_s = _start(make, folder / "empty", workload, prepared / "empty", "/")
    last = f"/p{_parents(workload) - 1}/n{CHILDREN - 1}"
    replay_s = _start(make, folder / "log", workload, prepared / "log", last)
    return figures | {"replay_per_s": workload.znodes / (replay_s - empty_s)}, pings


def _parents(workload: Workload) -> int:
    return max(1, workload.znodes // CHILDREN)


def _started(servers: ZooKeepers, data: Path, *lines: str) -> None:
    """Give the one server its files."""
    servers.configure(*lines)
    (folder,) = servers.data_folders(1)
    target = folder if folder.name == "version-2" else folder / "version-2"
    shutil.copytree(data, target, dirs_exist_ok=True)


def _start(make: Make, folder: Path, workload: Workload, data: Path, path: str) -> float:
    """Seconds from the start to the first read of ``path``."""
    with make(folder, workload) as servers:
        _started(servers, data)
        began = servers.start()
        return until_served(servers, 1, path) - began


def _snapshot(make: Make, folder: Path, workload: Workload, data: Path) -> tuple[Figures, Histogram]:
    with make(folder, workload) as servers:
        _started(servers, data, f"snapCount={SNAP_COUNT}")
        began = servers.start()
        restart_s = until_served(servers, 1, f"/p{_parents(workload) - 1}/n{CHILDREN - 1}") - began
        time.sleep(IDLE_S)
        pid = servers.pids()[1]
        idle_mib = machine.rss_kib(pid) / 1024
        before = len(_taken_ms(servers))
        job = Job(
            ports=[servers.peers[1].client],
            pids=[pid],
            root="/during",
            mix=workload.mix,
            connections=workload.clients,
            depth=workload.depth,
            rate=RATE_PER_S,
            measure_s=workload.seconds,
        )
        outcome = generate.load(job)
        times = _until(lambda: _taken_ms(servers)[before:])
        (written,) = servers.data_folders(1)
        # Another one may be under way; ZooKeeper writes it under its name.
        size = max(file.stat().st_size for file in written.rglob("snapshot.*"))
        return {
            "restart_s": restart_s,
            "rss_mib": idle_mib,
            "snapshot_s": times[0] / 1000,
            "snapshot_mib": size / (1 << 20),
            "snapshot_rss_mib": machine.rss_kib(pid) / 1024,
            "ping_p50_ms": percentile_ms(outcome.ping_us, 0.5),
            "ping_p99_ms": percentile_ms(outcome.ping_us, 0.99),
            "ping_max_ms": outcome.ping_us[-1][0] / 1000,
        }, outcome.ping_us


def _taken_ms(servers: ZooKeepers) -> list[int]:
    """Of every snapshot that the server's log tells of."""
    text = (servers.folder / "peer1.log").read_text(errors="replace")
    return [int(java or ours) for java, ours in TAKEN.findall(text)]


def _until(found: Callable[[], list[int]]) -> list[int]:
    deadline = time.monotonic() + SNAPSHOT_TIMEOUT_S
    while not (result := found()):
        if time.monotonic() > deadline:
            raise TimeoutError("no snapshot was taken")
        time.sleep(0.1)
    return result


# -- the files ---------------------------------------------------------------------------------------------------------


def prepare(folder: Path, workload: Workload) -> Path:
    """Three directories below ``folder``, made once: a snapshot of all znodes, the same as a log, and nothing of it."""
    made = folder / f"prepared-{workload.znodes}"
    if not made.exists():
        command = [sys.executable, "-m", "bench.data", str(made), str(_parents(workload))]
        subprocess.run(command, check=True)  # In a process of its own, since it takes half a gigabyte.
    return made


async def _write(folder: Path, parents: int) -> None:
    events = Events()
    for name in ("snapshot", "log", "empty"):
        with RealDisk(folder / name) as disk:
            tree = DataTree()
            if name == "snapshot":
                fill(tree, parents, CHILDREN)
            await write_snapshot(disk, tree, events, CHUNK_BYTES)
            if name == "log":
                log = TxnLog(disk, events)
                await log.recover()
                paths = [
                    f"/p{p}{child}" for p in range(parents) for child in ("", *(f"/n{n}" for n in range(CHILDREN)))
                ]
                for at in range(0, len(paths), BATCH):
                    await log.append([_create(at + n + 1, path) for n, path in enumerate(paths[at : at + BATCH])])
                await log.aclose()
                assert (folder / name / file_name(LOG, 1)).exists()


def _create(zxid: int, path: str) -> bytes:
    record = CreateTxn(path, b"%0*d" % (VALUE_BYTES, zxid), None, False, -1)
    return Txn(TxnHeader(SESSION, zxid & 0x7FFFFFFF, zxid, TIME_MS, Op.CREATE), record).encode()


if __name__ == "__main__":
    trio.run(_write, Path(sys.argv[1]), int(sys.argv[2]))
