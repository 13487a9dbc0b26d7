"""Random histories: against a plain model, and replayed over snapshots that were taken while they happened."""

from collections.abc import Iterator
from random import Random

from hypothesis import given, settings, strategies as st
from hypothesis.strategies import SearchStrategy

from tests.tree.kit import OPEN, Connection, Server, at, code_of, contents, create, set_acl, set_data, stat_of
from trioquorum.errors import Code
from trioquorum.tree.node import persisted_stat
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import Op
from trioquorum.wire.records import Acl, IntResponse, MultiHeader
from trioquorum.wire.txn import ErrorTxn, MultiTxn, Txn, decode_txn

PATHS = ["/a", "/b", "/a/a", "/a/b", "/b/a", "/a/a/a", "/a/s-0000000000"]
ACLS = [OPEN, [Acl(31, "world", "anyone"), Acl(1, "ip", "10.0.0.1")], [Acl(31, "ip", "127.0.0.1")]]
Step = tuple[str, int, str, int, int]

paths = st.sampled_from(PATHS)
versions = st.sampled_from([-1, -1, -1, 0, 1])
who = st.integers(0, 1)
creates = st.tuples(st.just("create"), who, paths, st.sampled_from([0, 0, 1, 2, 4]), st.integers(0, 2))
deletes = st.tuples(st.just("delete"), who, paths, versions, st.just(0))
sets = st.tuples(st.just("set"), who, paths, versions, st.integers(0, 2))
acls = st.tuples(st.just("acl"), who, paths, versions, st.integers(0, 2))
closes = st.tuples(st.just("close"), who, st.just(""), st.just(0), st.just(0))
nodes: SearchStrategy[Step] = st.one_of(creates, creates, deletes, sets)
open_nodes = nodes.map(lambda step: (*step[:4], 0) if step[0] == "create" else step)
"""The model knows no permissions."""


def request(step: Step) -> tuple[int, Record]:
    do, _, path, number, more = step
    if do == "create":
        op = Op.CREATE_CONTAINER if number == 4 else Op.CREATE
        return op, create(path, bytes(more), ACLS[more], number)
    if do == "delete":
        return Op.DELETE, at(path, number)
    if do == "set":
        return Op.SET_DATA, set_data(path, bytes(more), number)
    return Op.SET_ACL, set_acl(path, ACLS[more], number)


class Clients:
    """Two clients, whose sessions are opened again when they were closed; every transaction in ``txns``."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.sessions = iter(range(1, 1000))
        self.txns: list[Txn] = []
        self.waiting: list[Txn] = []
        self.open = [Connection(next(self.sessions)) for _ in range(2)]
        for client in self.open:
            self._connect(client)

    def _connect(self, client: Connection) -> None:
        self.server.tracker.add(client.session, 10_000, 0)
        self._keep(self.server.prepare(client, Op.CREATE_SESSION, IntResponse(10_000)))

    def _keep(self, txn: Txn) -> None:
        self.txns.append(decode_txn(txn.encode()))
        self.waiting.append(txn)

    def prepare(self, step: Step | list[Step]) -> Txn:
        """The transaction of a step; it is not applied yet."""
        server = self.server
        if isinstance(step, list):
            parts = [request(one) for one in step]
            body = b"".join(MultiHeader(op, False, -1).encode() + part.encode() for op, part in parts)
            txn = server.prepare(self.open[0], Op.MULTI, body + MultiHeader(-1, True, -1).encode())
        elif step[0] == "close":
            txn = server.prepare(self.open[step[1]], Op.CLOSE_SESSION)
        else:
            txn = server.prepare(self.open[step[1]], *request(step))
        self._keep(txn)
        if txn.header.type == Op.CLOSE_SESSION:
            fresh = Connection(next(self.sessions))
            self.open = [fresh if client.session == txn.header.session else client for client in self.open]
            self._connect(fresh)
        return txn

    def commit(self) -> None:
        for txn in self.waiting:
            self.server.commit(txn)
        self.waiting.clear()


class Model:
    """What the specification says, with no thought for speed: path → [data, version, creates, deletes, owner]."""

    def __init__(self) -> None:
        self.nodes: dict[str, list[int]] = {"/": [0, 0, 0, 0, 0]}

    def children(self, path: str) -> set[str]:
        head = "/" if path == "/" else path + "/"
        return {p for p in self.nodes if p.startswith(head) and p != path and "/" not in p[len(head) :]}

    def step(self, step: Step, session: int) -> int:
        do, _, path, number, more = step
        parent = path[: path.rfind("/")] or "/"
        if parent not in self.nodes:
            return Code.NONODE
        if do == "create":
            if number == 2:
                path += f"{self.nodes[parent][2]:010d}"
            if path in self.nodes:
                return Code.NODEEXISTS
            if self.nodes[parent][4]:
                return Code.NOCHILDRENFOREPHEMERALS
            self.nodes[parent][2] += 1
            self.nodes[path] = [more, 0, 0, 0, session if number == 1 else 0]
            return 0
        if path not in self.nodes:
            return Code.NONODE
        node = self.nodes[path]
        if number not in (-1, node[1]):
            return Code.BADVERSION
        if do == "set":
            node[0], node[1] = more, node[1] + 1
            return 0
        if self.children(path):
            return Code.NOTEMPTY
        self.delete(path)
        return 0

    def delete(self, path: str) -> None:
        del self.nodes[path]
        self.nodes[path[: path.rfind("/")] or "/"][3] += 1

    def multi(self, steps: list[Step], session: int) -> list[int]:
        before = {path: list(node) for path, node in self.nodes.items()}
        for number, step in enumerate(steps):
            code = self.step(step, session)
            if code:
                self.nodes = before
                return [0] * number + [code] + [Code.RUNTIMEINCONSISTENCY] * (len(steps) - number - 1)
        return [0] * len(steps)

    def close(self, session: int) -> None:
        for path in [p for p, node in self.nodes.items() if node[4] == session]:
            self.delete(path)


def multi_codes(txn: Txn) -> list[int]:
    assert isinstance(txn.record, MultiTxn)
    return [ErrorTxn.decode(part.data or b"").err if part.type == Op.ERROR else 0 for part in txn.record.txns or []]


@given(st.lists(st.one_of(open_nodes, open_nodes, closes, st.lists(open_nodes, max_size=4)), max_size=30), st.randoms())
@settings(max_examples=100, deadline=None)
def test_any_history_is_the_models(history: list[Step | list[Step]], chance: Random) -> None:
    """Codes are decided while earlier requests still wait; the tree is compared when all is applied."""
    server = Server()
    clients, model = Clients(server), Model()
    for step in history:
        if isinstance(step, list):
            codes = model.multi(step, clients.open[0].session)
            assert multi_codes(clients.prepare(step)) == codes
        elif step[0] == "close":
            model.close(clients.open[step[1]].session)
            assert code_of(clients.prepare(step)) == 0
        else:
            code = model.step(step, clients.open[step[1]].session)
            assert code_of(clients.prepare(step)) == code
        if chance.random() < 0.4:
            clients.commit()
    clients.commit()
    tree = server.tree
    assert {path for path in tree.nodes if not path.startswith("/zookeeper")} == set(model.nodes)
    for path, (data, version, made, deleted, owner) in model.nodes.items():
        node, shown = tree.nodes[path], stat_of(tree, path)
        assert (node.data, shown.version, shown.ephemeral_owner) == (bytes(data), version, owner)
        if path != "/":
            assert (shown.cversion, shown.num_children) == (made + deleted, len(model.children(path)))
            assert shown.num_children == len(node.children or ())
    ephemerals = {path for paths in tree.ephemerals.values() for path in paths}
    assert ephemerals == {path for path, node in model.nodes.items() if node[4]}
    assert not server.prep.pending._changes
    assert tree.digest == sum(node.digest for node in tree.nodes.values()) % 2**64


def walk(tree: DataTree) -> Iterator[tuple[str, bytes | None, int, bytes]]:
    """A snapshot's nodes, parents first, read one at a time from a tree that goes on changing."""
    below = ["/"]
    while below:
        path = below.pop()
        node = tree.nodes.get(path)
        if node is not None:
            below += node.children or ()
            yield path, node.data, node.acl, persisted_stat(node)


@given(
    st.lists(st.one_of(nodes, nodes, acls, closes, st.lists(nodes, max_size=4)), max_size=40),
    st.integers(0, 60),
    st.lists(st.integers(0, 5), min_size=1, max_size=12),
)
@settings(max_examples=100, deadline=None)
def test_replay_over_a_fuzzy_snapshot_leads_to_the_same_tree(
    history: list[Step | list[Step]], start: int, pauses: list[int]
) -> None:
    server = Server()
    clients = Clients(server)
    for step in history:
        clients.prepare(step)
        clients.commit()
    txns = clients.txns
    start = min(start, len(txns))

    live = DataTree()
    for txn in txns[:start]:
        live.apply(txn)
    copy = DataTree()
    copy.clear()
    last_zxid = live.last_zxid
    copy.sessions = dict(live.sessions)
    for acl_id, acl in live.acls.by_id.items():
        copy.restore_acl(acl_id, acl)
    rest = iter(txns[start:])
    for number, (path, data, acl_id, stat) in enumerate(walk(live)):
        copy.restore_node("" if path == "/" else path, data, acl_id, stat)
        for _, txn in zip(range(pauses[number % len(pauses)]), rest, strict=False):
            live.apply(txn)
    for txn in rest:
        live.apply(txn)
    copy.restored()
    copy.last_zxid = last_zxid

    for _ in range(2):
        for txn in txns[start:]:
            copy.apply(txn)
        assert contents(copy) == contents(live) == contents(server.tree)
        for name in ("sessions", "ephemerals", "containers", "ttls", "digest"):
            assert getattr(copy, name) == getattr(live, name), name
        used = {node.acl for node in copy.nodes.values()}
        assert used - {-1} == set(copy.acls.by_id)
    assert copy.last_zxid == max(last_zxid, live.last_zxid)
