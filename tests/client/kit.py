"""What the client's tests stand on: memory byte streams, a scripted server, and both backends in virtual time."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from struct import Struct
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from trio.testing import MockClock

from trioquorum.errors import ConnectFailed
from trioquorum.wire.client import encode_connect_response, event_frame, frame, reply
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import EventType, Op, Xid
from trioquorum.wire.records import ConnectRequest, ConnectResponse, RequestHeader, Stat

BACKENDS = ("trio", "asyncio")
SESSION = 0x0100_0000_0000_002A
PASSWORD = b"sixteen bytes pw"
LIFE_S = 1_000  # virtual; a test that hangs ends here
STREAM_CHUNKS_MAX = 64

_LENGTH = Struct(">i")


class _JumpingSelector(selectors.SelectSelector):
    """Never sleeps: when nothing is ready, time jumps."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(backend: str, main: Callable[[], Awaitable[None]]) -> None:
    """Run ``main`` in virtual time, for at most ``LIFE_S`` of it."""

    async def bounded() -> None:
        with anyio.fail_after(LIFE_S):
            await main()

    options: dict[str, Any] = {"loop_factory": _VirtualLoop}
    if backend == "trio":
        options = {"clock": MockClock(autojump_threshold=0)}
    anyio.run(bounded, backend=backend, backend_options=options)


class MemoryStream(anyio.abc.ByteStream):
    """One end of an in-memory connection; ``receive`` may give any part of what was sent."""

    def __init__(self, inward: MemoryObjectReceiveStream[bytes], outward: MemoryObjectSendStream[bytes]) -> None:
        self._inward = inward
        self._outward = outward
        self._rest = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = self._rest or await self._inward.receive()
        self._rest = data[max_bytes:]
        return data[:max_bytes]

    async def send(self, item: bytes) -> None:
        await self._outward.send(item)

    async def send_eof(self) -> None:
        self._outward.close()

    async def aclose(self) -> None:
        self._outward.close()
        self._inward.close()


def memory_pair() -> tuple[MemoryStream, MemoryStream]:
    """Two connected ends."""
    there_send, there_receive = anyio.create_memory_object_stream[bytes](STREAM_CHUNKS_MAX)
    back_send, back_receive = anyio.create_memory_object_stream[bytes](STREAM_CHUNKS_MAX)
    return MemoryStream(back_receive, there_send), MemoryStream(there_receive, back_send)


class Conversation:
    """A server's end of one connection, for a test to script."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self._stream = stream
        self._received = b""

    async def frame(self) -> bytes:
        """The next whole frame with its length.

        Raises:
            anyio.EndOfStream: the client closed the connection.
        """
        while True:
            if len(self._received) >= 4:
                end = 4 + _LENGTH.unpack_from(self._received)[0]
                if len(self._received) >= end:
                    whole, self._received = self._received[:end], self._received[end:]
                    return whole
            self._received += await self._stream.receive()

    async def welcome(self, timeout_ms: int = 9_000, session: int = SESSION) -> ConnectRequest:
        """Answer the handshake; timeout 0 = no such session."""
        asked = ConnectRequest.decode((await self.frame())[4:])
        answer = ConnectResponse(0, timeout_ms, session, PASSWORD)
        await self.send(frame(encode_connect_response(answer, read_only=False)))
        return asked

    async def expect(self, op: Op) -> tuple[int, bytes]:
        """The next request, which must be ``op``: its xid and body. Pings in front of it are answered."""
        while True:
            request = await self.frame()
            header, at = RequestHeader.decode_from(request, 4)
            if header.op == Op.PING and op is not Op.PING:
                await self.reply(Xid.PING)
                continue
            assert header.op == op, (Op(header.op), op)
            return header.xid, request[at:]

    async def reply(self, xid: int, record: Record | bytes = b"", *, zxid: int = 0, err: int = 0) -> None:
        """Send a reply."""
        await self.send(reply_frame(xid, record, zxid=zxid, err=err))

    async def event(self, kind: EventType, path: str) -> None:
        """Send a notification."""
        await self.send(event_frame(kind, path, -1))

    async def close_session(self) -> None:
        """Expect the end of the session and let it end."""
        xid, _ = await self.expect(Op.CLOSE_SESSION)
        await self.reply(xid)

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self._stream.send(data)

    async def drop(self) -> None:
        """Cut the connection."""
        await self._stream.aclose()


def reply_frame(xid: int, record: Record | bytes = b"", *, zxid: int = 0, err: int = 0) -> bytes:
    """A reply with its length."""
    return reply(xid, zxid, err, record if isinstance(record, bytes) else record.encode())


def stat(version: int = 0) -> Stat:
    """Some node's Stat."""
    return Stat(1, 2, 3, 4, version, 0, 0, 0, 1, 0, 1)


class Server:
    """Where a client under test dials; the test accepts. It must be used inside a running backend."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[Conversation](STREAM_CHUNKS_MAX)
        self.down = False
        self.dialled: list[float] = []
        self._accepted: list[Conversation] = []

    async def dial(self) -> MemoryStream:
        """A connection to the test, or ConnectFailed while the server is down."""
        await anyio.lowlevel.checkpoint()
        self.dialled.append(anyio.current_time())
        if self.down:
            raise ConnectFailed("down")
        ours, theirs = memory_pair()
        conversation = Conversation(theirs)
        self._accepted.append(conversation)
        await self._send.send(conversation)
        return ours

    async def accept(self) -> Conversation:
        """The next connection."""
        return await self._receive.receive()

    async def aclose(self) -> None:
        """Cut everything."""
        self._send.close()
        self._receive.close()
        for conversation in self._accepted:
            await conversation.drop()


def play(
    backend: str,
    serve: Callable[[Server], Coroutine[Any, Any, None]],
    use: Callable[[Server], Coroutine[Any, Any, None]],
) -> None:
    """Run a script of a server against a use of a client; both must come to their end."""

    async def main() -> None:
        server = Server()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve, server)
                await use(server)
        finally:
            await server.aclose()

    run(backend, main)
