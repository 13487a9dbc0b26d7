"""Real peers on small file systems that fill up: nobody dies, reads go on, and writes are taken again by themselves."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import SystemZookeeperError

from tests.kit.processes import Ensemble, four_letter, tree_of, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(180)]

DISK_BYTES = 24 << 20
RESERVE_BYTES = 4 << 20
SETTINGS = f"""
disk_reserve_bytes = {RESERVE_BYTES}
log_preallocate_bytes = 262144
"""


@contextlib.contextmanager
def small_disks(ensemble: Ensemble) -> Iterator[None]:
    """Every peer has a file system of its own, of ``DISK_BYTES``."""
    mounted: list[Path] = []
    try:
        for i in ensemble.ids:
            folder = ensemble.data_dir(i)
            folder.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "trioquorum-test", str(folder)]
            done = subprocess.run(mount, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
            mounted.append(folder)
        yield
    finally:
        for folder in mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Ensemble]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    ensemble = Ensemble(tmp_path, extra=SETTINGS)
    with small_disks(ensemble), ensemble:
        ensemble.start().wait_serving()
        yield ensemble


def fill(ensemble: Ensemble, i: int, leave_bytes: int) -> None:
    """Somebody else's file leaves only so much on a peer's disk."""
    folder = ensemble.data_dir(i)
    state = os.statvfs(folder)
    with (folder / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize - leave_bytes)


def clear(ensemble: Ensemble, i: int) -> None:
    (ensemble.data_dir(i) / "ballast").unlink()


def refused(client: KazooClient) -> bool:
    """Whether a write is refused by the server."""
    try:
        client.set("/kept", b"2")
    except SystemZookeeperError:
        return True
    return False


def figure(ensemble: Ensemble, i: int, name: str) -> int:
    """A number of ``mntr``."""
    lines = dict(line.split("\t", 1) for line in four_letter(ensemble.ports[i], "mntr").splitlines())
    return int(lines[f"zk_{name}"])


def write_until_full(ensemble: Ensemble, client: KazooClient, i: int, times: int) -> None:
    """Write until a peer has said so often that its disk is full."""
    for _ in range(400):
        client.create("/n-", b"x" * 4000, sequence=True)
        if len(ensemble.events(i, "disk_full")) >= times:
            return
    wait_until("the peer says that its disk is full", lambda: len(ensemble.events(i, "disk_full")) >= times)


def test_a_leader_refuses_writes_before_its_disk_is_full(peers: Ensemble) -> None:
    leader = peers.leader()
    clients = {i: peers.client(i) for i in peers.ids}
    clients[leader].create("/kept", b"1")
    fill(peers, leader, RESERVE_BYTES - 65536)
    for i, client in clients.items():
        # A follower forwards writes until it has heard of it.
        wait_until(
            f"peer {i} refuses writes",
            lambda i=i, client=client: refused(client) and figure(peers, i, "writes_refused"),
            10,
        )
    peers.wait_equal()
    zxid = peers.zxid(leader)
    for i, client in clients.items():
        client.sync("/")
        before, _ = client.get("/kept")
        for _ in range(20):
            with pytest.raises(SystemZookeeperError):
                client.create("/refused", b"x" * 1000)
        assert client.get("/kept")[0] == before
        assert not client.exists("/refused")
        assert peers.zxid(i) == zxid
    late = peers.client(leader)
    assert late.exists("/kept")
    late.stop()
    late.close()
    assert figure(peers, leader, "disk_nearly_full") == 1
    assert 0 < figure(peers, leader, "disk_free_bytes") < RESERVE_BYTES
    assert figure(peers, leader, "writes_refused") >= 20
    told = peers.events(leader, "disk_nearly_full")
    assert [(event["level"], event["reserve_bytes"]) for event in told] == [("warning", RESERVE_BYTES)]
    clear(peers, leader)
    for i, client in clients.items():
        wait_until("writes are taken", lambda client=client: not refused(client), 10)
        client.create(f"/again-{i}")
        client.stop()
        client.close()
    assert len(peers.events(leader, "disk_has_room")) == 1
    assert figure(peers, leader, "disk_nearly_full") == 0
    assert peers.leader() == leader


def test_a_follower_whose_disk_is_full_waits_and_comes_back(peers: Ensemble) -> None:
    leader = peers.leader()
    victim = peers.followers()[0]
    process = peers.processes[victim]
    client = peers.client(leader)
    client.create("/kept", b"1")
    fill(peers, victim, 0)
    write_until_full(peers, client, victim, 1)
    assert four_letter(peers.ports[victim], "ruok") == ""
    client.create("/without", b"1")
    assert process.poll() is None
    # Whoever watches over it may start it again, which is no help and does no harm.
    peers.kill(victim)
    process = peers.start(victim).processes[victim]
    write_until_full(peers, client, victim, 2)
    assert process.poll() is None
    clear(peers, victim)
    wait_until("it serves again", lambda: peers.modes()[victim] == "follower", 30)
    client.create("/again", b"1")
    client.stop()
    client.close()
    peers.wait_equal()
    assert process.poll() is None
    found = []
    for i in peers.ids:
        reader = peers.client(i)
        peers.wait_equal()
        found.append(tree_of(reader))
        reader.stop()
        reader.close()
    assert found[0] == found[1] == found[2]
    assert {"/kept", "/without", "/again"} <= found[0].keys()
