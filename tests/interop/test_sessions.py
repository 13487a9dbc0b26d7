"""Sessions outlive connections and peers, and end with their ephemerals when nobody speaks for them."""

import threading
import time

import pytest
from kazoo.client import KazooClient

from tests.kit.doomed import DoomedClient
from tests.kit.processes import Ensemble, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.slow]


def test_session_moves_when_its_peer_is_killed(fresh: Ensemble) -> None:
    fresh.start().wait_serving()
    home = fresh.followers()[0]
    client = KazooClient(
        hosts=",".join([fresh.host(home), *[fresh.host(i) for i in fresh.ids if i != home]]),
        timeout=4,
        randomize_hosts=False,
    )
    states: list[str] = []
    client.add_listener(lambda state: states.append(str(state)))
    client.start(10)
    client.create("/e", b"mine", ephemeral=True)
    session = client.client_id
    fresh.kill(home)
    wait_until("the client is connected again", lambda: states[-2:] == ["SUSPENDED", "CONNECTED"])
    assert client.client_id == session
    assert client.get("/e")[1].ephemeralOwner == session[0]
    client.set("/e", b"still mine")
    time.sleep(4.5)  # longer than its timeout: it is kept alive by pings to the new peer
    assert client.get("/e")[0] == b"still mine"
    assert "LOST" not in states
    client.stop()
    client.close()


def test_session_survives_a_leader_change(fresh: Ensemble) -> None:
    fresh.start().wait_serving()
    leader = fresh.leader()
    client = fresh.client(next(i for i in fresh.ids if i != leader), timeout_s=4)
    lost = threading.Event()
    client.add_listener(lambda state: lost.set() if str(state) == "LOST" else None)
    client.create("/e", ephemeral=True)
    fresh.kill(leader)
    wait_until("a new leader", lambda: "leader" in fresh.modes().values())
    wait_until("the client is back", lambda: client.connected)
    time.sleep(4.5)
    assert client.exists("/e") is not None
    assert not lost.is_set()
    client.stop()
    client.close()


def test_expired_session_loses_its_ephemerals_and_watches_fire_elsewhere(fresh: Ensemble) -> None:
    fresh.start().wait_serving()
    leader = fresh.leader()
    home, elsewhere = [i for i in fresh.ids if i != leader]
    watcher = fresh.client(elsewhere)
    gone = threading.Event()
    with DoomedClient(fresh.host(home), timeout_s=0.8) as owner:
        owner.run("zk.create('/e', ephemeral=True)")
        watcher.sync("/e")
        assert watcher.exists("/e", watch=lambda event: gone.set() if event.type == "DELETED" else None)
        time.sleep(1.5)
        assert watcher.exists("/e"), "its pings keep it alive"
    killed_at = time.monotonic()
    assert gone.wait(10)
    # Not before its timeout since the last ping, which comes every third of it.
    assert time.monotonic() - killed_at > 0.8 / 3
    assert watcher.exists("/e") is None
    assert [int(event["session"], 16) for event in fresh.events(leader, "session_expired")] == [owner.session]
    watcher.stop()
    watcher.close()


def test_two_connections_of_one_session(ensemble: Ensemble) -> None:
    """The later one takes the session over; a wrong password gets none."""
    first = ensemble.client(1, timeout_s=4)
    first.create("/taken", ephemeral=True)
    session, password = first.client_id
    second = KazooClient(hosts=ensemble.host(2), client_id=(session, password), timeout=4)
    second.start(10)
    assert second.client_id[0] == session
    assert second.exists("/taken").ephemeralOwner == session
    stranger = KazooClient(hosts=ensemble.host(3), client_id=(session, b"x" * 16), timeout=4)
    stranger.start(10)
    assert stranger.client_id[0] != session
    for client in (stranger, second, first):
        client.stop()
        client.close()
