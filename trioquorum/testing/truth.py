"""What an ensemble committed: the measure of what its clients saw."""

from bisect import bisect_right
from collections.abc import Container, Iterable, Iterator
from typing import Final

import msgspec
import trio

from trioquorum.invariants import invariant
from trioquorum.storage.disk import Disk
from trioquorum.storage.log_reader import FileReader
from trioquorum.storage.names import LOG, sorted_by_zxid
from trioquorum.testing.model import Change, Model, parent
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.ops import EventType, Op
from trioquorum.wire.txn import Txn, decode_txn

NEVER: Final = 1 << 63
"""Behind every zxid."""


class Fate(msgspec.Struct):
    """A session from its creation on. ``closed`` is a zxid, None while it lives; ``expired``: a leader closed it.

    Times are the leaders' wall clocks; ``last_ms`` is that of its last write, which a leader heard of itself.
    """

    session: int
    timeout_ms: int
    created: int
    created_ms: int
    last_ms: int
    closed: int | None = None
    closed_ms: int = 0
    expired: bool = False


class Truth:
    """Every committed transaction from the first one on, and the ``tree`` that all peers came to.

    ``by_request`` finds the transaction of a session's request; ``fates`` are the sessions. ``changes`` are what
    watches tell, each with its zxid in ``change_zxids``: of one transaction in order, but for those of ``ends``, in
    which a session leaves.

    Raises:
        InvariantViolation: the transactions contradict each other.
    """

    def __init__(self, txns: Iterable[tuple[int, Txn]], tree: DataTree | None = None) -> None:
        self.txns = list(txns)
        self._zxids = frozenset(zxid for zxid, _ in self.txns)
        self.tree = tree
        self.by_request: dict[tuple[int, int], Txn] = {}
        self.fates: dict[int, Fate] = {}
        self.model = Model()
        self.changes: list[Change] = []
        self.change_zxids: list[int] = []
        self.ends: set[int] = set()
        self._data: dict[str, tuple[list[int], list[EventType]]] = {}
        self._children: dict[str, tuple[list[int], list[EventType]]] = {}
        for zxid, txn in self.txns:
            invariant(zxid == txn.header.zxid, "a transaction has one zxid", filed=zxid, header=txn.header.zxid)
            for change in self.model.apply(txn):
                self._index(zxid, change)
            self._note(txn)

    @property
    def last_zxid(self) -> int:
        """Of the last transaction."""
        return self.model.zxid

    def is_committed(self, zxid: int) -> bool:
        """Whether there is such a transaction."""
        return zxid in self._zxids

    def replay(self) -> "Iterator[tuple[Txn, Model]]":
        """Each transaction with the one model in front of it; apply it, or the next step does."""
        model = Model()
        for zxid, txn in self.txns:
            yield txn, model
            if model.zxid < zxid:
                model.apply(txn)

    def next_change(self, path: str, after: int, *, of_children: bool) -> tuple[int, EventType]:
        """The first change behind zxid ``after`` that a watch of this kind on ``path`` tells; ``NEVER`` if none."""
        zxids, kinds = (self._children if of_children else self._data).get(path, _NO_CHANGES)
        at = bisect_right(zxids, after)
        return (zxids[at], kinds[at]) if at < len(zxids) else (NEVER, EventType.NODE_DELETED)

    def last_kind(self, path: str, zxid: int) -> EventType:
        """How transaction ``zxid``, which changed ``path``, left it: one may make a node and delete it."""
        zxids, kinds = self._data[path]
        return kinds[bisect_right(zxids, zxid) - 1]

    def _index(self, zxid: int, change: Change) -> None:
        kind, path = change
        self.changes.append(change)
        if kind != EventType.NODE_DATA_CHANGED:
            self.changes.append((EventType.NODE_CHILDREN_CHANGED, parent(path)))
        self.change_zxids += [zxid] * (len(self.changes) - len(self.change_zxids))
        _append(self._data, path, zxid, kind)
        if kind == EventType.NODE_DELETED:
            _append(self._children, path, zxid, kind)
        if kind != EventType.NODE_DATA_CHANGED:
            _append(self._children, parent(path), zxid, EventType.NODE_CHILDREN_CHANGED)

    def _note(self, txn: Txn) -> None:
        header = txn.header
        fate = self.fates.get(header.session)
        if header.type == Op.CREATE_SESSION:
            timeout_ms = self.model.sessions[header.session]
            self.fates[header.session] = Fate(header.session, timeout_ms, header.zxid, header.time_ms, header.time_ms)
        elif header.type == Op.CLOSE_SESSION and fate is not None and fate.closed is None:
            self.ends.add(header.zxid)
            fate.closed, fate.closed_ms, fate.expired = header.zxid, header.time_ms, header.cxid == 0
        elif fate is not None and fate.closed is None and header.type != Op.ERROR:
            fate.last_ms = header.time_ms
        if header.cxid > 0:
            key = (header.session, header.cxid)
            twin = self.by_request.get(key)
            invariant(
                twin is None,
                "a request is done once",
                session=header.session,
                xid=header.cxid,
                zxid=header.zxid,
                first=twin and twin.header.zxid,
            )
            self.by_request[key] = txn


_NO_CHANGES: Final[tuple[list[int], list[EventType]]] = ([], [])


def _append(index: dict[str, tuple[list[int], list[EventType]]], path: str, zxid: int, kind: EventType) -> None:
    zxids, kinds = index.setdefault(path, ([], []))
    zxids.append(zxid)
    kinds.append(kind)


async def read_logs(*disks: Disk, committed: Container[int] | None = None) -> list[tuple[int, Txn]]:
    """The transactions in the logs of peers that are down or idle, each once, in order.

    A log may end in what was never committed, and hold it on below a later snapshot: ``committed`` says which zxids
    count, all without it. Peers hold the whole history only if nothing was purged.

    Raises:
        InvariantViolation: two logs hold different transactions of one zxid.
        CorruptLog: damage.
    """
    payloads: dict[int, bytes] = {}
    for number, disk in enumerate(disks):
        for _, name in sorted_by_zxid(await disk.list(), LOG):
            reader = FileReader(disk, name)  # A log that a snapshot was taken over has a gap.
            while batch := await reader.next_batch():
                for zxid, payload in batch:
                    if committed is None or zxid in committed:
                        same = payloads.setdefault(zxid, payload) == payload
                        invariant(same, "all logs hold the same", zxid=zxid, disk=number)
    await trio.lowlevel.checkpoint()
    return [(zxid, decode_txn(payloads[zxid])) for zxid in sorted(payloads)]
