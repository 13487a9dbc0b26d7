"""A leader did not count what learners forward as a sign of life of its session, only their answers to its pings.

A learner that the leader's packets do not reach answers no ping, but its clients' writes arrive: a session could expire
sooner after its last write than it was granted. Found with real peers and a one-way cut.
"""

import trio
from trio.testing import MockClock

from tests.hostile.kit import create
from tests.regressions.kit import others, session
from tests.sim.kit import events_of
from trioquorum.config import Settings
from trioquorum.events import SessionExpired
from trioquorum.testing import open_ensemble
from trioquorum_transports.memory import MemoryNetwork

TIMEOUT_S = 4.0
SETTINGS = Settings(tick_time_ms=500, sync_limit_ticks=40)


async def test_a_forwarded_write_keeps_its_session_alive(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_ensemble(network, settings=SETTINGS) as ensemble:
        leader = await ensemble.wait_serving()
        learner = others(ensemble, leader)[0]
        async with session(ensemble, learner, timeout_ms=int(TIMEOUT_S * 1000)) as client:
            await client.send(create(1, "/a"))
            await client.reply()
            network.cut_one_way(ensemble.peers[leader].node, ensemble.peers[learner].node)
            await trio.sleep(3)
            written_at = trio.current_time()
            await client.send(create(2, "/b"))
            await ensemble.wait_until(lambda: bool(events_of(ensemble, SessionExpired)))
            (expired,) = events_of(ensemble, SessionExpired)
            assert expired.event.session == client.session
            assert "/b" in ensemble.peers[leader].database.tree.nodes
            assert expired.time_s - written_at > TIMEOUT_S
            ensemble.heal()
