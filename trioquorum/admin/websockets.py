"""From a request's head to an open WebSocket, and its end: bounded on both sides."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from trioquorum.admin.guard import subprotocols
from trioquorum.admin.http import Caller, Head, Refused
from trioquorum.admin.settings import AdminLimits

RECEIVE_BYTES: Final = 16 << 10
VERSION: Final = "13"
KEY_CHARS: Final = 24

GOING_AWAY: Final = 1001
NOT_BINARY: Final = 1003
MALFORMED: Final = 1007
TOO_MANY: Final = 1008
TRY_LATER: Final = 1013


class ReplayedStream(trio.abc.Stream):
    """A stream of which some bytes were read already: they come again first.

    When a send was given up half-way nothing more is sent, since it would not be understood.
    """

    def __init__(self, read: bytes, below: trio.abc.Stream) -> None:
        self._read = read
        self._below = below
        self._torn = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """What was read before, then what comes."""
        if self._read:
            await trio.lowlevel.checkpoint()
            size = len(self._read) if max_bytes is None else max_bytes
            data, self._read = self._read[:size], self._read[size:]
            return data
        return await self._below.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it.

        Raises:
            trio.BrokenResourceError: the other end is gone, or a send before was given up.
        """
        if self._torn:
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError("a message was given up half-way")
        self._torn = True
        await self._below.send_all(data)
        self._torn = False

    async def wait_send_all_might_not_block(self) -> None:
        """Straight on."""
        await self._below.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream below."""
        await self._below.aclose()


def check_handshake(head: Head, subprotocol: str) -> None:
    """What trio-websocket would wait on for ever is refused before.

    Raises:
        Refused: no WebSocket of ours can come of this.
    """
    headers = head.headers
    if headers.get("sec-websocket-version") != VERSION or len(headers.get("sec-websocket-key", "")) != KEY_CHARS:
        raise Refused(400, "this is no handshake of WebSocket 13", fatal=True)
    if subprotocol not in subprotocols(head):
        raise Refused(400, f"the subprotocol here is {subprotocol}", fatal=True)


@asynccontextmanager
async def accepted(
    caller: Caller, head: Head, subprotocol: str, message_bytes_max: int, limits: AdminLimits
) -> AsyncIterator[WebSocketConnection]:
    """The WebSocket that ``head`` asked for, open during the block; closed behind it within ``goodbye_s``.

    Raises:
        Refused: it did not come to be.
    """
    check_handshake(head, subprotocol)
    async with trio.open_nursery() as nursery:
        stream = ReplayedStream(head.raw, caller.stream)
        connection: WebSocketConnection | None = None
        with trio.move_on_after(limits.head_s):
            request = await wrap_server_stream(
                nursery,
                stream,
                message_queue_size=1,
                max_message_size=message_bytes_max,
                receive_buffer_size=RECEIVE_BYTES,
            )
            connection = await request.accept(subprotocol=subprotocol)
        try:
            if connection is None:
                raise Refused(400, "this is no handshake of a WebSocket", fatal=True)
            yield connection
        finally:
            if connection is not None:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.goodbye_s):
                    await connection.aclose(code=GOING_AWAY)
                await trio.aclose_forcefully(caller.stream)
            nursery.cancel_scope.cancel(reason="the WebSocket is closed")


async def close(connection: WebSocketConnection, code: int, reason: str, limits: AdminLimits) -> None:
    """Say why, and close within ``goodbye_s``."""
    with trio.move_on_after(limits.goodbye_s):
        await connection.aclose(code=code, reason=reason)


async def send(connection: WebSocketConnection, message: bytes, limits: AdminLimits) -> bool:
    """Send one message; false when the other end is gone or does not take it within ``send_s``."""
    try:
        with trio.fail_after(limits.send_s):
            await connection.send_message(message)
    except (ConnectionClosed, trio.TooSlowError):
        await trio.lowlevel.checkpoint()
        return False
    return True


async def receive(connection: WebSocketConnection) -> str | bytes | None:
    """The next message; ``None`` when the other end is gone."""
    try:
        return await connection.get_message()
    except ConnectionClosed:
        await trio.lowlevel.checkpoint()
        return None
