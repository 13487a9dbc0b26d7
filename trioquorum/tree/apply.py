"""A committed transaction meets the tree (disk-format §3, client-protocol §8.3)."""

from typing import TYPE_CHECKING

import msgspec

from trioquorum.errors import Code, PeerProtocolError
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
    """What a transaction did, enough for a reply: code, type, path and stat (68 bytes), or the parts of a multi.

    ``data`` is the new configuration's text.
    """

    err: int
    type: int
    path: str | None = None
    stat: bytes | None = None
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
    match record:
        case SetDataTxn(path, data, version):
            err = tree.set_data(path, data, version, header.zxid, header.time_ms)
            if kind == Op.RECONFIG and not err:
                return Applied(0, kind, path, tree.nodes[path].stat, data=data)
        case CreateTxn(path, data, acl, ephemeral, parent_cversion):
            owner = header.session if ephemeral else 0
            err = tree.create(path, data, acl, owner, parent_cversion, header.zxid, header.time_ms)
        case DeleteTxn(path):
            return Applied(tree.delete(path, header.zxid), kind, path)
        case CreateContainerTxn(path, data, acl, parent_cversion):
            err = tree.create(path, data, acl, CONTAINER_OWNER, parent_cversion, header.zxid, header.time_ms)
        case CreateTtlTxn(path, data, acl, parent_cversion, ttl_ms):
            err = tree.create(path, data, acl, ttl_owner(ttl_ms), parent_cversion, header.zxid, header.time_ms)
        case SetAclTxn(path, acl, version):
            err = tree.set_acl(path, acl, version)
        case CheckVersionTxn(path, _):
            return Applied(0, kind, path)
        case ErrorTxn(err):
            return Applied(err, kind)
        case MultiTxn():
            return _apply_multi(tree, header, record)
        case CreateSessionTxn(timeout_ms):
            tree.sessions[header.session] = timeout_ms
            return Applied(0, kind)
        case CloseSessionTxn(paths):
            _close_session(tree, header, paths)
            return Applied(0, kind)
        case _:
            raise PeerProtocolError(f"no transaction is a {type(record).__name__}")
    return Applied(err, kind, path, None if err else tree.nodes[path].stat)


def _apply_multi(tree: "DataTree", header: TxnHeader, record: MultiTxn) -> Applied:
    """Each part by itself, or none if one is an error: then the parts before it answer 0, those behind it −2."""
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


def _close_session(tree: "DataTree", header: TxnHeader, paths: list[str] | None) -> None:
    session = header.session
    tree.sessions.pop(session, None)
    for path in paths or ():
        tree.delete(path, header.zxid)
    # Logs before 3.6 list no paths, and replay over a fuzzy snapshot may meet an ephemeral that was made too late.
    for path in sorted(tree.ephemerals.get(session, ())):
        tree.delete(path, header.zxid)
