"""Voters that elect a leader and do not come (rule Q, §7.1), and observers that lost theirs (§6)."""

import pytest
import trio
from trio.testing import MockClock

from tests.sim.disloyal import run_disloyal_voter
from tests.sim.kit import events_of
from trioquorum.config import Settings
from trioquorum.events import RoundStarted, StateChanged
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum_transports.memory import MemoryNetwork

INIT_LIMIT_S = 20.0


def first_term_s(ensemble: MemoryEnsemble, peer: int) -> float:
    """How long the first term of ``peer`` as a leader lasted."""
    changes = events_of(ensemble, StateChanged, peer)
    began = next(it.time_s for it in changes if it.event.new == "leading")
    return float(next(it.time_s for it in changes if it.event.old == "leading") - began)


@pytest.mark.parametrize(("patience_ms", "at_least_s", "at_most_s"), [(-1, INIT_LIMIT_S, 20.5), (1500, 1.5, 3.0)])
async def test_a_leader_gives_up_when_its_electors_look_again(
    patience_ms: int, at_least_s: float, at_most_s: float, autojump_clock: MockClock
) -> None:
    settings = Settings(leader_max_wait_for_epoch_ms=patience_ms, election_resend_ms_max=400)
    async with open_ensemble(MemoryNetwork(), peers=3, settings=settings, start=False) as ensemble:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_disloyal_voter, ensemble, ensemble.peers[1])
            await ensemble.start(3)
            await ensemble.wait_until(
                lambda: any(it.event.old == "leading" for it in events_of(ensemble, StateChanged, 3))
            )
            nursery.cancel_scope.cancel()
        assert at_least_s <= first_term_s(ensemble, 3) <= at_most_s
        if patience_ms > 0:
            ended = next(it.event for it in events_of(ensemble, StateChanged, 3) if it.event.old == "leading")
            assert ended.reason == "peer 1 elected this leader, but looks for another one"


async def test_a_quorum_of_the_loyal_does_not_mind_a_deserter(autojump_clock: MockClock) -> None:
    """Upstream's testLeaderElectionWithDisloyalVoter_stillHasMajority."""
    settings = Settings(leader_max_wait_for_epoch_ms=1, election_resend_ms_max=400)
    async with (
        open_ensemble(MemoryNetwork(), peers=3, settings=settings, start=False) as ensemble,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(run_disloyal_voter, ensemble, ensemble.peers[1])
        await ensemble.start(2, 3)
        assert await ensemble.wait_serving(2, 3, within_s=2.0) == 3
        await trio.sleep(2 * INIT_LIMIT_S)
        assert len(ensemble.safety.leaders) == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("delay_ms", [0, 3000])
async def test_observers_ask_for_the_next_leader_at_different_times(delay_ms: int, autojump_clock: MockClock) -> None:
    settings = Settings(observer_election_delay_ms=delay_ms)
    async with open_ensemble(MemoryNetwork(), peers=3, observers=8, settings=settings) as ensemble:
        leader = await ensemble.wait_serving()
        before = len(events_of(ensemble, RoundStarted))
        crashed_at = trio.current_time()
        await ensemble.crash(leader)
        await ensemble.wait_serving()
        asked = {
            it.peer: it.time_s - crashed_at for it in events_of(ensemble, RoundStarted)[before:][::-1] if it.peer > 3
        }
        assert len(asked) == 8
        assert all(waited <= delay_ms / 1000 + 0.1 for waited in asked.values())
        moments = len({round(waited, 1) for waited in asked.values()})
        assert moments == 1 if delay_ms == 0 else moments > 4, asked
