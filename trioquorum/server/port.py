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
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from trioquorum.events import ClientRefused
from trioquorum.pipeline.service import Service
from trioquorum.poller import watching
from trioquorum.server.four_letter import Answerer
from trioquorum.server.sockets import SocketClient, Sockets

ACCEPTS_PER_WAKE_UP: Final = 64
FILES_KEPT: Final = 64  # descriptors for logs, snapshots and the peers we know
SWEEP_S: Final = 1.0
CHECKED_AT_ONCE: Final = 500
_GONE = frozenset({errno.EAGAIN, errno.EINTR, errno.ECONNABORTED, errno.EPROTO})


Plain = Callable[[socket.socket, str, str], None]
"""Takes over a plain connection that was admitted: its socket, name and address."""

Greeter = Callable[[socket.socket, str, str, Plain], None]
"""Takes over any connection that was admitted, and hands it back if it is a plain one; ends as the port does."""


class Port(Sockets):
    """All clients of one listening socket while one role lasts."""

    def __init__(
        self, listener: socket.socket, service: Service | None, answerer: Answerer, greet: Greeter | None = None
    ) -> None:
        """With ``greet`` a connection that was admitted goes there first."""
        super().__init__(service, answerer)
        self._listener = listener
        self._greet = greet
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        kept = min(FILES_KEPT + 2 * self._limits.handshake_links_max, soft // 4)
        self._descriptor_max = soft - kept if soft != resource.RLIM_INFINITY else math.inf

    async def run(self) -> None:
        """Serve until cancelled."""
        service = self._service
        with watching(self.flush if service is None else service.flush) as watch:
            self._watch = watch
            watch.add(self._listener.fileno(), select.EPOLLIN, self._accept)
            self._answerer.connections.append(self._by_fd)
            if service is not None:
                service.outputs.append(self.flush)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._sweep)
                    await watch.run()
            finally:
                for client in list(self._by_fd.values()):
                    self._drop(client)
                if service is not None:
                    service.outputs.remove(self.flush)
                self._answerer.connections.remove(self._by_fd)

    def _accept(self, mask: int) -> None:
        del mask
        for _ in range(ACCEPTS_PER_WAKE_UP):
            try:
                sock, address = self._listener.accept()
            except OSError as error:
                if error.errno not in _GONE:
                    # Out of descriptors or memory: let the backlog wait until the next sweep.
                    self._events.emit(ClientRefused(address="?", reason=os.strerror(error.errno or 0)))
                    self._wait_for_callers(0)
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
        client = SocketClient(self, name, ip, self._service, self._answerer, trio.current_time(), sock)
        self._by_fd[client.fd] = client
        self._strangers[client] = None
        assert self._watch is not None
        self._watch.add(client.fd, client.interest, partial(self._ready, client))

    def _wait_for_callers(self, mask: int) -> None:
        assert self._watch is not None
        self._watch.modify(self._listener.fileno(), mask)

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
            self._wait_for_callers(select.EPOLLIN)

    async def _drop_silent(self, now: float, awake_since: float) -> None:
        """Drop the connections whose session was silent for its timeout; a few at a time, there may be many."""
        await trio.lowlevel.checkpoint()
        for index, client in enumerate(list(self._by_fd.values()), 1):
            if client.patience_ends(awake_since) <= now and client.fd >= 0:
                client.give_up()
                self._drop(client)
            if not index % CHECKED_AT_ONCE:
                await trio.lowlevel.checkpoint()
