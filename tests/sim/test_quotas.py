"""Quotas of whole ensembles: each peer keeps the stats by itself, and all come to the same (client-protocol §15)."""

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from tests.sim.kit import assert_all_equal, events_of
from trioquorum.client import Client
from trioquorum.config import Settings
from trioquorum.errors import Code, RequestFailed
from trioquorum.events import QuotaExceeded, SyncReceived
from trioquorum.limits import Limits
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum_transports.memory import MemoryNetwork

QUOTA = "/zookeeper/quota"
STATS = f"{QUOTA}/a/zookeeper_stats"


async def set_quota(client: Client, path: str, limits: bytes) -> None:
    """As zkCli does it, for a path below the root."""
    await client.create(f"{QUOTA}{path}", None)
    await client.create(f"{QUOTA}{path}/zookeeper_limits", limits)
    await client.create(f"{QUOTA}{path}/zookeeper_stats", b"count=0,bytes=0")


def stats(ensemble: MemoryEnsemble) -> set[bytes | None]:
    return {ensemble.peers[peer].database.tree.nodes[STATS].data for peer in ensemble.running()}


async def refused(write: Callable[..., object], *args: object) -> None:
    with pytest.raises(RequestFailed) as failed:
        await write(*args)  # type: ignore[misc]
    assert failed.value.code is Code.QUOTAEXCEEDED


async def test_hard_limits_are_kept_by_every_peer(autojump_clock: MockClock) -> None:
    settings = Settings(quotas_enforced=True)
    async with open_ensemble(MemoryNetwork(), observers=1, settings=settings) as ensemble:
        leader = await ensemble.wait_serving()
        async with ensemble.client(leader % 3 + 1) as client, ensemble.client(4) as far:
            await client.create("/a")
            await set_quota(client, "/a", b"count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=3")
            await client.create("/a/b", b"12345")
            await far.sync()
            await refused(far.set, "/a/b", b"12345678901")
            await far.create("/a/c", b"67890")
            await client.sync()
            await refused(client.create, "/a/d")
            await client.delete("/a/c")
            assert await client.get(STATS) == (b"count=2,bytes=5", (await client.exists(STATS)))
        await assert_all_equal(ensemble)
        assert stats(ensemble) == {b"count=2,bytes=5"}
        assert [(it.peer, it.event.kind, it.event.refused) for it in events_of(ensemble, QuotaExceeded)] == [
            (leader, "bytes", True),
            (leader, "count", True),
        ]


async def test_the_operator_is_told_once_a_minute(autojump_clock: MockClock) -> None:
    """Of each quota, and of both kinds; nothing is refused where limits are not enforced."""
    async with open_ensemble(MemoryNetwork(), peers=1) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client() as client:
            for path in ("/a", "/b"):
                await client.create(path)
                await set_quota(client, path, b"count=1,bytes=4=;countHardLimit=1")
            for number in range(130):
                await client.create(f"/a/{number}", b"x")
                if number % 10 == 0:
                    await client.create(f"/b/{number}")
                await trio.sleep(1)
        told = [(it.event.path, it.event.kind) for it in events_of(ensemble, QuotaExceeded)]
        assert {key: told.count(key) for key in told} == {("/a", "count"): 3, ("/a", "bytes"): 3, ("/b", "count"): 3}
        assert not any(it.event.refused for it in events_of(ensemble, QuotaExceeded))


async def test_stats_outlive_crashes_snapshots_and_other_leaders(autojump_clock: MockClock) -> None:
    """Whatever way a peer came by its tree, by log or by SNAP, it counts the same."""
    limits = Limits(snap_count=20, committed_log_txns_max=10)
    settings = Settings(quotas_enforced=True, force_snapshot_sync=True)
    async with open_ensemble(MemoryNetwork(), limits=limits, settings=settings) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client(session_timeout_ms=40_000) as client:
            await client.create("/a", b"x")
            await set_quota(client, "/a", b"count=-1,bytes=-1=;countHardLimit=60")
            made = 1
            for _ in range(3):
                leader = await ensemble.wait_serving()
                lagging = leader % 3 + 1
                await ensemble.crash(lagging)
                for _ in range(18):
                    await client.create(f"/a/{made}", b"12")
                    made += 1
                    await trio.sleep(0.2)
                await client.set("/a/1", b"1" * made)
                await ensemble.start(lagging)
                await ensemble.wait_serving()
                await ensemble.crash(leader)
                await ensemble.wait_serving()
                await ensemble.start(leader)
            await ensemble.wait_serving()
            for _ in range(60 - made):
                await client.create(f"/a/{made}")
                made += 1
            await refused(client.create, "/a/more")
        tree = await assert_all_equal(ensemble)
        size = sum(len(node.data or b"") for path, node in tree.nodes.items() if path.split("/")[1] == "a")
        assert stats(ensemble) == {b"count=60,bytes=%d" % size}
        assert any(it.event.mode == "SNAP" for it in events_of(ensemble, SyncReceived))
