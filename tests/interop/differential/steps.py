"""What a sequence is made of: steps of several clients, one after the other, as data."""

from typing import Final

import msgspec

from trioquorum.errors import PeerProtocolError
from trioquorum.wire.client import decode_multi, decode_multi_read
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import Op
from trioquorum.wire.records import (
    AuthRequest,
    CreateRequest,
    CreateTtlRequest,
    PathRequest,
    PathTypeRequest,
    PathVersionRequest,
    PathWatchRequest,
    ReconfigRequest,
    SetAclRequest,
    SetDataRequest,
    SetWatches,
    SetWatches2,
)

RECORDS: Final[dict[int, type[Record]]] = {
    Op.CREATE: CreateRequest,
    Op.DELETE: PathVersionRequest,
    Op.EXISTS: PathWatchRequest,
    Op.GET_DATA: PathWatchRequest,
    Op.SET_DATA: SetDataRequest,
    Op.GET_ACL: PathRequest,
    Op.SET_ACL: SetAclRequest,
    Op.GET_CHILDREN: PathWatchRequest,
    Op.SYNC: PathRequest,
    Op.GET_CHILDREN2: PathWatchRequest,
    Op.CHECK: PathVersionRequest,
    Op.CREATE2: CreateRequest,
    Op.RECONFIG: ReconfigRequest,
    Op.CHECK_WATCHES: PathTypeRequest,
    Op.REMOVE_WATCHES: PathTypeRequest,
    Op.CREATE_CONTAINER: CreateRequest,
    Op.DELETE_CONTAINER: PathRequest,
    Op.CREATE_TTL: CreateTtlRequest,
    Op.AUTH: AuthRequest,
    Op.SET_WATCHES: SetWatches,
    Op.GET_EPHEMERALS: PathRequest,
    Op.GET_ALL_CHILDREN_NUMBER: PathRequest,
    Op.SET_WATCHES2: SetWatches2,
    Op.ADD_WATCH: PathTypeRequest,
}
"""Opcode → the record behind its header; multi, multiRead and those without a body are left out."""

_SHOWN_BYTES: Final = 60
SLOTS: Final = 3
"""How many clients a sequence has."""

SET_WATCHES: Final = (Op.SET_WATCHES, Op.SET_WATCHES2)


class Request(msgspec.Struct):
    """``back``: setWatches names the zxid that lies so many transactions back."""

    op: int
    body: bytes = b""
    back: int = 0

    def __str__(self) -> str:
        name = Op(self.op).name if self.op in set(Op) else str(self.op)
        return f"{name} {self._readable()}" + (f" back={self.back}" if self.op in SET_WATCHES else "")

    def _readable(self) -> str:
        try:
            if self.op in (Op.MULTI, Op.MULTI_READ):
                parts = (decode_multi if self.op == Op.MULTI else decode_multi_read)(self.body)
                return f"[{', '.join(f'{Op(op).name} {_short(part)}' for op, part in parts)}]"
            if self.op in RECORDS:
                record, end = RECORDS[self.op].decode_from(self.body)
                return _short(record) + (f" + {self.body[end:].hex()}" if end < len(self.body) else "")
        except PeerProtocolError:
            pass
        return self.body[:_SHOWN_BYTES].hex() + ("…" if len(self.body) > _SHOWN_BYTES else "")


def _short(record: Record) -> str:
    data = getattr(record, "data", None)
    if isinstance(data, bytes) and len(data) > _SHOWN_BYTES:
        record = msgspec.structs.replace(record, data=f"{len(data)} bytes")
    return str(record)


class Open(msgspec.Struct, tag=True):
    """A new session. ``read_only``: None for a client so old that it does not send the flag."""

    slot: int
    timeout_ms: int
    read_only: bool | None = False
    peer: int = 0


class Say(msgspec.Struct, tag=True):
    """Requests in one write."""

    slot: int
    requests: list[Request]

    def __str__(self) -> str:
        return f"client {self.slot}: " + " | ".join(map(str, self.requests))


class Leave(msgspec.Struct, tag=True):
    """closeSession."""

    slot: int


class Drop(msgspec.Struct, tag=True):
    """The connection is cut; the session lives on."""

    slot: int


class Return(msgspec.Struct, tag=True):
    """A new connection for the session, with or without the old one still there."""

    slot: int
    peer: int = 0
    password: bool = True
    ahead: bool = False


Step = Open | Say | Leave | Drop | Return
