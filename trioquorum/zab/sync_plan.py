"""How a leader brings one learner up to date: DIFF, TRUNC or SNAP (quorum-protocol §9).

The plan is one synchronous step. A driver that needs the log on disk reads it first (``wants_disk``), without a hurry;
then, without waiting in between, it takes a fresh view, plans, queues the plan and registers the learner for
forwarding. What was committed since the disk was read is in the committed log of that view, or there is a gap and the
plan is SNAP.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

Record = tuple[int, bytes]
"""zxid and payload of a transaction."""

COUNTER_MASK: Final = 0xFFFFFFFF


class SyncView(msgspec.Struct, frozen=True, kw_only=True):
    """The leader's committed history at one moment. ``committed`` is the in-memory committed log, oldest first."""

    last_processed: int
    committed: Sequence[Record]
    force_snapshot: bool = False

    @property
    def bounds(self) -> tuple[int, int]:
        """First and last zxid of the committed log; the last processed one twice if it is empty."""
        if not self.committed:
            return self.last_processed, self.last_processed
        return self.committed[0][0], self.committed[-1][0]


class DiskRecords(msgspec.Struct, frozen=True):
    """Log records from disk, oldest first, from the start of the file that may hold the learner's last zxid."""

    records: Sequence[Record]


class SyncPlan(msgspec.Struct, kw_only=True):
    """``mode`` with ``zxid`` leaves first, then each of ``proposals`` as PROPOSAL and COMMIT.

    ``current`` is what the learner then has: forwarding starts behind it. For SNAP ``zxid`` and ``current`` are the
    last processed zxid of the view, and there are no proposals.
    """

    mode: Literal["DIFF", "TRUNC", "SNAP"]
    zxid: int
    current: int
    proposals: list[Record] = msgspec.field(default_factory=list)


def log_size_usable(log_bytes: int, snapshot_bytes: int, size_factor: float) -> bool:
    """Whether reading the log beats sending a snapshot.

    ``log_bytes`` is the size of the file that may hold the learner's last zxid and of all later ones,
    ``snapshot_bytes`` that of the newest snapshot, ``size_factor`` is snapshotSizeFactor: negative switches the log
    off, and a limit that comes out as 0 is none.
    """
    if size_factor < 0:
        return False
    limit = int(snapshot_bytes * size_factor)
    return limit == 0 or log_bytes <= limit


def wants_disk(peer_zxid: int, view: SyncView) -> bool:
    """Whether the log on disk could spare a learner at ``peer_zxid`` the snapshot."""
    # −1 is a learner whose data is not to be trusted: it stands nowhere in any log.
    return not view.force_snapshot and peer_zxid not in (-1, view.last_processed) and peer_zxid < view.bounds[0]


def plan_sync(peer_zxid: int, view: SyncView, disk: DiskRecords | None = None) -> SyncPlan:
    """The plan for a learner whose last logged zxid is ``peer_zxid``; the rows of §9 in their order.

    ``disk`` is what was read for ``wants_disk``, ``None`` if there is nothing or its size forbids it.
    """
    snapshot = SyncPlan(mode="SNAP", zxid=view.last_processed, current=view.last_processed)
    first, last = view.bounds
    if view.force_snapshot:
        return snapshot
    if peer_zxid == view.last_processed:
        return SyncPlan(mode="DIFF", zxid=peer_zxid, current=peer_zxid)
    if peer_zxid > last and not _starts_epoch(peer_zxid):
        return SyncPlan(mode="TRUNC", zxid=last, current=last)
    queue = _Queue(peer_zxid, target=last)
    if first <= peer_zxid <= last:
        queue.add(view.committed)
    elif peer_zxid < first and disk is not None and disk.records and disk.records[0][0] <= peer_zxid:
        queue.add(disk.records, first)
        if queue.reached < first:
            # Between the disk and the committed log transactions are missing; a learner must not get that hole.
            return snapshot
        queue.add(view.committed)
    return queue.plan or snapshot


def _starts_epoch(zxid: int) -> bool:
    """Whether ``zxid`` is what a peer has that saw an epoch begin and no transaction: it is in no log."""
    return zxid & COUNTER_MASK == 0


class _Queue:
    """queueCommitted of §9: finds the learner's place in the history, then takes everything behind it."""

    def __init__(self, peer_zxid: int, *, target: int) -> None:
        self.plan: SyncPlan | None = None
        self.reached = peer_zxid
        self._peer_zxid = peer_zxid
        self._target = target

    def add(self, records: Iterable[Record], zxid_max: int | None = None) -> None:
        """Queue ``records`` up to ``zxid_max``; ``plan`` stays ``None`` if the place cannot be found in them."""
        peer_zxid = self._peer_zxid
        before = -1
        for zxid, payload in records:
            if zxid_max is not None and zxid > zxid_max:
                break
            if zxid < peer_zxid:
                before = zxid
                continue
            plan = self.plan = self.plan or self._placed(zxid, before)
            if plan is None:
                return
            if zxid > self.reached:
                plan.proposals.append((zxid, payload))
                plan.current = self.reached = zxid

    def _placed(self, zxid: int, before: int) -> SyncPlan | None:
        """The plan's start at ``zxid``, the first record that is not below the learner's last; None if none fits."""
        if zxid == self._peer_zxid or _starts_epoch(self._peer_zxid):
            return self._begun("DIFF", self._target)
        if zxid >> 32 == self._peer_zxid >> 32 and before != -1:
            return self._begun("TRUNC", before)
        # What the learner has instead may be of an epoch that this history never saw.
        return None

    def _begun(self, mode: Literal["DIFF", "TRUNC"], zxid: int) -> SyncPlan:
        return SyncPlan(mode=mode, zxid=zxid, current=self.reached)
