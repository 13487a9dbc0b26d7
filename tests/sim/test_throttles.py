"""How many learners a leader brings up to date at once (§8.6), and syncs that are forced to be snapshots."""

import pytest
from trio.testing import MockClock

from tests.sim.kit import assert_all_equal, events_of
from trioquorum.config import Settings
from trioquorum.events import Event, LearnerLeft, LearnerSynced, LearnerSyncing, SyncReceived
from trioquorum.testing import open_ensemble
from trioquorum_transports.memory import MemoryNetwork

OBSERVERS = (4, 5, 6, 7)


class UnderWay:
    """Counts the synchronisations that a leader has begun and not ended; ``most`` of observers at once."""

    def __init__(self) -> None:
        self.observers: set[int] = set()
        self.most = 0

    def __call__(self, peer: int, event: Event) -> None:
        del peer
        match event:
            case LearnerSyncing(learner=learner) if learner in OBSERVERS:
                self.observers.add(learner)
            case LearnerSynced(learner=learner) | LearnerLeft(learner=learner):
                self.observers.discard(learner)
        self.most = max(self.most, len(self.observers))


@pytest.mark.parametrize("mode", ["SNAP", "DIFF"])
async def test_observers_beyond_the_limit_come_back_later(mode: str, autojump_clock: MockClock) -> None:
    limited = Settings(force_snapshot_sync=mode == "SNAP", snapshot_syncs_max=1, diff_syncs_max=1)
    async with open_ensemble(MemoryNetwork(), peers=3, observers=4, settings=limited, flush_latency_s=0.05) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client(1, 2, 3) as client:
            await client.create("/before")
            await assert_all_equal(ensemble)
            await ensemble.stop(*OBSERVERS)
            await client.create("/meanwhile")
        ensemble.trace.clear()
        under_way = UnderWay()
        ensemble.subscribe(under_way)
        await ensemble.start(*OBSERVERS)
        await ensemble.wait_serving()
        assert {it.event.mode for it in events_of(ensemble, SyncReceived) if it.peer in OBSERVERS} == {mode}
        reasons = {it.event.reason for it in events_of(ensemble, LearnerLeft) if it.event.learner in OBSERVERS}
        assert reasons == {f"1 other learners are being brought up to date ({mode})"}
        assert under_way.most == 1
        await assert_all_equal(ensemble)


async def test_voters_are_never_sent_away(autojump_clock: MockClock) -> None:
    nobody = Settings(snapshot_syncs_max=0, diff_syncs_max=0)
    async with open_ensemble(MemoryNetwork(), peers=5, settings=nobody) as ensemble:
        leader = await ensemble.wait_serving()
        async with ensemble.client(leader) as client:
            await client.create("/a")
            other = next(peer for peer in ensemble.peers if peer != leader)
            await ensemble.crash(other)
            await client.create("/b")
            await ensemble.start(other)
            await ensemble.wait_serving()
        assert events_of(ensemble, SyncReceived, other)[-1].event.proposals == 1


async def test_a_forced_snapshot_where_a_diff_would_do(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), settings=Settings(force_snapshot_sync=True)) as ensemble:
        await ensemble.wait_serving()
        assert {it.event.mode for it in events_of(ensemble, SyncReceived)} == {"SNAP"}
