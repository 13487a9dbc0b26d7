"""Loads on ensembles that are up: at full speed, at half of it, and watches; what one run says in figures."""

import itertools
from collections.abc import Iterator
from typing import Final

from bench import generate, machine
from bench.generate import Job, OnLine, Outcome
from bench.results import percentile_ms
from bench.servers import Servers, followers_first
from bench.workload import Workload

WARM_UP_S: Final = 1.0
FILLERS: Final = 16
FILL_DEPTH: Final = 64
_numbers: Final = itertools.count(1)

Figures = dict[str, float]
Histogram = list[tuple[float, int]]


def _nobody(line: str) -> None:
    del line


class Ensemble:
    """Servers that are up and what was created on them to stay: ``root`` holds the znodes of a workload's load."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.root: str | None = None

    def fill(self, workload: Workload) -> float:
        """Create the workload's znodes, to stay; how many a second."""
        self.root = f"/filled{next(_numbers)}"
        job = _job(self.servers, workload, self.root)
        job.nodes, job.measure_s, job.keep, job.depth = workload.znodes // workload.clients, 0, True, FILL_DEPTH
        return workload.znodes / self.servers.load(job, _nobody).filled_s

    def run(self, workload: Workload, on_line: OnLine = _nobody) -> tuple[Figures, Histogram]:
        """One run of a load, at full speed; ``on_line``: see ``generate.load``.

        Raises:
            GeneratorFailed: a reply was wrong, or a server is gone.
        """
        outcome, flushed = self._generate(workload, 0.0, on_line)
        return _figures(workload, outcome, self.servers, flushed), outcome.latency_us

    def run_half(self, workload: Workload) -> tuple[Figures, Histogram]:
        """At full speed, then as an open loop at half of what that reached; latency and CPU time are of the second.

        Raises:
            GeneratorFailed: a reply was wrong, or a server is gone.
        """
        full, _ = self._generate(workload, 0.0)
        maximum_per_s = full.operations / full.elapsed_s
        outcome, flushed = self._generate(workload, maximum_per_s / 2)
        figures = _figures(workload, outcome, self.servers, flushed)
        return figures | {"max_per_s": maximum_per_s}, outcome.latency_us

    def run_watches(self, workload: Workload) -> tuple[Figures, Histogram]:
        """One change and many who watch; the median of ``times``, after one that does not count."""
        ports, _ = _ports_and_pids(self.servers)
        times = generate.watches(ports, f"/watched{next(_numbers)}", workload.clients, workload.times + 1)
        counted = sorted(times[1:])
        return {"last_told_ms": counted[len(counted) // 2]}, [(ms * 1000, 1) for ms in counted]

    def _generate(self, workload: Workload, rate_per_s: float, on_line: OnLine = _nobody) -> tuple[Outcome, int]:
        """An outcome, and how often all servers together flushed in the measured time."""
        self.servers.make_ready(workload)
        job = _job(self.servers, workload, self.root if workload.znodes and self.root else f"/load{next(_numbers)}")
        job.rate = rate_per_s
        if workload.znodes:
            job.nodes, job.reuse = workload.znodes // workload.clients, True
        counts: list[int] = []

        def count(line: str) -> None:
            on_line(line)
            if line in ("measuring", "measured"):
                counts.append(sum(map(self.servers.fsyncs, self.servers.processes)))

        try:
            outcome = self.servers.load(job, count)
        except generate.GeneratorFailed:
            self.servers.check_alive()
            raise
        return outcome, counts[1] - counts[0]


def _ports_and_pids(servers: Servers) -> tuple[list[int], list[int]]:
    order = followers_first(servers.wait_serving())
    pids = servers.pids()
    return [servers.peers[i].client for i in order], [pids[i] for i in order]


def _job(servers: Servers, workload: Workload, root: str) -> Job:
    """Connections take the peers in turn, followers first, so that a single one talks to a follower."""
    ports, pids = _ports_and_pids(servers)
    return Job(
        ports=ports,
        pids=pids,
        root=root,
        mix=workload.mix,
        connections=workload.clients,
        depth=workload.depth,
        value_bytes=workload.value_bytes,
        idle=workload.idle_sessions,
        warm_up_s=WARM_UP_S,
        measure_s=workload.seconds,
    )


def _figures(workload: Workload, outcome: Outcome, servers: Servers, flushed: int) -> Figures:
    operations = max(1, outcome.operations)
    figures = {
        "rate_per_s": outcome.operations / outcome.elapsed_s,
        "p50_ms": percentile_ms(outcome.latency_us, 0.5),
        "p99_ms": percentile_ms(outcome.latency_us, 0.99),
        "p999_ms": percentile_ms(outcome.latency_us, 0.999),
        "cpu_s_per_100k": sum(outcome.cpu_s) / operations * 100_000,
        "leader_share": outcome.cpu_s[-1] / outcome.elapsed_s,  # the leader is the last, see followers_first
        **memory(servers),
    }
    if len(outcome.cpu_s) > 1:
        figures["follower_share"] = sum(outcome.cpu_s[:-1]) / (len(outcome.cpu_s) - 1) / outcome.elapsed_s
    if outcome.generator_share is not None:
        figures["generator_share"] = outcome.generator_share
    if outcome.ping_us:
        figures["ping_p50_ms"] = percentile_ms(outcome.ping_us, 0.5)
        figures["ping_p99_ms"] = percentile_ms(outcome.ping_us, 0.99)
    if flushed and workload.mix.keys() - {"get"}:
        figures["fsyncs_per_s"] = flushed / outcome.elapsed_s
        figures["writes_per_fsync"] = (outcome.sets + outcome.creates) * len(servers.processes) / flushed
    return figures


def memory(servers: Servers) -> Figures:
    """The mean of all running peers."""
    pids = list(servers.pids().values())
    return {
        "rss_mib": sum(map(machine.rss_kib, pids)) / len(pids) / 1024,
        "pss_mib": sum(map(machine.pss_kib, pids)) / len(pids) / 1024,
    }


def heat_up(ensemble: Ensemble, seconds: float) -> Iterator[str]:
    """Work for so long in all; says what it does next.

    A virtual machine compiles what it sees often, and until it has is slow and burns CPU time. What the servers cannot
    do is left out.
    """
    shapes = [({"set": 1}, 16, 64), ({"create": 1}, 16, 64), ({"get": 1}, 200, 1), ({"get": 4, "set": 1}, 16, 64)]
    shapes += [({"set": 1}, 200, 1)]
    for mix, clients, depth in shapes:
        workload = Workload(mix=mix, clients=clients, depth=depth, seconds=seconds / len(shapes))
        if ensemble.servers.why_not(workload) is None:
            yield " ".join(mix)
            ensemble.run(workload)
