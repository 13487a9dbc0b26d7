"""A real leader, a follower played by hand: which epoch it proposes, how it syncs, and when it gives a learner up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from tests.hostile.kit import create
from tests.regressions.kit import Raw as RawClient, session
from tests.storage.test_database import directory, tree_of
from tests.upstream.kit import Raw, ack_epoch, dial, introduce, raw_voter
from tests.zab.kit import zx
from trioquorum.client import Client
from trioquorum.errors import LinkClosed, RequestFailed
from trioquorum.events import LearnerLeft, LinkRefused, StateChanged
from trioquorum.limits import Limits
from trioquorum.peer.outbox import FULL
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum.wire.quorum import LearnerInfo, PacketType as P, QuorumPacket, encode_revalidate, encode_touched
from trioquorum_transports.memory import MemoryNetwork

LEADER, FOLLOWER = 2, 1
TICK_S = 2.0
INIT_LIMIT_S, SYNC_LIMIT_TICKS = 10 * TICK_S, 5


@asynccontextmanager
async def leader(
    *zxids: str, accepted: int = 0, limits: Limits | None = None
) -> AsyncIterator[tuple[MemoryEnsemble, Raw]]:
    """Two voters, of which the second runs, has logged ``zxids`` and leads; a link to its quorum port."""
    async with open_ensemble(MemoryNetwork(), peers=2, limits=limits, start=False) as ensemble:
        if zxids:
            files = directory({0: tree_of()}, [zx(text) for text in zxids])
            current = b"%d" % (zx(zxids[-1]) >> 32)
            ensemble.peers[LEADER].disk = MemoryDisk(
                files | {"currentEpoch": current, "acceptedEpoch": b"%d" % accepted}
            )
        await ensemble.start(LEADER)
        async with raw_voter(ensemble, FOLLOWER) as elected:
            assert elected == LEADER
            yield ensemble, await dial(ensemble, FOLLOWER, LEADER)


def epochs(ensemble: MemoryEnsemble) -> tuple[int, int]:
    """acceptedEpoch and currentEpoch of the leader, on disk."""
    files = ensemble.peers[LEADER].disk.files
    return int(files["acceptedEpoch"]), int(files["currentEpoch"])


async def test_a_follower_of_a_fresh_leader(autojump_clock: MockClock) -> None:
    async with leader() as (ensemble, raw):
        info = await introduce(raw, FOLLOWER)
        assert (info.zxid, info.data) == (zx("1.0"), bytes.fromhex("00010000"))
        await ack_epoch(raw, 0, 0)
        await raw.take(P.DIFF, 0)
        new_leader = await raw.take(P.NEWLEADER, zx("1.0"))
        assert (new_leader.data or b"").endswith(b"version=0")
        assert ensemble.leader() is None
        await raw.send(P.ACK, zx("1.0"))
        await raw.take(P.UPTODATE)
        assert ensemble.leader() == LEADER
        assert epochs(ensemble) == (1, 1)


async def test_a_follower_with_the_same_history_takes_no_snapshot(autojump_clock: MockClock) -> None:
    """The leader's accepted epoch moves when it proposes the new one, its current epoch when a quorum accepted that."""
    async with leader("1.1", "1.2", accepted=1) as (ensemble, raw):
        info = await introduce(raw, FOLLOWER, accepted_epoch=1)
        assert info.zxid == zx("2.0")
        assert epochs(ensemble) == (2, 1)
        await ack_epoch(raw, zx("1.2"), 1)
        await raw.take(P.DIFF, zx("1.2"))
        await raw.take(P.NEWLEADER, zx("2.0"))
        assert epochs(ensemble) == (2, 2)


async def test_a_leader_behind_proposes_above_its_follower(autojump_clock: MockClock) -> None:
    async with leader("1.1", accepted=1) as (ensemble, raw):
        info = await introduce(raw, FOLLOWER, accepted_epoch=20)
        assert info.zxid == zx("21.0")
        assert epochs(ensemble) == (21, 1)


async def test_who_comes_second_does_not_move_the_epoch(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), peers=3, start=False) as ensemble:
        await ensemble.start(3)
        async with raw_voter(ensemble, 1), raw_voter(ensemble, 2):
            first, second = await dial(ensemble, 1, 3), await dial(ensemble, 2, 3)
            assert (await introduce(first, 1, accepted_epoch=4)).zxid == zx("5.0")
            assert (await introduce(second, 2, accepted_epoch=7)).zxid == zx("5.0")


async def test_no_quorum_accepts_the_epoch(autojump_clock: MockClock) -> None:
    """LEADERINFO left, nobody answered within initLimit: the epoch was promised, and is not the leader's own."""
    async with leader() as (ensemble, raw):
        began = trio.current_time()
        await introduce(raw, FOLLOWER)
        await ensemble.wait_until(lambda: ensemble.peers[LEADER].state == "looking")
        assert trio.current_time() - began <= INIT_LIMIT_S + 1
        assert epochs(ensemble) == (1, 0)
        assert ensemble.safety.leaders == {}
        await raw.hung_up()


async def test_a_follower_that_pings_and_never_acknowledges(autojump_clock: MockClock) -> None:
    """It is alive and useless: proposals wait for it, so it goes, within 2 · syncLimit + 2 pings."""
    async with leader() as (ensemble, raw):
        await introduce(raw, FOLLOWER)
        await ack_epoch(raw, 0, 0)
        await raw.take(P.DIFF)
        await raw.take(P.NEWLEADER)
        await raw.send(P.ACK, zx("1.0"))
        await raw.take(P.UPTODATE)
        client = await RawClient.dial(ensemble, LEADER)
        await client.ask_session()
        await raw.take(P.PROPOSAL, zx("1.1"))
        pings = await answer_pings(raw)
        assert SYNC_LIMIT_TICKS < pings <= 2 * SYNC_LIMIT_TICKS + 2
        [left] = [it.event for it in ensemble.trace if isinstance(it.event, LearnerLeft)]
        assert (left.learner, left.reason) == (FOLLOWER, "did not acknowledge a proposal for 5 ticks")
        await ensemble.wait_until(lambda: ensemble.peers[LEADER].state == "looking")


async def answer_pings(raw: Raw) -> int:
    """Until the leader hangs up; how many there were."""
    pings = 0
    try:
        while True:
            ping = await raw.take(P.PING)
            pings += 1
            await raw.send(P.PING, ping.zxid, encode_touched([]))
    except LinkClosed:
        return pings


async def test_proposals_acknowledged_before_newleader(autojump_clock: MockClock) -> None:
    """A third peer joins while writes go on, and acknowledges what it should keep to itself: the leader serves on."""
    async with open_ensemble(MemoryNetwork(), peers=3, start=False) as ensemble:
        await ensemble.start(2, 3)
        assert await ensemble.wait_serving() == 3
        async with raw_voter(ensemble, 1):
            raw = await dial(ensemble, 1, 3)
            info = await introduce(raw, 1)
            await ack_epoch(raw, info.zxid, 0)
            await raw.take(P.DIFF)
            await raw.take(P.NEWLEADER)
            async with session(ensemble, 3) as client:
                for number in range(1, 11):
                    await client.send(create(number, f"/{number}"))
                    proposal = await raw.until(P.PROPOSAL)
                    await raw.send(P.ACK, proposal.zxid)
                    assert (await client.reply()).err == 0
                await raw.send(P.ACK, info.zxid)
                await client.send(create(11, "/11"))
                assert (await client.reply()).err == 0
                await raw.until(P.COMMIT)
            changes = [it.event for it in ensemble.trace if isinstance(it.event, StateChanged) and it.peer == 3]
            assert [change.new for change in changes] == ["looking", "leading"]
            assert ensemble.leader() == 3


def refused(ensemble: MemoryEnsemble) -> list[str]:
    """Why callers at the leader's port were turned away before they were learners."""
    return [
        it.event.reason
        for it in ensemble.trace
        if it.peer == LEADER and isinstance(it.event, LinkRefused) and it.event.kind == "quorum"
    ]


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ([QuorumPacket(P.PING, 0)], "first packet of type 5"),
        ([], "empty frame"),
        ([QuorumPacket(P.FOLLOWERINFO, 0, LearnerInfo(LEADER, 0x10000, 0).encode())], "this peer's own id 2"),
        ([QuorumPacket(P.FOLLOWERINFO, 0, LearnerInfo(FOLLOWER, 0x10000, 7).encode())], "knows a newer configuration"),
    ],
)
async def test_who_begins_with_anything_else_is_sent_away(
    first: list[QuorumPacket], reason: str, autojump_clock: MockClock
) -> None:
    async with leader() as (ensemble, raw):
        await raw.send_frame(first)
        await raw.hung_up()
        assert refused(ensemble)[0].endswith(reason)
        again = await dial(ensemble, FOLLOWER, LEADER)
        assert (await introduce(again, FOLLOWER)).zxid == zx("1.0")


async def test_a_handshake_out_of_turn(autojump_clock: MockClock) -> None:
    async with leader() as (ensemble, raw):
        await introduce(raw, FOLLOWER)
        await raw.send(P.ACK, zx("1.0"))
        await raw.hung_up()
        assert refused(ensemble) == ["expected ACKEPOCH, got [3]"]


async def test_what_a_leader_does_not_know_it_passes_over(autojump_clock: MockClock) -> None:
    """A packet of a later version, from a follower that serves; the one behind it is heard."""
    async with leader() as (ensemble, raw):
        await introduce(raw, FOLLOWER)
        await ack_epoch(raw, 0, 0)
        await raw.until(P.NEWLEADER)
        await raw.send(P.ACK, zx("1.0"))
        await raw.take(P.UPTODATE)
        await raw.send_frame([QuorumPacket(99, 0), QuorumPacket(P.REVALIDATE, 0, encode_revalidate(7, 10_000))])
        await raw.take(P.REVALIDATE)
        assert ensemble.leader() == LEADER


async def test_an_observer_that_does_not_fit_its_master(autojump_clock: MockClock) -> None:
    """It accepted a later epoch than the master follows in; then it acknowledges what nobody sent."""
    async with open_ensemble(MemoryNetwork(), observers=1, observer_masters=[1], start=False) as ensemble:
        await ensemble.start(1, 2, 3)
        await ensemble.wait_serving()
        raw = await dial(ensemble, 4, 1, as_observer=True)
        await raw.send(P.OBSERVERINFO, zx("9.0"), LearnerInfo(4, 0x10000, 0).encode())
        await raw.hung_up()
        raw = await dial(ensemble, 4, 1, as_observer=True)
        await introduce(raw, 4, kind=P.OBSERVERINFO)
        await ack_epoch(raw, ensemble.peers[1].database.last_zxid, 0)  # nothing to send, whichever it is
        await raw.until(P.NEWLEADER)
        await raw.send(P.ACK, zx("7.0"))
        await raw.hung_up()
        reasons = [
            it.event.reason
            for it in ensemble.trace
            if it.peer == 1 and isinstance(it.event, LinkRefused | LearnerLeft) and it.event.reason.startswith("obs")
        ]
        assert reasons == [
            "observer 4 accepted epoch 9, here it is 1",
            "observer 4 acknowledged 0x700000000 in epoch 1",
        ]


async def follow(raw: Raw, last_zxid: int = 0) -> None:
    """All of the handshake, as a follower who needs no snapshot from ``last_zxid`` on."""
    await introduce(raw, FOLLOWER)
    await ack_epoch(raw, last_zxid, 0)
    new_leader = await raw.until(P.NEWLEADER)
    await raw.send(P.ACK, new_leader.zxid)
    await raw.take(P.UPTODATE)


def left(ensemble: MemoryEnsemble) -> list[str]:
    """Why learners of the leader left."""
    return [it.event.reason for it in ensemble.trace if isinstance(it.event, LearnerLeft)]


async def test_a_follower_on_a_new_link(autojump_clock: MockClock) -> None:
    """The old link is given up when its learner has said who it is on the new one."""
    async with leader() as (ensemble, first):
        await follow(first)
        second = await dial(ensemble, FOLLOWER, LEADER)
        await follow(second, zx("1.0"))
        await first.hung_up()
        await second.send(P.REVALIDATE, 0, encode_revalidate(7, 10_000))
        await second.take(P.REVALIDATE)
        assert left(ensemble) == ["the learner came back on a new link"]


async def test_silent_callers_make_room_for_learners(autojump_clock: MockClock) -> None:
    async with leader(limits=Limits(handshake_links_max=2)) as (ensemble, silent):
        others = [await dial(ensemble, FOLLOWER, LEADER) for _ in range(2)]
        await silent.hung_up()
        assert refused(ensemble) == ["too many callers have not said who they are"]
        await follow(others[1])
        assert ensemble.leader() == LEADER


async def test_a_follower_that_reads_nothing(autojump_clock: MockClock) -> None:
    """It acknowledges a session and stops. More waits for it then than may: its link ends before its patience does."""
    async with leader(limits=Limits(learner_queue_bytes_max=20_000)) as (ensemble, raw):
        await follow(raw)

        async def acknowledge_one() -> None:
            await raw.send(P.ACK, (await raw.until(P.PROPOSAL)).zxid)

        async def write(client: Client, number: int) -> None:
            with pytest.raises(RequestFailed):
                await client.create(f"/{number}", bytes(10_000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(acknowledge_one)
            async with ensemble.client(LEADER) as client, trio.open_nursery() as writing:
                for number in range(100):
                    writing.start_soon(write, client, number)
                with trio.fail_after(SYNC_LIMIT_TICKS * TICK_S):
                    while not left(ensemble):
                        await trio.sleep(0.1)
        assert left(ensemble) == [FULL]
