"""Many seeds on all cores, and what they add up to."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Final

import msgspec

from trioquorum.testing.plan import KINDS, Plan, draw
from trioquorum.testing.simulation import Report, simulate
from trioquorum.testing.workloads import WORKLOADS

QUEUED_PER_JOB: Final = 2
"""Seeds handed to a process before it has finished the one it runs."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What is fixed for all seeds; the rest is drawn. ``keep`` names the strikes to carry out, None is all."""

    peers: int | None = None
    safety_s: float | None = None
    kinds: tuple[str, ...] = KINDS
    workloads: tuple[str, ...] | None = None
    keep: tuple[int, ...] | None = None

    def plan(self, seed: int) -> Plan:
        """The plan of ``seed``."""
        drawn = draw(seed, tuple(WORKLOADS), peers=self.peers, safety_s=self.safety_s, kinds=self.kinds)
        strikes = range(len(drawn.strikes)) if self.keep is None else self.keep
        return drawn.keeping(strikes, drawn.workloads if self.workloads is None else self.workloads)


class Summary(msgspec.Struct, kw_only=True):
    """Sums over the runs of a campaign. Times are seconds: virtual ones, and those of the wall clock."""

    seeds: int = 0
    failures: list[Report] = msgspec.field(default_factory=list)
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    elections: int = 0
    transactions: int = 0
    calls: int = 0
    virtual_s: float = 0.0
    steps: int = 0
    healed_s_max: float = 0.0
    wall_s: float = 0.0

    def add(self, report: Report) -> None:
        """Count one run in."""
        self.seeds += 1
        if report.failure is not None:
            self.failures.append(report)
        self.counts.update(report.counts)
        self.elections += report.elections
        self.transactions += report.transactions
        self.calls += report.calls
        self.virtual_s += report.virtual_s
        self.steps += report.steps
        self.healed_s_max = max(self.healed_s_max, report.healed_s)


def campaign(
    seeds: Iterable[int],
    choice: Choice,
    *,
    jobs: int | None = None,
    limit_s: float | None = None,
    done: Callable[[Report], object] = lambda _: None,
) -> Summary:
    """Run ``seeds`` on ``jobs`` processes (all cores if None); ``done`` is told of each run that ended.

    After ``limit_s`` no new seed is begun.
    """
    began = time.monotonic()
    summary = Summary()
    jobs = jobs or os.cpu_count() or 1

    def within_limit() -> Iterator[int]:
        for seed in seeds:
            if limit_s is not None and time.monotonic() - began >= limit_s:
                return
            yield seed

    for report in _reports(within_limit(), choice, jobs):
        summary.add(report)
        done(report)
    summary.wall_s = time.monotonic() - began
    return summary


def _reports(seeds: Iterator[int], choice: Choice, jobs: int) -> Iterator[Report]:
    if jobs == 1:
        for seed in seeds:
            yield _one(seed, choice)
        return
    # Spawned, not forked: a run must not depend on what this process has done before.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running: set[Future[Report]] = set()
        more = True
        while running or more:
            while more and len(running) < jobs * QUEUED_PER_JOB:
                following = next(seeds, None)
                more = following is not None
                if following is not None:
                    running.add(pool.submit(_one, following, choice))
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                yield future.result()


def _one(seed: int, choice: Choice) -> Report:
    return simulate(choice.plan(seed))


def seeds_from(first: int, count: int) -> Sequence[int]:
    """``count`` seeds from ``first`` on."""
    return range(first, first + count)
