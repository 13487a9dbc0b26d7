"""Sessions in virtual time: when exactly they expire, and what keeps them alive."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock

from tests.hostile.kit import PING
from tests.regressions.kit import Raw, session
from tests.sim.kit import assert_all_equal, events_of
from trioquorum.client import State, WatchEvent
from trioquorum.errors import Code, RequestFailed
from trioquorum.events import Established, SessionClosed, SessionExpired
from trioquorum.testing import MemoryEnsemble, dial_over, open_ensemble
from trioquorum.transport import Address
from trioquorum.wire.client import frame
from trioquorum.wire.framing import FrameSplitter
from trioquorum.wire.ops import EventType
from trioquorum.wire.records import ConnectRequest, ConnectResponse
from trioquorum_transports.memory import MemoryNetwork

TICK_MS = 2000
PING_MS = TICK_MS // 2
TIMEOUT_MS = 10_000


@asynccontextmanager
async def silent_session(ensemble: MemoryEnsemble, peer: int) -> AsyncIterator[int]:
    """A session of a client that says nothing more, but stays connected; its id."""
    address = Address("memory", f"peer{peer}", 2181)
    stream = await dial_over(ensemble.network.transport("client"), address)()
    await stream.send(frame(ConnectRequest(0, 0, TIMEOUT_MS, 0, bytes(16)).encode()))
    frames: list[bytes] = []
    splitter = FrameSplitter(1 << 20)
    while not frames:
        frames = splitter.feed(await stream.receive())
    response, _ = ConnectResponse.decode_from(frames[0], 0)
    assert response.timeout_ms == TIMEOUT_MS
    yield response.session
    with pytest.raises(anyio.EndOfStream):
        await stream.receive()  # The server closes with the session.
    await stream.aclose()


@pytest.mark.parametrize("timeout_ms", [4000, 10_000])
async def test_a_connection_that_its_session_left_is_closed_when_silent(
    timeout_ms: int, autojump_clock: MockClock
) -> None:
    """At the end of the ten seconds in which the timeout ran out; who speaks, or is a new connection, stays."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        await ensemble.wait_serving()
        left = await Raw.dial(ensemble, 1)
        await left.ask_session(timeout_ms=timeout_ms)
        await left.session_granted()
        heard_s = trio.current_time()
        async with session(ensemble, 2, again=left, timeout_ms=timeout_ms) as taking:
            assert taking.session == left.session
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ping, taking)
                left.PATIENCE_S = 40.0
                assert await left.receive() is None
                closed_s = trio.current_time()
                await trio.sleep(30)
                nursery.cancel_scope.cancel()
        assert closed_s == pytest.approx(((heard_s + timeout_ms / 1000) // 10 + 1) * 10)
        assert events_of(ensemble, SessionExpired) == []


async def ping(client: Raw) -> None:
    while True:
        await client.send(PING)
        assert (await client.reply()).err == 0
        await trio.sleep(1)


def in_ms(time_s: float) -> int:
    return round(time_s * 1000)


@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.95, 1.2, 1.95])
async def test_a_silent_session_expires_at_its_tick(after_s: float, autojump_clock: MockClock) -> None:
    """Its deadline is the next multiple of the tick behind timeout; the leader looks every tick since it leads.

    It was last heard of by the answers to the ping behind its creation: learners report a new session once.
    """
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        await trio.sleep(after_s)
        heard_ms = in_ms(trio.current_time())
        led_since_ms = in_ms(events_of(ensemble, Established, leader)[-1].time_s)
        async with silent_session(ensemble, leader) as session:
            await ensemble.wait_until(lambda: bool(events_of(ensemble, SessionExpired)))
        pinged_ms = led_since_ms + ((heard_ms - led_since_ms) // PING_MS + 1) * PING_MS
        deadline_ms = ((pinged_ms + TIMEOUT_MS) // TICK_MS + 1) * TICK_MS
        ticks = -(-(deadline_ms - led_since_ms) // TICK_MS)
        (expired,) = events_of(ensemble, SessionExpired)
        assert expired.event.session == session
        assert in_ms(expired.time_s) == led_since_ms + ticks * TICK_MS
        assert 0 < in_ms(expired.time_s) - heard_ms - TIMEOUT_MS <= PING_MS + 2 * TICK_MS
        await trio.sleep(1)
        assert {it.peer for it in events_of(ensemble, SessionClosed)} == {1, 2, 3}


async def test_a_silent_session_of_a_follower_expires_within_half_a_tick_more(autojump_clock: MockClock) -> None:
    """The leader hears of a touch with the answer to its next ping, every half tick."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        await trio.sleep(0.4)
        heard_ms = in_ms(trio.current_time())
        async with silent_session(ensemble, leader % 3 + 1):
            await ensemble.wait_until(lambda: bool(events_of(ensemble, SessionExpired)))
        expired_ms = in_ms(events_of(ensemble, SessionExpired)[0].time_s)
        assert heard_ms + TIMEOUT_MS < expired_ms <= heard_ms + TIMEOUT_MS + PING_MS + 2 * TICK_MS


async def test_pings_keep_sessions_alive_everywhere(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), observers=1) as ensemble:
        await ensemble.wait_serving()
        async with (
            ensemble.client(1, session_timeout_ms=4000) as first,
            ensemble.client(2, session_timeout_ms=4000) as second,
            ensemble.client(3, session_timeout_ms=4000) as third,
            ensemble.client(4, session_timeout_ms=4000) as fourth,
        ):
            await trio.sleep(300)
            for client in (first, second, third, fourth):
                await client.create(f"/{client.session}", ephemeral=True)
            assert events_of(ensemble, SessionExpired) == []


async def test_an_unreachable_client_loses_session_and_ephemerals(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_ensemble(network) as ensemble:
        await ensemble.wait_serving()
        states: list[State] = []
        told: list[Any] = []

        def tell(event: WatchEvent) -> None:
            told.append((event.type, event.path, trio.current_time()))

        async with (
            ensemble.client(node="here", on_state=states.append) as lost,
            ensemble.client(node="there") as other,
        ):
            await lost.create("/lock", ephemeral=True)
            await other.exists("/lock", watch=tell)
            cut_at = trio.current_time()
            for peer in ensemble.peers:
                network.cut("here", f"peer{peer}")
            await trio.sleep(20)
            ((kind, path, at),) = told
            assert (kind, path) == (EventType.NODE_DELETED, "/lock")
            # Last heard of by a ping a third of the timeout before the cut at the latest.
            assert TIMEOUT_MS * 2 / 3 / 1000 < at - cut_at < (TIMEOUT_MS + PING_MS + 2 * TICK_MS) / 1000
            ensemble.heal()
            with pytest.raises(RequestFailed) as refused:
                await lost.exists("/lock")
            assert refused.value.code == Code.SESSIONEXPIRED
            assert states[-1] is State.EXPIRED
        await assert_all_equal(ensemble)


async def test_a_new_leader_gives_every_session_its_full_timeout(autojump_clock: MockClock) -> None:
    """It has heard of nobody yet; and a session whose client is gone ends under it all the same."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        other = leader % 3 + 1
        async with ensemble.client(other, node="gone") as client:
            await client.create("/mine", ephemeral=True)
            await trio.sleep(60)
            ensemble.network.node_down("gone")
            for peer in ensemble.peers:
                ensemble.network.cut("gone", f"peer{peer}")
            await trio.sleep(5)
            await ensemble.crash(leader)
            await ensemble.wait_serving()
            led_since = events_of(ensemble, Established)[-1].time_s
            await ensemble.wait_until(lambda: bool(events_of(ensemble, SessionExpired)))
            expired = events_of(ensemble, SessionExpired)[0]
            assert expired.event.session == client.session
            assert TIMEOUT_MS < in_ms(expired.time_s) - in_ms(led_since) <= TIMEOUT_MS + 2 * TICK_MS
            await trio.sleep(1)
            assert all("/mine" not in ensemble.peers[peer].database.tree.nodes for peer in ensemble.running())


async def test_the_server_grants_timeouts_between_two_and_twenty_ticks(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork()) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client(session_timeout_ms=1) as hasty, ensemble.client(session_timeout_ms=10**6) as lazy:
            assert (hasty.session_timeout_ms, lazy.session_timeout_ms) == (2 * TICK_MS, 20 * TICK_MS)


async def test_session_ids_are_given_once(autojump_clock: MockClock) -> None:
    """Also by peers that crashed and came back in the same moment."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        sessions: list[int] = []
        for _ in range(4):
            await ensemble.wait_serving()
            for peer in ensemble.peers:
                async with ensemble.client(peer) as first, ensemble.client(peer) as second:
                    sessions += [first.session, second.session]
            await ensemble.crash()
            await ensemble.start()
        assert len(set(sessions)) == 24
