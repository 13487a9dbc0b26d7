"""Strangers at the election ports: votes nobody cast, callers who say nothing, frames of no sense."""

import random
from itertools import product

import pytest
import trio
import trio.testing

from tests.hostile.kit import Quorum, create, quorum
from trioquorum.errors import LinkClosed
from trioquorum.events import Elected, FrameDropped, LinkRefused, StateChanged
from trioquorum.transport import Link
from trioquorum.wire.election import Hello, Notification, PeerState, encode_hello, encode_notification


async def call(around: Quorum, to: int, sid: int | None) -> Link:
    """A link to the election port of ``to``, by somebody who says to be ``sid``."""
    link = await around.dial("election", to, frame_bytes_max=512 << 10)
    if sid is not None:
        await link.send(encode_hello(Hello(sid=sid, address="memory://mallory")))
    return link


async def send(link: Link, *frames: bytes) -> None:
    """Send as far as the other end lets us."""
    try:
        for frame in frames:
            await link.send(frame)
    except LinkClosed:
        await trio.lowlevel.checkpoint()


async def write(around: Quorum, path: str) -> None:
    client = await around.peers[around.followers[0]].client()
    await client.send(create(1, path))
    assert await client.reply() == (1, 0)


def changes(around: Quorum) -> dict[int, int]:
    return {sid: around.times(sid, StateChanged) for sid in around.peers}


async def test_wrong_first_frames() -> None:
    chance = random.Random(4)
    frames = [b"", b"\xc1", b"GET / HTTP/1.1\r\n\r\n", b"\x91" * 2000, bytes(3000), chance.randbytes(100)]
    frames += [encode_hello(Hello(sid=sid, address="x")) for sid in (0, 77, -1, 2**63 - 1)]
    frames += [encode_hello(Hello(sid=1, address="x", protocol=2)), encode_hello(Hello(sid=1, address="x" * 3000))]
    async with quorum() as around:
        before = changes(around)
        for sid, frame in product(around.peers, frames):
            link = await around.dial("election", sid, frame_bytes_max=512 << 10)
            await send(link, frame)
            with trio.fail_after(10), pytest.raises(LinkClosed):
                await link.receive()
        assert all(around.times(sid, LinkRefused) == len(frames) for sid in around.peers)
        await write(around, "/written")
        assert changes(around) == before


@pytest.mark.parametrize("seed", range(3))
async def test_votes_nobody_cast_unseat_nobody(seed: int) -> None:
    """In the name of every peer, with every state, for everybody, of any round, epoch and zxid; and mere noise."""
    chance = random.Random(seed)
    edges = (0, 1, 2, 2**31, 2**62, 2**63 - 1, -1, -(2**63))
    async with quorum() as around:
        before = changes(around)
        for to, sid in product(around.peers, (1, 2, 3)):
            link = await call(around, to, sid)
            for _ in range(30):
                note = Notification(
                    state=chance.choice(list(PeerState)),
                    leader=chance.choice((1, 2, 3, 77, -1)),
                    zxid=chance.choice(edges),
                    round=chance.choice(edges),
                    peer_epoch=chance.choice(edges),
                    version=chance.choice((0, 1, 2, 99)),
                    config=chance.choice((None, "", "version=ffffffffffffffff", "server.1=x\nversion=zz", "\0")),
                )
                await send(link, encode_notification(note), chance.randbytes(20))
            await trio.testing.wait_all_tasks_blocked()
            await link.aclose()
        await write(around, "/written")
        assert changes(around) == before
        assert sum(around.times(sid, FrameDropped) for sid in around.peers) > 50


async def test_a_leader_is_elected_while_strangers_hold_the_doors() -> None:
    """More silent callers at every port than are let in, and votes for a peer that does not exist."""
    async with quorum(handshake_links_max=8) as around:
        strangers = [await call(around, to, None) for to in around.peers for _ in range(30)]
        await trio.testing.wait_all_tasks_blocked()
        await around.end(around.leader)
        for to in around.peers:
            link = await call(around, to, 2)
            await send(link, encode_notification(Notification(PeerState.LOOKING, 77, 2**62, 2**40, 2**31)))
            strangers.append(link)
        with trio.fail_after(20):
            while sorted(around.role(sid) for sid in around.peers) != ["following", "leading"]:
                strangers += [await call(around, to, None) for to in around.peers]
                await trio.sleep(0.01)
        assert all(around.times(sid, Elected) >= 2 for sid in around.peers)
        with trio.fail_after(20):
            while not around.all_serve():
                await trio.sleep(0.01)
        await write(around, "/written")
        for link in strangers:
            await link.aclose()
