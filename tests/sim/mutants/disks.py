"""Bugs around what is on disk, and when."""

from collections.abc import AsyncIterable, Sequence
from contextvars import ContextVar
from typing import Any, Final

import pytest
import trio

from tests.sim.mutants.mutant import mutant
from trioquorum.errors import DiskFailed
from trioquorum.events import Events
from trioquorum.storage import log_format, snapshots
from trioquorum.storage.compression import Method
from trioquorum.storage.database import Database
from trioquorum.storage.disk import Disk
from trioquorum.storage.epochs import Epochs
from trioquorum.storage.log_reader import LogReader
from trioquorum.storage.log_writer import LogWriter
from trioquorum.storage.names import SNAPSHOT, file_name
from trioquorum.storage.snapshot import snapshot_chunks
from trioquorum.storage.txn_log import TxnLog
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.txn import payload_zxid
from trioquorum.zab.learner import Learner
from trioquorum.zab.learner_effects import SendPacket, SetAcceptedEpoch, SetCurrentEpoch

ACK: Final = "the log first, then ACK"
COMMIT: Final = "a quorum's disks first, then COMMIT"
HISTORY: Final = "history and currentEpoch first, then the ACK of NEWLEADER"
TORN: Final = {"torn_rate": 0.9, "garbage_rate": 0.9, "zeros_rate": 0.9}
PROMISE: Final = "acceptedEpoch first, then ACKEPOCH"


def _told_early(patch: pytest.MonkeyPatch, role: str) -> None:
    real = LogWriter.append

    def append(self: LogWriter, records: Sequence[tuple[int, bytes]]) -> None:
        real(self, records)
        if self.on_flushed.__name__ == role:
            self.on_flushed(records[-1][0])

    patch.setattr(LogWriter, "append", append)


@mutant("design §4", ACK, flush_s=0.005)
def follower_acknowledges_what_it_has_not_flushed(patch: pytest.MonkeyPatch) -> None:
    _told_early(patch, "_flushed")


@mutant("design §4, quorum-protocol §16.4", COMMIT, kinds=("slow_disk",), seeds=6)
def leader_counts_itself_before_its_flush(patch: pytest.MonkeyPatch) -> None:
    _told_early(patch, "_logged")


def _reordered(patch: pytest.MonkeyPatch, step: str, early: type, *, last: bool = False) -> None:
    """One effect of a step of the learner before all others, or behind them."""
    real = getattr(Learner, step)

    def hasty(self: Learner, argument: Any, effects: list[Any]) -> None:
        before = len(effects)
        real(self, argument, effects)
        effects[before:] = sorted(effects[before:], key=lambda effect: isinstance(effect, early) == last)

    patch.setattr(Learner, step, hasty)


@mutant("quorum-protocol §25, own traps", PROMISE, flush_s=0.005)
def accepted_epoch_behind_ackepoch(patch: pytest.MonkeyPatch) -> None:
    _reordered(patch, "_accept_epoch", SetAcceptedEpoch, last=True)


@mutant("trap 22, ZOOKEEPER-4643", "history first, then currentEpoch", kinds=("crash", "stop"), seeds=6, flush_s=0.005)
def current_epoch_before_the_history(patch: pytest.MonkeyPatch) -> None:
    _reordered(patch, "_take_over", SetCurrentEpoch)


@mutant("trap 21, ZOOKEEPER-3911 and -4646", HISTORY, flush_s=0.02)
def newleader_acknowledged_before_the_flush(patch: pytest.MonkeyPatch) -> None:
    _reordered(patch, "_take_over", SendPacket)


@mutant("quorum-protocol §11.3", HISTORY)
def current_epoch_of_a_learner_only_in_memory(patch: pytest.MonkeyPatch) -> None:
    real = Learner._take_over

    def forgetful(self: Learner, packet: Any, effects: list[Any]) -> None:
        before = len(effects)
        real(self, packet, effects)
        effects[before:] = [effect for effect in effects[before:] if not isinstance(effect, SetCurrentEpoch)]

    patch.setattr(Learner, "_take_over", forgetful)


def _only_in_memory(patch: pytest.MonkeyPatch, setter: str, field: str) -> None:
    async def remember(self: Epochs, epoch: int) -> None:
        setattr(self, field, epoch)
        await trio.lowlevel.checkpoint()

    patch.setattr(Epochs, setter, remember)


@mutant("quorum-protocol §7.1.8", "currentEpoch first, then NEWLEADER")
def current_epoch_of_the_leader_only_in_memory(patch: pytest.MonkeyPatch) -> None:
    _only_in_memory(patch, "set_current", "current")


@mutant("quorum-protocol §7.1, rule E", "acceptedEpoch first, then LEADERINFO")
def accepted_epoch_of_the_leader_only_in_memory(patch: pytest.MonkeyPatch) -> None:
    _only_in_memory(patch, "set_accepted", "accepted")


@mutant("design §2.6", ACK, COMMIT, kinds=("failed_flush",), seeds=6)
def failed_flush_of_the_log_ignored(patch: pytest.MonkeyPatch) -> None:
    real = TxnLog.append

    async def append(self: TxnLog, payloads: Sequence[bytes]) -> None:
        try:
            await real(self, payloads)
        except DiskFailed:
            self.last_zxid = payload_zxid(payloads[-1])

    patch.setattr(TxnLog, "append", append)


@mutant("design §2.6", ACK, COMMIT, kinds=("full_disk",), seeds=6)
def full_disk_ignored(patch: pytest.MonkeyPatch) -> None:
    failed_flush_of_the_log_ignored(patch)


@mutant(
    "disk-format §2",
    "digests",
    "same",
    "Corrupt",
    "commits",
    kinds=("flipped_bit",),
    seeds=8,
    limits={"committed_log_txns_max": 500, "snap_count": 1000},
)
def checksums_of_the_log_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(log_format, "adler32", lambda _: 1)


@mutant("disk-format §5", "a vote says what the disk holds", kinds=("crash", "stop", "crash_all"), seeds=6)
def log_not_replayed_at_start(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: TxnLog, zxid: int) -> LogReader:
        await trio.lowlevel.checkpoint()
        return LogReader(self.disk, [], {}, zxid, with_predecessor=False)

    patch.setattr(TxnLog, "read_after", nothing)


_TAKING_OVER: ContextVar[bool] = ContextVar("taking_over", default=False)

SNAPSHOTS: Final = {"committed_log_txns_max": 2, "snap_count": 1000}
"""Limits under which whoever was away is sent a snapshot."""
FAR_BEHIND: Final[Any] = {"kinds": ("crash", "stop"), "limits": SNAPSHOTS, "settings": {"snapshot_size_factor": -1.0}}


@mutant("trap 13, ZOOKEEPER-2872", HISTORY, "history first", seeds=6, **FAR_BEHIND)
def snapshot_of_the_leader_not_written(patch: pytest.MonkeyPatch) -> None:
    replace, write = Database.replace, snapshots.write_snapshot

    async def taking_over(self: Database, chunks: AsyncIterable[bytes], zxid: int) -> None:
        token = _TAKING_OVER.set(True)
        try:
            await replace(self, chunks, zxid)
        finally:
            _TAKING_OVER.reset(token)

    async def unless(
        disk: Disk, tree: DataTree, events: Events, chunk_bytes: int, compression: Method, *, exact: bool
    ) -> int:
        if _TAKING_OVER.get():
            await trio.lowlevel.checkpoint()
            return tree.last_zxid
        return await write(disk, tree, events, chunk_bytes, compression, exact=exact)

    patch.setattr(Database, "replace", taking_over)
    patch.setattr(snapshots, "write_snapshot", unless)


@mutant(
    "disk-format §4",
    "digests",
    "CorruptLog",
    "same",
    "equal",
    kinds=("crash", "crash_all"),
    seeds=8,
    limits={"snap_count": 20, "snapshot_chunk_bytes": 256},
    flush_s=0.005,
)
def fuzzy_snapshot_named_by_its_end(patch: pytest.MonkeyPatch) -> None:
    async def write(
        disk: Disk, tree: DataTree, events: Events, chunk_bytes: int, compression: Method, *, exact: bool
    ) -> int:
        assert not compression
        chunks = []
        for chunk in snapshot_chunks(tree, tree.last_zxid, chunk_bytes, exact=exact):
            chunks.append(chunk)
            await trio.sleep(0.05)
        zxid = tree.last_zxid
        async with disk.stream_atomic(file_name(SNAPSHOT, zxid)) as file:
            for chunk in chunks:
                await file.write(chunk)
        return zxid

    patch.setattr(snapshots, "write_snapshot", write)


@mutant(
    "quorum-protocol §21", "epochs never decrease", PROMISE, HISTORY, "first, then", kinds=("failed_flush",), seeds=6
)
def failed_write_of_an_epoch_ignored(patch: pytest.MonkeyPatch) -> None:
    for setter, field in (("set_accepted", "accepted"), ("set_current", "current")):
        real = getattr(Epochs, setter)

        async def careless(self: Epochs, epoch: int, real: Any = real, field: str = field) -> None:
            try:
                await real(self, epoch)
            except DiskFailed:
                setattr(self, field, epoch)

        patch.setattr(Epochs, setter, careless)
