"""Packets between leader and learners: our frames, Java's stream, the bodies."""

import tracemalloc

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from trioquorum.errors import PeerProtocolError
from trioquorum.wire.quorum import (
    JuteSplitter,
    LearnerInfo,
    PacketType,
    QuorumPacket,
    decode_ack_epoch,
    decode_jute,
    decode_leader_info,
    decode_learner_info,
    decode_packets,
    decode_request,
    decode_revalidate,
    decode_revalidate_reply,
    decode_touched,
    encode_ack_epoch,
    encode_jute,
    encode_leader_info,
    encode_packets,
    encode_request,
    encode_revalidate,
    encode_revalidate_reply,
    encode_touched,
)

LONGS = st.integers(-(2**63), 2**63 - 1)
INTS = st.integers(-(2**31), 2**31 - 1)
TEXTS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]))
PACKETS = st.builds(
    QuorumPacket,
    INTS.filter(lambda kind: kind != PacketType.SNAP),
    LONGS,
    st.none() | st.binary(),
    st.none() | st.lists(st.tuples(TEXTS, TEXTS), max_size=3),
)
SNAP = QuorumPacket(PacketType.SNAP, 7)


def test_packet_types_are_zookeepers() -> None:
    assert " ".join(f"{kind.value}={kind.name}" for kind in PacketType) == (
        "1=REQUEST 2=PROPOSAL 3=ACK 4=COMMIT 5=PING 6=REVALIDATE 7=SYNC 8=INFORM 9=COMMITANDACTIVATE 10=NEWLEADER "
        "11=FOLLOWERINFO 12=UPTODATE 13=DIFF 14=TRUNC 15=SNAP 16=OBSERVERINFO 17=LEADERINFO 18=ACKEPOCH "
        "19=INFORMANDACTIVATE"
    )


# Our frames


@given(st.lists(PACKETS, max_size=5))
@settings(deadline=None)
def test_frames_there_and_back(packets: list[QuorumPacket]) -> None:
    encoded = encode_packets(packets)
    assert decode_packets(encoded) == packets
    for size in range(len(encoded)):
        with pytest.raises(PeerProtocolError):
            decode_packets(encoded[:size])


def test_a_frame_of_ours_is_small() -> None:
    assert encode_packets([QuorumPacket(PacketType.ACK, 1 << 32)]).hex() == "919403cf0000000100000000c0c0"


def test_packets_may_get_more_fields_later() -> None:
    longer = msgspec.msgpack.encode([[PacketType.ACK, 5, None, None, {"later": [1, 2]}]])
    assert decode_packets(longer) == [QuorumPacket(PacketType.ACK, 5)]
    assert decode_packets(msgspec.msgpack.encode([[PacketType.ACK, 5]])) == [QuorumPacket(PacketType.ACK, 5)]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1", id="no msgpack"),
        pytest.param(b"\x80", id="a map"),
        pytest.param(b"\x91\x93\x01\x02\xa1x", id="text for data"),
        pytest.param(b"\x91\x91\x01", id="no zxid"),
        pytest.param(b"\x91\x92\x01\xcf" + b"\xff" * 8, id="zxid beyond 63 bits"),
        pytest.param(b"\x91\x92\xce\xff\xff\xff\xff\x01", id="type beyond 31 bits"),
        pytest.param(b"\x91\x94\x01\x01\xc0\x91\x92\xa1\xff\xa1a", id="no UTF-8"),
        pytest.param(b"\x91\x94\x01\x01\xc0\x91\x93\xa1a\xa1a\xa1a", id="three for two"),
        pytest.param(b"\x91\x92\x01\x01!", id="something behind it"),
        pytest.param(b"\x91" * 100_000, id="a deep nest"),
        pytest.param(b"\x91\x95\x01\x01\xc0\xc0" + b"\x91" * 100_000, id="a deep nest where it is skipped"),
    ],
)
def test_frames_that_are_none(frame: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        decode_packets(frame)


@pytest.mark.parametrize(
    "frame",
    [
        b"\xdd\x7f\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff\x92\x01\x01",
        b"\x91\x93\x01\x01\xc6\xff\xff\xff\xff",
        b"\x91\x94\x01\x01\xc0\xdd\xff\xff\xff\xff",
        b"\x91\x94\x01\x01\xc0\x91\x92\xdb\xff\xff\xff\xffa",
    ],
)
def test_announced_sizes_take_no_memory(frame: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(PeerProtocolError):
            decode_packets(frame)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000


# Java's stream


@given(st.lists(PACKETS, max_size=5), st.lists(st.integers(0, 60), max_size=20))
@settings(deadline=None)
def test_java_streams_there_and_back(packets: list[QuorumPacket], sizes: list[int]) -> None:
    stream = b"".join(map(encode_jute, packets))
    found: list[QuorumPacket] = []
    at = 0
    for _ in packets:
        packet, at = decode_jute(stream, at)
        found.append(packet)
    assert (found, at) == (packets, len(stream))
    splitter = JuteSplitter(1 << 16)
    found = []
    at = 0
    for size in [*sizes, len(stream)]:
        found += splitter.feed(stream[at : at + size])
        at += size
    assert found == packets
    assert splitter.rest() == b""


@given(PACKETS)
@settings(deadline=None)
def test_no_prefix_of_a_packet_is_one(packet: QuorumPacket) -> None:
    encoded = encode_jute(packet)
    splitter = JuteSplitter(len(encoded))
    for size in range(len(encoded)):
        with pytest.raises(PeerProtocolError):
            decode_jute(encoded[:size])
        assert splitter.feed(encoded[size : size + 1]) == ([packet] if size == len(encoded) - 1 else [])


def test_a_packet_as_java_writes_it() -> None:
    assert encode_jute(QuorumPacket(PacketType.UPTODATE, -1)).hex() == "0000000c" + "ff" * 16
    with_ids = QuorumPacket(PacketType.REQUEST, -1, b"", [("ip", "::1"), ("digest", "a:b")])
    assert decode_jute(encode_jute(with_ids)) == (with_ids, 20 + 4 * 4 + 2 + 3 + 6 + 3)


def test_null_ids_read_as_empty() -> None:
    data = encode_jute(QuorumPacket(PacketType.REQUEST, -1))[:-4] + b"\0\0\0\1" + b"\xff" * 8
    (packet,) = JuteSplitter(100).feed(data)
    assert packet.auth == [("", "")]


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_splitting_stops_in_front_of_a_snapshot(cut: int) -> None:
    diff, uptodate = QuorumPacket(PacketType.DIFF, 3), QuorumPacket(PacketType.UPTODATE, -1)
    stream = encode_jute(diff) + encode_jute(SNAP) + b"raw snapshot" + encode_jute(uptodate)
    splitter = JuteSplitter(64)
    packets: list[QuorumPacket] = []
    raw = b""
    for at in range(0, len(stream), cut):
        if SNAP in packets:
            raw += stream[at : at + cut]
        else:
            packets += splitter.feed(stream[at : at + cut])
            raw += splitter.rest() if SNAP in packets else b""
    assert packets == [diff, SNAP]
    assert raw == b"raw snapshot" + encode_jute(uptodate)
    assert splitter.feed(raw[12:]) == [uptodate]


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param("00000002 0000000000000001 7fffffff", id="data over the limit"),
        pytest.param("00000002 0000000000000001 00000031", id="data and a vector over the limit"),
        pytest.param("00000002 0000000000000001 fffffffe", id="negative data"),
        pytest.param("00000002 0000000000000001 ffffffff fffffffe", id="negative vector"),
        pytest.param("00000002 0000000000000001 ffffffff 00000006", id="vector over the limit"),
        pytest.param("00000002 0000000000000001 ffffffff 7fffffff", id="vector far over the limit"),
        pytest.param("00000002 0000000000000001 ffffffff 00000001 fffffffe", id="negative text"),
        pytest.param("00000002 0000000000000001 ffffffff 00000001 00000030", id="text over the limit"),
    ],
)
def test_streams_that_lie_are_refused_at_once(stream: str) -> None:
    splitter = JuteSplitter(64)
    with pytest.raises(PeerProtocolError):
        splitter.feed(bytes.fromhex(stream))


def test_a_packet_as_large_as_the_limit() -> None:
    packet = QuorumPacket(PacketType.PROPOSAL, 1, bytes(100))
    assert JuteSplitter(120).feed(encode_jute(packet)) == [packet]
    with pytest.raises(PeerProtocolError, match="at most 119"):
        JuteSplitter(119).feed(encode_jute(packet))


# Bodies


@given(LONGS, INTS, INTS, st.binary())
@settings(deadline=None)
def test_requests(session: int, cxid: int, op: int, body: bytes) -> None:
    assert decode_request(encode_request(session, cxid, op, body)) == (session, cxid, op, body)


@given(st.lists(st.tuples(LONGS, INTS), max_size=5))
@settings(deadline=None)
def test_touched_sessions(sessions: list[tuple[int, int]]) -> None:
    assert decode_touched(encode_touched(sessions)) == sessions
    assert len(encode_touched(iter(sessions))) == 12 * len(sessions)


@given(LONGS, INTS, st.booleans())
@settings(deadline=None)
def test_revalidation(session: int, timeout_ms: int, valid: bool) -> None:
    assert decode_revalidate(encode_revalidate(session, timeout_ms)) == (session, timeout_ms)
    assert decode_revalidate_reply(encode_revalidate_reply(session, valid=valid)) == (session, valid)


def test_any_byte_but_zero_revalidates() -> None:
    assert decode_revalidate_reply(bytes(8) + b"\x02") == (0, True)


@given(INTS)
@settings(deadline=None)
def test_epochs_and_versions(value: int) -> None:
    assert decode_ack_epoch(encode_ack_epoch(value)) == value
    assert decode_leader_info(encode_leader_info(value)) == value


def test_learner_infos_of_all_ages() -> None:
    whole = LearnerInfo(3, 0x10000, 1 << 32).encode()
    assert len(whole) == 20
    found = {size: decode_learner_info((whole + b"more")[:size]) for size in range(8, 25)}
    assert [found[size] for size in range(8, 12)] == [LearnerInfo(3, 0, 0)] * 4
    assert [found[size] for size in range(12, 20)] == [LearnerInfo(3, 0x10000, 0)] * 8
    assert [found[size] for size in range(20, 25)] == [LearnerInfo(3, 0x10000, 1 << 32)] * 5


@pytest.mark.parametrize(
    ("decode", "needed"),
    [
        (decode_learner_info, 8),
        (decode_leader_info, 4),
        (decode_ack_epoch, 4),
        (decode_request, 16),
        (decode_revalidate, 12),
        (decode_revalidate_reply, 9),
    ],
)
def test_bodies_that_are_too_short(decode: object, needed: int) -> None:
    assert callable(decode)
    for size in range(needed):
        with pytest.raises(PeerProtocolError):
            decode(bytes(size))
    decode(bytes(needed))


@pytest.mark.parametrize("size", [1, 11, 13, 23])
def test_touched_sessions_come_in_twelves(size: int) -> None:
    with pytest.raises(PeerProtocolError):
        decode_touched(bytes(size))
