"""The client addresses of a peer: bound once, above the roles, and served by whatever role the peer has."""

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from trioquorum.events import ClientsListening, Events
from trioquorum.limits import Limits
from trioquorum.pipeline.service import Service
from trioquorum.server.four_letter import Answerer
from trioquorum.server.links import LinkPort
from trioquorum.server.port import Port
from trioquorum.transport import Address, Listener, Transports

BACKLOG = 1024


class ClientPorts:
    """Bound listeners; ``serve`` runs one task per listener for one role."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        listeners: Sequence[Listener],
        answerer: Answerer,
        limits: Limits,
        events: Events,
    ) -> None:
        self._sockets = sockets
        self._listeners = listeners
        self._answerer = answerer
        self._limits = limits
        self._events = events

    @property
    def addresses(self) -> list[Address]:
        """Where clients really reach this peer (port 0 was replaced)."""
        bound = [sock.getsockname()[:2] for sock in self._sockets]
        return [Address("tcp", host, port) for host, port in bound] + [it.address for it in self._listeners]

    async def serve(self, service: Service | None) -> None:
        """Serve clients until cancelled; without a service only four-letter words are answered."""
        async with trio.open_nursery() as nursery:
            for sock in self._sockets:
                port = Port(sock, service, self._answerer, self._limits, self._events)
                nursery.start_soon(port.run, name=f"clients {sock.getsockname()[1]}")
            for listener in self._listeners:
                links = LinkPort(listener, service, self._answerer, self._limits, self._events)
                nursery.start_soon(links.run, name=f"clients {listener.address}")


@asynccontextmanager
async def bind_client_ports(
    addresses: Sequence[Address], transports: Transports, answerer: Answerer, limits: Limits, events: Events
) -> AsyncIterator[ClientPorts]:
    """Bind every address; all are closed at the end of the block.

    Raises:
        OSError: an address cannot be bound; ``filename`` holds the address.
    """
    async with AsyncExitStack() as stack:
        sockets: list[socket.socket] = []
        listeners: list[Listener] = []
        for address in addresses:
            try:
                if address.scheme == "tcp":
                    sockets.append(stack.enter_context(_listen(address)))
                else:
                    frame_max = limits.client_frame_bytes_max
                    listener = await transports[address.scheme].listen(address, frame_bytes_max=frame_max)
                    stack.push_async_callback(listener.aclose)
                    listeners.append(listener)
            except OSError as error:
                raise OSError(error.errno, error.strerror or str(error), str(address)) from None
        ports = ClientPorts(sockets, listeners, answerer, limits, events)
        for bound in ports.addresses:
            events.emit(ClientsListening(address=str(bound)))
        await trio.lowlevel.checkpoint()
        yield ports


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
