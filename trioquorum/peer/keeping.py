"""House-keeping while a role serves: snapshots when enough was logged, and the removal of old files."""

import random

import trio

from trioquorum.config import ServerConfig
from trioquorum.storage.database import Database

LOOK_S = 1.0


async def keep(db: Database, config: ServerConfig, rng: random.Random) -> None:
    """Run until the role ends. A snapshot is due after snapCount/2 to snapCount logged transactions, drawn anew each
    time so that peers do not write theirs at once (disk-format §6).
    """
    snap_count = config.limits.snap_count
    due = db.log.appended + _patience(snap_count, rng)
    while True:
        await trio.sleep(LOOK_S)
        if db.log.appended >= due:
            due = db.log.appended + _patience(snap_count, rng)
            await db.take_snapshot()
            if config.purge_enabled:
                await db.purge(config.limits.snapshots_kept)


def _patience(snap_count: int, rng: random.Random) -> int:
    half = max(snap_count // 2, 1)
    return half + rng.randrange(half)
