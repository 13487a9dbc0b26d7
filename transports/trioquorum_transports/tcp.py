"""TCP: a frame is a 4-byte big-endian length and that many bytes.

Links run on stdlib non-blocking sockets: the system call is tried first and Trio is asked to wait only when the kernel
has nothing to give or no room (a wake-up costs ten times the call). One ``recv`` may yield many frames.
"""

import contextlib
import errno
import math
import os
import select
import socket
from typing import Any, Final

import trio

from trioquorum.errors import ConnectFailed, LinkClosed, LocalProtocolError, PeerProtocolError
from trioquorum.invariants import invariant
from trioquorum.transport import Address
from trioquorum_transports.frames import HEADER, FrameSplitter

RECEIVE_BYTES: Final = 256 << 10  # one recv
BURST_BYTES: Final = 256 << 10  # what a task may move on one link before the other tasks get a turn
FRAME_COST_BYTES: Final = 4 << 10  # a frame counts as this much more, so that a burst is at most 64 frames
BACKLOG: Final = 1024  # connections the kernel holds until they are accepted
ACCEPT_BACKOFF_S: Final = 0.1  # pause after an accept that failed for want of descriptors or memory
ATTEMPT_S: Final = 2.0  # how long one of several addresses of a name may stay silent

_ADDRESS_NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# accept(2): nobody waits, or who waited is gone; the listening socket itself is well.
_NOBODY: Final = frozenset(
    {
        *(errno.EAGAIN, errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENOPROTOOPT, errno.EOPNOTSUPP),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT),
    }
)


class TcpLink:
    """A ``Link`` over a connected socket, which it owns."""

    def __init__(self, connected: socket.socket, remote: str, frame_bytes_max: int) -> None:
        connected.setblocking(False)
        # A connection that was reset already may refuse options; its first use says what happened.
        with contextlib.suppress(OSError):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._socket = connected
        self._remote = remote
        self._frame_bytes_max = frame_bytes_max
        self._splitter = FrameSplitter(frame_bytes_max)
        self._send_ended = ""
        self._receive_ended = ""
        self._sending = False
        self._rest = memoryview(b"")
        self._send_credit = BURST_BYTES
        self._receive_credit = BURST_BYTES

    @property
    def remote(self) -> str:
        """``tcp://host:port`` of the other end."""
        return self._remote

    async def send(self, frame: bytes) -> None:
        """Hand one frame to the kernel. Cancelled when part of it was gone, the link is broken for both ends.

        Raises:
            LinkClosed: the link is gone.
            LocalProtocolError: the frame is larger than the link's limit.
        """
        size = len(frame)
        if size > self._frame_bytes_max:
            raise LocalProtocolError(f"a frame of {size} bytes for a link that carries {self._frame_bytes_max}")
        if self._send_credit > 0:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            self._send_credit = BURST_BYTES
            await trio.lowlevel.checkpoint()
        self._send_credit -= size + FRAME_COST_BYTES
        if self._rest:
            await self.send_rest()
        invariant(not self._sending, "one task sends on a link at a time", remote=self._remote)
        header = HEADER.pack(size)
        sent = self._send_some((header, frame))
        if sent < HEADER.size + size:
            await self._send_last(header, memoryview(frame), sent)

    @property
    def has_rest(self) -> bool:
        """Whether the kernel had no room for all that ``send_nowait`` took."""
        return len(self._rest) > 0

    def send_nowait(self, frame: bytes) -> bool:
        """Hand one frame to the kernel if it has room for any of it; the rest is kept for ``send_rest``."""
        size = len(frame)
        if self._send_ended or self._rest or size > self._frame_bytes_max:
            return False
        invariant(not self._sending, "one task sends on a link at a time", remote=self._remote)
        header = HEADER.pack(size)
        try:
            sent = self._send_some((header, frame))
        except LinkClosed:
            return False
        if 0 < sent < HEADER.size + size:
            self._rest = memoryview(header + frame)[sent:]
        return sent > 0

    async def send_rest(self) -> None:
        """Wait until the kernel has taken what is left of a frame.

        Raises:
            LinkClosed: the link is gone.
        """
        await trio.lowlevel.checkpoint()
        while self._rest:
            self._rest = self._rest[self._send_some((self._rest,)) :]
            if self._rest:
                try:
                    await trio.lowlevel.wait_writable(self._socket)
                except trio.ClosedResourceError:
                    raise LinkClosed(self._send_ended) from None

    async def _send_last(self, header: bytes, frame: memoryview, sent: int) -> None:
        total = len(header) + len(frame)
        self._sending = True
        try:
            while True:
                await trio.lowlevel.wait_writable(self._socket)
                self._send_credit = BURST_BYTES
                if sent < len(header):
                    sent += self._send_some((header[sent:], frame))
                else:
                    sent += self._send_some((frame[sent - len(header) :],))
                if sent == total:
                    return
        except trio.ClosedResourceError:
            raise LinkClosed(self._send_ended) from None
        finally:
            self._sending = False
            if 0 < sent < total and not self._send_ended:
                self._break("a frame was cancelled half-way")

    def _send_some(self, parts: tuple[bytes | memoryview, ...]) -> int:
        """How many bytes the kernel took; 0 when it has no room."""
        if self._send_ended:
            raise LinkClosed(self._send_ended)
        try:
            return self._socket.sendmsg(parts)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._send_ended = f"{self._remote}: {error.strerror}"
            raise LinkClosed(self._send_ended) from error

    def _break(self, reason: str) -> None:
        """Let the other end see an end, never the next frame's bytes as the rest of this one."""
        self._send_ended = f"{self._remote}: {reason}"
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    async def receive(self) -> bytes:
        """The next frame; cancelling loses nothing.

        Raises:
            LinkClosed: the link is gone, or the other end closed it.
            PeerProtocolError: the other end announced a frame over the limit; the link is closed.
        """
        splitter = self._splitter
        while True:
            if self._receive_credit > 0:
                await trio.lowlevel.checkpoint_if_cancelled()
            else:
                self._receive_credit = BURST_BYTES
                await trio.lowlevel.checkpoint()
            if splitter.frames:
                self._receive_credit -= FRAME_COST_BYTES
                return splitter.frames.popleft()
            if self._receive_ended:
                raise LinkClosed(self._receive_ended)
            if splitter.violation:
                self._close(splitter.violation)
                raise PeerProtocolError(f"{self._remote}: {splitter.violation}")
            if not self._receive_some():
                # Closed here meanwhile, the next round says so.
                with contextlib.suppress(trio.ClosedResourceError):
                    await trio.lowlevel.wait_readable(self._socket)
                self._receive_credit = BURST_BYTES

    def _receive_some(self) -> bool:
        """Feed the splitter once, or note the end; False when the kernel has nothing."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            self._receive_ended = f"{self._remote}: {error.strerror}"
        else:
            if data:
                self._receive_credit -= len(data)
                self._splitter.feed(data)
                return True
            where = " inside a frame" if self._splitter.inside_frame else ""
            self._receive_ended = self._send_ended or f"{self._remote}: closed by the other end{where}"
        self._send_ended = self._send_ended or self._receive_ended
        return True

    async def aclose(self) -> None:
        """Close both directions; what waits here on the link raises ``LinkClosed``. Idempotent, never waits."""
        self._close("closed at this end")
        await trio.lowlevel.checkpoint()

    def _close(self, reason: str) -> None:
        if self._socket.fileno() >= 0:
            self._send_ended = self._receive_ended = f"{self._remote}: {reason}"
            self._splitter.frames.clear()
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


class TcpListener:
    """A ``Listener`` over bound and listening sockets, which it owns: one for each address its host name has."""

    def __init__(self, listening: list[socket.socket], host: str, frame_bytes_max: int) -> None:
        self._sockets = listening
        self._address = Address("tcp", host, listening[0].getsockname()[1])
        self._frame_bytes_max = frame_bytes_max
        self._ready = select.epoll()
        for each in listening:
            self._ready.register(each.fileno(), select.EPOLLIN)

    @property
    def address(self) -> Address:
        """The host as asked for, and the real port."""
        return self._address

    async def accept(self) -> TcpLink:
        """The next link. A caller that is gone again, or a want of descriptors, does not end the listener.

        Raises:
            LinkClosed: the listener was closed, or its socket is broken for good.
        """
        while True:
            await trio.lowlevel.checkpoint()
            if self._ready.closed:
                raise LinkClosed(f"{self._address}: the listener was closed")
            try:
                found = self._accept_now()
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    raise LinkClosed(f"{self._address}: {error.strerror}") from error
            else:
                if found is not None:
                    connected, name = found
                    return TcpLink(connected, str(Address("tcp", name[0], name[1])), self._frame_bytes_max)
                # Closed here meanwhile, the next round says so.
                with contextlib.suppress(trio.ClosedResourceError):
                    await trio.lowlevel.wait_readable(self._ready.fileno())
                continue
            await trio.sleep(ACCEPT_BACKOFF_S)

    def _accept_now(self) -> tuple[socket.socket, tuple[Any, ...]] | None:
        """A caller that waits at one of the sockets, and its name; None when there is none."""
        for listening in self._sockets:
            try:
                return listening.accept()
            except OSError as error:
                if error.errno not in _NOBODY:
                    raise
        return None

    async def aclose(self) -> None:
        """Stop accepting; the kernel resets callers not yet accepted. Idempotent, never waits."""
        if not self._ready.closed:
            trio.lowlevel.notify_closing(self._ready.fileno())
            self._ready.close()
            for listening in self._sockets:
                listening.close()
        await trio.lowlevel.checkpoint()


class TcpTransport:
    """``tcp://host:port``, IPv4 and IPv6; names are resolved each time they are used."""

    async def listen(self, address: Address, *, frame_bytes_max: int) -> TcpListener:
        """Bind every address the host has on this machine; ``[::]`` means IPv6 only.

        Raises:
            OSError: none can be bound, one is in use or not allowed, or the name does not resolve.
        """
        listening: list[socket.socket] = []
        not_here: OSError | None = None
        port = address.port
        try:
            for family, name in await _resolve(address, socket.AI_PASSIVE):
                try:
                    listening.append(_listen(family, (name[0], port, *name[2:])))
                except OSError as error:
                    # A name may have an address of a family that is switched off here (::1 for localhost).
                    if error.errno not in _ADDRESS_NOT_HERE:
                        raise
                    not_here = error
                else:
                    port = listening[0].getsockname()[1]
        except OSError:
            for bound in listening:
                bound.close()
            raise
        if not_here is not None and not listening:
            raise not_here
        return TcpListener(listening, address.host, frame_bytes_max)

    async def connect(self, address: Address, *, frame_bytes_max: int) -> TcpLink:
        """Dial the addresses of the host one after the other; the caller bounds the time with a cancel scope.

        Raises:
            ConnectFailed: nobody is there or the name does not resolve.
        """
        try:
            found = await _resolve(address, 0)
        except OSError as error:
            raise ConnectFailed(f"{address}: {error.strerror}") from error
        failures: list[str] = []
        for number, (family, name) in enumerate(found, 1):
            # A silent address must not use up the caller's patience while another one might answer.
            try:
                with trio.move_on_after(ATTEMPT_S if number < len(found) else math.inf):
                    return TcpLink(await _connect(family, name), str(address), frame_bytes_max)
            except OSError as error:
                failures.append(f"{name[0]} {error.strerror}")
            else:
                failures.append(f"{name[0]} silent for {ATTEMPT_S} s")
        raise ConnectFailed(f"{address}: {', '.join(failures)}")


async def _resolve(address: Address, flags: int) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """Where ``address`` is now, in the system's order of preference."""
    try:
        found = await trio.socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=flags
        )
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, f"not a host name: {error}") from error
    return [(family, name) for family, _, _, _, name in found]


def _listen(family: socket.AddressFamily, name: tuple[Any, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(name)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


async def _connect(family: socket.AddressFamily, name: tuple[Any, ...]) -> socket.socket:
    connecting = socket.socket(family, socket.SOCK_STREAM)
    connected = False
    try:
        connecting.setblocking(False)
        code = connecting.connect_ex(name)
        if code == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(connecting)
            code = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        else:
            await trio.lowlevel.checkpoint()
        # Without a listener, a dialler that is given the very port it dials as its own talks to itself.
        if code == 0 and connecting.getsockname() == connecting.getpeername():
            code = errno.ECONNREFUSED
        if code:
            raise OSError(code, os.strerror(code))
        connected = True
        return connecting
    finally:
        if not connected:
            connecting.close()
