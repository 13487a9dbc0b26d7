"""The log writer on a real disk, where batches begin and end without a task that waits for them."""

import errno
import os
import threading  # noqa: TID251
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.storage.kit import Heard, creates
from trioquorum.errors import DiskFailed
from trioquorum.invariants import InvariantViolation, broken
from trioquorum.limits import Limits
from trioquorum.storage.disk import RealDisk
from trioquorum.storage.log_writer import LogWriter
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.txn_log import TxnLog


class Gate:
    """Stands in for the kernel's flush: it ends when it may, as it is told."""

    def __init__(self) -> None:
        self.begun = 0
        self.error: OSError | None = None
        self._open = threading.Event()
        self._open.set()
        self._flush = os.fdatasync

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def flush(self, fd: int) -> None:
        self.begun += 1
        assert self._open.wait(10)
        if self.error is not None:
            raise self.error
        self._flush(fd)

    async def until_begun(self, count: int) -> None:
        with trio.fail_after(5):
            while self.begun < count:
                await trio.sleep(0.001)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()
    monkeypatch.setattr(os, "fdatasync", made.flush)
    yield made
    made.open()


class Bench:
    """A writer with one durable transaction, on a disk that can be appended to without a wait."""

    def __init__(self, disk: RealDisk) -> None:
        self.disk = disk
        self.heard = Heard()
        self.log = TxnLog(disk, self.heard.events)
        self.writer = LogWriter(self.log, Limits(), self.heard.events, 0)
        self.flushed: list[int] = []
        self.writer.on_flushed = self.flushed.append

    def append(self, *zxids: int) -> None:
        self.writer.append([record for zxid in zxids for record in creates([zxid])])


@asynccontextmanager
async def writing(path: Path) -> AsyncIterator[tuple[Bench, trio.Nursery]]:
    with RealDisk(path, preallocate_bytes=1 << 16) as disk:
        bench = Bench(disk)
        async with trio.open_nursery() as nursery:
            await nursery.start(bench.writer.run)
            bench.append(1)
            with trio.fail_after(5):
                await bench.writer.drained()
            await wait_all_tasks_blocked()
            yield bench, nursery
            nursery.cancel_scope.cancel()


async def recovered(path: Path) -> int:
    with RealDisk(path) as disk:
        return await TxnLog(disk, Heard().events).recover()


async def test_nobody_is_told_before_the_flush_and_the_next_batch_gathers(tmp_path: Path, gate: Gate) -> None:
    async with writing(tmp_path) as (bench, _):
        gate.shut()
        bench.append(2)
        await gate.until_begun(2)
        bench.append(3)
        bench.append(4, 5)
        await trio.sleep(0.02)
        assert bench.flushed == [1]
        assert bench.writer.last_flushed == bench.log.last_zxid == 1
        gate.open()
        with trio.fail_after(5):
            await bench.writer.drained()
        assert bench.flushed == [1, 2, 5]
        assert gate.begun == 3
    assert await recovered(tmp_path) == 5


async def test_a_batch_needs_no_turn_of_the_writers_task(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    taken = LogWriter._append_batch

    async def counted(self: LogWriter) -> None:
        nonlocal steps
        steps += 1
        await taken(self)

    monkeypatch.setattr(LogWriter, "_append_batch", counted)
    async with writing(tmp_path) as (bench, _):
        for zxid in range(2, 20):
            bench.append(zxid)
            # The flush is on its way, though no task had a turn.
            await gate.until_begun(zxid)
            with trio.fail_after(5):
                await bench.writer.drained()
        assert steps == 1
    assert await recovered(tmp_path) == 19


async def test_a_failed_flush_ends_the_writer_and_nothing_is_written_any_more(tmp_path: Path, gate: Gate) -> None:
    waited: list[str] = []
    with RealDisk(tmp_path, preallocate_bytes=0) as disk:
        bench = Bench(disk)

        async def wait() -> None:
            with pytest.raises(DiskFailed):
                await bench.writer.drained()
            waited.append("told")

        async with trio.open_nursery() as nursery:

            async def run() -> None:
                with pytest.raises(DiskFailed, match="Input/output error; this peer stops"):
                    await bench.writer.run()
                waited.append("ended")

            nursery.start_soon(run)
            await wait_all_tasks_blocked()
            bench.append(1)
            await gate.until_begun(1)
            await bench.writer.drained()
            gate.shut()
            gate.error = OSError(errno.EIO, "Input/output error")
            bench.append(2)
            await gate.until_begun(2)
            bench.append(3)
            nursery.start_soon(wait)
            await wait_all_tasks_blocked(0.01)
            size = (tmp_path / "log.1").stat().st_size
            gate.open()
        assert sorted(waited) == ["ended", "told"]
        gate.error = None
        bench.append(4)
        await wait_all_tasks_blocked(0.01)
        assert (tmp_path / "log.1").stat().st_size == size
        assert gate.begun == 2
        assert bench.flushed == [1]
        assert bench.writer.last_flushed == 1
        with pytest.raises(DiskFailed):
            await bench.writer.wait_room()


async def test_cancelled_it_waits_for_the_flush_under_way_and_tells(tmp_path: Path, gate: Gate) -> None:
    async with writing(tmp_path) as (bench, nursery):
        gate.shut()
        bench.append(2)
        await gate.until_begun(2)
        bench.append(3)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.sleep(0.02)
            assert bench.flushed == [1]
            gate.open()
            with trio.fail_after(5):
                await bench.writer.drained()
        assert bench.flushed == [1, 2]
    # What was queued behind it is not written any more.
    assert await recovered(tmp_path) == 2


async def test_a_new_file_begins_behind_the_flush_under_way(tmp_path: Path, gate: Gate) -> None:
    async with writing(tmp_path) as (bench, nursery):
        gate.shut()
        bench.append(2)
        await gate.until_begun(2)
        bench.append(3)
        nursery.start_soon(bench.writer.roll)
        await wait_all_tasks_blocked(0.01)
        assert await bench.disk.list() == ["log.1"]
        gate.open()
        with trio.fail_after(5):
            await bench.writer.drained()
        bench.append(4)
        with trio.fail_after(5):
            await bench.writer.drained()
        assert bench.flushed == [1, 2, 3, 4]
        assert await bench.disk.list() == ["log.1", "log.3"]
        # And when nothing is under way.
        await bench.writer.roll()
        bench.append(5)
        with trio.fail_after(5):
            await bench.writer.drained()
        assert await bench.disk.list() == ["log.1", "log.3", "log.5"]
    assert await recovered(tmp_path) == 5


async def test_truncate_comes_behind_what_is_queued_and_the_log_goes_on(tmp_path: Path, gate: Gate) -> None:
    async with writing(tmp_path) as (bench, _):
        gate.shut()
        bench.append(2)
        await gate.until_begun(2)
        bench.append(3, 4)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bench.writer.truncate, 2)
                await wait_all_tasks_blocked(0.01)
                assert bench.log.last_zxid == 1
                gate.open()
            assert bench.writer.last_appended == bench.writer.last_flushed == 2
            bench.append(3)
            await bench.writer.drained()
    assert await recovered(tmp_path) == 3


async def test_a_change_that_is_given_up_holds_nothing_up(tmp_path: Path, gate: Gate) -> None:
    async with writing(tmp_path) as (bench, _):
        gate.shut()
        bench.append(2)
        await gate.until_begun(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.writer.roll)
            await wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        gate.open()
        bench.append(3)
        with trio.fail_after(5):
            await bench.writer.drained()
        assert bench.flushed[-1] == 3
        assert await bench.disk.list() == ["log.1"]


async def test_a_rule_that_breaks_where_the_flush_is_told_ends_the_writer(tmp_path: Path, gate: Gate) -> None:
    def told(zxid: int) -> None:
        raise broken("commits follow acknowledgements", zxid=zxid)

    with pytest.RaisesGroup(InvariantViolation, flatten_subgroups=True):
        async with writing(tmp_path) as (bench, _):
            bench.writer.on_flushed = told
            bench.append(2)
            await gate.until_begun(2)
            await trio.sleep(5)


async def test_a_disk_in_memory_keeps_its_task() -> None:
    disk = MemoryDisk()
    log = TxnLog(disk, Heard().events)
    await log.append([payload for _, payload in creates([1])])
    assert log.prompt is None
