"""Plain client sockets without tasks: reads what is ready, sends what a batch produced."""

import socket
from collections import deque
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from typing import Final

from trioquorum.events import ClientRefused
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.service import Service
from trioquorum.poller import Watch
from trioquorum.server.connection import Connection
from trioquorum.server.four_letter import Answerer

RECEIVE_BYTES: Final = 64 << 10  # from 128 KiB on malloc maps and unmaps a buffer for each recv: 12 µs more
SEND_BYTES: Final = 256 << 10
_READABLE: Final = EPOLLIN | EPOLLHUP | EPOLLERR


class SocketClient(Connection):
    """A connection over a plain non-blocking socket, whose descriptor is ``fd``: −1 once it is closed."""

    __slots__ = ("fd", "interest", "sock", "unsent", "unsent_bytes")

    def __init__(
        self,
        driver: "Sockets",
        address: str,
        ip: str,
        service: Service | None,
        answerer: Answerer,
        since: float,
        sock: socket.socket,
    ) -> None:
        super().__init__(driver, address, ip, service, answerer, since)
        self.sock = sock
        self.fd = sock.fileno()
        self.interest = int(EPOLLIN)
        self.unsent: deque[bytes | memoryview] = deque()
        self.unsent_bytes = 0


class Sockets:
    """The ``Driver`` of all clients of one listening socket."""

    def __init__(self, service: Service | None, answerer: Answerer) -> None:
        """``watch`` is to be set before there is any client."""
        self._service = service
        self._answerer = answerer
        self._limits = answerer.limits
        self._events = answerer.events
        self._watch: Watch | None = None
        self._by_fd: dict[int, SocketClient] = {}
        self._dirty: list[SocketClient] = []
        self._strangers: dict[SocketClient, None] = {}
        self._closing: set[SocketClient] = set()

    def _ready(self, client: SocketClient, mask: int) -> None:
        if mask & EPOLLOUT:
            self._send_unsent(client)
            if client.stalled and not client.held and not client.behind:
                client.resume()
                self._set_interest(client)
        if mask & _READABLE and client.fd >= 0:
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
        if client.fd < 0:
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
        if not data or client.fd < 0:
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
        if client.fd < 0:
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
        interest: int = 0 if client.held or client.closing or client.stalled or client.behind else EPOLLIN
        if client.unsent or (client.stalled and not client.held):
            interest |= EPOLLOUT
        if interest != client.interest and client.fd >= 0:
            client.interest = interest
            assert self._watch is not None
            self._watch.modify(client.fd, interest)

    def _drop(self, client: SocketClient) -> None:
        fd, client.fd = client.fd, -1
        if fd < 0:
            return
        assert self._watch is not None
        self._watch.remove(fd)
        del self._by_fd[fd]
        self._strangers.pop(client, None)
        self._answerer.admission.left(client.ip)
        client.sock.close()
        client.lost()
