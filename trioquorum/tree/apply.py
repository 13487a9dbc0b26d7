"""A committed transaction meets the tree (disk-format §3, client-protocol §8.3)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trioquorum.errors import Code, PeerProtocolError
from trioquorum.tree.node import NodeRecord
from trioquorum.tree.owners import ttl_owner
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import CONTAINER_OWNER, Op
from trioquorum.wire.txn import (
    CheckVersionTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
    TxnHeader,
    decode_record,
)

if TYPE_CHECKING:
    from trioquorum.tree.nodes import DataTree


class Applied(msgspec.Struct, gc=False):
    """What a transaction did, enough for a reply: code, type, path and the node's record, or the parts of a multi.

    ``data`` is the new configuration's text.
    """

    err: int
    type: int
    path: str | None = None
    record: NodeRecord | None = None
    parts: "list[Applied] | None" = None
    data: bytes | None = None


def apply_txn(tree: "DataTree", txn: Txn) -> Applied:
    """Change the tree, firing watches on the way, and advance ``last_zxid`` when all of it is done.

    Applying again what a fuzzy snapshot already holds leads to the same tree; the codes then tell NONODE or
    NODEEXISTS, which replay ignores.

    Raises:
        PeerProtocolError: a transaction that no leader writes.
    """
    header = txn.header
    applied = _apply(tree, header, header.type, txn.record)
    if header.zxid > tree.last_zxid:
        tree.last_zxid = header.zxid
    return applied


def _apply(tree: "DataTree", header: TxnHeader, kind: int, record: Record) -> Applied:
    apply = _BY_RECORD.get(type(record))
    if apply is None:
        raise PeerProtocolError(f"no transaction is a {type(record).__name__}")
    return apply(tree, header, kind, record)


def _set_data(tree: "DataTree", header: TxnHeader, kind: int, record: SetDataTxn) -> Applied:
    path, data = record.path, record.data
    err = tree.set_data(path, data, record.version, header.zxid, header.time_ms)
    if err:
        return Applied(err, kind, path)
    return Applied(0, kind, path, tree.nodes[path].record, None, data if kind == Op.RECONFIG else None)


def _create(tree: "DataTree", header: TxnHeader, kind: int, record: CreateTxn) -> Applied:
    return _made(tree, header, kind, record, header.session if record.ephemeral else 0)


def _create_container(tree: "DataTree", header: TxnHeader, kind: int, record: CreateContainerTxn) -> Applied:
    return _made(tree, header, kind, record, CONTAINER_OWNER)


def _create_ttl(tree: "DataTree", header: TxnHeader, kind: int, record: CreateTtlTxn) -> Applied:
    return _made(tree, header, kind, record, ttl_owner(record.ttl))


def _made(
    tree: "DataTree", header: TxnHeader, kind: int, record: CreateTxn | CreateContainerTxn | CreateTtlTxn, owner: int
) -> Applied:
    path = record.path
    err = tree.create(path, record.data, record.acl, owner, record.parent_cversion, header.zxid, header.time_ms)
    return Applied(err, kind, path, None if err else tree.nodes[path].record)


def _delete(tree: "DataTree", header: TxnHeader, kind: int, record: DeleteTxn) -> Applied:
    return Applied(tree.delete(record.path, header.zxid), kind, record.path)


def _set_acl(tree: "DataTree", header: TxnHeader, kind: int, record: SetAclTxn) -> Applied:
    del header
    path = record.path
    err = tree.set_acl(path, record.acl, record.version)
    return Applied(err, kind, path, None if err else tree.nodes[path].record)


def _check(tree: "DataTree", header: TxnHeader, kind: int, record: CheckVersionTxn) -> Applied:
    del tree, header
    return Applied(0, kind, record.path)


def _error(tree: "DataTree", header: TxnHeader, kind: int, record: ErrorTxn) -> Applied:
    del tree, header
    return Applied(record.err, kind)


def _create_session(tree: "DataTree", header: TxnHeader, kind: int, record: CreateSessionTxn) -> Applied:
    tree.sessions[header.session] = record.timeout_ms
    return Applied(0, kind)


def _multi(tree: "DataTree", header: TxnHeader, kind: int, record: MultiTxn) -> Applied:
    """Each part by itself, or none if one is an error: then the parts before it answer 0, those behind it −2."""
    del kind
    parts = record.txns or []
    if not any(part.type == Op.ERROR for part in parts):
        return Applied(
            0,
            Op.MULTI,
            parts=[_apply(tree, header, p.type, decode_record(p.type, p.data or b"")[0]) for p in parts],
        )
    results = []
    err = Code.OK
    for part in parts:
        if part.type == Op.ERROR:
            own = ErrorTxn.decode(part.data or b"").err
            results.append(Applied(own, Op.ERROR))
            err = Code.RUNTIMEINCONSISTENCY
        else:
            results.append(Applied(err, Op.ERROR))
    return Applied(0, Op.MULTI, parts=results)


def _close_session(tree: "DataTree", header: TxnHeader, kind: int, record: CloseSessionTxn) -> Applied:
    session = header.session
    tree.sessions.pop(session, None)
    for path in record.paths or ():
        tree.delete(path, header.zxid)
    # Logs before 3.6 list no paths, and replay over a fuzzy snapshot may meet an ephemeral that was made too late.
    for path in sorted(tree.ephemerals.get(session, ())):
        tree.delete(path, header.zxid)
    return Applied(0, kind)


_BY_RECORD: Final[dict[type[Record], Callable[["DataTree", TxnHeader, int, Any], Applied]]] = {
    SetDataTxn: _set_data,
    CreateTxn: _create,
    CreateContainerTxn: _create_container,
    CreateTtlTxn: _create_ttl,
    DeleteTxn: _delete,
    SetAclTxn: _set_acl,
    CheckVersionTxn: _check,
    MultiTxn: _multi,
    CreateSessionTxn: _create_session,
    CloseSessionTxn: _close_session,
    ErrorTxn: _error,
}
