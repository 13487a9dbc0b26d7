"""Many clients that do nearly nothing: each has a session with one watch and pings; all in one process and thread."""

import errno
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from bench import wire
from bench.servers import HOST

UNDER_WAY_MAX: Final = 200
"""Connections that have no session yet: servers accept from a backlog."""
RETRY_S: Final = 0.25
GIVE_UP_S: Final = 5.0
WAIT_S: Final = 0.05
PINGS_PER_TIMEOUT: Final = 3

_AWAY, _CONNECTING, _HANDSHAKE, _WATCHING, _IDLE = range(5)


class Member:
    """One client. ``fired`` counts what its watch told, ``answers`` its pings that were answered."""

    __slots__ = ("answers", "fired", "last_zxid", "port", "received", "session", "since", "sock", "state")

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.state = _AWAY
        self.session = wire.Session()
        self.last_zxid = 0
        self.received = b""
        self.since = 0.0
        self.port = 0
        self.fired = 0
        self.answers = 0


class Crowd:
    """``count`` sessions that watch ``path``. Time passes for them only in ``run``."""

    def __init__(self, count: int, ports: Sequence[int], path: str, timeout_ms: int) -> None:
        self.ports = list(ports)
        """Where they connect, each to the next one when it was refused or cut."""
        self.members = [Member() for _ in range(count)]
        self.expired = 0
        self._path = path
        self._timeout_ms = timeout_ms
        self._ping_s = timeout_ms / 1000 / PINGS_PER_TIMEOUT
        self._epoll = select.epoll()
        self._by_fd: dict[int, Member] = {}
        self._away: deque[tuple[float, Member]] = deque((0.0, member) for member in self.members)
        self._pings: deque[tuple[float, Member, socket.socket]] = deque()
        self._under_way: dict[Member, None] = {}
        self._idle = 0

    @property
    def all_idle(self) -> bool:
        """Everybody has its session and its watch."""
        return self._idle == len(self.members)

    def total(self, what: Callable[[Member], int]) -> int:
        """The sum over all members."""
        return sum(map(what, self.members))

    def run(self, until: Callable[[], bool], limit_s: float, check: Callable[[], None]) -> float:
        """Live on until ``until``; the seconds it took. ``check`` is called now and then.

        Raises:
            RuntimeError: it did not come true in ``limit_s``.
        """
        began = time.perf_counter()
        while not until():
            now = time.perf_counter()
            if now - began > limit_s:
                raise RuntimeError(f"not within {limit_s:.0f} s; {self._idle} of {len(self.members)} are there")
            check()
            self._connect(now)
            self._ping(now)
            for fd, mask in self._epoll.poll(WAIT_S, 1000):
                self._ready(self._by_fd[fd], mask)
        return time.perf_counter() - began

    def rest(self, duration_s: float, check: Callable[[], None]) -> None:
        """Live on for so long."""
        end = time.perf_counter() + duration_s
        self.run(lambda: time.perf_counter() >= end, duration_s + 1, check)

    def close(self) -> None:
        """Everybody leaves without a word."""
        for member in self._by_fd.values():
            assert member.sock is not None
            member.sock.close()
        self._epoll.close()

    def _connect(self, now: float) -> None:
        for member in [it for it in self._under_way if now > it.since + GIVE_UP_S]:
            self._lose(member)
        while self._away and self._away[0][0] <= now and len(self._under_way) < UNDER_WAY_MAX:
            member = self._away.popleft()[1]
            sock = socket.socket()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            member.sock, member.state, member.received, member.since = sock, _CONNECTING, b"", now
            self._by_fd[sock.fileno()] = member
            self._under_way[member] = None
            self._epoll.register(sock.fileno(), select.EPOLLOUT)
            port = self.ports[member.port % len(self.ports)]
            if sock.connect_ex((HOST, port)) not in (0, errno.EINPROGRESS):
                self._lose(member)

    def _ping(self, now: float) -> None:
        while self._pings and self._pings[0][0] <= now:
            due, member, sock = self._pings.popleft()
            if member.sock is sock:
                self._send(member, wire.request(wire.PING_XID, wire.PING))
                self._pings.append((max(due, now - self._ping_s) + self._ping_s, member, sock))

    def _ready(self, member: Member, mask: int) -> None:
        sock = member.sock
        assert sock is not None
        if member.state == _CONNECTING:
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._lose(member)
                return
            member.state = _HANDSHAKE
            self._epoll.modify(sock.fileno(), select.EPOLLIN)
            self._send(member, wire.connect_frame(member.session, self._timeout_ms, member.last_zxid))
            return
        try:
            data = sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._lose(member)
            return
        data = member.received + data
        at = 0
        while len(data) - at >= 4 and len(data) - at >= (size := 4 + int.from_bytes(data[at : at + 4], "big")):
            self._take(member, data[at : at + size])
            at += size
        member.received = data[at:]

    def _take(self, member: Member, frame: bytes) -> None:
        if member.state == _HANDSHAKE:
            self._welcome(member, frame[4:])
            return
        _, xid, zxid, err = wire.REPLY.unpack_from(frame)
        if err:
            raise wire.ServerRefused(f"xid {xid}: error {err}")
        member.last_zxid = max(member.last_zxid, zxid)
        if xid == wire.PING_XID:
            member.answers += 1
        elif xid == wire.EVENT_XID:
            member.fired += 1
        elif member.state == _WATCHING:
            member.state = _IDLE
            self._idle += 1
            assert member.sock is not None
            self._pings.append((time.perf_counter() + self._ping_s, member, member.sock))

    def _welcome(self, member: Member, payload: bytes) -> None:
        known = member.session.id
        del self._under_way[member]
        try:
            member.session = wire.connected(payload)
        except wire.ServerRefused:
            self.expired += 1
            member.session = wire.Session()
            self._lose(member)
            return
        member.state = _WATCHING
        if known:
            body = wire.set_watches_body(member.last_zxid, self._path)
            self._send(member, wire.request(wire.SET_WATCHES_XID, wire.SET_WATCHES, body))
        else:
            self._send(member, wire.request(1, wire.GET_DATA, wire.get_body(self._path, watch=True)))

    def _send(self, member: Member, data: bytes) -> None:
        """So little that the kernel always has room, or the connection is gone, which reading then tells."""
        assert member.sock is not None
        try:
            member.sock.send(data)
        except OSError:
            return

    def _lose(self, member: Member) -> None:
        """Come back a little later, to the next server."""
        assert member.sock is not None
        self._idle -= member.state == _IDLE
        self._under_way.pop(member, None)
        self._epoll.unregister(member.sock.fileno())
        del self._by_fd[member.sock.fileno()]
        member.sock.close()
        member.sock, member.state = None, _AWAY
        member.port += 1
        self._away.append((time.perf_counter() + RETRY_S, member))
