"""A real learner, a leader played by hand: what a learner has on disk and shows at each step of its handshake."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.storage.kit import create
from tests.storage.test_database import tree_of
from tests.upstream.kit import Raw, RawLeader, raw_leader
from tests.zab.kit import zx
from trioquorum.config import Settings
from trioquorum.events import Event, SnapshotTaken
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing import MemoryEnsemble, MemoryPeer, open_ensemble
from trioquorum.testing.checkers.trees import contents
from trioquorum.testing.settled import on_disk
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.paths import CONFIG
from trioquorum.wire.quorum import PacketType as P, decode_ack_epoch
from trioquorum.zab.quorum import QuorumConfig
from trioquorum_transports.memory import MemoryNetwork

FOLLOWER, LEADER = 1, 2


@asynccontextmanager
async def follower(flush_latency_s: float = 0.0) -> AsyncIterator[tuple[MemoryEnsemble, MemoryPeer]]:
    """Two voters, of which the first runs."""
    async with open_ensemble(MemoryNetwork(), peers=2, flush_latency_s=flush_latency_s, start=False) as ensemble:
        await ensemble.start(FOLLOWER)
        yield ensemble, ensemble.peers[FOLLOWER]


def path(zxid: int) -> str:
    """Of the node that transaction ``zxid`` makes."""
    return f"/n{zxid:x}"


async def propose(raw: Raw, *zxids: str, kind: P = P.PROPOSAL) -> None:
    for text in zxids:
        await raw.send(kind, zx(text), create(zx(text), path(zx(text))))


async def commit(raw: Raw, *zxids: str) -> None:
    for text in zxids:
        await raw.send(P.COMMIT, zx(text))


async def diff(raw: Raw, *zxids: str) -> None:
    """DIFF with these transactions, each with its commit."""
    await raw.send(P.DIFF, zx(zxids[-1]))
    for text in zxids:
        await propose(raw, text)
        await commit(raw, text)


def nodes(tree: DataTree) -> set[str]:
    """What transactions made."""
    return {path for path in tree.nodes if path.startswith("/n")}


def made(*zxids: str) -> set[str]:
    return {path(zx(text)) for text in zxids}


def epochs(disk: MemoryDisk) -> tuple[int, int]:
    """acceptedEpoch and currentEpoch."""
    return int(disk.files["acceptedEpoch"]), int(disk.files["currentEpoch"])


def create_all(*zxids: str) -> DataTree:
    return tree_of(*map(zx, zxids))


async def test_snapshot_then_proposals(autojump_clock: MockClock) -> None:
    """Each promise is on disk when the packet that gives it leaves; nothing shows before its commit and UPTODATE."""
    async with follower() as (ensemble, peer), raw_leader(ensemble, LEADER, zxid=zx("0.9")) as leader:
        raw, ack = await leader.begin(1)
        assert (ack.zxid, decode_ack_epoch(ack.data or b"")) == (0, 0)
        assert epochs(peer.disk) == (1, 0)
        assert nodes(await on_disk(peer.disk)) == set()
        await raw.send_snapshot(zx("0.9"), create_all("0.8", "0.9"))
        await raw.send(P.NEWLEADER, zx("1.0"))
        await raw.take(P.ACK, zx("1.0"))
        assert epochs(peer.disk) == (1, 1)
        assert "snapshot.9" in peer.disk.files
        assert nodes(await on_disk(peer.disk)) == made("0.8", "0.9")
        await propose(raw, "1.1")
        await trio.testing.wait_all_tasks_blocked()
        assert nodes(peer.database.tree) == made("0.8", "0.9")
        await commit(raw, "1.1")
        await raw.send(P.UPTODATE, -1)
        await raw.take(P.ACK, zx("1.0"))
        await raw.take(P.ACK, zx("1.1"))
        await trio.testing.wait_all_tasks_blocked()
        assert nodes(peer.database.tree) == nodes(await on_disk(peer.disk)) == made("0.8", "0.9", "1.1")


async def test_diff_with_proposals_on_both_sides_of_newleader(autojump_clock: MockClock) -> None:
    """A commit in the sync, one between the ACK of NEWLEADER and UPTODATE, and one after: each is applied once."""
    async with follower() as (ensemble, peer), raw_leader(ensemble, LEADER, zxid=zx("0.3")) as leader:
        raw, _ = await leader.begin(1)
        await diff(raw, "0.1", "0.2", "0.3")
        await propose(raw, "1.1")
        await raw.send(P.NEWLEADER, zx("1.0"))
        await raw.take(P.ACK, zx("1.0"))
        assert nodes(await on_disk(peer.disk)) == made("0.1", "0.2", "0.3")
        await commit(raw, "1.1")
        await propose(raw, "1.2")
        await raw.send(P.UPTODATE, -1)
        await raw.take(P.ACK, zx("1.0"))
        await raw.take(P.ACK, zx("1.2"))
        assert nodes(peer.database.tree) == made("0.1", "0.2", "0.3", "1.1")
        await propose(raw, "1.3")
        await raw.take(P.ACK, zx("1.3"))
        await commit(raw, "1.2", "1.3")
        await trio.testing.wait_all_tasks_blocked()
        assert nodes(peer.database.tree) == made("0.1", "0.2", "0.3", "1.1", "1.2", "1.3")
        assert contents(await on_disk(peer.disk)) == contents(peer.database.tree)


async def test_an_observer_is_informed(autojump_clock: MockClock) -> None:
    """INFORM before and after UPTODATE is applied; an observer acknowledges NEWLEADER and no proposal."""
    observer, voter = 2, 1
    async with (
        open_ensemble(MemoryNetwork(), peers=1, observers=1, start=False) as ensemble,
        raw_leader(ensemble, voter) as leader,
    ):
        await ensemble.start(observer)
        peer = ensemble.peers[observer]
        raw, _ = await leader.begin(1, P.OBSERVERINFO)
        await diff(raw, "0.1")
        await raw.send(P.NEWLEADER, zx("1.0"))
        await raw.take(P.ACK, zx("1.0"))
        await propose(raw, "1.1", kind=P.INFORM)
        await raw.send(P.UPTODATE, -1)
        await raw.take(P.ACK, zx("1.0"))
        await propose(raw, "1.2", kind=P.INFORM)
        await raw.send(P.PING, zx("1.2"))
        # Had it acknowledged anything, that would come first.
        assert (await raw.receive()).type == P.PING
        assert nodes(peer.database.tree) == made("0.1", "1.1", "1.2")


async def rejoin(ensemble: MemoryEnsemble, leader: RawLeader, epoch: int, *zxids: str, had: str) -> MemoryPeer:
    """The follower comes back, says it ends at ``had``, and is brought up to date by DIFF; it must then be whole."""
    peer = ensemble.peers[FOLLOWER]
    await leader.elect(zxid=zx(zxids[-1]), peer_epoch=epoch - 1)
    raw, ack = await leader.begin(epoch)
    assert ack.zxid == zx(had)
    await diff(raw, *zxids)
    await raw.send(P.NEWLEADER, epoch << 32)
    await raw.take(P.ACK, epoch << 32)
    await raw.send(P.UPTODATE, -1)
    await raw.take(P.ACK, epoch << 32)
    await trio.testing.wait_all_tasks_blocked()
    assert contents(await on_disk(peer.disk)) == contents(peer.database.tree)
    return peer


async def test_a_snapshot_ahead_of_what_is_queued_behind_it(autojump_clock: MockClock) -> None:
    """The dump already shows what the packets behind it bring. A power cut right after it was written loses nothing."""
    async with follower() as (ensemble, peer):
        cut: list[int] = []

        def power_cut(sid: int, event: Event) -> None:
            if isinstance(event, SnapshotTaken) and event.zxid == zx("0.2"):
                cut.append(sid)
                ensemble.power_off(sid)

        ensemble.subscribe(power_cut)
        async with raw_leader(ensemble, LEADER, zxid=zx("0.4")) as leader:
            raw, _ = await leader.begin(1)
            await raw.send_snapshot(zx("0.2"), create_all("0.1", "0.2", "0.3", "0.4"))
            await propose(raw, "0.3", "0.4")
            await commit(raw, "0.3", "0.4")
            await raw.send(P.NEWLEADER, zx("1.0"))
            await raw.hung_up()
            await ensemble.wait_down(FOLLOWER)
            assert cut == [FOLLOWER]
            assert epochs(peer.disk) == (1, 0)
            await ensemble.start(FOLLOWER)
            await rejoin(ensemble, leader, 2, "0.3", "0.4", had="0.2")
        assert nodes(peer.database.tree) == made("0.1", "0.2", "0.3", "0.4")


@pytest.mark.parametrize(
    ("torn_bytes", "had"), [(0, "0.2"), (30, "0.2"), (10_000, "1.1")], ids=["nothing of it", "a part", "all of it"]
)
async def test_diff_after_a_snapshot_whose_followers_were_not_logged(
    torn_bytes: int, had: str, autojump_clock: MockClock
) -> None:
    """SNAP is durable, the transaction behind it was being written when the power went: there is no gap.

    The next DIFF goes on where the disk ends. A record that was torn is not there; a whole one is.
    """
    async with follower(flush_latency_s=0.1) as (ensemble, peer):
        async with raw_leader(ensemble, LEADER, zxid=zx("0.4")) as leader:
            raw, _ = await leader.begin(1)
            await raw.send_snapshot(zx("0.2"), create_all("0.1", "0.2"))
            await raw.send(P.NEWLEADER, zx("1.0"))
            await raw.take(P.ACK, zx("1.0"))
            await raw.send(P.UPTODATE, -1)
            await raw.take(P.ACK, zx("1.0"))
            await propose(raw, "1.1")
            await trio.sleep(0.15)  # The file is there, the record is on its way.
            await ensemble.crash(FOLLOWER, torn_bytes=torn_bytes)
            await ensemble.start(FOLLOWER)
            await rejoin(ensemble, leader, 3, *(["2.1"] if had == "1.1" else ["1.1", "2.1"]), had=had)
        assert nodes(peer.database.tree) == made("0.1", "0.2", "1.1", "2.1")


@pytest.mark.parametrize("leader_dies", [True, False], ids=["the link breaks", "power cut"])
async def test_a_follower_that_gets_half_a_diff(leader_dies: bool, autojump_clock: MockClock) -> None:
    """What came without its commit, or without NEWLEADER, is no history: the follower stands where it stood."""
    async with follower() as (ensemble, peer):
        async with raw_leader(ensemble, LEADER, zxid=zx("0.3")) as leader:
            raw, _ = await leader.begin(1)
            await raw.send(P.DIFF, zx("0.3"))
            await propose(raw, "0.1")
            await commit(raw, "0.1")
            await propose(raw, "0.2", "0.3")
            await trio.testing.wait_all_tasks_blocked()
            if leader_dies:
                await raw.aclose()
            else:
                await ensemble.crash(FOLLOWER)
                await ensemble.start(FOLLOWER)
            assert epochs(peer.disk) == (1, 0)
            assert nodes(await on_disk(peer.disk)) == set()
            await rejoin(ensemble, leader, 2, "0.1", "0.2", had="0")
        assert nodes(peer.database.tree) == made("0.1", "0.2")


@pytest.mark.parametrize("after_s", [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65])
async def test_a_power_cut_while_a_diff_is_taken_over(after_s: float, autojump_clock: MockClock) -> None:
    """currentEpoch never tells of a history that is not on disk, or the peer would win an election it must lose."""
    async with follower(flush_latency_s=0.1) as (ensemble, peer):
        acked: list[bool] = []
        async with raw_leader(ensemble, LEADER, zxid=zx("0.3")) as leader, trio.open_nursery() as nursery:
            raw, _ = await leader.begin(1)

            async def watch() -> None:
                await raw.take(P.ACK, zx("1.0"))
                acked.append(True)

            await diff(raw, "0.1", "0.2", "0.3")
            await raw.send(P.NEWLEADER, zx("1.0"))
            nursery.start_soon(watch)
            await trio.sleep(after_s)
            nursery.cancel_scope.cancel()
        await ensemble.crash(FOLLOWER)
        accepted, current = epochs(peer.disk)
        assert accepted == 1
        if current == 1 or acked:
            assert nodes(await on_disk(peer.disk)) == made("0.1", "0.2", "0.3")
        if acked:
            assert current == 1
        if after_s == 0.05:
            assert current == 0
            assert nodes(await on_disk(peer.disk)) == set()
        if after_s == 0.65:
            assert acked


async def test_a_newer_configuration_is_nothing_to_who_may_not_change_its_own(autojump_clock: MockClock) -> None:
    """A vote comes with one; reconfiguration is disabled, so the peer goes on with what its file says."""
    async with follower() as (ensemble, peer), raw_leader(ensemble, LEADER, zxid=1, version=zx("0.5")) as leader:
        await leader.begin(1)
        assert [config.version for config in peer.configs] == [0]


@pytest.mark.parametrize("committed", [True, False])
async def test_what_newleader_carries_counts_when_it_is_committed(committed: bool, autojump_clock: MockClock) -> None:
    """It makes this follower an observer: that ends its role before it serves; while it is proposed, it is shown only
    after what is committed."""
    enabled = Settings(reconfig_enabled=True)
    async with open_ensemble(MemoryNetwork(), peers=2, settings=enabled, start=False) as ensemble:
        await ensemble.start(FOLLOWER)
        peer = ensemble.peers[FOLLOWER]
        listed = peer.config.quorum_config().members
        newer = QuorumConfig(
            [listed[LEADER], msgspec.structs.replace(listed[FOLLOWER], role="observer")], version=zx("0.5")
        )
        async with raw_leader(ensemble, LEADER, zxid=1) as leader:
            raw, _ = await leader.begin(1)
            await raw.send(P.DIFF, 0)
            await raw.send(P.NEWLEADER, zx("1.0"), newer.text().encode())
            await raw.take(P.ACK, zx("1.0"))
            await raw.send(P.UPTODATE, -1, (newer.version if committed else 0).to_bytes(8))
            if committed:
                await raw.hung_up()
                assert [config.version for config in peer.configs] == [zx("0.5")]
                assert peer.established is None
            else:
                await raw.take(P.ACK, zx("1.0"))
                await ensemble.wait_until(lambda: peer.established is not None)
                assert [config.version for config in peer.configs] == [0, zx("0.5")]
                assert (peer.database.tree.nodes[CONFIG].data or b"").endswith(b"version=0")
