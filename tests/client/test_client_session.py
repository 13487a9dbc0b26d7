"""The client on both backends against a scripted server, in virtual time."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.client.kit import (
    BACKENDS,
    PASSWORD,
    SESSION,
    Conversation,
    Server,
    play,
    reply_frame,
    run,
    stat,
)
from trioquorum.client import Client, State, WatchEvent, connect, connect_tcp
from trioquorum.client.client import parse_hosts
from trioquorum.client.session import CLOSE_TIMEOUT_MS, REQUESTS_INFLIGHT_MAX
from trioquorum.errors import Code, ConfigError, ConnectFailed, LocalProtocolError, RequestFailed
from trioquorum.wire.client import event_frame
from trioquorum.wire.ops import EventType, Op
from trioquorum.wire.records import (
    DataResponse,
    PathResponse,
    PathWatchRequest,
    SetDataRequest,
    SetWatches,
    StatResponse,
)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def failing(call: Any) -> Code:
    """The code an awaited call fails with."""
    with pytest.raises(RequestFailed) as failed:
        await call
    return failed.value.code


async def answer_get(conversation: Conversation, data: bytes, zxid: int = 1) -> None:
    xid, _ = await conversation.expect(Op.GET_DATA)
    await conversation.reply(xid, DataResponse(data, stat()), zxid=zxid)


def test_the_session_is_kept_over_a_reconnect(backend: str) -> None:
    states: list[State] = []
    events: list[WatchEvent] = []

    async def serve(server: Server) -> None:
        first = await server.accept()
        asked = await first.welcome()
        assert (asked.session, asked.password, asked.timeout_ms) == (0, bytes(16), 12_000)
        await answer_get(first, b"old", zxid=5)
        await first.drop()
        second = await server.accept()
        asked = await second.welcome()
        assert (asked.session, asked.password, asked.last_zxid_seen) == (SESSION, PASSWORD, 5)
        _, body = await second.expect(Op.SET_WATCHES)
        assert SetWatches.decode(body) == SetWatches(5, ["/a"], [], [])
        await second.event(EventType.NODE_DATA_CHANGED, "/a")
        await second.reply(-8, zxid=6)
        await answer_get(second, b"new", zxid=6)
        await second.close_session()

    async def use(server: Server) -> None:
        async with connect(server.dial, session_timeout_ms=12_000, on_state=states.append) as client:
            assert client.session_timeout_ms == 9_000
            assert await client.get("/a", events.append) == (b"old", stat())
            while len(states) < 3:
                await anyio.sleep(0.01)
            assert await client.get("/a") == (b"new", stat())
            assert events == [WatchEvent(EventType.NODE_DATA_CHANGED, "/a")]
            assert client.session == SESSION

    play(backend, serve, use)
    assert states == [State.CONNECTED, State.CONNECTING, State.CONNECTED, State.CLOSED]


def test_a_lost_connection_fails_what_was_on_its_way(backend: str) -> None:
    codes: list[Code] = []

    async def serve(server: Server) -> None:
        first = await server.accept()
        await first.welcome()
        await first.expect(Op.SET_DATA)
        await first.expect(Op.SET_DATA)
        await first.drop()
        second = await server.accept()
        await second.welcome()
        await answer_get(second, b"x")
        await second.close_session()

    async def use(server: Server) -> None:
        async def fail(client: Client) -> None:
            codes.append(await failing(client.set("/a", b"1")))

        async with connect(server.dial) as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail, client)
                tasks.start_soon(fail, client)
            assert codes == [Code.CONNECTIONLOSS] * 2
            # The next call waits for the next connection.
            assert (await client.get("/a"))[0] == b"x"

    play(backend, serve, use)


def test_an_expired_session_ends_every_call(backend: str) -> None:
    events: list[WatchEvent] = []

    async def serve(server: Server) -> None:
        first = await server.accept()
        await first.welcome()
        await answer_get(first, b"")
        await first.drop()
        await (await server.accept()).welcome(timeout_ms=0, session=0)

    async def use(server: Server) -> None:
        states: list[State] = []
        async with connect(server.dial, on_state=states.append) as client:
            await client.get("/a", events.append)
            assert await failing(client.get("/a")) in (Code.CONNECTIONLOSS, Code.SESSIONEXPIRED)
            for _ in range(2):
                assert await failing(client.get("/a")) is Code.SESSIONEXPIRED
            assert client.state is State.EXPIRED
        assert states[-1] is State.EXPIRED
        assert len(server.dialled) == 2

    play(backend, serve, use)
    assert events == [WatchEvent(None, "/a")]


def test_events_and_replies_are_seen_in_the_order_sent(backend: str) -> None:
    """All of it arrives at once: the read's reply, its event, the next reads' replies."""
    seen: list[str] = []

    async def serve(server: Server) -> None:
        conversation = await server.accept()
        await conversation.welcome()
        xids = [(await conversation.expect(Op.GET_DATA))[0] for _ in range(8)]
        replies = [reply_frame(xid, DataResponse(b"", stat())) for xid in xids]
        replies.insert(
            4, event_frame(EventType.NODE_DATA_CHANGED, "/2", -1) + event_frame(EventType.NODE_DELETED, "/0", -1)
        )
        await conversation.send(b"".join(replies))
        await conversation.close_session()

    async def use(server: Server) -> None:
        async def get(client: Client, i: int) -> None:
            await client.get(f"/{i}", lambda event: seen.append(f"event {event.path}"))
            seen.append(f"reply {i}")

        async with connect(server.dial) as client, anyio.create_task_group() as tasks:
            for i in range(8):
                tasks.start_soon(get, client, i)
                await anyio.sleep(0.001)  # the tasks call in this order

    play(backend, serve, use)
    assert sorted(seen[:4]) == [f"reply {i}" for i in range(4)]
    assert seen[4:6] == ["event /2", "event /0"]
    assert sorted(seen[6:]) == [f"reply {i}" for i in range(4, 8)]


def test_an_idle_client_pings_every_third_of_its_timeout(backend: str) -> None:
    times: list[float] = []

    async def serve(server: Server) -> None:
        conversation = await server.accept()
        await conversation.welcome(timeout_ms=9_000)
        for _ in range(4):
            xid, _ = await conversation.expect(Op.PING)
            times.append(round(anyio.current_time() - server.dialled[0], 2))
            await conversation.reply(xid)
        await conversation.close_session()

    async def use(server: Server) -> None:
        async with connect(server.dial):
            await anyio.sleep(13)

    play(backend, serve, use)
    assert times == [3, 6, 9, 12]


def test_a_busy_client_does_not_ping(backend: str) -> None:
    async def serve(server: Server) -> None:
        conversation = await server.accept()
        await conversation.welcome(timeout_ms=9_000)
        for _ in range(10):
            frame = await conversation.frame()
            xid = int.from_bytes(frame[4:8], "big", signed=True)
            assert xid > 0
            await conversation.reply(xid, DataResponse(b"", stat()))
        await conversation.close_session()

    async def use(server: Server) -> None:
        async with connect(server.dial) as client:
            for _ in range(10):
                await anyio.sleep(2)
                await client.get("/a")

    play(backend, serve, use)


def test_a_silent_server_is_left_for_the_next(backend: str) -> None:
    async def serve(silent: Server) -> None:
        conversation = await silent.accept()
        await conversation.welcome(timeout_ms=9_000)
        await conversation.expect(Op.GET_DATA)

    async def use(silent: Server) -> None:
        other = Server()

        async def serve_other() -> None:
            conversation = await other.accept()
            assert (await conversation.welcome()).session == SESSION
            await answer_get(conversation, b"here")
            await conversation.close_session()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve_other)
            async with connect(silent.dial, other.dial) as client:
                assert await failing(client.get("/a")) is Code.CONNECTIONLOSS
                assert await client.get("/a") == (b"here", stat())
        assert round(other.dialled[0] - silent.dialled[0], 2) == 6
        await other.aclose()

    play(backend, serve, use)


def test_a_request_ends_in_time_and_its_late_reply_is_taken(backend: str) -> None:
    async def serve(server: Server) -> None:
        conversation = await server.accept()
        await conversation.welcome(timeout_ms=9_000)
        first, _ = await conversation.expect(Op.GET_DATA)
        await anyio.sleep(2)
        await conversation.reply(first, DataResponse(b"late", stat()))
        await answer_get(conversation, b"in time")
        await conversation.close_session()

    async def use(server: Server) -> None:
        async with connect(server.dial, request_timeout_ms=1_500) as client:
            began = anyio.current_time()
            assert await failing(client.get("/a")) is Code.REQUESTTIMEOUT
            assert round(anyio.current_time() - began, 2) == 1.5
            assert (await client.get("/a"))[0] == b"in time"

    play(backend, serve, use)


def test_without_any_server_a_call_ends_in_time(backend: str) -> None:
    async def serve(server: Server) -> None:
        conversation = await server.accept()
        await conversation.welcome()
        server.down = True
        await conversation.drop()

    async def use(server: Server) -> None:
        async with connect(server.dial, request_timeout_ms=20_000) as client:
            while client.state is State.CONNECTED:
                await anyio.sleep(0.01)
            began = anyio.current_time()
            assert await failing(client.get("/a")) is Code.CONNECTIONLOSS
            assert round(anyio.current_time() - began, 2) == 20
        gaps = [round(b - a, 2) for a, b in zip(server.dialled, server.dialled[1:], strict=False)]
        assert gaps[1:6] == [0.1, 0.2, 0.4, 0.8, 1.0]
        assert set(gaps[6:]) == {1.0}

    play(backend, serve, use)


def test_connecting_to_nobody_fails_in_time_and_says_why(backend: str) -> None:
    async def use(server: Server) -> None:
        server.down = True
        with pytest.raises(ConnectFailed, match=r"no session within 3 s; last try: ConnectFailed down"):
            async with connect(server.dial, server.dial, connect_timeout_ms=3_000):
                pytest.fail("there is no session")
        assert server.dialled[-1] <= 3

    async def serve(server: Server) -> None:
        await anyio.lowlevel.checkpoint()

    play(backend, serve, use)


def test_a_server_that_does_not_answer_the_handshake_is_left(backend: str) -> None:
    async def serve(server: Server) -> None:
        mute = await server.accept()
        await mute.frame()
        conversation = await server.accept()
        await conversation.welcome()
        await conversation.close_session()

    async def use(server: Server) -> None:
        async with connect(server.dial, server.dial, session_timeout_ms=8_000):
            assert round(server.dialled[1] - server.dialled[0], 2) == 4

    play(backend, serve, use)


def test_cancelling_a_call_harms_no_other(backend: str) -> None:
    events: list[WatchEvent] = []

    async def serve(server: Server) -> None:
        conversation = await server.accept()
        await conversation.welcome()
        cancelled, _ = await conversation.expect(Op.GET_DATA)
        kept, _ = await conversation.expect(Op.GET_DATA)
        await conversation.reply(cancelled, DataResponse(b"cancelled", stat()))
        await conversation.reply(kept, DataResponse(b"kept", stat()))
        await conversation.event(EventType.NODE_DELETED, "/a")
        await conversation.close_session()

    async def use(server: Server) -> None:
        async with connect(server.dial) as client:
            with anyio.move_on_after(0.5) as scope:
                await client.get("/a", events.append)
            assert scope.cancelled_caught
            assert (await client.get("/a"))[0] == b"kept"

    play(backend, serve, use)
    assert events == []


def test_cancelling_the_block_still_closes_the_session(backend: str) -> None:
    closed: list[int] = []

    async def serve(server: Server) -> None:
        conversation = await server.accept()
        await conversation.welcome()
        await conversation.close_session()
        closed.append(1)

    async def use(server: Server) -> None:
        with anyio.move_on_after(1) as scope:
            async with connect(server.dial):
                await anyio.sleep_forever()
        assert scope.cancelled_caught

    play(backend, serve, use)
    assert closed == [1]


def test_closing_ends_even_if_the_server_says_nothing(backend: str) -> None:
    async def serve(server: Server) -> None:
        conversation = await server.accept()
        await conversation.welcome()
        await conversation.expect(Op.CLOSE_SESSION)

    async def use(server: Server) -> None:
        async with connect(server.dial) as client:
            began = anyio.current_time()
            await client.close()
            assert round(anyio.current_time() - began, 2) == CLOSE_TIMEOUT_MS / 1000
            assert client.state is State.CLOSED
            assert await failing(client.get("/a")) is Code.SESSIONEXPIRED
            await client.close()

    play(backend, serve, use)


def test_errors_leave_the_block_bare(backend: str) -> None:
    async def serve(server: Server) -> None:
        for _ in range(2):
            conversation = await server.accept()
            await conversation.welcome()
            await conversation.expect(Op.EXISTS)
            await conversation.send(
                reply_frame(1, StatResponse(stat())) + event_frame(EventType.NODE_DELETED, "/a", -1)
            )
        await conversation.close_session()

    async def use(server: Server) -> None:
        def boom(event: WatchEvent) -> None:
            raise ZeroDivisionError(event.path)

        async def watcher_fails() -> None:
            async with connect(server.dial) as client:
                await client.exists("/a", boom)
                await anyio.sleep_forever()

        async def body_fails() -> None:
            async with connect(server.dial) as client:
                await client.exists("/a")
                raise KeyError("mine")

        with pytest.raises(ZeroDivisionError, match="/a"):
            await watcher_fails()
        with pytest.raises(KeyError, match="mine"):
            await body_fails()

    play(backend, serve, use)


def test_calls_beyond_the_limit_wait_for_room(backend: str) -> None:
    extra = 5
    total = REQUESTS_INFLIGHT_MAX + extra

    async def serve(server: Server) -> None:
        conversation = await server.accept()
        await conversation.welcome()
        xids = [(await conversation.expect(Op.SYNC))[0] for _ in range(REQUESTS_INFLIGHT_MAX)]
        with anyio.move_on_after(1) as scope:
            await conversation.expect(Op.SYNC)
        assert scope.cancelled_caught
        await conversation.send(b"".join(reply_frame(xid, PathResponse("/")) for xid in xids))
        for _ in range(extra):
            xid, _ = await conversation.expect(Op.SYNC)
            await conversation.reply(xid, PathResponse("/"))
        await conversation.close_session()

    async def use(server: Server) -> None:
        async with connect(server.dial) as client:
            async with anyio.create_task_group() as tasks:
                for _ in range(total):
                    tasks.start_soon(client.sync)
            # Every place was given back, also by those who never got to send.
            assert client._session._room.value == REQUESTS_INFLIGHT_MAX

    play(backend, serve, use)


def test_calls_that_wait_for_room_wait_for_the_next_connection_too(backend: str) -> None:
    async def serve(server: Server) -> None:
        first = await server.accept()
        await first.welcome()
        for _ in range(REQUESTS_INFLIGHT_MAX):
            await first.expect(Op.SYNC)
        await anyio.sleep(1)
        await first.drop()
        second = await server.accept()
        await second.welcome()
        xid, _ = await second.expect(Op.SYNC)
        await second.reply(xid, PathResponse("/"))
        await second.close_session()

    async def use(server: Server) -> None:
        lost: list[Code] = []

        async def lose(client: Client) -> None:
            lost.append(await failing(client.sync()))

        async with connect(server.dial) as client, anyio.create_task_group() as tasks:
            for _ in range(REQUESTS_INFLIGHT_MAX):
                tasks.start_soon(lose, client)
            await anyio.sleep(0.5)
            await client.sync()
        assert lost == [Code.CONNECTIONLOSS] * REQUESTS_INFLIGHT_MAX

    play(backend, serve, use)


def test_a_connection_that_lived_is_replaced_at_once(backend: str) -> None:
    lives_s = 5
    dropped: list[float] = []

    async def serve(server: Server) -> None:
        for _ in range(3):
            conversation = await server.accept()
            await conversation.welcome(timeout_ms=40_000)
            await anyio.sleep(lives_s)
            dropped.append(anyio.current_time())
            await conversation.drop()
        conversation = await server.accept()
        await conversation.welcome()
        await conversation.close_session()

    async def use(server: Server) -> None:
        async with connect(server.dial):
            await anyio.sleep(lives_s * 3 + 0.04)
        assert [round(at, 2) for at in server.dialled[1:]] == [round(at, 2) for at in dropped]

    play(backend, serve, use)


def test_places_are_given_back_however_a_request_ends(backend: str) -> None:
    async def serve(server: Server) -> None:
        conversation = await server.accept()
        await conversation.welcome()
        await conversation.expect(Op.GET_DATA)
        await conversation.expect(Op.GET_DATA)
        await conversation.drop()
        conversation = await server.accept()
        await conversation.welcome()
        await conversation.close_session()

    async def use(server: Server) -> None:
        async with connect(server.dial, request_timeout_ms=2_000) as client:
            with pytest.raises(LocalProtocolError):
                await client.set("/a", bytes(1 << 20))
            with anyio.move_on_after(1):
                await client.get("/cancelled")
            assert await failing(client.get("/lost")) is Code.CONNECTIONLOSS
            assert client._session._room.value == REQUESTS_INFLIGHT_MAX
            while client.state is not State.CONNECTED:
                await anyio.sleep(0.01)

    play(backend, serve, use)


def test_calls_send_what_they_say(backend: str) -> None:
    async def serve(server: Server) -> None:
        conversation = await server.accept()
        await conversation.welcome()
        xid, body = await conversation.expect(Op.EXISTS)
        assert PathWatchRequest.decode(body) == PathWatchRequest("/none", True)
        await conversation.reply(xid, err=Code.NONODE)
        await conversation.event(EventType.NODE_CREATED, "/none")
        xid, body = await conversation.expect(Op.SET_DATA)
        assert SetDataRequest.decode(body) == SetDataRequest("/none", None, 3)
        await conversation.reply(xid, StatResponse(stat(4)))
        xid, _ = await conversation.expect(Op.SYNC)
        await conversation.reply(xid, PathResponse("/"))
        xid, _ = await conversation.expect(Op.DELETE)
        await conversation.reply(xid, err=Code.NOTEMPTY)
        xid, _ = await conversation.expect(Op.EXISTS)
        await conversation.reply(xid, err=Code.NOAUTH)
        await conversation.close_session()

    async def use(server: Server) -> None:
        created: list[WatchEvent] = []
        async with connect(server.dial) as client:
            assert await client.exists("/none", created.append) is None
            assert (await client.set("/none", None, 3)).version == 4
            assert created == [WatchEvent(EventType.NODE_CREATED, "/none")]
            await client.sync()
            assert await failing(client.delete("/none")) is Code.NOTEMPTY
            assert await failing(client.exists("/none")) is Code.NOAUTH

    play(backend, serve, use)


def test_it_talks_tcp(backend: str) -> None:
    async def handle(stream: anyio.abc.SocketStream) -> None:
        conversation = Conversation(stream)
        await conversation.welcome()
        await answer_get(conversation, b"tcp")
        await conversation.close_session()
        await stream.aclose()

    async def main() -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listener.serve, handle)
                async with connect_tcp(f"127.0.0.1:{port}") as client:
                    assert await client.get("/a") == (b"tcp", stat())
                tasks.cancel_scope.cancel()

    anyio.run(main, backend=backend)


def test_connect_strings() -> None:
    assert parse_hosts("a:1, b ,[::1]:7,[::2],10.0.0.1") == [
        ("a", 1),
        ("b", 2181),
        ("::1", 7),
        ("::2", 2181),
        ("10.0.0.1", 2181),
    ]


@pytest.mark.parametrize("hosts", ["", "a,,b", "::1", "a:b", "a:1/chroot", ":1"])
def test_bad_connect_strings_are_named(hosts: str) -> None:
    with pytest.raises(ConfigError, match="write it like"):
        parse_hosts(hosts)


def test_no_server_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="no server"):
            async with connect():
                pytest.fail("connected to nobody")

    run("trio", main)
