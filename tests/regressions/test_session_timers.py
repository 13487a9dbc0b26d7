"""A new leader started the timers of sessions when it began to form its quorum, not when it began to serve.

No client can be heard of before that, so a quorum that took longer to form than a session's timeout expired sessions
whose clients had not been let in once.
"""

import trio
from trio.testing import MockClock

from tests.hostile.kit import create
from tests.regressions.kit import others, session, slow_disks
from tests.sim.kit import events_of
from trioquorum.events import Established, SessionExpired
from trioquorum.testing import open_ensemble
from trioquorum_transports.memory import MemoryNetwork

TICK_S = 2.0
TIMEOUT_S = 6.0
FORMING_S = 9.0


async def test_sessions_have_their_full_timeout_when_the_leader_serves(autojump_clock: MockClock) -> None:
    """The epoch is agreed on at once; the history is on a quorum's disks only seconds later."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        first = await ensemble.wait_serving()
        second = others(ensemble, first)[0]
        async with session(ensemble, second, timeout_ms=int(TIMEOUT_S * 1000)) as client:
            await client.send(create(1, "/a"))
            await client.reply()
            await trio.sleep(1)
            crashed_at = trio.current_time()
            await ensemble.crash(first)
            slow_disks(ensemble, FORMING_S, second)
            new = await ensemble.wait_serving()
            led_since = events_of(ensemble, Established, new)[-1].time_s
            assert led_since - crashed_at > TIMEOUT_S + TICK_S, "the quorum must form later than sessions could expire"
            await ensemble.wait_until(lambda: bool(events_of(ensemble, SessionExpired)))
        (expired,) = events_of(ensemble, SessionExpired)
        assert expired.event.session == client.session
        assert TIMEOUT_S < expired.time_s - led_since <= TIMEOUT_S + 2 * TICK_S
