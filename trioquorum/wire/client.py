"""The client protocol's frames that are more than one record: handshake, replies, events, multi (client-protocol)."""

from collections.abc import Iterable
from struct import Struct
from typing import Final

import msgspec

from trioquorum.errors import PeerProtocolError
from trioquorum.wire.fields import decode_buffer, decode_text, encode_text, length_at
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import SYNC_CONNECTED, Op, Xid
from trioquorum.wire.records import (
    OPEN_ACL_BYTES,
    OPEN_ACL_LIST,
    ConnectRequest,
    ConnectResponse,
    CreateRequest,
    CreateTtlRequest,
    MultiHeader,
    PathVersionRequest,
    PathWatchRequest,
    SetDataRequest,
)

REQUEST_HEADER: Final = Struct(">ii")
"""xid, opcode: in front of every request."""

_LENGTH = Struct(">i")
_REPLY = Struct(">iiqi")
_EVENT = Struct(">iiqiii")
_REPLY_HEADER_BYTES = 16
_EVENT_HEAD_BYTES = 24
_PASSWORD_SALT = 0xB3415C00
_MULTI_END = MultiHeader(-1, True, -1).encode()


def frame(payload: bytes) -> bytes:
    """``payload`` with its length in front."""
    return _LENGTH.pack(len(payload)) + payload


# Handshake


def decode_connect(payload: bytes) -> tuple[ConnectRequest, bool | None]:
    """A client's first frame and its readOnly flag, ``None`` where an old client sent none.

    Raises:
        PeerProtocolError: truncated.
    """
    request, at = ConnectRequest.decode_from(payload)
    return request, bool(payload[at]) if at < len(payload) else None


def encode_connect_response(response: ConnectResponse, read_only: bool | None) -> bytes:
    """The answer's payload; the flag is left out for clients that sent none (ZOOKEEPER-4814)."""
    payload = response.encode()
    return payload if read_only is None else payload + bytes((read_only,))


def session_password(session: int) -> bytes:
    """The 16 bytes every server derives from a session id with Java's ``Random`` (§3.3). A checksum, no secret."""
    state = ((session ^ _PASSWORD_SALT) ^ 0x5DEECE66D) & (1 << 48) - 1
    password = b""
    for _ in range(4):
        state = (state * 0x5DEECE66D + 0xB) & (1 << 48) - 1
        password += (state >> 16).to_bytes(4, "little")
    return password


# Requests, replies, events


def decode_path_watch(body: bytes, at: int = 0) -> tuple[str, bool]:
    """Path and watch flag of exists, getData, getChildren.

    Raises:
        PeerProtocolError: truncated, or no path.
    """
    path, at = decode_text(body, at)
    if path is None or at >= len(body):
        raise PeerProtocolError("truncated request")
    return path, body[at] != 0


def decode_create(body: bytes) -> CreateRequest:
    """The body of create, create2 and createContainer.

    Raises:
        PeerProtocolError: truncated.
    """
    path, at = decode_text(body, 0)
    data, at = decode_buffer(body, at)
    behind = at + len(OPEN_ACL_BYTES)
    if body[at:behind] != OPEN_ACL_BYTES:
        return CreateRequest.decode(body)
    return CreateRequest(path, data, OPEN_ACL_LIST, length_at(body, behind))


def decode_set_data(body: bytes) -> SetDataRequest:
    """The body of setData.

    Raises:
        PeerProtocolError: truncated.
    """
    path, at = decode_text(body, 0)
    data, at = decode_buffer(body, at)
    return SetDataRequest(path, data, length_at(body, at))


def reply(xid: int, zxid: int, err: int, body: bytes = b"") -> bytes:
    """A whole reply frame."""
    return _REPLY.pack(_REPLY_HEADER_BYTES + len(body), xid, zxid, err) + body


def event_frame(event_type: int, path: str, zxid: int) -> bytes:
    """A whole notification frame."""
    text = encode_text(path)
    size = _EVENT_HEAD_BYTES + len(text)
    return _EVENT.pack(size, Xid.NOTIFICATION, zxid, 0, event_type, SYNC_CONNECTED) + text


# Multi


class MultiResult(msgspec.Struct, gc=False):
    """One part of the answer to a multi; ``body`` is its encoded record."""

    type: int
    err: int
    body: bytes


_MULTI_WRITES: Final[dict[int, type[Record]]] = {
    Op.CREATE: CreateRequest,
    Op.CREATE2: CreateRequest,
    Op.CREATE_CONTAINER: CreateRequest,
    Op.CREATE_TTL: CreateTtlRequest,
    Op.DELETE: PathVersionRequest,
    Op.SET_DATA: SetDataRequest,
    Op.CHECK: PathVersionRequest,
}
_MULTI_READS: Final[dict[int, type[Record]]] = {Op.GET_CHILDREN: PathWatchRequest, Op.GET_DATA: PathWatchRequest}


def decode_multi(body: bytes, at: int = 0) -> list[tuple[int, Record]]:
    """Opcode and request of each part of a multi.

    Raises:
        PeerProtocolError: truncated, or a part that a multi must not have: then the whole request fails.
    """
    return _decode_parts(body, at, _MULTI_WRITES)


def decode_multi_read(body: bytes, at: int = 0) -> list[tuple[int, Record]]:
    """The same for a multiRead."""
    return _decode_parts(body, at, _MULTI_READS)


def _decode_parts(body: bytes, at: int, allowed: dict[int, type[Record]]) -> list[tuple[int, Record]]:
    parts: list[tuple[int, Record]] = []
    while True:
        header, at = MultiHeader.decode_from(body, at)
        if header.done:
            return parts
        record_type = allowed.get(header.type)
        if record_type is None:
            raise PeerProtocolError(f"operation {header.type} inside a multi")
        record, at = record_type.decode_from(body, at)
        parts.append((header.type, record))


def encode_multi_response(results: Iterable[MultiResult]) -> bytes:
    """Body of the reply to a multi."""
    parts = [MultiHeader(result.type, False, result.err).encode() + result.body for result in results]
    return b"".join(parts) + _MULTI_END
