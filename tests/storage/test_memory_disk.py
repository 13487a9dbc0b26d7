"""What a memory disk tells checkers about itself, which must be what a machine would find that starts from it."""

from tests.storage.kit import create
from trioquorum.events import Events
from trioquorum.storage.epochs import ACCEPTED, CURRENT, Epochs
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.txn_log import TxnLog


def payloads(*zxids: int) -> list[bytes]:
    return [create(zxid, f"/n{zxid}") for zxid in zxids]


async def test_the_last_logged_zxid_follows_the_log() -> None:
    disk = MemoryDisk()
    log = TxnLog(disk, Events())
    assert disk.logged_zxid() == 0
    for first, last in ((1, 3), (4, 4)):
        await log.append(payloads(*range(first, last + 1)))
        assert disk.logged_zxid() == last
    await log.roll()
    await log.append(payloads(5))
    assert disk.logged_zxid() == 5
    await log.truncate(2)
    assert disk.logged_zxid() == 2
    await log.append(payloads(3))
    assert disk.logged_zxid() == 3
    await log.aclose()


async def test_half_a_record_is_not_logged() -> None:
    disk = MemoryDisk()
    log = TxnLog(disk, Events())
    await log.append(payloads(1))
    name = next(iter(disk.files))
    disk.files[name] += bytes(disk.files[name])[16:-1]
    assert disk.logged_zxid() == 1
    await log.aclose()


async def test_a_snapshot_counts_from_the_moment_it_is_whole() -> None:
    disk = MemoryDisk()
    async with disk.stream_atomic("snapshot.500") as file:
        await file.write(b"x")
        assert disk.logged_zxid() == 0
    assert disk.logged_zxid() == 0x500
    await disk.remove("snapshot.500")
    assert disk.logged_zxid() == 0


async def test_the_epochs() -> None:
    disk = MemoryDisk()
    assert disk.epoch(ACCEPTED) is None
    epochs = await Epochs.load(disk, 0)
    await epochs.set_accepted(7)
    await epochs.set_current(6)
    assert (disk.epoch(ACCEPTED), disk.epoch(CURRENT)) == (7, 6)
