"""The watches a client has set, by table as its server sees them (client-protocol §11). Pure."""

from collections.abc import Callable, Iterator
from enum import Enum

import msgspec

from trioquorum.wire.ops import EventType
from trioquorum.wire.records import SetWatches, SetWatches2

SET_WATCHES_BYTES_MAX = 128 << 10  # path text in one re-registration, as Java's client splits it


class WatchEvent(msgspec.Struct, frozen=True):
    """What a watcher is told: the change, or ``type`` None when the session was lost and no change will come."""

    type: EventType | None
    path: str


Watcher = Callable[[WatchEvent], object]
"""Called synchronously, in order with replies; it must be quick. What it raises ends the ``connect`` block."""


class Table(Enum):
    """Where a watch is registered: EXIST is a watch on a node that was not there; the last two last until removed."""

    DATA = "data"
    EXIST = "exist"
    CHILD = "child"
    PERSISTENT = "persistent"
    RECURSIVE = "recursive"


LASTING = (Table.PERSISTENT, Table.RECURSIVE)


_TOLD = {
    EventType.NODE_CREATED: (Table.DATA, Table.EXIST),
    EventType.NODE_DATA_CHANGED: (Table.DATA, Table.EXIST),
    EventType.NODE_DELETED: (Table.DATA, Table.EXIST, Table.CHILD),
    EventType.NODE_CHILDREN_CHANGED: (Table.CHILD,),
}


class Watches:
    """Watchers by table and path. The same watcher, registered twice for one change, is told once."""

    def __init__(self) -> None:
        self._tables: dict[Table, dict[str, dict[Watcher, None]]] = {table: {} for table in Table}

    def add(self, table: Table, path: str, watcher: Watcher) -> None:
        """Remember ``watcher``; its server holds the watch."""
        self._tables[table].setdefault(path, {})[watcher] = None

    def forget(self, table: Table, path: str) -> None:
        """Nobody watches ``path`` in ``table`` any more; its server holds no watch."""
        self._tables[table].pop(path, None)

    def take(self, kind: EventType, path: str) -> list[Watcher]:
        """Return who is told of ``kind`` on ``path``, in the order of registration within a table.

        Whoever is told once is removed. Recursive watches see no change of children: that is a child's creation or end.
        """
        told: dict[Watcher, None] = {}
        for table in _TOLD[kind]:
            told.update(self._tables[table].pop(path, {}))
        told.update(self._tables[Table.PERSISTENT].get(path, {}))
        recursive = self._tables[Table.RECURSIVE]
        if recursive and kind != EventType.NODE_CHILDREN_CHANGED:
            told.update(recursive.get(path, {}))
            while path != "/":
                path = path[: path.rfind("/")] or "/"
                told.update(recursive.get(path, {}))
        return list(told)

    def take_all(self) -> list[tuple[str, list[Watcher]]]:
        """Remove and return everything, by path: the session is gone."""
        told: dict[str, dict[Watcher, None]] = {}
        for watchers in self._tables.values():
            for path, of_path in watchers.items():
                told.setdefault(path, {}).update(of_path)
            watchers.clear()
        return [(path, list(of_path)) for path, of_path in told.items()]

    def registrations(self, relative_zxid: int) -> Iterator[SetWatches | SetWatches2]:
        """What to send after a reconnect so that a server holds all of these again; nothing if there are none.

        Servers before 3.6 know no watches that last, nor the request for them: it is made only where there are any.
        """
        lasting = any(self._tables[table] for table in LASTING)
        paths: dict[Table, list[str]] = {table: [] for table in Table}
        size = 0
        for table, watchers in self._tables.items():
            for path in watchers:
                if size and size + len(path) > SET_WATCHES_BYTES_MAX:
                    yield _registration(relative_zxid, paths, lasting=lasting)
                    paths, size = {table: [] for table in Table}, 0
                paths[table].append(path)
                size += len(path)
        if size:
            yield _registration(relative_zxid, paths, lasting=lasting)


def _registration(relative_zxid: int, paths: dict[Table, list[str]], *, lasting: bool) -> SetWatches | SetWatches2:
    once = (paths[Table.DATA], paths[Table.EXIST], paths[Table.CHILD])
    if not lasting:
        return SetWatches(relative_zxid, *once)
    return SetWatches2(relative_zxid, *once, paths[Table.PERSISTENT], paths[Table.RECURSIVE])
