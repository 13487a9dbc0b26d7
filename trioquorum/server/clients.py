"""The client addresses of a peer: bound once, above the roles, and served by whatever role the peer has."""

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from trioquorum.events import ClientsListening, PortBlocked
from trioquorum.pipeline.request_throttle import RequestThrottle
from trioquorum.pipeline.service import Service
from trioquorum.server.four_letter import Answerer
from trioquorum.server.links import LinkPort
from trioquorum.server.port import Greeter, Port
from trioquorum.server.tls_clients import TlsClients
from trioquorum.settings import Settings
from trioquorum.tls import Certificates
from trioquorum.transport import Address, Listener, Transports

BACKLOG = 1024
REBIND_RETRY_S = 1.0
TLS = "tls"
_SOCKETS = frozenset(("tcp", TLS))


class ClientPorts:
    """Bound listeners; ``serve`` runs one task per listener for one role."""

    def __init__(
        self,
        addresses: Sequence[Address],
        transports: Transports,
        answerer: Answerer,
        settings: Settings,
        certificates: Certificates | None = None,
    ) -> None:
        self._certificates = certificates
        self._events = answerer.events
        self._wanted = self._servable(addresses)
        self._transports = transports
        self._answerer = answerer
        self._settings = settings
        self._limits = answerer.limits
        self._bound: dict[Address, socket.socket | Listener] = {}
        self._changed = trio.Event()

    @property
    def addresses(self) -> list[Address]:
        """Where clients really reach this peer (port 0 was replaced)."""
        return [
            Address(wanted.scheme, *bound.getsockname()[:2]) if isinstance(bound, socket.socket) else bound.address
            for wanted, bound in self._bound.items()
        ]

    async def bind(self) -> None:
        """Bind what is not bound yet.

        Raises:
            OSError: an address cannot be bound; ``filename`` holds the address.
        """
        for address in self._wanted:
            if address in self._bound:
                continue
            try:
                if address.scheme in _SOCKETS:
                    self._bound[address] = _listen(address, self._settings)
                else:
                    frame_max = self._limits.client_frame_bytes_max
                    transport = self._transports[address.scheme]
                    self._bound[address] = await transport.listen(address, frame_bytes_max=frame_max)
            except OSError as error:
                raise OSError(error.errno, error.strerror or str(error), str(address)) from None
        for bound in self.addresses:
            self._events.emit(ClientsListening(address=str(bound)))
        await trio.lowlevel.checkpoint()

    def set_addresses(self, addresses: Sequence[Address]) -> None:
        """Serve clients there from now on; those at an address that is given up are disconnected."""
        servable = self._servable(addresses)
        if servable != self._wanted:
            self._wanted = servable
            self._changed.set()

    def _servable(self, addresses: Sequence[Address]) -> tuple[Address, ...]:
        """Without a key nobody can be served by TLS, and must not be served otherwise where TLS is expected."""
        if self._certificates is not None:
            return tuple(addresses)
        for address in addresses:
            if address.scheme == TLS:
                self._events.emit(PortBlocked(kind="client", address=str(address), reason="there is no key for TLS"))
        return tuple(address for address in addresses if address.scheme != TLS)

    async def serve(self, service: Service | None) -> None:
        """Serve clients until cancelled; without a service only four-letter words are answered."""
        while True:
            if tuple(self._bound) != self._wanted:
                await self._move()
            self._changed = trio.Event()
            async with trio.open_nursery() as nursery:
                if service is not None and service.throttle is not None:
                    nursery.start_soon(look_at_queue, service, service.throttle)
                for address, bound in self._bound.items():
                    if isinstance(bound, socket.socket):
                        greet = await self._greeter(address, service, nursery)
                        port = Port(bound, service, self._answerer, greet)
                        nursery.start_soon(port.run, name=f"clients {bound.getsockname()[1]}")
                    else:
                        links = LinkPort(bound, service, self._answerer)
                        nursery.start_soon(links.run, name=f"clients {bound.address}")
                await self._changed.wait()
                nursery.cancel_scope.cancel(reason="the client address changed")

    async def _greeter(self, address: Address, service: Service | None, nursery: trio.Nursery) -> Greeter | None:
        """Who looks at the connections to ``address`` first, in ``nursery``; nobody where all are plain."""
        await trio.lowlevel.checkpoint()
        certificates = self._certificates
        plain_too = address.scheme != TLS
        if certificates is None or (plain_too and not certificates.settings.port_unification):
            return None
        clients = TlsClients(service, self._answerer, certificates, plain_too=plain_too)
        await nursery.start(clients.run, name=f"TLS clients {address.port}")
        return clients.greet

    async def _move(self) -> None:
        """Give up what is not wanted, then bind what is; who holds such an address must let go of it first."""
        for address in [address for address in self._bound if address not in self._wanted]:
            await _close(self._bound.pop(address))
        while True:
            try:
                await self.bind()
            except OSError as error:
                reason = error.strerror or str(error)
                self._events.emit(PortBlocked(kind="client", address=str(error.filename), reason=reason))
            else:
                self._bound = {address: self._bound[address] for address in self._wanted}
                return
            await trio.sleep(REBIND_RETRY_S)

    async def aclose(self) -> None:
        """Close every listener, also when cancelled."""
        with trio.CancelScope(shield=True):
            while self._bound:
                await _close(self._bound.popitem()[1])
            await trio.lowlevel.checkpoint()


async def look_at_queue(service: Service, throttle: RequestThrottle) -> None:
    """Requests may become stale in the queue though nothing else happens."""
    while True:
        await trio.sleep(throttle.stall_time_ms / 1000)
        if throttle.queued:
            service.flush()


@asynccontextmanager
async def bind_client_ports(
    addresses: Sequence[Address],
    transports: Transports,
    answerer: Answerer,
    settings: Settings,
    certificates: Certificates | None = None,
) -> AsyncIterator[ClientPorts]:
    """Bind every address; all are closed at the end of the block.

    Raises:
        OSError: an address cannot be bound; ``filename`` holds the address.
    """
    ports = ClientPorts(addresses, transports, answerer, settings, certificates)
    try:
        await ports.bind()
        yield ports
    finally:
        await ports.aclose()


async def _close(bound: socket.socket | Listener) -> None:
    if isinstance(bound, socket.socket):
        bound.close()
        await trio.lowlevel.checkpoint()
    else:
        await bound.aclose()


def _listen(address: Address, settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
        # What is accepted takes the option over.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, settings.client_keep_alive)
        sock.listen(settings.client_listen_backlog if settings.client_listen_backlog >= 0 else BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
