"""Numbers about the last moment, about four times a second, while somebody looks."""

import math
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from trioquorum.admin.feed import Sample
from trioquorum.admin.hub import Hub
from trioquorum.admin.state import PeerState
from trioquorum.events import Committed, Event, Proposed
from trioquorum.metrics import Summary

COUNTER_MASK: Final = 0xFFFFFFFF
PROBES: Final = 5
"""Naps in the time of a sample; each tells how late the event loop wakes us."""

MS_PER_S: Final = 1000
BATCHES_MAX: Final = 10_000
"""Batches of proposals that are not committed yet; with more the oldest are not timed."""

LATENCIES_MAX: Final = 4096
"""Batches whose latency counts in one sample."""


class CommitTimer:
    """From proposal to commit, on a leader. ``read`` is the reader to subscribe while somebody looks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._proposed: deque[tuple[int, int, float]] = deque(maxlen=BATCHES_MAX)
        self._latencies: deque[tuple[float, int]] = deque(maxlen=LATENCIES_MAX)

    def read(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, Proposed):
            self._proposed.append((event.first_zxid, event.last_zxid, self._clock()))
        elif isinstance(event, Committed) and self._proposed:
            self._commit(event.zxid)

    def _commit(self, zxid: int) -> None:
        now = self._clock()
        proposed = self._proposed
        while proposed and proposed[0][0] <= zxid:
            first, last, at = proposed.popleft()
            self._latencies.append(((now - at) * MS_PER_S, min(last, zxid) - first + 1))
            if last > zxid:
                proposed.appendleft((zxid + 1, last, at))
                return

    def take(self) -> tuple[float | None, float | None]:
        """The median and the 99th percentile, in milliseconds, of what was committed since the last time."""
        latencies = sorted(self._latencies)
        self._latencies.clear()
        return percentile(latencies, 0.5), percentile(latencies, 0.99)


def percentile(latencies: list[tuple[float, int]], share: float) -> float | None:
    """What ``share`` of the transactions in sorted (latency, how many) took at most."""
    total = sum(count for _, count in latencies)
    left = math.ceil(total * share)
    for latency, count in latencies:
        left -= count
        if left <= 0:
            return round(latency, 3)
    return None


class Sampler:
    """The sampling of one peer."""

    def __init__(self, hub: Hub, state: PeerState, subscribe: Callable[[Callable[[Event], None]], Callable[[], None]]):
        """``subscribe`` adds a reader of the peer's events and returns how to remove it."""
        self._hub = hub
        self._state = state
        self._subscribe = subscribe
        self._zxid = 0
        self._flushes = Summary()

    async def run(self) -> None:
        """Sample while a page is open, until cancelled."""
        while True:
            await self._hub.watched.wait()
            timer = CommitTimer(trio.current_time)
            unsubscribe = self._subscribe(timer.read)
            try:
                self._zxid, self._flushes = self._state.zxid, self._flushes_now()
                while self._hub.pages:
                    began = trio.current_time()
                    lag_s = await self._nap()
                    self._hub.sampled(self._sample(timer, trio.current_time() - began, lag_s))
            finally:
                unsubscribe()

    async def _nap(self) -> float:
        """Sleep for the time of one sample; how late we were woken at worst, in seconds."""
        limits = self._hub.limits
        # Every page costs a message a sample, so very many get fewer.
        nap_s = limits.sample_s * max(1, math.ceil(self._hub.pages / limits.pages_per_sample)) / PROBES
        worst_s = 0.0
        await trio.lowlevel.checkpoint()
        for _ in range(PROBES):
            due = trio.current_time() + nap_s
            await trio.sleep_until(due)
            worst_s = max(worst_s, trio.current_time() - due)
        return worst_s

    def _flushes_now(self) -> Summary:
        database = self._state.database
        if database is None:
            return Summary()
        flushes = database.log.flushes
        return Summary(count=flushes.count, sum=flushes.sum)

    def _sample(self, timer: CommitTimer, period_s: float, lag_s: float) -> Sample:
        state = self._state
        zxid, before = state.zxid, self._zxid
        self._zxid = zxid
        p50, p99 = timer.take()
        fsyncs, fsync_ms, fsync_ms_last = self._fsyncs()
        database = state.database
        logged, flushed = (0, 0) if database is None else (database.last_logged, database.log.last_flushed)
        return Sample(
            wall_ms=self._hub.wall_ms(),
            mono_us=self._hub.mono_us(),
            period_ms=max(1, round(period_s * MS_PER_S)),
            role=state.role,
            leader=state.leader,
            epoch=state.epoch,
            zxid=zxid,
            txns=_between(before, zxid),
            commit_ms_p50=p50,
            commit_ms_p99=p99,
            fsyncs=fsyncs,
            fsync_ms=fsync_ms,
            fsync_ms_last=fsync_ms_last,
            unflushed_txns=_between(flushed, logged),
            unapplied_txns=_between(zxid, logged),
            sessions=state.sessions,
            watches=state.watches(),
            znodes=state.znodes,
            data_bytes=state.data_bytes,
            loop_lag_ms=round(lag_s * MS_PER_S, 3),
            pages=self._hub.pages,
        )

    def _fsyncs(self) -> tuple[int, float | None, float | None]:
        """How many flushes since the last sample, their mean and the last one, in milliseconds."""
        before, now = self._flushes, self._flushes_now()
        self._flushes = now
        count = now.count - before.count
        if count <= 0 or self._state.database is None:
            return 0, None, None
        last = self._state.database.log.flushes.last
        return count, round(max(0.0, now.sum - before.sum) / count, 3), round(last, 3)


def _between(before: int, after: int) -> int:
    """How many transactions lie between two zxids; of an epoch that began meanwhile, those of the new one."""
    if after <= before:
        return 0
    return after - before if after >> 32 == before >> 32 else after & COUNTER_MASK
