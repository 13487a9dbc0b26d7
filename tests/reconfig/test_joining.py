"""Peers that start with a proposed membership, or are brought up to date while one is made.

Upstream's ReconfigRecoveryTest and ReconfigDuringLeaderSyncTest.
"""

import pytest
import trio
from trio.testing import MockClock

from tests.reconfig.kit import SETTINGS, leave_pending, operator, stored, voters, wait_members
from tests.reconfig.test_crashes import crash_at
from tests.sim.kit import assert_all_equal, events_of
from trioquorum.errors import RequestFailed
from trioquorum.events import (
    Established,
    Event,
    LearnerSynced,
    LearnerSyncing,
    MembershipChanged,
    MembershipProposed,
    SyncReceived,
)
from trioquorum.testing import open_ensemble, server_line
from trioquorum_transports.memory import MemoryNetwork


async def test_a_pending_membership_needs_its_own_quorum(autojump_clock: MockClock) -> None:
    """The old members all start; two of the three new ones do not, and without them nobody leads."""
    async with open_ensemble(MemoryNetwork(), peers=3, joiners=2, settings=SETTINGS) as ensemble:
        await ensemble.wait_serving()
        await ensemble.stop()
        await leave_pending(ensemble, [server_line(peer) for peer in (3, 4, 5)], 1, 2, 3)
        ensemble.trace.clear()
        await ensemble.start(1, 2, 3)
        await trio.sleep(120)
        assert events_of(ensemble, Established) == []
        await ensemble.start(4)
        await ensemble.wait_serving()
        await wait_members(ensemble, {3, 4, 5})
        await ensemble.start(5)
        await ensemble.wait_serving()
        await assert_all_equal(ensemble)


@pytest.mark.parametrize("stays", [True, False])
async def test_a_peer_with_a_pending_membership_joins_where_it_is_in_force(
    stays: bool, autojump_clock: MockClock
) -> None:
    """It loses power right after it noted what the others then commit without it."""
    async with open_ensemble(MemoryNetwork(), peers=5, settings=SETTINGS, flush_latency_s=0.01) as ensemble:
        leader = await ensemble.wait_serving()
        late, other = sorted({1, 2, 3, 4, 5} - {leader})[:2]
        leaving = other if stays else late
        crashed = crash_at(ensemble, MembershipProposed, late, late)
        async with operator(ensemble, leader) as client:
            await client.reconfig(leaving=[leaving])
            assert crashed()
            await ensemble.wait_down(late)
            expected = {1, 2, 3, 4, 5} - {leaving}
            assert stored(ensemble, late) == ({1, 2, 3, 4, 5}, expected)
            await ensemble.start(late)
            await ensemble.wait_serving()
            assert ensemble.leader() == leader
            assert stored(ensemble, late) == (expected, None)
        await assert_all_equal(ensemble)


async def test_observers_become_voters_by_an_election(autojump_clock: MockClock) -> None:
    """All start with a proposal in which they vote: it is completed with them, and they take part."""
    async with open_ensemble(MemoryNetwork(), peers=2, observers=2, settings=SETTINGS) as ensemble:
        await ensemble.wait_serving()
        await ensemble.stop()
        await leave_pending(ensemble, [server_line(peer) for peer in (1, 2, 3, 4)], 1, 2, 3, 4)
        await ensemble.start()
        await ensemble.wait_serving()
        await wait_members(ensemble, {1, 2, 3, 4})
        await ensemble.wait_until(lambda: {ensemble.peers[peer].state for peer in (3, 4)} <= {"following", "leading"})
        leader = await ensemble.wait_serving()
        await ensemble.crash(next(peer for peer in (1, 2) if peer != leader))
        async with operator(ensemble, leader) as client:
            await client.create("/a")


@pytest.mark.parametrize("stage", [LearnerSyncing, SyncReceived, LearnerSynced])
async def test_a_reconfiguration_while_a_learner_is_brought_up_to_date(
    stage: type[Event], autojump_clock: MockClock
) -> None:
    """A member that comes back, and takes over its history while another one leaves and a third one joins."""
    network = MemoryNetwork()
    async with open_ensemble(network, peers=5, joiners=1, settings=SETTINGS, flush_latency_s=0.02) as ensemble:
        leader = await ensemble.wait_serving()
        late, leaving = sorted({1, 2, 3, 4, 5} - {leader})[:2]
        expected = {1, 2, 3, 4, 5, 6} - {leaving}
        await ensemble.crash(late)
        await ensemble.start(6)
        await ensemble.wait_serving()
        async with operator(ensemble, leader) as client, trio.open_nursery() as nursery:
            for number in range(20):
                await client.create(f"/{number}")

            async def reconfigure() -> None:
                await client.reconfig([server_line(6)], leaving=[leaving])

            begun: list[Event] = []

            def heard(peer: int, event: Event) -> None:
                if isinstance(event, stage) and late in (peer, getattr(event, "learner", None)) and not begun:
                    begun.append(event)
                    nursery.start_soon(reconfigure)

            ensemble.subscribe(heard)
            network.delay(f"peer{leader}", f"peer{late}", 0.1)
            await ensemble.start(late)
            await wait_members(ensemble, expected)
            await ensemble.wait_serving()
            assert begun
        assert {tuple(it.event.voters) for it in events_of(ensemble, MembershipChanged, late)} <= {
            (1, 2, 3, 4, 5),
            tuple(sorted(expected)),
        }
        assert voters(ensemble, late) == expected
        assert stored(ensemble, late) == (expected, None)
        await assert_all_equal(ensemble)


async def test_a_learner_is_not_told_that_a_proposal_is_committed(autojump_clock: MockClock) -> None:
    """It takes over its history while a reconfiguration waits for its quorum, which then never comes."""
    network = MemoryNetwork()
    async with open_ensemble(network, peers=3, observers=1, joiners=2, settings=SETTINGS) as ensemble:
        leader = await ensemble.wait_serving()
        await ensemble.start(5, 6)
        await ensemble.wait_serving()
        await ensemble.crash(4)
        async with operator(ensemble, leader, request_timeout_ms=1000) as client:
            ensemble.partition([1, 2, 3, 4], [5, 6])
            with pytest.raises(RequestFailed):
                await client.reconfig(new_members=[server_line(peer) for peer in (leader, 5, 6)])
            assert ensemble.leader() == leader
            await ensemble.start(4)
            await ensemble.wait_serving(4, leader)
            assert stored(ensemble, 4) == ({1, 2, 3}, {leader, 5, 6})
            assert voters(ensemble, 4) == {1, 2, 3}
