"""What a transport must do: every transport that is registered runs through all of this."""

import gc
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import entry_points
from random import Random

import pytest
import trio
import trustme
from trio.testing import wait_all_tasks_blocked

from trioquorum.errors import ConnectFailed, LinkClosed, LocalProtocolError, PeerProtocolError
from trioquorum.transport import ENTRY_POINT_GROUP, Address, Link, Listener, Transport, Transports
from trioquorum_transports.websocket import WebSocketTransport

FRAME_BYTES_MAX = 1 << 20
QUIET_S = 0.01  # real sockets: nobody woke for this long, so everybody waits for somebody
BUFFERED_BYTES_MAX = 32 << 20  # what may be under way between two ends, generously


@pytest.fixture(params=sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)}))
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def transport(scheme: str) -> Transport:
    return secure() if scheme == "wss" else Transports()[scheme]


@cache
def secure() -> WebSocketTransport:
    """With a certificate for this machine, of an authority that only the test knows."""
    authority = trustme.CA()
    server_tls, client_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    authority.configure_trust(client_tls)
    return WebSocketTransport(server_tls=server_tls, client_tls=client_tls)


@pytest.fixture
def anywhere(scheme: str) -> Address:
    return Address(scheme, "127.0.0.1")


@asynccontextmanager
async def linked(
    transport: Transport, address: Address, *, accepted_frame_bytes_max: int = FRAME_BYTES_MAX
) -> AsyncIterator[tuple[Link, Link]]:
    """The dialled and the accepted end of a link."""
    listener = await transport.listen(address, frame_bytes_max=accepted_frame_bytes_max)
    dialled = await transport.connect(listener.address, frame_bytes_max=FRAME_BYTES_MAX)
    accepted = await listener.accept()
    await listener.aclose()
    try:
        yield dialled, accepted
    finally:
        await dialled.aclose()
        await accepted.aclose()


@pytest.fixture
async def link(transport: Transport, anywhere: Address) -> AsyncIterator[tuple[Link, Link]]:
    async with linked(transport, anywhere) as ends:
        yield ends


async def close(*open_things: Link | Listener) -> None:
    for each in open_things:
        await each.aclose()


def numbered(number: int, size: int) -> bytes:
    """A frame that tells its number and, anywhere in it, whether it is whole."""
    return (number.to_bytes(4, "big") * (size // 4 + 1))[: max(size, 4)]


async def send_numbered(link: Link, count: int, size: int) -> None:
    for number in range(count):
        await link.send(numbered(number, size))


async def expect_numbered(link: Link, count: int, size: int) -> None:
    for number in range(count):
        assert await link.receive() == numbered(number, size)


async def drain(link: Link) -> list[bytes]:
    """Every frame until the end of the link."""
    frames = []
    while True:
        try:
            frames.append(await link.receive())
        except LinkClosed:
            return frames


async def flood(link: Link, frame: bytes) -> None:
    """Send until the link is gone."""
    while True:
        try:
            await link.send(frame)
        except LinkClosed:
            return


# Frames


async def test_frames_arrive_whole_and_in_order_whatever_their_size(link: tuple[Link, Link]) -> None:
    edges = [power + off for power in (4, 128, 4096, 65536, 1 << 18) for off in (-4, -1, 0, 1)]
    random = Random(7)
    frames = [random.randbytes(size) for size in (0, 1, 2, 3, 0, 0, *edges, FRAME_BYTES_MAX, 0, 1)]
    for sender, receiver in (link, link[::-1]):
        received: list[bytes] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all, sender, frames)
            for _ in frames:
                received.append(await receiver.receive())  # noqa: PERF401
        assert received == frames


async def send_all(link: Link, frames: list[bytes]) -> None:
    for frame in frames:
        await link.send(frame)


async def test_ten_thousand_frames_each_way_at_once(link: tuple[Link, Link]) -> None:
    dialled, accepted = link
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_numbered, dialled, 10_000, 20)
        nursery.start_soon(send_numbered, accepted, 10_000, 40)
        nursery.start_soon(expect_numbered, accepted, 10_000, 20)
        nursery.start_soon(expect_numbered, dialled, 10_000, 40)


async def test_links_of_one_listener_are_independent(transport: Transport, anywhere: Address) -> None:
    listener = await transport.listen(anywhere, frame_bytes_max=100)
    dialled = [await transport.connect(listener.address, frame_bytes_max=100) for _ in range(5)]
    accepted = [await listener.accept() for _ in dialled]
    for number, link in enumerate(dialled):
        await link.send(numbered(number, 8))
    for link in accepted:
        await link.send(await link.receive())
    for number, link in enumerate(dialled):
        assert await link.receive() == numbered(number, 8)
    await close(listener, *dialled, *accepted)


async def test_ends_say_who_is_at_the_other_end(link: tuple[Link, Link], scheme: str) -> None:
    for end in link:
        assert Address.parse(end.remote).scheme in (scheme, *scheme.split("+"))


# Limits


async def test_too_large_a_frame_is_refused_to_its_sender_and_the_link_lives_on(link: tuple[Link, Link]) -> None:
    dialled, accepted = link
    with pytest.raises(LocalProtocolError):
        await dialled.send(bytes(FRAME_BYTES_MAX + 1))
    await dialled.send(b"still here")
    assert await accepted.receive() == b"still here"


async def test_too_large_a_frame_from_the_other_end_closes_the_link(transport: Transport, anywhere: Address) -> None:
    async with linked(transport, anywhere, accepted_frame_bytes_max=100) as (dialled, accepted):
        await dialled.send(bytes(100))
        await dialled.send(bytes(101))
        assert await accepted.receive() == bytes(100)
        with pytest.raises(PeerProtocolError):
            await accepted.receive()
        with pytest.raises(LinkClosed):
            await accepted.receive()
        with pytest.raises(LinkClosed):
            await accepted.send(b"")
        with pytest.raises(LinkClosed):
            await dialled.receive()


async def test_a_sender_waits_for_a_reader_that_does_not_read(link: tuple[Link, Link]) -> None:
    dialled, accepted = link
    size = 64 << 10
    count = 0
    enough = False

    async def send_on() -> None:
        nonlocal count
        while not enough:
            await dialled.send(numbered(count, size))
            count += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_on)
        await wait_all_tasks_blocked(QUIET_S)
        assert 0 < count * size < BUFFERED_BYTES_MAX
        enough, held = True, count
        await expect_numbered(accepted, held, size)
    await expect_tail(accepted, held, count, size)


async def expect_tail(link: Link, first: int, end: int, size: int) -> None:
    assert end == first + 1  # the one that waited
    for number in range(first, end):
        assert await link.receive() == numbered(number, size)


async def test_empty_frames_are_held_back_too(link: tuple[Link, Link]) -> None:
    dialled, _ = link
    count = 0

    async def send_on() -> None:
        nonlocal count
        while count < BUFFERED_BYTES_MAX // 4:
            await dialled.send(b"")
            count += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_on)
        for _ in range(2000):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert 0 < count < BUFFERED_BYTES_MAX // 4


# Ends


@pytest.mark.parametrize("closer_dialled", [True, False])
async def test_frames_that_arrived_are_read_before_the_end(link: tuple[Link, Link], *, closer_dialled: bool) -> None:
    closer, reader = link if closer_dialled else link[::-1]
    await send_numbered(closer, 100, 50)
    await closer.aclose()
    await expect_numbered(reader, 100, 50)
    for _ in range(3):
        with pytest.raises(LinkClosed):
            await reader.receive()


@pytest.mark.parametrize("closer_dialled", [True, False])
async def test_either_end_may_close_while_the_other_sends(link: tuple[Link, Link], *, closer_dialled: bool) -> None:
    closer, sender = link if closer_dialled else link[::-1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood, sender, bytes(10_000))
        for _ in range(10):
            await closer.receive()
        await closer.aclose()
    with pytest.raises(LinkClosed):
        await sender.send(b"")
    with pytest.raises(LinkClosed):
        await sender.receive()


async def test_closing_wakes_a_sender_that_waits_for_room(link: tuple[Link, Link]) -> None:
    dialled, accepted = link
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood, dialled, bytes(FRAME_BYTES_MAX))
        await wait_all_tasks_blocked(QUIET_S)
        await accepted.aclose()


async def test_closing_wakes_both_tasks_of_the_same_end(link: tuple[Link, Link]) -> None:
    dialled, _ = link
    received: list[bytes] = []

    async def receive_to_end() -> None:
        received.extend(await drain(dialled))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood, dialled, bytes(FRAME_BYTES_MAX))
        nursery.start_soon(receive_to_end)
        await wait_all_tasks_blocked(QUIET_S)
        await dialled.aclose()
    assert received == []


async def test_what_is_not_yet_read_is_gone_at_the_end_that_closes(link: tuple[Link, Link]) -> None:
    dialled, accepted = link
    await send_numbered(accepted, 3, 8)
    assert await dialled.receive() == numbered(0, 8)
    await dialled.aclose()
    with pytest.raises(LinkClosed):
        await dialled.receive()


async def test_aclose_is_idempotent(link: tuple[Link, Link]) -> None:
    dialled, accepted = link
    for _ in range(3):
        await dialled.aclose()
    with pytest.raises(LinkClosed):
        await accepted.receive()
    await accepted.aclose()
    await dialled.aclose()


async def test_aclose_does_its_work_when_cancelled(link: tuple[Link, Link]) -> None:
    dialled, accepted = link
    with trio.CancelScope() as scope:
        scope.cancel()
        await dialled.aclose()
    with pytest.raises(LinkClosed):
        await accepted.receive()
    with pytest.raises(LinkClosed):
        await dialled.send(b"")


# Cancelling


@pytest.mark.parametrize("size", [4, 1000, FRAME_BYTES_MAX])
async def test_a_cancelled_send_never_delivers_half_a_frame(link: tuple[Link, Link], size: int) -> None:
    dialled, accepted = link
    sent = 0
    received: list[bytes] = []

    async def send_on() -> None:
        nonlocal sent
        while True:
            await dialled.send(numbered(sent, size))
            sent += 1

    async def read_to_end() -> None:
        received.extend(await drain(accepted))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_on)
        for _ in range(300):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_to_end)
        try:
            await dialled.send(b"after")
        except LinkClosed:
            after = []
        else:
            after = [b"after"]
        await dialled.aclose()
    assert received == [*(numbered(number, size) for number in range(sent)), *after]


async def test_a_cancelled_receive_loses_nothing(link: tuple[Link, Link]) -> None:
    dialled, accepted = link
    received: list[bytes] = []

    async def receive_one(scope: trio.CancelScope) -> None:
        with scope:
            received.append(await accepted.receive())

    for number in range(300):
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(receive_one, scope)
            if number % 2:
                await wait_all_tasks_blocked()
            if number % 3 == 0:
                await dialled.send(numbered(number, 1000))
            if number % 5 == 0:
                await trio.lowlevel.checkpoint()
            scope.cancel()
    await dialled.aclose()
    received += await drain(accepted)
    assert received == [numbered(number, 1000) for number in range(0, 300, 3)]


async def test_every_call_can_be_cancelled(link: tuple[Link, Link], transport: Transport, anywhere: Address) -> None:
    dialled, accepted = link
    await accepted.send(b"there to be read")
    listener = await transport.listen(anywhere, frame_bytes_max=10)
    other = Address(anywhere.scheme, anywhere.host, 1)
    for call in (
        lambda: dialled.send(b""),
        dialled.receive,
        listener.accept,
        lambda: transport.listen(other, frame_bytes_max=10),
        lambda: transport.connect(listener.address, frame_bytes_max=10),
        listener.aclose,
        dialled.aclose,
    ):
        with trio.CancelScope() as scope:
            scope.cancel()
            await call()
        assert scope.cancelled_caught, call


async def test_a_flood_on_one_link_lets_the_others_work(link: tuple[Link, Link]) -> None:
    dialled, accepted = link
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        await send_numbered(dialled, 1000, 10)
        assert turns >= 10
        turns = 0
        await expect_numbered(accepted, 1000, 10)
        assert turns >= 10
        nursery.cancel_scope.cancel()


# Dialling and listening


async def test_dialling_where_nobody_listens_fails(transport: Transport, anywhere: Address) -> None:
    listener = await transport.listen(anywhere, frame_bytes_max=10)
    await listener.aclose()
    with trio.fail_after(5), pytest.raises(ConnectFailed):
        await transport.connect(listener.address, frame_bytes_max=10)


async def test_a_cancelled_dial_leaves_nothing_behind(transport: Transport, anywhere: Address) -> None:
    listener = await transport.listen(anywhere, frame_bytes_max=10)
    with trio.CancelScope() as scope:
        scope.cancel()
        await transport.connect(listener.address, frame_bytes_max=10)
    assert scope.cancelled_caught
    await listener.aclose()


async def test_an_address_in_use_is_an_os_error_until_it_is_given_back(transport: Transport, anywhere: Address) -> None:
    first = await transport.listen(anywhere, frame_bytes_max=10)
    with pytest.raises(OSError, match=r"."):
        await transport.listen(first.address, frame_bytes_max=10)
    await first.aclose()
    second = await transport.listen(first.address, frame_bytes_max=10)
    assert second.address == first.address
    await second.aclose()


async def test_a_silent_caller_disturbs_nobody(transport: Transport, anywhere: Address) -> None:
    listener = await transport.listen(anywhere, frame_bytes_max=10)
    silent = await transport.connect(listener.address, frame_bytes_max=10)
    silent_accepted = await listener.accept()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain, silent_accepted)
        lively = await transport.connect(listener.address, frame_bytes_max=10)
        lively_accepted = await listener.accept()
        await lively.send(b"hello")
        assert await lively_accepted.receive() == b"hello"
        nursery.cancel_scope.cancel()
    await close(listener, silent, silent_accepted, lively, lively_accepted)


async def test_a_caller_that_left_before_it_was_accepted_disturbs_nobody(
    transport: Transport, anywhere: Address
) -> None:
    listener = await transport.listen(anywhere, frame_bytes_max=10)
    gone = await transport.connect(listener.address, frame_bytes_max=10)
    await gone.aclose()
    there = await transport.connect(listener.address, frame_bytes_max=10)
    await there.send(b"hello")
    accepted = [await listener.accept(), await listener.accept()]
    with pytest.raises(LinkClosed):
        await accepted[0].receive()
    assert await accepted[1].receive() == b"hello"
    await close(listener, there, *accepted)


async def test_closing_a_listener_wakes_accept_and_spares_accepted_links(
    transport: Transport, anywhere: Address
) -> None:
    listener = await transport.listen(anywhere, frame_bytes_max=10)
    dialled = await transport.connect(listener.address, frame_bytes_max=10)
    accepted = await listener.accept()
    ended = False

    async def accept_to_end() -> None:
        nonlocal ended
        with pytest.raises(LinkClosed):
            await listener.accept()
        ended = True

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_to_end)
            await wait_all_tasks_blocked(QUIET_S)
            await listener.aclose()
            await listener.aclose()
    assert ended
    with pytest.raises(LinkClosed):
        await listener.accept()
    await dialled.send(b"alive")
    assert await accepted.receive() == b"alive"
    await dialled.aclose()
    await accepted.aclose()


async def test_closing_a_listener_ends_links_nobody_accepted(transport: Transport, anywhere: Address) -> None:
    listener = await transport.listen(anywhere, frame_bytes_max=10)
    dialled = await transport.connect(listener.address, frame_bytes_max=10)
    with trio.CancelScope() as scope:
        scope.cancel()
        await listener.aclose()
    with trio.fail_after(5), pytest.raises(LinkClosed):
        await dialled.receive()
    await dialled.aclose()


async def test_a_cancelled_accept_loses_no_caller(transport: Transport, anywhere: Address) -> None:
    listener = await transport.listen(anywhere, frame_bytes_max=10)
    accepted: list[Link] = []

    async def accept_one(scope: trio.CancelScope) -> None:
        with scope:
            accepted.append(await listener.accept())

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(accept_one, scope)
        await wait_all_tasks_blocked()
        dialled = await transport.connect(listener.address, frame_bytes_max=10)
        scope.cancel()
    if not accepted:
        accepted.append(await listener.accept())
    await dialled.send(b"hello")
    assert await accepted[0].receive() == b"hello"
    await close(listener, dialled, *accepted)


async def test_nothing_is_left_over(transport: Transport, anywhere: Address) -> None:
    def living() -> tuple[int, int, int]:
        statistics = trio.lowlevel.current_statistics()
        waits = statistics.io_statistics
        assert waits.backend == "epoll"
        return statistics.tasks_living, waits.tasks_waiting_read, waits.tasks_waiting_write

    before = living()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        async with linked(transport, anywhere) as (dialled, accepted), trio.open_nursery() as nursery:
            nursery.start_soon(flood, dialled, bytes(FRAME_BYTES_MAX))
            nursery.start_soon(flood, accepted, bytes(1000))
            await wait_all_tasks_blocked(QUIET_S)
            nursery.cancel_scope.cancel()
        del dialled, accepted
        gc.collect()
    assert living() == before
    assert [str(warning.message) for warning in caught] == []
