"""Disks that were exchanged while their peers were down."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from trioquorum.errors import RequestFailed
from trioquorum.invariants import InvariantViolation
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum_transports.memory import MemoryNetwork


async def _write(ensemble: MemoryEnsemble, *names: str) -> None:
    async with ensemble.client() as client:
        for name in names:
            try:
                await client.create(name)
            except RequestFailed:
                await trio.sleep(0.1)


async def _broken(story: Callable[[], Awaitable[None]]) -> str:
    """The rule that ``story`` breaks first."""
    with pytest.raises(InvariantViolation) as caught:
        await story()
    return str(caught.value).partition(":")[0]


async def _new_disks(*peers: int, told: bool) -> None:
    """A client wrote something; then these peers come back with nothing."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        await ensemble.wait_serving()
        await _write(ensemble, "/a")
        await ensemble.stop()
        for peer in peers:
            ensemble.peers[peer].disk = MemoryDisk()
            if told:
                ensemble.safety.wiped(peer)
        await ensemble.start()
        await ensemble.wait_serving()


async def test_all_disks_are_new_and_a_client_was_told(autojump_clock: MockClock) -> None:
    assert await _broken(partial(_new_disks, 1, 2, 3, told=True)) == "what was answered outlives every leader"


async def test_one_disk_is_new(autojump_clock: MockClock) -> None:
    """As long as a quorum has everything that is in order, if the checker is told; otherwise it is a lost promise."""
    await _new_disks(1, told=True)
    assert await _broken(partial(_new_disks, 1, told=False)) == "epochs never decrease"
