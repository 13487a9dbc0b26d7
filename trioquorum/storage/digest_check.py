"""Whether the tree is what snapshots and transactions say it is (disk-format §4, §7)."""

import sys
from collections import deque
from typing import Final

from trioquorum.events import DigestMismatch, Events
from trioquorum.storage.snapshot import SnapshotDigest
from trioquorum.tree.digest import VERSION, WRAP
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.txn import TxnDigest

HISTORY_EVERY: Final = 128
HISTORY_MAX: Final = 1024


class DigestCheck:
    """Compares after each transaction. What differs is counted and told of, and nothing else comes of it.

    ``exact`` says whether the tree is as it was behind its last transaction: one that comes from a fuzzy snapshot is
    not at first. ``history`` are digests at every 128th zxid, the newest of them, as (zxid, digest).
    """

    def __init__(self, events: Events) -> None:
        self.mismatches = 0
        self.exact = True
        self.history: deque[tuple[int, int]] = deque(maxlen=HISTORY_MAX)
        self._events = events
        self._exact_from = sys.maxsize
        self._awaited: SnapshotDigest | None = None
        self._differs = False

    def begin(self, tree: DataTree, told: SnapshotDigest | None) -> None:
        """``tree`` comes from a snapshot, which ``told`` its digest at its end, if any."""
        self.taken_over()
        self._awaited = told if told and told.zxid >= tree.last_zxid else None
        self.exact = tree.last_zxid == 0
        self._check_awaited(tree)

    def taken_over(self) -> None:
        """The tree is a leader's, fuzzy, and nobody told its digest."""
        self._awaited = None
        self._exact_from = sys.maxsize
        self.exact = self._differs = False
        self.history.clear()

    def settled(self, zxid: int) -> None:
        """A tree that has applied everything up to ``zxid`` is exact, whatever it was taken over from."""
        self._exact_from = zxid

    def applied(self, tree: DataTree, told: TxnDigest | None) -> None:
        """The tree has applied one more transaction, which ``told`` its digest, if any."""
        if not tree.keeps_digest:
            return
        zxid = tree.last_zxid
        if zxid % HISTORY_EVERY == 0 and self.exact:
            self.history.append((zxid, tree.digest))
        if self._awaited is not None:
            self._check_awaited(tree)
        elif told is not None and told.version == VERSION:
            expected = told.tree_digest
            self._compare(tree, expected if expected >= 0 else expected & WRAP)

    def _check_awaited(self, tree: DataTree) -> None:
        """Compare once with the snapshot's digest; until replay comes by there the tree is not exact."""
        awaited = self._awaited
        if awaited is not None and tree.last_zxid >= awaited.zxid:
            self._awaited = None
            self.exact = True
            if tree.last_zxid == awaited.zxid and tree.keeps_digest:
                self._compare(tree, awaited.digest)

    def _compare(self, tree: DataTree, expected: int) -> None:
        """While the tree is not exact nothing is meant to agree; once something does, all of it does."""
        if tree.digest == expected:
            self.exact = True
            self._differs = False
            return
        if tree.last_zxid >= self._exact_from:
            self.exact = True
        if self.exact:
            self.mismatches += 1
            # One difference stays in every later digest, so it is told of once.
            if not self._differs:
                self._differs = True
                self._events.emit(DigestMismatch(zxid=tree.last_zxid, expected=expected, found=tree.digest))
