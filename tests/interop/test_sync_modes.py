"""How a peer that comes back is brought up to date, read from its events: SNAP, DIFF, TRUNC."""

import shutil

import pytest

from tests.interop.test_crashes import trees
from tests.kit.doomed import DoomedClient
from tests.kit.processes import Ensemble, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.slow]


def last_sync(ensemble: Ensemble, i: int) -> dict[str, object]:
    return ensemble.events(i, "sync_received")[-1]


def assert_all_equal(ensemble: Ensemble) -> dict[str, object]:
    found = trees(ensemble)
    first = next(iter(found.values()))
    assert all(tree == first for tree in found.values())
    return first


def test_an_empty_peer_joins_by_snapshot(fresh: Ensemble) -> None:
    fresh.start(1, 2).wait_serving()
    client = fresh.client()
    client.create("/a", b"x" * 100_000)
    for call in [client.create_async(f"/a/{i}", bytes([i % 256]) * 1000) for i in range(1000)]:
        call.get(10)
    client.create("/e", ephemeral=True)
    fresh.start(3).wait_serving()
    assert last_sync(fresh, 3)["mode"] == "SNAP"
    found = assert_all_equal(fresh)
    assert len([path for path in found if path.startswith("/a/")]) == 1000
    # What it was given is on its own disk: the others go, it starts from there.
    client.stop()
    client.close()
    assert list((fresh.data_dir(3) / "version-2").glob("snapshot.*"))


def test_a_peer_a_hundred_writes_behind_joins_by_diff(fresh: Ensemble) -> None:
    fresh.start().wait_serving()
    client = fresh.client(fresh.leader())
    client.create("/a")
    fresh.wait_equal()
    late = fresh.followers()[0]
    fresh.kill(late)
    for call in [client.set_async("/a", str(i).encode()) for i in range(100)]:
        call.get(10)
    fresh.start(late).wait_serving()
    sync = last_sync(fresh, late)
    assert (sync["mode"], sync["proposals"]) == ("DIFF", 100)
    assert assert_all_equal(fresh)["/a"][0] == b"99"  # type: ignore[index]
    client.stop()
    client.close()


def test_a_peer_far_behind_joins_by_snapshot(fresh: Ensemble) -> None:
    """Behind the committed log in memory, and the log on disk is large against the snapshot (snapshotSizeFactor)."""
    fresh.start().wait_serving()
    client = fresh.client(fresh.leader())
    client.create("/a")
    fresh.wait_equal()
    late = fresh.followers()[0]
    fresh.kill(late)
    for call in [client.set_async("/a", str(i).encode()) for i in range(1200)]:
        call.get(10)
    fresh.start(late).wait_serving()
    assert last_sync(fresh, late)["mode"] == "SNAP"
    assert assert_all_equal(fresh)["/a"][0] == b"1199"  # type: ignore[index]
    client.stop()
    client.close()


def leave_an_uncommitted_tail(ensemble: Ensemble) -> int:
    """The leader logs a write that nobody else sees, then dies; the others elect. The dead one."""
    ensemble.start().wait_serving()
    old = ensemble.leader()
    with DoomedClient(ensemble.host(old), timeout_s=20) as client:
        client.run("zk.create('/kept', b'1')")
        ensemble.wait_equal()
        others = [i for i in ensemble.ids if i != old]
        for i in others:
            ensemble.kill(i)
        client.run("zk.set_async('/kept', b'lost'); zk.create_async('/lost')")
        log = max((ensemble.data_dir(old) / "version-2").glob("log.*"), key=lambda path: path.stat().st_mtime)
        wait_until("the tail is on disk", lambda: b"/lost" in log.read_bytes())
        ensemble.kill(old)
    # The client is dead too: its closeSession would be a transaction of the new epoch.
    ensemble.start(*others).wait_serving()
    return old


@pytest.fixture
def patient(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Three voters with sessions that live long enough to make no transactions during a test."""
    with Ensemble(tmp_path_factory.mktemp("patient"), tick_time_ms=1000) as made:
        yield made


def test_an_uncommitted_tail_is_truncated(patient: Ensemble) -> None:
    old = leave_an_uncommitted_tail(patient)
    patient.start(old).wait_serving()
    assert last_sync(patient, old)["mode"] == "TRUNC"
    assert patient.events(old, "log_truncated")
    found = assert_all_equal(patient)
    assert found["/kept"][0] == b"1"  # type: ignore[index]
    assert "/lost" not in found
    # It stays gone after a restart from disk.
    patient.kill(old)
    patient.start(old).wait_serving()
    assert "/lost" not in assert_all_equal(patient)


def test_a_tail_of_an_older_epoch_is_replaced_by_a_snapshot(patient: Ensemble) -> None:
    old = leave_an_uncommitted_tail(patient)
    client = patient.client(patient.leader())
    client.set("/kept", b"2")
    patient.start(old).wait_serving()
    assert last_sync(patient, old)["mode"] == "SNAP"
    found = assert_all_equal(patient)
    assert found["/kept"][0] == b"2"  # type: ignore[index]
    assert "/lost" not in found
    client.stop()
    client.close()
    patient.kill(old)
    patient.start(old).wait_serving()
    assert "/lost" not in assert_all_equal(patient)


def test_an_observer_follows_and_forwards(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Ensemble(tmp_path_factory.mktemp("observed"), observers=1) as ensemble:
        modes = ensemble.start().wait_serving()
        assert modes[4] == "observer"
        through, direct = ensemble.client(4), ensemble.client(1)
        through.create("/a", b"1")
        direct.sync("/a")
        direct.set("/a", b"2")
        through.sync("/a")
        assert through.get("/a")[0] == b"2"
        # It counts for nothing: with two voters gone there is no quorum, whatever the observer says.
        assert_all_equal(ensemble)
        for client in (through, direct):
            client.stop()
            client.close()
        ensemble.kill(4)
        shutil.rmtree(ensemble.data_dir(4))
        ensemble.start(4).wait_serving()
        assert last_sync(ensemble, 4)["mode"] == "SNAP"
        leader = ensemble.leader()
        for i in [i for i in (1, 2, 3) if i != leader]:
            ensemble.kill(i)
        wait_until("nobody serves without a quorum of voters", lambda: set(ensemble.modes().values()) == {None})
