"""Whole elections over links, under a mock clock: who leads, and how long it takes."""

import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from itertools import combinations, pairwise

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.election.kit import Ensemble, Unreachable, address, note
from trioquorum.events import Elected, Events, LinkDown, LinkUp, RoundStarted, VoteHeard
from trioquorum.peer.electing import Elections
from trioquorum.peer.links import ElectionMesh
from trioquorum.transport import Address, Transports
from trioquorum.wire.election import (
    Hello,
    Notification,
    PeerState,
    decode_notification,
    encode_hello,
    encode_notification,
)
from trioquorum.zab.ballots import Vote
from trioquorum.zab.election import Election
from trioquorum_transports.tcp import TcpTransport

SETTLE_S = 0.2
SOON_S = 0.01
SILENT = "nothing came back, though we sent again 2 times"


@asynccontextmanager
async def ensemble(
    *voters: int, observers: tuple[int, ...] = (), start: tuple[int, ...] | None = None
) -> AsyncIterator[Ensemble]:
    net = Ensemble(voters, observers)
    async with trio.open_nursery() as nursery:
        net.nursery = nursery
        await net.start(nursery, *(net.sids if start is None else start))
        yield net
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> float:
    """Returns how long it took."""
    began = trio.current_time()
    with trio.fail_after(within_s):
        while not condition():
            await trio.sleep(0.001)
    return trio.current_time() - began


@pytest.mark.parametrize("size", [1, 3, 5, 7])
async def test_all_present_elect_without_waiting(size: int, autojump_clock: MockClock) -> None:
    async with ensemble(*range(1, size + 1)) as net:
        took = await until(lambda: len(net.results) == size)
        assert net.leaders() == dict.fromkeys(net.sids, size)
        assert took < SOON_S
        elected = net.seen(1, Elected)
        assert elected == [Elected(leader=size, round=1, voters=tuple(net.sids), duration_ms=0)]


async def test_one_missing_costs_the_settle_wait_and_no_more(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3, start=(1, 2)) as net:
        took = await until(lambda: len(net.results) == 2)
        assert net.leaders() == {1: 2, 2: 2}
        assert took == pytest.approx(SETTLE_S, abs=SOON_S)
        (elected,) = net.seen(2, Elected)
        assert (elected.voters, elected.duration_ms) == ((1, 2), 200)


async def test_one_silent_address_of_five_delays_nobody(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3, 4, 5, start=()) as net:
        for sid in (1, 2, 4, 5):
            net.network.cut(f"p{sid}", "p3")
        await net.start(net.nursery, 1, 2, 4, 5)
        took = await until(lambda: len(net.results) == 4)
        assert set(net.leaders().values()) == {5}
        assert took == pytest.approx(SETTLE_S, abs=SOON_S)


async def test_no_quorum_no_leader(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3, start=(2,)) as net:
        await trio.sleep(1000)
        assert net.results == {}
        await net.start(net.nursery, 1)
        took = await until(lambda: len(net.results) == 2)
        assert net.leaders() == {1: 2, 2: 2}
        assert took == pytest.approx(SETTLE_S, abs=SOON_S)


@pytest.mark.parametrize("late", [1, 2, 3])
async def test_a_late_joiner_adopts_the_standing_leader_at_once(late: int, autojump_clock: MockClock) -> None:
    early = sorted({1, 2, 3} - {late})
    async with ensemble(1, 2, 3, start=tuple(early)) as net:
        await until(lambda: len(net.results) == 2)
        for sid in early:
            net.elections[sid].set_peer_epoch(1)
        await trio.sleep(300)
        net.zxids[late] = 0x99  # a better vote does not unseat a leader
        await net.start(net.nursery, late)
        took = await until(lambda: late in net.results)
        assert net.leaders() == dict.fromkeys((1, 2, 3), max(early))
        assert took < SOON_S


async def test_the_best_history_leads(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3, start=()) as net:
        net.zxids.update({1: 0x5, 2: 0x7, 3: 0x6})
        await net.start(net.nursery, 1, 2, 3)
        await until(lambda: len(net.results) == 3)
        assert net.leaders() == {1: 2, 2: 2, 3: 2}


async def test_when_the_leader_dies_nobody_waits_for_its_vote(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3, 4, 5) as net:
        await until(lambda: len(net.results) == 5)
        await trio.sleep(60)
        await net.stop(5)
        # They notice one after the other.
        for sid in (1, 2, 3, 4):
            net.look(sid)
            await trio.sleep(0.01)
        took = await until(lambda: len(net.results) == 4)
        assert net.leaders() == dict.fromkeys((1, 2, 3, 4), 4)
        assert took < SOON_S

        # The old leader comes back and follows.
        await net.start(net.nursery, 5)
        await until(lambda: len(net.results) == 5)
        assert net.leaders() == dict.fromkeys(net.sids, 4)


async def test_who_falls_silent_is_waited_for_while_its_links_stand(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3) as net:
        await until(lambda: len(net.results) == 3)
        await trio.sleep(60)
        for other in (1, 2):
            net.network.cut("p3", f"p{other}")
            net.network.stall_links("p3", f"p{other}")
        net.look(1, 2)
        took = await until(lambda: len(net.results) == 3)
        assert SETTLE_S <= took < SETTLE_S + SOON_S


async def test_a_minority_cannot_elect_and_follows_after_the_partition(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3, 4, 5) as net:
        await until(lambda: len(net.results) == 5)
        for a in (4, 5):
            for b in (1, 2, 3):
                net.network.cut(f"p{a}", f"p{b}")
        net.look(*net.sids)
        await until(lambda: len(net.results) == 3)
        assert net.leaders() == {1: 3, 2: 3, 3: 3}
        await trio.sleep(300)
        assert set(net.results) == {1, 2, 3}
        net.network.heal_all()
        took = await until(lambda: len(net.results) == 5)
        assert net.leaders() == dict.fromkeys(net.sids, 3)
        assert took < SOON_S


async def test_links_that_break_during_the_election_do_not_stop_it(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3, start=()) as net:
        for a, b in ((1, 2), (1, 3), (2, 3)):
            net.network.delay(f"p{a}", f"p{b}", 0.005)
        await net.start(net.nursery, 1, 2, 3)
        for _ in range(20):
            await trio.sleep(0.01)
            for a, b in ((1, 2), (1, 3), (2, 3)):
                net.network.break_links(f"p{a}", f"p{b}")
        await until(lambda: len(net.results) == 3)
        # Two may have agreed on 2 while 3 could not be heard, and one of the two was told better in time. Then the
        # other finds that 2 does not lead.
        net.look(*(sid for sid, leader in net.leaders().items() if net.results[leader][0] is not PeerState.LEADING))
        await until(lambda: len(net.results) == 3)
        assert net.leaders() in (dict.fromkeys(net.sids, 2), dict.fromkeys(net.sids, 3))


async def test_observers_learn_who_leads(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3, observers=(4, 5), start=(4,)) as net:
        await trio.sleep(100)
        await net.start(net.nursery, 1, 2, 3)
        # The observer would not ask again for a minute. But its question still waits for a link, and is dialled for.
        took = await until(lambda: len(net.results) == 4)
        assert net.results[4][0] is PeerState.OBSERVING
        assert took < net.limits.redial_ms_max / 1000 + SOON_S
        await net.start(net.nursery, 5)
        assert await until(lambda: 5 in net.results) < SOON_S
        assert set(net.leaders().values()) == {3}


async def test_a_peer_that_is_cut_off_at_first_joins_when_it_is_not(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3, start=(1, 2)) as net:
        for sid in (1, 2):
            net.network.cut("p3", f"p{sid}")
        await net.start(net.nursery, 3)
        await trio.sleep(100)
        assert net.leaders() == {1: 2, 2: 2}
        net.network.heal_all()
        assert await until(lambda: 3 in net.results) < SOON_S
        assert net.leaders() == {1: 2, 2: 2, 3: 2}


@pytest.mark.parametrize("stalled", [1, 3])
async def test_links_that_carry_nothing_are_replaced(stalled: int, autojump_clock: MockClock) -> None:
    others = sorted({1, 2, 3} - {stalled})
    async with ensemble(1, 2, 3) as net:
        await until(lambda: len(net.results) == 3)
        await trio.sleep(60)
        for other in others:
            net.network.cut(f"p{stalled}", f"p{other}")
            # As TCP's, which has waited ever longer before it tries again, and will not try soon.
            net.network.stall_links(f"p{stalled}", f"p{other}")
        net.look(*net.sids)
        await trio.sleep(60)
        assert set(net.results) == set(others)
        assert [event.reason for event in net.seen(stalled, LinkDown)] == [SILENT] * 2
        net.network.heal_all()
        took = await until(lambda: len(net.results) == 3)
        assert set(net.leaders().values()) == {max(others)}
        assert took < 2 * net.limits.redial_ms_max / 1000
        # The links stay, though what the dead ones swallowed never comes.
        ups = [len(net.seen(sid, LinkUp)) for sid in net.sids]
        await trio.sleep(60)
        assert (
            [len(net.seen(sid, LinkUp)) for sid in net.sids] == ups == [3 if sid in others else 4 for sid in net.sids]
        )
        assert [len(net.seen(sid, LinkDown)) for sid in net.sids] == [1 if sid in others else 2 for sid in net.sids]


async def test_when_every_link_is_dead_two_that_redial_each_other_settle(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3, 4, 5) as net:
        await until(lambda: len(net.results) == 5)
        await trio.sleep(60)
        for a, b in combinations(net.sids, 2):
            net.network.stall_links(f"p{a}", f"p{b}")
        net.look(*net.sids)
        took = await until(lambda: len(net.results) == 5)
        assert set(net.leaders().values()) == {5}
        assert took < 2
        await trio.sleep(60)
        for sid in net.sids:
            # The first links, and one to each anew.
            assert sorted(event.peer for event in net.seen(sid, LinkUp)) == sorted(
                2 * [other for other in net.sids if other != sid]
            )


async def test_a_peer_whose_pauses_are_long_seems_dead_a_few_times_only(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3, 4, 5, start=(1, 2, 3)) as net:
        await until(lambda: len(net.results) == 3)
        await net.stop(3)
        net.look(1)
        await trio.sleep(600)
        net.look(2)
        await trio.sleep(3600)
        assert net.results == {}
        assert [event.reason for event in net.seen(2, LinkDown) if event.peer == 1] == [SILENT] * 2


async def test_a_frozen_peer_is_dialled_at_growing_pauses(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3, start=()) as net:
        dialled: list[float] = []
        listener = await net.network.transport("p1").listen(address(1), frame_bytes_max=4096)
        await net.start(net.nursery, 2)
        with trio.move_on_after(600):
            while True:  # the kernel accepts for a process that does not run
                await listener.accept()
                dialled.append(trio.current_time())
        # Resends at 0.2 and 0.6 are in vain; those at 1.4, 3.0 and 6.2 are the first on the next link; and so on.
        assert dialled == pytest.approx([0.0, 1.4, 12.6, 102.2, 282.2, 462.2])
        await listener.aclose()


async def test_resends_come_at_doubling_pauses(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3, start=(2,)) as net:
        heard: list[float] = []
        listener = await net.network.transport("p3").listen(address(3), frame_bytes_max=4096)
        link = await listener.accept()  # 2 asks to be called
        await link.aclose()
        link = await net.network.transport("p3").connect(address(2), frame_bytes_max=4096)
        await link.send(encode_hello(Hello(sid=3, address="memory://p3")))
        with trio.move_on_after(400):
            while True:
                assert decode_notification(await link.receive()).leader == 2
                heard.append(trio.current_time())
                await link.send(encode_notification(note(3, state=PeerState.OBSERVING)))  # counts for nothing
        pauses = [round(later - earlier, 1) for earlier, later in pairwise(heard)]
        assert pauses[:12] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0, 60.0]
        await link.aclose()
        await listener.aclose()


async def test_while_nothing_gets_through_silence_dials_everybody(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    dials: list[float] = []
    net = Ensemble((1, 2))
    transports = Transports(memory=net.network.transport("p1"), nowhere=Unreachable(dials))
    there = {2: Address("nowhere", "p2")}
    mesh = ElectionMesh(1, there, address(1), transports, net.limits, Events(), 5000, random.Random(1))
    elections = Elections(Election(1, net.config), mesh, Events())
    await nursery.start(mesh.run)
    await nursery.start(elections.run)
    with trio.move_on_after(10):
        await elections.look(zxid=0, peer_epoch=0)
    assert {0.0, 0.2, 0.6, 1.4, 3.0, 6.2} <= {round(time, 6) for time in dials}
    nursery.cancel_scope.cancel()


async def test_a_cancelled_look_is_abandoned_and_another_one_works(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    net = Ensemble((1, 2))
    mesh = net.mesh(1)
    elections = Elections(Election(1, net.config), mesh, Events(net.events[1].append))
    await nursery.start(mesh.run)
    await nursery.start(elections.run)
    with trio.move_on_after(5):
        await elections.look(zxid=0, peer_epoch=0)
    await net.start(nursery, 2)
    await trio.sleep(5)
    # Nobody votes here any more, so 2 is not answered and looks in vain.
    assert net.results == {}
    assert {event.outcome for event in net.seen(1, VoteHeard)} == {"ignored: we do not vote yet"}

    state, vote = await elections.look(zxid=0, peer_epoch=0)
    assert (state, vote.leader) == (PeerState.FOLLOWING, 2)
    await until(lambda: 2 in net.results)
    assert [event.round for event in net.seen(1, RoundStarted)] == [1, 2]
    nursery.cancel_scope.cancel()


async def test_a_leader_hears_of_voters_that_look(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3) as net:
        await until(lambda: len(net.results) == 3)
        assert net.elections[3].leading_votes == {1, 2, 3}
        assert net.elections[1].leading_votes == frozenset()
        looking: list[int] = []
        net.elections[3].on_looking = looking.append
        net.look(1)
        await until(lambda: 1 in net.results)
        assert looking == [1]
        assert net.leaders() == {1: 3, 2: 3, 3: 3}


async def test_a_newer_configuration_is_reported(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3, start=(1,)) as net:
        texts: list[str] = []
        net.elections[1].on_newer_config = texts.append
        link = await net.network.transport("p2").connect(address(1), frame_bytes_max=4096)
        await link.send(encode_hello(Hello(sid=2, address="memory://p2")))
        vote = Notification(state=PeerState.LOOKING, leader=2, zxid=0, round=1, peer_epoch=0)
        for config in ("version=0", "version=100000000"):
            await link.send(encode_notification(msgspec.structs.replace(vote, config=config)))
        await trio.testing.wait_all_tasks_blocked()
        assert texts == ["version=100000000"]
        await link.aclose()


async def test_a_role_taken_without_election_is_what_others_hear(autojump_clock: MockClock) -> None:
    async with ensemble(1, 2, 3) as net:
        await until(lambda: len(net.results) == 3)
        leads, _ = net.elections[1].designated(1, zxid=0, peer_epoch=4)
        follows, _ = net.elections[2].designated(1, zxid=0, peer_epoch=4)
        assert (leads, follows) == (PeerState.LEADING, PeerState.FOLLOWING)
        net.look(3)
        await until(lambda: 3 in net.results)
        assert net.results[3] == (
            PeerState.FOLLOWING,
            Vote(leader=1, zxid=0, round=1, peer_epoch=4, state=PeerState.FOLLOWING),
        )


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]


async def test_over_tcp() -> None:
    net = Ensemble((1, 2, 3))
    addresses = {sid: Address("tcp", "127.0.0.1", port) for sid, port in zip(net.sids, free_ports(3), strict=True)}
    results: dict[int, tuple[PeerState, int]] = {}

    async def peer(sid: int) -> None:
        events = Events(net.events[sid].append)
        mesh = ElectionMesh(
            sid, addresses, addresses[sid], Transports(tcp=TcpTransport()), net.limits, events, 5000, random.Random(sid)
        )
        elections = Elections(Election(sid, net.config), mesh, events)
        async with trio.open_nursery() as nursery:
            await nursery.start(mesh.run)
            await nursery.start(elections.run)
            state, vote = await elections.look(zxid=0, peer_epoch=0)
            results[sid] = (state, vote.leader)
            while len(results) < 3:
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for sid in net.sids:
                nursery.start_soon(peer, sid)
    assert results == {1: (PeerState.FOLLOWING, 3), 2: (PeerState.FOLLOWING, 3), 3: (PeerState.LEADING, 3)}
