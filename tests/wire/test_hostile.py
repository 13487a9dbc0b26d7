"""Hostile input: whatever arrives, a decoder gives a result or a PeerProtocolError, in bounded memory."""

import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from tests.wire.dissect import dissect, framing_of
from tests.wire.kit import RECORDS, load_vectors, tolerate
from trioquorum.wire.client import decode_connect, decode_multi, decode_multi_read, decode_path_watch
from trioquorum.wire.election import (
    Notification,
    PeerState,
    decode_hello,
    decode_java_hello,
    decode_java_notification,
    decode_notification,
    encode_notification,
)
from trioquorum.wire.framing import FrameSplitter
from trioquorum.wire.quorum import (
    JuteSplitter,
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
    encode_jute,
    encode_packets,
)
from trioquorum.wire.txn import decode_txn, payload_zxid

LIMIT = 4096
DECODERS: list[Callable[[bytes], Any]] = [
    decode_connect,
    decode_path_watch,
    decode_multi,
    decode_multi_read,
    decode_packets,
    decode_jute,
    decode_learner_info,
    decode_leader_info,
    decode_ack_epoch,
    decode_request,
    decode_revalidate,
    decode_revalidate_reply,
    decode_touched,
    decode_notification,
    decode_hello,
    decode_java_notification,
    decode_java_hello,
    decode_txn,
    payload_zxid,
    *(cls.decode for cls in RECORDS),
]
NASTY = [
    *(size.to_bytes(4, "big", signed=True) for size in (-(2**31), -2, -1, 0, 1, 0xFFFFF, 2**31 - 1)),
    *(bytes((first,)) for first in (0x7F, 0x80, 0xC1, 0xDD, 0xFF)),
]
# Bytes with lengths that may fit: small counts and sizes among plain letters.
WORDS = [*NASTY, b"\0\0\0\2", b"\0\0\0\3ab\xed", b"/", b"\0" * 8]
STRUCTURED = st.lists(st.sampled_from(WORDS), max_size=24).map(b"".join)


@given(st.binary(max_size=200) | STRUCTURED)
@settings(deadline=None, max_examples=300)
def test_any_bytes(data: bytes) -> None:
    for decode in DECODERS:
        tolerate(decode, data)


@given(st.lists(st.binary(max_size=40) | STRUCTURED, max_size=6))
@settings(deadline=None)
def test_any_stream(chunks: list[bytes]) -> None:
    frames, packets = FrameSplitter(LIMIT), JuteSplitter(LIMIT)
    for chunk in chunks:
        if not tolerate(frames.feed, chunk):
            break
        assert len(frames.pending) < LIMIT + 4
    for chunk in chunks:
        if not tolerate(packets.feed, chunk):
            break


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                changed[at : at + 1] = bytes((chance.randrange(256),))
            case 1:
                nasty = chance.choice(NASTY)
                changed[at : at + len(nasty)] = nasty
            case 2:
                del changed[at : at + chance.randrange(1, 9)]
            case _:
                changed[at:at] = changed[at : at + chance.randrange(1, 9)]
    return bytes(changed)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_vectors(seed: int) -> None:
    chance = random.Random(seed)
    results = [0, 0]
    for vector in load_vectors():
        before, behind = framing_of(vector.kind)
        payload = vector.data[before : len(vector.data) - behind]
        for _ in range(4):
            results[tolerate(dissect, vector.kind, mutated(payload, chance))] += 1
    refused, read = results
    assert refused > 200
    assert read > 200


@pytest.mark.parametrize("seed", range(4))
def test_damaged_frames_of_ours(seed: int) -> None:
    chance = random.Random(seed)
    packets = [QuorumPacket(2, (1 << 32) + at, bytes(at), [("ip", "::1")]) for at in range(9)]
    notification = encode_notification(Notification(PeerState.LEADING, 3, 1 << 40, 2, 1, 2, "server.1=a\nversion=0"))
    refused = 0
    for _ in range(300):
        refused += not tolerate(decode_packets, mutated(encode_packets(packets), chance))
        refused += not tolerate(decode_notification, mutated(notification, chance))
    assert refused > 100


def test_what_is_decoded_is_no_larger_than_what_was_sent_allows() -> None:
    """The most items in the fewest bytes, for each decoder that builds lists."""
    size = 1 << 17
    texts = (size // 4).to_bytes(4, "big") + bytes(size)
    ids = (size // 12).to_bytes(4, "big") + bytes(size)
    worst: list[tuple[Callable[[bytes], Any], bytes]] = [
        *((cls.decode, texts) for cls in RECORDS if cls.__name__ == "ChildrenResponse"),
        *((cls.decode, ids) for cls in RECORDS if cls.__name__ == "WhoAmIResponse"),
        (decode_jute, encode_jute(QuorumPacket(1, 1))[:-4] + (size // 8).to_bytes(4, "big") + bytes(size)),
        (decode_packets, b"\xdd" + (size // 3).to_bytes(4, "big") + b"\x92\0\0" * (size // 3)),
        (decode_touched, bytes(size // 12 * 12)),
    ]
    for decode, data in worst:
        tracemalloc.start()
        try:
            assert tolerate(decode, data)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 64 * size, decode
