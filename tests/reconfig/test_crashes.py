"""Reconfigurations that a crash leaves half done, and quorums that are not there (upstream's ReconfigRecoveryTest)."""

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from tests.reconfig.kit import SETTINGS, leave_pending, operator, stored, voters, wait_led, wait_members
from tests.sim.kit import assert_all_equal, events_of
from trioquorum.errors import RequestFailed
from trioquorum.events import Event, MembershipChanged, MembershipProposed, StateChanged
from trioquorum.storage.membership import NEXT
from trioquorum.testing import MemoryEnsemble, open_ensemble, server_line
from trioquorum_transports.memory import MemoryNetwork


def crash_at(ensemble: MemoryEnsemble, kind: type[Event], at: int, *victims: int) -> Callable[[], bool]:
    """Cut the power of ``victims`` when peer ``at`` has its next event of ``kind``; tells whether that was."""
    done: list[int] = []

    def look(peer: int, event: Event) -> None:
        if isinstance(event, kind) and peer == at and not done:
            done.append(peer)
            ensemble.power_off(*victims)

    ensemble.subscribe(look)
    return lambda: bool(done)


@pytest.mark.parametrize("kind", [MembershipProposed, MembershipChanged])
@pytest.mark.parametrize("witness", ["leader", "follower"])
async def test_the_leader_dies_in_the_middle(kind: type[Event], witness: str, autojump_clock: MockClock) -> None:
    """Between PROPOSAL and COMMIT, and during activation: all agree in the end, on one of the two configurations.

    Who saw it committed goes on with it; a proposal that a quorum logged is completed by the next leader.
    """
    async with open_ensemble(MemoryNetwork(), peers=5, settings=SETTINGS, flush_latency_s=0.01) as ensemble:
        leader = await ensemble.wait_serving()
        leaving = next(peer for peer in (1, 2, 3, 4, 5) if peer != leader)
        seen_by = leader if witness == "leader" else next(it for it in (5, 4) if it not in (leader, leaving))
        crashed = crash_at(ensemble, kind, seen_by, leader)
        async with operator(ensemble, *({1, 2, 3, 4, 5} - {leader}), request_timeout_ms=5000) as client:
            try:
                await client.reconfig(leaving=[leaving])
            except RequestFailed:
                answered = False
            else:
                answered = True
            await ensemble.wait_until(crashed)
            await ensemble.wait_down(leader)
            await ensemble.wait_serving()
            await client.create("/a")
            await ensemble.start(leader)
            await ensemble.wait_serving()
            everybody, fewer = {1, 2, 3, 4, 5}, {1, 2, 3, 4, 5} - {leaving}
            now = voters(ensemble, leader)
            assert now in (everybody, fewer)
            if answered or kind is MembershipChanged:
                assert now == fewer
            assert [stored(ensemble, peer) for peer in (1, 2, 3, 4, 5)] == [(now, None)] * 5
        await assert_all_equal(ensemble)


@pytest.mark.parametrize("kind", [MembershipProposed, MembershipChanged])
async def test_all_lose_power_in_the_middle(kind: type[Event], autojump_clock: MockClock) -> None:
    """Whatever of both files each has: they start, agree, and nobody is left with a pending one."""
    async with open_ensemble(MemoryNetwork(), peers=3, joiners=2, settings=SETTINGS, flush_latency_s=0.01) as ensemble:
        leader = await ensemble.wait_serving()
        await ensemble.start(4, 5)
        await ensemble.wait_serving()
        crashed = crash_at(ensemble, kind, leader)
        async with operator(ensemble, request_timeout_ms=5000) as client:
            with pytest.raises(RequestFailed):
                await client.reconfig(new_members=[server_line(peer) for peer in (3, 4, 5)])
            assert crashed()
            await ensemble.wait_down(1, 2, 3, 4, 5)
            await ensemble.start()
            await ensemble.wait_serving()
            await client.create("/a")
            expected = {1, 2, 3} if voters(ensemble, 3) == {1, 2, 3} else {3, 4, 5}
            await wait_members(ensemble, expected)
            assert kind is MembershipProposed or expected == {3, 4, 5}
        await assert_all_equal(ensemble)


async def test_a_pending_file_is_completed_at_start(autojump_clock: MockClock) -> None:
    """All stopped with a proposal that was committed nowhere: the next leader completes it (ZOOKEEPER-1324)."""
    async with open_ensemble(MemoryNetwork(), peers=3, settings=SETTINGS) as ensemble:
        leader = await ensemble.wait_serving()
        async with operator(ensemble) as client:
            text, _ = await client.get_config()
        await ensemble.stop()
        removed = min({1, 2, 3} - {leader})
        lines = [line for line in text.splitlines() if line.startswith("server") and f"server.{removed}=" not in line]
        await leave_pending(ensemble, lines, 1, 2, 3)
        await ensemble.start()
        await ensemble.wait_serving()
        await wait_members(ensemble, {1, 2, 3} - {removed})
        assert {stored(ensemble, peer)[1] for peer in ensemble.running()} == {None}
        assert len(events_of(ensemble, MembershipChanged)) >= 2


async def test_a_proposal_that_no_log_has_is_void(autojump_clock: MockClock) -> None:
    """Noted in the moment of a crash, and never logged: nobody acknowledged it, so it asks for nobody's vote."""
    async with open_ensemble(MemoryNetwork(), peers=3, settings=SETTINGS) as ensemble:
        await ensemble.wait_serving()
        await ensemble.stop()
        for peer in (1, 2, 3):
            ensemble.peers[peer].disk.files[NEXT] = bytearray(f"{server_line(9)}\nversion=100000777".encode())
        await ensemble.start()
        await ensemble.wait_serving()
        assert {NEXT in ensemble.peers[peer].disk.files for peer in (1, 2, 3)} == {False}
        assert voters(ensemble, 1) == {1, 2, 3}


async def test_a_stale_pending_file_is_removed(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), peers=3, settings=SETTINGS) as ensemble:
        await ensemble.wait_serving()
        await ensemble.stop()
        stale = f"{server_line(1)}\nversion=7".encode()
        for peer in (1, 2, 3):
            ensemble.peers[peer].disk.files[NEXT] = bytearray(stale)
        await ensemble.start()
        await ensemble.wait_serving()
        assert {NEXT in ensemble.peers[peer].disk.files for peer in (1, 2, 3)} == {False}
        assert voters(ensemble, 1) == {1, 2, 3}


async def test_no_progress_without_a_quorum_of_the_new_one(autojump_clock: MockClock) -> None:
    """The new members are gone when their configuration is proposed: the old ones alone cannot commit anything."""
    network = MemoryNetwork()
    async with open_ensemble(network, peers=3, joiners=2, settings=SETTINGS, flush_latency_s=0.05) as ensemble:
        leader = await ensemble.wait_serving()
        await ensemble.start(4, 5)
        await ensemble.wait_serving()
        kept = max({1, 2, 3} - {leader})
        async with operator(ensemble, leader, request_timeout_ms=4000) as client:
            ensemble.partition([1, 2, 3], [4, 5])
            with pytest.raises(RequestFailed):
                await client.reconfig(new_members=[server_line(peer) for peer in (kept, 4, 5)])
        assert events_of(ensemble, MembershipProposed, leader)
        ensemble.trace.clear()
        await trio.sleep(60)
        assert [it for it in events_of(ensemble, MembershipChanged) if it.event.voters == (kept, 4, 5)] == []
        assert ensemble.leader() is None
        ensemble.heal()
        await ensemble.wait_serving()
        await wait_members(ensemble, {kept, 4, 5}, kept, 4, 5)


async def test_a_joiner_that_is_down_is_counted(autojump_clock: MockClock) -> None:
    """Three of four remain a quorum; with one more away nothing is decided until the joiner comes."""
    async with open_ensemble(MemoryNetwork(), peers=3, joiners=1, settings=SETTINGS) as ensemble:
        leader = await ensemble.wait_serving()
        async with operator(ensemble, leader) as client:
            await client.reconfig([server_line(4)])
            await wait_members(ensemble, {1, 2, 3, 4})
            away = min({1, 2, 3} - {leader})
            await ensemble.crash(away)
            await ensemble.wait_until(lambda: ensemble.leader() is None)
            await ensemble.start(4)
            await ensemble.wait_serving()
            await client.create("/a")
            assert voters(ensemble, 4) == {1, 2, 3, 4}


async def test_a_designated_leader_that_dies_is_replaced(autojump_clock: MockClock) -> None:
    """The next leader is told that it leads, and loses power before it does."""
    async with open_ensemble(MemoryNetwork(), peers=5, settings=SETTINGS) as ensemble:
        leader = await ensemble.wait_serving()
        rest = {1, 2, 3, 4, 5} - {leader}
        victims: list[int] = []

        def look(peer: int, event: Event) -> None:
            if isinstance(event, StateChanged) and event.new == "leading" and not victims:
                victims.append(peer)
                ensemble.power_off(peer)

        ensemble.subscribe(look)
        async with operator(ensemble, leader) as client:
            await client.reconfig(leaving=[leader])
        await ensemble.wait_until(lambda: bool(victims))
        await wait_led(ensemble, *(rest - set(victims)))
        await wait_members(ensemble, rest)
        await ensemble.wait_down(*victims)
        await ensemble.start(*victims)
        await ensemble.wait_serving()
        await assert_all_equal(ensemble)
