"""Callers that say nothing or hardly read, and connections that break in the middle of a reply."""

import random

import pytest
import trio
from trio.testing import MockClock

from tests.sim.kit import LOST, assert_all_equal
from trioquorum.errors import RequestFailed
from trioquorum.testing import open_ensemble, strangers
from trioquorum.testing.network import CLIENT_PORT, ELECTION_PORT, QUORUM_PORT, new_network
from trioquorum.transport import Address


@pytest.mark.parametrize("port", [QUORUM_PORT, ELECTION_PORT, CLIENT_PORT])
async def test_silent_callers_disturb_nobody(port: int, autojump_clock: MockClock) -> None:
    network = new_network()
    hung_up = []

    async def be_silent(address: Address) -> None:
        hung_up.append(await strangers.stay_silent(network, [address] * 5, lasts_s=200.0))

    async with open_ensemble(network) as ensemble:
        leader = await ensemble.wait_serving()
        async with ensemble.client() as client, trio.open_nursery() as nursery:
            nursery.start_soon(be_silent, Address("memory", f"peer{leader}", port))
            for number in range(10):
                await client.create(f"/a{number}")
                await trio.sleep(25)
        assert hung_up == [5]  # nobody waits forever for a first word
        assert await ensemble.wait_serving() == leader
        await assert_all_equal(ensemble)
    assert network.left() == ([], [])


async def test_a_silent_caller_ends_by_cancellation_or_its_time(autojump_clock: MockClock) -> None:
    network = new_network()
    address = Address("memory", "b", 1)
    listener = await network.transport("b").listen(address, frame_bytes_max=10)
    began = trio.current_time()
    assert await strangers.stay_silent(network, [address, Address("memory", "nobody", 1)], lasts_s=5.0) == 0
    assert trio.current_time() == began + 5.0
    with trio.move_on_after(1.0):
        await strangers.stay_silent(network, [address])
    assert trio.current_time() == began + 6.0
    await listener.aclose()
    assert network.left()[1] == []


async def test_a_slow_reader_slows_only_itself(autojump_clock: MockClock) -> None:
    network = new_network()
    read = []

    async def read_slowly(address: Address) -> None:
        read.append(await strangers.read_slowly(network, address, path="/big", bytes_per_s=100, lasts_s=30.0))

    async with open_ensemble(network) as ensemble:
        leader = await ensemble.wait_serving()
        async with ensemble.client(leader) as client, trio.open_nursery() as nursery:
            await client.create("/big", bytes(100_000))
            nursery.start_soon(read_slowly, Address("memory", f"peer{leader}", CLIENT_PORT))
            for number in range(25):
                began = trio.current_time()
                await client.create(f"/a{number}")
                assert trio.current_time() - began < 1.0
                await trio.sleep(1)
            assert read == []
        assert 0 < read[0] <= 3100
        await assert_all_equal(ensemble)
    assert network.left() == ([], [])


async def test_clients_survive_connections_that_break_in_the_middle_of_a_frame(autojump_clock: MockClock) -> None:
    network = new_network()
    rng = random.Random(1)
    lost = 0
    async with open_ensemble(network) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client() as client:
            for peer in ensemble.peers.values():
                network.break_at("client", peer.node, 0.1, random=rng, stream_ports=[CLIENT_PORT])
            acked = set()
            for number in range(200):
                try:
                    await client.create(f"/a{number}", bytes(1000))
                except RequestFailed as failure:
                    if failure.code not in LOST:
                        raise
                    lost += 1
                else:
                    acked.add(f"/a{number}")
            for peer in ensemble.peers.values():
                network.break_at("client", peer.node, 0.0, random=rng)
            tree = await assert_all_equal(ensemble)
    assert lost > 10
    assert acked <= set(tree.nodes)
