"""House-keeping while a role serves: snapshots when enough was logged, and the removal of old files."""

import random

import trio

from trioquorum.config import ServerConfig
from trioquorum.storage.database import Database

LOOK_S = 1.0


class Keeper:
    """A snapshot is due after snapCount/2 to snapCount logged transactions, whatever roles they were logged in, or when
    as large a part of snapSizeLimitInKb was logged; how large a part is drawn anew each time, so that peers do not
    write theirs at once (disk-format §6).
    """

    def __init__(self, db: Database, config: ServerConfig, rng: random.Random) -> None:
        self._db = db
        self._config = config
        self._rng = rng
        self._draw()

    def _draw(self) -> None:
        """When the next snapshot is due."""
        log, half = self._db.log, max(self._config.limits.snap_count // 2, 1)
        count = half + self._rng.randrange(half)
        self._due = log.appended + count
        self._due_bytes = log.appended_bytes + self._config.snapshot_log_bytes * count // (2 * half)

    def _is_due(self) -> bool:
        log = self._db.log
        large = self._config.snapshot_log_bytes > 0 and log.appended_bytes >= self._due_bytes
        return log.appended >= self._due or large

    async def run(self) -> None:
        """Run while a role serves: snapshots must not meet TRUNC or SNAP."""
        while True:
            await trio.sleep(LOOK_S)
            if self._is_due():
                self._draw()
                await self._db.take_snapshot()
                if self._config.purge_enabled:
                    await self._db.purge(self._config.limits.snapshots_kept)
