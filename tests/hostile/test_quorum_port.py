"""Strangers and broken learners at the leader's quorum port: the ensemble goes on, and nobody loses a role."""

import random
import struct

import pytest
import trio
import trio.testing

from tests.hostile.kit import Quorum, create, exists, quorum, set_data
from trioquorum.errors import LinkClosed
from trioquorum.events import Established, Event, LearnerLeft, LinkRefused, SessionExpired, StateChanged
from trioquorum.transport import Link
from trioquorum.wire.ops import Op
from trioquorum.wire.quorum import (
    LearnerInfo,
    PacketType,
    QuorumPacket,
    decode_packets,
    encode_ack_epoch,
    encode_packets,
    encode_request,
    encode_revalidate,
    encode_touched,
)

STRANGER = 77


def one(kind: int, zxid: int = 0, data: bytes | None = None) -> bytes:
    return encode_packets([QuorumPacket(kind, zxid, data)])


def introduction(sid: int = STRANGER, *, kind: int = PacketType.FOLLOWERINFO, epoch: int = 0) -> bytes:
    return one(kind, epoch << 32, LearnerInfo(sid, 0x10000, 0).encode())


async def join(around: Quorum, sid: int = STRANGER, *, kind: int = PacketType.FOLLOWERINFO, zxid: int = 0) -> Link:
    """A learner that is synchronised and has acknowledged the new leader."""
    link = await around.dial("quorum", around.leader)
    await link.send(introduction(sid, kind=kind))
    [info] = decode_packets(await link.receive())
    await link.send(one(PacketType.ACKEPOCH, zxid, encode_ack_epoch(0)))
    while True:
        packets = decode_packets(await link.receive())
        if packets[-1].type == PacketType.SNAP:
            while await link.receive():
                pass
        elif packets[-1].type == PacketType.NEWLEADER:
            break
    await link.send(one(PacketType.ACK, info.zxid))
    while True:
        [packet] = decode_packets(await link.receive())
        if packet.type == PacketType.UPTODATE:
            return link
        assert packet.type == PacketType.PING


async def until_closed(link: Link) -> None:
    with trio.fail_after(10):
        while True:
            try:
                await link.receive()
            except LinkClosed:
                return


async def write(around: Quorum, path: str = "/written") -> None:
    """A write through a follower is committed and visible on the leader."""
    client = await around.peers[around.followers[0]].client()
    await client.send(create(1, path))
    assert await client.reply() == (1, 0)
    reader = await around.peers[around.leader].client()
    await reader.send(exists(1, path))
    assert await reader.reply() == (1, 0)


def changes(around: Quorum) -> dict[int, int]:
    return {sid: around.times(sid, StateChanged) for sid in around.peers}


def lost(around: Quorum, sids: tuple[int, ...] = (1, 2, 3)) -> list[Event]:
    return [event for event in around.events(around.leader, LearnerLeft) if event.learner in sids]


FIRST_FRAMES = {
    "nothing": b"",
    "no msgpack": b"\xc1",
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "no packets": encode_packets([]),
    "a map": b"\x81\xa1a\x01",
    "deep": b"\x91" * 100_000,
    "a request": one(PacketType.REQUEST, 0, bytes(20)),
    "an unknown type": one(99),
    "no learner info": one(PacketType.FOLLOWERINFO),
    "short learner info": one(PacketType.FOLLOWERINFO, 0, bytes(7)),
    "a newer configuration": one(PacketType.FOLLOWERINFO, 0, LearnerInfo(STRANGER, 0x10000, 2**62).encode()),
    "random": random.Random(3).randbytes(5000),
}


@pytest.mark.parametrize("name", FIRST_FRAMES)
async def test_a_wrong_first_frame(name: str) -> None:
    async with quorum() as around:
        before = changes(around)
        link = await around.dial("quorum", around.leader)
        await link.send(FIRST_FRAMES[name])
        await until_closed(link)
        assert [event.kind for event in around.events(around.leader, LinkRefused)] == ["quorum"]
        await write(around)
        assert changes(around) == before


async def test_a_frame_over_the_limit() -> None:
    async with quorum(peer_frame_bytes_max=1 << 20) as around:
        link = await around.dial("quorum", around.leader)
        await link.send(bytes((1 << 20) + 1))
        await until_closed(link)
        await write(around)


async def test_a_learner_that_says_it_is_the_leader() -> None:
    async with quorum() as around:
        link = await around.dial("quorum", around.leader)
        await link.send(introduction(around.leader))
        await until_closed(link)
        await write(around)


@pytest.mark.parametrize("sid", [STRANGER, -1, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("kind", [PacketType.FOLLOWERINFO, PacketType.OBSERVERINFO])
async def test_a_stranger_is_served_and_counts_for_nothing(sid: int, kind: int) -> None:
    """ZooKeeper lets peers in that are to be added to the configuration later."""
    async with quorum() as around:
        before = changes(around)
        link = await join(around, sid, kind=kind)
        await write(around)
        await link.aclose()
        await write(around, "/more")
        assert changes(around) == before


@pytest.mark.parametrize("epoch", [0, 1, 2**31 - 2, 2**31 - 1, -1, -(2**31)])
async def test_a_learner_from_a_later_epoch(epoch: int) -> None:
    """The epoch is decided already: nobody makes this leader step down by claiming more."""
    async with quorum() as around:
        before = changes(around)
        link = await around.dial("quorum", around.leader)
        await link.send(introduction(epoch=epoch))
        await link.send(one(PacketType.ACKEPOCH, 2**62, struct.pack(">i", 2**31 - 1)))
        await trio.testing.wait_all_tasks_blocked(0.02)
        await write(around)
        assert changes(around) == before


@pytest.mark.parametrize("zxid", [0, 1, -1, 2**32, 2**62, 2**63 - 1, -(2**63)])
async def test_a_learner_with_any_history(zxid: int) -> None:
    async with quorum() as around:
        before = changes(around)
        await write(around)
        link = await join(around, zxid=zxid)
        await write(around, "/more")
        await link.aclose()
        assert changes(around) == before


LEADERS = (2, 4, 8, 9, 10, 12, 13, 14, 15)
LATER_FRAMES = {
    "no msgpack": b"\xc1\xff",
    "an acknowledgement of the future": one(PacketType.ACK, 2**62),
    "an acknowledgement of a negative zxid": one(PacketType.ACK, -5),
    "a short request": one(PacketType.REQUEST, -1, bytes(3)),
    "a request without body": one(PacketType.REQUEST, -1),
    "touches cut short": one(PacketType.PING, 0, bytes(5)),
    "a short revalidation": one(PacketType.REVALIDATE, 0, bytes(5)),
    "packets only a leader sends": encode_packets([QuorumPacket(kind, 7, b"x") for kind in LEADERS]),
    "unknown packets": encode_packets([QuorumPacket(kind, 7, b"x") for kind in (-1, 0, 99, 2**31 - 1)]),
    "handshakes again": introduction(),
    "strange identities": encode_packets(
        [QuorumPacket(PacketType.REQUEST, -1, encode_request(5, 1, 1, b"\0"), [("", ""), ("digest", "x" * 10_000)])]
    ),
    "negative timeouts": encode_packets(
        [
            QuorumPacket(PacketType.PING, 0, encode_touched([(1, -1), (2, -(2**31)), (3, 2**31 - 1)])),
            QuorumPacket(PacketType.REVALIDATE, 0, encode_revalidate(9, -(2**31))),
            QuorumPacket(PacketType.REQUEST, -1, encode_request(-4, 0, Op.CREATE_SESSION, struct.pack(">i", -1))),
            QuorumPacket(PacketType.REQUEST, -1, encode_request(-5, 0, Op.CREATE_SESSION, b"\x7f\xff\xff\xff")),
            QuorumPacket(PacketType.REQUEST, -1, encode_request(-6, 0, Op.CREATE_SESSION, b"")),
        ]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LATER_FRAMES)
async def test_a_synchronised_learner_that_breaks_the_protocol(name: str) -> None:
    async with quorum() as around:
        before = changes(around)
        link = await join(around)
        await link.send(LATER_FRAMES[name])
        await trio.testing.wait_all_tasks_blocked(0.01)
        await write(around)
        if name == "negative timeouts":
            with trio.fail_after(10):
                while -4 not in [event.session for event in around.events(around.leader, SessionExpired)]:
                    await trio.sleep(0.01)
            await write(around, "/more")
        assert changes(around) == before
        assert lost(around) == []
        await link.aclose()


@pytest.mark.parametrize("seed", range(3))
async def test_random_packets_of_synchronised_learners(seed: int) -> None:
    """Known types with any body; requests of every opcode, for sessions that are others' too."""
    chance = random.Random(seed)
    async with quorum() as around:
        before = changes(around)
        client = await around.peers[around.leader].client()
        for _ in range(10):
            link = await join(around)
            for _ in range(20):
                session = chance.choice((0, 1, -1, client.session, chance.getrandbits(62)))
                op = chance.choice((*range(-12, 24), 100, 101))
                body = chance.randbytes(chance.choice((0, 4, 20, 60)))
                packets = [
                    QuorumPacket(PacketType.REQUEST, -1, encode_request(session, chance.randrange(5), op, body)),
                    QuorumPacket(chance.randrange(-1, 21), chance.getrandbits(63), body),
                    QuorumPacket(PacketType.PING, 0, encode_touched([(session, chance.getrandbits(31))])),
                    QuorumPacket(PacketType.REVALIDATE, 0, encode_revalidate(session, chance.getrandbits(31))),
                ]
                try:
                    await link.send(encode_packets([chance.choice(packets)]))
                except LinkClosed:
                    break
            await trio.testing.wait_all_tasks_blocked()
            await link.aclose()
        await write(around)
        assert changes(around) == before
        assert lost(around) == []


async def test_a_follower_played_by_somebody_else_gets_its_place_back() -> None:
    """Links are not authenticated: the last one to come is the follower, and the true one comes again."""
    async with quorum() as around:
        victim = around.followers[0]
        link = await join(around, victim)
        await until_closed(link)
        with trio.fail_after(10):
            while around.times(victim, Established) < 2 or not around.all_serve():
                await trio.sleep(0.01)
        await write(around)


async def test_a_replayed_conversation() -> None:
    """What a follower said once, said again by somebody else."""
    async with quorum() as around:
        before = changes(around)
        replay = [introduction(), one(PacketType.ACKEPOCH, 0, encode_ack_epoch(0)), one(PacketType.ACK, 1 << 32)]
        for _ in range(20):
            link = await around.dial("quorum", around.leader)
            for frame in replay:
                await link.send(frame)
            await trio.testing.wait_all_tasks_blocked()
            await link.aclose()
        await write(around)
        assert changes(around) == before


async def test_a_learner_that_stops_reading_is_dropped_alone() -> None:
    limit = 4 << 20
    async with quorum(learner_queue_bytes_max=limit) as around:
        before = changes(around)
        deaf = await join(around)
        client = await around.peers[around.leader].client()
        await client.send(create(0, "/big"))
        assert await client.reply() == (0, 0)
        for number in range(10):
            await client.send(set_data(number, "/big", bytes(900_000)))
            assert await client.reply() == (number, 0)
        [left] = around.events(around.leader, LearnerLeft)
        assert left.learner == STRANGER
        await until_closed(deaf)
        await write(around)
        assert changes(around) == before


async def test_a_learner_that_never_takes_its_snapshot_is_dropped_when_its_queue_is_full() -> None:
    limit = 4 << 20
    async with quorum(learner_queue_bytes_max=limit) as around:
        client = await around.peers[around.leader].client()
        for number in range(4):
            await client.send(create(0, f"/big{number}") + set_data(1, f"/big{number}", bytes(900_000)))
            assert [await client.reply(), await client.reply()] == [(0, 0), (1, 0)]
        deaf = await around.dial("quorum", around.leader)
        await deaf.send(introduction())
        await deaf.receive()
        await deaf.send(one(PacketType.ACKEPOCH, 2**62, encode_ack_epoch(0)))
        await trio.testing.wait_all_tasks_blocked(0.01)
        for number in range(10):
            await client.send(set_data(number, "/big0", bytes(900_000)))
            assert await client.reply() == (number, 0)
        await trio.testing.wait_all_tasks_blocked(0.01)
        [left] = around.events(around.leader, LearnerLeft)
        assert left.learner == STRANGER
        await deaf.aclose()


async def test_silent_callers_do_not_keep_a_learner_out() -> None:
    async with quorum(handshake_links_max=8) as around:
        callers = [await around.dial("quorum", around.leader) for _ in range(30)]
        await trio.testing.wait_all_tasks_blocked()
        link = await join(around)
        await link.aclose()
        await write(around)
        for caller in callers:
            await caller.aclose()


async def test_silent_callers_are_sent_away() -> None:
    async with quorum(handshake_timeout_ms=300) as around:
        link = await around.dial("quorum", around.leader)
        began = trio.current_time()
        await until_closed(link)
        assert 0.2 < trio.current_time() - began < 2
