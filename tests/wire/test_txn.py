"""Transactions: layouts of older ZooKeepers, digests, and where a payload ends."""

import struct

import pytest

from trioquorum.errors import PeerProtocolError
from trioquorum.wire.ops import Op
from trioquorum.wire.txn import (
    RECORD_TYPES,
    CloseSessionTxn,
    CreateTxn,
    CreateTxnV0,
    ErrorTxn,
    Txn,
    TxnDigest,
    TxnHeader,
    decode_record,
    decode_txn,
    payload_zxid,
)

# Written by Java ZooKeeper 3.8.0 with zookeeper.closeSessionTxn.enabled=false and digests off.
CLOSE_WITHOUT_BODY = bytes.fromhex("0100004d67a40002000000020000000000000022000001a1fd294801fffffff5")
DIGEST = TxnDigest(2, 31262406988)
CREATE = CreateTxn("/a", b"x", None, False, 7)


def header(kind: int) -> TxnHeader:
    return TxnHeader(0x0100_0000_0000_0001, 3, (4 << 32) + 5, 1_700_000_000_000, kind)


def test_a_recorded_close_without_a_body() -> None:
    decoded = decode_txn(CLOSE_WITHOUT_BODY)
    assert (decoded.header.type, decoded.header.zxid, decoded.record) == (Op.CLOSE_SESSION, 34, CloseSessionTxn(None))
    assert decoded.digest is None


@pytest.mark.parametrize("digest", [TxnDigest(2, 0), DIGEST, TxnDigest(2, -1), TxnDigest(2, 2**62)])
def test_a_close_without_a_body_may_have_a_digest(digest: TxnDigest) -> None:
    decoded = decode_txn(header(Op.CLOSE_SESSION).encode() + struct.pack(">iq", digest.version, digest.tree_digest))
    assert (decoded.record, decoded.digest) == (CloseSessionTxn(None), digest)


@pytest.mark.parametrize("paths", [[], ["/abc"], ["/a", "/b"], ["/a" * 5]])
@pytest.mark.parametrize("digest", [None, DIGEST])
def test_a_close_with_paths(paths: list[str], digest: TxnDigest | None) -> None:
    written = Txn(header(Op.CLOSE_SESSION), CloseSessionTxn(paths), digest)
    assert decode_txn(written.encode()) == written


def test_a_create_of_old_has_no_parent_cversion() -> None:
    old = CreateTxnV0("/a", b"x", None, True)
    decoded = decode_txn(header(Op.CREATE).encode() + old.encode())
    assert decoded.record == CreateTxn("/a", b"x", None, True, -1)
    assert decoded.digest is None


@pytest.mark.parametrize("kind", sorted(RECORD_TYPES))
def test_a_digest_is_kept_and_left_out(kind: int) -> None:
    samples = {CreateTxn: CREATE, ErrorTxn: ErrorTxn(-101)}
    cls = RECORD_TYPES[kind]
    record = samples.get(cls) or cls.decode(bytes(40))
    for digest in (None, DIGEST):
        written = Txn(header(kind), record, digest)
        assert decode_txn(written.encode()) == written
        assert payload_zxid(written.encode()) == (4 << 32) + 5


def test_half_a_digest_is_refused() -> None:
    payload = Txn(header(Op.CREATE), CREATE, DIGEST).encode()
    for size in range(len(payload) - 11, len(payload)):
        with pytest.raises(PeerProtocolError):
            decode_txn(payload[:size])


def test_unknown_types_are_refused() -> None:
    with pytest.raises(PeerProtocolError, match="unknown transaction type 99"):
        decode_record(99, bytes(40))


@pytest.mark.parametrize("size", [0, 12, 19])
def test_a_zxid_needs_its_bytes(size: int) -> None:
    with pytest.raises(PeerProtocolError):
        payload_zxid(bytes(size))
