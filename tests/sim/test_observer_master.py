"""Observers that a follower feeds: order, reads, sessions, and the loss of whoever feeds them."""

import random
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from tests.hostile.kit import OPEN_ACL, buffer, create, get_data, request, set_data, text
from tests.regressions.kit import session, slow_disks, sync
from tests.sim.kit import Writers, assert_all_equal, events_of
from trioquorum.config import Settings
from trioquorum.errors import Code
from trioquorum.events import (
    LearnerLeft,
    LearnerSynced,
    LearnerSyncing,
    LinkRefused,
    SessionExpired,
    StateChanged,
    SyncReceived,
)
from trioquorum.limits import Limits
from trioquorum.testing import MemoryEnsemble, open_ensemble, seeded
from trioquorum.testing.checkers.trees import contents
from trioquorum.wire.ops import Op
from trioquorum_transports.memory import MemoryNetwork

VOTERS = (1, 2, 3)
SNAPSHOTS_ONLY = Settings(snapshot_size_factor=-1.0)
LITTLE_KEPT = Limits(committed_log_txns_max=10, snapshot_chunk_bytes=1000, observer_master_bytes_max=5000)


def ephemeral(xid: int, path: str) -> bytes:
    return request(xid, Op.CREATE, text(path) + buffer(b"") + OPEN_ACL + (1).to_bytes(4, "big"))


def fed_by(ensemble: MemoryEnsemble, observer: int) -> int:
    """Who feeds an observer now, which serves."""
    term = ensemble.peers[observer].established
    assert term is not None
    assert term.role == "observer"
    return term.master


async def test_observers_are_fed_by_followers_alone(autojump_clock: MockClock) -> None:
    """In commit order, under load, and the leader does not even know them."""
    writers = Writers("/w")
    async with open_ensemble(MemoryNetwork(), observers=4, observer_masters=VOTERS) as ensemble:
        leader = await ensemble.wait_serving()
        async with ensemble.client(4, 5) as client, trio.open_nursery() as nursery:
            await client.create("/w")
            for task in range(10):
                nursery.start_soon(writers.write, client, str(task), 0.01)
            await ensemble.wait_until(partial(writers.reached, 500))
            writers.halted = True
        writers.check(await assert_all_equal(ensemble))
        assert writers.lost == 0
        masters = {fed_by(ensemble, observer) for observer in (4, 5, 6, 7)}
        followers = {peer for peer in VOTERS if peer != leader}
        assert masters <= followers
        assert {it.event.learner for it in events_of(ensemble, LearnerSynced, leader)} == followers


async def test_without_masters_the_leader_feeds(autojump_clock: MockClock) -> None:
    """Also where the only master there is leads; as soon as it follows it is asked again."""
    async with open_ensemble(MemoryNetwork(), observers=1, observer_masters=[3]) as ensemble:
        leader = await ensemble.wait_serving()
        assert leader == fed_by(ensemble, 4) == 3
        await ensemble.crash(3)
        await ensemble.wait_serving(1, 2)
        await ensemble.start(3)
        assert await ensemble.wait_serving() != 3
        assert fed_by(ensemble, 4) == 3
        await assert_all_equal(ensemble)


async def test_a_session_reads_its_own_writes_and_syncs(autojump_clock: MockClock) -> None:
    """Syncs of observers and of their master's own clients are answered in one order, whatever is between them."""
    async with open_ensemble(MemoryNetwork(), observers=2, observer_masters=[1]) as ensemble:
        await ensemble.wait_serving()
        assert fed_by(ensemble, 4) == fed_by(ensemble, 5) == 1
        async with (
            session(ensemble, 4) as here,
            session(ensemble, 5) as there,
            session(ensemble, 1) as at_master,
            session(ensemble, 2) as elsewhere,
        ):
            await here.send(create(1, "/a"))
            assert (await here.reply()).err == 0
            slow_disks(ensemble, 0.01)
            for number in range(10, 50, 10):
                asking = (here, there, at_master)
                await elsewhere.send(set_data(number, "/a", f"from elsewhere {number}".encode()))
                await elsewhere.reply()
                for raw in asking:
                    await raw.send(sync(number, "/a"), get_data(number + 1, "/a"))
                for raw in reversed(asking):
                    await raw.send(set_data(number + 2, "/a", b"mine"), get_data(number + 3, "/a"))
                    await raw.send(sync(number + 4, "/"))
                for raw in asking:
                    answers = [await raw.reply() for _ in range(5)]
                    assert [(answer.xid, answer.err) for answer in answers] == [(number + n, 0) for n in range(5)]
                    assert f"from elsewhere {number}".encode() in answers[1].body
                    assert b"mine" in answers[3].body


@pytest.mark.parametrize(
    "way",
    [(4, 5), (4, 1), (1, 4), (4, 2), (2, 4), (4, 3), (3, 4), (4, 4)],
    ids=lambda way: "{}-{}".format(*way),
)
async def test_a_session_moves(way: tuple[int, int], autojump_clock: MockClock) -> None:
    """Between observers of one master, to and from that master, another follower, the leader."""
    here, there = way
    async with open_ensemble(MemoryNetwork(), observers=2, observer_masters=[1]) as ensemble:
        assert await ensemble.wait_serving() == 3
        async with session(ensemble, here) as first:
            await first.send(ephemeral(1, "/mine"))
            assert (await first.reply()).err == 0
            async with session(ensemble, there, again=first) as second:
                assert second.session == first.session
                await second.send(set_data(2, "/mine", b"moved"), get_data(3, "/mine"))
                assert (await second.reply()).err == 0
                assert b"moved" in (await second.reply()).body
                # Its pings reach the leader through the new peer.
                for xid in range(10, 15):
                    await trio.sleep(8)
                    await second.send(get_data(xid, "/mine"))
                    assert (await second.reply()).err == 0
        assert events_of(ensemble, SessionExpired) == []
        await ensemble.wait_until(lambda: bool(events_of(ensemble, SessionExpired)))
        tree = await assert_all_equal(ensemble)
        assert "/mine" not in tree.nodes


async def test_a_dead_session_is_refused_through_a_master(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), observers=1, observer_masters=[1]) as ensemble:
        await ensemble.wait_serving()
        async with session(ensemble, 4) as gone:
            pass
        await ensemble.wait_until(lambda: bool(events_of(ensemble, SessionExpired)))
        await trio.sleep(1)
        with pytest.raises(AssertionError, match="refused"):
            async with session(ensemble, 4, again=gone):
                pass
        async with session(ensemble, 4) as fresh:
            await fresh.send(create(1, "/a"))
            assert (await fresh.reply()).err == 0


@pytest.mark.parametrize("there", [5, 1])
async def test_what_a_session_asked_where_it_left_is_not_done(there: int, autojump_clock: MockClock) -> None:
    """The leader refuses what comes from the wrong peer, but to it a master and its observers are one."""
    network = MemoryNetwork()
    async with open_ensemble(network, observers=2, observer_masters=[1]) as ensemble:
        await ensemble.wait_serving()
        async with session(ensemble, 4) as first:
            await first.send(create(1, "/a"))
            assert (await first.reply()).err == 0
            network.cut_one_way("peer4", "peer1")
            await first.send(create(2, "/late"))
            await trio.sleep(1)
            async with session(ensemble, there, again=first) as second:
                network.heal_all()
                await trio.sleep(1)
                await second.send(sync(2, "/"), get_data(3, "/late"), create(4, "/new"))
                answers = [await second.reply() for _ in range(3)]
                assert [answer.err for answer in answers] == [0, Code.NONODE, 0]
        tree = await assert_all_equal(ensemble)
        assert "/late" not in tree.nodes


@pytest.mark.parametrize("victim", ["master", "leader"])
async def test_a_session_outlives_whoever_is_lost(victim: str, autojump_clock: MockClock) -> None:
    """The observer goes to another follower; its client notices a short break."""
    async with open_ensemble(MemoryNetwork(), peers=5, observers=1, observer_masters=(1, 2, 3, 4, 5)) as ensemble:
        writers = Writers("/w")
        leader = await ensemble.wait_serving()
        first = fed_by(ensemble, 6)
        assert first != leader
        async with ensemble.client(6) as client, trio.open_nursery() as nursery:
            await client.create("/w")
            await client.create("/mine", ephemeral=True)
            nursery.start_soon(writers.write, client, "0", 0.1)
            await ensemble.wait_until(partial(writers.reached, 20))
            down = first if victim == "master" else leader
            await ensemble.crash(down)
            await ensemble.wait_serving()
            await ensemble.wait_until(partial(writers.reached, 40))
            writers.halted = True
            assert fed_by(ensemble, 6) not in (down, ensemble.leader())
            await trio.sleep(30)
            assert (await client.exists("/mine")) is not None
            await ensemble.start(down)
            await ensemble.wait_serving()
        assert events_of(ensemble, SessionExpired) == []
        tree = await assert_all_equal(ensemble)
        assert writers.acked.keys() <= tree.nodes.keys()


async def test_an_observer_without_any_master_comes_back_with_one(autojump_clock: MockClock) -> None:
    """It keeps asking, with a pause of its own choice behind each pass, and serves nobody meanwhile."""
    settings = Settings(observer_reconnect_delay_ms=500)
    async with open_ensemble(MemoryNetwork(), observers=1, observer_masters=[1, 2], settings=settings) as ensemble:
        assert await ensemble.wait_serving() == 3
        async with ensemble.client(3) as client:
            await client.create("/a")
            await ensemble.crash(1)
            await ensemble.wait_serving()
            assert fed_by(ensemble, 4) == 2
            await ensemble.start(1)
            await ensemble.crash(2)
            await ensemble.wait_serving()
            assert fed_by(ensemble, 4) == 1
            await client.create("/b")
        tree = await assert_all_equal(ensemble)
        assert {"/a", "/b"} <= tree.nodes.keys()


async def test_an_observer_that_falls_too_far_behind_comes_back(autojump_clock: MockClock) -> None:
    """More is committed during its snapshot than is kept: it is dropped, and takes the rest from the snapshot on."""
    network = MemoryNetwork()
    async with open_ensemble(
        network, observers=1, observer_masters=[1], settings=SNAPSHOTS_ONLY, limits=LITTLE_KEPT
    ) as ensemble:
        await ensemble.wait_serving()
        await ensemble.stop(4)
        async with ensemble.client(2) as client:
            for number in range(100):
                await client.create(f"/{number}", bytes(1000))
            network.delay("peer1", "peer4", 0.05, jitter_s=0.5, random=random.Random(1))
            ensemble.trace.clear()
            await ensemble.start(4)
            await ensemble.wait_until(lambda: bool(events_of(ensemble, LearnerSyncing, 1)))
            for number in range(100, 120):
                await client.create(f"/{number}", bytes(1000))
            await ensemble.wait_serving()
            reasons = [it.event.reason for it in events_of(ensemble, LearnerLeft, 1)]
            assert reasons[0] == "more was committed meanwhile than is kept for observers"
            modes = [it.event.mode for it in events_of(ensemble, LearnerSyncing, 1)]
            assert modes[0] == "SNAP"
            assert len(modes) == len(reasons) + 1
            await client.create("/last")
        tree = await assert_all_equal(ensemble)
        assert {"/0", "/119", "/last"} <= tree.nodes.keys()


async def test_what_is_committed_during_a_snapshot_follows_it(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    limits = Limits(committed_log_txns_max=10, snapshot_chunk_bytes=1000)
    async with open_ensemble(
        network, observers=2, observer_masters=[1], settings=SNAPSHOTS_ONLY, limits=limits
    ) as ensemble:
        await ensemble.wait_serving()
        await ensemble.stop(4, 5)
        async with ensemble.client(2) as client:
            for number in range(100):
                await client.create(f"/{number}", bytes(1000))
            network.delay("peer1", "peer4", 0.05, jitter_s=0.5, random=random.Random(1))
            ensemble.trace.clear()
            await ensemble.start(4, 5)
            await ensemble.wait_until(lambda: bool(events_of(ensemble, LearnerSyncing, 1)))
            for number in range(100, 200):
                await client.create(f"/{number}", bytes(1000))
            await ensemble.wait_serving()
        assert events_of(ensemble, LearnerLeft, 1) == []
        assert {it.event.mode for it in events_of(ensemble, SyncReceived, 4)} == {"SNAP"}
        await assert_all_equal(ensemble)


async def test_an_observer_ahead_of_a_master_waits_for_it(autojump_clock: MockClock) -> None:
    """What its clients have seen is not taken back, however far behind the only master left is."""
    network = MemoryNetwork()
    async with open_ensemble(network, observers=1, observer_masters=[1, 2]) as ensemble:
        assert await ensemble.wait_serving() == 3
        ahead = fed_by(ensemble, 4)
        behind = 3 - ahead
        async with ensemble.client(3) as client:
            network.cut_one_way("peer3", f"peer{behind}")
            await client.create("/seen")
            await ensemble.wait_until(lambda: "/seen" in ensemble.peers[4].database.tree.nodes)
            network.break_links(f"peer{ahead}", "peer4")
            network.cut(f"peer{ahead}", "peer4")
            await ensemble.wait_until(lambda: bool(events_of(ensemble, LinkRefused, behind)))
            refused = events_of(ensemble, LinkRefused, behind)[-1].event.reason
            assert refused.startswith("observer 4 is at 0x")
            assert "/seen" in ensemble.peers[4].database.tree.nodes
            network.heal("peer3", f"peer{behind}")
            await ensemble.wait_until(lambda: ensemble.peers[4].established is not None)
            assert fed_by(ensemble, 4) == behind
            ensemble.heal()
        assert {it.event.mode for it in events_of(ensemble, SyncReceived, 4)} <= {"DIFF", "SNAP"}
        await assert_all_equal(ensemble)


async def test_a_silent_observer_is_given_up(autojump_clock: MockClock) -> None:
    """It turns to the leader when no master answers."""
    network = MemoryNetwork()
    async with open_ensemble(network, observers=2, observer_masters=[1]) as ensemble:
        await ensemble.wait_serving()
        network.cut("peer1", "peer4")
        await ensemble.wait_until(lambda: bool(events_of(ensemble, LearnerLeft, 1)))
        left = events_of(ensemble, LearnerLeft, 1)[0].event
        assert (left.learner, left.reason) == (4, "not heard of for 5 ticks")
        await ensemble.wait_serving()
        assert fed_by(ensemble, 4) == ensemble.leader()
        lost = [it.event.reason for it in events_of(ensemble, StateChanged, 4) if it.event.old == "observing"]
        assert lost[0].startswith("master 1 was silent")
        ensemble.heal()
        await ensemble.wait_serving()
        await assert_all_equal(ensemble)


async def test_one_follower_feeds_many(autojump_clock: MockClock) -> None:
    writers = Writers("/w")
    async with open_ensemble(MemoryNetwork(), observers=15, observer_masters=[1]) as ensemble:
        await ensemble.wait_serving()
        observers = range(4, 19)
        assert {fed_by(ensemble, observer) for observer in observers} == {1}
        async with ensemble.client(*observers) as client, trio.open_nursery() as nursery:
            await client.create("/w")
            for task in range(5):
                nursery.start_soon(writers.write, client, str(task), 0.1)
            await ensemble.wait_until(partial(writers.reached, 50))
            await ensemble.crash(*range(10, 13))
            await ensemble.wait_until(partial(writers.reached, 100))
            await ensemble.start(*range(10, 13))
            await ensemble.wait_serving()
            writers.halted = True
        goal = ensemble.peers[1].database.last_zxid
        await ensemble.wait_until(lambda: all(peer.database.last_zxid >= goal for peer in ensemble.peers.values()))
        first = contents(ensemble.peers[1].database.tree)
        assert all(contents(peer.database.tree) == first for peer in ensemble.peers.values())
        assert writers.acked.keys() <= first["nodes"].keys()


@pytest.mark.parametrize("seed", range(3))
def test_it_holds_whatever_breaks(seed: int) -> None:
    """Followers, leaders and observers crash and are cut off while clients of observers write."""

    async def run() -> None:
        chance = random.Random(f"observer masters/{seed}")
        network = MemoryNetwork()
        network.delay("peer1", "peer4", 0.01, jitter_s=0.05, random=chance)
        writers = Writers("/w")
        async with open_ensemble(network, observers=2, observer_masters=VOTERS, flush_latency_s=0.002) as ensemble:
            await ensemble.wait_serving()
            async with ensemble.client(4, 5) as client, trio.open_nursery() as nursery:
                await client.create("/w")
                for task in range(5):
                    nursery.start_soon(writers.write, client, str(task), 0.2)
                for _ in range(8):
                    if chance.random() < 0.5:
                        victim = chance.choice(ensemble.running())
                        await ensemble.crash(victim, torn_bytes=chance.randrange(100))
                        await trio.sleep(chance.random() * 5)
                        await ensemble.start(victim)
                    else:
                        network.cut(*chance.sample(["peer1", "peer2", "peer3", "peer4", "peer5"], 2))
                        await trio.sleep(chance.random() * 15)
                        ensemble.heal()
                    await ensemble.wait_serving()
                await ensemble.wait_until(partial(writers.reached, len(writers.acked) + 20))
                writers.halted = True
            tree = await assert_all_equal(ensemble)
            writers.check(tree)

    seeded.run(seed, run)


def test_a_port_that_nobody_calls_costs_nothing() -> None:
    """Not a frame and no wake-up more than without one."""

    def sent(masters: tuple[int, ...]) -> list[bytes]:
        network = MemoryNetwork()
        frames: list[bytes] = []
        network.tap = lambda *told: frames.append(told[-1])

        async def run() -> int:
            async with open_ensemble(network, observer_masters=masters, seed=1) as ensemble:
                await ensemble.wait_serving()
                async with ensemble.client(1) as client:
                    for number in range(50):
                        await client.create(f"/{number}")
                        await trio.sleep(0.1)
                await trio.sleep(20)
                before = seeded.schedule().steps
                await trio.sleep(100)
                return seeded.schedule().steps - before

        steps = seeded.run(1, run)
        return [*frames[-200:], b"%d" % len(frames), b"%d" % steps]

    assert sent(VOTERS)[-2:] == sent(())[-2:]
