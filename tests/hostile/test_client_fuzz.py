"""Mutated conversations: whatever arrives, the server answers or closes, and goes on."""

import random
import struct
from collections.abc import Callable

import pytest
import trio
import trio.testing

from tests.hostile.kit import CLOSE, OPEN_ACL, PING, Server, buffer, connect_frame, quorum, request, running, text
from trioquorum.events import StateChanged

PATHS = (
    "/",
    "/a",
    "/a/b",
    "/zookeeper",
    "/zookeeper/quota/a",
    "",
    "a",
    "/a/",
    "//",
    "/a/../b",
    "/\0",
    "/\ud7ff",
    "/é" * 20,
)
OPS = (*range(-12, 24), *range(98, 108), 2**31 - 1, -(2**31))
EDGES = (0, 1, -1, 3, -2, 5, 255, 2**31 - 1, -(2**31), 0x0FFFFF)


def integer(chance: random.Random) -> bytes:
    return struct.pack(">i", chance.choice(EDGES))


def long(chance: random.Random) -> bytes:
    return struct.pack(">q", chance.choice((0, 1, -1, 2**63 - 1, -(2**63), chance.getrandbits(62))))


def path(chance: random.Random) -> bytes:
    return text(chance.choice(PATHS))


def data(chance: random.Random) -> bytes:
    return buffer(chance.randbytes(chance.choice((0, 1, 30))))


def scheme(chance: random.Random) -> bytes:
    return text(chance.choice(("digest", "digest", "ip", "world", "sasl", "")))


def nothing(chance: random.Random) -> bytes:
    return struct.pack(">i", -1)


def flag(chance: random.Random) -> bytes:
    return bytes((chance.choice((0, 1, 2, 255)),))


def acl(chance: random.Random) -> bytes:
    return OPEN_ACL if chance.random() < 0.7 else struct.pack(">ii", 1, 31) + path(chance) + path(chance)


def paths(chance: random.Random) -> bytes:
    return struct.pack(">i", 2) + path(chance) + path(chance)


def multi(chance: random.Random) -> bytes:
    parts = b""
    for _ in range(chance.randrange(4)):
        op = chance.choice((1, 2, 4, 5, 8, 13, 15, 19, 21, chance.choice(OPS)))
        parts += struct.pack(">i?i", op, False, -1) + body(op, chance)
    return parts + struct.pack(">i?i", -1, True, -1)


Field = Callable[[random.Random], bytes]
BODIES: dict[int, tuple[Field, ...]] = {
    1: (path, data, acl, integer),
    2: (path, integer),
    3: (path, flag),
    4: (path, flag),
    5: (path, data, integer),
    6: (path,),
    7: (path, acl, integer),
    8: (path, flag),
    9: (path,),
    12: (path, flag),
    13: (path, integer),
    14: (multi,),
    15: (path, data, acl, integer),
    16: (path, integer, data),
    17: (path, integer),
    18: (path, integer),
    19: (path, data, acl, integer),
    20: (path,),
    21: (path, data, acl, integer, long),
    22: (multi,),
    100: (integer, scheme, data),
    101: (long, paths, paths, paths),
    102: (data,),
    103: (path,),
    104: (path,),
    105: (long, paths, paths, paths, paths, paths),
    106: (path, integer),
    107: (),
}


def body(op: int, chance: random.Random) -> bytes:
    fields = BODIES.get(op, (nothing,))
    return b"".join((nothing if chance.random() < 0.05 else field)(chance) for field in fields)


def mutated(frame: bytes, chance: random.Random) -> bytes:
    """Perhaps with a byte changed, a piece cut out or doubled; the length prefix is right or, rarely, changed too."""
    payload = bytearray(frame[4:])
    if payload and chance.random() < 0.4:
        at = chance.randrange(len(payload))
        kind = chance.randrange(4)
        if kind == 0:
            payload[at] = chance.randrange(256)
        elif kind == 1:
            del payload[at : at + chance.randrange(1, 9)]
        elif kind == 2:
            payload[at:at] = payload[max(0, at - 8) : at]
        else:
            payload[at : at + 4] = integer(chance)
    size = len(payload) if chance.random() < 0.97 else chance.choice(EDGES)
    return struct.pack(">i", size) + bytes(payload)


def conversation(chance: random.Random) -> bytes:
    """A handshake, mostly right, and requests, mostly of known opcodes."""
    timeout_ms = chance.choice((0, 5000, *EDGES))
    session = chance.choice((*[0] * 20, 1, -1, chance.getrandbits(62)))
    start = connect_frame(timeout_ms, session, seen=chance.choice((*[0] * 20, -1, 2**62)))
    frames = [start if chance.random() < 0.9 else mutated(start, chance)]
    for xid in range(chance.randrange(12)):
        op = chance.choice(tuple(BODIES)) if chance.random() < 0.9 else chance.choice(OPS)
        frames.append(mutated(request(chance.choice((xid, xid, *EDGES)), op, body(op, chance)), chance))
    if chance.random() < 0.3:
        frames.append(CLOSE)
    return b"".join(frames)


@pytest.mark.parametrize("seed", range(4))
async def test_mutated_conversations(seed: int) -> None:
    async with running(connections_per_ip_max=0) as server:
        await talk(server, seed, 150)


@pytest.mark.parametrize("seed", range(2))
async def test_mutated_conversations_with_an_ensemble(seed: int) -> None:
    """What a follower takes, the leader must be able to take from it."""
    async with quorum(connections_per_ip_max=0) as around:
        roles = {sid: around.times(sid, StateChanged) for sid in around.peers}
        await talk(around.peers[around.followers[0]], seed, 60)
        await talk(around.peers[around.leader], seed + 100, 30)
        assert {sid: around.times(sid, StateChanged) for sid in around.peers} == roles, "nobody gave up its role"


async def talk(server: Server, seed: int, conversations: int) -> None:
    chance = random.Random(seed)
    healthy = await server.client()
    for number in range(conversations):
        client = await server.stranger()
        stream = conversation(chance)
        cut = chance.randrange(len(stream))
        await client.send(stream[:cut])
        if chance.random() < 0.5:
            await trio.testing.wait_all_tasks_blocked()
        await client.send(stream[cut:])
        if chance.random() < 0.9:
            await client.send(PING)
            with trio.move_on_after(0.02):
                # A frame that is announced longer than it is swallows the ping.
                while (reply := await client.frame()) and not reply.startswith(b"\xff\xff\xff\xfe"):
                    pass
        await client.stream.aclose()
        if number % 30 == 29:
            await healthy.assert_alive()
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert await server.figure("outstanding_requests") == 0
    assert await server.figure("num_alive_connections") == 2
    assert await server.figure("watch_count") == 0
    assert await server.figure("packets_received") > conversations, "most get past the handshake"


@pytest.mark.parametrize("seed", range(2))
async def test_random_bytes_behind_a_handshake(seed: int) -> None:
    """Frames of random payloads with a plausible opcode in front."""
    chance = random.Random(seed)
    async with running(connections_per_ip_max=0) as server:
        for _ in range(150):
            client = await server.client()
            frames = [
                request(xid, chance.choice(OPS), chance.randbytes(chance.choice((0, 3, 8, 40)))) for xid in range(8)
            ]
            await client.send(b"".join(frames))
            await trio.testing.wait_all_tasks_blocked()
            await client.stream.aclose()
        await (await server.client()).assert_alive()
        assert await server.figure("outstanding_requests") == 0
