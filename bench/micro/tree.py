"""Reads, checks and changes of the tree."""

from collections.abc import Iterable
from functools import partial
from itertools import count
from pathlib import Path

from bench import wire as client
from bench.micro.codec import PATH, VALUE
from bench.micro.timing import Micro
from trioquorum.tree import reads
from trioquorum.tree.digest_ahead import DigestAhead
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.prep import LOCAL_OWNER, Prep, PrepOptions, WriteRequest
from trioquorum.tree.sessions import SessionTracker
from trioquorum.wire.ops import Op

SESSION = 1 << 56
TIME_MS = 1_700_000_000_000


class Stage:
    """A tree with one znode, and the checks in front of it."""

    def __init__(self) -> None:
        self.tree = DataTree()
        self.zxids = count(1)
        sessions = SessionTracker(2000)
        sessions.add(SESSION, 30_000, 0)
        sessions.set_owner(SESSION, LOCAL_OWNER)
        self.prep = Prep(self.tree, sessions, PrepOptions())
        for path in ("/bench", "/bench/load", PATH):
            self.write(Op.CREATE, client.create_body(path, VALUE))
        self.set_body = client.set_body(PATH, VALUE)
        self.ahead = DigestAhead(self.tree)

    def write(self, op: int, body: bytes) -> None:
        """Check one write and apply it."""
        zxid = next(self.zxids)
        txn = self.prep.prepare(WriteRequest(SESSION, 1, op, body, [], LOCAL_OWNER), zxid, TIME_MS)
        assert txn.header.type == op
        self.tree.apply(txn)
        self.prep.applied(zxid)

    def check_set(self) -> None:
        """Check a setData and forget it."""
        request = WriteRequest(SESSION, 1, Op.SET_DATA, self.set_body, [], LOCAL_OWNER)
        self.prep.prepare(request, next(self.zxids), TIME_MS)
        self.prep.clear()

    def set(self) -> None:
        """Check a setData and apply it."""
        self.write(Op.SET_DATA, self.set_body)

    def create(self) -> None:
        """The same of a create."""
        self.write(Op.CREATE, client.create_body(f"/bench/load/c{next(self.zxids)}", VALUE))

    def stamped(self, op: int, body: bytes) -> None:
        """The same with the digest that a leader gives the transaction."""
        zxid = next(self.zxids)
        txn = self.prep.prepare(WriteRequest(SESSION, 1, op, body, [], LOCAL_OWNER), zxid, TIME_MS)
        self.ahead.stamp(txn)
        self.tree.apply(txn)
        self.prep.applied(zxid)

    def stamped_set(self) -> None:
        """A setData."""
        self.stamped(Op.SET_DATA, self.set_body)

    def stamped_create(self) -> None:
        """A create."""
        self.stamped(Op.CREATE, client.create_body(f"/bench/load/c{next(self.zxids)}", VALUE))


def micros(folder: Path) -> Iterable[Micro]:
    """Of 100 B values, with digests."""
    del folder
    stage = Stage()
    yield Micro("getData", partial(reads.get_data, stage.tree, PATH, ()))
    yield Micro("exists", partial(reads.exists, stage.tree, PATH, ()))
    yield Micro("check a setData", stage.check_set)
    yield Micro("check and apply a setData", stage.set)
    yield Micro("check and apply a create", stage.create)
    # Whatever is stamped is so from the first on.
    stage = Stage()
    yield Micro("check, stamp and apply a setData", stage.stamped_set)
    yield Micro("check, stamp and apply a create", stage.stamped_create)
