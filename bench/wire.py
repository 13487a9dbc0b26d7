"""The little of the client protocol that a measuring client needs; apart from the server's own codec, to check it."""

import socket
from struct import Struct
from typing import Final

CREATE: Final = 1
DELETE: Final = 2
GET_DATA: Final = 4
SET_DATA: Final = 5
PING: Final = 11
SET_WATCHES: Final = 101
CLOSE_SESSION: Final = -11

EVENT_XID: Final = -1
PING_XID: Final = -2
SET_WATCHES_XID: Final = -8

STAT_BYTES: Final = 68
REPLY: Final = Struct(">iiqi")
"""length, xid, zxid, err: in front of every reply. The length counts what follows it."""
REPLY_HEADER_BYTES: Final = 16

_LENGTH = Struct(">i")
_REQUEST = Struct(">ii")
_ZXID = Struct(">q")
_CONNECT = Struct(">iqiqi")
_CONNECTED = Struct(">iiqi")
_NO_PASSWORD = bytes(16)
_OPEN_ACL = Struct(">ii").pack(1, 31) + b"\x00\x00\x00\x05world\x00\x00\x00\x06anyone"


class ServerRefused(Exception):
    """A server closed the connection, granted no session, or answered with an error."""


class Session:
    """What a server granted: the session's id and password, to be presented again after a connection is lost."""

    def __init__(self, session: int = 0, password: bytes = _NO_PASSWORD) -> None:
        self.id = session
        self.password = password


def text(value: str) -> bytes:
    """A length-prefixed string."""
    raw = value.encode()
    return _LENGTH.pack(len(raw)) + raw


def frame(payload: bytes) -> bytes:
    """``payload`` with its length in front."""
    return _LENGTH.pack(len(payload)) + payload


def connect_frame(session: Session, timeout_ms: int, last_zxid: int = 0) -> bytes:
    """The first frame of a connection: a new session, or an old one again."""
    head = _CONNECT.pack(0, last_zxid, timeout_ms, session.id, len(session.password))
    return frame(head + session.password + b"\x00")


def connected(payload: bytes) -> Session:
    """The session in the answer to ``connect_frame``.

    Raises:
        ServerRefused: the session asked for is over.
    """
    _, timeout_ms, session, size = _CONNECTED.unpack_from(payload)
    if timeout_ms <= 0 or session == 0:
        raise ServerRefused("the session is over")
    at = _CONNECTED.size
    return Session(session, payload[at : at + size])


def request(xid: int, op: int, body: bytes = b"") -> bytes:
    """A whole request frame."""
    return frame(_REQUEST.pack(xid, op) + body)


def create_body(path: str, data: bytes) -> bytes:
    """A persistent znode that everybody may use."""
    return text(path) + _LENGTH.pack(len(data)) + data + _OPEN_ACL + _LENGTH.pack(0)


def set_body(path: str, data: bytes) -> bytes:
    """setData of any version."""
    return text(path) + _LENGTH.pack(len(data)) + data + _LENGTH.pack(-1)


def get_body(path: str, *, watch: bool = False) -> bytes:
    """getData."""
    return text(path) + bytes((watch,))


def set_watches_body(last_zxid: int, path: str) -> bytes:
    """setWatches for one data watch, of a client that has seen everything up to ``last_zxid``."""
    return _ZXID.pack(last_zxid) + _LENGTH.pack(1) + text(path) + 2 * _LENGTH.pack(0)


def delete_body(path: str) -> bytes:
    """delete of any version."""
    return text(path) + _LENGTH.pack(-1)


def receive_frame(sock: socket.socket) -> bytes:
    """The payload of the next frame of a blocking socket.

    Raises:
        ServerRefused: the server closed the connection.
    """
    (size,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size))
    return _exactly(sock, size)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise ServerRefused("connection closed")
        data += chunk
    return data


def open_session(port: int, timeout_ms: int = 30_000, timeout_s: float = 10.0) -> tuple[socket.socket, Session]:
    """A connection with a new session to a server on loopback; the socket blocks for ``timeout_s`` at most.

    Raises:
        ServerRefused: no session was granted.
        OSError: nobody listens, or no answer in time.
    """
    sock = socket.create_connection(("127.0.0.1", port), timeout_s)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(connect_frame(Session(), timeout_ms))
        return sock, connected(receive_frame(sock))
    except (OSError, ServerRefused):
        sock.close()
        raise


def call(sock: socket.socket, xid: int, op: int, body: bytes = b"", *, ok: frozenset[int] = frozenset({0})) -> int:
    """One request on a blocking socket; its error code, which must be in ``ok``.

    Raises:
        ServerRefused: another error, another xid, or a closed connection.
        OSError: no answer in time.
    """
    sock.sendall(request(xid, op, body))
    payload = receive_frame(sock)
    _, got, _, err = REPLY.unpack(_LENGTH.pack(len(payload)) + payload[:REPLY_HEADER_BYTES])
    if got != xid or err not in ok:
        raise ServerRefused(f"xid {xid} op {op}: answer has xid {got}, error {err}")
    return err
