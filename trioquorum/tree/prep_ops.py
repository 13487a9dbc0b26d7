"""The checks of each write on nodes, in ZooKeeper's order (client-protocol §8.2): the first that fails is the error.

Each function takes the request, its decoded body and the pending changes, records what the write will change, and
returns the transaction's record.
"""

from typing import TYPE_CHECKING, Final

from trioquorum.errors import Code, RequestFailed
from trioquorum.tree.acl import OPEN_ACL, check_acl, fixup_acl
from trioquorum.tree.owners import ttl_owner
from trioquorum.tree.paths import SPECIAL, parent_of, roughly_valid, sequence_suffix, validate_path
from trioquorum.tree.pending import Change, PendingChanges
from trioquorum.tree.quotas import excesses
from trioquorum.tree.sessions import LOCAL_SESSION
from trioquorum.wire.ops import CONTAINER_OWNER, TTL_MS_MAX, CreateFlag, Op, Perm
from trioquorum.wire.records import (
    OPEN_ACL_LIST,
    CreateRequest,
    CreateTtlRequest,
    PathVersionRequest,
    SetAclRequest,
    SetDataRequest,
)
from trioquorum.wire.txn import (
    CheckVersionTxn,
    CreateContainerTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    SetAclTxn,
    SetDataTxn,
)

if TYPE_CHECKING:
    from trioquorum.tree.prep import Prep, WriteRequest

INT_MAX = 2**31 - 1
INT_MIN = -(2**31)

_FLAGS = frozenset(CreateFlag)
_TTL_FLAGS = frozenset({CreateFlag.PERSISTENT_WITH_TTL, CreateFlag.PERSISTENT_SEQUENTIAL_WITH_TTL})
_EPHEMERAL_FLAGS = frozenset({CreateFlag.EPHEMERAL, CreateFlag.EPHEMERAL_SEQUENTIAL})
_SEQUENTIAL_FLAGS = frozenset(
    {
        CreateFlag.PERSISTENT_SEQUENTIAL,
        CreateFlag.EPHEMERAL_SEQUENTIAL,
        CreateFlag.PERSISTENT_SEQUENTIAL_WITH_TTL,
    }
)
_PLAIN_FLAGS = _FLAGS - _TTL_FLAGS - {CreateFlag.CONTAINER}
_NO_TTL = -1

# A member of an enumeration takes three times as long to find as a constant.
_CREATE: Final = int(Op.CREATE)
_CREATE2: Final = int(Op.CREATE2)


def known_path(path: str | None) -> str:
    """A path that every write may look up: there, with a ``/`` and without NUL.

    Raises:
        RequestFailed: MARSHALLINGERROR for null, BADARGUMENTS otherwise.
    """
    if path is None:
        raise RequestFailed(Code.MARSHALLINGERROR)
    if not roughly_valid(path):
        raise RequestFailed(Code.BADARGUMENTS)
    return path


def next_version(current: int, expected: int) -> int:
    """The version behind ``current``: a Java int that leaves out −1, because −1 means "any" to clients.

    Raises:
        RequestFailed: BADVERSION, if another version was expected.
    """
    if expected not in (-1, current):
        raise RequestFailed(Code.BADVERSION)
    if current == INT_MAX:
        return INT_MIN
    return 0 if current == -2 else current + 1


def check_create_mode(op: int, flags: int, ttl_ms: int, *, extended_types: bool) -> None:
    """Flags and TTL of a create, checked before anything else.

    Opcode and flags must agree (trap 16): ZooKeeper lets createTTL with plain flags through and then cannot apply it.
    But create and create2 with the flags of a container make a plain node, as there: aiozk asks so for every parent.

    Raises:
        RequestFailed: BADARGUMENTS or UNIMPLEMENTED.
    """
    if flags not in _FLAGS:
        raise RequestFailed(Code.BADARGUMENTS)
    if flags in _TTL_FLAGS:
        if not extended_types:
            raise RequestFailed(Code.UNIMPLEMENTED)
        if op != Op.CREATE_TTL or not 0 < ttl_ms <= TTL_MS_MAX:
            raise RequestFailed(Code.BADARGUMENTS)
    elif op == Op.CREATE_TTL or (op == Op.CREATE_CONTAINER and flags != CreateFlag.CONTAINER):
        raise RequestFailed(Code.BADARGUMENTS)


def check_quota(prep: "Prep", path: str, nodes: int, size: int) -> None:
    """Whether so many nodes and bytes more are too many at ``path``; the operator hears of it in any case.

    Raises:
        RequestFailed: QUOTAEXCEEDED, if a hard limit is to be kept.
    """
    for excess in excesses(prep.tree, path, nodes, size):
        refused = excess.hard and prep.options.enforces_quotas
        prep.on_excess(excess, refused=refused)
        if refused:
            raise RequestFailed(Code.QUOTAEXCEEDED)


def create(
    prep: "Prep", request: "WriteRequest", op: int, body: CreateRequest | CreateTtlRequest
) -> CreateTxn | CreateContainerTxn | CreateTtlTxn:
    """create, create2, createContainer and createTTL."""
    flags, data = body.flags, body.data
    ttl_ms = body.ttl if type(body) is CreateTtlRequest else _NO_TTL
    if (flags and flags not in _PLAIN_FLAGS) or op not in (_CREATE, _CREATE2):
        check_create_mode(op, flags, ttl_ms, extended_types=prep.options.extended_types)
    prep.sessions.check(request.session, request.owner)
    ephemeral = flags != 0 and flags in _EPHEMERAL_FLAGS
    if ephemeral and request.owner is LOCAL_SESSION:
        raise RequestFailed(Code.EPHEMERALONLOCALSESSION)
    path = known_path(body.path)
    parent_path = parent_of(path)
    acl = body.acl
    if acl is not OPEN_ACL_LIST:
        acl = fixup_acl(acl, request.auth, prep.options.acl_rules)
    pending = prep.pending
    parent = pending.get(parent_path)
    check_acl(parent.acl, Perm.CREATE, request.auth)
    if flags and flags in _SEQUENTIAL_FLAGS:
        path += sequence_suffix(parent.cversion)
    if not validate_path(path):
        raise RequestFailed(Code.BADARGUMENTS)
    if pending.look(path) is not None:
        raise RequestFailed(Code.NODEEXISTS)
    if parent.owner and prep.tree.owners.session_of(parent.owner):
        raise RequestFailed(Code.NOCHILDRENFOREPHEMERALS)
    data_bytes = len(data) if data else 0
    if prep.tree.quotas:
        check_quota(prep, path, 1, data_bytes)
    cversion = parent.cversion + 1 if parent.cversion != INT_MAX else INT_MIN
    record: CreateTxn | CreateContainerTxn | CreateTtlTxn
    if op in (_CREATE, _CREATE2):
        owner = request.session if ephemeral else 0
        record = CreateTxn(path, data, acl, ephemeral, cversion)
    elif op == Op.CREATE_CONTAINER:
        owner = CONTAINER_OWNER
        record = CreateContainerTxn(path, data, acl, cversion)
    else:
        owner = ttl_owner(ttl_ms)
        record = CreateTtlTxn(path, data, acl, cversion, ttl_ms)
    pending.put(parent_path, _with_children(parent, 1, max(cversion, parent.cversion)))
    stored_acl = OPEN_ACL if acl is OPEN_ACL_LIST else tuple(acl)
    pending.put(path, Change(0, 0, 0, 0, stored_acl, owner, data_bytes))
    return record


def delete(prep: "Prep", request: "WriteRequest", op: int, body: PathVersionRequest) -> DeleteTxn:
    """delete. The permission is the parent's."""
    del op
    prep.sessions.check(request.session, request.owner)
    path = known_path(body.path)
    if path in SPECIAL:
        raise RequestFailed(Code.BADARGUMENTS)
    parent = prep.pending.get(parent_of(path))
    check_acl(parent.acl, Perm.DELETE, request.auth)
    node = prep.pending.get(path)
    next_version(node.version, body.version)
    if node.children:
        raise RequestFailed(Code.NOTEMPTY)
    remove(prep.pending, path, node)
    return DeleteTxn(path)


def delete_container(prep: "Prep", asked: str | None) -> DeleteTxn:
    """deleteContainer, which only the leader's own clean-up may ask for; it does so again if anything is in its way."""
    path = known_path(asked)
    if path in SPECIAL:
        raise RequestFailed(Code.BADARGUMENTS)
    node = prep.pending.get(path)
    if node.children:
        raise RequestFailed(Code.NOTEMPTY)
    if prep.pending.proposed(path) or not (node.owner == CONTAINER_OWNER or prep.tree.owners.is_ttl(node.owner)):
        raise RequestFailed(Code.BADVERSION)
    remove(prep.pending, path, node)
    return DeleteTxn(path)


def set_data(prep: "Prep", request: "WriteRequest", op: int, body: SetDataRequest) -> SetDataTxn:
    """setData."""
    del op
    prep.sessions.check(request.session, request.owner)
    path, node = _valid_node(prep.pending, body.path)
    check_acl(node.acl, Perm.WRITE, request.auth)
    data_bytes = len(body.data) if body.data else 0
    if prep.tree.quotas:
        check_quota(prep, path, 0, data_bytes - node.data_bytes)
    version = next_version(node.version, body.version)
    change = Change(version, node.aversion, node.cversion, node.children, node.acl, node.owner, data_bytes)
    prep.pending.put(path, change)
    return SetDataTxn(path, body.data, version)


def set_acl(prep: "Prep", request: "WriteRequest", op: int, body: SetAclRequest) -> SetAclTxn:
    """setACL."""
    del op
    prep.sessions.check(request.session, request.owner)
    path = _full_path(body.path)
    acl = fixup_acl(body.acl, request.auth, prep.options.acl_rules)
    node = prep.pending.get(path)
    check_acl(node.acl, Perm.ADMIN, request.auth)
    aversion = next_version(node.aversion, body.version)
    change = Change(node.version, aversion, node.cversion, node.children, tuple(acl), node.owner, node.data_bytes)
    prep.pending.put(path, change)
    return SetAclTxn(path, acl, aversion)


def check(prep: "Prep", request: "WriteRequest", op: int, body: PathVersionRequest) -> CheckVersionTxn:
    """check, inside a multi."""
    del op
    prep.sessions.check(request.session, request.owner)
    path, node = _valid_node(prep.pending, body.path)
    check_acl(node.acl, Perm.READ, request.auth)
    return CheckVersionTxn(path, next_version(node.version, body.version))


def remove(pending: PendingChanges, path: str, node: Change) -> None:
    """This node goes, and its parent has a child less."""
    parent_path = parent_of(path)
    parent = pending.get(parent_path)
    pending.put(parent_path, _with_children(parent, -1, parent.cversion))
    pending.put(path, Change(0, 0, 0, 0, (), node.owner, 0, exists=False))


def _with_children(node: Change, more: int, cversion: int) -> Change:
    return Change(node.version, node.aversion, cversion, node.children + more, node.acl, node.owner, node.data_bytes)


def _valid_node(pending: PendingChanges, path: str | None) -> tuple[str, Change]:
    """Path and node; a path that has a node is valid, so the rules are only looked up to choose the error."""
    node = None if path is None else pending.look(path)
    if path is None or node is None:
        _full_path(path)
        raise RequestFailed(Code.NONODE)
    return path, node


def _full_path(path: str | None) -> str:
    if path is None or not validate_path(path):
        raise RequestFailed(Code.BADARGUMENTS)
    return path
