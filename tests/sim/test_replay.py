"""One seed is one run: what failed can be looked at again."""

import random

import pytest
import trio
from trio.testing import MockClock

from tests.sim.kit import Writers
from trioquorum.testing import Happening, open_ensemble
from trioquorum_transports.memory import MemoryNetwork


async def run(seed: int) -> list[Happening]:
    """Elections, a load, a partition, crashes."""
    rng = random.Random(seed)
    network = MemoryNetwork()
    network.delay("peer1", "peer2", 0.01, jitter_s=0.01, random=rng)
    writers = Writers("/w")
    async with open_ensemble(network, flush_latency_s=0.001, seed=seed) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client() as client, trio.open_nursery() as nursery:
            await client.create("/w")
            for task in range(5):
                nursery.start_soon(writers.write, client, str(task), 0.1)
            for _ in range(3):
                victim = rng.choice(ensemble.running())
                await ensemble.crash(victim, torn_bytes=rng.randrange(100))
                await trio.sleep(rng.random())
                await ensemble.start(victim)
                await ensemble.wait_serving()
            ensemble.partition([1], [2, 3])
            await trio.sleep(20 * rng.random())
            ensemble.heal()
            await ensemble.wait_serving()
            writers.halted = True
        return list(ensemble.trace)


def trace(seed: int) -> list[Happening]:
    # Trio orders what is ready at once by chance; this is the switch that Hypothesis uses.
    trio._core._run._r.seed(seed)
    return trio.run(run, seed, clock=MockClock(autojump_threshold=0))


def test_a_seed_repeats_every_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True)
    first, second = trace(1), trace(1)
    assert len(first) > 200
    assert first == second
    assert first != trace(2)
