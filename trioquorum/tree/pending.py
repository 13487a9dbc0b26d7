"""What the tree will look like when everything proposed so far is applied (client-protocol §8.1)."""

from collections import deque

import msgspec

from trioquorum.errors import Code, RequestFailed
from trioquorum.tree.acl import AclList
from trioquorum.tree.node import both_versions, data_length
from trioquorum.tree.nodes import DataTree


class Change(msgspec.Struct, gc=False):
    """A node as a later request must see it. Never modified: a further change is a new one.

    ``version``, ``aversion``, ``cversion`` and ``owner`` are stored values, ``children`` is their number,
    ``data_bytes`` the length of the data. A node that will be deleted has ``exists`` unset and keeps its owner.
    """

    version: int
    aversion: int
    cversion: int
    children: int
    acl: AclList
    owner: int
    data_bytes: int
    exists: bool = True


class PendingChanges:
    """The newest change of each path on top of the tree: of what is proposed, and of the request at hand."""

    __slots__ = ("_changes", "_ephemerals", "_fresh", "_queue", "_tree")

    def __init__(self, tree: DataTree) -> None:
        self._tree = tree
        self._changes: dict[str, Change] = {}
        # What the request at hand changed, and what stood there before, to be put back if it fails.
        self._fresh: list[tuple[str, Change, Change | None]] = []
        self._queue: deque[tuple[int, list[tuple[str, Change, Change | None]]]] = deque()
        self._ephemerals: dict[int, set[str]] = {}

    def look(self, path: str) -> Change | None:
        """The node at ``path``, if there will be one."""
        change = self._changes.get(path)
        if change is not None:
            return change if change.exists else None
        node = self._tree.nodes.get(path)
        if node is None:
            return None
        children = 0 if node.children is None else len(node.children)
        acl = self._tree.acls.get(node.acl)
        version, aversion = both_versions(node)
        return Change(version, aversion, node.cversion, children, acl, node.owner, data_length(node))

    def get(self, path: str) -> Change:
        """The node at ``path``.

        Raises:
            RequestFailed: NONODE.
        """
        change = self.look(path)
        if change is None:
            raise RequestFailed(Code.NONODE)
        return change

    def proposed(self, path: str) -> bool:
        """Whether a change of this node, or of its child list, waits to be applied."""
        return path in self._changes

    def put(self, path: str, change: Change) -> None:
        """The request at hand changes this node."""
        changes = self._changes
        self._fresh.append((path, change, changes.get(path)))
        changes[path] = change

    def keep(self, zxid: int) -> None:
        """The request at hand is proposed as ``zxid``."""
        fresh = self._fresh
        if not fresh:
            return
        for path, change, _ in fresh:
            if change.owner and change.exists and (session := self._tree.owners.session_of(change.owner)):
                self._ephemerals.setdefault(session, set()).add(path)
        self._queue.append((zxid, fresh))
        self._fresh = []

    def drop(self) -> None:
        """The request at hand failed: it never changed anything."""
        for path, _, before in reversed(self._fresh):
            if before is None:
                del self._changes[path]
            else:
                self._changes[path] = before
        self._fresh = []

    def applied(self, zxid: int) -> None:
        """The tree now holds everything up to ``zxid``."""
        queue, changes = self._queue, self._changes
        while queue and queue[0][0] <= zxid:
            for path, change, _ in queue.popleft()[1]:
                if changes.get(path) is change:
                    del changes[path]
                    if change.owner:
                        self._forget_ephemeral(path, self._tree.owners.session_of(change.owner))

    def _forget_ephemeral(self, path: str, session: int) -> None:
        paths = self._ephemerals.get(session)
        if paths is not None:
            paths.discard(path)
            if not paths:
                del self._ephemerals[session]

    def clear(self) -> None:
        """Nothing is proposed any more."""
        self._fresh = []
        self._changes.clear()
        self._queue.clear()
        self._ephemerals.clear()

    def ephemerals_of(self, session: int) -> list[str]:
        """The ephemerals this session will own, sorted."""
        paths = self._tree.ephemerals.get(session, set()) | self._ephemerals.get(session, set())
        owned = []
        for path in sorted(paths):
            change = self.look(path)
            if change is not None and change.owner == session:
                owned.append(path)
        return owned
