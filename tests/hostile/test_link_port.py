"""Clients on a transport's links, which carry chunks of bounded size and have no kernel buffer to drop things in."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.hostile.kit import (
    PING,
    REPLY,
    Server,
    connect_frame,
    create,
    exists,
    get_data,
    request,
    running,
    set_data,
    text,
)
from trioquorum.errors import LinkClosed
from trioquorum.limits import Limits
from trioquorum.server.links import ip_of
from trioquorum.transport import Address, Link, Transports
from trioquorum.wire.framing import FrameSplitter
from trioquorum.wire.ops import Op
from trioquorum_transports.memory import MemoryNetwork
from trioquorum_transports.websocket import WebSocketTransport

CHUNK = Limits().client_frame_bytes_max
ADDRESS = Address("memory", "server")


class LinkPeer:
    """A client on a link; what arrives is kept until a reply is whole."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._frames = FrameSplitter(64 << 20)
        self._arrived: list[bytes] = []

    async def frame(self) -> bytes | None:
        """The next frame's payload, None when the link is gone."""
        while not self._arrived:
            try:
                chunk = await self.link.receive()
            except LinkClosed:
                return None
            self._arrived = self._frames.feed(chunk)
        return self._arrived.pop(0)

    async def reply(self) -> tuple[int, int] | None:
        """xid and error of the next reply."""
        payload = await self.frame()
        if payload is None:
            return None
        xid, _, err = REPLY.unpack_from(payload)
        return xid, err


class Net:
    def __init__(self, network: MemoryNetwork, server: Server) -> None:
        self.network = network
        self.server = server
        self._count = 0

    async def stranger(self) -> LinkPeer:
        self._count += 1
        transport = self.network.transport(f"c{self._count}")
        return LinkPeer(await transport.connect(ADDRESS, frame_bytes_max=CHUNK))

    async def client(self) -> LinkPeer:
        client = await self.stranger()
        await client.link.send(connect_frame())
        assert await client.frame()
        return client


@asynccontextmanager
async def net(**limits: int) -> AsyncIterator[Net]:
    network = MemoryNetwork()
    transports = Transports(memory=network.transport("server"))
    async with running(transports, ADDRESS, **limits) as server:
        yield Net(network, server)


async def test_replies_larger_than_a_chunk_arrive_in_several() -> None:
    async with net() as around:
        client = await around.client()
        await client.link.send(create(1, "/big"))
        await client.link.send(set_data(2, "/big", bytes(CHUNK - 100)))
        await client.link.send(b"".join(get_data(xid, "/big") for xid in range(3, 8)))
        assert [await client.reply() for _ in range(7)] == [(xid, 0) for xid in range(1, 8)]


async def test_a_slow_reader_is_answered_as_it_reads() -> None:
    async with net(client_outbox_bytes_max=1 << 20) as around:
        client, other = await around.client(), await around.client()
        await client.link.send(create(1, "/big"))
        await client.link.send(set_data(2, "/big", bytes(500_000)))
        await client.link.send(b"".join(get_data(xid, "/big") for xid in range(3, 60)))
        await trio.testing.wait_all_tasks_blocked()
        await other.link.send(PING)
        assert await other.reply() == (-2, 0)
        assert [await client.reply() for _ in range(59)] == [(xid, 0) for xid in range(1, 60)]


async def deaf_watcher(around: Net, writer: LinkPeer) -> LinkPeer:
    deaf = await around.client()
    await writer.link.send(create(1, "/noisy"))
    assert await writer.reply() == (1, 0)
    await deaf.link.send(request(1, 106, text("/noisy") + struct.pack(">i", 1)))
    assert await deaf.reply() == (1, 0)
    return deaf


async def make_noise(around: Net, writer: LinkPeer, rounds: int) -> None:
    """Events of 4 KB for every watcher of /noisy."""
    path = "/noisy/" + "x" * 4000
    delete = request(3, 2, text(path) + struct.pack(">i", -1))
    for _ in range(rounds):
        await writer.link.send(create(2, path) + delete)
        assert [await writer.reply(), await writer.reply()] == [(2, 0), (3, 0)]


async def test_who_cannot_even_take_its_events_is_cut() -> None:
    async with net(client_outbox_bytes_max=1 << 20, client_outbox_bytes_cut=4 << 20) as around:
        writer = await around.client()
        deaf = await deaf_watcher(around, writer)
        await make_noise(around, writer, 1500)  # 12 MB of events
        while await deaf.frame() is not None:
            pass
        assert around.server.reasons() == ["does not read its replies"]


async def test_a_session_that_ends_takes_a_deaf_connection_with_it(autojump_clock: MockClock) -> None:
    """Its last replies cannot leave; that must not keep the link for ever."""
    async with net() as around:
        writer = await around.client()
        deaf = await deaf_watcher(around, writer)
        await make_noise(around, writer, 400)
        await trio.sleep(20)  # the sessions expire
        with pytest.raises(LinkClosed):
            await deaf.link.send(exists(2))


async def test_who_never_asks_for_a_session_is_sent_away(autojump_clock: MockClock) -> None:
    async with net() as around:
        silent, dripping = await around.stranger(), await around.stranger()
        began = trio.current_time()
        closed = False
        for byte in connect_frame():
            try:
                await dripping.link.send(bytes((byte,)))
            except LinkClosed:
                closed = True
                break
            await trio.sleep(1)
        assert closed
        assert await silent.frame() is None
        assert 10 <= trio.current_time() - began < 12


async def test_a_port_takes_so_many_connections() -> None:
    async with net(connections_max=2) as around:
        clients = [await around.client() for _ in range(2)]
        late = await around.stranger()
        assert await late.frame() is None
        assert around.server.reasons() == ["too many connections"]
        await clients[0].link.aclose()
        await trio.testing.wait_all_tasks_blocked()
        await around.client()


async def test_clients_over_websocket_count_and_are_known_by_their_address() -> None:
    """Together with those of the plain port."""
    websocket = WebSocketTransport()
    ports = (Address("tcp", "127.0.0.1"), Address("ws", "127.0.0.1"))
    async with running(Transports(ws=websocket), *ports, connections_per_ip_max=3) as server:
        at = Address("ws", "127.0.0.1", server.ports[1])
        peers = [LinkPeer(await websocket.connect(at, frame_bytes_max=CHUNK)) for _ in range(2)]
        for peer in peers:
            await peer.link.send(connect_frame())
            assert await peer.frame()
        plain = await server.client()
        late = await websocket.connect(at, frame_bytes_max=CHUNK)
        assert await LinkPeer(late).frame() is None
        refused = await server.stranger()
        assert await refused.rest() == b""
        assert server.reasons() == ["too many connections"] * 2
        await peers[0].link.send(request(1, Op.WHO_AM_I))
        assert text("ip") + text("127.0.0.1") in (await peers[0].frame() or b"")
        await plain.assert_alive()
        for link in (*(peer.link for peer in peers), late):
            await link.aclose()


@pytest.mark.parametrize(
    ("remote", "ip"),
    [("ws://10.1.2.3:4", "10.1.2.3"), ("wss://[::1]:5", "::1"), ("memory://client", ""), ("ws://host:6", ""), ("", "")],
)
def test_the_address_in_the_name_of_a_link(remote: str, ip: str) -> None:
    assert ip_of(remote) == ip
