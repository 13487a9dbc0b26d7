"""Backups of real ensembles under load, and new ensembles of every size that begin with them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.backup.kit import replayed, told
from tests.interop.test_crashes import progress
from tests.kit.doomed import DoomedClient
from tests.kit.load import Load
from tests.kit.processes import Ensemble, four_letter, free_ports, mode, tree_of, wait_until
from tests.kit.zookeepers import Zookeeper
from trioquorum.backup import archive
from trioquorum.backup.directory import load_directory
from trioquorum.storage.log_reader import COUNTER_MASK

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(180)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trioquorum", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def done(*arguments: object) -> dict[str, Any]:
    """What a command printed as JSON; it went well."""
    ended = run(*arguments, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def files(folder: Path) -> dict[str, bytes]:
    """The files of a peer; logs without the zeros that were preallocated."""
    return {
        file.name: file.read_bytes().rstrip(b"\0") + bytes(64)
        for file in (folder / "version-2").iterdir()
        if file.name.startswith("log.")
    }


def test_backups_under_load_are_exact(fresh: Ensemble, tmp_path: Path) -> None:
    fresh.start().wait_serving()
    manifests = {}
    with Load(fresh) as load:
        progress(load, 100)
        for number in range(3):
            before = max(fresh.zxid(i) for i in fresh.ids)
            manifests[number] = done("backup", tmp_path / str(number), "--peers", fresh.config)
            assert before <= int(manifests[number]["zxid"], 16) <= max(fresh.zxid(i) for i in fresh.ids)
            progress(load, 50)
        killed = fresh.leader()
        fresh.kill(killed)
        manifests[3] = done("backup", tmp_path / "3", "--hosts", fresh.hosts)
        progress(load, 20)
        fresh.start(killed)
    fresh.wait_serving()
    fresh.wait_equal()
    assert {manifest["epoch"] for manifest in manifests.values()} == {1, 2}
    for i in fresh.ids:
        logs = files(fresh.data_dir(i))
        for number, manifest in manifests.items():
            if number == 3 and i == killed:
                continue  # what it missed came as a snapshot, and is in no log here
            _, tree = archive.read(tmp_path / str(number))
            zxid = int(manifest["zxid"], 16)
            again = trio.run(replayed, logs, zxid)
            if not zxid & COUNTER_MASK:
                again.last_zxid = zxid  # the start of an epoch is in no log
            assert told(tree) == told(again), f"backup {number} is not what the log of peer {i} says"


def test_who_is_asked_may_still_look_for_a_leader(fresh: Ensemble, tmp_path: Path) -> None:
    alone, *others = fresh.ids
    fresh.start(alone)
    wait_until("it looks", lambda: "not currently serving" in four_letter(fresh.ports[alone], "srvr"))
    command = [sys.executable, "-m", "trioquorum", "backup", str(tmp_path / "backup"), "--hosts", fresh.hosts]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as backup:
        with pytest.raises(subprocess.TimeoutExpired):
            backup.wait(3)
        for i in others:
            fresh.start(i)
        _, said = backup.communicate(timeout=60)
        assert backup.returncode == 0, said
    manifest, _ = archive.read(tmp_path / "backup")
    assert manifest.epoch == 1


@pytest.fixture
def old(fresh: Ensemble) -> Ensemble:
    """An ensemble with sequential znodes, a lasting one, and ephemerals."""
    fresh.start().wait_serving()
    client = fresh.client()
    client.create("/app", b"data")
    for _ in range(3):
        client.create("/app/n-", b"x", sequence=True)
    client.delete("/app/n-0000000001")
    client.set("/app", b"newer")
    client.stop()
    client.close()
    return fresh


@pytest.mark.parametrize("peers", [1, 5])
def test_a_new_ensemble_goes_on_where_the_backup_ends(old: Ensemble, peers: int, tmp_path: Path) -> None:
    faithful = old.client(timeout_s=6.0)
    faithful.create("/mine", b"", ephemeral=True)
    with DoomedClient(old.hosts, timeout_s=6.0) as doomed:
        doomed.run("zk.create('/lost', b'', ephemeral=True)")
        manifest = done("backup", tmp_path / "backup", "--peers", old.config)
        before = tree_of(faithful)
        session = faithful.client_id
        assert manifest["counts"]["ephemerals"] == 2
    faithful.stop()  # ends the session, but that is behind the backup
    faithful.close()
    for i in old.ids:
        old.kill(i)
    (tmp_path / "new").mkdir()
    with Ensemble(tmp_path / "new", peers) as new:
        done("restore", tmp_path / "backup", *(new.data_dir(i) for i in new.ids))
        new.start().wait_serving()
        again = new.client(client_id=session, timeout_s=6.0)
        assert again.client_id == session, "the session goes on"
        assert tree_of(again) == before
        assert again.create("/app/n-", b"y", sequence=True) == "/app/n-0000000003"
        assert again.get("/app/n-0000000003")[1].czxid >> 32 == 2, "a new epoch"
        wait_until("the ephemeral of a lost session is gone", lambda: again.exists("/lost") is None, 30)
        assert again.exists("/mine") is not None
        for i in new.ids:
            client = new.client(i)
            client.sync("/")
            assert client.get("/app")[0] == b"newer"
            config = client.get("/zookeeper/config")[0].decode()
            assert all(f":{new.quorum_ports[j]}:" in config for j in new.ids)
            assert not any(f":{old.quorum_ports[j]}:" in config for j in old.ids)
            client.stop()
            client.close()
        again.stop()
        again.close()
        for i in new.ids:
            assert new.stop(i) == 0
        trees = [told(trio.run(load_directory, new.data_dir(i)).tree) for i in new.ids]
        assert all(tree == trees[0] for tree in trees)


def test_a_standalone_server_is_backed_up_while_it_writes(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    (tmp_path / "server").mkdir()
    server = Zookeeper("ours", tmp_path / "server", port)
    server.start()
    server.wait_serving()
    try:
        with Load(Alone(port)) as load:  # type: ignore[arg-type]  # all that it asks for is a client
            progress(load, 100)
            manifest = done("backup", tmp_path / "backup", "--config", server.folder / "zoo.cfg")
            progress(load, 50)
        _, tree = archive.read(tmp_path / "backup")
        again = trio.run(replayed, files(server.folder / "data"), int(manifest["zxid"], 16))
        assert told(tree) == told(again)
        refused = run("backup", tmp_path / "other", "--hosts", f"127.0.0.1:{port}")
        assert refused.returncode == 2
        assert "--data-dir" in refused.stderr
    finally:
        server.stop()
    done("restore", tmp_path / "backup", tmp_path / "new" / "data")
    restored = Zookeeper("ours", tmp_path / "new", port)
    restored.start()
    try:
        assert restored.wait_serving() == "standalone"
        client = Alone(port).client()
        assert len(tree_of(client)) == len(tree.nodes) - 3  # all but what is below /zookeeper, and that itself
        client.create("/after")
        client.stop()
        client.close()
    finally:
        restored.stop()
    assert mode(port) is None


class Alone:
    """Clients of one server."""

    def __init__(self, port: int) -> None:
        self._port = port

    def client(self, *, timeout_s: float = 10.0) -> Any:
        from kazoo.client import KazooClient

        client = KazooClient(hosts=f"127.0.0.1:{self._port}", timeout=timeout_s)
        client.start(30)
        return client
