"""Voters whose data is gone, or whose promises cannot be written (quorum-protocol §21; upstream 25, 38, 48)."""

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.sim.kit import assert_all_equal, events_of
from trioquorum.config import ServerConfig, Settings
from trioquorum.errors import DiskFailed, StorageError
from trioquorum.events import DataUntrusted, Elected, Established, SyncReceived
from trioquorum.storage.epochs import ACCEPTED, CURRENT
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.trust import MARKER
from trioquorum.testing import MemoryEnsemble, MemoryPeer, open_ensemble
from trioquorum.testing.peer import Life
from trioquorum.transport import Address
from trioquorum_transports.memory import MemoryNetwork

CAREFUL = Settings(trust_empty_data=False)


async def test_an_ensemble_that_nobody_vouches_for_never_elects(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), settings=CAREFUL) as ensemble:
        await trio.sleep(120)
        assert events_of(ensemble, Elected) == []
        assert len(events_of(ensemble, DataUntrusted)) == 3


async def test_a_new_ensemble_begins_with_the_marker(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), settings=CAREFUL, start=False) as ensemble:
        for peer in ensemble.peers.values():
            peer.disk = MemoryDisk({MARKER: b""})
        await ensemble.start()
        await ensemble.wait_serving()
        assert all(MARKER not in peer.disk.files for peer in ensemble.peers.values())
        await assert_all_equal(ensemble)


async def test_two_voters_of_three_must_not_outvote_what_they_lost(autojump_clock: MockClock) -> None:
    """A write is on 1 and 2, then 2 loses its disk: 2 and 3 together know nothing of it (ZOOKEEPER-3056)."""
    async with open_ensemble(MemoryNetwork(), settings=CAREFUL, start=False) as ensemble:
        for peer in ensemble.peers.values():
            peer.disk = MemoryDisk({MARKER: b""})
        await ensemble.start(1, 2)
        await ensemble.wait_serving(1, 2)
        async with ensemble.client(1, 2) as client:
            await client.create("/kept")
        await ensemble.stop()
        ensemble.peers[2].disk = MemoryDisk()
        ensemble.safety.wiped(2)
        await ensemble.start(2, 3)
        with pytest.raises(trio.TooSlowError):
            await ensemble.wait_serving(2, 3, within_s=60)
        await ensemble.start(1)
        assert await ensemble.wait_serving() == 1
        assert events_of(ensemble, SyncReceived, 2)[-1].event.mode == "SNAP"
        tree = await assert_all_equal(ensemble)
        assert "/kept" in tree.nodes
        await ensemble.stop(1)
        # With the leader's snapshot it is a full voter again.
        await ensemble.wait_serving(2, 3)


class Unwritable(MemoryDisk):
    """One file cannot be written any more."""

    broken = ""

    async def flush(self, name: str, size: int) -> None:
        if name == self.broken:
            raise DiskFailed(f"{name} cannot be written")
        await super().flush(name, size)


@pytest.mark.parametrize("file", [ACCEPTED, CURRENT])
@pytest.mark.parametrize("victim", [1, 3])
async def test_a_peer_that_cannot_write_its_epoch_never_serves(
    file: str, victim: int, autojump_clock: MockClock
) -> None:
    """Upstream's EpochWriteFailureTest; 3 would lead, 1 follow. Its epoch stays what it was, on disk too."""
    disk = Unwritable()
    failed = pytest.RaisesExc(DiskFailed, match=f"{file} cannot be written")
    with pytest.RaisesGroup(failed, flatten_subgroups=True):
        async with open_ensemble(MemoryNetwork(), start=False) as ensemble:
            ensemble.peers[victim].disk = disk
            await ensemble.start()
            await ensemble.wait_serving()
            await ensemble.stop()
            before = {name: bytes(disk.files[name]) for name in (ACCEPTED, CURRENT)}
            ensemble.trace.clear()
            disk.broken = file
            await ensemble.start()
            await trio.sleep(60)
    assert events_of(ensemble, Established, victim) == []
    assert disk.files[file] == before[file]
    assert int(disk.files[CURRENT]) <= int(disk.files[ACCEPTED])


async def test_a_server_on_its_own_does_not_take_nothing_for_its_data(autojump_clock: MockClock) -> None:
    config = ServerConfig(
        my_id=0,
        peers=(),
        client_addresses=(Address("memory", "peer0", 2181),),
        data_dir=Path("memory"),
        data_log_dir=Path("memory"),
        trust_empty_data=False,
    )
    errors: list[Exception] = []

    def failed(life: Life, error: Exception) -> bool:
        errors.append(error)
        life.peer.end()
        return True

    network = MemoryNetwork()
    alone = MemoryPeer(config, MemoryDisk(), network, seed=0)
    async with trio.open_nursery() as nursery:
        server = MemoryEnsemble(network, [alone], nursery, failed)
        await server.start()
        await server.wait_down(0)
    [error] = errors
    while isinstance(error, ExceptionGroup):
        [error] = error.exceptions
    assert isinstance(error, StorageError)
    assert "restore the data" in str(error)
