import gc
import sys
from pathlib import Path

import pytest

from tests.tree.kit import OPEN, Connection, Server, contents, copy_of, create, set_data, stat_of
from trioquorum.errors import Code, CorruptSnapshot, PeerProtocolError
from trioquorum.tree.node import Node, client_cversion, persisted_stat
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.owners import Owners, is_ttl, ttl_ms_of, ttl_owner
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import CONTAINER_OWNER, Op
from trioquorum.wire.records import Acl, StatPersisted
from trioquorum.wire.txn import (
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    SubTxn,
    Txn,
    TxnHeader,
    decode_txn,
)

TIME = 1_700_000_000_000
READ = [Acl(1, "world", "anyone")]


def txn(zxid: int, kind: int, record: Record, session: int = 7, time_ms: int = TIME) -> Txn:
    return Txn(TxnHeader(session, 1, zxid, time_ms, kind), record)


def made(path: str, parent_cversion: int = -1, ephemeral: bool = False) -> CreateTxn:
    return CreateTxn(path, b"", OPEN, ephemeral, parent_cversion)


# Digests


def test_the_digest_of_a_fresh_tree_is_javas() -> None:
    tree = DataTree()
    assert tree.digest == 1371985504
    assert (tree.nodes["/"].digest, tree.nodes["/zookeeper"].digest) == (68323592, 1303661912)


def test_the_digest_of_a_node_is_javas() -> None:
    tree = DataTree()
    tree.apply(txn(0x100000002, Op.CREATE, CreateTxn("/a", b"x", OPEN, False, 1)))
    assert tree.nodes["/a"].digest == 613545643


def test_digests_after_each_transaction_of_a_log_that_zookeeper_wrote() -> None:
    log = (Path(__file__).parent / "recorded_log.txt").read_text().split()
    tree = DataTree()
    compared = 0
    for line in log:
        one = decode_txn(bytes.fromhex(line))
        tree.apply(one)
        if one.digest is not None:
            assert tree.digest == one.digest.tree_digest % 2**64, hex(one.header.zxid)
            compared += 1
    assert compared > 35
    assert tree.last_zxid == one.header.zxid


def test_digests_can_be_left_out() -> None:
    tree = DataTree(keeps_digest=False)
    tree.apply(txn(1, Op.CREATE, made("/a")))
    tree.apply(txn(2, Op.DELETE, DeleteTxn("/a")))
    assert tree.digest == 0


# Owners and stats


def test_owners() -> None:
    assert ttl_owner(600) == -(2**56) + 600
    assert is_ttl(ttl_owner(1))
    assert is_ttl(ttl_owner(2**40 - 1))
    assert ttl_ms_of(ttl_owner(2**40 - 1)) == 2**40 - 1
    for owner in (0, CONTAINER_OWNER, 5, -5, 0xFE << 56, -(2**56) + 2**40):
        assert not is_ttl(owner)
    assert [Owners().session_of(o) for o in (0, CONTAINER_OWNER, ttl_owner(9), 5, -5)] == [0, 0, 0, 5, -5]


@pytest.mark.parametrize(
    ("stored", "children", "shown"), [(0, 0, 0), (0, 1, -1), (5, 2, 8), (2**31 - 1, 0, -2), (2**30, 1, 2**31 - 1)]
)
def test_client_cversion_is_a_java_int(stored: int, children: int, shown: int) -> None:
    assert client_cversion(stored, children) == shown


def test_effects_on_stats() -> None:
    tree = DataTree()
    tree.apply(txn(1, Op.CREATE, made("/a", 1)))
    tree.apply(txn(2, Op.CREATE, made("/a/b", 1, ephemeral=True)))
    tree.apply(txn(3, Op.CREATE, made("/a/c", 2)))
    tree.apply(txn(4, Op.DELETE, DeleteTxn("/a/c")))
    tree.apply(txn(5, Op.SET_DATA, SetDataTxn("/a", b"xyz", 1), time_ms=TIME + 9))
    tree.apply(txn(6, Op.SET_ACL, SetAclTxn("/a", READ, 1)))
    shown = stat_of(tree, "/a")
    assert (shown.czxid, shown.mzxid, shown.pzxid) == (1, 5, 4)
    assert (shown.ctime, shown.mtime) == (TIME, TIME + 9)
    assert (shown.version, shown.cversion, shown.aversion) == (1, 3, 1)
    assert (shown.data_length, shown.num_children, shown.ephemeral_owner) == (3, 1, 0)
    assert stat_of(tree, "/a/b").ephemeral_owner == 7
    kept = StatPersisted.decode(persisted_stat(tree.nodes["/a"]))
    assert kept == StatPersisted(1, 5, TIME, TIME + 9, 1, 2, 1, 0, 4)
    assert StatPersisted.decode(persisted_stat(tree.nodes["/a/b"])).ephemeral_owner == 7


def test_containers_and_ttl_nodes_show_no_owner() -> None:
    tree = DataTree()
    tree.apply(txn(1, Op.CREATE_CONTAINER, CreateContainerTxn("/c", b"", OPEN, 1)))
    tree.apply(txn(2, Op.CREATE_TTL, CreateTtlTxn("/t", b"", OPEN, 2, 600)))
    assert (tree.containers, tree.ttls, tree.ephemerals) == ({"/c"}, {"/t"}, {})
    assert [stat_of(tree, path).ephemeral_owner for path in ("/c", "/t")] == [0, 0]
    tree.apply(txn(3, Op.DELETE_CONTAINER, DeleteTxn("/c")))
    tree.apply(txn(4, Op.DELETE_CONTAINER, DeleteTxn("/t")))
    assert (tree.containers, tree.ttls) == (set(), set())


def test_config_is_written_outside_transactions() -> None:
    tree = DataTree()
    tree.set_config(b"version=5", 5, TIME)
    shown = stat_of(tree, "/zookeeper/config")
    assert (shown.mzxid, shown.version, shown.aversion, shown.data_length) == (5, -1, -1, 9)
    assert (tree.digest, tree.last_zxid) == (1371985504, 0)


# Transactions


def test_what_each_transaction_answers() -> None:
    tree = DataTree()
    for number, (kind, record, err) in enumerate(
        [
            (Op.CREATE_SESSION, CreateSessionTxn(4000), 0),
            (Op.CREATE, made("/a"), 0),
            (Op.CREATE, made("/a"), Code.NODEEXISTS),
            (Op.CREATE, made("/no/child"), Code.NONODE),
            (Op.SET_DATA, SetDataTxn("/a", None, 1), 0),
            (Op.SET_DATA, SetDataTxn("/no", None, 1), Code.NONODE),
            (Op.SET_ACL, SetAclTxn("/no", OPEN, 1), Code.NONODE),
            (Op.DELETE, DeleteTxn("/no"), Code.NONODE),
            (Op.DELETE, DeleteTxn("/"), Code.NONODE),
            (Op.DELETE, DeleteTxn("/no/child"), Code.NONODE),
            (Op.ERROR, ErrorTxn(Code.NOAUTH), Code.NOAUTH),
            (Op.CLOSE_SESSION, CloseSessionTxn(None), 0),
        ],
        1,
    ):
        applied = tree.apply(txn(number, kind, record))
        assert (applied.err, applied.type) == (err, kind)
        assert tree.last_zxid == number
    assert tree.sessions == {}


def test_a_record_that_is_no_transaction() -> None:
    with pytest.raises(PeerProtocolError):
        DataTree().apply(txn(1, Op.CREATE, Acl(1, "a", "b")))


def test_closing_a_session_deletes_what_is_listed_and_then_what_is_left() -> None:
    tree = DataTree()
    tree.apply(txn(1, Op.CREATE_SESSION, CreateSessionTxn(4000)))
    for zxid, path in enumerate(["/listed", "/left", "/also-left"], 2):
        tree.apply(txn(zxid, Op.CREATE, made(path, ephemeral=True)))
    ear = Connection()
    for path in ("/listed", "/left", "/also-left"):
        tree.watches.add_data(path, ear)
    tree.apply(txn(9, Op.CLOSE_SESSION, CloseSessionTxn(["/listed", "/gone-before"])))
    assert [path for _, path, _ in ear.events] == ["/listed", "/also-left", "/left"]
    assert (tree.sessions, tree.ephemerals) == ({}, {})
    assert "/left" not in (tree.nodes["/"].children or ())


def test_last_zxid_moves_after_the_whole_transaction() -> None:
    tree = DataTree()
    seen: list[int] = []

    class Ear(Connection):
        def notify(self, event_type: int, path: str, zxid: int) -> None:
            seen.append(tree.last_zxid)

    tree.watches.add_data("/a", Ear())
    parts = [SubTxn(Op.CREATE, made("/a").encode()), SubTxn(Op.CREATE, made("/b").encode())]
    tree.apply(txn(3, Op.MULTI, MultiTxn(parts)))
    assert seen == [0]
    assert tree.last_zxid == 3


def test_a_session_that_no_tree_knows_may_close() -> None:
    tree = DataTree()
    assert tree.apply(txn(1, Op.CLOSE_SESSION, CloseSessionTxn([]), session=99)).err == 0


# Snapshots


def test_a_snapshot_brings_everything_back() -> None:
    server = Server()
    client = server.connect(5)
    server.write(client, Op.CREATE, create("/a", b"x", READ))
    server.write(client, Op.CREATE, create("/a2", None, [Acl(31, "world", "anyone"), Acl(1, "ip", "1.2.3.4")]))
    server.write(client, Op.CREATE, create("/a2/e", flags=1))
    server.write(client, Op.CREATE_CONTAINER, create("/c", flags=4))
    server.write(client, Op.SET_DATA, set_data("/a2", b"y"))
    copy = copy_of(server.tree)
    assert contents(copy) == contents(server.tree)
    assert copy.acls.by_id == server.tree.acls.by_id
    for name in ("digest", "ephemerals", "containers", "ttls", "sessions", "last_zxid"):
        assert getattr(copy, name) == getattr(server.tree, name)


def test_restoring_drops_unused_acls_and_adds_missing_system_nodes() -> None:
    tree = DataTree()
    tree.clear()
    tree.restore_acl(1, READ)
    tree.restore_acl(2, [Acl(2, "world", "anyone")])
    tree.restore_node("", b"", -1, bytes(60))
    tree.restore_node("/a", b"", 2, bytes(60))
    tree.restored()
    assert list(tree.nodes) == ["/", "/a", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"]
    assert tree.acls.get(tree.nodes["/zookeeper/config"].acl) == tuple(READ)
    assert set(tree.acls.by_id) == {2, tree.nodes["/zookeeper/config"].acl}


def test_snapshots_that_cannot_be() -> None:
    tree = DataTree()
    tree.clear()
    with pytest.raises(CorruptSnapshot):
        tree.restore_node("/a", b"", -1, bytes(60))
    with pytest.raises(CorruptSnapshot):
        tree.restored()


def test_deleting_takes_children_along_that_only_a_fuzzy_snapshot_can_have() -> None:
    tree = DataTree()
    tree.apply(txn(1, Op.CREATE, made("/a")))
    tree.apply(txn(2, Op.CREATE, made("/a/b")))
    tree.apply(txn(3, Op.CREATE, made("/a/b/e", ephemeral=True)))
    before = tree.digest
    tree.apply(txn(4, Op.DELETE, DeleteTxn("/a")))
    assert list(tree.nodes) == list(DataTree().nodes)
    assert tree.ephemerals == {}
    assert before != tree.digest == sum(node.digest for node in tree.nodes.values())


def test_replay_moves_a_parents_counters_only_up() -> None:
    tree = DataTree()
    for number in (
        txn(1, Op.CREATE, made("/a", 1)),
        txn(2, Op.CREATE, made("/a/x", 1)),
        txn(3, Op.DELETE, DeleteTxn("/a/x")),
        txn(4, Op.CREATE, made("/a/y", 2)),
    ):
        tree.apply(number)
    for again in (txn(2, Op.CREATE, made("/a/x", 1)), txn(3, Op.DELETE, DeleteTxn("/a/x"))):
        assert tree.apply(again).err == 0
    assert tree.apply(txn(3, Op.DELETE, DeleteTxn("/a/x"))).err == Code.NONODE
    assert tree.apply(txn(4, Op.CREATE, made("/a/y", 2))).err == Code.NODEEXISTS
    assert (tree.nodes["/a"].cversion, stat_of(tree, "/a").pzxid) == (2, 4)
    assert tree.apply(txn(9, Op.CREATE, made("/a/y", 5))).err == Code.NODEEXISTS
    assert (tree.nodes["/a"].cversion, stat_of(tree, "/a").pzxid) == (5, 9)
    # The node may be gone while its parent was written before: the parent still learns of the delete.
    assert tree.apply(txn(12, Op.DELETE, DeleteTxn("/a/x"))).err == Code.NONODE
    assert stat_of(tree, "/a").pzxid == 12


def test_replay_gives_a_node_the_acl_its_snapshot_lacks() -> None:
    tree = DataTree()
    tree.clear()
    tree.restore_node("", b"", -1, bytes(60))
    tree.restore_node("/a", b"", 5, bytes(60))
    tree.restored()
    with pytest.raises(CorruptSnapshot):
        tree.acls.get(tree.nodes["/a"].acl)
    tree.apply(txn(1, Op.CREATE, CreateTxn("/a", b"", READ, False, 1)))
    assert tree.acls.get(tree.nodes["/a"].acl) == tuple(READ)
    tree.apply(txn(2, Op.DELETE, DeleteTxn("/a")))
    assert len(tree.acls.by_id) == 1


def test_a_node_is_small() -> None:
    tree = DataTree()
    for number in range(1000):
        tree.apply(txn(number + 1, Op.CREATE, CreateTxn(f"/{number}", b"", OPEN, False, number + 1)))
    node = tree.nodes["/5"]
    assert isinstance(node, Node)
    assert not gc.is_tracked(node)
    assert sys.getsizeof(node) + sys.getsizeof(node.record) <= 172
    assert node.children is None
