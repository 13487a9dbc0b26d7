"""A real leader, a follower played by hand: which epoch it proposes, how it syncs, and when it gives a learner up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from tests.hostile.kit import create
from tests.regressions.kit import Raw as Client, session
from tests.storage.test_database import directory, tree_of
from tests.upstream.kit import Raw, ack_epoch, dial, introduce, raw_voter
from tests.zab.kit import zx
from trioquorum.errors import LinkClosed
from trioquorum.events import LearnerLeft, StateChanged
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum.wire.quorum import PacketType as P, encode_touched
from trioquorum_transports.memory import MemoryNetwork

LEADER, FOLLOWER = 2, 1
TICK_S = 2.0
INIT_LIMIT_S, SYNC_LIMIT_TICKS = 10 * TICK_S, 5


@asynccontextmanager
async def leader(*zxids: str, accepted: int = 0) -> AsyncIterator[tuple[MemoryEnsemble, Raw]]:
    """Two voters, of which the second runs, has logged ``zxids`` and leads; a link to its quorum port."""
    async with open_ensemble(MemoryNetwork(), peers=2, start=False) as ensemble:
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
        client = await Client.dial(ensemble, LEADER)
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
