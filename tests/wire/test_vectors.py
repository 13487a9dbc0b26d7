"""Every kind of record that Java ZooKeeper 3.8.0 was recorded with: names, values, and the same bytes again."""

import pytest

from tests.wire.dissect import dissect, framed, framing_of
from tests.wire.kit import Vector, load_vectors, our_name
from trioquorum.errors import PeerProtocolError
from trioquorum.wire.client import frame
from trioquorum.wire.framing import FrameSplitter
from trioquorum.wire.ops import Op

VECTORS = load_vectors()

# Kinds of the recordings that are not in vectors/records.jsonl, because wire/ has no codec of its own for them.
NOT_COVERED = {
    "quorum/SnapshotStream": "the body of a snapshot: storage/ reads it",
    "disk/snapshot-file (no digest block)": "storage/ reads it",
    "disk/snapshot-file (with digest block)": "storage/ reads it",
    "disk/txnlog-FileHeader": "storage/ reads it",
}
# Kinds whose recorded bytes carry more than the protocol asks for, and why.
TRAILING = {
    "client/req:notification": "one of the two is a ConnectRequest sent again, read as opcode 0 with a body",
    "client/req:deleteContainer": "the recorded client sent a delete's version, too; the request is a path alone",
    "client/req:createSession": "the recorder names no fields for the timeout",
}


def ids(vector: Vector) -> str:
    return vector.kind


def payload_of(vector: Vector) -> bytes:
    before, behind = framing_of(vector.kind)
    return vector.data[before : len(vector.data) - behind]


def test_every_kind_is_there_or_named_as_missing() -> None:
    kinds = {vector.kind for vector in VECTORS}
    assert len(kinds) + len(NOT_COVERED) == 198
    assert not kinds & NOT_COVERED.keys()


@pytest.mark.parametrize("vector", [v for v in VECTORS if v.kind not in TRAILING], ids=ids)
def test_values_and_bytes(vector: Vector) -> None:
    fields, again = dissect(vector.kind, payload_of(vector))
    outside = ("frameLength", "length", "crc", "txnlen", "EOR")
    assert fields == [(our_name(name), value) for name, value in vector.fields if name not in outside]
    assert again == payload_of(vector)
    if not vector.kind.startswith("disk/"):
        assert framed(vector.kind, again) == vector.data


@pytest.mark.parametrize("vector", [v for v in VECTORS if v.kind in TRAILING], ids=ids)
def test_bytes_behind_a_record_are_ignored(vector: Vector) -> None:
    fields, again = dissect(vector.kind, payload_of(vector))
    named = [(our_name(name), value) for name, value in vector.fields if name != "frameLength"]
    common = min(len(fields), len(named))
    assert common >= 2
    assert fields[:common] == named[:common]
    assert payload_of(vector).startswith(again)


def tolerated(kind: str, payload: bytes, again: bytes) -> bool:
    """Whether a cut payload may decode: as a shorter legal record, or where the protocol is lenient with old peers."""
    if again == payload or (kind in TRAILING and payload.startswith(again)):
        return True
    if kind.startswith("election/Notification"):
        return len(payload) == 28 or 36 <= len(payload) <= 40
    # Without parentCVersion this is what ZooKeeper logged before 3.4; a body left out, what it logged before 3.6.
    old_create = kind.startswith("disk/txn:create") and again == payload + b"\xff\xff\xff\xff"
    old_close = kind.startswith("disk/txn:closeSession") and len(payload) == 32
    return old_create or old_close


@pytest.mark.parametrize("vector", VECTORS, ids=ids)
def test_no_prefix_passes_for_the_whole(vector: Vector) -> None:
    payload = payload_of(vector)
    refused = 0
    for size in range(len(payload)):
        try:
            _, again = dissect(vector.kind, payload[:size])
        except PeerProtocolError:
            refused += 1
        else:
            assert tolerated(vector.kind, payload[:size], again), f"{size} of {len(payload)} bytes"
    assert refused >= 8


@pytest.mark.parametrize("vector", [v for v in VECTORS if framing_of(v.kind) == (4, 0)], ids=ids)
def test_a_frame_is_nothing_before_its_last_byte(vector: Vector) -> None:
    splitter = FrameSplitter(len(vector.data))
    for at in range(len(vector.data) - 1):
        assert splitter.feed(vector.data[at : at + 1]) == []
    assert splitter.pending == vector.data[:-1]
    assert splitter.feed(vector.data[-1:]) == [payload_of(vector)]
    assert splitter.pending == b""


def test_vectors_reach_every_operation() -> None:
    asked = {payload[7] for payload in map(payload_of, VECTORS) if len(payload) >= 8}
    assert asked >= {op for op in Op if 0 < op < 128}
    assert frame(b"ab") == b"\0\0\0\2ab"
