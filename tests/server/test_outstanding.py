"""How many requests may be under way (globalOutstandingLimit): who has any is not read on; nothing is dropped."""

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.hostile.kit import PING, AsyncRaw, Server, create, exists, running_as, set_data, standalone
from tests.regressions.kit import Raw, session, slow_disks
from tests.server.kit import GatedDisk
from trioquorum.limits import Limits
from trioquorum.storage.log_writer import LogWriter
from trioquorum.testing import open_ensemble
from trioquorum_transports.memory import MemoryNetwork


@asynccontextmanager
async def one_flush_a_write(limit: int) -> AsyncIterator[tuple[Server, GatedDisk]]:
    """A server with a znode ``/n``; each write has a flush of its own."""
    disk = GatedDisk()
    limits = Limits(client_requests_inflight_max=limit, log_batch_bytes_max=1)
    async with running_as(standalone(limits=limits), disk=disk) as server:
        client = await server.client()
        await client.send(create(1, "/n"))
        assert await client.reply() == (1, 0)
        try:
            yield server, disk
        finally:
            disk.open()


def writes(*xids: int) -> bytes:
    return b"".join(set_data(xid, "/n", b"") for xid in xids)


async def sent(client: AsyncRaw, data: bytes) -> AsyncRaw:
    """``client``, when the server has read what it will."""
    await client.send(data)
    await trio.testing.wait_all_tasks_blocked(0.02)
    return client


async def test_above_the_limit_who_has_a_request_under_way_is_not_read() -> None:
    async with one_flush_a_write(limit=5) as (server, disk):
        eager, second = await server.client(), await server.client()
        disk.close()
        await sent(eager, writes(*range(1, 11)))
        assert await server.figure("outstanding_requests") == 6
        # Each connection may have one; reads that wait for nothing are no burden.
        await sent(second, exists(1) + writes(2, 3, 4))
        assert await second.reply() == (1, 0)
        assert await server.figure("outstanding_requests") == 7
        await disk.let_pass(4)
        assert [await eager.reply() for _ in range(4)] == [(xid, 0) for xid in range(1, 5)]
        disk.open()
        assert [await eager.reply() for _ in range(6)] == [(xid, 0) for xid in range(5, 11)]
        assert [await second.reply() for _ in range(3)] == [(xid, 0) for xid in (2, 3, 4)]
        assert await server.figure("outstanding_requests") == 0


async def test_reads_behind_a_write_count_and_special_xids_do_not() -> None:
    async with one_flush_a_write(limit=5) as (server, disk):
        client = await server.client()
        disk.close()
        await sent(client, writes(1) + PING * 3 + exists(2) + exists(3))
        assert await server.figure("outstanding_requests") == 3
        await sent(client, PING * 20)
        assert await server.figure("outstanding_requests") == 3
        disk.open()
        replies = [await client.reply() for _ in range(26)]
        assert replies == [(1, 0)] + [(-2, 0)] * 3 + [(2, 0), (3, 0)] + [(-2, 0)] * 20


@pytest.mark.parametrize("log_has_room", [True, False])
async def test_special_xids_behind_a_write_are_bounded_all_the_same(
    log_has_room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one connection: who sends so many is not read on until they are answered and, of course, there is room."""
    async with one_flush_a_write(limit=5) as (server, disk):
        client, other = await server.client(), await server.client()
        disk.close()
        await sent(client, writes(1) + PING * 5000)
        assert await server.figure("packets_received") < 500
        with monkeypatch.context() as patch:
            if not log_has_room:
                patch.setattr(LogWriter, "has_room", False)
            await disk.let_pass(1)
            assert await client.reply() == (1, 0)
        await other.assert_alive()
        assert [await client.reply() for _ in range(5000)] == [(-2, 0)] * 5000


async def test_who_has_nothing_under_way_is_read_however_much_others_have() -> None:
    async with one_flush_a_write(limit=2) as (server, disk):
        eager, modest = await server.client(), await server.client()
        crowd = [await server.client() for _ in range(5)]
        disk.close()
        await sent(eager, writes(1, 2, 3, 4))
        await sent(modest, writes(1, 2))
        for client in crowd:
            await sent(client, writes(1))
        assert await server.figure("outstanding_requests") == 3 + 1 + 5
        await disk.let_pass(4)
        assert [await eager.reply() for _ in range(3)] == [(1, 0), (2, 0), (3, 0)]
        assert await modest.reply() == (1, 0)
        # Still five of others, which is too many; both may send one more.
        assert await server.figure("outstanding_requests") == 5 + 1 + 1
        disk.open()
        assert await eager.reply() == (4, 0)
        assert await modest.reply() == (2, 0)
        for client in crowd:
            assert await client.reply() == (1, 0)


async def test_a_connection_that_is_lost_gives_its_place_back() -> None:
    async with one_flush_a_write(limit=3) as (server, disk):
        eager, second = await server.client(), await server.client()
        disk.close()
        await sent(eager, writes(*range(1, 9)))
        await sent(second, writes(1, 2))
        assert await server.figure("outstanding_requests") == 5
        eager.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST
        await eager.stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert await server.figure("outstanding_requests") == 2
        disk.open()
        assert [await second.reply(), await second.reply()] == [(1, 0), (2, 0)]


@pytest.mark.parametrize(("peer", "taken"), [("leader", 3), ("follower", 3), ("observer", 5)])
async def test_voters_share_what_may_be_under_way(peer: str, taken: int, autojump_clock: MockClock) -> None:
    """Of four each of three voters takes two; one more is read before reading stops."""
    limits = Limits(client_requests_inflight_max=4)
    async with open_ensemble(MemoryNetwork(), observers=1, limits=limits) as ensemble:
        leader = await ensemble.wait_serving()
        sid = {"leader": leader, "follower": leader % 3 + 1, "observer": 4}[peer]
        async with session(ensemble, sid) as client:
            await client.send(create(1, "/n"))
            assert (await client.reply()).err == 0
            slow_disks(ensemble, 5.0)
            await client.send(writes(*range(2, 12)))
            await trio.sleep(0.5)
            asks = await Raw.dial(ensemble, sid)
            await asks.send(b"mntr")
            assert f"zk_outstanding_requests\t{taken}\n" in (await asks.receive() or b"").decode()
            await asks.aclose()
            slow_disks(ensemble, 0.0)
            assert [(await client.reply()).err for _ in range(10)] == [0] * 10
