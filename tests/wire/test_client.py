"""The client protocol's frames: handshake, replies, events, multi."""

import pytest
from hypothesis import given, settings, strategies as st

from trioquorum.errors import PeerProtocolError
from trioquorum.wire.client import (
    REQUEST_HEADER,
    MultiResult,
    decode_connect,
    decode_multi,
    decode_multi_read,
    decode_path_watch,
    encode_connect_response,
    encode_multi_response,
    event_frame,
    frame,
    reply,
    session_password,
)
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import EventType, Op
from trioquorum.wire.records import (
    Acl,
    ConnectRequest,
    ConnectResponse,
    CreateRequest,
    CreateTtlRequest,
    MultiHeader,
    PathVersionRequest,
    PathWatchRequest,
    ReplyHeader,
    RequestHeader,
    SetDataRequest,
    WatcherEvent,
)

LONGS = st.integers(-(2**63), 2**63 - 1)
INTS = st.integers(-(2**31), 2**31 - 1)
TEXTS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]))
ANYONE = [Acl(31, "world", "anyone")]
END = MultiHeader(-1, True, -1).encode()

WRITES: list[tuple[int, Record]] = [
    (Op.CREATE, CreateRequest("/a", b"1", ANYONE, 0)),
    (Op.CREATE2, CreateRequest("/b", None, [], 3)),
    (Op.CREATE_CONTAINER, CreateRequest("/c", b"", None, 4)),
    (Op.CREATE_TTL, CreateTtlRequest("/d", b"", ANYONE, 5, 1000)),
    (Op.DELETE, PathVersionRequest("/a", -1)),
    (Op.SET_DATA, SetDataRequest("/a", b"2", 7)),
    (Op.CHECK, PathVersionRequest("/a", 8)),
]
READS: list[tuple[int, Record]] = [
    (Op.GET_DATA, PathWatchRequest("/a", True)),
    (Op.GET_CHILDREN, PathWatchRequest("/b", False)),
]


def multi(parts: list[tuple[int, Record]]) -> bytes:
    return b"".join(MultiHeader(kind, False, -1).encode() + part.encode() for kind, part in parts) + END


@pytest.mark.parametrize(
    ("session", "password"),
    [
        (0x0100000000000000, "f22acd4a97e69d6d20a49bb638eadb38"),
        (0x1, "054cc74a37327db215e702e20c73f005"),
        (0x02FFFFFFFFFF0001, "46243063e4ab5703be23d6c9011d2dfd"),
        (-5, "d47144b5e45e45c49c3b7fdcd66257ba"),
    ],
)
def test_passwords_of_sessions(session: int, password: str) -> None:
    """Computed by Java's ``Random``."""
    assert session_password(session).hex() == password


def test_the_first_frame_of_a_client() -> None:
    recorded = bytes.fromhex("0000002d" + "00" * 14 + "2710" + "00" * 8 + "00000010" + "00" * 17)
    request = ConnectRequest(0, 0, 10_000, 0, bytes(16))
    assert decode_connect(recorded[4:]) == (request, False)
    assert decode_connect(recorded[4:-1]) == (request, None)
    assert decode_connect(recorded[4:-1] + b"\1 and more") == (request, True)
    assert decode_connect(ConnectRequest(0, 0, 1, 2, None).encode()) == (ConnectRequest(0, 0, 1, 2, None), None)


@pytest.mark.parametrize(("read_only", "tail"), [(None, b""), (False, b"\0"), (True, b"\1")])
def test_the_answer_has_a_flag_when_the_request_had_one(read_only: bool | None, tail: bytes) -> None:
    response = ConnectResponse(0, 4000, 7, bytes(range(16)))
    assert encode_connect_response(response, read_only) == response.encode() + tail


def test_a_ping_is_what_every_client_sends() -> None:
    assert frame(REQUEST_HEADER.pack(-2, Op.PING)).hex() == "00000008fffffffe0000000b"


@given(INTS, LONGS, INTS, st.binary())
@settings(deadline=None)
def test_a_reply_is_a_header_and_a_body(xid: int, zxid: int, err: int, body: bytes) -> None:
    assert reply(xid, zxid, err, body) == frame(ReplyHeader(xid, zxid, err).encode() + body)
    assert reply(xid, zxid, err) == reply(xid, zxid, err, b"")


@given(st.sampled_from(EventType), TEXTS, LONGS)
@settings(deadline=None)
def test_an_event_is_a_reply_nobody_asked_for(kind: EventType, path: str, zxid: int) -> None:
    whole = frame(ReplyHeader(-1, zxid, 0).encode() + WatcherEvent(kind, 3, path).encode())
    assert event_frame(kind, path, zxid) == whole


@given(TEXTS, st.booleans(), st.binary(max_size=9), st.binary(max_size=9))
@settings(deadline=None)
def test_the_fast_path_of_reads_decodes_like_the_record(path: str, watch: bool, before: bytes, behind: bytes) -> None:
    body = PathWatchRequest(path, watch).encode()
    assert decode_path_watch(before + body + behind, len(before)) == (path, watch)
    for size in range(len(body)):
        with pytest.raises(PeerProtocolError):
            decode_path_watch(before + body[:size], len(before))


@pytest.mark.parametrize("body", ["", "0000", "ffffffff00", "fffffffb00", "7fffffff2f00", "000000012f"])
def test_reads_without_a_path_or_a_flag_are_refused(body: str) -> None:
    with pytest.raises(PeerProtocolError):
        decode_path_watch(bytes.fromhex(body))


def test_the_header_struct_is_the_record() -> None:
    assert REQUEST_HEADER.pack(5, Op.MULTI) == RequestHeader(5, Op.MULTI).encode()


@given(st.lists(st.sampled_from(WRITES), max_size=6))
@settings(deadline=None)
def test_multis(parts: list[tuple[int, Record]]) -> None:
    assert decode_multi(multi(parts)) == parts
    assert decode_multi(b"head" + multi(parts) + b"tail", 4) == parts


def test_multi_reads() -> None:
    assert decode_multi_read(multi(READS * 2)) == READS * 2


@pytest.mark.parametrize("kind", [-12, -11, -10, -1, *(op for op in range(23)), *range(100, 108), 999])
def test_operations_a_multi_must_not_have(kind: int) -> None:
    body = multi([(kind, CreateTtlRequest("/a", b"", [], 0, 0))])
    if kind not in dict(WRITES):
        with pytest.raises(PeerProtocolError, match=f"operation {kind} "):
            decode_multi(body)
    if kind not in dict(READS):
        with pytest.raises(PeerProtocolError, match=f"operation {kind} "):
            decode_multi_read(body)


def test_reads_and_writes_do_not_mix() -> None:
    with pytest.raises(PeerProtocolError):
        decode_multi(multi(WRITES + READS))
    with pytest.raises(PeerProtocolError):
        decode_multi_read(multi(READS + WRITES))


def test_a_multi_without_an_end_is_refused() -> None:
    body = multi(WRITES)
    for size in range(len(body)):
        with pytest.raises(PeerProtocolError):
            decode_multi(body[:size])


def test_a_recorded_multi_failure() -> None:
    """Java's answer to a multi whose third part of four had a bad version."""
    results = [MultiResult(-1, code, code.to_bytes(4, "big", signed=True)) for code in (0, 0, -103, -2)]
    assert encode_multi_response(results).hex() == (
        "ffffffff000000000000000000ffffffff000000000000000000ffffffff00ffffff99ffffff99ffffffff00fffffffefffffffe"
        "ffffffff01ffffffff"
    )
    assert encode_multi_response([]).hex() == "ffffffff01ffffffff"
