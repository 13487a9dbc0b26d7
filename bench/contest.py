"""Runs workloads on contestants in turn: A B, B A, and so on, so that a machine that gets slower wrongs nobody."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Final

from bench import data, lifecycle
from bench.loads import Ensemble, Figures, Histogram, heat_up
from bench.results import Lines, Results, Run
from bench.servers import Servers, ZooKeepers
from bench.workload import Workload

ON_ENSEMBLES: Final = ("load", "half", "watches")
"""Measures whose servers stay up for all rounds, and for all workloads that want the same servers."""

Contestants = Mapping[str, type[Servers]]
Setting = tuple[int, str, int, int]


class Contest:
    """``done`` hears of every run that is over, ``doing`` what happens now."""

    def __init__(self, contestants: Contestants, rounds: int, heat_up_s: float, folder: Path, lines: Lines) -> None:
        self.contestants = contestants
        self.rounds = rounds
        self.heat_up_s = heat_up_s
        self.done: Callable[[], None] = lambda: None
        self.doing: Callable[[str], None] = lambda what: None
        self._folder = folder
        self._lines = lines
        self._results = Results([], [])
        self._serial = 0

    def total(self, workloads: Mapping[str, Workload]) -> int:
        """How many runs there are."""
        return sum(self._rounds_of(it) * len(self._able(it)) for it in workloads.values())

    def run(self, workloads: Mapping[str, Workload]) -> Results:
        """Every workload, in rounds; those on the same ensembles together.

        Raises:
            GeneratorFailed, RuntimeError, TimeoutError: a server did something wrong, or not in time.
        """
        for setting, group in groupby(workloads.items(), lambda item: setting_of(item[1])):
            if setting is None:
                for name, workload in group:
                    self._run_alone(name, workload)
            else:
                self._run_on_ensembles(dict(group))
        return self._results

    def _rounds_of(self, workload: Workload) -> int:
        return self.rounds if workload.rounds is None else workload.rounds

    def _able(self, workload: Workload) -> list[str]:
        return [name for name, kind in self.contestants.items() if kind.why_not(workload) is None]

    def _in_turn(self, round_: int, workload: Workload) -> list[str]:
        names = self._able(workload)
        return names if round_ % 2 == 0 else names[::-1]

    def _make(self, name: str, folder: Path, workload: Workload) -> Servers:
        kind = self.contestants[name]
        return kind(
            folder, workload.peers, many_clients=workload.measure != "start", transport=_transport(kind, workload)
        )

    def _zookeepers(self, name: str) -> lifecycle.Make:
        """How a contestant's servers are made, for what only a ZooKeeper is asked."""

        def make(folder: Path, workload: Workload) -> ZooKeepers:
            made = self._make(name, folder, workload)
            assert isinstance(made, ZooKeepers)
            return made

        return make

    def _new_folder(self, name: str) -> Path:
        self._serial += 1
        return self._folder / f"{self._serial}-{name}"

    def _run_alone(self, name: str, workload: Workload) -> None:
        """Servers of its own for each run. The first start of each contestant fills caches and does not count."""
        if workload.measure == "start":
            for contestant in self._able(workload):
                self.doing(f"{contestant}: a first start")
                lifecycle.start(self._zookeepers(contestant), self._new_folder(contestant), workload)
        for round_ in range(self._rounds_of(workload)):
            for contestant in self._in_turn(round_, workload):
                self.doing(f"{contestant}: {name}")
                make, folder = self._zookeepers(contestant), self._new_folder(contestant)
                times: Histogram = []
                if workload.measure == "start":
                    figures = lifecycle.start(make, folder, workload)
                elif workload.measure == "failover":
                    figures, each_s = lifecycle.failover(make, folder, workload)
                    times = [(seconds * 1e6, 1) for seconds in sorted(each_s)]
                elif workload.measure == "data":
                    figures, times = data.run(make, folder, workload, data.prepare(self._folder, workload))
                elif workload.measure == "filled":
                    figures = lifecycle.filled(make, folder, workload)
                else:
                    figures = lifecycle.join(make, folder, workload)
                self._note(name, contestant, round_, workload, figures, times)

    def _run_on_ensembles(self, workloads: Mapping[str, Workload]) -> None:
        any_workload = next(iter(workloads.values()))
        with ExitStack() as stack:
            ensembles: dict[str, Ensemble] = {}
            for name in {name: None for workload in workloads.values() for name in self._able(workload)}:
                self.doing(f"{name}: start")
                servers = stack.enter_context(self._make(name, self._new_folder(name), any_workload))
                servers.start()
                servers.wait_serving()
                ensembles[name] = Ensemble(servers)
            for name, ensemble in ensembles.items():
                if any_workload.znodes:
                    self.doing(f"{name}: {any_workload.znodes:,} znodes")
                    ensemble.fill(any_workload)
                if self.heat_up_s:
                    for what in heat_up(ensemble, self.heat_up_s):
                        self.doing(f"{name}: warming up, {what}")
            for round_, name, workload in self._schedule(workloads):
                for contestant in self._in_turn(round_, workload):
                    self.doing(f"{contestant}: {name}")
                    figures, histogram = _measure(ensembles[contestant], workload)
                    self._note(name, contestant, round_, workload, figures, histogram)

    def _schedule(self, workloads: Mapping[str, Workload]) -> Iterator[tuple[int, str, Workload]]:
        for round_ in range(max(map(self._rounds_of, workloads.values()))):
            for name, workload in workloads.items():
                if round_ < self._rounds_of(workload):
                    yield round_, name, workload

    def _note(
        self, name: str, contestant: str, round_: int, workload: Workload, figures: Figures, histogram: Histogram
    ) -> None:
        run = Run(
            workload=name,
            contestant=contestant,
            round=round_,
            load_average=round(os.getloadavg()[0], 2),
            setup=workload,
            figures={figure: round(value, 6) for figure, value in figures.items()},
            latency_us=histogram,
            note=self.contestants[contestant].note,
        )
        self._results.runs.append(run)
        self._lines.add(run)
        self.done()


def left_out(contestants: Contestants, workloads: Mapping[str, Workload]) -> list[str]:
    """A line for every contestant and reason for which it is not asked for some of the workloads."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, workload in workloads.items():
        for contestant, kind in contestants.items():
            if (why := kind.why_not(workload)) is not None:
                found.setdefault((contestant, why), []).append(name)
    return [f"{contestant} is left out of {', '.join(names)}: {why}" for (contestant, why), names in found.items()]


def setting_of(workload: Workload) -> Setting | None:
    """What ensembles that stay up must have in common; None for measures that want servers of their own."""
    if workload.measure not in ON_ENSEMBLES:
        return None
    filled = (workload.znodes, workload.value_bytes) if workload.znodes else (0, 0)
    return (workload.peers, workload.transport, *filled)


def _transport(kind: type[Servers], workload: Workload) -> str:
    """Links of others are TCP in any case."""
    return workload.transport if workload.transport in kind.transports else kind.transports[0]


def _measure(ensemble: Ensemble, workload: Workload) -> tuple[Figures, Histogram]:
    if workload.measure == "half":
        return ensemble.run_half(workload)
    if workload.measure == "watches":
        return ensemble.run_watches(workload)
    return ensemble.run(workload)
