"""Containers and TTL nodes: which of them the leader may delete, and how their owners are read."""

import pytest

from tests.tree.kit import TIME_MS, Connection, Server, at, create, create_ttl, set_data, stat_of
from trioquorum.tree.cleanup import candidates, is_expendable
from trioquorum.tree.node import PERSISTED
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.owners import Owners, is_ttl, ttl_ms_of, ttl_owner
from trioquorum.wire.ops import CONTAINER_OWNER, Op


def expendable(tree: DataTree, now_ms: int, unused_container_ms: int = 300_000) -> list[str]:
    return sorted(path for path in candidates(tree) if is_expendable(tree, path, now_ms, unused_container_ms))


def test_what_the_clean_up_may_take() -> None:
    server = Server()
    client = server.connect(1)
    server.write(client, Op.CREATE_CONTAINER, create("/fresh", flags=4))
    server.write(client, Op.CREATE_CONTAINER, create("/used", flags=4))
    server.write(client, Op.CREATE, create("/used/child"))
    server.write(client, Op.CREATE_CONTAINER, create("/full", flags=4))
    server.write(client, Op.CREATE, create("/full/child"))
    server.write(client, Op.CREATE_TTL, create_ttl("/ttl", 5, 600))
    server.write(client, Op.CREATE_TTL, create_ttl("/busy", 5, 600))
    server.write(client, Op.CREATE, create("/busy/child"))
    now = server.now_ms
    assert expendable(server.tree, now) == []
    server.write(client, Op.DELETE, at("/used/child"))
    assert expendable(server.tree, now + 600) == ["/used"]
    assert expendable(server.tree, now + 601) == ["/ttl", "/used"]
    assert expendable(server.tree, now + 300_000) == ["/ttl", "/used"]
    assert expendable(server.tree, now + 300_001) == ["/fresh", "/ttl", "/used"]
    assert expendable(server.tree, now + 300_001, unused_container_ms=0) == ["/ttl", "/used"]
    assert sorted(candidates(server.tree, ttl=False)) == ["/fresh", "/full", "/used"]
    # Only setData makes a TTL node younger.
    server.now_ms += 601
    server.write(client, Op.DELETE, at("/busy/child"))
    server.write(client, Op.SET_DATA, set_data("/ttl"))
    assert expendable(server.tree, server.now_ms + 600) == ["/busy", "/used"]


def test_nothing_else_is_expendable() -> None:
    server = Server()
    client = server.connect(1)
    server.write(client, Op.CREATE, create("/plain"))
    server.write(client, Op.CREATE, create("/eph", flags=1))
    assert list(candidates(server.tree)) == []
    for path in ("/", "/plain", "/eph", "/none"):
        assert not is_expendable(server.tree, path, TIME_MS + 10**12)


def test_candidates_may_go_while_they_are_looked_at() -> None:
    server = Server()
    client = server.connect(1)
    for name in "abc":
        server.write(client, Op.CREATE_CONTAINER, create(f"/{name}", flags=4))
    found = candidates(server.tree)
    first = next(found)
    for name in "abc":
        server.write(client, Op.DELETE, at(f"/{name}"))
    assert sorted([first, *found]) == ["/a", "/b", "/c"]
    assert expendable(server.tree, TIME_MS + 10**12) == []


OLD_OWNER = -(2**63) | 5000
"""A TTL of 5 s as ZooKeeper 3.5.3 wrote it."""


@pytest.mark.parametrize(
    ("owner", "now", "at_353"),
    [
        (0, "nobody", "nobody"),
        (CONTAINER_OWNER, "container", "container"),
        (ttl_owner(5000), "ttl", "ttl"),
        (OLD_OWNER, "session", "ttl"),
        (-1, "session", "ttl"),
        (0x7F00_0000_0000_0001, "session", "session"),
    ],
)
def test_how_owners_are_read(owner: int, now: str, at_353: str) -> None:
    for owners, meaning in ((Owners(), now), (Owners(emulates_353=True), at_353)):
        assert owners.is_ttl(owner) is (meaning == "ttl")
        assert owners.session_of(owner) == (owner if meaning == "session" else 0)


def test_a_ttl_is_what_is_left_of_its_marks() -> None:
    assert is_ttl(ttl_owner(2**40 - 1))
    assert ttl_ms_of(ttl_owner(2**40 - 1)) == 2**40 - 1
    assert ttl_ms_of(OLD_OWNER) == 5000


def snapshot_of_353(*, emulates_353: bool) -> DataTree:
    """Nodes with the owners that 3.5.3 gave them, as a snapshot brings them."""
    tree = DataTree(emulates_353=emulates_353)
    tree.clear()
    for path, owner in (("", 0), ("/ttl", OLD_OWNER), ("/forever", -(2**63) | 1 << 41), ("/eph", 77)):
        tree.restore_node(path, b"", -1, PERSISTED.pack(1, 1, TIME_MS, TIME_MS, 0, 0, 0, owner, 1))
    tree.restored()
    return tree


def test_ttl_nodes_of_353() -> None:
    tree = snapshot_of_353(emulates_353=True)
    assert (tree.ttls, set(tree.ephemerals)) == ({"/ttl", "/forever"}, {77})
    assert stat_of(tree, "/ttl").ephemeral_owner == 0
    assert expendable(tree, TIME_MS + 5000) == []
    assert expendable(tree, TIME_MS + 5001) == ["/ttl"]
    assert expendable(tree, TIME_MS + 10**12) == ["/ttl"]
    # They may have children, which ephemerals may not, and go as others do.
    server = Server()
    server.tree = tree
    server.prep = type(server.prep)(tree, server.tracker, server.prep.options)
    client = server.connect(1)
    assert server.write(client, Op.CREATE, create("/ttl/child")).err == 0
    assert expendable(tree, TIME_MS + 5001) == []
    assert server.write(client, Op.DELETE, at("/ttl/child")).err == 0
    assert server.write(Connection(0), Op.DELETE, at("/ttl"), owner=1).err != 0
    assert server.write(client, Op.DELETE, at("/ttl")).err == 0
    assert tree.ttls == {"/forever"}


def test_without_emulation_they_are_ephemerals() -> None:
    tree = snapshot_of_353(emulates_353=False)
    assert tree.ttls == set()
    assert stat_of(tree, "/ttl").ephemeral_owner == OLD_OWNER
    assert tree.digest == snapshot_of_353(emulates_353=True).digest
