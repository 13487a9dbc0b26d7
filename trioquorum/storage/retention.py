"""Removal of snapshots and logs that recovery no longer needs (disk-format §6)."""

from trioquorum.events import Events, FilesPurged
from trioquorum.storage.disk import Disk
from trioquorum.storage.names import LOG, SNAPSHOT, sorted_by_zxid
from trioquorum.storage.snapshots import looks_whole


async def purge(snapshots: Disk, logs: Disk, keep: int, events: Events) -> None:
    """Keep the newest ``keep`` whole snapshots and every log that leads on from the oldest of them.

    Raises:
        DiskFailed: a file could not be removed.
    """
    found = sorted_by_zxid(await snapshots.list(), SNAPSHOT)
    whole = 0
    oldest = -1
    for zxid, name in reversed(found):
        if whole < keep and await looks_whole(snapshots, name):
            whole += 1
            oldest = zxid
    if not whole:
        return
    begun = sorted_by_zxid(await logs.list(), LOG)
    # The newest log that begins at or before the oldest kept snapshot may hold records behind it.
    first_kept = max((zxid for zxid, _ in begun if zxid <= oldest), default=0)
    # Oldest first: whatever a crash leaves is a history without a hole.
    old_logs = [name for zxid, name in begun if zxid < first_kept]
    old_snapshots = [name for zxid, name in found if zxid < oldest]
    for name in old_snapshots:
        await snapshots.remove(name)
    for name in old_logs:
        await logs.remove(name)
    if old_logs or old_snapshots:
        events.emit(FilesPurged(files=(*old_snapshots, *old_logs)))
