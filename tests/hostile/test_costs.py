"""What a hostile client makes the server do is in proportion to what it sends. Bounds are ten times what is needed."""

import random
import struct
import time
import tracemalloc

import pytest
import trio
import trio.testing

from tests.hostile.kit import connect_frame, create, get_data, quorum, request, running, set_data, text
from trioquorum.events import LearnerLeft, StateChanged


async def test_a_first_frame_in_small_pieces() -> None:
    """A connect request of the largest size, eight bytes at a time."""
    async with running() as server:
        client = await server.stranger()
        [connection] = [each for each in await server.connections() if not each.session]
        began = time.process_time()
        connection.feed(struct.pack(">i", 0xFFFFF))
        for _ in range(0x1FFFF):
            connection.feed(bytes(8))
        assert not connection.closing
        assert time.process_time() - began < 4
        await client.stream.aclose()


@pytest.mark.slow
async def test_events_for_a_client_with_a_long_backlog() -> None:
    """Each event waits behind what waits already, without moving it."""
    async with running(client_outbox_bytes_max=40 << 20) as server:
        writer = await server.client()
        await writer.send(create(1, "/big") + create(2, "/noisy") + set_data(3, "/big", bytes(1_000_000)))
        assert [await writer.reply() for _ in range(3)] == [(1, 0), (2, 0), (3, 0)]
        deaf = await server.stranger(receive_buffer=4096)
        await deaf.handshake()
        await deaf.send(request(1, 106, text("/noisy") + struct.pack(">i", 1)))
        assert await deaf.reply() == (1, 0)
        part = struct.pack(">i?i", 4, False, -1) + text("/big") + b"\0"
        seven = part * 7 + struct.pack(">i?i", -1, True, -1)
        await deaf.send(b"".join(request(xid, 22, seven) for xid in range(5)))
        await trio.testing.wait_all_tasks_blocked(0.05)
        began = time.process_time()
        for number in range(500):
            await writer.send(create(number, f"/noisy/{number}"))
            assert await writer.reply() == (number, 0)
        assert time.process_time() - began < 2
        # And then it reads after all: everything is there, in order.
        await deaf.send(get_data(9, "/noisy"))
        assert [await deaf.reply() for _ in range(506)] == [*((xid, 0) for xid in range(5)), *[(-1, 0)] * 500, (9, 0)]


async def test_one_small_request_for_a_huge_reply() -> None:
    """A multiRead of a megabyte znode, thousands of times in one frame."""
    async with running() as server:
        client = await server.client()
        await client.send(create(1, "/big") + set_data(2, "/big", bytes(1_000_000)))
        assert [await client.reply(), await client.reply()] == [(1, 0), (2, 0)]
        part = struct.pack(">i?i", 4, False, -1) + text("/big") + b"\0"
        await client.send(request(3, 22, part * 5 + struct.pack(">i?i", -1, True, -1)))
        assert await client.reply() == (3, 0)
        tracemalloc.start()
        try:
            await client.send(request(4, 22, part * 100 + struct.pack(">i?i", -1, True, -1)))
            assert await client.reply() == (4, -5)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 40 << 20
        await client.assert_alive()


async def test_a_client_with_endless_identities() -> None:
    """Every write carries the client's identities to the leader, so there is an end to them."""
    async with running() as server:
        client = await server.client()
        chance = random.Random(2)
        await client.send(
            b"".join(request(-4, 100, bytes(4) + text("digest") + text(f"u{chance.random()}:p")) for _ in range(5000))
        )
        replies = await client.replies()
        assert replies[:99] == [(-4, 0)] * 99
        assert replies[-1] == (-4, -115)
        assert len(replies) < 1000


async def test_half_a_session_handshake_per_connection() -> None:
    """Sessions nobody waits for expire like others, whatever timeout was asked for."""
    async with running(connections_per_ip_max=0) as server:
        for _ in range(100):
            client = await server.stranger()
            await client.send(connect_frame(2**31 - 1))
            await client.stream.aclose()
        assert await server.figure("global_sessions") <= 200
        assert await server.figure("outstanding_requests") == 0


async def test_requests_that_walk_the_whole_tree() -> None:
    """A thousand of them arrive at once; the others have their turn in between."""
    async with running() as server:
        hostile, other = await server.client(), await server.client()
        await hostile.send(create(0, "/t") + b"".join(create(xid, f"/t/{xid}") for xid in range(1, 1000)))
        assert [await hostile.reply() for _ in range(1000)] == [(xid, 0) for xid in range(1000)]
        [connection] = [each for each in await server.connections() if each.session == hostile.session]
        count = 1000
        connection.feed(b"".join(request(xid, 104, text("/t")) for xid in range(count)))
        assert connection.stalled
        assert 0 < len(connection.outbox) < count / 2
        await other.assert_alive()
        assert [await hostile.reply() for _ in range(count)] == [(xid, 0) for xid in range(count)]


@pytest.mark.slow
async def test_large_writes_without_end_in_an_ensemble() -> None:
    """A client that sends fifty megabytes and never waits: nobody loses its role or its link."""
    async with quorum() as around:
        before = {sid: around.times(sid, StateChanged) for sid in around.peers}
        hostile, other = [await around.peers[sid].client() for sid in (around.leader, around.followers[0])]
        await hostile.send(create(0, "/big"))
        assert await hostile.reply() == (0, 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hostile.send, b"".join(set_data(xid, "/big", bytes(500_000)) for xid in range(100)))
            for _ in range(5):
                await other.assert_alive()
            assert [await hostile.reply() for _ in range(100)] == [(xid, 0) for xid in range(100)]
        assert {sid: around.times(sid, StateChanged) for sid in around.peers} == before
        assert [event for sid in around.peers for event in around.events(sid, LearnerLeft)] == []
