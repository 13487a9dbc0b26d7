"""What only TCP can go through: bytes cut anywhere, callers that speak no frames, sockets that fail."""

import errno
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
from hypothesis import given, strategies as st
from trio.testing import wait_all_tasks_blocked

from trioquorum.errors import ConnectFailed, LinkClosed, PeerProtocolError
from trioquorum.transport import Address
from trioquorum_transports import tcp
from trioquorum_transports.frames import FrameSplitter
from trioquorum_transports.tcp import TcpLink, TcpListener, TcpTransport

LOOPBACK = Address("tcp", "127.0.0.1")


def framed(*frames: bytes) -> bytes:
    return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)


@pytest.fixture
async def raw() -> AsyncIterator[tuple[trio.SocketStream, TcpLink]]:
    """A caller whose bytes the test chooses, and the link that was accepted from it."""
    listener = await TcpTransport().listen(LOOPBACK, frame_bytes_max=100)
    caller = await trio.open_tcp_stream("127.0.0.1", listener.address.port)
    link = await listener.accept()
    await listener.aclose()
    yield caller, link
    await caller.aclose()
    await link.aclose()


@given(frames=st.lists(st.binary(max_size=40), max_size=20), cuts=st.lists(st.integers(0, 900), max_size=30))
def test_frames_do_not_depend_on_where_the_bytes_are_cut(frames: list[bytes], cuts: list[int]) -> None:
    data = framed(*frames)
    splitter = FrameSplitter(40)
    at = 0
    for cut in [*sorted(cuts), len(data)]:
        splitter.feed(data[at:cut])
        at = max(at, min(cut, len(data)))
    assert list(splitter.frames) == frames
    assert not splitter.inside_frame
    assert not splitter.violation


@given(frames=st.lists(st.binary(max_size=10), max_size=5), size=st.integers(11, 0xFFFFFFFF), step=st.integers(1, 50))
def test_frames_before_a_violation_are_kept(frames: list[bytes], size: int, step: int) -> None:
    data = framed(*frames) + size.to_bytes(4, "big")
    splitter = FrameSplitter(10)
    for at in range(0, len(data), step):
        splitter.feed(data[at : at + step])
    assert list(splitter.frames) == frames
    assert str(size) in splitter.violation


async def test_a_frame_sent_byte_by_byte_arrives_whole(raw: tuple[trio.SocketStream, TcpLink]) -> None:
    caller, link = raw
    received: list[bytes] = []

    async def receive_two() -> None:
        received.extend([await link.receive(), await link.receive()])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive_two)
        for byte in framed(b"hello", b"world"):
            await wait_all_tasks_blocked()
            await caller.send_all(bytes([byte]))
    assert received == [b"hello", b"world"]


async def test_the_announced_size_is_judged_before_the_bytes_come(raw: tuple[trio.SocketStream, TcpLink]) -> None:
    caller, link = raw
    await caller.send_all(framed(b"fine") + b"\xff\xff\xff\xff")
    assert await link.receive() == b"fine"
    with pytest.raises(PeerProtocolError, match="4294967295"):
        await link.receive()
    assert await caller.receive_some() == b""


async def test_a_client_that_speaks_something_else_is_refused(raw: tuple[trio.SocketStream, TcpLink]) -> None:
    caller, link = raw
    await caller.send_all(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(PeerProtocolError):
        await link.receive()


@pytest.mark.parametrize("cut", [1, 4, 5, 103])
async def test_a_frame_that_was_begun_is_never_delivered(raw: tuple[trio.SocketStream, TcpLink], cut: int) -> None:
    caller, link = raw
    await caller.send_all(framed(b"whole") + framed(bytes(100))[:cut])
    await caller.send_eof()
    assert await link.receive() == b"whole"
    with pytest.raises(LinkClosed, match="inside a frame"):
        await link.receive()


async def test_a_reset_is_an_end_with_its_reason(raw: tuple[trio.SocketStream, TcpLink]) -> None:
    caller, link = raw
    await caller.send_all(framed(b"last words"))
    assert await link.receive() == b"last words"
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await caller.aclose()
    with pytest.raises(LinkClosed, match="reset"):
        await link.receive()
    with pytest.raises(LinkClosed):
        await link.send(b"")


async def test_a_send_cancelled_half_way_ends_the_link_for_both() -> None:
    listener = await TcpTransport().listen(LOOPBACK, frame_bytes_max=64 << 20)
    dialled = await TcpTransport().connect(listener.address, frame_bytes_max=64 << 20)
    accepted = await listener.accept()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialled.send, bytes(64 << 20))
        await wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()
    with pytest.raises(LinkClosed, match="half-way"):
        await dialled.send(b"")
    with pytest.raises(LinkClosed, match="half-way"):
        await dialled.receive()
    with trio.fail_after(5), pytest.raises(LinkClosed):
        await accepted.receive()
    for end in (listener, dialled, accepted):
        await end.aclose()


async def test_a_send_cancelled_before_its_first_byte_does_no_harm() -> None:
    left, right = socket.socketpair()
    left.setblocking(False)
    sender, receiver = TcpLink(left, "tcp://sender", 1000), TcpLink(right, "tcp://receiver", 1000)
    filler = framed(bytes(96))
    count = 0
    while True:
        try:
            assert left.send(filler) == len(filler)
        except BlockingIOError:
            break
        count += 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, b"never")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    for _ in range(count):
        assert await receiver.receive() == bytes(96)
    await sender.send(b"again")
    assert await receiver.receive() == b"again"
    await sender.aclose()
    await receiver.aclose()


class DribblingSocket(socket.socket):
    """Takes three bytes at a time, and none every other time."""

    full = False

    def sendmsg(self, buffers: Any, *_: Any) -> int:
        self.full = not self.full
        if self.full:
            raise BlockingIOError
        return self.send(b"".join(buffers)[:3])


async def test_a_frame_that_leaves_in_crumbs_arrives_whole() -> None:
    left, right = socket.socketpair()
    sender = TcpLink(DribblingSocket(fileno=left.detach()), "tcp://sender", 1000)
    receiver = TcpLink(right, "tcp://receiver", 1000)
    for frame in (b"", b"a", b"ab", bytes(range(100))):
        await sender.send(frame)
        assert await receiver.receive() == frame
    await sender.aclose()
    await receiver.aclose()


async def test_options_of_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[socket.socket] = []
    initialise = TcpLink.__init__

    def remember(self: TcpLink, sock: socket.socket, *rest: Any) -> None:
        connected.append(sock)
        initialise(self, sock, *rest)

    monkeypatch.setattr(TcpLink, "__init__", remember)
    listener = await TcpTransport().listen(LOOPBACK, frame_bytes_max=100)
    dialled = await TcpTransport().connect(listener.address, frame_bytes_max=100)
    accepted = await listener.accept()
    assert len(connected) == 2
    for sock in connected:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.gettimeout() == 0
    for end in (listener, dialled, accepted):
        await end.aclose()


class FlakySocket(socket.socket):
    """A listening socket whose first accepts fail."""

    def __init__(self, failures: list[int]) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.failures = failures
        self.setblocking(False)
        self.bind(("127.0.0.1", 0))
        self.listen()

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            raise OSError(self.failures.pop(0), "as the test wants")
        return super().accept()


@pytest.mark.parametrize(
    "failures", [[errno.EMFILE], [errno.ENFILE, errno.ENOBUFS], [errno.ECONNABORTED, errno.EPROTO]]
)
async def test_accepting_goes_on_after_errors_that_pass(failures: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "ACCEPT_BACKOFF_S", 0.001)
    listener = TcpListener([FlakySocket(failures)], "127.0.0.1", 100)
    dialled = await TcpTransport().connect(listener.address, frame_bytes_max=100)
    with trio.fail_after(5):
        accepted = await listener.accept()
    assert failures == []
    for end in (listener, dialled, accepted):
        await end.aclose()


async def test_accepting_ends_with_an_error_that_stays() -> None:
    listener = TcpListener([FlakySocket([errno.EINVAL])], "127.0.0.1", 100)
    with pytest.raises(LinkClosed, match="as the test wants"):
        await listener.accept()
    await listener.aclose()


@pytest.fixture
def resolves_to(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let every name have these addresses."""

    def resolve_to(*hosts: str) -> None:
        async def getaddrinfo(_host: str, port: int, **_hints: Any) -> list[Any]:
            await trio.lowlevel.checkpoint()
            families = [socket.AF_INET6 if ":" in host else socket.AF_INET for host in hosts]
            return [
                (family, socket.SOCK_STREAM, 6, "", (host, port) if family == socket.AF_INET else (host, port, 0, 0))
                for family, host in zip(families, hosts, strict=True)
            ]

        monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)

    return resolve_to


async def test_a_name_with_several_addresses_is_bound_at_each(resolves_to: Callable[..., None]) -> None:
    resolves_to("127.0.0.1", "127.0.0.2")
    listener = await TcpTransport().listen(Address("tcp", "both"), frame_bytes_max=100)
    assert listener.address.host == "both"
    for host in ("127.0.0.1", "127.0.0.2"):
        resolves_to(host)
        dialled = await TcpTransport().connect(listener.address, frame_bytes_max=100)
        accepted = await listener.accept()
        await dialled.send(host.encode())
        assert await accepted.receive() == host.encode()
        await dialled.aclose()
        await accepted.aclose()
    await listener.aclose()


async def test_addresses_this_machine_lacks_are_passed_over_when_binding(resolves_to: Callable[..., None]) -> None:
    resolves_to("203.0.113.1", "127.0.0.1")
    listener = await TcpTransport().listen(LOOPBACK, frame_bytes_max=100)
    await listener.aclose()
    resolves_to("203.0.113.1")
    with pytest.raises(OSError, match="assign"):
        await TcpTransport().listen(LOOPBACK, frame_bytes_max=100)


async def test_dialling_tries_every_address_of_a_name(resolves_to: Callable[..., None]) -> None:
    resolves_to("127.0.0.1")
    listener = await TcpTransport().listen(LOOPBACK, frame_bytes_max=100)
    resolves_to("127.0.0.2", "127.0.0.1")
    dialled = await TcpTransport().connect(listener.address, frame_bytes_max=100)
    await dialled.aclose()
    await listener.aclose()
    with pytest.raises(ConnectFailed, match=r"127\.0\.0\.2 .*refused, 127\.0\.0\.1 .*refused"):
        await TcpTransport().connect(listener.address, frame_bytes_max=100)


async def test_an_address_that_stays_silent_gives_way_to_the_next(
    resolves_to: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "ATTEMPT_S", 0.001)
    resolves_to("127.0.0.1")
    listener = await TcpTransport().listen(LOOPBACK, frame_bytes_max=100)
    connect = tcp._connect

    async def silent_at_first(family: socket.AddressFamily, name: tuple[Any, ...]) -> socket.socket:
        if name[0] == "127.0.0.2":
            await trio.sleep_forever()
        return await connect(family, name)

    monkeypatch.setattr(tcp, "_connect", silent_at_first)
    resolves_to("127.0.0.2", "127.0.0.1")
    dialled = await TcpTransport().connect(listener.address, frame_bytes_max=100)
    await dialled.aclose()
    await listener.aclose()


async def test_ipv6() -> None:
    try:
        listener = await TcpTransport().listen(Address("tcp", "::1"), frame_bytes_max=100)
    except OSError:
        pytest.skip("this machine has no IPv6")
    dialled = await TcpTransport().connect(listener.address, frame_bytes_max=100)
    accepted = await listener.accept()
    assert dialled.remote == f"tcp://[::1]:{listener.address.port}"
    assert accepted.remote.startswith("tcp://[::1]:")
    for end in (listener, dialled, accepted):
        await end.aclose()


@pytest.mark.parametrize("failure", [socket.gaierror(socket.EAI_NONAME, "unknown"), UnicodeError("too long")])
async def test_a_name_that_is_none_fails_the_dial_and_the_bind(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(*_: Any, **_hints: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise failure

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ConnectFailed, match=str(failure.args[-1])):
        await TcpTransport().connect(LOOPBACK, frame_bytes_max=100)
    with pytest.raises(OSError, match=str(failure.args[-1])):
        await TcpTransport().listen(LOOPBACK, frame_bytes_max=100)


async def test_a_dialler_never_talks_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class BoundToTarget(socket.socket):
        """Takes the port it dials as its own, as the kernel may choose to."""

        def connect_ex(self, name: Any) -> int:
            self.bind(name)
            return super().connect_ex(name)

    listener = await TcpTransport().listen(LOOPBACK, frame_bytes_max=100)
    await listener.aclose()
    monkeypatch.setattr(socket, "socket", BoundToTarget)
    with pytest.raises(ConnectFailed, match="refused"):
        await TcpTransport().connect(listener.address, frame_bytes_max=100)


async def test_frames_sent_without_waiting_keep_their_order_and_their_rest_leaves_first() -> None:
    listener = await TcpTransport().listen(LOOPBACK, frame_bytes_max=1 << 20)
    link = await TcpTransport().connect(listener.address, frame_bytes_max=1 << 20)
    other = await listener.accept()
    frames = [bytes([number % 256]) * (1 << 16) for number in range(200)]
    taken = 0
    while not link.has_rest and taken < len(frames) and link.send_nowait(frames[taken]):
        taken += 1
    assert 0 < taken < len(frames)
    assert not link.send_nowait(frames[taken])
    received: list[bytes] = []

    async def receive() -> None:
        received.extend([await other.receive() for _ in range(taken + 2)])

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.01):
            await link.send_rest()
        nursery.start_soon(receive)
        await link.send(frames[taken])
        assert link.send_nowait(frames[taken + 1])
        await link.send_rest()
    assert received == frames[: taken + 2]
    assert not link.has_rest
    await other.aclose()
    with pytest.raises(LinkClosed):
        await link.receive()
    assert not link.send_nowait(b"nobody")
    await link.aclose()
    await listener.aclose()


async def test_what_is_too_large_or_comes_too_late_is_not_taken() -> None:
    listener = await TcpTransport().listen(LOOPBACK, frame_bytes_max=10)
    link = await TcpTransport().connect(listener.address, frame_bytes_max=10)
    assert not link.send_nowait(bytes(11))
    assert link.send_nowait(bytes(10))
    await link.aclose()
    assert not link.send_nowait(b"late")
    await listener.aclose()
