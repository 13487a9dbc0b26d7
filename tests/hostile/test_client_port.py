"""Clients that hold to no protocol, against the server's own sockets: nobody else notices them."""

import random
import socket
import struct

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.hostile.kit import (
    CLOSE,
    PING,
    AsyncRaw,
    Server,
    connect_frame,
    create,
    exists,
    get_data,
    quorum,
    request,
    running,
    running_as,
    set_data,
    standalone,
)
from tests.kit.processes import free_ports
from trioquorum.events import ClientFrameRefused, ClientRefused
from trioquorum.server.sockets import SocketClient
from trioquorum.transport import Address
from trioquorum.wire.client import frame
from trioquorum.wire.records import ConnectRequest

GARBAGE = {
    "HTTP": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "telnet": b"\xff\xf4\xff\xfd\x06",
    "negative length": b"\x80\x00\x00\x00",
    "one byte too many": struct.pack(">i", 0x100000) + bytes(64),
    "empty frame": struct.pack(">i", 0),
    "Java object": bytes.fromhex("aced0005"),
    "random": random.Random(1).randbytes(100_000),
}

BAD_CONNECTS = {
    "empty": b"",
    "one byte": b"\0",
    "password longer than the frame": connect_frame()[4:28] + struct.pack(">i", 1000) + bytes(16),
    "password of a negative length": connect_frame()[4:28] + struct.pack(">i", -7),
    "password of two gigabytes": connect_frame()[4:28] + struct.pack(">i", 2**31 - 1),
    "a request instead": exists(1)[4:],
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_instead_of_a_handshake(name: str) -> None:
    async with running() as server:
        client = await server.stranger()
        await client.send(GARBAGE[name])
        assert await client.rest() == b""
        await (await server.client()).assert_alive()
        assert await server.figure("num_alive_connections") == 2  # the healthy client, and who asks


@pytest.mark.parametrize("name", BAD_CONNECTS)
async def test_bad_connect_requests(name: str) -> None:
    async with running() as server:
        client = await server.stranger()
        await client.send(frame(BAD_CONNECTS[name]))
        assert await client.rest() == b""
        assert await server.figure("global_sessions") == 0
        assert server.reasons() != []


async def test_a_client_of_old_that_sends_no_read_only_flag_gets_none() -> None:
    """Neither with a session nor when it is refused (ZOOKEEPER-4814)."""
    async with running() as server:
        client = await server.stranger()
        await client.send(frame(ConnectRequest(0, 0, 5000, 0, bytes(16)).encode()))
        answer = await client.frame()
        assert answer is not None
        assert len(answer) == 36
        await client.assert_alive()
        client = await server.stranger()
        await client.send(frame(ConnectRequest(0, 0, 5000, 7, bytes(16)).encode()))
        assert await client.frame() == bytes(16) + (16).to_bytes(4, "big") + bytes(16)
        assert await client.rest() == b""


@pytest.mark.parametrize("asked", [True, False])
async def test_the_kernel_keeps_connections_alive_where_asked_to(asked: bool) -> None:
    async with running_as(standalone(client_keep_alive=asked, client_listen_backlog=5)) as server:
        client = await server.client()
        [connection] = await server.connections()
        assert isinstance(connection, SocketClient)
        assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == asked
        await client.assert_alive()


async def test_timeouts_and_unknown_sessions_are_negotiated() -> None:
    async with running() as server:
        for asked in (-(2**31), 0, 2**31 - 1):
            client = await server.stranger()
            await client.send(connect_frame(asked))
            answer = await client.frame()
            assert answer is not None
            assert struct.unpack_from(">i", answer, 4)[0] == (4000 if asked <= 0 else 40_000)
        for session in (1, -1, 2**63 - 1, -(2**63)):
            client = await server.stranger()
            await client.send(connect_frame(session=session))
            answer = await client.frame()
            assert answer is not None
            assert struct.unpack_from(">iiq", answer) == (0, 0, 0)
            assert await client.rest() == b""


async def test_a_client_from_the_future_is_sent_away() -> None:
    async with running() as server:
        client = await server.stranger()
        await client.send(connect_frame(seen=2**62))
        assert await client.rest() == b""


async def test_a_conversation_cut_at_every_byte() -> None:
    conversation = connect_frame() + create(1, "/cut", b"x") + exists(2, "/cut") + PING + CLOSE
    async with running(connections_per_ip_max=0) as server:
        for at in range(len(conversation)):
            client = await server.stranger()
            await client.send(conversation[:at])
            await client.stream.aclose()
        healthy = await server.client()
        await healthy.assert_alive()
        assert await server.figure("num_alive_connections") == 2
        assert await server.figure("outstanding_requests") == 0


async def test_a_conversation_in_every_two_pieces() -> None:
    """However the stream is cut, the replies are the same."""
    conversation = connect_frame() + exists(1) + b"".join((PING, exists(2, "/none"), CLOSE))
    async with running(connections_per_ip_max=0) as server:
        for at in range(1, len(conversation)):
            client = await server.stranger()
            await client.send(conversation[:at])
            await trio.testing.wait_all_tasks_blocked()
            await client.send(conversation[at:])
            assert await client.frame()
            assert await client.replies() == [(1, 0), (-2, 0), (2, -101), (1, 0)]
        assert await server.figure("global_sessions") == 0


async def test_what_came_before_a_forbidden_length_is_served() -> None:
    async with running() as server:
        client = await server.client()
        await client.send(exists(1) + exists(2, "/none") + b"\xff\xff\xff\xff" + exists(3))
        assert await client.replies() == [(1, 0), (2, -101)]
        cut = [event for event in server.seen if isinstance(event, ClientFrameRefused)]
        assert [(it.session, it.size_bytes, it.limit_bytes) for it in cut] == [(client.session, -1, 1048575)]
        assert await server.figure("frames_refused") == 1


async def test_a_forbidden_length_behind_writes() -> None:
    """The writes are done; who breaks the protocol behind them may not hear of it."""
    async with running() as server:
        client = await server.client()
        await client.send(create(1, "/before") + b"\x7f\xff\xff\xff")
        assert await client.replies() in ([], [(1, 0)])
        other = await server.client()
        await other.send(exists(1, "/before"))
        assert await other.reply() == (1, 0)


async def test_nothing_behind_close_session_is_done() -> None:
    async with running() as server:
        client = await server.client()
        await client.send(create(1, "/a") + request(2, -11) + exists(3) + create(4, "/b") + PING + request(5, 999))
        assert await client.replies() == [(1, 0), (2, 0), (3, -112), (4, -112), (-2, -112), (5, -112)]
        other = await server.client()
        await other.send(exists(1, "/a") + exists(2, "/b"))
        assert [await other.reply(), await other.reply()] == [(1, 0), (2, -101)]
        assert await server.figure("outstanding_requests") == 0


async def test_unknown_opcodes_end_the_connection_in_their_turn() -> None:
    async with running() as server:
        client = await server.client()
        await client.send(create(1, "/first") + request(2, 77) + create(3, "/last"))
        assert await client.replies() == [(1, 0), (2, -6)]
        assert await server.figure("outstanding_requests") == 0


@pytest.mark.parametrize("op", [3, 4, 6, 8, 12, 22, 101, 103, 104, 105, 106, 17, 18, 1, 2, 5, 7, 14, 15, 19, 21])
async def test_a_body_that_does_not_decode_costs_no_connection(op: int) -> None:
    async with running() as server:
        client = await server.client()
        await client.send(request(1, op, b"\x00\x00\x00\xff/cut"))
        assert await client.reply() == (1, -5)
        await client.assert_alive()


async def test_who_never_asks_for_a_session_is_sent_away(mock_clock: MockClock) -> None:
    """Sending a byte now and then does not buy time; a client with a session stays."""
    mock_clock.rate = 40
    async with running() as server:
        silent, dripping, client = await server.stranger(), await server.stranger(), await server.stranger()
        await client.handshake(connect_frame(40_000))
        began = trio.current_time()
        for byte in connect_frame()[:12]:
            await dripping.send(bytes((byte,)))
            await trio.sleep(1)
        assert await silent.rest() == await dripping.rest() == b""
        assert 10 <= trio.current_time() - began < 30
        await client.assert_alive()


async def test_a_connection_that_its_session_left_is_closed_when_it_was_silent_long_enough(
    mock_clock: MockClock,
) -> None:
    """It may be half-open for ever; its session lives on another peer, so nothing else ends it (client-protocol §1)."""
    mock_clock.rate = 1
    async with quorum(client_sessionless_ms=1000) as ensemble:
        mock_clock.rate = 0
        first, second = (ensemble.peers[sid] for sid in ensemble.followers)
        left = await first.stranger()
        await left.handshake(connect_frame(4000))
        staying = await first.client()
        taking = await second.stranger()
        await taking.handshake(connect_frame(4000, left.session, left.password))
        assert taking.session == left.session
        waited_s = 0
        while waited_s < 12:
            waited_s += 1
            mock_clock.jump(1.0)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await taking.assert_alive()
            await staying.assert_alive()
            if "was silent for the timeout of its session" in first.reasons():
                break
        assert 4 <= waited_s <= 6
        assert await left.rest() == b""


async def test_a_server_that_stood_still_cuts_nobody(mock_clock: MockClock) -> None:
    """It heard of nobody, but who knows what waits in its sockets."""
    async with running() as server:
        client = await server.client()
        for _ in range(3):
            mock_clock.jump(60)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await client.assert_alive()
        assert server.reasons() == []


async def test_one_address_gets_so_many_connections() -> None:
    async with running(connections_per_ip_max=4) as server:
        clients = [await server.client() for _ in range(4)]
        late = await server.stranger()
        await late.send(connect_frame())
        assert await late.rest() == b""
        assert server.reasons() == ["too many connections"]
        await clients[0].stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        await (await server.client()).assert_alive()
        for client in clients[1:]:
            await client.assert_alive()


async def test_a_port_takes_so_many_connections() -> None:
    async with running(connections_max=3, connections_per_ip_max=0) as server:
        clients = [await server.client() for _ in range(3)]
        late = await server.stranger()
        assert await late.rest() == b""
        for client in clients:
            await client.assert_alive()


@pytest.mark.parametrize("limit", ["connections_per_ip_max", "connections_max"])
async def test_limits_count_the_connections_of_all_ports(limit: str) -> None:
    addresses = [Address("tcp", "127.0.0.1", port) for port in free_ports(2)]
    async with running(None, *addresses, **{limit: 3}) as server:
        first, second = server.ports
        clients = [await server.client(port) for port in (first, second, second)]
        for port in (first, second):
            late = await server.stranger(port)
            assert await late.rest() == b""
        assert server.reasons() == ["too many connections"] * 2
        await clients[1].stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        await (await server.client(first)).assert_alive()


async def test_resets_at_any_time_leave_nothing() -> None:
    chance = random.Random(5)
    conversation = connect_frame() + b"".join(create(i, f"/r{i}") for i in range(20)) + exists(30) * 10
    async with running(connections_per_ip_max=0) as server:
        for _ in range(100):
            client = await server.stranger()
            await client.send(conversation[: chance.randrange(len(conversation))])
            if chance.random() < 0.5:
                await trio.testing.wait_all_tasks_blocked()
            client.stream.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER 0: RST
            await client.stream.aclose()
        await (await server.client()).assert_alive()
        assert await server.figure("num_alive_connections") <= 2
        assert await server.figure("outstanding_requests") == 0


async def megabyte(server: Server) -> AsyncRaw:
    client = await server.client()
    await client.send(create(1, "/big") + set_data(2, "/big", bytes(1_000_000)))
    assert [await client.reply(), await client.reply()] == [(1, 0), (2, 0)]
    return client


async def test_a_slow_reader_stops_being_read() -> None:
    """Its replies wait up to the limit and a reply more; it loses nothing, and others are served meanwhile."""
    limit = 4 << 20
    async with running(client_outbox_bytes_max=limit) as server:
        client = await megabyte(server)
        slow = await server.stranger(receive_buffer=1 << 16)
        await slow.handshake()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow.send, b"".join(get_data(xid, "/big") for xid in range(100)))
            await trio.testing.wait_all_tasks_blocked(0.05)
            sent = await server.figure("packets_sent")
            assert sent < 40, "requests are answered only while there is room"
            for _ in range(5):
                await client.assert_alive()
            assert [await slow.reply() for _ in range(100)] == [(xid, 0) for xid in range(100)]
        await slow.assert_alive()


async def test_who_cannot_even_take_its_events_is_cut() -> None:
    async with running(client_outbox_bytes_max=1 << 16, client_outbox_bytes_cut=1 << 20) as server:
        client = await server.client()
        await client.send(create(1, "/noisy"))
        assert await client.reply() == (1, 0)
        deaf = await server.stranger(receive_buffer=4096)
        await deaf.handshake()
        # A persistent recursive watch: every change below is an event, without asking again.
        path = "/noisy/" + "x" * 4000
        await deaf.send(request(1, 106, struct.pack(">i", 6) + b"/noisy" + struct.pack(">i", 1)))
        assert await deaf.reply() == (1, 0)
        for number in range(2000):
            await client.send(
                create(2 * number, path)
                + request(2 * number + 1, 2, struct.pack(">i", len(path)) + path.encode() + struct.pack(">i", -1))
            )
            assert [await client.reply(), await client.reply()] == [(2 * number, 0), (2 * number + 1, 0)]
            if server.reasons():
                break
        assert server.reasons() == ["does not read its replies"]
        await client.assert_alive()
        assert await server.figure("watch_count") == 0


async def test_ten_thousand_requests_of_a_client_that_reads_later() -> None:
    async with running(client_outbox_bytes_max=1 << 16) as server:
        eager = await server.client()
        other = await server.client()
        count = 10_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(eager.send, b"".join(exists(xid) for xid in range(count)))
            await other.assert_alive()
            assert [await eager.reply() for _ in range(count)] == [(xid, 0) for xid in range(count)]
        assert [event for event in server.seen if isinstance(event, ClientRefused)] == []


async def test_ten_thousand_writes_of_a_client_that_reads_later() -> None:
    """More than may be under way at once: what is above waits in the socket, and all are answered in order."""
    async with running() as server:
        eager = await server.client()
        other = await server.client()
        await eager.send(create(0, "/n"))
        assert await eager.reply() == (0, 0)
        count = 10_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(eager.send, b"".join(set_data(xid, "/n", b"v") for xid in range(1, count + 1)))
            await other.assert_alive()
            assert [await eager.reply() for _ in range(count)] == [(xid, 0) for xid in range(1, count + 1)]
        assert await server.figure("outstanding_requests") == 0
