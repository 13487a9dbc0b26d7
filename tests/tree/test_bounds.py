"""No request becomes a transaction that no log and no link would take."""

from trioquorum.errors import Code
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.prep import LOCAL_OWNER, Prep, PrepOptions, WriteRequest
from trioquorum.tree.sessions import SessionTracker
from trioquorum.wire.ops import Op
from trioquorum.wire.records import Acl, CreateRequest, MultiHeader
from trioquorum.wire.txn import CloseSessionTxn, ErrorTxn, decode_txn

SESSION = 7
WORLD = [Acl(31, "world", "anyone")]


def prepared(txn_bytes_max: int) -> tuple[Prep, DataTree]:
    tree = DataTree()
    tracker = SessionTracker(1000)
    tracker.add(SESSION, 4000, 0)
    return Prep(tree, tracker, PrepOptions(txn_bytes_max=txn_bytes_max)), tree


def multi_of_creates(count: int, acl: list[Acl], size: int = 0) -> bytes:
    header = MultiHeader(Op.CREATE, False, -1).encode()
    parts = [header + CreateRequest(f"/n{i}", bytes(size), acl, 0).encode() for i in range(count)]
    return b"".join(parts) + MultiHeader(-1, True, -1).encode()


def test_a_small_multi_that_would_become_huge_is_refused_and_leaves_nothing_pending() -> None:
    prep, tree = prepared(100_000)
    identities = [("digest", f"user{i}:hash") for i in range(99)]
    body = multi_of_creates(500, [Acl(31, "auth", "")])
    assert len(body) < 50_000
    txn = prep.prepare(WriteRequest(SESSION, 1, Op.MULTI, body, identities, 0), 1, 0)
    assert txn.record == ErrorTxn(Code.BADARGUMENTS)
    assert len(txn.encode()) < 100
    tree.apply(decode_txn(txn.encode()))
    prep.applied(1)
    one = prep.prepare(WriteRequest(SESSION, 2, Op.CREATE, CreateRequest("/n0", b"", WORLD, 0).encode(), [], 0), 2, 0)
    assert one.header.type == Op.CREATE


def test_a_multi_within_the_bound_passes() -> None:
    prep, _ = prepared(100_000)
    txn = prep.prepare(WriteRequest(SESSION, 1, Op.MULTI, multi_of_creates(50, WORLD, 1000), [], 0), 1, 0)
    assert txn.header.type == Op.MULTI


def test_one_acl_is_not_multiplied_without_end() -> None:
    prep, _ = prepared(1 << 20)
    identities = [("digest", f"user{i}:hash") for i in range(99)]
    acl = [Acl(perms, "auth", "") for perms in range(1, 1000)]
    body = CreateRequest("/n", b"", acl, 0).encode()
    txn = prep.prepare(WriteRequest(SESSION, 1, Op.CREATE, body, identities, 0), 1, 0)
    assert txn.record == ErrorTxn(Code.INVALIDACL)


def test_a_session_with_too_many_ephemerals_still_ends_with_all_of_them() -> None:
    prep, tree = prepared(1000)
    for i in range(200):
        body = CreateRequest(f"/ephemeral{i}", b"", WORLD, 1).encode()
        tree.apply(prep.prepare(WriteRequest(SESSION, i + 1, Op.CREATE, body, [], 0), i + 1, 0))
        prep.applied(i + 1)
    assert len(tree.ephemerals[SESSION]) == 200
    txn = prep.prepare(WriteRequest(SESSION, 0, Op.CLOSE_SESSION, b"", [], LOCAL_OWNER), 201, 0)
    assert txn.record == CloseSessionTxn([])
    tree.apply(decode_txn(txn.encode()))
    assert SESSION not in tree.ephemerals
    assert not [path for path in tree.nodes if path.startswith("/ephemeral")]
