"""What is special about WebSocket: who is let in, what is no frame, and whole ensembles over it."""

from collections.abc import AsyncIterator

import pytest
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, wrap_client_stream

from trioquorum.errors import ConnectFailed, LinkClosed, PeerProtocolError
from trioquorum.transport import Address
from trioquorum_transports.websocket import HANDSHAKES_MAX, RESOURCE, SUBPROTOCOL, WebSocketListener, WebSocketTransport

ANYWHERE = Address("ws", "127.0.0.1")
FRAME_BYTES_MAX = 1000


@pytest.fixture
async def listener() -> AsyncIterator[WebSocketListener]:
    transport = WebSocketTransport(token="the secret", origins=["https://known.example"])
    listener = await transport.listen(ANYWHERE, frame_bytes_max=FRAME_BYTES_MAX)
    yield listener
    await listener.aclose()


async def refused(
    listener: WebSocketListener, headers: dict[str, str], resource: str = RESOURCE, subprotocol: str = SUBPROTOCOL
) -> int:
    """The status that a caller with these headers is refused with."""
    told = [(name.encode(), value.encode()) for name, value in headers.items()]
    host, port = listener.address.host, listener.address.port
    status = 0
    async with await trio.open_tcp_stream(host, port) as stream:
        try:
            async with trio.open_nursery() as nursery:
                await wrap_client_stream(
                    nursery, stream, host, resource, subprotocols=[subprotocol], extra_headers=told
                )
        except* ConnectionRejected as rejected:
            status = next(each.status_code for each in rejected.exceptions if isinstance(each, ConnectionRejected))
    return status


SECRET = {"Authorization": "Bearer the secret"}


async def test_who_does_not_know_the_token_is_refused(listener: WebSocketListener) -> None:
    assert await refused(listener, {}) == 401
    assert await refused(listener, {"Authorization": "Bearer the secre"}) == 401
    with pytest.raises(ConnectFailed, match="refused with status 401"):
        await WebSocketTransport(token="another").connect(listener.address, frame_bytes_max=FRAME_BYTES_MAX)


async def test_a_page_from_elsewhere_is_refused_even_with_the_token(listener: WebSocketListener) -> None:
    assert await refused(listener, SECRET | {"Origin": "https://elsewhere.example"}) == 403
    assert await refused(listener, SECRET | {"Origin": "null"}) == 403


async def test_who_asks_for_something_else_is_refused(listener: WebSocketListener) -> None:
    assert await refused(listener, SECRET, resource="/") == 404
    assert await refused(listener, SECRET, subprotocol="chat") == 404


async def test_after_refusals_a_peer_is_let_in(listener: WebSocketListener) -> None:
    await refused(listener, {})
    transport = WebSocketTransport(token="the secret")
    dialled = await transport.connect(listener.address, frame_bytes_max=FRAME_BYTES_MAX)
    accepted = await listener.accept()
    await dialled.send(b"hello")
    assert await accepted.receive() == b"hello"
    await dialled.aclose()
    await accepted.aclose()


async def test_a_known_page_is_let_in_and_its_text_is_no_frame(listener: WebSocketListener) -> None:
    headers = [(b"Authorization", b"Bearer the secret"), (b"Origin", b"https://known.example")]
    host, port = listener.address.host, listener.address.port
    async with await trio.open_tcp_stream(host, port) as stream, trio.open_nursery() as nursery:
        page = await wrap_client_stream(
            nursery, stream, host, RESOURCE, subprotocols=[SUBPROTOCOL], extra_headers=headers
        )
        accepted = await listener.accept()
        await page.send_message(b"frame")
        assert await accepted.receive() == b"frame"
        await page.send_message("text")
        with pytest.raises(PeerProtocolError, match="text"):
            await accepted.receive()
        with pytest.raises(LinkClosed):
            await accepted.send(b"")
        with pytest.raises(ConnectionClosed):
            await page.get_message()


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100, b"\xff\xf4\xff\xfd", b"POST / HTTP/1.0\r\nContent-Length: 9\r\n\r\n"],
)
async def test_garbage_instead_of_a_handshake_ends_the_connection_only(
    listener: WebSocketListener, garbage: bytes
) -> None:
    stream = await trio.open_tcp_stream(listener.address.host, listener.address.port)
    async with stream:
        await stream.send_all(garbage)
        with trio.fail_after(10):
            while await stream.receive_some():
                pass
    await test_after_refusals_a_peer_is_let_in(listener)


async def test_silent_callers_take_no_more_than_their_places() -> None:
    transport = WebSocketTransport()
    listener = await transport.listen(ANYWHERE, frame_bytes_max=FRAME_BYTES_MAX)
    host, port = listener.address.host, listener.address.port
    silent = [await trio.open_tcp_stream(host, port) for _ in range(HANDSHAKES_MAX)]
    for _ in range(100):
        await trio.lowlevel.checkpoint()
    with pytest.raises(ConnectFailed):
        await transport.connect(listener.address, frame_bytes_max=FRAME_BYTES_MAX)
    for stream in silent[:10]:
        await stream.aclose()
    with trio.fail_after(10):
        while True:
            try:
                dialled = await transport.connect(listener.address, frame_bytes_max=FRAME_BYTES_MAX)
            except ConnectFailed:
                await trio.sleep(0.01)
            else:
                break
    await dialled.aclose()
    for stream in silent:
        await stream.aclose()
    await listener.aclose()


async def test_a_listener_that_hangs_up_in_the_handshake_fails_the_dial() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:

        async def hang_up(stream: trio.SocketStream) -> None:
            await stream.receive_some()

        nursery.start_soon(trio.serve_listeners, hang_up, listeners)
        with trio.fail_after(10), pytest.raises(ConnectFailed):
            await WebSocketTransport().connect(Address("ws", "127.0.0.1", port), frame_bytes_max=FRAME_BYTES_MAX)
        nursery.cancel_scope.cancel()


async def test_tls_needs_a_certificate_to_listen() -> None:
    with pytest.raises(OSError, match="certificate"):
        await WebSocketTransport().listen(Address("wss", "127.0.0.1"), frame_bytes_max=FRAME_BYTES_MAX)
