"""Peers die by SIGKILL, at random moments and at points with a name, while clients write; nothing acknowledged is lost.

``python -m tests.interop.crash_points --kills 200 --seed 1``: three real peers on loopback. After every kill whoever is
down is started again, then the writers pause, and every peer's tree is read: it must hold every write that was
acknowledged, and be equal to the others'. The points are those of ``tests.kit.crashing``; the seed draws their order.
"""

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kazoo.client import KazooClient

from tests.kit.crashing import EPOCHS, POINTS, RUNNING, STARTING, TAKING_OVER, TRUNCATING
from tests.kit.load import Load, Writer
from tests.kit.processes import Ensemble, tree_of, wait_until

ANY_MOMENT: Final = "any moment"
WAITING: Final = "while a write waits for its quorum"

KEPT: Final = 20
"""Nodes of each writer; older ones are deleted, so that trees stay small enough to be read after every kill."""

COMMITTED_LOG_TXNS: Final = 50
DIES_WITHIN_S: Final = 30.0

SETTINGS: Final = f"""
snapshot_size_factor = -1.0
log_preallocate_bytes = 65536

[limits]
snap_count = 40
snapshots_kept = 2
committed_log_txns_max = {COMMITTED_LOG_TXNS}
connections_per_ip_max = 0
"""
"""Snapshots every second, and who missed a few transactions gets one."""


class CrashingEnsemble(Ensemble):
    """Peers that die where they are ordered to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, extra=SETTINGS)

    def program(self, i: int) -> list[str]:
        return ["-m", "tests.kit.crashing", str(self._orders(i))]

    def _orders(self, i: int) -> Path:
        return self.folder / f"peer{i}.orders"

    def order(self, i: int, point: str, at_pass: int = 1) -> None:
        """Peer ``i`` is to die when it passes ``point`` for the ``at_pass``-th time from now on."""
        fresh = self.folder / f"peer{i}.ordered"
        fresh.write_text(f"{point} {at_pass}")
        fresh.rename(self._orders(i))

    def wait_dead(self, i: int) -> None:
        """Wait until it has died there."""
        done = Path(f"{self._orders(i)}.done")
        process = self.processes[i]
        try:
            wait_until(f"peer {i} dies", lambda: process.poll() is not None, DIES_WITHIN_S)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._orders(i).read_text()}; {self.log(i).read_text()[-2000:]}") from None
        assert done.exists(), f"peer {i} ended elsewhere: {self.log(i).read_text()[-3000:]}"
        done.unlink()
        del self.processes[i]


class BoundedWriter(Writer):
    """Deletes its older nodes, and pauses when told to."""

    def __init__(self, ensemble: Ensemble, base: str, number: int) -> None:
        super().__init__(ensemble, base, number)
        self.deleted: set[str] = set()
        self._turn = threading.Lock()
        self._going = threading.Event()
        self._going.set()

    def _round(self, client: KazooClient) -> None:
        self._going.wait()
        with self._turn:
            super()._round(client)
            while len(self.created) > KEPT:
                path = self.created.pop(0)  # From here on it may be gone.
                client.delete(path)
                self.deleted.add(path)
                self.acknowledged += 1

    def pause(self) -> None:
        """Return when the present round is over, and begin no other."""
        self._going.clear()
        self._turn.acquire()

    def go_on(self) -> None:
        """End ``pause``."""
        self._turn.release()
        self._going.set()


class BoundedLoad(Load):
    """Writers that can be paused."""

    kind = BoundedWriter

    @property
    def _bounded(self) -> list[BoundedWriter]:
        return [writer for writer in self.writers if isinstance(writer, BoundedWriter)]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nobody writes in this block."""
        for writer in self._bounded:
            writer.pause()
        try:
            yield
        finally:
            for writer in self._bounded:
                writer.go_on()

    def check_paused(self, tree: dict[str, tuple[bytes, tuple[Any, ...]]]) -> list[str]:
        """As ``check``, in the middle; what was deleted must be gone as well."""
        alive = [f"{writer.name} still runs" for writer in self.writers]
        problems = [problem for problem in self.check(tree) if problem not in alive]
        return problems + [f"{path} is back" for writer in self._bounded for path in writer.deleted & tree.keys()]


@dataclass
class Report:
    """Kills by where they hit, acknowledged writes that were looked for afterwards, and whatever is wrong."""

    kills: Counter[str] = field(default_factory=Counter)
    checks: int = 0
    checked: int = 0
    problems: list[str] = field(default_factory=list)


class Crashes:
    """Kills in an ensemble that serves under load, each followed by a check."""

    def __init__(self, ensemble: CrashingEnsemble, load: BoundedLoad, rng: random.Random) -> None:
        self.report = Report()
        self._ensemble = ensemble
        self._load = load
        self._rng = rng

    def strike(self, point: str) -> None:
        """Kill at ``point``, bring everything up again, check."""
        if point == ANY_MOMENT:
            self._anybody()
        elif point in RUNNING:
            self._while_it_serves(point)
        elif point in STARTING:
            self._while_it_starts(point, missed=0)
        elif point in TAKING_OVER:
            self._while_it_starts(point, missed=4 * COMMITTED_LOG_TXNS)
        elif point in EPOCHS:
            self._while_one_is_elected(point)
        else:
            self._while_it_truncates(point)
        self._check()

    # Kills

    def _anybody(self) -> int:
        """Kill one, often the leader, at a random moment; who it was."""
        ensemble, rng = self._ensemble, self._rng
        victim = ensemble.leader() if rng.random() < 0.5 else rng.choice(ensemble.ids)
        time.sleep(rng.uniform(0.0, 0.2))
        ensemble.kill(victim)
        self.report.kills[ANY_MOMENT] += 1
        return victim

    def _dies(self, victim: int, point: str) -> None:
        self._ensemble.wait_dead(victim)
        self.report.kills[point] += 1

    def _while_it_serves(self, point: str) -> None:
        victim = self._rng.choice(self._ensemble.ids)
        self._ensemble.order(victim, point, self._rng.randint(1, 3))
        self._dies(victim, point)

    def _while_it_starts(self, point: str, missed: int) -> None:
        victim = self._anybody()
        self._progress(missed)
        self._ensemble.order(victim, point, self._rng.randint(1, 3) if point == "start.reading" else 1)
        self._ensemble.start(victim)
        self._dies(victim, point)

    def _while_one_is_elected(self, point: str) -> None:
        """The leader dies, and one of those that elect another."""
        leader = self._ensemble.leader()
        victim = self._rng.choice([i for i in self._ensemble.ids if i != leader])
        self._ensemble.order(victim, point)
        self._ensemble.kill(leader)
        self.report.kills[ANY_MOMENT] += 1
        self._dies(victim, point)

    def _while_it_truncates(self, point: str) -> None:
        """A leader logs what nobody else has, all die, the others elect another leader: it has to cut that off."""
        ensemble = self._ensemble
        with self._load.paused():
            leader = ensemble.leader()
            others = [i for i in ensemble.ids if i != leader]
            client = ensemble.client(leader)
            for i in others:
                ensemble.pause(i)
            for n in range(3):
                client.set_async(self._load.base, b"nobody else heard of this %d" % n)
            wait_until("the leader logs it", lambda: _logs(ensemble, leader, b"heard of this 2"))
            for i in (*others, leader):
                ensemble.kill(i)
                self.report.kills[WAITING] += 1
            ensemble.start(*others).wait_serving()
            ensemble.order(leader, point)
            ensemble.start(leader)
            self._dies(leader, point)
            client.stop()
            client.close()

    # What must hold afterwards

    def _progress(self, writes: int) -> None:
        goal = self._load.acknowledged + writes
        wait_until(f"{writes} more acknowledged writes", lambda: self._load.acknowledged >= goal, 60)

    def _check(self) -> None:
        ensemble = self._ensemble
        ensemble.start(*[i for i in ensemble.ids if i not in ensemble.processes]).wait_serving()
        self._progress(5)
        with self._load.paused():
            clients = {i: ensemble.client(i) for i in ensemble.ids}
            ensemble.wait_equal()
            trees = {i: tree_of(client) for i, client in clients.items()}
            self.report.checked = self._load.acknowledged
            self.report.checks += 1
            for i, tree in trees.items():
                self.report.problems += [f"peer {i}: {problem}" for problem in self._load.check_paused(tree)]
                differs = {path for path in tree.keys() | trees[1].keys() if tree.get(path) != trees[1].get(path)}
                self.report.problems += [f"peer {i}: {path} is not as on peer 1" for path in sorted(differs)]
            for client in clients.values():
                client.stop()
                client.close()


def _logs(ensemble: Ensemble, i: int, data: bytes) -> bool:
    newest = max((ensemble.data_dir(i) / "version-2").glob("log.*"), key=lambda path: int(path.suffix[1:], 16))
    return data in newest.read_bytes()


def crash(folder: Path, points: Iterator[str], rng: random.Random, *, kills: int | None = None) -> Report:
    """Strike at ``points``, until there were so many ``kills`` or something is wrong."""
    with CrashingEnsemble(folder) as ensemble:
        ensemble.start().wait_serving()
        with BoundedLoad(ensemble) as load:
            crashes = Crashes(ensemble, load, rng)
            report = crashes.report
            for point in points:
                began = time.monotonic()
                crashes.strike(point)
                print(f"{report.kills.total():4} {point} ({time.monotonic() - began:.1f} s)", flush=True)
                if report.problems or (kills is not None and report.kills.total() >= kills):
                    break
    return report


def endless(rng: random.Random) -> Iterator[str]:
    """Every point in turn, in an order that is drawn anew each time, and as many random moments."""
    while True:
        drawn = [*POINTS, *[ANY_MOMENT] * len(POINTS)]
        rng.shuffle(drawn)
        yield from drawn


def some(rng: random.Random) -> Iterator[str]:
    """One of each kind, and a few more where peers serve."""
    yield from rng.sample(RUNNING, 4)
    for kind in (STARTING, EPOCHS, TRUNCATING, TAKING_OVER, (ANY_MOMENT,)):
        yield rng.choice(kind)


def main() -> None:
    """As often as asked; what was killed where, and whether all is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    folder = Path(tempfile.mkdtemp(prefix="crash-points-"))
    report = crash(folder, endless(rng), rng, kills=asked.kills)
    for point, count in sorted(report.kills.items()):
        print(f"{count:5} {point}")
    print(f"{report.kills.total()} kills, {report.checks} checks, {report.checked} acknowledged writes")
    print(f"{len(report.problems)} lost or different", *report.problems[:20], sep="\n")
    if report.problems:
        print(f"what the peers left is in {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
