"""Memberships that change while whole ensembles serve (upstream's ReconfigTest, StandaloneDisabledTest)."""

import pytest
import trio
from trio.testing import MockClock

from tests.reconfig.kit import PASSWORD, SETTINGS, operator, refused, stored, voters, wait_led, wait_members
from tests.sim.kit import Writers, assert_all_equal, events_of
from trioquorum.config import Settings
from trioquorum.errors import Code, RequestFailed
from trioquorum.events import Elected, Established, MembershipChanged, PortBlocked, StateChanged
from trioquorum.testing import open_ensemble, server_line
from trioquorum.transport import Address
from trioquorum.tree.acl import digest_id
from trioquorum_transports.memory import MemoryNetwork


async def test_one_peer_grows_to_five_and_shrinks_back(autojump_clock: MockClock) -> None:
    """No leader changes on the way up; every peer shows the same configuration, and so do the disks."""
    async with open_ensemble(MemoryNetwork(), peers=1, joiners=4, settings=SETTINGS) as ensemble:
        await ensemble.wait_serving()
        async with operator(ensemble, 1) as client:
            text, stat = await client.get_config()
            assert text.splitlines() == [server_line(1), "version=100000000"]
            assert stat.mzxid == 1 << 32
            for joiner in range(2, 6):
                await ensemble.start(joiner)
                await ensemble.wait_serving()
                assert voters(ensemble, joiner) == set(range(1, joiner))
                text, stat = await client.reconfig([server_line(joiner)])
                lines = [server_line(peer) for peer in range(1, joiner + 1)]
                assert text.splitlines() == [*lines, f"version={stat.mzxid:x}"]
                assert (await client.get_config())[0] == text
                assert stat.version == -1
                await client.create(f"/{joiner}")
                await wait_members(ensemble, range(1, joiner + 1))
            await assert_all_equal(ensemble)
            assert [stored(ensemble, peer) for peer in range(1, 6)] == [({1, 2, 3, 4, 5}, None)] * 5
            assert events_of(ensemble, Elected, 1) == events_of(ensemble, Elected, 1)[:1]
            await client.reconfig(leaving=[5, 4])
            await ensemble.stop(4, 5)
            await client.reconfig(leaving=[3])
            await ensemble.stop(3)
            await client.reconfig(leaving=[2])
            await ensemble.stop(2)
            await client.create("/alone")
            assert voters(ensemble, 1) == {1}
        assert len(ensemble.safety.leaders) == 1


async def test_a_new_voter_is_needed_at_once(autojump_clock: MockClock) -> None:
    """Two of three were a quorum; of four, two are none."""
    async with open_ensemble(MemoryNetwork(), peers=3, joiners=1, settings=SETTINGS) as ensemble:
        leader = await ensemble.wait_serving()
        await ensemble.start(4)
        await ensemble.wait_serving()
        async with operator(ensemble, leader, 4, request_timeout_ms=20_000) as client:
            await client.reconfig([server_line(4)])
            await ensemble.crash(*[peer for peer in (1, 2, 3) if peer != leader])
            await ensemble.wait_until(lambda: ensemble.leader() is None)
            await trio.sleep(60)
            assert ensemble.leader() is None
            await ensemble.start(*[peer for peer in (1, 2, 3) if peer != leader][:1])
            await ensemble.wait_serving()
            await client.create("/a")


async def test_the_leader_is_removed_and_hands_over(autojump_clock: MockClock) -> None:
    """The next leader is designated, so nobody votes; the old one goes on without a vote, and nothing is lost."""
    writers = Writers("/w")
    async with open_ensemble(MemoryNetwork(), peers=3, settings=SETTINGS) as ensemble:
        leader = await ensemble.wait_serving()
        others = [peer for peer in (1, 2, 3) if peer != leader]
        async with operator(ensemble, *others) as client, trio.open_nursery() as nursery:
            await client.create("/w")
            for name in "abc":
                nursery.start_soon(writers.write, client, name, 0.01)
            await ensemble.wait_until(lambda: writers.reached(20))
            ensemble.trace.clear()
            await client.reconfig(leaving=[leader])
            await wait_led(ensemble, *others)
            assert events_of(ensemble, Elected) == []
            assert ensemble.peers[leader].state == "following"
            done = len(writers.acked)
            await ensemble.wait_until(lambda: writers.reached(done + 20))
            writers.halted = True
        writers.check(await assert_all_equal(ensemble))
        # What follows without a vote is no part of a quorum.
        await ensemble.crash(others[0])
        await ensemble.wait_until(lambda: ensemble.leader() is None)
        await trio.sleep(30)
        assert ensemble.leader() is None


@pytest.mark.parametrize("peer", ["leader", "follower"])
async def test_roles_are_swapped(peer: str, autojump_clock: MockClock) -> None:
    """A voter becomes an observer and comes back, with the same data."""
    async with open_ensemble(MemoryNetwork(), peers=4, settings=SETTINGS) as ensemble:
        leader = await ensemble.wait_serving()
        swapped = leader if peer == "leader" else next(it for it in (1, 2, 3, 4) if it != leader)
        rest = {1, 2, 3, 4} - {swapped}
        async with operator(ensemble, *rest) as client:
            await client.create("/a")
            await client.reconfig([server_line(swapped, "observer")])
            await ensemble.wait_until(lambda: ensemble.peers[swapped].state == "observing")
            await wait_led(ensemble, *rest)
            await wait_members(ensemble, rest)
            await client.create("/b")
            await ensemble.crash(min(rest))
            await ensemble.wait_serving()
            await client.create("/c")
            await ensemble.start(min(rest))
            await ensemble.wait_serving()
            # An observer's acknowledgements are none, so the others alone must be a quorum with it.
            await client.reconfig([server_line(swapped)])
            await ensemble.wait_until(lambda: ensemble.peers[swapped].state == "following")
            await wait_members(ensemble, {1, 2, 3, 4})
        tree = await assert_all_equal(ensemble)
        assert {"/a", "/b", "/c"} <= set(tree.nodes)


async def test_an_observer_joins_and_leaves(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), peers=3, joiners=1, settings=SETTINGS) as ensemble:
        await ensemble.wait_serving()
        async with operator(ensemble) as client:
            text, _ = await client.reconfig([server_line(4, "observer")])
            assert server_line(4, "observer") in text
            await ensemble.start(4)
            await ensemble.wait_serving()
            assert ensemble.peers[4].state == "observing"
            await client.reconfig(leaving=[4])
            # Upstream too makes of it a follower without a vote.
            await ensemble.wait_until(lambda: ensemble.peers[4].state == "following")
            await ensemble.wait_serving()
            assert voters(ensemble, 4) == {1, 2, 3}
        await assert_all_equal(ensemble)


async def test_all_members_are_exchanged_at_once(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), peers=3, joiners=2, settings=SETTINGS) as ensemble:
        await ensemble.wait_serving()
        await ensemble.start(4, 5)
        await ensemble.wait_serving()
        async with operator(ensemble) as client:
            await client.create("/a")
            await client.reconfig(new_members=[server_line(3), server_line(4), server_line(5)])
            await wait_members(ensemble, {3, 4, 5}, 3, 4, 5)
            await ensemble.stop(1, 2)
            await ensemble.wait_serving()
            await client.create("/b")
        await assert_all_equal(ensemble)


async def test_groups_come_and_go(autojump_clock: MockClock) -> None:
    """The quorum system changes as a whole; members one by one only without groups."""
    grouped = [*(server_line(peer) for peer in range(1, 6)), "group.1=1:2", "group.2=3:4:5"]
    async with open_ensemble(MemoryNetwork(), peers=5, settings=SETTINGS) as ensemble:
        await ensemble.wait_serving()
        async with operator(ensemble) as client:
            text, _ = await client.reconfig(new_members=[*grouped, *(f"weight.{peer}=1" for peer in range(1, 6))])
            assert "group.2=3:4:5" in text
            assert await refused(client, leaving=[5]) is Code.BADARGUMENTS
            await client.create("/a")
            await client.reconfig(new_members=[server_line(peer) for peer in range(1, 6)])
            text, _ = await client.reconfig(leaving=[5])
            assert "group" not in text


async def test_requests_that_are_refused(autojump_clock: MockClock) -> None:
    """In this order, and each changes nothing."""
    async with open_ensemble(MemoryNetwork(), peers=3, settings=SETTINGS) as ensemble:
        await ensemble.wait_serving()
        async with operator(ensemble) as client, ensemble.client() as stranger:
            before = await client.get_config()
            assert await refused(stranger, leaving=[1]) is Code.NOAUTH
            assert await refused(stranger, [server_line(999)]) is Code.NOAUTH
            assert await refused(stranger, leaving=[1, 2, 3]) is Code.BADARGUMENTS
            assert await refused(client, leaving=[1, 2, 3], from_config=5) is Code.BADVERSION
            assert await refused(client, leaving=["x"]) is Code.MARSHALLINGERROR
            assert await refused(client, ["server.9=garbage"]) is Code.BADARGUMENTS
            assert await refused(client, [server_line(999)]) is Code.BADARGUMENTS
            assert await refused(client, [server_line(1).replace("peer1", "peer2")]) is Code.BADARGUMENTS
            assert await refused(client, [server_line(4).rpartition(";")[0]]) is Code.BADARGUMENTS
            away = [server_line(1), server_line(8), server_line(9)]
            assert await refused(client, new_members=away) is Code.NEWCONFIGNOQUORUM
            assert await client.get_config() == before
            # Who is not up may join as long as the others are a quorum with it.
            await client.reconfig([server_line(4)], from_config=int(before[0].rpartition("=")[2], 16))
            assert await refused(client, [server_line(5)], from_config=1 << 32) is Code.BADVERSION


async def test_a_reconfiguration_where_it_is_disabled(autojump_clock: MockClock) -> None:
    settings = Settings(super_digest=digest_id(PASSWORD))
    async with open_ensemble(MemoryNetwork(), peers=3, settings=settings) as ensemble:
        await ensemble.wait_serving()
        async with operator(ensemble) as client:
            assert await refused(client, leaving=[1]) is Code.RECONFIGDISABLED
            text, _ = await client.get_config()
            assert text.splitlines() == [*(server_line(peer) for peer in (1, 2, 3)), "version=0"]
        assert {stored(ensemble, peer) == (None, None) for peer in (1, 2, 3)} == {True}


@pytest.mark.parametrize("port", ["quorum", "election", "client"])
@pytest.mark.parametrize("which", ["leader", "follower"])
async def test_a_port_changes(port: str, which: str, autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_ensemble(network, peers=3, settings=SETTINGS) as ensemble:
        leader = await ensemble.wait_serving()
        moved = leader if which == "leader" else 6 - leader - max({1, 2, 3} - {leader})
        rest = sorted({1, 2, 3} - {moved})
        async with operator(ensemble, *rest) as client:
            await client.create("/a")
            await client.reconfig([server_line(moved, ports={port: 7777})])
            await wait_led(ensemble, *(rest if (port, which) == ("quorum", "leader") else (leader,)))
            await client.create("/b")
            # Everybody finds it where it is now: it is needed, and so is an election.
            await ensemble.crash(rest[0])
            await ensemble.wait_serving(rest[1], moved)
            await client.create("/c")
            await ensemble.start(rest[0])
            await ensemble.wait_serving()
        if port == "client":
            with pytest.raises(Exception, match="no session"):
                async with ensemble.client(moved, connect_timeout_ms=2000):
                    pass
        await assert_all_equal(ensemble)


async def test_a_blocked_port_is_tried_until_it_is_free(autojump_clock: MockClock) -> None:
    """A follower is to listen for votes where somebody else does: it stays in the ensemble, by the links it has."""
    network = MemoryNetwork()
    async with open_ensemble(network, peers=3, settings=SETTINGS) as ensemble:
        leader = await ensemble.wait_serving()
        follower = next(peer for peer in (1, 2, 3) if peer != leader)
        transport = network.transport(f"peer{follower}")
        blocker = await transport.listen(Address("memory", f"peer{follower}", 7777), frame_bytes_max=1 << 20)
        async with operator(ensemble, leader) as client:
            await client.reconfig([server_line(follower, ports={"election": 7777})])
            await ensemble.wait_until(lambda: len(events_of(ensemble, PortBlocked, follower)) >= 3)
            await client.create("/a")
            await blocker.aclose()
            await trio.sleep(5)
            blocked = len(events_of(ensemble, PortBlocked))
            await ensemble.crash(leader)
            await ensemble.wait_serving()
            assert len(events_of(ensemble, PortBlocked)) == blocked


async def test_a_leader_whose_new_port_is_blocked_lets_others_lead(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_ensemble(network, peers=3, settings=SETTINGS) as ensemble:
        leader = await ensemble.wait_serving()
        rest = [peer for peer in (1, 2, 3) if peer != leader]
        transport = network.transport(f"peer{leader}")
        blocker = await transport.listen(Address("memory", f"peer{leader}", 7777), frame_bytes_max=1 << 20)
        async with operator(ensemble, *rest) as client:
            await client.reconfig([server_line(leader, ports={"quorum": 7777})])
            await wait_led(ensemble, *rest)
            # It wins the next election, cannot lead, and gives way when it has tried for long enough.
            await ensemble.crash(ensemble.leader() or 0)
            await ensemble.wait_until(lambda: bool(events_of(ensemble, PortBlocked, leader)), within_s=300)
            await blocker.aclose()
            await ensemble.wait_serving(within_s=300)
            await client.create("/a")


async def test_a_peer_that_was_away_learns_the_configuration(autojump_clock: MockClock) -> None:
    """It knows only peers that are gone now and one that is still there; its own file still lists the old ones."""
    async with open_ensemble(MemoryNetwork(), peers=3, joiners=2, settings=SETTINGS) as ensemble:
        leader = await ensemble.wait_serving()
        away = next(peer for peer in (1, 2, 3) if peer != leader)
        third = 6 - leader - away
        await ensemble.crash(away)
        await ensemble.start(4, 5)
        await ensemble.wait_serving()
        async with operator(ensemble, third, 4, 5) as client:
            await client.reconfig([server_line(4), server_line(5)])
            await wait_members(ensemble, {1, 2, 3, 4, 5})
            await client.reconfig(leaving=[leader])
            await wait_led(ensemble, third, 4, 5)
            await ensemble.stop(leader)
            await ensemble.wait_serving()
            await ensemble.start(away)
            await ensemble.wait_serving()
            assert voters(ensemble, away) == {1, 2, 3, 4, 5} - {leader}
            assert stored(ensemble, away) == ({1, 2, 3, 4, 5} - {leader}, None)
            await client.create("/a")
        await assert_all_equal(ensemble)


async def test_the_configuration_outlives_a_restart_of_all(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), peers=3, joiners=1, settings=SETTINGS) as ensemble:
        await ensemble.wait_serving()
        await ensemble.start(4)
        await ensemble.wait_serving()
        async with operator(ensemble) as client:
            text, _ = await client.reconfig([server_line(4)], leaving=[1])
            await ensemble.wait_serving()
            await ensemble.crash()
            ensemble.trace.clear()
            await ensemble.start(2, 3, 4)
            await ensemble.wait_serving()
            assert (await client.get_config())[0] == text
            await ensemble.crash(2)
            await ensemble.wait_serving()
            assert {it.event.role for it in events_of(ensemble, Established)} == {"leader", "follower"}
        assert events_of(ensemble, MembershipChanged) == []
        assert next(it.event.new for it in events_of(ensemble, StateChanged, 2)) == "looking"


async def test_a_watch_on_the_configuration_fires_once(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), peers=3, settings=SETTINGS) as ensemble:
        leader = await ensemble.wait_serving()
        follower = next(peer for peer in (1, 2, 3) if peer != leader)
        told: list[str] = []
        async with operator(ensemble, leader) as client, ensemble.client(follower) as watcher:
            await watcher.get_config(lambda event: told.append(event.path))
            await client.reconfig(leaving=[6 - leader - follower])
            await watcher.sync()
            assert told == ["/zookeeper/config"]


async def test_two_at_once_are_one_after_the_other(autojump_clock: MockClock) -> None:
    """The second finds the first under way; nothing of it happens."""
    async with open_ensemble(MemoryNetwork(), peers=5, settings=SETTINGS, flush_latency_s=0.1) as ensemble:
        leader = await ensemble.wait_serving()
        answers: list[Code] = []

        async def leave(peer: int) -> None:
            answers.append(await refused(client, leaving=[peer]))

        first, second = sorted({1, 2, 3, 4, 5} - {leader})[:2]
        async with operator(ensemble, leader) as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(leave, first)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(leave, second)
            assert sorted(answers) == [Code.RECONFIGINPROGRESS, Code.OK]
            text, _ = await client.get_config()
            assert f"server.{first}=" not in text
            assert f"server.{second}=" in text


async def test_nobody_is_answered_before_it_is_committed(autojump_clock: MockClock) -> None:
    """A reconfiguration that its quorums do not acknowledge is lost with its client's patience, not half done."""
    async with open_ensemble(MemoryNetwork(), peers=3, settings=SETTINGS) as ensemble:
        leader = await ensemble.wait_serving()
        rest = sorted({1, 2, 3} - {leader})
        async with operator(ensemble, leader, request_timeout_ms=3000) as client:
            ensemble.partition([leader], rest)
            with pytest.raises(RequestFailed):
                await client.reconfig(leaving=[rest[0]])
        await ensemble.wait_serving(*rest)
        assert stored(ensemble, leader)[1] == {leader, rest[1]}
        ensemble.heal()
        await ensemble.wait_serving()
        await wait_members(ensemble, {1, 2, 3})
        assert stored(ensemble, leader) == ({1, 2, 3}, None)


async def test_an_observer_hears_of_it_through_a_follower(autojump_clock: MockClock) -> None:
    """It is fed by an observer master, who tells it what is committed and who leads."""
    async with open_ensemble(
        MemoryNetwork(), peers=3, observers=1, observer_masters=(1, 2, 3), joiners=1, settings=SETTINGS
    ) as ensemble:
        leader = await ensemble.wait_serving()
        async with operator(ensemble, leader) as client:
            await client.reconfig([server_line(5)])
            await wait_members(ensemble, {1, 2, 3, 5}, 4)
            assert stored(ensemble, 4) == ({1, 2, 3, 5}, None)
            assert ensemble.peers[4].state == "observing"
            assert [it.event.new for it in events_of(ensemble, StateChanged, 4)] == ["looking", "observing"]
            await client.reconfig([server_line(4)], leaving=[5])
            await ensemble.wait_until(lambda: ensemble.peers[4].state == "following")
            await wait_members(ensemble, {1, 2, 3, 4})
        await assert_all_equal(ensemble)


async def test_who_was_away_while_all_others_moved_is_found(autojump_clock: MockClock) -> None:
    """It knows nobody's address; the leader knows its own."""
    async with open_ensemble(MemoryNetwork(), settings=SETTINGS) as ensemble:
        await ensemble.wait_serving()
        await ensemble.stop(1)
        await ensemble.wait_serving(2, 3)
        async with operator(ensemble, 2, 3, request_timeout_ms=20_000) as client:
            for moved in (2, 3):
                await client.reconfig([server_line(moved, ports={"election": 7777, "quorum": 7778})])
                await ensemble.wait_serving(2, 3)
        await ensemble.start(1)
        with trio.fail_after(30):
            await ensemble.wait_serving(1, 2, 3)
