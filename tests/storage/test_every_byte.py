"""Every byte of a small directory changed in turn, and every file cut at every length: found, or no harm done.

The directory holds two snapshots and two logs with every kind of transaction; a load takes the newer snapshot and
replays the log behind it.
"""

from collections import Counter
from copy import deepcopy
from typing import Any, Final

import trio

from tests.storage.kit import TIME_MS, Heard, content, load
from trioquorum.errors import StorageError
from trioquorum.events import TornTailCut
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.wire.ops import Op
from trioquorum.wire.records import Acl
from trioquorum.wire.txn import (
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
    TxnHeader,
    decode_txn,
)

SESSION: Final = 0x1234567
BEFORE: Final = (
    (Op.CREATE_SESSION, CreateSessionTxn(4000)),
    (Op.CREATE, CreateTxn("/a", b"one", None, False, 1)),
    (Op.CREATE, CreateTxn("/a/mine", b"", None, True, 1)),
    (Op.CREATE_CONTAINER, CreateContainerTxn("/c", b"", None, 2)),
)
BEHIND: Final = (
    (Op.CREATE_TTL, CreateTtlTxn("/t", b"", None, 3, 1000)),
    (Op.SET_DATA, SetDataTxn("/a", b"two", 1)),
    (Op.SET_ACL, SetAclTxn("/a", [Acl(1, "ip", "10.0.0.0/8")], 1)),
    (Op.DELETE, DeleteTxn("/c")),
    (Op.CLOSE_SESSION, CloseSessionTxn(["/a/mine"])),
    (Op.CREATE, CreateTxn("/last", b"three", None, False, 5)),
)
E1: Final = 1 << 32
XORS: Final = (0x01, 0x80, 0xFF)
"""What is changed of a byte; beside that it becomes 0."""

Outcome = tuple[str, int]
"""``whole``, ``shorter`` (a torn tail was cut off, and told of) or ``refused``; the last zxid."""


class Directory:
    """The files, and what their database holds up to each transaction of the last log."""

    def __init__(self, files: dict[str, bytes], last_log: str, states: dict[int, Any]) -> None:
        self.files = files
        self.last_log = last_log
        self.states = states
        self.last_zxid = max(states)

    async def outcome(self, name: str, data: bytes) -> Outcome:
        """What a load makes of it when ``name`` holds ``data``. Anything but what is allowed fails here."""
        heard = Heard()
        disk = MemoryDisk({**self.files, name: data})
        try:
            db = await load(disk, heard=heard)
        except StorageError as error:
            return _told(name, str(error)), -1
        assert content(db.tree) == self.states[db.last_zxid], f"wrong data from {name}"
        assert db.digest_mismatches == 0
        if db.last_zxid == self.last_zxid:
            return "whole", db.last_zxid
        assert name == self.last_log, f"{name} is not the last log, and the end is lost"
        return "shorter" if heard.of(TornTailCut) else "silent", db.last_zxid


def _told(name: str, message: str) -> str:
    """``refused`` if the message says what is wrong and what to do."""
    says_where = name in message or "the log has nothing between" in message or "no snapshot" in message
    return "refused" if says_where and ("restore" in message or "--resync" in message) else message


async def directory() -> Directory:
    """Written by a database of ours; the last log is given back without the zeros behind it."""
    disk = MemoryDisk()
    db = await load(disk)
    states = {}
    async with trio.open_nursery() as nursery:
        await nursery.start(db.log.run)
        for number, (op, record) in enumerate((*BEFORE, *BEHIND)):
            zxid = E1 + 1 + number
            txn = Txn(TxnHeader(SESSION, number, zxid, TIME_MS, op), record)
            payload = txn.encode()
            db.append(zxid, payload)
            await db.log.drained()
            db.apply(decode_txn(payload), payload)
            states[zxid] = deepcopy(content(db.tree))
            if number + 1 == len(BEFORE):
                await db.take_snapshot()
        nursery.cancel_scope.cancel()
    files = {name: bytes(data) for name, data in disk.files.items()}
    kept = {zxid: state for zxid, state in states.items() if zxid >= E1 + len(BEFORE)}
    return Directory(files, f"log.{E1 + 1 + len(BEFORE):x}", kept)


def changes(data: bytes, at: int) -> set[int]:
    """What the byte at ``at`` may become."""
    return {data[at] ^ xor for xor in XORS} | {0} - {data[at]}


async def test_every_changed_byte_is_found_or_harmless() -> None:
    """Of the last log only the last transaction may go, where it looks like an interrupted write, and it is told."""
    written = await directory()
    outcomes: dict[str, Counter[Outcome]] = {name: Counter() for name in written.files}
    for name, data in written.files.items():
        for at in range(len(data)):
            for byte in changes(data, at):
                outcome = await written.outcome(name, data[:at] + bytes([byte]) + data[at + 1 :])
                outcomes[name][outcome] += 1
    before_last = written.last_zxid - 1
    for name, found in outcomes.items():
        allowed = {("whole", written.last_zxid), ("refused", -1)}
        if name == written.last_log:
            allowed.add(("shorter", before_last))
        assert found.keys() <= allowed, name
    assert outcomes[written.last_log]["refused", -1] > 500


async def test_every_cut_is_found_or_a_prefix() -> None:
    """A cut between two records of the last log is the log as it was then, which nobody can tell from it.

    A checksum begins with four bytes of 0, so that a cut behind one of those leaves a log with padding.
    """
    written = await directory()
    for name, data in written.files.items():
        found = Counter([await written.outcome(name, data[:size]) for size in range(len(data))])
        if name == written.last_log:
            ends = {zxid: count for (what, zxid), count in found.items() if what == "silent"}
            assert ends.keys() == written.states.keys() - {written.last_zxid}
            assert {count for zxid, count in ends.items() if zxid > min(ends)} == {1 + 4}
        else:
            assert found.keys() <= {("whole", written.last_zxid), ("refused", -1)}, name
