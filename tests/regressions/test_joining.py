"""A peer was deaf to clients from the end of its election until it served.

While a new leader and its learners agree on an epoch and share the history, which slow disks can make long, nobody
accepted at their client ports: probes that ask ``ruok`` gave the peer up, and clients waited instead of moving on.
"""

import trio
from trio.testing import MockClock

from tests.regressions.kit import Raw, others, slow_disks
from trioquorum.testing import open_ensemble
from trioquorum_transports.memory import MemoryNetwork


async def test_who_joins_answers_probes_and_refuses_clients_at_once(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork()) as ensemble:
        first = await ensemble.wait_serving()
        joining = others(ensemble, first)
        slow_disks(ensemble, 9.0, joining[0])
        await ensemble.crash(first)
        await trio.sleep(2)
        assert {ensemble.peers[peer].state for peer in joining} == {"leading", "following"}
        assert not any(ensemble.peers[peer].established for peer in joining)
        for peer in joining:
            asked_at = trio.current_time()
            probe = await Raw.dial(ensemble, peer)
            await probe.send(b"ruok")
            assert await probe.receive() == b"imok"
            await probe.aclose()
            client = await Raw.dial(ensemble, peer)
            await client.ask_session()
            assert await client.receive() is None
            await client.aclose()
            assert trio.current_time() - asked_at < 0.1
        assert not any(ensemble.peers[peer].established for peer in joining)
        await ensemble.wait_serving()
        slow_disks(ensemble, 0.0)
        client = await Raw.dial(ensemble, joining[0])
        await client.ask_session()
        await client.session_granted()
        await client.aclose()
