"""aiozk, the client for asyncio, works unmodified: what it does of its own with nodes, locks and transactions."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.kit.zookeepers import ThreeZookeepers

aiozk: Any = pytest.importorskip("aiozk")

pytestmark = [pytest.mark.interop, pytest.mark.slow]

LIMIT_S = 50

Run = Callable[[Callable[[Any], Awaitable[None]]], None]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreeZookeepers]:
    with ThreeZookeepers("ours", tmp_path_factory.mktemp("aiozk"), ["4lw.commands.whitelist=*"]) as started:
        yield started


@pytest.fixture
def run(servers: ThreeZookeepers) -> Run:
    """Runs what it is given with a client that has a root of its own."""

    async def with_client(what: Callable[[Any], Awaitable[None]]) -> None:
        client = aiozk.ZKClient(servers.hosts, chroot=f"/{uuid.uuid4().hex}")
        async with asyncio.timeout(LIMIT_S):
            await client.start()
            try:
                await what(client)
            finally:
                await client.close()

    return lambda what: asyncio.run(with_client(what))


def test_nodes(run: Run) -> None:
    async def nodes(client: Any) -> None:
        assert await client.create("/a", b"1") == "/a"
        assert await client.create("/a/s-", sequential=True) == "/a/s-0000000000"
        assert await client.create("/a/e", ephemeral=True) == "/a/e"
        assert sorted(await client.get_children("/a")) == ["e", "s-0000000000"]
        assert await client.get_data("/a") == b"1"
        await client.set_data("/a", b"2")
        assert await client.get_data("/a") == b"2"
        assert await client.exists("/a/e")
        assert not await client.exists("/b")
        with pytest.raises(aiozk.exc.NodeExists):
            await client.create("/a")
        with pytest.raises(aiozk.exc.NotEmpty):
            await client.delete("/a", force=True)
        await client.deleteall("/a")
        assert not await client.exists("/a")

    run(nodes)


def test_parents_are_made(run: Run) -> None:
    async def parents(client: Any) -> None:
        await client.ensure_path("/x/y/z")
        assert await client.get_children("/x/y") == ["z"]
        await client.create("/box", container=True)
        assert await client.create("/box/e", ephemeral=True) == "/box/e"

    run(parents)


def test_access_control(run: Run) -> None:
    async def access_control(client: Any) -> None:
        await client.create("/mine", acl=[aiozk.ACL.make("world", "anyone", read=True, admin=True)])
        with pytest.raises(aiozk.exc.NoAuth):
            await client.set_data("/mine", b"x", force=True)
        acl, *_ = await client.get_acl("/mine")
        assert (acl.id.scheme, acl.id.id) == ("world", "anyone")

    run(access_control)


def test_watches(run: Run) -> None:
    async def watches(client: Any) -> None:
        seen: asyncio.Queue[bytes] = asyncio.Queue()
        await client.create("/w", b"0")
        watcher = client.recipes.DataWatcher()
        watcher.set_client(client)

        async def note(data: bytes) -> None:
            await seen.put(data)

        watcher.add_callback("/w", note)
        assert await seen.get() == b"0"
        await client.set_data("/w", b"1", force=True)
        assert await seen.get() == b"1"
        watcher.remove_callback("/w", note)

    run(watches)


def test_transactions(run: Run) -> None:
    async def transactions(client: Any) -> None:
        made = client.begin_transaction()
        made.create("/t", b"1")
        made.check_version("/t", 0)
        made.set_data("/t", b"2")
        assert await made.commit()
        assert await client.get_data("/t") == b"2"
        refused = client.begin_transaction()
        refused.create("/t/child")
        refused.check_version("/t", 7)
        assert not await refused.commit()
        assert not await client.exists("/t/child")

    run(transactions)


def test_locks(run: Run) -> None:
    async def locks(client: Any) -> None:
        order: list[str] = []

        async def hold(name: str) -> None:
            async with client.recipes.Lock("/lock"):
                order.append(f"{name} in")
                await client.exists("/")
                order.append(f"{name} out")

        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(hold(name))
        holds = [order[i : i + 2] for i in range(0, len(order), 2)]
        assert sorted(holds) == [["a in", "a out"], ["b in", "b out"], ["c in", "c out"]]

    run(locks)
