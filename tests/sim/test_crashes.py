"""Power cuts under load: no acknowledged write is lost, no two peers differ.

``Safety`` looks at every commit of every peer meanwhile.
"""

import random

import pytest
import trio
from trio.testing import MockClock

from tests.sim.kit import Writers, assert_all_equal
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum_transports.memory import MemoryNetwork

TASKS = 40
"""Of each of three clients, each with one write in flight."""


async def crash_a_leader(ensemble: MemoryEnsemble, writers: Writers, rng: random.Random) -> None:
    """Somewhere in the stream of writes; it comes back somewhat later."""
    leader = await ensemble.wait_serving()
    goal = len(writers.acked) + rng.randrange(1, 100)
    await ensemble.wait_until(lambda: len(writers.acked) >= goal)
    await trio.sleep(rng.uniform(0.0, 0.01))
    down = [leader]
    if rng.random() < 0.3:
        down.append(rng.choice([peer for peer in ensemble.peers if peer != leader]))
    await ensemble.crash(*down, torn_bytes=rng.choice([0, 1, 40, 2000]))
    if rng.random() < 0.7:
        await ensemble.wait_serving()
        await trio.sleep(rng.uniform(0.0, 0.01))
    await ensemble.start(*down)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
async def test_the_leader_crashes_ten_times_with_writes_in_flight(seed: int, autojump_clock: MockClock) -> None:
    rng = random.Random(seed)
    network = MemoryNetwork()
    nodes = [f"peer{peer}" for peer in range(1, 6)]
    for a in nodes:
        for b in nodes:
            if a < b:
                network.delay(a, b, 0.001, jitter_s=0.002, random=rng)
    writers = Writers("/w")
    async with open_ensemble(network, peers=5, flush_latency_s=0.003, seed=seed) as ensemble:
        await ensemble.wait_serving()
        async with (
            ensemble.client(1, 2, 3, 4, 5) as first,
            ensemble.client(3, 4, 5, 1, 2) as second,
            ensemble.client(5, 4, 3, 2, 1) as third,
        ):
            await first.create("/w")
            async with trio.open_nursery() as nursery:
                for number, client in enumerate((first, second, third)):
                    for task in range(TASKS):
                        nursery.start_soon(writers.write, client, f"{number}-{task}", 0.001)
                for _ in range(10):
                    await crash_a_leader(ensemble, writers, rng)
                await ensemble.wait_serving()
                writers.halted = True
            tree = await assert_all_equal(ensemble)
            writers.check(tree)
            assert writers.lost >= TASKS
            assert set(tree.sessions) == {first.session, second.session, third.session}
