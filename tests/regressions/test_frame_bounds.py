"""Batches of large packets left in one frame that no peer link carries, which ended the peer that sent it.

Forwarded requests, proposals outstanding when a learner joins, and what observers are told were each encoded as one
frame, however large they were together. A few clients writing a megabyte at one moment were enough.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import trio
from hypothesis import given, strategies as st
from trio.testing import MockClock

from tests.hostile.kit import create, set_data
from tests.regressions.kit import MEGABYTE, others, session, slow_disks
from trioquorum.config import ServerConfig
from trioquorum.events import Event, LearnerSyncing
from trioquorum.limits import Limits
from trioquorum.peer.following import Following
from trioquorum.peer.roles import Peer
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum.transport import Link
from trioquorum.wire.quorum import PacketType, QuorumPacket, decode_packets, encode_frames
from trioquorum.zab.quorum import QuorumConfig
from trioquorum_transports.memory import MemoryNetwork

LIMITS = Limits(peer_frame_bytes_max=6 << 20)  # what our links carry beyond the 4 MiB that a batch is cut at
ENOUGH = 16
OVERHEAD_BYTES = 32  # of a packet without identities: its type, zxid and lengths
IDENTITY_OVERHEAD_BYTES = 11

SIZES = st.integers(0, 300)
IDENTITIES = st.lists(st.tuples(st.sampled_from(["ip", "digest"]), SIZES.map("ü".__mul__)), max_size=3)
PACKETS = st.builds(
    QuorumPacket, st.just(PacketType.REQUEST), st.just(-1), st.none() | SIZES.map(bytes), st.none() | IDENTITIES
)


def size_of(packet: QuorumPacket) -> int:
    """Bytes of a packet, without what is around its fields."""
    return len(packet.data or b"") + sum(len(scheme) + len(name.encode()) for scheme, name in packet.auth or ())


def overhead(part: list[QuorumPacket]) -> int:
    return sum(OVERHEAD_BYTES + IDENTITY_OVERHEAD_BYTES * len(packet.auth or ()) for packet in part) + 5


@given(st.lists(PACKETS, max_size=20), st.integers(1, 2000))
def test_frames_are_bounded_and_lose_nothing(packets: list[QuorumPacket], frame_bytes: int) -> None:
    """Everything in order; only the last packet of a frame exceeds the bound, and no frame is cut before it is due."""
    frames = list(encode_frames(packets, frame_bytes))
    parts = [decode_packets(frame) for frame in frames]
    assert [packet for part in parts for packet in part] == packets
    for frame, part in zip(frames, parts, strict=True):
        assert sum(map(size_of, part[:-1])) < frame_bytes
        assert len(frame) < frame_bytes + size_of(part[-1]) + overhead(part)
    assert all(sum(map(size_of, part)) >= frame_bytes for part in parts[:-1])


def test_identities_count() -> None:
    """A client with a hundred long identities sends tiny requests."""
    auth = [("digest", f"{number:04}{'u' * 4000}:hash") for number in range(100)]
    packets = [QuorumPacket(PacketType.REQUEST, -1, bytes(40), auth) for _ in range(60)]
    assert max(map(len, encode_frames(packets, 4 << 20))) < 5 << 20


async def write_at_once(ensemble: MemoryEnsemble, peer: int) -> None:
    """More megabytes than one frame carries come to ``peer`` in one moment, each from a client of its own."""
    async with trio.open_nursery() as nursery:
        ready = trio.Event()
        for number in range(ENOUGH):
            nursery.start_soon(_write, ensemble, peer, number, ready)
        await trio.sleep(1)
        ready.set()


async def _write(ensemble: MemoryEnsemble, peer: int, number: int, ready: trio.Event) -> None:
    async with session(ensemble, peer) as client:
        await client.send(create(1, f"/big-{number}"))
        assert (await client.reply()).err == 0
        await ready.wait()
        await client.send(set_data(2, f"/big-{number}", bytes(MEGABYTE)))
        assert (await client.reply()).err == 0


async def test_what_a_follower_forwards_in_one_wake_up(autojump_clock: MockClock) -> None:
    """The requests of many sockets leave together; a link in memory has a wake-up of its own, so there is no peer."""
    peer = SimpleNamespace(
        config=ServerConfig(
            my_id=1, peers=(), client_addresses=(), data_dir=Path("none"), data_log_dir=Path("none"), limits=LIMITS
        ),
        epochs=SimpleNamespace(accepted=1, current=1),
        db=SimpleNamespace(joinable_zxid=0, last_zxid=0),
        members=SimpleNamespace(committed=QuorumConfig(())),
    )
    following = Following(cast("Peer", peer), 2, observer=False)
    packets = [QuorumPacket(PacketType.REQUEST, number, bytes(MEGABYTE)) for number in range(ENOUGH)]
    following._send_all(packets)
    sent: list[bytes] = []

    class Listening:
        async def send(self, frame: bytes) -> None:
            await trio.lowlevel.checkpoint()
            sent.append(frame)

    with trio.move_on_after(0.01):
        await following._outbox.send_to(cast("Link", Listening()))
    assert [packet for frame in sent for packet in decode_packets(frame)] == packets
    assert max(map(len, sent)) <= LIMITS.peer_frame_bytes_max


async def test_what_observers_are_told_of_one_commit(autojump_clock: MockClock) -> None:
    """A slow flush gathers all writes in one batch, and a quorum's acknowledgement commits them together."""
    async with open_ensemble(MemoryNetwork(), observers=1, limits=LIMITS) as ensemble:
        leader = await ensemble.wait_serving()
        slow_disks(ensemble, 0.5)
        await write_at_once(ensemble, leader)
        goal = ensemble.peers[leader].database.last_zxid
        await ensemble.wait_until(lambda: ensemble.peers[4].database.last_zxid >= goal)


async def test_what_is_outstanding_when_a_learner_comes_back(autojump_clock: MockClock) -> None:
    """Every disk stalls for some seconds, and meanwhile one link breaks."""
    network = MemoryNetwork()
    async with open_ensemble(network, limits=LIMITS) as ensemble:
        leader = await ensemble.wait_serving()
        learner = others(ensemble, leader)[0]
        outstanding = 0

        def look(peer: int, event: Event) -> None:
            nonlocal outstanding
            if isinstance(event, LearnerSyncing) and event.learner == learner:
                log = ensemble.peers[leader].database.log
                outstanding = log.last_appended - ensemble.peers[leader].database.last_zxid

        async with session(ensemble, leader) as client:
            await client.send(create(1, "/big"))
            await client.reply()
            slow_disks(ensemble, 3.0)
            ensemble.subscribe(look)
            network.break_links(f"peer{leader}", f"peer{learner}")
            await client.send(*(set_data(2 + number, "/big", bytes(MEGABYTE)) for number in range(ENOUGH)))
            for number in range(ENOUGH):
                answer = await client.reply()
                assert (answer.xid, answer.err) == (2 + number, 0)
        assert outstanding == ENOUGH
        assert await ensemble.wait_serving() == leader
