"""Transactions (disk-format §3): what the leader proposes, logs hold and trees apply.

A transaction's *payload* is ``TxnHeader + record [+ TxnDigest]``. It is encoded once, on the leader; the same bytes
travel in PROPOSAL and INFORM, lie in the log and sit in the committed log.
"""

from typing import Final

import msgspec
from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be, write_i64_be

from trioquorum.errors import PeerProtocolError
from trioquorum.wire.fields import decode_buffer, decode_str, write_buffer, write_text
from trioquorum.wire.jute import Bool, Buffer, Int, Long, Record
from trioquorum.wire.ops import Op
from trioquorum.wire.records import OPEN_ACL_BYTES, OPEN_ACL_LIST, Acl

HEADER_BYTES: Final = 32
_SESSION_AT: Final = 0
_CXID_AT: Final = 8
_ZXID_AT: Final = 12
_TIME_AT: Final = 20
_TYPE_AT: Final = 28
_SET_DATA: Final = int(Op.SET_DATA)
_CREATE: Final = int(Op.CREATE)
_CREATE2: Final = int(Op.CREATE2)
_RECONFIG: Final = int(Op.RECONFIG)
_DIGEST_BYTES: Final = 12
_DIGEST_VERSION: Final = b"\0\0\0\2"
_OPEN_ACL_BYTES: Final = len(OPEN_ACL_BYTES)


class TxnHeader(msgspec.Struct, gc=False):
    """32 bytes in front of every transaction; ``time_ms`` is the leader's wall clock."""

    session: int
    cxid: int
    zxid: int
    time_ms: int
    type: int

    def write(self, out: BytesWriter) -> None:
        """Append the bytes."""
        write_i64_be(out, self.session)
        write_i32_be(out, self.cxid)
        write_i64_be(out, self.zxid)
        write_i64_be(out, self.time_ms)
        write_i32_be(out, self.type)

    def encode(self) -> bytes:
        """The bytes."""
        out = BytesWriter()
        self.write(out)
        return out.getvalue()


class TxnDigest(msgspec.Struct, gc=False):
    """Digest of the whole tree after the transaction, signed; absent when the leader writes none."""

    version: int
    tree_digest: int


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
        out = BytesWriter()
        self.header.write(out)
        record = self.record
        if type(record) is SetDataTxn:  # The two most frequent ones by far are written in place.
            write_text(out, record.path)
            write_buffer(out, record.data)
            write_i32_be(out, record.version)
        elif type(record) is CreateTxn and record.acl is OPEN_ACL_LIST:
            write_text(out, record.path)
            write_buffer(out, record.data)
            out.write(OPEN_ACL_BYTES)
            out.append(1 if record.ephemeral else 0)
            write_i32_be(out, record.parent_cversion)
        else:
            out.write(record.encode())
        digest = self.digest
        if digest is not None:
            write_i32_be(out, digest.version)
            write_i64_be(out, digest.tree_digest)
        return out.getvalue()


def payload_zxid(payload: bytes) -> int:
    """The zxid inside a payload, without decoding the rest."""
    if len(payload) < _ZXID_AT + 8:
        raise PeerProtocolError(f"transaction of {len(payload)} bytes")
    return read_i64_be(payload, _ZXID_AT)


def payload_head(payload: bytes) -> tuple[int, int]:
    """The zxid inside a payload and the type of its record, without decoding the rest."""
    if len(payload) < HEADER_BYTES:
        raise PeerProtocolError(f"transaction of {len(payload)} bytes")
    return read_i64_be(payload, _ZXID_AT), read_i32_be(payload, _TYPE_AT)


def is_reconfig(payload: bytes) -> bool:
    """Whether a payload proposes a configuration, without decoding the rest."""
    return len(payload) >= HEADER_BYTES and read_i32_be(payload, _TYPE_AT) == _RECONFIG


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


def _decode_set_data(data: bytes, at: int) -> tuple[Record, int]:
    path, at = decode_str(data, at)
    value, at = decode_buffer(data, at)
    return SetDataTxn(path, value, read_i32_be(data, at)), at + 4


def _decode_create(data: bytes, at: int) -> tuple[Record, int]:
    """With the open ACL, all fields and no surprise, as nearly always; otherwise ``decode_record`` knows more."""
    path, acl_at = decode_str(data, at)
    value, acl_at = decode_buffer(data, acl_at)
    behind = acl_at + _OPEN_ACL_BYTES
    left = len(data) - behind - 5
    if data[acl_at:behind] != OPEN_ACL_BYTES or (left and left != _DIGEST_BYTES) or data[behind] > 1:
        return decode_record(_CREATE, data, at)
    return CreateTxn(path, value, OPEN_ACL_LIST, data[behind] == 1, read_i32_be(data, behind + 1)), behind + 5


def decode_txn(payload: bytes) -> Txn:
    """Header, record and digest of a payload.

    Raises:
        PeerProtocolError: not a transaction.
    """
    try:
        kind: int = read_i32_be(payload, _TYPE_AT)
        header = TxnHeader(
            read_i64_be(payload, _SESSION_AT),
            read_i32_be(payload, _CXID_AT),
            read_i64_be(payload, _ZXID_AT),
            read_i64_be(payload, _TIME_AT),
            kind,
        )
        if kind == _SET_DATA:
            record, at = _decode_set_data(payload, HEADER_BYTES)
        elif kind in (_CREATE, _CREATE2):
            record, at = _decode_create(payload, HEADER_BYTES)
        else:
            record, at = decode_record(kind, payload, HEADER_BYTES)
        if at == len(payload):
            return Txn(header, record, None)
        return Txn(header, record, TxnDigest(read_i32_be(payload, at), read_i64_be(payload, at + 4)))
    except IndexError:
        raise PeerProtocolError(f"truncated transaction of {len(payload)} bytes") from None
