"""Who acknowledges a write first: one client per server, retrying every few milliseconds, all in one thread."""

import errno
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from bench import wire
from bench.servers import HOST

RETRY_S: Final = 0.003
PATIENCE_S: Final = 0.02
"""How long a handshake may stay unanswered at first; doubles each time it did.

ZooKeeper forgets connections that it accepts too early in its start: they are neither answered nor closed.
"""
_CONNECTING, _HANDSHAKE, _WRITING = range(3)


class Runner:
    """One client of one server: connects, asks for a session, creates a znode; starts over whenever that fails."""

    def __init__(self, port: int, name: str, session: wire.Session | None = None) -> None:
        self.port = port
        self.sock: socket.socket | None = None
        self.retry_at = 0.0
        self.acknowledged = False
        self._name = name
        self._session = session or wire.Session()
        self._state = _CONNECTING
        self._attempt = 0
        self._received = b""
        self._patience_s = PATIENCE_S
        self._give_up_at = 0.0

    def adopt(self, sock: socket.socket) -> None:
        """Begin with a connection that has its session, by writing."""
        sock.setblocking(False)
        self.sock = sock
        self._write()

    def connect(self) -> None:
        """Begin to connect."""
        self.sock = sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._state, self._received = _CONNECTING, b""
        if sock.connect_ex((HOST, self.port)) not in (0, errno.EINPROGRESS):
            self.fail()

    def fail(self) -> None:
        """Give the connection up and try again a little later."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None
        self.retry_at = time.perf_counter() + RETRY_S

    def step(self, now: float) -> None:
        """Connect when it is time to; give a handshake up that takes too long."""
        if self.sock is None:
            if now >= self.retry_at:
                self.connect()
        elif self._state == _HANDSHAKE and now >= self._give_up_at:
            self._patience_s *= 2
            self.fail()

    def close(self) -> None:
        """Leave."""
        if self.sock is not None:
            self.sock.close()

    @property
    def events(self) -> int:
        """What to wait for."""
        return selectors.EVENT_WRITE if self._state == _CONNECTING else selectors.EVENT_READ

    def ready(self) -> None:
        """Go on, now that the socket is ready."""
        assert self.sock is not None
        try:
            if self._state == _CONNECTING:
                if self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    self.fail()
                    return
                self._state = _HANDSHAKE
                self._give_up_at = time.perf_counter() + self._patience_s
                self.sock.send(wire.connect_frame(self._session, 30_000))
                return
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.fail()
            return
        self._received += data
        size = int.from_bytes(self._received[:4], "big")
        if len(self._received) >= 4 + size:
            payload, self._received = self._received[4 : 4 + size], self._received[4 + size :]
            self._answered(payload)

    def _answered(self, payload: bytes) -> None:
        if self._state == _HANDSHAKE:
            try:
                self._session = wire.connected(payload)
            except wire.ServerRefused:
                self._session = wire.Session()
                self.fail()
            else:
                self._write()
            return
        _, xid, _, err = wire.REPLY.unpack(len(payload).to_bytes(4, "big") + payload[: wire.REPLY_HEADER_BYTES])
        if xid == self._attempt and err == 0:
            self.acknowledged = True
        else:
            self.fail()

    def _write(self) -> None:
        """A new path for each attempt: an earlier one may have come through without an answer."""
        assert self.sock is not None
        self._attempt += 1
        self._state = _WRITING
        path = f"/{self._name}-{self.port}-{self._attempt}"
        try:
            self.sock.send(wire.request(self._attempt, wire.CREATE, wire.create_body(path, b"x" * 100)))
        except OSError:
            self.fail()


def first_write(runners: Sequence[Runner], check: Callable[[], None], timeout_s: float = 60.0) -> float:
    """The ``time.perf_counter`` at the first acknowledged write of any runner; closes them all.

    ``check`` is called about once a second, to raise when waiting is in vain.

    Raises:
        TimeoutError: nobody acknowledged anything.
    """
    deadline = time.perf_counter() + timeout_s
    next_check = time.perf_counter() + 1
    try:
        while True:
            now = time.perf_counter()
            if now >= deadline:
                raise TimeoutError(f"no write was acknowledged within {timeout_s:.0f} s")
            if now >= next_check:
                check()
                next_check = now + 1
            for runner in runners:
                runner.step(now)
            with selectors.DefaultSelector() as selector:
                for runner in runners:
                    if runner.sock is not None:
                        selector.register(runner.sock, runner.events, runner)
                ready = selector.select(RETRY_S) if selector.get_map() else []
            if not ready:
                _pause(runners)
            for key, _ in ready:
                key.data.ready()
            if any(runner.acknowledged for runner in runners):
                return time.perf_counter()
    finally:
        for runner in runners:
            runner.close()


def _pause(runners: Sequence[Runner]) -> None:
    """When no socket is open there is nothing to select on: wait until the next retry."""
    if all(runner.sock is None for runner in runners):
        time.sleep(max(0.0, min(runner.retry_at for runner in runners) - time.perf_counter()))
