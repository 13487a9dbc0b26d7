"""Committed transactions meet the tree, in the order of the log; the newest of them stay in memory for learners."""

from collections import deque
from collections.abc import Sequence

from trioquorum.events import Events
from trioquorum.invariants import broken
from trioquorum.storage.digest_check import DigestCheck
from trioquorum.tree.apply import Applied, apply_txn
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.txn import Txn

Record = tuple[int, bytes]
"""(zxid, payload)."""


class CommittedLog:
    """The last committed transactions in memory, for learners that are only a little behind."""

    def __init__(self, txns_max: int) -> None:
        self._records: deque[Record] = deque(maxlen=txns_max)
        self._last = 0

    def add(self, record: Record) -> None:
        """Take the next one; a hole would be served to others (ZOOKEEPER-4925)."""
        zxid, last = record[0], self._last
        if last and zxid != last + 1 and zxid >> 32 <= last >> 32:
            raise broken("the committed log has no hole", zxid=zxid, last=last)
        self._last = zxid
        self._records.append(record)

    def records(self) -> Sequence[Record]:
        """(zxid, payload), oldest first; valid until the next ``add``."""
        return self._records

    def clear(self) -> None:
        """Forget all of them."""
        self._records.clear()
        self._last = 0


class Applier:
    """``tree`` is what is applied, ``committed_log`` the newest applied payloads.

    ``digests`` compares the tree with what others say it is.
    """

    def __init__(self, tree: DataTree, committed_log_txns_max: int, events: Events) -> None:
        self.tree = tree
        self.committed_log = CommittedLog(committed_log_txns_max)
        self.digests = DigestCheck(events)
        self._unapplied: deque[Record] = deque()

    def apply(self, txn: Txn) -> Applied:
        """Apply the next committed transaction, which was logged before."""
        zxid = txn.header.zxid
        if not self._unapplied or self._unapplied[0][0] != zxid:
            logged = self._unapplied[0][0] if self._unapplied else -1
            raise broken("commits are applied in the order of the log", committed=zxid, logged=logged)
        return self._take(txn, self._unapplied.popleft())

    def _take(self, txn: Txn, record: Record) -> Applied:
        tree = self.tree
        zxid = record[0]
        if zxid <= tree.last_zxid:
            raise broken("transactions are applied once", zxid=zxid, last=tree.last_zxid)
        applied = apply_txn(tree, txn)
        self.committed_log.add(record)
        self.digests.applied(tree, txn.digest)
        return applied
