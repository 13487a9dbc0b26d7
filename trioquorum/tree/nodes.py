"""The tree itself: a flat dict of nodes and the changes a transaction makes to them (client-protocol §8.3).

Built for a million nodes: paths, ACL ids, small ints and empty data are shared, and leaves have no child table.
"""

from collections.abc import Callable, Sequence
from typing import Final

from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be, write_i64_be

from trioquorum.errors import Code, CorruptSnapshot
from trioquorum.tree import quotas
from trioquorum.tree.acl import OPEN_ACL_ID, READ_ACL, AclCache
from trioquorum.tree.apply import Applied, apply_txn
from trioquorum.tree.children import NARROW_MAX, WideChildren
from trioquorum.tree.digest import WRAP, new_digest, node_digest
from trioquorum.tree.node import (
    INLINE_MAX,
    PERSISTED,
    STAT_BYTES,
    Apart,
    Node,
    client_cversion,
    data_length,
    pzxid_of,
    set_tail,
    tail_of,
)
from trioquorum.tree.owners import Owners
from trioquorum.tree.paths import CONFIG, QUOTA, ROOT, SYSTEM, parent_of
from trioquorum.tree.watches import WatchTables
from trioquorum.wire.fields import write_buffer
from trioquorum.wire.ops import CONTAINER_OWNER
from trioquorum.wire.records import Acl
from trioquorum.wire.txn import Txn

_NO_VERSIONS = bytes(12)
_NO_CHILDREN = bytes(4)
_QUOTAS: Final = f"{QUOTA}/"
_SIGN: Final = 1 << 31
_SMALL: Final = 1 << 61
"""Sums below need no wrapping, which would be costly: millions of checksums stay far below."""


class DataTree:
    """All nodes by full path, with every index over them.

    Parents stand in front of their children in ``nodes``. ``last_zxid`` is the last transaction that is applied as a
    whole. ``digest`` follows every change while ``keeps_digest`` is set, and is 0 otherwise. ``owners`` reads what
    ephemeralOwner says, ``quotas`` are the paths that have one. ``data_bytes`` is what all paths and data come to. The
    four ``/zookeeper`` nodes are always there.
    """

    __slots__ = (
        "acls",
        "containers",
        "data_bytes",
        "digest",
        "ephemerals",
        "keeps_digest",
        "last_zxid",
        "nodes",
        "owners",
        "quotas",
        "sessions",
        "ttls",
        "watches",
    )

    def __init__(self, *, keeps_digest: bool = True, emulates_353: bool = False) -> None:
        self.keeps_digest = keeps_digest
        self.owners = Owners(emulates_353=emulates_353)
        self.watches = WatchTables()
        self.clear()
        self.restore_node(ROOT, b"", OPEN_ACL_ID, bytes(PERSISTED.size))
        self.restored()

    def clear(self) -> None:
        """Make room for a snapshot: no node at all, not even the root. Watches stay."""
        self.nodes: dict[str, Node] = {}
        self.acls = AclCache()
        self.ephemerals: dict[int, set[str]] = {}
        self.containers: set[str] = set()
        self.ttls: set[str] = set()
        self.quotas: set[str] = set()
        self.sessions: dict[int, int] = {}
        self.last_zxid = 0
        self.digest = 0
        self.data_bytes = 0

    def apply(self, txn: Txn) -> Applied:
        """Apply one committed transaction: change the tree, fire watches, then advance ``last_zxid``."""
        return apply_txn(self, txn)

    # Restoring

    def restore_acl(self, acl_id: int, acl: Sequence[Acl]) -> None:
        """Take over one entry of a snapshot's ACL map; all of them come before the first node."""
        self.acls.restore(acl_id, acl)

    def restore_node(self, path: str, data: bytes | None, acl: int, persisted: bytes) -> None:
        """Take over one node of a snapshot, parents first; ``persisted`` is its 60 bytes. ``""`` is the root.

        Raises:
            CorruptSnapshot: its parent was not in the snapshot.
        """
        path = path or ROOT
        self.acls.restore_use(acl)
        cversion: int = read_i32_be(persisted, 36)
        owner: int = read_i64_be(persisted, 44)
        length = len(data) if data else 0
        apart = data if length > INLINE_MAX else None
        out = BytesWriter()
        if apart is None:
            write_buffer(out, data)
        if cversion or owner:
            out.write(persisted[:36])
            write_i32_be(out, client_cversion(cversion, 0))
            out.write(persisted[40:44])
            write_i64_be(out, self.owners.session_of(owner) if owner else 0)
        else:
            out.write(persisted[:52])
        write_i32_be(out, length)
        out.write(_NO_CHILDREN)
        out.write(persisted[52:])
        tail = out.getvalue()
        if path != ROOT:
            parent = self.nodes.get(parent_of(path))
            if parent is None:
                raise CorruptSnapshot(f"{path} has no parent")
            if path not in self.nodes:
                _add_child(parent, path)
        self.nodes[path] = Node(tail if apart is None else Apart(apart, tail), acl, None, owner, cversion)
        self.data_bytes += len(path) + length
        if owner:
            self._own(path, owner)

    def restored(self) -> None:
        """End of a snapshot: add what old ones lack, finish stats, drop unused ACLs, count quotas, compute the digest.

        Raises:
            CorruptSnapshot: there is no root.
        """
        if ROOT not in self.nodes:
            raise CorruptSnapshot("the snapshot has no root")
        for path in (SYSTEM, QUOTA, CONFIG):
            if path not in self.nodes:
                self.restore_node(path, b"", OPEN_ACL_ID, bytes(PERSISTED.size))
                if path == CONFIG:
                    self.set_acl(path, READ_ACL, -1)
        for node in self.nodes.values():
            if node.children is not None:
                _restat(node, pzxid_of(node))
        self.acls.drop_unused()
        quotas.load(self)
        if self.keeps_digest:
            for path, node in self.nodes.items():
                self._sum(path, node)

    # Changes, one per kind of transaction; each returns a result code

    def create(
        self,
        path: str,
        data: bytes | None,
        acl: Sequence[Acl] | None,
        owner: int,
        parent_cversion: int,
        zxid: int,
        time_ms: int,
    ) -> int:
        """Add a node; its parent takes ``parent_cversion`` (−1: its own + 1) and the zxid if that is larger."""
        parent_path = parent_of(path)
        parent = self.nodes.get(parent_path)
        if parent is None:
            return Code.NONODE
        # The ACL is in the map before the node is in the tree: a snapshot writes them in this order.
        acl_id = self.acls.acquire(acl)
        shown_owner = self.owners.session_of(owner) if owner else 0
        length = len(data) if data else 0
        apart = data if length > INLINE_MAX else None
        out = BytesWriter()
        if apart is None:
            write_buffer(out, data)
        write_i64_be(out, zxid)
        write_i64_be(out, zxid)
        write_i64_be(out, time_ms)
        write_i64_be(out, time_ms)
        out.write(_NO_VERSIONS)
        write_i64_be(out, shown_owner)
        write_i32_be(out, length)
        out.write(_NO_CHILDREN)
        write_i64_be(out, zxid)
        tail = out.getvalue()
        node = Node(tail if apart is None else Apart(apart, tail), acl_id, None, owner)
        # Looked for once: of very many paths most are far from every cache.
        existing = self.nodes.setdefault(path, node)
        if existing is not node:
            # Replay over a fuzzy snapshot: the node has been there, its ACL and its parent's counters may be older.
            self.acls.release(existing.acl)
            existing.acl = acl_id
            self._adopt(parent_path, parent, parent_cversion, zxid)
            return Code.NODEEXISTS
        self.data_bytes += len(path) + length
        if owner:
            self._own(path, owner)
        _add_child(parent, path)
        self._adopt(parent_path, parent, parent_cversion, zxid)
        if self.keeps_digest:
            self._count(node, new_digest(path, node))
        if self.quotas or path.startswith(_QUOTAS):
            quotas.created(self, path, length)
        watches = self.watches
        if watches.data.by_path or watches.child.by_path:
            watches.created(path, parent_path, zxid, self.acls.get(acl_id), self.acls.get(parent.acl))
        return 0

    def delete(self, path: str, zxid: int) -> int:
        """Remove a node; its parent takes the zxid if that is larger."""
        parent_path = parent_of(path)
        parent = self.nodes.get(parent_path)
        if parent is None or path == ROOT:
            return Code.NONODE
        node = self.nodes.get(path)
        if node is not None:
            if node.children is not None:
                # Replay over a fuzzy snapshot: the children were made later and will be made again.
                for child in tuple(node.children):
                    self._drop_subtree(child)
            self._drop(path, node)
            children = parent.children
            if children is not None:
                children.pop(path, None)
                if not children:
                    parent.children = None
        _restat(parent, max(zxid, pzxid_of(parent)))
        if self.keeps_digest:
            self._sum(parent_path, parent)
        if node is None:
            return Code.NONODE
        watches = self.watches
        if watches.data.by_path or watches.child.by_path:
            watches.deleted(path, parent_path, zxid, self.acls.get(node.acl), self.acls.get(parent.acl))
        self.acls.release(node.acl)
        return 0

    def set_data(self, path: str, data: bytes | None, version: int, zxid: int, time_ms: int) -> int:
        """Replace a node's data; ``version`` is the new one."""
        node = self.nodes.get(path)
        if node is None:
            return Code.NONODE
        tail = tail_of(node)
        at = len(tail) - STAT_BYTES
        length = len(data) if data else 0
        grown: int = length - read_i32_be(tail, at + 52)
        if grown:
            self.data_bytes += grown
            if self.quotas:
                quotas.resized(self, path, grown)
        apart = data if length > INLINE_MAX else None
        out = BytesWriter()
        if apart is None:
            write_buffer(out, data)
        write_i64_be(out, read_i64_be(tail, at))
        write_i64_be(out, zxid)
        write_i64_be(out, read_i64_be(tail, at + 16))
        write_i64_be(out, time_ms)
        write_i32_be(out, version)
        write_i64_be(out, read_i64_be(tail, at + 36))  # cversion and aversion
        write_i64_be(out, read_i64_be(tail, at + 44))
        write_i32_be(out, length)
        write_i32_be(out, read_i32_be(tail, at + 56))
        write_i64_be(out, read_i64_be(tail, at + 60))
        tail = out.getvalue()
        node.record = tail if apart is None else Apart(apart, tail)
        if self.keeps_digest:
            self._sum(path, node)
        if self.watches.data.by_path:
            self.watches.changed(path, zxid, self.acls.get(node.acl))
        return 0

    def set_acl(self, path: str, acl: Sequence[Acl] | None, version: int) -> int:
        """Replace a node's ACL; ``version`` is the new aversion."""
        node = self.nodes.get(path)
        if node is None:
            return Code.NONODE
        old = node.acl
        node.acl = self.acls.acquire(acl)
        self.acls.release(old)
        tail = tail_of(node)
        set_tail(node, tail[:-28] + version.to_bytes(4, "big", signed=True) + tail[-24:])
        if self.keeps_digest:
            self._sum(path, node)
        return 0

    def set_config(self, text: bytes, zxid: int, time_ms: int) -> None:
        """Write ``/zookeeper/config`` outside any transaction (§16); ``zxid`` is the config's version."""
        self.set_data(CONFIG, text, -1, zxid, time_ms)

    def _sum(self, path: str, node: Node) -> None:
        self._count(node, node_digest(path, node))

    def _count(self, node: Node, digest: int) -> None:
        """``digest`` is the node's part in the tree's from now on."""
        total = self.digest + digest - node.digest
        self.digest = total if 0 <= total < _SMALL else total & WRAP
        node.signed_digest = digest if digest < _SIGN else digest - 2 * _SIGN

    def _own(self, path: str, owner: int) -> None:
        if owner == CONTAINER_OWNER:
            self.containers.add(path)
        elif self.owners.is_ttl(owner):
            self.ttls.add(path)
        else:
            self.ephemerals.setdefault(owner, set()).add(path)

    def _disown(self, path: str, owner: int) -> None:
        if owner == CONTAINER_OWNER:
            self.containers.discard(path)
        elif self.owners.is_ttl(owner):
            self.ttls.discard(path)
        else:
            paths = self.ephemerals.get(owner)
            if paths is not None:
                paths.discard(path)
                if not paths:
                    del self.ephemerals[owner]

    def _adopt(self, path: str, parent: Node, cversion: int, zxid: int) -> None:
        """A child was made under ``parent``: it takes the zxid and the cversion, unless it knows newer ones."""
        if cversion == -1:
            cversion = parent.cversion + 1
        if cversion <= parent.cversion:
            _restat(parent, pzxid_of(parent))
            return
        parent.cversion = cversion
        _restat(parent, zxid)
        if self.keeps_digest:
            self._sum(path, parent)

    def _drop(self, path: str, node: Node) -> None:
        del self.nodes[path]
        length = data_length(node)
        self.data_bytes -= len(path) + length
        if node.owner:
            self._disown(path, node.owner)
        self.digest = (self.digest - node.digest) & WRAP
        if self.quotas:
            quotas.removed(self, path, length)

    def _drop_subtree(self, path: str) -> None:
        below = [path]
        while below:
            path = below.pop()
            node = self.nodes[path]
            self._drop(path, node)
            self.acls.release(node.acl)
            below.extend(node.children or ())


NewTree = Callable[[], DataTree]
"""Makes a tree as a server was told to have it."""


def _add_child(parent: Node, path: str) -> None:
    children = parent.children
    if children is None:
        parent.children = {path: None}
        return
    if isinstance(children, WideChildren):
        children.add(path)
        return
    children[path] = None
    if len(children) > NARROW_MAX:
        parent.children = WideChildren(children)


def _restat(node: Node, pzxid: int) -> None:
    """Bring the parts of a stat up to date that depend on the children."""
    children = 0 if node.children is None else len(node.children)
    tail = tail_of(node)
    out = BytesWriter()
    out.write(tail[:-32])
    write_i32_be(out, client_cversion(node.cversion, children))
    out.write(tail[-28:-12])
    write_i32_be(out, children)
    write_i64_be(out, pzxid)
    set_tail(node, out.getvalue())
