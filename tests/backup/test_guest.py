"""A guest copies the tree of an ensemble while it changes, and is noticed by nobody."""

import random

import pytest
import trio
from trio.testing import MockClock

from tests.backup.kit import replayed, told
from tests.sim.kit import Writers, assert_all_equal, events_of
from trioquorum.backup.guest import GUEST_IDS, Copy, Guest, copy_tree
from trioquorum.client import Client
from trioquorum.config import PEER_ID_MAX, Settings
from trioquorum.errors import ConnectFailed, LinkClosed, PeerProtocolError
from trioquorum.events import LearnerLeft, LearnerSynced, StateChanged
from trioquorum.limits import Limits
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum.transport import Address, Link, Transports
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.quorum import PacketType, QuorumPacket, decode_packets, encode_packets
from trioquorum_transports.memory import MemoryNetwork

GUEST = "guest"
FRAME_BYTES_MAX = 16 << 20
SMALL_CHUNKS = Limits(snapshot_chunk_bytes=500)


def quorum_addresses(ensemble: MemoryEnsemble) -> list[Address]:
    return [ensemble.addresses(peer)[0] for peer in ensemble.peers]


async def copy(ensemble: MemoryEnsemble, network: MemoryNetwork, *, patience_s: float = 60.0, seed: int = 1) -> Copy:
    return await copy_tree(
        quorum_addresses(ensemble),
        Transports(memory=network.transport(GUEST)),
        random.Random(seed),
        frame_bytes_max=FRAME_BYTES_MAX,
        patience_s=patience_s,
        silence_s=20.0,
    )


async def disturb(client: Client, ensemble: MemoryEnsemble, stop: trio.Event) -> None:
    """All kinds of changes, one after the other, while a second session comes and goes."""
    number = 0
    while not stop.is_set():
        number += 1
        async with ensemble.client() as other:
            await other.create(f"/eph{number}", ephemeral=True)
            await client.create(f"/top{number}", b"x" * 50)
            for child in range(3):
                await client.create(f"/top{number}/c", bytes([child]), sequence=True)
            await client.set(f"/top{number}", b"y")
        if number > 1:
            for name in await client.get_children(f"/top{number - 1}"):
                await client.delete(f"/top{number - 1}/{name}")
            await client.delete(f"/top{number - 1}")
        await client.set("/kept", b"%d" % number)


@pytest.mark.parametrize("seed", range(3))
async def test_a_copy_is_exact_at_its_zxid_while_everything_changes(seed: int, autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_ensemble(network, peers=3, limits=SMALL_CHUNKS, seed=seed, flush_latency_s=0.005) as ensemble:
        leader = await ensemble.wait_serving()
        writers = Writers("/w")
        stop = trio.Event()
        async with ensemble.client() as client, ensemble.client() as second, trio.open_nursery() as nursery:
            for path in ("/w", "/kept"):
                await client.create(path)
            for number in range(300):
                await client.create(f"/kept/{number}", b"x" * 20)
            network.bandwidth(f"peer{leader}", GUEST, 60_000)
            nursery.start_soon(writers.write, second, "a", 0.005)
            nursery.start_soon(disturb, client, ensemble, stop)
            before = ensemble.peers[leader].database.last_zxid
            copied = await copy(ensemble, network, seed=seed)
            after = ensemble.peers[leader].database.last_zxid
            stop.set()
            writers.halted = True
        assert copied.txns > 20, "the test is about changes under way"
        assert before < copied.tree.last_zxid <= after
        assert copied.epoch == copied.tree.last_zxid >> 32
        await assert_all_equal(ensemble)
        for peer in ensemble.peers.values():
            assert told(copied.tree) == told(await replayed(peer.disk.files, copied.tree.last_zxid))


async def test_a_guest_counts_for_nothing(autojump_clock: MockClock) -> None:
    assert GUEST_IDS.start > PEER_ID_MAX
    network = MemoryNetwork()
    async with open_ensemble(network, peers=3) as ensemble:
        leader = await ensemble.wait_serving()
        async with ensemble.client(leader) as client:
            await client.create("/a")
        async with trio.open_nursery() as nursery:
            for seed in (1, 2):
                nursery.start_soon(lambda seed: copy(ensemble, network, seed=seed), seed)
        await ensemble.wait_until(lambda: len(events_of(ensemble, LearnerLeft, leader)) == 2)
        assert all(it.event.observer for it in events_of(ensemble, LearnerSynced) if it.event.learner in GUEST_IDS)
        assert ensemble.leader() == leader
        # With a guest that stays there is still no quorum without the others.
        transport = network.transport(GUEST)
        link = await transport.connect(ensemble.addresses(leader)[0], frame_bytes_max=FRAME_BYTES_MAX)
        await Guest(link, GUEST_IDS[0], 20.0).copy("here")
        await ensemble.crash(*(peer for peer in ensemble.peers if peer != leader))
        await ensemble.wait_until(lambda: ensemble.peers[leader].state == "looking")
        await link.aclose()
        with pytest.raises(ConnectFailed, match="no leader gave its tree"):
            await copy(ensemble, network, patience_s=30.0)


async def test_a_guest_waits_for_a_leader_and_asks_the_next_one(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_ensemble(network, peers=3, limits=SMALL_CHUNKS) as ensemble:
        first = await ensemble.wait_serving()
        async with ensemble.client() as client:
            for number in range(100):
                await client.create(f"/{number}", b"x" * 20)
            network.bandwidth(f"peer{first}", GUEST, 2000)
            found: list[Copy] = []

            async def copying() -> None:
                found.append(await copy(ensemble, network))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(copying)
                await trio.sleep(1)
                await ensemble.crash(first)
            (copied,) = found
        second = ensemble.leader()
        assert second not in (None, first)
        assert copied.source == str(ensemble.addresses(second or 0)[0])
        assert copied.epoch == copied.tree.last_zxid >> 32 == 2
        assert sum(path.count("/") == 1 for path in copied.tree.nodes) >= 100


async def test_a_guest_waits_for_room(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    settings = Settings(snapshot_syncs_max=1)
    async with open_ensemble(network, peers=3, settings=settings, limits=SMALL_CHUNKS) as ensemble:
        leader = await ensemble.wait_serving()
        async with ensemble.client() as client:
            for number in range(50):
                await client.create(f"/{number}", b"x" * 20)
        network.bandwidth(f"peer{leader}", GUEST, 2000)
        async with trio.open_nursery() as nursery:
            for seed in range(3):
                nursery.start_soon(lambda seed: copy(ensemble, network, seed=seed), seed)
        reasons = [it.event.reason for it in events_of(ensemble, LearnerLeft, leader)]
        assert any("other learners" in reason for reason in reasons)
        assert not [it for it in events_of(ensemble, StateChanged) if it.event.old == "leading"]


class Script:
    """A leader that says what a test wants, whatever it is told."""

    remote = "script"

    def __init__(self, *frames: bytes) -> None:
        self.frames = list(frames)
        self.heard: list[QuorumPacket] = []

    async def send(self, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.heard += decode_packets(frame)

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.frames:
            await trio.sleep_forever()
        return self.frames.pop(0)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def packet(kind: PacketType, zxid: int, data: bytes | None = None) -> bytes:
    return encode_packets([QuorumPacket(kind, zxid, data)])


async def visit(*frames: bytes) -> tuple[Script, DataTree]:
    script: Link = Script(*frames)
    copied = await Guest(script, GUEST_IDS[0], 20.0).copy("script")
    assert isinstance(script, Script)
    return script, copied.tree


INFO = packet(PacketType.LEADERINFO, 3 << 32, b"\0\1\0\0")


async def test_what_makes_no_sense_is_refused(autojump_clock: MockClock) -> None:
    with pytest.raises(PeerProtocolError, match="cut"):
        await visit(INFO, packet(PacketType.TRUNC, -1))
    with pytest.raises(PeerProtocolError, match="damaged"):
        await visit(INFO, packet(PacketType.SNAP, 1), b"\0\0\0\1", b"")
    with pytest.raises(PeerProtocolError):
        await visit(INFO, packet(PacketType.PROPOSAL, 1, b""))
    with pytest.raises(LinkClosed, match="said nothing"):
        await visit(INFO)
