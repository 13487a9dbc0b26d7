"""kazoo's ``reconfig`` against real processes over TCP."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import BadArgumentsException, BadVersionError, NewConfigNoQuorumError, NoAuthError

from tests.kit.processes import Ensemble, mode, wait_until
from trioquorum.tree.acl import digest_id

PASSWORD = "super:secret"
EXTRA = f'reconfig_enabled = true\nsuper_digest = "{digest_id(PASSWORD.encode())}"'


def server(ensemble: Ensemble, i: int, role: str = "participant") -> str:
    quorum, election, client = ensemble.quorum_ports[i], ensemble.election_ports[i], ensemble.ports[i]
    return f"server.{i}=127.0.0.1:{quorum}:{election}:{role};127.0.0.1:{client}"


@contextmanager
def session(ensemble: Ensemble, i: int) -> Iterator[KazooClient]:
    client = ensemble.client(i)
    try:
        yield client
    finally:
        client.stop()
        client.close()


def leader_of(ensemble: Ensemble, *ids: int) -> int | None:
    return next((i for i in ids if mode(ensemble.ports[i]) == "leader"), None)


def taken_back(client: KazooClient, line: str) -> bytes | None:
    """The new configuration; None as long as the leader knows of no quorum for it that keeps up."""
    try:
        return client.retry(client.reconfig, line, None, None)[0]
    except NewConfigNoQuorumError:
        return None


def test_the_leader_leaves_and_comes_back(tmp_path: Path) -> None:
    with Ensemble(tmp_path, extra=EXTRA).start() as ensemble:
        leader = wait_until("there is a leader", lambda: leader_of(ensemble, 1, 2, 3))
        rest = [i for i in (1, 2, 3) if i != leader]
        with session(ensemble, rest[0]) as client:
            with pytest.raises(NoAuthError):
                client.reconfig(joining=None, leaving=str(leader), new_members=None)
            client.add_auth("digest", PASSWORD)
            with pytest.raises(BadVersionError):
                client.reconfig(joining=None, leaving=str(leader), new_members=None, from_config=7)
            with pytest.raises(BadArgumentsException):
                client.reconfig(joining="server.9=garbage", leaving=None, new_members=None)
            client.create("/a", b"1")
            text, stat = client.reconfig(joining=None, leaving=str(leader), new_members=None)
            lines = [server(ensemble, i) for i in rest]
            assert text.decode().splitlines() == [*lines, f"version={stat.mzxid:x}"]
            wait_until("another one leads", lambda: leader_of(ensemble, *rest))
            wait_until("the old one follows", lambda: mode(ensemble.ports[leader]) == "follower")
            wait_until("the client is back", lambda: client.retry(client.get, "/a")[0] == b"1")
            text = wait_until("it keeps up again", lambda: taken_back(client, server(ensemble, leader)))
            assert len(text.decode().splitlines()) == 4
            assert client.get("/zookeeper/config")[0] == text
        ensemble.kill(rest[0])
        wait_until("it is needed again", lambda: leader_of(ensemble, leader, rest[1]))
        with session(ensemble, leader) as client:
            assert client.get("/zookeeper/config")[0] == text
