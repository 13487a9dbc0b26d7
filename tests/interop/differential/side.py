"""One of the two servers, with the clients of a sequence: raw sockets, and everything they are told."""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any, Final

from tests.interop.differential.reading import Reader
from tests.interop.differential.servers import SESSION_TIMEOUT_MS, SUPER
from tests.interop.differential.steps import SET_WATCHES, SLOTS, Drop, Leave, Open, Request, Return, Say, Step
from trioquorum.wire.client import frame, session_password
from trioquorum.wire.ops import Op, Xid
from trioquorum.wire.records import (
    Acl,
    AuthRequest,
    ConnectRequest,
    ConnectResponse,
    PathVersionRequest,
    PathWatchRequest,
    SetAclRequest,
)

PATIENCE_S: Final = 20.0
CATCH_UP_S: Final = 0.001
ADMIN: Final = -1
"""The slots of the clients who look at the whole tree, one at each peer: −1, −2, …"""

_OPENED: Final = ("/zookeeper", "/zookeeper/quota", "/")
_KEPT: Final = (*_OPENED, "/zookeeper/config")
_OPEN: Final = [Acl(31, "world", "anyone")]
_BARRIER_XID: Final = 0x7FFFFFF0
_BARRIER: Final = struct.pack(">ii", _BARRIER_XID, Op.EXISTS) + PathWatchRequest("/", False).encode()
_REPLY: Final = struct.Struct(">iqi")

Seen = list[Any]
"""What a client was told: ``(what, …)`` for each frame, in order, and the end of its connection."""


class Connection:
    """One socket. ``seen`` collects what arrives, ``asked`` holds (xid, opcode) of requests without a reply."""

    def __init__(self, port: int, reader: Reader, xid: int = 0) -> None:
        """``xid``: the last one that the session used; Java's client, too, goes on counting."""
        self._reader = reader
        self._sock: socket.socket | None = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._asked: list[tuple[int, int]] = []
        self.xid = xid
        self.zxid = 0
        self.seen: Seen = []

    @property
    def open(self) -> bool:
        return self._sock is not None

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _send(self, data: bytes) -> None:
        if self._sock is not None:
            with contextlib.suppress(ConnectionError):
                self._sock.sendall(data)

    def _frame(self) -> bytes | None:
        """The next payload; None at the end of the stream, which is noted."""
        while self._sock is not None:
            if len(self._received) >= 4:
                (size,) = struct.unpack_from(">i", self._received)
                if len(self._received) >= 4 + size:
                    payload = bytes(self._received[4 : 4 + size])
                    del self._received[: 4 + size]
                    return payload
            try:
                data = self._sock.recv(1 << 18)
            except TimeoutError:
                self.seen.append(("silence",))
                data = b""
            except ConnectionError:
                data = b""
            if not data:
                self.close()
                self.seen.append(("closed",))
                return None
            self._received += data
        return None

    def handshake(self, request: ConnectRequest, read_only: bool | None) -> ConnectResponse | None:
        self._send(frame(request.encode() + (b"" if read_only is None else bytes((read_only,)))))
        payload = self._frame()
        if payload is None:
            return None
        answer, end = ConnectResponse.decode_from(payload)
        right = answer.password == (session_password(answer.session) if answer.session else bytes(16))
        self.seen.append(("connect", answer.protocol_version, answer.timeout_ms, right, payload[end:].hex()))
        return answer

    def ask(self, requests: list[Request], *, barrier: bool) -> None:
        """Send, and read until all is answered that will be: up to the barrier's reply, or the end."""
        data = b""
        for request in requests:
            self.xid += 1
            xid = {Op.PING: Xid.PING, Op.AUTH: Xid.AUTH, Op.SET_WATCHES: Xid.SET_WATCHES}.get(
                Op(request.op) if request.op in set(Op) else Op.ERROR, self.xid
            )
            body = request.body
            if request.op in SET_WATCHES and len(body) >= 8:
                body = struct.pack(">q", max(0, self.zxid - request.back)) + body[8:]
            self._asked.append((xid, request.op))
            data += frame(struct.pack(">ii", xid, request.op) + body)
        if barrier:
            data += frame(_BARRIER)
        self._send(data)
        self._read()

    def catch_up(self, zxid: int) -> None:
        """Read all that is on its way, until the peer has come as far as ``zxid``."""
        deadline = time.monotonic() + PATIENCE_S
        while self.open:
            self._send(frame(_BARRIER))
            self._read()
            if self.zxid >= zxid or time.monotonic() > deadline:
                return
            if self.seen and self.seen[-1][0] == "root":
                self.seen.pop()
            time.sleep(CATCH_UP_S)

    def _read(self) -> None:
        while (payload := self._frame()) is not None:
            xid, zxid, err = _REPLY.unpack_from(payload)
            body = payload[_REPLY.size :]
            if xid == Xid.NOTIFICATION and (xid, Op.ERROR) not in self._asked:
                self.seen.append(("event", zxid, err, self._reader.event(body)))
                continue
            self.zxid = max(self.zxid, zxid)
            if xid == _BARRIER_XID:
                self.seen.append(("root", zxid, err, self._reader.body(Op.EXISTS, body) if body else ""))
                return
            op = next((op for asked, op in self._asked if asked == xid), None)
            if op is None:
                self.seen.append(("stray", xid, zxid, err, body.hex()))
                continue
            while self._asked and self._asked.pop(0) != (xid, op):
                pass  # without a reply for good: replies come in order
            self.seen.append(("reply", int(op), xid, zxid, err, self._reader.body(op, body) if body else ""))


class Client:
    """A session and its connection, if it has one."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.session = 0
        self.password = bytes(16)
        self.read_only: bool | None = False


class Side:
    """Performs steps; ``zxid`` is the highest one that a reply named."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._names: dict[int, str] = {}
        self._reader = Reader(self._names, lambda: int(time.time() * 1000))
        self.clients: dict[int, Client] = {}
        self._left: dict[str, Connection] = {}
        self.zxid = 0
        for peer in range(len(ports)):
            self._open(Open(ADMIN - peer, SESSION_TIMEOUT_MS, peer=peer))
            self.perform(Say(ADMIN - peer, [Request(Op.AUTH, AuthRequest(0, "digest", SUPER).encode())]))

    def close(self) -> None:
        """Close every socket."""
        for client in self.clients.values():
            if client.connection is not None:
                client.connection.close()

    def perform(self, step: Step) -> dict[str, Seen]:
        """One step, and what each client was told of it."""
        client = self.clients.get(step.slot)
        match step:
            case Open():
                self._open(step)
            case Return() if client is not None and client.session:
                self._return(step, client)
            case Drop() if client is not None and client.connection is not None:
                client.connection.close()
            case Say() if client is not None and client.connection is not None and client.connection.open:
                client.connection.ask(step.requests, barrier=True)
            case Leave() if client is not None and client.connection is not None and client.connection.open:
                client.connection.ask([Request(Op.CLOSE_SESSION)], barrier=False)
                client.session = 0
        return self._settle(step.slot)

    @property
    def whole(self) -> bool:
        """Who looks at the whole tree was not cut off anywhere."""
        onlookers = (self.clients[ADMIN - peer].connection for peer in range(len(self._ports)))
        return all(connection is not None and connection.open for connection in onlookers)

    def clean(self) -> dict[str, Seen]:
        """End the sequence: its sessions, its nodes. What everybody is told in the end."""
        paths = ["/"]
        for path in paths:
            told = self.perform(Say(ADMIN, [children_of(path)]))[str(ADMIN)]
            paths += [f"{path.rstrip('/')}/{name}" for name in told[0][5][0]]
        for step in cleaning(paths):
            told_last = self.perform(step)
        return told_last

    def _open(self, step: Open) -> None:
        client = self.clients[step.slot] = Client()
        client.read_only = step.read_only
        client.connection = Connection(self._ports[step.peer % len(self._ports)], self._reader)
        request = ConnectRequest(0, self.zxid, step.timeout_ms, 0, bytes(16))
        answer = client.connection.handshake(request, step.read_only)
        if answer is not None and answer.session:
            client.session, client.password = answer.session, answer.password or b""
            self._names[answer.session] = f"session {len(self._names)}"
            client.connection.ask([], barrier=True)  # the handshake names no zxid

    def _return(self, step: Return, client: Client) -> None:
        if client.connection is not None and client.connection.open:
            self._left[f"{step.slot} before"] = client.connection
        xid = client.connection.xid if client.connection is not None else 0
        client.connection = Connection(self._ports[step.peer % len(self._ports)], self._reader, xid)
        password = client.password if step.password else bytes(16)
        zxid = self.zxid + (1000 if step.ahead else 0)
        request = ConnectRequest(0, zxid, SESSION_TIMEOUT_MS, client.session, password)
        answer = client.connection.handshake(request, client.read_only)
        if answer is not None and answer.session:
            client.connection.seen.append(("session", self._names.get(answer.session)))

    def _settle(self, speaker: int) -> dict[str, Seen]:
        """Read what everybody else is told, when their peers have come as far as the speaker's."""
        client = self.clients.get(speaker)
        seen: dict[str, Seen] = {}
        if client is not None and client.connection is not None:
            self.zxid = max(self.zxid, client.connection.zxid)
        everybody = {str(slot): it.connection for slot, it in self.clients.items() if it.connection is not None}
        for name, connection in [*self._left.items(), *everybody.items()]:
            connection.catch_up(self.zxid)
            self.zxid = max(self.zxid, connection.zxid)
            told, connection.seen = connection.seen, []
            if not connection.open:  # whether a last request was still answered is a matter of moments
                told = [it for it in told if it[0] != "root"]
            if told:
                seen[name] = told
        self._left.clear()
        return seen


def children_of(path: str) -> Request:
    """What lies below a node, and its stat."""
    return Request(Op.GET_CHILDREN2, PathWatchRequest(path, False).encode())


def cleaning(paths: list[str]) -> Iterator[Step]:
    """Sessions end, nodes go, what cannot go is open to everybody again."""
    for slot in range(SLOTS):
        yield Return(slot)
        yield Leave(slot)
    for path in sorted(set(paths) - set(_KEPT), reverse=True):
        yield Say(ADMIN, [Request(Op.DELETE, PathVersionRequest(path, -1).encode())])
    for path in _OPENED:
        yield Say(ADMIN, [Request(Op.SET_ACL, SetAclRequest(path, _OPEN, -1).encode())])
