"""How much room the disks have left, looked at now and then: before they are full no writes are taken any more."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

import trio

from trioquorum.errors import StorageError
from trioquorum.events import Event, Events
from trioquorum.storage.files import Disk

LOOK_S: Final = 1.0
RELIEF: Final = 4
"""One part of so many: by that much more than the reserve must be free for it to be over, or it would come and go; and
so much of it a peer needs whose disk was full."""

WAIT_S_MAX: Final = 60.0
MUCH_BYTES: Final = 1 << 20
"""Where nothing was free, this is much more."""


class DiskNearlyFull(Event, frozen=True, tag="disk_nearly_full"):
    """Less than ``reserve_bytes`` (``disk_reserve_bytes``) is free: while this peer leads, writes are refused."""

    level: ClassVar[str] = "warning"
    free_bytes: int
    reserve_bytes: int


class DiskHasRoom(Event, frozen=True, tag="disk_has_room"):
    """There is room again, after ``disk_nearly_full`` or ``disk_full``."""

    free_bytes: int


class DiskIsFull(Event, frozen=True, tag="disk_full"):
    """Something did not fit: the peer stopped in order, and starts again when ``needed_bytes`` are free."""

    level: ClassVar[str] = "error"
    reason: str
    free_bytes: int
    needed_bytes: int


class SnapshotFailed(Event, frozen=True, tag="snapshot_failed"):
    """There was no room for a snapshot, and nothing of it is left; another one is tried later."""

    level: ClassVar[str] = "warning"
    reason: str


class VotersLackRoom(Event, frozen=True, tag="voters_lack_room"):
    """Leader: so many ``peers`` have a disk that is nearly full that writes are refused, or not any more."""

    level: ClassVar[str] = "warning"
    peers: tuple[int, ...]
    refuses_writes: bool


def _nobody(nearly_full: bool) -> None:
    del nearly_full


class DiskRoom:
    """The room on ``disks``, the least of them; ``nearly_full`` while it is below the reserve (0: never).

    ``on_change`` is told when that changes; the present role sets it.
    """

    def __init__(self, disks: Sequence[Disk], reserve_bytes: int, events: Events) -> None:
        self.on_change: Callable[[bool], None] = _nobody
        self.nearly_full = False
        self.free_bytes = -1
        self._disks = list(dict.fromkeys(disks))
        self._reserve_bytes = reserve_bytes
        self._events = events
        self._pause_s = LOOK_S

    def ignore(self) -> None:
        """Nobody is told any more."""
        self.on_change = _nobody

    async def watch(self) -> None:
        """Look every second, until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """See how much is free now."""
        await trio.lowlevel.checkpoint()
        try:
            self.free_bytes = min([await disk.free_bytes() for disk in self._disks])
        except StorageError:
            return  # Whoever writes there will hear of it; until then it is as it was.
        reserve = self._reserve_bytes
        enough = reserve + reserve // RELIEF if self.nearly_full else reserve
        if (self.free_bytes < enough) != self.nearly_full:
            self.nearly_full = not self.nearly_full
            if self.nearly_full:
                self._events.emit(DiskNearlyFull(free_bytes=self.free_bytes, reserve_bytes=reserve))
            else:
                self._events.emit(DiskHasRoom(free_bytes=self.free_bytes))
            self.on_change(self.nearly_full)

    async def wait_for_more(self, reason: str) -> None:
        """Something did not fit, for this ``reason``: wait until it may be tried again.

        What will be needed is not known, so who comes back again and again waits longer each time, but no longer than
        until there is much more room than there was.
        """
        needed = max(self._reserve_bytes // RELIEF, 1)
        await self.look()
        self._events.emit(DiskIsFull(reason=reason, free_bytes=self.free_bytes, needed_bytes=needed))
        much = max(2 * self.free_bytes, MUCH_BYTES)
        try_again_at = trio.current_time() + self._pause_s
        self._pause_s = min(2 * self._pause_s, WAIT_S_MAX)
        while True:
            await trio.sleep(LOOK_S)
            await self.look()
            if self.free_bytes >= needed and (self.free_bytes >= much or trio.current_time() >= try_again_at):
                break
        if not self.nearly_full:
            self._events.emit(DiskHasRoom(free_bytes=self.free_bytes))

    def came_back(self) -> None:
        """The peer serves: what it waited for was enough."""
        self._pause_s = LOOK_S
