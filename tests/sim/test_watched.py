"""The peers of a watched simulation, struck as the page's controls say; the same code, but here in virtual time."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from trioquorum import watched
from trioquorum.admin.orders import AnyOrder, Heal, Kill, Partition, Pause, Restart, Resume
from trioquorum.client import Client
from trioquorum.ensemble import lay_out
from trioquorum.errors import ConfigError, RequestFailed
from trioquorum.events import Event, VoteHeard
from trioquorum.testing import MemoryEnsemble, open_ensemble, seeded
from trioquorum.testing.network import new_network
from trioquorum.watched import WatchedPeers

SPECS = lay_out(3, 2181)

Scene = Callable[[MemoryEnsemble, WatchedPeers], Awaitable[None]]


def play(scene: Scene, seed: int = 1) -> list[str]:
    """Strike three peers that serve; what was said."""
    said: list[str] = []

    async def main() -> None:
        network = new_network()
        peers = WatchedPeers(SPECS, network, said.append)
        async with open_ensemble(
            network, seed=seed, disk=lambda peer: watched.disk(peer, seed), failed=peers.failed
        ) as ensemble:
            peers.ensemble = ensemble
            await ensemble.wait_serving()
            peers.served = True
            try:
                await scene(ensemble, peers)
            finally:
                peers.thaw_all()

    seeded.run(seed, main)
    return said


def states(peers: WatchedPeers) -> list[str]:
    return [peer.state for peer in peers.state().peers]


async def elected_instead(ensemble: MemoryEnsemble, old: int) -> int:
    others = [peer for peer in ensemble.peers if peer != old]
    return await ensemble.wait_serving(*others)


@pytest.mark.parametrize("seed", range(5))
def test_a_killed_leader_is_followed_by_another_and_follows_when_it_is_back(seed: int) -> None:
    async def scene(ensemble: MemoryEnsemble, peers: WatchedPeers) -> None:
        leader = await ensemble.wait_serving()
        disk = ensemble.peers[leader].disk
        async with ensemble.client() as client:
            await client.create("/kept", b"acknowledged")
            changed = peers.changed
            await peers.obey(Kill(peer=leader))
            assert changed.is_set()
            assert states(peers)[leader - 1] == "ended"
            assert [peer.code for peer in peers.state().peers] == [None, None, None]
            assert disk.crashed
            assert await elected_instead(ensemble, leader) != leader
            await peers.obey(Restart(peer=leader))
            assert states(peers) == ["running"] * 3
            assert await ensemble.wait_serving() != leader
            assert ensemble.peers[leader].state == "following"
            assert (await client.get("/kept"))[0] == b"acknowledged"

    assert play(scene, seed) == []


def test_a_peer_that_runs_is_killed_before_it_starts_again() -> None:
    async def scene(ensemble: MemoryEnsemble, peers: WatchedPeers) -> None:
        life = ensemble.peers[2].life
        await peers.obey(Restart(peer=2))
        assert life.power_off
        assert ensemble.peers[2].life is not life
        await ensemble.wait_serving()

    play(scene)


def test_a_paused_leader_takes_no_step_and_others_elect() -> None:
    async def scene(ensemble: MemoryEnsemble, peers: WatchedPeers) -> None:
        leader = await ensemble.wait_serving()
        await peers.obey(Pause(peer=leader))
        assert states(peers)[leader - 1] == "paused"
        assert await elected_instead(ensemble, leader) != leader
        assert ensemble.peers[leader].state == "leading", "it has not noticed anything"
        await peers.obey(Resume(peer=leader))
        assert states(peers) == ["running"] * 3
        assert await ensemble.wait_serving() != leader

    play(scene)


def test_a_paused_peer_can_be_killed_and_started() -> None:
    async def scene(ensemble: MemoryEnsemble, peers: WatchedPeers) -> None:
        await peers.obey(Pause(peer=3))
        await peers.obey(Kill(peer=3))
        assert states(peers) == ["running", "running", "ended"]
        await peers.obey(Restart(peer=3))
        await ensemble.wait_serving(1, 2, 3)

    play(scene)


def test_whoever_is_still_paused_at_the_end_ends_too() -> None:
    async def scene(ensemble: MemoryEnsemble, peers: WatchedPeers) -> None:
        del ensemble
        for peer in (1, 2, 3):
            await peers.obey(Pause(peer=peer))

    play(scene)


def test_the_smaller_side_of_a_partition_looks_and_comes_back() -> None:
    async def scene(ensemble: MemoryEnsemble, peers: WatchedPeers) -> None:
        leader = await ensemble.wait_serving()
        others = [peer for peer in (1, 2, 3) if peer != leader]
        await peers.obey(Partition(groups=[[leader], others]))
        assert peers.state().groups == [[leader], others]
        assert await elected_instead(ensemble, leader) != leader
        await ensemble.wait_until(lambda: ensemble.peers[leader].state == "looking")
        await peers.obey(Heal())
        assert peers.state().groups == []
        assert await ensemble.wait_serving(1, 2, 3) != leader

    play(scene)


def test_a_partition_outlives_the_peers_in_it() -> None:
    async def scene(ensemble: MemoryEnsemble, peers: WatchedPeers) -> None:
        await peers.obey(Partition(groups=[[1], [2, 3]]))
        await peers.obey(Restart(peer=1))
        await elected_instead(ensemble, 1)
        await trio.sleep(60)
        assert ensemble.peers[1].state == "looking"

    play(scene)


def test_another_partition_lets_nothing_through_of_what_the_first_held_back() -> None:
    async def scene(ensemble: MemoryEnsemble, peers: WatchedPeers) -> None:
        await peers.obey(Partition(groups=[[1], [2, 3]]))
        await ensemble.wait_until(lambda: ensemble.peers[1].state == "looking")
        await trio.sleep(10)
        heard: list[tuple[int, int]] = []

        def hear(peer: int, event: Event) -> None:
            if isinstance(event, VoteHeard) and 1 in (peer, event.sender) and peer != event.sender:
                heard.append((peer, event.sender))

        ensemble.subscribe(hear)
        await peers.obey(Partition(groups=[[1], [2], [3]]))
        await ensemble.wait_until(lambda: all(peer.state == "looking" for peer in ensemble.peers.values()))
        await trio.sleep(10)
        assert heard == []
        await peers.obey(Heal())
        await ensemble.wait_serving(1, 2, 3)
        assert heard

    play(scene)


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (Kill(peer=9), "there is no peer 9"),
        (Restart(peer=9), "there is no peer 9"),
        (Resume(peer=2), "peer 2 does not run"),
        (Pause(peer=2), "peer 2 does not run"),
        (Kill(peer=2), "peer 2 does not run"),
        (Partition(groups=[[1], [7]]), "there is no peer 7"),
        (Partition(groups=[[1], [1, 2]]), "a peer is on one side of a partition only"),
    ],
)
def test_orders_that_make_no_sense(order: AnyOrder, why: str) -> None:
    async def scene(ensemble: MemoryEnsemble, peers: WatchedPeers) -> None:
        del ensemble
        await peers.obey(Kill(peer=2))
        with pytest.raises(ConfigError, match=why):
            await peers.obey(order)
        assert states(peers) == ["running", "ended", "running"]

    play(scene)


def test_the_client_at_work_goes_on_whatever_happens() -> None:
    async def scene(ensemble: MemoryEnsemble, peers: WatchedPeers) -> None:
        async def written(client: Client) -> int:
            with trio.fail_after(60):
                while True:
                    try:
                        return int((await client.get(watched.WRITTEN))[0] or 0)
                    except RequestFailed:
                        await trio.sleep(0.1)  # Not yet, or nobody serves.

        async def goes_on(client: Client) -> None:
            before = await client.exists(watched.WRITTEN)
            with trio.fail_after(60):
                while await client.exists(watched.WRITTEN) == before:
                    await trio.sleep(0.1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watched.write, ensemble, 5.0)
            async with ensemble.client() as client:
                assert await written(client) >= 0
                await peers.obey(Kill(peer=await ensemble.wait_serving()))
                await goes_on(client)
                for peer in ensemble.running():
                    await peers.obey(Kill(peer=peer))
                await trio.sleep(60)  # Sessions are over.
                for peer in (1, 2, 3):
                    await peers.obey(Restart(peer=peer))
            async with ensemble.client() as client:
                await goes_on(client)
            nursery.cancel_scope.cancel()

    play(scene)
