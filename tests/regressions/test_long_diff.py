"""A learner whose DIFF was longer than its queue on the leader could never come back.

The whole history was queued at once; the queue's bound, meant for learners that do not keep up, broke the link before
a byte had left, and the next attempt went the same way.
"""

from trio.testing import MockClock

from tests.hostile.kit import create, set_data
from tests.regressions.kit import MEGABYTE, others, session
from tests.sim.kit import assert_all_equal, events_of
from trioquorum.events import LearnerSyncing
from trioquorum.limits import Limits
from trioquorum.testing import open_ensemble
from trioquorum_transports.memory import MemoryNetwork

MISSED = 6


async def test_a_diff_larger_than_the_queue_brings_the_learner_up(autojump_clock: MockClock) -> None:
    limits = Limits(learner_queue_bytes_max=4 << 20)
    async with open_ensemble(MemoryNetwork(), limits=limits) as ensemble:
        leader = await ensemble.wait_serving()
        learner = others(ensemble, leader)[0]
        async with session(ensemble, leader) as client:
            await client.send(create(1, "/big"))
            await client.reply()
            await ensemble.crash(learner)
            for number in range(MISSED):
                await client.send(set_data(2 + number, "/big", bytes(MEGABYTE)))
                assert (await client.reply()).err == 0
        await ensemble.start(learner)
        await ensemble.wait_serving(within_s=10)
        last = [it.event for it in events_of(ensemble, LearnerSyncing, leader) if it.event.learner == learner][-1]
        assert last.mode == "DIFF"
        assert last.proposals >= MISSED
        await assert_all_equal(ensemble)
