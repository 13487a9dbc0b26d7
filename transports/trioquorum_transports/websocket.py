"""WebSocket: a frame is one binary message. ``ws://`` is plain, ``wss://`` runs over TLS.

The protocol is trio-websocket's, which needs a task that reads for each connection. A transport has no nursery to put
it into, so it is a system task that its link owns: it starts with the link and has ended when ``aclose`` returns. The
same goes for the task in which a listener shakes hands with several callers at once.
"""

import errno
import hmac
import ssl
from collections.abc import Iterable
from typing import Final

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    wrap_client_stream,
    wrap_server_stream,
)

from trioquorum.errors import ConnectFailed, LinkClosed, LocalProtocolError, PeerProtocolError
from trioquorum.transport import Address, Link
from trioquorum_transports.websocket_reader import Reader, Refused, Stream, WatchedStream, spawn

RESOURCE: Final = "/trioquorum"
"""The path that peers ask for."""

SUBPROTOCOL: Final = "trioquorum.frames"
"""What both ends say they speak."""

HANDSHAKE_S: Final = 5.0  # from accepting a connection to its being a link
HANDSHAKES_MAX: Final = 64  # connections that are not links yet or that nobody accepted; more are turned away
ACCEPT_BACKOFF_S: Final = 0.1  # pause after an accept that failed for want of descriptors or memory
RECEIVE_BYTES: Final = 64 << 10  # one read from the socket

_OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_TOO_BIG: Final = 1009
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404


class WebSocketLink:
    """A ``Link`` over an open WebSocket connection."""

    def __init__(self, reader: Reader, connection: WebSocketConnection, remote: str, frame_bytes_max: int) -> None:
        self._reader = reader
        self._connection = connection
        self._remote = remote
        self._frame_bytes_max = frame_bytes_max
        self._closed = ""

    @property
    def remote(self) -> str:
        """``ws://host:port`` of the other end."""
        return self._remote

    async def send(self, frame: bytes) -> None:
        """Hand one frame to the kernel. Cancelled on the way, the link may be broken for both ends.

        Raises:
            LinkClosed: the link is gone.
            LocalProtocolError: the frame is larger than the link's limit.
        """
        if len(frame) > self._frame_bytes_max:
            raise LocalProtocolError(f"a frame of {len(frame)} bytes for a link that carries {self._frame_bytes_max}")
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            await self._connection.send_message(frame)
        except ConnectionClosed as ended:
            raise LinkClosed(self._why(ended)) from None

    async def receive(self) -> bytes:
        """The next frame; cancelling loses nothing.

        Raises:
            LinkClosed: the link is gone, or the other end closed it.
            PeerProtocolError: the other end sent text, or a frame over the limit; the link is closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            raise LinkClosed(self._closed)
        try:
            message = await self._connection.get_message()
        except ConnectionClosed as ended:
            if not self._is_our_refusal(ended):
                raise LinkClosed(self._why(ended)) from None
            wrong = f"a frame over {self._frame_bytes_max} bytes"
        else:
            if isinstance(message, bytes):
                return message
            wrong = "a text message, frames are binary"
        self._closed = f"{self._remote}: {wrong}"
        await self._reader.aclose()
        raise PeerProtocolError(self._closed)

    async def aclose(self) -> None:
        """Close both directions within ``GOODBYE_S``, also when cancelled. Idempotent."""
        self._closed = self._closed or f"{self._remote}: closed at this end"
        await self._reader.aclose()
        await trio.lowlevel.checkpoint()

    def _is_our_refusal(self, ended: ConnectionClosed) -> bool:
        """The other end may say "too big" as well, but of its own limit: ours is never exceeded by equal limits."""
        reason = ended.reason
        return reason is not None and reason.code == _TOO_BIG and f" {self._frame_bytes_max} " in f"{reason.reason} "

    def _why(self, ended: ConnectionClosed) -> str:
        reason = ended.reason
        said = f" ({reason.name.lower()} {reason.reason or ''}".rstrip() + ")" if reason is not None else ""
        return self._closed or f"{self._remote}: closed by the other end{said}"


class WebSocketListener:
    """A ``Listener`` over listening sockets, which it owns. Handshakes go on beside each other, in its own task."""

    def __init__(
        self,
        transport: "WebSocketTransport",
        listening: list[trio.SocketListener],
        address: Address,
        frame_bytes_max: int,
    ) -> None:
        self._transport = transport
        self._listening = listening
        self._address = address
        self._frame_bytes_max = frame_bytes_max
        self._ready, self._links = trio.open_memory_channel[Link](0)
        self._waiting = 0
        self._scope = trio.CancelScope()
        self._done = trio.Event()
        spawn(self._run, name=f"listener {address}")

    @property
    def address(self) -> Address:
        """The host as asked for, and the real port."""
        return self._address

    async def accept(self) -> Link:
        """The next link whose handshake is done.

        Raises:
            LinkClosed: the listener was closed, or its sockets are broken for good.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            return await self._links.receive()
        except (trio.ClosedResourceError, trio.EndOfChannel):
            raise LinkClosed(f"{self._address}: the listener was closed") from None

    async def aclose(self) -> None:
        """Stop accepting; links that nobody accepted are closed. Idempotent, bounded, also when cancelled."""
        self._scope.cancel(reason="the listener is closed")
        self._links.close()
        with trio.CancelScope(shield=True):
            await self._done.wait()
        await trio.lowlevel.checkpoint()

    async def _run(self) -> None:
        try:
            await self._listen()
        finally:
            for listener in self._listening:
                listener.socket.close()
            self._done.set()

    async def _listen(self) -> None:
        await trio.lowlevel.checkpoint()
        try:
            with self._scope, self._ready:
                async with trio.open_nursery() as nursery:
                    for listener in self._listening:
                        nursery.start_soon(self._accept_from, listener, nursery)
        except* OSError:
            pass  # The sockets are broken for good: who accepts is told by the end of the channel.

    async def _accept_from(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        while True:
            try:
                accepted = await listener.accept()
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    raise
                await trio.sleep(ACCEPT_BACKOFF_S)
            else:
                nursery.start_soon(self._meet, accepted)

    async def _meet(self, accepted: trio.SocketStream) -> None:
        """From a connection to a link in somebody's hands, or to its end."""
        if self._waiting >= HANDSHAKES_MAX:
            accepted.socket.close()
            await trio.lowlevel.checkpoint()
            return
        self._waiting += 1
        try:
            await self._shake_hands(accepted)
        finally:
            self._waiting -= 1

    async def _shake_hands(self, accepted: trio.SocketStream) -> None:
        stream = WatchedStream(self._transport.secured(accepted) if self._address.scheme == "wss" else accepted)
        reader = Reader(stream)
        reader.start(lambda nursery: self._transport.admit(nursery, stream, self._frame_bytes_max))
        taken = False
        try:
            name = accepted.socket.getpeername()
            await trio.lowlevel.checkpoint()
            with trio.move_on_after(HANDSHAKE_S):
                await reader.opened.wait()
            if reader.connection is not None:
                scheme = self._address.scheme.rpartition("+")[2]
                remote = str(Address(scheme, name[0], name[1]))
                await self._ready.send(WebSocketLink(reader, reader.connection, remote, self._frame_bytes_max))
                taken = True
        except (OSError, trio.BrokenResourceError):
            taken = False  # Gone before it had a name, or nobody accepts any more.
        finally:
            if not taken:
                await reader.aclose()
        await trio.lowlevel.checkpoint()


class WebSocketTransport:
    """``ws://host:port`` and ``wss://host:port``.

    ``token`` is a secret that both ends know, empty for none; with client certificates, ``server_tls`` asks for them.
    Browsers name the page they come from (Origin): only those of ``origins`` are let in, programs name none.
    """

    def __init__(
        self,
        *,
        token: str = "",
        origins: Iterable[str] = (),
        server_tls: ssl.SSLContext | None = None,
        client_tls: ssl.SSLContext | None = None,
    ) -> None:
        self._token = token.encode()
        self._origins = frozenset(origin.encode() for origin in origins)
        self._server_tls = server_tls
        self._client_tls = client_tls

    async def listen(self, address: Address, *, frame_bytes_max: int) -> WebSocketListener:
        """Bind every address the host has on this machine.

        Raises:
            OSError: none can be bound, one is in use or not allowed, the name does not resolve, or ``wss`` has no
                certificate.
        """
        if address.scheme == "wss" and self._server_tls is None:
            raise OSError(errno.EINVAL, "wss:// needs a certificate and its key to listen with")
        listening, bound = await bind(address)
        return WebSocketListener(self, listening, bound, frame_bytes_max)

    async def connect(self, address: Address, *, frame_bytes_max: int) -> WebSocketLink:
        """Dial the addresses of the host; the caller bounds the time with a cancel scope.

        Raises:
            ConnectFailed: nobody is there, the name does not resolve, or who is there does not take us for a peer.
        """
        try:
            dialled = await trio.open_tcp_stream(address.host, address.port)
        except (OSError, UnicodeError) as error:
            raise ConnectFailed(f"{address}: {error}") from error
        below: Stream = dialled
        if address.scheme == "wss":
            tls = self._client_tls or ssl.create_default_context()
            below = trio.SSLStream(dialled, tls, server_hostname=address.host, https_compatible=True)
        stream = WatchedStream(below)
        host = str(address).partition("://")[2]
        headers = [(b"Authorization", b"Bearer " + self._token)] if self._token else []
        reader = Reader(stream)
        reader.start(
            lambda nursery: wrap_client_stream(
                nursery,
                stream,  # type: ignore[arg-type]  # any stream does
                host,
                RESOURCE,
                subprotocols=[SUBPROTOCOL],
                extra_headers=headers,
                message_queue_size=0,
                max_message_size=frame_bytes_max,
                receive_buffer_size=RECEIVE_BYTES,
            )
        )
        linked = False
        try:
            await reader.opened.wait()
            linked = reader.connection is not None
        finally:
            if not linked:
                await reader.aclose()
        if reader.connection is None:
            raise ConnectFailed(f"{address}: {reader.failure}")
        return WebSocketLink(reader, reader.connection, str(address), frame_bytes_max)

    def secured(self, accepted: trio.SocketStream) -> Stream:
        """TLS over an accepted connection; its handshake comes with the first bytes."""
        assert self._server_tls is not None
        return trio.SSLStream(accepted, self._server_tls, server_side=True, https_compatible=True)

    async def admit(self, nursery: trio.Nursery, stream: WatchedStream, frame_bytes_max: int) -> WebSocketConnection:
        """The handshake with a caller.

        Raises:
            Refused: it asked for something else, comes from a foreign page, or does not know the token.
        """
        request = await wrap_server_stream(
            nursery,
            stream,
            message_queue_size=0,
            max_message_size=frame_bytes_max,
            receive_buffer_size=RECEIVE_BYTES,
        )
        status = self._objection(request)
        if status:
            await request.reject(status)
            raise Refused(f"refused with status {status}")
        return await request.accept(subprotocol=SUBPROTOCOL)

    def _objection(self, request: WebSocketRequest) -> int:
        """The HTTP status that a caller is refused with; 0 for a peer."""
        headers = {name.lower(): value for name, value in request.headers}
        origin = headers.get(b"origin")
        if request.path != RESOURCE or SUBPROTOCOL not in request.proposed_subprotocols:
            return _NOT_FOUND
        if origin is not None and origin not in self._origins:
            return _FORBIDDEN
        told = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        if self._token and not hmac.compare_digest(told, self._token):
            return _UNAUTHORIZED
        return 0


async def bind(address: Address) -> tuple[list[trio.SocketListener], Address]:
    """Listening sockets on every address the host has on this machine, and the address with its real port.

    Raises:
        OSError: none can be bound, one is in use or not allowed, or the name does not resolve.
    """
    listening = await trio.open_tcp_listeners(address.port, host=address.host)
    while address.port == 0 and len(listening) > 1:
        # Each address of the name was given a port of its own; others are told one only.
        listening.pop().socket.close()
    return listening, Address(address.scheme, address.host, listening[0].socket.getsockname()[1])
