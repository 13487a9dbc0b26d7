"""A client that speaks bytes to one peer of an ensemble, so that a test decides what is sent when."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, Self

import anyio
import trio

from tests.hostile.kit import REPLY, buffer, connect_frame, request, text
from trioquorum.testing import LinkStream, MemoryEnsemble, dial_over
from trioquorum.transport import Address
from trioquorum.wire.framing import FrameSplitter
from trioquorum.wire.ops import Op
from trioquorum.wire.records import ConnectResponse

MEGABYTE = 1_000_000
SESSION_MS = 20_000


class Reply(NamedTuple):
    """One reply; ``err`` is the code, ``body`` what follows the header."""

    xid: int
    zxid: int
    err: int
    body: bytes


class Raw:
    """One connection. What is not answered in ``PATIENCE_S`` of virtual time never is."""

    PATIENCE_S = 15.0

    def __init__(self, stream: LinkStream) -> None:
        self.session = 0
        self.timeout_ms = 0
        self.password = bytes(16)
        self._stream = stream
        self._splitter = FrameSplitter(64 << 20)
        self._frames: deque[bytes] = deque()

    @classmethod
    async def dial(cls, ensemble: MemoryEnsemble, peer: int, node: str = "raw") -> Self:
        """Connect to a peer, and say nothing."""
        stream = await dial_over(ensemble.network.transport(node), Address("memory", f"peer{peer}", 2181))()
        assert isinstance(stream, LinkStream)
        return cls(stream)

    async def send(self, *frames: bytes) -> None:
        """Send all in as few pieces as the stream allows."""
        await self._stream.send(b"".join(frames))

    async def ask_session(self, again: "Raw | None" = None, timeout_ms: int = SESSION_MS) -> None:
        """Send a ConnectRequest, for a new session or that of ``again``."""
        session, password = (again.session, again.password) if again else (0, bytes(16))
        await self.send(connect_frame(timeout_ms, session, password))

    async def session_granted(self) -> None:
        """Take the answer to ``ask_session``, which must be a session."""
        answer, _ = ConnectResponse.decode_from(await self.frame(), 0)
        self.session, self.timeout_ms, self.password = answer.session, answer.timeout_ms, answer.password or b""
        assert self.session, "the session was refused"

    async def receive(self) -> bytes | None:
        """Raw bytes, none at the end of the stream.

        Raises:
            trio.TooSlowError: nothing came.
        """
        with trio.fail_after(self.PATIENCE_S):
            try:
                return await self._stream.receive()
            except anyio.EndOfStream:
                return None

    async def frame(self) -> bytes:
        """The next frame.

        Raises:
            trio.TooSlowError: none came.
        """
        while not self._frames:
            data = await self.receive()
            assert data is not None, "the connection was closed"
            self._frames += self._splitter.feed(data)
        return self._frames.popleft()

    async def reply(self) -> Reply:
        """The next reply."""
        frame = await self.frame()
        xid, zxid, err = REPLY.unpack_from(frame)
        return Reply(xid, zxid, err, frame[REPLY.size :])

    async def aclose(self) -> None:
        """Leave without a word."""
        await self._stream.aclose()


@asynccontextmanager
async def session(
    ensemble: MemoryEnsemble, peer: int, again: Raw | None = None, timeout_ms: int = SESSION_MS
) -> AsyncIterator[Raw]:
    """A connection to ``peer`` with an open session, new or that of ``again``."""
    client = await Raw.dial(ensemble, peer)
    try:
        await client.ask_session(again, timeout_ms)
        await client.session_granted()
        yield client
    finally:
        await client.aclose()


def set_version(xid: int, path: str, data: bytes, version: int) -> bytes:
    """A setData that expects a version."""
    return request(xid, Op.SET_DATA, text(path) + buffer(data) + version.to_bytes(4, "big", signed=True))


def sync(xid: int, path: str) -> bytes:
    return request(xid, Op.SYNC, text(path))


def others(ensemble: MemoryEnsemble, *these: int) -> list[int]:
    return [peer for peer in ensemble.peers if peer not in these]


def slow_disks(ensemble: MemoryEnsemble, latency_s: float, *ids: int) -> None:
    """From now on a flush takes so long, at these peers or at all."""
    for peer in ids or ensemble.peers:
        ensemble.peers[peer].disk.flush_latency_s = latency_s
