"""A leader whose own disk is slow, while those of a quorum are not, queued for its log without a bound.

Writes commit without the leader's disk, so clients were answered and went on writing; the bound that was meant for the
queue was asked by nobody.
"""

import pytest
import trio
from trio.testing import MockClock

from tests.hostile.kit import create, set_data
from tests.regressions.kit import MEGABYTE, others, session, slow_disks
from trioquorum.events import Event
from trioquorum.limits import Limits
from trioquorum.testing import open_ensemble
from trioquorum_transports.memory import MemoryNetwork

LIMITS = Limits(log_queue_bytes_max=4 * MEGABYTE, log_batch_bytes_max=2 * MEGABYTE)
WRITES = 40
FLUSH_S = 0.5


@pytest.mark.parametrize("at", ["leader", "follower"])
async def test_writes_wait_for_the_log_of_the_leader(at: str, autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), limits=LIMITS) as ensemble:
        leader = await ensemble.wait_serving()
        peer = leader if at == "leader" else others(ensemble, leader)[0]
        async with session(ensemble, peer) as client:
            await client.send(create(1, "/big"))
            await client.reply()
            slow_disks(ensemble, FLUSH_S, leader)
            log = ensemble.peers[leader].database.log
            queued: list[int] = []

            def look(_: int, __: Event) -> None:
                queued.append(log._bytes)

            ensemble.subscribe(look)
            began = trio.current_time()
            for number in range(WRITES):
                await client.send(set_data(2 + number, "/big", bytes(MEGABYTE)))
                answer = await client.reply()
                assert (answer.xid, answer.err) == (2 + number, 0)
            duration_s = trio.current_time() - began
        assert LIMITS.log_queue_bytes_max < max(queued) <= LIMITS.log_queue_bytes_max + 3 * MEGABYTE
        # As fast as the disk is, and no slower.
        behind = LIMITS.log_queue_bytes_max // MEGABYTE + 3
        assert FLUSH_S * (WRITES - behind) / 2 <= duration_s <= FLUSH_S * WRITES
        assert await ensemble.wait_serving() == leader
