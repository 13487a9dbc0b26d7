"""House-keeping while a role serves: snapshots when enough was logged, and the removal of old files."""

import random

import trio

from trioquorum.config import ServerConfig
from trioquorum.errors import DiskFull
from trioquorum.events import Events
from trioquorum.storage.database import Database
from trioquorum.storage.room import DiskRoom, SnapshotFailed

LOOK_S = 1.0
EARLY = 4
"""While the disk is nearly full a snapshot is due after so many times less: behind it old files can go."""

SPARE = 4
"""A nearly full disk has room for a snapshot when so many as large as the last one fit."""


class Keeper:
    """A snapshot is due after snapCount/2 to snapCount logged transactions, whatever roles they were logged in, or when
    as large a part of snapSizeLimitInKb was logged; how large a part is drawn anew each time, so that peers do not
    write theirs at once (disk-format §6).
    """

    def __init__(self, db: Database, config: ServerConfig, rng: random.Random, room: DiskRoom, events: Events) -> None:
        self._db = db
        self._config = config
        self._rng = rng
        self._room = room
        self._events = events
        self._draw()

    def _draw(self) -> None:
        """When the next snapshot is due."""
        log, half = self._db.log, max(self._config.limits.snap_count // 2, 1)
        count = half + self._rng.randrange(half)
        self._due = log.appended + count
        self._due_early = log.appended + max(count // EARLY, 1)
        self._due_bytes = log.appended_bytes + self._config.snapshot_log_bytes * count // (2 * half)

    def _is_due(self) -> bool:
        log = self._db.log
        large = self._config.snapshot_log_bytes > 0 and log.appended_bytes >= self._due_bytes
        return large or log.appended >= (self._due_early if self._room.nearly_full else self._due)

    async def _fits(self) -> bool:
        if not self._room.nearly_full:
            await trio.lowlevel.checkpoint()
            return True
        return SPARE * await self._db.newest_snapshot_bytes() <= self._room.free_bytes

    async def run(self) -> None:
        """Run while a role serves: snapshots must not meet TRUNC or SNAP."""
        while True:
            await trio.sleep(LOOK_S)
            if self._is_due() and await self._fits():
                self._draw()
                await self._keep()

    async def _keep(self) -> None:
        try:
            await self._db.take_snapshot()
        except DiskFull as error:
            self._events.emit(SnapshotFailed(reason=str(error)))
            await trio.lowlevel.checkpoint()
            return
        if self._config.purge_enabled:
            await self._db.purge(self._config.limits.snapshots_kept)
