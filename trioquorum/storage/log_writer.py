"""Group commit: the only writer of the log (quorum-protocol §17, sync stage).

Whoever logs queues and goes on; one task takes all that is queued, appends it with one flush, and tells the role.
While a flush is in flight the next batch gathers, so batches are as large as the disk is slow. Where a file can be
appended to without a wait, the task only owns that: a batch begins when the round ends in which it was queued, and the
poller tells when it is durable.
"""

import select
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from trioquorum.errors import DiskFailed
from trioquorum.events import Events, SlowFlush
from trioquorum.limits import Limits
from trioquorum.metrics import Summary
from trioquorum.poller import Watch, watching
from trioquorum.storage.files import PromptFile
from trioquorum.storage.log_queue import LogQueue
from trioquorum.storage.txn_log import TxnLog

CLOSE_LIMIT_S: Final = 10


def _nobody(zxid: int) -> None:
    del zxid


class LogWriter(LogQueue):
    """Queue in front of a ``TxnLog``, bounded by ``log_queue_bytes_max``. Outlives roles.

    ``on_flushed`` is called with the zxid up to which all is durable; the present role sets it. ``last_flushed`` is
    the zxid of the last durable transaction. ``flushes`` are the milliseconds that batches took to become durable,
    ``batches`` the numbers of transactions in them.
    """

    def __init__(self, log: TxnLog, limits: Limits, events: Events, slow_flush_ms: int) -> None:
        """A flush that takes longer than ``slow_flush_ms`` is reported; 0 reports none."""
        super().__init__(log.last_zxid, limits.log_queue_bytes_max, limits.log_batch_bytes_max)
        self.on_flushed: Callable[[int], None] = _nobody
        self.last_flushed = log.last_zxid
        self.begin_counting()
        self._log = log
        self._events = events
        self._slow_flush_ms = slow_flush_ms
        self._ended = False
        self._failure: DiskFailed | None = None
        self._idle = trio.lowlevel.ParkingLot()
        self._changed = trio.lowlevel.ParkingLot()
        self._file_lock = trio.Lock()
        self._wanted = 0  # who waits for the lock, or has it, to change the log
        self._batch = (0, 0, 0.0)
        self._watch: Watch | None = None  # while batches need no task of their own
        self._file: PromptFile | None = None
        self._under_way = False

    def begin_counting(self) -> None:
        """Count flushes and batches anew."""
        self.flushes = Summary()
        self.batches = Summary()

    def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Queue transactions, (zxid, payload) each; never waits. See ``wait_room``."""
        super().append(records)
        if self._watch is not None:
            self._watch.at_end(self._begin)
        elif self._idle:
            self._idle.unpark()

    async def wait_room(self) -> None:
        """Wait while more than ``log_queue_bytes_max`` is queued; who logs without a bound of its own calls this.

        Raises:
            DiskFailed: the log failed.
        """
        await self._until(lambda: self.has_room)

    async def drained(self) -> None:
        """Wait until everything that is queued now is durable, or ``run`` was cancelled and nothing more will be.

        Raises:
            DiskFailed: the log failed.
        """
        target = self.last_appended
        await self._until(lambda: self.last_flushed >= target)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached() and not self._ended:
            await self._changed.park()
        if self._failure is not None:
            raise type(self._failure)(f"the log takes no more: {self._failure}")
        await trio.lowlevel.checkpoint()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Append what is queued, batch by batch, until cancelled.

        Raises:
            DiskFailed: a write or flush failed. Nothing is written any more: the peer stops.
        """
        task_status.started()
        try:
            while True:
                if not len(self):
                    await self._idle.park()
                # To take a lock that nobody holds the usual way costs a turn of the loop.
                if self._file_lock.locked():
                    await self._file_lock.acquire()
                else:
                    await trio.lowlevel.checkpoint_if_cancelled()
                    self._file_lock.acquire_nowait()
                try:
                    await self._append_batch()
                    self._tell()
                    file = self._log.prompt
                    if file is not None and not self._wanted:
                        await self._append_promptly(file)
                finally:
                    self._file_lock.release()
        except DiskFailed as failure:
            self._failure = failure
            raise
        finally:
            self._ended = True
            self._changed.unpark_all()
            with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
                await self._log.aclose()

    async def _append_batch(self) -> None:
        batch = self._next_batch()
        await self._log.append(batch)
        self._appended()

    async def _append_promptly(self, file: PromptFile) -> None:
        """Go on without a turn of the loop for each batch, until somebody else is to change the log."""
        try:
            with watching() as watch:
                watch.add(file.done, select.EPOLLIN, lambda _: self._finish(file))
                self._watch, self._file = watch, file
                self._begin()
                await watch.run()
        finally:
            self._watch = self._file = None
            if self._under_way:
                # Whoever is cancelled meanwhile still learns whether the data is durable.
                with trio.CancelScope(shield=True):
                    await trio.lowlevel.wait_readable(file.done)
                self._finish(file)

    def _begin(self) -> None:
        """Begin a batch, if there is one and the log is nobody else's."""
        if len(self) and self._file is not None and not (self._under_way or self._wanted):
            self._log.begin(self._file, self._next_batch())
            self._under_way = True

    def _finish(self, file: PromptFile) -> None:
        """The batch under way is durable, or never will be."""
        self._under_way = False
        self._log.finish(file)
        self._appended()
        self._tell()
        self._begin()
        if self._wanted and self._watch is not None:
            self._watch.stop()

    def _next_batch(self) -> list[bytes]:
        batch = self.next_batch()
        self._batch = len(batch), sum(map(len, batch)), trio.current_time()
        return batch

    def _appended(self) -> None:
        """The batch that was taken is durable."""
        count, size, began = self._batch
        self.written(size)
        self.last_flushed = self._log.last_zxid
        duration_ms = (trio.current_time() - began) * 1000
        self.flushes.add(duration_ms)
        self.batches.add(count)
        if duration_ms > self._slow_flush_ms > 0:
            self._events.emit(SlowFlush(duration_ms=int(duration_ms), size_bytes=size))

    def _tell(self) -> None:
        if self._changed:
            self._changed.unpark_all()
        self.on_flushed(self.last_flushed)

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[None]:
        """In this block nothing is appended."""
        self._wanted += 1
        if self._watch is not None and not self._under_way:
            self._watch.stop()
        try:
            async with self._file_lock:
                yield
        finally:
            self._wanted -= 1

    async def roll(self) -> None:
        """Begin a new file with the next append, as every snapshot asks for."""
        async with self._changing():
            await self._log.roll()

    async def truncate(self, zxid: int) -> None:
        """Remove everything behind ``zxid`` from the log, durably; what is queued is written before.

        Raises:
            CorruptLog, DiskFailed: it could not be done; the peer stops.
        """
        await self.drained()
        async with self._changing():
            await self._log.truncate(zxid)
        self.last_appended = self.last_flushed = self._log.last_zxid
