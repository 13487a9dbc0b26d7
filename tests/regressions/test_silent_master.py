"""A follower whose leader falls silent looks for another at once, whatever the clock's last bit says."""

import random

import trio

from trioquorum.config import Settings
from trioquorum.testing import open_ensemble, seeded
from trioquorum_transports.memory import MemoryNetwork


async def _cut_off_ten_times() -> None:
    rng = random.Random(5)
    network = MemoryNetwork()
    for a, b in ((1, 2), (1, 3), (2, 3)):
        network.delay(f"peer{a}", f"peer{b}", 0.001, jitter_s=0.01, random=rng)
    async with open_ensemble(network, settings=Settings(tick_time_ms=200)) as ensemble:
        for _ in range(10):
            leader = await ensemble.wait_serving()
            await trio.sleep(rng.uniform(0.0, 1.0))
            others = [peer for peer in ensemble.peers if peer != leader]
            ensemble.partition([leader], others)
            await ensemble.wait_serving(*others)
            ensemble.heal()


def test_the_wait_for_a_silent_leader_ends() -> None:
    """It waited for what was left of its patience, 1e-16 s, again and again, while time stood still."""
    seeded.run(5, _cut_off_ten_times)
