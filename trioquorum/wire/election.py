"""What peers tell each other to elect (quorum-protocol §3.2, §4): our msgpack frames and Java's bytes."""

from enum import IntEnum
from struct import Struct, error as struct_error
from typing import Annotated

import msgspec

from trioquorum.errors import PeerProtocolError

NOTIFICATION_VERSION = 2
_Int = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_Long = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class PeerState(IntEnum):
    """The sender's role."""

    LOOKING = 0
    FOLLOWING = 1
    LEADING = 2
    OBSERVING = 3


class Notification(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A vote: ``round`` is the election epoch, ``peer_epoch`` the proposed leader's current epoch."""

    state: PeerState
    leader: _Long
    zxid: _Long
    round: _Long
    peer_epoch: _Long
    version: _Int = NOTIFICATION_VERSION
    config: str | None = None


class Hello(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """First frame of the dialling side of an election link; ``address`` is where it can be dialled back."""

    sid: _Long
    address: str
    protocol: _Int = 1


_ENCODER = msgspec.msgpack.Encoder()
_NOTIFICATION = msgspec.msgpack.Decoder(Notification)
_HELLO = msgspec.msgpack.Decoder(Hello)


def encode_notification(note: Notification) -> bytes:
    """One frame."""
    return _ENCODER.encode(note)


def decode_notification(frame: bytes) -> Notification:
    """The notification in a frame.

    Raises:
        PeerProtocolError: not a notification.
    """
    try:
        return _NOTIFICATION.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerProtocolError(f"not a notification: {error}") from None


def encode_hello(hello: Hello) -> bytes:
    """One frame."""
    return _ENCODER.encode(hello)


def decode_hello(frame: bytes) -> Hello:
    """The introduction in a frame.

    Raises:
        PeerProtocolError: not an introduction.
    """
    try:
        return _HELLO.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerProtocolError(f"not an introduction: {error}") from None


# Java's bytes (frames come with a 4-byte length, which is not part of these)

_VOTE = Struct(">iqqq")
_INITIAL = Struct(">qqi")
_INT = Struct(">i")
_LONG = Struct(">q")
_PROTOCOL_ONE_ADDRESS = -65536
_PROTOCOL_ADDRESSES = -65535
_INITIAL_REST_MAX = 2048


def encode_java_notification(note: Notification) -> bytes:
    """A version-2 notification."""
    config = (note.config or "").encode()
    head = _VOTE.pack(note.state, note.leader, note.zxid, note.round)
    return head + _LONG.pack(note.peer_epoch) + _INT.pack(note.version) + _INT.pack(len(config)) + config


def decode_java_notification(data: bytes) -> Notification:
    """A notification of any age: 28, 36 or 40 bytes (whose version field means nothing), or 44 and more.

    Version 0 stands for the old forms. No config text and an empty one are the same.

    Raises:
        PeerProtocolError: too short, unknown state, or a config length that lies.
    """
    if len(data) < _VOTE.size:
        raise PeerProtocolError(f"notification of {len(data)} bytes")
    state, leader, zxid, round_ = _VOTE.unpack_from(data)
    if state not in PeerState._value2member_map_:
        raise PeerProtocolError(f"notification of a peer in state {state}")
    if len(data) == _VOTE.size:
        return Notification(PeerState(state), leader, zxid, round_, zxid >> 32, 0)
    try:
        (peer_epoch,) = _LONG.unpack_from(data, 28)
        if len(data) <= 40:
            return Notification(PeerState(state), leader, zxid, round_, peer_epoch, 0)
        (version,) = _INT.unpack_from(data, 36)
        if version <= 1:
            return Notification(PeerState(state), leader, zxid, round_, peer_epoch, version)
        (size,) = _INT.unpack_from(data, 40)
    except struct_error:
        raise PeerProtocolError(f"notification of {len(data)} bytes") from None
    if not 0 <= size <= len(data) - 44:
        raise PeerProtocolError(f"config of {size} bytes in a notification of {len(data)}")
    config = data[44 : 44 + size].decode("utf-8", "replace")
    return Notification(PeerState(state), leader, zxid, round_, peer_epoch, version, config or None)


def encode_java_hello(sid: int, addresses: list[str]) -> bytes:
    """The initial message of the dialling side: ``host:port``, several only where all peers understand them."""
    text = "|".join(addresses).encode()
    protocol = _PROTOCOL_ONE_ADDRESS if len(addresses) == 1 else _PROTOCOL_ADDRESSES
    return _INITIAL.pack(protocol, sid, len(text)) + text


def decode_java_hello(data: bytes) -> tuple[int, list[str], int]:
    """Sender, its addresses, and how many bytes the message took. A first long that is no version is a bare sid.

    Raises:
        PeerProtocolError: unknown version, bad length, truncated, or no ``host:port``.
    """
    try:
        (first,) = _LONG.unpack_from(data)
        if first >= 0:
            return first, [], _LONG.size
        if first not in (_PROTOCOL_ONE_ADDRESS, _PROTOCOL_ADDRESSES):
            raise PeerProtocolError(f"unknown election protocol {first}")
        _, sid, size = _INITIAL.unpack_from(data)
    except struct_error:
        raise PeerProtocolError(f"initial message of {len(data)} bytes") from None
    end = _INITIAL.size + size
    if not 0 < size <= _INITIAL_REST_MAX or end > len(data):
        raise PeerProtocolError(f"address of {size} bytes in an initial message of {len(data)}")
    addresses = data[_INITIAL.size : end].decode("utf-8", "replace").split("|")
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not port.isascii() or int(port) > 0xFFFF:
            raise PeerProtocolError(f"{address!r} is no host:port")
    return sid, addresses, end
