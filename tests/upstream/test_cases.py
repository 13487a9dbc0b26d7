"""Whole ensembles in the situations that ZooKeeper's own server tests were written for; see ``test_scenarios``."""

import random

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.hostile.kit import create, exists, get_data, request, set_data
from tests.regressions.kit import others, session, slow_disks
from tests.sim.kit import LOST, assert_all_equal, events_of
from trioquorum.client import Client
from trioquorum.config import Settings
from trioquorum.errors import Code, DiskFailed, RequestFailed
from trioquorum.events import DigestMismatch, Elected, Event, LearnerSyncing, LinkUp, StateChanged, SyncReceived
from trioquorum.limits import Limits
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing import Safety, open_ensemble
from trioquorum.testing.peer import Life
from trioquorum.testing.settled import on_disk
from trioquorum.wire.election import Hello, Notification, PeerState, encode_hello, encode_notification
from trioquorum.wire.ops import Op
from trioquorum.wire.records import MultiHeader
from trioquorum_transports.memory import MemoryNetwork

SNAPSHOTS_ONLY = Settings(snapshot_size_factor=-1.0)


async def attempt(client: Client, path: str, data: bytes = b"") -> bool:
    """Create a node; false if it is unknown whether that was done."""
    try:
        await client.create(path, data)
    except RequestFailed as failure:
        if failure.code not in LOST:
            raise
        return False
    return True


async def test_a_leader_by_forged_votes_gives_up(autojump_clock: MockClock) -> None:
    """Peer 1 cannot reach the others, but is told that both vote for it: it leads nobody, and then follows."""
    async with open_ensemble(MemoryNetwork(), peers=3, start=False) as ensemble:
        ensemble.partition([1], [2, 3])
        await ensemble.start()
        leader = await ensemble.wait_serving(2, 3)
        election = ensemble.peers[1].config.me
        assert election is not None
        for sid in (2, 3):
            forger = ensemble.network.transport(f"forger{sid}")
            link = await forger.connect(election.election, frame_bytes_max=1 << 20)
            spec = ensemble.peers[sid].config.me
            assert spec is not None
            await link.send(encode_hello(Hello(protocol=1, sid=sid, address=str(spec.election))))
            note = Notification(state=PeerState.LOOKING, leader=1, zxid=0, round=1, peer_epoch=0)
            await link.send(encode_notification(note))
        await ensemble.wait_until(lambda: ensemble.peers[1].state == "leading")
        [elected] = events_of(ensemble, Elected, 1)
        assert elected.event.voters == (1, 2, 3)
        ensemble.heal()
        await ensemble.wait_serving()
        states = [it.event.new for it in events_of(ensemble, StateChanged, 1)]
        assert states[:3] == ["looking", "leading", "looking"]
        assert states[-1] == "following"
        assert ensemble.safety.leaders == {1: leader}


async def test_a_leader_out_of_view(autojump_clock: MockClock) -> None:
    """Peer 1 was told of 1 and 2 alone; the leader is 3. It waits, and joins once it knows all three."""
    async with open_ensemble(MemoryNetwork(), start=False) as ensemble:
        peer = ensemble.peers[1]
        whole = peer.config
        peer.config = msgspec.structs.replace(whole, peers=whole.peers[:2])
        await ensemble.start()
        assert await ensemble.wait_serving(2, 3) == 3
        await trio.sleep(60)
        assert peer.state == "looking"
        assert [it for it in events_of(ensemble, LinkUp, 1) if it.event.kind == "quorum"] == []
        await ensemble.stop(1)
        peer.config = whole
        await ensemble.start(1)
        assert await ensemble.wait_serving() == 3


@pytest.mark.parametrize("size", [0, 1000], ids=["TRUNC or SNAP", "SNAP"])
async def test_the_newest_peers_lost_their_data(size: int, autojump_clock: MockClock) -> None:
    """What only they had is gone; who still has it must forget it, because a quorum goes on from before."""
    limits = Limits(committed_log_txns_max=5, snapshot_chunk_bytes=1000)
    async with open_ensemble(MemoryNetwork(), limits=limits) as ensemble:
        leader = await ensemble.wait_serving()
        behind, ahead = others(ensemble, leader)
        async with ensemble.client(leader) as client:
            await client.create("/old")
            await client.sync()
            await ensemble.crash(behind)
            for number in range(20 if size else 3):
                await client.create(f"/new-{number}", bytes(size))
        await ensemble.crash()
        ensemble.peers[leader].disk = MemoryDisk()
        # Committed history is lost by hand, which no rule of the checker allows: a new one judges what follows.
        ensemble.safety = Safety(ensemble.peers)
        ensemble.safety.by_hand(leader)
        await ensemble.start(behind, leader)
        assert await ensemble.wait_serving() == behind
        await ensemble.start(ahead)
        await ensemble.wait_serving()
        assert events_of(ensemble, SyncReceived, ahead)[-1].event.mode in ("TRUNC", "SNAP")
        tree = await assert_all_equal(ensemble)
        assert "/old" in tree.nodes
        assert not [path for path in tree.nodes if "new" in path]


async def test_state_that_is_in_snapshots_alone(autojump_clock: MockClock) -> None:
    """Every log was removed behind a snapshot: nothing of what the snapshots hold is missing."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client() as client:
            for number in range(20):
                await client.create(f"/{number}")
            await client.sync()
        await assert_all_equal(ensemble)
        for peer in ensemble.peers.values():
            await peer.database.take_snapshot()
        await ensemble.crash()
        for peer in ensemble.peers.values():
            for name in [name for name in peer.disk.files if name.startswith("log.")]:
                del peer.disk.files[name]
        await ensemble.start()
        await ensemble.wait_serving()
        tree = await assert_all_equal(ensemble)
        assert {f"/{number}" for number in range(20)} <= set(tree.nodes)


@pytest.mark.parametrize("kind", ["create", "multi"])
async def test_the_old_connection_of_a_session_that_moved(kind: str, autojump_clock: MockClock) -> None:
    """The session is used on another peer: a write on the connection it left does nothing and ends it."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        here, there = others(ensemble, leader)
        async with session(ensemble, here) as old, session(ensemble, there, old) as new:
            part = (
                MultiHeader(Op.CREATE, False, -1).encode()
                + create(0, "/late")[12:]
                + MultiHeader(-1, True, -1).encode()
            )
            await old.send(create(1, "/late") if kind == "create" else request(1, Op.MULTI, part))
            assert await old.receive() is None
            await new.send(exists(1, "/late"), create(2, "/mine"))
            assert [(await new.reply()).err for _ in range(2)] == [Code.NONODE, 0]
        tree = await assert_all_equal(ensemble)
        assert "/late" not in tree.nodes


async def test_groups_decide_by_most_of_most_of_them(autojump_clock: MockClock) -> None:
    """Nine peers in three groups: four are a quorum in the right places, five are none in the wrong ones."""
    async with open_ensemble(MemoryNetwork(), peers=9, groups=(1, 1, 1, 2, 2, 2, 3, 3, 3)) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client(2, 5) as client:
            await client.create("/nine")
            await ensemble.crash(3, 6, 7, 8, 9)
            await ensemble.wait_serving(1, 2, 4, 5)
            await client.create("/four")
            await ensemble.start(7, 8, 9)
            await ensemble.wait_serving()
        await ensemble.crash(1, 4)
        await ensemble.wait_until(lambda: all(ensemble.peers[peer].state == "looking" for peer in (2, 5, 7, 8, 9)))
        await ensemble.start(1)
        await ensemble.wait_serving()  # Most of the first group and of the third.
        tree = await assert_all_equal(ensemble)
        assert {"/nine", "/four"} <= set(tree.nodes)


async def test_the_last_zxid_of_an_abandoned_leader_is_taken_back(autojump_clock: MockClock) -> None:
    """It logged what no quorum has, everybody was restarted, the others went on, and it comes last."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        first = await ensemble.wait_serving()
        rest = others(ensemble, first)
        async with ensemble.client(first, session_timeout_ms=40_000) as old, ensemble.client(*rest) as new:
            await old.create("/a", b"kept")
            ensemble.partition([first], rest)
            async with trio.open_nursery() as nursery:
                for number in range(3):
                    nursery.start_soon(attempt, old, f"/abandoned-{number}")
                await ensemble.wait_until(lambda: ensemble.peers[first].state == "looking")
            await ensemble.crash()
            ensemble.heal()
            assert "/abandoned-0" in (await on_disk(ensemble.peers[first].disk)).nodes
            await ensemble.start(*rest)
            await ensemble.wait_serving()
            await new.create("/b", b"new")
            await ensemble.start(first)
            await ensemble.wait_serving()
            assert ensemble.leader() != first
            # The session that saw the first leader sees the common history, and no more.
            await old.sync()
            assert sorted(await old.get_children("/")) == ["a", "b", "zookeeper"]
        tree = await assert_all_equal(ensemble)
        assert not [path for path in tree.nodes if "abandoned" in path]


async def test_an_ephemeral_stays_deleted_though_its_deletion_was_read_in_half_a_diff(
    autojump_clock: MockClock,
) -> None:
    """The follower missed the end of the session, and loses power while it takes over what it missed."""
    async with open_ensemble(MemoryNetwork(), flush_latency_s=0.01) as ensemble:
        leader = await ensemble.wait_serving()
        away, _ = others(ensemble, leader)
        async with ensemble.client(leader) as client:
            await client.create("/mine", ephemeral=True)
            await client.sync()
            await ensemble.crash(away)
        assert "/mine" in (await on_disk(ensemble.peers[away].disk)).nodes
        cuts: list[int] = []

        def cut(peer: int, event: Event) -> None:
            # The DIFF is on its way; it is neither whole nor on disk when the power goes.
            if isinstance(event, LearnerSyncing) and event.learner == away and len(cuts) < 3:
                cuts.append(peer)
                ensemble.power_off(away)

        ensemble.subscribe(cut)
        for _ in range(3):
            await ensemble.start(away)
            await ensemble.wait_until(lambda: away not in ensemble.running())
            await ensemble.wait_down(away)
        await ensemble.start(away)
        await ensemble.wait_serving()
        assert events_of(ensemble, SyncReceived, away)[-1].event.mode == "DIFF"
        tree = await assert_all_equal(ensemble)
        assert "/mine" not in tree.nodes
        assert tree.ephemerals == {} or not any(tree.ephemerals.values())


async def test_order_within_a_session_and_none_between_sessions(autojump_clock: MockClock) -> None:
    """Reads wait for writes of their own session that came before; other sessions are answered at once."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        for peer in ensemble.peers:
            base = f"/{peer}"
            async with session(ensemble, peer) as mine, session(ensemble, peer) as other:
                await mine.send(create(1, base, b"0"))
                await mine.reply()
                slow_disks(ensemble, 1.0)
                steps: list[bytes] = []
                for turn in range(5):
                    steps += [set_data(10 + 2 * turn, base, b"turn %d" % turn), get_data(11 + 2 * turn, base)]
                await mine.send(*steps)
                began = trio.current_time()
                await other.send(get_data(1, base), exists(2, base))
                assert [(await other.reply()).xid for _ in range(2)] == [1, 2]
                assert trio.current_time() - began < 0.5
                slow_disks(ensemble, 0.0)
                answers = [await mine.reply() for _ in range(10)]
                assert [answer.xid for answer in answers] == list(range(10, 20))
                for turn in range(5):
                    assert b"turn %d" % turn in answers[2 * turn + 1].body
                zxids = [answer.zxid for answer in answers]
                assert zxids == sorted(zxids)
        assert ensemble.leader() == leader


async def test_a_leader_loses_its_quorum_with_many_requests_in_flight(autojump_clock: MockClock) -> None:
    """It steps down in spite of them, every request ends, and the ensemble serves on."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        rest = others(ensemble, leader)
        async with ensemble.client(leader, session_timeout_ms=40_000, request_timeout_ms=60_000) as client:
            outcomes: list[bool] = []

            async def write(number: int) -> None:
                outcomes.append(await attempt(client, f"/{number}", bytes(1000)))

            slow_disks(ensemble, 0.5)
            async with trio.open_nursery() as nursery:
                for number in range(500):
                    nursery.start_soon(write, number)
                await trio.sleep(0.2)
                ensemble.partition([leader], rest)
                await ensemble.wait_until(lambda: ensemble.peers[leader].state == "looking")
            assert len(outcomes) == 500
            assert False in outcomes
            slow_disks(ensemble, 0.0)
            ensemble.heal()
            await ensemble.wait_serving()
            await client.sync()
        await assert_all_equal(ensemble)


async def test_every_queued_request_ends_when_the_leader_stops(autojump_clock: MockClock) -> None:
    """In order, with its result or with a lost connection; what succeeded is there afterwards."""
    async with open_ensemble(MemoryNetwork(), flush_latency_s=0.01) as ensemble:
        leader = await ensemble.wait_serving()
        done: set[str] = set()
        lost = 0

        async def write(client: Client, name: str) -> None:
            nonlocal lost
            for number in range(50):
                if await attempt(client, f"/{name}-{number}"):
                    done.add(f"/{name}-{number}")
                else:
                    lost += 1

        async with ensemble.client(leader) as near, ensemble.client(*others(ensemble, leader)) as far:
            async with trio.open_nursery() as nursery:
                for task in range(20):
                    nursery.start_soon(write, near if task % 2 else far, str(task))
                await trio.sleep(0.1)
                await ensemble.stop(leader)
            await ensemble.start(leader)
            await ensemble.wait_serving()
        assert lost
        tree = await assert_all_equal(ensemble)
        assert done <= set(tree.nodes)


@pytest.mark.parametrize("way", ["written", "sent"])
async def test_multis_while_a_snapshot_is_under_way(way: str, autojump_clock: MockClock) -> None:
    """All or nothing of each multi, the parent's counters, and the sessions: right as soon as it is loaded."""
    network = MemoryNetwork()
    limits = Limits(committed_log_txns_max=5, snapshot_chunk_bytes=500)
    async with open_ensemble(network, settings=SNAPSHOTS_ONLY, limits=limits) as ensemble:
        leader = await ensemble.wait_serving()
        away, third = others(ensemble, leader)
        async with ensemble.client(leader, third) as client:
            await client.create("/p")
            for number in range(100):
                await client.create(f"/p/old-{number}", bytes(100))
            halted = False

            async def multis() -> None:
                number = 0
                while not halted:
                    multi = client.transaction().create(f"/p/new-{number}", b"a")
                    multi.set(f"/p/old-{number % 100}", b"%d" % number).create(f"/p/mine-{number}", ephemeral=True)
                    try:
                        await multi.commit()
                    except RequestFailed as failure:
                        if failure.code not in LOST:
                            raise
                    number += 1
                    await trio.sleep(0.01)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(multis)
                await trio.sleep(0.1)
                if way == "written":
                    slow_disks(ensemble, 0.005, leader)
                    await ensemble.peers[leader].database.take_snapshot()
                    await ensemble.crash(leader)
                    await ensemble.start(leader)
                else:
                    await ensemble.crash(away)
                    await trio.sleep(0.5)
                    network.delay(f"peer{leader}", f"peer{away}", 0.05, jitter_s=0.3, random=random.Random(2))
                    await ensemble.start(away)
                await ensemble.wait_serving()
                halted = True
            if way == "sent":
                assert events_of(ensemble, SyncReceived, away)[-1].event.mode == "SNAP"
        tree = await assert_all_equal(ensemble)
        new = {path.partition("new-")[2] for path in tree.nodes if "new-" in path}
        assert len(new) > 10
        parent = tree.nodes["/p"]
        assert len(parent.children or ()) == 100 + len(new)
        newest = max(int.from_bytes(tree.nodes[f"/p/new-{number}"].stat[:8]) for number in new)
        # The ephemerals went with the session, behind every multi.
        assert int.from_bytes(parent.stat[-8:]) > newest


@pytest.mark.parametrize("mode", ["DIFF", "SNAP", "replay"])
async def test_digests_are_equal_however_a_peer_came_by_its_tree(mode: str, autojump_clock: MockClock) -> None:
    settings = SNAPSHOTS_ONLY if mode == "SNAP" else Settings()
    limits = Limits(committed_log_txns_max=5) if mode == "SNAP" else Limits()
    async with open_ensemble(MemoryNetwork(), settings=settings, limits=limits) as ensemble:
        leader = await ensemble.wait_serving()
        away = others(ensemble, leader)[0]
        async with ensemble.client(leader) as client:
            if mode != "replay":
                await ensemble.stop(away)
            for number in range(20):
                await client.create(f"/{number}", b"x")
                await client.set("/0", b"%d" % number)
        if mode == "replay":
            await ensemble.stop(away)
        await ensemble.start(away)
        await ensemble.wait_serving()
        if mode != "replay":
            assert events_of(ensemble, SyncReceived, away)[-1].event.mode == mode
        tree = await assert_all_equal(ensemble)
        assert [peer.database.tree.digest for peer in ensemble.peers.values()] == [tree.digest] * 3
        assert (await on_disk(ensemble.peers[away].disk)).digest == tree.digest
        assert events_of(ensemble, DigestMismatch) == []


class FailingDisk(MemoryDisk):
    """A disk whose logs cannot be written to any more once it is ``broken``."""

    broken = False

    async def flush(self, name: str, size: int) -> None:
        await super().flush(name, size)
        if self.broken and name.startswith("log."):
            raise DiskFailed(f"{name} cannot be written: no space left")


async def test_a_leader_that_cannot_write_its_log_leaves(autojump_clock: MockClock) -> None:
    """It stops by itself, what it was asked meanwhile is not lost or is not answered, and the others serve on."""
    failures: list[tuple[int, str]] = []

    def note(life: Life, error: Exception) -> bool:
        failures.append((life.peer.id, repr(error)))
        life.peer.end()
        return "no space left" in repr(error)

    async with open_ensemble(MemoryNetwork(), disk=lambda _: FailingDisk(), failed=note) as ensemble:
        first = await ensemble.wait_serving()
        async with ensemble.client(first, *others(ensemble, first)) as client:
            await client.create("/before")
            disk = ensemble.peers[first].disk
            assert isinstance(disk, FailingDisk)
            disk.broken = True
            # The leader cannot log it. It may be committed all the same, by the others.
            outcome = await attempt(client, "/meanwhile")
            await ensemble.wait_down(first)
            assert [peer for peer, _ in failures] == [first]
            second = await ensemble.wait_serving(*others(ensemble, first))
            assert second != first
            await client.create("/after")
            disk.broken = False
            await ensemble.start(first)
            await ensemble.wait_serving()
        tree = await assert_all_equal(ensemble)
        assert {"/before", "/after"} <= set(tree.nodes)
        assert not outcome or "/meanwhile" in tree.nodes
