"""House-keeping while a role serves: snapshots when enough was logged, and the removal of old files."""

import random

import trio

from trioquorum.config import ServerConfig
from trioquorum.storage.database import Database

LOOK_S = 1.0


class Keeper:
    """A snapshot is due after snapCount/2 to snapCount logged transactions, whatever roles they were logged in; the
    number is drawn anew each time, so that peers do not write theirs at once (disk-format §6).
    """

    def __init__(self, db: Database, config: ServerConfig, rng: random.Random) -> None:
        self._db = db
        self._config = config
        self._rng = rng
        self._due = self._next()

    def _next(self) -> int:
        half = max(self._config.limits.snap_count // 2, 1)
        return self._db.log.appended + half + self._rng.randrange(half)

    async def run(self) -> None:
        """Run while a role serves: snapshots must not meet TRUNC or SNAP."""
        while True:
            await trio.sleep(LOOK_S)
            if self._db.log.appended >= self._due:
                self._due = self._next()
                await self._db.take_snapshot()
                if self._config.purge_enabled:
                    await self._db.purge(self._config.limits.snapshots_kept)
