"""Ports for learners: taken by somebody else, or taken up by other learners."""

import trio
from trio.testing import MockClock

from trioquorum.limits import Limits
from trioquorum.testing import open_ensemble
from trioquorum.testing.peer import Life
from trioquorum_transports.memory import MemoryNetwork


async def test_a_port_that_is_still_taken_is_waited_for(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_ensemble(network, peers=1, start=False) as ensemble:
        quorum, *_ = ensemble.addresses(1)
        holder = await network.transport("peer1").listen(quorum, frame_bytes_max=100)
        await ensemble.start(1)
        await trio.sleep(5)
        assert ensemble.leader() is None
        await holder.aclose()
        await ensemble.wait_serving()


async def test_a_port_that_stays_taken_is_an_error(autojump_clock: MockClock) -> None:
    errors: list[Exception] = []

    def failed(life: Life, error: Exception) -> bool:
        errors.append(error)
        life.peer.end()
        return True

    network = MemoryNetwork()
    async with open_ensemble(network, peers=1, start=False, failed=failed) as ensemble:
        quorum, *_ = ensemble.addresses(1)
        holder = await network.transport("peer1").listen(quorum, frame_bytes_max=100)
        await ensemble.start(1)
        await ensemble.wait_down(1)
        await holder.aclose()
    [error] = errors
    while isinstance(error, ExceptionGroup):
        [error] = error.exceptions
    assert isinstance(error, OSError)
    assert error.filename == str(quorum)


async def test_a_port_full_of_learners_takes_no_more(autojump_clock: MockClock) -> None:
    """Who has said who it is does not make room; the place is free when its link ends."""
    async with open_ensemble(MemoryNetwork(), limits=Limits(handshake_links_max=1)) as ensemble:
        await trio.sleep(60)
        serving = [peer.id for peer in ensemble.peers.values() if peer.established is not None]
        leader = ensemble.leader()
        assert leader in serving
        assert len(serving) == 2
        await ensemble.crash(*(peer for peer in serving if peer != leader))
        await ensemble.wait_serving()
