"""Clients that are not plain sockets: a task pair for each link that carries a client's byte stream in chunks.

Serves the same sans-I/O connection as ``port``, for in-memory clients and for WebSocket.
"""

import math

import trio

from trioquorum.errors import LinkClosed, PeerProtocolError
from trioquorum.events import Events
from trioquorum.limits import Limits
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.service import Service
from trioquorum.server.connection import Connection
from trioquorum.server.four_letter import Answerer
from trioquorum.transport import Link, Listener


class LinkClient(Connection):
    """A connection over a transport's link."""

    __slots__ = ("readable", "writable")

    readable: trio.Event
    writable: trio.Event


class LinkPort:
    """All clients of one transport listener while one role lasts. It is the ``Driver`` of its connections."""

    def __init__(
        self, listener: Listener, service: Service | None, answerer: Answerer, limits: Limits, events: Events
    ) -> None:
        self._listener = listener
        self._service = service
        self._answerer = answerer
        self._limits = limits
        self._events = events
        self._clients: dict[int, LinkClient] = {}

    async def run(self) -> None:
        """Serve until cancelled or the listener is closed."""
        self._answerer.connections.append(self._clients)
        try:
            async with trio.open_nursery() as nursery:
                try:
                    while True:
                        nursery.start_soon(self._serve, await self._listener.accept())
                except LinkClosed:
                    await trio.lowlevel.checkpoint()
        finally:
            self._answerer.connections.remove(self._clients)

    async def _serve(self, link: Link) -> None:
        client = LinkClient(self, link.remote, "", self._service, self._answerer, trio.current_time())
        client.readable, client.writable = trio.Event(), trio.Event()
        client.readable.set()
        self._clients[id(client)] = client
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, client, link, nursery.cancel_scope)
                await self._read(client, link)
                nursery.cancel_scope.cancel(reason="the client left")
        finally:
            del self._clients[id(client)]
            client.lost()
            await link.aclose()

    async def _read(self, client: LinkClient, link: Link) -> None:
        while True:
            patience_s = self._limits.client_sessionless_ms / 1000 if client.new else math.inf
            with trio.move_on_after(patience_s) as patience:
                data = await self._receive(link)
            if patience.cancelled_caught or data is None:
                return
            await client.readable.wait()
            client.feed(data)
            if client.held or client.stalled:
                client.readable = trio.Event()
            if self._service is not None:
                self._service.flush()

    async def _receive(self, link: Link) -> bytes | None:
        try:
            return await link.receive()
        except (LinkClosed, PeerProtocolError):
            await trio.lowlevel.checkpoint()
            return None

    async def _write(self, client: LinkClient, link: Link, scope: trio.CancelScope) -> None:
        while True:
            await client.writable.wait()
            client.writable = trio.Event()
            data = b"".join(client.outbox)
            client.outbox.clear()
            if data:
                try:
                    await link.send(data)
                except LinkClosed:
                    break
            else:
                await trio.lowlevel.checkpoint()
            client.outbox_bytes = sum(map(len, client.outbox))
            if client.stalled and not client.held and not client.behind:
                self.resume(client)
                if self._service is not None:
                    self._service.flush()
            too_slow = client.outbox_bytes > self._limits.client_outbox_bytes_cut
            if too_slow or (client.closing and not client.outbox):
                break
        scope.cancel(reason="the connection was closed")

    def output_ready(self, client: Client) -> None:
        """``Driver``: wake the writer."""
        assert isinstance(client, LinkClient)
        client.writable.set()

    def resume(self, client: Client) -> None:
        """``Driver``: the service reads from this client again."""
        assert isinstance(client, LinkClient)
        client.resume()
        if not client.held and not client.stalled:
            client.readable.set()
