"""One task for all plain client sockets of a port, a batch per wake-up (spec: performance §2).

A Trio task wake-up costs as much as ten requests, so the poller reads every ready socket, lets the service finish the
whole batch, then sends once per connection. Cancelling the task closes all its connections; the listening socket
belongs to the caller and stays bound.
"""

import errno
import math
import os
import resource
import select
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from trioquorum.events import ClientRefused
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.service import Service
from trioquorum.poller import Watch, watching
from trioquorum.server.connection import Connection
from trioquorum.server.four_letter import Answerer

RECEIVE_BYTES: Final = 64 << 10  # from 128 KiB on malloc maps and unmaps a buffer for each recv: 12 µs more
SEND_BYTES: Final = 256 << 10
ACCEPTS_PER_WAKE_UP: Final = 64
FILES_KEPT: Final = 64  # descriptors for logs, snapshots and the peers we know
SWEEP_S: Final = 1.0
CHECKED_AT_ONCE: Final = 500
_GONE = frozenset({errno.EAGAIN, errno.EINTR, errno.ECONNABORTED, errno.EPROTO})


Plain = Callable[[socket.socket, str, str], None]
"""Takes over a plain connection that was admitted: its socket, name and address."""

Greeter = Callable[[socket.socket, str, str, Plain], None]
"""Takes over any connection that was admitted, and hands it back if it is a plain one; ends as the port does."""


class SocketClient(Connection):
    """A connection over a plain non-blocking socket."""

    __slots__ = ("interest", "port", "sock", "unsent", "unsent_bytes")

    port: "Port"
    sock: socket.socket
    interest: int
    unsent: deque[bytes | memoryview]
    unsent_bytes: int


class Port:
    """All clients of one listening socket while one role lasts. It is the ``Driver`` of its connections."""

    def __init__(
        self, listener: socket.socket, service: Service | None, answerer: Answerer, greet: Greeter | None = None
    ) -> None:
        """With ``greet`` a connection that was admitted goes there first."""
        self._listener = listener
        self._greet = greet
        self._service = service
        self._answerer = answerer
        self._limits = answerer.limits
        self._events = answerer.events
        self._watch: Watch
        self._by_fd: dict[int, SocketClient] = {}
        self._dirty: list[SocketClient] = []
        self._strangers: dict[SocketClient, None] = {}
        self._closing: set[SocketClient] = set()
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        kept = min(FILES_KEPT + 2 * self._limits.handshake_links_max, soft // 4)
        self._descriptor_max = soft - kept if soft != resource.RLIM_INFINITY else math.inf

    async def run(self) -> None:
        """Serve until cancelled."""
        service = self._service
        with watching(self.flush if service is None else service.flush) as self._watch:
            self._watch.add(self._listener.fileno(), select.EPOLLIN, self._accept)
            self._answerer.connections.append(self._by_fd)
            if service is not None:
                service.outputs.append(self.flush)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._sweep)
                    await self._watch.run()
            finally:
                for client in list(self._by_fd.values()):
                    self._drop(client)
                if service is not None:
                    service.outputs.remove(self.flush)
                self._answerer.connections.remove(self._by_fd)

    def _ready(self, client: SocketClient, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._send_unsent(client)
            if client.stalled and not client.held and not client.behind:
                client.resume()
                self._set_interest(client)
        if mask & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and client.sock.fileno() >= 0:
            try:
                data = client.sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data:
                client.feed(data)
                if client.stalled or client.held:
                    self._set_interest(client)
            else:
                self._answerer.stats.connections_dropped += 1
                self._drop(client)

    def _accept(self, mask: int) -> None:
        del mask
        for _ in range(ACCEPTS_PER_WAKE_UP):
            try:
                sock, address = self._listener.accept()
            except OSError as error:
                if error.errno not in _GONE:
                    # Out of descriptors or memory: let the backlog wait until the next sweep.
                    self._events.emit(ClientRefused(address="?", reason=os.strerror(error.errno or 0)))
                    self._watch.modify(self._listener.fileno(), 0)
                return
            self._admit(sock, address)

    def _admit(self, sock: socket.socket, address: tuple[str, int]) -> None:
        ip, name = address[0], f"{address[0]}:{address[1]}"
        admission = self._answerer.admission
        if sock.fileno() >= self._descriptor_max:
            # A descriptor's number is the lowest that is free, so few are left.
            admission.refused(name, "descriptors are kept for files and peers")
            sock.close()
            return
        if not admission.admit(name, ip):
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._greet is None:
            self._serve(sock, name, ip)
        else:
            self._greet(sock, name, ip, self._serve)

    def _serve(self, sock: socket.socket, name: str, ip: str) -> None:
        """Serve a plain connection that was admitted."""
        client = SocketClient(self, name, ip, self._service, self._answerer, trio.current_time())
        client.port, client.sock, client.unsent, client.unsent_bytes = self, sock, deque(), 0
        client.interest = select.EPOLLIN
        self._by_fd[sock.fileno()] = client
        self._strangers[client] = None
        self._watch.add(sock.fileno(), client.interest, partial(self._ready, client))

    def output_ready(self, client: Client) -> None:
        """``Driver``: remember to send at the end of the wake-up."""
        assert isinstance(client, SocketClient)
        self._dirty.append(client)
        if client.closing:
            self._closing.add(client)

    def resume(self, client: Client) -> None:
        """``Driver``: the service reads from this client again."""
        assert isinstance(client, SocketClient)
        client.resume()
        self._set_interest(client)

    def flush(self) -> None:
        """Send what the batch produced; every wake-up that may have answered a client ends with this."""
        while self._dirty:
            dirty, self._dirty = self._dirty, []
            for client in dirty:
                self._send(client)

    def _send(self, client: SocketClient) -> None:
        """Send the outbox, or put it behind what the kernel has had no room for."""
        if client.sock.fileno() < 0:
            return
        outbox = client.outbox
        data = outbox[0] if len(outbox) == 1 else b"".join(outbox)
        client.sent += len(outbox)
        outbox.clear()
        if self._service is not None:
            client.responded, client.last_zxid = self._service.now, self._service.tree.last_zxid
        sent = 0 if client.unsent else self._to_kernel(client, data)
        if sent < len(data):
            client.unsent.append(memoryview(data)[sent:] if sent else data)
            client.unsent_bytes += len(data) - sent
        self._sent(client)

    def _send_unsent(self, client: SocketClient) -> None:
        """The kernel has room: small pieces leave together, and no piece is copied twice."""
        unsent = client.unsent
        room = True
        while unsent and room:
            piece = unsent.popleft()
            if len(piece) < SEND_BYTES:
                pieces, size = [piece], len(piece)
                while unsent and size < SEND_BYTES:
                    pieces.append(unsent.popleft())
                    size += len(pieces[-1])
                piece = b"".join(pieces)
            sent = self._to_kernel(client, piece)
            client.unsent_bytes -= sent
            room = sent == len(piece)
            if not room:
                unsent.appendleft(memoryview(piece)[sent:])
        self._sent(client)

    def _to_kernel(self, client: SocketClient, data: bytes | memoryview) -> int:
        """How many bytes the kernel took; none when the connection is gone, which is dropped then."""
        if not data or client.sock.fileno() < 0:
            return 0
        try:
            return client.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._drop(client)
            return 0

    def _sent(self, client: SocketClient) -> None:
        """What follows from how much could be sent."""
        if client.sock.fileno() < 0:
            return
        client.outbox_bytes = client.unsent_bytes + sum(map(len, client.outbox))
        if client.outbox_bytes > self._limits.client_outbox_bytes_cut:
            self._events.emit(ClientRefused(address=client.address, reason="does not read its replies"))
            self._drop(client)
        elif client.closing and not client.unsent:
            self._drop(client)
        else:
            self._set_interest(client)

    def _set_interest(self, client: SocketClient) -> None:
        """Read unless requests are kept back already; watch for room while output or kept requests wait for it."""
        interest = 0 if client.held or client.closing or client.stalled or client.behind else select.EPOLLIN
        if client.unsent or (client.stalled and not client.held):
            interest |= select.EPOLLOUT
        if interest != client.interest and client.sock.fileno() >= 0:
            client.interest = interest
            self._watch.modify(client.sock.fileno(), interest)

    def _drop(self, client: SocketClient) -> None:
        fd = client.sock.fileno()
        if fd < 0:
            return
        self._watch.remove(fd)
        del self._by_fd[fd]
        self._strangers.pop(client, None)
        self._answerer.admission.left(client.ip)
        client.sock.close()
        client.lost()

    async def _sweep(self) -> None:
        """Drop who is silent for too long or does not take its last replies; accept again after a shortage."""
        sessionless_s = self._limits.client_sessionless_ms / 1000
        closing: set[SocketClient] = set()
        looked, awake_since = trio.current_time(), -math.inf
        while True:
            await trio.sleep(SWEEP_S)
            now = trio.current_time()
            for client in closing:
                self._drop(client)
            closing, self._closing = self._closing, set()
            for client in [it for it in self._strangers if not it.new or it.patience_ends() <= now]:
                del self._strangers[client]
                if client.new:
                    self._answerer.stats.sessionless_dropped += 1
                    self._drop(client)
            if now - looked > 2 * SWEEP_S:
                awake_since = now  # the process stood still: what clients sent meanwhile waits in their sockets
            if now // sessionless_s != looked // sessionless_s:
                await self._drop_silent(now, awake_since)
            looked = now
            self._watch.modify(self._listener.fileno(), select.EPOLLIN)

    async def _drop_silent(self, now: float, awake_since: float) -> None:
        """Drop the connections whose session was silent for its timeout; a few at a time, there may be many."""
        await trio.lowlevel.checkpoint()
        for index, client in enumerate(list(self._by_fd.values()), 1):
            if client.patience_ends(awake_since) <= now and client.sock.fileno() >= 0:
                client.give_up()
                self._drop(client)
            if not index % CHECKED_AT_ONCE:
                await trio.lowlevel.checkpoint()
