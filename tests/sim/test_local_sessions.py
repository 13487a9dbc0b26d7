"""Sessions that only their peer knows, and how the first ephemeral makes one everybody's (§17.9; upstream 43, 44)."""

import pytest
import trio
from trio.testing import MockClock

from tests.hostile.kit import create, exists, request, set_data
from tests.regressions.kit import Raw, others, session, slow_disks
from tests.sim.kit import assert_all_equal, events_of
from trioquorum.client import State, WatchEvent
from trioquorum.config import Settings
from trioquorum.errors import Code, ConnectFailed, RequestFailed, TransactionFailed
from trioquorum.events import Established, LocalSessionChanged, SessionCreated, SessionExpired
from trioquorum.limits import Limits
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.ops import EventType, Op
from trioquorum_transports.memory import MemoryNetwork

LOCAL = Settings(local_sessions=True)
UPGRADING = Settings(local_sessions=True, local_sessions_upgrading=True)
KINDS = ["leader", "follower", "observer"]
TIMEOUT_MS = 8000


def a_peer(ensemble: MemoryEnsemble, kind: str) -> int:
    leader = ensemble.leader()
    assert leader is not None
    return {"leader": leader, "follower": leader % 3 + 1, "observer": 4}[kind]


def tree(ensemble: MemoryEnsemble, peer: int) -> DataTree:
    return ensemble.peers[peer].database.tree


def changes(ensemble: MemoryEnsemble, peer: int) -> list[str]:
    return [it.event.what for it in events_of(ensemble, LocalSessionChanged, peer)]


async def figure(ensemble: MemoryEnsemble, peer: int, name: str) -> int:
    """A number of ``mntr``."""
    asks = await Raw.dial(ensemble, peer)
    await asks.send(b"mntr")
    lines = (await asks.receive() or b"").decode().splitlines()
    await asks.aclose()
    return int(next(line for line in lines if line.startswith(f"zk_{name}\t")).split("\t")[1])


@pytest.mark.parametrize("kind", KINDS)
async def test_everything_but_ephemerals_without_a_transaction_for_the_session(
    kind: str, autojump_clock: MockClock
) -> None:
    async with open_ensemble(MemoryNetwork(), observers=1, settings=LOCAL) as ensemble:
        await ensemble.wait_serving()
        peer = a_peer(ensemble, kind)
        zxid = tree(ensemble, peer).last_zxid
        fired: list[WatchEvent] = []
        async with ensemble.client(peer) as client:
            assert tree(ensemble, peer).last_zxid == zxid
            assert await figure(ensemble, peer, "local_sessions") == 1
            await client.create("/a", b"1")
            await client.get("/a", fired.append)
            await client.set("/a", b"2")
            await client.transaction().check("/a", 1).create("/b").set("/a", b"3").commit()
            await client.sync()
            await client.delete("/b")
            assert [event.type for event in fired] == [EventType.NODE_DATA_CHANGED]
            assert sorted(await client.get_children("/")) == ["a", "zookeeper"]
            own = client.session
        assert changes(ensemble, peer) == ["began", "closed"]
        final = await assert_all_equal(ensemble)
        assert events_of(ensemble, SessionCreated) == []
        assert final.sessions == {}
        assert own >> 56 == peer


@pytest.mark.parametrize("kind", KINDS)
async def test_ephemerals_are_refused(kind: str, autojump_clock: MockClock) -> None:
    """Also as part of a multi, in place and order of ZooKeeper's checks; the session goes on."""
    async with open_ensemble(MemoryNetwork(), observers=1, settings=LOCAL) as ensemble:
        await ensemble.wait_serving()
        async with ensemble.client(a_peer(ensemble, kind)) as client:
            for attempt in (
                client.create("/e", ephemeral=True),
                client.create("/e", ephemeral=True, sequence=True),
                client.create2("/e", ephemeral=True),
            ):
                with pytest.raises(RequestFailed) as refused:
                    await attempt
                assert refused.value.code is Code.EPHEMERALONLOCALSESSION
            with pytest.raises(TransactionFailed) as failed:
                await client.transaction().create("/a").create("/e", ephemeral=True).create("/b").commit()
            assert failed.value.codes == [Code.OK, Code.EPHEMERALONLOCALSESSION, Code.RUNTIMEINCONSISTENCY]
            await client.create("/a")
        assert (await assert_all_equal(ensemble)).ephemerals == {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["create", "create2", "multi"])
async def test_the_first_ephemeral_upgrades(kind: str, way: str, autojump_clock: MockClock) -> None:
    """Once; then the session is any other: it moves, and its end takes the ephemerals with it."""
    async with open_ensemble(MemoryNetwork(), observers=1, settings=UPGRADING) as ensemble:
        await ensemble.wait_serving()
        peer = a_peer(ensemble, kind)
        async with ensemble.client(peer) as client:
            own = client.session
            await client.create("/a")
            assert changes(ensemble, peer) == ["began"]
            if way == "create":
                await client.create("/e", ephemeral=True)
            elif way == "create2":
                await client.create2("/e", ephemeral=True)
            else:
                await client.transaction().set("/a", b"x").create("/e", ephemeral=True).commit()
            await client.create("/f", ephemeral=True)
            assert changes(ensemble, peer) == ["began", "upgraded"]
            assert await figure(ensemble, peer, "local_sessions") == 0
            stat = await client.exists("/e")
            assert stat is not None
            assert stat.ephemeral_owner == own
            assert set(tree(ensemble, peer).sessions) == {own}
            await trio.sleep(60)
            assert client.state is State.CONNECTED
        final = await assert_all_equal(ensemble)
        assert (final.ephemerals, final.sessions) == ({}, {})
        assert len(events_of(ensemble, SessionCreated, peer)) == 1
        assert events_of(ensemble, SessionExpired) == []


async def test_at_an_observer_that_a_follower_feeds(autojump_clock: MockClock) -> None:
    """Whose session it is travels through the follower as well."""
    network, masters = MemoryNetwork(), (1, 2, 3)
    async with open_ensemble(network, observers=1, observer_masters=masters, settings=UPGRADING) as ensemble:
        leader = await ensemble.wait_serving()
        fed_by = events_of(ensemble, Established, 4)[-1].event.master
        assert fed_by != leader
        async with session(ensemble, 4) as first, session(ensemble, 4, again=first) as client:
            await client.send(create(1, "/n"), create_ephemeral(2, "/e"), create(3, "/m"), exists(4, "/e"))
            assert [(await client.reply()).err for _ in range(4)] == [0, 0, 0, 0]
            assert changes(ensemble, 4) == ["began", "upgraded"]
            async with session(ensemble, leader, again=client) as moved:
                assert moved.session == client.session
                await moved.send(request(5, Op.CLOSE_SESSION))
                assert (await moved.reply()).err == 0
        assert (await assert_all_equal(ensemble)).ephemerals == {}


@pytest.mark.parametrize("upgraded", [True, False])
@pytest.mark.parametrize("kind", KINDS)
async def test_who_is_silent_is_expired_by_its_peer_or_by_the_leader(
    kind: str, upgraded: bool, autojump_clock: MockClock
) -> None:
    async with open_ensemble(MemoryNetwork(), observers=1, settings=UPGRADING) as ensemble:
        await ensemble.wait_serving()
        peer = a_peer(ensemble, kind)
        async with session(ensemble, peer, timeout_ms=TIMEOUT_MS) as client:
            await client.send(create_ephemeral(1, "/e") if upgraded else create(1, "/n"))
            assert (await client.reply()).err == 0
            began = trio.current_time()
            assert await client.receive() is None
            assert TIMEOUT_MS / 1000 <= trio.current_time() - began <= TIMEOUT_MS / 1000 + 5
        # The connection may be closed for its silence a moment before its session ends.
        await trio.sleep(5)
        assert changes(ensemble, peer) == ["began", "upgraded" if upgraded else "expired"]
        assert len(events_of(ensemble, SessionExpired)) == upgraded
        assert (await assert_all_equal(ensemble)).ephemerals == {}


def create_ephemeral(xid: int, path: str) -> bytes:
    return create(xid, path)[:-4] + (1).to_bytes(4, "big")


async def test_pings_keep_a_local_session(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), settings=LOCAL) as ensemble:
        leader = await ensemble.wait_serving()
        for peer in (leader, others(ensemble, leader)[0]):
            async with ensemble.client(peer, session_timeout_ms=TIMEOUT_MS) as client:
                await trio.sleep(10 * TIMEOUT_MS / 1000)
                assert client.state is State.CONNECTED
            assert changes(ensemble, peer) == ["began", "closed"]


async def test_it_comes_back_to_its_peer_and_to_no_other(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), settings=LOCAL) as ensemble:
        leader = await ensemble.wait_serving()
        follower, other = others(ensemble, leader)
        for home, stranger in ((follower, other), (follower, leader), (leader, follower)):
            async with session(ensemble, home) as first:
                async with session(ensemble, home, again=first) as second:
                    assert second.session == first.session
                    assert await first.receive() is None
                    await second.send(exists(1))
                    assert (await second.reply()).err == 0
                elsewhere = await Raw.dial(ensemble, stranger)
                await elsewhere.ask_session(first)
                with pytest.raises(AssertionError, match="refused"):
                    await elsewhere.session_granted()
                assert await elsewhere.receive() is None


@pytest.mark.parametrize("kind", KINDS)
async def test_an_earlier_connections_write_answers_nothing(kind: str, autojump_clock: MockClock) -> None:
    """Its xid may be used again by the connection that took the session over."""
    async with open_ensemble(MemoryNetwork(), observers=1, settings=LOCAL) as ensemble:
        await ensemble.wait_serving()
        peer = a_peer(ensemble, kind)
        async with session(ensemble, peer) as first:
            await first.send(create(1, "/n"))
            await first.reply()
            slow_disks(ensemble, 1.0)
            await first.send(set_data(7, "/n", b"first"))
            await trio.sleep(0.1)
            async with session(ensemble, peer, again=first) as second:
                await second.send(set_data(7, "/n", b"second"))
                answer = await second.reply()
                assert (answer.xid, answer.err) == (7, 0)
                # The version in the stat: the second change of data.
                assert int.from_bytes(answer.body[32:36], "big") == 2


async def test_a_goodbye_waits_for_the_writes_in_front(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), settings=LOCAL) as ensemble:
        leader = await ensemble.wait_serving()
        for peer in ensemble.peers:
            async with session(ensemble, peer) as client:
                await client.send(
                    create(1, f"/{peer}"), exists(2), request(3, Op.CLOSE_SESSION), exists(4), create(5, "/x")
                )
                answers = [await client.reply() for _ in range(4)]
                assert [(it.xid, it.err) for it in answers] == [(1, 0), (2, 0), (3, 0), (4, Code.SESSIONEXPIRED)]
        assert leader in ensemble.peers
        assert sorted((await assert_all_equal(ensemble)).nodes)[1:4] == ["/1", "/2", "/3"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_upgrade_and_a_goodbye_at_once(kind: str, autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), observers=1, settings=UPGRADING) as ensemble:
        await ensemble.wait_serving()
        peer = a_peer(ensemble, kind)
        async with session(ensemble, peer) as client:
            await client.send(create_ephemeral(1, "/e"), create_ephemeral(2, "/f"), request(3, Op.CLOSE_SESSION))
            assert [(await client.reply()).err for _ in range(3)] == [0, 0, 0]
        assert changes(ensemble, peer) == ["began", "upgraded"]
        final = await assert_all_equal(ensemble)
        assert (final.ephemerals, final.sessions) == ({}, {})
        assert len(events_of(ensemble, SessionCreated, peer)) == 1


async def test_a_session_moves_while_it_becomes_everybodys(autojump_clock: MockClock) -> None:
    """It comes back to its peer before the upgrade is committed: asked for, and with the fence of the leader.

    Each transaction has a commit of its own, so what the earlier connection asked for comes behind the session. The
    leader speaks late: the session is committed here while it is asked about.
    """
    network, limits = MemoryNetwork(), Limits(log_batch_bytes_max=1)
    async with open_ensemble(network, settings=UPGRADING, limits=limits) as ensemble:
        leader = await ensemble.wait_serving()
        peer = others(ensemble, leader)[0]
        async with session(ensemble, peer) as first:
            slow_disks(ensemble, 1.0)
            network.delay_one_way(f"peer{leader}", f"peer{peer}", 0.8)
            await first.send(create_ephemeral(1, "/e"))
            await ensemble.wait_until(lambda: bool(events_of(ensemble, SessionCreated, leader)))
            assert first.session not in tree(ensemble, peer).sessions
            async with session(ensemble, peer, again=first) as second:
                assert second.session == first.session
                assert "/e" not in tree(ensemble, peer).nodes
                await second.send(create(1, "/n"))
                answer = await second.reply()
                assert (answer.xid, answer.err, answer.body[4:]) == (1, 0, b"/n")


async def test_it_ends_with_the_role_that_granted_it(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), settings=UPGRADING) as ensemble:
        leader = await ensemble.wait_serving()
        peer = others(ensemble, leader)[0]
        states: list[State] = []
        async with ensemble.client(peer, on_state=states.append) as local, ensemble.client(peer) as upgraded:
            await upgraded.create("/e", ephemeral=True)
            session_id = upgraded.session
            await ensemble.crash(leader)
            await ensemble.wait_serving(*others(ensemble, leader))
            with trio.fail_after(60):
                while State.EXPIRED not in states:
                    await trio.sleep(0.1)
            assert await upgraded.exists("/e") is not None
            assert upgraded.session == session_id
            assert local.state is State.EXPIRED
            await ensemble.start(leader)
            await ensemble.wait_serving()


async def test_a_standalone_server_has_none_and_it_is_off_by_default(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork()) as ensemble:
        await ensemble.wait_serving()
        for peer in ensemble.peers:
            async with ensemble.client(peer) as client:
                assert client.session in tree(ensemble, peer).sessions


async def test_read_only_sessions_are_no_concern_of_the_setting(autojump_clock: MockClock) -> None:
    """A peer without a leader grants its own sessions; what would be an upgrade is refused like every write."""
    settings = Settings(local_sessions=True, local_sessions_upgrading=True, read_only_enabled=True)
    async with open_ensemble(MemoryNetwork(), settings=settings) as ensemble:
        leader = await ensemble.wait_serving()
        peer = others(ensemble, leader)[0]
        await ensemble.crash(*others(ensemble, peer))
        await trio.sleep(20)
        with pytest.raises(ConnectFailed):
            async with ensemble.client(peer, connect_timeout_ms=5000):
                pass
        async with ensemble.client(peer, read_only=True) as client:
            for attempt in (client.create("/e", ephemeral=True), client.create("/e")):
                with pytest.raises(RequestFailed) as refused:
                    await attempt
                assert refused.value.code is Code.NOTREADONLY
        assert changes(ensemble, peer) == ["began", "closed"]
        await ensemble.start(*others(ensemble, peer))
        await ensemble.wait_serving()
