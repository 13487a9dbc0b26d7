"""The queue in front of the pipeline (request_throttle_…), who waits too long in it, and large requests."""

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.hostile.kit import PING, AsyncRaw, Server, create, exists, request, running_as, set_data, standalone
from tests.server.kit import GatedDisk
from trioquorum.limits import Limits, Throttles


@asynccontextmanager
async def throttled(**rules: Any) -> AsyncIterator[tuple[Server, GatedDisk]]:
    """A server with a znode ``/n``; each write has a flush of its own. Twenty requests wait at most."""
    disk = GatedDisk()
    limits = Limits(client_requests_inflight_max=20, log_batch_bytes_max=1)
    async with running_as(standalone(limits=limits, throttles=Throttles(**rules)), disk=disk) as server:
        client = await server.client()
        await client.send(create(1, "/n"))
        assert await client.reply() == (1, 0)
        try:
            yield server, disk
        finally:
            disk.open()


def write(xid: int, size: int = 0) -> bytes:
    return set_data(xid, "/n", bytes(size))


async def sent(client: AsyncRaw, *frames: bytes) -> None:
    """Send, and wait until the server has read what it will."""
    await client.send(b"".join(frames))
    await trio.testing.wait_all_tasks_blocked(0.02)


async def reset(client: AsyncRaw) -> None:
    client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await client.stream.aclose()
    await trio.testing.wait_all_tasks_blocked(0.02)


async def test_requests_wait_for_the_pipeline_in_the_order_they_came() -> None:
    async with throttled(request_max=2) as (server, disk):
        first, second = await server.client(), await server.client()
        disk.close()
        await sent(first, write(1), write(2), write(3), exists(4), PING, write(5))
        await sent(second, exists(1), write(2))
        assert await server.figure("outstanding_requests") == 2
        # Even who has nothing under way waits behind those in front.
        await disk.let_pass(1)
        assert await first.reply() == (1, 0)
        assert await server.figure("outstanding_requests") == 2
        assert await server.figure("request_throttle_wait_count") == 6
        disk.open()
        assert [await first.reply() for _ in range(5)] == [(2, 0), (3, 0), (4, 0), (-2, 0), (5, 0)]
        assert [await second.reply() for _ in range(2)] == [(1, 0), (2, 0)]
        assert await server.figure("outstanding_requests") == 0


async def test_the_queue_is_bounded_by_not_reading() -> None:
    async with throttled(request_max=1) as (server, disk):
        client = await server.client()
        disk.close()
        await sent(client, *(write(xid) for xid in range(1, 101)))
        assert await server.figure("packets_received") < 40
        disk.open()
        assert [await client.reply() for _ in range(100)] == [(xid, 0) for xid in range(1, 101)]


async def version(client: AsyncRaw) -> int:
    """How often ``/n`` was set."""
    await client.send(exists(99, "/n"))
    payload = await client.frame()
    assert payload is not None
    found: int = struct.unpack_from(">i", payload, 16 + 32)[0]
    return found


@pytest.mark.parametrize("check", [True, False])
async def test_who_is_gone_leaves_no_work_behind(check: bool) -> None:
    """Except for a goodbye: the session ends. Without the check what was asked for is done."""
    async with throttled(request_max=1, request_stale_connection_check=check) as (server, disk):
        busy, gone, parting = [await server.client() for _ in range(3)]
        disk.close()
        await sent(busy, write(1))
        await sent(gone, write(1), write(2))
        await sent(parting, write(1), request(2, -11))
        await reset(gone)
        await reset(parting)
        disk.open()
        assert await busy.reply() == (1, 0)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert await version(busy) == (1 if check else 4)
        assert await server.figure("stale_requests_dropped") == (4 if check else 0)
        assert await server.figure("global_sessions") == (4 if check else 3)
        assert await server.figure("outstanding_requests") == 0


async def test_a_goodbye_that_waits_alone_is_said_for_who_is_gone() -> None:
    async with throttled(request_max=1) as (server, disk):
        busy, parting = await server.client(), await server.client()
        disk.close()
        await sent(busy, write(1))
        await sent(parting, request(2, -11))
        await reset(parting)
        disk.open()
        assert await busy.reply() == (1, 0)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert await server.figure("global_sessions") == 2


async def test_who_waits_longer_than_a_session_lasts_is_cut(mock_clock: MockClock) -> None:
    """Though nothing else happens; nothing of it is executed behind what was dropped."""
    rules = {"request_stale_latency_check": True, "request_stall_time_ms": 100}
    async with throttled(request_max=1, **rules) as (server, disk):
        busy, late, client = [await server.client() for _ in range(3)]
        disk.close()
        await sent(busy, write(1))
        await sent(late, write(1), write(2))
        mock_clock.jump(4.9)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert await server.figure("stale_requests_dropped") == 0
        mock_clock.jump(0.2)
        assert await late.rest() == b""
        assert server.reasons() == ["its requests waited too long"]
        assert await server.figure("stale_requests_dropped") == 2
        disk.open()
        assert await busy.reply() == (1, 0)
        assert await version(client) == 1


async def test_who_waited_too_long_is_told_so(mock_clock: MockClock) -> None:
    """In its turn, and nothing is done; pings and goodbyes are never refused."""
    async with throttled(request_max=1, throttled_op_wait_time_ms=500) as (server, disk):
        busy, late = await server.client(), await server.client()
        disk.close()
        await sent(busy, write(1))
        await sent(late, write(1), exists(2), PING)
        mock_clock.jump(0.6)
        await sent(late, write(3))
        await sent(late, request(4, -11))
        disk.open()
        assert await busy.reply() == (1, 0)
        assert [await late.reply() for _ in range(5)] == [(1, -127), (2, -127), (-2, 0), (3, 0), (4, 0)]
        assert await server.figure("throttled_ops") == 2
        assert await version(busy) == 2


async def test_a_refusal_waits_for_the_write_in_front(mock_clock: MockClock) -> None:
    async with throttled(request_max=2, throttled_op_wait_time_ms=500) as (server, disk):
        busy, client = await server.client(), await server.client()
        disk.close()
        await sent(busy, write(1))
        await sent(client, write(1))
        await sent(client, write(2))
        mock_clock.jump(0.6)
        await disk.let_pass(1)
        assert await busy.reply() == (1, 0)
        assert await server.figure("throttled_ops") == 1
        assert await server.figure("outstanding_requests") == 2
        disk.open()
        assert [await client.reply(), await client.reply()] == [(1, 0), (2, -127)]


async def test_large_requests_under_way_are_bounded() -> None:
    async with throttled(large_request_bytes_min=1000, large_requests_bytes_max=5000) as (server, disk):
        first, second, small = [await server.client() for _ in range(3)]
        disk.close()
        await sent(first, write(1, 2000), write(2, 2000))
        await sent(small, *(write(xid, 900) for xid in range(1, 6)))
        await sent(second, write(1, 2000))
        assert await second.rest() == b""
        assert server.reasons() == ["too many large requests are under way"]
        assert await server.figure("large_requests_rejected") == 1
        disk.open()
        assert [await first.reply(), await first.reply()] == [(1, 0), (2, 0)]
        assert [await small.reply() for _ in range(5)] == [(xid, 0) for xid in range(1, 6)]
        # Their place is free again, also for one after the other.
        await first.send(write(3, 4000))
        assert await first.reply() == (3, 0)
        await first.send(write(4, 4000))
        assert await first.reply() == (4, 0)
