"""Watches that last: every change is told, once, in order, before anything that shows it (client-protocol §11).

There is no catch-up. After a reconnect a server knows of such watches again when the first reply comes, or the first
event: changes from then on are due, and of what went before those that are told. A change that was told and not yet
shown may be told again by the next server, which may not have come that far.
"""

from bisect import bisect_right

from trioquorum.invariants import invariant
from trioquorum.testing.history import Told
from trioquorum.testing.model import Change, parent
from trioquorum.testing.truth import Truth
from trioquorum.wire.ops import EventType

Key = tuple[str, bool]
"""A path, and whether everything below it is watched."""


class Lasting:
    """The lasting watches of one session. ``held`` by key: whether the client does not know of it, only the server."""

    def __init__(self, client: str, truth: Truth) -> None:
        self.held: dict[Key, bool] = {}
        self._client = client
        self._truth = truth
        self._floor = 0  # changes up to here were told, or are not due
        self._shown = 0  # the last reply
        self._group = 0  # the transaction whose changes are being told
        self._told: list[Change] = []
        self._sure = True

    def covers(self, change: Change) -> bool:
        """Whether some watch is told this change."""
        kind, path = change
        if (path, False) in self.held:
            return True
        if kind == EventType.NODE_CHILDREN_CHANGED:
            return False
        while (path, True) not in self.held:
            if path == "/":
                return False
            path = parent(path)
        return True

    def lost(self) -> None:
        """The connection is gone, and with it what only its server knew."""
        self.held = {key: ghost for key, ghost in self.held.items() if not ghost}
        self._floor, self._group, self._told, self._sure = self._shown, 0, [], False

    def told(self, told: Told) -> bool:
        """An event came, with its zxid; whether it was due to one of these."""
        zxid, change = told.zxid, (told.type, told.path)
        if not self._sure:
            self._floor, self._sure = max(self._floor, zxid - 1), True
        if zxid <= self._floor or not self.covers(change):
            return False
        if zxid != self._group:
            self._settle(zxid - 1, told.type.name)
            self._group, self._told = zxid, []
        self._told.append(change)
        return True

    def seen(self, zxid: int, by: str) -> None:
        """A reply shows everything up to ``zxid``."""
        if not self._sure:
            self._floor, self._sure = max(self._floor, zxid), True
        self._settle(zxid, by)
        self._shown = max(self._shown, zxid)

    def _settle(self, zxid: int, by: str) -> None:
        """All changes up to ``zxid`` were told, in order, or were not due."""
        if self.held:
            zxids, changes = self._truth.change_zxids, self._truth.changes
            at = bisect_right(zxids, self._floor)
            while at < len(zxids) and zxids[at] <= zxid:
                end = bisect_right(zxids, zxids[at])
                self._compare(zxids[at], [change for change in changes[at:end] if self.covers(change)], by)
                at = end
        self._floor = max(self._floor, zxid)

    def _compare(self, zxid: int, due: list[Change], by: str) -> None:
        told = self._told if zxid == self._group else []
        ended = zxid in self._truth.ends
        invariant(
            sorted(told) == sorted(due) if ended else told == due,
            "a lasting watch tells every change, in order, before it is seen",
            client=self._client,
            zxid=zxid,
            due=due,
            told=told,
            seen_by=by,
        )
