"""A leader that stood still expired every session at once, though what clients had sent meanwhile was not read yet."""

import trio

from tests.sim.kit import events_of
from trioquorum.client import State
from trioquorum.events import SessionExpired
from trioquorum.testing import open_ensemble, seeded
from trioquorum_transports.memory import MemoryNetwork

TIMEOUT_MS = 6000
PAUSE_S = 15.0


async def _pause_the_only_peer() -> tuple[list[object], State]:
    async with (
        open_ensemble(MemoryNetwork(), peers=1) as ensemble,
        ensemble.client(session_timeout_ms=TIMEOUT_MS) as client,
    ):
        await client.create("/a")
        await trio.sleep(1)
        seeded.schedule().freeze("peer1")
        await trio.sleep(PAUSE_S)
        seeded.schedule().thaw("peer1")
        await trio.sleep(3)
        await client.exists("/a")
        return events_of(ensemble, SessionExpired), client.state


def test_sessions_survive_a_pause_longer_than_their_timeout() -> None:
    for seed in range(8):  # The schedule decides whether the ticker or a connection steps first.
        expired, state = seeded.run(seed, _pause_the_only_peer)
        assert expired == [], seed
        assert state is State.CONNECTED


async def _silent_after_a_pause() -> tuple[float, float]:
    async with open_ensemble(MemoryNetwork(), peers=1) as ensemble:
        async with ensemble.client(node="gone", session_timeout_ms=TIMEOUT_MS) as client:
            await client.create("/a")
            seeded.schedule().freeze("peer1")
            await trio.sleep(PAUSE_S)
            seeded.schedule().thaw("peer1")
            ensemble.network.cut("gone", "peer1")
            cut_at = trio.current_time()
            await ensemble.wait_until(lambda: bool(events_of(ensemble, SessionExpired)))
            ensemble.heal()
        return events_of(ensemble, SessionExpired)[0].time_s, cut_at


def test_a_session_that_stays_silent_still_expires() -> None:
    expired_at, cut_at = seeded.run(1, _silent_after_a_pause)
    assert TIMEOUT_MS / 1000 - 2 < expired_at - cut_at < TIMEOUT_MS / 1000 + 6
