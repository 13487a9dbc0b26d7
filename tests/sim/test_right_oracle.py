"""The simulator's oracle: what it must never say."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from trio.testing import MockClock

from trioquorum.config import Settings
from trioquorum.events import Established
from trioquorum.invariants import InvariantViolation
from trioquorum.testing import MemoryEnsemble, Safety, open_ensemble
from trioquorum.testing.oracle import RightOracle
from trioquorum_transports.memory import MemoryNetwork


@asynccontextmanager
async def two(frozen: set[int]) -> AsyncIterator[MemoryEnsemble]:
    settings = Settings(oracle_path="oracle")
    async with open_ensemble(MemoryNetwork(), peers=2, settings=settings, start=False) as ensemble:
        RightOracle(ensemble.peers[1], ensemble.peers[2], frozen)
        yield ensemble


async def lets(ensemble: MemoryEnsemble, peer: int) -> bool:
    oracle = ensemble.peers[peer].oracle
    assert oracle is not None
    return await oracle()


async def test_one_goes_on_and_the_other_one_does_not_go_on_without_it(autojump_clock: MockClock) -> None:
    async with two(set()) as ensemble:
        await ensemble.start()
        leader = await ensemble.wait_serving()
        other = 3 - leader
        assert not await lets(ensemble, leader)
        await ensemble.crash(leader)
        async with ensemble.client(other, session_timeout_ms=40_000, connect_timeout_ms=60_000) as client:
            await client.create("/alone")
        await ensemble.crash(other)
        await ensemble.start(leader)
        assert not await lets(ensemble, leader)
        await ensemble.start(other)
        assert await ensemble.wait_serving() == other


async def test_who_stands_still_and_was_let_keeps_its_right(autojump_clock: MockClock) -> None:
    frozen: set[int] = set()
    async with two(frozen) as ensemble:
        await ensemble.start()
        await ensemble.wait_serving()
        frozen.add(2)
        assert await lets(ensemble, 1)
        frozen.add(1)
        assert not await lets(ensemble, 2)
        frozen.clear()
        assert not await lets(ensemble, 1)
        frozen.add(1)
        assert await lets(ensemble, 2)


async def test_who_was_never_let_is_no_quorum(autojump_clock: MockClock) -> None:
    async with two(set()) as ensemble:
        safety = Safety(ensemble.peers)
        with pytest.raises(InvariantViolation, match="a quorum promised to follow"):
            safety.check(1, None, Established(role="leader", leader=1, epoch=1, zxid=1 << 32))
