"""Small directories that hold every kind of transaction, to be damaged a byte at a time, and what a load makes of them.

What is allowed: all of the data; or all but the torn end of the last log, which is told of; or a refusal that says
where the damage is and what to do. Whoever asks for an outcome fails at anything else.
"""

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any, Final, NamedTuple

import trio

from tests.storage.kit import PLAIN, TIME_MS, Heard, content, image, load
from trioquorum.errors import StorageError
from trioquorum.events import SnapshotSkipped, TornTailCut
from trioquorum.storage.compression import packer
from trioquorum.storage.log_format import HEADER, parse_records
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.names import LOG, SNAPSHOT, sorted_by_zxid
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import Op
from trioquorum.wire.records import Acl
from trioquorum.wire.txn import (
    CheckVersionTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    SubTxn,
    Txn,
    TxnHeader,
    decode_txn,
)

SESSION: Final = 0x1234567
E1: Final = 1 << 32
E2: Final = 2 << 32
XORS: Final = (0x01, 0x80, 0xFF)
"""What is changed of a byte; beside that it becomes 0."""

Part = tuple[int, int, Record]
"""zxid, type and record of a transaction."""

FIRST: Final[tuple[Part, ...]] = (
    (E1 + 1, Op.CREATE_SESSION, CreateSessionTxn(4000)),
    (E1 + 2, Op.CREATE, CreateTxn("/a", b"one", None, False, 1)),
    (E1 + 3, Op.CREATE2, CreateTxn("/a/mine", b"", None, True, 1)),
    (E1 + 4, Op.CREATE_CONTAINER, CreateContainerTxn("/c", b"", None, 2)),
)
SECOND: Final[tuple[Part, ...]] = (
    (E1 + 5, Op.CREATE_TTL, CreateTtlTxn("/t", b"", None, 3, 1000)),
    (E1 + 6, Op.SET_DATA, SetDataTxn("/a", b"two", 1)),
    (E1 + 7, Op.ERROR, ErrorTxn(-101)),
    (
        E1 + 8,
        Op.MULTI,
        MultiTxn(
            [
                SubTxn(Op.CHECK, CheckVersionTxn("/a", 1).encode()),
                SubTxn(Op.CREATE, CreateTxn("/m", b"", None, False, 4).encode()),
                SubTxn(Op.SET_DATA, SetDataTxn("/m", b"of a multi", 1).encode()),
            ]
        ),
    ),
)
THIRD: Final[tuple[Part, ...]] = (
    (E2 + 1, Op.SET_ACL, SetAclTxn("/a", [Acl(1, "ip", "10.0.0.0/8")], 1)),
    (E2 + 2, Op.RECONFIG, SetDataTxn("/zookeeper/config", b"server.1=host:2:3\nversion=200000002", -1)),
    (E2 + 3, Op.DELETE_CONTAINER, DeleteTxn("/c")),
    (E2 + 4, Op.CLOSE_SESSION, CloseSessionTxn(["/a/mine"])),
    (E2 + 5, Op.DELETE, DeleteTxn("/t")),
    (E2 + 6, Op.CREATE, CreateTxn("/last", b"three", None, False, 6)),
)


class Outcome(NamedTuple):
    """What a load made of a directory.

    ``what`` is ``whole``, ``shorter`` (the end of the last log is gone, and ``torn`` tells that it was), ``silent`` (it
    is gone without a word) or ``refused``. ``skipped`` are snapshots that were found damaged.
    """

    what: str
    last_zxid: int
    torn: bool = False
    skipped: tuple[str, ...] = ()
    message: str = ""


class Directory:
    """The files of a database, and what it held behind each transaction that a load may end at.

    ``fragile`` are those to damage.
    """

    def __init__(
        self, files: Mapping[str, bytes], last_log: str, states: Mapping[int, Any], fragile: Iterable[str] = ()
    ) -> None:
        self.files = dict(files)
        self.fragile = sorted(fragile) or sorted(files)
        self.last_log = last_log
        self.states = dict(states)
        self.last_zxid = max(states)

    def having(self, files: Mapping[str, bytes], *without: str, fragile: Iterable[str] = ()) -> "Directory":
        """The same with other files; of them ``fragile`` are to be damaged, else the new ones."""
        kept = {name: data for name, data in self.files.items() if name not in without}
        return Directory({**kept, **files}, self.last_log, self.states, [*fragile] or files)

    async def outcome(self, name: str, data: bytes) -> Outcome:
        """What a load makes of it when ``name`` holds ``data``."""
        heard = Heard()
        disk = MemoryDisk({**self.files, name: data})
        try:
            db = await load(disk, heard=heard)
        except StorageError as error:
            assert_clear(str(error), name)
            return Outcome("refused", -1, message=str(error), skipped=_skipped(heard))
        assert db.last_zxid in self.states, f"{name}: the data ends at {db.last_zxid:#x}"
        assert content(db.tree) == self.states[db.last_zxid], f"wrong data from {name}"
        assert db.digests.mismatches == 0
        torn = bool(heard.of(TornTailCut))
        if db.last_zxid == self.last_zxid:
            return Outcome("whole", db.last_zxid, torn, _skipped(heard))
        assert name == self.last_log, f"{name} is not the last log, and the end is lost"
        return Outcome("shorter" if torn else "silent", db.last_zxid, torn, _skipped(heard))


def _skipped(heard: Heard) -> tuple[str, ...]:
    return tuple(event.file for event in heard.of(SnapshotSkipped))


def assert_clear(message: str, name: str) -> None:
    """A refusal says which file is damaged and where, or what is missing; and what to do."""
    in_log = name in message and (re.search(r" at \d+", message) is not None or "does not begin like a log" in message)
    hole = "the log has nothing between 0x" in message
    no_snapshot = "snapshots can be used" in message or "the snapshot of 0x" in message
    assert in_log or hole or no_snapshot, message
    assert "restore" in message, message
    assert "--resync" in message, message


def changed(data: bytes, every: int = 1) -> Iterator[tuple[int, bytes]]:
    """``data`` with a byte changed, for every byte (or each so many) and each way: the offset and the new content."""
    for at in range(0, len(data), every):
        for byte in sorted({data[at] ^ xor for xor in XORS} | {0} - {data[at]}):
            yield at, data[:at] + bytes([byte]) + data[at + 1 :]


async def _written(*files: tuple[Part, ...], snapshot_behind: int = 0) -> Directory:
    """A log for each of ``files``, and a snapshot behind so many of them."""
    disk = MemoryDisk()
    db = await load(disk)
    states: dict[int, Any] = {}
    async with trio.open_nursery() as nursery:
        await nursery.start(db.log.run)
        for number, parts in enumerate(files):
            if number:
                await db.log.roll()
            if snapshot_behind and number == snapshot_behind:
                await db.take_snapshot()
                states = {zxid: state for zxid, state in states.items() if zxid == db.last_zxid}
            for cxid, (zxid, kind, record) in enumerate(parts):
                if zxid >> 32 > db.last_zxid >> 32:
                    db.begin_epoch(zxid >> 32 << 32)
                payload = Txn(TxnHeader(SESSION, cxid, zxid, TIME_MS, kind), record).encode()
                db.append([(zxid, payload)])
                await db.log.drained()
                db.apply(decode_txn(payload))
                states[zxid] = deepcopy(content(db.tree))
        nursery.cancel_scope.cancel()
    return Directory({name: bytes(data) for name, data in disk.files.items()}, f"log.{files[-1][0][0]:x}", states)


async def three_logs() -> Directory:
    """The snapshot of an empty tree, and three logs, the last of a new epoch; all of it is read."""
    return await _written(FIRST, SECOND, THIRD)


async def two_snapshots() -> Directory:
    """An older snapshot and log, and a newer snapshot and log, which are read."""
    return await _written(FIRST, SECOND, snapshot_behind=1)


async def compressed() -> Directory:
    """The same with the newer snapshot in gzip, as ZooKeeper may write it."""
    plain = await two_snapshots()
    name = f"snapshot.{FIRST[-1][0]:x}"
    return plain.having({f"{name}.gz": gzip.compress(plain.files[name], mtime=0)}, name)


async def snappy() -> Directory:
    """The same with it compressed by snappy."""
    plain = await two_snapshots()
    name = f"snapshot.{FIRST[-1][0]:x}"
    packing = packer("snappy")
    data = b"".join(packing.pack(plain.files[name])) + packing.finish()
    return plain.having({f"{name}.snappy": data}, name)


async def purged() -> Directory:
    """The newer ones alone: nothing stands for the snapshot."""
    plain = await two_snapshots()
    return plain.having({}, "snapshot.0", f"log.{FIRST[0][0]:x}", fragile=[f"snapshot.{FIRST[-1][0]:x}"])


async def preallocated() -> Directory:
    """The last log goes on with zeros, as while a server runs."""
    plain = await three_logs()
    return plain.having({plain.last_log: plain.files[plain.last_log] + bytes(600)})


async def packed() -> Directory:
    """The same in gzip."""
    plain = await compressed()
    return plain.having({}, "snapshot.0", f"log.{FIRST[0][0]:x}", fragile=[f"snapshot.{FIRST[-1][0]:x}.gz"])


async def packed_by_snappy() -> Directory:
    """The same by snappy."""
    plain = await snappy()
    return plain.having({}, "snapshot.0", f"log.{FIRST[0][0]:x}", fragile=[f"snapshot.{FIRST[-1][0]:x}.snappy"])


async def zookeepers() -> Directory:
    """As ZooKeeper 3.8 left it: headers do not say what a log follows, and records carry digests."""
    files = {name: data for name, data in image(PLAIN).items() if name.startswith((f"{LOG}.", f"{SNAPSHOT}."))}
    _, last_log = sorted_by_zxid(files, LOG)[-1]
    tree = (await load(MemoryDisk({name: data for name, data in files.items() if name != last_log}))).tree
    states = {tree.last_zxid: deepcopy(content(tree))}
    for zxid, payload in parse_records(files[last_log], len(HEADER), whole=True).records:
        tree.apply(decode_txn(payload))
        states[zxid] = deepcopy(content(tree))
    return Directory(files, last_log, states, [last_log])


DIRECTORIES: Final = {
    maker.__name__: maker
    for maker in (
        three_logs,
        two_snapshots,
        compressed,
        snappy,
        purged,
        packed,
        packed_by_snappy,
        preallocated,
        zookeepers,
    )
}
