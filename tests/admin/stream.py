"""Byte streams of a ZooKeeper client over the admin port's WebSocket."""

import anyio
import trio
from anyio.abc import ByteStream
from trio_websocket import ConnectionClosed, WebSocketConnection

from trioquorum.wire.framing import FrameSplitter


class SessionStream(ByteStream):
    """A frame with its length is a message without it."""

    def __init__(self, below: trio.SocketStream, connection: WebSocketConnection) -> None:
        self._below = below
        self._connection = connection
        self._requests = FrameSplitter(1 << 20)
        self._rest = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._rest:
            try:
                message = await self._connection.get_message()
            except ConnectionClosed:
                raise anyio.EndOfStream from None
            assert isinstance(message, bytes)
            self._rest = len(message).to_bytes(4, "big") + message
        data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return data

    async def send(self, item: bytes) -> None:
        for frame in self._requests.feed(item):
            try:
                await self._connection.send_message(frame)
            except ConnectionClosed as error:
                raise anyio.BrokenResourceError from error

    async def send_eof(self) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._below)
