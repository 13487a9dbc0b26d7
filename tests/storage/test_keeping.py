"""When a snapshot is due."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
import trio
import trio.testing

from tests.storage.kit import Heard, create, creates, load
from trioquorum.config import ServerConfig, standalone
from trioquorum.events import SnapshotTaken
from trioquorum.limits import Limits
from trioquorum.peer.keeping import Keeper
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.room import DiskRoom, SnapshotFailed
from trioquorum.testing.sim_disk import DiskFaults, SimDisk
from trioquorum.wire.txn import decode_txn


def config(*, snap_count: int, log_bytes: int) -> ServerConfig:
    given = standalone(Path("unused"))
    return ServerConfig(
        my_id=given.my_id,
        peers=given.peers,
        client_addresses=given.client_addresses,
        data_dir=given.data_dir,
        data_log_dir=given.data_log_dir,
        limits=Limits(snap_count=snap_count),
        snapshot_log_bytes=log_bytes,
    )


@pytest.mark.parametrize(
    ("snap_count", "log_bytes", "taken"),
    [(100_000, 10_000, True), (100_000, 0, False), (100_000, 1 << 30, False), (10, 0, True)],
)
async def test_a_snapshot_is_due_after_so_many_transactions_or_so_much_log(
    autojump_clock: trio.testing.MockClock, snap_count: int, log_bytes: int, taken: bool
) -> None:
    del autojump_clock
    heard = Heard()
    disk = MemoryDisk()
    db = await load(disk, heard=heard)
    before = len(heard.of(SnapshotTaken))
    room = DiskRoom((disk,), 0, heard.events)
    keeper = Keeper(db, config(snap_count=snap_count, log_bytes=log_bytes), Random(1), room, heard.events)
    async with trio.open_nursery() as nursery:
        await nursery.start(db.log.run)
        nursery.start_soon(keeper.run)
        for zxid in range(1, 12):
            payload = create(zxid, f"/n{zxid}", bytes(1000))
            db.append([(zxid, payload)])
            db.apply(decode_txn(payload))
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert len(heard.of(SnapshotTaken)) - before == taken


@pytest.mark.parametrize("nearly_full", [False, True])
async def test_a_snapshot_that_does_not_fit_is_put_off(
    autojump_clock: trio.testing.MockClock, nearly_full: bool
) -> None:
    """Known before, or found out: nothing of it is left, the log goes on, and another one comes when there is room."""
    del autojump_clock
    heard = Heard()
    disk = SimDisk(Random(1), DiskFaults(), Counter())
    db = await load(disk, heard=heard)
    room = DiskRoom((disk,), 100_000, heard.events)
    keeper = Keeper(db, config(snap_count=10, log_bytes=0), Random(1), room, heard.events)
    async with trio.open_nursery() as nursery:
        await nursery.start(db.log.run)

        async def write(first: int, last: int) -> None:
            for zxid, payload in creates(range(first, last)):
                db.append([(zxid, payload)])
                db.apply(decode_txn(payload))
            await db.log.drained()

        await write(1, 12)
        before = len(heard.of(SnapshotTaken))
        disk.faults.capacity_bytes = disk.used_bytes() + 60
        if nearly_full:
            await room.look()
        nursery.start_soon(keeper.run)
        await trio.sleep(5)
        assert len(heard.of(SnapshotTaken)) == before
        assert len(heard.of(SnapshotFailed)) == (0 if nearly_full else 1)
        assert await disk.list() == sorted(name for name in disk.files if not name.startswith("tmp."))
        disk.faults.capacity_bytes = 1 << 30
        await room.look()
        await write(12, 24)
        await trio.sleep(2)
        assert len(heard.of(SnapshotTaken)) == before + 1
        nursery.cancel_scope.cancel()
