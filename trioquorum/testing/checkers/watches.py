"""Watches: what was asked for is told, once, before anything that shows it; nothing else is told (client-protocol §11).

A watch that was set at one zxid is due at the first change behind it. Between a reconnect and the catch-up that the
client asks for, a server knows only what is there then: an event without a zxid tells that something happened.
Watches that last are in ``lasting``.
"""

import heapq

import msgspec

from trioquorum.client import State
from trioquorum.errors import Code
from trioquorum.invariants import invariant
from trioquorum.testing.checkers.lasting import Lasting
from trioquorum.testing.history import Call, History, SessionRecord, Told, Turned
from trioquorum.testing.truth import NEVER, Truth
from trioquorum.wire.client import decode_path_watch
from trioquorum.wire.ops import EventType, Op
from trioquorum.wire.records import PathTypeRequest

Key = tuple[str, bool]
"""A path, and whether its children are watched instead of its data."""


class _Watch(msgspec.Struct, eq=False):
    """Set at zxid ``since``. ``absent``: on a node that was not there; ``ghost``: its client does not know of it."""

    since: int
    due: int
    kind: EventType
    absent: bool
    ghost: bool
    resumed: bool = False


_ADD_RECURSIVE, _REMOVE_RECURSIVE = 1, 5
_CHILDREN = frozenset({Op.GET_CHILDREN, Op.GET_CHILDREN2})
_TABLES = {
    EventType.NODE_CREATED: (False,),
    EventType.NODE_DATA_CHANGED: (False,),
    EventType.NODE_DELETED: (False, True),
    EventType.NODE_CHILDREN_CHANGED: (True,),
}


def check(history: History, truth: Truth) -> None:
    """All watches of all sessions.

    Raises:
        InvariantViolation: a change was not told before it was seen, or something was told that nobody asked for, or
            that had been told or seen.
    """
    for record in history.sessions:
        _Session(record, truth).check()


class _Session:
    """The watches of one session, as its server must know them."""

    def __init__(self, record: SessionRecord, truth: Truth) -> None:
        self._record = record
        self._truth = truth
        self._watches: dict[Key, _Watch] = {}
        self._told_again: set[str] = set()
        self._due: list[tuple[int, int, Key, _Watch]] = []
        self._count = 0
        self._lasting = Lasting(record.client, truth)

    def check(self) -> None:
        for it in self._record.seen:
            if isinstance(it, Told):
                self._told(it)
            elif isinstance(it, Turned):
                self._turned(it.state)
            elif it.zxid is not None:
                self._seen(it, it.zxid)
                self._lasting.seen(it.zxid, f"reply {it.xid}")
                if it.op in (Op.ADD_WATCH, Op.REMOVE_WATCHES):
                    self._keep(it)
                elif it.watched:
                    self._set(it, it.zxid)

    def _turned(self, state: State) -> None:
        self._told_again.clear()
        if not state.connected:
            self._lasting.lost()
        if state.ended:
            self._watches.clear()
            self._lasting.held.clear()
        elif state is State.CONNECTING:
            self._watches = {key: watch for key, watch in self._watches.items() if not watch.ghost}
        else:
            for watch in self._watches.values():
                watch.resumed = True

    def _keep(self, call: Call) -> None:
        """A watch that lasts begins, or ends."""
        request = PathTypeRequest.decode(call.body)
        key = request.path or "", request.type in (_ADD_RECURSIVE, _REMOVE_RECURSIVE)
        held = self._lasting.held
        if call.op == Op.ADD_WATCH:
            if call.error is None:
                held[key] = call.given_up and held.get(key, True)
        elif call.error is None or call.error is Code.NOWATCHER:
            there = held.pop(key, None) is not None
            invariant(
                there == (call.error is None),
                "a server knows the watches that it was told of",
                client=self._record.client,
                xid=call.xid,
                watch=key,
                told=call.error,
            )

    def _set(self, call: Call, zxid: int) -> None:
        absent = call.op == Op.EXISTS and call.error is Code.NONODE
        if call.error is None or absent:
            path, _ = decode_path_watch(call.body)
            key = path, call.op in _CHILDREN
            known = self._watches.get(key)
            if known is None:
                due, kind = self._truth.next_change(path, zxid, of_children=key[1])
                known = self._watches[key] = _Watch(zxid, due, kind, absent, call.given_up)
                self._push(key, known)
            elif not call.given_up:
                known.ghost = False

    def _push(self, key: Key, watch: _Watch) -> None:
        if watch.due != NEVER:
            self._count += 1
            heapq.heappush(self._due, (watch.due, self._count, key, watch))

    def _seen(self, call: Call, zxid: int) -> None:
        """This reply shows everything up to ``zxid``: what is due by then must have been told."""
        while self._due and self._due[0][0] <= zxid:
            due, _, key, watch = heapq.heappop(self._due)
            if self._watches.get(key) is not watch or watch.due != due:
                continue
            if not self._came_and_went(key, watch, zxid):
                invariant(
                    False,
                    "a change is told before it is seen",
                    client=self._record.client,
                    path=key[0],
                    watched_since=watch.since,
                    changed=due,
                    seen=zxid,
                    by_xid=call.xid,
                )

    def _came_and_went(self, key: Key, watch: _Watch, zxid: int) -> bool:
        """A node that came and went while the client was away is told by nobody; the next one is."""
        if not (watch.resumed and watch.absent):
            return False
        at = watch.due
        while self._truth.last_kind(key[0], at) != EventType.NODE_DELETED:
            at, _ = self._truth.next_change(key[0], at, of_children=False)
            if at > zxid:
                return False
        watch.due, watch.kind = self._truth.next_change(key[0], at, of_children=False)
        self._push(key, watch)
        return True

    def _told(self, told: Told) -> None:
        keys = [(told.path, table) for table in _TABLES[told.type] if (told.path, table) in self._watches]
        facts = {"client": self._record.client, "path": told.path, "event": told.type.name, "zxid": told.zxid}
        if told.zxid < 0 and told.type == EventType.NODE_DELETED:
            # The catch-up looks at data watches, then at child watches: who held both is told of the same end twice.
            if not keys and told.path in self._told_again:
                self._told_again.remove(told.path)
                return
            if len(keys) > 1:
                self._told_again.add(told.path)
        lasting = told.zxid >= 0 and self._lasting.told(told)
        invariant(bool(keys) or lasting, "only what was asked for is told, and once", **facts, at=told.at)
        for key in keys:
            watch = self._watches.pop(key)
            if told.zxid < 0:
                invariant(watch.resumed, "only a reconnect makes up for events", **facts, watched_since=watch.since)
                happened = watch.due != NEVER
                invariant(happened, "what is made up for happened", **facts, watched_since=watch.since)
                continue
            if watch.resumed and watch.absent:
                while watch.due < told.zxid and self._came_and_went(key, watch, told.zxid):
                    pass
            expected = (watch.due, watch.kind)
            found = (told.zxid, told.type)
            invariant(
                found == expected,
                "a watch tells the first change behind it",
                **facts,
                watched_since=watch.since,
                first=None if watch.due == NEVER else (watch.due, watch.kind.name),
            )
