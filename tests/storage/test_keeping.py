"""When a snapshot is due."""

from pathlib import Path
from random import Random

import pytest
import trio
import trio.testing

from tests.storage.kit import Heard, create, load
from trioquorum.config import ServerConfig, standalone
from trioquorum.events import SnapshotTaken
from trioquorum.limits import Limits
from trioquorum.peer.keeping import Keeper
from trioquorum.storage.memory_disk import MemoryDisk
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
    db = await load(MemoryDisk(), heard=heard)
    before = len(heard.of(SnapshotTaken))
    keeper = Keeper(db, config(snap_count=snap_count, log_bytes=log_bytes), Random(1))
    async with trio.open_nursery() as nursery:
        await nursery.start(db.log.run)
        nursery.start_soon(keeper.run)
        for zxid in range(1, 12):
            payload = create(zxid, f"/n{zxid}", bytes(1000))
            db.append([(zxid, payload)])
            db.apply(decode_txn(payload), payload)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert len(heard.of(SnapshotTaken)) - before == taken
