"""The log as files: appending, rolling, reading back, cutting."""

import pytest
import trio
from hypothesis import given, strategies as st

from tests.storage.kit import Heard, creates
from trioquorum.errors import CorruptLog, DiskFailed, StorageError
from trioquorum.events import LogTruncated, TornTailCut
from trioquorum.storage.log_format import HEADER, encode_records, header
from trioquorum.storage.log_reader import Record
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.txn_log import TxnLog


async def log_of(disk: MemoryDisk, *files: list[Record]) -> TxnLog:
    """A log that was rolled behind each of these."""
    log = TxnLog(disk, Heard().events)
    await log.recover()
    for records in files:
        await log.append([payload for _, payload in records])
        await log.roll()
    return log


async def after(log: TxnLog, zxid: int) -> list[Record]:
    return [record async for batch in await log.read_after(zxid) for record in batch]


async def from_(log: TxnLog, zxid: int) -> list[int]:
    return [record[0] async for batch in await log.read_from(zxid) for record in batch]


E1, E2 = 1 << 32, 2 << 32
FIRST, SECOND, THIRD = creates(range(E1 + 1, E1 + 4)), creates(range(E1 + 4, E1 + 6)), creates(range(E2 + 1, E2 + 3))
ALL = FIRST + SECOND + THIRD


async def test_a_file_is_named_by_its_first_zxid() -> None:
    disk = MemoryDisk()
    log = await log_of(disk, FIRST, SECOND, THIRD)
    assert list(disk.files) == ["log.100000001", "log.100000004", "log.200000001"]
    assert bytes(disk.files["log.100000004"]) == header(E1 + 3) + encode_records([payload for _, payload in SECOND])
    assert log.last_zxid == E2 + 2


async def test_a_batch_is_one_flush() -> None:
    flushes: list[int] = []

    class Counting(MemoryDisk):
        async def flush(self, name: str, size: int) -> None:
            flushes.append(size)
            await super().flush(name, size)

    log = await log_of(Counting(), FIRST)
    flushes.clear()
    await log.append([payload for _, payload in SECOND])
    await log.append([payload for _, payload in THIRD])
    assert flushes == [0, 16 + len(encode_records([p for _, p in SECOND])), len(encode_records([p for _, p in THIRD]))]


@pytest.mark.parametrize("zxid", [0, *(zxid for zxid, _ in ALL)])
async def test_reading_behind_a_zxid(zxid: int) -> None:
    log = await log_of(MemoryDisk(), FIRST, SECOND, THIRD)
    assert await after(log, zxid) == [record for record in ALL if record[0] > zxid]


@pytest.mark.parametrize(
    ("zxid", "first"),
    [
        (0, E1 + 1),
        (E1 + 1, E1 + 1),
        (E1 + 3, E1 + 3),
        (E1 + 4, E1 + 4),
        (E1 + 9, E1 + 5),
        (E2, E1 + 5),
        (E2 + 9, E2 + 2),
    ],
)
async def test_reading_from_a_zxid_begins_at_or_before_it(zxid: int, first: int) -> None:
    log = await log_of(MemoryDisk(), FIRST, SECOND, THIRD)
    found = await from_(log, zxid)
    assert found == [record[0] for record in ALL if record[0] >= first]


async def test_size_from_counts_the_files_that_would_be_read() -> None:
    disk = MemoryDisk()
    log = await log_of(disk, FIRST, SECOND)
    await log.append([payload for _, payload in THIRD])
    sizes = {name: len(data) for name, data in disk.files.items()}
    disk.files["log.200000001"] += bytes(1000)  # as preallocated
    assert await log.size_from(E1 + 2) == sum(sizes.values())
    assert await log.size_from(E1 + 4) == sizes["log.100000004"] + sizes["log.200000001"]
    assert await log.size_from(E2 + 7) == sizes["log.200000001"]


async def test_an_append_that_is_under_way_is_not_read() -> None:
    disk = MemoryDisk()
    log = await log_of(disk)
    await log.append([payload for _, payload in FIRST])
    reader = await log.read_after(0)
    disk.files["log.100000001"] += encode_records([payload for _, payload in SECOND])[:-9]
    assert [record async for batch in reader for record in batch] == FIRST
    assert await after(log, E1 + 2) == FIRST[2:]


async def test_after_a_restart_the_last_file_goes_on() -> None:
    disk = MemoryDisk()
    log = await log_of(disk)
    await log.append([payload for _, payload in FIRST])
    log = TxnLog(disk, Heard().events)
    assert await log.recover() == E1 + 3
    await log.append([payload for _, payload in SECOND])
    assert list(disk.files) == ["log.100000001"]
    assert await after(log, 0) == FIRST + SECOND


async def test_a_file_with_a_header_only_is_used_by_whatever_comes_next() -> None:
    disk = MemoryDisk({"log.100000001": HEADER + encode_records([FIRST[0][1]]), "log.100000002": HEADER + bytes(99)})
    log = TxnLog(disk, Heard().events)
    assert await log.recover() == E1 + 1
    await log.roll()
    await log.append([THIRD[0][1]])
    assert list(disk.files) == ["log.100000001", "log.100000002"]
    assert await after(log, 0) == [FIRST[0], THIRD[0]]


@pytest.mark.parametrize("begun", [b"", HEADER[:5], HEADER[:8], HEADER[:2] + bytes(9999), bytes(16), bytes(100_000)])
async def test_a_last_file_that_never_got_its_header_is_removed(begun: bytes) -> None:
    disk = MemoryDisk({"log.100000001": HEADER + encode_records([FIRST[0][1]]), "log.100000002": begun})
    log = TxnLog(disk, Heard().events)
    assert await log.recover() == E1 + 1
    assert list(disk.files) == ["log.100000001"]


async def test_a_lost_file_shows_where_an_epoch_begins_too() -> None:
    disk = MemoryDisk()
    log = await log_of(disk, FIRST, SECOND, THIRD)
    del disk.files["log.100000004"]
    with pytest.raises(CorruptLog, match="nothing between 0x100000003 and 0x200000001"):
        await after(log, 0)
    assert await after(log, E1 + 5) == THIRD


async def test_files_of_zookeeper_do_not_say_what_they_follow() -> None:
    disk = MemoryDisk()
    log = await log_of(disk, FIRST, THIRD)
    disk.files["log.200000001"][:16] = HEADER
    assert await after(log, 0) == FIRST + THIRD


async def test_a_file_behind_a_snapshot_that_was_never_logged_says_so() -> None:
    disk = MemoryDisk()
    log = await log_of(disk, FIRST)
    log.base = E1 + 5
    await log.append([payload for _, payload in THIRD])
    with pytest.raises(CorruptLog, match="nothing between 0x100000003 and 0x200000001"):
        await after(log, 0)
    assert await after(log, E1 + 5) == THIRD


async def test_an_empty_file_in_the_middle_is_damage() -> None:
    disk = MemoryDisk()
    log = await log_of(disk, FIRST, SECOND, THIRD)
    disk.files["log.100000004"].clear()
    with pytest.raises(CorruptLog, match=r"log\.100000004"):
        await after(log, 0)


async def test_a_torn_record_in_the_middle_is_the_end_of_its_file() -> None:
    """ZooKeeper leaves it there and begins a new file; nothing is lost if that one goes on without a hole."""
    disk = MemoryDisk()
    log = await log_of(disk, FIRST, SECOND, THIRD)
    disk.files["log.100000001"] += encode_records([SECOND[0][1]])[:-7]
    assert await after(log, 0) == ALL
    del disk.files["log.100000001"][-70:]
    with pytest.raises(CorruptLog, match="nothing between 0x100000002 and 0x100000004"):
        await after(log, 0)


async def test_a_missing_file_is_a_hole() -> None:
    disk = MemoryDisk()
    log = await log_of(disk, FIRST, SECOND, THIRD)
    del disk.files["log.100000004"]
    assert await after(log, E1 + 5) == THIRD
    del disk.files["log.200000001"]
    disk.files["log.200000002"] = bytearray(HEADER + encode_records([THIRD[1][1]]))
    with pytest.raises(CorruptLog, match="nothing between"):
        await after(log, E1 + 5)


async def test_a_file_that_is_purged_while_it_is_read() -> None:
    disk = MemoryDisk()
    log = await log_of(disk, FIRST, SECOND)
    reader = await log.read_after(0)
    await disk.remove("log.100000004")
    assert await anext(reader) == FIRST
    with pytest.raises(StorageError, match="no such file"):
        await anext(reader)


async def test_large_records_and_many_small_ones() -> None:
    records = [*creates(range(1, 3000)), (3000, creates([3000])[0][1] + bytes(300_000)), *creates(range(3001, 3010))]
    log = await log_of(MemoryDisk(), records)
    reader = await log.read_after(0)
    sizes = []
    found = []
    async for batch in reader:
        sizes.append(sum(len(payload) for _, payload in batch))
        found += batch
    assert found == records
    assert max(sizes) < 400_000
    assert len(sizes) > 3


@pytest.mark.parametrize("zxid", [0, E1, *(zxid for zxid, _ in ALL), E2 + 99])
@pytest.mark.parametrize("rolled", [True, False])
async def test_truncate_keeps_what_is_not_behind(zxid: int, rolled: bool) -> None:
    disk = MemoryDisk()
    heard = Heard()
    log = TxnLog(disk, heard.events)
    await log.recover()
    for records in (FIRST, SECOND, THIRD):
        await log.append([payload for _, payload in records])
        if rolled:
            await log.roll()
    await log.truncate(zxid)
    kept = [record for record in ALL if record[0] <= zxid]
    assert heard.of(LogTruncated) == [LogTruncated(zxid=zxid)]
    assert log.last_zxid == (kept[-1][0] if kept else 0)
    assert await after(log, 0) == kept
    again = creates([log.last_zxid + 1 if kept else 1])
    await log.append([again[0][1]])
    fresh = TxnLog(disk, heard.events)
    await fresh.recover()
    assert await after(fresh, 0) == kept + again


@pytest.mark.parametrize("operations", range(6))
async def test_a_crash_while_truncating_leaves_a_prefix(operations: int) -> None:
    class Crashing(MemoryDisk):
        left = 1000

        async def flush(self, name: str, size: int) -> None:
            if not self.left:
                raise DiskFailed("the machine crashed")
            self.left -= 1
            await super().flush(name, size)

    disk = Crashing()
    log = await log_of(disk, FIRST, SECOND, THIRD)
    disk.left = operations
    failed = False
    try:
        await log.truncate(E1 + 2)
    except DiskFailed:
        failed = True
    assert failed == (operations < 3)
    log = TxnLog(disk.crash(), Heard().events)
    await log.recover()
    found = await after(log, 0)
    assert found == ALL[: len(found)]
    assert len(found) >= 2


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 400), st.booleans())
def test_a_crash_while_appending_loses_nothing_durable(batches: list[int], torn_bytes: int, padded: bool) -> None:
    async def run() -> None:
        disk = MemoryDisk(flush_latency_s=0.01)
        log = await log_of(disk)
        zxid = 0
        for size in batches[:-1]:
            await log.append([payload for _, payload in creates(range(zxid + 1, zxid + size + 1))])
            zxid += size
        last = creates(range(zxid + 1, zxid + batches[-1] + 1))

        async def append() -> None:
            with pytest.raises(DiskFailed):
                await log.append([payload for _, payload in last])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(append)
            await trio.sleep(0.015 if zxid == 0 else 0.005)
            crashed = disk.crash(torn_bytes)
        if padded and "log.1" in crashed.files:
            crashed.files["log.1"] += bytes(5000)
        heard = Heard()
        log = TxnLog(crashed, heard.events)
        found = creates(range(1, await log.recover() + 1))
        assert zxid <= len(found) <= zxid + len(last)
        assert await after(log, 0) == found
        cut = [event.bytes_cut for event in heard.of(TornTailCut)]
        assert len(cut) <= 1
        await log.append([creates([len(found) + 1])[0][1]])
        assert await after(log, 0) == creates(range(1, len(found) + 2))

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_log_that_is_found_whole_is_flushed_before_anybody_relies_on_it() -> None:
    """A process that was killed between write and flush leaves records to the page cache, and power may fail next."""
    flushed: list[str] = []

    class Seen(MemoryDisk):
        async def flush(self, name: str, size: int) -> None:
            flushed.append(name)
            await super().flush(name, size)

    disk = MemoryDisk()
    await log_of(disk, FIRST)
    found = Seen({name: bytes(data) for name, data in disk.files.items()})
    assert await TxnLog(found, Heard().events).recover() == E1 + 3
    assert flushed == ["log.100000001"]
    assert found.files == disk.files
