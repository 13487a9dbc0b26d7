"""ZooKeeper's tree once more, as plain as can be: what ``trioquorum.tree`` is measured against.

Written from the specification (client-protocol §8.3, disk-format §3) and sharing no code with the tree. It refuses
transactions that no leader should have proposed.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from trioquorum.invariants import invariant
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import CONTAINER_OWNER, EventType, Op
from trioquorum.wire.records import Stat
from trioquorum.wire.txn import (
    CheckVersionTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
    TxnHeader,
    decode_record,
)

OWN_PATHS: Final = ("/zookeeper",)
"""Written by each peer by itself, at times of its own: no model says what is below."""


class Znode(msgspec.Struct):
    """A node. ``owner`` is the session of an ephemeral, ``made`` how many children it ever got."""

    data: bytes | None = b""
    czxid: int = 0
    mzxid: int = 0
    pzxid: int = 0
    ctime: int = 0
    mtime: int = 0
    version: int = 0
    aversion: int = 0
    owner: int = 0
    made: int = 0
    children: dict[str, None] = msgspec.field(default_factory=dict)

    def stat(self) -> Stat:
        """What clients are shown. A cversion counts children that came and that went."""
        return Stat(
            self.czxid,
            self.mzxid,
            self.ctime,
            self.mtime,
            self.version,
            2 * self.made - len(self.children),
            self.aversion,
            self.owner,
            len(self.data or b""),
            len(self.children),
            self.pzxid,
        )


Change = tuple[EventType, str]
"""What happened to which node."""


def parent(path: str) -> str:
    """The path of a node's parent."""
    return path[: path.rfind("/")] or "/"


def parts_of(txn: Txn) -> Iterator[tuple[int, Record]]:
    """What a transaction does, one after the other: types and records, nothing for one that failed."""
    if not isinstance(txn.record, MultiTxn):
        if txn.header.type != Op.ERROR:
            yield txn.header.type, txn.record
        return
    parts = txn.record.txns or []
    if not any(part.type == Op.ERROR for part in parts):
        for part in parts:
            yield part.type, decode_record(part.type, part.data or b"")[0]


class Model:
    """Nodes by path, ephemerals by session, sessions that live; ``zxid`` is that of the last transaction."""

    def __init__(self) -> None:
        self.nodes: dict[str, Znode] = {"/": Znode(children={"zookeeper": None}), "/zookeeper": Znode()}
        self.ephemerals: dict[int, dict[str, None]] = {}
        self.sessions: dict[int, int] = {}
        self.zxid = 0

    def apply(self, txn: Txn) -> list[Change]:
        """What a committed transaction changed, in order.

        Raises:
            InvariantViolation: it contradicts those before it.
        """
        header = txn.header
        invariant(header.zxid > self.zxid, "zxids rise", zxid=header.zxid, previous=self.zxid)
        self.zxid = header.zxid
        changes: list[Change] = []
        for kind, record in parts_of(txn):
            self._sessions_allow(header, kind)
            changes += self._apply(header, record)
        return changes

    def _sessions_allow(self, header: TxnHeader, kind: int) -> None:
        session = header.session
        if kind == Op.CREATE_SESSION:
            invariant(session not in self.sessions, "a session begins once", session=session, zxid=header.zxid)
        elif kind not in (Op.CLOSE_SESSION, Op.DELETE_CONTAINER):
            invariant(
                session in self.sessions,
                "only sessions that live write",
                session=session,
                cxid=header.cxid,
                zxid=header.zxid,
                living=len(self.sessions),
            )

    def _apply(self, header: TxnHeader, record: Record) -> list[Change]:
        match record:
            case CreateTxn(path=path, data=data, parent_cversion=made, ephemeral=ephemeral):
                return self._create(header, path, data, made, header.session if ephemeral else 0)
            case CreateTtlTxn(path=path, data=data, parent_cversion=made):
                return self._create(header, path, data, made, 0)
            case CreateContainerTxn(path=path, data=data, parent_cversion=made):
                return self._create(header, path, data, made, 0)
            case DeleteTxn(path=path):
                return self._delete(header.zxid, path)
            case SetDataTxn(path=path, data=data, version=version):
                if path.startswith(OWN_PATHS):
                    return [(EventType.NODE_DATA_CHANGED, path)]
                node = self._node(path, header.zxid)
                _one_more(path, node.version, version, header.zxid)
                node.data, node.version, node.mzxid, node.mtime = data, version, header.zxid, header.time_ms
                return [(EventType.NODE_DATA_CHANGED, path)]
            case SetAclTxn(path=path, version=version):
                node = self._node(path, header.zxid)
                _one_more(path, node.aversion, version, header.zxid)
                node.aversion = version
            case CheckVersionTxn(path=path, version=version):
                _one_more(path, self._node(path, header.zxid).version, version, header.zxid)
            case CreateSessionTxn(timeout_ms=timeout_ms):
                self.sessions[header.session] = timeout_ms
            case CloseSessionTxn(paths=paths):
                return self._close(header, paths)
        return []

    def _node(self, path: str, zxid: int) -> Znode:
        node = self.nodes.get(path)
        invariant(node is not None, "only nodes that are there change", path=path, zxid=zxid)
        assert node is not None
        return node

    def _create(self, header: TxnHeader, path: str, data: bytes | None, made: int, owner: int) -> list[Change]:
        zxid = header.zxid
        there = self.nodes.get(path)
        invariant(there is None, "a node is made once", path=path, zxid=zxid, there_since=there and there.czxid)
        above = self._node(parent(path), zxid)
        invariant(not above.owner, "ephemerals have no children", path=path, zxid=zxid, owner=above.owner)
        invariant(owner != CONTAINER_OWNER, "no session has that id", path=path, zxid=zxid)
        if made != -1:
            invariant(
                made == above.made + 1, "every child is counted", path=path, zxid=zxid, count=made, had=above.made
            )
        above.made += 1
        above.pzxid = zxid
        above.children[path[path.rfind("/") + 1 :]] = None
        self.nodes[path] = Znode(data, zxid, zxid, zxid, header.time_ms, header.time_ms, owner=owner)
        if owner:
            self.ephemerals.setdefault(owner, {})[path] = None
        return [(EventType.NODE_CREATED, path)]

    def _delete(self, zxid: int, path: str) -> list[Change]:
        node = self._node(path, zxid)
        invariant(not node.children, "parents outlive children", path=path, zxid=zxid, children=[*node.children][:3])
        del self.nodes[path]
        above = self.nodes[parent(path)]
        del above.children[path[path.rfind("/") + 1 :]]
        above.pzxid = zxid
        if node.owner:
            owned = self.ephemerals[node.owner]
            del owned[path]
            if not owned:
                del self.ephemerals[node.owner]
        return [(EventType.NODE_DELETED, path)]

    def _close(self, header: TxnHeader, paths: list[str] | None) -> list[Change]:
        session, zxid = header.session, header.zxid
        self.sessions.pop(session, None)
        owned = list(self.ephemerals.get(session, ()))
        if paths:
            # A list too long for one transaction is left out.
            differ = sorted(set(owned) ^ set(paths))
            invariant(
                not differ, "a session's end names all its ephemerals", session=session, zxid=zxid, differ=differ[:3]
            )
        changes: list[Change] = []
        for path in paths or sorted(owned):
            changes += self._delete(zxid, path)
        return changes


def _one_more(path: str, had: int, new: int, zxid: int) -> None:
    # -1 means "any" to clients, so no node has it.
    follows = 0 if had == -2 else had + 1
    invariant(new == follows, "versions count changes", path=path, zxid=zxid, had=had, new=new)
