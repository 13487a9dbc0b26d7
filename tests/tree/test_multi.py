"""multi on the leader and when applied: all or nothing (client-protocol §7)."""

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
    set_data,
)
from trioquorum.errors import Code
from trioquorum.wire.ops import CONTAINER_OWNER, Op
from trioquorum.wire.records import Acl
from trioquorum.wire.txn import CheckVersionTxn, CreateTxn, MultiTxn, decode_record


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server) -> Connection:
    return server.connect(1)


def test_a_multi_sees_its_own_earlier_parts(server: Server, client: Connection) -> None:
    applied = server.write(
        client,
        Op.MULTI,
        multi(
            (Op.CREATE, create("/a")),
            (Op.CREATE2, create("/a/b", b"x")),
            (Op.CREATE_CONTAINER, create("/a/c", flags=4)),
            (Op.CREATE_TTL, create_ttl("/a/t", 5, 7)),
            (Op.SET_DATA, set_data("/a/b", b"y", 0)),
            (Op.CHECK, at("/a/b", 1)),
            (Op.DELETE, at("/a/b", 1)),
        ),
    )
    assert [(part.err, part.type) for part in applied.parts or []] == [
        (0, Op.CREATE),
        (0, Op.CREATE),
        (0, Op.CREATE_CONTAINER),
        (0, Op.CREATE_TTL),
        (0, Op.SET_DATA),
        (0, Op.CHECK),
        (0, Op.DELETE),
    ]
    assert sorted(server.tree.nodes["/a"].children or ()) == ["/a/c", "/a/t"]
    assert server.tree.nodes["/a/c"].owner == CONTAINER_OWNER


def test_a_failed_multi_tells_each_part_and_leaves_no_trace(server: Server, client: Connection) -> None:
    server.write(client, Op.CREATE, create("/m"))
    before = server.prep.pending.get("/m")
    failed = server.prepare(
        client,
        Op.MULTI,
        multi(
            (Op.CREATE, create("/m/s-", flags=2)),
            (Op.SET_DATA, set_data("/m", b"x")),
            (Op.CHECK, at("/none")),
            (Op.DELETE, at("/m")),
        ),
    )
    assert failed.header.type == Op.MULTI
    assert codes(failed.record) == [OK, OK, Code.NONODE, Code.RUNTIMEINCONSISTENCY]
    assert server.prep.pending.get("/m") == before
    # ZOOKEEPER-1624: the parent's counter is rolled back too.
    assert server.prepare(client, Op.CREATE, create("/m/s-", flags=2)).record == CreateTxn(
        "/m/s-0000000000", b"", OPEN, False, 1
    )
    applied = server.commit(failed)
    assert applied.err == 0
    assert [(part.type, part.err) for part in applied.parts or []] == [
        (Op.ERROR, 0),
        (Op.ERROR, 0),
        (Op.ERROR, Code.NONODE),
        (Op.ERROR, Code.RUNTIMEINCONSISTENCY),
    ]
    assert server.tree.nodes["/m"].data == b""


def test_a_failed_multi_keeps_earlier_pending_changes(server: Server, client: Connection) -> None:
    server.prepare(client, Op.CREATE, create("/a"))
    server.prepare(client, Op.MULTI, multi((Op.DELETE, at("/a")), (Op.CHECK, at("/a"))))
    assert code_of(server.prepare(client, Op.SET_DATA, set_data("/a"))) == 0


def test_checks_inside_a_multi(server: Server, client: Connection) -> None:
    server.write(client, Op.CREATE, create("/a"))
    server.write(client, Op.CREATE, create("/secret", acl=[Acl(31, "digest", "a:b")]))
    for body, code in (
        (at("/a", 3), Code.BADVERSION),
        (at("/secret", 3), Code.NOAUTH),
        (at("/none/", 3), Code.BADARGUMENTS),
    ):
        assert codes(server.prepare(client, Op.MULTI, multi((Op.CHECK, body))).record) == [code]
    good = server.prepare(client, Op.MULTI, multi((Op.CHECK, at("/a", 0))))
    assert isinstance(good.record, MultiTxn)
    part = (good.record.txns or [])[0]
    assert decode_record(part.type, part.data or b"")[0] == CheckVersionTxn("/a", 1)


def test_what_fails_a_multi_as_a_whole(server: Server, client: Connection) -> None:
    bad_flags = server.prepare(client, Op.MULTI, multi((Op.CREATE, create("/a")), (Op.CREATE, create("/b", flags=9))))
    assert code_of(bad_flags) == Code.MARSHALLINGERROR
    assert code_of(server.prepare(client, Op.MULTI, multi((Op.GET_DATA, at("/a"))))) == Code.MARSHALLINGERROR
    moved = server.prepare(client, Op.MULTI, multi((Op.CREATE, create("/a"))), owner=2)
    assert code_of(moved) == Code.SESSIONMOVED
    assert code_of(server.prepare(client, Op.CREATE, create("/a"))) == 0


def test_an_empty_multi(server: Server, client: Connection) -> None:
    applied = server.write(client, Op.MULTI, multi())
    assert (applied.err, applied.parts) == (0, [])
