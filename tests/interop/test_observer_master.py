"""An observer that a follower feeds, in real processes over TCP, with a client that knows nothing of it."""

from pathlib import Path

import pytest

from tests.kit.processes import Ensemble, four_letter, tree_of, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.slow]


def master_of(ensemble: Ensemble, observer: int) -> int:
    """Whom ``mntr`` of an observer names."""
    for line in four_letter(ensemble.ports[observer], "mntr").splitlines():
        if line.startswith("zk_observer_master_id\t"):
            return int(line.split("\t")[1])
    return -1


def test_a_session_on_an_observer_outlives_its_master(tmp_path: Path) -> None:
    with Ensemble(tmp_path, observers=1, observer_masters=True) as ensemble:
        ensemble.start().wait_serving()
        leader = ensemble.leader()
        first = master_of(ensemble, 4)
        assert first in ensemble.followers()
        assert "zk_synced_observers\t1\n" in four_letter(ensemble.ports[first], "mntr")
        assert "zk_synced_observers\t0\n" in four_letter(ensemble.ports[leader], "mntr")
        client = ensemble.client(4)
        other = ensemble.client(leader)
        client.create("/a", b"1")
        client.create("/mine", ephemeral=True)
        for number in range(100):
            client.set("/a", b"%d" % number)
            assert client.get("/a")[0] == b"%d" % number
        other.set("/a", b"from the leader")
        client.sync("/a")
        assert client.get("/a")[0] == b"from the leader"
        ensemble.kill(first)
        wait_until("the observer has another master", lambda: master_of(ensemble, 4) not in (-1, first))
        wait_until("the client is back", lambda: client.connected)
        client.create("/b")
        assert other.exists("/mine") is not None
        ensemble.start(first).wait_serving()
        ensemble.wait_equal()
        back = ensemble.client(first)
        assert tree_of(client) == tree_of(other) == tree_of(back)
        for each in (client, other, back):
            each.stop()
            each.close()
