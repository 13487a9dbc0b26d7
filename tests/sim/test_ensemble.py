"""Whole ensembles in virtual time: elections, failover, partitions, syncs, reads and watches."""

import random
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from tests.sim.kit import Writers, assert_all_equal, events_of
from trioquorum.client import WatchEvent
from trioquorum.config import Settings
from trioquorum.errors import Code, ConnectFailed, RequestFailed, TransactionFailed
from trioquorum.events import Elected, Established, Event, LearnerLeft, LearnerSyncing, StateChanged, SyncReceived
from trioquorum.limits import Limits
from trioquorum.storage.log_format import HEADER, parse_records
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum.testing.checkers.trees import contents
from trioquorum.testing.settled import on_disk
from trioquorum.wire.ops import EventType, Op
from trioquorum.wire.txn import decode_txn
from trioquorum_transports.memory import MemoryNetwork

TICK_S = 2.0
SYNC_LIMIT_S = 5 * TICK_S
SNAPSHOTS_ONLY = Settings(snapshot_size_factor=-1.0)
SMALL_HISTORY = Limits(committed_log_txns_max=10, snapshot_chunk_bytes=1000)


def others(ensemble: MemoryEnsemble, *these: int) -> list[int]:
    return [peer for peer in ensemble.peers if peer not in these]


async def test_five_peers_survive_their_leader(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), peers=5) as ensemble:
        first = await ensemble.wait_serving()
        async with ensemble.client() as client:
            session = client.session
            await client.create("/a", b"1")
            await client.create("/mine", ephemeral=True)
            await ensemble.crash(first)
            second = await ensemble.wait_serving()
            assert second != first
            # Longer than the session's timeout: it lives on because its client goes on.
            await trio.sleep(30)
            data, _ = await client.get("/a")
            stat = await client.exists("/mine")
            assert data == b"1"
            assert stat is not None
            assert stat.ephemeral_owner == client.session == session
            await ensemble.start(first)
            await ensemble.wait_serving()
        tree = await assert_all_equal(ensemble)
        assert "/mine" not in tree.nodes
        assert "/a" in tree.nodes


async def test_an_election_among_equals_takes_no_longer_than_it_must(autojump_clock: MockClock) -> None:
    """The highest id wins, one settle time after the votes are in; that no link is ever missing is worth a second."""
    async with open_ensemble(MemoryNetwork(), peers=5) as ensemble:
        assert await ensemble.wait_serving() == 5
        assert trio.current_time() < 1.0
        assert {it.event.leader for it in events_of(ensemble, Elected)} == {5}


async def test_a_minority_steps_down_and_the_majority_serves(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), peers=5) as ensemble:
        leader = await ensemble.wait_serving()
        minority = [leader, others(ensemble, leader)[0]]
        majority = others(ensemble, *minority)
        async with ensemble.client(*majority) as client:
            await client.create("/before")
            ensemble.partition(minority, majority)
            new = await ensemble.wait_serving(*majority)
            assert new in majority
            await client.create("/during")
            await ensemble.wait_until(lambda: all(not ensemble.peers[peer].established for peer in minority))
            with pytest.raises(ConnectFailed):
                async with ensemble.client(*minority, connect_timeout_ms=1000):
                    pass
            ensemble.heal()
            await ensemble.wait_serving()
            assert ensemble.leader() == new, "who comes back joins; nobody has to step down for that"
            async with ensemble.client(minority[0]) as other:
                await other.sync()
                assert sorted(await other.get_children("/")) == ["before", "during", "zookeeper"]
        await assert_all_equal(ensemble)


@pytest.mark.parametrize("way", ["both", "to the leader", "from the leader"])
async def test_a_leader_without_its_quorum_steps_down_in_time(way: str, autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_ensemble(network, peers=3) as ensemble:
        leader = await ensemble.wait_serving()
        followers = others(ensemble, leader)
        async with ensemble.client(leader, session_timeout_ms=40_000) as client:
            await client.create("/kept")
            cut_at = trio.current_time()
            for peer in followers:
                if way != "from the leader":
                    network.cut_one_way(f"peer{peer}", f"peer{leader}")
                if way != "to the leader":
                    network.cut_one_way(f"peer{leader}", f"peer{peer}")
            with pytest.raises(RequestFailed) as refused:
                await client.create("/unknown")
            assert refused.value.code == Code.CONNECTIONLOSS
            await ensemble.wait_until(lambda: ensemble.peers[leader].state == "looking")
            changes = [it for it in events_of(ensemble, StateChanged, leader) if it.event.old == "leading"]
            # The last sign of life came up to half a tick before the cut. Only a tick that is later than that by more
            # than syncLimit counts, and the leader acts at its next tick at the latest.
            assert changes[-1].time_s - cut_at <= SYNC_LIMIT_S + 2 * TICK_S
            ensemble.heal()
            await ensemble.wait_serving()
            await client.sync()
            unknown = await client.exists("/unknown") is not None
            assert await client.exists("/kept") is not None
            assert "/unknown" not in ensemble.peers[leader].database.tree.nodes or unknown
        tree = await assert_all_equal(ensemble)
        assert ("/unknown" in tree.nodes) == unknown
        assert "/kept" in tree.nodes


@pytest.mark.parametrize("mode", ["TRUNC", "SNAP"])
async def test_a_write_that_no_quorum_has_is_taken_back(mode: str, autojump_clock: MockClock) -> None:
    """The old leader logged it; the others went on without it.

    It is cut from the old leader's log when it comes back. Where the others wrote meanwhile the transaction's epoch
    ended for them before it, so nobody can tell what else is wrong there: the old leader takes a snapshot.
    """
    async with open_ensemble(MemoryNetwork(), peers=3) as ensemble:
        leader = await ensemble.wait_serving()
        followers = others(ensemble, leader)
        async with ensemble.client(leader) as client, ensemble.client(*followers) as other:
            await client.create("/before")
            ensemble.partition([leader], followers)
            with pytest.raises(RequestFailed):
                await client.create("/lost")
            assert "/lost" in (await on_disk(ensemble.peers[leader].disk)).nodes
            await ensemble.wait_serving(*followers)
            if mode == "SNAP":
                await other.create("/after")
            ensemble.heal()
            await ensemble.wait_serving()
            assert events_of(ensemble, SyncReceived, leader)[-1].event.mode == mode
        tree = await assert_all_equal(ensemble)
        assert "/before" in tree.nodes
        assert ("/after" in tree.nodes) == (mode == "SNAP")
        assert "/lost" not in tree.nodes


@pytest.mark.parametrize("torn_bytes", [0, 1, 100, 10_000])
async def test_all_peers_lose_power_at_once(torn_bytes: int, autojump_clock: MockClock) -> None:
    writers = Writers("/w")
    async with open_ensemble(MemoryNetwork(), flush_latency_s=0.002) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client() as client, trio.open_nursery() as nursery:
            await client.create("/w")
            for task in range(50):
                nursery.start_soon(writers.write, client, str(task))
            for _ in range(3):
                goal = len(writers.acked) + 100
                await ensemble.wait_until(partial(writers.reached, goal))
                await ensemble.crash(torn_bytes=torn_bytes)
                assert ensemble.running() == ()
                await ensemble.start()
                await ensemble.wait_serving()
            writers.halted = True
        writers.check(await assert_all_equal(ensemble))
        assert len(writers.acked) >= 300
        assert writers.lost > 0


@pytest.mark.parametrize("victim", ["learner", "leader"])
async def test_a_crash_in_the_middle_of_a_snapshot(victim: str, autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_ensemble(network, settings=SNAPSHOTS_ONLY, limits=SMALL_HISTORY) as ensemble:
        leader = await ensemble.wait_serving()
        behind, bystander = others(ensemble, leader)
        await ensemble.crash(behind)
        async with ensemble.client(leader, bystander) as client:
            for number in range(100):
                await client.create(f"/{number}", bytes(1000))
        network.delay(f"peer{leader}", f"peer{behind}", 0.1, jitter_s=1.0, random=random.Random(1))
        ensemble.trace.clear()
        await ensemble.start(behind)
        await ensemble.wait_until(lambda: bool(events_of(ensemble, LearnerSyncing)))
        assert events_of(ensemble, LearnerSyncing)[-1].event.mode == "SNAP"
        await trio.sleep(0.6)  # Pieces of it have arrived, others are on their way.
        down = leader if victim == "leader" else behind
        await ensemble.crash(down)
        assert events_of(ensemble, SyncReceived, behind) == []
        assert len((await on_disk(ensemble.peers[behind].disk)).nodes) < 100, "nothing of a part of a snapshot is used"
        await ensemble.wait_serving()
        await ensemble.start(down)
        await ensemble.wait_serving()
        tree = await assert_all_equal(ensemble)
        assert {f"/{number}" for number in range(100)} <= set(tree.nodes)
        assert events_of(ensemble, SyncReceived, behind)[-1].event.mode == "SNAP"


async def test_a_new_leader_counts_on_nothing_that_is_not_on_disk(autojump_clock: MockClock) -> None:
    """What only the leader had logged is committed once a quorum took its history over: that must survive all."""
    async with open_ensemble(MemoryNetwork(), flush_latency_s=0.05) as ensemble:
        leader = await ensemble.wait_serving()
        follower, other = others(ensemble, leader)
        async with ensemble.client(leader, session_timeout_ms=4000) as client:
            ensemble.partition([leader], [follower, other])
            with pytest.raises(RequestFailed):
                await client.create("/only-here")
            await ensemble.crash(follower, other)
        await ensemble.wait_until(lambda: ensemble.peers[leader].state == "looking")
        assert "/only-here" not in (await on_disk(ensemble.peers[follower].disk)).nodes

        def crash_both(peer: int, event: Event) -> None:
            if isinstance(event, Established) and event.role == "leader":
                ensemble.power_off()

        ensemble.subscribe(crash_both)
        ensemble.heal()
        await ensemble.start(follower)
        await ensemble.wait_until(lambda: not ensemble.running())
        assert ensemble.safety.leaders == {1: leader, 2: leader}
        assert "/only-here" in (await on_disk(ensemble.peers[follower].disk)).nodes


async def test_who_serves_has_its_epoch_on_disk(autojump_clock: MockClock) -> None:
    """Leader, follower and observer: it decides the next election."""
    noted: list[tuple[int, bytes, bytes]] = []
    async with open_ensemble(MemoryNetwork(), observers=1, flush_latency_s=0.05, start=False) as ensemble:

        def look(peer: int, event: Event) -> None:
            if isinstance(event, Established):
                files = ensemble.peers[peer].disk.files
                noted.append((event.epoch, bytes(files["acceptedEpoch"]), bytes(files["currentEpoch"])))

        ensemble.subscribe(look)
        for _ in range(3):
            await ensemble.start()
            await ensemble.wait_serving()
            await ensemble.crash()
    assert sorted(noted) == [(epoch, b"%d" % epoch, b"%d" % epoch) for epoch in (1, 2, 3) for _ in range(4)]


@pytest.mark.parametrize("mode", ["DIFF", "SNAP"])
async def test_learners_join_at_once_though_writes_go_on(mode: str, autojump_clock: MockClock) -> None:
    """What is proposed, committed or acknowledged while they are brought up to date reaches them exactly once."""
    settings, limits = (SNAPSHOTS_ONLY, SMALL_HISTORY) if mode == "SNAP" else (Settings(), Limits())
    network = MemoryNetwork()
    writers = Writers("/w")
    async with open_ensemble(network, observers=1, settings=settings, limits=limits, flush_latency_s=0.003) as ensemble:
        leader = await ensemble.wait_serving()
        follower, _, observer = others(ensemble, leader)
        for peer in others(ensemble, leader):
            network.delay(f"peer{peer}", f"peer{leader}", 0.001, jitter_s=0.005, random=random.Random(peer))
        async with ensemble.client(leader) as client, trio.open_nursery() as nursery:
            await client.create("/w")
            for task in range(20):
                nursery.start_soon(writers.write, client, str(task), 0.005)
            for _ in range(4):
                await ensemble.crash(follower, observer)
                await ensemble.wait_until(partial(writers.reached, len(writers.acked) + 50))
                ensemble.trace.clear()
                await ensemble.start(follower, observer)
                await ensemble.wait_serving()
                for peer, role in ((follower, "following"), (observer, "observing")):
                    states = [it.event.new for it in events_of(ensemble, StateChanged, peer)]
                    assert states == ["looking", role]
                    assert [it.event.mode for it in events_of(ensemble, SyncReceived, peer)] == [mode]
                await ensemble.wait_until(partial(writers.reached, len(writers.acked) + 50))
                assert events_of(ensemble, LearnerLeft) == []
            writers.halted = True
        writers.check(await assert_all_equal(ensemble))


async def test_an_observer_serves_and_does_not_vote(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), peers=3, observers=2) as ensemble:
        leader = await ensemble.wait_serving()
        assert leader <= 3
        assert [ensemble.peers[peer].state for peer in (4, 5)] == ["observing", "observing"]
        async with ensemble.client(4) as client:
            await client.create("/a", b"1", ephemeral=True)
            assert (await client.get("/a"))[0] == b"1"
            await ensemble.crash(leader)
            voters = others(ensemble, leader, 4, 5)
            await ensemble.wait_serving(*ensemble.running())
            await client.set("/a", b"2")
            await assert_all_equal(ensemble)
            # One voter and two observers are more than half of five, and still no quorum.
            await ensemble.crash(voters[0])
            await ensemble.wait_until(lambda: all(not peer.established for peer in ensemble.peers.values()))
            await trio.sleep(60)
            assert ensemble.leader() is None
        assert {it.peer for it in events_of(ensemble, Established) if it.event.role == "observer"} == {4, 5}


async def test_one_of_three_peers_serves_nobody(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), start=False) as ensemble:
        await ensemble.start(2)
        await trio.sleep(60)
        assert ensemble.leader() is None
        with pytest.raises(ConnectFailed):
            async with ensemble.client(connect_timeout_ms=5000):
                pass
        await ensemble.start(1)
        assert await ensemble.wait_serving() == 2


async def test_reads_are_local_until_a_sync(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_ensemble(network) as ensemble:
        leader = await ensemble.wait_serving()
        slow, fast = others(ensemble, leader)
        async with ensemble.client(fast) as writer, ensemble.client(slow) as reader:
            await writer.create("/a", b"old")
            await reader.sync("/a")
            assert (await reader.get("/a"))[0] == b"old"
            network.delay(f"peer{leader}", f"peer{slow}", 1.0)
            await writer.set("/a", b"new")
            assert (await reader.get("/a"))[0] == b"old"
            asked_at = trio.current_time()
            await reader.sync("/a")
            assert trio.current_time() - asked_at == pytest.approx(2.0)
            assert (await reader.get("/a"))[0] == b"new"


async def test_a_sync_waits_for_what_was_proposed_before_it(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), flush_latency_s=0.5) as ensemble:
        leader = await ensemble.wait_serving()
        async with ensemble.client(leader) as writer, ensemble.client(others(ensemble, leader)[0]) as reader:
            await writer.create("/a", b"old")
            await reader.sync("/a")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(writer.set, "/a", b"new")
                await trio.sleep(0.1)
                assert (await reader.get("/a"))[0] == b"old"
                await reader.sync("/a")
                assert (await reader.get("/a"))[0] == b"new"


async def test_a_client_reads_what_it_wrote_on_a_slow_peer(autojump_clock: MockClock) -> None:
    """And requests of one session are answered in their order, though reads need no leader."""
    network = MemoryNetwork()
    async with open_ensemble(network) as ensemble:
        leader = await ensemble.wait_serving()
        slow, _ = others(ensemble, leader)
        network.delay(f"peer{leader}", f"peer{slow}", 0.5)
        read: dict[int, bytes | None] = {}

        async def get(turn: int) -> None:
            read[turn] = (await client.get("/a"))[0]

        async with ensemble.client(slow) as client:
            await client.create("/a", b"1")
            async with trio.open_nursery() as nursery:
                for turn in range(4):
                    nursery.start_soon(client.set, "/a", b"%d" % turn)
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.start_soon(get, turn)
                    await trio.testing.wait_all_tasks_blocked()
                assert read == {}
        assert read == {0: b"0", 1: b"1", 2: b"2", 3: b"3"}


async def test_a_multi_happens_on_every_peer_or_on_none(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        async with ensemble.client(others(ensemble, leader)[0]) as client:
            await client.transaction().create("/a", b"1").create("/a/b", b"2").set("/a", b"3").commit()
            with pytest.raises(TransactionFailed) as failed:
                await client.transaction().create("/c").delete("/nobody").commit()
            assert (failed.value.at, failed.value.code) == (1, Code.NONODE)
        tree = await assert_all_equal(ensemble)
        assert "/c" not in tree.nodes
        assert tree.nodes["/a"].data == b"3"
        # All of it under one zxid.
        assert tree.nodes["/a"].stat[:16] == tree.nodes["/a/b"].stat[:8] * 2


async def test_watches_fire_on_the_peer_that_holds_them(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        here, there = others(ensemble, leader)
        told: list[tuple[EventType | None, str]] = []

        def tell(event: WatchEvent) -> None:
            told.append((event.type, event.path))

        async with ensemble.client(here) as watcher, ensemble.client(there) as writer:
            await watcher.exists("/a", watch=tell)
            await watcher.get_children("/", watch=tell)
            await writer.create("/a")
            await watcher.sync()
            assert set(told) == {(EventType.NODE_CREATED, "/a"), (EventType.NODE_CHILDREN_CHANGED, "/")}
            told.clear()
            await watcher.get("/a", watch=tell)
            await writer.set("/a", b"1")
            await writer.set("/a", b"2")
            await watcher.sync()
            assert told == [(EventType.NODE_DATA_CHANGED, "/a")]


async def test_a_watch_moves_with_its_client_and_misses_nothing(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        here, there = others(ensemble, leader)
        told: list[tuple[EventType | None, str]] = []
        async with ensemble.client(here, there) as watcher, ensemble.client(leader) as writer:
            await writer.create("/a")
            await watcher.sync()
            await watcher.get("/a", watch=lambda event: told.append((event.type, event.path)))
            await ensemble.crash(here)
            await writer.set("/a", b"meanwhile")
            await watcher.sync()
            assert told == [(EventType.NODE_DATA_CHANGED, "/a")]


async def test_a_learner_that_was_away_gets_what_it_missed(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        away = others(ensemble, leader)[0]
        async with ensemble.client(leader) as client:
            await client.create("/before")
            await client.sync()
            await ensemble.stop(away)
            for number in range(20):
                await client.create(f"/{number}")
        await ensemble.start(away)
        await ensemble.wait_serving()
        received = events_of(ensemble, SyncReceived, away)[-1].event
        assert (received.mode, received.proposals) == ("DIFF", 21), "twenty nodes and the end of a session"
        await assert_all_equal(ensemble)


async def test_large_replies_cross_a_memory_link(autojump_clock: MockClock) -> None:
    """Answers that leave in one wake-up are larger together than a frame of the link."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client() as client:
            await client.create("/a", bytes(900_000))
            sizes: list[int] = []

            async def get() -> None:
                sizes.append(len((await client.get("/a"))[0] or b""))

            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(get)
            assert sizes == [900_000] * 5
        await assert_all_equal(ensemble)


async def test_a_stopped_ensemble_starts_with_all_it_had(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork()) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client() as client:
            for number in range(50):
                await client.create(f"/{number}")
        before = contents(await assert_all_equal(ensemble))
        await ensemble.stop()
        assert [contents(await on_disk(peer.disk))["nodes"] for peer in ensemble.peers.values()] == [
            before["nodes"]
        ] * 3
        await ensemble.start()
        await ensemble.wait_serving()
        assert contents(await assert_all_equal(ensemble))["nodes"] == before["nodes"]


@pytest.mark.parametrize("purges", [True, False])
async def test_old_snapshots_are_removed_unless_they_are_to_stay(purges: bool, autojump_clock: MockClock) -> None:
    kept = 2
    limits = Limits(snap_count=4, snapshots_kept=kept)
    async with open_ensemble(
        MemoryNetwork(), peers=1, limits=limits, settings=Settings(purge_enabled=purges)
    ) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client() as client:
            for number in range(30):
                await client.create(f"/{number}")
                await trio.sleep(0.5)
        await trio.sleep(2)
        snapshots = [name for name in ensemble.peers[1].disk.files if name.startswith("snapshot.")]
        assert len(snapshots) == kept if purges else len(snapshots) > kept


@pytest.mark.parametrize("kept", [True, False])
async def test_all_peers_log_the_leaders_digests(autojump_clock: MockClock, kept: bool) -> None:
    """Every transaction but failed ones has the digest of the tree behind it, unless a setting says that none has."""
    async with open_ensemble(MemoryNetwork(), settings=Settings(tree_digests=kept)) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client() as client:
            await client.create("/a", b"1")
            for number in range(20):
                await client.create("/a/n-", b"x", ephemeral=number % 2 == 0, sequence=True)
                await client.set("/a", b"%d" % number)
            with pytest.raises(RequestFailed):
                await client.create("/a")
        await trio.sleep(5)
        if kept:
            await assert_all_equal(ensemble)
        for peer in ensemble.peers.values():
            (log,) = (data for name, data in peer.disk.files.items() if name.startswith("log."))
            txns = [decode_txn(payload) for _, payload in parse_records(bytes(log), len(HEADER), whole=True).records]
            assert len(txns) > 40
            failed = [txn for txn in txns if txn.header.type == Op.ERROR]
            assert len(failed) == 1
            assert all((txn.digest is not None) == (kept and txn not in failed) for txn in txns)
