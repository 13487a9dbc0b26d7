"""Whole recorded conversations with Java ZooKeeper 3.8.0: everything decodes and gives the same bytes again."""

import random
from collections import Counter

import pytest

from tests.wire import dissect
from tests.wire.kit import Piece, load_conversation
from trioquorum.errors import Code, PeerProtocolError
from trioquorum.wire.client import REQUEST_HEADER, decode_connect, frame, session_password
from trioquorum.wire.framing import FrameSplitter
from trioquorum.wire.ops import Xid
from trioquorum.wire.quorum import (
    JuteSplitter,
    PacketType,
    QuorumPacket,
    decode_jute,
    decode_packets,
    encode_jute,
    encode_packets,
)
from trioquorum.wire.records import ConnectResponse, ReplyHeader

CLIENT = ("acl-auth", "create", "multi", "read-ops", "session-new", "watch-oneshot", "watch-setwatches")
QUORUM = (
    "fresh-start-workload",
    "multi-address",
    "observer-join",
    "restart-diff",
    "restart-trunc",
    "revalidate",
)
PACKET_BYTES_MAX = 1 << 20
SUPPLEMENTARY = b"\xf0\x9f\x98\x80"
SUPPLEMENTARY_JAVA = b"\xed\xa0\xbd\xed\xb8\x80"


def one_way(pieces: list[Piece], *, outgoing: bool) -> list[bytes]:
    return [piece.data for piece in pieces if piece.outgoing is outgoing]


def cuts(stream: bytes, seed: int) -> list[bytes]:
    """The stream in pieces of random sizes, most of them small, some empty."""
    chance = random.Random(seed)
    chunks = []
    at = 0
    while at < len(stream):
        size = chance.choice((0, 1, 2, 3, 5, 17, 400))
        chunks.append(stream[at : at + size])
        at += size
    return chunks


def bytewise(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


@pytest.mark.parametrize("name", CLIENT)
def test_client_port(name: str) -> None:
    replayed = 0
    for connection, pieces in load_conversation(f"client-{name}").items():
        requests = [each[4:] for each in one_way(pieces, outgoing=True)]
        replies = [each[4:] for each in one_way(pieces, outgoing=False)]
        assert dissect.connect_request(requests[0])[1] == requests[0]
        operations: dict[int, int] = {}
        refused = set()
        for payload in requests[1:]:
            xid, op = REQUEST_HEADER.unpack_from(payload)
            operations[xid] = op
            try:
                assert as_java_writes(dissect.client_request(payload)[1], payload), f"{connection}, {payload.hex()}"
            except PeerProtocolError:
                refused.add(xid)
        if replies:
            assert dissect.connect_response(replies[0])[1] == replies[0]
        errors = {}
        for payload in replies[1:]:
            header = ReplyHeader.decode(payload)
            op = operations[header.xid] if header.xid != Xid.NOTIFICATION else 0
            assert dissect.client_reply(payload, op)[1] == payload, f"{connection}, {payload.hex()}"
            errors[header.xid] = header.err
        assert [errors[xid] for xid in refused] == [Code.MARSHALLINGERROR] * len(refused)
        replayed += len(pieces)
    assert replayed > 20


def as_java_writes(again: bytes, payload: bytes) -> bool:
    """Whether we write what was recorded. One recorded client was not Java: its U+1F600 has four bytes, not six."""
    if SUPPLEMENTARY not in payload:
        return again == payload
    path_at = REQUEST_HEADER.size + 4
    return again[path_at:].replace(SUPPLEMENTARY_JAVA, SUPPLEMENTARY) == payload[path_at:]


@pytest.mark.parametrize("name", CLIENT)
def test_client_streams_split_the_same_however_they_are_cut(name: str) -> None:
    for pieces in load_conversation(f"client-{name}").values():
        for outgoing in (True, False):
            frames = one_way(pieces, outgoing=outgoing)
            stream = b"".join(frames)
            for chunks in ([stream], bytewise(stream), cuts(stream, seed=len(stream))):
                splitter = FrameSplitter(0xFFFFF)
                assert [payload for chunk in chunks for payload in splitter.feed(chunk)] == [
                    each[4:] for each in frames
                ]
                assert splitter.pending == b""


def test_session_passwords_are_javas() -> None:
    seen = set()
    for name in CLIENT:
        for pieces in load_conversation(f"client-{name}").values():
            answers = one_way(pieces, outgoing=False)
            if answers:
                response = ConnectResponse.decode(answers[0][4:])
                if response.session:
                    assert response.password == session_password(response.session)
                    seen.add(response.session)
    assert len(seen) > 20


def test_the_read_only_flag_is_there_when_asked_for() -> None:
    with_flag = Counter[bool]()
    for pieces in load_conversation("client-session-new").values():
        answers = one_way(pieces, outgoing=False)
        if answers:
            _, asked = decode_connect(pieces[0].data[4:])
            with_flag[asked is not None] += 1
            assert len(answers[0]) == (41 if asked is not None else 40)
    assert with_flag[True]
    assert with_flag[False]


def quorum_links(name: str) -> list[list[Piece]]:
    return [each for link, each in load_conversation(f"quorum-{name}").items() if link.startswith("l")]


@pytest.mark.parametrize("name", QUORUM)
def test_quorum_port(name: str) -> None:
    kinds = Counter[int]()
    for pieces in quorum_links(name):
        for piece in pieces:
            if piece.note != "snapshot":
                fields, again = dissect.packet(piece.data)
                assert again == piece.data, piece.data.hex()
                kinds[int(str(fields[0][1]))] += 1
    assert kinds[PacketType.ACK] > 3
    assert kinds[PacketType.NEWLEADER] == kinds[PacketType.LEADERINFO] > 0


@pytest.mark.parametrize("name", QUORUM)
def test_quorum_streams_split_the_same_however_they_are_cut(name: str) -> None:
    for pieces in quorum_links(name):
        for outgoing in (True, False):
            notes = [piece.note for piece in pieces if piece.outgoing is outgoing]
            expected = one_way(pieces, outgoing=outgoing)
            stream = b"".join(expected)
            for chunks in ([stream], bytewise(stream), cuts(stream, seed=len(stream))):
                snapshot_bytes = sum(len(data) for data, note in zip(expected, notes, strict=True) if note)
                packets = split(chunks, snapshot_bytes)
                assert [encode_jute(packet) for packet in packets] == [
                    data for data, note in zip(expected, notes, strict=True) if not note
                ]


def split(chunks: list[bytes], snapshot_bytes: int) -> list[QuorumPacket]:
    """Packets of a stream; a snapshot behind a SNAP is stepped over, as its reader would."""
    splitter = JuteSplitter(PACKET_BYTES_MAX)
    packets: list[QuorumPacket] = []
    to_skip = 0
    for chunk in chunks:
        data = chunk
        while True:
            data, to_skip = data[to_skip:], max(0, to_skip - len(data))
            if to_skip:
                break
            found = splitter.feed(data)
            packets += found
            if not found or found[-1].type != PacketType.SNAP:
                break
            data, to_skip = splitter.rest(), snapshot_bytes
    assert splitter.rest() == b""
    return packets


def test_an_observer_join_carries_a_snapshot() -> None:
    notes = [piece.note for pieces in quorum_links("observer-join") for piece in pieces]
    assert notes.count("snapshot") == 1


@pytest.mark.parametrize("name", QUORUM)
def test_packets_survive_our_own_frames(name: str) -> None:
    for pieces in quorum_links(name):
        packets = [decode_jute(piece.data)[0] for piece in pieces if not piece.note]
        assert decode_packets(encode_packets(packets)) == packets


@pytest.mark.parametrize("name", QUORUM)
def test_election_port(name: str) -> None:
    hellos = notifications = 0
    for link, pieces in load_conversation(f"quorum-{name}").items():
        for piece in pieces if link.startswith("e") else ():
            if piece.note:
                assert piece.note == "hello"
                assert dissect.hello(piece.data)[1] == piece.data
                hellos += 1
            else:
                assert frame(dissect.notification(piece.data[4:])[1]) == piece.data
                notifications += 1
    assert hellos >= 3
    assert notifications >= 6
