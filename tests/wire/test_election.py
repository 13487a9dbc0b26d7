"""Election messages: our frames, and Java's notifications and first messages of all ages."""

from struct import pack

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from trioquorum.errors import PeerProtocolError
from trioquorum.wire.election import (
    Hello,
    Notification,
    PeerState,
    decode_hello,
    decode_java_hello,
    decode_java_notification,
    decode_notification,
    encode_hello,
    encode_java_hello,
    encode_java_notification,
    encode_notification,
)

LONGS = st.integers(-(2**63), 2**63 - 1)
INTS = st.integers(-(2**31), 2**31 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NOTIFICATIONS = st.builds(
    Notification, st.sampled_from(PeerState), LONGS, LONGS, LONGS, LONGS, INTS, st.none() | TEXTS.filter(bool)
)
VOTE = pack(">iqqq", PeerState.LEADING, 3, (7 << 32) + 9, 4)


# Our frames


@given(NOTIFICATIONS)
@settings(deadline=None)
def test_notifications_there_and_back(note: Notification) -> None:
    encoded = encode_notification(note)
    assert decode_notification(encoded) == note
    for size in range(len(encoded)):
        with pytest.raises(PeerProtocolError):
            decode_notification(encoded[:size])


@given(st.builds(Hello, LONGS, TEXTS, INTS))
@settings(deadline=None)
def test_hellos_there_and_back(hello: Hello) -> None:
    encoded = encode_hello(hello)
    assert decode_hello(encoded) == hello
    for size in range(len(encoded)):
        with pytest.raises(PeerProtocolError):
            decode_hello(encoded[:size])


def test_defaults() -> None:
    assert Hello(2, "tcp://127.0.0.1:3881").protocol == 1
    assert Notification(PeerState.LOOKING, 1, 2, 3, 4) == Notification(PeerState.LOOKING, 1, 2, 3, 4, 2, None)
    assert [state.value for state in PeerState] == [0, 1, 2, 3]


def test_frames_may_get_more_fields_later() -> None:
    assert decode_notification(msgspec.msgpack.encode([0, 1, 2, 3, 4, 2, None, "later"])).config is None
    assert decode_hello(msgspec.msgpack.encode([2, "tcp://h:1", 9, "later"])) == Hello(2, "tcp://h:1", 9)


@pytest.mark.parametrize(
    "fields",
    [
        [4, 1, 2, 3, 4],
        [-1, 1, 2, 3, 4],
        ["LOOKING", 1, 2, 3, 4],
        [0, 1, 2, 3],
        [0, 2**63, 2, 3, 4],
        [0, 1, 2**64 - 1, 3, 4],
        [0, 1, 2, 3, 4, 2**31],
        [0, 1, 2, 3, 4, 2, b"config"],
        {"state": 0},
        7,
    ],
)
def test_notifications_that_are_none(fields: object) -> None:
    with pytest.raises(PeerProtocolError):
        decode_notification(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize(
    "frame", [b"", b"\xc1", b"\x92\x01\xa1\xff", b"\x92\x01\xc4\x01a", b"\x91\x01", b"\x91" * 100_000]
)
def test_hellos_that_are_none(frame: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        decode_hello(frame)


def test_a_deep_nest_behind_the_known_fields_is_refused() -> None:
    nest = b"\x91" * 100_000
    with pytest.raises(PeerProtocolError):
        decode_hello(b"\x94\x01\xa1a\x01" + nest)
    with pytest.raises(PeerProtocolError):
        decode_notification(b"\x98\0\1\1\1\1\2\xc0" + nest)


# Java's notifications


@given(NOTIFICATIONS.filter(lambda note: note.version > 1))
@settings(deadline=None)
def test_java_notifications_there_and_back(note: Notification) -> None:
    encoded = encode_java_notification(note)
    assert len(encoded) == 44 + len((note.config or "").encode())
    assert decode_java_notification(encoded) == note
    assert decode_java_notification(encoded + b"tail") == note


@pytest.mark.parametrize(
    ("data", "peer_epoch", "version"),
    [
        pytest.param(VOTE, 7, 0, id="28: the epoch of the zxid"),
        pytest.param(VOTE + pack(">q", 5), 5, 0, id="36"),
        pytest.param(VOTE + pack(">qi", 5, 2), 5, 0, id="40: a version that means nothing"),
        pytest.param(VOTE + pack(">qii", 5, 1, 99), 5, 1, id="44 of version 1: no config"),
        pytest.param(VOTE + pack(">qii", 5, 0, -1), 5, 0, id="44 of version 0"),
        pytest.param(VOTE + pack(">qii", 5, 2, 0), 5, 2, id="44 with an empty config"),
        pytest.param(VOTE + pack(">qii", 5, 3, 0), 5, 3, id="44 of a later version"),
    ],
)
def test_java_notifications_of_all_ages(data: bytes, peer_epoch: int, version: int) -> None:
    expected = Notification(PeerState.LEADING, 3, (7 << 32) + 9, 4, peer_epoch, version)
    assert decode_java_notification(data) == expected


def test_a_config_is_utf8() -> None:
    data = VOTE + pack(">qii", 5, 2, 6) + "é=中".encode()
    assert decode_java_notification(data).config == "é=中"
    assert decode_java_notification(data[:-1] + b"\xff").config == "é=\ufffd\ufffd"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(VOTE[:-1], id="27"),
        pytest.param(VOTE + bytes(1), id="29"),
        pytest.param(VOTE + bytes(7), id="35"),
        pytest.param(VOTE + pack(">qi", 5, 2) + bytes(1), id="41"),
        pytest.param(VOTE + pack(">qi", 5, 2) + bytes(3), id="43"),
        pytest.param(VOTE + pack(">qii", 5, 2, -1), id="config of -1"),
        pytest.param(VOTE + pack(">qii", 5, 2, 1), id="config of 1 in 0"),
        pytest.param(VOTE + pack(">qii", 5, 2, 2**31 - 1) + b"version=0", id="config of 2 GiB"),
        pytest.param(pack(">iqqq", 7, 3, 0, 4), id="state 7"),
        pytest.param(pack(">iqqq", -1, 3, 0, 4), id="state -1"),
    ],
)
def test_java_notifications_that_are_none(data: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        decode_java_notification(data)


# Java's first message

ADDRESSES = ["127.0.0.1:3888", "[::1]:3889", "example.org:1"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_java_hellos_there_and_back(count: int) -> None:
    encoded = encode_java_hello(5, ADDRESSES[:count])
    assert decode_java_hello(encoded) == (5, ADDRESSES[:count], len(encoded))
    assert decode_java_hello(encoded + b"tail") == (5, ADDRESSES[:count], len(encoded))
    for size in range(len(encoded)):
        with pytest.raises(PeerProtocolError):
            decode_java_hello(encoded[:size])


def test_one_address_is_said_the_old_way() -> None:
    assert encode_java_hello(1, ["h:1"]) == pack(">qqi", -65536, 1, 3) + b"h:1"
    assert encode_java_hello(1, ["h:1", "i:2"]) == pack(">qqi", -65535, 1, 7) + b"h:1|i:2"


@pytest.mark.parametrize("sid", [0, 1, 2**63 - 1])
def test_a_bare_sid_is_a_hello_of_old(sid: int) -> None:
    assert decode_java_hello(pack(">q", sid) + b"tail") == (sid, [], 8)


def hello(text: bytes, size: int | None = None, protocol: int = -65536) -> bytes:
    return pack(">qqi", protocol, 1, len(text) if size is None else size) + text


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(hello(b"h:1", protocol=-1), id="unknown protocol"),
        pytest.param(hello(b"h:1", protocol=-65537), id="another unknown protocol"),
        pytest.param(hello(b""), id="no address"),
        pytest.param(hello(b"h:1", size=-1), id="negative length"),
        pytest.param(hello(b"h:" + b"1" * 2047), id="too long"),
        pytest.param(hello(b"h:1", size=4), id="cut"),
        pytest.param(hello(b"host"), id="no port"),
        pytest.param(hello(b":3888"), id="no host"),
        pytest.param(hello(b"h:"), id="empty port"),
        pytest.param(hello(b"h:-1"), id="negative port"),
        pytest.param(hello(b"h:65536"), id="port beyond 16 bits"),
        pytest.param(hello("h:²".encode()), id="a digit that is no number"),
        pytest.param(hello("h:٣".encode()), id="a number int() takes, but nobody writes"),
        pytest.param(hello(b"h:1|", protocol=-65535), id="an empty one of two"),
    ],
)
def test_java_hellos_that_are_none(data: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        decode_java_hello(data)


def test_the_longest_address_that_is_taken() -> None:
    text = b"h" * 2046 + b":1"
    assert decode_java_hello(hello(text))[1] == [text.decode()]
