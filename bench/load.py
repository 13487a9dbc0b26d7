"""Operations a second, latency, CPU time and memory of three peers under load, next to Java's: A B A B, medians."""

import itertools
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.generator import Job, Outcome
from bench.java import JavaZooKeeper
from bench.report import Lines, number, ratio, spread, table
from bench.servers import Servers, Trioquorum, followers_first

PEERS: Final = 3
VALUE_BYTES: Final = 100
WORKLOADS: Final = ("set", "get", "create", "mix")
SHAPES: Final = ((16, 64), (200, 1), (8, 1), (1, 1))
"""Connections, and requests under way on each."""
HEAT_UP_S: Final = 10.0
HEAT_UP: Final = (("set", 16, 64), ("create", 16, 64), ("get", 200, 1), ("mix", 16, 64), ("set", 200, 1))
"""Run for so long each before anything is measured: the virtual machine compiles what it sees often, and is slower and
burns CPU time until it has."""
WARM_UP_S: Final = 1.0
_GENERATOR_TIMEOUT_S: Final = 300.0
_GENERATOR_BOUND: Final = 0.9
_REPOSITORY: Final = Path(__file__).parent.parent

Cell = tuple[str, int, int]
Found = dict[Cell, dict[str, list[Outcome]]]


def run(
    folder: Path,
    rounds: int,
    measure_s: float,
    kinds: Sequence[type[Servers]],
    cells: Sequence[Cell],
    lines: Lines,
) -> Found:
    """Both ensembles stay up. A round measures each cell on one, then on the other; the next begins with the other."""
    found: Found = defaultdict(lambda: defaultdict(list))
    counter = itertools.count()
    with ExitStack() as stack:
        ensembles = [stack.enter_context(kind(folder / kind.name, PEERS, many_clients=True)) for kind in kinds]
        for ensemble in ensembles:
            ensemble.start()
        for ensemble, cell in itertools.product(ensembles, HEAT_UP):
            generate(ensemble, cell, HEAT_UP_S, f"/heat{next(counter)}")
        for number_, cell in itertools.product(range(rounds), cells):
            for ensemble in ensembles if number_ % 2 == 0 else list(reversed(ensembles)):
                outcome = generate(ensemble, cell, measure_s, f"/load{next(counter)}")
                found[cell][ensemble.name].append(outcome)
                lines.add(**_record(ensemble.name, number_, cell, outcome))
    return found


def generate(servers: Servers, cell: Cell, measure_s: float, root: str) -> Outcome:
    """One run of the generator, in a process of its own, with all peers as its servers.

    Raises:
        RuntimeError: a peer ended, or a reply was wrong.
    """
    order = followers_first(servers.wait_serving())
    pids = servers.pids()
    workload, connections, outstanding = cell
    job = Job(
        workload=workload,
        ports=[servers.peers[i].client for i in order],
        pids=[pids[i] for i in order],
        connections=connections,
        outstanding=outstanding,
        value_bytes=VALUE_BYTES,
        warm_up_s=WARM_UP_S,
        measure_s=measure_s,
        root=root,
    )
    done = subprocess.run(
        [sys.executable, "-m", "bench.generator"],
        input=msgspec.json.encode(job),
        capture_output=True,
        timeout=_GENERATOR_TIMEOUT_S,
        check=False,
        cwd=_REPOSITORY,
    )
    if done.returncode:
        servers.check_alive()
        raise RuntimeError(f"{servers.name} {cell}: {done.stderr.decode(errors='replace')[-2000:]}")
    return msgspec.json.decode(done.stdout, type=Outcome)


def _record(kind: str, round_: int, cell: Cell, outcome: Outcome) -> dict[str, Any]:
    workload, connections, outstanding = cell
    return {
        "bench": "load",
        "round": round_,
        "kind": kind,
        "load_average": os.getloadavg()[0],
        "workload": workload,
        "connections": connections,
        "outstanding": outstanding,
        "rate_per_s": round(_rate_per_s(outcome), 1),
        **msgspec.to_builtins(outcome),
    }


class Medians:
    """Medians of one cell's rounds on one kind of server."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.rate_per_s = statistics.median(_rate_per_s(it) for it in outcomes)
        self.p50_ms = statistics.median(it.p50_ms for it in outcomes)
        self.p99_ms = statistics.median(it.p99_ms for it in outcomes)
        self.cpu_us = statistics.median(sum(it.cpu_s) * 1e6 / max(1, it.operations) for it in outcomes)
        self.cpu_s = [statistics.median(column) for column in zip(*(it.cpu_s for it in outcomes), strict=True)]
        self.rss_mib = statistics.median(sum(it.rss_kib) / 1024 for it in outcomes)
        self.generator_share = statistics.median(it.generator_share for it in outcomes)


def summary(found: Found) -> str:
    """Two tables: rates and latencies; CPU time and memory. A star marks runs in which the generator was the limit."""
    rates, costs = [], []
    for (workload, connections, outstanding), by_kind in found.items():
        label = f"{workload} {connections}×{outstanding}"
        ours = Medians(by_kind[Trioquorum.name])
        theirs = Medians(by_kind[JavaZooKeeper.name]) if JavaZooKeeper.name in by_kind else None
        rounds = _ratio_range(by_kind[Trioquorum.name], by_kind.get(JavaZooKeeper.name, ()))
        rates.append([label, *_pairs(ours, theirs, ("rate_per_s", "p50_ms", "p99_ms")), rounds])
        costs.append([label, *_pairs(ours, theirs, ("cpu_us", "rss_mib")), _shares(ours, theirs)])
    head = ["ours", "Java", "ratio"]
    return "\n\n".join(
        (
            table(
                [
                    "workload",
                    *(f"{what} {side}" for what in ("ops/s", "p50 ms", "p99 ms") for side in head),
                    "ops/s ratio by round",
                ],
                rates,
            ),
            table(
                [
                    "workload",
                    *(f"{what} {side}" for what in ("CPU µs/op", "RSS MiB") for side in head),
                    "CPU s followers+leader; generator",
                ],
                costs,
            ),
        )
    )


def _pairs(ours: Medians, theirs: Medians | None, names: Sequence[str]) -> list[str]:
    cells = []
    for name in names:
        mine = getattr(ours, name)
        cells.append(number(mine) + _star(ours, name))
        if theirs is None:
            cells += ["–", "–"]
        else:
            cells += [number(getattr(theirs, name)) + _star(theirs, name), ratio(mine, getattr(theirs, name))]
    return cells


def _ratio_range(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> str:
    """Lowest and highest ratio of the two runs that stood next to each other: a wide range decides nothing."""
    if not theirs:
        return "–"
    return spread([_rate_per_s(a) / _rate_per_s(b) for a, b in zip(ours, theirs, strict=True)])


def _rate_per_s(outcome: Outcome) -> float:
    return outcome.operations / outcome.elapsed_s


def _star(medians: Medians, name: str) -> str:
    return "*" if name == "rate_per_s" and medians.generator_share > _GENERATOR_BOUND else ""


def _shares(ours: Medians, theirs: Medians | None) -> str:
    return " / ".join(
        f"{'+'.join(number(s) for s in it.cpu_s)}; {it.generator_share:.0%}" for it in (ours, theirs) if it is not None
    )
