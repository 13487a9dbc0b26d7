"""Where the simulator's workloads meet real peers: every client with an address and a chance of its own."""

import errno
import random
from collections import defaultdict
from contextlib import AbstractAsyncContextManager
from typing import Final

import trio

from tests.interop.namespaces.network import OBSERVER, Network
from trioquorum.client import Client, connect
from trioquorum.errors import Code
from trioquorum.testing.history import History
from trioquorum.testing.workloads.base import unless
from trioquorum.testing.workloads.scene import SESSION_TIMEOUT_MS

CONNECT_TIMEOUT_MS: Final = 10_000
PROBE_TIMEOUT_MS: Final = 2_000
PROBE: Final = "/probe"
CLIENTS_MAX: Final = 250


class Stage:
    """What the scenes of a run share: the network, the history, the clients' addresses and connections."""

    def __init__(self, network: Network, history: History, pause_s: float) -> None:
        self.network = network
        self.history = history
        self.pause_s = pause_s
        self.over = False
        self.connections: defaultdict[str, set[trio.SocketStream]] = defaultdict(set)
        self._numbers: dict[str, int] = {}

    async def probe(self, peer: int) -> None:
        """Write something through one peer.

        Raises:
            ConnectFailed, RequestFailed: it was not acknowledged.
        """
        async with connect(self.network.dial(peer), connect_timeout_ms=PROBE_TIMEOUT_MS) as client:
            await unless(client.create(PROBE), Code.NODEEXISTS)
            await client.set(PROBE, b"")

    def number(self, name: str) -> int:
        """The address of a client, always the same."""
        number = self._numbers.setdefault(name, OBSERVER + 1 + len(self._numbers))
        assert number <= CLIENTS_MAX, "every client of a run has its own address"
        return number


def shut_down(stream: trio.SocketStream) -> None:
    """End a connection under the feet of the client that uses it, unless it is at its end already."""
    if stream.socket.fileno() >= 0:
        try:
            stream.socket.shutdown(trio.socket.SHUT_RDWR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # what it is when the other end was killed
                raise


class RealScene:
    """One workload's place in a run, as ``trioquorum.testing.workloads`` expect it."""

    def __init__(self, stage: Stage, rng: random.Random) -> None:
        self.rng = rng
        self.history = stage.history
        self.pause_s = stage.pause_s
        self._stage = stage

    @property
    def over(self) -> bool:
        return self._stage.over

    def client(
        self, name: str, *, session_timeout_ms: int = SESSION_TIMEOUT_MS, read_only: bool = False
    ) -> AbstractAsyncContextManager[Client]:
        peers = list(self._stage.network.nodes[1:])
        self.rng.shuffle(peers)
        number, connections = self._stage.number(name), self._stage.connections[name]

        def opened(stream: trio.SocketStream) -> None:
            connections.difference_update([old for old in connections if old.socket.fileno() < 0])
            connections.add(stream)

        return connect(
            *(self._stage.network.dial(peer, number, opened) for peer in peers),
            session_timeout_ms=session_timeout_ms,
            connect_timeout_ms=CONNECT_TIMEOUT_MS,
            observer=self.history.session(name),
            read_only=read_only,
        )

    def disconnect(self, name: str) -> None:
        for stream in self._stage.connections[name]:
            shut_down(stream)

    def isolate(self, name: str) -> None:
        self._stage.network.isolate(self._stage.number(name))

    def rejoin(self, name: str) -> None:
        self._stage.network.rejoin(self._stage.number(name))
