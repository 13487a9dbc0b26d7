"""Group commit: batches form while a flush is in flight, and nobody is told before the flush."""

import pytest
import trio
import trio.testing

from tests.storage.kit import Heard, create, creates
from trioquorum.errors import DiskFailed
from trioquorum.events import SlowFlush
from trioquorum.invariants import InvariantViolation
from trioquorum.limits import Limits
from trioquorum.storage.log_writer import LogWriter
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.txn_log import TxnLog


class SlowDisk(MemoryDisk):
    """Notes the size of every flush of an append; fails when told to."""

    def __init__(self) -> None:
        super().__init__(flush_latency_s=1.0)
        self.flushes: list[tuple[float, int]] = []
        self.fails = False

    async def flush(self, name: str, size: int) -> None:
        await super().flush(name, size)
        if self.fails:
            raise DiskFailed(f"{name} cannot be written: no space")
        if size:
            self.flushes.append((trio.current_time(), size))


class Bench:
    """A writer on a slow disk."""

    def __init__(self, **limits: int) -> None:
        self.disk = SlowDisk()
        self.heard = Heard()
        self.log = TxnLog(self.disk, self.heard.events)
        self.writer = LogWriter(self.log, Limits(**limits), self.heard.events, 1000)
        self.flushed: list[tuple[float, int]] = []
        self.writer.on_flushed = lambda zxid: self.flushed.append((trio.current_time(), zxid))

    def append(self, *zxids: int) -> None:
        for zxid, payload in creates(zxids):
            self.writer.append([(zxid, payload)])


async def test_the_next_batch_gathers_while_a_flush_is_in_flight(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    bench = Bench()
    began = trio.current_time()
    await nursery.start(bench.writer.run)
    bench.append(1)
    await trio.sleep(1.5)  # the file is created, the first flush is under way
    bench.append(2, 3)
    await trio.sleep(0.2)
    bench.append(4)
    assert not bench.flushed
    assert bench.writer.last_flushed == 0
    await bench.writer.drained()
    assert [(round(at - began, 3), zxid) for at, zxid in bench.flushed] == [(2, 1), (3, 4)]
    assert len(bench.disk.flushes) == 2
    assert bench.writer.last_flushed == bench.writer.last_appended == 4
    assert bench.writer.appended == 4
    nursery.cancel_scope.cancel()


async def test_a_batch_is_bounded(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    size = len(create(1, "/n1"))
    bench = Bench(log_batch_bytes_max=3 * size)
    bench.append(*range(1, 9))
    bench.writer.append([(9, create(9, "/n9", bytes(10 * size)))])
    await nursery.start(bench.writer.run)
    await bench.writer.drained()
    assert [zxid for _, zxid in bench.flushed] == [3, 6, 8, 9]
    nursery.cancel_scope.cancel()


async def test_wait_room_waits_while_too_much_is_queued(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    size = len(create(1, "/n1"))
    bench = Bench(log_queue_bytes_max=2 * size, log_batch_bytes_max=size)
    began = trio.current_time()
    await bench.writer.wait_room()
    bench.append(1, 2, 3, 4)
    await nursery.start(bench.writer.run)
    await bench.writer.wait_room()
    assert trio.current_time() - began == pytest.approx(3)
    assert bench.writer.last_flushed == 2
    nursery.cancel_scope.cancel()


async def test_the_log_only_grows() -> None:
    bench = Bench()
    bench.append(5)
    with pytest.raises(InvariantViolation, match="the log only grows"):
        bench.append(5)


async def test_a_slow_flush_is_reported(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    bench = Bench()
    await nursery.start(bench.writer.run)
    bench.append(1)
    await bench.writer.drained()
    bench.disk.flush_latency_s = 0.9
    bench.append(2)
    await bench.writer.drained()
    assert [event.duration_ms for event in bench.heard.of(SlowFlush)] == [2000]
    nursery.cancel_scope.cancel()


async def test_a_failed_flush_ends_the_writer_and_whoever_waits(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    bench = Bench()
    bench.disk.fails = True
    raised: list[str] = []

    async def wait() -> None:
        with pytest.raises(DiskFailed):
            await bench.writer.drained()
        raised.append("waiter")

    bench.append(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        with pytest.raises(DiskFailed, match="no space"):
            await bench.writer.run()
    assert raised == ["waiter"]
    assert not bench.flushed
    with pytest.raises(DiskFailed):
        await bench.writer.drained()


async def test_a_cancelled_writer_finishes_the_flush_and_lets_go(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    bench = Bench()
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.writer.run)
        bench.append(1)
        await trio.sleep(1.5)
        bench.append(2)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await bench.writer.drained()
    assert bench.writer.last_flushed == 1
    assert await TxnLog(bench.disk, bench.heard.events).recover() == 1


async def test_truncate_waits_for_what_is_queued_and_the_log_goes_on_behind_it(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    bench = Bench()
    await nursery.start(bench.writer.run)
    bench.append(1, 2, 3)
    await bench.writer.truncate(2)
    assert bench.writer.last_appended == bench.writer.last_flushed == 2
    bench.append(3)
    await bench.writer.drained()
    await bench.writer.roll()
    bench.append(4)
    await bench.writer.drained()
    assert bench.log.last_zxid == 4
    assert list(bench.disk.files) == ["log.1", "log.4"]
    nursery.cancel_scope.cancel()
