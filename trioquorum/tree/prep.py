"""From a client's write to a transaction (client-protocol §8).

Every check runs here, on the leader, in request order, against the tree and everything proposed but not yet applied.
A write that fails is a transaction too: it keeps its place in the order and changes nothing.
"""

from collections.abc import Callable, Sequence
from struct import error as struct_error
from typing import Any, Final, Protocol

import msgspec

from trioquorum.errors import Code, MemberIdTooLarge, PeerProtocolError, RequestFailed
from trioquorum.tree import prep_ops
from trioquorum.tree.acl import DEFAULT_RULES, AclRules, Identity, check_acl
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.paths import CONFIG
from trioquorum.tree.pending import Change, PendingChanges
from trioquorum.tree.quotas import Excess
from trioquorum.wire.client import decode_create, decode_multi, decode_set_data
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import CreateFlag, Op, Perm
from trioquorum.wire.records import (
    CreateRequest,
    CreateTtlRequest,
    IntResponse,
    PathRequest,
    PathVersionRequest,
    ReconfigRequest,
    SetAclRequest,
)
from trioquorum.wire.txn import (
    CloseSessionTxn,
    CreateSessionTxn,
    ErrorTxn,
    MultiTxn,
    SetDataTxn,
    SubTxn,
    Txn,
    TxnHeader,
)

LOCAL_OWNER: Final[object] = "this peer"
"""The owner of requests that the leader makes by itself: expiry and clean-up."""


class WriteRequest(msgspec.Struct, gc=False):
    """A write on its way to the leader's checks.

    ``auth`` is who the client had proven to be when it sent the request; ``owner`` is the peer that holds its
    session, compared by ``==`` only.
    """

    session: int
    cxid: int
    op: int
    body: bytes
    auth: Sequence[Identity]
    owner: object


class PrepOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a leader allows."""

    extended_types: bool = False
    enforces_quotas: bool = False
    acl_rules: AclRules = DEFAULT_RULES
    txn_bytes_max: int = 4 << 20
    """What one multi or closeSession may come to; single writes are bounded by their request."""


class SessionChecks(Protocol):
    """What the checks need of the session tracker."""

    def check(self, session: int, owner: object) -> None:
        """Raise RequestFailed unless the session lives and belongs to ``owner``."""

    def set_closing(self, session: int) -> None:
        """Refuse every later request of the session."""


class MembershipView(Protocol):
    """What the checks need of the ensemble."""

    def next_config(self, request: ReconfigRequest, zxid: int) -> bytes:
        """The text of the configuration that ``request`` asks for, with this version, or RequestFailed."""


class ExcessSink(Protocol):
    """Told of a write that exceeds a quota."""

    def __call__(self, excess: Excess, *, refused: bool) -> None:
        """``refused``: because of that it fails."""


def _unheard(excess: Excess, *, refused: bool) -> None:
    """Nobody hears."""


class Prep:
    """Turns requests into transactions, one at a time, and remembers what they will change."""

    __slots__ = ("members", "on_excess", "options", "pending", "sessions", "tree", "unlisted", "zxid")

    def __init__(
        self,
        tree: DataTree,
        sessions: SessionChecks,
        options: PrepOptions,
        members: MembershipView | None = None,
        on_excess: ExcessSink = _unheard,
    ) -> None:
        """Without ``members`` nothing is reconfigured here; ``on_excess`` hears of quotas that are exceeded."""
        self.tree = tree
        self.on_excess = on_excess
        self.sessions = sessions
        self.members = members
        self.zxid = 0
        self.options = options
        self.pending = PendingChanges(tree)
        self.unlisted: list[str] = []
        """The ephemerals that the last closeSession removes without a list of them."""

    def prepare(self, request: WriteRequest, zxid: int, time_ms: int) -> Txn:
        """The transaction of this request; an error transaction if it fails. A client's mistake never raises."""
        kind = request.op
        record: Record
        try:
            known = _NODE_OPS.get(kind)
            if known is not None:
                decode, prepare = known
                record = prepare(self, request, kind, decode(request.body))
            else:
                self.zxid = zxid
                record = _OTHER_OPS.get(kind, _refuse)(self, request)
            self.pending.keep(zxid)
        except RequestFailed as failure:
            self.pending.drop()
            kind, record = Op.ERROR, ErrorTxn(failure.code)
        except (PeerProtocolError, struct_error):
            self.pending.drop()
            kind, record = Op.ERROR, ErrorTxn(Code.MARSHALLINGERROR)
        return Txn(TxnHeader(request.session, request.cxid, zxid, time_ms, kind), record)

    def applied(self, zxid: int) -> None:
        """The tree holds everything up to ``zxid``."""
        self.pending.applied(zxid)

    def clear(self) -> None:
        """Forget everything that is proposed: the role ended."""
        self.pending.clear()


def _multi(prep: Prep, request: WriteRequest) -> MultiTxn:
    """All parts, or an error for each: 0 in front of the part that failed, its code, then RUNTIMEINCONSISTENCY (§7).

    A session that moved fails the request as a whole, because its connection is to be closed.
    """
    parts = [(_kind_of_part(op, body), body) for op, body in decode_multi(request.body)]
    done: list[SubTxn] = []
    size = 0
    for kind, body in parts:
        if size > prep.options.txn_bytes_max:
            # ACLs by identity can make a small request a huge transaction, which no log and no link would take.
            raise RequestFailed(Code.BADARGUMENTS)
        try:
            record = _PARTS[kind](prep, request, kind, body)
        except RequestFailed as failure:
            if failure.code is Code.SESSIONMOVED:
                raise
            prep.pending.drop()
            done.append(SubTxn(Op.ERROR, ErrorTxn(failure.code).encode()))
            later = SubTxn(Op.ERROR, ErrorTxn(Code.RUNTIMEINCONSISTENCY).encode())
            return MultiTxn(done + [later] * (len(parts) - len(done)))
        data = record.encode()
        size += len(data)
        done.append(SubTxn(kind, data))
    return MultiTxn(done)


def _kind_of_part(op: int, body: Record) -> int:
    """The transaction type of a part. Inside a multi the flags alone tell create and createContainer apart.

    Raises:
        RequestFailed: MARSHALLINGERROR, for unknown flags.
    """
    if type(body) is not CreateRequest:
        return op
    if body.flags not in _FLAGS:
        raise RequestFailed(Code.MARSHALLINGERROR)
    return Op.CREATE_CONTAINER if body.flags == CreateFlag.CONTAINER else Op.CREATE


def _create_session(prep: Prep, request: WriteRequest) -> CreateSessionTxn:
    del prep
    return CreateSessionTxn(IntResponse.decode(request.body).value)


def _close_session(prep: Prep, request: WriteRequest) -> CloseSessionTxn:
    """Nothing is checked: this must also succeed for a session that moved or expired."""
    session = request.session
    pending = prep.pending
    paths = pending.ephemerals_of(session)
    for path in paths:
        prep_ops.remove(pending, path, pending.get(path))
    prep.sessions.set_closing(session)
    # It cannot fail, so a list too long for one transaction is left out: applying it finds what the session owns.
    fits = sum(map(len, paths)) <= prep.options.txn_bytes_max
    prep.unlisted = [] if fits else paths
    return CloseSessionTxn(paths if fits else [])


def _delete_container(prep: Prep, request: WriteRequest) -> Record:
    if request.owner != LOCAL_OWNER:
        raise RequestFailed(Code.UNIMPLEMENTED)
    return prep_ops.delete_container(prep, PathRequest.decode(request.body).path)


def _reconfig(prep: Prep, request: WriteRequest) -> Record:
    """A transaction on the config node; who may write there may reconfigure (client-protocol §16)."""
    if prep.members is None:
        raise RequestFailed(Code.RECONFIGDISABLED)
    prep.sessions.check(request.session, request.owner)
    node = prep.pending.get(CONFIG)
    try:
        text = prep.members.next_config(ReconfigRequest.decode(request.body), prep.zxid)
    except MemberIdTooLarge:
        # ZooKeeper has no such bound, so it would ask for the permission next.
        check_acl(node.acl, Perm.WRITE, request.auth)
        raise
    check_acl(node.acl, Perm.WRITE, request.auth)
    prep.pending.put(CONFIG, Change(-1, node.aversion, node.cversion, node.children, node.acl, node.owner, len(text)))
    return SetDataTxn(CONFIG, text, -1)


def _refuse(prep: Prep, request: WriteRequest) -> Record:
    del prep, request
    raise RequestFailed(Code.UNIMPLEMENTED)


_FLAGS = frozenset(CreateFlag)

_NODE_OPS: dict[int, tuple[Callable[[bytes], Record], Callable[[Prep, WriteRequest, int, Any], Record]]] = {
    Op.SET_DATA: (decode_set_data, prep_ops.set_data),
    Op.CREATE: (decode_create, prep_ops.create),
    Op.CREATE2: (decode_create, prep_ops.create),
    Op.CREATE_CONTAINER: (decode_create, prep_ops.create),
    Op.CREATE_TTL: (CreateTtlRequest.decode, prep_ops.create),
    Op.DELETE: (PathVersionRequest.decode, prep_ops.delete),
    Op.SET_ACL: (SetAclRequest.decode, prep_ops.set_acl),
}

_OTHER_OPS: dict[int, Callable[[Prep, WriteRequest], Record]] = {
    Op.MULTI: _multi,
    Op.CREATE_SESSION: _create_session,
    Op.CLOSE_SESSION: _close_session,
    Op.DELETE_CONTAINER: _delete_container,
    Op.RECONFIG: _reconfig,
}

_PARTS: dict[int, Callable[[Prep, WriteRequest, int, Any], Record]] = {
    Op.CREATE: prep_ops.create,
    Op.CREATE_CONTAINER: prep_ops.create,
    Op.CREATE_TTL: prep_ops.create,
    Op.DELETE: prep_ops.delete,
    Op.SET_DATA: prep_ops.set_data,
    Op.CHECK: prep_ops.check,
}
