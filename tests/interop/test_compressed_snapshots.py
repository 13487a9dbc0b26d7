"""Compressed snapshots, both ways: Apache ZooKeeper starts from ours, we start from its own."""

import shutil
from pathlib import Path

import pytest
import trio
from kazoo.client import KazooClient

from tests.kit.java_files import CONFIG, PROPERTIES, dump, judge
from tests.kit.processes import free_ports, wait_until
from tests.kit.zookeepers import Kind, Zookeeper, java_missing
from tests.storage.kit import seen_tree
from trioquorum.backup.directory import load_directory

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(java_missing() is not None, reason=str(java_missing())),
]

METHOD = "snapshot.compression.method"
LINES = [*CONFIG, "snapCount=40"]


@pytest.mark.parametrize("kind", ["ours", "java"])
@pytest.mark.parametrize("method", ["gz", "snappy"])
def test_what_one_writes_the_other_reads(kind: Kind, method: str, tmp_path: Path) -> None:
    properties = PROPERTIES | {f"zookeeper.{METHOD}": method}
    (port,) = free_ports(1)
    server = Zookeeper(kind, tmp_path / kind, port, LINES, properties=properties)
    server.folder.mkdir()
    server.start()
    try:
        server.wait_serving()
        client = KazooClient(hosts=f"127.0.0.1:{port}", timeout=60)
        client.start(30)
        client.create("/large", bytes(range(256)) * 3000)
        for number in range(100):
            client.create(f"/n{number}", b"%d" % number * number)
        folder = server.folder / "data" / "version-2"
        wait_until("there is a snapshot of it", lambda: len(list(folder.glob("snapshot.*"))) > 1)
        client.create("/behind", b"the snapshot")
        client.stop()
        client.close()
        seen = dump(port)
    finally:
        server.stop()
    snapshots = list(folder.glob("snapshot.*"))
    assert all(file.suffix == f".{method}" for file in snapshots)
    only_snapshot(folder, tmp_path / "alone")
    if kind == "ours":
        found = judge(folder, tmp_path / "judge")
        assert found.complaints == []
        assert found.tree == seen
        assert judge(tmp_path / "alone", tmp_path / "judge alone").complaints == []
    else:
        assert seen_tree(trio.run(load_directory, folder).tree) == seen
        assert "/large" in trio.run(load_directory, tmp_path / "alone").tree.nodes


def only_snapshot(folder: Path, to: Path) -> None:
    """The newest snapshot and no log: so nothing else can have led to the tree."""
    to.mkdir()
    newest = max(folder.glob("snapshot.*"), key=lambda file: int(file.name.split(".")[1], 16))
    shutil.copyfile(newest, to / newest.name)
