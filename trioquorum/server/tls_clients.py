"""Clients that speak TLS, on a port of their own or on the plain one: a task pair each, as for every link.

The handshake is bounded in time and number, and the certificate it verified says who the client is (client-protocol
§12). On a port for both, the first byte decides: TLS begins with 0x16, which no request's length does.
"""

import socket
from ipaddress import ip_address
from typing import Final

import trio

from trioquorum.errors import LinkClosed, PeerProtocolError
from trioquorum.pipeline.service import Service
from trioquorum.server.four_letter import Answerer
from trioquorum.server.links import LinkClients
from trioquorum.server.port import Plain
from trioquorum.tls import Certificates
from trioquorum.wire.certificate import subject_of

RECEIVE_BYTES: Final = 64 << 10
CLOSE_S: Final = 0.5  # a client has this long to take the end of its connection
_HANDSHAKE: Final = b"\x16"


class HandshakeFailed(PeerProtocolError):
    """A client that did not come through its handshake: it is not served."""


class TlsLink:
    """A ``Link`` of chunks, over TLS on a socket, which it owns."""

    def __init__(self, stream: "trio.SSLStream[trio.SocketStream]", remote: str) -> None:
        self._stream = stream
        self._remote = remote

    @property
    def remote(self) -> str:
        """Address and port of the other end."""
        return self._remote

    async def send(self, frame: bytes) -> None:
        """Encrypt and hand over; waits while the other end does not keep up."""
        try:
            await self._stream.send_all(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkClosed(f"{self._remote}: {_reason(error)}") from None

    async def receive(self) -> bytes:
        """What came, whatever its size."""
        try:
            data = await self._stream.receive_some(RECEIVE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkClosed(f"{self._remote}: {_reason(error)}") from None
        if not data:
            raise LinkClosed(f"{self._remote}: closed by the other end")
        return bytes(data)

    async def aclose(self) -> None:
        """Close, and say so as TLS wants it if the other end still listens; when cancelled, close at once."""
        with trio.move_on_after(CLOSE_S):
            await self._stream.aclose()


class TlsClients(LinkClients):
    """All TLS clients of one port while one role lasts; with ``plain_too`` others are handed back to the port."""

    def __init__(
        self, service: Service | None, answerer: Answerer, certificates: Certificates, *, plain_too: bool
    ) -> None:
        super().__init__(service, answerer)
        self._certificates = certificates
        self._plain_too = plain_too
        self._handshakes = 0
        self._tasks: trio.Nursery

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve whom ``greet`` is given until cancelled."""
        with self._counted():
            async with trio.open_nursery() as self._tasks:
                task_status.started()
                await trio.sleep_forever()

    def greet(self, sock: socket.socket, name: str, ip: str, plain: Plain) -> None:
        """``Greeter``: find out what a connection that was admitted speaks, and serve it."""
        if 0 < self._limits.tls_handshakes_max <= self._handshakes:
            self._turn_away(sock, name, ip, "too many handshakes at once")
            return
        self._handshakes += 1
        self._tasks.start_soon(self._run, sock, name, ip, plain, name=f"TLS client {name}")

    async def _run(self, sock: socket.socket, name: str, ip: str, plain: Plain) -> None:
        found: tuple[TlsLink | None, str] | None = None
        reason = ""
        try:
            found = await self._find_out(sock, name, ip)
        except HandshakeFailed as failure:
            reason = str(failure)
            await trio.lowlevel.checkpoint()
        finally:
            self._handshakes -= 1
            if found is None:
                self._turn_away(sock, name, ip, reason)
        if found is not None:
            link, subject = found
            if link is None:
                plain(sock, name, ip)
            else:
                await self._serve(link, self._client(name, ip, subject))

    def _turn_away(self, sock: socket.socket, name: str, ip: str, reason: str) -> None:
        """Close a connection that was admitted; without a ``reason`` it is because the port ends."""
        sock.close()
        self._answerer.admission.left(ip)
        if reason:
            self._answerer.admission.refused(name, reason)

    async def _find_out(self, sock: socket.socket, name: str, ip: str) -> tuple[TlsLink | None, str]:
        """The link, if it speaks TLS, and who the client proved to be by that.

        Raises:
            HandshakeFailed: it is not to be served.
        """
        if await self._is_plain(sock):
            return None, ""
        stream = await self._handshake(sock)
        certificate = stream.getpeercert(binary_form=True)
        if certificate is None:
            return TlsLink(stream, name), ""
        if self._certificates.settings.client_hostname_verification and not _names(stream.getpeercert(), ip):
            raise HandshakeFailed("the client's certificate does not name its address")
        return TlsLink(stream, name), subject_of(certificate)

    async def _is_plain(self, sock: socket.socket) -> bool:
        """Whether the client does not begin a handshake; it may also say nothing for long, which plain ones do."""
        await trio.lowlevel.checkpoint()
        if not self._plain_too:
            return False
        with trio.move_on_after(self._certificates.settings.detection_timeout_ms / 1000):
            await trio.lowlevel.wait_readable(sock)
        await trio.lowlevel.checkpoint_if_cancelled()  # the port may have ended meanwhile
        try:
            return sock.recv(1, socket.MSG_PEEK) != _HANDSHAKE
        except OSError:
            return True

    async def _handshake(self, sock: socket.socket) -> "trio.SSLStream[trio.SocketStream]":
        """The stream behind its handshake.

        Raises:
            HandshakeFailed: it took too long, or one end does not like the other.
        """
        transport = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        stream = trio.SSLStream(transport, self._certificates.context(), server_side=True)
        with trio.move_on_after(self._limits.handshake_timeout_ms / 1000) as patience:
            try:
                await stream.do_handshake()
            except trio.BrokenResourceError as error:
                raise HandshakeFailed(f"no TLS handshake: {_reason(error)}") from None
        if patience.cancelled_caught:
            raise HandshakeFailed("no TLS handshake in time")
        return stream


def _names(certificate: dict[str, tuple[tuple[str, str], ...]], ip: str) -> bool:
    """Whether a certificate is one for this address."""
    named = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "IP Address"]
    return ip_address(ip) in map(ip_address, named)


def _reason(error: BaseException) -> str:
    """What is behind an error of a stream, in the library's words."""
    cause = error.__cause__
    return str(getattr(cause, "reason", None) or cause or error)
