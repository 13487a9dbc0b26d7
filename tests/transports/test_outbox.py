"""Frames of an outbox leave in order, whether with ``put`` itself or with the task that sends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioquorum.errors import LinkClosed
from trioquorum.limits import Limits
from trioquorum.peer.outbox import FULL, LinkOutbox
from trioquorum.transport import Address, Link, Transport
from trioquorum_transports.memory import MemoryTransport
from trioquorum_transports.tcp import TcpLink, TcpTransport

ADDRESSES = {"tcp": Address("tcp", "127.0.0.1"), "memory": Address("memory", "here")}


@asynccontextmanager
async def linked(scheme: str, limits: Limits) -> AsyncIterator[tuple[LinkOutbox, trio.Nursery, Link, Link]]:
    transport: Transport = TcpTransport() if scheme == "tcp" else MemoryTransport()
    listener = await transport.listen(ADDRESSES[scheme], frame_bytes_max=1 << 20)
    link = await transport.connect(listener.address, frame_bytes_max=1 << 20)
    other = await listener.accept()
    async with trio.open_nursery() as nursery:
        yield LinkOutbox(limits), nursery, link, other
        nursery.cancel_scope.cancel()
    await link.aclose()
    await other.aclose()
    await listener.aclose()


@pytest.mark.parametrize("scheme", ADDRESSES)
async def test_order_is_kept_however_the_frames_leave(scheme: str) -> None:
    async with linked(scheme, Limits()) as (outbox, nursery, link, other):
        sent: list[bytes] = []

        def put(size: int) -> None:
            frame = len(sent).to_bytes(4) + bytes(size)
            sent.append(frame)
            outbox.put(frame)

        for _ in range(3):
            put(10)
        nursery.start_soon(outbox.send_to, link)
        await wait_all_tasks_blocked()
        assert not len(outbox)
        for size in (10, 300_000, 10, 900_000, 10, 900_000, 900_000, 10, 900_000, 10):
            put(size)
        for number in range(5):
            assert await other.receive() == sent[number]
            put(10)
        for frame in sent[5:]:
            assert await other.receive() == frame
        put(10)
        assert await other.receive() == sent[-1]


async def test_an_idle_outbox_sends_with_put_itself() -> None:
    async with linked("tcp", Limits()) as (outbox, nursery, link, other):
        assert isinstance(link, TcpLink)
        assert isinstance(other, TcpLink)
        nursery.start_soon(outbox.send_to, link)
        await wait_all_tasks_blocked()
        outbox.put(b"at once")
        # No task had a turn since: the kernel has it.
        assert other._receive_some()
        assert list(other._splitter.frames) == [b"at once"]


async def test_who_takes_nothing_loses_its_link() -> None:
    async with linked("tcp", Limits(learner_queue_packets_max=3)) as (outbox, nursery, link, other):
        del other
        failed: list[str] = []

        async def send() -> None:
            try:
                await outbox.send_to(link)
            except LinkClosed as error:
                failed.append(str(error))

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        for _ in range(40):
            outbox.put(bytes(1 << 20))
        await wait_all_tasks_blocked()
        assert failed == [FULL]
