"""Each row of the tables of client-protocol §11: what registers which watch, and which operation fires it, in order."""

import pytest

from tests.tree.kit import Connection, Server, at, create, multi, set_acl, set_data
from trioquorum.errors import RequestFailed
from trioquorum.tree import reads
from trioquorum.tree.watches import Mode
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import Op
from trioquorum.wire.records import Acl, PathRequest, SetWatches2
from trioquorum.wire.txn import SetDataTxn, Txn, TxnHeader

CREATED, DELETED, CHANGED, CHILDREN = 1, 2, 3, 4
PRIVATE = [Acl(31, "digest", "bob:x")]


@pytest.fixture
def server() -> Server:
    server = Server()
    client = server.connect(1)
    for path in ("/p", "/p/n"):
        server.write(client, Op.CREATE, create(path))
    return server


# Registered


@pytest.mark.parametrize(
    ("how", "data", "child"),
    [
        (lambda tree, ear: reads.exists(tree, "/p", [], ear), Mode.STANDARD, 0),
        (lambda tree, ear: reads.get_data(tree, "/p", [], ear), Mode.STANDARD, 0),
        (lambda tree, ear: reads.get_children(tree, "/p", [], ear), 0, Mode.STANDARD),
        (lambda tree, ear: reads.get_children2(tree, "/p", [], ear), 0, Mode.STANDARD),
        (lambda tree, ear: reads.add_watch(tree, "/p", 0, ear), Mode.PERSISTENT, Mode.PERSISTENT),
        (lambda tree, ear: reads.add_watch(tree, "/p", 1, ear), Mode.RECURSIVE, 0),
        (lambda tree, ear: reads.get_acl(tree, "/p", []), 0, 0),
        (lambda tree, ear: reads.set_watches(tree, SetWatches2(99, ["/p"], [], [], [], []), ear), Mode.STANDARD, 0),
        (lambda tree, ear: reads.set_watches(tree, SetWatches2(99, [], [], ["/p"], [], []), ear), 0, Mode.STANDARD),
        (
            lambda tree, ear: reads.set_watches(tree, SetWatches2(0, [], [], [], ["/p"], []), ear),
            Mode.PERSISTENT,
            Mode.PERSISTENT,
        ),
        (lambda tree, ear: reads.set_watches(tree, SetWatches2(0, [], [], [], [], ["/p"]), ear), Mode.RECURSIVE, 0),
    ],
)
def test_what_registers_which_watch(server: Server, how: object, data: int, child: int) -> None:
    ear = Connection(2)
    assert callable(how)
    how(server.tree, ear)
    assert server.tree.watches.data.modes("/p", ear) == data
    assert server.tree.watches.child.modes("/p", ear) == child
    assert ear.events == []


def test_exists_of_nothing_registers_in_the_data_table(server: Server) -> None:
    ear = Connection(2)
    with pytest.raises(RequestFailed):
        reads.exists(server.tree, "/none", [], ear)
    assert server.tree.watches.data.modes("/none", ear) == Mode.STANDARD


# Fired


WRITES: list[tuple[int, Record | bytes, list[tuple[int, str]]]] = [
    (Op.CREATE, create("/p/new"), [(CREATED, "/p/new"), (CHILDREN, "/p")]),
    (Op.CREATE2, create("/p/new"), [(CREATED, "/p/new"), (CHILDREN, "/p")]),
    (Op.CREATE_CONTAINER, create("/new", flags=4), [(CREATED, "/new"), (CHILDREN, "/")]),
    (Op.DELETE, at("/p/n"), [(DELETED, "/p/n"), (CHILDREN, "/p")]),
    (Op.SET_DATA, set_data("/p/n"), [(CHANGED, "/p/n")]),
    (Op.SET_ACL, set_acl("/p/n", PRIVATE), []),
    (Op.MULTI, multi((Op.CHECK, at("/p/n"))), []),
    (
        Op.MULTI,
        multi((Op.SET_DATA, set_data("/p")), (Op.DELETE, at("/p/n"))),
        [(CHANGED, "/p"), (DELETED, "/p/n"), (CHILDREN, "/p")],
    ),
    (Op.MULTI, multi((Op.SET_DATA, set_data("/p")), (Op.DELETE, at("/none"))), []),
    (Op.DELETE, at("/p"), []),
]


@pytest.mark.parametrize(("op", "body", "events"), WRITES)
@pytest.mark.parametrize("mode", ["standard", "persistent"])
def test_what_fires_which_watch(
    server: Server, mode: str, op: int, body: Record | bytes, events: list[tuple[int, str]]
) -> None:
    """To who watches everything; each event has the zxid of its transaction."""
    ear = Connection(2)
    for path in ("/", "/p", "/p/n", "/p/new", "/new"):
        if mode == "persistent":
            server.tree.watches.add_persistent(path, ear, recursive=False)
        else:
            server.tree.watches.add_data(path, ear)
            server.tree.watches.add_child(path, ear)
    server.write(server.connect(3), op, body)
    assert ear.events == [(kind, path, server.zxid) for kind, path in events]


def test_sessions_fire_nothing_but_for_their_ephemerals(server: Server) -> None:
    ear = Connection(2)
    client = server.connect(4)
    server.write(client, Op.CREATE, create("/p/e", flags=1))
    for path in ("/", "/p", "/p/e"):
        server.tree.watches.add_persistent(path, ear, recursive=False)
    server.connect(5)
    assert ear.events == []
    server.write(client, Op.CLOSE_SESSION)
    assert ear.events == [(DELETED, "/p/e", server.zxid), (CHILDREN, "/p", server.zxid)]


def test_a_reconfiguration_changes_the_config_node(server: Server) -> None:
    ear = Connection(2)
    server.tree.watches.add_data("/zookeeper/config", ear)
    header = TxnHeader(1, 1, 50, 1, Op.RECONFIG)
    server.tree.apply(Txn(header, SetDataTxn("/zookeeper/config", b"text", -1)))
    assert ear.events == [(CHANGED, "/zookeeper/config", 50)]


def test_the_leaders_clean_up_fires_as_a_delete(server: Server) -> None:
    ear = Connection(2)
    server.write(server.connect(3), Op.CREATE_CONTAINER, create("/p/c", flags=4))
    server.tree.watches.add_data("/p/c", ear)
    server.tree.watches.add_child("/p", ear)
    server.write(Connection(0), Op.DELETE_CONTAINER, PathRequest("/p/c"), owner="this peer")
    assert ear.events == [(DELETED, "/p/c", server.zxid), (CHILDREN, "/p", server.zxid)]


# Delivered


@pytest.mark.parametrize("shut", ["/p/n", "/p"])
def test_events_are_for_who_may_read_the_node_of_each(server: Server, shut: str) -> None:
    """The deleted node's ACL decides on its deletion, its parent's on the change of the child list; watches are used
    up in any case (CVE-2024-23944).
    """
    client = server.connect(3, auth=[("digest", "bob:x"), ("super", "")])
    server.write(client, Op.SET_ACL, set_acl(shut, PRIVATE))
    stranger, bob = Connection(5), Connection(6, auth=[("digest", "bob:x")])
    for ear in (stranger, bob):
        server.tree.watches.add_data("/p/n", ear)
        server.tree.watches.add_child("/p", ear)
    server.write(client, Op.DELETE, at("/p/n"))
    both = [(DELETED, "/p/n", server.zxid), (CHILDREN, "/p", server.zxid)]
    assert bob.events == both
    assert stranger.events == (both[1:] if shut == "/p/n" else both[:1])
    assert not server.tree.watches
