"""The body of the reply to a committed write (client-protocol §5, §7)."""

from typing import Final

from trioquorum.tree.apply import Applied
from trioquorum.tree.node import stat_in
from trioquorum.wire.client import MultiResult, encode_multi_response
from trioquorum.wire.fields import encode_buffer, encode_text
from trioquorum.wire.ops import Op

_CREATE: Final = int(Op.CREATE)
_PATH_AND_STAT = frozenset({Op.CREATE2, Op.CREATE_CONTAINER, Op.CREATE_TTL})
_STAT = frozenset({Op.SET_DATA, Op.SET_ACL})


def reply_body(op: int, applied: Applied) -> tuple[int, bytes]:
    """Error code and body of the reply to a request of type ``op``."""
    if applied.parts is not None:
        return 0, encode_multi_response([_multi_result(part) for part in applied.parts])
    if applied.err:
        return applied.err, b""
    if op in _STAT:
        return 0, _stat(applied)
    if op == _CREATE:
        return 0, encode_text(applied.path)
    if op == Op.RECONFIG:
        return 0, encode_buffer(applied.data) + _stat(applied)
    if op in _PATH_AND_STAT:
        return 0, encode_text(applied.path) + _stat(applied)
    return 0, b""


def _multi_result(part: Applied) -> MultiResult:
    """One part of a multi. createTTL and createContainer answer as create2 (§7)."""
    if part.type == Op.ERROR:
        return MultiResult(Op.ERROR, part.err, part.err.to_bytes(4, "big", signed=True))
    if part.type == Op.CREATE:
        return MultiResult(Op.CREATE, 0, encode_text(part.path))
    if part.type in _PATH_AND_STAT:
        return MultiResult(Op.CREATE2, 0, encode_text(part.path) + _stat(part))
    if part.type == Op.SET_DATA:
        return MultiResult(Op.SET_DATA, 0, _stat(part))
    return MultiResult(part.type, 0, b"")


def _stat(applied: Applied) -> bytes:
    record = applied.record
    return b"" if record is None else stat_in(record)
