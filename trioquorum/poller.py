"""One epoll for all sockets that carry load, and one task at a time that works it (spec: performance §2, §3).

A turn of Trio's loop costs as much as ten requests. So whoever has such descriptors parks in ``Watch.run``, and one of
those tasks waits for the epoll's own descriptor, calls back for everything that is ready, round after round, and lets
each round end with one flush: what belongs to clients, links and the log leaves together. When that task ends, another
one of them goes on.
"""

import math
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

HOLD_LOOP_S: Final = 0.001
LINGER_S: Final = 0.001
"""How long the loop may stay here for what comes next, if no task is ready to go on and no timer runs out before."""

Ready = Callable[[int], None]
"""Called with the epoll mask of a descriptor that is ready."""

_RUN: trio.lowlevel.RunVar["Poller | None"] = trio.lowlevel.RunVar("trioquorum poller", None)


def _nothing() -> None:
    """A round has nothing to end with."""


class Watch:
    """The descriptors of one task, which parks in ``run`` meanwhile; made by ``watching``.

    Callbacks must not wait. What one of them or ``flush`` raises is raised by ``run`` of the watch it belongs to.
    """

    def __init__(self, poller: "Poller", flush: Callable[[], None]) -> None:
        self.flush = flush
        self.active = False
        self._poller = poller
        self._task: trio.lowlevel.Task | None = None
        self._error: BaseException | None = None

    def add(self, fd: int, mask: int, ready: Ready) -> None:
        """Call ``ready`` whenever ``fd`` is, while ``run`` lasts."""
        self._poller.add(fd, mask, self, ready)

    def modify(self, fd: int, mask: int) -> None:
        """Wait for something else with ``fd``."""
        self._poller.epoll.modify(fd, mask)

    def remove(self, fd: int) -> None:
        """Forget ``fd``, before it is closed."""
        self._poller.remove(fd)

    def again(self, fd: int) -> None:
        """For a callback: call it in the next round as well, there is more to do than one may take."""
        self._poller.again[fd] = None

    def at_end(self, call: Callable[[], None]) -> None:
        """Call ``call`` at the end of the present round, or at once if there is none."""
        if self.active:
            self._poller.ends[call] = self
            if not self._poller.in_round:
                self._poller.end_round()

    def stop(self) -> None:
        """Let ``run`` return; nothing is called back any more."""
        self.active = False
        if not self.wake() and self._poller.driver is self:
            self._poller.driving.cancel(reason="it is to drive no longer")

    def fail(self, error: BaseException) -> None:
        """Let ``run`` raise ``error``; nothing is called back any more."""
        self._error = self._error or error
        self.stop()

    async def run(self) -> None:
        """Have the callbacks called until ``stop``, an error or a cancellation."""
        poller = self._poller
        self.active = True
        try:
            while True:
                if poller.driver is None:
                    await poller.drive(self)
                else:
                    await self._park()
                if not self.active:
                    break
        finally:
            self.active = False
            poller.hand_on()
            error, self._error = self._error, None
            if error is not None:
                # Also when cancelled meanwhile: what is broken must be told.
                raise error

    async def _park(self) -> None:
        def abort(_: object) -> trio.lowlevel.Abort:
            self.active, self._task = False, None
            return trio.lowlevel.Abort.SUCCEEDED

        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> bool:
        """Let the task look around if it is parked; false if it is not."""
        task, self._task = self._task, None
        if task is None:
            return False
        trio.lowlevel.reschedule(task)
        return True


class Poller:
    """What the watches of one run of Trio share."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.watches: dict[Watch, None] = {}
        self.driver: Watch | None = None
        self.driving = trio.CancelScope()
        self.again: dict[int, None] = {}
        self.ends: dict[Callable[[], None], Watch] = {}
        self.in_round = False
        self._by_fd: dict[int, tuple[Watch, Ready]] = {}

    def add(self, fd: int, mask: int, watch: Watch, ready: Ready) -> None:
        """See ``Watch.add``."""
        self.epoll.register(fd, mask)
        self._by_fd[fd] = watch, ready

    def remove(self, fd: int) -> None:
        """See ``Watch.remove``."""
        self.epoll.unregister(fd)
        del self._by_fd[fd]
        self.again.pop(fd, None)

    def leave(self, watch: Watch) -> None:
        """Forget all that ``watch`` still watches."""
        del self.watches[watch]
        for fd in [fd for fd, (owner, _) in self._by_fd.items() if owner is watch]:
            self.remove(fd)

    async def drive(self, watch: Watch) -> None:
        """Work for all watches as long as ``watch`` is active."""
        self.driver = watch
        try:
            with trio.CancelScope() as self.driving:
                while True:
                    if self.again:
                        await trio.lowlevel.checkpoint()
                    else:
                        await trio.lowlevel.wait_readable(self.epoll.fileno())
                    self._work()
                    if not watch.active:
                        break
        finally:
            self.driver = None

    def hand_on(self) -> None:
        """Let another task drive, unless one does: whoever was woken for that may have been stopped meanwhile."""
        if self.driver is None:
            for watch in self.watches:
                if watch.wake():
                    break

    def _work(self) -> None:
        """Rounds of callbacks while there is work, at most about a millisecond, and as long for what may come next."""
        until = trio.current_time() + HOLD_LOOP_S
        wait_s = 0.0
        while True:
            ready = self.epoll.poll(wait_s)
            if self.again:
                again, self.again = self.again, {}
                for fd, _ in ready:
                    again.pop(fd, None)
                ready += [(fd, 0) for fd in again]
            if not ready or not self._round(ready) or trio.current_time() >= until:
                return
            wait_s = 0.0 if self.again or self._is_awaited() else LINGER_S

    def _round(self, ready: list[tuple[int, int]]) -> bool:
        """Call back for what is ready, then flush; false if a task has to see to something first."""
        goes_on = True
        by_fd, ends = self._by_fd, self.ends
        last = None
        self.in_round = True
        for fd, mask in ready:
            entry = by_fd.get(fd)
            if entry is None:
                continue
            watch, call = entry
            if not watch.active:
                goes_on = False
                continue
            if watch is not last:
                last = watch
                ends[watch.flush] = watch
            try:
                call(mask)
            except BaseException as error:  # noqa: BLE001 - raised in the task it belongs to
                watch.fail(error)
        self.end_round()
        driver = self.driver
        # A task that drives may have been cancelled by what it called.
        return goes_on and driver is not None and driver.active and trio.current_effective_deadline() > -math.inf

    def end_round(self) -> None:
        """Flush, and do what comes up meanwhile."""
        self.in_round = True
        ends = self.ends
        while ends:
            call = next(iter(ends))
            watch = ends.pop(call)
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - raised in the task it belongs to
                watch.fail(error)
        self.in_round = False

    def _is_awaited(self) -> bool:
        """Whether Trio has something else to do; if not, to wait in here for more is cheaper than to come back."""
        state = trio.lowlevel.current_statistics()
        return state.tasks_runnable > 0 or state.seconds_to_next_deadline < LINGER_S


@contextmanager
def watching(flush: Callable[[], None] = _nothing) -> Iterator[Watch]:
    """A watch for this task; in the end whatever it still watches is forgotten.

    ``flush`` ends every round in which something of it was ready; watches with the same one share the call.
    """
    poller = _RUN.get()
    if poller is None:
        poller = Poller()
        _RUN.set(poller)
    watch = Watch(poller, flush)
    poller.watches[watch] = None
    try:
        yield watch
    finally:
        poller.leave(watch)
        if not poller.watches:
            poller.epoll.close()
            _RUN.set(None)
