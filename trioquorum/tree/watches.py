"""Watches (client-protocol §11): who wants to hear of which path, and who hears of which change.

A watch belongs to a connection and lives on this peer only. Two tables, data and child, map a path to its watchers;
a watcher can hold a path in several modes at once.
"""

from collections.abc import Collection, Sequence
from enum import IntFlag
from typing import Protocol

from trioquorum.tree.acl import OPEN_ACL, AclList, Identity, allowed
from trioquorum.wire.ops import EventType, Perm


class Watcher(Protocol):
    """A connection, as the tables see it."""

    @property
    def auth(self) -> Sequence[Identity]:
        """Who the connection has proven to be; an event is delivered only to who may read its node."""

    def notify(self, event_type: int, path: str, zxid: int) -> None:
        """Send the event now, in front of every later reply."""


class Mode(IntFlag):
    """How long a watch lasts: once, until removed, or until removed and for everything below too."""

    STANDARD = 1
    PERSISTENT = 2
    RECURSIVE = 4
    ANY = 7


class _Watchers(dict[Watcher, int]):
    """Who watches ``path``, and in which modes. All of them hold this one text of it: each request brings its own."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


class WatchTable:
    """Path → watcher → modes. Watchers are told in the order in which they registered."""

    __slots__ = ("_by_watcher", "_recursive", "by_path")

    def __init__(self) -> None:
        self.by_path: dict[str, Watcher | _Watchers] = {}
        """Empty while nobody watches anything, which every change asks.

        Nearly every watched path has one watcher with a one-time watch: that one is held bare, without a dict.
        """
        # So is the one path of a watcher: most clients watch one thing.
        self._by_watcher: dict[Watcher, str | set[str]] = {}
        self._recursive = 0

    def _at(self, path: str) -> _Watchers:
        found = self.by_path.get(path)
        if isinstance(found, _Watchers):
            return found
        watchers = _Watchers(path)
        if found is not None:
            watchers[found] = Mode.STANDARD
        return watchers

    def _put(self, path: str, watchers: _Watchers) -> None:
        if not watchers:
            self.by_path.pop(path, None)
        else:
            self.by_path[path] = watchers

    def add(self, path: str, watcher: Watcher, mode: int = Mode.STANDARD) -> None:
        """Watch; modes add up."""
        found = self.by_path.get(path)
        if found is watcher and mode == Mode.STANDARD:
            return
        held = 0
        if found is None and mode == Mode.STANDARD:
            self.by_path[path] = watcher
        else:
            watchers = self._at(path)
            held = watchers.get(watcher, 0)
            watchers[watcher] = held | mode
            path = watchers.path
            self.by_path[path] = watchers
        if mode & ~held & Mode.RECURSIVE:
            self._recursive += 1
        if not held:
            paths = self._by_watcher.get(watcher)
            if paths is None:
                self._by_watcher[watcher] = path
            elif isinstance(paths, str):
                self._by_watcher[watcher] = {paths, path}
            else:
                paths.add(path)

    def modes(self, path: str, watcher: Watcher) -> int:
        """The modes in which this watcher holds the path; 0 if it does not."""
        return self._at(path).get(watcher, 0)

    def remove(self, path: str, watcher: Watcher, modes: int) -> bool:
        """Give up these modes; whether the watcher held any of them."""
        watchers = self._at(path)
        held = watchers.get(watcher, 0)
        if not held & modes:
            return False
        if held & modes & Mode.RECURSIVE:
            self._recursive -= 1
        if held & ~modes:
            watchers[watcher] = held & ~modes
        else:
            del watchers[watcher]
            self._forget(path, watcher)
        self._put(path, watchers)
        return True

    def _forget(self, path: str, watcher: Watcher) -> None:
        paths = self._by_watcher[watcher]
        if isinstance(paths, set):
            paths.discard(path)
            if paths:
                return
        del self._by_watcher[watcher]

    def remove_watcher(self, watcher: Watcher) -> None:
        """Give up everything of a watcher, in the time its own watches take."""
        for path in _all_of(self._by_watcher.pop(watcher, ())):
            watchers = self._at(path)
            if watchers.pop(watcher) & Mode.RECURSIVE:
                self._recursive -= 1
            self._put(path, watchers)

    def triggered(self, path: str) -> Sequence[Watcher]:
        """Who hears of a change of ``path``; one-time watches on it are used up."""
        if not self._recursive:
            return self._triggered_here(path)
        found = dict.fromkeys(self._triggered_here(path))
        while path != "/":
            path = path[: path.rfind("/")] or "/"
            found.update({w: None for w, modes in self._at(path).items() if modes & Mode.RECURSIVE})
        return tuple(found)

    def _triggered_here(self, path: str) -> Sequence[Watcher]:
        found = self.by_path.get(path)
        if found is None:
            return ()
        if not isinstance(found, _Watchers):
            del self.by_path[path]
            self._forget(path, found)
            return (found,)
        told = tuple(found)
        for watcher, modes in tuple(found.items()):
            if modes == Mode.STANDARD:
                del found[watcher]
                self._forget(path, watcher)
            else:
                found[watcher] = modes & ~Mode.STANDARD
        self._put(path, found)
        return told

    def watches(self) -> int:
        """How many (path, watcher) pairs there are."""
        return sum(len(_all_of(paths)) for paths in self._by_watcher.values())

    def paths(self) -> dict[str, list[Watcher]]:
        """Watchers of each watched path."""
        return {path: list(self._at(path)) for path in self.by_path}

    def watchers(self) -> dict[Watcher, list[str]]:
        """Paths of each watcher, sorted."""
        return {watcher: sorted(_all_of(paths)) for watcher, paths in self._by_watcher.items()}


def _all_of(paths: str | Collection[str]) -> Collection[str]:
    return (paths,) if isinstance(paths, str) else paths


class WatchTables:
    """Both tables, and which change fires what.

    The tree calls ``created``, ``deleted`` and ``changed`` while it applies a transaction; each takes the ACL that
    decides who may hear of it. A one-time watch is used up even if its holder may not hear of it (CVE-2024-23944).
    """

    __slots__ = ("child", "data")

    def __init__(self) -> None:
        self.data = WatchTable()
        self.child = WatchTable()

    def add_data(self, path: str, watcher: Watcher) -> None:
        """What exists and getData register."""
        self.data.add(path, watcher)

    def add_child(self, path: str, watcher: Watcher) -> None:
        """What getChildren registers."""
        self.child.add(path, watcher)

    def add_persistent(self, path: str, watcher: Watcher, *, recursive: bool) -> None:
        """What addWatch registers."""
        if recursive:
            self.data.add(path, watcher, Mode.RECURSIVE)
        else:
            self.data.add(path, watcher, Mode.PERSISTENT)
            self.child.add(path, watcher, Mode.PERSISTENT)

    def remove_watcher(self, watcher: Watcher) -> None:
        """A connection is gone."""
        self.data.remove_watcher(watcher)
        self.child.remove_watcher(watcher)

    def holds(self, path: str, watcher: Watcher, kind: int) -> bool:
        """checkWatches: whether there is a watch of this kind; the kinds are the keys of ``KINDS``."""
        data, child = KINDS[kind]
        return bool(self.data.modes(path, watcher) & data or self.child.modes(path, watcher) & child)

    def remove(self, path: str, watcher: Watcher, kind: int) -> bool:
        """removeWatches: give up the watches of this kind; whether there were any."""
        data, child = KINDS[kind]
        removed = self.data.remove(path, watcher, data)
        return self.child.remove(path, watcher, child) or removed

    def __bool__(self) -> bool:
        return bool(self.data.by_path or self.child.by_path)

    def created(self, path: str, parent: str, zxid: int, acl: AclList, parent_acl: AclList) -> None:
        """A node is there."""
        if self.data.by_path:
            _tell(self.data.triggered(path), EventType.NODE_CREATED, path, zxid, acl)
        if self.child.by_path:
            _tell(self.child.triggered(parent), EventType.NODE_CHILDREN_CHANGED, parent, zxid, parent_acl)

    def deleted(self, path: str, parent: str, zxid: int, acl: AclList, parent_acl: AclList) -> None:
        """A node is gone; ``acl`` is the one it had. Who watched both data and children hears of it once."""
        told: Sequence[Watcher] = ()
        if self.data.by_path:
            told = self.data.triggered(path)
            _tell(told, EventType.NODE_DELETED, path, zxid, acl)
        if self.child.by_path:
            known = frozenset(told)
            others = [watcher for watcher in self.child.triggered(path) if watcher not in known]
            _tell(others, EventType.NODE_DELETED, path, zxid, acl)
            _tell(self.child.triggered(parent), EventType.NODE_CHILDREN_CHANGED, parent, zxid, parent_acl)

    def changed(self, path: str, zxid: int, acl: AclList) -> None:
        """A node has new data."""
        if self.data.by_path:
            _tell(self.data.triggered(path), EventType.NODE_DATA_CHANGED, path, zxid, acl)


KINDS: dict[int, tuple[int, int]] = {
    1: (0, Mode.STANDARD),
    2: (Mode.STANDARD, 0),
    3: (Mode.ANY, Mode.ANY),
    4: (Mode.PERSISTENT, Mode.PERSISTENT),
    5: (Mode.RECURSIVE, 0),
}
"""Watcher types of checkWatches and removeWatches → modes meant in the data and in the child table."""


def _tell(watchers: Sequence[Watcher], event: int, path: str, zxid: int, acl: AclList) -> None:
    if acl is OPEN_ACL:
        for watcher in watchers:
            watcher.notify(event, path, zxid)
        return
    for watcher in watchers:
        if allowed(acl, Perm.READ, watcher.auth):
            watcher.notify(event, path, zxid)
