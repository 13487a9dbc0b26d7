"""Transactions (disk-format §3): what the leader proposes, logs hold and trees apply.

A transaction's *payload* is ``TxnHeader + record [+ TxnDigest]``. It is encoded once, on the leader; the same bytes
travel in PROPOSAL and INFORM, lie in the log and sit in the committed log.
"""

from struct import Struct

import msgspec

from trioquorum.errors import PeerProtocolError
from trioquorum.wire.jute import Bool, Buffer, Int, Long, Record
from trioquorum.wire.ops import Op
from trioquorum.wire.records import Acl

_ZXID = Struct(">q")
_HEAD = Struct(">12xq8xi")
_ZXID_AT = 12
_TYPE_AT = 28
_RECONFIG = int(Op.RECONFIG).to_bytes(4)
_DIGEST = Struct(">iq")
_DIGEST_BYTES = 12
_DIGEST_VERSION = b"\0\0\0\2"


class TxnHeader(Record):
    """32 bytes in front of every transaction; ``time_ms`` is the leader's wall clock."""

    session: Long
    cxid: Int
    zxid: Long
    time_ms: Long
    type: Int


class TxnDigest(Record):
    """Digest of the whole tree after the transaction; absent when the leader writes none."""

    version: Int
    tree_digest: Long


class CreateTxn(Record):
    """create, create2. ``path`` is final; ``parent_cversion`` −1 means the parent's + 1 (logs before 3.4)."""

    path: str
    data: Buffer
    acl: list[Acl] | None
    ephemeral: Bool
    parent_cversion: Int


class CreateTxnV0(Record):
    """create as logged before 3.4."""

    path: str
    data: Buffer
    acl: list[Acl] | None
    ephemeral: Bool


class CreateTtlTxn(Record):
    """createTTL."""

    path: str
    data: Buffer
    acl: list[Acl] | None
    parent_cversion: Int
    ttl: Long


class CreateContainerTxn(Record):
    """createContainer."""

    path: str
    data: Buffer
    acl: list[Acl] | None
    parent_cversion: Int


class DeleteTxn(Record):
    """delete, deleteContainer."""

    path: str


class SetDataTxn(Record):
    """setData, reconfig; ``version`` is the new version."""

    path: str
    data: Buffer
    version: Int


class SetAclTxn(Record):
    """setACL; ``version`` is the new aversion."""

    path: str
    acl: list[Acl] | None
    version: Int


class CheckVersionTxn(Record):
    """check, inside a multi only."""

    path: str
    version: Int


class SubTxn(Record):
    """One part of a multi: its type and its encoded record."""

    type: Int
    data: Buffer


class MultiTxn(Record):
    """multi."""

    txns: list[SubTxn] | None


class CreateSessionTxn(Record):
    """A session begins."""

    timeout_ms: Int


class CloseSessionTxn(Record):
    """A session ends; the ephemerals that go with it (absent in logs before 3.6)."""

    paths: list[str] | None


class ErrorTxn(Record):
    """A write that failed: it keeps its place in the order and changes nothing."""

    err: Int


TxnRecord = (
    CreateTxn
    | CreateTtlTxn
    | CreateContainerTxn
    | DeleteTxn
    | SetDataTxn
    | SetAclTxn
    | CheckVersionTxn
    | MultiTxn
    | CreateSessionTxn
    | CloseSessionTxn
    | ErrorTxn
)

RECORD_TYPES: dict[int, type[Record]] = {
    Op.CREATE: CreateTxn,
    Op.CREATE2: CreateTxn,
    Op.CREATE_TTL: CreateTtlTxn,
    Op.CREATE_CONTAINER: CreateContainerTxn,
    Op.DELETE: DeleteTxn,
    Op.DELETE_CONTAINER: DeleteTxn,
    Op.SET_DATA: SetDataTxn,
    Op.RECONFIG: SetDataTxn,
    Op.SET_ACL: SetAclTxn,
    Op.CHECK: CheckVersionTxn,
    Op.MULTI: MultiTxn,
    Op.CREATE_SESSION: CreateSessionTxn,
    Op.CLOSE_SESSION: CloseSessionTxn,
    Op.ERROR: ErrorTxn,
}


class Txn(msgspec.Struct, gc=False):
    """A decoded payload."""

    header: TxnHeader
    record: Record
    digest: TxnDigest | None = None

    def encode(self) -> bytes:
        """The payload."""
        payload = self.header.encode() + self.record.encode()
        digest = self.digest
        return payload if digest is None else payload + _DIGEST.pack(digest.version, digest.tree_digest)


def payload_zxid(payload: bytes) -> int:
    """The zxid inside a payload, without decoding the rest."""
    if len(payload) < _ZXID_AT + 8:
        raise PeerProtocolError(f"transaction of {len(payload)} bytes")
    zxid: int = _ZXID.unpack_from(payload, _ZXID_AT)[0]
    return zxid


def payload_head(payload: bytes) -> tuple[int, int]:
    """The zxid inside a payload and the type of its record, without decoding the rest."""
    if len(payload) < _HEAD.size:
        raise PeerProtocolError(f"transaction of {len(payload)} bytes")
    zxid, kind = _HEAD.unpack_from(payload)
    return zxid, kind


def is_reconfig(payload: bytes) -> bool:
    """Whether a payload proposes a configuration, without decoding the rest."""
    return payload[_TYPE_AT : _TYPE_AT + 4] == _RECONFIG


def decode_record(kind: int, data: bytes, at: int = 0) -> tuple[Record, int]:
    """The transaction record of type ``kind`` at ``at``, older layouts included, and the offset behind it.

    Raises:
        PeerProtocolError: unknown type or truncated.
    """
    cls = RECORD_TYPES.get(kind)
    if cls is None:
        raise PeerProtocolError(f"unknown transaction type {kind}")
    try:
        if cls is CloseSessionTxn and _no_close_session_body(data, at):
            return CloseSessionTxn(None), at
        return cls.decode_from(data, at)
    except PeerProtocolError:
        if cls is not CreateTxn:
            raise
        old, at = CreateTxnV0.decode_from(data, at)
        return CreateTxn(old.path, old.data, old.acl, old.ephemeral, -1), at


def _no_close_session_body(data: bytes, at: int) -> bool:
    # A ZooKeeper told to write no body may still write a digest; no list of two paths is as short as that.
    left = len(data) - at
    return left == 0 or (left == _DIGEST_BYTES and data.startswith(_DIGEST_VERSION, at))


def decode_txn(payload: bytes) -> Txn:
    """Header, record and digest of a payload.

    Raises:
        PeerProtocolError: not a transaction.
    """
    header, at = TxnHeader.decode_from(payload)
    record, at = decode_record(header.type, payload, at)
    if at == len(payload):
        return Txn(header, record)
    if at + _DIGEST_BYTES == len(payload):
        return Txn(header, record, TxnDigest(*_DIGEST.unpack_from(payload, at)))
    return Txn(header, record, TxnDigest.decode_from(payload, at)[0])
