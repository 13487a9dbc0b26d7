"""A peer that lost its ensemble lets those read who asked for it (client-protocol §19; upstream 63)."""

import pytest
import trio
from trio.testing import MockClock

from tests.hostile.kit import request, text
from tests.regressions.kit import Raw
from tests.sim.kit import assert_all_equal, events_of
from trioquorum.client import State, WatchEvent
from trioquorum.config import Settings
from trioquorum.errors import Code, ConnectFailed, RequestFailed
from trioquorum.events import Event, ReadOnlyBegan, StateChanged
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum.wire.client import frame
from trioquorum.wire.ops import EventType, Op
from trioquorum.wire.records import ConnectRequest
from trioquorum_transports.memory import MemoryNetwork

TICK_S = 3.0
ENABLED = Settings(read_only_enabled=True, tick_time_ms=3000)


async def lose_the_others(ensemble: MemoryEnsemble) -> int:
    """Crash all but one follower; returns it when it serves read-only."""
    leader = await ensemble.wait_serving()
    survivor = next(peer for peer in ensemble.peers if peer != leader)
    await ensemble.crash(*(peer for peer in ensemble.peers if peer != survivor))
    await ensemble.wait_until(lambda: bool(events_of(ensemble, ReadOnlyBegan, survivor)))
    return survivor


async def connected(states: list[State]) -> None:
    """Wait until the client has a server with a leader."""
    with trio.fail_after(90):
        while states[-1] is not State.CONNECTED:
            await trio.sleep(0.1)


async def isro(ensemble: MemoryEnsemble, peer: int) -> bytes | None:
    client = await Raw.dial(ensemble, peer)
    await client.send(b"isro")
    answer = await client.receive()
    await client.aclose()
    return answer


async def test_reads_and_watches_but_no_writes(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), settings=ENABLED) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client() as client:
            await client.create("/a", b"old")
        survivor = await lose_the_others(ensemble)
        changes = events_of(ensemble, StateChanged, survivor)
        looking_since = next(it.time_s for it in changes[::-1] if it.event.new == "looking")
        assert trio.current_time() - looking_since == pytest.approx(TICK_S)
        assert await isro(ensemble, survivor) == b"ro"
        before = ensemble.peers[survivor].database.tree.digest
        states: list[State] = []
        fired: list[WatchEvent] = []
        async with ensemble.client(read_only=True, on_state=states.append) as client:
            assert client.state is State.CONNECTED_READ_ONLY
            assert (await client.get("/a", fired.append))[0] == b"old"
            assert sorted(await client.get_children("/")) == ["a", "zookeeper"]
            for write in (
                client.create("/b"),
                client.create("/b", ephemeral=True),
                client.set("/a", b"new"),
                client.delete("/a"),
                client.sync(),
                client.set_acl("/a", []),
                client.transaction().check("/a", 0).commit(),
            ):
                with pytest.raises(RequestFailed) as refused:
                    await write
                assert refused.value.code is Code.NOTREADONLY
            tree = ensemble.peers[survivor].database.tree
            assert (tree.digest, client.session in tree.sessions) == (before, False)
            alone = client.session

            await ensemble.start(*(peer for peer in ensemble.peers if peer != survivor))
            await ensemble.wait_serving()
            await connected(states)
            assert states == [State.CONNECTED_READ_ONLY, State.CONNECTING, State.CONNECTED]
            assert client.session != alone
            await client.set("/a", b"new")
            assert [event.type for event in fired] == [EventType.NODE_DATA_CHANGED]
            assert await isro(ensemble, survivor) == b"rw"
        tree = await assert_all_equal(ensemble)
        assert alone not in tree.sessions


async def test_who_asks_for_more_is_not_let_in(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), settings=ENABLED) as ensemble:
        survivor = await lose_the_others(ensemble)
        with pytest.raises(ConnectFailed):
            async with ensemble.client(connect_timeout_ms=5000):
                pass
        client = await Raw.dial(ensemble, survivor)
        await client.send(frame(ConnectRequest(0, 0, 5000, 0, bytes(16)).encode()))  # without the readOnly byte
        assert await client.receive() is None


async def test_a_session_of_the_ensemble_waits_for_it(autojump_clock: MockClock) -> None:
    """It must not be told that it is over, nor be renewed by who cannot know (§19)."""
    async with open_ensemble(MemoryNetwork(), settings=ENABLED) as ensemble:
        await ensemble.wait_serving()
        states: list[State] = []
        async with ensemble.client(read_only=True, session_timeout_ms=60_000, on_state=states.append) as client:
            await client.create("/mine", ephemeral=True)
            session = client.session
            survivor = await lose_the_others(ensemble)
            await trio.sleep(20)
            await ensemble.start(*(peer for peer in ensemble.peers if peer != survivor))
            await connected(states)
            assert client.session == session
            assert await client.exists("/mine") is not None
        assert State.CONNECTED_READ_ONLY not in states
        assert State.EXPIRED not in states


async def test_a_client_leaves_for_a_server_with_a_leader(autojump_clock: MockClock) -> None:
    """It asks the others, though its own server goes on: that one is cut off from the rest."""
    async with open_ensemble(MemoryNetwork(), settings=ENABLED) as ensemble:
        leader = await ensemble.wait_serving()
        alone = next(peer for peer in ensemble.peers if peer != leader)
        rest = [peer for peer in ensemble.peers if peer != alone]
        ensemble.network.cut("client", f"peer{rest[0]}")
        ensemble.network.cut("client", f"peer{rest[1]}")
        ensemble.partition([alone], rest)
        await ensemble.wait_until(lambda: bool(events_of(ensemble, ReadOnlyBegan, alone)))
        states: list[State] = []
        async with ensemble.client(read_only=True, connect_timeout_ms=60_000, on_state=states.append) as client:
            assert client.state is State.CONNECTED_READ_ONLY
            await trio.sleep(30)
            assert states == [State.CONNECTED_READ_ONLY]
            ensemble.heal()
            ensemble.partition([alone], rest)
            await connected(states)
            await client.create("/a")
            assert not ensemble.peers[alone].established


async def test_a_silent_session_ends_and_one_that_comes_back_goes_on(autojump_clock: MockClock) -> None:
    def hello(session: int = 0, password: bytes = bytes(16)) -> bytes:
        return frame(ConnectRequest(0, 0, 9000, session, password).encode() + b"\1")

    async with open_ensemble(MemoryNetwork(), settings=ENABLED) as ensemble:
        survivor = await lose_the_others(ensemble)
        first = await Raw.dial(ensemble, survivor)
        await first.send(hello())
        await first.session_granted()
        second = await Raw.dial(ensemble, survivor)
        await second.send(hello(first.session, first.password))
        await second.session_granted()
        assert second.session == first.session
        assert await first.receive() is None
        await second.send(request(1, Op.GET_CHILDREN, text("/") + b"\0"))
        assert (await second.reply()).err == 0
        assert await second.receive() is None  # after its timeout
        third = await Raw.dial(ensemble, survivor)
        await third.send(hello(first.session, first.password))
        assert await third.receive() is None
        # Who says goodbye is answered.
        fourth = await Raw.dial(ensemble, survivor)
        await fourth.send(hello())
        await fourth.session_granted()
        await fourth.send(request(1, Op.CLOSE_SESSION, b""))
        assert (await fourth.reply()).err == 0
        assert await fourth.receive() is None


async def test_it_is_off_unless_asked_for(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        survivor = next(peer for peer in ensemble.peers if peer != leader)
        await ensemble.crash(*(peer for peer in ensemble.peers if peer != survivor))
        await trio.sleep(60)
        assert await isro(ensemble, survivor) == b"null"
        with pytest.raises(ConnectFailed):
            async with ensemble.client(read_only=True, connect_timeout_ms=5000):
                pass


async def test_nobody_reads_while_a_leader_changes_the_tree(autojump_clock: MockClock) -> None:
    """Read-only connections are gone before the next role begins."""
    async with open_ensemble(MemoryNetwork(), settings=ENABLED) as ensemble:
        survivor = await lose_the_others(ensemble)
        async with ensemble.client(survivor, read_only=True) as client:
            seen: list[State] = []

            def look(peer: int, event: Event) -> None:
                if peer == survivor and isinstance(event, StateChanged) and event.new in ("leading", "following"):
                    seen.append(client.state)
                    watches = ensemble.peers[survivor].database.tree.watches
                    assert watches.data.watches() == 0

            await client.exists("/a", lambda event: None)
            ensemble.subscribe(look)
            await ensemble.start(*(peer for peer in ensemble.peers if peer != survivor))
            await ensemble.wait_serving()
            assert seen
