"""The watch over the room on a disk."""

import random
from collections import Counter

import trio
from trio.testing import MockClock

from tests.storage.kit import Heard
from trioquorum.storage.room import DiskHasRoom, DiskIsFull, DiskNearlyFull, DiskRoom
from trioquorum.testing.sim_disk import DiskFaults, SimDisk


def disk_of(capacity_bytes: int) -> SimDisk:
    return SimDisk(random.Random(1), DiskFaults(capacity_bytes=capacity_bytes), Counter())


async def test_the_disk_with_less_room_counts_and_it_is_told_once() -> None:
    heard = Heard()
    data, logs = disk_of(10_000), disk_of(5000)
    room = DiskRoom((data, logs), 1000, heard.events)
    told: list[bool] = []
    room.on_change = told.append
    for free, nearly_full in ((5000, False), (1000, False), (999, True), (10, True), (1249, True), (1250, False)):
        logs.faults.capacity_bytes = free
        await room.look()
        assert (room.free_bytes, room.nearly_full) == (free, nearly_full)
    assert told == [True, False]
    assert [event.free_bytes for event in heard.of(DiskNearlyFull)] == [999]
    assert [event.free_bytes for event in heard.of(DiskHasRoom)] == [1250]


async def test_without_a_reserve_nothing_is_nearly_full() -> None:
    heard = Heard()
    room = DiskRoom((disk_of(0),), 0, heard.events)
    await room.look()
    assert (room.free_bytes, room.nearly_full) == (0, False)
    assert heard.of(DiskNearlyFull) == []


async def test_who_waits_goes_on_by_itself_and_waits_longer_each_time(autojump_clock: MockClock) -> None:
    heard = Heard()
    disk = disk_of(0)
    room = DiskRoom((disk,), 1000, heard.events)

    async def make_room(after_s: float, free_bytes: int) -> None:
        await trio.sleep(after_s)
        disk.faults.capacity_bytes = free_bytes

    async with trio.open_nursery() as nursery:
        nursery.start_soon(make_room, 100, 250)
        await room.wait_for_more("log.1 cannot be written")
    assert 100 <= trio.current_time() <= 102
    assert [(event.reason, event.needed_bytes) for event in heard.of(DiskIsFull)] == [("log.1 cannot be written", 250)]
    assert room.nearly_full
    waited = []
    for _ in range(8):
        began = trio.current_time()
        await room.wait_for_more("a snapshot cannot be written")
        waited.append(trio.current_time() - began)
    assert waited == [2, 4, 8, 16, 32, 60, 60, 60]
    # Much more room than there was ends the longest wait.
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(make_room, 5, 1 << 20)
        await room.wait_for_more("a snapshot cannot be written")
    assert 5 <= trio.current_time() - began <= 7
    room.came_back()
    began = trio.current_time()
    await room.wait_for_more("again")
    assert trio.current_time() - began == 1
