"""The digest that a leader gives each transaction is the one that the tree has when that one is applied."""

from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from tests.tree.kit import TIME_MS, Connection, Server, at, create, create_ttl, multi, set_acl, set_data
from tests.tree.test_properties import Clients, Step, acls, closes, nodes
from trioquorum.tree import digest_ahead
from trioquorum.tree.apply import Applied
from trioquorum.tree.digest import VERSION, WRAP
from trioquorum.tree.digest_ahead import DigestAhead
from trioquorum.tree.paths import CONFIG
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import CreateFlag, Op
from trioquorum.wire.records import Acl
from trioquorum.wire.txn import CloseSessionTxn, ErrorTxn, SetDataTxn, Txn, TxnHeader


class Stamping(Server):
    """Stamps what it prepares, and compares when it is applied."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = DigestAhead(self.tree)
        self.compared = 0

    def prepare(self, client: Connection, op: int, body: Record | bytes = b"", cxid: int = 1, owner: object = 1) -> Txn:
        # Times differ from each other, as the digest covers them.
        self.now_ms += 1
        txn = super().prepare(client, op, body, cxid, owner)
        self.ahead.stamp(txn, self.prep.unlisted)
        assert (txn.digest is None) == isinstance(txn.record, ErrorTxn)
        return txn

    def commit(self, txn: Txn) -> Applied:
        applied = super().commit(txn)
        if txn.digest is not None:
            assert txn.digest.version == VERSION
            assert txn.digest.tree_digest & WRAP == self.tree.digest
            self.compared += 1
        assert self.tree.digest == sum(node.digest for node in self.tree.nodes.values()) & WRAP
        return applied


@given(
    st.lists(st.one_of(nodes, nodes, acls, closes, st.lists(nodes, max_size=4)), max_size=50),
    st.sampled_from([0, 2, 4096]),
    st.floats(0, 1),
    st.randoms(),
)
@settings(max_examples=200, deadline=None)
def test_any_history_has_the_digests_that_were_told(
    history: list[Step | list[Step]], known_max: int, often: float, chance: Random
) -> None:
    """Applied one by one or many together, so that what is proposed stands on what is proposed, or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digest_ahead, "KNOWN_MAX", known_max)
        server = Stamping()
        clients = Clients(server)
        for step in history:
            clients.prepare(step)
            if chance.random() < often:
                clients.commit()
        clients.commit()
        assert server.compared > 0


def test_every_kind_of_node_and_write() -> None:
    server = Stamping()
    client = server.connect(7)
    for number in range(3):  # Each is applied at once at first, then all that follow wait for each other.
        waiting = [
            server.prepare(client, op, body)
            for op, body in (
                (Op.CREATE, create("/a", b"x")),
                (Op.CREATE2, create("/a/mine", None, flags=CreateFlag.EPHEMERAL)),
                (Op.CREATE, create("/a/n-", b"", flags=CreateFlag.PERSISTENT_SEQUENTIAL)),
                (Op.CREATE_CONTAINER, create("/c", b"", flags=CreateFlag.CONTAINER)),
                (Op.CREATE_TTL, create_ttl("/t", CreateFlag.PERSISTENT_WITH_TTL, 1000)),
                (Op.CREATE, create("/zookeeper/quota/a")),
                (Op.SET_DATA, set_data("/zookeeper/quota/a", b"count=1")),
                (Op.CREATE, create("/zookeeper/more")),
                (Op.DELETE, at("/zookeeper/more")),
                (Op.SET_DATA, set_data("/", b"root")),
                (Op.SET_ACL, set_acl("/a", [Acl(31, "ip", "127.0.0.1")])),
                (Op.SET_ACL, set_acl("/zookeeper/quota", [Acl(31, "ip", "127.0.0.1")])),
                (Op.SET_DATA, set_data("/missing", b"x")),
                (Op.MULTI, multi((Op.CREATE, create("/m")), (Op.SET_DATA, set_data("/m", b"1")), (Op.CHECK, at("/m")))),
                (Op.MULTI, multi((Op.CREATE, create("/no")), (Op.CHECK, at("/nothing")))),
                (Op.MULTI, multi((Op.DELETE, at("/m")), (Op.CREATE, create("/m", b"anew")))),
                (Op.CLOSE_SESSION, b""),
            )
        ]
        for txn in waiting:
            server.commit(txn)
        client = server.connect(8 + number)


def test_a_reconfiguration_changes_no_digest() -> None:
    """What lies below /zookeeper, peers change on their own."""
    server = Stamping()
    client = server.connect(7)
    server.write(client, Op.CREATE, create("/a"))
    before = server.tree.digest
    txn = Txn(TxnHeader(7, 1, 100, TIME_MS, Op.RECONFIG), SetDataTxn(CONFIG, b"server.1=h:1:2\nversion=64", -1))
    server.ahead.stamp(txn)
    server.tree.set_config(b"written aside", 5, 6)
    server.commit(txn)
    assert server.tree.digest == before


def test_ephemerals_that_a_closed_session_does_not_list() -> None:
    """The transaction would be too long; applying it finds them."""
    server = Stamping()
    server.prep.options = type(server.prep.options)(txn_bytes_max=10)
    client, other = server.connect(7), server.connect(8)
    for number in range(5):
        server.write(client, Op.CREATE, create(f"/ephemeral{number}", flags=CreateFlag.EPHEMERAL))
    closing = server.prepare(client, Op.CLOSE_SESSION)
    assert isinstance(closing.record, CloseSessionTxn)
    assert closing.record.paths == []
    behind = server.prepare(other, Op.CREATE, create("/behind"))
    server.commit(closing)
    server.commit(behind)
    # Closing another session later has nothing to do with it.
    server.write(other, Op.CLOSE_SESSION)


def test_a_digest_is_a_long_of_java() -> None:
    server = Stamping()
    server.tree.digest = (1 << 64) - 5
    txn = Txn(TxnHeader(7, 1, 1, TIME_MS, Op.CLOSE_SESSION), CloseSessionTxn([]))
    server.ahead.stamp(txn)
    assert txn.digest is not None
    assert txn.digest.tree_digest == -5
    assert Txn(txn.header, txn.record, txn.digest).encode().endswith((-5).to_bytes(8, "big", signed=True))
