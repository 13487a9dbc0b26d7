"""A znode's data and stat: one object as a getData reply carries them, or apart where there is much data."""

import pytest

from tests.tree.kit import OPEN, contents, copy_of, stat_of
from trioquorum.storage.snapshot import SnapshotParser, body_chunks
from trioquorum.tree.digest_ahead import DigestAhead
from trioquorum.tree.node import INLINE_MAX, Apart, data_length
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.reads import get_data
from trioquorum.wire.fields import encode_buffer
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import Op
from trioquorum.wire.records import Acl
from trioquorum.wire.txn import CreateTxn, DeleteTxn, SetAclTxn, SetDataTxn, Txn, TxnHeader

DATA = [None, b"", b"\xff\xff\xff\xff", b"\xff" * INLINE_MAX, b"x" * (INLINE_MAX + 1), bytes(5000)]


@pytest.mark.parametrize("after", DATA)
@pytest.mark.parametrize("before", DATA)
def test_data_of_every_length_is_kept_through_every_change(before: bytes | None, after: bytes | None) -> None:
    tree = DataTree()
    ahead = DigestAhead(tree)

    def check(data: bytes | None) -> None:
        node = tree.nodes["/a"]
        assert (node.data, data_length(node)) == (data, len(data or b""))
        assert isinstance(node.record, Apart) == (len(data or b"") > INLINE_MAX)
        assert stat_of(tree, "/a").data_length == len(data or b"")
        assert get_data(tree, "/a", ()) == encode_buffer(data) + node.stat
        assert tree.data_bytes == sum(len(path) + len(it.data or b"") for path, it in tree.nodes.items())
        # Computed from nothing, from a snapshot, and before it was applied.
        again = copy_of(tree)
        assert contents(again) == contents(tree)
        taken = DataTree()
        parser = SnapshotParser(taken, body=True)
        for chunk in body_chunks(tree, 1 << 20):
            parser.feed(chunk)
        parser.finish()
        assert contents(taken) == contents(tree)
        assert taken.digest == again.digest == tree.digest

    changes: list[tuple[int, Record, bytes | None]] = [
        (Op.CREATE, CreateTxn("/a", before, OPEN, False, 1), before),
        (Op.CREATE, CreateTxn("/a/b", after, OPEN, False, 1), before),
        (Op.SET_ACL, SetAclTxn("/a", [Acl(31, "ip", "127.0.0.1"), *OPEN], 1), before),
        (Op.SET_DATA, SetDataTxn("/a", after, 1), after),
        (Op.CREATE, CreateTxn("/a/c", before, OPEN, False, 2), after),
        (Op.DELETE, DeleteTxn("/a/b"), after),
        (Op.SET_DATA, SetDataTxn("/a", before, 2), before),
    ]
    for zxid, (kind, record, data) in enumerate(changes, 1):
        txn = Txn(TxnHeader(7, zxid, zxid, 1_700_000_000_000 + zxid, kind), record)
        ahead.stamp(txn)
        tree.apply(txn)
        assert txn.digest is not None
        assert txn.digest.tree_digest & (2**64 - 1) == tree.digest
        check(data)
    assert stat_of(tree, "/a").aversion == 1


def test_what_the_tree_has_already_is_looked_up_when_its_digest_is_asked_for() -> None:
    """A leader begins behind transactions that it did not stamp: data of nodes whose children change."""
    for data in DATA:
        tree = DataTree()
        tree.apply(Txn(TxnHeader(7, 1, 1, 5, Op.CREATE), CreateTxn("/a", data, OPEN, False, 1)))
        ahead = DigestAhead(tree)
        stamped = [
            Txn(TxnHeader(7, 2, 2, 6, Op.CREATE), CreateTxn("/a/b", b"", OPEN, False, 1)),
            Txn(TxnHeader(7, 3, 3, 7, Op.SET_ACL), SetAclTxn("/a", OPEN, 1)),
            Txn(TxnHeader(7, 4, 4, 8, Op.SET_DATA), SetDataTxn("/a", b"other", 1)),
            Txn(TxnHeader(7, 5, 5, 9, Op.DELETE), DeleteTxn("/a/b")),
        ]
        for txn in stamped:
            ahead.stamp(txn)
        for txn in stamped:
            tree.apply(txn)
            assert txn.digest is not None
            assert txn.digest.tree_digest & (2**64 - 1) == tree.digest
