"""Frames that are handed over: by the poller where the link can do that, by its own task everywhere else."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioquorum.errors import LinkClosed, PeerProtocolError
from trioquorum.transport import Address, Link, PolledLink, Transport, deliver
from trioquorum_transports.memory import MemoryTransport
from trioquorum_transports.tcp import TcpLink, TcpTransport
from trioquorum_transports.tcp_link import FRAMES_AT_ONCE
from trioquorum_transports.websocket import WebSocketTransport

ADDRESSES = {
    "tcp": Address("tcp", "127.0.0.1"),
    "memory": Address("memory", "here"),
    "ws": Address("ws", "127.0.0.1"),
}
FRAME_BYTES_MAX = 1 << 20


@asynccontextmanager
async def linked(scheme: str) -> AsyncIterator[tuple[Link, Link]]:
    makes: dict[str, Callable[[], Transport]]
    makes = {"tcp": TcpTransport, "memory": MemoryTransport, "ws": WebSocketTransport}
    transport = makes[scheme]()
    listener = await transport.listen(ADDRESSES[scheme], frame_bytes_max=FRAME_BYTES_MAX)
    link = await transport.connect(listener.address, frame_bytes_max=FRAME_BYTES_MAX)
    other = await listener.accept()
    try:
        yield link, other
    finally:
        with trio.CancelScope(shield=True):
            await link.aclose()
            await other.aclose()
            await listener.aclose()


class Taker:
    """Takes frames up to one that says stop."""

    def __init__(self) -> None:
        self.said: list[bytes] = []

    def take(self, frame: bytes) -> bool:
        if frame == b"bad":
            raise PeerProtocolError("a bad frame")
        self.said.append(frame)
        return frame != b"stop"

    def flush(self) -> None:
        if self.said and self.said[-1] != b"--":
            self.said.append(b"--")

    @property
    def frames(self) -> list[bytes]:
        return [frame for frame in self.said if frame != b"--"]


def test_only_tcp_is_polled() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert isinstance(TcpLink(left, "tcp://there", 100), PolledLink)
    assert not hasattr(MemoryTransport, "deliver")


@pytest.mark.parametrize("scheme", ADDRESSES)
async def test_frames_come_in_order_until_they_are_not_taken(scheme: str) -> None:
    async with linked(scheme) as (link, other):
        taker = Taker()
        sent = [b"one", b"", bytes(300_000), b"stop", b"two", b"stop", b"three"]
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:

                async def send() -> None:
                    for frame in sent:
                        await other.send(frame)

                nursery.start_soon(send)
                await deliver(link, taker.take, taker.flush)
                assert taker.frames == sent[:4]
                assert taker.said[-1] == b"--"
                await deliver(link, taker.take, taker.flush)
                assert taker.frames == sent[:6]
                assert await link.receive() == b"three"


@pytest.mark.parametrize("scheme", ADDRESSES)
async def test_what_take_raises_ends_the_delivery_behind_a_flush(scheme: str) -> None:
    async with linked(scheme) as (link, other):
        taker = Taker()
        for frame in (b"one", b"bad", b"two"):
            await other.send(frame)
        with trio.fail_after(5):
            with pytest.raises(PeerProtocolError, match="a bad frame"):
                await deliver(link, taker.take, taker.flush)
            assert taker.frames == [b"one"]
            assert taker.said[-1] == b"--"
            assert await link.receive() == b"two"


@pytest.mark.parametrize("scheme", ADDRESSES)
async def test_what_flush_raises_ends_the_delivery(scheme: str) -> None:
    def flush() -> None:
        raise ValueError("flush")

    async with linked(scheme) as (link, other):
        taker = Taker()
        await other.send(b"one")
        with trio.fail_after(5), pytest.raises(ValueError, match="flush"):
            await deliver(link, taker.take, flush)
        assert taker.frames == [b"one"]


@pytest.mark.parametrize("scheme", ADDRESSES)
async def test_cancelled_it_takes_nothing_more_and_loses_nothing(scheme: str) -> None:
    async with linked(scheme) as (link, other):
        taker = Taker()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deliver, link, taker.take, taker.flush)
            await wait_all_tasks_blocked()
            await other.send(b"one")
            while not taker.said:
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await other.send(b"two")
                await trio.sleep(0.01)
        assert taker.frames == [b"one"]
        with trio.fail_after(5):
            assert await link.receive() == b"two"


@pytest.mark.parametrize("scheme", ADDRESSES)
async def test_the_end_comes_behind_the_last_frame(scheme: str) -> None:
    async with linked(scheme) as (link, other):
        taker = Taker()
        for number in range(3):
            await other.send(b"%d" % number)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.aclose)
            with trio.fail_after(5), pytest.raises(LinkClosed):
                await deliver(link, taker.take, taker.flush)
        assert taker.frames == [b"0", b"1", b"2"]


@pytest.mark.parametrize("scheme", ADDRESSES)
async def test_a_link_that_is_closed_here_ends_the_delivery(scheme: str) -> None:
    async with linked(scheme) as (link, _):
        taker = Taker()
        ended: list[str] = []

        async def run() -> None:
            with pytest.raises(LinkClosed):
                await deliver(link, taker.take, taker.flush)
            ended.append("closed")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await wait_all_tasks_blocked()
            with trio.fail_after(5):
                await link.aclose()
        assert ended == ["closed"]
        with pytest.raises(LinkClosed):
            await deliver(link, taker.take, taker.flush)


async def test_a_frame_that_is_too_large_is_judged_behind_those_before_it() -> None:
    left, right = socket.socketpair()
    link, taker = TcpLink(left, "tcp://there", 100), Taker()
    right.sendall(b"\0\0\0\1a\0\1\0\0")
    with trio.fail_after(5), pytest.raises(PeerProtocolError, match="65536 bytes was announced"):
        await link.deliver(taker.take, taker.flush)
    assert taker.frames == [b"a"]
    assert left.fileno() < 0
    right.close()


async def test_who_does_not_take_is_not_read_for() -> None:
    """While nobody takes frames the kernel's buffers fill, and the other end has to wait."""
    async with linked("tcp") as (link, other):
        taker = Taker()
        await other.send(b"stop")
        await deliver(link, taker.take, taker.flush)
        with trio.move_on_after(0.2) as patience:
            for _ in range(100):
                await other.send(bytes(FRAME_BYTES_MAX))
        assert patience.cancelled_caught
        assert taker.frames == [b"stop"]


async def test_one_link_that_floods_starves_no_other() -> None:
    async with linked("tcp") as (flood, flooding), linked("tcp") as (calm, calling):
        seen: list[str] = []
        at = -1

        def take_flood(_: bytes) -> bool:
            nonlocal at
            seen.append("flood")
            if len(seen) == 500:
                at = len(seen)
                assert isinstance(calling, TcpLink)
                assert calling.send_nowait(b"call")
            return True

        def take_call(_: bytes) -> bool:
            seen.append("call")
            return False

        async def send() -> None:
            with contextlib.suppress(LinkClosed):
                while True:
                    await flooding.send(b"x")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(deliver, flood, take_flood, lambda: None)
            with trio.fail_after(10):
                await deliver(calm, take_call, lambda: None)
            nursery.cancel_scope.cancel()
    assert at > 0
    assert seen.index("call") - at <= 2 * FRAMES_AT_ONCE


async def test_a_cancelled_owner_gets_no_frame_of_the_rest_of_its_burst() -> None:
    async with linked("tcp") as (link, other), linked("tcp") as (driver, _):
        scope = trio.CancelScope()
        taken: list[Any] = []

        def take(frame: bytes) -> bool:
            taken.append(frame)
            scope.cancel()
            return True

        async def run() -> None:
            with scope:
                await deliver(link, take, lambda: None)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(deliver, driver, Taker().take, lambda: None)
            await wait_all_tasks_blocked()
            nursery.start_soon(run)
            await wait_all_tasks_blocked()
            assert isinstance(other, TcpLink)
            for frame in (b"one", b"two", b"three"):
                assert other.send_nowait(frame)
            await wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        assert taken == [b"one"]
        assert await link.receive() == b"two"
