"""TCP: who listens and who dials; ``tcp_link`` is what they come to."""

import contextlib
import errno
import math
import os
import select
import socket
from typing import Any, Final

import trio

from trioquorum.errors import ConnectFailed, LinkClosed
from trioquorum.transport import Address
from trioquorum_transports.tcp_link import TcpLink as TcpLink

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
