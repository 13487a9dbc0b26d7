"""A server in this process behind real sockets, and clients that hold to no protocol."""

import gc
import resource
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, Self, TypeVar

import trio
import trio.testing

from trioquorum.config import PeerSpec, ServerConfig
from trioquorum.events import ClientRefused, Established, Event, Events, StateChanged
from trioquorum.limits import Limits
from trioquorum.peer.run import Surroundings, serve
from trioquorum.server.connection import Connection
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.transport import Address, Link, Transports
from trioquorum.wire.client import frame
from trioquorum.wire.records import ConnectRequest
from trioquorum_transports.memory import MemoryNetwork

E = TypeVar("E", bound=Event)

PATIENCE_S = 10.0
PORTS = {"quorum": 1, "election": 2}

REPLY = struct.Struct(">iqi")
OPEN_ACL = bytes.fromhex("000000010000001f00000005776f726c6400000006616e796f6e65")


def connect_frame(timeout_ms: int = 5000, session: int = 0, password: bytes = bytes(16), seen: int = 0) -> bytes:
    return frame(ConnectRequest(0, seen, timeout_ms, session, password).encode() + b"\0")


def request(xid: int, op: int, body: bytes = b"") -> bytes:
    return frame(struct.pack(">ii", xid, op) + body)


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">i", len(data)) + data


def buffer(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def create(xid: int, path: str, data: bytes = b"") -> bytes:
    return request(xid, 1, text(path) + buffer(data) + OPEN_ACL + struct.pack(">i", 0))


def set_data(xid: int, path: str, data: bytes) -> bytes:
    return request(xid, 5, text(path) + buffer(data) + struct.pack(">i", -1))


def exists(xid: int, path: str = "/", *, watch: bool = False) -> bytes:
    return request(xid, 3, text(path) + bytes((watch,)))


def get_data(xid: int, path: str) -> bytes:
    return request(xid, 4, text(path) + b"\0")


PING = request(-2, 11)
CLOSE = request(1, -11)


class Raw:
    """A blocking socket with a deadline on everything."""

    def __init__(self, port: int, *, receive_buffer: int = 0) -> None:
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(("127.0.0.1", port))
        self.session = 0
        self.password = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> Self:
        self.sock.sendall(data)
        return self

    def handshake(self, data: bytes | None = None) -> Self:
        """Open a session."""
        self.send(data or connect_frame())
        answer = self.frame()
        assert answer is not None, "the handshake was not answered"
        _, _, self.session = struct.unpack_from(">iiq", answer)
        self.password = answer[20:36]
        return self

    def exactly(self, size: int) -> bytes:
        """``size`` bytes, or fewer at the end of the stream."""
        data = b""
        while len(data) < size:
            try:
                chunk = self.sock.recv(size - len(data))
            except ConnectionError:
                break
            if not chunk:
                break
            data += chunk
        return data

    def frame(self) -> bytes | None:
        """The next frame's payload, None at the end of the stream."""
        head = self.exactly(4)
        return self.exactly(struct.unpack(">i", head)[0]) if len(head) == 4 else None

    def reply(self) -> tuple[int, int] | None:
        """xid and error of the next reply, None at the end of the stream."""
        payload = self.frame()
        if payload is None:
            return None
        xid, _, err = REPLY.unpack_from(payload)
        return xid, err

    def replies(self) -> list[tuple[int, int]]:
        """All replies up to the end of the stream."""
        return list(iter(self.reply, None))

    def rest(self) -> bytes:
        """All bytes up to the end of the stream."""
        data = b""
        while chunk := self.exactly(65536):
            data += chunk
        return data

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Server:
    """A standalone server in this process."""

    def __init__(self, ports: list[int], seen: list[Event]) -> None:
        self.ports = ports
        self.port = ports[0]
        self.seen = seen
        self.streams: list[trio.SocketStream] = []

    def close(self) -> None:
        """Close every client's socket."""
        for stream in self.streams:
            stream.socket.close()

    def reasons(self) -> list[str]:
        """Why clients were refused or cut, oldest first."""
        return [event.reason for event in self.seen if isinstance(event, ClientRefused)]

    async def client(self, port: int = 0) -> "AsyncRaw":
        """A client with a session."""
        client = await self.stranger(port)
        await client.handshake()
        return client

    async def stranger(self, port: int = 0, *, receive_buffer: int = 0) -> "AsyncRaw":
        """A connection that has said nothing."""
        sock = trio.socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await sock.connect(("127.0.0.1", port or self.port))
        self.streams.append(trio.SocketStream(sock))
        return AsyncRaw(self.streams[-1])

    async def connections(self) -> list[Connection]:
        """The server's side of every connection."""
        await trio.testing.wait_all_tasks_blocked(0.01)
        return [each for each in gc.get_objects() if isinstance(each, Connection) and not each.closing]

    async def word(self, word: str) -> str:
        """A four-letter word's answer."""
        client = await self.stranger()
        await client.send(word.encode())
        answer = (await client.rest()).decode()
        await client.stream.aclose()
        return answer

    async def figure(self, name: str) -> int:
        """A number of ``mntr``."""
        for line in (await self.word("mntr")).splitlines():
            if line.startswith(f"zk_{name}\t"):
                return int(line.split("\t")[1])
        raise AssertionError(f"mntr has no {name}")


class AsyncRaw:
    """A client of a server in the same process. ``stream`` is the socket."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.session = 0
        self.password = b""
        self._received = bytearray()

    async def send(self, data: bytes) -> None:
        """Send as far as the server lets us: it may cut the connection meanwhile."""
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError:
            await trio.lowlevel.checkpoint()

    async def handshake(self, data: bytes | None = None) -> None:
        """Open a session."""
        await self.send(data or connect_frame())
        answer = await self.frame()
        assert answer is not None, "the handshake was not answered"
        _, _, self.session = struct.unpack_from(">iiq", answer)
        self.password = answer[20:36]

    async def exactly(self, size: int) -> bytes:
        """``size`` bytes, or fewer at the end of the stream."""
        with trio.fail_after(PATIENCE_S):
            while len(self._received) < size:
                try:
                    chunk = await self.stream.receive_some(65536)
                except trio.BrokenResourceError:
                    break
                if not chunk:
                    break
                self._received += chunk
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    async def frame(self) -> bytes | None:
        """The next frame's payload, None at the end of the stream."""
        head = await self.exactly(4)
        return await self.exactly(struct.unpack(">i", head)[0]) if len(head) == 4 else None

    async def reply(self) -> tuple[int, int] | None:
        """xid and error of the next reply, None at the end of the stream."""
        payload = await self.frame()
        if payload is None:
            return None
        xid, _, err = REPLY.unpack_from(payload)
        return xid, err

    async def replies(self) -> list[tuple[int, int]]:
        """All replies up to the end of the stream."""
        found = []
        while (one := await self.reply()) is not None:
            found.append(one)
        return found

    async def rest(self) -> bytes:
        """All bytes up to the end of the stream."""
        return await self.exactly(1 << 40)

    async def assert_alive(self) -> None:
        """The session answers a ping."""
        await self.send(PING)
        assert await self.reply() == (-2, 0)


@asynccontextmanager
async def running(transports: Transports | None = None, *clients: Address, **limits: int) -> AsyncIterator[Server]:
    """A standalone server on a port of its own, its data in memory. It must not have failed at the end."""
    config = standalone(client_addresses=clients or (Address("tcp", "127.0.0.1"),), limits=Limits(**limits))
    async with running_as(config, transports) as server:
        yield server


def standalone(**settings: Any) -> ServerConfig:
    """The configuration of a server on a port of its own."""
    defaults = {"client_addresses": (Address("tcp", "127.0.0.1"),)}
    return ServerConfig(my_id=0, peers=(), data_dir=Path("unused"), data_log_dir=Path("unused"), **defaults | settings)


@asynccontextmanager
async def running_as(
    config: ServerConfig, transports: Transports | None = None, disk: MemoryDisk | None = None
) -> AsyncIterator[Server]:
    """As ``running``, with everything configured."""
    async with trio.open_nursery() as nursery:
        server = await start(nursery, config, transports or Transports(), disk)
        try:
            yield server
        finally:
            server.close()
        nursery.cancel_scope.cancel()


async def start(
    nursery: trio.Nursery, config: ServerConfig, transports: Transports, disk: MemoryDisk | None = None
) -> Server:
    """One peer with its data in memory."""
    seen: list[Event] = []
    disk = disk or MemoryDisk()
    around = Surroundings(transports=transports, disks=(disk, disk), rng=Random(config.my_id))
    addresses = await nursery.start(serve, config, Events(seen.append), around)
    return Server([address.port for address in addresses], seen)


class Quorum:
    """Peers 1, 2 and 3 on a memory network. ``dial`` reaches their quorum and election addresses."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.network = network
        self.peers: dict[int, Server] = {}
        self.scopes: dict[int, trio.CancelScope] = {}
        self._callers = 0

    def role(self, sid: int) -> str:
        """What a peer became last."""
        return [event.new for event in self.peers[sid].seen if isinstance(event, StateChanged)][-1]

    def all_serve(self) -> bool:
        """Every peer has established the role it has now."""
        kinds = [
            [type(e) for e in peer.seen if isinstance(e, Established | StateChanged)] for peer in self.peers.values()
        ]
        return all(kind and kind[-1] is Established for kind in kinds)

    @property
    def leader(self) -> int:
        """The peer that leads."""
        [sid] = [sid for sid in self.peers if self.role(sid) == "leading"]
        return sid

    @property
    def followers(self) -> list[int]:
        """The peers that follow."""
        return [sid for sid in self.peers if self.role(sid) == "following"]

    def times(self, sid: int, kind: type[Event]) -> int:
        """How many events of a kind a peer had."""
        return sum(isinstance(event, kind) for event in self.peers[sid].seen)

    def events(self, sid: int, kind: type[E]) -> list[E]:
        """Events of one kind, oldest first."""
        return [event for event in self.peers[sid].seen if isinstance(event, kind)]

    async def start(self, nursery: trio.Nursery, config: ServerConfig) -> None:
        """Start a peer; ``scopes`` ends it."""
        transports = Transports(memory=self.network.transport(f"p{config.my_id}"))
        sub = await nursery.start(_nursery)
        self.scopes[config.my_id] = sub.cancel_scope
        self.peers[config.my_id] = await start(sub, config, transports)

    async def end(self, sid: int) -> None:
        """End a peer at once."""
        peer = self.peers.pop(sid)
        peer.close()
        self.scopes.pop(sid).cancel()
        await trio.testing.wait_all_tasks_blocked()

    async def dial(self, kind: str, sid: int, frame_bytes_max: int = 16 << 20) -> Link:
        """A link from a stranger to a peer's ``quorum`` or ``election`` address."""
        self._callers += 1
        transport = self.network.transport(f"stranger{self._callers}")
        return await transport.connect(Address("memory", f"p{sid}", PORTS[kind]), frame_bytes_max=frame_bytes_max)


async def _nursery(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()


@asynccontextmanager
async def quorum(**limits: int) -> AsyncIterator[Quorum]:
    """Three peers that serve. They must not have failed at the end."""
    network = MemoryNetwork()
    specs = tuple(
        PeerSpec(
            id=sid,
            quorum=Address("memory", f"p{sid}", PORTS["quorum"]),
            election=Address("memory", f"p{sid}", PORTS["election"]),
            client=Address("tcp", "127.0.0.1"),
        )
        for sid in (1, 2, 3)
    )
    async with trio.open_nursery() as nursery:
        around = Quorum(network)
        for spec in specs:
            config = ServerConfig(
                my_id=spec.id,
                peers=specs,
                client_addresses=(Address("tcp", "127.0.0.1"),),
                data_dir=Path("unused"),
                data_log_dir=Path("unused"),
                tick_time_ms=200,
                init_limit_ticks=50,  # a busy machine must not look like a lost peer
                sync_limit_ticks=50,
                election_settle_ms=50,
                limits=Limits(**limits),
            )
            await around.start(nursery, config)
        with trio.fail_after(PATIENCE_S):
            while not around.all_serve():
                await trio.sleep(0.01)
        try:
            yield around
        finally:
            for peer in around.peers.values():
                peer.close()
        nursery.cancel_scope.cancel()


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"no VmRSS of {pid}")


def open_files(pid: int) -> int:
    """File descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def allow_files(count: int) -> None:
    """Let this process open ``count`` files at least."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
