"""Trio runs that a seed repeats: virtual time, a schedule drawn from the seed, and nodes that can be frozen.

The only module that touches Trio's private scheduler flags; ``tests/sim/test_seeded.py`` guards them. The trick of
Hypothesis' integration is used: Trio sorts each batch of ready tasks and lets its private ``Random`` shuffle it. Ours
is seeded, and leaves the tasks of frozen nodes out, which is what SIGSTOP does to a process: its timers go on and its
input gathers, but it takes no step.
"""

import random
from collections.abc import Awaitable, Callable, Iterator, MutableSequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar

import trio
import trio._core._run as scheduler
from trio.testing import MockClock

T = TypeVar("T")

NODE: Final[ContextVar[str]] = ContextVar("NODE", default="")
"""Whose task this is; tasks inherit it from the task that starts them."""

STEPS_PER_INSTANT_MAX: Final = 200_000
"""Task steps without virtual time going on: more is a loop that never waits."""


class Stuck(Exception):
    """The run goes round and round without time passing: a bug in what runs, or in the simulation."""


class Schedule(random.Random):
    """Decides which ready task steps next; counts the ``steps`` of the whole run."""

    def __init__(self, seed: int) -> None:
        super().__init__(f"schedule/{seed}")
        self.steps = 0
        self.stuck = ""
        self.everything = trio.CancelScope()
        self._frozen: set[str] = set()
        self._held: list[trio.lowlevel.Task] = []
        self._instant = -1.0
        self._steps_at_instant = 0

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """Order a batch of ready tasks, in place; called by Trio."""
        super().shuffle(x)
        self.steps += len(x)
        now = trio.current_time()
        if now > self._instant:
            self._instant, self._steps_at_instant = now, self.steps
        elif self.steps - self._steps_at_instant > STEPS_PER_INSTANT_MAX:
            self._stuck(f"{STEPS_PER_INSTANT_MAX} steps at {now:.3f} s; ready are {sorted({t.name for t in x})}")
        if self._frozen:
            runs: list[trio.lowlevel.Task] = []
            for task in x:
                (self._held if task.context.get(NODE) in self._frozen else runs).append(task)
            x[:] = runs

    def _stuck(self, why: str) -> None:
        self.stuck = self.stuck or why
        self._steps_at_instant = self.steps
        self.everything.cancel(reason=why)

    def freeze(self, node: str) -> None:
        """Let no task of ``node`` step until ``thaw``."""
        self._frozen.add(node)

    def thaw(self, node: str) -> None:
        """Let the tasks of ``node`` go on; all of its timers that ran out meanwhile fire now."""
        self._frozen.discard(node)
        for task in self._held:
            if task.context.get(NODE) == node:
                scheduler.GLOBAL_RUN_CONTEXT.runner.runq.append(task)
        self._held = [task for task in self._held if task.context.get(NODE) != node]


def run(seed: int, main: Callable[..., Awaitable[T]], *args: object) -> T:
    """``trio.run`` on a mock clock that jumps over every wait; equal seeds give equal runs, step by step.

    Raises:
        Stuck: time stood still; whatever ran was cancelled.
    """

    async def unless_stuck(own: Schedule) -> list[T]:
        result: list[T] = []
        with own.everything:
            result.append(await main(*args))
        return result

    with _seeded(seed) as own:
        result = trio.run(unless_stuck, own, clock=MockClock(autojump_threshold=0))
    if own.stuck:
        raise Stuck(own.stuck)
    return result[0]


def schedule() -> Schedule:
    """That of the present run.

    Raises:
        RuntimeError: it is not one of ``run``.
    """
    found = scheduler._r
    if not isinstance(found, Schedule):
        raise RuntimeError("only a run of trioquorum.testing.seeded has a schedule of its own")
    return found


def run_in_real_time(main: Callable[..., Awaitable[T]], *args: object) -> T:
    """``trio.run``, but nodes can be frozen: for somebody who watches. No seed repeats what the world outside does."""
    with _seeded(0):
        return trio.run(main, *args)


@contextmanager
def _seeded(seed: int) -> Iterator[Schedule]:
    own = Schedule(seed)
    flags = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r = True, own  # type: ignore[misc]
    try:
        yield own
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r = flags  # type: ignore[misc]
