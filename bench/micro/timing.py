"""How a small thing is timed."""

import gc
import statistics
import time
from collections.abc import Callable
from typing import Final

import msgspec

BATCH: Final = 64
"""Requests that are under way together in what is timed by batches."""
REPEATS: Final = 9
REPEAT_S: Final = 0.05


class Timed(msgspec.Struct):
    """µs per operation: the median of repeats, the lowest and the highest. CPU time unless ``what`` says otherwise."""

    part: str
    what: str
    micros: float
    lowest: float
    highest: float


class Micro(msgspec.Struct):
    """``work`` does ``operations`` operations. ``waits``: it waits for a disk, so that the clock on the wall counts."""

    what: str
    work: Callable[[], object]
    operations: int = 1
    waits: bool = False

    def timed(self, part: str) -> Timed:
        """As often as fills a repeat, several repeats, without the garbage collector."""
        clock = time.perf_counter if self.waits else time.thread_time
        times = 1
        self.work()
        while (took_s := self._once(clock, times)) < REPEAT_S:
            times = max(times + 1, min(10 * times, round(1.2 * times * REPEAT_S / max(took_s, 1e-6))))
        gc.collect()
        gc.disable()
        try:
            each = [self._once(clock, times) / times / self.operations * 1e6 for _ in range(REPEATS)]
        finally:
            gc.enable()
        return Timed(part, self.what, statistics.median(each), min(each), max(each))

    def _once(self, clock: Callable[[], float], times: int) -> float:
        work = self.work
        began = clock()
        for _ in range(times):
            work()
        return clock() - began
