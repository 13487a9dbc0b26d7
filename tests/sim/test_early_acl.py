"""ACLs that are checked where the client is: refused early, but never wrongly (client-protocol §12; upstream 62)."""

from collections.abc import Awaitable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.sim.kit import assert_all_equal
from trioquorum.client import Client
from trioquorum.config import Settings
from trioquorum.errors import Code, RequestFailed
from trioquorum.testing import open_ensemble
from trioquorum.wire.ops import Perm
from trioquorum.wire.records import Acl
from trioquorum_transports.memory import MemoryNetwork

READ_ONLY = [Acl(Perm.READ, "world", "anyone")]
OPEN = [Acl(Perm.ALL, "world", "anyone")]
NOT_VALID = [Acl(Perm.ALL, "nonsense", "x")]


async def code_of(write: Awaitable[Any]) -> Code:
    try:
        await write
    except RequestFailed as failure:
        return failure.code
    return Code.OK


async def refusals(client: Client) -> list[Code]:
    """Of a write of each kind that an ACL forbids."""
    return [
        await code_of(client.create("/shut/new")),
        await code_of(client.create2("/shut/new")),
        await code_of(client.delete("/shut/child")),
        await code_of(client.set("/shut", b"x")),
        await code_of(client.set_acl("/shut", OPEN)),
        await code_of(client.create("/open/new", acl=NOT_VALID)),
        await code_of(client.set_acl("/open", NOT_VALID)),
    ]


EXPECTED = [Code.NOAUTH] * 5 + [Code.INVALIDACL] * 2


@pytest.mark.parametrize("early", [True, False])
async def test_a_peer_refuses_what_its_own_tree_forbids(early: bool, autojump_clock: MockClock) -> None:
    """Without a transaction, on the leader too; otherwise the leader says the same, and each costs one."""
    settings = Settings(acls_checked_early=early)
    async with open_ensemble(MemoryNetwork(), settings=settings) as ensemble:
        leader = await ensemble.wait_serving()
        for peer in (leader, leader % 3 + 1):
            async with ensemble.client(peer) as client:
                if peer == leader:
                    for path in ("/open", "/shut", "/shut/child"):
                        await client.create(path)
                    await client.set_acl("/shut", READ_ONLY)
                await client.sync()
                before = ensemble.peers[leader].database.last_zxid
                assert await refusals(client) == EXPECTED
                assert ensemble.peers[leader].database.last_zxid - before == (0 if early else len(EXPECTED))
                # The leader alone can say of other things what is wrong with them.
                assert await code_of(client.create("/none/child")) is Code.NONODE
                assert await code_of(client.delete("/")) is Code.BADARGUMENTS
                assert await code_of(client.set("/none", b"")) is Code.NONODE
                assert await code_of(client.set("/open", b"", version=77)) is Code.BADVERSION
        await assert_all_equal(ensemble)


async def test_what_is_under_way_may_change_the_answer(autojump_clock: MockClock) -> None:
    """Who opens a node and writes to it in one breath is not refused by a peer that has not applied the first."""
    settings = Settings(acls_checked_early=True)
    async with open_ensemble(MemoryNetwork(), settings=settings, flush_latency_s=0.01) as ensemble:
        leader = await ensemble.wait_serving()
        shut = [Acl(Perm.ALL & ~Perm.WRITE, "world", "anyone")]
        async with ensemble.client(leader % 3 + 1) as client:
            await client.create("/door", acl=shut)
            await client.sync()
            assert await code_of(client.set("/door", b"x")) is Code.NOAUTH
            found: list[Code] = []

            async def write() -> None:
                found.append(await code_of(client.set("/door", b"x")))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.set_acl, "/door", OPEN)
                await trio.sleep(0.001)
                nursery.start_soon(write)
            assert found == [Code.OK]
            assert (await client.get("/door"))[0] == b"x"
