"""A sync whose answer was overtaken by a later COMMIT hung the connection that asked.

One acknowledgement may commit what a learner's sync waited for together with that client's next write. The leader told
of the commit first and of the sync behind it; the learner looks only at the oldest request of a client, which was still
the sync, so nobody took the write's commit and neither it nor anything behind it was ever answered.
"""

import trio
from trio.testing import MockClock

from tests.hostile.kit import create, get_data, set_data
from tests.regressions.kit import others, session, slow_disks, sync
from trioquorum.testing import open_ensemble
from trioquorum_transports.memory import MemoryNetwork

ROUNDS = 10


async def test_a_sync_and_the_write_behind_it_are_both_answered(autojump_clock: MockClock) -> None:
    """While a flush takes 10 ms, another client's writes, the sync and the write come into one batch."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        follower = others(ensemble, leader)[0]
        async with session(ensemble, follower) as mine, session(ensemble, leader) as other:
            await mine.send(create(1, "/a"))
            await mine.reply()
            slow_disks(ensemble, 0.01)
            for number in range(ROUNDS):
                xid = 10 + 3 * number
                await other.send(set_data(2 * number + 1, "/a", b"first"))
                await trio.sleep(0.002)
                await other.send(set_data(2 * number + 2, "/a", b"second"))
                await mine.send(sync(xid, "/a"), set_data(xid + 1, "/a", b"mine"), get_data(xid + 2, "/a"))
                answers = [await mine.reply() for _ in range(3)]
                assert [(answer.xid, answer.err) for answer in answers] == [(xid, 0), (xid + 1, 0), (xid + 2, 0)]
                assert answers[0].zxid < answers[1].zxid
                assert b"mine" in answers[2].body
