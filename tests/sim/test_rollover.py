"""The counter of a zxid is used up: a new epoch begins, nothing is lost (§16.1, ZOOKEEPER-1277; upstream 37)."""

import random
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.sim.kit import Writers, assert_all_equal, events_of
from trioquorum.config import ServerConfig
from trioquorum.events import Established, StateChanged
from trioquorum.limits import Limits
from trioquorum.storage.epochs import ACCEPTED, CURRENT
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.snapshot import snapshot_chunks
from trioquorum.testing import MemoryEnsemble, MemoryPeer, open_ensemble
from trioquorum.transport import Address
from trioquorum.tree.nodes import DataTree
from trioquorum_transports.memory import MemoryNetwork

COUNTER_LAST = 0xFFFFFFFE


def disk_at(epoch: int, counter: int) -> MemoryDisk:
    """An empty tree, but that many transactions old."""
    zxid = (epoch << 32) + counter
    tree = DataTree()
    tree.last_zxid = zxid
    return MemoryDisk(
        {
            f"snapshot.{zxid:x}": b"".join(snapshot_chunks(tree, zxid, 1 << 16)),
            ACCEPTED: b"%d" % epoch,
            CURRENT: b"%d" % epoch,
        }
    )


@pytest.mark.parametrize("victims", ["nobody", "followers", "leaders"])
async def test_an_ensemble_goes_through_epochs(victims: str, autojump_clock: MockClock) -> None:
    limits, rng = Limits(epoch_txns_max=20), random.Random(7)
    async with open_ensemble(MemoryNetwork(), limits=limits, flush_latency_s=0.002, start=False) as ensemble:
        for peer in ensemble.peers.values():
            peer.disk = disk_at(5, COUNTER_LAST)
        await ensemble.start()
        await ensemble.wait_serving()
        async with ensemble.client(session_timeout_ms=40_000) as client:
            session = client.session
            await client.create("/w")
            await client.create("/mine", ephemeral=True)
            writers = Writers("/w")
            async with trio.open_nursery() as nursery:
                for name in "ab":
                    nursery.start_soon(writers.write, client, name, 0.02)
                for goal in range(27, 136, 27):
                    await ensemble.wait_until(lambda goal=goal: writers.reached(goal), within_s=200)  # type: ignore[misc]
                    if victims != "nobody":
                        leader = await ensemble.wait_serving()
                        followers = [peer for peer in ensemble.peers if peer != leader]
                        victim = leader if victims == "leaders" else rng.choice(followers)
                        await ensemble.crash(victim)
                        await ensemble.start(victim)
                writers.halted = True
            assert client.session == session
            stat = await client.exists("/mine")
            assert stat is not None
            assert stat.ephemeral_owner == session
            await ensemble.wait_serving()
            writers.check(await assert_all_equal(ensemble))
        rollovers = [it for it in events_of(ensemble, StateChanged) if "no transaction ids left" in it.event.reason]
        assert len(rollovers) >= 4
        assert min(ensemble.safety.leaders) == 6
        assert all(zxid & 0xFFFFFFFF <= 20 for zxid in ensemble.safety.history)


async def test_a_server_on_its_own_goes_on_in_the_next_epoch(autojump_clock: MockClock) -> None:
    config = ServerConfig(
        my_id=0,
        peers=(),
        client_addresses=(Address("memory", "peer0", 2181),),
        data_dir=Path("memory"),
        data_log_dir=Path("memory"),
    )
    network = MemoryNetwork()
    alone = MemoryPeer(config, disk_at(5, COUNTER_LAST - 20), network, seed=0)
    async with trio.open_nursery() as nursery:
        server = MemoryEnsemble(network, [alone], nursery)
        await server.start()
        async with server.client(session_timeout_ms=30_000) as client:
            session = client.session
            await client.create("/w")
            await client.create("/mine", ephemeral=True)
            writers = Writers("/w")
            async with trio.open_nursery() as writing:
                writing.start_soon(writers.write, client, "a", 0.01)
                await server.wait_until(lambda: writers.reached(60))
                writers.halted = True
            assert alone.database.last_zxid >> 32 == 6
            assert max(zxid for zxid in writers.acked.values() if zxid >> 32 == 5) == (5 << 32) + COUNTER_LAST
            assert min(zxid for zxid in writers.acked.values() if zxid >> 32 == 6) == (6 << 32) + 1
            assert [it.event.epoch for it in events_of(server, Established)] == [5, 6]
            await server.crash()
            assert [bytes(alone.disk.files[name]) for name in (ACCEPTED, CURRENT)] == [b"6", b"6"]
            await server.start()
            await server.wait_until(lambda: alone.established is not None)
            assert [it.event.epoch for it in events_of(server, Established)] == [5, 6, 6]
            await client.sync()
            await trio.sleep(60)
            assert client.session == session
            assert await client.exists("/mine") is not None
            writers.check(alone.database.tree)
        nursery.cancel_scope.cancel()
