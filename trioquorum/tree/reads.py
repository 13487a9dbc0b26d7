"""Answers from this peer's tree (client-protocol §8.2, §11): each function returns the reply's body.

Every function that takes a path raises ``RequestFailed``: MARSHALLINGERROR for a null path, NONODE, NOAUTH, or what
its docstring names. A watch is registered here, in the same step as the read, so that no change falls in between.
"""

from collections.abc import Sequence

from librt.strings import BytesWriter, write_i32_be

from trioquorum.errors import Code, RequestFailed
from trioquorum.tree.acl import OPEN_ACL_ID, Identity, allowed, check_acl, redacted
from trioquorum.tree.node import Node, mzxid_of, pzxid_of
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.paths import ROOT
from trioquorum.tree.watches import KINDS, Watcher
from trioquorum.wire.client import MultiResult, encode_multi_response
from trioquorum.wire.fields import encode_buffer, write_text
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import EventType, Op, Perm
from trioquorum.wire.records import (
    Acl,
    AclResponse,
    ChildrenResponse,
    IntResponse,
    PathWatchRequest,
    SetWatches,
    SetWatches2,
    Stat,
)

Auth = Sequence[Identity]

PERSISTENT = 0
PERSISTENT_RECURSIVE = 1
NO_ZXID = -1
"""What an event carries that no transaction caused, and the answer to an opcode that nobody knows."""

MULTI_READ_BYTES_MAX = 8 << 20
_BLANKS = "".join(map(chr, range(0x21)))
"""What Java's ``trim`` takes for blank."""


def _node(tree: DataTree, path: str | None, auth: Auth, perm: int = Perm.READ) -> Node:
    if path is None:
        raise RequestFailed(Code.MARSHALLINGERROR)
    node = tree.nodes.get(path)
    if node is None:
        if path:
            raise RequestFailed(Code.NONODE)
        node = tree.nodes[ROOT]  # ZooKeeper knows its root by this name too
    if node.acl != OPEN_ACL_ID:
        check_acl(tree.acls.get(node.acl), perm, auth)
    return node


def exists(tree: DataTree, path: str | None, auth: Auth, watcher: Watcher | None = None) -> bytes:
    """A node's stat. The watch is registered for an absent node too; NUL in the path is BADARGUMENTS."""
    if path is not None and "\0" in path:
        raise RequestFailed(Code.BADARGUMENTS)
    if watcher is not None and path and path not in tree.nodes:
        tree.watches.add_data(path, watcher)
    node = _node(tree, path, auth)
    if watcher is not None and path is not None:
        tree.watches.add_data(path, watcher)
    return node.stat


def get_data(tree: DataTree, path: str | None, auth: Auth, watcher: Watcher | None = None) -> bytes:
    """Data and stat."""
    node = _node(tree, path, auth)
    if watcher is not None and path is not None:
        tree.watches.add_data(path, watcher)
    record = node.record
    return record if isinstance(record, bytes) else encode_buffer(record.data) + record.stat


def get_children(tree: DataTree, path: str | None, auth: Auth, watcher: Watcher | None = None) -> bytes:
    """Names of the children."""
    node = _node(tree, path, auth)
    if watcher is not None and path is not None:
        tree.watches.add_child(path, watcher)
    out = BytesWriter()
    children = node.children
    write_i32_be(out, len(children) if children is not None else 0)
    if children is not None:
        start = len(path) + 1 if path is not None and path != ROOT else 1
        for child in children:
            write_text(out, child[start:])
    return out.getvalue()


def get_children2(tree: DataTree, path: str | None, auth: Auth, watcher: Watcher | None = None) -> bytes:
    """Names of the children, and the node's stat."""
    children = get_children(tree, path, auth, watcher)
    return children + _node(tree, path, auth).stat


def multi_read(tree: DataTree, parts: Sequence[tuple[int, Record]], auth: Auth) -> bytes:
    """Answers of a multiRead, each with its own code; watch flags are ignored (§7).

    Raises:
        RequestFailed: MARSHALLINGERROR, if all would be larger than ``MULTI_READ_BYTES_MAX``: a small request can ask
            for one large znode thousands of times.
    """
    results = []
    size = 0
    for op, part in parts:
        assert isinstance(part, PathWatchRequest)
        try:
            body = get_data(tree, part.path, auth) if op == Op.GET_DATA else get_children(tree, part.path, auth)
        except RequestFailed as failure:
            results.append(MultiResult(Op.ERROR, failure.code, IntResponse(failure.code).encode()))
        else:
            size += len(body)
            if size > MULTI_READ_BYTES_MAX:
                raise RequestFailed(Code.MARSHALLINGERROR)
            results.append(MultiResult(op, Code.OK, body))
    return encode_multi_response(results)


def get_acl(tree: DataTree, path: str | None, auth: Auth) -> bytes:
    """ACL and stat, for who has READ or ADMIN; password hashes are shown to ADMIN only."""
    node = _node(tree, path, auth, Perm.READ | Perm.ADMIN)
    acl = tree.acls.get(node.acl)
    shown: list[Acl] = list(acl) if allowed(acl, Perm.ADMIN, auth) else redacted(acl)
    return AclResponse(shown, Stat.decode(node.stat)).encode()


def get_all_children_number(tree: DataTree, path: str | None, auth: Auth) -> bytes:
    """How many nodes there are below this one; below the root's other name, "", there is the root as well."""
    node = _node(tree, path, auth)
    if path in ("", ROOT):
        return IntResponse(len(tree.nodes) - (path == ROOT)).encode()
    count = 0
    below = [(path, node)]
    while below:
        path, node = below.pop()
        for child in node.children or ():
            count += 1
            below.append((child, tree.nodes[child]))
    return IntResponse(count).encode()


def get_ephemerals(tree: DataTree, session: int, prefix: str | None) -> bytes:
    """Paths of this session's ephemerals that start with ``prefix``, sorted; null, blank and ``/`` mean all."""
    paths = sorted(tree.ephemerals.get(session, ()))
    if prefix is not None and prefix.strip(_BLANKS) not in ("", ROOT):
        paths = [path for path in paths if path.startswith(prefix)]
    return ChildrenResponse(paths).encode()


def add_watch(tree: DataTree, path: str | None, mode: int, watcher: Watcher) -> bytes:
    """Watch persistently; neither existence nor permission is checked. MARSHALLINGERROR for another mode."""
    if path is None or mode not in (PERSISTENT, PERSISTENT_RECURSIVE):
        raise RequestFailed(Code.MARSHALLINGERROR)
    tree.watches.add_persistent(path, watcher, recursive=mode == PERSISTENT_RECURSIVE)
    return IntResponse(Code.OK).encode()


def check_watches(tree: DataTree, path: str | None, kind: int, watcher: Watcher) -> bytes:
    """Whether the connection has such a watch: NOWATCHER if not, MARSHALLINGERROR for an unknown kind."""
    if path is None or kind not in KINDS:
        raise RequestFailed(Code.MARSHALLINGERROR)
    if not tree.watches.holds(path, watcher, kind):
        raise RequestFailed(Code.NOWATCHER)
    return b""


def remove_watches(tree: DataTree, path: str | None, kind: int, watcher: Watcher) -> bytes:
    """Give up such watches: NOWATCHER if there were none, MARSHALLINGERROR for an unknown kind."""
    if path is None or kind not in KINDS:
        raise RequestFailed(Code.MARSHALLINGERROR)
    if not tree.watches.remove(path, watcher, kind):
        raise RequestFailed(Code.NOWATCHER)
    return b""


def set_watches(tree: DataTree, asked: SetWatches | SetWatches2, watcher: Watcher) -> bytes:
    """Register a client's watches again after it reconnected; what it missed since its last zxid is told at once.

    Permissions are not checked, and persistent watches miss what happened (§11). A list that is null ends it with
    MARSHALLINGERROR; what the lists before it asked for is done.
    """
    watches = tree.watches
    for path in _listed(asked.data):
        node = tree.nodes.get(path or ROOT)
        if node is None:
            watcher.notify(EventType.NODE_DELETED, path, NO_ZXID)
        elif mzxid_of(node) > asked.relative_zxid:
            watcher.notify(EventType.NODE_DATA_CHANGED, path, NO_ZXID)
        else:
            watches.add_data(path, watcher)
    for path in _listed(asked.exist):
        if (path or ROOT) in tree.nodes:
            watcher.notify(EventType.NODE_CREATED, path, NO_ZXID)
        else:
            watches.add_data(path, watcher)
    for path in _listed(asked.child):
        node = tree.nodes.get(path or ROOT)
        if node is None:
            watcher.notify(EventType.NODE_DELETED, path, NO_ZXID)
        elif pzxid_of(node) > asked.relative_zxid:
            watcher.notify(EventType.NODE_CHILDREN_CHANGED, path, NO_ZXID)
        else:
            watches.add_child(path, watcher)
    if isinstance(asked, SetWatches2):
        for path in _listed(asked.persistent):
            watches.add_persistent(path, watcher, recursive=False)
        for path in _listed(asked.recursive):
            watches.add_persistent(path, watcher, recursive=True)
    return b""


def _listed(paths: list[str] | None) -> list[str]:
    if paths is None:
        raise RequestFailed(Code.MARSHALLINGERROR)
    return paths
