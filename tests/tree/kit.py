"""A server without sockets: requests go through prep, bytes, apply and reads in one step."""

import base64
import hashlib
from collections.abc import Sequence

from trioquorum.errors import Code, PeerProtocolError, RequestFailed
from trioquorum.pipeline.replies import reply_body
from trioquorum.tree import reads
from trioquorum.tree.acl import Identity, digest_id
from trioquorum.tree.apply import Applied
from trioquorum.tree.node import Node, persisted_stat
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.prep import Prep, PrepOptions, WriteRequest
from trioquorum.tree.sessions import SessionTracker
from trioquorum.wire.client import REQUEST_HEADER, decode_multi_read, event_frame, reply
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import Op, Xid
from trioquorum.wire.records import (
    Acl,
    AuthRequest,
    CreateRequest,
    CreateTtlRequest,
    IntResponse,
    MultiHeader,
    PathRequest,
    PathTypeRequest,
    PathVersionRequest,
    PathWatchRequest,
    SetAclRequest,
    SetDataRequest,
    SetWatches,
    SetWatches2,
    Stat,
)
from trioquorum.wire.txn import ErrorTxn, MultiTxn, Txn, decode_txn

TIME_MS = 1_700_000_000_000
OPEN = [Acl(31, "world", "anyone")]
SUPER_DIGEST = "super:" + base64.b64encode(hashlib.sha1(b"super:secret").digest()).decode()

WRITES = {
    Op.CREATE,
    Op.CREATE2,
    Op.CREATE_CONTAINER,
    Op.CREATE_TTL,
    Op.DELETE,
    Op.DELETE_CONTAINER,
    Op.SET_DATA,
    Op.SET_ACL,
    Op.MULTI,
    Op.RECONFIG,
    Op.CLOSE_SESSION,
}


class Connection:
    """One client; ``out`` collects frames without their length."""

    def __init__(self, session: int = 0, auth: Sequence[Identity] = (("ip", "127.0.0.1"),)) -> None:
        self.session = session
        self.auth = list(auth)
        self.out: list[bytes] = []
        self.events: list[tuple[int, str, int]] = []

    def notify(self, event_type: int, path: str, zxid: int) -> None:
        self.events.append((event_type, path, zxid))
        # 3.8, whose answers were recorded, put no zxid into events.
        self.out.append(event_frame(event_type, path, -1)[4:])


class Server:
    """A standalone server; every write is applied at once unless it was only prepared."""

    def __init__(self, *, extended_types: bool = True) -> None:
        self.tree = DataTree()
        self.tracker = SessionTracker(2000)
        self.prep = Prep(self.tree, self.tracker, PrepOptions(extended_types=extended_types))
        self.zxid = 0
        self.now_ms = TIME_MS

    def connect(self, session: int, auth: Sequence[Identity] = (("ip", "127.0.0.1"),)) -> Connection:
        self.tracker.add(session, 10_000, 0)
        self.tracker.set_owner(session, 1)
        self.write(Connection(session), Op.CREATE_SESSION, IntResponse(10_000))
        return Connection(session, auth)

    def prepare(self, client: Connection, op: int, body: Record | bytes = b"", cxid: int = 1, owner: object = 1) -> Txn:
        self.zxid += 1
        raw = body if isinstance(body, bytes) else body.encode()
        return self.prep.prepare(
            WriteRequest(client.session, cxid, op, raw, client.auth, owner), self.zxid, self.now_ms
        )

    def commit(self, txn: Txn) -> Applied:
        applied = self.tree.apply(decode_txn(txn.encode()))
        self.prep.applied(txn.header.zxid)
        return applied

    def write(
        self, client: Connection, op: int, body: Record | bytes = b"", cxid: int = 1, owner: object = 1
    ) -> Applied:
        return self.commit(self.prepare(client, op, body, cxid, owner))

    def request(self, client: Connection, payload: bytes) -> None:
        """One frame of a client; the answer goes to its ``out``."""
        xid, op = REQUEST_HEADER.unpack_from(payload)
        body = payload[8:]
        if op in WRITES:
            err, answer = reply_body(op, self.write(client, op, body, xid))
        elif op == Op.AUTH:
            authenticate(client, AuthRequest.decode(body))
            client.out.append(reply(xid, 0, 0)[4:])
            return
        else:
            try:
                err, answer = 0, self._read(client, op, body)
            except RequestFailed as failure:
                err, answer = failure.code, b""
            except PeerProtocolError:
                err, answer = Code.MARSHALLINGERROR, b""
        if op == Op.PING:
            xid = Xid.PING
        client.out.append(reply(xid, self.tree.last_zxid, err, answer)[4:])

    def _read(self, client: Connection, op: int, body: bytes) -> bytes:
        tree, auth = self.tree, client.auth
        match op:
            case Op.EXISTS | Op.GET_DATA | Op.GET_CHILDREN | Op.GET_CHILDREN2:
                asked = PathWatchRequest.decode(body)
                read = {
                    Op.EXISTS: reads.exists,
                    Op.GET_DATA: reads.get_data,
                    Op.GET_CHILDREN: reads.get_children,
                    Op.GET_CHILDREN2: reads.get_children2,
                }[Op(op)]
                return read(tree, asked.path, auth, client if asked.watch else None)
            case Op.GET_ACL:
                return reads.get_acl(tree, PathRequest.decode(body).path, auth)
            case Op.GET_ALL_CHILDREN_NUMBER:
                return reads.get_all_children_number(tree, PathRequest.decode(body).path, auth)
            case Op.GET_EPHEMERALS:
                return reads.get_ephemerals(tree, client.session, PathRequest.decode(body).path)
            case Op.SET_WATCHES:
                return reads.set_watches(tree, SetWatches.decode(body), client)
            case Op.SET_WATCHES2:
                return reads.set_watches(tree, SetWatches2.decode(body), client)
            case Op.ADD_WATCH | Op.CHECK_WATCHES | Op.REMOVE_WATCHES:
                watch = PathTypeRequest.decode(body)
                do = {
                    Op.ADD_WATCH: reads.add_watch,
                    Op.CHECK_WATCHES: reads.check_watches,
                    Op.REMOVE_WATCHES: reads.remove_watches,
                }[Op(op)]
                return do(tree, watch.path, watch.type, client)
            case Op.MULTI_READ:
                return reads.multi_read(tree, decode_multi_read(body), auth)
            case Op.SYNC:
                return body
            case Op.PING:
                return b""
            case _:
                raise AssertionError(op)


def authenticate(client: Connection, asked: AuthRequest) -> None:
    assert asked.scheme == "digest"
    who = digest_id(asked.auth or b"")
    client.auth.append(("digest", who))
    if who == SUPER_DIGEST:
        client.auth.append(("super", ""))


def create(path: str, data: bytes | None = b"", acl: list[Acl] | None = OPEN, flags: int = 0) -> CreateRequest:
    return CreateRequest(path, data, acl, flags)


def create_ttl(path: str, flags: int, ttl_ms: int) -> CreateTtlRequest:
    return CreateTtlRequest(path, b"", OPEN, flags, ttl_ms)


def set_data(path: str, data: bytes = b"", version: int = -1) -> SetDataRequest:
    return SetDataRequest(path, data, version)


def set_acl(path: str, acl: list[Acl] | None, version: int = -1) -> SetAclRequest:
    return SetAclRequest(path, acl, version)


def at(path: str, version: int = -1) -> PathVersionRequest:
    return PathVersionRequest(path, version)


def code_of(txn: Txn) -> int:
    """The error of a transaction, 0 if it is none."""
    return txn.record.err if isinstance(txn.record, ErrorTxn) else 0


def stat_of(tree: DataTree, path: str) -> Stat:
    return Stat.decode(tree.nodes[path].stat)


def contents(tree: DataTree) -> dict[str, tuple[object, ...]]:
    """Everything a client could learn of the nodes; ACL ids, which are local, are replaced by the ACLs."""

    def of(node: Node) -> tuple[object, ...]:
        acl = tuple((a.perms, a.scheme, a.id) for a in tree.acls.get(node.acl))
        return node.data, acl, node.stat, frozenset(node.children or ()), node.cversion, node.owner

    return {path: of(node) for path, node in tree.nodes.items()}


def copy_of(tree: DataTree) -> DataTree:
    """The tree as a snapshot would bring it back."""
    other = DataTree()
    other.clear()
    for acl_id, acl in tree.acls.by_id.items():
        other.restore_acl(acl_id, list(acl))
    for path, node in tree.nodes.items():
        other.restore_node("" if path == "/" else path, node.data, node.acl, persisted_stat(node))
    other.sessions = dict(tree.sessions)
    other.restored()
    other.last_zxid = tree.last_zxid
    return other


OK = 1
"""Stands for a part that is no error; 0 would be an error txn with code 0."""


def multi(*parts: tuple[int, Record]) -> bytes:
    body = b"".join(MultiHeader(op, False, -1).encode() + part.encode() for op, part in parts)
    return body + MultiHeader(-1, True, -1).encode()


def codes(txn_record: Record) -> list[int]:
    assert isinstance(txn_record, MultiTxn)
    return [ErrorTxn.decode(part.data or b"").err if part.type == Op.ERROR else OK for part in txn_record.txns or []]
