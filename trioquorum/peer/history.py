"""This peer's committed history, for a learner that lacks some of it (quorum-protocol §9)."""

import trio

from trioquorum.storage.database import Database
from trioquorum.zab.sync_plan import DiskRecords, SyncPlan, SyncView, log_size_usable, plan_sync, wants_disk


async def disk_records(db: Database, learner_zxid: int, size_factor: float) -> DiskRecords | None:
    """What the log on disk can add to a DIFF, read ahead of the plan. ``size_factor`` is snapshotSizeFactor."""
    await trio.lowlevel.checkpoint()
    if not wants_disk(learner_zxid, _view(db)):
        return None
    log_bytes, snapshot_bytes = await db.log_sizes(learner_zxid)
    if not log_size_usable(log_bytes, snapshot_bytes, size_factor):
        return None
    return DiskRecords(await db.read_log(learner_zxid))


def plan_history(
    db: Database,
    learner_zxid: int,
    disk: DiskRecords | None,
    epoch_zxid: int = 0,
    *,
    force_snapshot: bool = False,
) -> SyncPlan:
    """How to bring a learner at ``learner_zxid`` up to now.

    ``epoch_zxid`` is where a follower's epoch begins. A learner that was synchronised there by the leader itself has
    all there is before the first transaction, as the follower does, which remembers the last one before.
    """
    if db.last_zxid < learner_zxid == epoch_zxid:
        return SyncPlan(mode="DIFF", zxid=epoch_zxid, current=epoch_zxid)
    return plan_sync(learner_zxid, _view(db, force_snapshot=force_snapshot), disk)


def _view(db: Database, *, force_snapshot: bool = False) -> SyncView:
    return SyncView(last_processed=db.last_zxid, committed=db.committed_log.records(), force_snapshot=force_snapshot)
