"""The leader deletes idle containers and TTL nodes that are over, in virtual time (client-protocol §14; upstream 60).

Nobody else does: neither a follower nor a client may.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock

from tests.sim.kit import assert_all_equal, events_of
from trioquorum.client import Client
from trioquorum.client.transaction import OPEN_ACL
from trioquorum.config import ServerConfig, Settings
from trioquorum.errors import Code, RequestFailed
from trioquorum.events import NodesSwept
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing import MemoryEnsemble, MemoryPeer, open_ensemble
from trioquorum.transport import Address
from trioquorum.wire.ops import CreateFlag, EventType, Op
from trioquorum.wire.records import CreateRequest, CreateTtlRequest, PathRequest, PathStatResponse
from trioquorum_transports.memory import MemoryNetwork

INTERVAL_S = 60
SETTINGS = Settings(extended_types_enabled=True)


async def container(client: Client, path: str) -> None:
    body = CreateRequest(path, b"", list(OPEN_ACL), CreateFlag.CONTAINER).encode()
    await client.call(Op.CREATE_CONTAINER, body, PathStatResponse.decode_from)


async def mortal(client: Client, path: str, ttl_ms: int) -> None:
    body = CreateTtlRequest(path, b"", list(OPEN_ACL), CreateFlag.PERSISTENT_WITH_TTL, ttl_ms).encode()
    await client.call(Op.CREATE_TTL, body, PathStatResponse.decode_from)


async def there(client: Client, *paths: str) -> list[str]:
    return [path for path in paths if await client.exists(path)]


async def test_containers_go_when_they_are_emptied_or_never_used(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork()) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client() as client:
            for path in ("/emptied", "/full", "/fresh"):
                await container(client, path)
            for path in ("/emptied/child", "/full/child"):
                await client.create(path)
            made_at = trio.current_time()
            await trio.sleep(3 * INTERVAL_S)
            assert await there(client, "/emptied", "/full", "/fresh") == ["/emptied", "/full", "/fresh"]
            await client.delete("/emptied/child")
            await trio.sleep(INTERVAL_S + 1)
            assert await there(client, "/emptied", "/full", "/fresh") == ["/full", "/fresh"]
            await trio.sleep(made_at + 300 - trio.current_time())
            assert await there(client, "/full", "/fresh") == ["/full", "/fresh"]
            await trio.sleep(INTERVAL_S + 1)
            assert await there(client, "/full", "/fresh") == ["/full"]
        await assert_all_equal(ensemble)
        assert [it.event.nodes for it in events_of(ensemble, NodesSwept)] == [1, 1]
        assert len({it.peer for it in events_of(ensemble, NodesSwept)}) == 1


async def test_ttl_nodes_go_when_they_are_idle_and_have_no_children(autojump_clock: MockClock) -> None:
    told: list[tuple[EventType | None, str]] = []
    async with open_ensemble(MemoryNetwork(), observers=1, settings=SETTINGS) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client() as client:
            for path in ("/idle", "/parent", "/written"):
                await mortal(client, path, 90_000)
            await client.create("/parent/child")
            await client.exists("/idle", watch=lambda event: told.append((event.type, event.path)))
            await trio.sleep(80)
            await client.set("/written", b"x")
            await trio.sleep(45)
            assert await there(client, "/idle", "/parent", "/written") == ["/parent", "/written"]
            assert told == [(EventType.NODE_DELETED, "/idle")]
            await client.delete("/parent/child")
            await trio.sleep(60)
            assert await there(client, "/parent", "/written") == []
        tree = await assert_all_equal(ensemble)
        assert tree.ttls == set()


async def test_without_extended_types_no_time_to_live(autojump_clock: MockClock) -> None:
    """Those that were made while there were such types stay."""
    async with open_ensemble(MemoryNetwork(), settings=SETTINGS) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client() as client:
            await mortal(client, "/mortal", 1000)
        await ensemble.stop()
        for peer in ensemble.peers.values():
            peer.config = msgspec.structs.replace(peer.config, extended_types_enabled=False)
        await ensemble.start()
        await ensemble.wait_serving()
        async with ensemble.client() as client:
            with pytest.raises(RequestFailed) as refused:
                await mortal(client, "/another", 1000)
            assert refused.value.code is Code.UNIMPLEMENTED
            await trio.sleep(3 * INTERVAL_S)
            assert await there(client, "/mortal") == ["/mortal"]


async def test_the_next_leader_goes_on(autojump_clock: MockClock) -> None:
    """And what is left of a sweep is deleted by it, at its first look."""
    settings = Settings(container_deletions_per_minute_max=6)
    async with open_ensemble(MemoryNetwork(), settings=settings) as ensemble:
        leader = await ensemble.wait_serving()
        async with ensemble.client(session_timeout_ms=40_000) as client:
            paths = [f"/c{number}" for number in range(6)]
            for path in paths:
                await container(client, path)
                await client.create(f"{path}/child")
                await client.delete(f"{path}/child")
            await ensemble.wait_until(lambda: bool(events_of(ensemble, NodesSwept)), within_s=100)
            await trio.sleep(25)  # One every ten seconds.
            await client.sync()
            assert await there(client, *paths) == paths[3:]
            await ensemble.crash(leader)
            await ensemble.wait_serving()
            await trio.sleep(INTERVAL_S + 35)
            assert await there(client, *paths) == []
            assert [(it.event.nodes, it.peer == leader) for it in events_of(ensemble, NodesSwept)] == [
                (6, True),
                (3, False),
            ]


async def test_who_comes_back_during_a_sweep_keeps_its_node(autojump_clock: MockClock) -> None:
    """It is looked at again in the moment of its deletion."""
    settings = Settings(extended_types_enabled=True, container_deletions_per_minute_max=6)
    async with open_ensemble(MemoryNetwork(), settings=settings) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client() as client:
            await mortal(client, "/a", 30_000)
            await mortal(client, "/b", 30_000)
            await mortal(client, "/c", 30_000)
            await ensemble.wait_until(lambda: bool(events_of(ensemble, NodesSwept)), within_s=100)
            await trio.sleep(1)
            await client.set("/b", b"still here")
            await client.create("/c/child")
            await trio.sleep(25)
            assert await there(client, "/a", "/b", "/c") == ["/b", "/c"]


async def test_a_client_may_not_sweep(autojump_clock: MockClock) -> None:
    """On the leader and through a follower (trap 17): even a container that anybody could delete."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        for peer in (leader, leader % 3 + 1):
            async with ensemble.client(peer) as client:
                await container(client, f"/c{peer}")
                with pytest.raises(RequestFailed) as refused:
                    await client.call(Op.DELETE_CONTAINER, PathRequest(f"/c{peer}").encode(), lambda _, at: (None, at))
                assert refused.value.code is Code.UNIMPLEMENTED
                assert await there(client, f"/c{peer}") == [f"/c{peer}"]


@asynccontextmanager
async def alone(config: Callable[..., ServerConfig], **settings: object) -> AsyncIterator[MemoryEnsemble]:
    """A server on its own."""
    network = MemoryNetwork()
    peer = MemoryPeer(
        config(
            my_id=0,
            peers=(),
            client_addresses=(Address("memory", "peer0", 2181),),
            data_dir=Path("memory"),
            data_log_dir=Path("memory"),
            **settings,
        ),
        MemoryDisk(),
        network,
        seed=0,
    )
    async with trio.open_nursery() as nursery:
        server = MemoryEnsemble(network, [peer], nursery)
        await server.start()
        yield server
        nursery.cancel_scope.cancel()


async def test_a_server_on_its_own_sweeps_too(autojump_clock: MockClock) -> None:
    settings = {"extended_types_enabled": True, "container_check_interval_ms": 1000, "container_unused_ms_max": 5000}
    async with alone(ServerConfig, **settings) as server, server.client() as client:
        await mortal(client, "/ttl", 3000)
        await container(client, "/unused")
        await trio.sleep(2.5)
        assert await there(client, "/ttl", "/unused") == ["/ttl", "/unused"]
        await trio.sleep(2)
        assert await there(client, "/ttl", "/unused") == ["/unused"]
        await trio.sleep(2)
        assert await there(client, "/unused") == []
