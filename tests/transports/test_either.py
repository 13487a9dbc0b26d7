"""One port that TCP links and WebSocket links come to."""

import pytest
import trio

from trioquorum.errors import ConnectFailed, LinkClosed
from trioquorum.link_security import LinkSecurity, transports_of
from trioquorum.transport import Address, Link, Listener
from trioquorum_transports.either import EitherTransport
from trioquorum_transports.tcp import TcpTransport
from trioquorum_transports.websocket import HANDSHAKES_MAX, WebSocketTransport

FRAME_BYTES_MAX = 1 << 20
ANYWHERE = Address("tcp+ws", "127.0.0.1")


def by(scheme: str, listener: Listener) -> Address:
    return Address(scheme, "127.0.0.1", listener.address.port)


async def exchange(dialled: Link, accepted: Link) -> None:
    """A frame each way, and the end."""
    await dialled.send(b"from who dialled")
    assert await accepted.receive() == b"from who dialled"
    await accepted.send(b"")
    assert await dialled.receive() == b""
    await dialled.aclose()
    await accepted.aclose()


async def test_both_are_taken_beside_each_other() -> None:
    listener = await EitherTransport().listen(ANYWHERE, frame_bytes_max=FRAME_BYTES_MAX)
    for scheme, transport in (("ws", WebSocketTransport()), ("tcp", TcpTransport()), ("ws", WebSocketTransport())):
        dialled = await transport.connect(by(scheme, listener), frame_bytes_max=FRAME_BYTES_MAX)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialled.send, b"first")
            accepted = await listener.accept()
        assert await accepted.receive() == b"first"
        await exchange(dialled, accepted)
    await listener.aclose()


async def test_who_says_nothing_is_spoken_to_by_tcp() -> None:
    listener = await EitherTransport().listen(ANYWHERE, frame_bytes_max=FRAME_BYTES_MAX)
    async with await trio.open_tcp_stream("127.0.0.1", listener.address.port) as silent:
        accepted = await listener.accept()
        await accepted.send(b"hello")
        assert await silent.receive_some(100) == b"\0\0\0\5hello"
        await accepted.aclose()
    await listener.aclose()


async def test_silent_callers_are_bounded_and_do_not_hold_up_others() -> None:
    listener = await EitherTransport().listen(ANYWHERE, frame_bytes_max=FRAME_BYTES_MAX)
    silent = [await trio.open_tcp_stream("127.0.0.1", listener.address.port) for _ in range(HANDSHAKES_MAX + 5)]
    refused = 0
    for stream in silent:
        with trio.move_on_after(0.2):
            refused += await stream.receive_some(1) == b""
    assert refused >= 5
    for stream in silent:
        await stream.aclose()
    with trio.fail_after(10):
        while await next_is_gone(listener):
            pass
        dialled = await TcpTransport().connect(by("tcp", listener), frame_bytes_max=FRAME_BYTES_MAX)
        await dialled.send(b"first")
        accepted = await listener.accept()
        assert await accepted.receive() == b"first"
    await exchange(dialled, accepted)
    await listener.aclose()


async def next_is_gone(listener: Listener) -> bool:
    """Accept one of those that were silent and left; false when there is none."""
    with trio.move_on_after(1):
        gone = await listener.accept()
        with pytest.raises(LinkClosed):
            await gone.receive()
        await gone.aclose()
        return True
    return False


async def test_the_token_guards_the_websocket_side() -> None:
    either = transports_of(LinkSecurity(token="a secret"))["tcp+ws"]
    listener = await either.listen(ANYWHERE, frame_bytes_max=FRAME_BYTES_MAX)
    with pytest.raises(ConnectFailed, match="401"):
        await WebSocketTransport().connect(by("ws", listener), frame_bytes_max=FRAME_BYTES_MAX)
    knows = WebSocketTransport(token="a secret")
    dialled = await knows.connect(by("ws", listener), frame_bytes_max=FRAME_BYTES_MAX)
    await exchange(dialled, await listener.accept())
    await listener.aclose()
