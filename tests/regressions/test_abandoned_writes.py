"""A commit answered a request of the session's next connection, because its xid was the same.

A client's connection breaks while its write is under way. It comes back, to the same peer or another one, with the
same session, and counts its xids from 1 again, as some clients do. The commit of the old write was taken for that of
the new request.
"""

import pytest
import trio
from trio.testing import MockClock

from tests.hostile.kit import create, get_data
from tests.regressions.kit import others, session, set_version, slow_disks
from trioquorum.errors import Code
from trioquorum.testing import open_ensemble
from trioquorum_transports.memory import MemoryNetwork

MOVES = pytest.mark.parametrize(
    "move", [(0, 0), (1, 1), (1, 2), (1, 0), (0, 1)], ids=lambda move: "{}-{}".format(*move)
)
"""From and to: 0 is the leader, 1 and 2 are the followers."""


@MOVES
@pytest.mark.parametrize("old_path", ["/old", "/there"], ids=["done", "failed"])
async def test_another_operation_gets_its_own_answer(
    move: tuple[int, int], old_path: str, autojump_clock: MockClock
) -> None:
    """The old write is done, or fails; the new one must fail for its own reason, with nothing behind the header."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        peers = [leader, *others(ensemble, leader)]
        here, there = (peers[n] for n in move)
        async with session(ensemble, here) as first:
            await first.send(create(1, "/there", b"precious"))
            await first.reply()
            slow_disks(ensemble, 0.5)
            await first.send(create(2, old_path))
            await trio.sleep(0.05)
        async with session(ensemble, there, first) as second:
            await second.send(set_version(2, "/there", b"new", 7), get_data(3, "/there"))
            answer, later = await second.reply(), await second.reply()
            assert (answer.xid, answer.err, answer.body) == (2, Code.BADVERSION, b"")
            assert (later.xid, later.err) == (3, 0)
            assert b"precious" in later.body


@MOVES
async def test_the_same_operation_gets_its_own_answer(move: tuple[int, int], autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        peers = [leader, *others(ensemble, leader)]
        here, there = (peers[n] for n in move)
        async with session(ensemble, here) as first:
            slow_disks(ensemble, 0.5)
            await first.send(create(1, "/old-1"), create(2, "/old-2"))
            await trio.sleep(0.05)
        async with session(ensemble, there, first) as second:
            await second.send(create(1, "/new-1"), create(2, "/new-2"))
            answers = [await second.reply() for _ in range(2)]
            assert [answer.body[4:] for answer in answers] == [b"/new-1", b"/new-2"]
        slow_disks(ensemble, 0.0)
        assert {"/old-1", "/old-2", "/new-1", "/new-2"} <= ensemble.peers[leader].database.tree.nodes.keys()
