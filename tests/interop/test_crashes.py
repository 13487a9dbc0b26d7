"""kill -9 under load: every acknowledged write is there afterwards, on every peer, and all trees are equal."""

import random
import time
from pathlib import Path

import pytest

from tests.kit.load import Load
from tests.kit.processes import Ensemble, tree_of, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(240)]

KILLS = 20


def trees(ensemble: Ensemble) -> dict[int, dict[str, object]]:
    """Each peer's tree, once all have processed the same transactions and no session opens or closes."""
    clients = {i: ensemble.client(i) for i in ensemble.processes}
    ensemble.wait_equal()
    found = {i: tree_of(client) for i, client in clients.items()}
    for client in clients.values():
        client.stop()
        client.close()
    return found  # type: ignore[return-value]


def check_all(ensemble: Ensemble, load: Load) -> None:
    ensemble.wait_serving()
    found = trees(ensemble)
    first = next(iter(found.values()))
    for i, tree in found.items():
        assert load.check(tree) == [], f"peer {i}"  # type: ignore[arg-type]
        assert tree == first, f"peer {i} differs: {[path for path in tree if tree[path] != first.get(path)][:5]}"


def progress(load: Load, writes: int = 20) -> None:
    """Wait until the load got ``writes`` more acknowledgements."""
    goal = load.acknowledged + writes
    wait_until(f"{writes} more acknowledged writes", lambda: load.acknowledged >= goal, 30)


def test_the_leader_is_killed_twenty_times(fresh: Ensemble) -> None:
    rng = random.Random(20)
    fresh.start().wait_serving()
    with Load(fresh) as load:
        for _ in range(KILLS):
            progress(load)
            killed = fresh.leader()
            fresh.kill(killed)
            wait_until("another leader", lambda: any(mode == "leader" for mode in fresh.modes().values()), 20)
            progress(load, 5)
            fresh.start(killed)
            fresh.wait_serving()
            if rng.random() < 0.3:
                other = rng.choice(fresh.followers())
                fresh.kill(other)
                progress(load, 5)
                fresh.start(other)
                fresh.wait_serving()
    check_all(fresh, load)
    assert all(writer.session_losses == 0 for writer in load.writers)


def test_all_peers_are_killed_at_once(fresh: Ensemble) -> None:
    fresh.start().wait_serving()
    with Load(fresh) as load:
        for _ in range(3):
            progress(load, 200)
            for i in fresh.ids:
                fresh.kill(i)
            time.sleep(0.05)
            fresh.start().wait_serving()
    check_all(fresh, load)


def test_peers_are_stopped_in_order_under_load(fresh: Ensemble) -> None:
    """SIGTERM ends a peer within five seconds, exit code 0, and loses nothing either."""
    fresh.start().wait_serving()
    with Load(fresh) as load:
        for i in fresh.ids:
            progress(load)
            assert fresh.stop(i, timeout_s=5) == 0
            fresh.start(i)
            fresh.wait_serving()
    check_all(fresh, load)


def test_peers_that_speak_over_websocket(tmp_path: Path) -> None:
    with Ensemble(tmp_path, observers=1, scheme="ws").start() as ensemble:
        ensemble.wait_serving()
        with Load(ensemble) as load:
            for _ in range(3):
                progress(load)
                killed = ensemble.leader()
                ensemble.kill(killed)
                wait_until("another leader", lambda: any(mode == "leader" for mode in ensemble.modes().values()), 20)
                progress(load)
                ensemble.start(killed).wait_serving()
        check_all(ensemble, load)
        assert all(event["address"].startswith("ws://") for event in ensemble.events(1, "link_up"))
        assert ensemble.events(1, "link_up")
