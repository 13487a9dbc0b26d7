"""Packets between leader and learners (quorum-protocol §2): our msgpack frames, Java's jute form, and their bodies.

A frame is a list of packets. ACK and COMMIT are cumulative on our links: "everything up to ``zxid``".
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from enum import IntEnum
from struct import Struct, error as struct_error
from typing import Annotated, Final

import msgspec

from trioquorum.errors import PeerProtocolError
from trioquorum.wire.jute import Buffer, Int, Long, Record
from trioquorum.wire.records import Id


class PacketType(IntEnum):
    """Kinds of packets."""

    REQUEST = 1
    PROPOSAL = 2
    ACK = 3
    COMMIT = 4
    PING = 5
    REVALIDATE = 6
    SYNC = 7
    INFORM = 8
    COMMITANDACTIVATE = 9
    NEWLEADER = 10
    FOLLOWERINFO = 11
    UPTODATE = 12
    DIFF = 13
    TRUNC = 14
    SNAP = 15
    OBSERVERINFO = 16
    LEADERINFO = 17
    ACKEPOCH = 18
    INFORMANDACTIVATE = 19


OF_LOCAL_SESSION: Final = 0
"""The zxid of a REQUEST whose session only the learner knows, on our links; of all others, and of Java's, it is -1."""


class QuorumPacket(msgspec.Struct, array_like=True, gc=False):
    """One packet; ``data`` has the bytes Java sends, ``auth`` the (scheme, id) pairs of a forwarded request."""

    type: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
    zxid: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    data: bytes | None = None
    auth: list[tuple[str, str]] | None = None


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[QuorumPacket])


def encode_packets(packets: Sequence[QuorumPacket]) -> bytes:
    """One frame."""
    return _ENCODER.encode(packets)


def encode_frames(packets: Sequence[QuorumPacket], frame_bytes: int) -> Iterator[bytes]:
    """Frames of about ``frame_bytes``, in order; only a packet that is larger by itself makes a larger one."""
    first = size = 0
    for index, packet in enumerate(packets):
        size += len(packet.data) if packet.data is not None else 0
        if packet.auth:
            # A client's identities may be far larger than its request, and each of its requests carries them.
            size += sum([len(scheme) + len(name.encode()) for scheme, name in packet.auth])
        if size >= frame_bytes:
            yield encode_packets(packets[first : index + 1])
            first, size = index + 1, 0
    if first < len(packets):
        yield encode_packets(packets[first:] if first else packets)


def decode_packets(frame: bytes) -> list[QuorumPacket]:
    """The packets of a frame.

    Raises:
        PeerProtocolError: not a frame of ours.
    """
    try:
        return _DECODER.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerProtocolError(f"not a frame of packets: {error}") from None


# Java's form: one jute record after the other, no length in front

_INT = Struct(">i")
_LONG = Struct(">q")
_JUTE_DATA_AT = 12


class _JutePacket(Record):
    type: Int
    zxid: Long
    data: Buffer
    auth: list[Id] | None


def encode_jute(packet: QuorumPacket) -> bytes:
    """One packet as Java writes it."""
    auth = None if packet.auth is None else [Id(scheme, name) for scheme, name in packet.auth]
    return _JutePacket(packet.type, packet.zxid, packet.data, auth).encode()


def decode_jute(data: bytes, at: int = 0) -> tuple[QuorumPacket, int]:
    """The packet at ``at`` and the offset behind it.

    Raises:
        PeerProtocolError: truncated or malformed.
    """
    packet, at = _JutePacket.decode_from(data, at)
    auth = None if packet.auth is None else [(who.scheme or "", who.id or "") for who in packet.auth]
    return QuorumPacket(packet.type, packet.zxid, packet.data, auth), at


class JuteSplitter:
    """Cuts Java's stream into packets; keeps one incomplete packet at most. ``limit`` bounds a packet in bytes.

    Behind a SNAP comes a raw snapshot: splitting stops there, and ``rest`` gives what has already arrived of it.
    """

    __slots__ = ("_limit", "_needed", "_partial", "_scan")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._partial = bytearray()
        self._scan = self._measure()
        self._needed = next(self._scan)

    def feed(self, data: bytes) -> list[QuorumPacket]:
        """Packets that are complete now, in order; a SNAP is the last of them, whatever follows it.

        Raises:
            PeerProtocolError: a length below −1, or a packet over the limit. The stream cannot be read on.
        """
        self._partial += data
        packets: list[QuorumPacket] = []
        while len(self._partial) >= self._needed:
            size = self._needed
            self._needed = next(self._scan, 0)
            if self._needed:
                continue
            packet, _ = decode_jute(bytes(self._partial[:size]))
            del self._partial[:size]
            self._scan = self._measure()
            self._needed = next(self._scan)
            packets.append(packet)
            if packet.type == PacketType.SNAP:
                break
        return packets

    def rest(self) -> bytes:
        """Give away the bytes behind the last packet; the next ``feed`` starts at a packet again."""
        rest = bytes(self._partial)
        self._partial.clear()
        self._scan = self._measure()
        self._needed = next(self._scan)
        return rest

    def _measure(self) -> Generator[int, None, None]:
        # Yields how many bytes are needed to see further; the last number is the packet's size. Each length field is
        # looked at once, however small the pieces are that arrive.
        size = _JUTE_DATA_AT
        yield self._within(size + 4)
        size = self._behind(size)
        yield self._within(size + 4)
        (count,) = _INT.unpack_from(self._partial, size)
        size += 4
        self._within(size + 8 * count)
        for _ in range(2 * count):
            yield self._within(size + 4)
            size = self._behind(size)
        yield self._within(size)

    def _behind(self, at: int) -> int:
        size: int = _INT.unpack_from(self._partial, at)[0]
        if size < -1:
            raise PeerProtocolError(f"field of {size} bytes in a packet")
        return at + 4 + max(size, 0)

    def _within(self, size: int) -> int:
        if size > self._limit:
            raise PeerProtocolError(f"packet of {size} bytes or more, at most {self._limit} are taken")
        return size


# Bodies


class LearnerInfo(Record):
    """Body of FOLLOWERINFO and OBSERVERINFO: 20 bytes."""

    server_id: Long
    protocol_version: Int
    config_version: Long


_REQUEST = Struct(">qii")
_SESSION_TIMEOUT = Struct(">qi")
_SESSION_VALID = Struct(">q?")


def decode_learner_info(data: bytes) -> LearnerInfo:
    """The introduction of a learner; older ones leave out the last one or two fields (quorum-protocol §8.2).

    Raises:
        PeerProtocolError: not even a server id.
    """
    if len(data) >= 20:
        return LearnerInfo.decode(data)
    if len(data) >= 12:
        return LearnerInfo(_LONG.unpack_from(data)[0], _INT.unpack_from(data, 8)[0], 0)
    if len(data) >= 8:
        return LearnerInfo(_LONG.unpack_from(data)[0], 0, 0)
    raise PeerProtocolError(f"learner info of {len(data)} bytes")


def encode_leader_info(protocol_version: int) -> bytes:
    """Body of LEADERINFO."""
    return _INT.pack(protocol_version)


def decode_leader_info(data: bytes) -> int:
    """Protocol version in LEADERINFO."""
    return _one(_INT, data)


def encode_ack_epoch(current_epoch: int) -> bytes:
    """Body of ACKEPOCH; −1 means "do not count me"."""
    return _INT.pack(current_epoch)


def decode_ack_epoch(data: bytes) -> int:
    """The learner's current epoch in ACKEPOCH."""
    return _one(_INT, data)


def encode_request(session: int, cxid: int, op: int, body: bytes) -> bytes:
    """Body of REQUEST: a client's request, forwarded."""
    return _REQUEST.pack(session, cxid, op) + body


def decode_request(data: bytes) -> tuple[int, int, int, bytes]:
    """Session, cxid, opcode and raw body of REQUEST."""
    try:
        session, cxid, op = _REQUEST.unpack_from(data)
    except struct_error:
        raise PeerProtocolError(f"forwarded request of {len(data)} bytes") from None
    return session, cxid, op, data[_REQUEST.size :]


def encode_revalidate(session: int, timeout_ms: int) -> bytes:
    """Body of a learner's REVALIDATE."""
    return _SESSION_TIMEOUT.pack(session, timeout_ms)


def decode_revalidate(data: bytes) -> tuple[int, int]:
    """Session and timeout of a learner's REVALIDATE."""
    return _two(_SESSION_TIMEOUT, data)


def encode_revalidate_reply(session: int, *, valid: bool) -> bytes:
    """Body of the leader's REVALIDATE."""
    return _SESSION_VALID.pack(session, valid)


def decode_revalidate_reply(data: bytes) -> tuple[int, bool]:
    """Session and answer of the leader's REVALIDATE."""
    session, valid = _two(_SESSION_VALID, data)
    return session, bool(valid)


REFUSE_WRITES: Final = b"\x01"
"""Data of a leader's PING while it takes no writes for want of room on disks."""

LACKS_ROOM: Final = -1
"""No session is called so: among those of a PING reply it says that the learner's disk has hardly any room left."""


def encode_touched(sessions: Iterable[tuple[int, int]]) -> bytes:
    """Body of a PING reply: (session, timeout in ms) of the sessions heard of since the last one."""
    return b"".join([_SESSION_TIMEOUT.pack(session, timeout_ms) for session, timeout_ms in sessions])


def decode_touched(data: bytes) -> list[tuple[int, int]]:
    """Sessions and timeouts of a PING reply."""
    try:
        return list(_SESSION_TIMEOUT.iter_unpack(data))
    except struct_error:
        raise PeerProtocolError(f"touched sessions of {len(data)} bytes") from None


def _one(form: Struct, data: bytes) -> int:
    try:
        value: int = form.unpack_from(data)[0]
    except struct_error:
        raise PeerProtocolError(f"body of {len(data)} bytes, {form.size} needed") from None
    return value


def _two(form: Struct, data: bytes) -> tuple[int, int]:
    try:
        first, second = form.unpack_from(data)
    except struct_error:
        raise PeerProtocolError(f"body of {len(data)} bytes, {form.size} needed") from None
    return first, second
