"""A ZooKeeper client over WebSocket: one frame is one binary message, without the length that goes before it on TCP."""

from typing import Final

import trio
from trio_websocket import WebSocketConnection

from trioquorum.admin import websockets
from trioquorum.admin.inside import Inside
from trioquorum.admin.settings import AdminLimits
from trioquorum.errors import LinkClosed, PeerProtocolError
from trioquorum.wire.framing import FrameSplitter

CLIENT_PROTOCOL: Final = "trioquorum.client"
"""The WebSocket subprotocol of a client session."""

LENGTH_BYTES: Final = 4
REPLY_BYTES_MAX: Final = 1 << 30
"""Of one reply, which the server's own limits keep far smaller."""


class WebSocketClientLink:
    """``Link`` of a client's byte stream, made of the messages of a WebSocket."""

    def __init__(self, connection: WebSocketConnection, remote: str, limits: AdminLimits) -> None:
        self.closed = trio.Event()
        self._connection = connection
        self._remote = remote
        self._limits = limits
        self._replies = FrameSplitter(REPLY_BYTES_MAX)

    @property
    def remote(self) -> str:
        """``admin://host:port`` of the browser."""
        return self._remote

    async def send(self, frame: bytes) -> None:
        """Pass a piece of the server's stream on, as far as replies are whole.

        Raises:
            LinkClosed: the browser is gone, or does not take it.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        for reply in self._replies.feed(frame):
            if not await websockets.send(self._connection, bytes(reply), self._limits):
                raise LinkClosed(f"{self._remote}: gone, or does not read")
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def receive(self) -> bytes:
        """The next request, with its length before it.

        Raises:
            LinkClosed: the browser is gone.
            PeerProtocolError: it sent text.
        """
        message = await websockets.receive(self._connection)
        if message is None:
            raise LinkClosed(f"{self._remote}: gone")
        if isinstance(message, str):
            raise PeerProtocolError(f"{self._remote}: a text message, requests are binary")
        return len(message).to_bytes(LENGTH_BYTES, "big") + message

    async def aclose(self) -> None:
        """Done with: the WebSocket is closed by who opened it."""
        self.closed.set()
        await trio.lowlevel.checkpoint()


async def serve_session(connection: WebSocketConnection, remote: str, inside: Inside, limits: AdminLimits) -> None:
    """Hand a browser to the peer's own client handling, until that is done with it."""
    link = WebSocketClientLink(connection, remote, limits)
    try:
        await inside.offer(link, limits.offer_s)
    except LinkClosed as error:
        await websockets.close(connection, websockets.TRY_LATER, str(error), limits)
        return
    await link.closed.wait()
