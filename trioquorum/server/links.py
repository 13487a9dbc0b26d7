"""Clients that are not plain sockets: a task pair for each link that carries a client's byte stream in chunks.

Serves the same sans-I/O connection as ``port``, for in-memory clients and for WebSocket.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Final

import trio

from trioquorum.errors import ConfigError, LinkClosed, PeerProtocolError
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.service import Service
from trioquorum.server.connection import Connection
from trioquorum.server.four_letter import Answerer
from trioquorum.transport import Address, Link, Listener

CHUNK_BYTES: Final = 256 << 10
NO_IP: Final = ""
LAST_REPLIES_S: Final = 2.0  # a connection that is being closed has this long to take them


def ip_of(remote: str) -> str:
    """The IP address in a link's ``remote``, if its transport has such addresses."""
    try:
        return str(ip_address(Address.parse(remote).host))
    except (ConfigError, ValueError):
        return NO_IP


class LinkClient(Connection):
    """A connection over a transport's link."""

    __slots__ = ("patience", "readable", "scope", "writable")

    patience: trio.CancelScope
    readable: trio.Event
    writable: trio.Event
    scope: trio.CancelScope

    def send(self, frame: bytes) -> None:
        """Queue a frame; who leaves too much unread is cut, even while the writer is stuck."""
        super().send(frame)
        if self.outbox_bytes > self._answerer.limits.client_outbox_bytes_cut and not self.closing:
            self._refuse("does not read its replies")
            self.scope.cancel(reason="the client does not read its replies")


class LinkClients:
    """Clients over links while one role lasts. It is the ``Driver`` of its connections."""

    def __init__(self, service: Service | None, answerer: Answerer) -> None:
        self._service = service
        self._answerer = answerer
        self._limits = answerer.limits
        self._clients: dict[int, LinkClient] = {}

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """In this block the clients are among those that four-letter words tell of."""
        self._answerer.connections.append(self._clients)
        try:
            yield
        finally:
            self._answerer.connections.remove(self._clients)

    def _client(self, name: str, ip: str = NO_IP, subject: str = "") -> LinkClient:
        """A client that was admitted, for ``_serve``."""
        client = LinkClient(self, name, ip, self._service, self._answerer, trio.current_time(), subject)
        client.readable, client.writable = trio.Event(), trio.Event()
        client.readable.set()
        client.scope, client.patience = trio.CancelScope(), trio.CancelScope()
        self._clients[id(client)] = client
        return client

    async def _serve(self, link: Link, client: LinkClient) -> None:
        """Serve one client to its end."""
        try:
            async with trio.open_nursery() as nursery:
                client.scope = nursery.cancel_scope
                nursery.start_soon(self._write, client, link)
                await self._read(client, link)
                nursery.cancel_scope.cancel(reason="the client left")
        finally:
            del self._clients[id(client)]
            self._answerer.admission.left(client.ip)
            client.lost()
            await link.aclose()

    async def _read(self, client: LinkClient, link: Link) -> None:
        while True:
            with trio.CancelScope(deadline=client.patience_ends()) as client.patience:
                data = await self._receive(link)
            if client.patience.cancelled_caught:
                client.give_up()
                self._answerer.stats.sessionless_dropped += client.new
                return
            if data is None:
                return
            await client.readable.wait()
            client.feed(data)
            if client.held or client.stalled:
                client.readable = trio.Event()
            self._flush()
            while client.stalled and not client.held and not client.behind:
                await trio.lowlevel.checkpoint()
                self.resume(client)
                self._flush()

    async def _receive(self, link: Link) -> bytes | None:
        try:
            return await link.receive()
        except (LinkClosed, PeerProtocolError):
            await trio.lowlevel.checkpoint()
            return None

    async def _write(self, client: LinkClient, link: Link) -> None:
        while True:
            await client.writable.wait()
            client.writable = trio.Event()
            data = b"".join(client.outbox)
            client.sent += len(client.outbox)
            client.outbox.clear()
            if self._service is not None:
                client.responded, client.last_zxid = self._service.now, self._service.tree.last_zxid
            try:
                for at in range(0, len(data), CHUNK_BYTES):
                    await link.send(data[at : at + CHUNK_BYTES])
            except LinkClosed:
                break
            await trio.lowlevel.checkpoint()
            client.outbox_bytes = sum(map(len, client.outbox))
            if client.stalled and not client.held and not client.behind:
                self.resume(client)
                self._flush()
            if client.closing and not client.outbox:
                break
        client.scope.cancel(reason="the connection was closed")

    def _flush(self) -> None:
        if self._service is not None:
            self._service.flush()

    def output_ready(self, client: Client) -> None:
        """``Driver``: wake the writer. It may be stuck: a connection that is closed has to end all the same."""
        assert isinstance(client, LinkClient)
        client.writable.set()
        if client.closing:
            client.scope.deadline = min(client.scope.deadline, trio.current_time() + LAST_REPLIES_S)

    def resume(self, client: Client) -> None:
        """``Driver``: the service reads from this client again."""
        assert isinstance(client, LinkClient)
        client.resume()
        if not client.held and not client.stalled:
            client.patience.deadline = client.patience_ends()
            client.readable.set()


class LinkPort(LinkClients):
    """All clients of one transport listener while one role lasts."""

    def __init__(self, listener: Listener, service: Service | None, answerer: Answerer) -> None:
        super().__init__(service, answerer)
        self._listener = listener

    async def run(self) -> None:
        """Serve until cancelled or the listener is closed."""
        with self._counted():
            async with trio.open_nursery() as nursery:
                try:
                    while True:
                        link = await self._listener.accept()
                        ip = ip_of(link.remote)
                        if self._answerer.admission.admit(link.remote, ip):
                            nursery.start_soon(self._serve, link, self._client(link.remote, ip))
                        else:
                            await link.aclose()
                except LinkClosed:
                    await trio.lowlevel.checkpoint()
