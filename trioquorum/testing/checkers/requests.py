"""What a recorded call asked for, part by part."""

from typing import Final

import msgspec

from trioquorum.testing.history import Call
from trioquorum.wire.client import decode_multi
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import CreateFlag, Op
from trioquorum.wire.records import (
    CreateRequest,
    CreateTtlRequest,
    PathVersionRequest,
    SetAclRequest,
    SetDataRequest,
)


class Part(msgspec.Struct, frozen=True):
    """One write of a request. ``version`` −1 expects nothing."""

    op: Op
    path: str
    data: bytes | None = None
    version: int = -1
    flags: int = 0


_RECORDS: Final[dict[Op, type[Record]]] = {
    Op.CREATE: CreateRequest,
    Op.CREATE2: CreateRequest,
    Op.CREATE_CONTAINER: CreateRequest,
    Op.CREATE_TTL: CreateTtlRequest,
    Op.DELETE: PathVersionRequest,
    Op.SET_DATA: SetDataRequest,
    Op.SET_ACL: SetAclRequest,
}

SEQUENTIAL: Final = frozenset(
    {CreateFlag.PERSISTENT_SEQUENTIAL, CreateFlag.EPHEMERAL_SEQUENTIAL, CreateFlag.PERSISTENT_SEQUENTIAL_WITH_TTL}
)

WRITES: Final = frozenset({*_RECORDS, Op.MULTI, Op.CLOSE_SESSION})


def parts_of_call(call: Call) -> list[Part]:
    """The writes in a call: several in a multi, none in a read or a goodbye."""
    if call.op == Op.MULTI:
        return [_part(Op(op), record) for op, record in decode_multi(call.body)]
    cls = _RECORDS.get(call.op)
    return [] if cls is None else [_part(call.op, cls.decode(call.body))]


def _part(op: Op, record: Record) -> Part:
    match record:
        case CreateRequest(path=path, data=data, flags=flags) | CreateTtlRequest(path=path, data=data, flags=flags):
            return Part(op, path or "", data, flags=flags)
        case SetDataRequest(path=path, data=data, version=version):
            return Part(op, path or "", data, version)
        case PathVersionRequest(path=path, version=version) | SetAclRequest(path=path, version=version):
            return Part(op, path or "", None, version)
    raise TypeError(f"no write is a {type(record).__name__}")
