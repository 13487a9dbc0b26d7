import pytest

from tests.tree.kit import Connection, Server, at, create, set_data
from trioquorum.errors import Code, RequestFailed
from trioquorum.tree import reads
from trioquorum.wire.ops import Op
from trioquorum.wire.records import Acl, AclResponse, ChildrenResponse, IntResponse, SetWatches, SetWatches2, Stat

BOB = ("digest", "bob:hash")
PRIVATE = [Acl(31, *BOB)]
SHOWN = [Acl(1, "world", "anyone"), Acl(31, *BOB)]


@pytest.fixture
def server() -> Server:
    server = Server()
    client = server.connect(1, auth=[BOB])
    for made in (
        create("/a", b"x"),
        create("/a/b"),
        create("/a/b/c"),
        create("/p", acl=PRIVATE),
        create("/s", acl=SHOWN),
    ):
        server.write(client, Op.CREATE, made)
    return server


def failure(read: object, *args: object) -> Code:
    assert callable(read)
    with pytest.raises(RequestFailed) as failed:
        read(*args)
    return failed.value.code


@pytest.mark.parametrize("read", [reads.get_data, reads.get_children, reads.get_children2])
def test_a_failed_read_leaves_no_watch(server: Server, read: object) -> None:
    ear = Connection(2)
    for path, code in (("/none", Code.NONODE), ("/p", Code.NOAUTH), (None, Code.MARSHALLINGERROR)):
        assert failure(read, server.tree, path, [], ear) is code
    assert not server.tree.watches


def test_exists_leaves_a_watch_where_nothing_is(server: Server) -> None:
    ear = Connection(2)
    assert failure(reads.exists, server.tree, "/none", [], ear) is Code.NONODE
    assert failure(reads.exists, server.tree, "/p", [], ear) is Code.NOAUTH
    assert failure(reads.exists, server.tree, "/\0", [], ear) is Code.BADARGUMENTS
    assert failure(reads.exists, server.tree, None, [], ear) is Code.MARSHALLINGERROR
    assert Stat.decode(reads.exists(server.tree, "/p", [BOB], ear)).czxid == 5
    assert server.tree.watches.data.watchers() == {ear: ["/none", "/p"]}


def test_who_sees_which_acl(server: Server) -> None:
    def shown(path: str, auth: list[tuple[str, str]]) -> list[Acl] | None:
        return AclResponse.decode(reads.get_acl(server.tree, path, auth)).acl

    assert shown("/s", []) == [SHOWN[0], Acl(31, "digest", "bob:x")]
    assert shown("/s", [BOB]) == SHOWN
    assert failure(reads.get_acl, server.tree, "/p", []) is Code.NOAUTH
    assert shown("/p", [("super", "")]) == PRIVATE


def test_counting_descendants(server: Server) -> None:
    def count(path: str) -> int:
        return IntResponse.decode(reads.get_all_children_number(server.tree, path, [])).value

    assert [count(path) for path in ("/a", "/a/b/c", "/zookeeper")] == [2, 0, 2]
    assert count("/") == len(server.tree.nodes) - 1
    assert count("") == len(server.tree.nodes)  # the root's other name stands outside of it, as in ZooKeeper
    assert failure(reads.get_all_children_number, server.tree, "/p", []) is Code.NOAUTH


def test_ephemerals_by_prefix(server: Server) -> None:
    client = Connection(1)
    for path in ("/e2", "/a/e1", "/a/b/e0"):
        server.write(client, Op.CREATE, create(path, flags=1))

    def of(session: int, prefix: str | None) -> list[str] | None:
        return ChildrenResponse.decode(reads.get_ephemerals(server.tree, session, prefix)).children

    assert of(1, None) == of(1, "") == of(1, " ") == of(1, "/") == ["/a/b/e0", "/a/e1", "/e2"]
    assert of(1, "\0") == of(1, " /\x1f\0") == of(1, None)
    assert of(1, "\xa0") == of(1, " /a") == []
    assert of(1, "/a") == ["/a/b/e0", "/a/e1"]
    assert of(1, "/a/e") == ["/a/e1"]
    assert of(2, "/") == []


def test_odd_watch_requests(server: Server) -> None:
    ear = Connection(2)
    tree = server.tree
    assert failure(reads.add_watch, tree, "/a", 2, ear) is Code.MARSHALLINGERROR
    assert failure(reads.add_watch, tree, None, 0, ear) is Code.MARSHALLINGERROR
    for read in (reads.check_watches, reads.remove_watches):
        assert failure(read, tree, "/a", 6, ear) is Code.MARSHALLINGERROR
        assert failure(read, tree, None, 3, ear) is Code.MARSHALLINGERROR
        assert failure(read, tree, "/a", 3, ear) is Code.NOWATCHER
    assert IntResponse.decode(reads.add_watch(tree, "/nowhere", 1, ear)).value == 0
    assert reads.check_watches(tree, "/nowhere", 5, ear) == b""
    assert reads.remove_watches(tree, "/nowhere", 5, ear) == b""


def test_set_watches_tells_what_was_missed(server: Server) -> None:
    client = Connection(1)
    seen = server.zxid
    server.write(client, Op.SET_DATA, set_data("/a"))
    server.write(client, Op.CREATE, create("/new"))
    server.write(client, Op.DELETE, at("/a/b/c"))
    ear = Connection(2)
    reads.set_watches(
        server.tree, SetWatches(seen, ["/a", "/a/b", "/gone"], ["/new", "/absent"], ["/", "/a", "/gone"]), ear
    )
    assert ear.events == [
        (3, "/a", -1),
        (2, "/gone", -1),
        (1, "/new", -1),
        (4, "/", -1),
        (2, "/gone", -1),
    ]
    assert server.tree.watches.data.watchers() == {ear: ["/a/b", "/absent"]}
    assert server.tree.watches.child.watchers() == {ear: ["/a"]}


def test_set_watches_with_nulls(server: Server) -> None:
    """A list that is null ends the request; those before it count (as in ZooKeeper)."""
    ear = Connection(2)
    asked = SetWatches2(0, None, ["/a"], None, None, None)
    assert failure(reads.set_watches, server.tree, asked, ear) is Code.MARSHALLINGERROR
    assert not server.tree.watches
    asked = SetWatches2(0, [], ["/nowhere"], None, None, None)
    assert failure(reads.set_watches, server.tree, asked, ear) is Code.MARSHALLINGERROR
    assert server.tree.watches
