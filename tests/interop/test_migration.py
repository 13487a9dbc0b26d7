"""One data directory from Apache ZooKeeper to us and back, with writes at each stage; clients notice nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from kazoo.client import KazooClient
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.retry import KazooRetry
from kazoo.security import make_digest_acl

from tests.kit.doomed import DoomedClient
from tests.kit.java_files import CONFIG, PROPERTIES, Nodes, dump, judge
from tests.kit.processes import free_ports, wait_until
from tests.kit.zookeepers import Kind, Zookeeper, java_missing
from tests.storage.kit import seen_tree
from trioquorum.backup.directory import load_directory
from trioquorum.client import connect_tcp
from trioquorum.client.transaction import OPEN_ACL
from trioquorum.tree.paths import CONFIG as CONFIG_NODE
from trioquorum.wire.ops import CreateFlag, Op
from trioquorum.wire.records import CreateRequest, CreateTtlRequest, PathStatResponse

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(java_missing() is not None, reason=str(java_missing())),
]

STAGES: list[Kind] = ["java", "ours", "java", "ours", "java"]
SESSION_S = 60.0
LINES = [*CONFIG, "maxSessionTimeout=60000", "snapCount=30"]


@contextmanager
def client_of(hosts: str) -> Iterator[KazooClient]:
    """A client for one stage."""
    client = KazooClient(
        hosts=hosts,
        timeout=10,
        handler=SequentialThreadingHandler(),
        connection_retry=KazooRetry(max_tries=-1, delay=0.1, backoff=1, max_delay=0.3),
    )
    client.start(60)
    yield client
    client.stop()
    client.close()


def write(client: KazooClient, stage: int) -> None:
    """All kinds of writes; those of earlier stages are built on."""
    if not stage:
        for path in ("/app", "/app/queue", "/app/members", "/zookeeper/quota/app"):
            client.create(path)
        client.create("/zookeeper/quota/app/zookeeper_limits", b"count=1000,bytes=-1")
        client.create("/zookeeper/quota/app/zookeeper_stats", b"count=3,bytes=0")
        client.create("/app/counter", b"")
    for number in range(10):
        assert client.create("/app/queue/n-", b"x", sequence=True).endswith(f"n-{10 * stage + number:010}")
        assert client.set("/app/counter", b"%d" % number).version == 10 * stage + number + 1
    client.create(f"/app/{stage}", f"Stufe {stage} ü".encode(), acl=[make_digest_acl("bob", f"p{stage}", all=True)])
    client.create(f"/gone{stage}/below", makepath=True)
    if stage:
        client.delete(f"/gone{stage - 1}", recursive=True)
    transaction = client.transaction()
    transaction.create(f"/multi{stage}", b"1")
    transaction.set_data("/app", b"%d" % stage)
    transaction.check("/app/counter", 10 * stage + 10)
    assert not any(isinstance(result, Exception) for result in transaction.commit())
    failing = client.transaction()
    failing.create(f"/failed{stage}")
    failing.delete("/not/there")
    assert any(isinstance(result, Exception) for result in failing.commit())


async def write_special(host: str, stage: int) -> None:
    """What kazoo cannot: a container and a znode with a time to live."""
    async with connect_tcp(host) as client:
        container = CreateRequest(f"/container{stage}", b"", list(OPEN_ACL), CreateFlag.CONTAINER)
        await client.call(Op.CREATE_CONTAINER, container.encode(), PathStatResponse.decode_from)
        await client.create(f"/container{stage}/child")
        lasting = CreateTtlRequest(f"/ttl{stage}", b"", list(OPEN_ACL), CreateFlag.PERSISTENT_WITH_TTL, 3_600_000)
        await client.call(Op.CREATE_TTL, lasting.encode(), PathStatResponse.decode_from)


def go_on(hosts: str, stage: int, session: tuple[int, bytes] | None) -> tuple[int, bytes]:
    """The client whose session lasts through all stages is there for a moment, and leaves without a word."""
    with DoomedClient(hosts, timeout_s=SESSION_S, client_id=session) as lasting:
        assert session in (None, lasting.client_id)
        lasting.run(f"zk.create('/app/members/stage{stage}-', ephemeral=True, sequence=True)")
        return lasting.client_id


def is_gone(client: KazooClient, path: str) -> bool:
    return client.exists(path) is None


def check(tree: Nodes, stages: int, session: int) -> None:
    """What all stages so far must have left."""
    assert len(tree["/app/queue"]["children"]) == 10 * stages
    assert tree["/app"]["data"] == b"%d" % (stages - 1)
    owned = {path for path, node in tree.items() if node["stat"]["ephemeralOwner"] == session}
    names = [f"stage{stage}-{stage:010}" for stage in range(stages)]
    assert tree["/app/members"]["children"] == set(names)
    assert owned == {f"/app/members/{name}" for name in names}
    for stage in range(stages):
        assert tree[f"/container{stage}"]["children"] == {"child"}
        assert {f"/ttl{stage}", f"/multi{stage}", f"/app/{stage}"} <= tree.keys()
        assert f"/failed{stage}" not in tree
        assert (f"/gone{stage}" in tree) == (stage == stages - 1)
    zxids = [tree[f"/multi{stage}"]["stat"]["czxid"] for stage in range(stages)]
    assert zxids == sorted(zxids)


def test_a_standalone_server_changes_hands(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    host = f"127.0.0.1:{port}"
    session, before = None, None
    for stage, kind in enumerate(STAGES):
        server = start(kind, tmp_path / "server", port)
        try:
            assert before in (None, dump(port)), f"what {STAGES[stage - 1]} left is what {kind} shows"
            with client_of(host) as client:
                write(client, stage)
                trio.run(write_special, host, stage)
                session = go_on(host, stage, session)
                with DoomedClient(host, timeout_s=6.0) as doomed:
                    doomed.run(f"zk.create('/doomed{stage}', ephemeral=True)")
                wait_until("a session runs out", partial(is_gone, client, f"/doomed{stage}"), 30)
            before = dump(port)
            check(before, stage + 1, session[0])
        finally:
            server.stop()
    folder = tmp_path / "server" / "data" / "version-2"
    assert seen_tree(trio.run(load_directory, folder).tree) == before
    found = judge(folder, tmp_path / "judge")
    assert found.complaints == []
    assert found.tree == before
    assert len(found.znodes) > len(STAGES), "snapshots were taken at each stage"


def start(kind: Kind, folder: Path, port: int) -> Zookeeper:
    """A server of one kind on the data that another kind left."""
    folder.mkdir(exist_ok=True)
    forget_config(folder)
    server = Zookeeper(kind, folder, port, LINES, properties=PROPERTIES)
    server.start()
    server.wait_serving()
    return server


def forget_config(folder: Path) -> None:
    """Each kind is told in its own way."""
    for file in folder.glob("zoo.cfg*"):
        file.unlink()


class Voters:
    """Three servers of one kind on directories and ports that the next kind takes over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports = free_ports(9)
        self.ports = ports[:3]
        self.hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        self.lines = [*LINES, "initLimit=10", "syncLimit=5"]
        self.lines += [f"server.{i + 1}=127.0.0.1:{ports[3 + i]}:{ports[6 + i]}" for i in range(3)]
        self.servers: list[Zookeeper] = []

    def start(self, kind: Kind) -> None:
        for i, port in enumerate(self.ports):
            folder = self.folder / f"server{i + 1}"
            folder.mkdir(exist_ok=True)
            forget_config(folder)
            self.servers.append(Zookeeper(kind, folder, port, self.lines, my_id=i + 1, properties=PROPERTIES))
            self.servers[-1].start()
        for server in self.servers:
            server.wait_serving()

    def stop(self) -> None:
        while self.servers:
            self.servers.pop().stop()


def test_an_ensemble_changes_hands(tmp_path: Path) -> None:
    voters = Voters(tmp_path)
    session, before, epochs = None, None, []
    for stage, kind in enumerate(STAGES[:3]):
        voters.start(kind)
        try:
            assert before in (None, synced_tree(voters, 0)), f"what {STAGES[stage - 1]} left is what {kind} shows"
            with client_of(voters.hosts) as client:
                write(client, stage)
                trio.run(write_special, voters.hosts, stage)
                session = go_on(voters.hosts, stage, session)
            trees = [synced_tree(voters, i) for i in range(3)]
            before = trees[0]
            assert all(tree == before for tree in trees)
            check(before, stage + 1, session[0])
            epochs.append(before[f"/multi{stage}"]["stat"]["czxid"] >> 32)
        finally:
            voters.stop()
    assert epochs == sorted(set(epochs)), "each kind leads epochs of its own"
    for i in range(3):
        found = judge(tmp_path / f"server{i + 1}" / "data" / "version-2", tmp_path / f"judge{i + 1}")
        assert found.complaints == []
        del found.tree[CONFIG_NODE]
        assert found.tree == before


def synced_tree(voters: Voters, i: int) -> Nodes:
    """The tree of one of them, with all that was committed."""
    with client_of(f"127.0.0.1:{voters.ports[i]}") as client:
        client.sync("/")
    return tree_of(voters.ports[i])


def tree_of(port: int) -> Nodes:
    """Without the configuration, which each writes in its own words."""
    tree = dump(port)
    del tree[CONFIG_NODE]
    return tree
