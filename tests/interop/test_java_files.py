"""Apache ZooKeeper accepts every file that we write, after each kind of workload, and shows the same tree.

Its tools look at each log and each snapshot, its server starts on a copy of the directory; what a client then sees is
compared with what our own server makes of the same files, znode by znode with data, stat and ACL.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from kazoo.security import make_acl, make_digest_acl

from tests.interop.test_crashes import progress
from tests.interop.test_reconfig import EXTRA, PASSWORD, server
from tests.interop.test_sync_modes import leave_an_uncommitted_tail
from tests.kit.doomed import DoomedClient
from tests.kit.java_files import CONFIG, PROPERTIES, Judgement, Nodes, dump, judge
from tests.kit.load import Load
from tests.kit.processes import Ensemble, free_ports, wait_until
from tests.kit.zookeepers import Zookeeper, java_missing
from tests.storage.kit import seen_tree
from trioquorum.backup.directory import load_directory
from trioquorum.client import connect_tcp
from trioquorum.client.transaction import OPEN_ACL
from trioquorum.storage.log_format import HEADER, parse_records
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.paths import CONFIG as CONFIG_NODE
from trioquorum.wire.ops import CreateFlag, Op
from trioquorum.wire.records import CreateRequest, CreateTtlRequest, PathStatResponse
from trioquorum.wire.txn import decode_txn

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(java_missing() is not None, reason=str(java_missing())),
]

OFTEN = "snapCount=40"
"""So that logs are rolled and snapshots taken while a workload goes on."""


class Scene:
    """A server of ours, a client of it, and where it listens."""

    def __init__(self, port: int, client: KazooClient) -> None:
        self.port = port
        self.client = client
        self.host = f"127.0.0.1:{port}"


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Zookeeper]:
    (port,) = free_ports(1)
    (tmp_path / "ours").mkdir()
    server = Zookeeper(
        "ours", tmp_path / "ours", port, [*CONFIG, "minSessionTimeout=500", OFTEN], properties=PROPERTIES
    )
    server.start()
    server.wait_serving()
    yield server
    server.stop()


def assert_java_agrees(folder: Path, scratch: Path) -> tuple[Judgement, DataTree]:
    """Java has no complaint about the files in ``folder``, and sees the tree that we see."""
    tree = trio.run(load_directory, folder).tree
    found = judge(folder, scratch)
    assert found.complaints == []
    assert found.zxid == tree.last_zxid
    assert found.tree == seen_tree(tree)
    return found, tree


def assert_stamped(folder: Path) -> None:
    """Each transaction but failed ones says the digest that Java, too, compares with."""
    for file in folder.glob("log.*"):
        for _, payload in parse_records(file.read_bytes(), len(HEADER), whole=True).records:
            txn = decode_txn(payload)
            assert (txn.digest is None) == (txn.header.type == Op.ERROR)


# -- workloads ---------------------------------------------------------------------------------------------------------


def creates(scene: Scene) -> None:
    scene.client.create("/a")
    for number in range(60):
        scene.client.create(f"/a/{number}", bytes([number]) * number)
    scene.client.create("/a/1/é/ü", "Größe".encode(), makepath=True)
    scene.client.create("/large", b"x" * 900_000)


def sets(scene: Scene) -> None:
    scene.client.create("/s")
    for number in range(60):
        assert scene.client.set("/s", b"%d" % number).version == number + 1
    scene.client.set("/s", b"")


def deletes(scene: Scene) -> None:
    for number in range(40):
        scene.client.create(f"/d/{number}/below", makepath=True)
    for number in range(0, 40, 2):
        scene.client.delete(f"/d/{number}", recursive=True)
    with pytest.raises(NoNodeError):  # takes a transaction of its own
        scene.client.delete("/d/0")


def multis(scene: Scene) -> None:
    for number in range(25):
        good = scene.client.transaction()
        good.create(f"/m{number}", b"1")
        good.set_data(f"/m{number}", b"2")
        good.check(f"/m{number}", 1)
        good.create(f"/m{number}/x-", ephemeral=False, sequence=True)
        if number:
            good.delete(f"/m{number - 1}/x-0000000000")
        assert not any(isinstance(result, Exception) for result in good.commit())
        bad = scene.client.transaction()
        bad.create(f"/bad{number}")
        bad.check("/m0", 77)
        assert any(isinstance(result, Exception) for result in bad.commit())


def sequences(scene: Scene) -> None:
    scene.client.create("/q")
    for number in range(50):
        name = scene.client.create("/q/n-", b"", sequence=True)
        assert name == f"/q/n-{number:010}"
        if number % 3 == 0:
            scene.client.delete(name)


def containers_and_ttls(scene: Scene) -> None:
    trio.run(_containers_and_ttls, scene.host)


async def _containers_and_ttls(host: str) -> None:
    acl = list(OPEN_ACL)
    async with connect_tcp(host) as client:
        for number in range(20):
            container = CreateRequest(f"/c{number}", b"c", acl, CreateFlag.CONTAINER)
            await client.call(Op.CREATE_CONTAINER, container.encode(), PathStatResponse.decode_from)
            await client.create(f"/c{number}/child")
            lasting = CreateTtlRequest(f"/t{number}", b"t", acl, CreateFlag.PERSISTENT_WITH_TTL, 1000 * 60 * 60)
            await client.call(Op.CREATE_TTL, lasting.encode(), PathStatResponse.decode_from)
            numbered = CreateTtlRequest("/n-", b"t", acl, CreateFlag.PERSISTENT_SEQUENTIAL_WITH_TTL, (1 << 40) - 1)
            await client.call(Op.CREATE_TTL, numbered.encode(), PathStatResponse.decode_from)


def acls(scene: Scene) -> None:
    scene.client.add_auth("digest", "bob:secret")
    shared = [make_digest_acl("bob", "secret", all=True), make_acl("world", "anyone", read=True)]
    for number in range(30):
        scene.client.create(f"/l{number}", acl=shared if number % 2 else None)
        acl = [make_acl("ip", f"10.0.{number}.0/24", read=True), make_acl("auth", "", all=True)]
        scene.client.set_acls(f"/l{number}", acl)
    scene.client.delete("/l0")


def ephemerals(scene: Scene) -> None:
    """Some of a session that is there at the end, some of one that was closed, some of one that ran out."""
    for number in range(20):
        scene.client.create(f"/e{number}", ephemeral=True)
    scene.client.create("/parent")
    scene.client.create("/parent/e-", ephemeral=True, sequence=True)
    other = KazooClient(hosts=scene.host)
    other.start(30)
    for number in range(20):
        other.create(f"/o{number}", ephemeral=True)
    other.stop()
    other.close()
    with DoomedClient(scene.host, timeout_s=0.6) as doomed:
        doomed.run("[zk.create(f'/parent/x{n}', ephemeral=True) for n in range(10)]")
    wait_until("the session has run out", lambda: len(scene.client.get_children("/parent")) == 1, 30)


def quotas(scene: Scene) -> None:
    scene.client.create("/used")
    limits = scene.client.create("/zookeeper/quota/used/zookeeper_limits", b"count=50,bytes=1000", makepath=True)
    scene.client.create("/zookeeper/quota/used/zookeeper_stats", b"count=1,bytes=0")
    for number in range(50):
        scene.client.create(f"/used/{number}", b"x" * 30)
    scene.client.set(limits, b"count=60,bytes=-1")
    scene.client.delete("/used/3")


WORKLOADS: list[Callable[[Scene], None]] = [
    creates,
    sets,
    deletes,
    multis,
    sequences,
    containers_and_ttls,
    acls,
    ephemerals,
    quotas,
]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.__name__)
def test_a_killed_server_leaves_what_java_takes(
    workload: Callable[[Scene], None], standalone: Zookeeper, tmp_path: Path
) -> None:
    client = KazooClient(hosts=f"127.0.0.1:{standalone.port}", timeout=60)
    client.start(30)
    workload(Scene(standalone.port, client))
    folder = standalone.folder / "data" / "version-2"
    wait_until("there is a snapshot of it", lambda: len(list(folder.glob("snapshot.*"))) > 1)
    client.create("/behind", b"the snapshot")
    seen = dump(standalone.port)
    assert standalone.process is not None
    standalone.process.kill()
    standalone.process.wait()
    client.stop()
    client.close()
    found, tree = assert_java_agrees(folder, tmp_path / "java")
    assert found.txns > 40
    assert_stamped(folder)
    # The session that dumped it came after, but changes no znode.
    assert found.tree == seen
    for path in tree.ephemerals.get(client_session(tree), ()):
        assert found.tree[path]["stat"]["ephemeralOwner"] == client_session(tree)


def client_session(tree: DataTree) -> int:
    """The session of the test's own client: the one that was opened first."""
    return min(tree.sessions)


# -- ensembles ---------------------------------------------------------------------------------------------------------


def assert_java_agrees_on_all(ensemble: Ensemble, scratch: Path) -> list[Judgement]:
    """On the directory of each peer by itself; no peer runs."""
    assert not ensemble.processes
    return [assert_java_agrees(ensemble.data_dir(i) / "version-2", scratch / f"java{i}")[0] for i in ensemble.ids]


def without_config(found: Judgement) -> Nodes:
    """The tree but for what each peer writes there itself: it comes to disk with a snapshot only."""
    return {path: node for path, node in found.tree.items() if path != CONFIG_NODE}


def snapshots_of(data_dir: Path) -> int:
    return len(list((data_dir / "version-2").glob("snapshot.*")))


def test_peers_killed_under_load(tmp_path: Path) -> None:
    with Ensemble(tmp_path, extra="[limits]\nsnap_count = 150").start() as ensemble:
        ensemble.wait_serving()
        with Load(ensemble) as load:
            for _ in range(2):
                progress(load, 150)
                killed = ensemble.leader()
                ensemble.kill(killed)
                progress(load, 50)
                ensemble.start(killed).wait_serving()
            progress(load, 150)
            wait_until("snapshots under load", lambda: max(map(snapshots_of, map(ensemble.data_dir, ensemble.ids))) > 2)
            for i in ensemble.ids:
                ensemble.kill(i)
        judged = assert_java_agrees_on_all(ensemble, tmp_path)
    assert max(it.zxid for it in judged) >> 32 == 3
    assert any(len(it.znodes) > 2 for it in judged)


def newest_log(ensemble: Ensemble, i: int) -> Path:
    return max((ensemble.data_dir(i) / "version-2").glob("log.*"), key=lambda file: int(file.name.split(".")[1], 16))


def test_a_peer_that_took_over_a_snapshot(tmp_path: Path) -> None:
    with Ensemble(tmp_path).start() as ensemble:
        ensemble.wait_serving()
        client = ensemble.client(ensemble.leader())
        client.create("/a")
        ensemble.wait_equal()
        late = ensemble.followers()[0]
        ensemble.kill(late)
        for call in [client.set_async("/a", str(i).encode()) for i in range(1200)]:
            call.get(10)
        client.create("/mine", ephemeral=True)
        ensemble.start(late).wait_serving()
        assert ensemble.events(late, "sync_received")[-1]["mode"] == "SNAP"
        client.set("/a", b"behind it")
        ensemble.wait_equal()
        for i in ensemble.ids:
            wait_until("it is in the log", lambda i=i: b"behind it" in newest_log(ensemble, i).read_bytes())
        for i in ensemble.ids:
            ensemble.kill(i)
        client.stop()
        client.close()
        judged = assert_java_agrees_on_all(ensemble, tmp_path)
    assert all(without_config(it) == without_config(judged[0]) for it in judged)
    assert judged[0].tree["/mine"]["stat"]["ephemeralOwner"]


def test_a_peer_that_was_cut_back(tmp_path: Path) -> None:
    with Ensemble(tmp_path, tick_time_ms=1000) as ensemble:
        old = leave_an_uncommitted_tail(ensemble)
        before, _ = assert_java_agrees(ensemble.data_dir(old) / "version-2", tmp_path / "before")
        assert "/lost" in before.tree
        ensemble.start(old).wait_serving()
        assert ensemble.events(old, "sync_received")[-1]["mode"] == "TRUNC"
        ensemble.wait_equal()
        for i in ensemble.ids:
            assert ensemble.stop(i) == 0
        judged = assert_java_agrees_on_all(ensemble, tmp_path)
    assert all(without_config(it) == without_config(judged[0]) for it in judged)
    assert all("/lost" not in it.tree for it in judged)


def test_a_reconfigured_ensemble(tmp_path: Path) -> None:
    with Ensemble(tmp_path, extra=EXTRA).start() as ensemble:
        ensemble.wait_serving()
        leader = ensemble.leader()
        leaving, staying = ensemble.followers()
        client = ensemble.client(staying)
        client.add_auth("digest", PASSWORD)
        client.create("/a", b"1")
        client.reconfig(joining=None, leaving=str(leaving), new_members=None)
        client.set("/a", b"2")
        client.retry(client.reconfig, server(ensemble, leaving, "observer"), None, None)
        client.set("/a", b"3")
        text = client.get("/zookeeper/config")[0]
        ensemble.wait_equal()
        for i in ensemble.ids:
            ensemble.kill(i)
        client.stop()
        client.close()
        judged = assert_java_agrees_on_all(ensemble, tmp_path)
    assert f"server.{leader}".encode() in text
    assert all(it.tree["/zookeeper/config"]["data"] == text for it in judged)
    assert all(it.tree == judged[0].tree for it in judged)
