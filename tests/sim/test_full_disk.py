"""A disk that fills up: writes are refused before it is full, reads and sessions go on, and all resumes by itself."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
import trio
from trio.testing import MockClock

from tests.sim.kit import assert_all_equal, events_of
from trioquorum.client import Client
from trioquorum.config import Settings
from trioquorum.errors import Code, RequestFailed
from trioquorum.events import PeerStarted, SnapshotTaken
from trioquorum.limits import Limits
from trioquorum.storage.memory_disk import FREE_BYTES
from trioquorum.storage.room import DiskHasRoom, DiskIsFull, DiskNearlyFull, VotersLackRoom
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum.testing.sim_disk import DiskFaults, SimDisk
from trioquorum_transports.memory import MemoryNetwork

RESERVE = 50_000
SETTINGS = Settings(disk_reserve_bytes=RESERVE)


class Disks:
    """Disks whose room can be set."""

    def __init__(self, ensemble: MemoryEnsemble, faults: dict[int, DiskFaults], counts: Counter[str]) -> None:
        self.counts = counts
        self._ensemble = ensemble
        self._faults = faults

    def leave(self, peer: int, free_bytes: int) -> None:
        """So much is free on the disk of ``peer`` from now on."""
        self._faults[peer].capacity_bytes = self._ensemble.peers[peer].disk.used_bytes() + free_bytes

    def clear(self, peer: int) -> None:
        """As much as anybody wants."""
        self._faults[peer].capacity_bytes = FREE_BYTES


@asynccontextmanager
async def ensemble_of_disks(
    peers: int = 3, observers: int = 0, limits: Limits | None = None, settings: Settings = SETTINGS
) -> AsyncIterator[tuple[MemoryEnsemble, Disks]]:
    faults = {peer: DiskFaults() for peer in range(1, peers + observers + 1)}
    counts: Counter[str] = Counter()
    async with open_ensemble(
        MemoryNetwork(),
        peers=peers,
        observers=observers,
        observer_masters=range(1, peers + 1) if observers else (),
        settings=settings,
        limits=limits,
        disk=lambda peer: SimDisk(random.Random(peer), faults[peer], counts),
    ) as ensemble:
        yield ensemble, Disks(ensemble, faults, counts)


async def assert_refused(client: Client) -> None:
    """Every kind of write fails, for a reason that is the server's."""
    several = client.transaction()
    several.create("/refused/a")
    several.set("/kept", b"2")
    for write in (
        client.create("/refused"),
        client.create("/refused", ephemeral=True),
        client.set("/kept", b"2"),
        client.delete("/kept"),
        several.commit(),
    ):
        with pytest.raises(RequestFailed) as failure:
            await write
        assert failure.value.code is Code.SYSTEMERROR


async def full_at(ensemble: MemoryEnsemble, disks: Disks, peer: int) -> None:
    """Wait until ``peer`` has noticed how little room it has."""
    disks.leave(peer, RESERVE - 1)
    await ensemble.wait_until(lambda: bool(events_of(ensemble, DiskNearlyFull, peer)))


@pytest.mark.parametrize("observers", [0, 1])
async def test_writes_are_refused_while_a_leader_has_little_room(autojump_clock: MockClock, observers: int) -> None:
    async with ensemble_of_disks(observers=observers) as (ensemble, disks), AsyncExitStack() as stack:
        leader = await ensemble.wait_serving()
        clients = {peer: await stack.enter_async_context(ensemble.client(peer)) for peer in ensemble.peers}
        await clients[leader].create("/kept", b"1")
        await full_at(ensemble, disks, leader)
        # Before they hear of it the others forward their clients' writes, which fail as well.
        with pytest.raises(RequestFailed, match="SYSTEMERROR"):
            await clients[next(peer for peer in clients if peer != leader)].set("/kept", b"2")
        await trio.sleep(3)
        zxid = ensemble.peers[leader].database.last_zxid
        for client in clients.values():
            await assert_refused(client)
            await client.sync("/")
            assert (await client.get("/kept"))[0] == b"1"
        assert ensemble.peers[leader].database.last_zxid == zxid
        # A little more than the reserve is not enough: it would be used up in a moment.
        disks.leave(leader, RESERVE + RESERVE // 5)
        await trio.sleep(5)
        await assert_refused(clients[leader])
        disks.leave(leader, 2 * RESERVE)
        await ensemble.wait_until(lambda: bool(events_of(ensemble, DiskHasRoom, leader)))
        await trio.sleep(3)
        for peer, client in clients.items():
            await client.create(f"/again-{peer}")
        assert len(events_of(ensemble, DiskNearlyFull)) == len(events_of(ensemble, DiskHasRoom)) == 1
        tree = await assert_all_equal(ensemble)
        assert {"/kept", *(f"/again-{peer}" for peer in clients)} <= set(tree.nodes)


async def test_sessions_begin_and_end_while_a_leader_has_little_room(autojump_clock: MockClock) -> None:
    async with ensemble_of_disks() as (ensemble, disks):
        leader = await ensemble.wait_serving()
        async with ensemble.client() as watcher:
            async with ensemble.client() as client:
                await client.create("/mine", ephemeral=True)
                await full_at(ensemble, disks, leader)
                await trio.sleep(3)
                for peer in ensemble.peers:
                    async with ensemble.client(peer) as late:
                        assert await late.exists("/mine")
                assert await watcher.exists("/mine")
            await watcher.sync("/")
            assert not await watcher.exists("/mine")


async def test_who_is_elected_with_little_room_refuses_from_the_start(autojump_clock: MockClock) -> None:
    async with ensemble_of_disks() as (ensemble, disks):
        leader = await ensemble.wait_serving()
        async with ensemble.client() as client:
            await client.create("/kept", b"1")
            for peer in ensemble.peers:
                if peer != leader:
                    disks.leave(peer, RESERVE // 2)
            await trio.sleep(2)
            await ensemble.stop(leader)
            await ensemble.wait_serving()
            await trio.sleep(3)
            await assert_refused(client)
            await ensemble.start(leader)
            for peer in ensemble.peers:
                disks.clear(peer)
            await ensemble.wait_serving(1, 2, 3)
            await trio.sleep(5)
            await client.create("/again")
        await assert_all_equal(ensemble)


async def test_writes_need_a_quorum_with_room(autojump_clock: MockClock) -> None:
    async with ensemble_of_disks() as (ensemble, disks):
        leader = await ensemble.wait_serving()
        one, other = (peer for peer in ensemble.peers if peer != leader)
        async with ensemble.client(leader) as client:
            await client.create("/kept", b"1")
            await full_at(ensemble, disks, one)
            await trio.sleep(3)
            await client.create("/two-have-room")
            await full_at(ensemble, disks, other)
            await ensemble.wait_until(lambda: bool(events_of(ensemble, VotersLackRoom, leader)))
            await assert_refused(client)
            disks.clear(one)
            await ensemble.wait_until(lambda: len(events_of(ensemble, VotersLackRoom, leader)) == 2)
            await client.create("/two-have-room-again")
        told = [(it.event.peers, it.event.refuses_writes) for it in events_of(ensemble, VotersLackRoom)]
        assert told == [((one, other), True), ((), False)]
        assert not events_of(ensemble, DiskIsFull)


@pytest.mark.parametrize("role", ["leader", "follower"])
async def test_who_cannot_log_any_more_waits_for_room_and_comes_back(role: str, autojump_clock: MockClock) -> None:
    async with ensemble_of_disks(settings=Settings(disk_reserve_bytes=0)) as (ensemble, disks):
        leader = await ensemble.wait_serving()
        victim = leader if role == "leader" else next(peer for peer in ensemble.peers if peer != leader)
        async with ensemble.client(*(peer for peer in ensemble.peers if peer != victim)) as client:
            await client.create("/kept", b"1")
            disks.leave(victim, 300)
            for number in range(10):
                with suppress(RequestFailed):  # the client's peer may lose its leader
                    await client.create(f"/n-{number}", b"x" * 100)
            await ensemble.wait_until(lambda: bool(events_of(ensemble, DiskIsFull, victim)))
            assert disks.counts["disk full"] >= 1
            assert ensemble.peers[victim].state == "starting"
            # It waits: however long nobody makes room, it does not come back and fail again, again and again.
            await trio.sleep(300)
            starts = len(events_of(ensemble, PeerStarted, victim))
            assert starts <= 8
            others = [peer for peer in ensemble.peers if peer != victim]
            await ensemble.wait_serving(*others)
            await client.create("/without")
            disks.clear(victim)
            await ensemble.wait_serving(1, 2, 3)
        tree = await assert_all_equal(ensemble)
        assert {"/kept", "/without"} <= set(tree.nodes)
        assert ensemble.peers[victim].running


async def test_a_server_alone_comes_back_too(autojump_clock: MockClock) -> None:
    async with ensemble_of_disks(peers=1) as (ensemble, disks):
        await ensemble.wait_serving()
        async with ensemble.client() as client:
            await client.create("/kept")
            disks.leave(1, 10)
            with pytest.raises(RequestFailed):
                await client.create("/does-not-fit", b"x" * 1000)
            await ensemble.wait_until(lambda: bool(events_of(ensemble, DiskIsFull)))
            disks.leave(1, RESERVE // 2)  # enough to serve, but not to write
            await ensemble.wait_serving()
            assert await client.exists("/kept")
            await assert_refused(client)
            disks.clear(1)
            await trio.sleep(3)
            await client.create("/again")


async def test_a_snapshot_comes_early_where_old_files_could_go(autojump_clock: MockClock) -> None:
    async with ensemble_of_disks(peers=1, limits=Limits(snap_count=80)) as (ensemble, disks):
        await ensemble.wait_serving()
        async with ensemble.client() as client:
            for number in range(25):
                await client.create(f"/n-{number}", b"x" * 100)
            await trio.sleep(5)
            taken = len(events_of(ensemble, SnapshotTaken))
            await full_at(ensemble, disks, 1)
            await ensemble.wait_until(lambda: len(events_of(ensemble, SnapshotTaken)) > taken)
            await trio.sleep(20)
            assert len(events_of(ensemble, SnapshotTaken)) == taken + 1
