"""Of two connections that asked for one session before the leader had answered, the first was forgotten.

The second took its place in the follower's table; nothing would ever answer or close the first.
"""

import pytest
import trio
from trio.testing import MockClock

from tests.hostile.kit import create
from tests.regressions.kit import Raw, others, session
from trioquorum.testing import open_ensemble
from trioquorum_transports.memory import MemoryNetwork


@pytest.mark.parametrize("pause_s", [0.0, 0.1, 0.7])
async def test_the_first_is_closed_and_the_second_answered(pause_s: float, autojump_clock: MockClock) -> None:
    """The leader is half a second away: the second comes before its answer or, in the last case, right before it."""
    network = MemoryNetwork()
    async with open_ensemble(network) as ensemble:
        leader = await ensemble.wait_serving()
        follower = others(ensemble, leader)[0]
        async with session(ensemble, follower) as before:
            pass
        network.delay(f"peer{leader}", f"peer{follower}", 0.5)
        first = await Raw.dial(ensemble, follower)
        await first.ask_session(before)
        await trio.sleep(pause_s)
        second = await Raw.dial(ensemble, follower)
        await second.ask_session(before)
        asked_at = trio.current_time()
        assert await first.receive() is None
        assert trio.current_time() - asked_at < 0.1
        await second.session_granted()
        assert second.session == before.session
        await second.send(create(1, "/a"))
        assert (await second.reply()).err == 0
        await first.aclose()
        await second.aclose()
