"""Unmodified kazoo against three real peers: every operation, through every peer."""

import threading
import uuid
from collections.abc import Iterator

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    InvalidACLError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.security import OPEN_ACL_UNSAFE, make_acl, make_digest_acl

from tests.kit.processes import Ensemble, wait_until

pytestmark = pytest.mark.interop


@pytest.fixture(params=[1, 2, 3])
def zk(ensemble: Ensemble, request: pytest.FixtureRequest) -> Iterator[KazooClient]:
    client = ensemble.client(request.param)
    yield client
    client.stop()
    client.close()


@pytest.fixture
def base(zk: KazooClient) -> str:
    path = f"/t{uuid.uuid4().hex}"
    zk.create(path, b"")
    return path


def test_create_get_set_delete(zk: KazooClient, base: str) -> None:
    path, stat = zk.create(f"{base}/a", b"one", include_data=True)
    assert path == f"{base}/a"
    assert (stat.version, stat.dataLength, stat.numChildren, stat.ephemeralOwner) == (0, 3, 0, 0)
    assert stat.czxid == stat.mzxid == stat.pzxid
    changed = zk.set(path, b"twotwo", version=0)
    assert (changed.version, changed.dataLength) == (1, 6)
    assert changed.mzxid > changed.czxid
    data, now = zk.get(path)
    assert (data, now) == (b"twotwo", changed)
    assert zk.exists(path) == changed
    with pytest.raises(BadVersionError):
        zk.set(path, b"x", version=0)
    with pytest.raises(BadVersionError):
        zk.delete(path, version=7)
    zk.delete(path, version=1)
    assert zk.exists(path) is None
    with pytest.raises(NoNodeError):
        zk.get(path)
    with pytest.raises(NoNodeError):
        zk.delete(path)


def test_parent_stat_follows_children(zk: KazooClient, base: str) -> None:
    zk.create(f"{base}/a")
    created = zk.create(f"{base}/b", include_data=True)[1]
    stat = zk.exists(base)
    assert (stat.cversion, stat.numChildren, stat.pzxid) == (2, 2, created.czxid)
    zk.delete(f"{base}/a")
    stat = zk.exists(base)
    assert (stat.cversion, stat.numChildren) == (3, 1)
    assert stat.pzxid > created.czxid
    children, stat_of_children = zk.get_children(base, include_data=True)
    assert (children, stat_of_children) == (["b"], stat)


def test_null_and_empty_data_differ(zk: KazooClient, base: str) -> None:
    zk.create(f"{base}/empty", b"")
    assert zk.get(f"{base}/empty")[0] == b""


def test_errors_of_create_and_delete(zk: KazooClient, base: str) -> None:
    zk.create(f"{base}/a")
    with pytest.raises(NodeExistsError):
        zk.create(f"{base}/a")
    with pytest.raises(NoNodeError):
        zk.create(f"{base}/none/b")
    zk.create(f"{base}/a/b")
    with pytest.raises(NotEmptyError):
        zk.delete(f"{base}/a")
    zk.create(f"{base}/e", ephemeral=True)
    with pytest.raises(NoChildrenForEphemeralsError):
        zk.create(f"{base}/e/child")


def test_sequence_numbers_count_creates_only(zk: KazooClient, base: str) -> None:
    names = [zk.create(f"{base}/n-", sequence=True) for _ in range(3)]
    assert names == [f"{base}/n-{i:010d}" for i in range(3)]
    zk.delete(names[1])
    assert zk.create(f"{base}/n-", sequence=True) == f"{base}/n-{3:010d}"
    zk.create(f"{base}/plain")
    assert zk.create(f"{base}/m-", sequence=True, ephemeral=True) == f"{base}/m-{5:010d}"


def test_ephemerals_belong_to_their_session(ensemble: Ensemble, zk: KazooClient, base: str) -> None:
    other = ensemble.client()
    path = other.create(f"{base}/e", b"x", ephemeral=True)
    zk.sync(path)
    assert zk.exists(path).ephemeralOwner == other.client_id[0]
    gone = threading.Event()
    assert zk.exists(path, watch=lambda event: gone.set())
    other.stop()
    assert gone.wait(5)
    zk.sync(path)
    assert zk.exists(path) is None
    other.close()


def test_multi_is_all_or_nothing(zk: KazooClient, base: str) -> None:
    good = zk.transaction()
    good.create(f"{base}/a", b"1")
    good.set_data(f"{base}/a", b"2")
    good.check(f"{base}/a", 1)
    good.create(f"{base}/a/s-", sequence=True)
    good.create(f"{base}/gone")
    good.delete(f"{base}/gone")
    results = good.commit()
    assert results[0] == f"{base}/a"
    assert results[1].version == 1
    assert results[2] is True
    assert results[3] == f"{base}/a/s-0000000000"
    assert results[5] is True
    before = zk.get(base), zk.get(f"{base}/a")
    bad = zk.transaction()
    bad.create(f"{base}/b")
    bad.check(f"{base}/a", 99)
    bad.create(f"{base}/c")
    failed = bad.commit()
    assert [type(result) for result in failed] == [RolledBackError, BadVersionError, RuntimeInconsistency]
    assert (zk.get(base), zk.get(f"{base}/a")) == before
    assert zk.exists(f"{base}/b") is None


def test_acls(ensemble: Ensemble, zk: KazooClient, base: str) -> None:
    anybody = ensemble.client()
    zk.add_auth("digest", "bob:secret")
    path = zk.create(f"{base}/private", b"x", acl=[make_digest_acl("bob", "secret", all=True)])
    anybody.sync(path)
    with pytest.raises(NoAuthError):
        anybody.get(path)
    with pytest.raises(NoAuthError):
        anybody.set(path, b"")
    with pytest.raises(NoAuthError):
        anybody.create(f"{path}/child")
    assert zk.get(path)[0] == b"x"
    acls, stat = zk.get_acls(path)
    assert (stat.aversion, acls[0].id.id) == (0, "bob:fyVmFCwVbTJYrznoSu1koqYEYF0=")
    readable = [*acls, make_acl("world", "anyone", read=True)]
    assert zk.set_acls(path, readable, version=0).aversion == 1
    anybody.sync(path)
    assert anybody.get(path)[0] == b"x"
    with pytest.raises(BadVersionError):
        zk.set_acls(path, readable, version=0)
    with pytest.raises(InvalidACLError):
        zk.create(f"{base}/bad", acl=[make_acl("nonsense", "x", all=True)])
    mine = zk.create(f"{base}/mine", acl=[make_acl("auth", "", all=True)])
    assert zk.get_acls(mine)[0][0].id.id.startswith("bob:")
    with pytest.raises(InvalidACLError):
        anybody.create(f"{base}/nobody", acl=[make_acl("auth", "", all=True)])
    assert zk.get_acls(base)[0] == OPEN_ACL_UNSAFE
    anybody.stop()
    anybody.close()


def test_watches_fire_once_and_across_peers(
    ensemble: Ensemble, zk: KazooClient, base: str, request: pytest.FixtureRequest
) -> None:
    seen: list[tuple[str, str]] = []

    def note(event: object) -> None:
        seen.append((event.type, event.path))  # type: ignore[attr-defined]

    zk.exists(f"{base}/w", watch=note)
    zk.get_children(base, watch=note)
    other = ensemble.client()
    request.addfinalizer(other.close)
    request.addfinalizer(other.stop)
    other.create(f"{base}/w")
    wait_until("created and children events", lambda: len(seen) == 2)
    assert sorted(seen) == [("CHILD", base), ("CREATED", f"{base}/w")]
    zk.get(f"{base}/w", watch=note)
    other.set(f"{base}/w", b"1")
    other.set(f"{base}/w", b"2")
    wait_until("changed event", lambda: len(seen) == 3)
    zk.sync("/")  # or the second change may be new to this peer, and fire the watch that is set now
    zk.get(f"{base}/w", watch=note)
    zk.get_children(f"{base}/w", watch=note)
    other.delete(f"{base}/w")
    wait_until("deleted event", lambda: len(seen) >= 4)
    other.sync("/")
    zk.sync("/")
    # One event; kazoo calls the data watcher and the child watcher for it.
    assert seen[2:] == [("CHANGED", f"{base}/w"), ("DELETED", f"{base}/w"), ("DELETED", f"{base}/w")]


def test_a_thousand_sequential_nodes_from_ten_clients(ensemble: Ensemble) -> None:
    base = f"/seq{uuid.uuid4().hex}"
    clients = [ensemble.client(1 + n % 3) for n in range(10)]
    clients[0].create(base)
    for client in clients:
        client.sync(base)
    made: list[list[str]] = [[] for _ in clients]

    def create(n: int) -> None:
        for pending in [clients[n].create_async(f"{base}/n-", sequence=True, ephemeral=n % 2 == 0) for _ in range(100)]:
            made[n].append(pending.get(timeout=20))

    threads = [threading.Thread(target=create, args=(n,)) for n in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [path for paths in made for path in paths]
    assert sorted(everything) == [f"{base}/n-{i:010d}" for i in range(1000)]
    for paths in made:
        assert paths == sorted(paths)
    for client in clients:
        client.stop()
        client.close()


def test_own_writes_are_visible_in_order(zk: KazooClient, base: str) -> None:
    """Pipelined: each read behind a write of its session sees it (client-protocol §20.1)."""
    path = zk.create(f"{base}/a", b"")
    calls = []
    for i in range(200):
        calls.append(zk.set_async(path, str(i).encode()))
        calls.append(zk.get_async(path))
    for i in range(200):
        stat = calls[2 * i].get(timeout=10)
        data, read = calls[2 * i + 1].get(timeout=10)
        assert (data, read) == (str(i).encode(), stat)
        assert stat.version == i + 1


def test_sync_shows_what_another_peer_wrote(ensemble: Ensemble, base: str, zk: KazooClient) -> None:
    writer = ensemble.client()
    writer.sync(base)
    for i in range(50):
        writer.create(f"{base}/{i}")
        assert zk.sync(base) == base
        assert zk.exists(f"{base}/{i}") is not None
    writer.stop()
    writer.close()


def test_large_value_goes_through(zk: KazooClient, base: str) -> None:
    data = bytes(range(256)) * 4000
    zk.create(f"{base}/big", data)
    assert zk.get(f"{base}/big")[0] == data
