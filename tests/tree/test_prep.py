"""Order of checks (client-protocol §8.2), pending changes, multi, sessions: what the leader makes of a request."""

import pytest

from tests.tree.kit import (
    OK,
    OPEN,
    Connection,
    Server,
    at,
    code_of,
    codes,
    create,
    create_ttl,
    multi,
    set_acl,
    set_data,
    stat_of,
)
from trioquorum.errors import Code
from trioquorum.tree.prep import LOCAL_OWNER
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import Op, Perm
from trioquorum.wire.records import Acl, CreateRequest, IntResponse, PathRequest, ReconfigRequest
from trioquorum.wire.txn import (
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    SetAclTxn,
    SetDataTxn,
)

SESSION = 0x0100_0000_0000_0001
READ_ONLY = [Acl(1, "world", "anyone")]
NO_ACL: list[Acl] = []
EPHEMERAL, SEQUENTIAL, EPHEMERAL_SEQUENTIAL, CONTAINER, TTL = 1, 2, 3, 4, 5


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server) -> Connection:
    return server.connect(SESSION)


# Every row is wrong in two places: the one that is checked first decides.

OWNER, NOBODY = 1, 2
CREATE_ROWS: list[tuple[int, Record, int, Code]] = [
    (Op.CREATE, create("bad", flags=7), OWNER, Code.BADARGUMENTS),
    (Op.CREATE, create("/a", flags=-1), NOBODY, Code.BADARGUMENTS),
    (Op.CREATE_TTL, create_ttl("/a", 5, 0), NOBODY, Code.BADARGUMENTS),
    (Op.CREATE_TTL, create_ttl("/a", 6, 2**40), NOBODY, Code.BADARGUMENTS),
    (Op.CREATE_TTL, create_ttl("/a", 0, -1), NOBODY, Code.BADARGUMENTS),
    (Op.CREATE_TTL, create_ttl("/a", 4, -1), NOBODY, Code.BADARGUMENTS),
    (Op.CREATE, create("/a", flags=5), NOBODY, Code.BADARGUMENTS),
    (Op.CREATE_CONTAINER, create("/a", flags=0), NOBODY, Code.BADARGUMENTS),
    (Op.CREATE, create("bad", flags=0), NOBODY, Code.SESSIONMOVED),
    (Op.CREATE, create("bad", acl=NO_ACL), OWNER, Code.BADARGUMENTS),
    (Op.CREATE, create("/a\0", acl=NO_ACL), OWNER, Code.BADARGUMENTS),
    (Op.CREATE, CreateRequest(None, b"", NO_ACL, 0), OWNER, Code.MARSHALLINGERROR),
    (Op.CREATE, create("/no/child", acl=NO_ACL), OWNER, Code.INVALIDACL),
    (Op.CREATE, create("/no//child"), OWNER, Code.NONODE),
    (Op.CREATE, create("/locked/"), OWNER, Code.NOAUTH),
    (Op.CREATE, create("/open/"), OWNER, Code.BADARGUMENTS),
    (Op.CREATE, create("/eph/a\x01"), OWNER, Code.BADARGUMENTS),
    (Op.CREATE, create("/open"), OWNER, Code.NODEEXISTS),
    (Op.CREATE, create("/eph/child"), OWNER, Code.NOCHILDRENFOREPHEMERALS),
]
OTHER_ROWS: list[tuple[int, Record, int, Code]] = [
    (Op.DELETE, at("/"), NOBODY, Code.SESSIONMOVED),
    (Op.DELETE, at("/"), OWNER, Code.BADARGUMENTS),
    (Op.DELETE, at("/zookeeper"), OWNER, Code.BADARGUMENTS),
    (Op.DELETE, at("/zookeeper/quota"), OWNER, Code.BADARGUMENTS),
    (Op.DELETE, at("/zookeeper/config"), OWNER, Code.BADARGUMENTS),
    (Op.DELETE, at("relative"), OWNER, Code.BADARGUMENTS),
    (Op.DELETE, at("/no/child"), OWNER, Code.NONODE),
    (Op.DELETE, at("/locked/none"), OWNER, Code.NOAUTH),
    (Op.DELETE, at("/none", 5), OWNER, Code.NONODE),
    (Op.DELETE, at("/locked", 5), OWNER, Code.BADVERSION),
    (Op.DELETE, at("/locked"), OWNER, Code.NOTEMPTY),
    (Op.SET_DATA, set_data("bad"), NOBODY, Code.SESSIONMOVED),
    (Op.SET_DATA, set_data("bad"), OWNER, Code.BADARGUMENTS),
    (Op.SET_DATA, set_data("/none/"), OWNER, Code.BADARGUMENTS),
    (Op.SET_DATA, set_data("/none", version=5), OWNER, Code.NONODE),
    (Op.SET_DATA, set_data("/locked", version=5), OWNER, Code.NOAUTH),
    (Op.SET_DATA, set_data("/open", version=5), OWNER, Code.BADVERSION),
    (Op.SET_ACL, set_acl("bad", NO_ACL), OWNER, Code.BADARGUMENTS),
    (Op.SET_ACL, set_acl("/none", NO_ACL), OWNER, Code.INVALIDACL),
    (Op.SET_ACL, set_acl("/none", OPEN, 5), OWNER, Code.NONODE),
    (Op.SET_ACL, set_acl("/locked", OPEN, 5), OWNER, Code.NOAUTH),
    (Op.SET_ACL, set_acl("/open", OPEN, 5), OWNER, Code.BADVERSION),
    (Op.DELETE_CONTAINER, PathRequest("/open"), OWNER, Code.UNIMPLEMENTED),
    (Op.RECONFIG, ReconfigRequest(None, None, None, -1), OWNER, Code.RECONFIGDISABLED),
    (Op.CHECK, at("/open"), OWNER, Code.UNIMPLEMENTED),
]


@pytest.mark.parametrize(("op", "body", "owner", "code"), CREATE_ROWS + OTHER_ROWS)
def test_the_first_failing_check_decides(
    server: Server, client: Connection, op: int, body: Record, owner: int, code: Code
) -> None:
    for made in (create("/open"), create("/locked", acl=OPEN), create("/locked/child"), create("/eph", flags=1)):
        assert server.write(client, Op.CREATE, made).err == 0
    server.write(client, Op.SET_ACL, set_acl("/locked", READ_ONLY))
    txn = server.prepare(client, op, body, owner=owner)
    assert Code(code_of(txn)) is code
    assert (txn.header.type, txn.header.zxid, txn.header.cxid) == (Op.ERROR, server.zxid, 1)
    assert txn.header.session == SESSION


@pytest.mark.parametrize(
    ("op", "body", "perm"),
    [
        (Op.CREATE, create("/p/new"), Perm.CREATE),
        (Op.DELETE, at("/p/child"), Perm.DELETE),
        (Op.SET_DATA, set_data("/p"), Perm.WRITE),
        (Op.SET_ACL, set_acl("/p", OPEN), Perm.ADMIN),
        (Op.MULTI, multi((Op.CHECK, at("/p"))), Perm.READ),
    ],
)
@pytest.mark.parametrize("given", list(Perm))
def test_each_operation_needs_its_own_permission(
    server: Server, client: Connection, op: int, body: Record | bytes, perm: Perm, given: Perm
) -> None:
    server.write(client, Op.CREATE, create("/p"))
    server.write(client, Op.CREATE, create("/p/child", acl=[Acl(0, "world", "anyone")]))
    server.write(client, Op.SET_ACL, set_acl("/p", [Acl(given, "world", "anyone")]))
    txn = server.prepare(client, op, body)
    failed = codes(txn.record)[0] if op == Op.MULTI else code_of(txn) or OK
    assert failed == (OK if given is perm else Code.NOAUTH)


def test_ttl_needs_extended_types() -> None:
    server = Server(extended_types=False)
    client = server.connect(SESSION)
    assert code_of(server.prepare(client, Op.CREATE_TTL, create_ttl("/a", TTL, 0))) == Code.UNIMPLEMENTED
    assert code_of(server.prepare(client, Op.CREATE, create("/a", flags=TTL))) == Code.UNIMPLEMENTED
    assert code_of(server.prepare(client, Op.CREATE_TTL, create_ttl("/a", 0, 1))) == Code.BADARGUMENTS


@pytest.mark.parametrize("op", [Op.CREATE, Op.CREATE2, Op.CREATE_TTL, Op.DELETE, Op.SET_DATA, Op.SET_ACL, Op.MULTI])
@pytest.mark.parametrize("body", [b"", b"\0\0\0\x05/a", b"\xff\xff\xff\xf0", b"\0\0\0\x01"])
def test_a_body_that_does_not_decode(server: Server, client: Connection, op: int, body: bytes) -> None:
    txn = server.prepare(client, op, body)
    assert code_of(txn) == Code.MARSHALLINGERROR
    assert txn.header.zxid == server.zxid


def test_a_session_without_a_timeout(server: Server) -> None:
    assert code_of(server.prepare(Connection(9), Op.CREATE_SESSION, b"\0\0\1")) == Code.MARSHALLINGERROR


def test_the_transactions_of_each_operation(server: Server, client: Connection) -> None:
    def of(op: int, body: Record | bytes) -> tuple[int, Record]:
        txn = server.prepare(client, op, body)
        server.commit(txn)
        return txn.header.type, txn.record

    assert of(Op.CREATE, create("/a", b"x")) == (Op.CREATE, CreateTxn("/a", b"x", OPEN, False, 1))
    assert of(Op.CREATE2, create("/a/e", None, flags=1)) == (Op.CREATE2, CreateTxn("/a/e", None, OPEN, True, 1))
    assert of(Op.CREATE_CONTAINER, create("/c", flags=4)) == (
        Op.CREATE_CONTAINER,
        CreateContainerTxn("/c", b"", OPEN, 2),
    )
    assert of(Op.CREATE_TTL, create_ttl("/t", 6, 9)) == (
        Op.CREATE_TTL,
        CreateTtlTxn("/t0000000002", b"", OPEN, 3, 9),
    )
    assert of(Op.SET_DATA, set_data("/a", b"y")) == (Op.SET_DATA, SetDataTxn("/a", b"y", 1))
    assert of(Op.SET_ACL, set_acl("/a", READ_ONLY)) == (Op.SET_ACL, SetAclTxn("/a", READ_ONLY, 1))
    assert of(Op.DELETE, at("/c", 0)) == (Op.DELETE, DeleteTxn("/c"))
    assert of(Op.CREATE_SESSION, IntResponse(4000)) == (Op.CREATE_SESSION, CreateSessionTxn(4000))
    assert of(Op.CLOSE_SESSION, b"") == (Op.CLOSE_SESSION, CloseSessionTxn(["/a/e"]))


@pytest.mark.parametrize("op", [Op.CREATE, Op.CREATE2])
def test_a_container_asked_for_without_its_opcode_is_a_plain_node(server: Server, client: Connection, op: int) -> None:
    txn = server.prepare(client, op, create("/a", flags=4))
    assert (txn.header.type, txn.record) == (op, CreateTxn("/a", b"", OPEN, False, 1))
    server.commit(txn)
    assert server.write(client, Op.CREATE, create("/a/e", flags=1)).err == 0


# Pending changes


def test_later_requests_see_what_is_only_proposed(server: Server, client: Connection) -> None:
    txns = [
        server.prepare(client, Op.CREATE, create("/a")),
        server.prepare(client, Op.CREATE, create("/a/s-", flags=2)),
        server.prepare(client, Op.CREATE, create("/a/s-", flags=2)),
        server.prepare(client, Op.SET_DATA, set_data("/a", version=0)),
        server.prepare(client, Op.SET_DATA, set_data("/a", version=1)),
        server.prepare(client, Op.DELETE, at("/a/s-0000000000")),
        server.prepare(client, Op.CREATE, create("/a/s-", flags=2)),
    ]
    assert [code_of(txn) for txn in txns] == [0] * 7
    assert "/a" not in server.tree.nodes
    failing = [
        (server.prepare(client, Op.CREATE, create("/a")), Code.NODEEXISTS),
        (server.prepare(client, Op.SET_DATA, set_data("/a", version=0)), Code.BADVERSION),
        (server.prepare(client, Op.DELETE, at("/a")), Code.NOTEMPTY),
        (server.prepare(client, Op.SET_DATA, set_data("/a/s-0000000000")), Code.NONODE),
    ]
    assert [code_of(txn) for txn, _ in failing] == [code for _, code in failing]
    for txn in [*txns, *[txn for txn, _ in failing]]:
        server.commit(txn)
    assert sorted(server.tree.nodes["/a"].children or ()) == ["/a/s-0000000001", "/a/s-0000000002"]
    assert stat_of(server.tree, "/a").version == 2


def test_the_tree_takes_over_when_the_last_change_is_applied(server: Server, client: Connection) -> None:
    first = server.prepare(client, Op.CREATE, create("/a"))
    second = server.prepare(client, Op.SET_DATA, set_data("/a"))
    assert server.prep.pending.proposed("/a")
    server.commit(first)
    assert server.prep.pending.proposed("/a")
    assert not server.prep.pending.proposed("/")
    server.commit(second)
    assert not server.prep.pending.proposed("/a")
    assert code_of(server.prepare(client, Op.SET_DATA, set_data("/a", version=1))) == 0


def test_clear_forgets_what_was_proposed(server: Server, client: Connection) -> None:
    server.prepare(client, Op.CREATE, create("/e", flags=1))
    server.prep.clear()
    assert code_of(server.prepare(client, Op.CREATE, create("/e"))) == 0
    assert server.prep.pending.ephemerals_of(SESSION) == []


@pytest.mark.parametrize(("current", "following"), [(-3, -2), (-2, 0), (-1, 0), (2**31 - 1, -(2**31)), (5, 6)])
def test_versions_wrap_and_leave_out_minus_one(
    server: Server, client: Connection, current: int, following: int
) -> None:
    server.write(client, Op.CREATE, create("/a"))
    server.tree.set_data("/a", b"", current, 99, 0)
    assert server.prepare(client, Op.SET_DATA, set_data("/a")).record == SetDataTxn("/a", b"", following)


def test_the_sequence_stops_at_the_largest_int(server: Server, client: Connection) -> None:
    server.write(client, Op.CREATE, create("/q"))
    server.tree.nodes["/q"].cversion = 2**31 - 1
    txn = server.prepare(client, Op.CREATE, create("/q/", flags=2))
    assert txn.record == CreateTxn("/q/2147483647", b"", OPEN, False, -(2**31))
    server.commit(txn)
    assert code_of(server.prepare(client, Op.CREATE, create("/q/", flags=2))) == Code.NODEEXISTS


# Sessions


def test_closing_a_session_takes_pending_ephemerals_along(server: Server, client: Connection) -> None:
    server.write(client, Op.CREATE, create("/d"))
    for path in ("/kept", "/gone", "/d/deep"):
        server.write(client, Op.CREATE, create(path, flags=1))
    other = server.connect(SESSION + 1)
    server.write(other, Op.CREATE, create("/others", flags=1))
    pending = [
        server.prepare(client, Op.DELETE, at("/gone")),
        server.prepare(client, Op.CREATE, create("/new", flags=1)),
        server.prepare(client, Op.CREATE, create("/short", flags=1)),
        server.prepare(client, Op.DELETE, at("/short")),
        server.prepare(other, Op.CREATE, create("/gone", flags=1)),
    ]
    close = server.prepare(client, Op.CLOSE_SESSION)
    assert close.record == CloseSessionTxn(["/d/deep", "/kept", "/new"])
    # Trap 13: nothing of this session may follow; others already see the ephemerals gone.
    late = server.prepare(client, Op.CREATE, create("/late", flags=1))
    assert code_of(late) == Code.SESSIONEXPIRED
    assert code_of(server.prepare(other, Op.DELETE, at("/d"))) == 0
    assert code_of(server.prepare(client, Op.CLOSE_SESSION)) == 0
    for txn in [*pending, close, late]:
        server.commit(txn)
    assert set(server.tree.nodes) == {
        "/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/d", "/gone", "/others",
    }  # fmt: skip
    assert server.tree.ephemerals == {SESSION + 1: {"/gone", "/others"}}


def test_closing_needs_no_owner_and_no_living_session(server: Server, client: Connection) -> None:
    server.tracker.expired(10**9)
    assert code_of(server.prepare(client, Op.CLOSE_SESSION, owner=LOCAL_OWNER)) == 0
    assert code_of(server.prepare(Connection(77), Op.CLOSE_SESSION, owner=NOBODY)) == 0


def test_unknown_sessions_write_nothing(server: Server) -> None:
    assert code_of(server.prepare(Connection(5), Op.CREATE, create("/a"))) == Code.SESSIONEXPIRED


def test_pending_ephemerals_are_forgotten_with_their_changes(server: Server, client: Connection) -> None:
    for _ in range(3):
        made = server.prepare(client, Op.CREATE, create("/e", flags=1))
        gone = server.prepare(client, Op.DELETE, at("/e"))
        server.commit(made)
        server.commit(gone)
    assert not server.prep.pending._ephemerals
    assert not server.prep.pending._changes


# Clean-up of containers and TTL nodes


def test_only_the_leader_deletes_containers_and_only_idle_ones(server: Server, client: Connection) -> None:
    for op, body in (
        (Op.CREATE_CONTAINER, create("/c", flags=4)),
        (Op.CREATE_TTL, create_ttl("/t", 5, 1)),
        (Op.CREATE_CONTAINER, create("/full", flags=4)),
        (Op.CREATE, create("/full/child")),
        (Op.CREATE, create("/plain")),
        (Op.CREATE, create("/eph", flags=1)),
    ):
        assert server.write(client, op, body).err == 0

    def sweep(path: str | None) -> int:
        return code_of(server.prepare(Connection(0), Op.DELETE_CONTAINER, PathRequest(path), owner=LOCAL_OWNER))

    busy = server.prepare(client, Op.SET_DATA, set_data("/t"))
    assert {path: sweep(path) for path in ("/full", "/plain", "/eph", "/none", "/", "/t", None)} == {
        "/full": Code.NOTEMPTY,
        "/plain": Code.BADVERSION,
        "/eph": Code.BADVERSION,
        "/none": Code.NONODE,
        "/": Code.BADARGUMENTS,
        "/t": Code.BADVERSION,
        None: Code.MARSHALLINGERROR,
    }
    server.commit(busy)
    assert (sweep("/c"), sweep("/t")) == (0, 0)
    assert sweep("/c") == Code.NONODE
    assert code_of(server.prepare(client, Op.CREATE, create("/c/late"))) == Code.NONODE
