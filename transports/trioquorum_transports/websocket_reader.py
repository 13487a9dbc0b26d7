"""What trio-websocket needs below a link: a task that reads, and a byte stream that knows when it has ended."""

import contextvars
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from trio_websocket import ConnectionRejected, WebSocketConnection

GOODBYE_S: Final = 0.2  # how long the other end may take to answer a close

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
Wrap = Callable[[trio.Nursery], Awaitable[WebSocketConnection]]


class WatchedStream(trio.abc.Stream):
    """The bytes below: knows that they ended, and ends them when a send was cancelled half-way."""

    def __init__(self, below: Stream) -> None:
        self.ended = trio.Event()
        self._below = below
        self._socket = (below if isinstance(below, trio.SocketStream) else below.transport_stream).socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        whole = False
        try:
            await self._below.send_all(data)
            whole = True
        finally:
            if not whole:
                self.abort()

    async def wait_send_all_might_not_block(self) -> None:
        await self._below.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data: bytes | bytearray = b""
        try:
            data = await self._below.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self.ended.set()
            raise
        if not data:
            self.ended.set()
        return data

    async def aclose(self) -> None:
        self.ended.set()
        await self._below.aclose()

    def abort(self) -> None:
        """Close at once, without a word over TLS; who waits for the socket is woken."""
        self.ended.set()
        self._socket.close()


class Refused(Exception):
    """A caller that is no peer of ours; it was told."""


class Reader:
    """The task of one connection, from its handshake to its end. ``aclose`` stops it, also before the handshake."""

    def __init__(self, stream: WatchedStream) -> None:
        self.opened = trio.Event()
        self.connection: WebSocketConnection | None = None
        self.failure = "closed during the handshake"
        self._stream = stream
        self._over = trio.Event()
        self._done = trio.Event()
        self._scope = trio.CancelScope()

    def start(self, wrap: Wrap) -> None:
        """Run it. It inherits the context of who starts it, so that it counts as part of the same peer."""
        spawn(self._run, wrap, name="websocket reader")

    async def aclose(self) -> None:
        """Say goodbye if a connection is open, close it, and wait until the task is gone."""
        self._over.set()
        if not self.opened.is_set():
            self._scope.cancel(reason="the link was given up during the handshake")
        with trio.CancelScope(shield=True):
            await self._done.wait()

    async def _run(self, wrap: Wrap) -> None:
        try:
            await self._keep(wrap)
        finally:
            self._stream.abort()
            self.opened.set()
            self._done.set()

    async def _keep(self, wrap: Wrap) -> None:
        await trio.lowlevel.checkpoint()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._end_with_the_stream, nursery.cancel_scope)
                    self.connection = await wrap(nursery)
                    self.opened.set()
                    await self._over.wait()
                    with trio.move_on_after(GOODBYE_S):
                        await self.connection.aclose()
                    nursery.cancel_scope.cancel(reason="the link is closed")
        except* Exception as errors:  # noqa: BLE001  # Whatever a library or a stranger did ends this link only.
            self.failure = _first_line(errors)

    async def _end_with_the_stream(self, scope: trio.CancelScope) -> None:
        """During the handshake trio-websocket would wait on when the stream has ended."""
        await self._stream.ended.wait()
        if not self.opened.is_set():
            scope.cancel(reason="the connection ended during the handshake")


def spawn(function: Callable[..., Awaitable[None]], *args: object, name: str) -> None:
    """Start a task that its link or listener owns; it raises nothing but ``Cancelled``."""
    context = contextvars.copy_context()
    trio.lowlevel.spawn_system_task(function, *args, name=name, context=context)  # noqa: TID251


def _first_line(errors: BaseExceptionGroup[Exception]) -> str:
    """What went wrong first, for people to read."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ConnectionRejected):
        return f"refused with status {error.status_code}"
    return f"{type(error).__name__}: {error}".rstrip(": ")
