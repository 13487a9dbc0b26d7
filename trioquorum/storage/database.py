"""The database of a peer: the tree, the files it is made of, and what is logged but not yet applied. Outlives roles."""

from collections.abc import AsyncIterable, Sequence
from typing import Final, Self

import trio

from trioquorum.errors import CorruptLog, CorruptSnapshot, PeerProtocolError, RoleEnded, StorageError
from trioquorum.events import DatabaseLoaded, DataUntrusted, Events, LogUnusable
from trioquorum.invariants import invariant
from trioquorum.limits import Limits
from trioquorum.storage import resync, retention, snapshots
from trioquorum.storage.applying import Applier, Record
from trioquorum.storage.compression import Method
from trioquorum.storage.disk import Disk
from trioquorum.storage.log_reader import COUNTER_MASK
from trioquorum.storage.log_writer import LogWriter
from trioquorum.storage.names import LOG, SNAPSHOT, sorted_by_zxid
from trioquorum.storage.snapshot import SnapshotParser
from trioquorum.storage.trust import MARKER, Trust
from trioquorum.storage.txn_log import TxnLog
from trioquorum.tree.nodes import DataTree, NewTree
from trioquorum.wire.txn import decode_txn

REPLAY_TXNS_PER_CHECKPOINT: Final = 128
RECEIVE_BYTES: Final = 32 << 10

_START_AFRESH: Final = "start this peer with --resync, which takes everything from the others"


class Database(Applier):
    """``log`` is the only writer of the log.

    The driver appends, and applies in the same order what was committed; ``fast_forward`` closes the difference when
    a role has ended. ``truncate``, ``replace`` and ``take_snapshot`` exclude each other.
    """

    def __init__(
        self,
        disk: Disk,
        txn_log: TxnLog,
        log: LogWriter,
        limits: Limits,
        events: Events,
        new_tree: NewTree,
        compression: Method = "",
    ) -> None:
        super().__init__(new_tree(), limits.committed_log_txns_max, events)
        self.log = log
        self._disk = disk
        self._new_tree = new_tree
        self._txn_log = txn_log
        self._events = events
        self._chunk_bytes = limits.snapshot_chunk_bytes
        self._compression = compression
        self._needs_snapshot = False
        self._trusted = True
        self._resyncing = False
        self._files = trio.Lock()

    @classmethod
    async def load(
        cls,
        disk: Disk,
        log_disk: Disk,
        limits: Limits,
        events: Events,
        *,
        slow_flush_ms: int,
        trust: Trust = Trust(),  # noqa: B008  (frozen)
        new_tree: NewTree = DataTree,
        compression: Method = "",
    ) -> Self:
        """Read snapshot and log (disk-format §5) of the directories of snapshots and of logs, which may be one.

        An empty directory that may be trusted is an empty database, and gets a snapshot that says so; one that may
        not, or whose data was set aside (``resync``), leaves ``vote_zxid`` at −1. ``slow_flush_ms``: see LogWriter.
        ``new_tree`` makes the empty trees that snapshots are read into; new ones are written by ``compression``.

        Raises:
            StorageError: the data is damaged or incomplete. Nothing was changed but a torn tail cut off.
        """
        if disk is not log_disk:
            _refuse(await disk.list(), LOG, "data_dir")
            _refuse(await log_disk.list(), SNAPSHOT, "data_log_dir")
        await snapshots.remove_unfinished(disk)
        txn_log = TxnLog(log_disk, events)
        await txn_log.recover()
        marked = MARKER in await log_disk.list()
        resyncing = resync.MARKER in await disk.list()
        log = LogWriter(txn_log, limits, events, slow_flush_ms)
        db = cls(disk, txn_log, log, limits, events, new_tree, compression)
        loaded = await snapshots.load_newest(disk, events, new_tree)
        if loaded is not None:
            await db._replay(loaded)
        elif txn_log.last_zxid and trust.no_snapshot:
            await db._replay(snapshots.Loaded(tree=new_tree(), zxid=0, digest=None, skipped=set()))
            await db._write_snapshot(db.tree)
        elif txn_log.last_zxid:
            raise StorageError(
                "there is a log but no snapshot, so the beginning of the data is lost; restore the snapshots, or "
                f"{_START_AFRESH}"
            )
        elif (marked or trust.empty) and not resyncing:
            await db._write_snapshot(db.tree)
        else:
            db._trusted, db._needs_snapshot, db._resyncing = False, True, resyncing
            events.emit(DataUntrusted())
        if marked:
            await log_disk.remove(MARKER)
        if resyncing and loaded is not None:
            await disk.remove(resync.MARKER)
        return db

    async def _replay(self, loaded: snapshots.Loaded) -> None:
        """Make ``loaded`` and the log behind it the database.

        Raises:
            CorruptLog: the log is damaged, or does not lead on from this snapshot.
        """
        began = trio.current_time()
        tree = loaded.tree
        tree.watches = self.tree.watches
        self.tree = tree
        if loaded.zxid & COUNTER_MASK:  # Else an epoch had begun and nobody knows behind what.
            self._txn_log.base = loaded.zxid
        self.committed_log.clear()
        self._unapplied.clear()
        self.digests.begin(tree, loaded.digest)
        missed = set(loaded.skipped)
        count = 0
        async for batch in await self._txn_log.read_after(loaded.zxid):
            for record in batch:
                zxid, payload = record
                try:
                    self._take(decode_txn(payload), record)
                except PeerProtocolError as error:
                    raise CorruptLog(f"transaction 0x{zxid:x} of the log makes no sense: {error}") from None
                missed.discard(zxid)
                count += 1
                if count % REPLAY_TXNS_PER_CHECKPOINT == 0:
                    await trio.lowlevel.checkpoint()
        if missed:
            # A peer that took over a snapshot never had the transactions that led there.
            raise CorruptLog(
                f"the snapshot of 0x{max(missed):x} cannot be used, and the log does not lead there from that of "
                f"0x{loaded.zxid:x}: transactions are lost; restore the snapshot, or {_START_AFRESH}"
            )
        self._events.emit(
            DatabaseLoaded(
                snapshot_zxid=loaded.zxid,
                last_zxid=tree.last_zxid,
                log_txns=count,
                nodes=len(tree.nodes),
                duration_ms=int((trio.current_time() - began) * 1000),
            )
        )

    @property
    def last_zxid(self) -> int:
        """The last applied transaction, or (epoch, 0) of a term that had none yet."""
        return self.tree.last_zxid

    @property
    def vote_zxid(self) -> int:
        """What to vote with: ``last_zxid``, or −1 while the database is empty because perhaps its files were lost."""
        return self.last_zxid if self._trusted else -1

    @property
    def joinable_zxid(self) -> int:
        """What to tell a leader: ``last_zxid``, or −1 when only a snapshot helps."""
        return -1 if self._needs_snapshot else self.last_zxid

    @property
    def last_logged(self) -> int:
        """The last transaction that is in a snapshot or was appended to the log, applied or not."""
        return max(self.log.last_appended, self.tree.last_zxid)

    # While a role lasts

    def append(self, records: Sequence[Record]) -> None:
        """Hand transactions to the log; they count in the next vote whether they are committed or not."""
        self.log.append(records)
        self._unapplied.extend(records)

    def settled(self) -> None:
        """The leader's history has come as a whole: what is logged now makes a snapshot of it exact."""
        self.digests.settled(self.last_logged)

    def begin_epoch(self, zxid: int) -> None:
        """The peer leads from ``zxid`` = (epoch, 0) on."""
        invariant(zxid > self.tree.last_zxid, "epochs grow", new=zxid, last=self.tree.last_zxid)
        invariant(not self._unapplied, "a leader has applied all of its log", unapplied=len(self._unapplied))
        self.tree.last_zxid = zxid

    def fast_forward(self) -> None:
        """Apply what is logged but was not committed when the role ended: the vote counts it (ZOOKEEPER-2845).

        The log must be drained.
        """
        while self._unapplied:
            record = self._unapplied.popleft()
            self._take(decode_txn(record[1]), record)

    # Synchronisation

    async def truncate(self, zxid: int) -> None:
        """Forget every transaction behind ``zxid``, on disk first (TRUNC).

        Raises:
            RoleEnded: the history here has a hole at ``zxid``, or begins behind it. Nothing was changed, since less
                history under the same currentEpoch could win an election it must lose; ``joinable_zxid`` now asks the
                next leader for a snapshot.
            StorageError: it could not be done: the peer stops.
        """
        async with self._files:
            loaded = await snapshots.load_newest(self._disk, self._events, self._new_tree, zxid)
            if loaded is None or not await self._reaches(loaded.zxid, zxid):
                self._needs_snapshot = True
                raise RoleEnded(f"the history here cannot be cut back to 0x{zxid:x}, which was never logged")
            # The log goes first. A crash behind it leaves a state between both, which was never acknowledged anew.
            await self.log.truncate(zxid)
            await snapshots.remove_after(self._disk, zxid)
            await self._replay(loaded)
        self.tree.last_zxid = max(self.tree.last_zxid, zxid)

    async def _reaches(self, snapshot_zxid: int, zxid: int) -> bool:
        """Whether the log leads from the snapshot to ``zxid``; the start of an epoch is in no log."""
        if snapshot_zxid == zxid or zxid & COUNTER_MASK == 0:
            await trio.lowlevel.checkpoint()
            return True
        records = await self.read_log(zxid)
        return bool(records) and records[0][0] == zxid

    async def replace(self, chunks: AsyncIterable[bytes], zxid: int) -> None:
        """Take over a leader's snapshot as of ``zxid`` (SNAP), durably; until then the old database stands.

        Raises:
            PeerProtocolError: what came is no whole snapshot; nothing was changed.
            StorageError: it could not be written: the peer stops.
        """
        tree = self._new_tree()
        parser = SnapshotParser(tree, body=True)
        try:
            async for chunk in chunks:
                for at in range(0, len(chunk), RECEIVE_BYTES):
                    parser.feed(chunk[at : at + RECEIVE_BYTES])
                    await trio.lowlevel.checkpoint()
            parser.finish()
        except CorruptSnapshot as error:
            raise PeerProtocolError(f"the leader's snapshot is damaged: {error}") from None
        tree.last_zxid = zxid
        async with self._files:
            await self.log.drained()
            # What this peer has beyond the leader's history must not be replayed on top of the leader's snapshot.
            # Older files stay: they hold what this peer acknowledged, should this leader never be established.
            if self.log.last_flushed > zxid:
                await self.log.truncate(zxid)
            await snapshots.remove_after(self._disk, zxid)
            await self._write_snapshot(tree, exact=False)
            if self._resyncing:
                await self._disk.remove(resync.MARKER)
                self._resyncing = False
            await self.log.roll()
            self._txn_log.base = zxid
            tree.watches = self.tree.watches
            self.tree = tree
            self.digests.taken_over()
            self.committed_log.clear()
            self._unapplied.clear()
            self._needs_snapshot = False
            self._trusted = True

    async def log_sizes(self, zxid: int) -> tuple[int, int]:
        """Bytes of log from the file that may hold ``zxid`` on, and of the newest snapshot."""
        return await self._txn_log.size_from(zxid), await snapshots.size_of_newest(self._disk)

    async def newest_snapshot_bytes(self) -> int:
        """Size of the newest snapshot, 0 without one."""
        return await snapshots.size_of_newest(self._disk)

    async def read_log(self, zxid: int) -> list[Record]:
        """The newest durable record at or before ``zxid``, if there is one, and all behind it.

        Empty if the log on disk has a hole there, is damaged, or was removed meanwhile: then only a snapshot helps.
        """
        records: list[Record] = []
        try:
            async for batch in await self._txn_log.read_from(zxid):
                records += batch
        except StorageError as error:
            self._events.emit(LogUnusable(zxid=zxid, reason=str(error)))
            records.clear()
        await trio.lowlevel.checkpoint()
        return records

    # Keeping

    async def take_snapshot(self) -> None:
        """Roll the log and write a snapshot while transactions go on."""
        async with self._files:
            await self.log.roll()
            await self._write_snapshot(self.tree, exact=self.digests.exact)

    async def _write_snapshot(self, tree: DataTree, *, exact: bool = True) -> None:
        disk, events = self._disk, self._events
        await snapshots.write_snapshot(disk, tree, events, self._chunk_bytes, self._compression, exact=exact)

    async def purge(self, keep: int) -> None:
        """Remove what recovery from the newest ``keep`` snapshots does not need."""
        async with self._files:
            await retention.purge(self._disk, self._txn_log.disk, keep, self._events)


def _refuse(names: Sequence[str], prefix: str, directory: str) -> None:
    found = sorted_by_zxid(names, prefix)
    if found:
        raise StorageError(f"{found[0][1]} lies in {directory}; were data_dir and data_log_dir swapped or changed?")
